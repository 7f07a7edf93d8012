"""Words that messages about a document are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

Path = tuple[str | int, ...]
"""Where something stands in a document: the keys and indexes that lead there."""


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
