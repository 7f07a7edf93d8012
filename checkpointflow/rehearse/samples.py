"""Values that fit a schema well enough to show what is to be written."""

from __future__ import annotations

from typing import Any

from checkpointflow.documents.model import properties_of


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
