"""Many real processes at once, all about one run: exactly one has its way, and the others change nothing.

All of a race stand ready, forked from one that has loaded all modules, until a pipe that they read from is
closed.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from datetime import datetime

import pytest

from tests.conftest import Answer, Cpf
from tests.crash.disks import LONG
from tests.helpers import ask, cli, end

RACES = 100 if LONG else 2
RACERS = 16
START = """
import json, os, sys, time
from importlib import import_module
for name in "resume", "cancel", "run":
    import_module("checkpointflow.cli." + name)
for name in "filelock", "ruamel.yaml", "hashlib", "fastjsonschema", "checkpointflow.documents.decoding":
    import_module(name)
from checkpointflow.cli import main
lines, start_at = json.loads(sys.argv[1])
gate, handle = os.pipe()
racers = []
for n, line in enumerate(lines):
    racers.append(os.fork())
    if racers[-1] == 0:
        os.dup2(os.open(f"answer-{n}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.close(handle)
        sys.argv = ["cpf", *line]
        os.read(gate, 1)
        main()
time.sleep(max(0.01, start_at - time.time()))
os.close(handle)
print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(racer, 0)[1]) for racer in racers]))
"""

by_seed = pytest.mark.parametrize("seed", range(RACES))

Line = tuple[str, ...]


def race(cpf: Cpf, lines: list[Line], start_at: float = 0.0) -> list[Answer]:
    """What each of *lines* answers, all let go at one moment (not before *start_at*, in Unix time)."""
    started = subprocess.run(
        [sys.executable, "-c", START, json.dumps([lines, start_at])],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=cpf.cwd,
        env=cpf.env,
        timeout=100,
        check=True,
    )
    answers = []
    for n, (line, code) in enumerate(zip(lines, json.loads(started.stdout), strict=True)):
        answers.append(Answer(code, (cpf.cwd / f"answer-{n}").read_text(), ""))
        print(*line, "->", code, answers[-1].json.get("error", ""))
    return answers


def ledger(cpf: Cpf) -> list[str]:
    file = cpf.cwd / "ledger"
    return file.read_text().splitlines() if file.exists() else []


def facts(cpf: Cpf, run_id: str) -> list[str]:
    """What happened, in short."""
    shorts = [(line["fact"]["fact"], line["fact"].get("path", "")) for line in cpf.history(run_id)]
    return [" ".join(short).strip() for short in shorts]


@pytest.mark.long
@by_seed
def test_of_many_resumers_at_once_exactly_one_delivers(cpf: Cpf, seed: int) -> None:
    """Failed with: a lock that is not taken; a state that is read before the lock is taken."""
    command = "echo ${steps.q.outputs.by} >> ledger; sleep 0.02"
    done = end("fin", result="${steps.q.outputs.by}")
    run_id = cpf.run(ask("q"), cli("guarded", command), done)["run_id"]
    # Half of them wait for the lock, so that they come to a run which has taken its event already.
    resume = ("resume", "--run-id", run_id, "--event", "q_event")
    lines = [
        (*resume, "--input", f'{{"by": {n}}}', "--lock-timeout", str(30 * (n % 2))) for n in range(RACERS)
    ]
    answers = race(cpf, lines)
    (winner,) = (n for n, answer in enumerate(answers) if answer.code == 0)
    refused = {(a.code, a.error_code) for n, a in enumerate(answers) if n != winner}
    assert refused <= {(20, "ERR_ANSWERED_OTHERWISE"), (70, "ERR_LOCK_CONFLICT")}
    assert answers[winner]["result"] == winner
    assert ledger(cpf) == [str(winner)]
    expected = (
        "run_began|wait_opened q|event_taken q|step_succeeded q|step_started guarded|step_succeeded guarded"
    )
    assert facts(cpf, run_id) == [*expected.split("|"), "step_succeeded fin", "run_completed"]
    assert cpf("status", "--run-id", run_id)["result"] == winner


@pytest.mark.long
@by_seed
def test_of_a_resume_and_a_cancel_at_once_the_run_hears_one_after_the_other(cpf: Cpf, seed: int) -> None:
    """Failed with: a lock that is not taken; a state that is read before the lock is taken."""
    run_id = cpf.run(ask("q"), cli("after", "echo after >> ledger"))["run_id"]
    resume: Line = ("resume", "--run-id", run_id, "--event", "q_event", "--input", "{}")
    cancel: Line = ("cancel", "--run-id", run_id, "--reason", "race")
    lines = [resume, cancel] * 4
    random.Random(seed).shuffle(lines)
    answers = race(cpf, lines)
    resumed = [answer for line, answer in zip(lines, answers, strict=True) if line == resume]
    cancelled = [answer for line, answer in zip(lines, answers, strict=True) if line == cancel]
    assert {a.code for a in resumed} <= {0, 20, 50, 70}
    assert {a.code for a in cancelled} <= {0, 20, 70}
    told = facts(cpf, run_id)
    status = cpf("status", "--run-id", run_id)["status"]
    assert told.count("step_succeeded q") == len(ledger(cpf)) or status == "cancelled"
    assert told.count("step_succeeded q") <= 1
    assert len(ledger(cpf)) <= told.count("step_started after") <= 1
    assert (status, told.count("run_completed"), told.count("run_cancelled")) in [
        ("completed", 1, 0),
        ("cancelled", 0, 1),
    ]
    assert any(a.code == 0 for a in (resumed if status == "completed" else cancelled))
    assert status == "completed" or not any(a.code == 0 for a in resumed)
    word = cpf.directory(run_id) / "cancel.json"
    assert not word.exists() or word.read_bytes() == b""


@pytest.mark.long(but_one_in=2)
@by_seed
def test_of_an_event_and_the_end_of_its_time_exactly_one_counts(cpf: Cpf, seed: int) -> None:
    """Failed with: an event that is taken although its time is up; a lock that is not taken."""
    chance = random.Random(seed)
    q = ask(
        "q", timeout_seconds=1.2, on_timeout={"next": "late"}, transitions=[{"when": True, "next": "soon"}]
    )
    steps = [cli(name, f"echo {name} >> ledger", next="fin") for name in ("soon", "late")]
    answer = cpf.run(q, *steps, end("fin"))
    run_id, timeout_at = answer["run_id"], answer["wait"]["timeout_at"]
    resume: Line = ("resume", "--run-id", run_id, "--lock-timeout", str(30 * (seed % 2)))
    lines = [resume, (*resume, "--event", "q_event", "--input", "{}")] * 4
    answers = race(cpf, lines, _seconds(timeout_at) - chance.uniform(-0.005, 0.03))
    last = cpf("resume", "--run-id", run_id)
    assert (last.code, last["status"]) == (0, "completed")
    counted = [a for line, a in zip(lines, answers, strict=True) if "--event" in line and a.code == 0]
    delivered = [a for a in counted if not a.json.get("replayed")]
    assert len(delivered) == min(len(counted), 1)
    assert ledger(cpf) == (["soon"] if delivered else ["late"])
    codes = {(a.code, a.error_code) for a in answers if not a.json["ok"]}
    assert codes <= {(20, "ERR_RUN_NOT_WAITING"), (20, "ERR_WAIT_EXPIRED"), (70, "ERR_LOCK_CONFLICT")}
    told = [line["fact"] for line in cpf.history(run_id)[2:] if line["fact"].get("path") == "q"]
    (taken,) = [fact for fact in told if fact["fact"] != "event_taken"]
    assert (taken["fact"], taken["at"] < timeout_at) == (
        ("step_succeeded", True) if delivered else ("step_failed", False)
    )


def _seconds(time_: str) -> float:
    return datetime.fromisoformat(time_).timestamp()
