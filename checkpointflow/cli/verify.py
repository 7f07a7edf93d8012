"""`cpf verify`: whether a run on disk is what it says it is."""

from __future__ import annotations

import click

from checkpointflow.cli.envelope import Reply, wrap_run
from checkpointflow.cli.options import run_options
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.verify import require_sound


@click.command()
@run_options()
def command(directory: RunDirectory) -> Reply:
    """Check a run: the chain of its history, the snapshot, and every digest."""
    found = require_sound(directory)
    warnings = tuple(found.warnings)
    result = {"facts": found.facts, "files_checked": found.checked, "files_unchecked": found.unchecked}
    return wrap_run("verify", directory.load(), directory, exit_code=0, warnings=warnings, result=result)
