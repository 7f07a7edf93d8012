"""What became of an action: told by ourselves, or by a function that somebody gave, and then looked at."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, ValidationError, convert, to_builtins

from checkpointflow.engine.actions import Error, Failure, Outcome, Success
from checkpointflow.errors import DirectoryGone, LockConflict, PersistenceError
from checkpointflow.json_text import copy_json


class NotBegun(Struct, frozen=True):
    """It was not begun: somebody else holds its lock, the store cannot be written, its directory is gone."""

    why: LockConflict | PersistenceError | DirectoryGone


def fail(
    message: str,
    *,
    code: str = "ERR_STEP_FAILED",
    details: Any = None,
    exit_code: int | None = None,
    status_code: int | None = None,
    retry_after: float | None = None,
    **said: Any,
) -> Failure:
    """The outcome of an action that did not succeed.

    code: ERR_ and capitals, what `on_error` and people tell failures apart by; details: a JSON value;
    exit_code, status_code: a command's, an HTTP answer's; retry_after: seconds until it may succeed;
    said: what it said all the same (outputs, stdout, stderr, headers), for whoever goes on after it.
    """
    error = Error(code=code, message=message, details=details, exit_code=exit_code, status_code=status_code)
    return Failure(error, retry_after, **said)


def copy_outcome(outcome: object) -> Outcome:
    """A copy of what a function returned as the *outcome* of an action, which it can change no more.

    What is no JSON value becomes the failure that a command's output would be. Raises TypeError for what is
    no outcome at all: then nobody knows what was done.
    """
    if not isinstance(outcome, Success | Failure):
        kind = type(outcome).__name__
        raise TypeError(f"an action is performed by returning a Success or a Failure, not a {kind}")
    try:
        return convert(copy_json(to_builtins(outcome)), type(outcome))
    except (TypeError, ValueError, ValidationError) as error:
        return fail(f"what was returned cannot be its outcome: {error}", code="ERR_STEP_OUTPUT_INVALID")
