"""The one place where a run changes: a fact in, the run as it then is out.

`evolve` never refuses and never decides: whether a fact may happen is for `rules` and `settle` to say. It
leaves the run that it is given as it was. Whoever folds many facts would copy all records for each of them,
which made a step cost what the document is long; so `fork` copies once, and `apply` changes that copy.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile
from typing import TypeVar, assert_never

from msgspec.structs import replace

from checkpointflow.digests import sha256
from checkpointflow.engine.copying import copy_as
from checkpointflow.engine.facts import (
    AttemptFailed,
    BlockOpened,
    BodyClosed,
    BodyOpened,
    Breakdown,
    CancelBegan,
    Cancellation,
    Completion,
    DirectoryChosen,
    EventTaken,
    Fact,
    FilesSealed,
    FinallyBegan,
    OfStep,
    RunBegan,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunOutcome,
    StepDeferred,
    StepFact,
    StepFailed,
    StepInterrupted,
    StepSkipped,
    StepsReopened,
    StepStarted,
    StepSucceeded,
    Wait,
    WaitOpened,
    digest_answer,
    encode_fact,
)
from checkpointflow.engine.path import ROOT, finally_path, host_of, is_in_finally, owner, split, step_path
from checkpointflow.engine.run import (
    Active,
    Cancelled,
    Cursor,
    Failed,
    Given,
    Opened,
    Record,
    Run,
    Skipped,
    Started,
    Succeeded,
    Waiting,
    bodies_of,
    current_path,
    derive_status,
    find_active,
)

MAX_IN_LIST = 35_000  # steps or branches: no document holds as many, and what is told of them is copied
MAX_CHUNK = 128  # outputs of iterations that stand together in a record, so that adding one copies little


def evolve(run: Run | None, fact: Fact) -> Run:
    """*run* as it is once *fact* has happened (None: before its first). Never refuses, never decides."""
    return apply(None if run is None else fork(run), [fact])


def fork(run: Run) -> Run:
    """A copy of *run* that `apply` may change."""
    return replace(
        run,
        steps=dict(run.steps),
        cursors=dict(run.cursors),
        answers=dict(run.answers),
        active=dict(run.active),
        inside={body: dict(paths) for body, paths in run.inside.items()},
    )


def apply(run: Run | None, facts: Iterable[Fact], checkpoint_id: str | None = None) -> Run:
    """As `evolve`, for all of *facts*, of a *run* that nobody else looks at any more: its maps are changed.

    *checkpoint_id*: of the checkpoint that the last of them makes, where somebody has worked it out already.
    """
    remaining = iter(facts)
    if run is None:
        first = next(remaining)
        assert isinstance(first, RunBegan), "a run begins with RunBegan"
        run = _begin(first)
    outcome, revision, now, known, cwd = run.outcome, run.revision, run.updated_at, run.checkpoint_id, run.cwd
    for fact in remaining:
        if type(fact) is DirectoryChosen:
            cwd = fact.cwd
        outcome = _change(run, fact, outcome)
        revision += 1
        now = fact.at
        if checkpoint_id is None:
            known = chain(known, fact)
    return replace(
        run,
        outcome=outcome,
        status=derive_status(outcome, run.active.values()),
        revision=revision,
        checkpoint_id=checkpoint_id or known,
        updated_at=now,
        cwd=cwd,
    )


def chain(checkpoint_id: str, fact: Fact) -> str:
    """The id of the checkpoint that *fact* makes of the one called *checkpoint_id*."""
    return sha256(checkpoint_id.encode() + b"\n" + encode_fact(fact)).hexdigest()


def _begin(fact: RunBegan) -> Run:
    return Run(
        run_id=fact.run_id,
        status="running",
        revision=1,
        checkpoint_id=chain("", fact),
        started_at=fact.at,
        updated_at=fact.at,
        workflow=fact.workflow,
        cwd=fact.cwd,
        inputs=fact.inputs,
        env=fact.env,
        outcome=None,
        cursors={ROOT: Cursor()},
        steps={},
        answers={},
        active={},
        inside={},
    )


def _change(run: Run, fact: Fact, outcome: RunOutcome | None) -> RunOutcome | None:
    """Change the maps of *run*, which has come to *outcome*; returns what it has come to then."""
    if isinstance(fact, OfStep):  # one look for most facts: what a Struct is not takes long to find out
        _note(run, fact.path, _record(run.steps.get(fact.path), fact))
        return outcome
    match fact:
        case BodyOpened():
            _open_body(run, fact)
        case BodyClosed():
            _close_body(run, fact)
        case FinallyBegan(body=body, outcome=ending):
            run.cursors[body] = replace(run.cursors[body], ending=ending)
            run.cursors.setdefault(finally_path(body), Cursor())
        case CancelBegan(reason=reason):
            run.cursors[ROOT] = replace(run.cursors[ROOT], cancelled=reason)
            # What is open stays so for each `finally` inside of it.
            stopped = (path for path, record in run.active.items() if not isinstance(record, Opened))
            _cancel_steps(run, fact.at, [path for path in stopped if not is_in_finally(path)])
        case FilesSealed() | DirectoryChosen():
            pass
        case EventTaken(event_name=name):
            run.answers.pop(name, None)  # so that it comes to stand last
            run.answers[name] = Given(
                step=fact.path, attempt=fact.attempt, digest=digest_answer(fact.payload)
            )
        case RunCompleted(result=result):
            return Completion(result)
        case RunFailed(error=error):
            if run.cursors[ROOT].cancelled is not None:
                _cancel_steps(run, fact.at, list(run.active))
            return Breakdown(error)
        case RunCancelled(reason=reason):
            _cancel_steps(run, fact.at, list(run.active))
            return Cancellation(reason)
        case StepsReopened(path=path):
            _reopen(run, path)
            return None
        case RunBegan():
            raise ValueError("a run begins once")
        case _:
            assert_never(fact)
    return outcome


def _cancel_steps(run: Run, now: str, paths: list[str]) -> None:
    for path in paths:
        run.steps[path] = Cancelled(started_at=run.active.pop(path).started_at, ended_at=now)


# A step


def _record(record: Record | None, fact: StepFact) -> Record:
    """The record of a step that stood at *record*, once *fact* has happened to it."""
    match fact:
        case StepStarted(at=now, action=action):
            return Started(started_at=_find_beginning(record, now), action=action)
        case StepSucceeded(at=now):
            return copy_as(
                fact,
                Succeeded,
                attempts=_count_attempts(record),
                started_at=_find_beginning(record, now),
                ended_at=now,
            )
        case StepSkipped(at=now):
            return Skipped(ended_at=now)
        case StepInterrupted():
            return replace(_expect(record, Started), on_hold="interrupted")
        case StepDeferred():
            return replace(_expect(record, Started), on_hold="deferred")
        case AttemptFailed():
            return _expect(record, Started)
        case WaitOpened(at=now, wait=wait):
            return Waiting(started_at=_find_beginning(record, now), wait=wait)
        case BlockOpened(at=now, items=items):
            return Opened(started_at=now, items=items)
        case StepFailed(at=now):
            return copy_as(
                fact,
                Failed,
                block=record if isinstance(record, Opened) else None,
                attempts=_count_attempts(record),
                started_at=_find_beginning(record, now),
                ended_at=now,
            )
        case _:
            assert_never(fact)


R = TypeVar("R", Started, Opened)
V = TypeVar("V")


def _expect(record: Record | None, kind: type[R]) -> R:
    assert isinstance(record, kind), f"{record!r} is not a {kind.__name__}"
    return record


def _find_beginning(record: Record | None, now: str) -> str:
    return record.started_at if isinstance(record, Active) else now


def _count_attempts(record: Record | None) -> int:
    match record:
        case Started(action=action):
            return action.attempt
        case Waiting(wait=Wait(in_doubt=action)) if action is not None:
            return action.attempt
        case _:
            return 1


def _note(run: Run, path: str, record: Record) -> None:
    """Put *record* at *path*, where the cursor of its body now is."""
    body, step, visit = split(path)
    cursor = run.cursors[body]
    if cursor.step != step or path not in run.steps:  # the first fact of this visit
        if cursor.step is not None:
            _forget_bodies(run, str(current_path(run, body)))
        seen = cursor.visits
        if visit > 1:
            seen = {**seen, step: visit}
            if len(seen) > MAX_IN_LIST:
                raise ValueError(f"{body} would have more than {MAX_IN_LIST} steps")
            # Only the latest visit is kept, or a loop would make the run grow without end.
            before = step_path(body, step, visit - 1)
            if before in run.steps:
                _drop_step(run, before)
        run.cursors[body] = replace(cursor, step=step, visits=seen)
    _set(run, path, record)


def _set(run: Run, path: str, record: Record) -> None:
    if path not in run.steps and "/" in path:
        run.inside.setdefault(path.rpartition("/")[0], {})[path] = None
    run.steps[path] = record
    if isinstance(record, Active):
        run.active[path] = record
    else:
        run.active.pop(path, None)


def _forget_bodies(run: Run, left: str) -> None:
    """Drop what the block at *left* had kept of its failed bodies: it was survived, and is left now."""
    record = run.steps.get(left)
    if isinstance(record, Failed) and record.block is not None:
        _drop_bodies(run, bodies_of(run, left))


def _drop_bodies(run: Run, bodies: Iterable[str]) -> None:
    """Drop those of *bodies* that are there, with all steps and bodies in them, however deep."""
    found = [body for body in bodies if body in run.cursors]
    for body in found:  # which grows meanwhile
        for path in run.inside.pop(body, ()):
            found += [inner for inner in bodies_of(run, path) if inner in run.cursors]
            del run.steps[path]
            run.active.pop(path, None)
        if finally_path(body) in run.cursors:
            found.append(finally_path(body))
        del run.cursors[body]


def _drop_step(run: Run, path: str) -> None:
    del run.steps[path]
    run.active.pop(path, None)
    if "/" in path:
        body = path.rpartition("/")[0]
        del run.inside[body][path]
        if not run.inside[body]:
            del run.inside[body]


# A body


def _open_body(run: Run, fact: BodyOpened) -> None:
    path, key = owner(fact.body)
    block = _expect(run.steps[path], Opened)
    if len(block.open) + len(block.failed) >= MAX_IN_LIST:
        raise ValueError(f"{path} would have more than {MAX_IN_LIST} bodies at once")
    run.cursors[fact.body] = Cursor(inputs=fact.inputs, called=fact.called, index=fact.index)
    _set(run, path, replace(block, begun=block.begun + 1, open=(*block.open, key)))


def _close_body(run: Run, fact: BodyClosed) -> None:
    """Of a body only what it came to is kept, of one whose failure is to be answered for everything."""
    path, key = owner(fact.body)
    block = _expect(run.steps[path], Opened)
    place = block.open.index(key)
    block = replace(block, open=block.open[:place] + block.open[place + 1 :])
    if fact.error is None:
        block = replace(block, ended=_add(block.ended, key, fact.outputs))
    elif fact.survived:
        block = replace(block, survived=_add(block.survived, key, fact.error))
    else:
        _set(run, path, replace(block, failed={**block.failed, key: fact.error}))
        return
    _drop_bodies(run, [fact.body])
    _set(run, path, block)


def _add(chunks: tuple[dict[str, V], ...], key: str, value: V) -> tuple[dict[str, V], ...]:
    if not chunks or len(chunks[-1]) >= MAX_CHUNK:
        return (*chunks, {key: value})
    return (*chunks[:-1], {**chunks[-1], key: value})


# Going back


def _reopen(run: Run, path: str) -> None:
    """Make *run* as if it had not yet come to the step at *path*, nor to anything after it in its body."""
    body = split(path)[0]
    after = takewhile(path.__ne__, reversed(run.steps if body == ROOT else run.inside[body]))
    _forget_steps(run, body, [path, *reversed([p for p in after if split(p)[0] == body])])
    _open_again(run, body)
    if body != ROOT:
        active = find_active(run.steps)
        run.active.clear()
        run.active.update(active)


def _forget_steps(run: Run, body: str, steps: list[str]) -> None:
    """Have *body* stand before its first of these *steps*, all that it came to last."""
    for step in steps:
        _drop_bodies(run, bodies_of(run, step))
        _drop_step(run, step)
    cursor = run.cursors[body]
    # Their visits go on counting, so that what is done anew has paths, logs and idempotency keys of its own.
    counts = {s: v for _, s, v in map(split, steps)}
    run.cursors[body] = replace(cursor, step=None, visits={**cursor.visits, **counts})


def _open_again(run: Run, body: str) -> None:
    """Have *body*, and those around it, under way again; what followed them of a `finally` is taken back."""
    while True:
        host = host_of(body)
        if host is not None:  # it goes on, and what its host had come to stands
            body = host
        elif run.cursors[body].ending is not None:
            run.cursors[body] = replace(run.cursors[body], ending=None)
            _forget_steps(run, finally_path(body), list(run.inside.get(finally_path(body), ())))
        if body == ROOT:
            return
        path, key = owner(body)
        record = run.steps[path]
        block = record.block if isinstance(record, Failed) else record
        if isinstance(block, Opened) and key in block.failed:
            failed = {k: error for k, error in block.failed.items() if k != key}
            run.steps[path] = replace(block, open=(*block.open, key), failed=failed)
        body = split(path)[0]
