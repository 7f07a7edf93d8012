"""What tests came to, as people read it: a dot for each that passed, and of the others what differs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from checkpointflow.cli.screen import Line, Look, Screen, Span

SIGNS: dict[str, Span] = {"passed": Span(".", "good"), "failed": Span("F", "bad"), "wrong": Span("E", "bad")}
MAX_MISSING = 10


def view_tests(result: dict[str, Any], screen: Screen) -> Iterator[Line]:
    """The outcomes of all tests, file by file, and what is not covered."""
    for file, tests in groupby(result["tests"], lambda test: test["file"]):
        yield file, " ", *(SIGNS[test["outcome"]] for test in tests)
    for test in result["tests"]:
        if test["outcome"] != "passed":
            yield ()
            yield Span(f"{test['file']}:{test['line']}", "faint"), "  ", Span(test["name"], "strong")
            yield from _view_gaps(test.get("gaps", ()), screen)
            yield from _view_differences(test.get("differences", ()), screen)
    yield ()
    for one in result["coverage"]:
        yield from _view_coverage(one, screen)
    counts = [f"{result[name]} {name}" for name in ("failed", "wrong", "passed") if result[name]]
    is_good = not result["failed"] and not result["wrong"]
    seconds = sum(test["seconds"] for test in result["tests"])
    said = ", ".join(counts) or "no tests"
    yield screen.mark("done" if is_good else "failed"), Span(f" {said}", "strong"), f" in {seconds:.2f} s"


def _view_gaps(gaps: Any, screen: Screen) -> Iterator[Line]:
    for gap in gaps:
        yield from screen.fold((f"  line {gap['line']}: {gap['message']}",), 4)
        if "hint" in gap:
            yield "    ", gap["hint"]


def _view_differences(differences: Any, screen: Screen) -> Iterator[Line]:
    for difference in differences:
        yield "  ", difference["what"]
        for line in difference["lines"]:
            look: Look = {"-": "good", "+": "bad"}.get(line[:1], "plain")  # type: ignore[assignment]
            yield "    ", Span(line, look)
        if "note" in difference:
            yield from screen.fold(("    ", Span(difference["note"], "faint")), 4)


def _view_coverage(one: dict[str, Any], screen: Screen) -> Iterator[Line]:
    missing = one["missing"]
    more = f"; and {len(missing) - MAX_MISSING} more" if len(missing) > MAX_MISSING else ""
    told = f"; never: {'; '.join(missing[:MAX_MISSING])}{more}" if missing else ""
    least = f", and at least {one['least']:g} % are asked for" if "least" in one else ""
    look: Look = "bad" if least else "plain"
    yield from screen.fold((Span(f"{one['workflow']}: {one['percent']:g} % covered{least}{told}", look),), 2)
