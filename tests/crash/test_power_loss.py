"""The power goes, between any two operations of the store: what was acknowledged is there afterwards.

The operations of a short run are recorded, and for every place between two of them all that the disk may
then hold (see power.py) is laid out and looked at.
"""

from __future__ import annotations

import errno
import functools
import os
import shutil
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec
import pytest

from checkpointflow.cli import export as cli_export
from checkpointflow.drivers import local
from checkpointflow.drivers.sources import read_bytes, read_own_copies, read_workflow
from checkpointflow.engine.actions import RunCommand, StoredFile, Success
from checkpointflow.engine.answers import Answer
from checkpointflow.engine.messages import Cancel, Deliver
from checkpointflow.engine.rules import advance
from checkpointflow.engine.run import Run
from checkpointflow.errors import CheckpointflowError, PersistenceError
from checkpointflow.store import history
from checkpointflow.store.archive import export_run, import_run
from checkpointflow.store.cache import Cache
from checkpointflow.store.clock import make_id
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import list_files, sync_data
from checkpointflow.store.history import encode_lines
from checkpointflow.store.seals import seal_logs
from checkpointflow.store.store import Store
from checkpointflow.store.sweeping import delete
from checkpointflow.store.verify import verify
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
    disk = _insert(place)
    store = Store(disk.root / "base")
    if not new_store:
        disk.makedirs(store.runs)
        disk.settle()
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


def _insert(place: Path) -> RecordingDisk:
    """A new disk."""
    root = place / "recorded"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    return RecordingDisk(root)


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
    file = directory.place / "history.jsonl"
    fd = disk.open(file, os.O_RDWR)
    disk.pwrite(fd, lines, file.read_bytes().rfind(b"\n") + 1)
    if synced:
        disk.fsync(fd)
    disk.close(fd)


Judge = Callable[[Path, Any, Any], str | None]
"""What is wrong with what lies in a directory: it must be what was told last, or what was to be told next."""


def violations(
    changes: list[Change], place: Path, seen: set[object], judge: Judge, *, in_order: bool
) -> Iterator[str]:
    """What would be wrong, for every moment and every way in which the power may go.

    *seen*: the states that need not be looked at, to which all are added that are.
    """
    model, root = Model(), place / "found"
    states = [None, *(change.told for change in changes if change.kind == "told")]
    told = 0
    for n, change in enumerate(changes):
        model.hear(change)
        told += change.kind == "told"
        for whole in model.after_a_cut(in_order):
            tree = {path: content for path, content in whole.items() if "/." not in path}  # runs, not asides
            key = (told, tuple(sorted((path, hash(content)) for path, content in tree.items())))
            if key not in seen:
                seen.add(key)
                problem = _judge(tree, root, judge, states[told], states[min(told + 1, len(states) - 1)])
                if problem:
                    yield f"power cut after change {n} ({change.kind} {change.name}): {problem}"
    print(f"{len(changes)} changes, {len(seen)} states")


def _judge(tree: Tree, root: Path, judge: Judge, acknowledged: Any, following: Any) -> str | None:
    """What *judge* says of *tree*, laid out in *root*."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    materialised(tree, root)
    return judge(root, acknowledged, following)


def judge_run(root: Path, acknowledged: Run | None, following: Run | None) -> str | None:
    """A run is as it was acknowledged, or as it was to become, and goes on."""
    if not list(root.glob("base/runs/*/state.json")):
        return "there is no run, and it was acknowledged" if acknowledged else None
    try:
        run = Store(root / "base").find("@latest").load()
        if run not in (acknowledged, following):
            return f"it is at revision {run.revision}, neither the one acknowledged nor the next"
        return _goes_on(Store(root / "base"), run)
    except CheckpointflowError as error:
        return f"{type(error).__name__}: {error}"


def _goes_on(store: Store, run: Run) -> str | None:
    """What is wrong with going on from *run*. Raises CheckpointflowError."""
    directory = store.find(run.run_id)
    entries = list(directory.history(run))
    program = read_own_copies(directory, run.workflow)
    if entries[-1].checkpoint_id != run.checkpoint_id:
        return "its history ends elsewhere"
    if run.outcome is not None:
        return None
    changed, facts = advance(program, run, Cancel(now=run.updated_at, reason="enough"))
    with directory.hold("test", "now"):
        if directory.load() != run:
            return "a writer finds it other than a reader"
        directory.commit(changed, facts, run)
    again = store.find(run.run_id)
    whole = again.load() == changed and len(list(again.history(changed))) == len(entries) + len(facts)
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
    """What is done to the disk, all states in which that may leave it, and what is wrong with some."""

    changes: list[Change]
    judge: Judge
    seen: set[object]
    found: list[str]
    in_order: bool

    def misses(self, site: str, place: Path) -> bool:
        """Whether something is wrong once the sync at *site* is taken out."""
        without, seen = [change for change in self.changes if change.site != site], set(self.seen)
        return next(violations(without, place, seen, self.judge, in_order=self.in_order), None) is not None


def search(changes: list[Change], judge: Judge, place: Path, *, in_order: bool) -> Search:
    """Look at all states that the *changes* may leave."""
    seen = set[object]()
    return Search(
        changes, judge, seen, list(violations(changes, place, seen, judge, in_order=in_order)), in_order
    )


def find_superfluous(place: Path, *ways: Search) -> set[str]:
    """The syncs, asked for in any of the *ways*, without which nothing is lost in any of them."""
    assert not any(way.found for way in ways), ways[0].found[:20]
    sites = {change.site for way in ways for change in way.changes if change.site}
    return {site for site in sites if not any(way.misses(site, place) for way in ways)}


@pytest.fixture(scope="module")
def of_a_run(memory: Path) -> Callable[[bool, bool], Search]:
    """In a new store or not; the names of a directory written in order or not."""
    return functools.cache(
        lambda new_store, in_order: search(
            recorded(memory, new_store=new_store), judge_run, memory, in_order=in_order
        )
    )


Searcher = Callable[[bool, bool], Search]


def test_what_was_acknowledged_survives_a_power_cut_at_any_moment(of_a_run: Searcher) -> None:
    """Fails when any sync is taken out: see the next but two."""
    found = of_a_run(False, True).found
    assert not found, "\n".join(found[:20])


def test_it_does_so_where_the_names_of_a_directory_are_written_in_any_order(of_a_run: Searcher) -> None:
    """Failed while nothing synced the name of history.jsonl, workflows/ or outputs/ before the snapshot."""
    found = of_a_run(False, False).found
    assert not found, "\n".join(found[:20])


@pytest.mark.long
def test_so_does_the_first_run_of_a_new_store(of_a_run: Searcher) -> None:
    """Failed while nothing synced the name of runs/ in the base directory, nor that of the base itself."""
    found = of_a_run(True, True).found
    assert not found, "\n".join(found[:20])


@pytest.mark.long
def test_there_is_no_sync_without_which_nothing_would_be_lost(memory: Path, of_a_run: Searcher) -> None:
    """Every sync that the store asks for is taken out, one by one: the planted faults of this file."""
    ways = of_a_run(False, True), of_a_run(True, True), of_a_run(False, False)
    assert not find_superfluous(memory, *ways)
    assert len({change.site for change in ways[0].changes}) >= 6


def test_a_commit_that_was_refused_is_not_found_after_a_power_cut(memory: Path) -> None:
    """The disk could not sync it, so nobody was told that it had happened."""
    disk = _insert(memory)
    store = Store(disk.root / "base")
    document = {"schema_version": "checkpointflow/v1", "workflow": {"id": "w", "steps": [ask("q")]}}
    problems = [OSError(errno.EIO, "bad block")]

    def sync_next_time(fd: int) -> None:
        if problems:
            raise problems.pop()
        sync_data(fd)

    with disk.mounted():
        run = local.begin(store, read_bytes(msgspec.json.encode(document)), {})[1]
        directory = store.find(run.run_id)
        program = read_own_copies(directory, run.workflow)
        changed, facts = advance(program, run, Cancel(now=run.updated_at, reason="enough"))
        with directory.hold("test", "now"), pytest.MonkeyPatch.context() as patch:
            patch.setattr(history, "sync_data", sync_next_time)
            with pytest.raises(PersistenceError):
                directory.commit(changed, facts, run)

    def find_wrong(changes: list[Change]) -> str | None:
        model = Model()
        for change in changes:
            model.hear(change)
        trees = model.after_a_cut(in_order=True)
        problems = (_judge(tree, memory / "found", judge_run, run, run) for tree in trees)
        return next(filter(None, problems), None)

    assert find_wrong(disk.changes) is None
    assert find_wrong([change for change in disk.changes if "_take_back" not in change.site])


# Runs that travel, and go


def archives(place: Path) -> tuple[bytes, bytes]:
    """A run as it waits, and as it has ended."""
    store, file = Store(place / "origin"), _written(place)
    world = local.World(perform=lambda action: Success(outputs={"text": action.path * 20_000}, exit_code=0))
    directory, run = local.begin(store, read_workflow(file), {"n": [1]}, world)
    exported = []
    for _ in range(2):
        out = BytesIO()
        export_run(directory, out)
        exported.append(out.getvalue())
        if run.status == "waiting":
            answer = Answer(event="q_event", payload={})
            run = local.deliver(directory, [answer], world=world).run
    return exported[0], exported[1]


class Whole(NamedTuple):
    """A run with all that belongs to it."""

    run: Run
    names: set[str]
    is_foreign: bool


def look_at(directory: RunDirectory) -> Whole:
    """What there is of a run now."""
    names = {name for name, _ in list_files(directory.place)}
    return Whole(directory.load(), names, directory.is_foreign)


def travelled(place: Path) -> list[Change]:
    """What is done to a disk by an import, by another that brings what is new, and by a deletion."""
    disk = _insert(place)
    store = Store(disk.root / "base")
    disk.makedirs(store.runs)
    disk.settle()
    exported = archives(place)
    with disk.mounted():
        for archive in exported:
            directory = import_run(store, BytesIO(archive), "archive").directory
            disk.tell(look_at(directory))
        delete(directory)
        disk.tell(None)
    return disk.changes


def judge_whole(root: Path, acknowledged: Whole | None, following: Whole | None) -> str | None:
    """All that the run had is there, though there may be more, of which it does not know yet."""
    store = Store(root / "base")
    found = [name for name in store.names() if (store.runs / name / "state.json").exists()]
    if not found:
        return None if None in (acknowledged, following) else "there is no run, and it was acknowledged"
    directory = store.at(found[0])
    checked = verify(directory)
    whole = next((w for w in (acknowledged, following) if w and w.run == checked.run), None)
    if whole is None:
        return f"it is neither as it was acknowledged nor as it was to be: {checked.findings}"
    if whole.is_foreign and not directory.is_foreign:
        return "nobody knows any more that it came in an archive"
    damage = [finding for finding in checked.findings if finding.file in whole.names]
    return f"damaged: {damage}" if damage else None


@pytest.mark.long
def test_imports_and_deletions_leave_a_whole_run_or_none(memory: Path) -> None:
    """And there is no sync in them without which that would not be so."""
    changes = travelled(memory)
    ways = [search(changes, judge_whole, memory, in_order=in_order) for in_order in (True, False)]
    assert not find_superfluous(memory, *ways)


@pytest.mark.long
def test_an_artifact_is_on_the_disk_before_the_history_vouches_for_it(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed while nothing synced the name of the step's directory among the artifacts."""
    step = cli("s", "echo x > x", artifacts=[{"name": "x", "path": "x"}])
    document = {"schema_version": "checkpointflow/v1", "workflow": {"id": "w", "steps": [step]}}
    monkeypatch.chdir(memory)
    disk = _insert(memory)
    store = Store(disk.root / "base")
    world = local.World(observe=lambda run: disk.tell(look_at(store.find(run.run_id))))
    with disk.mounted():
        local.begin(store, read_bytes(msgspec.json.encode(document)), {}, world)
    ways = [search(disk.changes, judge_whole, memory, in_order=in_order) for in_order in (True, False)]
    assert {site for site in find_superfluous(memory, *ways) if "artifact" in site} == set()
    assert disk.changes[-1].told.run.status == "completed"
    assert disk.changes[-1].told.names >= {"artifacts/s/x"}


def test_an_export_is_there_as_a_whole_or_not_at_all(memory: Path) -> None:
    directory = Store(memory / "exporting").create(make_id())
    disk = _insert(memory)
    file = disk.root / "run.tar.gz"

    def export(_: RunDirectory, out: BinaryIO, __: float, ___: None) -> list[str]:
        return [str(out.write(content))]

    with pytest.MonkeyPatch.context() as patch, disk.mounted():
        patch.setattr(cli_export, "export_run", export)
        for content in (b"old" * 10_000, b"new" * 10_000):
            cli_export._write(directory, file, 0, None)
            disk.tell(content)

    def judge(root: Path, acknowledged: bytes | None, following: bytes | None) -> str | None:
        there = root / file.name
        content = there.read_bytes() if there.exists() else None
        return None if content in (acknowledged, following) else "it is neither the old nor the new"

    ways = [search(disk.changes, judge, memory, in_order=in_order) for in_order in (True, False)]
    assert not find_superfluous(memory, *ways)
    assert len({change.site for change in disk.changes if change.site}) == 2


def test_what_a_step_printed_is_on_the_disk_before_the_history_vouches_for_it(memory: Path) -> None:
    """Its name and those of the directories above it, too."""
    disk = _insert(memory)
    directory = RunDirectory(disk.root / "run")
    action = RunCommand(path="a/s", attempt=1, shell="sh", script="", idempotency_key="k")
    disk.makedirs(directory.place)
    disk.settle()
    with disk.mounted():
        disk.mkdir(directory.place / "stdout")
        disk.mkdir(directory.place / "stdout/a")
        fd = disk.open(directory.log("stdout", "a/s", 1), os.O_WRONLY | os.O_CREAT)
        disk.pwrite(fd, b"text", 0)
        disk.tell(seal_logs(directory, action))
        disk.close(fd)

    def judge(root: Path, acknowledged: tuple[StoredFile, ...] | None, _: object) -> str | None:
        there = {file: file.read_bytes() for file in root.rglob("*.txt")}
        lost = [file.path for file in acknowledged or () if there.get(root / "run" / file.path) != b"text"]
        return f"lost: {lost}" if lost else None

    assert [file.size for file in disk.changes[-1].told] == [4]
    ways = [search(disk.changes, judge, memory, in_order=in_order) for in_order in (True, False)]
    assert not find_superfluous(memory, *ways)
