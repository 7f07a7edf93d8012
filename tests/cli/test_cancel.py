"""`cpf cancel`: nothing more is wanted of a run."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from checkpointflow.drivers import local
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.locks import Wish
from tests.conftest import Cpf, gone, until
from tests.helpers import ask, cli, foreach


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
    assert (cpf.directory(run_id) / "cancel.json").read_bytes() == b""


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


def test_a_run_cancelled_in_a_block_is_cancelled_again_and_nothing_else(cpf: Cpf) -> None:
    run_id = cpf.run(foreach("each", [1], ask("q")))["run_id"]
    lines = [
        ("cancel", "--reason", "x"),
        ("cancel", "--reason", "x"),
        ("resume",),
        ("retry-step",),
        ("verify",),
    ]
    assert [cpf(*line, "--run-id", run_id).code for line in lines] == [0, 0, 50, 20, 0]


@pytest.mark.parametrize("host", [os.uname().nodename, "another"])
def test_the_word_of_one_who_is_gone_cancels_nothing(cpf: Cpf, host: str) -> None:
    """Failed with: one who asks found by a process id, which may be in use again, or another host's."""
    run_id = cpf.run(ask("q"), ask("r"))["run_id"]
    word = {"pid": os.getpid(), "host": host, "command": "cancel", "since": "now", "reason": "sorry"}
    (cpf.directory(run_id) / "cancel.json").write_text(json.dumps(word))
    assert cpf.resume(run_id, "q_event", {}).code == 40


def test_the_word_of_one_who_waits_is_heard_by_whoever_goes_on(cpf: Cpf) -> None:
    """As after a crash of the one who was asked."""
    run_id = cpf.run(ask("q"), ask("r"))["run_id"]
    with RunDirectory(cpf.directory(run_id)).ask_to_cancel(Wish("enough"), "now", 0):
        answer = cpf.resume(run_id, "q_event", {})
    assert (answer.code, answer["reason"]) == (50, "enough")


@pytest.mark.long
def test_threads_of_one_process_may_ask_at_once(cpf: Cpf) -> None:
    """Failed with: one name for what two threads write."""
    process = cpf.start("run", "-f", cpf.flow(cli("slow", "echo $$ > pid; exec sleep 60")))
    until((cpf.cwd / "pid").exists)
    (run_id,) = os.listdir(cpf.base / "runs")
    place = cpf.directory(run_id)
    with ThreadPoolExecutor(8) as pool:
        runs = list(
            pool.map(lambda n: local.cancel(RunDirectory(place), Wish(f"{n}"), lock_timeout=20), range(8))
        )
    assert {run.status for run in runs} == {"cancelled"}
    assert len({run.checkpoint_id for run in runs}) == 1
    process.communicate(timeout=20)


def test_who_does_not_hear_is_told_of_and_the_word_is_taken_back(cpf: Cpf) -> None:
    process = cpf.start("run", "-f", cpf.flow(cli("slow", "echo $$ > pid; exec sleep 60")))
    until((cpf.cwd / "pid").exists)
    (run_id,) = os.listdir(cpf.base / "runs")
    process.send_signal(signal.SIGSTOP)
    answer = cpf("cancel", "--run-id", run_id, "--reason", "x", "--lock-timeout", "0.3")
    assert (answer.code, answer.error_code) == (70, "ERR_LOCK_CONFLICT")
    assert (cpf.directory(run_id) / "cancel.json").read_bytes() == b""
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 20
    process.communicate()
