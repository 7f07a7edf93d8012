"""What the server does to runs, by the commands that people use.

What only looks, or begins a run that another cpf drives, is done in this process. What drives a run is done
by a cpf of its own, which the end of this one does not touch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from tempfile import TemporaryFile
from time import monotonic
from typing import Any, NamedTuple, TypeVar

import click
import msgspec
from msgspec import UNSET, UnsetType

from checkpointflow.cli import group
from checkpointflow.cli.detach import drive_apart, is_driven_apart, start_apart
from checkpointflow.cli.envelope import Envelope
from checkpointflow.cli.location import STORE
from checkpointflow.drivers.signals import PROCESS
from checkpointflow.engine.run import Run, Started, waits
from checkpointflow.errors import UsageError
from checkpointflow.mcp.host import Host
from checkpointflow.mcp.protocol import Refused
from checkpointflow.store.clock import now
from checkpointflow.store.directory import RunDirectory

FIRST_PAUSE, MAX_PAUSE = 0.02, 0.25
LOCK = "--lock-timeout=5"
MAX_TRIES = 3

T = TypeVar("T")
Steps = Generator[float, None, T]
"""What takes its time: yields how many seconds it would wait, and returns."""

Tick = Callable[[Run], None]
"""Is told of the run that somebody waits for, as it is now."""


class Sight(NamedTuple):
    """A run, and whether before it was read a cpf was there that was started for it, or any that holds it.

    is_halted: it goes on only once somebody says so.
    """

    run: Run
    is_driven_apart: bool
    is_held: bool
    is_halted: bool

    @property
    def is_attended(self) -> bool:
        """Whether somebody works on the run, or is about to."""
        return self.is_driven_apart or self.is_held

    @property
    def is_on_its_way(self) -> bool:
        """Whether the run will change by itself, or needs nothing but somebody who drives it.

        One that waits does where an answer is being delivered: its question must not be asked again. One that
        somebody interrupted does not, before they say so.
        """
        if self.run.status == "running":
            return self.is_attended or not self.is_halted
        return self.run.status == "waiting" and (self.is_driven_apart or is_overdue(self.run))


def look_at(directory: RunDirectory) -> Sight:
    """The run as it is now.

    Its driver is looked for first: one that lets go of it has written before where it stands. The other way
    round, a run that was just interrupted would seem to have lost its driver, and be taken up again.
    """
    is_apart, is_held = is_driven_apart(directory), directory.seems_held()
    run = directory.load()
    return Sight(run, is_apart, is_held, is_halted(directory, run))


def look_after(host: Host, directory: RunDirectory, sight: Sight) -> None:
    """Have the run, which is on its way, taken up if nobody works on it; a few times, if it stays as it is.

    Its driver was killed, or a wait's time is up. Of a cluster the workers see to that.
    """
    run = sight.run
    if sight.is_attended or not directory.runs_here:
        return
    revision, tries = host.taken_up.get(run.run_id, (run.revision, 0))
    tries = tries if revision == run.revision else 0
    if tries < MAX_TRIES:
        host.taken_up[run.run_id] = run.revision, tries + 1
        drive_apart(directory, None, allow_shared=directory.allow_shared)


def is_overdue(run: Run) -> bool:
    """Whether the time of a wait is up, which nobody has taken yet."""
    moment = now()
    return any((record.wait.timeout_at or moment + "_") <= moment for record in waits(run).values())


def is_halted(directory: RunDirectory, run: Run) -> bool:
    """Whether somebody stopped its driver, and has not gone on yet; or a cluster waits for them to say so."""
    is_interrupted = any(isinstance(r, Started) and r.on_hold == "interrupted" for r in run.active.values())
    return is_interrupted or directory.is_halted


def ask(host: Host, command: str, *arguments: str) -> Envelope:
    """What *command* answers, done in this process. Raises CheckpointflowError."""
    store = host.store
    shared = ["--allow-shared"] if store.allow_shared else []
    place = store.reached_by or ("--on", "")  # whatever the environment says
    line = [*place, command, *arguments, f"--base-dir={store.base}", *shared, "--json"]
    found = {} if store.runs_here else {STORE: store}  # else it would connect anew
    try:
        envelope: Envelope = group.main(line, prog_name="cpf", standalone_mode=False, obj=found).envelope
    except click.UsageError as error:
        raise UsageError(problem=error.format_message()) from None
    finally:
        PROCESS.is_listening = False  # the command listens to signals from its start on; the server does not
    return envelope


def have_done(
    directory: RunDirectory,
    command: str,
    *arguments: str,
    until: Callable[[Run], bool] = lambda _: False,
    payload: Any | UnsetType = UNSET,
) -> Steps[None]:
    """Have a cpf of its own do *command*; wait until it has ended, or what it does shows in the run.

    payload: what it finds as JSON on standard input. Raises Refused, PersistenceError.
    """
    with TemporaryFile() as told, TemporaryFile() as given:
        if payload is not UNSET:
            given.write(msgspec.json.encode(payload))
            given.seek(0)
        shared = ["--allow-shared"] if directory.allow_shared else []
        process = start_apart(directory, command, *arguments, *shared, stdin=given, stdout=told)
        try:
            for pause in list_pauses():
                if process.poll() is not None:
                    break
                if until(directory.load()):
                    return
                yield pause
        finally:
            process.returncode = process.returncode or 0  # it goes on by itself
        told.seek(0)
        _refuse(told.read())


def _refuse(answer: bytes) -> None:
    """Raises Refused if *answer* is an envelope that tells why a request was refused, or is none."""
    try:
        envelope = msgspec.json.decode(answer)
    except msgspec.MsgspecError:
        raise Refused({"code": "ERR_INTERNAL", "message": "cpf gave no answer"}) from None
    if envelope["status"] == "error":
        error = envelope["error"]
        # At its end stands a line to go on with in a shell, where the model would answer for the person.
        raise Refused({**error, "message": error["message"].partition("; go on with: ")[0]})


def settle(host: Host, directory: RunDirectory, tick: Tick, seconds: float) -> Steps[Sight]:
    """The run once it rests, or as it is after so many *seconds*."""
    end = monotonic() + seconds
    for pause in list_pauses():
        sight = look_at(directory)
        if not sight.is_on_its_way or monotonic() >= end:
            break
        look_after(host, directory, sight)
        tick(sight.run)
        yield pause
    return sight


def list_pauses() -> Iterator[float]:
    """How many seconds to wait before each new look: ever longer, for what takes long may take longer."""
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * 1.3, MAX_PAUSE)
