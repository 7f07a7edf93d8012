"""The history of a run, read out of Temporal's.

A run's facts stand there in two places: in what a workflow was started with, and in the record of each
decision. So whoever may read that history reads the run, and needs no worker for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, NamedTuple

import msgspec
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import Client
from temporalio.service import RPCError

from checkpointflow.drivers.temporal.shelf import Shelf
from checkpointflow.drivers.temporal.wire import (
    DECIDE,
    Decision,
    Done,
    Refusal,
    Start,
    check_names,
    read_past,
    take_up,
)
from checkpointflow.engine.evolution import apply, chain, fork
from checkpointflow.engine.facts import Fact, StepStarted
from checkpointflow.engine.run import Run
from checkpointflow.errors import StateCorrupt
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import list_files, make_private
from checkpointflow.store.layout import HISTORY, OUTPUTS, STATE

PAGE, FIRST_PAGE_BACK = 1000, 8
MAX_READINGS = 10
MAX_REMEMBERED = 100
MOVED = "branch tokens"  # of what Temporal says then
_CONTINUED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW
_CLOSED = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
}


class Told(NamedTuple):
    """A run as Temporal's history tells it. facts: since *start*; whys: steps were last put off, by path.

    is_foreign: it came in an archive, and nobody has said yet where its commands run; execution, event: which
    of the workflow's executions tells it, and the number of the last event there that did.
    """

    start: Start
    run: Run
    facts: list[Fact]
    is_foreign: bool
    execution: str
    event: int
    is_closed: bool = False
    whys: dict[str, Refusal] = {}  # noqa: RUF012, never changed


async def tell(client: Client, run_id: str, *, follow: bool = False) -> AsyncIterator[Told]:
    """The run each time that something has happened to it; with *follow* as it goes on, to its end.

    Raises RPCError, PersistenceError, and StateCorrupt for a workflow that is none of ours.
    """
    with _translate_oddities(run_id):
        async for told in _tell_at_last(client, run_id, follow=follow):
            yield told


@contextmanager
def _translate_oddities(run_id: str) -> Iterator[None]:
    """Raise StateCorrupt for what makes no sense in the history of *run_id*."""
    try:
        yield
    except (msgspec.MsgspecError, LookupError, TypeError, ValueError, AssertionError) as error:
        problem = f"it tells of no run that this cpf understands ({error!r})"
        raise StateCorrupt(file=f"workflow {run_id}", problem=problem) from None


async def _tell_at_last(client: Client, run_id: str, *, follow: bool) -> AsyncIterator[Told]:
    """The same; what went on in a new history while the old one was read page by page is read anew."""
    revision = 0
    for attempt in count(1):
        try:
            async for told in _tell(client, run_id, follow=follow):
                if told.run.revision > revision or told.is_closed:
                    revision = told.run.revision
                    yield told
            return
        except RPCError as error:
            if MOVED not in error.message or attempt == MAX_READINGS:
                raise


async def _tell(client: Client, run_id: str, *, follow: bool) -> AsyncIterator[Told]:
    execution: str | None = None
    while True:
        handle = client.get_workflow_handle(run_id, run_id=execution)
        execution, told = None, None
        async for event in handle.fetch_history_events(wait_new_event=follow, page_size=PAGE):
            kind = event.event_type
            if kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
                told = await _begin(client, run_id, event)
                yield told
                continue
            assert told is not None, "a history begins with its start"
            before, told = told, await _go_on(client, told, event)
            if told is not before:
                yield told
            elif kind == _CONTINUED:
                continued = event.workflow_execution_continued_as_new_event_attributes
                execution = continued.new_execution_run_id
            elif kind in _CLOSED:
                yield told._replace(is_closed=True)
        if execution is None:
            return


async def _begin(client: Client, run_id: str, event: Any) -> Told:
    """What the first *event* of a history tells."""
    started = event.workflow_execution_started_event_attributes
    (start,) = await client.data_converter.decode(started.input.payloads, [Start])
    run, execution = take_up(start), started.original_execution_run_id
    check_names(start, run, run_id)
    facts, whys = list(start.facts), dict(start.whys)
    return Told(start, run, facts, start.is_foreign, execution, event.event_id, whys=whys)


async def _go_on(client: Client, told: Told, event: Any) -> Told:
    """What is told once *event* has happened, too; the same if it says nothing."""
    if event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED:
        for decision in await _read_decisions(client, event.marker_recorded_event_attributes):
            told.facts.extend(decision.facts)
            run = apply(fork(told.run), decision.facts)
            begun = {fact.path for fact in decision.facts if isinstance(fact, StepStarted)}
            whys = {path: why for path, why in told.whys.items() if path not in begun}
            told = told._replace(run=run, event=event.event_id, whys=whys)
            if decision.is_foreign is not None:
                told = told._replace(is_foreign=decision.is_foreign)
    elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
        payloads = event.activity_task_completed_event_attributes.result.payloads
        if payloads and b'"why"' in payloads[0].data:
            (done,) = await client.data_converter.decode(payloads, [Done])
            if done.why is not None:
                told = told._replace(whys={**told.whys, str(done.why.step_id): done.why})
    return told


async def read_on(client: Client, run_id: str, known: Told | None) -> Told:
    """The run as it stands now; only what came since it was *known* is read, where that can be."""
    told = None if known is None else await _go_on_from(client, run_id, known)
    return told or await read_latest(client, run_id)


async def read_latest(client: Client, run_id: str) -> Told:
    """The run as it stands now."""
    latest = None
    async for told in tell(client, run_id):
        latest = told
    assert latest is not None, "a history begins with its start"
    return latest


async def _go_on_from(client: Client, run_id: str, told: Told) -> Told | None:
    """What is *told* now; None: its execution is over or forgotten, and another may have followed."""
    try:
        new = await _read_back(client, run_id, told)
    except RPCError:
        return None
    if new is None:
        return None
    told = told._replace(facts=[*told.facts])  # what is known stays as it is, should a reading fail
    with _translate_oddities(run_id):
        for event in reversed(new):
            told = await _go_on(client, told, event)
    return told


async def _read_back(client: Client, run_id: str, told: Told) -> list[Any] | None:
    """The events after those that were *told* of, the newest first; None: the execution is over."""
    request = GetWorkflowExecutionHistoryReverseRequest(
        namespace=client.namespace,
        execution=WorkflowExecution(workflow_id=run_id, run_id=told.execution),
        maximum_page_size=FIRST_PAGE_BACK,
    )
    found = list[Any]()
    while True:
        page = await client.workflow_service.get_workflow_execution_history_reverse(request)
        if not found and page.history.events[0].event_type in {_CONTINUED, *_CLOSED}:
            return None
        new = [event for event in page.history.events if event.event_id > told.event]
        found += new
        if len(new) < len(page.history.events) or not page.next_page_token:
            return found
        request.next_page_token = page.next_page_token
        request.maximum_page_size = min(2 * request.maximum_page_size, PAGE)


class Memory:
    """What was last read of each of some runs, so that only what came since is read again."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[str, Told] = {}

    async def read_latest(self, run_id: str) -> Told:
        """The run as it stands now, without its facts. Raises as `tell` does."""
        told = (await read_on(self._client, run_id, self._known.get(run_id)))._replace(facts=[])
        self._known.pop(run_id, None)  # so that it comes to stand last
        self._known[run_id] = told
        if len(self._known) > MAX_REMEMBERED:
            del self._known[next(iter(self._known))]
        return told


async def _read_decisions(client: Client, marker: Any) -> list[Decision]:
    """What is in the record of a local activity, if it is one of decisions."""
    if marker.marker_name != "core_local_activity":
        return []
    (data,) = marker.details["data"].payloads
    if msgspec.json.decode(data.data)["activity_type"] != DECIDE:
        return []
    decisions: list[Decision]
    (decisions,) = await client.data_converter.decode(marker.details["result"].payloads, [list[Decision]])
    return decisions


def write_out(shelf: Shelf, told: Told, directory: RunDirectory) -> list[str]:
    """Make *directory* the run that was *told* of; returns the names of the files that make it."""
    facts = [*read_past(shelf, told.start.past), *told.facts]
    make_private(directory.place)
    for name, data in told.start.documents.items():
        directory.keep(name, data)
    directory.commit(told.run, facts, None)
    outputs = [f"{OUTPUTS}/{name}" for name, _ in list_files(directory.place / OUTPUTS)]
    return [*told.start.documents, *outputs, HISTORY, STATE]


def list_checkpoints(facts: list[Fact]) -> list[str]:
    """The ids of the checkpoints that *facts* made, from the first on."""
    found, checkpoint_id = list[str](), ""
    for fact in facts:
        checkpoint_id = chain(checkpoint_id, fact)
        found.append(checkpoint_id)
    return found
