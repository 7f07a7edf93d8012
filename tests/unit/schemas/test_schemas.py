"""JSON Schemas as users write them: what fits, what does not and in which words, what is refused.

`cases/schemas.json` is the specification. `keywords`, a row a claim: `fits` are instances that fit, `refuses`
those that do not, each with the messages. `wrong` and `unsupported`: schemas with their problem. A message is
`[name, fills …]` of a text in `cases/texts.json`, or itself.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from checkpointflow.diagnostics import Diagnostic
from checkpointflow.errors import InvalidSchema, UnsupportedSchema
from checkpointflow.schemas.instance_errors import InstanceError
from checkpointflow.schemas.validation import Schema
from tests.texts import Texts

HERE = Path(__file__).parent / "cases"
CASES = json.loads((HERE / "schemas.json").read_text("utf-8"))
text = Texts(HERE / "texts.json")
ROWS = CASES["keywords"]
EACH = pytest.mark.parametrize("row", ROWS, ids=[row["about"] for row in ROWS])


def name_of(row: dict[str, Any]) -> str:
    return json.dumps(row["schema"])[:40]


def problem_of(row: dict[str, Any], code: str) -> Diagnostic:
    unsupported = code == UnsupportedSchema.code
    return Diagnostic(
        text(row["message"]), tuple(row["path"]), code=code, id=row["keyword"], at_name=unsupported
    )


def messages(schema: Any, instance: Any) -> list[str]:
    return [error.message for error in Schema(schema).errors(instance)]


# understood once


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What fastjsonschema was asked to compile."""
    asked: list[Any] = []
    real = fastjsonschema.compile

    def count(definition: Any, **options: Any) -> Any:
        asked.append(definition)
        return real(definition, **options)

    monkeypatch.setattr(fastjsonschema, "compile", count)
    return asked


def test_a_schema_is_compiled_once_however_often_it_is_asked(compiled: list[Any]) -> None:
    schema = Schema({"properties": {"n": {"type": "integer", "default": 3}}})
    assert (schema.problems, schema.complete({})) == ([], {"n": 3})
    assert compiled == []
    for _ in range(3):
        assert [len(schema.errors(instance)) for instance in ({}, {"n": "x"}, [])] == [0, 1, 0]
    assert len(compiled) == 1


def test_each_branch_is_compiled_once_to_say_why_values_do_not_fit(compiled: list[Any]) -> None:
    schema = Schema({"propertyNames": {"maxLength": 1}, "additionalProperties": {"anyOf": [False, False]}})
    for _ in range(3):
        assert len(schema.errors({"aa": 1, "bb": 1, "cc": 1})) == 6
    assert len(compiled) == 1 + 1 + 2


def test_a_schema_is_surveyed_once_however_often_it_is_asked() -> None:
    properties: dict[str, Any] = {"n": {"type": "integer", "default": 3}}
    schema = Schema({"properties": properties})
    assert schema.problems == []
    properties["n"]["type"] = "strng"  # whoever looked again would see it
    properties["m"] = {"default": 4}
    assert schema.complete({}) == {"n": 3}
    assert [error.keyword for error in schema.errors({"n": "x"})] == ["type"]
    assert schema.problems == []


def test_a_schema_that_is_refused_says_so_each_time_and_fills_in_nothing() -> None:
    schema = Schema({"properties": {"n": {"default": 3}}, "requird": []})
    for _ in range(2):
        with pytest.raises(UnsupportedSchema, match="unknown keyword `requird`"):
            schema.errors({})
    assert schema.complete({}) == {}
    assert [problem.code for problem in schema.problems] == ["ERR_UNSUPPORTED_SCHEMA"]


# keywords


@EACH
def test_what_fits_has_no_errors(row: dict[str, Any]) -> None:
    schema = Schema(row["schema"])
    assert [schema.errors(instance) for instance in row["fits"]] == [[]] * len(row["fits"])


@EACH
def test_what_does_not_fit_is_told_in_full(row: dict[str, Any]) -> None:
    schema = Schema(row["schema"])
    found = [
        [instance, [error.message for error in schema.errors(instance)]] for instance, _ in row["refuses"]
    ]
    assert found == [[instance, list(map(text, told))] for instance, told in row["refuses"]]


@EACH
def test_compiling_changes_nothing_in_the_schema(row: dict[str, Any]) -> None:
    before = copy.deepcopy(row["schema"])
    assert Schema(row["schema"]).problems == []
    Schema(row["schema"]).errors(row["schema"])
    assert row["schema"] == before


def test_every_keyword_has_a_row() -> None:
    from checkpointflow.schemas.keywords import KEYWORDS

    written = json.dumps(ROWS)
    assert [keyword for keyword in KEYWORDS if f'"{keyword}": ' not in written] == []


# errors of instances


def test_an_error_names_path_message_and_keyword() -> None:
    schema = {"properties": {"items": {"items": {"properties": {"name": {"type": "string"}}}}}}
    assert Schema(schema).errors({"items": [{}, {"name": 3}]}) == [
        InstanceError("$.items[1].name", text(["must be", "$.items[1].name", "a string", "3"]), "type")
    ]


def test_errors_come_in_the_order_of_the_instance() -> None:
    schema = {"required": ["z"], "additionalProperties": {"type": "string"}}
    instance = {f"f{number}": number for number in reversed(range(12))}
    paths = [error.path for error in Schema(schema).errors(instance)]
    assert paths == ["$", *(f"$.{name}" for name in instance)]


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        (False, "false"),
        ({"items": False}, "items"),
        ({"properties": {"items": {"enum": []}}, "prefixItems": [False]}, "prefixItems"),
        ({"dependentRequired": {"a": ["b"]}}, "dependentRequired"),
        (
            {"anyOf": [{"properties": {"b": True}}, True], "unevaluatedProperties": False},
            "unevaluatedProperties",
        ),
        ({"pattern": "^a"}, "pattern"),
        ({"const": 1}, "const"),
    ],
)
def test_an_error_names_the_keyword_of_the_author(schema: Any, keyword: str) -> None:
    instances: list[Any] = [[1], {"a": 1}, "b"]
    understood = Schema(schema)
    assert keyword in {error.keyword for instance in instances for error in understood.errors(instance)}


def test_two_rules_broken_alike_are_told_once() -> None:
    assert len(messages({"allOf": [{"type": "null"}, {"type": "null"}]}, 1)) == 1


def test_long_values_are_shortened() -> None:
    for value in ("x" * 1000, ["x"] * 1000, {f"f{n}": n for n in range(1000)}, 10**200):
        (message,) = messages({"type": "null"}, value)
        assert len(message) < 100
        assert message.endswith("…")


def test_lone_surrogates_are_told_so_that_they_can_be_printed() -> None:
    (message,) = messages({"const": 1}, "\ud800")
    assert message == text(["must be", "$", "1", '"\\ud800"'])


def test_no_suggestion_is_sought_among_thousands() -> None:
    schema = {"properties": {f"field{number}": True for number in range(1001)}, "additionalProperties": False}
    assert messages(schema, {"field": 1}) == [text(["unknown field", "$", "field"])]


# limits of instances


def nested(depth: int, inner: Any = 1) -> Any:
    for _ in range(depth):
        inner = [inner]
    return inner


def test_an_instance_may_be_100_levels_deep() -> None:
    assert messages({"items": {"$ref": "#"}}, nested(100)) == []


@pytest.mark.parametrize("depth", [101, 2_000, 100_000])
def test_a_deeper_instance_is_an_error_that_names_the_limit(depth: int) -> None:
    assert messages(True, nested(depth)) == ["$ is nested more than 100 levels deep"]


def test_a_schema_that_is_deep_at_each_level_of_a_deep_instance_is_an_error() -> None:
    inner: Any = {"items": {"$ref": "#"}}
    for _ in range(30):
        inner = {"allOf": [inner]}
    assert messages(inner, nested(100)) == ["$ is nested too deep for this schema"]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_no_json_is_an_error(number: float) -> None:
    assert messages({"multipleOf": 0.5}, {"a": [number]}) == [text(["no JSON in it", "$", str(number)])]


def test_a_text_too_long_for_its_pattern_is_an_error() -> None:
    schema = {"properties": {"mail": {"not": {"pattern": r"\S+@\S+"}}}}
    assert messages(schema, {"mail": "x" * 464, "notes": "x" * 10_000}) == []
    assert messages(schema, {"mail": "x" * 465}) == [
        "$ has a text of 465 characters where a pattern is tried on 464 at most"
    ]


def test_a_name_too_long_for_a_pattern_is_an_error() -> None:
    schema = {"patternProperties": {r"\S+@\S+": False}}
    assert messages(schema, {"x" * 464: 1}) == []
    assert messages(schema, {"x" * 465: 1}) == ["$ has a field with a name of more than 464 characters"]


# schemas that are refused


@pytest.mark.parametrize("row", CASES["wrong"], ids=name_of)
def test_a_wrong_schema_is_told_where_and_why(row: dict[str, Any]) -> None:
    assert Schema(row["schema"]).problems == [problem_of(row, InvalidSchema.code)]
    with pytest.raises(InvalidSchema) as caught:
        Schema(row["schema"]).errors({})
    assert caught.value.exit_code == 10


@pytest.mark.parametrize(
    ("schema", "path", "message"),
    [
        ({"const": float("nan")}, ("const",), text(["no JSON", "nan"])),
        ({"default": {"a": {1, 2}}}, ("default", "a"), text(["no JSON", "a set"])),
        ({"properties": {1: {}}}, (), "a key must be text, and a int is not"),
    ],
)
def test_what_is_no_json_is_no_schema(schema: Any, path: tuple[str | int, ...], message: str) -> None:
    assert Schema(schema).problems == [Diagnostic(message, path, id=str([*path, ""][0]))]


@pytest.mark.parametrize("row", CASES["unsupported"], ids=name_of)
def test_what_cannot_be_honoured_is_refused_by_name(row: dict[str, Any]) -> None:
    assert Schema(row["schema"]).problems == [problem_of(row, UnsupportedSchema.code)]
    with pytest.raises(UnsupportedSchema) as caught:
        Schema(row["schema"]).errors({})
    assert caught.value.exit_code == 80


def test_all_problems_come_at_once_in_the_order_of_the_schema() -> None:
    schema = {
        "properties": {"a": {"type": "strng"}, "b": {"minLength": "3"}},
        "requird": ["a"],
        "allOf": [{"$ref": "#/x"}, {"pattern": "("}],
    }
    paths = [problem.path for problem in Schema(schema).problems]
    assert paths == [
        ("properties", "a", "type"),
        ("properties", "b", "minLength"),
        ("requird",),
        ("allOf", 0, "$ref"),
        ("allOf", 1, "pattern"),
    ]


def test_the_error_names_the_first_mistake_and_lists_all() -> None:
    with pytest.raises(InvalidSchema) as caught:
        Schema({"requird": [], "properties": {"a b": {"type": 1}}, "allOf": [3]}).errors({})
    assert str(caught.value).startswith('$.properties["a b"].type: ' + text(["type", ""]))
    assert caught.value.details[0] == {
        "path": "$.requird",
        "keyword": "requird",
        "message": text(["unknown keyword", "requird", " (did you mean `required`?)"]),
    }
    assert [detail["path"] for detail in caught.value.details[1:]] == [
        '$.properties["a b"].type',
        "$.allOf[0]",
    ]


# limits of schemas


def test_a_schema_has_at_most_20000_nodes() -> None:
    assert Schema({"enum": list(range(19_998))}).problems == []
    (problem,) = Schema({"enum": list(range(19_999))}).problems
    assert problem.message == text(["nodes"])


def test_nodes_are_counted_after_aliases() -> None:
    bomb: Any = True
    for _ in range(40):
        bomb = {"anyOf": [bomb, bomb]}
    assert Schema(bomb).problems[0].message == text(["schema too deep"])
    bomb = True
    for _ in range(20):
        bomb = {"anyOf": [bomb, bomb]}
    assert Schema(bomb).problems[0].message == text(["nodes"])


def test_a_schema_that_contains_itself_as_an_object_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["not"] = loop
    assert Schema(loop).problems[0].message == text(["schema too deep"])


@pytest.mark.parametrize("count", [64, 19_000])
def test_references_apply_at_most_64_deep_to_one_value(count: int) -> None:
    chain = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(count // 2)} | {f"d{count // 2}": True}
    problems = Schema({"$defs": chain, "$ref": "#/$defs/d0"}).problems
    assert [problem.message for problem in problems] == ([] if count == 64 else [text(["applied"])])


def test_references_that_multiply_are_refused() -> None:
    twice = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(20)} | {"d20": True}
    (problem,) = Schema({"$defs": twice}).problems
    assert problem.message == text(["applied"])


def test_branches_that_decide_what_is_evaluated_are_at_most_64_combinations() -> None:
    def schema(count: int) -> Any:
        branches = [{"properties": {f"p{n}": True}, "required": [f"p{n}"]} for n in range(count)]
        return {"anyOf": branches, "unevaluatedProperties": False}

    assert Schema(schema(6)).problems == []
    (problem,) = Schema(schema(7)).problems
    assert problem == Diagnostic(
        "more than 64 combinations of branches decide `unevaluatedProperties`",
        ("unevaluatedProperties",),
        code="ERR_UNSUPPORTED_SCHEMA",
        id="unevaluatedProperties",
        at_name=True,
    )
    with pytest.raises(UnsupportedSchema):
        Schema(schema(7)).errors({})


# patterns that could run for long


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(a*)*",
        "(a|a)*b",
        "(a|aa)+$",
        r"(\w+\s?)*$",
        "([a-z]+)*-",
        "(.*a){20}",
        "(?:a?){30}a{30}",
        "a?" * 30 + "a" * 30,
        "^" + "a?" * 30 + "a" * 30,
        "(?=(a+)+b)a",
        "(?!(a|aa)+$)",
        "(x+x+)+y",
        "(?:(?:a|b)*c?)*",
        "(?:(?=a))*b",
        ".*a.*b.*c.*d.*e",
        "(" * 99 + "a" + ")+" * 99,
        "(?:" * 60 + "a" + "){2}" * 60,
    ],
)
def test_a_pattern_that_could_run_for_long_is_refused_quickly(pattern: str) -> None:
    started = time.perf_counter()
    (problem,) = Schema({"pattern": pattern}).problems
    assert problem.code == UnsupportedSchema.code
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"^[^@\s]+@[^@\s]+\.[^@\s]+$", "@" + "." * 9_998 + "@"),
        (r"\S+@\S+x$", "@" * 464),
        (".*a.*b.*c$", "abc" * 33),
        ("a+b", "a" * 10_000),
        ("^[a-z0-9]+(-[a-z0-9]+)*$", "a-" * 500_000 + "!"),
        ("^(?:(?:a|b)?c){0,12}(?:d|de){3}$", "acbc" * 6 + "dedede"),
    ],
)
def test_a_pattern_that_is_let_through_ends_soon_at_its_worst(pattern: str, text: str) -> None:
    started = time.perf_counter()
    Schema({"pattern": pattern}).errors(text)
    assert time.perf_counter() - started < 5


# traps of fastjsonschema


def test_nothing_is_fetched_should_a_reference_reach_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    from checkpointflow.schemas.rewriting import Rewriter

    monkeypatch.setattr(Rewriter, "_rewrite", lambda *_: {"$ref": "file:///etc/hostname"})
    with pytest.raises(LookupError, match="a reference by file reached the compiler"):
        Schema({}).errors([])


@pytest.mark.parametrize("schema", [{}, {"type": "object"}])
def test_where_nothing_is_asked_for_and_nothing_given_nothing_is_compiled(
    monkeypatch: pytest.MonkeyPatch, schema: Any
) -> None:
    monkeypatch.setattr("checkpointflow.schemas.rewriting.rewrite", None)
    assert (Schema(schema).errors({}), Schema(schema).complete({})) == ([], {})
    with pytest.raises(TypeError):
        Schema(schema).errors({"a": 1})


def test_neither_fastjsonschema_nor_difflib_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, checkpointflow.schemas.validation as j; j.Schema({'type': 'string'}).problems;"
        "print({'fastjsonschema', 'difflib', 'json', 'urllib.parse'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


def test_messages_are_the_same_whatever_the_hash_seed() -> None:
    code = (
        "from checkpointflow.schemas.validation import Schema as S;"
        "print(S({'required': list('abcdef'), 'additionalProperties': {'type': 'null'}})"
        ".errors({k: 1 for k in 'uvwxyz'}))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(seen) == 1


# defaults


@pytest.mark.parametrize(
    ("schema", "instance", "expected"),
    [
        ({"properties": {"a": {"default": 1}}}, {}, {"a": 1}),
        ({"properties": {"a": {"default": 1}}}, {"a": None, "b": 2}, {"a": None, "b": 2}),
        ({"properties": {"a": {"default": 1}}}, [], []),
        ({"properties": {"a": True}}, {"a": {}}, {"a": {}}),
        ({"properties": {"a": True}}, {}, {}),
        ({"properties": {"a": {"properties": {"b": {"default": []}}}}}, {"a": {}}, {"a": {"b": []}}),
        ({"properties": {"a": {"properties": {"b": {"default": 1}}}}}, {}, {}),
        ({"properties": {"a": {"default": {}, "properties": {"b": {"default": 1}}}}}, {}, {"a": {"b": 1}}),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"properties": {"a": {"default": 1}}}}}, {}, {"a": 1}),
        ({"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"default": 3}}}, {}, {"a": 3}),
        ({"properties": {"a": {"default": {}, "$ref": "#"}}}, {}, {"a": {}}),
        ({"properties": {"a": {"default": 1}}, "requird": []}, {}, {}),
        ({"properties": {"a": {"default": float("nan")}}}, {}, {}),
    ],
)
def test_absent_properties_get_their_defaults(schema: Any, instance: Any, expected: Any) -> None:
    before = copy.deepcopy(instance)
    assert Schema(schema).complete(instance) == expected
    assert instance == before


def test_a_default_is_copied_each_time_and_kept_as_written() -> None:
    schema = {"properties": {"a": {"default": [1.0]}}}
    understood = Schema(schema)
    one, two = understood.complete({}), understood.complete({})
    one["a"].append(2)
    assert (repr(two), schema) == ("{'a': [1.0]}", {"properties": {"a": {"default": [1.0]}}})


def test_defaults_are_filled_in_100_levels_deep_and_no_deeper() -> None:
    instance: dict[str, Any] = {}
    for _ in range(2_000):
        instance = {"inner": instance}
    filled = Schema({"properties": {"inner": {"$ref": "#"}, "a": {"default": 1}}}).complete(instance)
    depth = 0
    while "a" in filled:
        filled, depth = filled["inner"], depth + 1
    assert depth == 101


@pytest.mark.parametrize(
    "schema", [{"required": ["tag"]}, {"properties": {"tag": {}}, "additionalProperties": False}]
)
def test_a_field_that_only_looks_like_a_known_one_is_told_by_its_characters(schema: Any) -> None:
    (message,) = messages(schema, {"t\u0430g": 1})
    assert "One of the two has U+0430 in it." in message


def test_a_field_that_is_near_is_not_told_to_look_like_another() -> None:
    (message,) = messages({"required": ["tag"]}, {"tags": 1})
    assert message.endswith('lacks "tag"')
