"""`cpf plan`: what a run would come to, as JSON and as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from checkpointflow.cli.ahead import MAX_LINES
from tests.cli.test_documents import EXAMPLES, example
from tests.conftest import Cpf, on_a_terminal
from tests.helpers import ask, branch, call, cli, end, foreach, parallel, switch

TEMPLATES = Path(__file__).parents[2] / "checkpointflow" / "templates"
INPUTS = {
    "agent-review": '{"task": "Explain it.", "file": "release.md"}',
    "approval": '{"page_id": "7", "source_file": "a.md"}',
    "batch": '{"orders": [{"name": "pens", "amount": 20}, {"name": "desks", "amount": 9000}]}',
    "deploy": '{"version": "1.4.2"}',
    "minimal": "{}",
    "runbook": '{"service": "shop"}',
}
OK = {"type": "object", "required": ["ok"], "properties": {"ok": {"type": "boolean"}}}
REVIEW = ask(
    "review",
    prompt="Deploy ${inputs.v}?",
    input_schema=OK,
    transitions=[{"when": "event.ok", "next": "deploy"}, {"when": "not event.ok", "next": "no"}],
)
STEPS = [REVIEW, cli("deploy", "echo ${inputs.v} ${secrets.TOKEN}"), end("done"), end("no")]


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_each_template_has_a_plan(cpf: Cpf, name: str) -> None:
    answer = cpf("plan", str(TEMPLATES / f"{name}.yaml"), "--input", INPUTS[name])
    assert (answer.code, answer["ok"], answer["command"]) == (0, True, "plan")
    assert answer["result"]["way"]
    assert (
        "the run completes"
        in cpf("plan", str(TEMPLATES / f"{name}.yaml"), "--input", INPUTS[name], "--text").text
    )
    assert not cpf.base.exists()


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_each_example_of_the_guide_has_a_plan_or_asks_for_its_inputs(cpf: Cpf, number: int) -> None:
    cpf.write("w.yaml", EXAMPLES[number])
    cpf.write("greet.yaml", example("greet"))
    answer = cpf("plan", "w.yaml")
    assert answer.code == 0 or answer.error_code == "ERR_VALIDATION_INPUT"


def test_a_plan_tells_commands_with_their_values_and_no_secret(
    cpf: Cpf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "hush")
    answer = cpf("plan", "-f", cpf.flow(*STEPS), "--set", "v=1 0")
    review, deploy, done = answer["result"]["way"]
    assert deploy["does"]["command"] == "echo '1 0' ‹secret TOKEN›"
    assert [arm["way"][0] for arm in review["arms"]] == [
        {"goto": "deploy", "shown": "below"},
        {"ends": "run", "status": "completed", "step": "no"},
    ]
    assert done == {"ends": "run", "status": "completed", "step": "done"}
    assert "hush" not in answer.text


def test_the_line_that_does_it_is_told_if_there_is_one(cpf: Cpf) -> None:
    flow = cpf.flow(*STEPS)
    (line,) = cpf("plan", flow, "--input", '{"v": 1}', "--set", "v=2")["next"]
    assert line["argv"] == ["cpf", "run", flow, "--input", '{"v": 1}', "--set", "v=2"]
    (line,) = cpf("plan", "-f", flow, "--base-dir", str(cpf.base), "--set", "v=2")["next"]
    assert line["argv"] == ["cpf", "run", "--file", flow, "--set", "v=2", "--base-dir", str(cpf.base)]
    assert "next" not in cpf("plan", flow, "--input", "-", stdin=b'{"v": "1"}').json


def test_inputs_that_do_not_fit_are_refused_as_by_run(cpf: Cpf) -> None:
    flow = cpf.flow(*STEPS, inputs={"type": "object", "required": ["v"]})
    assert cpf("plan", flow).error_code == cpf("run", flow).error_code == "ERR_VALIDATION_INPUT"


def test_of_a_run_it_is_told_what_is_ahead_of_it(cpf: Cpf) -> None:
    run = cpf.run(*STEPS, inputs={"v": "1"})
    answer = cpf("plan", "--run-id", run["run_id"])
    assert (answer.code, answer["status"], answer["run_id"]) == (0, "waiting", run["run_id"])
    assert answer["result"]["way"][0]["now"] == "waiting"
    assert answer["next"][0]["argv"][1] == "resume"
    text = cpf("plan", "--run-id", "@latest", "--text").text
    assert "waits now: asks a user: Deploy 1?" in text
    cpf("cancel", run["run_id"], "--reason", "no more")
    assert cpf("plan", "--run-dir", str(cpf.directory(run["run_id"])))["result"] is None
    assert "nothing is ahead of it" in cpf("plan", "--run-id", "@latest", "--text").text


@pytest.mark.parametrize("words", [[], ["w.yaml", "--run-id", "x"], ["--run-id", "x", "--set", "v=1"]])
def test_a_workflow_is_named_or_a_run(cpf: Cpf, words: list[str]) -> None:
    assert cpf("plan", *words).error_code == "ERR_USAGE"


def told(cpf: Cpf, *steps: Any, given: str = "{}", **more: Any) -> list[str]:
    """The steps as they are told, without what frames them."""
    text = cpf("plan", cpf.flow(*steps, **more), "--input", given, "--text").text
    return text.splitlines()[2:-2]


def test_all_that_a_step_can_be_told_as(cpf: Cpf) -> None:
    cpf.flow(cli("c"), name="c.yaml", **{"finally": [cli("d")]})
    steps = [
        cli("a", "one\ntwo", env={"E": "${inputs.e}"}, stdin="x", cwd="there", timeout_seconds=90),
        {"id": "b", "kind": "api", "url": "https://x.test/${inputs.e}", "method": "POST", "body": {"e": 1},
         "headers": {"H": "h"}, "retry": {"max_attempts": 3}, "lock": {"key": "k"}, "on_error": "continue"},
        ask("q", input_schema=OK, timeout_seconds=60, **{"if": "steps.a.outputs.v"}),
        switch("s", ("inputs.e == 'x'", "t")),
        switch("t", ("steps.q.outputs.ok", "f"), default="p"),
        cli("skipped", **{"if": "inputs.no"}),
        foreach("f", ["x"], cli("i")),
        foreach("g", "steps.a.outputs.l", cli("j"), max_concurrency=2, on_item_error="continue"),
        foreach("h", [], cli("k"), on_item_error="continue", max_failures=1),
        parallel("p", branch("m", cli("n"))),
        call("w", "c.yaml"),
        cli("z", "echo ${inputs.nothing}"),
    ]  # fmt: skip
    lines = told(cpf, *steps, given='{"e": "x", "no": false}', **{"finally": [cli("last")]})
    assert "\n".join(lines) == ALL.strip("\n")
    strict = {**REVIEW, "transitions": REVIEW["transitions"][:1]}
    assert told(cpf, strict, cli("deploy"), given='{"v": "a\\nb"}')[:4] == [
        "  review  asks a user: Deploy a",
        "          b?",
        "      if ok: → deploy (below)",
        "      any other answer is refused",
    ]


ALL = """
  a  $ one
       two
     env E=x
     stdin x
     at most 90s, in there
  b  POST https://x.test/x
     H: h
     {"e": 1}
     up to 3 attempts, holds the lock k, goes on even if it fails
  q  asks a user: q_event
     only if steps.a.outputs.v
      after 60s without an answer: the run fails
  s  goes on:
      since inputs.e == 'x': → t (below)
  t  goes where the first of these leads that holds:
      if steps.q.outputs.ok:
        f  for each of a list (1 item)
            [0] x:
              i  $ true
        g  for each of ‹a.outputs.l›
           2 at once, all go on if some fail
            each item:
              j  $ true
        h  for each of a list (0 items)
           up to 1 may fail
        → p (below)
      else: → p (below)
  p  at the same time:
      m:
        n  $ true
  w  runs another workflow:
      c.yaml:
        c  $ true
        finally, whatever happens:
          d  $ true
  z  this fails: inputs has no "nothing"; it has: e, no, in ${inputs.nothing}
  the run fails

  finally, whatever happens:
    last  $ true
"""


def test_a_long_command_is_folded(cpf: Cpf) -> None:
    lines = told(cpf, cli("a", "\n".join(f"echo {n}" for n in range(20))))
    assert lines[MAX_LINES - 1 : MAX_LINES + 1] == [
        "       echo 5",
        f"     … {20 - MAX_LINES} lines more; all of it: --json",
    ]


def test_on_a_terminal_it_is_text(cpf: Cpf) -> None:
    text, _ = on_a_terminal(cpf, "plan", cpf.flow(*STEPS), "--set", "v=1")
    assert "‹secret TOKEN›" in text
