"""`cpf tick`: what is due in a store, taken once: time-outs of waits, and pauses before another attempt."""

from __future__ import annotations

import click
from msgspec import Struct, to_builtins

from checkpointflow.cli.driving import Driving, find_driver
from checkpointflow.cli.envelope import Reply, wrap_result
from checkpointflow.cli.location import find_store
from checkpointflow.cli.options import base_dir_option
from checkpointflow.engine.actions import Sleep
from checkpointflow.engine.run import Run, Started
from checkpointflow.errors import CheckpointflowError, LockConflict
from checkpointflow.store.clock import now
from checkpointflow.store.listing import ListedRun, list_runs
from checkpointflow.store.store import Store


class Taken(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run that went on. status: where it stands now; problem: why it could not; warnings: of its hook."""

    run_id: str
    due: list[str]
    status: str | None = None
    problem: str | None = None
    warnings: tuple[str, ...] = ()


@click.command()
@base_dir_option
def command(base_dir: str | None) -> Reply:
    """Go on with every run of the store in which something is due: once, for cron and the like.

    Due are waits whose time is up, and pauses before another attempt that nobody sleeps through any more.
    Runs that somebody works on are left alone.
    """
    store = find_store(base_dir)
    taken = [_take(store, run.run_id, due) for run in list_runs(store) if (due := find_due(run, now()))]
    rows = [to_builtins(row) for row in taken if row is not None]
    exit_code = 30 if any(row.get("problem") for row in rows) else 0
    return wrap_result("tick", {"taken": rows}, exit_code=exit_code, store=store)


def find_due(listed: ListedRun, moment: str) -> list[str]:
    """The steps of a run at rest that something is due at."""
    head = listed.head
    if head is None or head.status not in ("waiting", "running"):
        return []
    overdue = [
        path
        for path, record in head.waits.items()
        if record.wait and _is_past(record.wait.timeout_at, moment)
    ]
    if overdue or listed.directory.seems_held() or head.status == "waiting":
        return overdue
    try:
        return _find_pauses(listed.directory.load(), moment)
    except CheckpointflowError:
        return []


def _find_pauses(run: Run, moment: str) -> list[str]:
    """The pauses that are over, where nothing else is under way: a step in doubt is not ours to judge."""
    under_way = {path: record for path, record in run.active.items() if isinstance(record, Started)}
    pauses = {path: r.action for path, r in under_way.items() if isinstance(r.action, Sleep)}
    if len(pauses) < len(under_way):
        return []
    return [path for path, pause in pauses.items() if pause.until <= moment]


def _take(store: Store, run_id: str, due: list[str]) -> Taken | None:
    """Go on with the run; nothing, if somebody else was quicker."""
    driving = Driving()
    try:
        directory = store.find(run_id)
        run = find_driver(directory).resume(directory, world=driving.follow(lambda _: directory))
    except LockConflict:
        return None
    except CheckpointflowError as error:
        return Taken(run_id=run_id, due=due, problem=str(error))
    if not driving.has_changed:
        return None
    told = driving.answer("tick", run, directory).envelope.warnings
    return Taken(run_id=run.run_id, due=due, status=run.status, warnings=told)


def _is_past(moment: str | None, now_: str) -> bool:
    return moment is not None and moment <= now_
