"""`cpf resume`: deliver an event, or go on where nothing is needed from outside."""

from __future__ import annotations

from typing import Any

import click

from checkpointflow.cli.completing import complete
from checkpointflow.cli.driving import Driving, drive_options
from checkpointflow.cli.envelope import Reply
from checkpointflow.cli.given import given_options, read_given
from checkpointflow.cli.options import lock_option, place_options, read_input, run_options
from checkpointflow.cli.output import asks_people
from checkpointflow.cli.standing import warnings_of_chain, warnings_of_change, warnings_of_environment
from checkpointflow.drivers import local
from checkpointflow.engine.answers import Answer
from checkpointflow.engine.facts import WaitOpened
from checkpointflow.engine.run import waits
from checkpointflow.errors import InvalidEvent, UsageError
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
@click.option(
    "--attempt",
    metavar="N",
    type=click.IntRange(1),
    help="Which attempt a step_outcome is told of, as the line that a run prints says.",
)
@click.option(
    "--answers",
    metavar="JSON",
    help="Several answers at once, all or none: an object of them by the paths of their steps.",
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
    attempt: int | None,
    answers: str | None,
    place: local.Place,
    lock_timeout: float,
    driving: Driving,
) -> Reply:
    """Deliver an event and go on.

    Without --input, --set and --answers: go on where nothing is needed from outside, such as after a crash or
    when a wait's time is up; a run that still waits is shown again.

    The same answer given again counts once. To give the same one to the next step that asks, name it with
    --step.
    """
    is_one = given is not None or bool(settings)
    names_one = (event, step, attempt) != (None, None, None)
    if answers is not None and (is_one or names_one):
        raise UsageError(
            problem="--answers holds all that is answered; the options of one answer go without it"
        )
    if names_one and not is_one:
        raise UsageError(
            problem="--event, --step and --attempt go with --input or --set, which hold the answer"
        )
    all_given = _read_answers(answers) if answers is not None else []
    if is_one:
        schema = _find_schema(directory, event, step) if settings else {}
        payload = read_given(given, settings, schema, InvalidEvent)
        all_given = [Answer(event=event, step=step, attempt=attempt, payload=payload)]
    environment = warnings_of_environment(directory)
    world = driving.follow(lambda _: directory)
    delivered = local.deliver(directory, all_given, place=place, lock_timeout=lock_timeout, world=world)
    run = delivered.run
    if not all_given and run.status == "waiting" and asks_people():
        from checkpointflow.cli.answer_ import offer

        run = offer(directory, run, driving)
    warnings = environment + warnings_of_change(run, directory) + warnings_of_chain(run, directory)
    return driving.answer("resume", run, directory, warnings=warnings, replayed=delivered.replayed)


def _read_answers(text: str) -> list[Answer]:
    answers = read_input(text, InvalidEvent)
    if not isinstance(answers, dict) or not answers:
        problem = '--answers is an object that has each answer by the path of its step, as {"review": {}}'
        raise InvalidEvent(problem=problem)
    return [Answer(step=path, payload=payload) for path, payload in answers.items()]


def _find_schema(directory: RunDirectory, event: str | None, step: str | None) -> dict[str, Any]:
    """What the answer is to fit: the schema of the wait that may be meant, or else of the one that was."""
    run = directory.load()
    for path, record in waits(run).items():
        if step in (None, path) and event in (None, record.wait.event_name):
            return record.wait.input_schema
    asked = {given.step for name, given in run.answers.items() if event in (None, name)}
    schema: dict[str, Any] = {}
    for fact in directory.facts(run) if asked else ():  # an answer given again is rare
        if isinstance(fact, WaitOpened) and fact.path in asked and step in (None, fact.path):
            schema = fact.wait.input_schema
    return schema
