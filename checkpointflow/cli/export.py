"""`cpf export`: a run as one file."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import click

from checkpointflow.cli.envelope import Reply, wrap_run
from checkpointflow.cli.following import Next
from checkpointflow.cli.location import join_line
from checkpointflow.cli.options import lock_option, run_options
from checkpointflow.drivers.secrets import find_secrets
from checkpointflow.drivers.sources import read_own_copies
from checkpointflow.errors import FileAlreadyThere, UsageError
from checkpointflow.store.archive import export_run
from checkpointflow.store.clock import name_user, now
from checkpointflow.store.directory import Note, RunDirectory
from checkpointflow.store.files import create_anew, file_digest, sync_directory, sync_file, translate_errors

MAX_NOTE = 4000


@click.command()
@run_options()
@click.option(
    "-o", "--output", metavar="FILE", help="Where to write it (default RUN-ID.tar.gz); - is stdout."
)
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@click.option(
    "--note",
    metavar="TEXT",
    help="What to say to whoever takes it over: `cpf import` and then `cpf status` show it.",
)
@lock_option()
def command(
    directory: RunDirectory,
    output: str | None,
    force: bool,
    note: str | None,
    lock_timeout: float,
) -> Reply | None:
    """Write a run, with everything that it needs, into one .tar.gz; `cpf import` takes it in.

    With `-o -` the archive itself goes to standard output, and no envelope.
    """
    signed = None if note is None else _sign(note, directory)
    if output == "-":
        if sys.stdout.isatty():
            raise UsageError(
                problem="an archive is nothing for a terminal; redirect it, or name a file with -o"
            )
        export_run(directory, sys.stdout.buffer, lock_timeout, signed)
        return None
    run = directory.load()
    file = Path(output or f"{run.run_id}.tar.gz")
    if not force and os.path.lexists(file):
        raise FileAlreadyThere(file=file)
    warnings = _write(directory, file, lock_timeout, signed)
    size, digest = file_digest(file)
    result = {"file": str(file), "bytes": size, "sha256": digest}
    run = directory.load()
    take_in = ("cpf", "import", str(file))
    line = Next(argv=take_in, command=join_line(take_in), why="take it in, in another store")
    return wrap_run(
        "export", run, directory, exit_code=0, warnings=tuple(warnings), result=result, next=(line,)
    )


def _sign(text: str, directory: RunDirectory) -> Note:
    """The note of whoever runs this, without secrets of the run's document. Raises UsageError."""
    text = text.strip()
    if not text or len(text) > MAX_NOTE:
        raise UsageError(problem=f"--note takes 1 to {MAX_NOTE:,} characters, and was given {len(text):,}")
    program = read_own_copies(directory, directory.load().workflow)
    return Note(text=find_secrets(program).mask_text(text), by=name_user(), at=now())


def _open_beside(file: Path) -> tuple[int, bool]:
    """A descriptor to write by, and whether it is of *file* already.

    Where the system knows files without names, nothing is left of one whose writer is killed.
    """
    if os.path.exists("/proc/self/fd"):
        with suppress(AttributeError, OSError):
            return os.open(file.parent, os.O_WRONLY | os.O_TMPFILE, 0o600), False
    return create_anew(file), True


def _write(directory: RunDirectory, file: Path, lock_timeout: float, note: Note | None) -> list[str]:
    """Write the archive to *file*, whole or not at all; returns once it would survive a power cut."""
    beside = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    with translate_errors(file):
        fd, is_named = _open_beside(beside)
        try:
            with os.fdopen(fd, "wb") as out:
                left_out = export_run(directory, out, lock_timeout, note)
                out.flush()
                sync_file(fd)
                if not is_named:
                    os.link(f"/proc/self/fd/{fd}", beside, src_dir_fd=fd)
            os.replace(beside, file)
            sync_directory(file.parent)
        finally:
            beside.unlink(missing_ok=True)
    return left_out
