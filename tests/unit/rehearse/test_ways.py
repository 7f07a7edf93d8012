"""Ways that are found by exploring, as tests: they come to the same, here and in earnest."""

from __future__ import annotations

from typing import Any

from hypothesis import event, given
from msgspec import to_builtins

from checkpointflow.documents.program import Program
from checkpointflow.explore.findings import Exploration, Way
from checkpointflow.explore.verdict import explore
from checkpointflow.rehearse.junit import tell
from checkpointflow.rehearse.reading import check_fixture, decode_fixture
from checkpointflow.rehearse.rehearsal import rehearse
from checkpointflow.rehearse.verdict import judge
from checkpointflow.rehearse.ways import make_test, write_ways
from tests.helpers import ask, cli, end, program
from tests.unit.explore.test_all_ways import CALLED, INPUTS, endings, lists

MAX_STATES = 2000


def list_failures(made: Program, found: Exploration) -> list[str]:
    """What differs in the tests that are made of what was *found*."""
    data = write_ways(made, to_builtins(found), None).encode()
    if b"- name" not in data:
        return []
    fixture, source = decode_fixture(data)
    assert check_fixture(fixture, source, made) == []
    return [line for case in fixture.tests for line in tell(judge(case, rehearse(made, case)))]


@given(lists(), endings())
def test_each_way_comes_to_the_end_that_was_told(
    document: list[dict[str, Any]], ending: dict[str, Any]
) -> None:
    made = program(*document, inputs=INPUTS, called=CALLED, env=["E"], **ending)
    found = explore(made, most=MAX_STATES)
    event(f"ends: {min(len(found.endings), 5)}")
    assert list_failures(made, found) == []


REVIEW = ask(
    "review",
    input_schema={"required": ["ok"], "properties": {"ok": {"enum": ["yes", "no", "never"]}}},
    transitions=[{"when": 'event.ok == "yes"', "next": "go"}, {"when": 'event.ok == "no"', "next": "no"}],
    timeout_seconds=9,
    on_timeout={"next": "no"},
)
HOUSE = program(REVIEW, cli("go", on_error={"next": "no"}), end("yes", result={"v": 1}), end("no"))


def test_ends_and_mistakes_are_tests_that_pass() -> None:
    found = explore(HOUSE)
    assert list_failures(HOUSE, found) == []
    text = write_ways(HOUSE, to_builtins(found), "house.yaml")
    assert "workflow: house.yaml\n" in text
    assert "  - name: 'completed, {v: 1}'\n" in text
    assert "  - name: completed\n" in text
    assert "    answers: {review: {ok: 'no'}}\n" in text
    assert "    expect: {refused: no transition of review holds for this event}\n" in text


def test_a_run_that_fails_and_ways_of_one_name() -> None:
    made = program(cli("a", outputs={"enum": [{"x": "long" * 40}, {"x": "long" * 41}]}),
                   end("e", result="${steps.a.outputs.x}"))  # fmt: skip
    text = write_ways(made, to_builtins(explore(made)), None)
    assert "    expect: {error: {code: ERR_STEP_FAILED, step: a}}\n" in text
    assert "… (2)'\n" in text
    assert "workflow:" not in text


def test_what_no_test_can_say_is_named() -> None:
    loop = program(cli("a", on_error={"next": "a"}, outputs={"required": ["x"]}), end("e"))
    text = write_ways(loop, to_builtins(explore(loop)), None)
    assert "# no test can say: doubt: a, it can go on for ever, and nobody is asked\n" in text
    killed = Way(inputs={}, events=({"step": "a", "what": "crashes"},))
    assert make_test(HOUSE, "t", killed, {}) is None


def test_an_answer_that_is_a_list_is_one_answer() -> None:
    way = Way(inputs={}, events=({"step": "q", "what": "answered", "answer": [1]},))
    assert make_test(HOUSE, "t", way, {}) == {"name": "t", "answers": {"q": [[1]]}, "expect": {}}


def test_a_question_that_nobody_answers_is_said_so() -> None:
    waits = program(ask("q", timeout_seconds=9, on_timeout={"next": "late"}), end("e"), end("late", result=1))
    assert list_failures(waits, explore(waits)) == []
    assert "    answers: {q: {times_out: true}}\n" in write_ways(waits, to_builtins(explore(waits)), None)


def test_a_run_that_is_cancelled_is_so_at_the_step_that_was_next() -> None:
    made = program(cli("a"), ask("q"), **{"finally": [cli("c", outputs={"required": ["ok"]})]})
    assert list_failures(made, explore(made)) == []
    text = write_ways(made, to_builtins(explore(made)), None)
    assert "  - name: cancelled\n    cancel: a\n" in text
    assert "    expect: {status: cancelled}\n" in text


def test_what_stands_on_no_way_is_no_test() -> None:
    idle = program(end("e"), cli("never"))
    assert "never" not in write_ways(idle, to_builtins(explore(idle)), None)


def test_a_run_may_fail_as_a_whole() -> None:
    made = program(
        cli("a", **{"if": "inputs.v"}),
        inputs={"required": ["v"], "properties": {"v": {"type": "boolean"}}},
        outputs={"required": ["x"], "properties": {"x": {"from": "steps.a.outputs.x"}}},
    )
    assert list_failures(made, explore(made)) == []
