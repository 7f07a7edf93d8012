"""`cpf delete`: one run, for good."""

from __future__ import annotations

import click
from msgspec import to_builtins

from checkpointflow.cli.envelope import Reply, wrap_result
from checkpointflow.cli.options import lock_option, run_options
from checkpointflow.store import sweeping as runs
from checkpointflow.store.directory import RunDirectory


@click.command()
@run_options()
@click.option("--force", is_flag=True, help="Also a run that has not ended, or that is damaged.")
@lock_option()
def command(directory: RunDirectory, force: bool, lock_timeout: float) -> Reply:
    """Remove a run that has ended, with all that it kept."""
    freed = runs.delete(directory, force=force, lock_timeout=lock_timeout)
    return wrap_result("delete", {"deleted": [to_builtins(freed)], "freed_bytes": freed.bytes})
