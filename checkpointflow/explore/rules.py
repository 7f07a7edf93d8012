"""What must hold on every way: rules about which steps are begun when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias, assert_never

from msgspec import Struct

from checkpointflow.documents.graph import StepList
from checkpointflow.documents.model import AnyStep, End, Switch
from checkpointflow.documents.program import Program
from checkpointflow.engine.actions import Sleep
from checkpointflow.engine.bodies import Body, Scene, locate
from checkpointflow.engine.facts import (
    BlockOpened,
    Completion,
    Fact,
    OfStep,
    StepStarted,
    StepSucceeded,
    WaitOpened,
)
from checkpointflow.engine.run import Run
from checkpointflow.engine.scope import scope
from checkpointflow.errors import CheckpointflowError
from checkpointflow.expressions.evaluation import holds
from checkpointflow.expressions.syntax import Expression

END = "end"


class Never(Struct, frozen=True):
    """The step never begins, unless the condition holds then."""

    step: str
    unless: Expression | None = None


class Always(Struct, frozen=True):
    """The step has succeeded before another begins, or before the run completes (`end`)."""

    step: str
    before: str = END


class AtMostOnce(Struct, frozen=True):
    """The step begins at most once on any way, attempts included."""

    step: str


Rule: TypeAlias = Never | Always | AtMostOnce


def list_rules(program: Program) -> Iterator[Rule]:
    """The rules that the document has."""
    for invariant, unless in zip(program.workflow.invariants, program.invariants, strict=True):
        if invariant.never is not None:
            yield Never(invariant.never, unless if isinstance(unless, Expression) else None)
        elif invariant.always is not None:
            yield Always(invariant.always, invariant.before)
        elif invariant.at_most_once is not None:
            yield AtMostOnce(invariant.at_most_once)


def word(rule: Rule) -> str:
    """*rule* as one would say it."""
    match rule:
        case Never(step=step, unless=unless):
            return f"never {step}" + (f" unless {unless.text}" if unless is not None else "")
        case Always(step=step, before=before):
            return f"always {step} before {before}"
        case AtMostOnce(step=step):
            return f"at most once {step}"
        case _:
            assert_never(rule)


Counts: TypeAlias = tuple[tuple[int, int], ...]
"""For each rule, how often its step has begun (2 for more), and whether it has succeeded."""


class Judge:
    """Whether *rules* hold in a program."""

    def __init__(self, program: Program, rules: Iterable[Rule]) -> None:
        self.program, self.rules = program, list(rules)
        self.start: Counts = ((0, 0),) * len(self.rules)

    def list_conditions(self) -> Iterator[tuple[StepList, int, Expression]]:
        """The conditions of the rules, each with the step that it is asked at."""
        for rule in self.rules:
            if isinstance(rule, Never) and rule.unless is not None:
                compiled = self.program.step(rule.step)
                yield compiled.body, compiled.index, rule.unless

    def judge(self, run: Run, facts: list[Fact], counts: Counts) -> tuple[Counts, list[Rule]]:
        """What *facts*, which led to *run*, make of *counts*, and the rules that they break."""
        broken: list[Rule] = []
        for fact in facts if self.rules else ():
            if isinstance(fact, OfStep):
                body, step = locate(Scene(self.program, run, fact.at), fact.path)
                if body.program is self.program:
                    if _begins(fact, step):
                        broken += self._find_broken(run, body, step.id, counts)
                    counts = tuple(
                        self._count(rule, fact, step, n) for rule, n in zip(self.rules, counts, strict=True)
                    )
        if isinstance(run.outcome, Completion):
            ends = zip(self.rules, counts, strict=True)
            broken += [r for r, (_, done) in ends if isinstance(r, Always) and r.before == END and not done]
        return counts, broken

    def _count(self, rule: Rule, fact: OfStep, step: AnyStep, known: tuple[int, int]) -> tuple[int, int]:
        begun, done = known
        if step.id != rule.step:
            return known
        return min(begun + _begins(fact, step), 2), max(done, int(isinstance(fact, StepSucceeded)))

    def _find_broken(self, run: Run, body: Body, step: str, counts: Counts) -> Iterator[Rule]:
        """The rules that break as *step* begins in *body*."""
        for rule, (begun, done) in zip(self.rules, counts, strict=True):
            match rule:
                case Never(step=name, unless=unless) if name == step:
                    if unless is None or not self._holds(unless, run, body):
                        yield rule
                case Always(before=before) if before == step and not done:
                    yield rule
                case AtMostOnce(step=name) if name == step and begun:
                    yield rule

    def _holds(self, condition: Expression, run: Run, body: Body) -> bool:
        """Whether it is true; what has no value is not."""
        try:
            return holds(condition, scope(Scene(self.program, run, ""), body))
        except CheckpointflowError:
            return False


def _begins(fact: OfStep, step: AnyStep) -> bool:
    match fact:
        case StepStarted(action=action):
            return not isinstance(action, Sleep)
        case WaitOpened(wait=wait):
            return wait.in_doubt is None
        case BlockOpened():
            return True
        case StepSucceeded():
            return isinstance(step, Switch | End)
        case _:
            return False
