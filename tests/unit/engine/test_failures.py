"""A step that fails: tried again, survived, or the end of the run."""

from __future__ import annotations

from typing import Any

import pytest

from checkpointflow.engine.actions import Error, Failure, Sleep
from checkpointflow.engine.messages import add_seconds
from checkpointflow.engine.soundness import find_unsound
from tests.helpers import Story, branch, call, cli, end, foreach, parallel, program, switch

NO_PAUSE = {"max_attempts": 3, "backoff_seconds": 0}


def test_a_failed_step_fails_the_run() -> None:
    story = Story(cli("a"), cli("b")).fail("a", exit_code=3)
    assert (story.run.status, story.error.step_id, story.error.exit_code) == ("failed", "a", 3)


def test_it_is_tried_again_while_attempts_are_left() -> None:
    story = Story(cli("a", retry=NO_PAUSE))
    for attempt in (1, 2):
        assert story.fail("a", attempt).pending == ["a"]
    assert story.fail("a", 3).run.status == "failed"
    assert story.run.steps["a"].attempts == 3


def test_the_document_s_policy_holds_where_the_step_has_none() -> None:
    assert Story(cli("a"), defaults={"retry": NO_PAUSE}).fail("a").pending == ["a"]


def pauses(strategy: str, most: float = 300) -> list[str]:
    retry = {"max_attempts": 5, "backoff_seconds": 2, "strategy": strategy, "max_backoff_seconds": most}
    story = Story(cli("a", retry=retry))
    found = []
    for attempt in range(1, 5):
        story.fail("a", attempt)
        action = story.run.steps["a"].action
        assert isinstance(action, Sleep)
        start = story.now
        found.append((start, action.until))
        story.sleep("a", attempt + 1)
    from datetime import datetime

    return [(datetime.fromisoformat(b) - datetime.fromisoformat(a)).total_seconds() for a, b in found]


@pytest.mark.parametrize(
    ("strategy", "most", "seconds"),
    [("fixed", 300, [2, 2, 2, 2]), ("exponential", 300, [2, 4, 8, 16]), ("exponential", 5, [2, 4, 5, 5])],
)
def test_the_pause_before_the_next_attempt_follows_the_strategy(
    strategy: str, most: float, seconds: list[float]
) -> None:
    assert pauses(strategy, most) == seconds


def answered(status: int | None, retry_after: float | None = None, **retry: object) -> Story:
    """A call that was answered so for the first time."""
    policy = {"max_attempts": 3, "backoff_seconds": 2, **retry}
    story = Story({"id": "a", "kind": "api", "url": "http://h", "retry": policy})
    error = Error(code="ERR_STEP_FAILED", message="no", status_code=status)
    return story.report("a", Failure(error, retry_after))


@pytest.mark.parametrize("status", [None, 408, 425, 429, 500, 503, 599])
def test_a_call_is_tried_again_where_that_may_help(status: int | None) -> None:
    assert answered(status).pending == ["a"]


@pytest.mark.parametrize("status", [200, 304, 400, 401, 403, 404, 409, 422])
def test_after_any_other_answer_it_is_not_unless_the_author_says_so(status: int) -> None:
    assert answered(status).run.status == "failed"
    assert answered(status, on=[409, status]).pending == ["a"]


@pytest.mark.parametrize(
    ("asked", "most", "seconds"), [(None, 300, 2), (1, 300, 2), (7.5, 300, 7.5), (900, 60, 60), (9, 0, 0)]
)
def test_the_pause_is_what_the_server_asks_for_up_to_the_longest(
    asked: float | None, most: float, seconds: float
) -> None:
    story = answered(503, asked, max_backoff_seconds=most)
    action = story.run.steps["a"].action
    until = action.until if isinstance(action, Sleep) else story.now
    assert until == add_seconds(story.now, seconds)


def test_a_result_does_not_answer_a_pause() -> None:
    story = Story(cli("a", retry={"max_attempts": 2, "backoff_seconds": 5})).fail("a")
    assert story.fail("a", 1).new == []


def test_on_error_continue_goes_on_with_the_following_step() -> None:
    story = Story(cli("a", on_error="continue"), cli("b", "echo ${steps.a.error.code} ${steps.a.exit_code}"))
    assert story.fail("a", exit_code=7).pending == ["b"]
    assert sorted(story.run.steps["b"].action.variables.values()) == ["7", "ERR_STEP_FAILED"]


def test_on_error_next_goes_to_that_step() -> None:
    story = Story(cli("a", on_error={"next": "c"}), cli("b"), cli("c")).fail("a")
    assert (story.pending, story.run.steps["a"].next) == (["c"], "c")


def test_on_error_catches_a_switch_without_a_case() -> None:
    story = Story(switch("s", (False, "a"), on_error={"next": "b"}), cli("a"), end("b", result="caught"))
    assert story.result == "caught"


def test_attempts_are_used_up_before_on_error_counts() -> None:
    story = Story(cli("a", retry=NO_PAUSE, on_error="continue"), cli("b"))
    assert story.fail("a").pending == ["a"]


def test_the_error_of_a_step_that_succeeded_is_not_there() -> None:
    story = Story(cli("a"), cli("b", **{"if": "steps.a.error != null"}), end("e", result=1)).succeed("a")
    assert story.result == 1


# What it said


def failed(text: str, **said: Any) -> Story:
    """A step that *said* something and failed, and one after it that says *text*."""
    story = Story(cli("a", on_error="continue"), cli("b", text))
    return story.report("a", Failure(Error(code="ERR_STEP_FAILED", message="no", exit_code=1), **said))


def test_what_a_failed_step_said_can_be_read_on_the_way_that_catches_it() -> None:
    text = (
        "${steps.a.outputs.n} ${steps.a.stdout} ${steps.a.stderr} ${steps.a.headers.x} ${steps.a.exit_code}"
    )
    story = failed(text, outputs={"n": 5}, stdout="out", stderr="err", headers={"x": "h"})
    assert sorted(story.run.steps["b"].action.variables.values()) == ["1", "5", "err", "h", "out"]
    assert story.replayed() == story.run


def test_so_can_outputs_that_do_not_fit() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    story = Story(
        cli("a", outputs=schema, on_error={"next": "b"}), cli("b", "${steps.a.outputs.n} ${steps.a.stderr}")
    )
    story.succeed("a", {"n": "x"}, stderr="warned")
    assert sorted(story.run.steps["b"].action.variables.values()) == ["warned", "x"]
    assert story.run.steps["a"].error.code == "ERR_STEP_OUTPUT_INVALID"


def test_only_its_last_attempt_is_heard() -> None:
    step = cli("a", retry={"max_attempts": 2, "backoff_seconds": 0}, on_error="continue")
    story = Story(step, cli("b", "${steps.a.outputs.n}"))
    for attempt in (1, 2):
        error = Error(code="ERR_STEP_FAILED", message="no")
        story.report("a", Failure(error, outputs={"n": attempt}), attempt)
    assert list(story.run.steps["b"].action.variables.values()) == ["2"]


@pytest.mark.parametrize(
    ("text", "lost", "said"),
    [
        ("${steps.a.outputs.n}", {}, 'steps.a has no "outputs"; it has: '),
        (
            "${steps.a.outputs.n}",
            {"outputs": "it is no JSON"},
            "steps.a.outputs is not there: it is no JSON, in",
        ),
        ("${steps.a.stdout}", {"stdout": "has 65,537 bytes"}, "steps.a.stdout has 65,537 bytes, in"),
        ("${steps.a.stdout != null}", {"stdout": "has 65,537 bytes"}, "steps.a.stdout has 65,537 bytes, in"),
    ],
)
def test_who_reads_what_it_did_not_say_is_told_why(text: str, lost: dict[str, str], said: str) -> None:
    assert said in failed(text, lost=lost).error.message


def test_outputs_that_it_did_not_say_are_null_to_who_asks() -> None:
    for lost in ({}, {"outputs": "it is no JSON"}):
        story = failed("${steps.a.outputs != null} ${steps.a.outputs.n == null}", lost=lost)
        assert list(story.run.steps["b"].action.variables.values()) == ["false", "true"]


def test_a_step_that_never_began_said_nothing() -> None:
    first = cli("a", "${inputs.none}", on_error="continue")
    story = Story(first, cli("b", "${steps.a.stdout} ${steps.a.stderr}"))
    assert list(story.run.steps["b"].action.variables.values()) == ["", ""]


def test_what_an_attempt_in_doubt_had_said_is_not_known() -> None:
    story = Story(cli("a", on_error="continue"), cli("b", "${steps.a.stderr}")).recover()
    story.deliver("a", {"outcome": "failed"})
    assert "steps.a.stderr is not known: its cpf was stopped" in story.error.message


def test_the_good_branches_of_a_failed_parallel_can_be_read() -> None:
    story = Story(
        parallel(
            "par", branch("x", cli("one")), branch("y", cli("two")), {"start_at": "z"}, on_error="continue"
        ),
        cli("z"),
        cli("after", "${steps.par.outputs.x.one.n} ${steps.z.outputs.n} ${steps.par.outputs.y != null}"),
    )
    story.succeed("par[x]/one", {"n": 1}).fail("par[y]/two").succeed("par[z]/z", {"n": 3})
    assert sorted(story.run.steps["after"].action.variables.values()) == ["1", "3", "false"]
    assert find_unsound(story.workflow, story.run) is None
    assert story.replayed() == story.run


def test_a_branch_of_a_failed_parallel_that_failed_has_no_outputs() -> None:
    story = Story(
        parallel("par", {"start_at": "z"}, on_error="continue"), cli("z"), cli("b", "${steps.z.outputs}")
    )
    assert 'steps has no "z"' in story.fail("par[z]/z").error.message


def test_the_ended_iterations_of_a_failed_foreach_can_be_read() -> None:
    each = foreach("each", [5, 6, 7, 8], cli("go"), max_concurrency=2, on_error="continue")
    story = Story(each, end("e", result="${steps.each.outputs.iterations}"))
    story.succeed("each[0]/go", {"n": 0}).fail("each[1]/go").succeed("each[2]/go", {"n": 2})
    assert story.result == [{"go": {"n": 0}}, None, {"go": {"n": 2}}]


def test_a_workflow_that_failed_has_no_outputs() -> None:
    called = {"c.yaml": program(cli("in"))}
    story = Story(call("c", "c.yaml", on_error="continue"), cli("b", "${steps.c.outputs}"), called=called)
    assert 'steps.c has no "outputs"' in story.fail("c/in").error.message
