"""The power goes, between any two operations of the store: what was acknowledged is there afterwards.

The operations of a short run are recorded, and for every place between two of them all that the disk may
then hold (see power.py) is laid out and looked at.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from checkpointflow.drivers import local
from checkpointflow.drivers.sources import read_own_copies, read_workflow
from checkpointflow.engine.actions import RunCommand
from checkpointflow.engine.messages import Cancel, Deliver
from checkpointflow.engine.rules import advance
from checkpointflow.engine.run import Run
from checkpointflow.errors import CheckpointflowError
from checkpointflow.store.cache import Cache
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.history import encode_lines
from checkpointflow.store.seals import seal_logs
from checkpointflow.store.store import Store
from tests.crash.crew import Books
from tests.crash.disks import CHUNK
from tests.crash.power import Change, Model, RecordingDisk, Tree, materialised
from tests.helpers import ask, call, cli, foreach

pytestmark = pytest.mark.usefixtures("small_chunks")


def recorded(place: Path, *, new_store: bool = False) -> list[Change]:
    """What the store does to the disk in a short run, with each state told as soon as it is acknowledged.

    The run has long outputs, a called workflow, sealed chunks of a foreach, a wait, a commit that died, and
    one whose writer was killed before he could sync it.
    """
    root = place / "recorded"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    disk, store = RecordingDisk(root), Store(root / "base")
    if not new_store:
        disk.makedirs(store.runs)
        disk.changes += [Change("sync_names", "."), Change("sync_names", "base")]
    books = Books(store.base, {"first": {"text": "x" * 70_000}, "last": {"text": "y" * 70_000}})
    file = _written(place)
    world = local.World(perform=books.perform, observe=disk.tell)
    with disk.mounted():
        inputs = {"n": [*range(CHUNK + 3)]}
        run = local.begin(store, read_workflow(file), inputs, world)[1]
        directory = store.find(run.run_id)
        _leave(disk, directory, b'{"checkpoint_id":"dead', synced=True)
        _leave(disk, directory, _event_of(directory, run), synced=False)
        with directory.hold("test", "now"):
            disk.tell(directory.load())
        run = local.resume(directory, world=world)
    assert run.status == "completed"
    return disk.changes


def _written(place: Path) -> Path:
    many = foreach("many", "${inputs.n}", cli("act", **{"if": f"item >= {CHUNK + 2}"}))
    for name, steps in (
        ("w.yaml", [cli("first"), many, call("sub", "sub.yaml"), ask("q"), cli("last", idempotent=True)]),
        ("sub.yaml", [cli("inner")]),
    ):
        document = {"schema_version": "checkpointflow/v1", "workflow": {"id": "w", "steps": steps}}
        (place / name).write_bytes(msgspec.json.encode(document))
    return place / "w.yaml"


def _event_of(directory: RunDirectory, run: Run) -> bytes:
    """The commit of an event for *run*."""
    program = read_own_copies(directory, run.workflow)
    facts = advance(program, run, Deliver(now=run.updated_at, path="q", payload={}))[1]
    return encode_lines(facts, run.checkpoint_id)


def _leave(disk: RecordingDisk, directory: RunDirectory, lines: bytes, *, synced: bool) -> None:
    """What a writer leaves who is killed, after the last line there that ends."""
    history = directory.place / "history.jsonl"
    fd = disk.open(history, os.O_RDWR)
    disk.pwrite(fd, lines, history.read_bytes().rfind(b"\n") + 1)
    if synced:
        disk.fsync(fd)
    disk.close(fd)


def violations(changes: list[Change], place: Path, seen: set[object], *, in_order: bool) -> Iterator[str]:
    """What would be wrong with the run, for every moment and every way in which the power may go.

    *seen*: the states that need not be looked at, to which all are added that are.
    """
    model = Model()
    states: list[Run] = [change.told for change in changes if change.kind == "told"]
    told = 0
    for n, change in enumerate(changes):
        model.hear(change)
        told += change.kind == "told"
        for tree in model.after_a_cut(in_order):
            key = (told, tuple(sorted((path, hash(content)) for path, content in tree.items())))
            if key not in seen:
                seen.add(key)
                problem = _problem(tree, place / "found", states[:told][-1:], states[told:][:1])
                if problem:
                    yield f"power cut after change {n} ({change.kind} {change.path}): {problem}"
    print(f"{len(changes)} changes, {len(seen)} states")


def _problem(tree: Tree, root: Path, acknowledged: list[Run], following: list[Run]) -> str | None:
    """What is wrong with the run in *tree*: as acknowledged, or as it was to become."""
    if not any(path.endswith("/state.json") for path in tree):
        return "there is no run, and it was acknowledged" if acknowledged else None
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    materialised(tree, root)
    try:
        run = Store(root / "base").find((acknowledged + following)[0].run_id).load()
        if run not in acknowledged + following:
            return f"it is at revision {run.revision}, neither the one acknowledged nor the next"
        return _goes_on(Store(root / "base"), run)
    except CheckpointflowError as error:
        return f"{type(error).__name__}: {error}"


def _goes_on(store: Store, run: Run) -> str | None:
    """What is wrong with going on from *run*. Raises CheckpointflowError."""
    directory = store.find(run.run_id)
    history = list(directory.history(run))
    program = read_own_copies(directory, run.workflow)
    if history[-1].checkpoint_id != run.checkpoint_id:
        return "its history ends elsewhere"
    if run.outcome is not None:
        return None
    changed, facts = advance(program, run, Cancel(now=run.updated_at, reason="enough"))
    with directory.hold("test", "now"):
        if directory.load() != run:
            return "a writer finds it other than a reader"
        directory.commit(changed, facts, run)
    again = store.find(run.run_id)
    whole = again.load() == changed and len(list(again.history(changed))) == len(history) + len(facts)
    return None if whole else "what is committed after it is not what is found"


@pytest.fixture(scope="module", autouse=True)
def power_of_this_machine() -> Iterator[None]:
    """It stays on; and nothing goes into the cache, which is never synced.

    Whatever is left of an entry is one or none (see tests/cli/test_cache.py), and all that may be left of it
    would only multiply the states to be looked at.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cache, "keep", lambda *_: None)
        patch.setattr(os, "fsync", lambda fd: None)
        patch.setattr(os, "fdatasync", lambda fd: None)
        yield


class Search(NamedTuple):
    """What the store does to the disk, all states in which that may leave it, and what is wrong with some."""

    changes: list[Change]
    seen: set[object]
    found: list[str]
    in_order: bool

    def misses(self, site: str, place: Path) -> bool:
        """Whether something is wrong once the sync at *site* is taken out."""
        without = [change for change in self.changes if change.site != site]
        return next(violations(without, place, set(self.seen), in_order=self.in_order), None) is not None


Searcher = Callable[[bool, bool], Search]


@pytest.fixture(scope="module")
def search(memory: Path) -> Searcher:
    """In a new store or not; the names of a directory written in order or not."""

    @functools.cache
    def searched(new_store: bool, in_order: bool) -> Search:
        changes, seen = recorded(memory, new_store=new_store), set[object]()
        found = list(violations(changes, memory, seen, in_order=in_order))
        return Search(changes, seen, found, in_order)

    return searched


def test_what_was_acknowledged_survives_a_power_cut_at_any_moment(search: Searcher) -> None:
    """Fails when any sync is taken out: see the last test here."""
    found = search(False, True).found
    assert not found, "\n".join(found[:20])


def test_it_does_so_where_the_names_of_a_directory_are_written_in_any_order(search: Searcher) -> None:
    """Failed while nothing synced the name of history.jsonl, workflows/ or outputs/ before the snapshot."""
    found = search(False, False).found
    assert not found, "\n".join(found[:20])


def test_so_does_the_first_run_of_a_new_store(search: Searcher) -> None:
    """Failed while nothing synced the name of runs/ in the base directory, nor that of the base itself."""
    found = search(True, True).found
    assert not found, "\n".join(found[:20])


def test_there_is_no_sync_without_which_nothing_would_be_lost(memory: Path, search: Searcher) -> None:
    """Every sync that the store asks for is taken out, one by one: the planted faults of this file."""
    ways = [search(False, True), search(True, True), search(False, False)]
    assert not any(way.found for way in ways)
    sites = {change.site for way in ways for change in way.changes if change.site}
    assert len(sites) >= 6, sites
    assert [site for site in sorted(sites) if not any(way.misses(site, memory) for way in ways)] == []


def test_what_a_step_printed_is_on_the_disk_before_the_history_vouches_for_it(tmp_path: Path) -> None:
    disk, directory = RecordingDisk(tmp_path), RunDirectory(tmp_path)
    action = RunCommand(path="s", attempt=1, shell="sh", script="", idempotency_key="k")
    with disk.mounted():
        disk.mkdir(tmp_path / "stdout")
        fd = disk.open(directory.log("stdout", "s", 1), os.O_WRONLY | os.O_CREAT)
        disk.pwrite(fd, b"text", 0)
        assert [file.size for file in seal_logs(directory, action)] == [4]
        disk.close(fd)
    assert [change.kind for change in disk.changes] == ["make", "file", "write", "sync"]
