"""Given, when, then: builders that keep a test down to its claim."""

from __future__ import annotations

from typing import Any

import msgspec

from checkpointflow.documents.model import Document, Workflow
from checkpointflow.documents.program import Program
from checkpointflow.engine.actions import Error, Failure, Outcome, Slept, Success
from checkpointflow.engine.evolution import evolve
from checkpointflow.engine.facts import Fact
from checkpointflow.engine.messages import (
    Begin,
    Cancel,
    Deliver,
    Interrupt,
    Message,
    Recover,
    Report,
    add_seconds,
)
from checkpointflow.engine.rules import advance
from checkpointflow.engine.run import Run, pending, unanswered, waits

START = "2026-01-01T00:00:00.000Z"


def workflow(*steps: dict[str, Any], **more: Any) -> Workflow:
    """A workflow of *steps*, as a document would give it."""
    document = {
        "schema_version": "checkpointflow/v1",
        "workflow": {"id": "w", "steps": list(steps), **more},
    }
    return msgspec.convert(document, Document).workflow


def cli(id: str, command: str = "true", **more: Any) -> dict[str, Any]:
    return {"id": id, "kind": "cli", "command": command, **more}


def ask(id: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "kind": "await_event", "audience": "user", "event_name": f"{id}_event", **more}


def switch(id: str, *cases: tuple[str | bool, str], **more: Any) -> dict[str, Any]:
    return {"id": id, "kind": "switch", "cases": [{"when": w, "next": n} for w, n in cases], **more}


def end(id: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "kind": "end", **more}


class Story:
    """A run told step by step; every call moves the clock by a second."""

    def __init__(
        self, *steps: dict[str, Any], inputs: Any = None, begun: bool = True, called: Any = None, **more: Any
    ) -> None:
        self.workflow = Program(workflow(*steps, **more), called or {})
        self.run: Run = None  # type: ignore[assignment]
        self.facts: list[Fact] = []
        self.now = START
        if begun:
            self.begin({} if inputs is None else inputs)

    def begin(self, inputs: Any, env: dict[str, str] | None = None) -> Story:
        self.now = START
        return self.hear(
            Begin(
                now=self.now, run_id="R1", inputs=inputs, digest="d", source="w.yaml", cwd="/", env=env or {}
            )
        )

    def hear(self, message: Message) -> Story:
        self.run, self.new = advance(self.workflow, self.run, message)
        self.facts += self.new
        return self

    def report(self, path: str, outcome: Outcome, attempt: int = 1) -> Story:
        return self.hear(Report(now=self.tick(), path=path, attempt=attempt, outcome=outcome))

    def succeed(self, path: str, outputs: Any = None, attempt: int = 1, **more: Any) -> Story:
        outputs = {} if outputs is None else outputs
        return self.report(path, Success(outputs=outputs, exit_code=0, **more), attempt)

    def fail(self, path: str, attempt: int = 1, code: str = "ERR_STEP_FAILED", exit_code: int = 1) -> Story:
        return self.report(path, Failure(Error(code=code, message="no", exit_code=exit_code)), attempt)

    def sleep(self, path: str, attempt: int) -> Story:
        return self.report(path, Slept(), attempt)

    def deliver(self, path: str, payload: Any) -> Story:
        return self.hear(Deliver(now=self.tick(), path=path, payload=payload))

    def recover(self) -> Story:
        return self.hear(Recover(now=self.tick(), lost=unanswered(self.run)))

    def interrupt(self) -> Story:
        return self.hear(Interrupt(now=self.tick()))

    def cancel(self, reason: str = "no more") -> Story:
        return self.hear(Cancel(now=self.tick(), reason=reason))

    def tick(self, seconds: float = 1) -> str:
        self.now = add_seconds(self.now, seconds)
        return self.now

    @property
    def pending(self) -> list[str]:
        return [action.path for action in pending(self.run)]

    @property
    def waiting(self) -> list[str]:
        return list(waits(self.run))

    @property
    def result(self) -> Any:
        return self.run.outcome.result  # type: ignore[union-attr]

    @property
    def error(self) -> Error:
        return self.run.outcome.error  # type: ignore[union-attr]

    def replayed(self) -> Run:
        """The run as its facts alone make it."""
        run = None
        for fact in self.facts:
            run = evolve(run, fact)
        assert run is not None
        return run


def foreach(id: str, items: Any, *body: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": id, "kind": "foreach", "items": items, **({"body": list(body)} if body else {}), **more}


def parallel(id: str, *branches: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": id, "kind": "parallel", "branches": list(branches), **more}


def branch(id: str, *steps: dict[str, Any]) -> dict[str, Any]:
    return {"id": id, "steps": list(steps)}


def call(id: str, ref: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "kind": "workflow", "workflow_ref": ref, **more}


def program(*steps: dict[str, Any], called: dict[str, Program] | None = None, **more: Any) -> Program:
    """A workflow that others call."""
    return Program(workflow(*steps, **more), called or {})
