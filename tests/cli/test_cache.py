"""A document is read as YAML and checked once; from then on the cache of the store has it."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from checkpointflow.cli import location
from checkpointflow.store import cache
from tests.cli.test_start_up import imported
from tests.conftest import Cpf
from tests.helpers import ask, call, cli

READERS = {"ruamel", "checkpointflow.documents.yaml", "checkpointflow.documents.checker"}
STEPS = ask("q"), cli("a", "echo first")


@pytest.fixture
def flow(cpf: Cpf) -> str:
    """A document that the cache has since its first run, which made the store."""
    file = cpf.flow(*STEPS)
    assert cpf("run", "-f", file).code == 40
    return file


def entries(cpf: Cpf) -> list[Path]:
    return sorted((cpf.base / "cache").iterdir())


def reads_yaml(cpf: Cpf, *arguments: str) -> bool:
    return bool(imported(cpf, *arguments) & READERS)


def test_a_second_run_and_a_resume_read_no_yaml(cpf: Cpf, flow: str) -> None:
    run_id = cpf("run", "-f", flow)["run_id"]
    assert not reads_yaml(cpf, "run", "-f", flow)
    assert not reads_yaml(cpf, "resume", "--run-id", run_id, "--event", "q_event", "--input", "{}")
    assert cpf("status", "--run-id", run_id)["status"] == "completed"


def test_a_changed_document_is_read(cpf: Cpf, flow: str) -> None:
    cpf.write(flow, (cpf.cwd / flow).read_text() + "\n")
    assert reads_yaml(cpf, "run", "-f", flow)


@pytest.mark.long
def test_what_a_resume_has_read_was_not_checked_for_a_run(cpf: Cpf, flow: str) -> None:
    run_id = cpf("run", "-f", flow)["run_id"]
    shutil.rmtree(cpf.base / "cache")
    assert reads_yaml(cpf, "resume", "--run-id", run_id)
    assert not reads_yaml(cpf, "resume", "--run-id", run_id)
    assert reads_yaml(cpf, "run", "-f", flow)


def test_a_run_that_was_copied_elsewhere_goes_on(cpf: Cpf, flow: str) -> None:
    shutil.copytree(cpf.directory(cpf("run", "-f", flow)["run_id"]), cpf.cwd / "copy")
    answer = cpf("resume", "--run-dir", "copy", "--event", "q_event", "--input", "{}")
    assert answer["status"] == "completed"
    assert sorted(file.name for file in cpf.cwd.iterdir() if file.name != "copy") == ["w.yaml"]


def test_validate_tells_the_same_of_a_document_that_was_checked(cpf: Cpf) -> None:
    cpf.run(ask("q"))  # makes the store
    file = cpf.flow(cli("a", next="c"), cli("b"), cli("c"))
    first = cpf("validate", "-f", file)
    assert first["result"]["warnings"]
    assert not reads_yaml(cpf, "validate", "-f", file)
    again = cpf("validate", "-f", file)
    assert again.json | {"request_id": ""} == first.json | {"request_id": ""}


def test_a_document_with_mistakes_is_not_taken_for_checked(cpf: Cpf, flow: str) -> None:
    wrong = cpf.flow(cli("a", next="nowhere"))
    told = [cpf("validate", "-f", wrong) for _ in range(2)]
    assert [answer.code for answer in told] == [10, 10]
    assert told[0]["error"] == told[1]["error"]


def test_validate_needs_no_store(cpf: Cpf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(location, "_find_default", lambda: None)
    assert cpf("validate", "-f", cpf.flow(cli("a")), CHECKPOINTFLOW_BASE_DIR="")["status"] == "completed"


def test_warnings_are_told_again(cpf: Cpf) -> None:
    file = cpf.flow(cli("a", next="c"), cli("b"), cli("c"))
    assert cpf("run", "-f", file).code == 0
    told = [cpf("validate", "-f", file)["result"]["warnings"] for _ in range(3)]
    assert told[0]
    assert told == [told[0]] * 3
    os.rename(cpf.cwd / file, cpf.cwd / "other.yaml")
    assert cpf("validate", "-f", "other.yaml")["result"]["warnings"] == [
        warning | {"file": "other.yaml"} for warning in told[0]
    ]


def test_values_of_a_document_come_back_as_they_were(cpf: Cpf) -> None:
    result = {"big": 10**40, "float": 1.0, "small": -0.5, "text": "é\u2028", "list": [None, True, []]}
    file = cpf.flow({"id": "e", "kind": "end", "result": result})
    assert [cpf("run", "-f", file)["result"] for _ in range(3)] == [result] * 3
    assert isinstance(cpf("run", "-f", file)["result"]["float"], float)


def test_a_damaged_entry_is_none(cpf: Cpf, flow: str) -> None:
    [entry] = entries(cpf)
    entry.write_bytes(entry.read_bytes().replace(b"echo first", b"echo other"))
    assert reads_yaml(cpf, "run", "-f", flow)
    assert not reads_yaml(cpf, "run", "-f", flow)


def test_an_entry_under_another_name_is_none(cpf: Cpf, flow: str) -> None:
    [entry] = entries(cpf)
    other = cpf.flow(cli("other"), name="other.yaml")
    cpf("run", "-f", other)
    [taken] = set(entries(cpf)) - {entry}
    shutil.copy(entry, taken)
    assert reads_yaml(cpf, "run", "-f", other)


@pytest.mark.parametrize("place", ["cache", "."])
def test_what_others_may_write_is_not_looked_at(cpf: Cpf, flow: str, place: str) -> None:
    (cpf.base / place).chmod(0o777)
    assert reads_yaml(cpf, "run", "--allow-shared", "-f", flow)


def test_a_link_is_not_followed(cpf: Cpf, flow: str) -> None:
    os.rename(cpf.base / "cache", cpf.cwd / "elsewhere")
    (cpf.base / "cache").symlink_to(cpf.cwd / "elsewhere")
    assert reads_yaml(cpf, "run", "-f", flow)


def test_nothing_but_the_owner_reads_it(cpf: Cpf, flow: str) -> None:
    assert [file.stat().st_mode & 0o777 for file in [cpf.base / "cache", *entries(cpf)]] == [0o700, 0o600]


def test_another_cpf_has_entries_of_its_own(cpf: Cpf, flow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cache._describe_code.cache_clear()
    monkeypatch.setattr(cache, "__version__", "3")
    cpf("run", "-f", flow)
    cache._describe_code.cache_clear()
    assert len(entries(cpf)) == 2


def test_it_does_not_grow_for_ever(cpf: Cpf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_ENTRIES", 4)
    for number in range(9):
        cpf("run", "-f", cpf.flow(ask(f"q{number}")))
    assert len(entries(cpf)) <= 4


def test_gc_removes_what_is_old(cpf: Cpf, flow: str) -> None:
    [entry] = entries(cpf)
    assert cpf("gc")["result"]["remains"] == []
    os.utime(entry, (time.time() - cache.MAX_AGE_SECONDS - 60,) * 2)
    assert cpf("gc", "--dry-run")["result"]["remains"] == [
        {"directory": str(entry), "bytes": entry.stat().st_size}
    ]
    assert entry.exists()
    assert cpf("gc")["result"]["freed_bytes"] > 0
    assert entries(cpf) == []


def test_a_mistake_found_later_is_told_with_its_line(cpf: Cpf) -> None:
    cpf.flow(cli("a"), name="child.yaml")
    file = cpf.flow(call("c", "child.yaml"))
    assert [cpf("run", "-f", file).code for _ in range(2)] == [0, 0]
    (cpf.cwd / "child.yaml").unlink()
    [detail] = cpf("run", "-f", file)["error"]["details"]
    assert (detail["path"], detail["line"] > 1) == ("workflow.steps[0].workflow_ref", True)
