"""Calls of tools: what each does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from msgspec import to_builtins

from checkpointflow.diagnostics import find_nearest, shorten
from checkpointflow.engine.answers import Answer, find_wait
from checkpointflow.engine.run import waits
from checkpointflow.errors import CheckpointflowError, EventMismatch, InvalidInput, RunNotWaiting
from checkpointflow.json_text import read_json
from checkpointflow.mcp.asking import Asking
from checkpointflow.mcp.flows import Flow
from checkpointflow.mcp.following import Call, deliver, follow, go_on
from checkpointflow.mcp.host import Host
from checkpointflow.mcp.protocol import (
    INVALID_PARAMS,
    Client,
    ProtocolError,
    Refused,
    Result,
    require_object,
    require_text,
)
from checkpointflow.mcp.results import describe_error, make_result
from checkpointflow.mcp.runs import LOCK, Steps, Tick, ask, have_done, is_halted
from checkpointflow.mcp.sealing import unseal
from checkpointflow.mcp.tasks import make_task
from checkpointflow.mcp.tools import FOR_MANY, OWN, list_flows, make_rows
from checkpointflow.schemas.validation import Schema

RUN_KEY = "io.checkpointflow/runKey"
"""In `_meta` of a call that starts a run: what `cpf run --run-key` is given."""


def call_tool(
    host: Host, client: Client, asking: Asking, params: dict[str, Any], tick: Tick
) -> Steps[Result]:
    """The result of `tools/call`. Raises ProtocolError for a call of no tool, or that makes no sense."""
    arguments = require_object(params, "arguments")
    key = require_object(params, "_meta").get(RUN_KEY)
    if key is not None and not isinstance(key, str):
        raise ProtocolError(INVALID_PARAMS, f"_meta {RUN_KEY} must be a text")
    call = Call(host, client, asking, tick, require_text(params, "name"), arguments, key)
    try:
        if "requestState" in params:
            run_id = unseal(host.store.base, require_text(params, "requestState"), call.identity)
            responses = require_object(params, "inputResponses")
            return (yield from go_on(call, call.find(run_id), responses))
        return (yield from _begin(call))
    except (CheckpointflowError, Refused) as error:
        return describe_error(error)


def _begin(call: Call) -> Steps[Result]:
    own = (OWN | FOR_MANY).get(call.name)
    if own is None:
        flow = list_flows(call.host).get(call.name)
        if flow is None:
            raise ProtocolError(INVALID_PARAMS, f"Unknown tool: {call.name}")
        inputs = call.arguments.get("inputs", {}) if flow.is_wrapped else call.arguments
        return (yield from _start(call, flow, inputs))
    wrong = Schema(own.takes).errors(call.arguments)
    if wrong:
        raise InvalidInput(problem=f"the arguments of {call.name} do not fit: {wrong[0].message}")
    return (yield from HANDLERS[call.name](call, **call.arguments))


# What each tool does


def _start(call: Call, flow: Flow, inputs: Any, run_key: str | None = None) -> Steps[Result]:
    given = msgspec.json.encode(inputs).decode()
    key = call.run_key if run_key is None else run_key
    words = [] if key is None else [f"--run-key={key}"]
    envelope = ask(call.host, "run", f"--file={flow.file}", f"--input={given}", "--detach", *words)
    directory = call.find(str(envelope.run_id))
    if call.client.has_tasks:
        return {"resultType": "task", **make_task(directory)}
    return (yield from follow(call, directory))


def _run(call: Call, workflow: str, inputs: Any = None, run_key: str | None = None) -> Steps[Result]:
    return (yield from _start(call, _find_flow(call.host, workflow), inputs or {}, run_key))


def _find_flow(host: Host, wanted: str) -> Flow:
    flows = {flow.workflow.id: flow for flow in list_flows(host).values()}
    if wanted in flows:
        return flows[wanted]
    near = find_nearest(wanted, flows)
    hint = f"did you mean {near}?" if near else "see cpf_flows"
    raise InvalidInput(problem=f"there is no workflow {shorten(wanted)}; {hint}")


def _list_flows(call: Call, workflow: str | None = None) -> Steps[Result]:
    yield from ()  # it takes no time
    found = [*list_flows(call.host).values()] if workflow is None else [_find_flow(call.host, workflow)]
    return make_result({"flows": make_rows(found, with_inputs=workflow is not None)})


def _wait(call: Call, run_id: str, full: bool = False) -> Steps[Result]:
    del full  # which is for who describes the run
    return (yield from follow(call, call.find(run_id)))


def _list_runs(
    call: Call, waiting_for: str | None = None, workflow: str | None = None, limit: int = 10
) -> Steps[Result]:
    yield from ()  # it takes no time
    words = [f"--limit={int(limit)}"]
    words += [] if workflow is None else [f"--workflow={workflow}"]
    words += [] if waiting_for is None else [f"--waiting-for={waiting_for}"]
    return make_result(to_builtins(ask(call.host, "list", *words).result))


def _show_logs(call: Call, run_id: str, step: str | None = None, tail: int = 40) -> Steps[Result]:
    yield from ()  # it takes no time
    words = [f"--run-id={call.find(run_id).place.name}", f"--tail={int(tail)}", *_say_step(step)]
    envelope = ask(call.host, "logs", *words)
    shown = {"run_id": envelope.run_id, "status": envelope.status, "logs": to_builtins(envelope.logs or ())}
    return make_result({**shown, **({"warnings": envelope.warnings} if envelope.warnings else {})})


def _answer(call: Call, run_id: str, step: str, answer: Any) -> Steps[Result]:
    directory = call.find(run_id)
    run = directory.load()
    record = waits(run).get(step)
    if record is None:  # it was given before, or is refused
        given = Answer(payload=_read_text(answer) if isinstance(answer, str) else answer, step=step)
        find_wait(run, given, partial(directory.facts, run))
        return (yield from follow(call, directory))
    audience = record.wait.audience
    if audience not in call.host.answers:
        problem = f"{step} asks the {audience}, and no model may answer; see `next` of cpf_wait"
        raise EventMismatch(problem=problem, step_id=step)
    if isinstance(answer, str) and record.wait.input_schema.get("type") == "object":
        answer = _read_text(answer)
    yield from deliver(directory, step, record, answer)
    return (yield from follow(call, directory))


def _read_text(text: str) -> Any:
    """The object that *text* spells, as some models do, or else the text."""
    try:
        return read_json(text.encode())
    except ValueError:
        return text


def _retry(call: Call, run_id: str, step: str | None = None) -> Steps[Result]:
    directory = call.find(run_id)
    run = directory.load()
    if is_halted(
        directory, run
    ):  # `cpf retry` would do again what may have been done, which a person is to say
        words = ["resume"]
    elif run.status == "failed":
        words = ["retry", *_say_step(step)]
    else:
        raise RunNotWaiting(run_id=run.run_id, status=run.status, problem="there is nothing to do again")
    before = run.revision
    yield from have_done(directory, *words, LOCK, until=lambda run: run.revision != before)
    return (yield from follow(call, directory))


def _cancel(call: Call, run_id: str, reason: str) -> Steps[Result]:
    directory = call.find(run_id)
    yield from have_done(directory, "cancel", f"--reason={_refuse_nul(reason)}")
    return call.describe(directory)


HANDLERS: dict[str, Callable[..., Steps[Result]]] = {
    "cpf_run": _run,
    "cpf_flows": _list_flows,
    "cpf_wait": _wait,
    "cpf_answer": _answer,
    "cpf_runs": _list_runs,
    "cpf_logs": _show_logs,
    "cpf_retry": _retry,
    "cpf_cancel": _cancel,
}


def _say_step(step: str | None) -> list[str]:
    return [] if step is None else [f"--step={_refuse_nul(step)}"]


def _refuse_nul(text: str) -> str:
    """*text*, which can be an argument of a process. Raises InvalidInput."""
    if "\0" in text:
        raise InvalidInput(problem=f"{shorten(text)!r} has a character NUL in it")
    return text
