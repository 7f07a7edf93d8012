"""Locks of the kernel: each on a file of its own, which is never deleted or replaced.

(Else two writers could each hold a file of that name.) What such a file says of its holder outlives a crash,
so it is a hint only; the lock itself goes with the last process that has the file open, which may be a
command that inherited it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
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
    from filelock import FileLock, Timeout  # late: readers need no lock, and it takes 20 ms to import

    holder = Holder(pid=os.getpid(), host=os.uname().nodename, command=command, since=now)
    descriptors = []

    def sign(fd: int) -> None:
        descriptors.append(fd)
        os.ftruncate(fd, 0)
        os.pwrite(fd, msgspec.json.encode(holder) + b"\n", 0)

    lock = FileLock(file, mode=0o600, on_acquired=sign, thread_local=False)
    with translate_errors(file):
        try:
            lock.acquire(timeout=timeout_seconds, poll_interval=0.02, cancel_check=given_up)
        except Timeout:
            raise LockConflict(what=what, holder=read_holder(file) or "another process") from None
    try:
        yield descriptors[-1]
    finally:
        try:
            with suppress(OSError):
                os.ftruncate(descriptors[-1], 0)  # what stands there when nobody holds it tells of a crash
        finally:
            lock.release()


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
    return {pid for pid in other_processes() if wanted in _open_files(pid)}


def other_processes() -> Iterable[int]:
    """The processes that can be looked at, but for this one and those that have ended already."""
    if not PROC.is_dir():
        return
    for name in os.listdir(PROC):
        if name.isdigit() and int(name) != os.getpid():
            yield int(name)


def _open_files(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):
        for name in os.listdir(PROC / str(pid) / "fd"):
            with suppress(OSError):
                found.add(os.readlink(PROC / str(pid) / "fd" / name))
    return found
