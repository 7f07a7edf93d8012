"""Two runs, or two checkpoints of one, side by side: what differs, whatever order branches happened to take.

Ids and times always differ, so they are told and not compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from msgspec import UNSET, Struct, to_builtins
from msgspec.structs import replace

from checkpointflow.engine.copying import copy_as
from checkpointflow.engine.facts import (
    BlockOpened,
    Fact,
    OfStep,
    StepFailed,
    StepSkipped,
    StepStarted,
    StepSucceeded,
    WaitOpened,
)
from checkpointflow.engine.path import split
from checkpointflow.engine.run import Run
from checkpointflow.errors import RunNotFound, StateCorrupt
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.history import Entry, fold
from checkpointflow.store.layout import HISTORY

# Two JSON values


class Difference(Struct, frozen=True, omit_defaults=True):
    """A place, such as `steps.plan.outputs.files[3]`, and what stands there; UNSET: nothing does."""

    at: str
    a: Any = UNSET
    b: Any = UNSET


def find_differences(a: Any, b: Any, at: str = "") -> Iterator[Difference]:
    """The innermost places where *a* and *b* differ, in the order of *a*, then of *b*."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in [*a, *(key for key in b if key not in a)]:
            yield from find_differences(a.get(key, UNSET), b.get(key, UNSET), _join(at, str(key)))
    elif isinstance(a, list) and isinstance(b, list):
        for index in range(max(len(a), len(b))):
            left = a[index] if index < len(a) else UNSET
            right = b[index] if index < len(b) else UNSET
            yield from find_differences(left, right, f"{at}[{index}]")
    elif not _are_same(a, b):
        yield Difference(at, a, b)


def _are_same(a: Any, b: Any) -> bool:
    """As JSON: true is not 1."""
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _join(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key


# Two runs


class Side(NamedTuple):
    """A run at one of its checkpoints, and the facts that led there."""

    run: Run
    facts: list[Fact]


class Visit(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a step came to on one visit."""

    state: str
    event_name: str | None = None
    outputs: Any = UNSET
    exit_code: int | None = None
    status_code: int | None = None
    error: Any = None
    next: str | None = None
    artifacts: dict[str, Any] = {}
    attempts: int = 1
    started_at: str
    ended_at: str | None = None


class Summary(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A side as an envelope tells it."""

    run_id: str
    checkpoint_id: str
    revision: int
    workflow_id: str
    workflow_version: str | None = None
    workflow_digest: str
    cwd: str | None = None
    status: str
    started_at: str
    updated_at: str
    seconds: float


class PathDifference(Struct, frozen=True):
    """The steps of a body, in the order in which they were come to."""

    body: str
    a: list[str]
    b: list[str]


class StepDifference(Struct, frozen=True):
    """What one step, which both came to, came to in each."""

    step: str
    differences: list[Difference]


class Timing(Struct, frozen=True):
    """How many seconds a step took that has ended in both, waiting and pausing included."""

    step: str
    a: float
    b: float


class Comparison(Struct, frozen=True, kw_only=True):
    """What differs between *a* and *b*; equal: nothing does but ids, times and durations."""

    equal: bool
    a: Summary
    b: Summary
    workflow: list[Difference]
    inputs: list[Difference]
    path: list[PathDifference]
    steps: list[StepDifference]
    outcome: list[Difference]
    timing: list[Timing]


def load_side(directory: RunDirectory, checkpoint: str | None = None) -> Side:
    """The run in *directory*, at the checkpoint whose id is or begins with *checkpoint*, or as it stands.

    Raises RunNotFound, StateCorrupt, PersistenceError.
    """
    run = directory.load()
    entries = list(directory.history(run))
    facts = [entry.fact for entry in entries]
    if checkpoint is None:
        return Side(run, facts)
    number = _find_checkpoint(directory, entries, checkpoint)
    try:
        return Side(fold(facts[:number]), facts[:number])
    except ValueError as error:
        raise StateCorrupt(file=directory.place / HISTORY, problem=str(error)) from None


def compare(a: Side, b: Side) -> Comparison:
    """What differs between two sides."""
    visits_a, visits_b = collect_visits(a.facts), collect_visits(b.facts)
    workflow = list(find_differences(_identify_workflow(a.run), _identify_workflow(b.run)))
    inputs = list(find_differences(a.run.inputs, b.run.inputs))
    inputs += find_differences(a.run.env, b.run.env, "env")
    path = list(_compare_paths(visits_a, visits_b))
    steps = list(_compare_steps(visits_a, visits_b))
    outcome = list(find_differences(_describe_outcome(a.run), _describe_outcome(b.run)))
    return Comparison(
        equal=not (workflow or inputs or path or steps or outcome),
        a=_summarize(a.run),
        b=_summarize(b.run),
        workflow=workflow,
        inputs=inputs,
        path=path,
        steps=steps,
        outcome=outcome,
        timing=list(_compare_timing(visits_a, visits_b)),
    )


def collect_visits(facts: list[Fact]) -> dict[str, Visit]:
    """Every visit of every step that *facts* tell of, by path, in the order in which they began."""
    found: dict[str, Visit] = {}
    for fact in facts:
        if isinstance(fact, OfStep):
            visit = found.get(fact.path, Visit(state="started", started_at=fact.at))
            found[fact.path] = _go_on(visit, fact)
    return found


def _go_on(visit: Visit, fact: OfStep) -> Visit:
    match fact:
        case StepStarted(action=action):
            return replace(visit, state="started", attempts=action.attempt, ended_at=None)
        case WaitOpened(wait=wait):
            return replace(visit, state="waiting", event_name=wait.event_name)
        case BlockOpened():
            return replace(visit, state="open")
        case StepSkipped():
            return replace(visit, state="skipped", ended_at=fact.at)
        case StepSucceeded():
            return replace(
                visit,
                state="succeeded",
                outputs=fact.outputs,
                exit_code=fact.exit_code,
                status_code=fact.status_code,
                next=fact.next,
                artifacts=to_builtins(fact.artifacts),
                ended_at=fact.at,
            )
        case StepFailed(error=error, next=chosen, outputs=outputs):
            told = to_builtins(error)
            return replace(visit, state="failed", outputs=outputs, error=told, next=chosen, ended_at=fact.at)
        case _:
            return visit


def _find_checkpoint(directory: RunDirectory, entries: list[Entry], checkpoint: str) -> int:
    """How many facts lead to the checkpoint that is meant. Raises RunNotFound."""
    found = [n for n, entry in enumerate(entries, 1) if entry.checkpoint_id.startswith(checkpoint)]
    if re.fullmatch(r"[0-9a-f]{4,64}", checkpoint) and len(found) == 1:
        return found[0]
    problem = "has no checkpoint" if not found else f"has {len(found)} checkpoints that begin with"
    hint = "give the first 4 or more characters of a checkpoint_id; `cpf inspect` lists them under `history`"
    raise RunNotFound(problem=f"run {directory.place.name} {problem} {checkpoint!r}; {hint}")


def _identify_workflow(run: Run) -> dict[str, Any]:
    plain: dict[str, Any] = to_builtins(run.workflow)
    return {name: plain[name] for name in ("id", "version", "digest", "documents") if name in plain}


def _describe_outcome(run: Run) -> dict[str, Any]:
    outcome: dict[str, Any] = {"status": run.status, **to_builtins(run.outcome or {})}
    return outcome


def _compare_paths(a: dict[str, Visit], b: dict[str, Visit]) -> Iterator[PathDifference]:
    bodies_a, bodies_b = _group_by_body(a), _group_by_body(b)
    for body in [*bodies_a, *(body for body in bodies_b if body not in bodies_a)]:
        left, right = bodies_a.get(body, []), bodies_b.get(body, [])
        if left != right:
            yield PathDifference(body, left, right)


def _group_by_body(found: dict[str, Visit]) -> dict[str, list[str]]:
    """The steps that were come to and not skipped, by the body that they stand in."""
    bodies: dict[str, list[str]] = {}
    for path, visit in found.items():
        if visit.state != "skipped":
            bodies.setdefault(split(path)[0], []).append(path.rpartition("/")[2])
    return bodies


def _compare_steps(a: dict[str, Visit], b: dict[str, Visit]) -> Iterator[StepDifference]:
    for path in a:
        if path in b:
            found = list(find_differences(_drop_times(a[path]), _drop_times(b[path])))
            if found:
                yield StepDifference(path, found)


def _drop_times(visit: Visit) -> dict[str, Any]:
    plain: dict[str, Any] = to_builtins(visit)
    return {name: value for name, value in plain.items() if name not in ("started_at", "ended_at")}


def _compare_timing(a: dict[str, Visit], b: dict[str, Visit]) -> Iterator[Timing]:
    for path in a:
        if path in b and a[path].ended_at and b[path].ended_at:
            left, right = (_count_seconds(v.started_at, v.ended_at) for v in (a[path], b[path]))
            if left or right:
                yield Timing(path, left, right)


def _count_seconds(start: str, end: str | None) -> float:
    if end is None:
        return 0.0
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _summarize(run: Run) -> Summary:
    return copy_as(
        run,
        Summary,
        workflow_id=run.workflow.id,
        workflow_version=run.workflow.version,
        workflow_digest=run.workflow.digest,
        seconds=_count_seconds(run.started_at, run.updated_at),
    )
