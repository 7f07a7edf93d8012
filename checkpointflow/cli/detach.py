"""A run that goes on by itself: another cpf, in a session of its own, takes it up."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from typing import BinaryIO

from checkpointflow.errors import PersistenceError
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import explain, make_private, translate_errors
from checkpointflow.store.layout import DRIVER_LOG


def drive_apart(directory: RunDirectory, cwd: str | None, *, allow_shared: bool) -> None:
    """Start a cpf that goes on with the run, and leave it; what it tells on stderr goes to a file of the run.

    It outlives this process and its terminal. Raises PersistenceError if it cannot be started.
    """
    shared = ["--allow-shared"] if allow_shared else []
    process = start_apart(directory, "resume", "--progress", "plain", *shared, cwd=cwd)
    process.returncode = 0  # nobody here waits for it


def is_driven_apart(directory: RunDirectory) -> bool:
    """Whether a cpf that was started so is there, though it may not hold the run yet, or no longer."""
    try:
        fd = os.open(directory.place / DRIVER_LOG, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def start_apart(
    directory: RunDirectory,
    command: str,
    *arguments: str,
    cwd: str | None = None,
    stdin: BinaryIO | int = subprocess.DEVNULL,
    stdout: BinaryIO | int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """A cpf that does *command* to the run, in a session of its own; nobody needs to wait for it.

    Raises PersistenceError if it cannot be started.
    """
    run = ["--run-dir", str(directory.place)]
    if not directory.runs_here:  # *directory* is a copy, and it is another one that the new cpf makes
        run = ["--run-id", directory.place.name]
        make_private(directory.place)
    # -P: a directory called checkpointflow, where we are, is not to be taken for the package.
    words = [sys.executable, "-P", "-m", "checkpointflow", *directory.reached_by, command, *run]
    log = directory.place / DRIVER_LOG
    with translate_errors(log):
        told = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(told, fcntl.LOCK_SH)  # the new process inherits it, and so it lasts as long as that
        return subprocess.Popen(
            [*words, *arguments], stdin=stdin, stdout=stdout, stderr=told, cwd=cwd, start_new_session=True
        )
    except OSError as error:
        problem = f"no cpf could be started that goes on with the run ({explain(error)})"
        raise PersistenceError(file=directory.place, problem=problem) from None
    finally:
        os.close(told)
