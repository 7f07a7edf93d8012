"""Run keys: whoever heard nothing of a start says it again, and finds the run that it started."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from checkpointflow.store.claims import claim
from checkpointflow.store.clock import make_id
from checkpointflow.store.store import Store
from tests.conftest import Cpf
from tests.helpers import ask, cli, end

COUNT = cli("count", "echo x >> ledger")
KEYED = ("run", "w.yaml", "--run-key", "order 17")


@pytest.fixture
def b(tmp_path: Path) -> Cpf:
    (tmp_path / "elsewhere").mkdir()
    return Cpf(tmp_path / "elsewhere", tmp_path / "b")


def ledger(cpf: Cpf) -> int:
    file = cpf.cwd / "ledger"
    return len(file.read_text().splitlines()) if file.exists() else 0


def runs(cpf: Cpf) -> list[str]:
    return [row["run_id"] for row in cpf("list")["result"]["runs"]]


@pytest.mark.parametrize("steps", [(COUNT, end("e", result="done")), (COUNT, ask("q"))])
def test_a_start_said_again_finds_the_run_that_it_started(
    cpf: Cpf, steps: tuple[dict[str, object], ...]
) -> None:
    cpf.flow(*steps)
    first, again = cpf(*KEYED), cpf(*KEYED)
    assert "replayed" not in first.json
    assert (again.code, again["run_id"], again["replayed"]) == (first.code, first["run_id"], True)
    assert {**again.json, "request_id": "", "replayed": ""} == {
        **first.json,
        "request_id": "",
        "replayed": "",
    }
    assert (ledger(cpf), runs(cpf)) == (1, [first["run_id"]])
    assert "This run was started before, with the same key." in cpf(*KEYED, "--text").text


def test_another_key_is_another_run(cpf: Cpf) -> None:
    cpf.flow(COUNT)
    assert len({cpf(*KEYED)["run_id"], cpf("run", "w.yaml", "--run-key", "18")["run_id"]}) == 2


def test_other_inputs_or_another_workflow_are_refused(cpf: Cpf) -> None:
    inputs = {"type": "object", "properties": {"n": {"type": "integer"}, "of": {"default": "us"}}}
    cpf.flow(COUNT, inputs=inputs)
    first = cpf(*KEYED, "--input", '{"n": 1}')
    assert cpf(*KEYED, "--input", '{"of": "us", "n": 1}')["replayed"]
    other = cpf(*KEYED, "--input", '{"n": 2}')
    assert (other.code, other.error_code) == (20, "ERR_RUN_KEY_TAKEN")
    assert (
        f"the run {first['run_id']} has the key 'order 17' already, with other inputs"
        in other["error"]["message"]
    )
    cpf.flow(COUNT, name="other.yaml", id="another")
    other = cpf("run", "other.yaml", "--run-key", "order 17")
    assert (other.code, other.error_code) == (20, "ERR_RUN_KEY_TAKEN")
    assert ledger(cpf) == 1


@pytest.mark.parametrize("key", ["", "x" * 257])
def test_what_is_no_key_is_refused(cpf: Cpf, key: str) -> None:
    cpf.flow(COUNT)
    assert cpf("run", "w.yaml", "--run-key", key).error_code == "ERR_USAGE"


def test_a_start_that_died_before_its_first_snapshot_frees_the_key(cpf: Cpf, tmp_path: Path) -> None:
    cpf.flow(COUNT)
    with claim(Store(cpf.base), "order 17") as claimed:
        claimed.give(make_id())
    answer = cpf(*KEYED)
    assert (answer.code, "replayed" in answer.json, cpf(*KEYED)["run_id"]) == (0, False, answer["run_id"])


def test_a_start_in_the_background_is_found_again(cpf: Cpf) -> None:
    cpf.flow(cli("count", "echo x >> ledger; sleep 0.3"), end("e"))
    first, again = cpf(*KEYED, "--detach"), cpf(*KEYED, "--detach")
    assert (again["run_id"], again["replayed"]) == (first["run_id"], True)
    assert cpf("wait", first["run_id"]).code == 0
    assert ledger(cpf) == 1


def test_a_deleted_run_frees_its_key(cpf: Cpf) -> None:
    cpf.flow(COUNT)
    first = cpf(*KEYED)["run_id"]
    assert cpf("delete", first).code == 0
    assert cpf(*KEYED)["run_id"] != first
    assert ledger(cpf) == 2


def test_keys_of_runs_that_are_gone_are_swept(cpf: Cpf) -> None:
    cpf.flow(COUNT)
    gone = cpf(*KEYED)["run_id"]
    kept = cpf("run", "w.yaml", "--run-key", "other")["run_id"]
    cpf("delete", gone)
    keys = cpf.base / "keys"
    for file in keys.iterdir():
        os.utime(file, (0, 0))
    assert len(cpf("gc")["result"]["remains"]) == 1
    assert [file.read_text() for file in keys.iterdir()] == [kept]


def test_a_run_keeps_its_key_where_it_is_imported(cpf: Cpf, b: Cpf) -> None:
    cpf.flow(COUNT, ask("q"))
    run_id = cpf(*KEYED)["run_id"]
    assert cpf("export", run_id, "-o", "run.tar.gz").code == 0
    file = str(cpf.cwd / "run.tar.gz")
    assert [b("import", file)["run_id"] for _ in range(2)] == [run_id, run_id]
    again = b("run", str(cpf.cwd / "w.yaml"), "--run-key", "order 17")
    assert (again["run_id"], again["replayed"]) == (run_id, True)


def test_a_run_whose_key_is_taken_is_imported_only_as_another(cpf: Cpf, b: Cpf) -> None:
    cpf.flow(COUNT, ask("q"))
    run_id = cpf(*KEYED)["run_id"]
    cpf("export", run_id, "-o", "run.tar.gz")
    file = str(cpf.cwd / "run.tar.gz")
    taken = b("run", str(cpf.cwd / "w.yaml"), "--run-key", "order 17")["run_id"]
    refused = b("import", file)
    assert (refused.code, refused.error_code) == (20, "ERR_RUN_KEY_TAKEN")
    assert taken in refused["error"]["message"]
    assert runs(b) == [taken]
    other = b("import", file, "--as-new")
    assert other.code == 0
    assert cpf.history(run_id)[0]["fact"]["key"] == "order 17"
    assert "key" not in b.history(other["run_id"])[0]["fact"]
