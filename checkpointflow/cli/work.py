"""`cpf work`: what waits in a store, answered by a command.

Each question has one asker at a time (`questions.Asker.hold`), who looks again whether it still waits. What
an answer must fit is for its delivery to say, so nothing is checked twice.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable, Set
from contextlib import suppress

import click
from msgspec import Struct, to_builtins
from msgspec.structs import replace

from checkpointflow.cli.driving import Driving, Form, progress_option, tells_progress
from checkpointflow.cli.durations import parse_span
from checkpointflow.cli.envelope import Reply, wrap_result
from checkpointflow.cli.following import Next, list_moves, make_lines
from checkpointflow.cli.location import find_store, note_run
from checkpointflow.cli.options import base_dir_option, lock_option
from checkpointflow.cli.questions import Asker, Lacking, Question
from checkpointflow.cli.screen import find_screen
from checkpointflow.cli.waits import OpenQuestion, list_questions
from checkpointflow.drivers import local
from checkpointflow.drivers.signals import PROCESS
from checkpointflow.engine.answers import Answer
from checkpointflow.errors import (
    AnsweredOtherwise,
    CheckpointflowError,
    EventMismatch,
    Interrupted,
    InvalidEvent,
    LockConflict,
    NoTransition,
    RunNotWaiting,
    WaitExpired,
)
from checkpointflow.store.clock import now
from checkpointflow.store.files import refuse_shared
from checkpointflow.store.layout import STATE
from checkpointflow.store.store import Store

POLL_SECONDS = 2.0
REST_FACTOR = 9  # a look at a large store, and nine times as long without one
FIRST_PAUSE_SECONDS = 60.0
MAX_PAUSE_SECONDS = 3600.0
MAX_ROWS = 50
MAX_NEXT = 10

FALLEN = (AnsweredOtherwise, EventMismatch, RunNotWaiting, WaitExpired)
"""What an answer is refused with that comes too late."""

Key = tuple[str, str, str]


class Terms(Struct, frozen=True):
    """How questions are answered: *command* has *seconds* for each of *attempts*."""

    command: str
    attempts: int
    seconds: float
    lock_timeout: float
    form: Form


class Row(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A question, and what became of it. attempts: how often the command was asked; status: of the run, once
    it was answered; code, problem: why it was not, or what went wrong with the run afterwards."""

    run_id: str
    workflow_id: str
    step: str
    event_name: str
    attempts: int = 0
    status: str | None = None
    code: str | None = None
    problem: str | None = None


@click.command()
@base_dir_option
@click.option(
    "--exec",
    "program",
    required=True,
    metavar="CMD",
    help="What answers: a shell command; see cpf guide work.",
)
@click.option(
    "--audience",
    type=click.Choice(("user", "agent", "system")),
    default="agent",
    show_default=True,
    help="Whose questions.",
)
@click.option("--workflow", "-w", metavar="ID", help="Only runs of this workflow.")
@click.option("--once", is_flag=True, help="What waits now, each question once; else on and on.")
@click.option(
    "--attempts",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    metavar="N",
    help="How often a question is asked whose answer does not fit.",
)
@click.option(
    "--timeout", type=parse_span, default="10m", show_default=True, metavar="SPAN", help="For CMD, each time."
)
@progress_option
@lock_option(60)
def command(
    base_dir: str | None,
    program: str,
    audience: str,
    workflow: str | None,
    once: bool,
    attempts: int,
    timeout: float,
    progress: Form,
    lock_timeout: float,
) -> Reply:
    """Have CMD answer what waits in the store, and go on with each run that was answered.

    CMD gets the question as JSON on stdin, and prints the answer as JSON. It ends with Ctrl-C.
    """
    worker = Worker(find_store(base_dir), Terms(program, attempts, timeout, lock_timeout, progress))
    try:
        worker.take_all(audience, workflow)
        while not once or worker.undelivered:
            PROCESS.listen(time.sleep, worker.pause)
            worker.take_all(audience, workflow, worker.undelivered if once else None)
    except (KeyboardInterrupt, Interrupted):
        if once:
            raise
    return worker.report(exit_code=30 if once and worker.has_failed else 0)


class Worker:
    """One who has questions answered, one at a time. pause: how long to wait before the next look."""

    def __init__(self, store: Store, terms: Terms) -> None:
        self.store, self.terms = store, terms
        self.pause = POLL_SECONDS
        self.answered = deque[Row](maxlen=MAX_ROWS)
        self.fell_away = deque[Row](maxlen=MAX_ROWS)
        self.left: dict[Key, Row] = {}
        self._count = 0
        self._attempts = 0
        self._pauses: dict[Key, tuple[float, float]] = {}
        self._kept: dict[Key, object] = {}
        self._warnings: dict[str, None] = {}
        self._screen = find_screen(sys.stderr) if tells_progress(terms.form) else None

    def take_all(self, audience: str, workflow: str | None, only: Set[Key] | None = None) -> None:
        """Have all answered that waits now, or *only* these, the oldest first."""
        begin = time.monotonic()
        found = list_questions(self.store, now(), audience, workflow)
        self.pause = max(POLL_SECONDS, REST_FACTOR * (time.monotonic() - begin))
        keys = {_name(asked) for asked in found}
        for key in self.undelivered - keys:
            self._note_fallen(key, self.left[key], "somebody else has answered")
        self.left = {key: row for key, row in self.left.items() if key in keys}
        self._pauses = {key: pause for key, pause in self._pauses.items() if key in keys}
        self._kept = {key: payload for key, payload in self._kept.items() if key in keys}
        for asked in found:
            is_wanted = only is None or _name(asked) in only
            if is_wanted and self._pauses.get(_name(asked), (0, 0))[1] <= time.monotonic():
                self._take(asked)

    @property
    def undelivered(self) -> set[Key]:
        """The questions that have an answer, of runs that somebody else works on."""
        return {key for key in self._kept if key in self.left and self.left[key].code == LockConflict.code}

    @property
    def has_failed(self) -> bool:
        """Whether a question is left that nobody else works on."""
        return any(row.code != LockConflict.code for row in self.left.values())

    def report(self, exit_code: int) -> Reply:
        """What became of all that was asked, the latest of it, and what can be done about what is left."""
        left = list(self.left.values())
        result = {
            "count": {"answered": self._count, "left": len(left)},
            "answered": to_builtins(list(self.answered)),
            "fell_away": to_builtins(list(self.fell_away)),
            "left": to_builtins(left[:MAX_ROWS]),
        }
        told = tuple(self._warnings)[-MAX_ROWS:]
        return wrap_result(
            "work", result, warnings=told, exit_code=exit_code, store=self.store, next=self._find_next(left)
        )

    def _find_next(self, left: Iterable[Row]) -> tuple[Next, ...]:
        found: list[Next] = []
        for run_id in dict.fromkeys(row.run_id for row in left):
            directory = self.store.at(run_id)
            with suppress(CheckpointflowError):
                found += make_lines(list_moves(directory.load(), directory), directory)
            if len(found) >= MAX_NEXT:
                break
        return tuple(found[:MAX_NEXT])

    def _take(self, asked: OpenQuestion) -> None:
        """Have one question answered, if nobody else does; a run that cannot be gone on with is not asked."""
        PROCESS.start_listening()  # a run that was driven before has left it deaf
        key, self._attempts = _name(asked), 0
        row = Row(
            run_id=asked.run.run_id,
            workflow_id=asked.head.workflow.id,
            step=asked.wait.step,
            event_name=asked.wait.event_name,
        )
        directory, store = note_run(self.store.at(row.run_id)), self.store
        asker = Asker(directory, row.step)
        try:
            refuse_shared(store.allow_shared, store.base, store.runs, directory.place)
            with asker.hold():
                question = asker.find()
                if question is not None:
                    self._answer(asker, question, row, key)
                elif key in self._kept:
                    self._note_fallen(key, row, "somebody else has answered")
            self.left.pop(key, None)
        except Interrupted:
            raise
        except CheckpointflowError as error:
            row = replace(row, attempts=self._attempts, code=error.code, problem=str(error))
            is_gone = not (directory.place / STATE).exists()
            has_answer = self._attempts > 0 or key in self._kept
            if is_gone or (has_answer and isinstance(error, FALLEN)):
                self._note_fallen(key, row, f"the answer comes too late: {error}")
            else:
                self._leave(key, row)

    def _leave(self, key: Key, row: Row) -> None:
        if row.attempts and key not in self._kept:  # else a look costs nothing
            pause = min(2 * self._pauses.get(key, (FIRST_PAUSE_SECONDS / 2, 0))[0], MAX_PAUSE_SECONDS)
            self._pauses[key] = (pause, time.monotonic() + pause)
        if self.left.get(key) != row:
            what = "its answer is kept, and given again" if key in self._kept else "left"
            self._tell(row, f"{what}: {row.problem}")
        self.left[key] = row

    def _note_fallen(self, key: Key, row: Row, why: str) -> None:
        self.left.pop(key, None)
        self._kept.pop(key, None)
        self.fell_away.append(row)
        self._tell(row, f"{why}; the answer falls away")

    def _answer(self, asker: Asker, question: Question, row: Row, key: Key) -> None:
        """Have it asked until an answer fits; one that could not be delivered before comes first.

        Raises why that did not come about. An answer is kept where the run was held elsewhere.
        """
        for attempt in range(1, self.terms.attempts + 1):
            PROCESS.start_listening()
            self._attempts = attempt
            given: dict[str, object] = {}
            try:
                if key not in self._kept:
                    told = f"asked again ({attempt} of {self.terms.attempts})"
                    self._tell(row, "asked" if attempt == 1 else told)
                    self._kept[key] = asker.ask(question, self.terms.command, self.terms.seconds)
                given = {"answer": self._kept[key]}
                self._deliver(asker, self._kept[key], replace(row, attempts=attempt))
                del self._kept[key]
                return
            except (InvalidEvent, NoTransition) as error:
                self._kept.pop(key, None)
                if attempt == self.terms.attempts:
                    raise
                self._tell(row, f"sent back: {error}")
                lacking = Lacking(**given, problem=str(error), details=error.details)
                question = replace(question, attempt=attempt + 1, lacking=lacking)

    def _deliver(self, asker: Asker, payload: object, row: Row) -> None:
        """Deliver the answer, and go on with the run as far as it goes."""
        directory, driving = asker.directory, Driving(self.terms.form)
        given = Answer(event=row.event_name, step=row.step, payload=payload)
        world = driving.follow(lambda _: directory)
        try:
            delivered = local.deliver(directory, [given], lock_timeout=self.terms.lock_timeout, world=world)
        except CheckpointflowError as error:
            if not driving.has_changed:
                raise
            self._note_answered(replace(row, code=error.code, problem=str(error)))
            if isinstance(error, Interrupted):
                raise
            return
        if delivered.replayed:
            self.fell_away.append(row)
            self._tell(row, "somebody has given the same answer before, and it counts once")
            return
        told = driving.answer("work", delivered.run, directory).envelope.warnings
        self._warnings |= dict.fromkeys(told)
        self._note_answered(replace(row, status=delivered.run.status))

    def _note_answered(self, row: Row) -> None:
        self._count += 1
        self.answered.append(row)
        self._tell(row, f"answered; the run is {row.status}" if row.status else f"answered; {row.problem}")

    def _tell(self, row: Row, what: str) -> None:
        """Tell whoever looks on."""
        if self._screen is not None:
            with suppress(OSError):
                sys.stderr.write(self._screen.render([(f"{row.run_id[-4:]} {row.step}: {what}",)]))
                sys.stderr.flush()


def _name(asked: OpenQuestion) -> Key:
    """What tells it from every other question, also from one that the same step asks later."""
    return asked.run.run_id, asked.wait.step, asked.wait.since
