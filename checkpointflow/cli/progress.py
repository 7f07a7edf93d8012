"""What a run does, told on stderr while a person looks on: a line when a step begins or ends.

On a terminal what is under way stands in the last line, with its time; elsewhere (`--progress plain`,
`CI=true`) each line stands for itself. The steps of an iteration are not told one by one: their block is
counted. With `-v` what the steps print comes, too, a line at a time, each with the name of its step.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from msgspec import UNSET

from checkpointflow.cli.durations import format_duration, seconds_between
from checkpointflow.cli.screen import Line, Mark, Screen, Span, make_visible
from checkpointflow.cli.view import count_ended, name_step
from checkpointflow.engine.actions import Sleep
from checkpointflow.engine.facts import Breakdown
from checkpointflow.engine.path import owner
from checkpointflow.engine.run import Failed, Opened, Record, Run, Started, Succeeded
from checkpointflow.errors import CheckpointflowError
from checkpointflow.store.clock import now
from checkpointflow.store.directory import RunDirectory

TICK_SECONDS = 1.0
STREAM_SECONDS = 0.1
MAX_COUNTS = 20
"""How often a block tells how far it has come, at most, where each time takes a line."""

_CLEAR = "\r\x1b[K"


class Change(NamedTuple):
    """Something that a person hears of: a step began, or ended, or a block came further; why it failed."""

    mark: Mark
    text: str
    spent: str = ""
    why: str = ""


class Progress:
    """An observer of one run, which it hears of in the thread that drives it.

    is_live: the last line is redrawn; ends_in_text: why the run failed is told at its end, so not before;
    find: what the steps print is told, too, and lies there.
    """

    def __init__(
        self,
        screen: Screen,
        *,
        is_live: bool,
        ends_in_text: bool = False,
        find: Callable[[Run], RunDirectory] | None = None,
    ) -> None:
        self._screen, self._is_live, self._find = screen, is_live, find
        self._ends_in_text = ends_in_text
        self._run: Run | None = None
        self._told: dict[str, int] = {}
        self._read: dict[str, int] = {}
        self._lock = threading.Lock()
        self._ticker: threading.Thread | None = None

    def __call__(self, run: Run) -> None:
        """Tell what has changed since the last time."""
        with self._lock:
            before, self._run = self._run, run
            self._stream(before)
            changes = list_changes(before, run, self._count)
            # On a terminal the last line tells what is under way.
            lines = {begins: list[Line]() for begins in (False, True)}
            for change in changes:
                lines[change.mark == "runs"].append(self._describe(change, run))
            was, is_now = _list_under_way(before), _list_under_way(run)
            is_apart = self._find is not None and self._screen.is_runner and was.keys().isdisjoint(is_now)
            # A runner of GitHub Actions folds what is printed from where a step begins until it has ended, or
            # all that ran beside it. Nothing that data wrote opens or closes a group: see `Screen`.
            self._write(lines[False], before="::endgroup::\n" if is_apart and was else "")
            title = make_visible(", ".join(is_now))
            self._write(
                [] if self._is_live else lines[True], f"::group::{title}\n" if is_apart and is_now else ""
            )
        if self._ticker is None and (self._is_live or self._find) and run.status == "running":
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            self._ticker.start()

    def stop(self) -> None:
        """Leave the last line to others, whatever the run is at."""
        with self._lock:
            was_drawn = self._run is not None and self._run.status == "running"
            self._run = None
            if was_drawn:
                self._write([])

    def _tick(self) -> None:
        """Draw the last line again and again, until the run rests."""
        pause = threading.Event()
        while not pause.wait(STREAM_SECONDS if self._find else TICK_SECONDS):
            with self._lock:
                if (
                    self._run is None or self._run.status != "running"
                ):  # a question may stand in the last line
                    self._ticker = None
                    return
                self._stream(self._run)
                self._write([])

    def _count(self, path: str, ended: int, total: int) -> bool:
        """Whether that *ended* of the bodies of *path* have ended is worth a line."""
        share = ended * MAX_COUNTS // max(total, 1)
        is_news = self._told.get(path) != share
        self._told[path] = share
        return is_news and not self._is_live

    def _describe(self, change: Change, run: Run) -> Line:
        failed_at = run.outcome.error.step_id if isinstance(run.outcome, Breakdown) else None
        why = "" if self._ends_in_text and change.text == failed_at else change.why
        text = f" {change.text}{': ' if why else ''}{why}  "
        return "  ", self._screen.mark(change.mark), text, Span(change.spent, "faint")

    def _write(self, lines: list[Line], before: str = "") -> None:
        """Add *lines* above the last line, and draw that anew; *before* them a command to a runner."""
        text = before + self._screen.render(lines)
        if self._is_live:
            text = _CLEAR + text + self._screen.render_line(self._view_last_line())
        with suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()

    def _view_last_line(self) -> Line:
        """What is under way, as far as it fits."""
        run = self._run
        if run is None or run.status != "running":
            return ()
        moment, parts, room = now(), list[Span | str](), self._screen.width - 1
        for path, record in run.active.items():
            if not isinstance(record, Started | Opened) or _find_counted(run, path) is not None:
                continue
            text = f" {name_step(path, record)} {format_duration(seconds_between(record.started_at, moment))}"
            if len(text) + 4 > room:
                break
            parts += ["  ", self._screen.mark("runs"), text]
            room -= len(text) + 4
        return parts

    def _stream(self, run: Run | None) -> None:
        """Copy what the steps under way have printed since the last time, whole lines of it."""
        if run is None or self._find is None:
            return
        directory = self._find(run)
        for path, record in run.active.items():
            if isinstance(record, Started) and not isinstance(record.action, Sleep):
                is_over = self._run is not None and self._run.active.get(path) != record
                for stream in ("stdout", "stderr"):
                    self._copy(directory, stream, path, record.action.attempt, is_over=is_over)

    def _copy(self, directory: RunDirectory, stream: str, path: str, attempt: int, *, is_over: bool) -> None:
        with suppress(OSError, CheckpointflowError), directory.log(stream, path, attempt).open("rb") as file:
            start = file.seek(self._read.get(file.name, 0))
            data = file.read(1 << 20)
            whole = data if is_over else data[: data.rfind(b"\n") + 1]
            self._read[file.name] = start + len(whole)
            lines = whole.decode(errors="replace").splitlines()
            text = self._screen.render((Span(f"{path} | ", "faint"), line) for line in lines)
            sys.stderr.write((_CLEAR if self._is_live and text else "") + text)


def _list_under_way(run: Run | None) -> dict[str, Record]:
    """The steps that run, or pause between two attempts."""
    return {} if run is None else {p: r for p, r in run.active.items() if isinstance(r, Started)}


def list_changes(
    before: Run | None, run: Run, is_worth: Callable[[str, int, int], bool] = lambda *_: True
) -> Iterator[Change]:
    """What has begun and ended between *before* and *run*; the cost is that of what is under way."""
    old = {} if before is None else before.active
    for path in reversed(old):  # the steps of a block before it
        if path not in run.active and _find_counted(before or run, path) is None:
            yield from _tell_end(path, old[path], run)
    for path, record in run.active.items():
        if isinstance(record, Started) and _find_counted(run, path) is None:
            known = old.get(path)
            if known is None or (isinstance(known, Started) and known.action != record.action):
                yield from _tell_start(path, record)
        elif isinstance(record, Opened) and isinstance(record.items, list) and record is not old.get(path):
            ended, total = count_ended(record), len(record.items)
            if is_worth(path, ended, total):
                yield Change("runs", f"{path} {ended}/{total}")


def _tell_start(path: str, record: Started) -> Iterator[Change]:
    if isinstance(record.action, Sleep):
        yield Change("runs", f"{path} is tried again at {record.action.until}")
    else:
        yield Change("runs", name_step(path, record))


def _tell_end(path: str, before: Record, run: Run) -> Iterator[Change]:
    record = run.steps.get(path)
    if record is None and isinstance(before, Started):  # it was the last of a body, whose steps are forgotten
        yield Change("done", path, format_duration(seconds_between(before.started_at, run.updated_at)))
    if isinstance(record, Succeeded):
        yield Change("done", path, format_duration(seconds_between(record.started_at, record.ended_at)))
    elif isinstance(record, Failed):
        spent = format_duration(seconds_between(record.started_at, record.ended_at))
        yield Change("failed", path, spent, record.error.message)


def _find_counted(run: Run, path: str) -> str | None:
    """The block that counts its iterations, in one of which *path* lies; None if it lies in none."""
    body = path.rpartition("/")[0]
    while body:
        block, key = owner(body)
        record = run.steps.get(block)
        if key and isinstance(record, Opened) and record.items is not UNSET:
            return block
        body = block.rpartition("/")[0]
    return None
