"""What the crash tests share: somewhere to crash quickly, and a long search on demand."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from checkpointflow.drivers import documents

MEMORY = "/dev/shm"


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A directory in memory, where there is one: what survives is ours to decide, not the machine's."""
    usable = os.path.isdir(MEMORY) and os.access(MEMORY, os.W_OK)
    place = Path(tempfile.mkdtemp(prefix="cpf-crash-", dir=MEMORY if usable else None))
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def documents_read_once() -> Iterator[None]:
    """Reading YAML is what would take longest; the same bytes mean the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "read", lru_cache(documents.read))
        yield
