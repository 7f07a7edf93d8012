"""`cpf run`: start a run, to its end or to the next wait."""

from __future__ import annotations

from pathlib import Path

import click

from checkpointflow.cli.envelope import Envelope, of_run
from checkpointflow.cli.location import store_at
from checkpointflow.cli.options import base_dir_option, json_input
from checkpointflow.cli.progress import teller
from checkpointflow.driver import local
from checkpointflow.driver.documents import read_checked
from checkpointflow.errors import InvalidInput


@click.command()
@click.option("--file", "-f", required=True, metavar="FILE", help="The workflow.")
@click.option("--input", "given", default="{}", metavar="JSON", help="Its inputs: JSON, @file or - (stdin).")
@base_dir_option
def command(file: str, given: str, base_dir: str | None) -> Envelope:
    """Start a run, and follow it to its end or to the next wait (exit code 40)."""
    inputs = json_input(given, InvalidInput)
    checked = read_checked(Path(file), to_run=True)
    directory, run = local.begin(
        store_at(base_dir),
        checked,
        source=Path(file).absolute(),
        inputs=inputs,
        told=teller(),
    )
    warnings = tuple(map(str, checked.warnings))
    return of_run("run", run, directory, warnings=warnings)
