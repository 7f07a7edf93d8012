"""`cpf inspect`: everything about a run."""

from __future__ import annotations

import click
from msgspec import to_builtins

from checkpointflow.cli.envelope import Envelope, wrap_run
from checkpointflow.cli.location import find_run
from checkpointflow.cli.options import run_options
from checkpointflow.cli.standing import warnings_about, warnings_of_chain


@click.command()
@run_options
def command(run_id: str | None, run_dir: str | None, base_dir: str | None) -> Envelope:
    """Show everything about a run: inputs, steps, outputs, history; the exit code is that of its state."""
    directory = find_run(run_id, run_dir, base_dir)
    run = directory.load()
    return wrap_run(
        "inspect",
        run,
        directory,
        warnings=warnings_about(run, directory) + warnings_of_chain(run, directory),
        inputs=run.inputs,
        steps=to_builtins(run.steps),
        history=tuple(directory.history(run)),
    )
