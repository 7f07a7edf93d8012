"""What a simple command does with its words, and so which values may stand among them.

`judge` restricts the holes of a command by what its first word names: one of the shell's own commands
(`shell_builtins.py`), or a program (`programs.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec.structs import replace

from checkpointflow.patterns import compile_late
from checkpointflow.shells.contexts import AS_ARGUMENT, HOLE, LITERAL_NAME, Findings, Input, Shell, Word
from checkpointflow.shells.programs import (
    SHELL_INPUT,
    hint_for,
    is_known,
    judge_arguments,
    judge_name,
    kind_of,
    name_of,
    names_file,
)
from checkpointflow.shells.shell_builtins import (
    ASSIGNMENT,
    KINDS,
    PREFIXES,
    judge_declaration,
    judge_printf,
    judge_test,
    refuse_all,
    refuse_code,
    variable_of,
)
from checkpointflow.shells.variables import BY_INTERACTIVE_SHELLS, judge_variable

_PRINTERS = ("echo", "printf")
_WITHOUT_OPTIONS = (*_PRINTERS, ":", "true", "false")


_HANDED = compile_late(r"([A-Za-z_][\w%()]*)\+?=", re.ASCII)
_AS_FILE = 'begin it with text of your own, as in . ./${…}/f, or put it into `env:` and write . "$NAME/f"'
_IN_TRAP = "assign it first: f=${…}; trap 'rm -f \"$f\"' EXIT"

# Options without an argument, of programs that take files or patterns behind them.
_FLAGS = {
    "rm": "firRdvI", "cp": "aRrfipPnuvxLHdl", "mv": "finuv", "ls": "lahtrRdisS1AFG", "mkdir": "pv",
    "rmdir": "pv", "ln": "sfnvrT", "cat": "nbsvetuA", "touch": "acmh", "chmod": "Rfvc", "chown": "Rfvch",
    "du": "shakcmx",
    "grep": "rRilLnvEFGwxcoqsHhPzaI",
}  # fmt: skip


def may_name_variables(words: Sequence[Word]) -> bool:
    """Whether the next of the *words* of a command may be a variable with a subscript: `a[1]=x`."""
    behind = [word for word in words if not ASSIGNMENT.match(word.source)]
    return not behind or behind[0].text in PREFIXES or kind_of(behind[0].text) is not None


def judge(words: Sequence[Word], found: Findings, shell: Shell) -> Input | None:
    """Restrict the holes of a simple command by what it does with its words.

    The answer is what its standard input is, if it takes code from there, as `bash` and `ssh host` alone do.
    """
    words = _skip_prefixes(_take_assignments(words, found), found)
    if not words:
        return None
    judge_name(words[0], words[1:], found)
    name, arguments = name_of(words[0]) or "it", words[1:]
    for word in arguments:
        found.allow_spread(word)
        named = _HANDED.match(word.text)  # as env, sudo and docker take them
        if named is None or name in _PRINTERS:
            continue
        if refusal := judge_variable(named[1]):
            found.refuse_code(word, *refusal)
        elif named[1] in BY_INTERACTIVE_SHELLS:
            found.assign(named[1], word.holes, word.source)
    if name in _PRINTERS and arguments:
        _note_changes(name, arguments, found)
    if name not in _WITHOUT_OPTIONS and kind_of(name) is None:
        _note_options(name, arguments, found)
    found.calls.append((name, list(arguments)))
    found.called.add(words[0].text)
    match KINDS.get(name):
        case "code" if name in (".", "source"):
            if not arguments or not names_file(arguments[0]):
                refuse_code(arguments, found, f"{name} runs what it is given", _AS_FILE)
            else:
                found.run_file(arguments[0], f"{name} runs what is in it", AS_ARGUMENT)
            return SHELL_INPUT
        case "code":
            for word in arguments:
                hint = _IN_TRAP if name == "trap" else hint_for(word, found)
                found.refuse_code(word, f"{name} runs what it is given", hint)
        case "name":
            if name in ("read", "mapfile", "readarray"):
                found.arrays |= {variable_of(word) for word in arguments}
                found.filled |= {variable_of(word) for word in arguments} or {"REPLY"}
            refuse_code(arguments, found, f"{name} takes names", LITERAL_NAME)
        case "integer":
            for word in arguments:
                found.require_integers(word.holes, f"an argument of {name}")
                found.compute(word.source)
        case "declaration":
            judge_declaration(name, arguments, found)
        case "test":
            judge_test(arguments[:-1] if name == "[" else arguments, found, shell)
        case "printf":
            judge_printf(arguments, found, shell)
        case "set":
            texts = [*(word.text for word in arguments), "--"]
            options = arguments[: texts.index("--")]
            refuse_all(options, found, "set takes options here", "write set -- ${…}")
        case _:
            return judge_arguments(name, arguments, found)
    return None


def _take_assignments(words: Sequence[Word], found: Findings) -> Sequence[Word]:
    for index, word in enumerate(words):
        assignment = ASSIGNMENT.match(word.source)
        if assignment is None:
            return words[index:]
        found.assign(assignment.group(1), word.holes, word.source)
    return []


def _skip_prefixes(words: Sequence[Word], found: Findings) -> Sequence[Word]:
    """What `command`, `exec` and the like run, and `$x` if it is empty; nothing for `command -v`."""
    while words and (words[0].text in PREFIXES or (words[0].may_vanish and not is_known(name_of(words[0])))):
        first, words = words[0], words[1:]
        found.refuse(first.holes, "what it prints would be run", "write the name of the command")
        while words and words[0].text.startswith("-"):
            if first.text == "command" and words[0].text in ("-v", "-V"):
                return []
            words = words[1:]
    return words


def _note_changes(name: str, words: Sequence[Word], found: Findings) -> None:
    """Notes the holes in what *name* prints that are part of a format or of JSON, or that it may change."""
    first = words[0].text
    for word in words:
        if name == "echo" and re.fullmatch(r"-[neE]+", first):
            found.note_change(word.holes, "echo")
        elif word.text.startswith("{") and HOLE in word.text.partition('"')[2]:
            found.note_change(word.holes, "json")
        elif name == "printf" and word is words[0]:
            found.note_change(word.holes, "format")
        elif name == "printf" and re.match(r'\{\s*".*%[sb]', first, re.DOTALL):
            found.note_change(word.holes, "json")


def _takes_argument(name: str, option: str) -> bool:
    """Whether what stands behind *option*, if it is one, is most likely its argument."""
    if option.startswith("--"):
        return "=" not in option
    return option[:1] == "-" and len(option) > 1 and not set(option[1:]) <= set(_FLAGS.get(name, ""))


def _note_options(name: str, words: Sequence[Word], found: Findings) -> None:
    """Notes the holes that begin an argument of the command *name*, but for those behind an option."""
    before = ""
    for word in words:
        if word.text == "--":
            return
        is_of_option = _takes_argument(name, before)
        if word.text.startswith(HOLE) and not is_of_option:
            hole = word.holes[0]
            found.holes[hole] = replace(found.holes[hole], option_of=name)
        before = word.text
