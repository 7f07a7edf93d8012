"""Verdicts as JUnit XML, which most systems that build software read."""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct

from checkpointflow.rehearse.verdict import Verdict

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\n": "&#10;", "\t": "&#9;", "\r": "&#13;"}


class Suite(Struct, frozen=True):
    """The tests of one file: verdicts, each with the seconds that it took."""

    file: str
    verdicts: tuple[tuple[Verdict, float], ...]


def write_junit(suites: Iterable[Suite]) -> str:
    """The XML of *suites*."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>"]
    for suite in suites:
        outcomes = [verdict.outcome for verdict, _ in suite.verdicts]
        lines.append(
            f'  <testsuite name="{_escape(suite.file)}" tests="{len(outcomes)}" '
            f'failures="{outcomes.count("failed")}" errors="{outcomes.count("wrong")}" '
            f'time="{sum(seconds for _, seconds in suite.verdicts):.3f}">'
        )
        for verdict, seconds in suite.verdicts:
            lines += _write_case(suite.file, verdict, seconds)
        lines.append("  </testsuite>")
    return "\n".join([*lines, "</testsuites>", ""])


def _write_case(file: str, verdict: Verdict, seconds: float) -> list[str]:
    head = f'    <testcase classname="{_escape(file)}" name="{_escape(verdict.name)}" time="{seconds:.3f}"'
    if verdict.outcome == "passed":
        return [f"{head}/>"]
    tag = "failure" if verdict.outcome == "failed" else "error"
    told = tell(verdict)
    return [
        f"{head}>",
        f'      <{tag} message="{_escape(told[0])}">{_escape(chr(10).join(told))}</{tag}>',
        "    </testcase>",
    ]


def tell(verdict: Verdict) -> list[str]:
    """Why it did not pass, as lines of text."""
    lines = [f"{gap.message}{f' ({gap.hint})' if gap.hint else ''}" for gap in verdict.gaps]
    for difference in verdict.differences:
        lines += [difference.what, *(f"  {line}" for line in difference.lines)]
        lines += [difference.note] if difference.note else []
    return lines


def _escape(text: str) -> str:
    shown = _FORBIDDEN.sub("\ufffd", text)
    return "".join(_ESCAPES.get(character, character) for character in shown)
