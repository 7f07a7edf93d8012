"""A crew that performs nothing and keeps the books: what was performed, and whether it might have been."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from checkpointflow.drivers import local
from checkpointflow.engine.actions import Action, Outcome, RunCommand, Success
from checkpointflow.engine.facts import StepSucceeded
from checkpointflow.engine.run import Run, Succeeded, pending
from checkpointflow.store.directory import RunDirectory


class Books:
    """What happened in the world, which no crash of the machine takes back."""

    def __init__(self, outputs: dict[str, Any]) -> None:
        self.outputs = outputs
        self.performed: dict[str, list[RunCommand]] = {}
        self.finished: set[str] = set()

    def audit(self, directory: RunDirectory) -> Run:
        """Note whose success is on disk; the run there."""
        run = directory.load()
        history = directory.history(run)
        assert history[-1].checkpoint_id == run.checkpoint_id
        self.finished |= {entry.fact.path for entry in history if isinstance(entry.fact, StepSucceeded)}
        return run

    def perform(self, directory: RunDirectory, action: Action) -> Outcome:
        """Perform nothing, having seen that it may be performed."""
        assert isinstance(action, RunCommand)
        run = directory.load()
        self.finished |= {path for path, record in run.steps.items() if isinstance(record, Succeeded)}
        assert action in pending(run), f"{action.path} is performed before it is on disk"
        assert action.path not in self.finished, f"{action.path} had finished, and is run again"
        self.performed.setdefault(action.path, []).append(action)
        step = action.path.rpartition("/")[2].partition("@")[0]
        return Success(outputs={"by": action.path, **self.outputs.get(step, {})}, exit_code=0)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Within it nothing is performed but on these books, as soon as it is taken."""
        books = self

        class Executor:
            def __init__(self, directory: RunDirectory, *_: Any, **__: Any) -> None:
                self.directory = directory
                self.taken: set[tuple[str, int]] = set()
                self.queue: deque[tuple[Action, Outcome]] = deque()

            @property
            def busy(self) -> bool:
                return bool(self.queue)

            def take(self, action: Action) -> None:
                if (action.path, action.attempt) not in self.taken:
                    self.taken.add((action.path, action.attempt))
                    self.queue.append((action, books.perform(self.directory, action)))

            def next(self, *_: Any) -> tuple[Action, Outcome]:
                return self.queue.popleft()

            def printed(self) -> tuple[()]:
                return ()

            def stop(self) -> None:
                self.queue.clear()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(local, "Executor", Executor)
            yield
