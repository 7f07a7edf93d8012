"""The loop of this machine, in a world that a test gives it."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from checkpointflow.drivers import local
from checkpointflow.drivers.outcomes import fail
from checkpointflow.drivers.sources import read_bytes
from checkpointflow.engine.actions import Effect, Outcome, Success
from checkpointflow.engine.facts import FilesSealed, RunCompleted
from checkpointflow.engine.messages import add_seconds
from checkpointflow.engine.run import Run
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.store import Store
from checkpointflow.store.verify import require_sound
from tests.helpers import START, ask, cli, end


class Clock:
    """It goes on by an hour whenever somebody looks."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> str:
        self.time = add_seconds(self.time, 3600)
        return self.time


def begin(base: Path, *steps: dict[str, Any], **world: Any) -> tuple[RunDirectory, Run]:
    document = {"schema_version": "checkpointflow/v1", "workflow": {"id": "w", "steps": steps}}
    return local.begin(Store(base), read_bytes(json.dumps(document).encode()), {}, local.World(**world))


def test_pauses_and_time_outs_go_by_the_clock_that_is_given(tmp_path: Path) -> None:
    outcomes, clock = iter([fail("no"), Success(outputs={})]), Clock()
    steps = [
        cli("a", retry={"max_attempts": 2, "backoff_seconds": 3600}),
        ask("q", timeout_seconds=86_400, on_timeout={"next": "late"}),
        end("late", result="late"),
    ]
    directory, run = begin(tmp_path, *steps, perform=lambda _: next(outcomes), now=clock)
    assert (run.status, run.started_at) == ("waiting", "2026-01-01T01:00:00.000Z")
    clock.time = add_seconds(clock.time, 86_400)
    run = local.resume(directory, world=local.World(now=clock))
    assert run.outcome.result == "late"  # type: ignore[union-attr]


def leave_a_file(base: Path, text: str = "x") -> Any:
    def perform(action: Effect) -> Outcome:
        (place,) = base.glob("runs/*")
        (place / "artifacts").mkdir(exist_ok=True)
        (place / "artifacts" / action.path).write_text(text)
        return Success(outputs={})

    return perform


def test_what_a_run_leaves_is_sealed_last_in_the_write_that_ends_it(tmp_path: Path) -> None:
    directory, run = begin(tmp_path, cli("a"), perform=leave_a_file(tmp_path))
    facts = [entry.fact for entry in directory.history(run)]
    assert [type(fact) for fact in facts[-2:]] == [RunCompleted, FilesSealed]
    assert facts[-1].at == facts[-2].at
    assert [file.path for file in facts[-1].files] == ["artifacts/a"]
    assert require_sound(directory).unchecked == []


def test_sealing_is_no_reason_for_anything_else_to_happen(tmp_path: Path) -> None:
    """Failed with: sealed at a later time, by which the wait was over, and another step started."""
    wait = ask("q", timeout_seconds=1800, on_timeout={"next": "late"})
    world = {"perform": leave_a_file(tmp_path), "now": Clock()}
    directory, run = begin(tmp_path, cli("a"), wait, cli("late"), **world)
    assert run.status == "waiting"
    assert isinstance(list(directory.history(run))[-1].fact, FilesSealed)


def test_the_end_of_a_step_and_the_start_of_the_next_are_one_write(tmp_path: Path) -> None:
    seen: list[Run] = []
    begin(tmp_path, cli("a"), cli("b"), perform=leave_a_file(tmp_path), observe=seen.append)
    assert [sorted(run.steps) for run in seen] == [["a"], ["a", "b"], ["a", "b"]]
    assert [run.status for run in seen] == ["running", "running", "completed"]


def test_an_observer_hears_nothing_while_nothing_happens(tmp_path: Path) -> None:
    """Failed with: told at every look around, five times a second."""
    seen: list[Run] = []
    begin(tmp_path, cli("a", "sleep 0.7"), observe=seen.append)
    assert len(seen) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_stops_nothing_any_more_is_for_the_program_around(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Failed with: Ctrl-C swallowed, where it came while the run was written."""
    heard: list[int] = []
    before = signal.signal(number, lambda got, _: heard.append(got))

    def stop(run: Run) -> None:
        if run.outcome is not None:
            signal.raise_signal(number)

    try:
        _, run = begin(tmp_path, cli("a"), observe=stop)
    finally:
        signal.signal(number, before)
    assert (run.status, heard) == ("completed", [number])


def test_a_failure_is_seen_where_sigchld_is_ignored(tmp_path: Path) -> None:
    """Failed with: left as whoever started us had it. Then the system tells exit code 0 of every child."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert begin(tmp_path, cli("a", "exit 3"))[1].steps["a"].error.exit_code == 3  # type: ignore[union-attr]
        assert signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGCHLD, before)
