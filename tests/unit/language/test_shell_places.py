"""Where a value stands in a shell command: what is written there, and what is let through.

`cases/commands.json` has the rows. `§` is a hole; its place is one of

    word     one word, written "${V}"          integer   nothing but an integer
    words    as word; a list, its elements     command   no command that takes code
    inside   written ${V}, within quotes       refused   with what it says about the place
    single   written '"${V}"'                  unknown   the command cannot be understood
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from checkpointflow.language.places import HOLE, Place
from checkpointflow.language.shell import places

ROWS = json.loads((Path(__file__).parent / "cases" / "commands.json").read_text(encoding="utf-8"))
WRITTEN = {'"{}"': "word", "{}": "inside", "'\"{}\"'": "single"}


def described(place: Place) -> str:
    if place.problem:
        is_unknown = place.problem.startswith("cannot tell where this value stands: ")
        return (
            "unknown" if is_unknown else "refused: " + place.problem.removeprefix("no value can stand here: ")
        )
    if place.only != "anything":
        return place.only
    return "words" if place.spreads else WRITTEN[place.written]


def cases() -> list[Any]:
    return [
        pytest.param(row["command"], shell, row["places"], id=f"{shell}: {row['command']!r}")
        for row in ROWS
        for shell in row["shells"].split()
    ]


@pytest.mark.parametrize(("command", "shell", "expected"), cases())
def test_a_value_stands_where_the_grammar_says(command: str, shell: Any, expected: list[str]) -> None:
    found = places(command.replace("§", HOLE), shell)
    assert [described(place) for place in found] == expected


@pytest.mark.parametrize(("command", "shell", "expected"), cases())
def test_what_is_refused_says_what_to_do(command: str, shell: Any, expected: list[str]) -> None:
    assert all(place.hint for place in places(command.replace("§", HOLE), shell) if place.problem)


@pytest.mark.parametrize("opening", ["$(", "${x:-", "$((", "(", "$(echo ${x:-", "((", '"$(echo "', "a=("])
def test_nesting_is_refused_before_the_stack_ends(opening: str) -> None:
    assert [described(place) for place in places(opening * 5000 + HOLE, "bash")] == ["unknown"]


def test_backquotes_are_nested_as_deeply_as_anybody_would() -> None:
    command = f"echo {HOLE}"
    for _ in range(3):
        command = "echo `" + command.replace("\\", "\\\\").replace("`", "\\`") + "`"
    assert [described(place) for place in places(command, "sh")] == ["words"]


def test_no_place_is_known_in_a_command_that_is_not_understood() -> None:
    found = places(f"echo {HOLE}; echo ' {HOLE}", "sh")
    assert [described(place) for place in found] == ["unknown", "unknown"]


def test_a_command_without_holes_has_no_places() -> None:
    assert places("echo ' $(", "sh") == []
