"""`cpf resume`: deliver an event, or go on where nothing is needed from outside."""

from __future__ import annotations

from typing import Any

import click

from checkpointflow.cli.completing import complete
from checkpointflow.cli.driving import Driving, drive_options
from checkpointflow.cli.envelope import Answer
from checkpointflow.cli.given import given_options, read_given
from checkpointflow.cli.options import lock_option, place_options, run_options
from checkpointflow.cli.output import asks_people
from checkpointflow.cli.standing import warnings_of_chain, warnings_of_change, warnings_of_environment
from checkpointflow.diagnostics import point_at
from checkpointflow.drivers import local
from checkpointflow.engine.run import Run, Waiting, waits
from checkpointflow.errors import EventMismatch, InvalidEvent, RunNotWaiting, UsageError
from checkpointflow.store.directory import RunDirectory


@click.command()
@run_options()
@click.option(
    "--event",
    metavar="NAME",
    shell_complete=complete("list_events"),
    help="The event that the run waits for; not needed if it is one.",
)
@given_options("The event's payload")
@click.option(
    "--step",
    metavar="PATH",
    shell_complete=complete("list_step_paths"),
    help="Which step the event is for, if several wait for it.",
)
@place_options
@drive_options
@lock_option()
def command(
    directory: RunDirectory,
    event: str | None,
    given: str | None,
    settings: tuple[str, ...],
    step: str | None,
    place: local.Place,
    lock_timeout: float,
    driving: Driving,
) -> Answer:
    """Deliver an event and go on.

    Without --input and --set: go on where nothing is needed from outside, such as after a crash or when a
    wait's time is up; a run that still waits is shown again.
    """
    answers = given is not None or bool(settings)
    if not answers and (event is not None or step is not None):
        raise UsageError(problem="--event and --step go with --input or --set, which hold the answer")
    payload: Any = None
    if answers:
        before = directory.load()
        open_ = _list_candidates(before, event, step)
        event = event or _choose_event(before, open_, step)
        schema = next((record.wait.input_schema for record in open_.values()), {})
        payload = read_given(given, settings, schema, InvalidEvent)
    environment = warnings_of_environment(directory)
    world = driving.follow(lambda _: directory)
    run = local.resume(
        directory,
        event=event,
        payload=payload,
        step=step,
        place=place,
        lock_timeout=lock_timeout,
        world=world,
    )
    if not answers and run.status == "waiting" and asks_people():
        from checkpointflow.cli.answer_ import offer

        run = offer(directory, run, driving)
    warnings = environment + warnings_of_change(run, directory) + warnings_of_chain(run, directory)
    return driving.answer("resume", run, directory, warnings=warnings)


def _list_candidates(run: Run, event: str | None, step: str | None) -> dict[str, Waiting]:
    """The open waits that may be meant."""
    return {
        path: record
        for path, record in waits(run).items()
        if step in (None, path) and event in (None, record.wait.event_name)
    }


def _choose_event(run: Run, open_: dict[str, Waiting], step: str | None) -> str:
    names = {record.wait.event_name for record in open_.values()}
    if len(names) == 1:
        return names.pop()
    if not waits(run):
        raise RunNotWaiting(run_id=run.run_id, status=run.status, problem="it takes no event")
    if step is not None:
        raise EventMismatch(problem=f"{step} takes no answer; {point_at(step, waits(run), 'these do:')}")
    listed = ", ".join(f"{record.wait.event_name} at {path}" for path, record in open_.items())
    raise EventMismatch(problem=f"name the event with --event; the run waits for {listed}")
