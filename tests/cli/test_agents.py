"""An agent that knows `cpf guide agents` and envelopes, and loses every third response, comes to the end."""

from __future__ import annotations

import json
import os
import random
from typing import Any

import pytest

from checkpointflow.cli.init import NAMES
from tests.conftest import QUICK_START, Answer, Cpf

INPUTS = {"agent-review": {"task": "say hello", "file": "hello.md"}, "deploy": {"version": "1.2.3"}}
LOST = 0.3
MAX_CALLS = 300


class Agent:
    """It says a line again whose response is lost, and does what `next` says. answers: by their steps."""

    def __init__(self, cpf: Cpf, seed: int) -> None:
        self.cpf, self.chance = cpf, random.Random(seed)
        self.answers: dict[str, Any] = {}
        self.calls = 0

    def say(self, *line: str) -> Answer:
        while True:
            self.calls += 1
            assert self.calls < MAX_CALLS, "it never comes to an end"
            answer = self.cpf(*line)
            if self.chance.random() >= LOST:
                return answer

    def drive(self, *line: str) -> Answer:
        answer = self.say(*line, "--run-key", "task 1")
        while answer["status"] not in ("completed", "failed", "cancelled"):
            assert answer["status"] in ("waiting", "running"), answer.text
            if "wait" in answer.json:
                self._think(answer["wait"])
            answer = self.say(*answer["next"][0]["argv"][1:])
        return answer

    def _think(self, wait: dict[str, Any]) -> None:
        """An answer, which differs from visit to visit as far as the schema lets it."""
        if wait["step"] not in self.answers:
            self.answers[wait["step"]] = self._make(wait["input_schema"])
        (self.cpf.cwd / "response.json").write_text(json.dumps(self.answers[wait["step"]]))

    def _make(self, schema: dict[str, Any]) -> Any:
        if "enum" in schema:
            return self.chance.choice(schema["enum"])
        match schema.get("type", "object"):
            case "object":
                fields = schema.get("properties", {})
                wanted = [n for n in fields if n in schema.get("required", ()) or self.chance.random() < 0.5]
                return {name: self._make(fields[name]) for name in wanted}
            case "array":
                return [self._make(schema.get("items", {})) for _ in range(max(1, schema.get("minItems", 0)))]
            case "boolean":
                return self.chance.random() < 0.5
            case "integer" | "number":
                return schema.get("minimum", 1)
            case _:
                return f"word {self.chance.randrange(100)}"[: schema.get("maxLength", 99)]


@pytest.mark.long(but_one_in=5)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("template", NAMES)
def test_an_agent_that_loses_responses_drives_each_template_to_its_end(
    cpf: Cpf, template: str, seed: int
) -> None:
    cpf.env["LLM"] = "true"
    agent = Agent(cpf, seed)
    agent.say("init", "--template", template, "--force")
    (cpf.cwd / "hello.md").write_text("hello\n")  # what an agent that writes would have written
    inputs = agent.say("validate", "checkpointflow.yaml")["result"]["inputs"].get("properties", {})
    given = {n: f.get("default", agent._make(f)) for n, f in inputs.items()} | INPUTS.get(template, {})
    ended = agent.drive("run", "checkpointflow.yaml", "--input", json.dumps(given))
    assert os.listdir(cpf.base / "runs") == [ended["run_id"]]
    facts = [line["fact"] for line in cpf.history(ended["run_id"])]
    taken = {fact["path"]: fact["payload"] for fact in facts if fact["fact"] == "event_taken"}
    assert taken == agent.answers
    begun = [(f["path"], f["action"]["attempt"]) for f in facts if f["fact"] == "step_started"]
    failed = {(f["path"], f["attempt"] + 1) for f in facts if f["fact"] == "attempt_failed"}
    assert len(set(begun)) == len(begun)
    assert {attempt for attempt in begun if attempt[1] > 1} <= failed


GIVEN = {
    "approval": {"page_id": "123456", "source_file": "docs/architecture.md"},
    "agent-review": {"task": "Explain our release process.", "file": "release.md"},
    "batch": {"orders": [{"name": "pens", "amount": 20}, {"name": "desks", "amount": 9000}]},
    "deploy": {"version": "1.4.2"},
    "runbook": {"service": "shop"},
}
PER_TOKEN = {
    "minimal": 2.88, "approval": 3.07, "agent-review": 2.95, "batch": 2.73, "deploy": 2.94, "runbook": 2.86
}  # fmt: skip
"""Characters of a token of what each asks, by o200k, where ids make most tokens, of 1,000 times."""


@pytest.mark.parametrize("template", NAMES)
def test_what_a_run_asks_is_short(cpf: Cpf, template: str) -> None:
    del cpf.env["CHECKPOINTFLOW_BASE_DIR"]  # a place that is not the usual one makes each line longer
    cpf.env["PATH"] = f"{QUICK_START / 'bin'}:{cpf.env['PATH']}"
    cpf("init", "--template", template)
    asked = cpf("run", "checkpointflow.yaml", "--input", json.dumps(GIVEN.get(template, {})))
    assert asked.code == 40
    assert len(asked.text) <= 350 * PER_TOKEN[template]


def test_what_an_agent_has_to_know_is_short(cpf: Cpf) -> None:
    guide, skill = cpf("guide", "agents").text, cpf("init", "--skill")
    assert len(guide) < 1_500 * 3.5  # characters of a token of this text, by o200k: 3.59
    assert skill["result"]["files"] == [".agents/skills/cpf/SKILL.md"]
    text = (cpf.cwd / ".agents/skills/cpf/SKILL.md").read_text()
    assert text.startswith("---\nname: cpf\ndescription: ")
    assert len(text) < 600 * 3.8  # of this one: 3.88


def test_a_skill_stands_wherever_agents_look_for_one(cpf: Cpf) -> None:
    (cpf.cwd / ".claude").mkdir()
    assert cpf("init", "--skill")["result"]["files"] == [
        ".agents/skills/cpf/SKILL.md",
        ".claude/skills/cpf/SKILL.md",
    ]
    assert cpf("init", "--skill").error_code == "ERR_FILE_EXISTS"
    assert cpf("init", "--skill", "--force").code == 0
    assert cpf("init", "--skill", "--git").error_code == "ERR_USAGE"
