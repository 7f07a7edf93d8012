"""`state.json` is for `jq` and `git diff`: it says where a run stands whenever the run rests."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from tests.conftest import Cpf, until
from tests.helpers import ask, cli, foreach

SLOW = cli("slow", "touch up; exec sleep 60", idempotent=True)
QUICK = [cli(f"s{n}") for n in range(5)]


def look(cpf: Cpf) -> tuple[dict[str, Any], str]:
    """The one snapshot as it lies on the disk, and the last checkpoint in the history beside it."""
    (file,) = cpf.base.glob("runs/*/state.json")
    last = (file.parent / "history.jsonl").read_bytes().splitlines()[-1]
    return json.loads(file.read_bytes()), json.loads(last)["checkpoint_id"]


@pytest.mark.parametrize(
    ("steps", "code", "status"),
    [
        ([*QUICK, ask("q")], 40, "waiting"),
        ([*QUICK, cli("last")], 0, "completed"),
        ([foreach("each", [1, 2, 3], cli("a"), ask("p"), max_concurrency=2)], 40, "waiting"),
        ([*QUICK, cli("last", "exit 3")], 30, "failed"),
    ],
)
def test_the_snapshot_is_current_when_a_run_rests(cpf: Cpf, steps: Any, code: int, status: str) -> None:
    assert cpf.run(*steps).code == code
    state, checkpoint = look(cpf)
    assert (state["status"], state["checkpoint_id"]) == (status, checkpoint)


def test_it_is_after_each_event(cpf: Cpf) -> None:
    run_id = cpf.run(ask("p"), *QUICK, ask("q"))["run_id"]
    for event, status in (("p_event", "waiting"), ("q_event", "completed")):
        cpf.resume(run_id, event, {})
        state, checkpoint = look(cpf)
        assert (state["status"], state["checkpoint_id"]) == (status, checkpoint)


@pytest.mark.parametrize("how", ["cancel", "interrupt", "kill"])
def test_it_is_while_a_step_takes_its_time_and_however_that_ends(cpf: Cpf, how: str) -> None:
    """Failed with: a loop that does not catch up while it waits."""
    process = cpf.start("run", "-f", cpf.flow(*QUICK, SLOW))
    until((cpf.cwd / "up").exists)
    until(lambda: look(cpf)[0]["checkpoint_id"] == look(cpf)[1])
    state, _ = look(cpf)
    assert state["steps"]["slow"]["state"] == "started"
    match how:
        case "cancel":
            cpf("cancel", "--run-id", state["run_id"], "--reason", "enough")
        case "interrupt":
            process.send_signal(signal.SIGINT)
        case "kill":
            process.kill()
    process.communicate(timeout=30)
    state, checkpoint = look(cpf)
    assert state["status"] == ("cancelled" if how == "cancel" else "running")
    assert state["checkpoint_id"] == checkpoint
    # It ends the command that a kill leaves behind.
    assert cpf("cancel", "--run-id", state["run_id"], "--reason", "enough").code in (0, 20)
