"""A workflow inside a run: own inputs, own names, its result the outputs."""

from __future__ import annotations

import pytest

from checkpointflow.errors import RunNotWaiting
from tests.helpers import Story, ask, call, cli, end, program

INPUTS = {
    "type": "object",
    "required": ["what"],
    "properties": {"what": {"type": "string"}, "n": {"default": 1}},
}
OUTPUTS = {"type": "object", "properties": {"done": {"from": "steps.apply.outputs.done"}}}


def calling(*steps: dict[str, object], inputs: object = None, **more: object) -> Story:
    child = program(*steps, inputs=INPUTS, **more)
    given = {"what": "${steps.first.outputs.x}"} if inputs is None else inputs
    step = call("deploy", "c.yaml", inputs=given)
    return Story(cli("first"), step, cli("after", "${steps.deploy.outputs.done}"), called={"c.yaml": child})


def test_it_has_its_own_inputs_and_step_names() -> None:
    story = calling(cli("first", "${inputs.what} ${inputs.n}"), cli("apply")).succeed("first", {"x": "prod"})
    assert story.pending == ["deploy/first"]
    assert sorted(story.run.steps["deploy/first"].action.variables.values()) == ["1", "prod"]


def test_a_value_among_its_inputs_is_expanded_once() -> None:
    story = calling(cli("apply", "${inputs.what}")).succeed("first", {"x": "${run.id}"})
    assert list(story.run.steps["deploy/apply"].action.variables.values()) == ["${run.id}"]


def test_it_does_not_see_the_steps_of_its_caller() -> None:
    story = calling(cli("apply", "${steps.first.outputs.x}")).succeed("first", {"x": "prod"})
    assert story.run.status == "failed"
    assert story.error.step_id == "deploy/apply"
    assert story.error.message.startswith("in c.yaml: ")


def test_its_mapped_outputs_are_the_step_s() -> None:
    story = (
        calling(cli("apply"), outputs=OUTPUTS)
        .succeed("first", {"x": "p"})
        .succeed("deploy/apply", {"done": "y"})
    )
    assert story.run.steps["deploy"].outputs == {"done": "y"}
    assert story.pending == ["after"]
    assert list(story.run.steps) == ["first", "deploy", "after"]


def test_its_end_gives_the_outputs() -> None:
    story = calling(end("e", result={"done": "${inputs.n}"})).succeed("first", {"x": "p"})
    assert story.run.steps["deploy"].outputs == {"done": 1}


def test_without_either_there_are_none() -> None:
    story = calling(cli("apply")).succeed("first", {"x": "p"}).succeed("deploy/apply")
    assert story.run.steps["deploy"].outputs == {}


@pytest.mark.parametrize("inputs", [{}, {"what": 3}, {"what": "${steps.first.outputs.none}"}])
def test_inputs_that_do_not_fit_fail_the_step(inputs: object) -> None:
    story = calling(cli("apply"), inputs=inputs).succeed("first", {"x": "p"})
    assert (story.run.status, story.error.step_id) == ("failed", "deploy")


def test_a_wait_inside_is_a_wait_of_the_run() -> None:
    story = calling(ask("ok"), cli("apply"), outputs=OUTPUTS).succeed("first", {"x": "p"})
    assert story.waiting == ["deploy/ok"]
    assert story.deliver("deploy/ok", {}).pending == ["deploy/apply"]
    with pytest.raises(RunNotWaiting):
        story.deliver("deploy/ok", {})


def test_workflows_call_workflows() -> None:
    inner = program(ask("q"), end("e", result="deep"))
    middle = program(
        call("again", "i.yaml"), end("e", result="${steps.again.outputs}"), called={"i.yaml": inner}
    )
    story = Story(call("m", "m.yaml"), end("e", result="${steps.m.outputs}"), called={"m.yaml": middle})
    assert story.waiting == ["m/again/q"]
    assert story.deliver("m/again/q", {}).result == "deep"


def test_defaults_are_those_of_the_document_that_the_step_stands_in() -> None:
    child = program(cli("x"), defaults={"shell": "bash"})
    story = Story(call("c", "c.yaml"), called={"c.yaml": child}, defaults={"shell": "dash"})
    assert story.run.steps["c/x"].action.shell == "bash"
