"""Files that people name, opened with care: anything may lie under a name that somebody typed."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

from checkpointflow.errors import FileMissing

MAX_BYTES = 16 * 1024 * 1024


def digest(document: bytes) -> str:
    """The name of a document's contents: its SHA-256."""
    from hashlib import sha256  # late: most readers need none

    return sha256(document).hexdigest()


def make_private(directory: Path) -> None:
    """Make *directory* and what is missing above it, for its owner only."""
    missing = []
    while not directory.is_dir():
        missing.append(directory)
        directory = directory.parent
    for place in reversed(missing):
        with suppress(FileExistsError):  # another process was quicker
            os.mkdir(place, 0o700)


def shared_with(directory: Path) -> str | None:
    """Who besides us may put files into *directory*, if anybody: they could change what a run does next."""
    status = os.stat(directory)
    if status.st_uid not in (os.geteuid(), 0):
        return f"it belongs to another user (uid {status.st_uid})"
    if status.st_mode & stat.S_IWOTH:
        return "everybody may write into it"
    if status.st_mode & stat.S_IWGRP and status.st_gid != os.getegid():
        return f"the group {status.st_gid} may write into it"
    return None


def read_file(file: Path) -> bytes:
    """The contents of a regular file of at most 16 MiB. Raises FileMissing saying what is there instead."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # opening a FIFO must not wait for its writer
    except FileNotFoundError:
        raise FileMissing(file=file, problem="there is no such file") from None
    except (OSError, ValueError) as error:
        raise FileMissing(file=file, problem=f"it cannot be opened ({_words(error)})") from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise FileMissing(file=file, problem=f"it is {_kind(status.st_mode)}, not a regular file")
        if status.st_size > MAX_BYTES:
            raise FileMissing(file=file, problem=f"it is larger than {MAX_BYTES} bytes")
        with os.fdopen(os.dup(fd), "rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise FileMissing(file=file, problem=f"it cannot be read ({_words(error)})") from None
    finally:
        os.close(fd)


def read_stdin() -> bytes:
    """Standard input, up to just over the limit."""
    return sys.stdin.buffer.read(MAX_BYTES + 1)


def _words(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _kind(mode: int) -> str:
    for test, name in (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a pipe (to read JSON from one, use `--input -`)"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if test(mode):
            return name
    return "a device"
