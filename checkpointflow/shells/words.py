"""Reads the words of a shell command: quotes, expansions, patterns, and the holes in them.

The lower half of a scanner by recursive descent; `commands.py` has the upper one, the commands, which
`$(…)` and backquotes come back to. Each `read_…` reads what it is named after, from `at` on. Whatever
shells differ on raises `Lost`: an unknown context is refused, nothing here guesses. A backquoted command
is read on its own, without its backslashes. Holes are met in the order of the text.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, NoReturn

from msgspec import Struct
from msgspec.structs import replace

from checkpointflow.patterns import compile_late
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

_RUN = compile_late(r"[\w.-]+")
_BLANKS = compile_late(r"(?:[ \t]|\\\n)*")
_COMMENT = compile_late(r"#[^\n]*")
_NAME = compile_late(r"[A-Za-z_]\w*", re.ASCII)
_WHOLE = compile_late(r"(?:[A-Za-z_]\w*\+?=)?\0", re.ASCII)  # all of a word, or of what is assigned
_ASSIGNED_LIST = compile_late(r"[A-Za-z_]\w*\+?=", re.ASCII)
_PARAMETER = compile_late(r"\$\{[#!]?([A-Za-z_]\w*|\d+|[@*#?$!-])", re.ASCII)
_OPERATOR = compile_late(r":?[-=?+]|##?|%%?|//?|\^\^?|,,?|@[A-Za-z](?=})|:|(?=})")
_VARIABLE = compile_late(r"\$(?:[A-Za-z_]\w*|[\d@*#?$!-])?", re.ASCII)
_TRANSLATED = compile_late(r"\$'((?:[^'\\]|\\.)*)'", re.DOTALL)
_BACKQUOTED = compile_late(r"`((?:[^`\\]|\\.)*)`", re.DOTALL)
_PLAIN_QUOTES = compile_late(r"'[^'\0}\"$`\\]*'")  # whether or not they are quotes there
_QUOTED = compile_late(r"""'[^']*'|"(?:[^"\\]|\\.)*"|\\.""", re.DOTALL)
_SEQUENCE = compile_late(r"(?<!\$)\{[^{}]*\.\.[^{}]*}")
_EXPANDED_BY_ZSH = compile_late(r"\A=|(?:\A|[=:])~[^/\0]*\0")


class Lost(Exception):
    """Why the command cannot be understood any further, and perhaps what to do about it."""

    def __init__(self, reason: str, hint: str = IN_ENV) -> None:
        super().__init__(reason)
        self.hint = hint


class Document(Struct):
    """A here-document whose lines are still to come."""

    delimiter: str
    is_indented: bool
    is_quoted: bool
    read_by: Input | None = None


class WordReader:
    """Reads *text* by recursive descent; each `read_…` reads what it is named after, from `at` on."""

    def __init__(self, text: str, shell: Shell, found: Findings, level: int) -> None:
        self.text, self.shell, self.found, self.level, self.at = text, shell, found, level, 0
        self.documents: list[Document] = []

    def read_whole(self) -> None:
        self.read_commands({""})
        if self.documents:
            raise Lost(f"the here-document {self.documents[0].delimiter} never begins")

    # Where it stands

    def enter(self) -> None:
        self.level += 1
        if self.level > MAX_LEVELS:
            raise Lost("the command is nested too deeply")

    def is_at(self, *texts: str) -> bool:
        return self.text.startswith(texts, self.at)

    def peek(self) -> str:
        if self.at >= len(self.text):
            raise Lost("something that begins in the command does not end")
        return self.text[self.at]

    def lose(self) -> NoReturn:
        raise Lost(f"{self.text[self.at : self.at + 10]!r} is unexpected or unknown".replace(r"\x00", "${…}"))

    def refuse_since(self, first: int, name: str, hint: str) -> None:
        self.found.refuse(self.found.holes_since(first), name, hint)

    def require_one_line(self, start: int) -> None:
        # Shells differ on whether its lines come behind this line or behind the whole word.
        if self.documents and "\n" in self.text[start : self.at]:
            raise Lost("a line ends between a here-document's `<<` and its lines")

    def skip_blanks(self) -> None:
        """White space and a comment, the end of the line excluded."""
        for pattern in (_BLANKS, _COMMENT):
            if found := pattern.match(self.text, self.at):
                self.found.holes += [COMMENT] * found.group().count(HOLE)
                self.at = found.end()

    def skip_gap(self) -> None:
        """As `skip_blanks`, with any number of ends of lines."""
        self.skip_blanks()
        while self.is_at("\n"):
            self.read_newline()
            self.skip_blanks()

    if TYPE_CHECKING:  # the upper half has them

        def read_newline(self) -> None: ...

        def read_commands(self, ends: Collection[str]) -> str: ...

    # Pieces of words; each returns what it contributes to the word's text

    def read_piece(self, where: Context) -> str:
        character = self.peek()
        if character == HOLE:
            self.found.holes.append(where)
            self.at += 1
            return HOLE
        if character in "'\"":
            return self.read_quotes(character, where)
        if character == "\\":
            return self.read_escape(where)
        if character == "$":
            return self.read_dollar(where)
        if character == "`":
            return self.read_backquotes(where)
        if where is BARE and self.is_at("<(", ">("):
            return self.read_substitution()
        run = _RUN.match(self.text, self.at)
        return self.take(len(run.group()) if run else 1)

    def take(self, length: int) -> str:
        self.at += length
        return self.text[self.at - length : self.at]

    def read_until(self, end: str, where: Context) -> str:
        """Everything up to one of the characters *end*, which is left to the caller."""
        text = []
        while self.peek() not in end:
            if self.shell == "zsh" and where is BARE and self.is_at("{", "("):
                self.lose()
            text.append(self.read_piece(where))
        return "".join(text)

    def read_escape(self, where: Context) -> str:
        self.at += 1
        character = self.peek()
        is_kept = where is not BARE and character not in ("$`\\\n" if where is DOCUMENT else '$`"\\\n')
        if character == HOLE:
            self.read_piece(where)
            hint = r"write \$${…} for the text ${…}, or two backslashes for one and the value"
            self.found.refuse([-1], "a backslash stands before it", hint)
            return HOLE
        return "\\" * is_kept + self.take(1).replace("\n", "")

    def read_quotes(self, quote: str, where: Context) -> str:
        if where is DOUBLE or where is DOCUMENT:
            return self.take(1)
        first = len(self.found.holes)
        if where is NESTED and quote == "'":
            plain = _PLAIN_QUOTES.match(self.text, self.at)
            if plain is None:
                raise Lost("shells differ on a ' in ${…} in double quotes")
            return self.take(len(plain.group()))
        text = self.read_single() if quote == "'" else self.read_double()
        if where is NESTED or (where is ARITHMETIC and quote == "'"):
            self.refuse_since(first, "quotes within quotes", "leave the inner quotes out")
        return text

    def read_single(self) -> str:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise Lost("a ' that is never closed")
        text = self.text[self.at + 1 : end]
        self.at = end + 1
        self.found.holes += [SINGLE] * text.count(HOLE)
        return text

    def read_double(self) -> str:
        self.at += 1
        text = self.read_until('"', DOUBLE)
        self.at += 1
        return text

    def read_dollar(self, where: Context) -> str:
        self.enter()
        if self.is_at("$(("):
            self.read_arithmetic("$((", "))")
        elif self.is_at("$("):
            self.read_substitution()
        elif self.is_at("${"):
            self.read_parameter(where)
        elif self.is_at("$[") and self.shell != "dash":
            self.read_arithmetic("$[", "]")
        elif self.is_at("$\\\n", "$" + HOLE):
            self.lose()
        elif where is BARE and self.is_at("$'", '$"'):
            self.read_dollar_quotes()
        else:
            self.read_variable()
        self.level -= 1
        return EXPANDED

    def read_dollar_quotes(self) -> None:
        first, translated = len(self.found.holes), _TRANSLATED.match(self.text, self.at)
        if self.is_at('$"'):
            self.at += 1
            self.read_double()
        elif translated is None or (r"\'" in translated.group() and self.shell in ("sh", "dash")):
            self.lose()  # to an old sh, the ' of \' is the end
        else:
            self.at = translated.end()
            self.found.holes += [SINGLE] * translated.group().count(HOLE)
        hint = "end the quotes before it, and begin others behind"
        self.refuse_since(first, "the shell translates this text", hint)

    def read_variable(self) -> None:
        found = _VARIABLE.match(self.text, self.at)
        self.at = found.end() if found else self.at
        if self.shell == "zsh" and self.is_at("["):
            self.read_arithmetic("[", "]")

    def read_arithmetic(self, opening: str, closing: str) -> None:
        start, first, inner = self.at, len(self.found.holes), 0
        self.at += len(opening)
        while inner or not self.is_at(closing):
            character = self.peek()
            inner += (character in "([") - (character in ")]")
            if inner < 0:
                raise Lost(f"`{opening}` that does not end in `{closing}`; for commands, put a blank between")
            self.read_piece(ARITHMETIC)
        self.at += len(closing)
        self.require_one_line(start)
        self.found.compute(self.text[start : self.at])
        self.found.require_integers(
            self.found.holes_since(first), "a subscript" if opening == "[" else "arithmetic"
        )

    def read_subscript(self, name: str) -> None:
        first = len(self.found.holes)
        self.read_arithmetic("[", "]")
        self.found.subscripts.append((name, self.found.holes_since(first)))

    def read_substitution(self) -> str:
        """`$(…)`, `<(…)` or `>(…)`."""
        self.at += 2
        outer, self.documents = self.documents, []
        self.read_commands({")"})
        if self.documents:
            raise Lost("a here-document's lines are missing")
        self.documents = outer
        return EXPANDED

    def read_backquotes(self, where: Context) -> str:
        found = _BACKQUOTED.match(self.text, self.at)
        if found is None or (where is DOCUMENT and r"\"" in found.group()):
            self.lose()
        self.at = found.end()
        special = r"\\([$`\\\"])" if where is DOUBLE or where is NESTED else r"\\([$`\\])"
        commands = re.sub(special, r"\1", found.group(1))
        type(self)(commands, self.shell, self.found, self.level + 1).read_whole()
        return EXPANDED

    def read_parameter(self, where: Context) -> None:
        """`${…}`, the shell's own."""
        start, first, found = self.at, len(self.found.holes), _PARAMETER.match(self.text, self.at)
        self.at = found.end() if found else self.at + 2
        if found and self.is_at("["):
            self.read_subscript(found.group(1))
        operator = _OPERATOR.match(self.text, self.at) if found else None
        self.at = operator.end() if operator else self.at
        within = BARE if where is BARE else NESTED
        match operator.group().lstrip(":") if operator else None:
            case "-" | "=" | "?" | "+":
                self.read_until("}", within)
                if found and operator and operator.group()[-1] == "=":
                    self.judge_default(found.group(1), self.found.holes_since(first), where)
            case "" if operator and operator.group():
                offset = self.at
                self.read_until("}", ARITHMETIC)
                self.found.compute(self.text[offset : self.at])
                self.found.require_integers(self.found.holes_since(first), "the offset of a substring")
            case "/" | "//":
                self.read_replacement(where)
            case None:
                self.read_until("}", within)
                hint = f"assign it to a variable first, or {IN_ENV}"
                self.refuse_since(first, "an expansion that is not known", hint)
            case _:
                self.read_until("}", BARE)
                if where is DOCUMENT or where is NESTED:  # dash keeps backslashes there
                    hint = "compute it in a variable before"
                    self.refuse_since(first, "a pattern in a here-document", hint)
        self.at += 1
        self.require_one_line(start)

    def judge_default(self, name: str, holes: range, where: Context) -> None:
        """`${x:=…}`: assigned as it is, and then, without quotes, split and matched with files."""
        self.found.assign(name, holes)
        if where is BARE:
            self.found.refuse(holes, "${x:=…} without quotes", "put double quotes around all of it")

    def read_replacement(self, where: Context) -> None:
        self.read_until("/}", BARE)
        first = len(self.found.holes)
        self.read_until("}", BARE)
        if where is not BARE:  # older bashes keep the quotes there, newer ones give & a meaning without
            hint = "assign it first, outside of the quotes: y=${x/a/${…}}"
            self.refuse_since(first, "a replacement in double quotes", hint)

    # Words

    def read_word(self, *, has_subscript: bool = True) -> Word:
        """A word; of one that *has_subscript*, what stands in `[…]` behind a name is computed."""
        start, first, text = self.at, len(self.found.holes), []
        glob: int | None = None  # the first hole behind an open [
        splits = False
        while self.at < len(self.text):
            character = self.text[self.at]
            if character == "[" and has_subscript and _NAME.fullmatch(self.text, start, self.at):
                self.read_subscript(self.text[start : self.at])
            elif character == "(" and self.at > start:
                if not self.read_parenthesis(start):
                    break
            elif character in _ENDS_OF_WORDS and not self.is_at("<(", ">("):
                break
            else:
                if character == "[" and glob is None:
                    glob = len(self.found.holes)
                elif character == "]" and glob is not None:
                    self.refuse_in_glob(glob)
                    glob = None
                splits = splits or character in "$`"
                text.append(self.read_piece(BARE))
                continue
            text.append(EXPANDED)
        if glob is not None:
            self.refuse_in_glob(glob)
        self.require_one_line(start)
        source = self.text[start : self.at].replace("\\\n", "")
        if ".." in source and any(HOLE in found for found in _SEQUENCE.findall(_QUOTED.sub("", source))):
            hint = "use seq, as in: for i in $(seq 1 ${…})"
            self.refuse_since(first, "{1..9} is made before values are put in", hint)
        if self.shell == "zsh" and _EXPANDED_BY_ZSH.search(source):
            hint = "put the ~ or = into quotes"
            self.refuse_since(first, "zsh expands this word, even in quotes", hint)
        word = Word(source, "".join(text), self.found.holes_since(first), splits)
        self.found.note_json(word.text, word.holes)
        if _WHOLE.fullmatch(word.text):
            self.found.holes[first] = replace(self.found.holes[first], is_word=True)
        return word

    def refuse_in_glob(self, first: int) -> None:
        hint = "put double quotes around the word"
        self.refuse_since(first, "[…] without quotes matches the names of files", hint)

    def read_parenthesis(self, start: int) -> bool:
        """A list behind `name=`, a pattern behind one of ?*+@!, zsh's `=(…)`; or nothing of a word."""
        if _ASSIGNED_LIST.fullmatch(self.text, start, self.at):
            self.read_list(self.text[start : self.at])
        elif self.shell == "zsh" and self.text[start : self.at] == "=":
            self.at -= 1
            self.read_substitution()
        elif self.text[self.at - 1] in "?*+@!" and self.text[start : self.at] != "!":
            self.read_pattern()
        else:
            return False
        return True

    def read_list(self, assignment: str) -> None:
        self.found.arrays.add(assignment.rstrip("+="))
        self.enter()
        self.at += 1
        self.skip_gap()
        while not self.is_at(")"):
            self.found.allow_spread(self.read_needed_word())
            self.skip_gap()
        self.at += 1
        self.level -= 1

    def read_pattern(self) -> None:
        first, inner = len(self.found.holes), 0
        while not (inner == 1 and self.is_at(")")):
            inner += (self.peek() == "(") - (self.peek() == ")")
            self.read_piece(BARE)
        self.at += 1
        if self.shell == "zsh":  # there it may be a glob qualifier, which can run code
            hint = "write the pattern without ( )"
            self.refuse_since(first, "a pattern in parentheses", hint)

    def read_needed_word(self) -> Word:
        start = self.at
        word = self.read_word()
        if self.at == start:
            self.lose()
        return word

    def read_next_word(self) -> Word | None:
        self.skip_blanks()
        word = self.read_word()
        return word if word.source else None
