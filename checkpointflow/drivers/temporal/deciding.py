"""What follows from all that a run has heard at once: pure but for its past, which is asked for if needed."""

from __future__ import annotations

from collections.abc import Callable

from checkpointflow.documents.program import Program
from checkpointflow.drivers.temporal.hearing import Case, Question
from checkpointflow.drivers.temporal.wire import Decision, Request, make_refusal
from checkpointflow.engine.answers import find_wait
from checkpointflow.engine.copying import copy_as
from checkpointflow.engine.evolution import apply, fork
from checkpointflow.engine.facts import Fact
from checkpointflow.engine.messages import Cancel, ChooseDirectory, Deliver, Message, Recover, Retry, Seal
from checkpointflow.engine.rules import advance
from checkpointflow.engine.run import Run, pending
from checkpointflow.errors import CheckpointflowError
from checkpointflow.store.history import find_artifacts, find_sealed_files
from checkpointflow.store.seals import choose_changed


def decide(program: Program, case: Case, past: Callable[[], list[Fact]]) -> list[Decision]:
    """What follows from the questions of *case*, one after the other."""
    run, facts, found = case.run, list(case.facts), list[Decision]()

    def history() -> list[Fact]:
        return [*past(), *facts]

    for question in case.questions:
        decision, run = _decide(program, run, question, case, history)
        facts += decision.facts
        found.append(decision)
    return found


def _decide(
    program: Program, run: Run, question: Question, case: Case, history: Callable[[], list[Fact]]
) -> tuple[Decision, Run]:
    if question.adopted is not None:
        return Decision(facts=question.adopted), apply(fork(run), question.adopted)
    try:
        messages = _list_messages(run, question, case, history)
        changed, facts = _advance(program, run, messages)
        if facts and not pending(changed):
            changed, facts = _seal_rest(program, changed, facts, case, question.now)
    except CheckpointflowError as error:
        return Decision(refusal=make_refusal(error)), run
    is_replayed = (
        question.request is not None
        and bool(question.request.answers)
        and not any(isinstance(message, Deliver) for message in messages)
    )
    return Decision(facts=facts, replayed=is_replayed), changed


def _list_messages(
    run: Run, question: Question, case: Case, history: Callable[[], list[Fact]]
) -> list[Message]:
    if question.wish is not None:
        return [copy_as(question.wish, Cancel, now=question.now)]
    if question.request is not None:
        return _list_requested(run, question.request, question, case, history)
    return list(question.messages)


def _list_requested(
    run: Run, request: Request, question: Question, case: Case, history: Callable[[], list[Fact]]
) -> list[Message]:
    """What a request tells the run, in the order in which a local driver tells it."""
    now = question.now
    found = [(find_wait(run, answer, history), answer.payload) for answer in request.answers]
    messages: list[Message] = [
        Deliver(now=now, path=path, payload=payload, by=request.by) for path, payload in found if path
    ]
    messages.append(Recover(now=now, lost=question.idle))
    if request.retries:
        messages.append(Retry(now=now, path=request.step))
    cwd = request.cwd or run.cwd
    if cwd is not None and run.outcome is None and (cwd != run.cwd or case.is_foreign):
        messages.append(ChooseDirectory(now=now, cwd=cwd))
    return messages


def _advance(program: Program, run: Run, messages: list[Message]) -> tuple[Run, list[Fact]]:
    facts: list[Fact] = []
    for message in messages:
        run, new = advance(program, run, message)
        facts += new
    return run, facts


def _seal_rest(program: Program, run: Run, facts: list[Fact], case: Case, now: str) -> tuple[Run, list[Fact]]:
    """The same, with all sealed that steps left undeclared, now that the run rests."""
    known = case.seals | find_sealed_files(facts)
    declared = find_artifacts(facts).keys()
    # What `seals` has besides is sealed or was declared, and then its seal is as it was.
    undeclared = [file for name, file in sorted(case.left.items()) if name not in declared]
    lying = tuple(choose_changed(undeclared, known))
    if not lying:
        return run, facts
    run, new = advance(program, run, Seal(now=now, files=lying))
    return run, [*facts, *new]
