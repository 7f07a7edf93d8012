"""Actions -> outcomes: everything that is pending is done at once, each in a thread of its own.

Nothing raises here: what goes wrong with a deed is its outcome.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol, assert_never

from msgspec import Struct

from checkpointflow.drivers.command import Command
from checkpointflow.engine.actions import Action, CallHttp, Outcome, RunCommand, Sleep, Slept, StoredFile
from checkpointflow.errors import LockConflict, PersistenceError
from checkpointflow.store.clock import now
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.seals import printed


class NotBegun(Struct, frozen=True):
    """The deed was not begun: somebody else holds the lock that it needs, or the store cannot be written."""

    why: LockConflict | PersistenceError


class Doing(Protocol):
    """A deed under way."""

    def perform(self) -> Outcome:
        """Do it, to its end."""

    def stop(self) -> None:
        """Cut it short, from another thread."""


class Executor:
    """Those who do what a run asks for."""

    def __init__(self, directory: RunDirectory, start_directory: Path, run_id: str) -> None:
        self._directory = directory
        self._run_id = run_id
        self._start_directory = start_directory
        self._done: SimpleQueue[tuple[Action, Outcome | NotBegun | Exception]] = SimpleQueue()
        self._printed: SimpleQueue[tuple[StoredFile, ...]] = SimpleQueue()
        self._stopping = threading.Event()
        self._busy: dict[tuple[str, int], tuple[Doing, threading.Thread]] = {}

    @property
    def busy(self) -> bool:
        """Whether anything is under way."""
        return bool(self._busy)

    def take(self, action: Action) -> None:
        """Begin *action*, unless it is under way already."""
        key = (action.path, action.attempt)
        if key not in self._busy:
            doing = self._doing(action)
            thread = threading.Thread(target=self._do, args=(action, doing), daemon=True)
            self._busy[key] = (doing, thread)
            thread.start()

    def next(self, within_seconds: float) -> tuple[Action, Outcome | NotBegun] | None:
        """What ends next, and how; None if nothing does *within_seconds*.

        Raises what a deed raised, which is a mistake of ours: it may or may not have been done.
        """
        try:
            action, outcome = self._done.get(timeout=within_seconds)
        except Empty:
            return None
        self._busy.pop((action.path, action.attempt))
        if isinstance(outcome, Exception):
            raise outcome
        return action, outcome

    def finished(self) -> list[tuple[Action, Outcome | NotBegun]]:
        """What has ended already, and how."""
        found = []
        while (done := self.next(0)) is not None:
            found.append(done)
        return found

    def printed(self) -> tuple[StoredFile, ...]:
        """The logs of what has ended since this was last asked."""
        found: list[StoredFile] = []
        while not self._printed.empty():
            found += self._printed.get()
        return tuple(found)

    def stop(self) -> set[tuple[str, int]]:
        """Cut short all that is under way; returns once nothing is, with what was (by path and attempt)."""
        self._stopping.set()
        stopping = [threading.Thread(target=doing.stop) for doing, _ in self._busy.values()]
        for thread in stopping:
            thread.start()
        for thread in [*stopping, *(thread for _, thread in self._busy.values())]:
            thread.join()
        begun = set(self._busy)
        for action, outcome in self.finished():
            if isinstance(outcome, NotBegun):
                begun.discard((action.path, action.attempt))
        return begun

    def _doing(self, action: Action) -> Doing:
        match action:
            case Sleep():
                return _Pause(action)
            case RunCommand():
                return Command(action, self._directory, self._start_directory, self._run_id)
            case CallHttp():
                from checkpointflow.drivers.http import Call  # late: few runs make calls

                return Call(action, self._directory)
            case _:
                assert_never(action)

    def _do(self, action: Action, doing: Doing) -> None:
        outcome: Outcome | NotBegun | Exception
        try:
            with ExitStack() as stack:
                if not isinstance(action, Sleep) and action.lock is not None:
                    lock = self._directory.shared_lock(action.lock, now(), self._stopping.is_set)
                    stack.enter_context(lock)
                outcome = doing.perform()
        except (LockConflict, PersistenceError) as error:
            outcome = NotBegun(error)
        except Exception as error:  # noqa: BLE001, raised again where somebody hears it
            outcome = error
        with suppress(Exception):  # whatever it is, the outcome must be heard of
            self._printed.put(printed(self._directory, action))
        self._done.put((action, outcome))


class _Pause:
    """The time between two attempts."""

    def __init__(self, action: Sleep) -> None:
        self._until = datetime.fromisoformat(action.until)
        self._over = threading.Event()

    def perform(self) -> Outcome:
        """Let it pass."""
        self._over.wait(max(0.0, (self._until - datetime.now(UTC)).total_seconds()))
        return Slept()

    def stop(self) -> None:
        """Cut it short."""
        self._over.set()
