"""What machines share: files by name, in a directory or an object store."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.exceptions import GenericError

from checkpointflow.drivers.temporal import shelf as module
from checkpointflow.drivers.temporal.shelf import DirectoryShelf, ObjectShelf, Shelf, open_shelf
from checkpointflow.errors import PersistenceError, UsageError

RUN = "01JD0000000000000000000000"
LONG = os.urandom(7_000_000)


@pytest.fixture(params=["directory", "memory", "file"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Shelf:
    if request.param == "memory":
        return open_shelf("memory://")
    place = tmp_path / "shelf"
    if request.param == "directory":
        return open_shelf(str(place))
    place.mkdir()
    return ObjectShelf(f"file://{place}")


def names(shelf: Shelf, prefix: str) -> dict[str, int]:
    return {found.name: found.size for found in shelf.list(prefix)}


def test_what_is_written_is_read(shelf: Shelf) -> None:
    for data in (b"one", b"", LONG):
        shelf.write("runs/R/payloads/a", data)
        assert shelf.read("runs/R/payloads/a") == data


def test_what_is_not_there_is_told(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        shelf.read("runs/R/none")
    assert not shelf.fetch("runs/R/none", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert list(shelf.list("runs/R")) == []
    shelf.remove("runs/R")


@pytest.mark.parametrize("data", [b"", LONG])
def test_a_file_is_sent_and_fetched(shelf: Shelf, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    shelf.send("runs/R/artifacts/a b/ü.bin", tmp_path / "file")
    to = tmp_path / "new" / "place" / "copy"
    to.parent.parent.mkdir()
    assert shelf.fetch("runs/R/artifacts/a b/ü.bin", to)
    assert to.read_bytes() == data
    assert (to.stat().st_mode & 0o777, to.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert os.listdir(to.parent) == ["copy"]


def test_a_copy_is_none_of_the_shelf(shelf: Shelf, tmp_path: Path) -> None:
    shelf.write("runs/R/a", b"one")
    assert shelf.fetch("runs/R/a", tmp_path / "copy")
    with (tmp_path / "copy").open("ab") as copy:
        copy.write(b" more")
    assert shelf.read("runs/R/a") == b"one"
    assert shelf.fetch("runs/R/a", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"one"


def test_a_folder_is_listed_and_removed_with_nothing_beside_it(shelf: Shelf) -> None:
    for name in ("runs/R/a", "runs/R/b/c/d", "runs/R/b/.hidden.tmp", "runs/RR/a", "other"):
        shelf.write(name, name.encode())
    assert names(shelf, "runs/R") == {"runs/R/a": 8, "runs/R/b/c/d": 12, "runs/R/b/.hidden.tmp": 20}
    shelf.remove("runs/R/b")
    assert set(names(shelf, "runs/R")) == {"runs/R/a"}
    shelf.remove("runs/R")
    assert names(shelf, "runs") == {"runs/RR/a": 9}
    assert shelf.read("other") == b"other"


def test_thousands_are_listed_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_AT_ONCE", 7)
    shelf = open_shelf("memory://")
    for number in range(30):
        shelf.write(f"runs/R/{number}", b"")
    assert len(names(shelf, "runs/R")) == 30
    shelf.remove("runs/R")
    assert names(shelf, "runs/R") == {}


def test_of_many_claims_one_counts(shelf: Shelf) -> None:
    barrier = threading.Barrier(8)

    def claim(number: int) -> bytes:
        barrier.wait()
        return shelf.claim("runs/R/claim", str(number).encode() * 1000)

    with ThreadPoolExecutor(8) as threads:
        (found,) = set(threads.map(claim, range(8)))
    assert shelf.claim("runs/R/claim", b"late") == found == shelf.read("runs/R/claim")


def test_what_is_removed_meanwhile_is_claimed_again(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    read, lost = shelf.read, [FileNotFoundError] * 3

    def lose(name: str) -> bytes:
        if lost:
            shelf.remove("runs/R")
            raise lost.pop()
        return read(name)

    monkeypatch.setattr(shelf, "read", lose)
    assert shelf.claim("runs/R/claim", b"mine") == b"mine"
    lost += [FileNotFoundError] * 20
    with pytest.raises(PersistenceError, match="again and again"):
        shelf.claim("runs/R/claim", b"mine")


BAD = ["", "/etc/passwd", "../up", "runs/../../up", "runs//x", "runs/./x", "runs/x/", "a\0b", "x" * 5000]


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_leads_elsewhere_is_refused(shelf: Shelf, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    deeds: list[Callable[[], Any]] = [
        lambda: shelf.read(name),
        lambda: shelf.write(name, b""),
        lambda: shelf.claim(name, b""),
        lambda: list(shelf.list(name)),
        lambda: shelf.fetch(name, tmp_path / "copy"),
        lambda: shelf.send(name, tmp_path / "file"),
        lambda: shelf.remove(name),
    ]
    for deed in deeds:
        with pytest.raises(PersistenceError, match="is no name of a file there"):
            deed()
    assert not (tmp_path / "copy").exists()


def test_a_file_that_cannot_be_sent_is_named(shelf: Shelf, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name in ("none", "pipe", "link"):
        with pytest.raises(PersistenceError, match=str(tmp_path / name)):
            shelf.send("runs/R/a", tmp_path / name)
    assert names(shelf, "runs/R") == {}


# A directory


@pytest.fixture
def directory(tmp_path: Path) -> DirectoryShelf:
    return DirectoryShelf(tmp_path / "base")


def test_a_directory_is_private_and_holds_nothing_else(directory: DirectoryShelf) -> None:
    directory.write("runs/R/a/b", b"x")
    found = {str(p.relative_to(directory.base)): p.stat().st_mode & 0o777 for p in directory.base.rglob("*")}
    folders = dict.fromkeys(["runs", "runs/R", "runs/R/a", "sending"], 0o700)
    assert found == {**folders, "runs/R/a/b": 0o600}
    assert directory.base.stat().st_mode & 0o777 == 0o700


def test_nothing_is_made_for_who_only_looks(directory: DirectoryShelf, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        directory.read("runs/R/a")
    directory.remove("runs/R")
    assert list(directory.list("runs/R")) == [] and not directory.fetch("runs/R/a", tmp_path / "copy")
    assert os.listdir(tmp_path) == []


def test_the_files_of_a_run_lie_in_its_place(directory: DirectoryShelf) -> None:
    place = directory.find_place(RUN)
    assert place == directory.base / "runs" / RUN
    assert (place.stat().st_mode & 0o777, place.parent.stat().st_mode & 0o777) == (0o700, 0o700)
    (place / "log").write_bytes(b"x")
    assert directory.find_place(RUN) == place
    assert directory.read(f"runs/{RUN}/log") == b"x"
    with pytest.raises(PersistenceError):
        directory.find_place("../x")


def test_no_symbolic_link_is_followed(directory: DirectoryShelf, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"x")
    directory.write("runs/R/a", b"")
    runs = directory.base / "runs"
    (runs / "R" / "secret").symlink_to(outside / "secret")
    (runs / "R" / "inner").symlink_to(outside)
    (runs / RUN).symlink_to(outside)
    deeds: list[Callable[[], Any]] = [
        lambda: directory.read("runs/R/secret"),
        lambda: directory.read("runs/R/inner/secret"),
        lambda: directory.fetch("runs/R/secret", tmp_path / "copy"),
        lambda: directory.write("runs/R/inner/new", b""),
        lambda: directory.claim("runs/R/inner/new", b""),
        lambda: directory.remove("runs/R/inner"),
        lambda: list(directory.list("runs/R/inner/deeper")),
        lambda: directory.find_place(RUN),
    ]
    for deed in deeds:
        with pytest.raises(PersistenceError):
            deed()
    assert list(directory.list("runs/R/inner")) == []
    assert names(directory, "runs/R") == {"runs/R/a": 0}
    directory.write("runs/R/secret", b"ours")
    directory.remove("runs/R")
    assert [p.name for p in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_bytes() == b"x"


def test_a_pipe_in_the_place_of_a_file_is_no_file(directory: DirectoryShelf) -> None:
    directory.write("runs/R/a", b"")
    os.mkfifo(directory.base / "runs" / "R" / "pipe")
    with pytest.raises(PersistenceError, match="it is a pipe"):
        directory.read("runs/R/pipe")
    assert names(directory, "runs/R") == {"runs/R/a": 0}


def test_a_folder_that_cannot_be_read_is_not_half_listed(directory: DirectoryShelf) -> None:
    directory.write("runs/R/a", b"")
    directory.write("runs/R/b/c", b"")
    denied = OSError(13, "Permission denied", str(directory.base / "runs/R/b"))
    real = os.scandir

    def scan(place: Any = ".") -> Any:
        if not isinstance(place, int | str | os.PathLike) or "a" not in os.listdir(place):
            raise denied
        return real(place)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", scan)
        with pytest.raises(PersistenceError, match="Permission denied"):
            list(directory.list("runs/R"))


def test_what_is_not_whole_has_no_name(directory: DirectoryShelf, monkeypatch: pytest.MonkeyPatch) -> None:
    directory.write("runs/R/a", b"old")

    def fail(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "sync_file", fail)
    for deed in (directory.write, directory.claim):
        with pytest.raises(PersistenceError, match=r"runs/R/a: No space left"):
            deed("runs/R/a", b"new")
    assert directory.read("runs/R/a") == b"old"
    assert os.listdir(directory.base / "sending") == []


def test_what_a_crash_left_goes_after_a_day(directory: DirectoryShelf) -> None:
    directory.write("runs/R/a", b"")
    old, new = directory.base / "sending" / "old", directory.base / "sending" / "new"
    old.write_bytes(b"")
    new.write_bytes(b"")
    os.utime(old, (time.time() - 90_000,) * 2)
    directory.write("runs/R/a", b"")
    assert os.listdir(directory.base / "sending") == ["new"]


def test_names_are_synced_up_to_the_top(directory: DirectoryShelf, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[Path, list[str]]] = []
    monkeypatch.setattr(module, "sync_names", lambda place, names: synced.append((place, list(names))))
    directory.write("runs/R/a", b"")
    directory.find_place(RUN)
    assert synced == [(directory.base, ["runs/R/a"]), (directory.base, [f"runs/{RUN}"])]


def test_where_others_may_write_is_no_shelf_unless_that_is_meant(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(PersistenceError, match="everybody may write into it"):
        open_shelf(str(tmp_path))
    open_shelf(str(tmp_path), allow_shared=True).write("runs/R/a", b"")


# An object store


def test_what_an_object_store_says_names_the_shelf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shelf = ObjectShelf("memory://")
    (tmp_path / "file").write_bytes(b"")

    def fail(*_: Any, **__: Any) -> Any:
        raise GenericError("Generic S3 error: GET http://h/x?sig=SECRET said no\n\nDebug source:\n SECRET")

    for function in ("get", "put", "list", "delete"):
        monkeypatch.setattr(obstore, function, fail)
    deeds: list[Callable[[], Any]] = [
        lambda: shelf.read("a"),
        lambda: shelf.write("a", b""),
        lambda: shelf.claim("a", b""),
        lambda: list(shelf.list("a")),
        lambda: shelf.fetch("a", tmp_path / "copy"),
        lambda: shelf.send("a", tmp_path / "file"),
        lambda: shelf.remove("a"),
    ]
    for deed in deeds:
        with pytest.raises(PersistenceError) as caught:
            deed()
        assert str(caught.value) == "memory://: a: S3 error: GET http://h/x?… said no"
        assert caught.value.exit_code == 60


def test_a_bucket_that_is_missing_is_no_name_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = ObjectShelf("memory://")

    said = "GET http://h/b/a 404 Not Found: <?xml?>\n<Code>NoSuchBucket</Code><Message>No %s</Message>"

    def fail(*_: Any, **__: Any) -> Any:
        raise FileNotFoundError(
            f"Object at location a not found: {said % 'bucket'}\n\nDebug source:\n <Message>x"
        )

    monkeypatch.setattr(obstore, "put", fail)
    monkeypatch.setattr(obstore, "get", fail)
    problem = "a: Object at location a not found: GET http://h/b/a 404 Not Found: No bucket$"
    for deed in (
        lambda: shelf.write("a", b""),
        lambda: shelf.read("a"),
        lambda: shelf.fetch("a", Path("/x")),
    ):
        with pytest.raises(PersistenceError, match=problem):
            deed()


def test_a_name_that_a_store_cannot_have_is_told_on_one_line() -> None:
    with pytest.raises(
        PersistenceError, match=r"^memory://: 'x\\ny': Could not parse path: Error parsing Path "
    ):
        ObjectShelf("memory://").write("x\ny", b"")


def test_a_copy_that_breaks_off_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def stream(self, **_: Any) -> Iterator[bytes]:
            yield b"half"
            raise GenericError("Generic S3 error: the connection was lost")

    monkeypatch.setattr(obstore, "get", lambda *_: Broken())
    with pytest.raises(PersistenceError, match="the connection was lost"):
        ObjectShelf("memory://").fetch("a", tmp_path / "copy")
    assert os.listdir(tmp_path) == []


def test_the_environment_says_how_one_connects_and_no_answer_is_told_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_RETRIES", 1)
    given = {"ENDPOINT_URL": "http://127.0.0.1:9", "ACCESS_KEY_ID": "id", "SECRET_ACCESS_KEY": "hush"}
    for name, value in {**given, "ALLOW_HTTP": "true"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    shelf = open_shelf("s3://bucket/runs/")
    assert shelf.url == "s3://bucket/runs"
    problem = r"^s3://bucket/runs: a: S3 error: .*127\.0\.0\.1:9/.* after 1 retries.* error sending request$"
    with pytest.raises(PersistenceError, match=problem) as caught:
        shelf.read("a")
    assert "hush" not in str(caught.value)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "false")
    with pytest.raises(PersistenceError, match="builder error"):  # it is not asked at all
        open_shelf("s3://bucket").read("a")
    monkeypatch.setenv("AWS_TIMEOUT", "banana")
    with pytest.raises(UsageError, match="s3://bucket is no shelf: Config error: failed to parse"):
        open_shelf("s3://bucket")


# Which is meant


def test_a_directory_is_named_by_a_path_or_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url in ("a b", str(tmp_path / "a b"), f"file://{tmp_path}/a b", f"file://{tmp_path}/a%20b"):
        shelf = open_shelf(url)
        assert isinstance(shelf, DirectoryShelf) and shelf.url == str(tmp_path / "a b")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "named by nothing"),
        ("s4://key:HUSH@bucket", "a shelf is a directory or file://, s3://, gs://, az://, not s4://…"),
        ("file://host/x", "a path from the root on"),
        ("s3://", "is no shelf"),
        ("s3://key:HUSH@bucket", "credentials come from the environment"),
        ("az://container?sig=HUSH", "credentials come from the environment"),
    ],
)
def test_what_names_no_shelf_is_refused(url: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_shelf(url)
    assert problem in str(caught.value) and "HUSH" not in str(caught.value)


def test_who_has_no_obstore_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(UsageError, match=r"pip install 'checkpointflow\[s3\]'"):
        open_shelf("s3://bucket")


def test_a_directory_needs_nothing_else() -> None:
    code = """
import sys
from checkpointflow.drivers.temporal.shelf import open_shelf
open_shelf("/nowhere")
assert not {"obstore", "temporalio"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_artifact_that_was_changed_elsewhere_is_fetched_again(tmp_path: Path) -> None:
    """Failed with: what has the same size is the same."""
    from checkpointflow.drivers.temporal.activities import Activities, Terms

    shelf, name = open_shelf("memory://"), "runs/R/artifacts/app"
    worker = Activities(shelf, None, tmp_path, Terms(jobs=1))  # type: ignore[arg-type]
    for data in (b"one", b"two"):
        shelf.write(name, data)
        assert worker._fetch("R").file("artifacts/app").read_bytes() == data
