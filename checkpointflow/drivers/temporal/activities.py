"""What a worker does: decide, perform, keep. Nothing here is replayed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache, partial
from pathlib import Path
from shutil import rmtree
from time import monotonic
from typing import TypeVar

from msgspec import Struct
from temporalio import activity
from temporalio.api.workflowservice.v1 import RecordActivityTaskHeartbeatRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from checkpointflow.documents.program import Program
from checkpointflow.drivers.outcomes import NotBegun
from checkpointflow.drivers.perform import Executor
from checkpointflow.drivers.secrets import list_secrets
from checkpointflow.drivers.sources import read_copies
from checkpointflow.drivers.temporal import wire
from checkpointflow.drivers.temporal.deciding import decide, follows
from checkpointflow.drivers.temporal.hearing import CASES
from checkpointflow.drivers.temporal.history import Memory, read_latest, write_out
from checkpointflow.drivers.temporal.shelf import Shelf
from checkpointflow.drivers.temporal.wire import Decision, Done, Start, Work, make_refusal
from checkpointflow.engine.actions import CallHttp, Error, Failure, Outcome, StoredFile, Success
from checkpointflow.engine.facts import Fact, Identity
from checkpointflow.engine.path import is_path
from checkpointflow.engine.run import find_asked, pending
from checkpointflow.errors import CheckpointflowError, DirectoryGone, PersistenceError, StateCorrupt
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import RunFiles, make_private
from checkpointflow.store.layout import RUNS, is_run_id
from checkpointflow.store.seals import list_artifacts, seal, seal_logs

BEAT_SECONDS = 0.5
LOOKING_SECONDS = 1.0
LISTENING_SECONDS = 0.2
MOVING_SECONDS = KEEPING_SECONDS = 2.0
MAX_PREPARING_SECONDS = 60.0
TELLING = timedelta(seconds=30)
T = TypeVar("T")

State = tuple[str, str, int, int]
"""What a file is told by: the place of its run, its name, its size, and when it was last changed."""


class Terms(Struct, frozen=True):
    """What the operator of a worker lets it do. cwd: where commands run; jobs: how many steps at once.

    grace_seconds: how long steps may take to end once it is told to stop; allowed: the digests of the
    documents that it runs (None: of any); step_lock: commands inherit it.
    """

    jobs: int
    grace_seconds: float = 0
    cwd: Path | None = None
    allowed: frozenset[str] | None = None
    step_lock: int | None = None


class Activities:
    """What is done, with the shelf and a scratch directory at hand."""

    def __init__(self, shelf: Shelf, client: Client, scratch: Path, terms: Terms) -> None:
        self._shelf, self._client, self._scratch, self._terms = shelf, client, scratch, terms
        self._memory = Memory(client)
        self._grace_ends = float("inf")
        self._hands = ThreadPoolExecutor(terms.jobs + 4, thread_name_prefix="cpf")
        self._versions: dict[str, str] = {}  # of what was fetched
        self._lying: set[State] = set()  # what lies on the shelf as it lies here
        self._seals: dict[State, StoredFile] = {}

    def list_all(self) -> list[Callable[..., object]]:
        """All of them."""
        return [self.decide, self.salvage, self.keep, self.archive, self.perform]

    @activity.defn(name=wire.DECIDE)
    def decide(self, key: str) -> list[Decision]:
        """What follows from all that a run has heard."""
        case = CASES[key]
        program = find_program(case.start, case.run.workflow)
        past = partial(wire.read_past, self._shelf, case.start.past)
        return decide(program, case, past)

    @activity.defn(name=wire.PERFORM)
    async def perform(self, work: Work) -> Done:
        """Do an action, telling all the while that somebody is at it."""
        _check_names(work.run_id, work)
        try:
            files = await self._prepare(work)
            if isinstance(files, Failure):
                return Done(outcome=files)
            # Only once the cluster knows that somebody is at it: else it would be asked what it came to,
            # though nobody ever got it.
            if not await self._tell(wire.BEGUN):
                return Done(has_begun=False)
        except CheckpointflowError as error:
            return Done(why=make_refusal(error, work.action.path))
        except (asyncio.CancelledError, RPCError):
            return Done(has_begun=False)
        deed, stopping = _Deed(work, files, self._find_directory(work.cwd)), asyncio.Event()
        outcome = await self._attend(work, self._begin(deed.perform), stopping, deed.stop)
        if isinstance(outcome, NotBegun):
            return Done(why=make_refusal(outcome.why, work.action.path))
        handing_in = asyncio.create_task(self._hand_in(work, files, outcome, stopping))
        await self._attend(work, handing_in, stopping)
        return activity.raise_complete_async()

    async def _prepare(self, work: Work) -> RunFiles | Failure:
        """The files that *work* needs, or how it fails; a shelf that is away for a moment is waited for.

        Raises CancelledError once it is told to stop.
        """
        deadline = monotonic() + MAX_PREPARING_SECONDS
        while True:
            try:
                if (refused := await self._refuse(work)) is not None:
                    return refused
                return await self._have(lambda: self._fetch(work.run_id))
            except PersistenceError:
                if monotonic() > deadline:
                    raise
            await asyncio.sleep(KEEPING_SECONDS)
            if not await self._tell():
                raise asyncio.CancelledError

    async def _refuse(self, work: Work) -> Failure | None:
        """How a step fails of a document that this worker is not to run, or that is not of its document.

        What is asked for may come from anybody; so it is looked at whether it follows from the document.
        """
        allowed = self._terms.allowed
        if allowed is None:
            return None
        told = await self._memory.read_latest(work.run_id)
        identity = told.run.workflow
        others = {identity.digest, *identity.documents.values()} - allowed
        if others:
            return _forbid(f"not the document {min(others)}")
        program = find_program(told.start, identity)
        if follows(program, told.run, work.action) and set(work.secrets) == list_secrets(program):
            return None
        return _forbid("and this does not follow from it")

    async def _have(self, deed: Callable[[], T]) -> T:
        """What *deed*, which moves files, gives; the cluster is told all the while that somebody is at it."""
        moving = self._begin(deed)
        while not (await asyncio.wait([moving], timeout=MOVING_SECONDS))[0]:
            await self._tell()
        return moving.result()

    async def _tell(self, *said: str) -> bool:
        """Tell the cluster that somebody is at it, and have that acknowledged; whether it is still wanted.

        What the SDK sends by itself may overtake each other, and a word that the deed has begun must be last.
        """
        payloads = await self._client.data_converter.encode(said)
        request = RecordActivityTaskHeartbeatRequest(
            namespace=self._client.namespace,
            task_token=activity.info().task_token,
            identity=self._client.identity,
        )
        request.details.payloads.extend(payloads)
        told = await self._client.workflow_service.record_activity_task_heartbeat(request)
        return not told.cancel_requested

    def _begin(self, deed: Callable[[], T]) -> asyncio.Future[T]:
        """Have *deed* done in a thread."""
        return asyncio.get_running_loop().run_in_executor(self._hands, deed)

    async def _attend(
        self,
        work: Work,
        future: asyncio.Future[T],
        stopping: asyncio.Event,
        stop: Callable[[], object] = lambda: None,
    ) -> T:
        """What *future* gives, heartbeating; *stopping* is set, and *stop* called, once it is not wanted."""
        while not future.done():
            try:
                activity.heartbeat(wire.BEGUN)
                await asyncio.wait([future], timeout=LOOKING_SECONDS if _is_given_up() else BEAT_SECONDS)
                is_wanted = not _is_given_up() or await self._is_wanted(work)
            except asyncio.CancelledError:
                is_wanted = _is_given_up()
            if not is_wanted and not stopping.is_set():
                stopping.set()
                stop()
        return future.result()

    async def _is_wanted(self, work: Work) -> bool:
        """Whether *work*, which the cluster has given up, is to go on."""
        if activity.is_worker_shutdown():  # the SDK cuts off only what was not given up
            self._grace_ends = min(self._grace_ends, monotonic() + self._terms.grace_seconds)
        has_no_lock = work.action.lock is None  # else others may have it by now, if this is in doubt
        return monotonic() < self._grace_ends and await self._is_asked(work, in_doubt=has_no_lock)

    async def _is_asked(self, work: Work, *, in_doubt: bool = True) -> bool:
        """Whether the run waits for what *work* comes to, for all we know; *in_doubt*: or asks somebody."""
        try:
            told = await self._memory.read_latest(work.run_id)
        except RPCError as error:
            return error.status != RPCStatusCode.NOT_FOUND
        except CheckpointflowError:
            return True
        asked = find_asked(told.run, work.action.path, work.action.attempt)
        return not told.is_closed and asked is not None and (in_doubt or asked in pending(told.run))

    async def _hand_in(
        self, work: Work, files: RunFiles, outcome: Outcome | None, stopping: asyncio.Event
    ) -> None:
        """Keep what an attempt left and tell what it came to: else that would be lost, and be done again.

        Of one that was given up nothing is kept: its files would replace those of whoever came after it.
        """
        if not await _insist(lambda: self._counts(work), stopping):
            return
        done = await _insist(lambda: self._begin(lambda: self._keep(work, files, outcome)), stopping)
        await _insist(lambda: self._tell_outcome(work, done), stopping)

    async def _counts(self, work: Work) -> bool:
        """Whether anybody waits for what *work* has come to."""
        try:
            await self._tell(wire.BEGUN)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            return await self._is_asked(work)
        return True

    async def _tell_outcome(self, work: Work, done: Done) -> None:
        """Tell the cluster, not by the SDK, which drops what comes too late: then the run itself is told."""
        info = activity.info()
        handle = self._client.get_async_activity_handle(
            workflow_id=work.run_id, run_id=info.workflow_run_id, activity_id=info.activity_id
        )
        try:
            await handle.complete(done, rpc_timeout=TELLING)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            if done.outcome is not None and await self._is_asked(work):
                said = [work.action.path, work.action.attempt, done]
                await self._client.get_workflow_handle(work.run_id).signal(
                    wire.REPORT, args=said, rpc_timeout=TELLING
                )

    @activity.defn(name=wire.SALVAGE)
    async def salvage(self, work: Work) -> Done:
        """What an attempt left of which nobody will hear any more."""
        _check_names(work.run_id, work)
        return await self._have(lambda: self._keep(work, self._fetch(work.run_id), None))

    def _fetch(self, run_id: str) -> RunFiles:
        """The files of a run, on this machine: of those elsewhere what a step may look for."""
        place = self._shelf.find_place(run_id)
        if place is not None:
            files = RunFiles(place)
        else:
            files = RunFiles(self._scratch / RUNS / run_id)
            make_private(files.place)
            for found in self._shelf.list(f"{RUNS}/{run_id}/artifacts"):
                file = files.file(found.name.removeprefix(f"{RUNS}/{run_id}/"))
                if not file.exists() or self._versions.get(found.name) != found.version:
                    self._shelf.fetch(found.name, file)
                    self._versions[found.name] = found.version
                    self._note(_find_state(files, file.relative_to(files.place).as_posix()))
        files.step_lock = self._terms.step_lock
        return files

    def _keep(self, work: Work, files: RunFiles, outcome: Outcome | None) -> Done:
        # Of a copy only what has changed here: the rest may have been changed elsewhere meanwhile.
        states = {name: _find_state(files, name) for name in sorted(list_artifacts(files))}
        changed = [name for name, state in states.items() if state not in self._lying]
        left = tuple(found for name in changed if (found := self._seal(files, name)))
        done = Done(outcome=outcome, printed=seal_logs(files, work.action), left=left)
        names = [file.path for file in (*done.printed, *done.left)]
        if isinstance(outcome, Success):
            names += [file.path for file in outcome.artifacts.values()]
        if self._shelf.find_place(work.run_id) is None:
            for name in dict.fromkeys(names):
                self._shelf.send(f"{RUNS}/{work.run_id}/{name}", files.file(name))
                self._note(states.get(name))
        return done

    def _note(self, state: State | None) -> None:
        """Remember that what has *state* lies on the shelf."""
        if state is not None:
            self._lying.add(state)

    def _seal(self, files: RunFiles, name: str) -> StoredFile | None:
        """The seal of *name*; what has not changed since it was last looked at is not read again.

        None: it is gone by now.
        """
        state = _find_state(files, name)
        if state is not None and state in self._seals:
            return self._seals[state]
        found = seal(files, name)
        if found is not None and state is not None:
            self._seals[state] = found
        return found

    def _find_directory(self, cwd: str | None) -> str:
        """Where commands run: where this worker was told, else where the run was started."""
        return cwd or "" if self._terms.cwd is None else str(self._terms.cwd)

    @activity.defn(name=wire.KEEP)
    async def keep(self, run_id: str, number: int, facts: list[Fact]) -> str:
        """Lay a stretch of a run's history on the shelf."""
        _check_names(run_id)
        return await self._have(lambda: wire.lay_down(self._shelf, run_id, number, facts))

    @activity.defn(name=wire.ARCHIVE)
    async def archive(self, run_id: str) -> None:
        """Lay a run that has ended on the shelf, as a local cpf would have it."""
        _check_names(run_id)
        told = await read_latest(self._client, run_id)
        await self._have(lambda: self._archive(run_id, told))

    def _archive(self, run_id: str, told: object) -> None:
        files = self._fetch(run_id)
        names = write_out(self._shelf, told, RunDirectory(files.place))  # type: ignore[arg-type]
        if self._shelf.find_place(run_id) is None:
            for name in names:
                self._shelf.send(f"{RUNS}/{run_id}/{name}", files.file(name))
            rmtree(files.place, ignore_errors=True)  # or the copies of all runs would gather here
        for state in [state for state in list(self._seals) if state[0] == str(files.place)]:
            self._seals.pop(state, None)
        self._lying -= {state for state in list(self._lying) if state[0] == str(files.place)}


def _find_state(files: RunFiles, name: str) -> State | None:
    """The state of the file *name*; None: it is gone."""
    try:
        status = files.file(name).stat()
    except OSError:
        return None
    return str(files.place), name, status.st_size, status.st_mtime_ns


async def _insist(do: Callable[[], Awaitable[T]], stopping: asyncio.Event) -> T:
    """What *do* gives, tried again until it is given, or until told to stop."""
    while True:
        try:
            return await do()
        except (CheckpointflowError, RPCError):
            if stopping.is_set():
                raise
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), KEEPING_SECONDS)


def _is_given_up() -> bool:
    """Whether the cluster knows this activity no more, as one of which it heard nothing for too long."""
    details = activity.cancellation_details()
    return details is not None and (details.not_found or details.timed_out)


def _forbid(what: str) -> Failure:
    message = f"the worker that it came to runs only what its operator allowed, {what}"
    return Failure(Error(code="ERR_NOT_ALLOWED", message=message))


def _check_names(run_id: str, work: Work | None = None) -> None:
    """Raise StateCorrupt unless the run *run_id* itself asks, and for a step that can be: anybody may ask."""
    is_odd = work is not None and not is_path(work.action.path)
    if is_odd or not is_run_id(run_id) or activity.info().workflow_id != run_id:
        raise StateCorrupt(
            file=f"workflow {activity.info().workflow_id}", problem="it asks for what is not its own"
        )


class _Deed:
    """One action, performed in a thread of its own; it may be told to stop from another."""

    def __init__(self, work: Work, files: RunFiles, directory: str) -> None:
        self._work, self._files, self._directory = work, files, directory
        self._is_stopped = threading.Event()

    def stop(self) -> None:
        """Have it cut short."""
        self._is_stopped.set()

    def perform(self) -> Outcome | NotBegun | None:
        """What it comes to; None: it was cut short."""
        work = self._work
        if not isinstance(work.action, CallHttp) and not Path(self._directory).is_dir():
            return NotBegun(DirectoryGone(directory=self._directory or "the place"))
        executor = Executor(self._files, self._directory, work.run_id, secrets=frozenset(work.secrets))
        executor.start(work.action)
        try:
            while executor.is_busy:
                executor.wait(LISTENING_SECONDS)
                for _, outcome in executor.collect():
                    return outcome
                if self._is_stopped.is_set():
                    return next((outcome for _, outcome in executor.stop().ended), None)
        finally:
            executor.stop()
        return None


# The documents of a run


def find_program(start: Start, identity: Identity) -> Program:
    """What the documents of a run mean."""
    return _read(_Documents(identity, start.documents))


class _Documents:
    """Documents, told apart by the digest of the first and of all that it calls."""

    def __init__(self, identity: Identity, documents: dict[str, bytes]) -> None:
        self.identity, self.documents = identity, documents
        self._key = (identity.digest, tuple(sorted(identity.documents.items())))

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Documents) and self._key == other._key


@lru_cache(maxsize=256)
def _read(given: _Documents) -> Program:
    return read_copies(
        given.identity, given.documents.__getitem__, Path("what the workflow was started with")
    )
