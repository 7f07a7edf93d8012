"""What a client carries for us between two requests, sealed: it can give it back, but not make it.

A state is the run's id, the time until which it counts, and an HMAC of both and of the call that it belongs
to. The key lies in the store, for its owner only, and is made when it is first needed.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from checkpointflow.mcp.protocol import INVALID_PARAMS, ProtocolError
from checkpointflow.store.files import (
    create_anew,
    make_private,
    open_safely,
    read_all,
    translate_errors,
    write_at,
)
from checkpointflow.store.layout import MCP_KEY

KEY_BYTES = 32
MAX_STATE_SECONDS = 86_400


def seal(base: Path, run_id: str, call: bytes) -> str:
    """The state of *call*, which is about the run *run_id* of the store at *base*."""
    head = f"{run_id}.{int(time.time()) + MAX_STATE_SECONDS}"
    return f"{head}.{_sign(base, head, call)}"


def unseal(base: Path, state: str, call: bytes) -> str:
    """The run's id in *state*. Raises ProtocolError for one that is not of this call, or is old."""
    from hmac import compare_digest

    head, _, signature = state.rpartition(".")
    run_id, _, until = head.partition(".")
    is_ours = compare_digest(_sign(base, head, call).encode(), signature.encode(errors="replace"))
    if not is_ours:
        raise ProtocolError(INVALID_PARAMS, "requestState is not of this call")
    if time.time() > int(until):
        problem = f"requestState is more than a day old; ask again with cpf_wait and run_id {run_id}"
        raise ProtocolError(INVALID_PARAMS, problem)
    return run_id


def _sign(base: Path, head: str, call: bytes) -> str:
    import hmac  # late: few calls carry a state, and it brings OpenSSL

    return hmac.new(_read_key(base), head.encode(errors="replace") + b"\0" + call, "sha256").hexdigest()


def _read_key(base: Path) -> bytes:
    """The key, made anew if there is none that is ours alone."""
    file = base / MCP_KEY
    with translate_errors(file):
        for _ in range(3):
            key = _find_key(file)
            if key is not None:
                return key
            _make_key(file)
    raise ProtocolError(INVALID_PARAMS, f"{file} cannot be made")


def _find_key(file: Path) -> bytes | None:
    try:
        with open_safely(file) as fd:
            status = os.fstat(fd)
            is_ours = status.st_uid == os.geteuid() and not status.st_mode & 0o077
            key = read_all(fd) if is_ours and status.st_size == KEY_BYTES else b""
    except FileNotFoundError:
        return None
    except OSError:  # a link, a pipe: none of ours
        key = b""
    if len(key) == KEY_BYTES:
        return key
    os.unlink(file)
    return None


def _make_key(file: Path) -> None:
    """A new key, there whole or not at all; whoever was quicker has made it."""
    make_private(file.parent)  # where all runs are those of a cluster it may not be there
    beside = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    fd = create_anew(beside)
    try:
        write_at(fd, os.urandom(KEY_BYTES), 0)
    finally:
        os.close(fd)
    with suppress(FileExistsError):
        os.link(beside, file)
    os.unlink(beside)
