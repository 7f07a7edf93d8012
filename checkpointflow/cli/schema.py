"""`cpf schema`: the published JSON Schemas, made from the very Structs that read and write the documents."""

from __future__ import annotations

import re
from typing import Any

import click
import msgspec

SCHEMAS = {
    "workflow": ("checkpointflow.schema.json", "checkpointflow/v1", "A checkpointflow workflow"),
    "envelope": ("checkpointflow-run-envelope.schema.json", "checkpointflow-run/v1", "What cpf prints"),
    "test": (
        "checkpointflow-test.schema.json",
        "checkpointflow-test/v1",
        "Tests of a checkpointflow workflow",
    ),
    "state": ("checkpointflow-state.schema.json", "checkpointflow-state/v1", "The snapshot of a run"),
}


@click.command()
@click.argument("name", type=click.Choice(tuple(SCHEMAS)))
def command(name: str) -> None:
    """Print a published JSON Schema."""
    click.echo(write_schema(name), nl=False)


def write_schema(name: str) -> bytes:
    """The published schema called *name*, as its file in `schemas/` holds it."""
    _, version, title = SCHEMAS[name]
    made = _align_left(msgspec.json.schema(_find_type(name)))
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:checkpointflow:{version.replace('/', ':')}",
        **(adapt_for_editors(made, _ROOTS[name]) if name in _ROOTS else made),
        "title": title,
    }
    return msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"


def _align_left(schema: Any) -> Any:
    """*schema* with its texts as Python 3.13 gives them: before, docstrings kept their indentation."""
    match schema:
        case list():
            return [_align_left(inner) for inner in schema]
        case dict():
            return {name: _align_left(inner) for name, inner in schema.items()}
        case str():
            return "\n".join(line.strip() for line in schema.strip().split("\n"))
        case _:
            return schema


def _find_type(name: str) -> Any:
    if name == "workflow":
        from checkpointflow.documents.model import Document

        return Document
    if name == "test":
        from checkpointflow.rehearse.fixtures import Fixture

        return Fixture
    if name == "envelope":
        from checkpointflow.cli.envelope import Envelope

        return Envelope
    from checkpointflow.store.snapshot import Snapshot

    return Snapshot


_ROOTS = {"workflow": "Document", "test": "Fixture"}
"""What people write in an editor, by the Struct of the whole of it."""


def adapt_for_editors(schema: Any, root: str) -> Any:
    """*schema*, of the Struct *root*, which means the same, as an editor can make the most of it.

    The whole stands at the root and not behind a reference, each definition has a title for people, what
    can be one value only is a `const`, a type that may be absent is told in one line, and nothing stands
    there that an editor would show or fill in to no use.
    """
    from checkpointflow.documents.model import MAY_BE_EMPTY

    empty, extensions = set[str](), dict[str, Any]()
    if root == "Document":
        empty, extensions = set(MAY_BE_EMPTY), {"patternProperties": {"^x-": {}}}
    definitions = {name: _describe(name, inner, empty) for name, inner in schema["$defs"].items()}
    return {**definitions.pop(root), **extensions, "$defs": definitions}


def _describe(name: str, definition: Any, empty: set[str]) -> Any:
    """The definition of a Struct, in words for whoever writes it; those that may be *empty* may hold null."""
    described = _simplify(definition)
    for field in described["properties"].keys() & empty:
        described["properties"][field] = _or_nothing(described["properties"][field])
    kind = described["properties"].get("kind")
    if kind is None:
        return {**described, "title": re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()}
    kind["description"] = described["description"]
    return {**described, "title": f"{kind['const']} step"}


def _or_nothing(schema: dict[str, Any]) -> dict[str, Any]:
    if "type" in schema:
        return {**schema, "type": [schema["type"], "null"]}
    others = {keyword: value for keyword, value in schema.items() if keyword != "$ref"}
    return {"anyOf": [{"$ref": schema["$ref"]}, {"type": "null"}], **others}


def _simplify(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_simplify(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {keyword: _simplify_within(keyword, value) for keyword, value in schema.items()}
    if choice := plain.pop("discriminator", None):
        # OpenAPI's, unknown to JSON Schema. Editors offer all kinds only if they are listed in one place.
        kinds = {"description": "What kind of step it is.", "enum": list(choice["mapping"])}
        plain["properties"] = {choice["propertyName"]: kinds}
    if plain.get("default", True) in (None, {}, (), []):
        del plain["default"]
    if len(plain.get("enum", ())) == 1:
        plain["const"] = plain.pop("enum")[0]
    return _merge_types(plain) if "anyOf" in plain else plain


def _simplify_within(keyword: str, value: Any) -> Any:
    if keyword == "properties":
        return {name: _simplify(inner) for name, inner in value.items()}
    return (
        value if keyword in ("default", "discriminator", "examples", "enum", "required") else _simplify(value)
    )


def _merge_types(schema: dict[str, Any]) -> dict[str, Any]:
    """*schema* with its alternatives of which each is one type, and at most one says more, made one."""
    branches = schema["anyOf"]
    if {"type": "number"} in branches:
        branches = schema["anyOf"] = [branch for branch in branches if branch != {"type": "integer"}]
    bare = [branch for branch in branches if branch.keys() == {"type"}]
    others = [branch for branch in branches if branch not in bare]
    if not bare or len(others) > 1 or not all("type" in branch for branch in others):
        return schema
    types = [branch["type"] for branch in (*others, *bare)]
    inner = others[0] if others else {}
    return {**inner, **{k: v for k, v in schema.items() if k != "anyOf"}, "type": types}
