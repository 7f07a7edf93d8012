r"""Names of files with holes: which are of one file, and which files the others mean.

    what an author writes      means
    reports/index.html         one file
    reports/                   all files below a directory
    reports/*.html, **/t?.xml  those whose names match: * and ? within a name, ** any directories

A value is never a pattern: `*` in it is a `*`. As in shells, a pattern passes over names that begin with a
dot where it has none. What it matches are names from the directory that is written before its first sign.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from checkpointflow.errors import EvaluationError
from checkpointflow.expressions.evaluation import evaluate
from checkpointflow.expressions.templates import Template
from checkpointflow.expressions.values import as_text

FAULT = "a set of files lies below the working directory of its step"

_SIGNS = ("*", "?")
_NAME = r"(?!\.)[^/]+"

Sign = tuple[str, bool]
"""A character of a name, and whether it stands for others."""


class Glob(Struct, frozen=True):
    """The files below the directory *base* ("": here) whose paths from there match *pattern*."""

    base: str
    pattern: str


def is_glob(path: str | Template) -> bool:
    """Whether the author of *path* means a set of files."""
    *_, last = pieces = _list_pieces(path)
    signs = any(sign in piece for piece in pieces if isinstance(piece, str) for sign in _SIGNS)
    return signs or (isinstance(last, str) and last.endswith("/"))


def leads_out(path: str | Template) -> bool:
    """Whether the set *path*, whatever its values are, would not lie below the working directory."""
    return _is_outside(["_" if not isinstance(piece, str) else piece for piece in _list_pieces(path)])


def fill_glob(path: str | Template, scope: Mapping[str, Any]) -> Glob:
    """What the set *path* means. Raises EvaluationError, also where it would not lie below a directory."""
    pieces = [
        (piece, True) if isinstance(piece, str) else (as_text(evaluate(piece, scope)), False)
        for piece in _list_pieces(path)
    ]
    if _is_outside([text for text, _ in pieces]):
        raise EvaluationError(FAULT, "".join(text for text, _ in pieces))
    names: list[list[Sign]] = [[]]
    for text, is_ours in pieces:
        for character in text:
            if character == "/":
                names.append([])
            else:
                names[-1].append((character, is_ours and character in _SIGNS))
    if not names[-1]:
        names[-1] = [("*", True)] * 2
    names = [name for name in names if name not in ([], [(".", False)])]
    first = next(
        (at for at, name in enumerate(names[:-1]) if any(is_sign for _, is_sign in name)), len(names) - 1
    )
    base = "/".join("".join(character for character, _ in name) for name in names[:first])
    return Glob(base, _write_pattern(names[first:]))


def _list_pieces(path: str | Template) -> tuple[Any, ...]:
    return (path,) if isinstance(path, str) else path.pieces


def _is_outside(texts: list[str]) -> bool:
    whole = "".join(texts)
    return whole.startswith("/") or ".." in whole.split("/")


def _write_pattern(names: list[list[Sign]]) -> str:
    *above, last = names
    directories = "".join(f"(?:{_NAME}/)*" if _is_any(name) else f"{_write_name(name)}/" for name in above)
    return directories + (f"(?:{_NAME}/)*{_NAME}" if _is_any(last) else _write_name(last))


def _is_any(name: list[Sign]) -> bool:
    return name == [("*", True)] * 2


def _write_name(name: list[Sign]) -> str:
    written = {"*": "[^/]*", "?": "[^/]"}
    text = "".join(written[character] if is_sign else re.escape(character) for character, is_sign in name)
    return (r"(?!\.)" if name[0][1] else "") + text
