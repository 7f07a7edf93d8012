"""Values that fit a schema well enough to show what is to be written, and values as YAML on one line."""

from __future__ import annotations

import re
from typing import Any

from checkpointflow.documents.model import properties_of
from checkpointflow.expressions.values import as_json

_PLAIN = re.compile(r"[A-Za-z_/.][A-Za-z0-9_/. @%+-]*(?<! )")
_CONSTANTS = ("true", "false", "null", "~", "True", "False", "Null", "TRUE", "FALSE", "NULL")


def make_sample(schema: Any) -> Any:
    """A value such as *schema*, right or wrong, asks for: required members, a first choice, else `…`."""
    if not isinstance(schema, dict):
        return "…"
    for keyword in ("const", "default"):
        if keyword in schema:
            return schema[keyword]
    for keyword in ("enum", "examples"):
        if isinstance(schema.get(keyword), list) and schema[keyword]:
            return schema[keyword][0]
    kinds = schema.get("type", "object" if "properties" in schema or "required" in schema else None)
    kind = kinds[0] if isinstance(kinds, list) and kinds else kinds
    if kind == "object":
        wanted = schema.get("required")
        properties = properties_of(schema)
        return {name: make_sample(properties.get(name)) for name in wanted or () if isinstance(name, str)}
    samples: dict[Any, Any] = {"boolean": True, "integer": 1, "number": 1, "array": [], "null": None}
    return samples.get(kind, "…") if isinstance(kind, str) else "…"


def write_flow(value: Any) -> str:
    """*value* as YAML on one line."""
    match value:
        case dict():
            return "{" + ", ".join(f"{write_flow(name)}: {write_flow(v)}" for name, v in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(write_flow, value)) + "]"
        case str() if value == "…" or (_PLAIN.fullmatch(value) and value not in _CONSTANTS):
            return value
        case _:
            return as_json(value)
