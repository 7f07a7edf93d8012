"""A command ends with the first of it that fails, in each shell that is here."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from checkpointflow.shells.contexts import Shell
from checkpointflow.shells.scripts import find_part, join_commands, list_arguments

SHELLS: list[Shell] = [shell for shell in ("sh", "dash", "bash", "zsh") if shutil.which(shell)]
pytestmark = pytest.mark.parametrize("shell", SHELLS)


def run(shell: str, script: str, *, fail_fast: bool = True) -> tuple[str, int]:
    arguments = [shell, *list_arguments(shell, script, fail_fast=fail_fast)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    return done.stdout.replace("\n", " ").strip(), done.returncode


def test_a_line_that_fails_is_the_last(shell: Shell) -> None:
    assert run(shell, "echo a\n(exit 3)\necho b") == ("a", 3)
    assert run(shell, "echo a\n(exit 3)\necho b", fail_fast=False) == ("a b", 0)


def test_what_is_asked_for_may_fail(shell: Shell) -> None:
    assert run(shell, "false || true\nif false; then :; fi\n! true\necho b") == ("b", 0)


def test_any_command_of_a_pipe_may_end_it_where_the_shell_can_tell(shell: Shell) -> None:
    expected = ("", 3) if shell in ("bash", "zsh") else ("b", 0)
    assert run(shell, "(exit 3) | true\necho b") == expected


LISTS = [
    (("echo a", "(exit 4)", "echo b"), ("a", 4)),
    (("true && (exit 4)", "echo b"), ("", 4)),
    (("echo a # a comment", "cat <<E\nb\nE", "x=c", "echo $x"), ("a b c", 0)),
    (("set +e\n(exit 4)", "echo b"), ("", 4)),
]


@pytest.mark.parametrize(("parts", "expected"), LISTS)
@pytest.mark.parametrize("fail_fast", [True, False])
def test_a_list_ends_with_the_part_that_fails(
    shell: Shell, parts: tuple[str, ...], expected: tuple[str, int], *, fail_fast: bool
) -> None:
    assert run(shell, join_commands(parts, shell), fail_fast=fail_fast) == expected


def test_a_line_that_fails_in_a_part_of_a_list_is_the_last(shell: Shell) -> None:
    parts = ("(exit 4)\necho a", "echo b")
    assert run(shell, join_commands(parts, shell)) == ("", 4)
    assert run(shell, join_commands(parts, shell), fail_fast=False) == ("a b", 0)


def test_each_place_is_found_in_its_part(shell: Shell) -> None:
    for shell_or_powershell in (shell, "pwsh"):
        parts = ("§one", "two§", "§")
        whole = join_commands(parts, shell_or_powershell)
        marks = [at for at, sign in enumerate(whole) if sign == "§"]
        assert [find_part(parts, shell_or_powershell, at) for at in marks] == [0, 1, 2]
