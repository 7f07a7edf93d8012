"""`cpf waits`: what the runs of a store wait for, the overdue first."""

from __future__ import annotations

import click
from msgspec import to_builtins

from checkpointflow.cli.durations import parse_span, subtract_seconds
from checkpointflow.cli.envelope import Reply, wrap_result
from checkpointflow.cli.list_ import list_wait_rows
from checkpointflow.cli.location import find_store
from checkpointflow.cli.options import base_dir_option
from checkpointflow.store.clock import now
from checkpointflow.store.listing import list_runs


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
    found = [
        (run.run_id, run.head.workflow, wait)
        for run in list_runs(store)
        if run.head is not None and workflow in (None, run.head.workflow.id)
        for wait in list_wait_rows(run.head, moment)
        if audience in (None, wait.audience)
        and (wait.overdue or not overdue)
        and (latest is None or wait.since <= latest)
    ]
    found.sort(key=lambda open_: (not open_[2].overdue, open_[2].since))
    rows = [
        {"run_id": run_id, "workflow_id": flow.id, "workflow_name": flow.name, **to_builtins(wait)}
        for run_id, flow, wait in found
    ]
    return wrap_result("waits", {"waits": rows}, store=store)
