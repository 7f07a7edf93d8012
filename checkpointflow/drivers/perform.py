"""Actions -> outcomes: all that is pending is performed at once.

A command needs nobody to wait for it: it is started here, and a descriptor says when its process has ended.
A pause is a moment that is waited for no longer than to. What waits for more than that has a thread: HTTP
calls, locks, commands that have to be ended, and those that have left much to read.

Whatever is raised on the way is a failure of the step. Whoever drives a run may give a function that performs
commands and HTTP calls instead: it is called in a thread, nothing can cut it short, and what it raises is
raised again where the run is driven, since nobody knows then what was done.
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
from typing import Protocol, assert_never

from msgspec import Struct

from checkpointflow.drivers.children import find_inheritance
from checkpointflow.drivers.command import Command
from checkpointflow.drivers.outcomes import NotBegun, copy_outcome, fail
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
from checkpointflow.errors import DirectoryGone, LockConflict, PersistenceError
from checkpointflow.store.clock import now
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.seals import seal_logs

Perform = Callable[[Effect], Outcome]
"""Performs an action and returns its outcome, a Success or a Failure."""

Clock = Callable[[], str]
"""The time now: UTC in ISO 8601, with milliseconds and `Z`."""

Key = tuple[str, int]
"""An attempt: the path of its step, and its number."""


class Attempt(Protocol):
    """An action under way that has a thread."""

    def perform(self) -> Outcome:
        """Do it, to its end."""

    def stop(self) -> None:
        """Cut it short, from another thread."""


Ended = tuple[Action, Outcome | NotBegun]


class _Deed:
    """An action under way. attempt: whoever performs it (a pause needs nobody); lock: that it holds, if any.

    deadline: of the monotonic clock; when a pause is over, or the time of a command is up.
    """

    def __init__(self, action: Action, attempt: Attempt | Command | None) -> None:
        self.action = action
        self.attempt = attempt
        self.lock = ExitStack()
        self.thread: threading.Thread | None = None
        self.deadline = float("inf")
        self.has_begun = False
        self.is_stopped = False


_End = tuple[_Deed, Outcome | NotBegun | BaseException | None, tuple[StoredFile, ...]]
"""How an action ended, and what it left in its logs; None: it has not even begun, but may now."""


class Stopped(Struct, frozen=True):
    """What was under way when all was stopped: cut short, or ended since nothing could stop it."""

    cut_short: set[Key]
    ended: list[Ended]


class Executor:
    """Those who perform what a run asks for. All of its methods are called from one thread.

    secrets: variables of our environment that only those commands are given that name them.
    """

    def __init__(
        self,
        directory: RunDirectory,
        start_directory: Path | str,
        run_id: str,
        perform: Perform | None = None,
        clock: Clock = now,
        secrets: frozenset[str] = frozenset(),
    ) -> None:
        self._directory = directory
        self._run_id = run_id
        self._start_directory = start_directory
        self._function = perform
        self._clock = clock
        self._inheritance = find_inheritance()
        for name in secrets:  # a command finds those that it names; of others it could tell, and nobody masks
            self._inheritance.environment.pop(name, None)
        self._ended: SimpleQueue[_End] = SimpleQueue()
        self._logs: list[StoredFile] = []
        self._busy: dict[Key, _Deed] = {}
        self._watched: dict[int, tuple[_Deed, Command]] = {}
        self._poll = select.poll()
        self._told: list[tuple[int, int]] = []
        self._bell: tuple[FileIO, FileIO] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way."""
        return bool(self._busy)

    def start(self, action: Action) -> None:
        """Start *action*, unless it is under way already."""
        key = (action.path, action.attempt)
        if key in self._busy:
            return
        deed = self._busy[key] = _Deed(action, self._prepare(action))
        if isinstance(action, Sleep):
            deed.has_begun = True
            left = datetime.fromisoformat(action.until) - datetime.fromisoformat(self._clock())
            deed.deadline = time.monotonic() + left.total_seconds()
        elif action.lock is not None or (isinstance(deed.attempt, Command) and action.attempt > 1):
            self._start_thread(deed, lambda: self._make_way(action, deed))
        else:
            self._begin(deed)

    def wait(self, seconds: float) -> None:
        """Return once something has ended, at the latest after *seconds*; may be broken off at any moment."""
        if self._ended.empty():
            first = min((deed.deadline for deed in self._busy.values()), default=float("inf"))
            self._told = self._poll.poll(1000 * max(0.0, min(seconds, first - time.monotonic())))

    def collect(self) -> list[Ended]:
        """What has ended already, and how.

        Raises what an attempt raised, which is a mistake: it may or may not have been done.
        """
        self._look()
        found, mistakes = list[Ended](), list[tuple[_Deed, BaseException]]()
        while not self._ended.empty():
            deed, outcome, logs = self._ended.get()
            self._logs += logs
            if deed.thread is not None:  # it may be about to ring
                deed.thread.join()
            if outcome is None and not deed.is_stopped:
                self._begin(deed)
                continue
            deed.lock.close()
            if isinstance(outcome, BaseException):
                mistakes.append((deed, outcome))
                continue
            del self._busy[deed.action.path, deed.action.attempt]
            if outcome is not None:
                found.append((deed.action, outcome))
        if mistakes and not found:
            raise mistakes[0][1]
        for mistake in mistakes:  # raised when asked again, once it is told what else has ended
            self._ended.put((*mistake, ()))
        return found

    def collect_logs(self) -> tuple[StoredFile, ...]:
        """The logs of what has ended since this was last asked."""
        found, self._logs = self._logs, []
        return tuple(found)

    def stop(self, keeps: Callable[[str], bool] = lambda _: False) -> Stopped:
        """Cut short all that is under way but the steps, by path, that it *keeps*; returns once it is."""
        # A command that ended by itself meanwhile counts as cut short, too. That is not nice, but after a
        # signal nobody can tell which of the two it was.
        under_way = {key: deed for key, deed in self._busy.items() if not keeps(key[0])}
        for key, deed in under_way.items():
            deed.is_stopped = True
            if deed.attempt is None:
                del self._busy[key]
        stopping = [
            _start_beside(deed.attempt.stop) for deed in under_way.values() if deed.attempt is not None
        ]
        for thread in [*stopping, *(deed.thread for deed in under_way.values())]:
            if thread is not None:
                thread.join()
        self._told = []  # of descriptors that others have by now, perhaps
        for deed, command in list(self._watched.values()):
            if deed.is_stopped:
                self._unwatch(deed, command)
                self._conclude(deed, command.finish)
        if all(deed.is_stopped for deed in self._busy.values()):
            self._remove_bell()
        cut_short, ended = {key for key, deed in under_way.items() if deed.has_begun}, list[Ended]()
        for action, outcome in self.collect():
            key = (action.path, action.attempt)
            if key not in under_way:
                ended.append((action, outcome))
            elif isinstance(outcome, NotBegun):
                cut_short.discard(key)
            elif isinstance(under_way[key].attempt, _Function):
                cut_short.discard(key)
                ended.append((action, outcome))
        return Stopped(cut_short, ended)

    def _prepare(self, action: Action) -> Attempt | Command | None:
        if isinstance(action, Sleep):
            return None
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

    def _begin(self, deed: _Deed) -> None:
        """Have *deed* begin, which holds the lock that it needs, and its end told."""
        command, deed.has_begun = deed.attempt, True
        if not isinstance(command, Command):
            assert command is not None, "a pause needs nothing more"
            self._start_thread(deed, command.perform)
            return
        self._conclude(deed, command.begin)
        if command.watch is not None:
            if command.action.timeout_seconds is not None:
                deed.deadline = time.monotonic() + command.action.timeout_seconds
            self._watched[command.watch] = (deed, command)
            self._poll.register(command.watch, select.POLLIN)

    def _look(self) -> None:
        """See what has ended, and whose time is up."""
        told, self._told = self._told or self._poll.poll(0), []
        for fd, _ in told:
            if fd in self._watched:
                deed, command = self._watched[fd]
                self._unwatch(deed, command)
                (self._start_thread if command.takes_long() else self._conclude)(deed, command.finish)
            elif self._bell is not None:
                self._bell[0].read(1 << 16)
        now = time.monotonic()
        for deed in [deed for deed in self._busy.values() if deed.deadline <= now]:
            if isinstance(deed.attempt, Command):
                self._unwatch(deed, deed.attempt)
                self._start_thread(deed, deed.attempt.expire)
            else:
                self._conclude(deed, Slept)

    def _unwatch(self, deed: _Deed, command: Command) -> None:
        deed.deadline = float("inf")
        assert command.watch is not None, "it has begun"
        self._poll.unregister(command.watch)
        del self._watched[command.watch]

    def _start_thread(self, deed: _Deed, perform: Callable[[], Outcome | NotBegun | None]) -> None:
        """Have *deed* performed in a thread, which rings when it is over."""
        try:
            if self._bell is None:
                heard, rung = os.pipe()
                os.set_blocking(
                    rung, False
                )  # full of rings that nobody has heard yet, it needs no more of them
                self._poll.register(heard, select.POLLIN)
                self._bell = (FileIO(heard), FileIO(rung, "w"))
        except OSError:  # no more descriptors: then here, and all else waits
            self._conclude(deed, perform)
        else:
            deed.thread = _start_beside(lambda: self._work(deed, perform))

    def _remove_bell(self) -> None:
        if self._bell is not None:
            self._poll.unregister(self._bell[0].fileno())
            for end in self._bell:
                end.close()
            self._bell = None

    # In any thread

    def _work(self, deed: _Deed, perform: Callable[[], Outcome | NotBegun | None]) -> None:
        self._conclude(deed, perform)
        assert self._bell is not None
        self._bell[1].write(b".")

    def _make_way(self, action: Effect, deed: _Deed) -> NotBegun | None:
        """See to what must be before *action* begins, and tell when it may: its lock, and no leftovers."""
        command = deed.attempt if isinstance(deed.attempt, Command) else None
        if command is not None:
            command.end_predecessors()
        if action.lock is not None:
            try:
                held = self._directory.hold_shared_lock(action.lock, self._clock(), lambda: deed.is_stopped)
                fd = deed.lock.enter_context(held)
            except (LockConflict, PersistenceError) as error:
                return NotBegun(error)
            if command is not None:
                command.named_lock = fd
        self._ended.put((deed, None, ()))
        return None

    def _conclude(self, deed: _Deed, perform: Callable[[], Outcome | NotBegun | None]) -> None:
        """Have *deed* performed, and tell how it ended, whatever happens, if it has (not None)."""
        outcome: Outcome | NotBegun | BaseException | None
        try:
            outcome = perform()
        except BaseException as error:  # noqa: BLE001, raised again where somebody hears it
            outcome = error if isinstance(deed.attempt, _Function) else _give_up(deed, error)
        if outcome is None:
            return
        logs: tuple[StoredFile, ...] = ()
        with suppress(BaseException):  # whatever it is, the outcome must be heard of
            if isinstance(deed.attempt, Command):
                logs = deed.attempt.seal()
            else:
                logs = seal_logs(self._directory, deed.action)
        self._ended.put((deed, outcome, logs))


def _give_up(deed: _Deed, error: BaseException) -> Outcome | NotBegun | BaseException:
    """What it means for a step that performing it has raised *error*."""
    if isinstance(error, PersistenceError | DirectoryGone):
        return NotBegun(error)
    if not isinstance(error, Exception):
        return error
    if deed.attempt is not None:
        deed.attempt.stop()
    return fail(f"cpf could not do it, or not see it through: {type(error).__name__}: {error}")


def _start_beside(do: Callable[[], None]) -> threading.Thread | None:
    """The thread in which *do* was started; None if the system has no more: then it is done already."""
    thread = threading.Thread(target=do, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        do()
        return None
    return thread


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
