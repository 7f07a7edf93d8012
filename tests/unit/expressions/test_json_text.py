"""JSON from outside: strict, and kept to limits."""

from __future__ import annotations

import pytest

from checkpointflow.drivers.json_text import MAX_BYTES, read_json


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, 2.5, "x", null, true]}', {"a": [1, 2.5, "x", None, True]}),
        ("\ufeff3", 3),
        ("1" * 4000, int("1" * 4000)),
        ("[" * 100 + "]" * 100, None),
        ('"\\u0000"', "\0"),
        ('"\\ud83d\\ude00"', "😀"),
    ],
)
def test_json_is_read(text: str, value: object) -> None:
    assert read_json(text.encode()) == value or value is None


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"{", "not JSON"),
        (b"NaN", "not JSON"),
        (b"Infinity", "not JSON"),
        (b"1e999", "not JSON"),
        (b'"\\ud800"', "not JSON"),
        (b'"\xff"', "not JSON"),
        (b"1" * 5000, "not JSON"),
        (b"[1] 2", "not JSON"),
        (b"[" * 101 + b"]" * 101, "nested deeper than 100 levels"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "nested deeper than 100 levels"),
        (b"[" * 100_000, "nested deeper than 100 levels"),
        (b" " * (MAX_BYTES + 1), "at most"),
    ],
)
def test_anything_else_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_json(data)
