"""Ambiguity: whether a part of a pattern, repeated, can read one text in two ways.

A matcher that tries all ways takes exponential time just if there are two different ways from a state of the
pattern back to itself over one text: each time around doubles them. In a repeated group every state leads
back to the group's beginning, so that is so just if two ways from there meet in one state. Whether they do is
decided on pairs of states that can be reached over the same text, of which there are finitely many.

A state is a character of the pattern (as Glushkov has it), with the states that may follow it; bounded
repeats are written out. Ways that read nothing count, too: `(?:a?){3}` reads `a` in three ways. Assertions of
single characters are left out, which only adds ways. What is not understood (other assertions, more than
1,000 states, more than 200,000 pairs) counts as ambiguous.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

Ranges = tuple[tuple[int, int], ...]

CHARACTERS = ("LITERAL", "NOT_LITERAL", "IN")
"""Parts of the tree that read one character."""

MAX_STATES = 1_000
MAX_PAIRS = 200_000


class Loop(NamedTuple):
    """A repeated group that reads each text in one way at most: its states, and how many it can end in."""

    states: int
    ends: int


class _TooMuch(Exception):
    """The pattern is too large to judge, or has something that is not understood."""


class _Part(NamedTuple):
    """A part of a pattern: in how many ways it can be empty, begin with a state, and end in one."""

    empty: int
    first: Counter[int]
    last: Counter[int]


_NOTHING = _Part(1, Counter(), Counter())


def examine(body: Any) -> Loop | None:
    """What the group *body* is if repeated; None if it is ambiguous, can be empty, or is not understood.

    body: part of the tree that Python's `re` makes of a pattern.
    """
    machine = _Machine()
    try:
        part = machine.read(body)
        machine.follow(part.last, part.first)
        if part.empty or machine.is_ambiguous(part.first):
            return None
    except _TooMuch:
        return None
    return Loop(len(machine.sets), len(part.last))


class _Machine:
    """The states of a pattern: `sets` has the characters of each, `next` those that may follow it."""

    def __init__(self) -> None:
        self.sets: list[Ranges] = []
        self.next: list[Counter[int]] = []
        self._meeting: dict[tuple[Ranges, Ranges], bool] = {}
        self._work = MAX_PAIRS

    # from the tree to states

    def read(self, sequence: Any) -> _Part:
        part = _NOTHING
        for op, argument in sequence:
            part = self._join(part, self._read_one(op.name, argument))
        return part

    def _read_one(self, op: str, argument: Any) -> _Part:
        match op:
            case _ if op in CHARACTERS:
                return self._add_state(list_characters(op, argument))
            case "AT":
                return _NOTHING
            case "ASSERT" | "ASSERT_NOT" if all(inner.name in CHARACTERS for inner, _ in argument[1]):
                return _NOTHING
            case "SUBPATTERN":
                return self.read(argument[3])
            case "BRANCH":
                return _choose([self.read(branch) for branch in argument[1]])
            case "MAX_REPEAT" | "MIN_REPEAT":
                return self._repeat(*argument)
        raise _TooMuch

    def _add_state(self, characters: Ranges) -> _Part:
        if len(self.sets) >= MAX_STATES:
            raise _TooMuch
        self.sets.append(characters)
        self.next.append(Counter())
        state = len(self.sets) - 1
        return _Part(0, Counter([state]), Counter([state]))

    def _join(self, one: _Part, two: _Part) -> _Part:
        self.follow(one.last, two.first)
        return _Part(
            one.empty * two.empty,
            one.first + _multiply(two.first, one.empty),
            two.last + _multiply(one.last, two.empty),
        )

    def _repeat(self, least: int, most: int, body: Any) -> _Part:
        """The body *least* times, and then again and again, or up to *most* times within each other."""
        part = _NOTHING
        for _ in range(min(least, MAX_STATES)):
            part = self._join(part, self.read(body))
        rest = _NOTHING
        if most > MAX_STATES:
            rest = self.read(body)
            if rest.empty:
                raise _TooMuch
            self.follow(rest.last, rest.first)
            return self._join(part, _choose([rest, _NOTHING]))
        for _ in range(most - least):
            rest = _choose([self._join(self.read(body), rest), _NOTHING])
        return self._join(part, rest)

    def follow(self, last: Counter[int], first: Counter[int]) -> None:
        self._spend(len(last) * len(first))
        for state, ways in last.items():
            for after, more in first.items():
                self.next[state][after] += ways * more

    def _spend(self, pairs: int) -> None:
        self._work -= pairs
        if self._work < 0:
            raise _TooMuch

    # whether two ways meet

    def is_ambiguous(self, first: Counter[int]) -> bool:
        """Whether two ways that begin in *first* come to one state over one text."""
        begins = [first, *self.next]
        if any(ways > 1 for begin in begins for ways in begin.values()):
            return True
        pairs = {
            pair for begin in begins for pair in self._pair(list(begin), list(begin)) if pair[0] != pair[1]
        }
        waiting = list(pairs)
        while waiting:
            one, two = waiting.pop()
            for pair in self._pair(list(self.next[one]), list(self.next[two])):
                if pair[0] == pair[1]:
                    return True
                if pair not in pairs:
                    pairs.add(pair)
                    waiting.append(pair)
        return False

    def _pair(self, some: list[int], others: list[int]) -> list[tuple[int, int]]:
        """The states of *some* with those of *others* that share a character with them."""
        self._spend(len(some) * len(others))
        return [
            (min(a, b), max(a, b)) for a in some for b in others if self._meet(self.sets[a], self.sets[b])
        ]

    def _meet(self, one: Ranges, two: Ranges) -> bool:
        if (one, two) not in self._meeting:
            self._meeting[one, two] = overlap(one, two)
        return self._meeting[one, two]


def _multiply(states: Counter[int], ways: int) -> Counter[int]:
    return Counter({state: ways * count for state, count in states.items() if ways})


def _choose(parts: list[_Part]) -> _Part:
    first: Counter[int] = Counter()
    last: Counter[int] = Counter()
    for part in parts:
        first.update(part.first)
        last.update(part.last)
    return _Part(sum(part.empty for part in parts), first, last)


# characters


def list_characters(op: str, argument: Any) -> Ranges:
    """The characters that a part of the tree of *op* stands for."""
    if op == "LITERAL":
        return ((argument, argument),)
    if op == "NOT_LITERAL":
        return _exclude([(argument, argument)])
    ranges = sorted((value, value) if op.name == "LITERAL" else value for op, value in argument if value)
    return _exclude(ranges) if argument and argument[0][0].name == "NEGATE" else tuple(ranges)


def _exclude(ranges: list[tuple[int, int]]) -> Ranges:
    """All characters but those in *ranges*, which are sorted."""
    found, start = [], 0
    for low, high in ranges:
        found.append((start, low - 1))
        start = max(start, high + 1)
    return tuple((low, high) for low, high in [*found, (start, 0x10FFFF)] if low <= high)


def overlap(one: Ranges, two: Ranges) -> bool:
    return any(low <= most and least <= high for low, high in one for least, most in two)
