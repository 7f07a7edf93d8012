"""The loop of this machine: commit, perform, report, until the run rests.

The law of it: an action is performed only after the facts that name it are on disk, and the outcome of one
step and the start of the next are one commit. So whatever kills this process, `pending` of the run on disk
is exactly what may or may not have happened.

Runs may be driven in any thread, several at once; each is held by its lock, not by its thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from checkpointflow.documents.program import Program
from checkpointflow.drivers.outcomes import NotBegun
from checkpointflow.drivers.sources import CheckedWorkflow, read_own_copies
from checkpointflow.engine.actions import Action, Outcome, StoredFile
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
from checkpointflow.engine.rules import advance, find_wait
from checkpointflow.engine.run import Run, pending, unanswered
from checkpointflow.engine.soundness import find_unsound
from checkpointflow.errors import Interrupted, LockConflict, StateCorrupt
from checkpointflow.store.clock import make_id, now
from checkpointflow.store.directory import MAX_LAG_SECONDS, RunDirectory
from checkpointflow.store.files import digest
from checkpointflow.store.layout import DOCUMENT, STATE, document_name
from checkpointflow.store.locks import find_holders
from checkpointflow.store.seals import seal_artifacts, seal_logs
from checkpointflow.store.store import Store

if TYPE_CHECKING:
    from checkpointflow.drivers.perform import Clock, Ended, Executor, Perform
    from checkpointflow.drivers.signals import Interrupts

CANCEL_SECONDS = 30.0
LISTENING_SECONDS = 0.2  # between two looks for a wish to cancel: it is a file, of which nobody is told

Observe = Callable[[Run], None]
"""Is told of each new Run, once it is on disk."""


def ignore(_: Run) -> None:
    """Nobody looks on."""


class World(Struct, frozen=True):
    """What a driver finds around it, each of which a test or an embedder may give instead.

    perform: performs commands and HTTP calls (None: they are really run and made); now: the clock;
    observe: is told of each new Run in the thread that drives it, and what it raises ends the driving.
    """

    perform: Perform | None = None
    now: Clock = now
    observe: Observe = ignore


HERE = World()


def begin(
    store: Store, workflow: CheckedWorkflow, inputs: Any, world: World = HERE
) -> tuple[RunDirectory, Run]:
    """Start a run of *workflow*, and drive it until it rests.

    Raises InvalidInput (nothing is left behind), PersistenceError, Interrupted, LockConflict.
    """
    called = {name: digest(data) for name, data in workflow.called.items()}
    message = Begin(
        now=world.now(),
        run_id=make_id(),
        inputs=inputs,
        digest=digest(workflow.data),
        documents=called,
        source=None if workflow.source is None else str(workflow.source),
        cwd=str(Path.cwd()),
    )
    run, facts = advance(workflow.program, None, message)
    directory = store.create(run.run_id)
    with directory.hold("run", message.now):
        directory.keep(DOCUMENT, workflow.data)
        for name, data in workflow.called.items():
            directory.keep(document_name(called[name]), data)
        directory.commit(run, facts, None)
        world.observe(run)
        return directory, _Writer(directory, workflow.program, run, world).drive()


def resume(
    directory: RunDirectory,
    *,
    event: str | None = None,
    payload: Any = None,
    step: str | None = None,
    lock_timeout: float = 0,
    world: World = HERE,
) -> Run:
    """Deliver an event, if there is one, and go on until the run rests.

    What was under way when its last driver died is taken up. Raises LockConflict, and for an event
    that does not fit EventMismatch, RunNotWaiting, InvalidEvent, WaitExpired or NoTransition, with the run
    untouched.
    """
    with directory.hold("resume", world.now(), lock_timeout):
        run = directory.load()
        time = world.now()
        messages: list[Message] = [Recover(now=time, lost=unanswered(run))]
        if event is not None:
            path = find_wait(run, event, step)
            # First: every message also ends the waits whose time is up. After Recover an event that comes too
            # late would be told that nobody waits for it.
            messages.insert(0, Deliver(now=time, path=path, payload=payload))
        return _go_on(directory, run, messages, world)


def retry(
    directory: RunDirectory, *, step: str | None = None, lock_timeout: float = 0, world: World = HERE
) -> Run:
    """Do again what failed or was interrupted, or the step at *step* and all that came after it; then go on.

    Raises LockConflict, NotRetryable.
    """
    with directory.hold("retry-step", world.now(), lock_timeout):
        run = directory.load()
        lost = Recover(now=world.now(), lost=unanswered(run))
        return _go_on(directory, run, [lost, Retry(now=world.now(), path=step)], world)


def cancel(
    directory: RunDirectory, reason: str, lock_timeout: float = CANCEL_SECONDS, world: World = HERE
) -> Run:
    """Stop the run for good, also one that somebody else executes, who is asked to.

    Raises LockConflict when that does not happen within *lock_timeout* seconds, RunNotWaiting when the run
    has ended already.
    """
    try:
        return _cancel(directory, reason, 0, world)
    except LockConflict:
        directory.ask_to_cancel(reason)
        try:
            return _cancel(directory, reason, lock_timeout, world)
        finally:
            directory.forget_cancel()


def _cancel(directory: RunDirectory, reason: str, lock_timeout: float, world: World) -> Run:
    with directory.hold("cancel", world.now(), lock_timeout, end_orphans=_end_orphans):
        writer = _take_up(directory, directory.load(), world)
        return writer.tell(*writer.salvage(), Cancel(now=world.now(), reason=reason))


def _end_orphans(lock: Path) -> None:
    """End the commands that outlived their cpf: they still have the file *lock* open."""
    from checkpointflow.drivers.processes import end  # late: few commands need it

    end(None, lambda: find_holders(lock))


def _go_on(directory: RunDirectory, run: Run, messages: list[Message], world: World) -> Run:
    writer = _take_up(directory, run, world)
    salvaged = writer.salvage()
    reason = directory.find_cancel_reason()
    if reason is not None and run.outcome is None:  # whoever asked could not yet have the lock
        return writer.tell(*salvaged, Cancel(now=world.now(), reason=reason))
    writer.tell(*salvaged, *messages)
    return writer.drive()


def _take_up(directory: RunDirectory, run: Run, world: World) -> _Writer:
    """The writer of *run*, which must be in a state that it can have come to. Raises StateCorrupt."""
    program = read_own_copies(directory, run.workflow)
    odd = find_unsound(program, run)
    if odd is not None:
        problem = (
            f"it is in a state that no run comes to, at {odd}; see: cpf verify --run-dir {directory.place}"
        )
        raise StateCorrupt(file=directory.place / STATE, problem=problem)
    return _Writer(directory, program, run, world)


class _Writer:
    """The one who may change a run, since it holds its lock. run: as it is on disk."""

    def __init__(self, directory: RunDirectory, program: Program, run: Run, world: World) -> None:
        self.directory = directory
        self.program = program
        self.run = run
        self.world = world
        self._next_look = 0.0

    def tell(self, *messages: Message) -> Run:
        """The run after *messages*, on disk in one commit, all sealed that it leaves when it rests."""
        run, facts = self.run, list[Fact]()
        for message in messages:
            run, new = advance(self.program, run, message)
            facts += new
        if facts and not pending(run):
            # Last, since only now is it known that the run rests, and what was declared. At the time of the
            # last message, since by a later one a wait could be over, and a step start that nobody performs.
            lying = seal_artifacts(self.directory, self.run, facts)
            if lying:
                run, new = advance(self.program, run, Seal(now=messages[-1].now, files=lying))
                facts += new
        if facts:
            self.directory.commit(run, facts, self.run)
            self.run = run
            self.world.observe(run)
        return self.run

    def salvage(self) -> list[Message]:
        """What the attempts left that no driver will hear of any more."""
        lost = pending(self.run)
        files = [file for action in lost for file in seal_logs(self.directory, action)]
        return self._seal((*files, *seal_artifacts(self.directory, self.run, []))) if lost else []

    def drive(self) -> Run:
        """Have what is pending performed until the run rests, or until somebody asks to cancel it.

        Raises Interrupted when cpf is told to stop, LockConflict when all that is left to do needs a lock
        that somebody else holds, PersistenceError when the store cannot be written; the run can be resumed
        after each of them.
        """
        if not pending(self.run):
            return self.run
        from checkpointflow.drivers.perform import Executor  # late: nothing else that starts here is so heavy
        from checkpointflow.drivers.signals import Interrupts

        world, directory = self.world, self.directory
        executor = Executor(
            directory, _find_start_directory(self.run), self.run.run_id, world.perform, world.now
        )
        with Interrupts() as interrupts:
            try:
                not_begun = self._perform_all(executor, interrupts)
            except KeyboardInterrupt:
                if self._interrupt(executor).outcome is None:
                    name = interrupts.name or "KeyboardInterrupt"
                    raise Interrupted(signal=name).about(self.run, directory) from None
                return self.run
            finally:
                executor.stop()
        if not_begun is not None and self.run.outcome is None:
            raise not_begun.why.about(self.run, directory)
        return self.run

    def _perform_all(self, executor: Executor, interrupts: Interrupts) -> NotBegun | None:
        """Perform what is pending, and what follows, to the end; why the last that was not begun was not."""
        not_begun: NotBegun | None = None
        while True:
            for action in pending(self.run):
                executor.start(action)
            if not executor.is_busy or self.run.outcome is not None:
                return not_begun
            patience = MAX_LAG_SECONDS if self.directory.is_behind else LISTENING_SECONDS
            interrupts.listen(executor.wait, patience)
            reason = self._look_for_cancel()
            if reason is not None:
                executor.stop()
                cancelled = Cancel(now=self.world.now(), reason=reason)
                self.tell(*self._seal(executor.collect_logs()), cancelled)
            else:
                ended = executor.collect()
                if not ended:
                    self.directory.catch_up()
                not_begun = next((o for _, o in ended if isinstance(o, NotBegun)), not_begun)
                self._report(executor, ended)

    def _look_for_cancel(self) -> str | None:
        """The reason why the run is to stop, if it is; looked for no more often than people notice."""
        if monotonic() < self._next_look:
            return None
        self._next_look = monotonic() + LISTENING_SECONDS
        return self.directory.find_cancel_reason()

    def _interrupt(self, executor: Executor) -> Run:
        """Stop what is under way. The run is interrupted, unless the last thing that it did was to end."""
        self._report(executor, executor.collect())
        if self.run.outcome is not None:
            return self.run
        stopped = executor.stop()
        self._report(executor, stopped.ended)
        if self.run.outcome is not None:
            return self.run
        waiting = [a for a in pending(self.run) if (a.path, a.attempt) not in stopped.cut_short]
        time = self.world.now()
        deferred = [Defer(now=time, path=a.path, attempt=a.attempt) for a in waiting]
        return self.tell(*self._seal(executor.collect_logs()), *deferred, Interrupt(now=time))

    def _report(self, executor: Executor, all_ended: Iterable[Ended]) -> None:
        """Tell the run how they ended, in one commit."""
        # Those first that cannot end the run: what has not begun is no matter to one that has ended.
        in_turn = sorted(all_ended, key=lambda ended: not isinstance(ended[1], NotBegun))
        if in_turn:
            messages = [self._answer(*ended) for ended in in_turn]
            self.tell(*self._seal(executor.collect_logs()), *messages)

    def _answer(self, action: Action, outcome: Outcome | NotBegun) -> Report | Defer:
        time, path, attempt = self.world.now(), action.path, action.attempt
        if isinstance(outcome, NotBegun):
            return Defer(now=time, path=path, attempt=attempt)
        return Report(now=time, path=path, attempt=attempt, outcome=outcome)

    def _seal(self, files: tuple[StoredFile, ...]) -> list[Message]:
        return [Seal(now=self.world.now(), files=files)] if files else []


def _find_start_directory(run: Run) -> Path:
    """Where commands run: the directory where the run was started, or this one if that is not here."""
    started = Path(run.cwd or ".")
    return started if started.is_dir() else Path.cwd()
