"""What `cpf explore` found, as text for people."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from checkpointflow.cli.screen import Line, Look, Screen, Span
from checkpointflow.diagnostics import join_words

MAX_ENDINGS = 12
MAX_COUNT = 10**12
UNCAUGHT = "uncaught_failure"

_LOOKS: dict[str, Look] = {"mistake": "bad", "doubt": "asking", "note": "faint"}
_CRASHES = {
    "asks": "somebody is asked",
    "runs_again": "it runs again, as it may",
    "may_run_twice": "it runs again, and may have run twice",
}


def view_exploration(result: dict[str, Any], screen: Screen) -> Iterator[Line]:
    """Where the ways end, what is wrong on some, and what was left out."""
    yield _tell_ways(result)
    yield ("It can end so:",)
    endings = result["endings"]
    for ending in endings[:MAX_ENDINGS]:
        yield from screen.fold(("  ", _tell_ending(ending)), 6)
    if len(endings) > MAX_ENDINGS:
        yield (Span(f"  and {len(endings) - MAX_ENDINGS} more ends", "faint"),)
    for rule, verdict in result["rules"].items():
        mark = screen.mark("failed" if verdict == "refuted" else "done")
        yield "  ", mark, f" {rule}: {verdict.replace('_', ' ')}"
    told = [finding for finding in result["findings"] if finding["kind"] != UNCAUGHT]
    for finding in told:
        yield ()
        yield from _tell_finding(finding, screen)
    yield from _tell_crashes(result.get("crashes", ()), screen)
    uncaught = [str(f["step"]) for f in result["findings"] if f["kind"] == UNCAUGHT]
    if uncaught:
        yield ()
        line = f"The run fails if {join_words(uncaught, 'or')} fails: nothing catches it."
        yield from screen.fold((Span(line, "faint"),), 2)
    for limit in result["limits"]:
        yield from screen.fold((Span(f"Bounded: {limit}", "faint"),), 2)
    yield ()
    yield _sum_up(told)


def _tell_ways(result: dict[str, Any]) -> Line:
    ways = "ways without end" if result["ways"] is None else f"{_write_count(result['ways'])} ways"
    scope = "all of them" if result["complete"] else "not all of them"
    return "Nothing was run. With values made up there are ", Span(ways, "strong"), f"; {scope} were walked."


def _write_count(number: int) -> str:
    """*number* as people read it; of one that nobody would read only how large it is."""
    return f"{number:,}" if number < MAX_COUNT else f"about 10^{math.log10(number):.0f}"


def _sum_up(findings: list[dict[str, Any]]) -> Line:
    """How many there are, by how much they matter."""
    counts = Counter(finding["severity"] for finding in findings)
    words = [f"{n} {name if n == 1 else name + 's'}" for name in _LOOKS if (n := counts[name])]
    return (
        Span(
            join_words(words, "and") if words else "no mistakes found", "bad" if counts["mistake"] else "good"
        ),
    )


def _tell_finding(finding: dict[str, Any], screen: Screen) -> Iterator[Line]:
    step = f"{finding['step']}: " if finding.get("step") else ""
    place = f"{finding['file']}:{finding['line']}:{finding['column']}: "
    severity = Span(finding["severity"], _LOOKS[finding["severity"]])
    yield from screen.fold((place, severity, f" {step}{finding['message']}"), 4)
    if finding.get("way") and finding["severity"] != "note":
        for line in _list_way(finding["way"]):
            yield from screen.fold(("    ", line), 6)


def _tell_crashes(crashes: Iterable[dict[str, Any]], screen: Screen) -> Iterator[Line]:
    for crash in crashes:
        others = f"; then also {', '.join(crash['other_ends'])}" if crash.get("other_ends") else ""
        yield from screen.fold((f"  killed at {crash['step']}: {_CRASHES[crash['then']]}{others}",), 6)


def _tell_ending(ending: dict[str, Any]) -> str:
    if ending["status"] == "completed":
        return f"completed {_write(ending['result'])}" if "result" in ending else "completed"
    if ending["status"] == "cancelled":
        return "cancelled"
    return f"failed at {ending.get('step', 'its end')} ({ending['code']})"


def _list_way(way: dict[str, Any]) -> Iterator[str]:
    yield f"inputs {_write(way['inputs'])}"
    if way.get("env"):
        yield f"env {_write(way['env'])}"
    for event in way.get("events", ()):
        more = event.get("outputs", event.get("answer"))
        told = "" if more is None else f" {_write(more)}"
        code = f" (exit code {event['exit_code']})" if "exit_code" in event else ""
        yield f"{event.get('step', 'the run is')} {event['what'].replace('_', ' ')}{told}{code}"


def _write(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
