"""Whatever a history tells, to follow it costs about what it is long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import process_time

import pytest

from checkpointflow.engine import evolution
from checkpointflow.engine.evolution import apply
from checkpointflow.engine.facts import (
    BlockOpened,
    BodyClosed,
    BodyOpened,
    Fact,
    Identity,
    RunBegan,
    StepsReopened,
    StepSucceeded,
)
from tests.helpers import START

BEGAN = RunBegan(at=START, run_id="R", workflow=Identity(id="w", digest="d"), inputs={})


def open_bodies(count: int) -> Iterator[Fact]:
    yield BlockOpened(at=START, path="p")
    yield from (BodyOpened(at=START, body=f"p[{n}]") for n in range(count))


def close_the_oldest_first(count: int) -> Iterator[Fact]:
    yield from open_bodies(count)
    yield from (StepSucceeded(at=START, path=f"p[{n}]/a") for n in range(count))
    yield from (BodyClosed(at=START, body=f"p[{n}]", outputs={}) for n in range(count))


def reopen_the_last(count: int) -> Iterator[Fact]:
    yield from (StepSucceeded(at=START, path=f"a{n}") for n in range(count))
    for _ in range(count):
        yield StepsReopened(at=START, path=f"a{count - 1}")
        yield StepSucceeded(at=START, path=f"a{count - 1}")


def come_again(count: int) -> Iterator[Fact]:
    yield from (StepSucceeded(at=START, path=f"a{n}@2") for n in range(count))


@pytest.mark.long(but_one_in=2)
@pytest.mark.untraced
@pytest.mark.parametrize("tell", [close_the_oldest_first, reopen_the_last])
def test_a_history_that_is_eight_times_as_long_takes_about_eight_times_as_long(
    tell: Callable[[int], Iterator[Fact]],
) -> None:
    """Failed with: all that is under way looked through for each body that ends, and for each step again."""

    def measure(count: int) -> float:
        facts = [BEGAN, *tell(count)]
        begin = process_time()
        apply(None, facts)
        return process_time() - begin

    assert min(measure(2400) for _ in range(2)) < 24 * min(measure(300) for _ in range(3))


@pytest.mark.parametrize("tell", [open_bodies, come_again])
def test_what_no_document_can_lead_to_is_not_followed(
    tell: Callable[[int], Iterator[Fact]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evolution, "MAX_IN_LIST", 3)
    apply(None, [BEGAN, *tell(3)])
    with pytest.raises(ValueError, match="more than 3"):
        apply(None, [BEGAN, *tell(4)])
