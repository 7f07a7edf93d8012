"""`cpf explore`: every way that a workflow can go, before it costs anything."""

from __future__ import annotations

import sys
import time
from typing import Any

import click
from msgspec import UNSET, to_builtins

from checkpointflow.cli.completing import complete_file, complete_flow
from checkpointflow.cli.durations import parse_span
from checkpointflow.cli.envelope import Reply, wrap_result
from checkpointflow.cli.given import given_options, read_given
from checkpointflow.cli.location import find_store
from checkpointflow.cli.options import base_dir_option
from checkpointflow.cli.run import read_named
from checkpointflow.documents.program import Program
from checkpointflow.errors import ExpressionError, InvalidInput, UsageError
from checkpointflow.explore.rules import Always, AtMostOnce, Never, Rule
from checkpointflow.explore.verdict import explore
from checkpointflow.expressions.syntax import parse_condition


@click.command()
@click.argument("workflow", required=False, metavar="[FILE|ID]", shell_complete=complete_flow)
@click.option(
    "--file", "-f", metavar="FILE", shell_complete=complete_file, help="The workflow; - is standard input."
)
@given_options("Its inputs, in place of all that fit")
@click.option(
    "--never",
    multiple=True,
    nargs=2,
    metavar="STEP UNLESS",
    help="Refute that STEP begins only if the condition UNLESS holds then.",
)
@click.option(
    "--always", multiple=True, metavar="STEP", help="Refute that STEP succeeds before a run completes."
)
@click.option("--at-most-once", multiple=True, metavar="STEP", help="Refute that STEP is tried at most once.")
@click.option(
    "--crash", is_flag=True, help="Say of each step what a kill of cpf while it is under way leads to."
)
@click.option(
    "--time-limit", metavar="SPAN", default="60s", show_default=True, help="Stop after this, and say so."
)
@click.option("--fixture", is_flag=True, help="Print the ends, and what is wrong, as tests for `cpf test`.")
@base_dir_option
def command(
    workflow: str | None,
    file: str | None,
    given: str | None,
    settings: tuple[str, ...],
    never: tuple[tuple[str, str], ...],
    always: tuple[str, ...],
    at_most_once: tuple[str, ...],
    crash: bool,
    time_limit: str,
    fixture: bool,
    base_dir: str | None,
) -> Reply | int:
    """Walk every way that a workflow can go, with values made up; nothing is run (exit code 10: mistakes)."""
    checked = read_named(find_store(base_dir), workflow, file, to_run=False)
    program = checked.document.program
    schema = program.workflow.inputs
    inputs = UNSET if given is None and not settings else read_given(given, settings, schema, InvalidInput)
    rules: list[Rule] = [Never(_find_step(program, step), _read(unless)) for step, unless in never]
    rules += [Always(_find_step(program, step)) for step in always]
    rules += [AtMostOnce(_find_step(program, step)) for step in at_most_once]
    found, exit_code = explore_in_time(
        program, parse_span(time_limit), given=inputs, rules=rules, crash=crash
    )
    if fixture:
        from checkpointflow.rehearse.ways import write_ways  # late: few ask for tests

        sys.stdout.write(write_ways(program, found, None if checked.source is None else checked.source.name))
        return exit_code
    name = program.workflow.name
    return wrap_result(
        "explore", found, exit_code=exit_code, workflow_id=program.workflow.id, workflow_name=name
    )


def explore_in_time(program: Program, seconds: float, **more: Any) -> tuple[dict[str, Any], int]:
    """What is found in at most so many seconds, as data, and the exit code: 10 if there are mistakes."""
    end = time.monotonic() + seconds
    found = explore(program, is_over=lambda: time.monotonic() > end, **more)
    is_wrong = any(finding.severity == "mistake" for finding in found.findings)
    return to_builtins(found), 10 if is_wrong else 0


def _find_step(program: Program, step: str) -> str:
    if program.find_list(step) is None:
        raise UsageError(problem=f"there is no step {step} in the workflow")
    return step


def _read(condition: str) -> Any:
    try:
        return parse_condition(condition)
    except ExpressionError as error:
        raise UsageError(problem=f"--never: {error}") from None
