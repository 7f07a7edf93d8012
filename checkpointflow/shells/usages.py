"""How programs read their arguments: a `Usage` says it of one program, `read_arguments` follows it.

As `getopt` does: letters in one word (`-lane`), an argument joined to its option (`-e…`, `--eval=…`) or in
the next word, abbreviated long options, `--`. An option that no table knows counts as one without an
argument. That may take its argument for an operand: a value is then refused once too often, or the program
is looked for one word too early, which is why the tables list the options that are in use.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from checkpointflow.shells.contexts import EXPANDED, HOLE, Word

First = Literal[
    "data", "script", "program", "statements", "targets", "command", "remote", "code", "verb", "setting"
]


_KINDS = ("ends", "flags", "joined", "glued", "data", "files", "loads", "pairs", "settings", "ahead", "code")


class Usage(Struct, frozen=True):
    """How the programs *names* are called: what their options take, and what the first operand is.

    first: `script` and `program` only if no option has given the program; `statements` behind a database;
    `command` is run with all that follows, `remote` by a shell elsewhere; all of `code` is code; a `verb`
    has a usage of its own; a `setting` is a name, and a value behind it. `skips` operands come before a
    command, or before code.
    """

    names: str  # with commas between; the name of a verb stands behind a blank
    hint: str
    first: First = "data"
    code: str = ""  # options whose argument is program text
    ahead: str = ""  # … is, too, and is run before the program itself
    files: str = ""  # … names a file with the program
    loads: str = ""  # … names one that is run besides
    data: str = ""  # … is something else
    pairs: str = ""  # options with two arguments
    settings: str = ""  # options with NAME=VALUE
    joined: str = ""  # options that take only what is joined to them: `-i.bak`
    glued: str = ""  # … and take it for code: `-Mmodule`, `+command`
    flags: str = ""  # if there are any, every other option has an argument
    ends: str = ""  # no word is an option behind these and their argument
    skips: int = 0
    is_fed: bool = False  # given no program, it reads one from standard input
    permutes: bool = False  # options may stand behind operands
    is_wordy: bool = False  # `-name` is one option, not four
    takes_assignments: bool = False  # before the command, as env does
    tail_is_code: bool = False  # all that stands behind `ends`
    bundles: bool = False  # the first word is options, with a dash or without, as in `tar xf`
    danger: str = ""  # a pattern of the settings whose values are code
    verdict: str = "reads it as code"


class Text(Struct, frozen=True):
    """A part of *word* that is an argument: all of it, or what is joined to an option."""

    text: str
    word: Word


class Arguments(Struct):
    """What `read_arguments` found. `loose` operands would be options if they began with `-`."""

    code: list[Text] = []
    files: list[Text] = []
    loaded: list[Text] = []
    settings: list[Text] = []
    singles: list[Word] = []
    unclear: list[Word] = []
    operands: list[Word] = []
    loose: list[Word] = []
    given: dict[str, str] = {}
    is_over: bool = False
    has_program: bool = False  # by an option


def read_arguments(words: Sequence[Word], usage: Usage) -> Arguments:
    """The arguments *words* of a program, sorted by what *usage* says that they are."""
    found, left = Arguments(), deque(words)
    while left:
        word = left.popleft()
        if word.text == "--":
            break
        if _is_option(word, left, usage):
            _read_option(word, left, usage, found)
            continue
        found.operands.append(word)
        if word.text.startswith(HOLE):
            found.loose.append(word)
        if not usage.permutes:
            break
    found.operands += left
    return found


def unbundle(words: Sequence[Word], usage: Usage) -> Sequence[Word]:
    """*words* with the options of a first word that has no dash each on its own, before its argument."""
    if not words or not words[0].text.isalpha():
        return words
    kinds, left = _sort_options(usage), deque(words[1:])
    options: list[Word] = []
    for letter in words[0].text:
        options.append(Word(f"-{letter}", f"-{letter}", range(0)))
        if kinds.get(f"-{letter}", "flags") != "flags" and left:
            options.append(left.popleft())
    return [*options, *left]


def _is_option(word: Word, after: Sequence[Word], usage: Usage) -> bool:
    """Whether *word* is an option, or an expansion that stands for some: options follow it."""
    if word.text == EXPANDED:
        runs_command = usage.first in ("command", "remote", "verb")
        return not runs_command and any(other.text[:1] == "-" and other.text != "-" for other in after)
    return word.text != "-" and (word.text[:1] == "-" or (word.text[:1] == "+" and "+" in usage.glued))


def _read_option(word: Word, left: deque[Word], usage: Usage, found: Arguments) -> None:
    kinds = _sort_options(usage)
    option, joined = _split(word.text, usage, kinds)
    kind = kinds.get(option, "data" if usage.flags else "flags")
    if option == "?":
        found.unclear.append(word)
    elif kind == "pairs":
        found.singles += [left.popleft() for _ in range(min(2, len(left)))]
    elif kind == "joined" and joined:
        found.given[option] = joined
    elif kind == "glued" and joined:
        found.code.append(Text(joined, word))
    elif kind not in ("flags", "joined", "glued") and (joined is not None or left):
        word = word if joined is not None else left.popleft()
        argument = Text(word.text if joined is None else joined, word)
        found.given[option] = argument.text
        found.singles.append(argument.word)
        found.has_program |= kind in ("code", "files")
        found.code += [argument] if kind in ("code", "ahead") else []
        found.files += [argument] if kind == "files" else []
        found.loaded += [argument] if kind == "loads" else []
        found.settings += [argument] if kind == "settings" else []
    if option in usage.ends.split():
        found.is_over = True
        found.operands += left
        left.clear()


@functools.cache
def _sort_options(usage: Usage) -> dict[str, str]:
    """The field of *usage* that each option stands in: of several, the last of `_KINDS`."""
    return {
        option: "flags" if kind == "ends" else kind
        for kind in _KINDS
        for option in getattr(usage, kind).split()
    }


def _split(text: str, usage: Usage, kinds: dict[str, str]) -> tuple[str, str | None]:
    """The option in *text* that may take an argument, and what is joined to it; `?` if a value names it."""
    if text.startswith("--") or usage.is_wordy:
        name, sign, joined = text.partition("=")
        if HOLE in name or EXPANDED in name:
            return "?", None
        return _complete(name, usage, kinds), joined if sign else None
    if text[0] == "+":
        return "+", text[1:]
    for index, letter in enumerate(text[1:], start=1):
        if letter in (HOLE, EXPANDED):
            return "?", None
        option = f"-{letter}"
        if kinds.get(option, "data" if usage.flags else "flags") != "flags" or option in usage.ends.split():
            return option, text[index + 1 :] or None
    return text[:2], None


def _complete(name: str, usage: Usage, kinds: dict[str, str]) -> str:
    """The long option that *name* abbreviates."""
    if usage.is_wordy and name.startswith("--") and name[1:] in kinds:
        return name[1:]
    if name in kinds or len(name) < 3:
        return name
    folded = name.lower()  # as pwsh does
    return next((known for known in reversed(kinds) if known.startswith(folded)), name)
