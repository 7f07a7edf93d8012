"""`cpf worker`: a process that works for the runs of a cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from checkpointflow.cli.envelope import Reply, wrap_result
from checkpointflow.cli.location import find_store
from checkpointflow.cli.options import Seconds
from checkpointflow.diagnostics import join_words
from checkpointflow.errors import FileMissing, UsageError

if TYPE_CHECKING:
    from checkpointflow.drivers.temporal.activities import Terms
    from checkpointflow.drivers.temporal.address import Address

GRACE_SECONDS = 30.0


@click.command()
@click.option(
    "--jobs",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="How many steps of each queue at once (default: one a core).",
)
@click.option(
    "--queue",
    "queues",
    multiple=True,
    metavar="QUEUE",
    help="Work for this queue, which steps name by `runs_on`; may be given again (default: that of --on).",
)
@click.option(
    "--cwd", metavar="DIR", help="Where commands run (default: where the run was started, if that is here)."
)
@click.option(
    "--grace",
    type=Seconds(0, 86_400),
    metavar="SECONDS",
    default=GRACE_SECONDS,
    show_default=True,
    help="When told to stop: how long steps may take to end.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="FILE|DIGEST",
    help="Run nothing but this document and what it calls; may be given again. Steps of others fail.",
)
def command(
    jobs: int | None, queues: tuple[str, ...], cwd: str | None, grace: float, only: tuple[str, ...]
) -> Reply:
    """Work for the runs of the cluster that --on names, until told to stop (SIGTERM, Ctrl-C).

    It decides what follows, and runs commands, as the user that it is started as, with its environment: the
    secrets of steps are looked up there. Whoever can start runs on the cluster can have it run anything,
    unless --only says what it may.
    """
    store = find_store(None)
    if store.runs_here:
        problem = "name the cluster to work for: cpf --on temporal://HOST:PORT/NAMESPACE worker"
        raise UsageError(problem=problem)
    import asyncio

    from checkpointflow.drivers.temporal.activities import Terms
    from checkpointflow.drivers.temporal.hosted import HostedStore
    from checkpointflow.drivers.temporal.worker import work

    assert isinstance(store, HostedStore)
    address, shelf = store.cluster.address, store.cluster.shelf
    place = None if cwd is None else _find_directory(cwd)
    allowed = frozenset(digest for name in only for digest in _list_digests(name)) if only else None
    jobs = jobs or os.cpu_count() or 1
    terms = Terms(jobs=jobs, grace_seconds=grace, cwd=place, allowed=allowed, step_lock=_open_step_lock())
    queues = queues or (address.queue,)
    told = _describe(address, queues, terms, only)
    asyncio.run(work(address, shelf, queues, terms, lambda: click.echo(f"cpf: {told}", err=True)))
    return wrap_result("worker", {"worked_for": str(address), "queues": list(queues)})


def _describe(address: Address, queues: tuple[str, ...], terms: Terms, only: tuple[str, ...]) -> str:
    """What it works for, and what it would run, for whoever starts it."""
    what = f"only {join_words(only, 'and')}" if only else "whatever document a run brings along"
    where = "the directory where each was started" if terms.cwd is None else str(terms.cwd)
    named, each = ("queue", "") if len(queues) == 1 else ("queues", "of each ")
    user = os.environ.get("USER") or os.getuid()
    return (
        f"works for {address}, {named} {join_words(queues, 'and')}; runs {what}, "
        f"up to {terms.jobs} steps {each}at once, in {where}, as the user {user}"
    )


def _find_directory(cwd: str) -> Path:
    place = Path(cwd).absolute()
    if not place.is_dir():
        raise FileMissing(file=place, problem="it is no directory here")
    return place


def _list_digests(name: str) -> list[str]:
    """The digests that *name* allows: of a file and all that it calls, or itself."""
    from checkpointflow.store.layout import is_digest

    if is_digest(name.lower()):
        return [name.lower()]
    from checkpointflow.drivers.sources import read_workflow
    from checkpointflow.store.files import digest

    checked = read_workflow(Path(name), to_run=True)
    return [digest(data) for data in (checked.data, *checked.called.values())]


def _open_step_lock() -> int:
    """A descriptor that commands inherit as they do from a local cpf, so that scripts may rely on it."""
    return os.open(os.devnull, os.O_RDONLY)
