"""`cpf wait`: until runs rest."""

from __future__ import annotations

import time
from pathlib import Path

import click

from checkpointflow.cli.completing import complete
from checkpointflow.cli.durations import parse_span
from checkpointflow.cli.envelope import EXIT_CODES, Reply, wrap_result, wrap_run
from checkpointflow.cli.location import find_run
from checkpointflow.cli.options import base_dir_option
from checkpointflow.engine.run import Run
from checkpointflow.errors import UsageError
from checkpointflow.store.directory import RunDirectory

POLL_SECONDS = 0.2
LEFT_SECONDS = 5.0


@click.command()
@click.argument("runs", nargs=-1, metavar="RUN…", shell_complete=complete("list_run_ids"))
@click.option("--run-id", "run_ids", multiple=True, metavar="ID", help="The same as RUN.")
@click.option("--run-dir", "run_dirs", multiple=True, metavar="DIR", help="The run in this directory.")
@base_dir_option
@click.option(
    "--for",
    "state",
    type=click.Choice(("waiting", "ended")),
    default="waiting",
    show_default=True,
    help="waiting: until it waits or has ended; ended: until it has ended.",
)
@click.option("--timeout", type=parse_span, metavar="SPAN", help="No longer than this: 90s, 10m.")
def command(
    runs: tuple[str, ...],
    run_ids: tuple[str, ...],
    run_dirs: tuple[str, ...],
    base_dir: str | None,
    state: str,
    timeout: float | None,
) -> Reply:
    """Wait until each RUN waits for an answer, or has ended.

    The exit code is that of its state, as `cpf status` has it: 0 for a run that still runs when the time is
    up. Of several runs it is that of the first that did not complete.
    """
    found = [find_run(run, None, base_dir) for run in (*runs, *run_ids)]
    found += [find_run(None, str(Path(place)), None) for place in run_dirs]
    if not found:
        raise UsageError(problem="name the runs to wait for")
    deadline = None if timeout is None else time.monotonic() + timeout
    states = [wait_for(directory, state, deadline) for directory in found]
    if len(found) == 1:
        run, directory = states[0], found[0]
        return wrap_run("wait", run, directory)
    rows = [{"run_id": run.run_id, "status": run.status} for run in states]
    code = next((EXIT_CODES[run.status] for run in states if EXIT_CODES[run.status]), 0)
    return wrap_result("wait", {"runs": rows}, exit_code=code)


def wait_for(directory: RunDirectory, state: str, deadline: float | None) -> Run:
    """The run once it is in *state* (waiting: or ended), or as it is at the *deadline*.

    Or once nobody works on it; one that was begun in the background has a moment to be taken up.
    """
    seen_held = time.monotonic()
    while True:
        moment = time.monotonic()
        if directory.seems_held():  # asked first: whoever lets go of it has written where it stands
            seen_held = moment
        run = directory.load()
        is_there = run.outcome is not None or (run.status == "waiting" and state == "waiting")
        is_left = run.status == "running" and moment - seen_held > LEFT_SECONDS
        if is_there or is_left or (deadline is not None and moment >= deadline):
            return run
        time.sleep(POLL_SECONDS)
