"""Tests of workflows, as a file has them."""

from __future__ import annotations

from typing import Any

from checkpointflow.diagnostics import Diagnostic
from checkpointflow.documents.program import Program
from checkpointflow.rehearse.fixtures import Case
from checkpointflow.rehearse.reading import check_fixture, decode_fixture
from checkpointflow.rehearse.rehearsal import Rehearsal, rehearse
from checkpointflow.rehearse.verdict import judge

HEAD = "schema_version: checkpointflow-test/v1\ntests:\n- {name: t, "


def file_of(text: str) -> bytes:
    """A file with one test, of which *text* has the fields, in braces."""
    return (HEAD + text.removeprefix("{")).encode()


def case_of(text: str) -> Case:
    """The one test that *text* has the fields of."""
    return decode_fixture(file_of(text))[0].tests[0]


def complain(program: Program, text: str) -> list[Diagnostic]:
    """What is wrong with such a test of *program*."""
    fixture, source = decode_fixture(file_of(text), "t.yaml")
    return check_fixture(fixture, source, program)


def play(program: Program, text: str, **more: Any) -> Rehearsal:
    """What comes of such a test."""
    assert complain(program, text) == []
    return rehearse(program, case_of(text), **more)


def tell(program: Program, text: str) -> list[str]:
    """How such a test came out: what differs, a line each; nothing if it passed."""
    verdict = judge(case_of(text), play(program, text))
    gaps = [f"{gap.message} ({gap.hint})" if gap.hint else gap.message for gap in verdict.gaps]
    return gaps + [line for one in verdict.differences for line in (one.what, *one.lines)]
