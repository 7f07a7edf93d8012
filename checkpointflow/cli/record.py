"""`cpf record`: a run as a test in which the same happens."""

from __future__ import annotations

import os
import sys

import click

from checkpointflow.cli.options import run_options
from checkpointflow.documents.program import Program
from checkpointflow.drivers.sources import read_own_copies
from checkpointflow.errors import InvalidWorkflow
from checkpointflow.rehearse.junit import tell
from checkpointflow.rehearse.reading import check_fixture, decode_fixture
from checkpointflow.rehearse.recording import record
from checkpointflow.rehearse.rehearsal import rehearse
from checkpointflow.rehearse.verdict import judge
from checkpointflow.rehearse.writing import write_tests
from checkpointflow.store.directory import RunDirectory


@click.command()
@run_options()
def command(directory: RunDirectory) -> int:
    """Print a run as a test for `cpf test`: cpf record RUN > NAME.test.yaml

    Secrets stand in it by their names. What changes from run to run is expected by patterns, and long texts
    are cut if it passes all the same. If it does not pass, comments tell what differs (exit code 30).
    """
    run = directory.load()
    program = read_own_copies(directory, run.workflow)
    recording = record(program, directory.facts(run))
    workflow = None if run.workflow.source is None else os.path.basename(run.workflow.source)
    text, wrong = "", ["?"]
    for cuts in (True, False):
        if wrong:
            test = recording.make_test(
                f"as in the run of {run.started_at[:10]}", str(directory.place), cuts=cuts
            )
            text = write_tests([test], workflow)
            wrong = _find_wrong(text, program)
    notes = [f"# {line}" for line in ("This test does not pass:", *wrong)] if wrong else []
    sys.stdout.write("\n".join([*notes, text]))
    return 30 if wrong else 0


def _find_wrong(text: str, program: Program) -> list[str]:
    """Why the test in *text* does not pass."""
    try:
        fixture, source = decode_fixture(text.encode())
    except InvalidWorkflow as error:
        return [str(problem) for problem in error.problems]
    found = [str(problem) for problem in check_fixture(fixture, source, program)]
    for case in fixture.tests if not found else ():
        found += tell(judge(case, rehearse(program, case)))
    return found
