"""Where runs are hosted, who works on them, and who may run what."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Cpf, until
from tests.helpers import ask, branch, cli, end, parallel
from tests.temporal.world import Server, Site, find_free_port

FORGETTING_SECONDS = 120.0  # a dev server takes half a minute to delete what it was told to


def test_where_no_server_is_that_is_told_at_once(site: Site) -> None:
    there = site.at(f"temporal://127.0.0.1:{find_free_port()}/default")
    for line in (["run", site.cpf.flow(cli("s"))], ["list"], ["status", "01M8F29WPXXAAY96F5VTBRB84B"]):
        begin = time.monotonic()
        told = there(*line)
        assert time.monotonic() - begin < 2
        assert (told.code, "127.0.0.1" in told["error"]["message"]) == (60, True)


def test_where_no_worker_is_the_run_begins_when_one_comes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from checkpointflow.drivers.temporal import hosting

    assert hosting.PATIENCE_SECONDS == 10
    monkeypatch.setattr(hosting, "PATIENCE_SECONDS", 0.5)
    told = site.cpf.run(cli("s", "echo x > done"))
    assert (told.code, told.err) == (60, "")
    assert "worker" in told["error"]["message"] and "goes on" in told["error"]["message"]
    run_id = told["run_id"]
    assert site.cpf("status", run_id)["status"] == "running"
    site.work()
    until(lambda: site.cpf("status", run_id)["status"] == "completed")


def test_the_place_is_named_by_options_too(house: Site, tmp_path: Path) -> None:
    site = house.beside(tmp_path / "site")
    file = site.cpf.flow(ask("q"))
    line = ("--on", site.url, "--shelf", str(site.shelf))
    waiting = site.local(*line, "run", file)
    assert waiting.code == 40
    assert site.local(*line, "status", waiting["run_id"]).code == 40
    assert site.local("status", waiting["run_id"]).code == 10, "a store of this machine knows nothing of it"


def test_a_worker_runs_only_what_its_operator_allows(site: Site) -> None:
    allowed, other = (
        site.cpf.flow(cli("s", "echo good >> done")),
        site.cpf.flow(cli("t", "echo bad >> done"), name="o.yaml"),
    )
    site.work("--only", allowed)
    assert site.cpf("run", allowed).code == 0
    refused = site.cpf("run", other)
    assert refused.code not in (0, 40), refused
    assert "o.yaml" in refused["error"]["message"] or "allow" in refused["error"]["message"]
    assert site.read("done") == ["good"]


def test_a_step_goes_to_the_machine_that_can_do_it(site: Site) -> None:
    labelled = f"{site.queue}-gpu"
    site.work(WHO="any")
    site.work("--queue", labelled, WHO="gpu")
    steps = cli("a", "echo $WHO"), cli("b", "echo $WHO", runs_on=labelled)
    done = site.cpf.run(*steps, end("e", result=["${steps.a.stdout}", "${steps.b.stdout}"]))
    assert done["result"] == ["any", "gpu"]
    steps = cli("a", "echo $WHO"), end("e", result="${steps.a.stdout}")
    assert site.cpf.run(*steps, defaults={"runs_on": labelled})["result"] == "gpu"


def test_a_worker_does_its_jobs_for_each_of_its_queues(site: Site) -> None:
    """Failed with: of more than five that it had taken, the others waited until one had ended."""
    labels = [f"{site.queue}-{n}" for n in range(7)]
    site.work(
        "--jobs", "1", "--queue", site.queue, *(word for label in labels for word in ("--queue", label))
    )
    meet = f"touch met.$$; until [ $(ls met.* | wc -l) = {len(labels)} ]; do sleep 0.1; done"
    steps = [branch(f"b{n}", cli(f"s{n}", meet, runs_on=label)) for n, label in enumerate(labels)]
    done = site.cpf.run(parallel("p", *steps), end("e", result="met"), defaults={"timeout_seconds": 15})
    assert done["result"] == "met"
    assert "up to 1 steps of each at once" in site.said()


def test_a_run_that_has_ended_is_deleted(house: Site, tmp_path: Path) -> None:
    site = house.beside(tmp_path / "site")
    waiting, ended = site.cpf.run(ask("q"))["run_id"], site.cpf.run(cli("s", "echo s"))["run_id"]
    place = site.await_archive(ended)
    refused = site.cpf("delete", waiting)
    assert (refused.code, refused.error_code) == (20, "ERR_RUN_NOT_ENDED")
    assert site.cpf("delete", ended).code == 0
    assert not place.exists()
    until(lambda: site.cpf("status", ended).code == 10, FORGETTING_SECONDS)


def test_runs_are_swept_by_age(server: Server, make_site: Callable[..., Site]) -> None:
    """All that the namespace has, whatever its queue: so this one has its own."""
    site = make_site(server.other_url)
    site.work()
    ended = site.cpf.run(cli("s"))["run_id"]
    place = site.await_archive(ended)
    sweep = ("gc", "--older-than", "0s", "--full")
    until(lambda: ended in site.cpf(*sweep, "--dry-run").text)
    assert place.exists()
    swept = site.cpf(*sweep)
    assert swept.code == 0 and ended in swept.text
    assert not place.exists()


def test_models_are_served_the_runs_of_one_machine_only(cpf: Cpf) -> None:
    """Failed with: steps of a cluster's run done here, from the copy that is read."""
    refused = cpf("mcp", CPF_ON="temporal://127.0.0.1:1")
    assert (refused.code, "serves the runs of one machine" in refused.err) == (2, True)
