"""Schemas of older drafts: read as their draft says, and told of in their words (`cases/dialects.json`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from checkpointflow.errors import InvalidSchema, UnsupportedSchema
from checkpointflow.schemas.validation import Schema

URIS = {
    "draft-04": "http://json-schema.org/draft-04/schema#",
    "draft-06": "http://json-schema.org/draft-06/schema#",
    "draft-07": "http://json-schema.org/draft-07/schema#",
    "2019-09": "https://json-schema.org/draft/2019-09/schema",
    "2020-12": "https://json-schema.org/draft/2020-12/schema",
}
CASES = json.loads((Path(__file__).parent / "cases" / "dialects.json").read_text("utf-8"))
Json = Any


def name_of(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value["schema"])[:60]


def read(draft: str, schema: dict[str, Json]) -> Schema:
    return Schema({"$schema": URIS[draft], **schema})


@pytest.mark.parametrize("uri", [*URIS.values(), "https://json-schema.org/draft-07/schema"])
def test_a_draft_is_named_with_or_without_s_and_hash(uri: str) -> None:
    assert Schema({"$schema": uri, "type": "string"}).errors(1)


@pytest.mark.parametrize(
    "uri", ["http://json-schema.org/schema#", "http://json-schema.org/draft-05/schema#", ""]
)
def test_another_schema_is_refused_by_name(uri: str) -> None:
    (problem,) = Schema({"$schema": uri}).problems
    assert (problem.path, problem.code) == (("$schema",), UnsupportedSchema.code)
    assert "only draft-04, draft-06, draft-07, 2019-09" in problem.message


@pytest.mark.parametrize(
    ("draft", "row"), [(draft, row) for row in CASES["honoured"] for draft in row["drafts"]], ids=name_of
)
def test_what_older_drafts_say_is_honoured(draft: str, row: Json) -> None:
    understood = read(draft, row["schema"])
    assert understood.problems == []
    assert [understood.errors(value) for value in row["fits"]] == [[]]
    assert all(understood.errors(value) for value in row["refuses"])


@pytest.mark.parametrize("row", CASES["refused"], ids=name_of)
def test_what_is_wrong_is_told_in_the_words_of_its_author(row: Json) -> None:
    (problem,) = read(row["draft"], row["schema"]).problems
    kind = InvalidSchema if row["kind"] == "wrong" else UnsupportedSchema
    assert (list(problem.path), problem.code) == (row["path"], kind.code)
    assert row["says"] in problem.message
    assert problem.id in problem.path


@pytest.mark.parametrize("row", CASES["warned"], ids=name_of)
def test_what_does_nothing_where_it_stands_is_warned_of(row: Json) -> None:
    warnings = read(row["draft"], row["schema"]).warnings
    assert [list(warning.path) for warning in warnings] == row["paths"]
    assert all(warning.hint and warning.id == warning.path[-1] for warning in warnings)


def test_defaults_are_found_where_an_older_draft_has_them() -> None:
    definition = {"properties": {"b": {"default": 1.0}}}
    schema = read("draft-07", {"properties": {"a": {"$ref": "#/items/0"}}, "items": [definition]})
    assert schema.complete({"a": {}}) == {"a": {"b": 1.0}}
    beside = {"properties": {"a": {"$ref": "#/definitions/x", "default": 3}}, "definitions": {"x": {}}}
    assert read("draft-07", beside).complete({}) == {"a": 3}


def test_combinations_beyond_the_limit_are_told_where_an_older_draft_has_them() -> None:
    branches = [{"properties": {f"p{n}": True}, "required": [f"p{n}"]} for n in range(7)]
    schema = read("2019-09", {"items": [{"anyOf": branches, "unevaluatedProperties": False}]})
    assert [problem.path for problem in schema.problems] == [("items", 0, "unevaluatedProperties")]
