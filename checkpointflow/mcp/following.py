"""A run that is followed for a call, until it rests; and a person who is asked meanwhile."""

from __future__ import annotations

from time import monotonic
from typing import Any

import msgspec
from msgspec import Struct

from checkpointflow.engine.run import Run, Waiting, waits
from checkpointflow.mcp.asking import Asked, Asking
from checkpointflow.mcp.forms import Question, list_questions, name_question, read_content
from checkpointflow.mcp.host import Host
from checkpointflow.mcp.protocol import Client, Refused, Result
from checkpointflow.mcp.results import describe
from checkpointflow.mcp.runs import LOCK, Steps, Tick, have_done, settle
from checkpointflow.mcp.sealing import seal
from checkpointflow.store.directory import RunDirectory

MAX_ASKED = 5  # times that one call asks a person again whose answer did not fit
LISTENING_SECONDS = 0.1
ELSEWHERE: Result = {"action": "elsewhere"}
UNFIT = ("ERR_VALIDATION_EVENT_INPUT", "ERR_NO_TRANSITION")


class Call(Struct, frozen=True):
    """One call of a tool, and whom to tell how it goes."""

    host: Host
    client: Client
    asking: Asking
    tick: Tick
    name: str
    arguments: dict[str, Any]
    run_key: str | None = None

    @property
    def identity(self) -> bytes:
        """What tells this call from others, and not from the same call made again."""
        return msgspec.json.encode([self.name, self.arguments], order="deterministic")

    def find(self, run_id: str) -> RunDirectory:
        """The run that is meant. Raises RunNotFound."""
        return self.host.store.find(run_id)

    def describe(self, directory: RunDirectory, note: str | None = None) -> Result:
        """What it answers of the run as it is now."""
        is_whole = self.name == "cpf_wait" and self.arguments.get("full") is True
        return describe(self.host, directory, directory.load(), note, is_whole=is_whole)


def follow(call: Call, directory: RunDirectory, lacks: dict[str, str] | None = None) -> Steps[Result]:
    """Follow the run until it rests or the patience is over; where it asks a person, have them asked."""
    end = monotonic() + call.host.patience
    for _ in range(MAX_ASKED):
        sight = yield from settle(call.host, directory, call.tick, end - monotonic())
        run, is_ours = sight.run, "user" not in call.host.answers and not sight.is_on_its_way
        questions = list_questions(directory, run, call.client, lacks) if is_ours else {}
        if not questions:
            break
        if call.client.is_newest:
            requests = {key: question.request for key, question in questions.items()}
            state = seal(call.host.store.base, run.run_id, call.identity)
            return {"resultType": "input_required", "inputRequests": requests, "requestState": state}
        question = next(iter(questions.values()))
        result = yield from _ask(call, directory, question, end)
        lacks, note = yield from take(directory, question, result)
        if note is not None:
            return call.describe(directory, note)
    return call.describe(directory)


def _ask(call: Call, directory: RunDirectory, question: Question, end: float) -> Steps[Result | None]:
    """What the person says, if they do before the *end*, and nobody answers elsewhere."""
    asked = call.asking.put(directory.place.name, question)
    asked.awaited += 1
    try:
        while asked.result is None and monotonic() < end:
            yield LISTENING_SECONDS
            if asked.result is None and not _is_open(directory, question):
                call.asking.withdraw(asked)
                return ELSEWHERE
    finally:
        asked.awaited -= 1
    if asked.is_taken:
        return ELSEWHERE
    asked.is_taken = asked.result is not None
    return asked.result


def _is_open(directory: RunDirectory, question: Question) -> bool:
    record = waits(directory.load()).get(question.path)
    return record is not None and name_question(question.path, record.started_at) == question.key


def go_on(call: Call, directory: RunDirectory, responses: dict[str, Any]) -> Steps[Result]:
    """A call made again, with what a person said; an answer to an old question falls away."""
    questions = list_questions(directory, directory.load(), call.client)
    lacks: dict[str, str] = {}
    for key, result in responses.items():
        if key in questions:
            lack, note = yield from take(directory, questions[key], result)
            if note is not None:
                return call.describe(directory, note)
            lacks |= lack
    return (yield from follow(call, directory, lacks))


def take(
    directory: RunDirectory, question: Question, result: Any
) -> Steps[tuple[dict[str, str], str | None]]:
    """Deliver what a person said.

    Returns what was wrong with it by the question's key, and a note if nobody is to be asked again now.
    """
    action = result.get("action") if isinstance(result, dict) else None
    if result is None:
        return {}, "the person is asked, and has not answered yet; the answer counts when it comes: cpf_wait"
    if result is ELSEWHERE:
        return {}, None
    if action == "refused":
        return {}, "the client could not ask the person; the run waits"
    if action != "accept":
        said = "declined to answer" if action == "decline" else "dismissed the question"
        return {}, f"the person {said}; the run waits, until they are asked again by cpf_wait"
    try:
        yield from deliver_content(directory, question, result.get("content"))
    except Refused as error:
        if error.error["code"] in UNFIT:
            return {question.key: str(error)}, None
        raise
    return {}, None


def deliver_content(directory: RunDirectory, question: Question, content: Any) -> Steps[None]:
    """Deliver what a form gave, if its question is still asked. Raises Refused."""
    if not _is_open(directory, question):
        return
    record = waits(directory.load())[question.path]
    try:
        yield from deliver(directory, question.path, record, read_content(record.wait.input_schema, content))
    except Refused:
        if _is_open(directory, question):
            raise


def deliver(directory: RunDirectory, path: str, record: Waiting, payload: Any) -> Steps[None]:
    """Deliver *payload* to the wait at *path*, and have a cpf of its own go on. Raises Refused."""

    def is_taken(run: Run) -> bool:
        return waits(run).get(path) != record

    doubt = record.wait.in_doubt
    attempt = [] if doubt is None else [f"--attempt={doubt.attempt}"]
    which = [f"--event={record.wait.event_name}", f"--step={path}", *attempt]
    words = [*which, "--input=-", "--progress=plain", LOCK]
    yield from have_done(directory, "resume", *words, until=is_taken, payload=payload)


def take_late(directory: RunDirectory, asked: Asked) -> Steps[None]:
    """Deliver an answer that no call waited for any more, if its question is still asked."""
    result = asked.result or {}
    if result.get("action") == "accept":
        yield from deliver_content(directory, asked.question, result.get("content"))
