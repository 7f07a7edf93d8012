"""What is covered here is covered on purpose: no search is traced, nor a test of sizes (`untraced`).

What a search covers it covers by chance; and traced, these would take four times as long.
"""

from __future__ import annotations

import sys
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """The marker `no_cover` does nothing in the workers of xdist, where pytest-cov traces twice over."""
    tracer = sys.gettrace()
    if item.get_closest_marker("hypothesis") or item.get_closest_marker("untraced"):
        sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracer)
