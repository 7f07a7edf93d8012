"""The document is understood once: whoever asks a Program is answered from what was read before."""

from __future__ import annotations

from typing import Any

import pytest

from checkpointflow.documents import program as understanding
from checkpointflow.documents.checker import check
from checkpointflow.documents.fields import Use
from checkpointflow.documents.graph import list_called
from checkpointflow.documents.program import Program
from checkpointflow.documents.yaml import parse
from checkpointflow.errors import ExpressionError
from tests.helpers import Story, ask, branch, call, cli, foreach, parallel, switch, workflow

SOURCE = parse(b"{}")


def compiled(*steps: dict[str, Any], **more: Any) -> Program:
    return Program(workflow(*steps, **more))


def test_what_the_checker_has_read_the_engine_reads_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(
        cli(
            "a",
            "echo ${inputs.x} ${secrets.T}",
            cwd="${inputs.x}",
            env={"V": "${inputs.x}"},
            **{"if": "inputs.x != null"},
        ),
        switch("s", ("steps.a.outputs.n == 1", "f")),
        foreach("f", "inputs.list", cli("b", "echo ${item}")),
        ask("q", prompt="${inputs.x}", transitions=[{"when": "event.ok", "next": "z"}]),
        cli("z", "echo ${steps.a.stdout}"),
        inputs={"x": "v", "list": [1]},
        begun=False,
    )
    assert check(story.workflow, SOURCE)[0] == []

    def stumble(*_: Any) -> Any:
        raise AssertionError("this was read before")

    for name in ("parse_command", "parse_condition", "parse_path", "compile_value", "parse_url", "Schema"):
        monkeypatch.setattr(understanding, name, stumble)
    story.begin({"x": "v", "list": [1]})
    story.succeed("a", {"n": 1}, stdout="out").succeed("f[0]/b").deliver("q", {"ok": True}).succeed("z")
    assert story.run.status == "completed"


def test_a_schema_is_compiled_once_however_many_outputs_it_sees() -> None:
    program = compiled(cli("a", outputs={"type": "object"}))
    assert program.step("a").outputs is program.step("a").outputs


def test_a_step_has_nothing_in_a_field_that_its_kind_lacks() -> None:
    step = compiled(cli("a")).step("a")
    assert step.read("url") is step.read("inputs") is None
    assert step.read_all("artifacts", "path") == []


READERS = [
    "echo ${steps.a.stdout}",
    'echo ${steps["a"].stdout}',
    'echo ${steps.a["stdout"]}',
    "echo ${steps.a['stdout']}",
    r"""echo ${steps.a["st\u0064out"]}""",
]


@pytest.mark.parametrize("command", READERS)
def test_a_step_keeps_its_stdout_if_some_text_refers_to_it(command: str) -> None:
    program = compiled(cli("a"), cli("b", command))
    assert (program.step("a").keeps("stdout"), program.step("b").keeps("stdout")) == (True, False)


@pytest.mark.parametrize("field", ["description", "name", "risk_level"])
def test_prose_is_no_reference(field: str) -> None:
    said = {field: "see steps.a.stdout, rotates secrets.TOKEN every week"}
    step = compiled(cli("a", **said)).step("a")
    assert (step.keeps("stdout"), step.secrets) == (False, ())


def test_a_shells_own_variable_is_no_secret() -> None:
    assert compiled(cli("a", "echo 'secrets.X' $secrets")).step("a").secrets == ()


def test_the_secrets_of_a_step_are_those_that_its_own_texts_name() -> None:
    program = compiled(
        cli("a", "x ${secrets.B}", env={"V": "${secrets.A}", "W": '${secrets["A"]}'}),
        {"id": "b", "kind": "api", "url": "https://x/${secrets.C}", "body": {"k": ["${secrets.D}"]}},
    )
    assert (program.step("a").secrets, program.step("b").secrets) == (("A", "B"), ("C", "D"))


def test_only_texts_that_may_name_stdout_are_read_to_find_its_readers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = compiled(
        cli("a"), *(cli(f"s{n}", "echo ${inputs.x}") for n in range(9)), cli("b", "${steps.a.stdout}")
    )
    read: list[str] = []
    real = understanding.parse_command
    monkeypatch.setattr(
        understanding, "parse_command", lambda text, shell: read.append(text) or real(text, shell)
    )
    assert program.parts_read == {("a", "stdout")}
    assert read == ["${steps.a.stdout}"]


def test_a_text_that_cannot_be_read_fails_the_step_that_comes_to_it() -> None:
    story = Story(cli("a", "echo ${inputs.}", on_error="continue"), cli("b"))
    assert story.pending == ["b"]
    assert story.run.steps["a"].error.code == "ERR_VALIDATION_WORKFLOW"


def test_the_list_of_a_branch_is_found_by_the_step_and_the_branch() -> None:
    program = compiled(
        parallel("p", branch("x", cli("a")), branch("y", cli("b"))), foreach("f", [1], cli("c"))
    )
    found = [program.inner_list("p", "x"), program.inner_list("p", "y"), program.inner_list("f")]
    assert [steps.steps[0].id for steps in found] == ["a", "b", "c"]


LIST = cli("b", ["echo a # ${inputs.x}", "echo ${raw:inputs.y}", "cat <<E\n${inputs.z}\nE"])


def test_a_value_in_a_list_of_commands_has_the_path_of_its_part() -> None:
    uses = [use for use in compiled(LIST).uses() if isinstance(use, Use)]
    assert [(use.path[-2:], use.expression.text) for use in uses] == [
        (("command", number), f"inputs.{name}") for number, name in enumerate("xyz")
    ]


def test_each_faulty_part_of_a_list_of_commands_is_told_and_the_good_ones_are_read() -> None:
    program = compiled(
        cli("b", ["echo ${inputs.x}", "eval ${inputs.y}", 'echo "${inputs.z}', "echo ${inputs.x}"])
    )
    told = list(program.uses())
    assert [(one.path[-1], isinstance(one, Use)) for one in told] == [
        (1, False),
        (2, False),
        (0, True),
        (3, True),
    ]
    with pytest.raises(ExpressionError, match="eval"):
        program.step("b").read("command")


def test_parts_of_a_list_that_only_their_neighbours_complete_are_told() -> None:
    told = list(compiled(cli("b", ['echo "${inputs.x}', 'echo "${inputs.y}'])).uses())
    assert [(one.path[-1], isinstance(one, Use)) for one in told] == [(0, False), (1, False)]


@pytest.mark.parametrize(
    ("step", "called"),
    [
        (cli("a"), []),
        (foreach("a", [], cli("b")), []),
        (call("a", "b.yaml"), [(("workflow_ref",), "b.yaml")]),
        (foreach("a", [], workflow_ref="b.yaml"), [(("workflow_ref",), "b.yaml")]),
        (
            call("a", "${inputs.x}", one_of=["b.yaml", "c.yaml"]),
            [(("one_of", 0), "b.yaml"), (("one_of", 1), "c.yaml")],
        ),
        (call("a", "${inputs.x}"), []),
    ],
)
def test_a_step_may_run_what_it_names_or_all_that_a_value_may_choose(step: Any, called: list[Any]) -> None:
    assert list(list_called(workflow(step).steps[0])) == called
