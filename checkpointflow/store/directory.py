"""One run on disk: a directory with a history and a snapshot, one writer, any number of readers.

A commit is one append to the history, synced: from then on its facts have happened. The snapshot, which is
what people read, follows: it is replaced (write beside, fsync, rename, fsync the directory) before the run
rests, before its driver waits longer than MAX_LAG_SECONDS for a step, and in between at most as often as that
takes a tenth of the time. So a step costs one append, however long the run is, and the snapshot is never more
than a moment behind.

It stays behind if its writer is killed in that moment. Whoever loads the run goes on from the snapshot
through the rest of the history, and a writer then writes the snapshot anew. Readers take no lock: a snapshot
is always whole, and they stop before a commit that is not. They may see one that is not synced yet; only the
writer acts on what he reads, and he syncs it first.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from checkpointflow.engine.actions import LockRequest
from checkpointflow.engine.facts import Fact, RunBegan
from checkpointflow.engine.run import Run, pending
from checkpointflow.errors import (
    CheckpointflowError,
    LockConflict,
    PersistenceError,
    RunNotFound,
    StateCorrupt,
)
from checkpointflow.store.files import (
    RunFiles,
    create_anew,
    digest,
    explain,
    locate,
    make_lasting,
    make_private,
    open_safely,
    read_all,
    refuse_shared,
    replace_file,
    translate_errors,
)
from checkpointflow.store.history import (
    Entry,
    HistoryFile,
    decode_beginning,
    decode_fact,
    decode_line,
    describe_missing,
    find_whole,
    fold,
    read_rest,
)
from checkpointflow.store.layout import (
    CANCEL,
    HISTORY,
    IMPORTED,
    LOCK,
    LOCKS,
    NOTE,
    RUNS,
    STATE,
    STEP_LOCK,
    is_digest,
    output_name,
)
from checkpointflow.store.locks import (
    Wish,
    describe_orphans,
    find_holders,
    find_wish,
    hold_lock,
    hold_wish,
    list_marks,
    make_mark,
    read_holder,
    seems_alive,
)
from checkpointflow.store.snapshot import Damaged, Known, decode, encode

FULL = (errno.ENOSPC, errno.EDQUOT)
MAX_LAG_SECONDS = 0.05
MAX_NOTE_BYTES = 64 << 10
REST_FACTOR = 9  # a write, and nine times as long without one: a tenth of the time


class Note(Struct, frozen=True):
    """What somebody said who handed a run over; who, and when, as they had it."""

    text: str
    by: str
    at: str


class RunDirectory(RunFiles):
    """One run on disk. Whoever changes it holds it first.

    runs_here: its commands run on this machine; reached_by: what else names it on a command line.
    """

    runs_here = True
    reached_by: tuple[str, ...] = ()

    def __init__(self, place: Path, *, allow_shared: bool = False) -> None:
        super().__init__(place)
        self.allow_shared = allow_shared
        self._history = HistoryFile(place)
        self._known: Known | None = None
        self._ahead: Run | None = None
        self._due = 0.0
        self._may_lag = False

    @classmethod
    def at(cls, place: Path, *, allow_shared: bool = False) -> RunDirectory:
        """The run that lies in the directory *place*, wherever that is. Raises RunNotFound."""
        if not os.path.exists(place / STATE):
            raise RunNotFound(problem=f"{place} is no run directory: there is no {STATE} in it")
        refuse_shared(allow_shared, place)
        return cls(locate(place), allow_shared=allow_shared)

    @property
    def base(self) -> Path | None:
        """The store that it lies in; None if it is in none."""
        return self.place.parent.parent if self.place.parent.name == RUNS else None

    @property
    def whereabouts(self) -> str:
        """Where it lies, for people."""
        return str(self.place)

    # Reading

    def load(self) -> Run:
        """The run at its latest checkpoint. Raises RunNotFound, PersistenceError, StateCorrupt.

        For whoever holds it, the snapshot is then what the history makes.
        """
        try:
            decoded = decode(self.read(STATE), self._fetch)
        except Damaged as damage:
            raise StateCorrupt(file=self.place / STATE, problem=str(damage)) from None
        run, self._known = decoded.run, decoded.known
        facts = self.read_beyond(run.checkpoint_id)
        if not facts:
            return run
        try:
            run = fold(facts, run)
        except ValueError as error:
            raise StateCorrupt(file=self.place / HISTORY, problem=str(error)) from None
        if self.step_lock is not None:
            with translate_errors(self.place / HISTORY):
                self._history.open(run.checkpoint_id, is_ahead=True)
            self._ahead = run
            self.catch_up()
        return run

    def read_beyond(self, checkpoint_id: str) -> list[Fact]:
        """What has happened since the checkpoint of the snapshot. Raises StateCorrupt."""
        try:
            rest = read_rest(self.place, checkpoint_id)
        except (OSError, StateCorrupt):  # told by whoever needs the history itself
            return []
        try:
            return [decode_fact(link) for link in find_whole(rest, checkpoint_id)] if rest else []
        except ValueError as error:
            raise StateCorrupt(file=self.place / HISTORY, problem=str(error)) from None

    def read(self, name: str) -> bytes:
        """The bytes of the file *name* of the run. Raises RunNotFound, PersistenceError."""
        try:
            with open_safely(f"{self.place}/{name}") as fd:
                return read_all(fd)
        except OSError as error:
            raise self._translate(name, error) from None

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """The file *name* of the run, to be read bit by bit. Raises RunNotFound, PersistenceError."""
        try:
            with open_safely(f"{self.place}/{name}") as fd, open(fd, "rb", closefd=False) as file:
                yield file
        except OSError as error:
            raise self._translate(name, error) from None

    def _translate(self, name: str, error: OSError) -> RunNotFound | PersistenceError:
        if isinstance(error, FileNotFoundError):
            return RunNotFound(problem=f"{self.place} is no whole run directory: {name} is missing")
        return PersistenceError(file=self.place / name, problem=explain(error))

    def history(self, run: Run) -> Iterator[Entry]:
        """What happened up to the checkpoint of *run*, oldest first, as it is read. Raises as `load` does."""
        with self.open(HISTORY) as file:
            try:
                for entry in map(decode_line, file):
                    yield entry
                    if entry.checkpoint_id == run.checkpoint_id:
                        return
            except ValueError as error:
                raise StateCorrupt(file=self.place / HISTORY, problem=str(error)) from None
        raise StateCorrupt(file=self.place / HISTORY, problem=describe_missing(run.checkpoint_id))

    def facts(self, run: Run) -> Iterator[Fact]:
        """The facts alone of `history`."""
        return (entry.fact for entry in self.history(run))

    def read_beginning(self) -> RunBegan:
        """How the run began, by the first line of its history. Raises as `load` does."""
        with self.open(HISTORY) as file:
            line = file.readline()
        try:
            return decode_beginning(line)
        except ValueError:
            problem = "it does not begin as one of a run does"
            raise StateCorrupt(file=self.place / HISTORY, problem=problem) from None

    def seems_held(self) -> bool:
        """Whether some process may be at work here: a hint for readers, who take no lock."""
        holder = read_holder(self.place / LOCK)
        return holder is not None and seems_alive(holder.pid, holder.host)

    @property
    def is_halted(self) -> bool:
        """Whether it is hosted elsewhere, and goes on only once somebody says so."""
        return False

    def _fetch(self, name: str) -> bytes:
        """What is too long for the snapshot and has the digest *name*."""
        data = self.read(output_name(name)) if is_digest(name) else b""
        if digest(data) != name:
            file = self.place / output_name(name)
            raise StateCorrupt(file=file, problem="it is not what its name, a digest, says")
        return data

    def gather(self) -> None:
        """Have all of its files lie here, as they do, unless it is a copy."""

    # Writing

    @contextmanager
    def hold(
        self,
        command: str,
        now: str,
        timeout_seconds: float = 0,
        *,
        end_orphans: Callable[[Path], None] | None = None,
        may_lag: bool = False,
    ) -> Iterator[None]:
        """Be the one writer. Raises LockConflict once *timeout_seconds* have passed.

        A command that outlived its cpf counts as a holder too, if its step is under way, unless *end_orphans*
        sees to it: it is called with the file that such a command has open, once no cpf can be at work here.
        *may_lag*: it is enough that the history tells what is committed, should the disk have no room for the
        snapshot.
        """
        what = f"run {self.place.name}"
        has_crashed = read_holder(self.place / LOCK) is not None  # or is at work, as is seen next
        with ExitStack() as stack:
            stack.enter_context(hold_lock(self.place / LOCK, what, command, now, timeout_seconds))
            if end_orphans is not None:
                end_orphans(self.place / STEP_LOCK)
            lock = partial(hold_lock, self.place / STEP_LOCK, what, command, now)
            self.step_lock = self._take_step_lock(stack, lock, timeout_seconds, has_crashed)
            self._due, self._may_lag = time.monotonic() + MAX_LAG_SECONDS, may_lag
            try:
                yield
                self.catch_up()
            except BaseException:
                with suppress(PersistenceError):  # something is told already, and nothing is lost
                    self.catch_up()
                raise
            finally:
                self.step_lock = None
                self._history.close()

    def _take_step_lock(
        self,
        stack: ExitStack,
        lock: Callable[[float], AbstractContextManager[int]],
        timeout_seconds: float,
        has_crashed: bool,
    ) -> int:
        """The descriptor that commands inherit: of the lock, unless processes that may live on hold it.

        Those were left by a step that has ended. Then commands have the file open, but it is not locked, so
        that whoever comes after a crash cannot go by the lock alone.
        """
        steps, taken = self.place / STEP_LOCK, None
        with suppress(LockConflict):
            taken = stack.enter_context(lock(0))
        if taken is not None and not has_crashed:
            return taken
        holders = find_holders(steps)
        orphans = self._find_orphans(holders) if holders else set()
        if orphans or (taken is None and not holders):
            with suppress(LockConflict):
                if taken is None:
                    return stack.enter_context(lock(timeout_seconds))
            raise LockConflict(what=f"run {self.place.name}", holder=describe_orphans(orphans))
        if taken is None:
            with translate_errors(steps):
                taken = os.open(steps, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            stack.callback(os.close, taken)
        return taken

    def _find_orphans(self, pids: set[int]) -> set[int]:
        """Those of *pids* that may be at work on a step under way: all that were not started by another."""
        try:
            run = self.load()
        except CheckpointflowError:  # told by whoever needs it
            return pids
        place = str(self.place)
        under_way = {make_mark(place, action.path, action.attempt) for action in pending(run)}
        found = set()
        for pid in pids:
            marks = {mark for mark in list_marks(pid) if mark.endswith(f" {place}")}
            if not marks or marks & under_way:
                found.add(pid)
        return found

    def hold_shared_lock(
        self, wanted: LockRequest, now: str, given_up: Callable[[], bool] = lambda: False
    ) -> AbstractContextManager[int]:
        """Hold the lock that *wanted* names, which all runs of the store share.

        Raises LockConflict when its time is up, or when it is *given_up*.
        """
        above = self.place.parent
        locks = (above.parent if above.name == RUNS else above) / LOCKS
        with translate_errors(locks):
            make_private(locks)
        refuse_shared(self.allow_shared, locks.parent, locks)
        file = locks / f"{digest(wanted.key.encode(errors='replace'))}.lock"
        what, command = f"the lock {wanted.key!r}", f"run {self.place.name}"
        return hold_lock(file, what, command, now, wanted.timeout_seconds, given_up)

    def commit(self, run: Run, facts: list[Fact], before: Run | None) -> None:
        """Make *run* what the next process will find; returns once it would survive a power cut.

        *facts* are what made it of *before* (None: nothing is there yet). To be called by whoever holds the
        run. Raises StateCorrupt, and PersistenceError: of the history, nothing has happened then; of the
        snapshot, the facts have.
        """
        with translate_errors(f"{self.place}/{HISTORY}"):
            self._append(facts, None if before is None else before.checkpoint_id)
        self._ahead = run
        # At once also after the first commit: without a snapshot nobody takes the directory for a run.
        if before is None or not pending(run) or time.monotonic() >= self._due:
            self.catch_up()

    def _append(self, facts: list[Fact], after: str | None) -> None:
        """Add to the history, on a full disk in the room of the cache, all of which may go."""
        try:
            self._history.append(facts, after)
        except OSError as error:
            from checkpointflow.store.cache import Cache  # late: that is rare

            if error.errno not in FULL or not Cache.beside(self.place).clear():
                raise
            self._history.append(facts, after)

    @property
    def is_behind(self) -> bool:
        """Whether the snapshot does not say yet all that was committed."""
        return self._ahead is not None

    def catch_up(self) -> None:
        """Have the snapshot say what was committed, if it does not. Raises PersistenceError."""
        run, self._ahead = self._ahead, None
        if run is not None:
            begin = time.monotonic()
            with (
                suppress(*([PersistenceError] if self._may_lag else [])),
                translate_errors(self.place / STATE),
            ):
                self._write_snapshot(run)
            end = time.monotonic()
            self._due = end + max(MAX_LAG_SECONDS, REST_FACTOR * (end - begin))

    def _write_snapshot(self, run: Run) -> None:
        """What lies beside it first, so that no snapshot ever names what is not there."""
        encoded = encode(run, self._known)
        for name, data in encoded.beside.items():
            if not os.path.exists(self.place / output_name(name)):
                self.keep(output_name(name), data)
        replace_file(self.place / STATE, encoded.state)
        self._known = encoded.known

    def keep(self, name: str, data: bytes) -> None:
        """Write the file *name* of the run, whole or not at all; it survives a power cut."""
        with translate_errors(self.place / name):
            file = self.file(name)
            make_lasting(file.parent)
            replace_file(file, data)

    # What came in an archive

    def keep_note(self, note: Note) -> None:
        """Have it stand beside the run."""
        self.keep(NOTE, msgspec.json.encode(note))

    def read_note(self) -> Note | None:
        """What was said when the run was last handed over; what is no note, or too long for one, is none."""
        with suppress(OSError, ValueError, PersistenceError), open_safely(f"{self.place}/{NOTE}") as fd:
            return msgspec.json.decode(os.read(fd, MAX_NOTE_BYTES), type=Note)
        return None

    @property
    def is_foreign(self) -> bool:
        """Whether the run came in an archive, and nobody here has said yet where its commands run."""
        return (self.place / IMPORTED).exists()

    def mark_foreign(self) -> None:
        """Have the run ask, before it goes on, where its commands run; whoever calls syncs the directory."""
        with translate_errors(self.place / IMPORTED):
            os.close(create_anew(self.place / IMPORTED))

    def accept(self) -> None:
        """It was said."""
        with translate_errors(self.place / IMPORTED), suppress(FileNotFoundError):
            os.unlink(self.place / IMPORTED)

    # Asking the writer to stop

    def ask_to_cancel(self, wish: Wish, now: str, timeout_seconds: float) -> AbstractContextManager[int]:
        """Have word stand, for the process that executes the run, to stop.

        It counts as long as its lock is held: what is left of it after a crash is nobody's wish. Several who
        ask take turns. Raises LockConflict, PersistenceError.
        """
        what = f"the word to cancel run {self.place.name}"
        return hold_wish(self.place / CANCEL, wish, what, now, timeout_seconds)

    def find_wish(self) -> Wish | None:
        """That the run is to stop, and why, if somebody left word of it and still waits for an answer."""
        return find_wish(self.place / CANCEL)
