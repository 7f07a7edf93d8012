"""One action: a shell command, in a process group of its own, its output straight into files.

What the command prints never passes through our memory, however much it is; at most 16 MiB of it are
read back when it is to be JSON. What goes wrong with the command is a Failure; only what is wrong with the
store raises, before anything has begun.
"""

from __future__ import annotations

import os
import signal
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from checkpointflow.drivers.children import Child, Inheritance, Launch, find_inheritance, open_watch, start
from checkpointflow.drivers.json_text import MAX_BYTES, read_json
from checkpointflow.drivers.logs import Log, create
from checkpointflow.drivers.outcomes import fail
from checkpointflow.drivers.processes import GRACE_SECONDS, end, find_marked
from checkpointflow.drivers.secrets import NO_SECRETS, Secrets
from checkpointflow.drivers.signals import ignores_children
from checkpointflow.engine.actions import (
    ArtifactSpec,
    Failure,
    Outcome,
    RunCommand,
    StoredFile,
    Success,
)
from checkpointflow.errors import CheckpointflowError, FileMissing
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import make_private, read_file, sync_directory, translate_errors
from checkpointflow.store.layout import ARTIFACTS, log_names

PIPE_SECONDS = 2.0
MAX_SHORT_BYTES = 1 << 20
_ARGUMENTS = {"pwsh": ("-NoProfile", "-NonInteractive", "-Command")}


class Command:
    """A command of a run: `begin` it, and once its process has ended, `finish` it; afterwards `seal` it.

    Or `expire` it, if its time is up before. Once begun, it may be told to `stop` from another thread.
    """

    def __init__(
        self,
        action: RunCommand,
        directory: RunDirectory,
        start_directory: Path | str,
        run_id: str,
        inheritance: Inheritance | None = None,
    ) -> None:
        self.action = action
        self.directory = directory
        self.run_id = run_id
        self.run = os.fspath(directory.place)
        self.cwd = os.path.join(start_directory, action.cwd) if action.cwd else os.fspath(start_directory)
        self.child: Child | None = None
        self.watch: int | None = None
        self.secrets = NO_SECRETS
        self._inheritance = find_inheritance() if inheritance is None else inheritance
        self._names = log_names(action.path, action.attempt)
        self._output = f"{self.run}/{self._names[-1]}"
        self._logs: list[Log] = []
        self._maskers: list[threading.Thread] = []

    def begin(self) -> Outcome | None:
        """Start it; what came of it if that is not possible. Raises PersistenceError: nothing has begun.

        Then `watch` is a descriptor that can be read from once its process has ended.
        """
        if self.action.secrets:
            try:
                self.secrets = Secrets(self.action.secrets)
            except KeyError as error:
                return fail(f"the secret {error.args[0]} is not set in the environment of cpf")
        printing: list[int] = []
        try:
            with translate_errors(self.run):
                self._prepare(printing)
            self._start(printing)
        except (OSError, ValueError) as error:
            missing = error.filename if isinstance(error, FileNotFoundError | NotADirectoryError) else None
            if missing == self.cwd:
                return fail(f"its working directory {self.cwd} is not there")
            if missing == self.action.shell:
                return fail(f"the command could not be started: there is no {self.action.shell} on the PATH")
            return fail(f"the command could not be started: {error}")
        finally:
            for fd in printing:
                os.close(fd)
        self.watch = open_watch(self._reach_child())
        return None

    def finish(self) -> Outcome:
        """What came of it, once its process has ended."""
        try:
            return self._judge(self._take_in())
        finally:
            self._remove_output()

    def expire(self) -> Outcome:
        """What came of it, since its time is up: nothing is left of it."""
        self.stop()
        self._take_in()
        self._remove_output()
        seconds = self.action.timeout_seconds or 0
        return fail(f"it took longer than {seconds:g} seconds", code="ERR_TIMEOUT")

    def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """End all that is left of it: TERM, and KILL for what remains after a grace period."""
        if self.child is not None:
            end(self.child.pid, self._find_strays, grace_seconds, self.child.reap)

    def takes_long(self) -> bool:
        """Whether there is much to read, or to wait for, now that it has ended."""
        is_slow = bool(self.action.artifacts or self._maskers)
        return is_slow or any(log.size > MAX_SHORT_BYTES for log in self._read_logs())

    def seal(self) -> tuple[StoredFile, ...]:
        """What it left in its logs, if it began; they would survive a power cut."""
        if self.child is None:
            return ()
        found = [log.seal() for log in self._read_logs()]
        for log in self._logs:
            log.close()
        return tuple(file for file in found if file is not None)

    def _read_logs(self) -> list[Log]:
        """What it has printed, now that it has ended."""
        if not self._logs:
            self._logs = [Log(self.run, name) for name in self._names[:-1]]
        return self._logs

    def _take_in(self) -> int | None:
        """Wait for the end of its process; its exit code."""
        code = self._reach_child().wait()
        if self.watch is not None:
            os.close(self.watch)
        return code

    def _reach_child(self) -> Child:
        assert self.child is not None, "it has begun"
        return self.child

    def _find_strays(self) -> set[int]:
        """What the command started and is still there, also where it has left the process group."""
        known = self._describe_run()
        return find_marked({name: known[name] for name in ("CPF_RUN_DIR", "CPF_STEP", "CPF_ATTEMPT")})

    def _prepare(self, printing: list[int]) -> None:
        """Files for its output, *printing*. Raises OSError: nothing has begun."""
        for name in self._names[:-1]:
            printing.append(create(self.run, name))
        self._remove_output()
        if not os.path.isdir(f"{self.run}/{ARTIFACTS}"):
            make_private(self.directory.place / ARTIFACTS)

    def _start(self, printing: list[int]) -> None:
        action = self.action
        if ignores_children():
            raise OSError("SIGCHLD is ignored here, so that its exit code could not be known")
        own = self.secrets.fill({**action.env, **action.variables})
        for fd in printing[:] if action.secrets else ():
            printing.append(self._mask(fd))
        launch = Launch(
            arguments=[action.shell, *_ARGUMENTS.get(action.shell, ("-c",)), action.script],
            environment={**self._inheritance.environment, **own, **self._describe_run()},
            directory=self.cwd,
            stdout=printing[-2],
            stderr=printing[-1],
            # Should cpf die, whoever is left of the command goes on holding this lock, so that nobody starts
            # the step beside it.
            lock=self.directory.step_lock,
            lock_name="CPF_LOCK_FD",
            unwanted=self._inheritance.descriptors,
        )
        self.child = start(launch)

    def _describe_run(self) -> dict[str, str]:
        """What every command can know of its run."""
        action = self.action
        return {
            "CPF_RUN_ID": self.run_id,
            "CPF_STEP": action.path,
            "CPF_ATTEMPT": str(action.attempt),
            "CPF_RUN_DIR": self.run,
            "CPF_ARTIFACTS_DIR": f"{self.run}/{ARTIFACTS}",
            "CPF_OUTPUT": self._output,
            "CPF_IDEMPOTENCY_KEY": action.idempotency_key,
            "CPF_LOCK_FD": "",
        }

    def _mask(self, file: int) -> int:
        """A pipe from which all goes into *file* without its secrets; for the caller to close."""
        ours, theirs = os.pipe()
        copy = os.dup(file)

        def run() -> None:
            with os.fdopen(ours, "rb", buffering=0), os.fdopen(copy, "wb", buffering=0) as out:
                for block in self.secrets.mask_blocks(iter(lambda: os.read(ours, 1 << 16), b"")):
                    out.write(block)

        self._maskers.append(threading.Thread(target=run, daemon=True))
        self._maskers[-1].start()
        return theirs

    def _judge(self, code: int | None) -> Outcome:
        action = self.action
        for thread in self._maskers:  # a child left behind may keep the pipe, and must not keep us
            thread.join(PIPE_SECONDS)
        if code is None:  # another thread had SIGCHLD ignored meanwhile, or waited for any child
            return fail("its exit code is not known: something else in this process took it")
        if code not in action.exit_codes:
            return self._explain_failure(code)
        try:
            outputs = self._read_outputs()
        except ValueError as error:
            return fail(str(error), code="ERR_STEP_OUTPUT_INVALID", exit_code=code)
        except (OSError, CheckpointflowError) as error:
            return fail(f"its output could not be read: {error}", exit_code=code)
        try:
            artifacts = {wanted.name: self._store_artifact(wanted) for wanted in action.artifacts}
            stdout = self._read_logs()[0].read_head() if action.keeps_stdout else None
        except (OSError, ValueError, CheckpointflowError) as error:  # ValueError: a path with NUL in it
            return fail(f"an artifact or its output could not be kept: {error}", exit_code=code)
        return Success(outputs=outputs, exit_code=code, stdout=stdout, artifacts=artifacts)

    def _store_artifact(self, wanted: ArtifactSpec) -> StoredFile:
        """A copy, in the run's directory, of a file that the command left behind. Raises OSError."""
        from hashlib import sha256  # late: few steps have artifacts

        name = f"{ARTIFACTS}/{self.action.path}/{wanted.name}"
        source = os.open(os.path.join(self.cwd, wanted.path), os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(source, "rb") as original:
            if not stat.S_ISREG(os.fstat(source).st_mode):
                raise OSError(f"{wanted.path} is no regular file")
            size, digest = 0, sha256()
            with os.fdopen(create(self.run, name), "wb") as copy:
                while block := original.read(1 << 20):
                    copy.write(block)
                    digest.update(block)
                    size += len(block)
                copy.flush()
                os.fsync(copy.fileno())
            sync_directory((self.directory.place / name).parent)
        return StoredFile(path=name, size=size, sha256=digest.hexdigest(), media_type=wanted.media_type)

    def _explain_failure(self, code: int) -> Failure:
        how = f"exit code {code}" if code >= 0 else f"the signal {signal.Signals(-code).name}"
        stderr = self._read_logs()[1]
        last = stderr.read_last_line() if stderr.is_there else ""  # the command may have taken it away
        exit_code = code if code >= 0 else 128 - code
        return fail(f"the command ended with {how}" + (f": {last}" if last else ""), exit_code=exit_code)

    def _read_outputs(self) -> Any:
        """The JSON in $CPF_OUTPUT; else what stdout holds, if that is a JSON object (or JSON is needed).

        Raises ValueError where there must be JSON and is none.
        """
        if os.path.exists(self._output):
            data = self.secrets.mask(read_file(Path(self._output)))
            if data:
                return _parse(data, "what the command wrote to $CPF_OUTPUT")
        stdout = self._read_logs()[0]
        size = stdout.size
        if self.action.needs_json:
            if size > MAX_BYTES:
                raise FileMissing(file=stdout.file, problem=f"it is larger than {MAX_BYTES} bytes")
            return _parse(stdout.read(size), "what the command printed on stdout")
        if not 0 < size <= MAX_BYTES or not stdout.may_hold_object():
            return {}
        try:
            return _parse(stdout.read(size), "")
        except ValueError:
            return {}

    def _remove_output(self) -> None:
        with suppress(OSError):
            os.unlink(self._output)


def _parse(data: bytes, what: str) -> Any:
    try:
        return read_json(data)
    except ValueError as error:
        raise ValueError(f"{what} cannot be its outputs: {error}") from None
