# ruff: noqa: E501, a row is a line
"""Documents with one mistake each, and their twins without it: each mistake is found, none on a twin."""

from __future__ import annotations

from typing import Any

import pytest

from checkpointflow.documents.program import Program
from checkpointflow.engine.actions import Error, Failure, StoredFile, Success
from checkpointflow.explore.findings import Exploration, Finding
from checkpointflow.explore.verdict import explore
from tests.helpers import Story, ask, branch, call, cli, end, foreach, parallel, program, switch


def obj(required: str = "", **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required.split(), "properties": properties}


BOOL, TEXT, INT = {"type": "boolean"}, {"type": "string"}, {"type": "integer"}
OK = obj("ok", ok=BOOL)
MODE = obj("mode", mode={"enum": ["a", "b", "c"]})
DECISION = obj("decision", decision={"enum": ["approve", "reject"]}, why=TEXT)
LEVEL = obj("level", level={"type": "integer", "minimum": 0, "maximum": 9})
CAUGHT: dict[str, Any] = {"on_error": "continue"}
CHILD = program(
    cli("inner", outputs=OK),
    inputs=obj("flag", flag=BOOL, count={"type": "integer", "minimum": 1}),
    outputs={"type": "object", "properties": {"ok": {"from": "steps.inner.outputs.ok"}}},
)
LAX = program(
    cli("inner", "true", **{"if": "inputs.flag"}, outputs=OK),
    inputs=obj("flag", flag=BOOL),
    outputs={"type": "object", "properties": {"ok": {"from": "steps.inner.outputs.ok"}}},
)
CALLED = {"child.yaml": CHILD, "lax.yaml": LAX}

Document = tuple[list[dict[str, Any]], dict[str, Any]]


def doc(*steps: dict[str, Any], **more: Any) -> Document:
    return list(steps), more


def asked(transitions: Any, schema: Any = DECISION, **more: Any) -> dict[str, Any]:
    when = [{"when": condition, "next": target} for condition, target in transitions]
    return ask("q", input_schema=schema, transitions=when, **more)


def take(path: str) -> str:
    return f"echo ${{{path}}}"


def mapped(schema: Any, path: str, **more: Any) -> dict[str, Any]:
    return {"outputs": {"type": "object", "properties": {"v": {**schema, "from": path}}, **more}}


def last(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"finally": list(steps)}


def choose(id: str, inputs: Any = None) -> dict[str, Any]:
    one_of = ["child.yaml", "lax.yaml"]
    return call(id, "${inputs.which}.yaml", one_of=one_of, inputs=inputs or {"flag": True})


# What is wrong, where; the document with the mistake; the same without it.
TABLE: dict[str, tuple[str, str | None, Document, Document]] = {
    "a step that is skipped on some way is read": (
        "no_value", "b",
        doc(cli("a", outputs=OK, **{"if": "inputs.ok"}), cli("b", take("steps.a.outputs.ok")), inputs=OK),
        doc(cli("a", outputs=OK), cli("b", take("steps.a.outputs.ok"), **{"if": "inputs.ok"}), inputs=OK),
    ),
    "a step that failed is read": (
        "no_value", "b",
        doc(cli("a", outputs=OK, **CAUGHT), cli("b", take("steps.a.outputs.ok"))),
        doc(cli("a", outputs=OK), cli("b", take("steps.a.outputs.ok"))),
    ),
    "an optional output is read": (
        "no_value", "b",
        doc(cli("a", outputs=obj(n=INT)), cli("b", take("steps.a.outputs.n"))),
        doc(cli("a", outputs=obj("n", n=INT)), cli("b", take("steps.a.outputs.n"))),
    ),
    "an optional input is read": (
        "no_value", "b",
        doc(cli("b", take("inputs.n")), inputs=obj(n=INT)),
        doc(cli("b", take("inputs.n")), inputs=obj(n={**INT, "default": 3})),
    ),
    "an optional part of an answer is read": (
        "no_value", "b",
        doc(ask("q", input_schema=DECISION), cli("b", take("steps.q.outputs.why"))),
        doc(ask("q", input_schema=DECISION), cli("b", take("steps.q.outputs.decision"))),
    ),
    "an optional object is entered": (
        "no_value", "b",
        doc(cli("b", take("inputs.o.n")), inputs=obj(o=obj("n", n=INT))),
        doc(cli("b", take("inputs.o.n")), inputs=obj("o", o=obj("n", n=INT))),
    ),
    "what one arm made is read behind both": (
        "no_value", "c",
        doc(switch("s", ('inputs.mode == "a"', "a"), default="b"), cli("a", outputs=OK, next="c"),
            cli("b"), cli("c", take("steps.a.outputs.ok")), inputs=MODE),
        doc(switch("s", ('inputs.mode == "a"', "a"), default="b"), cli("a", outputs=OK, next="c"),
            cli("b"), cli("c", take("inputs.mode")), inputs=MODE),
    ),
    "a time-out leads to who reads the answer": (
        "no_value", "b",
        doc(ask("q", input_schema=OK, timeout_seconds=5, on_timeout={"next": "b"}),
            cli("b", take("steps.q.outputs.ok"))),
        doc(ask("q", input_schema=OK, timeout_seconds=5, on_timeout={"next": "e"}),
            cli("b", take("steps.q.outputs.ok")), end("e")),
    ),
    "the first of a list that may be empty is read": (
        "no_value", "b",
        doc(cli("b", take("inputs.l[0]")), inputs=obj("l", l={"type": "array", "items": TEXT})),
        doc(cli("b", take("inputs.l[0]")), inputs=obj("l", l={"type": "array", "minItems": 1, "items": TEXT})),
    ),
    "the error of a step that may succeed is read": (
        "no_value", "b",
        doc(cli("a", **CAUGHT), cli("b", take("steps.a.error.code"))),
        doc(cli("a", **CAUGHT), cli("b", take("steps.a.error.code"), **{"if": "steps.a.error != null"})),
    ),
    "an optional field of an item is read": (
        "no_value", "b",
        doc(foreach("f", "inputs.l", cli("b", take("item.n"))),
            inputs=obj("l", l={"type": "array", "items": obj(n=INT)})),
        doc(foreach("f", "inputs.l", cli("b", take("item.n"))),
            inputs=obj("l", l={"type": "array", "items": obj("n", n=INT)})),
    ),
    "a text is taken for a truth": (
        "no_value", "b",
        doc(cli("a", outputs=obj("t", t=TEXT)), cli("b", **{"if": "steps.a.outputs.t"})),
        doc(cli("a", outputs=obj("t", t=BOOL)), cli("b", **{"if": "steps.a.outputs.t"})),
    ),
    "null is ordered": (
        "no_value", "b",
        doc(cli("b", **{"if": "inputs.n > 2"}), inputs=obj("n", n={"type": ["integer", "null"]})),
        doc(cli("b", **{"if": "inputs.n > 2"}), inputs=obj("n", n=INT)),
    ),
    "a guard asks the wrong step": (
        "no_value", "c",
        doc(cli("a", outputs=OK, **CAUGHT), cli("b", outputs=OK, **CAUGHT),
            cli("c", take("steps.a.outputs.ok"), **{"if": "steps.b.outputs != null"})),
        doc(cli("a", outputs=OK, **CAUGHT), cli("b", outputs=OK, **CAUGHT),
            cli("c", take("steps.a.outputs.ok"), **{"if": "steps.a.outputs != null"})),
    ),
    "what a called workflow may leave out is read": (
        "no_value", "b",
        doc(call("c", "lax.yaml", inputs={"flag": "${inputs.ok}"}), cli("b", take("steps.c.outputs.ok")), inputs=OK),
        doc(call("c", "lax.yaml", inputs={"flag": True}), cli("b", take("steps.c.outputs.ok"))),
    ),
    "an answer of the schema has no transition": (
        "refused_answer", "q",
        doc(asked([('event.decision == "approve"', "a")]), cli("a")),
        doc(asked([('event.decision == "approve"', "a"), (True, "e")]), cli("a"), end("e")),
    ),
    "a number between two transitions": (
        "refused_answer", "q",
        doc(asked([("event.level < 5", "a"), ("event.level > 5", "e")], LEVEL), cli("a"), end("e")),
        doc(asked([("event.level < 5", "a"), ("event.level >= 5", "e")], LEVEL), cli("a"), end("e")),
    ),
    "a transition looks at an optional field": (
        "refused_answer", "q",
        doc(asked([('event.why == "x"', "a"), (True, "e")]), cli("a"), end("e")),
        doc(asked([('event.why != null and event.why == "x"', "a"), (True, "e")]), cli("a"), end("e")),
    ),
    "a misspelt member of an enum": (
        "refused_answer", "q",
        doc(asked([('event.decision == "approved"', "a"), ('event.decision == "reject"', "e")]), cli("a"), end("e")),
        doc(asked([('event.decision == "approve"', "a"), ('event.decision == "reject"', "e")]), cli("a"), end("e")),
    ),
    "a switch without a case for one member": (
        "no_case", "s",
        doc(switch("s", ('inputs.mode == "a"', "a"), ('inputs.mode == "b"', "e")), cli("a"), end("e"), inputs=MODE),
        doc(switch("s", ('inputs.mode == "a"', "a"), default="e"), cli("a"), end("e"), inputs=MODE),
    ),
    "a switch that forgets a border": (
        "no_case", "s",
        doc(switch("s", ("inputs.level < 3", "a"), ("inputs.level > 3", "e")), cli("a"), end("e"), inputs=LEVEL),
        doc(switch("s", ("inputs.level < 3", "a"), ("inputs.level >= 3", "e")), cli("a"), end("e"), inputs=LEVEL),
    ),
    "a switch in an iteration forgets an item": (
        "no_case", "s",
        doc(foreach("f", "inputs.l", switch("s", ('item == "a"', "x")), end("x")),
            inputs=obj("l", l={"type": "array", "items": {"enum": ["a", "b"]}})),
        doc(foreach("f", "inputs.l", switch("s", ('item == "a"', "x"), default="x"), end("x")),
            inputs=obj("l", l={"type": "array", "items": {"enum": ["a", "b"]}})),
    ),
    "a switch that asks an exit code forgets one": (
        "no_case", "s",
        doc(cli("a", success={"exit_codes": [0, 1, 2]}),
            switch("s", ("steps.a.exit_code == 0", "x"), ("steps.a.exit_code == 1", "x")), end("x")),
        doc(cli("a", success={"exit_codes": [0, 1]}),
            switch("s", ("steps.a.exit_code == 0", "x"), ("steps.a.exit_code == 1", "x")), end("x")),
    ),
    "a failure that nothing catches": (
        "uncaught_failure", "a", doc(cli("a")), doc(cli("a", **CAUGHT)),
    ),
    "a failure in a branch that nothing catches": (
        "uncaught_failure", "b",
        doc(parallel("p", branch("l", cli("b")))), doc(parallel("p", branch("l", cli("b")), **CAUGHT)),
    ),
    "a time-out that nothing catches": (
        "uncaught_failure", "q",
        doc(ask("q", timeout_seconds=5)), doc(ask("q", timeout_seconds=5, on_timeout={"next": "e"}), end("e")),
    ),
    "a wait that takes no answer": (
        "stuck_wait", "q",
        doc(asked([('event.decision == "yes"', "a")]), cli("a")),
        doc(asked([(True, "a")]), cli("a")),
    ),
    "a wait whose schema nothing fits": (
        "stuck_wait", "q",
        doc(ask("q", input_schema=obj("n", n={"type": "integer", "minimum": 5, "maximum": 4}))),
        doc(ask("q", input_schema=obj("n", n={"type": "integer", "minimum": 4, "maximum": 5}))),
    ),
    "a condition that never holds": (
        "unreached_step", "b",
        doc(cli("a"), cli("b", **{"if": 'inputs.mode == "d"'}), inputs=MODE),
        doc(cli("a"), cli("b", **{"if": 'inputs.mode == "c"'}), inputs=MODE),
    ),
    "a number beyond the limit": (
        "unreached_step", "b",
        doc(cli("b", **{"if": "inputs.level > 9"}), inputs=LEVEL),
        doc(cli("b", **{"if": "inputs.level > 8"}), inputs=LEVEL),
    ),
    "an arm behind one that takes all": (
        "unreached_step", "b",
        doc(switch("s", ("inputs.level >= 0", "a"), default="b"), end("a"), end("b"), inputs=LEVEL),
        doc(switch("s", ("inputs.level >= 1", "a"), default="b"), end("a"), end("b"), inputs=LEVEL),
    ),
    "two conditions that exclude each other": (
        "unreached_step", "b",
        doc(cli("b", **{"if": 'inputs.mode == "a" and inputs.mode == "b"'}), inputs=MODE),
        doc(cli("b", **{"if": 'inputs.mode == "a" or inputs.mode == "b"'}), inputs=MODE),
    ),
    "a step that runs only if the one before failed, which ends the run": (
        "unreached_step", "b",
        doc(cli("a"), cli("b", **{"if": "steps.a.error != null"})),
        doc(cli("a", **CAUGHT), cli("b", **{"if": "steps.a.error != null"})),
    ),
    "a value of a called workflow that it never has": (
        "unreached_step", "b",
        doc(call("c", "child.yaml", inputs={"flag": True}), cli("b", **{"if": "steps.c.outputs.ok == 3"})),
        doc(call("c", "child.yaml", inputs={"flag": True}), cli("b", **{"if": "steps.c.outputs.ok == false"})),
    ),
    "a loop that cannot be left": (
        "endless_loop", "a",
        doc(cli("a", **CAUGHT), switch("s", (True, "a"))),
        doc(cli("a", **CAUGHT, outputs=OK), switch("s", ("steps.a.outputs != null", "e"), default="e"), end("e")),
    ),
    "a loop that never does anything": (
        "endless_loop", "s",
        doc(switch("s", ("inputs.ok", "e"), default="s"), end("e"), inputs=OK),
        doc(switch("s", ("inputs.ok", "e"), default="e"), end("e"), inputs=OK),
    ),
    "a loop that can go on for ever": (
        "unbounded_loop", "a",
        doc(cli("a", outputs=OK), switch("s", ("steps.a.outputs.ok", "e"), default="a"), end("e")),
        doc(cli("a", outputs=OK), ask("q"), switch("s", ("steps.a.outputs.ok", "e"), default="a"), end("e")),
    ),
    "a result that may not fit": (
        "bad_outputs", None,
        doc(cli("a", outputs=obj("n", n=INT)), **mapped({**INT, "maximum": 5}, "steps.a.outputs.n")),
        doc(cli("a", outputs=obj("n", n={**INT, "maximum": 5})),
            **mapped({**INT, "maximum": 5}, "steps.a.outputs.n")),
    ),
    "a required part of the result that a way leaves out": (
        "bad_outputs", None,
        doc(cli("a", outputs=OK, **CAUGHT), **mapped(BOOL, "steps.a.outputs.ok", required=["v"])),
        doc(cli("a", outputs=OK), **mapped(BOOL, "steps.a.outputs.ok", required=["v"])),
    ),
    "outputs of a block that may not fit": (
        "bad_outputs", "f",
        doc(foreach("f", "inputs.l", cli("b"), outputs=obj(iterations={"type": "array", "maxItems": 1})),
            inputs=obj("l", l={"type": "array", "items": TEXT})),
        doc(foreach("f", "inputs.l", cli("b"), outputs=obj(iterations={"type": "array", "maxItems": 1})),
            inputs=obj("l", l={"type": "array", "items": TEXT, "maxItems": 1})),
    ),
    "inputs of a called workflow that may not fit": (
        "bad_inputs", "c",
        doc(call("c", "child.yaml", inputs={"flag": True, "count": "${inputs.level}"}), inputs=LEVEL),
        doc(call("c", "child.yaml", inputs={"flag": True, "count": 3})),
    ),
    "inputs of an iteration that may not fit": (
        "bad_inputs", "f",
        doc(foreach("f", "inputs.l", workflow_ref="child.yaml", inputs={"flag": "${item}"}),
            inputs=obj("l", l={"type": "array", "items": {"enum": [True, "x"]}})),
        doc(foreach("f", "inputs.l", workflow_ref="child.yaml", inputs={"flag": "${item}"}),
            inputs=obj("l", l={"type": "array", "items": {"enum": [True, False]}})),
    ),
    "an output that nobody declared": (
        "undeclared_output", "a",
        doc(cli("a"), cli("b", take("steps.a.outputs.url"))),
        doc(cli("a", outputs=obj("url", url=TEXT)), cli("b", take("steps.a.outputs.url"))),
    ),
    "an output beside those that are declared": (
        "undeclared_output", "a",
        doc(cli("a", outputs=OK), cli("b", **{"if": "steps.a.outputs.oke"})),
        doc(cli("a", outputs=OK), cli("b", **{"if": "steps.a.outputs.ok"})),
    ),
    "what is cleaned up may never have been made": (
        "no_value", "clean",
        doc(cli("a", outputs=OK), **last(cli("clean", take("steps.a.outputs.ok")))),
        doc(cli("a", outputs=OK), **last(cli("clean", take("steps.a.outputs.ok"), **{"if": "steps.a.outputs != null"}))),
    ),
    "after a success there is no error to tell of": (
        "no_value", "clean",
        doc(cli("a"), **last(cli("clean", take("run.outcome.error.code")))),
        doc(cli("a"), **last(cli("clean", take("run.outcome.error.code"), **{"if": 'run.outcome.status == "failed"'}))),
    ),
    "an outcome that there is not": (
        "unreached_step", "clean",
        doc(cli("a"), **last(cli("clean", **{"if": 'run.outcome.status == "stopped"'}))),
        doc(cli("a"), **last(cli("clean", **{"if": 'run.outcome.status == "cancelled"'}))),
    ),
    "a failure of the cleaning that nothing catches": (
        "uncaught_failure", "clean",
        doc(cli("a", **CAUGHT), **last(cli("clean"))), doc(cli("a", **CAUGHT), **last(cli("clean", **CAUGHT))),
    ),
    "a reason of the outcome that is forgotten": (
        "no_case", "s",
        doc(cli("a"), **last(switch("s", ('run.outcome.status == "failed"', "x"), ('run.outcome.status == "completed"', "x")), end("x"))),
        doc(cli("a"), **last(switch("s", ('run.outcome.status == "failed"', "x"), default="x"), end("x"))),
    ),
    "a variable of the environment that is none of those asked for": (
        "no_case", "s",
        doc(switch("s", ('env.MODE == "a"', "e")), end("e"), env=["MODE"]),
        doc(switch("s", ('env.MODE == "a"', "e"), default="e"), end("e"), env=["MODE"]),
    ),
    "a failure that printed something": (
        "no_case", "s",
        doc(cli("a", outputs=OK, on_error={"next": "s"}), end("fine"), switch("s", ("steps.a.outputs == null", "e")), end("e")),
        doc(cli("a", outputs=OK, on_error={"next": "s"}), end("fine"),
            switch("s", ("steps.a.outputs == null", "e"), ("steps.a.outputs.ok", "e"), default="e"), end("e")),
    ),
    "another complaint on stderr": (
        "no_case", "s",
        doc(cli("a", on_error={"next": "s"}), end("fine"), switch("s", ('contains(steps.a.stderr, "full")', "e")), end("e")),
        doc(cli("a", on_error={"next": "s"}), end("fine"), switch("s", ('contains(steps.a.stderr, "full")', "e"), default="e"), end("e")),
    ),
    "nothing can be divided by zero": (
        "no_value", "b",
        doc(cli("b", **{"if": "10 / inputs.n > 4"}), inputs=obj("n", n={**INT, "minimum": 0})),
        doc(cli("b", **{"if": "10 / inputs.n > 4"}), inputs=obj("n", n={**INT, "minimum": 1})),
    ),
    "what a command prints is read as a number": (
        "no_case", "s",
        doc(cli("a"), switch("s", ("from_json(steps.a.stdout) < 3", "e"), ("from_json(steps.a.stdout) > 3", "e")), end("e")),
        doc(cli("a"), switch("s", ("from_json(steps.a.stdout) + 1 < 3", "e"), default="e"), end("e")),
    ),
    "a function of null": (
        "no_value", "b",
        doc(cli("b", **{"if": 'upper(inputs.t) == "X"'}), inputs=obj("t", t={"type": ["string", "null"]})),
        doc(cli("b", **{"if": 'upper(default(inputs.t, "")) == "X"'}), inputs=obj(t={"type": ["string", "null"]})),
    ),
    "a length between two": (
        "no_case", "s",
        doc(switch("s", ("length(inputs.l) < 5", "e"), ("length(inputs.l) > 5", "e")), end("e"), inputs=obj("l", l={"type": "array"})),
        doc(switch("s", ("length(inputs.l) < 5", "e"), ("length(inputs.l) >= 5", "e")), end("e"), inputs=obj("l", l={"type": "array"})),
    ),
    "a list of members that forgets one": (
        "no_case", "s",
        doc(switch("s", ('inputs.mode in ["a", "b"]', "e")), end("e"), inputs=MODE),
        doc(switch("s", ('inputs.mode in ["a", "b", "c"]', "e")), end("e"), inputs=MODE),
    ),
    "an iteration that never comes": (
        "unreached_step", "b",
        doc(foreach("f", "inputs.l", cli("b", **{"if": "item_index > 4"})), inputs=obj("l", l={"type": "array", "maxItems": 3})),
        doc(foreach("f", "inputs.l", cli("b", **{"if": "item_index > 4"})), inputs=obj("l", l={"type": "array", "maxItems": 6})),
    ),
    "an artifact that may be missing": (
        "no_value", "b",
        doc(cli("a", artifacts=[{"name": "log", "path": "x", "if_missing": "skip"}]), cli("b", take("steps.a.artifacts.log.path"))),
        doc(cli("a", artifacts=[{"name": "log", "path": "x"}]), cli("b", take("steps.a.artifacts.log.path"))),
    ),
    "the second file of a set": (
        "no_value", "b",
        doc(cli("a", artifacts=[{"name": "logs", "path": "logs/*"}]), cli("b", take("steps.a.artifacts.logs.files[1].name"))),
        doc(cli("a", artifacts=[{"name": "logs", "path": "logs/*"}]), cli("b", take("steps.a.artifacts.logs.files[0].name"))),
    ),
    "what a failed item would have yielded": (
        "no_value", "c",
        doc(foreach("f", [1], cli("b", outputs=OK), on_item_error="continue"), cli("c", take("steps.f.outputs.iterations[0].b.ok"))),
        doc(foreach("f", [1], cli("b", outputs=OK)), cli("c", take("steps.f.outputs.iterations[0].b.ok"))),
    ),
    "one failed item too many": (
        "uncaught_failure", "b",
        doc(foreach("f", [1, 2], cli("b"), on_item_error="continue", max_failures=1)),
        doc(foreach("f", [1, 2], cli("b"), on_item_error="continue", max_failures=2)),
    ),
    "the error of an item is of another kind": (
        "no_case", "s",
        doc(foreach("f", [1], cli("b"), on_item_error="continue"),
            switch("s", ("length(steps.f.outputs.failures) == 0", "e"), ('steps.f.outputs.failures[0].error.code == "ERR_TIMEOUT"', "e")), end("e")),
        doc(foreach("f", [1], cli("b"), on_item_error="continue"),
            switch("s", ("length(steps.f.outputs.failures) == 0", "e"), ('steps.f.outputs.failures[0].error.code == "ERR_TIMEOUT"', "e"), default="e"), end("e")),
    ),
    "two items may have the same key": (
        "bad_key", "f",
        doc(foreach("f", "inputs.l", cli("b"), key="${item}"), inputs=obj("l", l={"type": "array", "items": TEXT})),
        doc(foreach("f", "inputs.l", cli("b"), key="${item}"), inputs=obj("l", l={"type": "array", "items": TEXT, "uniqueItems": True})),
    ),
    "inputs of an item that may not fit, though the others go on": (
        "bad_inputs", "f",
        doc(foreach("f", "inputs.l", workflow_ref="child.yaml", inputs={"flag": "${item}"}, on_item_error="continue"),
            inputs=obj("l", l={"type": "array", "items": {"enum": [True, "x"]}})),
        doc(foreach("f", "inputs.l", workflow_ref="child.yaml", inputs={"flag": "${item}"}, on_item_error="continue"),
            inputs=obj("l", l={"type": "array", "items": {"enum": [True, False]}})),
    ),
    "a count that may be none": (
        "no_value", "c",
        doc(foreach("f", {"count": "${inputs.n}"}, cli("b", outputs=OK)), cli("c", take("steps.f.outputs.iterations[0].b.ok")),
            inputs=obj("n", n={**INT, "minimum": 0})),
        doc(foreach("f", {"count": "${inputs.n}"}, cli("b", outputs=OK)), cli("c", take("steps.f.outputs.iterations[0].b.ok")),
            inputs=obj("n", n={**INT, "minimum": 1})),
    ),
    "a number that is never counted to": (
        "unreached_step", "b",
        doc(foreach("f", {"from": 1, "to": "${inputs.n}"}, cli("b", **{"if": "item == 7"})), inputs=obj("n", n={**INT, "maximum": 5})),
        doc(foreach("f", {"from": 1, "to": "${inputs.n}"}, cli("b", **{"if": "item == 7"})), inputs=obj("n", n={**INT, "maximum": 9})),
    ),
    "a workflow that is none of those to choose from": (
        "no_value", "c",
        doc(choose("c"), inputs=obj("which", which={"enum": ["child", "lax", "other"]})),
        doc(choose("c"), inputs=obj("which", which={"enum": ["child", "lax"]})),
    ),
    "what one of the chosen workflows leaves out": (
        "no_value", "b",
        doc(choose("c", {"flag": "${inputs.ok}"}), cli("b", take("steps.c.outputs.ok")),
            inputs=obj("which ok", which={"enum": ["child", "lax"]}, ok=BOOL)),
        doc(choose("c", {"flag": "${inputs.ok}"}), cli("b", take("steps.c.outputs.ok")),
            inputs=obj("which ok", which={"enum": ["child"]}, ok=BOOL)),
    ),
}  # fmt: skip


def make(document: Document) -> Program:
    steps, more = document
    return program(*steps, called=CALLED, **more)


def of_kind(explored: Exploration, kind: str, step: str | None) -> list[Finding]:
    return [found for found in explored.findings if (found.kind, found.step) == (kind, step)]


@pytest.mark.parametrize("name", TABLE)
def test_the_mistake_is_found_with_a_way_there(name: str) -> None:
    kind, step, wrong, _ = TABLE[name]
    explored = explore(make(wrong))
    assert explored.complete
    found = of_kind(explored, kind, step)
    assert found, explored.findings
    if kind not in ("unreached_step", "undeclared_output"):
        replay(wrong, found[0], explored)


@pytest.mark.parametrize("name", TABLE)
def test_nothing_is_found_in_its_twin(name: str) -> None:
    kind, _, _, sound = TABLE[name]
    explored = explore(make(sound))
    wrong = [f for f in explored.findings if f.severity == "mistake" or f.kind == kind != "uncaught_failure"]
    assert (explored.complete, wrong) == (True, [])
    if kind == "uncaught_failure":
        assert [f for f in explored.findings if f.kind == kind] == []


def test_there_are_enough_of_them() -> None:
    assert len(TABLE) >= 40


def replay(document: Document, finding: Finding, explored: Exploration) -> None:
    """The engine, told what the way says, comes to what was found."""
    steps, _ = document
    way = finding.way
    assert way is not None
    story = Story(*steps, begun=False)
    story.workflow = make(document)
    story.begin(way.inputs, way.env)
    refusal: Exception | None = None
    for told in way.events:
        try:
            happen(story, told)
        except Exception as error:
            refusal = error
    match finding.kind:
        case "refused_answer":
            assert str(refusal) == finding.message
        case "stuck_wait":
            assert finding.step in story.waiting
        case "endless_loop" | "unbounded_loop":
            assert story.run.outcome is None or story.error.message == finding.message
        case "uncaught_failure":
            assert story.error.step_id is not None
            assert story.error.step_id.endswith(str(finding.step))
        case _:
            errors = [getattr(fact, "error", None) for fact in story.facts]
            messages = [error.message.partition(";")[0] for error in errors if error is not None]
            assert finding.message.partition(";")[0] in messages


def happen(story: Story, told: dict[str, Any]) -> None:
    path = told.get("step", "")
    said = {name: told[name] for name in ("outputs", "stdout", "stderr") if name in told}
    match told["what"]:
        case "succeeds":
            files = {name: StoredFile(path=name, size=1, sha256="0") for name in told.get("artifacts", ())}
            story.report(path, Success(**said, exit_code=told.get("exit_code", 0), artifacts=files))
        case "fails":
            error = Error(code=told["code"], message="no", exit_code=told.get("exit_code"))
            story.report(path, Failure(error, **said))
        case "cancelled":
            story.cancel()
        case "answered":
            story.deliver(path, told["answer"])
        case "times_out":
            story.tick(100)
            story.recover()
