"""The rules: what follows when a run hears a message.

Two kinds of transition, after h11. A *message* moves the steps that it names (`receive`). Then the state
alone moves the rest (`conclude`, by way of `settle`), until nothing more follows.

    message -> receive -> facts -> apply -> conclude -> facts -> apply -> conclude -> … -> at rest

A message that makes no sense raises, and the run is as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, assert_never

from msgspec.structs import replace

from checkpointflow.diagnostics import point_at
from checkpointflow.documents.model import ActionStep, AnyStep, AwaitEvent
from checkpointflow.documents.program import Program
from checkpointflow.engine.actions import Action, CallHttp, Error, Failure, RunCommand, Sleep, Slept, Success
from checkpointflow.engine.bodies import Body, Scene, find_body, locate, root
from checkpointflow.engine.copying import copy_as
from checkpointflow.engine.evolution import apply, evolve, fork
from checkpointflow.engine.facts import (
    Breakdown,
    CancelBegan,
    Cancellation,
    Completion,
    DirectoryChosen,
    EventTaken,
    Fact,
    FilesSealed,
    Identity,
    OfStep,
    RunBegan,
    RunCancelled,
    RunCompleted,
    RunFailed,
    StepDeferred,
    StepFailed,
    StepInterrupted,
    StepsReopened,
    StepSucceeded,
    Wait,
    WaitOpened,
)
from checkpointflow.engine.kinds import (
    ENDLESS_LOOP,
    begin_attempt,
    check_env,
    check_inputs,
    choose,
    retry_of,
)
from checkpointflow.engine.messages import (
    Begin,
    Cancel,
    ChooseDirectory,
    Defer,
    Deliver,
    Interrupt,
    Message,
    Recover,
    Report,
    Retry,
    Seal,
)
from checkpointflow.engine.misfits import (
    AnswerSchema,
    detail_misfits,
    find_misfits,
    list_misfits,
    misfit_error,
    understand_schema,
)
from checkpointflow.engine.path import FINALLY, ROOT, finally_path, host_of, split, step_path
from checkpointflow.engine.run import (
    Failed,
    Run,
    Started,
    Waiting,
    bodies_of,
    current_path,
    find_asked,
    is_ending,
    pending,
    unanswered,
    waits,
)
from checkpointflow.engine.scope import scope
from checkpointflow.engine.settle import end_attempt, enter_step, fail, is_overdue, settle
from checkpointflow.errors import InvalidEvent, NoTransition, NotRetryable, RunNotWaiting, WaitExpired

STEP_OUTCOME = "step_outcome"


MAX_LAPS = 100


def advance(program: Program, run: Run | None, message: Message) -> tuple[Run, list[Fact]]:
    """*run* after *message*, and the facts that took it there; all that a driver calls.

    The run is None before `Begin`. Raises a CheckpointflowError for a message that makes no sense.
    """
    facts: list[Fact] = []
    laps: Counter[tuple[str, str]] = Counter()
    new = receive(program, run, message)
    changed = None if run is None else fork(run)
    while True:
        changed = apply(changed, new)
        facts += new
        assert changed is not None, "a run begins with Begin"
        new = conclude(Scene(program, changed, message.now), laps)
        if not new:
            return changed, facts


def receive(program: Program, run: Run | None, message: Message) -> list[Fact]:
    """The facts that *message* states by itself. Raises for a message that makes no sense."""
    if isinstance(message, Begin):
        return [_begin(program, message)]
    assert run is not None, "a run begins with Begin"
    scene = Scene(program, run, message.now)
    match message:
        case Report(path=path, attempt=attempt, outcome=outcome):
            asked = find_asked(run, path, attempt)
            if asked is None or isinstance(asked, Sleep) != isinstance(outcome, Slept):
                return []  # it answers a question that is no longer asked
            return _answer(scene, asked, outcome)
        case Deliver(path=path, payload=payload, by=by):
            return _deliver(scene, path, payload, by)
        case Defer(path=path, attempt=attempt):
            return [StepDeferred(at=scene.now, path=path, attempt=attempt)]
        case Retry(path=path):
            return _retry(scene, path)
        case Interrupt():
            return [
                StepInterrupted(at=scene.now, path=action.path, attempt=action.attempt)
                for action in pending(run)
            ]
        case Recover(lost=lost):
            return [_take_up(scene, action) for action in lost if action in unanswered(run)]
        case Seal(files=files):
            return [FilesSealed(at=scene.now, files=files)] if files else []
        case ChooseDirectory(cwd=cwd):
            return [DirectoryChosen(at=scene.now, cwd=cwd)]
        case Cancel():
            return _cancel(scene, message)
        case _:
            assert_never(message)


def conclude(scene: Scene, laps: Counter[tuple[str, str]]) -> list[Fact]:
    """The facts that follow from the state alone. *laps* counts the steps come to under this message."""
    if scene.run.outcome is not None:
        return []
    facts, outcome = settle(scene, root(scene))
    match outcome:
        case Completion(result=result):
            return [RunCompleted(at=scene.now, result=result)]
        case Breakdown(error=error):
            return [RunFailed(at=scene.now, error=error)]
        case Cancellation(reason=reason):
            return [RunCancelled(at=scene.now, reason=reason)]
        case None:
            return [_count(fact, laps) for fact in facts]
        case _:
            assert_never(outcome)


def _count(fact: Fact, laps: Counter[tuple[str, str]]) -> Fact:
    """*fact*, or the step's failure when steps that do nothing lead to each other for ever."""
    if not isinstance(fact, OfStep):
        return fact
    body, step, _ = split(fact.path)
    laps[body, step] += 1
    if laps[body, step] <= MAX_LAPS:
        return fact
    message = f"the loop through {step_path(body, step)} never comes to a step that does anything or waits"
    return StepFailed(
        at=fact.at, path=fact.path, error=Error(ENDLESS_LOOP, message, step_id=step_path(body, step))
    )


# What messages state


def _begin(program: Program, message: Begin) -> RunBegan:
    workflow = program.workflow
    identity = copy_as(
        workflow,
        Identity,
        version=None if workflow.version is None else str(workflow.version),
        digest=message.digest,
        documents=message.documents,
        source=message.source,
    )
    inputs, env = check_inputs(program, message.inputs), check_env(program, message.env)
    return copy_as(
        message, RunBegan, at=message.now, workflow=identity, inputs=inputs, env=env, copied_from=None
    )


def _answer(scene: Scene, action: Action, outcome: Success | Failure | Slept) -> list[Fact]:
    path = action.path
    body, step = locate(scene, path)
    match outcome:
        case Slept():
            return [begin_attempt(scene, body, step, path, action.attempt)]
        case Failure():
            return end_attempt(scene, body, step, action, outcome)
        case Success(outputs=outputs, exit_code=exit_code):
            errors = find_misfits(body.program.step(step.id).outputs, outputs)
            if errors:
                what = f"the outputs of {path} do not fit its schema"
                error = misfit_error(what, errors, exit_code=exit_code)
                failure = copy_as(outcome, Failure, error=error, retry_after=None)
                return end_attempt(scene, body, step, action, failure)
            return [copy_as(outcome, StepSucceeded, at=scene.now, path=path, next=None)]
        case _:
            assert_never(outcome)


def check_answer(
    run: Run,
    path: str,
    payload: Any,
    now: str,
    understand: Callable[[Wait], AnswerSchema] = lambda wait: understand_schema(wait.input_schema),
) -> Wait:
    """The wait at *path*, which *payload* fits. *understand*: gives its schema, if it is understood already.

    Raises RunNotWaiting, WaitExpired, InvalidEvent.
    """
    record = run.steps.get(path)
    if not isinstance(record, Waiting):
        raise RunNotWaiting(run_id=run.run_id, status=run.status, problem=f"{path} takes no event")
    wait = record.wait
    if is_overdue(wait, now):
        raise WaitExpired(path=path, timeout_at=wait.timeout_at, run_id=run.run_id, step_id=path)
    errors = find_misfits(understand(wait), payload)
    if errors:
        problem = list_misfits(f"the event {wait.event_name} does not fit its schema", errors)
        raise InvalidEvent(problem=problem, details=detail_misfits(errors), step_id=path)
    return wait


def _deliver(scene: Scene, path: str, payload: Any, by: str | None) -> list[Fact]:
    def understand(wait: Wait) -> AnswerSchema:
        if wait.in_doubt is not None:
            return understand_schema(wait.input_schema)
        body, step = locate(scene, path)
        return body.program.step(step.id).input_schema

    wait = check_answer(scene.run, path, payload, scene.now, understand)
    body, step = locate(scene, path)
    compiled = body.program.step(step.id)
    attempt = None if wait.in_doubt is None else wait.in_doubt.attempt
    taken = EventTaken(
        at=scene.now, path=path, event_name=wait.event_name, payload=payload, by=by, attempt=attempt
    )
    if wait.in_doubt is not None:
        return [taken, _resolve(scene, body, step, wait.in_doubt, payload)]
    assert isinstance(step, AwaitEvent)
    target = choose(compiled, {**scope(scene, body), "event": payload})
    if step.transitions and target is None:
        raise NoTransition(problem=f"no transition of {path} holds for this event", step_id=path)
    return [taken, StepSucceeded(at=scene.now, path=path, outputs=payload, next=target)]


def _take_up(scene: Scene, action: Action) -> Fact:
    """What was lost is tried again if it may be, and otherwise somebody is asked."""
    body, step = locate(scene, action.path)
    assert isinstance(step, ActionStep)
    record = scene.run.steps[action.path]
    never_begun = isinstance(record, Started) and record.on_hold == "deferred"
    if isinstance(action, Sleep) or never_begun:
        return begin_attempt(scene, body, step, action.path, action.attempt)
    if step.idempotent or action.attempt < retry_of(scene, body, step).max_attempts:
        return begin_attempt(scene, body, step, action.path, action.attempt + 1)
    return WaitOpened(at=scene.now, path=action.path, wait=_ask_outcome(step, action))


def _ask_outcome(step: ActionStep, action: RunCommand | CallHttp) -> Wait:
    return Wait(
        audience="user",
        event_name=STEP_OUTCOME,
        input_schema={
            "type": "object",
            "required": ["outcome"],
            "properties": {
                "outcome": {"enum": ["retry", "succeeded", "failed"]},
                "outputs": {"description": "With `succeeded`: the outputs of the step."},
            },
            "additionalProperties": False,
        },
        prompt=(
            f"Attempt {action.attempt} of step {action.path} was under way when its cpf was stopped, so it "
            "may or may not have done its work. Find out, then answer `retry` (run it again), `succeeded` "
            "(go on, with its `outputs`) or `failed`."
        ),
        risk_level=step.risk_level,
        in_doubt=action,
    )


def _resolve(scene: Scene, body: Body, step: AnyStep, action: Action, answer: dict[str, Any]) -> Fact:
    """What somebody found out about an attempt in doubt."""
    path, outcome = action.path, answer["outcome"]
    if outcome != "succeeded" and "outputs" in answer:
        raise InvalidEvent(problem=f"`outputs` go with `succeeded`, not with `{outcome}`", step_id=path)
    if outcome == "retry":
        return begin_attempt(scene, body, step, path, action.attempt + 1)
    if outcome == "failed":
        error = Error(code="ERR_STEP_FAILED", message=f"attempt {action.attempt} was reported as failed")
        lost = dict.fromkeys(("stdout", "stderr"), "is not known: its cpf was stopped before it had ended")
        return fail(scene, step, path, error, Failure(error, lost=lost))
    outputs = answer.get("outputs", {})
    errors = find_misfits(body.program.step(step.id).outputs, outputs)
    if errors:
        problem = list_misfits(f"the outputs do not fit the schema of {path}", errors)
        raise InvalidEvent(problem=problem, details=detail_misfits(errors), step_id=path)
    return StepSucceeded(at=scene.now, path=path, outputs=outputs)


def find_failed_steps(run: Run) -> list[str]:
    """The steps whose failure ended the run, the innermost of each body."""
    return _find_failed_in(run, ROOT) if isinstance(run.outcome, Breakdown) else []


def _find_failed_in(run: Run, body: str) -> list[str]:
    """The same of *body*, which failed: in its `finally`, unless it had failed before that."""
    ending = run.cursors[body].ending
    if ending is not None and not isinstance(ending, Breakdown):
        body = finally_path(body)
    path = current_path(run, body)
    record = None if path is None else run.steps[path]
    if path is None or not isinstance(record, Failed):
        return []
    inner = [_find_failed_in(run, body) for body in bodies_of(run, path)]
    return [found for paths in inner for found in paths] if inner and all(inner) else [path]


def _retry(scene: Scene, path: str | None) -> list[Fact]:
    """The failed steps again, each another attempt of its visit; or an earlier step, as a new visit."""
    run, facts = scene.run, list[Fact]()
    failed = find_failed_steps(run)
    doubts = {p: w.wait.in_doubt for p, w in waits(run).items() if w.wait.in_doubt is not None}
    if doubts and (path is None or path in doubts):
        for doubtful in [path] if path is not None else doubts:
            body, step = locate(scene, doubtful)
            facts.append(begin_attempt(scene, body, step, doubtful, doubts[doubtful].attempt + 1))
        return facts
    is_cleanup = (path or next(iter(failed), "")).startswith(f"{FINALLY}/")
    if isinstance(run.outcome, Breakdown) and run.cursors[ROOT].cancelled is not None and not is_cleanup:
        problem = f"run {run.run_id} was cancelled: only the steps of its `finally` can be done again"
        raise NotRetryable(problem=problem)
    if isinstance(run.outcome, Breakdown) and not failed and path is None:
        raise NotRetryable(problem="no step has failed, but the run as a whole: name a step with --step-id")
    if not isinstance(run.outcome, Breakdown):
        problem = f"run {run.run_id} is {run.status}: no step of it has failed or was interrupted"
        raise NotRetryable(problem=problem)
    if path is not None and path not in run.steps:
        known = point_at(path, run.steps, "it came to")
        raise NotRetryable(problem=f"run {run.run_id} has come to no step {path}; {known}")
    for wanted in [path] if path is not None else failed:
        record = run.steps[wanted]
        facts.append(StepsReopened(at=scene.now, path=wanted))
        run = evolve(run, facts[-1])  # what follows is asked of the run that this leaves
        again = replace(scene, run=run)
        body, step = locate(again, wanted)
        if wanted in failed and isinstance(record, Failed) and isinstance(step, ActionStep):
            facts.append(begin_attempt(again, body, step, wanted, record.attempts + 1))
        else:
            facts.append(enter_step(again, body, step))
        run = evolve(run, facts[-1])
    return facts


def _cancel(scene: Scene, message: Cancel) -> list[Fact]:
    run = scene.run
    was_cancelled = run.status == "cancelled" or run.cursors[ROOT].cancelled is not None
    if run.outcome is not None and not was_cancelled:
        raise RunNotWaiting(run_id=run.run_id, status=run.status, problem="there is nothing to cancel")
    if run.outcome is not None:
        return []
    bodies = (find_body(scene, path) for path in run.cursors if host_of(path) is None)
    if message.skips_finally or not any(body.has_finally for body in bodies):
        return [RunCancelled(at=scene.now, reason=message.reason)]
    return [] if is_ending(run) else [CancelBegan(at=scene.now, reason=message.reason)]
