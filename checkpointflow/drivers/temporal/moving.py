"""Runs that come to a cluster, and runs that go for good."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.service import RPCError, RPCStatusCode

from checkpointflow.drivers.secrets import list_secrets
from checkpointflow.drivers.sources import read_own_copies
from checkpointflow.drivers.temporal import wire
from checkpointflow.drivers.temporal.history import list_checkpoints
from checkpointflow.drivers.temporal.hosted import Cluster, HostedRun, HostedStore
from checkpointflow.drivers.temporal.hosting import ask, start_workflow, tell_patiently
from checkpointflow.drivers.temporal.shelf import Shelf
from checkpointflow.drivers.temporal.wire import Start
from checkpointflow.engine.facts import Fact
from checkpointflow.engine.run import Run
from checkpointflow.engine.soundness import find_unsound
from checkpointflow.errors import (
    CheckpointflowError,
    LockConflict,
    NotDeletable,
    PersistenceError,
    RunDiverged,
    RunNotEnded,
    RunNotFound,
    StateCorrupt,
)
from checkpointflow.store.archive import Imported
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.history import find_artifacts, find_document_digests, find_sealed_files
from checkpointflow.store.layout import RUNS, STATE
from checkpointflow.store.store import Store
from checkpointflow.store.sweeping import NotRemoved, Removal, Sweep, choose_outdated

ENDING_SECONDS = 30.0
FORBIDDEN = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED)


def bring(store: Store, directory: RunDirectory) -> Imported:
    """Have the run in *directory*, which is whole, be one of the cluster, or go forward there to its state.

    Nothing of it is done there before somebody goes on with it, and says where. Raises RunDiverged, and
    StateCorrupt for a state that no run comes to: no worker looks for that.
    """
    assert isinstance(store, HostedStore)
    cluster, run = store.cluster, directory.load()
    odd = find_unsound(read_own_copies(directory, run.workflow), run)
    if odd is not None:
        raise StateCorrupt(file=STATE, problem=f"it is in a state that no run comes to, at {odd}")
    facts, hosted = list(directory.facts(run)), store.at(run.run_id)
    try:
        here = hosted.load()
    except RunNotFound:
        cluster.do(start_workflow(cluster, _take_in(cluster, directory, run, facts)))
        return Imported(hosted, run, "added", len(facts))
    ours, theirs = list_checkpoints(list(hosted.facts(here))), list_checkpoints(facts)
    if theirs == ours[: len(theirs)]:
        return Imported(hosted, here, "unchanged", 0)
    if ours != theirs[: len(ours)]:
        problem = f"run {run.run_id} has gone on both on the cluster and in the archive"
        raise RunDiverged(problem=problem).about(here, hosted)
    new = facts[len(ours) :]
    if hosted.told.is_closed:
        cluster.do(start_workflow(cluster, _take_in(cluster, directory, run, facts), again=True))
    else:
        _send_files(cluster.shelf, directory, run, new)
        secrets = tuple(sorted(list_secrets(read_own_copies(directory, run.workflow))))
        if cluster.do(ask(hosted, wire.ADOPT, here.checkpoint_id, new, secrets)) is None:
            raise LockConflict(what=f"run {run.run_id}", holder="a request that came just before")
    return Imported(hosted, run, "fast_forwarded", len(new))


def _take_in(cluster: Cluster, directory: RunDirectory, run: Run, facts: list[Fact]) -> Start:
    _send_files(cluster.shelf, directory, run, facts)
    return Start(
        documents={name: directory.read(name) for name in find_document_digests(facts)},
        past=(wire.lay_down(cluster.shelf, run.run_id, 0, facts),),
        image=wire.picture(run),
        seals=find_sealed_files(facts) | find_artifacts(facts),
        secrets=tuple(sorted(list_secrets(read_own_copies(directory, run.workflow)))),
        holds=True,
        is_foreign=True,
    )


def _send_files(shelf: Shelf, directory: RunDirectory, run: Run, facts: list[Fact]) -> None:
    for name in find_sealed_files(facts) | find_artifacts(facts):
        if (directory.place / name).is_file():
            shelf.send(f"{RUNS}/{run.run_id}/{name}", directory.file(name))


def delete(directory: RunDirectory, *, force: bool = False) -> Removal:
    """Remove a run of a cluster, its history there and its files; with *force* also one that has not ended.

    Raises RunNotEnded, RunNotFound.
    """
    assert isinstance(directory, HostedRun)
    run = directory.load()
    if run.outcome is None and not force:
        raise RunNotEnded(run_id=run.run_id, status=run.status).about(run, directory)
    if not directory.told.is_closed:
        directory.cluster.do(_end(directory, has_ended=run.outcome is not None))
    removal = _describe(directory, run.workflow.id, run.status)
    directory.cluster.do(_delete_history(directory))
    directory.cluster.shelf.remove(f"{RUNS}/{run.run_id}")
    return removal


async def _end(directory: HostedRun, *, has_ended: bool) -> None:
    """Have the workflow be over; that of a run which *has_ended* is about to be: it is laid on the shelf."""
    if has_ended:
        with suppress(PersistenceError, TimeoutError):  # nobody is there who would, or can
            async with asyncio.timeout(ENDING_SECONDS):
                async for told in tell_patiently(directory):
                    if told.is_closed:
                        return
    client = await directory.cluster.connect()
    try:
        await client.get_workflow_handle(directory.run_id).terminate(reason="cpf delete --force")
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:  # as it is once it is over
            raise


async def _delete_history(directory: HostedRun) -> None:
    client = await directory.cluster.connect()
    query = f'WorkflowId = "{directory.run_id}"'
    async for found in client.list_workflows(query):  # one, and those that it has continued
        request = DeleteWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=found.id, run_id=found.run_id),
        )
        try:
            await client.workflow_service.delete_workflow_execution(request)
        except RPCError as error:
            if error.status not in FORBIDDEN:
                raise
            place, run_id = directory.cluster.address, directory.run_id
            raise NotDeletable(cluster=place, run_id=run_id, problem=error.message) from None


def _describe(directory: HostedRun, workflow_id: str, status: str) -> Removal:
    cluster = directory.cluster
    size = sum(found.size for found in cluster.shelf.list(f"{RUNS}/{directory.run_id}"))
    place = directory.whereabouts
    return Removal(
        run_id=directory.run_id, workflow_id=workflow_id, status=status, directory=place, bytes=size
    )


def sweep(
    store: Store,
    *,
    before: str | None,
    statuses: tuple[str, ...] = (),
    keep: int | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> Sweep:
    """As `store.sweeping.sweep`, of the runs of a cluster; what crashes leave there is Temporal's matter."""
    swept = Sweep(deleted=[], remains=[], kept=[])
    for run in choose_outdated(store, before, statuses, keep, force):
        assert isinstance(run.directory, HostedRun)
        assert run.head is not None, "one that tells nothing of itself is not chosen"
        try:
            if dry_run:
                swept.deleted.append(_describe(run.directory, run.head.workflow.id, run.head.status))
            else:
                swept.deleted.append(delete(run.directory, force=force))
        except CheckpointflowError as error:
            swept.kept.append(NotRemoved(directory=run.run_id, problem=str(error)))
    return swept
