"""What has happened to a run, in the past tense. Facts alone change a run, and are never taken back.

The history of a run is its facts, a line each.
"""

# No `from __future__ import annotations`: msgspec would have to compile the texts at each start.
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from checkpointflow.digests import sha256
from checkpointflow.engine.actions import Action, Error, StoredFile


class Identity(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Which document a run executes.

    digest: SHA-256 of its bytes; documents: those of all that it calls, by name; source: where it was read.
    """

    id: str
    name: str | None = None
    description: str | None = None
    version: str | None = None
    digest: str
    documents: dict[str, str] = {}
    source: str | None = None


class Wait(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What is awaited, all texts interpolated. in_doubt: the attempt whose outcome is asked for."""

    audience: str
    event_name: str
    input_schema: dict[str, Any]
    prompt: str | None = None
    summary: str | None = None
    instructions: str | None = None
    risk_level: str | None = None
    timeout_at: str | None = None
    in_doubt: Action | None = None


class Completion(Struct, frozen=True, forbid_unknown_fields=True, tag_field="status", tag="completed"):
    result: Any = UNSET


class Breakdown(Struct, frozen=True, forbid_unknown_fields=True, tag_field="status", tag="failed"):
    error: Error


class Cancellation(Struct, frozen=True, forbid_unknown_fields=True, tag_field="status", tag="cancelled"):
    reason: str


RunOutcome = Completion | Breakdown | Cancellation


class _Fact(
    Struct,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    tag_field="fact",
    omit_defaults=True,
    dict=True,  # where `encode_fact` keeps what it has made
):
    at: str


class RunBegan(_Fact, frozen=True, kw_only=True, tag="run_began"):
    """cwd: where its commands run; by: who started it, as `user@host`; key: its run key.

    environment: which of the variables that its documents read were set then; env: the values then of those
    that they declare; copied_from: the checkpoint, of
    a run of another id, that this run was made from as a copy.
    """

    run_id: str
    workflow: Identity
    inputs: dict[str, Any]
    cwd: str | None = None
    by: str | None = None
    environment: tuple[str, ...] = ()
    env: dict[str, str] = {}
    key: str | None = None
    copied_from: str | None = None


class OfStep(_Fact, frozen=True, kw_only=True):
    """Something that happened to the step at *path*."""

    path: str


class StepSkipped(OfStep, frozen=True, kw_only=True, tag="step_skipped"):
    """Its condition did not hold."""


class StepStarted(OfStep, frozen=True, kw_only=True, tag="step_started"):
    """An attempt, or the pause before one, was asked for."""

    action: Action


class StepInterrupted(OfStep, frozen=True, kw_only=True, tag="step_interrupted"):
    """The driver was told to stop while the step was under way, and stopped it."""

    attempt: int


class StepDeferred(OfStep, frozen=True, kw_only=True, tag="step_deferred"):
    """The driver did not begin the attempt: somebody else holds the lock that it needs, or is to drive on."""

    attempt: int


class AttemptFailed(OfStep, frozen=True, kw_only=True, tag="attempt_failed"):
    """An attempt failed and another one follows."""

    attempt: int
    error: Error


class WaitOpened(OfStep, frozen=True, kw_only=True, tag="wait_opened"):
    wait: Wait


class EventTaken(_Fact, frozen=True, kw_only=True, tag="event_taken"):
    """Somebody answered the wait at *path*, and what follows from that comes next.

    by: who did, as `user@host`; attempt: the one whose outcome was asked for, if it was.
    """

    path: str
    event_name: str
    payload: Any = UNSET
    by: str | None = None
    attempt: int | None = None


class BlockOpened(OfStep, frozen=True, kw_only=True, tag="block_opened"):
    """A step that has bodies began. items: of a foreach, one a body, each with its key if it has one."""

    items: Any = UNSET


class BodyOpened(_Fact, frozen=True, kw_only=True, tag="body_opened"):
    """A body of a block began.

    inputs: of a called workflow; called: which, where a value chose it; index: of an item whose key the body
    has.
    """

    body: str
    inputs: dict[str, Any] | None = None
    called: str | None = None
    index: int | None = None


class BodyClosed(_Fact, frozen=True, kw_only=True, tag="body_closed"):
    """A body of a block came to its end: with outputs, or with an error; survived: the block goes on."""

    body: str
    outputs: Any = UNSET
    error: Error | None = None
    survived: bool = False


class FinallyBegan(_Fact, frozen=True, kw_only=True, tag="finally_began"):
    """All steps of *body* came to *outcome*, and its `finally` is next."""

    body: str
    outcome: RunOutcome


class CancelBegan(_Fact, frozen=True, kw_only=True, tag="cancel_began"):
    """Somebody cancelled the run: what is under way is stopped, and each `finally` comes before its end."""

    reason: str


class StepSucceeded(OfStep, frozen=True, kw_only=True, tag="step_succeeded"):
    """lost: as in a Yield; next: the step that it chose to go to, if it chose."""

    outputs: Any = UNSET
    exit_code: int | None = None
    status_code: int | None = None
    headers: dict[str, str] = {}
    stdout: str | None = None
    stderr: str | None = None
    artifacts: dict[str, StoredFile] = {}
    lost: dict[str, str] = {}
    next: str | None = None


class StepFailed(OfStep, frozen=True, kw_only=True, tag="step_failed"):
    """next: the step that its policy chose to go to, if it chose; the rest: as in a Failure."""

    error: Error
    outputs: Any = UNSET
    headers: dict[str, str] = {}
    stdout: str | None = None
    stderr: str | None = None
    lost: dict[str, str] = {}
    next: str | None = None


class StepsReopened(_Fact, frozen=True, kw_only=True, tag="steps_reopened"):
    """Somebody asked for the step at *path* again: it and what came after it are to be done anew."""

    path: str


class DirectoryChosen(_Fact, frozen=True, kw_only=True, tag="directory_chosen"):
    """Somebody who goes on with the run said where its commands run from now on."""

    cwd: str


class FilesSealed(_Fact, frozen=True, kw_only=True, tag="files_sealed"):
    """What steps printed, or left behind without declaring it, has these contents from now on."""

    files: tuple[StoredFile, ...]


class RunCompleted(_Fact, frozen=True, kw_only=True, tag="run_completed"):
    result: Any = UNSET


class RunFailed(_Fact, frozen=True, kw_only=True, tag="run_failed"):
    error: Error


class RunCancelled(_Fact, frozen=True, kw_only=True, tag="run_cancelled"):
    reason: str


StepFact = (
    StepSkipped
    | StepStarted
    | StepInterrupted
    | StepDeferred
    | AttemptFailed
    | WaitOpened
    | BlockOpened
    | StepSucceeded
    | StepFailed
)
Fact = (
    RunBegan
    | StepFact
    | BodyOpened
    | BodyClosed
    | FinallyBegan
    | CancelBegan
    | EventTaken
    | StepsReopened
    | DirectoryChosen
    | FilesSealed
    | RunCompleted
    | RunFailed
    | RunCancelled
)


def encode_fact(fact: Fact) -> bytes:
    """The JSON of *fact*, as the history has it and the chain digests it; made once for each fact."""
    data: bytes | None = fact.__dict__.get("json")
    if data is None:
        data = fact.__dict__["json"] = msgspec.json.encode(fact)
    return data


def digest_answer(payload: Any) -> str:
    """What tells whether two answers are the same: as JSON, in whatever order the members stand."""
    return sha256(msgspec.json.encode(payload, order="sorted")).hexdigest()
