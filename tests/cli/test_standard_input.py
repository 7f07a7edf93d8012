"""`stdin` of a step: what its command reads, whole, and nothing of it on the disk."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

import pytest

from checkpointflow.drivers.children import open_input
from tests.conftest import Answer, Cpf, until
from tests.helpers import cli

OPEN: dict[str, Any] = {"type": "object", "additionalProperties": True}
SHELLS = [s for s in ("sh", "dash", "bash", "zsh") if shutil.which(s)]


def run(cpf: Cpf, *steps: Any, env: dict[str, str] | None = None, **inputs: Any) -> Answer:
    file = cpf.flow(*steps, inputs=OPEN)
    return cpf("run", "-f", file, "--input", json.dumps(inputs), **(env or {}))


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x" * 3_000_000, "x" * 3_000_000),
        ("é \0 'quoted' $(touch pwned)\n", "é \0 'quoted' $(touch pwned)\n"),
        ({"a": ["é", 1.5, None]}, '{"a":["é",1.5,null]}'),
        ("", ""),
    ],
    ids=["long", "odd", "object", "empty"],
)
def test_a_command_reads_the_value(cpf: Cpf, shell: str, value: Any, text: str) -> None:
    answer = run(cpf, cli("a", "cat > copy", shell=shell, stdin="${inputs.v}"), v=value)
    assert answer.code == 0, answer.text
    assert (cpf.cwd / "copy").read_bytes() == text.encode()
    assert not (cpf.cwd / "pwned").exists()


def test_it_may_be_text_around_a_value_or_json_with_values_in_it(cpf: Cpf) -> None:
    steps = [
        cli("a", "cat > text", stdin="a ${inputs.v} $${b}\n"),
        cli("b", "cat > json", stdin={"x": ["${inputs.v}", "n ${inputs.v}"]}),
        cli("c", "wc -c < /dev/stdin > none"),
    ]
    assert run(cpf, *steps, v=3).code == 0
    assert (cpf.cwd / "text").read_text() == "a 3 ${b}\n"
    assert (cpf.cwd / "json").read_text() == '{"x":[3,"n 3"]}'
    assert (cpf.cwd / "none").read_text().strip() == "0"


def test_a_command_need_not_read_it_and_may_run_elsewhere(cpf: Cpf) -> None:
    (cpf.cwd / "sub").mkdir()
    steps = [cli("a", "head -c 3 > head", cwd="sub", stdin="${inputs.v}"), cli("b", stdin="${inputs.v}")]
    assert run(cpf, *steps, v="abc" * 1_000_000).code == 0
    assert (cpf.cwd / "sub/head").read_text() == "abc"


def test_each_attempt_reads_the_same_from_its_beginning(cpf: Cpf) -> None:
    command = "cat >> all; [ $CPF_ATTEMPT = 2 ]"
    step = cli("a", command, stdin="v\n", retry={"max_attempts": 2, "backoff_seconds": 0}, idempotent=True)
    assert run(cpf, step).code == 0
    assert (cpf.cwd / "all").read_text() == "v\nv\n"


def test_a_secret_in_it_reaches_the_command_and_no_file(cpf: Cpf) -> None:
    secret = 'two "words" é'
    step = cli("a", "tee json", stdin={"token": "${secrets.TOKEN}", "v": "${inputs.v}"})
    answer = run(cpf, step, v="x", env={"TOKEN": secret})
    assert answer.code == 0, answer.text
    assert json.loads((cpf.cwd / "json").read_bytes()) == {"token": secret, "v": "x"}
    written = [file for file in cpf.base.rglob("*") if file.is_file()]
    assert written and not [file for file in written if b"words" in file.read_bytes()]


def test_what_is_too_long_fails_the_step_before_it_begins(cpf: Cpf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checkpointflow.shells.scripts.MAX_FILES_BYTES", 9)
    answer = run(cpf, cli("a", "touch begun", stdin="${inputs.v}"), v="é" * 5)
    assert (answer.code, "at most 9 bytes" in answer["error"]["message"]) == (30, True)
    assert not (cpf.cwd / "begun").exists()


def test_a_command_that_outlives_its_cpf_has_all_of_it_and_after_it_the_step_reads_it_again(cpf: Cpf) -> None:
    value = "0123456789" * 50_000
    command = (
        "echo begun >> begun; until [ -e go ]; do sleep 0.02; done; cat > copy; mv copy done$CPF_ATTEMPT"
    )
    file = cpf.flow(cli("a", command, idempotent=True, stdin="${inputs.v}"), inputs=OPEN)
    cpf.write("input.json", json.dumps({"v": value}))
    process = cpf.start("run", "-f", file, "--input", "@input.json")
    until(lambda: (cpf.cwd / "begun").exists())
    process.kill()
    process.communicate()
    (cpf.cwd / "go").touch()
    until(lambda: (cpf.cwd / "done1").exists())
    assert (cpf.cwd / "done1").read_text() == value
    (run_id,) = [place.name for place in (cpf.base / "runs").iterdir()]
    answer = cpf("resume", run_id, "--lock-timeout", "5")
    assert answer.code == 0, answer.text
    assert (cpf.cwd / "done2").read_text() == value


@pytest.mark.parametrize("limit", [None, 10], ids=["whole", "in part"])
def test_where_there_are_no_files_in_memory_it_is_a_pipe(
    limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    data = b"0123456789" * 50_000
    with open_input(data) as file:
        assert file.read(limit) == data[:limit]


def test_where_the_shell_computes_with_it_only_an_integer_is_let_through(cpf: Cpf) -> None:
    step = cli("a", "n=$(cat); echo $((n + 1)) > sum", shell="bash", stdin="${inputs.v}")
    assert run(cpf, step, v=6).code == 0
    assert (cpf.cwd / "sum").read_text() == "7\n"
    answer = run(cpf, step, v="a[$(touch pwned)]")
    assert (answer.code, "only an integer" in answer["error"]["message"]) == (30, True)
    assert not (cpf.cwd / "pwned").exists()
