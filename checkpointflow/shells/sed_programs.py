r"""Where in a program for sed a value stands, and so what it may be.

`sed "s/VERSION/${…}/"` is what everybody writes, and sed has no variables. So values are let through here,
as far as they can neither end the part that they stand in nor begin another:

    s/…/…/, y/…/…/, /…/, a text, w file    plain text without the delimiter
    before a command, after q, as a flag    an integer
    all else; beside the flag or command e  nothing

What is let through is a list of what may be, not of what may not: sed runs commands (`e`), reads files (`r`)
and writes them (`w`, a flag also).
"""

from __future__ import annotations

from msgspec import Struct

from checkpointflow.shells.contexts import EXPANDED, HOLE

_SIGNS = (HOLE, EXPANDED)


class Part(Struct, frozen=True):
    """What may stand for a sign of the program: an integer, or plain text without *delimiter*, or nothing."""

    sign: str
    only: str | None
    delimiter: str = ""


class _Odd(Exception):
    """The program cannot be understood any further."""


def find_parts(text: str) -> list[Part]:
    """The part that each HOLE and each EXPANDED of the program *text* stands in, in their order."""
    reader = _Reader(text)
    try:
        reader.read_script()
    except _Odd:
        reader.add(text[reader.at :], None)
    if reader.runs_commands or text == HOLE:
        return [Part(part.sign, None) for part in reader.parts]
    return reader.parts


class _Reader:
    """Reads *text* by recursive descent; each `read_…` reads what it is named after, from `at` on."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.parts: list[Part] = []
        self.runs_commands = False

    def add(self, text: str, only: str | None, delimiter: str = "") -> None:
        self.parts += [Part(sign, only, delimiter) for sign in text if sign in _SIGNS]

    def take(self) -> str:
        if self.at >= len(self.text):
            raise _Odd
        self.at += 1
        return self.text[self.at - 1]

    def is_at(self, characters: str) -> bool:
        return self.at < len(self.text) and self.text[self.at] in characters

    def read_script(self) -> None:
        while self.at < len(self.text):
            if self.is_at(" \t\n;{}"):
                self.at += 1
            elif self.is_at("#"):
                self.read_line()
            else:
                self.read_addresses()
                if self.at < len(self.text) and not self.is_at(";{}\n"):
                    self.read_command()

    def read_addresses(self) -> None:
        while self.is_at("0123456789$,!+~ \t/\\" + HOLE + EXPANDED):
            sign = self.take()
            self.add(sign, "integer")
            if sign in "/\\":
                self.read_until(sign if sign == "/" else self.read_delimiter())
                while self.is_at("IM"):
                    self.at += 1

    def read_delimiter(self) -> str:
        sign = self.take()
        if sign.isalnum() or sign in (*_SIGNS, "\\", "\n", "_"):
            self.at -= 1
            raise _Odd
        return sign

    def read_until(self, delimiter: str) -> None:
        while (sign := self.take()) != delimiter:
            if sign == "\\":
                self.add(self.take(), None)  # an empty value would leave the delimiter to the backslash
            else:
                self.add(sign, "plain", delimiter)

    def read_command(self) -> None:
        sign = self.take()
        if sign in "sy":
            delimiter = self.read_delimiter()
            self.read_until(delimiter)
            self.read_until(delimiter)
            self.read_flags()
        elif sign in "aicrRwW":
            self.read_line()
        elif sign in "qQlL":
            while self.is_at("0123456789 \t" + HOLE + EXPANDED):
                self.add(self.take(), "integer")
        elif sign == "e":
            self.runs_commands = True
        elif sign not in "=dDgGhHnNpPxzF":
            self.at -= 1
            raise _Odd  # labels, too

    def read_flags(self) -> None:
        while self.at < len(self.text) and not self.is_at(";\n}#"):
            sign = self.take()
            self.add(sign, "integer")
            self.runs_commands |= sign == "e"
            if sign == "w":
                return self.read_line()
        return None

    def read_line(self) -> None:
        """Up to the end of the line, which a backslash continues."""
        while self.at < len(self.text):
            sign = self.take()
            if sign == "\n":
                return
            if sign == "\\" and self.at < len(self.text):
                self.add(self.take(), None)
            else:
                self.add(sign, "plain")
