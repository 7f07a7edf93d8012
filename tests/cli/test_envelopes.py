"""One envelope on stdout, whatever happens, and it is as the published schema says."""

from __future__ import annotations

import errno
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
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import translate_errors
from tests.conftest import Answer, Cpf, on_a_terminal, until
from tests.helpers import ask, cli, end

SCHEMA_PLACE = Path(__file__).parent.parent.parent / "schemas"
VALIDATOR = jsonschema.Draft202012Validator(json.loads(write_schema("envelope")))

ENVELOPED = sorted(set(COMMANDS) - {"guide", "schema", "mcp"})


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


def test_an_envelope_tells_whose_run_it_is(cpf: Cpf) -> None:
    told = {
        "workflow_id": "w",
        "workflow_version": "1.10",
        "workflow_name": "W",
        "workflow_description": "For x.",
    }
    cpf.write(
        "w.yaml",
        "schema_version: checkpointflow/v1\nworkflow:\n  id: w\n  version: 1.10\n  name: W\n"
        "  description: For x.\n  steps: [{id: e, kind: end}]\n",
    )
    run = cpf("run", "-f", "w.yaml")
    for answer in (run, cpf("status", "--run-id", run["run_id"]), cpf("validate", "-f", "w.yaml")):
        assert {name: answer[name] for name in told} == told
        assert answer["status"] == "completed"


def test_nothing_that_a_terminal_obeys_stands_in_an_envelope(cpf: Cpf) -> None:
    odd = "a\x1b[2J\x7f\x9b2J\u202eb\u2066c\u200bd\ufeffe\u061c ü 日本"
    answer = cpf.run(end("e", result={odd: odd}))
    assert answer["result"] == {odd: odd}
    assert "ü 日本" in answer.text
    assert not set(answer.text) & set("\x1b\x7f\x9b\u202e\u2066\u200b\ufeff\u061c")
    assert r"a\u001b[2J\u007f\u009b2J\u202eb\u2066c\u200bd\ufeffe\u061c" in answer.text


def test_help_says_what_it_is_that_one_has(cpf: Cpf) -> None:
    assert "checkpointflow runs workflows" in cpf("--help").text


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
        answer = cpf(*arguments)
        is_envelope(answer)
        assert answer["status"] in (("completed", "waiting") if answer.code == 0 else ("error",)), arguments


@pytest.mark.parametrize("command", ENVELOPED)
@pytest.mark.parametrize("wrong", ["--nope", "surplus", "--lock-timeout=x"])
def test_wrong_use_is_an_envelope_too(cpf: Cpf, command: str, wrong: str) -> None:
    surplus = ("one", "two", "three") if command not in ("wait", "test") else ()  # any number, but for none
    given = (wrong,) if wrong != "surplus" else surplus
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


@pytest.mark.parametrize("problem", ["a full disk", "a bug"])
@pytest.mark.parametrize("commits", [1, 2, 3])
def test_whatever_ends_a_run_of_cpf_its_envelope_tells_the_run_and_how_to_go_on(
    cpf: Cpf, monkeypatch: pytest.MonkeyPatch, problem: str, commits: int
) -> None:
    commit, left = RunDirectory.commit, [commits]

    def fail(*given: Any) -> None:
        if not left[0]:
            raise (
                ZeroDivisionError if problem == "a bug" else OSError(errno.ENOSPC, "No space left on device")
            )
        left[0] -= 1
        commit(*given)

    monkeypatch.setattr(RunDirectory, "commit", fail)
    if problem != "a bug":
        monkeypatch.setattr(RunDirectory, "commit", translate_errors_of(fail))
    answer = cpf.run(cli("a"), cli("b"), cli("c"), name="Title")
    monkeypatch.undo()
    is_envelope(answer)
    assert answer.error_code == ("ERR_INTERNAL" if problem == "a bug" else "ERR_PERSISTENCE")
    assert answer["current_step_id"] == "abc"[commits - 1]
    assert f"go on with: cpf resume {answer['run_id']} --base-dir" in answer["error"]["message"]
    assert cpf("status", "--run-id", answer["run_id"])["checkpoint_id"] == answer["checkpoint_id"]


def translate_errors_of(function: Any) -> Any:
    def translated(*given: Any) -> None:
        with translate_errors("history.jsonl"):
            function(*given)

    return translated


def test_an_error_about_a_run_tells_where_it_stands_and_the_next_line(cpf: Cpf) -> None:
    wrong = {
        "running": (("cancel", "--reason", "x", "--step", "y"), None),
        "waiting": (
            ("resume", "--event", "none", "--input", "{}"),
            "go on with: cpf resume {} --step q",
        ),
        "completed": (("cancel", "--reason", "x"), "see: cpf inspect {}"),
        "failed": (("retry-step", "--step-id", "none"), "go on with: cpf retry {}"),
        "cancelled": (("resume", "--event", "none", "--input", "{}"), "see: cpf inspect {}"),
    }
    for status, run_id in runs(cpf).items():
        (command, *arguments), following = wrong[status]
        answer = cpf(command, "--run-id", run_id, *arguments)
        is_envelope(answer)
        if following is None:  # wrong before anybody looks for the run
            assert "run_id" not in answer.json
            continue
        assert (answer["run_id"], answer["workflow_id"], answer["status"]) == (run_id, "w", "error")
        line = following.format(f"{run_id} --base-dir {cpf.base}")
        assert f"; {line}" in answer["error"]["message"]


def test_a_run_that_somebody_works_on_is_not_to_be_gone_on_with(cpf: Cpf) -> None:
    process = cpf.start("run", "-f", cpf.flow(cli("a", "touch started; sleep 60")))
    until((cpf.cwd / "started").exists)
    (run_id,) = os.listdir(cpf.base / "runs")
    answer = cpf("resume", "--run-id", run_id)
    assert (answer.code, answer["run_id"], answer["current_step_id"]) == (70, run_id, "a")
    assert f"; see: cpf wait {run_id}" in answer["error"]["message"]
    process.send_signal(signal.SIGTERM)
    assert f"; go on with: cpf resume {run_id}" in process.communicate()[0].decode()


def test_a_run_that_cannot_be_read_is_named_and_to_be_verified(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q"))["run_id"]
    (cpf.directory(run_id) / "state.json").write_text("{}")
    answer = cpf("status", "--run-id", run_id)
    assert (answer["run_id"], "workflow_id" in answer.json) == (run_id, False)
    assert f"; see: cpf verify {run_id}" in answer["error"]["message"]
    assert "see:" not in cpf("verify", "--run-id", run_id)["error"]["message"]


def test_the_line_that_goes_on_may_use_a_shared_store_if_the_call_might(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q"))["run_id"]
    cpf.base.chmod(0o777)
    given = ("--run-id", run_id, "--allow-shared", "--event", "none", "--input", "{}")
    assert "--allow-shared --step q" in cpf("resume", *given)["error"]["message"]


def test_a_bug_is_an_envelope_with_the_traceback_under_debug(cpf: Cpf) -> None:
    script = (
        "import sys; from checkpointflow.cli import options, main\n"
        "def broken(*_): raise ZeroDivisionError('planted')\n"
        "options.find_run = broken; main()"
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


@pytest.mark.long(but_one_in=4)
@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_streams_may_be_closed(cpf: Cpf, closed: str) -> None:
    def shell(*arguments: str) -> tuple[int, bytes]:
        line = f"exec {sys.executable} -m checkpointflow {' '.join(arguments)} {closed}"
        done = subprocess.run(["sh", "-c", line], capture_output=True, cwd=cpf.cwd, env=cpf.env, check=False)
        return done.returncode, done.stderr

    assert shell("run", "-f", cpf.flow(ask("q"))) == (40, b"")
    (run_id,) = os.listdir(cpf.base / "runs")
    assert shell("resume", "--run-id", run_id, "--event", "q_event", "--input", "-") == (10, b"")
    assert cpf.state(run_id)["status"] == "waiting"


def test_nobody_reading_is_no_traceback(cpf: Cpf) -> None:
    for command in ("guide", "init"):
        process = cpf.start(command)
        with process:
            process.stdout.close()
            assert process.stderr.read() == b""
