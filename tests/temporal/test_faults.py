"""Whatever befalls workers and server, no run loses or doubles anything: tests.temporal.faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.temporal.faults import CASES, play
from tests.temporal.world import LONG, Server, Site

QUICK = ("late_answer", "both_went_on")  # the part for `make test`


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.long)
        for name, case in CASES.items()
        if case.quick or LONG
    ],
)
def test_a_fault(server: Server, house: Site, name: str, tmp_path: Path) -> None:
    if CASES[name].shares:
        CASES[name].play(house.beside(tmp_path / name))
    else:
        play(server, name, tmp_path / name)
