"""`cpf cancel`: stop a run for good."""

from __future__ import annotations

import click

from checkpointflow.cli.driving import Driving
from checkpointflow.cli.envelope import Reply, wrap_run
from checkpointflow.cli.options import lock_option, place_options, run_options
from checkpointflow.drivers import local
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.locks import Wish


@click.command()
@run_options()
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept with the run.")
@click.option("--no-finally", "skips_finally", is_flag=True, help="End it at once, and skip its `finally`.")
@place_options
@lock_option(local.CANCEL_SECONDS)
def command(
    directory: RunDirectory, reason: str, skips_finally: bool, place: local.Place, lock_timeout: float
) -> Reply:
    """Stop a run for good, and do its `finally`, if it has one.

    The exit code is 0 once it is cancelled. Where another process does its `finally` and that takes longer
    than --lock-timeout, the run goes on and is shown as it stands.
    """
    world = Driving("auto").follow(lambda _: directory)
    run = local.cancel(directory, Wish(reason, skips_finally), place, lock_timeout, world)
    return wrap_run("cancel", run, directory, exit_code=0 if run.status == "cancelled" else None)
