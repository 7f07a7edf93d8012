"""The lines of the protocol: whatever comes, the server answers as the protocol has it, and lives on."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from typing import Any

import pytest

from checkpointflow.mcp.lines import MAX_LINE_BYTES, Inbox, encode_line
from tests.conftest import Cpf
from tests.helpers import cli
from tests.mcp.wire import NEWEST, Json, Wire, flow

LONG_COUNT = 3000 if os.environ.get("CPF_LONG") == "1" else 150
META = "io.modelcontextprotocol/"


def is_alive(wire: Wire) -> bool:
    return "tools" in wire.ask("tools/list")["result"]


NO_REQUESTS = (
    (b"nonsense", -32700),
    (b'{"jsonrpc":"2.0","id":1,"method":"pi', -32700),
    (b"\xff\xfe{}", -32700),
    (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', -32700),
    (b"[" * 200 + b"]" * 200, -32700),
    (b'"text"', -32600),
    (b"[]", -32600),
    (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600),
    (b"{}", -32600),
    (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600),
    (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600),
    (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600),
    (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600),
    (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600),
)


def test_what_is_no_request_is_refused_without_an_id(cpf: Cpf) -> None:
    with Wire(cpf) as wire:
        for line, code in NO_REQUESTS:
            wire.send(line)
            refused = wire.hear()
            assert (refused["error"]["code"], "id" in refused) == (code, False), line
            assert is_alive(wire)


SENSELESS = (
    ({"method": 5}, -32600),
    ({"method": "ping", "params": []}, -32602),
    ({"method": "tools/list"}, -32602),
    ({"method": "tools/list", "params": {"_meta": 5}}, -32602),
    ({"method": "tools/list", "params": {"_meta": {META + "protocolVersion": NEWEST}}}, -32602),
    ({"method": "tools/list", "params": {"_meta": {META + "protocolVersion": 7}}}, -32022),
    ({"method": "tools/list", "params": {"_meta": {META + "protocolVersion": "1900-01-01"}}}, -32022),
)


def test_a_request_that_makes_no_sense_is_refused_by_its_id(cpf: Cpf) -> None:
    with Wire(cpf) as wire:
        for request_, code in SENSELESS:
            wire.send(json.dumps({"jsonrpc": "2.0", "id": "x", **request_}).encode())
            refused = wire.hear()
            assert (refused["id"], refused["error"]["code"]) == ("x", code), request_
            assert is_alive(wire)


NOTHING: tuple[tuple[str, Json, int], ...] = (
    ("no/such", {}, -32601),
    ("ping", {}, -32601),
    ("prompts/list", {}, -32601),
    ("tools/call", {}, -32602),
    ("tools/call", {"name": 5}, -32602),
    ("tools/call", {"name": "nobody"}, -32602),
    ("tools/call", {"name": "cpf_runs", "arguments": []}, -32602),
    ("resources/read", {}, -32602),
    ("resources/read", {"uri": "file:///etc/passwd"}, -32602),
    ("resources/read", {"uri": "cpf://runs/../../etc/passwd"}, -32602),
    ("resources/read", {"uri": "cpf://runs/%2e%2e%2f%2e%2e"}, -32602),
    ("resources/read", {"uri": "cpf://guide/nothing"}, -32602),
    ("tasks/get", {"taskId": "01M8E0C2V1BQ7B86W4Q909PH7B"}, -32021),
)


def test_what_there_is_not_is_refused_by_its_code(cpf: Cpf) -> None:
    with Wire(cpf) as wire:
        for method, params, code in NOTHING:
            assert wire.ask(method, params)["error"]["code"] == code, (method, params)
            assert is_alive(wire)


def test_an_unknown_revision_is_told_those_that_are_known(cpf: Cpf) -> None:
    with Wire(cpf, revision="2031-01-01") as wire:
        data = wire.ask("server/discover")["error"]["data"]
    assert data == {"supported": ["2026-07-28", "2025-11-25", "2025-06-18"], "requested": "2031-01-01"}


def test_a_huge_message_is_refused_at_once_and_the_next_is_heard(cpf: Cpf) -> None:
    with Wire(cpf) as wire:
        block = b"x" * (1 << 20)
        for _ in range(MAX_LINE_BYTES // len(block) + 3):
            wire.process.stdin.write(block)  # type: ignore[union-attr]
        wire.process.stdin.flush()  # type: ignore[union-attr]
        assert wire.hear()["error"]["code"] == -32600
        wire.send(b"")
        assert is_alive(wire)


def test_notifications_and_stray_responses_get_no_answer(cpf: Cpf) -> None:
    with Wire(cpf) as wire:
        for line in (
            b'{"jsonrpc":"2.0","method":"notifications/unheard/of","params":{}}',
            b'{"jsonrpc":"2.0","method":"notifications/cancelled"}',
            b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":77}}',
            b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":{}}}',
            b'{"jsonrpc":"2.0","id":"ask-9","result":{"action":"accept"}}',
            b'{"jsonrpc":"2.0","id":9,"error":{"code":1,"message":"x"}}',
            b"",
        ):
            wire.send(line)
        assert is_alive(wire)
        assert len(wire.heard) == 1


@pytest.mark.long
def test_messages_are_heard_however_they_are_cut_and_an_id_that_is_in_use_is_refused(cpf: Cpf) -> None:
    flow(cpf, "slow", cli("a", "sleep 2"))
    with Wire(cpf) as wire:
        first = wire.post("tools/call", {"name": "slow"})
        wire._count = first - 1
        wire.post("tools/list")
        assert wire.hear()["error"]["code"] == -32600
        meta = {META + "protocolVersion": NEWEST, META + "clientCapabilities": {}}
        request_ = {"id": "cut", "method": "server/discover", "params": {"_meta": meta}}
        text = json.dumps({"jsonrpc": "2.0", **request_}).encode() + b"\r\n"
        for at in range(0, len(text), 7):
            wire.process.stdin.write(text[at : at + 7])  # type: ignore[union-attr]
            wire.process.stdin.flush()  # type: ignore[union-attr]
        assert wire.answer_to("cut")["result"]["supportedVersions"][0] == NEWEST
        assert wire.answer_to(first)["result"]["structuredContent"]["status"] == "completed"


@pytest.mark.long
def test_a_cancelled_call_gets_no_answer_and_its_run_goes_on(cpf: Cpf) -> None:
    flow(cpf, "slow", cli("a", "sleep 1"))
    with Wire(cpf) as wire:
        call = wire.post("tools/call", {"name": "slow"}, meta={"progressToken": 1})
        assert wire.hear()["method"] == "notifications/progress"
        notice = {"method": "notifications/cancelled", "params": {"requestId": call}}
        wire.send(json.dumps({"jsonrpc": "2.0", **notice}).encode())
        (run,) = wire.value("cpf_runs")["runs"]
        assert wire.value("cpf_wait", run_id=run["run_id"])["status"] == "completed"
        time.sleep(0.5)
        assert is_alive(wire)
        assert call not in [message.get("id") for message in wire.heard]


@pytest.mark.long
def test_progress_is_told_by_the_token_and_only_grows(cpf: Cpf) -> None:
    flow(cpf, "slow", *(cli(f"s{n}", "sleep 0.55") for n in range(4)))
    with Wire(cpf) as wire:
        id_ = wire.post("tools/call", {"name": "slow"}, meta={"progressToken": "t"})
        wire.answer_to(id_)
        told = [m["params"] for m in wire.heard if m.get("method") == "notifications/progress"]
        assert {p["progressToken"] for p in told} == {"t"}
        assert len(told) >= 2
        assert [p["progress"] for p in told] == sorted({p["progress"] for p in told})
        assert all("at s" in p["message"] for p in told)


@pytest.mark.long
def test_the_end_of_its_input_is_the_end_of_the_server_and_not_of_its_runs(cpf: Cpf) -> None:
    flow(cpf, "slow", cli("a", "sleep 1"))
    with Wire(cpf) as wire:
        wire.post("tools/call", {"name": "slow"}, meta={"progressToken": 1})
        wire.hear()
        out, err = wire.process.communicate(timeout=20)
        assert (wire.process.returncode, out, err) == (0, b"", b"")
    assert cpf("wait", "@latest")["status"] == "completed"


def test_what_takes_no_time_is_answered_also_where_the_input_ends_behind_it(cpf: Cpf) -> None:
    with Wire(cpf) as wire:
        for method in ("server/discover", "tools/list", "resources/list"):
            wire.post(method)
        wire.post("tools/call", {"name": "cpf_runs"})
        out, _ = wire.process.communicate(timeout=20)
    assert [json.loads(line)["id"] for line in out.splitlines()] == [1, 2, 3, 4]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_stops_without_a_word(cpf: Cpf, number: signal.Signals) -> None:
    with Wire(cpf) as wire:
        assert is_alive(wire)
        wire.value("cpf_runs")
        wire.process.send_signal(number)
        out, err = wire.process.communicate(timeout=20)
        assert (wire.process.returncode, out, err) == (0, b"", b"")


def test_mistakes_in_its_options_are_told_on_stderr(cpf: Cpf) -> None:
    for arguments in (("--patience", "soon"), ("--answers", "everybody"), ("--no-such",), ("word",)):
        answer = cpf.real("mcp", *arguments)
        assert (answer.code, answer.text) == (2, "")
        assert answer.err


ODD: list[Any] = [
    None, True, 0, -1, 1.5, 10**30, "", "x", "\0", "é\u2028", [], [1], {}, {"form": 1}, {"": None}, "@latest",
    "01M8E0C2V1BQ7B86W4Q909PH7B", "cpf://runs/", "cpf://guide/../..", "a" * 5000,
]  # fmt: skip
METHODS = (
    "initialize", "server/discover", "ping", "tools/list", "tools/call", "resources/list", "resources/read",
    "resources/templates/list", "tasks/get", "tasks/update", "tasks/cancel", "x",
)  # fmt: skip
NAMES = (
    "name", "arguments", "requestState", "inputResponses", "uri", "taskId", "protocolVersion", "capabilities",
    "clientInfo",
)  # fmt: skip


def test_odd_requests_get_one_answer_each_and_none_is_a_bug(cpf: Cpf) -> None:
    flow(cpf, "w", cli("a"), inputs={"type": "object"})
    chance = random.Random(3)
    names = [
        *ODD,
        "w",
        "cpf_wait",
        "cpf_answer",
        "cpf_runs",
        "cpf_logs",
        "cpf_retry",
        "cpf_cancel",
        "cpf_flows",
    ]

    def be_odd() -> Any:
        value = chance.choice(ODD)
        keys = ("run_id", "step", "answer", "limit", "reason", "workflow", "elicitation", "extensions")
        return {chance.choice(keys): value for _ in range(3)} if chance.random() < 0.5 else value

    with Wire(cpf) as wire:
        for _ in range(LONG_COUNT):
            params = {name: be_odd() for name in chance.sample(NAMES, 4)}
            if chance.random() < 0.7:
                params |= {"name": chance.choice(names), "arguments": be_odd()}
            meta = {"progressToken": be_odd()}
            if chance.random() < 0.3:
                meta |= {META + "clientCapabilities": be_odd(), META + "clientInfo": be_odd()}
            wire.revision = chance.choice([NEWEST, NEWEST, None])
            answer = wire.ask(chance.choice(METHODS), params, meta=meta)
            assert ("result" in answer) != ("error" in answer)
            assert answer.get("error", {}).get("code") != -32603, answer
            if wire.revision == NEWEST and "result" in answer and "protocolVersion" not in answer["result"]:
                assert answer["result"]["resultType"] in ("complete", "task", "input_required")


def test_what_data_says_breaks_no_line_and_commands_no_terminal() -> None:
    odd = "\r\n\v\f\x1b[2J\x85\u2028\u2029\u202e\ufeff\x7f" + "".join(map(chr, range(32)))
    line = encode_line({"a": odd, odd: "é"})
    assert json.loads(line) == {"a": odd, odd: "é"}
    assert len(line.decode().splitlines()) == 1
    assert not any(ord(c) < 32 or c in "\x7f\x85\u2028\u202e" for c in line.decode()[:-1])
    assert json.loads(encode_line({"a": "\udcff"}))  # of a file whose name is no text


def test_an_inbox_gives_the_lines_that_were_sent_however_they_are_cut() -> None:
    chance = random.Random(5)
    for _ in range(200):
        lines = [bytes(chance.choices(b"ab{}", k=chance.randrange(9))) for _ in range(6)]
        data, inbox, found = b"\n".join(lines) + b"\n", Inbox(), []
        while data:
            size = chance.randrange(1, 8)
            found += inbox.take(data[:size])
            data = data[size:]
        assert found == [line for line in lines if line]
