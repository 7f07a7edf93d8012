"""What a worker of any release has left in Temporal's history, the workflow of this one goes on with.

Each file of `histories/` is the history of one run, called by the release whose worker wrote it. A release
adds its own: `CPF_WRITE_HISTORIES=1 python -m pytest tests/temporal/test_replays.py`.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from checkpointflow import __version__
from tests.conftest import Cpf
from tests.crash.chaos import serve
from tests.temporal.conftest import need
from tests.temporal.test_same_under_both_drivers import DEMO, Player
from tests.temporal.world import TOKEN, Server, as_json, fetch_events

HISTORIES = Path(__file__).parent / "histories"
FILES = sorted(HISTORIES.glob("*.json"))


def _replay(history: Any, place: Path) -> None:
    """Replay *history*. Raises where the workflow does otherwise than it did."""
    from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

    from checkpointflow.drivers.temporal import wire
    from checkpointflow.drivers.temporal.locking import Lock
    from checkpointflow.drivers.temporal.shelf import open_shelf
    from checkpointflow.drivers.temporal.workflow import Hosted

    replayer = Replayer(
        workflows=[Hosted, Lock],
        workflow_runner=UnsandboxedWorkflowRunner(),
        data_converter=wire.make_converter(open_shelf(str(place))),
    )
    asyncio.run(replayer.replay_workflow(history))


def _read(file: Path) -> Any:
    from temporalio.client import WorkflowHistory

    text = file.read_text()
    started = WorkflowHistory.from_json("", text).events[0].workflow_execution_started_event_attributes
    return WorkflowHistory.from_json(started.workflow_id, text)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_history_of_a_release_is_replayed(file: Path, tmp_path: Path) -> None:
    need()
    _replay(_read(file), tmp_path)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_workflow_that_does_otherwise_is_caught(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the test above would say nothing."""
    need()
    from temporalio import workflow

    from checkpointflow.drivers.temporal.workflow import Hosted

    drive = Hosted._drive

    async def sleep_first(self: Hosted) -> None:
        await workflow.sleep(1)
        await drive(self)

    monkeypatch.setattr(Hosted, "_drive", sleep_first)
    with pytest.raises(workflow.NondeterminismError):
        _replay(_read(file), tmp_path)


@pytest.mark.skipif("CPF_WRITE_HISTORIES" not in os.environ, reason="a release does it")
def test_write_the_history_of_this_release(hosted: Cpf, server: Server, tmp_path: Path) -> None:
    for file in DEMO.glob("*.yaml"):
        shutil.copy(file, hosted.cwd)
    hosted.env |= {"TEAM": "blue", "TOKEN": TOKEN}
    with serve(tmp_path / "ledger") as port:
        inputs = {"port": port, "regions": ["north", "nowhere", "south"]}
        player = Player(hosted)
        player.play("everything.yaml", "--input", as_json(inputs))
    HISTORIES.mkdir(exist_ok=True)
    text = _forget_machine(fetch_events(server, player.run_id).to_json(), hosted.cwd)
    assert TOKEN not in text
    (HISTORIES / f"{__version__}.json").write_text(text)


def _forget_machine(text: str, cwd: Path) -> str:
    """The history *text* without what tells of the machine on which it was written: its name, and *cwd*."""

    def forget(found: re.Match[str]) -> str:
        data = base64.b64decode(found[1]).replace(str(cwd).encode(), b"/work")
        return f'"data": "{base64.b64encode(data).decode()}"'

    return re.sub(_IDENTITY, r"\1somebody", re.sub(_DATA, forget, text))


_DATA = r'"data": "([^"]*)"'
_IDENTITY = rf'("(?:identity|name)": ")[^"]*\b{re.escape(socket.gethostname())}\b[^"]*'


def test_each_release_has_its_history() -> None:
    assert (HISTORIES / f"{__version__}.json").exists()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_history_tells_of_no_machine(file: Path) -> None:
    text = file.read_text()
    told = [text, *(base64.b64decode(data).decode() for data in re.findall(_DATA, text))]
    paths = {
        path for each in told for path in re.findall(r"/(?:dev|home|private|root|tmp|Users)/[^\s\"]*", each)
    }
    assert not paths - {"/dev/null"}
    assert set(re.findall(r'"identity": "([^"]*)"', text)) == {"somebody"}
