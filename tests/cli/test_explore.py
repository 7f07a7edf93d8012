"""`cpf explore`: all ways, as JSON and as text."""

from __future__ import annotations

from pathlib import Path

import pytest

from checkpointflow.cli.init import NAMES
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
    answer = cpf("explore", "-f", house(cpf), "--never", "deploy", "steps.review.outputs.ok", "--crash")
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


def test_inputs_may_be_given_and_must_fit(cpf: Cpf) -> None:
    flow = cpf.flow(
        end("e", result="${inputs.n}"), inputs={"type": "object", "properties": {"n": {"type": "integer"}}}
    )
    assert cpf("explore", flow, "--set", "n=5")["result"]["endings"][0]["result"] == 5
    assert cpf("explore", flow, "--input", '{"n": "x"}').error_code == "ERR_VALIDATION_INPUT"


@pytest.mark.parametrize(
    "wrong",
    [("--never", "nope", "true"), ("--never", "deploy", "1 +"), ("--always", "nope"), ("--time-limit", "x")],
)
def test_what_makes_no_rule_is_wrong_use(cpf: Cpf, wrong: tuple[str, ...]) -> None:
    assert cpf("explore", house(cpf), *wrong).error_code == "ERR_USAGE"


def test_people_read_ends_rules_mistakes_and_limits(cpf: Cpf) -> None:
    text = cpf("explore", house(cpf), "--always", "deploy", "--crash", "--text").text
    for line in (
        "not all" not in text and "states, all of",
        "always deploy before end: refuted",
        "mistake deploy: not so: always deploy before end",
        '    review answered {"ok": false}',
        "note deploy: if deploy fails, the run fails",
        "killed at deploy: somebody is asked",
    ):
        assert str(line) in text
    stopped = cpf("explore", house(cpf), "--time-limit", "0s", "--text").text
    assert "0 states, not all" in stopped


def test_validate_explores_if_asked_and_invariants_are_refuted(cpf: Cpf) -> None:
    invariants = [{"never": "deploy", "unless": "steps.review.outputs.ok"}, {"always": "deploy"}]
    flow = cpf.flow(REVIEW, cli("deploy", next="done"), end("no"), end("done"), invariants=invariants)
    answer = cpf("validate", flow, "--explore")
    assert answer.code == 10
    assert [*answer["result"]["explored"]["rules"].values()] == ["proved", "refuted"]
    assert "always deploy before end: refuted" in cpf("validate", flow, "--explore", "--text").text
    assert cpf("validate", flow).code == 0
