"""Workflows that are found by their ids: in `.checkpointflow/` here and above, and in the store.

The nearest directory wins. One that others may write into is passed over: what lies in a shared place such
as /tmp must not run because somebody works below it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from checkpointflow.diagnostics import point_at
from checkpointflow.documents.model import Workflow
from checkpointflow.errors import CheckpointflowError, FileMissing, UsageError
from checkpointflow.store.files import describe_sharing, read_file

DIRECTORY = ".checkpointflow"
SUFFIXES = (".yaml", ".yml")
TESTS = ".test.yaml"
"""How the files end that hold tests of workflows."""


class Found(Struct, frozen=True):
    """A document: what it says, or the message of the error that tells what is wrong with it."""

    file: Path
    workflow: Workflow | None
    problem: str | None = None


def list_directories(here: Path, base: Path | None) -> list[Path]:
    """The directories that are searched, the nearest first."""
    candidates = [above / DIRECTORY for above in (here, *here.parents)]
    if base is not None:
        candidates.append(base)
    return list(dict.fromkeys(directory for directory in candidates if _is_ours(directory)))


def list_flows(here: Path, base: Path | None) -> Iterator[Found]:
    """All documents there, the nearest first; one that cannot be read stops nothing."""
    return map(_read, list_files(here, base))


def list_files(here: Path, base: Path | None) -> Iterator[Path]:
    """The files that may hold one, the nearest first."""
    for directory in list_directories(here, base):
        for name in sorted(os.listdir(directory)):
            if name.endswith(SUFFIXES) and not name.startswith(".") and not name.endswith(TESTS):
                yield directory / name


def find_flow(wanted: str, here: Path, base: Path | None) -> Found:
    """The nearest workflow whose id is *wanted*. Raises FileMissing, UsageError when two are equally near."""
    known = [(found.workflow.id, found) for found in list_flows(here, base) if found.workflow]
    same = [found for name, found in known if name == wanted]
    nearest = [found for found in same if found.file.parent == same[0].file.parent]
    if len(nearest) > 1:
        files = " and ".join(str(found.file) for found in nearest)
        raise UsageError(problem=f"{wanted} is the id of {files}; name one of them with -f")
    if not nearest:
        hint = point_at(wanted, (name for name, _ in known), "these are there (`cpf flows`):")
        problem = f"no workflow in {DIRECTORY}/, here or above, or in the store has this id; {hint}"
        raise FileMissing(file=wanted, problem=problem)
    return nearest[0]


def _read(file: Path) -> Found:
    from checkpointflow.documents.decoding import decode  # late: it brings YAML

    try:
        return Found(file, decode(read_file(file), str(file))[0])
    except CheckpointflowError as error:
        return Found(file, None, str(error))


def _is_ours(directory: Path) -> bool:
    try:
        usable = directory.is_dir() and os.access(directory, os.R_OK | os.X_OK)
        return usable and describe_sharing(directory) is None
    except OSError:
        return False
