"""Tokens -> JSON's literals, and the numbers that texts spell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NoReturn

from checkpointflow.expressions.scanner import Scanner
from checkpointflow.expressions.wording import quote
from checkpointflow.patterns import compile_late

MAX_DIGITS = 4300  # as many as Python converts; above that `int` raises

CONSTANTS = {"true": True, "false": False, "null": None}
KEYWORDS = frozenset({"and", "or", "not", "in"})
RESERVED = KEYWORDS | CONSTANTS.keys()

_NUMBER = compile_late(r"-?(?:0|[1-9][0-9]*)((?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)")
_SURROGATE = compile_late("[\ud800-\udfff]")
# Each runs as far as the text is right, so its end is the closing quote or the fault.
_SOUND = {
    '"': compile_late(r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*'),
    "'": compile_late(r"'(?:[^'\\]|\\['\\])*"),
}
_ESCAPES = {'"': r"\" \\ \/ \b \f \n \r \t \u0000", "'": r"\' \\"}


def parse_literal(s: Scanner) -> Any:
    """The literal that is due. Raises ExpressionError."""
    token = s.token
    if token.kind == "text":
        return parse_text(s)
    if token.kind == "number":
        return _parse_number(s)
    if token.text in CONSTANTS:
        return CONSTANTS[s.advance().text]
    if token.text == "[":
        return [parse_literal(s) for _ in enter_elements(s, "]")]
    if token.text != "{":
        _refuse_value(s)
    return _parse_object(s)


def _refuse_value(s: Scanner) -> NoReturn:
    token = s.token
    if token.kind == "end":
        s.fail("expected a value, but the text ends here")
    if token.text == "not":
        s.fail("not binds more loosely than a comparison", hint="put it in parentheses: (not inputs.x)")
    if token.kind == "name" and token.text not in KEYWORDS:
        s.fail("only literals may stand in a list or an object", hint="put text in quotes")
    hint = "write 0 - … for the opposite of a number" if token.text == "-" else None
    s.fail(f"expected a value, not {quote(token.text)}", hint=hint)


def enter_elements(s: Scanner, close: str) -> Iterator[None]:
    """Brackets and commas, up to *close*; whoever iterates reads one element each time."""
    opening = s.advance()
    s.enter(opening)
    more = s.token.text != close
    while more:
        yield
        more = s.accept(",") is not None
    if s.token.kind == "end":
        s.fail(f'this "{opening.text}" is never closed', opening.start)
    if not s.accept(close):
        s.fail(f'expected "," or "{close}", not {quote(s.token.text)}')
    s.leave()


def _parse_object(s: Scanner) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for _ in enter_elements(s, "}"):
        key = s.token
        if key.kind != "text":
            s.fail("expected a key in quotes", hint='as in {"key": 1}')
        name = parse_text(s)
        if name in members:
            s.fail(f"the key {quote(name)} stands twice", key.start)
        if not s.accept(":"):
            s.fail('expected ":" after the key')
        members[name] = parse_literal(s)
    return members


def _parse_number(s: Scanner) -> int | float:
    token = s.advance()
    if not _NUMBER.fullmatch(token.text):
        s.fail(
            f"{quote(token.text)} is not a number as JSON spells it", token.start, "quote it to make it text"
        )
    value = read_number(token.text)
    if value is None:
        s.fail(f"{quote(token.text)} is too large a number", token.start)
    return value


def parse_text(s: Scanner) -> str:
    """The text in quotes that is due. Raises ExpressionError."""
    token = s.advance()
    quote = token.text[0]
    sound = _SOUND[quote].match(token.text)
    fault = sound.end() if sound else 0
    if fault != len(token.text) - 1:
        character = token.text[fault]
        what = (
            f'"{token.text[fault : fault + 2]}" is not an escape'
            if character == "\\"
            else "raw control character"
        )
        s.fail(f"{what} in text", token.start + fault, f"the escapes are {_ESCAPES[quote]}")
    text = _read_escapes(token.text) if quote == '"' else re.sub(r"\\(.)", r"\1", token.text[1:-1])
    if _SURROGATE.search(text):
        s.fail("half a character in text", token.start, r"\ud800 to \udfff stand in pairs")
    return text


def _read_escapes(text: str) -> str:
    if "\\" not in text:
        return text[1:-1]
    import json  # late: few texts need it

    return str(json.loads(text))


def read_number(text: str) -> int | float | None:
    """The number that *text* spells exactly as JSON would, or nothing if it cannot be held."""
    found = _NUMBER.fullmatch(text)
    if found is None or len(text.removeprefix("-")) > MAX_DIGITS:
        return None
    if not found.group(1):
        return int(text)
    value = float(text)
    return None if value in (float("inf"), float("-inf")) else value
