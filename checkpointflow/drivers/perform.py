"""Actions -> outcomes: all that is pending is performed at once, each attempt in a thread of its own.

Commands, HTTP calls and pauses are performed here. Whoever drives a run may give a function that performs
the first two instead: it is called in a thread, nothing can cut it short, and what it raises is raised again
where the run is driven, since nobody knows then what was done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol, assert_never

from msgspec import Struct

from checkpointflow.drivers.command import Command
from checkpointflow.drivers.outcomes import copy_outcome
from checkpointflow.engine.actions import (
    Action,
    CallHttp,
    Effect,
    Outcome,
    RunCommand,
    Sleep,
    Slept,
    StoredFile,
)
from checkpointflow.errors import LockConflict, PersistenceError
from checkpointflow.store.clock import now
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.seals import seal_logs

Perform = Callable[[Effect], Outcome]
"""Performs an action and returns its outcome, a Success or a Failure."""

Clock = Callable[[], str]
"""The time now: UTC in ISO 8601, with milliseconds and `Z`."""

Key = tuple[str, int]
"""An attempt: the path of its step, and its number."""


class NotBegun(Struct, frozen=True):
    """It was not begun: somebody else holds the lock that it needs, or the store cannot be written."""

    why: LockConflict | PersistenceError


class Attempt(Protocol):
    """An action under way."""

    def perform(self) -> Outcome:
        """Do it, to its end."""

    def stop(self) -> None:
        """Cut it short, from another thread."""


Ended = tuple[Action, Outcome | NotBegun]


class Stopped(NamedTuple):
    """What was under way when all was stopped: cut short, or ended since nothing could stop it."""

    cut_short: set[Key]
    ended: list[Ended]


class Executor:
    """Those who perform what a run asks for. All of its methods are called from one thread."""

    def __init__(
        self,
        directory: RunDirectory,
        start_directory: Path,
        run_id: str,
        perform: Perform | None = None,
        clock: Clock = now,
    ) -> None:
        self._directory = directory
        self._run_id = run_id
        self._start_directory = start_directory
        self._function = perform
        self._clock = clock
        self._ended: SimpleQueue[tuple[Action, Outcome | NotBegun | BaseException]] = SimpleQueue()
        self._logs: SimpleQueue[tuple[StoredFile, ...]] = SimpleQueue()
        self._stopping = threading.Event()
        self._busy: dict[Key, tuple[Attempt, threading.Thread]] = {}

    @property
    def busy(self) -> bool:
        """Whether anything is under way."""
        return bool(self._busy)

    def start(self, action: Action) -> None:
        """Start *action*, unless it is under way already."""
        key = (action.path, action.attempt)
        if key not in self._busy:
            attempt = self._prepare(action)
            thread = threading.Thread(target=self._perform, args=(action, attempt), daemon=True)
            self._busy[key] = (attempt, thread)
            thread.start()

    def wait(self, seconds: float) -> Ended | None:
        """What ends next, and how; None if nothing does within *seconds*.

        Raises what an attempt raised, which is a mistake: it may or may not have been done.
        """
        try:
            action, outcome = self._ended.get(timeout=seconds)
        except Empty:
            return None
        self._busy.pop((action.path, action.attempt))
        if isinstance(outcome, BaseException):
            raise outcome
        return action, outcome

    def collect(self) -> list[Ended]:
        """What has ended already, and how."""
        found = []
        while (ended := self.wait(0)) is not None:
            found.append(ended)
        return found

    def collect_logs(self) -> tuple[StoredFile, ...]:
        """The logs of what has ended since this was last asked."""
        found: list[StoredFile] = []
        while not self._logs.empty():
            found += self._logs.get()
        return tuple(found)

    def stop(self) -> Stopped:
        """Cut short all that is under way; returns once nothing is."""
        self._stopping.set()
        under_way = dict(self._busy)
        stopping = [threading.Thread(target=attempt.stop) for attempt, _ in under_way.values()]
        for thread in stopping:
            thread.start()
        for thread in [*stopping, *(thread for _, thread in under_way.values())]:
            thread.join()
        cut_short, ended = set(under_way), list[Ended]()
        for action, outcome in self.collect():
            key = (action.path, action.attempt)
            if isinstance(outcome, NotBegun):
                cut_short.discard(key)
            elif isinstance(under_way[key][0], _Function):
                cut_short.discard(key)
                ended.append((action, outcome))
        return Stopped(cut_short, ended)

    def _prepare(self, action: Action) -> Attempt:
        if isinstance(action, Sleep):
            return _Pause(action, self._clock)
        if self._function is not None:
            return _Function(self._function, action)
        match action:
            case RunCommand():
                return Command(action, self._directory, self._start_directory, self._run_id)
            case CallHttp():
                from checkpointflow.drivers.http import Call  # late: few runs make calls

                return Call(action, self._directory.log("stdout", action.path, action.attempt))
            case _:
                assert_never(action)

    def _perform(self, action: Action, attempt: Attempt) -> None:
        """In a thread of its own: perform *attempt*, and tell how it ended, whatever happens."""
        outcome: Outcome | NotBegun | BaseException
        begun = False
        try:
            with ExitStack() as stack:
                if not isinstance(action, Sleep) and action.lock is not None:
                    lock = self._directory.shared_lock(action.lock, self._clock(), self._stopping.is_set)
                    stack.enter_context(lock)
                begun = isinstance(attempt, _Function)  # which may raise such an error of its own
                outcome = attempt.perform()
        except (LockConflict, PersistenceError) as error:
            outcome = error if begun else NotBegun(error)
        except BaseException as error:  # noqa: BLE001, raised again where somebody hears it
            outcome = error
        with suppress(BaseException):  # whatever it is, the outcome must be heard of
            self._logs.put(seal_logs(self._directory, action))
        self._ended.put((action, outcome))


class _Pause:
    """The time between two attempts."""

    def __init__(self, action: Sleep, clock: Clock) -> None:
        self._until = datetime.fromisoformat(action.until)
        self._clock = clock
        self._over = threading.Event()

    def perform(self) -> Outcome:
        """Let it pass."""
        left = self._until - datetime.fromisoformat(self._clock())
        self._over.wait(max(0.0, left.total_seconds()))
        return Slept()

    def stop(self) -> None:
        """Cut it short."""
        self._over.set()


class _Function:
    """An action that a function performs."""

    def __init__(self, function: Perform, action: Effect) -> None:
        self._function, self._action = function, action

    def perform(self) -> Outcome:
        """Call it."""
        try:
            return copy_outcome(self._function(self._action))
        except KeyboardInterrupt as error:  # would be taken for a signal that stopped all in good order
            raise RuntimeError(f"what performed {self._action.path} was interrupted") from error

    def stop(self) -> None:
        """It is waited for: a thread cannot be ended from outside, and its outcome is a true one."""
