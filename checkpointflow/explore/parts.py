"""What is asked of a value: all that values made up for it must tell apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from checkpointflow.expressions.values import describe_kind
from checkpointflow.json_text import read_json

ELEMENT = "*"
MAX_SIZE = 12
JSON_TEXT = "text of JSON"
"""The kind of texts that `from_json` takes."""


class Part:
    """A part of a value: what it is compared with, whether anything is decided by it, the parts of it.

    kinds: those that all who compute with it take; sizes: how many elements it matters to have; patterns:
    what texts are matched with; choices: all that it may be, if nothing else says what it is; is_key: items
    are told apart by it.
    """

    def __init__(self) -> None:
        self.literals: list[Any] = []
        self.decides = False
        self.kinds: tuple[str, ...] = ()
        self.sizes: list[int] = []
        self.patterns: list[str] = []
        self.choices: list[Any] = []
        self.is_key = False
        self.parts: dict[str, Part] = {}

    @property
    def matters(self) -> bool:
        """Whether anything is decided by it, or by a part of it."""
        return self.decides or any(part.matters for part in self.parts.values())

    @property
    def has_key(self) -> bool:
        """Whether items are told apart by it, or by a part of it."""
        return self.is_key or any(part.has_key for part in self.parts.values())

    def takes(self, value: Any) -> bool:
        """Whether who computes with it can do so with *value*."""
        is_json = isinstance(value, str) and JSON_TEXT in self.kinds and _is_json(value)
        return is_json or not self.kinds or describe_kind(value) in self.kinds

    def compare(self, literals: Iterable[Any], *, decides: bool) -> None:
        """It is looked at beside *literals*; true is not 1."""
        known = {repr(literal) for literal in self.literals}
        self.literals += [literal for literal in literals if repr(literal) not in known]
        self.decides = self.decides or decides

    def want(self, kinds: tuple[str, ...]) -> None:
        """Somebody computes with it who takes only *kinds*."""
        self.kinds = tuple(kind for kind in self.kinds if kind in kinds) or kinds

    def measure(self, *sizes: int) -> None:
        """It matters whether it has so many elements, or is so many."""
        self.sizes += [size for size in sizes if 0 <= size <= MAX_SIZE and size not in self.sizes]

    def at(self, path: Iterable[str | int]) -> Part:
        """The part that *path* leads to, made if it is new; all elements of a list are one."""
        part = self
        for name in path:
            is_index = isinstance(name, int) or name.isdigit()
            if is_index and int(name) > 1:
                part.measure(int(name), int(name) + 1)
            part = part.parts.setdefault(ELEMENT if is_index else str(name), Part())
        return part


def _is_json(text: str) -> bool:
    try:
        read_json(text.encode())
    except ValueError:
        return False
    return True
