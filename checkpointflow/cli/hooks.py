"""What the operator of a store wants done when a run comes to rest: `notify` in the store's `config.yaml`.

    notify:
      waiting: mail-the-team
      failed: curl -sS --json @- https://chat.example/hook
      completed: logger -t cpf

A command runs in the shell, with the envelope on its standard input and, at most, a minute of time. It is
nothing of the run's: it comes after the commit, and what goes wrong with it is a warning. When its time
is up it is ended like a step, with all that it has started. No document and no archive can name one, and a
file that others may write into is not read.
"""

from __future__ import annotations

import os
from pathlib import Path

from checkpointflow.cli.config import read_config
from checkpointflow.cli.operators import run_command
from checkpointflow.errors import UsageError
from checkpointflow.store.layout import CONFIG
from checkpointflow.store.locks import make_mark

MAX_SECONDS = 60.0


def notify(base: Path, status: str, envelope: bytes) -> tuple[str, ...]:
    """Run the command that is set for *status*, if there is one; warnings of what went wrong."""
    try:
        command = getattr(read_config(base).notify, status, None)
    except UsageError as error:
        return (str(error),)
    if not command:
        return ()
    mark = make_mark(str(base), f"notify.{status}", os.getpid())
    problem = run_command(command, envelope, mark, MAX_SECONDS).problem
    return () if problem is None else (f"notify.{status} of {base / CONFIG} {problem}",)
