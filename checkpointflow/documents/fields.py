"""Where in steps texts with holes stand, how each is read, and which names it may use."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct

from checkpointflow.documents.model import (
    AnyStep,
    Api,
    Attempts,
    Call,
    Cli,
    Concurrency,
    ExitCode,
    Foreach,
    Patience,
    Pause,
    Seconds,
    StatusCode,
)

ALWAYS = frozenset({"inputs", "steps", "run", "env"})
ITEM = frozenset({"item", "item_index"})
_EVENT = frozenset({"event"})
SECRETS = frozenset({"secrets"})

Names: TypeAlias = tuple[str, ...]
Reader = Literal["condition", "value", "url", "command", "env", "stdin", "items"]


class Field(Struct, frozen=True):
    """A field of steps whose texts have holes. also: the names that it may use besides the usual ones.

    of: only for this kind of step, where others have the name for something else; fits: the type of what
    a hole may hold that is the whole of it, of a parameter that is no text.
    """

    names: Names
    reader: Reader
    also: frozenset[str] = frozenset()
    of: type | None = None
    fits: Any = None


FIELDS = (
    Field(("if",), "condition"),
    Field(("command",), "command", SECRETS),
    Field(("env",), "env", SECRETS),
    Field(("stdin",), "stdin", SECRETS),
    Field(("url",), "url", SECRETS),
    Field(("headers",), "value", SECRETS),
    Field(("body",), "value", SECRETS, of=Api),
    *(Field((name,), "value") for name in ("cwd", "prompt", "summary", "instructions", "idempotency_key")),
    Field(("lock", "key"), "value"),
    Field(("artifacts", "path"), "value"),
    Field(("items",), "items"),
    Field(("inputs",), "value", ITEM, of=Foreach),
    Field(("inputs",), "value", of=Call),
    Field(("result",), "value"),
    Field(("transitions", "when"), "condition", _EVENT),
    Field(("cases", "when"), "condition"),
    Field(("workflow_ref",), "value", ITEM, of=Foreach),
    Field(("workflow_ref",), "value", of=Call),
    Field(("timeout_seconds",), "value", fits=Seconds),
    Field(("retry", "max_attempts"), "value", fits=Attempts),
    Field(("retry", "backoff_seconds"), "value", fits=Pause),
    Field(("retry", "max_backoff_seconds"), "value", fits=Pause),
    Field(("retry", "on"), "value", fits=tuple[StatusCode, ...]),
    Field(("lock", "timeout_seconds"), "value", fits=Patience),
    Field(("max_concurrency",), "value", fits=Concurrency),
    Field(
        ("success", "exit_codes"), "value", of=Cli, fits=Annotated[tuple[ExitCode, ...], Meta(min_length=1)]
    ),
    Field(
        ("success", "status_codes"),
        "value",
        of=Api,
        fits=Annotated[tuple[StatusCode, ...], Meta(min_length=1)],
    ),
)

DEFAULTS = tuple(field for field in FIELDS if field.fits and field.names[0] in ("timeout_seconds", "retry"))
"""The parameters that the defaults of a workflow have, too."""


@cache
def list_fields(kind: type[AnyStep]) -> dict[Names, Field]:
    """The fields of steps of that *kind*."""
    there = {"if" if name == "when" else name for name in kind.__struct_fields__}
    found = (field for field in FIELDS if field.names[0] in there and issubclass(kind, field.of or object))
    return {field.names: field for field in found}
