"""The ends that are found are those of a walk that tries everything and merges nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from hypothesis import assume, event, example, given
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from checkpointflow.documents.graph import StepList
from checkpointflow.documents.model import Parallel
from checkpointflow.documents.program import Program
from checkpointflow.engine.actions import Action, Failure, RunCommand, Sleep, Slept, Success
from checkpointflow.engine.bodies import Scene, locate
from checkpointflow.engine.messages import Begin, Cancel, Deliver, Message, Recover, Report
from checkpointflow.engine.rules import advance
from checkpointflow.engine.run import Breakdown, Cancellation, Completion, Run, pending, waits
from checkpointflow.errors import CheckpointflowError
from checkpointflow.explore.interest import Interest
from checkpointflow.explore.lazy import Oracle
from checkpointflow.explore.moves import NOW, World, expect_object
from checkpointflow.explore.sight import forget_visits
from checkpointflow.explore.values import Leaf, Maker, Shape
from checkpointflow.explore.verdict import explore
from tests.helpers import ask, branch, call, cli, end, foreach, parallel, program, switch

MAX_MESSAGES = 9
MAX_RUNS = 400
OUTPUTS = {
    "type": "object",
    "required": ["ok"],
    "properties": {"ok": {"type": "boolean"}, "n": {"type": "integer"}},
}
INPUTS = {
    "type": "object",
    "required": ["yes", "l", "c"],
    "properties": {
        "yes": {"type": "boolean"},
        "c": {"type": "integer", "minimum": 0, "maximum": 2},
        "mode": {"enum": ["a", "b"]},
        "l": {"type": "array", "maxItems": 2, "items": {"enum": ["p", "q"]}},
    },
}
CHILD = program(
    cli("inner", outputs=OUTPUTS),
    end("done", result={"was": "${inputs.flag}", "ok": "${steps.inner.outputs.ok}"}),
    inputs={"type": "object", "required": ["flag"], "properties": {"flag": {"type": "boolean"}}},
)
CLEAN = program(
    cli("inner"),
    inputs=CHILD.workflow.inputs,
    **{"finally": [cli("clean", on_error="continue", **{"if": 'run.outcome.status != "completed"'})]},
)
CALLED = {"child.yaml": CHILD, "a": CHILD, "b": CLEAN}


class TooMany(Exception):
    """More ways than are tried here."""


class BruteForce:
    """All ways, with all values at once, in all orders."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.world = World(program, Interest(program), Oracle())
        self.ends: set[str] = set()
        self.runs = 0

    def go(self) -> set[str]:
        schema = expect_object(self.program.workflow.inputs)
        part = self.world.interest.of(self.program, "", "inputs")
        for inputs in expand(Maker(schema, {}, fills_defaults=True).shape(part)):
            for env in self.world.list_environments():
                self.hear(None, Begin(now=NOW, run_id="R", inputs=inputs, digest="d", env=env), MAX_MESSAGES)
        return self.ends

    def hear(self, run: Run | None, message: Message, left: int) -> None:
        try:
            new, _ = advance(self.program, run, message)
        except CheckpointflowError:
            return
        self.runs += 1
        if self.runs > MAX_RUNS or not left:
            raise TooMany
        if new.outcome is not None:
            self.ends.add(label(new))
            return
        if self.world.cancel(new, message.now) is not None:
            self.hear(new, Cancel(now=message.now, reason="no"), left - 1)
        for action in pending(new):
            self.end_action(new, action, left - 1)
        for path, record in waits(new).items():
            for answer in self.world._list_answers(new, path, record):
                self.hear(new, Deliver(now=message.now, path=path, payload=answer), left - 1)
            if record.wait.timeout_at is not None:
                self.hear(new, Recover(now=record.wait.timeout_at, lost=()), left - 1)

    def end_action(self, run: Run, action: Action, left: int) -> None:
        body, step = locate(Scene(self.program, run, NOW), action.path)
        if isinstance(action, Sleep):
            self.hear(run, Report(now=NOW, path=action.path, attempt=action.attempt, outcome=Slept()), left)
            return
        assert isinstance(action, RunCommand)
        outcomes: list[Success | Failure] = [
            *self.world._list_successes(body, step, action),
            *self.world._list_failures(body, step, action),
        ]
        outputs = list(expand(self.world._shape(body, step)))
        for outcome in (
            one if one.outputs is UNSET else replace(one, outputs=value)
            for one in outcomes
            for value in (outputs if one.outputs is not UNSET else [UNSET])
        ):
            self.hear(
                run,
                Report(now=run.updated_at, path=action.path, attempt=action.attempt, outcome=outcome),
                left,
            )


def expand(shape: Shape) -> Iterator[Any]:
    """All values of *shape*."""
    if isinstance(shape, Leaf):
        yield from shape.values
        return
    members = [[(name, value) for value in expand(inner)] for name, inner in shape.members.items()]
    for combination in product(*members):
        yield {name: value for name, value in combination if value is not UNSET}
    if shape.optional:
        yield UNSET


def label(run: Run) -> str:
    if isinstance(run.outcome, Completion):
        result = run.outcome.result
        return f"completed {'' if result is UNSET else json.dumps(result, sort_keys=True)}"
    if isinstance(run.outcome, Cancellation):
        return "cancelled"
    assert isinstance(run.outcome, Breakdown)
    return f"failed {run.outcome.error.code} at {forget_visits(str(run.outcome.error.step_id))}"


def found(program: Program) -> set[str]:
    explored = explore(program)
    assert explored.complete
    ends = set()
    for ending in explored.endings:
        result = "" if ending.result is UNSET else json.dumps(ending.result, sort_keys=True)
        failed = f"failed {ending.code} at {ending.step}"
        ends.add({"completed": f"completed {result}", "cancelled": "cancelled"}.get(ending.status, failed))
    return ends


# Documents


@st.composite
def lists(draw: st.DrawFn, prefix: str = "s", depth: int = 0, in_each: bool = False) -> list[dict[str, Any]]:
    ids = [f"{prefix}{n}" for n in range(draw(st.integers(1, 4 if depth == 0 else 2)))]
    return [draw(steps(name, ids, ids[:i], depth, in_each)) for i, name in enumerate(ids)]


def conditions(before: list[str], in_each: bool) -> st.SearchStrategy[str]:
    some = ["inputs.yes", 'inputs.mode == "a"', "inputs.mode != null", "inputs.c * 2 > 1", 'env.E == "x"']
    some += ["length(inputs.l) > 1", 'contains(inputs.l, "q")', 'inputs.mode in ["b", "c"]']
    for name in before:
        some += [f"steps.{name}.outputs.ok", f"steps.{name}.outputs.n > 2", f"steps.{name}.error != null"]
        some += [f"steps.{name}.outputs.n != null and steps.{name}.outputs.ok"]
        some += [f"default(steps.{name}.outputs.n, 0) + 1 > 3", f"steps.{name}.exit_code == 3"]
    return st.sampled_from(some + (['item == "p"', "item_index == 1"] if in_each else []))


@st.composite
def steps(
    draw: st.DrawFn, id: str, ids: list[str], before: list[str], depth: int, in_each: bool
) -> dict[str, Any]:
    more: dict[str, Any] = {}
    kinds = ["cli", "cli", "switch", "wait", "end", "foreach", "parallel", "call", "start"]
    kind = draw(st.sampled_from(kinds if depth < 1 else kinds[:5]))
    later = ids[len(before) + 1 :]
    if draw(st.integers(0, 2)) == 0:
        more["if"] = draw(conditions(before, in_each))
    if kind == "end":
        looked = draw(st.sampled_from(["inputs.yes", *(f"steps.{name}.outputs" for name in before)]))
        return end(id, result={"v": f"${{{looked}}}"}, **more)
    if draw(st.integers(0, 2)) == 0:
        some = draw(st.sampled_from([later, later, ids]))
        targets = [{"next": name} for name in some]
        more["on_error"] = draw(st.sampled_from(["continue", *targets]))
    if kind == "switch" and later:
        cases = [(draw(conditions(before, in_each)), draw(st.sampled_from(later)))]
        default = {"default": later[-1]} if draw(st.booleans()) else {}
        return switch(id, *cases, **default, **more)
    if kind == "wait":
        schema = {"type": "object", "required": ["v"], "properties": {"v": {"enum": ["x", "y"]}}}
        if draw(st.booleans()) and later:
            more["transitions"] = [{"when": 'event.v == "x"', "next": draw(st.sampled_from(ids))}]
        if draw(st.booleans()):
            more["timeout_seconds"] = draw(st.sampled_from([5, 9]))
        return ask(id, input_schema=schema, **more)
    if kind == "foreach":
        items = draw(st.sampled_from(["${inputs.l}", ["p", "q"], {"count": "${inputs.c}"}]))
        if draw(st.booleans()):
            more |= {"on_item_error": "continue", **draw(st.sampled_from([{}, {"max_failures": 1}]))}
        if draw(st.booleans()):
            more["key"] = "${item}"
        body = draw(lists(f"{id}_", depth + 1, True))
        return foreach(id, items, *body, max_concurrency=draw(st.integers(1, 2)), **more)
    if kind == "parallel":
        branches = [branch(f"{id}_{n}", *draw(lists(f"{id}_{n}_", depth + 1))) for n in range(2)]
        return parallel(id, *branches, **more)
    if kind == "start" and later:
        return parallel(id, {"start_at": draw(st.sampled_from(later))}, **more)
    if kind == "call":
        flag = draw(st.sampled_from(["inputs.yes", *(f"steps.{name}.outputs.ok" for name in before)]))
        chosen = draw(st.sampled_from([("child.yaml", {}), ("${inputs.mode}", {"one_of": ["a", "b"]})]))
        return call(id, chosen[0], inputs={"flag": f"${{{flag}}}"}, **chosen[1], **more)
    if draw(st.integers(0, 3)) == 0:
        more["retry"] = {"max_attempts": 2, "backoff_seconds": draw(st.sampled_from([0, 1]))}
    return cli(id, outputs=draw(st.sampled_from([OUTPUTS, None])), **more)


@st.composite
def endings(draw: st.DrawFn) -> dict[str, Any]:
    """Nothing, or a `finally` that looks at what there was before."""
    if draw(st.integers(0, 2)):
        return {}
    of_outcome = st.sampled_from(['run.outcome.status == "cancelled"', "run.outcome.error != null"])
    when = draw(st.one_of(of_outcome, conditions(["s0"], False)))
    steps = [
        cli("clean", outputs=OUTPUTS, **{"if": when}, **draw(st.sampled_from([{}, {"on_error": "continue"}])))
    ]
    return {"finally": steps if draw(st.booleans()) else [*steps, cli("swept")]}


def is_never_ending(steps: StepList) -> bool:
    """Whether a branch leads back to its own block, which no document may have."""
    return any(isinstance(s, Parallel) and steps.graph.leads_back(i) for i, s in enumerate(steps.steps))


SPARING = foreach("s0", ["p", "q"], cli("a"), max_concurrency=2, on_item_error="continue", max_failures=1)


@pytest.mark.long
@example([SPARING], {})  # which of both is blamed follows from which fails first
@example([foreach("s0", ["p", "q"], cli("a"), ask("b"), max_concurrency=2, on_item_error="continue",
                  max_failures=1)], {})  # fmt: skip
@given(lists(), endings())
def test_the_ends_are_those_of_all_ways(document: list[dict[str, Any]], ending: dict[str, Any]) -> None:
    made = program(*document, inputs=INPUTS, called=CALLED, env=["E"], **ending)
    assume(not any(is_never_ending(body) for body in made.lists))
    brute = BruteForce(made)
    try:
        ends = brute.go()
    except TooMany:
        event("too many ways")
        assert brute.ends <= found(made)
    else:
        event(f"ends: {min(len(ends), 5)}")
        assert found(made) == ends
