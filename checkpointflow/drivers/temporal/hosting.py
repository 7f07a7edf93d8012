"""What `drivers.local` does for runs of this machine, done for those of a cluster, by the same names.

A request goes to the run's workflow as an update. What comes of it is read in Temporal's history as it grows,
so that whoever is killed meanwhile takes nothing with it.
"""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Any

import msgspec
from temporalio.client import (
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from checkpointflow.drivers.local import CANCEL_SECONDS, HERE, WHERE_IT_WAS, Delivered, Place, World
from checkpointflow.drivers.once import Begun, compare
from checkpointflow.drivers.secrets import list_secrets
from checkpointflow.drivers.signals import PROCESS
from checkpointflow.drivers.sources import CheckedWorkflow, make_beginning
from checkpointflow.drivers.temporal import wire
from checkpointflow.drivers.temporal.activities import find_program
from checkpointflow.drivers.temporal.heading import describe
from checkpointflow.drivers.temporal.history import Told, tell
from checkpointflow.drivers.temporal.hosted import Cluster, HostedRun, HostedStore, find_deferred
from checkpointflow.drivers.temporal.wire import Request, Start, Taken
from checkpointflow.engine.answers import Answer, find_wait
from checkpointflow.engine.facts import Fact
from checkpointflow.engine.kinds import check_inputs
from checkpointflow.engine.messages import ChooseDirectory, Message, Retry
from checkpointflow.engine.rules import advance
from checkpointflow.engine.run import Run, Started, is_ending, pending
from checkpointflow.errors import (
    CheckpointflowError,
    Interrupted,
    LockConflict,
    NotTrusted,
    PersistenceError,
    RunKeyTaken,
    RunNotFound,
    RunNotWaiting,
    UsageError,
)
from checkpointflow.store.claims import MAX_KEY
from checkpointflow.store.clock import make_id, name_user
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import digest
from checkpointflow.store.history import find_artifacts, find_sealed_files
from checkpointflow.store.layout import DOCUMENT, KEYS, RUNS, STATE, document_name
from checkpointflow.store.locks import Wish
from checkpointflow.store.store import Store

PATIENCE_SECONDS = 10.0


# As drivers.local has them


def begin(
    store: Store,
    workflow: CheckedWorkflow,
    inputs: Any,
    world: World = HERE,
    *,
    drives: bool = True,
    run_id: str | None = None,
    key: str | None = None,
) -> tuple[RunDirectory, Run]:
    """Start a run of *workflow* on the cluster, and follow it until it rests; not *drives*: do not follow.

    Raises InvalidInput (nothing is started), PersistenceError, Interrupted.
    """
    assert isinstance(store, HostedStore)
    message = make_beginning(workflow, inputs, world.now(), run_id, key)
    run, facts = advance(workflow.program, None, message)
    called = {document_name(message.documents[name]): data for name, data in workflow.called.items()}
    secrets = tuple(sorted(list_secrets(workflow.program)))
    start = Start(documents={DOCUMENT: workflow.data} | called, facts=facts, secrets=secrets)
    store.cluster.do(start_workflow(store.cluster, start))
    directory = store.at(run.run_id)
    world.observe(run)
    return directory, _follow(directory, run.revision, world) if drives else run


def begin_once(
    store: Store,
    key: str,
    workflow: CheckedWorkflow,
    inputs: Any,
    world: World = HERE,
    *,
    drives: bool = True,
) -> Begun:
    """The run of *workflow* that has *key*; it is started if there is none. Raises RunKeyTaken."""
    assert isinstance(store, HostedStore)
    if not 0 < len(key) <= MAX_KEY:
        raise UsageError(problem=f"a run key has 1 to {MAX_KEY} characters")
    claimed = store.cluster.shelf.claim(f"{KEYS}/{digest(key.encode())}", make_id().encode())
    directory = store.at(claimed.decode())
    try:
        run = directory.load()
    except RunNotFound:  # whoever claimed it, we or somebody who was killed, has not started it yet
        place = f"{RUNS}/{directory.run_id}"
        if any(found.name == f"{place}/{STATE}" for found in store.cluster.shelf.list(place)):
            why = "and the cluster has forgotten it: what it left lies on the shelf"
            raise RunKeyTaken(run_id=directory.run_id, key=key, why=why) from None
        try:
            begun = begin(store, workflow, inputs, world, drives=drives, run_id=directory.run_id, key=key)
            return Begun(*begun, replayed=False)
        except WorkflowAlreadyStartedError:
            run = directory.load()
    compare(run, key, workflow, check_inputs(workflow.program, inputs))
    if drives and run.status == "running":
        run = _follow(directory, run.revision, world)
    return Begun(directory, run, replayed=True)


def resume(
    directory: RunDirectory, *, place: Place = WHERE_IT_WAS, lock_timeout: float = 0, world: World = HERE
) -> Run:
    """Go on where nothing is needed from outside, and follow the run until it rests."""
    return deliver(directory, (), place=place, lock_timeout=lock_timeout, world=world).run


def deliver(
    directory: RunDirectory,
    answers: Iterable[Answer],
    *,
    place: Place = WHERE_IT_WAS,
    lock_timeout: float = 0,  # noqa: ARG001, nobody ever holds a run of a cluster
    world: World = HERE,
) -> Delivered:
    """Deliver all *answers*, or none, and follow the run until it rests. Raises as `local.deliver` does."""
    assert isinstance(directory, HostedRun)
    request = _make_request(place, answers=list(answers))
    taken = _request(directory, request)
    if taken is None:  # it has ended, or never was
        run = directory.load()
        for answer in request.answers:
            assert find_wait(run, answer, lambda: list(directory.facts(run))) is None, "it has ended"
        return Delivered(run, bool(request.answers))
    return Delivered(_follow(directory, taken.revision, world), taken.replayed)


def retry(
    directory: RunDirectory,
    *,
    step: str | None = None,
    place: Place = WHERE_IT_WAS,
    lock_timeout: float = 0,  # noqa: ARG001
    world: World = HERE,
) -> Run:
    """Do again what failed, or the step at *step* and all that came after it. Raises NotRetryable."""
    assert isinstance(directory, HostedRun)
    taken = _request(directory, _make_request(place, retries=True, step=step))
    if taken is not None:
        return _follow(directory, taken.revision, world)
    cluster, run = directory.cluster, directory.load()
    told = directory.told
    choose_directory(directory, run, place, world)
    messages: list[Message] = [Retry(now=world.now(), path=step)]
    if place.cwd is not None:
        messages.append(ChooseDirectory(now=messages[0].now, cwd=os.path.abspath(place.cwd)))
    program, facts = find_program(told.start, run.workflow), list[Fact]()
    for message in messages:
        run, new = advance(program, run, message)
        facts += new
    try:
        cluster.do(start_workflow(cluster, _continue(cluster, told, facts), again=True))
    except WorkflowAlreadyStartedError:
        raise LockConflict(what=f"run {run.run_id}", holder="another request to retry it") from None
    return _follow(directory, run.revision, world)


def cancel(
    directory: RunDirectory,
    wish: Wish,
    place: Place = WHERE_IT_WAS,
    lock_timeout: float = CANCEL_SECONDS,
    world: World = HERE,
) -> Run:
    """Stop the run for good; its commands are ended, and its `finally` is done, before it is.

    If its `finally` takes longer than *lock_timeout* seconds, the run is as it stands.
    """
    assert isinstance(directory, HostedRun)
    run = directory.load()
    if run.outcome is None and directory.is_foreign and not (_is_said(place) or wish.skips_finally):
        raise NotTrusted(run_id=run.run_id, cwd=run.cwd).about(run, directory)
    if run.status == "cancelled":
        return run
    if run.outcome is not None:
        raise RunNotWaiting(run_id=run.run_id, status=run.status, problem="there is nothing to cancel")
    _take_up_again(directory)
    return directory.cluster.do(_cancel(directory, run, wish, place, lock_timeout, world))


def choose_directory(directory: RunDirectory, run: Run, place: Place, world: World) -> None:  # noqa: ARG001
    """Raise NotTrusted if it is not said where the commands of an imported run go on."""
    if directory.is_foreign and not _is_said(place):
        raise NotTrusted(run_id=run.run_id, cwd=run.cwd).about(run, directory)


# Requests


def _is_said(place: Place) -> bool:
    return place.trust or place.cwd is not None


def _make_request(place: Place, **what: Any) -> Request:
    cwd = None if place.cwd is None else os.path.abspath(place.cwd)
    return Request(by=name_user(), cwd=cwd, trust=place.trust, **what)


def _request(directory: HostedRun, request: Request) -> Taken | None:
    """What the run's workflow answers; None: there is none that runs. Raises what it refuses."""
    try:
        taken: Taken | None = directory.cluster.do(ask(directory, wire.DELIVER, request))
        if taken is None and _take_up_again(directory):
            taken = directory.cluster.do(ask(directory, wire.DELIVER, request))
    except CheckpointflowError as error:
        if isinstance(error, RunNotFound | PersistenceError):
            raise
        raise error.about(directory.load(), directory) from None
    return taken


def _take_up_again(directory: HostedRun) -> bool:
    """Have a run go on whose workflow somebody has ended in Temporal; whether that was so.

    As after a crash, what was under way is for whoever asks to say.
    """
    directory.load()
    if not directory.was_cut_off:
        return False
    start = _continue(directory.cluster, directory.told, [], holds=True, is_foreign=directory.is_foreign)
    with suppress(WorkflowAlreadyStartedError):  # somebody else has asked, too
        directory.cluster.do(start_workflow(directory.cluster, start, again=True))
    return True


async def ask(directory: HostedRun, update: str, *arguments: Any) -> Taken | None:
    """What the run's workflow answers to *update*; None: none runs. Raises what it refuses."""
    client = await directory.cluster.connect()
    handle = client.get_workflow_handle(directory.run_id)
    asking = asyncio.ensure_future(
        handle.execute_update(update, args=list(arguments), id=make_id(), result_type=Taken)
    )
    try:
        taken: Taken = await _await_patiently(asking, directory.cluster, "the request may still be taken")
        return taken
    except WorkflowUpdateFailedError as error:
        raise _read_refusal(error.cause) from None
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        raise make_unattended(directory.cluster, "the request may still be taken") from None
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return None
        raise


def _read_refusal(cause: BaseException | None) -> CheckpointflowError:
    if isinstance(cause, ApplicationError) and cause.details:
        return wire.revive(msgspec.convert(cause.details[0], wire.Refusal))
    return PersistenceError(file="the cluster", problem=str(cause))


async def _await_patiently(waiting: asyncio.Future[Any], cluster: Cluster, more: str) -> Any:
    """What *waiting* gives; raises PersistenceError if it takes long, and no worker is there to make it."""
    while not (await asyncio.wait([waiting], timeout=PATIENCE_SECONDS))[0]:
        if not await cluster.is_attended():
            waiting.cancel()
            await asyncio.wait([waiting])  # what it follows is let go of before the loop ends
            raise make_unattended(cluster, more)
    return await waiting


def make_unattended(cluster: Cluster, more: str) -> PersistenceError:
    """That nobody works for *cluster*."""
    line = shlex.join(["cpf", "--on", str(cluster.address), "--shelf", cluster.shelf.url, "worker"])
    problem = f"no worker is there; {more}: {line}"
    return PersistenceError(file=cluster.address, problem=problem)


async def _cancel(
    directory: HostedRun, run: Run, wish: Wish, place: Place, seconds: float, world: World
) -> Run:
    client = await directory.cluster.connect()
    reason = msgspec.json.encode(wish).decode()
    is_short = len(reason) < wire.MAX_PAYLOAD_BYTES
    if is_ending(run) or _is_said(place) or not is_short:  # Temporal hears only the first wish, and not where
        await ask(directory, wire.CANCEL, wish, _make_request(place) if _is_said(place) else None)
    else:
        await client.get_workflow_handle(directory.run_id).cancel(reason=reason)
    latest = run

    async def follow() -> None:
        nonlocal latest
        async for told in tell_patiently(directory):
            latest = told.run
            world.observe(latest)
            if latest.outcome is not None:
                return

    try:
        await asyncio.wait_for(follow(), seconds or None)
    except TimeoutError:
        if not is_ending(latest):
            holder = "a worker that has not stopped yet"
            raise LockConflict(what=f"run {run.run_id}", holder=holder).about(latest, directory) from None
    return latest


# Following


def _follow(directory: HostedRun, revision: int, world: World) -> Run:
    """The run once it rests, at *revision* or later. Whoever stops following stops nothing."""
    try:
        PROCESS.start_listening()  # a person who was asked before has left it deaf
        return directory.cluster.do(_rest(directory, revision, world))
    except KeyboardInterrupt:
        error = Interrupted(signal=f"{PROCESS.name or 'SIGINT'}; the run goes on without it")
        raise error.about(directory.load(), directory) from None


async def _rest(directory: HostedRun, revision: int, world: World) -> Run:
    async for told in tell_patiently(directory):
        run = told.run
        world.observe(run)
        if told.is_closed and run.outcome is None:
            problem = "its workflow was ended in Temporal, and the run was not; `cpf resume` goes on with it"
            raise PersistenceError(file=f"run {run.run_id}", problem=problem).about(run, directory)
        if run.revision >= revision and not pending(run):
            if (deferred := find_deferred(run)) is not None:
                raise _explain(deferred, told).about(run, directory)
            return run
    raise AssertionError("a history ends with an end")


def _explain(deferred: Started, told: Told) -> CheckpointflowError:
    if deferred.action.path in told.whys:
        return wire.revive(told.whys[deferred.action.path])
    lock = getattr(deferred.action, "lock", None)
    what = f"the step {deferred.action.path}" if lock is None else f"the lock {lock.key!r}"
    return LockConflict(what=what, holder="another run")


async def tell_patiently(directory: HostedRun) -> AsyncIterator[Told]:
    """The run as it goes on; when nothing comes and nobody is there to make it, that is told."""
    news = tell(await directory.cluster.connect(), directory.run_id, follow=True)
    more = f"run {directory.run_id} goes on as soon as one is"
    while True:
        coming = asyncio.ensure_future(anext(news, None))
        told = await _await_patiently(coming, directory.cluster, more)
        if told is None:
            return
        yield told


# Taking runs up


async def start_workflow(cluster: Cluster, start: Start, *, again: bool = False) -> None:
    """Have a run taken up by the cluster. Raises WorkflowAlreadyStartedError."""
    client, run = await cluster.connect(), wire.take_up(start)
    reuse = WorkflowIDReusePolicy
    await client.start_workflow(
        wire.WORKFLOW,
        start,
        id=run.run_id,
        task_queue=cluster.address.queue,
        memo={wire.HEAD: describe(run)},
        static_summary=f"{run.workflow.name or run.workflow.id} {run.workflow.version or ''}".strip()[:200],
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        id_reuse_policy=reuse.ALLOW_DUPLICATE if again else reuse.REJECT_DUPLICATE,
    )


def _continue(cluster: Cluster, told: Told, facts: list[Fact], **more: Any) -> Start:
    """A workflow that goes on after all that was *told*, by *facts*."""
    past, seals = told.start.past, told.start.seals
    if told.facts:
        past = (*past, wire.lay_down(cluster.shelf, told.run.run_id, len(past), told.facts))
        seals = seals | find_sealed_files(told.facts) | find_artifacts(told.facts)
    return Start(
        documents=told.start.documents,
        past=past,
        image=wire.picture(told.run),
        facts=facts,
        seals=seals,
        secrets=told.start.secrets,
        whys=told.whys,
        **more,
    )
