"""What the crash tests share: somewhere to crash quickly, and a long search on demand."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from checkpointflow.engine import evolution
from checkpointflow.store import directory
from tests.conftest import MEMORY
from tests.crash.disks import CHUNK


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A directory in memory, where there is one: what survives is ours to decide, not the machine's."""
    usable = os.path.isdir(MEMORY) and os.access(MEMORY, os.W_OK)
    place = Path(tempfile.mkdtemp(prefix="cpf-crash-", dir=MEMORY if usable else None))
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="module", autouse=True)
def steady_snapshots() -> Iterator[None]:
    """The snapshot follows every third commit or so, however quick the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(directory, "time", SimpleNamespace(monotonic=count().__next__))
        patch.setattr(directory, "MAX_LAG_SECONDS", 0)
        patch.setattr(directory, "REST_FACTOR", 2)
        yield


@pytest.fixture(scope="module")
def small_chunks() -> Iterator[None]:
    """A foreach seals CHUNK outputs at a time: with the true number a run takes ten times as long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evolution, "MAX_CHUNK", CHUNK)
        yield
