"""Commands that outlive their cpf, and what steps that have ended leave running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from checkpointflow.drivers.command import Command
from checkpointflow.drivers.logs import MaskedPipe
from tests.conftest import Cpf, gone, until
from tests.helpers import cli, end

DAEMON = "sleep 60 > /dev/null 2>&1 & echo $! > daemon"
SLOW = "echo $$ > slow; exec sleep 60"


def read_pid(cpf: Cpf, name: str) -> int:
    file = cpf.cwd / name
    until(lambda: file.exists() and file.read_text().strip())
    return int(file.read_text())


def kill_cpf(cpf: Cpf, file: str, begun: str) -> str:
    """Start a run, and kill cpf once a step has written the file *begun*; the run's id."""
    process = cpf.start("run", "-f", file)
    read_pid(cpf, begun)
    process.kill()
    process.communicate()
    return next((cpf.base / "runs").iterdir()).name


def test_a_daemon_of_a_step_that_has_ended_keeps_nobody_from_going_on(cpf: Cpf) -> None:
    """Failed (for as long as it lived) with: whoever has the lock open taken for a step under way."""
    file = cpf.flow(cli("serve", DAEMON), cli("slow", SLOW, idempotent=True))
    run_id = kill_cpf(cpf, file, "slow")
    daemon, slow = read_pid(cpf, "daemon"), read_pid(cpf, "slow")
    refused = cpf("resume", "--run-id", run_id)
    assert (refused.code, f"(processes {slow})" in refused["error"]["message"]) == (70, True)
    assert "step slow (attempt 1)" in refused["error"]["message"]
    assert f"cpf cancel --run-dir {cpf.directory(run_id)}" in refused["error"]["message"]
    os.kill(slow, signal.SIGKILL)
    until(lambda: gone(slow))
    (cpf.cwd / "slow").unlink()

    again = cpf.start("resume", "--run-id", run_id)
    second = read_pid(cpf, "slow")
    again.kill()
    again.communicate()
    assert not gone(daemon)
    os.kill(daemon, signal.SIGKILL)
    until(lambda: gone(daemon))
    refused = cpf("resume", "--run-id", run_id)  # though the lock itself is nobody's now
    assert (refused.code, f"(processes {second})" in refused["error"]["message"]) == (70, True)
    assert cpf("cancel", "--run-id", run_id, "--reason", "enough").code == 0
    assert gone(second)


def test_a_named_lock_is_held_by_the_command_that_it_guards(cpf: Cpf) -> None:
    """Failed with: two commands at once, when cpf was killed."""
    locked: dict[str, Any] = {"lock": {"key": "prod", "timeout_seconds": 0}}
    file = cpf.flow(cli("deploy", f"echo $CPF_NAMED_LOCK_FD > fd; {SLOW}", **locked))
    run_id = kill_cpf(cpf, file, "slow")
    other = cpf.run(cli("other", "true", **locked), name="other.yaml")
    assert (other.code, other.error_code) == (70, "ERR_LOCK_CONFLICT")
    told = other["error"]["message"]
    assert "the lock 'prod' is held by the command of step deploy (attempt 1), which outlived its cpf" in told
    assert f"cpf cancel --run-dir {cpf.directory(run_id)}" in told
    assert 0 < int((cpf.cwd / "fd").read_text()) < 10
    assert cpf("cancel", "--run-id", run_id, "--reason", "enough").code == 0
    assert gone(read_pid(cpf, "slow"))
    assert cpf.resume(other["run_id"]).code == 0


def test_what_an_attempt_left_is_ended_before_the_next(cpf: Cpf) -> None:
    """Failed with: a second attempt that met the server of the first."""
    first = f"({DAEMON}; wait) & until [ -s daemon ]; do sleep 0.01; done"
    second = "kill -0 $(cat daemon) && ! grep -q ') Z' /proc/$(cat daemon)/stat && exit 3"
    policy: dict[str, Any] = {"max_attempts": 2, "backoff_seconds": 0}
    answer = cpf.run(cli("a", f"if mkdir one; then {first}; exit 1; fi; {second}; exit 0", retry=policy))
    assert answer.code == 0, answer.text


def test_what_a_step_left_that_succeeded_lives_on(cpf: Cpf) -> None:
    assert cpf.run(cli("serve", DAEMON), cli("b", "kill -0 $(cat daemon)")).code == 0
    os.kill(read_pid(cpf, "daemon"), signal.SIGKILL)


@pytest.mark.long
def test_a_cpf_inside_takes_none_of_its_processes_away_from_the_one_outside(
    cpf: Cpf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed with: a command of the inner one that lived on, once both had ended."""
    monkeypatch.setattr(Command.stop, "__defaults__", (0.5,))
    inner = cpf.flow(cli("deep", "trap '' TERM; echo $$ > deep; while :; do sleep 1; done"), name="in.yaml")
    outer = cpf.flow(
        cli("call", f"trap '' TERM; {sys.executable} -m checkpointflow run -f {inner}", timeout_seconds=2)
    )
    answer = cpf("run", "-f", outer)
    assert (answer.code, answer.error_code) == (30, "ERR_TIMEOUT")
    assert gone(read_pid(cpf, "deep"))


def test_what_a_secret_holds_back_is_read_however_slow_its_reader_is(
    cpf: Cpf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed with: outputs {}, where the length of the log was asked for before its last bytes were in it."""
    monkeypatch.setattr(MaskedPipe, "_run", lambda _: None)
    command = """sleep 20 & echo $! >slow; : ${secrets.TOKEN}; echo '{"n": 1}'"""
    answer = cpf(
        "run", "-f", cpf.flow(cli("a", command), end("e", result="${steps.a.outputs}")), TOKEN="top-secret"
    )
    os.kill(read_pid(cpf, "slow"), signal.SIGKILL)
    assert answer["result"] == {"n": 1}


NO_REAPER = """
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, ctypes.c_ulong(1), 0, 0, 0)  # PR_SET_CHILD_SUBREAPER, as process 1 is one
subprocess.run([sys.executable, "-m", "checkpointflow", "run", "-f", "w.yaml"], stdout=subprocess.DEVNULL)
print(open(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read())
"""


@pytest.mark.long
@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="Linux only")
def test_who_is_stopped_leaves_no_zombie_where_process_1_takes_in_none(cpf: Cpf) -> None:
    """Failed with: orphans left to whoever is above us, in a container maybe a program like any other."""
    left = "(trap '' TERM; sleep 1.5; :) & wait; :"
    cpf.flow(cli("a", f'sh -c "{left}" & wait', timeout_seconds=0.3))
    line = [sys.executable, "-c", NO_REAPER]
    done = subprocess.run(line, cwd=cpf.cwd, env=cpf.env, capture_output=True, check=True, text=True)
    assert done.stdout.split() == []
