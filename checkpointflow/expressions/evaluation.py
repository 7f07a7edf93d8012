r"""Expression -> value: what an expression means in a scope.

- A path's value keeps its type. `.2` and `["2"]` are element 2 of a list and the key "2" of an
  object; `[2]` is for lists alone. A path that leads nowhere is an error that names the nearest
  place that is there. Compared by `==` or `!=` with the literal `null` it counts as null instead.
- `==` is the equality of `values`. `x in y` asks whether x equals an element of a list, is a key of an
  object, or a part of a text; anything else is an error.
- `<` `<=` `>` `>=` order two numbers, a number and a text that spells one, or two texts by code
  point. Anything else is an error.
- False are false, null, 0, [] and {}. A text counts, blanks around it aside, as what it spells: `true` or
  `false` in any case, `1` or `0`, nothing as false. Any other text is an error: what a command prints must
  not be true by accident.
- `+ - * /` and the functions are those of `functions`; what does not fit them is an error. `default(x, y)`
  is x, or y where x is null or a path that leads nowhere; y is not looked at otherwise.
- `and`, `or` and `not` give a boolean, and look no further than they must:
  `steps.a.outputs.x != null and steps.a.outputs.x > 3` is safe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, reduce
from typing import Any, TypeVar, assert_never

from msgspec import Struct

from checkpointflow.diagnostics import join_words, shorten
from checkpointflow.errors import EvaluationError
from checkpointflow.expressions.functions import FUNCTIONS, HOLDERS, PATTERN, Kinds, calculate, contains
from checkpointflow.expressions.syntax import (
    INDEX,
    PLAIN_NAME,
    And,
    Arithmetic,
    Call,
    Comparison,
    Constant,
    Expression,
    Node,
    Not,
    Or,
    Path,
    Reference,
)
from checkpointflow.expressions.values import NoValue, are_equal, as_text, describe_kind, read_spelling
from checkpointflow.expressions.wording import explain_hyphen, make_printable, quote, suggest_nearest

T = TypeVar("T")


class _LostValue(NoValue):
    """The same of what is there, and is not nothing."""


class Empty(dict[str, Any]):
    """An object of a scope without members; why: what a message about a missing one says."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why


class Lost(Struct, frozen=True):
    """What stands in a scope for a value that cannot be had. why: goes after its path.

    was_there: so that it is not null either.
    """

    why: str
    was_there: bool = True


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
    except NoValue as reason:
        is_lost = isinstance(reason, _LostValue)
        raise EvaluationError(make_printable(str(reason)), expression.text, is_lost=is_lost) from None


class Secret(str):
    """The mark that stands for the secret *name*, whose value only a driver knows.

    It is text with a NUL at both ends, which no other value that goes where secrets go may hold.
    """

    __slots__ = ()

    def __new__(cls, name: str) -> Secret:
        return super().__new__(cls, f"\0{name}\0")


def _evaluate(node: Node, scope: Mapping[str, Any], *, or_null: bool = False) -> Any:
    """The value of *node*; or null, of a path that leads nowhere."""
    # Plain loops, in place: functions and generators would double the depth of the stack.
    match node:
        case Constant(value):
            return value
        case Reference(path):
            return _follow_if_there(path, scope) if or_null else _follow(path, scope)
        case Comparison():
            return _compare(node, scope)
        case Arithmetic():
            return _compute(node, scope)
        case Call():
            return _call(node, scope)
        case Not(operand):
            return not _read_truth(operand, _evaluate(operand, scope))
        case And(operands):
            for operand in operands:  # noqa: SIM110
                if not _read_truth(operand, _evaluate(operand, scope)):
                    return False
            return True
        case Or(operands):
            for operand in operands:  # noqa: SIM110
                if _read_truth(operand, _evaluate(operand, scope)):
                    return True
            return False
        case _:
            assert_never(node)


_TRUTHS = {"true": True, "1": True, "false": False, "0": False, "": False}


def _holds(node: Node, scope: Mapping[str, Any]) -> bool:
    return _read_truth(node, _evaluate(node, scope))


def _read_truth(node: Node, value: Any) -> bool:
    if not isinstance(value, str):
        return bool(value)
    spelled = value.strip().lower()
    if spelled not in _TRUTHS:
        raise NoValue(
            f"{_describe_operand(node, value)}, and counts only as true, false, 1, 0 or nothing; compare it, "
            'as in … != ""'
        )
    return _TRUTHS[spelled]


# Comparing


_ORDERS = {"<": (-1,), "<=": (-1, 0), ">": (1,), ">=": (0, 1)}
_NULL = Constant(None)


def _compare(node: Comparison, scope: Mapping[str, Any]) -> bool:
    if node.operator in ("==", "!="):
        left = _evaluate(node.left, scope, or_null=node.right == _NULL)
        right = _evaluate(node.right, scope, or_null=node.left == _NULL)
        return are_equal(left, right) is (node.operator == "==")
    left, right = _evaluate(node.left, scope), _evaluate(node.right, scope)
    if node.operator == "in":
        _check_kind("in looks into", HOLDERS, node.right, right)
        return contains(right, left)
    return _order(node, left, right) in _ORDERS[node.operator]


def _order(node: Comparison, left: Any, right: Any) -> int:
    """-1, 0 or 1: how the left side stands to the right one."""
    if isinstance(left, str) and isinstance(right, str):
        return (left > right) - (left < right)
    one, other = read_spelling(left), read_spelling(right)
    if describe_kind(one) == describe_kind(other) == "a number":
        return int(one > other) - int(one < other)
    raise NoValue(
        f"{node.operator} orders two numbers or two texts, but "
        f"{_describe_operand(node.left, left)} and {_describe_operand(node.right, right)}"
    )


# Computing


def _compute(node: Arithmetic, scope: Mapping[str, Any]) -> int | float:
    terms: list[int | float] = []
    for operator, operand in zip(("+", *node.operators), node.operands, strict=True):
        value = _evaluate(operand, scope)
        _check_kind(f"{operator} takes", ("a number",), operand, value, _AS_NUMBER)
        if operator in "*/":
            terms[-1] = calculate(operator, terms[-1], value)
        else:
            terms.append(-value if operator == "-" else value)
    return reduce(partial(calculate, "+"), terms)


_AS_NUMBER = "; from_json(…) makes a number of a text that spells one"


def _call(node: Call, scope: Mapping[str, Any]) -> Any:
    function = FUNCTIONS[node.name]
    if function.work is None:
        value = _evaluate(node.arguments[0], scope, or_null=True)
        return _evaluate(node.arguments[1], scope) if value is None else value
    values = []
    for kinds, argument in zip(function.takes, node.arguments, strict=True):
        values.append(_evaluate(argument, scope))
        if kinds != PATTERN:
            _check_kind(f"{node.name} takes", kinds, argument, values[-1])
    return function.work(*values)


def _check_kind(what: str, kinds: Kinds, node: Node, value: Any, advice: str = "") -> None:
    if kinds and describe_kind(value) not in kinds:
        hint = advice if isinstance(value, str) else ""
        raise NoValue(f"{what} {join_words(kinds)}, but {_describe_operand(node, value)}{hint}")


# Following a path


# What JSON becomes in Python. To ask for these is quick; to ask whether something is a Mapping is not.
_JSON = (dict, list, str, int, float, type(None))


def _follow(path: Path, scope: Mapping[str, Any]) -> Any:
    """The value that *path* leads to; a view is copied, so that none gets any further."""
    if path[0] not in scope:
        raise NoValue(f"there is no {path[0]} here; there is: {', '.join(sorted(scope)) or 'nothing'}")
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
                raise NoValue(partial(_explain_absence, path[:length], value, part))
        if isinstance(value, Lost):
            kind = _LostValue if value.was_there else NoValue
            raise kind(f"{_format_path(path[: length + 1])} {value.why}")
    return value if isinstance(value, _JSON) and not isinstance(value, Empty) else dict(value)


def _follow_if_there(path: Path, scope: Mapping[str, Any]) -> Any:
    try:
        return _follow(path, scope)
    except _LostValue:
        raise
    except NoValue:
        return None


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
            return f"{where} is {describe_kind(value)}, so it has no {quote(part)}"


def _explain_missing_key(where: str, value: Mapping[str, Any], part: str | int) -> str:
    if isinstance(part, int):
        return f'{where} is an object, so it has no [{part}]; a key would be .{part} or ["{part}"]'
    if not value:
        why = f": {value.why}" if isinstance(value, Empty) else ""
        return f"{where} has no {quote(part)}; it is empty{why}"
    names = [name if PLAIN_NAME.fullmatch(name) else quote(name) for name in sorted(value)[:10]]
    more = f" and {len(value) - 10} more" if len(value) > 10 else ""
    listed = ", ".join(map(shorten, names))
    meant = suggest_nearest(part, value)
    if hint := explain_hyphen(part, value):
        meant = f" ({hint})"
    return f"{where} has no {quote(part)}; it has: {listed}{more}{meant}"


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
    match node:
        case Reference(path):
            place = _format_path(path)
        case Constant():
            place = "the literal"
        case Call(name):
            place = f"{name}(…)"
        case _:
            place = "the computed part" if isinstance(node, Arithmetic) else "the part in parentheses"
    return f"{place} is {describe_kind(value)}"
