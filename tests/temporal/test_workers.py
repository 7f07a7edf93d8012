"""Where runs are hosted, who works on them, and who may run what."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.conftest import Answer, until
from tests.helpers import ask, branch, cli, end, foreach, parallel
from tests.temporal.world import Server, Site, count_events, find_free_port, finish

FORGETTING_SECONDS = 120.0  # a dev server takes half a minute to delete what it was told to
T = TypeVar("T")


class AwayShelf:
    """The shelf of *site*, which is away the first *times* that it is asked where a run's files lie."""

    def __init__(self, site: Site, times: int) -> None:
        from checkpointflow.drivers.temporal.shelf import open_shelf

        self._shelf, self._times = open_shelf(str(site.shelf)), times
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shelf, name)

    def find_place(self, run_id: str) -> Path | None:
        from checkpointflow.errors import PersistenceError

        self.asked += 1
        if self.asked <= self._times:
            raise PersistenceError(file=self.url, problem="it is away")
        return self._shelf.find_place(run_id)


def work_here(site: Site, shelf: Any, do: Callable[[], T], **terms: Any) -> T:
    """What *do* gives, while a worker in this process works for *site* with *shelf*."""
    from checkpointflow.drivers.temporal.activities import Terms
    from checkpointflow.drivers.temporal.address import parse_address
    from checkpointflow.drivers.temporal.connecting import connect
    from checkpointflow.drivers.temporal.worker import be_at_work

    async def work() -> T:
        client = await connect(parse_address(site.url), shelf)
        async with be_at_work(client, [site.queue], shelf, Terms(jobs=1, **terms)):
            return await asyncio.to_thread(do)

    return asyncio.run(work())


def test_where_no_server_is_that_is_told_at_once(site: Site) -> None:
    there = site.at(f"temporal://127.0.0.1:{find_free_port()}/default")
    for line in (["run", site.cpf.flow(cli("s"))], ["list"], ["status", "01M8F29WPXXAAY96F5VTBRB84B"]):
        begin = time.monotonic()
        told = there(*line)
        assert time.monotonic() - begin < 2
        assert (told.code, "127.0.0.1" in told["error"]["message"]) == (60, True)


@pytest.mark.long
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


@pytest.mark.long
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


def _run_with_shelf_away(site: Site, times: int, monkeypatch: pytest.MonkeyPatch) -> Answer:
    from checkpointflow.drivers.temporal import activities

    monkeypatch.setattr(activities, "KEEPING_SECONDS", 0.2)
    file = site.cpf.flow(cli("s", "echo s >> done"))
    return work_here(site, AwayShelf(site, times), lambda: site.cpf.real("run", file))


@pytest.mark.long
def test_a_shelf_that_is_away_for_a_moment_puts_no_step_off(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from checkpointflow.drivers.temporal import activities

    assert activities.MAX_PREPARING_SECONDS == 60
    told = _run_with_shelf_away(site, 4, monkeypatch)
    assert (told.code, site.read("done")) == (0, ["s"]), told


def test_a_shelf_that_stays_away_puts_a_step_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from checkpointflow.drivers.temporal import activities

    monkeypatch.setattr(activities, "MAX_PREPARING_SECONDS", 0.5)
    told = _run_with_shelf_away(site, 1000, monkeypatch)
    assert (told.code, "it is away" in told["error"]["message"], site.read("done")) == (60, True, []), told


@pytest.mark.long
def test_a_step_that_waits_for_the_shelf_heeds_a_cancel(site: Site) -> None:
    shelf, file = AwayShelf(site, 1000), site.cpf.flow(cli("s", "echo s >> done"))

    def cancel() -> Answer:
        caller = site.cpf.start("run", file)
        until(lambda: shelf.asked > 1)
        cancelled = site.cpf.real("cancel", site.find_newest(), "--reason", "enough")
        shelf._times = 0
        caller.communicate()
        return cancelled

    told = work_here(site, shelf, cancel)
    assert (told.code, told["status"], site.read("done")) == (0, "cancelled", []), told


@pytest.mark.long
def test_what_a_step_costs_a_choosy_worker_does_not_grow_with_the_run(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told by the events of the run's history that it reads to see whether the step follows."""
    from checkpointflow.drivers.temporal import activities
    from checkpointflow.drivers.temporal.shelf import open_shelf
    from checkpointflow.store.files import digest

    count, at = count_events(monkeypatch), list[int]()
    follows = activities.follows
    monkeypatch.setattr(activities, "follows", lambda *given: at.append(count()) or follows(*given))
    file = site.cpf.flow(foreach("each", {"count": 100}, cli("s")))
    allowed = frozenset([digest((site.cwd / file).read_bytes())])
    shelf = open_shelf(str(site.shelf))
    told = work_here(site, shelf, lambda: site.cpf.real("run", file), allowed=allowed)
    costs = [after - before for before, after in pairwise(at)]
    assert (told.code, len(costs)) == (0, 99), told
    assert max(costs[89:]) <= max(costs[4:14]), costs


@pytest.mark.long
def test_what_a_worker_remembers_of_a_run_is_the_run(
    house: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it waits, went on, was tried again in another execution; and it remembers only some."""
    from checkpointflow.drivers.temporal import history
    from checkpointflow.drivers.temporal.address import parse_address
    from checkpointflow.drivers.temporal.connecting import connect
    from checkpointflow.drivers.temporal.shelf import open_shelf

    monkeypatch.setattr(history, "MAX_REMEMBERED", 2)
    site = house.beside(tmp_path / "site")
    first = site.cpf.run(ask("q"), cli("s", "test -e now"), ask("r"))["run_id"]

    async def compare() -> None:
        client = await connect(parse_address(site.url), open_shelf(str(site.shelf)))
        memory = history.Memory(client)

        async def look(run_id: str) -> None:
            for _ in range(2):  # it may end in between
                known, told = await memory.read_latest(run_id), await history.read_latest(client, run_id)
                if known.is_closed == told.is_closed:
                    break
            assert (known.run, known.is_closed) == (told.run, told.is_closed)

        await look(first)
        await look(first)
        for line in (("resume", first, "--event", "q_event", "--input", "{}"), ("retry", first)):
            await asyncio.to_thread(site.cpf.real, *line)
            await look(first)
            (site.cwd / "now").touch()
        for other in [(await asyncio.to_thread(site.cpf.real, "run", "w.yaml"))["run_id"] for _ in range(2)]:
            await look(other)
        await look(first)
        assert len(memory._known) == 2

    asyncio.run(compare())


@pytest.mark.long
def test_a_step_goes_to_the_machine_that_can_do_it(site: Site) -> None:
    labelled = f"{site.queue}-gpu"
    site.work(WHO="any")
    site.work("--queue", labelled, WHO="gpu")
    steps = cli("a", "echo $WHO"), cli("b", "echo $WHO", runs_on=labelled)
    done = site.cpf.run(*steps, end("e", result=["${steps.a.stdout}", "${steps.b.stdout}"]))
    assert done["result"] == ["any", "gpu"]
    steps = cli("a", "echo $WHO"), end("e", result="${steps.a.stdout}")
    assert site.cpf.run(*steps, defaults={"runs_on": labelled})["result"] == "gpu"


@pytest.mark.long
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


@pytest.mark.long
def test_a_run_that_has_ended_is_deleted(house: Site, tmp_path: Path) -> None:
    site = house.beside(tmp_path / "site")
    waiting, ended = site.cpf.run(ask("q"))["run_id"], site.cpf.run(cli("s", "echo s"))["run_id"]
    place = site.await_archive(ended)
    refused = site.cpf("delete", waiting)
    assert (refused.code, refused.error_code) == (20, "ERR_RUN_NOT_ENDED")
    assert site.cpf("delete", ended).code == 0
    assert not place.exists()
    until(lambda: site.cpf("status", ended).code == 10, FORGETTING_SECONDS)


@pytest.mark.long
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


@pytest.mark.long
def test_why_a_step_was_put_off_is_known_in_the_next_history(site: Site, tmp_path: Path) -> None:
    """Failed with: another run, which has the step."""
    gone = tmp_path / "gone"
    gone.mkdir()
    site.work("--jobs", "4")
    site.work("--queue", f"{site.queue}-far", "--cwd", str(gone))
    gone.rmdir()
    far = branch("a", cli("far", runs_on=f"{site.queue}-far"))
    told = site.cpf.run(parallel("all", far, branch("b", *(cli(f"s{n}") for n in range(70)))))
    assert (told.code, told.error_code) == (20, "ERR_DIRECTORY_GONE"), told


@pytest.mark.long
def test_why_a_step_was_put_off_is_told_of_the_last_time(site: Site, tmp_path: Path) -> None:
    """Failed with: the reason of the time before, or of another step."""
    site.have_worker()
    gone = tmp_path / "gone"
    gone.mkdir()
    held = cli("s", "echo > held; until test -e free; do sleep 0.05; done", lock={"key": site.queue})
    wants = cli("w", "true", lock={"key": site.queue, "timeout_seconds": 1})
    waiting = site.at(site.url, gone).run(ask("q"), wants)["run_id"]
    shutil.rmtree(gone)
    put_off = site.cpf.resume(waiting, "q_event", {})
    assert (put_off.code, put_off.error_code) == (20, "ERR_DIRECTORY_GONE"), put_off
    gone.mkdir()
    first = site.cpf.start("run", site.cpf.flow(held, name="held.yaml"))
    site.await_lines("held")
    again = site.cpf("resume", waiting)
    assert (again.code, again.error_code) == (70, "ERR_LOCK_CONFLICT"), again
    (site.cwd / "free").touch()
    assert finish(first).code == 0
    assert site.cpf("resume", waiting).code == 0
