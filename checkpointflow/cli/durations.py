"""Spans of time as people write them (`90s`, `45m`, `12h`, `30d`, `2w`), and ages as they read them."""

from __future__ import annotations

import re
from datetime import datetime

import click

from checkpointflow.engine.messages import add_seconds

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_SPAN = re.compile(r"([0-9]{1,9})([smhdw])")


def parse_span(text: str) -> int:
    """Seconds, from a number and a unit."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no span of time such as 90s, 45m, 12h, 30d or 2w")
    return int(found[1]) * _SECONDS[found[2]]


def subtract_seconds(now: str, seconds: float) -> str:
    """The time *seconds* before *now*; the beginning of all times if that lies before it."""
    try:
        return add_seconds(now, -seconds)
    except OverflowError:
        return ""


def seconds_between(start: str, end: str) -> float:
    """How many seconds lie between two times; 0 where one of them is none."""
    try:
        return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def format_span(seconds: float) -> str:
    """*seconds* as the largest unit of which there are at least two: `95s`, `3h`, `12d`."""
    for unit in "dhm":
        if abs(seconds) >= 2 * _SECONDS[unit]:
            return f"{int(seconds / _SECONDS[unit])}{unit}"
    return f"{int(seconds)}s"


def format_duration(seconds: float) -> str:
    """*seconds* as how long something took: `0.3s`, `12s`, `3m 20s`, `5h 10m`."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    for unit, smaller in (("d", "h"), ("h", "m"), ("m", "s")):
        if seconds >= _SECONDS[unit]:
            rest = int(seconds % _SECONDS[unit] / _SECONDS[smaller])
            return f"{int(seconds / _SECONDS[unit])}{unit}" + (f" {rest}{smaller}" if rest else "")
    return f"{int(seconds)}s"
