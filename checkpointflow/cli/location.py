"""Where runs lie, which one is meant, and how another cpf finds it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from checkpointflow.errors import UsageError
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.layout import is_run_id
from checkpointflow.store.store import Store

ALLOW_SHARED = "checkpointflow.allow_shared"
BASE_DIR_VARIABLE = "CHECKPOINTFLOW_BASE_DIR"


def find_store(base_dir: str | None) -> Store:
    """The store that is meant. Raises UsageError where there can be none."""
    named = base_dir or os.environ.get(BASE_DIR_VARIABLE)
    if named:
        return Store(Path(named).absolute(), allow_shared=allows_shared())
    default = _find_default()
    if default is None:
        problem = f"there is no home directory to store runs in; set --base-dir or {BASE_DIR_VARIABLE}"
        raise UsageError(problem=problem)
    return Store(default, allow_shared=allows_shared())


def find_run(run_id: str | None, run_dir: str | None, base_dir: str | None) -> RunDirectory:
    """The run that is meant. Raises UsageError, RunNotFound."""
    if (run_id is None) == (run_dir is None):
        raise UsageError(problem="name the run with one of --run-id and --run-dir")
    if run_dir is None:
        return find_store(base_dir).find(str(run_id))
    if base_dir is not None:
        raise UsageError(problem="--base-dir goes with --run-id; --run-dir names the run by itself")
    return RunDirectory.at(Path(run_dir), allow_shared=allows_shared())


def allows_shared() -> bool:
    """Whether the command that runs was given `--allow-shared`."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(ALLOW_SHARED))


def resume_command(directory: RunDirectory, *more: str) -> str:
    """A shell line that goes on with the run in *directory*, from any directory and environment."""
    return command_for("resume", directory, *more)


def command_for(command: str, directory: RunDirectory, *more: str) -> str:
    """A shell line that has *command* done to the run in *directory*, from any directory and environment."""
    from shlex import join  # late: it compiles a pattern

    place = directory.place
    if place.parent.name != "runs" or not is_run_id(place.name):
        where = ["--run-dir", str(place)]
    elif place.parent.parent == _find_default():
        where = ["--run-id", place.name]
    else:
        where = ["--run-id", place.name, "--base-dir", str(place.parent.parent)]
    shared = ["--allow-shared"] if allows_shared() else []
    return join(["cpf", command, *where, *shared, *more])


def _find_default() -> Path | None:
    try:
        return Path.home() / ".checkpointflow"
    except RuntimeError:
        return None
