"""Against the `jsonschema` package: it accepts what we accept, and refuses what we refuse.

What the two are known to read differently is not drawn: `\\d` (ASCII here), `$` before a last line end (not
here), and fractions that binary floats cannot hold.
"""

from __future__ import annotations

from typing import Any

import jsonschema
from hypothesis import assume, given
from hypothesis import strategies as st

from checkpointflow.errors import InvalidSchema, UnsupportedSchema
from checkpointflow.schemas.validation import Schema

NAMES = st.sampled_from(
    ["a", "b", "ab", "A", "a-b", "a.b", "$ref", "id", "", "é", '"', "{a}", "\\", "\t", "d0"]
)
NUMBERS = st.sampled_from([-1, 0, 1, 2, 3, 1.0, 0.5, 1.5, -2.0, 10**20, 1e300])
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, NAMES)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)
PATTERNS = st.sampled_from(
    ["^a", "b$", "[$]", "^(a|b)*$", "a.", "^[a-c]{1,2}$", r"\$", "", "^$", r"^\{", "-"]
)
TYPES = st.sampled_from(["array", "boolean", "integer", "null", "number", "object", "string"])
COUNTS = st.integers(0, 3)
REFERENCES = st.sampled_from(
    ["#", "#/$defs/a", "#/$defs/b", "#/properties/a", "#here", "#/allOf/0", "#/$defs/A"]
)


def schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=3)
    named = st.dictionaries(NAMES, inner, max_size=3)
    patterned = st.dictionaries(PATTERNS, inner, max_size=2)
    names = st.lists(NAMES, unique=True, max_size=2)
    keywords = {
        "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
        "enum": st.lists(VALUES, max_size=3),
        "const": VALUES,
        "minimum": NUMBERS,
        "maximum": NUMBERS,
        "exclusiveMinimum": NUMBERS,
        "exclusiveMaximum": NUMBERS,
        "multipleOf": st.sampled_from([1, 2, 3, 0.5, 0.25, 2.0]),
        "minLength": COUNTS,
        "maxLength": COUNTS,
        "pattern": PATTERNS,
        "minItems": COUNTS,
        "maxItems": COUNTS,
        "uniqueItems": st.booleans(),
        "minProperties": COUNTS,
        "maxProperties": COUNTS,
        "required": names,
        "dependentRequired": st.dictionaries(NAMES, names, max_size=2),
        "properties": named,
        "patternProperties": patterned,
        "additionalProperties": inner,
        "propertyNames": inner,
        "dependentSchemas": named,
        "items": inner,
        "prefixItems": several,
        "contains": inner,
        "minContains": st.integers(0, 1),
        "maxContains": st.just(0),
        "allOf": several,
        "anyOf": several,
        "oneOf": several,
        "not": inner,
        "if": inner,
        "then": inner,
        "else": inner,
        "unevaluatedProperties": inner,
        "unevaluatedItems": inner,
        "$ref": REFERENCES,
        "title": st.just("t"),
        "default": VALUES,
    }
    chosen = st.lists(st.sampled_from(sorted(keywords)), min_size=1, max_size=4, unique=True)
    return chosen.flatmap(lambda keys: st.fixed_dictionaries({key: keywords[key] for key in keys}))


INNER = st.recursive(st.booleans() | st.just({}), schemas, max_leaves=8)
LOCAL = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {"a": INNER, "A": INNER, "b": st.just({"$anchor": "here", "type": ["object", "array"]})}
    ),
)


@st.composite
def documents(draw: st.DrawFn) -> Any:
    schema = draw(schemas(INNER))
    definitions = draw(LOCAL)
    return {**schema, "$defs": definitions} if definitions else schema


def accepted_by_package(schema: Any, instance: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(instance))


@given(documents(), st.lists(VALUES, min_size=4, max_size=12))
def test_an_instance_fits_here_just_when_it_fits_the_jsonschema_package(
    schema: Any, instances: list[Any]
) -> None:
    understood = Schema(schema)
    assume(not understood.problems)
    for instance in instances:
        errors = understood.errors(instance)
        assert (not errors) == accepted_by_package(schema, instance), (instance, errors)


JUNK_KEYWORDS = [
    *["$anchor", "$dynamicRef", "$id", "$ref", "anyOf", "contains", "default", "enum", "if", "items"],
    *["minLength", "not", "pattern", "properties", "required", "title", "type", "unevaluatedItems", "x-a"],
]
JUNK = st.recursive(
    st.one_of(SCALARS, st.text(max_size=5), st.floats(), TYPES, REFERENCES),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(JUNK_KEYWORDS),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=20,
)


@given(JUNK, VALUES)
def test_any_json_is_compiled_or_refused_with_problems(schema: Any, instance: Any) -> None:
    understood = Schema(schema)
    problems = understood.problems
    try:
        understood.errors(instance)
    except (InvalidSchema, UnsupportedSchema) as error:
        assert [detail["message"] for detail in error.details] == [problem.message for problem in problems]
    else:
        assert problems == []
    understood.complete(instance)


HOSTILE = st.text(
    st.sampled_from("'\"\\{}[]()\n\r\t%$#.:;=+ x0\u2028\x00é\ud800"), max_size=12
) | st.sampled_from(
    [
        '"); raise SystemExit("',
        "'''",
        '"""',
        "{data}",
        "{0}",
        "{variable.__class__}",
        "\\",
        '\\"',
        "\\N{",
        "%(a)s",
    ]
)


@given(HOSTILE, HOSTILE, HOSTILE)
def test_hostile_text_anywhere_in_a_schema_is_only_text(one: str, two: str, three: str) -> None:
    schema = {
        "properties": {one: {"const": two}, two: {"enum": [{three: one}, one]}},
        "required": [one],
        "dependentRequired": {one: [two]},
        "dependentSchemas": {three: {"properties": {one: {"type": "string"}}}},
        "patternProperties": {"^x": {"properties": {three: {"not": {"const": one}}}}},
        "additionalProperties": {"items": {"properties": {two: {"const": three}}}},
        "propertyNames": {"not": {"const": "q" + one}},
    }
    understood = Schema(schema)
    for instance in (
        {one: two},
        {two: one, three: [{two: one}]},
        {"x": {three: one}, one: one},
        {"q" + one: 1},
    ):
        assert (not understood.errors(instance)) == accepted_by_package(schema, instance)
