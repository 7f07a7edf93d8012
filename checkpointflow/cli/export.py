"""`cpf export`: a run as one file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from msgspec.structs import replace

from checkpointflow.cli.envelope import Envelope, wrap_run
from checkpointflow.cli.location import find_run
from checkpointflow.cli.options import lock_option, run_options
from checkpointflow.errors import FileAlreadyThere, UsageError
from checkpointflow.store.archive import export_run
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import file_digest, translate_errors


@click.command()
@run_options
@click.option(
    "-o", "--output", metavar="FILE", help="Where to write it (default RUN-ID.tar.gz); - is stdout."
)
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@lock_option()
def command(
    run_id: str | None,
    run_dir: str | None,
    base_dir: str | None,
    output: str | None,
    force: bool,
    lock_timeout: float,
) -> Envelope | None:
    """Write a run, with everything that it needs, into one .tar.gz; `cpf import` takes it in.

    With `-o -` the archive itself goes to standard output, and no envelope.
    """
    directory = find_run(run_id, run_dir, base_dir)
    if output == "-":
        if sys.stdout.isatty():
            raise UsageError(
                problem="an archive is nothing for a terminal; redirect it, or name a file with -o"
            )
        export_run(directory, sys.stdout.buffer, lock_timeout)
        return None
    run = directory.load()
    file = Path(output or f"{run.run_id}.tar.gz")
    if not force and os.path.lexists(file):
        raise FileAlreadyThere(file=file)
    warnings = _write(directory, file, lock_timeout)
    size, digest = file_digest(file)
    envelope = wrap_run("export", directory.load(), directory, exit_code=0, warnings=tuple(warnings))
    return replace(envelope, result={"file": str(file), "bytes": size, "sha256": digest})


def _write(directory: RunDirectory, file: Path, lock_timeout: float) -> list[str]:
    """Write the archive to *file*, whole or not at all."""
    beside = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    with translate_errors(file):
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(fd, "wb") as out:
                left_out = export_run(directory, out, lock_timeout)
                out.flush()
                os.fsync(out.fileno())
            os.replace(beside, file)
        finally:
            beside.unlink(missing_ok=True)
    return left_out
