"""What must hold on every way: invariants about which steps are begun when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from checkpointflow.documents.model import AnyStep, End, Invariant, Switch
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


def name_step(rule: Invariant) -> str:
    """The step that *rule* is about."""
    return str(rule.never or rule.always or rule.at_most_once)


def word(rule: Invariant) -> str:
    """*rule* as one would say it."""
    if rule.never is not None:
        return f"never {rule.never}" + ("" if rule.unless is None else f" unless {rule.unless}")
    return (
        f"always {rule.always} before {rule.before}" if rule.always else f"at most once {rule.at_most_once}"
    )


Counts: TypeAlias = tuple[tuple[int, int], ...]
"""For each rule, how often its step has begun (2 for more), and whether it has succeeded."""


class Judge:
    """Whether the invariants of *program* hold."""

    def __init__(self, program: Program) -> None:
        self.program, self.rules = program, program.workflow.invariants
        self.start: Counts = ((0, 0),) * len(self.rules)

    def judge(self, run: Run, facts: list[Fact], counts: Counts) -> tuple[Counts, list[Invariant]]:
        """What *facts*, which led to *run*, make of *counts*, and the rules that they break."""
        broken: list[Invariant] = []
        for fact in facts if self.rules else ():
            if isinstance(fact, OfStep):
                body, step = locate(Scene(self.program, run, fact.at), fact.path)
                if body.program is self.program:
                    if _begins(fact, step):
                        broken += self._find_broken(run, body, step.id, counts)
                    both = zip(self.rules, counts, strict=True)
                    counts = tuple(_count(rule, fact, step, known) for rule, known in both)
        if isinstance(run.outcome, Completion):
            ends = zip(self.rules, counts, strict=True)
            broken += [rule for rule, (_, done) in ends if rule.always and rule.before == END and not done]
        return counts, broken

    def _find_broken(self, run: Run, body: Body, step: str, counts: Counts) -> Iterator[Invariant]:
        """The rules that break as *step* begins in *body*."""
        for rule, unless, (begun, done) in zip(self.rules, self.program.invariants, counts, strict=True):
            if rule.never == step:
                is_broken = not (isinstance(unless, Expression) and self._holds(unless, run, body))
            elif rule.always is not None:
                is_broken = rule.before == step and not done
            else:
                is_broken = rule.at_most_once == step and begun > 0
            if is_broken:
                yield rule

    def _holds(self, condition: Expression, run: Run, body: Body) -> bool:
        """Whether it is true; what has no value is not."""
        try:
            return holds(condition, scope(Scene(self.program, run, ""), body))
        except CheckpointflowError:
            return False


def _count(rule: Invariant, fact: OfStep, step: AnyStep, known: tuple[int, int]) -> tuple[int, int]:
    begun, done = known
    if step.id != name_step(rule):
        return known
    return min(begun + _begins(fact, step), 2), max(done, int(isinstance(fact, StepSucceeded)))


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
