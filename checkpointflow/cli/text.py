"""What a command has to tell, as text for people; made of the very same answer as the envelope."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from msgspec import UNSET

from checkpointflow.cli.durations import format_span, seconds_between
from checkpointflow.cli.envelope import LogShown, Reply
from checkpointflow.cli.location import command_for, find_short_id, join_line, make_shortener, shorten_lines
from checkpointflow.cli.output import is_watched
from checkpointflow.cli.screen import Line, Screen, Span
from checkpointflow.cli.tails import clean_lines
from checkpointflow.cli.view import list_waits, view_failure, view_fields, view_head, view_steps, view_wait
from checkpointflow.engine.facts import Breakdown, Cancellation
from checkpointflow.engine.path import FINALLY, step_path
from checkpointflow.engine.run import Run, is_ending
from checkpointflow.store.clock import now
from checkpointflow.store.directory import Note, RunDirectory

DRIVING = ("run", "resume", "retry", "retry-step", "answer")
TAIL_LINES = 8
MAX_VALUE_LINES = 40


def show(answer: Reply, screen: Screen) -> str:
    """The text of *answer*."""
    text = screen.render(_view(answer, screen))
    return text if answer.directory is None else shorten_lines(text, answer.directory)


def _view(answer: Reply, screen: Screen) -> Iterable[Line]:
    command, result = answer.envelope.command, answer.envelope.result
    if command in ("list", "waits", "tick", "work", "artifacts") and result is not UNSET:
        from checkpointflow.cli import tables

        view = {
            "list": tables.view_runs,
            "waits": tables.view_waits,
            "tick": tables.view_taken,
            "work": tables.view_asked,
            "artifacts": tables.view_artifacts,
        }[command]
        return view(result, screen, make_shortener(_list_all_ids(answer)))
    if command == "overview":
        return view_overview(result, screen, make_shortener(_list_all_ids(answer)))
    if answer.envelope.logs is not None:
        return view_logs(answer.envelope.logs)
    if command == "flows" and result == {"flows": []}:
        return (("There are no workflows in .checkpointflow/, here or above it, or in the store.",),)
    if command == "validate":
        return view_validation(result, screen)
    if command == "explore":
        from checkpointflow.cli.ways import view_exploration

        return view_exploration(result, screen)
    if command == "test":
        from checkpointflow.cli.verdicts import view_tests

        return view_tests(result, screen)
    if command == "plan":
        return view_ahead(answer, screen)
    if (
        command in ("export", "import", "report", "verify")
        and answer.run is not None
        and answer.directory is not None
    ):
        head = view_head(answer.run, find_short_id(answer.directory), now(), screen)
        lines = [*head, *view_note(answer.envelope.note, screen), *view_value(result, 1)]
        if command == "verify":
            lines.append(("  ", screen.mark("done"), " nothing is wrong with it"))
        elif command == "import":
            lines += view_offers(answer)
        elif command == "export":
            lines += [
                (),
                ("  Elsewhere, take it in with:",),
                ("  ", Span(join_line(["cpf", "import", result["file"]]), "strong")),
            ]
        return lines
    if answer.run is not None and answer.directory is not None:
        return view_run(answer, answer.run, answer.directory, screen)
    return view_value(result) if result is not UNSET else ()


def view_overview(result: dict[str, Any], screen: Screen, shorten: Callable[[str], str]) -> Iterator[Line]:
    """What waits for whoever looks, what failed of late, and what can be typed."""
    from checkpointflow.cli.tables import view_runs, view_waits

    if result["waits"]:
        more = f"  and {result['more_waits']} more: cpf waits --for user" if result["more_waits"] else ""
        yield Span("Waiting for you", "strong"), Span(more, "faint")
        yield from view_waits(result, screen, shorten)
        yield ()
    if result["failed"]:
        yield (Span("Failed", "strong"),)
        yield from view_runs({"runs": result["failed"]}, screen, shorten)
        yield ()
    width = max(map(len, result["commands"]))
    for line, about in result["commands"].items():
        yield "  ", Span(line.ljust(width), "strong"), f"  {about}"


def view_ahead(answer: Reply, screen: Screen) -> Iterator[Line]:
    """What is ahead of a run, begun or not, and what can be typed to go on."""
    from checkpointflow.cli.ahead import view_plan

    if answer.run is not None and answer.directory is not None:
        yield from view_head(answer.run, find_short_id(answer.directory), now(), screen)
        if answer.envelope.result is None:
            yield ("  It has ended: nothing is ahead of it.",)
    if answer.envelope.result is not None:
        yield from view_plan(answer.envelope.result, screen)
    yield from view_offers(answer)
    for line in answer.envelope.next if answer.run is None else ():
        yield ()
        yield "  ", Span(line.command, "strong")


def view_logs(logs: tuple[LogShown, ...]) -> Iterator[Line]:
    """What steps printed, each under its heading."""
    for log in logs:
        if log.size:
            yield (
                Span(f"── {log.step} · attempt {log.attempt} · {log.stream}", "strong"),
                Span(f"  the last {len(log.text):,} of {log.size:,} bytes" if log.truncated else "", "faint"),
            )
            yield from ((line,) for line in clean_lines(log.text))


def view_validation(result: dict[str, Any], screen: Screen) -> Iterator[Line]:
    """That a document is right, and what it asks for."""
    yield screen.mark("done"), f" {result['workflow_id']}: {len(result['steps'])} steps, no mistakes"
    fields = result["inputs"].get("properties")
    if isinstance(fields, dict) and fields:
        yield ("  inputs:",)
        yield from view_fields(result["inputs"], screen)
    if "explored" in result:
        from checkpointflow.cli.ways import view_exploration

        yield from view_exploration(result["explored"], screen)


def _list_all_ids(answer: Reply) -> list[str]:
    """All ids that a short one must be told from."""
    return [] if answer.store is None else answer.store.names()


def view_run(answer: Reply, run: Run, directory: RunDirectory, screen: Screen) -> Iterator[Line]:
    """Where *run* stands, what it asks or came to, and what to type next."""
    moment, short = now(), find_short_id(directory)
    yield from view_head(run, short, moment, screen)
    yield from view_note(answer.envelope.note, screen)
    if not (answer.envelope.command in DRIVING and is_watched()):  # they were told as they came
        yield from view_steps(run, _list_ids(run, directory), moment, screen)
    for path, record in () if answer.is_asked else list_waits(run).items():
        yield ()
        yield from view_wait(path, record, moment, screen)
    if isinstance(run.outcome, Breakdown):
        error = run.outcome.error
        shown = answer.envelope.error
        tail = list(shown.tail[-TAIL_LINES:]) if shown is not None else []
        yield ()
        yield from view_failure(error.step_id, error.message, tail, screen)
    elif isinstance(run.outcome, Cancellation):
        yield (f"  {run.outcome.reason}",)
    elif answer.envelope.result is not UNSET and answer.envelope.result not in (None, {}):
        yield ()
        yield from view_value(answer.envelope.result, 1)
    if answer.envelope.replayed:
        yield ()
        again = "This answer was given before, and counts once; --step gives the same to another step."
        is_start = answer.envelope.command == "run"
        yield (f"  {'This run was started before, with the same key.' if is_start else again}",)
    if answer.envelope.history is not None:
        from checkpointflow.cli.details import view_details

        yield from view_details(run, directory, answer.envelope.history, view_value)
    yield from view_offers(answer)


def view_offers(answer: Reply) -> Iterator[Line]:
    """What can be typed to go on, if anything goes on."""
    if answer.offers and answer.directory is not None:
        yield ()
        for command, *options in answer.offers:
            yield "  ", Span(command_for(command, answer.directory, *options), "strong")


def view_note(note: Note | None, screen: Screen) -> Iterator[Line]:
    """What was said when the run was handed over."""
    if note is not None:
        age = format_span(seconds_between(note.at, now()))
        yield "  ", Span(f"note of {note.by}, {age} ago:", "faint")
        for line in note.text.splitlines()[:MAX_VALUE_LINES]:
            yield from screen.fold(("    ", line), 4)


def view_value(value: Any, depth: int = 0) -> Iterator[Line]:
    """*value* as indented lines: `name: value`."""
    lines = list(_list_lines(value, depth))
    yield from lines[:MAX_VALUE_LINES]
    if len(lines) > MAX_VALUE_LINES:
        yield (
            Span(
                f"{'  ' * depth}and {len(lines) - MAX_VALUE_LINES:,} lines more; all of it: --json", "faint"
            ),
        )


def _list_lines(value: Any, depth: int) -> Iterator[Line]:
    indent = "  " * depth
    items: Iterable[tuple[str, Any]]
    if isinstance(value, dict):
        items = ((f"{name}:", of_it) for name, of_it in value.items())
    elif isinstance(value, list):
        items = (("-", of_it) for of_it in value)
    else:
        items = (("", value),)
    for name, of_it in items:
        if isinstance(of_it, dict | list) and of_it:
            yield indent, Span(name, "strong")
            yield from _list_lines(of_it, depth + 1)
            continue
        first, *more = (of_it if isinstance(of_it, str) else json.dumps(of_it, ensure_ascii=False)).split(
            "\n"
        )
        yield indent, Span(name, "strong"), " " if name else "", first
        yield from ((indent, "  ", line) for line in more)


def _list_ids(run: Run, directory: RunDirectory) -> list[str]:
    """The steps of the workflow; of one that cannot be read, none: the run is shown all the same."""
    if run.outcome is not None:
        return []
    from checkpointflow.drivers.sources import read_own_copies
    from checkpointflow.errors import CheckpointflowError

    try:
        workflow = read_own_copies(directory, run.workflow).workflow
    except CheckpointflowError:
        return []
    steps = () if is_ending(run) else workflow.steps
    return [s.id for s in steps] + [step_path(FINALLY, s.id) for s in workflow.cleanup or ()]
