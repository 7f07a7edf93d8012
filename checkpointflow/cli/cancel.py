"""`cpf cancel`: stop a run for good."""

from __future__ import annotations

import click

from checkpointflow.cli.envelope import Reply, wrap_run
from checkpointflow.cli.options import lock_option, run_options
from checkpointflow.drivers import local
from checkpointflow.store.directory import RunDirectory


@click.command()
@run_options()
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept with the run.")
@lock_option(local.CANCEL_SECONDS)
def command(directory: RunDirectory, reason: str, lock_timeout: float) -> Reply:
    """Stop a run for good."""
    run = local.cancel(directory, reason, lock_timeout)
    return wrap_run("cancel", run, directory, exit_code=0)
