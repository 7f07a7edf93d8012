"""Where in steps texts with holes stand, how each is read, which names it may use, and what stands there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from checkpointflow.diagnostics import Diagnostic, Path
from checkpointflow.documents.graph import StepList
from checkpointflow.documents.model import AnyStep, Api, Call, Cli, Foreach
from checkpointflow.documents.parts import (
    Attempts,
    Concurrency,
    ExitCode,
    Patience,
    Pause,
    Seconds,
    StatusCode,
)
from checkpointflow.errors import ExpressionError
from checkpointflow.expressions.syntax import Expression, references
from checkpointflow.expressions.templates import Template, holes, list_leaves
from checkpointflow.expressions.urls import UrlTemplate
from checkpointflow.shells.scripts import CommandHole, CommandTemplate, command_holes

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
    Field(("key",), "value", ITEM),
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


# What was found there

PARTS_KEPT = ("stdout", "stderr", "headers")  # of what a step said, only where the document refers to it


class Use(Struct, frozen=True):
    """An expression in a document. number: its step's in *body*, None for what is no step's.

    field: the first part of where it stands in its step; hole: of a command.
    """

    path: Path
    expression: Expression
    names: frozenset[str]
    body: StepList
    number: int | None
    field: str
    hole: CommandHole | None = None

    @property
    def step(self) -> AnyStep | None:
        """The step that it is of."""
        return None if self.number is None else self.body.steps[self.number]


def list_uses(
    path: Path, read: Any, names: frozenset[str], steps: StepList, index: int | None
) -> Iterator[Use | Diagnostic]:
    """The expressions in what was *read* at *path*, and its faults."""
    field = str(path[len(steps.path) + 1] if index is not None else path[1])
    for inner, found in list_leaves(read):
        at = (*path, *inner)
        if isinstance(found, ExpressionError):
            offset = found.column - 1
            yield Diagnostic(found.problem, at, found.hint, quotes=(found.text,), offset=offset)
        else:
            for expression, hole in list_holes(found):
                yield Use(at, expression, names, steps, index, field, hole)


def list_holes(read: Any) -> list[tuple[Expression, CommandHole | None]]:
    """The expressions of a text that was *read*; none for what has no holes."""
    match read:
        case Expression():
            return [(read, None)]
        case CommandTemplate():
            return [(hole.expression, hole) for hole in command_holes(read)]
        case UrlTemplate(template=template) | (Template() as template):
            return [(expression, None) for expression in holes(template)]
    return []


def find_parts_read(use: Use | Diagnostic) -> Iterator[tuple[str, str]]:
    for path in references(use.expression) if isinstance(use, Use) else ():
        if path[0] == "steps" and len(path) > 2 and path[2] in PARTS_KEPT:
            yield str(path[1]), str(path[2])


def may_name(part: msgspec.Struct, *words: str) -> bool:
    """Whether an expression in *part* may name any of *words*: only such parts are read to find out."""
    text = msgspec.json.encode(part).decode()
    return any(word in text for word in (*words, "\\u"))  # an escape may hide it
