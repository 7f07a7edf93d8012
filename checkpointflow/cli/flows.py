"""`cpf flows`: the workflows that are found by their ids."""

from __future__ import annotations

import json
from typing import Any

import click
from msgspec import UNSET, Struct, to_builtins

from checkpointflow.cli.envelope import Reply, wrap_result
from checkpointflow.cli.location import find_store, join_line
from checkpointflow.cli.options import base_dir_option
from checkpointflow.documents.model import Workflow
from checkpointflow.drivers.catalog import Found, find_flow, list_flows
from checkpointflow.store.files import locate

STAND_INS = {"string": "…", "integer": 0, "number": 0, "boolean": False, "array": [], "object": {}}


class Row(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A document; shadowed: another of the same id is nearer, so `cpf run ID` means that one."""

    id: str | None = None
    name: str | None = None
    description: str | None = None
    version: str | None = None
    file: str
    shadowed: bool = False
    problem: str | None = None


class Input(Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    type: Any = None
    description: str | None = None
    required: bool = False
    default: Any = UNSET
    enum: Any = None


class StepRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    kind: str
    name: str | None = None
    description: str | None = None


@click.command()
@base_dir_option
@click.option("--detail", metavar="ID", help="Show everything about this one, and a line that runs it.")
def command(base_dir: str | None, detail: str | None) -> Reply:
    """List the workflows in .checkpointflow/, here and above, and in the store; `cpf run ID` starts one."""
    base = find_store(base_dir).base
    if detail is not None:
        return wrap_result("flows", _describe(find_flow(detail, locate(), base)))
    seen: set[str] = set()
    rows = []
    for found in list_flows(locate(), base):
        row = _make_row(found, seen)
        rows.append(to_builtins(row))
        seen.add(row.id or "")
    return wrap_result("flows", {"flows": rows})


def _make_row(found: Found, seen: set[str]) -> Row:
    workflow = found.workflow
    if workflow is None:
        return Row(file=str(found.file), problem=found.problem)
    return Row(
        id=workflow.id,
        name=workflow.name,
        description=workflow.description,
        version=None if workflow.version is None else str(workflow.version),
        file=str(found.file),
        shadowed=workflow.id in seen,
    )


def _describe(found: Found) -> dict[str, Any]:
    assert found.workflow is not None
    inputs = list(_list_inputs(found.workflow))
    steps = [
        StepRow(id=s.id, kind=str(s.__struct_config__.tag), name=s.name, description=s.description)
        for s in found.workflow.steps
    ]
    return {
        **to_builtins(_make_row(found, set())),
        "inputs": to_builtins(inputs),
        "steps": to_builtins(steps),
        "run": _write_line(found.workflow, inputs),
    }


def _list_inputs(workflow: Workflow) -> list[Input]:
    schema = workflow.inputs
    required = schema.get("required", ())
    return [
        Input(
            name=name,
            type=inner.get("type"),
            description=inner.get("description"),
            required=name in required,
            default=inner.get("default", UNSET),
            enum=inner.get("enum"),
        )
        for name, inner in schema.get("properties", {}).items()
        if isinstance(inner, dict)
    ]


def _write_line(workflow: Workflow, inputs: list[Input]) -> str:
    """A shell line that runs it, with something of the right type for each input that is required."""
    given = {i.name: _make_stand_in(i) for i in inputs if i.required and i.default is UNSET}
    more = ["--input", json.dumps(given, ensure_ascii=False)] if given else []
    return join_line(["cpf", "run", workflow.id, *more])


def _make_stand_in(wanted: Input) -> Any:
    if isinstance(wanted.enum, list) and wanted.enum:
        return wanted.enum[0]
    return STAND_INS.get(wanted.type if isinstance(wanted.type, str) else "string", "…")
