"""`finally`, from the command line: what is given back, whatever a run came to."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.conftest import Cpf, gone, until
from tests.helpers import ask, branch, call, cli, foreach, parallel

LOG = cli("clean", "echo ${run.outcome.status} >> log; echo ${run.outcome.reason} >> reasons")
TIDY: dict[str, Any] = {"finally": [LOG]}
SLOW: dict[str, Any] = {
    "finally": [cli("clean", "echo x >> began; until test -e go; do sleep 0.05; done; touch done")]
}


def start(cpf: Cpf, *steps: Any, **more: Any) -> tuple[Any, str]:
    """A cpf that runs *steps*, the first of which makes the file `pid`, and the id of its run."""
    process = cpf.start("run", "-f", cpf.flow(*steps, **more))
    until((cpf.cwd / "pid").exists)
    (run_id,) = os.listdir(cpf.base / "runs")
    return process, run_id


def log(cpf: Cpf) -> list[str]:
    file = cpf.cwd / "log"
    return file.read_text().split() if file.exists() else []


def test_it_comes_once_whatever_a_run_comes_to(cpf: Cpf) -> None:
    assert cpf.run(cli("a"), **TIDY).code == 0
    assert cpf.run(cli("a", "exit 3"), **TIDY).code == 30
    waiting = cpf.run(ask("q"), **TIDY)
    assert (waiting.code, log(cpf)) == (40, ["completed", "failed"])
    answer = cpf("cancel", waiting["run_id"], "--reason", "enough")
    assert (answer.code, answer["status"], answer["reason"]) == (0, "cancelled", "enough")
    assert log(cpf) == ["completed", "failed", "cancelled"]
    assert (cpf.cwd / "reasons").read_text().split() == ["null", "null", "enough"]
    assert cpf("cancel", waiting["run_id"], "--reason", "again").code == 0
    assert (cpf.resume(waiting["run_id"]).code, len(log(cpf))) == (50, 3)
    assert cpf("verify", waiting["run_id"]).code == 0


def test_cancelling_skips_it_if_that_is_said(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q"), **TIDY)["run_id"]
    assert cpf("cancel", run_id, "--reason", "x", "--no-finally").code == 0
    assert [line["fact"]["fact"] for line in cpf.history(run_id)][-1] == "run_cancelled"
    assert log(cpf) == []


def test_whoever_drives_a_run_that_another_cancels_does_it(cpf: Cpf) -> None:
    process, run_id = start(cpf, cli("slow", "echo $$ > pid; exec sleep 60"), **TIDY)
    answer = cpf("cancel", run_id, "--reason", "enough")
    assert (answer.code, answer["status"], log(cpf)) == (0, "cancelled", ["cancelled"])
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, json.loads(out)["status"]) == (50, "cancelled")


@pytest.mark.long
def test_one_that_takes_longer_than_whoever_cancels_waits_goes_on(cpf: Cpf) -> None:
    process, run_id = start(cpf, cli("slow", "echo $$ > pid; exec sleep 60"), **SLOW)
    answer = cpf("cancel", run_id, "--reason", "enough", "--lock-timeout", "1")
    assert (answer.code, answer["status"], answer["current_step_id"]) == (0, "running", "@finally/clean")
    assert answer["next"][0]["argv"][1] == "wait"
    assert cpf("status", run_id)["status"] == "running"
    (cpf.cwd / "go").touch()
    assert cpf("wait", run_id).code == 50
    assert (cpf.cwd / "done").exists()
    process.communicate(timeout=20)


@pytest.mark.long
def test_one_under_way_is_not_stopped_by_cancelling_but_skipped(cpf: Cpf) -> None:
    process, run_id = start(cpf, cli("quick", "echo > pid"), **SLOW)
    until((cpf.cwd / "began").exists)
    before = cpf("cancel", run_id, "--reason", "x", "--lock-timeout", "1")
    assert (
        before["status"],
        len([x for x in cpf.history(run_id) if x["fact"]["fact"] == "cancel_began"]),
    ) == (
        "running",
        0,
    )
    answer = cpf("cancel", run_id, "--reason", "at once", "--no-finally")
    assert (answer.code, answer["reason"]) == (0, "at once")
    process.communicate(timeout=20)
    assert not (cpf.cwd / "done").exists()


def test_cancelling_waits_for_one_that_ends_what_was_over(cpf: Cpf) -> None:
    process, run_id = start(cpf, cli("quick", "echo > pid"), **SLOW)
    until((cpf.cwd / "began").exists)
    asking = cpf.start("cancel", run_id, "--reason", "x")
    asked = cpf.directory(run_id) / "cancel.json"
    until(lambda: asked.exists() and asked.read_bytes())
    (cpf.cwd / "go").touch()
    out, _ = asking.communicate(timeout=30)
    assert (asking.returncode, json.loads(out)["status"]) == (0, "completed")
    process.communicate(timeout=20)


def test_being_told_to_stop_does_not_bring_it(cpf: Cpf) -> None:
    process, run_id = start(
        cpf, cli("slow", "echo $$ > pid; exec sleep 60", idempotent=True), cli("b"), **TIDY
    )
    process.terminate()
    assert process.wait(20) == 20
    process.communicate()
    assert log(cpf) == []
    assert cpf("cancel", run_id, "--reason", "x").code == 0
    assert log(cpf) == ["cancelled"]


def test_that_of_a_called_workflow_comes_before_that_of_the_run(cpf: Cpf) -> None:
    own = cli("drop", "echo drop ${inputs.n} >> log")
    cpf.flow(
        ask("q"), name="c.yaml", inputs={"type": "object", "properties": {"n": {}}}, **{"finally": [own]}
    )
    step = foreach("each", [1], workflow_ref="c.yaml", inputs={"n": "${item}"})
    run_id = cpf.run(step, **TIDY)["run_id"]
    assert cpf("cancel", run_id, "--reason", "x").code == 0
    assert log(cpf) == ["drop", "1", "cancelled"]
    assert cpf("verify", run_id).code == 0


def test_a_called_workflow_that_waits_does_not_stand_in_it(cpf: Cpf) -> None:
    cpf.flow(ask("q"), name="asks.yaml")
    cpf.flow(call("one", "asks.yaml"), name="c.yaml")
    answer = cpf("validate", "-f", cpf.flow(cli("a"), **{"finally": [call("c", "c.yaml")]}))
    assert answer.error_code == "ERR_VALIDATION_WORKFLOW"
    assert "`finally` waits for nobody" in answer["error"]["message"]
    assert cpf("validate", "-f", cpf.flow(call("c", "c.yaml"))).code == 0


def test_a_failure_in_it_is_told_with_its_place_and_is_retried(cpf: Cpf) -> None:
    answer = cpf.run(cli("a"), **{"finally": [cli("clean", "echo no >&2; test -e ok")]})
    error = answer["error"]
    assert (answer.code, error["step_id"], error["tail"]) == (30, "@finally/clean", ["no"])
    assert (error["where"]["line"], error["details"]["outcome"]["status"]) == (14, "completed")
    assert cpf("logs", answer["run_id"], "--step", "@finally/clean").code == 0
    (cpf.cwd / "ok").touch()
    assert cpf("retry", answer["run_id"]).code == 0


def test_retrying_takes_the_outcome_back_and_brings_it_again(cpf: Cpf) -> None:
    answer = cpf.run(cli("a", "test -e ok"), **TIDY)
    (cpf.cwd / "ok").touch()
    assert cpf("retry", answer["run_id"]).code == 0
    assert log(cpf) == ["failed", "completed"]
    assert sorted(cpf.state(answer["run_id"])["steps"]) == ["@finally/clean@2", "a"]


def test_no_command_of_an_imported_run_runs_before_that_is_allowed(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q"), **TIDY)["run_id"]
    assert cpf("export", run_id, "-o", "x.tar.gz").code == 0
    assert cpf("import", "x.tar.gz", "--base-dir", str(cpf.base / "other")).code == 0
    cancel = ("cancel", run_id, "--base-dir", str(cpf.base / "other"), "--reason", "x")
    refused = cpf(*cancel)
    assert refused.error_code == "ERR_NOT_TRUSTED"
    assert [line["argv"][-1] for line in refused["next"]] == ["--no-finally", "--trust"]
    assert log(cpf) == []
    assert cpf(*cancel, "--trust").code == 0
    assert log(cpf) == ["cancelled"]


def test_it_is_seen_in_pictures_and_in_what_people_read(cpf: Cpf) -> None:
    file = cpf.flow(ask("q"), cli("a", "exit 1"), **TIDY)
    assert "finally\n  clean (cli)" in cpf("graph", "-f", file, "--format", "text").text
    assert 'subgraph g1["finally"]' in cpf("graph", "-f", file).text
    assert 'label="finally"' in cpf("graph", "-f", file, "--format", "dot").text
    run_id = cpf("run", "-f", file)["run_id"]
    assert "2 more at most: a, @finally/clean" in cpf("status", run_id, "--text").text
    cpf.resume(run_id, "q_event", {})
    shown = cpf("inspect", run_id, "--text").text
    assert "@finally/clean" in shown
    assert "the finally began: failed" in shown
    assert "clean (cli) [done]" in cpf("graph", run_id, "--format", "text").text


def test_cancelling_stops_what_runs_beside_one_and_lets_that_end(cpf: Cpf) -> None:
    cpf.flow(cli("quick"), name="c.yaml", **SLOW)
    steps = parallel(
        "p", branch("l", call("one", "c.yaml")), branch("r", cli("slow", "echo $$ > pid; exec sleep 60"))
    )
    process, run_id = start(cpf, steps, **TIDY)
    until((cpf.cwd / "began").exists)
    asking = cpf.start("cancel", run_id, "--reason", "enough")
    until(lambda: gone(int((cpf.cwd / "pid").read_text())))
    assert asking.poll() is None
    assert not (cpf.cwd / "done").exists()
    (cpf.cwd / "go").touch()
    out, _ = asking.communicate(timeout=30)
    assert (asking.returncode, json.loads(out)["status"], log(cpf)) == (0, "cancelled", ["cancelled"])
    assert (cpf.cwd / "done").exists()
    process.communicate(timeout=20)
    assert (cpf.cwd / "began").read_text() == "x\n", "it was stopped, and begun again"
