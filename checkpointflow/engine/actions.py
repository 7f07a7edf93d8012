"""What the engine asks for (actions), and what becomes of it (outcomes).

An action is plain data that stands in the checkpoint before anybody performs it. A driver performs it
and reports an outcome; it never raises.
"""

# No `from __future__ import annotations`: msgspec would have to compile the texts at each start.
from typing import Any

from msgspec import UNSET, Struct


class LockRequest(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A lock that all runs of a store share, and how long to wait for it."""

    key: str
    timeout_seconds: float = 0


class ArtifactSpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A file that a command leaves behind; path: relative to its working directory.

    within: where a value is part of the path, the directory that it may not lead out of; pattern: of a set of
    files, the regular expression that their paths from the directory *path* match; may_lack: it may be that
    there is none.
    """

    name: str
    path: str
    media_type: str | None = None
    within: str | None = None
    pattern: str | None = None
    may_lack: bool = False


class _Action(
    Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="do", omit_defaults=True
):
    path: str
    attempt: int


class RunCommand(_Action, frozen=True, kw_only=True, tag="run_command"):
    """Run *script* by *shell*, with *variables* (the interpolated values) and *env* in its environment.

    files: values that it is given in files, by the variables for the files' names; stdin: what it can read on
    standard input, as JSON unless it is text; fail_fast: it ends with the first command in it that fails;
    cwd: relative to the directory where the run was started;
    timeout_seconds: then the whole process group is stopped; exit_codes: those that count as success;
    needs_json: its output must be JSON; keeps_stdout, keeps_stderr: the document refers to its text;
    secrets: those whose marks stand in its values.
    """

    shell: str
    script: str
    fail_fast: bool = False
    variables: dict[str, str] = {}
    files: dict[str, Any] = {}
    env: dict[str, str] = {}
    stdin: Any = UNSET
    cwd: str | None = None
    timeout_seconds: float | None = None
    exit_codes: tuple[int, ...] = (0,)
    needs_json: bool = False
    keeps_stdout: bool = False
    keeps_stderr: bool = False
    idempotency_key: str
    lock: LockRequest | None = None
    artifacts: tuple[ArtifactSpec, ...] = ()
    secrets: tuple[str, ...] = ()


class CallHttp(_Action, frozen=True, kw_only=True, tag="call_http"):
    """Make an HTTP call.

    body: sent as JSON, or as it is when it is text; UNSET: none; secrets: those whose marks stand in it;
    keeps_stdout, keeps_headers: the document refers to the text, or the headers, of the answer;
    host_is_data: not the author but a value chose the host, which must then be public, or one of allow_hosts.
    """

    method: str
    url: str
    host_is_data: bool = False
    allow_hosts: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    body: Any = UNSET
    timeout_seconds: float = 30
    status_codes: tuple[int, ...] = (200, 201, 202, 204)
    keeps_stdout: bool = False
    keeps_headers: bool = False
    idempotency_key: str
    lock: LockRequest | None = None
    secrets: tuple[str, ...] = ()


class Sleep(_Action, frozen=True, kw_only=True, tag="sleep"):
    """Wait until the time *until* (UTC, ISO 8601), before the *attempt*-th attempt."""

    until: str


Effect = RunCommand | CallHttp
Action = Effect | Sleep


class Error(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Why a step or a run failed; exit_code: the command's; status_code: the HTTP answer's."""

    code: str
    message: str
    step_id: str | None = None
    exit_code: int | None = None
    status_code: int | None = None
    details: Any = None


class StoredFile(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """An artifact in the run's directory: its path there, its size in bytes, its SHA-256."""

    path: str
    size: int
    sha256: str
    media_type: str | None = None


class Yield(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a step or an attempt came to. stdout, stderr, headers (by lower-case names): if they are kept.

    artifacts: by their names, and those of a set by its name, a slash and theirs;
    lost: why what was printed is not the outputs, or not kept as stdout, each by that name, for whoever
    refers to them.
    """

    outputs: Any = UNSET
    exit_code: int | None = None
    status_code: int | None = None
    headers: dict[str, str] = {}
    stdout: str | None = None
    stderr: str | None = None
    artifacts: dict[str, StoredFile] = {}
    lost: dict[str, str] = {}


class Success(Yield, frozen=True, kw_only=True, tag=True):
    """The action did what it should."""


class Failure(Struct, frozen=True, tag=True):
    """The action was tried and did not succeed. retry_after: in so many seconds it may, says who answered.

    The rest is what it said all the same, as in a Yield, for whoever goes on after the failure.
    """

    error: Error
    retry_after: float | None = None
    outputs: Any = UNSET
    headers: dict[str, str] = {}
    stdout: str | None = None
    stderr: str | None = None
    lost: dict[str, str] = {}


class Slept(Struct, frozen=True, tag=True):
    """The pause is over."""


Outcome = Success | Failure | Slept
