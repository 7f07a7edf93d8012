"""Questions to a person, as a client can show them: a form of few kinds of fields, and what comes back.

A form is looser than the schema that it stands for: what a field cannot say, and an optional field that no
form has, is left out of it. The answer is checked by the schema when it is delivered.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from checkpointflow.cli.encoding import escape
from checkpointflow.cli.location import command_for
from checkpointflow.engine.facts import Wait
from checkpointflow.engine.run import Run, waits
from checkpointflow.mcp.protocol import Client
from checkpointflow.store.directory import RunDirectory

MAX_MESSAGE = 8000
NUMBERS = {"integer": "^-?[0-9]+$", "number": "^-?[0-9]+(\\.[0-9]+)?$"}
KEPT = {
    "string": ("minLength", "maxLength", "default"),
    "integer": ("minimum", "maximum", "default"),
    "number": ("minimum", "maximum", "default"),
    "boolean": ("default",),
}
FORMATS = ("email", "uri", "date", "date-time")
KNOWN = {
    "type",
    "properties",
    "required",
    "title",
    "description",
    "additionalProperties",
    "$schema",
    "examples",
}


class Question(Struct, frozen=True):
    """A wait that a client can ask a person about. key: of this wait and no other, before or after it."""

    key: str
    path: str
    wait: Wait
    request: dict[str, Any]


def name_question(path: str, started_at: str) -> str:
    """What names the wait at *path* among all of a run, the same step asked anew included."""
    return f"{path}@{started_at}"


def list_questions(
    directory: RunDirectory, run: Run, client: Client, lacks: dict[str, str] | None = None
) -> dict[str, Question]:
    """What the client can ask a person of what *run* asks, by key.

    *lacks*: what was wrong with the last answer.
    """
    found = {}
    for path, record in waits(run).items() if run.status == "waiting" and client.has_forms else ():
        form = make_form(record.wait.input_schema, client)
        if record.wait.audience == "user" and form is not None:
            key = name_question(path, record.started_at)
            message = _write_message(directory, path, record.wait, form, (lacks or {}).get(key))
            params = {"message": message, "requestedSchema": form}
            if client.revision != "2025-06-18":
                params = {"mode": "form", **params}
            found[key] = Question(key, path, record.wait, {"method": "elicitation/create", "params": params})
    return found


def _write_message(
    directory: RunDirectory, path: str, wait: Wait, form: dict[str, Any], lack: str | None
) -> str:
    texts = [text for text in (wait.prompt, wait.summary, wait.instructions) if text]
    texts = [f"Your last answer was not taken: {lack}", *texts] if lack else texts
    text = escape("\n\n".join(texts) or f"The run waits for {wait.event_name}.")
    text = text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"
    risk = f", risk {escape(wait.risk_level)}" if wait.risk_level else ""
    lines = [text, f"(run {directory.place.name}, step {path}{risk})"]
    left_out = [name for name in wait.input_schema.get("properties", {}) if name not in form["properties"]]
    if left_out:
        line = command_for("answer", directory, "--step", path)
        lines.append(escape(f"(not asked here: {', '.join(left_out)}; to give it: {line})"))
    return "\n\n".join(lines)


def make_form(schema: dict[str, Any], client: Client) -> dict[str, Any] | None:
    """*schema* as a form, or None if what must be answered has no place in one."""
    properties, required = schema.get("properties"), schema.get("required", [])
    if schema.get("type") != "object" or not isinstance(properties, dict) or set(schema) - KNOWN:
        return None
    fields = {name: field for name, s in properties.items() if (field := _make_field(s, client)) is not None}
    if not fields or not set(required) <= set(fields):
        return None
    return {"type": "object", "properties": fields, "required": list(required)}


def _make_field(schema: Any, client: Client) -> dict[str, Any] | None:
    if not isinstance(schema, dict):
        return None
    about = {key: escape(schema[key]) for key in ("title", "description") if isinstance(schema.get(key), str)}
    kind = schema.get("type")
    choices = _find_choices(schema)
    if choices is not None:
        return {"type": "string", **about, **choices}
    if kind == "array" and client.shows_numbers and client.revision != "2025-06-18":
        items = schema.get("items")
        inner = _find_choices(items) if isinstance(items, dict) else None
        if inner is not None and "enum" in inner:
            limits = {key: schema[key] for key in ("minItems", "maxItems", "default") if key in schema}
            return {"type": "array", **about, "items": {"type": "string", **inner}, **limits}
    if not isinstance(kind, str) or kind not in KEPT or "enum" in schema or "const" in schema:
        return None
    if kind in NUMBERS and not client.shows_numbers:
        return {"type": "string", **about, "pattern": NUMBERS[kind]}
    kept = {key: schema[key] for key in KEPT[kind] if key in schema}
    more = {"format": schema["format"]} if schema.get("format") in FORMATS else {}
    return {"type": kind, **about, **kept, **more}


def _find_choices(schema: dict[str, Any]) -> dict[str, Any] | None:
    """The texts of which *schema* allows one."""
    if schema.get("type", "string") != "string":
        return None
    default = {"default": schema["default"]} if isinstance(schema.get("default"), str) else {}
    enum = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(enum, list) and enum and all(isinstance(value, str) for value in enum):
        return {"enum": enum, **default}
    titled = schema.get("oneOf")
    if isinstance(titled, list) and titled and all(_is_titled(choice) for choice in titled):
        named = [
            {"const": choice["const"], "title": choice.get("title", choice["const"])} for choice in titled
        ]
        return {"oneOf": named, **default}
    return None


def _is_titled(choice: Any) -> bool:
    is_choice = isinstance(choice, dict) and not set(choice) - {"const", "title", "description"}
    return is_choice and isinstance(choice.get("const"), str) and isinstance(choice.get("title", ""), str)


def read_content(schema: dict[str, Any], content: Any) -> Any:
    """The answer in *content*, as a form gave it: numbers that it has as text become numbers."""
    if not isinstance(content, dict):
        return {}
    properties = schema.get("properties", {})
    return {name: _read_field(properties.get(name), value) for name, value in content.items()}


def _read_field(schema: Any, value: Any) -> Any:
    if not isinstance(value, str) or not isinstance(schema, dict) or schema.get("type") not in NUMBERS:
        return value
    try:
        number = msgspec.json.decode(value.strip())
    except msgspec.MsgspecError:
        return value
    return number if isinstance(number, int | float) and not isinstance(number, bool) else value
