"""A terminal for tests: cpf at one, and somebody who reads what it shows and types."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from types import TracebackType

from tests.conftest import Cpf

LOOK = re.compile(r"\x1b\[[0-9;]*m")
DRAWN = re.compile(r"\r?\x1b\[[0-9]*[AJK]")


class Terminal:
    """cpf with stdin, stdout and stderr at one pseudo-terminal, which it also is controlled by.

    shell: in place of cpf, one in which it is to be typed.
    raw: all that it has printed so far, with `\\n` alone as newlines; shown: without looks.
    """

    def __init__(
        self, cpf: Cpf, *arguments: str, columns: int = 80, shell: tuple[str, ...] = (), **env: str
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen(
            shell or [sys.executable, "-m", "checkpointflow", *arguments],
            stdin=slave, stdout=slave, stderr=slave, cwd=cpf.cwd, env=cpf.env | {"TERM": "xterm"} | env,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)
        self._read = b""
        self._seen = 0

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    @property
    def raw(self) -> str:
        return self._read.decode(errors="replace").replace("\r\n", "\n")

    @property
    def shown(self) -> str:
        return LOOK.sub("", self.raw)

    def expect(self, text: str, seconds: float = 15) -> str:
        """Wait until *text* is shown, after what was expected before; returns what came until then."""
        end = time.monotonic() + seconds
        while text not in self.shown[self._seen :]:
            assert self._hear(end - time.monotonic()), f"{text!r} never came: {self.shown!r}"
        start, self._seen = self._seen, self.shown.index(text, self._seen) + len(text)
        return self.shown[start : self._seen]

    def type(self, *lines: str) -> Terminal:
        """Type *lines*, each with Enter."""
        for line in lines:
            os.write(self._master, line.encode() + b"\n")
        return self

    def press(self, key: bytes) -> Terminal:
        os.write(self._master, key)
        return self

    def end(self, seconds: float = 15) -> int:
        """The exit code, once cpf has ended and all is read."""
        end = time.monotonic() + seconds
        while self._hear(end - time.monotonic()):
            pass
        return self.process.wait(max(0.1, end - time.monotonic()))

    def _hear(self, seconds: float) -> bool:
        """Read more; False: there is no more, or none came in time."""
        if not select.select([self._master], [], [], max(0, seconds))[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the other side is closed
            return False
        self._read += data
        return bool(data)


CTRL_C, CTRL_D = b"\x03", b"\x04"


def at_a_terminal(cpf: Cpf, *arguments: str, columns: int = 80, **env: str) -> tuple[int, str]:
    """The exit code of cpf at a terminal where nobody types, and all that it showed."""
    with Terminal(cpf, *arguments, columns=columns, **env) as terminal:
        return terminal.end(), terminal.raw


def plain(shown: str) -> str:
    """*shown* without the escape sequences that cpf may send: looks, and those that redraw the last line."""
    return DRAWN.sub("\n", LOOK.sub("", shown))


def unfold(shown: str) -> str:
    """*shown* on one line, as it was before it was broken at blanks."""
    return " ".join(plain(shown).split())


def obeys_nothing(shown: str) -> bool:
    """Whether a terminal would find nothing to obey in *shown* but looks and what redraws the last line."""
    return all(c.isprintable() or c in "\n\t" for c in plain(shown))
