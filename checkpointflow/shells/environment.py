"""Which variables of its environment a script reads, as far as its text tells: for people, not for the shell.

Names in single quotes are none, nor what the script has set before. A text that an inner shell or an awk
program is given is not looked into.
"""

from __future__ import annotations

from checkpointflow.expressions.functions import FUNCTIONS
from checkpointflow.expressions.syntax import VALUES
from checkpointflow.patterns import compile_late
from checkpointflow.shells.contexts import Shell

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_POWERSHELL = compile_late(rf"\$\{{?[Ee][Nn][Vv]:({_NAME})")
_TOKEN = compile_late(
    rf"""(?xs) \\. | (?P<quote>["']) | (?<![^\s;]) (?P<comment>\#)
    | \$ (?P<brace>\{{[#!]?)? (?P<read>{_NAME}) (?P<dot>\.)?
    | (?<![^\s;&|(`]) (?: (?P<set>{_NAME}) \+?= | for\s+ (?P<loop>{_NAME}) \s
        | read\s+ (?:-\S+\s+)* (?P<list>{_NAME} (?:\ +{_NAME})*) )"""
)
_BEGINS_HOLE = compile_late(rf"(?:{'|'.join(sorted(VALUES))})[\s}}\[=!<>]|(?:{'|'.join(FUNCTIONS)})\s*\(")
_OF_SHELLS = (
    "IFS PWD OLDPWD PPID UID EUID RANDOM SECONDS LINENO OPTARG OPTIND REPLY HOSTNAME FUNCNAME PIPESTATUS "
    "BASHPID BASH BASH_SOURCE BASH_VERSION BASH_REMATCH SHLVL EPOCHSECONDS"
)


def find_variables(script: str, shell: Shell) -> set[str]:
    """The variables that *script* reads from its environment; what stands in `${…}` for us is none of it."""
    if shell == "pwsh":
        return set(_POWERSHELL.findall(script))
    found, own, place, is_quoted = set[str](), dict[str, int](), 0, False
    while (token := _TOKEN.search(script, place)) is not None:
        place = token.end()
        if token["quote"] == '"':
            is_quoted = not is_quoted
        elif token["quote"] and not is_quoted:
            place = script.find("'", place) + 1 or len(script)
        elif token["comment"] and not is_quoted:
            place = script.find("\n", place) + 1 or len(script)
        elif (name := token["read"]) is not None:
            is_hole = token["brace"] and (token["dot"] or _BEGINS_HOLE.match(script, token.start("read")))
            is_set = name in own and any(map(str.isspace, script[own[name] : token.start()]))
            if not (is_hole or is_set or name in _OF_SHELLS.split() or name.startswith("CPF_")):
                found.add(name)
        else:
            for name in (token["set"] or token["loop"] or token["list"] or "").split():
                own.setdefault(name, place)
    return found
