"""A worker: a process that decides for runs, and does what they ask for, as long as it is let."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from msgspec.structs import replace
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from checkpointflow.documents.model import Document
from checkpointflow.drivers.temporal.activities import Activities, Terms
from checkpointflow.drivers.temporal.address import Address
from checkpointflow.drivers.temporal.connecting import connect
from checkpointflow.drivers.temporal.heading import Heading
from checkpointflow.drivers.temporal.locking import Lock
from checkpointflow.drivers.temporal.shelf import Shelf
from checkpointflow.drivers.temporal.watchman import MARK, keep_watch
from checkpointflow.drivers.temporal.wire import Decision, Done, Request, Start, Taken, Work
from checkpointflow.drivers.temporal.workflow import HEARTBEAT, Hosted
from checkpointflow.engine.facts import Fact
from checkpointflow.engine.run import Run
from checkpointflow.store.clock import make_id
from checkpointflow.store.history import Entry
from checkpointflow.store.locks import Wish
from checkpointflow.store.snapshot import Snapshot

DECIDING = 4


async def work(
    address: Address,
    shelf: Shelf,
    queues: Sequence[str],
    terms: Terms,
    begins: Callable[[], object],
) -> None:
    """Work until told to stop; then no step begins, and those under way have the time that *terms* give.

    *begins* is called once all is ready.
    """
    client = await connect(address, shelf)
    for name in [name for name in os.environ if name.startswith("TEMPORAL_")]:
        del os.environ[name]  # what lets us in is no matter of the commands of steps, which inherit the rest
    os.environ[MARK] = mark = make_id()
    watchman = keep_watch(mark)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with be_at_work(client, queues, shelf, terms):
        begins()
        await stop.wait()
    assert watchman.stdin is not None
    watchman.stdin.close()
    watchman.wait()


@asynccontextmanager
async def be_at_work(
    client: Client, queues: Sequence[str], shelf: Shelf, terms: Terms
) -> AsyncIterator[None]:
    """Within it runs are worked on, by so many jobs for each queue.

    There is no one limit for all: a worker asks a queue for a step only once it has a place for it, and so
    a queue that has none would hold the places.
    """
    warm_up()
    with (
        TemporaryDirectory(prefix="cpf-worker-") as scratch,
        ThreadPoolExecutor(terms.jobs + DECIDING, thread_name_prefix="deciding") as deciding,
    ):
        in_all = replace(terms, jobs=terms.jobs * len(queues))
        activities = Activities(shelf, client, Path(scratch), in_all)
        async with AsyncExitStack() as workers:
            for queue in queues:
                await workers.enter_async_context(
                    Worker(
                        client,
                        task_queue=queue,
                        identity=f"{socket.gethostname()}:{os.getpid()}",
                        workflows=[Hosted, Lock],
                        workflow_runner=UnsandboxedWorkflowRunner(),
                        activities=activities.list_all(),
                        activity_executor=deciding,
                        max_concurrent_activities=terms.jobs,
                        max_concurrent_local_activities=DECIDING,
                        graceful_shutdown_timeout=timedelta(seconds=terms.grace_seconds),
                        sticky_queue_schedule_to_start_timeout=timedelta(seconds=2),
                        max_heartbeat_throttle_interval=min(HEARTBEAT / 4, timedelta(seconds=1)),
                    )
                )
            yield


def warm_up() -> None:
    """Have msgspec learn all types while there is one thread: two that learn one at once crash (0.22.0)."""
    types = (Document, Run, Snapshot, Heading, list[Fact], list[Decision], Start, Work, Done, Request, Taken)
    for kind in (*types, Entry, Wish):
        msgspec.json.Decoder(kind)
