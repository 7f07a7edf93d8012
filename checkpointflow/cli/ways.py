"""What `cpf explore` found, as text for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from checkpointflow.cli.screen import Line, Look, Screen, Span

MAX_ENDINGS = 12

_LOOKS: dict[str, Look] = {"mistake": "bad", "doubt": "asking", "note": "faint"}
_CRASHES = {
    "asks": "somebody is asked",
    "runs_again": "it runs again, as it may",
    "may_run_twice": "it runs again, and may have run twice",
}


def view_exploration(result: dict[str, Any], screen: Screen) -> Iterator[Line]:
    """Where the ways end, what is wrong on some, and what was left out."""
    ways = "ways without end" if result["ways"] is None else f"{result['ways']:,} ways"
    scope = "all" if result["complete"] else "not all"
    yield Span(f"{result['states']:,} states", "strong"), f", {scope} of {ways}"
    endings = result["endings"]
    for ending in endings[:MAX_ENDINGS]:
        yield (
            "  ",
            screen.mark("done" if ending["status"] == "completed" else "failed"),
            f" {_tell_ending(ending)}",
        )
    if len(endings) > MAX_ENDINGS:
        yield (Span(f"  and {len(endings) - MAX_ENDINGS} more ends", "faint"),)
    for rule, verdict in result["rules"].items():
        yield (
            "  ",
            screen.mark("failed" if verdict == "refuted" else "done"),
            f" {rule}: {verdict.replace('_', ' ')}",
        )
    for finding in result["findings"]:
        yield ()
        step = f"{finding['step']}: " if finding.get("step") else ""
        place = f"{finding['file']}:{finding['line']}:{finding['column']}: "
        yield place, Span(finding["severity"], _LOOKS[finding["severity"]]), f" {step}{finding['message']}"
        if finding.get("way") and finding["severity"] != "note":
            for line in _list_way(finding["way"]):
                yield from screen.fold(("    ", line), 6)
    for crash in result.get("crashes", ()):
        others = f"; then also {', '.join(crash['other_ends'])}" if crash.get("other_ends") else ""
        yield (f"  killed at {crash['step']}: {_CRASHES[crash['then']]}{others}",)
    for limit in result["limits"]:
        yield (Span(f"  bounded: {limit}", "faint"),)


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
