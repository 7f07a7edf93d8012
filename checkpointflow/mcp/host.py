"""What the server works with."""

from __future__ import annotations

from msgspec import Struct

from checkpointflow.store.store import Store


class Host(Struct, frozen=True):
    """One server: whose runs, how many seconds of patience, and whose waits the model may answer.

    taken_up: how often a run on which nobody worked was taken up at which revision, by its id; lacks: what
    was wrong with the answers to a question of a task, by its key.
    """

    store: Store
    patience: float
    answers: frozenset[str]
    taken_up: dict[str, tuple[int, int]] = {}
    lacks: dict[str, list[str]] = {}
