"""`cpf schema`: the published JSON Schemas, made from the very Structs that read and write the documents."""

from __future__ import annotations

from typing import Any

import click
import msgspec

SCHEMAS = {
    "workflow": ("checkpointflow.schema.json", "checkpointflow/v1", "A checkpointflow workflow"),
    "envelope": ("checkpointflow-run-envelope.schema.json", "checkpointflow-run/v1", "What cpf prints"),
    "state": ("checkpointflow-state.schema.json", "checkpointflow-state/v1", "The snapshot of a run"),
}


@click.command()
@click.argument("name", type=click.Choice(tuple(SCHEMAS)))
def command(name: str) -> None:
    """Print a published JSON Schema."""
    click.echo(text(name), nl=False)


def text(name: str) -> bytes:
    """The published schema called *name*, as its file in `schemas/` holds it."""
    _, version, title = SCHEMAS[name]
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:checkpointflow:{version.replace('/', ':')}",
        "title": title,
        **msgspec.json.schema(_type(name)),
    }
    return msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"


def _type(name: str) -> Any:
    if name == "workflow":
        from checkpointflow.language.workflow import Document

        return Document
    if name == "envelope":
        from checkpointflow.cli.envelope import Envelope

        return Envelope
    from checkpointflow.engine.run import Run

    return Run
