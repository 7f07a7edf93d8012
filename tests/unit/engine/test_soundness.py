"""A state that no rule could have led to is known as such."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from checkpointflow.engine.run import Cursor, Run
from checkpointflow.engine.soundness import find_unsound
from tests.helpers import Story, ask, branch, call, cli, foreach, parallel, program


def nested() -> Story:
    child = program(ask("in"))
    story = Story(
        cli("first"), foreach("each", [1, 2], call("c", "c.yaml"), cli("x"), max_concurrency=2),
        parallel("p", {"start_at": "y"}), cli("y"), called={"c.yaml": child},
    )  # fmt: skip
    return story.succeed("first")


def test_every_state_on_the_way_is_sound() -> None:
    story = nested()
    for step in (
        lambda: story.deliver("each[0]/c/in", 1),
        lambda: story.fail("each[0]/x"),
        lambda: story.deliver("each[1]/c/in", 1),
        lambda: story.succeed("each[1]/x"),
    ):
        assert find_unsound(story.workflow, story.run) is None
        step()
    assert (story.run.status, find_unsound(story.workflow, story.run)) == ("failed", None)


@pytest.mark.parametrize("told", range(4))
def test_a_run_that_was_cancelled_in_a_block_is_sound(told: int) -> None:
    """Failed with: the bodies of a cancelled block taken for ones that cannot be there."""
    story = nested()
    for path in ("each[0]/c/in", "each[1]/c/in")[:told]:
        story.deliver(path, 1)
    for path in ("each[0]/x", "each[1]/x")[: 2 * (told > 2)]:
        story.succeed(path)
    assert find_unsound(story.workflow, story.cancel().run) is None


def without(things: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in things.items() if key != name}


def renamed(things: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    return {new if key == old else key: value for key, value in things.items()}


@pytest.mark.parametrize("body", [".", "each[0]", "each[1]/c"])
def test_a_body_that_is_gone_is_missed(body: str) -> None:
    run: Run = nested().run
    assert find_unsound(nested().workflow, replace(run, cursors=without(run.cursors, body))) is not None


@pytest.mark.parametrize("step", ["each", "each[0]/c", "each[0]/c/in"])
def test_a_step_that_is_gone_is_missed(step: str) -> None:
    run: Run = nested().run
    assert find_unsound(nested().workflow, replace(run, steps=without(run.steps, step))) is not None


@pytest.mark.parametrize("new", ["eacx", "each[7]/c", "each[0]/x", "first/c", "y@3", "nowhere[0]/c"])
def test_a_step_that_cannot_be_there_is_noticed(new: str) -> None:
    run: Run = nested().run
    assert (
        find_unsound(nested().workflow, replace(run, steps=renamed(run.steps, "each[0]/c", new))) is not None
    )


@pytest.mark.parametrize("body", ["first", "each[9]", "p[y]", "each[x]"])
def test_a_body_that_cannot_be_there_is_noticed(body: str) -> None:
    run: Run = nested().run
    assert find_unsound(nested().workflow, replace(run, cursors={**run.cursors, body: Cursor()})) is not None


def test_a_step_that_the_document_lacks_is_noticed() -> None:
    run: Run = nested().run
    assert (
        find_unsound(nested().workflow, replace(run, steps={**run.steps, "ghost": run.steps["first"]}))
        == "ghost"
    )


@pytest.mark.parametrize(("step", "items"), [("each", UNSET), ("each", 1), ("p", []), ("each[0]/c", [])])
def test_only_a_foreach_has_items_and_it_has_them(step: str, items: Any) -> None:
    """Failed with: a key of the snapshot that was damaged, and so was not there, taken for left out."""
    story = nested()
    if step == "p":
        for n in (0, 1):
            story.deliver(f"each[{n}]/c/in", 1).succeed(f"each[{n}]/x")
    changed = {**story.run.steps, step: replace(story.run.steps[step], items=items)}
    assert find_unsound(story.workflow, replace(story.run, steps=changed)) == step


@pytest.mark.parametrize(
    "items", [["a", "b"], [["a", 1], ["../../b", 2]], [["a", 1], ["b"]], [["a", 1], [2, 2]]]
)
def test_a_key_that_no_rule_lets_through_is_noticed(items: Any) -> None:
    """Failed with: keys of a run that somebody sent taken for names of files as they are."""
    story = Story(foreach("each", ["a", "b"], ask("q"), key="${item}"))
    assert find_unsound(story.workflow, story.run) is None
    record = replace(story.run.steps["each"], items=items)
    assert (
        find_unsound(story.workflow, replace(story.run, steps={**story.run.steps, "each": record})) == "each"
    )


def test_a_block_that_failed_and_was_left_is_sound_without_its_bodies() -> None:
    """Failed with: every resume of a run that had survived a failed `parallel` refused as corrupt."""
    steps = (parallel("p", branch("a", cli("x")), branch("b", cli("y")), on_error="continue"), cli("z"))
    story = Story(*steps).fail("p[a]/x").succeed("p[b]/y")
    assert (story.pending, find_unsound(story.workflow, story.run)) == (["z"], None)
