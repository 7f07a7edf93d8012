"""Which steps, arms and answers of a workflow its tests come to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from msgspec import Struct

from checkpointflow.documents.model import AnyStep, AwaitEvent, Parallel, Recoverable, Switch
from checkpointflow.documents.parts import Goto
from checkpointflow.documents.program import Program
from checkpointflow.engine.bodies import name_of
from checkpointflow.engine.facts import (
    BodyOpened,
    Fact,
    OfStep,
    StepFailed,
    StepSkipped,
    StepSucceeded,
)
from checkpointflow.engine.path import owner
from checkpointflow.rehearse.names import find_own
from checkpointflow.rehearse.rehearsal import ENTERED

Part: TypeAlias = tuple[str, str]
"""A step, by its id, and what of it: that it is come to (nothing), or one of the ways that it may go."""

SKIPPED, RUN, ANSWERED, ON_ERROR, ON_TIMEOUT = "if not", "if", "answered", "on_error", "on_timeout"


class Coverage(Struct, frozen=True):
    """How many parts there are, and which none of the tests came to, in the order of the document."""

    parts: int
    missing: tuple[Part, ...]

    @property
    def percent(self) -> float:
        """How much was come to, rounded down to a tenth, so that 100 is all."""
        return (self.parts - len(self.missing)) * 1000 // self.parts / 10 if self.parts else 100.0

    def tell_missing(self) -> list[str]:
        """What was not come to, a step each, as people read it."""
        steps: dict[str, list[str]] = {}
        for step, what in self.missing:
            steps.setdefault(step, []).append(what)
        return [step if "" in ways else f"{step}: {', '.join(ways)}" for step, ways in steps.items()]


class Counter:
    """Counts what the runs of *program* itself come to, not of what it calls."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.seen: dict[Part, bool] = {}
        for compiled in program.steps:
            for what in ("", *list_ways(compiled.step)):
                self.seen[compiled.step.id, what] = False

    def add(self, facts: list[Fact]) -> None:
        """One more run, which came to *facts*."""
        for fact in facts:
            if isinstance(fact, OfStep):
                compiled = find_own(self.program, fact.path)
                for what in () if compiled is None else find_ways(compiled.step, fact):
                    self._see(fact.path, what)
            elif isinstance(fact, BodyOpened):
                block, key = owner(fact.body)
                if find_own(self.program, block) is not None:
                    self._see(block, f"branch {key}")

    def _see(self, path: str, what: str) -> None:
        part = (path.rpartition("/")[2].partition("@")[0], what)
        if part in self.seen:
            self.seen[part] = True

    def sum_up(self) -> Coverage:
        """What was come to so far."""
        return Coverage(len(self.seen), tuple(part for part, is_seen in self.seen.items() if not is_seen))


def list_ways(step: AnyStep) -> Iterator[str]:
    """The ways that *step* may go, once it is come to."""
    if step.when is not None:
        yield from (RUN, SKIPPED)
    if isinstance(step, AwaitEvent):
        yield from dict.fromkeys(_lead_to(arm.next) for arm in step.transitions)
        if not step.transitions:
            yield ANSWERED
        if step.on_timeout is not None:
            yield ON_TIMEOUT
    if isinstance(step, Switch):
        yield from dict.fromkeys(
            _lead_to(name) for name in (*(arm.next for arm in step.cases), step.default) if name
        )
    if isinstance(step, Parallel):
        yield from (f"branch {name_of(branch)}" for branch in step.branches)
    if isinstance(step, Recoverable) and step.on_error is not None:
        yield ON_ERROR


def _lead_to(target: str) -> str:
    return f"to {target}"


def find_ways(step: AnyStep, fact: OfStep) -> Iterator[str]:
    """The ways that *step* went, as far as *fact* tells; with nothing, that it was come to."""
    if isinstance(fact, StepSkipped):
        yield SKIPPED
    if isinstance(fact, ENTERED):
        yield from ("", RUN)
    if isinstance(fact, StepSucceeded) and isinstance(step, AwaitEvent | Switch):
        yield ANSWERED if fact.next is None else _lead_to(fact.next)
    if isinstance(fact, StepFailed):
        yield from _find_policy(step, fact)


def _find_policy(step: AnyStep, fact: StepFailed) -> Iterator[str]:
    """The policy that took the failure. A time-out that has a place to go to is one of its own."""
    is_late = isinstance(step, AwaitEvent) and fact.error.code == "ERR_TIMEOUT"
    if isinstance(step, AwaitEvent) and is_late and step.on_timeout is not None:
        yield ON_TIMEOUT
    elif isinstance(step, Recoverable) and isinstance(step.on_error, Goto | str):
        yield ON_ERROR
