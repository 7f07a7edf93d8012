"""Completion at the shell: really sourced, and asked for what it knows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Cpf
from tests.helpers import ask, cli, end
from tests.terminals import Terminal

BASH = """\
eval "$(cpf completion bash)"
COMP_WORDS=(cpf {words})
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_cpf_completion cpf "${{COMP_WORDS[COMP_CWORD]}}" ""
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def path(cpf: Cpf, tmp_path: Path) -> str:
    """A PATH on which cpf lies."""
    place = tmp_path / "bin"
    place.mkdir()
    (place / "cpf").write_text(f'#!/bin/sh\nexec {sys.executable} -m checkpointflow "$@"\n')
    (place / "cpf").chmod(0o700)
    return f"{place}:{cpf.env['PATH']}"


def bash(cpf: Cpf, path: str, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True, text=True, cwd=cpf.cwd, env=cpf.env | {"PATH": path}, check=False, timeout=30,
    )  # fmt: skip


def completed(cpf: Cpf, *words: str, shell: str = "bash", **env: str) -> list[str]:
    """What cpf offers to the shell for the last of *words*."""
    asked = {"_CPF_COMPLETE": f"{shell}_complete", "COMP_WORDS": " ".join(("cpf", *words))}
    asked |= {"COMP_CWORD": words[-1] if shell == "fish" else str(len(words))}
    return cpf.real(**asked, **env).text.strip("\n").splitlines()


@pytest.mark.long
def test_bash_completes_what_cpf_tells_it(cpf: Cpf, path: str) -> None:
    run_id = cpf.run(ask("q"))["run_id"]
    for words, expected in (
        ("ver", {"verify"}),
        ("''", {"run", "answer", "waits"}),
        (f"status {run_id[-4:-1]}", {run_id[-4:]}),
        ("status @", {"@latest"}),
        (f"resume {run_id[-4:]} --event ''", {"q_event"}),
    ):
        done = bash(cpf, path, BASH.format(words=words))
        assert (done.returncode, done.stderr) == (0, "")
        assert expected <= set(done.stdout.split()), (words, done.stdout)


@pytest.mark.long(but_one_in=9)
@pytest.mark.parametrize(
    ("shell", "beforehand"),
    [
        (("bash", "--norc", "-i"), 'eval "$(cpf completion bash)"'),
        (("zsh", "-f", "-i"), 'autoload -Uz compinit; compinit -u -D; eval "$(cpf completion zsh)"'),
        (("fish", "--no-config", "-i"), "cpf completion fish | source"),
    ],
    ids=lambda given: given[0] if isinstance(given, tuple) else "",
)
def test_whoever_presses_tab_has_the_rest_typed(
    cpf: Cpf, path: str, shell: tuple[str, ...], beforehand: str
) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"there is no {shell[0]} here")
    run_id = cpf.run(ask("q", prompt="Go on?"))["run_id"]
    with Terminal(cpf, shell=shell, PATH=path, TERM="dumb" if shell[0] == "fish" else "xterm") as terminal:
        terminal.type(beforehand, "echo rea''dy")
        terminal.expect("ready", 30)
        terminal.press(b"cpf veri\t").expect("verify", 30)
        terminal.press(b" --help\n").expect("Usage: cpf verify", 30)
        terminal.press(f"cpf status {run_id[-4:-1]}\t\n".encode()).expect("Go on?", 30)


@pytest.mark.parametrize(("shell", "check"), [("bash", "-n"), ("zsh", "-n"), ("fish", "-n")])
def test_what_is_printed_is_a_script_of_that_shell(cpf: Cpf, shell: str, check: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    script = cpf.real("completion", shell).text
    done = subprocess.run([shell, check], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_shell_is_wrong_use(cpf: Cpf) -> None:
    assert cpf("completion", "tcsh").error_code == "ERR_USAGE"


def test_events_steps_and_workflows_are_known(cpf: Cpf) -> None:
    run_id = cpf.run(cli("build"), ask("q"))["run_id"]
    flows = cpf.cwd / ".checkpointflow"
    flows.mkdir()
    (flows / "deploy.yaml").write_text(
        (cpf.cwd / "w.yaml").read_text().replace('"id": "w"', '"id": "deploy"')
    )
    for words, expected in (
        (("resume", run_id, "--event", ""), "q_event"),
        (("resume", "--run-id", run_id, "--step", ""), "q"),
        (("retry", run_id, "--step", "bu"), "build"),
        (("logs", "@latest", "--step", ""), "build"),
        (("run", "dep"), "deploy"),
    ):
        assert any(line.endswith(f",{expected}") for line in completed(cpf, *words)), words
    assert completed(cpf, "run", "-f", "w.")[0].startswith("file,")


def test_runs_are_told_with_what_they_are(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q"))["run_id"]
    offered = completed(cpf, "status", "", shell="zsh")
    assert offered[:3] == ["plain", run_id[-4:], "w, waiting"]


@pytest.mark.long(but_one_in=3)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_no_name_is_a_word_of_its_own(cpf: Cpf, shell: str) -> None:
    flows = cpf.cwd / ".checkpointflow"
    flows.mkdir()
    document = json.loads((cpf.cwd / cpf.flow(end("e"))).read_text())
    document["workflow"] |= {"id": "good", "name": "x\nplain\nevil\nplain,evil\t\x1b[2J$(touch stolen)"}
    (flows / "good.yaml").write_text(json.dumps(document))
    offered = completed(cpf, "run", "", shell=shell)
    assert [line for line in offered if line in ("evil", "plain,evil") or "\x1b" in line] == []
    assert any("good" in line for line in offered)


@pytest.mark.parametrize(
    "words", [("resume", "ZZZZ", "--event", ""), ("resume", "--event", ""), ("status", "--run-id", "../")]
)
def test_where_nothing_is_found_nothing_is_said(cpf: Cpf, words: tuple[str, ...]) -> None:
    assert completed(cpf, *words) == []


@pytest.mark.parametrize("base", ["/proc/nothing", "/dev/null", "/root/../nowhere"])
def test_a_store_that_cannot_be_read_offers_nothing(cpf: Cpf, base: str) -> None:
    assert completed(cpf, "status", "Z", CHECKPOINTFLOW_BASE_DIR=base) == []


def test_a_damaged_run_is_offered_like_any_other(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q"))["run_id"]
    (cpf.directory(run_id) / "state.json").write_text("{")
    assert completed(cpf, "status", "", shell="zsh")[:3] == ["plain", run_id[-4:], "damaged"]
    assert completed(cpf, "resume", run_id, "--event", "") == []
