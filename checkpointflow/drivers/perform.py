"""Actions -> outcomes: all that is pending is performed at once.

A command needs nobody to wait for it: it is started here, and the kernel says when its process has ended.
Where it does not say so, each command has a thread that waits; so has whatever waits for more than a
process: HTTP calls, pauses, commands that need a lock or print secrets, and those that have to be ended or
have left much to read.

Whoever drives a run may give a function that performs commands and HTTP calls instead: it is called in a
thread, nothing can cut it short, and what it raises is raised again where the run is driven, since nobody
knows then what was done.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import datetime
from io import FileIO
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple, Protocol, assert_never

from msgspec import Struct

from checkpointflow.drivers.children import find_inheritance, open_watch
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

Deed = Callable[[], Outcome | NotBegun]


class _Watched(NamedTuple):
    """A command whose end the kernel will tell; deadline: of the monotonic clock."""

    command: Command
    deadline: float


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
        self._inheritance = find_inheritance()
        self._ended: SimpleQueue[tuple[Action, Outcome | NotBegun | BaseException]] = SimpleQueue()
        self._logs: SimpleQueue[tuple[StoredFile, ...]] = SimpleQueue()
        self._stopping = threading.Event()
        self._busy: dict[Key, tuple[Attempt, threading.Thread | None]] = {}
        self._watched: dict[int, _Watched] = {}
        self._poll = select.poll()
        self._bell: tuple[FileIO, FileIO] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way."""
        return bool(self._busy)

    def start(self, action: Action) -> None:
        """Start *action*, unless it is under way already."""
        if (action.path, action.attempt) not in self._busy:
            attempt = self._prepare(action)
            if isinstance(attempt, Command) and attempt.action.lock is None:
                self._begin(attempt)
            else:
                self._start_thread(action, attempt, lambda: self._perform(action, attempt))

    def wait(self, seconds: float) -> None:
        """Return once something has ended, at the latest after *seconds*; may be broken off at any moment."""
        if self._ended.empty():
            first = min((watched.deadline for watched in self._watched.values()), default=float("inf"))
            self._poll.poll(1000 * max(0.0, min(seconds, first - time.monotonic())))

    def collect(self) -> list[Ended]:
        """What has ended already, and how.

        Raises what an attempt raised, which is a mistake: it may or may not have been done.
        """
        self._look()
        found, mistakes = list[Ended](), list[tuple[Action, BaseException]]()
        while not self._ended.empty():
            action, outcome = self._ended.get()
            if isinstance(outcome, BaseException):
                mistakes.append((action, outcome))
            else:
                _, thread = self._busy.pop((action.path, action.attempt))
                if thread is not None:  # it may be about to ring
                    thread.join()
                found.append((action, outcome))
        if mistakes and not found:
            raise mistakes[0][1]
        for mistake in mistakes:  # raised when asked again, once it is told what else has ended
            self._ended.put(mistake)
        return found

    def collect_logs(self) -> tuple[StoredFile, ...]:
        """The logs of what has ended since this was last asked."""
        found: list[StoredFile] = []
        while not self._logs.empty():
            found += self._logs.get()
        return tuple(found)

    def stop(self) -> Stopped:
        """Cut short all that is under way; returns once nothing is. Nothing may be started afterwards."""
        # A command that ended by itself meanwhile counts as cut short, too. That is not nice, but after a
        # signal nobody can tell which of the two it was.
        self._stopping.set()
        under_way = dict(self._busy)
        stopping = [threading.Thread(target=attempt.stop) for attempt, _ in under_way.values()]
        for thread in stopping:
            thread.start()
        for thread in [*stopping, *(thread for _, thread in under_way.values() if thread is not None)]:
            thread.join()
        for fd in list(self._watched):
            command = self._unwatch(fd)
            self._conclude(command.action, command, command.finish)
        self._remove_bell()
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
                directory, start = self._directory, self._start_directory
                return Command(action, directory, start, self._run_id, self._inheritance)
            case CallHttp():
                from checkpointflow.drivers.http import Call  # late: few runs make calls

                return Call(action, self._directory.log("stdout", action.path, action.attempt))
            case _:
                assert_never(action)

    # In the thread that drives the run

    def _begin(self, command: Command) -> None:
        """Start a command, and have its end told: by the kernel, else by a thread."""
        action = command.action
        self._busy[action.path, action.attempt] = (command, None)
        try:
            outcome: Outcome | NotBegun | BaseException | None = command.begin()
        except PersistenceError as error:
            outcome = NotBegun(error)
        except BaseException as error:  # noqa: BLE001, raised again where somebody hears it
            outcome = error
        if outcome is not None:
            self._tell(action, command, outcome)
            return
        fd = None if command.child is None or action.secrets else open_watch(command.child.pid)
        if fd is None:
            self._start_thread(action, command, command.follow)
            return
        late = float("inf") if action.timeout_seconds is None else action.timeout_seconds
        self._watched[fd] = _Watched(command, time.monotonic() + late)
        self._poll.register(fd, select.POLLIN)

    def _look(self) -> None:
        """See what has ended, and whose time is up."""
        for fd, _ in self._poll.poll(0):
            if fd in self._watched:
                command = self._unwatch(fd)
                if command.takes_long():
                    self._start_thread(command.action, command, command.finish)
                else:
                    self._conclude(command.action, command, command.finish)
            elif self._bell is not None:
                self._bell[0].read(1 << 16)
        now = time.monotonic()
        for fd in [fd for fd, watched in self._watched.items() if watched.deadline <= now]:
            command = self._unwatch(fd)
            self._start_thread(command.action, command, command.expire)

    def _unwatch(self, fd: int) -> Command:
        self._poll.unregister(fd)
        os.close(fd)
        return self._watched.pop(fd).command

    def _start_thread(self, action: Action, attempt: Attempt, perform: Deed) -> None:
        """Have *attempt* performed in a thread, which rings when it is over."""
        if self._bell is None:
            heard, rung = os.pipe()
            os.set_blocking(rung, False)  # full of rings that nobody has heard yet, it needs no more of them
            self._poll.register(heard, select.POLLIN)
            self._bell = (FileIO(heard), FileIO(rung, "w"))
        thread = threading.Thread(target=self._work, args=(action, attempt, perform), daemon=True)
        self._busy[action.path, action.attempt] = (attempt, thread)
        thread.start()

    def _remove_bell(self) -> None:
        if self._bell is not None:
            self._poll.unregister(self._bell[0].fileno())
            for end in self._bell:
                end.close()
            self._bell = None

    # In any thread

    def _work(self, action: Action, attempt: Attempt, perform: Deed) -> None:
        self._conclude(action, attempt, perform)
        assert self._bell is not None
        self._bell[1].write(b".")

    def _perform(self, action: Action, attempt: Attempt) -> Outcome | NotBegun:
        """Perform *attempt* under the lock that it needs."""
        begun = False
        try:
            with ExitStack() as stack:
                if not isinstance(action, Sleep) and action.lock is not None:
                    lock = self._directory.hold_shared_lock(action.lock, self._clock(), self._stopping.is_set)
                    stack.enter_context(lock)
                begun = isinstance(attempt, _Function)  # which may raise such an error of its own
                return attempt.perform()
        except (LockConflict, PersistenceError) as error:
            if begun:
                raise
            return NotBegun(error)

    def _conclude(self, action: Action, attempt: Attempt, perform: Deed) -> None:
        """Have *attempt* come to its end, and tell how it ended, whatever happens."""
        outcome: Outcome | NotBegun | BaseException
        try:
            outcome = perform()
        except BaseException as error:  # noqa: BLE001, raised again where somebody hears it
            outcome = error
        self._tell(action, attempt, outcome)

    def _tell(self, action: Action, attempt: Attempt, outcome: Outcome | NotBegun | BaseException) -> None:
        with suppress(BaseException):  # whatever it is, the outcome must be heard of
            if isinstance(attempt, Command):
                self._logs.put(attempt.seal())
            else:
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
