"""Runs that others drive: looked on, waited for, left alone, taken when something is due."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from checkpointflow.cli import tick
from checkpointflow.store.store import Store
from tests.conftest import Answer, Cpf, gone, until
from tests.helpers import ask, cli, end
from tests.terminals import CTRL_C, Terminal, at_a_terminal, plain

SLOW = 'touch started; until test -e go || test ! -e "$PWD"; do sleep 0.02; done'


def begun(cpf: Cpf, *more: Any) -> Any:
    """A cpf that works on a run, until there is a file `go`."""
    process = cpf.start("run", "-f", cpf.flow(cli("slow", SLOW), *more))
    until((cpf.cwd / "started").exists)
    return process


def overdue(cpf: Cpf, **more: Any) -> str:
    """A run whose wait nobody answered in time."""
    question = ask("q", timeout_seconds=0.001, on_timeout={"next": "late"}, **more)
    return cpf.run(question, end("e"), cli("late", "echo late >> log"))["run_id"]


# waits


def test_waits_tells_who_is_asked_what_the_overdue_first(cpf: Cpf) -> None:
    runs = [
        cpf.run(ask("q", prompt="Is ${inputs.x} right?\nmore", audience=who), inputs={"x": who})["run_id"]
        for who in ("user", "agent")
    ]
    late = overdue(cpf, prompt="Late?")
    waits = cpf("waits")["result"]["waits"]
    assert [wait["run_id"] for wait in waits] == [late, *runs]
    assert [wait.get("overdue", False) for wait in waits] == [True, False, False]
    assert waits[1] | {"since": ""} == {
        "run_id": runs[0], "workflow_id": "w", "workflow_name": None, "step": "q", "audience": "user",
        "event_name": "q_event", "prompt": "Is user right?", "since": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--for", "user"), 2), (("--for", "agent"), 1), (("--for", "system"), 0), (("--overdue",), 1),
        (("--older", "1h"), 0), (("--older", "0s"), 3), (("-w", "w"), 3), (("-w", "x"), 0),
    ],
)  # fmt: skip
def test_waits_are_chosen(cpf: Cpf, words: tuple[str, ...], found: int) -> None:
    cpf.run(ask("q"))
    cpf.run(ask("q", audience="agent"))
    overdue(cpf)
    assert len(cpf("waits", *words)["result"]["waits"]) == found


def test_the_line_below_the_waits_is_one_that_helps(cpf: Cpf) -> None:
    overdue(cpf)
    only_late = cpf("waits", "--text").text
    assert ("cpf tick" in only_late, "cpf answer RUN" in only_late) == (True, False)
    cpf.run(ask("q"))
    both = cpf("waits", "--text").text
    assert ("cpf tick" in both, "cpf answer RUN" in both) == (True, True)


def test_what_was_answered_or_ended_waits_no_more(cpf: Cpf) -> None:
    answered, cancelled = (cpf.run(ask("q"))["run_id"] for _ in range(2))
    cpf.resume(answered, "q_event", {})
    cpf("cancel", cancelled, "--reason", "x")
    assert cpf("waits")["result"]["waits"] == []
    assert cpf("waits", "--text").text == "Nothing waits.\n"


# list


def test_a_list_says_why(cpf: Cpf) -> None:
    cpf.run(cli("bad", "exit 3"))
    cancelled = cpf.run(ask("q"))["run_id"]
    cpf("cancel", cancelled, "--reason", "enough")
    cpf.run(ask("q", prompt="Go on?"), inputs={"cluster": "pg1", "long": "x" * 99, "n": 1, "list": []})
    waiting, ended, failed = cpf("list")["result"]["runs"]
    assert (waiting["why"], waiting["inputs"]) == ("Go on?", {"cluster": "pg1", "n": 1})
    assert ended["why"] == "enough"
    assert "exit code 3" in failed["why"]
    shown = cpf("list", "--text", COLUMNS="200").text
    assert all(word in shown for word in ("w cluster=pg1 n=1", "Go on?", "enough", "exit code 3"))


def test_a_list_ends_at_thirty_and_says_so(cpf: Cpf) -> None:
    original = cpf.directory(cpf.run(cli("a"))["run_id"])
    for n in range(30):
        place = cpf.base / "runs" / f"{n:026}"
        place.mkdir()
        os.link(original / "state.json", place / "state.json")
    result = cpf("list")["result"]
    assert (len(result["runs"]), result["more"]) == (30, True)
    assert "more" not in cpf("list", "--limit", "31")["result"]
    assert "The newest 30; all of them with: --limit 0" in cpf("list", "--text").text


def test_since_is_by_the_last_change(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q"))["run_id"]
    file = cpf.directory(run_id) / "state.json"
    state = json.loads(file.read_text())
    file.write_text(json.dumps(state | {"started_at": "2020-01-01T00:00:00.000Z"}))
    assert len(cpf("list", "--since", "1h")["result"]["runs"]) == 1
    assert len(cpf("list", "--started-since", "1h")["result"]["runs"]) == 0


def test_failed_runs_are_asked_for_by_a_word(cpf: Cpf) -> None:
    cpf.run(cli("a"))
    run_id = cpf.run(cli("bad", "exit 3"))["run_id"]
    assert [run["run_id"] for run in cpf("list", "--failed")["result"]["runs"]] == [run_id]
    assert len(cpf("list", "--failed", "--status", "completed")["result"]["runs"]) == 2


# wait, watch


@pytest.mark.long(but_one_in=2)
@pytest.mark.parametrize("command", ["wait", "watch"])
def test_a_run_is_waited_for_until_it_rests(cpf: Cpf, command: str) -> None:
    process = begun(cpf, ask("q"))
    waiting = cpf.start(command, "@latest")
    time.sleep(0.5)
    assert waiting.poll() is None
    (cpf.cwd / "go").touch()
    out, _ = waiting.communicate(timeout=20)
    assert (waiting.returncode, json.loads(out)["status"]) == (40 if command == "wait" else 0, "waiting")
    process.communicate(timeout=20)


def test_time_up_is_no_failure_and_the_next_line_waits_on(cpf: Cpf) -> None:
    process = begun(cpf)
    answer = cpf("wait", "@latest", "--timeout", "0s")
    assert (answer.code, answer["status"]) == (0, "running")
    (cpf.cwd / "go").touch()
    assert cpf(*answer["next"][0]["argv"][1:])["status"] == "completed"
    process.communicate(timeout=20)


def test_an_answer_is_no_end(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q"))["run_id"]
    assert cpf("wait", run_id).code == 40
    answer = cpf("wait", run_id, "--for", "ended", "--timeout", "0s")
    assert (answer.code, answer["status"]) == (40, "waiting")
    waiting = cpf.start("wait", run_id, "--for", "ended")
    cpf.resume(run_id, "q_event", {})
    assert waiting.wait(20) == 0
    waiting.communicate()


def test_several_runs_are_waited_for_at_once(cpf: Cpf) -> None:
    done, bad = cpf.run(cli("a"))["run_id"], cpf.run(cli("bad", "exit 1"))["run_id"]
    answer = cpf("wait", done, bad, "--run-dir", str(cpf.directory(done)))
    assert (answer.code, [run["status"] for run in answer["result"]["runs"]]) == (
        30, ["completed", "failed", "completed"],
    )  # fmt: skip
    assert cpf("wait").error_code == "ERR_USAGE"
    assert cpf("wait", done, "ZZZZ").error_code == "ERR_RUN_NOT_FOUND"


def test_a_run_that_nobody_works_on_is_not_waited_for(cpf: Cpf, monkeypatch: pytest.MonkeyPatch) -> None:
    process = begun(cpf)
    process.kill()
    process.communicate()
    (cpf.cwd / "go").touch()
    monkeypatch.setattr("checkpointflow.cli.wait.LEFT_SECONDS", 0.1)
    assert cpf("wait", "@latest")["status"] == "running"


@pytest.mark.parametrize(("words", "code"), [((), 0), (("--exit-status",), 30)])
def test_watch_ends_with_the_state_if_asked_to(cpf: Cpf, words: tuple[str, ...], code: int) -> None:
    run_id = cpf.run(cli("bad", "exit 1"))["run_id"]
    assert cpf("watch", run_id, *words).code == code


@pytest.mark.long
def test_watch_draws_the_run_again_and_again(cpf: Cpf) -> None:
    process = begun(cpf, end("e"))
    with Terminal(cpf, "watch", "@latest") as person:
        person.expect("● slow")
        person.expect("● slow")
        (cpf.cwd / "go").touch()
        person.expect("completed")
        assert person.end() == 0
        assert "✓ slow" in plain(person.raw).rpartition("completed")[2]
    process.communicate(timeout=20)


@pytest.mark.long
def test_ctrl_c_ends_the_looking_not_the_run(cpf: Cpf) -> None:
    process = begun(cpf)
    for command in ("watch", "wait"):
        with Terminal(cpf, command, "@latest") as person:
            if command == "watch":
                person.expect("● slow")
            else:
                time.sleep(0.7)
            assert person.press(CTRL_C).end() == 20
    (cpf.cwd / "go").touch()
    assert process.wait(20) == 0
    process.communicate()


# tick


def test_tick_takes_every_overdue_wait_and_leaves_the_others(cpf: Cpf) -> None:
    late, waiting = overdue(cpf), cpf.run(ask("q", timeout_seconds=900))["run_id"]
    answer = cpf("tick")
    assert answer["result"]["taken"] == [{"run_id": late, "due": ["q"], "status": "completed"}]
    assert cpf("status", waiting)["status"] == "waiting"
    assert cpf("tick")["result"]["taken"] == []
    assert (cpf.cwd / "log").read_text() == "late\n"


def test_a_person_sees_what_tick_did_on_a_line_for_each_run(cpf: Cpf) -> None:
    late = [overdue(cpf), overdue(cpf)]
    lines = plain(at_a_terminal(cpf, "tick")[1]).splitlines()
    assert [line.split() for line in lines] == [
        ["RUN", "DUE", "STATUS"],
        *([run_id[-4:], "q", "completed"] for run_id in reversed(late)),
    ]


@pytest.mark.long
def test_tick_takes_a_pause_that_nobody_sleeps_through_any_more(cpf: Cpf) -> None:
    retry = {"max_attempts": 2, "backoff_seconds": 1}
    file = cpf.flow(cli("a", "echo x >> log; test -e fixed", retry=retry))
    process = cpf.start("run", "-f", file)
    until((cpf.cwd / "log").exists)
    time.sleep(0.3)
    process.kill()
    process.communicate()
    (cpf.cwd / "fixed").touch()
    time.sleep(1)
    (taken,) = cpf("tick")["result"]["taken"]
    assert (taken["due"], taken["status"]) == (["a"], "completed")


def test_tick_does_not_judge_a_step_that_was_interrupted(cpf: Cpf) -> None:
    process = begun(cpf)
    process.kill()
    process.communicate()
    (cpf.cwd / "go").touch()
    assert cpf("tick")["result"]["taken"] == []


def test_a_run_that_cannot_be_taken_stops_no_other(cpf: Cpf) -> None:
    bad, good = overdue(cpf), overdue(cpf)
    (cpf.directory(bad) / "workflow.yaml").write_text("x")
    answer = cpf("tick")
    assert answer.code == 30
    by_run = {row["run_id"]: row for row in answer["result"]["taken"]}
    assert (by_run[good]["status"], "problem" in by_run[bad]) == ("completed", True)


def test_tick_drives_no_run_that_others_may_write_into(cpf: Cpf) -> None:
    run_id = overdue(cpf)
    cpf.directory(run_id).chmod(0o777)
    (row,) = cpf("tick")["result"]["taken"]
    assert "everybody may write into it" in row["problem"]
    assert not (cpf.cwd / "log").exists()
    assert cpf("tick", "--allow-shared")["result"]["taken"] == [
        {"run_id": run_id, "due": ["q"], "status": "completed"}
    ]


@pytest.mark.long
def test_many_ticks_at_once_take_each_once(cpf: Cpf) -> None:
    late = {overdue(cpf) for _ in range(4)}
    ticks = [cpf.start("tick") for _ in range(4)]
    answers = [json.loads(process.communicate(timeout=60)[0]) for process in ticks]
    taken = [row["run_id"] for answer in answers for row in answer["result"]["taken"]]
    assert (sorted(taken), {answer["exit_code"] for answer in answers}) == (sorted(late), {0})
    assert (cpf.cwd / "log").read_text() == "late\n" * 4


def test_a_tick_that_comes_second_did_nothing(cpf: Cpf, monkeypatch: pytest.MonkeyPatch) -> None:
    overdue(cpf)
    monkeypatch.chdir(cpf.cwd)
    store = Store(cpf.base)
    (run_id,) = store.names()
    assert tick._take(store, run_id, ["q"]) is not None
    assert tick._take(store, run_id, ["q"]) is None


# detach


def detached(cpf: Cpf, *steps: Any, **env: str) -> Answer:
    return cpf.real("run", cpf.flow(*steps), "--detach", **env)


def test_a_detached_run_answers_at_once_and_goes_on_by_itself(cpf: Cpf) -> None:
    answer = detached(cpf, cli("slow", SLOW + "; pwd > where"), end("e", result=1))
    assert (answer.code, answer["status"]) == (0, "running")
    until((cpf.cwd / "started").exists)
    (cpf.cwd / "go").touch()
    assert cpf("wait", answer["run_id"])["result"] == 1
    assert (cpf.cwd / "where").read_text() == f"{cpf.cwd}\n"
    log = cpf.directory(answer["run_id"]) / "driver.log"
    until(lambda: "slow" in log.read_text())
    assert log.stat().st_mode & 0o077 == 0
    assert cpf("verify", answer["run_id"]).code == 0


def test_what_comes_next_of_a_detached_run_is_to_wait_for_it(cpf: Cpf) -> None:
    answer = cpf("run", "-f", cpf.flow(cli("slow", SLOW)), "--detach")
    (cpf.cwd / "go").touch()
    assert [line["argv"][1] for line in answer["next"]] == ["wait", "logs"]
    cpf("wait", answer["run_id"])


def test_it_outlives_whoever_started_it_and_the_terminal(cpf: Cpf) -> None:
    file = cpf.flow(cli("slow", f"echo $PPID > pid; {SLOW}"))
    with Terminal(cpf, "run", file, "--detach") as person:
        assert person.end() == 0
        until((cpf.cwd / "started").exists)
        os.killpg(person.process.pid, signal.SIGHUP) if not gone(person.process.pid) else None
    driver = int((cpf.cwd / "pid").read_text())
    assert not gone(driver)
    assert os.getsid(driver) not in (person.process.pid, os.getsid(0))
    (cpf.cwd / "go").touch()
    assert cpf("wait", "@latest")["status"] == "completed"


def test_a_directory_that_looks_like_the_package_is_not_run(cpf: Cpf) -> None:
    (cpf.cwd / "checkpointflow").mkdir()
    for name in ("__init__", "__main__"):
        (cpf.cwd / "checkpointflow" / f"{name}.py").write_text("open('stolen', 'w')")
    words = [sys.executable, "-P", "-m", "checkpointflow", "run", cpf.flow(cli("a"), end("e")), "--detach"]
    subprocess.run(words, cwd=cpf.cwd, env=cpf.env, check=True, capture_output=True)
    assert cpf("wait", "@latest", "--timeout", "20s")["status"] == "completed"
    assert not (cpf.cwd / "stolen").exists()


def test_a_detached_run_that_rests_at_once_is_left_to_nobody(cpf: Cpf) -> None:
    answer = detached(cpf, ask("q"), cli("a"))
    assert (answer.code, answer["status"]) == (40, "waiting")
    assert not (cpf.directory(answer["run_id"]) / "driver.log").exists()


def test_two_readers_and_a_driver_do_not_disturb_each_other(cpf: Cpf) -> None:
    run_id = detached(cpf, cli("slow", SLOW), end("e"))["run_id"]
    until((cpf.cwd / "started").exists)
    codes: list[int] = []
    readers = [Thread(target=lambda: codes.append(cpf.real("wait", run_id).code)) for _ in range(2)]
    for reader in readers:
        reader.start()
    assert cpf("tick")["result"]["taken"] == []
    (cpf.cwd / "go").touch()
    for reader in readers:
        reader.join()
    assert codes == [0, 0]


def test_a_terminal_shows_a_detached_run_with_the_line_that_looks_on(cpf: Cpf) -> None:
    code, shown = at_a_terminal(cpf, "run", cpf.flow(cli("slow", SLOW)), "--detach")
    (cpf.cwd / "go").touch()
    assert (code, "  cpf watch" in plain(shown)) == (0, True)
    assert cpf("wait", "@latest")["status"] == "completed"
    assert Path(cpf.directory(cpf("status", "@latest")["run_id"]) / "driver.log").is_file()


# What is not here


@pytest.mark.long
def test_a_program_that_comes_next_and_is_not_here_is_told(cpf: Cpf) -> None:
    steps = (ask("q"), cli("go", "no-such-program --now ${inputs.x}; also_none"), cli("later", "none-either"))
    run_id = cpf.run(*steps, inputs={"x": "1"})["run_id"]
    told = "no-such-program is not on the PATH here; go may need it next"
    assert "warnings" not in cpf("status", run_id).json
    assert cpf("export", run_id, "-o", "x.tar.gz").code == 0
    there = ("--base-dir", str(cpf.cwd / "there"))
    for command in (("import", "x.tar.gz", *there), ("status", run_id, *there), ("inspect", run_id, *there)):
        assert told in cpf(*command)["warnings"]
        assert told in at_a_terminal(cpf, *command)[1]
    shown = at_a_terminal(cpf, "status", run_id)[1]
    assert (told in shown, "also_none is not" in shown, "none-either is not" in shown) == (True, True, False)
    with Terminal(cpf, "answer", run_id, EDITOR="true") as person:
        person.expect(told)


@pytest.mark.parametrize("command", ["no-such-program", "PATH=/opt/x no-such-program"])
def test_a_program_that_a_step_finds_in_its_own_way_is_not_told(cpf: Cpf, command: str) -> None:
    env = {} if "PATH" in command else {"PATH": "/opt/x:/usr/bin:/bin"}
    cpf.run(ask("q"), cli("go", command, env=env))
    assert "is not on the PATH" not in at_a_terminal(cpf, "status", "@latest")[1]


def test_a_shell_that_is_not_here_is_told(cpf: Cpf) -> None:
    cpf.run(ask("q"), cli("go", "Get-Date", shell="pwsh"))
    assert "pwsh is not on the PATH here" in at_a_terminal(cpf, "status", "@latest", PATH="/nowhere")[1]
