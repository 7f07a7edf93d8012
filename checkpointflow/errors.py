"""Every error that is raised on purpose: a class is a code, an exit code and a sentence.

An error is raised for a request that makes no sense, and leaves everything as it was. What goes
wrong inside a run (a command that fails, a value that does not fit) is data, never an exception.
One place makes envelopes of them: `checkpointflow.cli`.

Codes and exit codes are a contract with scripts and agents; they never change their meaning.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from checkpointflow.diagnostics import Diagnostic


class CheckpointflowError(Exception):
    """Base of all; `sentence` is filled with the fields that the error is raised with.

    `step_id` names the step at fault, `details` is JSON for a program to read. `remedy` is the command that
    helps with a run of which this is told: None where that follows from how the run stands, "" if none does.
    """

    code: ClassVar[str] = "ERR_INTERNAL"
    exit_code: ClassVar[int] = 90
    sentence: ClassVar[str] = "{problem}"
    remedy: ClassVar[str | None] = None

    def __init__(self, *, step_id: str | None = None, details: Any = None, **fields: object) -> None:
        self.step_id = step_id
        self.details = details
        self.fields = fields
        self.run: Any = None
        self.directory: Any = None
        text = self.sentence.format(**fields)
        super().__init__(text.encode(errors="backslashreplace").decode())  # names may hold any bytes

    def about(self, run: Any, directory: Any) -> Self:
        """The same, of a *run* in *directory* that can be gone on with."""
        self.run, self.directory = run, directory
        return self


# 2: the command line


class UsageError(CheckpointflowError):
    code, exit_code = "ERR_USAGE", 2
    remedy = ""


# 10: what was given does not validate


class InvalidWorkflow(CheckpointflowError):
    """A document with problems, in the order of the file; it takes the code of the first.

    But a kind of step that is not known is what matters most to somebody who wants to run the document,
    and one mistake among others to somebody who checks it.
    """

    exit_code = 10
    sentence = "{first}{more}"

    def __init__(self, problems: list[Diagnostic], *, to_run: bool = False) -> None:
        self.problems = problems
        unsupported = any(problem.code == UnsupportedStep.code for problem in problems)
        code = UnsupportedStep.code if unsupported and to_run else problems[0].code
        if code == UnsupportedStep.code and not to_run:
            code = "ERR_VALIDATION_WORKFLOW"
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(first=problems[0], more=more, details=[p.as_detail() for p in problems])
        self.code = code  # type: ignore[misc]
        self.exit_code = 80 if code.startswith("ERR_UNSUPPORTED") else 10  # type: ignore[misc]


class WarningsFound(CheckpointflowError):
    """A workflow with warnings, which were to count as mistakes."""

    code, exit_code = "ERR_VALIDATION_WARNINGS", 10
    sentence = "{first} (warnings are refused here; there are {count})"


class ExpressionError(CheckpointflowError):
    """Text that is not an expression; `column` counts from 1 within `text`."""

    code, exit_code = "ERR_VALIDATION_WORKFLOW", 10
    sentence = "{problem}\n    {text}\n    {caret}"

    def __init__(self, problem: str, text: str, column: int, hint: str | None = None) -> None:
        self.problem, self.text, self.column, self.hint = problem, text, column, hint
        super().__init__(problem=problem, text=text, caret=" " * (column - 1) + "^")


class InvalidSchema(CheckpointflowError):
    """A JSON Schema that is wrong as a schema; `details` lists `{path, keyword, message}`."""

    code, exit_code = "ERR_VALIDATION_WORKFLOW", 10


class InvalidInput(CheckpointflowError):
    code, exit_code = "ERR_VALIDATION_INPUT", 10


class InvalidEvent(CheckpointflowError):
    code, exit_code = "ERR_VALIDATION_EVENT_INPUT", 10


class FileMissing(CheckpointflowError):
    code, exit_code = "ERR_FILE_NOT_FOUND", 10
    remedy = ""
    sentence = "{file}: {problem}"


class FileAlreadyThere(CheckpointflowError):
    code, exit_code = "ERR_FILE_EXISTS", 10
    remedy = ""
    sentence = "{file} exists already; name another file, or overwrite it with --force"


class RunNotFound(CheckpointflowError):
    code, exit_code = "ERR_RUN_NOT_FOUND", 10


# 20: the request does not fit the run's state, or cpf was told to stop


class EventMismatch(CheckpointflowError):
    code, exit_code = "ERR_RESUME_EVENT_MISMATCH", 20


class AnsweredOtherwise(CheckpointflowError):
    """Another answer to a wait that has been answered; `details` says which one it had."""

    code, exit_code = "ERR_ANSWERED_OTHERWISE", 20
    sentence = "{event} at {step} was answered otherwise already, by {by} at {at}; nothing was changed"


class RunNotWaiting(CheckpointflowError):
    code, exit_code = "ERR_RUN_NOT_WAITING", 20
    sentence = "run {run_id} is {status}, so {problem}"


class NothingWaits(CheckpointflowError):
    """No run of a store asks anything."""

    code, exit_code = "ERR_RUN_NOT_WAITING", 20
    sentence = "no run waits for an answer"


class WaitExpired(CheckpointflowError):
    code, exit_code = "ERR_WAIT_EXPIRED", 20
    sentence = "the wait at {path} ended at {timeout_at}, so the event comes too late; its time-out is next"


class RunKeyTaken(CheckpointflowError):
    """A run key that another run has; nothing is started or taken in."""

    code, exit_code = "ERR_RUN_KEY_TAKEN", 20
    sentence = "the run {run_id} has the key {key!r} already, {why}"


class DirectoryGone(CheckpointflowError):
    """Commands cannot run where they are to; nothing is taken or done."""

    code, exit_code = "ERR_DIRECTORY_GONE", 20
    sentence = "{directory}, where commands are to run, is no directory here; say where with --cwd DIR"


class NotTrusted(CheckpointflowError):
    """A run that was imported, and of which nobody here has said yet where its commands may run."""

    code, exit_code = "ERR_NOT_TRUSTED", 20
    sentence = (
        "run {run_id} was imported, and its commands would run in {cwd}; look at what it does, then say "
        "--trust (go on there) or --cwd DIR (go on in another directory), once"
    )


class NotRetryable(CheckpointflowError):
    code, exit_code = "ERR_NOT_RETRYABLE", 20


class RunNotEnded(CheckpointflowError):
    code, exit_code = "ERR_RUN_NOT_ENDED", 20
    sentence = (
        "run {run_id} is {status}, and only runs that have ended are removed; "
        "end it with `cpf cancel`, or remove it all the same with --force"
    )
    remedy = ""


class Interrupted(CheckpointflowError):
    """cpf was told to stop, and did."""

    code, exit_code = "ERR_INTERRUPTED", 20
    sentence = "cpf was told to stop by {signal}"


class NotAnswered(CheckpointflowError):
    """Somebody who was asked did not want to answer."""

    code, exit_code = "ERR_NOT_ANSWERED", 20
    sentence = "the answer was not sent"


# 30: an expression or a decision that cannot be had; inside a run these become its failure


class EvaluationError(CheckpointflowError):
    """An expression without a value in this run, such as a path that leads nowhere.

    is_lost: there was a value, which cannot be had any more.
    """

    code, exit_code = "ERR_STEP_FAILED", 30
    sentence = "{problem}, in ${{{text}}}"

    def __init__(self, problem: str, text: str, *, is_lost: bool = False) -> None:
        self.problem, self.text, self.is_lost = problem, text, is_lost
        super().__init__(problem=problem, text=text)


class NoAnswer(CheckpointflowError):
    """The command that was to answer gave no answer at all; the question stays open."""

    code, exit_code = "ERR_NO_ANSWER", 30
    sentence = "the command {problem}; the question stays open"


class NoTransition(CheckpointflowError):
    code, exit_code = "ERR_NO_TRANSITION", 30


# 60: the state could not be read or written


class PersistenceError(CheckpointflowError):
    code, exit_code = "ERR_PERSISTENCE", 60
    sentence = "{file}: {problem}"


class SystemRefused(CheckpointflowError):
    """No memory, descriptor or thread was left, or the disk has no room for an answer."""

    code, exit_code = "ERR_PERSISTENCE", 60
    sentence = "the system refused: {problem}"


class StateCorrupt(CheckpointflowError):
    code, exit_code = "ERR_STATE_CORRUPT", 60
    remedy = "verify"
    sentence = "{file}: {problem}"


# 70: somebody else holds it


class LockConflict(CheckpointflowError):
    code, exit_code = "ERR_LOCK_CONFLICT", 70
    sentence = "{what} is held by {holder}; try again when it has ended"


class RunDiverged(CheckpointflowError):
    code, exit_code = "ERR_RUN_DIVERGED", 70


# 80: not supported


class UnsupportedStep(CheckpointflowError):
    code, exit_code = "ERR_UNSUPPORTED_STEP", 80


class UnsupportedSchema(CheckpointflowError):
    """A JSON Schema that we cannot honour; `details` lists `{path, keyword, message}`."""

    code, exit_code = "ERR_UNSUPPORTED_SCHEMA", 80


class NotDeletable(CheckpointflowError):
    """A cluster that does not let this client remove histories; nothing was removed."""

    code, exit_code = "ERR_NOT_DELETABLE", 80
    remedy = ""
    sentence = "{cluster} does not let this client delete run {run_id} ({problem}); its retention takes it"


# 90: our bug


class InternalError(CheckpointflowError):
    code, exit_code = "ERR_INTERNAL", 90
    sentence = "this is a bug in cpf: {problem}; `cpf --debug …` shows the traceback"
