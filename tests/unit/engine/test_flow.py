"""In which order steps run: the list, `if`, `next`, decisions, jumps backwards."""

from __future__ import annotations

from checkpointflow.engine.actions import Success
from checkpointflow.engine.messages import Report
from checkpointflow.engine.rules import advance
from tests.helpers import Story, ask, cli, end, switch

MAPPED = {"type": "object", "properties": {"url": {"from": "steps.apply.outputs.url"}}}


def test_steps_run_in_the_order_of_the_list() -> None:
    story = Story(cli("a"), cli("b"))
    assert story.pending == ["a"]
    assert story.succeed("a").pending == ["b"]
    assert story.succeed("b").run.status == "completed"


def test_the_end_of_one_step_and_the_start_of_the_next_are_one_transition() -> None:
    story = Story(cli("a"), cli("b")).succeed("a")
    assert [type(fact).__name__ for fact in story.new] == ["StepSucceeded", "StepStarted"]


def test_a_step_whose_condition_does_not_hold_is_skipped() -> None:
    story = Story(cli("a", **{"if": "${inputs.go}"}), cli("b"), inputs={"go": False})
    assert story.pending == ["b"]
    assert story.run.steps["a"].ended_at == story.run.started_at


def test_a_condition_may_be_written_bare_or_as_a_boolean() -> None:
    story = Story(cli("a", **{"if": "inputs.n > 2"}), cli("b", **{"if": False}), cli("c"), inputs={"n": 1})
    assert story.pending == ["c"]


def test_a_condition_without_a_value_fails_the_step() -> None:
    story = Story(cli("a", **{"if": "inputs.missing"}))
    assert story.run.status == "failed"
    assert story.error.step_id == "a"
    assert "missing" in story.error.message


def test_next_jumps_forwards() -> None:
    story = Story(cli("a", next="c"), cli("b"), cli("c")).succeed("a")
    assert story.pending == ["c"]


def test_a_skipped_step_does_not_jump() -> None:
    story = Story(cli("a", next="c", **{"if": False}), cli("b"), cli("c"))
    assert story.pending == ["b"]


def test_a_jump_backwards_is_a_new_visit() -> None:
    story = Story(cli("a"), cli("b", next="a")).succeed("a").succeed("b")
    assert story.pending == ["a@2"]
    assert story.succeed("a@2").pending == ["b@2"]


def test_only_the_latest_visit_of_a_step_is_kept() -> None:
    story = Story(cli("a"), cli("b", next="a")).succeed("a").succeed("b").succeed("a@2").succeed("b@2")
    assert list(story.run.steps) == ["b@2", "a@3"]


def test_an_expression_sees_the_latest_visit() -> None:
    story = Story(cli("a"), cli("b", "echo ${steps.a.outputs.n}", next="a"))
    story.succeed("a", {"n": 1}).succeed("b").succeed("a@2", {"n": 2})
    assert list(story.run.steps["b@2"].action.variables.values()) == ["2"]


def test_a_switch_goes_to_the_first_case_that_holds() -> None:
    story = Story(
        switch("s", ("inputs.n > 1", "b"), ("inputs.n > 0", "a")), cli("a"), cli("b"), inputs={"n": 2}
    )
    assert story.pending == ["b"]
    assert story.run.steps["s"].next == "b"


def test_a_switch_without_a_case_that_holds_goes_to_its_default() -> None:
    assert Story(switch("s", (False, "a"), default="b"), cli("a"), cli("b")).pending == ["b"]


def test_a_switch_with_neither_fails() -> None:
    story = Story(switch("s", (False, "a")), cli("a"))
    assert (story.run.status, story.error.code) == ("failed", "ERR_NO_TRANSITION")


def test_an_end_gives_the_run_its_result() -> None:
    story = Story(cli("a"), end("e", result={"n": "${steps.a.outputs.n}", "t": "n=${steps.a.outputs.n}"}))
    assert story.succeed("a", {"n": 3}).result == {"n": 3, "t": "n=3"}


def test_an_end_without_a_result_gives_none() -> None:
    from msgspec import UNSET

    assert Story(end("e")).result is UNSET


def test_a_result_that_cannot_be_had_fails_the_run() -> None:
    story = Story(end("e", result="${inputs.none}"))
    assert (story.run.status, story.error.step_id) == ("failed", "e")


def test_running_off_the_end_yields_the_mapped_outputs() -> None:
    assert Story(cli("apply"), outputs=MAPPED).succeed("apply", {"url": "u"}).result == {"url": "u"}


def test_a_mapped_output_is_never_expanded() -> None:
    story = Story(cli("apply"), outputs=MAPPED).succeed("apply", {"url": "${run.id}"})
    assert story.result == {"url": "${run.id}"}


def test_a_mapped_output_of_a_step_that_did_not_run_is_absent() -> None:
    assert Story(cli("apply", **{"if": False}), outputs=MAPPED).result == {}


def test_a_required_output_that_is_absent_fails_the_run() -> None:
    story = Story(cli("apply", **{"if": False}), outputs={**MAPPED, "required": ["url"]})
    assert (story.run.status, story.error.code) == ("failed", "ERR_STEP_OUTPUT_INVALID")


def test_with_mapped_outputs_an_arm_s_end_is_not_fallen_into() -> None:
    asked = ask(
        "ok", transitions=[{"when": "event.y", "next": "apply"}, {"when": "not event.y", "next": "no"}]
    )
    steps = (asked, cli("apply"), end("no", result="rejected"))
    approved = Story(*steps, outputs=MAPPED).deliver("ok", {"y": True}).succeed("apply", {"url": "u"})
    assert approved.result == {"url": "u"}
    assert Story(*steps, outputs=MAPPED).deliver("ok", {"y": False}).result == "rejected"


def test_without_mapped_outputs_plain_order_rules() -> None:
    asked = ask(
        "ok", transitions=[{"when": "event.y", "next": "apply"}, {"when": "not event.y", "next": "no"}]
    )
    story = (
        Story(asked, cli("apply"), end("no", result="rejected")).deliver("ok", {"y": True}).succeed("apply")
    )
    assert story.result == "rejected"


def test_an_end_that_no_decision_names_is_fallen_into() -> None:
    assert Story(cli("apply"), end("e", result=1), outputs=MAPPED).succeed("apply").result == 1


def test_next_leads_into_an_arm_s_end_all_the_same() -> None:
    steps = (switch("s", (True, "apply"), default="no"), cli("apply", next="no"), end("no", result=1))
    assert Story(*steps, outputs=MAPPED).succeed("apply").result == 1


def test_the_arms_of_error_and_time_out_count_too() -> None:
    steps = (
        ask("w", timeout_seconds=5, on_timeout={"next": "late"}),
        cli("apply", on_error={"next": "bad"}),
        end("late", result="late"),
        end("bad", result="bad"),
    )
    story = Story(*steps, outputs=MAPPED).deliver("w", 1).succeed("apply", {"url": "u"})
    assert story.result == {"url": "u"}


def test_steps_that_lead_to_each_other_for_ever_fail_the_run() -> None:
    story = Story(switch("a", (True, "b")), switch("b", (True, "a")))
    assert story.run.status == "failed"
    assert "never comes to a step that does anything" in story.error.message


def test_a_loop_that_does_something_may_turn_for_ever() -> None:
    story = Story(cli("a", next="a"))
    for visit in range(1, 300):
        story.succeed("a" if visit == 1 else f"a@{visit}")
    assert story.pending == ["a@300"]
    assert len(story.run.steps) == 1


def test_a_finished_run_hears_no_more_reports() -> None:
    story = Story(cli("a")).succeed("a")
    assert story.succeed("a").new == []


def test_deciding_changes_nothing() -> None:
    story = Story(cli("a"), cli("b"))
    message = Report(now=story.now, path="a", attempt=1, outcome=Success(outputs={}))
    assert advance(story.workflow, story.run, message)[1] == story.hear(message).new


def test_the_facts_alone_make_the_run() -> None:
    story = Story(cli("a"), ask("q"), cli("b", next="a", retry={"max_attempts": 2, "backoff_seconds": 0}))
    story.succeed("a").deliver("q", {"x": 1}).fail("b").succeed("b", attempt=2).succeed("a@2").cancel()
    assert story.replayed() == story.run


def test_each_checkpoint_has_a_name_of_its_own_that_holds_all_that_led_to_it() -> None:
    one, other = Story(cli("a"), cli("b")), Story(cli("a"), cli("b"))
    assert one.run.checkpoint_id == other.run.checkpoint_id
    one.succeed("a", {"n": 1}), other.succeed("a", {"n": 2})
    assert one.run.checkpoint_id != other.run.checkpoint_id
    one.succeed("b"), other.succeed("b")
    assert one.run.checkpoint_id != other.run.checkpoint_id
