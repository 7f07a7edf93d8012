"""Every command that tells something: at a terminal text, in a pipe one envelope, with the same exit code."""

from __future__ import annotations

import pytest

from tests.conftest import Cpf
from tests.helpers import ask, cli
from tests.terminals import at_a_terminal, obeys_nothing, plain, unfold

ROWS = [
    ("tick", "Nothing was due."),
    ("work --once --exec false", "Nothing waits for an answer."),
    ("wait @latest --timeout 1s", "cpf answer "),
    ("wait {failed} @latest", "status: failed"),
    ("list --failed --since 1h", "exit code 3: no room"),
    ("list --limit 1", "all of them with: --limit 0"),
    ("waits --for user", "Go on?"),
    ("report @latest -o run.html --force", "file: run.html"),
    ("export @latest -o run.tar.gz --force", "cpf import run.tar.gz"),
    ("verify @latest", "nothing is wrong with it"),
    ("diff {failed} @latest", "equal: false"),
    ("gc --dry-run", "dry_run: true"),
    ("flows", "There are no workflows"),
    ("validate w.yaml", "w: 2 steps, no mistakes"),
    ("logs {failed} --failed", "── bad · attempt 1 · stderr"),
    ("run w.yaml --set n:=1 --progress none --ok-when waiting --detach", "cpf watch "),
    ("cancel {failed} --reason x", "is failed"),
    ("status !", "is no run id"),
]


@pytest.mark.long(but_one_in=3)
@pytest.mark.parametrize(("line", "told"), ROWS, ids=[row[0] for row in ROWS])
def test_at_a_terminal_and_in_a_pipe(cpf: Cpf, line: str, told: str) -> None:
    failed = cpf.run(cli("a"), cli("bad", "echo no room >&2; exit 3"))["run_id"][-4:]
    cpf.run(cli("a", "sleep 0.2"), ask("q", prompt="Go on?"))
    words = line.format(failed=failed).split()
    code, shown = at_a_terminal(cpf, *words, columns=120)
    assert (told in plain(shown), "schema_version" in shown, obeys_nothing(shown)) == (True, False, True), (
        shown
    )
    answer = cpf(*words)
    assert (answer.code, answer["command"], answer.text.count("\n")) == (code, words[0], 1)


def test_what_goes_wrong_with_a_hook_is_told_to_whoever_looks_on(cpf: Cpf) -> None:
    cpf.base.mkdir(mode=0o700)
    (cpf.base / "config.yaml").write_text("notify: {waiting: exit 3}")
    (cpf.base / "config.yaml").chmod(0o600)
    file = cpf.flow(ask("q", audience="system"))
    assert "cpf: warning: notify.waiting of " in unfold(at_a_terminal(cpf, "run", file)[1])
    assert "notify.waiting of " in cpf("run", file)["warnings"][0]


def test_an_operator_with_300_runs_sees_the_newest_nearest_to_the_prompt(cpf: Cpf) -> None:
    file = cpf.flow(cli("a"))
    first = cpf("run", file)["run_id"]
    for n in range(299):
        twin = f"00{first[2:-4]}{n:04}"  # older
        (cpf.base / "runs" / twin).mkdir()
        state = (cpf.directory(first) / "state.json").read_text().replace(first, twin)
        (cpf.base / "runs" / twin / "state.json").write_text(state)
    lines = plain(at_a_terminal(cpf, "list")[1]).splitlines()
    assert len(lines) == 32 and "The newest 30" in lines[-1]
    assert first[-4:] in lines[-2]
    assert len(cpf("list", "--limit", "0")["result"]["runs"]) == 300


def test_a_job_with_a_terminal_has_the_text_and_what_the_runner_reads(cpf: Cpf) -> None:
    """Some runners give their jobs a terminal."""
    files = {name: cpf.cwd / name.lower() for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    env = {name: str(file) for name, file in files.items()} | {"GITHUB_ACTIONS": "true", "CI": "true"}
    code, shown = at_a_terminal(cpf, "run", cpf.flow(cli("bad", "echo no room >&2; exit 3")), **env)
    assert (code, obeys_nothing(shown)) == (30, True)
    assert [line for line in plain(shown).splitlines() if line.startswith("::error")] != []
    assert "cpf retry " in plain(shown)
    assert "status" in files["GITHUB_OUTPUT"].read_text()
    assert "no room" in files["GITHUB_STEP_SUMMARY"].read_text()
