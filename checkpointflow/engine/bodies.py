"""The bodies of a run: sequences of steps, where each stands, what can be seen from it, where it leads.

The root, an iteration, a branch and a called workflow are all bodies. They differ in three things that
are told here: which names they see, how a block numbers them, and what their ends add up to.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from msgspec import UNSET, Struct, to_builtins
from msgspec.structs import replace

from checkpointflow.documents.graph import reachable_from, targets
from checkpointflow.documents.model import (
    AnyStep,
    Api,
    AwaitEvent,
    Branch,
    Call,
    Cli,
    End,
    Foreach,
    Parallel,
    Sequenced,
    Step,
    Workflow,
)
from checkpointflow.engine.actions import Error
from checkpointflow.engine.path import ROOT, inside, owner, split
from checkpointflow.engine.run import (
    Failed,
    Opened,
    Run,
    Skipped,
    Started,
    Succeeded,
    Waiting,
    latest,
    standing,
)
from checkpointflow.errors import InvalidInput
from checkpointflow.expressions.templates import render_value
from checkpointflow.schemas.validation import InstanceError, compile_schema, with_defaults

_STEPS_OF: dict[type, tuple[type[Step], ...]] = {
    Started: (Cli, Api),
    Waiting: (AwaitEvent, Cli, Api),
    Opened: (Foreach, Parallel, Call),
}


class Program(Struct, frozen=True, eq=False):
    """A workflow and, by the `workflow_ref` that names it, every workflow that it calls."""

    workflow: Workflow
    called: dict[str, Program] = {}


class Scene(Struct, frozen=True):
    """A run under a message: what all rules look at."""

    program: Program
    run: Run
    now: str


class Body(Struct, frozen=True, kw_only=True):
    """A sequence of steps, where it stands in the run, and the names that it can see.

    program: the document it belongs to; names: `inputs`, and `item` where there is one; outer: the body
    whose steps can be seen from here too; start_at: of a branch that is made of steps of the outer list.
    """

    path: str
    program: Program
    steps: tuple[AnyStep, ...]
    names: dict[str, Any]
    outer: Body | None = None
    start_at: str | None = None

    @property
    def mapped(self) -> dict[str, Any] | None:
        """The mapped outputs, if running off this body's end yields them."""
        return self.program.workflow.outputs if self.outer is None else None

    @property
    def first(self) -> AnyStep:
        """The step that the body begins with."""
        if self.start_at is not None:
            return find(self.steps, self.start_at)
        return next(step for step in self.steps if step.id not in of_branches(self.steps))


def root(scene: Scene) -> Body:
    """The body of the run itself."""
    program = scene.program
    names = {"inputs": scene.run.inputs}
    return Body(path=ROOT, program=program, steps=program.workflow.steps, names=names)


def locate(scene: Scene, path: str) -> tuple[Body, AnyStep]:
    """The step of the document that *path* addresses, and the body it stands in."""
    place, name, _ = split(path)
    if place == ROOT:
        body = root(scene)
    else:
        block, key = owner(place)
        body = inner(scene, *locate(scene, block), block, key)
    return body, find(body.steps, name)


def unsound(program: Program, run: Run) -> str | None:
    """The first path in *run* that no rule could have led to, if there is one: somebody changed the run."""
    scene = Scene(program, run, "")
    if ROOT not in run.cursors:
        return ROOT
    bodies = (body for body in run.cursors if not _sound_body(run, body))
    steps = (path for path in run.steps if not _sound_step(scene, path))
    return next(chain(bodies, steps), None)


def _sound_body(run: Run, body: str) -> bool:
    stands_at = standing(run, body)
    block = owner(body)[0]
    known = body == ROOT or (block in run.steps and body in _bodies_of(run, block))
    return known and (stands_at is None or stands_at in run.steps)


def _sound_step(scene: Scene, path: str) -> bool:
    try:
        body, step = locate(scene, path)
    except (LookupError, StopIteration, AssertionError, ValueError):
        return False
    record = scene.run.steps[path]
    known = body.path in scene.run.cursors and isinstance(step, _STEPS_OF.get(type(record), (Step,)))
    block = record.block if isinstance(record, Failed) else record
    if isinstance(block, Opened) and isinstance(block.items, list) != isinstance(step, Foreach):
        return False
    return known and all(inner_body in scene.run.cursors for inner_body in _bodies_of(scene.run, path))


def _bodies_of(run: Run, block: str) -> list[str]:
    """The bodies of *block* that are under way, or that failed and were kept."""
    record = run.steps[block]
    opened = record.block if isinstance(record, Failed) else record
    return (
        [inside(block, key) for key in (*opened.open, *opened.failed)] if isinstance(opened, Opened) else []
    )


def find(steps: tuple[AnyStep, ...], step_id: str) -> AnyStep:
    """The step called *step_id*."""
    return next(step for step in steps if step.id == step_id)


# The bodies of a block


def keys(step: AnyStep, opened: Opened) -> Sequence[str] | range:
    """What the bodies of a block are called, in their order; a called workflow's has the empty name."""
    match step:
        case Foreach():
            return range(len(opened.items))
        case Parallel(branches=branches):
            return [named(branch) for branch in branches]
        case _:
            return [""]


def free_slots(step: AnyStep, opened: Opened) -> int:
    """How many bodies more may begin now. Once an iteration has failed, no other begins."""
    if isinstance(step, Foreach):
        return 0 if opened.failed else step.max_concurrency - len(opened.open)
    return len(keys(step, opened))


def named(branch: Branch) -> str:
    """The name of a branch: its own, or that of the step that it starts at."""
    return branch.id or str(branch.start_at)


def inner(scene: Scene, body: Body, step: AnyStep, path: str, key: str) -> Body:
    """The body called *key* of the block *step*, which stands at *path* in *body*."""
    place = inside(path, key)
    program = _called(body, step)
    if program is not None:
        names = {"inputs": scene.run.cursors[place].inputs}
        return Body(path=place, program=program, steps=program.workflow.steps, names=names)
    names = {**body.names, **_item(scene, step, path, key)}
    within = Body(path=place, program=body.program, steps=body.steps, names=names, outer=body)
    if isinstance(step, Parallel):
        branch = next(branch for branch in step.branches if named(branch) == key)
        return replace(within, steps=branch.steps or body.steps, start_at=branch.start_at)
    assert isinstance(step, Foreach) and step.body is not None
    return replace(within, steps=step.body)


def inputs_of(scene: Scene, body: Body, step: AnyStep, path: str, key: str) -> dict[str, Any] | None:
    """The inputs of the workflow that a body runs, if it runs one. Raises EvaluationError, InvalidInput."""
    program = _called(body, step)
    if program is None:
        return None
    assert isinstance(step, Foreach | Call)
    names = {**scope(scene, body), **_item(scene, step, path, key)}
    return checked_inputs(program.workflow, render_value(step.inputs, names))


def _called(body: Body, step: AnyStep) -> Program | None:
    """The workflow that *step* calls, if it calls one."""
    ref = step.workflow_ref if isinstance(step, Foreach | Call) else None
    return None if ref is None else body.program.called[ref]


def _item(scene: Scene, step: AnyStep, path: str, key: str) -> dict[str, Any]:
    """The item of an iteration, and its place in the list."""
    opened = scene.run.steps[path]
    if not isinstance(step, Foreach) or not isinstance(opened, Opened):
        return {}
    return {"item": opened.items[int(key)], "item_index": int(key)}


def checked_inputs(workflow: Workflow, given: Any) -> dict[str, Any]:
    """*given* with the defaults of the input schema filled in. Raises InvalidInput."""
    inputs = with_defaults(workflow.inputs, given)
    errors = compile_schema(workflow.inputs).errors(inputs)
    if not errors and not isinstance(inputs, dict):
        errors = [InstanceError("$", "the inputs must be a JSON object", "type")]
    if errors:
        problem = listed(f"the inputs of {workflow.id} do not fit", errors)
        raise InvalidInput(problem=problem, details=detailed(errors))
    return dict(inputs)


def joined(step: AnyStep, opened: Opened) -> Any:
    """What the bodies of a block, all ended well, add up to."""
    outputs = {key: value for chunk in opened.ended for key, value in chunk.items()}
    match step:
        case Foreach():
            return {"iterations": [outputs[str(n)] for n in range(len(opened.items))]}
        case Parallel(branches=branches):
            return {named(branch): outputs[named(branch)] for branch in branches}
        case _:
            return outputs[""]


def broken(step: AnyStep, path: str, opened: Opened) -> Error:
    """Why a block with failed bodies has failed: the one reason, or each with its body."""
    order = [str(key) for key in keys(step, opened)]
    failed = {inside(path, key): opened.failed[key] for key in sorted(opened.failed, key=order.index)}
    if len(failed) == 1:
        (error,) = failed.values()
        ref = step.workflow_ref if isinstance(step, Call | Foreach) else None
        return error if ref is None else replace(error, message=f"in {ref}: {error.message}")
    details = [{"body": place, **to_builtins(error)} for place, error in failed.items()]
    what = "; ".join(f"{place}: {error.message}" for place, error in list(failed.items())[:5])
    return Error(code=next(iter(failed.values())).code, message=what, details=details)


def own_outputs(scene: Scene, body: Body) -> dict[str, Any]:
    """What an iteration or a branch without a result of its own yields: the outputs of its steps."""
    records = {step.id: latest(scene.run, body.path, step.id) for step in body.steps}
    found = {name: record.outputs for name, record in records.items() if isinstance(record, Succeeded)}
    return {name: {} if outputs is UNSET else outputs for name, outputs in found.items()}


# What can be seen from a body


def scope(scene: Scene, body: Body) -> dict[str, Any]:
    """The names that an expression in *body* can use."""
    return {**body.names, "steps": _steps_seen(scene, body), "run": {"id": scene.run.run_id}}


def _steps_seen(scene: Scene, body: Body) -> dict[str, Any]:
    seen = {} if body.outer is None else _steps_seen(scene, body.outer)
    for step in body.steps:
        match latest(scene.run, body.path, step.id):
            case Succeeded() as record:
                seen[step.id] = _seen(record, ("outputs", "exit_code", "status_code", "stdout"))
                if record.artifacts:
                    seen[step.id]["artifacts"] = to_builtins(record.artifacts)
                if isinstance(step, Parallel):
                    seen = {**_steps_of_branches(step, record), **seen}
            case Failed(error=error):
                seen[step.id] = {"error": to_builtins(error), **_seen(error, ("exit_code", "status_code"))}
            case _:
                pass
    return seen


def _steps_of_branches(step: Parallel, record: Succeeded) -> dict[str, Any]:
    """The steps of the list that belonged to branches: their outputs can be seen after the join."""
    found = {}
    for branch in step.branches:
        outputs = record.outputs[named(branch)]
        if branch.start_at is not None and isinstance(outputs, dict):
            found.update({name: {"outputs": value} for name, value in outputs.items()})
    return found


def _seen(record: Struct, names: tuple[str, ...]) -> dict[str, Any]:
    values = ((name, getattr(record, name)) for name in names)
    return {name: value for name, value in values if value is not None and value is not UNSET}


# In which order a body goes


def successor(body: Body, step: AnyStep, record: Succeeded | Failed | Skipped) -> AnyStep | None:
    """The step that follows *step*, or None when the body has come to its end.

    In order: the step that it chose; its `next`; the following one of the list. A skipped step takes
    its `next` along, so that `if` and `next` together are a conditional jump. A branch that is made of
    steps of the outer list follows jumps only, and the list passes over its steps. With mapped outputs an
    `end` that some decision leads to is entered by that decision only, so that falling into it from the
    arm above completes the body with its outputs.
    """
    if not isinstance(record, Skipped):
        target = record.next or (step.next if isinstance(step, Sequenced) else None)
        if target is not None:
            return find(body.steps, target)
    if body.start_at is not None:
        return None
    passed_over = of_branches(body.steps)
    place = next(n for n, other in enumerate(body.steps) if other is step) + 1
    following = next((other for other in body.steps[place:] if other.id not in passed_over), None)
    if body.mapped is not None and isinstance(following, End) and following.id in arms(body.steps):
        return None
    return following


def arms(steps: tuple[AnyStep, ...]) -> set[str]:
    """The steps that some decision of the list may lead to."""
    return {target for step in steps for path, target in targets(step) if path[0] not in ("next", "branches")}


def of_branches(steps: tuple[AnyStep, ...]) -> set[str]:
    """The steps of the list that belong to the branches of a parallel: where one starts, and on by jumps."""
    starts = [b.start_at for s in steps if isinstance(s, Parallel) for b in s.branches if b.start_at]
    if not starts:
        return set()
    jumps = {step.id: [target for _, target in targets(step)] for step in steps}
    places = {step.id: n for n, step in enumerate(steps)}
    reached = reachable_from([places[s] for s in starts], lambda n: [places[t] for t in jumps[steps[n].id]])
    return {steps[n].id for n in reached if not isinstance(steps[n], Parallel)}


# Words


def listed(what: str, errors: list[InstanceError]) -> str:
    """*what* is wrong, by the first of *errors*."""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{what}: {errors[0].message}{more}"


def detailed(errors: list[InstanceError]) -> list[dict[str, str]]:
    """*errors* as they stand in an envelope."""
    return [error._asdict() for error in errors]
