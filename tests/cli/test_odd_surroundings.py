"""A full disk, names that are no text, numbers that are none: an ordinary error, never one of ours."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading

import pytest

from checkpointflow.api import Store
from checkpointflow.drivers import local
from checkpointflow.errors import InvalidInput
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.locks import Wish
from tests.conftest import Cpf
from tests.helpers import ask, cli

ODD = "b\udcff"


def fill(cpf: Cpf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be written any more, but a line of a history where the cache was."""
    write = os.pwrite

    def refuse(fd: int, data: bytes, offset: int) -> int:
        is_history = os.readlink(f"/proc/self/fd/{fd}").endswith("history.jsonl")
        if is_history and not os.listdir(cpf.base / "cache"):
            return write(fd, data, offset)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", refuse)


def test_on_a_full_disk_runs_can_be_cancelled_and_removed(cpf: Cpf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed with: who holds a lock, or a snapshot that only follows, taken for what must be written."""
    first, second, third = (cpf.run(ask("q"))["run_id"] for _ in range(3))
    assert os.listdir(cpf.base / "cache")
    fill(cpf, monkeypatch)
    refused = cpf.resume(third, "q_event", {})
    assert (refused.code, refused["run_id"]) == (60, third)
    for run_id in (first, second):
        answer = cpf("cancel", "--run-id", run_id, "--reason", "x")
        assert (answer.code, answer["status"]) == (0, "cancelled"), answer.text
        assert cpf("status", "--run-id", run_id).code == 50
    assert cpf("delete", "--run-id", first).code == 0
    assert cpf("gc", "--older-than", "0s").code == 0
    assert cpf("list")["result"]["runs"] == []


def test_a_wish_to_cancel_needs_no_room(cpf: Cpf, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = RunDirectory(cpf.directory(cpf.run(ask("q"))["run_id"]))
    fill(cpf, monkeypatch)
    with directory.ask_to_cancel(Wish("enough"), "now", 0):
        assert "no reason could be left" in str(directory.find_wish())
    assert directory.find_wish() is None


@pytest.mark.parametrize(
    "line",
    [
        ("run", "-f", "w.yaml", "--base-dir", ODD),
        ("validate", "-f", ODD),
        ("cancel", "--run-id", "01JQ", "--reason", ODD),
        ("resume", "--run-id", "01JQ", "--lock-timeout", "nan"),
    ],
)
def test_what_is_no_text_or_no_number_is_wrong_use(cpf: Cpf, line: tuple[str, ...]) -> None:
    cpf.flow(cli("a"))
    answer = cpf(*line)
    assert (answer.code, answer.error_code) == (2, "ERR_USAGE")
    assert not cpf.base.exists()


def test_a_list_may_be_limited_to_more_than_there_can_be(cpf: Cpf) -> None:
    assert cpf("list", "--limit", f"{10**20}").code == 0


def test_a_store_whose_name_is_no_text_is_refused(cpf: Cpf) -> None:
    assert cpf("list", CHECKPOINTFLOW_BASE_DIR=ODD).code == 10


def test_no_run_begins_in_a_directory_whose_name_is_no_text(cpf: Cpf) -> None:
    """Failed with: half a run that was left behind, and an error of ours."""
    place = cpf.cwd / ODD
    place.mkdir()
    os.rename(cpf.cwd / cpf.flow(cli("a")), place / "w.yaml")
    answer = cpf("run", "-f", "w.yaml", cwd=place)
    assert (answer.code, answer.error_code, cpf.base.exists()) == (10, "ERR_FILE_NOT_FOUND", False)
    assert cpf("run", "-f", "missing.yaml", cwd=place).code == 10


def test_a_reason_that_is_no_text_is_refused_from_python_too(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q"))["run_id"]
    with pytest.raises(InvalidInput):
        Store(cpf.base).open(run_id).cancel(ODD)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no such device here")
def test_an_answer_for_which_there_is_no_room_is_no_mistake_of_ours(cpf: Cpf) -> None:
    cpf.run(ask("q"))
    with open("/dev/full", "wb") as full:
        for line in (("list",), ("list", "--text"), ("guide",), ("--help",)):
            process = subprocess.run(
                [sys.executable, "-m", "checkpointflow", *line],
                check=False,
                stdout=full,
                env=cpf.env,
                cwd=cpf.cwd,
            )
            assert process.returncode == 60


def test_where_there_are_no_more_threads_the_work_is_done_without(
    cpf: Cpf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert (
        cpf.run(
            cli("a", "echo a > x", artifacts=[{"name": "x", "path": "x"}]), cli("b", lock={"key": "k"})
        ).code
        == 0
    )


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EMFILE, os.strerror(errno.EMFILE))])
def test_what_the_system_has_no_more_of_is_no_mistake_of_ours(
    cpf: Cpf, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(local, "begin", refuse)
    answer = cpf.run(cli("a"))
    assert (answer.code, answer.error_code) == (60, "ERR_PERSISTENCE")
