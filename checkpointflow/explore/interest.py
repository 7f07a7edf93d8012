"""What a document looks at, and what it compares that with: all that values made up for it must tell apart.

A value comes from one of few sources: the inputs of the run, and what steps come to. Expressions see it under
many names, since it passes through `item`, the inputs and results of called workflows, and the outputs of
blocks. Each reference is traced back to its sources, and what it is compared with is kept there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any, TypeAlias

from msgspec import Struct

from checkpointflow.documents.fields import Use
from checkpointflow.documents.graph import StepList
from checkpointflow.documents.model import AnyStep, Call, End, Foreach, Parallel, Switch, properties_of
from checkpointflow.documents.program import Program
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

DECIDING = ("if", "transitions", "cases", "items")
KNOWN_NAMES = frozenset({"inputs", "steps", "event", "item", "item_index", "run", "secrets"})
LIMITS = ("const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
ELEMENT = "*"
MAX_HOPS = 32


class Part:
    """A part of a value: what it is compared with, whether anything is decided by it, the parts of it.

    kinds: those that all who compute with it take.
    """

    def __init__(self) -> None:
        self.literals: list[Any] = []
        self.decides = False
        self.kinds: tuple[str, ...] = ()
        self.parts: dict[str, Part] = {}

    @property
    def matters(self) -> bool:
        """Whether anything is decided by it, or by a part of it."""
        return self.decides or any(part.matters for part in self.parts.values())

    def compare(self, literals: Iterable[Any], *, decides: bool) -> None:
        """It is looked at beside *literals*; true is not 1."""
        known = {repr(literal) for literal in self.literals}
        self.literals += [literal for literal in literals if repr(literal) not in known]
        self.decides = self.decides or decides

    def want(self, kinds: tuple[str, ...]) -> None:
        """Somebody computes with it who takes only *kinds*."""
        self.kinds = tuple(kind for kind in self.kinds if kind in kinds) or kinds

    def at(self, path: Iterable[str | int]) -> Part:
        """The part that *path* leads to, made if it is new; all elements of a list are one."""
        part = self
        for name in path:
            key = ELEMENT if isinstance(name, int) or name.isdigit() else name
            part = part.parts.setdefault(key, Part())
        return part


Key: TypeAlias = tuple[Program, str, str]
"""A source: the workflow; the step, or nothing for the inputs; `inputs`, `outputs`, `exit_code`, …"""
Place: TypeAlias = tuple[Program, StepList]


class Interest:
    """By sources, what *program* and all that it calls look at. doubts: why that may not be all."""

    def __init__(self, program: Program) -> None:
        self.root = program
        self.doubts: dict[str, None] = {}
        self._parts: dict[Key, Part] = {}
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

    def add_condition(self, body: StepList, expression: Expression) -> None:
        """A condition that the document does not have, asked in *body* of the workflow itself."""
        self._add(self.root, body, expression, decides=True)

    def _find_callers(self, program: Program) -> None:
        for compiled in program.steps:
            ref = getattr(compiled.step, "workflow_ref", None)
            if ref is not None:
                called = program.called[ref]
                is_new = called not in self._callers
                self._callers.setdefault(called, []).append(((program, compiled.body), compiled.step))
                if is_new:
                    self._find_callers(called)

    def _add_use(self, program: Program, use: Use) -> None:
        step, body = use.step, use.body
        if isinstance(step, Foreach) and use.field in ("inputs", "key", "workflow_ref"):
            body = self._enter((program, body), step)[1]
        event = step.id if step is not None else ""
        self._add(program, body, use.expression, decides=use.field in DECIDING, event=event)

    def _add(
        self, program: Program, body: StepList, expression: Expression, *, decides: bool, event: str = ""
    ) -> None:
        for paths, literals in self._group(expression.root, decides=decides):
            for path in paths:
                if any(str(name).isdigit() and int(name) > 1 for name in path):
                    self.doubts["an element beyond the second of a list is looked at"] = None
                if path[0] not in KNOWN_NAMES:
                    self.doubts[f"what `{path[0]}` holds is not made up"] = None
                whole: Path = ("steps", event, "outputs", *path[1:]) if path[0] == "event" else path
                for key, rest in self._trace((program, body), whole, 0):
                    self.of(*key).at(rest).compare(literals, decides=decides)
        for path, kinds in _list_wanted(expression.root):
            for key, rest in self._trace((program, body), path, 0):
                self.of(*key).at(rest).want(kinds)

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

    def _group(self, node: Struct, *, decides: bool) -> Iterator[tuple[list[Path], list[Any]]]:
        """The paths in *node* that are looked at together, and the literals beside them."""
        match node:
            case And(operands) | Or(operands):
                for operand in operands:
                    yield from self._group(operand, decides=decides)
            case Not(operand):
                yield from self._group(operand, decides=decides)
            case _:
                nodes = list(_walk(node))
                paths = [n.path for n in nodes if isinstance(n, Reference)]
                literals = [n.value for n in nodes if isinstance(n, Constant)]
                if decides and len(paths) > 1:
                    literals += [1, 2, "x", "y"]
                    self.doubts["two values are compared with each other"] = None
                if any(not isinstance(n, Comparison | Reference | Constant) for n in nodes):
                    self.doubts["an expression computes with values"] = None
                yield paths, literals

    # Where a value comes from

    def _trace(self, place: Place, path: Path, hops: int) -> Iterator[tuple[Key, Path]]:
        """The sources that *path*, asked at *place*, leads back to, each with the rest of the way there."""
        if hops > MAX_HOPS:
            self.doubts["where a value comes from is too long a way"] = None
            return
        program, _ = place
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
            case ("steps", str() as name, str() as what, *rest):
                yield (program, name, what), tuple(rest)

    def _enter(self, place: Place, step: AnyStep) -> Place:
        """Where the inputs of a called workflow are read: a foreach sees its own items there."""
        program, body = place
        if not isinstance(step, Foreach):
            return place
        return program, StepList((), (), body, body.index[step.id], in_foreach=True)

    def _trace_item(self, place: Place, rest: Path, hops: int) -> Iterator[tuple[Key, Path]]:
        program, body = place
        around = (
            (inner.outer, inner.outer.steps[inner.at]) for inner, _ in body.walk_outwards() if inner.outer
        )
        outer, step = next(found for found in around if isinstance(found[1], Foreach))
        yield from self._trace_value(
            (program, outer), program.step(step.id).try_read("items"), (0, *rest), hops
        )

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
            case Call(workflow_ref=ref):
                yield from self._trace_result(program.called[ref], rest, hops)
            case Foreach(workflow_ref=str() as ref):
                yield from self._trace_result(program.called[ref], rest[2:], hops)
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


def _list_wanted(node: Node) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The paths in *node* whose values must be of some kinds, to compute with them."""
    operands, wanted = operands_of(node), tuple[tuple[str, ...], ...]()
    match node:
        case Arithmetic():
            wanted = (("a number",),) * len(operands)
        case Function(name):
            wanted = FUNCTIONS[name].takes
        case Comparison("in"):
            wanted = ((), HOLDERS)
    for operand, kinds in zip_longest(operands, wanted, fillvalue=()):
        if isinstance(operand, Reference) and kinds:
            yield operand.path, kinds
    for operand in operands:
        yield from _list_wanted(operand)


def _walk(node: Any) -> Iterator[Struct]:
    """*node* and all nodes below it, of whatever kinds there are."""
    if isinstance(node, Struct):
        yield node
        for name in node.__struct_fields__:
            if not isinstance(node, Constant | Reference):
                yield from _walk(getattr(node, name))
    elif isinstance(node, tuple):
        for inner in node:
            yield from _walk(inner)
