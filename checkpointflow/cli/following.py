"""What can be done next, as lines that can be run as they are: for programs, and for whoever reads them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Annotated, NamedTuple, assert_never

from msgspec import Meta, Struct

from checkpointflow.cli.location import join_line, name_command
from checkpointflow.engine.facts import Breakdown, Wait
from checkpointflow.engine.run import Run, waits
from checkpointflow.errors import CheckpointflowError, DirectoryGone, LockConflict, NotTrusted, RunNotEnded
from checkpointflow.store.clock import now
from checkpointflow.store.directory import RunDirectory

MAX_QUESTIONS = 10


Words = tuple[str, ...]
"""A command and its options, to be given the run as well."""


class Move(NamedTuple):
    """One thing that can be done to a run. by_hand: what a person types for it, if not the same."""

    why: str
    words: Words
    by_hand: Words | None = None


CANCEL = "cancel", "--reason", "no longer needed"
WAIT = Move("wait until it asks something or has ended", ("wait",), by_hand=("watch",))


class Next(Struct, frozen=True, kw_only=True):
    """One thing that can be done."""

    argv: Annotated[tuple[str, ...], Meta(description="The words of the line, for who needs no shell.")]
    command: Annotated[str, Meta(description="The line, for a shell.")]
    why: Annotated[str, Meta(description="What it is good for.")]


def make_next(directory: RunDirectory, why: str, command: str, *more: str) -> Next:
    """Having *command* done to the run in *directory*."""
    argv = name_command(command, directory, *more)
    return Next(argv=tuple(argv), command=join_line(argv), why=why)


def name_answer(path: str, wait: Wait) -> list[str]:
    """The options that say which question is answered, by its step, and that the answer is in a file."""
    attempt = [] if wait.in_doubt is None else ["--attempt", str(wait.in_doubt.attempt)]
    return ["--step", path, *attempt, "--input", "@response.json"]


def make_lines(moves: Iterable[Move], directory: RunDirectory) -> tuple[Next, ...]:
    """*moves* as lines for the run in *directory*."""
    return tuple(make_next(directory, move.why, *move.words) for move in moves)


def find_offers(moves: Iterable[Move]) -> tuple[Words, ...]:
    """What a person types for *moves*, each line once."""
    typed = (move.words if move.by_hand is None else move.by_hand for move in moves)
    return tuple(dict.fromkeys(words for words in typed if words))


def list_moves(run: Run, directory: RunDirectory, *, is_begun: bool = False) -> tuple[Move, ...]:
    """What can be done about *run* as it stands, the likeliest first; of questions the oldest.

    is_begun: if it runs, somebody takes it up by now.
    """
    return tuple(_find_moves(run, directory, is_begun=is_begun))


def _find_moves(run: Run, directory: RunDirectory, *, is_begun: bool) -> Iterator[Move]:
    where = say_where(run, directory)
    if directory.is_foreign and run.outcome is None:
        yield Move("look at what it would do here, before it goes on", ("inspect",))
    match run.status:
        case "waiting":
            yield from _list_questions(run, where)
        case "running" if is_begun or directory.seems_held():
            yield WAIT
            yield Move("see what it prints", ("logs",), by_hand=())
        case "running":
            yield Move("go on with it: nobody does", ("resume", *where))
        case "failed":
            step = run.outcome.error.step_id if isinstance(run.outcome, Breakdown) else None
            which = () if step is None or step not in run.steps else ("--step", step)
            yield Move("see what the failed step printed", ("logs", *which), by_hand=("logs",))
            yield Move("run what failed again, and go on", ("retry", *where))
        case "completed" | "cancelled":
            pass
        case _:
            assert_never(run.status)


def say_where(run: Run, directory: RunDirectory) -> Words:
    """The options without which nobody goes on with *run*: where its commands run, if that must be said."""
    if run.cwd is None or not os.path.isdir(run.cwd):
        return "--cwd", "."
    return ("--trust",) if directory.is_foreign else ()  # it is said once, by whoever has looked


def _list_questions(run: Run, where: Words) -> Iterator[Move]:
    open_ = waits(run)
    ends = {path: r.wait.timeout_at for path, r in open_.items() if r.wait.timeout_at is not None}
    moment = now() if ends else ""  # the calendar takes long to load
    late = [path for path, end in ends.items() if end <= moment]
    if late:
        why = f"the time of {', '.join(late[:3])} is up: go on without an answer"
        yield Move(why, ("resume", *where))
    for path, record in list(open_.items())[:MAX_QUESTIONS]:
        if path not in late:
            why = f"answer as {record.wait.audience}" if len(open_) > 1 else "answer"  # as `wait` tells
            words = ("resume", *name_answer(path, record.wait), *where)
            yield Move(why, words, by_hand=("answer", *where))


def list_remedies(
    command: str, error: CheckpointflowError, run: Run | None, directory: RunDirectory
) -> tuple[Move, ...]:
    """What helps after *error*, of *command* about *run* (None: it cannot be read)."""
    if run is None or error.remedy == "verify":
        return (Move("find out what is damaged", ("verify",)),)
    match error:
        case LockConflict():
            return WAIT, Move("stop it for good", CANCEL, by_hand=())
        case DirectoryGone() | NotTrusted() if command == "cancel":
            return (
                Move("end it without its `finally`", (*CANCEL, "--no-finally")),
                Move("do its `finally`, too", (*CANCEL, *say_where(run, directory))),
            )
        case RunNotEnded():
            return (Move("end it first", CANCEL),)
        case _:
            return list_moves(run, directory) or (Move("see what it came to", ("inspect",)),)
