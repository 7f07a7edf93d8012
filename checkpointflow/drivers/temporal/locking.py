"""Locks that the runs of a cluster share: a workflow by the name of each, of which there can be one only."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import WorkflowAlreadyStartedError

from checkpointflow.digests import sha256
from checkpointflow.drivers.temporal import wire
from checkpointflow.engine.actions import LockRequest

MAX_SHOWN = 200  # characters of the key in Temporal's own tools
FIRST_LOOK, LAST_LOOK = timedelta(seconds=1), timedelta(minutes=1)


@workflow.defn(name=wire.LOCK, sandboxed=False)
class Lock:
    """A lock: whoever has it is the parent of this workflow, and ends it."""

    @workflow.run
    async def hold(self, key: str) -> None:  # noqa: ARG002, its name tells it
        """Be there."""
        await workflow.wait_condition(lambda: False)


async def hold_lock(wanted: LockRequest) -> workflow.ChildWorkflowHandle[Any, Any] | None:
    """Hold the lock that *wanted* names, until what is returned is cancelled; None: its time is up."""
    name = f"{wire.LOCK}/{sha256(wanted.key.encode(errors='replace')).hexdigest()}"
    began = workflow.now()
    deadline = began + timedelta(seconds=wanted.timeout_seconds)
    while True:
        try:
            lock = await workflow.start_child_workflow(wire.LOCK, wanted.key[:MAX_SHOWN], id=name)
            lock.add_done_callback(_take_note)
            return lock
        except WorkflowAlreadyStartedError:
            if workflow.now() >= deadline:
                return None
            # The longer the more rarely: each look lengthens the history, which may not grow without end.
            pause = min(max((workflow.now() - began) / 10, FIRST_LOOK), LAST_LOOK)
            await workflow.sleep(min(pause, deadline - workflow.now()))


def _take_note(lock: asyncio.Task[Any]) -> None:
    """A lock ends by being cancelled, which asyncio would complain of: nobody waits for it."""
    if not lock.cancelled():
        lock.exception()
