"""Lists of runs and waits as tables, as wide as the screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from checkpointflow.cli.durations import format_span, seconds_between
from checkpointflow.cli.screen import Line, Look, Screen, Span, make_visible
from checkpointflow.store.clock import now

MIN_WIDTH, MIN_COLUMN = 20, 8
GAP = "  "

_LOOKS: dict[str, Look] = {
    "completed": "good",
    "failed": "bad",
    "waiting": "asking",
    "running": "busy",
    "damaged": "bad",
}


def view_runs(result: dict[str, Any], screen: Screen, shorten: Callable[[str], str]) -> Iterator[Line]:
    """The runs of `cpf list`, the newest last, above the prompt; *shorten*: the short form of an id."""
    moment = now()
    runs = result["runs"][::-1]
    if not runs:
        yield ("There are no such runs.",)
        return
    rows = [
        (
            Span(shorten(run["run_id"]), "strong"),
            Span(_name_workflow(run)),
            Span(_describe_status(run), _LOOKS.get(run["status"], "plain")),
            Span(format_span(seconds_between(run.get("updated_at", ""), moment))),
            Span(run.get("step", "")),
            Span(_describe_why(run)),
        )
        for run in runs
    ]
    yield from format_table(("RUN", "WORKFLOW", "STATUS", "SINCE", "STEP", "WHY"), rows, screen)
    if result.get("more"):
        yield (Span(f"The newest {len(runs)}; all of them with: --limit 0", "faint"),)


def view_waits(result: dict[str, Any], screen: Screen, shorten: Callable[[str], str]) -> Iterator[Line]:
    """The questions of `cpf waits`."""
    moment = now()
    if not result["waits"]:
        yield ("Nothing waits.",)
        return
    rows = [
        (
            Span(shorten(wait["run_id"]), "strong"),
            Span(_name_workflow(wait)),
            Span(wait["step"]),
            Span(wait["audience"]),
            Span(format_span(seconds_between(wait["since"], moment))),
            _describe_deadline(wait, moment),
            Span(wait.get("prompt") or wait["event_name"]),
        )
        for wait in result["waits"]
    ]
    yield from format_table(
        ("RUN", "WORKFLOW", "STEP", "FOR", "SINCE", "TIME LEFT", "QUESTION"), rows, screen
    )
    late = [wait for wait in result["waits"] if wait.get("overdue")]
    yield ()
    if len(late) < len(result["waits"]):
        yield (Span("Answer one with: cpf answer RUN", "faint"),)
    if late:
        yield (Span("Go on with all that is overdue: cpf tick", "faint"),)


def view_taken(result: dict[str, Any], screen: Screen, shorten: Callable[[str], str]) -> Iterator[Line]:
    """What `cpf tick` went on with, and what came of it."""
    if not result["taken"]:
        yield ("Nothing was due.",)
        return
    rows = [
        (
            Span(shorten(run["run_id"]), "strong"),
            Span(", ".join(run["due"])),
            Span(run.get("status", ""), _LOOKS.get(run.get("status", ""), "plain")),
            Span(run.get("problem", "")),
        )
        for run in result["taken"]
    ]
    yield from format_table(("RUN", "DUE", "STATUS", "PROBLEM"), rows, screen)


def view_asked(result: dict[str, Any], screen: Screen, shorten: Callable[[str], str]) -> Iterator[Line]:
    """What `cpf work` had answered, what was answered too late, and what is left."""
    kinds = {"answered": "answered", "fell_away": "too late", "left": "left"}
    rows = [
        (
            Span(shorten(row["run_id"]), "strong"),
            Span(row["step"]),
            Span(became),
            Span(row.get("status", ""), _LOOKS.get(row.get("status", ""), "plain")),
            Span(row.get("problem", "")),
        )
        for kind, became in kinds.items()
        for row in result[kind]
    ]
    if not rows:
        yield ("Nothing waits for an answer.",)
        return
    yield from format_table(("RUN", "STEP", "ANSWER", "STATUS", "PROBLEM"), rows, screen)


def format_table(
    headings: tuple[str, ...], rows: Sequence[tuple[Span, ...]], screen: Screen
) -> Iterator[Line]:
    """*rows* below *headings*; the last column takes the room that is left, and columns of nothing go."""
    kept = [n for n in range(len(headings)) if any(row[n].text for row in rows)]
    table = [tuple(Span(headings[n], "faint") for n in kept), *(tuple(row[n] for n in kept) for row in rows)]
    plain = [[Span(make_visible(cell.text), cell.look) for cell in row] for row in table]
    widths = [max(len(cell.text) for cell in column) for column in zip(*plain, strict=True)]
    widths = [min(width, screen.width * 2 // 5) for width in widths]
    least = max(MIN_WIDTH, screen.width // 3)
    while (room := screen.width - sum(widths[:-1]) - len(GAP) * (len(widths) - 1)) < least:
        if max(widths[:-1], default=0) <= MIN_COLUMN:
            break
        widths[widths.index(max(widths[:-1]))] -= 1
    widths[-1] = max(MIN_COLUMN, room)
    for row in plain:
        cells = [shorten_cell(cell, width, screen) for cell, width in zip(row, widths, strict=True)]
        pads = [" " * (width - len(cell.text)) + GAP for cell, width in zip(cells, widths, strict=True)]
        yield [part for both in zip(cells, pads, strict=True) for part in both][:-1]


def shorten_cell(cell: Span, width: int, screen: Screen) -> Span:
    """*cell*, or as much of it as *width* columns take."""
    dots = "…" if screen.unicode else "..."
    return cell if len(cell.text) <= width else Span(cell.text[: width - len(dots)] + dots, cell.look)


def _name_workflow(row: dict[str, Any]) -> str:
    given = " ".join(f"{name}={value}" for name, value in row.get("inputs", {}).items())
    return f"{row.get('workflow_id') or ''}{f' {given}' if given else ''}"


def _describe_status(run: dict[str, Any]) -> str:
    return str(run["status"]) + (" (nobody works on it)" if run.get("unattended") else "")


def _describe_why(run: dict[str, Any]) -> str:
    waits = run.get("waits", ())
    overdue = "OVERDUE: " if any(wait.get("overdue") for wait in waits) else ""
    first = waits[0]["event_name"] if waits else ""
    more = f" (+{len(waits) - 1})" if len(waits) > 1 else ""
    why = (run.get("why") or "").removeprefix("the command ended with ")
    return overdue + (why or run.get("problem") or first) + more


def _describe_deadline(wait: dict[str, Any], moment: str) -> Span:
    if "timeout_at" not in wait:
        return Span("")
    left = format_span(abs(seconds_between(moment, wait["timeout_at"])))
    return Span(f"OVERDUE {left}", "bad") if wait.get("overdue") else Span(left)


def view_artifacts(result: dict[str, Any], screen: Screen, _: Callable[[str], str]) -> Iterator[Line]:
    """The artifacts of `cpf artifacts`, or their copies."""
    if not result["artifacts"]:
        yield ("Its steps left nothing behind.",)
        return
    rows = [
        (
            Span(one["step"]),
            Span(one["name"], "strong"),
            Span(str(one.get("files", ""))),
            Span(f"{one['size']:,}"),
            Span(one["file"]),
        )
        for one in result["artifacts"]
    ]
    yield from format_table(("STEP", "NAME", "FILES", "BYTES", "WHERE"), rows, screen)
