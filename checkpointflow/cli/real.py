"""Actions of tests that are really performed: in a run of their own, of which nothing stays."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from checkpointflow.documents.program import Program
from checkpointflow.drivers.outcomes import NotBegun
from checkpointflow.drivers.perform import Executor
from checkpointflow.drivers.secrets import list_secrets
from checkpointflow.drivers.signals import Interrupts
from checkpointflow.engine.actions import Effect, Outcome
from checkpointflow.errors import Interrupted
from checkpointflow.rehearse.rehearsal import RUN_ID, Perform
from checkpointflow.store.clock import now
from checkpointflow.store.files import name_directory
from checkpointflow.store.store import Store

PATIENCE_SECONDS = 3600.0  # between two looks; what ends, or is told to stop, is heard of at once


@contextmanager
def open_performer(program: Program) -> Iterator[Perform]:
    """What performs actions of *program* here, where we are. Raises Interrupted."""
    with tempfile.TemporaryDirectory(prefix="cpf-test-") as place, Interrupts() as interrupts:
        directory = Store(Path(place)).create(RUN_ID)
        with directory.hold("test", now()):
            executor = Executor(directory, name_directory(""), RUN_ID, secrets=list_secrets(program))

            def perform(action: Effect) -> Outcome:
                executor.start(action)
                while not (ended := executor.collect()):
                    interrupts.listen(executor.wait, PATIENCE_SECONDS)
                outcome = ended[0][1]
                if isinstance(outcome, NotBegun):
                    raise outcome.why
                return outcome

            try:
                yield perform
            except KeyboardInterrupt:
                raise Interrupted(signal=interrupts.name or "KeyboardInterrupt") from None
            finally:
                executor.stop()
