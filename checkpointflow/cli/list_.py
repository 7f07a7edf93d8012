"""`cpf list`: the runs of a store, newest first, by the heads of their snapshots (`store.listing`)."""

from __future__ import annotations

import sys
from itertools import islice
from typing import Any

import click
from msgspec import Struct, to_builtins

from checkpointflow.cli.durations import format_span, parse_span, seconds_between, subtract_seconds
from checkpointflow.cli.envelope import Envelope, wrap_result
from checkpointflow.cli.location import find_store
from checkpointflow.cli.options import base_dir_option
from checkpointflow.store.clock import now
from checkpointflow.store.listing import ListedRun, list_runs

STATUSES = ("running", "waiting", "completed", "failed", "cancelled", "damaged")
HEADINGS = ("RUN", "WORKFLOW", "STATUS", "STEP", "WAITS FOR", "SINCE", "DEADLINE", "AGE")


class WaitRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event that a run waits for; overdue: its time is up, and `cpf resume` takes its time-out."""

    step: str
    event_name: str
    audience: str
    since: str
    timeout_at: str | None = None
    overdue: bool = False


class Row(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run; unattended: it is not at rest, and no process works on it; problem: why it is damaged."""

    run_id: str
    workflow_id: str | None = None
    workflow_name: str | None = None
    status: str
    step: str | None = None
    started_at: str | None = None
    updated_at: str | None = None
    age_seconds: int | None = None
    unattended: bool = False
    waits: tuple[WaitRow, ...] = ()
    problem: str | None = None


@click.command("list")
@base_dir_option
@click.option(
    "--status", "statuses", type=click.Choice(STATUSES), multiple=True, help="Only runs in this state."
)
@click.option("--workflow", metavar="ID", help="Only runs of this workflow.")
@click.option(
    "--waiting-for",
    type=click.Choice(("user", "agent", "system")),
    help="Only runs that wait for one of these.",
)
@click.option(
    "--since", type=parse_span, metavar="SPAN", help="Only runs started within this time: 90s, 12h, 2d."
)
@click.option("--limit", type=click.IntRange(0), metavar="N", help="Only the N newest of them.")
@click.option("-o", "--output", type=click.Choice(("json", "text")), default="json", help="text: a table.")
def command(
    base_dir: str | None,
    statuses: tuple[str, ...],
    workflow: str | None,
    waiting_for: str | None,
    since: float | None,
    limit: int | None,
    output: str,
) -> Envelope | None:
    """List the runs of the store, newest first."""
    moment = now()
    earliest = None if since is None else subtract_seconds(moment, since)
    rows = (_make_row(run, moment) for run in list_runs(find_store(base_dir)))
    wanted = (row for row in rows if _fits(row, statuses, workflow, waiting_for, earliest))
    found = list(islice(wanted, limit))
    if output == "text":
        sys.stdout.write(format_table([HEADINGS, *(_list_cells(row, moment) for row in found)]))
        return None
    return wrap_result("list", {"runs": to_builtins(found)})


def _fits(
    row: Row, statuses: tuple[str, ...], workflow: str | None, waiting_for: str | None, earliest: str | None
) -> bool:
    return (
        (not statuses or row.status in statuses)
        and workflow in (None, row.workflow_id)
        and (waiting_for is None or any(wait.audience == waiting_for for wait in row.waits))
        and (earliest is None or (row.started_at or "") >= earliest)
    )


def _make_row(run: ListedRun, moment: str) -> Row:
    head = run.head
    if head is None:
        return Row(run_id=run.run_id, status="damaged", problem=run.problem)
    waits = tuple(
        WaitRow(
            step=path,
            event_name=record.wait.event_name,
            audience=record.wait.audience,
            since=record.started_at,
            timeout_at=record.wait.timeout_at,
            overdue=record.wait.timeout_at is not None and record.wait.timeout_at <= moment,
        )
        for path, record in head.waits.items()
        if record.wait is not None
    )
    return Row(
        run_id=run.run_id,
        workflow_id=head.workflow.id,
        workflow_name=head.workflow.name,
        status=head.status,
        step=head.step,
        started_at=head.started_at,
        updated_at=head.updated_at,
        age_seconds=int(seconds_between(head.started_at, moment)),
        unattended=head.status == "running" and not run.directory.seems_held(),
        waits=waits,
    )


def _list_cells(row: Row, moment: str) -> tuple[str, ...]:
    first = row.waits[0] if row.waits else None
    more = f" (+{len(row.waits) - 1})" if len(row.waits) > 1 else ""
    since = first.since if first else row.updated_at
    return (
        row.run_id,
        row.workflow_id or "",
        f"{row.status}{' (unattended)' if row.unattended else ''}",
        row.step or row.problem or "",
        f"{first.event_name} by {first.audience}{more}" if first else "",
        format_span(seconds_between(since, moment)) if since else "",
        _describe_deadline(first, moment) if first else "",
        "" if row.age_seconds is None else format_span(row.age_seconds),
    )


def _describe_deadline(wait: WaitRow, moment: str) -> str:
    if wait.timeout_at is None:
        return ""
    left = format_span(abs(seconds_between(moment, wait.timeout_at)))
    return f"OVERDUE by {left}" if wait.overdue else f"in {left}"


def format_table(rows: list[tuple[str, ...]]) -> str:
    """*rows* as text in columns; what a terminal would obey is shown as `?`."""
    plain = [[_make_plain(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*plain, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"
        for row in plain
    )


def _make_plain(cell: Any) -> str:
    text = "".join(c if c.isprintable() else "?" for c in str(cell))
    return text if len(text) <= 60 else text[:59] + "…"
