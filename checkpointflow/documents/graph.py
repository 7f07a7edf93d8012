"""How one goes from step to step: the lists of steps of a document, and each as a graph.

The rules are those of the guide: order, `next` and other jumps within a list, the steps that belong to
the branches of a `parallel`. A graph tells what can happen, for whatever values: of a condition both ways
are open, of a step both success and failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple

from msgspec import UNSET

from checkpointflow.diagnostics import Path
from checkpointflow.documents.model import (
    AnyStep,
    AwaitEvent,
    End,
    Foreach,
    Parallel,
    Recoverable,
    Switch,
    Workflow,
)

FIELDS_WITH_TARGETS: tuple[tuple[str, ...], ...] = (
    ("next",),
    ("transitions", "next"),
    ("cases", "next"),
    ("default",),
    ("on_timeout", "next"),
    ("on_error", "next"),
    ("branches", "start_at"),
)


def entries(value: Any, names: Sequence[str], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """What stands under *names* in *value*, for each item where a list is on the way, with its path."""
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from entries(item, names, (*path, index))
    elif names:
        inner = getattr(value, "when" if names[0] == "if" else names[0], None)
        yield from entries(inner, names[1:], (*path, names[0]))
    elif value is not None and value is not UNSET:
        yield path, value


def targets(step: AnyStep) -> Iterator[tuple[Path, str]]:
    """Every step that *step* names to go to, with the path of the name within it."""
    for names in FIELDS_WITH_TARGETS:
        yield from entries(step, names)


class Body:
    """A list of steps: the root's, a foreach's or a branch's.

    path: where the list stands; outer, at: the list around it, and the index there of the step that
    it belongs to; level: 1 for the root; in_foreach: whether there is an item.
    """

    def __init__(
        self, steps: Sequence[AnyStep], path: Path, outer: Body | None, at: int, *, in_foreach: bool
    ) -> None:
        self.steps = steps
        self.path = path
        self.outer = outer
        self.at = at
        self.in_foreach = in_foreach
        self.level: int = outer.level + 1 if outer else 1

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Where each id stands; of equal ones the first."""
        index: dict[str, int] = {}
        for i, step in enumerate(self.steps):
            index.setdefault(step.id, i)
        return index

    @cached_property
    def graph(self) -> Graph:
        return Graph(self)

    def path_of(self, index: int) -> Path:
        return (*self.path, index)

    def around(self) -> Iterator[tuple[Body, int | None]]:
        """This list and those around it, each with the index of the step that leads inwards."""
        yield self, None
        body = self
        while body.outer:
            yield body.outer, body.at
            body = body.outer


def bodies(workflow: Workflow) -> Iterator[Body]:
    """All lists of steps in *workflow*, each before those inside of it."""
    yield from _within(Body(workflow.steps, ("workflow", "steps"), None, 0, in_foreach=False))


def _within(body: Body) -> Iterator[Body]:
    yield body
    for index, step in enumerate(body.steps):
        for steps, names in _inner_lists(step):
            path = (*body.path_of(index), *names)
            in_foreach = body.in_foreach or isinstance(step, Foreach)
            yield from _within(Body(steps, path, body, index, in_foreach=in_foreach))


def _inner_lists(step: AnyStep) -> Iterator[tuple[Sequence[AnyStep], Path]]:
    if isinstance(step, Foreach) and step.body is not None:
        yield step.body, ("body",)
    if isinstance(step, Parallel):
        for number, branch in enumerate(step.branches):
            if branch.steps is not None:
                yield branch.steps, ("branches", number, "steps")


Why = Literal["follow", "skip", "go", "error", "timeout", "enter"]


class Edge(NamedTuple):
    """One way from a step to another, or to the end of the list (the index after the last).

    follow: on in the list; skip: the same, passed over by its `if`; go: by a jump that it decided on;
    error, timeout: after a failure, an overdue wait; enter: from a `parallel` into a branch.
    """

    start: int
    end: int
    why: Why


class Graph:
    """The edges of one list, whose targets are all there; `end` is the index that stands for its end."""

    def __init__(self, body: Body) -> None:
        self.steps = body.steps
        self.index = body.index
        self.end = len(body.steps)
        self.jumps = [[self.index[target] for _, target in targets(step)] for step in self.steps]
        self.owned = {
            i: frozenset(reachable_from(self._starts(step), self.jumps.__getitem__)) - {i}
            for i, step in enumerate(self.steps)
            if isinstance(step, Parallel)
        }
        self.in_branches = frozenset().union(*self.owned.values())
        self.edges = list(self._edges())
        self.out: dict[int, list[Edge]] = {i: [] for i in range(self.end + 1)}
        for edge in self.edges:
            self.out[edge.start].append(edge)
        self.first = self._on_from(-1)

    def _starts(self, step: Parallel) -> list[int]:
        return [self.index[branch.start_at] for branch in step.branches if branch.start_at is not None]

    def _on_from(self, index: int) -> int:
        """The step that follows in the list: the main line passes over those of the branches."""
        if index in self.in_branches:
            return self.end
        rest = range(index + 1, self.end)
        return next((i for i in rest if i not in self.in_branches), self.end)

    def _edges(self) -> Iterator[Edge]:
        for i, step in enumerate(self.steps):
            if isinstance(step, End):
                yield Edge(i, self.end, "go")
            if step.when not in (None, True):
                yield Edge(i, self._on_from(i), "skip")
            for path, target in targets(step):
                yield Edge(i, self.index[target], _why(path))
            yield from self._edges_on(i, step)

    def _edges_on(self, i: int, step: AnyStep) -> Iterator[Edge]:
        """Where it goes when it names no step to go to."""
        following = self._on_from(i)
        named = getattr(step, "next", None)
        decides = isinstance(step, Switch) or (isinstance(step, AwaitEvent) and step.transitions != ())
        if not (named or decides or isinstance(step, End)):
            yield Edge(i, following, "follow")
        if isinstance(step, Recoverable) and step.on_error == "continue":
            yield Edge(i, self.index[named] if named else following, "error")

    @cached_property
    def reachable(self) -> set[int]:
        """The steps that can be reached from the first, and the end if that can."""
        return self.reached_from(self.first)

    def reached_from(self, index: int) -> set[int]:
        """What can be reached from *index*, itself included."""
        return reachable_from([index], lambda i: (edge.end for edge in self.out[i]))

    def leading_to(self, index: int) -> set[int]:
        """What *index* can be reached from, itself included."""
        return reachable_from([index], self._back.__getitem__)

    @cached_property
    def _back(self) -> dict[int, list[int]]:
        back: dict[int, list[int]] = {i: [] for i in range(self.end + 1)}
        for edge in self.edges:
            back[edge.end].append(edge.start)
        return back

    def run_before(self, index: int, carrying: frozenset[Why]) -> int:
        """The steps that every way from the first to *index* has run, as bits.

        Only a way that leaves a step by an edge of *carrying* counts as having run it. After a
        `parallel`, all steps of its branches count.
        """
        known = self._run_before.get(carrying)
        if known is None:
            known = self._run_before[carrying] = self._solve(carrying)
        return known[index]

    @cached_property
    def _run_before(self) -> dict[frozenset[Why], list[int]]:
        return {}

    def _solve(self, carrying: frozenset[Why]) -> list[int]:
        everything = (1 << self.end) - 1
        before: list[int | None] = [None] * (self.end + 1)
        before[self.first] = 0
        pending = [self.first]
        while pending:
            i = pending.pop()
            for edge in self.out[i]:
                known = before[edge.end]
                new = (before[i] or 0) | self._gained(edge, carrying)
                before[edge.end] = new if known is None else new & known
                if before[edge.end] != known:
                    pending.append(edge.end)
        return [everything if known is None else known for known in before]

    def _gained(self, edge: Edge, carrying: frozenset[Why]) -> int:
        """What has run, beyond what had, once a way has taken *edge*."""
        return self._done_by[edge.start] if edge.why in carrying else 0

    @cached_property
    def _done_by(self) -> list[int]:
        """The steps that have run when a step is done, as bits: itself, and those of its branches."""
        return [sum(1 << j for j in {i, *self.owned.get(i, ())}) for i in range(self.end)]


def _why(path: Path) -> Why:
    match path[0]:
        case "on_error":
            return "error"
        case "on_timeout":
            return "timeout"
        case "branches":
            return "enter"
        case _:
            return "go"


def reachable_from(starts: Iterable[int], onward: Callable[[int], Iterable[int]]) -> set[int]:
    """*starts* and all that one comes to from there, going *onward*."""
    reached = set(starts)
    pending = list(reached)
    while pending:
        for index in onward(pending.pop()):
            if index not in reached:
                reached.add(index)
                pending.append(index)
    return reached
