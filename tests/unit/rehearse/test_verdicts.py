"""What was expected against what came: the innermost difference, as a diff; coverage; JUnit."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from checkpointflow.diagnostics import Diagnostic
from checkpointflow.documents.program import Program
from checkpointflow.rehearse.coverage import Counter, Coverage
from checkpointflow.rehearse.junit import Suite, write_junit
from checkpointflow.rehearse.verdict import Difference, Verdict
from tests.helpers import ask, branch, call, cli, end, foreach, parallel, program, switch
from tests.unit.rehearse.playing import play, tell

MADE = program(
    cli("build", "make"),
    ask(
        "approve",
        input_schema={"required": ["ok"], "properties": {"ok": {"enum": [True, False]}}},
        transitions=[{"when": "event.ok", "next": "deploy"}, {"when": "not event.ok", "next": "no"}],
    ),
    cli("deploy", "apply ${inputs.v}"),
    end("yes", result={"v": "${inputs.v}", "l": [1, {"a": 2.0}]}),
    end("no", result="no"),
)
OK = "{inputs: {v: 1}, answers: {approve: {ok: true}}, expect: "


@pytest.mark.parametrize(
    "expected",
    [
        "{}",
        "{status: completed}",
        "{result: {v: 1, l: [1.0, {a: 2}]}}",
        "{path: [build, approve, deploy, yes]}",
        "{path: [build@1, approve, deploy, yes]}",
        "{never: ['no']}",
        "{commands: {build: make, deploy: {matches: '^apply [0-9]$'}}}",
        "{commands: {deploy: [apply 1]}}",
    ],
)
def test_what_comes_as_expected_passes(expected: str) -> None:
    assert tell(MADE, f"{OK}{expected}}}") == []


@pytest.mark.parametrize(
    ("expected", "lines"),
    [
        ("{status: failed}", ["status", "- failed", "+ completed"]),
        ("{error: {code: ERR_X}}", ["status", "- failed", "+ completed"]),
        ("{waiting_for: approve}", ["status", "- waiting", "+ completed"]),
        ("{refused: x}", ["refused", "- x", "+ nothing was refused"]),
        ("{result: {v: true, l: [1, {a: 2}]}}", ["result.v", "- true", "+ 1"]),
        ("{result: {v: 1, l: [1, {a: 3}]}}", ["result.l[1].a", "- 3", "+ 2.0"]),
        ("{result: {v: 1, l: [1]}}", ["result.l", "- [1]", '+ [1,{"a":2.0}]']),
        ("{result: {v: 1, x: 2}}", ["result.x", "- 2", "result.l", '+ [1,{"a":2.0}]']),
        ("{result: {v: {matches: x}, l: [1, {a: 2}]}}", ["result.v", "- matches x", "+ 1"]),
        (
            "{path: [build, deploy, yes]}",
            ["path", "  build", "+ approve", "  deploy", "  yes"],
        ),
        ("{path: ['build']}", ["path", "  build", "+ approve", "+ deploy", "+ yes"]),
        ("{never: [deploy]}", ["never", "- never deploy", "+ the run came to deploy"]),
        ("{commands: {deploy: apply 2}}", ["commands.deploy", "- apply 2", "+ apply 1"]),
        ("{commands: {deploy: {matches: '2$'}}}", ["commands.deploy", "- matches 2$", "+ apply 1"]),
        ("{commands: {deploy: [a, b]}}", ["commands.deploy", "- a", "- b", "+ apply 1"]),
        ("{commands: {'no': x}}", ["commands.no", "- x", "+ it was not run"]),
    ],
)
def test_what_differs_is_told(expected: str, lines: list[str]) -> None:
    assert tell(MADE, f"{OK}{expected}}}") == lines


def test_a_run_that_waits_says_for_what_and_how_it_would_be_answered() -> None:
    from checkpointflow.rehearse.verdict import judge
    from tests.unit.rehearse.playing import case_of

    said = "{inputs: {v: 1}}"
    (difference,) = judge(case_of(said), play(MADE, said)).differences
    assert difference.lines == ("- completed", "+ waiting for approve_event at approve")
    assert difference.note == "an answer would be, under `answers`: approve_event: {ok: true}"
    assert tell(MADE, "{inputs: {v: 1}, expect: {waiting_for: approve}}") == []
    assert tell(MADE, "{inputs: {v: 1}, expect: {waiting_for: approve_event}}") == []
    two = program(ask("a"), ask("b"))
    assert tell(two, "{expect: {waiting_for: b}}") == ["waiting_for", "- b", "+ a_event"]


def test_texts_in_a_result_may_be_told_by_patterns() -> None:
    made = program(end("e", result=["run ${run.id}"]))
    assert tell(made, "{expect: {result: [{matches: '^run [0-9A-Z]{26}$'}]}}") == []
    assert tell(made, "{expect: {result: [{matches: x}]}}")[:2] == ["result[0]", "- matches x"]


FAILED = program(cli("a"), end("e"))
AS_A_WHOLE = program(
    end("e"), cli("a"), outputs={"required": ["x"], "properties": {"x": {"from": "steps.a.outputs.x"}}}
)


def test_of_what_it_failed_is_told() -> None:
    said = "{steps: {a: {exit_code: 2}}, expect: "
    assert tell(FAILED, f"{said}{{}}}}") == [
        "status", "- completed", "+ failed, ERR_STEP_FAILED at a: the command ended with exit code 2",
    ]  # fmt: skip
    assert tell(FAILED, f"{said}{{error: {{}}}}}}") == []
    assert (
        tell(FAILED, f"{said}{{error: {{code: ERR_STEP_FAILED, step: a, message: {{matches: 2$}}}}}}}}") == []
    )
    assert tell(FAILED, f"{said}{{error: {{code: ERR_X, step: e, message: x}}}}}}") == [
        "error.code", "- ERR_X", "+ ERR_STEP_FAILED: the command ended with exit code 2",
        "error.step", "- e", "+ a",
        "error.message", "- x", "+ the command ended with exit code 2",
    ]  # fmt: skip


def test_a_run_may_fail_as_a_whole() -> None:
    made = program(cli("a"), outputs={"required": ["x"], "properties": {"x": {"from": "steps.a.outputs.x"}}})
    said = "{steps: {a: {outputs: {}}}, expect: "
    assert tell(made, f"{said}{{error: {{step: a}}}}}}") == [
        "error.step", "- a", "+ none: the run as a whole",
    ]  # fmt: skip
    assert tell(made, f"{said}{{}}}}")[2].startswith(
        "+ failed, ERR_STEP_OUTPUT_INVALID: the workflow's outputs"
    )
    assert tell(made, f"{said}{{status: failed, result: {{}}}}}}") == ["result", "- {}"]


def test_what_is_refused_is_told_unless_it_is_expected() -> None:
    said = "{inputs: {v: 1}, answers: {approve: {ok: maybe}}, expect: "
    told = tell(MADE, f"{said}{{}}}}")
    assert told[0] == "refused"
    assert told[1].startswith("+ the event approve_event does not fit its schema")
    assert tell(MADE, f"{said}{{refused: {{matches: does not fit}}, status: waiting}}}}") == []
    assert tell(MADE, f"{said}{{refused: {{matches: fits}}}}}}")[:2] == ["refused", "- matches fits"]
    strict = program(end("e"), inputs={"required": ["x"]})
    assert tell(strict, "{expect: {refused: {matches: inputs}}}") == []


def test_steps_in_bodies_count_if_one_is_named() -> None:
    made = program(foreach("each", [1, 2], cli("x")), end("e"))
    assert tell(made, "{expect: {path: [each, e]}}") == []
    assert tell(made, "{expect: {path: [each, 'each[0]/x', 'each[1]/x', e]}}") == []
    assert tell(made, "{expect: {path: [each, 'each[0]/x', e]}}") == [
        "path", "  each", "  each[0]/x", "+ each[1]/x", "  e",
    ]  # fmt: skip


# Coverage


def cover(made: Program, *texts: str) -> Coverage:
    counter = Counter(made)
    for text in texts:
        counter.add(play(made, text).facts)
    return counter.sum_up()


WAYS = program(
    cli("a", on_error="continue"),
    cli("sometimes", **{"if": "inputs.v > 1"}),
    switch("which", ("inputs.v > 1", "ask"), ("inputs.v > 2", "ask"), default="both"),
    ask("ask", timeout_seconds=9, on_timeout={"next": "both"}),
    ask("again", timeout_seconds=9, on_error="continue", transitions=[{"when": True, "next": "both"}]),
    parallel("both", branch("one", cli("x")), branch("two", cli("y"))),
    call("called", "child.yaml"),
    called={"child.yaml": program(parallel("p", branch("b", cli("z"))))},
)


def test_steps_arms_and_answers_are_counted() -> None:
    nothing = cover(WAYS)
    assert (nothing.percent, nothing.parts) == (0, 20)
    one = cover(WAYS, "{inputs: {v: 1}}")
    assert one.tell_missing() == [
        "a: on_error",
        "sometimes",
        "which: to ask",
        "ask",
        "again",
    ]
    two = "{inputs: {v: 2}, steps: {a: {exit_code: 1}}, answers: {ask: {}, again: {}}}"
    assert cover(WAYS, "{inputs: {v: 1}}", two).tell_missing() == ["ask: on_timeout", "again: on_error"]
    late = "{inputs: {v: 2}, answers: {ask: {times_out: true}}}"
    later = "{inputs: {v: 2}, answers: {ask: {}, again: {times_out: true}}}"
    assert cover(WAYS, "{inputs: {v: 1}}", two, late, later) == Coverage(20, ())


def test_a_failure_that_nothing_catches_covers_no_policy() -> None:
    assert cover(program(cli("a")), "{steps: {a: {exit_code: 1}}}").percent == 100


def test_coverage_is_rounded_down() -> None:
    assert Coverage(3, (("a", ""),)).percent == 66.6
    assert Coverage(0, ()).percent == 100


# JUnit


def test_junit_tells_of_each_test() -> None:
    passed = Verdict(name='says "<hello>"\x00')
    failed = Verdict(name="b", differences=(Difference("status", ("- completed", "+ failed"), "look"),))
    wrong = Verdict(name="c", gaps=(Diagnostic("not said", hint="say it"), Diagnostic("nor that")))
    text = write_junit([Suite("a&b.test.yaml", ((passed, 0.25), (failed, 1.0), (wrong, 0)))])
    (suite,) = ElementTree.fromstring(text)
    assert suite.attrib == {
        "name": "a&b.test.yaml", "tests": "3", "failures": "1", "errors": "1", "time": "1.250",
    }  # fmt: skip
    assert [case.get("name") for case in suite] == ['says "<hello>"\ufffd', "b", "c"]
    assert [child.tag for case in suite for child in case] == ["failure", "error"]
    assert suite[1][0].text == "status\n  - completed\n  + failed\nlook"
    assert suite[2][0].get("message") == "not said (say it)"
