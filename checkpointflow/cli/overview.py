"""`cpf` alone, at a terminal: what waits for you, what failed of late, and the commonest commands."""

from __future__ import annotations

from itertools import islice

import click
from msgspec import to_builtins

from checkpointflow.cli.envelope import Reply, wrap_result
from checkpointflow.cli.list_ import list_wait_rows, make_row
from checkpointflow.cli.location import find_store
from checkpointflow.store.clock import now
from checkpointflow.store.listing import list_runs

MAX_LOOKED_AT = 1000
MAX_SHOWN = 8

COMMONEST = {
    "cpf init": "write a workflow to start from",
    "cpf run FILE": "start a run",
    "cpf answer": "answer what a run asks",
    "cpf status RUN": "show a run; @latest is the newest",
    "cpf logs RUN": "show what its steps printed",
    "cpf list": "list the runs",
    "cpf --help": "show all commands",
}


@click.command()
def command() -> Reply:
    """Show what waits for you, and the commonest commands."""
    store, moment = find_store(None), now()
    runs = list(islice(list_runs(store), MAX_LOOKED_AT))
    waits = [
        {"run_id": run.run_id, "workflow_id": run.head.workflow.id, **to_builtins(wait)}
        for run in runs
        if run.head is not None
        for wait in list_wait_rows(run.head, moment)
        if wait.audience == "user"
    ]
    waits.sort(key=lambda wait: not wait.get("overdue"))
    failed = [make_row(run, moment) for run in runs if run.head is not None and run.head.status == "failed"]
    result = {
        "waits": waits[:MAX_SHOWN],
        "more_waits": max(0, len(waits) - MAX_SHOWN),
        "failed": to_builtins(failed[:MAX_SHOWN]),
        "commands": COMMONEST,
    }
    return wrap_result("overview", result, store=store)
