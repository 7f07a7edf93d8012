"""What can be computed: `+ - * /`, and the closed list of functions.

All of it is pure. For any values there is a value, which a run can hold, or NoValue, which says why not.

- `+ - * /` take numbers. Of whole numbers they give a whole one, `/` only where nothing is left over, and a
  fraction otherwise. A whole one of more than 18 digits is refused, since no shell could compute with it, as
  are a fraction that is too large and division by zero. A text is no number: `from_json` makes one of it.
- Each function takes the kinds of values that the table names. A text that it gives has at most 16 Mi
  characters, a list 100,000 elements.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from checkpointflow.expressions.values import NoValue, are_equal, as_json, as_text, describe_kind
from checkpointflow.json_text import read_json

if TYPE_CHECKING:
    from checkpointflow.schemas.patterns import Pattern

MAX_CHARACTERS = 16 * 1024 * 1024
MAX_ELEMENTS = 100_000
MAX_DIGITS = 18

Kinds = tuple[str, ...]
_ANY: Kinds = ()
_TEXT: Kinds = ("text",)
PATTERN: Kinds = ("a literal text",)
HOLDERS: Kinds = ("text", "a list", "an object")


class Function(Struct, frozen=True):
    """One of the list. takes: the kinds of each argument; gives: of its value; none stands for any.

    work: makes the value of the arguments'; none for what `evaluation` does itself.
    """

    takes: tuple[Kinds, ...]
    gives: str | None
    work: Callable[..., Any] | None


def calculate(operator: str, one: int | float, other: int | float) -> int | float:
    """The value of *one* `+`, `*` or `/` *other*. Raises NoValue."""
    try:
        result = _calculate(operator, one, other)
    except ZeroDivisionError:
        raise NoValue("nothing can be divided by zero") from None
    except OverflowError:
        raise NoValue("the result is too large a number") from None
    if isinstance(result, int) and abs(result) >= 10**MAX_DIGITS:
        raise NoValue(f"the result has more than {MAX_DIGITS} digits")
    if isinstance(result, float) and result - result != 0:  # as of infinity
        raise NoValue("the result is too large a number")
    return result


def _calculate(operator: str, one: int | float, other: int | float) -> int | float:
    if operator != "/":
        return one + other if operator == "+" else one * other
    is_whole = isinstance(one, int) and isinstance(other, int) and one % other == 0
    return one // other if is_whole else one / other


def contains(whole: Any, part: Any) -> bool:
    """Whether *part* is equal to an element of a list, a key of an object, or a part of a text."""
    if isinstance(whole, list):
        return any(are_equal(element, part) for element in whole)
    if not isinstance(part, str):
        raise NoValue(f"in {describe_kind(whole)} only text can be looked for, and not {describe_kind(part)}")
    return part in whole


@lru_cache(maxsize=100)
def read_safe_pattern(text: str) -> Pattern:
    """The pattern *text*. Raises InvalidSchema, UnsupportedSchema."""
    from checkpointflow.schemas.patterns import read_pattern  # late: few documents have one

    return read_pattern(text)


def _match(text: str, pattern: str) -> bool:
    import re

    known = read_safe_pattern(pattern)
    if len(text) > known.longest:
        raise NoValue(f"to match {len(text)} characters by this pattern could take very long")
    return re.search(known.regex, text) is not None


def _join(elements: list[Any], separator: str) -> str:
    texts = [as_text(element) for element in elements]
    _limit(sum(map(len, texts)) + len(separator) * max(len(texts) - 1, 0))
    return separator.join(texts)


def _split(text: str, separator: str) -> list[str]:
    if not separator:
        raise NoValue("nothing can be split at an empty text")
    parts = text.split(separator, MAX_ELEMENTS) if text else []
    if len(parts) > MAX_ELEMENTS:
        raise NoValue(f"the list would have more than {MAX_ELEMENTS} elements")
    return parts


def _to_json(value: Any) -> str:
    try:
        text = as_json(value)
    except RecursionError:
        raise NoValue("the value is nested too deeply") from None
    _limit(len(text))
    return text


def _from_json(text: str) -> Any:
    try:
        return read_json(text.encode("utf-8", "surrogatepass"))
    except ValueError as error:
        raise NoValue(f"the text has no value as JSON: {error}") from None


def _change_case(change: Callable[[str], str]) -> Callable[[str], str]:
    def work(text: str) -> str:
        changed = change(text)
        _limit(len(changed))
        return changed

    return work


def _limit(characters: int) -> None:
    if characters > MAX_CHARACTERS:
        raise NoValue(f"the text would have more than {MAX_CHARACTERS} characters")


FUNCTIONS = {
    "contains": Function((HOLDERS, _ANY), "a boolean", contains),
    "default": Function((_ANY, _ANY), None, None),  # the first may lead nowhere
    "ends_with": Function((_TEXT, _TEXT), "a boolean", str.endswith),
    "from_json": Function((_TEXT,), None, _from_json),
    "join": Function((("a list",), _TEXT), "text", _join),
    "length": Function((HOLDERS,), "a number", len),
    "lower": Function((_TEXT,), "text", _change_case(str.lower)),
    "matches": Function((_TEXT, PATTERN), "a boolean", _match),
    "split": Function((_TEXT, _TEXT), "a list", _split),
    "starts_with": Function((_TEXT, _TEXT), "a boolean", str.startswith),
    "to_json": Function((_ANY,), "text", _to_json),
    "upper": Function((_TEXT,), "text", _change_case(str.upper)),
}
