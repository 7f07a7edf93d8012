"""Whether a run is in a state that the rules can have led to: somebody may have changed it."""

from __future__ import annotations

from itertools import chain

from checkpointflow.documents.model import Api, AwaitEvent, Call, Cli, Foreach, Parallel, Step
from checkpointflow.documents.program import Program
from checkpointflow.engine.bodies import Scene, find_body, locate
from checkpointflow.engine.path import ROOT, finally_path, host_of, owner
from checkpointflow.engine.run import (
    Cancelled,
    Failed,
    Opened,
    Run,
    Started,
    Waiting,
    bodies_of,
    current_path,
)

_STEPS_OF: dict[type, tuple[type[Step], ...]] = {
    Started: (Cli, Api),
    Waiting: (AwaitEvent, Cli, Api),
    Opened: (Foreach, Parallel, Call),
}


_ASTRAY = (LookupError, StopIteration, AssertionError, ValueError)  # what the path of nothing leads to


def find_unsound(program: Program, run: Run) -> str | None:
    """The first path in *run* that no rule could have led to, if there is one."""
    scene = Scene(program, run, "")
    if ROOT not in run.cursors:
        return ROOT
    bodies = (body for body in run.cursors if not _is_sound_body(scene, body))
    steps = (path for path in run.steps if not _is_sound_step(scene, path))
    return next(chain(bodies, steps), None)


def _is_sound_body(scene: Scene, body: str) -> bool:
    run, stands_at = scene.run, current_path(scene.run, body)
    if run.cursors[body].ending is not None and not _has_finally(scene, body):
        return False
    return (body == ROOT or _is_known_body(run, body)) and (stands_at is None or stands_at in run.steps)


def _has_finally(scene: Scene, body: str) -> bool:
    try:
        find_body(scene, finally_path(body))
    except _ASTRAY:
        return False
    return finally_path(body) in scene.run.cursors


def _is_known_body(run: Run, body: str) -> bool:
    host = host_of(body)
    if host is not None:  # once its host was reopened, it only counts visits
        return host in run.cursors and (
            run.cursors[host].ending is not None or run.cursors[body].step is None
        )
    block = owner(body)[0]
    record = run.steps.get(block)  # of a cancelled block it is not kept which of its bodies were under way
    return isinstance(record, Cancelled) or (record is not None and body in bodies_of(run, block))


def _is_sound_step(scene: Scene, path: str) -> bool:
    try:
        body, step = locate(scene, path)
    except _ASTRAY:
        return False
    record = scene.run.steps[path]
    known = body.path in scene.run.cursors and isinstance(step, _STEPS_OF.get(type(record), (Step,)))
    block = record.block if isinstance(record, Failed) else record
    if isinstance(block, Opened) and isinstance(block.items, list) != isinstance(step, Foreach):
        return False
    is_left = isinstance(record, Failed) and path != current_path(scene.run, body.path)
    # Of a block that was survived and left, no bodies are kept.
    return known and (is_left or all(inner in scene.run.cursors for inner in bodies_of(scene.run, path)))
