"""Processes of our own: started for as little as the system asks, and heard of once, when they end.

Where it will do, a child is started by posix_spawn, for a third of what subprocess costs (whose import alone
is a good part of a short run). It will not do where the child is to work in another directory than ours.

Where the kernel tells of a process by a descriptor (pidfd, Linux), many children can be waited for at once
and without threads; elsewhere each has a thread that waits for it. See `open_watch`.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from contextlib import suppress
from functools import lru_cache
from typing import BinaryIO

from msgspec import Struct

SPAWNS = hasattr(os, "pidfd_open")  # Linux: elsewhere it has not been seen to work
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)  # ignored by Python, as no child expects


class Inheritance(Struct, frozen=True):
    """What children get of us: our environment, and the descriptors that were left open when we were started.

    The latter they must not have; those that Python opens never reach them.
    """

    environment: dict[str, str]
    descriptors: tuple[int, ...]


class Launch(Struct, frozen=True):
    """What is started: a program, by its name on the PATH, with its arguments.

    stdin: a descriptor of what it reads (None: there is nothing); stdout, stderr: of what it prints; locks:
    those that it inherits (None: there is none), each under the number that its name has in its environment;
    unwanted: descriptors that it must not inherit.
    """

    arguments: list[str]
    environment: dict[str, str]
    directory: str
    stdin: int | None
    stdout: int
    stderr: int
    locks: dict[str, int | None]
    unwanted: tuple[int, ...]


class Child:
    """A process that we started; its end may be asked for from several threads."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None
        self._ended = False
        self._reaping = threading.Lock()

    def wait(self) -> int | None:
        """Its exit code, or minus its signal, once it has ended; None if nobody can know."""
        with self._reaping:
            self._reap(0)
        return self._code

    def reap(self) -> None:
        """Take it in if it has ended: a zombie counts as alive."""
        if self._reaping.acquire(blocking=False):  # else somebody waits for just that
            try:
                self._reap(os.WNOHANG)
            finally:
                self._reaping.release()

    def _reap(self, options: int) -> None:
        if self._ended:
            return
        try:
            pid, status = os.waitpid(self.pid, options)
        except ChildProcessError:  # SIGCHLD is ignored, or somebody here waits for whatever child there is
            self._ended = True
        else:
            if pid:
                self._ended, self._code = True, os.waitstatus_to_exitcode(status)


def open_watch(child: Child) -> int:
    """A descriptor that can be read from once *child* has ended, for whoever asks to close."""
    if hasattr(os, "pidfd_open"):
        with suppress(OSError):  # an old kernel, or one that lets nobody; or it has ended unseen
            return os.pidfd_open(child.pid)
    heard, told = os.pipe()

    def wait() -> None:
        child.wait()
        os.close(told)

    threading.Thread(target=wait, daemon=True).start()
    return heard


def find_inheritance() -> Inheritance:
    """Ours of now. It is looked up once for many children, since that takes as long as to start one."""
    found, limit = [], os.sysconf("SC_OPEN_MAX")
    with suppress(OSError):
        for fd in map(int, os.listdir("/proc/self/fd")):
            with suppress(OSError):  # the one by which they are listed is closed by now
                if fd > 2 and os.get_inheritable(fd):
                    if fd < limit:
                        found.append(fd)
                    else:  # opened before the limit was lowered: a child cannot be told to close it
                        os.set_inheritable(fd, False)
    return Inheritance(dict(os.environ), tuple(found))


def start(launch: Launch) -> Child:
    """Start it in a session of its own.

    Raises OSError, which names the directory or the program where that is not found; ValueError.
    """
    is_here = os.path.samefile(launch.directory, ".")
    program = _find_program(launch.arguments[0], launch.environment.get("PATH"), launch.directory)
    locks = {name: fd for name, fd in launch.locks.items() if fd is not None}
    stdin = launch.stdout if launch.stdin is None else launch.stdin
    try:
        if SPAWNS and min(stdin, launch.stdout, launch.stderr, *locks.values()) > 2 and is_here:
            return Child(_spawn(launch, program, locks))
    except NotImplementedError:
        pass  # a Python made where the system could not start a session
    return Child(_open(launch, program, locks))


def open_input(data: bytes) -> BinaryIO:
    """A file of *data*, for a child to read. Raises OSError.

    It is in memory: nothing of it is on the disk, and a child that outlives us has all of it. Where the
    system has no such files it is a pipe, and whoever goes on without us may find its end too early.
    """
    try:
        file = os.fdopen(os.memfd_create("stdin"), "w+b")
    except (AttributeError, OSError):
        return _open_pipe(data)
    file.write(data)
    file.seek(0)
    return file


def _open_pipe(data: bytes) -> BinaryIO:
    way_out, entry = os.pipe()

    def hand_over() -> None:
        with suppress(OSError), open(entry, "wb") as file:  # nobody need read all of it
            file.write(data)

    threading.Thread(target=hand_over, daemon=True).start()
    return open(way_out, "rb")


def _spawn(launch: Launch, program: str, locks: dict[str, int]) -> int:
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
        if launch.stdin is None
        else (os.POSIX_SPAWN_DUP2, launch.stdin, 0),
        (os.POSIX_SPAWN_DUP2, launch.stdout, 1),
        (os.POSIX_SPAWN_DUP2, launch.stderr, 2),
    ]
    actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in launch.unwanted]
    # Below 10, or dash could not close it; another number, since older systems do not make a descriptor
    # inheritable that is duplicated onto itself; and not 9, which many scripts take for a lock of theirs.
    numbers = [number for number in (8, 7, 6, 5) if number not in locks.values()]
    for (name, fd), number in zip(locks.items(), numbers, strict=False):
        actions.append((os.POSIX_SPAWN_DUP2, fd, number))
        launch.environment[name] = str(number)
    return os.posix_spawn(
        program,
        launch.arguments,
        launch.environment,
        file_actions=actions,
        setsid=True,
        setsigmask=(),
        setsigdef=_RESTORED,
    )


def _open(launch: Launch, program: str, locks: dict[str, int]) -> int:
    import subprocess  # late: few runs need it

    launch.environment.update({name: str(fd) for name, fd in locks.items()})
    process = subprocess.Popen(
        launch.arguments,
        executable=program,
        stdin=subprocess.DEVNULL if launch.stdin is None else launch.stdin,
        stdout=launch.stdout,
        stderr=launch.stderr,
        cwd=launch.directory,
        env=launch.environment,
        start_new_session=True,
        pass_fds=tuple(locks.values()),
    )
    process.returncode = 0  # so that it does not take in the child, whose end we hear of ourselves
    return process.pid


@lru_cache(maxsize=64)
def _find_program(name: str, path: str | None, directory: str) -> str:
    """Where the program *name* lies, for who works in *directory*: else every child would try all of PATH."""
    for place in (os.defpath if path is None else path).split(os.pathsep):
        file = os.path.join(directory, place, name)
        if os.access(file, os.X_OK) and os.path.isfile(file):
            return file
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
