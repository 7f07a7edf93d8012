"""One run on disk: a directory with one whole snapshot, one writer, any number of readers.

A commit appends its facts to the history, then replaces the snapshot: write beside, fsync, rename, fsync
the directory. The snapshot decides. Should the machine die in between, the history is longer than the
snapshot says; the next writer cuts it back, and readers never look beyond the snapshot's checkpoint. So
readers take no lock: what they find is whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from checkpointflow.engine.actions import LockRequest
from checkpointflow.engine.facts import Fact
from checkpointflow.engine.path import is_path
from checkpointflow.engine.run import Run
from checkpointflow.errors import LockConflict, PersistenceError, RunNotFound, StateCorrupt
from checkpointflow.store.files import (
    LINK_PROBLEM,
    digest,
    make_lasting,
    make_private,
    open_safely,
    read_all,
    reason,
    refuse_shared,
    replace_file,
    translate_errors,
)
from checkpointflow.store.history import (
    Entry,
    HistoryFile,
    decode_lines,
    encode_lines,
    end_of,
    missing_problem,
)
from checkpointflow.store.layout import (
    CANCEL,
    HISTORY,
    LOCK,
    LOCKS,
    RUNS,
    STATE,
    STEP_LOCK,
    is_digest,
    log_name,
    output_name,
)
from checkpointflow.store.locks import find_holders, hold_lock, read_holder, seems_alive
from checkpointflow.store.snapshot import Damaged, Known, decode, encode


class CancelRequest(Struct, frozen=True):
    """What one who wants to cancel a run leaves for the process that executes it."""

    reason: str
    pid: int
    host: str


class RunDirectory:
    """One run on disk. Whoever changes it holds it first."""

    def __init__(self, place: Path, *, allow_shared: bool = False) -> None:
        self.place = place
        self.step_lock: int | None = None
        self._allow_shared = allow_shared
        self._history = HistoryFile(place / HISTORY)
        self._known: Known | None = None

    @classmethod
    def at(cls, place: Path, *, allow_shared: bool = False) -> RunDirectory:
        """The run that lies in the directory *place*, wherever that is. Raises RunNotFound."""
        if not (place / STATE).exists():
            raise RunNotFound(problem=f"{place} is no run directory: there is no {STATE} in it")
        refuse_shared(allow_shared, place)
        return cls(place.absolute(), allow_shared=allow_shared)

    # Reading

    def load(self) -> Run:
        """The run at its latest checkpoint. Raises RunNotFound, PersistenceError, StateCorrupt."""
        try:
            run, self._known = decode(self.read(STATE), self._fetch)
        except Damaged as damage:
            raise StateCorrupt(file=self.place / STATE, problem=str(damage)) from None
        return run

    def read(self, name: str) -> bytes:
        """The bytes of the file *name* of the run. Raises RunNotFound, PersistenceError."""
        try:
            with open_safely(self.place / name) as fd:
                return read_all(fd)
        except FileNotFoundError:
            raise RunNotFound(problem=f"{self.place} is no whole run directory: {name} is missing") from None
        except OSError as error:
            raise PersistenceError(file=self.place / name, problem=reason(error)) from None

    def history(self, run: Run) -> list[Entry]:
        """What happened up to the checkpoint of *run*, oldest first. Raises as `load` does."""
        data = self.read(HISTORY)
        try:
            end = end_of(data, run.checkpoint_id)
            if end is None:
                raise ValueError(missing_problem(run.checkpoint_id))
            return decode_lines(data[:end])
        except ValueError as error:
            raise StateCorrupt(file=self.place / HISTORY, problem=str(error)) from None

    def seems_held(self) -> bool:
        """Whether some process may be at work here: a hint for readers, who take no lock."""
        holder = read_holder(self.place / LOCK)
        return holder is not None and seems_alive(holder.pid, holder.host)

    def log(self, stream: str, path: str, attempt: int) -> Path:
        """Where the *attempt*-th try of the step at *path* leaves its *stream* (stdout, stderr)."""
        if not is_path(path):
            raise StateCorrupt(file=self.place / STATE, problem=f"{path!r} is no path of a step")
        return self.file(log_name(stream, path, attempt))

    def file(self, name: str) -> Path:
        """The file *name* of the run, which no symbolic link may lead out of it. Raises StateCorrupt."""
        file = self.place
        for part in name.split("/"):
            file = file / part
            if os.path.islink(file):
                raise StateCorrupt(file=file, problem=LINK_PROBLEM)
        return file

    def _fetch(self, name: str) -> bytes:
        """What is too long for the snapshot and has the digest *name*."""
        data = self.read(output_name(name)) if is_digest(name) else b""
        if digest(data) != name:
            file = self.place / output_name(name)
            raise StateCorrupt(file=file, problem="it is not what its name, a digest, says")
        return data

    # Writing

    @contextmanager
    def hold(
        self,
        command: str,
        now: str,
        timeout_seconds: float = 0,
        *,
        end_orphans: Callable[[Path], None] | None = None,
    ) -> Iterator[None]:
        """Be the one writer. Raises LockConflict once *timeout_seconds* have passed.

        A command that outlived its cpf counts as a holder too, unless *end_orphans* sees to it: it is called
        with the file that such a command has open, once no cpf can be at work here any more.
        """
        what, steps = f"run {self.place.name}", self.place / STEP_LOCK
        with ExitStack() as stack:
            stack.enter_context(hold_lock(self.place / LOCK, what, command, now, timeout_seconds))
            if end_orphans is not None:
                end_orphans(steps)
            try:
                lock = hold_lock(steps, what, command, now, timeout_seconds)
                self.step_lock = stack.enter_context(lock)
            except LockConflict:
                pids = ", ".join(str(pid) for pid in sorted(find_holders(steps)))
                holder = f"the command of a step, which outlived its cpf (processes {pids or 'unknown'})"
                raise LockConflict(what=what, holder=holder) from None
            try:
                yield
            finally:
                self.step_lock = None

    def shared_lock(
        self, wanted: LockRequest, now: str, given_up: Callable[[], bool] = lambda: False
    ) -> AbstractContextManager[int]:
        """Hold the lock that *wanted* names, which all runs of the store share.

        Raises LockConflict when its time is up, or when it is *given_up*.
        """
        above = self.place.parent
        locks = (above.parent if above.name == RUNS else above) / LOCKS
        with translate_errors(locks):
            make_private(locks)
        refuse_shared(self._allow_shared, locks.parent, locks)
        file = locks / f"{digest(wanted.key.encode(errors='replace'))}.lock"
        what, command = f"the lock {wanted.key!r}", f"run {self.place.name}"
        return hold_lock(file, what, command, now, wanted.timeout_seconds, given_up)

    def commit(self, run: Run, facts: list[Fact], before: Run | None) -> None:
        """Make *run* what the next process will find; returns once it would survive a power cut.

        *facts* are what made it of *before* (None: nothing is there yet). Raises PersistenceError,
        StateCorrupt.
        """
        link = None if before is None else before.checkpoint_id
        with translate_errors(self.place / HISTORY):
            self._history.append(encode_lines(facts, link or ""), link)
        with translate_errors(self.place / STATE):
            self._write_snapshot(run)

    def _write_snapshot(self, run: Run) -> None:
        """What lies beside it first, so that no snapshot ever names what is not there."""
        encoded = encode(run, self._known)
        for name, data in encoded.beside.items():
            if not (self.place / output_name(name)).exists():
                self.keep(output_name(name), data)
        replace_file(self.place / STATE, encoded.state)
        self._known = encoded.known

    def keep(self, name: str, data: bytes) -> None:
        """Write the file *name* of the run, whole or not at all; it survives a power cut."""
        with translate_errors(self.place / name):
            file = self.file(name)
            make_lasting(file.parent)
            replace_file(file, data)

    # Asking the writer to stop

    def ask_to_cancel(self, reason: str) -> None:
        """Leave word, for the process that executes the run, to stop."""
        request = CancelRequest(reason=reason, pid=os.getpid(), host=os.uname().nodename)
        beside = self.place / f"{CANCEL}.{request.pid}.tmp"  # of its own: several may ask at once
        with translate_errors(beside):
            fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(msgspec.json.encode(request))
            os.replace(beside, self.place / CANCEL)

    def asked_to_cancel(self) -> str | None:
        """The reason why the run is to stop, if somebody left word of it and still waits for an answer."""
        request = self._read_cancel()
        return request.reason if request is not None and seems_alive(request.pid, request.host) else None

    def forget_cancel(self) -> None:
        """Take one's own word back, since nobody heard it."""
        request = self._read_cancel()
        if request is not None and (request.pid, request.host) == (os.getpid(), os.uname().nodename):
            with translate_errors(self.place / CANCEL), suppress(FileNotFoundError):
                os.unlink(self.place / CANCEL)

    def _read_cancel(self) -> CancelRequest | None:
        try:
            with open_safely(self.place / CANCEL) as fd:
                return msgspec.json.decode(read_all(fd), type=CancelRequest)
        except (OSError, msgspec.MsgspecError, UnicodeError):
            return None
