"""What `plan` says: values in their places, which ways are open, and where a run goes on from."""

from __future__ import annotations

from typing import Any, cast

import pytest
from msgspec import UNSET, structs, to_builtins

from checkpointflow.engine.run import Cursor
from checkpointflow.errors import EvaluationError, ExpressionError, InvalidInput
from checkpointflow.explore import plan as planning
from checkpointflow.explore.outline import Ending, Inner, Item, Jump, Plan, Step
from checkpointflow.explore.partial import Known, Later, decide, fill, find_value, is_later, join, learn, show
from checkpointflow.explore.plan import plan, plan_on
from checkpointflow.expressions.syntax import parse, parse_condition
from checkpointflow.expressions.templates import compile_value
from tests.helpers import Story, ask, branch, call, cli, end, foreach, parallel, program, switch

BUILD: Known = {"build": {"outputs": Later("‹build.outputs›"), "exit_code": 0}}
SCOPE = {"inputs": {"yes": True, "no": False, "list": [1, Later("‹x›")], "word": "w"}, "steps": BUILD}


def obj(required: str = "", **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required.split(), "properties": properties}


BOOL, TEXT = {"type": "boolean"}, {"type": "string"}
ANY = obj(l={"type": "array"}, x={}, n={}, s=TEXT)
DECISION = obj("decision", decision={"enum": ["approve", "reject"]})


def sketch(way: tuple[Item, ...]) -> list[Any]:
    """The steps by their names; those with arms as pairs."""
    return [_sketch(item) for item in way]


def _sketch(item: Item) -> Any:
    match item:
        case Jump(goto=name, shown=where):
            return f"{name} {where}"
        case Ending(status=status, step=name):
            return f"{status} {name}" if name else status
        case Step(step=name, arms=arms, bodies=bodies):
            inner = {one.name: sketch(one.way) for one in bodies}
            inner |= {f"{arm.why} {arm.when or ''}".strip(): sketch(arm.way) for arm in arms}
            return {name: inner} if inner else name


def plan_of(*steps: Any, given: Any = None, called: Any = None, **more: Any) -> Plan:
    document = program(*steps, called=called, **more)
    return plan(document, {} if given is None else given, {"REGION": "eu"})


def step_of(way: tuple[Item, ...], name: str) -> Step:
    found = [item for item in way if isinstance(item, Step) and item.step == name]
    return found[0]


def does(planned: Plan, name: str) -> dict[str, Any]:
    found: dict[str, Any] = to_builtins(step_of(planned.way, name).does)
    return found


# Values


@pytest.mark.parametrize(
    ("condition", "truth"),
    [
        ("inputs.yes", True),
        ("steps.build.outputs.ok", None),
        ("not steps.build.outputs.ok", None),
        ("not inputs.yes", False),
        ("inputs.no and steps.build.outputs.ok", False),
        ("steps.build.outputs.ok and inputs.no", False),
        ("steps.build.outputs.ok and inputs.yes", None),
        ("steps.build.outputs.ok or inputs.yes", True),
        ("inputs.no or inputs.no", False),
        ("steps.build.outputs.ok and inputs.nothing", None),
        ("steps.build.outputs.n > 3", None),
        ("steps.build.exit_code == 0", True),
        ("steps.other == null", True),
        ("inputs.list[0] == 1", True),
        ("inputs.list[1] == 1", None),
        ("inputs.list.1 == 1", None),
        ("inputs.list == inputs.no", None),
        ("default(inputs.yes, steps.build.outputs.ok)", True),
        ("default(inputs.nothing, steps.build.outputs.ok)", None),
        ("default(steps.build.outputs.ok, inputs.yes)", None),
    ],
)
def test_a_condition_is_decided_as_far_as_it_can_be(condition: str, truth: bool | None) -> None:
    assert decide(parse_condition(condition), SCOPE) is truth


@pytest.mark.parametrize(
    "condition", ["inputs.nothing", "inputs.yes and inputs.nothing", "inputs.list[2] == 1"]
)
def test_a_condition_that_surely_has_no_value_has_none(condition: str) -> None:
    with pytest.raises(EvaluationError):
        decide(parse_condition(condition), SCOPE)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("${steps.build.outputs.version}", "‹build.outputs.version›"),
        ("v${steps.build.outputs.version}", "v‹build.outputs.version›"),
        ("${upper(steps.build.outputs.version)}", "‹upper(build.outputs.version)›"),
        ("${not steps.build.outputs.ok}", "‹not build.outputs.ok›"),
        ("${not inputs.yes}", False),
        ({"a": ["${steps.build.outputs[0]}", "${inputs.word}", 3]}, {"a": ["‹build.outputs[0]›", "w", 3]}),
        ("${inputs.list}", [1, "‹x›"]),
        ("a ${inputs.list}", 'a [1,"‹x›"]'),
        ("${inputs.word}!", "w!"),
    ],
)
def test_values_are_filled_in_as_far_as_they_are_known(value: Any, shown: Any) -> None:
    filled = fill(compile_value(value), SCOPE)
    assert show(filled) == shown
    assert is_later(filled) == ("‹" in str(shown))


def test_a_text_that_cannot_be_read_is_told() -> None:
    with pytest.raises(ExpressionError):
        fill(compile_value("${"), SCOPE)


def test_what_ways_agree_in_is_known_where_they_meet() -> None:
    one = {"a": {"x": 1, "y": True, "z": Later("‹z›", {"p": 1, "q": 2})}, "b": BUILD}
    other = {"a": {"x": 1, "y": 1, "z": Later("‹z›", {"p": 1, "q": 3})}, "b": BUILD}
    joined = join(one, other, "")
    assert joined == {"a": {"x": 1, "y": Later("‹a.y›"), "z": Later("‹z›", {"p": 1})}, "b": BUILD}
    assert join({"a": 1}, {}, "") == {"a": Later("‹a›")}


@pytest.mark.parametrize(
    ("condition", "reference", "value"),
    [
        ('event.d == "approve"', "d", "approve"),
        ('"approve" == event.d', "d", "‹build.outputs.d›"),
        ('event.d != "approve"', "d", "‹build.outputs.d›"),
        ('event.d == "3"', "d", "‹build.outputs.d›"),
        ('event.ok and event.d == "x"', "d", "x"),
        ('event.ok or event.d == "x"', "d", "‹build.outputs.d›"),
        ('not (event.d == "x")', "d", "‹build.outputs.d›"),
        ("event.ok", "ok", True),
        ("not event.ok", "ok", False),
        ("event.other", "other", "‹build.outputs.other›"),
        ('steps.build.outputs.a.b == "x"', "a.b", "x"),
        ('steps.build.outputs.a.b == "x"', "a.c", "‹build.outputs.a.c›"),
        ('steps.build.outputs == "x"', "d", None),
        ('steps.other.outputs.d == "x"', "d", "‹build.outputs.d›"),
        ('inputs.d == "x"', "d", "‹build.outputs.d›"),
    ],
)
def test_what_holds_is_known_from_there_on(condition: str, reference: str, value: Any) -> None:
    known = learn(
        BUILD, parse(condition).root, ("steps", "build", "outputs"), lambda path: path[-1:] == ("ok",)
    )
    if value is None:
        assert known["build"]["outputs"] == "x"
    else:
        assert show(find_value(parse(f"steps.build.outputs.{reference}"), {"steps": known})) == value


def test_what_is_known_is_not_learnt_anew() -> None:
    assert learn(BUILD, parse('steps.build.exit_code == "x"').root, (), lambda _: False) == BUILD


# Commands and calls


@pytest.mark.parametrize(
    ("command", "typed"),
    [
        ("echo ${inputs.s}", """echo 'it'"'"'s $5'"""),
        ("echo ${inputs.n} ${inputs.l}", "echo 3 a 'b c'"),
        ('echo "${inputs.s} or ${inputs.x}"', r'''echo "it's \$5 or {\"a\":1}"'''),
        ("echo '${inputs.s}'", """echo 'it'"'"'s $5'"""),
        ("cat <<E\n${inputs.s} ${inputs.x}\nE", 'cat <<E\nit\'s \\$5 {"a":1}\nE'),
        ("cat ${file:inputs.s}", "cat ‹file: inputs.s›"),
        ("echo ${raw:inputs.n} ${HOME}", "echo 3 ${HOME}"),
        (["echo ${inputs.n}", "true"], "echo 3\ntrue"),
        ("echo ${steps.a.outputs.v} \"${steps.a.outputs.v}\" '${steps.a.stdout}'",
         "echo ‹a.outputs.v› \"‹a.outputs.v›\" '‹a.stdout›'"),
        ("deploy --token ${secrets.TOKEN}", "deploy --token ‹secret TOKEN›"),
        ("deploy ${run.id} ${env.REGION}", "deploy ‹run.id› eu"),
    ],
)  # fmt: skip
def test_a_command_is_told_as_one_would_type_it(command: Any, typed: str) -> None:
    given = {"s": "it's $5", "n": 3, "l": ["a", "b c"], "x": {"a": 1}}
    planned = plan_of(cli("a"), cli("b", command), inputs=ANY, given=given, env=["REGION"])
    assert does(planned, "b") == {"command": typed, "shell": "sh"}


def test_powershell_has_quotes_of_its_own() -> None:
    planned = plan_of(
        cli("a", 'Write-Output ${inputs.s} "${inputs.s}" ${inputs.l}', shell="pwsh"),
        given={"s": "it's `$5\"", "l": ["a", "b c"]},
    )
    typed = "Write-Output 'it''s `$5\"' \"it's ```$5`\"\" a, 'b c'"
    assert does(planned, "a") == {"command": typed, "shell": "pwsh"}


def test_what_a_command_is_given_besides_is_told() -> None:
    planned = plan_of(
        cli("a"),
        cli(
            "b",
            env={"V": "${steps.a.outputs.v}", "T": "${secrets.T}"},
            cwd="${inputs.d}",
            stdin={"v": "${inputs.d}"},
        ),
        cli("c", stdin="${steps.a.outputs}"),
        defaults={"env": {"REGION": "eu"}, "cwd": "there"},
        given={"d": "here"},
    )
    more = {
        "env": {"REGION": "eu", "V": "‹a.outputs.v›", "T": "‹secret T›"},
        "cwd": "here",
        "stdin": {"v": "here"},
    }
    assert does(planned, "b") == {"command": "true", "shell": "sh", **more}
    assert does(planned, "c")["stdin"] == "‹a.outputs›"
    assert does(planned, "a") == {"command": "true", "shell": "sh", "env": {"REGION": "eu"}, "cwd": "there"}


def api(id: str, url: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "kind": "api", "url": url, **more}


def test_a_call_is_told_with_its_url_and_its_body() -> None:
    planned = plan_of(
        api("a", "https://x.test/${inputs.p}"),
        api("b", "https://${inputs.h}/${inputs.p}/${steps.a.outputs.id}", method="POST",
            body={"t": "${secrets.T}"}, headers={"Authorization": "Bearer ${secrets.T}"}),
        given={"p": "a b", "h": "x.test"},
    )  # fmt: skip
    assert does(planned, "a") == {"method": "GET", "url": "https://x.test/a%20b"}
    assert does(planned, "b") == {
        "method": "POST",
        "url": "https://x.test/a%20b/‹a.outputs.id›",
        "headers": {"Authorization": "Bearer ‹secret T›"},
        "body": {"t": "‹secret T›"},
    }


@pytest.mark.parametrize(
    "step",
    [
        cli("a", "echo $(( ${inputs.s} ))"),
        cli("a", "echo ${inputs.nothing}"),
        cli("a", **{"if": "inputs.nothing"}),
        cli("a", timeout_seconds="${inputs.s}"),
        cli("a", env={"A": "${steps.z.outputs}"}),
        api("a", "https://x.test/${inputs.dots}"),
        ask("a", prompt="${inputs.nothing}"),
        switch("a", ("inputs.nothing", "z")),
        switch("a", (False, "z")),
        foreach("a", "inputs.s", cli("b")),
        foreach("a", "inputs.l", cli("b"), key="${item}"),
        end("a", result="${inputs.nothing}"),
        call("a", "${inputs.s}", one_of=["c.yaml"]),
    ],
)
def test_a_step_that_surely_fails_is_told_to(step: dict[str, Any]) -> None:
    planned = plan_of(
        step, cli("z"), given={"s": "x", "dots": "..", "l": ["/"]}, called={"c.yaml": program(cli("c"))}
    )
    assert sketch(planned.way) == ["a", "failed"]
    assert step_of(planned.way, "a").fails


def test_what_is_caught_goes_on_where_the_document_says() -> None:
    broken = cli("a", "echo ${inputs.nothing}", on_error={"next": "z"})
    assert sketch(plan_of(broken, cli("b"), cli("z")).way) == ["a", "z", "completed"]
    maybe = {**broken, "if": "steps.o.outputs.ok"}
    assert sketch(plan_of(cli("o"), maybe, cli("b"), cli("z")).way) == [
        "o",
        {"a": {"skipped": ["b", "z below"], "fails": ["z below"]}},
        "z",
        "completed",
    ]


@pytest.mark.parametrize(
    ("more", "limits"),
    [
        ({}, None),
        ({"timeout_seconds": 60, "retry": {"max_attempts": 3}}, {"timeout_seconds": 60, "attempts": 3}),
        ({"timeout_seconds": "${inputs.n}"}, {"timeout_seconds": 5}),
        ({"timeout_seconds": "${steps.o.outputs.n}"}, {"timeout_seconds": "‹o.outputs.n›"}),
        ({"lock": {"key": "deploy-${inputs.n}"}}, {"lock": "deploy-5"}),
    ],
)
def test_limits_are_told(more: Any, limits: Any) -> None:
    planned = plan_of(cli("o"), cli("a", **more), given={"n": 5})
    assert to_builtins(step_of(planned.way, "a").limits) == limits


def test_the_limits_of_the_defaults_are_not_for_waits() -> None:
    planned = plan_of(
        cli("o"),
        ask("a"),
        ask("b", timeout_seconds=60),
        defaults={"timeout_seconds": 7, "retry": {"max_attempts": 2}},
    )
    limits = [to_builtins(step_of(planned.way, name).limits) for name in "oab"]
    assert limits == [{"timeout_seconds": 7, "attempts": 2}, None, {"timeout_seconds": 60}]


# Ways


def on(when: str, target: str) -> dict[str, Any]:
    return {"when": when, "next": target}


REVIEW = [on('event.decision == "approve"', "deploy"), on('event.decision == "reject"', "rejected")]


def test_of_a_question_each_answer_is_told_with_what_follows() -> None:
    planned = plan_of(
        ask(
            "review",
            prompt="Deploy ${inputs.v}?",
            summary="${inputs.v}",
            input_schema=DECISION,
            transitions=REVIEW,
        ),
        cli("deploy"),
        end("deployed", result="${steps.review.outputs.decision}"),
        end("rejected", result="${steps.review.outputs}"),
        given={"v": "1.0"},
    )
    assert sketch(planned.way) == [
        {
            "review": {
                'answer event.decision == "approve"': ["deploy below"],
                'answer event.decision == "reject"': ["completed rejected"],
            }
        },
        "deploy",
        "completed deployed",
    ]
    question = {"audience": "user", "event_name": "review_event", "prompt": "Deploy 1.0?", "summary": "1.0"}
    assert does(planned, "review") == {**question, "answer": DECISION}
    assert planned.way[-1] == Ending(ends="run", status="completed", step="deployed", result="approve")


@pytest.mark.parametrize(
    ("schema", "transitions", "refuses"),
    [
        (DECISION, REVIEW, False),
        (DECISION, REVIEW[:1], True),
        (obj("", decision={"enum": ["approve", "reject"]}), REVIEW, True),
        (obj("decision", decision=TEXT), REVIEW, True),
        (obj("decision", decision=True), REVIEW, True),
        (obj("decision", decision=TEXT), [*REVIEW, on("true", "deploy")], False),
        (obj("ok", ok=BOOL), [on("event.ok", "deploy"), on("not event.ok", "rejected")], False),
        (obj("ok", ok={"enum": ["so"]}), [on("event.ok", "deploy")], True),
        (DECISION, [on("inputs.nothing", "deploy")], True),
    ],
)
def test_whether_an_answer_may_be_refused_is_told(schema: Any, transitions: Any, refuses: bool) -> None:
    planned = plan_of(
        ask("review", input_schema=schema, transitions=transitions), cli("deploy"), end("rejected")
    )
    assert does(planned, "review").get("refuses", False) is refuses


def test_a_wait_may_fail_of_what_it_says() -> None:
    steps = [
        ask("a", prompt="${inputs.nothing}", timeout_seconds=9, on_error={"next": "c"}),
        cli("b"),
        end("c"),
    ]
    assert sketch(plan_of(*steps).way) == ["a", "completed c"]
    steps = [ask("a", on_error={"next": "c"}), end("b"), end("c")]
    assert sketch(plan_of(*steps).way) == [{"a": {"fails": ["completed c"]}}, "completed b"]


def test_a_wait_that_times_out_leads_on_or_fails() -> None:
    planned = plan_of(
        ask("a", timeout_seconds=9), ask("b", timeout_seconds=9, on_timeout={"next": "c"}), cli("c")
    )
    assert sketch(planned.way) == [
        {"a": {"times_out": ["failed"]}},
        {"b": {"times_out": ["c below"]}},
        "c",
        "completed",
    ]
    caught = ask("a", timeout_seconds=9, on_error={"next": "c"})
    assert sketch(plan_of(caught, end("e"), end("c")).way) == [
        {"a": {"times_out": ["completed c"]}},
        "completed e",
    ]


@pytest.mark.parametrize(
    ("condition", "runs"),
    [("inputs.yes", True), ("inputs.no", False), ("steps.o.outputs.ok", None), ("true", True)],
)
def test_a_condition_says_whether_a_step_is_run(condition: str, runs: bool | None) -> None:
    planned = plan_of(cli("o"), cli("a", **{"if": condition}), given={"yes": True, "no": False})
    step = step_of(planned.way, "a")
    assert (step.runs, step.condition) == (runs, None if condition == "true" else condition)
    assert (step.does is None) == (runs is False)


def test_a_condition_with_a_next_is_a_jump() -> None:
    planned = plan_of(cli("o"), cli("a", next="c", **{"if": "steps.o.outputs.ok"}), cli("b"), cli("c"))
    assert sketch(planned.way) == [
        "o",
        {"a": {"skipped": ["b", "c below"]}},
        "c",
        "completed",
    ]


def test_a_step_that_is_not_done_is_not_there() -> None:
    planned = plan_of(
        cli("o", **{"if": "inputs.no"}), cli("a", **{"if": "steps.o.outputs != null"}), given={"no": False}
    )
    assert step_of(planned.way, "a").runs is False


def test_a_switch_is_decided_if_it_can_be() -> None:
    steps = [
        cli("o"),
        switch("s", ("inputs.no", "a"), ("inputs.word == 'b'", "b"), default="c"),
        end("a"),
        cli("b"),
        end("c"),
    ]
    planned = plan_of(*steps, given={"no": False, "word": "b"})
    assert sketch(planned.way) == ["o", {"s": {"case inputs.word == 'b'": ["b below"]}}, "b", "completed c"]
    assert step_of(planned.way, "s").arms[0].sure
    planned = plan_of(*steps, given={"no": False, "word": "c"})
    assert sketch(planned.way) == ["o", {"s": {"else": ["c below"]}}, "completed c"]


def test_where_arms_meet_the_steps_go_on_below() -> None:
    planned = plan_of(
        cli("o"),
        switch("s", ("steps.o.outputs.a", "a"), ("steps.o.outputs.nothing.at", "b"), default="d"),
        cli("a", next="d"),
        cli("b"),
        cli("d"),
    )
    arms = {"case steps.o.outputs.a": ["a", "d below"], "case steps.o.outputs.nothing.at": ["b", "d below"]}
    assert sketch(planned.way) == ["o", {"s": {**arms, "else": ["d below"]}}, "d", "completed"]


def test_arms_that_end_at_once_stand_side_by_side() -> None:
    planned = plan_of(cli("o"), switch("s", ("steps.o.outputs.a", "a"), default="b"), end("a"), end("b"))
    assert sketch(planned.way) == [
        "o",
        {"s": {"case steps.o.outputs.a": ["completed a"], "else": ["completed b"]}},
    ]


def test_behind_a_case_that_may_hold_an_error_is_none() -> None:
    planned = plan_of(
        cli("o"),
        switch("s", ("steps.o.outputs.a", "a"), ("inputs.nothing", "b"), default="b"),
        cli("a"),
        cli("b"),
    )
    assert sketch(planned.way) == ["o", {"s": {"case steps.o.outputs.a": ["a below"]}}, "a", "b", "completed"]


def test_a_step_that_is_told_above_is_referred_to() -> None:
    planned = plan_of(
        ask("a"),
        cli("b", "echo ${default(steps.c.outputs.v, inputs.word)}", on_error={"next": "a"}),
        switch("s", ("steps.b.outputs.ok", "e"), default="c"),
        cli("c", next="b"),
        end("e"),
        given={"word": "w"},
    )
    assert sketch(planned.way) == [
        "a",
        {"b": {"fails": ["a above"]}},
        {"s": {"case steps.b.outputs.ok": ["completed e"], "else": ["c", "b above"]}},
    ]
    assert does(planned, "b")["command"] == "echo ‹default(c.outputs.v, inputs.word)›"


def test_a_failure_that_changes_nothing_is_no_arm() -> None:
    planned = plan_of(cli("a", on_error="continue"), cli("b", **{"if": "steps.a.error == null"}))
    assert sketch(planned.way) == ["a", "b", "completed"]
    assert step_of(planned.way, "a").goes_on
    assert step_of(planned.way, "b").runs is None


def test_after_a_step_its_error_is_not_there_nor_is_any_other_exit_code() -> None:
    planned = plan_of(
        cli("a"),
        cli("b", **{"if": "steps.a.error != null or steps.a.exit_code != 0"}),
        cli("c", success={"exit_codes": [0, 1]}),
        cli("d", **{"if": "steps.c.exit_code == 0"}),
        switch("s", (True, "e")),
        cli("e", **{"if": "steps.s.outputs == null"}),
    )
    assert [step_of(planned.way, name).runs for name in "bde"] == [False, None, False]


def test_an_end_with_a_condition_may_be_passed() -> None:
    planned = plan_of(
        cli("o"), end("a", result={"v": "${steps.o.outputs.v}"}, **{"if": "steps.o.outputs.ok"}), end("b")
    )
    assert sketch(planned.way) == ["o", "a", "completed b"]
    assert does(planned, "a") == {
        "ends": "run",
        "status": "completed",
        "step": "a",
        "result": {"v": "‹o.outputs.v›"},
    }
    assert sketch(plan_of(end("a", **{"if": "inputs.no"}), given={"no": False}).way) == ["a", "completed"]


def test_the_result_of_the_run_is_told() -> None:
    outputs = obj(
        a={"from": "steps.a.outputs.v"},
        b={"from": "inputs.word"},
        c={"from": "steps.never.outputs"},
        d={"type": "string"},
    )
    planned = plan_of(cli("a"), outputs=outputs, given={"word": "w"})
    assert planned.way[-1] == Ending(ends="run", status="completed", result={"a": "‹a.outputs.v›", "b": "w"})


def test_secrets_and_inputs_that_do_not_fit_are_refused_as_by_run() -> None:
    with pytest.raises(InvalidInput):
        plan_of(cli("a"), inputs=obj("x", x=TEXT))
    with pytest.raises(InvalidInput):
        plan_of(cli("a"), env=["NOWHERE"])


def test_finally_is_told_last() -> None:
    planned = plan_of(
        cli("a", **{"if": "run.id == 'x'"}),
        end("e"),
        **cast(Any, {"finally": [cli("f", "echo ${run.outcome.status} ${default(steps.a.outputs.v, 1)}")]}),
    )
    assert sketch(planned.cleanup) == ["f", "completed"]
    assert to_builtins(step_of(planned.cleanup, "f").does)["command"] == (
        "echo ‹run.outcome.status› ‹default(a.outputs.v, 1)›"
    )


def test_a_plan_is_cut_where_it_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "MAX_STEPS", 3)
    planned = plan_of(*(cli(f"s{n}") for n in range(5)))
    assert (sketch(planned.way), planned.cut) == (["s0", "s1", "s2"], True)
    assert not plan_of(*(cli(f"s{n}") for n in range(3))).cut


# Blocks


def bodies(planned: Plan, name: str) -> tuple[Inner, ...]:
    return step_of(planned.way, name).bodies


def test_few_items_are_told_one_by_one() -> None:
    planned = plan_of(
        foreach("f", "inputs.l", cli("a", "echo ${item} ${item_index}"), max_concurrency=2),
        given={"l": ["x", "y"]},
    )
    assert does(planned, "f") == {"over": "inputs.l", "count": 2, "at_once": 2}
    commands = [to_builtins(step_of(inner.way, "a").does)["command"] for inner in bodies(planned, "f")]
    assert commands == ["echo x 0", "echo y 1"]
    assert [(inner.name, inner.item) for inner in bodies(planned, "f")] == [("0", "x"), ("1", "y")]
    assert bodies(planned, "f")[0].way[-1] == Ending(ends="item", status="completed")


@pytest.mark.parametrize(("more", "may_fail"), [({}, None), ({"max_failures": 2}, 2)])
def test_how_many_items_may_fail_is_told(more: Any, may_fail: int | None) -> None:
    planned = plan_of(foreach("f", [], cli("a"), on_item_error="continue", **more))
    assert does(planned, "f") == {"over": "a list", "count": 0, "may_fail": may_fail}


@pytest.mark.parametrize(
    ("items", "over", "count"),
    [
        ("${inputs.l}", "inputs.l", 4),
        ("steps.o.outputs.l", "‹o.outputs.l›", None),
        ({"from": 1, "to": "${steps.o.outputs.n}"}, '{"from":1,"to":"‹o.outputs.n›"}', None),
        ({"count": 9}, "a list", 9),
    ],
)
def test_of_many_items_or_unknown_ones_it_is_told_what_is_done_for_each(
    items: Any, over: str, count: int | None
) -> None:
    planned = plan_of(cli("o"), foreach("f", items, cli("a", "echo ${item.n}")), given={"l": [1, 2, 3, 4]})
    assert does(planned, "f") == {"over": over, **({} if count is None else {"count": count})}
    [inner] = bodies(planned, "f")
    assert (inner.name, inner.item, does(Plan(workflow="w", inputs={}, way=inner.way), "a")["command"]) == (
        "each",
        UNSET,
        "echo ‹item.n›",
    )


def test_items_may_be_known_in_part_and_have_keys() -> None:
    planned = plan_of(cli("o"), foreach("f", ["x", "${steps.o.outputs.v}"], cli("a", "echo ${item}")))
    assert [inner.item for inner in bodies(planned, "f")] == ["x", "‹o.outputs.v›"]
    planned = plan_of(foreach("f", ["x", "y"], cli("a"), key="k-${item}"))
    assert [(inner.name, inner.item) for inner in bodies(planned, "f")] == [("k-x", "x"), ("k-y", "y")]
    planned = plan_of(cli("o"), foreach("f", ["${steps.o.outputs.v}"], cli("a"), key="k-${item}"))
    assert does(planned, "f") == {"over": '["‹o.outputs.v›"]'}


CALLED = program(
    cli("c", "echo ${inputs.v} ${env.REGION}"),
    inputs=obj("v", v=TEXT, w={"default": 7}),
    outputs=obj(v={"from": "steps.c.outputs.v"}),
    env=["REGION"],
    **cast(Any, {"finally": [cli("d")]}),
)


def test_what_a_called_workflow_does_is_told_within() -> None:
    planned = plan_of(
        cli("o"), call("a", "c.yaml", inputs={"v": "${steps.o.outputs.v}"}), called={"c.yaml": CALLED}
    )
    [inner] = bodies(planned, "a")
    assert (inner.name, sketch(inner.way), sketch(inner.cleanup)) == (
        "c.yaml",
        ["c", "completed"],
        ["d", "completed"],
    )
    assert to_builtins(step_of(inner.way, "c").does)["command"] == "echo ‹o.outputs.v› eu"
    assert inner.way[-1] == Ending(ends="workflow", status="completed", result={"v": "‹c.outputs.v›"})


def test_a_called_workflow_that_refuses_its_inputs_never_begins() -> None:
    planned = plan_of(
        foreach("a", ["x", 3], workflow_ref="c.yaml", inputs={"v": "${item}"}), called={"c.yaml": CALLED}
    )
    first, second = bodies(planned, "a")
    assert (first.name, first.item, first.fails, sketch(first.way)) == ("0", "x", None, ["c", "completed"])
    assert second.fails is not None and second.way == ()


def test_of_workflows_that_a_value_chooses_all_that_may_be_are_told() -> None:
    called = {"c.yaml": CALLED, "d.yaml": program(cli("d"))}
    step = call("a", "${steps.o.outputs.ref}", one_of=list(called), inputs={"v": "x"})
    planned = plan_of(cli("o"), step, called=called)
    assert [inner.name for inner in bodies(planned, "a")] == ["c.yaml", "d.yaml"]
    planned = plan_of(cli("o"), {**step, "workflow_ref": "${inputs.r}"}, called=called, given={"r": "d.yaml"})
    assert [inner.name for inner in bodies(planned, "a")] == ["d.yaml"]


def test_branches_are_told_side_by_side() -> None:
    planned = plan_of(
        parallel("p", {"start_at": "a"}, branch("own", cli("x"), end("y"))),
        cli("a"),
        cli("b", "echo ${steps.a.outputs.v} ${steps.p.outputs.own.v}"),
    )
    assert sketch(planned.way) == [
        {"p": {"a": ["a", "completed"], "own": ["x", "completed y"]}},
        "b",
        "completed",
    ]
    assert does(planned, "b")["command"] == "echo ‹a.outputs.v› ‹p.outputs.own.v›"


# Runs under way


def resumed(story: Story) -> Plan:
    return plan_on(story.workflow, story.run)


def test_a_run_goes_on_from_where_it_waits_with_what_is_known() -> None:
    story = Story(
        cli("a"),
        ask("b", **{"if": "steps.a.outputs.v == 1"}),
        cli("c", "echo ${steps.a.outputs.v} ${inputs.w} ${run.id}", next="b"),
        inputs={"w": "w"},
    )
    planned = resumed(story.succeed("a", {"v": 1}))
    assert sketch(planned.way) == ["b", "c", "b above"]
    step = step_of(planned.way, "b")
    assert (step.now, step.runs) == ("waiting", True)
    assert does(planned, "c")["command"] == "echo 1 w ‹run.id›"


def test_what_is_under_way_is_told_to_be() -> None:
    story = Story(cli("a"), cli("b"))
    assert step_of(resumed(story).way, "a").now == "under_way"
    assert step_of(resumed(story.interrupt()).way, "a").now == "interrupted"
    assert step_of(resumed(story.recover()).way, "a").now == "in_doubt"


def test_what_was_decided_when_a_step_began_is_not_asked_again() -> None:
    story = Story(
        ask("a", transitions=[on("event.ok", "b")], **{"if": "steps.b.outputs.v == null"}), cli("b", next="a")
    )
    story.deliver("a", {"ok": True}).succeed("b", {"v": None})
    assert step_of(resumed(story).way, "a").runs
    story = Story(cli("a", **{"if": "true"}, on_error={"next": "a"}))
    assert sketch(resumed(story).way) == [{"a": {"fails": ["a above"]}}, "completed"]


def test_of_a_foreach_under_way_the_rest_is_told() -> None:
    body = [cli("a", "echo ${item}"), ask("b")]
    story = Story(foreach("f", "inputs.l", *body, max_concurrency=2), cli("z"), inputs={"l": ["u", "v", "w"]})
    planned = resumed(story.succeed("f[0]/a"))
    assert [(inner.name, inner.item, sketch(inner.way)) for inner in bodies(planned, "f")] == [
        ("0", "u", ["b", "completed"]),
        ("1", "v", ["a", "b", "completed"]),
        ("2", "w", ["a", "b", "completed"]),
    ]
    assert does(planned, "f") == {"over": "inputs.l", "count": 3, "at_once": 2}
    story = Story(foreach("f", ["u", "v"], cli("a"), key="${item}"))
    assert [(inner.name, inner.item) for inner in bodies(resumed(story), "f")] == [("u", "u"), ("v", "v")]


def test_branches_and_called_workflows_under_way_go_on_from_where_they_stand() -> None:
    story = Story(
        parallel("p", branch("x", cli("a"), cli("b")), branch("y", call("c", "c.yaml", inputs={"v": "v"}))),
        called={
            "c.yaml": program(cli("d", "echo ${inputs.v}"), ask("e"), **cast(Any, {"finally": [cli("g")]}))
        },
    )
    story.succeed("p[x]/a")
    branches = bodies(resumed(story), "p")
    assert [(inner.name, sketch(inner.way)) for inner in branches] == [
        ("x", ["b", "completed"]),
        ("y", [{"c": {"c.yaml": ["d", "e", "completed"]}}, "completed"]),
    ]
    story.succeed("p[y]/c/d").deliver("p[y]/c/e", {})
    [called] = step_of(bodies(resumed(story), "p")[1].way, "c").bodies
    assert (called.way, sketch(called.cleanup)) == ((), ["g", "completed"])


def test_from_its_finally_a_run_does_no_more_of_its_steps() -> None:
    story = Story(cli("a"), **cast(Any, {"finally": [cli("f", "echo ${run.outcome.status}"), cli("g")]}))
    planned = resumed(story.succeed("a"))
    assert (planned.way, sketch(planned.cleanup)) == ((), ["f", "g", "completed"])
    assert to_builtins(step_of(planned.cleanup, "f").does)["command"] == "echo completed"


def test_a_run_may_stand_between_two_steps() -> None:
    story = Story(cli("a"), cli("b"), end("c"))
    begun = structs.replace(story.run, cursors={".": Cursor()}, steps={}, active={})
    assert sketch(plan_on(story.workflow, begun).way) == ["a", "b", "completed c"]
    done = {"a": story.succeed("a").run.steps["a"]}
    between = structs.replace(story.run, cursors={".": Cursor(step="a")}, steps=done, active={})
    assert sketch(plan_on(story.workflow, between).way) == ["b", "completed c"]
    story = Story(end("c"), **cast(Any, {"finally": [cli("f")]}))
    ended = structs.replace(story.run, cursors={".": Cursor(step="c")}, active={})
    assert sketch(plan_on(story.workflow, ended).way) == ["completed"]
