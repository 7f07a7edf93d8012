"""A body for each item of a list."""

from __future__ import annotations

import msgspec
import pytest

from tests.helpers import Story, ask, cli, end, foreach, program

THREE = {"list": ["a", "b", "c"]}


def values(story: Story, path: str) -> list[str]:
    return list(story.run.steps[path].action.variables.values())


def test_items_are_taken_one_after_the_other() -> None:
    story = Story(foreach("each", "inputs.list", cli("go", "echo ${item} ${item_index}")), inputs=THREE)
    for index, item in enumerate("abc"):
        path = f"each[{index}]/go"
        assert (story.pending, values(story, path)) == ([path], [item, str(index)])
        story.succeed(path, {"n": index})
    assert story.run.status == "completed"
    assert story.run.steps["each"].outputs == {"iterations": [{"go": {"n": n}} for n in range(3)]}


def test_several_may_be_under_way_at_once() -> None:
    story = Story(foreach("each", "${inputs.list}", cli("go"), max_concurrency=2), inputs=THREE)
    assert story.pending == ["each[0]/go", "each[1]/go"]
    assert story.succeed("each[1]/go").pending == ["each[0]/go", "each[2]/go"]
    assert story.succeed("each[2]/go").pending == ["each[0]/go"]


def test_outputs_stand_in_the_order_of_the_items_whatever_ended_first() -> None:
    story = Story(foreach("each", "inputs.list", cli("go"), max_concurrency=3), inputs=THREE)
    for index in (2, 0, 1):
        story.succeed(f"each[{index}]/go", {"n": index})
    assert story.run.steps["each"].outputs["iterations"] == [{"go": {"n": n}} for n in range(3)]


def test_the_items_may_stand_in_the_document() -> None:
    story = Story(foreach("each", ["x", "${inputs.y}"], cli("go", "${item_index}")), inputs={"y": {"k": 1}})
    assert story.run.steps["each"].items == ["x", {"k": 1}]


def test_no_items_are_no_iterations() -> None:
    assert Story(foreach("each", "inputs.list", cli("go")), inputs={"list": []}).run.steps[
        "each"
    ].outputs == {"iterations": []}


@pytest.mark.parametrize("items", ["inputs.text", "inputs.none", "${inputs.text}", "inputs.object"])
def test_what_is_no_list_fails_the_step(items: str) -> None:
    story = Story(foreach("each", items, cli("go")), inputs={"text": "abc", "object": {}})
    assert (story.run.status, story.error.step_id) == ("failed", "each")


def test_a_list_has_a_limit() -> None:
    story = Story(foreach("each", "inputs.list", cli("go")), inputs={"list": [0] * 100_001})
    assert "at most 100000 items" in story.error.message


def test_a_value_is_expanded_once() -> None:
    story = Story(
        foreach("each", "inputs.list", cli("go", "echo ${item}")), inputs={"list": ["${inputs.secret}"]}
    )
    assert values(story, "each[0]/go") == ["${inputs.secret}"]


def test_an_end_closes_the_iteration_with_its_result() -> None:
    body = (cli("go", **{"if": "item != 'b'"}), end("stop", result="${item}!"), cli("never"))
    story = Story(foreach("each", "inputs.list", *body), inputs=THREE)
    story.succeed("each[0]/go").succeed("each[2]/go")
    assert story.run.steps["each"].outputs == {"iterations": ["a!", "b!", "c!"]}


def test_a_body_sees_its_own_steps_and_those_around_it() -> None:
    story = Story(
        cli("first"),
        foreach("each", ["x"], cli("one"), cli("two", "${steps.one.outputs.n} ${steps.first.outputs.n}")),
    )
    story.succeed("first", {"n": 1}).succeed("each[0]/one", {"n": 2})
    assert sorted(values(story, "each[0]/two")) == ["1", "2"]


def test_an_iteration_does_not_see_the_steps_of_another() -> None:
    story = Story(
        foreach("each", ["x", "y"], cli("one", **{"if": "steps.one.outputs.n == null"})),
    ).succeed("each[0]/one", {"n": 1})
    assert story.pending == ["each[1]/one"]


def test_a_foreach_may_stand_in_a_foreach() -> None:
    inner = foreach("inner", "item", cli("go", "${item} ${item_index}"))
    story = Story(foreach("outer", [[1, 2], [3]], inner))
    for path in ("outer[0]/inner[0]/go", "outer[0]/inner[1]/go", "outer[1]/inner[0]/go"):
        assert story.pending == [path]
        story.succeed(path)
    assert len(story.run.steps["outer"].outputs["iterations"]) == 2


def test_jumps_stay_in_their_iteration() -> None:
    story = Story(foreach("each", ["x", "y"], cli("a"), cli("b", next="a")))
    assert story.succeed("each[0]/a").succeed("each[0]/b").pending == ["each[0]/a@2"]


def test_finished_iterations_fold_away() -> None:
    story = Story(foreach("each", "inputs.list", cli("a"), cli("b")), inputs={"list": list(range(300))})
    for n in range(299):
        story.succeed(f"each[{n}]/a").succeed(f"each[{n}]/b")
    assert list(story.run.steps) == ["each", "each[299]/a"]
    assert set(story.run.cursors) == {".", "each[299]"}
    assert [len(chunk) for chunk in story.run.steps["each"].ended] == [128, 128, 43]


def test_a_failed_iteration_fails_the_step_and_no_other_begins() -> None:
    story = Story(foreach("each", "inputs.list", cli("go"), max_concurrency=2), inputs=THREE)
    assert story.fail("each[0]/go", exit_code=3).pending == ["each[1]/go"]
    assert story.succeed("each[1]/go").run.status == "failed"
    assert (story.error.step_id, story.error.exit_code) == ("each[0]/go", 3)


def test_a_failure_may_be_survived_inside_or_outside() -> None:
    story = Story(foreach("each", ["x"], cli("go", on_error="continue"), cli("more"))).fail("each[0]/go")
    assert story.pending == ["each[0]/more"]
    story = Story(foreach("each", ["x"], cli("go"), on_error="continue"), cli("more")).fail("each[0]/go")
    assert story.pending == ["more"]
    assert list(story.run.steps) == ["each", "more"]


def test_outputs_of_a_block_are_checked_too() -> None:
    schema = {"properties": {"iterations": {"items": {"required": ["go"]}}}}
    story = Story(foreach("each", ["x"], cli("go", **{"if": False}), outputs=schema))
    assert story.error.code == "ERR_STEP_OUTPUT_INVALID"


def test_a_block_may_be_visited_again() -> None:
    story = Story(foreach("each", ["x"], cli("go")), ask("q", next="each"))
    story.succeed("each[0]/go").deliver("q", {})
    assert story.pending == ["each@2[0]/go"]
    assert story.succeed("each@2[0]/go").waiting == ["q@2"]
    assert list(story.run.steps) == ["each@2", "q@2"]


CHILD = {
    "inputs": {
        "type": "object",
        "required": ["n"],
        "properties": {"n": {"type": "integer"}, "m": {"default": 5}},
    },
    "outputs": {"type": "object", "properties": {"got": {"from": "steps.work.outputs.got"}}},
}


def test_each_item_may_run_another_workflow() -> None:
    child = program(cli("work", "${inputs.n} ${inputs.m}"), **CHILD)
    story = Story(
        foreach("each", [1, 2], workflow_ref="c.yaml", inputs={"n": "${item}"}), called={"c.yaml": child}
    )
    assert sorted(values(story, "each[0]/work")) == ["1", "5"]
    story.succeed("each[0]/work", {"got": "x"}).succeed("each[1]/work", {"got": "y"})
    assert story.run.steps["each"].outputs == {"iterations": [{"got": "x"}, {"got": "y"}]}


def test_inputs_that_do_not_fit_fail_the_iteration() -> None:
    child = program(cli("work"), **CHILD)
    step = foreach("each", [1, "x"], workflow_ref="c.yaml", inputs={"n": "${item}"}, max_concurrency=2)
    story = Story(step, called={"c.yaml": child})
    assert story.pending == ["each[0]/work"]
    story.succeed("each[0]/work")
    assert (story.run.status, story.error.code) == ("failed", "ERR_VALIDATION_INPUT")


def test_the_facts_alone_make_the_run() -> None:
    story = Story(foreach("each", "inputs.list", ask("q"), cli("go"), max_concurrency=2), inputs=THREE)
    story.deliver("each[1]/q", {}).succeed("each[1]/go").deliver("each[2]/q", 1).deliver(
        "each[0]/q", 2
    ).cancel()
    assert story.replayed() == story.run
    assert msgspec.json.decode(msgspec.json.encode(story.run), type=type(story.run)) == story.run


def test_an_end_without_a_result_yields_nothing() -> None:
    assert Story(foreach("each", [1], end("e"))).run.steps["each"].outputs == {"iterations": [{}]}
