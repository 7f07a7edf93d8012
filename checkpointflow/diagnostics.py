"""Whatever is wrong, or doubtful, and is told as data: one type; and the words of its messages.

Who finds something says what and, by a path of keys and indexes, where in what it was given. Who knows the
file adds line and column (`documents.yaml`). What is refused instead of told is an error (`errors`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

MAX_LISTED = 20

Path = tuple[str | int, ...]
"""Where something stands in a document or a value: the keys and indexes that lead there."""


class Diagnostic(Struct, frozen=True):
    """One thing wrong, or doubtful, and where it stands.

    path: leads to the value at fault; hint: what to do about it; code: the error code, should this be the
    first of several; id: the stable name of a warning, or the keyword of a schema that was not met; at_name:
    the name that leads to the value is at fault, not the value; quotes: the part of the text there that is,
    and what to look for should it not stand there like that; offset: how many characters into the quote.
    Once it is known where: file; line and column, from 1; text, that line of the document.
    """

    message: str
    path: Path = ()
    hint: str | None = None
    code: str = "ERR_VALIDATION_WORKFLOW"
    id: str | None = None
    at_name: bool = False
    quotes: tuple[str, ...] = ()
    offset: int = 0
    file: str | None = None
    line: int = 1
    column: int = 1
    text: str | None = None

    def as_detail(self) -> dict[str, Any]:
        """As it stands in an envelope: absent fields are left out."""
        detail = {
            "path": format_path(self.path),
            **{n: getattr(self, n) for n in ("line", "column", "message", "hint", "file", "id")},
        }
        return {name: value for name, value in detail.items() if value is not None}

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.file else f"{self.line}:{self.column}"
        name = f"{self.id} " if self.id else ""
        return f"{where}: {name}{self.message}" + (f" ({self.hint})" if self.hint else "")


def format_path(path: Path) -> str:
    """*path* for people: `workflow.steps[2].env["a b"]`."""
    parts = []
    for part in path:
        if isinstance(part, int):
            parts.append(f"[{part}]")
        elif re.fullmatch(r"[A-Za-z_][\w-]*", part):
            parts.append(f".{part}")
        else:
            parts.append(f'["{shorten(part)}"]')
    return "".join(parts).removeprefix(".")


def shorten(text: str, most: int = 60) -> str:
    """*text* on one line of bounded length, for a message."""
    line = re.sub(r"\s", " ", text[: most + 1])
    return line if len(line) <= most else line[: most - 1] + "…"


def describe(value: Any) -> str:
    """What kind of JSON value this is, in a person's words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    for kind, words in ((str, "text"), (int, "a number"), (float, "a number"), (dict, "a mapping")):
        if isinstance(value, kind):
            return words
    return "a list"


def join_words(words: Sequence[str], last: str = "or") -> str:
    """`a`, `a or b`, `a, b or c`."""
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def suggest(word: str, words: Iterable[str]) -> str | None:
    """The hint that names the one of *words* most like *word*, if one is."""
    near = find_nearest(word, words)
    return f'did you mean "{near}"?{tell_odd(word, near)}' if near else None


def point_at(word: str, words: Iterable[str], are: str) -> str:
    """What *word*, which is none of *words*, may have meant: one of them, or what *are* all of them."""
    known = list(dict.fromkeys(words))
    near = find_nearest(word, known)
    if near:
        return f"did you mean {near}?"
    more = f" and {len(known) - MAX_LISTED} more" if len(known) > MAX_LISTED else ""
    return f"{are} {', '.join(known[:MAX_LISTED]) or 'none'}{more}"


def tell_odd(word: str, near: str) -> str:
    """By which characters *word* and *near* differ though they may look alike: nothing, if only by ASCII."""
    odd = [c for c in dict.fromkeys(word + near) if not " " <= c <= "~" and (c in word) != (c in near)]
    codes = [f"U+{ord(c):04X}" for c in odd[:5]]
    return f" One of the two has {join_words(codes, 'and')} in it." if codes else ""


def find_nearest(word: str, words: Iterable[str]) -> str | None:
    """The one of *words* most like *word*, if one is."""
    known = sorted({word for word in words if len(word) <= 100})
    if len(word) > 100 or len(known) > 1000:  # comparing all with all would take minutes
        return None
    from difflib import get_close_matches  # costs more to import than all of this file

    near = get_close_matches(word, known, 1)
    return near[0] if near else None
