"""What follows from the state of a run alone: the one interpreter, which walks the steps of every body.

What is ready starts, what has ended leads on, and a body that has come to its end closes. The cursor says
where a body stands, so that what is done is not walked again.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from checkpointflow.documents.model import (
    ActionStep,
    AnyStep,
    AwaitEvent,
    End,
    Goto,
    Recoverable,
    result_schema,
)
from checkpointflow.engine.actions import (
    Action,
    Error,
    Sleep,
)
from checkpointflow.engine.bodies import (
    Body,
    Scene,
    broken,
    detailed,
    find,
    free_slots,
    inner,
    inputs_of,
    joined,
    keys,
    listed,
    own_outputs,
    scope,
    successor,
)
from checkpointflow.engine.facts import (
    AttemptFailed,
    BodyClosed,
    BodyOpened,
    Fact,
    StepFailed,
    StepSkipped,
    StepStarted,
    StepSucceeded,
    Wait,
)
from checkpointflow.engine.kinds import deed, guarded_out, pause, retry_of, start, survives
from checkpointflow.engine.messages import (
    later,
)
from checkpointflow.engine.path import ROOT, at, inside, split
from checkpointflow.engine.run import (
    Breakdown,
    Completion,
    Failed,
    Opened,
    Skipped,
    Started,
    Succeeded,
    Waiting,
    standing,
    visits,
)
from checkpointflow.errors import (
    CheckpointflowError,
    EvaluationError,
)
from checkpointflow.expressions.syntax import evaluate, parse_path
from checkpointflow.schemas.validation import InstanceError, compile_schema


def settle(scene: Scene, body: Body) -> tuple[list[Fact], Completion | Breakdown | None]:
    """The facts that follow now in *body*, or else what it has come to.

    This is the whole interpreter: nothing else walks steps. The cursor says where the body stands, so
    that what is done is not walked again.
    """
    path = standing(scene.run, body.path)
    if path is None:
        return [entered(scene, body, body.first)], None
    step = find(body.steps, split(path)[1])
    record = scene.run.steps[path]
    match record:
        case Started():
            return [], None
        case Waiting(wait=wait):
            return ([_timed_out(scene, step, path, wait)] if overdue(wait, scene.now) else []), None
        case Opened() as opened:
            return _block(scene, body, step, path, opened), None
        case Failed(error=error) if not survives(step, record):
            return [], Breakdown(error)
        case Succeeded(outputs=result) if isinstance(step, End):
            return [], Completion(result)
        case Succeeded() | Failed() | Skipped():
            following = successor(body, step, record)
            if following is None:
                return [], _ended(scene, body)
            return [entered(scene, body, following)], None
        case _:
            raise AssertionError(f"{path}: {record!r} in a run that goes on")


def _block(scene: Scene, body: Body, step: AnyStep, path: str, opened: Opened) -> list[Fact]:
    """The facts that follow in the bodies of a block; what they add up to, once all have ended.

    Bodies that were begun are let end, whatever becomes of the others.
    """
    facts: list[Fact] = []
    for key in opened.open:
        inner_body = inner(scene, body, step, path, key)
        new, outcome = settle(scene, inner_body)
        facts += new if outcome is None else [_closed(scene, inner_body, outcome)]
    begun = opened.begun
    for name in keys(step, opened)[begun : begun + free_slots(step, opened)]:
        facts += _opened(scene, body, step, path, str(name))
    if facts or opened.open:
        return facts
    if opened.failed:
        return [failed_for_good(scene, step, path, broken(step, path, opened))]
    return [_joined(scene, step, path, joined(step, opened))]


def _opened(scene: Scene, body: Body, step: AnyStep, path: str, key: str) -> list[Fact]:
    """A body begins; one whose inputs cannot be had has failed as soon as it began."""
    place = inside(path, key)
    try:
        inputs = inputs_of(scene, body, step, path, key)
        return [BodyOpened(at=scene.now, body=place, inputs=inputs)]
    except CheckpointflowError as error:
        why = Error(code=error.code, message=str(error), step_id=path, details=error.details)
        return [BodyOpened(at=scene.now, body=place), BodyClosed(at=scene.now, body=place, error=why)]


def _closed(scene: Scene, body: Body, outcome: Completion | Breakdown) -> Fact:
    if isinstance(outcome, Breakdown):
        return BodyClosed(at=scene.now, body=body.path, error=outcome.error)
    outputs = {} if outcome.result is UNSET else outcome.result
    return BodyClosed(at=scene.now, body=body.path, outputs=outputs)


def _joined(scene: Scene, step: AnyStep, path: str, outputs: Any) -> Fact:
    errors = misfits(step, outputs)
    if errors:
        message = listed(f"the outputs of {path} do not fit its schema", errors)
        error = Error(code="ERR_STEP_OUTPUT_INVALID", message=message, details=detailed(errors))
        return failed_for_good(scene, step, path, error)
    return StepSucceeded(at=scene.now, path=path, outputs=outputs)


def overdue(wait: Wait, now: str) -> bool:
    """Whether the time of *wait* is up."""
    return wait.timeout_at is not None and wait.timeout_at <= now


def _timed_out(scene: Scene, step: AnyStep, path: str, wait: Wait) -> StepFailed:
    assert isinstance(step, AwaitEvent)
    error = Error(
        code="ERR_TIMEOUT", message=f"no event {wait.event_name} came before {wait.timeout_at}", step_id=path
    )
    if step.on_timeout is None:
        return failed_for_good(scene, step, path, error)
    return StepFailed(at=scene.now, path=path, error=error, next=step.on_timeout.next)


def _ended(scene: Scene, body: Body) -> Completion | Breakdown:
    """What running off the end of *body* yields: its mapped outputs, if it has them."""
    if body.outer is not None:
        return Completion(own_outputs(scene, body))
    if body.mapped is None:
        return Completion() if body.path == ROOT else Completion({})
    names = scope(scene, body)
    result = {}
    for name, schema in body.mapped.get("properties", {}).items():
        try:
            result[name] = evaluate(parse_path(schema["from"]), names)
        except EvaluationError:
            continue  # the step did not run; `required` decides
    errors = compile_schema(result_schema(body.mapped)).errors(result)
    if errors:
        message = listed("the workflow's outputs do not fit their schema", errors)
        return Breakdown(Error(code="ERR_STEP_OUTPUT_INVALID", message=message, details=detailed(errors)))
    return Completion(result)


# The facts of a step


def entered(scene: Scene, body: Body, step: AnyStep) -> Fact:
    """The first fact of *step*, now that *body* has come to it."""
    path = at(body.path, step.id, visits(scene.run, body.path, step.id) + 1)
    try:
        if guarded_out(scene, body, step):
            return StepSkipped(at=scene.now, path=path)
        return start(scene, body, step, path)
    except CheckpointflowError as error:
        return failed_for_good(scene, step, path, Error(code=error.code, message=str(error)))


def attempt_of(scene: Scene, body: Body, step: AnyStep, path: str, attempt: int) -> Fact:
    """The *attempt*-th try of *step* begins. Raises EvaluationError."""
    return StepStarted(at=scene.now, path=path, action=deed(scene, body, step, path, attempt))


def attempt_failed(scene: Scene, body: Body, step: AnyStep, action: Action, error: Error) -> list[Fact]:
    """The attempt is tried again if the policy says so; otherwise the step has failed."""
    assert isinstance(step, ActionStep)
    path, attempt = action.path, action.attempt
    retry = retry_of(body, step)
    if attempt >= retry.max_attempts:
        return [failed_for_good(scene, step, path, error)]
    seconds = pause(retry, attempt)
    again = (
        StepStarted(
            at=scene.now,
            path=path,
            action=Sleep(path=path, attempt=attempt + 1, until=later(scene.now, seconds)),
        )
        if seconds
        else attempt_of(scene, body, step, path, attempt + 1)
    )
    return [AttemptFailed(at=scene.now, path=path, attempt=attempt, error=error), again]


def failed_for_good(scene: Scene, step: AnyStep, path: str, error: Error) -> StepFailed:
    """*step* has failed, and the body goes where its `on_error` says."""
    target = step.on_error.next if isinstance(step, Recoverable) and isinstance(step.on_error, Goto) else None
    return StepFailed(
        at=scene.now, path=path, error=replace(error, step_id=error.step_id or path), next=target
    )


def misfits(step: AnyStep, outputs: Any) -> list[InstanceError]:
    """How *outputs* do not fit what *step* declares."""
    schema = getattr(step, "outputs", None)
    return [] if schema is None else compile_schema(schema).errors(outputs)
