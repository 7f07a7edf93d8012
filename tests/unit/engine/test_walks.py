"""The engine goes where the graph says, which the checker checked: over random documents and outcomes."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import assume, example, given
from hypothesis import strategies as st

from checkpointflow.documents.graph import Edge, Graph, StepList
from checkpointflow.documents.model import Parallel
from checkpointflow.documents.program import Program
from checkpointflow.engine.facts import OfStep
from checkpointflow.engine.path import ROOT, owner, split
from tests.helpers import Story, ask, branch, cli, end, foreach, parallel, switch

MAX_MESSAGES = 40
NESTED = [
    parallel("p1", {"start_at": "a"}),
    cli("a", next="p2"),
    parallel("p2", {"start_at": "pay"}),
    cli("pay"),
]
PLAIN = [parallel("p", {"start_at": "a"}), cli("a"), cli("after")]


@st.composite
def lists(draw: st.DrawFn, prefix: str = "s", depth: int = 0) -> list[dict[str, Any]]:
    """A list of steps whose targets are all there, jumps both ways."""
    ids = [f"{prefix}{n}" for n in range(draw(st.integers(1, 7 if depth == 0 else 3)))]
    return [draw(steps(name, ids, depth)) for name in ids]


@st.composite
def steps(draw: st.DrawFn, id: str, ids: list[str], depth: int) -> dict[str, Any]:
    more: dict[str, Any] = {}
    kind = draw(st.sampled_from(["cli", "cli", "switch", "parallel", "parallel", "wait", "end", "foreach"]))
    if draw(st.integers(0, 3)) == 0:
        more["if"] = draw(st.sampled_from(["inputs.yes", "inputs.no"]))
    if kind == "end":
        return end(id, **more)
    if draw(st.integers(0, 3)) == 0:
        more["on_error"] = draw(st.sampled_from(["continue", {"next": draw(st.sampled_from(ids))}]))
    if kind == "switch":
        cases = draw(st.lists(st.tuples(st.booleans(), st.sampled_from(ids)), min_size=1, max_size=2))
        return switch(id, *cases, default=draw(st.sampled_from(ids)), **more)
    if draw(st.integers(0, 2)) == 0:
        more["next"] = draw(st.sampled_from(ids))
    if kind == "parallel":
        starts = draw(st.lists(st.sampled_from(ids), min_size=1, max_size=3, unique=True))
        own = draw(lists(f"{id}_", depth + 1)) if depth < 2 and draw(st.booleans()) else None
        extra = [branch(f"{id}_own", *own)] if own else []
        return parallel(id, *({"start_at": start} for start in starts), *extra, **more)
    if kind == "foreach" and depth < 2:
        return foreach(id, [1, 2], *draw(lists(f"{id}_", depth + 1)), **more)
    return ask(id, **more) if kind == "wait" else cli(id, **more)


class Visit(NamedTuple):
    """A step come to in a body of a list; before: when it was come to last, in this life of the list."""

    body: str
    step: str
    before: int | None


def lived(document: list[dict[str, Any]], data: st.DataObject) -> tuple[Program, list[Visit]]:
    """A run of *document* with outcomes that *data* chooses, as far as it goes: the visits in their order."""
    story = Story(*document, inputs={"yes": True, "no": False})
    for _ in range(MAX_MESSAGES):
        if story.run.outcome is not None or not (story.pending or story.waiting):
            break
        path = data.draw(st.sampled_from([*story.pending, *story.waiting]))
        if path in story.waiting:
            story.deliver(path, {})
        elif data.draw(st.integers(0, 4)):
            story.succeed(path)
        else:
            story.fail(path)
    visits: list[Visit] = []
    seen: set[str] = set()
    known: dict[tuple[str, str], int] = {}
    for fact in story.facts:
        if isinstance(fact, OfStep) and fact.path not in seen:
            seen.add(fact.path)
            body, step, _ = split(fact.path)
            key = (life_of(story.workflow, body), step)
            visits.append(Visit(body, step, known.get(key)))
            known[key] = len(visits)
    return story.workflow, visits


def life_of(program: Program, body: str) -> str:
    """The body in whose life of the list *body* is: a branch of the list's own steps has none."""
    while body != ROOT and is_branch_of_list(program, body):
        body = split(owner(body)[0])[0]
    return body


def is_branch_of_list(program: Program, body: str) -> bool:
    block, key = owner(body)
    step = program.step(split(block)[1]).step
    return isinstance(step, Parallel) and any(b.start_at == key for b in step.branches)


def list_of(program: Program, step: str) -> tuple[StepList, int]:
    compiled = program.step(step)
    return compiled.body, compiled.index


def ends(program: Program) -> bool:
    """Whether no branch leads back to its own parallel, which the checker refuses."""
    graphs = [steps.graph for steps in program.lists]
    return not any(g.leads_back(i) for g in graphs for i, s in enumerate(g.steps) if isinstance(s, Parallel))


def edges_between(graph: Graph, body_in_branch: bool, before: int, after: int) -> list[Edge]:
    offset = graph.end + 1 if body_in_branch else 0
    return [edge for edge in graph.out[before + offset] if edge.end == after + offset]


@example(NESTED, None)
@example(PLAIN, None)  # failed with: a step of a branch followed by what follows it on the main line
@given(lists(), st.data())
def test_the_engine_goes_where_the_graph_says(document: list[dict[str, Any]], data: Any) -> None:
    assume(ends(Program(Story(*document, begun=False).workflow.workflow)))
    program, visits = lived(document, data or Always())
    last: dict[str, Visit] = {}
    jumped: dict[str, int] = {}
    for now, visit in enumerate(visits):
        steps, index = list_of(program, visit.step)
        graph, in_branch = steps.graph, visit.body != ROOT and is_branch_of_list(program, visit.body)
        assert graph.nodes_of(index), f"{visit.step} cannot be reached, and was"
        if in_branch:
            assert index in graph.owned[steps.index[split(owner(visit.body)[0])[1]]]
        before = last.get(visit.body)
        if before is None:
            first = program.step(owner(visit.body)[1]).index if in_branch else graph.first
            assert index == first
        else:
            ways = edges_between(graph, in_branch, steps.index[before.step], index)
            assert ways, f"{before.step} leads to {visit.step}, and the graph knows no way"
            if any(way.why not in ("follow", "skip") for way in ways):
                jumped[visit.body] = now
            asked = visit.before is None or jumped.get(visit.body, -1) >= visit.before
            assert asked, f"{visit.step} ran again, and no jump leads to it"
        last[visit.body] = visit


class Always:
    """Everything succeeds, the oldest first."""

    def draw(self, strategy: Any) -> Any:
        return strategy.elements[0] if hasattr(strategy, "elements") else 1


def test_a_parallel_that_belongs_to_a_branch_runs_in_the_branch_only() -> None:
    story = Story(*NESTED, cli("after"))
    assert story.pending == ["p1[a]/a"]
    assert story.succeed("p1[a]/a").pending == ["p1[a]/p2[pay]/pay"]
    assert story.succeed("p1[a]/p2[pay]/pay").pending == ["after"]


def test_the_main_line_may_jump_to_a_step_of_a_branch_and_goes_on_behind_it() -> None:
    story = Story(
        parallel("p", {"start_at": "a"}),
        cli("a", next="shared"),
        switch("sw", (True, "shared")),
        cli("shared"),
        cli("after"),
    )
    story.succeed("p[a]/a").succeed("p[a]/shared")
    assert story.pending == ["shared"]
    assert story.succeed("shared").pending == ["after"]
