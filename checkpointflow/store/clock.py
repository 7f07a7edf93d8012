"""What only this process can tell: the time, an id that nothing has, who it is."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def now() -> str:
    """The time, as all of this package writes it."""
    from checkpointflow.engine.messages import format_time  # late: whoever reads a run has no need of it

    return format_time(datetime.now(UTC))


def make_id() -> str:
    """A new ULID."""
    return make_ulid(time.time_ns() // 1_000_000, os.urandom(10))


def make_ulid(milliseconds: int, randomness: bytes) -> str:
    """48 bits of time and 80 random ones, in 26 characters that sort by time."""
    number = (milliseconds << 80) | int.from_bytes(randomness, "big")
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def name_user() -> str:
    """Who we are, for people: `user@host`."""
    from pwd import getpwuid  # late: most commands name nobody

    from checkpointflow.store.files import escape_name

    try:
        user = getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    return escape_name(f"{user}@{os.uname().nodename}")
