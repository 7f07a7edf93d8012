"""The server is killed at any moment: every run ends, nothing is asked twice, nothing runs twice.

Who drives here knows only what the server tells: each call may be lost together with the server, and then a
look at where the run stands follows.
"""

from __future__ import annotations

import os
import random
import threading
from typing import Any

import pytest

from tests.conftest import Cpf
from tests.helpers import branch, cli, parallel
from tests.mcp.wire import FORMS, TASKS, Json, Wire, flow, question

LONG = os.environ.get("CPF_LONG") == "1"
RUNS = 30 if LONG else 4
KILLS = 2
ERAS = ("newest", "older", "tasks", "plain")
CHOICE = {"enum": ["yes", "no"]}


class Lost(Exception):
    """The server has died before it answered."""


class Driver:
    """Takes one run to its end, while its server is killed *KILLS* times."""

    def __init__(self, cpf: Cpf, era: str, key: str, chance: random.Random) -> None:
        self.cpf, self.era, self.key, self.chance = cpf, era, key, chance
        self.kills = KILLS
        self.lost: list[str] = []
        self.wire: Wire | None = None

    def start_server(self) -> Wire:
        more = ("--answers", "user") if self.era == "plain" else ()
        can = {"newest": FORMS, "tasks": FORMS | TASKS}.get(self.era, {})
        self.wire = wire = Wire(self.cpf, *more, can=can)
        if self.era == "older":
            wire.initialize(elicitation={})
        return wire

    def call(self, name: str, **arguments: Any) -> Json:
        """What a call has come to, the person asked where the client is to ask them. Raises Lost."""
        wire = self.wire or self.start_server()
        timer = threading.Timer(self.chance.uniform(0, 0.8), wire.process.kill)
        if self.kills:
            timer.start()
        try:
            return self._finish(
                wire, name, arguments, wire.call(name, **arguments) if self.era != "older" else None
            )
        except (AssertionError, BrokenPipeError):
            if wire.process.poll() is None and not timer.finished.is_set():
                raise
            wire.__exit__()
            self.wire, self.kills = None, self.kills - 1
            self.lost.append(name)
            raise Lost from None
        finally:
            timer.cancel()

    def _finish(self, wire: Wire, name: str, arguments: Json, result: Json | None) -> Json:
        if result is None:
            return self._answer_forms(wire, wire.post("tools/call", {"name": name, "arguments": arguments}))
        while result.get("resultType") == "input_required":
            responses = {key: self.think(key) for key in result["inputRequests"]}
            state = {"requestState": result["requestState"], "inputResponses": responses}
            result = wire.call(name, state=state, **arguments)
        return self._look_after(wire, result["taskId"]) if result["resultType"] == "task" else result

    def _answer_forms(self, wire: Wire, call: int) -> Json:
        import json

        while True:
            message = wire.hear()
            if message.get("method") == "elicitation/create":
                step = message["params"]["message"].rpartition("step ")[2].rstrip(")")
                response = self.think(step)
                wire.send(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": response}).encode())
            elif message.get("id") == call:
                return message["result"]

    def _look_after(self, wire: Wire, task_id: str) -> Json:
        while True:
            task = wire.ask("tasks/get", {"taskId": task_id})["result"]
            if task["status"] == "completed":
                return task["result"]
            for key in task.get("inputRequests", ()):
                given = {"taskId": task_id, "inputResponses": {key: self.think(key)}}
                assert "result" in wire.ask("tasks/update", given)

    def think(self, key: str) -> Json:
        """What the person says; nobody asks them what is on disk already."""
        path = key.partition("@")[0]
        (row,) = self.rows()
        steps = self.cpf("inspect", row["run_id"])["steps"]
        assert steps[path]["state"] == "waiting", f"{path} was answered, and is asked again"
        return {"action": "accept", "content": {"yes": "yes"}}

    def rows(self) -> list[Json]:
        listed = self.cpf("list", "--limit", "0")["result"]["runs"]
        return [row for row in listed if row["inputs"] == {"key": self.key}]

    def drive(self) -> str:
        """The run's id, once it has ended."""
        shown = self.begin()
        while True:
            run_id = shown["run_id"]
            if shown["status"] == "completed":
                return run_id
            assert shown["status"] in ("running", "waiting"), shown
            step = next((s for s in shown["next"] if s["tool"] == "cpf_answer"), {"tool": "cpf_wait"})
            given = {"run_id": run_id}
            if step["tool"] == "cpf_answer":
                given |= {"step": step["arguments"]["step"], "answer": {"yes": "yes"}}
            try:
                told = self.call(step["tool"], **given)["structuredContent"]
                # The answer may have been taken by a call that was lost: then where the run stands tells.
                shown = self.look(run_id) if told["status"] == "error" else told
            except Lost:
                shown = self.look(run_id)

    def look(self, run_id: str) -> Json:
        while True:
            try:
                return self.call("cpf_wait", run_id=run_id)["structuredContent"]
            except Lost:
                continue

    def begin(self) -> Json:
        while True:
            try:
                return self.call("w", key=self.key)["structuredContent"]
            except Lost:
                if rows := self.rows():
                    return self.look(rows[0]["run_id"])


@pytest.mark.long(but_one_in=4)
@pytest.mark.parametrize("number", range(RUNS))
def test_whenever_the_server_is_killed_the_run_ends_and_nothing_is_done_twice(cpf: Cpf, number: int) -> None:
    chance = random.Random(number)
    both = parallel(
        "p", branch("x", question("left", yes=CHOICE)), branch("y", question("right", "agent", yes=CHOICE))
    )
    flow(
        cpf, "w", cli("one", "sleep 0.1; echo one >> ran.txt"), question("ok", yes=CHOICE),
        cli("two", "sleep 0.2; echo two >> ran.txt"), question("look", "agent", yes=CHOICE), both,
        cli("three", "echo three >> ran.txt"),
        inputs={"type": "object", "properties": {"key": {"type": "string"}}},
    )  # fmt: skip
    driver = Driver(cpf, ERAS[number % len(ERAS)], f"k{number}", chance)
    try:
        run_id = driver.drive()
    finally:
        if driver.wire is not None:
            driver.wire.__exit__()
    assert driver.lost, "the server was never killed"
    assert (cpf.cwd / "ran.txt").read_text().split() == ["one", "two", "three"]
    assert len(cpf("list", "--limit", "0")["result"]["runs"]) == 1
    events = [e["fact"] for e in cpf.history(run_id) if e["fact"].get("by") and e["fact"].get("path")]
    assert sorted(fact["path"] for fact in events) == ["look", "ok", "p[x]/left", "p[y]/right"], events
    assert cpf("verify", run_id).code == 0
