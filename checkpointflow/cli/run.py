"""`cpf run`: start a run, to its end or to the next wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from checkpointflow.cli.completing import complete_file, complete_flow
from checkpointflow.cli.driving import Driving, drive_options
from checkpointflow.cli.envelope import Reply
from checkpointflow.cli.given import given_options, read_given
from checkpointflow.cli.location import find_store
from checkpointflow.cli.options import base_dir_option
from checkpointflow.cli.output import asks_people
from checkpointflow.drivers import local
from checkpointflow.drivers.catalog import find_flow
from checkpointflow.drivers.sources import CheckedWorkflow, read_bytes, read_workflow
from checkpointflow.engine.run import Run
from checkpointflow.errors import InvalidInput, UsageError
from checkpointflow.patterns import compile_late
from checkpointflow.store.cache import Cache
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import locate, refuse_writable
from checkpointflow.store.store import Store

_ID = compile_late(r"[A-Za-z_][A-Za-z0-9_-]*")


@click.command()
@click.argument("workflow", required=False, metavar="[FILE|ID]", shell_complete=complete_flow)
@click.option(
    "--file", "-f", metavar="FILE", shell_complete=complete_file, help="The workflow; - is standard input."
)
@given_options("Its inputs")
@click.option("--detach", is_flag=True, help="Leave it to a cpf in the background, and answer at once.")
@click.option(
    "--run-key",
    metavar="KEY",
    help="Start at most one run for KEY: said again, the line finds the run that it started.",
)
@drive_options
@base_dir_option
def command(
    workflow: str | None,
    file: str | None,
    given: str | None,
    settings: tuple[str, ...],
    base_dir: str | None,
    detach: bool,
    run_key: str | None,
    driving: Driving,
) -> Reply:
    """Start a run, and follow it to its end or to the next wait (exit code 40).

    Name the workflow by its file, or by its id if `cpf flows` lists it. A word of letters, digits, - and _ is
    an id, all else a file.
    """
    store = find_store(base_dir)
    checked = read_named(store, workflow, file, to_run=True)
    inputs = read_given(given, settings, checked.document.workflow.inputs, InvalidInput)
    world = driving.follow(lambda run: store.at(run.run_id), tells=not detach)
    directory, run, replayed = _begin(store, checked, inputs, world, run_key, drives=not detach)
    if detach and run.status == "running" and not directory.seems_held():
        from checkpointflow.cli.detach import drive_apart

        drive_apart(directory, run.cwd, allow_shared=store.allow_shared)
    elif run.status == "waiting" and asks_people():
        from checkpointflow.cli.answer_ import offer

        run = offer(directory, run, driving)
    return driving.answer("run", run, directory, replayed=replayed)


def _begin(
    store: Store, checked: CheckedWorkflow, inputs: Any, world: local.World, key: str | None, *, drives: bool
) -> tuple[RunDirectory, Run, bool]:
    if key is None:
        return (*local.begin(store, checked, inputs, world, drives=drives), False)
    from checkpointflow.drivers.once import begin_once  # late: few runs have a key

    begun = begin_once(store, key, checked, inputs, world, drives=drives)
    return begun.directory, begun.run, begun.replayed


def read_named(store: Store, workflow: str | None, file: str | None, *, to_run: bool) -> CheckedWorkflow:
    """The workflow that is meant: a file, an id, or standard input.

    Raises UsageError, FileMissing, InvalidWorkflow.
    """
    if (workflow is None) == (file is None):
        raise UsageError(problem="name the workflow: its file, or an id that `cpf flows` lists")
    if "-" in (file, workflow):
        from checkpointflow.store.files import read_stdin

        return read_bytes(read_stdin(), to_run=to_run)
    if file is None and _ID.fullmatch(str(workflow)):
        document = find_flow(str(workflow), locate(), store.base).file
    else:
        document = Path(file or str(workflow))
    checked = read_workflow(document, to_run=to_run, cache=Cache(store.base, begins=to_run))
    if to_run and not store.allow_shared:
        refuse_writable(document, *(document.parent / name for name in checked.called))
    return checked
