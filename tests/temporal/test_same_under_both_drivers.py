"""The same document, the same answers, the same facts: the local driver is the specification of the other.

CPF_DOCUMENTS is how many random documents are compared; the same number always means the same documents.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from tests.conftest import Answer, Cpf
from tests.crash.chaos import serve
from tests.crash.random_workflows import SECRET, Workflow
from tests.temporal.world import LONG, Site, as_json

DOCUMENTS = int(os.environ.get("CPF_DOCUMENTS", "200" if LONG else "3"))
SIZE = 4
DEMO = Path(__file__).parent / "documents"
MAX_ROUNDS = 60
MAX_RETRIES = 5
RETRIED = ("retry-step", 0)
MISFITS: list[Any] = [{}, {"n": "x"}, 7, {"n": None}]
PASSING = {"checkpoint_id", "request_id", "resume", "next", "seconds"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def _strip(value: Any, run_id: str) -> Any:
    """*value* without what differs between any two runs."""
    match value:
        case dict():
            return {_strip(k, run_id): _strip(v, run_id) for k, v in value.items() if k not in PASSING}
        case list():
            return [_strip(v, run_id) for v in value]
        case str():
            return TIME.sub("TIME", value.replace(run_id, "RUN"))
        case _:
            return value


class Player:
    """Plays a run on *cpf*, answering each wait with what its path says, and keeps what came of it."""

    def __init__(self, cpf: Cpf) -> None:
        self.cpf = cpf
        self.run_id = ""
        self.codes: list[tuple[str, int]] = []
        self.answers: dict[str, Any] = {}

    def play(self, *line: str) -> dict[str, Any]:
        """What the run comes to that *line* starts, and all that happened to it, place by place."""
        at = self._settle(self.cpf("run", *line, "--full"))
        for _ in range(MAX_ROUNDS):
            if at.code == 40:
                at = self._answer(at)
            elif at.code == 30 and self.codes.count(RETRIED) < MAX_RETRIES:
                self.codes.append(RETRIED)
                at = self._settle(self.cpf("retry-step", at["run_id"], "--full"))
            else:
                break
        return self._tell(at)

    def _settle(self, at: Answer) -> Answer:
        """The run once the time of every wait that has one is over: only then do both drivers rest alike."""
        while at.code == 40 and (due := max(w.get("timeout_at", "") for w in _list_waits(at))):
            time.sleep(max(0.0, (datetime.fromisoformat(due) - datetime.now(UTC)).total_seconds()) + 0.01)
            at = self.cpf("resume", at["run_id"], "--full")
        return at

    def _answer(self, at: Answer) -> Answer:
        """The run after the first wait was answered, perhaps wrongly at first."""
        wait = min(_list_waits(at), key=lambda w: str(w["step"]))
        path = wait["step"]
        chance = crc32(path.encode())
        said = ("resume", at["run_id"], "--full", "--event", wait["event_name"], "--step", path, "--input")
        if chance % 3 == 0:
            refused = self.cpf(*said, as_json(MISFITS[chance % len(MISFITS)]))
            self.codes.append((path, refused.code))
            if refused.code in (0, 30, 40):  # it did fit, or none of its transitions took it
                return self._settle(refused)
        payload = _choose(wait, chance)
        self.answers[path.partition("@")[0]] = payload
        taken = self._settle(self.cpf(*said, as_json(payload)))
        self.codes.append((path, taken.code))
        assert taken.code in (0, 30, 40), taken
        return taken

    def _tell(self, at: Answer) -> dict[str, Any]:
        self.run_id = run_id = at["run_id"]
        seen = self.cpf("inspect", run_id, "--full").json
        assert self.cpf("verify", run_id).code == 0
        told = {key: seen.get(key) for key in ("status", "result", "error", "steps", "inputs", "environment")}
        facts = [entry["fact"] for entry in seen["history"]]
        return _strip({"codes": self.codes, "exit": at.code, "places": dict(_sort(facts)), **told}, run_id)


def _list_waits(at: Answer) -> list[dict[str, Any]]:
    return at.json.get("waits") or [at["wait"]]


def _choose(wait: dict[str, Any], chance: int) -> Any:
    """An answer that fits; one in four of first visits leads back, where the document lets it."""
    wants = wait["input_schema"].get("required", [])
    if wants == ["ok"]:
        return {"ok": chance % 4 != 0 or "@" in wait["step"]}
    if wants == ["n"]:
        return {"n": -1 if chance % 4 == 0 and "@" not in wait["step"] else chance % 1000}
    return dict.fromkeys(wants, "somebody")


def _sort(facts: Iterable[dict[str, Any]]) -> dict[str, list[Any]]:
    """The *facts* of each place, in their order; between places that run at once there is none."""
    places: dict[str, list[Any]] = defaultdict(list)
    for fact in facts:
        if fact["fact"] == "files_sealed":
            for file in fact["files"]:
                places[f"sealed {file['path']}"].append(file)
        else:
            places[fact.get("path") or fact.get("body") or "."].append(fact)
    return places


def _read_ledger(ledger: Path, run_id: str) -> Counter[str]:
    """What commands noted in the course of a run."""
    return Counter(line.replace(run_id, "RUN") for line in ledger.read_text().splitlines() if run_id in line)


def _compare(cpf: Cpf, hosted: Cpf, ledger: Path, *line: str) -> tuple[dict[str, Any], Player]:
    """What the run that *line* starts comes to under both drivers, and who played it here."""
    here, there = Player(cpf), Player(hosted)
    expected, found = here.play(*line), there.play(*line)
    assert found["places"].keys() == expected["places"].keys()
    for place, facts in expected["places"].items():
        assert found["places"][place] == facts, place
    assert found == expected
    assert _read_ledger(ledger, there.run_id) == _read_ledger(ledger, here.run_id)
    return expected, here


@pytest.mark.long(but_one_in=3)
@pytest.mark.parametrize("number", range(DOCUMENTS))
def test_a_random_document_comes_to_the_same_under_both_drivers(
    cpf: Cpf, hosted: Cpf, house: Site, number: int
) -> None:
    ledger = house.place / "ledger"
    ledger.touch()
    ledger.with_suffix(".lock").write_text("0")  # nobody has held the lock
    with serve(ledger) as port:
        workflow = Workflow(f"both {number}", port, SIZE)
        for name, document in workflow.documents.items():
            cpf.write(name, json.dumps(document, indent=1))
        for each in (cpf, hosted):
            each.env |= {"LEDGER": str(ledger), SECRET: house.cpf.env[SECRET]}
        expected, player = _compare(cpf, hosted, ledger, "main.yaml")
    assert expected["status"] == "completed"
    assert expected["result"] == _strip(workflow.result("", player.answers), "RUN")


@pytest.mark.long
def test_the_demonstration_comes_to_the_same_under_both_drivers(
    cpf: Cpf, hosted: Cpf, tmp_path: Path
) -> None:
    for file in DEMO.glob("*.yaml"):
        shutil.copy(file, cpf.cwd)
    ledger = tmp_path / "ledger"
    with serve(ledger) as port:
        inputs = {"port": port, "regions": ["north", "nowhere", "south"]}
        for each in (cpf, hosted):
            each.env |= {"TEAM": "blue", "TOKEN": "hush-0123456789"}
        expected, _ = _compare(cpf, hosted, ledger, "everything.yaml", "--input", as_json(inputs))
    assert expected["status"] == "completed", expected
    assert expected["result"]["failed"] == 1
    assert (cpf.cwd / "ended").read_text() == "completed\n"
