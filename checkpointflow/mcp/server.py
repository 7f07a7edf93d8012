"""The loop: hears the client, takes calls forward one after the other, and says what became of them."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from checkpointflow.drivers.signals import PROCESS
from checkpointflow.errors import CheckpointflowError
from checkpointflow.json_text import read_json
from checkpointflow.mcp.asking import Asking
from checkpointflow.mcp.host import Host
from checkpointflow.mcp.lines import MAX_LINE_BYTES, Inbox, encode_line
from checkpointflow.mcp.protocol import (
    FRESH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    Client,
    ProtocolError,
    Refused,
    Result,
    describe_server,
    dress,
    open_session,
    read_client,
    require_object,
    require_tasks,
    require_text,
)

if TYPE_CHECKING:
    from checkpointflow.engine.run import Run
    from checkpointflow.mcp.runs import Steps

BLOCK_BYTES = 1 << 16
IDLE_SECONDS = 60.0
PROGRESS_SECONDS = 1.0

Id = str | int


class Server:
    """A server for one client: what it reads from, and what it writes to, are descriptors."""

    def __init__(self, host: Host, source: int, target: int) -> None:
        self._host = host
        self._source, self._target = source, target
        self._inbox = Inbox()
        self._is_heard = False
        self._opened: Client | None = None
        self._asking = Asking(self._send)
        self._unwilling: set[str] = set()
        self._under_way: dict[Id, tuple[Client, Steps[Result]]] = {}
        self._aside: list[Steps[None]] = []
        self._due: dict[Id, float] = {}

    def serve(self) -> None:
        """Serve until the client has no more to say. Raises KeyboardInterrupt when cpf is told to stop."""
        while True:
            PROCESS.listen(self._await, self._nap())
            if self._is_heard:
                data = os.read(self._source, BLOCK_BYTES)
                if not data:
                    return
                for line in self._inbox.take(data):
                    self._hear(line)
            self._go_on()
            _reap()

    def _await(self, seconds: float) -> None:
        self._is_heard = bool(select.select([self._source], [], [], seconds)[0])

    def _nap(self) -> float:
        """How long nothing is due."""
        if self._aside:
            return 0.02
        return max(0.0, min(self._due.values(), default=monotonic() + IDLE_SECONDS) - monotonic())

    def _send(self, message: Result) -> None:
        data = memoryview(encode_line({"jsonrpc": "2.0", **message}))
        while data:
            data = data[os.write(self._target, data) :]

    # Hearing

    def _hear(self, line: bytes | None) -> None:
        id_: Id | None = None
        try:
            message = _read_message(line)
            id_ = _read_id(message)
            if "method" not in message:
                self._hear_response(message)
            elif "id" not in message:
                self._hear_notification(message)
            else:
                self._hear_request(id_, message)
        except ProtocolError as error:
            self._send({**({} if id_ is None else {"id": id_}), "error": error.error})

    def _hear_response(self, message: Result) -> None:
        asked = self._asking.hear(message)
        if asked is not None and not asked.awaited:
            from checkpointflow.mcp.following import take_late

            self._aside.append(take_late(self._host.store.at(asked.run_id), asked))
        self._due = dict.fromkeys(self._due, 0.0)

    def _hear_notification(self, message: Result) -> None:
        params = message.get("params")
        if message["method"] == "notifications/cancelled" and isinstance(params, dict):
            id_ = params.get("requestId")
            if isinstance(id_, str | int) and id_ in self._under_way:
                self._forget(id_)[1].close()

    def _hear_request(self, id_: Id | None, message: Result) -> None:
        method = message["method"]
        params = require_object(message, "params")
        if id_ is None or id_ in self._under_way or not isinstance(method, str):
            raise ProtocolError(
                INVALID_REQUEST, "a request has a `method` and an `id` of its own, text or integer"
            )
        if method == "initialize":
            self._opened = open_session(params)
            self._send({"id": id_, "result": describe_server(self._opened)})
            return
        client = read_client(params, self._opened)
        self._under_way[id_] = client, self._do(client, method, params)
        self._due[id_] = 0.0

    # Going on

    def _go_on(self) -> None:
        for id_ in [id_ for id_, due in self._due.items() if due <= monotonic()]:
            self._take_forward(id_)
        for steps in list(self._aside):
            try:
                next(steps)
            except StopIteration:
                self._aside.remove(steps)
            except (CheckpointflowError, Refused) as error:
                self._aside.remove(steps)
                print(f"cpf mcp: an answer was not taken: {error}", file=sys.stderr, flush=True)  # noqa: T201

    def _take_forward(self, id_: Id) -> None:
        client, steps = self._under_way[id_]
        try:
            self._due[id_] = monotonic() + next(steps)
            return
        except StopIteration as ended:
            answer = {"result": dress(client, ended.value)}
        except ProtocolError as error:
            answer = {"error": error.error}
        except CheckpointflowError as error:
            answer = {"error": {"code": INVALID_PARAMS, "message": str(error)}}
        except Refused as error:
            answer = {"error": {"code": INVALID_PARAMS, "message": str(error), "data": error.error}}
        except Exception as error:  # noqa: BLE001, a bug in one call is no end of the others
            answer = {"error": {"code": INTERNAL_ERROR, "message": f"{type(error).__name__}: {error}"}}
        self._forget(id_)
        self._send({"id": id_, **answer})

    def _forget(self, id_: Id) -> tuple[Client, Steps[Result]]:
        del self._due[id_]
        return self._under_way.pop(id_)

    # Doing

    def _do(self, client: Client, method: str, params: Result) -> Steps[Result]:
        host = self._host
        match method:
            case "server/discover" if client.is_newest:
                return describe_server(client)
            case "ping" if not client.is_newest:
                return {}
            case "tools/list":
                from checkpointflow.mcp.tools import list_tools

                return {"tools": list_tools(host), **FRESH}
            case "tools/call":
                from checkpointflow.mcp.calls import call_tool

                tick = self._report_progress(params)
                return (yield from call_tool(host, client, self._asking, params, tick))
            case "resources/list" | "resources/templates/list" | "resources/read":
                return {**_read_resources(host, method, params), **FRESH}
            case "tasks/get" | "tasks/update" | "tasks/cancel":
                require_tasks(client)
                return (yield from self._do_task(client, method, params))
            case _:
                raise ProtocolError(METHOD_NOT_FOUND, f"Method not found: {method}")

    def _do_task(self, client: Client, method: str, params: Result) -> Steps[Result]:
        from checkpointflow.mcp.following import take
        from checkpointflow.mcp.runs import have_done
        from checkpointflow.mcp.tasks import find_task, list_open_questions, show_task

        directory = find_task(self._host, params)
        if method == "tasks/get":
            return show_task(self._host, client, directory, self._unwilling)
        if method == "tasks/cancel":
            if directory.load().outcome is None:
                yield from have_done(directory, "cancel", "--reason=the MCP client cancelled its task")
            return {}
        questions = list_open_questions(self._host, client, directory, directory.load())
        for key, response in require_object(params, "inputResponses").items():
            if key in questions:
                lacks, note = yield from take(directory, questions[key], response)
                for name, lack in lacks.items():
                    self._host.lacks.setdefault(name, []).append(lack)
                if note is not None:
                    self._unwilling.add(key)
        return {}

    def _report_progress(self, params: Result) -> Callable[[Run], None]:
        """What tells the client how far the run is, if it gave a token for that."""
        meta = params.get("_meta")
        token = meta.get("progressToken") if isinstance(meta, dict) else None
        told = [0.0, -1.0]
        from checkpointflow.engine.run import name_position  # late, as all that only runs need

        def tick(run: Run) -> None:
            moment = monotonic()
            if token is None or moment - told[0] < PROGRESS_SECONDS or run.revision <= told[1]:
                return
            told[:] = moment, run.revision
            at = f"at {name_position(run.cursors, run.outcome)}"
            progress = {"progressToken": token, "progress": run.revision, "message": at}
            self._send({"method": "notifications/progress", "params": progress})

        return tick


def _read_resources(host: Host, method: str, params: Result) -> Result:
    from checkpointflow.mcp.resources import TEMPLATES, list_resources, read_resource

    if method == "resources/list":
        return {"resources": list_resources(host)}
    if method == "resources/templates/list":
        return {"resourceTemplates": TEMPLATES}
    return read_resource(host, require_text(params, "uri"))


def _read_message(line: bytes | None) -> Result:
    """The message in *line*. Raises ProtocolError."""
    if line is None:
        raise ProtocolError(
            INVALID_REQUEST, f"a message has at most {MAX_LINE_BYTES} bytes; this one is dropped"
        )
    try:
        message = read_json(line)
    except ValueError as error:
        raise ProtocolError(PARSE_ERROR, str(error)) from None
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise ProtocolError(INVALID_REQUEST, "a message is an object with `jsonrpc` 2.0")
    return message


def _read_id(message: Result) -> Id | None:
    id_ = message.get("id")
    return id_ if isinstance(id_, str | int) and not isinstance(id_, bool) else None


def _reap() -> None:
    """Let the system forget those of our children that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
