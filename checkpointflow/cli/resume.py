"""`cpf resume`: deliver an event, or go on where nothing is needed from outside."""

from __future__ import annotations

from typing import Any

import click

from checkpointflow.cli.envelope import Envelope, wrap_run
from checkpointflow.cli.location import find_run
from checkpointflow.cli.options import lock_option, read_input, run_options
from checkpointflow.cli.progress import choose_observer
from checkpointflow.cli.standing import warnings_at_resume, warnings_of_chain
from checkpointflow.drivers import local
from checkpointflow.errors import InvalidEvent, UsageError


@click.command()
@run_options
@click.option("--event", metavar="NAME", help="The event that the run waits for.")
@click.option("--input", "given", metavar="JSON", help="The event's payload: JSON, @file or - (stdin).")
@click.option("--step", metavar="PATH", help="Which step the event is for, if several wait for it.")
@lock_option()
def command(
    run_id: str | None,
    run_dir: str | None,
    base_dir: str | None,
    event: str | None,
    given: str | None,
    step: str | None,
    lock_timeout: float,
) -> Envelope:
    """Deliver an event and go on.

    Without --event: go on where nothing is needed from outside, such as after a crash or when a wait's
    time is up; a run that still waits prints its waiting envelope again.
    """
    if (event is None) != (given is None):
        raise UsageError(problem="--event and --input go together")
    if step is not None and event is None:
        raise UsageError(problem="--step goes with --event")
    payload: Any = None if given is None else read_input(given, InvalidEvent)
    directory = find_run(run_id, run_dir, base_dir)
    run = local.resume(
        directory,
        event=event,
        payload=payload,
        step=step,
        lock_timeout=lock_timeout,
        world=local.World(observe=choose_observer()),
    )
    warnings = warnings_at_resume(run) + warnings_of_chain(run, directory)
    return wrap_run("resume", run, directory, warnings=warnings)
