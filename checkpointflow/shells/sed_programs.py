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
        reader.script()
    except _Odd:
        reader.add(text[reader.at :], None)
    if reader.runs_commands or text == HOLE:
        return [Part(part.sign, None) for part in reader.parts]
    return reader.parts


class _Reader:
    """Reads *text* by recursive descent; each method reads what it is named after, from `at` on."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.parts: list[Part] = []
        self.runs_commands = False

    def add(self, text: str, only: str | None, delimiter: str = "") -> None:
        self.parts += [Part(sign, only, delimiter) for sign in text if sign in _SIGNS]

    def next(self) -> str:
        if self.at >= len(self.text):
            raise _Odd
        self.at += 1
        return self.text[self.at - 1]

    def here(self, characters: str) -> bool:
        return self.at < len(self.text) and self.text[self.at] in characters

    def script(self) -> None:
        while self.at < len(self.text):
            if self.here(" \t\n;{}"):
                self.at += 1
            elif self.here("#"):
                self.line()
            else:
                self.addresses()
                if self.at < len(self.text) and not self.here(";{}\n"):
                    self.command()

    def addresses(self) -> None:
        while self.here("0123456789$,!+~ \t/\\" + HOLE + EXPANDED):
            sign = self.next()
            self.add(sign, "integer")
            if sign in "/\\":
                self.delimited(sign if sign == "/" else self.delimiter())
                while self.here("IM"):
                    self.at += 1

    def delimiter(self) -> str:
        sign = self.next()
        if sign.isalnum() or sign in (*_SIGNS, "\\", "\n", "_"):
            self.at -= 1
            raise _Odd
        return sign

    def delimited(self, delimiter: str) -> None:
        while (sign := self.next()) != delimiter:
            if sign == "\\":
                self.add(self.next(), None)  # an empty value would leave the delimiter to the backslash
            else:
                self.add(sign, "plain", delimiter)

    def command(self) -> None:
        sign = self.next()
        if sign in "sy":
            delimiter = self.delimiter()
            self.delimited(delimiter)
            self.delimited(delimiter)
            self.flags()
        elif sign in "aicrRwW":
            self.line()
        elif sign in "qQlL":
            while self.here("0123456789 \t" + HOLE + EXPANDED):
                self.add(self.next(), "integer")
        elif sign == "e":
            self.runs_commands = True
        elif sign not in "=dDgGhHnNpPxzF":
            self.at -= 1
            raise _Odd  # labels, too

    def flags(self) -> None:
        while self.at < len(self.text) and not self.here(";\n}#"):
            sign = self.next()
            self.add(sign, "integer")
            self.runs_commands |= sign == "e"
            if sign == "w":
                return self.line()
        return None

    def line(self) -> None:
        """Up to the end of the line, which a backslash continues."""
        while self.at < len(self.text):
            sign = self.next()
            if sign == "\n":
                return
            if sign == "\\" and self.at < len(self.text):
                self.add(self.next(), None)
            else:
                self.add(sign, "plain")
