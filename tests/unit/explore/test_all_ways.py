"""The ends that are found are those of a walk that tries everything and merges nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st
from msgspec import UNSET

from checkpointflow.documents.program import Program
from checkpointflow.engine.actions import Action, Failure, Sleep, Slept, Success
from checkpointflow.engine.bodies import Scene, locate
from checkpointflow.engine.messages import Begin, Deliver, Message, Recover, Report
from checkpointflow.engine.rules import advance
from checkpointflow.engine.run import Breakdown, Completion, Run, pending, waits
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
    "required": ["yes", "l"],
    "properties": {
        "yes": {"type": "boolean"},
        "mode": {"enum": ["a", "b"]},
        "l": {"type": "array", "maxItems": 2, "items": {"enum": ["p", "q"]}},
    },
}
CHILD = program(
    cli("inner", outputs=OUTPUTS),
    end("done", result={"was": "${inputs.flag}", "ok": "${steps.inner.outputs.ok}"}),
    inputs={"type": "object", "required": ["flag"], "properties": {"flag": {"type": "boolean"}}},
)


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
            self.hear(None, Begin(now=NOW, run_id="R", inputs=inputs, digest="d"), MAX_MESSAGES)
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
        outcomes: list[Any] = [
            Success(outputs=outputs, exit_code=0) for outputs in expand(self.world._shape(body, step))
        ]
        outcomes += [Failure(error) for error in self.world._list_errors(body, step)]
        for outcome in outcomes:
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
    assert isinstance(run.outcome, Breakdown)
    return f"failed {run.outcome.error.code} at {forget_visits(str(run.outcome.error.step_id))}"


def found(program: Program) -> set[str]:
    explored = explore(program)
    assert explored.complete
    ends = set()
    for ending in explored.endings:
        result = "" if ending.result is UNSET else json.dumps(ending.result, sort_keys=True)
        ends.add(
            f"completed {result}"
            if ending.status == "completed"
            else f"failed {ending.code} at {ending.step}"
        )
    return ends


# Documents


@st.composite
def lists(draw: st.DrawFn, prefix: str = "s", depth: int = 0, in_each: bool = False) -> list[dict[str, Any]]:
    ids = [f"{prefix}{n}" for n in range(draw(st.integers(1, 4 if depth == 0 else 2)))]
    return [draw(steps(name, ids, ids[:i], depth, in_each)) for i, name in enumerate(ids)]


def conditions(before: list[str], in_each: bool) -> st.SearchStrategy[str]:
    some = ["inputs.yes", 'inputs.mode == "a"', "inputs.mode != null"]
    for name in before:
        some += [f"steps.{name}.outputs.ok", f"steps.{name}.outputs.n > 2", f"steps.{name}.error != null"]
        some += [f"steps.{name}.outputs.n != null and steps.{name}.outputs.ok"]
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
        return foreach(
            id,
            "${inputs.l}",
            *draw(lists(f"{id}_", depth + 1, True)),
            max_concurrency=draw(st.integers(1, 2)),
            **more,
        )
    if kind == "parallel":
        branches = [branch(f"{id}_{n}", *draw(lists(f"{id}_{n}_", depth + 1))) for n in range(2)]
        return parallel(id, *branches, **more)
    if kind == "start" and later:
        return parallel(id, {"start_at": draw(st.sampled_from(later))}, **more)
    if kind == "call":
        flag = draw(st.sampled_from(["inputs.yes", *(f"steps.{name}.outputs.ok" for name in before)]))
        return call(id, "child.yaml", inputs={"flag": f"${{{flag}}}"}, **more)
    if draw(st.integers(0, 3)) == 0:
        more["retry"] = {"max_attempts": 2, "backoff_seconds": draw(st.sampled_from([0, 1]))}
    return cli(id, outputs=draw(st.sampled_from([OUTPUTS, None])), **more)


@given(lists())
def test_the_ends_are_those_of_all_ways(document: list[dict[str, Any]]) -> None:
    made = program(*document, inputs=INPUTS, called={"child.yaml": CHILD})
    brute = BruteForce(made)
    try:
        ends = brute.go()
    except TooMany:
        event("too many ways")
        assert brute.ends <= found(made)
    else:
        event(f"ends: {min(len(ends), 5)}")
        assert found(made) == ends
