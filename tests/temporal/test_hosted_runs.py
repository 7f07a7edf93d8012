"""Runs of a cluster, asked and answered as those of a directory are: the same envelopes, the same codes."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import pytest

from tests.conftest import Cpf, until
from tests.helpers import ask, call, cli, end
from tests.temporal.world import TOKEN, Server, Site, fetch_history
from tests.terminals import CTRL_C, Terminal

GO_ON = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}


def _history(cpf: Cpf, run_id: str) -> list[object]:
    return cpf("inspect", run_id, "--full")["history"]


def _list_ids(cpf: Cpf) -> set[str]:
    return {run["run_id"] for run in cpf("list", "--limit", "0", "--full")["result"]["runs"]}


def test_a_run_that_waits_is_answered_from_anywhere(hosted: Cpf, house: Site, tmp_path: Path) -> None:
    waiting = hosted.run(ask("q"), end("e", result="${steps.q.outputs}"))
    assert (waiting.code, waiting["status"]) == (40, "waiting")
    elsewhere = house.at(house.url, tmp_path)
    assert elsewhere.resume(waiting["run_id"], "q_event", {"a": 1})["result"] == {"a": 1}


def test_the_lines_in_an_envelope_name_the_cluster(hosted: Cpf) -> None:
    """So they can be run in a shell that has never heard of it."""
    waiting = hosted.run(ask("q"), end("e", result="${steps.q.outputs.a}"))
    hosted.write("response.json", '{"a": 1}')
    program, *line = shlex.split(waiting["wait"]["resume"]["command"])
    assert program == "cpf"
    nowhere = Cpf(hosted.cwd, hosted.base)
    assert nowhere(*line)["result"] == 1
    for entry in waiting["next"]:
        assert "temporal://" in str(entry), entry


def test_where_the_environment_names_the_cluster_lines_for_people_do_not(hosted: Cpf, tmp_path: Path) -> None:
    """The shelf is the store, where none is named."""
    run_id = hosted.run(ask("q"))["run_id"]
    line = f"  cpf answer {run_id}"
    assert line in hosted("status", run_id, "--text").text.splitlines()
    for name, value in (("CPF_SHELF", str(tmp_path)), ("CPF_ON", "temporal://127.0.0.1:1"), ("CPF_ON", "?")):
        place = ("--on", hosted.env["CPF_ON"], "--shelf", hosted.env["CPF_SHELF"])
        elsewhere = Cpf(hosted.cwd, hosted.base)
        elsewhere.env |= hosted.env | {name: value}
        last = elsewhere(*place, "status", run_id, "--text").text.splitlines()[-1]
        assert (last[:11], last[-33:]) == ("  cpf --on ", f"answer {run_id}")


def test_it_is_told_where_a_run_lies(hosted: Cpf, house: Site) -> None:
    """Failed with: a copy, which is gone when that is read."""
    run_id = hosted.run(end("e"))["run_id"]
    place = f"{house.url.partition('?')[0]}/{run_id}"
    assert f"  lies in: {place}" in hosted("inspect", run_id, "--text").text.splitlines()
    assert hosted("delete", run_id)["result"]["deleted"][0]["directory"] == place


def test_an_event_that_does_not_fit_changes_nothing(hosted: Cpf) -> None:
    run_id = hosted.run(ask("q", input_schema=GO_ON))["run_id"]
    before = _history(hosted, run_id)
    refused = hosted.resume(run_id, "q_event", {})
    assert (refused.code, refused.error_code) == (10, "ERR_VALIDATION_EVENT_INPUT")
    assert refused["error"]["details"]
    unknown = hosted.resume(run_id, "nonesuch", {})
    assert (unknown.code, unknown.error_code) == (20, "ERR_RESUME_EVENT_MISMATCH")
    assert _history(hosted, run_id) == before


def test_an_event_that_no_transition_takes_leaves_the_run_waiting(hosted: Cpf) -> None:
    waiting = hosted.run(ask("q", transitions=[{"when": "${event.a == 1}", "next": "e"}]), end("e"))
    refused = hosted.resume(waiting["run_id"], "q_event", {"a": 2})
    assert (refused.code, refused.error_code) == (30, "ERR_NO_TRANSITION")
    assert hosted("status", waiting["run_id"]).code == 40


def test_the_same_answer_counts_once(hosted: Cpf) -> None:
    run_id = hosted.run(ask("q"), cli("s", "echo x >> done"))["run_id"]
    assert hosted.resume(run_id, "q_event", {"a": 1}).code == 0
    again = hosted.resume(run_id, "q_event", {"a": 1})
    assert (again.code, again["replayed"]) == (0, True)
    other = hosted.resume(run_id, "q_event", {"a": 2})
    assert (other.code, other.error_code) == (20, "ERR_ANSWERED_OTHERWISE")
    assert (hosted.cwd / "done").read_text() == "x\n"


def test_several_answers_are_taken_at_once_or_none_is(hosted: Cpf) -> None:
    branches = [{"id": f"b{n}", "steps": [ask(f"q{n}", input_schema=GO_ON)]} for n in (1, 2)]
    run_id = hosted.run({"id": "p", "kind": "parallel", "branches": branches})["run_id"]
    refused = hosted("resume", run_id, "--answers", '{"p[b1]/q1": {"a": 1}, "p[b2]/q2": {}}')
    assert refused.code == 10
    assert len(hosted("status", run_id)["waits"]) == 2
    assert hosted("resume", run_id, "--answers", '{"p[b1]/q1": {"a": 1}, "p[b2]/q2": {"a": 2}}').code == 0


def test_a_run_key_starts_one_run(hosted: Cpf) -> None:
    file = hosted.flow(cli("s", "echo x >> done"), ask("q"))
    key = f"key of {hosted.cwd}"
    first = hosted("run", file, "--run-key", key)
    again = hosted("run", file, "--run-key", key)
    assert (first.code, again.code, again["replayed"]) == (40, 40, True)
    assert again["run_id"] == first["run_id"]
    assert (hosted.cwd / "done").read_text() == "x\n"
    other = hosted("run", file, "--input", '{"a": 1}', "--run-key", key)
    assert (other.code, other.error_code) == (20, "ERR_RUN_KEY_TAKEN")


def test_wrong_inputs_start_nothing(hosted: Cpf) -> None:
    inputs = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    before = _list_ids(hosted)
    refused = hosted("run", hosted.flow(cli("s"), inputs=inputs))
    assert (refused.code, refused.error_code) == (10, "ERR_VALIDATION_INPUT")
    assert _list_ids(hosted) == before


def test_a_failed_run_says_so_and_is_tried_again(hosted: Cpf) -> None:
    failed = hosted.run(cli("s", "echo why >&2; test -e now"), end("e", result="ok"))
    assert (failed.code, failed["status"], failed.error_code) == (30, "failed", "ERR_STEP_FAILED")
    assert "why" in failed["error"]["message"]
    (hosted.cwd / "now").touch()
    again = hosted("retry", failed["run_id"])
    assert (again.code, again["result"]) == (0, "ok")
    assert hosted("verify", failed["run_id"]).code == 0
    refused = hosted("retry", failed["run_id"])
    assert (refused.code, refused.error_code) == (20, "ERR_NOT_RETRYABLE")


def test_the_time_of_a_wait_is_up_without_anybody_calling(hosted: Cpf) -> None:
    steps = (
        ask("q", timeout_seconds=0.5, on_timeout={"next": "late"}),
        end("e"),
        cli("late"),
        end("f", result=7),
    )
    run_id = hosted.run(*steps)["run_id"]
    until(lambda: hosted("status", run_id)["status"] == "completed")
    assert hosted("status", run_id)["result"] == 7
    assert hosted.resume(run_id, "q_event", {}).error_code in ("ERR_RUN_NOT_WAITING", "ERR_WAIT_EXPIRED")


def test_cancelling_does_each_finally(hosted: Cpf) -> None:
    cleanup = [cli("clean", "echo ${run.outcome.status} > cleaned", idempotent=True)]
    run_id = hosted.run(ask("q"), **{"finally": cleanup})["run_id"]
    cancelled = hosted("cancel", run_id, "--reason", "enough")
    assert (cancelled.code, cancelled["status"], cancelled["reason"]) == (0, "cancelled", "enough")
    assert (hosted.cwd / "cleaned").read_text() == "cancelled\n"
    before = _history(hosted, run_id)
    assert hosted("cancel", run_id, "--reason", "again").code == 0
    assert hosted("resume", run_id).code == 50
    assert _history(hosted, run_id) == before
    assert hosted("verify", run_id).code == 0


def test_secrets_stay_with_the_worker(hosted: Cpf, house: Site, server: Server) -> None:
    """They are never told to the server: neither by the one who starts a run nor by the worker."""
    step = cli("s", "echo ${secrets.TOKEN}; echo ${secrets.TOKEN} | tee mine >&2; test -s mine")
    done = hosted.run(step, end("e", result="${steps.s.stdout}"), inputs=None)
    assert done["result"] == "***"
    assert (hosted.cwd / "mine").read_text() == f"{TOKEN}\n"
    assert TOKEN not in done.text + hosted("inspect", done["run_id"], "--full").text
    assert TOKEN.encode() not in fetch_history(server, done["run_id"])
    for file in house.shelf.rglob("*"):
        assert not file.is_file() or TOKEN.encode() not in file.read_bytes(), file
    hosted.env.pop("TOKEN")
    assert hosted.run(step).code == 0, "whoever starts a run need not know it"


@pytest.mark.long
def test_long_values_lie_on_the_shelf(hosted: Cpf, house: Site, server: Server) -> None:
    """Over 64 KiB; Temporal refuses 2 MiB in one message."""
    print_long = """printf '{"x":"%s"}' "$(head -c 3000000 /dev/zero | tr '\\0' y)" """
    waiting = hosted.run(cli("s", print_long), ask("q"), end("e", result="${steps.s.outputs.x}"))
    assert waiting.code == 40
    done = hosted(
        "resume",
        waiting["run_id"],
        "--event",
        "q_event",
        "--input",
        '{"p": "%s"}' % ("z" * 200_000),
        "--full",
    )
    assert len(done["result"]) == 3_000_000
    history = fetch_history(server, done["run_id"])
    assert len(history) < 500_000 and b"z" * 1000 not in history
    assert hosted("verify", done["run_id"]).code == 0


def test_artifacts_standard_input_and_environment(hosted: Cpf) -> None:
    more = {"env": {"GREETING": "hi ${env.TEAM}"}, "artifacts": [{"name": "made", "path": "made.txt"}]}
    make = cli("make", 'cat > made.txt; echo "$GREETING" >> made.txt', stdin="${inputs.word}\n", **more)
    use = cli("use", 'cat "$CPF_RUN_DIR"/${steps.make.artifacts.made.path}')
    inputs = {"type": "object", "properties": {"word": {"type": "string"}}}
    file = hosted.flow(make, use, end("e", result="${steps.use.stdout}"), inputs=inputs, env=["TEAM"])
    done = hosted("run", file, "--set", "word=text", TEAM="green")
    assert done["result"] == "text\nhi green", "the environment that a run declares is the starter's"
    listed = hosted("artifacts", done["run_id"], "made", "-o", "out")
    assert listed.code == 0
    assert (hosted.cwd / "out" / "made").read_text() == "text\nhi green\n"


def test_a_called_workflow_waits_and_cleans_up(hosted: Cpf) -> None:
    cleanup = [cli("clean", "echo cleaned >> cleaned")]
    hosted.flow(ask("q"), end("z", result="${steps.q.outputs.a}"), name="inner.yaml", **{"finally": cleanup})
    waiting = hosted.run(call("c", "inner.yaml"), end("e", result="${steps.c.outputs}"))
    assert waiting["wait"]["step"] == "c/q"
    assert hosted.resume(waiting["run_id"], "q_event", {"a": 5})["result"] == 5
    assert (hosted.cwd / "cleaned").read_text() == "cleaned\n"


def test_whoever_detaches_leaves_the_run_to_the_workers(hosted: Cpf) -> None:
    begun = hosted("run", hosted.flow(cli("s", "sleep 0.3; echo x > done")), "--detach")
    assert begun.code == 0
    assert hosted("wait", begun["run_id"], "--for", "ended", "--timeout", "30s")["status"] == "completed"
    assert (hosted.cwd / "done").exists()


@pytest.mark.long
def test_whoever_has_answered_stops_following_by_a_key(hosted: Cpf) -> None:
    """Failed with: cpf deaf after a question that it had asked itself."""
    steps = [ask("q", input_schema=GO_ON), cli("slow", "until test -e go.txt; do sleep 0.05; done")]
    with Terminal(hosted, "run", hosted.flow(*steps)) as person:
        person.expect("Answer it now?")
        person.type("y", "1").expect("Send it?")
        person.type("y").expect("slow 1.")
        assert person.press(CTRL_C).end() == 20
    assert "the run goes on without it" in person.shown
    (hosted.cwd / "go.txt").touch()
    assert hosted("wait", "@latest").code == 0


@pytest.mark.long
def test_a_run_is_deleted_that_cannot_be_laid_on_the_shelf(
    hosted: Cpf, house: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed with: a wait for ever."""
    from checkpointflow.drivers.temporal import moving

    monkeypatch.setattr(moving, "ENDING_SECONDS", 1)
    run_id = hosted.run(ask("q"))["run_id"]
    (house.shelf / "runs" / run_id / "state.json" / "in the way").mkdir(parents=True)
    hosted.resume(run_id, "q_event", {})
    assert hosted("delete", run_id).code == 0


@pytest.mark.long
def test_a_run_is_deleted_that_ends_at_that_moment(hosted: Cpf, house: Site) -> None:
    """Failed with: its workflow ended, or its files laid on the shelf, when they had been removed."""
    for _ in range(10):
        run_id = hosted.run(end("e"))["run_id"]
        assert hosted("delete", run_id).code == 0
        time.sleep(0.1)
        assert not (house.shelf / "runs" / run_id).exists()
