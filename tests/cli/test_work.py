"""`cpf work`: what waits is answered by a command, each question by one, and no value becomes code."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from checkpointflow.cli import work
from checkpointflow.drivers import local
from checkpointflow.store.locks import hold_lock
from checkpointflow.store.store import Store
from tests.conftest import Answer, Cpf, gone, until
from tests.helpers import ask, cli, end, foreach

VERDICT = {
    "type": "object",
    "properties": {"verdict": {"enum": ["go", "stop"]}, "why": {"type": "string"}},
    "required": ["verdict"],
}
GO = """echo '{"verdict": "go"}'"""
CPF = f"{shlex.quote(sys.executable)} -m checkpointflow"


def question(id: str = "q", **more: Any) -> dict[str, Any]:
    return ask(id, **{"audience": "agent", "input_schema": VERDICT, **more})


def once(cpf: Cpf, program: str, *more: str, **env: str) -> Answer:
    return cpf.real("work", "--once", "--exec", program, *more, **env)


def outputs(cpf: Cpf, run_id: str, step: str = "q") -> Any:
    return cpf.state(run_id)["steps"][step].get("outputs")


def lines(cpf: Cpf, name: str = "log") -> list[str]:
    file = cpf.cwd / name
    return file.read_text().splitlines() if file.exists() else []


# What is asked, and what becomes of the answer


def test_a_question_is_answered_and_the_run_goes_on(cpf: Cpf) -> None:
    plan = cli("plan", """echo '{"files": ["a", "b"]}'""")
    asked = question(
        prompt="Is ${steps.plan.outputs.files} right for ${inputs.who}?",
        summary="of ${run.id}",
        instructions="Say go or stop.",
        risk_level="low",
    )
    after = cli("after", "echo ${steps.q.outputs.verdict} > said")
    inputs = {"type": "object", "properties": {"who": {}}}
    run_id = cpf.run(plan, asked, after, name="w.yaml", inputs={"who": {"n": 1}}, description="d")["run_id"]
    answer = once(cpf, f"cat > asked; env | grep ^CPF_ > env; {GO}")
    assert (answer.code, answer["command"], answer["status"]) == (0, "work", "completed")
    assert answer["result"]["count"] == {"answered": 1, "left": 0}
    (row,) = answer["result"]["answered"]
    assert row == {
        "run_id": run_id,
        "workflow_id": "w",
        "step": "q",
        "event_name": "q_event",
        "attempts": 1,
        "status": "completed",
    }
    assert (outputs(cpf, run_id), lines(cpf, "said"), inputs["type"]) == ({"verdict": "go"}, ["go"], "object")
    given = json.loads((cpf.cwd / "asked").read_text())
    assert given == {
        "run_id": run_id,
        "workflow_id": "w",
        "workflow_description": "d",
        "step": "q",
        "event_name": "q_event",
        "audience": "agent",
        "prompt": 'Is ["a","b"] right for {"n":1}?',
        "summary": f"of {run_id}",
        "instructions": "Say go or stop.",
        "risk_level": "low",
        "values": {"steps.plan.outputs.files": ["a", "b"], "inputs.who": {"n": 1}, "run.id": run_id},
        "input_schema": VERDICT,
        "attempt": 1,
    }
    told = dict(line.split("=", 1) for line in lines(cpf, "env"))
    assert [told[name] for name in ("CPF_RUN_ID", "CPF_STEP", "CPF_EVENT")] == [run_id, "q", "q_event"]
    assert cpf("verify", run_id).code == 0
    assert "warnings" not in cpf("export", run_id, "-o", "run.tar.gz").json


def test_an_answer_that_does_not_fit_is_sent_back_with_what_it_lacked(cpf: Cpf) -> None:
    run_id = cpf.run(question())["run_id"]
    program = """cat > asked; cat asked >> log; case $(grep -c . log) in
        1) echo '{"verdict": "perhaps"}' ;; 2) echo 'I think: go' ;; *) echo '{"verdict": "go"}' ;;
    esac"""
    answer = once(cpf, program)
    assert (answer.code, answer["result"]["answered"][0]["attempts"]) == (0, 3)
    first, second, third = map(json.loads, lines(cpf))
    assert ("lacking" in first, first["attempt"], second["attempt"], third["attempt"]) == (False, 1, 2, 3)
    assert second["lacking"]["answer"] == {"verdict": "perhaps"}
    assert "does not fit its schema" in second["lacking"]["problem"]
    assert second["lacking"]["details"][0]["path"] == "$.verdict"
    assert ("answer" in third["lacking"], "it is not JSON" in third["lacking"]["problem"]) == (False, True)
    assert outputs(cpf, run_id) == {"verdict": "go"}


def test_an_answer_that_leads_nowhere_is_sent_back(cpf: Cpf) -> None:
    go = {"when": "event.verdict == 'go'", "next": "e"}
    run_id = cpf.run(question(transitions=[go]), end("e"))["run_id"]
    program = f"""cat > asked; grep -q lacking asked && {GO} || echo '{{"verdict": "stop"}}'"""
    assert once(cpf, program).code == 0
    assert cpf.state(run_id)["status"] == "completed"


def test_a_question_whose_attempts_are_used_up_is_left_with_the_line_that_answers_it(cpf: Cpf) -> None:
    first, second = (cpf.run(question())["run_id"] for _ in range(2))
    program = f"""echo $CPF_RUN_ID >> log; test $CPF_RUN_ID = {second} && {GO} || echo '{{}}'"""
    answer = once(cpf, program, "--attempts", "2")
    assert (answer.code, answer["ok"], answer["result"]["count"]) == (30, False, {"answered": 1, "left": 1})
    assert lines(cpf) == [first, first, second]
    (left,) = answer["result"]["left"]
    assert (left["run_id"], left["attempts"], left["code"]) == (first, 2, "ERR_VALIDATION_EVENT_INPUT")
    (line,) = answer["next"]
    cpf.write("response.json", '{"verdict": "stop"}')
    assert cpf(*line["argv"][1:]).code == 0


@pytest.mark.long(but_one_in=4)
@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("echo no key >&2; exit 3", "ended with 3: no key"),
        ("kill -9 $$", "ended by SIGKILL"),
        ("no-such-agent", "ended with 127"),
        (f"{GO}; exit 1", "ended with 1"),
    ],
)
def test_a_command_that_fails_leaves_the_question_open_and_the_next_one_is_asked(
    cpf: Cpf, program: str, told: str
) -> None:
    runs = [cpf.run(question())["run_id"] for _ in range(2)]
    answer = once(cpf, f"echo $CPF_RUN_ID >> log; {program}")
    assert (answer.code, lines(cpf)) == (30, runs)
    rows = answer["result"]["left"]
    assert [(row["code"], row["attempts"], told in row["problem"]) for row in rows] == [
        ("ERR_NO_ANSWER", 1, True)
    ] * 2
    assert {cpf.state(run_id)["status"] for run_id in runs} == {"waiting"}


@pytest.mark.long
def test_nothing_is_left_of_a_command_whose_time_is_up(cpf: Cpf) -> None:
    cpf.run(question())
    far = "setsid sh -c 'echo $$ > far; sleep 61; true' & until test -s far; do sleep 0.01; done; sleep 62"
    answer = once(cpf, far, "--timeout", "1s")
    (left,) = answer["result"]["left"]
    assert (answer.code, "took longer than 1 seconds" in left["problem"]) == (30, True)
    assert gone(int(lines(cpf, "far")[0]))


def test_what_stands_in_a_question_or_an_answer_is_never_code(cpf: Cpf) -> None:
    bad = """$(touch pwned) `touch pwned`; touch pwned #' "$(touch pwned)" \\"""
    echo = cli("echo", "printf %s ${steps.q.outputs.why} > said")
    run_id = cpf.run(question(prompt="${inputs.x}"), echo, inputs={"x": bad})["run_id"]
    cpf.write("answer.json", json.dumps({"verdict": "go", "why": bad}))
    assert once(cpf, "cat > asked; cat answer.json").code == 0
    assert json.loads((cpf.cwd / "asked").read_text())["prompt"] == bad
    assert outputs(cpf, run_id)["why"] == (cpf.cwd / "said").read_text() == bad
    assert not (cpf.cwd / "pwned").exists()


def test_a_secret_of_the_document_is_masked_in_the_answer(cpf: Cpf) -> None:
    use = cli("use", "test -n ${secrets.TOKEN}")
    run_id = cpf.run(question(), use)["run_id"]
    answer = once(cpf, """echo "{\\"verdict\\": \\"go\\", \\"why\\": \\"$TOKEN\\"}" """, TOKEN="s3cret-value")
    assert (answer.code, outputs(cpf, run_id)["why"]) == (0, "***")
    cpf.run(question(), use)
    answer = once(cpf, "echo $TOKEN >&2; exit 1", TOKEN="s3cret-value")
    assert ("ended with 1: ***" in answer.text, "s3cret" in answer.text) == (True, False)


# Which questions


def test_only_what_is_asked_of_the_audience_and_the_workflow(cpf: Cpf) -> None:
    cpf.run(question(audience="user"))
    cpf.run(question(), id="other")
    mine = cpf.run(question())["run_id"]
    log = f"echo $CPF_RUN_ID >> log; {GO}"
    assert once(cpf, log, "--workflow", "w")["result"]["count"] == {"answered": 1, "left": 0}
    assert lines(cpf) == [mine]
    assert once(cpf, log, "--audience", "user")["result"]["count"] == {"answered": 1, "left": 0}
    assert len(lines(cpf)) == 2
    assert cpf("work", "--once").error_code == "ERR_USAGE"


@pytest.mark.long
def test_a_step_in_doubt_is_for_a_person(cpf: Cpf) -> None:
    process = cpf.start("run", "-f", cpf.flow(cli("slow", "echo $$ > pid; exec sleep 60")))
    until(lambda: lines(cpf, "pid"))
    process.kill()
    process.communicate()
    os.kill(int(lines(cpf, "pid")[0]), signal.SIGKILL)
    (run_id,) = os.listdir(cpf.base / "runs")
    until(lambda: cpf.resume(run_id).code == 40)
    for audience in ("user", "agent", "system"):
        answer = once(cpf, """touch asked; echo '{"outcome": "failed"}'""", "--audience", audience)
        assert (answer.code, answer["result"]["count"]) == (0, {"answered": 0, "left": 0})
    assert (cpf.state(run_id)["status"], (cpf.cwd / "asked").exists()) == ("waiting", False)


def test_a_run_that_came_in_an_archive_is_not_asked_about(cpf: Cpf) -> None:
    run_id = cpf.run(question())["run_id"]
    cpf("export", run_id, "-o", "run.tar.gz")
    cpf("delete", run_id, "--force")
    cpf("import", "run.tar.gz")
    answer = once(cpf, f"touch asked; {GO}")
    (left,) = answer["result"]["left"]
    assert (answer.code, left["code"], left.get("attempts")) == (30, "ERR_NOT_TRUSTED", None)
    assert not (cpf.cwd / "asked").exists()
    assert [line["argv"][1] for line in answer["next"]] == ["inspect", "resume"]


def test_a_run_in_a_directory_that_others_may_write_into_is_not_asked_about(cpf: Cpf) -> None:
    run_id = cpf.run(question())["run_id"]
    cpf.directory(run_id).chmod(0o777)
    answer = once(cpf, f"touch asked; {GO}")
    assert (answer["result"]["left"][0]["code"], (cpf.cwd / "asked").exists()) == ("ERR_PERSISTENCE", False)
    assert once(cpf, GO, "--allow-shared").code == 0


def test_a_question_whose_time_is_up_is_left_to_its_time_out(cpf: Cpf) -> None:
    run_id = cpf.run(question(timeout_seconds=0.001))["run_id"]
    answer = once(cpf, f"touch asked; {GO}")
    assert (answer["result"]["left"][0]["code"], (cpf.cwd / "asked").exists()) == ("ERR_WAIT_EXPIRED", False)
    assert cpf(*answer["next"][0]["argv"][1:]).code == 30
    assert cpf.state(run_id)["status"] == "failed"


# Somebody else


@pytest.mark.long(but_one_in=2)
@pytest.mark.parametrize(("by_person", "code"), [("stop", "ERR_ANSWERED_OTHERWISE"), ("go", None)])
def test_a_person_who_answers_first_counts(cpf: Cpf, by_person: str, code: str | None) -> None:
    run_id = cpf.run(question(), question("r"))["run_id"]
    person = f"""{CPF} resume $CPF_RUN_ID --step q --input '{{"verdict": "{by_person}"}}' >/dev/null"""
    answer = once(cpf, f"echo $CPF_STEP >> log; test $CPF_STEP = r || {person}; {GO}")
    (row,) = answer["result"]["fell_away"]
    assert (row["step"], row.get("code"), answer["result"]["left"]) == ("q", code, [])
    assert (answer.code, lines(cpf), outputs(cpf, run_id)) == (0, ["q"], {"verdict": by_person})
    assert cpf.state(run_id)["status"] == "waiting"  # the next question is one of the next look


def test_an_answer_to_an_old_visit_is_never_that_of_the_next(cpf: Cpf) -> None:
    again = {"when": "event.verdict == 'stop'", "next": "q"}
    run_id = cpf.run(question(transitions=[again, {"when": True, "next": "e"}]), end("e"))["run_id"]
    person = f"""{CPF} resume $CPF_RUN_ID --step q --input '{{"verdict": "stop"}}' >/dev/null"""
    answer = once(cpf, f"{person}; {GO}")
    assert [row["step"] for row in answer["result"]["fell_away"]] == ["q"]
    assert cpf.state(run_id)["status"] == "waiting"
    assert once(cpf, GO)["result"]["answered"][0]["step"] == "q@2"


@pytest.mark.long
def test_an_answer_that_comes_after_the_time_is_up_falls_away(cpf: Cpf) -> None:
    run_id = cpf.run(question(timeout_seconds=2))["run_id"]
    answer = once(cpf, f"sleep 2.2; {GO}")
    assert [row["code"] for row in answer["result"]["fell_away"]] == ["ERR_WAIT_EXPIRED"]
    assert (answer.code, outputs(cpf, run_id)) == (0, None)


@pytest.mark.long
def test_a_command_has_no_longer_than_its_question(cpf: Cpf) -> None:
    cpf.run(question(timeout_seconds=2))
    answer = once(cpf, f"sleep 60; {GO}")
    assert [row["code"] for row in answer["result"]["fell_away"]] == ["ERR_WAIT_EXPIRED"]
    assert (answer.code, answer["result"]["left"]) == (0, [])


def test_an_answer_is_kept_while_somebody_else_works_on_the_run(
    cpf: Cpf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cpf.cwd)
    run_id = cpf.run(question())["run_id"]
    worker = work.Worker(Store(cpf.base), work.Terms(f"echo x >> log; {GO}", 3, 9, 0, "none"))
    deliver = local.deliver

    def refuse(*_: Any, **__: Any) -> Any:
        raise work.LockConflict(what="the run", holder="another process")

    for held in (True, True, False):
        monkeypatch.setattr(local, "deliver", refuse if held else deliver)
        worker.take_all("agent", None)
        assert (len(worker.left), worker.has_failed) == (held, False)
    assert (lines(cpf), outputs(cpf, run_id), worker._kept) == (["x"], {"verdict": "go"}, {})


KEEPS = ("--once", "--lock-timeout", "0", "--progress", "plain")
ASKED = f"echo x >> log; until test -e go; do sleep 0.02; done; {GO}"


@pytest.mark.long
def test_an_answer_is_not_lost_to_who_works_on_the_run_though_it_is_asked_for_once(cpf: Cpf) -> None:
    run_id = cpf.run(question())["run_id"]
    worker = cpf.start("work", *KEEPS, "--exec", ASKED)
    until((cpf.cwd / "log").exists)
    with hold_lock(cpf.directory(run_id) / "run.lock", "the run", "resume", "now", 0):
        (cpf.cwd / "go").touch()
        assert worker.stderr is not None
        until(lambda: b"its answer is kept, and given again" in worker.stderr.readline())
    answer = json.loads(worker.communicate(timeout=30)[0])
    assert (worker.returncode, answer["result"]["count"]) == (0, {"answered": 1, "left": 0})
    assert (lines(cpf), outputs(cpf, run_id)) == (["x"], {"verdict": "go"})


@pytest.mark.long
def test_an_answer_that_is_kept_falls_away_once_somebody_else_has_answered(cpf: Cpf) -> None:
    slow = cli("slow", "touch at; until test -e fell; do sleep 0.02; done")
    run_id = cpf.run(question(), slow)["run_id"]
    worker = cpf.start("work", *KEEPS, "--exec", ASKED)
    until((cpf.cwd / "log").exists)
    person = cpf.start("resume", run_id, "--set", "verdict=stop")
    until((cpf.cwd / "at").exists)
    (cpf.cwd / "go").touch()
    answer = json.loads(worker.communicate(timeout=30)[0])
    assert [row["step"] for row in answer["result"]["fell_away"]] == ["q"]
    assert (worker.returncode, answer["result"]["left"], lines(cpf)) == (0, [], ["x"])
    (cpf.cwd / "fell").touch()
    assert json.loads(person.communicate(timeout=30)[0])["status"] == "completed"
    assert outputs(cpf, run_id) == {"verdict": "stop"}


@pytest.mark.long
def test_a_command_that_reads_nothing_of_a_long_question_and_one_that_prints_much(cpf: Cpf) -> None:
    long = {**VERDICT, "description": "x" * 400_000}
    run_id = cpf.run(question(input_schema=long))["run_id"]
    much = "head -c 30000000 /dev/zero | tr '\\0' x"
    assert once(cpf, much)["result"]["left"][0]["code"] == "ERR_VALIDATION_EVENT_INPUT"
    assert (once(cpf, GO).code, outputs(cpf, run_id)) == (0, {"verdict": "go"})


def test_a_run_that_is_gone_by_the_time_of_the_answer(cpf: Cpf) -> None:
    cpf.run(question())
    answer = once(cpf, f"{CPF} delete $CPF_RUN_ID --force >/dev/null; {GO}")
    assert (answer.code, [row["step"] for row in answer["result"]["fell_away"]]) == (0, ["q"])


@pytest.mark.long
@pytest.mark.parametrize("is_one_run", [True, False])
def test_two_at_once_give_each_question_to_one(cpf: Cpf, is_one_run: bool) -> None:
    if is_one_run:
        cpf.run(foreach("all", list(range(20)), question(), max_concurrency=20))
    else:
        file = cpf.flow(question())
        for _ in range(20):
            cpf("run", file)
    program = f"echo $CPF_RUN_ID $CPF_STEP $WHO >> log; sleep 0.05; {GO}"
    workers = [cpf.start("work", "--exec", program, WHO=name) for name in "ab"]
    until(lambda: not cpf("waits")["result"]["waits"], 60)
    counts = []
    for worker in workers:
        worker.terminate()
        counts.append(json.loads(worker.communicate(timeout=30)[0])["result"]["count"]["answered"])
    asked = [line.rpartition(" ")[0] for line in lines(cpf)]
    assert (len(asked), len(set(asked)), sum(counts), min(counts) > 0) == (20, 20, 20, True)
    assert {run["status"] for run in cpf("list")["result"]["runs"]} == {"completed"}


def test_a_question_that_somebody_has_answered_just_now_is_left_to_them(cpf: Cpf) -> None:
    cpf.run(question())
    worker = cpf.start(
        "work", "--once", "--exec", f"touch asked; until test -e go; do sleep 0.02; done; {GO}"
    )
    until((cpf.cwd / "asked").exists)
    answer = once(cpf, "touch too")
    (left,) = answer["result"]["left"]
    assert (answer.code, left["code"], f"process {worker.pid}" in left["problem"]) == (
        0,
        "ERR_LOCK_CONFLICT",
        True,
    )
    cpf.write("go", "")
    assert (json.loads(worker.communicate(timeout=30)[0])["exit_code"], (cpf.cwd / "too").exists()) == (
        0,
        False,
    )


def test_a_run_that_somebody_works_on_is_asked_about_later(cpf: Cpf) -> None:
    branches = [
        {"id": "a", "steps": [question()]},
        {"id": "b", "steps": [cli("slow", "touch on; exec sleep 30")]},
    ]
    process = cpf.start("run", "-f", cpf.flow({"id": "p", "kind": "parallel", "branches": branches}))
    until((cpf.cwd / "on").exists)
    answer = once(cpf, f"touch asked; {GO}")
    (left,) = answer["result"]["left"]
    assert (answer.code, left["code"], (cpf.cwd / "asked").exists()) == (0, "ERR_LOCK_CONFLICT", False)
    process.terminate()
    process.communicate()


def test_what_a_killed_worker_had_asked_is_taken_over_at_once(cpf: Cpf) -> None:
    run_id = cpf.run(question())["run_id"]
    worker = cpf.start("work", "--exec", "setsid sh -c 'echo $$ > far; sleep 63; true' & sleep 64; true")
    until(lambda: lines(cpf, "far"))
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    far = int(lines(cpf, "far")[0])
    assert not gone(far)
    start = time.monotonic()
    assert once(cpf, GO)["result"]["count"] == {"answered": 1, "left": 0}
    assert (time.monotonic() - start < 15, gone(far), outputs(cpf, run_id)) == (True, True, {"verdict": "go"})


# On and on


def begin(cpf: Cpf, program: str, *more: str) -> subprocess.Popen[bytes]:
    return cpf.start("work", "--exec", program, "--progress", "plain", *more)


def stop(worker: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> Answer:
    worker.send_signal(number)
    out, err = worker.communicate(timeout=30)
    return Answer(worker.returncode, out.decode(), err.decode())


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_goes_on_until_it_is_told_to_stop(cpf: Cpf, number: int) -> None:
    worker = begin(cpf, GO)
    run_id = cpf.run(question(), question("r"))["run_id"]
    until(lambda: cpf.state(run_id)["status"] == "completed")
    time.sleep(0.3)
    answer = stop(worker, number)
    assert (answer.code, answer["ok"], answer["result"]["count"]) == (0, True, {"answered": 2, "left": 0})
    told = [line for line in answer.err.splitlines() if line.startswith(run_id[-4:])]
    assert told[:2] == [f"{run_id[-4:]} q: asked", f"{run_id[-4:]} q: answered; the run is waiting"]


@pytest.mark.long
def test_told_to_stop_it_ends_the_command_and_leaves_the_question(cpf: Cpf) -> None:
    first, run_id = (cpf.run(question())["run_id"] for _ in range(2))
    # The first run goes on, and whoever drives a run hears of no signal where it must not be broken off.
    worker = begin(cpf, f"test $CPF_RUN_ID != {first} || {{ {GO}; exit; }}; echo $$ > pid; sleep 61; true")
    until(lambda: lines(cpf, "pid"))
    answer = stop(worker)
    assert (answer.code, answer["result"]["count"]) == (0, {"answered": 1, "left": 0})
    until(lambda: gone(int(lines(cpf, "pid")[0])))
    assert cpf.state(run_id)["status"] == "waiting"
    worker = cpf.start("work", "--once", "--exec", "echo $$ > two; sleep 61; true")
    until(lambda: lines(cpf, "two"))
    answer = stop(worker)
    assert (answer.code, answer.error_code, answer["run_id"]) == (20, "ERR_INTERRUPTED", run_id)


def test_told_to_stop_while_the_run_goes_on_it_tells_that_the_run_was_stopped(cpf: Cpf) -> None:
    run_id = cpf.run(question(), cli("slow", "touch on; exec sleep 60"))["run_id"]
    worker = begin(cpf, GO)
    until((cpf.cwd / "on").exists)
    answer = stop(worker)
    (row,) = answer["result"]["answered"]
    assert (answer.code, row["code"], outputs(cpf, run_id)) == (0, "ERR_INTERRUPTED", {"verdict": "go"})


def test_a_broken_command_is_asked_again_only_after_a_while(
    cpf: Cpf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cpf.cwd)
    run_id = cpf.run(question())["run_id"]
    worker = work.Worker(Store(cpf.base), work.Terms("echo x >> log; exit 1", 3, 9, 0, "none"))
    asked = []
    for at in (0.0, 59.0, 61.0, 180.0, 182.0):
        monkeypatch.setattr(work.time, "monotonic", lambda at=at: at)
        worker.take_all("agent", None)
        asked.append(len(lines(cpf)))
    assert asked == [1, 1, 2, 2, 3]
    assert (len(worker.left), worker.has_failed) == (1, True)
    cpf.resume(run_id, "q_event", {"verdict": "go"})
    worker.take_all("agent", None)
    assert (worker.left, worker._pauses) == ({}, {})


def test_a_large_store_is_not_looked_through_all_the_time(cpf: Cpf, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = work.Worker(Store(cpf.base), work.Terms("false", 3, 9, 0, "none"))
    worker.take_all("agent", None)
    assert worker.pause == work.POLL_SECONDS
    times = iter((0.0, 3.0))
    monkeypatch.setattr(work.time, "monotonic", lambda: next(times))
    worker.take_all("agent", None)
    assert worker.pause == 27


def test_the_hook_of_the_store_is_told_and_what_goes_wrong_with_it_is_a_warning(cpf: Cpf) -> None:
    cpf.run(question())
    hook: Path = cpf.base / "config.yaml"
    hook.write_text("notify: {completed: 'cat > kept; exit 3'}")
    hook.chmod(0o600)
    answer = once(cpf, GO)
    assert (answer.code, "ended with 3" in answer["warnings"][0]) == (0, True)
    assert json.loads((cpf.cwd / "kept").read_text())["command"] == "work"


def test_values_without_json_do_no_harm(cpf: Cpf) -> None:
    cpf.run(cli("a", "true"), question(prompt="${steps.a.outputs} ${steps.a.exit_code}"))
    assert once(cpf, f"cat > asked; {GO}").code == 0
    assert json.loads((cpf.cwd / "asked").read_text())["values"] == {
        "steps.a.outputs": {},
        "steps.a.exit_code": 0,
    }


# For people


def test_a_person_sees_what_became_of_each_question_on_a_line(cpf: Cpf) -> None:
    good, bad = (cpf.run(question())["run_id"] for _ in range(2))
    told = once(cpf, f"test $CPF_RUN_ID = {bad} && exit 3; {GO}", "--text").text
    assert [line.split()[:4] for line in told.splitlines()[:3]] == [
        ["RUN", "STEP", "ANSWER", "STATUS"],
        [good[-4:], "q", "answered", "completed"],
        [bad[-4:], "q", "left", "the"],
    ]
