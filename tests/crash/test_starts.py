"""Starting a run at most once: whatever dies, and however many start it at once, one run has the key."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from checkpointflow.drivers import local
from checkpointflow.drivers.once import begin_once
from checkpointflow.drivers.sources import read_workflow
from checkpointflow.store.listing import list_runs
from checkpointflow.store.store import Store
from tests.conftest import Cpf
from tests.crash.crew import Books
from tests.crash.disks import Died, Disk, DyingDisk
from tests.crash.test_races import RACERS, by_seed, ledger, race
from tests.helpers import ask, cli, end


@pytest.mark.long
def test_a_start_on_a_disk_that_dies_at_any_change_starts_one_run(memory: Path) -> None:
    """Failed with: the key given once the run is made; a key that is given whose run is not looked for."""
    steps = [cli("act", "true", idempotent=True), end("e")]
    document = {"schema_version": "checkpointflow/v1", "workflow": {"id": "w", "steps": steps}}
    (memory / "w.yaml").write_bytes(msgspec.json.encode(document))
    checked = read_workflow(memory / "w.yaml")
    base, after, has_died = memory / "base", 0, True
    while has_died:
        after += 1
        for torn in (False, True):
            shutil.rmtree(base, ignore_errors=True)
            books, store = Books(base, {}), Store(base)
            world = local.World(perform=books.perform)
            has_died = False
            for disk in (DyingDisk(after, torn), DyingDisk(after + 2), Disk()):
                try:
                    with disk.mounted():
                        begun = begin_once(store, "k", checked, {}, world)
                except Died:
                    has_died = True
            print(f"died after change {after}{', torn' if torn else ''}")
            assert [listed.run_id for listed in list_runs(store)] == [begun.run.run_id]
            assert begun.run.status == "completed"
            assert len({action.idempotency_key for action in books.performed["act"]}) == 1
    assert after > 20


@pytest.mark.long
@by_seed
def test_of_many_starts_at_once_one_makes_the_run(cpf: Cpf, seed: int) -> None:
    """Failed with: a key that is looked up by somebody who does not hold its lock."""
    cpf.flow(cli("count", "echo x >> ledger"), ask("q"))
    answers = race(cpf, [("run", "w.yaml", "--run-key", "k")] * RACERS)
    assert len({answer["run_id"] for answer in answers}) == 1
    assert [answer.json.get("replayed", False) for answer in answers].count(False) == 1
    assert {answer["status"] for answer in answers} <= {"running", "waiting"}
    assert ledger(cpf) == ["x"]
