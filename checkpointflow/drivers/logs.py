"""The files that hold what an attempt printed: made new and private, and read back with care.

Whoever writes them is a stranger, who may have put a pipe, a link or nothing in their place meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from checkpointflow.engine.actions import StoredFile
from checkpointflow.store.files import reach
from checkpointflow.store.seals import seal_file

MAX_STDOUT_BYTES = 64 * 1024
MAX_LINE_BYTES = 4096

_READING = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW


class Log:
    """What a command printed into the file *name* below *place*, now that it has ended.

    It is opened once, and only if there is anything in it.

    size: in bytes; fd: None where there is nothing to read; is_there: whether it is still the regular file
    that it was. Reading raises OSError if it is not.
    """

    def __init__(self, place: str | Path, name: str) -> None:
        self.file, self.name = f"{place}/{name}", name
        self.size, self.is_there = 0, False
        self.fd: int | None = None
        try:
            status = os.lstat(self.file)
            if stat.S_ISREG(status.st_mode) and status.st_size:
                self.fd = reach(place, name, lambda last, above: os.open(last, _READING, dir_fd=above))
                status = os.fstat(self.fd)
            self.is_there = stat.S_ISREG(status.st_mode)
            self.size = status.st_size if self.is_there else 0
        except OSError:
            pass  # it is not there

    def read(self, limit: int, start: int = 0) -> bytes:
        """At most *limit* bytes from *start* on."""
        if not self.is_there:
            raise OSError(f"{self.file} is no regular file any more")
        found = b""
        while self.fd is not None and (block := os.pread(self.fd, limit - len(found), start + len(found))):
            found += block
        return found

    def read_head(self) -> str:
        """Its text without its last newline, at most 64 KiB of it."""
        return self.read(MAX_STDOUT_BYTES).decode(errors="replace").removesuffix("\n")

    def read_last_line(self) -> str:
        """Its last line with anything in it, shortened."""
        tail = self.read(MAX_LINE_BYTES, max(0, self.size - MAX_LINE_BYTES))
        lines = tail.decode(errors="replace").split("\n")
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")

    def may_hold_object(self) -> bool:
        """Whether it is worth reading for JSON: most output is none, and may be long."""
        return self.read(MAX_LINE_BYTES).lstrip().startswith(b"{")

    def seal(self) -> StoredFile | None:
        """Its seal, if it holds anything; it would survive a power cut."""
        return None if self.fd is None else seal_file(self.fd, self.name)

    def close(self) -> None:
        """Done with it."""
        if self.fd is not None:
            os.close(self.fd)


def create(place: str | Path, name: str) -> int:
    """A descriptor of the file *name* below *place*, new, empty and private.

    Raises OSError, also where anything but a file is in its place, or a link in that of a directory.
    """
    return reach(place, name, _create, make=True)


def _create(name: str, above: int | None) -> int:
    # Appending, so that a command which opens /dev/stderr by name does not write over its own output.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
    try:
        return os.open(name, flags, 0o600, dir_fd=above)
    except FileExistsError:
        if not stat.S_ISREG(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", name) from None
        os.unlink(name, dir_fd=above)
        return os.open(name, flags, 0o600, dir_fd=above)


def read_head(file: Path) -> str:
    """The text of *file* without its last newline, at most 64 KiB of it. Raises OSError."""
    log = Log(file.parent, file.name)
    try:
        return log.read_head()
    finally:
        log.close()
