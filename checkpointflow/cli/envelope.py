"""What cpf prints: a run, or an error, as the one JSON object on stdout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct

from checkpointflow.cli.encoding import MAX_BYTES, encode
from checkpointflow.cli.following import (
    Next,
    Words,
    find_offers,
    list_moves,
    list_remedies,
    make_lines,
    make_next,
    name_answer,
)
from checkpointflow.cli.location import command_for, join_line
from checkpointflow.diagnostics import Diagnostic
from checkpointflow.engine.facts import Breakdown, Cancellation, Completion, Wait
from checkpointflow.engine.run import Run, Waiting, name_position, waits
from checkpointflow.errors import CheckpointflowError, RunNotFound
from checkpointflow.store.clock import make_id
from checkpointflow.store.directory import Note, RunDirectory
from checkpointflow.store.layout import is_run_id
from checkpointflow.store.store import Store

ENVELOPE_VERSION = "checkpointflow-run/v1"
MAX_DETAILS = 20
MAX_CHECKPOINT = (
    8  # names a checkpoint of one run as well as 64 characters do, which are 46 tokens for a model
)

LOOKING = ("inspect", "logs", "verify")
READING = ("diff", "explore", "flows", "list", "overview", "plan", "test", "validate", "wait", "waits")
"""Commands that can be given again, to show all: about one run, which else `status` shows; and about more."""

EXIT_CODES = {"completed": 0, "running": 0, "waiting": 40, "failed": 30, "cancelled": 50}


class Resume(Struct, frozen=True, kw_only=True):
    command: Annotated[str, Meta(description="A shell line that answers; response.json holds the answer.")]


class Doubt(Struct, frozen=True, kw_only=True):
    """The attempt whose outcome nobody knows, and where its output so far lies."""

    attempt: int
    started_at: str
    stdout: str
    stderr: str


class Cut(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What stands in place of a long value."""

    bytes: Annotated[int, Meta(description="The size of the value as JSON.")]
    head: Annotated[str, Meta(description="How it begins: as text, or else as JSON.")]
    file: Annotated[str | None, Meta(description="A file that has all of it.")] = None
    command: Annotated[str | None, Meta(description="A line that shows all of it.")] = None


class Place(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where something stands in a document; line and column count from 1."""

    file: Annotated[str | None, Meta(description="The document; left out if it came by standard input.")] = (
        None
    )
    line: int
    column: int | None = None


class WaitShown(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event that a run waits for."""

    kind: Annotated[Literal["external_event"], Meta(description="There is one kind of wait.")]
    audience: Annotated[str, Meta(description="Who is to answer: user, agent or system.")]
    event_name: str
    prompt: str | Cut | None = None
    summary: str | Cut | None = None
    input_schema: Annotated[dict[str, Any], Meta(description="A JSON Schema that the answer must fit.")]
    instructions: str | Cut | None = None
    timeout_at: str | None = None
    risk_level: str | None = None
    step: Annotated[str, Meta(description="The path of the step that waits.")]
    in_doubt: Doubt | None = None
    resume: Resume


class ErrorShown(Struct, frozen=True, kw_only=True, omit_defaults=True):
    code: Annotated[str, Meta(pattern="^ERR_[A-Z_]+$")]
    message: str
    step_id: str | None = None
    where: Annotated[Place | None, Meta(description="Where in a document that is which it tells of.")] = None
    tail: Annotated[tuple[str, ...], Meta(description="The last lines that the failed step printed.")] = ()
    details: Any = None
    count: Annotated[int | None, Meta(description="How many details there are, of which some are shown.")] = (
        None
    )


class LogShown(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one attempt of a step printed on one stream; `truncated` when only its end is shown."""

    step: str
    attempt: int
    stream: Literal["stdout", "stderr"]
    size: int
    truncated: bool
    text: str


class Envelope(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every command prints. `ok` is true with the exit codes 0 and 40; absent fields are left out."""

    schema_version: Literal["checkpointflow-run/v1"]
    request_id: str
    ok: bool
    command: str
    status: Literal["running", "waiting", "completed", "failed", "cancelled", "error"]
    exit_code: Literal[0, 2, 10, 20, 30, 40, 50, 60, 70, 80, 90]
    run_id: str | None = None
    workflow_id: str | None = None
    workflow_name: str | None = None
    workflow_description: str | None = None
    workflow_version: str | None = None
    current_step_id: str | None = None
    checkpoint_id: Annotated[
        str | None, Meta(description=f"The first {MAX_CHECKPOINT} characters of it.")
    ] = None
    started_at: str | None = None
    updated_at: str | None = None
    wait: WaitShown | None = None
    waits: Annotated[tuple[WaitShown, ...], Meta(description="All open waits, when there are several.")] = ()
    replayed: Annotated[bool, Meta(description="What was given was given before, and counts once.")] = False
    result: Annotated[Any, Meta(description="What the run, or the command, has come to.")] = UNSET
    note: Annotated[Note | None, Meta(description="What was said when the run was handed over.")] = None
    error: ErrorShown | None = None
    reason: Annotated[str | None, Meta(description="Why the run was cancelled.")] = None
    next: Annotated[tuple[Next, ...], Meta(description="What can be done now, the likeliest first.")] = ()
    warnings: Annotated[
        tuple[str, ...], Meta(description="All warnings, but those that `result.warnings` lists.")
    ] = ()
    inputs: dict[str, Any] | None = None
    steps: Annotated[dict[str, Any] | None, Meta(description="The latest visit of each step, by path.")] = (
        None
    )
    history: Annotated[tuple[Any, ...] | None, Meta(description="What happened, oldest first.")] = None
    env: Annotated[
        dict[str, str] | None,
        Meta(description="The environment variables that the documents declare, as the run found them."),
    ] = None
    environment: Annotated[
        tuple[str, ...] | None, Meta(description="The environment variables that the commands read.")
    ] = None
    logs: tuple[LogShown, ...] | None = None


class Reply(Struct, frozen=True):
    """What a command has to tell: its envelope, and the run, or the store, that it is about, for the text.

    offers: what a person types to go on; doubts: warnings that stand in a document, which the result lists as
    data, and so the `warnings` of the envelope do not; is_asked: whoever reads this has just been asked what
    the run asks.
    """

    envelope: Envelope
    run: Run | None = None
    directory: RunDirectory | None = None
    store: Store | None = None
    offers: tuple[Words, ...] = ()
    doubts: tuple[Diagnostic, ...] = ()
    is_asked: bool = False


def wrap_result(
    command: str,
    result: Any,
    *,
    warnings: tuple[str, ...] = (),
    exit_code: int = 0,
    store: Store | None = None,
    doubts: tuple[Diagnostic, ...] | None = None,
    **more: Any,
) -> Reply:
    """The answer of a command that is not about one run, and did what it was asked.

    doubts: of a command that looks for them; they are told once, in `result.warnings`.
    """
    if doubts is not None:
        result = {**result, "warnings": [doubt.as_detail() for doubt in doubts]}
    envelope = Envelope(**_head(command, "completed", exit_code), result=result, warnings=warnings, **more)
    return Reply(envelope, store=store, doubts=doubts or ())


def wrap_run(
    command: str,
    run: Run,
    directory: RunDirectory,
    *,
    warnings: tuple[str, ...] = (),
    exit_code: int | None = None,
    result: Any = UNSET,
    **more: Any,
) -> Reply:
    """Where *run* stands; *result*: what the command itself has come to, in place of what the run has."""
    code = EXIT_CODES[run.status] if exit_code is None else exit_code
    moves = list_moves(run, directory, is_begun=command == "run")
    own = run.outcome.result if isinstance(run.outcome, Completion) else UNSET
    envelope = Envelope(
        **_head(command, run.status, code),
        **_identity(run),
        **_show_waits(run, directory),
        result=own if result is UNSET else result,
        note=directory.read_note(),
        error=_show_failure(run, directory),
        reason=run.outcome.reason if isinstance(run.outcome, Cancellation) else None,
        warnings=warnings,
        **{"next": make_lines(moves, directory), **more},
    )
    return Reply(envelope, run, directory, offers=find_offers(moves))


def wrap_error(
    command: str,
    error: CheckpointflowError,
    directory: RunDirectory | None = None,
    most: int | None = MAX_DETAILS,
) -> Reply:
    """Why a request was refused; if it was about the run in *directory*, where that stands, and what next.

    A refused answer has the question with it again. most: how many details are told; None: all.
    """
    run, more, offers = (None, {}, ()) if directory is None else _find_standing(command, error, directory)
    message = str(error)
    offers = () if command == "verify" else offers
    if offers:
        message += f"; {_advise(more['next'])}"
    details, count = error.details, None
    if most is not None and isinstance(details, list) and len(details) > most:
        details, count = details[:most], len(details)
    shown = ErrorShown(
        code=error.code,
        message=message,
        step_id=error.step_id,
        where=_find_first_place(details),
        details=details,
        count=count,
    )
    envelope = Envelope(**_head(command, "error", error.exit_code), **more, error=shown)
    return Reply(envelope, run, directory, offers=offers)


def _find_first_place(details: Any) -> Place | None:
    """Where the first of several mistakes stands, if they stand in a file."""
    first = details[0] if isinstance(details, list) and details else None
    return msgspec.convert(first, Place) if isinstance(first, dict) and first.get("line") else None


def _find_standing(
    command: str, error: CheckpointflowError, directory: RunDirectory
) -> tuple[Run | None, dict[str, Any], tuple[Words, ...]]:
    """A run, what an envelope tells of it, as far as it can be read, and what a person types to go on."""
    run, more = None, dict[str, Any]()
    try:
        run = directory.load()
        more = _identity(run) | _show_waits(run, directory)
    except RunNotFound:
        return None, {}, ()
    except Exception:  # noqa: BLE001, whatever it is, something is told already
        name = directory.place.name
        more = {"run_id": name} if is_run_id(name) else {}
    moves = list_remedies(command, error, run, directory)
    is_helpful = run is None or error.remedy != ""
    return run, more | {"next": make_lines(moves, directory)}, find_offers(moves) if is_helpful else ()


def _advise(lines: tuple[Next, ...]) -> str:
    """The likeliest of *lines* in words; of what can be done about a failure that is the last."""
    line = lines[-1] if lines[-1].argv[1] == "retry" else lines[0]
    return f"{'go on with' if line.argv[1] in ('resume', 'retry', 'cancel') else 'see'}: {line.command}"


def bound(answer: Reply, arguments: Sequence[str]) -> Envelope | dict[str, Any]:
    """The envelope of the answer to *arguments*, in 16 KiB; where it is cut, it says which line shows all."""
    text = encode(answer.envelope)
    if len(text) < MAX_BYTES:
        return answer.envelope
    from checkpointflow.cli.bounds import fit  # late: few answers are long

    shown: dict[str, Any] = msgspec.json.decode(text)
    outcome = None if answer.run is None else answer.run.outcome
    is_own = isinstance(outcome, Completion) and answer.envelope.result is outcome.result
    whole = _find_whole(answer, arguments)
    data = ("inputs", "result") if is_own else ("inputs",)
    told = fit(shown, data, None if whole is None else whole.command)
    if told:
        more = f"; all of them: {whole.command}" if whole else ""
        shown["warnings"] = [*shown.get("warnings", ()), *(f"{said}{more}" for said in told)]
    if whole is not None:
        shown["next"] = [msgspec.to_builtins(whole), *shown.get("next", ())]
    return shown


def _find_whole(answer: Reply, arguments: Sequence[str]) -> Next | None:
    """The line that shows all of an answer, if one does that and nothing else."""
    why, command = "see all of what is cut here", answer.envelope.command
    if answer.directory is not None:
        more = ["--all"] if command == "logs" else []
        return make_next(answer.directory, why, command if command in LOOKING else "status", "--full", *more)
    reads_input = any(word in ("-", "-f-") or word.endswith("=-") for word in arguments)
    if command not in READING or reads_input:
        return None
    end = arguments.index("--") if "--" in arguments else len(arguments)  # behind it nothing is an option
    argv = ("cpf", *arguments[:end], "--full", *arguments[end:])
    return Next(argv=argv, command=join_line(argv), why=why)


def _head(command: str, status: str, exit_code: int) -> dict[str, Any]:
    return {
        "schema_version": ENVELOPE_VERSION,
        "request_id": make_id(),
        "ok": exit_code in (0, 40),
        "command": command,
        "status": status,
        "exit_code": exit_code,
    }


def _identity(run: Run) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "workflow_id": run.workflow.id,
        "workflow_name": run.workflow.name,
        "workflow_description": run.workflow.description,
        "workflow_version": run.workflow.version,
        "current_step_id": name_position(run.cursors, run.outcome),
        "checkpoint_id": run.checkpoint_id[:MAX_CHECKPOINT],
        "started_at": run.started_at,
        "updated_at": run.updated_at,
    }


def _show_waits(run: Run, directory: RunDirectory) -> dict[str, Any]:
    """What is asked, as the fields of an envelope; nothing while something else is under way."""
    asked = waits(run) if run.status == "waiting" else {}
    open_ = tuple(_show_wait(directory, path, wait) for path, wait in asked.items())
    return {"wait": open_[0] if open_ else None, "waits": open_ if len(open_) > 1 else ()}


def _show_wait(directory: RunDirectory, path: str, record: Waiting) -> WaitShown:
    wait = record.wait
    return WaitShown(
        kind="external_event",
        audience=wait.audience,
        event_name=wait.event_name,
        prompt=wait.prompt,
        summary=wait.summary,
        input_schema=wait.input_schema,
        instructions=wait.instructions,
        timeout_at=wait.timeout_at,
        risk_level=wait.risk_level,
        step=path,
        in_doubt=_show_doubt(directory, path, record.started_at, wait),
        resume=Resume(command=command_for("resume", directory, *name_answer(path, wait))),
    )


def _show_doubt(directory: RunDirectory, path: str, started_at: str, wait: Wait) -> Doubt | None:
    if wait.in_doubt is None:
        return None
    attempt = wait.in_doubt.attempt
    return Doubt(
        attempt=attempt,
        started_at=started_at,
        stdout=str(directory.log("stdout", path, attempt)),
        stderr=str(directory.log("stderr", path, attempt)),
    )


def _show_failure(run: Run, directory: RunDirectory) -> ErrorShown | None:
    if not isinstance(run.outcome, Breakdown):
        return None
    from checkpointflow.cli.places import find_place  # late: few runs have failed
    from checkpointflow.cli.tails import read_tail  # late: it compiles a pattern

    error = run.outcome.error
    place = find_place(directory, run, error.step_id) if error.step_id else None
    tail = tuple(read_tail(run, directory, error.step_id)) if error.step_id else ()
    return ErrorShown(
        code=error.code,
        message=error.message,
        step_id=error.step_id,
        where=Place(file=place[0], line=place[1], column=place[2]) if place else None,
        tail=tail,
        details=error.details,
    )
