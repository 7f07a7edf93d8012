"""What a process has of whoever started it, made what cpf relies on, before anything else is imported.

systemd, cron, `docker exec`, window managers, `nohup` and `trap ''` leave processes with closed descriptors,
signals that are ignored or blocked, a umask that takes away one's own rights, a locale that is not UTF-8.
Whether there is a working directory, and a home, whoever needs one finds out: `store.files.locate`,
`cli.location`.
"""

from __future__ import annotations

import os
import sys
from io import BufferedWriter
from typing import TextIO

from checkpointflow.drivers.signals import PROCESS


def prepare() -> None:
    """To be called once, in the main thread. May start this process anew."""
    _read_names_as_utf8()
    PROCESS.__enter__()
    sys.stdin = _open_if_closed(0, sys.stdin)
    sys.stdout = _have_buffered(_open_if_closed(1, sys.stdout))
    sys.stderr = _have_buffered(_open_if_closed(2, sys.stderr))
    os.umask(os.umask(0o077) & 0o077)  # else nobody could write into the files and directories that we make


def _read_names_as_utf8() -> None:
    """As documents, states and envelopes are. Python decides how it reads names when it starts."""
    if sys.getfilesystemencoding() != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606


def _open_if_closed(fd: int, stream: TextIO) -> TextIO:
    """*stream* of the descriptor *fd*, which is never anything else: a lock, a log.

    Nothing can be read where it was closed; what is written fails, so that nobody takes it for told.
    """
    try:
        os.fstat(fd)
    except OSError:
        os.open(os.devnull, os.O_RDONLY)  # it gets the lowest number that is free
        return open(fd, "w" if fd else "r", encoding="utf-8", closefd=False)
    return stream


def _have_buffered(stream: TextIO) -> TextIO:
    """*stream*, such that all that is written gets there.

    Without a buffer (PYTHONUNBUFFERED) Python drops the rest of what a signal has broken off.
    """
    if isinstance(stream.buffer, BufferedWriter):
        return stream
    buffering = 1 if stream.isatty() or stream.fileno() == 2 else -1
    return open(stream.fileno(), "w", buffering, stream.encoding, stream.errors, closefd=False)
