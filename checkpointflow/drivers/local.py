"""The loop of this machine: commit, perform, report, until the run rests.

The law of it: an action is performed only after the facts that name it are on disk, and the outcome of one
step and the start of the next are one commit. So whatever kills this process, `pending` of the run on disk
is exactly what may or may not have happened.

Runs may be driven in any thread, several at once; each is held by its lock, not by its thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from checkpointflow.documents.program import Program
from checkpointflow.drivers.outcomes import NotBegun
from checkpointflow.drivers.signals import Interrupts
from checkpointflow.drivers.sources import CheckedWorkflow, read_own_copies
from checkpointflow.engine.actions import Action, Outcome, StoredFile
from checkpointflow.engine.copying import copy_as
from checkpointflow.engine.facts import Fact
from checkpointflow.engine.messages import (
    Begin,
    Cancel,
    ChooseDirectory,
    Defer,
    Deliver,
    Interrupt,
    Message,
    Recover,
    Report,
    Retry,
    Seal,
)
from checkpointflow.engine.rules import advance
from checkpointflow.engine.run import Run, is_ending, pending, unanswered
from checkpointflow.engine.soundness import find_unsound
from checkpointflow.errors import (
    CheckpointflowError,
    DirectoryGone,
    Interrupted,
    InvalidInput,
    LockConflict,
    NotTrusted,
    PersistenceError,
    RunNotWaiting,
    StateCorrupt,
)
from checkpointflow.store.clock import make_id, name_user, now
from checkpointflow.store.directory import MAX_LAG_SECONDS, RunDirectory
from checkpointflow.store.files import digest, escape_name, is_text, name_directory
from checkpointflow.store.layout import DOCUMENT, STATE, document_name
from checkpointflow.store.locks import Wish
from checkpointflow.store.seals import seal_artifacts, seal_logs
from checkpointflow.store.store import Store

if TYPE_CHECKING:
    from checkpointflow.drivers.perform import Clock, Ended, Executor, Perform
    from checkpointflow.engine.answers import Answer

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


class Place(Struct, frozen=True):
    """Where commands run from now on, as whoever goes on with a run says, if it is to be said.

    cwd: this directory; trust: where the run says, although it came in an archive.
    """

    cwd: str | os.PathLike[str] | None = None
    trust: bool = False


WHERE_IT_WAS = Place()


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
    """Start a run of *workflow*, and drive it until it rests; not *drives*: whoever resumes it does.

    *run_id*: what it is called (None: an id made now); *key*: its run key, which must be free.

    Raises InvalidInput, DirectoryGone (nothing is left behind), PersistenceError, Interrupted, LockConflict.
    """
    called = {name: digest(data) for name, data in workflow.called.items()}
    if not is_text(str(workflow.source)):
        problem = "its name is not UTF-8, and could not be written down"
        raise PersistenceError(file=escape_name(str(workflow.source)), problem=problem)
    message = Begin(
        now=world.now(),
        run_id=run_id or make_id(),
        inputs=inputs,
        digest=digest(workflow.data),
        documents=called,
        source=None if workflow.source is None else str(workflow.source),
        cwd=name_directory(""),
        by=name_user(),
        environment=workflow.find_variables(),
        env=workflow.read_environment(),
        key=key,
    )
    run, facts = advance(workflow.program, None, message)
    for action in [] if drives else pending(run):
        run, more = advance(
            workflow.program, run, Defer(now=message.now, path=action.path, attempt=action.attempt)
        )
        facts += more
    with Interrupts() as interrupts:
        directory = store.create(run.run_id)
        with directory.hold("run", message.now):
            directory.keep(DOCUMENT, workflow.data)
            for name, data in workflow.called.items():
                directory.keep(document_name(called[name]), data)
            directory.commit(run, facts, None)
            world.observe(run)
            return directory, _Writer(directory, workflow.program, run, world).drive(interrupts)


class Delivered(Struct, frozen=True):
    """The run once answers were delivered; replayed: all of them had been given before."""

    run: Run
    replayed: bool


def resume(
    directory: RunDirectory,
    *,
    place: Place = WHERE_IT_WAS,
    lock_timeout: float = 0,
    world: World = HERE,
) -> Run:
    """Go on until the run rests; what was under way when its last driver died is taken up.

    With the run untouched raises LockConflict, DirectoryGone and NotTrusted (see `Place`).
    """
    return deliver(directory, (), place=place, lock_timeout=lock_timeout, world=world).run


def deliver(
    directory: RunDirectory,
    answers: Iterable[Answer],
    *,
    place: Place = WHERE_IT_WAS,
    lock_timeout: float = 0,
    world: World = HERE,
) -> Delivered:
    """Deliver all *answers* in one commit, or none, and go on as `resume` does.

    An answer that was given before is not delivered again. Raises what `resume` raises, and for one that does
    not fit EventMismatch, AnsweredOtherwise, RunNotWaiting, InvalidEvent, WaitExpired or NoTransition.
    """
    with directory.hold("resume", world.now(), lock_timeout), Interrupts() as interrupts:
        run, given = directory.load(), list(answers)
        time, by = world.now(), name_user() if given else None
        from checkpointflow.engine.answers import find_wait  # late: a run begins without an answer

        found = [(find_wait(run, answer, partial(directory.facts, run)), answer.payload) for answer in given]
        # First: every message also ends the waits whose time is up. After Recover an event that comes too
        # late would be told that nobody waits for it.
        events = [Deliver(now=time, path=path, payload=value, by=by) for path, value in found if path]
        messages: list[Message] = [*events, Recover(now=time, lost=unanswered(run))]
        run = _go_on(directory, run, messages, place, world, interrupts)
        return Delivered(run, bool(given) and not events)


def retry(
    directory: RunDirectory,
    *,
    step: str | None = None,
    place: Place = WHERE_IT_WAS,
    lock_timeout: float = 0,
    world: World = HERE,
) -> Run:
    """Do again what failed or was interrupted, or the step at *step* and all that came after it; then go on.

    Raises LockConflict, NotRetryable, DirectoryGone, NotTrusted.
    """
    with directory.hold("retry-step", world.now(), lock_timeout), Interrupts() as interrupts:
        run = directory.load()
        lost = Recover(now=world.now(), lost=unanswered(run))
        return _go_on(directory, run, [lost, Retry(now=world.now(), path=step)], place, world, interrupts)


def cancel(
    directory: RunDirectory,
    wish: Wish,
    place: Place = WHERE_IT_WAS,
    lock_timeout: float = CANCEL_SECONDS,
    world: World = HERE,
) -> Run:
    """Stop the run for good, also one that somebody else executes, who is asked to; then do its `finally`.

    If that takes longer than *lock_timeout* seconds where somebody else does it, the run is as it stands.
    Raises LockConflict when it does not begin by then, RunNotWaiting when the run has ended already, and
    where there is a `finally` to do what `resume` raises.
    """
    if not is_text(wish.reason):
        raise InvalidInput(problem="the reason is not UTF-8, and could not be written down")
    try:
        return _cancel(directory, wish, place, 0, world)
    except LockConflict:
        end = monotonic() + lock_timeout
        with directory.ask_to_cancel(wish, world.now(), lock_timeout):
            try:
                return _cancel(directory, wish, place, max(0, end - monotonic()), world)
            except (LockConflict, RunNotWaiting):
                if not is_ending(run := directory.load()):
                    raise
                return run


def _cancel(directory: RunDirectory, wish: Wish, place: Place, lock_timeout: float, world: World) -> Run:
    # It makes room on a full disk, if only because the run may be removed then.
    held = directory.hold("cancel", world.now(), lock_timeout, end_orphans=_end_orphans, may_lag=True)
    with held, Interrupts() as interrupts:
        writer = _take_up(directory, directory.load(), world)
        return writer.go_on([copy_as(wish, Cancel, now=world.now())], place, interrupts)


def _end_orphans(lock: Path) -> None:
    """End the commands that outlived their cpf: they still have the file *lock* open."""
    from checkpointflow.drivers.processes import end, find_users  # late: few commands need it

    end(find_users(lock))


def _go_on(
    directory: RunDirectory,
    run: Run,
    messages: list[Message],
    place: Place,
    world: World,
    interrupts: Interrupts,
) -> Run:
    if (wish := directory.find_wish()) and run.outcome is None:  # whoever asked could not yet have the lock
        messages = [copy_as(wish, Cancel, now=world.now())]
    return _take_up(directory, run, world).go_on(messages, place, interrupts)


def choose_directory(directory: RunDirectory, run: Run, place: Place, world: World) -> list[Message]:
    """What the run is to be told of where its commands run. Raises DirectoryGone, NotTrusted."""
    is_said = place.trust or place.cwd is not None
    if world.perform is not None and not is_said:
        return []  # nothing of ours runs in any directory
    if directory.is_foreign and not is_said:
        raise NotTrusted(run_id=run.run_id, cwd=run.cwd).about(run, directory)
    if place.cwd is not None:
        cwd = name_directory(place.cwd)
    elif run.cwd is not None and os.path.isabs(run.cwd) and os.path.isdir(run.cwd):
        cwd = run.cwd
    else:
        raise DirectoryGone(directory=run.cwd or "the place").about(run, directory)
    return [ChooseDirectory(now=world.now(), cwd=cwd)] if cwd != run.cwd or directory.is_foreign else []


def _take_up(directory: RunDirectory, run: Run, world: World) -> _Writer:
    """The writer of *run*, which must be in a state that it can have come to. Raises StateCorrupt."""
    program = read_own_copies(directory, run.workflow)
    odd = find_unsound(program, run)
    if odd is not None:
        problem = f"it is in a state that no run comes to, at {odd}"
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
        self._heard: Wish | None = None

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
            try:
                self.directory.commit(run, facts, self.run)
            except PersistenceError as error:
                raise error.about(self.run, self.directory) from None
            self.run = run
            self.world.observe(run)
        return self.run

    def go_on(self, messages: list[Message], place: Place, interrupts: Interrupts) -> Run:
        """Tell the run *messages*, and what was left of it, and drive it, where anything is to be done."""
        run, salvaged = self.run, self.salvage()
        if isinstance(messages[0], Cancel):
            run, _ = advance(self.program, run, messages[0])
            messages = [*messages, Recover(now=self.world.now(), lost=unanswered(self.run))]
        is_over = run.outcome is not None and not isinstance(messages[-1], Retry)
        chosen = [] if is_over else choose_directory(self.directory, run, place, self.world)
        # Chosen last: any message ends the waits whose time is up. In one commit, and nothing is done before.
        self.tell(*salvaged, *messages, *chosen)
        if chosen:
            self.directory.accept()
        return self.drive(interrupts)

    def salvage(self) -> list[Message]:
        """What the attempts left that no driver will hear of any more."""
        lost = pending(self.run)
        files = [file for action in lost for file in seal_logs(self.directory, action)]
        return self._seal((*files, *seal_artifacts(self.directory, self.run, []))) if lost else []

    def drive(self, interrupts: Interrupts) -> Run:
        """Have what is pending performed until the run rests, or until somebody asks to cancel it.

        Raises Interrupted when cpf is told to stop, LockConflict when all that is left to do needs a lock
        that somebody else holds, PersistenceError when the store cannot be written; the run can be resumed
        after each of them.
        """
        if not pending(self.run):
            return self.run
        try:
            return self._drive(interrupts)
        except CheckpointflowError as error:
            raise error.about(self.run, self.directory)  # noqa: B904, it is the same

    def _drive(self, interrupts: Interrupts) -> Run:
        from checkpointflow.drivers.perform import Executor  # late: nothing else that starts here is so heavy
        from checkpointflow.drivers.secrets import list_secrets

        world, directory = self.world, self.directory
        secrets = list_secrets(self.program)
        executor = Executor(directory, self.run.cwd or "", self.run.run_id, world.perform, world.now, secrets)
        try:
            not_begun = self._perform_all(executor, interrupts)
        except KeyboardInterrupt:
            if self._interrupt(executor).outcome is None:
                name = interrupts.name or "KeyboardInterrupt"
                raise Interrupted(signal=name) from None
            return self.run
        finally:
            executor.stop()
        if not_begun is not None and self.run.outcome is None:
            raise not_begun.why
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
            if (wish := self._look_for_wish()) is not None:
                stopped = executor.stop(wish.spares)
                self.tell(*self._seal(executor.collect_logs()), copy_as(wish, Cancel, now=self.world.now()))
                self._report(executor, stopped.ended)
            else:
                ended = executor.collect()
                if not ended:
                    self.directory.catch_up()
                not_begun = next((o for _, o in ended if isinstance(o, NotBegun)), not_begun)
                self._report(executor, ended)

    def _look_for_wish(self) -> Wish | None:
        """That the run is to be cancelled, told once; looked for no more often than people notice."""
        if monotonic() < self._next_look:
            return None
        self._next_look = monotonic() + LISTENING_SECONDS
        heard, self._heard = self._heard, self.directory.find_wish()
        return None if self._heard == heard else self._heard

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
