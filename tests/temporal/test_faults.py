"""Whatever befalls workers and server, no run loses or doubles anything: tests.temporal.faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.temporal.faults import CASES, play
from tests.temporal.world import LONG, Server


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.quick or LONG])
def test_a_fault(server: Server, name: str, tmp_path: Path) -> None:
    play(server, name, tmp_path / name)
