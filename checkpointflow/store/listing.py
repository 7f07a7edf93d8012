"""The runs of a store, newest first, and of each as much as a list tells.

Only the head of each snapshot is decoded (the rest is skipped), and of the history only the end is looked at.
A run whose history is ahead of its snapshot is loaded whole. No lock is taken. A damaged run is listed as
such, and stops nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from checkpointflow.engine.actions import Error
from checkpointflow.engine.facts import Wait
from checkpointflow.engine.run import Cursor, RunHead, name_position
from checkpointflow.errors import CheckpointflowError, RunNotFound, StateCorrupt
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.layout import STATE, is_run_id
from checkpointflow.store.snapshot import STATE_VERSION, encode
from checkpointflow.store.store import Store

ENDED = ("completed", "failed", "cancelled")


class _Outcome(Struct, frozen=True):
    error: Error | None = None
    reason: str | None = None


class _Record(Struct, frozen=True):
    started_at: str = ""
    wait: Wait | None = None


class Head(RunHead, frozen=True, kw_only=True):
    """As much of a snapshot as a list of runs tells."""

    schema_version: str
    outcome: _Outcome | None = None
    cursors: dict[str, Cursor]
    steps: dict[str, _Record]

    @property
    def step(self) -> str | None:
        """Where the run stands: at its first wait, else at the step that its root has come to."""
        first = next(iter(self.waits), None)
        return first or name_position(self.cursors, self.outcome)

    @property
    def waits(self) -> dict[str, _Record]:
        """The open waits by path."""
        if self.status in ENDED:
            return {}
        return {path: record for path, record in self.steps.items() if record.wait is not None}


class ListedRun(Struct, frozen=True, kw_only=True):
    """A run of the store: its head, or the message of the error that tells what is wrong with it."""

    run_id: str
    directory: RunDirectory
    head: Head | None
    problem: str | None = None


def list_runs(store: Store) -> Iterator[ListedRun]:
    """The runs of *store*, newest first. Raises PersistenceError if it cannot be read at all."""
    for name in reversed(store.names()):
        if not is_run_id(name):
            continue
        directory = RunDirectory(store.runs / name)
        try:
            yield ListedRun(run_id=name, directory=directory, head=read_head(directory))
        except RunNotFound:
            continue  # not yet a run, or no longer
        except CheckpointflowError as error:
            yield ListedRun(run_id=name, directory=directory, head=None, problem=str(error))


def read_head(directory: RunDirectory) -> Head:
    """The head of the run as it stands. Raises RunNotFound, PersistenceError, StateCorrupt."""
    try:
        head = _decode(directory, directory.read(STATE))
        if directory.read_beyond(head.checkpoint_id):
            return _decode(directory, encode(directory.load()).state)
    except CheckpointflowError:
        raise
    except Exception as error:  # noqa: BLE001, what lies there may be anything, and one run must not hide all
        problem = f"nothing can be made of it ({error!r})"
        raise StateCorrupt(file=directory.place, problem=problem) from None
    return head


def _decode(directory: RunDirectory, data: bytes) -> Head:
    problem = f"it is not of the version {STATE_VERSION!r}"
    try:
        head = msgspec.json.decode(data, type=Head)
        if head.schema_version == STATE_VERSION:
            return head
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        problem = f"this is not a state that cpf wrote ({error or type(error).__name__})"
    raise StateCorrupt(file=directory.place / STATE, problem=problem)
