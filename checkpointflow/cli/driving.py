"""What the commands have in common that drive a run: who hears of it, and what is done once it rests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, cast

import click
from msgspec.structs import replace

from checkpointflow.cli.encoding import encode
from checkpointflow.cli.envelope import Reply, wrap_run
from checkpointflow.cli.location import PROGRESS, note_run
from checkpointflow.cli.output import is_read_as_text, is_watched
from checkpointflow.drivers.local import Observe, World, ignore
from checkpointflow.engine.run import Run
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.layout import CONFIG

if TYPE_CHECKING:
    from checkpointflow.drivers.local import Delivered, Place
    from checkpointflow.drivers.sources import CheckedWorkflow
    from checkpointflow.engine.answers import Answer
    from checkpointflow.store.locks import Wish
    from checkpointflow.store.store import Store

F = TypeVar("F", bound=Callable[..., Any])
Form = Literal["auto", "plain", "none"]


class Driver(Protocol):
    """Who hosts runs: `drivers.local` those of this machine, `drivers.temporal.hosting` a cluster's."""

    def begin(
        self, store: Store, workflow: CheckedWorkflow, inputs: Any, world: World, *, drives: bool
    ) -> tuple[RunDirectory, Run]:
        """Start a run, and drive or follow it until it rests."""

    def deliver(
        self,
        directory: RunDirectory,
        answers: Iterable[Answer],
        *,
        place: Place = ...,
        lock_timeout: float = ...,
        world: World = ...,
    ) -> Delivered:
        """Deliver answers, all or none, and go on until the run rests."""

    def resume(
        self, directory: RunDirectory, *, place: Place = ..., lock_timeout: float = ..., world: World = ...
    ) -> Run:
        """Go on until the run rests."""

    def retry(
        self,
        directory: RunDirectory,
        *,
        step: str | None = ...,
        place: Place = ...,
        lock_timeout: float = ...,
        world: World = ...,
    ) -> Run:
        """Do again what failed, and go on."""

    def cancel(
        self, directory: RunDirectory, wish: Wish, place: Place, lock_timeout: float, world: World
    ) -> Run:
        """Stop a run for good."""

    def choose_directory(self, directory: RunDirectory, run: Run, place: Place, world: World) -> object:
        """Raise what going on would be refused for, as far as it is about where commands run."""


def find_driver(place: Store | RunDirectory) -> Driver:
    """Who hosts the runs of a store, or a run."""
    if place.runs_here:
        from checkpointflow.drivers import local

        return local
    from checkpointflow.drivers.temporal import hosting

    return hosting


class Driving:
    """One command that drives one run. ok_when: the states that count as success, besides completed.

    has_changed: whether the run has gone on; has_offered: whoever looks on has seen what it asks.
    """

    def __init__(self, form: Form = "none", *, verbose: bool = False, ok_when: tuple[str, ...] = ()) -> None:
        self._form, self._verbose, self._ok_when = form, verbose, ok_when
        self.has_changed = False
        self.has_offered = False

    def follow(self, find: Callable[[Run], RunDirectory], *, tells: bool = True) -> World:
        """What the driver is to have around it, of a run whose directory *find* gives.

        tells: whoever looks on hears of each thing that happens.
        """
        tell = self._choose_observer(find) if tells else ignore

        def observe(run: Run) -> None:
            if not self.has_changed:
                note_run(find(run))
            self.has_changed = True
            tell(run)

        return World(observe=observe)

    def _choose_observer(self, find: Callable[[Run], RunDirectory]) -> Observe:
        """What tells of a run's progress: to a person, or to nobody."""
        if not tells_progress(self._form, verbose=self._verbose):
            return ignore
        from checkpointflow.cli.progress import Progress  # late: few who run something in a pipe look on
        from checkpointflow.cli.screen import find_screen

        is_plain = self._form == "plain" or os.environ.get("TERM") == "dumb" or bool(os.environ.get("CI"))
        is_live = is_watched() and not is_plain
        progress = Progress(
            find_screen(sys.stderr),
            is_live=is_live,
            ends_in_text=is_read_as_text(),
            find=find if self._verbose else None,
        )
        click.get_current_context().obj[PROGRESS] = progress
        return progress

    def answer(
        self,
        command: str,
        run: Run,
        directory: RunDirectory,
        *,
        warnings: tuple[str, ...] = (),
        replayed: bool = False,
    ) -> Reply:
        """Where the run stands; whoever wants to hear of that is notified, if it came to rest just now."""
        exit_code = 0 if run.status in self._ok_when else None
        answer = wrap_run(command, run, directory, warnings=warnings, exit_code=exit_code, replayed=replayed)
        answer = replace(answer, is_asked=self.has_offered)
        base = directory.base
        if not self.has_changed or run.status == "running" or base is None:
            return answer
        if not os.path.lexists(base / CONFIG):
            return answer
        from checkpointflow.cli.hooks import notify  # late: few stores have one

        told = notify(base, run.status, encode(answer.envelope) + b"\n")
        return (
            replace(answer, envelope=replace(answer.envelope, warnings=warnings + told)) if told else answer
        )


def tells_progress(form: Form, *, verbose: bool = False) -> bool:
    """Whether anybody looks on."""
    return form == "plain" or (form == "auto" and (is_watched() or verbose))


progress_option = click.option(
    "--progress",
    type=click.Choice(("auto", "plain", "none")),
    default="auto",
    help="How to tell what is going on: plain is a line for each thing, none is nothing.",
)


def drive_options(command: F) -> F:
    """`--progress`, `--verbose`, `--ok-when`: the command is given a `driving` that heeds them."""

    @wraps(command)
    def drive(progress: Form, verbose: bool, ok_when: tuple[str, ...], **given: Any) -> Any:
        return command(driving=Driving(progress, verbose=verbose, ok_when=ok_when), **given)

    decorated = cast(F, drive)
    for option in (
        click.option(
            "--ok-when",
            type=click.Choice(("waiting", "failed", "cancelled")),
            multiple=True,
            help="End with 0 for this state, too, as a CI job may want for a run that waits.",
        ),
        click.option("--verbose", "-v", is_flag=True, help="Show what the steps print, too."),
        progress_option,
    ):
        decorated = option(decorated)
    return decorated
