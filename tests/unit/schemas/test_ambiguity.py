"""Repeated groups of patterns: refused if they can read one text in two ways.

Two judges of their own stand against the code: one that counts in how many ways a group reads a text, and one
that tries all ways, as Python's `re` does, and counts its steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import product
from re import _parser  # type: ignore[attr-defined]
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from checkpointflow.errors import UnsupportedSchema
from checkpointflow.schemas import ambiguity
from checkpointflow.schemas.ambiguity import Loop, examine
from checkpointflow.schemas.patterns import _translate, read_pattern

WORDS = r"^(get|put|post|patch)(,(get|put|post|patch))*$"
DURATIONS = r"^([0-9]+(ms|m|s))+$"
NAMES = r"^[a-z]([a-z-]*[a-z])?(\.[a-z]([a-z-]*[a-z])?)*$"
SEMVER = (
    r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$"
)
DNS_1123 = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
GO_DURATION = r"^[-+]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$"
HOST = r"^(([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])\.)*([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])$"
LABELS = r"^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,6}$"

SAFE = [
    (WORDS, "get,put,post,patch", "put,"),
    (DURATIONS, "1m20ms3s", "1m2ms"),
    (NAMES, "a.b-c.dd", "a-a"),
    (NAMES, "a.b-c.dd", "a."),
    (SEMVER, "1.0.0-alpha.1.0a+b.1", "0."),
    (SEMVER, "1.0.0-alpha.1.0a+b.1", "a"),
    (DNS_1123, "a-b.c", "a-"),
    (DNS_1123, "a-b.c", "a."),
    (GO_DURATION, "-1.5h.3ms", "1.0m"),
    (HOST, "a-b.c", "a."),
    (HOST, "a-b.c", "a"),
    (LABELS, "a-b.com", "a."),
    ("^(?:(?:ab|a)c|ad)*$", "abcacad", "acad"),
    ("^(?:[ab]c|ad)*$", "acbcad", "ac"),
    ("^(?:a{2,3}b|c){11,}$", "aab" * 11, "aabc"),
    ("^(?:(?!x)a(?:b|bc))*$", "abcab", "abc"),
    (r"^(?:\b(?:put|post|get),)*$", "get,put,", "put,"),
]
EVIL = [
    ("(a+)+$", "a"),
    ("(a|a)*$", "a"),
    ("(a|aa)*b", "a"),
    (r"(\w+\s?)*$", "a"),
    ("^(([a-z])+.)+[A-Z]([a-z])+$", "a"),
    ("(x+x+)+y", "x"),
    ("(?:[ab]*[bc]*;)+$", "bb;"),
    (r"^(?:\d+|\d+\.\d*)+$", "1"),
    ("^(?:a|b|ab)*$", "ab"),
    ("^(?:(?:a?){3}b)*$", "ab"),
    ("^(?:(?:a?b?){2}c)*$", "abc"),
]


# in how many ways a group reads a text


def count_ways(sequence: Any, text: str, start: int) -> Counter[int]:
    """The places where *sequence*, begun at *start*, can end, each as often as there are ways to it."""
    ends = Counter([start])
    for op, argument in sequence:
        found: Counter[int] = Counter()
        for place, ways in ends.items():
            for end, more in count_one(op.name, argument, text, place).items():
                found[end] += ways * more
        ends = found
    return ends


def count_one(op: str, argument: Any, text: str, place: int) -> Counter[int]:
    if op in ambiguity.CHARACTERS:
        fits = place < len(text) and reads(op, argument, text[place])
        return Counter([place + 1] if fits else [])
    if op == "SUBPATTERN":
        return count_ways(argument[3], text, place)
    if op == "BRANCH":
        return sum((count_ways(branch, text, place) for branch in argument[1]), Counter())
    least, most, body = argument
    found: Counter[int] = Counter()
    ends = Counter([place])
    for count in range(min(most, len(text) + least) + 1):
        if count >= least:
            found += ends
        ends = sum(
            (scale(count_ways(body, text, end), ways) for end, ways in ends.items()),
            Counter(),
        )
    return found


def scale(ends: Counter[int], ways: int) -> Counter[int]:
    return Counter({end: ways * more for end, more in ends.items()})


def reads(op: str, argument: Any, char: str) -> bool:
    characters = ambiguity.list_characters(op, argument)
    return any(low <= ord(char) <= high for low, high in characters)


ATOMS = st.sampled_from(["a", "b", "[ab]", "[^a]"])
GROUPS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: "".join(f"(?:{p})" for p in parts)),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"(?:{'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["?", "{2}", "{1,2}"])).map(lambda two: f"(?:{two[0]}){two[1]}"),
        ATOMS.map(lambda atom: atom + "*"),
        ATOMS.map(lambda atom: atom + "+"),
    ),
    max_leaves=6,
)
TEXTS = ["".join(chars) for length in range(1, 8) for chars in product("ab", repeat=length)]


@given(GROUPS)
def test_a_group_that_passes_reads_no_text_in_two_ways(group: str) -> None:
    body = list(_parser.parse(group))
    passes = examine(body) is not None
    event("passes" if passes else "refused")
    if passes:
        loop = list(_parser.parse(f"(?:{group})*"))
        assert [text for text in TEXTS if count_ways(loop, text, 0)[len(text)] > 1] == []


# a matcher that tries all ways


class Steps:
    """Counts the characters that are tried while *text* is matched in all ways, up to the first that fits."""

    def __init__(self, text: str) -> None:
        self.text, self.count = text, 0

    def match(self, sequence: Any, place: int) -> Iterator[int]:
        if not sequence:
            yield place
            return
        (op, argument), rest = sequence[0], sequence[1:]
        for end in self.match_one(op.name, argument, place):
            yield from self.match(rest, end)

    def match_one(self, op: str, argument: Any, place: int) -> Iterator[int]:
        if op in ambiguity.CHARACTERS:
            self.count += 1
            if place < len(self.text) and reads(op, argument, self.text[place]):
                yield place + 1
        elif op == "AT":
            if argument.name != "AT_END_STRING" or place == len(self.text):  # every \b is taken as one
                yield place
        elif op in ("ASSERT", "ASSERT_NOT"):
            found = next(self.match(list(argument[1]), place + min(0, argument[0])), None)
            if (found is None) == (op == "ASSERT_NOT"):
                yield place
        elif op == "SUBPATTERN":
            yield from self.match(list(argument[3]), place)
        elif op == "BRANCH":
            for branch in argument[1]:
                yield from self.match(list(branch), place)
        else:
            least, most, body = argument
            yield from self.repeat(least, most, body, place)

    def repeat(self, least: int, most: int, body: Any, place: int) -> Iterator[int]:
        if most:
            for end in self.match(list(body), place):
                if end > place or least:
                    yield from self.repeat(max(0, least - 1), most - 1, body, end)
        if not least:
            yield place


def count_steps(regex: str, text: str) -> int:
    steps = Steps(text)
    next(steps.match(list(_parser.parse(regex)), 0), None)
    return steps.count


@pytest.mark.parametrize(("pattern", "fits", "pump"), SAFE)
def test_a_pattern_that_reads_each_text_in_one_way_is_let_through_and_never_runs_long(
    pattern: str, fits: str, pump: str
) -> None:
    read = read_pattern(pattern)
    assert read.longest >= 1_000
    assert next(Steps(fits).match(list(_parser.parse(read.regex)), 0), None) is not None
    short, long = (count_steps(read.regex, pump * count + "!") for count in (10, 20))
    assert long <= 5 * short
    assert long <= ambiguity.MAX_STATES * (20 * len(pump) + 1)


@pytest.mark.parametrize(("pattern", "pump"), EVIL)
def test_a_pattern_that_doubles_its_ways_each_round_is_refused(pattern: str, pump: str) -> None:
    with pytest.raises(UnsupportedSchema, match="could run for very long"):
        read_pattern(pattern)
    short, long = (count_steps(_translate(pattern), pump * count + "!\n") for count in (3, 6))
    assert long > 4 * short


@pytest.mark.parametrize(
    "pattern",
    [
        "^(?:(?=[a-z]*-)[a-z])*$",
        "^(?:a{1,3}){11,}$",
        "^(?:(?=a*b)a|(?!a+)b|ab)*$",
        "(?:a|b|(?:c{0,50}d?){20})*$",
        "(?:(?:[ab]{0,400}c){6}|d|de)*$",
    ],
)
def test_what_is_not_understood_is_refused(pattern: str) -> None:
    with pytest.raises(UnsupportedSchema):
        read_pattern(pattern)


def test_an_unbounded_look_ahead_is_tried_from_every_end_of_what_stands_before() -> None:
    assert read_pattern("^a*(?=a*b)").longest == 10_000
    assert read_pattern("^a*(?=b)").longest == 100_000_000


def test_states_and_pairs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    body = list(_parser.parse("(?:ab|ac){3}d"))
    loop = examine(body)
    assert loop == Loop(7, 1)
    monkeypatch.setattr(ambiguity, "MAX_STATES", 6)
    assert examine(body) is None
    monkeypatch.setattr(ambiguity, "MAX_STATES", 7)
    assert examine(body) == loop
    monkeypatch.setattr(ambiguity, "MAX_PAIRS", 9)
    assert examine(body) is None


def test_a_group_that_can_be_empty_is_refused_wherever_it_is_repeated() -> None:
    assert examine(list(_parser.parse("(?:a?)*b"))) is None
    assert examine(list(_parser.parse("a?b?"))) is None
