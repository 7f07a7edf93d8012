"""`cpf status`: where a run stands, by its snapshot and what the history tells beyond it."""

from __future__ import annotations

import click

from checkpointflow.cli.envelope import Reply, wrap_run
from checkpointflow.cli.options import run_options
from checkpointflow.cli.standing import warnings_about
from checkpointflow.store.directory import RunDirectory


@click.command()
@run_options()
def command(directory: RunDirectory) -> Reply:
    """Show where a run stands; the exit code is that of its state."""
    run = directory.load()
    return wrap_run("status", run, directory, warnings=warnings_about(run, directory))
