"""One envelope on stdout, whatever happens, and it is as the published schema says."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from checkpointflow.cli import COMMANDS
from checkpointflow.cli.schema import SCHEMAS, write_schema
from tests.conftest import Answer, Cpf, on_a_terminal, until
from tests.helpers import ask, cli, end

SCHEMA_PLACE = Path(__file__).parent.parent.parent / "schemas"
VALIDATOR = jsonschema.Draft202012Validator(json.loads(write_schema("envelope")))

ENVELOPED = sorted(set(COMMANDS) - {"guide", "schema"})


def is_envelope(answer: Answer) -> None:
    errors = [error.message for error in VALIDATOR.iter_errors(answer.json)]
    assert errors == []
    assert answer.json["exit_code"] == answer.code
    assert answer.json["ok"] is (answer.code in (0, 40))
    assert "null" not in answer.text.replace('"null"', "")


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_published_schema_is_what_the_structs_say(name: str) -> None:
    assert (SCHEMA_PLACE / SCHEMAS[name][0]).read_bytes() == write_schema(name)
    jsonschema.Draft202012Validator.check_schema(json.loads(write_schema(name)))


def test_schema_prints_them(cpf: Cpf) -> None:
    for name in SCHEMAS:
        assert cpf("schema", name).text == write_schema(name).decode()
    assert cpf("schema", "nothing").error_code == "ERR_USAGE"


def runs(cpf: Cpf) -> dict[str, str]:
    """A run in every state, by what it is."""
    killed = cpf.flow(cli("slow", "touch started; exec sleep 60", risk_level="high"))
    process = cpf.start("run", "-f", killed)
    until((cpf.cwd / "started").exists)
    process.kill()
    process.communicate()
    (interrupted,) = os.listdir(cpf.base / "runs")
    waiting = cpf.run(
        cli("a", "echo '{}'"), ask("q", prompt="?", summary="s", instructions="i", timeout_seconds=900)
    )
    cancelled = cpf.run(ask("q"))["run_id"]
    cpf("cancel", "--run-id", cancelled, "--reason", "enough")
    return {
        "running": interrupted,
        "waiting": waiting["run_id"],
        "completed": cpf.run(end("e", result=[1, "x", {"y": False}]))["run_id"],
        "failed": cpf.run(cli("a", "echo no >&2; exit 1"))["run_id"],
        "cancelled": cancelled,
    }


def test_every_command_prints_an_envelope_for_a_run_in_every_state(cpf: Cpf) -> None:
    for status, run_id in runs(cpf).items():
        for command in ("status", "inspect", "logs"):
            answer = cpf(command, "--run-id", run_id)
            is_envelope(answer)
            assert (answer["status"], answer["command"], answer["run_id"]) == (status, command, run_id)
        for arguments in (
            ("resume", "--run-id", run_id),
            ("resume", "--run-id", run_id, "--event", "nothing", "--input", "{}"),
            ("cancel", "--run-id", run_id, "--reason", "x"),
        ):
            is_envelope(cpf(*arguments))


def test_every_command_prints_an_envelope_for_a_document(cpf: Cpf) -> None:
    for _ in range(2):
        is_envelope(cpf("init"))
    is_envelope(cpf("validate", "-f", "checkpointflow.yaml"))
    is_envelope(cpf("run", "-f", "checkpointflow.yaml"))
    cpf.write("bad.yaml", "schema_version: 3\nworkflow: {id: 1, stps: []}\n")
    for command in ("validate", "run"):
        is_envelope(cpf(command, "-f", "bad.yaml"))


def test_every_command_about_many_runs_prints_an_envelope(cpf: Cpf) -> None:
    a, b = (cpf.run(ask("q", timeout_seconds=1))["run_id"] for _ in range(2))
    for arguments in (
        ("list",),
        ("verify", "--run-id", a),
        ("diff", a, b),
        ("export", "--run-id", a, "-o", "a.tar.gz"),
        ("import", "a.tar.gz"),
        ("import", "a.tar.gz", "--as-new"),
        ("import", "nowhere"),
        ("delete", "--run-id", b, "--force"),
        ("gc", "--keep", "0", "--force"),
        ("flows",),
        ("run", "nothing"),
        ("init", "--git"),
    ):
        is_envelope(cpf(*arguments))


@pytest.mark.parametrize("command", ENVELOPED)
@pytest.mark.parametrize("wrong", ["--nope", "surplus", "--lock-timeout=x"])
def test_wrong_use_is_an_envelope_too(cpf: Cpf, command: str, wrong: str) -> None:
    given = (wrong,) if wrong != "surplus" else ("one", "two", "three")
    answer = cpf(command, *given)
    is_envelope(answer)
    assert (answer.code, answer.error_code, answer["command"]) == (2, "ERR_USAGE", command)
    assert answer.err == ""


@pytest.mark.parametrize("arguments", [(), ("nope",), ("--nope",), ("sttus",)])
def test_no_command_and_no_such_command_are_wrong_use(cpf: Cpf, arguments: tuple[str, ...]) -> None:
    answer = cpf(*arguments)
    is_envelope(answer)
    assert (answer.code, answer.error_code) == (2, "ERR_USAGE")


@pytest.mark.parametrize("run_id", ["../../etc", "01JQ" + "0" * 22, "abc", "", "%2e%2e", "x" * 5000])
def test_an_id_that_is_none_is_told(cpf: Cpf, run_id: str) -> None:
    for command in ("status", "inspect", "logs", "resume"):
        answer = cpf(command, "--run-id", run_id)
        is_envelope(answer)
        assert (answer.code, answer.error_code) == (10, "ERR_RUN_NOT_FOUND")
    assert not cpf.base.exists()


@pytest.mark.parametrize("text", ["", "\0" * 100, "{}", '{"schema_version": "checkpointflow-state/v9"}'])
def test_a_damaged_state_is_told_and_left_alone(cpf: Cpf, text: str) -> None:
    run_id = cpf.run(ask("q"))["run_id"]
    file = cpf.directory(run_id) / "state.json"
    file.write_text(text)
    for arguments in (("status",), ("inspect",), ("logs",), ("resume",), ("cancel", "--reason", "x")):
        answer = cpf(arguments[0], "--run-id", run_id, *arguments[1:])
        is_envelope(answer)
        assert (answer.code, answer.error_code) == (60, "ERR_STATE_CORRUPT")
        assert str(file) in answer["error"]["message"]
    assert file.read_text() == text


def test_a_bug_is_an_envelope_with_the_traceback_under_debug(cpf: Cpf) -> None:
    script = (
        "import sys; from checkpointflow.cli import status, main\n"
        "def broken(*_): raise ZeroDivisionError('planted')\n"
        "status.find_run = broken; main()"
    )

    def broken(*options: str) -> Answer:
        process = subprocess.run(
            [sys.executable, "-c", script, *options, "status", "--run-id", "X" * 26],
            capture_output=True, text=True, env=cpf.env, check=False,
        )  # fmt: skip
        return Answer(process.returncode, process.stdout, process.stderr)

    answer = broken()
    is_envelope(answer)
    assert (answer.code, answer.error_code, answer.err) == (90, "ERR_INTERNAL", "")
    assert "ZeroDivisionError: planted" in broken("--debug").err


def unread(pipe: Any) -> int:
    """How many of the bytes that were written to *pipe* nobody has read yet."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_ctrl_c_while_reading_is_an_envelope(cpf: Cpf) -> None:
    process = cpf.start("run", "-f", cpf.flow(cli("a")), "--input", "-")
    assert process.stdin is not None
    os.write(process.stdin.fileno(), b"{")
    until(lambda: not unread(process.stdin))
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    answer = Answer(process.returncode, out.decode(), "")
    is_envelope(answer)
    assert (answer.code, answer.error_code) == (20, "ERR_INTERRUPTED")


def test_a_person_is_told_on_stderr_too(cpf: Cpf) -> None:
    out, err = on_a_terminal(cpf, "run", "-f", cpf.flow(cli("step-one"), cli("bad", "exit 3")))
    assert json.loads(out)["exit_code"] == 30
    assert "step-one" in err
    _, err = on_a_terminal(cpf, "status", "--run-id", "nope1")
    assert err.startswith("cpf: ")


def test_an_agent_is_not(cpf: Cpf) -> None:
    _, err = on_a_terminal(cpf, "run", "-f", cpf.flow(cli("a"), cli("bad", "exit 3")), LLM="true")
    assert err == ""


def test_help_and_version_are_plain_text(cpf: Cpf) -> None:
    for option in ("-h", "--help"):
        answer = cpf(option)
        assert answer.code == 0
        for name, about in COMMANDS.items():
            assert name in answer.text
            assert about in answer.text
    for name in COMMANDS:
        answer = cpf(name, "--help")
        assert (answer.code, answer.text.startswith(f"Usage: cpf {name}")) == (0, True)
    assert cpf("--version").text.startswith("cpf ")


def test_nobody_reading_is_no_traceback(cpf: Cpf) -> None:
    for command in ("guide", "init"):
        process = cpf.start(command)
        with process:
            process.stdout.close()
            assert process.stderr.read() == b""
