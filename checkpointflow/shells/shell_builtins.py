"""What the shell's own commands do with their words: declarations, tests, `printf`.

Each function restricts the holes of a command's arguments by what the command takes them for: a name, a
number, an operator, a format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from checkpointflow.patterns import compile_late
from checkpointflow.shells.contexts import (
    ANY_NAME,
    EXPANDED,
    HOLE,
    LITERAL_NAME,
    Findings,
    Shell,
    Word,
    split_names,
)

ASSIGNMENT = compile_late(r"([A-Za-z_]\w*)(?:\[[^]]*])?\+?=", re.ASCII)
KINDS = {
    name: kind
    for kind, names in {
        "code": "eval source . trap alias bind complete compgen fc emulate sched zmodload autoload enable "
        "zle bindkey functions zstyle zformat print",
        "name": "read unset getopts mapfile readarray vared zparseopts",
        "integer": "let exit return shift break continue wait logout bye ulimit",
        "declaration": "declare typeset local export readonly integer float",
        "test": "[ test",
        "printf": "printf",
        "set": "set",
    }.items()
    for name in names.split()
}
PREFIXES = split_names("command builtin exec noglob nocorrect -")
_COMPARISONS = split_names("-eq -ne -lt -le -gt -ge")
_FORMAT_OF_TEXT = compile_late(r"(?:[^%\0\1]|%%|%-?\d*(?:\.\d+)?[sbq])*")


def refuse_all(words: Iterable[Word], found: Findings, name: str, hint: str) -> None:
    for word in words:
        found.refuse(word.holes, name, hint)


def refuse_code(words: Iterable[Word], found: Findings, name: str, hint: str) -> None:
    for word in words:
        found.refuse_code(word, name, hint)


def keep_single(words: Iterable[Word], found: Findings) -> None:
    for word in words:
        found.allow_spread(word, is_allowed=False)
        if word.splits:
            found.refuse(word.holes, "what it prints would be several words", "put double quotes around it")


def judge_operands(words: Sequence[Word], found: Findings, shell: Shell, *, is_computed: bool) -> None:
    """Restricts the holes of a condition's *words*, in `[ ]` and `[[ ]]`, next to its operators.

    Not *is_computed*, what a `$(…)` prints is taken for digits, and never runs.
    """
    neighbours: dict[int, Word] = dict(enumerate(words))
    for index, word in neighbours.items():
        before, after = neighbours.get(index - 1), neighbours.get(index + 1)
        if word.text in _COMPARISONS or word.text == "-t":
            for operand in (None if word.text == "-t" else before, after):
                if operand and (is_computed or HOLE in operand.text):
                    found.require_integers(operand.holes, f"an operand of {word.text}")
                if operand and is_computed:
                    found.compute(operand.source)
        elif after and word.text in ("-v", "-R"):
            found.refuse_code(after, f"{word.text} takes a name", LITERAL_NAME)
        elif after and word.text == "=~" and shell == "zsh":
            hint = "to zsh it is a pattern even in quotes; compare with == or use bash"
            found.refuse(found.holes_since(after.holes.start), "a regular expression", hint)


def judge_declaration(name: str, words: Sequence[Word], found: Findings) -> None:
    options = {letter for word in words if word.text[:1] in ("-", "+") for letter in word.text[1:]}
    names = {variable_of(word) for word in words}
    if name in ("integer", "float") or options & set("iEF"):
        found.integers |= names
    if options & set("aA"):
        found.arrays |= names
    if "A" in options:
        found.keyed |= names
    if options & set("nT"):  # other names for variables
        found.integers.add(ANY_NAME)
    for word in words:
        named = ASSIGNMENT.match(word.text)
        if named is None:
            found.refuse(word.holes, f"{name} takes names", f"write {name} x=${{…}}, with a literal name")
        else:
            found.assign(named.group(1), word.holes, word.source)
            if not ("=(" in word.source and word.text[named.end() :] == EXPANDED):
                found.declared.append((named.group(1), word.holes))


def variable_of(word: Word) -> str:
    """The variable that *word* names, perhaps with a value behind it."""
    name = word.text.partition("=")[0].removesuffix("+")
    return ANY_NAME if HOLE in name or EXPANDED in name else name


def judge_test(words: Sequence[Word], found: Findings, shell: Shell) -> None:
    """`[ a ]`, `[ -n a ]`, `[ a = b ]`, each with or without `!`: no value may become an operator."""
    keep_single(words, found)
    judge_operands(words, found, shell, is_computed=shell == "zsh")
    words = words[1:] if words and words[0].text == "!" else words
    if len(words) > 3:
        refuse_all(words, found, "a test of several parts", "write a test for each: [ … ] && [ … ]")
    elif len(words) > 1:
        hint = "write the operator itself, as in [ ${…} = x ]"
        found.refuse(words[len(words) - 2].holes, "the operator of a test", hint)


def judge_printf(words: Sequence[Word], found: Findings, shell: Shell) -> None:
    if words and words[0].text.startswith("-v"):
        length = 2 if words[0].text == "-v" else 1
        refuse_code(words[:length], found, "printf -v takes a name", LITERAL_NAME)
        name, words = words[:length][-1].text.removeprefix("-v"), words[length:]
        for word in words:
            found.assign(name, word.holes, word.source)
    words = words[1:] if words and words[0].text == "--" else words
    if not words:
        return
    if words[0].text.startswith((HOLE, EXPANDED)) or shell == "zsh":
        found.refuse(words[0].holes, "the format of printf", "write the format: printf '%s\\n' ${…}")
    if shell == "zsh" and not _FORMAT_OF_TEXT.fullmatch(words[0].text):
        for word in words[1:]:  # zsh computes what it prints as a number
            found.require_integers(word.holes, "a number for printf")
