"""Workflows as tools: their names, what they are for, and the schemas of what they take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from checkpointflow.documents.graph import list_steps
from checkpointflow.documents.model import AwaitEvent, Workflow
from checkpointflow.drivers.catalog import list_files
from checkpointflow.drivers.sources import ReadDocument, read_workflow
from checkpointflow.errors import CheckpointflowError
from checkpointflow.patterns import compile_late
from checkpointflow.store.cache import Cache
from checkpointflow.store.files import digest, locate

MAX_NAME = 48
MAX_DESCRIPTION = 2000

# What some models refuse in the schema of a tool's arguments.
_UNFIT = {"anyOf", "oneOf", "allOf", "not", "if", "enum", "const", "$ref", "$dynamicRef"}
_PROPERTY = compile_late("[A-Za-z0-9_.-]{1,64}")
_DATA = ("const", "enum", "default", "examples")


class Flow(NamedTuple):
    """A workflow that can be run, with those that it calls."""

    workflow: Workflow
    document: ReadDocument
    file: Path

    @property
    def is_wrapped(self) -> bool:
        """Whether its inputs come as one argument, `inputs`, since their schema is not one for arguments."""
        schema = self.workflow.inputs
        names = schema.get("properties", {})
        is_odd = schema.get("type", "object") != "object" or bool(set(schema) & _UNFIT)
        return is_odd or not all(map(_PROPERTY.fullmatch, names if isinstance(names, dict) else ()))


def find_flows(base: Path, taken: set[str]) -> dict[str, Flow]:
    """The workflows by the names of their tools, none of which is *taken*.

    Those that are valid, and that `cpf run ID` would find from here and with the store at *base*.
    """
    found: dict[str, Flow] = {}
    doubled = set()
    for flow in _read_flows(base):
        other = found.setdefault(flow.workflow.id, flow)
        if other is not flow and other.file.parent == flow.file.parent:
            doubled.add(flow.workflow.id)  # `cpf run ID` would refuse to choose
    names = _name_all([id_ for id_ in found if id_ not in doubled], taken)
    return {name: found[id_] for name, id_ in sorted(names.items())}


def _read_flows(base: Path) -> Iterator[Flow]:
    for file in list_files(locate(), base):
        try:
            document = read_workflow(file, cache=Cache(base)).document
        except CheckpointflowError:
            continue  # `cpf flows` and `cpf validate` tell what is wrong with it
        yield Flow(document.workflow, document, file)


def _name_all(ids: list[str], taken: set[str]) -> dict[str, str]:
    """The ids by names of tools: an id that is short and free is its own, any other ends in a digest."""
    names = {id_: id_ for id_ in ids if len(id_) <= MAX_NAME and id_ not in taken}
    for id_ in ids:
        if id_ not in names:
            candidates = (_abbreviate(id_, length) for length in range(8, MAX_NAME - 1))
            names[next(name for name in candidates if name not in names)] = id_
    return names


def _abbreviate(id_: str, length: int) -> str:
    return f"{id_[: MAX_NAME - length - 1]}_{digest(id_.encode())[:length]}"


def describe_flow(flow: Flow) -> str:
    """What it is for, and for whom it pauses."""
    workflow = flow.workflow
    text = (workflow.description or workflow.name or workflow.id).strip()
    text = text if len(text) <= MAX_DESCRIPTION else text[: MAX_DESCRIPTION - 1] + "…"
    pauses = list(dict.fromkeys(_list_pauses(flow.document)))
    end = "" if text.endswith((".", "!", "?", "…")) else "."
    return text + end + (f" Pauses for {', '.join(pauses)}." if pauses else "")


def _list_pauses(document: ReadDocument) -> Iterator[str]:
    for body in list_steps(document.workflow):
        for step in body.steps:
            if isinstance(step, AwaitEvent):
                yield f"{step.audience} ({step.event_name})"
    for called in document.called.values():
        yield from _list_pauses(called)


def make_input_schema(flow: Flow) -> dict[str, Any]:
    """The schema of the tool's arguments: that of the workflow's inputs, or one that has them as `inputs`."""
    schema = {key: value for key, value in flow.workflow.inputs.items() if key != "$schema"}
    if not flow.is_wrapped:
        return {"type": "object", **schema}
    inner = {"inputs": _move_references(schema)}
    return {"type": "object", "required": ["inputs"], "properties": inner, "additionalProperties": False}


def _move_references(schema: Any) -> Any:
    """*schema* with its references to parts of itself as they are written from outside of `inputs`."""
    if isinstance(schema, list):
        return [_move_references(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {key: value if key in _DATA else _move_references(value) for key, value in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and (reference == "#" or reference.startswith("#/")):
        moved["$ref"] = f"#/properties/inputs{reference[1:]}"
    return moved
