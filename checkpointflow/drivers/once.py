"""Starting a run at most once: whoever heard nothing of a start may say it again, with the same run key."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from checkpointflow.drivers.local import HERE, World, begin, resume
from checkpointflow.drivers.sources import CheckedWorkflow
from checkpointflow.engine.kinds import check_inputs
from checkpointflow.engine.run import Run
from checkpointflow.errors import LockConflict, RunKeyTaken
from checkpointflow.store.claims import claim
from checkpointflow.store.clock import make_id
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.store import Store


class Begun(Struct, frozen=True):
    """A run that was started; replayed: some time before, with the same key."""

    directory: RunDirectory
    run: Run
    replayed: bool


def begin_once(
    store: Store,
    key: str,
    workflow: CheckedWorkflow,
    inputs: Any,
    world: World = HERE,
    *,
    drives: bool = True,
) -> Begun:
    """The run of *workflow* that has *key*; it is started, as by `begin`, if there is none.

    One that is under way is gone on with if nobody does, and *drives* says so. Raises RunKeyTaken for other
    inputs, the declared environment variables among them, or another workflow; and what `begin` and `resume`
    raise.
    """
    with ExitStack() as claiming:
        claimed = claiming.enter_context(claim(store, key))
        directory = claimed.find()
        if directory is None:

            def observe(run: Run) -> None:
                claiming.close()  # from here on everybody finds it
                world.observe(run)

            run_id = make_id()
            claimed.give(run_id)
            around = replace(world, observe=observe)
            directory, run = begin(store, workflow, inputs, around, drives=drives, run_id=run_id, key=key)
            return Begun(directory, run, replayed=False)
    run = directory.load()
    _compare(run, key, workflow, check_inputs(workflow.program, inputs))
    if drives and run.status == "running":
        try:
            run = resume(directory, world=world)
        except LockConflict:
            run = directory.load()  # whoever has it goes on with it
    return Begun(directory, run, replayed=True)


def _compare(run: Run, key: str, workflow: CheckedWorkflow, inputs: dict[str, Any]) -> None:
    named = workflow.document.workflow.id
    if run.workflow.id != named:
        raise RunKeyTaken(run_id=run.run_id, key=key, why=f"and it is of {run.workflow.id}, not of {named}")
    if run.inputs != inputs:
        raise RunKeyTaken(run_id=run.run_id, key=key, why="with other inputs", details={"inputs": run.inputs})
    if run.env != workflow.read_environment():
        why, details = "with other values of what its `env` names", {"env": run.env}
        raise RunKeyTaken(run_id=run.run_id, key=key, why=why, details=details)
