"""What the messages about expressions have in common."""

from __future__ import annotations

from collections.abc import Container, Iterable

from checkpointflow.diagnostics import find_nearest, shorten, tell_odd
from checkpointflow.errors import ExpressionError
from checkpointflow.patterns import compile_late

_UNPRINTABLE = compile_late("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def complain(problem: str, text: str, column: int, hint: str | None) -> ExpressionError:
    """The error about what stands at *column* of *text*, each of its parts on one line."""
    return ExpressionError(
        make_printable(problem), make_printable(text), column, hint and make_printable(hint)
    )


def make_printable(text: str) -> str:
    """*text* on one line that can be encoded, as long as before: columns stay true."""
    return _UNPRINTABLE.sub(" ", text)


def quote(part: str | int) -> str:
    """A part of a path or a piece of source, as a message quotes it."""
    if isinstance(part, int):
        return f"[{part}]"
    return shorten(part) if part[:1] in ('"', "'") else f'"{shorten(part)}"'


def suggest_nearest(word: str, words: Iterable[str]) -> str:
    """` (did you mean …?)`, or nothing if none of *words*, of which a thousand are looked at, is near."""
    near = find_nearest(word, sorted(words)[:1000])
    return f" (did you mean {near}?{tell_odd(word, near)})" if near else ""


def explain_hyphen(name: str, names: Container[str]) -> str | None:
    """What to write if *name* was meant as a difference, of one of *names* and something."""
    first, hyphen, rest = name.partition("-")
    if hyphen and first in names:
        return f'a hyphen belongs to a name; for a difference put blanks around it: "{first} - {rest}"'
    return None
