"""What a person at a terminal sees of mistakes and warnings; stdout's envelope is the same for all."""

from __future__ import annotations

import json

import pytest

from checkpointflow.cli.terminal import show_error, show_warnings
from checkpointflow.diagnostics import Diagnostic
from checkpointflow.errors import InvalidWorkflow, RunNotFound
from tests.conftest import Cpf, on_a_terminal
from tests.helpers import cli

BAD = """\
schema_version: checkpointflow/v1
workflow:
  id: w
  steps:
    - id: a
      kind: cli
      commnd: make
    - { id: b, kind: cli, command: make, next: c }
"""


def shown(capsys: pytest.CaptureFixture[str], *problems: Diagnostic) -> list[str]:
    """The lines that a person sees of *problems*."""
    show_error(InvalidWorkflow(list(problems)))
    return capsys.readouterr().err.splitlines()


def test_a_person_sees_each_mistake_with_its_line_a_caret_and_a_hint(cpf: Cpf) -> None:
    _, err = on_a_terminal(cpf, "validate", "-f", cpf.write("w.yaml", BAD))
    first, second, third = cpf("validate", "-f", "w.yaml")["error"]["details"]
    assert err.replace("\r", "").splitlines() == [
        f"w.yaml:5:7: {first['message']}",
        "        - id: a",
        "          ^",
        f"w.yaml:7:7: {second['message']}",
        "          commnd: make",
        "          ^",
        f"    {second['hint']}",
        f"w.yaml:8:48: {third['message']}",
        "        - { id: b, kind: cli, command: make, next: c }",
        "                                                   ^",
        f"    {third['hint']}",
    ]


def test_the_envelope_on_stdout_is_the_same_for_a_person(cpf: Cpf) -> None:
    file = cpf.write("w.yaml", BAD)
    out, _ = on_a_terminal(cpf, "run", "-f", file)
    assert json.loads(out)["error"] == cpf("run", "-f", file)["error"]
    assert "text" not in json.loads(out)["error"]["details"][0]


def test_an_agent_sees_nothing_on_stderr(cpf: Cpf) -> None:
    _, err = on_a_terminal(cpf, "validate", "-f", cpf.write("w.yaml", BAD), LLM="true")
    assert err == ""


def test_a_person_sees_each_warning_on_a_line(cpf: Cpf) -> None:
    _, err = on_a_terminal(cpf, "validate", "-f", cpf.flow(cli("a", "true"), description="W"))
    (line,) = (line for line in err.splitlines() if "warning" in line)
    assert line.startswith("cpf: warning: w.yaml:3:14: W104 ")


def test_a_warning_stands_once_in_the_envelope(cpf: Cpf) -> None:
    answer = cpf("validate", cpf.flow(cli("a", "true"), description="W"))
    assert [warning["id"] for warning in answer["result"]["warnings"]] == ["W104"]
    assert (answer.text.count("W104"), "warnings" in answer.json) == (1, False)
    assert cpf("validate", cpf.flow(cli("a", "true")))["result"]["warnings"] == []


def test_warnings_of_one_kind_are_told_once_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    show_warnings(["w.yaml:1:1: W112 a", "w.yaml:1:2: W104 b", "w.yaml:2:1: W112 c", "other"])
    assert capsys.readouterr().err.splitlines() == [
        "cpf: warning: w.yaml:1:1: W112 a (and 1 more of these)",
        "cpf: warning: w.yaml:1:2: W104 b",
        "cpf: warning: other",
    ]


def test_warnings_of_a_document_are_not_repeated_by_a_run(cpf: Cpf) -> None:
    out, err = on_a_terminal(cpf, "run", "-f", cpf.flow(cli("a", "true")))
    assert ("warnings" in json.loads(out), "W104" in err) == (False, False)


def test_a_person_sees_the_first_twenty_and_how_many_more(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, *[Diagnostic(f"no {n}", file="w.yaml", line=n) for n in range(1, 1024)])
    assert (len(lines), lines[0], lines[19:]) == (
        21,
        "w.yaml:1:1: no 1",
        ["w.yaml:20:1: no 20", "and 1,003 more"],
    )


def test_twenty_are_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(shown(capsys, *[Diagnostic("no", line=n) for n in range(20)])) == 20


def test_warnings_end_with_how_many_more(capsys: pytest.CaptureFixture[str]) -> None:
    show_warnings([f"w.yaml:1:1: W{n} …" for n in range(22)])
    lines = capsys.readouterr().err.splitlines()
    assert (len(lines), lines[-1]) == (21, "and 2 more")


def test_of_a_long_line_what_stands_around_the_caret_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    text = "a" * 5000 + "X" + "b" * 5000
    _, line, caret = shown(capsys, Diagnostic("no", column=5001, text=text))
    assert len(line) == 104
    assert line[caret.index("^")] == "X"


@pytest.mark.parametrize("column", [1, 2, 99, 150, 200])
def test_the_caret_stands_below_its_column(capsys: pytest.CaptureFixture[str], column: int) -> None:
    text = "".join(chr(0x100 + n) for n in range(200))
    _, line, caret = shown(capsys, Diagnostic("no", column=column, text=text))
    assert line[caret.index("^")] == text[column - 1]


def test_the_caret_minds_tabs_wide_and_combining_characters(capsys: pytest.CaptureFixture[str]) -> None:
    _, line, caret = shown(capsys, Diagnostic("no", column=6, text="a\t漢e\u0301X"))
    assert (line, caret) == ("    a\t漢e\u0301X", "     \t   ^")


def test_no_escape_sequence_of_a_document_reaches_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    problem = Diagnostic(
        'unknown field "\x1b[2J"', hint="\x1b]0;x\x07", text='"\x1b[2J": 1', file="\x9b.yaml"
    )
    assert not {"\x1b", "\x07", "\x9b"} & set("".join(shown(capsys, problem)))
    show_error(RunNotFound(problem="no run \x1b[2J"))
    assert capsys.readouterr().err == "cpf: no run \ufffd[2J\n"


def test_an_empty_document_is_shown_without_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, Diagnostic("no", file="w.yaml", text="")) == ["w.yaml:1:1: no"]


def test_a_person_sees_all_that_does_not_fit(cpf: Cpf) -> None:
    file = cpf.flow(cli("a"), inputs={"type": "object", "required": ["x", "y"]})
    _, err = on_a_terminal(cpf, "run", file)
    assert [line for line in err.replace("\r", "").splitlines() if line.startswith("    ")] == [
        '    $ lacks "x"',
        '    $ lacks "y"',
    ]


def test_a_form_that_is_asked_for_behind_a_mistake_counts(cpf: Cpf) -> None:
    """Failed with: JSON, since the mistake was told before the words behind it were read."""
    answer = cpf("list", "--since", "yesterday", "--text")
    assert (answer.code, answer.text) == (2, "")
    assert "no span of time" in answer.err
