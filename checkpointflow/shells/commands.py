"""Reads a command as a shell does, and says in which context each value in it stands.

The upper half of a scanner by recursive descent over the grammar that sh, dash, bash and zsh share, as
far as it tells contexts apart: which words make a command, and where here-documents lie. `words.py` has
the lower half, the words; `contexts.py` says what is written in each context, and what is let through.

Whatever is not understood (a quote without an end, a `coproc`, `"${x:-it's}"`, which shells read
differently) makes the context unknown, and an unknown context is refused. `sh` may be any shell, so it has
the dangers of dash and bash together.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from checkpointflow.patterns import late
from checkpointflow.shells.contexts import (
    DOCUMENT,
    HOLE,
    IN_ENV,
    Context,
    Findings,
    Input,
    Shell,
    Word,
    split_names,
)
from checkpointflow.shells.shell_builtins import judge_operands
from checkpointflow.shells.simple_commands import judge
from checkpointflow.shells.words import Document, Lost, WordReader

_OPENERS = frozenset(
    ("if", "then", "elif", "else", "fi", "while", "until", "do", "done", "!", "{", "}", "always")
)
_CLOSERS = frozenset(("fi", "done", "}", "case", ")"))
_PIPES = ("|", "|&")
# They print what lies in the files that their arguments name, not the arguments.
_PRINT_FILES = split_names(
    "cat zcat gzcat bzcat xzcat zstdcat gunzip gzip unzip tail head curl wget pg_dump mysqldump"
)

_REDIRECT = late(r"(?:\d+|\{\w+\})?(<<<|<<-|<<|<>|[<>]&|&>>?[|!]?|>>[|!]?|>[|!]?(?!\()|<(?!\())")
_SEPARATOR = late(r"\|&|\|\|?|&&?|;")
_END = late(r"\)|;[;&|]&?|esac(?=[\s;&|)<>]|\Z)|\Z")
_FUNCTION = late(r"\([ \t]*\)")


def find_contexts(text: str, shell: Shell) -> list[Context]:
    """The Context of each HOLE in the command *text*, in their order; none is left out."""
    found = Findings()
    try:
        _CommandReader(text, shell, found, 0).whole()
    except Lost as reason:
        problem = f"cannot tell where this value stands: {reason}"
        return [Context("an unknown context", problem=problem, hint=IN_ENV)] * text.count(HOLE)
    found.settle()
    return found.holes


class _CommandReader(WordReader):
    def commands(self, ends: Collection[str]) -> str:
        """Commands up to one of *ends*, and over it: `)`, `;;`, `esac`, or "" for the end of the text."""
        self.enter()
        start = pipeline = len(self.found.holes)
        before = ""
        while (end := self.end(ends)) is None:
            if self.here("\n"):
                self.newline()
                pipeline = pipeline if before in _PIPES else len(self.found.holes)
            elif sign := self.separator():
                if sign not in _PIPES:
                    pipeline = len(self.found.holes)
                elif before in _CLOSERS:
                    pipeline = start
                before = sign
            else:
                before = self.command(pipeline) or before
        self.level -= 1
        return end

    def end(self, ends: Collection[str]) -> str | None:
        self.blanks()
        found = _END.match(self.text, self.at)
        end = ";;" if self.here(";") and found else found.group() if found else None
        if end is None or (end == "esac" and end not in ends):
            return None
        if end not in ends or found is None:
            self.lose()
        self.at = found.end()
        return end

    def separator(self) -> str:
        found = _SEPARATOR.match(self.text, self.at)
        if found is None or self.redirection():  # &>
            return ""
        return self.take(len(found.group()))

    def redirection(self) -> re.Match[str] | None:
        found = _REDIRECT.match(self.text, self.at)
        if found and found.group().startswith("&") and self.shell in ("sh", "dash"):
            if self.shell == "sh":
                raise Lost("to some shells &> ends the command; write > file 2>&1")
            return None
        return found

    def command(self, pipeline: int) -> str:
        """A simple command, or what a compound one begins with, up to where a command may stand again.

        What it is: a reserved word, `)`, or "" for redirects alone. *pipeline*: its first hole.
        """
        if self.here("("):
            return self.parenthesised()
        words: list[Word] = []
        first = len(self.found.holes)
        targets: set[int] = set()
        while True:
            self.blanks()
            before = len(self.found.holes)
            if redirect := self.redirect():
                targets.update(self.found.since(before) if redirect != "<<<" else ())
                continue
            if words and (brackets := _FUNCTION.match(self.text, self.at)):
                self.at = brackets.end()
                return self.refuse_names(words)
            word = self.word()
            if word.source and not words and self.reserved(word.source):
                return word.source
            words += [word] if word.source else []
            if not word.source or (self.shell == "zsh" and word.source == "}"):
                break
        if self.here("("):
            self.lose()
        if words and words[0].text.rpartition("/")[2] in _PRINT_FILES:
            targets.update(self.found.since(first))
        self.found.files |= targets
        if given := judge(words, self.found, self.shell):
            self.refuse_input(given, pipeline, words)
        return "a command" if words else ""

    def parenthesised(self) -> str:
        if self.here("(("):
            self.arithmetic("((", "))")
        else:
            self.at += 1
            self.commands({")"})
        return ")"

    def refuse_names(self, names: list[Word]) -> str:
        for name in names:
            self.found.refuse(name.holes, "the name of a function", "write the name itself")
        return "a name"

    def refuse_input(self, given: Input, pipeline: int, words: list[Word]) -> None:
        """Refuse the holes in what the command of *words* reads, from hole *pipeline* on."""
        own = {hole for word in words for hole in word.holes}
        own |= self.found.files if given.takes_files else set()
        written = (hole for hole in self.found.since(pipeline) if hole not in own)
        self.found.refuse(written, given.name, given.hint)
        for document in self.documents:
            document.read_by = given

    def reserved(self, word: str) -> bool:
        """Reads on behind *word* to where a command may stand, if *word* is reserved there."""
        match word:
            case "case":
                self.case()
            case "for" | "select" | "foreach":
                self.loop()
            case "function":
                self.function()
            case "[[":
                self.condition()
            case "time":
                self.options()
            case "repeat" if self.shell == "zsh":
                self.blanks()
                self.found.only_integers(self.needed_word().holes, "the count of repeat")
            case "coproc":
                self.lose()
            case _:
                return word in _OPENERS
        return True

    def options(self) -> None:
        self.blanks()
        while self.here("-"):
            self.word()
            self.blanks()

    def case(self) -> None:
        self.blanks()
        self.word()
        self.gap()
        if self.word().source != "in":
            self.lose()
        end = ";;"
        while end != "esac":
            self.gap()
            pattern = self.word()
            if pattern.source == "esac":
                return
            if not pattern.source and self.here("("):
                self.at += 1
            self.patterns()
            end = self.commands({";;", "esac"})

    def patterns(self) -> None:
        self.blanks()
        while not self.here(")"):
            if self.here("|"):
                self.at += 1
                self.blanks()
            else:
                self.needed_word()
            self.blanks()
        self.at += 1

    def loop(self) -> None:
        self.blanks()
        if self.here("(("):
            return self.arithmetic("((", "))")
        names = []
        while (word := self.next_word()) and word.source != "in":
            names.append(word)
        self.refuse_names(names)
        while word and (item := self.next_word()):
            self.found.may_spread(item)
            self.found.assign(names[0].text if names else "", item.holes)
        if self.here("("):
            self.lose()
        return None

    def function(self) -> None:
        while (word := self.next_word()) and word.source != "{":
            self.refuse_names([word])

    def condition(self) -> None:
        words: list[Word] = []
        self.gap()
        while not words or words[-1].source != "]]":
            words.append(self.term())
            if words[-1].source != "]]":
                self.gap()
        judge_operands(words, self.found, self.shell, is_computed=True)

    def term(self) -> Word:
        """A word of `[[ ]]`, or a sign between its words. To a shell without `[[` it ends the command."""
        self.due()
        word = self.word()
        if word.source:
            return word
        if self.here(";") or self.shell in ("sh", "dash"):
            self.lose()
        return Word(self.take(1), "", range(0))

    # Redirects and here-documents

    def newline(self) -> None:
        """The end of a line, and the here-documents that begin behind it."""
        self.at += 1
        for document in self.documents:
            self.document(document)
        self.documents.clear()

    def redirect(self) -> str | None:
        """The sign of a redirect, over which it reads, and over its target."""
        found = self.redirection()
        if found is None:
            return None
        # zsh has `>!`; to others the ! is the target.
        self.at = found.end() - (found.group().endswith("!") and self.shell != "zsh")
        self.blanks()
        target = self.needed_word()
        match found.group(1):
            case "<<" | "<<-":
                self.announce(target, is_indented=found.group(1) == "<<-")
            case "<&" | ">&":
                self.found.only_integers(target.holes, "the number of a descriptor")
        return found.group(1)

    def announce(self, word: Word, *, is_indented: bool) -> None:
        if any(sign in word.source for sign in (HOLE, "$", "`")):
            self.lose()
        is_quoted = any(sign in word.source for sign in "\\'\"")
        self.documents.append(Document(word.text, is_indented, is_quoted))

    def document(self, document: Document) -> None:
        """The lines of *document*, which begin here, and the line that ends it."""
        first, lines = len(self.found.holes), self.lines(document)
        if document.is_quoted:
            self.found.holes += [DOCUMENT] * lines.count(HOLE)
            hint = "leave the quotes of its delimiter out, and write \\$ for a literal $"
            self.found.refuse(self.found.since(first), "a here-document whose delimiter is quoted", hint)
            return
        inner = _CommandReader(lines, self.shell, self.found, self.level + 1)
        while inner.at < len(lines):
            inner.piece(DOCUMENT)
        if document.read_by:
            self.found.refuse(self.found.since(first), document.read_by.name, document.read_by.hint)

    def lines(self, document: Document) -> str:
        start, joined = self.at, ""
        while True:
            if self.at >= len(self.text):
                raise Lost(f"the here-document {document.delimiter} does not end")
            begin, end = self.at, self.text.find("\n", self.at)
            end = len(self.text) if end < 0 else end
            self.at = min(end + 1, len(self.text))
            line = self.text[begin:end].lstrip("\t" if document.is_indented else "")
            # To some shells a backslash joins a line to the next one before they look for the end.
            joined = line if document.is_quoted else joined + line
            if (line == document.delimiter) != (joined == document.delimiter):
                raise Lost(f"a backslash before the line {document.delimiter}")
            if line == document.delimiter:
                return self.text[start:begin]
            slashes = len(joined) - len(joined.rstrip("\\"))
            joined = joined[:-1] if slashes % 2 else ""
