"""`cpf gc`: old runs, and what crashes have left."""

from __future__ import annotations

import click
from msgspec import to_builtins

from checkpointflow.cli.durations import parse_span, subtract_seconds
from checkpointflow.cli.envelope import Reply, wrap_result
from checkpointflow.cli.location import find_store
from checkpointflow.cli.options import base_dir_option
from checkpointflow.store import sweeping as runs
from checkpointflow.store.clock import now

STATUSES = ("running", "waiting", "completed", "failed", "cancelled")


@click.command()
@base_dir_option
@click.option(
    "--older-than",
    type=parse_span,
    metavar="SPAN",
    help="Runs that have not changed for this long: 12h, 30d, 8w.",
)
@click.option(
    "--status", "statuses", type=click.Choice(STATUSES), multiple=True, help="Only runs in this state."
)
@click.option("--keep", type=click.IntRange(0), metavar="N", help="Keep the N newest of them, however old.")
@click.option("--force", is_flag=True, help="Also runs that have not ended.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
def command(
    base_dir: str | None,
    older_than: float | None,
    statuses: tuple[str, ...],
    keep: int | None,
    force: bool,
    dry_run: bool,
) -> Reply:
    """Remove old runs that have ended, and what crashes have left.

    With neither --older-than nor --keep only what crashes have left is removed.
    """
    swept = runs.sweep(
        find_store(base_dir),
        before=None if older_than is None else subtract_seconds(now(), older_than),
        statuses=statuses,
        keep=keep,
        force=force,
        dry_run=dry_run,
    )
    result = {**to_builtins(swept), "freed_bytes": swept.freed_bytes, "dry_run": dry_run}
    warnings = tuple(f"{kept.directory} was kept: {kept.problem}" for kept in swept.kept)
    return wrap_result("gc", result, warnings=warnings)
