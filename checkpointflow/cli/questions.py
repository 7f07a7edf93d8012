"""A question of a run, as a command gets it that is to answer, and who of several has it answered."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from msgspec import UNSET, Struct

from checkpointflow.cli.driving import find_driver
from checkpointflow.cli.operators import run_command
from checkpointflow.documents.program import Program
from checkpointflow.drivers import local
from checkpointflow.drivers.secrets import Secrets, find_secrets
from checkpointflow.drivers.sources import read_own_copies
from checkpointflow.engine.bodies import Scene, locate
from checkpointflow.engine.copying import copy_as
from checkpointflow.engine.run import Run, Waiting, waits
from checkpointflow.engine.scope import scope
from checkpointflow.engine.settle import is_overdue
from checkpointflow.engine.soundness import find_unsound
from checkpointflow.errors import CheckpointflowError, InvalidEvent, LockConflict, NoAnswer, WaitExpired
from checkpointflow.expressions.evaluation import evaluate
from checkpointflow.expressions.templates import Template, holes
from checkpointflow.json_text import read_json
from checkpointflow.store.clock import now
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import translate_errors
from checkpointflow.store.layout import LOCK, question_name
from checkpointflow.store.locks import hold_lock, make_mark, read_holder


class Lacking(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was wrong with the answer before. answer: as it was given, if it was JSON."""

    answer: Any = UNSET
    problem: str
    details: Any = None


class Question(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a command is asked. values: those that stand in its texts, by what the document calls them;
    attempt: how often it is asked; lacking: why again."""

    run_id: str
    workflow_id: str
    workflow_name: str | None = None
    workflow_description: str | None = None
    step: str
    event_name: str
    audience: str
    prompt: str | None = None
    summary: str | None = None
    instructions: str | None = None
    risk_level: str | None = None
    timeout_at: str | None = None
    values: dict[str, Any]
    input_schema: dict[str, Any]
    attempt: int
    lacking: Lacking | None = None


class Asker:
    """Whoever has the question at *path* answered by a command. secrets: that its document names."""

    def __init__(self, directory: RunDirectory, path: str) -> None:
        self.directory, self.path = directory, path
        self._mark = make_mark(str(directory.place), f"question:{path}", 1)
        self._secrets = Secrets(())

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Be the one who has it answered; the command of one who died meanwhile is ended.

        Raises LockConflict at once, PersistenceError.
        """
        file = self.directory.file(question_name(self.path))
        with translate_errors(file), suppress(FileExistsError):
            os.mkdir(file.parent, 0o700)  # and nothing above it: the run may just have been removed
        has_crashed = read_holder(file) is not None  # or is at work, as is seen next
        what = f"the question {self.path} of run {self.directory.place.name}"
        with hold_lock(file, what, "work", now(), 0):
            if has_crashed:
                from checkpointflow.drivers.processes import end, find_attempt  # late: that is rare

                end(find_attempt({self._mark}))
            yield

    def find(self) -> Question | None:
        """The question as it stands; None if it is none any more, or one that only a person can answer.

        Raises what an answer to it would be refused with, whatever that says.
        """
        run = self.directory.load()
        record = waits(run).get(self.path)
        if record is None or record.wait.in_doubt is not None:
            return None
        if is_overdue(record.wait, now()):
            raise WaitExpired(path=self.path, timeout_at=record.wait.timeout_at)
        if run.status == "running" and self.directory.runs_here and self.directory.seems_held():
            holder = read_holder(self.directory.place / LOCK)
            raise LockConflict(what=f"run {run.run_id}", holder=holder or "another process")
        find_driver(self.directory).choose_directory(self.directory, run, local.WHERE_IT_WAS, local.HERE)
        program = read_own_copies(self.directory, run.workflow)
        self._secrets = find_secrets(program)
        return _make(program, run, self.path, record)

    def ask(self, question: Question, command: str, seconds: float) -> Any:
        """What *command* answers, without a secret; it has no longer than the question.

        Raises NoAnswer; InvalidEvent for what is no JSON; WaitExpired.
        """
        from msgspec.json import encode

        end = question.timeout_at
        if end is not None:
            from checkpointflow.cli.durations import seconds_between  # late: it brings the calendar

            seconds = max(0.0, min(seconds, seconds_between(now(), end)))

        variables = {
            "CPF_RUN_ID": question.run_id,
            "CPF_STEP": question.step,
            "CPF_EVENT": question.event_name,
        }
        given = encode(question) + b"\n"
        ended = run_command(command, given, self._mark, seconds, variables=variables, keeps=True)
        if ended.problem is not None and end is not None and end <= now():
            raise WaitExpired(path=self.path, timeout_at=end)
        if ended.problem is not None:
            raise NoAnswer(problem=self._secrets.mask_text(ended.problem))
        try:
            return self._secrets.mask_value(read_json(ended.printed))
        except ValueError as error:
            raise InvalidEvent(problem=f"what the command printed is no answer: {error}") from None


def _make(program: Program, run: Run, path: str, record: Waiting) -> Question:
    return copy_as(
        record.wait,
        Question,
        run_id=run.run_id,
        workflow_id=run.workflow.id,
        workflow_name=run.workflow.name,
        workflow_description=run.workflow.description,
        step=path,
        values={} if find_unsound(program, run) else _find_values(program, run, path),
        attempt=1,
        lacking=None,
    )


def _find_values(program: Program, run: Run, path: str) -> dict[str, Any]:
    """The values that the document shows in the question at *path*."""
    scene = Scene(program, run, "")
    body, step = locate(scene, path)
    texts = (body.program.step(step.id).try_read(name) for name in ("prompt", "summary", "instructions"))
    values = {}
    for text in texts:
        for expression in holes(text) if isinstance(text, Template) else ():
            with suppress(CheckpointflowError):  # it cannot be had any more
                values[expression.text] = evaluate(expression, scope(scene, body))
    return values
