"""The loop of this machine: save, perform, report, until the run rests.

The law of it: an action is performed only after the checkpoint that names it is on disk, and the outcome
of one step and the start of the next are one write. So whatever kills this process, `pending` of the run
on disk is exactly what may or may not have happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from checkpointflow.drivers.documents import Checked, copy_of, own_program
from checkpointflow.drivers.perform import Executor, NotBegun
from checkpointflow.drivers.signals import Interrupts
from checkpointflow.engine.actions import Action, Outcome, StoredFile
from checkpointflow.engine.bodies import Program, unsound
from checkpointflow.engine.facts import Fact
from checkpointflow.engine.messages import (
    Begin,
    Cancel,
    Defer,
    Deliver,
    Interrupt,
    Message,
    Recover,
    Report,
    Retry,
    Seal,
)
from checkpointflow.engine.rules import advance, awaited
from checkpointflow.engine.run import Run, pending, unanswered
from checkpointflow.errors import Interrupted, LockConflict, StateCorrupt
from checkpointflow.store.clock import fresh_id, now
from checkpointflow.store.directory import DOCUMENT, STATE, RunDirectory, Store
from checkpointflow.store.files import digest
from checkpointflow.store.seals import left_behind, printed

CANCEL_SECONDS = 30.0
LISTENING_SECONDS = 0.2

Told = Callable[[Run], None]


def silent(_: Run) -> None:
    """Nobody looks on."""


def begin(
    store: Store, checked: Checked, *, source: Path, inputs: Any, told: Told = silent
) -> tuple[RunDirectory, Run]:
    """Start a run of a workflow that was read from *source*, and drive it until it rests.

    Raises InvalidInput (nothing is left behind), PersistenceError, Interrupted, LockConflict.
    """
    called = {name: digest(data) for name, data in checked.called.items()}
    message = Begin(
        now=now(),
        run_id=fresh_id(),
        inputs=inputs,
        digest=digest(checked.data),
        documents=called,
        source=str(source),
        cwd=str(Path.cwd()),
    )
    run, facts = advance(checked.program, None, message)
    directory = store.create(run.run_id)
    with directory.hold("run", message.now):
        directory.keep(DOCUMENT, checked.data)
        for name, data in checked.called.items():
            directory.keep(copy_of(called[name]), data)
        directory.commit(run, facts, None)
        return directory, drive(directory, checked.program, run, told)


def resume(
    directory: RunDirectory,
    *,
    event: str | None = None,
    payload: Any = None,
    step: str | None = None,
    lock_timeout: float = 0,
    told: Told = silent,
) -> Run:
    """Deliver an event, if there is one, and go on until the run rests.

    What was under way when its last driver died is taken up. Raises LockConflict, and for an event
    that does not fit EventMismatch, RunNotWaiting, InvalidEvent, WaitExpired or NoTransition, with the run
    untouched.
    """
    with directory.hold("resume", now(), lock_timeout):
        run = directory.load()
        messages: list[Message] = [Recover(now=now(), lost=unanswered(run))]
        if event is not None:
            path = awaited(run, event, step)
            messages.insert(0, Deliver(now=now(), path=path, payload=payload))
        return _go_on(directory, run, messages, told)


def retry(
    directory: RunDirectory, *, step: str | None = None, lock_timeout: float = 0, told: Told = silent
) -> Run:
    """Do again what failed or was interrupted, or the step at *step* and all that came after it; then go on.

    Raises LockConflict, NotRetryable.
    """
    with directory.hold("retry-step", now(), lock_timeout):
        run = directory.load()
        lost = Recover(now=now(), lost=unanswered(run))
        return _go_on(directory, run, [lost, Retry(now=now(), path=step)], told)


def cancel(directory: RunDirectory, reason: str, lock_timeout: float = CANCEL_SECONDS) -> Run:
    """Stop the run for good, also one that another process executes: that process is asked to.

    Raises LockConflict when it does not within *lock_timeout* seconds, RunNotWaiting when the run has
    ended already.
    """
    try:
        return _cancelled(directory, reason, 0)
    except LockConflict:
        directory.ask_to_cancel(reason)
        try:
            return _cancelled(directory, reason, lock_timeout)
        finally:
            directory.forget_cancel()


def _cancelled(directory: RunDirectory, reason: str, lock_timeout: float) -> Run:
    with directory.hold("cancel", now(), lock_timeout, ending_orphans=True):
        run = directory.load()
        cancelled = Cancel(now=now(), reason=reason)
        return tell(directory, _own(directory, run), run, *_salvaged(directory, run), cancelled)


def _own(directory: RunDirectory, run: Run) -> Program:
    """The workflow of *run*, which must be in a state that it can have come to."""
    program = own_program(directory, run.workflow)
    odd = unsound(program, run)
    if odd is not None:
        problem = (
            f"it is in a state that no run comes to, at {odd}; see: cpf verify --run-dir {directory.place}"
        )
        raise StateCorrupt(file=directory.place / STATE, problem=problem)
    return program


def _go_on(directory: RunDirectory, run: Run, messages: list[Message], told: Told) -> Run:
    program = _own(directory, run)
    salvaged = _salvaged(directory, run)
    reason = directory.asked_to_cancel()
    if reason is not None and run.outcome is None:  # whoever asked could not yet have the lock
        return tell(directory, program, run, *salvaged, Cancel(now=now(), reason=reason))
    return drive(directory, program, tell(directory, program, run, *salvaged, *messages), told)


def _salvaged(directory: RunDirectory, run: Run) -> list[Message]:
    """What the attempts left that no driver will hear of any more."""
    lost = pending(run)
    files = [file for action in lost for file in printed(directory, action)]
    return _sealing((*files, *left_behind(directory, run, []))) if lost else []


def _sealing(files: tuple[StoredFile, ...]) -> list[Message]:
    return [Seal(now=now(), files=files)] if files else []


def drive(directory: RunDirectory, program: Program, run: Run, told: Told) -> Run:
    """Have what is pending performed until the run rests, or until somebody asks to cancel it.

    Raises Interrupted when cpf is told to stop, LockConflict when all that is left to do needs a lock that
    somebody else holds, PersistenceError when the store cannot be written; the run can be resumed after
    each of them.
    """
    crew = Executor(directory, start_directory(run), run.run_id)
    not_begun: NotBegun | None = None
    with Interrupts() as interrupts:
        try:
            while True:
                told(run)
                for action in pending(run):
                    crew.take(action)
                if not crew.busy or run.outcome is not None:
                    break
                with interrupts.listening():
                    done = crew.next(LISTENING_SECONDS)
                reason = directory.asked_to_cancel()
                if reason is not None:
                    crew.stop()
                    cancelled = Cancel(now=now(), reason=reason)
                    run = tell(directory, program, run, *_sealing(crew.printed()), cancelled)
                elif done is not None:
                    action, outcome = done
                    if isinstance(outcome, NotBegun):
                        not_begun = outcome
                    heard = _heard(action, outcome)
                    run = tell(directory, program, run, *_sealing(crew.printed()), heard)
        except KeyboardInterrupt:
            for action, outcome in crew.finished():
                run = tell(directory, program, run, *_sealing(crew.printed()), _heard(action, outcome))
            if run.outcome is not None:  # the last thing that it did was to end
                return run
            stopped = crew.stop()
            waiting = [a for a in pending(run) if (a.path, a.attempt) not in stopped]
            deferred = [Defer(now=now(), path=a.path, attempt=a.attempt) for a in waiting]
            sealing = _sealing(crew.printed())
            run = tell(directory, program, run, *sealing, *deferred, Interrupt(now=now()))
            raise Interrupted(signal=interrupts.name).about(run, directory) from None
        finally:
            crew.stop()
    if not_begun is not None and run.outcome is None:
        raise not_begun.why.about(run, directory)
    return run


def _heard(action: Action, outcome: Outcome | NotBegun) -> Message:
    if isinstance(outcome, NotBegun):
        return Defer(now=now(), path=action.path, attempt=action.attempt)
    return Report(now=now(), path=action.path, attempt=action.attempt, outcome=outcome)


def tell(directory: RunDirectory, program: Program, run: Run, *messages: Message) -> Run:
    """The run after *messages*, on disk in one write, with all sealed that it leaves lying when it rests."""
    changed, facts = _after(program, run, messages)
    if facts and not pending(changed):
        sealing = _sealing(left_behind(directory, run, facts))
        if sealing:
            changed, facts = _after(program, run, (*sealing, *messages))
    if facts:
        directory.commit(changed, facts, run)
    return changed


def _after(program: Program, run: Run, messages: Iterable[Message]) -> tuple[Run, list[Fact]]:
    facts: list[Fact] = []
    for message in messages:
        run, new = advance(program, run, message)
        facts += new
    return run, facts


def start_directory(run: Run) -> Path:
    """Where commands run: the directory where the run was started, or this one if that is not here."""
    started = Path(run.cwd or ".")
    return started if started.is_dir() else Path.cwd()
