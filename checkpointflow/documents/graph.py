"""How one goes from step to step: the lists of steps of a document, and the graph of each.

The rules are those of the guide: order, `next` and other jumps within a list, the steps that belong to the
branches of a `parallel`. There is one graph: the engine goes where it says, and the checker looks at it for
whatever values there may be (of a condition both ways are open, of a step both success and failure).

A step that a `parallel` starts a branch at, and what that reaches by jumps, belongs to the branch: the main
line passes over it. A jump from the main line may lead there all the same (to an `end` that both share, say),
and then the main line goes on behind it; so a list has two layers of nodes, each step on the main line and
each step of a branch again in its branch, where nothing follows but what is jumped to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

from msgspec import UNSET, Struct

from checkpointflow.diagnostics import Path
from checkpointflow.documents.model import (
    AnyStep,
    AwaitEvent,
    Call,
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


def list_called(step: AnyStep) -> Iterator[tuple[Path, str]]:
    """Every document that *step* may run, by its name there, with the path of that within it."""
    if isinstance(step, Call | Foreach) and step.one_of:
        yield from ((("one_of", number), ref) for number, ref in enumerate(step.one_of))
    elif isinstance(step, Call | Foreach) and step.workflow_ref is not None and "${" not in step.workflow_ref:
        yield ("workflow_ref",), step.workflow_ref


class StepList:
    """A list of steps: the root's, a foreach's or a branch's.

    path: where the list stands; outer, at: the list around it, and the index there of the step that
    it belongs to; branch: the id of the branch of that step, if it is of one; level: 1 for the root;
    in_foreach: whether there is an item; maps_outputs: whether to come to its end yields the workflow's
    mapped outputs; main: of the list of `finally`, the steps that it follows, which can be seen from it.
    """

    def __init__(
        self,
        steps: Sequence[AnyStep],
        path: Path = ("workflow", "steps"),
        outer: StepList | None = None,
        at: int = 0,
        branch: str = "",
        *,
        in_foreach: bool = False,
        maps_outputs: bool = False,
        main: StepList | None = None,
    ) -> None:
        self.steps = steps
        self.path = path
        self.outer = outer
        self.at = at
        self.branch = branch
        self.in_foreach = in_foreach
        self.maps_outputs = maps_outputs
        self.main = main
        self.level: int = outer.level + 1 if outer else 1

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Where each id stands; of equal ones the first."""
        index: dict[str, int] = {}
        for i, step in enumerate(self.steps):
            index.setdefault(step.id, i)
        return index

    def find(self, step_id: str) -> AnyStep:
        """The step called *step_id*. Raises KeyError."""
        return self.steps[self.index[step_id]]

    def find_around(self, step_id: str) -> AnyStep | None:
        """The step called *step_id* of this list, or of another that is seen from it."""
        return next((body.find(step_id) for body in self.seen if step_id in body.index), None)

    @property
    def seen(self) -> list[StepList]:
        """Those whose steps can be seen from this one: itself, those around it, what `finally` follows."""
        around = [body for body, _ in self.walk_outwards()]
        return around if around[-1].main is None else [*around, around[-1].main]

    @property
    def in_finally(self) -> bool:
        """Whether it is the list of `finally`, or stands in there."""
        return any(body.main is not None for body in self.seen)

    @cached_property
    def graph(self) -> Graph:
        """The ways from step to step; all targets must be there."""
        return Graph(self)

    def path_of(self, index: int) -> Path:
        """Where the step at *index* stands in the document."""
        return (*self.path, index)

    def walk_outwards(self) -> Iterator[tuple[StepList, int | None]]:
        """This list and those around it, each with the index of the step that leads inwards."""
        yield self, None
        steps = self
        while steps.outer:
            yield steps.outer, steps.at
            steps = steps.outer


def list_steps(workflow: Workflow) -> Iterator[StepList]:
    """All lists of steps in *workflow*, each before those inside of it."""
    main = StepList(workflow.steps, maps_outputs=workflow.outputs is not None)
    yield from _list_within(main)
    if workflow.cleanup is not None:
        yield from _list_within(StepList(workflow.cleanup, ("workflow", "finally"), main=main))


def _list_within(outer: StepList) -> Iterator[StepList]:
    yield outer
    for index, step in enumerate(outer.steps):
        path = outer.path_of(index)
        if isinstance(step, Foreach) and step.body is not None:
            yield from _list_within(StepList(step.body, (*path, "body"), outer, index, in_foreach=True))
        for number, branch in enumerate(step.branches if isinstance(step, Parallel) else ()):
            if branch.steps is not None:
                at = (*path, "branches", number, "steps")
                inner = StepList(branch.steps, at, outer, index, str(branch.id), in_foreach=outer.in_foreach)
                yield from _list_within(inner)


Why = Literal["follow", "skip", "go", "error", "timeout", "enter"]


class Edge(Struct, frozen=True):
    """One way from a node to another.

    follow: on in the list; skip: the same, passed over by its `if`; go: by a jump that it decided on;
    error, timeout: after a failure, an overdue wait; enter: from a `parallel` into a branch.
    """

    start: int
    end: int
    why: Why


class Graph:
    """The nodes and edges of one list of *n* steps, whose targets are all there.

    Node i is step i on the main line, node n the end of the list (`end`), node n + 1 + i step i in a branch.
    """

    def __init__(self, steps: StepList) -> None:
        self.steps = steps.steps
        self.index = steps.index
        self.maps_outputs = steps.maps_outputs
        self.end = len(self.steps)
        self._surely_run: dict[frozenset[Why], dict[int, int]] = {}

    # Who belongs to whom

    @cached_property
    def owned(self) -> dict[int, frozenset[int]]:
        """The steps that belong to the branches of each `parallel`, whose index is the key."""
        return {i: steps - {i} for i, steps in self._in_branches_of.items()}

    @cached_property
    def _in_branches_of(self) -> dict[int, frozenset[int]]:
        """What the branches of each `parallel` come to; that can be the same step."""
        return {
            i: frozenset(find_reachable(starts, self._jumps.__getitem__))
            for i, step in enumerate(self.steps)
            if isinstance(step, Parallel)
            for starts in [[self.index[b.start_at] for b in step.branches if b.start_at is not None]]
        }

    @cached_property
    def in_branches(self) -> frozenset[int]:
        """All steps that belong to a branch; the main line passes over them."""
        return frozenset().union(*self.owned.values())

    @cached_property
    def arms(self) -> frozenset[str]:
        """The steps that some decision of the list may lead to."""
        found = ((path[0], target) for step in self.steps for path, target in targets(step))
        return frozenset(target for field, target in found if field not in ("next", "branches"))

    @cached_property
    def _jumps(self) -> list[list[int]]:
        return [[self.index[target] for _, target in targets(step)] for step in self.steps]

    def leads_back(self, index: int) -> bool:
        """Whether a branch of the `parallel` at *index* comes to that same step: it would never end."""
        return index in self._in_branches_of[index]

    # Where it goes on

    @cached_property
    def first(self) -> int:
        """The step that the main line begins with, or the end."""
        return self._next_on_main[0]

    @cached_property
    def _next_on_main(self) -> list[int]:
        """For each place of the list, the end included: the first step of the main line from there on."""
        found = [self.end] * (self.end + 1)
        for i in reversed(range(self.end)):
            found[i] = found[i + 1] if i in self.in_branches else i
        return found

    def next_in_list(self, index: int) -> int:
        """The step of the main line below the one at *index*, or the end."""
        return self._next_on_main[index + 1]

    def follow(self, index: int, *, in_branch: bool) -> int:
        """Where one goes from the step at *index* that chose no other way: to a step, or to the end.

        In a branch nothing follows by order alone. Where the end yields mapped outputs, an `end` step that a
        decision leads to is entered by that decision only, so that falling into it from the arm above
        completes the list with its outputs.
        """
        if in_branch:
            return self.end
        following = self.next_in_list(index)
        if self.maps_outputs and following != self.end:
            step = self.steps[following]
            if isinstance(step, End) and step.id in self.arms:
                return self.end
        return following

    def step_of(self, node: int) -> int:
        """The index of the step that *node* stands for, or the end."""
        return node if node <= self.end else node - self.end - 1

    def _node(self, index: int, *, in_branch: bool) -> int:
        return index + self.end + 1 if in_branch and index != self.end else index

    @cached_property
    def edges(self) -> list[Edge]:
        """All ways there are, whether or not anything leads to where they begin."""
        main = (edge for i in range(self.end) for edge in self._list_edges(i, in_branch=False))
        branches = (edge for i in sorted(self.in_branches) for edge in self._list_edges(i, in_branch=True))
        return [*main, *branches]

    def _list_edges(self, i: int, *, in_branch: bool) -> Iterator[Edge]:
        step, start = self.steps[i], self._node(i, in_branch=in_branch)
        on = self._node(self.follow(i, in_branch=in_branch), in_branch=in_branch)
        if isinstance(step, End):
            yield Edge(start, self.end, "go")
        if step.when not in (None, True):
            yield Edge(start, on, "skip")
        for path, target in targets(step):
            why = _WHYS.get(str(path[0]), "go")
            yield Edge(start, self._node(self.index[target], in_branch=in_branch or why == "enter"), why)
        named = getattr(step, "next", None)
        decides = isinstance(step, Switch) or (isinstance(step, AwaitEvent) and step.transitions != ())
        if not (named or decides or isinstance(step, End)):
            yield Edge(start, on, "follow")
        if isinstance(step, Recoverable) and step.on_error == "continue":
            yield Edge(start, self._node(self.index[named], in_branch=in_branch) if named else on, "error")

    @cached_property
    def out(self) -> dict[int, list[Edge]]:
        """The edges by the node that they begin at."""
        out: dict[int, list[Edge]] = {node: [] for node in range(2 * self.end + 1)}
        for edge in self.edges:
            out[edge.start].append(edge)
        return out

    # What can be reached

    @cached_property
    def reachable(self) -> set[int]:
        """The nodes that can be reached from the first, and the end if that can."""
        return self.find_descendants(self.first)

    def nodes_of(self, index: int) -> list[int]:
        """The nodes of the step at *index* that can be reached: on the main line, in a branch."""
        return [node for node in (index, index + self.end + 1) if node in self.reachable]

    def find_descendants(self, node: int) -> set[int]:
        """What can be reached from *node*, itself included."""
        return find_reachable([node], lambda i: (edge.end for edge in self.out[i]))

    def find_ancestors(self, node: int) -> set[int]:
        """What *node* can be reached from, itself included."""
        return find_reachable([node], self._back.__getitem__)

    @cached_property
    def _back(self) -> dict[int, list[int]]:
        back: dict[int, list[int]] = {node: [] for node in range(2 * self.end + 1)}
        for edge in self.edges:
            back[edge.end].append(edge.start)
        return back

    def find_surely_run(self, index: int, carrying: frozenset[Why]) -> int:
        """The steps that every way from the first to the step at *index* has run, as bits.

        Only a way that leaves a step by an edge of *carrying* counts as having run it. After a
        `parallel`, all steps of its branches count.
        """
        if carrying not in self._surely_run:
            self._surely_run[carrying] = self._solve(carrying)
        surely = (1 << self.end) - 1
        for node in self.nodes_of(index):
            surely &= self._surely_run[carrying][node]
        return surely

    def _solve(self, carrying: frozenset[Why]) -> dict[int, int]:
        before = {self.first: 0}
        pending = [self.first]
        while pending:
            node = pending.pop()
            for edge in self.out[node]:
                known = before.get(edge.end)
                new = before[node] | (self._bits_done[self.step_of(node)] if edge.why in carrying else 0)
                before[edge.end] = new if known is None else new & known
                if before[edge.end] != known:
                    pending.append(edge.end)
        return before

    @cached_property
    def _bits_done(self) -> list[int]:
        """The steps that have run when a step is done, as bits: itself, and those of its branches."""
        return [sum(1 << j for j in {i, *self.owned.get(i, ())}) for i in range(self.end)]


_WHYS: dict[str, Why] = {"on_error": "error", "on_timeout": "timeout", "branches": "enter"}


def find_reachable(starts: Iterable[int], onward: Callable[[int], Iterable[int]]) -> set[int]:
    """*starts* and all that one comes to from there, going *onward*."""
    reached = set(starts)
    pending = list(reached)
    while pending:
        for index in onward(pending.pop()):
            if index not in reached:
                reached.add(index)
                pending.append(index)
    return reached
