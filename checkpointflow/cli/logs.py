"""`cpf logs`: what the steps of a run printed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, cast

import click

from checkpointflow.cli.envelope import Envelope, LogShown, wrap_run
from checkpointflow.cli.location import find_run
from checkpointflow.cli.options import is_watched, run_options
from checkpointflow.engine.actions import CallHttp, RunCommand
from checkpointflow.engine.facts import StepStarted
from checkpointflow.engine.path import split
from checkpointflow.engine.run import Run
from checkpointflow.errors import UsageError
from checkpointflow.store.directory import RunDirectory

MAX_SHOWN_BYTES = 64 * 1024
POLL_SECONDS = 0.1

Stream = Literal["stdout", "stderr"]


class Log(NamedTuple):
    """What one attempt printed on one stream."""

    step: str
    attempt: int
    stream: Stream
    file: Path


@click.command()
@run_options
@click.option("--step", metavar="PATH", help="Only this step: its path, or its id for all its visits.")
@click.option("--stream", type=click.Choice(("stdout", "stderr", "both")), default="both", show_default=True)
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Only the last N lines of each.")
@click.option("--follow", is_flag=True, help="Go on until the run rests, showing what is printed meanwhile.")
@click.option("--raw", is_flag=True, help="Print the bytes themselves rather than an envelope.")
def command(
    run_id: str | None,
    run_dir: str | None,
    base_dir: str | None,
    step: str | None,
    stream: str,
    tail: int | None,
    follow: bool,
    raw: bool,
) -> Envelope | None:
    """Show what the steps of a run printed, in the order in which they ran.

    The envelope holds the last 64 KiB of each stream; --raw prints all of it. With --follow and without
    --raw, what is printed meanwhile goes to stderr if that is a terminal, and the envelope comes at the end.
    """
    directory = find_run(run_id, run_dir, base_dir)
    streams = ("stdout", "stderr") if stream == "both" else (stream,)
    wanted = _Wanted(directory, step, cast(tuple[Stream, ...], streams))
    run = directory.load()
    if step is not None and not follow and not wanted.list_logs(run):
        known = sorted({log.step for log in _Wanted(directory, None, ("stdout",)).list_logs(run)})
        raise UsageError(problem=f"no step {step} has run; these have: {', '.join(known) or 'none'}")
    if follow:
        out = sys.stdout.buffer if raw else sys.stderr.buffer if is_watched() else None
        run = _follow(wanted, tail, out)
    elif raw:
        for log in wanted.list_logs(run):
            _copy(log.file, _find_start(log.file, tail), sys.stdout.buffer)
    if raw:
        return None
    logs = tuple(_show(log, tail) for log in wanted.list_logs(run))
    return wrap_run("logs", run, directory, exit_code=0, logs=logs)


class _Wanted(NamedTuple):
    directory: RunDirectory
    step: str | None
    streams: tuple[Stream, ...]

    def list_logs(self, run: Run) -> list[Log]:
        """The logs there are, in the order in which the attempts began."""
        return [
            Log(path, attempt, stream, file)
            for path, attempt in self._list_attempts(run)
            for stream in self.streams
            if (file := self.directory.log(stream, path, attempt)).exists()
        ]

    def _list_attempts(self, run: Run) -> Iterator[tuple[str, int]]:
        for entry in self.directory.history(run):
            match entry.fact:
                case StepStarted(
                    action=RunCommand(path=path, attempt=attempt) | CallHttp(path=path, attempt=attempt)
                ):
                    if self.step in (None, path, split(path)[1]):
                        yield path, attempt


def _show(log: Log, tail: int | None) -> LogShown:
    size = log.file.stat().st_size
    start = max(_find_start(log.file, tail), size - MAX_SHOWN_BYTES)
    with log.file.open("rb") as opened:
        opened.seek(start)
        text = opened.read(size - start).decode(errors="replace")
    return LogShown(
        step=log.step, attempt=log.attempt, stream=log.stream, size=size, truncated=start > 0, text=text
    )


def _find_start(file: Path, tail: int | None) -> int:
    """Where the last *tail* lines of *file* begin."""
    if tail is None:
        return 0
    position = end = file.stat().st_size
    lines = 0
    with file.open("rb") as opened:
        while position > 0:
            size = min(MAX_SHOWN_BYTES, position)
            position -= size
            opened.seek(position)
            block = opened.read(size)
            for offset in range(len(block) - 1, -1, -1):
                if block[offset] == 0x0A and position + offset + 1 < end:
                    lines += 1
                    if lines == tail:
                        return position + offset + 1
    return end if tail == 0 else 0


def _copy(file: Path, start: int, out: BinaryIO) -> int:
    """Copy *file* from *start* on; returns where it ended."""
    with file.open("rb") as opened:
        opened.seek(start)
        while block := opened.read(1 << 16):
            out.write(block)
            start += len(block)
    out.flush()
    return start


def _follow(wanted: _Wanted, tail: int | None, out: BinaryIO | None) -> Run:
    """Show what comes until the run rests, or until the process that drives it is gone."""
    copied: dict[Path, int] = {}
    while True:
        run = wanted.directory.load()
        resting = run.status != "running" or not wanted.directory.seems_held()
        for log in wanted.list_logs(run) if out is not None else ():
            start = copied[log.file] if log.file in copied else _find_start(log.file, tail)
            copied[log.file] = _copy(log.file, start, cast(BinaryIO, out))
        if resting:
            return run
        time.sleep(POLL_SECONDS)
