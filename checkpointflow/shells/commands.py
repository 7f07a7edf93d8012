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
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

from checkpointflow.patterns import compile_late
from checkpointflow.shells.contexts import (
    BARE,
    DOCUMENT,
    HOLE,
    Context,
    Findings,
    Input,
    Shell,
    Word,
    split_names,
)
from checkpointflow.shells.shell_builtins import judge_operands
from checkpointflow.shells.simple_commands import judge, may_name_variables
from checkpointflow.shells.words import Document, Lost, WordReader

_BUILTINS = split_names(
    ". : [ alias autoload bg bind break builtin caller cd command compgen complete continue declare dirs "
    "disown echo enable eval exec exit export false fc fg getopts hash help history jobs kill let local "
    "logout mapfile popd print printf pushd pwd read readarray readonly return set setopt shift shopt source "
    "suspend test times trap true type typeset ulimit umask unalias unset unsetopt wait whence where "
    "which zmodload"
)
_REDEFINE = split_names(". source alias eval enable")
_LOOK_FOR = split_names("type which whence hash")
_NAME = compile_late(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_OPENERS = frozenset(
    ("if", "then", "elif", "else", "fi", "while", "until", "do", "done", "!", "{", "}", "always")
)
_BEGINNINGS = frozenset(("if", "while", "until", "for", "foreach", "select", "repeat", "{"))
_ENDINGS = frozenset(("fi", "done", "}"))
_CLOSERS = _ENDINGS | {"case", ")"}
_PIPES = ("|", "|&")
_OWN_INPUT = tuple(f"{number}{sign}" for number in ("", "0") for sign in ("<", "<<", "<<-", "<<<"))
# They print what lies in the files that their arguments name, not the arguments.
_PRINT_FILES = split_names(
    "cat zcat gzcat bzcat xzcat zstdcat gunzip gzip unzip tail head curl wget pg_dump mysqldump"
)

_REDIRECT = compile_late(r"(?:\d+|\{\w+\})?(<<<|<<-|<<|<>|[<>]&|&>>?[|!]?|>>[|!]?|>[|!]?(?!\()|<(?!\())")
_WHOLE_INPUT = compile_late(r"\$\(\s*(?:cat(?:\s+-)?|(?:cat|<)\s*/dev/stdin)\s*\)|`cat`")
_SEPARATOR = compile_late(r"\|&|\|\|?|&&?|;")
_END = compile_late(r"\)|;[;&|]&?|esac(?=[\s;&|)<>]|\Z)|\Z")
_FUNCTION = compile_late(r"\([ \t]*\)")


Mark = tuple[int, int]


def find_contexts(text: str, shell: Shell) -> list[Context]:
    """The Context of each HOLE in the command *text*, in their order; none is left out."""
    found = Findings()
    try:
        _CommandReader(text, shell, found, 0).read_whole()
    except Lost as reason:
        problem = f"cannot tell where this value stands: {reason}"
        return [Context("an unknown context", problem=problem, hint=reason.hint)] * text.count(HOLE)
    found.settle()
    return found.holes


def find_programs(text: str, shell: Shell) -> set[str]:
    """The programs that the command *text* calls by name; none that it looks for before it does.

    Nor any where it may change by itself what a name means, or where it is not understood.
    """
    found = Findings()
    try:
        _CommandReader(text, shell, found, 0).read_whole()
    except Lost:
        return set()
    assigned = {name for name, _ in found.assigned} | {name for name, _ in found.flows}
    if "PATH" in assigned or not found.called.isdisjoint(_REDEFINE):
        return set()
    looked_for = {word.text for name, words in found.calls if name in _LOOK_FOR for word in words}
    looked_for |= {word for line in text.split("\n") if "command -v" in line for word in line.split()}
    own = found.functions | looked_for | _BUILTINS
    return {name for name in found.called - own if _NAME.fullmatch(name)}


def find_demands(text: str, shell: Shell, variables: Sequence[str]) -> list[Context]:
    """What a value in each of the *variables* may be that the command *text* finds in its environment.

    They are judged as if it began by assigning them, and as far as it is understood.
    """
    found = Findings()
    for number, variable in enumerate(variables):
        found.holes.append(BARE)
        found.assign(variable, range(number, number + 1))
    with suppress(Lost):
        _CommandReader(text if shell != "pwsh" else "", shell, found, 0).read_whole()
    found.settle()
    return found.holes[: len(variables)]


def find_inputs(text: str, shell: Shell) -> list[Context]:
    """The Context of each place of a value in what the command *text* reads on its standard input.

    As far as it is understood. The first is wherever a command reads it, each other a `$(cat)`.
    """
    found = Findings()
    found.holes.append(BARE)
    found.fed = range(1)
    found.inputs.append(found.fed)
    with suppress(Lost):
        _CommandReader(_WHOLE_INPUT.sub(f"$(printf %s {HOLE})", text), shell, found, 0).read_whole()
    found.settle()
    return found.holes


class _CommandReader(WordReader):
    """piped: the mark of what a pipe leads into the compound command that is being read, if one does.

    reads: who in it reads a program from its input; closed: the same of the one that has just ended.
    """

    piped: Mark | None = None
    reads: Input | None = None
    closed: Input | None = None

    def read_commands(self, ends: Collection[str]) -> str:
        """Commands up to one of *ends*, and over it: `)`, `;;`, `esac`, or "" for the end of the text."""
        self.enter()
        outer = self.piped
        start = pipeline = outer or self.found.mark()
        before, opened = "", list[tuple[Mark | None, Input | None]]()
        while (end := self.read_end(ends)) is None:
            if self.is_at("\n"):
                self.read_newline()
                pipeline = pipeline if before in _PIPES else self.piped or self.found.mark()
            elif sign := self.read_separator():
                if sign not in _PIPES:
                    pipeline = self.piped or self.found.mark()
                elif before in _CLOSERS:
                    pipeline = start
                before = sign
            else:
                before = self.read_member(before, pipeline, opened)
        self.level -= 1
        self.piped = outer
        return end

    def read_member(self, before: str, pipeline: Mark, opened: list[tuple[Mark | None, Input | None]]) -> str:
        """One of the commands, or the word of a compound one; what it is, as of `read_command`, or *before*.

        *opened*: of the compound commands that stand open, `piped` and `reads` as they were before each.
        """
        piped, reads, mark = self.piped, self.reads, self.found.mark()
        self.piped, self.reads = (pipeline if before in _PIPES else piped), None
        word = self.read_command(pipeline)
        if word in _BEGINNINGS:
            opened.append((piped, reads))
            return word
        if word in _ENDINGS and opened:
            self.closed, (piped, outer) = reads, opened.pop()
            reads = reads or outer
        elif word in _CLOSERS:
            self.closed = self.reads
        elif not word and before in _CLOSERS and self.closed:  # what stands behind it is what it reads
            self.refuse_input(self.closed, mark, [])
        self.piped, self.reads = piped, self.reads or reads
        return word or before

    def read_end(self, ends: Collection[str]) -> str | None:
        self.skip_blanks()
        found = _END.match(self.text, self.at)
        end = ";;" if self.is_at(";") and found else found.group() if found else None
        if end is None or (end == "esac" and end not in ends):
            return None
        if end not in ends or found is None:
            self.lose()
        self.at = found.end()
        return end

    def read_separator(self) -> str:
        found = _SEPARATOR.match(self.text, self.at)
        if found is None or self.match_redirect():  # &>
            return ""
        return self.take(len(found.group()))

    def match_redirect(self) -> re.Match[str] | None:
        found = _REDIRECT.match(self.text, self.at)
        if found and found.group().startswith("&") and self.shell in ("sh", "dash"):
            if self.shell == "sh":
                raise Lost("to some shells &> ends the command; write > file 2>&1")
            return None
        return found

    def read_command(self, pipeline: Mark) -> str:
        """A simple command, or what a compound one begins with, up to where a command may stand again.

        What it is: a reserved word, `)`, or "" for redirects alone. *pipeline*: the mark where it begins.
        """
        if self.is_at("("):
            return self.read_parentheses()
        words: list[Word] = []
        first = len(self.found.holes)
        is_fed = True
        while True:
            self.skip_blanks()
            if redirect := self.read_redirect():
                is_fed = is_fed and redirect not in _OWN_INPUT
                continue
            if words and (brackets := _FUNCTION.match(self.text, self.at)):
                self.at = brackets.end()
                return self.refuse_names(words)
            word = self.read_word(has_subscript=may_name_variables(words))
            if word.source and not words and self.read_reserved(word.source):
                return word.source
            words += [word] if word.source else []
            if not word.source or (self.shell == "zsh" and word.source == "}"):
                break
        if self.is_at("("):
            self.lose()
        if words and words[0].text.rpartition("/")[2] in _PRINT_FILES:
            self.found.files += words
        if words and words[0].text in ("read", "mapfile", "readarray"):
            self.found.inputs.append(range(pipeline[0], first))
        if given := judge(words, self.found, self.shell):
            self.reads = given
            self.refuse_input(given, pipeline, words)
            self.found.refuse(self.found.fed if is_fed else (), given.name, given.hint)
        return "a command" if words else ""

    def read_parentheses(self) -> str:
        if self.is_at("(("):
            self.read_arithmetic("((", "))")
        else:
            self.at += 1
            self.read_commands({")"})
        return ")"

    def refuse_names(self, names: list[Word]) -> str:
        for name in names:
            self.found.refuse(name.holes, "the name of a function", "write the name itself")
            self.found.functions.add(name.text)
        return "a name"

    def refuse_input(self, given: Input, pipeline: Mark, words: list[Word]) -> None:
        """Refuse the holes in what the command of *words* reads, which begins at the mark *pipeline*."""
        own = {hole for word in words for hole in word.holes}
        for file in self.found.files[pipeline[1] :]:
            self.found.run_file(file, given.name, given.hint)
        files = self.found.holes_in_files
        own |= files if given.takes_files else set()
        written = [hole for hole in self.found.holes_since(pipeline[0]) if hole not in own]
        self.found.refuse(files.intersection(written), given.name, given.hint_for_files or given.hint)
        self.found.refuse(written, given.name, given.hint)
        for document in self.documents:
            document.read_by = given

    def read_reserved(self, word: str) -> bool:
        """Reads on behind *word* to where a command may stand, if *word* is reserved there."""
        read = _RESERVED.get(word)
        if read is None or (word == "repeat" and self.shell != "zsh"):
            return word in _OPENERS
        read(self)
        return True

    def read_count(self) -> None:
        self.skip_blanks()
        self.found.require_integers(self.read_needed_word().holes, "the count of repeat")

    def skip_options(self) -> None:
        self.skip_blanks()
        while self.is_at("-"):
            self.read_word()
            self.skip_blanks()

    def read_case(self) -> None:
        self.skip_blanks()
        self.read_word()
        self.skip_gap()
        if self.read_word().source != "in":
            self.lose()
        end = ";;"
        while end != "esac":
            self.skip_gap()
            pattern = self.read_word()
            if pattern.source == "esac":
                return
            if not pattern.source and self.is_at("("):
                self.at += 1
            self.read_patterns()
            end = self.read_commands({";;", "esac"})

    def read_patterns(self) -> None:
        self.skip_blanks()
        while not self.is_at(")"):
            if self.is_at("|"):
                self.at += 1
                self.skip_blanks()
            else:
                self.read_needed_word()
            self.skip_blanks()
        self.at += 1

    def read_loop(self) -> None:
        self.skip_blanks()
        if self.is_at("(("):
            return self.read_arithmetic("((", "))")
        names = []
        while (word := self.read_next_word()) and word.source != "in":
            names.append(word)
        self.refuse_names(names)
        while word and (item := self.read_next_word()):
            self.found.allow_spread(item)
            self.found.assign(names[0].text if names else "", item.holes, item.source)
        if self.is_at("("):
            self.lose()
        return None

    def read_function(self) -> None:
        while (word := self.read_next_word()) and word.source != "{":
            self.refuse_names([word])

    def read_condition(self) -> None:
        words: list[Word] = []
        self.skip_gap()
        while not words or words[-1].source != "]]":
            words.append(self.read_term())
            if words[-1].source != "]]":
                self.skip_gap()
        judge_operands(words, self.found, self.shell, is_computed=True)

    def read_term(self) -> Word:
        """A word of `[[ ]]`, or a sign between its words. To a shell without `[[` it ends the command."""
        self.peek()
        word = self.read_word()
        if word.source:
            return word
        if self.is_at(";"):
            self.lose()
        if self.shell in ("sh", "dash"):
            raise Lost(f"to a {self.shell} without `[[` the command ends here", "write `shell: bash`")
        return Word(self.take(1), "", range(0))

    # Redirects and here-documents

    def read_newline(self) -> None:
        """The end of a line, and the here-documents that begin behind it."""
        self.at += 1
        for document in self.documents:
            self.read_document(document)
        self.documents.clear()

    def read_redirect(self) -> str:
        """Reads over a redirect and its target, if one stands here; its sign, if so."""
        found = self.match_redirect()
        if found is None:
            return ""
        # zsh has `>!`; to others the ! is the target.
        self.at = found.end() - (found.group().endswith("!") and self.shell != "zsh")
        self.skip_blanks()
        target = self.read_needed_word()
        match found.group(1):
            case "<<" | "<<-":
                self.announce(target, is_indented=found.group(1) == "<<-")
            case "<<<":
                self.found.inputs.append(target.holes)
            case "<&" | ">&":
                self.found.require_integers(target.holes, "the number of a descriptor")
            case _:
                self.found.files.append(target)
        return found.group() if target.text != "/dev/stdin" else "<&0"

    def announce(self, word: Word, *, is_indented: bool) -> None:
        if any(sign in word.source for sign in (HOLE, "$", "`")):
            self.lose()
        is_quoted = any(sign in word.source for sign in "\\'\"")
        self.documents.append(Document(word.text, is_indented, is_quoted))

    def read_document(self, document: Document) -> None:
        """The lines of *document*, which begin here, and the line that ends it."""
        first, lines = len(self.found.holes), self.read_lines(document)
        if document.is_quoted:
            self.found.holes += [DOCUMENT] * lines.count(HOLE)
            hint = "leave the quotes of its delimiter out, and write \\$ for a literal $"
            self.refuse_since(first, "a here-document whose delimiter is quoted", hint)
            return
        inner, text = _CommandReader(lines, self.shell, self.found, self.level + 1), ""
        while inner.at < len(lines):
            text += inner.read_piece(DOCUMENT)
        self.found.note_json(text, self.found.holes_since(first))
        self.found.inputs.append(self.found.holes_since(first))
        if document.read_by:
            self.refuse_since(first, document.read_by.name, document.read_by.hint)

    def read_lines(self, document: Document) -> str:
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


_RESERVED: Mapping[str, Callable[[_CommandReader], None]] = {
    "case": _CommandReader.read_case,
    **dict.fromkeys(("for", "select", "foreach"), _CommandReader.read_loop),
    "function": _CommandReader.read_function,
    "[[": _CommandReader.read_condition,
    "time": _CommandReader.skip_options,
    "repeat": _CommandReader.read_count,
    "coproc": _CommandReader.lose,
}
