"""The runs of a cluster, to commands what a store and its run directories are.

What commands read of a run lies in a copy of it on this machine, made for this process of Temporal's history;
what its steps printed and left behind is fetched from the shelf when it is asked for. So no reader knows
where a run lives.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO, TypeVar

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from checkpointflow.drivers.temporal import wire
from checkpointflow.drivers.temporal.address import SCHEME, Address
from checkpointflow.drivers.temporal.connecting import connect, translate_refusals
from checkpointflow.drivers.temporal.heading import Heading, describe_whole
from checkpointflow.drivers.temporal.history import Told, read_latest, read_on, write_out
from checkpointflow.drivers.temporal.shelf import Shelf
from checkpointflow.engine.run import Run, Started, pending
from checkpointflow.errors import RunNotFound, StateCorrupt
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.history import find_artifacts, find_sealed_files
from checkpointflow.store.layout import DOCUMENT, HISTORY, RUNS, STATE, is_artifact, is_log, is_run_id
from checkpointflow.store.listing import Head, ListedRun
from checkpointflow.store.store import Store

PAGE = 1000
RECENT_SECONDS = 70  # a worker asks for work for a minute, and then again
KNOWN_SECONDS = 2.0
T = TypeVar("T")


class Cluster:
    """A namespace of a cluster, and its shelf; connected when it is first asked."""

    def __init__(self, address: Address, shelf: Shelf) -> None:
        self.address, self.shelf = address, shelf
        self.reached_by = ("--on", str(address), "--shelf", shelf.url)
        self._client: Client | None = None
        self._loop = asyncio.new_event_loop()
        self._attended = (False, -KNOWN_SECONDS)

    def do(self, deed: Coroutine[Any, Any, T]) -> T:
        """*deed*, to its end. Raises PersistenceError for what the cluster refuses."""
        with translate_refusals(self.address):
            return self._loop.run_until_complete(deed)

    def close(self) -> None:
        """Let go of it, and of whatever was broken off."""
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        if left:
            self._loop.run_until_complete(asyncio.wait(left))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def connect(self) -> Client:
        """A client of it."""
        if self._client is None:
            self._client = await connect(self.address, self.shelf)
        return self._client

    async def is_attended(self) -> bool:
        """Whether any worker has asked for work lately."""
        attended, at = self._attended
        if monotonic() - at > KNOWN_SECONDS:
            client = await self.connect()
            request = DescribeTaskQueueRequest(
                namespace=self.address.namespace,
                task_queue=TaskQueue(name=self.address.queue),
                task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
            )
            pollers = (await client.workflow_service.describe_task_queue(request)).pollers
            recently = datetime.now(UTC) - timedelta(seconds=RECENT_SECONDS)
            attended = any(p.last_access_time.ToDatetime(UTC) > recently for p in pollers)
            self._attended = (attended, monotonic())
        return attended

    async def list_heads(self) -> dict[str, Head | None]:
        """The runs by their ids, the newest first, each with as much as a list tells."""
        client, heads = await self.connect(), dict[str, Head | None]()
        async for found in client.list_workflows(f'WorkflowType = "{wire.WORKFLOW}"', page_size=PAGE):
            is_latest = found.status != WorkflowExecutionStatus.CONTINUED_AS_NEW and found.id not in heads
            if is_latest and is_run_id(found.id):
                heads[found.id] = await _read_head(client, found)
        return dict(sorted(heads.items(), reverse=True))


async def _read_head(client: Client, found: WorkflowExecution) -> Head | None:
    """What its memo tells of a run; None: nothing that can be understood, and one run must not hide all."""
    try:
        payload = found.raw_info.memo.fields[wire.HEAD]
        (head,) = await client.data_converter.decode([payload], [Heading])
        if head.is_partial:
            head = describe_whole((await read_latest(client, found.id)).run)
    except Exception:  # noqa: BLE001, what stands there may be anything
        return None
    return head if head.run_id == found.id else None


def find_deferred(run: Run) -> Started | None:
    """A step that was not begun, where nothing else goes on."""
    if run.outcome is not None or pending(run):
        return None
    started = (record for record in run.active.values() if isinstance(record, Started))
    return next((record for record in started if record.on_hold == "deferred"), None)


class HostedStore(Store):
    """The runs of *cluster*. base: where this machine keeps what belongs to no run."""

    runs_here = False

    def __init__(self, cluster: Cluster, base: Path) -> None:
        super().__init__(base)
        self.cluster = cluster
        self.name = str(cluster.address)
        self.reached_by = cluster.reached_by
        self._copies: Path | None = None

    def names(self) -> list[str]:
        """The ids of all runs, sorted."""
        return sorted(self.cluster.do(self.cluster.list_heads()))

    def at(self, run_id: str) -> HostedRun:
        """The run called *run_id*, whether there is one or not. Raises RunNotFound if there can be none."""
        if not is_run_id(run_id):  # it comes from the shelf, or from the cluster
            raise RunNotFound(problem=f"{run_id!r} is the id of no run")
        if self._copies is None:
            self._copies = Path(tempfile.mkdtemp(prefix="cpf-copies-"))
        return HostedRun(self.cluster, self._copies / RUNS / run_id, self.base)

    def find(self, part: str) -> HostedRun:
        """As of any store; of a whole id it is not asked yet whether there is such a run."""
        return self.at(self.choose(part))

    def list_runs(self) -> Iterator[ListedRun]:
        """As `listing.list_runs` does, in one request."""
        for run_id, head in self.cluster.do(self.cluster.list_heads()).items():
            problem = None if head is not None else "it tells nothing of itself"
            yield ListedRun(run_id=run_id, directory=self.at(run_id), head=head, problem=problem)

    def is_run(self, name: str) -> bool:
        """Whether *name* can be the id of one."""
        return is_run_id(name)

    def close(self) -> None:
        """Let go of the cluster, and of what was copied from it."""
        self.cluster.close()
        if self._copies is not None:
            shutil.rmtree(self._copies, ignore_errors=True)


class HostedRun(RunDirectory):
    """A run of a cluster; *place*: where what is read of it is copied to."""

    runs_here = False

    def __init__(self, cluster: Cluster, place: Path, base: Path) -> None:
        super().__init__(place)
        self.cluster, self.run_id = cluster, place.name
        self._base = base
        self.reached_by = cluster.reached_by
        self._told: Told | None = None

    @property
    def base(self) -> Path:
        """Where this machine keeps what belongs to no run."""
        return self._base

    @property
    def whereabouts(self) -> str:
        """Its cluster, and its id."""
        address = self.cluster.address
        return f"{SCHEME}://{address.target}/{address.namespace}/{self.run_id}"

    def load(self) -> Run:
        """The run as it stands now. Raises RunNotFound, PersistenceError."""
        told = self._told
        self._told = self.cluster.do(self.read_history())
        if told is None or told.run.checkpoint_id != self._told.run.checkpoint_id:
            write_out(self.cluster.shelf, self._told, self)
        return self._told.run

    async def read_history(self) -> Told:
        """As Temporal's history tells it."""
        try:
            return await read_on(await self.cluster.connect(), self.run_id, self._told)
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                raise self.make_missing() from None
            raise

    def make_missing(self) -> RunNotFound:
        """That it is not there."""
        return RunNotFound(problem=f"there is no run {self.run_id} in {self.cluster.address}; see: cpf list")

    @property
    def told(self) -> Told:
        """As it was last loaded."""
        if self._told is None:
            self.load()
        assert self._told is not None
        return self._told

    def read(self, name: str) -> bytes:
        self._fetch_file(name)
        return super().read(name)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        self._fetch_file(name)
        with super().open(name) as file:
            yield file

    def file(self, name: str) -> Path:
        self._fetch_file(name)
        return super().file(name)

    def _fetch_file(self, name: str) -> None:
        """Have *name* lie here, if there is one; a log may have grown. Raises StateCorrupt."""
        if {"", ".", ".."} & set(name.split("/")):
            raise StateCorrupt(file=self.place / HISTORY, problem=f"{name!r} is no name of a file")
        if name in (STATE, HISTORY, DOCUMENT):
            assert self.told is not None
        elif is_log(name) or (is_artifact(name) and not (self.place / name).exists()):
            self.cluster.shelf.fetch(f"{RUNS}/{self.run_id}/{name}", self.place / name)

    def seems_held(self) -> bool:
        """Whether anybody may be at work for it: nobody is needed first, and some worker is there."""
        return not self.is_halted and self.cluster.do(self.cluster.is_attended())

    @property
    def was_cut_off(self) -> bool:
        """Whether somebody has ended its workflow in Temporal, and the run has not ended."""
        return self.told.is_closed and self.told.run.outcome is None

    @property
    def is_halted(self) -> bool:
        """Whether it goes on only once somebody says so."""
        return self.was_cut_off or self.is_foreign or find_deferred(self.told.run) is not None

    @property
    def is_foreign(self) -> bool:
        """Whether it came in an archive, and nobody has said yet that its commands may run here."""
        return self.told.is_foreign

    def gather(self) -> None:
        """Have all of it lie here."""
        facts = list(self.facts(self.load()))
        for name in find_sealed_files(facts) | find_artifacts(facts):
            self._fetch_file(name)
