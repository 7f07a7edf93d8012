"""As much of a run as a list tells. It stands in the memo of its workflow, which a list brings along.

A memo is written anew whenever something in it changes, into a history that may not grow without end: so it
is short. Of a run with more waits than fit, it tells that there are more; whoever lists it reads its history.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from checkpointflow.engine.facts import Breakdown, Cancellation, Completion, Identity, Wait
from checkpointflow.engine.path import ROOT, finally_path
from checkpointflow.engine.run import Cursor, Run, RunHead, Waiting, waits
from checkpointflow.store.listing import Head, HeadOutcome, HeadRecord
from checkpointflow.store.snapshot import STATE_VERSION

MAX_WAITS = 30
MAX_BYTES = 8192
MAX_TEXT = 301  # a list shows 300 characters, and whether there are more


class Heading(Head, frozen=True, kw_only=True):
    """A head as a memo holds it; is_partial: the run has more waits than fit, and none of them is told."""

    is_partial: bool = False


def describe(run: Run) -> Heading:
    """The head of *run*, in some MAX_BYTES at the most."""
    if len(_find_open(run)) <= MAX_WAITS:
        heading = describe_whole(run)
        if len(msgspec.json.encode(heading)) <= MAX_BYTES:
            return heading
    return replace(_describe(run), is_partial=True)


def describe_whole(run: Run) -> Heading:
    """The same, however many waits it has."""
    open_ = _find_open(run).items()
    steps = {path: HeadRecord(started_at=w.started_at, wait=_trim(w.wait)) for path, w in open_}
    return replace(_describe(run), steps=steps)


def _find_open(run: Run) -> dict[str, Waiting]:
    return {} if run.outcome is not None else waits(run)


def _describe(run: Run) -> Heading:
    """Without its waits, its inputs, and whatever else may be long and is not listed."""
    of = run.workflow
    workflow = Identity(id=of.id, name=_cut(of.name), version=_cut(of.version), digest=of.digest)
    told = {name: getattr(run, name) for name in RunHead.__struct_fields__}
    told |= {"inputs": {}, "workflow": workflow}
    cursors = {
        body: Cursor(step=found.step, ending=found.ending and Completion())
        for body in (ROOT, finally_path(ROOT))
        if (found := run.cursors.get(body)) is not None
    }
    return Heading(
        **told, schema_version=STATE_VERSION, outcome=_describe_end(run), cursors=cursors, steps={}
    )


def _describe_end(run: Run) -> HeadOutcome | None:
    match run.outcome:
        case None:
            return None
        case Breakdown(error=error):
            return HeadOutcome(error=replace(error, message=_cut(error.message) or "", details=None))
        case Cancellation(reason=reason):
            return HeadOutcome(reason=_cut(reason))
        case _:
            return HeadOutcome()


def _trim(wait: Wait) -> Wait:
    """Whom it asks for what, until when."""
    return Wait(
        audience=wait.audience,
        event_name=wait.event_name,
        input_schema={},
        prompt=_cut(wait.prompt),
        timeout_at=wait.timeout_at,
    )


def _cut(text: str | None) -> str | None:
    """As much of *text* as a list shows."""
    return None if text is None else text.strip().partition("\n")[0][:MAX_TEXT]


def is_news(before: Heading, after: Heading) -> bool:
    """Whether a list would show something else, but for where the run is on its way."""
    return _list_shown(before) != _list_shown(after)


def _list_shown(heading: Heading) -> tuple[object, ...]:
    return heading.status, heading.steps, heading.is_partial
