"""`cpf explore`: all ways, as JSON and as text."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from checkpointflow.cli import explore
from checkpointflow.cli.init import NAMES
from checkpointflow.explore.findings import KINDS
from tests.cli.test_documents import EXAMPLES, example
from tests.conftest import Cpf
from tests.helpers import ask, cli, end

TEMPLATES = Path(__file__).parents[2] / "checkpointflow" / "templates"
REVIEW = ask(
    "review",
    input_schema={"type": "object", "required": ["ok"], "properties": {"ok": {"type": "boolean"}}},
    transitions=[{"when": "event.ok", "next": "deploy"}, {"when": True, "next": "no"}],
)


def house(cpf: Cpf) -> str:
    return cpf.flow(REVIEW, cli("deploy", "exit 1", next="done"), end("no"), end("done"))


@pytest.mark.long(but_one_in=3)
@pytest.mark.parametrize("name", NAMES)
def test_no_mistake_is_told_of_a_template(cpf: Cpf, name: str) -> None:
    answer = cpf("explore", str(TEMPLATES / f"{name}.yaml"))
    assert answer.code == 0
    assert answer["result"]["complete"]
    assert [f for f in answer["result"]["findings"] if f["severity"] == "mistake"] == []


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_no_mistake_is_told_of_an_example_of_the_guide(cpf: Cpf, number: int) -> None:
    cpf.write("w.yaml", EXAMPLES[number])
    cpf.write("greet.yaml", example("greet"))
    answer = cpf("explore", "w.yaml")
    assert (answer.code, answer["result"]["complete"]) == (0, True)


def test_what_is_found_is_an_envelope_and_nothing_runs(cpf: Cpf) -> None:
    answer = cpf("explore", "-f", house(cpf), "--never", "deploy unless steps.review.outputs.ok", "--crash")
    result = answer["result"]
    assert (answer.code, answer["command"], answer["ok"]) == (0, "explore", True)
    assert result["rules"] == {"never deploy unless steps.review.outputs.ok": "proved"}
    assert [ending["status"] for ending in result["endings"]] == ["completed", "failed"]
    assert result["crashes"] == [{"step": "deploy", "then": "asks"}]
    assert not cpf.base.exists()


def test_a_mistake_ends_with_10_and_a_way_that_leads_there(cpf: Cpf) -> None:
    answer = cpf("explore", house(cpf), "--always", "deploy", "--at-most-once", "deploy", "--full")
    (found,) = (f for f in answer["result"]["findings"] if f["severity"] == "mistake")
    assert (answer.code, answer["ok"]) == (10, False)
    assert found["kind"] == "broken_rule"
    assert found["way"]["events"] == [{"step": "review", "what": "answered", "answer": {"ok": False}}]


def test_a_finding_names_the_line_of_its_step_and_the_file(cpf: Cpf) -> None:
    wrong = {"id": "wrong", "kind": "switch", "cases": [{"when": "inputs.ok", "next": "e"}]}
    ok = {"type": "object", "required": ["ok"], "properties": {"ok": {"type": "boolean"}}}
    child = cpf.flow(wrong, end("e"), inputs=ok, name="child.yaml")
    call = {
        "id": "c",
        "kind": "workflow",
        "workflow_ref": "child.yaml",
        "inputs": {"ok": "${steps.a.outputs.ok}"},
    }
    first = {"id": "first", "kind": "switch", "cases": [{"when": "inputs.ok", "next": "c"}]}
    flow = cpf.flow(cli("a", outputs=ok), first, call, inputs=ok)
    places = {}
    for found in cpf("explore", flow)["result"]["findings"]:
        places[found["step"]] = [found["file"], found["line"], found["path"]]
    assert places["first"] == [flow, line_of(cpf, flow, "first"), "workflow.steps[1]"]
    assert places["wrong"] == [child, line_of(cpf, child, "wrong"), "workflow.steps[0]"]
    assert f"{flow}:{line_of(cpf, flow, 'first')}:" in cpf("explore", flow, "--text").text


def line_of(cpf: Cpf, file: str, step: str) -> int:
    lines = (cpf.cwd / file).read_text().splitlines()
    return next(n for n, line in enumerate(lines) if f'"{step}"' in line)  # the one before, where it opens


def test_inputs_may_be_given_and_must_fit(cpf: Cpf) -> None:
    flow = cpf.flow(
        end("e", result="${inputs.n}"), inputs={"type": "object", "properties": {"n": {"type": "integer"}}}
    )
    assert cpf("explore", flow, "--set", "n=5")["result"]["endings"][0]["result"] == 5
    assert cpf("explore", flow, "--input", '{"n": "x"}').error_code == "ERR_VALIDATION_INPUT"


@pytest.mark.parametrize(
    "wrong",
    [
        ("--never", "nope unless true"),
        ("--never", "deploy unless 1 +"),
        ("--never", "deploy if true"),
        ("--always", "nope"),
        ("--always", "deploy before nope"),
        ("--at-most-once", "nope"),
        ("--time-limit", "x"),
    ],
)
def test_what_makes_no_rule_is_wrong_use(cpf: Cpf, wrong: tuple[str, ...]) -> None:
    assert cpf("explore", house(cpf), *wrong).error_code == "ERR_USAGE"


def test_people_read_ends_rules_mistakes_and_limits(cpf: Cpf) -> None:
    text = cpf("explore", house(cpf), "--always", "deploy", "--crash", "--text").text
    for line in (
        "not all" not in text and "; all of them were walked",
        "always deploy before end: refuted",
        "mistake deploy: not so: always deploy before end",
        '    review answered {"ok": false}',
        "The run fails if deploy fails: nothing catches it.",
        "\n1 mistake\n",
        "killed at deploy: somebody is asked",
    ):
        assert str(line) in text
    stopped = cpf("explore", house(cpf), "--time-limit", "0s", "--text").text
    assert "; not all of them were walked" in stopped


def test_a_number_of_ways_that_nobody_would_read_is_told_by_its_size() -> None:
    from checkpointflow.cli.ways import _write_count

    assert [_write_count(n) for n in (38, 10**12 - 1, 2**1000)] == ["38", "999,999,999,999", "about 10^301"]


def test_validate_explores_if_asked_and_invariants_are_refuted(cpf: Cpf) -> None:
    invariants = [{"never": "deploy", "unless": "steps.review.outputs.ok"}, {"always": "deploy"}]
    flow = cpf.flow(REVIEW, cli("deploy", next="done"), end("no"), end("done"), invariants=invariants)
    answer = cpf("validate", flow, "--explore")
    assert answer.code == 10
    assert [*answer["result"]["explored"]["rules"].values()] == ["proved", "refuted"]
    assert "always deploy before end: refuted" in cpf("validate", flow, "--explore", "--text").text
    assert cpf("validate", flow).code == 0


TEXT = Path(explore.__file__).parent.with_name("exploring.md").read_text()


def test_all_kinds_of_findings_are_explained(cpf: Cpf) -> None:
    assert cpf("guide", "exploring").text == TEXT
    rows = {kind: severity for kind, severity in KINDS.items() if f"`{kind}`" in TEXT}
    assert rows == KINDS


def test_the_invariants_of_the_example_are_proved_and_may_be_said_on_the_command_line(cpf: Cpf) -> None:
    (text,) = re.findall(r"(?ms)^```yaml\n(.*?)^```$", TEXT)
    cpf.write("w.yaml", text)
    said = cpf("explore", "w.yaml")
    assert (said.code, {*said["result"]["rules"].values()}) == (0, {"proved"})
    rules = re.findall(r"# (--[a-z-]+) (?:'([^']+)'|(\w+))", text)
    cpf.write("w.yaml", re.sub(r"(?ms)^  invariants:.*?(?=^  steps:)", "", text))
    options = [part for word, quoted, bare in rules for part in (word, quoted or bare)]
    assert cpf("explore", "w.yaml", *options)["result"]["rules"] == said["result"]["rules"]


SEEDS = """
import json, sys
sys.path.insert(0, ".")
from msgspec import to_builtins
from checkpointflow.explore.verdict import explore
from tests.unit.explore.test_mistakes import TABLE, make
print(json.dumps([to_builtins(explore(make(doc))) for row in list(TABLE.values())[::9] for doc in row[2:]]))
"""


@pytest.mark.long
def test_the_findings_are_the_same_whatever_the_hash_seed() -> None:
    def run(seed: int) -> bytes:
        env = {**os.environ, "PYTHONHASHSEED": str(seed)}
        root = Path(__file__).parents[2]
        return subprocess.run(
            [sys.executable, "-c", SEEDS], env=env, cwd=root, check=True, capture_output=True
        ).stdout

    first, *others = map(run, (0, 1, 2))
    assert len(first) > 1000
    assert others == [first, first]
