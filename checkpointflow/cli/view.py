"""A run as a person sees it: where it stands, its steps, and the question that it asks or why it failed.

Deploy 1.4   waiting   7Q2F   started 3m ago
  ✓ build        12s
  ✓ smoke        0.3s
  ? approve      2m
  · 2 more: deploy, notify

? Deploy build 17 to pg1?
  approve, for user, since 2m, time is up in 40m
    decision   approve | reject
    note       text, optional: why
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from checkpointflow.cli.durations import format_duration, format_span, seconds_between
from checkpointflow.cli.screen import Line, Look, Mark, Screen, Span
from checkpointflow.engine.path import FINALLY
from checkpointflow.engine.run import (
    Cancelled,
    Failed,
    Opened,
    Record,
    Run,
    Skipped,
    Started,
    Succeeded,
    Waiting,
    waits,
)

MAX_STEPS = 12
MAX_AHEAD = 5

_STATUS_LOOKS: dict[str, Look] = {
    "completed": "good",
    "failed": "bad",
    "waiting": "asking",
    "running": "busy",
    "cancelled": "strong",
}


def view_head(run: Run, short_id: str, moment: str, screen: Screen) -> Iterator[Line]:
    """What runs, how it stands, and since when."""
    title = run.workflow.name or run.workflow.id
    version = f" {run.workflow.version}" if run.workflow.version else ""
    age = format_span(seconds_between(run.started_at, moment))
    took = f"took {format_duration(seconds_between(run.started_at, run.updated_at))}"
    since = Span(f"started {age} ago" + (f", {took}" if run.outcome is not None else ""), "faint")
    status = Span(run.status, _STATUS_LOOKS[run.status])
    return screen.fold((Span(title, "strong"), f"{version}   ", status, f"   {short_id}   ", since))


def view_steps(run: Run, ids: list[str], moment: str, screen: Screen) -> Iterator[Line]:
    """A line a step, with how long it took; those that ended well long ago in one, those to come in another.

    ids: the steps of the workflow, in the order of the document.
    """
    shown = {path: record for path, record in run.steps.items() if _is_shown(run, path, record)}
    quiet = [path for path, record in shown.items() if isinstance(record, Succeeded | Skipped)]
    folded = set(quiet[: len(shown) - MAX_STEPS]) if len(shown) > MAX_STEPS else set()
    if folded:
        yield "  ", screen.mark("done"), f" {len(folded)} steps done"
    width = min(40, max((len(name_step(p, r)) for p, r in shown.items() if p not in folded), default=0))
    for path, record in shown.items():
        if path not in folded:
            spent = Span(_describe_time(record, moment), "faint")
            yield "  ", screen.mark(_find_mark(record)), f" {name_step(path, record).ljust(width)}  ", spent
    ahead = [step for step in ids if step not in run.steps]
    if ahead and run.outcome is None:
        more = ", ".join(ahead[:MAX_AHEAD]) + (", …" if len(ahead) > MAX_AHEAD and screen.unicode else "")
        line = ("  ", screen.mark("ahead"), Span(f" {len(ahead)} more at most: {more}", "faint"))
        yield from screen.fold(line, 4)


def view_wait(path: str, record: Waiting, moment: str, screen: Screen) -> Iterator[Line]:
    """The question that stands open at *path*, and what an answer may hold."""
    wait = record.wait
    mark = screen.mark("asks")
    first, *more = (wait.prompt or wait.summary or wait.event_name).strip().splitlines() or [""]
    yield from screen.fold((mark, " ", Span(first, "strong")))
    for line in more:
        yield from _fold_prose(line, screen, "strong")
    since = format_span(seconds_between(record.started_at, moment))
    about = Span(f"{path}, for {wait.audience}, since {since}", "faint")
    yield from screen.fold(("  ", about, *_describe_deadline(record, moment)))
    if wait.risk_level:
        yield "  ", Span(f"risk: {wait.risk_level}", "bad" if wait.risk_level == "high" else "plain")
    for line in (wait.instructions or "").strip().splitlines():
        yield from _fold_prose(line, screen)
    yield from view_fields(wait.input_schema, screen)


def _fold_prose(line: str, screen: Screen, look: Look = "plain") -> Iterator[Line]:
    """A line of somebody's text; what it goes on in stands as far in as it does itself."""
    return screen.fold(("  ", Span(line, look)), 2 + len(line) - len(line.lstrip(" ")))


def view_fields(schema: dict[str, Any], screen: Screen) -> Iterator[Line]:
    """The fields of an answer: what each may be, and what it is about."""
    fields = schema.get("properties")
    if not isinstance(fields, dict):
        return
    required = schema.get("required", ())
    width = min(24, max(map(len, fields), default=0))
    for name, field in fields.items():
        field = field if isinstance(field, dict) else {}
        kind = describe_kind(field) + ("" if name in required else ", optional")
        about = f"  {field['description']}" if isinstance(field.get("description"), str) else ""
        yield from screen.fold(("    ", name.ljust(width), "  ", kind, Span(about, "faint")), 6)


def describe_kind(field: dict[str, Any]) -> str:
    """What a value that fits the schema *field* is, in a few words."""
    if isinstance(field.get("enum"), list):
        return " | ".join(map(str, field["enum"]))
    if "const" in field:
        return f"always {field['const']}"
    kinds = field.get("type")
    names = {
        "string": "text",
        "boolean": "yes or no",
        "integer": "whole number",
        "array": "list",
        "object": "fields",
    }
    listed = kinds if isinstance(kinds, list) else [kinds] if isinstance(kinds, str) else []
    return " or ".join(names.get(str(kind), str(kind)) for kind in listed) or "anything"


def view_failure(step: str | None, message: str, tail: list[str], screen: Screen) -> Iterator[Line]:
    """Why a run failed, and the lines that the step printed last, the last of which *message* may repeat."""
    why = message.removesuffix(f": {tail[-1]}") if tail else message
    name = f"{step}: " if step else ""
    yield from screen.fold((screen.mark("failed"), " ", Span(name, "strong"), why))
    yield from (("    ", Span("| ", "faint"), line) for line in tail)


def _is_shown(run: Run, path: str, record: Record) -> bool:
    """Steps of the root and its `finally`, and of what lies deeper what is under way, waits or has failed."""
    if "/" not in path.removeprefix(f"{FINALLY}/"):
        return True
    return isinstance(record, Failed) or (isinstance(record, Started | Waiting) and run.outcome is None)


def name_step(path: str, record: Record) -> str:
    """A step, how far it has come if it is a block, and how often it was tried."""
    match record:
        case Opened(items=list() as items):
            return f"{path} {count_ended(record)}/{len(items)}"
        case Opened(begun=begun) if begun > 1:
            return f"{path} {count_ended(record)}/{begun}"
        case Started(action=action) if action.attempt > 1:
            return f"{path} (attempt {action.attempt})"
        case Succeeded(attempts=attempts) | Failed(attempts=attempts) if attempts > 1:
            return f"{path} ({attempts} attempts)"
        case _:
            return path


def count_ended(block: Opened) -> int:
    """How many bodies of *block* have ended, well or not."""
    return sum(map(len, (*block.ended, *block.survived))) + len(block.failed)


def _find_mark(record: Record) -> Mark:
    match record:
        case Succeeded():
            return "done"
        case Failed():
            return "failed"
        case Waiting():
            return "asks"
        case Skipped() | Cancelled():
            return "skipped"
        case _:
            return "runs"


def _describe_time(record: Record, moment: str) -> str:
    match record:
        case Skipped():
            return "skipped"
        case Cancelled():
            return "cancelled"
        case Succeeded(started_at=start, ended_at=end) | Failed(started_at=start, ended_at=end):
            return format_duration(seconds_between(start, end))
        case Started(started_at=start, on_hold=None):
            return format_duration(seconds_between(start, moment))
        case Started():
            return "interrupted"
        case Waiting(started_at=start) | Opened(started_at=start):
            return format_span(seconds_between(start, moment))


def _describe_deadline(record: Waiting, moment: str) -> Iterator[Span]:
    if record.wait.timeout_at is not None:
        left = seconds_between(moment, record.wait.timeout_at)
        text = format_span(abs(left))
        yield Span(f", time is up in {text}", "faint") if left > 0 else Span(f", OVERDUE by {text}", "bad")


def list_waits(run: Run) -> dict[str, Waiting]:
    """The questions that stand open."""
    return waits(run) if run.status == "waiting" else {}
