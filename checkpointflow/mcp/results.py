"""What a model sees of a run: the envelope of `cpf status`, less what it has no use for, and `next`."""

from __future__ import annotations

from typing import Any

from msgspec import to_builtins
from msgspec.json import decode

from checkpointflow.cli.bounds import fit
from checkpointflow.cli.encoding import MAX_BYTES, encode
from checkpointflow.cli.envelope import wrap_run
from checkpointflow.cli.following import say_where
from checkpointflow.cli.location import command_for
from checkpointflow.engine.run import Run, waits
from checkpointflow.errors import CheckpointflowError
from checkpointflow.mcp.host import Host
from checkpointflow.mcp.protocol import Refused, Result
from checkpointflow.mcp.runs import is_halted
from checkpointflow.store.directory import RunDirectory

MAX_NAMED = 5
KEPT = ("status", "run_id", "workflow_id", "current_step_id", "result", "error", "reason", "warnings")
KEPT_OF_WAIT = (
    "step", "audience", "event_name", "prompt", "summary", "instructions", "risk_level", "timeout_at",
    "in_doubt", "input_schema",
)  # fmt: skip


def describe(
    host: Host, directory: RunDirectory, run: Run, note: str | None = None, *, is_whole: bool = False
) -> Result:
    """The result of a call about *run*; is_whole: however long it is."""
    envelope = to_builtins(wrap_run("status", run, directory).envelope)
    shown = {name: envelope[name] for name in KEPT if name in envelope}
    open_ = envelope.get("waits") or ([envelope["wait"]] if "wait" in envelope else [])
    if open_:
        shown["waits"] = [{name: wait[name] for name in KEPT_OF_WAIT if name in wait} for wait in open_]
    if run.status == "waiting":
        note = f"the run has not ended: {_name_asked(run)}" + (f"; {note}" if note else "")
    if note is not None:
        shown["note"] = note
    following = _say_what_follows(host, directory, run)
    if following:
        shown["next"] = following
    whole = None if is_whole else f'cpf_wait {{"run_id": "{run.run_id}", "full": true}}'
    return make_result(shown, is_error=run.status == "failed", whole=whole, is_whole=is_whole)


def make_result(
    value: dict[str, Any], *, is_error: bool = False, whole: str | None = None, is_whole: bool = False
) -> Result:
    """The result of a call that has come to *value*, in 16 KiB unless it *is_whole*.

    whole: what shows all of it.
    """
    text = encode(value)
    if len(text) >= MAX_BYTES and not is_whole:
        value = decode(text)
        told = fit(value, ("result",), whole)
        value |= {"warnings": [*value.get("warnings", ()), *told]} if told else {}
    content = [{"type": "text", "text": encode(value).decode()}]
    return {"content": content, "structuredContent": value, "isError": is_error}


def describe_error(error: CheckpointflowError | Refused) -> Result:
    """The result of a call that was refused; the model may do better."""
    if isinstance(error, Refused):
        shown = error.error
    else:
        shown = {"code": error.code, "message": str(error)}
        shown |= {} if error.details is None else {"details": error.details}
    return make_result({"status": "error", "error": shown}, is_error=True)


def _say_what_follows(host: Host, directory: RunDirectory, run: Run) -> list[dict[str, Any]]:
    run_id = run.run_id
    match run.status:
        case "running" if directory.is_foreign:
            line = command_for("resume", directory, *say_where(run, directory))
            why = "it was imported, and only the person may say where its commands run: show them this line"
            return [{"person_types": line, "why": why}]
        case "running" if is_halted(directory, run):
            return [_suggest("cpf_retry", "nothing goes on by itself; this goes on with it", run_id=run_id)]
        case "running":
            is_attended = directory.runs_here or directory.seems_held()
            how = "by itself" if is_attended else "as soon as a worker of its cluster is there: none is"
            return [_suggest("cpf_wait", f"it goes on {how}; this answers when it rests", run_id=run_id)]
        case "waiting":
            return _say_who_answers(host, directory, run)
        case "failed":
            step = getattr(getattr(run.outcome, "error", None), "step_id", None)
            logs = {"run_id": run_id, **({"step": step} if step else {})}
            again = _suggest("cpf_retry", "runs the failed step again, and goes on", run_id=run_id)
            return [_suggest("cpf_logs", "what the step printed", **logs), again]
        case _:
            return []


def _name_asked(run: Run) -> str:
    open_ = list(waits(run).items())
    asked = [f"the {record.wait.audience} is to answer {path}" for path, record in open_[:MAX_NAMED]]
    more = len(open_) - MAX_NAMED
    return ", ".join(asked) + (f", and {more} more" if more > 0 else "")


def _say_who_answers(host: Host, directory: RunDirectory, run: Run) -> list[dict[str, Any]]:
    found = []
    for path, record in waits(run).items():
        audience = record.wait.audience
        if audience in host.answers:
            why = "you are asked: `answer` must fit input_schema"
            found.append(_suggest("cpf_answer", why, run_id=run.run_id, step=path, answer="…"))
        elif audience == "user":
            line = command_for("answer", directory, "--step", path)
            why = "only the person may answer: show them the prompt and this line, then call cpf_wait"
            found.append({"person_types": line, "why": why})
    if len(found) < len(waits(run)) or any("person_types" in step for step in found):
        found.append(
            _suggest("cpf_wait", "answers when somebody has answered, and it rests again", run_id=run.run_id)
        )
    return found


def _suggest(tool: str, why: str, **arguments: Any) -> Result:
    return {"tool": tool, "arguments": arguments, "why": why}
