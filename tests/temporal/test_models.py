"""`cpf mcp` for the runs of a cluster: the same tools, and no step is done where the server runs."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from checkpointflow.store.layout import DRIVER_LOG
from tests.conftest import Cpf, until
from tests.helpers import cli, end
from tests.mcp.wire import FORMS, TASKS, Wire, accept, flow, question
from tests.temporal.world import Site, finish

WHERE = cli("a", "echo $CPF_WORKER > where.txt; echo told")


def test_a_run_is_started_asked_and_answered_there(hosted: Cpf) -> None:
    """The model answers one question, a person is asked the other by a form."""
    steps = [WHERE, question("ok", "agent", yes={"type": "boolean"}), question("q", name={"type": "string"})]
    flow(hosted, "w", *steps, end("e", result="${steps.q.outputs.name}"))
    with Wire(hosted, can=FORMS) as wire:
        waiting = wire.value("w")
        assert waiting["status"] == "waiting", waiting
        assert (hosted.cwd / "where.txt").read_text().strip(), "a worker did it"
        run_id = waiting["run_id"]
        unfit = wire.value("cpf_answer", run_id=run_id, step="ok", answer={"yes": 1})
        assert unfit["error"]["code"] == "ERR_VALIDATION_EVENT_INPUT"
        asked = wire.call("cpf_answer", run_id=run_id, step="ok", answer={"yes": True})
        words = {"run_id": run_id, "step": "ok", "answer": {"yes": True}}
        done = wire.call("cpf_answer", **words, state=accept(asked, name="n"))
        assert done["structuredContent"]["result"] == "n"
        assert "told" in str(wire.value("cpf_logs", run_id=run_id, step="a")["logs"])
        listed = wire.value("cpf_runs")
        assert run_id in [row["run_id"] for row in listed.get("runs", ())], listed
    assert hosted("status", run_id).code == 0


def test_the_line_for_a_person_names_the_cluster(hosted: Cpf) -> None:
    flow(hosted, "w", question("q", yes={"type": "boolean"}))
    with Wire(hosted) as wire:
        line = shlex.split(wire.value("w")["next"][0]["person_types"])
        run_id = wire.heard[-1]["result"]["structuredContent"]["run_id"]
        nowhere = Cpf(hosted.cwd, hosted.base)
        piped = [word.replace("answer", "resume") for word in line[1:]]  # `answer` is for a terminal
        assert nowhere(*piped, "--input", '{"yes": true}').code == 0
        assert wire.value("cpf_wait", run_id=run_id)["status"] == "completed"


@pytest.mark.long
def test_a_failed_run_is_tried_again_and_a_waiting_one_stopped(hosted: Cpf) -> None:
    flow(hosted, "w", cli("a", "test -e fixed.txt"), question("q", "agent"))
    with Wire(hosted) as wire:
        failed = wire.value("w")
        assert failed["status"] == "failed"
        (hosted.cwd / "fixed.txt").touch()
        assert wire.value("cpf_retry", run_id=failed["run_id"])["status"] == "waiting"
        stopped = wire.value("cpf_cancel", run_id=failed["run_id"], reason="enough")
        assert (stopped["status"], stopped["reason"]) == ("cancelled", "enough")


def test_a_task_ends_when_its_run_rests(hosted: Cpf) -> None:
    flow(hosted, "w", WHERE)
    with Wire(hosted, can=TASKS) as wire:
        task = wire.call("w")
        assert task["resultType"] == "task"
        until(lambda: wire.ask("tasks/get", {"taskId": task["taskId"]})["result"]["status"] == "completed")


@pytest.mark.long
def test_without_a_worker_the_run_waits_for_one_and_nothing_is_done_here(site: Site, tmp_path: Path) -> None:
    """Failed with: a cpf started that takes the run up."""
    flow(site.cpf, "w", WHERE)
    site.cpf.env |= {"TMPDIR": str(tmp_path)}
    with Wire(site.cpf, "--patience", "3s") as wire:
        shown = wire.value("w")
        assert (shown["status"], shown["next"][0]["tool"]) == ("running", "cpf_wait")
        assert "as soon as a worker" in shown["next"][0]["why"]
        assert not list(tmp_path.glob(f"cpf-copies-*/**/{DRIVER_LOG}"))
        site.have_worker()
        assert wire.value("cpf_wait", run_id=shown["run_id"])["status"] == "completed"


@pytest.mark.long
def test_what_was_put_off_goes_on_when_the_model_says_so(hosted: Cpf) -> None:
    """A step whose lock another run has is not begun; its run is not gone on with unasked."""
    lock = {"lock": {"key": "mcp", "timeout_seconds": 1}}
    flow(hosted, "first", cli("a", "touch has.txt; until test -e go.txt; do sleep 0.1; done", **lock))
    flow(hosted, "w", cli("a", "echo x >> ran.txt", **lock))
    with Wire(hosted, "--patience", "1s") as wire:
        first = wire.value("first")["run_id"]
        until((hosted.cwd / "has.txt").exists)
        run_id = wire.value("w")["run_id"]
        until(lambda: wire.value("cpf_wait", run_id=run_id)["next"][0]["tool"] == "cpf_retry")
        (hosted.cwd / "go.txt").touch()
        until(lambda: wire.value("cpf_wait", run_id=first)["status"] == "completed")
        assert wire.value("cpf_wait", run_id=run_id)["status"] == "running"
        wire.value("cpf_retry", run_id=run_id)
        until(lambda: wire.value("cpf_wait", run_id=run_id)["status"] == "completed")
    assert (hosted.cwd / "ran.txt").read_text() == "x\n"


def test_the_server_says_where_it_serves_to_all_that_it_does(cpf: Cpf, site: Site) -> None:
    """Failed with: `--on` forgotten by what the server does in its own process."""
    flow(cpf, "w", question("q", "agent"))
    cpf.env |= {"CPF_ON": site.url}
    with Wire(cpf, before=("--on", "")) as wire:
        run_id = wire.value("w")["run_id"]
        assert wire.value("cpf_answer", run_id=run_id, step="q", answer={})["status"] == "completed"
    assert (cpf.base / "runs" / run_id).is_dir()


def test_a_cluster_that_does_not_answer_is_told_of(cpf: Cpf) -> None:
    flow(cpf, "w", question("q", "agent"))
    cpf.env |= {"CPF_ON": "temporal://127.0.0.1:1"}
    with Wire(cpf) as wire:
        assert "cannot be reached" in wire.value("cpf_runs")["error"]["message"]
        assert wire.ask("tools/list")["result"]["tools"][0]["name"] == "w"
        refused = wire.value("w")
        assert refused["error"]["code"] == "ERR_PERSISTENCE", refused


@pytest.mark.long
def test_what_the_server_has_copied_is_gone_in_the_end(hosted: Cpf, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    hosted.env |= {"TMPDIR": str(copies)}
    flow(hosted, "w", question("q", "agent"))
    with Wire(hosted) as wire:
        assert wire.value("w")["status"] == "waiting"
        assert list(copies.iterdir())
        assert wire.process.stdin is not None
        wire.process.stdin.close()
        wire.process.stdin = None
        assert wire.process.wait(30) == 0
        assert not list(copies.iterdir())


@pytest.mark.long
def test_of_an_imported_run_only_the_person_says_where_it_goes_on(site: Site) -> None:
    """Failed with: `cpf_retry` offered, which is refused then."""
    site.work()
    begun = cli("s", "test -e ok || kill -9 $PPID", idempotent=True)
    finish(site.local.start("run", site.local.flow(begun)))
    run_id = site.local("list")["result"]["runs"][0]["run_id"]
    site.local("export", run_id, "-o", "run.tar.gz")
    site.cpf("import", "run.tar.gz")
    with Wire(site.cpf, "--patience", "3s") as wire:
        (following,) = wire.value("cpf_wait", run_id=run_id)["next"]
        line = shlex.split(following["person_types"])
        (site.cwd / "ok").touch()
        assert Cpf(site.cwd, site.local.base)(*line[1:]).code == 0
        assert wire.value("cpf_wait", run_id=run_id)["status"] == "completed"
