"""What follows from all that a run has heard at once: pure but for its past, which is asked for if needed."""

from __future__ import annotations

from collections.abc import Callable

from checkpointflow.documents.program import Program
from checkpointflow.drivers.temporal.hearing import Case, Question
from checkpointflow.drivers.temporal.wire import Decision, Request, make_refusal
from checkpointflow.engine.actions import Effect
from checkpointflow.engine.answers import find_wait
from checkpointflow.engine.bodies import Scene, locate
from checkpointflow.engine.copying import copy_as
from checkpointflow.engine.evolution import fork
from checkpointflow.engine.facts import Fact
from checkpointflow.engine.kinds import begin_attempt
from checkpointflow.engine.messages import Cancel, ChooseDirectory, Deliver, Message, Recover, Retry, Seal
from checkpointflow.engine.rules import advance
from checkpointflow.engine.run import Run, pending
from checkpointflow.engine.soundness import find_unsound
from checkpointflow.errors import CheckpointflowError, RunDiverged, StateCorrupt
from checkpointflow.store.history import find_artifacts, find_sealed_files, fold
from checkpointflow.store.seals import choose_changed


def decide(program: Program, case: Case, past: Callable[[], list[Fact]]) -> list[Decision]:
    """What follows from the questions of *case*, one after the other."""
    run, new, found = case.run, list[Fact](), list[Decision]()

    def tell() -> list[Fact]:
        return [*case.facts, *new]

    def history() -> list[Fact]:
        return [*past(), *tell()]

    begun: set[tuple[str, int]] = set()
    for question in case.questions:
        idle = tuple(action for action in question.idle if (action.path, action.attempt) not in begun)
        decision, run = _decide(program, run, question._replace(idle=idle), case, tell, history)
        if decision.refusal is None:
            begun |= {(action.path, action.attempt) for action in idle}
        new += decision.facts
        found.append(decision)
    return found


def follows(program: Program, run: Run, action: Effect) -> bool:
    """Whether *action* is what the document has *run* do next at its path, to the letter."""
    if find_unsound(program, run) is not None or action not in pending(run):
        return False
    scene = Scene(program, run, run.updated_at)
    body, step = locate(scene, action.path)
    return begin_attempt(scene, body, step, action.path, action.attempt).action == action


def _decide(
    program: Program,
    run: Run,
    question: Question,
    case: Case,
    tell: Callable[[], list[Fact]],
    history: Callable[[], list[Fact]],
) -> tuple[Decision, Run]:
    try:
        if question.adopted is not None:
            run = _adopt(program, run, question.adopted, question.after)
            return Decision(facts=question.adopted, is_foreign=True), run
        messages = _list_messages(run, question, case, history)
        changed, facts = _advance(program, run, messages)
        if facts and not pending(changed):
            changed, facts = _seal_rest(program, changed, facts, case, tell(), question.now)
    except CheckpointflowError as error:
        return Decision(refusal=make_refusal(error)), run
    is_replayed = (
        question.request is not None
        and bool(question.request.answers)
        and not any(isinstance(message, Deliver) for message in messages)
    )
    is_placed = False if case.is_foreign and question.request is not None else None
    return Decision(facts=facts, replayed=is_replayed, is_foreign=is_placed), changed


def _adopt(program: Program, run: Run, facts: list[Fact], after: str) -> Run:
    """*run* once *facts* have happened to it, which followed elsewhere. Raises RunDiverged, StateCorrupt."""
    if run.checkpoint_id != after:
        raise RunDiverged(problem=f"run {run.run_id} has gone on here as well: it is at {run.checkpoint_id}")
    try:
        run = fold(facts, fork(run))
        problem = None if (odd := find_unsound(program, run)) is None else f"no run comes to it, at {odd}"
    except ValueError as error:
        problem = str(error)
    if problem is not None:
        raise StateCorrupt(file="the archive", problem=problem)
    return run


def _list_messages(
    run: Run, question: Question, case: Case, history: Callable[[], list[Fact]]
) -> list[Message]:
    messages = list(question.messages)
    if question.wish is not None:
        messages.append(copy_as(question.wish, Cancel, now=question.now))
    if question.request is not None:
        messages += _list_requested(run, question.request, question, case, history)
    return messages


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
    if cwd is not None and (cwd != run.cwd or case.is_foreign):
        messages.append(ChooseDirectory(now=now, cwd=cwd))
    return messages


def _advance(program: Program, run: Run, messages: list[Message]) -> tuple[Run, list[Fact]]:
    facts: list[Fact] = []
    for message in messages:
        if isinstance(message, ChooseDirectory) and run.outcome is not None:
            continue  # nothing of it will run anywhere
        run, new = advance(program, run, message)
        facts += new
    return run, facts


def _seal_rest(
    program: Program, run: Run, facts: list[Fact], case: Case, before: list[Fact], now: str
) -> tuple[Run, list[Fact]]:
    """The same, with all sealed that steps left undeclared, now that the run rests; *before* came these."""
    known = case.seals | find_sealed_files([*before, *facts])
    # All that was ever declared: a step that ended beside another may have seen it half kept.
    declared = find_artifacts([*before, *facts]).keys()
    undeclared = [file for name, file in sorted(case.left.items()) if name not in declared]
    lying = tuple(choose_changed(undeclared, known))
    if not lying:
        return run, facts
    run, new = advance(program, run, Seal(now=now, files=lying))
    return run, [*facts, *new]
