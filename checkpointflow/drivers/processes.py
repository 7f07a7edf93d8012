"""Who is left of a command, and the end of them.

A command runs in a process group of its own, which a signal reaches as a whole. What has left the group
(`setsid`, a daemon) is known on Linux by its environment, which still names the attempt that it was
started for, or by a lock file that it inherited. Elsewhere only the group is reached.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from checkpointflow.store.locks import PROC, list_other_processes

GRACE_SECONDS = 5.0


def find_marked(marks: dict[str, str]) -> set[int]:
    """The processes, other than this one, in whose environment all of *marks* stand."""
    wanted = {f"{name}={value}".encode() for name, value in marks.items()}
    return {pid for pid in list_other_processes() if wanted <= set(_read_environment(pid))}


def end(
    group: int | None,
    others: Callable[[], set[int]],
    grace_seconds: float = GRACE_SECONDS,
    reap: Callable[[], None] = lambda: None,
) -> bool:
    """End a process group, and the processes that *others* finds; whether none of them is left.

    They are asked (TERM), and after *grace_seconds* killed. *reap* takes in those that are our children.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        if group is not None:
            _send(os.killpg, group, number)
        for pid in others():
            _send(os.kill, pid, number)
        if _wait_until_gone(group, others, grace_seconds, reap):
            return True
    return False


def _wait_until_gone(
    group: int | None, others: Callable[[], set[int]], within_seconds: float, reap: Callable[[], None]
) -> bool:
    deadline = time.monotonic() + within_seconds
    while True:
        reap()  # a zombie counts as alive
        if (group is None or not _send(os.killpg, group, 0)) and not others():
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)


def _send(kill: Callable[[int, int], None], target: int, number: int) -> bool:
    """Send a signal, and wake who is stopped and would not hear it; whether anybody is there."""
    try:
        kill(target, number)
        if number:
            kill(target, signal.SIGCONT)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody is, but not ours: a set-uid program
        return True
    return True


def _read_environment(pid: int) -> list[bytes]:
    with suppress(OSError):
        return (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    return []
