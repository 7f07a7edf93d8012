"""Values that are known in part, and what expressions make of them before a run has come so far.

What a step will put out is known later; so is all that is made of it. A condition on it may be decided all
the same, as by the side of `and` that is known to be false.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from msgspec import UNSET, Struct

from checkpointflow.errors import EvaluationError, ExpressionError
from checkpointflow.expressions.evaluation import evaluate, holds
from checkpointflow.expressions.syntax import (
    And,
    Call,
    Comparison,
    Constant,
    Expression,
    Node,
    Not,
    Or,
    Path,
    Reference,
    references,
)
from checkpointflow.expressions.templates import Template
from checkpointflow.expressions.values import as_text, read_spelling

Known: TypeAlias = dict[str, Any]
"""What is known of steps, by their ids, as expressions see them; of one that is not there, that it is not."""


class Later(Struct, frozen=True):
    """What is known later, if it is there at all.

    shown: how it reads until then; parts: what is known of it.
    """

    shown: str
    parts: dict[str | int, Any] = {}

    def at(self, part: str | int) -> Any:
        """The part of it."""
        if part in self.parts:
            return self.parts[part]
        return Later(f"{self.shown.removesuffix('›')}{f'[{part}]' if isinstance(part, int) else f'.{part}'}›")

    def __contains__(self, part: object) -> bool:
        return part in self.parts

    def __getitem__(self, part: str | int) -> Any:
        return self.parts[part]


Mapping.register(Later)  # of what is known of it: so whoever asks for that finds it


def name_later(text: str, parts: dict[str | int, Any] | None = None) -> Later:
    """What is known later, and called *text* until then."""
    return Later(f"‹{' '.join(text.split()).replace('steps.', '')}›", parts or {})


def is_later(value: Any) -> bool:
    """Whether any of it is known later only."""
    if isinstance(value, dict | list):
        return any(map(is_later, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Later)


def show(value: Any) -> Any:
    """*value* as JSON, what is known later by its name."""
    match value:
        case Later(shown):
            return shown
        case dict():
            return {key: show(member) for key, member in value.items()}
        case list():
            return [show(element) for element in value]
        case _:
            return value


def join(one: Any, other: Any, name: str) -> Any:
    """What is known of what is called *name* and is either of the two; UNSET: it is not there.

    It is *one* itself if that is not known any less.
    """
    match one, other:
        case dict(), dict():
            inner = f"{name}." if name else ""
            odd = [key for key in {**one, **other} if one.get(key, UNSET) is not other.get(key, UNSET)]
            known = {key: join(one.get(key, UNSET), other.get(key, UNSET), f"{inner}{key}") for key in odd}
            is_new = any(known[key] is not one.get(key) for key in odd)
            return {**one, **known} if is_new else one  # of many members, few differ
        case Later(shown, parts), Later(same, others) if shown == same:
            both = {key: parts[key] for key in parts if repr(parts[key]) == repr(others.get(key))}
            return one if both == parts else Later(shown, both)
        case _:
            joined = one if repr(one) == repr(other) else name_later(name)
            return one if one == joined else joined


# What expressions make of it


def decide(condition: Expression, scope: Mapping[str, Any]) -> bool | None:
    """Whether it holds, None if that is known later. Raises EvaluationError."""
    return _decide(condition.root, condition.text, scope)


def find_value(expression: Expression, scope: Mapping[str, Any]) -> Any:
    """Its value, of which some may be known later. Raises EvaluationError."""
    return _find(expression.root, expression.text, scope)


def fill(compiled: Any, scope: Mapping[str, Any]) -> Any:
    """The value of *compiled*, its holes filled in as far as they are known. Raises EvaluationError."""
    match compiled:
        case Template(pieces=(Expression() as expression,)):
            return find_value(expression, scope)
        case Template(pieces):
            values = [piece if isinstance(piece, str) else find_value(piece, scope) for piece in pieces]
            text = "".join(as_text(show(value)) for value in values)
            return Later(text) if is_later(values) else text
        case dict():
            return {key: fill(member, scope) for key, member in compiled.items()}
        case list():
            return [fill(element, scope) for element in compiled]
        case ExpressionError():
            raise compiled.with_traceback(None)
        case _:
            return compiled


def _find(node: Node, text: str, scope: Mapping[str, Any]) -> Any:
    match node:
        case And() | Or() | Not():
            truth = _decide(node, text, scope)
            return name_later(text) if truth is None else truth
        case Reference(path) if (later := _follow(path, scope)) is not UNSET:
            return later
        case Call("default", (first, second)) if not _looks_ahead(first, scope):
            value = evaluate(Expression(text, Call("default", (first, Constant(None)))), scope)
            return _find(second, text, scope) if value is None else value
        case _ if _looks_ahead(node, scope):
            return name_later(text)
        case _:
            return evaluate(Expression(text, node), scope)


def _decide(node: Node, text: str, scope: Mapping[str, Any]) -> bool | None:
    match node:
        case Not(operand):
            truth = _decide(operand, text, scope)
            return None if truth is None else not truth
        case And(operands) | Or(operands):
            return _decide_all(operands, text, scope, stop=isinstance(node, Or))
        case _:
            value = _find(node, text, scope)
            return None if is_later(value) else holds(Expression(text, node), scope)


def _decide_all(
    operands: tuple[Node, ...], text: str, scope: Mapping[str, Any], *, stop: bool
) -> bool | None:
    is_sure = True
    for operand in operands:
        try:
            truth = _decide(operand, text, scope)
        except EvaluationError:
            if is_sure:
                raise
            truth = None  # it may be that nobody comes to look at it
        if truth is stop:
            return stop
        is_sure = is_sure and truth is not None
    return not stop if is_sure else None


def _looks_ahead(node: Node, scope: Mapping[str, Any]) -> bool:
    """Whether it refers to what is known later."""
    return any(_follow(path, scope) is not UNSET for path in references(Expression("", node)))


def _follow(path: Path, scope: Mapping[str, Any]) -> Any:
    """What *path* leads to, if any of it is known later; else UNSET."""
    value: Any = scope
    for part in path:
        if isinstance(value, Later):
            value = value.at(part)
        elif isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and str(part).isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return UNSET
    return value if is_later(value) else UNSET


# What a condition that holds tells


def learn(
    known: Known, condition: Node, event: Path, is_boolean: Callable[[Path], bool], *, truth: bool = True
) -> Known:
    """*known*, with what follows if *condition* holds (or not: *truth*). event: what `event` stands for."""
    match condition:
        case And(operands) if truth:
            for operand in operands:
                known = learn(known, operand, event, is_boolean)
        case Not(operand):
            return learn(known, operand, event, is_boolean, truth=not truth)
        case Comparison("==", Reference(path), Constant(str() as value)) if truth:
            # No other value is equal to a text that spells nothing else.
            known = _put(known, _find_place(path, event), value) if read_spelling(value) is value else known
        case Reference(path) if is_boolean(_find_place(path, event)):
            known = _put(known, _find_place(path, event), truth)
    return known


def _find_place(path: Path, event: Path) -> Path:
    whole = (*event, *path[1:]) if path[0] == "event" else path
    return whole[1:] if whole[0] == "steps" else ()


def _put(value: Any, path: Path, found: Any) -> Any:
    """*value*, in which what *path* leads to is *found*, if that was to be known later."""
    match value:
        case Later(shown, parts) if path:
            first, *rest = path
            return Later(shown, {**parts, first: _put(value.at(first), tuple(rest), found)})
        case Later():
            return found
        case dict() if path and path[0] in value:
            return {**value, path[0]: _put(value[path[0]], path[1:], found)}
        case _:
            return value
