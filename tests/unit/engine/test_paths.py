"""Addresses of steps in a run."""

from __future__ import annotations

import pytest

from checkpointflow.engine.path import ROOT, finally_path, host_of, is_in_finally, is_path, split, step_path


@pytest.mark.parametrize(
    ("body", "step", "visit", "path"),
    [
        (ROOT, "plan", 1, "plan"),
        (ROOT, "review", 2, "review@2"),
        ("deploy", "plan", 1, "deploy/plan"),
        ("each[3]", "convert", 1, "each[3]/convert"),
        ("checks@2[lint]", "run", 4, "checks@2[lint]/run@4"),
        ("@finally", "clean", 1, "@finally/clean"),
        ("each[3]/@finally", "clean", 2, "each[3]/@finally/clean@2"),
        ("each[order-17.b]", "convert", 2, "each[order-17.b]/convert@2"),
    ],
)
def test_a_path_names_a_body_a_step_and_a_visit(body: str, step: str, visit: int, path: str) -> None:
    assert step_path(body, step, visit) == path
    assert split(path) == (body, step, visit)
    assert is_path(path)


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "..", "../plan", "plan/..", "/plan", "plan/", "a//b", "plan@0", "plan@", "plan@01", "pl an",
        "pl\0an", "@finally", "a/@finally", "@finally[0]/a", "@final/a",
        "plan\n", "each[]/x", "each[3]", "each[../x]/y", "each[a@2]/x", "1plan", "plan.txt", "a" * 5000, "ä",
    ],
)  # fmt: skip
def test_nothing_else_is_a_path(text: str) -> None:
    assert not is_path(text)


@pytest.mark.parametrize("body", [ROOT, "deploy", "each[3]"])
def test_a_finally_has_a_path_below_that_of_what_it_follows(body: str) -> None:
    assert host_of(finally_path(body)) == body
    assert (host_of(body), is_in_finally(f"{finally_path(body)}/each[3]/a"), is_in_finally(body)) == (
        None,
        True,
        False,
    )
