"""What a run comes to next, as far as its document and its state can tell: for whoever takes it over."""

from __future__ import annotations

from checkpointflow.documents.model import AnyStep, End, Foreach, Switch
from checkpointflow.documents.program import Program
from checkpointflow.engine.bodies import Body, Scene, locate
from checkpointflow.engine.path import ROOT, finally_path, owner, step_path
from checkpointflow.engine.rules import find_failed_steps
from checkpointflow.engine.run import Run, unanswered, waits


def find_next_steps(program: Program, run: Run) -> dict[str, AnyStep]:
    """The steps, by path, that going on with *run* may come to first: done again, or after its waits.

    A visit beyond the first is not told. The run is in a state that the rules can have led to.
    """
    scene = Scene(program, run, "")
    again = [action.path for action in unanswered(run)] + find_failed_steps(run)
    again += [path for path, record in waits(run).items() if record.wait.in_doubt is not None]
    found = {path: locate(scene, path)[1] for path in again}
    for path in waits(run):
        if path not in found:
            found |= _find_followers(scene, path)
    return found


def _find_followers(scene: Scene, path: str) -> dict[str, AnyStep]:
    """What can follow the step at *path*, past what only decides."""
    body, step = locate(scene, path)
    graph, found, seen = body.steps.graph, dict[str, AnyStep](), set[int]()
    first = body.steps.index[step.id] + (0 if body.start_at is None else graph.end + 1)
    ahead = [edge.end for edge in graph.out[first] if edge.why != "enter"]
    for node in ahead:  # which grows meanwhile
        if node in seen:
            continue
        seen.add(node)
        if node == graph.end:
            found |= _find_beyond(scene, body)
            continue
        step = body.steps.steps[graph.step_of(node)]
        decides = isinstance(step, Switch | End)
        if not decides:
            found[step_path(body.path, step.id)] = step
        ahead += [edge.end for edge in graph.out[node] if decides or edge.why == "skip"]
    return found


def _find_beyond(scene: Scene, body: Body) -> dict[str, AnyStep]:
    """What can follow the end of *body*: its `finally`, another iteration, or what follows its block."""
    cleanup = body.program.cleanup
    if body.has_finally and cleanup is not None:
        return {step_path(finally_path(body.path), step.id): step for step in cleanup.steps[:1]}
    if body.path == ROOT:
        return {}
    path, _ = owner(body.path)
    step = locate(scene, path)[1]
    again: dict[str, AnyStep] = {path: step} if isinstance(step, Foreach) else {}
    return again | _find_followers(scene, path)
