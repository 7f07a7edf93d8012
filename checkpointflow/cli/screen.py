"""What a terminal can show, and that nothing which data wrote makes it do more.

Text for people is made of spans: plain text, each with a look. Only `Screen` makes escape sequences, and of
looks alone; what in a text a terminal would obey is shown as an escape, never sent. What a look says stands
in words or marks, too, for those who see no colours.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Literal, NamedTuple, TextIO

from msgspec import Struct

from checkpointflow.cli.output import is_on_github

Look = Literal["plain", "strong", "faint", "good", "bad", "asking", "busy"]
Mark = Literal["done", "failed", "asks", "runs", "skipped", "ahead"]

DEFAULT_WIDTH = 80
MAX_WIDTH = 10_000
MIN_WIDTH = 20  # for prose: fewer are no lines

_CODES = {"strong": "1", "faint": "2", "good": "32", "bad": "31", "asking": "33", "busy": "36"}
_MARKS: dict[Mark, tuple[Look, str, str]] = {
    "done": ("good", "✓", "done   "),
    "failed": ("bad", "✗", "FAILED "),
    "asks": ("asking", "?", "asks   "),
    "runs": ("busy", "●", "runs   "),
    "skipped": ("faint", "–", "skipped"),
    "ahead": ("faint", "·", "ahead  "),
}
_PLAIN = str.maketrans({"─": "-", "·": "-", "…": "...", "‹": "<", "›": ">", "→": "->"})


class Span(NamedTuple):
    """A text and how it looks; the text may hold anything."""

    text: str
    look: Look = "plain"


Line = Sequence[Span | str]


class Screen(Struct, frozen=True):
    """A place where text for people goes.

    width: in columns; is_runner: a runner of GitHub Actions reads it, too.
    """

    colour: bool = False
    unicode: bool = True
    width: int = DEFAULT_WIDTH
    is_runner: bool = False

    def mark(self, mark: Mark) -> Span:
        """The sign of a state; a word where signs cannot be shown."""
        look, sign, word = _MARKS[mark]
        return Span(sign if self.unicode else word, look)

    def fold(self, line: Line, hang: int = 2) -> Iterator[list[Span]]:
        """*line* as lines that fit, broken at blanks, all but the first behind *hang* columns.

        Of a text that is to be copied no line is made two: terminals break it, and put it together again.
        """
        row: list[Span] = []
        room = width = max(MIN_WIDTH, self.width)
        for word in _list_words(line):
            size = sum(len(make_visible(span.text)) for span in word)
            if size > room and any(span.text.strip() for span in row):
                yield _join_looks(row)
                row, room = [Span(" " * hang)], width - hang
                word[0] = word[0]._replace(text=word[0].text.lstrip(" "))
                size = sum(len(make_visible(span.text)) for span in word)
            row += word
            room -= size
        yield _join_looks(row)

    def render(self, lines: Iterable[Line]) -> str:
        """The text of *lines*, each with its newline."""
        return "".join(self.render_line(line).rstrip() + "\n" for line in lines)

    def render_line(self, line: Line) -> str:
        """The text of *line*, to be gone on with."""
        text = "".join(map(self._render_span, line))
        return disarm(text) if self.is_runner else text

    def _render_span(self, part: Span | str) -> str:
        text, look = part if isinstance(part, Span) else (part, "plain")
        visible = make_visible(text)
        if not self.unicode:
            visible = visible.translate(_PLAIN).encode("ascii", "backslashreplace").decode()
        return f"\x1b[{_CODES[look]}m{visible}\x1b[0m" if self.colour and look in _CODES else visible


def _list_words(line: Line) -> list[list[Span]]:
    """The words of *line*, each with the blank before it; one may be of several looks."""
    words: list[list[Span]] = [[]]
    for part in line:
        span = part if isinstance(part, Span) else Span(part)
        first, *more = span.text.split(" ")
        words[-1].append(Span(first, span.look))
        words += [[Span(f" {text}", span.look)] for text in more]
    return words


def _join_looks(spans: list[Span]) -> list[Span]:
    return [Span("".join(s.text for s in same), look) for look, same in groupby(spans, lambda s: s.look)]


def find_screen(stream: TextIO | None = None) -> Screen:
    """The screen that *stream* (stdout) goes to."""
    out = sys.stdout if stream is None else stream
    is_plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    encoding = (getattr(out, "encoding", None) or "").lower().replace("-", "")
    return Screen(
        colour=out.isatty() and not is_plain,
        unicode=encoding.startswith("utf"),
        width=_find_width(out),
        is_runner=is_on_github(),
    )


def make_visible(text: str, but: str = "") -> str:
    """*text* with all that a terminal would obey (escapes, line breaks, directions) shown as `\\x1b`.

    but: characters that may stand as they are.
    """
    return "".join(c if c.isprintable() or c in but else _escape(c) for c in text)


def disarm(line: str) -> str:
    """*line* as no command to a runner of GitHub Actions: `::…` at its start, or `##[…]` anywhere in it."""
    bare = line.lstrip()
    plain = f"{line[: len(line) - len(bare)]}: {bare[1:]}" if bare.startswith("::") else line
    return plain.replace("##[", "# #[")


def _escape(character: str) -> str:
    return "    " if character == "\t" else ascii(character)[1:-1]


def _find_width(stream: TextIO) -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(stream.fileno()).columns or DEFAULT_WIDTH
    except (OSError, ValueError):  # it is no terminal: nothing is cut off
        return MAX_WIDTH
