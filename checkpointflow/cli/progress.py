"""A line on stderr for each step, while a person looks on."""

from __future__ import annotations

import click

from checkpointflow.cli.options import is_watched
from checkpointflow.drivers.local import Observe, ignore
from checkpointflow.engine.actions import Sleep
from checkpointflow.engine.run import Run, pending


def choose_observer() -> Observe:
    """What tells of a run's progress: to a person, or to nobody."""
    return _tell if is_watched() else ignore


def _tell(run: Run) -> None:
    for action in pending(run)[:1]:
        what = f"waiting until {action.until}" if isinstance(action, Sleep) else "running"
        click.echo(f"cpf: {action.path} (attempt {action.attempt}): {what}", err=True)
