"""JSON from outside: strict, and kept to limits."""

from __future__ import annotations

import pytest

from checkpointflow.json_text import MAX_BYTES, read_json


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, 2.5, "x", null, true]}', {"a": [1, 2.5, "x", None, True]}),
        ("\ufeff3", 3),
        ("1" * 4000, int("1" * 4000)),
        ("[" * 100 + "]" * 100, None),
        ('"\\u0000"', "\0"),
        (
            '{"a\\"b": {"a": 1, "c" : "x:y"}, "a":[{"a":"\\\\"}]}',
            {'a"b': {"a": 1, "c": "x:y"}, "a": [{"a": "\\"}]},
        ),
        ('"\\ud83d\\ude00"', "😀"),
    ],
)
def test_json_is_read(text: str, value: object) -> None:
    assert read_json(text.encode()) == value or value is None


@pytest.mark.parametrize(
    ("problem", "texts"),
    [
        ("empty", [b"", b" \n"]),
        ("not JSON", [b"{", b"NaN", b"Infinity", b"1e999", b'"\\ud800"', b'"\xff"', b"1" * 5000, b"[1] 2"]),
        (
            "nested deeper than 100 levels",
            [b"[" * 101 + b"]" * 101, b'{"a":' * 101 + b"1" + b"}" * 101, b"[" * 100_000],
        ),
        (
            "the key 'a' stands twice",
            [b'{"a":1,"a":1}', b'[{"b":{"a":"x:","c":0,"a" :2}}]', b'{"a":1,"\\u0061":2}'],
        ),
        ("at most", [b" " * (MAX_BYTES + 1)]),
    ],
    ids=["empty", "not JSON", "too deep", "twice", "too long"],
)
def test_anything_else_is_refused(problem: str, texts: list[bytes]) -> None:
    for text in texts:
        with pytest.raises(ValueError, match=problem):
            read_json(text)
