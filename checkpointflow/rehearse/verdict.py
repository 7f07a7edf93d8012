"""What was expected of a test against what came of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import ndiff
from typing import Any

from msgspec import UNSET, Struct

from checkpointflow.diagnostics import Diagnostic
from checkpointflow.engine.actions import Error
from checkpointflow.engine.facts import Breakdown, Completion
from checkpointflow.engine.run import Run, Waiting, waits
from checkpointflow.expressions.values import as_json
from checkpointflow.rehearse.fixtures import Case, ErrorWanted, Expectation, Pattern, Wanted
from checkpointflow.rehearse.names import is_meant
from checkpointflow.rehearse.rehearsal import Issued, Rehearsal
from checkpointflow.rehearse.samples import make_sample
from checkpointflow.rehearse.writing import write_flow


class Difference(Struct, frozen=True, omit_defaults=True):
    """Something that came otherwise. what: where it stands; lines: as a diff; note: what to do."""

    what: str
    lines: tuple[str, ...]
    note: str | None = None


class Verdict(Struct, frozen=True, kw_only=True):
    """How a test came out: passed if there is neither. gaps: what the test fails to say."""

    name: str
    differences: tuple[Difference, ...] = ()
    gaps: tuple[Diagnostic, ...] = ()

    @property
    def outcome(self) -> str:
        """`passed`, `failed` or `wrong`: that is, the test itself."""
        return "wrong" if self.gaps else "failed" if self.differences else "passed"


def judge(case: Case, came: Rehearsal) -> Verdict:
    """How *case* came out."""
    differences = () if came.gaps else tuple(_find_differences(case.expect, came))
    return Verdict(name=case.name, differences=differences, gaps=tuple(came.gaps))


def _find_differences(wanted: Expectation, came: Rehearsal) -> Iterator[Difference]:
    run = came.run
    yield from _compare_refusal(wanted.refused, came.refused)
    if wanted.refused is None and came.refused is not None:
        return
    if run is not None:
        yield from _compare_ends(wanted, run)
    yield from _compare_path(wanted.path, came.entered)
    for name in wanted.never:
        for path in came.entered:
            if is_meant(name, path):
                yield Difference("never", (f"- never {name}", f"+ the run came to {path}"))
    for name, texts in wanted.commands.items():
        yield from _compare_commands(name, texts, [one for one in came.issued if is_meant(name, one.path)])
    for idle in came.idle:
        yield Difference(idle, (f"- {idle}", "+ the run came to nothing that this is said of"))


def _compare_refusal(wanted: Wanted | None, refused: str | None) -> Iterator[Difference]:
    if wanted is None and refused is not None:
        yield Difference("refused", (f"+ {refused}",))
    elif wanted is not None and (refused is None or not fits(wanted, refused)):
        yield Difference("refused", (f"- {_show(wanted)}", f"+ {refused or 'nothing was refused'}"))


# How it ends


def _compare_ends(wanted: Expectation, run: Run) -> Iterator[Difference]:
    status = wanted.status or _expect_status(wanted)
    if status is not None and status != run.status:
        yield Difference("status", (f"- {status}", f"+ {run.status}{_explain(run)}"), _advise(run))
        return
    if wanted.waiting_for is not None:
        yield from _compare_waits(wanted.waiting_for, waits(run))
    if wanted.result is not UNSET:
        result = run.outcome.result if isinstance(run.outcome, Completion) else UNSET
        yield from compare(wanted.result, result, "result")
    if wanted.error is not None and isinstance(run.outcome, Breakdown):
        yield from _compare_errors(wanted.error, run.outcome.error)


def _expect_status(wanted: Expectation) -> str | None:
    if wanted.refused is not None:
        return None
    if wanted.waiting_for is not None:
        return "waiting"
    return "completed" if wanted.error is None else "failed"


def _compare_waits(wanted: str, open_: dict[str, Waiting]) -> Iterator[Difference]:
    events = {path: record.wait.event_name for path, record in open_.items()}
    if not any(wanted == event or is_meant(wanted, path) for path, event in events.items()):
        yield Difference("waiting_for", (f"- {wanted}", *(f"+ {event}" for event in events.values())))


def _compare_errors(wanted: ErrorWanted, error: Error) -> Iterator[Difference]:
    if wanted.code not in (None, error.code):
        yield Difference("error.code", (f"- {wanted.code}", f"+ {error.code}: {error.message}"))
    if wanted.step is not None and not is_meant(wanted.step, error.step_id or ""):
        where = error.step_id or "none: the run as a whole"
        yield Difference("error.step", (f"- {wanted.step}", f"+ {where}"))
    if wanted.message is not None and not fits(wanted.message, error.message):
        yield Difference("error.message", (f"- {_show(wanted.message)}", f"+ {error.message}"))


def _explain(run: Run) -> str:
    if isinstance(run.outcome, Breakdown):
        error = run.outcome.error
        return f", {error.code}{f' at {error.step_id}' if error.step_id else ''}: {error.message}"
    open_ = [f"{record.wait.event_name} at {path}" for path, record in waits(run).items()]
    return f" for {', '.join(open_)}" if open_ else ""


def _advise(run: Run) -> str | None:
    """How the first question would be answered, of a run that waits."""
    for record in waits(run).values():
        sample = write_flow(make_sample({"type": "object", **record.wait.input_schema}))
        return f"an answer would be, under `answers`: {record.wait.event_name}: {sample}"
    return None


# Values, and texts by patterns


def compare(wanted: Any, value: Any, what: str) -> Iterator[Difference]:
    """Where *value* is not as *wanted*: the innermost places, each under *what* leads there."""
    if _is_pattern(wanted):
        if not (isinstance(value, str) and re.search(wanted["matches"], value)):
            yield _tell(what, wanted, value)
    elif isinstance(wanted, dict) and isinstance(value, dict):
        for name in [*wanted, *(name for name in value if name not in wanted)]:
            yield from compare(wanted.get(name, UNSET), value.get(name, UNSET), f"{what}.{name}")
    elif isinstance(wanted, list) and isinstance(value, list) and len(wanted) == len(value):
        for number, (one, other) in enumerate(zip(wanted, value, strict=True)):
            yield from compare(one, other, f"{what}[{number}]")
    elif not _are_same(wanted, value):
        yield _tell(what, wanted, value)


def _is_pattern(wanted: Any) -> bool:
    return isinstance(wanted, dict) and wanted.keys() == {"matches"} and isinstance(wanted["matches"], str)


def _are_same(one: Any, other: Any) -> bool:
    """Whether they are one value: 1 is 1.0, and true is neither."""
    numbers = {type(one), type(other)} == {int, float}
    return (type(one) is type(other) or numbers) and bool(one == other)


def _tell(what: str, wanted: Any, value: Any) -> Difference:
    lines = [f"- {_show_value(wanted)}"] if wanted is not UNSET else []
    return Difference(what, (*lines, *([f"+ {_show_value(value)}"] if value is not UNSET else [])))


def _show_value(value: Any) -> str:
    return _show(Pattern(matches=value["matches"])) if _is_pattern(value) else as_json(value)


def fits(wanted: Wanted, text: str) -> bool:
    """Whether *text*, but for blanks around it, is as *wanted*."""
    if isinstance(wanted, Pattern):
        return re.search(wanted.matches, text) is not None
    return wanted.strip() == text.strip()


def _show(wanted: Wanted) -> str:
    return f"matches {wanted.matches}" if isinstance(wanted, Pattern) else wanted


# The way


def _compare_path(wanted: tuple[str, ...] | None, entered: Iterable[str]) -> Iterator[Difference]:
    if wanted is None:
        return
    has_bodies = any("/" in name for name in wanted)
    came = [path for path in entered if has_bodies or "/" not in path]
    pairs = zip(wanted, came, strict=False)
    if len(wanted) == len(came) and all(is_meant(name, path) for name, path in pairs):
        return
    # As the test names them, where it does, so that only what differs is told.
    named = [next((name for name in wanted if is_meant(name, path)), path) for path in came]
    lines = tuple(line.rstrip() for line in ndiff(wanted, named) if not line.startswith("?"))
    yield Difference("path", lines)


def _compare_commands(
    name: str, texts: Wanted | tuple[Wanted, ...], issued: list[Issued]
) -> Iterator[Difference]:
    what = f"commands.{name}"
    if not isinstance(texts, tuple):
        if not issued:
            yield Difference(what, (f"- {_show(texts)}", "+ it was not run"))
        texts = (texts,) * len(issued)
    if len(texts) != len(issued):
        shown = (*(f"- {_show(text)}" for text in texts), *(f"+ {one.text}" for one in issued))
        yield Difference(what, shown)
        return
    for text, one in zip(texts, issued, strict=True):
        if not fits(text, one.text):
            yield Difference(what, (*_prefix("- ", _show(text)), *_prefix("+ ", one.text)))


def _prefix(sign: str, text: str) -> list[str]:
    return [f"{sign}{line}" for line in text.strip().split("\n")]
