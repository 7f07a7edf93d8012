"""`make cluster-demo`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.temporal.conftest import need
from tests.temporal.world import LONG, SERVER


@pytest.mark.long
@pytest.mark.skipif(not LONG, reason="its document is played in test_same_under_both_drivers")
def test_the_demonstration_comes_to_its_end_in_a_minute() -> None:
    need(SERVER)
    line = [sys.executable, "-m", "tests.temporal.demo"]
    env = {name: value for name, value in os.environ.items() if name != "CI"}
    shown = subprocess.run(line, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert shown.returncode == 0, shown
    seconds = float(shown.stdout.rpartition("[")[2].partition(" s]")[0])
    assert seconds < 60
    assert "That is all." in shown.stdout
