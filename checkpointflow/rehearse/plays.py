"""What a fixture says an attempt comes to, as the outcome that a driver would report of it."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from checkpointflow.digests import sha256
from checkpointflow.engine.actions import (
    ArtifactSpec,
    CallHttp,
    Effect,
    Error,
    Failure,
    Outcome,
    RunCommand,
    StoredFile,
    Success,
)
from checkpointflow.expressions.values import as_json
from checkpointflow.json_text import read_json
from checkpointflow.rehearse.fixtures import Fails, Play

EMPTY = sha256(b"").hexdigest()


def come_to(play: Play, action: Effect) -> Outcome:
    """The outcome of *action* by *play*, which does not ask for a real one."""
    said, problem = _hear(play, action)
    error = _find_failure(play, action)
    if error is None and problem is not None:
        error = Error(code="ERR_STEP_OUTPUT_INVALID", message=problem, **_end(play, action))
    if error is not None:
        return Failure(error, **said)
    files = _list_artifacts(play, action) if isinstance(action, RunCommand) else {}
    return Success(**{"outputs": {}, **said}, **_end(play, action), artifacts=files)


def _find_failure(play: Play, action: Effect) -> Error | None:
    if play.times_out:
        return Error(
            code="ERR_TIMEOUT", message=f"it took longer than {action.timeout_seconds or 0:g} seconds"
        )
    if play.fails:
        told = play.fails if isinstance(play.fails, Fails) else Fails()
        codes = {} if play.exit_code is play.status_code is None else _end(play, action)
        return Error(code=told.code, message=told.message, details=told.details, **codes)
    end = _end(play, action)
    if isinstance(action, RunCommand) and end["exit_code"] not in action.exit_codes:
        lines = (play.stderr or "").strip().splitlines()
        last = f": {lines[-1].strip()}" if lines else ""
        return Error(
            code="ERR_STEP_FAILED", message=f"the command ended with exit code {play.exit_code}{last}", **end
        )
    if isinstance(action, CallHttp) and end["status_code"] not in action.status_codes:
        message = f"{action.method} {show_marks(action.url)} was answered with {play.status_code}"
        return Error(code="ERR_STEP_FAILED", message=message, **end)
    return None


def _end(play: Play, action: Effect) -> dict[str, Any]:
    """Its exit code, or status code: a success if the play does not say."""
    if isinstance(action, RunCommand):
        return {"exit_code": action.exit_codes[0] if play.exit_code is None else play.exit_code}
    return {"status_code": action.status_codes[0] if play.status_code is None else play.status_code}


def _hear(play: Play, action: Effect) -> tuple[dict[str, Any], str | None]:
    """What it says, as far as the document keeps it; what is wrong with it, if it must be JSON."""
    said: dict[str, Any] = {}
    if action.keeps_stdout:
        printed = "" if play.outputs is UNSET else as_json(play.outputs)
        said["stdout"] = printed if play.stdout is None else play.stdout
    if isinstance(action, RunCommand) and action.keeps_stderr:
        said["stderr"] = play.stderr or ""
    if isinstance(action, CallHttp) and action.keeps_headers:
        said["headers"] = {name.lower(): value for name, value in play.headers.items()}
    if play.outputs is not UNSET:
        return {**said, "outputs": play.outputs}, None
    try:
        return said | _read_outputs(play.stdout, action), None
    except ValueError as error:
        return said, f"what the command printed on stdout cannot be its outputs: {error}"


def _read_outputs(stdout: str | None, action: Effect) -> dict[str, Any]:
    """As a driver takes them from what is printed. Raises ValueError where that must be JSON."""
    is_needed = isinstance(action, RunCommand) and action.needs_json
    if stdout is None or not (is_needed or stdout.lstrip().startswith("{")):
        return {}
    try:
        return {"outputs": read_json(stdout.encode())}
    except ValueError as error:
        if is_needed:
            raise
        return {"lost": {"outputs": str(error)}}


def _list_artifacts(play: Play, action: RunCommand) -> dict[str, StoredFile]:
    names = play.artifacts
    if names is None:
        names = tuple(spec.name if spec.pattern is None else f"{spec.name}/file" for spec in action.artifacts)
    types = {spec.name: spec.media_type for spec in action.artifacts}
    return {name: _make_file(name, action, types.get(name.partition("/")[0])) for name in names}


def _make_file(name: str, action: RunCommand, media_type: str | None) -> StoredFile:
    path = f"artifacts/{action.path}/{name}"
    return StoredFile(path=path, size=0, sha256=EMPTY, media_type=media_type)


def find_lack(play: Play, action: Effect) -> str | None:
    """What an attempt by *play* lacks that its step says it leaves behind, as a person reads it."""
    if play.times_out and action.timeout_seconds is None:
        return "it has no `timeout_seconds`, so that it cannot time out"
    wanted = action.artifacts if isinstance(action, RunCommand) else ()
    if play.artifacts is None or play.fails or play.times_out:
        return None
    left = {name.partition("/")[0] for name in play.artifacts}
    unknown = left - {spec.name for spec in wanted}
    if unknown:
        return f"it has no artifact {min(unknown)}"
    lacking = next((spec for spec in wanted if _lacks(spec, left)), None)
    return None if lacking is None else f"it leaves behind no artifact {lacking.name}, which it must"


def _lacks(spec: ArtifactSpec, left: set[str]) -> bool:
    return spec.name not in left and not spec.may_lack


def show_marks(text: str) -> str:
    """*text* with the secrets whose marks stand in it by their names."""
    parts = text.split("\0")
    return "".join(part if number % 2 == 0 else f"${{secrets.{part}}}" for number, part in enumerate(parts))
