"""Whatever befalls workers and server, no run loses or doubles anything: tests.temporal.faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.temporal.faults import CASES, play
from tests.temporal.world import LONG, Server, Site


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.quick or LONG])
def test_a_fault(server: Server, house: Site, name: str, tmp_path: Path) -> None:
    if CASES[name].shares:
        CASES[name].play(house.beside(tmp_path / name))
    else:
        play(server, name, tmp_path / name)
