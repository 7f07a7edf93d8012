"""The tools that a client is told of, and what can be read."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from checkpointflow.mcp.flows import MAX_NAME
from checkpointflow.mcp.tools import FOR_MANY, MAX_TOOLS, OWN
from tests.conftest import Cpf
from tests.helpers import ask, branch, call, cli, parallel
from tests.mcp.wire import Json, Wire, flow, question


def list_tools(cpf: Cpf) -> dict[str, Json]:
    with Wire(cpf) as wire:
        tools = wire.ask("tools/list")["result"]["tools"]
    for tool in tools:
        jsonschema.Draft202012Validator.check_schema(tool["inputSchema"])
        jsonschema.Draft202012Validator.check_schema(tool["outputSchema"])
    assert len({tool["name"] for tool in tools}) == len(tools)
    return {tool["name"]: tool for tool in tools}


INPUTS = {"type": "object", "required": ["page"], "properties": {"page": {"type": "string"}}}


def test_each_valid_workflow_is_a_tool_and_ours_stand_beside_them(cpf: Cpf) -> None:
    flow(
        cpf,
        "publish",
        cli("a"),
        question("ok"),
        name="Publish it",
        description="Puts a page online",
        inputs=INPUTS,
    )
    flow(cpf, "broken", cli("a", next="nowhere"))
    (cpf.cwd / ".checkpointflow" / "odd.yaml").write_text("]")
    tools = list_tools(cpf)
    assert set(tools) == {"publish", *OWN}
    assert tools["publish"]["description"] == "Puts a page online. Pauses for user (ok_event)."
    assert (tools["publish"]["title"], tools["publish"]["inputSchema"]) == ("Publish it", INPUTS)


def test_a_description_tells_all_pauses_also_those_inside_and_of_called_workflows(cpf: Cpf) -> None:
    cpf.write("inner.yaml", json.dumps(_document("inner", ask("deep", audience="system"))))
    flow(
        cpf,
        "outer",
        parallel("p", branch("one", ask("left")), branch("two", ask("right", audience="agent"))),
        call("c", "../inner.yaml"),
    )
    told = list_tools(cpf)["outer"]["description"]
    assert told == "outer. Pauses for user (left_event), agent (right_event), system (deep_event)."


def _document(id_: str, *steps: Json) -> Json:
    return {"schema_version": "checkpointflow/v1", "workflow": {"id": id_, "steps": list(steps)}}


@pytest.mark.long
def test_long_ids_and_those_of_our_tools_get_names_of_their_own(cpf: Cpf) -> None:
    long = "a" * 60
    ids = [long + "x", long + "y", "cpf_wait", "b" * MAX_NAME, "cpf_run"]
    for id_ in ids:
        flow(cpf, id_, cli("a", f'echo \'{{"id": "{id_}"}}\''))
    tools = list_tools(cpf)
    names = set(tools) - set(OWN)
    assert len(names) == len(ids)
    assert all(len(name) <= MAX_NAME for name in tools)
    assert "b" * MAX_NAME in names
    with Wire(cpf) as wire:
        started = {wire.value(name)["workflow_id"] for name in names}
    assert started == set(ids)


def test_the_nearest_of_the_same_id_is_the_tool_and_two_as_near_are_none(cpf: Cpf) -> None:
    flow(cpf, "near", cli("a"), description="near")
    flow(cpf, "twice", cli("a"))
    (cpf.cwd / ".checkpointflow" / "again.yaml").write_text(json.dumps(_document("twice", cli("b"))))
    cpf.base.mkdir(mode=0o700)
    (cpf.base / "n.yaml").write_text(json.dumps(_document("near", cli("far"))))
    tools = list_tools(cpf)
    assert set(tools) == {"near", *OWN}
    assert tools["near"]["description"] == "near."


@pytest.mark.long(but_one_in=3)
@pytest.mark.parametrize(
    ("inputs", "given"),
    [
        ({"anyOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object"}, {"a": 1}),
        ({"type": "object", "properties": {"größe": {"type": "integer"}}}, {"größe": 1}),
        (
            {
                "$defs": {"n": {"type": "integer"}},
                "allOf": [{"properties": {"a": {"$ref": "#/$defs/n"}}}],
                "type": "object",
            },
            {"a": 1},
        ),
    ],
)
def test_inputs_that_no_tool_may_take_are_wrapped(cpf: Cpf, inputs: Json, given: Json) -> None:
    flow(cpf, "w", cli("a", "echo '{}'"), inputs=inputs)
    schema = list_tools(cpf)["w"]["inputSchema"]
    assert (schema["type"], list(schema["properties"])) == ("object", ["inputs"])
    jsonschema.Draft202012Validator(schema).validate({"inputs": given})
    if "$defs" in inputs:
        assert not jsonschema.Draft202012Validator(schema).is_valid({"inputs": {"a": "x"}})
    with Wire(cpf) as wire:
        assert wire.value("w", inputs=given)["status"] == "completed"
    (row,) = cpf("list")["result"]["runs"]
    assert cpf("inspect", row["run_id"])["inputs"] == given


@pytest.mark.long
def test_of_many_workflows_two_tools_tell_and_start(cpf: Cpf) -> None:
    for number in range(MAX_TOOLS + 1):
        flow(cpf, f"w{number}", cli("a", "echo '{}'"), inputs=INPUTS)
    assert set(list_tools(cpf)) == {*OWN, *FOR_MANY}
    with Wire(cpf) as wire:
        rows = wire.value("cpf_flows")["flows"]
        assert (len(rows), rows[0]) == (MAX_TOOLS + 1, {"id": "w0", "description": "w0."})
        assert wire.value("cpf_flows", workflow="w7")["flows"][0]["inputs"] == INPUTS
        assert wire.value("cpf_run", workflow="w7", inputs={"page": "x"})["status"] == "completed"
        assert "did you mean w7?" in wire.value("cpf_run", workflow="w77")["error"]["message"]
        assert wire.value("cpf_run", workflow="w7")["error"]["code"] == "ERR_VALIDATION_INPUT"


def test_annotations_say_what_looks_and_what_changes(cpf: Cpf) -> None:
    flow(cpf, "w", cli("a"))
    hints = {name: tool["annotations"] for name, tool in list_tools(cpf).items()}
    assert {name for name, hint in hints.items() if hint["readOnlyHint"]} == {"cpf_runs", "cpf_logs"}
    assert hints["w"]["destructiveHint"] and not hints["w"]["idempotentHint"]
    assert hints["cpf_cancel"]["idempotentHint"] and not hints["cpf_wait"]["destructiveHint"]


def test_what_lies_where_others_may_write_is_no_tool(cpf: Cpf) -> None:
    flow(cpf, "w", cli("a"))
    (cpf.cwd / ".checkpointflow").chmod(0o777)
    assert set(list_tools(cpf)) == set(OWN)


def test_arguments_that_do_not_fit_are_told_to_the_model(cpf: Cpf) -> None:
    with Wire(cpf) as wire:
        for name, arguments in (
            ("cpf_wait", {}),
            ("cpf_wait", {"run_id": 5}),
            ("cpf_wait", {"run_id": "x" * 100}),
            ("cpf_runs", {"limit": 0}),
            ("cpf_runs", {"limit": 10**30}),
            ("cpf_runs", {"colour": "red"}),
            ("cpf_logs", {"run_id": "@latest", "tail": True}),
        ):
            result = wire.call(name, **arguments)
            assert result["isError"]
            assert f"the arguments of {name}" in result["structuredContent"]["error"]["message"]
        for run_id in ("../..", "/etc", "nobody", "@latest", "--help", "\0"):
            error = wire.value("cpf_wait", run_id=run_id)["error"]
            assert error["code"] == "ERR_RUN_NOT_FOUND"


def test_no_argument_becomes_an_option_of_a_command(cpf: Cpf) -> None:
    flow(cpf, "w", cli("a"))
    with Wire(cpf) as wire:
        run_id = wire.value("w")["run_id"]
        for step in ("--all", "--help", "-h", "--raw"):
            assert (
                f"no step {step} has run"
                in wire.value("cpf_logs", run_id=run_id, step=step)["error"]["message"]
            )
        assert "NUL" in wire.value("cpf_logs", run_id=run_id, step="\0")["error"]["message"]
        assert wire.value("cpf_runs", workflow="--status=failed")["runs"] == []


START = """
import sys
from checkpointflow.cli import answer
code = answer(["mcp"])
print("\\n".join(sys.modules), file=sys.stderr)
sys.exit(code)
"""
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
}}}  # fmt: skip
UNUSED = {
    "ruamel", "fastjsonschema", "filelock", "json", "subprocess", "tempfile", "hmac", "urllib.request",
    "checkpointflow.engine.rules", "checkpointflow.documents.checker", "checkpointflow.documents.program",
    "checkpointflow.mcp.calls", "checkpointflow.mcp.resources", "checkpointflow.cli.envelope",
}  # fmt: skip


@pytest.mark.long
def test_the_tools_are_told_after_a_start_that_imports_nothing_heavy(cpf: Cpf) -> None:
    flow(cpf, "w", cli("a"), question("ok"), inputs=INPUTS)
    cpf("run", "w", "--input", '{"page": ""}')  # from now on the cache has the document
    line = json.dumps(LIST).encode() + b"\n"

    def spend(*command: str) -> tuple[float, bytes, str]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", *command],
            input=line,
            capture_output=True,
            cwd=cpf.cwd,
            env=cpf.env,
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return spent, done.stdout, done.stderr.decode()

    rounds = [(spend(START), spend("import click, msgspec")) for _ in range(4)]
    _, told, modules = rounds[0][0]
    assert json.loads(told)["result"]["tools"][0]["name"] == "w"
    assert UNUSED & set(modules.split()) == set()
    assert min(own for (own, *_), _ in rounds) < 3 * min(floor for _, (floor, *_) in rounds)


def test_the_guide_runs_and_logs_can_be_read(cpf: Cpf) -> None:
    flow(cpf, "w", cli("say", "echo hello"))
    with Wire(cpf) as wire:
        run_id = wire.value("w")["run_id"]
        uris = [row["uri"] for row in wire.ask("resources/list")["result"]["resources"]]
        assert uris == ["cpf://guide", f"cpf://runs/{run_id}"]

        def read(uri: str) -> str:
            (content,) = wire.ask("resources/read", {"uri": uri})["result"]["contents"]
            assert content["uri"] == uri
            return content["text"]

        assert read("cpf://guide").startswith("# The cpf guide")
        assert read("cpf://guide/switch").startswith("### switch")
        assert json.loads(read(f"cpf://runs/{run_id}"))["steps"]["say"]["state"] == "succeeded"
        assert json.loads(read(f"cpf://runs/{run_id}/logs"))["logs"][0]["text"] == "hello\n"
        assert json.loads(read(f"cpf://runs/{run_id}/logs/say"))["logs"][0]["text"] == "hello\n"
        templates = wire.ask("resources/templates/list")["result"]["resourceTemplates"]
        assert {t["uriTemplate"] for t in templates} >= {"cpf://runs/{run_id}", "cpf://guide/{topic}"}


def test_a_run_left_to_another_cpf_tells_each_log_once(cpf: Cpf) -> None:
    flow(cpf, "w", cli("say", "echo hello"))
    with Wire(cpf) as wire:
        run_id = wire.value("w")["run_id"]
        logs = wire.value("cpf_logs", run_id=run_id)["logs"]
    assert [(log["step"], log["stream"]) for log in logs] == [("say", "stdout"), ("say", "stderr")]


def test_the_key_is_made_for_its_owner_and_kept_out_of_git(cpf: Cpf, tmp_path: Path) -> None:
    from checkpointflow.mcp.sealing import seal, unseal

    tmp_path.chmod(0o700)
    state = seal(tmp_path, "R", b"call")
    key = tmp_path / "mcp.key"
    assert (key.stat().st_mode & 0o777, key.stat().st_size) == (0o600, 32)
    assert unseal(tmp_path, state, b"call") == "R"
    key.chmod(0o644)  # others could have read it
    before = key.read_bytes()
    seal(tmp_path, "R", b"call")
    assert key.read_bytes() != before
    assert (key.stat().st_mode & 0o777) == 0o600
    cpf("init", "--git", cwd=cpf.cwd)
    assert "/mcp.key*" in (cpf.base / ".gitignore").read_text()
