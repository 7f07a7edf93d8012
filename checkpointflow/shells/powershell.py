r"""Reads a PowerShell script as far as it tells where each value in it stands.

Values travel in environment variables here, too, and PowerShell does not read a variable's value as code,
splits or globs it. What can go wrong is fewer things, so that few contexts are let through, and all others
refused with a hint at one of them:

    a word of its own                   "${env:V}"; a list: @("${env:V_1}", "${env:V_2}")
    in "…", in a here-string, a comment ${env:V}
    in '…', glued to text, after & or . refused
    beside what reads text as code      refused: Invoke-Expression, another shell, ssh, …
    in a program text                   refused: python -c "…", … | python, git -c alias.x=…
    in a variable that is code          refused: $env:NODE_OPTIONS = …

Quotes may be typographic ones, as PowerShell has them. The rules are those of its language reference.
"""

from __future__ import annotations

import re

from msgspec.structs import replace

from checkpointflow.patterns import compile_late
from checkpointflow.shells.contexts import BARE, COMMENT, DOUBLE, HOLE, SHELLS, Context, Findings, Runs, Word
from checkpointflow.shells.interpreters import INTERPRETERS
from checkpointflow.shells.programs import find_usage, judge_arguments
from checkpointflow.shells.variables import judge_variable
from checkpointflow.shells.wrappers import CALLERS

MAX_LEVELS = 40

_SINGLE, _DOUBLE = "'\u2018\u2019\u201a\u201b", '"\u201c\u201d\u201e'
_BEFORE = " \t\r\n(,;|{"  # may stand before a word
_SEPARATORS = " \t\r\n,;|"
_AFTER = " \t\r\n),;|}"
_IN_ENV = "put it into `env:` of the step and write $env:NAME"
_IN_QUOTES = 'put blanks around it, or all of the word into double quotes, as in "a${…}b"'
_COMMANDS = (
    "Invoke-Expression iex Invoke-Command icm Invoke-Item ii Import-Module ipmo Start-Process saps Start-Job "
    "sajb Start-ThreadJob Add-Type New-Object Set-Alias sal New-Alias nal start Invoke-WmiMethod iwmi "
    "Invoke-CimMethod icim pwsh powershell cmd eval su watch ssh"
)
_PARTS = (
    "ScriptBlock AddScript AddCommand InvokeScript InvokeCommand NewScriptBlock ExpandString MemberName "
    "Diagnostics.Process powershell Function: Alias: --%"
)
_READER = compile_late(
    rf"(?<![\w.$-])(?:{'|'.join(map(re.escape, (*_COMMANDS.split(), *SHELLS)))})(?![\w-])"
    rf"|{'|'.join(map(re.escape, _PARTS.split()))}",
    re.IGNORECASE,
)
_AT_THE_TOP = compile_late(
    r"(?:\s|#[^\n]*\n|<#.*?#>)*(?:using|param|\[CmdletBinding)\b", re.IGNORECASE | re.DOTALL
)
_MEMBER = compile_late(r"(?:::|[^\s(,;|{]\.)\Z")
_FOR_EACH = compile_late(r"%|ForEach-Object|foreach(?!\s*\()", re.IGNORECASE)
_OPERATOR = compile_late(r"&&?|\.(?=[\s\"'$({#<\0\u2018-\u201e])")
_COMMENT = compile_late(r"#[^\n]*|<#.*?#>|<#", re.DOTALL)
_HERE = compile_late(rf"@([{_SINGLE}{_DOUBLE}])[ \t]*\r?\n")
_WORD = compile_late(r"[\w-]+")
_ASSIGNMENT = compile_late(rf"\$\{{?env:(\w+)\}}?\s*\+?=[^\n;]*{HOLE}", re.IGNORECASE)


class _Lost(Exception):
    """Why the script cannot be understood any further."""


def find_contexts(text: str) -> list[Context]:
    """The Context of each HOLE in the script *text*, in their order; none is left out."""
    reader = _Reader(text)
    try:
        _refuse_readers(text)
        runs = _look_for_programs(text)
        for assignment in _ASSIGNMENT.finditer(text):
            if refusal := judge_variable(assignment[1]):
                raise _Lost(f"no value can stand here: {refusal[0]}")
        if begins_with_declaration(text):
            raise _Lost("`using` and `param` must begin a script, and so must what protects values")
        reader.read_code("")
    except _Lost as reason:
        return [Context("an unknown context", problem=str(reason), hint=_IN_ENV)] * text.count(HOLE)
    return [replace(hole, runs=found) for hole, found in zip(reader.holes, runs, strict=True)]


def find_inputs(text: str) -> list[Context]:
    """The Context of a value in what the script *text* reads on its standard input."""
    try:
        _refuse_readers(text)
        _look_for_programs(text, is_fed=True)
    except _Lost as reason:
        return [Context("standard input", problem=str(reason), hint=_IN_ENV)]
    return [BARE]


def _refuse_readers(text: str) -> None:
    if found := _READER.search(text):
        raise _Lost(f"beside {found.group()} it could become code, or options")


def begins_with_declaration(text: str) -> bool:
    """Whether the script *text* begins with what must stand first."""
    return _AT_THE_TOP.match(text) is not None


def _look_for_programs(text: str, *, is_fed: bool = False) -> list[Runs | None]:
    """Of each hole, why the file that it names is run, as far as quotes and blanks tell the words apart.

    Raises _Lost for a hole in a program text; if the script *is_fed* values, for a program that reads code.
    """
    runs: list[Runs | None] = [None] * text.count(HOLE)
    name = re.compile(r"(\|\s*&?\s*)?(?<![\w.$-])([A-Za-z][\w.-]*?)(?:\.exe)?(?=[\s;|\"']|\Z)")
    single, double = f"[{_SINGLE}][^{_SINGLE}]*[{_SINGLE}]", f"[{_DOUBLE}][^{_DOUBLE}]*[{_DOUBLE}]"
    word = re.compile(rf"[ \t]*((?:{single}|{double}|[^\s;|{_SINGLE}{_DOUBLE}])+)")
    for found in name.finditer(text):
        if find_usage(found[2]) in (*INTERPRETERS, *CALLERS):
            trial, words, at = Findings(), list[Word](), found.end()
            trial.holes = [BARE] * len(runs)
            while argument := word.match(text, at):
                first = text.count(HOLE, 0, argument.start(1))
                holes = range(first, first + argument[1].count(HOLE))
                words.append(Word(argument[1], re.sub(f"[{_SINGLE}{_DOUBLE}]", "", argument[1]), holes))
                at = argument.end()
            reads_code = judge_arguments(found[2], words, trial) and (is_fed or found[1] is not None)
            if reads_code or any(hole.problem or hole.only in ("plain", "integer") for hole in trial.holes):
                raise _Lost(f"beside {found[2]} it could become code")
            variable = next(iter(trial.scripts.values()), None)  # which may hold any of them
            runs = [hole.runs or before or variable for hole, before in zip(trial.holes, runs, strict=True)]
    return runs


_BARE = Context("a word", '"{}"', spreads=True, is_word=True)


class _Reader:
    """Reads *text* by recursive descent; each `read_…` reads what it is named after, from `at` on."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.level = text, 0, 0
        self.may_be_name = False  # whether the word that is read could become the name of a command
        self.holes: list[Context] = []

    def refuse(self, first: int, what: str, hint: str) -> None:
        """That no value can do *what* the holes from *first* on would do."""
        for number in range(first, len(self.holes)):
            if self.holes[number].problem is None:
                self.holes[number] = replace(self.holes[number], problem=f"no value can {what}", hint=hint)

    def peek(self) -> str:
        if self.at >= len(self.text):
            raise _Lost("cannot tell where it stands: something that begins in the script does not end")
        return self.text[self.at]

    def look_back(self, at: int) -> str:
        return self.text[at - 1] if at else "\n"

    def read_code(self, end: str) -> None:
        """Statements up to *end*, and over it."""
        self.level += 1
        if self.level > MAX_LEVELS:
            raise _Lost("the script is nested too deeply")
        around = self.may_be_name
        is_first = True  # in its statement
        names_command = names_member = False  # & or . stands before; ForEach-Object does
        behind = -1  # where the token before ended
        while self.at < len(self.text) or end:
            sign, start, first = self.peek(), self.at, len(self.holes)
            if sign == end:
                self.at += 1
                break
            if sign in _SEPARATORS:
                self.at += 1
                is_first = is_first or sign in "\n;|"
                names_member = names_member and not is_first
                continue
            if self.skip_comment(is_at_start=start != behind or self.look_back(start) in _BEFORE):
                continue
            operator = _OPERATOR.match(self.text, start) if is_first or sign == "&" else None
            if operator:
                self.at = behind = operator.end()
                names_command, is_first = operator.group() != "&&", True
                continue
            if start != behind or names_command or self.look_back(start) in _BEFORE:
                self.may_be_name, is_first = names_command or (is_first and sign != "$"), False
            names_member = names_member or _FOR_EACH.match(self.text, start) is not None
            is_member = names_member or bool(_MEMBER.search(self.text[max(0, behind - 40) : max(0, behind)]))
            self.read_token(sign, start)
            if names_command and sign != "{":
                self.refuse(first, "name the command to run", "write the name itself")
            if is_member and sign != "{":
                self.refuse(first, "name a member", "write the name itself")
            names_command, behind = False, self.at
        self.level, self.may_be_name = self.level - 1, around

    def read_token(self, sign: str, start: int) -> None:
        if here := _HERE.match(self.text, start):
            self.read_here_string(here)
        elif sign in _SINGLE:
            self.read_single()
        elif sign in _DOUBLE:
            self.read_double()
        elif sign == "`":
            self.read_escape()
        elif sign == "$" and self.text.startswith("${", start):
            self.read_braces()
        elif sign in "({" or self.text.startswith(("$(", "@("), start):
            self.at += 1 + (sign in "$@")
            self.read_code("}" if sign == "{" else ")")
        elif sign in ")}":
            raise _Lost(f"cannot tell where it stands: a {sign} closes nothing")
        elif sign == HOLE:
            self.at += 1
            self.holes.append(_BARE)
            self.require_alone(start, len(self.holes) - 1)
        else:
            word = _WORD.match(self.text, start)
            self.at = word.end() if word else start + 1

    def require_alone(self, start: int, first: int) -> None:
        """Refuse the holes in the token from *start* on if it is part of a longer word."""
        after = self.text[self.at : self.at + 1]
        is_index = self.look_back(start) == "[" and after == "]"
        is_value = self.look_back(start) == "=" and self.text[start] in _DOUBLE  # as in name="a §"
        begins = self.look_back(start) in _BEFORE or ((is_index or is_value) and not self.may_be_name)
        if not begins or not (is_index or not after or after in _AFTER):
            self.refuse(first, "stand here: it is part of a longer word", _IN_QUOTES)

    def skip_comment(self, *, is_at_start: bool) -> bool:
        """Reads over a comment, which begins only where a token may."""
        found = _COMMENT.match(self.text, self.at)
        if found is None or not (is_at_start or self.look_back(self.at) in "})&"):
            if found and found.group().startswith("<"):
                raise _Lost("cannot tell where it stands: <# within a word")
            return False
        self.holes += [COMMENT] * found.group().count(HOLE)
        self.at = found.end()
        if found.group() == "<#":
            raise _Lost("cannot tell where it stands: a comment does not end")
        return True

    def read_escape(self) -> None:
        self.at += 1
        if self.peek() == HOLE:
            self.holes.append(_BARE)
            self.refuse(len(self.holes) - 1, "stand here: a backtick stands before it", _IN_QUOTES)
        self.at += 1

    def read_braces(self) -> None:
        """`${…}`, PowerShell's own."""
        while self.peek() != "}":
            if self.text[self.at] == HOLE:
                raise _Lost("a value cannot be part of a variable's name")
            self.at += 1 + (self.text[self.at] == "`")
        self.at += 1

    def read_single(self) -> None:
        self.at += 1
        first = len(self.holes)
        while self.peek() not in _SINGLE:
            self.holes += [_BARE] if self.text[self.at] == HOLE else []
            self.at += 1
        self.at += 1
        self.refuse(first, "stand here: single quotes keep the text as it is", "use double quotes")

    def read_double(self) -> None:
        start, first = self.at, len(self.holes)
        self.at += 1
        while self.peek() not in _DOUBLE or self.text[self.at + 1 : self.at + 2] in tuple(_DOUBLE):
            self.at += self.peek() in _DOUBLE
            self.read_expandable()
        self.at += 1
        if self.text[start + 1 : self.at - 1] == HOLE:
            self.holes[first] = replace(self.holes[first], is_word=True)
        self.require_alone(start, first)

    def read_expandable(self) -> None:
        """A character of a text with expansions, or one of these."""
        if self.text[self.at] == HOLE:
            self.at += 1
            self.holes.append(DOUBLE)
            if self.text[self.at - 2] in "$`":
                what = "stand here: a $ or a backtick stands before it"
                self.refuse(len(self.holes) - 1, what, "write ``$ for a $")
        elif self.text[self.at] == "`":
            self.at += 1
            self.at += self.peek() != HOLE
        elif self.text.startswith("$(", self.at):
            self.at += 2
            self.read_code(")")
        elif self.text.startswith("${", self.at):
            self.read_braces()
        else:
            self.at += 1

    def read_here_string(self, opening: re.Match[str]) -> None:
        is_single = opening[1] in _SINGLE
        ending = re.compile(rf"\n[{_SINGLE if is_single else _DOUBLE}]@")
        self.at = opening.end() - 1
        first = len(self.holes)
        while not ending.match(self.text, self.at):
            self.peek()
            if is_single:
                self.holes += [_BARE] if self.text[self.at] == HOLE else []
                self.at += 1
            else:
                self.read_expandable()
        self.at += 3
        self.require_alone(opening.start(), first)
        if is_single:
            what = "stand here: this here-string keeps the text as it is"
            self.refuse(first, what, 'begin it with @" and end it with "@')
