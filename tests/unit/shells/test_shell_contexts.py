"""Where a value stands in a shell command: what is written there, and what is let through.

`cases/commands.json` has the rows. `§` is a hole; its context is one of

    word     one word, written "${V}"          integer        nothing but an integer
    words    as word; a list, its elements     command        no command that takes code
    inside   written ${V}, within quotes       sole command   the same, without values beside it
    single   written '"${V}"'                  operand        text that does not begin with -
                                               plain          text of plain characters, some of them left out
    refused  with what it says about the context
    unknown  the command cannot be understood

What it says is the text itself, or `[name, fills …]` of a text in `cases/texts.json`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from checkpointflow.shells.commands import find_contexts
from checkpointflow.shells.contexts import HOLE, Context
from tests.texts import Texts

HERE = Path(__file__).parent / "cases"
ROWS = json.loads((HERE / "commands.json").read_text(encoding="utf-8"))
Expected = str | list[str]
text = Texts(HERE / "texts.json")
WRITTEN = {'"{}"': "word", "{}": "inside", "'\"{}\"'": "single"}


def describe(context: Context) -> str:
    if context.problem:
        is_unknown = context.problem.startswith("cannot tell where this value stands: ")
        return (
            "unknown"
            if is_unknown
            else "refused: " + context.problem.removeprefix("no value can stand here: ")
        )
    if context.only != "anything":
        return f"{context.only} without {context.without}" if context.without else context.only
    return "words" if context.spreads else WRITTEN[context.written]


def expected_of(said: Expected) -> str:
    return said if isinstance(said, str) else "refused: " + text(said)


def cases() -> list[Any]:
    return [
        pytest.param(row["command"], shell, row["contexts"], id=f"{shell}: {row['command']!r}")
        for row in ROWS
        for shell in row["shells"].split()
    ]


@pytest.mark.long(but_one_in=5)
@pytest.mark.parametrize(("command", "shell", "expected"), cases())
def test_a_value_stands_where_the_grammar_says(command: str, shell: Any, expected: list[Expected]) -> None:
    found = find_contexts(command.replace("§", HOLE), shell)
    assert [describe(context) for context in found] == list(map(expected_of, expected))


@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "zsh"])
def test_what_is_refused_says_what_to_do(shell: Any) -> None:
    for command in (row["command"] for row in ROWS if shell in row["shells"].split()):
        found = find_contexts(command.replace("§", HOLE), shell)
        assert (command, all(context.hint for context in found if context.problem)) == (command, True)


@pytest.mark.parametrize(
    ("names", "command", "expected"),
    [
        ("eval source . trap alias bind complete compgen fc emulate sched zmodload autoload enable zle "
         "bindkey functions zstyle zformat print", "{} §",
         ["runs", "{}"]),
        ("read unset getopts mapfile readarray vared zparseopts", "{} §", ["takes names", "{}"]),
        ("declare typeset local export readonly integer float", "{} §", ["takes names", "{}"]),
        ("let exit return shift break continue wait logout bye ulimit", "{} §", "integer"),
        ("sh bash dash zsh ksh mksh ash rbash", "{} -c §", ["a shell runs it"]),
        ("sh bash dash zsh ksh mksh ash rbash", "echo § | {}", ["input of a shell"]),
        ("command builtin exec noglob nocorrect -", "{} eval §", ["runs", "eval"]),
        ("env sudo doas nohup nice ionice setsid stdbuf xargs busybox nsenter unshare strace time",
         "{} bash §", ["a shell runs it"]),
        ("timeout chroot flock taskset gosu", "{} 1 bash §", ["a shell runs it"]),
        ("docker podman nerdctl", "{} exec -i 1 bash §", ["a shell runs it"]),
        ("kubectl oc", "{} exec -i 1 -- bash §", ["a shell runs it"]),
        ("watch su runuser script", "{} u §", ["runs", "{}"]),
        ("BASH_ENV ZDOTDIR PROMPT_COMMAND PS0 PS1 PS2 PS4", "{}=§",
         ["run variable", "{}"]),
        ("RANDOM SRANDOM SECONDS OPTIND LINENO COLUMNS LINES HISTSIZE SAVEHIST HISTCMD BASHPID PPID UID EUID "
         "GID EGID TMOUT MAILCHECK LISTMAX LOGCHECK KEYTIMEOUT FUNCNEST DIRSTACKSIZE BAUD ERRNO",
         "{}=§", "integer"),
        ("-eq -ne -lt -le -gt -ge", "[ § {} 1 ]", "integer"),
        ("-eq -ne -lt -le -gt -ge", "[[ 1 {} § ]]", "integer"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_every_name_that_shells_take_code_or_numbers_by_is_known(
    shell: Any, names: str, command: str, expected: Expected
) -> None:
    for name in names.split():
        found = find_contexts(command.format(name).replace("§", HOLE), shell)
        assert (name, [describe(context) for context in found]) == (
            name,
            [expected_of(expected).format(name)],
        )


@pytest.mark.parametrize(
    "opening", ["$(", "${x:-", "$((", "(", "( ", "$(echo ${x:-", "((", '"$(echo "', "a=("]
)
def test_nesting_is_refused_before_the_stack_ends(opening: str) -> None:
    assert [describe(context) for context in find_contexts(opening * 5000 + HOLE, "bash")] == ["unknown"]


def test_backquotes_are_nested_as_deeply_as_anybody_would() -> None:
    command = f"echo {HOLE}"
    for _ in range(3):
        command = "echo `" + command.replace("\\", "\\\\").replace("`", "\\`") + "`"
    assert [describe(context) for context in find_contexts(command, "sh")] == ["words"]


def test_no_context_is_known_in_a_command_that_is_not_understood() -> None:
    found = find_contexts(f"echo {HOLE}; echo ' {HOLE}", "sh")
    assert [describe(context) for context in found] == ["unknown", "unknown"]


def test_a_command_without_holes_has_no_contexts() -> None:
    assert find_contexts("echo ' $(", "sh") == []


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("trap 'rm \"§\"' EXIT", "assign it first: f="),
        (". §/f", "begin it with text of your own"),
        ("curl http://e/§ | bash", "fetch it into a file first"),
        ("cat § | sh -s", "fetch it into a file first"),
        ("echo \\§", r"write \$${…} for the text"),
        ("[[ a && b ]] && echo §", "write `shell: bash`"),
    ],
)
def test_the_hint_says_what_to_write_there(command: str, hint: str) -> None:
    (context,) = find_contexts(command.replace("§", HOLE), "sh")
    assert (context.hint or "").startswith(hint)


@pytest.mark.parametrize(
    "command", ["git -C §", "docker build -t § .", "curl -o § u", "tar -C § -x", "x --y §"]
)
def test_the_argument_of_an_option_is_no_option(command: str) -> None:
    assert [context.option_of for context in find_contexts(command.replace("§", HOLE), "sh")] == [None]


@pytest.mark.parametrize(
    "command", ["rm -f §", "rm §", "mkdir -p §", "git checkout §", "ls -la §", "x --y=z §"]
)
def test_what_stands_behind_a_flag_may_be_one(command: str) -> None:
    (context,) = find_contexts(command.replace("§", HOLE), "sh")
    assert context.option_of == command.split()[0]
