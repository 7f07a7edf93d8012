"""`cpf import`: a run that somebody hands over."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO

import click
from msgspec.structs import replace

from checkpointflow.cli.envelope import Envelope, wrap_run
from checkpointflow.cli.location import find_store
from checkpointflow.cli.options import base_dir_option, lock_option
from checkpointflow.errors import FileMissing
from checkpointflow.store.archive import import_run

TOLD = {
    "fast_forwarded": "the run was here already, and went forward to the state in the archive",
    "unchanged": "nothing to do: the run here is in that state, or has gone on from it",
}


@click.command("import")
@click.argument("file")
@base_dir_option
@click.option("--as-new", is_flag=True, help="Add it as a run of its own, under a new id.")
@lock_option()
def command(file: str, base_dir: str | None, as_new: bool, lock_timeout: float) -> Envelope:
    """Take in a run that `cpf export` wrote; FILE may be - for standard input.

    A run that is not here is added; one that is here goes forward, unless it has gone on here as well.
    """
    store = find_store(base_dir)
    if file == "-":
        imported = import_run(
            store, sys.stdin.buffer, "standard input", as_new=as_new, lock_timeout=lock_timeout
        )
    else:
        with _open(Path(file)) as source:
            imported = import_run(store, source, file, as_new=as_new, lock_timeout=lock_timeout)
    warnings = (TOLD[imported.outcome],) if imported.outcome in TOLD else ()
    envelope = wrap_run("import", imported.run, imported.directory, exit_code=0, warnings=warnings)
    return replace(envelope, result={"outcome": imported.outcome, "new_facts": imported.facts})


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
