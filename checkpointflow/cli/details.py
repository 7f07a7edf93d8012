"""All about a run as a person reads it: where it lies, what went in and came out, and who did what when."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec import UNSET

from checkpointflow.cli.screen import Line, Span
from checkpointflow.engine.actions import Sleep
from checkpointflow.engine.facts import (
    AttemptFailed,
    BodyClosed,
    BodyOpened,
    CancelBegan,
    DirectoryChosen,
    EventTaken,
    Fact,
    FilesSealed,
    FinallyBegan,
    RunBegan,
    RunCancelled,
    RunFailed,
    StepFailed,
    StepsReopened,
    StepStarted,
    WaitOpened,
)
from checkpointflow.engine.path import ROOT
from checkpointflow.engine.run import Run, Succeeded
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.history import Entry

MAX_OUTPUTS = 20
MAX_FACTS = 40
MAX_LINE = 200

Show = Callable[[Any, int], Iterator[Line]]


def view_details(run: Run, directory: RunDirectory, entries: Sequence[Entry], show: Show) -> Iterator[Line]:
    """What the short view leaves out; *show* gives the lines of a value, as many as there is room for."""
    about = {"id": run.run_id, "lies in": directory.whereabouts, "runs in": run.cwd}
    about |= {"document": run.workflow.source, "checkpoint": run.checkpoint_id}
    yield from _head("Run")
    yield from show({name: value for name, value in about.items() if value}, 1)
    if run.inputs:
        yield from _head("Inputs")
        yield from show(run.inputs, 1)
    if run.env:
        yield from _head("Environment")
        yield from show(run.env, 1)
    outputs = {
        path: r.outputs for path, r in run.steps.items() if isinstance(r, Succeeded) and _is_any(r.outputs)
    }
    if outputs:
        yield from _head("Outputs", len(outputs) - MAX_OUTPUTS)
        for path in list(outputs)[-MAX_OUTPUTS:]:
            yield from show({path: outputs[path]}, 1)
    told = [
        entry.fact for entry in entries if not isinstance(entry.fact, BodyOpened | BodyClosed | FilesSealed)
    ]
    yield from _head("History", len(told) - MAX_FACTS)
    for fact in told[-MAX_FACTS:]:
        yield "  ", Span(f"{fact.at[:10]} {fact.at[11:19]}Z", "faint"), f"  {_describe(fact)[:MAX_LINE]}"


def _head(title: str, left_out: int = 0) -> Iterator[Line]:
    yield ()
    more = f"  {left_out:,} earlier ones are left out; all of it: --json" if left_out > 0 else ""
    yield Span(title, "strong"), Span(more, "faint")


def _is_any(outputs: Any) -> bool:
    return outputs is not UNSET and outputs not in (None, {})


def _describe(fact: Fact) -> str:
    """What happened, and who did it."""
    match fact:
        case RunBegan(by=by):
            return "the run began" + (f", by {by}" if by else "")
        case StepStarted(path=path, action=Sleep(until=until)):
            return f"{path} pauses until {until}"
        case StepStarted(path=path, action=action):
            return f"{path} began" + (f", attempt {action.attempt}" if action.attempt > 1 else "")
        case WaitOpened(path=path, wait=wait):
            return f"{path} asks: {wait.audience}, {wait.event_name}"
        case EventTaken(path=path, by=by):
            return f"{path} was answered" + (f", by {by}" if by else "")
        case StepFailed(path=path, error=error) | AttemptFailed(path=path, error=error):
            return f"{path} failed: {error.message}"
        case StepsReopened(path=path):
            return f"{path} is to be done anew"
        case RunFailed(error=error):
            return "the run failed" + ("" if error.step_id else f": {error.message}")
        case RunCancelled(reason=reason) | CancelBegan(reason=reason):
            is_over = isinstance(fact, RunCancelled)
            return f"the run {'was' if is_over else 'is being'} cancelled: {reason}"
        case FinallyBegan(body=body, outcome=outcome):
            whose = "" if body == ROOT else f" of {body}"
            return f"the finally{whose} began: {outcome.__struct_config__.tag}"
        case DirectoryChosen(cwd=cwd):
            return f"it was said to go on in {cwd}"
        case _:
            path = getattr(fact, "path", "the run")
            return f"{path} {str(fact.__struct_config__.tag).partition('_')[2]}"
