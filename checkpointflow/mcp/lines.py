"""Messages as lines: one JSON object each, whatever stands in it."""

from __future__ import annotations

from typing import Any

from checkpointflow.cli.encoding import encode

MAX_LINE_BYTES = 16 * 1024 * 1024


class Inbox:
    """Puts lines together from what comes in pieces."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def take(self, data: bytes) -> list[bytes | None]:
        """The lines that *data* ends; None for one that has just become too long, and is dropped."""
        *ended, rest = data.split(b"\n")
        found: list[bytes | None] = []
        for part in ended:
            if self._add(part):
                found.append(None)
            elif self._size <= MAX_LINE_BYTES:
                found.append(b"".join(self._parts).strip())
            self._parts, self._size = [], 0
        if self._add(rest):
            found.append(None)
        return [line for line in found if line != b""]

    def _add(self, part: bytes) -> bool:
        """Whether *part* is what makes the line too long."""
        was_short = self._size <= MAX_LINE_BYTES
        self._size += len(part)
        is_short = self._size <= MAX_LINE_BYTES
        self._parts = [*self._parts, part] if is_short else []
        return was_short and not is_short


def encode_line(message: dict[str, Any]) -> bytes:
    """*message* and a line break. No character in it breaks a line for anybody, or commands a terminal."""
    return encode(message) + b"\n"
