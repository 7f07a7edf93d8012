"""The files that hold what an attempt printed: made new and private, and read back with care.

Whoever writes them is a stranger, who may have put a pipe, a link or nothing in their place meanwhile.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO

MAX_STDOUT_BYTES = 64 * 1024
MAX_LINE_BYTES = 4096


def create(file: Path) -> int:
    """A descriptor of *file*, new, empty and private. Raises OSError, for a symbolic link too."""
    # Appending, so that a command which opens /dev/stderr by name does not write over its own output.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW
    return os.open(file, flags, 0o600)


def read_head(file: Path) -> str:
    """The text of *file* without its last newline, at most 64 KiB of it. Raises OSError."""
    with _open(file) as opened:
        text = opened.read(MAX_STDOUT_BYTES).decode(errors="replace")
    return text.removesuffix("\n")


def read_last_line(file: Path) -> str:
    """The last line of *file* with anything in it, shortened. Raises OSError."""
    with _open(file) as opened:
        opened.seek(max(0, os.fstat(opened.fileno()).st_size - MAX_LINE_BYTES))
        lines = opened.read().decode(errors="replace").split("\n")
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")


def may_hold_object(file: Path) -> bool:
    """Whether *file* is worth reading for JSON: most output is none, and may be long. Raises OSError."""
    with _open(file) as opened:
        return opened.read(4096).lstrip().startswith(b"{")


def _open(file: Path) -> IO[bytes]:
    fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"{file} is no regular file any more")
    return os.fdopen(fd, "rb")
