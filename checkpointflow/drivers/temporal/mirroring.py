"""A run of a cluster as a directory: what `drivers.temporal.history` tells, as a local cpf would have it."""

from __future__ import annotations

from checkpointflow.drivers.temporal.history import Told
from checkpointflow.drivers.temporal.shelf import Shelf
from checkpointflow.drivers.temporal.wire import read_past
from checkpointflow.engine.evolution import chain
from checkpointflow.engine.facts import Fact
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import list_files, make_private
from checkpointflow.store.layout import HISTORY, OUTPUTS, STATE


def write_out(shelf: Shelf, told: Told, directory: RunDirectory) -> list[str]:
    """Make *directory* the run that was *told* of; returns the names of the files that make it."""
    facts = [*read_past(shelf, told.start.past), *told.facts]
    make_private(directory.place)
    for name, data in told.start.documents.items():
        directory.keep(name, data)
    directory.commit(told.run, facts, None)
    outputs = [f"{OUTPUTS}/{name}" for name, _ in list_files(directory.place / OUTPUTS)]
    return [*told.start.documents, *outputs, HISTORY, STATE]


def list_checkpoints(facts: list[Fact]) -> list[str]:
    """The ids of the checkpoints that *facts* made, from the first on."""
    found, checkpoint_id = list[str](), ""
    for fact in facts:
        checkpoint_id = chain(checkpoint_id, fact)
        found.append(checkpoint_id)
    return found
