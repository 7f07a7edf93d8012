"""The protocol's own client library, of both eras, and with an extension for tasks."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp_types import CallToolResult, ElicitRequestParams, ElicitResult, Result
from pydantic import ConfigDict

from tests.conftest import Cpf
from tests.helpers import cli
from tests.mcp.wire import Json, flow, question

CHOICE = {"enum": ["yes", "no"]}
INPUTS = {"type": "object", "required": ["page"], "properties": {"page": {"type": "string"}}}


def server(cpf: Cpf) -> StdioServerParameters:
    arguments = ["-m", "checkpointflow", "mcp", "--patience", "20s"]
    return StdioServerParameters(command=sys.executable, args=arguments, env=cpf.env, cwd=cpf.cwd)


class Person:
    """Somebody who is asked by the client, and gives these answers in turn."""

    def __init__(self, *answers: ElicitResult) -> None:
        self.answers, self.questions = list(answers), list[str]()

    async def __call__(self, _: Any, params: ElicitRequestParams) -> ElicitResult:
        self.questions.append(params.message)
        return self.answers.pop(0)


def accept(**content: Any) -> ElicitResult:
    return ElicitResult(action="accept", content=content)


def talk(cpf: Cpf, do: Callable[[Client], Awaitable[Any]], **more: Any) -> Any:
    async def main() -> Any:
        with anyio.fail_after(60):
            async with Client(server(cpf), **more) as client:
                return await do(client)

    return anyio.run(main)


@pytest.mark.long(but_one_in=2)
@pytest.mark.parametrize(("mode", "revision"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
def test_a_client_lists_calls_answers_and_reads(cpf: Cpf, mode: str, revision: str) -> None:
    look = question("look", "agent", fine={"type": "boolean"})
    flow(cpf, "publish", cli("make", "echo made"), question("ok", yes=CHOICE), look, inputs=INPUTS)
    person = Person(accept(yes="maybe"), accept(yes="yes"))

    async def do(client: Client) -> None:
        assert client.protocol_version == revision
        assert "cpf_wait" in (client.instructions or "")
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools["publish"].description == "publish. Pauses for user (ok_event), agent (look_event)."
        shown = (await client.call_tool("publish", {"page": "a"})).structured_content
        assert (shown["status"], shown["waits"][0]["step"]) == ("waiting", "look")
        step = shown["next"][0]
        done = await client.call_tool(step["tool"], step["arguments"] | {"answer": {"fine": True}})
        assert done.structured_content["status"] == "completed"
        refused = await client.call_tool("publish", {})
        assert (refused.is_error, refused.structured_content["status"]) == (True, "error")
        logs = await client.call_tool("cpf_logs", {"run_id": shown["run_id"]})
        assert logs.structured_content["logs"][0]["text"] == "made\n"
        resources = (await client.list_resources()).resources
        assert [str(r.uri) for r in resources] == ["cpf://guide", f"cpf://runs/{shown['run_id']}"]
        read = await client.read_resource(f"cpf://runs/{shown['run_id']}/logs/make")
        assert "made" in read.contents[0].text  # type: ignore[union-attr]
        assert len((await client.list_resource_templates()).resource_templates) == 4

    talk(cpf, do, mode=mode, elicitation_callback=person)
    assert [q.startswith("Your last answer was not taken") for q in person.questions] == [False, True]
    assert len(cpf("list")["result"]["runs"]) == 1


@pytest.mark.long(but_one_in=4)
@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("action", ["decline", "cancel"])
def test_a_person_who_does_not_answer_leaves_the_run_waiting(
    cpf: Cpf, mode: str, action: Literal["decline", "cancel"]
) -> None:
    flow(cpf, "w", question("ok", yes=CHOICE))

    async def do(client: Client) -> Json:
        return (await client.call_tool("w", {})).structured_content

    shown = talk(cpf, do, mode=mode, elicitation_callback=Person(ElicitResult(action=action)))
    assert (shown["status"], "the run waits" in shown["note"]) == ("waiting", True)


@pytest.mark.long(but_one_in=2)
@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_client_without_forms_gets_the_line_for_the_person(cpf: Cpf, mode: str) -> None:
    flow(cpf, "w", question("ok", yes=CHOICE))

    async def do(client: Client) -> Json:
        return (await client.call_tool("w", {})).structured_content

    assert "person_types" in talk(cpf, do, mode=mode)["next"][0]


@pytest.mark.long
@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_client_hears_of_progress(cpf: Cpf, mode: str) -> None:
    flow(cpf, "w", *(cli(f"s{n}", "sleep 0.55") for n in range(4)))
    told: list[float] = []

    async def hear(progress: float, _: float | None, message: str | None) -> None:
        assert message is not None and message.startswith("at s")
        told.append(progress)

    async def do(client: Client) -> None:
        await client.call_tool("w", {}, progress_callback=hear)

    talk(cpf, do, mode=mode)
    assert len(told) >= 2
    assert told == sorted(told)


# Tasks, which the library leaves to extensions


class TaskMade(Result):
    model_config = ConfigDict(extra="allow")
    result_type: Literal["task"]
    taskId: str  # noqa: N815


class Tasks(ClientExtension):
    """What a client does with a task: looks after it until it has ended, and has the person asked."""

    identifier = "io.modelcontextprotocol/tasks"

    def __init__(self, answer: Json) -> None:
        self.answer, self.asked = answer, list[str]()

    def claims(self) -> list[ResultClaim[TaskMade]]:
        return [ResultClaim(result_type="task", model=TaskMade, resolve=self.resolve)]

    async def resolve(self, made: TaskMade, context: ClaimContext) -> CallToolResult:
        while True:
            task = await self._send(context, "tasks/get", taskId=made.taskId)
            if task["status"] == "completed":
                return CallToolResult.model_validate(task["result"])
            assert task["status"] in ("working", "input_required")
            for key in task.get("inputRequests", {}):
                if key not in self.asked:
                    self.asked.append(key)
                    answers = {key: {"action": "accept", "content": self.answer}}
                    await self._send(context, "tasks/update", taskId=made.taskId, inputResponses=answers)
            await anyio.sleep(task["pollIntervalMs"] / 5000)

    async def _send(self, context: ClaimContext, method: str, **params: Any) -> Json:
        from mcp_types import Request
        from pydantic import BaseModel, TypeAdapter

        class Params(BaseModel):
            model_config = ConfigDict(extra="allow")
            meta: Json | None = None

        class AnyResult(Result):
            model_config = ConfigDict(extra="allow")

        request = Request[Params, str](method=method, params=Params(**params))
        result = await context.session.send_request(request, TypeAdapter(AnyResult))  # type: ignore[arg-type]
        return result.model_dump(by_alias=True, mode="json")


@pytest.mark.long
def test_a_client_with_tasks_looks_after_one(cpf: Cpf) -> None:
    flow(cpf, "w", cli("a"), question("ok", yes=CHOICE), cli("b"))
    tasks = Tasks({"yes": "yes"})

    async def do(client: Client) -> Json:
        return (await client.call_tool("w", {})).structured_content

    shown = talk(cpf, do, extensions=[tasks], elicitation_callback=Person())
    assert (shown["status"], len(tasks.asked)) == ("completed", 1)
