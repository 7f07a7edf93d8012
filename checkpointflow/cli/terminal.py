"""Mistakes and warnings for a person at a terminal: what is wrong, the line with a caret, what to do.

    deploy.yaml:12:9: unknown field "commnd" in a cli step
            commnd: make
            ^
        did you mean "command"?

It says no more than the envelope does, which goes to stdout all the same.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from unicodedata import combining, east_asian_width

import click

from checkpointflow.cli.envelope import Reply
from checkpointflow.cli.location import command_for, shorten_lines
from checkpointflow.cli.output import is_on_github
from checkpointflow.cli.screen import Screen, disarm, find_screen
from checkpointflow.diagnostics import Diagnostic
from checkpointflow.errors import CheckpointflowError, InvalidEvent, InvalidInput, InvalidWorkflow

MAX_SHOWN = 20
MAX_WIDTH = 100
HANG = 5  # below what stands behind "cpf: ", apart from the lines to type

_KIND = re.compile(r":[0-9]+: (W[0-9]+) ")


def tell(answer: Reply, error: CheckpointflowError | None) -> None:
    """Tell on stderr of the warnings of *answer*, of *error*, and what can be typed to go on after it."""
    directory = answer.directory
    shorten = partial(shorten_lines, directory=directory) if directory else str
    show_warnings([*map(shorten, answer.envelope.warnings), *map(str, answer.doubts)])
    if error is not None:
        show_error(error)
        if directory is not None:
            for command, *options in answer.offers:
                _tell(f"  {shorten(command_for(command, directory, *options))}")


def show_error(error: CheckpointflowError) -> None:
    """Tell of *error* on stderr: of a document, inputs or an event all that is wrong, up to 20."""
    if isinstance(error, InvalidWorkflow):
        for problem in error.problems[:MAX_SHOWN]:
            _tell("\n".join(_format(problem)))
        _tell_how_many_more(len(error.problems))
        return
    _tell_prose(f"cpf: {error}")
    if (
        isinstance(error, InvalidInput | InvalidEvent) and len(error.details or ()) > 1
    ):  # it tells only the first
        for misfit in error.details[:MAX_SHOWN]:
            _tell_prose(f"    {misfit['message']}")
        _tell_how_many_more(len(error.details))


def show_warnings(warnings: Sequence[str]) -> None:
    """Tell of *warnings* on stderr, up to 20; those of one kind are told once, and counted."""
    groups: dict[str, list[str]] = {}
    for warning in warnings:
        kind = _KIND.search(warning)
        groups.setdefault(kind[1] if kind else warning, []).append(warning)
    for same in list(groups.values())[:MAX_SHOWN]:
        more = f" (and {len(same) - 1} more of these)" if len(same) > 1 else ""
        _tell_prose(f"cpf: warning: {same[0]}{more}")
    _tell_how_many_more(len(groups))


def _format(problem: Diagnostic) -> Iterator[str]:
    where = f"{problem.file}:{problem.line}:{problem.column}" if problem.file else f"line {problem.line}"
    yield from _fold(f"{where}: {problem.message}", find_screen(sys.stderr))
    if problem.text is not None and problem.text.strip():
        yield from ("    " + line for line in _point_at(problem.text, problem.column))
    if problem.hint:
        yield f"    {problem.hint}"


def _point_at(text: str, column: int) -> tuple[str, str]:
    """The line *text*, or what of it stands around *column*, and below it a caret."""
    start = max(0, min(column - 1 - MAX_WIDTH // 2, len(text) - MAX_WIDTH))
    visible = "".join(map(_make_visible, text[start : start + MAX_WIDTH])).rstrip()
    before = visible[: column - 1 - start]
    return visible, "".join(map(_fill, before)) + "^"


def _fill(character: str) -> str:
    """As much room as *character* takes on a terminal."""
    if character == "\t" or combining(character):
        return character if character == "\t" else ""
    return "  " if east_asian_width(character) in "WF" else " "


def _tell_how_many_more(count: int) -> None:
    if count > MAX_SHOWN:
        _tell(f"and {count - MAX_SHOWN:,} more")


def _tell_prose(text: str) -> None:
    """Tell *text*, broken at blanks, but for a line to paste, with which it may end."""
    screen = find_screen(sys.stderr)
    for line in text.split("\n"):
        at = line.find(": cpf ", len("cpf: warning: "))
        prose, command = (line, "") if at < 0 else (line[: at + 1], line[at + 2 :])
        *lines, last = _fold(prose, screen)
        fits = len(last) + 1 + len(command) <= screen.width
        rest = [f"{last} {command}".rstrip()] if fits or not command else [last, f"  {command}"]
        _tell("\n".join([*lines, *rest]))


def _fold(text: str, screen: Screen) -> list[str]:
    return ["".join(span.text for span in line) for line in screen.fold((text,), HANG)]


def _tell(text: str) -> None:
    visible = "".join(map(_make_visible, text))
    click.echo("\n".join(map(disarm, visible.split("\n"))) if is_on_github() else visible, err=True)


def _make_visible(character: str) -> str:
    # What a document holds must not speak to the terminal: no escape sequence reaches it.
    return character if character.isprintable() or character in "\n\t" else "\ufffd"
