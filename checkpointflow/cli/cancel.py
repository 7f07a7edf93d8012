"""`cpf cancel`: stop a run for good."""

from __future__ import annotations

import click

from checkpointflow.cli.envelope import Envelope, wrap_run
from checkpointflow.cli.location import find_run
from checkpointflow.cli.options import lock_option, run_options
from checkpointflow.drivers import local


@click.command()
@run_options
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept with the run.")
@lock_option(local.CANCEL_SECONDS)
def command(
    run_id: str | None, run_dir: str | None, base_dir: str | None, reason: str, lock_timeout: float
) -> Envelope:
    """Stop a run for good."""
    directory = find_run(run_id, run_dir, base_dir)
    run = local.cancel(directory, reason, lock_timeout)
    return wrap_run("cancel", run, directory, exit_code=0)
