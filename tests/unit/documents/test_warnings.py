"""Warnings: what a document may say, and its author may not have meant (`cases/warnings.json`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from checkpointflow import documents
from tests.conftest import QUICK_START
from tests.unit.documents.tables import Row, checked, holds, of, rows, warnings


def cli(name: str, more: str = "") -> str:
    return f"- {{id: {name}, kind: cli, command: x{more and ', '}{more}}}\n"


@pytest.mark.parametrize("row", rows("warnings"))
def test_warnings(row: Row) -> None:
    holds(row, warnings)


def test_nothing_is_told_of_the_quick_start_and_the_templates() -> None:
    templates = Path(documents.__file__).parents[1] / "templates"
    for file in (
        QUICK_START / "workflow.yaml",
        *sorted(set(templates.glob("*.yaml")) - set(templates.glob("*.test.yaml"))),
    ):
        assert warnings(file.read_text()) == [], file.name


def test_items_that_are_no_expression_are_an_error_and_not_looked_into() -> None:
    body = "[{id: a, kind: cli, command: 'ls ${item}'}]"
    errors, doubts = checked(of(f"- {{id: f, kind: foreach, items: '${{', body: {body}}}\n"))
    assert len(errors) == 1
    assert [told.id for told in doubts] == ["W112"]


def test_a_comment_does_not_silence_an_error() -> None:
    errors, _ = checked(of("- {id: a, kind: cli, command: x, next: b}  # cpf: ignore W101\n"))
    assert len(errors) == 1


@pytest.mark.untraced
def test_of_a_list_of_thousands_of_steps_the_flow_is_not_looked_at() -> None:
    steps = cli("p", "if: inputs.x") + cli("a", "next: b") + "".join(cli(f"c{i}") for i in range(1000))
    steps += cli("b") + "- {id: z, kind: cli, command: 'echo ${steps.p.outputs.x}'}\n"
    assert warnings(of(steps)) == []


def test_warnings_stand_in_the_order_of_the_file() -> None:
    steps = "- {id: a, kind: switch, cases: [{when: inputs.x, next: c}]}\n" + cli("b")
    found = warnings(of(steps + cli("c", "retry: {max_attempts: 2}")))
    assert [told.id for told in found] == ["W103", "W101", "W107"]


def test_where_there_are_errors_the_ways_are_not_followed() -> None:
    errors, doubts = checked(of("- {id: a, kind: end}\n- {id: b, kind: end}\n" + cli("c", "next: zzz")))
    assert (len(errors), doubts) == (1, [])


@pytest.mark.long
def test_the_flow_of_very_long_lists_is_not_looked_at() -> None:
    steps = "".join(f"- {{id: s{number}, kind: cli, command: x}}\n" for number in range(1000))
    inputs = "inputs: {type: object, properties: {x: {description: d}}}\n"
    assert warnings(of(steps + "- {id: z, kind: end, result: '${inputs.x}'}", inputs)) == []
