"""Whether a run is in a state that the rules can have led to: somebody may have changed it."""

from __future__ import annotations

from itertools import chain

from checkpointflow.documents.model import Api, AwaitEvent, Call, Cli, Foreach, Parallel, Step
from checkpointflow.documents.program import Program
from checkpointflow.engine.bodies import Scene, find_body, locate
from checkpointflow.engine.path import ROOT, finally_path, find_key_fault, host_of, owner
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
    if isinstance(block, Opened) and not _has_sound_items(step, block):
        return False
    is_left = isinstance(record, Failed) and current_path(scene.run, body.path) != path
    return known and (is_left or all(body in scene.run.cursors for body in bodies_of(scene.run, path)))


def _has_sound_items(step: Step, block: Opened) -> bool:
    if isinstance(step, Foreach) != isinstance(block.items, list):
        return False
    is_keyed = isinstance(step, Foreach) and step.key is not None
    return not is_keyed or all(map(_is_with_key, block.items))


def _is_with_key(pair: object) -> bool:
    """Whether it is an item behind a key, which is to become part of the names of files."""
    return isinstance(pair, list) and len(pair) == 2 and find_key_fault(pair[0]) is None
