"""What others who may write to the namespace do, or do at a bad moment, takes nothing from anybody."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from checkpointflow.engine.evolution import apply, fork
from checkpointflow.engine.facts import StepSkipped, StepStarted
from tests.conftest import Cpf, until
from tests.crash.chaos import serve
from tests.helpers import ask, cli, end
from tests.temporal.test_same_under_both_drivers import DEMO, Player
from tests.temporal.world import Server, Site, as_json, fetch_events, finish

LATE = ask("q", timeout_seconds=1, on_timeout={"next": "s"}), cli("s", "echo s >> done"), end("e")


WHY = "--reason", "enough"


@contextmanager
def connect(site: Site) -> Iterator[Any]:
    from checkpointflow.drivers.temporal.address import parse_address
    from checkpointflow.drivers.temporal.hosted import Cluster
    from checkpointflow.drivers.temporal.shelf import open_shelf

    with closing(Cluster(parse_address(site.url), open_shelf(str(site.shelf)))) as cluster:
        yield cluster


def _make_start(file: Path) -> tuple[Any, Any]:
    """What a workflow of the document in *file* is started with, and what that means."""
    from checkpointflow.drivers.sources import make_beginning, read_workflow
    from checkpointflow.drivers.temporal.wire import Start
    from checkpointflow.engine.rules import advance
    from checkpointflow.store.clock import now

    checked = read_workflow(file)
    message = replace(make_beginning(checked, {}, now()), cwd=str(file.parent))
    _, facts = advance(checked.program, None, message)
    return Start(documents={"workflow.yaml": checked.data}, facts=facts), checked.program


def _start(site: Site, start: Any) -> str:
    from checkpointflow.drivers.temporal.hosting import start_workflow

    with connect(site) as cluster:
        cluster.do(start_workflow(cluster, start))
    return str(start.facts[0].run_id)


def _move(run_id: str, from_: Cpf, to: Cpf) -> None:
    assert from_("export", run_id, "-o", "run.tar.gz", "--force").code == 0
    taken = to("import", "run.tar.gz")
    assert taken.code == 0, taken


@pytest.mark.long
def test_names_in_what_a_workflow_was_started_with_lead_nowhere(site: Site) -> None:
    start, _ = _make_start(site.cwd / site.cpf.flow(ask("q")))
    outside = site.place / "outside"
    name = "../" * 30 + str(outside).lstrip("/")
    run_id = _start(site, replace(start, documents=start.documents | {name: b"evil"}))
    told = site.cpf("status", run_id)
    assert (told.code, told.error_code) == (60, "ERR_STATE_CORRUPT")
    assert site.cpf("list").code == 0, "it hides nothing"
    site.work()
    time.sleep(1)
    assert not outside.exists()


@pytest.mark.long
def test_a_worker_that_runs_only_some_documents_runs_nothing_in_their_name(site: Site) -> None:
    """The facts with which a workflow is started may say anything."""
    file = site.cpf.flow(cli("s", "echo good >> done"))
    start, _ = _make_start(site.cwd / file)
    *before, began = start.facts
    forged = replace(began, action=replace(began.action, script="echo evil >> done"))
    site.work("--only", file)
    assert site.cpf("run", file).code == 0
    run_id = _start(site, replace(start, facts=[*before, forged]))
    until(lambda: site.cpf("status", run_id)["status"] == "failed")
    assert site.cpf("status", run_id)["error"]["code"] == "ERR_NOT_ALLOWED"
    assert site.read("done") == ["good"]


@pytest.mark.long
def test_what_a_run_is_told_of_an_attempt_counts_only_where_it_asks(site: Site) -> None:
    """As by a worker that was thought dead, and by anybody else."""
    from temporalio.service import RPCError

    from checkpointflow.drivers.temporal import wire
    from checkpointflow.engine.actions import Slept, StoredFile, Success

    site.work()
    caller = site.cpf.start(
        "run", site.cpf.flow(cli("s", runs_on="nobody"), end("e", result="${steps.s.outputs}"))
    )
    run_id, odd = site.find_newest(), [StoredFile(path="artifacts/../../x", size=1, sha256="0" * 64)]
    done, other = wire.Done(outcome=Success(outputs="true")), Success(outputs="other")
    told: list[list[Any]] = [
        ["s", 2, wire.Done(outcome=other)],
        ["t", 1, wire.Done(outcome=other)],
        ["s", 1, wire.Done()],
        ["s", 1, wire.Done(outcome=Slept())],
        *(["s", 1, replace(done, outcome=other, **{name: tuple(odd)})] for name in ("printed", "left")),
        ["s", 1, wire.Done(outcome=replace(other, artifacts={"x": odd[0]}))],
        ["s", "one", {"outcome": 5}],
        ["s", 1, replace(done, why=wire.Refusal(kind="DirectoryGone", message="gone"), has_begun=False)],
    ]

    async def tell(cluster: Any) -> None:
        handle = (await cluster.connect()).get_workflow_handle(run_id)
        for each in told[:-1]:
            await handle.signal(wire.REPORT, args=each)
        with suppress(RPCError):  # the run may have ended before the last is acknowledged
            await handle.signal(wire.REPORT, args=told[-1])

    with connect(site) as cluster:
        cluster.do(tell(cluster))
    assert finish(caller)["result"] == "true"
    kinds = [fact["fact"] for fact in site.tell_facts(run_id)]
    assert kinds == ["run_began", "step_started", "step_succeeded", "step_succeeded", "run_completed"]


@pytest.mark.long
def test_a_run_that_was_brought_does_nothing_unasked(site: Site) -> None:
    """Not even when the time of a wait is up, or somebody cancels it."""
    site.work()
    cleanup = [cli("clean", "echo clean >> done", idempotent=True)]
    run_id = site.local.run(*LATE, **{"finally": cleanup})["run_id"]
    _move(run_id, site.local, site.cpf)
    time.sleep(2)
    assert not site.read("done")
    assert site.cpf("cancel", run_id, *WHY).error_code == "ERR_NOT_TRUSTED"
    assert site.cpf("resume", run_id).error_code == "ERR_NOT_TRUSTED"
    assert site.cpf("resume", run_id, "--trust").code == 0
    assert site.read("done") == ["s", "clean"]


@pytest.mark.long
def test_a_run_that_went_on_elsewhere_does_nothing_unasked(site: Site) -> None:
    site.work()
    cleanup = [cli("clean", "echo $PWD >> done", idempotent=True)]
    run_id = site.cpf.run(ask("q"), ask("r"), **{"finally": cleanup})["run_id"]
    _move(run_id, site.cpf, site.local)
    assert site.local.resume(run_id, "q_event", {}, "--trust").code == 40
    _move(run_id, site.local, site.cpf)
    assert site.cpf("cancel", run_id, *WHY).error_code == "ERR_NOT_TRUSTED"
    elsewhere = site.cwd / "elsewhere"
    elsewhere.mkdir()
    assert site.cpf("cancel", run_id, *WHY, "--cwd", str(elsewhere)).code == 0
    assert (elsewhere / "done").read_text() == f"{elsewhere}\n"


@pytest.mark.long
def test_an_ended_run_that_was_brought_is_tried_again_only_where_somebody_says(site: Site) -> None:
    site.work()
    run_id = site.local.run(cli("s", "test -e $PWD/now"))["run_id"]
    _move(run_id, site.local, site.cpf)
    assert site.cpf("retry", run_id).error_code == "ERR_NOT_TRUSTED"
    (site.cwd / "there").mkdir()
    (site.cwd / "there" / "now").touch()
    assert site.cpf("retry", run_id, "--cwd", "there").code == 0


@pytest.mark.long
def test_a_run_whose_workflow_was_terminated_goes_on(site: Site) -> None:
    site.work()
    run_id = site.cpf.run(ask("q"), cli("s", "echo s >> done"))["run_id"]
    caller = site.cpf.start("run", site.cpf.flow(cli("t", "echo t >> done; sleep 60")))
    site.await_lines("done")
    busy = site.find_newest()

    async def terminate(cluster: Any) -> None:
        client = await cluster.connect()
        for each in (run_id, busy):
            await client.get_workflow_handle(each).terminate()

    with connect(site) as cluster:
        cluster.do(terminate(cluster))
    told = finish(caller)
    assert (told.code, "cpf resume" in told["error"]["message"]) == (60, True)
    assert told["run_id"] == busy
    assert "cpf" in str(site.cpf("status", busy)["warnings"])
    assert site.cpf("wait", busy)["status"] == "running", "and nobody waits for ever"
    asked = site.cpf("resume", busy)
    assert (asked.code, asked["wait"]["event_name"]) == (40, "step_outcome")
    assert site.cpf("cancel", busy, *WHY).code == 0
    assert site.cpf.resume(run_id, "q_event", {}).code == 0
    assert site.read("done") == ["t", "s"]
    for each in (run_id, busy):
        assert site.cpf("verify", each).code == 0


@pytest.mark.long
def test_a_run_that_is_tried_again_while_it_is_archived_goes_on(site: Site, server: Server) -> None:
    site.work()
    block = 'test -e now || { mkdir "$CPF_RUN_DIR"/state.json; exit 1; }'
    failed = site.cpf.run(cli("s", block), end("e", result="ok"))
    assert failed["status"] == "failed"
    (site.cwd / "now").touch()
    caller = site.cpf.start("retry", failed["run_id"])
    until(lambda: "UpdateAccepted" in fetch_events(server, failed["run_id"]).to_json())
    (site.shelf / "runs" / failed["run_id"] / "state.json").rmdir()
    assert finish(caller)["result"] == "ok"
    assert site.cpf("status", failed["run_id"])["status"] == "completed"


def test_two_who_go_on_at_once_begin_a_step_once(site: Site) -> None:
    """The second finds somebody at what nobody was at when both asked, and is not told of a doubt."""
    from checkpointflow.drivers.temporal.deciding import decide
    from checkpointflow.drivers.temporal.hearing import Case, Question
    from checkpointflow.drivers.temporal.wire import Request
    from checkpointflow.engine.messages import Defer
    from checkpointflow.engine.rules import advance
    from checkpointflow.engine.run import pending, unanswered

    start, program = _make_start(site.cwd / site.cpf.flow(cli("s")))
    run = apply(None, start.facts)
    (action,) = pending(run)
    run, _ = advance(program, run, Defer(now=run.updated_at, path="s", attempt=1))
    answer: Any = None
    asked = [Question(answer, run.updated_at, request=Request(), idle=unanswered(run)) for _ in range(2)]
    first, second = decide(program, Case(start, run, [], asked, {}, {}, False), list)
    assert first.facts == [StepStarted(at=run.updated_at, path="s", action=action)]
    assert second.facts == []


@pytest.mark.long
def test_commands_are_not_given_what_lets_a_worker_in(site: Site) -> None:
    site.cpf.env["CPF_ON"] += "&tls=false"
    site.work(TEMPORAL_API_KEY="hush-key")
    done = site.cpf.run(cli("s", "env | grep -c hush-key || true"), end("e", result="${steps.s.stdout}"))
    assert done["result"] == "0"


def test_a_key_whose_run_the_cluster_has_forgotten_starts_no_other(site: Site) -> None:
    """Temporal keeps what has ended for some days, and the shelf for ever."""
    from checkpointflow.store.clock import make_id
    from checkpointflow.store.files import digest

    run_id = make_id()
    for name, data in ((f"keys/{digest(b'k')}", run_id), (f"runs/{run_id}/state.json", "{}")):
        (site.shelf / name).parent.mkdir(parents=True, exist_ok=True)
        (site.shelf / name).write_text(data)
    told = site.cpf("run", site.cpf.flow(cli("s", "echo s >> done")), "--run-key", "k")
    assert (told.code, told.error_code) == (20, "ERR_RUN_KEY_TAKEN")
    assert run_id in told["error"]["message"]
    assert site.cpf("status", run_id).code == 10, "nothing was started"


def test_a_state_that_no_run_comes_to_is_not_brought(site: Site) -> None:
    """Nothing is wrong with the chain: whoever can change a state can make one."""
    from checkpointflow.store.directory import RunDirectory

    run_id = site.local.run(ask("q"))["run_id"]
    directory = RunDirectory(site.local.directory(run_id))
    with directory.hold("test", "2026-01-01T00:00:00.000Z"):
        run = directory.load()
        odd = StepSkipped(at=run.updated_at, path="nonesuch")
        directory.commit(apply(fork(run), [odd]), [odd], run)
    assert site.local("export", run_id, "-o", "run.tar.gz").code == 0
    refused = site.cpf("import", "run.tar.gz")
    assert (refused.code, refused.error_code) == (60, "ERR_STATE_CORRUPT"), refused
    assert site.cpf("status", run_id).code == 10


@pytest.mark.long
def test_who_is_told_to_stop_following_says_so_and_leaves_nothing(site: Site) -> None:
    site.work()
    place = site.place / "tmp"
    place.mkdir()
    file = site.cpf.flow(cli("s", "echo s >> done; sleep 2; echo e >> done"))
    caller = site.cpf.start("run", file, TMPDIR=str(place))
    site.await_lines("done")
    time.sleep(0.5)
    caller.terminate()
    told = finish(caller)
    assert (told.code, told.error_code) == (20, "ERR_INTERRUPTED")
    assert "SIGTERM; the run goes on" in told["error"]["message"]
    assert not list(place.iterdir())
    assert site.await_lines("done", 2) == ["s", "e"]


@pytest.mark.long
def test_a_worker_that_runs_only_some_documents_runs_all_of_these(site: Site) -> None:
    """Whatever is in them: what a step is to do is worked out twice, and comes out the same."""
    for file in DEMO.glob("*.yaml"):
        shutil.copy(file, site.cwd)
    site.work("--jobs", "8", "--only", "everything.yaml")
    with serve(site.place / "ledger") as port:
        inputs = {"port": port, "regions": ["north", "nowhere", "south"]}
        told = Player(site.cpf).play("everything.yaml", "--input", as_json(inputs))
    assert "ERR_NOT_ALLOWED" not in str(told)
    assert (told["status"], told["result"]["failed"]) == ("completed", 1)
