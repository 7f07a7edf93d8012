"""A value that a command is given in a file: whole, private, there for as long as the command is."""

from __future__ import annotations

import json
import os
import shutil
import signal
from typing import Any

import pytest

from tests.conftest import Answer, Cpf, until
from tests.helpers import cli

OPEN: dict[str, Any] = {"type": "object", "additionalProperties": True}
SHOW = "stat -c '%a %n' ${file:inputs.v} > seen; cat ${file:inputs.v} > \"copy of it\""


def run(cpf: Cpf, *steps: Any, **inputs: Any) -> Answer:
    file = cpf.flow(*steps, inputs=OPEN)
    return cpf("run", "-f", file, "--input", json.dumps(inputs))


def values_left(cpf: Cpf, run_id: str) -> list[str]:
    return [str(file) for file in (cpf.directory(run_id) / "values").rglob("*") if file.is_file()]


@pytest.mark.parametrize("shell", [s for s in ("sh", "dash", "bash", "zsh") if shutil.which(s)])
@pytest.mark.parametrize(
    ("value", "text", "ending"),
    [
        ("x" * 3_000_000, "x" * 3_000_000, "txt"),
        ("é \0 'quoted' $(touch pwned)\n", "é \0 'quoted' $(touch pwned)\n", "txt"),
        ({"a": ["é", 1.5, None]}, '{"a":["é",1.5,null]}', "json"),
        ("", "", "txt"),
    ],
    ids=["long", "odd", "object", "empty"],
)
def test_a_command_is_given_the_value_in_a_private_file(
    cpf: Cpf, shell: str, value: Any, text: str, ending: str
) -> None:
    answer = run(cpf, cli("a", SHOW, shell=shell), v=value)
    assert answer.code == 0, answer.text
    mode, _, name = (cpf.cwd / "seen").read_text().strip().partition(" ")
    assert (mode, name.startswith(str(cpf.directory(answer["run_id"]) / "values/a/"))) == ("600", True)
    assert name.endswith(f".{ending}")
    assert (cpf.cwd / "copy of it").read_bytes() == text.encode()
    assert not (cpf.cwd / "pwned").exists()
    assert values_left(cpf, answer["run_id"]) == []


def test_it_is_gone_however_the_command_ends(cpf: Cpf) -> None:
    for more in ({}, {"timeout_seconds": 0.3}, {"shell": "zsh-is-not-here"}, {"cwd": "nowhere"}):
        command = (
            "cat ${file:inputs.v} > copy; sleep 9"
            if "timeout_seconds" in more
            else "cat ${file:inputs.v}; exit 3"
        )
        step = cli("a", command, **{key: value for key, value in more.items() if key != "shell"})
        answer = run(cpf, step, v="x" * 200_000)
        assert answer.code == 30, answer.text
        assert values_left(cpf, answer["run_id"]) == []


def test_each_attempt_has_it_made_anew(cpf: Cpf) -> None:
    command = "cat ${file:inputs.v} >> all; echo changed > ${file:inputs.v}; [ $CPF_ATTEMPT = 2 ]"
    step = cli("a", command, retry={"max_attempts": 2, "backoff_seconds": 0}, idempotent=True)
    assert run(cpf, step, v="v\n").code == 0
    assert (cpf.cwd / "all").read_text() == "v\nv\n"


def test_what_a_kill_leaves_of_it_is_no_part_of_the_run_and_it_is_made_anew(cpf: Cpf) -> None:
    command = "cat ${file:inputs.v} >> all; [ $CPF_ATTEMPT = 2 ] || { echo $$ > begun; exec sleep 60; }"
    file = cpf.flow(cli("a", command, idempotent=True), inputs=OPEN)
    process = cpf.start("run", "-f", file, "--set", "v=value.")
    until(lambda: (cpf.cwd / "begun").exists() and (cpf.cwd / "begun").read_text())
    process.kill()
    process.communicate()
    os.kill(int((cpf.cwd / "begun").read_text()), signal.SIGKILL)
    run_id = next((cpf.base / "runs").iterdir()).name
    assert len(values_left(cpf, run_id)) == 1
    exported = cpf("export", "--run-id", run_id, "--lock-timeout", "5", "-o", "a.tgz")
    assert (exported.code, "warnings" in exported.json) == (0, False), exported.text
    assert "warnings" not in cpf("verify", "--run-id", run_id).json
    elsewhere = Cpf(cpf.cwd, cpf.base / "elsewhere")
    assert elsewhere("import", "a.tgz").code == 0
    for store in (cpf, elsewhere):
        (cpf.cwd / "all").unlink()
        more = ("--trust",) if store is elsewhere else ()
        answer = store("resume", "--run-id", run_id, "--lock-timeout", "5", *more)
        assert answer.code == 0, answer.text
        assert (cpf.cwd / "all").read_text() == "value."
        assert values_left(store, run_id) == []


def test_no_secret_is_written_into_one(cpf: Cpf) -> None:
    answer = cpf("validate", "-f", cpf.flow(cli("a", "cat ${file:secrets.TOKEN}")))
    (error,) = answer["error"]["details"]
    assert error["message"] == "a secret is never written into a file"
    assert "<(printf" in error["hint"]


def test_what_it_holds_is_masked_as_any_other_value(cpf: Cpf) -> None:
    first = cli("a", 'printf \'{"t": "%s"}\' ${secrets.TOKEN}')
    answer = cpf("run", "-f", cpf.flow(first, cli("b", "cp ${file:steps.a.outputs} copy")), TOKEN="s3cret")
    assert answer.code == 0, answer.text
    assert (cpf.cwd / "copy").read_text() == '{"t":"***"}'


def test_loops_and_branches_have_files_of_their_own(cpf: Cpf) -> None:
    body = [cli("in", "cat ${file:item} > copy${item_index}")]
    each = {"id": "each", "kind": "foreach", "items": ["a", "b", "c"], "max_concurrency": 3, "body": body}
    answer = cpf("run", "-f", cpf.flow(each))
    assert answer.code == 0, answer.text
    assert [(cpf.cwd / f"copy{n}").read_text() for n in range(3)] == ["a", "b", "c"]
