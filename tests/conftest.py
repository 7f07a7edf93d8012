"""What every test can use: a store of its own, and the command line."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, settings

from checkpointflow.cli import answer

QUICK_START = Path(__file__).parent / "quick_start"
MEMORY = "/dev/shm"

# A search is short by default; CPF_FUZZ_EXAMPLES=20000 makes a night of it. No machine is too slow for one.
settings.register_profile(
    "house",
    max_examples=int(os.environ.get("CPF_FUZZ_EXAMPLES", "30")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
settings.load_profile("house")


def pytest_configure() -> None:
    """Stores of tests lie in memory where there is plenty: half of the time goes into syncs on a disk."""
    if os.access(MEMORY, os.W_OK):
        memory = os.statvfs(MEMORY)
        plenty = memory.f_bavail * memory.f_frsize >= 2**30
        if plenty and not memory.f_flag & os.ST_NOEXEC:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where this runs in the background
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]  # of whoever runs the tests: cpf would ask it for the servers of the tests


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the rows of a test that is `long(but_one_in=N)`, each Nth is not long: the quick part of it."""
    rows: Counter[str] = Counter()
    for item in items:
        mark = item.get_closest_marker("long")
        if mark is not None and mark.kwargs:
            name = item.nodeid.partition("[")[0]
            if rows[name] % mark.kwargs["but_one_in"] == 0:
                item.own_markers.remove(mark)
            rows[name] += 1


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Have a worker of xdist tell how many it leaves out."""
    if hasattr(items[0].config, "workeroutput"):
        items[0].config.workeroutput["deselected"] = len(items)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Count them in the last line, as where there are no workers."""
    reporter = node.config.pluginmanager.getplugin("terminalreporter")
    reporter.stats["deselected"] = [node] * getattr(node, "workeroutput", {}).get("deselected", 0)


class Answer(NamedTuple):
    """What a cpf printed, and how it ended."""

    code: int
    text: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one envelope on stdout."""
        return json.loads(self.text)

    def __getitem__(self, name: Any) -> Any:
        return self.json[name]

    @property
    def error_code(self) -> str:
        return self.json["error"]["code"]


def _is_heeded(name: str) -> bool:
    """Whether cpf heeds the variable *name*: then no test may have it from whoever runs it."""
    own = ("CI", "NO_COLOR", "COLUMNS", "VISUAL", "EDITOR")
    return name in own or name.startswith(("CPF_", "CHECKPOINTFLOW_", "GITHUB_"))


class Cpf:
    """The command line in a directory of its own, with a store of its own."""

    def __init__(self, cwd: Path, base: Path) -> None:
        self.cwd, self.base = cwd, base
        self.env = {k: v for k, v in os.environ.items() if not _is_heeded(k)}
        self.env |= {"CHECKPOINTFLOW_BASE_DIR": str(base), "HOME": str(cwd), "LLM": ""}

    def __call__(
        self, *arguments: str, stdin: str | bytes = b"", cwd: Path | None = None, **env: str
    ) -> Answer:
        """Ask cpf, in this process: the same as `real`, without the start of an interpreter."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        out, err = io.BytesIO(), io.BytesIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(cwd or self.cwd)
            for name in filter(_is_heeded, list(os.environ)):
                patch.delenv(name)
            for name, value in (self.env | env).items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
            patch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="utf-8", write_through=True))
            patch.setattr(sys, "stderr", io.TextIOWrapper(err, encoding="utf-8", write_through=True))
            code = answer(list(arguments))
            return Answer(code, out.getvalue().decode(), err.getvalue().decode())

    def real(self, *arguments: str, stdin: bytes = b"", cwd: Path | None = None, **env: str) -> Answer:
        """Run cpf as a process of its own, to its end."""
        process = self.start(*arguments, cwd=cwd, **env)
        out, err = process.communicate(stdin, timeout=60)
        return Answer(process.returncode, out.decode(), err.decode())

    def start(self, *arguments: str, cwd: Path | None = None, **env: str) -> subprocess.Popen[bytes]:
        """Start cpf and leave it running."""
        return subprocess.Popen(
            [sys.executable, "-m", "checkpointflow", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd or self.cwd,
            env=self.env | env,
            preexec_fn=_default_signals,
        )

    def write(self, name: str, text: str) -> str:
        """Write a file into the working directory; returns its name."""
        (self.cwd / name).write_text(text)
        return name

    def flow(self, *steps: Any, name: str = "w.yaml", **more: Any) -> str:
        """Write a workflow of *steps* (JSON is YAML); returns the file's name."""
        document = {
            "schema_version": "checkpointflow/v1",
            "workflow": {"id": "w", "steps": list(steps), **more},
        }
        return self.write(name, json.dumps(document, indent=1))

    def run(self, *steps: Any, inputs: Any = None, **more: Any) -> Answer:
        """Start a run of a workflow of *steps*."""
        return self("run", "-f", self.flow(*steps, **more), "--input", json.dumps(inputs or {}))

    def resume(self, run_id: str, event: str | None = None, payload: Any = None, *more: str) -> Answer:
        given = () if event is None else ("--event", event, "--input", json.dumps(payload))
        return self("resume", "--run-id", run_id, *given, *more)

    def directory(self, run_id: str) -> Path:
        return self.base / "runs" / run_id

    def state(self, run_id: str) -> dict[str, Any]:
        return json.loads((self.directory(run_id) / "state.json").read_text())

    def history(self, run_id: str) -> list[dict[str, Any]]:
        return [
            json.loads(line) for line in (self.directory(run_id) / "history.jsonl").read_text().splitlines()
        ]


def _default_signals() -> None:
    """As a shell in the foreground would start it, whatever pytest's own parents ignore."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def on_a_terminal(cpf: Cpf, *arguments: str, **env: str) -> tuple[str, str]:
    """What cpf prints on stdout, and on stderr, which is a terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "checkpointflow", *arguments],
        stdout=subprocess.PIPE, stderr=slave, cwd=cpf.cwd, env=cpf.env | env,
    )  # fmt: skip
    os.close(slave)
    out = process.communicate(timeout=30)[0].decode()
    err = b""
    while True:
        try:
            block = os.read(master, 65536)
        except OSError:
            break
        if not block:
            break
        err += block
    os.close(master)
    return out, err.decode()


@pytest.fixture
def cpf(tmp_path: Path) -> Cpf:
    work = tmp_path / "work"
    work.mkdir()
    return Cpf(work, tmp_path / "store")


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for *condition* to hold."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Whether the process *pid* has ended (a zombie that nobody reaps has)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"
