"""A month of waiting, on a server that skips the time in which nothing happens; pauses in a new history."""

from __future__ import annotations

import asyncio
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import until
from tests.helpers import ask, branch, cli, end, foreach, parallel
from tests.temporal.conftest import need
from tests.temporal.test_adversary import connect
from tests.temporal.world import Site, find_program

SKIPPING = "temporal-test-server"
MONTH = 30 * 24 * 3600


@pytest.mark.long
def test_a_wait_of_a_month_ends_when_its_time_is_up(tmp_path: Path) -> None:
    need(SKIPPING)
    asyncio.run(_wait_for_a_month(str(find_program(SKIPPING)), tmp_path))


async def _wait_for_a_month(program: str, place: Path) -> None:
    from temporalio.testing import WorkflowEnvironment

    steps = (
        ask("q", timeout_seconds=MONTH, on_timeout={"next": "late"}),
        end("e"),
        cli("late"),
        end("f", result="late"),
    )
    skipping = WorkflowEnvironment.start_time_skipping(test_server_existing_path=program)
    async with await skipping as environment:
        target = environment.client.service_client.config.target_host
        with closing(Site(f"temporal://{target}/default", place / "site", "month")) as site:
            site.work()
            # Detached: this server knows nothing of following, nor of whoever asks it for work.
            begun = await asyncio.to_thread(site.cpf.real, "run", site.cpf.flow(*steps), "--detach")
            run = begun["run_id"]
            assert (await asyncio.to_thread(site.cpf.real, "status", run)).code == 40
            await environment.sleep(timedelta(seconds=MONTH + 60))
            await asyncio.to_thread(until, lambda: site.cpf.real("status", run).json.get("result") == "late")


@pytest.mark.long
def test_a_pause_goes_on_in_a_new_history(house: Site, tmp_path: Path) -> None:
    """What else the run does makes its history long: it is not kept from going on in a new one."""
    site = house.beside(tmp_path / "site")
    flaky = cli("f", "echo f >> done; test -e now", retry={"max_attempts": 2, "backoff_seconds": 15})
    many = foreach("each", list(range(80)), cli("s", "true ${item}"), max_concurrency=4)
    steps = parallel("p", branch("a", flaky), branch("b", many, cli("t", "touch now"))), end("e")
    run_id = site.cpf.run(*steps)["run_id"]
    assert site.read("done") == ["f", "f"]
    begun = [f for f in site.tell_facts(run_id) if f["fact"] == "step_started" and f["path"].endswith("/f")]
    _, pause, again = begun
    until(lambda: len(_list_executions(site, run_id)) > 1)  # a list follows later
    first = _list_executions(site, run_id)[0]
    assert first < datetime.fromisoformat(pause["action"]["until"])
    assert pause["action"]["until"] <= again["at"]


def _list_executions(site: Site, run_id: str) -> list[datetime]:
    """When each of a run's histories was left for the next, or closed."""

    async def find(cluster: Any) -> list[datetime]:
        client = await cluster.connect()
        return sorted(
            [e.close_time async for e in client.list_workflows(f'WorkflowId = "{run_id}"') if e.close_time]
        )

    with connect(site) as cluster:
        return cluster.do(find(cluster))
