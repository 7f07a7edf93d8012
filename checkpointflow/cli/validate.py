"""`cpf validate`: every mistake of a workflow at once, before anything runs."""

from __future__ import annotations

from pathlib import Path

import click

from checkpointflow.cli.envelope import Envelope, wrap_result
from checkpointflow.cli.location import find_store
from checkpointflow.drivers.sources import NO_CACHE, read_workflow
from checkpointflow.errors import UsageError
from checkpointflow.store.cache import Cache


@click.command()
@click.option("--file", "-f", required=True, metavar="FILE", help="The workflow.")
def command(file: str) -> Envelope:
    """Check a workflow, and say what is wrong with it and where."""
    checked = read_workflow(Path(file), cache=_find_cache())
    workflow = checked.document.workflow
    result = {
        "workflow_id": workflow.id,
        "steps": [step.id for step in workflow.steps],
        "inputs": workflow.inputs,
        "warnings": [warning.as_detail() for warning in checked.warnings],
    }
    return wrap_result("validate", result, warnings=tuple(map(str, checked.warnings)))


def _find_cache() -> Cache:
    """That of the store where a run would lie, if there can be one."""
    try:
        return Cache(find_store(None).base)
    except UsageError:
        return NO_CACHE
