"""The state of a run, and the one function that changes it.

A Run is everything there is to know: equal runs behave equally, whoever drives them. It is also the
snapshot on disk, so its fields stand in the order in which a person wants to read them.

There is no program counter anywhere else. Each open body has a cursor, which a step's first fact moves
to it; what stands at the cursor (nothing, something under way, something done) says what follows.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeVar, assert_never

from msgspec import UNSET, Struct
from msgspec.structs import replace

from checkpointflow.engine.actions import Action, Error, StoredFile
from checkpointflow.engine.facts import (
    AttemptFailed,
    BlockOpened,
    BodyClosed,
    BodyFact,
    BodyOpened,
    Fact,
    FilesSealed,
    Identity,
    RunBegan,
    RunCancelled,
    RunCompleted,
    RunFailed,
    StepDeferred,
    StepFact,
    StepFailed,
    StepInterrupted,
    StepSkipped,
    StepsReopened,
    StepStarted,
    StepSucceeded,
    Wait,
    WaitOpened,
    encode_fact,
)
from checkpointflow.engine.path import ROOT, at, owner, split, within

STATE_VERSION: Final = "checkpointflow-state/v1"

CHUNK = 128

Status = Literal["running", "waiting", "completed", "failed", "cancelled"]


class _Record(
    Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="state", omit_defaults=True
):
    """What a run knows of one visit of one step."""


class Started(_Record, frozen=True, kw_only=True, tag="started"):
    """Asked for and unanswered. on_hold: nobody works on it, since it was interrupted, or never begun."""

    started_at: str
    action: Action
    on_hold: Literal["interrupted", "deferred"] | None = None


class Waiting(_Record, frozen=True, kw_only=True, tag="waiting"):
    started_at: str
    wait: Wait


class Opened(_Record, frozen=True, kw_only=True, tag="open"):
    """A block whose bodies are not all done.

    items: of a foreach; begun: how many bodies were begun, in their order; open: the keys of those under
    way; ended: the outputs of those that ended well, by key, in chunks so that adding one copies little.
    """

    started_at: str
    items: Any = UNSET
    begun: int = 0
    open: tuple[str, ...] = ()
    ended: tuple[dict[str, Any], ...] = ()
    failed: dict[str, Error] = {}
    items_in: str | None = None
    ended_in: tuple[str, ...] = ()


class Skipped(_Record, frozen=True, kw_only=True, tag="skipped"):
    ended_at: str


class Succeeded(_Record, frozen=True, kw_only=True, tag="succeeded"):
    """next: the step that it chose to go to, if it chose; outputs_in: the file that holds long outputs."""

    outputs: Any = UNSET
    outputs_in: str | None = None
    exit_code: int | None = None
    status_code: int | None = None
    stdout: str | None = None
    artifacts: dict[str, StoredFile] = {}
    next: str | None = None
    attempts: int = 1
    started_at: str
    ended_at: str


class Failed(_Record, frozen=True, kw_only=True, tag="failed"):
    """block: how far its bodies had come, if it has any; they can be taken up again from there."""

    error: Error
    block: Opened | None = None
    next: str | None = None
    attempts: int = 1
    started_at: str
    ended_at: str


class Cancelled(_Record, frozen=True, kw_only=True, tag="cancelled"):
    """Under way, or waiting, when the run was cancelled."""

    started_at: str
    ended_at: str


Record = Started | Waiting | Opened | Skipped | Succeeded | Failed | Cancelled


class Cursor(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Where an open body stands (None: before its first step).

    visits: of the steps that it came to more than once; inputs: of a called workflow.
    """

    step: str | None = None
    visits: dict[str, int] = {}
    inputs: dict[str, Any] | None = None


class Completion(Struct, frozen=True, forbid_unknown_fields=True, tag_field="status", tag="completed"):
    result: Any = UNSET


class Breakdown(Struct, frozen=True, forbid_unknown_fields=True, tag_field="status", tag="failed"):
    error: Error


class Cancellation(Struct, frozen=True, forbid_unknown_fields=True, tag_field="status", tag="cancelled"):
    reason: str


RunOutcome = Completion | Breakdown | Cancellation


class Run(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One execution of a workflow, at one revision.

    checkpoint_id names the revision and, since it is a chain of digests, all that led to it.
    steps holds the latest visit of each step, by path, in the order in which they were come to.
    inputs_in, outputs_in and their like name a file beside that holds what is too long for a snapshot; a
    store fills them in when it writes and takes them out when it reads, so that no rule ever sees them.
    """

    schema_version: Literal["checkpointflow-state/v1"] = STATE_VERSION
    run_id: str
    status: Status
    revision: int
    checkpoint_id: str
    started_at: str
    updated_at: str
    workflow: Identity
    cwd: str | None
    inputs: dict[str, Any]
    inputs_in: str | None = None
    outcome: RunOutcome | None
    cursors: dict[str, Cursor]
    steps: dict[str, Record]


def evolve(run: Run | None, fact: Fact) -> Run:
    """*run* as it is once *fact* has happened (None: before its first). Never refuses, never decides."""
    if isinstance(fact, RunBegan):
        changed = _begun(fact)
    else:
        assert run is not None, "a run begins with RunBegan"
        changed = _changed(run, fact)
    return replace(
        changed,
        status=_status(changed),
        revision=changed.revision + 1,
        checkpoint_id=chained(changed.checkpoint_id, fact),
        updated_at=fact.at,
    )


def chained(checkpoint_id: str, fact: Fact) -> str:
    """The id of the checkpoint that *fact* makes of the one called *checkpoint_id*."""
    from hashlib import sha256  # late: readers never need it

    return sha256(checkpoint_id.encode() + b"\n" + encode_fact(fact)).hexdigest()


def pending(run: Run) -> list[Action]:
    """The actions asked for and not yet answered."""
    if run.outcome is not None:
        return []
    return [r.action for r in run.steps.values() if isinstance(r, Started) and r.on_hold is None]


def unanswered(run: Run) -> tuple[Action, ...]:
    """What a driver that takes up the run can hear no more of: pending or interrupted when it came."""
    if run.outcome is not None:
        return ()
    return tuple(record.action for record in run.steps.values() if isinstance(record, Started))


def waits(run: Run) -> dict[str, Waiting]:
    """The open waits by path, the oldest first."""
    return {path: record for path, record in run.steps.items() if isinstance(record, Waiting)}


def visits(run: Run, body: str, step: str) -> int:
    """How often *body* has come to *step*."""
    return run.cursors[body].visits.get(step) or (1 if at(body, step) in run.steps else 0)


def standing(run: Run, body: str) -> str | None:
    """The path of the step that *body* stands at, or None before its first."""
    cursor = run.cursors[body]
    return None if cursor.step is None else at(body, cursor.step, visits(run, body, cursor.step))


def latest(run: Run, body: str, step: str) -> Record | None:
    """What is known of the latest visit of *step*."""
    return run.steps.get(at(body, step, visits(run, body, step) or 1))


def _begun(fact: RunBegan) -> Run:
    return Run(
        run_id=fact.run_id,
        status="running",
        revision=0,
        checkpoint_id="",
        started_at=fact.at,
        updated_at=fact.at,
        workflow=fact.workflow,
        cwd=fact.cwd,
        inputs=fact.inputs,
        outcome=None,
        cursors={ROOT: Cursor()},
        steps={},
    )


def _changed(
    run: Run,
    fact: StepFact | BodyFact | StepsReopened | FilesSealed | RunCompleted | RunFailed | RunCancelled,
) -> Run:
    match fact:
        case RunCompleted(result=result):
            return replace(run, outcome=Completion(result))
        case RunFailed(error=error):
            return replace(run, outcome=Breakdown(error))
        case RunCancelled(at=now, reason=reason):
            return replace(run, outcome=Cancellation(reason), steps=_without_open(run.steps, now))
        case BodyOpened() | BodyClosed():
            return _with_body(run, fact)
        case FilesSealed():
            return run
        case StepsReopened(path=path):
            return _reopened(run, path)
        case _:
            record = _recorded(run.steps.get(fact.path), fact)
            return _noted(run, fact.path, record)


def _recorded(record: Record | None, fact: StepFact) -> Record:
    """The record of a step that stood at *record*, once *fact* has happened to it."""
    match fact:
        case StepSkipped(at=now):
            return Skipped(ended_at=now)
        case StepStarted(at=now, action=action):
            return Started(started_at=_since(record, now), action=action)
        case StepInterrupted():
            return replace(_known(record, Started), on_hold="interrupted")
        case StepDeferred():
            return replace(_known(record, Started), on_hold="deferred")
        case AttemptFailed():
            return _known(record, Started)
        case WaitOpened(at=now, wait=wait):
            return Waiting(started_at=_since(record, now), wait=wait)
        case BlockOpened(at=now, items=items):
            return Opened(started_at=now, items=items)
        case StepSucceeded(at=now):
            return Succeeded(
                outputs=fact.outputs,
                exit_code=fact.exit_code,
                status_code=fact.status_code,
                stdout=fact.stdout,
                artifacts=fact.artifacts,
                next=fact.next,
                attempts=_attempts(record),
                started_at=_since(record, now),
                ended_at=now,
            )
        case StepFailed(at=now, error=error, next=chosen):
            return Failed(
                error=error,
                block=record if isinstance(record, Opened) else None,
                next=chosen,
                attempts=_attempts(record),
                started_at=_since(record, now),
                ended_at=now,
            )
        case _:
            assert_never(fact)


R = TypeVar("R", bound=_Record)


def _known(record: Record | None, kind: type[R]) -> R:
    assert isinstance(record, kind), f"{record!r} is not a {kind.__name__}"
    return record


def _since(record: Record | None, now: str) -> str:
    return record.started_at if isinstance(record, Started | Waiting | Opened) else now


def _attempts(record: Record | None) -> int:
    match record:
        case Started(action=action):
            return action.attempt
        case Waiting(wait=Wait(in_doubt=action)) if action is not None:
            return action.attempt
        case _:
            return 1


def _noted(run: Run, path: str, record: Record) -> Run:
    """*run* with *record* at *path*, where the cursor of its body now is."""
    body, step, visit = split(path)
    cursor = run.cursors[body]
    if cursor.step == step and path in run.steps:
        return replace(run, steps={**run.steps, path: record})
    steps, cursors = run.steps, run.cursors
    if cursor.step is not None:  # what a block that failed and was survived had kept
        left = str(standing(run, body))
        steps = {p: r for p, r in steps.items() if not _belongs(p, left)}
        cursors = {b: c for b, c in cursors.items() if not _belongs(b, left)}
    seen = cursor.visits
    if visit > 1:
        seen = {**seen, step: visit}
        former = at(body, step, visit - 1)
        steps = {p: r for p, r in steps.items() if p != former}
    cursors = {**cursors, body: replace(cursor, step=step, visits=seen)}
    return replace(run, steps={**steps, path: record}, cursors=cursors)


def _belongs(path: str, block: str) -> bool:
    """Whether *path* (of a step or a body) lies in the block at *block*."""
    return path.startswith((block + "/", block + "["))


def _with_body(run: Run, fact: BodyFact) -> Run:
    """A body of a block opened, or closed: then only what it came to is kept (all of it, if it failed)."""
    path, key = owner(fact.body)
    block = _known(run.steps[path], Opened)
    steps, cursors = run.steps, run.cursors
    if isinstance(fact, BodyOpened):
        cursors = {**cursors, fact.body: Cursor(inputs=fact.inputs)}
        block = replace(block, begun=block.begun + 1, open=(*block.open, key))
        return replace(run, steps={**steps, path: block}, cursors=cursors)
    block = replace(block, open=tuple(k for k in block.open if k != key))
    if fact.error is not None:
        block = replace(block, failed={**block.failed, key: fact.error})
    else:
        steps = {p: r for p, r in steps.items() if not within(p, fact.body)}
        cursors = {b: c for b, c in cursors.items() if b != fact.body and not within(b, fact.body)}
        block = replace(block, ended=_added(block.ended, key, fact.outputs))
    return replace(run, steps={**steps, path: block}, cursors=cursors)


def _added(chunks: tuple[dict[str, Any], ...], key: str, outputs: Any) -> tuple[dict[str, Any], ...]:
    if not chunks or len(chunks[-1]) >= CHUNK:
        return (*chunks, {key: outputs})
    return (*chunks[:-1], {**chunks[-1], key: outputs})


def _reopened(run: Run, path: str) -> Run:
    """*run* as if it had not yet come to the step at *path*, nor to anything after it in the same body."""
    body = split(path)[0]
    order = list(run.steps)
    later = [p for p in order[order.index(path) :] if split(p)[0] == body]
    gone = {p for p in run.steps if p in later or any(_belongs(p, block) for block in later)}
    steps = {p: r for p, r in run.steps.items() if p not in gone}
    cursors = {b: c for b, c in run.cursors.items() if not any(_belongs(b, block) for block in later)}
    cursor = cursors[body]
    counts = {s: v for _, s, v in map(split, later)}
    cursors[body] = replace(cursor, step=None, visits={**cursor.visits, **counts})
    changed = replace(run, outcome=None, steps=steps, cursors=cursors)
    return _with_blocks_open(changed, body)


def _with_blocks_open(run: Run, body: str) -> Run:
    """*run* with *body*, and those around it, under way again."""
    while body != ROOT:
        path, key = owner(body)
        record = run.steps[path]
        block = record.block if isinstance(record, Failed) else record
        if isinstance(block, Opened) and key in block.failed:
            failed = {k: error for k, error in block.failed.items() if k != key}
            block = replace(block, open=(*block.open, key), failed=failed)
            run = replace(run, steps={**run.steps, path: block})
        body = split(path)[0]
    return run


def _without_open(steps: dict[str, Record], now: str) -> dict[str, Record]:
    return {
        path: Cancelled(started_at=record.started_at, ended_at=now)
        if isinstance(record, Started | Waiting | Opened)
        else record
        for path, record in steps.items()
    }


def _status(run: Run) -> Status:
    match run.outcome:
        case Completion():
            return "completed"
        case Breakdown():
            return "failed"
        case Cancellation():
            return "cancelled"
        case None:
            return "waiting" if waits(run) and not _under_way(run) else "running"
        case _:
            assert_never(run.outcome)


def _under_way(run: Run) -> bool:
    return any(isinstance(record, Started) for record in run.steps.values())
