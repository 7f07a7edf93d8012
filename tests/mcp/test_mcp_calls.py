"""Calls: who may answer what, how a person is asked, and what a lost, late or forged answer does."""

from __future__ import annotations

import fcntl
import json
import os
import signal
from typing import Any

import pytest

from checkpointflow.drivers.processes import end, find_users
from checkpointflow.engine.run import Run
from checkpointflow.mcp import runs
from checkpointflow.mcp.host import Host
from checkpointflow.mcp.protocol import Client
from checkpointflow.mcp.tasks import show_task
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.store import Store
from tests.conftest import Cpf, until
from tests.helpers import ask, branch, cli, parallel, switch
from tests.mcp.wire import FORMS, TASKS, Json, Wire, accept, flow, question, reply

CHOICE = {"enum": ["yes", "no"]}


def note_runs(id_: str) -> Json:
    """A step that leaves a line each time that it runs."""
    return cli(id_, f"echo {id_} >> ran.txt")


def ran(cpf: Cpf) -> list[str]:
    file = cpf.cwd / "ran.txt"
    return file.read_text().split() if file.exists() else []


# Whatever comes


def test_a_call_that_is_made_again_with_its_run_key_finds_its_run(cpf: Cpf) -> None:
    flow(cpf, "w", note_runs("a"))
    with Wire(cpf) as wire:
        for meta in ({"io.checkpointflow/runKey": "k"}, {"io.checkpointflow/runKey": "k"}):
            answer = wire.ask("tools/call", {"name": "w", "arguments": {}}, meta=meta)
            assert answer["result"]["structuredContent"]["status"] == "completed"
        shown = wire.value("cpf_run", workflow="w", run_key="k")
        assert shown["run_id"] == answer["result"]["structuredContent"]["run_id"]
        wrong = wire.ask("tools/call", {"name": "w"}, meta={"io.checkpointflow/runKey": 1})
        assert wrong["error"]["code"] == -32602
    assert ran(cpf) == ["a"]


def test_a_long_result_or_question_is_cut_and_the_line_that_shows_it_is_told(cpf: Cpf) -> None:
    long = {"type": "object", "properties": {"f": {"description": "y" * 60_000}}}
    flow(cpf, "w", {**question("ok", "agent"), "prompt": "x" * 60_000, "input_schema": long})
    with Wire(cpf) as wire:
        (wait,) = wire.value("w")["waits"]
        for name in ("prompt", "input_schema"):
            assert set(wait[name]) == {"bytes", "head", "command"}
            tool, _, arguments = wait[name]["command"].partition(" ")
            assert tool == "cpf_wait"
        (wait,) = wire.value(tool, **json.loads(arguments))["waits"]
        assert (wait["prompt"], wait["input_schema"]) == ("x" * 60_000, long)


# The model


def test_a_model_answers_what_asks_an_agent_and_the_run_goes_on(cpf: Cpf) -> None:
    flow(cpf, "w", question("look", "agent", fine={"type": "boolean"}), note_runs("after"))
    with Wire(cpf) as wire:
        shown = wire.value("w")
        assert (shown["status"], shown["waits"][0]["prompt"]) == ("waiting", "What about look?")
        (following,) = shown["next"]
        assert following["tool"] == "cpf_answer"
        arguments = following["arguments"] | {"answer": {"fine": 3}}
        assert wire.value("cpf_answer", **arguments)["error"]["code"] == "ERR_VALIDATION_EVENT_INPUT"
        arguments |= {"answer": '{"fine": true}'}  # as some models write it
        assert wire.value("cpf_answer", **arguments)["status"] == "completed"
        assert wire.value("cpf_answer", **arguments)["status"] == "completed"  # it counts once
        arguments["answer"] = {"yes": "never"}
        assert wire.value("cpf_answer", **arguments)["error"]["code"] == "ERR_ANSWERED_OTHERWISE"
    assert ran(cpf) == ["after"]


@pytest.mark.long(but_one_in=2)
@pytest.mark.parametrize("audience", ["user", "system"])
def test_a_model_never_answers_for_anybody_else_unless_it_was_let(cpf: Cpf, audience: str) -> None:
    flow(cpf, "w", question("ok", audience, yes=CHOICE))
    with Wire(cpf) as wire:
        shown = wire.value("w")
        assert "cpf_answer" not in [step.get("tool") for step in shown["next"]]
        given = {"run_id": shown["run_id"], "step": "ok", "answer": {"yes": "yes"}}
        error = wire.value("cpf_answer", **given)["error"]
        assert (error["code"], "no model may" in error["message"]) == ("ERR_RESUME_EVENT_MISMATCH", True)
        other = wire.value("cpf_answer", **given | {"step": "o"})["error"]
        assert "it waits for ok_event at ok" in other["message"]
        assert wire.value("cpf_wait", run_id=shown["run_id"])["status"] == "waiting"
    with Wire(cpf, "--answers", audience, can=FORMS) as wire:
        shown = wire.value("cpf_wait", run_id=shown["run_id"])
        assert shown["next"][0]["tool"] == "cpf_answer"
        assert wire.value("cpf_answer", **given)["status"] == "completed"


def test_without_a_form_the_result_says_what_the_person_types(cpf: Cpf) -> None:
    flow(cpf, "w", question("ok", yes=CHOICE))
    with Wire(cpf) as wire:
        line, wait = wire.value("w")["next"]
    assert line["person_types"].startswith("cpf answer ")
    assert line["person_types"].endswith("--step ok")
    assert wait["tool"] == "cpf_wait"


@pytest.mark.long
def test_a_run_that_takes_longer_than_the_patience_is_to_be_waited_for(cpf: Cpf) -> None:
    flow(cpf, "w", cli("a", "sleep 1.5"))
    with Wire(cpf, "--patience", "1s") as wire:
        shown = wire.value("w")
        assert (shown["status"], shown["next"][0]["tool"]) == ("running", "cpf_wait")
        assert wire.value("cpf_wait", run_id=shown["run_id"])["status"] == "completed"


@pytest.mark.long
def test_what_became_of_a_step_in_doubt_is_for_the_person_to_say(cpf: Cpf) -> None:
    flow(cpf, "w", cli("a", "echo $PPID > pid; sleep 30"))
    run_id = cpf.real("run", "w", "--detach")["run_id"]
    _kill_driver(cpf, run_id)
    with Wire(cpf, can={}) as wire:  # which takes the run up, as nobody else does
        shown = wire.value("cpf_wait", run_id=run_id)
        assert (shown["status"], shown["waits"][0]["event_name"]) == ("waiting", "step_outcome")
        answered = wire.value("cpf_answer", run_id=run_id, step="a", answer={"outcome": "succeeded"})
        assert "no model may answer" in answered["error"]["message"]
        assert "nothing to do again" in wire.value("cpf_retry", run_id=run_id)["error"]["message"]
    with Wire(cpf, can=FORMS) as wire:
        result = wire.call("cpf_wait", run_id=run_id)
        (request,) = result["inputRequests"].values()
        assert list(request["params"]["requestedSchema"]["properties"]) == ["outcome"]
        assert "not asked here: outputs" in request["params"]["message"]
        done = wire.call("cpf_wait", state=accept(result, outcome="succeeded"), run_id=run_id)
        assert done["structuredContent"]["status"] == "completed"


def _kill_driver(cpf: Cpf, run_id: str) -> None:
    until(lambda: (cpf.directory(run_id) / "stdout" / "a.txt").exists())
    holder = json.loads((cpf.directory(run_id) / "run.lock").read_text())["pid"]
    os.kill(holder, signal.SIGKILL)
    end(find_users(cpf.directory(run_id) / "step.lock"))


@pytest.mark.long
def test_an_interrupted_run_goes_on_only_when_it_is_asked_to(cpf: Cpf) -> None:
    flow(cpf, "w", cli("a", "sleep 30", idempotent=True), cli("b"))
    with Wire(cpf, "--patience", "1s") as wire:
        run_id = cpf.real("run", "w", "--detach")["run_id"]
        until(lambda: (cpf.directory(run_id) / "stdout" / "a.txt").exists())
        os.kill(json.loads((cpf.directory(run_id) / "run.lock").read_text())["pid"], signal.SIGINT)
        until(lambda: not (cpf.directory(run_id) / "run.lock").read_text())
        shown = wire.value("cpf_wait", run_id=run_id)
        assert (shown["status"], shown["next"][0]["tool"]) == ("running", "cpf_retry")
        assert wire.value("cpf_retry", run_id=run_id)["status"] == "running"
        until(lambda: (cpf.directory(run_id) / "run.lock").read_text())
        assert wire.value("cpf_cancel", run_id=run_id, reason="enough")["status"] == "cancelled"


def test_a_failed_run_tells_how_to_go_on_and_does(cpf: Cpf) -> None:
    flow(cpf, "w", note_runs("first"), cli("b", "echo why >&2; test -e there"))
    with Wire(cpf) as wire:
        result = wire.call("w")
        shown = result["structuredContent"]
        assert (result["isError"], shown["status"], shown["error"]["step_id"]) == (True, "failed", "b")
        logs, again = shown["next"]
        assert "why" in json.dumps(wire.value(logs["tool"], **logs["arguments"]))
        cpf.write("there", "")
        assert wire.value(again["tool"], **again["arguments"])["status"] == "completed"
    assert ran(cpf) == ["first"]


def test_a_cancelled_run_stays_so(cpf: Cpf) -> None:
    flow(cpf, "w", question("ok", yes=CHOICE))
    with Wire(cpf) as wire:
        run_id = wire.value("w")["run_id"]
        assert (
            wire.value("cpf_cancel", run_id=run_id, reason="--not an option")["reason"] == "--not an option"
        )
        assert wire.value("cpf_cancel", run_id=run_id, reason="x")["status"] == "cancelled"
        assert wire.value("cpf_wait", run_id=run_id)["status"] == "cancelled"
        assert "NUL" in wire.value("cpf_cancel", run_id=run_id, reason="a\0b")["error"]["message"]


def test_what_waits_is_listed(cpf: Cpf) -> None:
    flow(cpf, "w", question("ok", yes=CHOICE))
    flow(cpf, "v", question("look", "agent", yes=CHOICE))
    with Wire(cpf) as wire:
        wire.value("w")
        wire.value("v")
        rows = wire.value("cpf_runs", waiting_for="agent")["runs"]
        assert [row["workflow_id"] for row in rows] == ["v"]
        assert [row["workflow_id"] for row in wire.value("cpf_runs", workflow="w")["runs"]] == ["w"]
        assert wire.value("cpf_runs", limit=1)["more"] is True


def test_inputs_that_do_not_fit_start_nothing(cpf: Cpf) -> None:
    flow(
        cpf,
        "w",
        cli("a"),
        inputs={"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}},
    )
    with Wire(cpf) as wire:
        result = wire.call("w", n="three")
        assert (result["isError"], result["structuredContent"]["error"]["code"]) == (
            True,
            "ERR_VALIDATION_INPUT",
        )
        assert wire.value("cpf_runs")["runs"] == []


@pytest.mark.long
def test_a_call_answers_when_the_patience_is_over_and_another_goes_on_waiting(cpf: Cpf) -> None:
    flow(cpf, "w", cli("a", "sleep 1.5"))
    with Wire(cpf, "--patience", "1s") as wire:
        shown = wire.value("w")
        assert shown["status"] == "running"
        step = shown["next"][0]
        until(lambda: wire.value(step["tool"], **step["arguments"])["status"] == "completed")


@pytest.mark.long
def test_the_time_of_a_wait_that_is_up_is_taken_by_whoever_looks(cpf: Cpf) -> None:
    flow(cpf, "w", {**ask("ok"), "timeout_seconds": 1, "on_timeout": {"next": "late"}}, note_runs("late"))
    with Wire(cpf) as wire:
        run_id = wire.value("w")["run_id"]
        until(lambda: wire.value("cpf_wait", run_id=run_id)["status"] == "completed")
    assert ran(cpf) == ["late"]


# A person, by the newest revision


def test_a_person_is_asked_by_the_call_and_answers_by_the_call_made_again(cpf: Cpf) -> None:
    flow(cpf, "w", note_runs("before"), question("ok", yes=CHOICE, n={"type": "integer"}), note_runs("after"))
    with Wire(cpf, can=FORMS) as wire:
        result = wire.call("w")
        (request,) = result["inputRequests"].values()
        assert request["method"] == "elicitation/create"
        assert request["params"]["requestedSchema"]["properties"]["yes"] == {
            "type": "string",
            "enum": ["yes", "no"],
        }
        done = wire.call("w", state=accept(result, yes="yes", n="3"))["structuredContent"]
        assert done["status"] == "completed"
    assert cpf("inspect", "@latest")["steps"]["ok"]["outputs"] == {"yes": "yes", "n": 3}
    assert (ran(cpf), len(cpf("list")["result"]["runs"])) == (["before", "after"], 1)


def test_an_answer_that_does_not_fit_is_asked_for_again_with_what_is_wrong(cpf: Cpf) -> None:
    flow(cpf, "w", question("ok", yes=CHOICE))
    with Wire(cpf, can=FORMS) as wire:
        first = wire.call("w")
        again = wire.call("w", state=accept(first, yes="maybe"))
        (request,) = again["inputRequests"].values()
        assert request["params"]["message"].startswith("Your last answer was not taken: ")
        assert "cpf resume" not in request["params"]["message"]
        assert wire.call("w", state=accept(again, yes="no"))["structuredContent"]["status"] == "completed"


@pytest.mark.long(but_one_in=6)
@pytest.mark.parametrize(
    "response", [{"action": "decline"}, {"action": "cancel"}, {}, None, 5, {"action": "x"}]
)
def test_who_does_not_answer_leaves_the_run_waiting(cpf: Cpf, response: Any) -> None:
    flow(cpf, "w", question("ok", yes=CHOICE))
    with Wire(cpf, can=FORMS) as wire:
        result = wire.call("w")
        (key,) = result["inputRequests"]
        shown = wire.call("w", state=reply(result, key, response))["structuredContent"]
        assert (shown["status"], "the run waits" in shown["note"] or response is None) == ("waiting", True)
        assert "person_types" in shown["next"][0]
        assert wire.call("cpf_wait", run_id=shown["run_id"])["resultType"] == "input_required"


@pytest.mark.long
def test_a_late_answer_to_an_old_question_falls_away(cpf: Cpf) -> None:
    loop = switch("again", ("steps.ok.outputs.yes == 'no'", "ok"), default="done")
    flow(cpf, "w", question("ok", yes=CHOICE), loop, note_runs("done"))
    with Wire(cpf, can=FORMS) as wire:
        first = wire.call("w")
        second = wire.call("w", state=accept(first, yes="no"))
        assert set(second["inputRequests"]) != set(first["inputRequests"])
        # The same answer again, as after a lost response: it is not taken for one to the second question.
        third = wire.call("w", state=accept(first, yes="no"))
        assert third["inputRequests"].keys() == second["inputRequests"].keys()
        assert wire.call("w", state=accept(third, yes="yes"))["structuredContent"]["status"] == "completed"
        # And once it is over, it changes nothing.
        assert wire.call("w", state=accept(third, yes="no"))["structuredContent"]["status"] == "completed"
    assert (ran(cpf), len(cpf("list")["result"]["runs"])) == (["done"], 1)


def test_a_state_that_was_not_sealed_for_this_call_is_refused(cpf: Cpf) -> None:
    flow(cpf, "w", question("ok", yes=CHOICE), inputs={"type": "object"})
    flow(cpf, "v", question("ok", yes=CHOICE), inputs={"type": "object"})
    with Wire(cpf, can=FORMS) as wire:
        state = accept(wire.call("w", a=1), yes="yes")
        sealed = state["requestState"]
        run_id, until_, signature = sealed.split(".")
        forged = [
            "", "x", sealed + "0", f"{run_id}.{int(until_) + 1}.{signature}", f"{run_id}..{signature}",
            f"{run_id}.{until_}.", "é.1.é", sealed.replace(run_id, "01M8E0C2V1BQ7B86W4Q909PH7B"),
        ]  # fmt: skip
        for odd in forged:
            given = {"name": "w", "arguments": {"a": 1}, **state, "requestState": odd}
            assert wire.ask("tools/call", given)["error"]["code"] == -32602, odd
        for name, arguments in (("w", {"a": 2}), ("v", {"a": 1}), ("cpf_wait", {"run_id": run_id})):
            given = {"name": name, "arguments": arguments, **state}
            assert wire.ask("tools/call", given)["error"]["code"] == -32602
        assert wire.call("w", state=state, a=1)["structuredContent"]["status"] == "completed"


def test_a_state_that_is_old_is_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    from checkpointflow.mcp import sealing
    from checkpointflow.mcp.protocol import ProtocolError

    state = sealing.seal(tmp_path, "R1", b"c")
    monkeypatch.setattr(sealing.time, "time", lambda: 9e9)
    with pytest.raises(ProtocolError, match="cpf_wait and run_id R1"):
        sealing.unseal(tmp_path, state, b"c")


def test_several_questions_are_asked_at_once_and_each_answer_counts(cpf: Cpf) -> None:
    both = parallel(
        "p", branch("one", question("left", yes=CHOICE)), branch("two", question("right", yes=CHOICE))
    )
    flow(cpf, "w", both, note_runs("after"))
    with Wire(cpf, can=FORMS) as wire:
        result = wire.call("w")
        left, right = sorted(result["inputRequests"])
        half = wire.call("w", state=reply(result, left, {"action": "accept", "content": {"yes": "no"}}))
        assert list(half["inputRequests"]) == [right]
        done = wire.call("w", state=reply(half, right, {"action": "accept", "content": {"yes": "yes"}}))
        assert done["structuredContent"]["status"] == "completed"


def test_a_form_without_numbers_for_a_client_that_mishandles_them(cpf: Cpf) -> None:
    flow(cpf, "w", question("ok", n={"type": "integer"}, x={"type": "number"}))
    with Wire(cpf, can=FORMS) as wire:
        wire.client = "codex-mcp-client"
        result = wire.call("w")
        (request,) = result["inputRequests"].values()
        fields = request["params"]["requestedSchema"]["properties"]
        assert {field["type"] for field in fields.values()} == {"string"}
        assert fields["n"]["pattern"] == "^-?[0-9]+$"
        done = wire.call("w", state=accept(result, n=" 3", x="2.50"))["structuredContent"]
        assert done["status"] == "completed"
    assert cpf("inspect", "@latest")["steps"]["ok"]["outputs"] == {"n": 3, "x": 2.5}


def test_what_has_no_form_is_for_the_person_at_a_terminal(cpf: Cpf) -> None:
    flow(cpf, "w", question("ok", deep={"type": "object"}))
    with Wire(cpf, can=FORMS) as wire:
        shown = wire.value("w")
        assert (shown["status"], "person_types" in shown["next"][0]) == ("waiting", True)
    with Wire(cpf, can={"elicitation": {"url": {}}}) as wire:
        assert wire.value("cpf_wait", run_id=shown["run_id"])["status"] == "waiting"


def test_a_prompt_commands_no_terminal(cpf: Cpf) -> None:
    step = question("ok", yes=CHOICE) | {"prompt": "${inputs.text}"}
    flow(cpf, "w", step, inputs={"type": "object", "properties": {"text": {"type": "string"}}})
    text = '\x1b[2J\u202eevil\n{"jsonrpc":"2.0"}\n' + "x" * 20000
    with Wire(cpf, can=FORMS) as wire:
        (request,) = wire.call("w", text=text)["inputRequests"].values()
    message = request["params"]["message"]
    assert "\x1b" not in message and "\u202e" not in message
    assert message.startswith("\\u001b[2J\\u202eevil")
    assert len(message) < 9000


# Tasks


def poll(wire: Wire, task_id: str, status: str) -> Json:
    while True:
        task = wire.ask("tasks/get", {"taskId": task_id})["result"]
        if task["status"] != "working":
            assert task["status"] == status
            return task


def test_a_client_with_tasks_gets_one_and_its_id_is_the_runs(cpf: Cpf) -> None:
    flow(cpf, "w", question("ok", yes=CHOICE), note_runs("after"))
    with Wire(cpf, can=FORMS | TASKS) as wire:
        task = wire.call("w")
        assert (task["resultType"], task["status"], task["ttlMs"]) == ("task", "working", None)
        asked = poll(wire, task["taskId"], "input_required")
        (key,) = asked["inputRequests"]

        def update(key: str, response: Json) -> Json:
            return wire.ask("tasks/update", {"taskId": task["taskId"], "inputResponses": {key: response}})

        assert "result" in update("ok@1999", {"action": "accept", "content": {"yes": "no"}})
        assert "result" in update(key, {"action": "accept", "content": {"yes": "maybe"}})
        ((again, request),) = poll(wire, task["taskId"], "input_required")["inputRequests"].items()
        assert again != key  # or a client would not ask again
        assert request["params"]["message"].startswith("Your last answer was not taken: ")
        assert "result" in update(key, {"action": "accept", "content": {"yes": "no"}})
        assert (
            update(again, {"action": "accept", "content": {"yes": "yes"}})["result"]["resultType"]
            == "complete"
        )
        assert "result" in update(key, {"action": "accept", "content": {"yes": "no"}})
        done = poll(wire, task["taskId"], "completed")
        assert done["result"]["structuredContent"]["status"] == "completed"
        assert done["result"]["structuredContent"]["run_id"] == task["taskId"]
    assert ran(cpf) == ["after"]


def test_a_task_that_the_person_declines_comes_to_a_result_and_its_run_waits(cpf: Cpf) -> None:
    flow(cpf, "w", question("ok", yes=CHOICE))
    with Wire(cpf, can=FORMS | TASKS) as wire:
        task_id = wire.call("w")["taskId"]
        (key,) = poll(wire, task_id, "input_required")["inputRequests"]
        wire.ask("tasks/update", {"taskId": task_id, "inputResponses": {key: {"action": "decline"}}})
        shown = poll(wire, task_id, "completed")["result"]["structuredContent"]
        assert (shown["status"], "does not want" in shown["note"]) == ("waiting", True)
    assert cpf("status", task_id)["status"] == "waiting"


def test_a_task_that_the_model_must_answer_comes_to_a_result(cpf: Cpf) -> None:
    flow(cpf, "w", question("look", "agent", yes=CHOICE))
    with Wire(cpf, can=FORMS | TASKS) as wire:
        shown = poll(wire, wire.call("w")["taskId"], "completed")["result"]["structuredContent"]
        assert (shown["status"], shown["next"][0]["tool"]) == ("waiting", "cpf_answer")


def test_a_task_whose_run_waits_for_somebody_else_says_that_it_has_not_ended(cpf: Cpf) -> None:
    flow(cpf, "w", question("ok", yes=CHOICE))
    with Wire(cpf, can=TASKS) as wire:
        task_id = wire.call("w")["taskId"]
        shown = poll(wire, task_id, "completed")["result"]["structuredContent"]
        assert (shown["status"], shown["note"]) == (
            "waiting",
            "the run has not ended: the user is to answer ok",
        )
        line, wait = shown["next"]
        assert (line["person_types"].split()[2], wait["tool"]) == (task_id, "cpf_wait")
        assert wire.value("cpf_wait", **wait["arguments"])["status"] == "waiting"


@pytest.mark.long
def test_a_task_that_is_cancelled_cancels_its_run(cpf: Cpf) -> None:
    flow(cpf, "w", cli("a", "sleep 30"))
    with Wire(cpf, can=TASKS) as wire:
        task_id = wire.call("w")["taskId"]
        assert wire.ask("tasks/cancel", {"taskId": task_id})["result"]["resultType"] == "complete"
        poll(wire, task_id, "cancelled")
        assert "result" in wire.ask("tasks/cancel", {"taskId": task_id})
        for odd in ("@latest", task_id[-6:], "../x", "01M8E0C2V1BQ7B86W4Q909PH7B", 5):
            assert wire.ask("tasks/get", {"taskId": odd})["error"]["code"] == -32602


def test_a_failed_task_has_a_result_that_says_so(cpf: Cpf) -> None:
    flow(cpf, "w", cli("a", "false"))
    with Wire(cpf, can=TASKS) as wire:
        result = poll(wire, wire.call("w")["taskId"], "completed")["result"]
        assert (result["isError"], result["structuredContent"]["status"]) == (True, "failed")


# A person, by the older revisions


@pytest.mark.long(but_one_in=2)
@pytest.mark.parametrize("revision", ["2025-11-25", "2025-06-18"])
def test_an_older_client_is_asked_while_its_call_waits(cpf: Cpf, revision: str) -> None:
    flow(cpf, "w", question("ok", yes=CHOICE), note_runs("after"))
    with Wire(cpf) as wire:
        begun = wire.initialize(revision, elicitation={})
        assert (begun["protocolVersion"], "resultType" in begun) == (revision, False)
        assert "ttlMs" not in wire.ask("tools/list")["result"]
        call = wire.post("tools/call", {"name": "w"})
        asked = _answer_question(wire, {"action": "accept", "content": {"yes": "maybe"}})
        assert ("mode" in asked["params"]) == (revision != "2025-06-18")
        asked = _answer_question(wire, {"action": "accept", "content": {"yes": "yes"}})
        assert "Your last answer was not taken" in asked["params"]["message"]
        result = wire.answer_to(call)["result"]
        assert (result["structuredContent"]["status"], "resultType" in result) == ("completed", False)
    assert ran(cpf) == ["after"]


def _answer_question(wire: Wire, response: Json, **more: Any) -> Json:
    asked = wire.hear()
    assert asked["method"] == "elicitation/create"
    wire.send(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": response, **more}).encode())
    return asked


@pytest.mark.long(but_one_in=2)
@pytest.mark.parametrize("action", ["decline", "cancel"])
def test_an_older_client_that_does_not_answer_leaves_the_run_waiting(cpf: Cpf, action: str) -> None:
    flow(cpf, "w", question("ok", yes=CHOICE))
    with Wire(cpf) as wire:
        wire.initialize(elicitation={})
        call = wire.post("tools/call", {"name": "w"})
        _answer_question(wire, {"action": action})
        shown = wire.answer_to(call)["result"]["structuredContent"]
        assert (shown["status"], "the person" in shown["note"]) == ("waiting", True)


def test_an_older_client_that_cannot_ask_says_so(cpf: Cpf) -> None:
    flow(cpf, "w", question("ok", yes=CHOICE))
    with Wire(cpf) as wire:
        wire.initialize(elicitation={})
        call = wire.post("tools/call", {"name": "w"})
        error = {"jsonrpc": "2.0", "id": wire.hear()["id"], "error": {"code": -32601, "message": "no"}}
        wire.send(json.dumps(error).encode())
        shown = wire.answer_to(call)["result"]["structuredContent"]
        assert (shown["status"], "could not ask" in shown["note"]) == ("waiting", True)


@pytest.mark.long
def test_a_person_who_thinks_longer_than_the_patience_is_asked_once_and_heard(cpf: Cpf) -> None:
    flow(cpf, "w", question("ok", yes=CHOICE), note_runs("after"))
    with Wire(cpf, "--patience", "1s") as wire:
        wire.initialize(elicitation={})
        call = wire.post("tools/call", {"name": "w"})
        asked = wire.hear()
        shown = wire.answer_to(call)["result"]["structuredContent"]
        assert "has not answered yet" in shown["note"]
        again = wire.post("tools/call", {"name": "cpf_wait", "arguments": {"run_id": shown["run_id"]}})
        wire.answer_to(again)
        response = {"id": asked["id"], "result": {"action": "accept", "content": {"yes": "yes"}}}
        wire.send(json.dumps({"jsonrpc": "2.0", **response}).encode())
        until(lambda: cpf("status", shown["run_id"])["status"] == "completed")
        assert [m.get("method") for m in wire.heard].count("elicitation/create") == 1
        wire.send(json.dumps({"jsonrpc": "2.0", **response}).encode())
        assert wire.value("cpf_wait", run_id=shown["run_id"])["status"] == "completed"
    assert ran(cpf) == ["after"]


def test_a_question_that_is_answered_elsewhere_is_withdrawn_and_the_call_goes_on(cpf: Cpf) -> None:
    flow(cpf, "w", question("ok", yes=CHOICE), note_runs("after"))
    with Wire(cpf) as wire:
        wire.initialize(elicitation={})
        call = wire.post("tools/call", {"name": "w"})
        asked = wire.hear()
        assert cpf("resume", "@latest", "--set", "yes=yes")["status"] == "completed"
        assert wire.answer_to(call)["result"]["structuredContent"]["status"] == "completed"
        (notice,) = [m["params"] for m in wire.heard if m.get("method") == "notifications/cancelled"]
        assert notice["requestId"] == asked["id"]


@pytest.mark.long
def test_an_answer_that_comes_when_no_call_waits_falls_away_if_it_was_given_elsewhere(cpf: Cpf) -> None:
    flow(cpf, "w", question("ok", yes=CHOICE), question("look", "agent", yes=CHOICE))
    with Wire(cpf, "--patience", "2s") as wire:
        wire.initialize(elicitation={})
        call = wire.post("tools/call", {"name": "w"})
        asked = wire.hear()
        wire.answer_to(call)
        assert cpf("resume", "@latest", "--set", "yes=no")["wait"]["step"] == "look"
        response = {"id": asked["id"], "result": {"action": "accept", "content": {"yes": "yes"}}}
        wire.send(json.dumps({"jsonrpc": "2.0", **response}).encode())
        assert (
            wire.value("cpf_wait", run_id=cpf("list")["result"]["runs"][0]["run_id"])["status"] == "waiting"
        )
    assert cpf("inspect", "@latest")["steps"]["ok"]["outputs"] == {"yes": "no"}


@pytest.mark.long
def test_nobody_is_asked_while_an_answer_is_on_its_way(cpf: Cpf) -> None:
    flow(cpf, "w", cli("a"), question("ok", yes=CHOICE))
    with Wire(cpf, can=FORMS) as wire:
        run_id = wire.call("w")["requestState"].partition(".")[0]
    with Wire(cpf, "--patience", "1s", can=FORMS) as wire:
        with open(cpf.directory(run_id) / "driver.log") as log:
            fcntl.flock(log, fcntl.LOCK_SH)  # as the cpf does that a killed server had deliver it
            assert wire.call("cpf_wait", run_id=run_id)["resultType"] == "complete"
        assert wire.call("cpf_wait", run_id=run_id)["resultType"] == "input_required"


@pytest.mark.long
def test_an_interrupted_task_is_not_taken_up_unasked(cpf: Cpf) -> None:
    flow(cpf, "w", cli("a", "sleep 30", idempotent=True))
    with Wire(cpf, can=TASKS) as wire:
        task_id = wire.call("w")["taskId"]
        until(lambda: (cpf.directory(task_id) / "stdout" / "a.txt").exists())
        os.kill(json.loads((cpf.directory(task_id) / "run.lock").read_text())["pid"], signal.SIGINT)
        shown = poll(wire, task_id, "completed")["result"]["structuredContent"]
        assert (shown["status"], shown["next"][0]["tool"]) == ("running", "cpf_retry")
        assert wire.value("cpf_cancel", run_id=task_id, reason="x")["status"] == "cancelled"


@pytest.mark.long
def test_a_run_that_is_interrupted_while_it_is_looked_at_is_not_taken_up(
    cpf: Cpf, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow(cpf, "w", cli("a", "sleep 30", idempotent=True))
    run_id = cpf.real("run", "w", "--detach")["run_id"]
    until(lambda: (cpf.directory(run_id) / "stdout" / "a.txt").exists())
    directory, taken_up, load = Store(cpf.base).find(run_id), list[str](), RunDirectory.load

    def interrupt(directory: RunDirectory) -> Run:
        run = load(directory)
        os.kill(json.loads((directory.place / "run.lock").read_text())["pid"], signal.SIGINT)
        until(lambda: not directory.seems_held() and not runs.is_driven_apart(directory))
        return run

    monkeypatch.setattr(runs, "drive_apart", lambda *_, **__: taken_up.append(run_id))
    monkeypatch.setattr(RunDirectory, "load", interrupt)
    host = Host(store=Store(cpf.base), patience=1, answers=frozenset())
    assert show_task(host, Client("2026-07-28", TASKS), directory, set())["status"] == "working"
    monkeypatch.setattr(RunDirectory, "load", load)
    assert show_task(host, Client("2026-07-28", TASKS), directory, set())["status"] == "completed"
    assert taken_up == []


@pytest.mark.long
def test_two_calls_that_wait_for_the_same_run_ask_once_and_both_go_on(cpf: Cpf) -> None:
    flow(cpf, "w", question("ok", yes=CHOICE), note_runs("after"))
    with Wire(cpf) as wire:
        wire.initialize(elicitation={})
        first = wire.post("tools/call", {"name": "w"})
        asked = wire.hear()
        run_id = cpf("list")["result"]["runs"][0]["run_id"]
        second = wire.post("tools/call", {"name": "cpf_wait", "arguments": {"run_id": run_id}})
        wire.ask("ping")
        response = {"id": asked["id"], "result": {"action": "accept", "content": {"yes": "yes"}}}
        wire.send(json.dumps({"jsonrpc": "2.0", **response}).encode())
        both = {m["id"]: m["result"]["structuredContent"] for m in (wire.hear(), wire.hear())}
        assert {both[first]["status"], both[second]["status"]} == {"completed"}
        assert [m.get("method") for m in wire.heard].count("elicitation/create") == 1
    assert ran(cpf) == ["after"]


def test_an_older_client_without_forms_gets_a_plain_result(cpf: Cpf) -> None:
    flow(cpf, "w", question("ok", yes=CHOICE))
    with Wire(cpf) as wire:
        assert wire.initialize("1999-01-01")["protocolVersion"] == "2025-11-25"
        assert wire.value("w")["status"] == "waiting"
        assert wire.ask("ping")["result"] == {}
        assert wire.ask("server/discover")["error"]["code"] == -32601
        assert wire.ask("tasks/get", {"taskId": "x"})["error"]["code"] == -32021
