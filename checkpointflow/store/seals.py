"""What lies in a run's directory beside its record: the names that a run can have, and what is sealed.

A seal is the digest of a file, kept in the history. What a step printed is sealed in the write that tells
what became of the step, and what it left in `artifacts/` undeclared, when the run comes to rest.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from checkpointflow.engine.actions import Action, Sleep, StoredFile
from checkpointflow.engine.facts import Fact, FilesSealed, Identity, RunBegan, StepSucceeded
from checkpointflow.engine.path import is_path
from checkpointflow.engine.run import Run
from checkpointflow.errors import CheckpointflowError
from checkpointflow.store.directory import (
    DOCUMENT,
    OUTPUTS,
    WORKFLOWS,
    RunDirectory,
    log_name,
    sync_file,
)

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
    found = {}
    for directory, below, names in os.walk(place):
        links_to = [name for name in below if os.path.islink(os.path.join(directory, name))]
        for name in [*names, *links_to]:
            whole = os.path.join(directory, name)
            with suppress(OSError):  # what a command left running may take away again
                found[os.path.relpath(whole, place)] = os.lstat(whole)
    yield from sorted(found.items())


def is_text(name: str) -> bool:
    """Whether *name*, as the operating system has it, can stand in JSON: it may be any bytes."""
    return shown(name) == name


def shown(name: str) -> str:
    """*name*, as the operating system has it, for people."""
    return os.fsencode(name).decode(errors="backslashreplace")


# What the history says of files


def documents(facts: list[Fact]) -> dict[str, str]:
    """The digests of the run's own copies of its documents, by their names in its directory."""
    match facts:
        case [RunBegan(workflow=Identity(digest=first, documents=called)), *_]:
            return {DOCUMENT: first} | {f"{WORKFLOWS}/{d}.yaml": d for d in called.values()}
        case _:
            return {}


def kept(facts: list[Fact]) -> dict[str, StoredFile]:
    """The artifacts that steps declared, by their names in the run's directory."""
    return {
        artifact.path: artifact
        for fact in facts
        if isinstance(fact, StepSucceeded)
        for artifact in fact.artifacts.values()
    }


def sealed(facts: list[Fact]) -> dict[str, StoredFile]:
    """The files that were sealed, by their names in the run's directory, each as it was last."""
    return {file.path: file for fact in facts if isinstance(fact, FilesSealed) for file in fact.files}


# Sealing


def printed(directory: RunDirectory, action: Action) -> tuple[StoredFile, ...]:
    """What the attempt *action*, which is over, left in its logs; they would survive a power cut."""
    if isinstance(action, Sleep):
        return ()
    logs = [log_name(stream, action.path, action.attempt) for stream in LOGS]
    found = (_seal(directory, name) for name in (*logs, f"{logs[0].removesuffix('.txt')}.json"))
    return tuple(file for file in found if file is not None and file.size)


def left_behind(directory: RunDirectory, run: Run, new: list[Fact]) -> tuple[StoredFile, ...]:
    """What lies in `artifacts/` undeclared and not sealed as it is, after *run* and what is *new*.

    All of it is read: a command may have moved, emptied or replaced anything that an earlier one left.
    """
    place = directory.place / ARTIFACTS
    there = {} if place.is_symlink() else dict(files_in(place))
    names = {f"{ARTIFACTS}/{name}" for name, status in there.items() if stat.S_ISREG(status.st_mode)}
    if not names:
        return ()
    try:
        facts = [*(entry.fact for entry in directory.history(run)), *new]
    except CheckpointflowError:  # a broken chain, of which people are warned elsewhere
        facts = new
    known = {name: (file.size, file.sha256) for name, file in sealed(facts).items()}
    nameable = sorted(name for name in names - kept(facts).keys() if is_text(name))
    found = [file for name in nameable if (file := _seal(directory, name)) is not None]
    return tuple(
        file
        for file in found
        if (file.size or file.path in known) and known.get(file.path) != (file.size, file.sha256)
    )


def _seal(directory: RunDirectory, name: str) -> StoredFile | None:
    """The seal of the file *name*, if it is one that can be read."""
    try:
        fd = os.open(directory.file(name), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except (OSError, CheckpointflowError):
        return None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return None
        size, digest = read_digest(fd, status.st_size)  # somebody may go on writing
        if size:
            sync_file(fd)
        return StoredFile(path=name, size=size, sha256=digest)
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
