"""What a step may say of failing, of time, of others and of what it leaves behind."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

from tests.conftest import Answer, Cpf, until
from tests.helpers import ask, branch, call, cli, end, foreach, parallel

NOTE = 'echo "$CPF_STEP $CPF_ATTEMPT" >> done'


def done(cpf: Cpf) -> list[str]:
    """What the steps that leave a NOTE have done, in order."""
    file = cpf.cwd / "done"
    return file.read_text().splitlines() if file.exists() else []


def failing(times: int) -> str:
    """A command that fails that many *times*, whatever the attempt's number."""
    return f'{NOTE}; test $(grep -c "^$CPF_STEP " done) -gt {times}'


# Trying again


def seconds(start: str, end: str) -> float:
    """From one time to another."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def retry(max_attempts: int, **more: Any) -> dict[str, Any]:
    return {"max_attempts": max_attempts, "backoff_seconds": 0, **more}


def test_a_step_is_tried_until_it_succeeds(cpf: Cpf) -> None:
    answer = cpf.run(cli("a", failing(2), retry=retry(5)), cli("b", NOTE))
    assert (answer.code, done(cpf)) == (0, ["a 1", "a 2", "a 3", "b 1"])


def test_it_is_tried_no_more_often_than_it_says(cpf: Cpf) -> None:
    answer = cpf.run(cli("a", f"{NOTE}; exit 3", retry=retry(3)), cli("b", NOTE))
    assert (answer.code, answer["error"]["step_id"]) == (30, "a")
    assert done(cpf) == ["a 1", "a 2", "a 3"]
    assert "exit code 3" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("policy", "pauses"),
    [
        ({"backoff_seconds": 0.1, "strategy": "fixed"}, [0.1, 0.1, 0.1]),
        ({"backoff_seconds": 0.1, "strategy": "exponential"}, [0.1, 0.2, 0.4]),
        ({"backoff_seconds": 0.1}, [0.1, 0.2, 0.4]),
        ({"backoff_seconds": 0.1, "max_backoff_seconds": 0.15}, [0.1, 0.15, 0.15]),
    ],
)
def test_it_pauses_between_attempts(cpf: Cpf, policy: dict[str, Any], pauses: list[float]) -> None:
    run_id = cpf.run(cli("a", "exit 1", retry={"max_attempts": 4, **policy}))["run_id"]
    facts = [line["fact"] for line in cpf.history(run_id)]
    asked = [(fact["at"], fact["action"]) for fact in facts if fact["fact"] == "step_started"]
    sleeps = [(at, action["until"]) for at, action in asked if action["do"] == "sleep"]
    assert [round(seconds(at, until), 3) for at, until in sleeps] == pauses
    begun = [at for at, action in asked if action["do"] == "run_command"]
    assert all(at >= until for at, (_, until) in zip(begun[1:], sleeps, strict=True))


def test_all_steps_take_the_policy_of_the_document(cpf: Cpf) -> None:
    answer = cpf.run(
        cli("a", failing(1)),
        cli("b", f"{NOTE}; exit 1", retry=retry(1)),
        defaults={"retry": retry(2)},
    )
    assert (answer.code, done(cpf)) == (30, ["a 1", "a 2", "b 1"])


def test_an_attempt_that_lasts_too_long_is_tried_again(cpf: Cpf) -> None:
    step = cli("a", f"{NOTE}; test $CPF_ATTEMPT = 2 || exec sleep 30", timeout_seconds=0.3, retry=retry(2))
    assert (cpf.run(step).code, done(cpf)) == (0, ["a 1", "a 2"])


def test_outputs_that_do_not_fit_are_tried_again(cpf: Cpf) -> None:
    schema = {"type": "object", "properties": {"n": {"const": 2}}}
    step = cli("a", "echo '{\"n\": '$CPF_ATTEMPT'}'", outputs=schema, retry=retry(3))
    assert cpf.run(step, end("e", result="${steps.a.outputs.n}"))["result"] == 2


def test_a_pause_cut_short_is_gone_on_with(cpf: Cpf) -> None:
    file = cpf.flow(cli("a", failing(1), retry=retry(2, backoff_seconds=0.5)))
    process = cpf.start("run", "-f", file)
    until(lambda: any('"do": "sleep"' in f.read_text() for f in cpf.base.glob("runs/*/state.json")))
    process.terminate()
    out = process.communicate(timeout=20)[0]
    assert (process.returncode, json.loads(out)["error"]["code"]) == (20, "ERR_INTERRUPTED")
    answer = cpf.resume(json.loads(out)["run_id"])
    assert (answer.code, done(cpf)) == (0, ["a 1", "a 2"])


# Going on after a failure


def test_a_failure_may_be_passed_over(cpf: Cpf) -> None:
    answer = cpf.run(
        cli("a", "echo why >&2; exit 3", on_error="continue"),
        end("e", result=["${steps.a.error}", "${steps.a.exit_code}"]),
    )
    assert answer.code == 0
    error, code = answer["result"]
    assert (error["code"], error["exit_code"], code) == ("ERR_STEP_FAILED", 3, 3)
    assert "why" in error["message"]


def test_a_failure_may_lead_to_another_step(cpf: Cpf) -> None:
    answer = cpf.run(
        cli("a", "exit 3", on_error={"next": "mend"}),
        cli("b", NOTE, next="e"),
        cli("mend", NOTE),
        end("e", result="${steps.a.error.code}"),
    )
    assert (answer["result"], done(cpf)) == ("ERR_STEP_FAILED", ["mend 1"])


def test_a_failure_may_lead_back_until_it_succeeds(cpf: Cpf) -> None:
    answer = cpf.run(
        cli("mend", NOTE),
        cli("a", f"{NOTE}; test -e mended", on_error={"next": "again"}),
        cli("b", NOTE, next="e"),
        cli("again", "touch mended", next="mend"),
        end("e"),
    )
    assert (answer.code, done(cpf)) == (0, ["mend 1", "a 1", "mend@2 1", "a@2 1", "b 1"])


def test_all_attempts_are_made_before_a_failure_leads_on(cpf: Cpf) -> None:
    step = cli("a", f"{NOTE}; exit 1", retry=retry(2), on_error="continue")
    assert (cpf.run(step, cli("b", NOTE)).code, done(cpf)) == (0, ["a 1", "a 2", "b 1"])


def test_a_block_that_fails_may_be_passed_over(cpf: Cpf) -> None:
    answer = cpf.run(
        foreach("each", [0, 3, 0], cli("x", f"{NOTE}; exit ${{item}}"), on_error="continue"),
        parallel("p", branch("a", cli("y", "exit 1")), on_error="continue"),
        end("e", result=["${steps.each.error.step_id}", "${steps.p.error.step_id}"]),
    )
    assert answer["result"] == ["each[1]/x", "p[a]/y"]


def test_a_failure_inside_an_iteration_may_be_passed_over_there(cpf: Cpf) -> None:
    answer = cpf.run(
        foreach("each", [0, 3, 0], cli("x", "exit ${item}", on_error="continue"), cli("y", NOTE)),
        end("e", result="${steps.each.outputs.iterations}"),
    )
    assert (answer.code, len(done(cpf)), len(answer["result"])) == (0, 3, 3)


# Waits that end by themselves


def late(cpf: Cpf, *steps: Any) -> str:
    """A run of *steps* whose wait, of a tenth of a second, is over."""
    answer = cpf.run(*steps)
    assert (answer.code, "timeout_at" in answer["wait"]) == (40, True)
    time.sleep(0.15)
    return str(answer["run_id"])


def test_a_wait_says_when_it_is_over(cpf: Cpf) -> None:
    answer = cpf.run(ask("q", timeout_seconds=3600))
    passed = seconds(answer["started_at"], answer["wait"]["timeout_at"])
    assert passed == pytest.approx(3600, abs=0.5)


def test_a_wait_that_is_over_has_failed(cpf: Cpf) -> None:
    run_id = late(cpf, ask("q", timeout_seconds=0.1), cli("b", NOTE))
    answer = cpf.resume(run_id)
    assert (answer.code, answer.error_code, answer["error"]["step_id"]) == (30, "ERR_TIMEOUT", "q")
    assert done(cpf) == []


def test_a_wait_that_is_over_may_lead_on(cpf: Cpf) -> None:
    steps = [ask("q", timeout_seconds=0.1, on_timeout={"next": "late"}), end("in_time"), cli("late", NOTE),
             end("e", result="${steps.q.error.code}")]  # fmt: skip
    answer = cpf.resume(late(cpf, *steps))
    assert (answer["result"], done(cpf)) == ("ERR_TIMEOUT", ["late 1"])


def test_an_event_that_comes_too_late_is_refused_and_changes_nothing(cpf: Cpf) -> None:
    run_id = late(cpf, ask("q", timeout_seconds=0.1, on_timeout={"next": "e"}), end("e"))
    before = cpf.state(run_id)
    answer = cpf.resume(run_id, "q_event", {})
    assert (answer.code, answer.error_code) == (20, "ERR_WAIT_EXPIRED")
    assert cpf.state(run_id) == before


def test_an_event_in_time_is_taken(cpf: Cpf) -> None:
    answer = cpf.run(ask("q", timeout_seconds=3600), end("e", result="done"))
    assert cpf.resume(answer["run_id"], "q_event", {})["result"] == "done"


def test_of_several_waits_only_the_one_that_is_over_ends(cpf: Cpf) -> None:
    short = ask("q", timeout_seconds=0.1, on_error="continue")
    run_id = late(cpf, parallel("p", branch("a", short), branch("b", ask("r"))), end("e", result="done"))
    answer = cpf.resume(run_id, "r_event", {})
    assert (answer.code, answer["result"]) == (0, "done")


def test_a_run_whose_wait_is_not_over_waits_on(cpf: Cpf) -> None:
    answer = cpf.run(ask("q", timeout_seconds=3600))
    again = cpf.resume(answer["run_id"])
    assert (again.code, again["wait"]) == (40, answer["wait"])


# Locks


@contextmanager
def holding(cpf: Cpf, **lock: Any) -> Iterator[str]:
    """The id of a run whose step holds the lock `key` until this is left."""
    file = cpf.flow(
        cli(
            "hold",
            "touch held; until [ -e go ] || [ ! -e $PWD ]; do sleep 0.02; done",
            lock={"key": "key", **lock},
        ),
        name="holder.yaml",
    )
    process = cpf.start("run", "-f", file)
    until((cpf.cwd / "held").exists)
    try:
        yield next((cpf.base / "runs").iterdir()).name
    finally:
        (cpf.cwd / "go").touch()
        process.communicate(timeout=20)
    assert process.returncode == 0


def run_of(cpf: Cpf, other: str) -> str:
    """The id of the run that is not *other*."""
    (found,) = {place.name for place in (cpf.base / "runs").iterdir()} - {other}
    return found


def locked(id: str, **more: Any) -> dict[str, Any]:
    return cli(id, NOTE, lock={"key": "key", **more})


def test_a_lock_that_another_run_holds_is_a_conflict_that_names_the_holder(cpf: Cpf) -> None:
    with holding(cpf) as holder:
        answer = cpf.run(cli("a", NOTE), locked("b"))
        assert (answer.code, answer.error_code) == (70, "ERR_LOCK_CONFLICT")
        assert holder in answer["error"]["message"] and "'key'" in answer["error"]["message"]
        assert done(cpf) == ["a 1"]


def test_the_run_that_met_a_lock_goes_on_unasked_when_it_is_free(cpf: Cpf) -> None:
    with holding(cpf) as holder:
        cpf.run(cli("a", NOTE), locked("b"), end("e", result="done"))
        run_id = run_of(cpf, holder)
        again = cpf.resume(run_id)
        assert (again.code, again.error_code) == (70, "ERR_LOCK_CONFLICT")
    answer = cpf.resume(run_id)
    assert (answer.code, answer["result"], done(cpf)) == (0, "done", ["a 1", "b 1"])


def test_a_conflict_says_which_run_to_go_on_with(cpf: Cpf) -> None:
    with holding(cpf) as holder:
        answer = cpf.run(locked("b"))
        assert answer["run_id"] == run_of(cpf, holder)


@pytest.mark.long
def test_a_lock_is_waited_for_as_long_as_the_step_says(cpf: Cpf) -> None:
    with holding(cpf):
        process = cpf.start("run", "-f", cpf.flow(cli("a", "touch came"), locked("b", timeout_seconds=30)))
        until((cpf.cwd / "came").exists)
        time.sleep(0.2)
        assert (process.poll(), done(cpf)) == (None, [])
    out = process.communicate(timeout=20)[0]
    assert (process.returncode, json.loads(out)["status"], done(cpf)) == (0, "completed", ["b 1"])


def test_waiting_for_a_lock_has_an_end(cpf: Cpf) -> None:
    with holding(cpf):
        started = time.monotonic()
        answer = cpf.run(locked("b", timeout_seconds=0.3))
        assert (answer.error_code, 0.3 <= time.monotonic() - started < 5) == ("ERR_LOCK_CONFLICT", True)


@pytest.mark.long
def test_whoever_waits_for_a_lock_can_be_stopped(cpf: Cpf) -> None:
    with holding(cpf):
        process = cpf.start("run", "-f", cpf.flow(cli("a", "touch came"), locked("b", timeout_seconds=60)))
        until((cpf.cwd / "came").exists)
        time.sleep(0.2)
        process.terminate()
        try:
            out = process.communicate(timeout=20)[0]
        finally:
            process.kill()
            process.communicate()
        assert (process.returncode, json.loads(out)["error"]["code"]) == (20, "ERR_INTERRUPTED")
    assert done(cpf) == []
    answer = cpf.resume(json.loads(out)["run_id"])
    assert (answer.code, done(cpf)) == (0, ["b 1"])


def test_another_lock_is_another_lock(cpf: Cpf) -> None:
    with holding(cpf):
        answer = cpf.run(cli("a", NOTE, lock={"key": "k${inputs.n}"}), inputs={"n": 1})
        assert (answer.code, done(cpf)) == (0, ["a 1"])


def test_a_key_may_be_made_of_values(cpf: Cpf) -> None:
    with holding(cpf):
        answer = cpf.run(cli("a", NOTE, lock={"key": "k${inputs.n}"}), inputs={"n": "ey"})
        assert answer.error_code == "ERR_LOCK_CONFLICT"


@pytest.mark.parametrize("key", ["../../x", "a/b", "é ☃", "x" * 300, ".", "a\nb"])
def test_a_key_may_be_any_text(cpf: Cpf, key: str) -> None:
    answer = cpf.run(cli("a", NOTE, lock={"key": "${inputs.key}"}), inputs={"key": key})
    assert answer.code == 0
    assert {place.name for place in cpf.base.iterdir()} == {"README", "cache", "runs", "locks"}
    assert not (cpf.base.parent / "x").exists()


def test_two_branches_take_turns_with_a_lock_that_they_wait_for(cpf: Cpf) -> None:
    command = "mkdir busy && sleep 0.1 && rmdir busy"
    step = {"lock": {"key": "key", "timeout_seconds": 20}}
    answer = cpf.run(
        parallel("p", branch("a", cli("x", command, **step)), branch("b", cli("y", command, **step)))
    )
    assert answer.code == 0


def test_a_branch_that_meets_a_lock_holds_up_no_other(cpf: Cpf) -> None:
    with holding(cpf) as holder:
        answer = cpf.run(
            parallel("p", branch("a", locked("x")), branch("b", cli("y", "sleep 0.1"), cli("z", NOTE)))
        )
        assert (answer.error_code, done(cpf)) == ("ERR_LOCK_CONFLICT", ["p[b]/z 1"])
        run_id = run_of(cpf, holder)
    assert (cpf.resume(run_id).code, done(cpf)) == (0, ["p[b]/z 1", "p[a]/x 1"])


def test_a_lock_is_free_when_its_step_has_ended(cpf: Cpf) -> None:
    run_id = cpf.run(locked("a"), locked("b"), ask("q"), end("e"))["run_id"]
    assert cpf.run(locked("c")).code == 0
    assert cpf.resume(run_id, "q_event", {}).code == 0


# Artifacts


def artifact(path: str, **more: Any) -> dict[str, Any]:
    return {"artifacts": [{"name": "report", "path": path, **more}]}


def test_an_artifact_is_copied_into_the_run_with_its_size_and_digest(cpf: Cpf) -> None:
    step = cli(
        "a", "mkdir out; printf 'some text' > out/r.txt", **artifact("out/r.txt", media_type="text/plain")
    )
    answer = cpf.run(step, cli("b", "rm -r out"), end("e", result="${steps.a.artifacts.report}"))
    data = b"some text"
    assert answer["result"] == {
        "path": answer["result"]["path"],
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "media_type": "text/plain",
    }
    copy = cpf.directory(answer["run_id"]) / answer["result"]["path"]
    assert (copy.read_bytes(), copy.stat().st_mode & 0o777) == (data, 0o600)


def test_a_later_step_finds_it_in_the_directory_of_the_run(cpf: Cpf) -> None:
    answer = cpf.run(
        cli("a", "echo text > r; mkdir elsewhere", **artifact("r")),
        cli("b", 'rm ../r; cat "$CPF_RUN_DIR"/${steps.a.artifacts.report.path}', cwd="elsewhere"),
        end("e", result="${steps.b.stdout}"),
    )
    assert answer["result"] == "text"


def test_the_path_of_an_artifact_may_hold_values_and_is_relative_to_the_step(cpf: Cpf) -> None:
    (cpf.cwd / "deep").mkdir()
    step = cli("a", "echo ${item} > 'r ${item}'", cwd="deep", **artifact("r ${item}"))
    answer = cpf.run(foreach("each", ["x", "y"], step, end("f", result="${steps.a.artifacts.report.path}")),
                     end("e", result="${steps.each.outputs.iterations}"))  # fmt: skip
    run = cpf.directory(answer["run_id"])
    assert [(run / path).read_text() for path in answer["result"]] == ["x\n", "y\n"]


def test_a_large_artifact_is_copied_whole(cpf: Cpf) -> None:
    step = cli("a", "head -c 5000000 /dev/zero > r", **artifact("r"))
    answer = cpf.run(step, end("e", result="${steps.a.artifacts.report.sha256}"))
    assert answer["result"] == hashlib.sha256(bytes(5_000_000)).hexdigest()


@pytest.mark.parametrize(
    "command", ["true", "mkdir r", "mkfifo r", "ln -s nowhere r", "ln -s r r", "ln -s /dev/zero r"]
)
def test_an_artifact_that_is_no_file_fails_the_step(cpf: Cpf, command: str) -> None:
    answer = cpf.run(cli("a", command, **artifact("r")))
    assert (answer.code, answer.error_code, answer["error"]["step_id"]) == (30, "ERR_STEP_FAILED", "a")
    assert "r" in answer["error"]["message"] and "artifact" in answer["error"]["message"]


def test_a_step_that_failed_leaves_no_artifact(cpf: Cpf) -> None:
    step = cli("a", "echo text > r; exit 1", on_error="continue", **artifact("r"))
    answer = cpf.run(step, end("e", result="${steps.a.artifacts.report.path}"))
    assert (answer.code, answer["error"]["step_id"]) == (30, "e")


def test_a_second_visit_keeps_an_artifact_of_its_own(cpf: Cpf) -> None:
    answer = cpf.run(
        cli("a", "echo $CPF_STEP > r", **artifact("r")),
        {"id": "s", "kind": "switch", "default": "e",
         "cases": [{"when": "steps.a.artifacts.report.path != inputs.last", "next": "mark"}]},
        cli("mark", "test -e lap && exit 1; touch lap", on_error={"next": "e"}, next="a"),
        end("e", result="${steps.a.artifacts.report.path}"),
        inputs={"last": None},
    )  # fmt: skip
    run = cpf.directory(answer["run_id"])
    assert (run / answer["result"]).read_text() == "a@2\n"
    assert sorted(f.read_text() for f in (run / "artifacts").rglob("*") if f.is_file()) == ["a\n", "a@2\n"]


# Keys


def test_all_attempts_of_a_step_have_one_key(cpf: Cpf) -> None:
    step = cli("a", 'echo "$CPF_IDEMPOTENCY_KEY" >> keys; test $CPF_ATTEMPT = 3', retry=retry(3))
    assert cpf.run(step).code == 0
    keys = (cpf.cwd / "keys").read_text().splitlines()
    assert (len(keys), len(set(keys)), keys[0] != "") == (3, 1, True)


def test_every_step_and_every_run_has_a_key_of_its_own(cpf: Cpf) -> None:
    step = cli("x", 'echo "$CPF_IDEMPOTENCY_KEY" >> keys')
    for _ in range(2):
        cpf.run(foreach("each", [1, 2], step), cli("a", 'echo "$CPF_IDEMPOTENCY_KEY" >> keys'))
    keys = (cpf.cwd / "keys").read_text().splitlines()
    assert (len(keys), len(set(keys))) == (6, 6)


def test_the_author_may_make_the_key(cpf: Cpf) -> None:
    step = cli("a", 'printf %s "$CPF_IDEMPOTENCY_KEY"', idempotency_key="order-${inputs.n}")
    assert cpf.run(step, end("e", result="${steps.a.stdout}"), inputs={"n": 7})["result"] == "order-7"


# A failed step again


def again(cpf: Cpf, answer: Answer, *more: str) -> Answer:
    return cpf("retry-step", "--run-id", answer["run_id"], *more)


def test_the_failed_step_is_run_again_and_the_run_goes_on(cpf: Cpf) -> None:
    answer = cpf.run(
        cli("a", NOTE), cli("b", f"{NOTE}; test -e mended"), cli("c", NOTE), end("e", result="done")
    )
    assert answer.code == 30
    (cpf.cwd / "mended").touch()
    retried = again(cpf, answer)
    assert (retried.code, retried["result"], retried["run_id"]) == (0, "done", answer["run_id"])
    assert done(cpf) == ["a 1", "b 1", "b 2", "c 1"]


def test_it_may_fail_again_and_be_retried_again(cpf: Cpf) -> None:
    answer = cpf.run(cli("b", failing(2)))
    assert [again(cpf, answer).code for _ in range(2)] == [30, 0]
    assert done(cpf) == ["b 1", "b 2", "b 3"]


def test_an_earlier_step_is_done_anew_with_all_that_came_after_it(cpf: Cpf) -> None:
    give = f"{NOTE}; echo '{{\"n\": '$(grep -c '^b' done)'}}'"
    steps = [cli("a", NOTE), cli("b", give), cli("c", f"{NOTE}; test ${{steps.b.outputs.n}} = 2")]
    answer = cpf.run(*steps, end("e", result="${steps.b.outputs.n}"))
    assert answer.code == 30
    assert again(cpf, answer, "--step-id", "b")["result"] == 2
    assert done(cpf) == ["a 1", "b 1", "c 1", "b@2 1", "c@2 1"]


def test_in_an_iteration_only_what_failed_is_run_again(cpf: Cpf) -> None:
    x = cli("x", NOTE)
    y = cli("y", f"{NOTE}; test ${{item}} != 2 || test -e mended")
    answer = cpf.run(foreach("each", [1, 2, 3], x, y), end("e", result="done"))
    assert (answer.code, answer["error"]["step_id"]) == (30, "each[1]/y")
    (cpf.cwd / "mended").touch()
    assert again(cpf, answer)["result"] == "done"
    assert done(cpf)[4:] == ["each[1]/y 2", "each[2]/x 1", "each[2]/y 1"]


def test_an_earlier_step_of_an_iteration_may_be_named(cpf: Cpf) -> None:
    x = cli("x", NOTE)
    y = cli("y", f"{NOTE}; test ${{item}} != 2 || test -e mended")
    answer = cpf.run(foreach("each", [1, 2], x, y), end("e", result="done"))
    (cpf.cwd / "mended").touch()
    assert again(cpf, answer, "--step-id", "each[1]/x")["result"] == "done"
    assert done(cpf)[4:] == ["each[1]/x@2 1", "each[1]/y@2 1"]


def test_in_a_called_workflow_the_innermost_step_is_run_again(cpf: Cpf) -> None:
    cpf.flow(cli("x", NOTE), cli("y", f"{NOTE}; test -e mended"), end("e", result=1), name="c.yaml")
    answer = cpf.run(call("c", "c.yaml"), end("e", result="${steps.c.outputs}"))
    os.unlink(cpf.cwd / "c.yaml")
    (cpf.cwd / "mended").touch()
    assert again(cpf, answer)["result"] == 1
    assert done(cpf) == ["c/x 1", "c/y 1", "c/y 2"]


def test_it_may_come_to_a_wait(cpf: Cpf) -> None:
    answer = cpf.run(cli("b", failing(1)), ask("q"), end("e", result="done"))
    retried = again(cpf, answer)
    assert (retried.code, retried["wait"]["step"]) == (40, "q")
    assert cpf.resume(answer["run_id"], "q_event", {})["result"] == "done"


@pytest.mark.parametrize(
    "steps", [[cli("a")], [ask("q")], [cli("a", "exit 1", on_error="continue"), end("e")]]
)
def test_where_nothing_has_failed_nothing_is_retried(cpf: Cpf, steps: list[dict[str, Any]]) -> None:
    answer = cpf.run(*steps)
    before = cpf.state(answer["run_id"])
    for more in ((), ("--step-id", steps[0]["id"])):
        retried = again(cpf, answer, *more)
        assert (retried.code, retried.error_code) == (20, "ERR_NOT_RETRYABLE")
    assert cpf.state(answer["run_id"]) == before


@pytest.mark.parametrize("step", ["c", "nowhere", "b@2", "../b", "each[0]/b", ""])
def test_a_step_that_the_run_never_came_to_is_not_retried(cpf: Cpf, step: str) -> None:
    answer = cpf.run(cli("a", NOTE), cli("b", f"{NOTE}; exit 1"), cli("c", NOTE))
    before = cpf.state(answer["run_id"])
    retried = again(cpf, answer, "--step-id", step)
    assert (retried.code, retried.error_code) == (20, "ERR_NOT_RETRYABLE")
    assert (cpf.state(answer["run_id"]), done(cpf)) == (before, ["a 1", "b 1"])


def test_a_wait_that_timed_out_is_opened_anew(cpf: Cpf) -> None:
    run_id = late(cpf, ask("q", timeout_seconds=0.1), end("e", result="done"))
    failed = cpf.resume(run_id)
    assert failed.code == 30
    retried = again(cpf, failed)
    assert (retried.code, retried["wait"]["timeout_at"] > retried["started_at"]) == (40, True)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "../../../../../../etc/passwd", "link"])
def test_a_value_chooses_no_artifact_outside_of_the_steps_directory(cpf: Cpf, name: str) -> None:
    (cpf.cwd / "secret").write_text("mine")
    (cpf.cwd / "out").mkdir()
    step = cli("a", "ln -sf ../secret link; echo x > r", cwd="out", **artifact("${inputs.name}"))
    answer = cpf.run(step, inputs={"name": name})
    assert (answer.code, "leads out" in answer["error"]["message"]) == (30, True), answer.text
    assert not (cpf.directory(answer["run_id"]) / "artifacts/a").exists()
    assert cpf.run(step, inputs={"name": "r"}).code == 0
    deeper = cli("a", "echo x > out/r", **artifact("out/${inputs.name}"))
    assert cpf.run(deeper, inputs={"name": name}).code == 30
    assert cpf.run(deeper, inputs={"name": "r"}).code == 0
    assert cpf.run(cli("a", "echo x > r", cwd="out", **artifact("../secret"))).code == 0


# What a failed step said


def test_what_a_failed_step_said_is_there_after_a_wait(cpf: Cpf) -> None:
    """Failed with: a run in which a failed block was survived taken for a damaged one."""
    loud = """echo '{"tests": 3}'; echo "two are red" >&2; exit 1"""
    waiting = cpf.run(
        cli("test", loud, on_error="continue"),
        parallel("par", branch("good", cli("one", "echo '{\"n\": 1}'")), branch("bad", cli("two", "exit 1")),
                 on_error="continue"),
        ask("go"),
        end("e", result={
            "tests": "${steps.test.outputs.tests}", "said": "${steps.test.stderr}",
            "good": "${steps.par.outputs.good.one.n}", "bad": "${steps.par.outputs.bad == null}",
        }),
    )  # fmt: skip
    assert waiting.code == 40
    answer = cpf("resume", waiting["run_id"], "--event", "go_event", "--input", "{}")
    assert answer["result"] == {"tests": 3, "said": "two are red", "good": 1, "bad": True}
    assert cpf("verify", waiting["run_id"]).code == 0
