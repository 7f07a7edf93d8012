"""Hooks of whoever runs a store: after the commit, never a danger to the run, and nobody else's."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from checkpointflow.cli import hooks
from checkpointflow.drivers import processes
from checkpointflow.store.locks import list_marks
from tests.conftest import Cpf, gone
from tests.helpers import ask, cli, end

KEEP = "cat > {0}"


def hook(cpf: Cpf, text: str, name: str = "config.yaml") -> Path:
    cpf.base.mkdir(mode=0o700, exist_ok=True)
    file = cpf.base / name
    file.write_text(text)
    file.chmod(0o600)
    return file


def keeping(cpf: Cpf, *states: str) -> Path:
    """Hooks that keep the envelope in a file."""
    kept = cpf.base.parent / "kept"
    hook(cpf, "notify:\n" + "".join(f"  {state}: cat > {kept}\n" for state in states))
    return kept


@pytest.mark.parametrize(
    ("state", "step"),
    [("waiting", ask("q")), ("completed", end("e")), ("failed", cli("a", "exit 1"))],
)
def test_a_run_that_comes_to_rest_is_told_of(cpf: Cpf, state: str, step: dict[str, object]) -> None:
    kept = keeping(cpf, state)
    answer = cpf.run(step)
    told = json.loads(kept.read_text())
    assert told == answer.json
    assert (told["status"], "warnings" in answer.json) == (state, False)


def test_a_state_that_is_not_named_and_a_run_that_is_only_looked_at_are_not_told_of(cpf: Cpf) -> None:
    kept = keeping(cpf, "failed")
    run_id = cpf.run(ask("q"))["run_id"]
    assert not kept.exists()
    kept = keeping(cpf, "waiting")
    cpf("status", run_id)
    cpf.resume(run_id)
    assert not kept.exists()


def test_tick_and_resume_tell_too(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q"), ask("r", timeout_seconds=0.001))["run_id"]
    kept = keeping(cpf, "waiting", "failed")
    cpf.resume(run_id, "q_event", {})
    assert json.loads(kept.read_text())["command"] == "resume"
    cpf("tick")
    assert json.loads(kept.read_text())["command"] == "tick"


def test_it_comes_after_the_commit(cpf: Cpf) -> None:
    kept = cpf.base.parent / "kept"
    hook(cpf, f"notify: {{completed: 'cp {cpf.base}/runs/*/state.json {kept}'}}")
    cpf.run(end("e"))
    assert json.loads(kept.read_text())["status"] == "completed"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("exit 3", "ended with 3"),
        ("echo no such host >&2; exit 1", "ended with 1: no such host"),
        ("no-such-command", "ended with 127"),
        ("sleep 60", "took longer than 0.5 seconds"),
    ],
)
def test_what_goes_wrong_with_it_is_a_warning(
    cpf: Cpf, monkeypatch: pytest.MonkeyPatch, command: str, told: str
) -> None:
    monkeypatch.setattr(hooks, "MAX_SECONDS", 0.5)
    hook(cpf, f"notify: {{completed: '{command}'}}")
    answer = cpf.run(end("e"))
    assert (answer.code, answer["status"]) == (0, "completed")
    (warning,) = answer["warnings"]
    assert told in warning


def test_nothing_is_left_of_a_hook_whose_time_is_up(cpf: Cpf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "MAX_SECONDS", 0.7)
    far = (
        "setsid sh -c 'sleep 61; true' & trap '' TERM; sh -c 'sleep 62; true' & echo $$ > pid; sleep 63; true"
    )
    hook(cpf, f"notify:\n  completed: |\n    {far}\n")
    monkeypatch.setattr(processes.end, "__defaults__", (0.5, lambda: None))
    answer = cpf.run(end("e"))
    assert "was ended" in answer["warnings"][0]
    assert gone(int((cpf.cwd / "pid").read_text()))
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    assert not [
        pid for pid in pids if any(str(cpf.base) in mark for mark in list_marks(pid)) and not gone(pid)
    ]


def test_a_hook_may_leave_something_in_the_background(cpf: Cpf) -> None:
    hook(cpf, "notify: {completed: 'sleep 30 & echo $! > pid'}")
    start = time.monotonic()
    answer = cpf.run(end("e"))
    pid = int((cpf.cwd / "pid").read_text())
    assert ("warnings" in answer.json, gone(pid), time.monotonic() - start < 15) == (False, False, True)
    os.kill(pid, signal.SIGKILL)


def test_a_large_envelope_and_a_hook_that_does_not_read_it(cpf: Cpf) -> None:
    hook(cpf, "notify: {completed: 'true'}")
    answer = cpf.run(end("e", result="${inputs.x}"), inputs={"x": "x" * 50_000})
    assert (answer.code, "warnings" in answer.json) == (0, False)


def test_the_envelope_is_data_never_code(cpf: Cpf) -> None:
    kept = keeping(cpf, "completed")
    evil = "'; touch stolen; $(touch stolen) `touch stolen`"
    cpf.run(end("e", result=evil))
    assert json.loads(kept.read_text())["result"] == evil
    assert not (cpf.cwd / "stolen").exists()


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_not_read(cpf: Cpf, mode: int) -> None:
    kept = keeping(cpf, "completed")
    (cpf.base / "config.yaml").chmod(mode)
    answer = cpf.run(end("e"))
    assert (answer.code, kept.exists()) == (0, False)
    assert "others may write into it" in answer["warnings"][0]


def test_nor_one_in_a_store_that_others_may_write(cpf: Cpf) -> None:
    kept = keeping(cpf, "completed")
    cpf.base.chmod(0o777)
    file = cpf.flow(end("e"))
    answer = cpf("run", file, "--allow-shared")
    assert (answer.code, kept.exists()) == (0, False)


def test_nor_one_that_is_a_link(cpf: Cpf) -> None:
    kept = keeping(cpf, "completed")
    (cpf.base / "config.yaml").rename(cpf.base / "elsewhere.yaml")
    (cpf.base / "config.yaml").symlink_to("elsewhere.yaml")
    answer = cpf.run(end("e"))
    assert (answer.code, kept.exists(), len(answer["warnings"])) == (0, False, 1)


@pytest.mark.parametrize(
    "text", ["notify: [", "notify: {competed: x}", "notfy: {}", "[]", "notify: {completed: 3}", "a: &a [*a]"]
)
def test_a_file_that_is_wrong_is_a_warning(cpf: Cpf, text: str) -> None:
    hook(cpf, text)
    answer = cpf.run(end("e"))
    assert (answer.code, len(answer["warnings"])) == (0, 1)
    assert "config.yaml" in answer["warnings"][0]


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "notify: {}", "notify:\n"])
def test_a_file_that_says_nothing_does_nothing(cpf: Cpf, text: str) -> None:
    hook(cpf, text)
    answer = cpf.run(end("e"))
    assert (answer.code, answer.json.get("warnings")) == (0, None)


def test_no_run_brings_its_own(cpf: Cpf) -> None:
    """Of a run elsewhere the hooks of no store are its operator's."""
    run_id = cpf.run(ask("q"))["run_id"]
    place = cpf.base.parent / "handed" / run_id
    place.parent.mkdir()
    cpf.directory(run_id).rename(place)
    (place.parent / "config.yaml").write_text("notify: {completed: touch stolen}")
    (place / "config.yaml").write_text("notify: {completed: touch stolen}")
    answer = cpf("resume", "--run-dir", str(place), "--input", "{}", "--cwd", ".")
    assert (answer["status"], (cpf.cwd / "stolen").exists()) == ("completed", False)
