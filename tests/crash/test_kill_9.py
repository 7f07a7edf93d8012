"""Real processes, really killed, at random moments: each is resumed until the run ends.

The steps of these runs write into a ledger, which no crash takes back. Every claim is tried with several
seeds; the name of the test is the seed, and a failure shows what was done.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.history import decode_fact, find_whole, fold
from checkpointflow.store.snapshot import encode
from tests.conftest import Answer, Cpf
from tests.crash.disks import LONG
from tests.helpers import ask, cli, end

STEPS = [f"s{n}" for n in range(10)]
TRIES = 200 if LONG else 2  # of each claim with kills of `run` and `resume`; each kills several times
PATIENCE_SECONDS = 10


def ten_steps(idempotent: bool) -> list[dict[str, Any]]:
    """Each notes that it began and that it ended, and adds one to what the step before it said."""
    steps, value = [], "0"
    for name in STEPS:
        command = 'echo "$CPF_STEP began" >> ledger; sleep 0.01; echo "$CPF_STEP ended" >> ledger; '
        command += f'echo "{{\\"n\\": $(({value} + 1))}}"'
        steps.append(cli(name, command, idempotent=idempotent))
        value = f"${{steps.{name}.outputs.n}}"
    return [*steps, end("fin", result={"n": value})]


class Trial:
    """One run, the processes that worked on it, and what became of them."""

    def __init__(self, cpf: Cpf, seed: str) -> None:
        self.cpf, self.chance = cpf, random.Random(seed)
        self.killed_under_way: Counter[str] = Counter()
        self.finished: set[str] = set()
        self.questions = 0

    @property
    def directory(self) -> Path | None:
        """That of the one run that exists."""
        found = list(self.cpf.base.glob("runs/*/state.json"))
        assert len(found) <= 1
        return found[0].parent if found else None

    @property
    def run_id(self) -> str:
        assert self.directory is not None
        return self.directory.name

    @property
    def state(self) -> dict[str, Any]:
        """The state of the run as a reader finds it."""
        run = RunDirectory.at(self.cpf.directory(self.run_id)).load()
        state: dict[str, Any] = json.loads(encode(run).state)
        return state

    @property
    def ledger(self) -> list[str]:
        file = self.cpf.cwd / "ledger"
        return file.read_text().splitlines() if file.exists() else []

    def begun(self) -> Counter[str]:
        return Counter(line.removesuffix(" began") for line in self.ledger if line.endswith(" began"))

    def kill(self, *arguments: str, until: Callable[[], bool] = bool, within: float) -> bool:
        """Start a cpf and kill it *within* some seconds after *until* holds; whether it was still there."""
        process = self.cpf.start(*arguments)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while process.poll() is None and not until() and time.monotonic() < deadline:
            time.sleep(0.0005)
        seconds = self.chance.uniform(0, within)
        time.sleep(seconds)
        alive = process.poll() is None
        process.kill()
        process.communicate()
        print(f"cpf {arguments[0]} killed after {seconds * 1000:.1f} ms more", end="; ")
        self.look("killed" if alive else f"ended before, {process.returncode}")
        return alive

    def kill_run(self, latest: int = len(STEPS)) -> bool:
        """Kill a `run` before its *latest* step has ended: at some step, or while it starts up."""
        lines = self.chance.randint(0, 2 * latest - 1)
        return self.kill("run", "-f", "w.yaml", until=lambda: len(self.ledger) >= lines, within=0.02)

    def kill_at_work(self, *arguments: str, within: float) -> bool:
        """Kill a cpf *within* some seconds after it has taken the lock of the run."""
        lock = self.cpf.directory(self.run_id) / "run.lock"
        before = lock.stat().st_mtime_ns
        return self.kill(*arguments, until=lambda: lock.stat().st_mtime_ns != before, within=within)

    def look(self, how: str) -> None:
        """The state on disk is whole, and what had finished has stayed so."""
        if self.directory is None:
            print(f"{how}; no run")
            assert not self.ledger, "something was performed for a run that does not exist"
            return
        state = self.state
        finished = {path for path, step in state["steps"].items() if step["state"] == "succeeded"}
        under_way = {path for path, step in state["steps"].items() if step["state"] == "started"}
        print(f"{how}; {state['status']} at {list(state['steps'])[-1:]}, {len(finished)} finished")
        assert self.finished <= finished
        assert len(under_way) <= 1
        self.finished = finished
        self.killed_under_way.update(under_way)
        text = (self.directory / "history.jsonl").read_text()
        for checkpoint in (state["checkpoint_id"], self.cpf.state(self.run_id)["checkpoint_id"]):
            assert f'{{"checkpoint_id":"{checkpoint}"' in text

    def ask(self, *arguments: str) -> Answer:
        """What cpf says, once nothing that a killed one left behind is in its way."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = self.cpf(*arguments)
            if answer.code != 70 or time.monotonic() > deadline:
                self.look(f"cpf {arguments[0]} ended with {answer.code}")
                return answer
            time.sleep(0.02)

    def to_its_end(self) -> Answer:
        """Resume, saying `retry` wherever somebody is asked, until the run ends."""
        if self.directory is None:
            return self.ask("run", "-f", "w.yaml")
        answer = self.ask("resume", "--run-id", self.run_id)
        while answer.code == 40 and answer["wait"]["event_name"] == "step_outcome":
            self.questions += 1
            again = ("--step", answer["wait"]["step"], "--input", '{"outcome": "retry"}')
            answer = self.ask("resume", "--run-id", self.run_id, *again)
        return answer


@pytest.fixture
def trial(cpf: Cpf, request: pytest.FixtureRequest) -> Trial:
    return Trial(cpf, request.node.name)


by_seed = pytest.mark.parametrize("seed", range(TRIES))


def check_the_books(trial: Trial, answer: Answer) -> None:
    """The result is what it always is; what began again had been under way when its cpf was killed."""
    assert (answer.code, answer["result"]) == (0, {"n": 10})
    for step, times in trial.begun().items():
        assert times <= 1 + trial.killed_under_way[step], f"{step} began {times} times"
    assert [line for line in dict.fromkeys(trial.ledger) if line.endswith("ended")] == [
        f"{step} ended" for step in STEPS
    ]


@pytest.mark.long(but_one_in=4)
@by_seed
@pytest.mark.parametrize("idempotent", [False, True], ids=["asked", "idempotent"])
def test_a_run_that_is_killed_at_any_moment_is_resumed_to_the_same_result(
    trial: Trial, seed: int, idempotent: bool
) -> None:
    """Failed with: performing 20 ms before saving; `Recover` ignored (`asked` only)."""
    trial.cpf.flow(*ten_steps(idempotent))
    trial.kill_run()
    check_the_books(trial, trial.to_its_end())
    assert sum(times - 1 for times in trial.begun().values()) <= 1
    assert trial.questions == (0 if idempotent else trial.killed_under_way.total())


@pytest.mark.long(but_one_in=2)
@by_seed
def test_so_is_one_whose_resumptions_are_killed_too(trial: Trial, seed: int) -> None:
    """Failed with: performing 20 ms before saving; state.json written in place, in 10 ms."""
    trial.cpf.flow(*ten_steps(idempotent=True))
    trial.kill_run(latest=4)
    for _ in range(2):
        if trial.directory is not None:
            trial.kill_at_work("resume", "--run-id", trial.run_id, within=0.1)
    check_the_books(trial, trial.to_its_end())


@pytest.mark.long
@by_seed
def test_from_what_a_kill_leaves_every_way_leads_to_the_same_result(
    trial: Trial, seed: int, tmp_path: Path
) -> None:
    """Failed with: a history cut back to its snapshot; a snapshot that no reader goes on from (`export`)."""
    trial.cpf.flow(*ten_steps(idempotent=True))
    trial.kill_run()
    if trial.directory is None:
        return
    where, finished = trial.directory, set(trial.finished)
    copied = shutil.copytree(where, tmp_path / "copied")
    behind = _with_an_older_snapshot(where, tmp_path / "behind", trial.chance)
    assert trial.ask("export", "--run-id", trial.run_id, "-o", "run.tar.gz").code == 0
    assert trial.finished == finished
    other = Cpf(trial.cpf.cwd, tmp_path / "other")
    assert other("import", "run.tar.gz")["result"]["outcome"] == "added"
    for place in (behind, copied, other.directory(trial.run_id), where):
        (trial.cpf.cwd / "ledger").write_text("")
        assert trial.cpf("verify", "--run-dir", str(place)).code == 0
        answer = trial.cpf("resume", "--run-dir", str(place), "--trust")
        assert (answer.code, answer["result"]) == (0, {"n": 10})
        assert not finished & set(trial.begun()), f"done again in {place}"
        assert json.loads((place / "state.json").read_bytes())["status"] == "completed"
        assert "warnings" not in trial.cpf("verify", "--run-dir", str(place)).json


def _with_an_older_snapshot(run: Path, place: Path, chance: random.Random) -> Path:
    """A copy of *run* with the snapshot of an earlier commit, as a tool that copies files may leave it."""
    shutil.copytree(run, place)
    chain = find_whole((run / "history.jsonl").read_bytes(), "")
    commits = [n for n, link in enumerate(chain, 1) if link.commit]
    (place / "state.json").write_bytes(encode(fold(map(decode_fact, chain[: chance.choice(commits)]))).state)
    return place


@pytest.mark.long(but_one_in=2)
@by_seed
def test_an_event_whose_resume_is_killed_is_delivered_once_or_not_at_all(trial: Trial, seed: int) -> None:
    """Failed with: performing 20 ms before saving."""
    command = "echo 'after began' >> ledger; echo '{\"said\": \"'${steps.q.outputs.word}'\"}'"
    trial.cpf.flow(ask("q"), cli("after", command), end("fin", result="${steps.after.outputs}"))
    assert trial.ask("run", "-f", "w.yaml").code == 40
    event = ("resume", "--run-id", trial.run_id, "--event", "q_event", "--input")
    trial.kill_at_work(*event, '{"word": "first"}', within=0.1)
    delivered = trial.state["steps"]["q"]["state"] == "succeeded"
    if not delivered:
        assert not trial.ledger
        assert trial.ask(*event, '{"word": "second"}').code == 0
    answer = trial.to_its_end()
    assert answer["result"] == {"said": "first" if delivered else "second"}
    assert trial.begun()["after"] <= 1 + trial.killed_under_way["after"]


@pytest.mark.long(but_one_in=6)
@by_seed
@pytest.mark.parametrize("how", ["completed", "failed", "cancelled"])
def test_what_comes_after_an_outcome_survives_every_kill(trial: Trial, seed: int, how: str) -> None:
    """Failed with: a snapshot without what the steps had come to."""
    first = {"completed": cli("first"), "failed": cli("first", "exit 3"), "cancelled": ask("first")}[how]
    trial.cpf.flow(first, **{"finally": ten_steps(idempotent=True)[:-1]})
    cancel = ("cancel", "--reason", "enough", "--run-id")
    if how == "cancelled":
        trial.ask("run", "-f", "w.yaml")
        trial.kill_at_work(*cancel, trial.run_id, within=0.3)
    else:
        trial.kill_run()
    for _ in range(2):
        if trial.directory is not None:
            trial.kill_at_work("resume", "--run-id", trial.run_id, within=0.1)
    answer = trial.to_its_end()
    if answer["status"] == "waiting":  # the cancel was killed before it had been heard
        answer = trial.ask(*cancel, trial.run_id)
    assert answer["status"] == how
    facts = [line["fact"]["fact"] for line in trial.cpf.history(trial.run_id)]
    assert (facts.count("finally_began"), facts.count(f"run_{how}")) == (1, 1)
    ended = [line for line in dict.fromkeys(trial.ledger) if line.endswith("ended")]
    assert ended == [f"@finally/{step} ended" for step in STEPS]
    for step, times in trial.begun().items():
        assert times <= 1 + trial.killed_under_way[step], f"{step} began {times} times"


@pytest.mark.long(but_one_in=2)
@by_seed
def test_a_cancel_that_is_killed_has_cancelled_or_changed_nothing(trial: Trial, seed: int) -> None:
    """Failed, in the long search, with: state.json written in place, in 10 ms."""
    trial.cpf.flow(ask("q"), cli("never", "touch never"))
    trial.ask("run", "-f", "w.yaml")
    before = trial.state
    cancel = ("cancel", "--run-id", trial.run_id, "--reason")
    trial.kill_at_work(*cancel, "killed", within=0.05)
    after = trial.state
    assert after == before or after["outcome"] == {"status": "cancelled", "reason": "killed"}
    assert trial.ask(*cancel, "again").code == 0
    facts = [line["fact"]["fact"] for line in trial.cpf.history(trial.run_id)]
    assert facts.count("run_cancelled") == 1
    assert not (trial.cpf.cwd / "never").exists()
