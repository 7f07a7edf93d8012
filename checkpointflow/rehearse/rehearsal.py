"""A run in which nothing is done: the engine is told what a test says that each step comes to.

The clock stands still but for pauses and for questions that nobody answers in time. What a test does not say
and the run needs is a gap of the test, told by name with what to write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import UNSET, Struct
from msgspec.structs import replace

from checkpointflow.diagnostics import Diagnostic
from checkpointflow.documents.model import Cli
from checkpointflow.documents.program import Program
from checkpointflow.engine.actions import CallHttp, Effect, Outcome, Sleep, Slept, Success
from checkpointflow.engine.bodies import Scene, locate
from checkpointflow.engine.facts import (
    BlockOpened,
    Fact,
    StepFailed,
    StepStarted,
    StepSucceeded,
    WaitOpened,
)
from checkpointflow.engine.messages import Begin, Cancel, Deliver, Message, Recover, Report
from checkpointflow.engine.misfits import find_misfits
from checkpointflow.engine.path import split
from checkpointflow.engine.rules import advance
from checkpointflow.engine.run import Run, Waiting, pending, waits
from checkpointflow.engine.scope import scope
from checkpointflow.errors import CheckpointflowError
from checkpointflow.expressions.evaluation import evaluate
from checkpointflow.expressions.values import as_text
from checkpointflow.rehearse.fixtures import Case, Play
from checkpointflow.rehearse.names import is_meant, list_names
from checkpointflow.rehearse.plays import come_to, find_lack, show_marks
from checkpointflow.rehearse.samples import make_sample
from checkpointflow.rehearse.writing import write_flow
from checkpointflow.shells.scripts import part_commands

NOW = "2026-01-01T00:00:00.000Z"
RUN_ID = "0" * 26
MAX_VISITS = 200  # more than the laps after which the engine itself calls a loop endless
LISTS = "let what is said of a loop end: a list of answers, or a list of what a step comes to"
WHOLE = "…"  # that somebody looks at all of it
TIMES_OUT = {"times_out": True}

ENTERED = (StepStarted, WaitOpened, BlockOpened, StepSucceeded, StepFailed)
"""The first facts of a visit, unless it is skipped."""

Perform = Callable[[Effect], Outcome]
"""Really performs an action."""


class Issued(Struct, frozen=True):
    """What the step at *path* had run or called, as a person reads it."""

    path: str
    text: str


class Rehearsal:
    """What came of a test.

    run: None if it did not even begin; entered: the paths of the steps come to, in order; refused: why the
    inputs or an answer were not taken; gaps: what the test fails to say; idle: what it says to no use.
    """

    def __init__(self) -> None:
        self.run: Run | None = None
        self.facts: list[Fact] = []
        self.entered: dict[str, None] = {}
        self.issued: list[Issued] = []
        self.refused: str | None = None
        self.gaps: list[Diagnostic] = []
        self.idle: list[str] = []


def refuse_real(_: Effect) -> Outcome:
    """Where nothing may be started."""
    raise AssertionError("a rehearsal asks for nothing real")


def rehearse(program: Program, case: Case, perform: Perform = refuse_real) -> Rehearsal:
    """What comes of *case*; *perform* does what is to be real."""
    stage = _Stage(program, case, perform)
    stage.go()
    return stage.came


class Script(dict[str, tuple[Any, ...]]):
    """What is said by names, each for one time after the other. lasts: the last one stays."""

    def __init__(self, said: dict[str, Any], kind: type[list[Any] | tuple[Any, ...]], *, lasts: bool) -> None:
        super().__init__({name: tuple(v) if isinstance(v, kind) else (v,) for name, v in said.items()})
        self.lasts = {name: lasts or not isinstance(value, kind) for name, value in said.items()}
        self.taken = dict.fromkeys(said, 0)

    def find(self, names: tuple[str, ...]) -> str | None:
        """The first of *names* by which something is said."""
        return next((name for name in names if name in self), None)

    def peek(self, name: str) -> Any:
        """What is said by *name* now, UNSET if there is no more."""
        turn, said = self.taken[name], self[name]
        if turn < len(said):
            return said[turn]
        return said[-1] if self.lasts[name] else UNSET

    def take(self, name: str) -> None:
        """It has been used."""
        self.taken[name] += 1

    def list_idle(self) -> Iterator[str]:
        """The names by which something is said that was not used."""
        for name, said in self.items():
            left = len(said) - self.taken[name]
            if left > 0:
                yield f"{name} ({left} of {len(said)})" if len(said) > 1 else name


class _Stage:
    """The rehearsal of *case* under way."""

    def __init__(self, program: Program, case: Case, perform: Perform) -> None:
        self.program, self.case, self.perform = program, case, perform
        self.now, self.is_cancelled = NOW, False
        self.came = Rehearsal()
        self.plays = Script(case.steps, tuple, lasts=True)
        self.answers = Script(case.answers, list, lasts=False)
        self.looked_at: dict[str, dict[str, None]] = {}

    @property
    def run(self) -> Run:
        """The run, which has begun."""
        assert self.came.run is not None
        return self.came.run

    def go(self) -> None:
        """To the end, or until nothing is said of what comes next."""
        env = {name: as_text(value) for name, value in self.case.env.items()}
        begin = Begin(now=NOW, run_id=RUN_ID, inputs=self.case.inputs, digest="0" * 64, cwd="/", env=env)
        goes_on = self._hear(begin)
        while goes_on and self.run.outcome is None and not self.came.gaps:
            goes_on = self._take_turn()
        for path, names in self.looked_at.items():
            self._miss_outputs(path, dict.fromkeys([name for name in names if name != WHOLE] or names, "…"))
        if not self.came.gaps:
            self.came.idle += ["cancel"] if self.case.cancel is not None and not self.is_cancelled else []
            self.came.idle += [f"steps.{name}" for name in self.plays.list_idle()]
            self.came.idle += [f"answers.{name}" for name in self.answers.list_idle()]

    def _take_turn(self) -> bool:
        """Whether something happens: a step comes to its end, a question is answered, time passes."""
        todo = pending(self.run)
        if self.case.cancel is not None and not self.is_cancelled:
            under_way = {action.path: action for action in todo if not isinstance(action, Sleep)}
            meant = [path for path in (*under_way, *waits(self.run)) if is_meant(self.case.cancel, path)]
            if meant:
                self.is_cancelled = True
                for effect in under_way.values():
                    self._issue(effect)
                return self._hear(Cancel(now=self.now, reason="the test cancels it"))
        for action in todo:
            if not isinstance(action, Sleep):
                self._end_step(action)
                return True
        for path, name, said in self._list_answers():
            if said == TIMES_OUT:
                break
            if name is not None and said is not UNSET:
                self.answers.take(name)
                return self._hear(Deliver(now=self.now, path=path, payload=said))
        return self._pass_time([action for action in todo if isinstance(action, Sleep)])

    def _pass_time(self, pauses: list[Sleep]) -> bool:
        """Go to the next moment at which a pause is over, or a question that nobody answers."""
        moments: list[tuple[str, Message]] = []
        for one in pauses:
            now = max(self.now, one.until)
            moments.append((now, Report(now=now, path=one.path, attempt=one.attempt, outcome=Slept())))
        unanswered: dict[str, str] = {}
        for path, record in waits(self.run).items():
            name, said = self._find_answer(path, record)
            if name is None or said != TIMES_OUT:
                continue
            if record.wait.timeout_at is None:
                self._miss(f"{path} has no `timeout_seconds`, so that it cannot time out", ("answers", name))
                return False
            unanswered.setdefault(record.wait.timeout_at, name)
        moments += [(until, Recover(now=until, lost=())) for until in unanswered]
        if not moments:
            return False
        until, message = min(moments, key=lambda moment: moment[0])
        self.now = max(self.now, until)
        if until in unanswered:
            self.answers.take(unanswered[until])
        return self._hear(message)

    def _find_answer(self, path: str, record: Waiting) -> tuple[str | None, Any]:
        """The name by which something is said of this question, and what is said now."""
        name = self.answers.find((*list_names(path), record.wait.event_name))
        return name, UNSET if name is None else self.answers.peek(name)

    def _list_answers(self) -> list[tuple[str, str | None, Any]]:
        """What is said of each open question: that with the least time first, and an answer before none."""
        found = []
        for path, record in waits(self.run).items():
            name, said = self._find_answer(path, record)
            found.append((record.wait.timeout_at or "~", said == TIMES_OUT, path, name, said))
        return [one[2:] for one in sorted(found, key=lambda one: one[:2])]

    # What steps come to

    def _issue(self, action: Effect) -> None:
        told = tell_action(Scene(self.program, self.run, self.now), action)
        self.came.issued.append(Issued(action.path, told))

    def _end_step(self, action: Effect) -> None:
        self._issue(action)
        name = self.plays.find(list_names(action.path))
        if name is None:
            outcome = self._end_silently(action)
        else:
            play: Play = self.plays.peek(name)
            self.plays.take(name)
            lack = find_lack(play, action)
            if lack is not None:
                self._miss(f"{action.path}: {lack}", ("steps", name))
            outcome = self.perform(action) if play.real else come_to(play, action)
        if not self.came.gaps:
            self._hear(Report(now=self.now, path=action.path, attempt=action.attempt, outcome=outcome))

    def _end_silently(self, action: Effect) -> Outcome:
        """Of a step of which nothing is said: it says nothing, which nobody may look at."""
        body, step = locate(Scene(self.program, self.run, self.now), action.path)
        schema = body.program.step(step.id).outputs
        if find_misfits(schema, {}):
            self._miss_outputs(action.path, make_sample(schema.schema if schema is not None else {}))
        headers = isinstance(action, CallHttp) and action.keeps_headers
        for part, is_kept in (("stdout", action.keeps_stdout), ("headers", headers)):
            if is_kept:
                message = f"the {part} of {action.path} are looked at, and the test does not say them"
                self._miss(message, ("steps",), f"write under `steps`: {step.id}: {{{part}: …}}")
        outcome = come_to(Play(), action)
        assert isinstance(outcome, Success)
        seen = self.looked_at.setdefault
        outputs = Unsaid(lambda part: seen(action.path, {}).setdefault(part)) if schema is None else {}
        return replace(outcome, outputs=outputs)

    # What is heard

    def _hear(self, message: Message) -> bool:
        """Whether the run takes it."""
        try:
            run, facts = advance(self.program, self.came.run, message)
        except CheckpointflowError as error:
            self.came.refused = str(error)
            return False
        self.came.run = run
        self.came.facts += facts
        for path in (fact.path for fact in facts if isinstance(fact, ENTERED)):
            self.came.entered[path] = None
            if split(path)[2] > MAX_VISITS:
                step = split(path)[1]
                self._miss(f"the run has come to {step} more than {MAX_VISITS} times", ("name",), LISTS)
        return True

    def _miss_outputs(self, path: str, outputs: Any) -> None:
        example = f"{split(path)[1]}: {{outputs: {write_flow(outputs)}}}"
        message = f"the outputs of {path} are looked at, and the test does not say them"
        self._miss(message, ("steps",), f"write under `steps`: {example}")

    def _miss(self, message: str, path: tuple[str, ...], hint: str | None = None) -> None:
        self.came.gaps.append(Diagnostic(message, path, hint))


class Unsaid(dict[str, Any]):  # noqa: PLW1641, no dict has a hash
    """Outputs that a test does not say; *tell* hears of every member that somebody looks for."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        super().__init__()
        self.tell = tell

    def __contains__(self, key: object) -> bool:
        self.tell(str(key))
        return False

    def __len__(self) -> int:
        self.tell(WHOLE)
        return 0

    def __eq__(self, other: object) -> bool:
        return self is other  # the engine asks whether there are any at all: that looks at none


def tell_action(scene: Scene, action: Effect) -> str:
    """The command, or the method and URL of the call, as a person reads it: secrets by their names."""
    body, step = locate(scene, action.path)
    compiled = body.program.step(step.id)
    if not isinstance(step, Cli):
        assert isinstance(action, CallHttp)
        return f"{action.method} {show_marks(action.url)}"
    names = {**scope(scene, body), "secrets": {name: f"${{secrets.{name}}}" for name in compiled.secrets}}
    text = "".join(
        piece if isinstance(piece, str) else as_text(evaluate(piece.expression, names))
        for piece in compiled.command.pieces
    )
    return (part_commands(text, compiled.shell) if isinstance(step.command, tuple) else text).strip()
