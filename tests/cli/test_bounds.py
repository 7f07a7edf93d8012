"""What an envelope holds unless more is asked for: at most 16 KiB, and where the rest is."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Answer, Cpf
from tests.helpers import ask, cli, end, foreach

MAX_BYTES = 16 * 1024


def is_short(answer: Answer) -> bool:
    return len(answer.text.encode()) <= MAX_BYTES


def test_a_long_output_is_shown_as_its_head_and_where_it_lies(cpf: Cpf) -> None:
    for size in (60_000, 70_000):  # in the snapshot, and in a file beside it
        command = f"""printf '{{"text": "%0{size}d"}}' 7"""
        run_id = cpf.run(cli("a", command), ask("q"))["run_id"]
        inspected = cpf("inspect", run_id)
        shown = inspected["steps"]["a"]["outputs"]
        assert (shown["bytes"], shown["head"][:12]) == (size + 11, '{"text":"000')
        assert f"{'0' * 100}7" in Path(shown["file"]).read_text()
        assert is_short(inspected)
        whole = cpf("inspect", run_id, "--full")
        assert whole["steps"]["a"]["outputs"] == {"text": f"{7:0{size}}"}


def test_a_long_input_is_shown_as_its_head(cpf: Cpf) -> None:
    inputs = {"type": "object", "properties": {"text": {"type": "string"}, "n": {"type": "integer"}}}
    file = cpf.flow(ask("q"), inputs=inputs)
    run_id = cpf("run", file, "--input", json.dumps({"text": "x" * 5_000, "n": 1}))["run_id"]
    shown = cpf("inspect", run_id)["inputs"]
    assert (shown["n"], shown["text"]["bytes"], shown["text"]["head"]) == (1, 5_002, "x" * 200)
    assert cpf("inspect", run_id, "--full")["inputs"]["text"] == "x" * 5_000


def test_the_history_is_told_to_who_asks_for_it(cpf: Cpf) -> None:
    run_id = cpf.run(cli("a"))["run_id"]
    assert "history" not in cpf("inspect", run_id).json
    assert cpf("inspect", run_id, "--history")["history"] == cpf("inspect", run_id, "--full")["history"]
    assert len(cpf("inspect", run_id, "--history")["history"]) == len(cpf.history(run_id))


def test_of_many_steps_the_latest_are_shown(cpf: Cpf) -> None:
    run_id = cpf.run(*[cli(f"s{n}") for n in range(120)])["run_id"]
    inspected = cpf("inspect", run_id)
    shown = list(inspected["steps"])
    assert (shown, is_short(inspected)) == ([f"s{n}" for n in range(120 - len(shown), 120)], True)
    assert f"{120 - len(shown)} earlier steps are left out; all of them: --full" in inspected["warnings"]
    assert len(cpf("inspect", run_id, "--full")["steps"]) == 120


def test_many_logs_share_the_room(cpf: Cpf) -> None:
    each = cli("a", "printf '%06000d' ${item}; [ ${item} -ne 7 ]", on_error="continue")
    run_id = cpf.run(foreach("each", list(range(9)), each))["run_id"]
    logs = cpf("logs", run_id)
    assert is_short(logs)
    assert len(logs["logs"]) < 9
    assert f"{18 - len(logs['logs'])} more logs are there; show them with --all" in logs["warnings"]
    assert len(cpf("logs", run_id, "--all")["logs"]) == 18


def test_of_many_mistakes_twenty_are_told_and_how_many_there_are(cpf: Cpf) -> None:
    file = cpf.flow(*[cli(f"s{n}", knid="x") for n in range(50)], end("e"))
    told = cpf("validate", file)
    assert (told.code, len(told["error"]["details"]), told["error"]["count"]) == (10, 20, 50)
    assert "(and 49 more)" in told["error"]["message"]
    assert is_short(told)
