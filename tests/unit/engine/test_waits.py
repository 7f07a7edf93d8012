"""Waiting for an event, and what an event must be to be taken."""

from __future__ import annotations

import pytest

from checkpointflow.errors import (
    EvaluationError,
    InvalidEvent,
    NoTransition,
    RunNotWaiting,
    WaitExpired,
)
from tests.helpers import Story, ask, cli, end

YES_OR_NO = {"type": "object", "required": ["y"], "properties": {"y": {"type": "boolean"}}}
ARMS = [{"when": '${event.y == "true"}', "next": "yes"}]


def asking(**more: object) -> Story:
    return Story(ask("q", **more), cli("yes"), end("no"))


def test_a_wait_stops_the_run() -> None:
    story = asking()
    assert (story.run.status, story.waiting, story.pending) == ("waiting", ["q"], [])


def test_the_texts_of_a_wait_are_interpolated() -> None:
    story = Story(
        ask("q", prompt="Ship ${inputs.v}?", summary="v${inputs.v}", instructions="x", risk_level="high"),
        inputs={"v": 3},
    )
    wait = story.run.steps["q"].wait
    assert (wait.prompt, wait.summary, wait.instructions, wait.risk_level) == ("Ship 3?", "v3", "x", "high")


@pytest.mark.parametrize("field", ["prompt", "summary", "instructions"])
def test_a_value_in_a_text_is_expanded_once(field: str) -> None:
    story = Story(ask("q", **{field: "a ${inputs.x}"}), inputs={"x": "${run.id}"})
    assert getattr(story.run.steps["q"].wait, field) == "a ${run.id}"


def test_a_text_without_a_value_fails_the_step() -> None:
    assert asking(prompt="${inputs.none}").run.status == "failed"


def test_the_payload_becomes_the_outputs() -> None:
    assert asking().deliver("q", {"y": 1}).run.steps["q"].outputs == {"y": 1}


def test_the_payload_is_never_expanded() -> None:
    payload = {"y": ["${run.id}"]}
    assert asking().deliver("q", payload).run.steps["q"].outputs == payload


def test_an_event_leads_where_its_transition_says() -> None:
    story = asking(transitions=[{"when": "not event.y", "next": "no"}, *ARMS])
    assert story.deliver("q", {"y": False}).run.status == "completed"


def test_without_transitions_next_rules() -> None:
    assert asking(next="no").deliver("q", {}).run.status == "completed"


def test_without_either_the_following_step_comes() -> None:
    assert asking().deliver("q", {}).pending == ["yes"]


@pytest.mark.parametrize(
    ("payload", "error"),
    [({}, InvalidEvent), ({"y": 1}, InvalidEvent), ({"y": False}, NoTransition)],
)
def test_a_rejected_event_changes_nothing(payload: object, error: type[Exception]) -> None:
    story = asking(input_schema=YES_OR_NO, transitions=ARMS)
    before = story.run
    with pytest.raises(error):
        story.deliver("q", payload)
    assert story.run is before
    assert story.deliver("q", {"y": True}).pending == ["yes"]


def test_a_transition_without_a_value_rejects_the_event() -> None:
    with pytest.raises(EvaluationError):
        asking(transitions=[{"when": "event.none", "next": "no"}]).deliver("q", {})


def test_an_event_is_taken_once() -> None:
    story = asking().deliver("q", {})
    with pytest.raises(RunNotWaiting):
        story.deliver("q", {})


def test_a_wait_may_have_a_deadline() -> None:
    assert asking(timeout_seconds=90).run.steps["q"].wait.timeout_at == "2026-01-01T00:01:30.000Z"


def test_an_event_before_the_deadline_is_taken() -> None:
    assert asking(timeout_seconds=90).deliver("q", {}).pending == ["yes"]


def test_an_event_after_the_deadline_is_refused_even_if_nobody_took_the_time_out() -> None:
    story = asking(timeout_seconds=90)
    story.tick(100)
    with pytest.raises(WaitExpired):
        story.deliver("q", {})


def test_a_wait_whose_time_is_up_goes_where_on_timeout_says() -> None:
    story = asking(timeout_seconds=90, on_timeout={"next": "no"})
    assert story.recover().run.status == "waiting"
    story.tick(89)
    assert story.recover().run.status == "completed"
    assert story.run.steps["q"].error.code == "ERR_TIMEOUT"


def test_without_on_timeout_the_wait_fails() -> None:
    story = asking(timeout_seconds=1).recover()
    assert (story.run.status, story.error.code, story.error.step_id) == ("failed", "ERR_TIMEOUT", "q")
