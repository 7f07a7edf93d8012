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

from checkpointflow.shells.commands import find_contexts
from checkpointflow.shells.contexts import HOLE, Context

ROWS = json.loads((Path(__file__).parent / "cases" / "commands.json").read_text(encoding="utf-8"))
WRITTEN = {'"{}"': "word", "{}": "inside", "'\"{}\"'": "single"}


def described(place: Context) -> str:
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
    found = find_contexts(command.replace("§", HOLE), shell)
    assert [described(place) for place in found] == expected


@pytest.mark.parametrize(("command", "shell", "expected"), cases())
def test_what_is_refused_says_what_to_do(command: str, shell: Any, expected: list[str]) -> None:
    assert all(place.hint for place in find_contexts(command.replace("§", HOLE), shell) if place.problem)


@pytest.mark.parametrize(
    ("names", "command", "expected"),
    [
        ("eval source . trap alias bind complete compgen fc emulate sched zmodload autoload enable zle "
         "bindkey functions zstyle zformat print watch su runuser script", "{} §",
         "refused: {} runs what it is given"),
        ("read unset getopts mapfile readarray vared zparseopts", "{} §", "refused: {} takes names"),
        ("declare typeset local export readonly integer float", "{} §", "refused: {} takes names"),
        ("let exit return shift break continue wait logout bye ulimit", "{} §", "integer"),
        ("sh bash dash zsh ksh mksh ash rbash", "{} -c §", "refused: a shell runs it"),
        ("sh bash dash zsh ksh mksh ash rbash", "echo § | {}", "refused: the input of a shell"),
        ("command builtin exec noglob nocorrect -", "{} eval §", "refused: eval runs what it is given"),
        ("env sudo doas nohup nice ionice timeout setsid stdbuf xargs chroot busybox docker podman kubectl "
         "nsenter unshare flock strace", "{} 1 bash §", "refused: a shell runs it"),
        ("BASH_ENV ZDOTDIR PROMPT_COMMAND PS0 PS1 PS2 PS4 PROMPT RPROMPT", "{}=§",
         "refused: the shell runs what {} holds"),
        ("RANDOM SRANDOM SECONDS OPTIND LINENO COLUMNS LINES HISTSIZE SAVEHIST HISTCMD BASHPID PPID UID EUID "
         "GID EGID TMOUT MAILCHECK LISTMAX LOGCHECK KEYTIMEOUT FUNCNEST DIRSTACKSIZE BAUD ERRNO",
         "{}=§", "integer"),
        ("-eq -ne -lt -le -gt -ge", "[ § {} 1 ]", "integer"),
        ("-eq -ne -lt -le -gt -ge", "[[ 1 {} § ]]", "integer"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_every_name_that_shells_take_code_or_numbers_by_is_known(
    shell: Any, names: str, command: str, expected: str
) -> None:
    for name in names.split():
        found = find_contexts(command.format(name).replace("§", HOLE), shell)
        assert (name, [described(place) for place in found]) == (name, [expected.format(name)])


@pytest.mark.parametrize(
    "opening", ["$(", "${x:-", "$((", "(", "( ", "$(echo ${x:-", "((", '"$(echo "', "a=("]
)
def test_nesting_is_refused_before_the_stack_ends(opening: str) -> None:
    assert [described(place) for place in find_contexts(opening * 5000 + HOLE, "bash")] == ["unknown"]


def test_backquotes_are_nested_as_deeply_as_anybody_would() -> None:
    command = f"echo {HOLE}"
    for _ in range(3):
        command = "echo `" + command.replace("\\", "\\\\").replace("`", "\\`") + "`"
    assert [described(place) for place in find_contexts(command, "sh")] == ["words"]


def test_no_place_is_known_in_a_command_that_is_not_understood() -> None:
    found = find_contexts(f"echo {HOLE}; echo ' {HOLE}", "sh")
    assert [described(place) for place in found] == ["unknown", "unknown"]


def test_a_command_without_holes_has_no_places() -> None:
    assert find_contexts("echo ' $(", "sh") == []
