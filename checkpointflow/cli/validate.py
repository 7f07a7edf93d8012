"""`cpf validate`: every mistake of a workflow at once, before anything runs."""

from __future__ import annotations

from pathlib import Path

import click

from checkpointflow.cli.envelope import Envelope, of_result
from checkpointflow.drivers.documents import load_checked


@click.command()
@click.option("--file", "-f", required=True, metavar="FILE", help="The workflow.")
def command(file: str) -> Envelope:
    """Check a workflow, and say what is wrong with it and where."""
    checked = load_checked(Path(file))
    workflow = checked.program.workflow
    result = {
        "workflow_id": workflow.id,
        "steps": [step.id for step in workflow.steps],
        "inputs": workflow.inputs,
        "warnings": [warning.as_detail() for warning in checked.warnings],
    }
    return of_result("validate", result, warnings=tuple(map(str, checked.warnings)))
