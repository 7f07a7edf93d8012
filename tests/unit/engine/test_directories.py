"""Where commands run is part of a run, and can be said anew."""

from __future__ import annotations

from msgspec.structs import replace

from checkpointflow.engine.facts import DirectoryChosen
from checkpointflow.engine.messages import ChooseDirectory
from tests.helpers import Story, ask, cli


def test_a_directory_that_is_chosen_is_a_fact_and_changes_nothing_else() -> None:
    for story in (Story(cli("a")), Story(ask("a")), Story(cli("a")).fail("a")):
        before = story.run
        story.hear(ChooseDirectory(now=story.tick(), cwd="/elsewhere"))
        assert story.new == [DirectoryChosen(at=story.now, cwd="/elsewhere")]
        assert (before.cwd, story.run.cwd) == ("/", "/elsewhere")
        unchanged = {
            name: getattr(before, name) for name in ("revision", "checkpoint_id", "updated_at", "cwd")
        }
        assert replace(story.run, **unchanged) == before
        assert story.replayed() == story.run
