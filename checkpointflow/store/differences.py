"""Where two JSON values differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import UNSET, Struct


class Difference(Struct, frozen=True, omit_defaults=True):
    """A place, such as `steps.plan.outputs.files[3]`, and what stands there; UNSET: nothing does."""

    at: str
    a: Any = UNSET
    b: Any = UNSET


def differences(a: Any, b: Any, at: str = "") -> Iterator[Difference]:
    """The innermost places where *a* and *b* differ, in the order of *a*, then of *b*."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in [*a, *(key for key in b if key not in a)]:
            yield from differences(a.get(key, UNSET), b.get(key, UNSET), _inside(at, str(key)))
    elif isinstance(a, list) and isinstance(b, list):
        for index in range(max(len(a), len(b))):
            left = a[index] if index < len(a) else UNSET
            right = b[index] if index < len(b) else UNSET
            yield from differences(left, right, f"{at}[{index}]")
    elif not _same(a, b):
        yield Difference(at, a, b)


def _same(a: Any, b: Any) -> bool:
    """As JSON: true is not 1."""
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _inside(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key
