"""Runs as tasks, for clients that look after them by themselves: a task's id is the run's.

A task is a call, not the run: as a call does without tasks, it comes to its result when the run rests, and
where the run waits, the result says so, and for whom. `input_required` is for what the client itself can ask
a person, all of which stands in `inputRequests`. With nothing in there that it can do, it would look again
without end, and the model, who may be the one to answer, or to show a person what to type, would not hear of
it.
"""

from __future__ import annotations

from typing import Any

from checkpointflow.engine.run import Run, name_position
from checkpointflow.mcp.forms import Question, list_questions
from checkpointflow.mcp.host import Host
from checkpointflow.mcp.protocol import INVALID_PARAMS, Client, ProtocolError, dress, require_text
from checkpointflow.mcp.results import describe
from checkpointflow.mcp.runs import look_after, look_at
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.layout import is_run_id

POLL_MILLISECONDS, ASKED_POLL_MILLISECONDS = 500, 2000


def find_task(host: Host, params: dict[str, Any]) -> RunDirectory:
    """The run that `taskId` names. Raises ProtocolError, RunNotFound."""
    task_id = require_text(params, "taskId")
    if not is_run_id(task_id):
        raise ProtocolError(INVALID_PARAMS, "`taskId` is no id of a task")
    return host.store.find(task_id)


def make_task(directory: RunDirectory) -> dict[str, Any]:
    """A task that has just been made."""
    return _make_head(directory.load(), "working")


def show_task(host: Host, client: Client, directory: RunDirectory, unwilling: set[str]) -> dict[str, Any]:
    """The task as it is; *unwilling*: the questions that the person does not want to answer, by key."""
    sight = look_at(directory)
    run = sight.run
    if run.status == "cancelled":
        return _make_head(run, "cancelled")
    if sight.is_on_its_way:
        look_after(host, directory, sight)
        return _make_head(run, "working")
    questions = list_open_questions(host, client, directory, run)
    if questions and not set(questions) & unwilling:
        requests = {key: question.request for key, question in questions.items()}
        return {**_make_head(run, "input_required"), "inputRequests": requests}
    note = "the person does not want to answer now; the run waits" if questions else None
    return {**_make_head(run, "completed"), "result": dress(client, describe(host, directory, run, note))}


def list_open_questions(host: Host, client: Client, directory: RunDirectory, run: Run) -> dict[str, Question]:
    """What the client is to ask the person, by key.

    Of a question whose answer did not fit it is another one: a client asks once what has the same.
    """
    if "user" in host.answers:
        return {}
    found = list_questions(directory, run, client, {key: lacks[-1] for key, lacks in host.lacks.items()})
    return {
        f"{key}#{len(host.lacks[key])}" if key in host.lacks else key: asked for key, asked in found.items()
    }


def _make_head(run: Run, status: str) -> dict[str, Any]:
    position = name_position(run.cursors, run.outcome)
    at = f" at {position}" if position else ""
    return {
        "taskId": run.run_id,
        "status": status,
        "statusMessage": f"{run.status}{at}",
        "createdAt": run.started_at,
        "lastUpdatedAt": run.updated_at,
        "ttlMs": None,
        "pollIntervalMs": ASKED_POLL_MILLISECONDS if status == "input_required" else POLL_MILLISECONDS,
    }
