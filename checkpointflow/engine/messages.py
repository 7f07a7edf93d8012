"""What the engine hears: each message carries *now*, since the engine has no clock.

Times are UTC in ISO 8601 with milliseconds and `Z`, so that they compare as text.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct

from checkpointflow.engine.actions import Action, Outcome, StoredFile


class _Message(Struct, frozen=True, kw_only=True):
    now: str


class Begin(_Message, frozen=True, kw_only=True):
    """Start a run.

    digest: SHA-256 of the document; documents: those of all that it calls, by name; source, cwd: where it
    was read, where it was started; by: who starts it; environment: which variables that it reads are set;
    env: the values of those that it declares, as far as they are; key: its run key, which no other run of its
    store has.
    """

    run_id: str
    inputs: Any
    digest: str
    documents: dict[str, str] = {}
    source: str | None = None
    cwd: str | None = None
    by: str | None = None
    environment: tuple[str, ...] = ()
    env: dict[str, str] = {}
    key: str | None = None


class Report(_Message, frozen=True, kw_only=True):
    """What became of an action."""

    path: str
    attempt: int
    outcome: Outcome


class Deliver(_Message, frozen=True, kw_only=True):
    """An event from outside for the wait at *path*; by: who gave it, as `user@host`."""

    path: str
    payload: Any
    by: str | None = None


class Interrupt(_Message, frozen=True, kw_only=True):
    """The driver was told to stop, and has stopped whatever it was doing."""


class Recover(_Message, frozen=True, kw_only=True):
    """The outcomes of *lost* will never come: each may or may not have happened."""

    lost: tuple[Action, ...]


class Seal(_Message, frozen=True, kw_only=True):
    """What lies in *files* is final, as far as the driver knows."""

    files: tuple[StoredFile, ...]


class Defer(_Message, frozen=True, kw_only=True):
    """The driver did not begin an attempt: somebody else holds the lock that it needs, or is to drive on."""

    path: str
    attempt: int


class Retry(_Message, frozen=True, kw_only=True):
    """Do again what failed, or the step at *path* and all that came after it."""

    path: str | None = None


class ChooseDirectory(_Message, frozen=True, kw_only=True):
    """Commands are to run in the directory *cwd* from now on."""

    cwd: str


class Cancel(_Message, frozen=True, kw_only=True):
    """Nothing more is wanted of the run; skips_finally: not even that it cleans up."""

    reason: str
    skips_finally: bool = False


Message = Begin | Report | Deliver | Interrupt | Defer | Recover | Seal | Retry | ChooseDirectory | Cancel


def add_seconds(now: str, seconds: float) -> str:
    """The time *seconds* after *now*."""
    return format_time(datetime.fromisoformat(now) + timedelta(seconds=seconds))


def format_time(moment: datetime) -> str:
    """*moment* as this package writes times: `2026-01-31T09:30:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
