"""Not knowing: what was under way when a driver died may or may not have happened."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from checkpointflow.engine.soundness import find_unsound
from checkpointflow.errors import InvalidEvent, RunNotWaiting
from tests.helpers import Story, ask, cli

OUTPUTS = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


def test_with_attempts_left_it_runs_again_under_the_same_key() -> None:
    story = Story(cli("a", retry={"max_attempts": 2}))
    key = story.run.steps["a"].action.idempotency_key
    action = story.recover().run.steps["a"].action
    assert (action.attempt, action.idempotency_key) == (2, key)


def test_an_idempotent_step_runs_again_whatever_its_attempts() -> None:
    story = Story(cli("a", idempotent=True)).recover().recover()
    assert story.run.steps["a"].action.attempt == 3


def test_anything_else_is_asked_about() -> None:
    story = Story(cli("a", risk_level="high")).recover()
    assert (story.run.status, story.waiting, story.pending) == ("waiting", ["a"], [])
    wait = story.run.steps["a"].wait
    assert (wait.event_name, wait.in_doubt.attempt, wait.risk_level) == ("step_outcome", 1, "high")
    assert story.run.steps["a"].started_at == story.run.started_at


def test_the_question_is_asked_once() -> None:
    assert Story(cli("a")).recover().recover().new == []


def test_retry_runs_it_again() -> None:
    story = Story(cli("a")).recover().deliver("a", {"outcome": "retry"})
    assert story.run.steps["a"].action.attempt == 2


def test_succeeded_goes_on_with_the_outputs_given() -> None:
    story = Story(cli("a", outputs=OUTPUTS), cli("b")).recover()
    story.deliver("a", {"outcome": "succeeded", "outputs": {"n": 1}})
    assert (story.run.steps["a"].outputs, story.pending) == ({"n": 1}, ["b"])


def test_succeeded_without_a_schema_needs_no_outputs() -> None:
    assert Story(cli("a")).recover().deliver("a", {"outcome": "succeeded"}).run.status == "completed"


@pytest.mark.parametrize(
    "answer",
    [
        {"outcome": "succeeded"},
        {"outcome": "succeeded", "outputs": {"n": "x"}},
        {"outcome": "retry", "outputs": {"n": 1}},
        {"outcome": "maybe"},
        {},
        {"outcome": "retry", "x": 1},
    ],
)
def test_an_answer_that_does_not_fit_changes_nothing(answer: object) -> None:
    story = Story(cli("a", outputs=OUTPUTS)).recover()
    before = story.run
    with pytest.raises(InvalidEvent):
        story.deliver("a", answer)
    assert story.run is before


def test_failed_fails_the_step_with_its_policy() -> None:
    story = Story(cli("a", on_error="continue"), cli("b")).recover().deliver("a", {"outcome": "failed"})
    assert (story.run.steps["a"].error.code, story.pending) == ("ERR_STEP_FAILED", ["b"])


# Whoever was thought dead reports after all


def test_a_late_outcome_settles_a_doubt_as_if_it_had_come_in_time() -> None:
    steps = cli("a", outputs=OUTPUTS), cli("b")
    in_time = Story(*steps).succeed("a", {"n": 1}, stdout="1")
    story = Story(*steps).recover().succeed("a", {"n": 1}, stdout="1")
    ended = {"ended_at": story.now}
    assert story.run.steps["a"] == replace(in_time.run.steps["a"], **ended)
    assert (story.pending, story.waiting, story.run.answers) == (["b"], [], {})
    kinds = ["RunBegan", "StepStarted", "WaitOpened", "StepSucceeded", "StepStarted"]
    assert [type(fact).__name__ for fact in story.facts] == kinds
    assert story.replayed() == story.run
    assert find_unsound(story.workflow, story.run) is None


def test_a_late_failure_fails_the_step_with_its_policy() -> None:
    story = Story(cli("a", on_error="continue", retry={"max_attempts": 2}), cli("b"))
    story.recover().recover().fail("a", attempt=2)
    assert (story.run.steps["a"].error.exit_code, story.run.steps["a"].attempts) == (1, 2)
    assert story.pending == ["b"]


def test_late_outputs_that_do_not_fit_fail_the_step() -> None:
    story = Story(cli("a", outputs=OUTPUTS)).recover().succeed("a", {"n": "x"})
    assert (story.run.status, story.error.step_id) == ("failed", "a")


def test_a_late_outcome_of_an_attempt_that_was_given_up_falls_away() -> None:
    assert Story(cli("a", retry={"max_attempts": 2})).recover().recover().succeed("a").new == []
    assert Story(cli("a")).recover().deliver("a", {"outcome": "retry"}).succeed("a").new == []
    assert Story(cli("a")).recover().deliver("a", {"outcome": "failed"}).succeed("a").new == []
    assert Story(cli("a")).recover().cancel().succeed("a").new == []
    assert Story(ask("a")).succeed("a").new == [], "no attempt of it is in doubt"
    assert Story(cli("a")).recover().sleep("a", 1).new == [], "it was no pause"


def test_once_a_late_outcome_came_nobody_else_is_heard() -> None:
    story = Story(cli("a"), cli("b")).recover().succeed("a")
    assert story.succeed("a").new == []
    with pytest.raises(RunNotWaiting):
        story.deliver("a", {"outcome": "succeeded"})


def test_a_pause_between_attempts_is_cut_short() -> None:
    story = Story(cli("a", retry={"max_attempts": 2, "backoff_seconds": 60})).fail("a").recover()
    assert story.run.steps["a"].action.attempt == 2
    assert story.pending == ["a"]


def test_an_interrupted_step_is_no_longer_pending() -> None:
    story = Story(cli("a")).interrupt()
    assert (story.pending, story.run.status) == ([], "running")
    assert story.run.steps["a"].on_hold == "interrupted"


def test_a_result_that_came_too_late_for_an_interrupt_falls_away() -> None:
    assert Story(cli("a")).interrupt().succeed("a").new == []


def test_from_an_interrupt_the_same_rule_holds() -> None:
    assert Story(cli("a")).interrupt().recover().run.status == "waiting"
    assert Story(cli("a", idempotent=True)).interrupt().recover().pending == ["a"]


def test_finished_steps_are_left_alone() -> None:
    story = Story(cli("a"), ask("q")).succeed("a")
    assert story.recover().new == []


def test_a_finished_run_is_left_alone() -> None:
    assert Story(cli("a")).succeed("a").recover().new == []


def test_a_cancelled_run_is_left_alone() -> None:
    story = Story(cli("a")).cancel("enough")
    assert (story.run.status, story.run.outcome.reason, story.pending) == ("cancelled", "enough", [])
    assert story.recover().new == []
    assert story.cancel().new == []


def test_a_cancelled_run_waits_no_more() -> None:
    assert Story(ask("q")).cancel().waiting == []


def test_a_run_that_has_ended_cannot_be_cancelled() -> None:
    with pytest.raises(RunNotWaiting, match="nothing to cancel"):
        Story(cli("a")).succeed("a").cancel()
