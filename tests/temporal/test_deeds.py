"""How a worker does what it is told, and how a run looks for a lock: alone, without a server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from checkpointflow.engine.actions import LockRequest, StoredFile, Success
from checkpointflow.engine.messages import Report
from checkpointflow.engine.run import pending
from checkpointflow.errors import PersistenceError
from checkpointflow.store.clock import make_id
from tests.helpers import Story, cli, foreach
from tests.temporal.conftest import need

SECONDS = 0.02


class Bench:
    """A worker's activities; shelf: an object store that is refused as often as *refusals* says.

    told: what the cluster hears, in order: "rpc" is acknowledged, "sdk" may be overtaken; acknowledge: called
    before an acknowledgement; handed_in: what steps came to; is_known: to the cluster, the attempt.
    """

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from temporalio.testing import ActivityEnvironment

        from checkpointflow.drivers.temporal import activities, wire
        from checkpointflow.drivers.temporal.shelf import open_shelf

        for name in ("MOVING_SECONDS", "KEEPING_SECONDS", "BEAT_SECONDS"):
            monkeypatch.setattr(activities, name, SECONDS)
        self.place, self.told, self.refusals = place, list[tuple[str, Any]](), 0
        self.acknowledge: Callable[[], object] = lambda: None
        self.shelf: Any = open_shelf("memory://")
        self.send, self.shelf.send = self.shelf.send, self._send
        self.converter = wire.make_converter(self.shelf)
        service = SimpleNamespace(record_activity_task_heartbeat=self._hear)
        self.handed_in, self.is_known = list[Any](), True
        client: Any = SimpleNamespace(
            namespace="n",
            identity="i",
            data_converter=self.converter,
            workflow_service=service,
            get_async_activity_handle=lambda **_: SimpleNamespace(complete=self._take),
        )
        terms = activities.Terms(jobs=1, cwd=place)
        self.activities = activities.Activities(self.shelf, client, place / "scratch", terms)
        self.run_id, self.environment = make_id(), ActivityEnvironment()
        self.environment.info = replace(self.environment.info, workflow_id=self.run_id)
        self.environment.on_heartbeat = lambda *said: self.told.append(("sdk", said))

    async def _hear(self, request: Any) -> Any:
        from temporalio.service import RPCError, RPCStatusCode

        self.acknowledge()
        said = await self.converter.decode(list(request.details.payloads))
        self.told.append(("rpc", tuple(said)))
        if not self.is_known:
            raise RPCError("it is known no more", RPCStatusCode.NOT_FOUND, b"")
        return SimpleNamespace(cancel_requested=False)

    async def _take(self, done: Any, **_: Any) -> None:
        self.handed_in.append(done)

    def _send(self, name: str, file: Path) -> None:
        if self.refusals:
            self.refusals -= 1
            raise PersistenceError(file="memory://", problem="not now")
        self.send(name, file)

    def perform(self, command: str) -> Any:
        """What the step of *command* comes to."""
        from temporalio.activity import _CompleteAsyncError

        with suppress(_CompleteAsyncError):
            return asyncio.run(self.begin(command))
        return self.handed_in[-1]

    def begin(self, command: str) -> Any:
        from checkpointflow.drivers.temporal.wire import Work
        from checkpointflow.engine.run import pending

        (action,) = pending(Story(cli("s", command)).run)
        work = Work(run_id=self.run_id, cwd=str(self.place), action=action, secrets=())
        return self.environment.run(self.activities.perform, work)

    def read(self) -> list[str]:
        """What the step has written."""
        file = self.place / "done"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    need()
    return Bench(tmp_path, monkeypatch)


def test_a_deed_begins_once_it_is_known_and_nothing_overtakes_the_word_of_it(bench: Bench) -> None:
    """A heartbeat sent before and heard after would say that nothing had begun: it would be done again."""
    from checkpointflow.drivers.temporal.wire import BEGUN

    seen = list[list[str]]()
    bench.acknowledge = lambda: seen.append(bench.read())
    listing = bench.shelf.list

    def list_slowly(prefix: str) -> Any:
        threading.Event().wait(10 * SECONDS)
        return listing(prefix)

    bench.shelf.list = list_slowly
    done = bench.perform(f"echo s >> done; sleep {10 * SECONDS}")
    assert isinstance(done.outcome, Success)
    first = bench.told.index(("sdk", (BEGUN,)))
    words = [said for _, said in bench.told[:first]]
    assert len(words) > 2 and words == [()] * (len(words) - 1) + [(BEGUN,)]
    assert seen == [[]] * len(words) + [["s"]], "not before the cluster knows of it"
    after = [said for _, said in bench.told[first:]]
    assert len(after) > 2 and set(after) == {(BEGUN,)}


def test_what_a_step_came_to_is_not_lost_while_the_shelf_refuses(bench: Bench) -> None:
    bench.refusals = 3
    done = bench.perform("echo s >> done; echo said")
    assert isinstance(done.outcome, Success) and bench.refusals == 0
    assert bench.read() == ["s"]
    assert [file.path for file in done.printed]
    assert len(list(bench.shelf.list(f"runs/{bench.run_id}"))) == len(done.printed)


@pytest.mark.parametrize("is_asked", [False, True])
def test_an_attempt_that_was_given_up_leaves_files_only_where_it_still_counts(
    is_asked: bool, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed with: the files of whoever came after it replaced by its own."""
    from checkpointflow.drivers.temporal.activities import Activities

    async def tell(*_: Any, **__: Any) -> bool:
        return is_asked

    def give_up() -> None:
        bench.is_known = not bench.read()

    monkeypatch.setattr(Activities, "_is_asked", tell)
    bench.acknowledge = give_up
    bench.handed_in.append(None)
    bench.perform('echo s >> done; mkdir -p "$CPF_ARTIFACTS_DIR"; echo x > "$CPF_ARTIFACTS_DIR/x"')
    names = [found.name for found in bench.shelf.list(f"runs/{bench.run_id}")]
    assert names == ([f"runs/{bench.run_id}/artifacts/x"] if is_asked else [])


def test_a_file_that_another_step_takes_away_meanwhile_is_none_that_was_left(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed with: a step that had done its work thought lost."""
    from checkpointflow.drivers.temporal import activities

    monkeypatch.setattr(activities, "list_artifacts", lambda _: {"artifacts/gone"})
    done = bench.perform("echo s >> done")
    assert isinstance(done.outcome, Success) and done.left == ()


def test_who_is_told_to_stop_does_not_wait_for_the_shelf(bench: Bench) -> None:
    bench.refusals = 10**9

    async def stop() -> None:
        doing = asyncio.create_task(bench.begin("echo said"))
        while bench.refusals > 10**9 - 3 and not doing.done():
            await asyncio.sleep(SECONDS)
        bench.environment.cancel()
        await asyncio.wait([doing], timeout=5)
        bench.refusals = 0
        with pytest.raises(PersistenceError):
            await doing

    asyncio.run(stop())


class Clock:
    """A workflow's time, and a lock that another has until *free* seconds have gone by."""

    def __init__(self, free: float) -> None:
        self.begin = self.moment = datetime(2026, 1, 1, tzinfo=UTC)
        self.free, self.looks = free, list[float]()

    def now(self) -> datetime:
        return self.moment

    async def sleep(self, pause: timedelta) -> None:
        self.moment += pause

    async def start_child_workflow(self, kind: str, *_: object, id: str) -> Any:
        from temporalio.exceptions import WorkflowAlreadyStartedError

        self.looks.append((self.moment - self.begin).total_seconds())
        if self.looks[-1] < self.free:
            raise WorkflowAlreadyStartedError(id, kind)
        return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(("free", "most", "late"), [(3, 4, 1), (3600, 120, 60), (24 * 3600, 1600, 60)])
def test_a_lock_is_looked_for_the_more_rarely_the_longer_it_is_held(
    free: int, most: int, late: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a wait of a day for one would fill a history."""
    need()
    from checkpointflow.drivers.temporal import locking

    clock = Clock(free)
    monkeypatch.setattr(locking, "workflow", clock)
    assert asyncio.run(locking.hold_lock(LockRequest("key", 1e6))) is not None
    assert len(clock.looks) <= most and clock.looks[-1] - free <= late
    clock = Clock(free)
    monkeypatch.setattr(locking, "workflow", clock)
    assert asyncio.run(locking.hold_lock(LockRequest("key", free - 0.5))) is None
    assert clock.looks[-1] == free - 0.5, "the last time when the time is up"


def test_what_steps_declare_that_end_at_once_is_not_sealed_as_undeclared() -> None:
    """Failed with: a fact more than on one machine, whenever two steps ended in one go."""
    need()
    from checkpointflow.drivers.temporal.deciding import decide
    from checkpointflow.drivers.temporal.hearing import Case, Question
    from checkpointflow.drivers.temporal.wire import Start
    from checkpointflow.engine.facts import FilesSealed

    story = Story(
        foreach("each", [1, 2], cli("s", artifacts=[{"name": "m", "path": "m"}]), max_concurrency=2)
    )
    questions, left = list[Question](), dict[str, StoredFile]()
    for action in pending(story.run):
        name = f"artifacts/{action.path}/m"
        left[name] = StoredFile(path=name, size=1, sha256="0" * 64)
        report = Report(
            now=story.run.updated_at,
            path=action.path,
            attempt=action.attempt,
            outcome=Success(artifacts={"m": left[name]}),
        )
        questions.append(Question(Any, report.now, messages=(report,)))  # type: ignore[arg-type]
    case = Case(Start(documents={}), story.run, [], questions, left, {}, is_foreign=False)
    decided = decide(story.workflow, case, list)
    facts = [fact for decision in decided for fact in decision.facts]
    assert len(questions) == 2 and facts[-1].__class__.__name__ == "RunCompleted"
    assert not [fact for fact in facts if isinstance(fact, FilesSealed)]
