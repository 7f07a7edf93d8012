"""What comes of a test: nothing is started, and the engine is told what the test says."""

from __future__ import annotations

from typing import Any

import pytest

from checkpointflow.engine.actions import Failure, RunCommand, Success
from checkpointflow.engine.run import Breakdown, Completion
from checkpointflow.rehearse.rehearsal import MAX_VISITS, Rehearsal, refuse_real
from tests.helpers import ask, branch, call, cli, end, foreach, parallel, program, switch
from tests.unit.rehearse.playing import case_of, play, tell

OUTPUTS = {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}}
ONE = program(
    cli("build", "make ${inputs.v}", outputs=OUTPUTS), end("e", result="${steps.build.outputs.url}")
)


def api(id: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "kind": "api", "url": "https://example.com/${inputs.v}", **more}


def result(came: Rehearsal) -> Any:
    assert came.run is not None, came.refused
    assert isinstance(came.run.outcome, Completion), came.run.outcome or came.gaps
    return came.run.outcome.result


def error(came: Rehearsal) -> Any:
    assert came.run is not None
    assert isinstance(came.run.outcome, Breakdown)
    return came.run.outcome.error


# What steps come to


def test_a_step_comes_to_what_is_said() -> None:
    came = play(ONE, "{inputs: {v: 1}, steps: {build: {outputs: {url: u}}}}")
    assert (result(came), list(came.entered)) == ("u", ["build", "e"])
    assert [(one.path, one.text) for one in came.issued] == [("build", "make 1")]


def test_json_that_is_printed_becomes_the_outputs() -> None:
    assert result(play(ONE, """{inputs: {v: 1}, steps: {build: {stdout: '{"url":"u"}'}}}""")) == "u"


def test_what_does_not_fit_the_schema_of_the_step_fails_it() -> None:
    came = play(ONE, "{inputs: {v: 1}, steps: {build: {outputs: {url: 3}}}}")
    assert (error(came).code, error(came).step_id) == ("ERR_STEP_OUTPUT_INVALID", "build")
    came = play(ONE, "{inputs: {v: 1}, steps: {build: {stdout: done}}}")
    assert "what the command printed on stdout cannot be its outputs: it is not JSON" in error(came).message


def test_without_a_schema_what_is_no_json_is_no_matter_unless_it_is_read() -> None:
    made = program(cli("a"), end("e", result="${default(steps.a.outputs.x, 'none')}".replace("'", '"')))
    assert result(play(made, "{steps: {a: {stdout: hello}}}")) == "none"
    assert result(play(made, """{steps: {a: {stdout: '{"x": 2}'}}}""")) == 2
    assert result(play(made, """{steps: {a: {stdout: '{"x'}}}""")) == "none"
    lost = play(
        program(cli("a"), end("e", result="${steps.a.outputs.x}")), """{steps: {a: {stdout: '{"x'}}}"""
    )
    assert "steps.a.outputs has no" in error(lost).message


@pytest.mark.parametrize(
    ("said", "code", "message"),
    [
        ("{exit_code: 3}", "ERR_STEP_FAILED", "the command ended with exit code 3"),
        ('{exit_code: 3, stderr: "a\\nb \\n"}', "ERR_STEP_FAILED", "the command ended with exit code 3: b"),
        ("{fails: true}", "ERR_STEP_FAILED", "it failed, as the test has it"),
        ("{fails: {code: ERR_X, message: no route}, exit_code: 9}", "ERR_X", "no route"),
        ("{times_out: true}", "ERR_TIMEOUT", "it took longer than 5 seconds"),
    ],
)
def test_a_step_fails_as_it_is_said(said: str, code: str, message: str) -> None:
    made = program(cli("a", timeout_seconds=5))
    failure = error(play(made, f"{{steps: {{a: {said}}}}}"))
    assert (failure.code, failure.message) == (code, message)
    assert failure.exit_code == {"3": 3, "9": 9}.get(said.partition("exit_code: ")[2][:1])


def test_a_call_is_answered_as_it_is_said() -> None:
    made = program(api("a", success={"status_codes": [201]}), end("e", result="${steps.a.status_code}"))
    came = play(made, "{inputs: {v: x y}, steps: {a: {outputs: {}}}}")
    assert (result(came), came.issued[0].text) == (201, "GET https://example.com/x%20y")
    failure = error(play(made, "{inputs: {v: 1}, steps: {a: {status_code: 404}}}"))
    assert (failure.status_code, failure.message) == (404, "GET https://example.com/1 was answered with 404")
    failure = error(play(made, "{inputs: {v: 1}, steps: {a: {fails: {message: gone}, status_code: 500}}}"))
    assert (failure.status_code, failure.message) == (500, "gone")


def test_headers_stdout_and_stderr_can_be_read() -> None:
    made = program(api("a"), end("e", result="${steps.a.headers.etag} ${steps.a.stdout}"))
    said = "{inputs: {v: 1}, steps: {a: {headers: {ETag: x}, stdout: y}}}"
    assert result(play(made, said)) == "x y"
    made = program(cli("a"), end("e", result="${steps.a.stdout}${steps.a.stderr}"))
    assert result(play(made, "{steps: {a: {outputs: {x: 1}}}}")) == '{"x":1}'
    assert result(play(made, "{steps: {a: {stderr: oh}}}")) == "oh"


def test_artifacts_are_left_behind_unless_others_are_named() -> None:
    artifacts = [{"name": "app", "path": "a.tgz"}, {"name": "all", "path": "r/", "if_missing": "skip"}]
    app, whole = "${steps.a.artifacts.app.path}", "${default(steps.a.artifacts.all.files, [])}"
    made = program(cli("a", artifacts=artifacts), end("e", result={"app": app, "all": whole}))
    came = result(play(made, "{}"))
    assert (came["app"], [file["name"] for file in came["all"]]) == ("artifacts/a/app", ["file"])
    came = result(play(made, "{steps: {a: {artifacts: [app, all/x, all/y]}}}"))
    assert [file["name"] for file in came["all"]] == ["x", "y"]
    assert result(play(made, "{steps: {a: {artifacts: [app]}}}"))["all"] == []
    assert tell(made, "{steps: {a: {artifacts: []}}}") == [
        "a: it leaves behind no artifact app, which it must"
    ]
    assert tell(made, "{steps: {a: {artifacts: [app, zip]}}}") == ["a: it has no artifact zip"]


def test_of_a_list_each_attempt_has_its_own_and_the_last_one_stays() -> None:
    made = program(
        cli("a", retry={"max_attempts": 3}),
        switch("s", ("run.id == null", "a"), default="b"),
        cli("b"),
        cli("c"),
    )
    came = play(made, "{steps: {a: [{exit_code: 1}, {exit_code: 1}, {}]}}")
    assert [one.path for one in came.issued] == ["a", "a", "a", "b", "c"]
    assert came.run is not None
    assert came.run.updated_at > "2026-01-01T00:00:03"  # the pauses are over
    assert error(play(made, "{steps: {a: [{}, {exit_code: 1}], b: [{exit_code: 1}]}}")).step_id == "b"


def test_a_path_says_more_than_an_id() -> None:
    each = foreach("each", "inputs.l", cli("x", outputs=OUTPUTS), end("e", result="${steps.x.outputs.url}"))
    said = "{inputs: {l: [1, 2]}, steps: {x: {outputs: {url: u}}, 'each[1]/x': {outputs: {url: v}}}}"
    made = program(each, end("r", result="${steps.each.outputs.iterations}"))
    assert result(play(made, said)) == ["u", "v"]


def test_one_visit_can_be_named() -> None:
    made = program(
        cli("a", on_error={"next": "a"}, outputs=OUTPUTS), end("e", result="${steps.a.outputs.url}")
    )
    assert result(play(made, "{steps: {a@1: {exit_code: 1}, a: {outputs: {url: u}}}}")) == "u"
    assert result(play(made, "{steps: {a: {exit_code: 1}, a@2: {outputs: {url: u}}}}")) == "u"


def test_steps_of_called_workflows_come_to_what_is_said() -> None:
    child = program(cli("inner", outputs=OUTPUTS), end("e", result="${steps.inner.outputs}"))
    made = program(
        call("c", "child.yaml"), end("e", result="${steps.c.outputs.url}"), called={"child.yaml": child}
    )
    assert result(play(made, "{steps: {c/inner: {outputs: {url: u}}}}")) == "u"


def test_a_command_is_told_as_a_person_reads_it() -> None:
    made = program(
        cli("a", ["echo '${inputs.v}' \"$HOME\"", 'curl -H "x: ${secrets.TOKEN}" example.com'], shell="bash"),
        api("b", headers={"a": "${secrets.TOKEN}"}),
        cli("c", "echo ${raw:inputs.v}"),
    )
    came = play(made, "{inputs: {v: x y}}")
    assert [one.text for one in came.issued] == [
        'echo \'x y\' "$HOME"\ncurl -H "x: ${secrets.TOKEN}" example.com',
        "GET https://example.com/x%20y",
        "echo x y",
    ]


def test_what_is_real_is_performed_by_whoever_asks() -> None:
    asked: list[RunCommand] = []

    def perform(action: Any) -> Success:
        asked.append(action)
        return Success(outputs={"url": "real"}, exit_code=0)

    assert result(play(ONE, "{inputs: {v: 1}, steps: {build: {real: true}}}", perform=perform)) == "real"
    assert [action.path for action in asked] == ["build"]
    with pytest.raises(AssertionError):
        refuse_real(asked[0])


# What is answered

TWICE = program(
    ask(
        "q", event_name="ev", transitions=[{"when": "event.again", "next": "q"}, {"when": True, "next": "e"}]
    ),
    end("e", result="${steps.q.outputs}"),
)


def test_questions_are_answered_by_event_step_or_visit() -> None:
    for name in ("ev", "q", "q@1"):
        assert result(play(TWICE, f"{{answers: {{{name}: {{again: false}}}}}}")) == {"again": False}
    came = play(TWICE, "{answers: {q@2: {again: false}, ev: {again: true}}}")
    assert list(came.entered) == ["q", "q@2", "e"]


def test_a_list_has_an_answer_for_each_time_and_no_more() -> None:
    came = play(TWICE, "{answers: {ev: [{again: true}, {again: false}]}}")
    assert (result(came), list(came.entered)) == ({"again": False}, ["q", "q@2", "e"])
    came = play(TWICE, "{answers: {ev: [{again: true}]}}")
    assert came.run is not None
    assert (came.run.status, came.gaps) == ("waiting", [])


def test_what_goes_round_for_ever_is_a_gap_of_the_test() -> None:
    came = play(TWICE, "{answers: {ev: {again: true}}}")
    assert [gap.message for gap in came.gaps] == [f"the run has come to q more than {MAX_VISITS} times"]


def test_what_is_not_taken_ends_the_rehearsal() -> None:
    came = play(TWICE, "{answers: {ev: {}}}")
    assert "event has no" in str(came.refused)
    strict = program(cli("a"), inputs={"required": ["x"]})
    came = play(strict, "{}")
    assert (came.run, "do not fit" in str(came.refused)) == (None, True)


def test_variables_that_are_declared_are_given() -> None:
    made = program(end("e", result="${env.A} ${env.B}"), env=["A", "B"])
    assert result(play(made, "{env: {A: x, B: 3}}")) == "x 3"
    assert "names it: B" in str(play(made, "{env: {A: x}}").refused)


def test_a_question_that_nobody_answers_in_time() -> None:
    made = program(
        ask("q", timeout_seconds=9, on_timeout={"next": "late"}), end("e"), end("late", result="late")
    )
    assert result(play(made, "{answers: {q: {times_out: true}}}")) == "late"
    endless = program(ask("q"))
    gap = "q has no `timeout_seconds`, so that it cannot time out"
    assert tell(endless, "{answers: {q: {times_out: true}}}") == [gap]
    assert tell(program(cli("a")), "{steps: {a: {times_out: true}}}")[0].startswith(
        "a: it has no `timeout_sec"
    )


def test_time_passes_in_its_order() -> None:
    """One question is late before another step is tried again, and a third is answered after its time."""
    made = program(
        parallel(
            "p",
            branch("one", cli("a", retry={"max_attempts": 2, "backoff_seconds": 60, "strategy": "fixed"})),
            branch("two", ask("q", timeout_seconds=9, on_error="continue")),
            branch("three", ask("r", timeout_seconds=99, on_error="continue"), cli("after")),
        )
    )
    came = play(
        made, "{steps: {a: [{exit_code: 1}, {}]}, answers: {q: {times_out: true}, r: {times_out: true}}}"
    )
    assert came.run is not None
    assert came.run.updated_at == "2026-01-01T00:01:39.000Z"
    came = play(made, "{steps: {a: [{exit_code: 1}, {}]}, answers: {q: {times_out: true}}}")
    assert came.run is not None
    assert (came.run.status, came.run.updated_at) == ("waiting", "2026-01-01T00:01:00.000Z")


def test_somebody_cancels_the_run_at_a_step() -> None:
    made = program(cli("a"), ask("q"), cli("b"), **{"finally": [cli("c")]})
    assert (
        tell(made, "{cancel: a, expect: {status: cancelled, never: [b], commands: {a: 'true', c: 'true'}}}")
        == []
    )
    assert tell(made, "{cancel: q, expect: {status: cancelled, path: [a, q, '@finally/c']}}") == []
    assert tell(program(ask("q")), "{cancel: q, expect: {status: cancelled}}") == []
    assert tell(made, "{cancel: b, answers: {q: {}}}")[:2] == ["status", "- completed"]
    made = program(cli("a"), switch("s", (True, "e")), end("e"), cli("b"))
    assert tell(made, "{cancel: b}") == [
        "cancel",
        "- cancel",
        "+ the run came to nothing that this is said of",
    ]


def test_of_two_questions_with_one_deadline_one_may_be_answered() -> None:
    made = program(
        parallel("p", branch("a", ask("q", timeout_seconds=9, on_error="continue")),
                 branch("b", ask("r", timeout_seconds=9))),
    )  # fmt: skip
    assert tell(made, "{answers: {q: {times_out: true}, r: {x: 1}}}") == []


# What a test does not say


def test_of_a_step_that_nobody_reads_nothing_need_be_said() -> None:
    made = program(cli("a"), end("e", result={"code": "${steps.a.exit_code}"}))
    assert result(play(made, "{}")) == {"code": 0}


def test_what_is_read_and_not_said_is_told_with_what_to_write() -> None:
    made = program(cli("a"), end("e", result="${steps.a.outputs.url}"))
    assert tell(made, "{}") == [
        "the outputs of a are looked at, and the test does not say them "
        "(write under `steps`: a: {outputs: {url: …}})"
    ]
    made = program(cli("a"), switch("s", ("steps.a.outputs", "e")), end("e"))
    assert "{outputs: {…: …}}" in tell(made, "{}")[0]
    assert tell(ONE, "{inputs: {v: 1}}") == [
        "the outputs of build are looked at, and the test does not say them "
        "(write under `steps`: build: {outputs: {url: …}})"
    ]


def test_what_a_schema_may_lack_need_not_be_said() -> None:
    made = program(
        cli("a", outputs={"properties": {"x": {}}}), end("e", result="${default(steps.a.outputs.x, 1)}")
    )
    assert result(play(made, "{}")) == 1


def test_text_and_headers_that_are_read_must_be_said() -> None:
    made = program(cli("a"), end("e", result="${steps.a.stdout}"))
    assert tell(made, "{}")[0].endswith("(write under `steps`: a: {stdout: …})")
    made = program(api("a"), end("e", result="${steps.a.headers.x}"))
    assert tell(made, "{inputs: {v: 1}}")[0].startswith("the headers of a are looked at")


def test_an_unsaid_output_of_a_branch_is_looked_at_through_the_block() -> None:
    made = program(parallel("p", branch("b", cli("a"))), end("e", result="${steps.p.outputs.b.a.passed}"))
    assert "the outputs of p[b]/a are looked at" in tell(made, "{}")[0]


# What it says to no use


def test_what_is_said_to_no_use_is_told() -> None:
    made = program(cli("a"), ask("q"), end("e"), cli("b"))
    assert tell(made, "{steps: {a: [{}, {}], b: {}}, answers: {q: [{}, {}, {}]}}") == [
        "steps.a (1 of 2)", "- steps.a (1 of 2)", "+ the run came to nothing that this is said of",
        "steps.b", "- steps.b", "+ the run came to nothing that this is said of",
        "answers.q (2 of 3)", "- answers.q (2 of 3)", "+ the run came to nothing that this is said of",
    ]  # fmt: skip


def test_equal_tests_come_to_equal_facts() -> None:
    said = "{inputs: {v: 1}, steps: {build: {outputs: {url: u}}}}"
    assert play(ONE, said).facts == play(ONE, said).facts
    assert case_of(said) == case_of(said)


def test_outcomes_are_those_of_drivers() -> None:
    """What a step says although it fails can be read as after a real one."""
    made = program(
        cli("a", on_error="continue"), end("e", result="${steps.a.outputs.x} ${steps.a.error.code}")
    )
    assert result(play(made, "{steps: {a: {exit_code: 1, outputs: {x: 1}}}}")) == "1 ERR_STEP_FAILED"
    assert isinstance(Failure, type)
