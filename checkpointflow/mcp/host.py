"""What the server works with."""

from __future__ import annotations

from msgspec import Struct

from checkpointflow.store.store import Store


class Host(Struct, frozen=True):
    """One server: whose runs, how many seconds of patience, and whose waits the model may answer.

    taken_up: by the ids of runs that nobody works on, when next to have one taken up, and how often it was at
    which revision.
    """

    store: Store
    patience: float
    answers: frozenset[str]
    taken_up: dict[str, tuple[float, int, int]] = {}
