"""One action: a shell command, in a process group of its own, its output straight into files.

What the command prints never passes through our memory, however much it is; at most 16 MiB of it are
read back when it is to be JSON. What goes wrong with the command is a Failure; only what is wrong with the
store raises, before anything has begun.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from checkpointflow.drivers.children import (
    Child,
    Inheritance,
    Launch,
    find_inheritance,
    open_input,
    open_watch,
    start,
)
from checkpointflow.drivers.logs import Log, MaskedPipe, create
from checkpointflow.drivers.outcomes import fail
from checkpointflow.drivers.processes import GRACE_SECONDS, end, find_attempt
from checkpointflow.drivers.secrets import NO_SECRETS, Secrets
from checkpointflow.drivers.signals import ignores_children, name_signal
from checkpointflow.engine.actions import ArtifactSpec, Outcome, RunCommand, StoredFile, Success
from checkpointflow.errors import CheckpointflowError, DirectoryGone
from checkpointflow.expressions.values import as_text
from checkpointflow.json_text import MAX_BYTES, read_json
from checkpointflow.shells.scripts import list_arguments
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import (
    escape_name,
    is_text,
    make_private,
    reach,
    read_file,
    sync_file,
    sync_names,
    translate_errors,
)
from checkpointflow.store.layout import ARTIFACTS, RUNS, log_names, value_name
from checkpointflow.store.locks import MARKS, add_mark, make_mark

MAX_SHORT_BYTES = 1 << 20
MAX_SET_FILES = 10_000
MAX_SET_BYTES = 1 << 30


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
        self.start_directory = os.fspath(start_directory)
        self.cwd = os.path.join(start_directory, action.cwd) if action.cwd else self.start_directory
        self.child: Child | None = None
        self.watch: int | None = None
        self.named_lock: int | None = None
        self.secrets = NO_SECRETS
        self._inheritance = find_inheritance() if inheritance is None else inheritance
        self._names = log_names(action.path, action.attempt)
        self._output = f"{self.run}/{self._names[-1]}"
        self._values = {name: value_name(action.path, name, value) for name, value in action.files.items()}
        self._logs: list[Log] = []
        self._pipes: list[MaskedPipe] = []

    def begin(self) -> Outcome | None:
        """Start it; what came of it if that is not possible.

        Then `watch` is a descriptor that can be read from once its process has ended. Raises
        PersistenceError, DirectoryGone: nothing has begun.
        """
        if not os.path.isdir(self.start_directory):
            raise DirectoryGone(directory=self.start_directory)
        if self.action.secrets:
            try:
                self.secrets = Secrets(self.action.secrets)
            except KeyError as error:
                return fail(f"the secret {error.args[0]} is not set in the environment of cpf, or empty")
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
            if self.child is None:
                self._clear()
        self.watch = open_watch(self._reach_child())
        return None

    def finish(self) -> Outcome:
        """What came of it, once its process has ended."""
        try:
            return self._judge(self._take_in())
        finally:
            self._clear()

    def expire(self) -> Outcome:
        """What came of it, since its time is up: nothing is left of it."""
        self._stop_watching()  # whoever looks for processes needs a descriptor, of which there may be no more
        self.stop()
        self._take_in()
        said = self._hear()[0]
        self._clear()
        seconds = self.action.timeout_seconds or 0
        return fail(f"it took longer than {seconds:g} seconds", code="ERR_TIMEOUT", **said)

    def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """End all that is left of it: TERM, and KILL for what remains after a grace period."""
        if self.child is not None:
            family = find_attempt({self._mark(self.action.attempt)}, self.child.pid)
            end(family, grace_seconds, self.child.reap)

    def end_predecessors(self) -> None:
        """End what the attempts before it have left, which would be in its way, if there were any."""
        if self.action.attempt > 1:
            end(find_attempt({self._mark(attempt) for attempt in range(1, self.action.attempt)}))

    def takes_long(self) -> bool:
        """Whether there is much to read, or to wait for, now that it has ended."""
        return bool(self.action.artifacts) or any(log.size > MAX_SHORT_BYTES for log in self._read_logs())

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
            for pipe in self._pipes:  # before anybody asks how long they are
                pipe.settle()
            self._logs = [Log(self.run, name) for name in self._names[:-1]]
        return self._logs

    def _take_in(self) -> int | None:
        """Wait for the end of its process; its exit code."""
        code = self._reach_child().wait()
        self._stop_watching()
        self._read_logs()
        return code

    def _stop_watching(self) -> None:
        if self.watch is not None:
            os.close(self.watch)
            self.watch = None

    def _reach_child(self) -> Child:
        assert self.child is not None, "it has begun"
        return self.child

    def _mark(self, attempt: int) -> str:
        return make_mark(self.run, self.action.path, attempt)

    def _prepare(self, printing: list[int]) -> None:
        """Files for its output, *printing*. Raises OSError: nothing has begun."""
        for name in self._names[:-1]:
            printing.append(create(self.run, name))
        self._clear()
        for variable, name in self._values.items():
            with os.fdopen(create(self.run, name), "wb") as file:
                file.write(as_text(self.action.files[variable]).encode())
        if not os.path.isdir(f"{self.run}/{ARTIFACTS}"):
            make_private(self.directory.place / ARTIFACTS)

    def _start(self, printing: list[int]) -> None:
        action = self.action
        if ignores_children():
            raise OSError("SIGCHLD is ignored here, so that its exit code could not be known")
        own = self.secrets.fill({**action.env, **action.variables})
        self._pipes = [MaskedPipe(fd, self.secrets) for fd in printing if action.secrets]
        printing += [pipe.entry for pipe in self._pipes]
        launch = Launch(
            arguments=[
                action.shell,
                *list_arguments(action.shell, action.script, fail_fast=action.fail_fast),
            ],
            environment={
                **self._inheritance.environment,
                **self.secrets.variables,
                **own,
                **{variable: f"{self.run}/{name}" for variable, name in self._values.items()},
                **self._describe_run(),
            },
            directory=self.cwd,
            stdin=None,
            stdout=printing[-2],
            stderr=printing[-1],
            # Should cpf die, whoever is left of the command goes on holding these, so that nobody starts the
            # step beside it, or another step that needs the same lock.
            locks={"CPF_LOCK_FD": self.directory.step_lock, "CPF_NAMED_LOCK_FD": self.named_lock},
            unwanted=self._inheritance.descriptors,
        )
        if action.stdin is UNSET:
            self.child = start(launch)
            return
        text = as_text(self.secrets.fill(action.stdin))
        with open_input(text.encode(errors="surrogateescape")) as file:  # an environment need not be UTF-8
            self.child = start(replace(launch, stdin=file.fileno()))

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
            "CPF_NAMED_LOCK_FD": "",
            MARKS: add_mark(self._inheritance.environment.get(MARKS), self._mark(action.attempt)),
        }

    def _judge(self, code: int | None) -> Outcome:
        action = self.action
        said, problem = self._hear()
        if fault := next((pipe.problem for pipe in self._pipes if pipe.problem), None):
            return fail(f"what it printed could not be written: {fault.strerror}", exit_code=code, **said)
        if code is None:  # another thread had SIGCHLD ignored meanwhile, or waited for any child
            return fail("its exit code is not known: something else in this process took it", **said)
        signal, code = (-code, 128 - code) if code < 0 else (None, code)  # as every shell tells it
        if code not in action.exit_codes:
            return fail(self._explain_failure(code, signal), exit_code=code, **said)
        if isinstance(problem, ValueError):
            return fail(str(problem), code="ERR_STEP_OUTPUT_INVALID", exit_code=code, **said)
        if problem is not None:
            return fail(f"its output could not be read: {problem}", exit_code=code, **said)
        try:
            artifacts = self._keep_artifacts()
        except (OSError, ValueError, CheckpointflowError) as error:  # ValueError: a path with NUL in it
            return fail(f"an artifact could not be kept: {error}", exit_code=code, **said)
        return Success(**{"outputs": {}, **said}, exit_code=code, artifacts=artifacts)

    def _hear(self) -> tuple[dict[str, Any], Exception | None]:
        """What it said, as an outcome has it, as far as it can be read; what is wrong with the rest."""
        said, lost, problem = dict[str, Any](), dict[str, str](), None
        stdout, stderr = self._read_logs()
        wanted = [("stdout", stdout.read_text)] if self.action.keeps_stdout else []
        wanted += [("stderr", stderr.read_end)] if self.action.keeps_stderr else []
        for part, read in [*wanted, ("outputs", self._read_outputs)]:
            try:
                found = read()
                lost |= found.pop("lost", {})
                said |= found
            except (OSError, ValueError, CheckpointflowError) as error:  # such as that it took its log away
                problem = problem or error
                lost[part] = str(error) if part == "outputs" else f"could not be read: {error}"
        return {**said, "lost": lost}, problem

    def _keep_artifacts(self) -> dict[str, StoredFile]:
        """Copies, in the run's directory, of the files that the command left behind. Raises OSError."""
        found: dict[str, StoredFile] = {}
        for wanted in self.action.artifacts:
            try:
                sources = _find_set(self.cwd, self.run, wanted) if wanted.pattern else self._find_file(wanted)
            except (FileNotFoundError, NotADirectoryError):
                if not wanted.may_lack:
                    raise
                continue
            if wanted.pattern:
                self._clear_set(wanted.name)
            for inner, file in sources:
                name = f"{wanted.name}/{inner}" if inner else wanted.name
                found[name] = self._keep_artifact(name, file, wanted)
        sync_names(self.directory.place, [file.path for file in found.values()])
        return found

    def _clear_set(self, called: str) -> None:
        """Take away what an attempt that failed had kept of it: the set is its directory."""
        from shutil import rmtree  # late, as few steps have one

        name = f"{ARTIFACTS}/{self.action.path}/{called}"
        with suppress(FileNotFoundError):
            reach(self.run, name, lambda last, above: rmtree(last, dir_fd=above))

    def _find_file(self, wanted: ArtifactSpec) -> list[tuple[str, str]]:
        file = os.path.join(self.cwd, wanted.path)
        if wanted.within is not None:
            file, top = os.path.realpath(file), os.path.realpath(os.path.join(self.cwd, wanted.within))
            if os.path.commonpath([file, top]) != top:
                raise OSError(f"{wanted.path} leads out of {top}, and a value chose it")
        if stat.S_ISDIR(os.stat(file).st_mode):
            raise OSError(f"{wanted.path} is a directory; {wanted.path}/ would be all in it")
        return [("", file)]

    def _keep_artifact(self, called: str, file: str, wanted: ArtifactSpec) -> StoredFile:
        from hashlib import sha256  # late: few steps have artifacts

        name = f"{ARTIFACTS}/{self.action.path}/{called}"
        source = os.open(file, os.O_RDONLY | os.O_NONBLOCK | (os.O_NOFOLLOW if wanted.pattern else 0))
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
                sync_file(copy.fileno())
        return StoredFile(path=name, size=size, sha256=digest.hexdigest(), media_type=wanted.media_type)

    def _explain_failure(self, code: int, signal: int | None) -> str:
        how = f"exit code {code}" if signal is None else f"the signal {name_signal(signal)}"
        stderr = self._read_logs()[1]
        last = stderr.read_last_line() if stderr.is_there else ""  # the command may have taken it away
        return f"the command ended with {how}" + (f": {last}" if last else "")

    def _read_outputs(self) -> dict[str, Any]:
        """The JSON in $CPF_OUTPUT; else what stdout holds, if that is a JSON object (or JSON is needed).

        If it is none, though it looks as if it was meant to be, why it is not. Raises ValueError where
        there must be JSON and is none.
        """
        if os.path.exists(self._output):
            data = read_file(Path(self._output))
            if data:
                return {"outputs": self._parse(data, "what the command wrote to $CPF_OUTPUT")}
        stdout = self._read_logs()[0]
        if not self.action.needs_json:
            head = stdout.read_head() if stdout.size else b""  # the command may have taken it away
            if not head.startswith(b"{"):
                why = "it printed something else before its JSON"
                return {"lost": {"outputs": why}} if b"\n{" in head else {}
        try:
            return {"outputs": self._parse(stdout.read(MAX_BYTES + 1), "what the command printed on stdout")}
        except ValueError as error:
            if self.action.needs_json:
                raise
            return {"lost": {"outputs": str(error)}}

    def _parse(self, data: bytes, what: str) -> Any:
        try:
            return self.secrets.mask_value(read_json(data))
        except ValueError as error:
            raise ValueError(f"{what} cannot be its outputs: {error}") from None

    def _clear(self) -> None:
        """Take away what only the command itself is to read or write."""
        for file in (self._output, *(f"{self.run}/{name}" for name in self._values.values())):
            with suppress(OSError):
                os.unlink(file)


def _find_set(cwd: str, run: str, wanted: ArtifactSpec) -> list[tuple[str, str]]:
    """The regular files of a set, by their paths from its base, sorted; no symbolic link is followed to one.

    Nothing of the store itself is among them. Raises OSError, FileNotFoundError if there are none.
    """
    base, matches = (
        os.path.join(os.path.realpath(cwd), wanted.path),
        re.compile(wanted.pattern or "").fullmatch,
    )
    if os.path.realpath(base) != os.path.normpath(base):
        raise OSError(f"a symbolic link is on the way to {wanted.path}")
    place = os.path.realpath(run)
    runs = os.path.dirname(place)
    own = os.path.dirname(runs) if os.path.basename(runs) == RUNS else place
    found: dict[str, str] = {}
    size = 0
    for above, below, names in os.walk(base):
        below[:] = [name for name in below if os.path.join(above, name) != own]
        for file in (os.path.join(above, name) for name in names):
            inner = os.path.relpath(file, base)
            if matches(inner) and stat.S_ISREG((status := os.lstat(file)).st_mode):
                found[inner] = file
                size += status.st_size
                if not is_text(inner):
                    raise OSError(f"the name {escape_name(inner)} is not UTF-8")
                if len(found) > MAX_SET_FILES or size > MAX_SET_BYTES:
                    most = f"{MAX_SET_FILES:,} files or {MAX_SET_BYTES:,} bytes"
                    raise OSError(f"the artifact {wanted.name} has more than {most}")
    if not found:
        raise FileNotFoundError(f"there is no file for the artifact {wanted.name} in {base}")
    return sorted(found.items())
