"""Runs of random workflows survive kill -9 of workers and of the server: tests.temporal.chaos.

CPF_CHAOS_KILLS is how many kills all of the long search survives together.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.temporal.chaos import KILLS, survive
from tests.temporal.conftest import need
from tests.temporal.world import LONG, SERVER

STORMS = int(os.environ.get("CPF_CHAOS_KILLS", "3000")) // 100


@pytest.mark.long
@pytest.mark.skipif(not LONG, reason="tests.temporal.test_faults kills each once")
@pytest.mark.parametrize("number", range(STORMS if LONG else 1))
def test_no_run_of_a_random_workflow_loses_or_doubles_anything(tmp_path: Path, number: int) -> None:
    need(SERVER)
    survive(str(number), KILLS, tmp_path)
