"""Where in steps texts with holes stand, how each is read, and which names it may use."""

from __future__ import annotations

from functools import cache
from typing import Literal, TypeAlias

from msgspec import Struct

from checkpointflow.documents.model import AnyStep, Api, Call, Foreach

ALWAYS = frozenset({"inputs", "steps", "run"})
ITEM = frozenset({"item", "item_index"})
_EVENT = frozenset({"event"})
_SECRETS = frozenset({"secrets"})

Names: TypeAlias = tuple[str, ...]
Reader = Literal["condition", "value", "url", "command", "env", "items"]


class Field(Struct, frozen=True):
    """A field of steps whose texts have holes. also: the names that it may use besides the usual ones.

    of: only for this kind of step, where others have the name for something else.
    """

    names: Names
    reader: Reader
    also: frozenset[str] = frozenset()
    of: type | None = None


FIELDS = (
    Field(("if",), "condition"),
    Field(("command",), "command", _SECRETS),
    Field(("env",), "env", _SECRETS),
    Field(("url",), "url", _SECRETS),
    Field(("headers",), "value", _SECRETS),
    Field(("body",), "value", _SECRETS, of=Api),
    *(Field((name,), "value") for name in ("cwd", "prompt", "summary", "instructions", "idempotency_key")),
    Field(("lock", "key"), "value"),
    Field(("artifacts", "path"), "value"),
    Field(("items",), "items"),
    Field(("inputs",), "value", ITEM, of=Foreach),
    Field(("key",), "value", ITEM),
    Field(("inputs",), "value", of=Call),
    Field(("result",), "value"),
    Field(("transitions", "when"), "condition", _EVENT),
    Field(("cases", "when"), "condition"),
)


@cache
def list_fields(kind: type[AnyStep]) -> dict[Names, Field]:
    """The fields of steps of that *kind*."""
    there = {"if" if name == "when" else name for name in kind.__struct_fields__}
    found = (field for field in FIELDS if field.names[0] in there and issubclass(kind, field.of or object))
    return {field.names: field for field in found}
