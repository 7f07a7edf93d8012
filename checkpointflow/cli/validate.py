"""`cpf validate`: every mistake of a workflow at once, before anything runs."""

from __future__ import annotations

from pathlib import Path

import click

from checkpointflow.cli.envelope import Envelope, wrap_result
from checkpointflow.drivers.sources import read_workflow


@click.command()
@click.option("--file", "-f", required=True, metavar="FILE", help="The workflow.")
def command(file: str) -> Envelope:
    """Check a workflow, and say what is wrong with it and where."""
    checked = read_workflow(Path(file))
    workflow = checked.program.workflow
    result = {
        "workflow_id": workflow.id,
        "steps": [step.id for step in workflow.steps],
        "inputs": workflow.inputs,
        "warnings": [warning.as_detail() for warning in checked.warnings],
    }
    return wrap_result("validate", result, warnings=tuple(map(str, checked.warnings)))
