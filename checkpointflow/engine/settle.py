"""What follows from the state of a run alone: the one interpreter, which walks the steps of every body.

What is ready starts, what has ended leads on, and a body that has come to its end closes. The cursor says
where a body stands, so that what is done is not walked again.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, to_builtins
from msgspec.structs import replace

from checkpointflow.documents.model import ActionStep, AnyStep, AwaitEvent, End, Foreach, Recoverable
from checkpointflow.documents.parts import Goto
from checkpointflow.engine.actions import Action, Error, Failure, Sleep
from checkpointflow.engine.bodies import (
    Body,
    Scene,
    collect_outputs,
    count_free_slots,
    count_spare_failures,
    enter,
    enter_finally,
    explain_failure,
    item_names,
    join,
    list_keys,
)
from checkpointflow.engine.copying import copy_as
from checkpointflow.engine.facts import (
    AttemptFailed,
    BodyClosed,
    BodyOpened,
    Breakdown,
    Cancellation,
    Completion,
    Fact,
    FinallyBegan,
    RunOutcome,
    StepFailed,
    StepSkipped,
    StepStarted,
    StepSucceeded,
    Wait,
)
from checkpointflow.engine.kinds import (
    begin_attempt,
    find_concurrency,
    is_skipped,
    make_call,
    may_help,
    pause,
    retry_of,
    start,
    survives,
)
from checkpointflow.engine.messages import add_seconds
from checkpointflow.engine.misfits import find_misfits, misfit_error
from checkpointflow.engine.path import ROOT, body_path, is_in_finally, owner, split, step_path
from checkpointflow.engine.run import (
    Failed,
    Opened,
    Skipped,
    Started,
    Succeeded,
    Waiting,
    count_visits,
    current_path,
)
from checkpointflow.engine.scope import scope
from checkpointflow.errors import CheckpointflowError, EvaluationError, ExpressionError
from checkpointflow.expressions.evaluation import evaluate


def settle(scene: Scene, body: Body) -> tuple[list[Fact], RunOutcome | None]:
    """The facts that follow now in *body*, or else what it has come to, its `finally` included."""
    if body.outer is not None:  # it has none: it is an iteration, a branch, or a `finally` itself
        return _walk(scene, body)
    ending = scene.run.cursors[body.path].ending
    if ending is not None:
        facts, outcome = settle(scene, enter_finally(scene, body))
        if isinstance(outcome, Breakdown):
            outcome = Breakdown(_blame_finally(outcome.error, ending))
        elif outcome is not None:
            outcome = ending
        return facts, outcome
    is_stopped = scene.run.cursors[ROOT].cancelled is not None and not is_in_finally(body.path)
    facts, outcome = (_stop if is_stopped else _walk)(scene, body)
    if outcome is None or not body.has_finally:
        return facts, outcome
    return [FinallyBegan(at=scene.now, body=body.path, outcome=outcome)], None


def _blame_finally(error: Error, ending: RunOutcome) -> Error:
    """That *error* of a `finally` is what its body failed of, whatever its steps had come to."""
    # Its result, which may be long, stands in the cursor.
    outcome = to_builtins(replace(ending, result=UNSET) if isinstance(ending, Completion) else ending)
    details = {"outcome": outcome}
    if error.details is not None:
        details["details"] = error.details
    return replace(error, message=f"in finally: {error.message}", details=details)


def _stop(scene: Scene, body: Body) -> tuple[list[Fact], RunOutcome | None]:
    """The same, now that the run is cancelled: *body* ends as soon as each `finally` inside of it has."""
    path, cancelled = current_path(scene.run, body.path), Cancellation(str(scene.run.cursors[ROOT].cancelled))
    record = None if path is None else scene.run.steps[path]
    facts, ends = list[Fact](), list[RunOutcome | None]()
    for key in record.open if isinstance(record, Opened) else ():
        assert path is not None
        inner = enter(scene, body, body.steps.find(split(path)[1]), path, key)
        new, outcome = settle(scene, inner) if inner.outer is None else _stop(scene, inner)
        facts += new
        # What it had come to before is no matter now; but that a `finally` failed must not go unsaid.
        ends.append(outcome if outcome != scene.run.cursors[inner.path].ending else outcome and cancelled)
    if None in ends:
        return facts, None
    return [], next((end for end in ends if isinstance(end, Breakdown)), cancelled)


def _walk(scene: Scene, body: Body) -> tuple[list[Fact], RunOutcome | None]:
    """The same, before `finally`; nothing else walks steps."""
    path = current_path(scene.run, body.path)
    if path is None:
        first = body.first
        return ([], _end_body(scene, body)) if first is None else ([enter_step(scene, body, first)], None)
    step = body.steps.find(split(path)[1])
    record = scene.run.steps[path]
    match record:
        case Started():
            return [], None
        case Waiting(wait=wait):
            return ([_time_out(scene, step, path, wait)] if is_overdue(wait, scene.now) else []), None
        case Opened() as opened:
            return _settle_block(scene, body, step, path, opened), None
        case Failed(error=error) if not survives(step, record):
            return [], Breakdown(error)
        case Succeeded(outputs=result) if isinstance(step, End):
            return [], Completion(result)
        case Succeeded() | Failed() | Skipped():
            following = body.find_successor(step, record)
            if following is None:
                return [], _end_body(scene, body)
            return [enter_step(scene, body, following)], None
        case _:
            raise AssertionError(f"{path}: {record!r} in a run that goes on")


def _settle_block(scene: Scene, body: Body, step: AnyStep, path: str, opened: Opened) -> list[Fact]:
    """The facts that follow in the bodies of a block; what they add up to, once all have ended.

    Bodies that were begun are let end, whatever becomes of the others.
    """
    facts: list[Fact] = []
    spare = count_spare_failures(step, opened)
    for key in opened.open:
        inner = enter(scene, body, step, path, key)
        new, outcome = settle(scene, inner)
        facts += new if outcome is None else [_close(scene, inner, outcome, survived=spare > 0)]
        spare -= isinstance(outcome, Breakdown)
    # Who closes above frees a place in the next round only: `opened` is the block as it was before.
    begun = opened.begun
    most = find_concurrency(scene, body, step)
    free = list_keys(step, opened, begun, begun + count_free_slots(step, opened, most))
    for index, key in enumerate(free, begun):
        item = item_names(step, opened, index)
        new = _open(scene, body, step, body_path(path, key), item, survived=spare > 0)
        spare -= len(new) - 1
        facts += new
    if facts or opened.open:
        return facts
    if opened.failed:
        return [fail(scene, step, path, explain_failure(scene, step, path, opened))]
    return [_join(scene, body, step, path, join(step, opened))]


def _open(
    scene: Scene, body: Body, step: AnyStep, inner: str, item: dict[str, Any], *, survived: bool
) -> list[Fact]:
    """The body *inner* begins; one whose inputs cannot be had has failed as soon as it began."""
    index = item["item_index"] if isinstance(step, Foreach) and step.key is not None else None
    try:
        called, inputs = make_call(scene, body, step, item)
        return [BodyOpened(at=scene.now, body=inner, inputs=inputs, called=called, index=index)]
    except CheckpointflowError as error:
        step_id = owner(inner)[0]
        why = Error(code=error.code, message=str(error), step_id=step_id, details=error.details)
        closed = BodyClosed(at=scene.now, body=inner, error=why, survived=survived)
        return [BodyOpened(at=scene.now, body=inner, index=index), closed]


def _close(scene: Scene, body: Body, outcome: RunOutcome, *, survived: bool) -> Fact:
    assert not isinstance(outcome, Cancellation), "only a whole run is cancelled"
    if isinstance(outcome, Breakdown):
        return BodyClosed(at=scene.now, body=body.path, error=outcome.error, survived=survived)
    outputs = {} if outcome.result is UNSET else outcome.result
    return BodyClosed(at=scene.now, body=body.path, outputs=outputs)


def _join(scene: Scene, body: Body, step: AnyStep, path: str, outputs: Any) -> Fact:
    errors = find_misfits(body.program.step(step.id).outputs, outputs)
    if errors:
        return fail(scene, step, path, misfit_error(f"the outputs of {path} do not fit its schema", errors))
    return StepSucceeded(at=scene.now, path=path, outputs=outputs)


def is_overdue(wait: Wait, now: str) -> bool:
    """Whether the time of *wait* is up."""
    return wait.timeout_at is not None and wait.timeout_at <= now


def _time_out(scene: Scene, step: AnyStep, path: str, wait: Wait) -> StepFailed:
    assert isinstance(step, AwaitEvent)
    error = Error(
        code="ERR_TIMEOUT", message=f"no event {wait.event_name} came before {wait.timeout_at}", step_id=path
    )
    if step.on_timeout is None:
        return fail(scene, step, path, error)
    return StepFailed(at=scene.now, path=path, error=error, next=step.on_timeout.next)


def _end_body(scene: Scene, body: Body) -> Completion | Breakdown:
    """What running off the end of *body* yields: its mapped outputs, if it has them."""
    if body.outer is not None:
        return Completion(collect_outputs(scene, body))
    schema = body.program.result
    if schema is None:
        return Completion() if body.path == ROOT else Completion({})
    names = scope(scene, body)
    result = {}
    for name, source in body.program.mapping:
        try:
            result[name] = evaluate(source, names) if not isinstance(source, ExpressionError) else UNSET
        except EvaluationError as error:
            if error.is_lost:
                return Breakdown(Error(code=error.code, message=str(error)))
            # The step did not run; `required` decides.
    errors = find_misfits(schema, result)
    if errors:
        return Breakdown(misfit_error("the workflow's outputs do not fit their schema", errors))
    return Completion(result)


# The facts of a step


def enter_step(scene: Scene, body: Body, step: AnyStep) -> Fact:
    """The first fact of *step*, now that *body* has come to it."""
    path = step_path(body.path, step.id, count_visits(scene.run, body.path, step.id) + 1)
    try:
        if is_skipped(scene, body, step):
            return StepSkipped(at=scene.now, path=path)
        return start(scene, body, step, path)
    except CheckpointflowError as error:
        return fail(scene, step, path, Error(code=error.code, message=str(error)))


def end_attempt(scene: Scene, body: Body, step: AnyStep, action: Action, failure: Failure) -> list[Fact]:
    """The attempt is tried again if the policy says so; otherwise the step has failed."""
    assert isinstance(step, ActionStep)
    path, attempt, error = action.path, action.attempt, failure.error
    retry = retry_of(scene, body, step)
    if attempt >= retry.max_attempts or not may_help(retry, error):
        return [fail(scene, step, path, error, failure)]
    seconds = pause(retry, attempt, failure.retry_after)
    again = (
        StepStarted(
            at=scene.now,
            path=path,
            action=Sleep(path=path, attempt=attempt + 1, until=add_seconds(scene.now, seconds)),
        )
        if seconds
        else begin_attempt(scene, body, step, path, attempt + 1)
    )
    return [AttemptFailed(at=scene.now, path=path, attempt=attempt, error=error), again]


def fail(scene: Scene, step: AnyStep, path: str, error: Error, said: Failure | None = None) -> StepFailed:
    """*step* has failed, having *said* something or nothing, and the body goes where its `on_error` says."""
    target = step.on_error.next if isinstance(step, Recoverable) and isinstance(step.on_error, Goto) else None
    error = replace(error, step_id=error.step_id or path)
    return copy_as(said or Failure(error), StepFailed, at=scene.now, path=path, error=error, next=target)
