"""`cpf explore`: every way that a workflow can go, before it costs anything."""

from __future__ import annotations

import sys
import time
from typing import Any

import click
from msgspec import UNSET, to_builtins
from msgspec.structs import replace

from checkpointflow.cli.completing import complete_file, complete_flow
from checkpointflow.cli.durations import parse_span
from checkpointflow.cli.envelope import Reply, wrap_result
from checkpointflow.cli.given import given_options, read_given
from checkpointflow.cli.location import find_store
from checkpointflow.cli.options import base_dir_option
from checkpointflow.cli.run import read_named
from checkpointflow.diagnostics import Diagnostic
from checkpointflow.documents.model import Invariant
from checkpointflow.documents.program import Program
from checkpointflow.drivers.sources import CheckedWorkflow
from checkpointflow.errors import ExpressionError, InvalidInput, UsageError
from checkpointflow.explore.findings import Finding
from checkpointflow.explore.verdict import explore


@click.command()
@click.argument("workflow", required=False, metavar="[FILE|ID]", shell_complete=complete_flow)
@click.option(
    "--file", "-f", metavar="FILE", shell_complete=complete_file, help="The workflow; - is standard input."
)
@given_options("Its inputs, in place of all that fit")
@click.option(
    "--never",
    multiple=True,
    metavar="RULE",
    help="Prove that STEP, or 'STEP unless CONDITION', is never begun.",
)
@click.option(
    "--always", multiple=True, metavar="RULE", help="Prove that STEP is always done, or 'STEP before STEP'."
)
@click.option("--at-most-once", multiple=True, metavar="STEP", help="Prove that STEP is tried at most once.")
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
    never: tuple[str, ...],
    always: tuple[str, ...],
    at_most_once: tuple[str, ...],
    crash: bool,
    time_limit: str,
    fixture: bool,
    base_dir: str | None,
) -> Reply | int:
    """Walk every way that a workflow can go, with values made up; nothing is run (exit code 10: mistakes)."""
    checked = read_named(find_store(base_dir), workflow, file, to_run=False)
    schema = checked.program.workflow.inputs
    inputs = UNSET if given is None and not settings else read_given(given, settings, schema, InvalidInput)
    said = {"never": never, "always": always, "at_most_once": at_most_once}
    rules = [_read_rule(word, text) for word, texts in said.items() for text in texts]
    program = _add_rules(checked.program, rules) if rules else checked.program
    found, exit_code = explore_in_time(checked, program, parse_span(time_limit), given=inputs, crash=crash)
    if fixture:
        from checkpointflow.rehearse.ways import write_ways  # late: few ask for tests

        sys.stdout.write(write_ways(program, found, None if checked.source is None else checked.source.name))
        return exit_code
    name = program.workflow.name
    return wrap_result(
        "explore", found, exit_code=exit_code, workflow_id=program.workflow.id, workflow_name=name
    )


def explore_in_time(
    checked: CheckedWorkflow, program: Program, seconds: float, **more: Any
) -> tuple[dict[str, Any], int]:
    """What is found in at most so many seconds, as data, and the exit code: 10 if there are mistakes.

    *program* is that of *checked*, or has more invariants.
    """
    end = time.monotonic() + seconds
    found = explore(program, is_over=lambda: time.monotonic() > end, **more)
    told = to_builtins(found)
    told["findings"] = [_tell(finding, checked) for finding in found.findings]
    is_wrong = any(finding.severity == "mistake" for finding in found.findings)
    return told, 10 if is_wrong else 0


def _tell(finding: Finding, checked: CheckedWorkflow) -> dict[str, Any]:
    """*finding* with its line, as a diagnostic has it; its way comes last."""
    told = to_builtins(finding)
    place = checked.locate(Diagnostic("", finding.at), finding.document).as_detail()
    way = {"way": told.pop("way")} if "way" in told else {}
    told = {name: value for name, value in told.items() if name not in ("at", "document")}
    return {**told, **{name: place[name] for name in ("path", "line", "column", "file")}, **way}


_JOINTS = {"never": "unless", "always": "before"}


def _read_rule(word: str, text: str) -> Invariant:
    """The invariant that an option says, in the words that a document has for it."""
    joint = _JOINTS.get(word, "\n")
    step, is_more, rest = text.partition(f" {joint} ")
    return Invariant(**{word: step.strip()}, **({joint: rest.strip()} if is_more else {}))


def _add_rules(program: Program, rules: list[Invariant]) -> Program:
    """*program* with *rules* as more of its invariants. Raises UsageError."""
    from checkpointflow.documents.checker import check_invariants  # late: it brings YAML

    whole = replace(program.workflow, invariants=(*program.workflow.invariants, *rules))
    changed = Program(whole, program.called, program.env_file)
    for wrong in check_invariants(changed):
        raise UsageError(problem=f"{wrong.message}{f' ({wrong.hint})' if wrong.hint else ''}")
    for read in changed.invariants:
        if isinstance(read, ExpressionError):
            raise UsageError(problem=f"--never: {read}")
    return changed
