"""Runs of random workflows survive whatever befalls their cpf: tests.crash.chaos, in rows of some kills each.

CPF_CHAOS_KILLS is how many kills all rows of the long search survive together.
"""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

import pytest

from tests.crash.chaos import KILLS, survive
from tests.crash.disks import LONG

ALL_KILLS = int(os.environ.get("CPF_CHAOS_KILLS", "3000"))
KILLS_OF_A_ROW = 30 if LONG else 0  # otherwise a row is one run
ROWS = -(-ALL_KILLS // KILLS_OF_A_ROW) if LONG else 8


@pytest.mark.long(but_one_in=8)
@pytest.mark.parametrize("row", range(ROWS))
def test_no_run_of_a_random_workflow_loses_or_doubles_anything(tmp_path: Path, row: int) -> None:
    """Failed, in the long search, with: a history cut back to its snapshot; an attempt in doubt that is begun
    again unasked; a run's lock that is not taken; secrets that are not masked.
    """
    survived = 0
    for number in count():
        survived += survive(f"{row}-{number}", KILLS if LONG else 2, tmp_path)
        if survived >= KILLS_OF_A_ROW:
            break
