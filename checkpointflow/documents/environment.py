"""The environment variables that the steps of a document read: that of whoever goes on with a run."""

from __future__ import annotations

from checkpointflow.documents.model import Cli
from checkpointflow.documents.program import Program
from checkpointflow.shells.environment import find_variables


def list_variables(program: Program) -> list[str]:
    """The variables that its commands and its secrets read, and those of all that it calls, sorted."""
    found = set[str]()
    for compiled in program.steps:
        step = compiled.step
        found |= set(compiled.secrets)
        if isinstance(step, Cli):
            command = step.command if isinstance(step.command, str) else "\n".join(step.command)
            found |= find_variables(command, compiled.shell) - step.env.keys()
    for called in program.called.values():
        found |= set(list_variables(called))
    return sorted(found)
