"""What `explore` says: rules, crashes, limits, and values on their ways through a document."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import convert, structs

from checkpointflow.documents.model import Invariant
from checkpointflow.documents.program import Program
from checkpointflow.engine.run import Cursor, Run
from checkpointflow.errors import InvalidInput
from checkpointflow.explore.findings import KINDS, Exploration
from checkpointflow.explore.interest import COMPUTES, FAR
from checkpointflow.explore.sight import Sight, Signature
from checkpointflow.explore.verdict import explore
from tests.helpers import Story, ask, branch, call, cli, end, foreach, parallel, program, switch


def obj(required: str = "", **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required.split(), "properties": properties}


BOOL, TEXT = {"type": "boolean"}, {"type": "string"}
OK = obj("ok", ok=BOOL)
ASK = obj("decision", decision={"enum": ["approve", "reject"]})


def results(explored: Exploration) -> list[Any]:
    return [ending.result for ending in explored.endings if ending.status == "completed"]


def kinds(explored: Exploration) -> set[str]:
    return {finding.kind for finding in explored.findings if finding.severity != "note"}


# Rules


def deploying(**more: Any) -> Program:
    return program(
        ask("review", input_schema=ASK),
        switch("s", ('steps.review.outputs.decision == "reject"', "no"), default="deploy"),
        cli("deploy", **more),
        cli("notify"),
        end("no"),
    )


def ruled(document: Program, *rules: dict[str, Any]) -> Program:
    """*document* with these invariants."""
    own = convert(rules, tuple[Invariant, ...])
    return Program(structs.replace(document.workflow, invariants=own), document.called)


NEVER_UNAPPROVED = {"never": "deploy", "unless": 'steps.review.outputs.decision == "approve"'}


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        (NEVER_UNAPPROVED, "proved"),
        ({"never": "deploy"}, "refuted"),
        ({"never": "deploy", "unless": "steps.notify.outputs.x"}, "refuted"),
        ({"always": "notify", "before": "no"}, "refuted"),
        ({"always": "review", "before": "deploy"}, "proved"),
        ({"always": "notify"}, "refuted"),
        ({"always": "review"}, "proved"),
        ({"at_most_once": "deploy"}, "proved"),
    ],
)
def test_a_rule_is_proved_or_refuted(rule: dict[str, Any], verdict: str) -> None:
    explored = explore(ruled(deploying(), rule))
    assert list(explored.rules.values()) == [verdict]
    assert ("broken_rule" in kinds(explored)) == (verdict == "refuted")


@pytest.mark.parametrize(
    "document",
    [
        program(cli("a", retry={"max_attempts": 2, "backoff_seconds": 1})),
        program(
            cli("a"),
            ask("q", input_schema=OK),
            switch("s", ("steps.q.outputs.ok", "a"), default="e"),
            end("e"),
        ),
        program(foreach("f", "inputs.l", cli("a")), inputs=obj("l", l={"type": "array", "items": TEXT})),
    ],
)
def test_a_step_that_may_be_tried_twice_is_not_done_at_most_once(document: Program) -> None:
    assert explore(ruled(document, {"at_most_once": "a"})).rules == {"at most once a": "refuted"}


def test_of_a_switch_and_of_a_block_a_rule_tells_too() -> None:
    document = program(
        parallel("p", branch("b", cli("x", on_error="continue"))), switch("s", (True, "e")), end("e")
    )
    rules = [{"never": "p"}, {"never": "s"}, {"never": "e"}, {"at_most_once": "s"}, {"never": "x"}]
    assert [*explore(ruled(document, *rules)).rules.values()] == [
        "refuted",
        "refuted",
        "refuted",
        "proved",
        "refuted",
    ]


def test_a_rule_holds_in_finally_too() -> None:
    document = program(cli("a"), **{"finally": [cli("clean")]})
    rules = [{"always": "clean"}, {"never": "clean", "unless": 'run.outcome.status != "failed"'}]
    assert [*explore(ruled(document, *rules)).rules.values()] == ["proved", "refuted"]


def test_what_was_not_walked_is_not_proved() -> None:
    explored = explore(ruled(deploying(), NEVER_UNAPPROVED), most=3)
    rule = 'never deploy unless steps.review.outputs.decision == "approve"'
    assert (explored.complete, explored.rules) == (False, {rule: "not_refuted"})
    assert "unreached_step" not in kinds(explored)
    assert explore(deploying(), is_over=lambda: True).states == 0


def test_what_is_computed_proves_nothing() -> None:
    rules = [
        {"never": "notify", "unless": 'upper(steps.review.outputs.decision) == "X"'},
        {"at_most_once": "deploy"},
    ]
    explored = explore(ruled(deploying(), *rules))
    assert COMPUTES in explored.limits
    assert explored.rules["at most once deploy"] == "not_refuted"


# Crashes


def test_what_is_refused_after_a_crash_is_no_mistake_of_the_document() -> None:
    when = [{"when": 'event.decision == "approve"', "next": "e"}]
    document = program(cli("a"), ask("q", input_schema=ASK, transitions=when), end("e"))
    refused = [f for f in explore(document, crash=True).findings if f.kind == "refused_answer"]
    assert [[event["what"] for event in f.way.events] for f in refused if f.way] == [["succeeds", "answered"]]


def test_after_a_crash_the_same_circle_is_told_once() -> None:
    explored = explore(program(cli("a"), switch("s", (True, "s"))), crash=True)
    (found,) = (f for f in explored.findings if f.kind == "endless_loop")
    assert found.way
    assert [event["what"] for event in found.way.events] == ["succeeds"]
    assert explored.crashes[0].other_ends == ()


def test_a_crash_asks_runs_again_or_may_run_twice() -> None:
    document = program(
        cli("a", outputs=OK),
        cli("b", idempotent=True),
        cli("c", retry={"max_attempts": 2}),
        parallel("p", branch("l", cli("d"))),
    )
    explored = explore(document, crash=True)
    assert [(crash.step, crash.then, crash.other_ends) for crash in explored.crashes] == [
        ("a", "asks", ()),
        ("b", "runs_again", ()),
        ("c", "may_run_twice", ()),
        ("p[l]/d", "asks", ()),
    ]
    assert explored.ways is None


def test_a_circle_is_told_of_the_step_that_a_run_tells_it_of() -> None:
    around = [
        switch("a", ("inputs.ok", "b")),
        cli("b", on_error={"next": "a"}, **{"if": "steps.a.exit_code == 3"}),
    ]
    block = parallel("p", branch("x", end("e", result="${inputs.ok}")), branch("y", *around))
    document = program(block, inputs=OK)
    told = {ending.step for ending in explore(document).endings if ending.code == "ERR_ENDLESS_LOOP"}
    assert told == {Story(block, inputs={"ok": True}).error.step_id}


def test_a_circle_before_finally_is_told_and_left() -> None:
    document = program(switch("s", (True, "s")), **{"finally": [cli("clean")]})
    explored = explore(document)
    assert "endless_loop" in kinds(explored)
    assert [(ending.status, ending.step) for ending in explored.endings] == [
        ("failed", "s"),
        ("failed", "@finally/clean"),
    ]


# Inputs


def test_inputs_may_be_given() -> None:
    document = program(end("e", result="${inputs.n}"), inputs=obj("n", n={"type": "integer"}))
    assert results(explore(document, given={"n": 41})) == [41]
    with pytest.raises(InvalidInput):
        explore(document, given={"n": "x"})


def test_a_default_is_filled_in_before_anything_is_looked_at() -> None:
    document = program(
        switch("s", ("inputs.n == 7", "e"), default="f"), end("e", result="e"), end("f", result="f"),
        inputs=obj(n={"type": "integer", "default": 7}),
    )  # fmt: skip
    explored = explore(document)
    assert (kinds(explored), results(explored)) == (set(), ["e", "f"])
    assert [ending.way.inputs for ending in explored.endings if ending.way] == [{"n": 7}, {"n": 1}]


def test_inputs_that_cannot_be_made_up_are_told() -> None:
    document = program(end("e"), inputs={"type": "object", "required": ["n"], "not": {"required": ["n"]}})
    explored = explore(document)
    assert (explored.states, explored.endings) == (0, ())
    assert "for a schema no value was found that fits it" in explored.limits
    lookahead = obj("t", t={"type": "string", "pattern": "^(?=a)b$"})
    assert explore(program(end("e", result="${inputs.t}"), inputs=lookahead)).states == 0


def test_outputs_and_answers_that_cannot_be_made_up_are_no_mistakes() -> None:
    lookahead = obj("t", t={"type": "string", "pattern": "^(?=a)b$"})
    explored = explore(
        program(cli("a", outputs=lookahead, on_error="continue"), ask("q", input_schema=lookahead))
    )
    assert kinds(explored) == set()
    assert "for a schema no value was found that fits it" in explored.limits


# What steps come to


def test_exit_codes_status_codes_headers_and_texts_are_told_apart() -> None:
    document = program(
        cli("a", success={"exit_codes": [0, 3]}, on_error="continue"),
        switch("s", ('steps.a.stdout == "yes"', "e"), ("steps.a.exit_code == 3", "f"), default="g"),
        end("e", result="e"),
        end("f", result="f"),
        end("g", result="g"),
    )
    assert sorted(results(explore(document))) == ["e", "f", "g"]
    calls = program(
        {"id": "a", "kind": "api", "url": "https://x.example/", "success": {"status_codes": [200, 404]},
         "on_error": "continue"},
        switch("s", ("steps.a.error != null", "f"), ("steps.a.status_code == 404", "e"), default="g"),
        end("e", result="${steps.a.headers.etag}"), end("f", result="f"), end("g", result="g"),
    )  # fmt: skip
    explored = explore(calls)
    assert sorted(results(explored)) == ["f", "g", "x"]
    assert "headers that are looked at are taken to be there" in explored.limits


def test_failures_are_told_apart_by_their_codes() -> None:
    document = program(
        cli("a", on_error="continue", artifacts=[{"name": "log", "path": "x"}]),
        switch("s", ('steps.a.error.code == "ERR_TIMEOUT"', "e"), ("steps.a.error.exit_code == 9", "f"),
               ('steps.a.error.code == "ERR_STEP_FAILED"', "g"), default="g"),
        end("e", result="e"), end("f", result="f"), end("g", result="g"),
        **{"inputs": {}},
    )  # fmt: skip
    explored = explore(document)
    assert set(results(explored)) == {"e", "f", "g"}


def test_attempts_that_fail_fail_all() -> None:
    document = program(cli("a", retry={"max_attempts": 3, "backoff_seconds": 1}, outputs=OK))
    (failed,) = (ending for ending in explore(document).endings if ending.status == "failed")
    assert failed.way
    assert [event["what"] for event in failed.way.events] == ["fails"]


def test_waits_whose_time_is_up_at_once_may_be_answered_before() -> None:
    asks = [ask(name, timeout_seconds=5, on_timeout={"next": f"{name}_late"}) for name in ("q", "r")]
    lates = [end(f"{name}_late", result=f"{name} late") for name in ("q", "r")]
    branches = [branch(f"b_{q['id']}", q, end(f"{q['id']}_taken", result="taken"), late)
                for q, late in zip(asks, lates, strict=True)]  # fmt: skip
    shown = results(explore(program(parallel("p", *branches), end("e", result="${steps.p.outputs}"))))
    assert {tuple(result.values()) for result in shown} == {
        ("taken", "taken"), ("taken", "r late"), ("q late", "taken"), ("q late", "r late"),
    }  # fmt: skip


def test_of_several_waits_the_first_whose_time_is_up_comes_first() -> None:
    asks = [ask(name, timeout_seconds=n, on_error="continue") for name, n in (("q", 9), ("r", 5))]
    explored = explore(program(parallel("p", *(branch(f"b_{q['id']}", q) for q in asks)), end("e")))
    (ending,) = explored.endings
    assert ending.way
    assert [event["step"] for event in ending.way.events] == ["p[b_r]/r", "p[b_q]/q"]


def test_steps_of_called_workflows_are_nobody_elses() -> None:
    called = program(cli("a"), outputs={"type": "object", "properties": {"x": {"from": "steps.a.outputs.x"}}})
    document = program(
        cli("a"), call("c", "child"), call("d", "child"),
        switch("s", ("not (steps.c.outputs.x == steps.d.outputs.x)", "e"), ("steps.c.outputs.y == 1", "e"),
               default="e"),
        end("e", result="${steps.s.outputs}"), called={"child": called},
    )  # fmt: skip
    explored = explore(ruled(document, {"at_most_once": "a"}))
    assert explored.rules == {"at most once a": "not_refuted"}
    assert "two values are compared with each other" in explored.limits


def test_a_workflow_that_two_call_is_told_by_the_first() -> None:
    wrong = program(cli("a", "echo ${steps.a.outputs.x}"))
    between = program(call("b", "inner"), called={"inner": wrong})
    document = program(call("c", "inner"), call("d", "between"), called={"inner": wrong, "between": between})
    assert {finding.document for finding in explore(document).findings if finding.step == "a"} == {("inner",)}


def test_a_text_that_cannot_be_read_fails_its_step() -> None:
    assert kinds(explore(program(cli("a", "echo ${inputs.}")))) == {"no_value"}


def test_what_all_steps_look_at_can_be_looked_at_to_the_end() -> None:
    document = program(
        cli("a", on_error="continue"),
        foreach("f", [1, 2], cli("b", **{"if": 'inputs.dir == "x"'}), on_error="continue"),
        inputs=obj("dir", dir=TEXT), defaults={"cwd": "${inputs.dir}"},
    )  # fmt: skip
    assert kinds(explore(document)) == set()


CLEANING = program(cli("inner"), **{"finally": [cli("swept", on_error="continue")]})
LIST = obj("l t", l={"type": "array"}, t=TEXT)
CAUGHT = {"on_error": "continue"}
CALLED = {"clean": CLEANING, "wipe": program(cli("inner")), "again": CLEANING}
GOES_ON = {"on_item_error": "continue"}
CODE_READ = "${steps.a.outputs.c}"
CODE = 'error.code == "ERR_TIMEOUT"'


@pytest.mark.parametrize(
    "steps",
    [
        [cli("z", **{"if": "matches(inputs.t, '^v[0-9]+$')"})],
        [cli("a"), cli("z", **{"if": 'from_json(steps.a.stdout) == "up"'})],
        [cli("z", **{"if": "length(inputs.l) > 3 and inputs.l[3] == 7"})],
        [cli("z", **{"if": "length(inputs.l) > 20 and inputs.l[20] == 7"})],
        [cli("z", **{"if": "inputs.t in inputs.l"})],
        [foreach("f", "inputs.l", cli("z", **{"if": "item == 3"}))],
        [foreach("f", "inputs.l", cli("b"), **GOES_ON),
         cli("z", **{"if": "steps.f.outputs.failures != [] and steps.f.outputs.failures[0].item == 3"})],
        [foreach("f", "inputs.l", cli("b"), **GOES_ON), cli("z", "echo ${to_json(steps.f.outputs)}")],
        [parallel("p", {"start_at": "q"}, branch("b", call("c", "clean"), call("d", "wipe")), **CAUGHT),
         cli("q", next="end"), end("end"), cli("z", **{"if": f"steps.p.error != null and steps.p.{CODE}"})],
        [cli("a", outputs={"type": "object"}),
         cli("z", timeout_seconds="${steps.a.outputs.n}", retry={"max_attempts": "${steps.a.outputs.m}"})],
        [cli("a", outputs={"type": "object"}),
         {"id": "z", "kind": "api", "url": "https://x.example/", "success": {"status_codes": [CODE_READ]}}],
        [cli("a", outputs={"type": "object"}), foreach("f", "${steps.a.outputs.l}", cli("z"))],
        [cli("a", outputs={"type": "object"}), cli("z", "echo ${steps.a.outputs.n * 2}")],
        [call("c", "clean", on_error="continue"), call("d", "wipe", on_error="continue"), cli("z")],
        [call("c", "${inputs.t}", one_of=["clean", "wipe"], on_error="continue"), cli("z")],
    ],
)  # fmt: skip
def test_what_is_computed_raises_no_false_alarm(steps: list[dict[str, Any]]) -> None:
    document = program(*steps, inputs=LIST, called=CALLED)
    explored = explore(document)
    assert kinds(explored) <= {"undeclared_output", "no_value"}
    assert [f for f in explored.findings if f.severity == "mistake"] == []
    ways = [f.way for f in explored.findings if f.way]
    is_reached = any(str(event.get("step"))[-1:] == "z" for way in ways for event in way.events)
    assert is_reached == (FAR not in explored.limits)


# Where values come from

CHILD = program(
    switch("s", ('inputs.mode == "deep"', "d"), default="o"),
    end("d", result={"was": "deep", "of": ["${inputs.mode}"]}),
    end("o", result={"was": "other"}),
    inputs=obj("mode", mode=TEXT),
)
MODE = obj("mode", mode=TEXT)


@pytest.mark.parametrize(
    "steps",
    [
        [cli("a", outputs=MODE), call("c", "child", inputs={"mode": "${steps.a.outputs.mode}"})],
        [call("c", "child", inputs={"mode": "${inputs.mode}"})],
        [foreach("f", "inputs.l", workflow_ref="child", inputs={"mode": "${item.mode}"})],
        [foreach("f", ["${inputs.mode}"], workflow_ref="child", inputs={"mode": "${item}"})],
        [foreach("f", [{"m": "${inputs.mode}"}], call("c", "child", inputs={"mode": "${item.m}"}))],
        [parallel("p", branch("other", cli("x", on_error="continue")), branch("b", cli("a", outputs=MODE))),
         call("c", "child", inputs={"mode": "${steps.p.outputs.b.a.mode}"})],
        [parallel("p", {"start_at": "a"}), cli("a", outputs=MODE),
         call("c", "child", inputs={"mode": "${steps.p.outputs.a.a.mode}"})],
        [foreach("g", [1], cli("a", outputs=MODE)),
         call("c", "child", inputs={"mode": "${steps.g.outputs.iterations[0].a.mode}"})],
        [foreach("g", [1], cli("a", outputs=MODE), end("x", result={"m": "${steps.a.outputs.mode}"})),
         call("c", "child", inputs={"mode": "${steps.g.outputs.iterations[0].m}"})],
        [call("one", "pass", inputs={"mode": "${inputs.mode}"}),
         call("c", "child", inputs={"mode": "${steps.one.outputs.mode}"})],
        [foreach("one", [1], workflow_ref="pass", inputs={"mode": "${inputs.mode}"}),
         call("c", "child", inputs={"mode": "${steps.one.outputs.iterations[0].mode}"})],
    ],
)  # fmt: skip
def test_a_literal_finds_its_way_to_where_the_value_comes_from(steps: list[dict[str, Any]]) -> None:
    through = program(
        cli("t"), inputs=MODE, outputs={"type": "object", "properties": {"mode": {"from": "inputs.mode"}}}
    )
    inputs = obj("mode l", mode=TEXT, l={"type": "array", "items": MODE})
    last = steps[-1]["id"]
    document = program(*steps, end("z", result=f"${{steps.{last}.outputs}}"), inputs=inputs,
                       called={"child": CHILD, "pass": through})  # fmt: skip
    explored = explore(document)
    assert any("'was': 'deep'" in repr(result) for result in results(explored))
    assert any("'was': 'other'" in repr(result) for result in results(explored))
    assert explored.complete


def test_text_that_is_put_together_is_a_limit() -> None:
    document = program(
        call("c", "child", inputs={"mode": "x-${inputs.mode}", "more": [{"a": "${inputs.mode}"}]}),
        switch("s", ("steps.c.outputs.of[0] == 1", "e"), ("steps.c.outputs == 1", "e"), default="e"),
        end("e"),
        inputs=MODE, called={"child": CHILD},
    )  # fmt: skip
    assert "a condition looks at text that is put together" in explore(document).limits


def test_values_that_go_round_are_traced_once() -> None:
    around = program(
        cli("t"),
        inputs=obj(mode=TEXT),
        outputs={"type": "object", "properties": {"mode": {"from": "inputs.mode"}}},
    )
    document = program(
        call("c", "pass", inputs={"mode": "${steps.c.outputs.mode}"}),
        switch("s", ('steps.c.outputs.mode == "x"', "e"), default="e"), end("e"), called={"pass": around},
    )  # fmt: skip
    assert explore(document).limits == ()


def test_where_a_value_comes_from_may_be_too_long_a_way() -> None:
    sources = ["inputs.l", *(f"steps.f{n}.outputs.iterations" for n in range(20))]
    passed_on = [foreach(f"f{n}", items, end(f"e{n}", result="${item}")) for n, items in enumerate(sources)]
    document = program(
        *passed_on,
        cli("a", **{"if": 'steps.f20.outputs.iterations[0] == "x"'}),
        inputs=obj("l", l={"type": "array"}),
    )
    assert "where a value comes from is too long a way" in explore(document).limits


# All of it


def test_the_same_document_has_the_same_findings_in_the_same_order() -> None:
    document = program(
        cli("a", outputs=obj(n=BOOL)), cli("b", "echo ${steps.a.outputs.n} ${inputs.x}"),
        ask("q", input_schema=ASK),
        inputs=obj(x=TEXT),
    )  # fmt: skip
    assert explore(document) == explore(document)
    assert {finding.kind for finding in explore(document).findings} <= set(KINDS)


def test_ways_are_counted() -> None:
    two = [cli("a", outputs=OK), cli("b", **{"if": "steps.a.outputs.ok"})]
    explored = explore(program(*two))
    assert explored.ways == 4  # a fails; b is skipped; it succeeds; it fails
    loop = program(ask("q", input_schema=OK), switch("s", ("steps.q.outputs.ok", "q"), default="e"), end("e"))
    assert explore(loop).ways is None


def test_a_loop_beside_a_branch_that_failed_is_walked_once() -> None:
    again = ask(
        "q", input_schema=OK, transitions=[{"when": "event.ok", "next": "q"}, {"when": True, "next": "e"}]
    )
    inner = foreach("f", [1], parallel("n", branch("x", cli("a"))))
    document = program(
        parallel("p", branch("bad", inner), branch("loop", again, end("e")), on_error="continue")
    )
    explored = explore(document)
    assert (explored.complete, explored.ways) == (True, None)
    assert explored.states < 40


def test_a_body_of_a_new_kind_keeps_states_apart() -> None:
    document = program(cli("a"), cli("b"))
    run = Story(cli("a"), cli("b")).succeed("a").run
    later = structs.replace(
        run, steps={"a": structs.replace(run.steps["a"], exit_code=3), "b": run.steps["b"]}
    )
    sight = Sight([document])

    def digest(run: Run, **cursors: Cursor) -> bytes:
        return Signature(
            sight, document, structs.replace(run, cursors={**run.cursors, **cursors}), {}
        ).digest()

    assert digest(run) == digest(later)
    assert digest(run, odd=Cursor()) != digest(later, odd=Cursor())


def test_a_long_document_is_walked_by_its_length_and_not_by_its_ways() -> None:
    steps = []
    for n in range(40):
        ok = f"steps.a{n}.outputs.ok"
        steps += [cli(f"a{n}", outputs=OK, on_error="continue")]
        steps += [cli(f"b{n}", on_error="continue", **{"if": f"{ok} != null and {ok}"})]
    explored = explore(program(*steps))
    assert explored.complete
    assert explored.ways is not None
    assert explored.ways >= 4**40
    assert explored.states < 400
