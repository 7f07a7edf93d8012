"""Runs on disk: a directory each, one whole snapshot in it, one writer, any number of readers.

    <base>/runs/<run id>/state.json      the snapshot, replaced atomically
                         history.jsonl   the facts that led to it, a line each, chained by digests
                         workflow.yaml   the document as it was when the run started
                         run.lock        the writer's lock, with a hint at who holds it
                         step.lock       held by the commands too, should they outlive the writer
                         stdout/ stderr/ outputs/ artifacts/

A commit appends its facts to the history, then replaces the snapshot: write beside, fsync, rename, fsync
the directory. The snapshot decides. Should the machine die in between, the history is longer than the
snapshot says; the next writer cuts it back, and readers never look beyond the snapshot's checkpoint.

The lock is the kernel's, on a file of its own that is never deleted or replaced (else two writers could
each hold a file of that name). What it says of its holder outlives a crash, so it is a hint only.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, Struct
from msgspec.structs import replace

from checkpointflow.drivers.processes import end, holding
from checkpointflow.engine.actions import LockRequest
from checkpointflow.engine.facts import Fact
from checkpointflow.engine.path import is_path
from checkpointflow.engine.run import STATE_VERSION, Failed, Opened, Record, Run, Succeeded, chained
from checkpointflow.errors import (
    LockConflict,
    PersistenceError,
    RunNotFound,
    StateCorrupt,
)
from checkpointflow.store.files import digest, make_private, shared_with

STATE, HISTORY, DOCUMENT, LOCK = "state.json", "history.jsonl", "workflow.yaml", "run.lock"
STEP_LOCK, CANCEL = "step.lock", "cancel.json"
WORKFLOWS, OUTPUTS, LOCKS = "workflows", "outputs", "locks"

MAX_INLINE_BYTES = 64 * 1024
MAX_INLINE_ITEMS_BYTES = 4 * 1024

_RUN_ID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PREFIX = re.compile(r"[0-9A-HJKMNP-TV-Z]{4,26}")


# By the identity of a value: the value itself (so that the identity stays its own), and how it was saved.
_Saved = dict[int, tuple[Any, Any]]


class Entry(Struct, frozen=True):
    """A line of the history: a fact, and the checkpoint that it made."""

    checkpoint_id: str
    fact: Fact


class Holder(Struct, frozen=True):
    """Who holds a lock."""

    pid: int
    host: str
    command: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (cpf {self.command}, since {self.since})"


def is_run_id(text: str) -> bool:
    """Whether *text* is a whole run id."""
    return _RUN_ID.fullmatch(text) is not None


def log_name(stream: str, path: str, attempt: int) -> str:
    """What the *attempt*-th try of the step at *path* has its *stream* called, below the run's directory."""
    return f"{stream}/{path}.txt" if attempt == 1 else f"{stream}/{path}.{attempt}.txt"


class CancelRequest(Struct, frozen=True):
    """What one who wants to cancel a run leaves for the process that executes it."""

    reason: str
    pid: int
    host: str


class Store:
    """All runs below one base directory."""

    def __init__(self, base: Path, *, allow_shared: bool = False) -> None:
        self.base = base
        self.runs = base / "runs"
        self.allow_shared = allow_shared

    def create(self, run_id: str) -> RunDirectory:
        """An empty directory for a new run; the run exists once its first snapshot does."""
        directory = RunDirectory(self.runs / run_id, allow_shared=self.allow_shared)
        with telling(directory.place):
            _make_lasting(self.runs)
            refuse_shared(self.allow_shared, self.base, self.runs)
            os.mkdir(directory.place, 0o700)
            sync_directory(self.runs)
        return directory

    def find(self, prefix: str) -> RunDirectory:
        """The run whose id is or begins with *prefix*. Raises RunNotFound."""
        wanted = prefix.upper()
        if not _PREFIX.fullmatch(wanted):
            raise RunNotFound(
                problem=f"{prefix!r} is no run id: give its 26 letters and digits, or the first 4 or more"
            )
        found = [name for name in self._ids() if name.startswith(wanted)]
        if len(found) == 1:
            refuse_shared(self.allow_shared, self.base, self.runs, self.runs / found[0])
            return RunDirectory(self.runs / found[0], allow_shared=self.allow_shared)
        if not found:
            raise RunNotFound(problem=f"there is no run {prefix} in {self.base}")
        raise RunNotFound(
            problem=f"{len(found)} runs begin with {prefix}; give more of the id",
            details={"runs": found[:20]},
        )

    def _ids(self) -> list[str]:
        try:
            names = os.listdir(self.runs)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise PersistenceError(file=self.runs, problem=_words(error)) from None
        return sorted(n for n in names if is_run_id(n) and _is_run(self.runs / n))


def refuse_shared(allow: bool, top: Path, *below: Path) -> None:
    """Raise PersistenceError if others may write into one of these directories, unless that is meant.

    And if one *below* the top is a symbolic link: it could lead anywhere.
    """
    for place in below:
        if place.is_symlink():
            raise PersistenceError(file=place, problem=_LINK)
    for place in () if allow else (top, *below):
        with telling(place):
            who = shared_with(place)
        if who is not None:
            problem = f"{who}, and could change what runs do; make it private, or say --allow-shared"
            raise PersistenceError(file=place, problem=problem)


_LINK = "it is a symbolic link, which cpf never makes or follows"


class RunDirectory:
    """One run on disk. Whoever changes it holds it first."""

    def __init__(self, place: Path, *, allow_shared: bool = False) -> None:
        self.place = place
        self._allow_shared = allow_shared
        self._history_end: int | None = None
        self._saved: _Saved = {}
        self.step_lock: int | None = None

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
        file = self.place / STATE
        data = self.read(STATE)
        try:
            version = msgspec.json.decode(data, type=_Version).schema_version
            if version != STATE_VERSION:
                raise StateCorrupt(
                    file=file,
                    problem=f"it is of the version {version!r}, and this cpf reads {STATE_VERSION!r}",
                )
            run = msgspec.json.decode(data, type=Run)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            problem = (
                f"this is not a state that cpf wrote ({error or type(error).__name__}); it was left as it is"
            )
            raise StateCorrupt(file=file, problem=problem) from None
        odd = next((path for path in run.steps if not is_path(path)), None)
        if odd is not None:
            raise StateCorrupt(file=file, problem=f"{odd!r} is no path of a step; the file was left as it is")
        steps = {path: self._full(record) for path, record in run.steps.items()}
        inputs = run.inputs if run.inputs_in is None else self._fetched(run.inputs_in)
        return replace(run, steps=steps, inputs=inputs, inputs_in=None)

    def read(self, name: str) -> bytes:
        """The bytes of the file *name* of the run. Raises RunNotFound, PersistenceError."""
        try:
            with _opened(self.place / name) as fd:
                return _contents(fd)
        except FileNotFoundError:
            raise RunNotFound(problem=f"{self.place} is no whole run directory: {name} is missing") from None
        except OSError as error:
            raise PersistenceError(file=self.place / name, problem=_words(error)) from None

    def history(self, run: Run) -> list[Entry]:
        """What happened up to the checkpoint of *run*, oldest first."""
        data = self.read(HISTORY)
        end = _end_of(data, run.checkpoint_id)
        if end is None:
            problem = f"it does not hold the checkpoint {run.checkpoint_id} of {STATE}"
            raise StateCorrupt(file=self.place / HISTORY, problem=problem)
        try:
            return [msgspec.json.decode(line, type=Entry) for line in data[:end].splitlines()]
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise StateCorrupt(file=self.place / HISTORY, problem=f"a line is damaged ({error})") from None

    def seems_held(self) -> bool:
        """Whether some process may be at work here: a hint for readers, who take no lock."""
        holder = _signed(self.place / LOCK)
        return holder is not None and _seems_alive(holder.pid, holder.host)

    def log(self, stream: str, path: str, attempt: int) -> Path:
        """Where the *attempt*-th try of the step at *path* leaves its *stream* (stdout, stderr)."""
        if not is_path(path):
            raise StateCorrupt(file=self.place / STATE, problem=f"{path!r} is no path of a step")
        return self.file(log_name(stream, path, attempt))

    def file(self, name: str) -> Path:
        """The file *name* of the run, which no symbolic link may lead out of it. Raises StateCorrupt."""
        place = self.place
        for part in name.split("/"):
            place = place / part
            if os.path.islink(place):
                raise StateCorrupt(file=place, problem=_LINK)
        return place

    # Writing

    @contextmanager
    def hold(
        self, command: str, now: str, timeout_seconds: float = 0, *, ending_orphans: bool = False
    ) -> Iterator[None]:
        """Be the one writer. Raises LockConflict once *timeout_seconds* have passed.

        A command that outlived its cpf counts as a holder too, unless it is to be ended.
        """
        holder = Holder(pid=os.getpid(), host=os.uname().nodename, command=command, since=now)
        steps = self.place / STEP_LOCK
        what = f"run {self.place.name}"
        with ExitStack() as stack:
            stack.enter_context(_locked(self.place / LOCK, what, holder, timeout_seconds))
            if ending_orphans:
                end(None, lambda: holding(steps))
            try:
                self.step_lock = stack.enter_context(_locked(steps, what, holder, timeout_seconds))
            except LockConflict:
                raise LockConflict(what=what, holder=self._orphans()) from None
            try:
                yield
            finally:
                self.step_lock = None

    def _orphans(self) -> str:
        pids = ", ".join(str(pid) for pid in sorted(holding(self.place / STEP_LOCK)))
        return f"the command of a step, which outlived its cpf (processes {pids or 'unknown'})"

    def ask_to_cancel(self, reason: str) -> None:
        """Leave word, for the process that executes the run, to stop."""
        word = CancelRequest(reason=reason, pid=os.getpid(), host=os.uname().nodename)
        beside = self.place / f"{CANCEL}.{word.pid}.tmp"  # of its own: several may ask at once
        with telling(beside):
            fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(msgspec.json.encode(word))
            os.replace(beside, self.place / CANCEL)

    def asked_to_cancel(self) -> str | None:
        """The reason why the run is to stop, if somebody left word of it and still waits for an answer."""
        word = self._cancel_request()
        return None if word is None or not _seems_alive(word.pid, word.host) else word.reason

    def forget_cancel(self) -> None:
        """Take one's own word back, since nobody heard it."""
        word = self._cancel_request()
        if word is not None and (word.pid, word.host) == (os.getpid(), os.uname().nodename):
            with telling(self.place / CANCEL), suppress(FileNotFoundError):
                os.unlink(self.place / CANCEL)

    def _cancel_request(self) -> CancelRequest | None:
        try:
            with _opened(self.place / CANCEL) as fd:
                return msgspec.json.decode(_contents(fd), type=CancelRequest)
        except (OSError, msgspec.MsgspecError, UnicodeError):
            return None

    def shared_lock(
        self, wanted: LockRequest, now: str, given_up: Callable[[], bool] = lambda: False
    ) -> AbstractContextManager[int]:
        """Hold the lock that *wanted* names, which all runs of the store share.

        Raises LockConflict when its time is up, or when it is *given_up*.
        """
        in_store = self.place.parent.name == "runs"
        locks = (self.place.parent.parent if in_store else self.place.parent) / LOCKS
        file = locks / f"{digest(wanted.key.encode(errors='replace'))}.lock"
        with telling(locks):
            make_private(locks)
        refuse_shared(self._allow_shared, locks.parent, locks)
        command = f"run {self.place.name}"
        holder = Holder(pid=os.getpid(), host=os.uname().nodename, command=command, since=now)
        return _locked(file, f"the lock {wanted.key!r}", holder, wanted.timeout_seconds, given_up)

    def commit(self, run: Run, facts: list[Fact], before: Run | None) -> None:
        """Make *run* what the next process will find; returns once it would survive a power cut.

        *facts* are what made it of *before* (None: nothing is there yet).
        """
        lines = []
        link = "" if before is None else before.checkpoint_id
        for fact in facts:
            link = chained(link, fact)
            lines.append(msgspec.json.encode(Entry(link, fact)) + b"\n")
        with telling(self.place / HISTORY):
            self._append(b"".join(lines), before)
        with telling(self.place / STATE):
            self._replace(STATE, self.snapshot(run))

    def snapshot(self, run: Run) -> bytes:
        """*run* as it stands in its file; what is too long for that is written beside."""
        return msgspec.json.format(msgspec.json.encode(self._lean(run)), indent=2) + b"\n"

    def keep(self, name: str, data: bytes) -> None:
        """Write the file *name* of the run, whole or not at all; it survives a power cut."""
        with telling(self.place / name):
            _make_lasting(self.file(name).parent)
            self._replace(name, data)

    # What is long lies beside the snapshot, in files named by their digests, so that the cost of a step does
    # not grow with what came before it: a record that has not changed is not encoded again, and neither is
    # a value that it shares with the record before it.

    def _lean(self, run: Run) -> Run:
        """*run* as it stands in the snapshot."""
        known = self._saved
        self._saved = {}
        steps = {path: self._lean_record(record, known) for path, record in run.steps.items()}
        inputs, file = self._aside(run.inputs, known)
        return replace(run, steps=steps, inputs={} if inputs is UNSET else inputs, inputs_in=file)

    def _lean_record(self, record: Record, known: _Saved) -> Record:
        saved = known.get(id(record))
        if saved is None:
            saved = (record, self._made_lean(record, known))
        self._saved[id(record)] = saved
        lean: Record = saved[1]
        return lean

    def _made_lean(self, record: Record, known: _Saved) -> Record:
        match record:
            case Succeeded(outputs=outputs) if outputs is not UNSET:
                kept, file = self._aside(outputs, known)
                return replace(record, outputs=kept, outputs_in=file)
            case Failed(block=Opened() as block):
                return replace(record, block=self._lean_record(block, known))
            case Opened(items=items, ended=ended):
                kept, file = (
                    (items, None) if items is UNSET else self._aside(items, known, MAX_INLINE_ITEMS_BYTES)
                )
                files = [str(self._aside(chunk, known, 0)[1]) for chunk in ended[:-1]]
                return replace(record, items=kept, items_in=file, ended=ended[-1:], ended_in=tuple(files))
            case _:
                return record

    def _aside(self, value: Any, known: _Saved, most: int = MAX_INLINE_BYTES) -> tuple[Any, str | None]:
        """*value* as it is, or, when its JSON is longer than *most*, the name of the file that holds it."""
        saved = known.get(id(value))
        if saved is None:
            data = msgspec.json.encode(value)
            if len(data) <= most:
                return value, None
            name = digest(data)
            file = self.place / OUTPUTS / f"{name}.json"
            if not file.exists():
                self.keep(f"{OUTPUTS}/{name}.json", data)
            saved = (value, name)
        self._saved[id(value)] = saved
        return UNSET, saved[1]

    def _full(self, record: Record) -> Record:
        """*record* of the snapshot with what lies beside it in place."""
        match record:
            case Succeeded(outputs_in=str() as name):
                full: Record = replace(record, outputs=self._fetched(name), outputs_in=None)
            case Failed(block=Opened() as block):
                full = replace(record, block=self._full(block))
            case Opened(items_in=items_in, ended_in=ended_in) if items_in or ended_in:
                items = record.items if items_in is None else self._fetched(items_in)
                ended = (*(self._fetched(name) for name in ended_in), *record.ended)
                full = replace(record, items=items, items_in=None, ended=ended, ended_in=())
            case _:
                return record
        self._saved[id(full)] = (full, record)
        return full

    def _fetched(self, name: str) -> Any:
        file = self.place / OUTPUTS / f"{name}.json"
        data = self.read(f"{OUTPUTS}/{name}.json") if _DIGEST.fullmatch(name) else b""
        if digest(data) != name:
            raise StateCorrupt(file=file, problem="it is not what its name, a digest, says")
        value = msgspec.json.decode(data)
        self._saved[id(value)] = (value, name)
        return value

    def _replace(self, name: str, data: bytes) -> None:
        beside = self.place / f"{name}.tmp"
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            _write(fd, data, 0)
            sync_file(fd)
        finally:
            os.close(fd)
        os.replace(beside, self.place / name)
        sync_directory(beside.parent)

    def _append(self, data: bytes, before: Run | None) -> None:
        fd = os.open(self.place / HISTORY, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            if self._history_end is None:
                self._history_end = 0 if before is None else self._find_end(fd, before.checkpoint_id)
            os.ftruncate(fd, self._history_end)  # a commit that died may have left more
            _write(fd, data, self._history_end)
            sync_file(fd)
        finally:
            os.close(fd)
        if before is None:
            sync_directory(self.place)
        self._history_end += len(data)

    def _find_end(self, fd: int, checkpoint_id: str) -> int:
        """Where the line of *checkpoint_id* ends; near the end of the file, so it is read from there."""
        size, span = os.fstat(fd).st_size, 1 << 16
        while True:
            start = max(0, size - span)
            end = _end_of(os.pread(fd, size - start, start), checkpoint_id)
            if end is not None:
                return start + end
            if start == 0:
                problem = f"it does not hold the checkpoint {checkpoint_id} of {STATE}"
                raise StateCorrupt(file=self.place / HISTORY, problem=problem)
            span *= 4


def _is_run(place: Path) -> bool:
    """Whether a run lies there itself: a symbolic link could lead anywhere."""
    return (place / STATE).exists() and not place.is_symlink()


class _Version(Struct):
    schema_version: str


@contextmanager
def _locked(
    file: Path,
    what: str,
    holder: Holder,
    timeout_seconds: float,
    given_up: Callable[[], bool] = lambda: False,
) -> Iterator[int]:
    """Hold *file*'s lock; gives its descriptor, which a child may inherit."""
    from filelock import FileLock, Timeout  # late: readers need no lock, and it takes 20 ms to import

    descriptors = []

    def sign(fd: int) -> None:
        descriptors.append(fd)
        os.ftruncate(fd, 0)
        os.pwrite(fd, msgspec.json.encode(holder) + b"\n", 0)

    lock = FileLock(file, mode=0o600, on_acquired=sign, thread_local=False)
    with telling(file):
        try:
            lock.acquire(timeout=timeout_seconds, poll_interval=0.02, cancel_check=given_up)
        except Timeout:
            raise LockConflict(what=what, holder=_signed(file) or "another process") from None
    try:
        yield descriptors[-1]
    finally:
        try:
            with suppress(OSError):
                os.ftruncate(descriptors[-1], 0)  # what stands there when nobody holds it tells of a crash
        finally:
            lock.release()


def _seems_alive(pid: int, host: str) -> bool:
    """Whether a process is there; of another host nothing can be known, so it may be."""
    if host != os.uname().nodename:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _signed(lock: Path) -> Holder | None:
    """Who took *lock* last: a hint, since what the file says outlives the lock."""
    try:
        with _opened(lock) as fd:
            return msgspec.json.decode(_contents(fd), type=Holder)
    except (OSError, msgspec.MsgspecError, UnicodeError):
        return None


@contextmanager
def telling(file: Path) -> Iterator[None]:
    """Turn a failing disk into a PersistenceError that names *file*."""
    try:
        yield
    except OSError as error:
        raise PersistenceError(file=error.filename or file, problem=_words(error)) from error


def _words(error: OSError) -> str:
    return error.strerror or str(error)


@contextmanager
def _opened(file: Path) -> Iterator[int]:
    # A FIFO in its place must not hang us, nor a symbolic link lead us elsewhere.
    fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        yield fd
    finally:
        os.close(fd)


def _contents(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    chunks = []
    while chunk := os.read(fd, size + 1):
        chunks.append(chunk)
    return b"".join(chunks)


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def sync_file(fd: int) -> None:
    """Have the disk itself take the data; fsync alone leaves it in the drive's cache on macOS."""
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is None:
        os.fsync(fd)
    else:  # pragma: no cover, macOS
        fcntl.fcntl(fd, full)


def _make_lasting(directory: Path) -> None:
    """Make *directory*, and what is missing above it, such that their names survive a power cut."""
    missing = [place for place in (directory, *directory.parents) if not place.is_dir()]
    make_private(directory)
    for place in missing:
        sync_directory(place.parent)


def sync_directory(directory: Path) -> None:
    """Have the names in *directory* survive a power cut."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _end_of(history: bytes, checkpoint_id: str) -> int | None:
    """Where the line of *checkpoint_id* ends in *history*, its newline included."""
    start = history.rfind(b'{"checkpoint_id":"%s"' % checkpoint_id.encode())
    newline = history.find(b"\n", start)
    return None if start < 0 or newline < 0 else newline + 1
