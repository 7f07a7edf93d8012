"""`cpf list`: the runs of a store, newest first, by the heads of their snapshots (`store.listing`)."""

from __future__ import annotations

import sys
from itertools import islice
from typing import Any

import click
from msgspec import Struct, to_builtins

from checkpointflow.cli.durations import parse_span, seconds_between, subtract_seconds
from checkpointflow.cli.envelope import Reply, wrap_result
from checkpointflow.cli.location import find_store
from checkpointflow.cli.options import base_dir_option
from checkpointflow.cli.output import choose_form, show_all, shows_all
from checkpointflow.store.clock import now
from checkpointflow.store.listing import Head, ListedRun, list_runs

DEFAULT_LIMIT = 30
MAX_WHY = 300
MAX_INPUTS = 3
MAX_INPUT = 80

STATUSES = ("running", "waiting", "completed", "failed", "cancelled", "damaged")


class WaitRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event that a run waits for; overdue: its time is up, and `cpf resume` takes its time-out."""

    step: str
    event_name: str
    audience: str
    prompt: str | None = None
    since: str
    timeout_at: str | None = None
    overdue: bool = False


class Row(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run.

    unattended: it is not at rest, and no process works on it; why: it failed, or was cancelled, or what it
    asks first; inputs: the first few that are short; problem: why it is damaged.
    """

    run_id: str
    workflow_id: str | None = None
    workflow_name: str | None = None
    status: str
    step: str | None = None
    why: str | None = None
    started_at: str | None = None
    updated_at: str | None = None
    age_seconds: int | None = None
    unattended: bool = False
    inputs: dict[str, Any] = {}
    waits: tuple[WaitRow, ...] = ()
    problem: str | None = None


@click.command("list")
@base_dir_option
@click.option(
    "--status", "statuses", type=click.Choice(STATUSES), multiple=True, help="Only runs in this state."
)
@click.option("--failed", is_flag=True, help="The same as --status failed.")
@click.option("--workflow", "-w", metavar="ID", help="Only runs of this workflow.")
@click.option(
    "--waiting-for",
    type=click.Choice(("user", "agent", "system")),
    help="Only runs that wait for one of these.",
)
@click.option(
    "--since", type=parse_span, metavar="SPAN", help="Only runs that changed within this time: 90s, 12h, 2d."
)
@click.option("--started-since", type=parse_span, metavar="SPAN", help="Only runs started within this time.")
@click.option(
    "--limit",
    type=click.IntRange(0),
    metavar="N",
    help=f"Only the N newest of them (default {DEFAULT_LIMIT}); 0 is all.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(("json", "text")),
    expose_value=False,
    callback=lambda context, _, form: choose_form(context, form),
    help="The same as --json or --text.",
)
@click.pass_context
def command(
    context: click.Context,
    base_dir: str | None,
    statuses: tuple[str, ...],
    failed: bool,
    workflow: str | None,
    waiting_for: str | None,
    since: float | None,
    started_since: float | None,
    limit: int | None,
) -> Reply:
    """List the runs of the store, newest first; on a terminal the newest stands last, above the prompt."""
    store, moment = find_store(base_dir), now()
    if limit is not None:
        show_all(context)
    elif shows_all():
        limit = 0
    else:
        limit = DEFAULT_LIMIT
    wanted = (*statuses, "failed") if failed else statuses
    changed, started = (
        None if span is None else subtract_seconds(moment, span) for span in (since, started_since)
    )
    rows = (
        row
        for row in (make_row(run, moment) for run in list_runs(store))
        if (not wanted or row.status in wanted)
        and workflow in (None, row.workflow_id)
        and (waiting_for is None or any(wait.audience == waiting_for for wait in row.waits))
        and (changed is None or (row.updated_at or "") >= changed)
        and (started is None or (row.started_at or "") >= started)
    )
    found = list(islice(rows, min(limit, sys.maxsize - 1) + 1)) if limit else list(rows)
    shown = found[:limit] if limit else found
    more = {"more": True} if len(found) > len(shown) else {}
    return wrap_result("list", {"runs": to_builtins(shown), **more}, store=store)


def make_row(run: ListedRun, moment: str) -> Row:
    """What a list tells of *run*."""
    head = run.head
    if head is None:
        return Row(run_id=run.run_id, status="damaged", problem=run.problem)
    return Row(
        run_id=run.run_id,
        workflow_id=head.workflow.id,
        workflow_name=head.workflow.name,
        status=head.status,
        step=head.step,
        why=_explain(head),
        started_at=head.started_at,
        updated_at=head.updated_at,
        age_seconds=int(seconds_between(head.started_at, moment)),
        unattended=head.status == "running" and not run.directory.seems_held(),
        inputs=_choose_inputs(head.inputs),
        waits=list_wait_rows(head, moment),
    )


def list_wait_rows(head: Head, moment: str) -> tuple[WaitRow, ...]:
    """The open waits of a run."""
    return tuple(
        WaitRow(
            step=path,
            event_name=record.wait.event_name,
            audience=record.wait.audience,
            prompt=_shorten(record.wait.prompt),
            since=record.started_at,
            timeout_at=record.wait.timeout_at,
            overdue=record.wait.timeout_at is not None and record.wait.timeout_at <= moment,
        )
        for path, record in head.waits.items()
        if record.wait is not None
    )


def _explain(head: Head) -> str | None:
    if head.outcome is not None:
        return _shorten(head.outcome.error.message if head.outcome.error else head.outcome.reason)
    first = next((record.wait for record in head.waits.values()), None)
    return None if first is None else _shorten(first.prompt)


def _choose_inputs(inputs: dict[str, Any]) -> dict[str, Any]:
    short = {
        name: value
        for name, value in inputs.items()
        if isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= MAX_INPUT)
    }
    return dict(islice(short.items(), MAX_INPUTS))


def _shorten(text: str | None) -> str | None:
    """The first line of *text*, if it has one."""
    first = (text or "").strip().partition("\n")[0]
    return (first if len(first) <= MAX_WHY else first[: MAX_WHY - 1] + "…") or None
