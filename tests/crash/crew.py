"""Who performs nothing and keeps the books: what was performed, and whether it might have been."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from checkpointflow.engine.actions import Effect, Outcome, RunCommand, Success
from checkpointflow.engine.facts import StepSucceeded
from checkpointflow.engine.run import Run, Succeeded, pending
from checkpointflow.store.directory import RunDirectory


class Books:
    """What happened in the world, which no crash of the machine takes back. *base*: of the store."""

    def __init__(self, base: Path, outputs: dict[str, Any]) -> None:
        self.base = base
        self.outputs = outputs
        self.performed: dict[str, list[RunCommand]] = {}
        self.finished: set[str] = set()

    def audit(self, directory: RunDirectory) -> Run:
        """Note whose success is on disk; the run there."""
        run = directory.load()
        history = list(directory.history(run))
        assert history[-1].checkpoint_id == run.checkpoint_id
        self.finished |= {entry.fact.path for entry in history if isinstance(entry.fact, StepSucceeded)}
        return run

    def perform(self, action: Effect) -> Outcome:
        """Perform nothing, having seen that it may be performed."""
        assert isinstance(action, RunCommand)
        run_id = action.idempotency_key.partition(":")[0]
        run = RunDirectory(self.base / "runs" / run_id).load()
        self.finished |= {path for path, record in run.steps.items() if isinstance(record, Succeeded)}
        assert action in pending(run), f"{action.path} is performed before it is on disk"
        assert action.path not in self.finished, f"{action.path} had finished, and is run again"
        self.performed.setdefault(action.path, []).append(action)
        step = action.path.rpartition("/")[2].partition("@")[0]
        return Success(outputs={"by": action.path, **self.outputs.get(step, {})}, exit_code=0)
