"""A store that is kept in git: what changes is what happened, and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Cpf
from tests.helpers import ask, cli, end, foreach

STEPS = (
    cli("plan", "echo '{\"n\": 1}'"),
    ask("q", input_schema={"type": "object"}),
    foreach("each", [1, 2, 3], cli("one", "echo '{\"n\": ${item}}'")),
    cli("apply", "echo applied"),
    ask("r"),
    end("e", result="${steps.r.outputs}"),
)
VARYING = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}|[0-9a-f]{64}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")


def git(place: Path, *arguments: str) -> str:
    options = (
        "-c",
        "user.name=x",
        "-c",
        "user.email=x@y",
        "-c",
        "core.autocrlf=true",
        "-c",
        "core.safecrlf=false",
    )
    return subprocess.run(
        ["git", *options, *arguments], cwd=place, capture_output=True, text=True, check=True
    ).stdout


def committed(place: Path) -> dict[str, tuple[int, int]]:
    """Commit all that lies in *place*; the files that have changed, with the lines added and taken away."""
    git(place, "add", "-A")
    git(place, "commit", "-qm", "x")
    lines = git(place, "show", "--numstat", "--format=").splitlines()
    return {name: (int(added), int(gone)) for added, gone, name in (line.split("\t") for line in lines)}


@pytest.fixture
def repository(cpf: Cpf) -> Path:
    """The store, in a repository, with what `cpf init --git` writes."""
    assert cpf("init", "--git").code == 0
    git(cpf.base, "init", "-q")
    assert "README" in committed(cpf.base)
    return cpf.base


def test_a_commit_at_each_checkpoint_shows_what_happened_and_nothing_else(cpf: Cpf, repository: Path) -> None:
    run_id = cpf.run(*STEPS)["run_id"]
    first = committed(repository)
    assert {name.removeprefix(f"runs/{run_id}/") for name in first} == {
        "state.json", "history.jsonl", "workflow.yaml", "stdout/plan.txt", "stderr/plan.txt"
    }  # fmt: skip
    facts = len(cpf.history(run_id))
    cpf.resume(run_id, "q_event", {"y": 1})
    changed = {name.removeprefix(f"runs/{run_id}/"): lines for name, lines in committed(repository).items()}
    assert "workflow.yaml" not in changed
    assert changed.pop("history.jsonl") == (len(cpf.history(run_id)) - facts, 0)
    added, gone = changed.pop("state.json")
    assert gone <= 15
    assert added <= 60
    assert all(name.startswith(("stdout/", "stderr/")) for name in changed)
    plan = '"plan": {'
    assert plan not in git(repository, "show", "--format=", "-U0", "HEAD", "--", f"runs/{run_id}/state.json")


def test_reading_a_run_changes_nothing(cpf: Cpf, repository: Path) -> None:
    run_id = cpf.run(*STEPS)["run_id"]
    committed(repository)
    for arguments in (("status",), ("inspect",), ("logs",), ("verify",), ("resume",), ("export", "-o", "x")):
        cpf(arguments[0], "--run-id", run_id, *arguments[1:])
    cpf("list")
    assert git(repository, "status", "--porcelain") == ""


def test_two_equal_runs_differ_in_ids_and_times_only(cpf: Cpf, tmp_path: Path) -> None:
    place = tmp_path / "repository"
    place.mkdir()
    git(place, "init", "-q")
    for _ in range(2):
        run_id = cpf.run(*STEPS)["run_id"]
        cpf.resume(run_id, "q_event", {"y": 1})
        cpf.resume(run_id, "r_event", {"z": 2})
        shutil.rmtree(place / "run", ignore_errors=True)
        shutil.copytree(cpf.directory(run_id), place / "run", ignore=shutil.ignore_patterns("*.lock"))
        changed = committed(place)
    assert set(changed) == {"run/state.json", "run/history.jsonl"}
    lines = git(place, "show", "--format=", "-U0").splitlines()
    added, gone = (
        [VARYING.sub("…", line[1:]) for line in lines if re.match(rf"[{sign}](?![{sign}])", line)]
        for sign in "+-"
    )
    assert added == gone
    assert len(added) > 10


def test_a_run_that_went_through_git_is_as_it_was(cpf: Cpf, repository: Path, tmp_path: Path) -> None:
    leaves = 'printf "x\\r\\ny\\n"; cd "$CPF_ARTIFACTS_DIR"; touch poetry.lock x.tmp'
    run_id = cpf.run(cli("a", leaves), ask("q"))["run_id"]
    committed(repository)
    git(tmp_path, "clone", "-q", str(repository), "clone")
    elsewhere = Cpf(cpf.cwd, tmp_path / "clone")
    assert elsewhere("verify", "--run-id", run_id).code == 0
    log = f"runs/{run_id}/stdout/a.txt"
    assert (tmp_path / "clone" / log).read_bytes() == (repository / log).read_bytes() == b"x\r\ny\n"
    assert sorted(f.name for f in (elsewhere.directory(run_id) / "artifacts").iterdir()) == [
        "poetry.lock",
        "x.tmp",
    ]
    assert elsewhere.resume(run_id, "q_event", {}).code == 0


def test_git_never_merges_a_run_by_lines(cpf: Cpf, repository: Path) -> None:
    run_id = cpf.run(*STEPS)["run_id"]
    attributes = git(repository, "check-attr", "merge", "text", "--", f"runs/{run_id}/state.json")
    assert attributes.count("unset") == 2


def test_init_git_keeps_what_is_in_the_files_already(cpf: Cpf) -> None:
    cpf.base.mkdir()
    (cpf.base / ".gitignore").write_text("mine\n*.lock")
    assert cpf("init", "--git").code == 0
    text = (cpf.base / ".gitignore").read_text()
    assert text.startswith("mine\n*.lock\n")
    assert cpf("init", "--git").code == 0
    assert (cpf.base / ".gitignore").read_text() == text
