"""Many runs at once: what there is, what may go, and what crashes have left.

Listing decodes only the head of each snapshot (the rest is skipped unread), and takes no lock. A run is
removed by whoever holds it: renamed aside first, so that no reader ever sees half of it, then taken apart.
What does not bear our marks is not touched: a directory named by a run id with a snapshot of ours in it; a
name that only a deletion or an import of ours gives; a creation that died before its first snapshot.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from checkpointflow.engine.path import ROOT
from checkpointflow.engine.run import STATE_VERSION, Status
from checkpointflow.errors import (
    CheckpointflowError,
    LockConflict,
    PersistenceError,
    RunNotEnded,
    RunNotFound,
    StateCorrupt,
)
from checkpointflow.store.clock import fresh_id, now
from checkpointflow.store.directory import (
    CANCEL,
    DOCUMENT,
    HISTORY,
    LOCK,
    OUTPUTS,
    STATE,
    STEP_LOCK,
    WORKFLOWS,
    RunDirectory,
    Store,
    is_run_id,
    refuse_shared,
    sync_directory,
    telling,
)

ENDED = ("completed", "failed", "cancelled")
CREATION_SECONDS = 3600.0

_ASIDE = re.compile(r"\.(?:deleting|importing)-[0-7][0-9A-HJKMNP-TV-Z]{25}")
# What lies in a directory before its first snapshot; once a step has run there is more.
_CREATED = {LOCK, STEP_LOCK, DOCUMENT, WORKFLOWS, OUTPUTS, HISTORY, CANCEL}
_CREATED |= {f"{name}.tmp" for name in (DOCUMENT, STATE)}


class _Identity(Struct, frozen=True):
    id: str
    name: str | None = None
    version: str | None = None


class _Cursor(Struct, frozen=True):
    step: str | None = None


class _Wait(Struct, frozen=True):
    audience: str
    event_name: str
    timeout_at: str | None = None


class _Record(Struct, frozen=True):
    started_at: str = ""
    wait: _Wait | None = None


class Head(Struct, frozen=True, kw_only=True):
    """As much of a snapshot as a list of runs tells."""

    schema_version: str
    run_id: str
    status: Status
    checkpoint_id: str
    started_at: str
    updated_at: str
    workflow: _Identity
    cursors: dict[str, _Cursor]
    steps: dict[str, _Record]

    @property
    def step(self) -> str | None:
        """Where the run stands: at its first wait, else at the step that its root has come to."""
        first = next(iter(self.waits), None)
        return first or self.cursors.get(ROOT, _Cursor()).step

    @property
    def waits(self) -> dict[str, _Record]:
        """The open waits by path."""
        if self.status in ENDED:
            return {}
        return {path: record for path, record in self.steps.items() if record.wait is not None}


class Listed(Struct, frozen=True, kw_only=True):
    """A run of the store: its head, or what is wrong with it."""

    run_id: str
    directory: RunDirectory
    head: Head | None
    problem: str | None = None


class Freed(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A directory that was removed, or that would be; run_id: unless a crash had left it."""

    run_id: str | None = None
    workflow_id: str | None = None
    status: str | None = None
    directory: str
    bytes: int


class NotRemoved(Struct, frozen=True, kw_only=True):
    """A directory that was to be removed, and why it was not."""

    directory: str
    problem: str


class Swept(Struct, frozen=True, kw_only=True):
    """What a sweep came to."""

    deleted: list[Freed]
    remains: list[Freed]
    kept: list[NotRemoved]

    @property
    def freed_bytes(self) -> int:
        return sum(freed.bytes for freed in [*self.deleted, *self.remains])


def listed(store: Store) -> Iterator[Listed]:
    """The runs of *store*, newest first; a damaged one is listed as such and stops nothing."""
    for name in sorted((n for n in _names(store) if is_run_id(n)), reverse=True):
        directory = RunDirectory(store.runs / name)
        if os.path.islink(directory.place):
            continue  # it could lead anywhere
        try:
            yield Listed(run_id=name, directory=directory, head=head_of(directory))
        except RunNotFound:
            continue  # not yet a run, or no longer
        except CheckpointflowError as error:
            yield Listed(run_id=name, directory=directory, head=None, problem=str(error))


def head_of(directory: RunDirectory) -> Head:
    """The head of the snapshot. Raises RunNotFound, PersistenceError, StateCorrupt."""
    data = directory.read(STATE)
    problem = f"it is not of the version {STATE_VERSION!r}"
    try:
        head = msgspec.json.decode(data, type=Head)
        if head.schema_version == STATE_VERSION:
            return head
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        problem = f"this is not a state that cpf wrote ({error or type(error).__name__})"
    raise StateCorrupt(file=directory.place / STATE, problem=problem)


def delete(directory: RunDirectory, *, force: bool = False, lock_timeout: float = 0) -> Freed:
    """Remove a run; with *force* also one that has not ended, or that is damaged.

    Raises LockConflict, RunNotEnded, StateCorrupt, PersistenceError; the run is then as it was.
    """
    place = directory.place
    if place.is_symlink():
        raise PersistenceError(
            file=place,
            problem="it is a symbolic link, which cpf does not follow to delete; remove it yourself",
        )
    freed = _described(directory, force)  # before anything is written there
    with directory.hold("delete", now(), lock_timeout):
        _described(directory, force)  # somebody may have gone on with it
        remove(place)
    return freed


def sweep(
    store: Store,
    *,
    before: str | None,
    statuses: tuple[str, ...] = (),
    keep: int | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> Swept:
    """Remove the ended runs last changed before *before* but for the *keep* newest, and remains of crashes.

    Without *before* and *keep* only remains go. *statuses*: only runs of these; *force*: also runs that have
    not ended. What somebody holds, or cannot be removed, is told and left.
    """
    if _names(store):
        refuse_shared(store.allow_shared, store.base, store.runs)
    swept = Swept(deleted=[], remains=[], kept=[])
    for run in _outdated(store, before, statuses, keep, force):
        with _noting(swept, run.directory.place):
            freed = _described(run.directory, force) if dry_run else delete(run.directory, force=force)
            swept.deleted.append(freed)
    for place in _remains(store):
        with _noting(swept, place):
            swept.remains.append(_cleared(place, dry_run))
    return swept


def remove(place: Path) -> None:
    """Make the directory *place* go: at once for every reader, then from the disk."""
    aside = place
    with telling(place):
        if not _ASIDE.fullmatch(place.name):
            aside = beside(place, "deleting")
            os.rename(place, aside)
            sync_directory(aside.parent)
        for directory, _, _ in os.walk(aside):  # a command may have left directories that cannot be written
            os.chmod(directory, 0o700)
        shutil.rmtree(aside)


def beside(place: Path, why: str) -> Path:
    """A name in the same directory as *place* that nothing has yet, and that a later sweep knows as ours."""
    return place.with_name(f".{why}-{fresh_id()}")


def size_of(place: Path) -> int:
    """The bytes of all files below *place*; links are not followed."""
    return sum(
        os.lstat(os.path.join(directory, name)).st_size
        for directory, _, names in os.walk(place)
        for name in names
    )


def _names(store: Store) -> list[str]:
    try:
        return os.listdir(store.runs)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise PersistenceError(file=store.runs, problem=error.strerror or str(error)) from None


def _described(directory: RunDirectory, force: bool) -> Freed:
    """What is to go. Raises RunNotEnded, StateCorrupt unless *force*; never for what may not be ours."""
    head = None
    try:
        head = head_of(directory)
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
    return Freed(
        run_id=directory.place.name,
        workflow_id=None if head is None else head.workflow.id,
        status="damaged" if head is None else head.status,
        directory=str(directory.place),
        bytes=size_of(directory.place),
    )


def _outdated(
    store: Store, before: str | None, statuses: tuple[str, ...], keep: int | None, force: bool
) -> Iterator[Listed]:
    if before is None and keep is None:
        return
    seen = 0
    for run in listed(store):
        if run.head is None or (statuses and run.head.status not in statuses):
            continue
        if run.head.status not in ENDED and not force:
            continue
        seen += 1
        if seen > (keep or 0) and (before is None or run.head.updated_at < before):
            yield run


def _remains(store: Store) -> Iterator[Path]:
    """Directories that a deletion, an import or a creation left when it died, an hour ago or more."""
    for name in sorted(_names(store)):
        place = store.runs / name
        if _is_remains(place):
            yield place


def _is_remains(place: Path) -> bool:
    try:
        status = os.lstat(place)
        if not stat.S_ISDIR(status.st_mode):
            return False
        if time.time() - status.st_mtime < CREATION_SECONDS:
            return False
        if is_run_id(place.name):
            return set(os.listdir(place)) <= _CREATED
        return _ASIDE.fullmatch(place.name) is not None
    except OSError:
        return False


def _cleared(place: Path, dry_run: bool) -> Freed:
    freed = Freed(directory=str(place), bytes=size_of(place))
    with RunDirectory(place).hold("gc", now()):
        if is_run_id(place.name) and not set(os.listdir(place)) <= _CREATED:
            raise LockConflict(what=str(place), holder="a process that has made a run of it")
        if not dry_run:
            remove(place)
    return freed


@contextmanager
def _noting(swept: Swept, place: Path) -> Iterator[None]:
    """What is refused within it is noted as kept."""
    try:
        yield
    except CheckpointflowError as error:
        swept.kept.append(NotRemoved(directory=str(place), problem=str(error)))
