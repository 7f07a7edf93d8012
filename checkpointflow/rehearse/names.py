"""How a fixture names steps: by id, by path, or by the path of one visit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from checkpointflow.documents.model import AnyStep
from checkpointflow.documents.program import CompiledStep, Program
from checkpointflow.engine.path import FINALLY, ROOT, is_path, split, step_path


def list_names(path: str) -> tuple[str, str, str]:
    """What the visit at *path* may be called, the most exact first: itself, all of its body, its id."""
    body, step, visit = split(path)
    every = step_path(body, step)
    return f"{every}@{visit}", every, step


def is_meant(name: str, path: str) -> bool:
    """Whether *name* means the visit at *path*."""
    return name in list_names(path)


def list_programs(program: Program) -> Iterator[Program]:
    """*program*, and all that it calls, each once."""
    seen, ahead = set[int](), [program]
    for one in ahead:  # which grows meanwhile
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            ahead += one.called.values()


def list_steps(program: Program) -> dict[str, list[AnyStep]]:
    """All steps of *program* and what it calls, by their ids."""
    found: dict[str, list[AnyStep]] = {}
    for one in list_programs(program):
        for compiled in one.steps:
            found.setdefault(compiled.step.id, []).append(compiled.step)
    return found


def find_unknown(name: str, known: Iterable[str]) -> str | None:
    """The part of *name* that is the id of no step; all of it if it is no path at all."""
    if not is_path(name):
        return name
    ids = (part.partition("[")[0].partition("@")[0] for part in name.split("/") if part != FINALLY)
    return next((step for step in ids if step not in known), None)


def find_own(program: Program, path: str) -> CompiledStep | None:
    """The step of *program* itself at *path*; None if it stands in what that calls."""
    body, name, _ = split(path)
    blocks = [] if body == ROOT else [part for part in body.split("/") if part != FINALLY]
    for block in blocks:
        step = program.step(block.partition("[")[0].partition("@")[0]).step
        if getattr(step, "workflow_ref", None) is not None:
            return None
    return program.step(name)
