"""`cpf logs`: what the steps printed, in the order in which they ran."""

from __future__ import annotations

import pytest

from tests.conftest import Cpf, on_a_terminal, until
from tests.helpers import ask, cli, switch

STEPS = (
    cli("one", "printf '1\\n2\\n3\\n'; echo e1 >&2"),
    cli("two", "printf 'last'"),
)


@pytest.fixture
def run_id(cpf: Cpf) -> str:
    return cpf.run(*STEPS)["run_id"]


def texts(cpf: Cpf, run_id: str, *options: str) -> list[tuple[str, str, str]]:
    logs = cpf("logs", "--run-id", run_id, *options)["logs"]
    return [(entry["step"], entry["stream"], entry["text"]) for entry in logs]


def test_both_streams_of_all_steps(cpf: Cpf, run_id: str) -> None:
    assert texts(cpf, run_id) == [
        ("one", "stdout", "1\n2\n3\n"), ("one", "stderr", "e1\n"),
        ("two", "stdout", "last"), ("two", "stderr", ""),
    ]  # fmt: skip


def test_one_step_and_one_stream(cpf: Cpf, run_id: str) -> None:
    assert texts(cpf, run_id, "--step", "one", "--stream", "stderr") == [("one", "stderr", "e1\n")]


@pytest.mark.parametrize(("lines", "text"), [("1", "3\n"), ("2", "2\n3\n"), ("9", "1\n2\n3\n"), ("0", "")])
def test_the_last_lines(cpf: Cpf, run_id: str, lines: str, text: str) -> None:
    assert texts(cpf, run_id, "--step", "one", "--stream", "stdout", "--tail", lines)[0][2] == text
    raw = cpf("logs", "--run-id", run_id, "--step", "one", "--stream", "stdout", "--tail", lines, "--raw")
    assert raw.text == text


def test_raw_prints_the_bytes(cpf: Cpf, run_id: str) -> None:
    assert cpf("logs", "--run-id", run_id, "--raw", "--stream", "stdout").text == "1\n2\n3\nlast"


def test_an_id_names_all_visits_and_a_path_one(cpf: Cpf) -> None:
    run_id = cpf.run(cli("a", "echo $CPF_STEP"), ask("q", next="a"))["run_id"]
    cpf.resume(run_id, "q_event", {})
    options = ("--stream", "stdout")
    assert [t[2] for t in texts(cpf, run_id, "--step", "a", *options)] == ["a\n", "a@2\n"]
    assert [t[2] for t in texts(cpf, run_id, "--step", "a@2", *options)] == ["a@2\n"]


def test_a_step_that_has_not_run_is_told_with_those_that_have(cpf: Cpf, run_id: str) -> None:
    answer = cpf("logs", "--run-id", run_id, "--step", "three")
    assert (answer.code, answer.error_code) == (2, "ERR_USAGE")
    assert "one, two" in answer["error"]["message"]


def test_a_long_log_is_shown_by_its_end(cpf: Cpf) -> None:
    run_id = cpf.run(cli("a", "yes | head -c 200000; echo end"))["run_id"]
    entry = cpf("logs", "--run-id", run_id, "--stream", "stdout")["logs"][0]
    assert (entry["size"], entry["truncated"], len(entry["text"])) == (200004, True, 4096)
    assert entry["text"].endswith("end\n")
    (whole,) = cpf("logs", run_id, "--stream", "stdout", "--full")["logs"]
    assert (len(whole["text"]), whole["truncated"]) == (200004, False)
    assert len(cpf("logs", "--run-id", run_id, "--raw").text) == 200004
    assert (
        cpf("logs", "--run-id", run_id, "--tail", "40000", "--raw", "--stream", "stdout").text.count("\n")
        == 40000
    )


def test_a_log_is_not_an_error_of_the_run(cpf: Cpf) -> None:
    run_id = cpf.run(cli("bad", "echo why >&2; exit 1"))["run_id"]
    answer = cpf("logs", "--run-id", run_id)
    assert (answer.code, answer["status"]) == (0, "failed")


def test_a_run_without_output_has_no_logs(cpf: Cpf) -> None:
    assert texts(cpf, cpf.run(switch("s", (True, "q")), ask("q"))["run_id"]) == []


def test_follow_goes_on_until_the_run_rests(cpf: Cpf) -> None:
    file = cpf.flow(cli("slow", "for i in 1 2 3; do echo $i; sleep 0.3; done"), cli("end", "echo done"))
    process = cpf.start("run", "-f", file)
    until(lambda: list(cpf.base.glob("runs/*/stdout/slow.txt")))
    (directory,) = (cpf.base / "runs").iterdir()
    raw = cpf("logs", "--run-id", directory.name, "--follow", "--raw", "--stream", "stdout")
    assert raw.text == "1\n2\n3\ndone\n"
    assert texts(cpf, directory.name, "--follow", "--stream", "stdout")[1][2] == "done\n"
    process.communicate()


def test_follow_ends_when_the_process_is_gone(cpf: Cpf) -> None:
    process = cpf.start("run", "-f", cpf.flow(cli("slow", "echo begun; exec sleep 60")))
    until(lambda: list(cpf.base.glob("runs/*/stdout/slow.txt")))
    process.kill()
    process.communicate()
    (directory,) = (cpf.base / "runs").iterdir()
    assert cpf("logs", "--run-id", directory.name, "--follow", "--raw").code == 0


def test_what_is_followed_on_a_terminal_commands_it_nothing(cpf: Cpf) -> None:
    said = "red \x1b[31m \x9b2J \u202eab \x7f 1%\r2%\r\n日 end"
    (cpf.cwd / "said").write_text(said)
    run_id = cpf.run(cli("a", "cat said"))["run_id"]
    _, err = on_a_terminal(cpf, "logs", "--run-id", run_id, "--follow")
    shown = r"red \x1b[31m \x9b2J \u202eab \x7f 1%" + "\r\n2%\r\n日 end"
    assert err == shown
    assert cpf("logs", "--run-id", run_id, "--follow", "--raw").text == said
