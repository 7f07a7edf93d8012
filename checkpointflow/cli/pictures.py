"""A workflow as a picture: its steps, the ways between them, and of a run how each stands.

The same picture is written for Mermaid, for Graphviz, and as text. Names of steps are safe in all of them;
conditions are escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from msgspec import Struct

from checkpointflow.cli.screen import make_visible
from checkpointflow.documents.graph import Graph, StepList, list_steps, targets
from checkpointflow.documents.model import AnyStep, AwaitEvent, End, Parallel, Switch, Workflow
from checkpointflow.engine.path import FINALLY, ROOT, owner, split
from checkpointflow.engine.run import Failed, Opened, Record, Run, Skipped, Started, Succeeded, Waiting

State = Literal["", "ahead", "skipped", "done", "waiting", "running", "failed"]
ORDER: tuple[State, ...] = ("", "ahead", "skipped", "done", "waiting", "running", "failed")

COLOURS: dict[State, str] = {
    "ahead": "#eeeeee",
    "skipped": "#dddddd",
    "done": "#c8e6c9",
    "waiting": "#fff9c4",
    "running": "#bbdefb",
    "failed": "#ffcdd2",
}
DASHED = ("skip", "error", "timeout")
MAX_LABEL = 60


class Node(Struct, frozen=True):
    """A step, or the end of a list of steps (id: ""). key: its name in the picture; state: "" is unknown."""

    key: str
    id: str
    kind: str
    state: State = "ahead"


class Arrow(Struct, frozen=True):
    """A way from one node to another; why: as an edge of the graph has it; label: the condition."""

    start: str
    end: str
    why: str
    label: str = ""


class Group(Struct, frozen=True):
    """A list of steps. title: which steps, or branch, it is; outer: the key of the step that has it."""

    title: str
    outer: str | None
    nodes: list[Node]
    arrows: list[Arrow]


def draw(workflow: Workflow, run: Run | None = None) -> list[Group]:
    """The lists of steps of *workflow*, the outermost first, with the states of *run*."""
    lists = list(list_steps(workflow))
    states = {} if run is None else _find_states(lists, run)
    return [_draw_list(number, steps, lists, states) for number, steps in enumerate(lists)]


def _draw_list(
    number: int, steps: StepList, lists: list[StepList], states: dict[tuple[int, int], State]
) -> Group:
    # What became of the steps of a body is forgotten once it has ended.
    around = "ahead" if steps.outer is None else states.get((lists.index(steps.outer), steps.at), "ahead")
    unseen: State = "ahead" if steps.outer is None or around == "ahead" else ""
    nodes = [
        Node(_key(number, i), step.id, str(step.__struct_config__.tag), states.get((number, i), unseen))
        for i, step in enumerate(steps.steps)
    ]
    arrows = list(dict.fromkeys(_list_arrows(number, steps)))
    if any(arrow.end == _key(number, len(steps.steps)) for arrow in arrows):
        nodes.append(Node(_key(number, len(steps.steps)), "", "end_of_list"))
    outer = None if steps.outer is None else _key(lists.index(steps.outer), steps.at)
    return Group(_describe_list(steps), outer, nodes, arrows)


def _list_arrows(number: int, steps: StepList) -> Iterator[Arrow]:
    graph: Graph = steps.graph
    for node, edges in graph.out.items():
        if node in graph.reachable:
            step = steps.steps[graph.step_of(node)] if graph.step_of(node) != graph.end else None
            for edge in edges:
                end = graph.step_of(edge.end)
                # An `end` step is the end: no arrow leads on from it.
                if step is not None and not (isinstance(step, End) and end == graph.end):
                    target = steps.steps[end].id if end != graph.end else ""
                    label = _find_label(step, target, edge.why)
                    yield Arrow(_key(number, graph.step_of(node)), _key(number, end), edge.why, label)


def _find_label(step: AnyStep, target: str, why: str) -> str:
    if why in ("error", "timeout"):
        return why
    if why == "skip":
        return "skipped"
    for path, named in targets(step):
        if named != target or why not in ("go", "enter"):
            continue
        match step, path:
            case Switch(cases=cases), ("cases", int(number), *_):
                return _write_condition(cases[number].when)
            case Switch(), ("default",):
                return "else"
            case AwaitEvent(transitions=transitions), ("transitions", int(number), *_):
                return _write_condition(transitions[number].when)
            case Parallel(branches=branches), ("branches", int(number), *_):
                return str(branches[number].id)
            case _:
                continue
    return ""


def _write_condition(when: Any) -> str:
    text = "else" if when is True else " ".join(str(when).split())
    text = text[2:-1].strip() if text.startswith("${") and text.endswith("}") else text
    text = make_visible(text)
    return text if len(text) <= MAX_LABEL else text[: MAX_LABEL - 1] + "…"


def _describe_list(steps: StepList) -> str:
    if steps.outer is None:
        return "" if steps.main is None else "finally"
    step = steps.outer.steps[steps.at]
    names = steps.path[len(steps.outer.path) + 1 :]
    if isinstance(step, Parallel) and len(names) > 1 and isinstance(names[1], int):
        return f"{step.id}: {step.branches[names[1]].id}"
    return f"{step.id}: each item"


def _key(number: int, index: int) -> str:
    return f"n{number}_{index}"


# How the steps of a run stand


def _find_states(lists: list[StepList], run: Run) -> dict[tuple[int, int], State]:
    """For each step of each list the state of most concern among its visits in all bodies."""
    found: dict[tuple[int, int], State] = {}
    for path, record in run.steps.items():
        body, step, _ = split(path)
        number = _find_list(lists, body)
        if number is None or step not in lists[number].index:
            continue
        place = (number, lists[number].index[step])
        found[place] = max(found.get(place, "ahead"), _find_state(record, run), key=ORDER.index)
    return found


def _find_list(lists: list[StepList], body: str) -> int | None:
    """The list that the steps of *body* stand in; None where another document describes them."""
    if body == ROOT:
        return 0
    if body == FINALLY:
        return next((n for n, steps in enumerate(lists) if steps.main is not None), None)
    block, key = owner(body)
    outer_body, step, _ = split(block)
    outer = _find_list(lists, outer_body)
    if outer is None or step not in lists[outer].index:
        return None
    at = lists[outer].index[step]
    inner = [n for n, steps in enumerate(lists) if steps.outer is lists[outer] and steps.at == at]
    owner_step = lists[outer].steps[at]
    if not isinstance(owner_step, Parallel):
        return inner[0] if inner else None
    branch = next((b for b in owner_step.branches if b.id == key), None)
    if branch is None or branch.start_at is not None:
        return outer  # the branch is made of steps of the list around it
    return next((n for n in inner if lists[n].steps is branch.steps), None)


def _find_state(record: Record, run: Run) -> State:
    match record:
        case Succeeded():
            return "done"
        case Failed():
            return "failed"
        case Waiting():
            return "waiting" if run.outcome is None else "skipped"
        case Skipped():
            return "skipped"
        case Started() | Opened():
            return "running" if run.outcome is None else "skipped"
        case _:
            return "skipped"


# Languages

_SHAPES = {
    "await_event": ("{{", "}}"),
    "switch": ("{", "}"),
    "end": ("([", "])"),
    "end_of_list": ("((", "))"),
}


def write_mermaid(groups: list[Group], *, states: bool) -> str:
    """The picture for Mermaid, as Markdown files show it."""
    return "\n".join(["flowchart TD", *_write_mermaid(groups, states)]) + "\n"


def _write_mermaid(groups: list[Group], states: bool) -> Iterator[str]:
    for number, group in enumerate(groups):
        indent = "  "
        if group.title:
            yield f'  subgraph g{number}["{group.title}"]'
            indent = "    "
        for node in group.nodes:
            left, right = _SHAPES.get(node.kind, ("[", "]"))
            mark = f":::{node.state}" if states and node.state and node.id else ""
            yield f'{indent}{node.key}{left}"{node.id or " "}"{right}{mark}'
        for arrow in group.arrows:
            line = "-.->" if arrow.why in DASHED else "-->"
            label = f'|"{_escape_mermaid(arrow.label)}"|' if arrow.label else ""
            yield f"{indent}{arrow.start} {line}{label} {arrow.end}"
        if group.title:
            yield "  end"
        if group.outer is not None:
            yield f"  {group.outer} --- g{number}"
    if states:
        yield from (f"  classDef {state} fill:{colour},stroke:#555" for state, colour in COLOURS.items())


def _escape_mermaid(text: str) -> str:
    return "".join(c if c.isalnum() or c in " .,_-=+*/!?:'()" else f"#{ord(c)};" for c in text)


def write_dot(groups: list[Group], *, states: bool) -> str:
    """The picture for Graphviz."""
    return "\n".join(["digraph workflow {", "  node [shape=box];", *_write_dot(groups, states), "}"]) + "\n"


def _write_dot(groups: list[Group], states: bool) -> Iterator[str]:
    shapes = {"await_event": "hexagon", "switch": "diamond", "end": "oval", "end_of_list": "point"}
    for number, group in enumerate(groups):
        if group.title:
            yield f"  subgraph cluster_{number} {{"
            yield f"    label={_quote_dot(group.title)};"
        for node in group.nodes:
            is_filled = states and node.state and node.id
            fill = f', style=filled, fillcolor="{COLOURS[node.state]}"' if is_filled else ""
            yield f"    {node.key} [label={_quote_dot(node.id)}, shape={shapes.get(node.kind, 'box')}{fill}];"
        for arrow in group.arrows:
            style = ", style=dashed" if arrow.why in DASHED else ""
            yield f"    {arrow.start} -> {arrow.end} [label={_quote_dot(arrow.label)}{style}];"
        if group.title:
            yield "  }"
        if group.outer is not None:
            yield f"  {group.outer} -> {group.nodes[0].key} [style=dotted];"


def _quote_dot(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def write_text(groups: list[Group], *, states: bool) -> str:
    """The picture as an indented list: each step, and where it leads."""
    return "".join(f"{line}\n" for line in _write_text(groups, None, 0, states))


def _write_text(groups: list[Group], outer: str | None, depth: int, states: bool) -> Iterator[str]:
    for group in groups:
        if group.outer != outer:
            continue
        indent = "  " * depth
        if group.title:
            yield f"{indent}{group.title}"
            indent += "  "
        ids = {node.key: node.id or "the end" for node in group.nodes}
        for place, node in enumerate(group.nodes):
            if not node.id:
                continue
            state = f" [{node.state}]" if states and node.state else ""
            leads = [a for a in group.arrows if a.start == node.key]
            plain = place + 1 < len(group.nodes) and [a.end for a in leads] == [group.nodes[place + 1].key]
            ways = "" if plain and not any(a.label for a in leads) else _write_ways(leads, ids)
            yield f"{indent}{node.id} ({node.kind}){state}{ways}"
            yield from _write_text(groups, node.key, depth + 2, states)


def _write_ways(arrows: Iterable[Arrow], ids: dict[str, str]) -> str:
    ways = [f"{ids[a.end]}{f' if {a.label}' if a.label and a.label != 'else' else ''}" for a in arrows]
    return f" -> {', '.join(ways)}" if ways else ""
