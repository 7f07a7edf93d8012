r"""What a command says that its shell may read otherwise than its author: `#12`, and what only bash knows.

No parser: whatever is quoted, escaped, in a here-document or a comment is cut out first, and then patterns
are looked for. They serve warnings alone, so a strange script may be missed, and hardly one is told of
in vain.
"""

from __future__ import annotations

import re

from checkpointflow.expressions.syntax import VALUES
from checkpointflow.shells.contexts import Shell

_OPAQUE = re.compile(
    r"""(?P<escaped>\\.)
    |(?P<translated>(?<![\w"'])\$'(?:[^'\\]|\\.)*')
    |(?P<single>'[^']*')
    |(?P<double>"(?:[^"\\`$]|\\.|\$\((?:[^()"]|"[^"]*"|\([^()]*\))*\)|[$`])*")
    |(?P<document><<-?[ \t]*\\?(?P<mark>['"]?)(?P<end>\w+)(?P=mark)
        (?P<rest>[^\n]*)\n.*?^[ \t]*(?P=end)[ \t]*$)
    |(?P<comment>(?<![^\s;&|()`])\#[^\n]*)""",
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
_WORD_AS_COMMENT = re.compile(r"#[^\s#!]")

_COMMAND = r"(?:^|[;&|(!{\n]|\b(?:if|elif|while|until|then|else|do)\b)[ \t]*"
_OUTSIDE = {
    "[[ … ]]": rf"{_COMMAND}\[\[\s",
    "(( … ))": rf"{_COMMAND}\(\([^()\n;|&]*\)\)|\bfor[ \t]*\(\(",
    "<( … )": r"[ \t][<>]\(",
    "<<<": r"<<<",
    "&>": r"(?<!>)&>",
    "|&": r"\|&",
    "function": rf"{_COMMAND}function[ \t]+\w",
    "a list x=( … )": r"(?:^|[\s;])[A-Za-z_]\w*\+?=\(",
    "{1..9}": r"(?<!\$)\{-?\w+\.\.-?\w+(?:\.\.-?\d+)?\}",
    "{a,b}": r"(?<![$\w}])[\w./-]*(?<!\$)\{[\w./*-]*(?:,[\w./*-]*)+\}",
    "source": rf"{_COMMAND}source[ \t]",
    "pipefail": r"\bset[ \t]+-\w*o[ \t]+pipefail",
    "== in [ ]": rf"{_COMMAND}\[[ \t][^]\n]*[ \t]==[ \t]",
    "echo -e": rf"{_COMMAND}echo[ \t]+-[nE]*e",
    "read with options": rf"{_COMMAND}read[ \t]+-\w*[aptsndN]",
    "trap … ERR": rf"{_COMMAND}trap\b[^\n;]*[ \t](?:ERR|DEBUG|RETURN)\b",
    **{
        name: rf"{_COMMAND}{name}(?=[\s;]|\Z)"
        for name in ("declare", "typeset", "shopt", "mapfile", "readarray", "pushd", "popd", "let")
    },
}
_ANYWHERE = {
    "${x/…}, ${x^}, ${x:1}, ${x[1]}": rf"\$\{{(?!(?:{'|'.join(sorted(VALUES))})\b)\w+(?:\[|/|\^|,|:[ \d(])",
    "${!x}": r"\$\{!\w",
    "x++": r"\$\(\([^)\n]*(?:\+\+|--)",
    "$RANDOM": r"\$\{?(?:RANDOM|BASH_SOURCE|FUNCNAME|PIPESTATUS|SECONDS)\b",
}


def find_word_as_comment(command: str) -> str | None:
    """What of *command* its author may not have meant as a comment: `#12` behind words."""
    for found in _OPAQUE.finditer(command):
        before = command[: found.start()].rpartition("\n")[2].strip()
        if (
            found["comment"]
            and _WORD_AS_COMMENT.match(found["comment"])
            and before[-1:] not in ("", *";&|({")
        ):
            return found["comment"]
    return None


def find_bashisms(command: str, shell: Shell) -> list[str]:
    """What in *command* not every shell knows that may be called *shell*, by names for people."""
    if shell not in ("sh", "dash"):
        return []
    outside, anywhere = _OPAQUE.sub(_blank, command), _OPAQUE.sub(_blank_all_but_double, command)
    found = [name for name, pattern in _OUTSIDE.items() if re.search(pattern, outside, re.MULTILINE)]
    found += [name for name, pattern in _ANYWHERE.items() if re.search(pattern, anywhere)]
    return found + ["$'…'"] * ("$'" in outside)


def _blank(found: re.Match[str]) -> str:
    """Something in place of what is opaque that is neither code nor nothing."""
    if found["document"]:
        return f"<<E {found['rest']}"
    return "" if found["comment"] else "$'" if found["translated"] else "_"


def _blank_all_but_double(found: re.Match[str]) -> str:
    return found.group() if found["double"] else _blank(found)
