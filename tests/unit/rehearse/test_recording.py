"""A run as a test, which passes: what went in, what steps came to, what was answered; nothing volatile."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET, convert

from checkpointflow.documents.program import Program
from checkpointflow.documents.yaml import parse
from checkpointflow.engine.actions import Error, Failure, StoredFile, Success
from checkpointflow.engine.messages import Interrupt
from checkpointflow.rehearse.fixtures import Case
from checkpointflow.rehearse.junit import tell
from checkpointflow.rehearse.reading import check_fixture, decode_fixture
from checkpointflow.rehearse.recording import MAX_HEAD, MAX_TEXT, record
from checkpointflow.rehearse.rehearsal import RUN_ID, rehearse
from checkpointflow.rehearse.verdict import judge
from checkpointflow.rehearse.writing import write_block, write_flow, write_tests
from tests.helpers import Story, ask, cli, end, foreach, switch

PLACE = "/home/me/.checkpointflow/runs/R1"


def recorded(story: Story, *, cuts: bool = True) -> dict[str, Any]:
    """The test that is made of *story*, which passes."""
    test = record(story.workflow, story.facts).make_test("t", PLACE, cuts=cuts)
    fixture, source = decode_fixture(write_tests([test], "w.yaml").encode())
    assert fixture.tests[0] == convert(test, Case)
    assert check_fixture(fixture, source, story.workflow) == []
    assert tell(judge(fixture.tests[0], rehearse(story.workflow, fixture.tests[0]))) == []
    return test


def test_what_steps_come_to_and_what_is_answered() -> None:
    story = Story(
        cli("a", "make ${inputs.v}", retry={"max_attempts": 2, "backoff_seconds": 0}),
        ask("q", transitions=[{"when": True, "next": "e"}]),
        end("e", result="${steps.a.outputs.x} ${steps.q.outputs.y}"),
        inputs={"v": 1},
    )
    story.fail("a").succeed("a", {"x": 2}, attempt=2).deliver("q", {"y": 3})
    failure = {"fails": {"code": "ERR_STEP_FAILED", "message": "no"}, "exit_code": 1}
    assert recorded(story) == {
        "name": "t",
        "inputs": {"v": 1},
        "steps": {"a": [failure, {"outputs": {"x": 2}}]},
        "answers": {"q": {"y": 3}},
        "expect": {"result": "2 3", "path": ["a", "q", "e"], "commands": {"a": "make 1"}},
    }  # fmt: skip


def test_a_run_that_waits_and_one_that_has_no_result() -> None:
    assert recorded(Story(ask("q")))["expect"] == {"waiting_for": "q_event", "path": ["q"]}
    assert recorded(Story(cli("a")).succeed("a"))["expect"]["status"] == "completed"
    under_way = record(Story(cli("a")).workflow, Story(cli("a")).facts).make_test("t", PLACE, cuts=True)
    assert under_way["expect"]["status"] == "waiting"


@pytest.mark.parametrize(
    ("error", "said", "play"),
    [
        (Error("ERR_STEP_FAILED", "the command ended with exit code 3: oh", exit_code=3), {},
         {"exit_code": 3, "stderr": "oh"}),
        (Error("ERR_STEP_FAILED", "the command ended with exit code 3", exit_code=3), {}, {"exit_code": 3}),
        (Error("ERR_TIMEOUT", "it took longer than 5 seconds"), {}, {"times_out": True}),
        (Error("ERR_TIMEOUT", "no answer"), {}, {"fails": {"code": "ERR_TIMEOUT", "message": "no answer"}}),
        (Error("ERR_X", "oh", details=[1]), {},
         {"fails": {"code": "ERR_X", "message": "oh", "details": [1]}}),
        (Error("ERR_X", "oh"), {"outputs": {"x": 1}},
         {"fails": {"code": "ERR_X", "message": "oh"}, "outputs": {"x": 1}}),
    ],
)  # fmt: skip
def test_failures(error: Error, said: dict[str, Any], play: dict[str, Any]) -> None:
    story = Story(cli("a", timeout_seconds=5)).report("a", Failure(error, **said))
    test = recorded(story)
    assert (test["steps"], test["expect"]["error"]) == ({"a": play}, {"code": error.code, "step": "a"})


def test_a_step_that_fails_by_itself() -> None:
    test = recorded(Story(switch("s", (False, "e")), end("e")))
    assert test["expect"]["error"] == {"code": "ERR_NO_TRANSITION", "step": "s"}
    assert test.keys() == {"name", "expect"}


def test_outputs_that_do_not_fit() -> None:
    story = Story(cli("a", outputs={"required": ["x"]})).succeed("a", {"y": 1})
    assert recorded(story)["steps"] == {"a": {"outputs": {"y": 1}}}


def test_a_run_may_fail_as_a_whole() -> None:
    story = Story(cli("a"), outputs={"required": ["x"], "properties": {"x": {"from": "steps.a.outputs.x"}}})
    assert recorded(story.succeed("a"))["expect"]["error"] == {"code": "ERR_STEP_OUTPUT_INVALID"}


def test_what_is_printed_and_left_behind_and_codes() -> None:
    artifacts = [{"name": "app", "path": "a"}]
    story = Story(
        cli("a", success={"exit_codes": [0, 3]}, artifacts=artifacts),
        {"id": "b", "kind": "api", "url": "https://example.com"},
        end("e", result="${steps.a.stdout} ${steps.a.exit_code} ${steps.b.headers.x} ${steps.b.status_code}"),
    )
    file = StoredFile(path="artifacts/a/app", size=1, sha256="0" * 64)
    story.report("a", Success(exit_code=3, stdout="hi", artifacts={"app": file}))
    story.report("b", Success(outputs={}, status_code=201, headers={"x": "y"}))
    assert recorded(story)["steps"] == {
        "a": {"exit_code": 3, "artifacts": ["app"], "stdout": "hi"},
        "b": {"outputs": {}, "status_code": 201, "headers": {"x": "y"}},
    }


def test_a_question_that_nobody_answers_in_time_and_answers_that_are_lists() -> None:
    story = Story(
        ask("q", timeout_seconds=5, on_timeout={"next": "r"}), ask("r", input_schema={"type": "array"})
    )
    story.tick(9)
    story.recover().deliver("r", [1])
    assert recorded(story)["answers"] == {"q": {"times_out": True}, "r": [[1]]}
    assert "answers" not in recorded(Story(ask("q", **{"if": "inputs.x"})))


def test_steps_of_bodies_are_named_by_their_paths_and_only_the_root_has_an_order() -> None:
    story = Story(foreach("each", [1, 2], cli("x"), max_concurrency=2))
    story.succeed("each[1]/x", {"v": 1}).succeed("each[0]/x")
    test = recorded(story)
    assert test["steps"] == {"each[1]/x": {"outputs": {"v": 1}}, "each[0]/x": {"outputs": {}}}
    assert test["expect"]["path"] == ["each"]


def test_a_run_that_was_cancelled() -> None:
    cleaned = Story(cli("a"), ask("q"), **{"finally": [cli("c")]}).succeed("a").cancel().succeed("@finally/c")
    assert recorded(cleaned)["expect"]["status"] == "cancelled"
    assert recorded(cleaned)["cancel"] == "q"
    assert recorded(Story(cli("a")).cancel())["cancel"] == "a"


def test_what_was_tried_again_after_a_failure_or_a_crash_is_told_as_it_came_out() -> None:
    from checkpointflow.engine.messages import Retry

    story = Story(cli("a"), cli("b")).fail("a")
    story.hear(Retry(now=story.tick())).succeed("a", {"x": 1}, attempt=2)
    story.hear(Interrupt(now=story.tick())).recover().deliver("b", {"outcome": "succeeded", "outputs": {}})
    test = recorded(story)
    assert test["steps"] == {"a": {"outputs": {"x": 1}}, "b": {"outputs": {}}}
    assert "answers" not in test


# What changes from run to run, and what is long


def test_ids_places_and_moments_are_replaced_or_patterns() -> None:
    story = Story(cli("a", "echo ${run.id}"), end("e", result={"at": "${steps.a.outputs.at}", "n": 1}))
    story.succeed("a", {"at": f"{PLACE}/x (R1) 2026-11-27T10:00:00.123Z."})
    test = recorded(story)
    assert test["steps"]["a"]["outputs"]["at"] == f"/run/x ({RUN_ID}) 2026-11-27T10:00:00.123Z."
    pattern = r"^\S*/x \([0-9A-Z]{26}\) \d{4}-\d\d-\d\d[T ][0-9:.]+(Z|[+-]\d\d:?\d\d)?\.$"
    assert test["expect"]["result"] == {"at": {"matches": pattern}, "n": 1}
    assert test["expect"]["commands"] == {"a": {"matches": "^echo [0-9A-Z]{26}$"}}


def test_long_texts_are_cut_with_a_note() -> None:
    text = "x" * (MAX_TEXT + 1)
    story = Story(cli("a"), end("e", result=["${steps.a.outputs.t}"])).succeed("a", {"t": text})
    test = recorded(story)
    assert test["steps"]["a"]["outputs"]["t"] == f"{text[:MAX_HEAD]}… (the first 200 of 501 characters)"
    assert test["expect"]["result"] == [{"matches": "^" + text[:MAX_HEAD]}]
    assert recorded(story, cuts=False)["expect"]["result"] == [text]


# Writing


@pytest.mark.parametrize(
    "value",
    [
        {"a": "it's", "b": 'say "hi"', "c": "1", "d": "null", "e": "", "f": "-", "g": "# no", "h": "a: b"},
        {
            "a": "one\ntwo\n",
            "b": "one\n\n  two",
            "c": " one\ntwo",
            "d": "one \ntwo",
            "e": "a\tb\n",
            "f": "é\nf",
        },
        {
            "long": ["x" * 60, {"y": "z" * 60, "u": [], "v": {}}, [["w" * 110], 1]],
            "m": {"n": {"o": "p" * 99}},
        },
        {"\x7f\x85\u2028": "\x9f\ufeff\U0001f600", "each[1]/a@2": True, "@x": None, "…": 1.5},
        {"a": ".inf", "b": "~", "c": "/usr/bin", "d": "TRUE", "e": "x ", "f": "%a"},
    ],
)
def test_what_is_written_is_read_back(value: Any) -> None:
    assert parse("\n".join(write_block(value)).encode()).value == value
    assert parse(write_flow(value).encode()).value == value


def test_a_text_of_several_lines_stands_as_it_is() -> None:
    lines = list(write_block({"a": "one\n\n  two", "b": "x\ny\n"}))
    assert lines == ["a: |-", "  one", "", "    two", "b: |", "  x", "  y"]


def test_nothing_is_unset() -> None:
    assert UNSET not in recorded(Story(end("e"))).values()
    assert isinstance(Story(end("e")).workflow, Program)
