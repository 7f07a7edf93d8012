"""Every way that a workflow can go: the engine itself is asked what would follow, of values made up.

A state is a run between two rounds of the engine. States that agree in all that can still be looked at are
one (`sight`), so that the cost follows the document, not the number of ways; each is come to first by a way
on which as little happens as can be. Nothing is guessed: what bounds the walk is told in `limits`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

from msgspec import UNSET, Struct
from msgspec.structs import replace

from checkpointflow.documents.model import ActionStep, AnyStep, Invariant
from checkpointflow.documents.program import Program
from checkpointflow.engine.bodies import Scene, locate
from checkpointflow.engine.evolution import apply, fork
from checkpointflow.engine.facts import Completion, Fact, OfStep, StepFailed
from checkpointflow.engine.kinds import ENDLESS_LOOP
from checkpointflow.engine.messages import Begin
from checkpointflow.engine.path import split
from checkpointflow.engine.rules import conclude, receive
from checkpointflow.engine.run import Record, Run, Waiting, name_position, pending, waits
from checkpointflow.engine.settle import is_overdue
from checkpointflow.errors import CheckpointflowError, InvalidInput
from checkpointflow.explore.findings import Then, Way
from checkpointflow.explore.graph import States
from checkpointflow.explore.interest import Interest
from checkpointflow.explore.lazy import INPUTS, Decisions, Oracle, decide_all, fill, make
from checkpointflow.explore.moves import DIGEST, NOW, UNCHAINED, Choice, Move, World, expect_object
from checkpointflow.explore.rules import Counts, Judge
from checkpointflow.explore.sight import Sight, Signature, forget_visits
from checkpointflow.explore.values import UNMADE, Maker

MAX_STATES = 200_000


class State:
    """A run that can be come to, and the way there.

    laps: how often steps were come to since something happened, as the engine counts them.
    """

    def __init__(self, run: Run, now: str, decisions: Decisions, counts: Counts) -> None:
        self.run, self.now, self.decisions, self.counts = run, now, decisions, counts
        self.before: State | None = None
        self.choice: Choice | None = None
        self.number = -1
        self.laps: Counter[tuple[str, str]] = Counter()
        position = name_position(run.cursors, run.outcome)
        self.place = None if position is None else split(position)[1]
        self.is_crashed = False

    def follow(self, new: Turn, decisions: Decisions, now: str, choice: Choice | None) -> State:
        """The state after this one."""
        state = State(new.run, now, decisions, new.counts)
        state.before, state.choice = self, choice
        if choice is None:
            state.laps = self.laps + Counter(split(f.path)[:2] for f in new.facts if isinstance(f, OfStep))
        state.is_crashed = self.is_crashed or (choice is not None and choice.what == "crashes")
        return state

    def closes_silent_circle(self) -> bool:
        """Whether the way has come to this state before, and nothing has happened since."""
        state = self
        while state.choice is None and state.before is not None:
            state = state.before
            if state.number == self.number:
                return True
        return False

    def tell(self) -> Way:
        """The way there, with all that was decided on it."""
        choices: list[Choice] = []
        state: State | None = self
        while state is not None:
            if state.choice is not None:
                choices.append(state.choice)
            state = state.before
        first, *rest = reversed(choices)
        events = tuple(choice.tell(self.decisions) for choice in rest)
        return Way(**fill(first.said, self.decisions), events=events)


class Turn(Struct, frozen=True):
    """What a round of the engine, or a message, leads to. broken: the rules that it breaks."""

    run: Run
    facts: list[Fact]
    counts: Counts
    broken: list[Invariant]


class Watcher:
    """What looks on as the ways are walked: does nothing by itself."""

    def see(self, state: State, turn: Turn) -> None:
        """*state* is what *turn* led to."""

    def see_refusal(
        self, state: State, choice: Choice, decisions: Decisions, error: CheckpointflowError
    ) -> None:
        """At *state* something was not taken that fits its schema."""

    def see_stuck(self, state: State) -> None:
        """Nothing leads on from *state*."""

    def see_end(self, state: State) -> None:
        """The run has ended in *state*."""


class Walk:
    """The ways of *program*, walked by `go`.

    given: the inputs, if they are not to be made up; crash: whether cpf is killed once on some ways;
    is_over: whether to stop; most: the most states to look at.
    """

    def __init__(
        self,
        program: Program,
        watcher: Watcher,
        *,
        given: Any = UNSET,
        crash: bool = False,
    ) -> None:
        self.program, self.given, self.crash, self.watcher = program, given, crash, watcher
        self.judge = Judge(program)
        self.oracle = Oracle()
        self.interest = Interest(program)
        self.sight = Sight(self.interest.programs)
        self.world = World(program, self.interest, self.oracle)
        self.states = States()
        self.starts: list[int] = []
        self.seen: dict[int, State] = {}
        self.crashes: dict[str, tuple[State, State, Then]] = {}
        self.is_complete = True

    def go(self, is_over: Callable[[], bool] = lambda: False, most: int = MAX_STATES) -> None:
        """Walk all ways, or until *is_over* or *most* states have been looked at."""
        queue: deque[State] = deque()
        for state in self._begin():
            self._number(state)
            self.starts.append(state.number)
            queue.append(state)
        while queue:
            state = queue.popleft()
            if state.number in self.seen:
                continue
            if len(self.seen) >= most or is_over():
                self.is_complete = False
                return
            self.seen[state.number] = state
            followers = [self._number(new) for new in self._find_followers(state)]
            if any(new.closes_silent_circle() for new in followers):
                followers = [self._number(new) for new in self._run_in_circles(state)]
            for new in followers:
                if new.choice is None or new.choice.what != "cancelled":  # a way out that no document needs
                    self.states.join(state.number, new.number, is_asked=_is_asked(new.choice))
            ahead = [new for new in followers if new.number not in self.seen]
            queue.extendleft(new for new in reversed(ahead) if new.choice is None)
            queue.extend(new for new in ahead if new.choice is not None)
            del state.run  # it is large, and nobody goes on from it again

    def _number(self, state: State) -> State:
        overdue = sorted(
            forget_visits(p) for p, w in waits(state.run).items() if is_overdue(w.wait, state.now)
        )
        signature = Signature(self.sight, self.program, state.run, state.decisions)
        state.number = self.states.number(signature.digest(state.counts, state.is_crashed, overdue))
        return state

    def _begin(self) -> Iterator[State]:
        schema = expect_object(self.program.workflow.inputs)
        if self.given is UNSET:
            maker = Maker(schema, self.interest.doubts, fills_defaults=True)
            found = make(self.oracle, INPUTS, maker.shape(self.interest.of(self.program, "", INPUTS)))
        else:
            found = [self.given]
        for inputs, env in product(found, self.world.list_environments()):
            begin = Begin(now=NOW, run_id="0" * 26, inputs=fill(inputs, {}), digest=DIGEST, env=env)
            try:
                run = apply(None, receive(self.program, None, begin), UNCHAINED)
            except InvalidInput:
                if self.given is not UNSET:
                    raise
                self.interest.doubts[UNMADE] = None
                continue
            lazy = replace(run, inputs=inputs if self.given is UNSET else run.inputs)
            state = State(lazy, NOW, {}, self.judge.start)
            state.choice = Choice("starts", said={"inputs": lazy.inputs, "env": env})
            yield state

    def _find_followers(self, state: State) -> Iterator[State]:
        if state.run.outcome is not None:
            self.states.ends.add(state.number)
            self.watcher.see_end(state)
            return
        for decisions, turn in self.oracle.branch(state.decisions, lambda: self._settle(state)):
            if turn.facts:
                yield self._show(state.follow(turn, decisions, state.now, None), turn)
            else:
                yield from self._move_on(state, decisions)

    def _run_in_circles(self, state: State) -> Iterator[State]:
        """What the engine makes of steps that do nothing and lead to each other for ever, from *state* on."""

        def run_on() -> Turn:
            run, laps, facts = state.run, state.laps.copy(), list[Fact]()
            while not any(isinstance(f, StepFailed) and f.error.code == ENDLESS_LOOP for f in facts):
                facts = conclude(Scene(self.program, run, state.now), laps)
                run = apply(fork(run), facts, UNCHAINED)
            return Turn(run, facts, state.counts, [])

        for decisions, turn in self.oracle.branch(state.decisions, run_on):
            yield self._show(state.follow(turn, decisions, state.now, None), turn)

    def _show(self, state: State, turn: Turn) -> State:
        self.watcher.see(state, turn)
        return state

    def _settle(self, state: State) -> Turn:
        """One round of the engine."""
        facts = conclude(Scene(self.program, state.run, state.now), Counter())
        if not facts:
            return Turn(state.run, [], state.counts, [])
        return self._judge(apply(fork(state.run), facts, UNCHAINED), facts, state.counts)

    def _judge(self, run: Run, facts: list[Fact], counts: Counts) -> Turn:
        outcome = run.outcome
        if isinstance(outcome, Completion) and outcome.result is not UNSET:
            run = replace(run, outcome=Completion(decide_all(outcome.result)))
        return Turn(run, facts, *self.judge.judge(run, facts, counts))

    def _move_on(self, state: State, decisions: Decisions) -> Iterator[State]:
        """What can happen in *state*, which is at rest."""
        is_stuck = True
        moves = [*self.world.list_moves(state.run, state.now), *self._list_interruptions(state)]
        for move in moves:
            for known, turn in self.oracle.branch(decisions, partial(self._try, move, state.counts)):
                if isinstance(turn, CheckpointflowError):
                    self.watcher.see_refusal(state, move.choice, known, turn)
                    continue
                is_stuck = is_stuck and move.choice.what == "cancelled"
                new = state.follow(turn, known, move.now, move.choice)
                if move.choice.what == "crashes":
                    path = move.choice.path
                    then = _say_what_follows(
                        locate(Scene(self.program, new.run, ""), path)[1], new.run.steps[path]
                    )
                    self.crashes[forget_visits(path)] = (state, new, then)
                yield self._show(new, turn)
        if is_stuck:
            self.watcher.see_stuck(state)

    def _try(self, move: Move, counts: Counts) -> Turn | CheckpointflowError:
        try:
            run, facts = move.make()
        except CheckpointflowError as error:
            return error
        return self._judge(run, facts, counts)

    def _list_interruptions(self, state: State) -> Iterator[Move]:
        """That somebody cancels the run; and a crash in each step, once."""
        cancelled = None if state.is_crashed else self.world.cancel(state.run, state.now)
        if cancelled is not None:
            yield cancelled
        todo = pending(state.run)
        if self.crash and todo and not state.is_crashed and forget_visits(todo[0].path) not in self.crashes:
            yield self.world.crash(state.run, state.now)


def _say_what_follows(step: AnyStep, record: Record) -> Then:
    """What became of a step that was under way when cpf was killed."""
    if isinstance(record, Waiting):
        return "asks"
    return "runs_again" if isinstance(step, ActionStep) and step.idempotent else "may_run_twice"


def _is_asked(choice: Choice | None) -> bool:
    return choice is not None and choice.what in ("answered", "times_out")
