"""Patterns: from ECMA-262 to Python, and what one may cost.

`\\d` and `\\w` are ASCII, `.` stops at every line end, `$` is the very end. Refused are: what only Python
knows, back references, `\\p{…}`, look-behind of no fixed length, and whatever could keep Python's `re` busy.

**What one may cost.** A choice (once more or go on, this branch or that) is *open* if the next character
does not settle it. Let a pattern take k·n**d steps for n characters: every open unbounded repeat adds one to
d, so does not beginning with `^`; every open bounded choice multiplies k. Then refused are:

- a group that is repeated more than ten times and can be empty, or can read one text in two ways
  (`ambiguity`): `(a+)+`, `(a*)*`, `(a|aa)*`, `(\\w+\\s?)*`, but neither `[a-z]+(-[a-z]+)*` nor `(a|ab)*`;
- a pattern that for 100 characters could take more than 10**8 steps: `a?a?a?…aaa…`, `.*a.*b.*c.*d.*e`.

With any other pattern, a text so long that it could take more than 10**8 steps is refused as an instance.

Outside of repeated groups the rule looks one character ahead, so it may take a pattern for costlier than it
is. To time a pattern instead would not do, since nobody knows the worst text for it.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

from checkpointflow.errors import InvalidSchema, UnsupportedSchema
from checkpointflow.schemas.ambiguity import CHARACTERS, Loop, Ranges, examine, list_characters, overlap
from checkpointflow.schemas.wording import abbreviate

MAX_PATTERN_CHARACTERS = 1_000
MAX_STEPS = 10**8


class Pattern(NamedTuple):
    """A pattern as Python reads it; `longest` is the longest text that it may be applied to."""

    regex: str
    longest: float


# from ECMA-262 to Python

_SPACES = r"\t-\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_OTHERS = (
    r"\x00-\x08\x0e-\x1f!-\x9f\xa1-\u167f\u1681-\u1fff\u200b-\u2027\u202a-\u202e\u2030-\u205e"
    r"\u2060-\u2fff\u3001-\ufefe\uff00-\U0010ffff"
)
_CLASSES = {
    "d": "0-9",
    "D": r"\x00-/:-\U0010ffff",
    "w": "0-9A-Z_a-z",
    "W": r"\x00-/:-@\[-\^`{-\U0010ffff",
    "s": _SPACES,
    "S": _OTHERS,
}
_CONTROLS = {"0": 0, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13}
_PLAIN = {
    "^": "^",
    "$": r"\Z",
    "|": "|",
    ")": ")",
    ".": r"[^\n\r\u2028\u2029]",
    r"\b": r"(?a:\b)",
    r"\B": r"(?!(?a:\b))",
}
_ATOM = (
    r"\\u\{[0-9A-Fa-f]{1,6}\}|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|\\c[A-Za-z]|\\0(?![0-9])|\\[^ux0c]|[^\\]"
)
_TOKENS = (
    r"(?P<set>\[(?P<negated>\^?)(?P<members>(?:\\.|[^\]\\])*)\])"
    r"|(?P<group>\((?!\?)|\(\?(?:[:=!]|<[=!]|<[A-Za-z_$][\w$]*>))"
    r"|(?P<repeat>(?:[*+?]|\{\d+(?:,\d*)?\})\??)"
    r"|(?P<plain>\\[bB]|[|)^$.])"
    rf"|(?P<atom>(?![\[(])(?:{_ATOM}))"
)


def read_pattern(text: str) -> Pattern:
    """*text*, a regular expression of ECMA-262, for Python.

    Raises InvalidSchema if it is none, UnsupportedSchema if we cannot read it so or it could run for long.
    """
    if len(text) > MAX_PATTERN_CHARACTERS:
        raise UnsupportedSchema(problem=f"the pattern has more than {MAX_PATTERN_CHARACTERS:,} characters")
    regex = _translate(text)
    try:
        re.compile(regex)
    except (re.error, OverflowError, RecursionError) as error:
        why = getattr(error, "msg", str(error))
        refusal = UnsupportedSchema if "look-behind" in why else InvalidSchema
        raise refusal(problem=f"the pattern {abbreviate(text)} cannot be read: {why}") from None
    longest = limit_text(regex)
    if longest < 100:  # too short to be of use: better to say so now than at some run's input
        why = "its repeats can share a text in many ways"
        raise UnsupportedSchema(problem=f"the pattern {abbreviate(text)} could run for very long: {why}")
    return Pattern(regex, longest)


def _translate(text: str) -> str:
    parts: list[str] = []
    at, repeated = 0, True
    for match in re.finditer(_TOKENS, text, re.DOTALL):
        if match.start() != at or (match["repeat"] and repeated):
            break
        at, repeated = match.end(), bool(match["repeat"])
        parts.append(_translate_token(match))
    if at != len(text):
        refusal = UnsupportedSchema if text.startswith("(?", at) else InvalidSchema
        where = f"at character {at + 1}: {abbreviate(text[at:], 20)}"
        raise refusal(problem=f"the pattern {abbreviate(text)} cannot be read {where}")
    return "".join(parts)


def _translate_token(match: re.Match[str]) -> str:
    token = match[0]
    if match["set"]:
        return _translate_set(match["negated"], match["members"])
    if match["group"]:  # groups capture nothing, since nothing refers to them
        return token if token[2:3] and (token[2] in ":=!" or token[3] in "=!") else "(?:"
    if match["plain"]:
        return _PLAIN[token]
    if match["atom"]:
        char = _read_atom(token)
        return f"[{_CLASSES[char]}]" if isinstance(char, str) else _spell(char)
    return token


def _translate_set(negated: str, members: str) -> str:
    """A class in brackets, each member spelt so that Python cannot take it for anything else."""
    atoms = re.findall(_ATOM, members, re.DOTALL)
    if "".join(atoms) != members:
        raise UnsupportedSchema(problem=f"the pattern has [{members:.60}], with an escape that is not known")
    chars = [8 if atom == r"\b" else _read_atom(atom) for atom in atoms]
    parts, at = [], 0
    while at < len(chars):
        char = chars[at]
        last = chars[at + 2] if at + 2 < len(chars) and atoms[at + 1] == "-" else None
        if isinstance(char, int) and isinstance(last, int):
            if char > last:
                spelt = "".join(atoms[at : at + 3])
                raise InvalidSchema(problem=f"the pattern has the range {spelt}, which is empty")
            parts.append(f"{_spell(char)}-{_spell(last)}")
            at += 3
        else:
            parts.append(_CLASSES[char] if isinstance(char, str) else _spell(char))
            at += 1
    if not parts:
        return r"[\x00-\U0010ffff]" if negated else "(?!)"
    return f"[{negated}{''.join(parts)}]"


def _spell(char: int) -> str:
    return f"\\U{char:08x}"


def _read_atom(atom: str) -> int | str:
    """The code of the character that *atom* spells, or the letter of the class."""
    letter = atom[1:2]
    if not letter:
        return ord(atom)
    if letter in _CLASSES:
        return letter
    if letter in _CONTROLS:
        return _CONTROLS[letter]
    if letter == "c":
        return ord(atom[2]) & 31
    if letter in "ux":
        code = int(atom[2:].strip("{}"), 16)
        if 0xD800 <= code <= 0xDFFF or code > 0x10FFFF:
            raise UnsupportedSchema(problem=f"the pattern has {atom}, which is no character")
        return code
    if letter.isascii() and letter.isalnum():
        raise UnsupportedSchema(problem=f"the pattern has {atom}, which is not supported")
    return ord(letter)


# what one may cost

_NO_CHARACTER = (-1, -1)


class _Cost(NamedTuple):
    """Of a part of a pattern and all that follows it.

    first: ranges of the characters that it can begin with; degree, factor: it takes up to
    factor · n**degree steps for n characters; opens: how many choices the next character does not settle.
    """

    first: Ranges = ()
    degree: int = 0
    factor: float = 1
    opens: int = 0


def parse_pattern(regex: str) -> list[Any]:
    """*regex* as Python itself reads it: operators, and what they are given. Raises re.error."""
    from re import _parser  # type: ignore[attr-defined]

    return list(_parser.parse(regex))


def limit_text(regex: str) -> float:
    """How long a text may be so that searching it for *regex* takes no more than MAX_STEPS."""
    tree = parse_pattern(regex)
    cost = _Estimate().of(tree, _Cost())
    anchored = bool(tree) and tree[0][0].name == "AT" and tree[0][1].name == "AT_BEGINNING"
    degree = cost.degree + (not anchored)
    if not degree:
        return math.inf if cost.factor <= MAX_STEPS else 0
    return float((MAX_STEPS / cost.factor) ** (1 / degree))


class _Estimate:
    """Reads the tree that Python's `re` makes of a pattern, from its end to its beginning."""

    def __init__(self) -> None:
        self._visits = 0

    def of(self, sequence: Any, after: _Cost) -> _Cost:
        for op, argument in reversed(list(sequence)):
            self._visits += 1
            if self._visits > 10 * MAX_PATTERN_CHARACTERS:
                problem = "the pattern has groups repeated within groups too often to judge what it costs"
                raise UnsupportedSchema(problem=problem)
            after = self._add(op.name, argument, after)
        return after

    def _add(self, op: str, argument: Any, after: _Cost) -> _Cost:
        match op:
            case "LITERAL" | "NOT_LITERAL" | "IN" | "FAILURE":
                return after._replace(first=list_characters(op, argument))
            case "AT":
                return after._replace(first=()) if argument.name == "AT_END_STRING" else after
            case "SUBPATTERN":
                return self.of(argument[3], after)
            case "BRANCH":
                return _cost_choice([self.of(branch, after) for branch in argument[1]])
            case "ASSERT" | "ASSERT_NOT":  # once decided it is never tried another way
                return _cost_assertion(self.of(argument[1], _Cost()), after)
        least, most, body = argument
        return self._add_repeat(least, most, body, after)

    def _add_repeat(self, least: int, most: int, body: Any, after: _Cost) -> _Cost:
        first = self.of(body, _Cost((_NO_CHARACTER,))).first
        if len(body) == 1 and body[0][0].name in CHARACTERS:
            return _cost_repeat(first, least, most, after)
        if most <= 10:
            for count in range(most, 0, -1):
                once = self.of(body, after)
                after = _cost_choice([once, after]) if count > least else once
            return after
        inside = self.of(body, _Cost(first + after.first))
        if not inside.opens and _NO_CHARACTER not in first:
            return _cost_repeat(first, least, most, after)
        loop = examine(body)
        if loop is None:
            why = "repeats a group that can share a text in many ways, and could run for very long"
            raise UnsupportedSchema(problem=f"the pattern {why}")
        return _cost_loop(first, least, loop, after)


def _cost_repeat(first: Ranges, least: int, most: int, after: _Cost) -> _Cost:
    """Of a repeat that settles all choices but the one to go on."""
    opens = least != most and overlap(first, after.first)
    begin = first if least else (*first, *after.first)
    if most - least > MAX_PATTERN_CHARACTERS:
        return _Cost(begin, max(1, after.degree + opens), after.factor, after.opens + opens)
    return _Cost(begin, after.degree, after.factor * (1 + opens * (most - least)), after.opens + opens)


def _cost_assertion(inside: _Cost, after: _Cost) -> _Cost:
    """One that is not bounded counts as an open choice of a group: it is tried anew in each round."""
    return _Cost(
        (*after.first, *inside.first) if inside.degree else after.first,
        max(after.degree, inside.degree),
        max(after.factor, inside.factor),
        max(after.opens, inside.opens, inside.degree),
    )


def _cost_loop(first: Ranges, least: int, loop: Loop, after: _Cost) -> _Cost:
    """Of a repeat with one way at most into each of its states: what follows is tried from all its ends."""
    opens = bool(after.first)
    begin = first if least else (*first, *after.first)
    factor = loop.states + loop.ends * after.factor
    return _Cost(begin, max(1, after.degree + opens), factor, after.opens + opens)


def _cost_choice(costs: list[_Cost]) -> _Cost:
    opens = any(overlap(one.first, two.first) for n, one in enumerate(costs) for two in costs[:n])
    factors = [cost.factor for cost in costs]
    return _Cost(
        tuple(dict.fromkeys(span for cost in costs for span in cost.first)),
        max(cost.degree for cost in costs),
        sum(factors) if opens else max(factors),
        max(cost.opens for cost in costs) + opens,
    )
