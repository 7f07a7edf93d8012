"""What lies beside a run is vouched for by its history, and changes nothing of what the run does."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from checkpointflow.engine.actions import StoredFile
from checkpointflow.engine.facts import FilesSealed
from checkpointflow.engine.messages import Seal
from tests.helpers import Story, ask, cli

LOG = StoredFile(path="stdout/a.txt", size=3, sha256="d")


@pytest.mark.parametrize("steps", [[cli("a")], [ask("a")], []], ids=["running", "waiting", "ended"])
def test_a_seal_is_a_fact_and_changes_nothing_else(steps: list[dict[str, object]]) -> None:
    story = Story(*steps, *([cli("b")] if not steps else []))
    if not steps:
        story.succeed("b")
    before = story.run
    story.hear(Seal(now=story.tick(), files=(LOG,)))
    assert story.new == [FilesSealed(at=story.now, files=(LOG,))]
    assert story.run.checkpoint_id != before.checkpoint_id
    unchanged = {
        "revision": before.revision, "checkpoint_id": before.checkpoint_id, "updated_at": before.updated_at
    }  # fmt: skip
    assert replace(story.run, **unchanged) == before
    assert story.replayed() == story.run


def test_nothing_to_seal_is_nothing_that_happened() -> None:
    story = Story(cli("a"))
    story.hear(Seal(now=story.tick(), files=()))
    assert story.new == []
