"""Parameters with a hole where a number is wanted: what they come to, and what comes of misfits."""

from __future__ import annotations

from typing import Any

import pytest

from checkpointflow.engine.messages import add_seconds
from checkpointflow.engine.soundness import find_unsound
from tests.helpers import Story, ask, call, cli, end, foreach, program

N = {"n": 2, "half": 0.5, "zero": 0, "text": "2", "codes": [0, 3], "flow": "b.yaml"}


def api(**more: Any) -> dict[str, Any]:
    return {"id": "a", "kind": "api", "url": "http://h", **more}


def action(step: dict[str, Any], **more: Any) -> Any:
    return Story(step, inputs=N, **more).run.steps["a"].action


@pytest.mark.parametrize("step", [cli, lambda name, **more: api(**more)])
def test_the_time_limit_is_what_the_hole_says(step: Any) -> None:
    assert action(step("a", timeout_seconds="${inputs.n}")).timeout_seconds == 2.0
    assert action(step("a", timeout_seconds="${ inputs.n * 60 + 0.5 }")).timeout_seconds == 120.5


def test_the_limit_of_the_document_may_have_one_and_yields_to_the_step_s() -> None:
    defaults = {"timeout_seconds": "${inputs.n}"}
    assert action(cli("a"), defaults=defaults).timeout_seconds == 2
    assert action(cli("a", timeout_seconds=7), defaults=defaults).timeout_seconds == 7
    assert Story(ask("a"), defaults=defaults, inputs=N).run.steps["a"].wait.timeout_at is None


def test_codes_may_be_a_list_or_stand_in_one() -> None:
    assert action(cli("a", success={"exit_codes": "${inputs.codes}"})).exit_codes == (0, 3)
    assert action(cli("a", success={"exit_codes": [0, "${inputs.n}"]})).exit_codes == (0, 2)
    assert action(api(success={"status_codes": ["${inputs.n + 202}"]})).status_codes == (204,)


def test_a_lock_is_waited_for_as_long_as_the_hole_says() -> None:
    assert (
        action(cli("a", lock={"key": "k", "timeout_seconds": "${inputs.half}"})).lock.timeout_seconds == 0.5
    )


def test_a_wait_ends_when_the_hole_says() -> None:
    story = Story(ask("a", timeout_seconds="${inputs.n}"), inputs=N)
    assert story.run.steps["a"].wait.timeout_at == add_seconds(story.now, 2)


@pytest.mark.parametrize("own", [True, False])
def test_a_retry_is_what_its_holes_say(own: bool) -> None:
    retry = {"max_attempts": "${inputs.n}", "backoff_seconds": "${inputs.half}", "max_backoff_seconds": 9}
    step, defaults = (cli("a", retry=retry), {}) if own else (cli("a"), {"retry": retry})
    story = Story(step, inputs=N, defaults=defaults).fail("a")
    assert story.run.steps["a"].action.until == add_seconds(story.now, 0.5)
    assert story.sleep("a", 2).fail("a", 2).run.status == "failed"


def test_a_lost_attempt_is_counted_by_what_the_hole_says() -> None:
    step = cli("a", retry={"max_attempts": "${inputs.n}"})
    story = Story(step, inputs=N).recover()
    assert (story.pending, story.run.steps["a"].action.attempt) == (["a"], 2)
    assert story.recover().waiting == ["a"]


def test_status_codes_to_try_again_after_may_be_given() -> None:
    retry = {"max_attempts": 2, "backoff_seconds": 0, "on": ["${inputs.n + 402}"]}
    from checkpointflow.engine.actions import Error, Failure

    story = Story(api(retry=retry), inputs=N)
    story.report("a", Failure(Error(code="ERR_STEP_FAILED", message="no", status_code=404)))
    assert story.pending == ["a"]


def test_a_later_attempt_has_what_the_first_had() -> None:
    retry = {"max_attempts": 2, "backoff_seconds": 0}
    story = Story(cli("a", timeout_seconds="${inputs.n}", retry=retry), inputs=N).fail("a")
    assert story.run.steps["a"].action.timeout_seconds == 2


def test_iterations_at_once_are_as_many_as_the_hole_says() -> None:
    story = Story(foreach("a", [1, 2, 3], cli("b"), max_concurrency="${inputs.n}"), inputs=N)
    assert story.pending == ["a[0]/b", "a[1]/b"]
    assert story.succeed("a[0]/b").pending == ["a[1]/b", "a[2]/b"]


def test_an_iteration_may_have_parameters_by_its_item() -> None:
    body = cli("b", timeout_seconds="${item}")
    story = Story(foreach("a", [3, 4], body, max_concurrency=2))
    assert [story.run.steps[f"a[{n}]/b"].action.timeout_seconds for n in (0, 1)] == [3, 4]


WRONG = [
    (cli("a", timeout_seconds="${inputs.zero}"), "timeout_seconds: expected a number above 0 and at most"),
    (cli("a", timeout_seconds="${inputs.text}"), "timeout_seconds: expected a number, and found text"),
    (cli("a", timeout_seconds="${inputs.codes}"), "timeout_seconds: expected a number, and found a list"),
    (cli("a", timeout_seconds="${inputs.gone}"), 'inputs has no "gone"'),
    (cli("a", retry={"max_attempts": "${inputs.half}"}), "retry.max_attempts: expected a whole number"),
    (cli("a", retry={"max_attempts": "${inputs.zero}"}), "retry.max_attempts: expected a number from 1 to"),
    (cli("a", retry={"max_attempts": 2, "backoff_seconds": "${-1 * inputs.n}"}), "retry.backoff_seconds: "),
    (cli("a", retry={"max_attempts": 2, "max_backoff_seconds": "${1 == 1}"}), "and found true"),
    (api(retry={"max_attempts": 2, "on": "${inputs.codes}"}), "retry.on: expected a number from 100 to 599"),
    (
        cli("a", lock={"key": "k", "timeout_seconds": "${inputs.text}"}),
        "lock.timeout_seconds: expected a num",
    ),
    (cli("a", success={"exit_codes": "${inputs.n}"}), "success.exit_codes: expected a list, and found a num"),
    (
        cli("a", success={"exit_codes": "${split('', ',')}"}),
        "success.exit_codes: `exit_codes` must not be em",
    ),
    (
        cli("a", success={"exit_codes": [0, "${inputs.n * 200}"]}),
        "expected a number from 0 to 255, and found",
    ),
    (
        api(success={"status_codes": ["${inputs.n}"]}),
        "success.status_codes: expected a number from 100 to 599",
    ),
    (ask("a", timeout_seconds="${inputs.zero}"), "timeout_seconds: expected a number above 0"),
    (
        foreach("a", [1], cli("b"), max_concurrency="${inputs.zero}"),
        "max_concurrency: expected a number from",
    ),
]


@pytest.mark.parametrize(("step", "told"), WRONG, ids=[told[:40] for _, told in WRONG])
def test_a_value_that_does_not_fit_fails_the_step_before_it_begins(step: Any, told: str) -> None:
    story = Story(step, inputs=N)
    assert (story.run.status, story.error.code, story.error.step_id) == ("failed", "ERR_STEP_FAILED", "a")
    assert told in story.error.message
    assert [type(fact).__name__ for fact in story.facts] == ["RunBegan", "StepFailed", "RunFailed"]
    assert Story({**step, "on_error": "continue"}, end("z"), inputs=N).run.status == "completed"


def test_a_value_of_the_defaults_that_does_not_fit_fails_each_step_that_has_it() -> None:
    defaults = {"retry": {"max_attempts": "${inputs.text}"}}
    story = Story(cli("a"), inputs=N, defaults=defaults)
    assert "retry.max_attempts: expected a whole number, and found text" in story.error.message


# Which workflow is called

CALLED = {"a.yaml": program(end("x", result="A")), "b.yaml": program(cli("go"), end("x", result="B"))}
ONE_OF = ["a.yaml", "b.yaml"]


def calling(ref: str, one_of: Any = ONE_OF, **more: Any) -> Story:
    return Story(call("c", ref, one_of=one_of, **more), inputs=N, called=CALLED)


def test_a_value_chooses_the_workflow() -> None:
    story = calling("${inputs.flow}")
    assert story.pending == ["c/go"]
    assert story.succeed("c/go").run.steps["c"].outputs == "B"
    assert calling("${default(inputs.gone, 'a')}.yaml").run.steps["c"].outputs == "A"


@pytest.mark.parametrize("ref", ["${inputs.text}", "x/${inputs.flow}", "${inputs.n}"])
def test_a_workflow_that_is_not_in_the_list_is_not_run(ref: str) -> None:
    story = calling(ref, on_error="continue")
    assert story.run.steps["c"].error.code == "ERR_STEP_FAILED"
    said = "workflow_ref: expected a.yaml or b.yaml, and the value here is none of them"
    assert said in story.run.steps["c"].error.message
    assert story.run.status == "completed"


def test_a_failure_within_names_the_workflow_that_was_chosen() -> None:
    assert calling("${inputs.flow}").fail("c/go").error.message.startswith("in b.yaml: ")


def test_each_item_may_choose_its_own() -> None:
    each = foreach("c", [*ONE_OF, "a.yaml"], workflow_ref="${item}", one_of=ONE_OF)
    story = Story(each, called=CALLED).succeed("c[1]/go")
    assert story.run.steps["c"].outputs == {"iterations": ["A", "B", "A"]}


def test_the_choice_is_kept_for_whoever_takes_up_the_run() -> None:
    story = calling("${inputs.flow}")
    for told in (story, calling("${inputs.flow}").cancel()):
        assert find_unsound(told.workflow, told.run) is None
        assert told.run.cursors["c"].called == "b.yaml"
        assert told.replayed() == told.run
    assert story.fail("c/go").run.cursors["c"].called == "b.yaml"
