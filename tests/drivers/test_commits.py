"""A commit is one append to the history; the snapshot follows; who finds it behind reads on."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from checkpointflow.engine.facts import encode_fact
from checkpointflow.engine.run import Run
from checkpointflow.errors import PersistenceError, StateCorrupt
from checkpointflow.store import directory as directories
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.history import Finding, HistoryFile, encode_lines
from checkpointflow.store.listing import list_runs
from checkpointflow.store.store import Store
from checkpointflow.store.verify import verify
from tests.helpers import Story, ask, cli

RUN_ID = "01JQ0000000000000000000000"
STEPS = 9


class Work:
    """A run on disk of which every step is a commit of two facts, and the clock that its snapshots go by."""

    def __init__(self, place: Path) -> None:
        self.story = Story(*(cli(f"s{n}") for n in range(STEPS)), ask("q"))
        self.store = Store(place / "base")
        self.directory = self.store.create(RUN_ID)
        self.place = self.directory.place
        self.seconds = 0.0
        with self.held():
            self.directory.keep("workflow.yaml", b"x")
            self.directory.commit(self.story.run, self.story.facts, None)

    def held(self) -> Any:
        return self.directory.hold("test", "now")

    def step(self) -> None:
        before = self.story.run
        self.story.succeed(self.story.pending[0], {"n": before.revision})
        self.directory.commit(self.story.run, self.story.new, before)

    @property
    def state(self) -> Any:
        """What `jq` sees."""
        return json.loads((self.place / "state.json").read_bytes())

    @property
    def findings(self) -> list[Finding]:
        """What is wrong, but for its document, which is none."""
        return [finding for finding in verify(self.directory).findings if finding.file != "workflow.yaml"]

    def found(self) -> Run:
        """What a reader sees."""
        return RunDirectory(self.place).load()


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    clock = SimpleNamespace(monotonic=lambda: work.seconds if work else 0.0)
    work: Any = None
    monkeypatch.setattr(directories, "time", clock)
    work = Work(tmp_path)
    return work


@pytest.fixture
def killed(work: Work) -> Work:
    """One whose writer was killed before the snapshot had followed."""
    state = (work.place / "state.json").read_bytes()
    with work.held():
        for _ in range(3):
            work.step()
    (work.place / "state.json").write_bytes(state)
    return work


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, **times: int) -> Iterator[None]:
    """Within it each of these operations fails for the first *times* that it is asked for."""
    with monkeypatch.context() as patch:
        for operation, left in times.items():
            patch.setattr(os, operation, _bad(getattr(os, operation), [None] * left))
        yield


def _bad(real: Any, left: list[None]) -> Any:
    def operation(*given: Any, **named: Any) -> Any:
        if left:
            left.pop()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*given, **named)

    return operation


# The snapshot follows


def test_a_commit_has_happened_before_the_snapshot_says_so(work: Work) -> None:
    with work.held():
        work.step()
        assert (work.found(), work.state["revision"]) == (work.story.run, 2)
        assert work.directory.is_behind
        work.directory.catch_up()
        assert work.state["checkpoint_id"] == work.story.run.checkpoint_id
        assert not work.directory.is_behind


def test_the_snapshot_is_current_once_nobody_holds_the_run(work: Work) -> None:
    with work.held():
        work.step()
    assert work.state["revision"] == work.story.run.revision
    with pytest.raises(ZeroDivisionError), work.held():
        work.step()
        _ = 1 / 0
    assert work.state["revision"] == work.story.run.revision


def test_it_is_current_when_the_run_rests(work: Work) -> None:
    with work.held():
        for _ in range(STEPS):
            work.step()
        assert (work.state["status"], work.story.waiting) == ("waiting", ["q"])
        assert work.state["checkpoint_id"] == work.story.run.checkpoint_id


def test_it_follows_at_most_a_tenth_of_the_time(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    write, behind = RunDirectory._write_snapshot, []

    def slow(directory: RunDirectory, run: Run) -> None:
        work.seconds += 0.02
        write(directory, run)

    monkeypatch.setattr(RunDirectory, "_write_snapshot", slow)
    with work.held():
        for _ in range(8):
            work.seconds += 0.07
            work.step()
            behind.append(work.directory.is_behind)
    assert behind == [False, True, True, False, True, True, False, True]


def test_a_quick_snapshot_is_written_every_moment_and_not_more_often(work: Work) -> None:
    behind = []
    with work.held():
        for _ in range(8):
            work.seconds += 0.03
            work.step()
            behind.append(work.directory.is_behind)
    assert behind == [True, False] * 4


def test_one_descriptor_is_kept_open_while_the_run_is_held(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, real = [], HistoryFile.open

    def noted(history: HistoryFile, *given: Any, **named: Any) -> int:
        opened.append(real(history, *given, **named))
        return opened[-1]

    monkeypatch.setattr(HistoryFile, "open", noted)
    with work.held():
        for _ in range(4):
            work.step()
        assert len(opened) == 1
        assert os.path.samefile(f"/dev/fd/{opened[0]}", work.place / "history.jsonl")
    with pytest.raises(OSError):
        os.fstat(opened[0])


# Who finds it behind


def test_readers_go_on_from_a_snapshot_that_is_behind(killed: Work) -> None:
    run = killed.story.run
    assert killed.state["revision"] < run.revision
    assert killed.found() == run
    assert [entry.fact for entry in killed.directory.history(run)] == killed.story.facts
    (listed,) = list_runs(killed.store)
    assert listed.head is not None
    assert (listed.head.checkpoint_id, listed.head.step) == (run.checkpoint_id, "s3")
    found = verify(killed.directory)
    assert (killed.findings, found.run, found.facts) == ([], run, run.revision)
    assert [w for w in found.warnings if "state.json lacks 6 of the facts" in w] == found.warnings != []
    assert killed.state["revision"] < run.revision, "no reader writes"


def test_the_next_writer_writes_it_anew(killed: Work) -> None:
    with killed.held():
        assert killed.directory.load() == killed.story.run
        assert killed.state["revision"] == killed.story.run.revision
        killed.step()
    assert killed.state["revision"] == killed.story.run.revision
    assert [entry.fact for entry in killed.directory.history(killed.story.run)] == killed.story.facts
    assert verify(killed.directory).warnings == []


def test_what_is_whole_is_not_cut_even_by_a_writer_who_does_not_know_it(killed: Work) -> None:
    other = Story(*(cli(f"s{n}") for n in range(STEPS)), ask("q"))
    before, file = other.run, killed.place / "history.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    other.fail("s0")
    for whole in (b"".join(lines), b"".join(lines[:4])):
        file.write_bytes(whole)
        with killed.held(), pytest.raises(StateCorrupt, match="is not what a commit that died had left"):
            killed.directory.commit(other.run, other.new, before)
        assert file.read_bytes() == whole


def test_what_is_found_beyond_the_snapshot_is_synced_before_it_is_acted_on(
    killed: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: done.append("history"))
    monkeypatch.setattr(os, "replace", lambda a, b, real=os.replace: (done.append("snapshot"), real(a, b)))
    with killed.held():
        killed.directory.load()
    assert done == ["history", "snapshot"]


def test_reading_on_costs_what_the_rest_costs_and_not_the_history(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, read = work.place / "history.jsonl", 0
    file.write_bytes(b"x" * 3_000_000 + b"\n" + file.read_bytes())
    with work.held():
        work.step()
        with monkeypatch.context() as patch:

            def pread(fd: int, count: int, at: int, real: Any = os.pread) -> bytes:
                nonlocal read
                read += count
                return real(fd, count, at)

            patch.setattr(os, "pread", pread)
            assert work.found() == work.story.run
    assert 0 < read < 50_000


# Half a commit


def test_half_a_commit_has_not_happened(work: Work) -> None:
    before, file = work.story.run, work.place / "history.jsonl"
    whole = file.read_bytes()
    work.story.succeed("s0", {"text": '},"commit":1}'})
    lines = encode_lines(work.story.new, before.checkpoint_id)
    for size in {*range(1, len(lines), 9), *range(len(lines) - 20, len(lines))}:
        file.write_bytes(whole + lines[:size])
        assert work.found() == before, size
    for marked in (lines.replace(b',"commit":2}', b"}"), lines.replace(b',"commit":2', b',"commit":3')):
        file.write_bytes(whole + marked)
        assert work.found() == before
        assert len(verify(work.directory).warnings) == 1
    with work.held():
        assert work.directory.load() == before
        work.directory.commit(work.story.run, work.story.new, before)
    assert file.read_bytes() == whole + lines
    assert verify(work.directory).warnings == []


def test_zeros_in_place_of_a_commit_are_cut(work: Work) -> None:
    file = work.place / "history.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + bytes(70_000))
    assert work.found() == work.story.run
    with work.held():
        work.step()
    assert b"\0" not in file.read_bytes()
    assert work.found() == work.story.run


def test_a_rest_in_which_several_commits_end_is_damage_and_never_cut(killed: Work) -> None:
    file = killed.place / "history.jsonl"
    fact = encode_fact(killed.story.facts[4])  # the first of the second commit beyond the snapshot
    damaged = file.read_bytes().replace(fact, fact.replace(b'"n":4', b'"n":5'))
    file.write_bytes(damaged)
    assert killed.found().revision == 4, "readers stop before it"
    with killed.held(), pytest.raises(StateCorrupt, match=r"history\.jsonl: what follows the checkpoint"):
        killed.directory.load()
    assert file.read_bytes() == damaged
    (finding,) = killed.findings
    assert (finding.file, finding.line) == ("history.jsonl", 5)
    assert "chain is broken" in finding.problem


@pytest.mark.parametrize("line", range(2, 9))
def test_a_changed_mark_is_found_wherever_it_is(killed: Work, line: int) -> None:
    """Also where the snapshot is current: only what is beyond it can be taken for a commit that died."""
    with killed.held():
        killed.directory.load()
    file = killed.place / "history.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    for change in (b"}", b',"commit":1}', b',"commit":3}'):
        marked = lines[line - 1].replace(b',"commit":2}', b"}").removesuffix(b"}\n") + change + b"\n"
        if marked != lines[line - 1]:
            file.write_bytes(b"".join([*lines[: line - 1], marked, *lines[line:]]))
            assert [finding.file for finding in killed.findings] == ["history.jsonl"]


# A disk that fails


@pytest.mark.parametrize("operation", ["pwrite", "fdatasync"])
def test_a_commit_that_fails_is_not_found_later(
    work: Work, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    with pytest.raises(PersistenceError, match="error"), work.held():
        work.step()
        before, history = work.story.run, (work.place / "history.jsonl").read_bytes()
        with failing(monkeypatch, **{operation: 1}):
            work.step()
    assert (work.place / "history.jsonl").read_bytes() == history
    assert work.found() == before
    assert work.state["revision"] == before.revision, "what was committed before it is there"


@pytest.mark.parametrize(
    "fails", [{"fdatasync": 1, "ftruncate": 1}, {"fdatasync": 2}, {"pwrite": 1, "fdatasync": 1}]
)
def test_one_that_cannot_be_taken_back_says_so(
    work: Work, monkeypatch: pytest.MonkeyPatch, fails: dict[str, int]
) -> None:
    with pytest.raises(PersistenceError, match="may be found there nevertheless") as refusal, work.held():
        work.step()
        with failing(monkeypatch, **fails):
            work.step()
    assert refusal.value.exit_code == 60
    assert work.found().revision in (work.story.run.revision, work.story.run.revision - 2)


def test_what_could_not_be_synced_is_not_synced_again(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def bad(fd: int) -> None:
        sizes.append(os.fstat(fd).st_size)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(PersistenceError), work.held():
        work.step()
        size = (work.place / "history.jsonl").stat().st_size
        monkeypatch.setattr(os, "fdatasync", bad)
        work.step()
    assert sizes[1:] == [size], "only that it is gone"


def test_a_snapshot_that_cannot_be_written_is_told_and_the_facts_have_happened(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    with failing(monkeypatch, replace=1), pytest.raises(PersistenceError, match=r"state\.json"), work.held():
        work.step()
    assert work.found() == work.story.run
