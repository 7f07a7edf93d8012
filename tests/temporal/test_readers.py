"""Whoever reads a run reads what Temporal keeps of it, and needs no worker for that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Answer
from tests.helpers import ask, cli, end
from tests.temporal.world import Server, Site, count_events


@pytest.fixture(scope="module")
def left(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, str, str]]:
    """A run that waits and one that has ended, in a place whose only worker is gone."""
    with closing(Site(server.url, tmp_path_factory.mktemp("readers"), "readers")) as site:
        worker = site.work()
        say = cli("s", "echo said; echo told >&2")
        steps = say, ask("q", prompt="Well?"), end("e", result="${steps.s.stdout}")
        waiting, ended = (site.cpf.run(*steps)["run_id"] for _ in range(2))
        assert site.cpf.resume(ended, "q_event", {}).code == 0
        site.await_archive(ended)
        worker.kill()
        worker.wait()
        yield site, waiting, ended


def _read(site: Site, *line: str, code: int = 0) -> Answer:
    answer = site.cpf(*line, "--json")
    assert answer.code == code, answer
    return answer


def test_everything_is_read_without_a_worker(left: tuple[Site, str, str]) -> None:
    site, waiting, ended = left
    assert _read(site, "status", waiting, code=40)["wait"]["prompt"] == "Well?"
    assert _read(site, "status", ended[-6:])["result"] == "said"
    seen = _read(site, "inspect", waiting, "--full", code=40)
    assert seen["history"][0]["fact"]["fact"] == "run_began"
    assert seen["steps"]["s"]["exit_code"] == 0
    assert "told" in _read(site, "logs", waiting, "--step", "s").text
    assert "said" in site.cpf("logs", ended, "--step", "s", "--raw").text
    for run_id in (waiting, ended):
        _read(site, "verify", run_id)
        _read(site, "export", run_id, "-o", f"{run_id}.tar.gz")
        assert site.local("import", f"{run_id}.tar.gz").code == 0
        assert site.local("verify", run_id).code == 0
        _read(site, "report", run_id, "-o", f"{run_id}.html")
        assert "said" in (site.cwd / f"{run_id}.html").read_text() or run_id == waiting
        assert "s" in site.cpf("graph", run_id, "--format", "text").text
    assert _read(site, "diff", waiting, ended)["result"]["equal"] is False
    _read(site, "wait", waiting, "--for", "waiting", code=40)
    assert _read(site, "watch", ended)["status"] == "completed"


def test_runs_and_waits_are_listed_without_a_worker(left: tuple[Site, str, str]) -> None:
    site, waiting, ended = left
    listed = {run["run_id"]: run for run in _read(site, "list", "--limit", "0")["result"]["runs"]}
    assert listed[waiting]["status"] == "waiting"
    assert listed[ended]["status"] == "completed"
    only = _read(site, "list", "--status", "waiting", "--limit", "0")["result"]["runs"]
    assert waiting in {run["run_id"] for run in only} and ended not in {run["run_id"] for run in only}
    asked = {wait["run_id"]: wait for wait in _read(site, "waits")["result"]["waits"]}
    assert asked[waiting]["step"] == "q"
    assert ended not in asked


def test_the_chain_is_the_same_as_on_disk(left: tuple[Site, str, str]) -> None:
    site, waiting, _ = left
    assert site.cpf("export", waiting, "-o", "run.tar.gz").code == 0
    assert site.local("import", "run.tar.gz").code == 0
    there = site.cpf("inspect", waiting, "--full")
    here = site.local("inspect", waiting, "--full")
    assert there["history"] == here["history"]
    assert there["checkpoint_id"] == here["checkpoint_id"]
    lines = site.local.history(waiting)
    assert [line["checkpoint_id"] for line in lines] == [entry["checkpoint_id"] for entry in here["history"]]


def test_a_run_that_has_ended_lies_on_the_shelf_as_a_directory(left: tuple[Site, str, str]) -> None:
    site, _, ended = left
    place = site.shelf / "runs" / ended
    assert json.loads((place / "state.json").read_text())["status"] == "completed"
    assert site.local("verify", "--run-dir", str(place)).code == 0


def test_what_does_not_exist_is_told(site: Site) -> None:
    missing = site.cpf("status", "01M8F29WPXXAAY96F5VTBRB84B")
    assert (missing.code, missing.error_code) == (10, "ERR_RUN_NOT_FOUND")


@pytest.mark.long
def test_a_run_that_is_looked_at_again_is_not_read_anew(
    house: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `cpf mcp` does, and `cpf wait`: told by the events that are read."""
    from checkpointflow.drivers.temporal.address import parse_address
    from checkpointflow.drivers.temporal.hosted import Cluster, HostedStore
    from checkpointflow.drivers.temporal.shelf import open_shelf

    count = count_events(monkeypatch)
    site = house.beside(tmp_path / "site")
    run_id = site.cpf.run(*(cli(f"s{n}") for n in range(20)), ask("q"), cli("t"))["run_id"]
    with closing(
        HostedStore(Cluster(parse_address(site.url), open_shelf(str(site.shelf))), tmp_path)
    ) as store:
        directory = store.at(run_id)
        whole, anew = directory.load(), count()
        assert anew > 100
        assert directory.load() == whole
        site.cpf.resume(run_id, "q_event", {})
        ended = directory.load()
        assert (ended.status, len(list(directory.facts(ended)))) == ("completed", ended.revision)
    assert count() < anew * 2.5, "it has ended, so its history is read once more: another may have followed"
