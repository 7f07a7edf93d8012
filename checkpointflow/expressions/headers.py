"""Headers of HTTP calls: which names and values may be sent."""

from __future__ import annotations

import re

# They say where a message ends; a value of ours and another of the author's would make two messages of one.
FRAMING = ("content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def find_fault(name: str, value: str) -> str | None:
    """Why the header *name* cannot be sent with *value*, if it cannot."""
    if not _TOKEN.fullmatch(name):
        return f"{name!r} is not the name of a header"
    if name.lower() in FRAMING:
        return f"the header {name} is cpf's to set"
    if _CONTROL_IN_VALUE.search(value):
        return f"the header {name} holds a line break or another control character"
    return None
