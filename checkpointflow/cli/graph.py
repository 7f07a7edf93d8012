"""`cpf graph`: a workflow, or a run of one, as a picture."""

from __future__ import annotations

import sys

import click

from checkpointflow.cli.completing import complete_file
from checkpointflow.cli.envelope import Reply
from checkpointflow.cli.location import find_store
from checkpointflow.cli.options import run_options
from checkpointflow.cli.pictures import draw, write_dot, write_mermaid, write_text
from checkpointflow.cli.run import read_named
from checkpointflow.drivers.sources import read_own_copies
from checkpointflow.errors import UsageError
from checkpointflow.store.directory import RunDirectory

WRITERS = {"mermaid": write_mermaid, "dot": write_dot, "text": write_text}


@click.command()
@run_options(optional=True, or_file=True)
@click.option(
    "--file", "-f", metavar="FILE", shell_complete=complete_file, help="A workflow, in place of a run."
)
@click.option("--format", "form", type=click.Choice(tuple(WRITERS)), default="mermaid", show_default=True)
def command(
    directory: RunDirectory | None, base_dir: str | None, file: str | None, form: str
) -> Reply | None:
    """Draw a workflow, for Mermaid, Graphviz or as text; of a RUN also how each step stands."""
    if (directory is None) == (file is None):
        raise UsageError(problem="name a run, or a workflow with -f")
    if directory is None:
        groups = draw(read_named(find_store(base_dir), None, file, to_run=False).document.workflow)
    else:
        run = directory.load()
        groups = draw(read_own_copies(directory, run.workflow).workflow, run)
    sys.stdout.write(WRITERS[form](groups, states=directory is not None))
    return None
