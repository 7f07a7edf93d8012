"""`cpf validate`: every mistake of a workflow at once, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from checkpointflow.cli.completing import complete_file
from checkpointflow.cli.envelope import Reply, wrap_result
from checkpointflow.cli.location import find_store
from checkpointflow.drivers.sources import NO_CACHE, read_bytes, read_workflow
from checkpointflow.errors import UsageError, WarningsFound
from checkpointflow.store.cache import Cache


@click.command()
@click.argument("workflow", required=False, metavar="[FILE]", shell_complete=complete_file)
@click.option(
    "--file", "-f", metavar="FILE", shell_complete=complete_file, help="The workflow; - is standard input."
)
@click.option("--strict", is_flag=True, help="Refuse a workflow with warnings, too.")
@click.option(
    "--explore", "explores", is_flag=True, help="Walk all its ways, too, as `cpf explore` does, for 60 s."
)
def command(workflow: str | None, file: str | None, strict: bool, explores: bool) -> Reply:
    """Check a workflow, and say what is wrong with it and where."""
    if (workflow is None) == (file is None):
        raise UsageError(problem="name the workflow: its FILE, or - for standard input")
    if "-" in (file, workflow):
        from checkpointflow.store.files import read_stdin

        checked = read_bytes(read_stdin())
    else:
        checked = read_workflow(Path(file or str(workflow)), cache=_find_cache())
    doubts = tuple(checked.warnings)
    if strict and doubts:
        details = [doubt.as_detail() for doubt in doubts]
        raise WarningsFound(first=doubts[0], count=len(doubts), details=details)
    document = checked.document.workflow
    exit_code, more = 0, dict[str, Any]()
    if explores:
        from checkpointflow.cli.explore import explore_in_time

        more["explored"], exit_code = explore_in_time(checked, checked.program, 60)
    result = {
        **more,
        "workflow_id": document.id,
        "steps": [step.id for step in document.steps],
        "inputs": document.inputs,
    }
    return wrap_result(
        "validate",
        result,
        doubts=doubts,
        exit_code=exit_code,
        workflow_id=document.id,
        workflow_name=document.name,
        workflow_description=document.description,
        workflow_version=None if document.version is None else str(document.version),
    )


def _find_cache() -> Cache:
    """That of the store where a run would lie, if there can be one."""
    try:
        return Cache(find_store(None).base)
    except UsageError:
        return NO_CACHE
