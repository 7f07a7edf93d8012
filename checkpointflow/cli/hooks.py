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
import stat
from pathlib import Path

import msgspec
from msgspec import Struct

from checkpointflow.cli.operators import run_command
from checkpointflow.documents.yaml import parse
from checkpointflow.errors import UsageError
from checkpointflow.store.files import describe_sharing, open_safely, read_all
from checkpointflow.store.layout import CONFIG
from checkpointflow.store.locks import make_mark

MAX_SECONDS = 60.0


class Notify(Struct, frozen=True, forbid_unknown_fields=True):
    """A shell command for each state that a run may come to rest in."""

    waiting: str | None = None
    failed: str | None = None
    completed: str | None = None
    cancelled: str | None = None


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """What the operator of a store has set."""

    notify: Notify | None = None


def read_config(base: Path) -> Config:
    """The settings of the store at *base*, which has a file of them.

    Raises UsageError for a file that is wrong, or that others may write into.
    """
    file = base / CONFIG
    try:
        with open_safely(file) as fd:
            status = os.fstat(fd)
            is_ours = status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            if not is_ours or describe_sharing(base):
                raise UsageError(problem=f"{file} is not read: others may write into it; see: chmod go-w")
            data = read_all(fd)
    except OSError as error:
        raise UsageError(problem=f"{file} cannot be read ({error.strerror})") from None
    if all(not line.strip() or line.lstrip().startswith(b"#") for line in data.splitlines()):
        return Config()
    source = parse(data, str(file))
    if source.problems:
        raise UsageError(problem=str(source.problems[0]))
    try:
        return msgspec.convert(source.value, Config)
    except msgspec.ValidationError as error:
        raise UsageError(problem=f"{file}: {error}") from None


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
