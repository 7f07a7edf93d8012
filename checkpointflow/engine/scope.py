"""What an expression can see from a body: inputs, the item, the run, and the steps that have ended.

A step of a document of a thousand steps asks for one or two of the others, so they are looked up by name when
an expression asks; a view of all of them, made for each attempt, was most of what the engine did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import UNSET, Struct, to_builtins

from checkpointflow.documents.graph import StepList
from checkpointflow.documents.model import AnyStep, Api, Call, Cli, Parallel
from checkpointflow.engine.actions import StoredFile
from checkpointflow.engine.bodies import Body, Scene, join, name_of
from checkpointflow.engine.run import Failed, Record, Run, Succeeded, latest_record
from checkpointflow.expressions.evaluation import Empty, Lost


def scope(scene: Scene, body: Body) -> dict[str, Any]:
    """The names that an expression in *body* can use."""
    run = {"id": scene.run.run_id}
    if "run" in body.names:
        run |= body.names["run"]
    return {**body.names, "steps": StepsSeen(scene.run, body), "run": run}


class StepsSeen(Mapping[str, Any]):
    """By their ids, the steps that have ended in *body* or in those around it."""

    def __init__(self, run: Run, body: Body) -> None:
        self._run = run
        self._body = body

    def __getitem__(self, name: str) -> dict[str, Any]:
        for body in self._bodies():
            if name in body.steps.index:
                record = latest_record(self._run, body.path, name)
                view = _view(body.steps.find(name), record) or self._view_in_branch(body, name)
                if view is not None:
                    return view
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        names = dict.fromkeys(step.id for body in self._bodies() for step in body.steps.steps)
        return (name for name in names if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _bodies(self) -> Iterator[Body]:
        body: Body | None = self._body
        while body is not None:
            yield body
            body = body.outer

    def _view_in_branch(self, body: Body, name: str) -> dict[str, Any] | None:
        """A step of the list that belonged to a branch: its outputs can be seen after the join."""
        for parallel in _find_owners(body.steps, name):
            block = _view(parallel, latest_record(self._run, body.path, parallel.id)) or {}
            for branch in parallel.branches:
                outputs = block.get("outputs", {}).get(name_of(branch))
                if branch.start_at is not None and isinstance(outputs, dict) and name in outputs:
                    return {"outputs": outputs[name]}
        return None


def _find_owners(steps: StepList, name: str) -> Iterator[Parallel]:
    for index, owned in steps.graph.owned.items():
        if steps.index[name] in owned:
            parallel = steps.steps[index]
            assert isinstance(parallel, Parallel)
            yield parallel


_SAID = ("outputs", "stdout", "stderr")
# What a step that failed said if it said nothing, so that whoever goes on need not ask.
_SILENCE: dict[type, dict[str, Any]] = {Cli: {"stdout": "", "stderr": ""}, Api: {"stdout": ""}}


def _view(step: AnyStep, record: Record | None) -> dict[str, Any] | None:
    match record:
        case Succeeded():
            view = _pick(record, (*_SAID, "exit_code", "status_code"))
            if record.outputs == {} and record.exit_code is not None:
                view["outputs"] = Empty(record.lost.get("outputs", "it printed no JSON object"))
            if record.artifacts:
                view["artifacts"] = _view_artifacts(record.artifacts)
        case Failed(error=error, block=block):
            view = {"error": to_builtins(error), **_pick(error, ("exit_code", "status_code"))}
            view |= {**_SILENCE.get(type(step), {}), **_pick(record, _SAID)}
            if "outputs" in record.lost:
                view["outputs"] = Lost(f"is not there: {record.lost['outputs']}", was_there=False)
            if block is not None and not isinstance(step, Call):
                view["outputs"] = join(step, block)
        case _:
            return None
    if record.headers:
        view["headers"] = record.headers
    return view | {part: Lost(why) for part, why in record.lost.items() if part != "outputs"}


def _view_artifacts(artifacts: dict[str, StoredFile]) -> dict[str, Any]:
    """Each by its name: a file, or a set with the `path` of its directory and its `files`."""
    found: dict[str, Any] = {}
    for key, file in artifacts.items():
        name, _, inner = key.partition("/")
        if inner:
            whole = found.setdefault(name, {"path": file.path.removesuffix(f"/{inner}"), "files": []})
            whole["files"].append({"name": inner, **to_builtins(file)})
        else:
            found[name] = to_builtins(file)
    return found


def _pick(record: Struct, names: tuple[str, ...]) -> dict[str, Any]:
    values = ((name, getattr(record, name)) for name in names)
    return {name: value for name, value in values if value is not None and value is not UNSET}
