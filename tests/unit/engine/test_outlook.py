"""What a run comes to next, told before it goes on."""

from __future__ import annotations

from typing import Any

import pytest

from checkpointflow.engine.outlook import find_next_steps
from tests.helpers import Story, ask, branch, call, cli, end, foreach, parallel, program, switch


def ahead(story: Story) -> list[str]:
    return list(find_next_steps(story.workflow, story.run))


def decide(*targets: str) -> dict[str, Any]:
    return ask("q", transitions=[{"when": True, "next": target} for target in targets])


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([ask("q"), cli("a"), cli("b")], ["a"]),
        ([ask("q"), cli("a", **{"if": "inputs.x"}), cli("b"), cli("c")], ["a", "b"]),
        ([decide("b", "c"), cli("a"), cli("b"), cli("c")], ["b", "c"]),
        ([ask("q"), switch("s", ("inputs.x", "c"), default="q"), cli("a"), cli("c")], ["c", "q"]),
        ([ask("q"), switch("s", ("inputs.x", "t")), switch("t", ("inputs.x", "s"))], []),
        ([decide("b", "e"), cli("b"), end("e")], ["b"]),
        ([ask("q")], []),
        ([foreach("each", [1, 2], ask("q")), cli("a")], ["each", "a"]),
        ([parallel("p", branch("x", ask("q"), cli("y"))), cli("a")], ["p[x]/y"]),
        ([parallel("p", branch("x", ask("q")), branch("y", cli("z"))), cli("a")], ["p[y]/z", "a"]),
        ([parallel("p", {"start_at": "q"}, {"start_at": "z"}), ask("q"), cli("z"), cli("a")],
         ["p[z]/z", "a"]),
    ],
)  # fmt: skip
def test_what_may_follow_a_wait_is_told(steps: list[dict[str, Any]], expected: list[str]) -> None:
    assert ahead(Story(*steps, inputs={"x": 1})) == expected


def test_what_follows_a_called_workflow_is_told() -> None:
    assert ahead(Story(call("c", "c.yaml"), cli("a"), called={"c.yaml": program(ask("in"))})) == ["a"]


def test_what_is_under_way_in_doubt_or_failed_comes_again() -> None:
    assert ahead(Story(cli("a"), cli("b"))) == ["a"]
    assert ahead(Story(cli("a"), cli("b")).recover()) == ["a"]
    assert ahead(Story(cli("a"), cli("b")).fail("a")) == ["a"]
    assert ahead(Story(cli("a")).succeed("a")) == []
