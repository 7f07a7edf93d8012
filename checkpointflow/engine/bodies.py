"""The bodies of a run: where each stands in the document and in the run, and how a block has them.

The root, an iteration, a branch and a called workflow are all bodies. They differ in three things that
are told here: which names they see, what a block calls them, and what their ends add up to.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import UNSET, Struct, to_builtins
from msgspec.structs import replace

from checkpointflow.documents.graph import StepList
from checkpointflow.documents.model import AnyStep, Branch, Foreach, Parallel, Sequenced
from checkpointflow.documents.program import Program
from checkpointflow.engine.actions import Error
from checkpointflow.engine.facts import RunOutcome
from checkpointflow.engine.path import ROOT, body_path, finally_path, host_of, owner, split
from checkpointflow.engine.run import Failed, Opened, Run, Skipped, Succeeded, latest_record


class Scene(Struct, frozen=True):
    """A run under a message: what all rules look at."""

    program: Program
    run: Run
    now: str


class Body(Struct, frozen=True, kw_only=True):
    """A sequence of steps, where it stands in the run, and the names that it can see.

    program: the document it belongs to; names: `inputs`, `item` where there is one, and what is told of the
    run; outer: the body whose steps can be seen from here too; start_at: of a branch that is made of steps of
    the outer list.
    """

    path: str
    program: Program
    steps: StepList
    names: dict[str, Any]
    outer: Body | None = None
    start_at: str | None = None

    @property
    def first(self) -> AnyStep | None:
        """The step that the body begins with, if it has any of its own."""
        if self.start_at is not None:
            return self.steps.find(self.start_at)
        return self._step(self.steps.graph.first)

    def find_successor(self, step: AnyStep, record: Succeeded | Failed | Skipped) -> AnyStep | None:
        """The step that follows *step*, or None when the body has come to its end.

        In order: the step that it chose; its `next`; what the graph says. A skipped step does not take its
        `next`, so that `if` and `next` together are a conditional jump.
        """
        if not isinstance(record, Skipped):
            target = record.next or (step.next if isinstance(step, Sequenced) else None)
            if target is not None:
                return self.steps.find(target)
        index = self.steps.index[step.id]
        return self._step(self.steps.graph.follow(index, in_branch=self.start_at is not None))

    @property
    def has_finally(self) -> bool:
        """Whether it is followed by a `finally`: it is all that its document does before."""
        return self.outer is None and self.program.cleanup is not None

    def _step(self, index: int) -> AnyStep | None:
        return None if index == self.steps.graph.end else self.steps.steps[index]


def root(scene: Scene) -> Body:
    """The body of the run itself."""
    program = scene.program
    return Body(
        path=ROOT, program=program, steps=program.root, names=_names(scene, program, scene.run.inputs)
    )


def _names(scene: Scene, program: Program, inputs: Any) -> dict[str, Any]:
    """The names that all of *program* can see."""
    env = scene.run.env
    own = {"env": {name: env[name] for name in program.workflow.env if name in env}} if env else {}
    return {"inputs": inputs, **own}


def locate(scene: Scene, path: str) -> tuple[Body, AnyStep]:
    """The step of the document that *path* addresses, and the body it stands in. Raises LookupError."""
    place, name, _ = split(path)
    body = find_body(scene, place)
    return body, body.steps.find(name)


def find_body(scene: Scene, path: str) -> Body:
    """The body at *path*. Raises LookupError."""
    if path == ROOT:
        return root(scene)
    host = host_of(path)
    if host is not None:
        return enter_finally(scene, find_body(scene, host))
    block, key = owner(path)
    return enter(scene, *locate(scene, block), block, key)


def enter_finally(scene: Scene, body: Body) -> Body:
    """The `finally` that follows *body*, which has come to its outcome. Raises LookupError."""
    steps, ending = body.program.cleanup, scene.run.cursors[body.path].ending
    if steps is None or body.outer is not None or ending is None:
        raise LookupError(body.path)
    names = {**body.names, "run": {"outcome": _describe_outcome(ending)}}
    return Body(path=finally_path(body.path), program=body.program, steps=steps, names=names, outer=body)


def _describe_outcome(outcome: RunOutcome) -> dict[str, Any]:
    """*outcome* as expressions see it: all of it is there, null where there is none."""
    error, reason = getattr(outcome, "error", None), getattr(outcome, "reason", None)
    status = str(outcome.__struct_config__.tag)
    return {"status": status, "error": to_builtins(error), "reason": reason}


# The bodies of a block


def list_keys(step: AnyStep, opened: Opened, start: int = 0, stop: int | None = None) -> Iterable[str]:
    """What the bodies of a block are called, in their order; a called workflow's has the empty name.

    Those from the *start*-th on, before the *stop*-th: of many items few are asked for.
    """
    match step:
        case Foreach(key=None):
            return map(str, range(len(opened.items))[start:stop])  # of many, as a list they would be large
        case Foreach():
            return (key for key, _ in opened.items[start:stop])
        case Parallel(branches=branches):
            return [name_of(branch) for branch in branches[start:stop]]
        case _:
            return [""][start:stop]


def count_free_slots(step: AnyStep, opened: Opened, most: int) -> int:
    """How many bodies more may begin now: of a foreach *most* at once; none once one failed for good."""
    if isinstance(step, Foreach):
        return 0 if opened.failed else most - len(opened.open)
    return len(list(list_keys(step, opened)))


def count_spare_failures(step: AnyStep, opened: Opened) -> int:
    """How many bodies more may fail without failing the block."""
    if not isinstance(step, Foreach) or step.on_item_error == "stop":
        return 0
    if step.max_failures is None:
        return len(opened.items)
    return step.max_failures - sum(map(len, opened.survived))


def name_of(branch: Branch) -> str:
    """The name of a branch: its own, or that of the step that it starts at."""
    return branch.id or str(branch.start_at)


def enter(scene: Scene, body: Body, step: AnyStep, path: str, key: str) -> Body:
    """The body called *key* of the block *step*, which stands at *path* in *body*."""
    inner = body_path(path, key)
    if (ref := getattr(step, "workflow_ref", None)) is not None:
        cursor = scene.run.cursors[inner]
        program = body.program.called[cursor.called or ref]
        names = _names(scene, program, cursor.inputs)
        return Body(path=inner, program=program, steps=program.root, names=names)
    names, opened = body.names, scene.run.steps[path]
    if isinstance(step, Foreach) and isinstance(opened, Opened):
        index = int(key) if step.key is None else scene.run.cursors[inner].index
        names = {**names, **item_names(step, opened, index or 0)}
    if isinstance(step, Parallel):
        branch = next(branch for branch in step.branches if name_of(branch) == key)
        start_at = branch.start_at
        steps = body.steps if start_at is not None else body.program.inner_list(step.id, key)
    else:
        assert isinstance(step, Foreach)
        start_at, steps = None, body.program.inner_list(step.id)
    return Body(path=inner, program=body.program, steps=steps, names=names, outer=body, start_at=start_at)


def item_names(step: AnyStep, opened: Opened, index: int) -> dict[str, Any]:
    """The item of an iteration, and its place in the list, by the names that expressions have for them."""
    if not isinstance(step, Foreach):
        return {}
    item = opened.items[index]
    return {"item": item if step.key is None else item[1], "item_index": index}


def join(step: AnyStep, opened: Opened) -> Any:
    """What those bodies of a block that ended well add up to: all of them, or as far as it came."""
    outputs = {key: value for chunk in opened.ended for key, value in chunk.items()}
    match step:
        case Foreach():
            joined = {"iterations": [outputs.get(key) for key in list_keys(step, opened, 0, opened.begun)]}
            errors = {
                key: error for chunk in (*opened.survived, opened.failed) for key, error in chunk.items()
            }
            if errors or step.on_item_error == "continue":
                failed = (
                    (index, errors[key]) for index, key in enumerate(list_keys(step, opened)) if key in errors
                )
                joined["failures"] = [_tell_failure(step, opened, index, error) for index, error in failed]
            return joined
        case Parallel():
            return {key: outputs[key] for key in list_keys(step, opened) if key in outputs}
        case _:
            return outputs[""]


def _tell_failure(step: Foreach, opened: Opened, index: int, error: Error) -> dict[str, Any]:
    return {"index": index, "item": item_names(step, opened, index)["item"], "error": to_builtins(error)}


def explain_failure(scene: Scene, step: AnyStep, path: str, opened: Opened) -> Error:
    """Why a block with failed bodies has failed: the one reason, or each with its body."""
    error = _explain_failure(scene, step, path, opened)
    if not isinstance(step, Foreach) or step.max_failures is None:
        return error
    return replace(error, message=f"more than {step.max_failures} items failed; {error.message}")


def _explain_failure(scene: Scene, step: AnyStep, path: str, opened: Opened) -> Error:
    failed = {
        body_path(path, key): opened.failed[key] for key in list_keys(step, opened) if key in opened.failed
    }
    if len(failed) == 1:
        [(inner, error)] = failed.items()
        ref = scene.run.cursors[inner].called or getattr(step, "workflow_ref", None)
        return error if ref is None else replace(error, message=f"in {ref}: {error.message}")
    details = [{"body": body, **to_builtins(error)} for body, error in failed.items()]
    what = "; ".join(f"{body}: {error.message}" for body, error in list(failed.items())[:5])
    return Error(code=next(iter(failed.values())).code, message=what, details=details)


def collect_outputs(scene: Scene, body: Body) -> dict[str, Any]:
    """What an iteration or a branch without a result of its own yields: the outputs of its steps."""
    records = {step.id: latest_record(scene.run, body.path, step.id) for step in body.steps.steps}
    found = {name: record.outputs for name, record in records.items() if isinstance(record, Succeeded)}
    return {name: {} if outputs is UNSET else outputs for name, outputs in found.items()}
