"""`cpf plan`: what a run would come to, before it does."""

from __future__ import annotations

import os
from typing import Any

import click
from msgspec import to_builtins

from checkpointflow.cli.completing import complete, complete_file, complete_flow
from checkpointflow.cli.envelope import Reply, wrap_result, wrap_run
from checkpointflow.cli.following import Next
from checkpointflow.cli.given import given_options, read_given
from checkpointflow.cli.location import find_run, find_store, join_line
from checkpointflow.cli.options import base_dir_option
from checkpointflow.cli.run import read_named
from checkpointflow.drivers.sources import read_own_copies
from checkpointflow.errors import InvalidInput, UsageError
from checkpointflow.explore.plan import plan, plan_on


@click.command()
@click.argument("workflow", required=False, metavar="[FILE|ID]", shell_complete=complete_flow)
@click.option(
    "--file", "-f", metavar="FILE", shell_complete=complete_file, help="The workflow; - is standard input."
)
@given_options("Its inputs")
@click.option(
    "--run-id",
    metavar="ID",
    help="In place of a workflow, a run: what is ahead of it.",
    shell_complete=complete("list_run_ids"),
)
@click.option("--run-dir", metavar="DIR", help="The run in this directory, wherever it lies.")
@base_dir_option
def command(
    workflow: str | None,
    file: str | None,
    given: str | None,
    settings: tuple[str, ...],
    run_id: str | None,
    run_dir: str | None,
    base_dir: str | None,
) -> Reply:
    """Say what `cpf run` would do with these inputs, as far as it can be known before; nothing is run.

    What only a step can tell reads ‹build.outputs.version›, and where it decides, both ways are told.
    """
    if run_id is None and run_dir is None:
        return _plan_workflow(workflow, file, given, settings, base_dir)
    if (workflow, file, given, settings) != (None, None, None, ()):
        raise UsageError(problem="name a workflow and its inputs, or a run, which has both")
    directory = find_run(run_id, run_dir, base_dir)
    run = directory.load()
    found = None if run.outcome is not None else plan_on(read_own_copies(directory, run.workflow), run)
    return wrap_run("plan", run, directory, exit_code=0, result=to_builtins(found))


def _plan_workflow(
    workflow: str | None, file: str | None, given: str | None, settings: tuple[str, ...], base_dir: str | None
) -> Reply:
    checked = read_named(find_store(base_dir), workflow, file, to_run=False)
    document = checked.document.workflow
    inputs = read_given(given, settings, document.inputs, InvalidInput)
    found = plan(checked.document.program, inputs, os.environ)
    more: dict[str, Any] = {"workflow_id": document.id, "workflow_name": document.name}
    if "-" not in (workflow, file, given):
        options = [("--file", file), ("--input", given), *(("--set", one) for one in settings)]
        words = [
            word for name, value in (*options, ("--base-dir", base_dir)) if value for word in (name, value)
        ]
        argv = ("cpf", "run", *([workflow] if workflow else []), *words)
        more["next"] = (Next(argv=argv, command=join_line(argv), why="do it"),)
    return wrap_result("plan", to_builtins(found), **more)
