"""One action: a shell command, in a process group of its own, its output straight into files.

What the command prints never passes through our memory, however much it is; at most 16 MiB of it are
read back when it is to be JSON. What goes wrong with the command is a Failure, and only a store that
cannot be written raises, before anything has begun.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import threading
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from checkpointflow.drivers.json_text import MAX_BYTES, read_json
from checkpointflow.drivers.logs import create, may_hold_object, read_head, read_last_line
from checkpointflow.drivers.outcomes import fail
from checkpointflow.drivers.processes import GRACE_SECONDS, end, find_marked
from checkpointflow.drivers.secrets import Secrets
from checkpointflow.drivers.signals import ignores_children
from checkpointflow.engine.actions import (
    ArtifactSpec,
    Failure,
    Outcome,
    RunCommand,
    StoredFile,
    Success,
)
from checkpointflow.errors import CheckpointflowError
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import make_private, read_file, sync_directory, translate_errors

PIPE_SECONDS = 2.0
_ARGUMENTS = {"pwsh": ("-NoProfile", "-NonInteractive", "-Command")}


class Command:
    """A command of a run: `perform` it once; `stop` may be called meanwhile from elsewhere."""

    def __init__(
        self, action: RunCommand, directory: RunDirectory, start_directory: Path, run_id: str
    ) -> None:
        self.action = action
        self.directory = directory
        self.run_id = run_id
        self.stdout = directory.log("stdout", action.path, action.attempt)
        self.stderr = directory.log("stderr", action.path, action.attempt)
        self.output = self.stdout.with_suffix(".json")
        self.run = directory.place
        self.cwd = start_directory / (action.cwd or "")
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()
        self._stopping = threading.Event()
        self._maskers: list[threading.Thread] = []

    def perform(self) -> Outcome:
        """Run it to its end, its time-out, or its stop."""
        action = self.action
        try:
            self.secrets = Secrets(action.secrets)
        except KeyError as error:
            return fail(f"the secret {error.args[0]} is not set in the environment of cpf")
        stdout, stderr = self._prepare()
        try:
            if not self.cwd.is_dir():
                return fail(f"its working directory {self.cwd} is not there")
            process = self._start(stdout, stderr)
        except (OSError, ValueError) as error:
            if isinstance(error, FileNotFoundError) and error.filename == action.shell:
                return fail(f"the command could not be started: there is no {action.shell} on the PATH")
            return fail(f"the command could not be started: {error}")
        finally:
            os.close(stdout)
            os.close(stderr)
        try:
            return self._follow(process)
        finally:
            with suppress(OSError):
                self.output.unlink(missing_ok=True)

    def _follow(self, process: subprocess.Popen[bytes]) -> Outcome:
        action = self.action
        if action.timeout_seconds is None:
            return self._judge(process.wait())
        late = threading.Timer(action.timeout_seconds, self.stop)
        late.daemon = True
        late.start()
        code = process.wait()
        late.cancel()
        if self._stopping.is_set():
            late.join()
            return fail(f"it took longer than {action.timeout_seconds:g} seconds", code="ERR_TIMEOUT")
        return self._judge(code)

    def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """End all that is left of it: TERM, and KILL for what remains after a grace period."""
        with self._starting:
            self._stopping.set()
        if self._process is not None:
            end(self._process.pid, self._find_strays, grace_seconds)

    def _find_strays(self) -> set[int]:
        """What the command started and is still there, also where it has left the process group."""
        assert self._process is not None
        self._process.poll()  # a zombie would count as alive
        known = self._describe_run()
        return find_marked({name: known[name] for name in ("CPF_RUN_DIR", "CPF_STEP", "CPF_ATTEMPT")})

    def _prepare(self) -> tuple[int, int]:
        """Descriptors of the files for its output. Raises PersistenceError: then nothing has begun."""
        with translate_errors(self.stdout):
            for file in (self.stdout, self.stderr):
                make_private(file.parent)
            self.output.unlink(missing_ok=True)
            make_private(self.run / "artifacts")
            return create(self.stdout), create(self.stderr)

    def _start(self, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
        action = self.action
        # Should cpf die, whoever is left of the command goes on holding this lock, so that nobody starts
        # the step beside it.
        lock = self.directory.step_lock
        if ignores_children():
            raise OSError("SIGCHLD is ignored here, so that its exit code could not be known")
        with self._starting:
            if self._stopping.is_set():
                raise InterruptedError("it was stopped before it began")
            self._process = subprocess.Popen(
                [action.shell, *_ARGUMENTS.get(action.shell, ("-c",)), action.script],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if action.secrets else stdout,
                stderr=subprocess.PIPE if action.secrets else stderr,
                cwd=self.cwd,
                env=self._fill_environment(),
                start_new_session=True,
                pass_fds=() if lock is None else (lock,),
            )
        if action.secrets:
            process = self._process
            self._maskers = [
                self._start_masker(process.stdout, stdout),
                self._start_masker(process.stderr, stderr),
            ]
        return self._process

    def _fill_environment(self) -> dict[str, str]:
        own = self.secrets.fill({**self.action.env, **self.action.variables})
        return {**os.environ, **own, **self._describe_run()}

    def _describe_run(self) -> dict[str, str]:
        """What every command can know of its run."""
        action = self.action
        return {
            "CPF_RUN_ID": self.run_id,
            "CPF_STEP": action.path,
            "CPF_ATTEMPT": str(action.attempt),
            "CPF_RUN_DIR": str(self.run),
            "CPF_ARTIFACTS_DIR": str(self.run / "artifacts"),
            "CPF_OUTPUT": str(self.output),
            "CPF_IDEMPOTENCY_KEY": action.idempotency_key,
            "CPF_LOCK_FD": "" if self.directory.step_lock is None else str(self.directory.step_lock),
        }

    def _start_masker(self, pipe: IO[bytes] | None, file: int) -> threading.Thread:
        """Start whoever copies what the command prints into its file, without its secrets."""
        assert pipe is not None
        copy = os.dup(file)

        def run() -> None:
            with pipe, os.fdopen(copy, "wb", buffering=0) as out:
                for block in self.secrets.mask_blocks(iter(lambda: os.read(pipe.fileno(), 1 << 16), b"")):
                    out.write(block)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def _judge(self, code: int) -> Outcome:
        action = self.action
        for thread in self._maskers:  # a child left behind may keep the pipe, and must not keep us
            thread.join(PIPE_SECONDS)
        if ignores_children():  # since another thread said so meanwhile
            return fail("its exit code is not known, since SIGCHLD was ignored when it ended")
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
            stdout = read_head(self.stdout) if action.keeps_stdout else None
        except (OSError, ValueError, CheckpointflowError) as error:  # ValueError: a path with NUL in it
            return fail(f"an artifact or its output could not be kept: {error}", exit_code=code)
        return Success(outputs=outputs, exit_code=code, stdout=stdout, artifacts=artifacts)

    def _store_artifact(self, wanted: ArtifactSpec) -> StoredFile:
        """A copy, in the run's directory, of a file that the command left behind. Raises OSError."""
        name = f"artifacts/{self.action.path}/{wanted.name}"
        source = os.open(self.cwd / wanted.path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(source, "rb") as original:
            if not stat.S_ISREG(os.fstat(source).st_mode):
                raise OSError(f"{wanted.path} is no regular file")
            make_private(self.directory.file(name).parent)
            size, digest = 0, sha256()
            with os.fdopen(create(self.run / name), "wb") as copy:
                while block := original.read(1 << 20):
                    copy.write(block)
                    digest.update(block)
                    size += len(block)
                copy.flush()
                os.fsync(copy.fileno())
            sync_directory((self.run / name).parent)
        return StoredFile(path=name, size=size, sha256=digest.hexdigest(), media_type=wanted.media_type)

    def _explain_failure(self, code: int) -> Failure:
        how = f"exit code {code}" if code >= 0 else f"the signal {signal.Signals(-code).name}"
        try:
            last = read_last_line(self.stderr)
        except OSError:  # the command took its own log away
            last = ""
        exit_code = code if code >= 0 else 128 - code
        return fail(f"the command ended with {how}" + (f": {last}" if last else ""), exit_code=exit_code)

    def _read_outputs(self) -> Any:
        """The JSON in $CPF_OUTPUT; else what stdout holds, if that is a JSON object (or JSON is needed).

        Raises ValueError where there must be JSON and is none.
        """
        if self.output.exists():
            data = self.secrets.mask(read_file(self.output))
            self.output.unlink()
            if data:
                return _parse(data, "what the command wrote to $CPF_OUTPUT")
        if self.action.needs_json:
            return _parse(read_file(self.stdout), "what the command printed on stdout")
        try:
            if self.stdout.stat().st_size > MAX_BYTES or not may_hold_object(self.stdout):
                return {}
            return _parse(read_file(self.stdout), "")
        except (ValueError, OSError, CheckpointflowError):  # the command may have taken its own log away
            return {}


def _parse(data: bytes, what: str) -> Any:
    try:
        return read_json(data)
    except ValueError as error:
        raise ValueError(f"{what} cannot be its outputs: {error}") from None
