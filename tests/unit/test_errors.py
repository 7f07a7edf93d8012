"""Errors: what is raised on purpose carries what the envelope tells."""

from __future__ import annotations

import pytest

from checkpointflow.diagnostics import Diagnostic
from checkpointflow.errors import InvalidWorkflow, RunNotFound


def test_an_error_tells_the_run_that_can_be_gone_on_with() -> None:
    error = RunNotFound(problem="no")
    assert (error.run, error.directory) == (None, None)
    assert error.about("run", "directory") is error
    assert (error.run, error.directory) == ("run", "directory")


@pytest.mark.parametrize(
    ("to_run", "code", "exit_code"),
    [(True, "ERR_UNSUPPORTED_STEP", 80), (False, "ERR_VALIDATION_WORKFLOW", 10)],
)
def test_an_unknown_kind_of_step_is_one_mistake_among_others_unless_it_is_to_run(
    to_run: bool, code: str, exit_code: int
) -> None:
    error = InvalidWorkflow([Diagnostic("unknown kind", code="ERR_UNSUPPORTED_STEP")], to_run=to_run)
    assert (error.code, error.exit_code) == (code, exit_code)
