"""`cpf delete` and `cpf gc`: what has ended may go; what is not ours is not touched."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from checkpointflow.store.clock import make_ulid
from checkpointflow.store.files import size_of
from checkpointflow.store.store import Store
from tests.conftest import Cpf, until
from tests.helpers import ask, cli

DAY = 86_400


def names(cpf: Cpf) -> list[str]:
    return sorted(os.listdir(cpf.base / "runs"))


def aged(place: Path, seconds: float = 2 * 3600) -> Path:
    """*place*, last changed so long ago."""
    os.utime(place, (time.time() - seconds,) * 2)
    return place


def old(cpf: Cpf, run_id: str, days: int) -> str:
    """The run, as if it had last changed so many days ago."""
    from checkpointflow.engine.messages import add_seconds

    file = cpf.directory(run_id) / "state.json"
    now = cpf.state(run_id)["updated_at"]
    file.write_text(
        file.read_text().replace(f'"updated_at": "{now}"', f'"updated_at": "{add_seconds(now, -days * DAY)}"')
    )
    return run_id


def test_a_run_that_has_ended_is_removed_with_all_that_it_kept(cpf: Cpf) -> None:
    run_id = cpf.run(cli("a", "echo some text"))["run_id"]
    size = size_of(cpf.directory(run_id))
    answer = cpf("delete", "--run-id", run_id)
    assert answer.code == 0
    assert answer["result"]["freed_bytes"] == size
    assert names(cpf) == []
    assert cpf("status", "--run-id", run_id).error_code == "ERR_RUN_NOT_FOUND"


def test_a_run_that_has_not_ended_is_kept_unless_forced(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q"))["run_id"]
    answer = cpf("delete", "--run-id", run_id)
    assert (answer.code, answer.error_code) == (20, "ERR_RUN_NOT_ENDED")
    assert "--force" in answer["error"]["message"]
    assert cpf("status", "--run-id", run_id).code == 40
    assert cpf("delete", "--run-id", run_id, "--force").code == 0
    assert names(cpf) == []


def test_a_damaged_run_is_kept_unless_forced(cpf: Cpf) -> None:
    run_id = cpf.run(cli("a"))["run_id"]
    (cpf.directory(run_id) / "state.json").write_text("{")
    answer = cpf("delete", "--run-id", run_id)
    assert (answer.code, answer.error_code) == (60, "ERR_STATE_CORRUPT")
    assert cpf("delete", "--run-id", run_id, "--force")["result"]["deleted"][0]["status"] == "damaged"


def test_a_run_of_another_version_is_kept_unless_forced(cpf: Cpf) -> None:
    run_id = cpf.run(cli("a"))["run_id"]
    state = cpf.directory(run_id) / "state.json"
    state.write_text(state.read_text().replace("checkpointflow-state/v1", "checkpointflow-state/v9"))
    assert cpf("delete", "--run-id", run_id).error_code == "ERR_STATE_CORRUPT"
    assert cpf("gc", "--keep", "0")["result"]["deleted"] == []
    assert names(cpf) == [run_id]


def test_a_run_that_somebody_holds_is_kept_even_when_forced(cpf: Cpf) -> None:
    process = cpf.start("run", "-f", cpf.flow(cli("slow", "touch started; exec sleep 60")))
    until(lambda: (cpf.cwd / "started").exists())
    (run_id,) = names(cpf)
    for arguments in (("delete", "--run-id", run_id, "--force"),):
        answer = cpf(*arguments)
        assert (answer.code, answer.error_code) == (70, "ERR_LOCK_CONFLICT")
    answer = cpf("gc", "--keep", "0", "--force")
    assert (answer.code, answer["result"]["deleted"], len(answer["warnings"])) == (0, [], 1)
    assert cpf("status", "--run-id", run_id)["status"] == "running"
    process.send_signal(signal.SIGINT)
    process.communicate()


def test_a_run_directory_that_lies_anywhere_can_be_removed(cpf: Cpf) -> None:
    run_id = cpf.run(cli("a"))["run_id"]
    cpf.directory(run_id).rename(cpf.cwd / "mine")
    assert cpf("delete", "--run-dir", "mine").code == 0
    assert not [name for name in os.listdir(cpf.cwd) if "mine" in name or "deleting" in name]


@pytest.mark.parametrize("state", ['{"a": 1}', "", '{"schema_version": "checkpointflow-state/v9"}'])
def test_a_directory_that_shows_no_mark_of_ours_is_left_as_it_is(cpf: Cpf, state: str) -> None:
    """Failed with: --force taking any directory with a state.json in it."""
    (cpf.cwd / "mine").mkdir()
    (cpf.cwd / "mine" / "state.json").write_text(state)
    (cpf.cwd / "mine" / "history.jsonl").touch()
    answer = cpf("delete", "--run-dir", "mine", "--force")
    assert (answer.code, answer.error_code) == (60, "ERR_STATE_CORRUPT")
    assert "remove it yourself" in answer["error"]["message"]
    assert sorted(os.listdir(cpf.cwd / "mine")) == ["history.jsonl", "state.json"]


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_a_directory_without_a_run_is_left_as_it_is(cpf: Cpf, force: tuple[str, ...]) -> None:
    (cpf.cwd / "mine").mkdir()
    (cpf.cwd / "mine" / "file").touch()
    answer = cpf("delete", "--run-dir", "mine", *force)
    assert (answer.code, answer.error_code) == (10, "ERR_RUN_NOT_FOUND")
    assert os.listdir(cpf.cwd / "mine") == ["file"]


def test_a_link_is_not_followed(cpf: Cpf, tmp_path: Path) -> None:
    run_id = cpf.run(cli("a"))["run_id"]
    elsewhere = tmp_path / "elsewhere"
    cpf.directory(run_id).rename(elsewhere)
    cpf.directory(run_id).symlink_to(elsewhere)
    assert cpf("delete", "--run-id", run_id, "--force").error_code == "ERR_RUN_NOT_FOUND"
    answer = cpf("delete", "--run-dir", str(cpf.directory(run_id)), "--force")
    assert (answer.code, answer.error_code) == (60, "ERR_PERSISTENCE")
    assert cpf.directory(run_id).is_symlink()
    assert cpf("list")["result"]["runs"] == []
    assert cpf("gc", "--keep", "0")["result"]["deleted"] == []
    assert (elsewhere / "state.json").exists()


def test_what_a_link_inside_points_to_stays(cpf: Cpf, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("mine")
    run_id = cpf.run(cli("a", f'ln -s {precious} "$CPF_ARTIFACTS_DIR"/link'))["run_id"]
    assert cpf("delete", "--run-id", run_id).code == 0
    assert (precious / "file").read_text() == "mine"


def test_directories_that_a_command_made_read_only_go_too(cpf: Cpf) -> None:
    run_id = cpf.run(cli("a", 'cd "$CPF_ARTIFACTS_DIR"; mkdir -p x/y; touch x/y/z; chmod -R a-w x'))["run_id"]
    assert cpf("delete", "--run-id", run_id).code == 0
    assert names(cpf) == []


def test_gc_removes_ended_runs_that_are_old(cpf: Cpf) -> None:
    gone = old(cpf, cpf.run(cli("a"))["run_id"], 31)
    fresh = old(cpf, cpf.run(cli("a"))["run_id"], 29)
    waiting = old(cpf, cpf.run(ask("q"))["run_id"], 99)
    answer = cpf("gc", "--older-than", "30d")
    assert [freed["run_id"] for freed in answer["result"]["deleted"]] == [gone]
    assert answer["result"]["freed_bytes"] == answer["result"]["deleted"][0]["bytes"] > 0
    assert names(cpf) == sorted([fresh, waiting])
    assert cpf("gc", "--older-than", "30d", "--force")["result"]["deleted"][0]["run_id"] == waiting


def test_gc_chooses_by_state(cpf: Cpf) -> None:
    failed = cpf.run(cli("a", "exit 1"))["run_id"]
    completed = cpf.run(cli("a"))["run_id"]
    cpf("gc", "--older-than", "0s", "--status", "failed")
    assert names(cpf) == [completed]
    assert failed != completed


def test_gc_keeps_the_newest(cpf: Cpf) -> None:
    three = [cpf.run(cli("a"))["run_id"] for _ in range(3)]
    cpf("gc", "--keep", "2")
    assert names(cpf) == three[1:]
    cpf("gc", "--keep", "2", "--older-than", "0s")
    assert names(cpf) == three[1:]


def test_a_dry_run_removes_nothing(cpf: Cpf) -> None:
    run_id = cpf.run(cli("a"))["run_id"]
    before = sorted(cpf.directory(run_id).rglob("*"))
    answer = cpf("gc", "--keep", "0", "--dry-run")
    assert [freed["run_id"] for freed in answer["result"]["deleted"]] == [run_id]
    assert (answer["result"]["dry_run"], sorted(cpf.directory(run_id).rglob("*"))) == (True, before)


def test_gc_without_a_rule_removes_no_run(cpf: Cpf) -> None:
    run_id = old(cpf, cpf.run(cli("a"))["run_id"], 999)
    assert cpf("gc")["result"]["deleted"] == []
    assert names(cpf) == [run_id]


def test_a_creation_that_died_is_swept_after_an_hour(cpf: Cpf) -> None:
    fresh, stale = (cpf.base / "runs" / make_ulid(n, bytes(10)) for n in (1, 2))
    for place in (fresh, stale):
        place.mkdir(parents=True)
        for name in ("workflow.yaml", "run.lock", "history.jsonl", "workflow.yaml.tmp"):
            (place / name).touch()
    aged(stale)
    assert [freed["directory"] for freed in cpf("gc")["result"]["remains"]] == [str(stale)]
    assert names(cpf) == [fresh.name]


def test_a_creation_under_way_is_not_swept(cpf: Cpf) -> None:
    directory = Store(cpf.base).create(make_ulid(1, bytes(10)))
    with directory.hold("run", "now"):
        aged(directory.place)
        assert cpf("gc")["result"]["remains"] == []
    assert directory.place.exists()


@pytest.mark.parametrize("name", ["stdout", "artifacts", "notes.txt", "state.json"])
def test_a_run_that_lost_its_snapshot_is_no_creation(cpf: Cpf, name: str) -> None:
    place = cpf.base / "runs" / make_ulid(1, bytes(10))
    (place / name).mkdir(parents=True)
    aged(place)
    assert cpf("gc", "--keep", "0", "--force")["result"]["remains"] == []
    assert place.exists()


def test_a_deletion_that_died_is_swept(cpf: Cpf, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = cpf.run(cli("a"))["run_id"]

    def killed(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        assert cpf("delete", "--run-id", run_id).code == 20
    assert cpf("list")["result"]["runs"] == []
    (left,) = names(cpf)
    aged(cpf.base / "runs" / left)
    assert len(cpf("gc")["result"]["remains"]) == 1
    assert names(cpf) == []


def test_what_bears_no_mark_of_ours_is_not_touched(cpf: Cpf, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    (precious / "inside").mkdir(parents=True)
    base = cpf.base / "runs"
    base.mkdir(parents=True)
    run_id = make_ulid(1, bytes(10))
    (base / "notes").mkdir()
    (base / ".deleting-mine").mkdir()
    (base / f"x{run_id}").mkdir()
    (base / "file").touch()
    (base / f".deleting-{run_id}").symlink_to(precious)
    (base / run_id).symlink_to(precious)
    for name in names(cpf):
        os.utime(base / name, (0, 0), follow_symlinks=False)
    os.utime(precious, (0, 0))
    before = names(cpf)
    answer = cpf("gc", "--keep", "0", "--older-than", "0s", "--force")
    assert (answer.code, answer["result"]["freed_bytes"]) == (0, 0)
    assert names(cpf) == before
    assert os.listdir(precious) == ["inside"]
