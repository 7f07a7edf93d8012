"""Values of expressions: their kinds, how they read in text, and when two are equal.

Equal is what JSON calls equal: true is not 1, 1 is 1.0, lists and objects are compared throughout. On top,
and only there, null, a boolean or a number equals a text that spells it (3 and "3.0", true and "true"):
commands print text. Two texts are equal when their characters are.
"""

from __future__ import annotations

from typing import Any

from checkpointflow.expressions.literals import CONSTANTS, read_number


class NoValue(Exception):
    """Why an expression has no value; only `evaluation` knows the text that it is about.

    A text, or what words it: where an absence is all that was asked for, nobody looks around for what to say.
    """

    def __str__(self) -> str:
        (why,) = self.args
        return why if isinstance(why, str) else str(why())


_KINDS = ((bool, "a boolean"), ((int, float), "a number"), (str, "text"), (list, "a list"))


def describe_kind(value: Any) -> str:
    """The kind of the JSON *value*, as messages and the table of functions name it."""
    if value is None:
        return "null"
    return next((words for kinds, words in _KINDS if isinstance(value, kinds)), "an object")


def as_text(value: Any) -> str:
    """*value* as it reads inside of text: strings as they are, all else as compact JSON."""
    return value if isinstance(value, str) else as_json(value)


def as_json(value: Any) -> str:
    """*value* as compact JSON, in the order that it has."""
    import json  # late: few texts need it

    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def are_equal(one: Any, other: Any) -> bool:
    """Whether `==` holds between the two."""
    if isinstance(one, str) and isinstance(other, str):
        return one == other
    return _are_same(read_spelling(one), read_spelling(other))


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


def read_spelling(value: Any) -> Any:
    """The null, boolean or number that *value* spells, if it is a text that does; else *value*."""
    if not isinstance(value, str):
        return value
    if value in CONSTANTS:
        return CONSTANTS[value]
    number = read_number(value)
    return value if number is None else number
