"""`finally`: what comes after the steps of a document, whatever they came to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from checkpointflow.engine.evolution import evolve
from checkpointflow.engine.facts import CancelBegan, FinallyBegan, OfStep, RunCancelled, StepSucceeded
from checkpointflow.engine.messages import Cancel, Retry
from checkpointflow.engine.outlook import find_next_steps
from checkpointflow.engine.run import Cursor, name_position
from checkpointflow.engine.soundness import find_unsound
from checkpointflow.errors import NotRetryable, RunNotWaiting
from tests.helpers import Story, ask, branch, call, cli, end, foreach, parallel, program, switch
from tests.unit.engine.test_walks import ends, lists

CLEAN = [cli("clean", "echo ${run.outcome.status}")]


def tidy(*steps: dict[str, Any], **more: Any) -> Story:
    """A run of *steps*, followed by the step `clean`."""
    return Story(*steps, **{"finally": CLEAN, **more})


def said(story: Story, path: str) -> str:
    """What the command at *path* was given of the outcome."""
    record = story.run.steps[path]
    return next(iter(record.action.variables.values()))  # type: ignore[union-attr]


def test_it_comes_after_success_and_changes_nothing() -> None:
    story = tidy(cli("a"), end("done", result={"url": "u"})).succeed("a")
    assert (story.run.status, story.pending) == ("running", ["@finally/clean"])
    assert said(story, "@finally/clean") == "completed"
    story.succeed("@finally/clean", {"other": 1})
    assert (story.run.status, story.result) == ("completed", {"url": "u"})
    assert story.replayed() == story.run


def test_it_comes_after_failure_which_it_can_read() -> None:
    why = cli("why", "echo ${run.outcome.error.message} ${run.outcome.error.step_id} ${steps.a.exit_code}")
    story = Story(cli("a"), cli("b"), **{"finally": [why]}).fail("a", exit_code=7)
    action = story.run.steps["@finally/why"].action  # type: ignore[union-attr]
    assert list(action.variables.values()) == ["no", "a", "7"]
    story.succeed("@finally/why")
    assert (story.run.status, story.error.step_id) == ("failed", "a")


def test_it_comes_after_cancelling_which_stops_the_rest() -> None:
    story = tidy(cli("a")).cancel("enough")
    assert (story.run.status, story.pending) == ("running", ["@finally/clean"])
    assert [type(fact) for fact in story.new][:2] == [CancelBegan, FinallyBegan]
    assert said(story, "@finally/clean") == "cancelled"
    assert story.cancel("again").new == []
    story.succeed("a"), story.succeed("@finally/clean")
    assert (story.run.status, story.run.outcome.reason) == ("cancelled", "enough")  # type: ignore[union-attr]
    assert story.replayed() == story.run


def test_where_there_is_none_to_come_cancelling_is_one_fact() -> None:
    called = {"c": program(cli("x"), **{"finally": CLEAN})}
    story = Story(cli("a"), call("c", "c"), called=called).cancel()
    assert [type(fact) for fact in story.new] == [RunCancelled]


def test_cancelling_skips_it_where_that_is_said() -> None:
    for story in (tidy(cli("a")), tidy(cli("a")).succeed("a"), tidy(cli("a")).cancel()):
        story.hear(Cancel(now=story.tick(), reason="at once", skips_finally=True))
        assert (story.run.status, story.pending) == ("cancelled", [])
        assert story.run.active == {}


def test_cancelling_what_is_at_its_end_lets_it_end() -> None:
    story = tidy(cli("a")).succeed("a").cancel()
    assert story.new == []
    assert story.succeed("@finally/clean").run.status == "completed"
    with pytest.raises(RunNotWaiting):
        story.cancel()


def test_if_it_fails_so_does_the_run_which_tells_what_it_had_come_to() -> None:
    story = tidy(cli("a")).cancel("enough").fail("@finally/clean")
    assert (story.run.status, story.error.step_id) == ("failed", "@finally/clean")
    assert story.error.message == "in finally: no"
    assert story.error.details == {"outcome": {"status": "cancelled", "reason": "enough"}}


def test_what_was_told_of_its_failure_is_kept() -> None:
    odd = cli("odd", outputs={"type": "object", "required": ["x"]})
    story = Story(cli("a"), end("e", result=[1]), **{"finally": [odd]})
    story.succeed("a").succeed("@finally/odd", {"y": 1})
    assert story.error.details["outcome"] == {"status": "completed"}
    assert "x" in str(story.error.details["details"])


def test_a_failure_in_it_may_be_survived() -> None:
    steps = [cli("one", on_error="continue"), cli("two")]
    story = Story(cli("a"), **{"finally": steps}).fail("a").fail("@finally/one").succeed("@finally/two")
    assert story.error.step_id == "a"


def test_it_may_decide_loop_and_have_blocks() -> None:
    steps = [
        switch("which", ('run.outcome.status == "completed"', "good"), default="bad"),
        foreach("good", ["x", "y"], cli("drop", "drop ${item} ${run.outcome.status}"), max_concurrency=2),
        end("enough"),
        cli("bad"),
    ]
    story = Story(cli("a"), **{"finally": steps}).succeed("a")
    assert story.pending == ["@finally/good[0]/drop", "@finally/good[1]/drop"]
    for path in story.pending:
        story.succeed(path)
    assert story.run.status == "completed"
    assert Story(cli("a"), **{"finally": steps}).fail("a").pending == ["@finally/bad"]


def test_a_called_workflow_has_its_own() -> None:
    called = {"c": program(cli("x"), **{"finally": [cli("drop", "drop ${inputs.n}")]})}
    story = tidy(call("one", "c", inputs={"n": "1"}), called=called)
    story.succeed("one/x", {"y": 1})
    assert (story.pending, said(story, "one/@finally/drop")) == (["one/@finally/drop"], "1")
    story.succeed("one/@finally/drop")
    assert story.pending == ["@finally/clean"]
    assert set(story.run.steps) == {"one", "@finally/clean"}
    assert set(story.run.cursors) == {".", "@finally"}


def test_cancelling_goes_from_the_innermost_outwards() -> None:
    called = {"c": program(cli("x"), **{"finally": CLEAN})}
    body = foreach("each", [1, 2, 3], workflow_ref="c", max_concurrency=2)
    story = tidy(parallel("p", branch("l", body), branch("r", cli("y"))), called=called)
    assert story.pending == ["p[l]/each[0]/x", "p[l]/each[1]/x", "p[r]/y"] or len(story.pending) == 3
    story.cancel()
    assert story.pending == ["p[l]/each[0]/@finally/clean", "p[l]/each[1]/@finally/clean"]
    story.succeed("p[l]/each[0]/@finally/clean")
    assert story.pending == ["p[l]/each[1]/@finally/clean"]
    story.succeed("p[l]/each[1]/@finally/clean")
    assert story.pending == ["@finally/clean"]
    assert find_unsound(story.workflow, story.run) is None
    story.succeed("@finally/clean")
    assert (story.run.status, story.run.active) == ("cancelled", {})
    assert find_unsound(story.workflow, story.run) is None
    assert story.replayed() == story.run


def test_only_what_cancelling_leads_to_makes_a_failure_of_it() -> None:
    called = {"c": program(cli("x"), **{"finally": CLEAN})}
    story = Story(call("one", "c"), called=called).cancel("enough").fail("one/@finally/clean")
    assert story.error.step_id == "one/@finally/clean"
    with pytest.raises(NotRetryable, match="was cancelled"):
        story.hear(Retry(now=story.tick()))
    story = Story(call("one", "c"), called=called).fail("one/x").cancel("enough")
    assert story.pending == ["one/@finally/clean"]
    assert story.succeed("one/@finally/clean").run.status == "cancelled"


def test_cancelling_before_the_first_step_of_a_body_is_sound() -> None:
    story = tidy(cli("a"))
    story.run = evolve(story.run, CancelBegan(at=story.now, reason="no"))
    unbegun = {**story.run.cursors, ".": Cursor(cancelled="no")}
    story.run = type(story.run)(**{**_fields(story.run), "cursors": unbegun, "steps": {}})
    assert story.recover().pending == ["@finally/clean"]


def _fields(run: Any) -> dict[str, Any]:
    return {name: getattr(run, name) for name in run.__struct_fields__}


def test_whoever_retries_takes_the_outcome_back_and_it_comes_again() -> None:
    story = tidy(cli("a"), cli("b")).succeed("a").fail("b").succeed("@finally/clean")
    story.hear(Retry(now=story.tick()))
    assert story.pending == ["b"]
    assert find_unsound(story.workflow, story.run) is None
    story.succeed("b", attempt=2)
    assert story.pending == ["@finally/clean@2"]
    story.succeed("@finally/clean@2")
    assert story.run.status == "completed"
    assert story.replayed() == story.run
    assert find_unsound(story.workflow, story.run) is None


def test_whoever_retries_what_failed_in_it_goes_on_there() -> None:
    story = tidy(cli("a", on_error="continue")).fail("a").fail("@finally/clean")
    story.hear(Retry(now=story.tick()))
    assert story.pending == ["@finally/clean"]
    assert story.succeed("@finally/clean", attempt=2).run.status == "completed"


def test_of_a_cancelled_run_only_that_can_be_retried() -> None:
    story = tidy(cli("a"), cli("b")).succeed("a").cancel("enough").fail("@finally/clean")
    with pytest.raises(NotRetryable, match="only the steps of its `finally`"):
        story.hear(Retry(now=story.tick(), path="a"))
    story.hear(Retry(now=story.tick())).succeed("@finally/clean", attempt=2)
    assert (story.run.status, story.run.outcome.reason) == ("cancelled", "enough")  # type: ignore[union-attr]


def test_a_step_of_a_called_workflow_is_retried_with_what_followed_it() -> None:
    called = {"c": program(cli("x"), **{"finally": CLEAN})}
    story = tidy(call("one", "c"), called=called).fail("one/x").succeed("one/@finally/clean")
    story.succeed("@finally/clean").hear(Retry(now=story.tick()))
    assert story.pending == ["one/x"]
    story.succeed("one/x", attempt=2).succeed("one/@finally/clean@2").fail("@finally/clean@2")
    assert story.error.details == {"outcome": {"status": "completed"}}


def test_what_failed_in_that_of_a_called_workflow_is_found() -> None:
    called = {"c": program(cli("x"), **{"finally": CLEAN})}
    story = tidy(call("one", "c"), called=called).succeed("one/x").fail("one/@finally/clean")
    story.succeed("@finally/clean").hear(Retry(now=story.tick()))
    assert story.pending == ["one/@finally/clean"]
    story.succeed("one/@finally/clean", attempt=2)
    assert story.pending == ["@finally/clean@2"]
    assert find_unsound(story.workflow, story.run) is None


def test_cancelling_a_run_that_was_retried_finds_its_way() -> None:
    story = tidy(cli("a")).fail("a").succeed("@finally/clean").hear(Retry(now="2026-01-01T00:10:00.000Z"))
    assert story.cancel().pending == ["@finally/clean@2"]


def test_what_is_lost_in_it_is_taken_up_like_any_step() -> None:
    story = tidy(cli("a")).succeed("a").recover()
    assert story.waiting == ["@finally/clean"]
    story.deliver("@finally/clean", {"outcome": "retry"}).succeed("@finally/clean", attempt=2)
    assert story.run.status == "completed"


def test_an_endless_loop_does_not_get_around_it() -> None:
    loop = (switch("a", (True, "b")), switch("b", (True, "a"), on_error="continue"))
    story = tidy(*loop)
    assert story.pending == ["@finally/clean"]
    assert story.succeed("@finally/clean").error.code == "ERR_ENDLESS_LOOP"
    assert Story(cli("x"), **{"finally": list(loop)}).succeed("x").error.code == "ERR_ENDLESS_LOOP"


def test_where_a_run_stands_and_what_is_next_is_told() -> None:
    story = tidy(ask("q"), cli("a"), cli("b"))
    assert list(find_next_steps(story.workflow, story.run)) == ["a"]
    last = tidy(ask("q"))
    assert list(find_next_steps(last.workflow, last.run)) == ["@finally/clean"]
    assert name_position(last.run.cursors, last.run.outcome) == "q"
    last.deliver("q", {})
    assert name_position(last.run.cursors, last.run.outcome) == "@finally/clean"
    last.recover()
    assert list(find_next_steps(last.workflow, last.run)) == ["@finally/clean"]
    last.deliver("@finally/clean", {"outcome": "succeeded"})
    assert name_position(last.run.cursors, last.run.outcome) == "q"


def test_what_follows_the_last_wait_of_a_called_workflow_is_its_own() -> None:
    called = {"c": program(ask("q"), **{"finally": [cli("x"), cli("y")]})}
    story = tidy(call("one", "c"), cli("z"), called=called)
    assert list(find_next_steps(story.workflow, story.run)) == ["one/@finally/x"]


def test_a_run_that_claims_one_that_its_document_does_not_have_is_refused() -> None:
    with_it, without = tidy(cli("a")).succeed("a"), Story(cli("a"))
    assert find_unsound(without.workflow, with_it.run) is not None
    assert find_unsound(with_it.workflow, with_it.run) is None
    cursors = dict(with_it.run.cursors)
    del cursors["@finally"]
    lacking = type(with_it.run)(**{**_fields(with_it.run), "cursors": cursors})
    assert find_unsound(with_it.workflow, lacking) is not None


@given(lists(), st.booleans(), st.data())
def test_whatever_happens_it_comes_once_and_last(
    document: list[dict[str, Any]], is_called: bool, data: st.DataObject
) -> None:
    inputs = {"yes": True, "no": False}
    called = {"c": program(*document, **{"finally": CLEAN})}
    assume(ends(called["c"]))
    story = tidy(call("c", "c", inputs=inputs), called=called) if is_called else None
    story = story or tidy(*document, inputs=inputs)
    for _ in range(30):
        happens(story, data.draw(st.sampled_from([*story.pending, *story.waiting, "cancel", "crash"])), data)
        assert find_unsound(story.workflow, story.run) is None
        if story.run.outcome is not None:
            break
    while story.run.outcome is None:
        happens(story, next(iter([*story.pending, *story.waiting]), "cancel"), None)
    assert story.replayed() == story.run
    began = [fact for fact in story.facts if isinstance(fact, FinallyBegan)]
    assert [fact.body for fact in began] == (["c", "."] if is_called else ["."])
    after = story.facts[story.facts.index(began[-1]) :]
    assert {fact.path for fact in after if isinstance(fact, OfStep)} <= {"@finally/clean", "c"}
    cleaned = [f.path for f in story.facts if isinstance(f, StepSucceeded) and "clean" in f.path]
    assert sorted(cleaned) == sorted(["@finally/clean", *(["c/@finally/clean"] if is_called else [])])


def happens(story: Story, what: str, data: st.DataObject | None) -> None:
    """An attempt or a wait at that path ends, or the run is cancelled, or its driver dies; all at its end."""
    if what == "cancel" or (data is None and "@finally" not in what):
        story.cancel()
    elif what == "crash":
        story.recover()
    elif what in story.waiting:
        in_doubt = story.run.steps[what].wait.in_doubt is not None  # type: ignore[union-attr]
        story.deliver(what, {"outcome": "succeeded"} if in_doubt else {})
    else:
        attempt = story.run.steps[what].action.attempt  # type: ignore[union-attr]
        fails = "@finally" not in what and data is not None and data.draw(st.booleans())
        story.fail(what, attempt) if fails else story.succeed(what, attempt=attempt)
