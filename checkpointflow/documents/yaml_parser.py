"""ruamel's parser: where YAML 1.2 lets in more than it does, and what it says, in words for people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.scanner import Scanner


class _TabsBetween(Scanner):
    """Reads over tabs that stand behind something on a line, or on a line with nothing else but a comment."""

    def scan_to_next_token(self) -> Any:
        if self.reader.index and self.reader.buffer[self.reader.pointer - 1] not in " \t\n\r":
            while self.reader.peek() in " \t":
                self.reader.forward()
        found = super().scan_to_next_token()
        while self.reader.peek() == "\t":
            length = next(n for n in count(1) if self.reader.peek(n) not in " \t")
            if self.reader.peek(length) not in "#\r\n\0":
                break
            self.reader.forward(length)
            found = super().scan_to_next_token()
        return found


def parse_events(text: str) -> Iterator[Any]:
    """The events of the YAML *text*. Raises MarkedYAMLError, and whatever slips from the parser."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner = _TabsBetween
    events: Iterator[Any] = yaml.parse(text)
    return events


# What the parser says, and what to say to people instead: (problem, context) -> (message, hint).
_WORDS: tuple[tuple[str, str, str | None], ...] = (
    (
        r"mapping values are not allowed here",
        'a ":" where no field can stand',
        'quote text that holds ": ", and give fields of one mapping the same indentation',
    ),
    (r"found character '\\t'", "a tab where only spaces may indent", "indent with spaces"),
    (r"found character '(.)' that cannot start", r'text cannot start with "\1"', "put the text in quotes"),
    (r"sequence entries are not allowed here", 'a "- " where no list can start', "start it on a new line"),
    (r"found unexpected end of stream.*quoted", "a quote is opened and never closed", None),
    (r"expected ',' or '(.)', but got '<stream end>'", r'a bracket is opened and "\1" never closes it', None),
    (
        r"expected ',' or '(.)', but got",
        r'expected "," or "\1" here',
        "quote text that holds any of {}[],: (as ${…} does)",
    ),
    (
        r"expected <block end>, but found",
        "this does not fit what stands around it",
        "check its indentation, and quote text that holds special characters",
    ),
    (
        r"could not find expected ':'",
        'a field without its ":"',
        'write "name: value", or indent a text that goes on',
    ),
    (
        r"unknown escape character '(.)'",
        r'"\\\1" means nothing in double quotes',
        r'write "\\" for a backslash',
    ),
    (r"expected chomping or indentation", 'only "|", "|-", "|+" or ">" may start a block of text', None),
    (r"expected the node content, but found '(.+?)'", r'a value cannot start with "\1"', "put it in quotes"),
    (r"undefined tag handle", "tags (!…) are not read", "leave the tag out"),
    (r"expected alphabetic or numeric character", 'a name must follow "&" or "*"', "put the text in quotes"),
    (r"", "this is not YAML", None),
)


def explain(error: MarkedYAMLError) -> tuple[str, str | None, Any]:
    """What is wrong, what to do about it, and the parser's mark of where it is."""
    said = f"{error.problem} {error.context or ''}"
    matches = ((re.search(pattern, said), message, hint) for pattern, message, hint in _WORDS)
    found, message, hint = next((found, message, hint) for found, message, hint in matches if found)
    # What is never closed is best shown where it was opened.
    opened = error.context_mark if "never close" in message else None
    return found.expand(message), hint, opened or error.problem_mark
