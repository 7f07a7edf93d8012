"""What no schema can say: ids, targets, references, expressions, inner schemas (`cases/checking.json`)."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpointflow.documents.checker import check, check_document
from checkpointflow.documents.decoding import decode
from checkpointflow.documents.program import Program
from checkpointflow.documents.yaml import parse
from tests.conftest import QUICK_START
from tests.unit.documents.tables import HEAD, Row, errors, holds, of, rows, table, text


@pytest.mark.parametrize("row", rows("checking"))
def test_checking(row: Row) -> None:
    holds(row, errors)


def nested(levels: int) -> str:
    """Bodies in bodies, the root's list counted."""
    inner = "[{id: last, kind: end}]"
    for level in range(levels - 1):
        inner = f"[{{id: a{level}, kind: foreach, items: inputs, body: {inner}}}]"
    return f"{HEAD}  steps: {inner}\n"


def test_twenty_levels_of_bodies_are_fine_and_one_more_is_not() -> None:
    assert errors(nested(20)) == []
    [found] = errors(nested(21))
    assert found[:2] == (5, nested(21).splitlines()[4].rindex("[") + 1)
    assert (found.message, found.hint) == (text("levels"), text("move inside"))


def test_the_quick_start_has_no_errors() -> None:
    assert errors((QUICK_START / "workflow.yaml").read_bytes()) == []


def test_what_is_no_yaml_is_examined_no_further() -> None:
    program, found, doubts, source = check_document(b"a: [")
    assert (program, len(found), doubts, source.root) == (None, 1, [], None)


def test_a_document_without_fault_is_given_back_as_a_workflow() -> None:
    program, found, doubts, _ = check_document(of("- {id: a, kind: end}\n").encode())
    assert program is not None
    assert (program.workflow.id, found, doubts) == ("w", [], [])


def test_errors_leave_what_can_be_read_of_the_workflow() -> None:
    program, found, _, _ = check_document(of("- {id: a, kind: cli, commnd: x, next: b}\n").encode())
    assert program is not None
    assert ([step.id for step in program.workflow.steps], len(found)) == (["a"], 3)


def test_check_tells_errors_and_warnings_apart() -> None:
    workflow, source = decode(of("- {id: a, kind: switch, cases: [{when: true, next: b}]}\n").encode())
    found, doubts = check(Program(workflow), source)
    assert [(p.line, p.column) for p in found] == [(6, 56)]
    assert [p.id for p in doubts] == ["W103"]


WHOLE = parse(
    of(
        """\
- {id: ask, kind: await_event, audience: user, event_name: e, prompt: "${inputs.a}", timeout_seconds: 1,
   input_schema: {properties: {ok: {enum: [y, n]}}}, transitions: [{when: event.ok, next: each}],
   on_timeout: {next: z}}
- id: each
  kind: foreach
  items: inputs.list
  body:
    - {id: b, kind: parallel, branches: [{id: l, steps: [{id: c, kind: end}]}, {start_at: d}]}
    - {id: d, kind: api, url: "${steps.b.outputs}", body: ["${item_index}"], retry: {max_attempts: 3}}
- {id: s, kind: switch, cases: [{when: inputs.a == "x", next: ask}], default: z, on_error: continue}
- {id: z, kind: end, if: true, result: {r: "${steps.each.outputs}"}}
""",
        "inputs: {properties: {a: {}, list: {}}, required: [a]}\n"
        "outputs: {properties: {x: {from: steps.each.outputs}}}\n",
    ).encode()
).value
ODD = [
    None,
    True,
    0,
    1.5,
    "",
    "z",
    "a b",
    "${",
    "${inputs.a}",
    "item",
    "steps",
    "steps.z",
    "cli",
    "foreach",
    "continue",
]
ODD += [[], {}, [[]], [{}], {"next": "z"}, {"id": "z", "kind": "end"}, "steps.each.outputs == null"]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, entry in inner for found in places(entry, (*path, key)))]


@given(st.lists(st.tuples(st.sampled_from(places(WHOLE)[1:]), st.sampled_from(ODD)), min_size=1, max_size=3))
def test_whatever_stands_where_it_does_not_belong_is_told_and_nothing_raises(changes: list[Any]) -> None:
    document = json.loads(json.dumps(WHOLE))
    for (*way, last), odd in changes:
        inner = document
        with suppress(KeyError, IndexError, TypeError):  # an earlier change may have taken the place away
            for key in way:
                inner = inner[key]
            inner[last] = copy.deepcopy(odd)  # another change may reach into it
    program, found, doubts, source = check_document(json.dumps(document, indent=1).encode())
    assert program is not None or found
    assert all(p.line <= len(source.lines) for p in found + doubts)


@pytest.mark.untraced
def test_no_more_than_500_errors_are_told() -> None:
    wrong = "kind: cli, command: x, if: '1 1', next: z, on_error: {next: z}"
    steps = "".join(f"- {{id: a{i}, {wrong}}}\n" for i in range(170))
    assert len(errors(of(steps))) == 500


# The tables themselves


FILES = ["yaml", "structure", "checking", "warnings"]


@pytest.mark.parametrize("file", FILES)
def test_each_row_stands_once(file: str) -> None:
    found = [json.dumps(row, sort_keys=True) for row in table(file)]
    assert len(found) == len(set(found))


def told_of_invariants(*invariants: str) -> list[str]:
    listed = "".join(f"  - {invariant}\n" for invariant in invariants)
    return [
        found.message for found in errors(f"{HEAD}  invariants:\n{listed}  steps: [{{id: a, kind: end}}]\n")
    ]


def test_invariants_that_make_sense_have_no_errors() -> None:
    sound = ("{never: a, unless: inputs != null}", "{always: a, before: end}", "{always: a, before: a}")
    assert told_of_invariants(*sound, "{at_most_once: a}", "{never: a, unless: true}") == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("{before: end}", "an invariant says one of `never`, `always` and `at_most_once`"),
        ("{never: a, always: a}", "an invariant says one of `never`, `always` and `at_most_once`"),
        ("{always: a, unless: true}", "`unless` belongs to `never`"),
        ("{never: a, before: a}", "`before` belongs to `always`"),
        ("{never: b}", 'there is no step "b"'),
        ("{always: a, before: b}", 'there is no step "b"'),
        ("{never: a, unless: steps.b.outputs}", 'there is no step "b"'),
        ("{never: a, unless: item}", "there is no `item` here"),
        ("{never: a, unless: 1 +}", "expected a value, but the text ends here"),
    ],
)
def test_invariants_that_make_none_are_told(wrong: str, told: str) -> None:
    assert told_of_invariants(wrong) == [told]
