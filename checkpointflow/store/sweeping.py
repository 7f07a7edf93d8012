"""Removing: one run, old runs, and what crashes have left.

A run is removed by whoever holds it: renamed aside first, so that no reader ever sees half of it, then taken
apart. What does not bear our marks is not touched: a directory named by a run id with a snapshot of ours in
it; a name that only a deletion or an import of ours gives; a creation that died before its first snapshot.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from checkpointflow.errors import (
    CheckpointflowError,
    LockConflict,
    PersistenceError,
    RunNotEnded,
    StateCorrupt,
)
from checkpointflow.store.cache import find_outdated
from checkpointflow.store.claims import sweep_claims
from checkpointflow.store.clock import make_id, now
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import refuse_shared, size_of, sync_directory, translate_errors
from checkpointflow.store.layout import (
    CANCEL,
    DOCUMENT,
    HISTORY,
    LOCK,
    OUTPUTS,
    STATE,
    STEP_LOCK,
    WORKFLOWS,
    is_aside,
    is_run_id,
)
from checkpointflow.store.listing import ENDED, ListedRun, list_runs, read_head
from checkpointflow.store.store import Store

MAX_CREATION_SECONDS = 3600.0

# What lies in a directory before its first snapshot, without which it is no run.
_CREATED = {LOCK, STEP_LOCK, DOCUMENT, WORKFLOWS, OUTPUTS, HISTORY, CANCEL}
_CREATED |= {f"{name}.tmp" for name in (DOCUMENT, STATE)}


class Removal(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A directory that was removed, or that would be; run_id: unless a crash had left it."""

    run_id: str | None = None
    workflow_id: str | None = None
    status: str | None = None
    directory: str
    bytes: int


class NotRemoved(Struct, frozen=True, kw_only=True):
    """A directory that was to be removed, and the message of the error that kept it."""

    directory: str
    problem: str


class Sweep(Struct, frozen=True, kw_only=True):
    """What a sweep came to."""

    deleted: list[Removal]
    remains: list[Removal]
    kept: list[NotRemoved]

    @property
    def freed_bytes(self) -> int:
        return sum(removal.bytes for removal in [*self.deleted, *self.remains])


def delete(directory: RunDirectory, *, force: bool = False, lock_timeout: float = 0) -> Removal:
    """Remove a run; with *force* also one that has not ended, or that is damaged.

    Raises LockConflict, RunNotEnded, StateCorrupt, PersistenceError; the run is then as it was.
    """
    place = directory.place
    if place.is_symlink():
        raise PersistenceError(
            file=place,
            problem="it is a symbolic link, which cpf does not follow to delete; remove it yourself",
        )
    removal = _describe(directory, force)  # before anything is written there
    with directory.hold("delete", now(), lock_timeout, may_lag=True):
        _describe(directory, force)  # somebody may have gone on with it
        remove(place)
    return removal


def sweep(
    store: Store,
    *,
    before: str | None,
    statuses: tuple[str, ...] = (),
    keep: int | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> Sweep:
    """Remove the ended runs last changed before *before* but for the *keep* newest, and remains of crashes.

    Remains are also what the cache has had for long, and run keys whose runs are gone. Without *before* and
    *keep* only they go. *statuses*: only runs of these; *force*: also runs that have not ended. What somebody
    holds, or cannot be removed, is told and left.
    """
    if store.names():
        refuse_shared(store.allow_shared, store.base, store.runs)
    swept = Sweep(deleted=[], remains=[], kept=[])
    for run in choose_outdated(store, before, statuses, keep, force):
        with _note_refusal(swept, run.directory.place):
            removal = _describe(run.directory, force) if dry_run else delete(run.directory, force=force)
            swept.deleted.append(removal)
    for remains in filter(_is_remains, [store.runs / name for name in store.names()]):
        with _note_refusal(swept, remains):
            swept.remains.append(_clear(remains, dry_run))
    for entry in find_outdated(store.base):
        with translate_errors(entry):
            swept.remains.append(Removal(directory=str(entry), bytes=os.lstat(entry).st_size))
            if not dry_run:
                entry.unlink()
    for key in sweep_claims(store, time.time() - MAX_CREATION_SECONDS, dry_run=dry_run):
        swept.remains.append(Removal(directory=str(key), bytes=0))
    return swept


def remove(directory: Path) -> None:
    """Make *directory*, of a run, go: at once for every reader, then from the disk."""
    aside = directory
    with translate_errors(directory):
        if not is_aside(directory.name):
            aside = name_aside(directory, "deleting")
            os.rename(directory, aside)
            sync_directory(aside.parent)
        for inner, _, _ in os.walk(aside):  # a command may have left directories that cannot be written
            os.chmod(inner, 0o700)
        shutil.rmtree(aside)


def name_aside(directory: Path, why: str) -> Path:
    """A name beside *directory* that nothing has yet, and that a later sweep knows as ours."""
    return directory.with_name(f".{why}-{make_id()}")


def _describe(directory: RunDirectory, force: bool) -> Removal:
    """What is to go. Raises RunNotEnded, StateCorrupt unless *force*; never for what may not be ours."""
    head = None
    try:
        head = read_head(directory)
    except StateCorrupt:
        if not force:
            raise
        if not (is_run_id(directory.place.name) and (directory.place / HISTORY).is_file()):
            problem = (
                f"its {STATE} is none of ours, and nothing else shows that it is a run; remove it yourself"
            )
            raise StateCorrupt(file=directory.place, problem=problem) from None
    if head is not None and head.status not in ENDED and not force:
        raise RunNotEnded(run_id=head.run_id, status=head.status)
    return Removal(
        run_id=directory.place.name,
        workflow_id=None if head is None else head.workflow.id,
        status="damaged" if head is None else head.status,
        directory=str(directory.place),
        bytes=size_of(directory.place),
    )


def choose_outdated(
    store: Store, before: str | None, statuses: tuple[str, ...], keep: int | None, force: bool
) -> Iterator[ListedRun]:
    """The runs that `sweep` removes, told the same."""
    if before is None and keep is None:
        return
    seen = 0
    for run in list_runs(store):
        if run.head is None or (statuses and run.head.status not in statuses):
            continue
        if run.head.status not in ENDED and not force:
            continue
        seen += 1
        if seen > (keep or 0) and (before is None or run.head.updated_at < before):
            yield run


def _is_remains(directory: Path) -> bool:
    """Whether a deletion, an import or a creation left *directory* when it died, an hour ago or more."""
    try:
        status = os.lstat(directory)
        if not stat.S_ISDIR(status.st_mode):
            return False
        if time.time() - status.st_mtime < MAX_CREATION_SECONDS:
            return False
        return _is_half_made(directory) or is_aside(directory.name)
    except OSError:
        return False


def _is_half_made(directory: Path) -> bool:
    return is_run_id(directory.name) and set(os.listdir(directory)) <= _CREATED


def _clear(directory: Path, dry_run: bool) -> Removal:
    removal = Removal(directory=str(directory), bytes=size_of(directory))
    with RunDirectory(directory).hold("gc", now(), may_lag=True):
        if is_run_id(directory.name) and not _is_half_made(directory):
            raise LockConflict(what=str(directory), holder="a process that has made a run of it")
        if not dry_run:
            remove(directory)
    return removal


@contextmanager
def _note_refusal(swept: Sweep, directory: Path) -> Iterator[None]:
    """What is refused within it is noted as kept."""
    try:
        with translate_errors(directory):
            yield
    except CheckpointflowError as error:
        swept.kept.append(NotRemoved(directory=str(directory), problem=str(error)))
