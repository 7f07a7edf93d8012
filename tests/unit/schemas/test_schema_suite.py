"""The official suite, where it lies beside the repository, or where `CPF_SCHEMA_SUITE` says.

Of 2020-12 it has 1,299 required tests, and some 600 to 1,200 of each draft before.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from checkpointflow.schemas.validation import Schema

BESIDE = Path(__file__).resolve().parents[4] / "shared" / "json-schema-test-suite"
SUITE = Path(os.environ.get("CPF_SCHEMA_SUITE", BESIDE))

DRAFTS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}
RIGHT = {"draft4": 597, "draft6": 812, "draft7": 900, "draft2019-09": 1166, "draft2020-12": 1191}
"""How many answers are right at least; to the others there is none."""


def say_draft(schema: Any, draft: str) -> Any:
    """*schema* with `$schema`, which the suite leaves to its directories."""
    return {"$schema": DRAFTS[draft], **schema} if isinstance(schema, dict) else schema


@pytest.fixture(scope="module", params=DRAFTS)
def draft(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if not (SUITE / name).is_dir():
        pytest.skip(f"the official JSON Schema test suite is not there: {SUITE / name}")
    return name


@pytest.fixture(scope="module")
def results(draft: str) -> dict[str, list[str]]:
    """The tests by what became of them."""
    found: dict[str, list[str]] = {"right": [], "wrong": [], "refused": [], "unnamed": []}
    for file in sorted((SUITE / draft).glob("*.json")):
        for group in json.loads(file.read_text("utf-8")):
            names = [f"{file.stem}: {group['description']}: {test['description']}" for test in group["tests"]]
            schema = Schema(say_draft(group["schema"], draft))
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


def test_most_answers_to_the_official_suite_are_right(draft: str, results: dict[str, list[str]]) -> None:
    assert len(results["right"]) >= RIGHT[draft]


def test_what_is_refused_of_the_official_suite_names_its_keyword(results: dict[str, list[str]]) -> None:
    assert results["unnamed"] == []


def test_only_these_parts_of_the_official_suite_are_refused(
    draft: str, results: dict[str, list[str]]
) -> None:
    files = {name.split(":")[0] for name in results["refused"]}
    known = {"definitions", "ref", "refRemote"}
    if draft.startswith("draft20"):
        unevaluated = {"unevaluatedItems", "unevaluatedProperties"}
        known = {"defs", "maxContains", "minContains", "ref", "refRemote", "vocabulary", *unevaluated}
    dynamic = {
        "draft2019-09": {"recursiveRef"},
        "draft2020-12": {"dynamicRef", "pattern", "patternProperties"},
    }
    assert files <= known | dynamic.get(draft, set())
