"""`cpf logs`: what the steps of a run printed."""

from __future__ import annotations

import os
import re
import sys
import time
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, TextIO, cast

import click
from msgspec.structs import replace

from checkpointflow.cli.completing import complete
from checkpointflow.cli.encoding import encode
from checkpointflow.cli.envelope import LogShown, Reply, wrap_run
from checkpointflow.cli.options import run_options
from checkpointflow.cli.output import is_watched, show_all, shows_all
from checkpointflow.cli.screen import find_screen
from checkpointflow.diagnostics import point_at
from checkpointflow.engine.actions import CallHttp, RunCommand
from checkpointflow.engine.facts import Breakdown, StepStarted
from checkpointflow.engine.path import split
from checkpointflow.engine.run import Failed, Run
from checkpointflow.errors import UsageError
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import open_safely, translate_errors

MAX_LOGS = 20
MAX_SHOWN_BYTES = 4 * 1024
MAX_ALL_BYTES = 12 * 1024
MAX_FULL_BYTES = 16 * 1024 * 1024
BLOCK_BYTES = 64 * 1024
POLL_SECONDS = 0.1

Stream = Literal["stdout", "stderr"]


class Log(NamedTuple):
    """What one attempt printed on one stream."""

    step: str
    attempt: int
    stream: Stream
    file: Path


@click.command()
@run_options()
@click.option(
    "--step",
    metavar="PATH",
    shell_complete=complete("list_step_paths"),
    help="Only this step: its path, or its id for all its visits.",
)
@click.option("--stream", type=click.Choice(("stdout", "stderr", "both")), default="both", show_default=True)
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Only the last N lines of each.")
@click.option("--follow", is_flag=True, help="Go on until the run rests, showing what is printed meanwhile.")
@click.option("--failed", is_flag=True, help="Only the steps that have failed.")
@click.option("--all", "whole_run", is_flag=True, help=f"All attempts there were, not only {MAX_LOGS} logs.")
@click.option("--raw", is_flag=True, help="Print the bytes themselves rather than an envelope.")
@click.option("--ansi", is_flag=True, help="With --raw on a terminal: let it obey what the steps printed.")
@click.pass_context
def command(
    context: click.Context,
    directory: RunDirectory,
    step: str | None,
    stream: str,
    tail: int | None,
    follow: bool,
    failed: bool,
    whole_run: bool,
    raw: bool,
    ansi: bool,
) -> Reply | None:
    """Show what the steps of a run printed: first the step that the run failed at, then the others in turn.

    Of each stream the last 4 KiB are shown, with --full the last 16 MiB; --raw prints all of it. With
    --follow and without --raw, what is printed meanwhile goes to stderr if that is a terminal, and the rest
    comes at the end.
    """
    full = shows_all()
    if whole_run:
        show_all(context)
    streams = ("stdout", "stderr") if stream == "both" else (stream,)
    wanted = _Wanted(directory, step, cast(tuple[Stream, ...], streams))
    run = directory.load()
    if step is not None and not follow and not wanted.list_logs(run):
        known = (log.step for log in _Wanted(directory, None, ("stdout",)).list_logs(run))
        raise UsageError(problem=f"no step {step} has run; {point_at(step, known, 'these have:')}")
    if follow:
        show = partial(_show_raw, ansi=ansi) if raw else _show_safely if is_watched() else None
        run = _follow(wanted, tail, show)
    elif raw:
        for log in wanted.list_logs(run):
            if not failed or _has_failed(run, log.step):
                _copy(log.file, None, tail, _show_raw(ansi=ansi))
    sys.stdout.flush()
    if raw:
        return None
    found = [log for log in wanted.list_logs(run) if not failed or _has_failed(run, log.step)]
    found.sort(key=lambda log: not _is_to_blame(run, log.step))  # stable: the others stay in their order
    logs = tuple(_show_all(found if whole_run else found[:MAX_LOGS], tail, full=full, bounded=not whole_run))
    left_out = len(found) - len(logs)
    warnings = (f"{left_out} more logs are there; show them with --all",) if left_out else ()
    return wrap_run("logs", run, directory, exit_code=0, logs=logs, warnings=warnings)


def _show_all(logs: list[Log], tail: int | None, *, full: bool, bounded: bool) -> Iterator[LogShown]:
    """As many of *logs* as there is room for, if they are *bounded*."""
    room = MAX_ALL_BYTES
    for log in logs:
        most = MAX_FULL_BYTES if full else MAX_SHOWN_BYTES
        shown = _show(log, tail, most if full or not bounded else min(most, room))
        if bounded and not full:
            shown = _keep_end(shown, room)
        room -= len(encode(shown.text))
        yield shown
        if bounded and not full and room <= 0:
            return


def _keep_end(log: LogShown, most: int) -> LogShown:
    """*log* with as much of the end of its text as has at most *most* bytes as JSON."""
    text = log.text
    while (size := len(encode(text)) - 2) > most:
        text = text[len(text) - len(text) * most // size :]
    return replace(log, text=text, truncated=log.truncated or len(text) < len(log.text))


def _is_to_blame(run: Run, step: str) -> bool:
    """Whether the run failed at *step*."""
    return isinstance(run.outcome, Breakdown) and run.outcome.error.step_id == step


def _has_failed(run: Run, step: str) -> bool:
    return isinstance(run.steps.get(step), Failed) or _is_to_blame(run, step)


class _Wanted(NamedTuple):
    directory: RunDirectory
    step: str | None
    streams: tuple[Stream, ...]

    def list_logs(self, run: Run) -> list[Log]:
        """The logs there are, in the order in which the attempts began."""
        return [
            Log(path, attempt, stream, file)
            for path, attempt in dict.fromkeys(
                self._list_attempts(run)
            )  # begun, left to another cpf, and begun again
            for stream in self.streams
            if (file := self.directory.log(stream, path, attempt)).is_file()
        ]

    def _list_attempts(self, run: Run) -> Iterator[tuple[str, int]]:
        for entry in self.directory.history(run):
            match entry.fact:
                case StepStarted(
                    action=RunCommand(path=path, attempt=attempt) | CallHttp(path=path, attempt=attempt)
                ):
                    if self.step in (None, path, split(path)[1]):
                        yield path, attempt


def _show(log: Log, tail: int | None, most: int) -> LogShown:
    """The end of *log*, *most* bytes of it."""
    with _open(log.file) as opened:
        size = opened.seek(0, os.SEEK_END)
        start = max(_find_start(opened, tail), size - most)
        opened.seek(start)
        text = opened.read(size - start).decode(errors="replace")
    return LogShown(
        step=log.step, attempt=log.attempt, stream=log.stream, size=size, truncated=start > 0, text=text
    )


@contextmanager
def _open(file: Path) -> Iterator[BinaryIO]:
    """The log *file*, which a command may have replaced by anything. Raises PersistenceError."""
    with translate_errors(file), open_safely(file) as fd, open(fd, "rb", closefd=False) as opened:
        yield opened


def _find_start(file: BinaryIO, tail: int | None) -> int:
    """Where the last *tail* lines of *file* begin."""
    if tail is None:
        return 0
    position = end = file.seek(0, os.SEEK_END)
    lines = 0
    while position > 0:
        size = min(BLOCK_BYTES, position)
        position -= size
        file.seek(position)
        block = file.read(size)
        for offset in range(len(block) - 1, -1, -1):
            if block[offset] == 0x0A and position + offset + 1 < end:
                lines += 1
                if lines == tail:
                    return position + offset + 1
    return end if tail == 0 else 0


Write = Callable[[bytes], object]


def _show_raw(*, ansi: bool) -> Write:
    """What writes the bytes of a log to stdout; a terminal obeys them only if somebody asked for that."""
    if sys.stdout.isatty() and not ansi:
        return _show_safely(sys.stdout)
    return sys.stdout.buffer.write


def _show_safely(stream: TextIO | None = None) -> Write:
    """What writes them to a terminal (*stream*, or stderr), which none of them must command."""
    decoder, out = getincrementaldecoder("utf-8")("replace"), stream or sys.stderr
    screen = find_screen(out)

    def write(data: bytes) -> None:
        lines = re.sub("\r\n?", "\n", decoder.decode(data)).split("\n")
        out.write("\n".join(screen.render_line((line,)) for line in lines))

    return write


def _copy(file: Path, start: int | None, tail: int | None, write: Write) -> int:
    """Copy *file* from *start* on, or its last *tail* lines; returns where it ended."""
    with _open(file) as opened:
        start = _find_start(opened, tail) if start is None else start
        opened.seek(start)
        while block := opened.read(1 << 16):
            write(block)
            start += len(block)
    return start


def _follow(wanted: _Wanted, tail: int | None, show: Callable[[], Write] | None) -> Run:
    """Show what comes until the run rests, or until the process that drives it is gone."""
    copied: dict[Path, tuple[int, Write]] = {}
    while True:
        run = wanted.directory.load()
        resting = run.status != "running" or not wanted.directory.seems_held()
        if show is not None:
            for log in wanted.list_logs(run):
                start, write = copied.get(log.file) or (None, show())
                copied[log.file] = _copy(log.file, start, tail, write), write
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if resting:
            return run
        time.sleep(POLL_SECONDS)
