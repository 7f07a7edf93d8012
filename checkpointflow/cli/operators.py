"""Commands of whoever runs a store: in the shell, in the environment of this cpf.

What they are told of runs comes on their standard input, and in variables, so that none of it is ever code.
When the time of one is up, or cpf is told to stop, it is ended like a step, with all that it has started.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

from msgspec import Struct

from checkpointflow.drivers.signals import name_signal
from checkpointflow.json_text import MAX_BYTES
from checkpointflow.store.locks import MARKS, add_mark

MAX_LINE = 500
REAPING_SECONDS = 1.0  # for the end of what was killed, unless the kernel holds it back
_NO_VARIABLES: Mapping[str, str] = {}


class Ended(Struct, frozen=True):
    """What became of a command. problem: what went wrong, worded to follow its name, with its last line on
    stderr; printed: what it printed on stdout, if that was kept, and no more of it than is read as JSON."""

    problem: str | None
    printed: bytes = b""


def run_command(
    command: str,
    given: bytes,
    mark: str,
    seconds: float,
    *,
    variables: Mapping[str, str] = _NO_VARIABLES,
    keeps: bool = False,
) -> Ended:
    """Run *command* with *given* on its standard input; *mark* is what its family is known by.

    keeps: what it prints on stdout is kept, else it goes nowhere.
    """
    try:
        return _run(command, given, mark, seconds, variables, keeps)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the command
        return Ended(f"failed: {error}")


def _run(
    command: str, given: bytes, mark: str, seconds: float, variables: Mapping[str, str], keeps: bool
) -> Ended:
    import subprocess  # late: few stores have a hook
    from tempfile import TemporaryFile

    from checkpointflow.drivers.processes import end, find_attempt

    # No pipes for what it says: what goes on in the background would hold them open.
    with TemporaryFile() as told, TemporaryFile() as printed:
        process = subprocess.Popen(
            ["sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=printed if keeps else subprocess.DEVNULL,
            stderr=told,
            start_new_session=True,
            env=os.environ | variables | {MARKS: add_mark(os.environ.get(MARKS), mark)},
        )
        try:
            process.communicate(given, seconds)
        except subprocess.TimeoutExpired:
            return Ended(f"took longer than {seconds:g} seconds, and was ended")
        finally:
            if process.returncode is None:  # also when cpf is told to stop
                end(find_attempt({mark}, process.pid), reap=lambda: (process.poll(), None)[1])
                with suppress(subprocess.TimeoutExpired):
                    process.wait(REAPING_SECONDS)
        printed.seek(0)
        told.seek(max(0, told.seek(0, os.SEEK_END) - MAX_LINE))
        said = told.read().decode(errors="replace").strip().rpartition("\n")[2]
        return Ended(_find_problem(process.returncode, said), printed.read(MAX_BYTES + 1))


def _find_problem(code: int, said: str) -> str | None:
    if code == 0:
        return None
    how = f"ended with {code}" if code > 0 else f"was ended by {name_signal(-code)}"
    return how + (f": {said}" if said else "")
