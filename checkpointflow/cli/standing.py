"""What else is worth saying of a run: nothing that stops anybody, so warnings only; and what it does next."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from checkpointflow.cli.location import command_for, join_line, list_place, name_worker
from checkpointflow.cli.output import is_read_as_text, is_watched
from checkpointflow.diagnostics import join_words, shorten
from checkpointflow.engine.run import Run
from checkpointflow.errors import CheckpointflowError
from checkpointflow.patterns import compile_late
from checkpointflow.store.directory import RunDirectory

if TYPE_CHECKING:
    from checkpointflow.documents.model import AnyStep

MAX_NEXT = 20
MAX_INPUTS = 2000  # characters of JSON that a line for the shell is made with

_VALUE = compile_late(r"\$\{[^}]*[^}\w][^}]*\}")


def warnings_about(run: Run, directory: RunDirectory, *, is_placed: bool = False) -> tuple[str, ...]:
    """What a reader of *run* should know: a source that has changed, a process that is gone.

    is_placed: it is said where its commands run. Which programs are missing is told to people, and of what
    came in an archive: it takes the document.
    """
    found = list(warnings_of_change(run, directory)) if run.outcome is None else []
    is_open = run.outcome is None and not is_placed
    if is_open and directory.is_foreign:
        is_here = not directory.runs_here or (run.cwd is not None and os.path.isdir(run.cwd))
        there = f"--trust (in {run.cwd}) or --cwd DIR" if is_here else f"--cwd DIR ({run.cwd} is not here)"
        said = "whoever first goes on with it says where its commands run"
        found.append(f"the run was imported; {said}: {there}")
    elif is_open and directory.runs_here and run.cwd is not None and not os.path.isdir(run.cwd):
        found.append(f"{run.cwd}, where its commands run, is no directory here; say where with --cwd DIR")
    if run.outcome is None and directory.runs_here and (directory.is_foreign or is_read_as_text()):
        found += warnings_of_programs(run, directory)
    if run.status == "running" and not directory.seems_held():
        found.append(
            f"no process works on this run; go on with: {command_for('resume', directory)}"
            if directory.runs_here or directory.is_halted
            else f"no worker is there; the run goes on as soon as one is: {name_worker(directory)}"
        )
    return tuple(found)


def warnings_of_change(run: Run, directory: RunDirectory) -> tuple[str, ...]:
    """That the file which *run* was started from says something else by now: the run does not follow it."""
    if not _has_changed(run):
        return ()
    import msgspec

    inputs = msgspec.json.encode(run.inputs).decode()
    is_short = len(inputs) <= MAX_INPUTS
    given = ["--input", inputs if is_short else "@INPUTS"] if run.inputs else []
    start = join_line(
        ["cpf", *directory.reached_by, "run", "-f", str(run.workflow.source), *given, *list_place(directory)]
    )
    lacks = "" if is_short else ", with its inputs (see cpf inspect) in the file INPUTS"
    return (
        f"{run.workflow.source} has changed since the run started; the run goes on from its own copy of what "
        "it said then, and nothing makes this run follow the new text; to have what it says now, start "
        f"another run{lacks}: {start}",
    )


def find_next(run: Run, directory: RunDirectory) -> dict[str, AnyStep]:
    """The steps that *run* may come to first, by path; none where its document or its state does not tell."""
    from checkpointflow.drivers.sources import read_own_copies
    from checkpointflow.engine.outlook import find_next_steps
    from checkpointflow.engine.soundness import find_unsound

    try:
        program = read_own_copies(directory, run.workflow)
    except CheckpointflowError:  # whoever goes on with the run will hear why
        return {}
    return {} if find_unsound(program, run) else dict(islice(find_next_steps(program, run).items(), MAX_NEXT))


def warnings_of_programs(run: Run, directory: RunDirectory) -> tuple[str, ...]:
    """That a program which a step to come calls by its name is not on the PATH: a hint, for it may come."""
    from shutil import which

    from checkpointflow.documents.model import Cli
    from checkpointflow.documents.program import DEFAULT_SHELL
    from checkpointflow.shells.commands import find_programs
    from checkpointflow.shells.contexts import HOLE

    missing: dict[str, list[str]] = {}
    for path, step in find_next(run, directory).items():
        if not isinstance(step, Cli) or "PATH" in step.env:
            continue
        shell = step.shell or DEFAULT_SHELL
        command = step.command if isinstance(step.command, str) else "\n".join(step.command)
        named = {shell} | (find_programs(_VALUE.sub(HOLE, command), shell) if shell != "pwsh" else set())
        for name in sorted(named):
            if which(name) is None:
                missing.setdefault(name, []).append(path)
    return tuple(
        f"{shorten(name)} is not on the PATH here; {join_words(paths[:3], 'and')} may need it next"
        for name, paths in missing.items()
    )


def warnings_of_environment(directory: RunDirectory) -> tuple[str, ...]:
    """That variables which were set when the run began, and which its commands read, are not set here.

    To be asked before the run goes on, and told at once to a person who looks on. Raises RunNotFound.
    """
    if not directory.runs_here:
        return ()
    began = directory.read_beginning()
    missing = [name for name in began.environment if name not in os.environ]
    if not missing:
        return ()
    from checkpointflow.documents.environment import list_variables  # late: nothing is missing mostly
    from checkpointflow.drivers.sources import read_own_copies

    read = set(missing).intersection(list_variables(read_own_copies(directory, began.workflow)))
    if not read:
        return ()
    warning = (
        f"not set in this environment, but in that which the run was started in: {', '.join(sorted(read))}; "
        "its commands read them, and have the environment of whoever goes on with it"
    )
    if is_watched():
        click.echo(f"cpf: warning: {warning}", err=True)
    return (warning,)


def warnings_of_chain(run: Run, directory: RunDirectory) -> tuple[str, ...]:
    """That the history which led to *run* is not what it was when it was written."""
    from checkpointflow.store.verify import find_break  # late: most readers look at the snapshot only

    broken = find_break(directory, run)
    if broken is None:
        return ()
    return (f"{broken}; see what else is wrong with: {command_for('verify', directory)}",)


def _has_changed(run: Run) -> bool:
    """Whether the file that the run was started from now says something else; False if it is gone."""
    from checkpointflow.errors import FileMissing
    from checkpointflow.store.files import digest, read_file

    if run.workflow.source is None or not os.path.exists(run.workflow.source):
        return False
    try:
        return digest(read_file(Path(run.workflow.source))) != run.workflow.digest
    except FileMissing:
        return False
