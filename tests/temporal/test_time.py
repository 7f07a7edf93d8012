"""A month of waiting, on a server that skips the time in which nothing happens."""

from __future__ import annotations

import asyncio
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from tests.conftest import until
from tests.helpers import ask, cli, end
from tests.temporal.conftest import need
from tests.temporal.world import Site, find_program

SKIPPING = "temporal-test-server"
MONTH = 30 * 24 * 3600


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
