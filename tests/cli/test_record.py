"""`cpf record`, `cpf explore --fixture`: runs and ways as tests, which pass, and end so in earnest, too."""

from __future__ import annotations

import json
from typing import Any

import pytest

from checkpointflow.cli.init import NAMES, TEMPLATES
from checkpointflow.documents.yaml import parse
from checkpointflow.rehearse.fixtures import Case, Play
from checkpointflow.rehearse.reading import decode_fixture
from tests.conftest import Cpf
from tests.helpers import ask, branch, cli, end, foreach, parallel, switch


def rehearsed(cpf: Cpf, text: str) -> None:
    """*text* is a file of tests that pass."""
    cpf.write("w.test.yaml", text)
    answer = cpf("test", "w.test.yaml")
    assert answer.code == 0, f"{text}\n{answer.text}"


def test_a_real_run_becomes_a_test_that_passes(cpf: Cpf) -> None:
    cpf.flow(
        cli("a", 'test "$CPF_ATTEMPT" = 2 && printf \'{"x":"%s %s"}\' "$CPF_RUN_DIR" ${run.id}',
            retry={"max_attempts": 2, "backoff_seconds": 0}),
        cli("b", "echo oh >&2; exit 4", on_error="continue"),
        ask("q"),
        cli("c", "echo ${secrets.TOKEN}; date -Iseconds"),
        end("e", result={"x": "${steps.a.outputs.x}", "t": "${steps.c.stdout}", "y": "${steps.q.outputs.y}"}),
    )  # fmt: skip
    at = cpf("run", "w.yaml", TOKEN="hush-hush-hush")
    answer = cpf("resume", at["run_id"], "--input", '{"y": 3}', TOKEN="hush-hush-hush")
    assert answer.code == 0, answer.text
    recorded = cpf("record", at["run_id"], TOKEN="hush-hush-hush")
    assert recorded.code == 0
    rehearsed(cpf, recorded.text)
    assert "hush-hush-hush" not in recorded.text
    assert "secrets.TOKEN" in recorded.text
    assert at["run_id"] not in recorded.text
    assert str(cpf.base) not in recorded.text
    (test,) = parse(recorded.text.encode()).value["tests"]
    assert test["steps"]["b"] == {"exit_code": 4, "stderr": "oh"}
    assert [play.get("exit_code") for play in test["steps"]["a"]] == [1, None]
    assert test["expect"]["result"]["y"] == 3
    assert list(test["expect"]["result"]["t"]) == ["matches"]


def test_what_no_test_can_say_is_told(cpf: Cpf) -> None:
    cpf.flow(cli("a", "true"), cli("b", "exit 1"))
    at = cpf("run", "w.yaml")
    assert cpf("retry", at["run_id"], "--step", "a").code == 30
    recorded = cpf("record", at["run_id"])
    assert recorded.code == 30
    assert recorded.text.startswith("# This test does not pass:\n# ")
    parse(recorded.text.encode())


def test_what_yaml_cannot_hold_is_told(cpf: Cpf) -> None:
    cpf.flow(cli("a", 'printf \'{"x":"\\\\u0000"}\''))
    recorded = cpf("record", cpf("run", "w.yaml")["run_id"])
    assert recorded.code == 30
    assert "the character NUL" in recorded.text


def test_a_document_from_standard_input_has_no_name(cpf: Cpf) -> None:
    text = (cpf.cwd / cpf.flow(cli("a"))).read_text()
    at = cpf("run", "-", stdin=text)
    assert "workflow:" not in cpf("record", at["run_id"]).text


# Exploring


@pytest.mark.long(but_one_in=6)
@pytest.mark.parametrize("template", NAMES)
def test_the_ways_of_a_template_are_tests_that_pass(cpf: Cpf, template: str) -> None:
    cpf.write("w.yaml", (TEMPLATES / f"{template}.yaml").read_text())
    answer = cpf("explore", "w.yaml", "--fixture")
    assert answer.code == 0
    rehearsed(cpf, answer.text)


STAND_IN = """\
import json, os, sys
plays = json.load(open("plays.json"))
play = plays.get(os.environ["CPF_STEP"])
if isinstance(play, list):
    play = play[min(int(os.environ["CPF_ATTEMPT"]), len(play)) - 1]
play = play or {}
if "outputs" in play:
    json.dump(play["outputs"], sys.stdout)
sys.exit(play.get("exit_code", 0))
"""
SAYS = {"type": "object", "required": ["ok"], "properties": {"ok": {"type": "boolean"}}}
FLAG = {"type": "object", "required": ["yes"], "properties": {"yes": {"type": "boolean"}}}
LEADS = ({"when": "event.ok", "next": "a"}, {"when": True, "next": "n"})
COMMAND = "python3 stand_in.py"
DOCUMENTS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "questions": (
        [
            ask("q", input_schema=SAYS, transitions=[*LEADS]),
            cli("a", COMMAND, outputs=SAYS, on_error={"next": "n"}),
            switch("s", ("steps.a.outputs.ok", "y"), default="q"),
            end("y", result="yes"),
            end("n", result="no"),
        ],
        {},
    ),
    "blocks": (
        [
            parallel("p", branch("one", cli("a", COMMAND, outputs=SAYS)), branch("two", cli("b", COMMAND))),
            foreach("f", "${inputs.l}", cli("x", COMMAND, on_error="continue"), ask("q", input_schema=SAYS)),
            end("e", result=["${steps.p.outputs.one.a.ok}", "${length(steps.f.outputs.iterations)}"]),
        ],
        {"type": "object", "required": ["l"], "properties": {"l": {"type": "array", "items": {"enum": [1]}}}},
    ),
    "mistakes": (
        [
            cli("a", COMMAND, outputs=SAYS, **{"if": "inputs.yes"}),
            switch("s", ("steps.a.outputs.ok", "e")),
            end("e", result="${steps.a.outputs.ok}"),
        ],
        FLAG,
    ),
}  # fmt: skip


@pytest.mark.long(but_one_in=4)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_way_ends_as_told_when_it_is_tested_and_in_earnest(cpf: Cpf, name: str) -> None:
    steps, inputs = DOCUMENTS[name]
    cpf.flow(*steps, inputs=inputs)
    cpf.write("stand_in.py", STAND_IN)
    text = cpf("explore", "w.yaml", "--fixture").text
    rehearsed(cpf, text)
    cases = decode_fixture(text.encode())[0].tests
    assert len(cases) >= 2
    for case in cases:
        ends_as_told(cpf, case)


def ends_as_told(cpf: Cpf, case: Case) -> None:
    """The run of *case* with stand-ins for its commands, which print the outputs."""
    plays = {path: _list_plays(said) for path, said in case.steps.items()}
    cpf.write("plays.json", json.dumps(plays))
    at = cpf("run", "w.yaml", "--input", json.dumps(case.inputs))
    while at.code == 40:
        wait = at["wait"]
        payload = json.dumps(case.answers[wait["step"]])
        at = cpf("resume", at["run_id"], "--step", wait["step"], "--input", payload)
        if case.expect.refused is not None and at.code not in (0, 30, 40):
            assert case.expect.refused in at["error"]["message"]
            return
    if case.expect.error is not None:
        assert (at.code, at.error_code) == (30, case.expect.error.code)
        assert str(case.expect.error.step) in at["error"]["step_id"]
    else:
        assert (at.code, at.json.get("result")) == (0, case.expect.result)


def _list_plays(said: Play | tuple[Play, ...]) -> list[dict[str, Any]]:
    plays = said if isinstance(said, tuple) else (said,)
    said_of = [{name: getattr(play, name) for name in ("outputs", "exit_code")} for play in plays]
    return [{name: value for name, value in one.items() if isinstance(value, dict | int)} for one in said_of]
