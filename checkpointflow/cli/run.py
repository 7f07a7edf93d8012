"""`cpf run`: start a run, to its end or to the next wait."""

from __future__ import annotations

from pathlib import Path

import click

from checkpointflow.cli.envelope import Envelope, wrap_run
from checkpointflow.cli.location import find_store
from checkpointflow.cli.options import base_dir_option, read_input
from checkpointflow.cli.progress import choose_observer
from checkpointflow.drivers import local
from checkpointflow.drivers.catalog import find_flow
from checkpointflow.drivers.sources import read_workflow
from checkpointflow.errors import InvalidInput, UsageError
from checkpointflow.store.cache import Cache


@click.command()
@click.argument("workflow", required=False, metavar="[ID]")
@click.option("--file", "-f", metavar="FILE", help="The workflow.")
@click.option("--input", "given", default="{}", metavar="JSON", help="Its inputs: JSON, @file or - (stdin).")
@base_dir_option
def command(workflow: str | None, file: str | None, given: str, base_dir: str | None) -> Envelope:
    """Start a run, and follow it to its end or to the next wait (exit code 40).

    Name the workflow by its FILE, or by its ID if `cpf flows` lists it.
    """
    if (workflow is None) == (file is None):
        raise UsageError(problem="name the workflow: its file with -f, or an id that `cpf flows` lists")
    inputs = read_input(given, InvalidInput)
    document = (
        Path(file)
        if file is not None
        else find_flow(str(workflow), Path.cwd(), find_store(base_dir).base).file
    )
    store = find_store(base_dir)
    checked = read_workflow(document, to_run=True, cache=Cache(store.base, begins=True))
    world = local.World(observe=choose_observer())
    directory, run = local.begin(store, checked, inputs, world)
    warnings = tuple(map(str, checked.warnings))
    return wrap_run("run", run, directory, warnings=warnings)
