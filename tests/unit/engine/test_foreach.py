"""A body for each item of a list."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from checkpointflow.engine.messages import Retry
from checkpointflow.engine.path import is_path
from checkpointflow.engine.soundness import find_unsound
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


# Failures that are put up with


GO_ON = {"on_item_error": "continue"}


def test_an_item_that_failed_may_let_the_others_go_on() -> None:
    story = Story(foreach("each", "inputs.list", cli("go"), **GO_ON), inputs=THREE)
    assert story.fail("each[0]/go", exit_code=3).pending == ["each[1]/go"]
    story.succeed("each[1]/go", {"n": 1}).fail("each[2]/go")
    error = {"code": "ERR_STEP_FAILED", "message": "no"}
    assert story.run.steps["each"].outputs == {
        "iterations": [None, {"go": {"n": 1}}, None],
        "failures": [
            {"index": 0, "item": "a", "error": {**error, "step_id": "each[0]/go", "exit_code": 3}},
            {"index": 2, "item": "c", "error": {**error, "step_id": "each[2]/go", "exit_code": 1}},
        ],
    }
    assert (story.run.status, list(story.run.steps)) == ("completed", ["each"])
    assert story.replayed() == story.run


def test_where_none_has_failed_the_failures_are_an_empty_list() -> None:
    story = Story(foreach("each", ["x"], cli("go"), **GO_ON)).succeed("each[0]/go")
    assert story.run.steps["each"].outputs == {"iterations": [{"go": {}}], "failures": []}


def test_one_failure_more_than_may_be_fails_the_step() -> None:
    each = foreach("each", "inputs.list", cli("go"), max_failures=1, **GO_ON)
    story = Story(each, inputs={"list": [0, 1, 2, 3]}).fail("each[0]/go").succeed("each[1]/go")
    assert story.fail("each[2]/go").run.status == "failed"
    assert story.error.message == "more than 1 items failed; no"
    assert story.error.step_id == "each[2]/go"
    assert list(story.run.steps) == ["each", "each[2]/go"]


def test_failures_at_once_are_counted_one_by_one() -> None:
    child = program(cli("work"), **CHILD)
    step = foreach(
        "each", ["x", "y", 1], workflow_ref="c.yaml", inputs={"n": "${item}"}, max_concurrency=3,
        max_failures=1, **GO_ON,
    )  # fmt: skip
    story = Story(step, called={"c.yaml": child}).succeed("each[2]/work", {"got": 1})
    assert (story.run.status, story.error.code) == ("failed", "ERR_VALIDATION_INPUT")
    assert list(story.run.steps["each"].block.failed) == ["1"]


def test_so_are_those_of_bodies_that_end_at_once() -> None:
    each = foreach("each", [1, 2, 3], cli("go", "${inputs.none}"), max_concurrency=3, max_failures=1, **GO_ON)
    block = Story(each).run.steps["each"].block
    assert ([*block.survived[0]], [*block.failed]) == (["0"], ["1", "2"])


def test_after_a_retry_the_step_goes_on_from_there() -> None:
    each = foreach("each", "inputs.list", cli("go"), max_failures=1, **GO_ON)
    story = Story(each, inputs=THREE).fail("each[0]/go").fail("each[1]/go")
    story.hear(Retry(now=story.tick(), path=None)).succeed("each[1]/go", {"n": 1}, attempt=2).succeed(
        "each[2]/go"
    )
    outputs = story.run.steps["each"].outputs
    assert [failure["index"] for failure in outputs["failures"]] == [0]
    assert outputs["iterations"][1:] == [{"go": {"n": 1}}, {"go": {}}]


def test_failures_fold_away_too() -> None:
    story = Story(foreach("each", {"count": 300}, cli("a"), **GO_ON))
    for n in range(299):
        story.fail(f"each[{n}]/a")
    assert set(story.run.cursors) == {".", "each[299]"}
    assert [len(chunk) for chunk in story.run.steps["each"].survived] == [128, 128, 43]
    assert find_unsound(story.workflow, story.run) is None


def test_of_a_step_that_failed_the_failures_can_be_read() -> None:
    each = foreach("each", ["x", "y"], cli("go"), on_error="continue")
    story = Story(each, end("e", result="${steps.each.outputs}")).succeed("each[0]/go").fail("each[1]/go")
    assert story.result["iterations"] == [{"go": {}}, None]
    assert [(f["index"], f["item"]) for f in story.result["failures"]] == [(1, "y")]


# Numbers as items


@pytest.mark.parametrize(
    ("items", "numbers"),
    [
        ({"count": 3}, [0, 1, 2]),
        ({"count": "${inputs.n}"}, [0, 1]),
        ({"count": "2"}, [0, 1]),
        ({"count": 0}, []),
        ({"from": 1, "to": "${inputs.n}"}, [1, 2]),
        ({"from": 3, "to": 2}, []),
        ({"from": 1, "to": 6, "by": 2}, [1, 3, 5]),
        ({"from": 1, "to": 5, "by": 2}, [1, 3, 5]),
        ({"from": 2, "to": 0, "by": -1}, [2, 1, 0]),
    ],
)
def test_items_may_be_numbers(items: Any, numbers: list[int]) -> None:
    story = Story(foreach("each", items, ask("q"), max_concurrency=9), inputs={"n": 2})
    record = story.run.steps["each"]
    assert (record.items if numbers else record.outputs["iterations"]) == numbers


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        ({"count": "${inputs.n}"}, "a whole number was expected, in ${items.count}"),
        ({"from": 1, "to": "many"}, "a whole number was expected, in ${items.to}"),
        ({"from": 1, "to": str(2**60)}, "a whole number was expected, in ${items.to}"),
        ({"count": "-1"}, "`count` cannot be below 0"),
        ({"from": 1, "to": 2, "by": 0}, "nor `by` 0"),
        ({"from": 1, "to": 10**15}, "a foreach takes at most 100000 items, and got 1000000000000000"),
    ],
)
def test_what_are_no_numbers_fails_the_step(items: Any, problem: str) -> None:
    story = Story(foreach("each", items, cli("go")), inputs={"n": 1.5})
    assert (problem in story.error.message, story.error.step_id) == (True, "each"), story.error


# Keys


ORDERS = [{"id": 17, "name": "a"}, {"id": 4, "name": "b"}]


def test_a_key_stands_in_paths_in_place_of_the_number() -> None:
    each = foreach("each", "inputs.orders", cli("go", "${item.name} ${item_index}"), key="order-${item.id}")
    story = Story(each, inputs={"orders": ORDERS})
    assert (story.pending, values(story, "each[order-17]/go")) == (["each[order-17]/go"], ["a", "0"])
    story.succeed("each[order-17]/go", {"n": 1})
    assert values(story, "each[order-4]/go") == ["b", "1"]
    assert story.succeed("each[order-4]/go", {"n": 2}).run.steps["each"].outputs == {
        "iterations": [{"go": {"n": 1}}, {"go": {"n": 2}}]
    }
    assert story.replayed() == story.run


def test_it_is_the_same_wherever_the_item_stands() -> None:
    for orders in (ORDERS, ORDERS[::-1]):
        each = foreach("each", "inputs.orders", ask("q"), key="${item.id}", max_concurrency=2)
        assert set(Story(each, inputs={"orders": orders}).waiting) == {"each[17]/q", "each[4]/q"}


def test_bodies_with_keys_fail_and_are_retried_as_any() -> None:
    inner = foreach("in", "item", cli("go"), key="k${item}", max_failures=1, max_concurrency=2, **GO_ON)
    story = Story(foreach("out", [[1, 2, 3]], inner, key="x.${item_index}"))
    story.fail("out[x.0]/in[k2]/go").fail("out[x.0]/in[k1]/go").succeed("out[x.0]/in[k3]/go")
    assert story.error.step_id == "out[x.0]/in[k1]/go"
    assert find_unsound(story.workflow, story.run) is None
    story.hear(Retry(now=story.tick(), path=None))
    assert find_unsound(story.workflow, story.run) is None
    story.succeed("out[x.0]/in[k1]/go", attempt=2)
    assert [f["item"] for f in story.run.steps["out"].outputs["iterations"][0]["in"]["failures"]] == [2]


def test_a_workflow_that_is_called_for_each_sees_its_item() -> None:
    child = program(cli("work", "${inputs.n}"), **CHILD)
    step = foreach("each", [7], workflow_ref="c.yaml", inputs={"n": "${item}"}, key="k${item}")
    story = Story(step, called={"c.yaml": child})
    assert (story.pending, values(story, "each[k7]/work")) == (["each[k7]/work"], ["7"])


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        (["a", "b", "a"], "the items 0 and 2 have the same key, in ${key}"),
        ([1, "1"], "the items 0 and 1 have the same key"),
        (["a", "A"], "the items 0 and 1 have keys that differ in capitals only"),
        (["a", ""], "the key of item 1 is empty"),
        (["../up"], "the key of item 0 holds '/', and may hold letters, digits, -, _ and . only"),
        (["a]/x["], "holds ']'"),
        (["a\nb"], "holds '\\n'"),
        (["a\0"], "holds '\\x00'"),
        (["\u00fc"], "holds '\\xfc'"),
        (["a@2"], "holds '@'"),
        (["x" * 101], "has 101 characters, and may have at most 100"),
        ([None], "is neither text nor a whole number"),
        ([True], "is neither text nor a whole number"),
        ([1.5], "is neither text nor a whole number"),
        ([{}], "is neither text nor a whole number"),
    ],
)
def test_a_key_that_no_path_can_have_fails_the_step_before_anything_begins(keys: Any, problem: str) -> None:
    story = Story(foreach("each", "inputs.keys", cli("go"), key="${item}"), inputs={"keys": keys})
    assert (problem in story.error.message, story.error.step_id) == (True, "each"), story.error
    assert list(story.run.steps) == ["each"]


def test_a_key_that_is_not_there_fails_the_step() -> None:
    assert 'has no "id"' in Story(foreach("each", [{}], cli("go"), key="${item.id}")).error.message


def test_the_longest_key_may_stand_behind_the_longest_name() -> None:
    name = "n" * 128
    story = Story(foreach(name, ["k" * 100], cli("go"), key="${item}"))
    assert is_path(story.pending[0])
    assert len(story.pending[0].split("/")[0]) + len("@999999999") < 255
