"""All runs below one base directory: where a new one is made, and which one an id means."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from checkpointflow.diagnostics import find_nearest
from checkpointflow.errors import PersistenceError, RunNotFound
from checkpointflow.store.files import explain, make_lasting, refuse_shared, sync_directory, translate_errors
from checkpointflow.store.layout import README, RUNS, STATE, is_id_part, is_run_id

if TYPE_CHECKING:
    from checkpointflow.store.directory import RunDirectory

LATEST = "@latest"
MAX_NAMED = 5

README_TEXT = """\
This directory belongs to cpf (checkpointflow). Each directory in runs/ is one run of a workflow: where it
stands (state.json), all that happened (history.jsonl), the document as it was when the run started, and what
its steps printed and left behind. locks/ holds the locks that several runs share, keys/ which run has which
run key; cache/ spares reading documents again, and may be removed.

Do not edit anything here: every change would be found by its digest, and the run refused. Look with

    cpf list --base-dir THIS-DIRECTORY
    cpf inspect --run-dir THIS-DIRECTORY/runs/RUN-ID

and clear away with `cpf delete` and `cpf gc`. To hand a run over, use `cpf export`.

It is private: inputs, outputs and logs lie here as they were given, and whoever can write here can change
what your runs do.
"""


class Store:
    """All runs below one base directory.

    runs_here: their commands run on this machine; reached_by: what names their place on a command line.
    """

    runs_here = True
    reached_by: tuple[str, ...] = ()

    def __init__(self, base: Path, *, allow_shared: bool = False) -> None:
        self.base = base
        self.name = str(base)
        self.runs = base / RUNS
        self.allow_shared = allow_shared

    def create(self, run_id: str) -> RunDirectory:
        """An empty directory for a new run; the run exists once its first snapshot does."""
        self.make()
        directory = self.at(run_id)
        with translate_errors(directory.place):
            os.mkdir(directory.place, 0o700)
            sync_directory(self.runs)
        return directory

    def at(self, run_id: str) -> RunDirectory:
        """Where the run called *run_id* lies, or would lie."""
        from checkpointflow.store.directory import RunDirectory  # late: whoever lists workflows has no run

        return RunDirectory(self.runs / run_id, allow_shared=self.allow_shared)

    def make(self) -> None:
        """Make the store, if it is not there. Raises PersistenceError, also if others may write into it."""
        with translate_errors(self.runs):
            is_new = not self.runs.is_dir()
            make_lasting(self.runs)
        if is_new:
            write_readme(self.base)
        refuse_shared(self.allow_shared, self.base, self.runs)

    def find(self, part: str) -> RunDirectory:
        """The run whose id begins or ends with *part*; `@latest` is the newest.

        Raises RunNotFound, PersistenceError.
        """
        run_id = self.choose(part)
        refuse_shared(self.allow_shared, self.base, self.runs, self.runs / run_id)
        return self.at(run_id)

    def choose(self, part: str) -> str:
        """The id of the run that *part* means. Raises RunNotFound, PersistenceError."""
        wanted = part.upper()
        if wanted == LATEST.upper():
            found = [name for name in reversed(self.names()) if self.is_run(name)][:1]
        elif is_run_id(wanted):
            found = [wanted] if self.is_run(wanted) else []
        elif is_id_part(wanted):
            found = [
                n for n in self.names() if (n.startswith(wanted) or n.endswith(wanted)) and self.is_run(n)
            ]
        else:
            problem = (
                f"{part!r} is no run id: give its 26 letters and digits, its first or last few, or {LATEST}"
            )
            raise RunNotFound(problem=problem)
        if len(found) == 1:
            return found[0]
        if not found and wanted == LATEST.upper():
            raise RunNotFound(problem=f"there is no run in {self.name} yet; start one with: cpf run FILE")
        if not found:
            near = find_nearest(wanted, (name[-len(wanted) :] for name in self.names() if self.is_run(name)))
            hint = f"did you mean {near}?" if near else "see: cpf list"
            raise RunNotFound(problem=f"there is no run {part} in {self.name}; {hint}")
        named = f": {', '.join(found)}" if len(found) <= MAX_NAMED else ""
        raise RunNotFound(
            problem=f"{len(found)} runs begin or end with {part}{named}; give more of the id",
            details={"runs": found[:20]},
        )

    def close(self) -> None:
        """Let go of it; a directory is not held."""

    def names(self) -> list[str]:
        """What lies among the runs, sorted, but links, which could lead anywhere. Raises PersistenceError."""
        try:
            with os.scandir(self.runs) as found:
                return sorted(entry.name for entry in found if not entry.is_symlink())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise PersistenceError(file=self.runs, problem=explain(error)) from None

    def is_run(self, name: str) -> bool:
        """Whether what is called *name* is one."""
        is_here = is_run_id(name) and not os.path.islink(self.runs / name)
        return is_here and os.path.exists(self.runs / name / STATE)


def write_readme(base: Path) -> None:
    """Tell whoever comes upon *base* what it is, unless something is told there already.

    Nothing of ours reads it, so it is not synced, and a store without one is as good.
    """
    with suppress(OSError):
        fd = os.open(base / README, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(README_TEXT)
