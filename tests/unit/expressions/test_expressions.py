"""What an expression means: a table of cases (`cases/expressions.json`), and what no table can hold.

A row is `{why, given?, expression, as?, result | error, column?}`. `given` is the scope (SCOPE where it
is absent), `as` the parser (`condition`, `path`), `error` a piece of the message with its hint: itself, or
`[name, fills …]` of a text in `cases/texts.json`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpointflow.errors import EvaluationError, ExpressionError
from checkpointflow.expressions import evaluation
from checkpointflow.expressions import syntax as language
from checkpointflow.expressions.functions import FUNCTIONS
from checkpointflow.expressions.values import as_text, describe_kind
from tests.texts import Texts

HERE = Path(__file__).parent / "cases"
CASES = json.loads((HERE / "expressions.json").read_text(encoding="utf-8"))
text = Texts(HERE / "texts.json")
PARSERS = {
    "expression": language.parse,
    "condition": language.parse_condition,
    "path": language.parse_path,
}
SCOPE: dict[str, Any] = {
    "inputs": {
        "name": "Ada",
        "n": 3,
        "yes": True,
        "no": False,
        "nil": None,
        "half": 0.5,
        "three": "3",
        "word": "true",
        "list": [10, 20, [30]],
        "none": [],
        "map": {"2": "two", "a b": 1, "x-y": "hyphen", "and": "word"},
        "bare": {},
        "größe": 1,
    },
    "steps": {"plan": {"outputs": {"url": "http://x", "summary": "s", "count": "12"}}},
    "run": {"id": "01J"},
    "item": "it",
    "item_index": 4,
}


def rows(key: str) -> list[Any]:
    return [pytest.param(row, id=row["why"]) for row in CASES if key in row]


def value_of(row: dict[str, Any]) -> Any:
    expression = PARSERS[row.get("as", "expression")](row["expression"])
    return evaluation.evaluate(expression, row.get("given", SCOPE))


def evaluated(text: str, **scope: Any) -> Any:
    return evaluation.evaluate(language.parse(text), scope)


def told(error: ExpressionError | EvaluationError) -> str:
    return str(error) if isinstance(error, EvaluationError) else f"{error.problem} ({error.hint})"


def in_json(value: Any) -> str:
    """To Python 1 == 1.0 == True; as text they differ."""
    return json.dumps(value, sort_keys=True)


@pytest.mark.parametrize("row", rows("result"))
def test_value(row: dict[str, Any]) -> None:
    assert in_json(value_of(row)) == in_json(row["result"])


@pytest.mark.parametrize("row", rows("error"))
def test_error(row: dict[str, Any]) -> None:
    with pytest.raises((ExpressionError, EvaluationError)) as caught:
        value_of(row)
    assert text(row["error"]) in told(caught.value)
    assert getattr(caught.value, "column", None) == row.get("column")


def test_each_claim_of_the_table_stands_once() -> None:
    claims = [row["why"] for row in CASES]
    assert len(claims) == len(set(claims))


# What an Expression tells


def test_an_expression_keeps_the_text_that_it_was_read_from() -> None:
    assert language.parse(" item ").text == " item "


def test_a_condition_keeps_what_stands_inside_of_its_wrapping() -> None:
    assert language.parse_condition(" ${ item } ").text == "item"


def test_a_boolean_condition_is_spelled_as_in_json() -> None:
    assert language.parse_condition(True).text == "true"


def test_references_are_told_from_left_to_right_with_repeats() -> None:
    text = 'steps.a.outputs[0]["b c"] > 1 or not (item == null and inputs.x.0) or item'
    assert language.references(language.parse(text)) == [
        ("steps", "a", "outputs", 0, "b c"),
        ("item",),
        ("inputs", "x", "0"),
        ("item",),
    ]


def test_a_literal_refers_to_nothing() -> None:
    assert language.references(language.parse("[1]")) == []


def test_a_condition_holds_by_the_truth_of_its_value() -> None:
    assert evaluation.holds(language.parse("item"), {"item": "0"}) is False
    assert evaluation.holds(language.parse("item"), {"item": "1"}) is True
    with pytest.raises(EvaluationError, match="item is text, and counts only as true, false, 1, 0"):
        evaluation.holds(language.parse("item"), {"item": "no"})


def test_no_other_first_names_exist() -> None:
    assert {"inputs", "steps", "event", "item", "item_index", "run", "secrets", "env"} == language.NAMES
    assert language.NAMES - {"env"} == language.VALUES


# Views: objects that make their members when asked


class View(Mapping[str, Any]):
    """An object that is no dict; *asked* has what was asked for."""

    def __init__(self, members: dict[str, Any]) -> None:
        self.members, self.asked = members, list[str]()

    def __getitem__(self, name: str) -> Any:
        self.asked.append(name)
        return self.members[name]

    def __contains__(self, name: object) -> bool:
        return name in self.members

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)


STEPS = {"plan": {"outputs": {"n": 3}}, "ship": {"outputs": None}}


def test_a_view_makes_no_member_that_is_not_asked_for() -> None:
    view = View(STEPS)
    assert evaluated("steps.plan.outputs.n > 2", steps=view) is True
    assert view.asked == ["plan"]


def test_to_ask_whether_something_is_there_looks_at_nothing_else() -> None:
    assert evaluated("steps.plam == null", steps=Closed(STEPS)) is True


class Closed(View):
    """A view of which nobody may ask what there is."""

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("somebody looked around")


@pytest.mark.parametrize("text", ["steps.plam", "steps[0]", "steps.x.y", "steps < 3", "steps.plan.outputs.m"])
def test_of_a_view_the_same_is_told_as_of_an_object(text: str) -> None:
    problems = []
    for steps in (STEPS, View(STEPS)):
        with pytest.raises(EvaluationError) as caught:
            evaluated(text, steps=steps)
        problems.append(caught.value.problem)
    assert problems[0] == problems[1]


@pytest.mark.parametrize("text", ["steps", "steps == inputs", "not steps", "steps.none == null"])
@pytest.mark.parametrize("steps", [STEPS, {}])
def test_a_view_counts_as_the_object_that_it_shows(text: str, steps: dict[str, Any]) -> None:
    expected = evaluated(text, steps=steps, inputs=STEPS)
    assert in_json(evaluated(text, steps=View(steps), inputs=STEPS)) == in_json(expected)


# As text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("a\n b", "a\n b", id="a string is as it is"),
        pytest.param(None, "null", id="null is spelled"),
        pytest.param(True, "true", id="a boolean is spelled"),
        pytest.param(3.0, "3.0", id="a fraction stays one"),
        pytest.param(
            {"b": [1, "ü"], "a": {}}, '{"b":[1,"ü"],"a":{}}', id="JSON is compact, ordered as given"
        ),
    ],
)
def test_as_text(value: Any, text: str) -> None:
    assert as_text(value) == text


def test_a_secret_is_marked_by_what_no_other_value_may_hold() -> None:
    assert as_text(evaluation.Secret("TOKEN")) == "\0TOKEN\0"


# Limits


def test_text_at_the_limit_is_read() -> None:
    assert evaluated("1".rjust(4096)) == 1


def test_text_over_the_limit_is_refused_and_the_limit_named() -> None:
    with pytest.raises(ExpressionError, match=r"4097 characters are too many .* 4096") as caught:
        language.parse("1".rjust(4097))
    assert len(caught.value.text) < 100


NESTINGS = {
    "parentheses": lambda n: "(" * n + "1" + ")" * n,
    "not": lambda n: "not " * n + "1",
    "lists": lambda n: "[" * n + "]" * n,
    "objects": lambda n: "{'a':" * (n - 1) + "{}" + "}" * (n - 1),
    "all operators": lambda n: "(0 or 1 and true == " * n + "true" + ")" * n,
    "calls": lambda n: "to_json(" * n + "1" + ")" * n,
    "all of it": lambda n: "default(0 or 1 and null != 1 + 2 * " * n + "1" + ", 1)" * n,
}


@pytest.mark.parametrize("nested", NESTINGS.values(), ids=NESTINGS)
def test_fifty_levels_are_read(nested: Any) -> None:
    expression = language.parse(nested(50))
    assert language.references(expression) == []
    if nested not in (NESTINGS["calls"], NESTINGS["all of it"]):  # which have no value
        evaluation.evaluate(expression, {})


@pytest.mark.parametrize("nested", NESTINGS.values(), ids=NESTINGS)
def test_more_than_fifty_levels_are_refused_and_the_limit_named(nested: Any) -> None:
    with pytest.raises(ExpressionError, match="nested too deeply; 50 levels are allowed"):
        language.parse(nested(51))


@pytest.mark.parametrize("opening", ["(", "[", "{", "not ", "{'a':", "item[", "item.a", "-"])
def test_hostile_repetition_is_an_error_or_a_value(opening: str) -> None:
    with pytest.raises(ExpressionError):
        language.parse(opening * 600 + "(")


def test_levels_that_are_closed_again_do_not_count() -> None:
    assert evaluated(" or ".join(["(false)", "[]", "not 1"] * 60)) is False


def test_a_long_chain_is_not_a_deep_one() -> None:
    assert evaluated(" and ".join(["1"] * 600)) is True


@pytest.mark.parametrize("nested", [NESTINGS["all operators"], NESTINGS["all of it"]])
def test_the_deepest_expression_takes_less_than_half_of_the_stack(nested: Any) -> None:
    """A workflow may evaluate them from deep inside; Python allows 1000 frames in all."""
    expression_text = nested(50)
    results: list[Any] = []

    def work() -> None:
        def descend(frames: int) -> None:
            if frames:
                return descend(frames - 1)
            try:
                results.append(evaluated(expression_text))
            except EvaluationError:  # what is innermost is evaluated first
                results.append(True)
            return None

        descend(500)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == [True]


@pytest.mark.parametrize("depth", [100, 20_000])
def test_deeply_nested_values_compare(depth: int) -> None:
    def nested(core: Any) -> Any:
        for _ in range(depth // 2):
            core = [{"a": core}]
        return core

    scope = {"item": nested(1), "inputs": nested(1.0), "event": nested(True)}
    assert evaluation.holds(language.parse("item == inputs and item != event"), scope)


@pytest.mark.parametrize(("digits", "equal"), [(4300, True), (4301, False), (100_000, False)])
def test_text_spells_whole_numbers_up_to_4300_digits(digits: int, equal: bool) -> None:
    number = 10**4299 if digits == 4300 else 1
    assert evaluated("item == inputs", item=number, inputs="1" + "0" * (digits - 1)) is equal
    assert evaluated("item == inputs", item=-number, inputs="-1" + "0" * (digits - 1)) is equal


def test_a_whole_number_literal_is_exact_as_far_as_text_goes() -> None:
    assert evaluated("9" * 4096) == 10**4096 - 1


def test_a_long_sum_is_not_a_deep_one() -> None:
    assert evaluated(" + ".join(["1"] * 1000)) == 1000


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("join(item, inputs)", "the text would have more than 16777216 characters"),
        ("upper(inputs)", "the text would have more than 16777216 characters"),
        ("to_json(inputs)", "the text would have more than 16777216 characters"),
        ("split(inputs, 'a')", "the list would have more than 100000 elements"),
        ("from_json(inputs)", "the text has no value as JSON: it has"),
        ("matches(inputs, 'a+$')", "characters by this pattern could take very long"),
    ],
)
def test_what_functions_make_is_bounded(text: str, told: str) -> None:
    with pytest.raises(EvaluationError, match=told):
        evaluated(text, inputs="a" * 16 * 1024 * 1024 + "ß", item=[1] * 100_000)


def test_quotes_within_quotes_within_quotes_are_bounded() -> None:
    with pytest.raises(EvaluationError, match="more than 16777216 characters"):
        evaluated(NESTINGS["calls"](50))


def test_a_list_at_the_limit_is_made() -> None:
    assert len(evaluated("split(item, ',')", item="a," * 99_999)) == 100_000


@pytest.mark.parametrize("depth", [101, 20_000])
def test_json_that_is_too_deep_is_told(depth: int) -> None:
    with pytest.raises(EvaluationError, match="nested deeper than 100 levels"):
        evaluated("from_json(item)", item="[" * depth + "]" * depth)


def test_a_value_that_is_too_deep_for_json_is_told() -> None:
    nested: Any = []
    for _ in range(20_000):
        nested = [nested]
    with pytest.raises(EvaluationError, match="the value is nested too deeply"):
        evaluated("to_json(item)", item=nested)


def test_a_value_that_is_lost_has_no_default() -> None:
    with pytest.raises(EvaluationError, match=r"item\.x is gone") as caught:
        evaluated("default(item.x, 1)", item={"x": evaluation.Lost("is gone")})
    assert caught.value.is_lost


# Messages


def test_a_message_points_at_the_column() -> None:
    with pytest.raises(ExpressionError) as caught:
        language.parse("steps.plan..url")
    assert str(caught.value).splitlines() == [
        caught.value.problem,
        "    steps.plan..url",
        "               ^",
    ]


def test_a_message_about_several_lines_is_on_one_so_that_the_caret_is_right() -> None:
    with pytest.raises(ExpressionError) as caught:
        language.parse("item ==\n\tinputs..x")
    assert str(caught.value).splitlines()[1:] == ["    item ==  inputs..x", " " * 20 + "^"]


@pytest.mark.parametrize("text", ["\ud800", '"\udfff"', "item.\ud800", "item == '\ud800' +"])
def test_a_message_about_broken_text_can_be_encoded(text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        language.parse(text)
    str(caught.value).encode()


def test_a_message_about_broken_keys_can_be_encoded() -> None:
    with pytest.raises(EvaluationError) as caught:
        evaluated("item.x", item={"\ud800\n": 1})
    assert caught.value.problem.encode()
    assert "\n" not in caught.value.problem


def test_a_message_never_holds_a_value() -> None:
    calls = [f"{name}({', '.join(['secrets.token'] * len(f.takes))})" for name, f in FUNCTIONS.items()]
    failing = [call for call in calls if call.startswith(("from_json", "join"))]
    sums = ["secrets.token + 1", "1 in secrets.token", "2 in [1] == secrets.token + 1"]
    paths = ["secrets.token < 3", "secrets.token.x", "secrets.token > [1]", "secrets.token[0]"]
    for text in (*paths, *failing, *sums[:2]):
        with pytest.raises(EvaluationError) as caught:
            evaluated(text, secrets={"token": "hunter2"})
        assert "hunter2" not in str(caught.value)


def test_a_message_stays_short_whatever_the_keys() -> None:
    with pytest.raises(EvaluationError) as caught:
        evaluated("item.x", item={str(number) * 10_000: 1 for number in range(10_000)})
    assert len(caught.value.problem) < 1000


# Laws

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)
PIECES = r"""and or not true null == < = ( ) [ ] { } . .a .0 0 -1 1e400 "a" 'b' "\ ' , : ${ $ ü""".split()  # noqa: SIM905
PIECES += ["in", *"+-*/"]
WORDS = st.lists(
    st.sampled_from([*sorted(language.NAMES), *(f"{name}(" for name in FUNCTIONS), *PIECES, " ", "\ud800"])
).map("".join)
KINDS = st.sampled_from([None, True, 0, -3, 2.5, "", "a,b", "3", "[1]", [], [1, "a"], {}, {"a": 1}]) | VALUES
CALLS = st.sampled_from(
    [
        f"{name}({', '.join(arguments[: len(function.takes)])})"
        for name, function in FUNCTIONS.items()
        for arguments in (["item", "inputs"], ["item", "'a'"])
        if name != "matches" or arguments[1] == "'a'"
    ]
    + [f"item {operator} inputs" for operator in ("+", "-", "*", "/", "in")]
)


@given(st.text(st.characters(exclude_categories=[])) | WORDS)
def test_any_text_is_an_expression_or_an_expression_error(text: str) -> None:
    for parser in (language.parse, language.parse_condition, language.parse_path):
        try:
            expression = parser(text)
        except ExpressionError as error:
            assert 1 <= error.column <= len(text) + 1
        else:
            assert isinstance(language.references(expression), list)


@given(WORDS, VALUES)
def test_any_expression_has_a_value_or_an_evaluation_error(text: str, value: Any) -> None:
    try:
        expression = language.parse(text)
    except ExpressionError:
        return
    try:
        evaluation.evaluate(expression, dict.fromkeys(language.NAMES, value))
    except EvaluationError as error:
        assert error.text == text


@given(CALLS, KINDS, KINDS)
def test_whatever_is_computed_is_json_of_the_kind_that_is_said_or_an_error(
    text: str, item: Any, inputs: Any
) -> None:
    expression = language.parse(text)
    try:
        value = evaluation.evaluate(expression, {"item": item, "inputs": inputs})
    except EvaluationError:
        return
    assert language.find_kind(expression.root) in (None, describe_kind(value))
    assert in_json(json.loads(json.dumps(value, allow_nan=False))) == in_json(value)


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_whole_numbers_are_computed_exactly(a: int, b: int, c: int) -> None:
    scope = {"item": a, "inputs": b, "event": c}
    assert evaluated("item - inputs * event + 1", **scope) == a - b * c + 1
    if b:
        assert evaluated("item * inputs / inputs", **scope) == a
        assert evaluated("item / inputs", **scope) == (a // b if a % b == 0 else a / b)


@given(st.lists(st.text().filter(lambda text: "," not in text), min_size=1))
def test_split_undoes_join(texts: list[str]) -> None:
    again = evaluated("split(join(item, ','), ',')", item=texts)
    assert again == ([] if texts == [""] else texts)


@given(VALUES)
def test_from_json_undoes_to_json(value: Any) -> None:
    try:
        again = evaluated("from_json(to_json(item))", item=value)
    except EvaluationError:  # a lone surrogate
        return
    assert evaluated("item == inputs", item=[value], inputs=[again])


@given(VALUES, VALUES)
def test_contains_and_in_say_the_same(one: Any, other: Any) -> None:
    for whole in (one, [one], {"a": other}, "a"):
        results = []
        for text in ("contains(item, inputs)", "inputs in item"):
            try:
                results.append(evaluated(text, item=whole, inputs=other))
            except EvaluationError:
                results.append(None)
        assert results[0] == results[1]


@given(VALUES)
def test_every_value_comes_through_a_path_as_it_is(value: Any) -> None:
    assert evaluated("inputs.x[0]", inputs={"x": [value]}) is value


@given(VALUES, st.text())
def test_every_value_comes_through_any_key(value: Any, key: str) -> None:
    assert evaluated(f"item[{json.dumps(key)}]", item={key: value}) is value


@given(VALUES)
def test_every_value_is_a_literal_in_its_json_spelling(value: Any) -> None:
    assert in_json(evaluated(as_text([value]))) == in_json([value])


@given(SCALARS)
def test_every_scalar_equals_its_json_spelling(value: Any) -> None:
    assert evaluated("item == inputs", item=value, inputs=as_text(value))


@given(SCALARS)
def test_every_scalar_is_as_true_as_its_json_spelling(value: Any) -> None:
    def holds(item: Any) -> bool | None:
        try:
            return evaluation.holds(language.parse("item"), {"item": item})
        except EvaluationError:
            return None

    assert holds(as_text(value)) in (None, holds(value))


@given(VALUES, VALUES)
def test_equality_is_symmetric_and_opposite_to_inequality(one: Any, other: Any) -> None:
    values = {
        evaluated("item == inputs", item=one, inputs=other),
        evaluated("item == inputs", item=other, inputs=one),
        not evaluated("item != inputs", item=one, inputs=other),
    }
    assert len(values) == 1


def test_importing_the_language_loads_nothing_heavy() -> None:
    program = (
        "import sys, msgspec, checkpointflow.errors; before = set(sys.modules);"
        "import checkpointflow.expressions.evaluation; print(*set(sys.modules) - before)"
    )
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    others = {name for name in loaded.stdout.split() if name.split(".")[0] not in {"checkpointflow", "json"}}
    assert others <= {"_json"}


def test_a_key_that_only_looks_like_the_one_asked_for_is_told_by_its_characters() -> None:
    with pytest.raises(EvaluationError, match=r"One of the two has U\+0430 in it"):
        evaluated("item.tag", item={"t\u0430g": 1})
