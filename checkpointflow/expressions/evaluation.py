r"""Expression -> value: what an expression means in a scope.

- A path's value keeps its type. `.2` and `["2"]` are element 2 of a list and the key "2" of an
  object; `[2]` is for lists alone. A path that leads nowhere is an error that names the nearest
  place that is there. Compared by `==` or `!=` with the literal `null` it counts as null instead.
- `==` is JSON's equality: true is not 1, 1 is 1.0, lists and objects are compared throughout. On
  top, and only there, null, a boolean or a number equals a text that spells it (3 and "3.0", true
  and "true"): commands print text. Two texts are equal when their characters are.
- `<` `<=` `>` `>=` order two numbers, a number and a text that spells one, or two texts by code
  point. Anything else is an error.
- False are false, null, 0, [] and {}. A text counts, blanks around it aside, as what it spells: `true` or
  `false` in any case, `1` or `0`, nothing as false. Any other text is an error: what a command prints must
  not be true by accident.
- `and`, `or` and `not` give a boolean, and look no further than they must:
  `steps.a.outputs.x != null and steps.a.outputs.x > 3` is safe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar, assert_never

from msgspec import Struct

from checkpointflow.diagnostics import shorten
from checkpointflow.errors import EvaluationError
from checkpointflow.expressions.syntax import (
    CONSTANTS,
    INDEX,
    PLAIN_NAME,
    And,
    Comparison,
    Constant,
    Expression,
    Node,
    Not,
    Or,
    Path,
    Reference,
    read_number,
)
from checkpointflow.expressions.wording import make_printable, quote, suggest_nearest

T = TypeVar("T")


class _NoValue(Exception):
    """Why an expression has no value; only `evaluate` knows the text that it is about.

    A text, or what words it: where an absence is all that was asked for, nobody looks around for what to say.
    """

    def __str__(self) -> str:
        (why,) = self.args
        return why if isinstance(why, str) else str(why())


class _LostValue(_NoValue):
    """The same of what is there, and is not nothing."""


class Empty(dict[str, Any]):
    """An object of a scope without members; why: what a message about a missing one says."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why


class Lost(Struct, frozen=True):
    """What stands in a scope for a value that was there and cannot be had. why: goes after its path."""

    why: str


def evaluate(expression: Expression, scope: Mapping[str, Any]) -> Any:
    """The expression's value in *scope* (first name -> JSON), or EvaluationError.

    Where JSON has an object, *scope* may have any Mapping whose members are JSON, such as one that makes
    them when asked.
    A message tells names and kinds, never values: one of them could be a secret.
    """
    return _answer(_evaluate, expression, scope)


def holds(expression: Expression, scope: Mapping[str, Any]) -> bool:
    """Whether the expression's value counts as true; EvaluationError if it has none, or does not say."""
    return _answer(_holds, expression, scope)


def _answer(
    find: Callable[[Node, Mapping[str, Any]], T], expression: Expression, scope: Mapping[str, Any]
) -> T:
    try:
        return find(expression.root, scope)
    except _NoValue as reason:
        is_lost = isinstance(reason, _LostValue)
        raise EvaluationError(make_printable(str(reason)), expression.text, is_lost=is_lost) from None


class Secret(str):
    """The mark that stands for the secret *name*, whose value only a driver knows.

    It is text with a NUL at both ends, which no other value that goes where secrets go may hold.
    """

    __slots__ = ()

    def __new__(cls, name: str) -> Secret:
        return super().__new__(cls, f"\0{name}\0")


def as_text(value: Any) -> str:
    """*value* as it reads inside of text: strings as they are, all else as compact JSON."""
    if isinstance(value, str):
        return value
    import json  # late: few texts need it

    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _evaluate(node: Node, scope: Mapping[str, Any]) -> Any:
    match node:
        case Constant(value):
            return value
        case Reference(path):
            return _follow(path, scope)
        case Comparison():
            return _compare(node, scope)
        case Not(operand):
            return not _read_truth(operand, _evaluate(operand, scope))
        case And(operands):
            return not _has_any(operands, scope, is_true=False)
        case Or(operands):
            return _has_any(operands, scope, is_true=True)
        case _:
            assert_never(node)


def _has_any(operands: Iterable[Node], scope: Mapping[str, Any], *, is_true: bool) -> bool:
    # A plain loop: a generator would double the depth of the stack.
    for operand in operands:  # noqa: SIM110
        if _read_truth(operand, _evaluate(operand, scope)) is is_true:
            return True
    return False


_TRUTHS = {"true": True, "1": True, "false": False, "0": False, "": False}


def _holds(node: Node, scope: Mapping[str, Any]) -> bool:
    return _read_truth(node, _evaluate(node, scope))


def _read_truth(node: Node, value: Any) -> bool:
    if not isinstance(value, str):
        return bool(value)
    spelled = value.strip().lower()
    if spelled not in _TRUTHS:
        raise _NoValue(
            f"{_describe_operand(node, value)}, and counts only as true, false, 1, 0 or nothing; compare it, "
            'as in … != ""'
        )
    return _TRUTHS[spelled]


# Comparing


def _compare(node: Comparison, scope: Mapping[str, Any]) -> bool:
    if node.operator == "==" or node.operator == "!=":
        return _are_equal(node, scope) is (node.operator == "==")
    return _compare_order(node, scope) in _ORDERS[node.operator]


_ORDERS = {"<": (-1,), "<=": (-1, 0), ">": (1,), ">=": (0, 1)}


def _are_equal(node: Comparison, scope: Mapping[str, Any]) -> bool:
    left = _evaluate_beside(node.right, node.left, scope)
    right = _evaluate_beside(node.left, node.right, scope)
    if isinstance(left, str) and isinstance(right, str):
        return left == right
    return _are_same(_read_spelling(left), _read_spelling(right))


def _evaluate_beside(other: Node, node: Node, scope: Mapping[str, Any]) -> Any:
    """The value of *node*; null for a path that leads nowhere, where *other* is the literal null."""
    match node, other:
        case Reference(path), Constant(None):
            try:
                return _follow(path, scope)
            except _LostValue:
                raise
            except _NoValue:
                return None
        case _:
            return _evaluate(node, scope)


def _are_same(left: Any, right: Any) -> bool:
    """JSON's equality. With a list of what is left to compare, so that no depth is too deep."""
    pending = [(left, right)]
    while pending:
        one, other = pending.pop()
        match one, other:
            case dict(), dict():
                if one.keys() != other.keys():
                    return False
                pending.extend((one[key], other[key]) for key in one)
            case list(), list():
                if len(one) != len(other):
                    return False
                pending.extend(zip(one, other, strict=True))
            case _:
                # To Python true is 1, which to JSON it is not.
                if isinstance(one, bool) is not isinstance(other, bool) or one != other:
                    return False
    return True


def _compare_order(node: Comparison, scope: Mapping[str, Any]) -> int:
    """-1, 0 or 1: how the left side stands to the right one."""
    left, right = _evaluate(node.left, scope), _evaluate(node.right, scope)
    if isinstance(left, str) and isinstance(right, str):
        return (left > right) - (left < right)
    one, other = _read_spelling(left), _read_spelling(right)
    if _describe_kind(one) == _describe_kind(other) == "a number":
        return int(one > other) - int(one < other)
    raise _NoValue(
        f"{node.operator} orders two numbers or two texts, but "
        f"{_describe_operand(node.left, left)} and {_describe_operand(node.right, right)}"
    )


def _read_spelling(value: Any) -> Any:
    """The null, boolean or number that *value* spells, if it is a text that does; else *value*."""
    if not isinstance(value, str):
        return value
    if value in CONSTANTS:
        return CONSTANTS[value]
    number = read_number(value)
    return value if number is None else number


# Following a path


# What JSON becomes in Python. To ask for these is quick; to ask whether something is a Mapping is not.
_JSON = (dict, list, str, int, float, type(None))


def _follow(path: Path, scope: Mapping[str, Any]) -> Any:
    """The value that *path* leads to; a view is copied, so that none gets any further."""
    if path[0] not in scope:
        raise _NoValue(f"there is no {path[0]} here; there is: {', '.join(sorted(scope)) or 'nothing'}")
    value = scope[str(path[0])]
    for length, part in enumerate(path[1:], start=1):
        match value:
            case dict() if part in value:
                value = value[part]
            case list() if (index := _read_index(part)) is not None and index < len(value):
                value = value[index]
            case Mapping() if part in value:
                value = value[part]
            case _:
                raise _NoValue(partial(_explain_absence, path[:length], value, part))
        if isinstance(value, Lost):
            raise _LostValue(f"{_format_path(path[: length + 1])} {value.why}")
    return value if isinstance(value, _JSON) and not isinstance(value, Empty) else dict(value)


def _read_index(part: str | int) -> int | None:
    if isinstance(part, str):
        return int(part) if INDEX.fullmatch(part) else None
    return part


def _explain_absence(path: Path, value: Any, part: str | int) -> str:
    """The reason why *value*, which *path* leads to, has no *part*."""
    where = _format_path(path)
    match value:
        case Mapping():
            return _explain_missing_key(where, value, part)
        case list() if _read_index(part) is not None:
            size = f"{len(value)} element{'' if len(value) == 1 else 's'}"
            return f"{where} has {size}, so [{_read_index(part)}] is beyond its end"
        case list():
            return f"{where} is a list, so it has no {quote(part)}; its elements are [0], [1] and so on"
        case _:
            return f"{where} is {_describe_kind(value)}, so it has no {quote(part)}"


def _explain_missing_key(where: str, value: Mapping[str, Any], part: str | int) -> str:
    if isinstance(part, int):
        return f'{where} is an object, so it has no [{part}]; a key would be .{part} or ["{part}"]'
    if not value:
        why = f": {value.why}" if isinstance(value, Empty) else ""
        return f"{where} has no {quote(part)}; it is empty{why}"
    names = [name if PLAIN_NAME.fullmatch(name) else quote(name) for name in sorted(value)[:10]]
    more = f" and {len(value) - 10} more" if len(value) > 10 else ""
    listed = ", ".join(map(shorten, names))
    return f"{where} has no {quote(part)}; it has: {listed}{more}{suggest_nearest(part, value)}"


# Words for messages


def _format_path(path: Path) -> str:
    """*path* as one would write it."""
    text = "".join(
        f".{part}" if isinstance(part, str) and PLAIN_NAME.fullmatch(part) else as_text([part])
        for part in path
    )
    return shorten(text.removeprefix("."))


def _describe_operand(node: Node, value: Any) -> str:
    """*value*, which *node* has, by its place in the source and its kind."""
    place = "the literal" if isinstance(node, Constant) else "the part in parentheses"
    return f"{_format_path(node.path) if isinstance(node, Reference) else place} is {_describe_kind(value)}"


_KINDS = ((bool, "a boolean"), ((int, float), "a number"), (str, "text"), (list, "a list"))


def _describe_kind(value: Any) -> str:
    if value is None:
        return "null"
    return next((words for kinds, words in _KINDS if isinstance(value, kinds)), "an object")
