"""A run as one HTML page: nothing is fetched, no script runs, and what data wrote is only ever text."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import UNSET, Struct

from checkpointflow.cli.durations import format_duration, seconds_between
from checkpointflow.cli.pictures import COLOURS, DASHED, Group
from checkpointflow.cli.screen import make_visible
from checkpointflow.cli.view import list_waits
from checkpointflow.engine.facts import (
    BlockOpened,
    Breakdown,
    Cancellation,
    Completion,
    EventTaken,
    Fact,
    RunBegan,
    StepFailed,
    StepStarted,
    StepSucceeded,
    WaitOpened,
)
from checkpointflow.engine.run import Run

MAX_BARS = 400
MAX_VALUE = 200_000
BAR_WIDTH = 640

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; padding: 0 1rem }
body { max-width: 60rem; color: #222; overflow-wrap: break-word }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
.state { padding: .1rem .6rem; border-radius: 1rem; font-size: .9rem }
table { border-collapse: collapse }
td, th { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top }
td { overflow-wrap: anywhere } td:first-child { overflow-wrap: break-word } .bars td { overflow-wrap: normal }
pre { background: #f5f5f5; padding: .6rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere }
summary { cursor: pointer } .bars { overflow-x: auto } .faint { color: #666 }
svg { max-width: 100%; height: auto } .bars svg { height: 14px }
@media (max-width: 40rem) {
  body { margin: 1rem auto } td, th { display: block; padding: 0 } .head { display: none }
}
@media print { details { display: block } }
"""


class Bar(Struct):
    """How long something took. what: step, wait or block."""

    path: str
    what: str
    start: str
    end: str | None = None
    state: str = "running"
    attempts: int = 1


def write_page(
    run: Run, facts: list[Fact], groups: list[Group], tails: dict[str, list[str]], moment: str
) -> str:
    """The page. *tails*: the last lines of the steps that failed, by path."""
    title = f"{run.workflow.name or run.workflow.id} {run.workflow.version or ''}".strip()
    parts = [
        _write_head(title, run, facts),
        _write_outcome(run, tails),
        _write_questions(run),
        "<h2>Steps</h2>",
        *(_write_group(group) for group in groups),
        "<h2>Time</h2>",
        _write_bars(list_bars(facts), run, moment),
        _write_answers(facts),
        "<h2>Inputs and outputs</h2>",
        _fold("inputs", run.inputs),
        *(
            _fold(fact.path, fact.outputs)
            for fact in facts
            if isinstance(fact, StepSucceeded) and fact.outputs not in (UNSET, {}, None)
        ),
    ]
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n<body>'
        + "\n".join(parts)
        + "</body></html>\n"
    )


def list_bars(facts: Iterable[Fact]) -> list[Bar]:
    """What took time, in the order in which it began."""
    bars: list[Bar] = []
    open_: dict[str, Bar] = {}
    for fact in facts:
        match fact:
            case StepStarted(path=path, action=action):
                if path in open_:
                    open_[path].attempts = action.attempt
                else:
                    open_[path] = Bar(path, "step", fact.at)
                    bars.append(open_[path])
            case WaitOpened(path=path) | BlockOpened(path=path):
                what = "wait" if isinstance(fact, WaitOpened) else "block"
                open_[path] = Bar(path, what, fact.at)
                bars.append(open_[path])
            case StepSucceeded(path=path) | StepFailed(path=path):
                bar = open_.pop(path, None)
                if bar is not None:
                    bar.end, bar.state = fact.at, "done" if isinstance(fact, StepSucceeded) else "failed"
    return bars


def _write_head(title: str, run: Run, facts: list[Fact]) -> str:
    colour = {"completed": "done", "failed": "failed", "waiting": "waiting", "running": "running"}
    began = facts[0] if facts and isinstance(facts[0], RunBegan) else None
    rows = {
        "run": run.run_id,
        "started": run.started_at,
        "last change": run.updated_at,
        "took": format_duration(seconds_between(run.started_at, run.updated_at)),
        "started by": began.by if began is not None else None,
        "directory": run.cwd,
        "document": run.workflow.source,
        "its SHA-256": run.workflow.digest,
        "checkpoint": run.checkpoint_id,
    }
    shade = COLOURS[colour.get(run.status, "skipped")]  # type: ignore[index]
    cells = "".join(
        f"<tr><th>{name}</th><td>{escape(value)}</td></tr>" for name, value in rows.items() if value
    )
    return (
        f'<h1>{escape(title)} <span class="state" style="background:{shade}">{run.status}</span></h1>'
        f"<table>{cells}</table>"
    )


def _write_outcome(run: Run, tails: dict[str, list[str]]) -> str:
    match run.outcome:
        case Breakdown(error=error):
            tail = "\n".join(tails.get(error.step_id or "", []))
            printed = f"<pre>{escape(tail)}</pre>" if tail else ""
            where = f"{error.step_id}: " if error.step_id else ""
            return f"<h2>Error</h2><p>{escape(where + error.message)}</p>{printed}"
        case Cancellation(reason=reason):
            return f"<h2>Cancelled</h2><p>{escape(reason)}</p>"
        case Completion(result=result) if result is not UNSET:
            return f"<h2>Result</h2>{_write_value(result)}"
        case _:
            return ""


def _write_group(group: Group) -> str:
    """One list of steps, from top to bottom; ways that do not lead to the next go round on the right."""
    row, left, width, height = 44, 10, 220, 28
    places = {node.key: number for number, node in enumerate(group.nodes)}
    shapes = []
    for node in group.nodes:
        y = places[node.key] * row + 8
        fill = COLOURS.get(node.state, "#ffffff")
        name = escape(node.id or "the end")
        about = escape(f"{node.id or 'the end'} ({node.kind}) {node.state}")
        shapes.append(
            f'<g><title>{about}</title><rect x="{left}" y="{y}" width="{width}" height="{height}" rx="6" '
            f'fill="{fill}" stroke="#555"/>'
            f'<text x="{left + 10}" y="{y + 19}" font-size="13">{name}</text></g>'
        )
    for number, arrow in enumerate(group.arrows):
        start, end = places[arrow.start], places[arrow.end]
        dash = ' stroke-dasharray="4 3"' if arrow.why in DASHED else ""
        y1, y2 = start * row + 8 + height / 2, end * row + 8 + height / 2
        if end == start + 1 and arrow.why == "follow":
            x = left + 24
            path = f"M {x} {start * row + 8 + height} L {x} {end * row + 8}"
        else:
            edge, reach = left + width, 30 + 14 * (number % 8)
            path = f"M {edge} {y1} C {edge + reach} {y1}, {edge + reach} {y2}, {edge} {y2}"
            label = escape(arrow.label)
            shapes.append(
                f'<text x="{edge + reach}" y="{(y1 + y2) / 2 + 12 * (number % 2)}" font-size="11" '
                f'fill="#555">{label}</text>'
            )
        shapes.append(f'<path d="{path}" fill="none" stroke="#555" marker-end="url(#tip)"{dash}/>')
    total = len(group.nodes) * row + 10
    title = f"<h3>{escape(group.title)}</h3>" if group.title else ""
    tip = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>'
    )
    frame = f'<svg width="620" height="{total}" viewBox="0 0 620 {total}" role="img">'
    return f"{title}{frame}{tip}{''.join(shapes)}</svg>"


def _write_bars(bars: list[Bar], run: Run, moment: str) -> str:
    """What took how long, to scale from the start of the run to its last change."""
    end = run.updated_at if run.outcome is not None else moment
    whole = max(seconds_between(run.started_at, end), 0.001)
    rows = []
    for bar in bars[:MAX_BARS]:
        from_start = seconds_between(run.started_at, bar.start)
        took = seconds_between(bar.start, bar.end or end)
        x, width = from_start / whole * BAR_WIDTH, max(took / whole * BAR_WIDTH, 2)
        shade = COLOURS["waiting" if bar.what == "wait" else bar.state]  # type: ignore[index]
        about = format_duration(took) + (f", {bar.attempts} attempts" if bar.attempts > 1 else "")
        rows.append(
            f"<tr><td>{escape(bar.path)}</td><td>{about}</td><td>"
            f'<svg width="{BAR_WIDTH}" height="14" viewBox="0 0 {BAR_WIDTH} 14" preserveAspectRatio="none">'
            f'<rect x="{x:.1f}" y="1" width="{width:.1f}" height="12" '
            f'fill="{shade}" stroke="#777"/></svg></td></tr>'
        )
    more = f'<p class="faint">and {len(bars) - MAX_BARS} more</p>' if len(bars) > MAX_BARS else ""
    return f'<div class="bars"><table>{"".join(rows)}</table></div>{more}'


def _write_questions(run: Run) -> str:
    """What the run asks as it stands, of whom, and since when."""
    rows = [
        f"<tr><td>{escape(path)}</td><td>{escape(record.wait.prompt or record.wait.event_name)}</td>"
        f"<td>{record.wait.audience}</td><td>{record.started_at}</td></tr>"
        for path, record in list_waits(run).items()
    ]
    head = '<tr class="head"><th>step</th><th>question</th><th>for</th><th>since</th></tr>'
    return f"<h2>Waits for</h2><table>{head}{''.join(rows)}</table>" if rows else ""


def _write_answers(facts: list[Fact]) -> str:
    """Who was asked what, and what they answered."""
    asked: dict[str, WaitOpened] = {}
    rows = []
    for fact in facts:
        if isinstance(fact, WaitOpened):
            asked[fact.path] = fact
        elif isinstance(fact, EventTaken) and fact.path in asked:
            question = asked.pop(fact.path)
            by = fact.by or question.wait.audience
            waited = format_duration(seconds_between(question.at, fact.at))
            rows.append(
                f"<tr><td>{escape(fact.path)}</td><td>{escape(question.wait.prompt or '')}</td>"
                f"<td>{escape(by)}, after {waited}</td><td>{_write_value(fact.payload)}</td></tr>"
            )
    head = '<tr class="head"><th>step</th><th>question</th><th>answered by</th><th>answer</th></tr>'
    return f"<h2>Answers</h2><table>{head}{''.join(rows)}</table>" if rows else ""


def escape(text: str) -> str:
    """*text* as it stands in the page: nothing in it is a tag, or turns round what is read."""
    return html.escape(make_visible(text, "\n\t"))


def _fold(name: str, value: Any) -> str:
    return f"<details><summary>{escape(name)}</summary>{_write_value(value)}</details>"


def _write_value(value: Any) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False) if value is not UNSET else ""
    cut = text[:MAX_VALUE] + ("\n…" if len(text) > MAX_VALUE else "")
    return f"<pre>{escape(cut)}</pre>"


def list_failed(facts: Iterable[Fact]) -> Iterator[str]:
    """The paths of the steps that failed."""
    return (fact.path for fact in facts if isinstance(fact, StepFailed))
