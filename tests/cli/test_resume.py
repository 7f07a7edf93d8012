"""`cpf resume`: one event, delivered once, or refused without a trace."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.conftest import Cpf, until
from tests.helpers import ask, cli, end, foreach

YES_OR_NO = {"type": "object", "required": ["y"], "properties": {"y": {"enum": ["yes", "no"]}}}
QUESTION = ask("q", input_schema=YES_OR_NO, transitions=[{"when": 'event.y == "yes"', "next": "go"}])


def test_an_event_goes_on_to_the_end(cpf: Cpf) -> None:
    run_id = cpf.run(QUESTION, cli("go"), end("e", result="${steps.q.outputs.y}"))["run_id"]
    answer = cpf.resume(run_id, "q_event", {"y": "yes"})
    assert (answer.code, answer["result"]) == (0, "yes")


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("--event", "other", "--input", "{}"), 20, "ERR_RESUME_EVENT_MISMATCH"),
        (("--event", "q_event", "--input", "{nope"), 10, "ERR_VALIDATION_EVENT_INPUT"),
        (("--event", "q_event", "--input", '{"y": NaN}'), 10, "ERR_VALIDATION_EVENT_INPUT"),
        (("--event", "q_event", "--input", "{}"), 10, "ERR_VALIDATION_EVENT_INPUT"),
        (("--event", "q_event", "--input", '{"y": "perhaps"}'), 10, "ERR_VALIDATION_EVENT_INPUT"),
        (("--event", "q_event", "--input", '{"y": "no"}'), 30, "ERR_NO_TRANSITION"),
        (("--event", "q_event", "--input", "@nowhere.json"), 10, "ERR_FILE_NOT_FOUND"),
        (("--event", "q_event"), 2, "ERR_USAGE"),
        (("--input", "{}"), 2, "ERR_USAGE"),
        (("--step", "q"), 2, "ERR_USAGE"),
        (
            ("--event", "q_event", "--input", '{"y": "yes"}', "--step", "other"),
            20,
            "ERR_RESUME_EVENT_MISMATCH",
        ),
    ],
)
def test_a_rejected_event_leaves_no_trace(
    cpf: Cpf, arguments: tuple[str, ...], code: int, error: str
) -> None:
    run_id = cpf.run(QUESTION, cli("go"))["run_id"]
    before = [(cpf.directory(run_id) / name).read_bytes() for name in ("state.json", "history.jsonl")]
    answer = cpf("resume", "--run-id", run_id, *arguments)
    assert (answer.code, answer.error_code) == (code, error)
    assert before == [(cpf.directory(run_id) / name).read_bytes() for name in ("state.json", "history.jsonl")]
    assert cpf.resume(run_id, "q_event", {"y": "yes"}).code == 0


def test_a_line_that_is_pasted_before_the_answer_is_written_says_so(cpf: Cpf) -> None:
    run_id = cpf.run(QUESTION, cli("go"))["run_id"]
    answer = cpf("resume", "--run-id", run_id, "--event", "q_event", "--input", "@response.json")
    assert "write the JSON into it first" in answer["error"]["message"]


def test_an_answer_may_come_from_standard_input(cpf: Cpf) -> None:
    run_id = cpf.run(QUESTION, cli("go"))["run_id"]
    answer = cpf("resume", "--run-id", run_id, "--event", "q_event", "--input", "-", stdin='{"y": "yes"}')
    assert answer.code == 0


def test_a_run_that_still_waits_prints_its_wait_again(cpf: Cpf) -> None:
    first = cpf.run(QUESTION, cli("go"))
    again = cpf.resume(first["run_id"])
    assert (again.code, again["wait"]) == (40, first["wait"])
    assert again["checkpoint_id"] == first["checkpoint_id"]


def test_a_run_that_has_ended_takes_no_event(cpf: Cpf) -> None:
    run_id = cpf.run(cli("a"))["run_id"]
    answer = cpf.resume(run_id, "q_event", {})
    assert (answer.code, answer.error_code) == (20, "ERR_RUN_NOT_WAITING")
    assert cpf.resume(run_id).code == 0


def test_of_simultaneous_resumes_one_delivers(cpf: Cpf) -> None:
    run_id = cpf.run(QUESTION, cli("go", "echo once >> ledger; sleep 0.2"))["run_id"]
    arguments = ("resume", "--run-id", run_id, "--event", "q_event", "--input", '{"y": "yes"}')
    processes = [cpf.start(*arguments) for _ in range(4)]
    codes = sorted((p.communicate(b"", timeout=60), p.returncode)[1] for p in processes)
    assert codes[0] == 0
    assert set(codes[1:]) <= {20, 70}
    assert (cpf.cwd / "ledger").read_text() == "once\n"


def test_another_writer_is_named(cpf: Cpf) -> None:
    run_id = cpf.run(QUESTION, cli("go", "touch started; exec sleep 60"))["run_id"]
    first = cpf.start("resume", "--run-id", run_id, "--event", "q_event", "--input", '{"y": "yes"}')
    until(lambda: (cpf.cwd / "started").exists())
    answer = cpf.resume(run_id)
    assert (answer.code, answer.error_code) == (70, "ERR_LOCK_CONFLICT")
    assert f"process {first.pid} on {os.uname().nodename} (cpf resume" in answer["error"]["message"]
    first.send_signal(signal.SIGINT)
    first.communicate()


def test_lock_timeout_waits_for_the_other(cpf: Cpf) -> None:
    run_id = cpf.run(QUESTION, cli("go", "touch started; sleep 0.5"))["run_id"]
    first = cpf.start("resume", "--run-id", run_id, "--event", "q_event", "--input", '{"y": "yes"}')
    until(lambda: (cpf.cwd / "started").exists())
    assert cpf.resume(run_id, None, None, "--lock-timeout", "30").code == 0
    first.communicate()


def killed(cpf: Cpf, *steps: object) -> str:
    """A run whose cpf was killed while a step was under way; the step writes its process id into `pid`."""
    process = cpf.start("run", "-f", cpf.flow(*steps))
    until((cpf.cwd / "pid").exists)
    until(lambda: (cpf.cwd / "pid").read_text())
    process.kill()
    process.communicate()
    (run_id,) = os.listdir(cpf.base / "runs")
    return run_id


def test_a_command_that_outlived_its_cpf_keeps_the_run(cpf: Cpf) -> None:
    run_id = killed(cpf, cli("slow", "echo $$ > pid; exec sleep 60"))
    pid = (cpf.cwd / "pid").read_text().strip()
    for arguments in (("resume",), ("retry-step",)):
        answer = cpf(*arguments, "--run-id", run_id)
        assert (answer.code, answer.error_code) == (70, "ERR_LOCK_CONFLICT")
        assert f"outlived its cpf (processes {pid})" in answer["error"]["message"]
    os.kill(int(pid), signal.SIGKILL)
    until(lambda: cpf.resume(run_id).code == 40)


def test_a_child_that_lets_go_of_the_lock_may_live_on(cpf: Cpf) -> None:
    child = 'eval "exec $CPF_LOCK_FD>&-"; echo $$ > child; exec sleep 60'
    run_id = killed(cpf, cli("slow", f"setsid sh -c '{child}' & echo $$ > pid; exec sleep 60"))
    os.kill(int((cpf.cwd / "pid").read_text()), signal.SIGKILL)
    until(lambda: cpf.resume(run_id).code == 40)
    os.kill(int((cpf.cwd / "child").read_text()), signal.SIGKILL)


def test_a_killed_run_asks_about_the_step_that_was_under_way(cpf: Cpf) -> None:
    run_id = killed(
        cpf,
        cli("done", "echo done >> ledger"),
        cli("slow", "echo slow >> ledger; echo $$ > pid; exec sleep 60"),
    )
    os.kill(int((cpf.cwd / "pid").read_text()), signal.SIGKILL)
    status = cpf("status", "--run-id", run_id)
    assert (status.code, status["status"]) == (0, "running")
    assert "no process works on this run" in status["warnings"][0]
    until(lambda: cpf.resume(run_id).code == 40)
    answer = cpf.resume(run_id)
    assert answer["wait"]["event_name"] == "step_outcome"
    assert (answer["wait"]["in_doubt"]["attempt"], answer["wait"]["step"]) == (1, "slow")
    assert Path(answer["wait"]["in_doubt"]["stdout"]).exists()
    assert cpf.resume(run_id, "step_outcome", {"outcome": "succeeded"}).code == 0
    assert (cpf.cwd / "ledger").read_text() == "done\nslow\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_told_to_stop_it_stops_the_step_and_says_how_to_go_on(cpf: Cpf, number: signal.Signals) -> None:
    file = cpf.flow(cli("slow", "echo $$ > pid; exec sleep 60", idempotent=True))
    process = cpf.start("run", "-f", file)
    until(lambda: (cpf.cwd / "pid").exists() and (cpf.cwd / "pid").read_text())
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    import json

    envelope = json.loads(out)
    assert (process.returncode, envelope["error"]["code"]) == (20, "ERR_INTERRUPTED")
    assert f"cpf resume --run-id {envelope['run_id']} --base-dir" in envelope["error"]["message"]
    assert cpf.history(envelope["run_id"])[-1]["fact"]["fact"] == "step_interrupted"
    pid = int((cpf.cwd / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_copy_is_not_run_from_a_document_that_was_changed(cpf: Cpf) -> None:
    run_id = cpf.run(QUESTION, cli("go"))["run_id"]
    with (cpf.directory(run_id) / "workflow.yaml").open("a") as file:
        file.write("\n# changed")
    answer = cpf.resume(run_id, "q_event", {"y": "yes"})
    assert (answer.code, answer.error_code) == (60, "ERR_STATE_CORRUPT")


def test_commands_run_where_the_run_was_started(cpf: Cpf, tmp_path: Path) -> None:
    run_id = cpf.run(QUESTION, cli("go", "pwd > where"))["run_id"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    answer = cpf("resume", "--run-id", run_id, "--event", "q_event", "--input", '{"y": "yes"}', cwd=elsewhere)
    assert answer.code == 0
    assert (cpf.cwd / "where").read_text().strip() == str(cpf.cwd)


def test_where_that_directory_is_not_here_they_run_where_resume_was_called(cpf: Cpf, tmp_path: Path) -> None:
    run_id = cpf.run(QUESTION, cli("go", "pwd > where"))["run_id"]
    shutil.rmtree(cpf.cwd)
    here = tmp_path / "here"
    here.mkdir()
    answer = cpf("resume", "--run-id", run_id, "--event", "q_event", "--input", '{"y": "yes"}', cwd=here)
    assert (answer.code, (here / "where").read_text().strip()) == (0, str(here))
    assert "is not here" in answer["warnings"][0]


@pytest.mark.parametrize("change", [{"cursors": {}}, {"steps": {}}])
def test_a_state_that_no_run_comes_to_is_not_gone_on_with(cpf: Cpf, change: dict[str, object]) -> None:
    run_id = cpf.run(cli("a"), ask("q"), cli("b", "touch ran"))["run_id"]
    file = cpf.directory(run_id) / "state.json"
    file.write_text(json.dumps(cpf.state(run_id) | change))
    before = file.read_bytes()
    for answer in (cpf.resume(run_id), cpf("cancel", "--run-id", run_id, "--reason", "x")):
        assert (answer.code, answer.error_code) == (60, "ERR_STATE_CORRUPT"), answer.text
        assert "no run comes to" in answer["error"]["message"]
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "name", ["revision", "cwd", "step", "exit_code", "items", "begun", "outputs", "prompt", "event_name"]
)
def test_a_name_that_is_damaged_is_not_taken_for_one_that_was_left_out(cpf: Cpf, name: str) -> None:
    """Failed with: names that are not known passed over."""
    run_id = cpf.run(cli("a", "echo '{}'"), foreach("each", [1, 2], ask("q", prompt="?")))["run_id"]
    file = cpf.directory(run_id) / "state.json"
    damaged = file.read_text().replace(f'"{name}":', f'"{name}x":', 1)
    assert f'"{name}x":' in damaged
    file.write_text(damaged)
    for answer in (cpf("status", "--run-id", run_id), cpf.resume(run_id, "q_event", {})):
        assert (answer.code, answer.error_code) == (60, "ERR_STATE_CORRUPT")
