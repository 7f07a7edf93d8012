"""A document that was read, as JSON that names each Struct in it, and back.

msgspec would make the same of plain JSON, but look through the types of all fields first. That takes as long
as a tenth of a start, and nobody else asks for them where a document was checked before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import NODEFAULT, Struct, json

from checkpointflow.diagnostics import Diagnostic
from checkpointflow.documents import model


class Understood(Struct, frozen=True):
    """What a document says. is_checked: it was, and nothing is wrong with it but the warnings."""

    workflow: model.Workflow
    is_checked: bool
    warnings: tuple[Diagnostic, ...]


_KINDS: dict[str, type[Struct]] = {
    kind.__name__: kind
    for kind in (*vars(model).values(), Diagnostic, Understood)
    if isinstance(kind, type) and issubclass(kind, Struct)
}


def pack(document: Understood) -> bytes:
    """*document* as bytes, for this version of the package only."""
    return json.encode(_pack(document))


def unpack(data: bytes) -> Understood:
    """The document of which `pack` made *data*."""
    document: Understood = _unpack(json.decode(data))
    return document


def _pack(value: Any) -> Any:
    match value:
        case Struct():
            return {type(value).__name__: {name: _pack(own) for name, own in _list_changed(value)}}
        case tuple():
            return list(map(_pack, value))
        case dict() | list():  # what an author wrote, which is JSON
            return {"": value}
        case _:
            return value


def _list_changed(struct: Struct) -> Iterator[tuple[str, Any]]:
    """The fields of *struct* that are not what they are by default."""
    names, defaults = struct.__struct_fields__, struct.__struct_defaults__
    of_all = (NODEFAULT,) * (len(names) - len(defaults)) + defaults
    for name, default in zip(names, of_all, strict=True):
        if (value := getattr(struct, name)) is not default:
            yield name, value


def _unpack(packed: Any) -> Any:
    match packed:
        case list():
            return tuple(map(_unpack, packed))
        case {"": value}:
            return value
        case dict():
            [(name, fields)] = packed.items()
            return _KINDS[name](**{field: _unpack(value) for field, value in fields.items()})
        case _:
            return packed
