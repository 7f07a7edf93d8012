"""The official suite (1,299 required tests for 2020-12), where it lies beside the repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from checkpointflow.schemas.validation import Schema

SUITE = Path(__file__).resolve().parents[4] / "shared" / "json-schema-test-suite" / "draft2020-12"

pytestmark = pytest.mark.skipif(
    not SUITE.is_dir(), reason=f"the official JSON Schema test suite is not there: {SUITE}"
)


@pytest.fixture(scope="module")
def results() -> dict[str, list[str]]:
    """The tests by what became of them."""
    found: dict[str, list[str]] = {"right": [], "wrong": [], "refused": [], "unnamed": []}
    for file in sorted(SUITE.glob("*.json")):
        for group in json.loads(file.read_text("utf-8")):
            names = [f"{file.stem}: {group['description']}: {test['description']}" for test in group["tests"]]
            schema = Schema(group["schema"])
            if schema.problems:
                found["refused"] += names
                found["unnamed"] += [str(p) for p in schema.problems if p.id not in p.path]
                continue
            for name, test in zip(names, group["tests"], strict=True):
                fits = not schema.errors(test["data"])
                found["right" if fits == test["valid"] else "wrong"].append(name)
    return found


def test_no_answer_to_the_official_suite_is_wrong(results: dict[str, list[str]]) -> None:
    assert results["wrong"] == []


def test_at_least_1191_answers_to_the_official_suite_are_right(results: dict[str, list[str]]) -> None:
    assert len(results["right"]) >= 1191
    assert len(results["right"]) + len(results["refused"]) == 1299


def test_what_is_refused_of_the_official_suite_names_its_keyword(results: dict[str, list[str]]) -> None:
    assert results["unnamed"] == []


def test_only_these_parts_of_the_official_suite_are_refused(results: dict[str, list[str]]) -> None:
    files = {name.split(":")[0] for name in results["refused"]}
    counted = {"maxContains", "minContains"}
    patterns = {"pattern", "patternProperties"}
    dynamic = {"dynamicRef", "unevaluatedItems", "unevaluatedProperties"}
    remote = {"defs", "ref", "refRemote", "vocabulary"}
    assert files == counted | patterns | dynamic | remote
