"""`cpf answer`: a question of a run, answered field by field at a terminal."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from checkpointflow.cli.completing import complete
from checkpointflow.cli.dialogue import Terminal
from checkpointflow.cli.driving import Driving, drive_options
from checkpointflow.cli.envelope import Reply
from checkpointflow.cli.form import Dialogue, fill_in
from checkpointflow.cli.location import find_store, make_shortener
from checkpointflow.cli.options import lock_option, place_options, run_options
from checkpointflow.cli.output import asks_people, can_ask
from checkpointflow.cli.screen import Line, Span, find_screen
from checkpointflow.cli.standing import warnings_about
from checkpointflow.cli.tables import shorten_cell
from checkpointflow.cli.view import list_waits, view_wait
from checkpointflow.diagnostics import point_at
from checkpointflow.drivers import local
from checkpointflow.drivers.sources import read_own_copies
from checkpointflow.engine.actions import CallHttp, RunCommand
from checkpointflow.engine.answers import Answer
from checkpointflow.engine.facts import BlockOpened, Fact, RunCompleted, RunFailed, StepStarted, WaitOpened
from checkpointflow.engine.messages import Deliver
from checkpointflow.engine.rules import advance
from checkpointflow.engine.run import Run, Waiting, waits
from checkpointflow.engine.settle import is_overdue
from checkpointflow.errors import NotAnswered, NothingWaits, RunNotWaiting, UsageError, WaitExpired
from checkpointflow.store.clock import now
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.listing import list_runs
from checkpointflow.store.store import Store

AUDIENCES = ("user", "agent", "system")


@click.command("answer")
@run_options(optional=True)
@click.option(
    "--step",
    metavar="PATH",
    shell_complete=complete("list_step_paths"),
    help="Which question, if the run asks several.",
)
@place_options
@drive_options
@lock_option()
def command(
    directory: RunDirectory | None,
    base_dir: str | None,
    step: str | None,
    place: local.Place,
    lock_timeout: float,
    driving: Driving,
) -> Reply:
    """Answer what a run asks, field by field, and go on.

    Without RUN: choose among all that waits. Nothing is sent before you say so.
    """
    if not can_ask():
        raise UsageError(
            problem="cpf answer asks at a terminal; elsewhere use `cpf resume RUN --event NAME --input JSON`"
        )
    dialogue = Terminal()
    try:
        if directory is None:
            directory, step = _choose_of_store(find_store(base_dir), dialogue)
        run = answer(directory, step, dialogue, driving, place=place, lock_timeout=lock_timeout)
    except (KeyboardInterrupt, EOFError, click.Abort):
        dialogue.tell(())
        raise NotAnswered from None
    if asks_people():
        run = offer(directory, run, driving)
    return driving.answer("answer", run, directory)


def offer(directory: RunDirectory, run: Run, driving: Driving) -> Run:
    """Ask whether a question for people at which *run* rests is to be answered now, and so on."""
    dialogue = Terminal()
    try:
        while paths := [
            path
            for path, record in list_waits(run).items()
            if record.wait.audience == "user" and not is_overdue(record.wait, now())
        ]:
            dialogue.tell((), *view_wait(paths[0], waits(run)[paths[0]], now(), find_screen(sys.stderr)), ())
            driving.has_offered = True
            if dialogue.ask(("Answer it now? (Y/n) ",)).lower() not in ("", "y", "yes"):
                break
            run = answer(directory, paths[0], dialogue, driving, is_shown=True)
            driving.has_offered = False
    except (KeyboardInterrupt, EOFError, click.Abort, NotAnswered):
        dialogue.tell((), (str(NotAnswered()),))
    return run


def answer(
    directory: RunDirectory,
    step: str | None,
    dialogue: Dialogue,
    driving: Driving,
    *,
    place: local.Place = local.WHERE_IT_WAS,
    lock_timeout: float = 0,
    is_shown: bool = False,
) -> Run:
    """Ask what the run asks, send the answer, and go on with it. *is_shown*: the question is, already."""
    run = directory.load()
    local.choose_directory(directory, run, place, local.HERE)  # what would be refused in the end is not asked
    path, record = _choose_wait(run, step, dialogue)
    if is_overdue(record.wait, moment := now()):
        raise WaitExpired(path=path, timeout_at=record.wait.timeout_at)
    if not is_shown:
        warnings = warnings_about(run, directory, is_placed=place != local.WHERE_IT_WAS)
        dialogue.tell(*((Span("warning: ", "asking"), text) for text in warnings))
        dialogue.tell(*view_wait(path, record, moment, find_screen(sys.stderr)), ())
    payload = fill_in(record.wait.input_schema, dialogue)
    _confirm(directory, run, path, record, payload, dialogue)
    given = Answer(event=record.wait.event_name, payload=payload, step=path)
    world = driving.follow(lambda _: directory)
    return local.deliver(directory, [given], place=place, lock_timeout=lock_timeout, world=world).run


def foresee(directory: RunDirectory, run: Run, path: str, payload: Any) -> list[str]:
    """What the answer leads to, as the engine says. Raises what it would be refused with."""
    _, facts = advance(
        read_own_copies(directory, run.workflow), run, Deliver(now=now(), path=path, payload=payload)
    )
    return [text for text in map(_describe, facts) if text is not None]


def _describe(fact: Fact) -> str | None:
    match fact:
        case StepStarted(path=path, action=RunCommand()):
            return f"{path}, a command"
        case StepStarted(path=path, action=CallHttp(method=method)):
            return f"{path}, a call ({method})"
        case WaitOpened(path=path, wait=wait):
            return f"{path}, a question for {wait.audience}"
        case BlockOpened(path=path):
            return path
        case RunCompleted():
            return "the end of the run"
        case RunFailed():
            return "the failure of the run"
        case _:
            return None


def _choose_wait(run: Run, step: str | None, dialogue: Dialogue) -> tuple[str, Waiting]:
    found = [(path, record) for path, record in waits(run).items() if step in (None, path)]
    if run.status != "waiting" or not found:
        raise RunNotWaiting(run_id=run.run_id, status=run.status, problem=_say_what_waits(run, step))
    names = [f"{path}: {record.wait.prompt or record.wait.event_name}" for path, record in found]
    return found[_choose(names, dialogue)]


def _say_what_waits(run: Run, step: str | None) -> str:
    open_ = list_waits(run)
    if step is None or not open_:
        return "it takes no answer"
    return f"{step} takes no answer; {point_at(step, open_, 'these do:')}"


def _choose_of_store(store: Store, dialogue: Dialogue) -> tuple[RunDirectory, str]:
    """One of all questions that an answer is taken for, those for people first."""
    moment = now()
    found = [
        (listed.directory, path, record.wait)
        for listed in list_runs(store)
        if listed.head is not None
        for path, record in listed.head.waits.items()
        if record.wait is not None and not is_overdue(record.wait, moment)
    ]
    if not found:
        raise NothingWaits
    found.sort(key=lambda row: AUDIENCES.index(row[2].audience))
    shorten = make_shortener(store.names())
    names = [
        f"{shorten(directory.place.name)}  {path}, for {wait.audience}: {wait.prompt or wait.event_name}"
        for directory, path, wait in found
    ]
    directory, path, _ = found[_choose(names, dialogue)]
    return directory, path


def _choose(names: list[str], dialogue: Dialogue) -> int:
    """The index of one of *names*; nobody is asked where there is only one."""
    if len(names) == 1:
        return 0
    screen = find_screen(sys.stderr)
    for n, name in enumerate(names, 1):
        number = Span(f"{n:3} ", "strong")
        dialogue.tell((number, shorten_cell(Span(name), screen.width - len(number.text), screen)))
    while True:
        text = dialogue.ask((f"Which one (1-{len(names)})? ",))
        if text.isdecimal() and 0 < int(text) <= len(names):
            return int(text) - 1


def _confirm(
    directory: RunDirectory,
    run: Run,
    path: str,
    record: Waiting,
    payload: Any,
    dialogue: Dialogue,
) -> None:
    """Show what will be sent and what it leads to. Raises NotAnswered unless it is to be sent."""
    leads_to = foresee(directory, run, path, payload)
    text = json.dumps(payload, ensure_ascii=False)
    dialogue.tell((), ("  ", Span(record.wait.event_name, "strong"), " ", text))
    if leads_to:
        dialogue.tell(("  ", Span(f"leads to {'; '.join(leads_to)}", "faint")))
    if record.wait.risk_level == "high":
        word = record.wait.event_name
        _require(("The risk is high. Type ", Span(word, "strong"), " to send it: "), (word,), ("",), dialogue)
    else:
        _require(("Send it? (Y/n) ",), ("", "y", "Y", "yes", "Yes"), ("n", "N", "no", "No"), dialogue)


def _require(question: Line, yes: tuple[str, ...], no: tuple[str, ...], dialogue: Dialogue) -> None:
    """Ask until one of *yes* is typed: a slip costs no form. Raises NotAnswered for one of *no*."""
    while (word := dialogue.ask(question)) not in yes:
        if word in no:
            raise NotAnswered
