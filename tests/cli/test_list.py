"""`cpf list`: all runs, newest first, whatever has happened to one of them."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest

from checkpointflow.store.clock import make_ulid
from tests.cli.test_start_up import HEAVY, imported
from tests.conftest import Cpf
from tests.helpers import ask, cli, end


def listed(cpf: Cpf, *arguments: str) -> list[dict[str, Any]]:
    answer = cpf("list", *arguments)
    assert answer.code == 0
    return answer["result"]["runs"]


def ids(cpf: Cpf, *arguments: str) -> list[str]:
    return [run["run_id"] for run in listed(cpf, *arguments)]


@pytest.fixture
def three(cpf: Cpf) -> list[str]:
    """A run that waits, one that failed, one that completed; oldest first."""
    waiting = cpf.run(cli("a"), ask("q", audience="agent", timeout_seconds=0.001))["run_id"]
    failed = cpf.run(cli("bad", "exit 3"))["run_id"]
    text = json.loads((cpf.cwd / "w.yaml").read_text())
    text["workflow"] |= {"id": "other", "steps": [end("e")]}
    completed = cpf("run", "-f", cpf.write("o.yaml", json.dumps(text)))["run_id"]
    return [waiting, failed, completed]


def test_runs_are_listed_newest_first(cpf: Cpf, three: list[str]) -> None:
    assert ids(cpf) == three[::-1]
    assert ids(cpf, "--limit", "2") == three[:0:-1]


def test_an_empty_store_lists_nothing_and_is_not_made(cpf: Cpf) -> None:
    assert listed(cpf) == []
    assert not cpf.base.exists()


def test_a_run_is_told_with_what_it_waits_for_and_until_when(cpf: Cpf, three: list[str]) -> None:
    run = listed(cpf)[2]
    state = cpf.state(three[0])
    record = state["steps"]["q"]
    assert run.pop("age_seconds") >= 0
    assert run == {
        "run_id": three[0],
        "workflow_id": "w",
        "status": "waiting",
        "step": "q",
        "started_at": state["started_at"],
        "updated_at": state["updated_at"],
        "waits": [
            {
                "step": "q",
                "event_name": "q_event",
                "audience": "agent",
                "since": record["started_at"],
                "timeout_at": record["wait"]["timeout_at"],
                "overdue": True,
            }
        ],
    }


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("--status", "failed"), [1]),
        (("--status", "failed", "--status", "completed"), [2, 1]),
        (("--status", "cancelled"), []),
        (("--workflow", "w"), [1, 0]),
        (("--waiting-for", "agent"), [0]),
        (("--waiting-for", "user"), []),
        (("--since", "2d"), [2, 1, 0]),
        (("--since", "0s"), []),
        (("--workflow", "w", "--limit", "1"), [1]),
    ],
)
def test_a_list_can_be_narrowed(
    cpf: Cpf, three: list[str], arguments: tuple[str, ...], found: list[int]
) -> None:
    assert ids(cpf, *arguments) == [three[n] for n in found]


@pytest.mark.parametrize("damage", ["", "{}", "[" * 100_000, '{"schema_version": "checkpointflow-state/v9"}'])
def test_a_damaged_run_is_listed_as_such_and_stops_nothing(cpf: Cpf, three: list[str], damage: str) -> None:
    (cpf.directory(three[1]) / "state.json").write_text(damage)
    assert ids(cpf) == three[::-1]
    (run,) = listed(cpf, "--status", "damaged")
    assert (run["run_id"], run["status"]) == (three[1], "damaged")
    assert "state.json" in run["problem"]


def test_what_is_not_a_run_is_not_listed(cpf: Cpf, three: list[str]) -> None:
    runs = cpf.base / "runs"
    (runs / "notes").mkdir()
    (runs / "README").write_text("mine")
    (runs / make_ulid(0, bytes(10))).mkdir()
    (runs / f".deleting-{three[0]}").mkdir()
    assert ids(cpf) == three[::-1]


def test_a_run_that_nobody_works_on_is_marked(cpf: Cpf) -> None:
    process = cpf.start("run", "-f", cpf.flow(cli("slow", "touch started; exec sleep 60")))
    while not (cpf.cwd / "started").exists():
        time.sleep(0.01)
    (run,) = listed(cpf)
    assert (run["status"], run["step"], "unattended" in run) == ("running", "slow", False)
    process.kill()
    process.communicate()
    (run,) = listed(cpf)
    assert run["unattended"] is True


def test_text_is_a_table_for_people(cpf: Cpf, three: list[str]) -> None:
    """The newest stands last, above the prompt."""
    lines = cpf("list", "-o", "text").text.splitlines()
    assert lines[0].split()[:3] == ["RUN", "WORKFLOW", "STATUS"]
    assert all(run.endswith(line.split()[0]) for run, line in zip(three, lines[1:], strict=True))
    assert "OVERDUE: q_event" in lines[1]


def test_a_table_holds_nothing_that_a_terminal_obeys(cpf: Cpf, three: list[str]) -> None:
    file = cpf.directory(three[0]) / "state.json"
    file.write_text(file.read_text().replace('"event_name": "q_event"', r'"event_name": "\u001b[2J\n"'))
    text = cpf("list", "--text").text
    assert "\x1b" not in text
    assert len(text.splitlines()) == 4


@pytest.mark.parametrize("span", ["2", "d", "-1d", "2 d", "1y", "9" * 40 + "d"])
def test_a_span_that_is_none_is_wrong_use(cpf: Cpf, span: str) -> None:
    answer = cpf("list", f"--since={span}")
    assert (answer.code, answer.error_code) == (2, "ERR_USAGE")


def test_a_span_longer_than_all_time_is_all_time(cpf: Cpf, three: list[str]) -> None:
    assert ids(cpf, "--since", "999999999w") == three[::-1]


def test_a_list_imports_nothing_heavy(cpf: Cpf, three: list[str]) -> None:
    modules = imported(cpf, "list")
    assert "checkpointflow.cli.list_" in modules
    assert {what for what, module in HEAVY.items() if module in modules} == set()


def test_thousands_of_runs_take_well_under_a_second(cpf: Cpf) -> None:
    original = cpf.directory(cpf.run(cli("a", "echo '{\"n\": 1}'"), ask("q"))["run_id"])
    number = 2000
    for n in range(number):
        place = cpf.base / "runs" / make_ulid(n, bytes(10))
        os.mkdir(place)
        os.link(original / "state.json", place / "state.json")
    start = time.process_time()
    assert len(ids(cpf, "--limit", "0")) == number + 1
    assert time.process_time() - start < 1.5  # on a busy machine; 0.12 s on an idle one
