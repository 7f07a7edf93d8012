"""The words that messages share."""

from __future__ import annotations

import pytest

from checkpointflow.diagnostics import point_at

MANY = [f"s{n:02}" for n in range(22)]


@pytest.mark.parametrize(
    ("word", "words", "hint"),
    [
        ("biuld", ["build", "test"], "did you mean build?"),
        ("other", ["build", "test", "build"], "there are build, test"),
        ("other", [], "there are none"),
        ("other", MANY, f"there are {', '.join(MANY[:20])} and 2 more"),
    ],
)
def test_what_was_meant_is_told_or_else_what_there_is(word: str, words: list[str], hint: str) -> None:
    assert point_at(word, words, "there are") == hint
