"""What a document looks at, and what it compares that with: all that values made up for it must tell apart.

A value comes from one of few sources: the inputs of the run, and what steps come to. Expressions see it under
many names, since it passes through `item`, the inputs and results of called workflows, and the outputs of
blocks. Each reference is traced back to its sources, and what it is compared with is kept there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any, TypeAlias

from checkpointflow.documents.fields import Use
from checkpointflow.documents.graph import StepList, list_called
from checkpointflow.documents.model import AnyStep, Call, End, Foreach, Parallel, Range, Switch, properties_of
from checkpointflow.documents.program import Program
from checkpointflow.explore.parts import JSON_TEXT, MAX_SIZE, Part
from checkpointflow.expressions.functions import FUNCTIONS, HOLDERS
from checkpointflow.expressions.syntax import (
    And,
    Arithmetic,
    Comparison,
    Constant,
    Expression,
    Node,
    Not,
    Or,
    Path,
    Reference,
    operands_of,
    references,
)
from checkpointflow.expressions.syntax import Call as Function
from checkpointflow.expressions.templates import Template, holes

DECIDING = ("if", "transitions", "cases", "items", "invariants")
WITH_ITEM = ("inputs", "key", "workflow_ref")
"""Fields of a foreach that stand in it and see its items."""
NUMBERS = ("timeout_seconds", "retry", "lock", "max_concurrency", "success")
"""Fields of steps in which numbers stand, but for the key of a lock."""
LIMITS = ("const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
MAX_HOPS = 32
FAR = "an element far behind in a list is looked at"
COMPUTES = "an expression computes with values"


Key: TypeAlias = tuple[Program, str, str]
"""A source: the workflow; the step, or nothing for the inputs; `inputs`, `outputs`, `exit_code`, …"""
Place: TypeAlias = tuple[Program, StepList]


class Interest:
    """By sources, what *program* and all that it calls look at. doubts: why that may not be all."""

    def __init__(self, program: Program) -> None:
        self.root = program
        self.doubts: dict[str, None] = {}
        self._parts: dict[Key, Part] = {}
        self._traced: set[tuple[Program, StepList, Path]] = set()
        self._inside: dict[tuple[Program, str], StepList] = {}
        self._callers: dict[Program, list[tuple[Place, AnyStep]]] = {program: []}
        self._find_callers(program)
        for called in self.programs:
            for use in called.uses():
                if isinstance(use, Use):
                    self._add_use(called, use)
            self._add_demands(called)

    @property
    def programs(self) -> list[Program]:
        """The workflow, and all that it calls."""
        return list(self._callers)

    def of(self, program: Program, step: str, what: str) -> Part:
        """What is looked at of that source."""
        return self._parts.setdefault((program, step, what), Part())

    def _find_callers(self, program: Program) -> None:
        for compiled in program.steps:
            for _, ref in list_called(compiled.step):
                called = program.called[ref]
                is_new = called not in self._callers
                self._callers.setdefault(called, []).append(((program, compiled.body), compiled.step))
                if is_new:
                    self._find_callers(called)

    def _add_use(self, program: Program, use: Use) -> None:
        step, place = use.step, (program, use.body)
        if isinstance(step, Foreach) and use.field in WITH_ITEM:
            place = self._enter(place, step)
        event = step.id if step is not None else ""
        self._add(*place, use.expression, decides=use.field in DECIDING, event=event)
        if isinstance(root := use.expression.root, Reference):
            for part in self._find(place, root.path, event):
                _add_field(part, use)

    def _find(self, place: Place, path: Path, event: str = "") -> Iterator[Part]:
        """The parts that *path* leads to, asked at *place*; event: the step that awaits it."""
        whole: Path = ("steps", event, "outputs", *path[1:]) if path[0] == "event" else path
        for key, rest in self._trace(place, whole, 0):
            yield self.of(*key).at(rest)

    def _add(
        self, program: Program, body: StepList, expression: Expression, *, decides: bool, event: str = ""
    ) -> None:
        place = (program, body)
        for paths, literals in self._group(expression.root, decides=decides):
            for path in paths:
                if any(str(name).isdigit() and int(name) >= MAX_SIZE for name in path):
                    self.doubts[FAR] = None
                for part in self._find(place, path, event):
                    part.compare(literals, decides=decides)
        for node in list_nodes(expression.root):
            self._add_wants(place, node, event, decides=decides)

    def _add_wants(self, place: Place, node: Node, event: str, *, decides: bool) -> None:
        """What *node*, which computes, wants of the values right in it."""
        for operand, kinds in zip_longest(operands_of(node), _list_kinds_taken(node), fillvalue=()):
            if isinstance(operand, Reference) and kinds:
                for part in self._find(place, operand.path, event):
                    part.want(kinds)
        match node:
            case Comparison("in", Constant(value), Reference(path)) | Function(
                "contains", (Reference(path), Constant(value))
            ):
                for part in self._find(place, (*path, 0), event):
                    part.compare([value], decides=decides)
            case Function("default", (Reference(path), _)):
                for part in self._find(place, path, event):
                    part.compare([None], decides=False)
            case Function("matches", (Reference(path), Constant(pattern))):
                for part in self._find(place, path, event):
                    part.patterns.append(pattern)
            case Comparison(_, Function("length", (Reference(path),)), Constant(int() as size)):
                for part in self._find(place, path, event):
                    part.measure(size - 1, size, size + 1)
            case Comparison(_, Reference(("item_index" | "item" as name,)), Constant(int() as index)):
                outer, step = _find_foreach(place[1])
                if name == "item_index" or isinstance(step.items, Range):
                    items = place[0].step(step.id).try_read("items")
                    for key, rest in self._trace_value((place[0], outer), items, (), 0):
                        self.of(*key).at(rest).measure(index, index + 1, index + 2)

    def _add_demands(self, program: Program) -> None:
        """What the schemas of its inputs and outputs ask of values that come from elsewhere."""
        wanted = properties_of(program.workflow.outputs)
        for name, source in program.mapping:
            self._add_demand((program, program.root), source, wanted[name])
        for around, step in self._callers[program]:
            inputs = around[0].step(step.id).try_read("inputs")
            for name, schema in properties_of(program.workflow.inputs).items():
                self._add_demand(self._enter(around, step), (inputs or {}).get(name), schema)

    def _add_demand(self, place: Place, value: Any, schema: Any) -> None:
        known = schema if isinstance(schema, dict) else {}
        literals = [known[word] for word in LIMITS if word in known] + list(known.get("enum", ()))
        for key, rest in self._trace_value(place, value, (), 0) if literals else ():
            self.of(*key).at(rest).compare(literals, decides=True)

    def _group(self, node: Node, *, decides: bool) -> Iterator[tuple[list[Path], list[Any]]]:
        """The paths in *node* that are looked at together, and the literals beside them."""
        match node:
            case And(operands) | Or(operands):
                for operand in operands:
                    yield from self._group(operand, decides=decides)
            case Not(operand):
                yield from self._group(operand, decides=decides)
            case _:
                nodes = list(list_nodes(node))
                paths = [n.path for n in nodes if isinstance(n, Reference)]
                literals = list(_list_literals(node))
                if decides and len(paths) > 1:
                    literals += [1, 2, "x", "y"]
                    self.doubts["two values are compared with each other"] = None
                if decides and not _is_understood(node):
                    self.doubts[COMPUTES] = None
                yield paths, literals

    # Where a value comes from

    def _trace(self, place: Place, path: Path, hops: int) -> Iterator[tuple[Key, Path]]:
        """The sources that *path*, asked at *place*, leads back to, each with the rest of the way there."""
        if hops > MAX_HOPS:
            self.doubts["where a value comes from is too long a way"] = None
            return
        program, body = place
        if hops == 0:
            self._traced.clear()
        if (program, body, path) in self._traced:  # a value may come from itself, among others
            return
        self._traced.add((program, body, path))
        match path:
            case ("inputs", *rest) if program is self.root:
                yield (program, "", "inputs"), tuple(rest)
            case ("inputs", *rest):
                for around, step in self._callers[program]:
                    inputs = around[0].step(step.id).try_read("inputs")
                    yield from self._trace_value(self._enter(around, step), inputs, tuple(rest), hops + 1)
            case ("item", *rest):
                yield from self._trace_item(place, tuple(rest), hops + 1)
            case ("steps", str() as name, "outputs", *rest):
                yield from self._trace_outputs(place, name, tuple(rest), hops + 1)
            case ("steps", str() as name, "error" | "exit_code" | "status_code" as what, *rest):
                home = next(known for known in place[1].seen if name in known.index)
                for failing in self._list_failing(program, home, home.index[name]):
                    yield (*failing, what), tuple(rest)
            case ("steps", str() as name, str() as what, *rest):
                yield (program, name, what), tuple(rest)
            case ("run", "outcome", "error", *rest):
                for index in range(len(program.root.steps)):
                    for failing in self._list_failing(program, program.root, index):
                        yield (*failing, "error"), tuple(rest)
            case ("env", *rest):
                yield (self.root, "", "env"), tuple(rest)

    def _list_failing(self, program: Program, body: StepList, index: int) -> Iterator[tuple[Program, str]]:
        """The steps whose failure can be that of the one at *index* of *body*: it, or those in its bodies."""
        yield program, body.steps[index].id
        for owned in sorted(body.graph.owned.get(index, ())):
            yield from self._list_failing(program, body, owned)
        for inner in program.lists:
            if inner.outer is body and inner.at == index:
                for at in range(len(inner.steps)):
                    yield from self._list_failing(program, inner, at)
        for _, ref in list_called(body.steps[index]):
            called = program.called[ref]
            for steps in (called.root, called.cleanup):
                if steps is not None:
                    for at in range(len(steps.steps)):
                        yield from self._list_failing(called, steps, at)

    def _enter(self, place: Place, step: AnyStep) -> Place:
        """Where the inputs of a called workflow are read: a foreach sees its own items there."""
        program, body = place
        if not isinstance(step, Foreach):
            return place
        inside = StepList((), (), body, body.index[step.id], in_foreach=True)
        return program, self._inside.setdefault((program, step.id), inside)

    def _trace_item(self, place: Place, rest: Path, hops: int) -> Iterator[tuple[Key, Path]]:
        outer, step = _find_foreach(place[1])
        items = place[0].step(step.id).try_read("items")
        yield from self._trace_value((place[0], outer), items, (0, *rest), hops)

    def _trace_value(self, place: Place, value: Any, rest: Path, hops: int) -> Iterator[tuple[Key, Path]]:
        match value:
            case Expression(root=Reference(path)) | Template(pieces=(Expression(root=Reference(path)),)):
                yield from self._trace(place, (*path, *rest), hops)
            case Template() as template:
                self.doubts["a condition looks at text that is put together"] = None
                for expression in holes(template):
                    for path in references(expression):
                        yield from self._trace(place, path, hops)
            case dict() if rest:
                yield from self._trace_value(place, value.get(rest[0]), rest[1:], hops)
            case list() if rest:
                for element in value:
                    yield from self._trace_value(place, element, rest[1:], hops)
            case dict():
                for member in value.values():
                    yield from self._trace_value(place, member, (), hops)
            case list():
                for element in value:
                    yield from self._trace_value(place, element, (), hops)

    def _trace_outputs(self, place: Place, name: str, rest: Path, hops: int) -> Iterator[tuple[Key, Path]]:
        program, body = place
        home = next(known for known in body.seen if name in known.index)
        step = home.find(name)
        match step:
            case Switch():
                return
            case End():
                result = program.step(name).try_read("result")
                yield from self._trace_value((program, home), result, rest, hops)
            case Foreach() if rest[:1] == ("failures",) and rest[2:3] == ("item",):
                yield from self._trace_item(self._enter((program, home), step), rest[3:], hops)
            case Foreach() if rest[:1] == ("failures",):
                for failing in self._list_failing(program, home, home.index[name]) if rest[2:] else ():
                    yield (*failing, str(rest[2])), rest[3:]
            case Call() | Foreach(body=None):
                for _, ref in list_called(step):
                    of_one = rest if isinstance(step, Call) else rest[2:]
                    yield from self._trace_result(program.called[ref], of_one, hops)
            case Foreach():
                yield from self._trace_body((program, program.inner_list(name)), rest[2:], hops)
            case Parallel(branches=branches):
                for branch in branches:
                    if not rest or rest[0] == (branch.id or branch.start_at):
                        inner = home if branch.steps is None else program.inner_list(name, str(branch.id))
                        yield from self._trace_body((program, inner), rest[1:], hops)
            case _:
                yield (program, name, "outputs"), rest

    def _trace_body(self, place: Place, rest: Path, hops: int) -> Iterator[tuple[Key, Path]]:
        """What an iteration or a branch puts out: what its steps do, or its end says."""
        for step in place[1].steps:
            if isinstance(step, End):
                yield from self._trace_outputs(place, step.id, rest, hops)
            elif not rest or rest[0] == step.id:
                yield from self._trace(place, ("steps", step.id, "outputs", *rest[1:]), hops + 1)

    def _trace_result(self, program: Program, rest: Path, hops: int) -> Iterator[tuple[Key, Path]]:
        """What a called workflow comes to: its mapped outputs, or what an end says."""
        place = (program, program.root)
        for name, source in program.mapping:
            if isinstance(source, Expression) and (not rest or rest[0] == name):
                yield from self._trace_value(place, source, rest[1:], hops)
        for step in program.root.steps:
            if isinstance(step, End):
                yield from self._trace_outputs(place, step.id, rest, hops)


def _add_field(part: Part, use: Use) -> None:
    """What the field wants of *part*, which stands there as it is."""
    step, names = use.step, [str(name) for name in use.path if isinstance(name, str)]
    field = names[2] if use.field == "defaults" else use.field
    if field == "items" and isinstance(step, Foreach) and isinstance(step.items, Range):
        part.want(("a number",))
        part.measure(0, 1, 2)
    elif field == "items" and use.path[-1] == "items":
        part.want(("a list",))
    elif field == "key":
        part.is_key = True
    elif field in NUMBERS and names[-1] != "key":
        part.want(("a number",))
        if names[-1] in ("on", "status_codes"):
            part.choices += [500]
    elif field == "workflow_ref" and isinstance(step, Call | Foreach):
        part.choices += _find_choices(str(step.workflow_ref), step.one_of)
        part.compare(part.choices, decides=True)


def _find_foreach(body: StepList) -> tuple[StepList, Foreach]:
    """The nearest foreach around *body*, and the list that it stands in."""
    around = [(outer, outer.steps[at]) for outer, at in body.walk_outwards() if at is not None]
    return next((outer, step) for outer, step in around if isinstance(step, Foreach))


def _find_choices(text: str, refs: Iterable[str]) -> list[str]:
    """What must stand in the one hole of *text* to make it one of *refs*."""
    before, _, rest = text.partition("${")
    after = rest.rpartition("}")[2]
    fitting = (ref for ref in refs if ref.startswith(before) and ref.endswith(after))
    return [ref[len(before) : len(ref) - len(after)] for ref in fitting]


def list_nodes(node: Node) -> Iterator[Node]:
    """*node* and all nodes below it."""
    yield node
    for operand in operands_of(node):
        yield from list_nodes(operand)


def _list_literals(node: Node) -> Iterator[Any]:
    """The literals in *node*; of a list that something is looked for in, its elements."""
    match node:
        case Constant(value):
            yield value
        case Comparison("in", left, Constant(list() as values)):
            yield from (*_list_literals(left), *values)
        case _:
            for operand in operands_of(node):
                yield from _list_literals(operand)


def _list_kinds_taken(node: Node) -> tuple[tuple[str, ...], ...]:
    """The kinds of values that *node* takes of each of its operands; none stands for any."""
    match node:
        case Arithmetic(operands):
            return (("a number",),) * len(operands)
        case Function("from_json"):
            return ((JSON_TEXT,),)
        case Function(name):
            return FUNCTIONS[name].takes
        case Comparison("in"):
            return ((), HOLDERS)
    return ()


def _is_understood(node: Node) -> bool:
    """Whether the literals in *node*, and what is beside them, are all that its value depends on."""
    match node:
        case Comparison("in", left, Constant(list())):
            return isinstance(left, Reference)
        case Comparison("in"):
            return False
        case Comparison(_, left, right):
            return _is_understood(left) and _is_understood(right)
        case Function("length" | "default", operands):
            return all(isinstance(operand, Reference | Constant) for operand in operands)
    return isinstance(node, Reference | Constant)
