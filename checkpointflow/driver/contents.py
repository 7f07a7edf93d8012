"""What lies in a run's directory beside its record: the names that a run can have, and what is sealed.

A seal is the digest of a file, kept in the history. What a step printed is sealed in the write that tells
what became of the step, and what it left in `artifacts/` undeclared, when the run comes to rest.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from checkpointflow.driver.store import (
    DOCUMENT,
    LOCK,
    OUTPUTS,
    WORKFLOWS,
    RunDirectory,
    sync_file,
)
from checkpointflow.engine.actions import Action, Kept, Sleep
from checkpointflow.engine.facts import Fact, FilesSealed, Identity, RunBegan, StepSucceeded
from checkpointflow.engine.path import is_path
from checkpointflow.engine.run import Run, Succeeded
from checkpointflow.errors import CheckpointflowError

ARTIFACTS, LOGS = "artifacts", ("stdout", "stderr")

_NAMED = re.compile(rf"(?:{OUTPUTS}/([0-9a-f]{{64}})\.json|{WORKFLOWS}/([0-9a-f]{{64}})\.yaml)")
_LOG = re.compile(r"(?:stdout|stderr)/(.+?)(?:\.[1-9][0-9]*)?\.(?:txt|json)")


# Names


def is_log(name: str) -> bool:
    """Whether *name*, relative to a run's directory, is of what a step printed."""
    parts = _LOG.fullmatch(name)
    return parts is not None and is_path(parts[1])


def is_artifact(name: str) -> bool:
    """Whether *name*, relative to a run's directory, is of what a step left behind."""
    return name.startswith(f"{ARTIFACTS}/")


def digest_in(name: str) -> str | None:
    """The digest that *name*, relative to a run's directory, says that its file has, if it says one."""
    parts = _NAMED.fullmatch(name)
    return parts and (parts[1] or parts[2])


def files_in(place: Path) -> Iterator[tuple[str, os.stat_result]]:
    """All that lies below *place* but for directories, sorted by name (relative to it)."""
    found = []
    for directory, below, names in os.walk(place):
        links_to = [name for name in below if os.path.islink(os.path.join(directory, name))]
        for name in [*names, *links_to]:
            whole = os.path.join(directory, name)
            found.append((os.path.relpath(whole, place), os.lstat(whole)))
    yield from sorted(found)


# What the history says of files


def documents(facts: list[Fact]) -> dict[str, str]:
    """The digests of the run's own copies of its documents, by their names in its directory."""
    match facts:
        case [RunBegan(workflow=Identity(digest=first, documents=called)), *_]:
            return {DOCUMENT: first} | {f"{WORKFLOWS}/{d}.yaml": d for d in called.values()}
        case _:
            return {}


def kept(facts: list[Fact]) -> dict[str, Kept]:
    """The artifacts that steps declared, by their names in the run's directory."""
    return {
        artifact.path: artifact
        for fact in facts
        if isinstance(fact, StepSucceeded)
        for artifact in fact.artifacts.values()
    }


def sealed(facts: list[Fact]) -> dict[str, Kept]:
    """The files that were sealed, by their names in the run's directory, each as it was last."""
    return {file.path: file for fact in facts if isinstance(fact, FilesSealed) for file in fact.files}


# Sealing


def printed(directory: RunDirectory, action: Action) -> tuple[Kept, ...]:
    """What the attempt *action*, which is over, left in its logs; they would survive a power cut."""
    if isinstance(action, Sleep):
        return ()
    try:
        logs = [directory.log(stream, action.path, action.attempt) for stream in LOGS]
    except CheckpointflowError:  # the command put a symbolic link in its place
        return ()
    found = (_seal(directory, str(log.relative_to(directory.place))) for log in logs)
    return tuple(file for file in found if file is not None)


def left_behind(directory: RunDirectory, before: Run, run: Run, *, is_lost: bool = False) -> tuple[Kept, ...]:
    """What lies in `artifacts/` undeclared and not sealed as it is, once *before* has become *run*.

    Looks at what changed since the lock was taken, or at everything when a former holder was lost.
    """
    since = 0 if is_lost else (directory.place / LOCK).stat().st_mtime_ns
    declared = {
        artifact.path
        for record in run.steps.values()
        if isinstance(record, Succeeded)
        for artifact in record.artifacts.values()
    }
    changed = [
        name
        for name, status in files_in(directory.place / ARTIFACTS)
        if stat.S_ISREG(status.st_mode) and status.st_ctime_ns >= since
    ]
    names = sorted({f"{ARTIFACTS}/{name}" for name in changed} - declared)
    found = [file for name in names if (file := _seal(directory, name)) is not None]
    if not found:
        return ()
    try:
        facts = [entry.fact for entry in directory.history(before)]
    except CheckpointflowError:  # a broken chain, of which people are warned elsewhere
        facts = []
    known = {name: (file.size, file.sha256) for name, file in {**sealed(facts), **kept(facts)}.items()}
    return tuple(file for file in found if known.get(file.path) != (file.size, file.sha256))


def _seal(directory: RunDirectory, name: str) -> Kept | None:
    """The seal of the file *name*, if there is one and anything in it."""
    try:
        fd = os.open(directory.file(name), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except (OSError, CheckpointflowError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        size, digest = read_digest(fd)
        if size:
            sync_file(fd)
        return Kept(path=name, size=size, sha256=digest) if size else None
    except OSError:
        return None
    finally:
        os.close(fd)


def read_digest(fd: int, most: int | None = None) -> tuple[int, str]:
    """The size and the SHA-256 of what *fd* still gives, its first *most* bytes if so said."""
    size, running = 0, sha256()
    while block := os.read(fd, min(1 << 20, (1 << 20) if most is None else most - size)):
        running.update(block)
        size += len(block)
    return size, running.hexdigest()


def file_digest(file: Path, most: int | None = None) -> tuple[int, str]:
    """The size and the SHA-256 of *file*, or of its first *most* bytes; it is not read as a whole."""
    with file.open("rb", buffering=0) as opened:
        return read_digest(opened.fileno(), most)
