"""`cpf status`: where a run stands, by its snapshot and what the history tells beyond it."""

from __future__ import annotations

import click

from checkpointflow.cli.envelope import Envelope, wrap_run
from checkpointflow.cli.location import find_run
from checkpointflow.cli.options import run_options
from checkpointflow.cli.standing import warnings_about


@click.command()
@run_options
def command(run_id: str | None, run_dir: str | None, base_dir: str | None) -> Envelope:
    """Show where a run stands; the exit code is that of its state."""
    directory = find_run(run_id, run_dir, base_dir)
    run = directory.load()
    return wrap_run("status", run, directory, warnings=warnings_about(run, directory))
