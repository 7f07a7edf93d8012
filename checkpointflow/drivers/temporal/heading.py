"""As much of a run as a list tells. It stands in the memo of its workflow, which a list brings along."""

from __future__ import annotations

from checkpointflow.engine.facts import Breakdown, Cancellation
from checkpointflow.engine.path import ROOT, finally_path
from checkpointflow.engine.run import Run, RunHead, waits
from checkpointflow.store.listing import Head, HeadOutcome, HeadRecord
from checkpointflow.store.snapshot import STATE_VERSION


def describe(run: Run) -> Head:
    """The head of *run*, without its inputs, which may be long and are not listed."""
    told = {name: getattr(run, name) for name in RunHead.__struct_fields__} | {"inputs": {}}
    open_ = {} if run.outcome is not None else waits(run)
    steps = {path: HeadRecord(started_at=w.started_at, wait=w.wait) for path, w in open_.items()}
    return Head(
        **told,
        schema_version=STATE_VERSION,
        outcome=_describe_end(run),
        cursors={body: run.cursors[body] for body in (ROOT, finally_path(ROOT)) if body in run.cursors},
        steps=steps,
    )


def _describe_end(run: Run) -> HeadOutcome | None:
    match run.outcome:
        case None:
            return None
        case Breakdown(error=error):
            return HeadOutcome(error=error)
        case Cancellation(reason=reason):
            return HeadOutcome(reason=reason)
        case _:
            return HeadOutcome()


def is_news(before: Head, after: Head) -> bool:
    """Whether a list would show something else, but for where the run is on its way."""
    return (before.status, before.steps) != (after.status, after.steps)
