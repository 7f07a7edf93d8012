"""Locks of the kernel: each on a file of its own, which is never deleted or replaced.

(Else two writers could each hold a file of that name.) What such a file says of its holder outlives a crash,
so it is a hint only; the lock itself goes with the last process that has the file open, which may be a
command that inherited it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from checkpointflow.engine.path import is_in_finally
from checkpointflow.errors import LockConflict
from checkpointflow.store.files import open_safely, read_all, translate_errors

PROC = Path("/proc")
MARKS = "CPF_WITHIN"
NOTING_SECONDS = 0.2  # for who takes a lock to write down why
_SKIPPING = "cancel --no-finally"
MAX_PID = 2**31 - 1
MAX_HOLDER_BYTES = 1 << 20  # what stands there holds a reason, which comes from a command line


class Holder(Struct, frozen=True, omit_defaults=True):
    """Who holds a lock; reason: why, where others are to know."""

    pid: int
    host: str
    command: str
    since: str
    reason: str | None = None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (cpf {self.command}, since {self.since})"


@contextmanager
def hold_lock(
    file: Path,
    what: str,
    command: str,
    now: str,
    timeout_seconds: float,
    given_up: Callable[[], bool] = lambda: False,
    reason: str | None = None,
) -> Iterator[int]:
    """Hold *file*'s lock, for *command*; gives its descriptor, which a child may inherit.

    Who holds it is written there, with the *reason*, if that can be: a full disk must keep nobody from making
    room. Raises LockConflict, which calls it *what*, once *timeout_seconds* have passed or when it is
    *given_up*; PersistenceError.
    """
    holder = Holder(pid=os.getpid(), host=os.uname().nodename, command=command, since=now, reason=reason)
    with ExitStack() as stack:
        with translate_errors(file):
            fd = _take_free(file, stack)
            if fd is None:
                fd = _wait_for(file, stack, what, timeout_seconds, given_up)
            stack.callback(_erase, fd)
        with suppress(OSError):
            _note(fd, msgspec.json.encode(holder) + b"\n")
        yield fd


def _take_free(file: Path, stack: ExitStack) -> int | None:
    """The descriptor of *file*, locked until *stack* ends, if nobody holds it, or else None.

    It is the lock that `filelock` takes, which costs more to import than most commands take altogether.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW
    fd = os.open(file, flags, 0o600)
    stack.callback(os.close, fd)
    if os.fstat(fd).st_nlink != 1:  # to write into it could be to write into another file: let filelock judge
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody holds it, or this file system has no such locks, which filelock tells
        return None
    stack.callback(fcntl.flock, fd, fcntl.LOCK_UN)  # for children, too, that have inherited it
    return fd


def _wait_for(
    file: Path, stack: ExitStack, what: str, timeout_seconds: float, given_up: Callable[[], bool]
) -> int:
    from filelock import FileLock, Timeout  # late: see above

    taken: list[int] = []
    lock = FileLock(file, mode=0o600, on_acquired=taken.append, thread_local=False)
    try:
        lock.acquire(timeout=timeout_seconds, poll_interval=0.02, cancel_check=given_up)
    except Timeout:
        raise LockConflict(what=what, holder=_describe_holder(file)) from None
    stack.callback(lock.release)
    return taken[-1]


def _note(fd: int, text: bytes) -> None:
    """Have *text*, and nothing else, stand in the file of a lock; through no hard link into another file."""
    if os.fstat(fd).st_nlink != 1:
        raise OSError(errno.EMLINK, "it has other names (hard links), so nothing is written into it")
    os.ftruncate(fd, 0)
    os.pwrite(fd, text, 0)


def _erase(fd: int) -> None:
    with suppress(OSError):
        _note(fd, b"")  # what stands there when nobody holds it tells of a crash


def read_holder(lock: Path) -> Holder | None:
    """Who took *lock* last: a hint, since what the file says outlives the lock."""
    try:
        with open_safely(lock) as fd:
            return msgspec.json.decode(read_all(fd, MAX_HOLDER_BYTES), type=Holder)
    except (OSError, msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def _describe_holder(lock: Path) -> str:
    holder = read_holder(lock)
    if holder is not None and seems_alive(holder.pid, holder.host):
        return str(holder)
    orphans = find_holders(lock)
    return describe_orphans(orphans) if orphans else str(holder or "another process")


def is_held(lock: Path) -> bool:
    """Whether somebody holds *lock* now: no hint, since the kernel is asked.

    That is done by trying it, so others may have to wait for a moment.
    """
    with suppress(OSError), open_safely(lock) as fd:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class Wish(Struct, frozen=True):
    """That a run be cancelled; skips_finally: that nothing more of it be done, not even its `finally`."""

    reason: str
    skips_finally: bool = False

    def spares(self, path: str) -> bool:
        """Whether the step at *path* goes on all the same, if it is under way."""
        return is_in_finally(path) and not self.skips_finally


def hold_wish(
    file: Path, wish: Wish, what: str, now: str, timeout_seconds: float
) -> AbstractContextManager[int]:
    """Have *wish* stand in the file of a lock that is held as by `hold_lock`."""
    command = _SKIPPING if wish.skips_finally else "cancel"
    return hold_lock(file, what, command, now, timeout_seconds, reason=wish.reason)


def find_wish(file: Path) -> Wish | None:
    """The wish of whoever holds the lock *file*."""
    if not is_held(file):
        return None
    end = time.monotonic() + NOTING_SECONDS
    while (holder := read_holder(file)) is None and time.monotonic() < end:
        time.sleep(NOTING_SECONDS / 10)  # it is being written
    reason = (holder and holder.reason) or "no reason could be left: there is no room on the disk"
    return Wish(reason, skips_finally=holder is not None and holder.command == _SKIPPING)


def seems_alive(pid: int, host: str) -> bool:
    """Whether a process is there; of another host nothing can be known, so it may be."""
    if host != os.uname().nodename:
        return True
    if not 0 < pid <= MAX_PID:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


# Processes that inherited a lock


class Process(Struct, frozen=True):
    """One that is there; start: when it was started, in ticks since the system was.

    has_ended: it has, and whoever started it has not taken note yet (a zombie); is_stopped: until it is told
    to go on.
    """

    parent: int
    group: int
    session: int
    start: int
    has_ended: bool
    is_stopped: bool


def list_processes() -> dict[int, Process]:
    """All processes but this one. Raises OSError where nobody can know."""
    found = {int(name): _read_process(name) for name in os.listdir(PROC) if name.isdigit()}
    if found.pop(os.getpid(), None) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(PROC))
    return {pid: process for pid, process in found.items() if process is not None}


def _read_process(pid: str) -> Process | None:
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    if not fields:
        return None
    state, parent, group, session = fields[0], *map(int, fields[1:4])
    return Process(parent, group, session, int(fields[19]), state in b"ZX", state in b"Tt")


def _read(pid: int | str, name: str) -> bytes:
    """What the system tells of a process; nothing where it has ended meanwhile, or may not be asked."""
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        fd = os.open(f"{PROC}/{pid}/{name}", os.O_RDONLY)  # Path is five times slower, and there are many
        try:
            return b"".join(iter(lambda: os.read(fd, 1 << 16), b""))
        finally:
            os.close(fd)
    return b""


def make_mark(directory: str, path: str, attempt: int) -> str:
    """What MARKS says of each process that is started by the *attempt*-th try of a step."""
    return f"{path} {attempt} {directory}".replace("\n", " ")


def add_mark(marks: str | None, mark: str) -> str:
    """*marks*, of a cpf that was itself started by a step, and one more."""
    return f"{marks}\n{mark}" if marks else mark


def list_marks(pid: int) -> list[str]:
    """The attempts that the process *pid* was started within, from the outermost on."""
    for variable in _read(pid, "environ").split(b"\0"):
        if variable.startswith(MARKS.encode() + b"="):
            return os.fsdecode(variable).partition("=")[2].split("\n")
    return []


def find_holders(file: Path) -> set[int]:
    """The processes, other than this one, that have *file* open; none where nobody can know."""
    wanted = os.path.realpath(file)
    with suppress(OSError):
        return {pid for pid in list_processes() if wanted in list_open_files(pid)}
    return set()


def list_open_files(pid: int) -> set[str]:
    """What the process *pid* has open, as far as we may know."""
    found = set()
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        for name in os.listdir(PROC / str(pid) / "fd"):
            with suppress(OSError):
                found.add(os.readlink(PROC / str(pid) / "fd" / name))
    return found


def describe_orphans(pids: Iterable[int]) -> str:
    """Who the processes *pids* are, which have a lock from a cpf that is gone, and how to be rid of them."""
    named = ", ".join(map(str, sorted(pids))) or "unknown"
    steps = sorted({marks[-1] for marks in map(list_marks, pids) if marks})
    if not steps:
        return f"the command of a step, which outlived its cpf (processes {named})"
    path, attempt, directory = steps[0].split(" ", 2)
    return (
        f"the command of step {path} (attempt {attempt}), which outlived its cpf (processes {named}); "
        f"`cpf cancel --run-dir {directory} --reason …` ends it and its run"
    )
