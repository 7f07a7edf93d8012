"""The state of a run, and what can be asked of it; `evolve` is what changes it.

A Run is everything there is to know: equal runs behave equally, whoever drives them.

There is no program counter anywhere else. Each open body has a cursor, which a step's first fact moves
to it; what stands at the cursor (nothing, something under way, something done) says what follows.
"""

# No `from __future__ import annotations`: msgspec would have to compile the texts at each start.
from collections.abc import Iterable
from typing import Any, Literal, assert_never

from msgspec import UNSET, Struct

from checkpointflow.engine.actions import Action, Error, Yield
from checkpointflow.engine.facts import Breakdown, Cancellation, Completion, Identity, RunOutcome, Wait
from checkpointflow.engine.path import ROOT, body_path, finally_path, step_path

Status = Literal["running", "waiting", "completed", "failed", "cancelled"]


class OfVisit(
    Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="state", omit_defaults=True
):
    """What a run knows of one visit of one step."""


class Active(OfVisit, frozen=True, kw_only=True):
    """One that has not ended: under way, waiting or open."""

    started_at: str


class Started(Active, frozen=True, kw_only=True, tag="started"):
    """Asked for and unanswered. on_hold: nobody works on it, since it was interrupted, or never begun."""

    action: Action
    on_hold: Literal["interrupted", "deferred"] | None = None


class Waiting(Active, frozen=True, kw_only=True, tag="waiting"):
    wait: Wait


class Opened(Active, frozen=True, kw_only=True, tag="open"):
    """A block whose bodies are not all done.

    items: of a foreach, with their keys if they have any; begun: how many bodies were begun, in their order;
    open: the keys of those under way; ended: the outputs of those that ended well, by key, in chunks so that
    adding one copies little; survived: the errors of those that failed and are put up with, likewise.
    """

    items: Any = UNSET
    begun: int = 0
    open: tuple[str, ...] = ()
    ended: tuple[dict[str, Any], ...] = ()
    failed: dict[str, Error] = {}
    survived: tuple[dict[str, Error], ...] = ()


class Skipped(OfVisit, frozen=True, kw_only=True, tag="skipped"):
    ended_at: str


class Succeeded(
    Yield, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="state", tag="succeeded"
):
    """next: the step that it chose to go to, if it chose."""

    next: str | None = None
    attempts: int = 1
    started_at: str
    ended_at: str


class Failed(OfVisit, frozen=True, kw_only=True, tag="failed"):
    """block: how far its bodies had come, if it has any; they can be taken up again from there.

    outputs to lost: what it said, as in a Failure.
    """

    error: Error
    outputs: Any = UNSET
    headers: dict[str, str] = {}
    stdout: str | None = None
    stderr: str | None = None
    lost: dict[str, str] = {}
    block: Opened | None = None
    next: str | None = None
    attempts: int = 1
    started_at: str
    ended_at: str


class Cancelled(OfVisit, frozen=True, kw_only=True, tag="cancelled"):
    """Under way, or waiting, when the run was cancelled."""

    started_at: str
    ended_at: str


Record = Started | Waiting | Opened | Skipped | Succeeded | Failed | Cancelled


class Cursor(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Where an open body stands (None: before its first step).

    visits: of the steps that it came to more than once; inputs: of a called workflow; called: which, where
    a value chose it; index: of the item whose key the body has; ending: what its steps had come to when its
    `finally` began; cancelled: of the root, why the run is cancelled, whatever it is that still has to end.
    """

    step: str | None = None
    visits: dict[str, int] = {}
    inputs: dict[str, Any] | None = None
    called: str | None = None
    index: int | None = None
    ending: RunOutcome | None = None
    cancelled: str | None = None


class Given(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The last answer to an event: the step that had asked, and the digest of what was answered.

    attempt: the one whose outcome was asked for, if it was.
    """

    step: str
    attempt: int | None = None
    digest: str


class RunHead(Struct, frozen=True, kw_only=True):
    """What all that tells of a run begins with."""

    run_id: str
    status: Status
    revision: int
    checkpoint_id: str
    started_at: str
    updated_at: str
    workflow: Identity
    cwd: str | None
    inputs: dict[str, Any]


class Run(RunHead, frozen=True, kw_only=True):
    """One execution of a workflow, at one revision.

    checkpoint_id names the revision and, since it is a chain of digests, all that led to it.
    env: the environment variables that its documents declare, as they were when it began;
    steps holds the latest visit of each step, by path, in the order in which they were come to.
    answers: the last to each event, by its name, the latest last.
    active: those of them that have not ended; inside: the paths of those in each body but the
    root; so that nobody looks through all for them.
    """

    env: dict[str, str]
    outcome: RunOutcome | None
    cursors: dict[str, Cursor]
    steps: dict[str, Record]
    answers: dict[str, Given]
    active: dict[str, Started | Waiting | Opened]
    inside: dict[str, dict[str, None]]


def find_active(steps: dict[str, Record]) -> dict[str, Started | Waiting | Opened]:
    """Those of *steps* that are under way, waiting or open."""
    return {path: record for path, record in steps.items() if isinstance(record, Active)}


def group_by_body(steps: Iterable[str]) -> dict[str, dict[str, None]]:
    """Those of the paths *steps* that lie in a body other than the root, by the body."""
    inside: dict[str, dict[str, None]] = {}
    for path in steps:
        if "/" in path:
            inside.setdefault(path.rpartition("/")[0], {})[path] = None
    return inside


def bodies_of(run: Run, block: str) -> list[str]:
    """The bodies of *block* that are under way, or that failed and were kept; none if it is no block."""
    record = run.steps[block]
    opened = record.block if type(record) is Failed else record  # isinstance is slow to say no of a Struct
    return [body_path(block, k) for k in (*opened.open, *opened.failed)] if type(opened) is Opened else []


def pending(run: Run) -> list[Action]:
    """The actions asked for and not yet answered."""
    if run.outcome is not None:
        return []
    return [r.action for r in run.active.values() if isinstance(r, Started) and r.on_hold is None]


def find_asked(run: Run, path: str, attempt: int) -> Action | None:
    """What the *attempt*-th try of the step at *path* was to do, if it is still asked what it came to.

    So it is while it is pending, and while somebody is asked because it was thought lost.
    """
    match None if run.outcome is not None else run.active.get(path):
        case Started(action=action, on_hold=None) if action.attempt == attempt:
            return action
        case Waiting(wait=Wait(in_doubt=action)) if action is not None and action.attempt == attempt:
            return action
        case _:
            return None


def unanswered(run: Run) -> tuple[Action, ...]:
    """What a driver that takes up the run can hear no more of: pending or interrupted when it came."""
    if run.outcome is not None:
        return ()
    return tuple(record.action for record in run.active.values() if isinstance(record, Started))


def waits(run: Run) -> dict[str, Waiting]:
    """The open waits by path, the oldest first."""
    return {path: record for path, record in run.active.items() if isinstance(record, Waiting)}


def count_visits(run: Run, body: str, step: str) -> int:
    """How often *body* has come to *step*."""
    return run.cursors[body].visits.get(step) or (1 if step_path(body, step) in run.steps else 0)


def current_path(run: Run, body: str) -> str | None:
    """The path of the step that *body* stands at, or None before its first."""
    cursor = run.cursors[body]
    return None if cursor.step is None else step_path(body, cursor.step, cursor.visits.get(cursor.step, 1))


def is_ending(run: Run) -> bool:
    """Whether the steps of *run* are over, or were: it is cancelled, or its `finally` began."""
    return run.cursors[ROOT].ending is not None or run.cursors[ROOT].cancelled is not None


def name_position(cursors: dict[str, Cursor], outcome: object | None) -> str | None:
    """The step that a run with that *outcome* has come to in its root or, under way, in its `finally`."""
    root, cleanup = cursors.get(ROOT, Cursor()), cursors.get(finally_path(ROOT), Cursor())
    is_over = outcome is not None or root.ending is None or cleanup.step is None
    return root.step if is_over else step_path(finally_path(ROOT), str(cleanup.step))


def latest_record(run: Run, body: str, step: str) -> Record | None:
    """What is known of the latest visit of *step*."""
    return run.steps.get(step_path(body, step, run.cursors[body].visits.get(step, 1)))


def derive_status(outcome: RunOutcome | None, active: Iterable[Record]) -> Status:
    """What a run with that outcome, or with those records under way, waiting or open, is doing."""
    match outcome:
        case Completion():
            return "completed"
        case Breakdown():
            return "failed"
        case Cancellation():
            return "cancelled"
        case None:
            kinds = {type(record) for record in active}
            return "waiting" if Waiting in kinds and Started not in kinds else "running"
        case _:
            assert_never(outcome)
