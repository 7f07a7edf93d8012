"""A client that speaks with `cpf mcp` in raw lines."""

from __future__ import annotations

import json
import select
import subprocess
from typing import Any

from tests.conftest import Cpf

NEWEST = "2026-07-28"
FORMS = {"elicitation": {"form": {}}}
TASKS = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
Json = dict[str, Any]


class Wire:
    """One `cpf mcp`, and all that it said. revision: of the requests; None: what `initialize` agreed on.

    before: what stands before `mcp` on the command line.
    """

    def __init__(
        self,
        cpf: Cpf,
        *arguments: str,
        before: tuple[str, ...] = (),
        can: Json | None = None,
        revision: str | None = NEWEST,
    ) -> None:
        self.process: subprocess.Popen[bytes] = cpf.start(*before, "mcp", "--patience", "20s", *arguments)
        self.can, self.revision = can or {}, revision
        self.client = "test"
        self.heard: list[Json] = []
        self._rest = b""
        self._count = 0

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def send(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def post(self, method: str, params: Json | None = None, *, meta: Json | None = None, **more: Any) -> int:
        """Send a request, and return its id."""
        self._count += 1
        own = {} if self.revision is None else {
            "io.modelcontextprotocol/protocolVersion": self.revision,
            "io.modelcontextprotocol/clientCapabilities": self.can,
            "io.modelcontextprotocol/clientInfo": {"name": self.client, "version": "1"},
        }  # fmt: skip
        given = {**(params or {}), "_meta": own | (meta or {})}
        message = {"jsonrpc": "2.0", "id": self._count, "method": method, "params": given, **more}
        self.send(json.dumps(message).encode())
        return self._count

    def hear(self, seconds: float = 30) -> Json:
        """The next message."""
        assert self.process.stdout is not None
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self.process.stdout], [], [], seconds)
            assert ready, "nothing came"
            data = self.process.stdout.read1(65536)  # type: ignore[attr-defined]
            assert data, "the server has ended"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        self.heard.append(json.loads(line))
        return self.heard[-1]

    def answer_to(self, id_: int | str | None) -> Json:
        """The response to the request *id_*; what comes before it is only kept in `heard`."""
        while True:
            message = self.hear()
            if message.get("id") == id_ and "method" not in message:
                return message

    def ask(self, method: str, params: Json | None = None, **more: Any) -> Json:
        """The whole response to a request."""
        return self.answer_to(self.post(method, params, **more))

    def call(self, name: str, *, state: Json | None = None, **arguments: Any) -> Json:
        """The result of a call of a tool; *state*: what an answer to a question adds to it."""
        response = self.ask("tools/call", {"name": name, "arguments": arguments, **(state or {})})
        assert "result" in response, response
        return response["result"]

    def value(self, name: str, **arguments: Any) -> Json:
        """What a call of a tool has come to."""
        return self.call(name, **arguments)["structuredContent"]

    def initialize(self, revision: str = "2025-11-25", **can: Any) -> Json:
        """Begin as the older revisions do."""
        self.revision = None
        params = {"protocolVersion": revision, "capabilities": can, "clientInfo": {"name": self.client}}
        result = self.ask("initialize", params)["result"]
        self.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
        return result


def flow(cpf: Cpf, id_: str, *steps: Json, **more: Any) -> str:
    """Have a workflow of *steps* found by its id."""
    place = cpf.cwd / ".checkpointflow"
    place.mkdir(exist_ok=True)
    document = {"schema_version": "checkpointflow/v1", "workflow": {"id": id_, "steps": list(steps), **more}}
    (place / f"{id_}.yaml").write_text(json.dumps(document))
    return id_


def question(id_: str, audience: str = "user", **fields: Json) -> Json:
    """A step that waits for an answer with these *fields*, all of which it must have."""
    schema = {"type": "object", "required": list(fields), "properties": fields}
    return {
        "id": id_, "kind": "await_event", "audience": audience, "event_name": f"{id_}_event",
        "prompt": f"What about {id_}?", "input_schema": schema,
    }  # fmt: skip


def accept(result: Json, **content: Any) -> Json:
    """What goes with the call made again: an answer to the one question in *result*."""
    (key,) = result["inputRequests"]
    return reply(result, key, {"action": "accept", "content": content})


def reply(result: Json, key: str, response: Json) -> Json:
    return {"requestState": result["requestState"], "inputResponses": {key: response}}
