"""Locks of the kernel: each on a file of its own, which is never deleted or replaced.

(Else two writers could each hold a file of that name.) What such a file says of its holder outlives a crash,
so it is a hint only; the lock itself goes with the last process that has the file open, which may be a
command that inherited it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from checkpointflow.errors import LockConflict
from checkpointflow.store.files import open_safely, read_all, translate_errors

PROC = Path("/proc")


class Holder(Struct, frozen=True):
    """Who holds a lock."""

    pid: int
    host: str
    command: str
    since: str

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
) -> Iterator[int]:
    """Hold *file*'s lock, for *command*; gives its descriptor, which a child may inherit.

    Raises LockConflict, which calls it *what*, once *timeout_seconds* have passed or when it is *given_up*;
    PersistenceError.
    """
    holder = Holder(pid=os.getpid(), host=os.uname().nodename, command=command, since=now)
    with ExitStack() as stack:
        with translate_errors(file):
            fd = _take_free(file, stack)
            if fd is None:
                fd = _wait_for(file, stack, what, timeout_seconds, given_up)
            os.ftruncate(fd, 0)
            os.pwrite(fd, msgspec.json.encode(holder) + b"\n", 0)
        stack.callback(_erase, fd)
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
        raise LockConflict(what=what, holder=read_holder(file) or "another process") from None
    stack.callback(lock.release)
    return taken[-1]


def _erase(fd: int) -> None:
    with suppress(OSError):
        os.ftruncate(fd, 0)  # what stands there when nobody holds it tells of a crash


def read_holder(lock: Path) -> Holder | None:
    """Who took *lock* last: a hint, since what the file says outlives the lock."""
    try:
        with open_safely(lock) as fd:
            return msgspec.json.decode(read_all(fd), type=Holder)
    except (OSError, msgspec.MsgspecError, UnicodeError):
        return None


def seems_alive(pid: int, host: str) -> bool:
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


def find_holders(file: Path) -> set[int]:
    """The processes, other than this one, that have *file* open; none where there is no /proc to ask."""
    wanted = os.path.realpath(file)
    return {pid for pid in list_other_processes() if wanted in _list_open_files(pid)}


def list_other_processes() -> Iterable[int]:
    """The processes that can be looked at, but for this one and those that have ended already."""
    if not PROC.is_dir():
        return
    for name in os.listdir(PROC):
        if name.isdigit() and int(name) != os.getpid():
            yield int(name)


def _list_open_files(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):
        for name in os.listdir(PROC / str(pid) / "fd"):
            with suppress(OSError):
                found.add(os.readlink(PROC / str(pid) / "fd" / name))
    return found
