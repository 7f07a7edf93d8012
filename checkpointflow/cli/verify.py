"""`cpf verify`: whether a run on disk is what it says it is."""

from __future__ import annotations

import click
from msgspec.structs import replace

from checkpointflow.cli.envelope import Envelope, wrap_run
from checkpointflow.cli.location import find_run
from checkpointflow.cli.options import run_options
from checkpointflow.store.verify import require_sound


@click.command()
@run_options
def command(run_id: str | None, run_dir: str | None, base_dir: str | None) -> Envelope:
    """Check a run: the chain of its history, the snapshot, and every digest."""
    directory = find_run(run_id, run_dir, base_dir)
    found = require_sound(directory)
    warnings = tuple(found.warnings)
    envelope = wrap_run("verify", directory.load(), directory, exit_code=0, warnings=warnings)
    return replace(
        envelope,
        result={"facts": found.facts, "files_checked": found.checked, "files_unchecked": found.unchecked},
    )
