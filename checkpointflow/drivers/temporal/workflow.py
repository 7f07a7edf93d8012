"""The loop of a cluster: what `drivers.local` is for one machine, here as a Temporal workflow.

It must do the same again when it is replayed, whatever version of the engine is there by then. So it decides
nothing by itself: what follows from a message is asked of a local activity, and stands in Temporal's history.
From there `evolve` makes the run, and the run says what is pending. This module changes with care: the
histories of every release are replayed by the tests.
"""

from __future__ import annotations

import asyncio
import os
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace
from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.exceptions import TimeoutError as TimedOut

from checkpointflow.drivers.temporal import wire
from checkpointflow.drivers.temporal.heading import describe, is_news
from checkpointflow.drivers.temporal.hearing import CASES, Case, Question
from checkpointflow.drivers.temporal.locking import hold_lock
from checkpointflow.drivers.temporal.wire import Decision, Done, Request, Start, Taken, Work
from checkpointflow.engine.actions import Action, Effect, Outcome, Sleep, Slept, StoredFile
from checkpointflow.engine.answers import find_wait
from checkpointflow.engine.evolution import apply, fork
from checkpointflow.engine.facts import Breakdown, Cancellation, Fact
from checkpointflow.engine.messages import Defer, Message, Recover, Report, Seal, format_time
from checkpointflow.engine.rules import check_answer
from checkpointflow.engine.run import Started, find_asked, pending, unanswered, waits
from checkpointflow.errors import CheckpointflowError, EventMismatch, NotTrusted, RunDiverged, RunNotWaiting
from checkpointflow.store.history import find_artifacts, find_sealed_files
from checkpointflow.store.locks import Wish

HEARTBEAT = timedelta(seconds=float(os.environ.get("CPF_HEARTBEAT_SECONDS", "60")))
MAX_EVENTS = int(os.environ.get("CPF_MAX_EVENTS", "20000"))
MAX_HISTORY_BYTES = 25 << 20  # Temporal ends a workflow at 50 MB, or at 51,200 events
MAX_UNDER_WAY = 1500  # a workflow with more than 2,000 activities would not go on
MAX_AT_ONCE = 40  # deeds, of 64 KiB and a path: Temporal terminates a workflow that sends 4 MiB at once
MAX_SUMMARY = 200  # characters of what Temporal's own tools show
AGES = timedelta(days=3650)
DECIDING, AT_ONCE = timedelta(seconds=60), timedelta(milliseconds=1)
PERSISTENT = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30))

KEEPING: Any = {"start_to_close_timeout": AGES, "heartbeat_timeout": HEARTBEAT, "retry_policy": PERSISTENT}
"""Of what must be done at last, by whatever worker: files of a run moved to where all find them."""

Key = tuple[str, int]


@workflow.defn(name=wire.WORKFLOW, sandboxed=False)
class Hosted:
    """A run."""

    @workflow.init
    def __init__(self, start: Start) -> None:
        self.start = start
        self.run = wire.take_up(start)
        wire.check_names(start, self.run, workflow.info().workflow_id)
        self.facts = list(start.facts)
        self.seals = start.seals | find_sealed_files(start.facts) | find_artifacts(start.facts)
        self.left: dict[str, StoredFile] = {}
        self.asked: list[Question] = []
        self.under_way: dict[Key, asyncio.Task[None]] = {}
        self.clock: asyncio.Task[None] | None = None
        self.wakes_at, self.woke_at = "", 0  # a moment, a revision
        self.heading = describe(self.run)  # whoever started it has told that
        self.is_draining = False
        self.is_foreign = start.is_foreign
        self.held: set[Key] = {_key(action) for action in pending(self.run)} if start.holds else set()
        self.printed: list[StoredFile] = []
        self.whys = dict(start.whys)
        self.sent = 0
        self.gate = asyncio.Lock()

    @workflow.run
    async def drive(self, start: Start) -> None:  # noqa: ARG002, it is taken up above
        loop = asyncio.create_task(self._drive())
        while not loop.done():
            try:
                await asyncio.wait([loop])
            except asyncio.CancelledError:  # a wish like any other, which the loop hears of
                self._ask(wish=_read_wish(workflow.cancellation_reason()))
        await loop
        match self.run.outcome:
            case Breakdown(error=error):
                raise ApplicationError(error.message, type=error.code, non_retryable=True)
            case Cancellation():
                raise asyncio.CancelledError

    async def _drive(self) -> None:
        archived = 0
        while archived != self.run.revision:  # what is asked of a run that is about to end may change it
            await self._go_on()
            await self._stop()
            self._tell_heading()
            archived = self.run.revision
            await workflow.execute_activity(wire.ARCHIVE, self.run.run_id, **KEEPING)
            while not workflow.all_handlers_finished():
                await workflow.wait_condition(lambda: bool(self.asked) or workflow.all_handlers_finished())
                await self._decide()

    async def _go_on(self) -> None:
        """Have what is pending done, and what follows, until the run has ended."""
        while self.run.outcome is None:
            if self._is_long() and not self.under_way and not self.asked:
                await self._continue_as_new()
            if not self.is_foreign:  # else nobody has said yet that anything of it may be done here
                for action in [] if self.is_draining else pending(self.run):
                    self._take(action)
                self._set_clock()
            self._tell_heading()
            await workflow.wait_condition(lambda: bool(self.asked))
            await self._decide()

    # What comes from outside

    @workflow.update(name=wire.DELIVER)
    async def deliver(self, request: Request) -> Taken:
        """Take answers, all or none, or do something again, and go on where nobody is at work."""
        return await self._hear(request=request)

    @deliver.validator
    def _check(self, request: Request) -> None:
        """What is refused here leaves no trace. Only the run is looked at, so that it is quick."""
        try:
            if self.is_foreign and not request.trust and request.cwd is None:
                raise NotTrusted(run_id=self.run.run_id, cwd=self.run.cwd)
            for answer in request.answers:
                self._check_answer(answer)
        except CheckpointflowError as error:
            raise wire.make_failure(error) from None

    def _check_answer(self, answer: Any) -> None:
        try:
            path = find_wait(self.run, answer, lambda: self.facts)
        except (EventMismatch, RunNotWaiting):
            if self.start.past:
                return  # it may repeat one that lies on the shelf: whoever decides looks there
            raise
        if path is not None:
            check_answer(self.run, path, answer.payload, _now())

    @workflow.update(name=wire.CANCEL)
    async def cancel(self, wish: Wish, request: Request | None = None) -> Taken:
        """Cancel one that is in its `finally` otherwise, or for which *request* says where that is done."""
        return await self._hear(wish=wish, request=request)

    @workflow.update(name=wire.ADOPT)
    async def adopt(self, checkpoint_id: str, facts: list[Fact], secrets: tuple[str, ...]) -> Taken:
        """Go forward by *facts*, which followed on *checkpoint_id* elsewhere."""
        if checkpoint_id != self.run.checkpoint_id or self.under_way:
            problem = f"run {self.run.run_id} has gone on here as well: it is at {self.run.checkpoint_id}"
            raise wire.make_failure(RunDiverged(problem=problem))
        self.start = replace(self.start, secrets=secrets)
        return await self._hear(adopted=facts, after=checkpoint_id)

    @workflow.signal(name=wire.REPORT)
    def report(self, path: str, attempt: int, done: Done) -> None:
        """Hear what an attempt came to whose worker was thought dead; nothing, if that is no longer asked."""
        action = find_asked(self.run, path, attempt)
        if action is not None and done.outcome is not None and wire.names_its_own(done):
            self._take_note(done)
            self._ask(messages=(_report(action, done.outcome),)).cancel()

    # What is decided

    def _ask(self, **question: Any) -> asyncio.Future[Taken]:
        answer: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
        self.asked.append(Question(answer, _now(), **question))
        return answer

    async def _hear(self, **question: Any) -> Taken:
        try:
            return await self._ask(**question)
        except CheckpointflowError as error:
            raise wire.make_failure(error) from None

    async def _decide(self) -> None:
        """Have everything that was asked decided, all in one go, and believe the record of it."""
        for question in list(self.asked):
            if question.wish is not None:
                await self._stop(question.wish)
        questions, key = [self._find_idle(question) for question in self.asked], workflow.info().run_id
        if self.printed:
            seal = Question(_nobody(), _now(), messages=(Seal(now=_now(), files=tuple(self.printed)),))
            questions, self.printed = [seal, *questions], []
        else:
            seal = None
        CASES[key] = Case(self.start, self.run, self.facts, questions, self.left, self.seals, self.is_foreign)
        try:
            decisions = await workflow.execute_local_activity(
                wire.DECIDE, key, result_type=list[Decision], start_to_close_timeout=DECIDING
            )
        finally:
            CASES.pop(key, None)
        self.asked = self.asked[len(questions) - (seal is not None) :]
        for question, decision in zip(questions, decisions, strict=True):
            self._believe(question, decision)

    def _find_idle(self, question: Question) -> Question:
        """*question* with the actions that nobody is at: found late, or two who ask would begin one twice."""
        request = question.request
        if request is None:
            return question
        resumes = question.wish is None and not request.answers and not request.retries
        idle = tuple(a for a in unanswered(self.run) if self._is_idle(a, resumes=resumes))
        for action in idle:
            task = self.under_way.pop(_key(action), None)
            if task is not None:
                task.cancel()
        return question._replace(idle=idle)

    def _believe(self, question: Question, decision: Decision) -> None:
        if decision.facts:
            self.run = apply(fork(self.run), decision.facts)
            self.facts += decision.facts
            self.seals |= find_sealed_files(decision.facts) | find_artifacts(decision.facts)
        if decision.refusal is None and question.request is not None:
            self.held -= {_key(action) for action in question.idle}
            self.is_foreign = False
        elif decision.refusal is None and question.adopted is not None:
            self.held, self.is_foreign = {_key(action) for action in pending(self.run)}, True
            self._stop_clock()
        if question.answer.done():
            return
        if decision.refusal is None:
            question.answer.set_result(Taken(revision=self.run.revision, replayed=decision.replayed))
        else:
            question.answer.set_exception(wire.revive(decision.refusal))

    # What is done

    def _take(self, action: Action) -> None:
        key = _key(action)
        if isinstance(action, Sleep) or key in self.under_way or key in self.held:
            return  # of pauses the clock tells
        if len(self.under_way) < MAX_UNDER_WAY:
            self.under_way[key] = asyncio.create_task(self._do(key, action))

    async def _do(self, key: Key, action: Effect) -> None:
        messages = await self._perform(action)
        self.under_way.pop(key, None)
        self._ask(messages=tuple(messages)).cancel()  # nobody waits for it

    async def _perform(self, action: Effect) -> list[Message]:
        deferred: list[Message] = [Defer(now=_now(), path=action.path, attempt=action.attempt)]
        lock = None if action.lock is None else await hold_lock(action.lock)
        if action.lock is not None and lock is None:
            return deferred
        try:
            done: Done = await self._have_performed(action)
        except ActivityError as error:
            if _has_begun(error):  # nobody knows what it came to
                return await self._lose(action)
            return []  # it is still to be done
        finally:
            if lock is not None:
                lock.cancel()
        self._take_note(done)
        if not done.has_begun:
            return []  # as above
        if done.why is not None:
            self.whys[action.path] = done.why
            return deferred
        if done.outcome is None:
            return [Recover(now=_now(), lost=(action,))]
        return [_report(action, done.outcome)]

    def _take_note(self, done: Done) -> None:
        """Have it sealed what a worker found printed and left behind."""
        self.left |= {file.path: file for file in done.left}
        self.printed += done.printed

    async def _have_performed(self, action: Effect) -> Done:
        """What a worker made of it. Raises ActivityError: none tells."""
        done: Done = await workflow.execute_activity(
            wire.PERFORM,
            await self._make_work(action),
            result_type=Done,
            summary=f"{action.path[-MAX_SUMMARY:]} (attempt {action.attempt})",
            task_queue=getattr(action, "runs_on", None),
            start_to_close_timeout=AGES,
            heartbeat_timeout=HEARTBEAT,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            retry_policy=RetryPolicy(maximum_attempts=1),  # whether it is tried again, the engine says
        )
        return done

    async def _make_work(self, action: Effect) -> Work:
        """What is sent to have *action* done, once it may be: what is much goes in several messages."""
        async with self.gate:
            if self.sent == MAX_AT_ONCE:
                await workflow.sleep(AT_ONCE)  # all that was asked for before is sent with it
                self.sent = 0
            self.sent += 1
        return Work(
            run_id=self.run.run_id,
            cwd=self.run.cwd,
            action=action,
            secrets=self.start.secrets,
        )

    async def _lose(self, action: Effect) -> list[Message]:
        """Nobody will hear of it any more; what it has printed is sealed as it lies there."""
        done: Done = await workflow.execute_activity(
            wire.SALVAGE,
            await self._make_work(action),
            result_type=Done,
            **KEEPING,
        )
        self._take_note(done)
        return [Recover(now=_now(), lost=(action,))]

    def _is_idle(self, action: Action, *, resumes: bool) -> bool:
        """Whether nobody is at *action*; of a pause that is for whoever *resumes* to say."""
        record = self.run.steps[action.path]
        on_hold = isinstance(record, Started) and record.on_hold is not None
        return on_hold or _key(action) in self.held or (resumes and isinstance(action, Sleep))

    def _set_clock(self) -> None:
        """Wake when the first pause is over, or the time of the first wait is up.

        One clock for all: each that is set lengthens the history, and has to be set again in a new one.
        """
        moments = [wait.wait.timeout_at for wait in waits(self.run).values() if wait.wait.timeout_at]
        first = min([*moments, *(pause.until for pause in self._list_pauses())], default="")
        has_woken = self.clock is not None and self.clock.done() and self.woke_at != self.run.revision
        if first != self.wakes_at or has_woken:
            self._stop_clock()
            self.wakes_at = first
            self.clock = asyncio.create_task(self._wake(first)) if first else None

    def _list_pauses(self) -> list[Sleep]:
        return [a for a in pending(self.run) if isinstance(a, Sleep) and _key(a) not in self.held]

    async def _wake(self, at: str) -> None:
        while _until(at):
            await workflow.sleep(_until(at))
        now, self.woke_at = _now(), self.run.revision
        over = (pause for pause in self._list_pauses() if pause.until <= now)
        slept = [Report(now=now, path=pause.path, attempt=pause.attempt, outcome=Slept()) for pause in over]
        self._ask(messages=(*slept, Recover(now=now, lost=()))).cancel()  # nobody waits for it

    def _stop_clock(self) -> None:
        if self.clock is not None:
            self.clock.cancel()
        self.clock, self.wakes_at = None, ""

    # How it ends

    async def _stop(self, wish: Wish | None = None) -> None:
        """End all that is under way, but what *wish* spares; none: the clock as well."""
        under_way = {key: t for key, t in self.under_way.items() if wish is None or not wish.spares(key[0])}
        before = len(self.asked)
        for task in under_way.values():
            task.cancel()
        await asyncio.gather(*under_way.values(), return_exceptions=True)
        for key in under_way:
            self.under_way.pop(key, None)
        if wish is None:
            self._stop_clock()
        # Of one that was cut short nothing is to be heard.
        self.asked[before:] = [q for q in self.asked[before:] if _find_lost(q).isdisjoint(under_way)]

    def _is_long(self) -> bool:
        info = workflow.info()
        # Then nothing new begins, so that it comes to rest.
        size, length = info.get_current_history_size(), info.get_current_history_length()
        self.is_draining = length > MAX_EVENTS or size > MAX_HISTORY_BYTES
        return info.is_continue_as_new_suggested() or self.is_draining

    async def _continue_as_new(self) -> None:
        """Go on with a new history; what happened so far lies on the shelf."""
        name = await workflow.execute_activity(
            wire.KEEP,
            args=[self.run.run_id, len(self.start.past), self.facts],
            result_type=str,
            **KEEPING,
        )
        await workflow.wait_condition(lambda: bool(self.asked) or workflow.all_handlers_finished())
        if self.asked:
            return  # something came meanwhile: it is taken first
        self._stop_clock()
        workflow.continue_as_new(
            Start(
                documents=self.start.documents,
                past=(*self.start.past, name),
                image=wire.picture(self.run),
                seals=self.seals,
                secrets=self.start.secrets,
                holds=bool(self.held),
                is_foreign=self.is_foreign,
                whys={path: why for path, why in self.whys.items() if path in self.run.active},
            )
        )

    def _tell_heading(self) -> None:
        """Tell whoever lists the runs, when that changes something."""
        heading = describe(self.run)
        if is_news(self.heading, heading):
            self.heading = heading
            workflow.upsert_memo({wire.HEAD: heading})


def _key(action: Action) -> Key:
    return action.path, action.attempt


def _report(action: Action, outcome: Outcome) -> Report:
    return Report(now=_now(), path=action.path, attempt=action.attempt, outcome=outcome)


def _find_lost(question: Question) -> set[Key]:
    """Of which actions *question* tells that nothing will be heard."""
    recoveries = (message for message in question.messages if isinstance(message, Recover))
    return {_key(action) for recovery in recoveries for action in recovery.lost}


def _has_begun(error: ActivityError) -> bool:
    """Whether the worker of which nothing is heard any more had begun the deed: it says so before."""
    timeout = error.cause
    return not isinstance(timeout, TimedOut) or wire.BEGUN in timeout.last_heartbeat_details


def _read_wish(reason: str | None) -> Wish:
    """What somebody wants who cancelled: as `cpf` says it, or anybody in Temporal, who gives a reason."""
    import msgspec

    try:
        return msgspec.json.decode(reason or "", type=Wish)
    except msgspec.MsgspecError:
        return Wish(reason or "cancelled in Temporal")


def _now() -> str:
    return format_time(workflow.now())


def _until(moment: str) -> timedelta:
    return max(timedelta(), datetime.fromisoformat(moment) - workflow.now())


def _nobody() -> asyncio.Future[Taken]:
    answer: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
    answer.cancel()
    return answer
