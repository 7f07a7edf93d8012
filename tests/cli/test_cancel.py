"""`cpf cancel`: nothing more is wanted of a run."""

from __future__ import annotations

import json
import os
import signal
import time

from tests.conftest import Cpf, gone, until
from tests.helpers import ask, cli


def test_a_waiting_run_is_cancelled(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q"), cli("a", "touch never"))["run_id"]
    answer = cpf("cancel", "--run-id", run_id, "--reason", "no longer wanted")
    assert (answer.code, answer["status"], answer["reason"]) == (0, "cancelled", "no longer wanted")
    status = cpf("status", "--run-id", run_id)
    assert (status.code, status["status"], "wait" in status.json) == (50, "cancelled", False)
    refused = cpf.resume(run_id, "q_event", {})
    assert (refused.code, refused.error_code) == (20, "ERR_RUN_NOT_WAITING")
    assert cpf.resume(run_id).code == 50


def test_cancelling_twice_changes_nothing(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q"))["run_id"]
    cpf("cancel", "--run-id", run_id, "--reason", "first")
    state = cpf.state(run_id)
    assert cpf("cancel", "--run-id", run_id, "--reason", "second").code == 0
    assert cpf.state(run_id) == state


def test_a_run_that_has_ended_is_not_cancelled(cpf: Cpf) -> None:
    answer = cpf("cancel", "--run-id", cpf.run(cli("a"))["run_id"], "--reason", "x")
    assert (answer.code, answer.error_code) == (20, "ERR_RUN_NOT_WAITING")


def test_a_reason_is_needed(cpf: Cpf) -> None:
    assert cpf("cancel", "--run-id", "x").error_code == "ERR_USAGE"


def test_a_run_that_another_process_executes_is_cancelled(cpf: Cpf) -> None:
    file = cpf.flow(cli("slow", "echo $$ > pid; exec sleep 60"), cli("never", "touch never"))
    process = cpf.start("run", "-f", file)
    until((cpf.cwd / "pid").exists)
    (run_id,) = os.listdir(cpf.base / "runs")
    started = time.monotonic()
    answer = cpf("cancel", "--run-id", run_id, "--reason", "enough")
    assert time.monotonic() - started < 5
    assert (answer.code, answer["status"], answer["reason"]) == (0, "cancelled", "enough")
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, json.loads(out)["status"]) == (50, "cancelled")
    assert gone(int((cpf.cwd / "pid").read_text()))
    assert not (cpf.cwd / "never").exists()
    assert not (cpf.directory(run_id) / "cancel.json").exists()


def test_the_command_that_outlived_its_cpf_is_ended(cpf: Cpf) -> None:
    process = cpf.start(
        "run", "-f", cpf.flow(cli("slow", "setsid sh -c 'echo $$ > pid; sleep 60' & sleep 60"))
    )
    until((cpf.cwd / "pid").exists)
    process.kill()
    process.communicate()
    (run_id,) = os.listdir(cpf.base / "runs")
    assert cpf("cancel", "--run-id", run_id, "--reason", "enough").code == 0
    assert gone(int((cpf.cwd / "pid").read_text()))


def test_who_does_not_hear_is_told_of_and_the_word_is_taken_back(cpf: Cpf) -> None:
    process = cpf.start("run", "-f", cpf.flow(cli("slow", "echo $$ > pid; exec sleep 60")))
    until((cpf.cwd / "pid").exists)
    (run_id,) = os.listdir(cpf.base / "runs")
    process.send_signal(signal.SIGSTOP)
    answer = cpf("cancel", "--run-id", run_id, "--reason", "x", "--lock-timeout", "0.3")
    assert (answer.code, answer.error_code) == (70, "ERR_LOCK_CONFLICT")
    assert not (cpf.directory(run_id) / "cancel.json").exists()
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 20
    process.communicate()
