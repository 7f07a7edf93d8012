"""What an answer holds unless all of it is asked for: at most 16 KiB.

Where it would hold more, its longest values are shown as their sizes and their heads, until it fits; then, of
the longest lists, as many of the first items as there is room for. What is short stays as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from checkpointflow.cli.encoding import MAX_BYTES, encode

ROOM = MAX_BYTES - 2048  # the rest is for saying what is left out, and how to have it
MIN_BYTES = 512
MAX_HEAD = 200
MAX_TEXT = 1000

QUESTIONS = ("prompt", "summary", "instructions")
"""Of the texts of ours those that are cut as values are; of all others the head is shown, and "…"."""
WHOLE = ("next", "logs", "tail", "resume")
"""Of these no part is cut; they are short, or lists of which items are left out."""


class _Part(NamedTuple):
    """A part of an answer, by its *owner* and its *name* there; is_data: it is a value of a run."""

    size: int
    path: str
    owner: dict[str, Any]
    name: str
    is_data: bool


def cut(value: Any, **whole: str | None) -> dict[str, Any]:
    """The fields of a Cut in place of *value*; *whole*: the `file`, or the `command`, that has all of it."""
    data = encode(value)
    text = value if isinstance(value, str) else data[: 4 * MAX_HEAD].decode(errors="ignore")
    return {"bytes": len(data), "head": text[:MAX_HEAD], **{n: said for n, said in whole.items() if said}}


def fit(shown: dict[str, Any], data: Collection[str], command: str | None) -> list[str]:
    """Make *shown*, the fields of an answer, short enough; returns a sentence on each list that was cut.

    data: the fields that are values of a run; command: the line that shows all.
    """
    parts = sorted(_list_parts(shown, data), reverse=True, key=lambda part: part.size)
    excess = len(encode(shown)) - ROOM
    for part in parts:
        if excess > 0 and part.size > MIN_BYTES and not _is_list(part):
            excess -= _replace(part, _shorten(part, command))
    told = []
    for part in filter(_is_list, parts):
        items = part.owner[part.name]
        kept = _choose(items, excess, from_end=part.name == "tail")
        if len(kept) < len(items):
            excess -= _replace(part, kept)
            told.append(f"{len(items) - len(kept):,} of {len(items):,} {part.path} are left out")
    for name in (*data, "steps"):  # of many values that are short
        if excess > 0 and name in shown:
            excess -= _replace(_Part(0, name, shown, name, True), cut(shown[name], command=command))
    return told


def _list_parts(
    record: dict[str, Any], data: Collection[str], path: str = "", *, is_inner: bool = False
) -> Iterator[_Part]:
    """The parts of *record* that may be cut: its values, and those of the records in it."""
    for name, value in record.items():
        is_data = name in data
        if isinstance(value, dict) and not is_inner and name not in WHOLE:
            yield from _list_parts(value, value if is_data else (), f"{path}{name}.", is_inner=True)
            continue
        part = _Part(len(encode(value)), path + name, record, name, is_data)
        if _is_list(part) or name not in WHOLE:
            yield part
        for item in value if _is_list(part) and name not in WHOLE else ():
            if isinstance(item, dict):
                yield from _list_parts(item, (), f"{path}{name}.", is_inner=True)


def _is_list(part: _Part) -> bool:
    """Whether it is a list of ours, of which items can be left out."""
    return isinstance(part.owner[part.name], list) and not part.is_data


def _replace(part: _Part, value: Any) -> int:
    """Put *value* in its place; returns how many bytes that spares."""
    spared = len(encode(part.owner[part.name])) - len(encode(value))
    part.owner[part.name] = value
    return spared


def _shorten(part: _Part, command: str | None) -> Any:
    value = part.owner[part.name]
    if isinstance(value, str) and not part.is_data and part.name not in QUESTIONS:
        return value[:MAX_TEXT] + "…"
    return cut(value, command=command)


def _choose(items: list[Any], excess: int, *, from_end: bool) -> list[Any]:
    """As many of *items* as can stay, the last if *from_end*; one at least."""
    kept = items[::-1] if from_end else items[:]
    while excess > 0 and len(kept) > 1:
        excess -= len(encode(kept.pop())) + 1
    return kept[::-1] if from_end else kept
