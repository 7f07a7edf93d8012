"""What is told of a run while it goes on: each thing once, on stderr."""

from __future__ import annotations

import pytest

from tests.conftest import Answer, Cpf
from tests.helpers import ask, cli, end, foreach, parallel
from tests.terminals import CTRL_C, Terminal, at_a_terminal, obeys_nothing, plain


def told(
    cpf: Cpf, *steps: object, words: tuple[str, ...] = ("--progress", "plain"), **more: object
) -> list[str]:
    """The lines that are told in a pipe."""
    return ran(cpf, *steps, words=words, **more).err.splitlines()


def ran(cpf: Cpf, *steps: object, words: tuple[str, ...], **more: object) -> Answer:
    return cpf("run", cpf.flow(*steps, **more), *words)


def test_a_line_when_a_step_begins_and_one_when_it_ends(cpf: Cpf) -> None:
    lines = [line.split() for line in told(cpf, cli("a"), cli("b", "exit 3"))]
    assert [line[:2] for line in lines] == [["●", "a"], ["✓", "a"], ["●", "b"], ["✗", "b:"]]
    assert lines[1][2].endswith("s")


def test_every_one_of_several_at_once_is_told(cpf: Cpf) -> None:
    branches = [{"id": name, "steps": [cli(name, "sleep 0.1")]} for name in ("x", "y")]
    lines = {" ".join(line.split()[:2]) for line in told(cpf, parallel("p", *branches))}
    assert {"● p[x]/x", "● p[y]/y", "✓ p[x]/x", "✓ p[y]/y"} <= lines


def test_iterations_are_counted_not_told_one_by_one(cpf: Cpf) -> None:
    items = list(range(200))
    lines = told(
        cpf, foreach("each", "${inputs.l}", cli("x")), inputs={"properties": {"l": {"default": items}}}
    )
    assert len(lines) <= 30
    assert any("each 100/200" in line for line in lines)
    assert not any("each[" in line for line in lines)


@pytest.mark.parametrize("words", [("--progress", "none"), ("--progress", "auto"), ()])
def test_in_a_pipe_nothing_is_told_unasked(cpf: Cpf, words: tuple[str, ...]) -> None:
    assert told(cpf, cli("a", "echo x"), words=words) == []


def test_none_is_none_on_a_terminal(cpf: Cpf) -> None:
    _, shown = at_a_terminal(cpf, "run", cpf.flow(cli("a")), "--progress", "none")
    assert "✓ a" not in plain(shown).partition("completed")[0]


def test_a_terminal_has_the_last_line_redrawn(cpf: Cpf) -> None:
    with Terminal(
        cpf, "run", cpf.flow(cli("slow", 'until test -e go || test ! -e "$PWD"; do sleep 0.02; done'))
    ) as person:
        person.expect("● slow 1.")
        person.expect("● slow 2.")
        (cpf.cwd / "go").touch()
        assert person.end() == 0
        assert "\r\x1b[K" in person.raw
    assert person.shown.count("✓ slow") == 1


@pytest.mark.long
def test_an_error_stands_in_a_line_of_its_own(cpf: Cpf) -> None:
    """Failed with: the last line, in which a step is under way, left there before it."""
    with Terminal(cpf, "run", cpf.flow(cli("slow", 'until test ! -e "$PWD"; do sleep 0.02; done'))) as person:
        person.expect("● slow 1.")
        assert person.press(CTRL_C).end() == 20
    assert "cpf: cpf was told to stop by SIGINT" in plain(person.raw).splitlines()


@pytest.mark.parametrize("env", [{"CI": "true"}, {"TERM": "dumb"}])
def test_where_nothing_can_be_redrawn_each_line_stands(cpf: Cpf, env: dict[str, str]) -> None:
    _, shown = at_a_terminal(cpf, "run", cpf.flow(cli("a")), NO_COLOR="1", **env)
    assert "\x1b" not in shown and "\r" not in shown
    assert ["●", "a"] in [line.split() for line in shown.splitlines()]


def test_verbose_streams_what_steps_print_with_their_names(cpf: Cpf) -> None:
    lines = told(cpf, cli("a", "echo one; echo two >&2; printf three"), words=("-v",))
    shown = [line for line in lines if " | " in line]
    assert sorted(shown) == ["a | one", "a | three", "a | two"]
    assert shown.index("a | one") < shown.index("a | three"), "of one stream, in its order"


def test_verbose_shows_lines_while_the_step_runs(cpf: Cpf) -> None:
    file = cpf.flow(
        cli("slow", 'echo early; until test -e go || test ! -e "$PWD"; do sleep 0.02; done; echo late')
    )
    with Terminal(cpf, "run", file, "-v") as person:
        person.expect("slow | early\n")
        (cpf.cwd / "go").touch()
        person.expect("slow | late\n")
        assert person.end() == 0


def test_what_a_step_prints_speaks_to_no_terminal(cpf: Cpf) -> None:
    evil = r"printf 'a\033[2J\033]0;x\007b\rc\n'; printf '\033[2J' >&2; exit 1"
    code, shown = at_a_terminal(cpf, "run", cpf.flow(cli("a", evil)), "-v")
    assert (code, obeys_nothing(shown)) == (30, True), shown


def test_a_retry_is_told_with_its_attempt(cpf: Cpf) -> None:
    retry = {"max_attempts": 2, "backoff_seconds": 0}
    lines = told(cpf, cli("a", "test -e x || { touch x; exit 1; }", retry=retry))
    assert any("a (attempt 2)" in line for line in lines)


def test_steps_are_not_shown_twice_to_whoever_saw_them_come(cpf: Cpf) -> None:
    file = cpf.flow(cli("a"), cli("b", "test -e fixed"), end("e", result=1))
    _, shown = at_a_terminal(cpf, "run", file)
    assert plain(shown).count("✓ a") == 1
    (cpf.cwd / "fixed").touch()
    _, shown = at_a_terminal(cpf, "retry", "@latest")
    assert plain(shown).count("✓ b") == 1


def test_a_question_ends_what_is_told(cpf: Cpf) -> None:
    lines = told(cpf, cli("a"), ask("q"), words=("--progress", "plain"))
    assert [line.split()[0] for line in lines] == ["●", "✓"]
