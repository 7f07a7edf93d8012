"""What a run comes to stands in its plan: over random documents and outcomes, begun or from any point on."""

from __future__ import annotations

import json
import re
from typing import Any, cast

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from checkpointflow.engine.actions import RunCommand
from checkpointflow.engine.facts import Fact, OfStep, StepSkipped, StepStarted, StepSucceeded, WaitOpened
from checkpointflow.engine.path import FINALLY, ROOT, host_of, owner, split
from checkpointflow.errors import NoTransition
from checkpointflow.explore.outline import Command, Ending, Inner, Item, Jump, Plan, Question, Step
from checkpointflow.explore.plan import plan, plan_on
from checkpointflow.explore.typed import quote
from tests.helpers import Story, ask, branch, call, cli, end, foreach, parallel, program, switch
from tests.unit.engine.test_walks import ends

MAX_MESSAGES = 30
INPUTS = {"yes": True, "no": False, "name": "it's"}
CALLED = program(
    cli("c0", "echo ${inputs.given}", **{"if": "inputs.given == true"}),
    switch("c1", ("steps.c0.outputs.ok", "c2"), default="c3", on_error={"next": "c3"}),
    end("c2", result="${steps.c0.outputs.text}"),
    end("c3", result="${inputs.given}"),
    **cast(Any, {"finally": [cli("c4", "echo ${run.outcome.status}")]}),
)


@st.composite
def lists(
    draw: st.DrawFn, seen: tuple[str, ...] = (), prefix: str = "s", depth: int = 0
) -> list[dict[str, Any]]:
    """A list of steps that mostly look at those before them, *seen* from here, and jump both ways."""
    ids = [f"{prefix}{n}" for n in range(draw(st.integers(2, 7 if depth == 0 else 3)))]
    return [draw(steps(name, ids, (*seen, *ids[:n]) or ("s1",), depth)) for n, name in enumerate(ids)]


@st.composite
def conditions(draw: st.DrawFn, seen: tuple[str, ...]) -> str:
    """Mostly such that have a value whatever happens."""
    name = draw(st.sampled_from(seen))
    simple = st.sampled_from(
        [
            "inputs.yes",
            "inputs.no",
            f"steps.{name}.outputs.ok",
            f"default(steps.{name}.outputs.ok, inputs.no)",
            f"not default(steps.{name}.outputs.ok, inputs.yes)",
            f"default(steps.{name}.outputs.text, inputs.name) == 'go'",
            f"steps.{name}.outputs != null",
            f"steps.{name}.error == null",
            f"default(steps.{name}.error.code, 'none') == 'none'",
            f"default(steps.{name}.exit_code, 0) == 0",
        ]
    )
    one, other = draw(simple), draw(simple)
    return draw(st.sampled_from([one, one, f"{one} and {other}", f"{one} or {other}"]))


@st.composite
def values(draw: st.DrawFn, seen: tuple[str, ...]) -> str:
    name = draw(st.sampled_from(seen))
    known = [
        "inputs.name",
        "default(steps.{}.outputs.text, inputs.name)",
        "default(steps.{}.exit_code, 7)",
        "steps.{}.outputs.text",
    ]
    return "${" + draw(st.sampled_from([*known, *known[:3]])).format(name) + "}"


@st.composite
def steps(draw: st.DrawFn, id: str, ids: list[str], seen: tuple[str, ...], depth: int) -> dict[str, Any]:
    more: dict[str, Any] = {}
    kinds = ["cli", "cli", "switch", "wait", "wait", "end", *2 * ["parallel", "foreach", "call"]]
    kind = draw(st.sampled_from(kinds))
    targets = st.sampled_from(ids)
    if draw(st.integers(0, 2)) == 0:
        more["if"] = draw(conditions(seen))
    if kind == "end":
        return end(id, result={"said": draw(values(seen))}, **more)
    if draw(st.integers(0, 2)) == 0:
        more["on_error"] = draw(st.sampled_from(["continue", {"next": draw(targets)}]))
    if kind == "switch":
        cases = draw(st.lists(st.tuples(conditions(seen), targets), min_size=1, max_size=3))
        return switch(id, *cases, **({"default": draw(targets)} if draw(st.booleans()) else {}), **more)
    if draw(st.integers(0, 2)) == 0 and kind != "wait":
        more["next"] = draw(targets)
    if kind == "parallel":
        starts = draw(st.lists(targets, min_size=1, max_size=2, unique=True))
        own = draw(lists(seen, f"{id}_", depth + 1)) if depth < 2 and draw(st.booleans()) else None
        return parallel(
            id,
            *({"start_at": start} for start in starts),
            *([branch(f"{id}_own", *own)] if own else []),
            **more,
        )
    if kind == "foreach" and depth < 2:
        return foreach(id, ["go", "${inputs.name}"], *draw(lists(seen, f"{id}_", depth + 1)), **more)
    if kind == "call":
        return call(id, "c.yaml", inputs={"given": draw(st.sampled_from([True, draw(values(seen))]))}, **more)
    if kind == "wait":
        if draw(st.booleans()):
            whens = draw(
                st.lists(st.sampled_from(["event.ok", "not event.ok", "event.text == 'go'"]), min_size=1)
            )
            more["transitions"] = [{"when": when, "next": draw(targets)} for when in whens[:3]]
        if draw(st.booleans()):
            more["timeout_seconds"] = 1000
            more |= {"on_timeout": {"next": draw(targets)}} if draw(st.booleans()) else {}
        schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
        return ask(id, prompt=f"So {draw(values(seen))}?", input_schema=schema, **more)
    return cli(id, f"echo {draw(values(seen))}", **more)


OUTCOMES = [{"ok": True, "text": "go"}, {"ok": False, "text": "a b"}, {"ok": False, "text": ""}, {}]


def live(story: Story, data: st.DataObject, messages: int) -> None:
    for _ in range(messages):
        if story.run.outcome is not None or not (story.pending or story.waiting):
            return
        path = data.draw(st.sampled_from([*story.pending, *story.waiting]))
        if path in story.waiting:
            answer = data.draw(st.sampled_from(OUTCOMES[:3]))
            try:
                story.deliver(path, answer)
            except NoTransition:
                return
        elif data.draw(st.integers(0, 3)):
            story.succeed(path, data.draw(st.sampled_from(OUTCOMES)))
        else:
            story.fail(path)


# The plan as what may follow what


END, FAILURE, CUT = "(end)", "(failure)", "(cut)"


def entry(way: tuple[Item, ...]) -> str:
    match way[0] if way else None:
        case Step(step=name):
            return name
        case Jump(goto=name):
            return name
        case Ending(step=str() as name):
            return name
        case Ending(status="failed"):
            return FAILURE
        case Ending():
            return END
    return CUT


class Tree:
    """The steps of a way by their ids, and what may follow each."""

    def __init__(self, way: tuple[Item, ...]) -> None:
        self.first = entry(way)
        self.items: dict[str, Step | Ending] = {}
        self.after: dict[str, set[str]] = {}
        self._add(way)

    def _add(self, way: tuple[Item, ...]) -> None:
        for number, item in enumerate(way):
            if isinstance(item, Step):
                assert item.step not in self.items, f"{item.step} is told twice"
                self.items[item.step] = item
                following = {entry(arm.way) for arm in item.arms}
                following |= {entry(way[number + 1 :])} if number + 1 < len(way) else set()
                self.after[item.step] = following
                for arm in item.arms:
                    self._add(arm.way)
            elif isinstance(item, Ending) and item.step is not None:
                assert item.step not in self.items
                self.items[item.step] = item


def find_way(plan: Plan, body: str) -> tuple[Item, ...]:
    """The way of *body* in the *plan*."""
    if body == ROOT:
        return plan.way
    if body == FINALLY:
        return plan.cleanup
    host = host_of(body)
    if host is not None:
        return find_inner(plan, host).cleanup
    return find_inner(plan, body).way


def find_inner(plan: Plan, body: str) -> Inner:
    block, key = owner(body)
    outer, name, _ = split(block)
    item = Tree(find_way(plan, outer)).items[name]
    assert isinstance(item, Step), item
    found = [inner for inner in item.bodies if inner.name in (key, key or "c.yaml", "each")]
    assert found, f"{body} is not in the plan"
    return found[0]


def fits(shown: Any, real: Any) -> bool:
    """Whether *real* is what is *shown*, where that is not known later."""
    if isinstance(shown, dict) and isinstance(real, dict):
        return shown.keys() == real.keys() and all(fits(shown[key], real[key]) for key in shown)
    if not isinstance(shown, str) or "‹" not in shown:
        return bool(shown == real)
    text = real if isinstance(real, str) else json.dumps(real)
    parts = [re.escape(part) for part in re.split(r"‹[^›]*›", shown)]
    return re.fullmatch(".*".join(parts), text, re.DOTALL) is not None


def type_out(action: RunCommand) -> str:
    return re.sub(r'"\$\{(\w+)\}"', lambda found: quote(action.variables[found[1]], "sh"), action.script)


def check(planned: Plan, facts: list[Fact], seen: set[str], last: dict[str, str]) -> None:
    """What the *facts* tell stands in the plan. seen: what was come to before; last: where bodies stood."""
    for fact in facts:
        if not isinstance(fact, OfStep):
            continue
        body, name, _ = split(fact.path)
        if is_again(body):
            continue
        tree = Tree(find_way(planned, body))
        if fact.path not in seen:
            seen.add(fact.path)
            allowed = tree.after[last[body]] if body in last else {tree.first}
            assert name in allowed, f"{last.get(body)} leads to {name}, and the plan says {allowed}"
            last[body] = name
        check_fact(tree.items[name], fact)


def is_again(body: str) -> bool:
    """Whether it is of a block that is come to again, of which a plan made in its midst tells the rest."""
    return "@" in body.replace(FINALLY, "")


def check_fact(item: Step | Ending, fact: Fact) -> None:
    is_new = isinstance(item, Step) and item.now is None
    match fact, item:
        case StepSkipped(), Step():
            assert item.runs is not True or not is_new
        case StepStarted(action=RunCommand() as action), Step():
            assert item.runs is not False and item.fails is None, item
            assert not isinstance(item.does, Command) or fits(item.does.command, type_out(action)), item.does
        case WaitOpened(wait=wait), Step(does=Question(prompt=prompt)):
            assert item.runs is not False and item.fails is None
            assert fits(prompt, wait.prompt), (prompt, wait.prompt)
        case StepSucceeded(outputs=outputs), Step(does=Ending(result=result)):
            assert fits(result, outputs)
        case StepSucceeded(outputs=outputs), Ending(result=result):
            assert fits(result, outputs), (result, outputs)
        case StepSkipped(), Ending():
            raise AssertionError(f"{item.step} was to end it, and is skipped")
        case StepSucceeded(), Step():
            assert item.runs is not False and item.fails is None


def tell(*document: dict[str, Any], **more: Any) -> Story:
    """A run of *document*, begun if no branch of it leads back to its own parallel, which would never end."""
    story = Story(*document, called={"c.yaml": CALLED}, begun=False, **more)
    assume(ends(story.workflow))
    return story.begin(INPUTS)


@given(lists(), st.lists(st.just(0), max_size=1), st.data())
def test_what_a_run_comes_to_stands_in_its_plan(
    document: list[dict[str, Any]], cleanup: list[int], data: st.DataObject
) -> None:
    more = {"finally": [cli("last", "echo ${run.outcome.status}")]} if cleanup else {}
    story = tell(*document, **more)
    planned = plan(story.workflow, INPUTS, {})
    live(story, data, MAX_MESSAGES)
    check(planned, story.facts, set(), {})


@pytest.mark.long
@given(lists(), st.integers(1, 8), st.data())
def test_from_where_a_run_stands_its_plan_tells_the_rest(
    document: list[dict[str, Any]], messages: int, data: st.DataObject
) -> None:
    story = tell(*document)
    live(story, data, messages)
    assume(story.run.outcome is None and "@" not in "".join(story.run.active))
    before = len(story.facts)
    planned = plan_on(story.workflow, story.run)
    last = {body: str(cursor.step) for body, cursor in story.run.cursors.items() if cursor.step}
    seen = {fact.path for fact in story.facts if isinstance(fact, OfStep)}
    live(story, data, MAX_MESSAGES)
    check(planned, story.facts[before:], seen, last)
