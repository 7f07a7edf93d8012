"""`cpf waits`: what the runs of a store wait for, the overdue first."""

from __future__ import annotations

import click
from msgspec import Struct, to_builtins

from checkpointflow.cli.durations import parse_span, subtract_seconds
from checkpointflow.cli.envelope import Reply, wrap_result
from checkpointflow.cli.list_ import WaitRow, list_wait_rows
from checkpointflow.cli.location import find_store
from checkpointflow.cli.options import base_dir_option
from checkpointflow.store.clock import now
from checkpointflow.store.listing import Head, ListedRun, list_runs
from checkpointflow.store.store import Store


class OpenQuestion(Struct, frozen=True):
    """One that a run of the store asks."""

    run: ListedRun
    head: Head
    wait: WaitRow


def list_questions(
    store: Store, moment: str, audience: str | None = None, workflow: str | None = None
) -> list[OpenQuestion]:
    """What the runs of *store* ask, of these only; the overdue first, then the oldest."""
    found = [
        OpenQuestion(run, run.head, wait)
        for run in list_runs(store)
        if run.head is not None and workflow in (None, run.head.workflow.id)
        for wait in list_wait_rows(run.head, moment)
        if audience in (None, wait.audience)
    ]
    return sorted(found, key=lambda question: (not question.wait.overdue, question.wait.since))


@click.command()
@base_dir_option
@click.option(
    "--for", "audience", type=click.Choice(("user", "agent", "system")), help="Only what waits for these."
)
@click.option("--overdue", is_flag=True, help="Only what nobody answered in time.")
@click.option(
    "--older", type=parse_span, metavar="SPAN", help="Only what has waited for this long: 90s, 2h, 3d."
)
@click.option("--workflow", "-w", metavar="ID", help="Only runs of this workflow.")
def command(
    base_dir: str | None, audience: str | None, overdue: bool, older: float | None, workflow: str | None
) -> Reply:
    """List what the runs of the store wait for: who is asked what, and since when; the overdue first."""
    store, moment = find_store(base_dir), now()
    latest = None if older is None else subtract_seconds(moment, older)
    rows = [
        {
            "run_id": question.run.run_id,
            "workflow_id": question.head.workflow.id,
            "workflow_name": question.head.workflow.name,
            **to_builtins(question.wait),
        }
        for question in list_questions(store, moment, audience, workflow)
        if (question.wait.overdue or not overdue) and (latest is None or question.wait.since <= latest)
    ]
    return wrap_result("waits", {"waits": rows}, store=store)
