"""Warnings of references to what may not be there: a step's outcome, an input that need not be given.

Whoever asks whether something is null has thought of its absence, and what stands where the answer is known
is guarded by it: behind the `and`, in the step that has it in its `if`, in what a case or a skipped step
leads to. A guard elsewhere guards nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from checkpointflow.diagnostics import Diagnostic, Path
from checkpointflow.documents.fields import Use
from checkpointflow.documents.graph import Edge, StepList, Why, find_reachable
from checkpointflow.documents.model import Switch, properties_of
from checkpointflow.documents.program import Program
from checkpointflow.documents.references import quote_reference
from checkpointflow.expressions.syntax import (
    And,
    Call,
    Comparison,
    Constant,
    Expression,
    Node,
    Not,
    Or,
    Reference,
    operands_of,
    references,
)

MAX_STEPS = 1000  # of longer lists the flow is not looked at: that takes time by the square

Paths = frozenset[Path]
_NONE: Paths = frozenset()


_RAN: frozenset[Why] = frozenset({"follow", "go", "error", "timeout"})
_SUCCEEDED: frozenset[Why] = frozenset({"follow", "go"})
# What a step that failed need not have: it may have said nothing.
_CARRYING = dict.fromkeys(("outputs", "artifacts", "headers"), _SUCCEEDED)


def warn_of_absence(program: Program, uses: list[Use]) -> Iterator[Diagnostic]:
    """What of *uses* refers to a step that may not have succeeded, or to an input that may be absent."""
    told, guards = set(), _Guards(program)
    for use in uses:
        for path in _find_references(use):
            name, part, *_ = path[1:]
            key = (use.body.path, use.number, name)
            if key in told or _has_surely_run(name, part, use) or guards.protect(path[:2], use):
                continue
            told.add(key)
            message = f'the step "{name}" may not have run or succeeded when this asks for its {part}'
            if part != "artifacts" and _has_surely_run(name, "error", use):
                message = f'the step "{name}" may have failed without any {part}, for which this asks'
            hint = f"guard the step with if: ${{steps.{name}.{part} != null}}, or leave no way around it"
            quotes = quote_reference(use, ("steps", name, part))
            yield Diagnostic(message, use.path, hint, id="W110", quotes=quotes)
        for path in _find_optional_values(use, program):
            if (use.body.path, use.number, path) not in told and not guards.protect(path, use):
                told.add((use.body.path, use.number, path))
                name = ".".join(map(str, path))
                others = "require it, give it a `default`, or " if path[0] == "inputs" else ""
                hint = f"{others}guard this with if: ${{{name} != null}}"
                message = f"{name} may be absent, and then this fails"
                yield Diagnostic(message, use.path, hint, id="W121", quotes=quote_reference(use, path))


def _find_references(use: Use) -> Iterator[tuple[Any, ...]]:
    """Those that count: a step that has an `if` is taken to know why, and `error` is not there by rule."""
    if use.number is None or (use.field != "if" and _is_guarded(use)):
        return
    for path in references(use.expression):
        if path[0] == "steps" and path[2] != "error":
            yield path


def _is_guarded(use: Use) -> bool:
    around = ((body, use.number if at is None else at) for body, at in use.body.walk_outwards())
    return any(body.steps[at or 0].when is not None for body, at in around)


def _has_surely_run(name: str, part: str, use: Use) -> bool:
    around = use.body.walk_outwards()
    body, at = next(((body, at) for body, at in around if name in body.index), (None, None))
    if body is None:  # `finally` sees what it follows, of which nothing has surely run
        return False
    here, there = use.number if at is None else at, body.index[name]
    # A step's own outcome is there when an event is judged and artifacts are collected.
    if len(body.steps) > MAX_STEPS or (here == there and use.field in ("transitions", "artifacts")):
        return True
    return bool(body.graph.find_surely_run(here or 0, _CARRYING.get(part, _RAN)) >> there & 1)


def _find_optional_values(use: Use, program: Program) -> Iterator[Path]:
    """What *use* asks for that need not be there, as far as that: inputs, the error of `run.outcome`."""
    if use.number is not None:
        for path in references(use.expression):
            if path[0] == "inputs" and (end := _find_optional(program.workflow.inputs, path[1:])):
                yield path[: end + 1]
            elif path[:3] == ("run", "outcome", "error") and path[3:] and not _is_guarded(use):
                yield path[:3]


_OPEN = {"allOf", "anyOf", "oneOf", "if", "$ref", "dependentRequired", "dependentSchemas", "dependencies"}


def _find_optional(schema: Any, parts: Path) -> int:
    """How many of *parts* lead to what a value of *schema* need not have; 0 if it has all, or who knows."""
    for depth, part in enumerate(parts, start=1):
        properties = properties_of(schema)
        if part not in properties or _OPEN & schema.keys():
            return 0
        entry, required = properties[part], schema.get("required", ())
        if not isinstance(entry, dict) or "$ref" in entry:
            return 0
        if part not in required and "default" not in entry:
            return depth
        schema = entry
    return 0


# Guards


class _Guards:
    """Which steps of *program* are come to only where something is known to be there."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._unguarded: dict[tuple[Path, Path], set[int]] = {}

    def protect(self, path: Path, use: Use) -> bool:
        """Whether nobody comes to ask, in *use*, for what *path* leads to unless it is there."""
        if not _is_bare(use.expression.root, path, _NONE) or self._is_behind_an_arm(path, use):
            return True
        for body, at in use.body.walk_outwards():
            index = use.number if at is None else at
            assert index is not None, "only uses of steps are asked about"
            if len(body.steps) > MAX_STEPS:
                return True
            is_its_own = at is None and use.field == "if"
            if not is_its_own and _knows(self._read_if(body, index), path, truth=True):
                return True
            if not self._find_unguarded(path, body) & set(body.graph.nodes_of(index)):
                return True
        return False

    def _is_behind_an_arm(self, path: Path, use: Use) -> bool:
        """Whether an arm above that of *use* was not taken because it is there."""
        if use.step is None or use.field not in ("cases", "transitions"):
            return False
        above = self.program.step(use.step.id).arms[: int(use.path[len(use.body.path) + 2])]
        return any(_knows(condition, path, truth=False) for condition, _ in above)

    def _find_unguarded(self, path: Path, body: StepList) -> set[int]:
        """The nodes that one comes to by ways on which nobody asks whether *path* leads to something."""
        key = (body.path, path)
        if key not in self._unguarded:
            graph = body.graph
            self._unguarded[key] = find_reachable(
                [graph.first],
                lambda node: (edge.end for edge in graph.out[node] if not self._is_guard(edge, path, body)),
            )
        return self._unguarded[key]

    def _is_guard(self, edge: Edge, path: Path, body: StepList) -> bool:
        graph, index = body.graph, body.graph.step_of(edge.start)
        if _knows(self._read_if(body, index), path, truth=edge.why != "skip"):
            return True
        step, target = body.steps[index], graph.step_of(edge.end)
        if edge.why != "go" or not isinstance(step, Switch) or target == graph.end:
            return False
        known, found = False, []
        for condition, arm in self.program.step(step.id).arms:
            if body.index[arm] == target:
                found.append(known or _knows(condition, path, truth=True))
            known = known or _knows(condition, path, truth=False)
        if step.default is not None and body.index[step.default] == target:
            found.append(known)
        return all(found)

    def _read_if(self, body: StepList, index: int) -> Expression | None:
        found = self.program.step(body.steps[index].id).try_read("if")
        return found if isinstance(found, Expression) else None


def _knows(condition: Expression | None, path: Path, *, truth: bool) -> bool:
    return condition is not None and path in _imply(condition.root, len(path), truth=truth)


def _imply(node: Node, length: int, *, truth: bool) -> Paths:
    """What is there if *node* is true, or false: paths, as far as *length*."""
    match node:
        case Comparison(operator, Reference(path), Constant(None)) | Comparison(
            operator, Constant(None), Reference(path)
        ) if operator in ("==", "!="):
            return frozenset([path[:length]]) if (operator == "!=") == truth else _NONE
        case Call("default", (Reference(path), Constant(value))) if truth and not value:
            return frozenset([path[:length]])
        case Comparison("!=", Call("default", (Reference(path), Constant(one))), Constant(other)) if (
            truth and one == other
        ):
            return frozenset([path[:length]])
        case Not(operand):
            return _imply(operand, length, truth=not truth)
        case And(operands) | Or(operands):
            found = [_imply(operand, length, truth=truth) for operand in operands]
            return (
                frozenset().union(*found) if isinstance(node, And) == truth else found[0].intersection(*found)
            )
    return _NONE


def _is_bare(node: Node, path: Path, known: Paths) -> bool:
    """Whether *node* asks for what *path* leads to where it does not know that this is there."""
    match node:
        case Reference(asked):
            return asked[: len(path)] == path and path not in known
        case Comparison("==" | "!=", Reference(), Constant(None)) | Comparison(
            "==" | "!=", Constant(None), Reference()
        ):
            return False
        case Call("default", (Reference(), instead)):
            return _is_bare(instead, path, known)
        case And(operands) | Or(operands):
            for operand in operands:
                if _is_bare(operand, path, known):
                    return True
                known |= _imply(operand, len(path), truth=isinstance(node, And))
            return False
    return any(_is_bare(operand, path, known) for operand in operands_of(node))
