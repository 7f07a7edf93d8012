"""Files of tests: what is wrong with one is told at its line."""

from __future__ import annotations

from typing import Any

import pytest

from checkpointflow.documents.program import Program
from checkpointflow.errors import InvalidWorkflow
from checkpointflow.rehearse.names import find_own, find_unknown, list_names, list_steps
from checkpointflow.rehearse.reading import check_fixture, decode_fixture
from checkpointflow.rehearse.samples import make_sample
from checkpointflow.rehearse.writing import write_flow
from tests.helpers import ask, branch, call, cli, end, foreach, parallel, program
from tests.unit.rehearse.playing import complain

CHILD = program(cli("plan"), parallel("both", branch("one", cli("x"))))
MADE = program(
    cli("build"),
    {"id": "notify", "kind": "api", "url": "https://example.com"},
    ask("approve", event_name="approval"),
    foreach("each", [1], cli("convert")),
    foreach("all", [1], workflow_ref="child.yaml"),
    call("deploy", "child.yaml"),
    end("done"),
    called={"child.yaml": CHILD, "same.yaml": CHILD},
    **{"finally": [cli("clean")]},
)


HEAD = "schema_version: checkpointflow-test/v1\ntests:\n"


def told(text: str, made: Program = MADE) -> list[str]:
    return [f"{wrong.line}:{wrong.column}: {wrong.message}" + (f" ({wrong.hint})" if wrong.hint else "")
            for wrong in complain(made, text)]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "1:1: the file is empty (cpf init writes a workflow to start from)"),
        ("schema_version: 1", '1:1: the document needs "tests"'),
        (
            HEAD + "  - name: a\n    stepps: {}",
            '4:5: unknown field "stepps" in an item of `tests` (did you mean "steps"?)',
        ),
        (
            HEAD + "  - name: a\n    steps:\n      x: {exit_code: many}",
            "5:22: expected a whole number, and found text",
        ),
        (
            HEAD + "  - name: a\n    steps: {x: 1}",
            "4:16: expected a mapping or a list, and found a number",
        ),
        (
            HEAD + "  - name: a\n    expect: {status: done}",
            '4:22: expected "cancelled", "completed", "failed" or "waiting", and found "done"',
        ),
    ],
)
def test_what_has_no_such_structure_is_refused(text: str, wrong: str) -> None:
    with pytest.raises(InvalidWorkflow) as caught:
        decode_fixture(text.encode())
    assert wrong in [str(problem) for problem in caught.value.problems]
    assert caught.value.exit_code == 10


def test_a_sound_test_is_not_complained_of() -> None:
    assert told(
        "{steps: {build: {exit_code: 0}, notify: {status_code: 200}, 'each[0]/convert': [{}], "
        "deploy/plan: {}, 'all[0]/both[one]/x': {}, '@finally/clean': {}, x@2: {outputs: {}}}, "
        "answers: {approval: {}, approve@1: {}}, "
        "expect: {path: [build, 'each[0]/convert'], never: [done], commands: {notify: {matches: '^GET'}}, "
        "error: {step: build}, waiting_for: approval}}"
    ) == []  # fmt: skip


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("{steps: {biuld: {}}}", 'there is no step "biuld" (did you mean "build"?)'),
        ("{steps: {'eech[0]/convert': {}}}", 'there is no step "eech" (did you mean "each"?)'),
        ("{steps: {'[]/[]/[]/[]': {}}}", 'there is no step "[]/[]/[]/[]"'),
        ("{steps: {build: []}}", "a list of what a step comes to must not be empty"),
        (
            "{steps: {build: {fails: true, real: true}}}",
            "a step cannot be said to be both `fails` and `real`",
        ),
        (
            "{steps: {build: {real: true, outputs: {}}}}",
            "what a `real` step comes to cannot be said besides",
        ),
        ("{steps: {build: {status_code: 200}}}", "`status_code` is for an api step"),
        ("{steps: {notify: {exit_code: 0}}}", "`exit_code` is for a cli step"),
        ("{steps: {notify: {stderr: x}}}", "`stderr` is for a cli step"),
        (
            "{steps: {build: {outputs: 3}}}",
            "outputs are a mapping, unless the step's `outputs` say otherwise",
        ),
        (
            "{steps: {approve: {}}}",
            "approve is an await_event step, and does nothing itself "
            "(what is answered stands under `answers`)",
        ),
        ("{steps: {done: {}}}", "done is an end step, and does nothing itself"),
        (
            "{steps: {deploy: {outputs: {}}}}",
            "deploy is a workflow step, and does nothing itself "
            "(what it comes to follows from its own steps: "
            "name those, by their ids or as deploy/…)",
        ),
        ("{answers: {aproval: {}}}",
         'there is no event, and no step that waits, "aproval" (did you mean "approval"?)'),
        ("{answers: {build: {}}}", 'there is no event, and no step that waits, "build"'),
        ("{cancel: biuld}", 'there is no step "biuld" (did you mean "build"?)'),
        ("{expect: {path: [biuld]}}", 'there is no step "biuld" (did you mean "build"?)'),
        ("{expect: {never: [biuld]}}", 'there is no step "biuld" (did you mean "build"?)'),
        ("{expect: {commands: {biuld: x}}}", 'there is no step "biuld" (did you mean "build"?)'),
        ("{expect: {error: {step: biuld}}}", 'there is no step "biuld" (did you mean "build"?)'),
        ("{expect: {waiting_for: build}}", 'there is no event, and no step that waits, "build"'),
        ("{expect: {result: [{matches: '('}]}}",
         "this is no regular expression: missing ), unterminated subpattern at position 0"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_test_is_told_at_its_place(text: str, wrong: str) -> None:
    (found,) = told(text)
    assert found.split(": ", 1)[1] == wrong
    assert found.startswith("3:")


def test_a_schema_may_ask_for_other_outputs_than_an_object() -> None:
    assert told("{steps: {a: {outputs: [1]}}}", program(cli("a", outputs={"type": "array"}))) == []


def test_two_tests_of_one_name_are_refused() -> None:
    text = "schema_version: checkpointflow-test/v1\ntests:\n- {name: a}\n- {name: a}\n"
    fixture, source = decode_fixture(text.encode(), "t.yaml")
    assert [str(wrong) for wrong in check_fixture(fixture, source, MADE)] == [
        "t.yaml:4:10: another test has this name"
    ]


# Names


def test_a_visit_has_three_names() -> None:
    assert list_names("each[1]/a@2") == ("each[1]/a@2", "each[1]/a", "a")
    assert list_names("a") == ("a@1", "a", "a")


def test_what_is_called_twice_is_looked_at_once() -> None:
    assert [step.id for step in list_steps(MADE)["x"]] == ["x"]
    assert find_unknown("deploy/both[one]/y", list_steps(MADE)) == "y"


def test_what_a_called_workflow_does_is_not_of_the_workflow_itself() -> None:
    own = [find_own(MADE, path) for path in ("build", "each[0]/convert@2", "@finally/clean", "deploy/plan")]
    assert [None if one is None else one.step.id for one in own] == ["build", "convert", "clean", None]


# Samples


@pytest.mark.parametrize(
    ("schema", "sample"),
    [
        (True, "…"),
        ({}, "…"),
        ({"const": 3}, 3),
        ({"default": "x", "type": "string"}, "x"),
        ({"enum": ["a", "b"]}, "a"),
        ({"enum": []}, "…"),
        ({"type": "object"}, {}),
        ({"required": ["a", 3], "properties": {"a": {"type": "boolean"}, "b": {}}}, {"a": True}),
        ({"type": ["integer", "null"]}, 1),
        ({"type": []}, "…"),
        ({"type": "array"}, []),
        ({"type": "string"}, "…"),
    ],
)
def test_a_sample_shows_what_a_schema_asks_for(schema: Any, sample: Any) -> None:
    assert make_sample(schema) == sample


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": "b c", "d e": [1, True, None, "3", "true", "x: y", "…", ""]},
         "{a: b c, d e: [1, true, null, '3', 'true', 'x: y', …, '']}"),
        ({}, "{}"),
    ],
)  # fmt: skip
def test_values_are_written_on_one_line(value: Any, text: str) -> None:
    assert write_flow(value) == text
