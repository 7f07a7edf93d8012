"""Exploring: what the walk through all ways says of a workflow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from checkpointflow.documents.model import ActionStep, Api, Cli, Invariant, properties_of
from checkpointflow.documents.program import Program
from checkpointflow.engine.actions import Error
from checkpointflow.engine.bodies import Scene, locate
from checkpointflow.engine.facts import (
    BodyClosed,
    Breakdown,
    Cancellation,
    Completion,
    Fact,
    FinallyBegan,
    OfStep,
    RunFailed,
    StepFailed,
    StepSkipped,
)
from checkpointflow.engine.kinds import ENDLESS_LOOP, survives
from checkpointflow.engine.path import owner, split
from checkpointflow.engine.run import Failed, waits
from checkpointflow.errors import CheckpointflowError
from checkpointflow.explore.findings import KINDS, Crash, Ending, Exploration, Finding, Severity, Way
from checkpointflow.explore.lazy import Decisions
from checkpointflow.explore.moves import MADE_UP, Choice
from checkpointflow.explore.rules import name_step, word
from checkpointflow.explore.sight import forget_visits
from checkpointflow.explore.values import LISTS
from checkpointflow.explore.walk import MAX_STATES, State, Turn, Walk, Watcher

MAX_WAYS = 100
"""So many findings, and so many endings, are told with a way that leads there."""

_KIND_OF_CODE = {
    ENDLESS_LOOP: "endless_loop",
    "ERR_NO_TRANSITION": "no_case",
    "ERR_STEP_OUTPUT_INVALID": "bad_outputs",
    "ERR_VALIDATION_INPUT": "bad_inputs",
}


def explore(
    program: Program,
    *,
    given: Any = UNSET,
    crash: bool = False,
    is_over: Callable[[], bool] = lambda: False,
    most: int = MAX_STATES,
) -> Exploration:
    """Walk every way of *program*, and say what is found.

    given: the inputs, in place of all that fit; crash: what a kill of cpf at each step would lead to;
    is_over: asked again and again whether to stop; most: the most states to look at. Raises InvalidInput if
    *given* does not fit.
    """
    notebook = Notebook(program)
    walk = Walk(program, notebook, given=given, crash=crash)
    notebook.doubts = walk.interest.doubts
    walk.go(is_over, most)
    notebook.sum_up(walk)
    return Exploration(
        states=len(walk.seen),
        complete=walk.is_complete,
        ways=None if crash or not walk.is_complete else walk.states.count_ways(walk.starts),
        limits=tuple(walk.interest.doubts),
        endings=tuple(notebook.endings.values()),
        findings=tuple(sorted(notebook.findings.values(), key=_rank)),
        rules={word(rule): notebook.say_whether(rule, walk) for rule in walk.judge.rules},
        crashes=tuple(_find_crashes(walk, notebook)),
    )


def _rank(finding: Finding) -> int:
    return ("mistake", "doubt", "note").index(finding.severity)


class Notebook(Watcher):
    """What is noticed on the ways of *program*."""

    def __init__(self, program: Program) -> None:
        self.program, self.doubts = program, dict[str, None]()
        self.documents = _find_documents(program)
        self.entered: set[str] = set()
        self.findings: dict[tuple[str, str | None, str], Finding] = {}
        self.endings: dict[str, Ending] = {}
        self.label_of: dict[int, str] = {}
        self.broken: dict[str, None] = {}

    @property
    def is_sure(self) -> bool:
        """Whether all values were made up that matter, but for the length of lists."""
        return not self.doubts.keys() - {LISTS}

    def note(
        self,
        kind: str,
        message: str,
        step: str | None,
        tell: Callable[[], Way] | None = None,
        severity: Severity | None = None,
        program: Program | None = None,
    ) -> None:
        """Keep it, unless the same was found on a shorter way; *program* has the *step*."""
        key = (kind, step, forget_visits(message))
        if key in self.findings:
            return
        program = program or self.program
        self.findings[key] = Finding(
            kind=kind,
            severity=severity or KINDS[kind],
            message=key[2],
            step=step,
            at=("workflow", "outputs") if step is None else program.step(step).path,
            document=self.documents[program],
            way=None if tell is None or len(self.findings) >= MAX_WAYS else tell(),
        )

    def _note_at(
        self, state: State, path: str, kind: str, message: str, severity: Severity | None = None
    ) -> None:
        """The same of the step at *path* of a run in *state*."""
        body, step = locate(Scene(self.program, state.run, ""), path)
        self.note(kind, message, step.id, state.tell, severity, body.program)

    # On the way

    def see(self, state: State, turn: Turn) -> None:
        if state.is_crashed:
            return
        for rule in turn.broken:
            self.broken[word(rule)] = None
            self.note("broken_rule", f"not so: {word(rule)}", name_step(rule), state.tell)
        for fact in turn.facts:
            if isinstance(fact, OfStep) and not isinstance(fact, StepSkipped):
                self._enter(state, fact)
            if isinstance(fact, StepFailed | BodyClosed | RunFailed) and fact.error is not None:
                self._see_failure(state, fact, fact.error)
            if isinstance(fact, FinallyBegan) and isinstance(fact.outcome, Breakdown):
                self._see_failure(state, fact, fact.outcome.error)

    def _enter(self, state: State, fact: OfStep) -> None:
        body, step = locate(Scene(self.program, state.run, ""), fact.path)
        if body.program is self.program:
            self.entered.add(step.id)

    def _see_failure(self, state: State, fact: Fact, error: Error) -> None:
        """A failure, where it first is one: what leads to others later is told once."""
        if MADE_UP in error.message or error.code == "ERR_TIMEOUT":
            if isinstance(fact, RunFailed) and error.step_id is not None:
                step = split(error.step_id)[1]
                self._note_at(state, error.step_id, "uncaught_failure", f"if {step} fails, the run fails")
            return
        path = _find_place(fact)
        if path is None or error.step_id is None:
            if path == error.step_id:
                self.note("bad_outputs", error.message, None, state.tell)
            return
        if split(error.step_id)[:2] != split(path)[:2]:
            return
        kind = _KIND_OF_CODE.get(error.code, "no_value")
        kind = "bad_key" if error.message.endswith(", in ${key}") else kind
        record, says = state.run.steps[path], locate(Scene(self.program, state.run, ""), path)[1]
        if isinstance(says, ActionStep) and error.code == "ERR_STEP_OUTPUT_INVALID":
            return  # no outputs could be made up that fit: that is told
        is_survived = survives(says, record) if isinstance(record, Failed) else True
        self._note_at(state, path, kind, error.message, "doubt" if is_survived else None)

    def see_refusal(
        self, state: State, choice: Choice, decisions: Decisions, error: CheckpointflowError
    ) -> None:
        if not state.is_crashed:

            def tell() -> Way:
                way = state.tell()
                return replace(way, events=(*way.events, choice.tell(decisions)))

            self.note("refused_answer", str(error), split(choice.path)[1], tell)

    def see_stuck(self, state: State) -> None:
        for path in waits(state.run) if self.is_sure else ():
            self._note_at(state, path, "stuck_wait", "no answer leads on from here")

    def see_end(self, state: State) -> None:
        outcome = state.run.outcome
        if isinstance(outcome, Completion):
            ending = Ending(status="completed", result=outcome.result)
            label = f"completed {_write(outcome.result)}"
        elif isinstance(outcome, Cancellation):
            ending, label = Ending(status="cancelled"), "cancelled"
        else:
            assert isinstance(outcome, Breakdown)
            step = None if outcome.error.step_id is None else forget_visits(outcome.error.step_id)
            ending = Ending(status="failed", code=outcome.error.code, step=step)
            label = f"failed {outcome.error.code} at {step}"
        self.label_of[state.number] = label
        if not state.is_crashed and label not in self.endings:
            way = state.tell() if len(self.endings) < MAX_WAYS else None
            self.endings[label] = replace(ending, way=way)

    # At the end

    def sum_up(self, walk: Walk) -> None:
        """What only all ways together tell, and what the document tells by itself."""
        self._find_undeclared(walk)
        if not walk.is_complete:
            return
        for compiled in self.program.steps if self.is_sure else ():
            if compiled.step.id not in self.entered:
                self.note("unreached_step", "no way leads here", compiled.step.id)
        trapped = walk.states.find_trapped()
        endless = trapped & walk.states.find_circling(asked=True) if self.is_sure else set[int]()
        unbounded = walk.states.find_circling(asked=False) - trapped
        for kind, numbers, message in (
            ("endless_loop", endless, "no way leads out of it"),
            ("unbounded_loop", unbounded, "it can go on for ever, and nobody is asked"),
        ):
            if numbers:
                state = walk.seen[min(numbers)]
                self.note(kind, message, state.place, state.tell)

    def _find_undeclared(self, walk: Walk) -> None:
        """What is read of the outputs of a step that does not say that there is such a thing."""
        for compiled in self.program.steps:
            if isinstance(compiled.step, Cli | Api):
                schema = compiled.step.outputs
                known = schema if schema is None or "properties" in schema else None
                declared = properties_of(schema) if schema is not None else {}
                part = walk.interest.of(self.program, compiled.step.id, "outputs")
                for name in part.parts if schema is None or known is not None else ():
                    if name not in declared and None not in part.parts[name].literals:
                        message = f"its outputs are not said to have a {name}, which is read"
                        self.note("undeclared_output", message, compiled.step.id)

    def say_whether(self, rule: Invariant, walk: Walk) -> str:
        """`refuted`; `proved`, if nothing was left out; or `not refuted`."""
        if word(rule) in self.broken:
            return "refuted"
        return "proved" if walk.is_complete and self.is_sure else "not_refuted"


def _find_place(fact: Fact) -> str | None:
    """The step that the failure told by *fact* is one of, if it is of one."""
    match fact:
        case StepFailed(path=path):
            return path
        case BodyClosed(body=body, survived=True):
            return owner(body)[0]
    return None


def _find_documents(program: Program) -> dict[Program, tuple[str, ...]]:
    """All that *program* calls, with the names that lead there."""
    found: dict[Program, tuple[str, ...]] = {program: ()}
    ahead = [program]
    for caller in ahead:
        for ref, called in caller.called.items():
            if called not in found:
                found[called] = (*found[caller], ref)
                ahead.append(called)
    return found


def _write(value: Any) -> str:
    return "" if value is UNSET else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _find_crashes(walk: Walk, notebook: Notebook) -> Iterator[Crash]:
    for path, (before, after, then) in walk.crashes.items():
        labels = [
            {notebook.label_of[n] for n in walk.states.find_ends(state.number)} for state in (before, after)
        ]
        yield Crash(step=path, then=then, other_ends=tuple(sorted(labels[1] - labels[0])))
