"""`defaults.env`, `defaults.env_file`, and `${env.NAME}`: what a run takes along."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from checkpointflow import CheckpointflowError, Store
from tests.conftest import Cpf, until
from tests.helpers import ask, cli, end

SHOW = 'echo "$A $B $C" >> seen'


def test_steps_have_the_variables_of_the_file_under_those_of_the_defaults_under_their_own(cpf: Cpf) -> None:
    cpf.write("my.env", "A=file\nB=file\nC='$(touch pwned) ${inputs.x}'\n")
    defaults = {"env_file": "my.env", "env": {"B": "defaults ${inputs.x}", "A": "defaults"}}
    file = cpf.flow(cli("a", SHOW, env={"A": "own"}), cli("b", SHOW), defaults=defaults, inputs={})
    assert cpf("run", "-f", file, "--set", "x=1").code == 0
    text = "defaults 1 $(touch pwned) ${inputs.x}\n"
    assert (cpf.cwd / "seen").read_text() == f"own {text}defaults {text}"


def test_a_run_keeps_the_file_as_it_was_and_takes_it_along(cpf: Cpf) -> None:
    cpf.write("my.env", "A=then\n")
    file = cpf.flow(ask("q"), cli("a", SHOW), defaults={"env_file": "my.env"})
    run_id = cpf("run", "-f", file)["run_id"]
    (cpf.cwd / "my.env").unlink()
    assert cpf("export", "--run-id", run_id, "-o", "a.tgz").code == 0
    elsewhere = Cpf(cpf.cwd, cpf.base / "elsewhere")
    assert elsewhere("import", "a.tgz").code == 0
    for store, more in ((cpf, ()), (elsewhere, ("--trust",))):
        assert store.resume(run_id, "q_event", {}, *more).code == 0
        assert store("verify", run_id).code == 0
    assert (cpf.cwd / "seen").read_text() == "then  \n" * 2
    (copy,) = (cpf.directory(run_id) / "workflows").iterdir()
    copy.chmod(0o600)
    copy.write_text("A=changed\n")
    assert cpf("retry-step", run_id, "--step", "a").error_code == "ERR_STATE_CORRUPT"


def test_a_kill_and_an_edit_change_nothing_of_it(cpf: Cpf) -> None:
    cpf.write("my.env", "A=then\n")
    command = f"{SHOW}; [ $CPF_ATTEMPT = 2 ] || {{ echo $$ > begun; exec sleep 60; }}"
    step = cli("a", command, idempotent=True, env={"B": "${env.REGION}"})
    file = cpf.flow(step, defaults={"env_file": "my.env"}, env=["REGION"])
    process = cpf.start("run", "-f", file, REGION="eu")
    until(lambda: (cpf.cwd / "begun").exists() and (cpf.cwd / "begun").read_text())
    process.kill()
    process.communicate()
    os.kill(int((cpf.cwd / "begun").read_text()), signal.SIGKILL)
    cpf.write("my.env", "A=now\n")
    (run_id,) = [place.name for place in (cpf.base / "runs").iterdir()]
    assert cpf("resume", run_id, "--lock-timeout", "5", REGION="us").code == 0
    assert (cpf.cwd / "seen").read_text() == "then eu \n" * 2


def test_a_called_workflow_has_its_own(cpf: Cpf) -> None:
    (cpf.cwd / "sub").mkdir()
    cpf.write("sub/my.env", "A=sub\n")
    cpf.write("my.env", "A=root\nB=root\n")
    cpf.flow(
        cli("c", SHOW, env={"C": "${env.ZONE}"}),
        name="sub/c.yaml",
        defaults={"env_file": "my.env"},
        env=["ZONE"],
    )
    call = {"id": "call", "kind": "workflow", "workflow_ref": "sub/c.yaml"}
    file = cpf.flow(call, cli("a", SHOW), defaults={"env_file": "my.env"})
    assert cpf("run", "-f", file, ZONE="z").code == 0
    assert (cpf.cwd / "seen").read_text() == "sub  z\nroot root \n"
    refused = cpf("run", "-f", file)
    assert (refused.error_code, "ZONE" in refused["error"]["message"]) == ("ERR_VALIDATION_INPUT", True)


def test_what_is_wrong_with_the_file_is_told_with_its_line(cpf: Cpf) -> None:
    file = cpf.flow(cli("a"), defaults={"env_file": "my.env"})
    (missing,) = cpf("validate", "-f", file)["error"]["details"]
    assert (missing["path"], "relative to the document" in missing["hint"]) == (
        "workflow.defaults.env_file",
        True,
    )
    cpf.write("my.env", "A=1\nB=two words\nCPF_X=1\n")
    answer = cpf("run", "-f", file)
    told = [(Path(error["file"]).name, error["line"]) for error in answer["error"]["details"]]
    assert (answer.code, told) == (10, [("my.env", 2), ("my.env", 3)])
    cpf.write("my.env", "DB_PASSWORD=x\n")
    (warning,) = cpf("validate", "-f", file)["result"]["warnings"]
    assert (warning["id"], "DB_PASSWORD" in warning["message"]) == ("W136", True)


def test_declared_variables_are_those_of_the_start_wherever_the_run_goes_on(cpf: Cpf) -> None:
    steps = (
        ask("q", prompt="In ${env.REGION}?"),
        cli("a", "echo ${env.REGION}"),
        end("z", result="${steps.a.stdout}"),
    )
    file = cpf.flow(*steps, env=["REGION"])
    answer = cpf("run", "-f", file, REGION="eu")
    assert answer["wait"]["prompt"] == "In eu?"
    run_id = answer["run_id"]
    assert cpf("inspect", run_id)["env"] == cpf.state(run_id)["env"] == {"REGION": "eu"}
    assert cpf("resume", run_id, "--event", "q_event", "--input", "{}", REGION="us")["result"] == "eu"
    assert cpf.history(run_id)[0]["fact"]["env"] == {"REGION": "eu"}
    other = cpf("run", "-f", file, REGION="us")["run_id"]
    assert {"at": "env.REGION", "a": "eu", "b": "us"} in cpf("diff", run_id, other)["result"]["inputs"]
    assert "env" not in cpf.state(cpf.run(cli("a"))["run_id"])


def test_one_that_is_not_set_is_refused_by_name_before_there_is_a_run(cpf: Cpf) -> None:
    answer = cpf("run", "-f", cpf.flow(cli("a", "echo ${env.NOT_HERE}"), env=["NOT_HERE"]))
    assert (answer.code, answer.error_code) == (10, "ERR_VALIDATION_INPUT")
    assert "NOT_HERE" in answer["error"]["message"]
    assert not (cpf.base / "runs").exists() or not list((cpf.base / "runs").iterdir())


def test_they_are_among_the_inputs_that_a_run_key_stands_for(cpf: Cpf) -> None:
    line = ("run", "-f", cpf.flow(cli("a", "echo ${env.REGION}"), env=["REGION"]), "--run-key", "k")
    first = cpf(*line, REGION="eu")
    assert cpf(*line, REGION="eu")["run_id"] == first["run_id"]
    assert cpf(*line, REGION="us").error_code == "ERR_RUN_KEY_TAKEN"


def test_from_python_they_are_read_as_well(cpf: Cpf, monkeypatch: pytest.MonkeyPatch) -> None:
    file = cpf.cwd / cpf.flow(end("z", result="${env.REGION}"), env=["REGION"])
    with pytest.raises(CheckpointflowError, match="REGION"):
        Store(cpf.base).start(file)
    monkeypatch.setenv("REGION", "eu")
    outcome: Any = Store(cpf.base).start(file).run.outcome
    assert outcome.result == "eu"


def test_a_secret_of_the_defaults_reaches_each_step_and_nothing_else(cpf: Cpf) -> None:
    steps = (cli("a", 'echo "$T"; test ${#T} = 9'), cli("b", 'test -z "$T"', env={"T": ""}))
    answer = cpf(
        "run", "-f", cpf.flow(*steps, defaults={"env": {"T": "${secrets.TOKEN}"}}), TOKEN="t0ps3cret"
    )
    assert answer.code == 0, answer.text
    assert cpf("logs", answer["run_id"], "--step", "a")["logs"][0]["text"] == "***\n"
    assert not [f for f in cpf.base.rglob("*") if f.is_file() and b"t0ps3cret" in f.read_bytes()]


def test_a_value_of_the_defaults_is_judged_where_a_command_uses_it(cpf: Cpf) -> None:
    file = cpf.flow(cli("a"), cli("b", 'eval "$X"'), defaults={"env": {"X": "${inputs.x}"}}, inputs={})
    (error,) = cpf("validate", "-f", file)["error"]["details"]
    assert (error["path"].startswith("workflow.steps[1]"), "eval runs" in error["message"]) == (True, True)
    file = cpf.flow(
        cli("b", "(( X )) || true", shell="bash"), defaults={"env": {"X": "${inputs.x}"}}, inputs={}
    )
    assert cpf("run", "-f", file, "--set", "x=3").code == 0
    assert "only an integer" in cpf("run", "-f", file, "--input", json.dumps({"x": "a[$(touch p)]"})).text
