"""`cpf retry`: a failed or interrupted step again."""

from __future__ import annotations

import click

from checkpointflow.cli.completing import complete
from checkpointflow.cli.driving import Driving, drive_options
from checkpointflow.cli.envelope import Reply
from checkpointflow.cli.options import lock_option, place_options, run_options
from checkpointflow.cli.output import asks_people
from checkpointflow.cli.standing import warnings_of_change, warnings_of_environment
from checkpointflow.drivers import local
from checkpointflow.store.directory import RunDirectory


@click.command()
@run_options()
@click.option(
    "--step",
    "--step-id",
    metavar="PATH",
    shell_complete=complete("list_step_paths"),
    help="The step, by its path; by default what failed.",
)
@place_options
@drive_options
@lock_option()
@click.pass_context
def command(
    context: click.Context,
    directory: RunDirectory,
    step: str | None,
    place: local.Place,
    lock_timeout: float,
    driving: Driving,
) -> Reply:
    """Run a failed or interrupted step again, and go on; `cpf retry-step` is the same.

    With --step an earlier step may be named: it and what came after it are done anew.
    """
    environment = warnings_of_environment(directory)
    world = driving.follow(lambda _: directory)
    run = local.retry(directory, step=step, place=place, lock_timeout=lock_timeout, world=world)
    if run.status == "waiting" and asks_people():
        from checkpointflow.cli.answer_ import offer

        run = offer(directory, run, driving)
    return driving.answer(
        context.info_name or "retry",
        run,
        directory,
        warnings=environment + warnings_of_change(run, directory),
    )
