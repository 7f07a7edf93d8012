"""Whatever lies in the directory of a run: it is told, and stops neither cpf nor anything else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Cpf
from tests.helpers import ask, cli

ODD = "7ZZZZZZZZZZZZZZZZZZZZZZZZ0"
HUGE = 100 << 30
LINES = (
    ("list",),
    ("gc", "--older-than", "0s", "--dry-run"),
    *((name, "--run-id", ODD) for name in ("status", "verify", "retry-step")),
    ("logs", "--run-id", ODD, "--raw"),
    ("export", "--run-id", ODD, "-o", "out.tar.gz", "--force"),
    ("resume", "--run-id", ODD, "--event", "q_event", "--input", "{}"),
    ("cancel", "--run-id", ODD, "--reason", "x", "--lock-timeout", "0"),
    ("delete", "--run-id", ODD, "--force"),
)
FILES = (
    "state.json", "state.json.tmp", "history.jsonl", "workflow.yaml", "run.lock", "step.lock", "cancel.json",
    "stdout/a.txt", "stderr/b.txt", "artifacts/x", "outputs", "stdout",
)  # fmt: skip


def make_link(file: Path) -> None:
    file.symlink_to("/etc/passwd")


def make_socket(file: Path) -> None:
    here = os.open(file.parent, os.O_RDONLY)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{here}/{file.name}")
    os.close(here)


def make_holder(file: Path) -> None:
    holder = {"pid": 10**14, "host": os.uname().nodename, "command": "x", "since": "x", "reason": "x"}
    file.write_text(json.dumps(holder))


def make_deep(file: Path) -> None:
    file.write_bytes(b'{"a":' + b"[" * 100_000)


MAKERS: tuple[Callable[[Path], object], ...] = (
    os.mkfifo,
    os.mkdir,
    make_link,
    make_socket,
    make_holder,
    make_deep,
)


@pytest.fixture(autouse=True)
def _nothing_hangs() -> Iterator[None]:
    def refuse(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, refuse)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Cpf:
    """A store with a run that waits between two commands."""
    cwd = tmp_path_factory.mktemp("odd")
    cpf = Cpf(cwd, cwd / "base")
    cpf.run(cli("a", "echo a; echo x > $CPF_ARTIFACTS_DIR/x"), ask("q"), cli("b", "echo b"))
    return cpf


@pytest.fixture
def odd(sound: Cpf) -> Iterator[Callable[[], Path]]:
    """Makes a copy of the run anew."""
    (run_id,) = (name for name in os.listdir(sound.base / "runs") if name != ODD)

    def renew() -> Path:
        shutil.rmtree(sound.directory(ODD), ignore_errors=True)
        return Path(shutil.copytree(sound.directory(run_id), sound.directory(ODD)))

    yield renew
    shutil.rmtree(sound.directory(ODD), ignore_errors=True)
    assert [run["run_id"] for run in sound("list")["result"]["runs"]] == [run_id]


def replace(file: Path, make: Callable[[Path], object]) -> None:
    if file.is_dir():
        shutil.rmtree(file)
    file.unlink(missing_ok=True)
    make(file)


@pytest.mark.long(but_one_in=5)
@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", FILES)
def test_no_odd_file_of_a_run_hangs_a_command_or_looks_like_a_bug(
    sound: Cpf, odd: Callable[[], Path], name: str, make: Callable[[Path], object]
) -> None:
    """Failed with: pipes opened to read or write; any pid asked after."""
    for line in LINES:
        replace(odd() / name, make)
        answer = sound(*line)
        assert answer.code not in (2, 90), (line, answer.text)
        assert answer.code == 0 or line[0] not in ("list", "gc")


@pytest.mark.long(but_one_in=5)
@pytest.mark.parametrize("name", ["state.json", "workflow.yaml", "run.lock", "cancel.json", "history.jsonl"])
def test_a_file_of_a_run_that_is_far_too_large_is_not_read(
    sound: Cpf, odd: Callable[[], Path], name: str
) -> None:
    """Failed with: files of 100 GB read as a whole."""
    with (odd() / name).open("r+b" if name in FILES[:4] else "wb") as file:
        file.truncate(HUGE)
    for line in LINES[:4]:
        answer = sound(*line)
        assert answer.code not in (2, 90), (line, answer.text)
        assert answer.code == 0 or line[0] not in ("list", "gc")


def test_a_copy_made_of_hard_links_stays_as_it_is(
    sound: Cpf, odd: Callable[[], Path], tmp_path: Path
) -> None:
    """Failed with: the history, and who holds a lock, written through the second name of a file."""
    place, victim = odd(), tmp_path / "victim"
    victim.write_text("mine")
    os.link(victim, place / "state.json.tmp")
    shutil.copytree(place, tmp_path / "copy", copy_function=os.link)
    before = {file: file.read_bytes() for file in (tmp_path / "copy").rglob("*") if file.is_file()}
    assert sound("resume", "--run-dir", str(place), "--event", "q_event", "--input", "{}").code == 0
    assert {file: file.read_bytes() for file in before} == before
    assert victim.read_text() == "mine"
    assert sound("verify", "--run-dir", str(place)).code == 0
