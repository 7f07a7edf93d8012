"""`cpf watch`: a run as it goes on, drawn again and again."""

from __future__ import annotations

import sys
import time

import click

from checkpointflow.cli.envelope import Reply, wrap_run
from checkpointflow.cli.options import run_options
from checkpointflow.cli.output import is_agent
from checkpointflow.cli.screen import Screen, find_screen
from checkpointflow.cli.text import show
from checkpointflow.cli.wait import wait_for
from checkpointflow.store.directory import RunDirectory

POLL_SECONDS = 0.5


@click.command()
@run_options()
@click.option("--exit-status", is_flag=True, help="End with the exit code of the run's state, not with 0.")
def command(directory: RunDirectory, exit_status: bool) -> Reply:
    """Look on until a run waits, or has ended, or nobody works on it any more.

    On a terminal it is drawn anew as it goes on; elsewhere its state is told in the end.
    """
    if sys.stdout.isatty() and not is_agent():
        _draw(directory, find_screen())
    run = wait_for(directory, "waiting", None)
    return wrap_run("watch", run, directory, exit_code=None if exit_status else 0)


def _draw(directory: RunDirectory, screen: Screen) -> None:
    """Draw it until it rests, and take the drawing away again: the answer of the command follows."""
    drawn = 0
    while True:
        is_held = directory.seems_held()
        run = directory.load()
        _erase(drawn)
        if run.status != "running" or not is_held:
            return
        text = show(wrap_run("watch", run, directory), screen)
        sys.stdout.write(text)
        sys.stdout.flush()
        drawn = sum(1 + max(0, len(line) - 1) // screen.width for line in text.splitlines())
        time.sleep(POLL_SECONDS)


def _erase(lines: int) -> None:
    if lines:
        sys.stdout.write(f"\x1b[{lines}A\x1b[J")
