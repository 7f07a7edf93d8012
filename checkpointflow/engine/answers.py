"""Which wait an answer is for, and whether it has been given before.

Whoever gives an answer may hear nothing of what came of it, and give it again. It counts once: an answer that
equals the last one to its event repeats that one, unless it names another wait. So it is never taken for the
answer to the next visit of a loop, which asks the same. A step and the attempt that it is asked about name a
wait for good; a step alone is enough where somebody has to choose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from checkpointflow.diagnostics import find_nearest
from checkpointflow.engine.facts import EventTaken, Fact, Wait, digest_answer
from checkpointflow.engine.run import Given, Run, Waiting, waits
from checkpointflow.errors import AnsweredOtherwise, EventMismatch, RunNotWaiting


class Answer(Struct, frozen=True, kw_only=True):
    """What somebody answers. What is None is left to be found: it must be the only one.

    event: its name; step: the path of the step that asks; attempt: the one whose outcome is asked for.
    """

    payload: Any
    event: str | None = None
    step: str | None = None
    attempt: int | None = None


def find_wait(run: Run, answer: Answer, facts: Callable[[], Iterable[Fact]] = tuple) -> str | None:
    """The path of the wait that *answer* is for; None if it was given before, and nothing is to be done.

    *facts* gives all that has happened; it is asked only when no open wait can be meant. Raises
    RunNotWaiting, EventMismatch, AnsweredOtherwise.
    """
    if _is_repeated(run, answer):
        return None
    found = {path: record for path, record in waits(run).items() if _may_mean(answer, path, record.wait)}
    if len(found) == 1:
        return next(iter(found))
    if found:
        raise EventMismatch(problem=_describe_choice(found), details={"waits": _list_waits(found)})
    taken = find_taken(facts(), answer) if run.answers else None
    if taken is None:
        raise _refuse(run, answer)
    if digest_answer(taken.payload) == digest_answer(answer.payload):
        return None
    raise AnsweredOtherwise(
        step=taken.path,
        event=taken.event_name,
        at=taken.at,
        by=taken.by or "somebody",
        details={"step": taken.path, "event_name": taken.event_name, "answer": taken.payload},
    )


def find_taken(facts: Iterable[Fact], answer: Answer) -> EventTaken | None:
    """The last of *facts* that is an answer to the event, step and attempt that *answer* names."""
    taken = None
    for fact in facts:
        if isinstance(fact, EventTaken) and _names(answer, fact.event_name, fact.path, fact.attempt):
            taken = fact
    return taken


def _is_repeated(run: Run, answer: Answer) -> bool:
    """Whether *answer*, which names no step, equals the last one."""
    last = _find_last(run, answer.event)
    return (
        last is not None
        and answer.step is None
        and answer.attempt in (None, last.attempt)
        and last.digest == digest_answer(answer.payload)
    )


def _find_last(run: Run, event: str | None) -> Given | None:
    """The last answer to *event*, or to any."""
    return run.answers.get(event) if event is not None else next(reversed(run.answers.values()), None)


def _may_mean(answer: Answer, path: str, wait: Wait) -> bool:
    return _names(answer, wait.event_name, path, None if wait.in_doubt is None else wait.in_doubt.attempt)


def _names(answer: Answer, event: str, step: str, attempt: int | None) -> bool:
    """Whether *answer* is about these, as far as it says what it is about."""
    return answer.event in (None, event) and answer.step in (None, step) and answer.attempt in (None, attempt)


def _list_waits(found: dict[str, Waiting]) -> list[dict[str, str]]:
    return [{"event_name": w.wait.event_name, "step": path} for path, w in found.items()]


def _describe_choice(found: dict[str, Waiting]) -> str:
    names = {record.wait.event_name for record in found.values()}
    if len(names) == 1:
        return f"several steps wait for the event {names.pop()}: {', '.join(found)}; choose one with --step"
    listed = ", ".join(f"{record.wait.event_name} at {path}" for path, record in found.items())
    return f"name the event with --event; the run waits for {listed}"


def _refuse(run: Run, answer: Answer) -> EventMismatch | RunNotWaiting:
    """What is told to somebody whose *answer* is for nothing that *run* waits or has waited for."""
    open_ = waits(run)
    if not open_:
        return RunNotWaiting(run_id=run.run_id, status=run.status, problem="it takes no event")
    events = {record.wait.event_name for record in open_.values()}
    listed = ", ".join(f"{record.wait.event_name} at {path}" for path, record in open_.items())
    what = f" for the event {answer.event}" if answer.event else ""
    where = f" at {answer.step}" if answer.step else ""
    which = f" for an answer about attempt {answer.attempt}" if answer.attempt else ""
    near = find_nearest(answer.event, events - {answer.event}) if answer.event else None
    near = near or (find_nearest(answer.step, open_.keys() - {answer.step}) if answer.step else None)
    hint = f"; did you mean {near}?" if near else ""
    problem = f"run {run.run_id} does not wait{what}{where}{which}; it waits for {listed}{hint}"
    return EventMismatch(problem=problem, details={"waits": _list_waits(open_)})
