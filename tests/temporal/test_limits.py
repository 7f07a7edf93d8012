"""What is large in a run stays below what Temporal takes, and takes nothing from whoever reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cpf
from tests.helpers import ask, cli, end, foreach
from tests.temporal.test_adversary import connect
from tests.temporal.world import Server, Site, as_json, fetch_events

MANY = 40
TIMES = ("since", "run_id", "timeout_at")


def _ask_many(long: int) -> tuple[dict[str, Any], ...]:
    question = ask("q", prompt="p" * long + " ${item}\nmore", timeout_seconds=3600)
    return foreach("each", list(range(MANY)), question, max_concurrency=MANY), end("e")


def _list_waits(cpf: Cpf, run_id: str) -> list[dict[str, Any]]:
    """What `cpf waits` and `cpf list` tell of the waits of a run, but for the times."""
    found = [row for row in cpf("waits", "--full")["result"]["waits"] if row["run_id"] == run_id]
    (listed,) = (
        row for row in cpf("list", "--limit", "0", "--full")["result"]["runs"] if row["run_id"] == run_id
    )
    assert len(listed["waits"]) == len(found) and listed["step"] == found[0]["step"]
    return [{name: row[name] for name in row if name not in TIMES} for row in found]


@pytest.mark.long
def test_all_waits_of_a_run_are_listed_and_its_memo_is_short(
    house: Site, server: Server, tmp_path: Path
) -> None:
    """Failed with: the memo, all waits in it, written anew at each answer."""
    site = house.beside(tmp_path / "site")
    for long in (10, 1000):
        steps = _ask_many(long)
        there, here = site.cpf.run(*steps), site.local.run(*steps)
        assert (there.code, here.code) == (40, 40)
        for cpf, run_id in ((site.cpf, there["run_id"]), (site.local, here["run_id"])):
            for k in range(3):
                answer = ("--step", f"each[{k}]/q", "--input", "{}")
                assert cpf("resume", run_id, *answer).code == 40
        told = _list_waits(site.cpf, there["run_id"])
        assert told == _list_waits(site.local, here["run_id"])
        assert len(told) == MANY - 3
        began, *events = fetch_events(server, there["run_id"]).events
        (memo,) = began.workflow_execution_started_event_attributes.memo.fields.values()
        assert len(memo.data) < 2000
        kinds = [event.WhichOneof("attributes") for event in events]
        assert "workflow_properties_modified_event_attributes" not in kinds
        assert kinds.count("timer_started_event_attributes") <= 4, "one clock for all time-outs"
    assert as_json(told[0]).count("p") > 290


@pytest.mark.long
def test_many_long_steps_begin_at_once(house: Site, tmp_path: Path) -> None:
    """Failed with: the workflow terminated by Temporal, which takes 4 MiB in a message; resumed: again."""
    site = house.beside(tmp_path / "site")
    long = cli("s", "true " + "x" * 60_000 + " ${item}")
    done = site.cpf.run(foreach("each", list(range(75)), long, max_concurrency=75), end("e", result="ok"))
    assert done["result"] == "ok", done


def test_a_run_is_cancelled_for_a_reason_however_long(house: Site, tmp_path: Path) -> None:
    """Failed with: the cluster says: received message larger than max."""
    from checkpointflow.drivers.temporal.hosted import HostedStore
    from checkpointflow.drivers.temporal.hosting import cancel
    from checkpointflow.store.locks import Wish

    site = house.beside(tmp_path / "site")
    run_id, reason = site.cpf.run(ask("q"))["run_id"], "r" * 5_000_000
    with connect(site) as cluster:
        assert cancel(HostedStore(cluster, site.local.base).at(run_id), Wish(reason)).status == "cancelled"
    (row,) = (row for row in site.cpf("list", "--full")["result"]["runs"] if row["run_id"] == run_id)
    assert row["why"] == "r" * 299 + "…"


def test_a_heading_is_short_whatever_a_run_holds() -> None:
    import msgspec
    from msgspec.structs import replace

    from checkpointflow.drivers.temporal.heading import MAX_BYTES, describe, describe_whole
    from checkpointflow.engine.actions import Error
    from checkpointflow.engine.facts import Breakdown, Cancellation
    from tests.helpers import Story

    long, story = "l" * 100_000, Story(*_ask_many(10))
    run = replace(story.run, inputs={"a": long}, workflow=replace(story.run.workflow, description=long))
    run = replace(run, workflow=replace(run.workflow, name=long, documents={long: long}))
    ends = (None, Cancellation(long), Breakdown(Error("E", long, details=[long])))
    for outcome in ends:
        heading = describe(replace(run, outcome=outcome))
        assert len(msgspec.json.encode(heading)) < MAX_BYTES
        assert heading.is_partial == (outcome is None)
    assert len(describe_whole(run).waits) == MANY
