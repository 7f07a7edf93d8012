"""JSON text from outside -> a JSON value: strict, and kept to limits.

Inputs, events and outputs all come in through here, so that whatever a run holds can be written again:
no NaN, no infinity, no lone surrogate (the decoder refuses them), nothing nested deeper than an encoder
can follow.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

BOM = b"\xef\xbb\xbf"
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
        value = msgspec.json.decode(data.removeprefix(BOM))
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise ValueError(f"it is not JSON: {error}") from None
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    depth, keys = _measure(value)
    if depth > MAX_DEPTH:
        raise ValueError(TOO_DEEP)
    if data.count(b":") != keys != _count_keys(data):
        raise ValueError(f"the key {_find_double(data)!r} stands twice in one object: which of them counts?")
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


def _count_keys(data: bytes) -> int:
    """How many keys the JSON in *data* spells."""
    texts = re.finditer(rb'"(?:[^"\\]|\\.)*"([ \t\r\n]*:)?', data)
    return sum(1 for text in texts if text[1])


def _find_double(data: bytes) -> str:
    """A key that stands twice in one object of *data*, in which there is one."""
    import json  # late: that is rare

    doubles: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        doubles.extend(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]

    json.loads(data, object_pairs_hook=collect)
    return doubles[0]


def _measure(value: Any) -> tuple[int, int]:
    """How deep *value* is nested, up to just over the limit, and how many keys it has; without recursion."""
    layer, depth, keys = [value], 0, 0
    while layer and depth <= MAX_DEPTH:
        keys += sum(len(outer) for outer in layer if isinstance(outer, dict))
        layer = [
            inner
            for outer in layer
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        depth += 1
    return depth, keys
