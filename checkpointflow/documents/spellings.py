"""What of a document is read otherwise than as it stands there.

Where text is wanted, a number is the text that it is written as: 3.10 is not 3.1. An empty `env:` is as if it
were not there, and so are the fields `x-…` at the top, which are places for anchors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from checkpointflow.documents.model import MAY_BE_EMPTY
from checkpointflow.documents.yaml import Node
from checkpointflow.expressions.bodies import FORM, find_media_type

_EACH = "*"
_PARTS: Mapping[str, Mapping[str, str]] = {
    "document": {"workflow": "workflow"},
    "workflow": {"version": "text", "steps": "steps", "finally": "steps", "defaults": "defaults"},
    "defaults": {"env": "texts"},
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
    """The value of *node*, which is that part of a document, as it is read.

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
    nothings = _list_nothings(node.value, what) if isinstance(node.value, dict) else []
    if not changed and not nothings:
        return node.value
    if isinstance(node.value, dict):
        return {name: changed.get(name, value) for name, value in node.value.items() if name not in nothings}
    return [changed.get(index, value) for index, value in enumerate(node.value)]


def _list_nothings(value: dict[str, Any], what: str) -> list[str]:
    """The fields of *value*, which is that part of a document, that say nothing."""
    if what == "document":
        return [name for name in value if name.startswith("x-")]
    names = MAY_BE_EMPTY if what in ("workflow", "defaults", "step", "branch") else ()
    return [name for name in names if name in value and value[name] is None]


def _find_kind(step: Any) -> str:
    if not isinstance(step, dict):
        return ""
    headers = step.get("headers")
    if step.get("kind") == "api" and isinstance(headers, dict) and find_media_type(headers) == FORM:
        return "form"
    return str(step.get("kind"))
