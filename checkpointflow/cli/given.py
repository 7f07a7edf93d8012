"""What is given on the command line for a JSON Schema: `--input JSON`, and `--set NAME=VALUE` over it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from checkpointflow.cli.options import read_input
from checkpointflow.errors import CheckpointflowError, UsageError

F = TypeVar("F", bound=Callable[..., Any])
Refusal = Callable[..., CheckpointflowError]


def given_options(about: str) -> Callable[[F], F]:
    """`--input`, `--set`: what is *about*."""

    def decorate(command: F) -> F:
        decorated = click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="NAME=VALUE",
            help="One field of it, as the schema types it; NAME:=VALUE is JSON. May be given again.",
        )(command)
        return click.option("--input", "given", metavar="JSON", help=f"{about}: JSON, @file or - (stdin).")(
            decorated
        )

    return decorate


def read_given(given: str | None, settings: tuple[str, ...], schema: dict[str, Any], refusal: Refusal) -> Any:
    """The value that they mean, of which nobody knows yet whether it fits *schema*.

    Raises *refusal* for what is no JSON, UsageError for a setting that is none, FileMissing.
    """
    value = {} if given is None else read_input(given, refusal)
    if not settings:
        return value
    if not isinstance(value, dict):
        raise UsageError(problem="--set adds fields to an object, and --input gives none")
    return value | dict(_read_setting(text, schema, refusal) for text in settings)


def _read_setting(text: str, schema: dict[str, Any], refusal: Refusal) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or name in ("", ":"):
        raise UsageError(problem=f"--set {text}: write NAME=VALUE, or NAME:=JSON")
    if name.endswith(":"):
        return name[:-1], _read_json(name[:-1], value, refusal)
    fields = schema.get("properties")
    field = fields.get(name) if isinstance(fields, dict) else None
    return name, _read_typed(name, value, field if isinstance(field, dict) else {}, refusal)


def _read_typed(name: str, text: str, field: dict[str, Any], refusal: Refusal) -> Any:
    """*text*, where the schema lets it be one; else the JSON that it is."""
    choices = field.get("enum", [field["const"]] if "const" in field else None)
    if isinstance(choices, list):
        return text if text in choices else _read_if_json(text)
    kinds = field.get("type", "string")
    return text if "string" in kinds else _read_json(name, text, refusal)


def _read_json(name: str, text: str, refusal: Refusal) -> Any:
    try:
        return _parse(text)
    except ValueError as error:
        raise refusal(problem=f"--set {name}: {error}") from None


def _read_if_json(text: str) -> Any:
    try:
        return _parse(text)
    except ValueError:
        return text  # whoever checks it says what was expected


def _parse(text: str) -> Any:
    from checkpointflow.json_text import read_json

    return read_json(text.encode("utf-8", "surrogateescape"))
