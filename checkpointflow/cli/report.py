"""`cpf report`: a run as one HTML page, to be looked at and handed on."""

from __future__ import annotations

import os
from pathlib import Path

import click

from checkpointflow.cli.envelope import Reply, wrap_run
from checkpointflow.cli.options import run_options
from checkpointflow.cli.page import list_failed, write_page
from checkpointflow.cli.pictures import draw
from checkpointflow.cli.tails import read_tail
from checkpointflow.drivers.sources import read_own_copies
from checkpointflow.errors import FileAlreadyThere
from checkpointflow.store.clock import now
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import replace_file, translate_errors


@click.command()
@run_options()
@click.option("-o", "--output", metavar="FILE", help="Where to write it (default RUN-ID.html).")
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
def command(directory: RunDirectory, output: str | None, force: bool) -> Reply:
    """Write one HTML file that shows a run: steps, times, answers, errors, inputs and outputs.

    It needs nothing else, and holds what the run holds: secrets are masked there already.
    """
    run = directory.load()
    facts = list(directory.facts(run))
    groups = draw(read_own_copies(directory, run.workflow).workflow, run)
    tails = {path: read_tail(run, directory, path) for path in set(list_failed(facts))}
    page = write_page(run, facts, groups, tails, now()).encode("utf-8", "replace")
    file = Path(output or f"{run.run_id}.html")
    if not force and os.path.lexists(file):
        raise FileAlreadyThere(file=file)
    with translate_errors(file):
        replace_file(file, page)
    return wrap_run("report", run, directory, exit_code=0, result={"file": str(file), "bytes": len(page)})
