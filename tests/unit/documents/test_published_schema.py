"""The published schema of workflows: it accepts what the reader accepts, and tells an editor what to show."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from checkpointflow.cli.schema import write_schema
from checkpointflow.documents.decoding import decode_leniently
from checkpointflow.documents.model import Document

SCHEMA = json.loads(write_schema("workflow"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
# What is put where something else belongs: near misses of every type, and both sides of every limit.
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 0.5, 2.5, 1e-30, 10**30, -(2**63) - 1, 2**64,
    99, 100, 255, 256, 599, 600, 1000, 1001, 86_400, 86_400.5, 315_360_000, 315_360_000.5,
    "", "a", "a\n", "a b", "1", "é", "_", "a.b", "a.b\n", "x" * 128, "x" * 129,
    "continue", "CONTINUE", "sh", "GET", "get", "cli", "workflow", "end", "user", "fixed",
    "${", "${inputs.a}", "checkpointflow/v1", "checkpointflow/v2",
    [], ["a"], [0], [0.5], [True], [None], [[]], [{}], ["a", 1], [255, 256],
    {}, {"a": 1}, {"next": "a"}, {"next": None}, {"next": "a", "b": 1},
    {"exit_codes": [0]}, {"exit_codes": []}, {"status_codes": [200]},
    {"max_attempts": 1}, {"max_attempts": 1.5}, {"key": "a"}, {"A": "x"}, {"A": 1.5},
    {"A": None}, {"A\n": "x"}, {"1": "x"}, {"A" * 257: ""}, {"": ""}, {"x-y": 1},
    {"id": "a", "kind": "end"}, [{"id": "a", "kind": "end"}], [{"id": "a", "kind": "end", "next": "a"}],
    [{"start_at": "a"}], [{"id": "a", "steps": [{"id": "a", "kind": "end"}]}], [{"when": True, "next": "a"}],
    [{"name": "a", "path": "b"}], [{"name": "a", "path": "b", "media_type": None}],
]  # fmt: skip
LETTERS = st.characters(codec="utf-8", exclude_characters="\0\x7f", exclude_categories=["Cs"])


def fitting(kind: Any) -> st.SearchStrategy[Any]:
    """Values that fit the type *kind*, as `msgspec.inspect` describes it."""
    match kind:
        case inspect.Metadata(extra_json_schema={"pattern": _}):
            return st.just("${inputs.a}")
        case inspect.Metadata():
            return fitting(kind.type)
        case inspect.UnionType():
            return st.one_of(*map(fitting, kind.types))
        case inspect.StructType():
            return st.deferred(lambda: struct(kind))
        case inspect.DictType():
            names = fitting(kind.key_type)
            return st.dictionaries(names, fitting(kind.value_type), max_size=2)
        case inspect.VarTupleType() | inspect.ListType():
            least = kind.min_length or 0
            return st.lists(st.deferred(lambda: fitting(kind.item_type)), min_size=least, max_size=least + 1)
        case inspect.LiteralType():
            return st.sampled_from(kind.values)
        case inspect.StrType(pattern=str()):
            known = ["a", "_", "B_1", "b.c", "example.com", "${inputs.a}", "x" * (kind.max_length or 9)]
            return st.sampled_from([name for name in known if re.search(kind.pattern, name)])
        case inspect.StrType():
            return st.text(LETTERS, min_size=kind.min_length or 0, max_size=5)
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType() | inspect.FloatType():
            return numbers(kind)
        case inspect.NoneType():
            return st.none()
    assert isinstance(kind, inspect.AnyType), kind
    return st.sampled_from(ODD)


def numbers(kind: Any) -> st.SearchStrategy[Any]:
    least, most = kind.ge, kind.le
    whole = st.integers(1 if least is None else least, 10**6 if most is None else int(most))
    return whole if isinstance(kind, inspect.IntType) else whole | whole.map(lambda number: number / 2)


@st.composite
def struct(draw: st.DrawFn, kind: Any) -> dict[str, Any]:
    fields = [field for field in kind.fields if field.required or draw(st.integers(0, 5)) == 0]
    value = {field.encode_name: draw(fitting(field.type)) for field in fields}
    return {"kind": kind.tag, **value} if kind.tag else value


def list_types(kind: Any, seen: set[type]) -> Iterator[Any]:
    """*kind*, and all that it is made of."""
    kind = kind.type if isinstance(kind, inspect.Metadata) else kind
    yield kind
    inner = [getattr(kind, name) for name in ("key_type", "value_type", "item_type") if hasattr(kind, name)]
    inner += getattr(kind, "types", ())
    if isinstance(kind, inspect.StructType) and kind.cls not in seen:
        seen.add(kind.cls)
        inner += [field.type for field in kind.fields]
    for one in inner:
        yield from list_types(one, seen)


def test_no_text_with_a_pattern_may_be_a_list_or_a_mapping_too() -> None:
    """Where one may, msgspec 0.22 takes the pattern for a type when garbage is collected, and crashes."""
    unions = [k for k in list_types(inspect.type_info(Document), set()) if isinstance(k, inspect.UnionType)]
    assert len(unions) > 10
    for union in unions:
        members = [m.type if isinstance(m, inspect.Metadata) else m for m in union.types]
        if any(getattr(member, "pattern", None) for member in members):
            assert not any(hasattr(m, "item_type") or hasattr(m, "value_type") for m in members)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in inner:
        yield from places(entry, (*path, key))


def changed(value: Any, path: tuple[Any, ...], how: Any) -> Any:
    """*value* with what *how* says done at *path*: `drop`, `add`, or another value put there."""
    if path:
        key, *rest = path
        if not rest and how == "drop" and isinstance(value, dict):
            return {name: entry for name, entry in value.items() if name != key}
        if isinstance(value, dict):
            return {**value, key: changed(value[key], tuple(rest), how)}
        return [changed(entry, tuple(rest), how) if at == key else entry for at, entry in enumerate(value)]
    if how == "add":
        return (
            {**value, "more": 1} if isinstance(value, dict) else [*value, 1] if isinstance(value, list) else 1
        )
    return value if how == "drop" else how


def readable(document: Any) -> bool:
    """Whether the reader takes *document*."""
    return decode_leniently(json.dumps(document).encode())[2] == []


FITTING = fitting(inspect.type_info(Document))
CHANGES = st.sampled_from([*ODD, "drop", "add"])


@given(FITTING)
def test_what_fits_the_structs_fits_the_schema(document: Any) -> None:
    assert VALIDATOR.is_valid(document)
    assert readable(document)


@given(FITTING, st.data())
def test_the_schema_accepts_what_the_reader_accepts_and_no_more(document: Any, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(list(places(document))))
        document = changed(document, path, data.draw(CHANGES))
    assert VALIDATOR.is_valid(document) == readable(document)


def test_a_whole_number_with_a_point_is_the_one_thing_that_a_schema_cannot_tell_apart() -> None:
    steps = [{"id": "a", "kind": "foreach", "items": [], "max_concurrency": 2.0}]
    document = {"schema_version": "checkpointflow/v1", "workflow": {"id": "w", "steps": steps}}
    assert VALIDATOR.is_valid(document)
    assert not readable(document)


# What an editor shows

DEFINITIONS = {"Document": SCHEMA, **SCHEMA["$defs"]}
FIELDS = [(name, field) for name, definition in DEFINITIONS.items() for field in definition["properties"]]


@pytest.mark.parametrize("name", DEFINITIONS)
def test_each_definition_has_a_title_and_a_description(name: str) -> None:
    assert DEFINITIONS[name]["title"]
    assert DEFINITIONS[name]["description"].endswith((".", "`."))


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_each_field_is_described(name: str, field: str) -> None:
    assert len(DEFINITIONS[name]["properties"][field]["description"]) > 10


def test_each_kind_of_step_is_told_by_its_kind_alone() -> None:
    steps = SCHEMA["$defs"]["Workflow"]["properties"]["steps"]["items"]["anyOf"]
    refs = [step["$ref"].rpartition("/")[2] for step in steps]
    kinds = {SCHEMA["$defs"][ref]["properties"]["kind"]["const"] for ref in refs}
    assert kinds == {"cli", "api", "await_event", "switch", "foreach", "parallel", "workflow", "end"}
    assert all("kind" in SCHEMA["$defs"][ref]["required"] for ref in refs)


def test_all_kinds_are_listed_where_a_step_stands() -> None:
    step = SCHEMA["$defs"]["Branch"]["properties"]["steps"]["items"]
    assert len(step["properties"]["kind"]["enum"]) == len(step["anyOf"]) == 8


def test_choices_are_listed() -> None:
    properties = SCHEMA["$defs"]["AwaitEvent"]["properties"]
    assert properties["audience"]["enum"] == ["agent", "system", "user"]


def with_examples(schema: Any) -> Iterator[tuple[Any, Any]]:
    """Each schema within *schema* that has examples, and each of these."""
    if isinstance(schema, dict):
        for example in schema.get("examples", ()):
            yield schema, example
    inner = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    for entry in inner:
        yield from with_examples(entry)


def test_each_example_fits_where_it_stands() -> None:
    found = list(with_examples(SCHEMA))
    assert len(found) > 20
    for schema, example in found:
        jsonschema.Draft202012Validator({**schema, "$defs": SCHEMA["$defs"]}).validate(example)


def test_nothing_stands_there_that_json_schema_does_not_know() -> None:
    assert "discriminator" not in json.dumps(SCHEMA)
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_no_editor_is_told_to_fill_in_nothing() -> None:
    assert not re.search(r'"default": (null|\{\}|\[\])', json.dumps(SCHEMA))
