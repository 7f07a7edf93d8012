"""`cpf inspect`: everything about a run."""

from __future__ import annotations

import click
from msgspec import to_builtins

from checkpointflow.cli.envelope import Answer, wrap_run
from checkpointflow.cli.options import run_options
from checkpointflow.cli.standing import warnings_about, warnings_of_chain
from checkpointflow.documents.environment import list_variables
from checkpointflow.drivers.sources import read_own_copies
from checkpointflow.engine.run import Run
from checkpointflow.errors import CheckpointflowError
from checkpointflow.store.directory import RunDirectory


@click.command()
@run_options()
def command(directory: RunDirectory) -> Answer:
    """Show everything about a run: inputs, steps, outputs, history; the exit code is that of its state."""
    run = directory.load()
    return wrap_run(
        "inspect",
        run,
        directory,
        warnings=warnings_about(run, directory) + warnings_of_chain(run, directory),
        inputs=run.inputs,
        steps=to_builtins(run.steps),
        history=tuple(directory.history(run)),
        environment=_list_environment(run, directory),
    )


def _list_environment(run: Run, directory: RunDirectory) -> tuple[str, ...] | None:
    """None: the run's copy of its document cannot be read, which whoever goes on with it will hear."""
    try:
        return tuple(list_variables(read_own_copies(directory, run.workflow)))
    except CheckpointflowError:
        return None
