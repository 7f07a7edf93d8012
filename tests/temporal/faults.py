"""What befalls a cluster, and what must come of it.

    python -m tests.temporal.faults [--times N] [NAME…]

tells PASS or FAIL of each case, and ends with 1 if any failed. tests.temporal.test_faults has each of them as
a test; the quick ones are in `make check`.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import checkpointflow
from tests.conftest import gone, until
from tests.helpers import ask, branch, cli, end, foreach, parallel, switch
from tests.temporal import test_travel
from tests.temporal.world import (
    GRACE_SECONDS,
    HEARTBEAT_SECONDS,
    LONG,
    PATIENCE_SECONDS,
    Server,
    Site,
    as_json,
    await_end,
    finish,
)

HANG = "echo $$ > pid; setsid sleep 300 & echo $! > stray; sleep 300"
RACERS = 8 if LONG else 3
SHORT_HISTORIES = "limit.historyCount.suggestContinueAsNew=400"
"""So that every longer run goes through several."""


class Case(NamedTuple):
    """play: returns a word on how it went, or raises AssertionError; quick: it takes few seconds; shares: the
    site may be one of which others have the workers."""

    play: Callable[[Site], str]
    quick: bool = True
    shares: bool = False

    @property
    def claim(self) -> str:
        return str(self.play.__doc__).strip()


CASES: dict[str, Case] = {}


def case(play: Callable[[Site], str]) -> Callable[[Site], str]:
    CASES[play.__name__] = Case(play)
    return play


def case_for_any_worker(play: Callable[[Site], str]) -> Callable[[Site], str]:
    CASES[play.__name__] = Case(play, shares=True)
    return play


def slow_case(play: Callable[[Site], str]) -> Callable[[Site], str]:
    CASES[play.__name__] = Case(play, quick=False)
    return play


# A worker is killed


def _kill_in_step(site: Site, *steps: dict[str, Any]) -> tuple[Any, float]:
    """The cpf that follows a run whose worker was killed in a step that wrote `pid` and `stray`; and when."""
    site.work()
    site.work()
    caller = site.cpf.start("run", site.cpf.flow(*steps))
    (pid,), (stray,) = site.await_lines("pid"), site.await_lines("stray")
    victim = site.find_worker(int(pid))
    victim.kill()
    killed = time.monotonic()
    victim.wait()
    for orphan in (pid, stray):
        await_end(int(orphan))
    return caller, killed


@case
def doubt(site: Site) -> str:
    """kill -9 of a worker in a step without attempts left: the run asks, and goes on when it is told."""
    steps = (
        cli("danger", f"echo did >> marks; {HANG}"),
        cli("after", "echo after >> marks"),
        end("e", result=1),
    )
    caller, killed = _kill_in_step(site, *steps)
    asked = finish(caller)
    seconds = time.monotonic() - killed
    assert asked.code == 40 and asked["wait"]["event_name"] == "step_outcome", asked
    assert site.read("marks") == ["did"]
    assert seconds < 6 * HEARTBEAT_SECONDS + 10, f"asked after {seconds:.0f} s"
    done = site.cpf.resume(asked["run_id"], "step_outcome", {"outcome": "succeeded", "outputs": {"x": 1}})
    assert (done.code, site.read("marks")) == (0, ["did", "after"]), done
    assert site.cpf("verify", asked["run_id"]).code == 0
    return f"asked after {seconds:.1f} s"


@case
def attempts_left(site: Site) -> str:
    """kill -9 of a worker in a step with attempts left: another worker takes over, with the same key."""
    note = f'echo "$CPF_ATTEMPT $CPF_IDEMPOTENCY_KEY" >> marks; test $CPF_ATTEMPT = 2 || {{ {HANG}; }}'
    caller, killed = _kill_in_step(site, cli("safe", note, idempotent=True, retry={"max_attempts": 3}))
    done = finish(caller)
    assert done.code == 0, done
    (first, key), (second, again) = (line.split() for line in site.read("marks"))
    assert (first, second, key) == ("1", "2", again)
    return f"taken over after {time.monotonic() - killed:.1f} s"


@slow_case
def killed_as_it_begins(site: Site) -> str:
    """kill -9 of a worker in the very moment in which a step begins: the step is doubted, not done again."""
    site.work()
    caller = site.cpf.start("run", site.cpf.flow(cli("s", "echo did >> marks; kill -9 $PPID")))
    site.await_lines("marks")
    site.work()
    asked = finish(caller)
    assert asked.code == 40 and asked["wait"]["event_name"] == "step_outcome", asked
    assert site.read("marks") == ["did"]
    return ""


# A worker is cut off for a while, and lives

UNTIL_GO = "echo $$ >> pids; until test -e {0}.go; do sleep 0.05; done; echo {0} >> marks; echo {0} said"
NOTE = "echo ${{steps.{0}.stdout}} >> marks"


def _cut_off(site: Site, **steps: dict[str, Any]) -> tuple[Any, subprocess.Popen[bytes]]:
    """The cpf that follows a run whose worker was stopped in all of its parallel *steps*; and that worker."""
    branches = [
        branch(f"{name}s", cli(name, UNTIL_GO.format(name), **more), cli(f"{name}2", NOTE.format(name)))
        for name, more in steps.items()
    ]
    worker = site.work("--jobs", "8")
    caller = site.cpf.start("run", site.cpf.flow(parallel("all", *branches)))
    site.await_lines("pids", len(steps))
    worker.send_signal(signal.SIGSTOP)
    site.work("--jobs", "8")
    return caller, worker


@case
def cut_off(site: Site) -> str:
    """A worker thought dead comes back: what its steps come to settles the doubt, and nobody is asked."""
    caller, worker = _cut_off(site, early={}, late={})
    asked = finish(caller)
    assert asked.code == 40 and len(asked["waits"]) == 2, asked
    (site.cwd / "early.go").touch()
    site.await_lines("marks")
    worker.send_signal(signal.SIGCONT)
    site.await_lines("marks", 2)
    (site.cwd / "late.go").touch()
    until(lambda: site.cpf("status", asked["run_id"])["status"] == "completed")
    assert site.read("marks") == ["early", "early said", "late", "late said"]
    kinds = {fact["fact"] for fact in site.tell_facts(asked["run_id"])}
    assert {"wait_opened", "event_taken"} & kinds == {"wait_opened"}
    assert "late said" in site.cpf("logs", asked["run_id"], "--step", "all[lates]/late").text
    assert site.cpf("verify", asked["run_id"]).code == 0
    return ""


@slow_case
def cut_off_and_given_up(site: Site) -> str:
    """A step that was tried again elsewhere, or whose lock others may have by now, is ended on the return."""
    caller, worker = _cut_off(site, again={"idempotent": True}, locked={"lock": {"key": site.queue}})
    lost = site.await_lines("pids", 3)[:2]
    run_id = site.find_newest()
    until(lambda: "wait_opened" in {fact["fact"] for fact in site.tell_facts(run_id)}, PATIENCE_SECONDS)
    worker.send_signal(signal.SIGCONT)
    for pid in lost:
        await_end(int(pid))
    (site.cwd / "again.go").touch()
    asked = finish(caller)
    assert (asked.code, asked["wait"]["step"], site.read("marks")) == (
        40,
        "all[lockeds]/locked",
        ["again", "again said"],
    )
    return ""


@slow_case
def cut_off_and_told_to_stop(site: Site) -> str:
    """A worker that was cut off ends when it is told to: its steps have their grace, and no more."""
    caller, worker = _cut_off(site, one={})
    assert finish(caller).code == 40
    worker.send_signal(signal.SIGCONT)
    (pid,) = site.read("pids")
    time.sleep(2 * GRACE_SECONDS)
    assert not gone(int(pid))
    begin = time.monotonic()
    site.stop(worker)
    seconds = time.monotonic() - begin
    assert gone(int(pid)) and GRACE_SECONDS - 1 < seconds < GRACE_SECONDS + 10
    return f"{seconds:.1f} s"


@case
def stolen(site: Site) -> str:
    """A task that the server gave to nobody who lives is begun by another worker, and not doubted."""
    site.work()
    elsewhere = f"{site.queue}-stolen"
    caller = site.cpf.start("run", site.cpf.flow(cli("s", "echo did >> marks", runs_on=elsewhere)))
    asyncio.run(_steal(site.server, elsewhere))
    site.work("--queue", elsewhere)
    done = finish(caller)
    assert (done.code, site.read("marks")) == (0, ["did"]), done
    return ""


async def _steal(server: Server, queue: str) -> None:
    """Take a task from *queue*, as a worker does that dies at once."""
    from temporalio.api.taskqueue.v1 import TaskQueue
    from temporalio.api.workflowservice.v1 import PollActivityTaskQueueRequest
    from temporalio.client import Client

    client = await Client.connect(server.target)
    request = PollActivityTaskQueueRequest(
        namespace="default", task_queue=TaskQueue(name=queue), identity="thief"
    )
    while not (await client.workflow_service.poll_activity_task_queue(request)).task_token:
        pass


@case
def told_to_stop(site: Site) -> str:
    """SIGTERM to all workers: the step under way ends, no other begins, and new workers go on."""
    site.work("--grace", "30")
    if LONG:
        site.work("--grace", "30")
    steps = cli("s", "echo s >> marks; sleep 1; echo e >> marks"), cli("t", "echo t >> marks")
    caller = site.cpf.start("run", site.cpf.flow(*steps))
    site.await_lines("marks")
    site.stop()
    assert site.read("marks") == ["s", "e"]
    site.work()
    done = finish(caller)
    assert (done.code, site.read("marks")) == (0, ["s", "e", "t"]), done
    return ""


@slow_case
def out_of_grace(site: Site) -> str:
    """SIGTERM to a worker in a step that takes longer than its grace: the step is ended, and asked about."""
    worker = site.work("--grace", "0.5")
    caller = site.cpf.start("run", site.cpf.flow(cli("s", HANG)))
    (pid,), (stray,) = site.await_lines("pid"), site.await_lines("stray")
    site.stop(worker)
    assert gone(int(pid)) and gone(int(stray)), "its commands go on"
    site.work()
    asked = finish(caller)
    assert asked.code == 40 and asked["wait"]["event_name"] == "step_outcome", asked
    return ""


# The server is killed


@slow_case
def server_killed(site: Site) -> str:
    """kill -9 of the server in a wait and in a step: neither is lost, and the step runs once."""
    with closing(Server(site.place, lasting=True)) as server:
        with closing(Site(server.url, site.place / "own", site.queue, server)) as own:
            return _kill_server(own)


def _kill_server(site: Site) -> str:
    site.work()
    steps = ask("q"), cli("s", "echo s >> marks; sleep 3; echo e >> marks"), end("e", result="done")
    run_id = site.cpf.run(*steps)["run_id"]
    site.server.kill()
    site.server.start()
    caller = site.cpf.start("resume", run_id, "--event", "q_event", "--input", "{}")
    site.await_lines("marks")
    site.server.kill()
    assert site.cpf("status", run_id).code == 60
    site.server.start()
    said = finish(caller)
    assert said.code in (0, 60), said
    until(lambda: site.cpf("status", run_id)["status"] == "completed", 60)
    assert site.cpf("status", run_id)["result"] == "done"
    assert site.read("marks") == ["s", "e"]
    assert site.cpf("verify", run_id).code == 0
    return f"whoever followed it was told {said.code}"


# Requests


@case_for_any_worker
def cancel(site: Site) -> str:
    """Cancelling ends a command on its worker, with all that it started, and does the `finally`."""
    site.have_worker()
    cleanup = [cli("clean", "echo cleaned >> marks", idempotent=True)]
    caller = site.cpf.start("run", site.cpf.flow(cli("s", HANG), **{"finally": cleanup}))
    (pid,), (stray,) = site.await_lines("pid"), site.await_lines("stray")
    run_id = site.find_newest()
    begin = time.monotonic()
    cancelled = site.cpf("cancel", run_id, "--reason", "enough")
    seconds = time.monotonic() - begin
    assert (cancelled.code, cancelled["status"]) == (0, "cancelled"), cancelled
    assert gone(int(pid)) and gone(int(stray)), "its commands go on"
    assert site.read("marks") == ["cleaned"]
    told = finish(caller)
    assert (told.code, told["reason"]) == (50, "enough"), told
    assert site.cpf("verify", run_id).code == 0
    return f"{seconds:.1f} s"


@case_for_any_worker
def race(site: Site) -> str:
    """Of many answers at once exactly one is taken."""
    site.have_worker()
    run_id = site.cpf.run(ask("q"), cli("s", "echo x >> marks"), end("e", result="${steps.q.outputs.n}"))[
        "run_id"
    ]
    line = ("resume", run_id, "--event", "q_event", "--input")
    racers = [site.cpf.start(*line, as_json({"n": n})) for n in range(RACERS)]
    told = [finish(racer) for racer in racers]
    assert sorted(answer.code for answer in told) == [0] + [20] * (RACERS - 1), told
    (taken,) = [n for n, answer in enumerate(told) if answer.code == 0]
    assert told[taken]["result"] == taken
    assert site.read("marks") == ["x"]
    return ""


@case_for_any_worker
def late_answer(site: Site) -> str:
    """An answer after its time is refused, and the time-out is taken by itself."""
    site.have_worker()
    steps = (
        ask("q", timeout_seconds=0.5, on_timeout={"next": "late"}),
        end("e"),
        cli("late"),
        end("f", result="late"),
    )
    run_id = site.cpf.run(*steps)["run_id"]
    time.sleep(1)
    refused = site.cpf.resume(run_id, "q_event", {})
    assert refused.code == 20, refused
    until(lambda: site.cpf("status", run_id).json.get("result") == "late")
    return refused.error_code


@case_for_any_worker
def lock(site: Site) -> str:
    """A named lock is one run's at a time; where it stays taken the step is put off, and `resume` goes on."""
    site.have_worker()
    shared = cli(
        "s", "echo in >> marks; sleep 0.2; echo out >> marks", lock={"key": site.queue, "timeout_seconds": 30}
    )
    file = site.cpf.flow(shared)
    callers = [site.cpf.start("run", file) for _ in range(2)]
    assert [finish(caller).code for caller in callers] == [0, 0]
    assert site.read("marks") == ["in", "out"] * 2
    held = cli("s", "echo > held; until test -e free; do sleep 0.05; done", lock={"key": f"{site.queue} 2"})
    first = site.cpf.start("run", site.cpf.flow(held, name="held.yaml"))
    site.await_lines("held")
    put_off = site.cpf("run", "held.yaml")
    assert (put_off.code, put_off.error_code) == (70, "ERR_LOCK_CONFLICT"), put_off
    (site.cwd / "free").touch()
    assert finish(first).code == 0
    assert site.cpf("resume", put_off["run_id"]).code == 0
    return ""


@slow_case
def large(site: Site) -> str:
    """Outputs of 5 MB, 100 MB of log, an answer of 100 kB and a result of 3 MB."""
    site.have_worker()
    fill = """printf '{"x":"%%s"}' "$(head -c %d /dev/zero | tr '\\0' y)" > "$CPF_OUTPUT" """
    steps = (
        cli("s", fill % 5_000_000),
        cli("t", fill % 3_000_000),
        cli("u", "yes | head -c 100000000"),
        ask("q"),
    )
    run_id = site.cpf.run(*steps, end("e", result="${steps.t.outputs.x}"))["run_id"]
    event = ("--event", "q_event", "--input", as_json({"p": "x" * 100_000}))
    done = site.cpf("resume", run_id, *event, "--full")
    assert done.code == 0 and len(done["result"]) == 3_000_000
    assert site.cpf("verify", run_id).code == 0
    return ""


@case_for_any_worker
def both_went_on(site: Site) -> str:
    """A run goes from cluster to directory and back; one that went on in both places is refused."""
    site.have_worker()
    test_travel.test_from_a_cluster_to_a_directory_and_back(site.cpf, site.local)
    test_travel.test_a_run_that_went_on_in_both_places_is_refused(site.cpf, site.local)
    return ""


# Time goes by


@case
def upgrade(site: Site) -> str:
    """Another engine under a waiting run: what was decided stays, and what comes is decided anew."""
    first = site.work()
    n_is_1 = "inputs.n == 1"
    steps = [
        switch("early", (n_is_1, "a"), default="b"), cli("a", next="q"), cli("b"), ask("q"),
        switch("late", (n_is_1, "c"), default="d"), end("c", result="case"), end("d", result="default"),
    ]  # fmt: skip
    inputs = {"type": "object", "properties": {"n": {"type": "integer"}}}
    run_id = site.cpf("run", site.cpf.flow(*steps, inputs=inputs), "--set", "n:=1")["run_id"]
    site.stop(first)
    site.work(PYTHONPATH=str(_change_engine(site.place / "newer")))
    done = site.cpf.resume(run_id, "q_event", {})
    assert done["result"] == "default", "the new engine has not decided"
    assert any(fact.get("path") == "a" for fact in site.tell_facts(run_id)), "what was decided has changed"
    return ""


def _change_engine(place: Path) -> Path:
    """A checkpointflow below *place* whose switches know no cases."""
    source = Path(checkpointflow.__file__).parent
    shutil.copytree(source, place / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    kinds = place / source.name / "engine" / "kinds.py"
    before = kinds.read_text()
    after = before.replace("target = choose(compiled, scope(scene, body)) or default", "target = default")
    assert after != before
    kinds.write_text(after)
    return place


@slow_case
def histories_in_sequence(site: Site) -> str:
    """A run of many steps goes through several histories, and is one run with one chain."""
    return _go_through_histories(site, items=150, at_once=1)


@slow_case
def histories_drained(site: Site) -> str:
    """So is one that is never without a step under way: it comes to rest before each new history."""
    return _go_through_histories(site, items=400, at_once=8, at_least=3, CPF_MAX_EVENTS="500")


@slow_case
def many_iterations(site: Site) -> str:
    """10,000 iterations."""
    return _go_through_histories(site, items=10_000, at_once=8)


def _go_through_histories(site: Site, items: int, at_once: int, at_least: int = 2, **env: str) -> str:
    site.work("--jobs", str(at_once), **env)
    each = foreach("each", {"count": items}, cli("s", "echo ${item} >> marks"), max_concurrency=at_once)
    run_id = site.cpf.run(ask("q"), each, ask("r"), end("e", result="done"))["run_id"]
    begin = time.monotonic()
    caller = site.cpf.start("resume", run_id, "--event", "q_event", "--input", "{}")
    while caller.poll() is None:
        time.sleep(0.2)
    seconds = time.monotonic() - begin
    told = finish(caller)
    assert told.code == 40, told
    assert sorted(map(int, site.read("marks"))) == list(range(items))
    until(lambda: asyncio.run(_count_executions(site.server, run_id)) >= at_least)  # a list follows later
    number = asyncio.run(_count_executions(site.server, run_id))
    assert site.cpf.resume(run_id, "r_event", {})["result"] == "done"
    assert site.cpf("verify", run_id).code == 0
    return f"{number} histories, {1000 * seconds / items:.0f} ms a step"


async def _count_executions(server: Server, run_id: str) -> int:
    from temporalio.client import Client

    client = await Client.connect(server.target)
    return len([found async for found in client.list_workflows(f'WorkflowId = "{run_id}"')])


# The table


def play(server: Server, name: str, place: Path) -> str:
    """What comes of the case *name*, in *place*. Raises AssertionError, with what the workers said."""
    with closing(Site(server.url, place, f"{name}-{place.name}", server)) as site:
        try:
            return CASES[name].play(site)
        except Exception as error:
            error.add_note(f"the workers said: {site.said()[-3000:]}")
            raise


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*CASES, []])
    parser.add_argument("--times", type=int, default=1)
    given = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="cpf-faults-") as below:
        with closing(Server(Path(below), SHORT_HISTORIES)) as server:
            for number in range(given.times):
                for name in given.names or CASES:
                    failed += not _tell(server, name, Path(below) / f"{name}-{number}")
    print(f"{failed} failed")
    return failed > 0


def _tell(server: Server, name: str, place: Path) -> bool:
    begin = time.monotonic()
    try:
        word, passed = play(server, name, place), "PASS"
    except Exception:
        word, passed = "\n" + traceback.format_exc()[-6000:], "FAIL"
    print(f"{passed}  {name}  {CASES[name].claim}  ({time.monotonic() - begin:.0f} s) {word}", flush=True)
    return passed == "PASS"


if __name__ == "__main__":
    sys.exit(main())
