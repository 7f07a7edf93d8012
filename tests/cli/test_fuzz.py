"""Bad input of any shape gives an envelope and a code from the table, never a traceback or a hang.

A quick part of `make fuzz`, which raises the number of examples by CPF_FUZZ_EXAMPLES.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import QUICK_START, Answer, Cpf
from tests.helpers import ask, cli, foreach

CODES = {0, 2, 10, 20, 30, 40, 50, 60, 70, 80}
EXAMPLES = int(os.environ.get("CPF_FUZZ_EXAMPLES", "40"))
DOCUMENT = (QUICK_START / "workflow.yaml").read_bytes()

fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)


def is_answer(answer: Answer) -> None:
    assert answer.code in CODES, answer.text
    assert answer.json["exit_code"] == answer.code


def changed(data: bytes) -> st.SearchStrategy[bytes]:
    """*data* with a piece of it cut, repeated or replaced."""

    def change(at: int, length: int, piece: bytes) -> bytes:
        return data[:at] + piece + data[at + length :]

    pieces = st.binary(max_size=6) | st.sampled_from(
        [b"${", b"}", b"*a", b"&a ", b"[" * 50, b"\n", b": ", b"null"]
    )
    return st.builds(change, st.integers(0, len(data)), st.integers(0, 30), pieces)


@pytest.mark.parametrize("command", ["validate", "run"])
@fuzzed
@given(data=changed(DOCUMENT) | st.binary(max_size=200))
def test_any_document_is_answered(cpf: Cpf, command: str, data: bytes) -> None:
    (cpf.cwd / "w.yaml").write_bytes(data)
    is_answer(cpf(command, "-f", "w.yaml"))


@fuzzed
@given(document=anything)
def test_any_structure_is_answered(cpf: Cpf, document: Any) -> None:
    whole = {"schema_version": "checkpointflow/v1", "workflow": document}
    cpf.write("w.json", json.dumps(whole))
    is_answer(cpf("validate", "-f", "w.json"))


@fuzzed
@given(text=st.text(max_size=60) | anything.map(json.dumps))
def test_any_input_and_any_event_is_answered(cpf: Cpf, text: str) -> None:
    text = text.encode(errors="replace").decode().replace("\0", "")
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    file = cpf.flow(ask("q", input_schema=schema), inputs=schema)
    if not text.startswith(("@", "-")):
        is_answer(cpf("run", "-f", file, f"--input={text}"))
        run_id = cpf("run", "-f", file)["run_id"]
        is_answer(cpf("resume", "--run-id", run_id, "--event", "q_event", f"--input={text}"))


@fuzzed
@given(
    text=st.text(max_size=30) | st.from_regex(re.compile(r"[a-z0-9.\[\]'\"() =!<>]{0,30}"), fullmatch=True)
)
def test_any_expression_is_answered(cpf: Cpf, text: str) -> None:
    is_answer(cpf("validate", "-f", cpf.flow(cli("a", **{"if": text.encode(errors="replace").decode()}))))
    is_answer(
        cpf("validate", "-f", cpf.flow(cli("a", f"echo ${{{text.encode(errors='replace').decode()}}}")))
    )


@pytest.fixture
def stopped(cpf: Cpf) -> Callable[[str, bytes], list[Answer]]:
    """What every command says of a run one of whose files has been changed."""
    answer = cpf.run(cli("a", "echo '{}'"), foreach("each", [1, 2], ask("q"), max_concurrency=2))
    directory = cpf.directory(answer["run_id"])
    original = {
        name: (directory / name).read_bytes() for name in ("state.json", "history.jsonl", "workflow.yaml")
    }

    def ask_all(name: str, data: bytes) -> list[Answer]:
        for other, text in original.items():
            (directory / other).write_bytes(text)
        (directory / name).write_bytes(data)
        where = ("--run-dir", str(directory))
        return [
            cpf("status", *where),
            cpf("inspect", *where),
            cpf("logs", *where),
            cpf("resume", *where, "--event", "q_event", "--step", "each[0]/q", "--input", "{}"),
            cpf("retry-step", *where),
            cpf("cancel", *where, "--reason", "x"),
        ]

    ask_all.original = original  # type: ignore[attr-defined]
    return ask_all


@pytest.mark.parametrize("name", ["state.json", "history.jsonl", "workflow.yaml"])
@fuzzed
@given(data=st.data())
def test_any_damage_to_a_run_is_answered(stopped: Any, name: str, data: st.DataObject) -> None:
    for answer in stopped(name, data.draw(changed(stopped.original[name]))):
        is_answer(answer)
