"""Branches that run at once."""

from __future__ import annotations

from tests.helpers import Story, ask, branch, cli, end, parallel, switch


def test_all_branches_run_at_once() -> None:
    story = Story(parallel("checks", branch("lint", cli("run")), branch("test", cli("unit"), cli("e2e"))))
    assert story.pending == ["checks[lint]/run", "checks[test]/unit"]


def test_they_join_when_all_have_ended() -> None:
    story = Story(parallel("checks", branch("lint", cli("run")), branch("test", cli("unit"))), cli("after"))
    assert story.succeed("checks[test]/unit", {"n": 1}).pending == ["checks[lint]/run"]
    assert story.succeed("checks[lint]/run", {"n": 2}).pending == ["after"]
    assert story.run.steps["checks"].outputs == {"lint": {"run": {"n": 2}}, "test": {"unit": {"n": 1}}}


def test_an_end_closes_its_branch_only() -> None:
    story = Story(parallel("p", branch("a", end("stop", result=1)), branch("b", cli("go"))), cli("after"))
    assert story.pending == ["p[b]/go"]
    assert story.succeed("p[b]/go").run.steps["p"].outputs == {"a": 1, "b": {"go": {}}}


def test_all_branches_are_let_end_then_each_failed_one_is_named() -> None:
    story = Story(
        parallel("p", branch("a", cli("x")), branch("b", cli("y"), cli("z")), branch("c", cli("w")))
    )
    story.fail("p[a]/x").fail("p[c]/w")
    assert story.succeed("p[b]/y").pending == ["p[b]/z"]
    assert story.succeed("p[b]/z").run.status == "failed"
    assert story.error.message == "p[a]: no; p[c]: no"


def test_branch_steps_of_the_list_belong_to_the_branch() -> None:
    story = Story(
        parallel("p", {"start_at": "a"}, {"start_at": "b"}),
        cli("a"), cli("b", next="b2"), cli("b2"),
        cli("after", "${steps.b2.outputs.n} ${steps.p.outputs.a.a.n}"),
    )  # fmt: skip
    assert story.pending == ["p[a]/a", "p[b]/b"]
    story.succeed("p[a]/a", {"n": 1}).succeed("p[b]/b")
    assert story.pending == ["p[b]/b2"]
    assert story.succeed("p[b]/b2", {"n": 2}).pending == ["after"]
    assert sorted(story.run.steps["after"].action.variables.values()) == ["1", "2"]
    assert story.run.steps["p"].outputs == {"a": {"a": {"n": 1}}, "b": {"b": {}, "b2": {"n": 2}}}


def test_a_branch_without_next_is_one_step() -> None:
    story = Story(parallel("p", {"start_at": "a"}), cli("a"), cli("after"))
    assert story.succeed("p[a]/a").pending == ["after"]


def test_branch_steps_may_stand_before_the_parallel() -> None:
    story = Story(cli("a"), parallel("p", {"start_at": "a"}), cli("after"))
    assert story.pending == ["p[a]/a"]


def test_a_branch_that_decides_follows_its_decision() -> None:
    story = Story(
        parallel("p", {"start_at": "s"}),
        switch("s", (True, "x"), default="y"),
        cli("x"),
        cli("y"),
        end("e", result=1),
    )
    assert story.pending == ["p[s]/x"]
    assert story.succeed("p[s]/x").result == 1


def test_some_wait_while_others_work() -> None:
    story = Story(parallel("p", branch("a", ask("q")), branch("b", cli("x"), ask("r"))))
    assert (story.run.status, story.waiting, story.pending) == ("running", ["p[a]/q"], ["p[b]/x"])
    assert story.succeed("p[b]/x").run.status == "waiting"
    assert story.waiting == ["p[a]/q", "p[b]/r"]
    story.deliver("p[b]/r", {}).deliver("p[a]/q", {})
    assert story.run.status == "completed"


def test_a_branch_that_turns_for_ever_fails_like_any_other() -> None:
    story = Story(parallel("p", branch("a", cli("x")), branch("b", switch("s", (True, "s")))))
    assert (story.run.status, story.pending) == ("running", ["p[a]/x"])
    assert story.succeed("p[a]/x").error.code == "ERR_ENDLESS_LOOP"


def test_cancelling_closes_all() -> None:
    story = Story(parallel("p", branch("a", cli("x")), branch("b", ask("q")))).cancel()
    assert {record.__struct_config__.tag for record in story.run.steps.values()} == {"cancelled"}


def test_a_branch_of_the_list_sees_what_ran_before_its_parallel() -> None:
    story = Story(cli("x"), parallel("p", {"start_at": "a"}), cli("a", "${steps.x.outputs.n}"))
    assert story.succeed("x", {"n": 7}).run.steps["p[a]/a"].action.variables == {"CPF_VALUE_1": "7"}


def test_a_step_of_any_branch_is_seen_after_the_join() -> None:
    story = Story(
        parallel("p", {"start_at": "a"}, {"start_at": "b"}),
        cli("a"),
        cli("b"),
        cli("z", "${steps.b.outputs.n}"),
    )
    story.succeed("p[a]/a").succeed("p[b]/b", {"n": 7})
    assert story.run.steps["z"].action.variables == {"CPF_VALUE_1": "7"}


def test_a_step_of_two_parallels_is_seen_after_the_one_that_ran_it() -> None:
    story = Story(
        parallel("p", {"start_at": "a"}, **{"if": "inputs.no"}),
        parallel("q", {"start_at": "a"}),
        cli("a"),
        cli("z", "${steps.a.outputs.n}"),
        inputs={"no": False},
    )
    story.succeed("q[a]/a", {"n": 7})
    assert story.run.steps["z"].action.variables == {"CPF_VALUE_1": "7"}
