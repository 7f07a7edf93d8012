"""`cpf guide authoring`: short, and each of its documents validates and runs as it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from checkpointflow.cli import guide
from tests.conftest import Cpf

TEXT = Path(guide.__file__).parent.with_name("authoring.md").read_text()
DOCUMENTS = {re.search(r"id: (\w+)", d)[1]: d for d in re.findall(r"(?ms)^```yaml\n(.*?)^```$", TEXT)}  # type: ignore[index]
ENDS: dict[str, tuple[dict[str, Any], list[tuple[str, Any]], Any]] = {
    "ask_first": ({"to": "-x y"}, [("approve", {"ok": True})], "applied"),
    "review_loop": (
        {},
        [
            ("write", {}),
            ("write@2", "written"),
            ("review", {"verdict": "revise"}),
            ("write@3", {}),
            ("review@2", {"verdict": "accept"}),
        ],
        None,
    ),
    "for_each": ({}, [], ["a", "b"]),
    "at_once": ({}, [], 12),
    "choose": ({}, [], "nothing to get"),
}


def test_it_is_a_topic_of_the_guide_and_short(cpf: Cpf) -> None:
    assert cpf("guide", "authoring").text == TEXT
    assert len(TEXT) < 1_500 * 3.35  # characters of a token of this text, by o200k: 3.38


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_of_its_documents_runs_to_its_end(cpf: Cpf, name: str) -> None:
    inputs, answers, result = ENDS[name]
    file = cpf.write("w.yaml", DOCUMENTS[name])
    assert cpf("validate", file, "--strict").code == 0, cpf("validate", file, "--strict").text
    answer = cpf("run", file, "--input", json.dumps(inputs))
    for step, payload in answers:
        assert (answer.code, answer["wait"]["step"]) == (40, step)
        if payload == "written":
            cpf.write("a.txt", "text")
        answer = cpf("resume", answer["run_id"], "--step", step, "--input", json.dumps(payload))
    assert (answer.code, answer.json.get("result")) == (0, result), answer.text


def test_it_has_five_patterns() -> None:
    assert set(DOCUMENTS) == set(ENDS)
