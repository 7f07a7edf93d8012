"""Whatever is wrong, or doubtful, and is told as data; and the words that such messages are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

Path = tuple[str | int, ...]
"""Where something stands in a document: the keys and indexes that lead there."""


class Diagnostic:
    """One thing wrong (or doubtful) in a document, and where it stands.

    path: address in the document, such as `workflow.steps[2].next`; line, column: from 1;
    hint: what to do about it; file: the document, when it is not the one that was asked about;
    code: the error code, should this be the first problem; id: stable name of a warning; text: the line
    of the document, for showing it to a person.
    """

    __slots__ = ("code", "column", "file", "hint", "id", "line", "message", "path", "text")

    def __init__(
        self,
        message: str,
        *,
        path: str = "",
        line: int = 1,
        column: int = 1,
        hint: str | None = None,
        file: str | None = None,
        code: str = "ERR_VALIDATION_WORKFLOW",
        id: str | None = None,  # noqa: A002
        text: str | None = None,
    ) -> None:
        self.message = message
        self.path = path
        self.line = line
        self.column = column
        self.hint = hint
        self.file = file
        self.code = code
        self.id = id
        self.text = text

    def as_detail(self) -> dict[str, Any]:
        """As it stands in an envelope: absent fields are left out."""
        detail = {
            name: getattr(self, name) for name in ("path", "line", "column", "message", "hint", "file", "id")
        }
        return {name: value for name, value in detail.items() if value is not None}

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.file else f"{self.line}:{self.column}"
        name = f"{self.id} " if self.id else ""
        return f"{place}: {name}{self.message}" + (f" ({self.hint})" if self.hint else "")

    def __repr__(self) -> str:
        return f"Diagnostic({self})"


def written(path: Path) -> str:
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


def listed(words: Sequence[str], last: str = "or") -> str:
    """`a`, `a or b`, `a, b or c`."""
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def did_you_mean(word: str, words: Iterable[str]) -> str | None:
    """The hint that names the one of *words* most like *word*, if one is."""
    known = sorted({word for word in words if len(word) <= 100})
    if len(word) > 100 or len(known) > 1000:  # comparing all with all would take minutes
        return None
    from difflib import get_close_matches

    near = get_close_matches(word, known, 1)
    return f'did you mean "{near[0]}"?' if near else None
