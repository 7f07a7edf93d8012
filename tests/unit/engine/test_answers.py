"""Which wait an answer is for, and that an answer said again counts once."""

from __future__ import annotations

from typing import Any

import pytest

from checkpointflow.engine.answers import Answer, find_wait
from checkpointflow.engine.facts import EventTaken, digest_answer
from checkpointflow.engine.run import Given
from checkpointflow.errors import AnsweredOtherwise, EventMismatch, RunNotWaiting
from tests.helpers import Story, ask, branch, cli, end, parallel

AGAIN = [{"when": "event.again == true", "next": "q"}, {"when": "event.again == false", "next": "e"}]
YES, NO = {"again": True}, {"again": False}


def asking(**more: object) -> Story:
    return Story(ask("q", transitions=AGAIN, **more), end("e"))


def find(story: Story, payload: Any = YES, **named: Any) -> str | None:
    return find_wait(story.run, Answer(payload=payload, **named), lambda: story.facts)


def test_an_answer_finds_the_step_that_waits_for_it() -> None:
    assert find(asking()) == "q"
    assert find(asking(), event="q_event") == "q"
    assert find(asking(), event="q_event", step="q") == "q"


def test_another_event_is_refused_with_what_is_waited_for() -> None:
    with pytest.raises(
        EventMismatch, match="does not wait for the event q_evnt; it waits for q_event at q; did"
    ):
        find(asking(), event="q_evnt")


def test_another_step_or_attempt_is_refused() -> None:
    with pytest.raises(EventMismatch, match="does not wait at yes;"):
        find(asking(), step="yes")
    with pytest.raises(EventMismatch, match="does not wait for an answer about attempt 2;"):
        find(asking(), attempt=2)


def test_a_run_that_does_not_wait_takes_no_event() -> None:
    with pytest.raises(RunNotWaiting, match="is running"):
        find_wait(Story(cli("a")).run, Answer(payload={}, event="q_event"))


def test_two_steps_that_wait_for_the_same_event_must_be_told_apart() -> None:
    both = Story(
        parallel("p", branch("a", ask("x", event_name="ok")), branch("b", ask("y", event_name="ok")))
    )
    with pytest.raises(
        EventMismatch, match=r"wait for the event ok: p\[a\]/x, p\[b\]/y; choose one with --step"
    ):
        find(both)
    assert find(both, step="p[b]/y") == "p[b]/y"


def test_two_events_must_be_told_apart() -> None:
    both = Story(parallel("p", branch("a", ask("x")), branch("b", ask("y"))))
    with pytest.raises(EventMismatch, match="name the event with --event; the run waits for x_event at"):
        find(both)
    assert find(both, event="y_event") == "p[b]/y"


def test_an_answer_said_again_is_not_the_next_visits() -> None:
    story = asking().deliver("q", YES)
    assert story.waiting == ["q@2"]
    assert find(story) is None
    assert find(story, event="q_event") is None
    assert find(story, step="q") is None


def test_the_next_visit_is_answered_alike_where_it_is_named() -> None:
    story = asking().deliver("q", YES)
    assert find(story, step="q@2") == "q@2"
    assert find(story, NO) == "q@2"


def test_an_older_visit_answered_again_is_remembered() -> None:
    story = asking().deliver("q", YES).deliver("q@2", YES).deliver("q@3", NO)
    assert story.run.status == "completed"
    assert [find(story, YES, step="q"), find(story, YES, step="q@2"), find(story, NO)] == [None, None, None]


@pytest.mark.parametrize("named", [{"step": "q"}, {"step": "q@2"}])
def test_another_answer_to_what_was_answered_is_refused(named: dict[str, str]) -> None:
    story = asking().deliver("q", YES).deliver("q@2", YES)
    with pytest.raises(
        AnsweredOtherwise, match=f"q_event at {named['step']} was answered otherwise"
    ) as refused:
        find(story, NO, **named)
    assert refused.value.details == {"step": named["step"], "event_name": "q_event", "answer": YES}


def test_another_answer_than_the_last_is_refused_where_nothing_waits() -> None:
    story = asking().deliver("q", YES).deliver("q@2", NO)
    with pytest.raises(AnsweredOtherwise, match="q_event at q@2"):
        find(story, YES)


def test_the_order_of_members_makes_no_other_answer() -> None:
    assert digest_answer({"a": 1, "b": 2}) == digest_answer({"b": 2, "a": 1})
    assert digest_answer({"a": 1, "b": 2}) != digest_answer({"a": 2, "b": 2})


def test_a_doubt_about_another_attempt_is_another_question() -> None:
    story = Story(cli("pay"), end("e")).recover()
    retry = {"outcome": "retry"}
    assert find(story, retry, step="pay", attempt=1) == "pay"
    story.deliver("pay", retry).recover()
    assert story.waiting == ["pay"]
    assert find(story, retry, step="pay", attempt=1) is None
    assert find(story, retry, attempt=1) is None
    assert find(story, retry) is None
    assert find(story, retry, step="pay") == find(story, retry, attempt=2) == "pay"
    assert find(story, {"outcome": "failed"}, step="pay") == "pay"


def test_the_last_answer_to_each_event_is_kept() -> None:
    story = asking().deliver("q", YES).deliver("q@2", NO)
    assert story.run.answers == {"q_event": Given(step="q@2", digest=digest_answer(NO))}
    assert next(fact for fact in story.facts if isinstance(fact, EventTaken)).payload == YES
