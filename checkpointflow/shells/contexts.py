r"""The contexts of a shell command where a value can stand: what is written there, what is let through.

Values travel in environment variables; a command holds references to them. That is enough wherever a
shell expands a variable once, not where it computes (bash runs the `$(…)` of a value `a[$(…)]`), wants
a name, or reads text as code once more.

    place                                            written        let through
    bare: word, redirect, assignment, pattern        "${V}"         anything; a list alone: its words
    the name of the command                          "${V}"         no builtin that reads code or names
    in "…", in a here-document, in a comment         ${V}           anything
    in '…'                                           '"${V}"'       anything
    $(…), `…`, <(…), ${x:-…}, ${x#…}, ${x/…/…}       as there within
    $((…)), ((…)), let, [ -gt ], a[…], ${x:…:…},     as there       integers
      exit, wait, >&, an integer variable =
    read, unset, test -v, printf -v, export …        -              nothing: a name is meant
    eval, source, trap, alias, sh -c, sh <<E, | sh   -              nothing: text becomes code again
    <<'E', $'…', \${…}, […] of a glob, ${(e)…}       -              nothing: it would not be one word

Restrictions reach inwards: what a `$(…)` prints in arithmetic is computed with, too. `shell.py` knows
the grammar, `judge` what a command does with its words; `x=${…}; eval "$x"` is the author's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

HOLE = "\0"
ANY_NAME = "*"
EXPANDED = "\1"  # stands in a word's text for what the shell will put there

Shell = Literal["sh", "dash", "bash", "zsh", "pwsh"]


class Context(Struct, frozen=True):
    """Where a hole stands. `written` takes the variable's reference; a `problem` refuses the hole.

    option_of: the command that takes the value for an option if it begins with `-`.
    """

    name: str
    written: str = "{}"
    only: Literal["anything", "integer", "command"] = "anything"
    spreads: bool = False
    option_of: str | None = None
    problem: str | None = None
    hint: str | None = None


BARE = Context("a bare word", '"{}"')
DOUBLE = Context("double quotes")
SINGLE = Context("single quotes", "'\"{}\"'")
NESTED = Context("an expansion in double quotes")
DOCUMENT = Context("a here-document")
ARITHMETIC = Context("arithmetic", only="integer")
COMMENT = Context("a comment")


class Word(Struct, frozen=True):
    """`source` as it is written; `text` without its quotes, each expansion as one sign.

    A word with expansions outside of quotes *splits*: it may become many words, or none.
    """

    source: str
    text: str
    holes: range
    splits: bool = False

    @property
    def may_vanish(self) -> bool:
        return self.splits and not self.text.strip(EXPANDED)


IN_ENV = 'put it into `env:` of the step and write "$NAME"'
_AS_ARGUMENT = "hand it over as an argument: bash -c '… \"$1\"' _ ${…}; ${raw:…} if code is meant"
_LITERAL_NAME = "write the name itself, or ${raw:…} if you trust it"


SHELLS = ("sh", "bash", "dash", "zsh", "ksh", "mksh", "ash", "rbash", "SHELL")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_KINDS = {
    name: kind
    for kind, names in {
        "code": "eval source . trap alias bind complete compgen fc emulate sched zmodload autoload enable "
        "zle bindkey functions zstyle zformat print watch su runuser script",
        "name": "read unset getopts mapfile readarray vared zparseopts",
        "integer": "let exit return shift break continue wait logout bye ulimit",
        "declaration": "declare typeset local export readonly integer float",
        "test": "[ test",
        "printf": "printf",
        "set": "set",
        "ssh": "ssh",
        "shell": " ".join(SHELLS),
    }.items()
    for name in _names(names)
}
_PREFIXES = _names("command builtin exec noglob nocorrect -")
_WRAPPERS = _names(
    "env sudo doas nohup nice ionice timeout setsid stdbuf xargs chroot busybox ssh docker podman kubectl "
    "nsenter unshare flock strace"
)
_READERS_OF_CODE = frozenset(_KINDS) | _PREFIXES | _WRAPPERS
CODE_VARIABLES = _names("BASH_ENV ZDOTDIR PROMPT_COMMAND PS0 PS1 PS2 PS4 PROMPT RPROMPT")
_INTEGER_VARIABLES = _names(
    "RANDOM SRANDOM SECONDS OPTIND LINENO COLUMNS LINES HISTSIZE SAVEHIST HISTCMD BASHPID PPID UID EUID GID "
    "EGID TMOUT MAILCHECK LISTMAX LOGCHECK KEYTIMEOUT FUNCNEST DIRSTACKSIZE BAUD ERRNO"
)
_WITHOUT_OPTIONS = _names("echo printf : true false")
_COMPARISONS = _names("-eq -ne -lt -le -gt -ge")

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(?:\[[^]]*])?\+?=", re.ASCII)
_FORMAT_OF_TEXT = re.compile(r"(?:[^%\0\1]|%%|%-?\d*(?:\.\d+)?[sbq])*")
_NAMES_WITHIN = re.compile(r"(?<![\w${])[\w.]+|SHELL\b")
_DASH_C = re.compile(r"-(?!-)\w*c\w*")
_SHELL_OPTION_WITH_ARGUMENT = re.compile(r"[-+]\w*[oO]|--rcfile|--init-file")
_SSH_OPTION_WITH_ARGUMENT = re.compile(r"-[46AaCfGgKkMNnqsTtVvXxYy]*[BbcDEeFIiJLlmOopQRSWw]")


def reads_code(command: str) -> bool:
    """Whether *command*, a value, names what would take further values as code or as names."""
    return command.rpartition("/")[2] in _READERS_OF_CODE


RUNS_VARIABLE = "the shell runs what {} holds"
OTHER_NAME = "give the variable another name"


class Findings:
    """The holes so far, and what can only be judged when all of the command has been read."""

    def __init__(self) -> None:
        self.holes: list[Context] = []
        self.integers: set[str] = set()  # variables by name; ANY_NAME where it cannot be told
        self.arrays: set[str] = set()
        self.assigned: list[tuple[str, range]] = []
        self.declared: list[tuple[str, range]] = []

    def since(self, first: int) -> range:
        return range(first, len(self.holes))

    def refuse(self, holes: Iterable[int], place: str, hint: str) -> None:
        for hole in holes:
            if self.holes[hole].problem is None:
                problem = f"no value can stand here: {place}"
                self.holes[hole] = replace(self.holes[hole], name=place, problem=problem, hint=hint)

    def only_integers(self, holes: Iterable[int], place: str) -> None:
        for hole in holes:
            self.holes[hole] = replace(self.holes[hole], name=place, only="integer", spreads=False)

    def may_spread(self, word: Word, *, is_allowed: bool = True) -> None:
        """A list that is all of *word* becomes as many words as it has elements."""
        if word.source == HOLE:
            self.holes[word.holes[0]] = replace(self.holes[word.holes[0]], spreads=is_allowed)

    def assign(self, name: str, holes: range) -> None:
        if name in CODE_VARIABLES:
            self.refuse(holes, RUNS_VARIABLE.format(name), OTHER_NAME)
        elif name in _INTEGER_VARIABLES:
            self.only_integers(holes, f"the integer variable {name}")
        else:
            self.assigned.append((name, holes))

    def settle(self) -> None:
        # `declare -i n` may stand behind the assignment, in a loop or a function; the order is no matter.
        for name, holes in self.assigned:
            if self.integers & {name, ANY_NAME}:
                self.only_integers(holes, f"the integer variable {name}")
        # bash reads `declare a='($(…))'` as a list, commands included, when `a` is an array already.
        for name, holes in self.declared:
            if self.arrays & {name, ANY_NAME}:
                self.refuse(
                    holes, f"a declaration of the array {name}", "assign it first, and declare it then"
                )


def judge(words: Sequence[Word], found: Findings, shell: Shell) -> bool:
    """Restricts the holes of a simple command by what it does with its words.

    True if the command takes code from its standard input, as `bash` and `ssh host` alone do.
    """
    words = _without_prefixes(_without_assignments(words, found), found)
    if not words:
        return False
    _name_of_command(words[0], found)
    for word in words[1:]:
        found.may_spread(word)
        named = _ASSIGNMENT.match(word.text)
        if named and named.group(1) in CODE_VARIABLES:  # as env, sudo and make take them
            found.assign(named.group(1), word.holes)
    name, arguments = _name(words[0]) or "it", words[1:]
    if name not in _WITHOUT_OPTIONS and _kind(words[0]) in (None, "ssh"):
        _may_be_options(name, arguments, found)
    match _kind(words[0]):
        case "code":
            _refuse_all(arguments, found, f"{name} runs what it is given", _AS_ARGUMENT)
            return name in ("source", ".", "su")
        case "name":
            if name in ("read", "mapfile", "readarray"):
                found.arrays |= {_variable(word) for word in arguments}
            _refuse_all(arguments, found, f"{name} takes names", _LITERAL_NAME)
        case "integer":
            for word in arguments:
                found.only_integers(word.holes, f"an argument of {name}")
        case "declaration":
            _declaration(name, arguments, found)
        case "test":
            _test(arguments[:-1] if name == "[" else arguments, found, shell)
        case "printf":
            _printf(arguments, found, shell)
        case "set":
            texts = [*(word.text for word in arguments), "--"]
            options = arguments[: texts.index("--")]
            _refuse_all(options, found, "set takes options here", "write set -- ${…}")
        case "shell":
            return _shell(arguments, found, is_sure=True)
        case "ssh":
            return _ssh(arguments, found)
    return _shell_inside(arguments, found, is_sure=name in _WRAPPERS)


def operands(words: Sequence[Word], found: Findings, shell: Shell, *, is_computed: bool) -> None:
    """Restricts the holes of a condition's *words*, in `[ ]` and `[[ ]]`, next to its operators.

    Not *is_computed*, what a `$(…)` prints is taken for digits, and never runs.
    """
    neighbours: dict[int, Word] = dict(enumerate(words))
    for place, word in neighbours.items():
        before, after = neighbours.get(place - 1), neighbours.get(place + 1)
        if word.text in _COMPARISONS or word.text == "-t":
            for operand in (None if word.text == "-t" else before, after):
                if operand and (is_computed or HOLE in operand.text):
                    found.only_integers(operand.holes, f"an operand of {word.text}")
        elif after and word.text in ("-v", "-R"):
            found.refuse(after.holes, f"{word.text} takes a name", _LITERAL_NAME)
        elif after and word.text == "=~" and shell == "zsh":
            hint = "to zsh it is a pattern even in quotes; compare with == or use bash"
            found.refuse(found.since(after.holes.start), "a regular expression", hint)


def _refuse_all(words: Iterable[Word], found: Findings, place: str, hint: str) -> None:
    for word in words:
        found.refuse(word.holes, place, hint)


def _keep_single(words: Iterable[Word], found: Findings) -> None:
    for word in words:
        found.may_spread(word, is_allowed=False)
        if word.splits:
            found.refuse(word.holes, "what it prints would be several words", "put double quotes around it")


def _without_assignments(words: Sequence[Word], found: Findings) -> Sequence[Word]:
    for place, word in enumerate(words):
        assignment = _ASSIGNMENT.match(word.source)
        if assignment is None:
            return words[place:]
        found.assign(assignment.group(1), word.holes)
    return []


def _without_prefixes(words: Sequence[Word], found: Findings) -> Sequence[Word]:
    """What `command`, `exec` and the like run, and `$x` if it is empty; nothing for `command -v`."""
    while words and (words[0].text in _PREFIXES or (words[0].may_vanish and not _kind(words[0]))):
        first, words = words[0], words[1:]
        found.refuse(first.holes, "what it prints would be run", "write the name of the command")
        while words and words[0].text.startswith("-"):
            if first.text == "command" and words[0].text in ("-v", "-V"):
                return []
            words = words[1:]
    return words


def _name(command: Word) -> str:
    return command.text.rpartition("/")[2].replace(EXPANDED, "").removeprefix("=")  # to zsh, =sh is /bin/sh


def _kind(command: Word) -> str | None:
    """What `_KINDS` says of a command, or of a name inside its expansion, as in `${x:-bash}`."""
    if EXPANDED in command.text:
        within = {_KINDS.get(name) for name in _NAMES_WITHIN.findall(command.source)}
        for kind in ("code", "shell", "name"):
            if kind in within:
                return kind
    return _KINDS.get(_name(command))


def _name_of_command(word: Word, found: Findings) -> None:
    if word.splits or word.text.count(HOLE) < len(word.holes):
        found.refuse(word.holes, "what it prints would be run", "write the name of the command")
    elif HOLE in word.text and _could_read_code(word.text):  # `e${…}` could become `eval`
        found.refuse(word.holes, "part of a command's name", "write a path that ends in /${…}")
    for hole in word.holes:
        found.holes[hole] = replace(found.holes[hole], name="the name of the command", only="command")
    found.may_spread(word)


def _could_read_code(text: str) -> bool:
    """Whether values could make *text*, whose last part is not one alone, a name that `reads_code`."""
    last = text.rpartition("/")[2]
    pattern = re.compile(".*".join(map(re.escape, re.split(f"[{HOLE}{EXPANDED}]", last))), re.DOTALL)
    return last != HOLE and any(pattern.fullmatch(name) for name in _READERS_OF_CODE)


def _may_be_options(name: str, words: Sequence[Word], found: Findings) -> None:
    """Notes the holes that begin an argument of the command *name*, but for those behind `--option`."""
    before = ""
    for word in words:
        if word.text == "--":
            return
        is_of_option = before.startswith("--") and "=" not in before
        if word.text.startswith(HOLE) and not is_of_option:
            hole = word.holes[0]
            found.holes[hole] = replace(found.holes[hole], option_of=name)
        before = word.text


def _declaration(name: str, words: Sequence[Word], found: Findings) -> None:
    options = {letter for word in words if word.text[:1] in ("-", "+") for letter in word.text[1:]}
    names = {_variable(word) for word in words}
    if name in ("integer", "float") or options & set("iEF"):
        found.integers |= names
    if options & set("aA"):
        found.arrays |= names
    if options & set("nT"):  # other names for variables
        found.integers.add(ANY_NAME)
    for word in words:
        named = _ASSIGNMENT.match(word.text)
        if named is None:
            found.refuse(word.holes, f"{name} takes names", f"write {name} x=${{…}}, with a literal name")
        else:
            found.assign(named.group(1), word.holes)
            if not ("=(" in word.source and word.text[named.end() :] == EXPANDED):
                found.declared.append((named.group(1), word.holes))


def _variable(word: Word) -> str:
    """The variable that *word* names, perhaps with a value behind it."""
    name = word.text.partition("=")[0].removesuffix("+")
    return ANY_NAME if HOLE in name or EXPANDED in name else name


def _test(words: Sequence[Word], found: Findings, shell: Shell) -> None:
    """`[ a ]`, `[ -n a ]`, `[ a = b ]`, each with or without `!`: no value may become an operator."""
    _keep_single(words, found)
    operands(words, found, shell, is_computed=shell == "zsh")
    words = words[1:] if words and words[0].text == "!" else words
    if len(words) > 3:
        _refuse_all(words, found, "a test of several parts", "write a test for each: [ … ] && [ … ]")
    elif len(words) > 1:
        hint = "write the operator itself, as in [ ${…} = x ]"
        found.refuse(words[len(words) - 2].holes, "the operator of a test", hint)


def _printf(words: Sequence[Word], found: Findings, shell: Shell) -> None:
    if words and words[0].text.startswith("-v"):
        length = 2 if words[0].text == "-v" else 1
        _refuse_all(words[:length], found, "printf -v takes a name", _LITERAL_NAME)
        name, words = words[:length][-1].text.removeprefix("-v"), words[length:]
        for word in words:
            found.assign(name, word.holes)
    words = words[1:] if words and words[0].text == "--" else words
    if not words:
        return
    if words[0].text.startswith((HOLE, EXPANDED)) or shell == "zsh":
        found.refuse(words[0].holes, "the format of printf", "write the format: printf '%s\\n' ${…}")
    if shell == "zsh" and not _FORMAT_OF_TEXT.fullmatch(words[0].text):
        for word in words[1:]:  # zsh computes what it prints as a number
            found.only_integers(word.holes, "a number for printf")


def _shell(words: Sequence[Word], found: Findings, *, is_sure: bool) -> bool:
    """Options, then the code or a file of it; True if the code comes from standard input.

    Not *is_sure*, `grep bash ${…}` is more likely than a shell: only what `-c` makes code counts.
    """
    letters, place = "", 0
    while place < len(words) and _is_option(words[place], words[place + 1 :]):
        text = words[place].text
        letters += text if text.startswith("-") and text[1:2] != "-" else ""
        found.refuse(words[place].holes, "an option of a shell", _AS_ARGUMENT)
        place += 1
        if _SHELL_OPTION_WITH_ARGUMENT.fullmatch(text):
            _refuse_all(words[place : place + 1], found, f"an option of {text}", _AS_ARGUMENT)
            place += 1
    if place >= len(words) or (is_sure and words[place].text == "/dev/stdin"):
        return is_sure and "c" not in letters
    if "s" in letters and "c" not in letters and words[place - 1].text == "--":
        return is_sure
    if is_sure or "c" in letters:
        found.refuse(words[place].holes, "a shell runs it", _AS_ARGUMENT)
    return is_sure and "s" in letters


def _is_option(word: Word, after: Sequence[Word]) -> bool:
    """Whether a shell takes *word* for an option; an expansion may be one, or the file to run."""
    if word.text == EXPANDED:
        return not word.source.startswith('"') or any(_DASH_C.fullmatch(other.text) for other in after)
    return word.text[:1] in ("-", "+") and HOLE not in word.text


def _shell_inside(words: Sequence[Word], found: Findings, *, is_sure: bool) -> bool:
    """As `_shell`, for `env bash …`, `find … -exec sh …`: a shell that another command starts."""
    from_input = False
    for place, word in enumerate(words):
        if _KINDS.get(word.text.rpartition("/")[2]) == "shell":
            from_input |= _shell(words[place + 1 :], found, is_sure=is_sure)
    return from_input


def _ssh(words: Sequence[Word], found: Findings) -> bool:
    """Options and a host, then code for the shell there; without that, it reads standard input."""
    place = 0
    while place < len(words) and words[place].text.startswith("-"):
        place += 2 if _SSH_OPTION_WITH_ARGUMENT.fullmatch(words[place].text) else 1
    code = words[place + 1 :]
    _keep_single(words[: place + 1], found)  # a second word of the host would be code
    hint = "the shell of the other machine reads it as code; send it over standard input"
    _refuse_all(code, found, "ssh runs what it is given", hint)
    return not code or _shell_inside(code, found, is_sure=True)
