"""Who is left of a command, and the end of them.

A command runs in a session of its own, whose process group a signal reaches as a whole. What has left it
(`setsid`, a daemon, the commands of a cpf inside) is known on Linux by its environment, which tells the
attempts that it was started within; by a lock file that it inherited; or by its parents: whoever is started
by one of the family belongs to it, also when that one has ended. Elsewhere only the group is reached.
"""

from __future__ import annotations

import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from checkpointflow.store.locks import Process, list_marks, list_open_files, list_processes

GRACE_SECONDS = 5.0
MAX_PAUSE_SECONDS = 0.1
MAX_STOPPING_SECONDS = 1.0
PR_SET_CHILD_SUBREAPER = 36


class Family:
    """The processes that *belongs* tells, and all whom they have started; but for this one.

    leader: the one that is our child from the start, whose end somebody else waits for.
    """

    def __init__(self, belongs: Callable[[int, Process], bool], leader: int | None = None) -> None:
        self.leader = leader
        self._belongs = belongs
        self._known: dict[int, int] = {}

    def find(self, *, stopped: bool = True) -> set[int]:
        """Those who are alive, or those of them that are not *stopped*. Raises OSError: nobody can know."""
        table = list_processes()
        found = {pid for pid, one in table.items() if self._knows(pid, one) or self._belongs(pid, one)}
        children = defaultdict(set)
        for pid, one in table.items():
            children[one.parent].add(pid)
        unasked = set(found)
        while unasked:
            unasked |= children[unasked.pop()] - found
            found |= unasked
        self._known = {pid: table[pid].start for pid in found}
        for pid in found:
            if table[pid].has_ended and table[pid].parent == os.getpid() and pid != self.leader:
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
        return {pid for pid in found if not table[pid].has_ended and (stopped or not table[pid].is_stopped)}

    def _knows(self, pid: int, process: Process) -> bool:
        return self._known.get(pid) == process.start  # else another one has its number


def find_attempt(marks: set[str], leader: int | None = None) -> Family:
    """The family of the attempts that *marks* name, and of the session of *leader*."""

    def belongs(pid: int, process: Process) -> bool:
        return leader in (process.group, process.session) or not marks.isdisjoint(list_marks(pid))

    return Family(belongs, leader)


def find_users(file: Path) -> Family:
    """The family of those who have *file* open."""
    wanted = os.path.realpath(file)
    return Family(lambda pid, _: wanted in list_open_files(pid))


def end(
    family: Family, grace_seconds: float = GRACE_SECONDS, reap: Callable[[], None] = lambda: None
) -> bool:
    """End *family*, and the process group of its leader; whether none of them is left.

    They are asked (TERM). After *grace_seconds* all are stopped first, so that none of them starts another
    when it sees one end, and killed until none is found. *reap* takes in the leader.
    """
    with _adopt_orphans():
        # First: who just becomes another program has no environment for a moment, and is known by its parent,
        # who may be gone at the next look.
        _find(family)
        _send(signal.SIGTERM, family)
        if _wait_until_gone(family, grace_seconds, reap):
            return True
        _stop(family)
        return _wait_until_gone(family, grace_seconds, reap, kill=True)


@contextmanager
def _adopt_orphans() -> Iterator[None]:
    """Meanwhile have those become our children whose parents end, where the system knows that (Linux).

    Else they are left to process 1, which in a container may never take them in when they have ended. Where
    several families are ended at once, the first that is gone takes this away from the others: not nice.
    """
    try:
        import ctypes  # late: it is only needed where somebody must be ended

        prctl = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        yield
        return
    prctl(PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0)
    try:
        yield
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(0), 0, 0, 0)


def _stop(family: Family) -> None:
    """Stop all of them. Who is told to goes on for a moment, and may start others in it."""
    deadline = time.monotonic() + MAX_STOPPING_SECONDS  # who waits for a disk cannot be stopped
    # Looked for twice: at the first look who was started just before the last one stopped may be missing.
    while running := _find(family, stopped=False) or _find(family, stopped=False):
        if time.monotonic() > deadline:
            return
        for pid in running:
            _kill(os.kill, pid, signal.SIGSTOP)


def _wait_until_gone(
    family: Family, within_seconds: float, reap: Callable[[], None], *, kill: bool = False
) -> bool:
    deadline, pause = time.monotonic() + within_seconds, 0.005
    while True:
        if kill:
            _send(signal.SIGKILL, family)
        reap()
        found = _find(family)
        if not found and (found is not None or not _is_group_there(family.leader)):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, MAX_PAUSE_SECONDS)


def _find(family: Family, *, stopped: bool = True) -> set[int] | None:
    """Who is there; None where that cannot be told: no /proc, or no descriptor left to read it with."""
    try:
        return family.find(stopped=stopped)
    except OSError:
        return None


def _is_group_there(leader: int | None) -> bool:
    return leader is not None and _kill(os.killpg, leader, 0)


def _send(number: int, family: Family) -> None:
    """Send a signal once to everybody, and wake who is stopped and would not hear it."""
    leader = family.leader
    if leader is not None:
        _kill(os.killpg, leader, number)
        _kill(os.killpg, leader, signal.SIGCONT)
    for pid in _find(family) or ():
        with suppress(ProcessLookupError):
            if leader is None or os.getpgid(pid) != leader:
                _kill(os.kill, pid, number)
                _kill(os.kill, pid, signal.SIGCONT)


def _kill(kill: Callable[[int, int], None], target: int, number: int) -> bool:
    """Send a signal; whether anybody is there."""
    try:
        kill(target, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody is, but not ours: a set-uid program
        return True
    return True
