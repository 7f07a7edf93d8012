"""Values of one kind made of those of another, which say the same in other words."""

from __future__ import annotations

from typing import Any, TypeVar

from msgspec import Struct

S = TypeVar("S", bound=Struct)


def copy_as(source: Struct, kind: type[S], /, **changed: Any) -> S:
    """*source* as one of *kind*, which has no fields but those of *source* and those that are *changed*."""
    same = {name: getattr(source, name) for name in kind.__struct_fields__ if name not in changed}
    return kind(**same, **changed)
