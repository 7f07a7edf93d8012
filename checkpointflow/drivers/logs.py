"""The files that hold what an attempt printed: made new and private, and read back with care.

Whoever writes them is a stranger, who may have put a pipe, a link or nothing in their place meanwhile.
"""

from __future__ import annotations

import errno
import os
import re
import select
import stat
import threading
from pathlib import Path
from typing import Any

from checkpointflow.diagnostics import shorten
from checkpointflow.drivers.secrets import Secrets
from checkpointflow.engine.actions import StoredFile
from checkpointflow.json_text import BOM
from checkpointflow.store.files import reach
from checkpointflow.store.seals import seal_file

MAX_KEPT_BYTES = 64 * 1024
MAX_LINE_BYTES = 4096
MAX_PIPE_BYTES = 1 << 20  # what Linux lets a pipe hold at most, where it is not told otherwise

# What a terminal reads as a command, such as one to change the colour.
_ESCAPES = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])"

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

    def read_text(self) -> dict[str, Any]:
        """Its text without its last line end, as a Success has it: what is too long is not cut but lost."""
        if self.size > MAX_KEPT_BYTES:
            return {"lost": {"stdout": f"has {self.size:,} bytes, and at most {MAX_KEPT_BYTES:,} are kept"}}
        return {"stdout": _strip_end(self.read(MAX_KEPT_BYTES))}

    def read_end(self) -> dict[str, Any]:
        """The same as stderr, which people read: of what is too long the end, below a line that says so."""
        start = max(0, self.size - MAX_KEPT_BYTES)
        text = _strip_end(self.read(MAX_KEPT_BYTES, start))
        note = f"[the first {start:,} bytes are left out here; the step's log has them]\n"
        return {"stderr": note + text if start else text}

    def read_last_line(self) -> str:
        """Its last line with anything in it that a person would see, shortened."""
        tail = self.read(MAX_LINE_BYTES, max(0, self.size - MAX_LINE_BYTES)).decode(errors="replace")
        lines = re.split(r"[\r\n]+", re.sub(_ESCAPES, "", tail))
        return next((shorten(line.strip(), 200) for line in reversed(lines) if line.strip()), "")

    def read_head(self) -> bytes:
        """How it begins, blanks aside: most output is no JSON, and may be long."""
        return self.read(MAX_LINE_BYTES).removeprefix(BOM).lstrip()

    def seal(self) -> StoredFile | None:
        """Its seal, if it holds anything; it would survive a power cut."""
        return None if self.fd is None or not self.is_there else seal_file(self.fd, self.name)

    def close(self) -> None:
        """Done with it."""
        if self.fd is not None:
            os.close(self.fd)


def _strip_end(data: bytes) -> str:
    return data.decode(errors="replace").removesuffix("\n").removesuffix("\r")


class MaskedPipe:
    """A pipe from which all goes into the file *log* without *secrets*; entry: where it is put in.

    A thread sees to that until nobody can put anything in any more. problem: why the file could not be
    written, if so; whoever goes on putting something in is then told so, too (EPIPE).
    """

    def __init__(self, log: int, secrets: Secrets) -> None:
        self._exit, self.entry = os.pipe()
        self._log = os.dup(log)
        self._secrets = secrets
        self._kept = b""
        self._is_open = True
        self._lock = threading.Lock()
        self.problem: OSError | None = None
        os.set_blocking(self._exit, False)
        threading.Thread(target=self._run, daemon=True).start()

    def settle(self) -> OSError | None:
        """Have all in the file that was put in until now, whoever may go on; the problem, if there is one."""
        with self._lock:
            self._take(MAX_PIPE_BYTES)
            self._write(self._secrets.mask(self._kept))
            self._kept = b""
        return self.problem

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._exit, select.POLLIN)
        while self._is_open:
            poll.poll()
            with self._lock:
                self._take(1)

    def _take(self, size: int) -> None:
        """Take out at least *size* bytes, if there are so many."""
        while size > 0 and self._is_open:
            try:
                block = os.read(self._exit, 1 << 16)
            except BlockingIOError:
                return
            size -= len(block)
            if block:
                shown, self._kept = self._secrets.mask_so_far(self._kept + block)
                self._write(shown)
            else:
                self._write(self._secrets.mask(self._kept))
                self._close()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view and self._is_open:
                view = view[os.write(self._log, view) :]
        except OSError as error:
            self.problem = error
            self._close()

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            os.close(self._exit)
            os.close(self._log)


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
