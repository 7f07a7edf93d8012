"""What else is worth saying of a run: nothing that stops anybody, so warnings only."""

from __future__ import annotations

import os
from pathlib import Path

from checkpointflow.cli.location import command_for, resume_command
from checkpointflow.engine.run import Run
from checkpointflow.store.directory import RunDirectory


def warnings_about(run: Run, directory: RunDirectory) -> tuple[str, ...]:
    """What a reader of *run* should know: a source that has changed, a process that is gone."""
    found = []
    if run.outcome is None and _has_changed(run):
        found.append(
            f"{run.workflow.source} has changed since the run started; the run goes on from its copy"
        )
    if run.status == "running" and not directory.seems_held():
        found.append(f"no process works on this run; go on with: {resume_command(directory)}")
    return tuple(found)


def warnings_at_resume(run: Run) -> tuple[str, ...]:
    """What whoever goes on with *run* should know."""
    if run.cwd is None or Path(run.cwd).is_dir():
        return ()
    return (f"{run.cwd}, where the run was started, is not here; commands ran in {Path.cwd()}",)


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
