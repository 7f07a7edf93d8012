"""`cpf import`: a run that somebody hands over."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import click

from checkpointflow.cli.envelope import Reply, wrap_run
from checkpointflow.cli.location import find_store
from checkpointflow.cli.options import base_dir_option, lock_option
from checkpointflow.cli.standing import find_next, warnings_about
from checkpointflow.documents.model import AnyStep, Api, Cli
from checkpointflow.engine.run import Run
from checkpointflow.errors import FileMissing
from checkpointflow.store.archive import MAX_BYTES, MAX_EXPANSION, import_run
from checkpointflow.store.directory import RunDirectory

MAX_COMMAND = 500

TOLD = {
    "fast_forwarded": "the run was here already, and went forward to the state in the archive",
    "unchanged": "nothing to do: the run here is in that state, or has gone on from it",
}


@click.command("import")
@click.argument("file")
@base_dir_option
@click.option("--as-new", is_flag=True, help="Add it as a run of its own, under a new id.")
@click.option(
    "--max-bytes",
    type=click.IntRange(0),
    metavar="N",
    help=f"What it may become here (default {MAX_BYTES}, or {MAX_EXPANSION} times its own size).",
)
@lock_option()
def command(
    file: str, base_dir: str | None, as_new: bool, max_bytes: int | None, lock_timeout: float
) -> Reply:
    """Take in a run that `cpf export` wrote; FILE may be - for standard input.

    A run that is not here is added; one that is here goes forward, unless it has gone on here as well.
    """
    store = find_store(base_dir)
    name = "standard input" if file == "-" else file
    with nullcontext(sys.stdin.buffer) if file == "-" else _open(Path(file)) as source:
        imported = import_run(
            store, source, name, as_new=as_new, lock_timeout=lock_timeout, max_bytes=max_bytes
        )
    run, directory = imported.run, imported.directory
    told = (TOLD[imported.outcome],) if imported.outcome in TOLD else ()
    warnings = (*told, *warnings_about(run, directory))
    result = {"outcome": imported.outcome, "new_facts": imported.facts, **_describe(run, directory)}
    return wrap_run("import", run, directory, exit_code=0, warnings=warnings, result=result)


def _describe(run: Run, directory: RunDirectory) -> dict[str, Any]:
    """Where its commands will run, who started it, and what it may do next: for whoever is to trust it."""
    found = {"runs_in": run.cwd, "made_by": directory.read_beginning().by, "next": _list_next(run, directory)}
    return {name: value for name, value in found.items() if value is not None}


def _list_next(run: Run, directory: RunDirectory) -> list[dict[str, str]]:
    return [
        {"step": path, "kind": str(step.__struct_config__.tag), **_describe_deed(step)}
        for path, step in find_next(run, directory).items()
    ]


def _describe_deed(step: AnyStep) -> dict[str, str]:
    match step:
        case Cli(command=str(command)):
            return {"command": command[:MAX_COMMAND]}
        case Cli(command=commands):
            return {"command": " && ".join(commands)[:MAX_COMMAND]}
        case Api(method=method, url=url):
            return {"call": f"{method} {url}"[:MAX_COMMAND]}
        case _:
            return {}


def _open(file: Path) -> BinaryIO:
    """The archive *file*, to read from. Raises FileMissing."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # opening a FIFO must not wait for its writer
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise FileMissing(file=file, problem=f"it cannot be opened ({why})") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        problem = "it is not a regular file; to import from a pipe, use `cpf import -`"
        raise FileMissing(file=file, problem=problem)
    return os.fdopen(fd, "rb")
