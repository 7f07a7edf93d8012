"""What can be done next: each line of each envelope does what it says, run as it is printed."""

from __future__ import annotations

import shlex
import signal
import time
from typing import Any

import pytest

from tests.conftest import Answer, Cpf, until
from tests.helpers import ask, branch, cli, end, parallel

YES = {"type": "object", "required": ["y"], "properties": {"y": {"const": True}}}
QUESTION = ask("q", input_schema=YES, audience="agent")


def lines(answer: Answer) -> list[str]:
    """What each line has done, without where and to which run."""
    found = []
    for line in answer.json.get("next", ()):
        assert shlex.split(line["command"]) == line["argv"]
        assert line["why"]
        words = [word for word in line["argv"] if word != answer.json.get("run_id")]
        found.append(" ".join(word for word in words if not word.startswith(("/", "--base-dir"))))
    return found


def follow(cpf: Cpf, answer: Answer, number: int) -> Answer:
    (cpf.cwd / "response.json").write_text('{"y": true}')
    return cpf(*answer["next"][number]["argv"][1:])


def test_a_question_is_answered(cpf: Cpf) -> None:
    answer = cpf.run(QUESTION, cli("go"))
    assert lines(answer) == ["cpf resume --step q --input @response.json"]
    assert (answer["next"][0]["why"], answer["wait"]["audience"]) == ("answer", "agent")
    assert answer["next"][0]["command"] == answer["wait"]["resume"]["command"]
    ended = follow(cpf, answer, 0)
    assert (ended.code, lines(ended)) == (0, [])


def test_every_open_question_has_its_line(cpf: Cpf) -> None:
    answer = cpf.run(parallel("p", branch("a", QUESTION), branch("b", ask("r", input_schema=YES))))
    assert [line["why"] for line in answer["next"]] == ["answer as agent", "answer as user"]
    assert follow(cpf, answer, 1).code == 40
    assert follow(cpf, answer, 0).code == 0


def test_a_refused_answer_is_told_with_the_question_again(cpf: Cpf) -> None:
    run_id = cpf.run(QUESTION)["run_id"]
    refused = cpf.resume(run_id, "q_event", {"y": False})
    assert (refused.code, refused["run_id"], refused["wait"]["input_schema"]) == (10, run_id, YES)
    assert follow(cpf, refused, 0).code == 0


def test_a_time_that_is_up_is_taken(cpf: Cpf) -> None:
    answer = cpf.run(ask("q", timeout_seconds=0.01, on_timeout={"next": "late"}), cli("x"), end("late"))
    time.sleep(0.05)
    refused = cpf.resume(answer["run_id"], "q_event", {})
    assert (refused.error_code, lines(refused)) == ("ERR_WAIT_EXPIRED", ["cpf resume"])
    assert follow(cpf, refused, 0).code == 0


def test_a_failure_is_looked_into_and_tried_again(cpf: Cpf) -> None:
    failed = cpf.run(cli("a", "echo why >&2; test -e fixed"))
    assert lines(failed) == ["cpf logs --step a", "cpf retry"]
    assert follow(cpf, failed, 0)["logs"][-1]["text"] == "why\n"
    (cpf.cwd / "fixed").touch()
    assert follow(cpf, failed, 1).code == 0


def test_a_run_that_ended_is_looked_at_after_an_answer_too_many(cpf: Cpf) -> None:
    run_id = cpf.run(cli("a"))["run_id"]
    refused = cpf.resume(run_id, "q_event", {})
    assert (refused.code, lines(refused)) == (20, ["cpf inspect"])
    assert follow(cpf, refused, 0).code == 0


def test_a_run_under_way_is_waited_for_and_read(cpf: Cpf) -> None:
    begun = cpf("run", cpf.flow(cli("a", "echo at it; sleep 1")), "--detach")
    until((cpf.directory(begun["run_id"]) / "stdout" / "a.txt").exists)
    status = cpf("status", begun["run_id"])
    assert lines(status) == ["cpf wait", "cpf logs"]
    assert follow(cpf, status, 1).code == 0
    assert follow(cpf, status, 0)["status"] == "completed"


def test_who_comes_too_early_may_wait_or_stop_it(cpf: Cpf) -> None:
    begun = cpf("run", cpf.flow(cli("a", "sleep 30")), "--detach")
    until((cpf.directory(begun["run_id"]) / "stdout").exists)
    busy = cpf("resume", begun["run_id"])
    assert (busy.code, busy["run_id"]) == (70, begun["run_id"])
    assert lines(busy) == ["cpf wait", "cpf cancel --reason no longer needed"]
    assert follow(cpf, busy, 1)["status"] == "cancelled"
    assert follow(cpf, busy, 0)["status"] == "cancelled"


def test_an_interrupted_run_is_gone_on_with(cpf: Cpf) -> None:
    process = cpf.start("run", cpf.flow(cli("a", "touch at; test -e fixed || sleep 30", idempotent=True)))
    until((cpf.cwd / "at").exists)
    process.send_signal(signal.SIGINT)
    told = Answer(0, process.communicate()[0].decode(), "")
    assert (told.error_code, lines(told)) == ("ERR_INTERRUPTED", ["cpf resume"])
    (cpf.cwd / "fixed").touch()
    assert follow(cpf, told, 0).code == 0


def test_a_run_is_handed_over_and_trusted(cpf: Cpf) -> None:
    run_id = cpf.run(QUESTION)["run_id"]
    written = cpf("export", run_id, "-o", "run.tar.gz")
    assert lines(written) == ["cpf import run.tar.gz"]
    assert cpf("delete", run_id, "--force").code == 0
    taken = follow(cpf, written, 0)
    assert lines(taken) == [
        "cpf inspect",
        "cpf resume --step q --input @response.json --trust",
    ]
    assert follow(cpf, taken, 0).code == 40
    assert follow(cpf, taken, 1).code == 0


def test_a_run_whose_directory_is_gone_goes_on_here(cpf: Cpf) -> None:
    there = cpf.cwd / "there"
    there.mkdir()
    run_id = cpf("run", str(cpf.cwd / cpf.flow(QUESTION, cli("go"))), cwd=there)["run_id"]
    there.rmdir()
    gone = cpf.resume(run_id, "q_event", {"y": True})
    line = "cpf resume --step q --input @response.json --cwd ."
    assert (gone.error_code, lines(gone)) == ("ERR_DIRECTORY_GONE", [line])
    assert follow(cpf, gone, 0).code == 0


def test_a_failed_run_whose_directory_is_gone_is_tried_again_here(cpf: Cpf) -> None:
    there = cpf.cwd / "there"
    there.mkdir()
    run_id = cpf("run", str(cpf.cwd / cpf.flow(cli("a", "test -e fixed"))), cwd=there)["run_id"]
    there.rmdir()
    gone = cpf("retry", run_id)
    assert (gone.error_code, lines(gone)) == (
        "ERR_DIRECTORY_GONE",
        ["cpf logs --step a", "cpf retry --cwd ."],
    )
    (cpf.cwd / "fixed").touch()
    assert follow(cpf, gone, 1).code == 0


def test_whatever_is_refused_of_a_run_that_asks_is_told_with_what_it_asks_and_whom(cpf: Cpf) -> None:
    run_id = cpf.run(QUESTION)["run_id"]
    for words in (("retry",), ("delete",)):
        refused = cpf(words[0], run_id, *words[1:])
        assert (refused["status"], refused.json.get("wait", {}).get("audience")) == ("error", "agent"), words


def test_a_run_that_has_not_ended_is_ended_before_it_is_removed(cpf: Cpf) -> None:
    refused = cpf("delete", cpf.run(QUESTION)["run_id"])
    assert lines(refused) == ["cpf cancel --reason no longer needed"]
    assert follow(cpf, refused, 0).code == 0


@pytest.mark.parametrize("damage", ["{", None])
def test_damage_is_looked_for(cpf: Cpf, damage: Any) -> None:
    run_id = cpf.run(QUESTION)["run_id"]
    (cpf.directory(run_id) / ("state.json" if damage else "workflow.yaml")).write_text(damage or "x")
    refused = cpf.resume(run_id, "q_event", {"y": True})
    assert (refused.code, refused["run_id"], lines(refused)) == (60, run_id, ["cpf verify"])
    assert follow(cpf, refused, 0).error_code == "ERR_STATE_CORRUPT"
