"""Where in the file a Diagnostic is shown."""

from __future__ import annotations

import pytest

from checkpointflow.diagnostics import Diagnostic, Path
from checkpointflow.documents.yaml import parse

SOURCE = parse(
    b"steps:\n  run: echo ${inputs.one} ${inputs.two}\n  next: end  # cpf: ignore W103, W105\n", "w.yaml"
)
RUN: Path = ("steps", "run")


@pytest.mark.parametrize(
    ("told", "place"),
    [
        pytest.param(Diagnostic("x", RUN), (2, 8), id="at the value"),
        pytest.param(Diagnostic("x", RUN, at_name=True), (2, 3), id="at the name"),
        pytest.param(Diagnostic("x", (*RUN, "more")), (2, 8), id="at what is nearest above"),
        pytest.param(Diagnostic("x", RUN, quotes=("inputs.two",)), (2, 29), id="at the quote"),
        pytest.param(Diagnostic("x", RUN, quotes=("inputs.two",), offset=7), (2, 36), id="inside the quote"),
        pytest.param(Diagnostic("x", RUN, quotes=("two.b", "inputs.one")), (2, 15), id="at the next quote"),
        pytest.param(Diagnostic("x", RUN, quotes=("three",)), (2, 8), id="at the value, without the quote"),
    ],
)
def test_a_diagnostic_is_shown(told: Diagnostic, place: tuple[int, int]) -> None:
    found = SOURCE.locate(told)
    assert (found.line, found.column) == place
    assert (found.file, found.text) == ("w.yaml", SOURCE.lines[1])


def test_diagnostics_are_told_in_the_order_of_the_file_each_once() -> None:
    told = [Diagnostic("b", ("steps", "next")), Diagnostic("a", RUN), Diagnostic("b", ("steps", "next"))]
    assert [one.message for one in SOURCE.locate_all(told)] == ["a", "b"]


def test_a_comment_silences_the_warnings_that_it_names_on_its_line() -> None:
    names = ("W103", "W104", None)
    told = [Diagnostic(str(name), path, id=name) for path in (RUN, ("steps", "next")) for name in names]
    found = [(one.line, one.id) for one in SOURCE.locate_all(told)]
    assert found == [(2, "W103"), (2, "W104"), (2, None), (3, "W104"), (3, None)]


def test_500_are_enough() -> None:
    assert len(SOURCE.locate_all(Diagnostic(str(number), RUN) for number in range(600))) == 500
