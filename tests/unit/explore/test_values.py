"""Values made up for schemas: they fit, and there are as many as a document can tell apart."""

from __future__ import annotations

from typing import Any

import pytest

from checkpointflow.explore.interest import Part
from checkpointflow.explore.lazy import Lazy, Oracle, Undecided, Unknown, decide_all, fill, make
from checkpointflow.explore.values import LISTS, UNMADE, Fields, Leaf, Maker
from checkpointflow.schemas.validation import Schema


def decided(*literals: Any, at: tuple[str | int, ...] = ()) -> Part:
    part = Part()
    part.at(at).compare(literals, decides=True)
    return part


def values(schema: dict[str, Any], part: Part | None = None) -> list[Any]:
    found = Maker(schema, {}).make(schema, part or Part())
    assert not [value for value in found if Schema(schema).errors(value)]
    return found


@pytest.mark.parametrize(
    ("schema", "part", "told_apart"),
    [
        ({"type": "boolean"}, decided(), [True, False]),
        ({"type": "integer"}, decided(5), [4, 5, 6]),
        ({"type": "number"}, decided(1, 2), [1, 1.5, 2]),
        ({"type": "integer", "minimum": 3}, decided(), [3, 4]),
        ({"type": "integer", "multipleOf": 7}, decided(), [7]),
        ({"type": "integer"}, decided("12"), [11, 12, 13]),
        ({"type": "string"}, decided("b"), ["b", "b~", ""]),
        ({"type": "string"}, decided(3), ["3", "4"]),
        ({"type": "string"}, decided(True), ["true"]),
        ({"type": "string"}, decided(), ["true", "false", "x"]),
        ({"type": ["string", "null"]}, decided("b"), ["b", None]),
        ({"type": ["string", "null"]}, None, ["x", None]),
        ({"enum": ["a", "b", 3]}, decided(), ["a", "b", 3]),
        ({"const": 4}, decided(), [4]),
        ({"oneOf": [{"const": 1}, {"type": "string"}]}, decided(), [1, "x"]),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, decided(), [1, None]),
        ({"allOf": [{"type": "object"}, {"required": ["a"]}, {"properties": {"a": {"const": 2}}}]}, None,
         [{"a": 2}]),
        ({}, decided(3), [3, 4]),
        ({}, decided({"a": 1}), [{"a": 1}]),
        ({}, decided(), [True, False]),
        ({"properties": {"a": {"const": 1}}, "minProperties": 1}, decided(at=("a",)), [{"a": 1}]),
        ({"type": "array", "items": {"type": "integer"}}, decided(), [[], [1], [1, 2]]),
        ({"items": {"enum": ["p", "q"]}}, decided("p", at=(0,)), [["p"], ["q"], ["p", "q"]]),
        ({"type": "array", "prefixItems": [{"const": 9}], "items": False}, None, [[9]]),
        ({"type": "array", "minItems": 3, "items": {"const": 1}}, decided(), [[1, 1, 1]]),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, None, [{}]),
    ],
)  # fmt: skip
def test_what_can_be_told_apart_is_there(
    schema: dict[str, Any], part: Part | None, told_apart: list[Any]
) -> None:
    found = [repr(value) for value in values(schema, part)]
    assert {repr(value) for value in told_apart} - set(found) == set()


@pytest.mark.parametrize(
    "pattern",
    [
        r"^[a-z]{3}-\d+$",
        r"^(foo|bar)\.[^a-z]$",
        r"^v\w\s.[\w][\d][\s]x?$",
        r"^[0-9]+(-[a-z]+)*$",
        r"^[.x][^\d]$",
    ],
)
def test_a_text_is_found_for_a_pattern(pattern: str) -> None:
    assert len(values({"type": "string", "pattern": pattern})) == 1


@pytest.mark.parametrize("form", ["date-time", "date", "email", "uri", "uuid", "ipv4", "time"])
def test_a_text_is_found_for_a_format(form: str) -> None:
    assert values({"type": "string", "format": form})


def test_what_cannot_be_made_up_is_told() -> None:
    doubts: dict[str, None] = {}
    schema = {"type": "string", "pattern": "^(?=a)b$"}
    assert Maker(schema, doubts).make(schema, Part()) == []
    assert UNMADE in doubts


def test_what_nothing_fits_is_known_to_be_so() -> None:
    doubts: dict[str, None] = {}
    schema = {"type": "integer", "minimum": 4, "maximum": 3}
    assert Maker(schema, doubts).make(schema, decided()) == []
    assert doubts == {}


def test_a_bound_is_told() -> None:
    doubts: dict[str, None] = {}
    schema = {"enum": list(range(100))}
    assert len(Maker(schema, doubts).make(schema, decided())) == 64
    many = {
        "type": "object",
        "not": {"required": ["zz"]},
        "properties": {f"p{n}": {"enum": [1, 2]} for n in range(20)},
    }
    part = Part()
    for n in range(20):
        part.at((f"p{n}",)).compare((), decides=True)
    Maker(many, doubts).make(many, part)
    lists = {"type": "array", "items": {"type": "string"}}
    Maker(lists, doubts).make(lists, decided())
    assert set(doubts) == {"of one thing, 64 values are tried", LISTS}


def test_references_within_a_schema_are_followed() -> None:
    schema = {
        "$defs": {"tree": {"type": "object", "required": ["v"], "properties": {"v": {"type": "integer"}}}},
        "type": "object",
        "required": ["t"],
        "properties": {"t": {"$ref": "#/$defs/tree"}},
    }
    assert values(schema) == [{"t": {"v": 1}}]
    odd = {
        "type": "object",
        "required": ["a", "b"],
        "properties": {"a": {"const": 1}, "b": {"$ref": "#/properties/a"}},
    }
    doubts: dict[str, None] = {}
    assert Maker(odd, doubts).make(odd, Part()) == [{"a": 1, "b": 1}]
    assert "a schema refers to another part of itself" in doubts


def test_a_schema_without_a_bottom_is_left_in_time() -> None:
    schema = {
        "$defs": {"t": {"type": "object", "required": ["t"], "properties": {"t": {"$ref": "#/$defs/t"}}}},
        "$ref": "#/$defs/t",
    }
    doubts: dict[str, None] = {}
    assert Maker(schema, doubts).make(schema, Part()) == []
    assert "values are made up 12 levels deep" in doubts


def test_a_default_is_there_where_defaults_are_filled_in() -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "default": 7}, "o": {"type": "integer"}},
    }
    part = decided(at=("n",))
    part.at(("o",))
    shape = Maker(schema, {}, fills_defaults=True).shape(part)
    assert isinstance(shape, Fields)
    assert shape.members["n"].values[0] == 7  # type: ignore[union-attr]


# Lazy values


def lazy(oracle: Oracle, **more: Any) -> Lazy:
    part = decided(at=("a",))
    part.at(("o", "b")).compare((), decides=True)
    part.at(("gone",)).compare((None,), decides=True)
    schema = {
        "type": "object",
        "required": ["a", "fixed"],
        "properties": {
            "a": {"type": "boolean"},
            "fixed": {"const": 3},
            "o": {"type": "object", "required": ["b"], "properties": {"b": {"type": "boolean"}}},
        },
        **more,
    }
    (found,) = make(oracle, "x", Maker(schema, {}).shape(part))
    assert isinstance(found, Lazy)
    return found


def test_whoever_looks_at_what_is_not_decided_is_asked() -> None:
    oracle = Oracle()
    value = lazy(oracle)
    assert value["fixed"] == 3
    with pytest.raises(Undecided) as asked:
        value["a"]
    assert (asked.value.key, asked.value.values) == (("x", "a"), (True, False))
    assert value.peek("a") == Unknown(("x", "a"))
    assert list(oracle.branch({}, lambda: value["a"])) == [
        ({("x", "a"): True}, True),
        ({("x", "a"): False}, False),
    ]


def test_absence_is_decided_too() -> None:
    oracle = Oracle()
    value = lazy(oracle)
    found = [answer for _, answer in oracle.branch({}, lambda: "o" in value and value["o"]["b"])]
    assert found == [True, False, False]
    assert [answer for _, answer in oracle.branch({}, lambda: value.get("gone", 5))][-1] == 5
    oracle.decisions = {}
    assert "a" in value
    assert "nothing" not in value
    assert value.get("nothing") is None
    with pytest.raises(KeyError):
        value["nothing"]


def test_to_look_at_all_decides_all() -> None:
    oracle = Oracle()
    value = lazy(oracle, additionalProperties=False)
    wholes = [whole for _, whole in oracle.branch({}, lambda: decide_all([value])[0])]
    assert {"a": False, "fixed": 3, "o": {"b": True}} in wholes
    assert {"a": True, "fixed": 3} in wholes
    assert len(wholes) == 6
    known = {("x", "a"): True, ("x", "o", "?"): False}
    ((_, (size, keys, of_it, items)),) = oracle.branch(
        known, lambda: (len(value), list(value.keys()), list(value.values()), dict(value.items()))
    )
    oracle.decisions = known
    assert list(value) == keys
    assert (size, keys, of_it, items) == (2, ["a", "fixed"], [True, 3], {"a": True, "fixed": 3})
    assert fill({"l": [value]}, known) == {"l": [{"a": True, "fixed": 3}]}
    assert value == value
    assert value != {}


def test_what_cannot_be_lazy_is_all_that_it_can_be() -> None:
    assert make(Oracle(), "x", Leaf((1, 2))) == [1, 2]


def test_what_nobody_looks_at_is_left_out_unless_it_is_required() -> None:
    schema = {"type": "object", "required": ["b"], "properties": {"a": {"const": 1}, "b": {"const": 2}}}
    (found,) = make(Oracle(), "x", Maker(schema, {}).shape(decided(at=("b",))))
    assert fill(found, {}) == {"b": 2}
