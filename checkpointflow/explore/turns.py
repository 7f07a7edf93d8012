"""Where the steps of a body can lead before anybody knows what they come to, and what is known there.

At a step that several ways lead to, known is what all of them know: a step that only some of them have done
is known later, with all that it put out.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from checkpointflow.documents.model import (
    AnyStep,
    Api,
    AwaitEvent,
    Cli,
    End,
    Parallel,
    Recoverable,
    Switch,
    properties_of,
)
from checkpointflow.documents.parts import Goto
from checkpointflow.engine.bodies import Body
from checkpointflow.engine.run import Active, Skipped, Succeeded
from checkpointflow.errors import CheckpointflowError, EvaluationError, NoTransition
from checkpointflow.explore.outline import Of, Why
from checkpointflow.explore.partial import Known, Later, decide, join, learn, name_later
from checkpointflow.expressions.syntax import Path

_DONE = Succeeded(started_at="", ended_at="")
_SKIPPED = Skipped(ended_at="")
_SAID = ("outputs", "stdout", "stderr", "headers", "artifacts")
_OF_FAILURES = ("error", "exit_code", "status_code")  # also of a block, by that of which it failed


class Turn(Struct, frozen=True):
    """One way on from a step. to: None for the end of the body; known: what is known then.

    why: None if it just goes on; when: the condition; sure: it is the one that is taken; caught: whether the
    body goes on at all.
    """

    to: AnyStep | None
    known: Known
    why: Why | None = None
    when: str | None = None
    sure: bool = False
    caught: bool = True


class Outlook(Struct, frozen=True):
    """Whether a step is run, None if that is known later; where it leads; fault: why it surely fails."""

    runs: bool | None
    turns: list[Turn]
    fault: str | None = None


class Lane:
    """A body, from the step *first* on, where *known* is known.

    at: how that step stands, if it began; before: what is known at each step that can be come to.
    """

    def __init__(
        self, body: Body, first: AnyStep | None, known: Known, ends: Of, at: Active | None = None
    ) -> None:
        self.body, self.first, self.known, self.ends, self.at = body, first, known, ends, at
        self.shown: set[str] = set()
        self.before: dict[str, Known] = {}
        self.onward: dict[str, list[str]] = {}
        self.at_end: Known = known if first is None else {}
        self._views: dict[tuple[str, bool], Any] = {}
        if first is not None:
            self._solve(first, known)

    def _solve(self, first: AnyStep, known: Known) -> None:
        self.before[first.id], ahead = known, {first.id: first}
        ends: Known | None = None
        while ahead:
            name = min(ahead, key=self.body.steps.index.__getitem__)
            step = ahead.pop(name)
            turns = [turn for turn in self.look_ahead(step).turns if turn.caught]
            self.onward[name] = list(dict.fromkeys(turn.to.id for turn in turns if turn.to is not None))
            for to, new in [(turn.to, turn.known) for turn in turns]:
                if to is None:
                    ends = new if ends is None else join(ends, new, "")
                    continue
                before = self.before.get(to.id)
                after = new if before is None else join(before, new, "")
                if after is not before:
                    self.before[to.id], ahead[to.id] = after, to
        self.at_end = ends or {}

    def scope(self, step: AnyStep) -> dict[str, Any]:
        """What expressions of *step* can see."""
        secrets = self.body.program.step(step.id).secrets
        marks = {name: Later(f"‹secret {name}›") for name in secrets}
        return {**look_around(self.body, self.before[step.id]), "secrets": marks}

    def look_ahead(self, step: AnyStep) -> Outlook:
        """Whether *step* is run when the body comes to it, and where that leads; the usual first."""
        runs, fault = self._decide_whether(step)
        done: list[Turn] = []
        if runs is not False and fault is None:
            try:
                done = self._list_outcomes(step)
            except CheckpointflowError as error:
                fault = str(error)
        turns = [] if runs is False else [*done, *self._list_failures(step)]
        if runs is not True:
            known = {name: view for name, view in self.before[step.id].items() if name != step.id}
            turns.insert(len(done), Turn(self.body.find_successor(step, _SKIPPED), known, "skipped"))
        return Outlook(runs, turns, fault)

    def _decide_whether(self, step: AnyStep) -> tuple[bool | None, str | None]:
        condition = self.body.program.step(step.id).condition
        is_there = step is self.first and self.at is not None  # later it may come to it once more
        try:
            runs = True if condition is None else decide(condition, self.scope(step))
        except EvaluationError as error:
            return (None, None) if is_there else (True, str(error))
        return runs or (None if is_there else runs), None

    def find_ahead(self, name: str, passed: Set[str]) -> list[str]:
        """The steps that can be come to from *name* on, itself the first, past none of those *passed*."""
        found = {} if name in passed else {name: None}
        ahead = list(found)
        for known in ahead:  # which grows meanwhile
            for new in self.onward.get(known, ()):
                if new not in passed and new not in found:
                    found[new] = None
                    ahead.append(new)
        return ahead

    # What follows if it does what it should

    def _list_outcomes(self, step: AnyStep) -> list[Turn]:
        known = {**self.before[step.id], **self._view(step, is_done=True)}
        if isinstance(step, End):
            return []
        if isinstance(step, Switch) or (isinstance(step, AwaitEvent) and step.transitions):
            return self._list_arms(step, known)
        return [Turn(self.body.find_successor(step, _DONE), known)]

    def _list_arms(self, step: AnyStep, known: Known) -> list[Turn]:
        compiled = self.body.program.step(step.id)
        is_answer = isinstance(step, AwaitEvent)
        event = known[step.id]["outputs"] if is_answer else None
        scope = {**self.scope(step), **({"event": event} if is_answer else {})}
        turns: list[Turn] = []
        for condition, target in compiled.arms:
            try:
                truth = decide(condition, scope)
            except EvaluationError:
                if turns or is_answer:
                    return turns  # it may be that nobody comes to look at it, or an answer is refused
                raise
            if truth is not False:
                new = learn(known, condition.root, ("steps", step.id, "outputs"), self._is_boolean)
                why: Why = "answer" if is_answer else "case"
                turns.append(self._go(step, target, new, why, condition.text, sure=truth is True))
            if truth is True:
                return turns
        if isinstance(step, Switch) and step.default is not None:
            turns.append(self._go(step, step.default, known, "else", sure=not turns))
        if isinstance(step, Switch) and not turns:
            raise NoTransition(problem=f"no case of the switch {step.id} holds, and it has no default")
        return turns

    def _go(
        self,
        step: AnyStep,
        target: str,
        known: Known,
        why: Why,
        when: str | None = None,
        *,
        sure: bool = False,
    ) -> Turn:
        return Turn(self.body.find_successor(step, replace(_DONE, next=target)), known, why, when, sure)

    def _is_boolean(self, path: Path) -> bool:
        """Whether what *path* leads to is true or false, as the schema says that it stands under."""
        step = self.body.steps.find_around(str(path[0])) if len(path) == 3 else None
        schema = getattr(step, "input_schema", None) or getattr(step, "outputs", None)
        member = properties_of(schema).get(path[-1]) if path else None
        return isinstance(member, dict) and member.get("type") == "boolean"

    # What follows if it does not

    def _list_failures(self, step: AnyStep) -> Iterator[Turn]:
        known = {**self.before[step.id], **self._view(step, is_done=False)}
        caught = self._find_catch(step, known)
        if isinstance(step, AwaitEvent) and step.timeout_seconds is not None:
            target = step.on_timeout
            yield (
                replace(caught, why="times_out")
                if target is None
                else self._go(step, target.next, known, "times_out")
            )
        if caught.caught:
            yield caught

    def _find_catch(self, step: AnyStep, known: Known) -> Turn:
        """Where a failure of *step* leads."""
        policy = step.on_error if isinstance(step, Recoverable) else None
        if policy is None:
            return Turn(None, known, "fails", caught=False)
        target = policy.next if isinstance(policy, Goto) else None
        return Turn(self.body.find_successor(step, replace(_DONE, next=target)), known, "fails")

    # What is known then

    def _view(self, step: AnyStep, *, is_done: bool) -> Known:
        """What expressions will find of *step*, the same each time: it is told from others by identity."""
        key = (step.id, is_done)
        if key not in self._views:
            self._views[key] = _make_view(step, is_done=is_done)
            if isinstance(step, Parallel):
                steps = self.body.steps
                owned = steps.graph.owned[steps.index[step.id]]
                self._views[key] |= {steps.steps[i].id: name_later(steps.steps[i].id) for i in sorted(owned)}
        view: Known = self._views[key]
        return view


def look_around(body: Body, known: Known) -> dict[str, Any]:
    """What expressions in *body* can see."""
    return {**body.names, "steps": known, "run": {"id": Later("‹run.id›"), **body.names.get("run", {})}}


def _make_view(step: AnyStep, *, is_done: bool) -> Known:
    if isinstance(step, Switch) and is_done:
        return {step.id: {"outputs": {}}}
    kind = {Cli: ["exit_code"], Api: ["status_code"]}.get(type(step), [])
    parts = (*_SAID, *(kind if is_done else _OF_FAILURES))
    view: dict[str, Any] = {part: name_later(f"{step.id}.{part}") for part in parts}
    if isinstance(step, Cli) and is_done and step.success.exit_codes == (0,):
        view["exit_code"] = 0
    return {step.id: view}
