"""The machine stops after any change to the disk, or in the middle of one, and the run is gone on with.

For every n: a run on a disk that dies at its n-th change, and then a healthy one, until the run ends. The
deeds are written into books that no crash takes back; law 1 (nothing is performed before it is on disk) and
law 2 (nothing that has finished is performed again) are asserted as each is performed.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from checkpointflow.drivers import local
from checkpointflow.drivers.sources import read_workflow
from checkpointflow.engine.answers import Answer
from checkpointflow.engine.evolution import evolve
from checkpointflow.engine.facts import Completion
from checkpointflow.engine.run import Run, waits
from checkpointflow.errors import RunNotFound
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.layout import is_run_id
from checkpointflow.store.store import Store
from tests.crash.crew import Books
from tests.crash.disks import CHUNK, LONG, Died, Disk, DyingDisk
from tests.helpers import ask, branch, call, cli, end, foreach, parallel

PARTS = 31  # prime, so that each part has changes of every kind; one in three will do for a quick search
INPUTS = {"numbers": [*range(CHUNK + 4)]}

# Which wait is answered first, of those that are open.
ORDER = ["each[1]/item", "each[0]/item", "par[b]/sub/permit", "par[a]/agree", "review", "each[2]/item"]


def deed(id: str, **more: Any) -> dict[str, Any]:
    return cli(id, "true", idempotent=True, **more)


MAIN = [
    deed("long"),
    foreach("each", [1, 2, 3], deed("work"), ask("item"), max_concurrency=2),
    parallel("par", branch("a", ask("agree")), branch("b", call("sub", "sub.yaml"))),
    foreach("many", "${inputs.numbers}", deed("act", **{"if": f"item >= {CHUNK + 2}"}), max_concurrency=2),
    deed("note"),
    ask("review", transitions=[{"when": "event.again", "next": "note"}, {"when": True, "next": "fin"}]),
    end(
        "fin",
        result={
            "long": "${steps.long.outputs.text}",
            "each": "${steps.each.outputs}",
            "par": "${steps.par.outputs}",
            "many": "${steps.many.outputs}",
            "note": "${steps.note.outputs}",
        },
    ),
]
SUB = [deed("ready"), ask("permit"), deed("go")]


@pytest.fixture(scope="module")
def world(memory: Path, small_chunks: None) -> World:
    return World(memory)


class World:
    """A directory where the same run is run again and again."""

    def __init__(self, place: Path) -> None:
        for name, steps in (("w.yaml", MAIN), ("sub.yaml", SUB)):
            document = {"schema_version": "checkpointflow/v1", "workflow": {"id": "w", "steps": steps}}
            (place / name).write_bytes(msgspec.json.encode(document))
        self.file = place / "w.yaml"
        self.base = place / "base"
        self.checked = read_workflow(self.file)
        self.changes, self.run = self._undisturbed()

    def _undisturbed(self) -> tuple[list[str], Run]:
        disk = DyingDisk()
        run, books = self.attempt(disk)
        assert run is not None and isinstance(run.outcome, Completion)
        assert all(len(deeds) == 1 for deeds in books.performed.values())
        assert len(books.performed) == len(["long", *"123", "ready", "go", *"01", "note", "note@2"])
        assert len(list(self.base.glob("runs/*/outputs/*.json"))) >= 2, "long outputs and a sealed chunk"
        return disk.done, run

    def attempt(self, *disks: Disk) -> tuple[Run | None, Books]:
        """A run on one disk after the other, from nothing; None if it had not begun when the last died."""
        shutil.rmtree(self.base, ignore_errors=True)
        books = Books(self.base, {"long": {"text": "x" * 70_000}})
        run = None
        for disk in disks:
            run = _survived(lambda disk=disk: self._to_its_end(disk, books))
            self.audit(books)
        return run, books

    def _to_its_end(self, disk: Disk, books: Books) -> Run:
        world = local.World(perform=books.perform)
        with disk.mounted():
            directory = self.found()
            if directory is None:
                directory, run = local.begin(Store(self.base), self.checked, INPUTS, world)
            else:
                run = local.resume(directory, world=world)
            while (path := self._open(run)) is not None:
                event = waits(run)[path].wait.event_name
                answer = Answer(event=event, payload={"again": path == "review"}, step=path)
                run = local.deliver(directory, [answer], world=world).run
            return run

    def _open(self, run: Run) -> str | None:
        open_ = waits(run)
        return next((path for path in [*ORDER, *open_] if path in open_), None)

    def found(self) -> RunDirectory | None:
        """The one run that exists."""
        names = [place.name for place in self.base.glob("runs/*") if is_run_id(place.name)]
        runs = []
        for name in names:
            try:
                runs.append(Store(self.base).find(name))
            except RunNotFound:
                assert not (self.base / "runs" / name / "state.json").exists()
        assert len(runs) <= 1
        return runs[0] if runs else None

    def audit(self, books: Books) -> None:
        """Note what has finished; what is on disk is what its history says."""
        directory = self.found()
        if directory is not None:
            run = books.audit(directory)
            told = None
            for entry in directory.history(run):
                told = evolve(told, entry.fact)
            assert told == run

    def ways_to_die(self, part: int) -> Iterator[tuple[int, bool]]:
        """A share of all places where it can die: after each change, and in the middle of each write.

        After a sync the files are what they were before it, so that place is left to the long search.
        """
        for n in range(part, len(self.changes), PARTS):
            if LONG or not n or "sync" not in self.changes[n - 1]:
                yield n, False
            if n and "write" in self.changes[n - 1]:
                yield n, True


def _survived(deed: Callable[[], Run]) -> Run | None:
    try:
        return deed()
    except Died:
        return None


@pytest.mark.long(but_one_in=6)
@pytest.mark.parametrize("part", range(0, PARTS, 1 if LONG else 3))
def test_a_run_on_a_disk_that_dies_at_any_change_ends_as_if_nothing_had_been(part: int, world: World) -> None:
    """Failed with: performing before saving; the snapshot before the history; a snapshot written in place;
    `Recover` ignored; facts added to what a dead commit left in the history."""
    for after, torn in world.ways_to_die(part):
        print(f"dies after change {after}{', which is torn' if torn else ''}")
        run, books = world.attempt(DyingDisk(after, torn), Disk())
        assert run is not None
        assert run.outcome == world.run.outcome
        assert set(run.steps) == set(world.run.steps)
        twice = [path for path, deeds in books.performed.items() if len(deeds) > 1]
        assert len(twice) <= 2, "there are never more under way at once"
        for deeds in books.performed.values():
            assert len({action.idempotency_key for action in deeds}) == 1
            assert [action.attempt for action in deeds] in ([1], [2], [1, 2])


@pytest.mark.long
def test_so_does_a_run_whose_disk_dies_again_and_again(world: World) -> None:
    """Failed with: the snapshot before the history; a snapshot written in place; facts added to what a dead
    commit left in the history."""
    chance = random.Random(7)
    for _ in range(2_000 if LONG else 10):
        deaths = [(chance.randrange(80), chance.random() < 0.3) for _ in range(chance.randint(2, 5))]
        print(f"dies after these changes, torn or not: {deaths}")
        disks = [DyingDisk(after, torn) for after, torn in deaths]
        run, _ = world.attempt(*disks, Disk())
        assert run is not None
        assert run.outcome == world.run.outcome


def test_a_run_whose_first_snapshot_was_never_written_does_not_exist(world: World) -> None:
    """Failed with: a run that is found by its directory; a snapshot written in place."""
    begun = 0
    for after in range(40):
        run, books = world.attempt(DyingDisk(after))
        assert run is None
        directory = world.found()
        begun += directory is not None
        assert (directory is not None) or not books.performed
        for place in world.base.glob("runs/*"):
            if directory is None:
                with pytest.raises(RunNotFound):
                    Store(world.base).find(place.name)
                with pytest.raises(RunNotFound):
                    RunDirectory.at(place)
    assert 0 < begun < 40
