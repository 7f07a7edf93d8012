r"""The contexts of a shell command where a value can stand: what is written there, what is let through.

Values travel in environment variables; a command holds references to them. That is enough wherever a
shell expands a variable once, not where it computes (bash runs the `$(…)` of a value `a[$(…)]`), wants
a name, or reads text as code once more.

    context                                          written        let through
    bare: word, redirect, assignment, pattern        "${V}"         anything; a list alone: its words
    the name of the command                          "${V}"         no command that reads code or names
    an argument before `--` that could be an option  "${V}"         nothing that begins with -
      of an interpreter, where options are code
    a part of a program for sed                      as there       integers, or text of plain characters
    in "…", in a here-document, in a comment         ${V}           anything
    in '…'                                           '"${V}"'       anything
    $(…), `…`, <(…), ${x:-…}, ${x#…}, ${x/…/…}       as there within
    $((…)), ((…)), let, [ -gt ], a[…], ${x:…:…},     as there       integers
      exit, wait, >&, an integer variable =
    read, unset, test -v, printf -v, export …        -              nothing: a name is meant
    eval, source, trap, alias, sh -c, sh <<E, | sh   -              nothing: text becomes code again
    python3 -c, awk '…', psql <<E, make X=, …        -              nothing: it is code to the interpreter
    PS4=, GIT_SSH_COMMAND=, NODE_OPTIONS=, …         -              nothing: it is run as code
    <<'E', $'…', \${…}, […] of a glob, ${(e)…}       -              nothing: it would not be one word

Restrictions reach inwards: what a `$(…)` prints in arithmetic is computed with, too. And they reach back
along the script's own variables, the arguments of its functions and what its `read` reads: `n=${…}` lets
integers through where `(( n > 3 ))` stands anywhere, and nothing where `eval "$n"` does. `words.py` and
`commands.py` know the grammar, `simple_commands.py` what a command does with its words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from checkpointflow.patterns import compile_late
from checkpointflow.shells.variables import EXPANSIONS, NO_EXPANSIONS, judge_variable

POSITIONAL = "1"  # stands for all arguments of a function or a script
HOLE = "\0"  # stands in a command's text for a value
ANY_NAME = "*"
EXPANDED = "\1"  # stands in a word's text for what the shell will put there

Shell = Literal["sh", "dash", "bash", "zsh", "pwsh"]
Only = Literal["anything", "operand", "plain", "integer", "sole command", "command"]
Change = Literal["json", "format", "echo", "awk"]
"""In which text that is read once more a value stands, though it is data: it changes that, or is changed."""
Runs = tuple[str, str]
"""Why what a file holds is run, and what to write instead."""
_STRICTNESS: tuple[Only, ...] = ("anything", "operand", "plain", "integer")


class Context(Struct, frozen=True):
    """Where a hole stands, by name. `written` takes the variable's reference; a `problem` refuses the hole.

    only: what is let through. A `plain` text is letters, digits, blanks and some signs, an `operand` begins
        with no `-`; `without` more characters. With a `sole command` stand no other values.
    option_of: the command that takes the value for an option if it begins with `-`.
    change: what a quote, a backslash or the like in the value would change.
    is_word: it is a whole word, or all that is assigned; runs: why the contents of the file that it names are
        code, and what to write instead. They say whether a value's own file may stand there.

    problem, hint: no Diagnostic, since a command is read again with its raw text, and no document has that.
    """

    name: str
    written: str = "{}"
    only: Only = "anything"
    without: str = ""
    spreads: bool = False
    option_of: str | None = None
    is_word: bool = False
    runs: Runs | None = None
    change: Change | None = None
    problem: str | None = None
    hint: str | None = None


BARE = Context("a bare word", '"{}"')
DOUBLE = Context("double quotes")
SINGLE = Context("single quotes", "'\"{}\"'")
NESTED = Context("an expansion in double quotes")
DOCUMENT = Context("a here-document")
ARITHMETIC = Context("arithmetic", only="integer")
COMMENT = Context("a comment", is_word=True)


class Input(Struct, frozen=True):
    """What a command that takes code from its standard input says of a value in there.

    It *takes_files*: a value may name a file that is printed there (`cat ${…} | psql`).
    """

    name: str
    hint: str
    takes_files: bool = True
    hint_for_files: str | None = None


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
AS_ARGUMENT = "hand it over as an argument: bash -c '… \"$1\"' _ ${…}; ${raw:…} if code is meant"
LITERAL_NAME = "write the name itself, or ${raw:…} if you trust it"


def split_names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LOOK_UP = "keep such tables in JSON: jq -r --arg key ${…} '.[$key]' table.json"
SHELLS = ("sh", "bash", "dash", "zsh", "ksh", "mksh", "ash", "rbash", "SHELL")
_INTEGER_VARIABLES = split_names(
    "RANDOM SRANDOM SECONDS OPTIND LINENO COLUMNS LINES HISTSIZE SAVEHIST HISTCMD BASHPID PPID UID EUID GID "
    "EGID TMOUT MAILCHECK LISTMAX LOGCHECK KEYTIMEOUT FUNCNEST DIRSTACKSIZE BAUD ERRNO"
)


_EXPANSION = compile_late(
    r"\\.|(?P<quote>[\"'])|\$\{?[#!]?(?P<name>[A-Za-z_]\w*|[0-9@*])", re.ASCII | re.DOTALL
)
_JSON = compile_late(r"(?<![{$])\{\s*\"[^\"]*\"\s*:|(?:\A|=)\s*\[\s*[\"{\[]")
_IDENTIFIER = compile_late(r"[A-Za-z_]\w*", re.ASCII)


def find_expansions(source: str) -> set[str]:
    """The variables that the shell puts into the word *source*; not those in single quotes."""
    found, place, is_quoted = set[str](), 0, False
    while (token := _EXPANSION.search(source, place)) is not None:
        place = token.end()
        if token["quote"] == '"':
            is_quoted = not is_quoted
        elif token["quote"] and not is_quoted:
            place = source.find("'", place) + 1 or len(source)
        elif name := token["name"]:
            found.add(name if _IDENTIFIER.match(name) else POSITIONAL)
    return found


class Findings:
    """The holes so far, and what can only be judged when all of the command has been read."""

    def __init__(self) -> None:
        self.holes: list[Context] = []
        self.integers: set[str] = set()  # variables by name; ANY_NAME where it cannot be told
        self.arrays: set[str] = set()
        self.keyed: set[str] = set()  # associative arrays
        self.subscripts: list[tuple[str, range]] = []
        self.assigned: list[tuple[str, range]] = []
        self.declared: list[tuple[str, range]] = []
        self.flows: list[tuple[str, set[str]]] = []  # from which variables one gets what it holds
        self.calls: list[tuple[str, list[Word]]] = []
        self.functions = {"set"}
        self.called: set[str] = set()  # the first words of its commands
        self.filled: set[str] = set()  # by `read`, with what stands in `inputs`
        self.inputs: list[range] = []
        self.fed = range(0)  # in the standard input of the whole script
        self.code: dict[str, tuple[str, str]] = {}  # variables whose text is run: why no value is for them
        self.files: list[Word] = []  # they name a file to read or write, and print no value
        self.scripts: dict[str, Runs] = {}  # variables that name a file which is run, as `code`

    def mark(self) -> tuple[int, int]:
        """How many holes and files there are so far."""
        return len(self.holes), len(self.files)

    def holes_since(self, first: int) -> range:
        return range(first, len(self.holes))

    @property
    def holes_in_files(self) -> set[int]:
        """The holes in the names of files."""
        return {hole for file in self.files for hole in file.holes}

    def refuse(self, holes: Iterable[int], name: str, hint: str) -> None:
        for hole in holes:
            if self.holes[hole].problem is None:
                problem = f"no value can stand here: {name}"
                self.holes[hole] = replace(self.holes[hole], name=name, problem=problem, hint=hint)

    def require_integers(self, holes: Iterable[int], name: str) -> None:
        for hole in holes:
            self.holes[hole] = replace(self.holes[hole], name=name, only="integer", spreads=False)

    def restrict(self, holes: Iterable[int], only: Only, name: str, hint: str, without: str = "") -> None:
        """Let through no more than *only*, and no more than what was let through before."""
        for hole in holes:
            context = self.holes[hole]
            is_stricter = context.only in _STRICTNESS[: _STRICTNESS.index(only)]
            if is_stricter:
                context = replace(context, name=name, only=only, hint=hint)
            more = "" if without in context.without else without
            self.holes[hole] = replace(context, without=context.without + more)

    def allow_spread(self, word: Word, *, is_allowed: bool = True) -> None:
        """A list that is all of *word* becomes as many words as it has elements."""
        if word.source == HOLE:
            self.holes[word.holes[0]] = replace(self.holes[word.holes[0]], spreads=is_allowed)

    def compute(self, source: str) -> None:
        """The shell computes with *source*: with what the variables in it hold, therefore."""
        self.integers |= find_expansions(source) | set(_IDENTIFIER.findall(source))

    def refuse_code(self, word: Word, name: str, hint: str) -> None:
        """No value can stand in *word*, nor in a variable that it is made of."""
        self.refuse(word.holes, name, hint)
        for variable in find_expansions(word.source):
            self.code.setdefault(variable, (name, hint))

    def run_file(self, word: Word, name: str, hint: str) -> None:
        """What lies in the file *word* is run, also where a variable names it."""
        for hole in word.holes:
            self.holes[hole] = replace(self.holes[hole], runs=(name, hint))
        for variable in find_expansions(word.source):
            self.scripts.setdefault(variable, (name, hint))

    def note_change(self, holes: Iterable[int], change: Change) -> None:
        for hole in holes:
            self.holes[hole] = replace(self.holes[hole], change=change)

    def note_json(self, text: str, holes: range) -> None:
        """Note the *holes* in *text*, if that is JSON, which stand within one of its texts."""
        start = _JSON.search(text)
        if start and text.count(HOLE) == len(holes):
            parts = text.split(HOLE)
            for number, hole in enumerate(holes):
                before = HOLE.join(parts[: number + 1])[start.start() :]
                is_inside = before.replace('\\"', "").count('"') % 2 == 1
                self.note_change([hole] if is_inside else [], "json")

    def assign(self, variable: str, holes: range, source: str = "") -> None:
        self.flows.append((variable, find_expansions(source)))
        if refusal := judge_variable(variable):
            self.refuse(holes, *refusal)
            self.code.setdefault(variable, refusal)
        elif variable in _INTEGER_VARIABLES:
            self.require_integers(holes, f"the integer variable {variable}")
        else:
            if variable == "ENV":
                self.restrict(holes, "operand", "the variable ENV", NO_EXPANSIONS, EXPANSIONS)
            self.assigned.append((variable, holes))

    def settle(self) -> None:
        # `declare -i n` may stand behind the assignment, in a loop or a function; the order is no matter.
        for called, words in self.calls:
            for word in words if called in self.functions else ():
                self.assigned.append((POSITIONAL, word.holes))
                self.flows.append((POSITIONAL, find_expansions(word.source)))
        self.assigned += [(name, holes) for name in self.filled for holes in self.inputs]
        self._trace_back()
        for name in self.filled:  # with what lies in a file, should that be a value
            refusal = self.code.get(name)
            if self.integers & {name, ANY_NAME}:
                refusal = f"the shell computes with what {name} reads from it", AS_ARGUMENT
            if refusal:
                for file in self.files:
                    self.run_file(file, *refusal)
        self._trace_back()
        for name, holes in self.assigned:
            if refusal := self.code.get(name):
                self.refuse(holes, *refusal)
            for hole in holes if name in self.scripts else ():
                self.holes[hole] = replace(self.holes[hole], runs=self.scripts[name])
            if self.integers & {name, ANY_NAME}:
                what = "an argument" if name == POSITIONAL else f"the integer variable {name}"
                self.restrict(holes, "integer", what, "")
        for name, holes in self.subscripts:
            if self.keyed & {name, ANY_NAME}:
                self.refuse(holes, f"a key of {name}, which no shell keeps apart from code", _LOOK_UP)
        # bash reads `declare a='($(…))'` as a list, commands included, when `a` is an array already.
        for name, holes in self.declared:
            if self.arrays & {name, ANY_NAME}:
                self.refuse(
                    holes, f"a declaration of the array {name}", "assign it first, and declare it then"
                )

    def _trace_back(self) -> None:
        """What a variable may not hold, those may not that it gets it from."""
        before = -1
        while before < (found := len(self.integers) + len(self.code) + len(self.scripts)):
            before = found
            for target, sources in self.flows:
                if target in self.integers:
                    self.integers |= sources
                for known in (self.code, self.scripts):
                    for source in sources if target in known else ():
                        known.setdefault(source, known[target])
