"""`cpf diff`: two runs, or two checkpoints of one, side by side."""

from __future__ import annotations

from pathlib import Path

import click
from msgspec import to_builtins

from checkpointflow.cli.envelope import Reply, wrap_result
from checkpointflow.cli.location import allows_shared, find_store
from checkpointflow.cli.options import base_dir_option
from checkpointflow.store.comparison import Side, compare, load_side
from checkpointflow.store.directory import RunDirectory


@click.command()
@click.argument("run_a")
@click.argument("run_b")
@base_dir_option
def command(run_a: str, run_b: str, base_dir: str | None) -> Reply:
    """Show what differs between two runs: document, inputs, path taken, outcomes of steps, result, timing.

    A run is named by its id or its first 4 or more characters, or by its directory (with a / in it);
    ID@CHECKPOINT is the run as it was at that checkpoint.
    """
    a, b = (_find_side(text, base_dir) for text in (run_a, run_b))
    return wrap_result("diff", to_builtins(compare(a, b)))


def _find_side(text: str, base_dir: str | None) -> Side:
    at = text.find("@", 1)  # not that of @latest
    name, checkpoint = (text, "") if at < 0 else (text[:at], text[at + 1 :])
    if "/" in text:
        name, _, checkpoint = text.rpartition("@") if "@" in text.rpartition("/")[2] else (text, "", "")
        directory = RunDirectory.at(Path(name), allow_shared=allows_shared())
    else:
        directory = find_store(base_dir).find(name)
    return load_side(directory, checkpoint or None)
