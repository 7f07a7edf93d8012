"""JSON text from outside -> a JSON value: strict, and kept to limits.

Inputs, events and outputs all come in through here, so that whatever a run holds can be written again:
no NaN, no infinity, no lone surrogate (the decoder refuses them), nothing nested deeper than an encoder
can follow.
"""

from __future__ import annotations

from typing import Any

import msgspec

MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 100
TOO_DEEP = f"it is nested deeper than {MAX_DEPTH} levels"


def read_json(data: bytes) -> Any:
    """The value that *data* spells. Raises ValueError saying what is wrong with it."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has {len(data)} bytes, and at most {MAX_BYTES} are read")
    if not data.strip():
        raise ValueError("it is empty, and JSON was expected")
    try:
        value = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise ValueError(f"it is not JSON: {error}") from None
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    if _measure_depth(value) > MAX_DEPTH:
        raise ValueError(TOO_DEEP)
    return value


def copy_json(value: Any) -> Any:
    """A copy of the Python *value* as a JSON value, as `json.dumps` would write it and `read_json` read it.

    Raises ValueError saying what in it is no JSON: NaN, a set, text with a lone surrogate, and so on.
    """
    import json  # late: what comes as text has no need of it. msgspec writes NaN as null, without a word

    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"it is not JSON: {error}") from None
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    return read_json(text.encode())


def _measure_depth(value: Any) -> int:
    """How deep *value* is nested, counted without recursion, up to just over the limit."""
    layer, depth = [value], 0
    while layer and depth <= MAX_DEPTH:
        layer = [
            inner
            for outer in layer
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        depth += 1
    return depth
