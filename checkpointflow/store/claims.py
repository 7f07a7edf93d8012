"""Run keys: at most one run of a store has a key, whoever starts it, and however often.

A key has a file, named by its digest, in which the id of its run stands, and whose lock is held by whoever
decides whether there is one: a new run is made, up to its first snapshot, before the lock goes. So an id of
which there is no run is that of a creation that died, or of a run that was deleted, and the key is free.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from checkpointflow.digests import sha256
from checkpointflow.engine.facts import RunBegan
from checkpointflow.errors import RunKeyTaken, UsageError
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import make_private, sync_directory, sync_file, translate_errors, write_at
from checkpointflow.store.layout import KEYS, STATE, is_run_id
from checkpointflow.store.store import Store

MAX_KEY = 256


class Claim:
    """What one key stands for, while nobody else may decide it."""

    def __init__(self, store: Store, fd: int) -> None:
        self._store, self._fd = store, fd

    def find(self) -> RunDirectory | None:
        """The run that has the key, if there is one."""
        run_id = os.pread(self._fd, 26, 0).decode("latin-1")
        directory = self._store.at(run_id) if is_run_id(run_id) else None
        return directory if directory is not None and (directory.place / STATE).exists() else None

    def give(self, run_id: str) -> None:
        """Have the run *run_id*, which is made now, have the key."""
        write_at(self._fd, run_id.encode(), 0)
        sync_file(self._fd)


@contextmanager
def claim(store: Store, key: str) -> Iterator[Claim]:
    """Decide what *key* stands for; whoever else wants to waits meanwhile.

    Raises UsageError for what is no key, PersistenceError.
    """
    if not 0 < len(key) <= MAX_KEY:
        raise UsageError(problem=f"a run key has 1 to {MAX_KEY} characters")
    store.make()
    file = store.base / KEYS / sha256(key.encode()).hexdigest()
    with ExitStack() as stack:
        with translate_errors(file):
            make_private(file.parent)
            fd = _lock(file, stack)
            sync_directory(file.parent)
        yield Claim(store, fd)


@contextmanager
def keep_key(store: Store, began: RunBegan) -> Iterator[None]:
    """Have the run that *began* so, and is being taken in, keep its key here. Raises RunKeyTaken."""
    if began.key is None:
        yield
        return
    with claim(store, began.key) as claimed:
        other = claimed.find()
        if other is not None and other.place.name != began.run_id:
            why = "so this one can only be imported as another run, without it: --as-new"
            raise RunKeyTaken(run_id=other.place.name, key=began.key, why=why)
        claimed.give(began.run_id)
        yield


def _lock(file: Path, stack: ExitStack) -> int:
    """A descriptor of *file*, locked until *stack* ends, and still what lies there."""
    while True:
        fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        stack.callback(os.close, fd)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink == 1:  # it was not swept meanwhile
            return fd


def sweep_claims(store: Store, before: float, *, dry_run: bool) -> Iterator[Path]:
    """Remove the files of keys whose runs are gone, last changed before *before*; gives each."""
    keys = store.base / KEYS
    for name in sorted(os.listdir(keys)) if keys.is_dir() else ():
        file = keys / name
        with translate_errors(file):
            fd = os.open(file, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(fd).st_mtime < before and Claim(store, fd).find() is None:
                    if not dry_run:
                        file.unlink()
                    yield file
            except BlockingIOError:
                pass  # somebody decides it just now
            finally:
                os.close(fd)
