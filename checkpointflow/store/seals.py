"""Seals: the digests of files, kept in the history.

What a step printed is sealed in the commit that tells what became of the step, and what it left in
`artifacts/` undeclared, when the run comes to rest.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from checkpointflow.engine.actions import Action, Sleep, StoredFile
from checkpointflow.engine.facts import Fact
from checkpointflow.engine.run import Run
from checkpointflow.errors import CheckpointflowError
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import (
    RunFiles,
    is_text,
    list_files,
    open_safely,
    read_digest,
    sync_file,
    sync_names,
)
from checkpointflow.store.history import find_artifacts, find_sealed_files
from checkpointflow.store.layout import ARTIFACTS, log_names


def seal_logs(files: RunFiles, action: Action) -> tuple[StoredFile, ...]:
    """What the attempt *action*, which is over, left in its logs; they would survive a power cut."""
    if isinstance(action, Sleep):
        return ()
    found = (seal(files, name) for name in log_names(action.path, action.attempt))
    return _make_lasting(files, [file for file in found if file is not None and file.size])


def seal_artifacts(directory: RunDirectory, run: Run, new: list[Fact]) -> tuple[StoredFile, ...]:
    """What lies in `artifacts/` undeclared and not sealed as it is, after *run* and what is *new*.

    All of it is read: a command may have moved, emptied or replaced anything that an earlier one left.
    """
    names = list_artifacts(directory)
    if not names:
        return ()
    try:
        facts = [*directory.facts(run), *new]
    except CheckpointflowError:  # a broken chain, of which people are warned elsewhere
        facts = new
    undeclared = names - find_artifacts(facts).keys()
    found = [file for name in sorted(undeclared) if (file := seal(directory, name)) is not None]
    return _make_lasting(directory, choose_changed(found, find_sealed_files(facts)))


def list_artifacts(files: RunFiles) -> set[str]:
    """The names of all regular files in `artifacts/` that can be written down."""
    artifacts = files.place / ARTIFACTS
    there = {} if artifacts.is_symlink() else dict(list_files(artifacts))
    names = (f"{ARTIFACTS}/{name}" for name, status in there.items() if stat.S_ISREG(status.st_mode))
    return {name for name in names if is_text(name)}


def choose_changed(found: list[StoredFile], known: dict[str, StoredFile]) -> list[StoredFile]:
    """Those *found* that are not as they are *known*; an empty one counts only if it was not always empty."""
    seals = {name: (file.size, file.sha256) for name, file in known.items()}
    changed = (file for file in found if seals.get(file.path) != (file.size, file.sha256))
    return [file for file in changed if file.size or file.path in seals]


def seal_file(fd: int, name: str) -> StoredFile | None:
    """The seal of the open regular file *fd* as *name*, if it can be read; it would survive a power cut."""
    try:
        size, digest = read_digest(fd, os.fstat(fd).st_size)  # somebody may go on writing
        if size:
            sync_file(fd)
        return StoredFile(path=name, size=size, sha256=digest)
    except OSError:
        return None


def _make_lasting(files: RunFiles, found: list[StoredFile]) -> tuple[StoredFile, ...]:
    try:
        sync_names(files.place, (file.path for file in found))
    except OSError:
        return ()  # nobody vouches for what may be gone tomorrow
    return tuple(found)


def seal(files: RunFiles, name: str) -> StoredFile | None:
    """The seal of the file *name* of the run, if it can be read; it would survive a power cut."""
    with suppress(OSError, CheckpointflowError), open_safely(files.file(name)) as fd:
        return seal_file(fd, name)
    return None
