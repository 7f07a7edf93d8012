"""What a run asks for, performed at once: with and without a kernel that tells how a process ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from checkpointflow.drivers import command
from checkpointflow.drivers.outcomes import NotBegun
from checkpointflow.drivers.perform import Ended, Executor, Stopped
from checkpointflow.engine.actions import Effect, Failure, LockRequest, Outcome, RunCommand, Success
from checkpointflow.store.directory import RunDirectory
from tests.conftest import gone

TELLS = hasattr(os, "pidfd_open")


@pytest.fixture(params=["told by the kernel", "waited for by threads"])
def watches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the kernel tells of an end."""
    if request.param == "waited for by threads":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
        return False
    if not TELLS:
        pytest.skip("this kernel does not tell")
    return True


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "run").mkdir(mode=0o700)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


@pytest.fixture
def executor(place: Path, watches: bool) -> Iterator[Executor]:
    directory = RunDirectory(place / "run")
    made = Executor(directory, place / "work", "R", hold_lock=directory.hold_shared_lock)
    yield made
    made.stop()


def run(path: str, script: str, **more: object) -> RunCommand:
    given = {"path": path, "attempt": 1, "shell": "sh", "idempotency_key": f"R:{path}", **more}
    return RunCommand(script=script, **given)  # type: ignore[arg-type]


def wait_for(executor: Executor, count: int) -> list[Ended]:
    found: list[Ended] = []
    deadline = time.monotonic() + 30
    while len(found) < count:
        assert time.monotonic() < deadline, found
        executor.wait(0.2)
        found += executor.collect()
    return found


def codes(ended: list[Ended]) -> dict[str, object]:
    return {
        action.path: outcome.error.code if isinstance(outcome, Failure) else type(outcome).__name__
        for action, outcome in ended
    }


def test_a_command_has_a_thread_only_where_nobody_else_tells_of_its_end(
    executor: Executor, watches: bool
) -> None:
    before = threading.active_count()
    executor.start(run("a", "echo '{\"n\": 1}'; sleep 0.3"))
    assert threading.active_count() - before == (0 if watches else 1)
    ((_, outcome),) = wait_for(executor, 1)
    assert isinstance(outcome, Success)
    assert (outcome.outputs, executor.is_busy) == ({"n": 1}, False)
    assert [file.path for file in executor.collect_logs()] == ["stdout/a.txt"]


def test_all_are_under_way_at_once(executor: Executor, place: Path) -> None:
    for n in range(16):
        script = f"touch {n}; until [ $(ls | wc -l) -ge 16 ]; do sleep 0.02; done"
        executor.start(run(f"s{n}", script, timeout_seconds=25))
    assert set(codes(wait_for(executor, 16)).values()) == {"Success"}


def test_a_time_out_is_told_once_nothing_is_left_and_holds_up_nobody(
    executor: Executor, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed with: stopped in the thread that hears of the others."""
    monkeypatch.setattr(command.Command.stop, "__defaults__", (0.7,))  # the grace period, in seconds
    deaf = "setsid sh -c 'trap \"\" TERM; echo $$ > child; sleep 60; sleep 60'"
    executor.start(run("late", f"trap 'touch asked' TERM; {deaf} & wait; wait", timeout_seconds=0.6))
    executor.start(run("soon", "until test -e asked; do sleep 0.02; done"))
    first = wait_for(executor, 1)
    assert codes(first) == {"soon": "Success"}
    assert codes(wait_for(executor, 1)) == {"late": "ERR_TIMEOUT"}
    assert gone(int((place / "work/child").read_text()))


def test_what_is_in_time_is_no_time_out(executor: Executor) -> None:
    executor.start(run("a", "true", timeout_seconds=0.5))
    assert codes(wait_for(executor, 1)) == {"a": "Success"}
    time.sleep(0.6)
    executor.wait(0.01)
    assert executor.collect() == []


def test_what_is_stopped_is_cut_short_and_sealed(executor: Executor, place: Path) -> None:
    executor.start(run("a", "echo begun; echo $$ > child; exec sleep 60"))
    executor.start(run("b", "exec sleep 60", timeout_seconds=50))
    while not (place / "work/child").exists() or not (place / "work/child").read_text():
        time.sleep(0.01)
    started = time.monotonic()
    stopped = executor.stop()
    assert time.monotonic() - started < 5, "a zombie was taken for alive"
    assert (stopped.cut_short, stopped.ended, executor.is_busy) == ({("a", 1), ("b", 1)}, [], False)
    assert gone(int((place / "work/child").read_text()))
    assert [(file.path, file.size) for file in executor.collect_logs()] == [("stdout/a.txt", 6)]


def test_who_breaks_off_the_wait_loses_nothing(executor: Executor) -> None:
    def hear(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, hear)
    try:
        for n in range(20):
            executor.start(run(f"s{n}", "true"))
            with pytest.raises(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, 0.001 + n / 10_000)
                executor.wait(0.5)
                time.sleep(5)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(wait_for(executor, 20)) == 20


def test_what_takes_long_to_read_is_read_beside_the_others(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its seal is there when its end is told, all the same."""
    monkeypatch.setattr(command, "MAX_SHORT_BYTES", 1000)
    executor.start(run("a", "printf '{\"n\": 1}'; head -c 2000 /dev/zero | tr '\\0' ' '", keeps_stdout=True))
    ((_, outcome),) = wait_for(executor, 1)
    assert isinstance(outcome, Success)
    assert outcome.outputs == {"n": 1}
    assert [file.size for file in executor.collect_logs()] == [2008]


def test_a_shared_lock_is_waited_for_beside_the_others(executor: Executor) -> None:
    lock = LockRequest("k", timeout_seconds=20)
    for name in "abc":
        executor.start(run(name, "mkdir in && sleep 0.05 && rmdir in", lock=lock))
    executor.start(run("free", "true"))
    assert set(codes(wait_for(executor, 4)).values()) == {"Success"}


def test_who_has_just_got_a_lock_when_all_is_stopped_has_not_begun(executor: Executor, place: Path) -> None:
    executor.start(run("a", "touch a", lock=LockRequest("k", timeout_seconds=20)))
    executor.wait(20)
    assert executor.stop() == Stopped(set(), [])
    assert not (place / "work/a").exists()
    with RunDirectory(place / "run").hold_shared_lock(LockRequest("k"), "now"):
        pass


def test_who_waits_for_a_lock_when_all_is_stopped_has_not_begun(executor: Executor, place: Path) -> None:
    lock = LockRequest("k", timeout_seconds=20)
    executor.start(run("a", "touch a; sleep 60", lock=lock))
    while not (place / "work/a").exists():
        executor.wait(0.2)
        assert executor.collect() == []
    executor.start(run("b", "touch b", lock=lock))
    assert executor.stop() == Stopped({("a", 1)}, [])
    assert not (place / "work/b").exists()
    with RunDirectory(place / "run").hold_shared_lock(LockRequest("k"), "now"):
        pass


def test_what_cannot_be_written_is_not_begun(executor: Executor, place: Path) -> None:
    (place / "run/stdout").write_text("")
    executor.start(run("a", "touch ran"))
    ((_, outcome),) = wait_for(executor, 1)
    assert isinstance(outcome, NotBegun)
    assert not (place / "work/ran").exists()


def test_nothing_stays_open(executor: Executor) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for n in range(10):
        executor.start(run(f"s{n}", "echo x", timeout_seconds=20))
        executor.start(run(f"t{n}", "echo x", secrets=("HOME",)))
    wait_for(executor, 20)
    executor.stop()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_thread_that_has_told_its_outcome_is_over_before_its_bell_is_taken_away(place: Path) -> None:
    """Failed with: not waited for, so that it rang into whatever had been opened since."""
    executor = Executor(RunDirectory(place / "run"), place / "work", "R", lambda _: Success(outputs={}))
    conclude = executor._conclude

    def conclude_slowly(*given: Any) -> None:
        conclude(*given)
        time.sleep(0.3)

    executor._conclude = conclude_slowly  # type: ignore[method-assign]
    executor.start(run("a", ""))
    thread = next(iter(executor._busy.values())).thread
    assert thread is not None
    wait_for(executor, 1)
    assert not thread.is_alive()
    executor.stop()


def test_without_threads_all_is_done_one_after_the_other(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed with: a bug, and commands that nobody stopped."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    executor = Executor(RunDirectory(place / "run"), place / "work", "R")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        executor.start(run("locked", "true", lock=LockRequest("k")))
        executor.start(run("late", "sleep 60", timeout_seconds=0.1))
        executor.start(run("slow", "exec sleep 60"))
        assert codes(wait_for(executor, 2)) == {"locked": "Success", "late": "ERR_TIMEOUT"}
        assert executor.stop() == Stopped({("slow", 1)}, [])


def test_what_was_done_is_told_before_a_mistake_is(place: Path) -> None:
    """Failed with: what ended beside it forgotten, so that it was in doubt."""
    together = threading.Barrier(3)

    def function(action: Effect) -> Outcome:
        together.wait(20)
        if action.path == "wrong":
            raise ZeroDivisionError
        return Success(outputs={})

    executor = Executor(RunDirectory(place / "run"), place / "work", "R", function)
    for path in ("wrong", "right"):
        executor.start(run(path, ""))
    together.wait(20)
    time.sleep(0.2)
    assert codes(executor.collect()) == {"right": "Success"}
    with pytest.raises(ZeroDivisionError):
        executor.collect()
    executor.stop()
