"""Numbers where text is wanted: there a number is the text that it is written as, and 3.10 is not 3.1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from checkpointflow.documents.yaml import Node
from checkpointflow.expressions.bodies import FORM, find_media_type

_EACH = "*"
_PARTS: Mapping[str, Mapping[str, str]] = {
    "document": {"workflow": "workflow"},
    "workflow": {"version": "text", "steps": "steps"},
    "steps": {_EACH: "step"},
    "cli": {"env": "texts"},
    "api": {"headers": "texts"},
    "form": {"headers": "texts", "body": "texts"},
    "foreach": {"body": "steps"},
    "parallel": {"branches": "branches"},
    "branches": {_EACH: "branch"},
    "branch": {"steps": "steps"},
    "texts": {_EACH: "texts"},
}


def respell(node: Node, what: str) -> Any:
    """The value of *node*, which is that part of a document, with numbers as texts where it wants texts.

    What an alias shares with another part stays as it is there.
    """
    if node.spelled is not None:
        return node.spelled if what in ("text", "texts") else node.value
    parts = _PARTS.get(_find_kind(node.value) if what == "step" else what, {})
    changed = {
        name: value
        for name, entry in node.entries.items()
        if (part := parts.get(str(name), parts.get(_EACH)))
        and (value := respell(entry, part)) is not entry.value
    }
    if not changed:
        return node.value
    if isinstance(node.value, dict):
        return {**node.value, **changed}
    return [changed.get(index, value) for index, value in enumerate(node.value)]


def _find_kind(step: Any) -> str:
    if not isinstance(step, dict):
        return ""
    headers = step.get("headers")
    if step.get("kind") == "api" and isinstance(headers, dict) and find_media_type(headers) == FORM:
        return "form"
    return str(step.get("kind"))
