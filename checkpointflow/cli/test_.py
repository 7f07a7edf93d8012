"""`cpf test`: what a workflow does, without doing it, against what its tests say."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from msgspec import Struct, to_builtins

from checkpointflow.cli.completing import complete_file
from checkpointflow.cli.envelope import Reply, wrap_result
from checkpointflow.cli.validate import find_cache
from checkpointflow.diagnostics import Diagnostic
from checkpointflow.documents.program import Program
from checkpointflow.documents.yaml import Source
from checkpointflow.drivers.catalog import DIRECTORY, TESTS
from checkpointflow.drivers.sources import read_workflow
from checkpointflow.errors import FileMissing, InvalidWorkflow, UsageError
from checkpointflow.rehearse.coverage import Counter
from checkpointflow.rehearse.fixtures import Case, Fixture
from checkpointflow.rehearse.junit import Suite, write_junit
from checkpointflow.rehearse.reading import check_fixture, decode_fixture
from checkpointflow.rehearse.rehearsal import Perform, Rehearsal, refuse_real, rehearse
from checkpointflow.rehearse.verdict import Verdict, judge
from checkpointflow.store.cache import Cache
from checkpointflow.store.files import read_file, translate_errors
from checkpointflow.store.layout import RUNS

SKIPPED = (".git", ".venv", "node_modules", "__pycache__")


class TestFile(Struct, frozen=True):
    """A file of tests, where its parts stand, and what it tests."""

    file: str
    fixture: Fixture
    source: Source
    workflow: str
    program: Program


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...", shell_complete=complete_file)
@click.option("-k", "part", metavar="TEXT", default="", help="Only the tests with TEXT in their names.")
@click.option("--junit", metavar="FILE", help="Write the outcomes as JUnit XML, too.")
@click.option(
    "--min-coverage",
    metavar="PERCENT",
    type=click.FloatRange(0, 100),
    help="Fail if fewer steps, arms and answers of a workflow are come to.",
)
def command(paths: tuple[str, ...], part: str, junit: str | None, min_coverage: float | None) -> Reply:
    """Run the tests in files NAME.test.yaml, of the workflow NAME.yaml beside each.

    PATH is such a file, a workflow, or a directory with all below it (default: this one). Nothing is started
    but steps that a test calls `real`. Exit codes: 0 all passed, 30 some failed, 10 a test is wrong.
    """
    files = list(_find_files(paths or (".",)))
    if not files:
        raise UsageError(
            problem=f"there are no tests in {', '.join(paths or ('this directory',))}: no file *{TESTS}"
        )
    all_tests = _read_all(files, find_cache())
    counters: dict[str, Counter] = {}
    suites = []
    for tests in all_tests:
        counter = counters.setdefault(tests.workflow, Counter(tests.program))
        suites.append(Suite(tests.file, tuple(_run(tests, part, counter))))
    if junit is not None:
        with translate_errors(junit):
            Path(junit).write_text(write_junit(suites), encoding="utf-8")
    result = _sum_up(all_tests, suites, counters, min_coverage)
    return wrap_result("test", result, exit_code=_find_code(result))


def _find_files(paths: Iterable[str]) -> Iterator[str]:
    """The files with tests that *paths* mean, each once. Raises FileMissing."""
    found: dict[str, None] = {}
    for path in paths:
        if os.path.isdir(path):
            found |= dict.fromkeys(_walk(path))
            continue
        file = path if path.endswith(TESTS) else f"{os.path.splitext(path)[0]}{TESTS}"
        if not os.path.isfile(file):
            raise FileMissing(file=file, problem="there is no such file")
        found[file] = None
    yield from found


def _walk(directory: str) -> Iterator[str]:
    for above, below, names in os.walk(directory):
        is_store = os.path.basename(above) == DIRECTORY
        below[:] = sorted(name for name in below if name not in SKIPPED and not (is_store and name == RUNS))
        for name in sorted(names):
            if name.endswith(TESTS):
                yield os.path.normpath(os.path.join(above, name))


def _read_all(files: list[str], cache: Cache) -> list[TestFile]:
    """All of them, or InvalidWorkflow with all that is wrong with any."""
    read, problems = list[TestFile](), list[Diagnostic]()
    for file in files:
        try:
            tests = _read(file, cache)
        except InvalidWorkflow as error:
            problems += error.problems
            continue
        problems += check_fixture(tests.fixture, tests.source, tests.program)
        read.append(tests)
    if problems:
        raise InvalidWorkflow(problems)
    return read


def _read(file: str, cache: Cache) -> TestFile:
    fixture, source = decode_fixture(read_file(Path(file)), file)
    name = fixture.workflow or os.path.basename(file).removesuffix(TESTS) + ".yaml"
    workflow = os.path.normpath(os.path.join(os.path.dirname(file), name))
    if not os.path.isfile(workflow):
        hint = "name the workflow: `workflow: FILE`, relative to this file"
        wrong = Diagnostic(f"there is no workflow {workflow}", ("workflow",), hint)
        raise InvalidWorkflow([source.locate(wrong)])
    program = read_workflow(Path(workflow), cache=cache).program
    return TestFile(file, fixture, source, workflow, program)


def _run(tests: TestFile, part: str, counter: Counter) -> Iterator[tuple[Verdict, float]]:
    for number, case in enumerate(tests.fixture.tests):
        if part not in case.name:
            continue
        start = time.monotonic()
        came = _rehearse(tests.program, case)
        counter.add(came.facts)
        verdict = judge(case, came)
        gaps = tuple(
            tests.source.locate(Diagnostic(gap.message, ("tests", number, *gap.path), gap.hint))
            for gap in verdict.gaps
        )
        yield Verdict(name=case.name, differences=verdict.differences, gaps=gaps), time.monotonic() - start


def _rehearse(program: Program, case: Case) -> Rehearsal:
    plays = (play for said in case.steps.values() for play in (said if isinstance(said, tuple) else (said,)))
    with ExitStack() as stack:
        perform: Perform = refuse_real
        if any(play.real for play in plays):
            from checkpointflow.cli.real import open_performer  # late: hardly any test starts something

            perform = stack.enter_context(open_performer(program))
        return rehearse(program, case, perform)


def _sum_up(
    all_tests: list[TestFile], suites: list[Suite], counters: dict[str, Counter], least: float | None
) -> dict[str, Any]:
    shown = [
        _show(tests, verdict, seconds)
        for tests, suite in zip(all_tests, suites, strict=True)
        for verdict, seconds in suite.verdicts
    ]
    coverage = {name: counter.sum_up() for name, counter in counters.items()}
    outcomes = [test["outcome"] for test in shown]
    return {
        **{outcome: outcomes.count(outcome) for outcome in ("passed", "failed", "wrong")},
        "tests": shown,
        "coverage": [
            {
                "workflow": name,
                "percent": one.percent,
                "missing": one.tell_missing(),
                **({} if least is None or one.percent >= least else {"least": least}),
            }
            for name, one in coverage.items()
        ],
    }


def _show(tests: TestFile, verdict: Verdict, seconds: float) -> dict[str, Any]:
    number = next(n for n, case in enumerate(tests.fixture.tests) if case.name == verdict.name)
    shown: dict[str, Any] = {
        "file": tests.file,
        "line": tests.source.find_mark(("tests", number))[0],
        "name": verdict.name,
        "outcome": verdict.outcome,
        "seconds": round(seconds, 3),
    }
    if verdict.gaps:
        shown["gaps"] = [gap.as_detail() for gap in verdict.gaps]
    elif verdict.differences:
        shown["differences"] = to_builtins(verdict.differences)
    return shown


def _find_code(result: dict[str, Any]) -> int:
    if result["wrong"]:
        return 10
    return 30 if result["failed"] or any("least" in one for one in result["coverage"]) else 0
