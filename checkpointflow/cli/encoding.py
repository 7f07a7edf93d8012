"""Values as JSON that nobody mistakes for anything else: a terminal, a runner of GitHub Actions."""

from __future__ import annotations

from typing import Any

import msgspec

from checkpointflow.patterns import compile_late

MAX_BYTES = 16 * 1024  # of an answer, unless more is asked for

# What a terminal obeys, or shows by showing other things elsewhere or otherwise; tabs and line breaks aside.
_UNSEEN = compile_late(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)


def escape(text: str) -> str:
    """*text* with what a terminal must not see spelled as JSON may spell it."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def encode(value: Any, *, indented: bool = False) -> bytes:
    """*value* as JSON, on one line or indented. No character in it breaks a line, or commands anybody."""
    try:
        data = msgspec.json.encode(value)
    except UnicodeEncodeError:  # it tells of a file, whose name may be any bytes
        import json  # late: that is rare

        data = json.dumps(msgspec.to_builtins(value), ensure_ascii=False).encode(errors="replace")
    # A runner of GitHub Actions would take what follows ##[ for a command, wherever it stands in a line.
    data = data.replace(b"##[", rb"#\u0023[")
    text = msgspec.json.format(data, indent=2) if indented else data
    return text if text.isascii() and b"\x7f" not in text else escape(text.decode()).encode()
