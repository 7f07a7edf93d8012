"""`cpf inspect`: everything about a run, what is long as a head and where the rest lies."""

from __future__ import annotations

from typing import Any

import click
import msgspec
from msgspec import to_builtins

from checkpointflow.cli.bounds import cut
from checkpointflow.cli.envelope import Reply, wrap_run
from checkpointflow.cli.options import run_options
from checkpointflow.cli.output import is_read_as_text, show_all, shows_all
from checkpointflow.cli.standing import warnings_about, warnings_of_chain
from checkpointflow.digests import sha256
from checkpointflow.documents.environment import list_variables
from checkpointflow.drivers.sources import read_own_copies
from checkpointflow.engine.run import Run
from checkpointflow.errors import CheckpointflowError
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.layout import STATE, output_name

MAX_VALUE_BYTES = 2 * 1024
MAX_STEPS_BYTES = 8 * 1024


@click.command()
@run_options()
@click.option("--history", is_flag=True, help="What happened, a fact at a time, oldest first, all of it.")
@click.pass_context
def command(context: click.Context, directory: RunDirectory, history: bool) -> Reply:
    """Show everything about a run: inputs, steps, outputs; the exit code is that of its state.

    Of a value of more than 2 KiB its head is shown, and which file has all of it; of many steps the latest.
    With --full the history is shown, too.
    """
    run, full = directory.load(), shows_all() or is_read_as_text()
    if history:
        show_all(context)
    inputs: Any = run.inputs
    steps: dict[str, Any] = to_builtins(run.steps)
    told = warnings_about(run, directory) + warnings_of_chain(run, directory)
    if not full:
        inputs = {name: _shorten(value, directory) for name, value in run.inputs.items()}
        latest = _choose_latest(steps, directory)
        left_out = len(steps) - len(latest)
        told += (f"{left_out} earlier steps are left out; all of them: --full",) if left_out else ()
        steps = latest
    return wrap_run(
        "inspect",
        run,
        directory,
        warnings=told,
        inputs=inputs,
        env=run.env or None,
        steps=steps,
        history=tuple(directory.history(run)) if full or history else None,
        environment=_list_environment(run, directory),
    )


def _choose_latest(steps: dict[str, Any], directory: RunDirectory) -> dict[str, Any]:
    """As many of *steps*, the last first, as there is room for, in their order; each value short."""
    chosen: dict[str, Any] = {}
    room = MAX_STEPS_BYTES
    for path, record in reversed(steps.items()):
        short = {name: _shorten(value, directory) for name, value in record.items()}
        room -= len(msgspec.json.encode(short))
        if chosen and room < 0:
            break
        chosen[path] = short
    return dict(reversed(chosen.items()))


def _shorten(value: Any, directory: RunDirectory) -> Any:
    """*value*, or if it is long its size, its head, and the file that has all of it."""
    data = msgspec.json.encode(value)
    if len(data) <= MAX_VALUE_BYTES:
        return value
    apart = directory.place / output_name(sha256(data).hexdigest())
    return cut(value, file=str(apart if apart.is_file() else directory.place / STATE))


def _list_environment(run: Run, directory: RunDirectory) -> tuple[str, ...] | None:
    """None: the run's copy of its document cannot be read, which whoever goes on with it will hear."""
    try:
        return tuple(list_variables(read_own_copies(directory, run.workflow)))
    except CheckpointflowError:
        return None
