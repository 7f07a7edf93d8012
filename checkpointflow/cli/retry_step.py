"""`cpf retry-step`: a failed or interrupted step again."""

from __future__ import annotations

import click

from checkpointflow.cli.envelope import Envelope, wrap_run
from checkpointflow.cli.location import find_run
from checkpointflow.cli.options import lock_option, run_options
from checkpointflow.cli.progress import choose_observer
from checkpointflow.cli.standing import warnings_at_resume
from checkpointflow.drivers import local


@click.command()
@run_options
@click.option("--step-id", metavar="PATH", help="The step, by its path; by default what failed.")
@lock_option()
def command(
    run_id: str | None, run_dir: str | None, base_dir: str | None, step_id: str | None, lock_timeout: float
) -> Envelope:
    """Run a failed or interrupted step again, and go on.

    With --step-id an earlier step may be named: it and what came after it are done anew.
    """
    directory = find_run(run_id, run_dir, base_dir)
    world = local.World(observe=choose_observer())
    run = local.retry(directory, step=step_id, lock_timeout=lock_timeout, world=world)
    return wrap_run("retry-step", run, directory, warnings=warnings_at_resume(run))
