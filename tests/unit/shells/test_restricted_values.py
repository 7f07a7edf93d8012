"""Values where only some text is let through: beside an interpreter's options, in a program for sed."""

from __future__ import annotations

from typing import Any

import pytest

from checkpointflow.errors import EvaluationError, ExpressionError
from checkpointflow.shells.scripts import parse_command, render_command


def render(command: str, value: Any) -> list[str]:
    template = parse_command(command.replace("§", "${inputs.v}"), "sh")
    return list(render_command(template, {"inputs": {"v": value}}).variables.values())


@pytest.mark.parametrize("value", ["1.2.3", "a b_c:@+,-", "/usr/local", "Müller", "", 5])
def test_plain_text_stands_in_a_program_for_sed(value: Any) -> None:
    assert render('sed "s|VERSION|§|" f', value) == [str(value)]


@pytest.mark.parametrize("value", ["a|b", "a\nb", "a;b", "\\1", "a&b", "$(x)", "{", ["a"], "#", "'"])
def test_no_other_text_does(value: Any) -> None:
    with pytest.raises(
        EvaluationError, match=r"only letters, digits, blanks and \. _ : @ \+ , - / can be a part .*perl -pe"
    ):
        render('sed "s|VERSION|§|" f', value)


@pytest.mark.parametrize(
    ("command", "value"), [("s/a/§/", "a/b"), ("s,a,§,", "a,w x"), ("s:a:§:;s-a-b-", "a:b")]
)
def test_the_delimiter_is_left_out(command: str, value: str) -> None:
    with pytest.raises(EvaluationError, match="letters, digits"):
        render(f'sed "{command}" f', value)


def test_a_line_of_sed_is_a_number() -> None:
    assert render('sed -n "§p" f', "007") == ["7"]
    with pytest.raises(EvaluationError, match="only an integer .* can stand here .*sed.*perl"):
        render('sed -n "§p" f', "1e touch x")


@pytest.mark.parametrize("command", ["perl -e 1 §", "sed s/a/b/ §", "python3 §", "ssh §", "tar cf x §"])
def test_no_value_is_an_option_of_what_takes_code_by_one(command: str) -> None:
    assert render(command, "x-e") == ["x-e"]
    assert render(command, "-") == ["-"]
    with pytest.raises(EvaluationError, match="text that does not begin with - .*write --"):
        render(command, "-ex")


def test_no_element_of_a_list_is_such_an_option() -> None:
    assert render("perl x.pl §", ["x", "-ex"]) == ["x", "-ex"]
    with pytest.raises(EvaluationError, match="does not begin with -"):
        render("perl -e 1 §", ["x", "-ex"])


def test_no_value_is_a_variable_of_make() -> None:
    assert render("make §", "all") == ["all"]
    with pytest.raises(EvaluationError, match="begin with - or hold = can be a target of make"):
        render("make §", "X=$(shell touch x)")


@pytest.mark.parametrize("value", ["-Sx", "A=b", ["A=b", "sh", "-c", "x"]])
def test_no_value_is_an_option_or_an_assignment_of_env(value: Any) -> None:
    with pytest.raises(EvaluationError, match="cannot begin with - or hold ="):
        render("env § x", value)
    assert render("env § x", "ls") == ["ls"]


def test_a_value_names_an_interpreter_only_alone() -> None:
    assert render("§ x.py", "python3") == ["python3"]
    assert render("§ x.py", ["perl", "x.pl"]) == ["perl", "x.pl"]
    for command, value in (
        ("§ -c ${inputs.v}", "python3"),
        ("§ x", ["perl", "-e", "1"]),
        ("§", ["find", "."]),
    ):
        with pytest.raises(EvaluationError, match="a value cannot name a command"):
            render(command, value)


def test_a_value_may_be_what_xargs_runs() -> None:
    assert render("find . | xargs §", "ls") == ["ls"]
    with pytest.raises(EvaluationError, match="cannot name a command"):
        render("find . | xargs §", "eval")


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("curl u | bash -s §", "write -- before it"), ('sh -c "$(curl -fsSL u/§)"', "fetch it into a file"),
        ("bash <(curl u/§)", "fetch it into a file"), ('eval "$(cat ./§)"', "fetch it into a file"),
        ("bash <(echo §)", "as an argument"), ('eval "$(echo §)"', "as an argument"),
    ],
)  # fmt: skip
def test_who_would_run_a_value_is_told_what_it_most_likely_meant(command: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        render(command, "x")
    assert hint in (refused.value.hint or "")


@pytest.mark.parametrize(
    "command", ["source venv-§/bin/activate", ". env-§.sh", "bash a§", "curl u | sh -s - §"]
)
def test_a_word_with_text_of_its_own_before_the_value_names_a_file(command: str) -> None:
    assert render(command, "-c; id") == ["-c; id"]
