"""A run on disk: one whole snapshot, a chained history, one writer."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from checkpointflow.engine.actions import LockRequest
from checkpointflow.engine.run import Run
from checkpointflow.errors import LockConflict, PersistenceError, RunNotFound, StateCorrupt
from checkpointflow.store.clock import make_ulid
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.store import Store
from tests.helpers import Story, ask, cli, foreach

NOT_ITS_DIGEST = "not what its name, a digest, says"
LOST = "does not hold the checkpoint"
RUN_ID = "01JQ0000000000000000000000"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "base")


def begun(store: Store, story: Story, run_id: str = RUN_ID) -> Run:
    """A run on disk, as far as *story* has come."""
    directory = store.create(run_id)
    with directory.hold("test", "now"):
        directory.keep("workflow.yaml", b"x")
        directory.commit(story.run, story.facts, None)
    return story.run


def commit(store: Store, story: Story, before: Run) -> None:
    """Have the latest of *story* on disk."""
    directory = store.find(RUN_ID)
    with directory.hold("test", "now"):
        directory.commit(story.run, story.new, before)


def told() -> Story:
    return Story(cli("plan"), ask("q")).succeed("plan", {"n": 1})


def test_what_is_committed_is_what_the_next_process_finds(store: Store) -> None:
    run = begun(store, told())
    assert store.find(RUN_ID).load() == run


def test_the_snapshot_reads_well(store: Store) -> None:
    begun(store, told())
    text = (store.runs / RUN_ID / "state.json").read_text()
    assert json.loads(text)["steps"]["plan"]["outputs"] == {"n": 1}
    assert text.endswith("}\n")
    assert '\n  "steps": {\n    "plan": {\n' in text
    assert list(json.loads(text))[:4] == ["schema_version", "run_id", "status", "revision"]


def test_files_are_private(store: Store) -> None:
    begun(store, told())
    with store.find(RUN_ID).hold("test", "now"):
        pass
    for place in [store.base, store.runs, store.runs / RUN_ID]:
        assert stat.S_IMODE(place.stat().st_mode) == 0o700, place
    for file in (store.runs / RUN_ID).iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_new_store_says_what_it_is(store: Store) -> None:
    begun(store, told())
    file = store.base / "README"
    assert "Do not edit" in file.read_text()
    assert "cpf list --base-dir" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.unlink()
    begun(store, told(), "01JR0000000000000000000000")
    assert not file.exists(), "whoever took it away is not told again"


@pytest.mark.parametrize("there", ["file", "directory", "link"])
def test_what_stands_in_place_of_that_is_left_alone(store: Store, tmp_path: Path, there: str) -> None:
    file = store.base / "README"
    store.base.mkdir(mode=0o700)
    match there:
        case "file":
            file.write_text("mine")
        case "directory":
            file.mkdir()
        case "link":
            file.symlink_to(tmp_path / "elsewhere")
    begun(store, told())
    assert store.find(RUN_ID).load() == told().run
    assert not (tmp_path / "elsewhere").exists()
    assert there != "file" or file.read_text() == "mine"


def test_the_history_is_a_chain_of_digests(store: Store) -> None:
    run = begun(store, told())
    link = ""
    for line in (store.runs / RUN_ID / "history.jsonl").read_bytes().splitlines():
        fact = re.sub(rb'(,"commit":\d+)?\}$', b"", line.split(b'"fact":', 1)[1])
        link = hashlib.sha256(link.encode() + b"\n" + fact).hexdigest()
        assert json.loads(line)["checkpoint_id"] == link
    assert run.checkpoint_id == link


def test_the_history_folds_into_the_snapshot(store: Store) -> None:
    story = told()
    run = begun(store, story)
    assert [entry.fact for entry in store.find(RUN_ID).history(run)] == story.facts
    assert story.replayed() == run


def test_what_a_commit_that_died_left_in_the_history_is_cut_back(store: Store) -> None:
    story = told()
    before = begun(store, story)
    file = store.runs / RUN_ID / "history.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"checkpoint_id":"dead","fact":{"fact":"run_comp')
    assert len(list(store.find(RUN_ID).history(before))) == len(story.facts)
    story.deliver("q", {})
    commit(store, story, before)
    assert file.read_bytes().startswith(whole)
    assert len(file.read_text().splitlines()) == len(story.facts)
    assert [e.fact for e in store.find(RUN_ID).history(story.run)] == story.facts


def test_the_end_of_a_long_history_is_found(store: Store) -> None:
    story = told()
    before = begun(store, story)
    file = store.runs / RUN_ID / "history.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + b"x" * 300_000)
    story.deliver("q", {})
    commit(store, story, before)
    assert file.read_bytes().startswith(whole + b'{"checkpoint_id":')


def test_what_looks_like_a_checkpoint_in_what_a_dead_commit_left_is_none(store: Store) -> None:
    """Failed while the checkpoint was looked for anywhere in a line: what a step puts out may name it."""
    story = told()
    before = begun(store, story)
    directory, file = store.find(RUN_ID), store.runs / RUN_ID / "history.jsonl"
    whole = file.read_bytes()
    mention = b'{"checkpoint_id":"%s"' % before.checkpoint_id.encode()
    for tail in (
        b'{"fact":{"outputs":%s}}}\n' % mention,
        b"x" * 65_535 + b"\n",
    ):
        file.write_bytes(whole + tail)
        assert len(list(directory.history(before))) == len(story.facts)
    file.write_bytes(whole + b"x" * 9 + mention.ljust((1 << 16) - 1, b"y") + b"\n")  # where a read begins
    story.deliver("q", {})
    commit(store, story, before)
    assert file.read_bytes().startswith(whole + b'{"checkpoint_id":')
    assert len(list(directory.history(story.run))) == len(story.facts)


def test_a_history_that_lacks_the_checkpoint_is_not_written_to(store: Store) -> None:
    story = told()
    before = begun(store, story)
    (store.runs / RUN_ID / "history.jsonl").write_bytes(b"")
    story.deliver("q", {})
    with pytest.raises(StateCorrupt, match=LOST):
        commit(store, story, before)
    with pytest.raises(StateCorrupt, match=LOST):
        list(store.find(RUN_ID).history(before))
    assert store.find(RUN_ID).load() == before


@pytest.mark.parametrize(
    "text",
    [b"", b"\0" * 500, b"{", b"[]", b"null", b'{"schema_version": 3}', b"\xff", b"[" * 100_000,
     b'{"schema_version": "checkpointflow-state/v1"}', b'{"schema_version": "checkpointflow-state/v9"}'],
)  # fmt: skip
def test_a_damaged_snapshot_is_told_and_left_alone(store: Store, text: bytes) -> None:
    begun(store, told())
    file = store.runs / RUN_ID / "state.json"
    file.write_bytes(text)
    with pytest.raises(StateCorrupt, match=r"state\.json"):
        store.find(RUN_ID).load()
    assert file.read_bytes() == text


def test_a_snapshot_with_an_odd_path_is_damaged(store: Store) -> None:
    begun(store, told())
    file = store.runs / RUN_ID / "state.json"
    file.write_text(file.read_text().replace('"plan": {', '"../plan": {'))
    with pytest.raises(StateCorrupt, match="no path of a step"):
        store.find(RUN_ID).load()


def test_a_log_never_lies_outside_the_run(store: Store) -> None:
    begun(store, told())
    with pytest.raises(StateCorrupt):
        store.find(RUN_ID).log("stdout", "../../x", 1)


def test_a_run_is_found_by_a_prefix_that_only_it_has(store: Store) -> None:
    begun(store, told())
    begun(store, told(), "01JR0000000000000000000000")
    assert store.find("01jq").place.name == RUN_ID
    with pytest.raises(RunNotFound, match="2 runs begin or end with"):
        store.find("01")
    begun(store, told(), "01JQ0000000000000000000001")
    with pytest.raises(RunNotFound, match="2 runs begin or end with"):
        store.find("01JQ")


@pytest.mark.parametrize("odd", ["../../etc", "01JQ/../x", "", "01JQ\0", "é" * 6, "0" * 27, "IIII"])
def test_nothing_but_an_id_finds_a_run(store: Store, odd: str) -> None:
    with pytest.raises(RunNotFound):
        store.find(odd)


def test_a_run_whose_first_snapshot_was_never_written_does_not_exist(store: Store) -> None:
    store.create(RUN_ID)
    with pytest.raises(RunNotFound):
        store.find(RUN_ID)


def test_a_failing_disk_is_told_and_the_last_good_state_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = told()
    before = begun(store, story)
    story.deliver("q", {})

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    directory = store.find(RUN_ID)
    with directory.hold("test", "now"), pytest.raises(PersistenceError, match="No space left"):
        monkeypatch.setattr(os, "pwrite", full)
        directory.commit(story.run, story.new, before)
    monkeypatch.undo()
    assert store.find(RUN_ID).load() == before


def test_a_second_writer_is_told_who_the_first_is(store: Store) -> None:
    begun(store, told())
    with store.find(RUN_ID).hold("resume", "2026-01-01"):
        with pytest.raises(LockConflict, match=f"process {os.getpid()} on .*cpf resume, since 2026-01-01"):
            with store.find(RUN_ID).hold("cancel", "now"):
                pass
    with store.find(RUN_ID).hold("cancel", "now"):
        pass


def test_a_lock_whose_holder_was_killed_is_free(store: Store) -> None:
    begun(store, told())
    script = (
        "import sys, pathlib, time\n"
        "from checkpointflow.store.store import Store\n"
        f"with Store(pathlib.Path({str(store.base)!r})).find({RUN_ID!r}).hold('run', 'now'):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    assert store.find(RUN_ID).seems_held()
    with pytest.raises(LockConflict), store.find(RUN_ID).hold("resume", "now"):
        pass
    process.kill()
    process.communicate()
    assert not store.find(RUN_ID).seems_held()
    with store.find(RUN_ID).hold("resume", "now"):
        pass


def test_an_id_sorts_by_its_time() -> None:
    ids = [make_ulid(t, b"\xff" * 10) for t in (0, 1, 1_767_225_600_000, (1 << 48) - 1)]
    assert ids == sorted(ids)
    assert all(len(i) == 26 for i in ids)
    assert ids[0] == "0000000000ZZZZZZZZZZZZZZZZ"


def test_what_is_long_lies_beside_the_snapshot(store: Store) -> None:
    long = "x" * 70_000
    story = Story(cli("a"), ask("q"), inputs={"text": long}).succeed("a", {"text": long})
    run = begun(store, story)
    text = (store.runs / RUN_ID / "state.json").read_text()
    assert len(text) < 4_000
    for name in (json.loads(text)["inputs_in"], json.loads(text)["steps"]["a"]["outputs_in"]):
        data = (store.runs / RUN_ID / "outputs" / f"{name}.json").read_bytes()
        assert hashlib.sha256(data).hexdigest() == name
    assert store.find(RUN_ID).load() == run


def test_what_lies_beside_is_checked_by_its_digest(store: Store) -> None:
    begun(store, Story(cli("a"), ask("q")).succeed("a", {"text": "x" * 70_000}))
    (file,) = (store.runs / RUN_ID / "outputs").iterdir()
    file.write_text('{"text": "changed"}')
    with pytest.raises(StateCorrupt, match=NOT_ITS_DIGEST):
        store.find(RUN_ID).load()
    state = store.runs / RUN_ID / "state.json"
    state.write_text(state.read_text().replace(file.stem, "../../state"))
    with pytest.raises(StateCorrupt, match=NOT_ITS_DIGEST):
        store.find(RUN_ID).load()


def test_a_snapshot_does_not_grow_with_the_iterations_that_are_done(store: Store) -> None:
    story = Story(foreach("each", "inputs.n", cli("a")), inputs={"n": list(range(400))})
    directory = store.create(RUN_ID)
    sizes = []
    with directory.hold("test", "now"):
        directory.commit(story.run, story.facts, None)
        for n in range(400):
            before = story.run
            story.succeed(f"each[{n}]/a", {"n": n})
            directory.commit(story.run, story.new, before)
            directory.catch_up()
            sizes.append((store.runs / RUN_ID / "state.json").stat().st_size)
            if n == 200:
                assert RunDirectory(directory.place).load() == story.run
    assert max(sizes[200:-1]) < 1.1 * max(sizes[:200])  # the last holds the outputs of the whole
    assert RunDirectory(directory.place).load() == story.run
    assert story.run.steps["each"].outputs["iterations"][399] == {"a": {"n": 399}}


def test_a_failed_block_keeps_its_finished_bodies_beside_too(store: Store) -> None:
    story = Story(foreach("each", list(range(200)), cli("a")))
    for n in range(150):
        story.succeed(f"each[{n}]/a", {"n": n})
    story.fail("each[150]/a")
    run = begun(store, story)
    assert store.find(RUN_ID).load() == run
    assert list((store.runs / RUN_ID / "outputs").iterdir())


def test_a_shared_lock_is_one_for_all_runs_of_a_store(store: Store) -> None:
    begun(store, told())
    begun(store, told(), "01JR0000000000000000000000")
    one, other = store.find(RUN_ID), store.find("01JR")
    with one.hold_shared_lock(LockRequest("deploy"), "now"):
        with pytest.raises(LockConflict, match="the lock 'deploy' is held by process"):
            with other.hold_shared_lock(LockRequest("deploy"), "now"):
                pass
        with other.hold_shared_lock(LockRequest("../../other"), "now"):
            pass
    assert {file.suffix for file in (store.base / "locks").iterdir()} == {".lock"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE, errno.EACCES])
@pytest.mark.parametrize("operation", ["open", "pwrite", "ftruncate", "fdatasync", "fsync", "replace"])
def test_a_bad_disk_is_told_with_its_file_and_what_was_committed_is_all_there_is(
    store: Store, monkeypatch: pytest.MonkeyPatch, operation: str, number: int
) -> None:
    """With `fsync` and `replace` only the snapshot could not be written: the facts have happened."""
    story = told()
    before = begun(store, story)
    story.deliver("q", {})

    def bad(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    directory = store.find(RUN_ID)
    with directory.hold("test", "now"):
        monkeypatch.setattr(os, operation, bad)
        with pytest.raises(PersistenceError, match=os.strerror(number)) as refusal:
            directory.commit(story.run, story.new, before)
        monkeypatch.undo()
    assert str(store.runs / RUN_ID) in str(refusal.value)
    assert store.find(RUN_ID).load() == (story.run if operation in ("fsync", "replace") else before)
    with directory.hold("test", "now"):
        run = directory.load()
        if run == before:
            directory.commit(story.run, story.new, before)
    assert json.loads((store.runs / RUN_ID / "state.json").read_bytes())["revision"] == story.run.revision


@pytest.mark.parametrize("operation", ["mkdir", "open", "fsync", "replace"])
def test_a_bad_disk_leaves_no_half_made_run(
    store: Store, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    def bad(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, operation, bad)
    with pytest.raises(PersistenceError):
        begun(store, told())
    monkeypatch.undo()
    with pytest.raises(RunNotFound):
        store.find(RUN_ID)
