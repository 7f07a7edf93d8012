"""What `cpf plan` tells, as text for people: the steps ahead, as an indented list."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from checkpointflow.cli.durations import format_span
from checkpointflow.cli.screen import Line, Screen, Span
from checkpointflow.cli.view import view_fields

MAX_LINES = 6
"""Of a command, or of another text, more are folded."""
MAX_WIDTH_OF_IDS = 16

Told = dict[str, Any]

_ENDS = {"run": "the run", "workflow": "the called workflow", "item": "the item", "branch": "the branch"}
_NOW = {"waiting": "waits now", "under_way": "under way", "interrupted": "was interrupted"}


def view_plan(plan: Told, screen: Screen) -> Iterator[Line]:
    """All that is ahead."""
    said = (
        "Nothing is run. What reads ‹…› is known later. A step that fails ends the run unless more is said."
    )
    yield from screen.fold((Span(said, "faint"),), 0)
    yield ()
    yield from Tree(screen).view_way(plan["way"], 1)
    if plan.get("cleanup"):
        yield ()
        yield "  ", Span("finally", "strong"), ", whatever happens:"
        yield from Tree(screen).view_way(plan["cleanup"], 2, ends_quietly=True)
    if plan.get("cut"):
        yield ()
        yield (Span("  There are more steps than can be told.", "faint"),)


class Tree:
    """Writes steps, those of bodies and arms deeper than what they belong to."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen

    def view_way(self, way: list[Told], depth: int, *, ends_quietly: bool = False) -> Iterator[Line]:
        """Steps, one after the other. ends_quietly: that the list is at its end need not be said."""
        width = min(MAX_WIDTH_OF_IDS, max((len(item.get("step", "")) for item in way), default=0))
        for item in way:
            if "goto" in item:
                yield from self._fold(depth, _write_jump(item))
            elif "ends" in item:
                if not (ends_quietly and _says_nothing(item)):
                    yield from self._view_ending(item, depth, width)
            else:
                yield from self._view_step(item, depth, width)

    def _fold(self, depth: int, *line: Span | str, hang: int = 2) -> Iterator[Line]:
        yield from self.screen.fold(("  " * depth, *line), 2 * depth + hang)

    def _view_ending(self, ending: Told, depth: int, width: int) -> Iterator[Line]:
        step: list[Span | str] = []
        if "step" in ending:
            step = [Span(ending["step"].ljust(width), "strong"), "  "]
        yield from self._fold(depth, *step, *self._write_ending(ending), hang=width + 4 if step else 2)

    def _write_ending(self, ending: Told) -> list[Span | str]:
        is_done = ending["status"] == "completed"
        what = _ENDS.get(ending["ends"], "it")
        said = Span(f"{what} {'completes' if is_done else 'fails'}", "good" if is_done else "bad")
        return [said, _write_result(ending)]

    def _view_step(self, step: Told, depth: int, width: int) -> Iterator[Line]:
        first, *rest = self._list_heads(step)
        yield from self._fold(depth, Span(step["step"].ljust(width), "strong"), "  ", *first, hang=width + 4)
        for line in rest:
            yield from self._fold(depth, " " * (width + 2), *line, hang=width + 4)
        for inner in step.get("bodies", ()):
            yield from self._view_inner(inner, step, depth + 2)
        for arm in step.get("arms", ()):
            yield from self._view_arm(arm, step, depth + 2)
        if step.get("does", {}).get("refuses"):
            yield from self._fold(depth + 2, Span("any other answer is refused", "faint"))

    def _list_heads(self, step: Told) -> list[list[Span | str]]:
        """What it does, and what is to be said of that."""
        if step.get("runs", True) is False:
            return [[Span("skipped", "faint"), f", since this does not hold: {step['condition']}"]]
        does = step.get("does", {})
        lines: list[list[Span | str]] = [[text] for text in _list_doings(step, does)]
        if "ends" in does:
            lines.append(self._write_ending(does))
        if "answer" in does and not step.get("arms"):
            lines += map(list, view_fields(does["answer"], self.screen))
        if step.get("runs", True) is None:
            lines.append([Span(f"only if {step['condition']}", "asking")])
        if notes := list(_list_notes(step, does)):
            lines.append([Span(", ".join(notes), "faint")])
        if "fails" in step:
            lines.append([Span("this fails", "bad"), f": {step['fails']}"])
        return lines or [[""]]

    def _view_inner(self, inner: Told, step: Told, depth: int) -> Iterator[Line]:
        item = f" {_write(inner['item'])}" if "item" in inner else ""
        name = str(inner["name"])
        if step["kind"] == "foreach":
            name = "each item" if name == "each" else f"[{name}]"
        yield from self._fold(depth, Span(name, "strong"), item, ":")
        if "fails" in inner:
            yield from self._fold(depth + 1, Span("this fails", "bad"), f": {inner['fails']}")
        yield from self.view_way(inner.get("way", []), depth + 1, ends_quietly=True)
        if inner.get("cleanup"):
            yield from self._fold(depth + 1, Span("finally", "strong"), ", whatever happens:")
            yield from self.view_way(inner["cleanup"], depth + 2, ends_quietly=True)

    def _view_arm(self, arm: Told, step: Told, depth: int) -> Iterator[Line]:
        when = _write_when(arm, step)
        way = arm.get("way", [])
        if len(way) == 1 and "step" not in way[0]:
            only = way[0]
            yield from self._fold(depth, when, " ", *self._write_only(only))
            return
        yield from self._fold(depth, when)
        yield from self.view_way(way, depth + 1)

    def _write_only(self, item: Told) -> list[Span | str]:
        return [_write_jump(item)] if "goto" in item else self._write_ending(item)


def _write_when(arm: Told, step: Told) -> str:
    match arm["why"]:
        case "answer" if arm.get("when") == "true":
            return "any other answer:"
        case "answer":
            return f"if {arm['when'].replace('event.', '')}:"
        case "case":
            return f"{'since' if arm.get('sure') else 'if'} {arm['when']}:"
        case "times_out":
            return f"after {_write_span(step['limits']['timeout_seconds'])} without an answer:"
        case why:
            return {"else": "else:", "skipped": "if it is skipped:", "fails": "if it fails:"}.get(
                why, "then:"
            )


def _list_doings(step: Told, does: Told) -> Iterator[str]:
    now = f"{_NOW[step['now']]}: " if step.get("now") in _NOW else ""
    if step.get("now") == "in_doubt":
        yield "waits now: somebody is asked what came of it"
    if "command" in does:
        yield from _shorten(f"{now}$ " + does["command"].rstrip().replace("\n", "\n  "))
        yield from (f"env {name}={value}" for name, value in does.get("env", {}).items())
        if "stdin" in does:
            yield from _shorten(f"stdin {_write(does['stdin'])}")
    elif "method" in does:
        yield f"{now}{does['method']} {does['url']}"
        yield from (f"{name}: {value}" for name, value in does.get("headers", {}).items())
        if "body" in does:
            yield from _shorten(_write(does["body"]))
    elif "audience" in does:
        who = {"user": "a user", "agent": "an agent", "system": "a system"}[does["audience"]]
        yield from _shorten(f"{now}asks {who}: {does.get('prompt', does['event_name'])}")
        yield from _shorten(does.get("summary", ""))
    elif "over" in does:
        count = does.get("count")
        left = " left" if step.get("now") else ""
        size = "" if count is None else f" ({count:,} item{'' if count == 1 else 's'}{left})"
        yield f"{now}for each of {does['over']}{size}"
    elif step["kind"] == "parallel":
        yield f"{now}at the same time:"
    elif step["kind"] == "workflow":
        yield f"{now}runs another workflow:"
    elif step["kind"] == "switch" and "fails" not in step:
        yield "goes where the first of these leads that holds:" if len(step["arms"]) > 1 else "goes on:"


def _list_notes(step: Told, does: Told) -> Iterator[str]:
    limits = step.get("limits", {})
    if "attempts" in limits:
        yield f"up to {limits['attempts']} attempts"
    if "timeout_seconds" in limits and "audience" not in does:
        yield f"at most {_write_span(limits['timeout_seconds'])}"
    if "lock" in limits:
        yield f"holds the lock {limits['lock']}"
    if "at_once" in does:
        yield f"{does['at_once']} at once"
    if "may_fail" in does:
        yield "all go on if some fail" if does["may_fail"] is None else f"up to {does['may_fail']} may fail"
    if "cwd" in does:
        yield f"in {does['cwd']}"
    if step.get("goes_on"):
        yield "goes on even if it fails"


def _shorten(text: str) -> Iterator[str]:
    lines = text.splitlines()
    yield from lines[:MAX_LINES]
    if len(lines) > MAX_LINES:
        yield f"… {len(lines) - MAX_LINES} lines more; all of it: --json"


def _write_jump(jump: Told) -> str:
    return f"→ {jump['goto']} ({jump['shown']})"


def _says_nothing(ending: Told) -> bool:
    return "step" not in ending and "result" not in ending and ending["status"] == "completed"


def _write_result(ending: Told) -> str:
    return f": {_write(ending['result'])}" if "result" in ending else ""


def _write_span(seconds: float | str) -> str:
    return seconds if isinstance(seconds, str) else format_span(seconds)


def _write(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
