"""Workflows from Python: what `cpf` does, in the process of somebody else.

    store = Store("runs")
    handle = store.start("workflow.yaml", {"page": "42"}, perform=publish)
    while handle.waits:
        handle.deliver("approval", {"decision": "approve"})
    print(handle.run.outcome)

A call does its work in the thread that calls, holds the run's lock only meanwhile, and returns when the run
rests: it has ended, or it waits. Between two calls nothing of the run is kept in memory: any process may go
on with it, `cpf` too. Runs may be driven in any thread, several at once; of the main thread, SIGINT, SIGTERM
and SIGHUP are taken over meanwhile, and raise Interrupted with the run safe on disk.

A refusal is a CheckpointflowError: its class says which (`checkpointflow.errors` has them all), `code` is
that of an envelope, and the run is as it was. A step that fails raises nothing: the run says so.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from checkpointflow.documents.model import Document
from checkpointflow.drivers import local
from checkpointflow.drivers.local import Observe, Place, World
from checkpointflow.drivers.outcomes import fail
from checkpointflow.drivers.perform import Perform
from checkpointflow.drivers.sources import CheckedWorkflow, read_bytes, read_workflow
from checkpointflow.engine.actions import CallHttp, Failure, Outcome, RunCommand, Success
from checkpointflow.engine.answers import Answer
from checkpointflow.engine.facts import Fact, Wait
from checkpointflow.engine.run import Run, waits
from checkpointflow.errors import (
    CheckpointflowError,
    InvalidEvent,
    InvalidInput,
    InvalidWorkflow,
    LockConflict,
)
from checkpointflow.json_text import copy_json
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import locate
from checkpointflow.store.listing import list_runs
from checkpointflow.store.locks import Wish
from checkpointflow.store.store import Store as RunDirectories
from checkpointflow.store.verify import Verified, require_sound

__all__ = [
    "CallHttp",
    "CheckedWorkflow",
    "CheckpointflowError",
    "Failure",
    "InvalidWorkflow",
    "LockConflict",
    "Run",
    "RunCommand",
    "RunHandle",
    "Store",
    "Success",
    "Wait",
    "fail",
    "load",
]

# Two threads that use a recursive type of msgspec for the first time, at once, crash the interpreter.
# Imports are done by one thread while the others wait, so it is here that each type is used first.
for _type in (Document, Run, Fact, Outcome):
    msgspec.json.Decoder(_type)

Source = str | os.PathLike[str] | bytes | CheckedWorkflow
"""A workflow: the file that it lies in, the bytes of its document, or what `load` gave."""


def load(document: str | os.PathLike[str] | bytes) -> CheckedWorkflow:
    """The workflow in a file (text is its path), or in bytes, and all that it calls, checked.

    What it calls is looked for beside the file, and for bytes in the current directory. `program.workflow`
    is what it says, `warnings` what is doubtful about it. It may be started any number of times.

    Raises InvalidWorkflow (`problems`: all that is wrong, each with file, line, column, message and hint) and
    FileMissing.
    """
    return _read(document, to_run=False)


class Store:
    """The runs below one base directory, which is made by the first; `cpf --base-dir` knows them too.

    allow_shared: use it even if others may write there, who could change what runs do.
    """

    def __init__(self, base: str | os.PathLike[str], *, allow_shared: bool = False) -> None:
        self._directories = RunDirectories(locate(base), allow_shared=allow_shared)

    def start(
        self,
        workflow: Source,
        inputs: Any = None,
        *,
        perform: Perform | None = None,
        observe: Observe | None = None,
    ) -> RunHandle:
        """Start a run of *workflow* with *inputs* (a JSON value; none is {}), and follow it until it rests.

        perform: called with each RunCommand and CallHttp in place of doing it, in a thread of its own,
        several at once where steps are; returns a Success or a Failure (see `fail`), outputs being JSON
        values. It cannot be cut short. What it raises is raised here, and as nobody knows then whether the
        action was done, the run is as after a crash: `resume` asks, or tries again where the step says that
        it may. An action of a step with secrets names them by marks, and holds none.

        observe: called with each new Run once it is on disk, the first at once, in this thread; what it
        raises ends the driving, not the run.

        Raises InvalidWorkflow, FileMissing, InvalidInput (then there is no run), PersistenceError,
        LockConflict (all that is left to do needs a lock that another run holds), Interrupted.
        """
        checked = workflow if isinstance(workflow, CheckedWorkflow) else _read(workflow, to_run=True)
        given = _copy({} if inputs is None else inputs, "the inputs", InvalidInput)
        world = _surround(perform, observe)
        directory, _ = local.begin(self._directories, checked, given, world)
        return RunHandle(directory.place, world, allow_shared=self._directories.allow_shared)

    def open(
        self, run_id: str, *, perform: Perform | None = None, observe: Observe | None = None
    ) -> RunHandle:
        """The run whose id is or begins with *run_id*; who is given goes on with it, as for `start`.

        Raises RunNotFound.
        """
        place, shared = self._directories.find(run_id).place, self._directories.allow_shared
        return RunHandle(place, _surround(perform, observe), allow_shared=shared)

    def list_runs(self) -> list[str]:
        """The ids of all runs, the newest first."""
        return [row.run_id for row in list_runs(self._directories)]


class RunHandle:
    """A run of a store. It holds neither lock nor state: each call reads what is on disk.

    directory: where all of the run lies, what its steps printed and left included.
    """

    def __init__(self, directory: Path, world: World, *, allow_shared: bool = False) -> None:
        self.directory = directory
        self._world = world
        self._allow_shared = allow_shared

    @property
    def run_id(self) -> str:
        """The run's id: 26 letters and digits, which sort by time."""
        return self.directory.name

    @property
    def run(self) -> Run:
        """The run as it is on disk now: `status`, `outcome`, `inputs`, `steps` by path, and so on.

        Not to be changed. Raises PersistenceError, StateCorrupt, and RunNotFound once it is deleted.
        """
        return self._open().load()

    @property
    def waits(self) -> dict[str, Wait]:
        """What the run waits for, by the path of the step that does, the oldest first; see `deliver`."""
        return {path: record.wait for path, record in waits(self.run).items()}

    def deliver(
        self,
        event: str,
        payload: Any,
        step: str | None = None,
        *,
        attempt: int | None = None,
        cwd: str | os.PathLike[str] | None = None,
        trust: bool = False,
        lock_timeout: float = 0,
    ) -> Run:
        """Deliver *event*, whose *payload* must fit the wait's `input_schema`, and go on; the run at rest.

        step: the path of the wait, if several wait for that event; attempt: the one whose outcome is asked
        for. The same answer again counts once: without *step* one that equals the last to its event is taken
        for that one, and the run only goes on. cwd: the directory where commands run from
        now on; trust: they run where the run says, although it came in an archive. lock_timeout: how many
        seconds to wait for the run while somebody else works on it.

        Raises LockConflict, and with the run as it was RunNotWaiting, EventMismatch, AnsweredOtherwise,
        InvalidEvent, WaitExpired, NoTransition, DirectoryGone or NotTrusted; and what `start` raises of
        going on.
        """
        given = _copy(payload, "the payload", InvalidEvent)
        answer = Answer(event=event, payload=given, step=step, attempt=attempt)
        place = Place(cwd, trust)
        return local.deliver(
            self._open(), [answer], place=place, lock_timeout=lock_timeout, world=self._world
        ).run

    def resume(
        self, *, cwd: str | os.PathLike[str] | None = None, trust: bool = False, lock_timeout: float = 0
    ) -> Run:
        """Go on where nothing is needed from outside: after a crash, or when a wait's time is up.

        Does nothing to a run that only waits, or has ended. *cwd* and *trust* are those of `deliver`. Raises
        LockConflict, DirectoryGone, NotTrusted, and what `start` raises.
        """
        place = Place(cwd, trust)
        return local.resume(self._open(), place=place, lock_timeout=lock_timeout, world=self._world)

    def retry(
        self,
        step: str | None = None,
        *,
        cwd: str | os.PathLike[str] | None = None,
        trust: bool = False,
        lock_timeout: float = 0,
    ) -> Run:
        """Do what failed or was interrupted again, or the step at *step* and all that came after; go on.

        *cwd* and *trust* are those of `deliver`. Raises LockConflict, NotRetryable, DirectoryGone,
        NotTrusted, and what `start` raises of going on.
        """
        place = Place(cwd, trust)
        return local.retry(self._open(), step=step, place=place, lock_timeout=lock_timeout, world=self._world)

    def cancel(
        self,
        reason: str,
        *,
        skip_finally: bool = False,
        cwd: str | os.PathLike[str] | None = None,
        trust: bool = False,
        lock_timeout: float = local.CANCEL_SECONDS,
    ) -> Run:
        """Stop the run for good, and do its `finally`, unless *skip_finally*.

        Whoever works on it, here or in another process, is asked to. Where their `finally` takes longer than
        *lock_timeout* seconds, the run is as it stands then. *cwd* and *trust* are those of `deliver`. Raises
        LockConflict when it does not begin by then, RunNotWaiting when the run has ended already, and for a
        `finally` to do what `resume` raises.
        """
        wish, place = Wish(reason, skip_finally), Place(cwd, trust)
        return local.cancel(self._open(), wish, place, lock_timeout, self._world)

    def verify(self) -> Verified:
        """Check the history, the snapshot and every digest; how many `facts` and files there were.

        Raises StateCorrupt, with all that is wrong in `details`.
        """
        return require_sound(self._open())

    def _open(self) -> RunDirectory:
        # A new one for each call: it remembers where its history ends, which somebody else may have moved.
        return RunDirectory.at(self.directory, allow_shared=self._allow_shared)


def _read(document: str | os.PathLike[str] | bytes, *, to_run: bool) -> CheckedWorkflow:
    if isinstance(document, bytes):
        return read_bytes(document, to_run=to_run)
    return read_workflow(Path(document), to_run=to_run)


def _copy(value: Any, what: str, refusal: type[CheckpointflowError]) -> Any:
    """A copy that nobody can change any more. Raises *refusal* for what is no JSON value."""
    try:
        return copy_json(value)
    except ValueError as error:
        raise refusal(problem=f"{what}: {error}") from None


def _surround(perform: Perform | None, observe: Observe | None) -> World:
    return World(perform=perform, observe=local.ignore if observe is None else observe)
