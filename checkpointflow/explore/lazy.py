"""Values that are decided when somebody looks: an object of which nobody knows yet what is in it.

What a document does not look at on some way need not be decided there, and what is looked at late is decided
late: so the cost follows what a document asks, not how many values there are. Whoever looks at a member that
is not decided is stopped by `Undecided`, and told again once for each value that it may have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

from msgspec import UNSET, Struct

from checkpointflow.explore.values import Fields, Leaf, Shape

T = TypeVar("T")
Key: TypeAlias = tuple[str, ...]
"""A decision: the name of the value, the way to the part of it, and behind that `?` for its presence."""
Decisions: TypeAlias = Mapping[Key, Any]

PRESENCE = "?"
INPUTS = "inputs"
"""What the inputs of the run are called."""


class Undecided(Exception):
    """Somebody looked at what is not decided: *key*, which may be any of *values*."""

    def __init__(self, key: Key, values: tuple[Any, ...]) -> None:
        self.key, self.values = key, values


class Oracle:
    """What is decided at this moment."""

    def __init__(self) -> None:
        self.decisions: Decisions = {}

    def decide(self, key: Key, values: tuple[Any, ...]) -> Any:
        """What was decided of *key*. Raises Undecided."""
        if len(values) == 1:
            return values[0]
        if key in self.decisions:
            return self.decisions[key]
        raise Undecided(key, values)

    def branch(self, decisions: Decisions, do: Callable[[], T]) -> Iterator[tuple[Decisions, T]]:
        """What *do* comes to, for each way to decide what it looks at."""
        ahead = [decisions]
        while ahead:
            self.decisions = ahead.pop()
            try:
                found = do()
            except Undecided as asked:
                ahead += [{**self.decisions, asked.key: value} for value in reversed(asked.values)]
            else:
                yield self.decisions, found


class Unknown(Struct, frozen=True):
    """What is not decided, as somebody sees it who does not ask."""

    key: Key


class Lazy(dict[str, Any]):  # noqa: PLW1641, no dict has a hash
    """The object called *name*, or a part of it. What C code finds in it is its plainest form."""

    def __init__(self, oracle: Oracle, name: Key, fields: Fields) -> None:
        self.oracle, self.name, self.fields = oracle, name, fields
        self.inner = {
            key: Lazy(oracle, (*name, key), shape)
            for key, shape in fields.members.items()
            if isinstance(shape, Fields)
        }
        firsts = {key: _first(shape, self.inner.get(key)) for key, shape in fields.members.items()}
        super().__init__({key: value for key, value in firsts.items() if value is not UNSET})

    def _decide(self, key: str) -> Any:
        """The member, UNSET for none. Raises Undecided."""
        match self.fields.members.get(key):
            case Leaf(values):
                return self.oracle.decide((*self.name, key), values)
            case Fields(optional=optional):
                is_there = not optional or self.oracle.decide((*self.name, key, PRESENCE), (True, False))
                return self.inner[key] if is_there else UNSET
            case _:
                return UNSET

    def peek(self, key: str) -> Any:
        """The member as it is known now."""
        try:
            return self._decide(key)
        except Undecided as asked:
            return Unknown(asked.key)

    def decide_all(self) -> dict[str, Any]:
        """All members, decided. Raises Undecided."""
        found = {key: self._decide(key) for key in self.fields.members}
        return {key: value for key, value in found.items() if value is not UNSET}

    def __getitem__(self, key: str) -> Any:
        value = self._decide(key)
        if value is UNSET:
            raise KeyError(key)
        return value

    def __contains__(self, key: object) -> bool:
        shape = self.fields.members.get(str(key))
        if isinstance(shape, Leaf) and UNSET not in shape.values:
            return True
        return shape is not None and self._decide(str(key)) is not UNSET

    def get(self, key: str, default: Any = None) -> Any:
        value = self._decide(key)
        return default if value is UNSET else value

    def __iter__(self) -> Iterator[str]:
        return iter(self.decide_all())

    def __len__(self) -> int:
        return len(self.decide_all())

    def keys(self) -> Any:
        return self.decide_all().keys()

    def values(self) -> Any:
        return self.decide_all().values()

    def items(self) -> Any:
        return self.decide_all().items()

    def __eq__(self, other: object) -> bool:
        return self is other  # the engine asks whether there are no outputs at all: that decides nothing


def _first(shape: Shape, inner: Lazy | None) -> Any:
    return inner if not isinstance(shape, Leaf) else shape.values[0]


def make(oracle: Oracle, name: str, shape: Shape) -> list[Any]:
    """The values of *shape*: one whose members are not decided, or else all that there are."""
    if isinstance(shape, Fields):
        return [Lazy(oracle, (name,), shape)]
    return [value for value in shape.values if value is not UNSET]


def decide_all(value: Any) -> Any:
    """*value* without anything lazy in it. Raises Undecided."""
    if isinstance(value, dict):
        return {key: decide_all(inner) for key, inner in value.items()}
    return [decide_all(inner) for inner in value] if isinstance(value, list) else value


def fill(value: Any, decisions: Decisions) -> Any:
    """*value* as *decisions* have it, and where they say nothing, in its plainest form."""
    if isinstance(value, Lazy):
        found = {}
        for key, shape in value.fields.members.items():
            if isinstance(shape, Leaf):
                member = decisions.get((*value.name, key), shape.values[0])
            else:
                is_there = decisions.get((*value.name, key, PRESENCE), True)
                member = fill(value.inner[key], decisions) if is_there else UNSET
            if member is not UNSET:
                found[key] = member
        return found
    if isinstance(value, dict):
        return {key: fill(inner, decisions) for key, inner in value.items()}
    return [fill(inner, decisions) for inner in value] if isinstance(value, list) else value
