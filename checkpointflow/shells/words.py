"""Reads the words of a shell command: quotes, expansions, patterns, and the holes in them.

The lower half of a scanner by recursive descent; `commands.py` has the upper one, the commands, which
`$(…)` and backquotes come back to. Each method reads what it is named after, from `at` on. Whatever
shells differ on raises `Lost`: an unknown context is refused, nothing here guesses. A backquoted command
is read on its own, without its backslashes. Holes are met in the order of the text.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, NoReturn

from msgspec import Struct

from checkpointflow.patterns import late
from checkpointflow.shells.contexts import (
    ARITHMETIC,
    BARE,
    COMMENT,
    DOCUMENT,
    DOUBLE,
    EXPANDED,
    HOLE,
    IN_ENV,
    NESTED,
    SINGLE,
    Context,
    Findings,
    Input,
    Shell,
    Word,
)

MAX_LEVELS = 40

_ENDS_OF_WORDS = frozenset(" \t\n;&|<>()")

_RUN = late(r"[\w.-]+")
_BLANKS = late(r"(?:[ \t]|\\\n)*")
_COMMENT = late(r"#[^\n]*")
_NAME = late(r"[A-Za-z_]\w*", re.ASCII)
_ASSIGNED_LIST = late(r"[A-Za-z_]\w*\+?=", re.ASCII)
_PARAMETER = late(r"\$\{[#!]?([A-Za-z_]\w*|\d+|[@*#?$!-])", re.ASCII)
_OPERATOR = late(r":?[-=?+]|##?|%%?|//?|\^\^?|,,?|@[A-Za-z](?=})|:|(?=})")
_VARIABLE = late(r"\$(?:[A-Za-z_]\w*|[\d@*#?$!-])?", re.ASCII)
_TRANSLATED = late(r"\$'((?:[^'\\]|\\.)*)'", re.DOTALL)
_BACKQUOTED = late(r"`((?:[^`\\]|\\.)*)`", re.DOTALL)
_EXPANDED_BY_ZSH = late(r"\A=|(?:\A|[=:])~[^/\0]*\0")


class Lost(Exception):
    """Why the command cannot be understood any further."""


class Document(Struct):
    """A here-document whose lines are still to come."""

    delimiter: str
    is_indented: bool
    is_quoted: bool
    read_by: Input | None = None


class WordReader:
    """Reads *text* by recursive descent; each method reads what it is named after, from `at` on."""

    def __init__(self, text: str, shell: Shell, found: Findings, level: int) -> None:
        self.text, self.shell, self.found, self.level, self.at = text, shell, found, level, 0
        self.documents: list[Document] = []

    def whole(self) -> None:
        self.commands({""})
        if self.documents:
            raise Lost(f"the here-document {self.documents[0].delimiter} never begins")

    # Where it stands

    def enter(self) -> None:
        self.level += 1
        if self.level > MAX_LEVELS:
            raise Lost("the command is nested too deeply")

    def here(self, *texts: str) -> bool:
        return self.text.startswith(texts, self.at)

    def due(self) -> str:
        if self.at >= len(self.text):
            raise Lost("something that begins in the command does not end")
        return self.text[self.at]

    def lose(self) -> NoReturn:
        raise Lost(f"{self.text[self.at : self.at + 10]!r} is unexpected or unknown".replace(r"\x00", "${…}"))

    def one_line(self, start: int) -> None:
        # Shells differ on whether its lines come behind this line or behind the whole word.
        if self.documents and "\n" in self.text[start : self.at]:
            raise Lost("a line ends between a here-document's `<<` and its lines")

    def blanks(self) -> None:
        """White space and a comment, the end of the line excluded."""
        for pattern in (_BLANKS, _COMMENT):
            if found := pattern.match(self.text, self.at):
                self.found.holes += [COMMENT] * found.group().count(HOLE)
                self.at = found.end()

    def gap(self) -> None:
        """As `blanks`, with any number of ends of lines."""
        self.blanks()
        while self.here("\n"):
            self.newline()
            self.blanks()

    if TYPE_CHECKING:  # the upper half has them

        def newline(self) -> None: ...

        def commands(self, ends: Collection[str]) -> str: ...

    # Pieces of words; each returns what it contributes to the word's text

    def piece(self, where: Context) -> str:
        character = self.due()
        if character == HOLE:
            self.found.holes.append(where)
            self.at += 1
            return HOLE
        if character in "'\"":
            return self.quoted(character, where)
        if character == "\\":
            return self.escaped(where)
        if character == "$":
            return self.dollar(where)
        if character == "`":
            return self.backquoted(where)
        if where is BARE and self.here("<(", ">("):
            return self.substitution()
        run = _RUN.match(self.text, self.at)
        return self.take(len(run.group()) if run else 1)

    def take(self, length: int) -> str:
        self.at += length
        return self.text[self.at - length : self.at]

    def until(self, end: str, where: Context) -> str:
        """Everything up to one of the characters *end*, which is left to the caller."""
        text = []
        while self.due() not in end:
            if self.shell == "zsh" and where is BARE and self.here("{", "("):
                self.lose()
            text.append(self.piece(where))
        return "".join(text)

    def escaped(self, where: Context) -> str:
        self.at += 1
        character = self.due()
        is_kept = where is not BARE and character not in '$`"\\\n'
        if character == HOLE:
            self.piece(where)
            hint = "write $${…} for the text ${…}, or two backslashes for one and the value"
            self.found.refuse([-1], "a backslash stands before it", hint)
            return HOLE
        return "\\" * is_kept + self.take(1).replace("\n", "")

    def quoted(self, quote: str, where: Context) -> str:
        if where is DOUBLE or where is DOCUMENT:
            return self.take(1)
        first = len(self.found.holes)
        if where is NESTED and quote == "'":
            raise Lost("shells differ on a ' in ${…} in double quotes")
        text = self.single() if quote == "'" else self.double()
        if where is NESTED or (where is ARITHMETIC and quote == "'"):
            self.found.refuse(self.found.since(first), "quotes within quotes", "leave the inner quotes out")
        return text

    def single(self) -> str:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise Lost("a ' that is never closed")
        text = self.text[self.at + 1 : end]
        self.at = end + 1
        self.found.holes += [SINGLE] * text.count(HOLE)
        return text

    def double(self) -> str:
        self.at += 1
        text = self.until('"', DOUBLE)
        self.at += 1
        return text

    def dollar(self, where: Context) -> str:
        self.enter()
        if self.here("$(("):
            self.arithmetic("$((", "))")
        elif self.here("$("):
            self.substitution()
        elif self.here("${"):
            self.parameter(where)
        elif self.here("$[") and self.shell != "dash":
            self.arithmetic("$[", "]")
        elif self.here("$\\\n", "$" + HOLE):
            self.lose()
        elif where is BARE and self.here("$'", '$"'):
            self.dollar_quoted()
        else:
            self.variable()
        self.level -= 1
        return EXPANDED

    def dollar_quoted(self) -> None:
        first, translated = len(self.found.holes), _TRANSLATED.match(self.text, self.at)
        if self.here('$"'):
            self.at += 1
            self.double()
        elif translated is None or (r"\'" in translated.group() and self.shell in ("sh", "dash")):
            self.lose()  # to an old sh, the ' of \' is the end
        else:
            self.at = translated.end()
            self.found.holes += [SINGLE] * translated.group().count(HOLE)
        hint = "end the quotes before it, and begin others behind"
        self.found.refuse(self.found.since(first), "the shell translates this text", hint)

    def variable(self) -> None:
        found = _VARIABLE.match(self.text, self.at)
        self.at = found.end() if found else self.at
        if self.shell == "zsh" and self.here("["):
            self.arithmetic("[", "]")

    def arithmetic(self, opening: str, closing: str) -> None:
        start, first, inner = self.at, len(self.found.holes), 0
        self.at += len(opening)
        while inner or not self.here(closing):
            character = self.due()
            inner += (character in "([") - (character in ")]")
            if inner < 0:
                raise Lost(f"`{opening}` that does not end in `{closing}`; for commands, put a blank between")
            self.piece(ARITHMETIC)
        self.at += len(closing)
        self.one_line(start)
        self.found.only_integers(self.found.since(first), "a subscript" if opening == "[" else "arithmetic")

    def substitution(self) -> str:
        """`$(…)`, `<(…)` or `>(…)`."""
        self.at += 2
        outer, self.documents = self.documents, []
        self.commands({")"})
        if self.documents:
            raise Lost("a here-document's lines are missing")
        self.documents = outer
        return EXPANDED

    def backquoted(self, where: Context) -> str:
        found = _BACKQUOTED.match(self.text, self.at)
        if found is None or (where is DOCUMENT and r"\"" in found.group()):
            self.lose()
        self.at = found.end()
        special = r"\\([$`\\\"])" if where is DOUBLE or where is NESTED else r"\\([$`\\])"
        commands = re.sub(special, r"\1", found.group(1))
        type(self)(commands, self.shell, self.found, self.level + 1).whole()
        return EXPANDED

    def parameter(self, where: Context) -> None:
        """`${…}`, the shell's own."""
        start, first, found = self.at, len(self.found.holes), _PARAMETER.match(self.text, self.at)
        self.at = found.end() if found else self.at + 2
        if found and self.here("["):
            self.arithmetic("[", "]")
        operator = _OPERATOR.match(self.text, self.at) if found else None
        self.at = operator.end() if operator else self.at
        within = BARE if where is BARE else NESTED
        match operator.group().lstrip(":") if operator else None:
            case "-" | "=" | "?" | "+":
                self.until("}", within)
                if found and operator and operator.group()[-1] == "=":
                    self.default(found.group(1), self.found.since(first), where)
            case "" if operator and operator.group():
                self.until("}", ARITHMETIC)
                self.found.only_integers(self.found.since(first), "the offset of a substring")
            case "/" | "//":
                self.replacement(where)
            case None:
                self.until("}", within)
                hint = f"assign it to a variable first, or {IN_ENV}"
                self.found.refuse(self.found.since(first), "an expansion that is not known", hint)
            case _:
                self.until("}", BARE)
                if where is DOCUMENT or where is NESTED:  # dash keeps backslashes there
                    hint = "compute it in a variable before"
                    self.found.refuse(self.found.since(first), "a pattern in a here-document", hint)
        self.at += 1
        self.one_line(start)

    def default(self, name: str, holes: range, where: Context) -> None:
        """`${x:=…}`: assigned as it is, and then, without quotes, split and matched with files."""
        self.found.assign(name, holes)
        if where is BARE:
            self.found.refuse(holes, "${x:=…} without quotes", "put double quotes around all of it")

    def replacement(self, where: Context) -> None:
        self.until("/}", BARE)
        first = len(self.found.holes)
        self.until("}", BARE)
        if where is not BARE:  # older bashes keep the quotes there, newer ones give & a meaning without
            hint = "assign it first, outside of the quotes: y=${x/a/${…}}"
            self.found.refuse(self.found.since(first), "a replacement in double quotes", hint)

    # Words

    def word(self) -> Word:
        start, first, text = self.at, len(self.found.holes), []
        glob: int | None = None  # the first hole behind an open [
        splits = False
        while self.at < len(self.text):
            character = self.text[self.at]
            if character == "[" and _NAME.fullmatch(self.text, start, self.at):
                self.arithmetic("[", "]")
            elif character == "(" and self.at > start:
                if not self.parenthesis(start):
                    break
            elif character in _ENDS_OF_WORDS and not self.here("<(", ">("):
                break
            else:
                if character == "[" and glob is None:
                    glob = len(self.found.holes)
                elif character == "]" and glob is not None:
                    self.refuse_in_glob(glob)
                    glob = None
                splits = splits or character in "$`"
                text.append(self.piece(BARE))
                continue
            text.append(EXPANDED)
        if glob is not None:
            self.refuse_in_glob(glob)
        self.one_line(start)
        source = self.text[start : self.at].replace("\\\n", "")
        if self.shell == "zsh" and _EXPANDED_BY_ZSH.search(source):
            hint = "put the ~ or = into quotes"
            self.found.refuse(self.found.since(first), "zsh expands this word, even in quotes", hint)
        return Word(source, "".join(text), self.found.since(first), splits)

    def refuse_in_glob(self, first: int) -> None:
        hint = "put double quotes around the word"
        self.found.refuse(self.found.since(first), "[…] without quotes matches the names of files", hint)

    def parenthesis(self, start: int) -> bool:
        """A list behind `name=`, a pattern behind one of ?*+@!, zsh's `=(…)`; or nothing of a word."""
        if _ASSIGNED_LIST.fullmatch(self.text, start, self.at):
            self.assigned_list(self.text[start : self.at])
        elif self.shell == "zsh" and self.text[start : self.at] == "=":
            self.at -= 1
            self.substitution()
        elif self.text[self.at - 1] in "?*+@!" and self.text[start : self.at] != "!":
            self.pattern()
        else:
            return False
        return True

    def assigned_list(self, assignment: str) -> None:
        self.found.arrays.add(assignment.rstrip("+="))
        self.enter()
        self.at += 1
        self.gap()
        while not self.here(")"):
            self.found.may_spread(self.needed_word())
            self.gap()
        self.at += 1
        self.level -= 1

    def pattern(self) -> None:
        first, inner = len(self.found.holes), 0
        while not (inner == 1 and self.here(")")):
            inner += (self.due() == "(") - (self.due() == ")")
            self.piece(BARE)
        self.at += 1
        if self.shell == "zsh":  # there it may be a glob qualifier, which can run code
            hint = "write the pattern without ( )"
            self.found.refuse(self.found.since(first), "a pattern in parentheses", hint)

    def needed_word(self) -> Word:
        start = self.at
        word = self.word()
        if self.at == start:
            self.lose()
        return word

    def next_word(self) -> Word | None:
        self.blanks()
        word = self.word()
        return word if word.source else None
