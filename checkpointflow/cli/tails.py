"""The last lines that a step printed, as somebody reads them who asks why it failed."""

from __future__ import annotations

import os
import re

from checkpointflow.engine.run import Failed, Run
from checkpointflow.errors import CheckpointflowError
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import open_safely

MAX_LINES = 20
MAX_BYTES = 16 * 1024
MAX_LINE = 500

# Colours, cursor movements and titles: of no use to who reads the lines later, and they hide the message.
_SEQUENCES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")


def read_tail(run: Run, directory: RunDirectory, step: str, lines: int = MAX_LINES) -> list[str]:
    """The last *lines* lines of stderr of the last attempt of *step*; of stdout, where stderr is empty."""
    record = run.steps.get(step)
    attempts = record.attempts if isinstance(record, Failed) else 1
    for stream in ("stderr", "stdout"):
        try:
            with open_safely(directory.log(stream, step, attempts)) as fd:
                size = os.fstat(fd).st_size
                data = os.pread(fd, MAX_BYTES, max(0, size - MAX_BYTES))
        except (OSError, CheckpointflowError):  # the step printed nothing, or is no step that prints
            continue
        found = clean_lines(data.decode(errors="replace"))[-lines:]
        if found:
            return found
    return []


def clean_lines(text: str) -> list[str]:
    """The lines of *text* as a terminal leaves them: of a progress bar its last state, without colours."""
    plain = _SEQUENCES.sub("", text)
    lines = (line.rstrip().rpartition("\r")[2].rstrip() for line in plain.split("\n"))
    return [line[:MAX_LINE] for line in lines if line]
