"""Doing again what failed, or an earlier step and all that came after it."""

from __future__ import annotations

import pytest

from checkpointflow.engine.messages import Retry
from checkpointflow.errors import NotRetryable
from tests.helpers import Story, ask, branch, call, cli, foreach, parallel, program, switch


def again(story: Story, path: str | None = None) -> Story:
    return story.hear(Retry(now=story.tick(), path=path))


def test_the_failed_step_is_tried_once_more_under_the_same_key() -> None:
    story = Story(cli("a"), cli("b"), cli("c")).succeed("a").fail("b")
    key = story.facts[-3].action.idempotency_key if hasattr(story.facts[-3], "action") else None
    again(story)
    assert (story.run.status, story.pending) == ("running", ["b"])
    action = story.run.steps["b"].action
    assert (action.attempt, action.idempotency_key) == (2, key or "R1:b")
    assert story.succeed("b", attempt=2).pending == ["c"]


def test_an_earlier_step_is_done_anew_with_all_that_came_after_it() -> None:
    story = Story(cli("a"), cli("b"), cli("c")).succeed("a", {"n": 1}).succeed("b").fail("c")
    again(story, "b")
    assert (story.pending, list(story.run.steps)) == (["b@2"], ["a", "b@2"])
    assert story.succeed("b@2").pending == ["c@2"]
    assert story.succeed("c@2").run.status == "completed"


def test_inside_an_iteration_only_that_iteration_goes_on() -> None:
    story = Story(foreach("each", [1, 2, 3], cli("x"), cli("y")), cli("after"))
    story.succeed("each[0]/x").succeed("each[0]/y", {"n": 0}).succeed("each[1]/x").fail("each[1]/y")
    assert story.run.status == "failed"
    again(story)
    assert story.pending == ["each[1]/y"]
    story.succeed("each[1]/y", {"n": 1}, attempt=2).succeed("each[2]/x").succeed("each[2]/y", {"n": 2})
    assert story.pending == ["after"]
    found = [i["y"]["n"] for i in story.run.steps["each"].outputs["iterations"]]
    assert found == [0, 1, 2]


def test_an_earlier_step_of_a_failed_iteration_may_be_named() -> None:
    story = Story(foreach("each", [1, 2], cli("x"), cli("y"))).succeed("each[0]/x").fail("each[0]/y")
    assert again(story, "each[0]/x").pending == ["each[0]/x@2"]
    story.succeed("each[0]/x@2").succeed("each[0]/y@2").succeed("each[1]/x").succeed("each[1]/y")
    assert story.run.status == "completed"


def test_a_whole_block_may_be_done_anew() -> None:
    story = Story(foreach("each", [1, 2], cli("x"))).succeed("each[0]/x").fail("each[1]/x")
    assert again(story, "each").pending == ["each@2[0]/x"]
    assert set(story.run.steps) == {"each@2", "each@2[0]/x"}


def test_all_failed_branches_are_tried_again() -> None:
    story = Story(parallel("p", branch("a", cli("x")), branch("b", cli("y")), branch("c", cli("z"))))
    story.fail("p[a]/x").fail("p[b]/y").succeed("p[c]/z")
    assert again(story).pending == ["p[a]/x", "p[b]/y"]
    story.succeed("p[a]/x", attempt=2).succeed("p[b]/y", attempt=2)
    assert story.run.status == "completed"
    assert set(story.run.steps["p"].outputs) == {"a", "b", "c"}


def test_an_iteration_that_is_still_open_may_lie_around_it() -> None:
    inner = foreach("inner", [1, 2], cli("x"), max_concurrency=2)
    story = Story(parallel("p", branch("a", inner), branch("b", cli("y"))))
    story.fail("p[a]/inner[0]/x").fail("p[a]/inner[1]/x").fail("p[b]/y")
    again(story, "p[a]/inner[0]/x")
    assert story.pending == ["p[a]/inner[0]/x"]
    assert story.succeed("p[a]/inner[0]/x", attempt=2).run.status == "failed"
    assert sorted(again(story).pending) == ["p[a]/inner[1]/x", "p[b]/y"]
    story.succeed("p[a]/inner[1]/x", attempt=2).succeed("p[b]/y", attempt=2)
    assert story.run.status == "completed"


def test_several_failed_iterations_are_tried_again_together() -> None:
    inner = foreach("inner", [1, 2], cli("x"), max_concurrency=2)
    story = Story(parallel("p", branch("a", inner))).fail("p[a]/inner[0]/x").fail("p[a]/inner[1]/x")
    assert again(story).pending == ["p[a]/inner[0]/x", "p[a]/inner[1]/x"]


def test_deep_inside_a_called_workflow() -> None:
    child = program(cli("one"), parallel("p", branch("a", cli("x"))))
    story = Story(call("c", "c.yaml"), called={"c.yaml": child}).succeed("c/one").fail("c/p[a]/x")
    assert (story.run.status, story.error.step_id) == ("failed", "c/p[a]/x")
    assert again(story).pending == ["c/p[a]/x"]
    assert story.succeed("c/p[a]/x", attempt=2).run.status == "completed"


def test_a_step_that_failed_before_it_could_start_is_come_to_again() -> None:
    story = Story(switch("s", (False, "a")), cli("a"))
    assert again(story).run.status == "failed"


def test_a_wait_that_timed_out_is_opened_again() -> None:
    story = Story(ask("q", timeout_seconds=5))
    story.tick(9)
    story.recover()
    assert story.run.status == "failed"
    assert again(story).waiting == ["q@2"]


def test_a_body_that_could_not_begin_takes_its_block_with_it() -> None:
    schema = {"type": "object", "required": ["n"]}
    story = Story(call("c", "c.yaml"), called={"c.yaml": program(cli("x"), inputs=schema)})
    assert story.error.step_id == "c"
    assert again(story).run.status == "failed"


def test_a_step_in_doubt_is_run_again() -> None:
    story = Story(cli("a"), cli("b")).recover()
    assert again(story).run.steps["a"].action.attempt == 2
    story.recover()
    assert again(story, "a").run.steps["a"].action.attempt == 3


@pytest.mark.parametrize("path", [None, "a"])
def test_where_nothing_failed_there_is_nothing_to_retry(path: str | None) -> None:
    for story in (Story(cli("a")), Story(cli("a")).succeed("a"), Story(cli("a")).cancel(), Story(ask("a"))):
        with pytest.raises(NotRetryable):
            again(story, path)


def test_a_step_that_the_run_never_came_to_is_not_retried() -> None:
    with pytest.raises(NotRetryable, match="come to no step c"):
        again(Story(cli("a"), cli("c")).fail("a"), "c")


def test_a_failure_of_the_whole_is_retried_from_a_step_that_is_named() -> None:
    outputs = {"type": "object", "required": ["n"], "properties": {"n": {"from": "steps.a.outputs.n"}}}
    story = Story(cli("a"), outputs=outputs).succeed("a")
    assert story.run.status == "failed"
    with pytest.raises(NotRetryable, match="--step-id"):
        again(story)
    assert again(story, "a").pending == ["a@2"]
    assert story.succeed("a@2", {"n": 1}).result == {"n": 1}


def test_the_facts_alone_make_the_run() -> None:
    story = Story(foreach("each", [1, 2], cli("x"), on_error="continue"), foreach("last", [1], cli("y")))
    story.fail("each[0]/x").fail("last[0]/y")
    again(story).fail("last[0]/y", attempt=2)
    again(story, "each").succeed("each@2[0]/x").succeed("each@2[1]/x")
    assert story.replayed() == story.run
