"""Real cpf processes, struck by signals; and who is left of what they started."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

PATIENCE_SECONDS = 90
MAX_CHANGES = 10  # on disk, that a call may make before it is struck
MAX_STARTED = 4  # commands, by a call that is struck at the last of them
LATEST_SECONDS = 0.5
STRIKES = {"kill": 8, "crash": 2, "SIGTERM": 1, "SIGINT": 1, "SIGHUP": 0.5}
HOOK = """
import os
start, started = os.posix_spawn, []

def start_and_perhaps_die(*given, **named):
    started.append(start(*given, **named))
    word = f"{os.environ['CHAOS_PLACE']}/die-{os.getpid()}"
    if os.path.exists(word) and len(started) >= int(open(word).read()):
        os.kill(os.getpid(), 9)
    return started[-1]

os.posix_spawn = start_and_perhaps_die
"""  # to be run by Python as it starts


class Reply(NamedTuple):
    """What came of a call. code: None if it was killed; envelope: None if it said nothing."""

    line: tuple[str, ...]
    code: int | None
    envelope: dict[str, Any]
    struck: str | None

    @property
    def error(self) -> str:
        return self.envelope.get("error", {}).get("code", "")

    @property
    def replayed(self) -> bool:
        return bool((self.envelope or {}).get("replayed"))


class Machine:
    """Where cpf is called, in processes that carry *tag*; the chances are those of *chance*."""

    def __init__(self, place: Path, tag: str, chance: random.Random, **env: str) -> None:
        self.place, self.chance = place, chance
        self.kills = 0
        self._calls: list[Call] = []
        self._tag = f"CHAOS_TAG={tag}".encode()
        self._env = {k: v for k, v in os.environ.items() if not k.startswith(("CPF_", "CHECKPOINTFLOW_"))}
        (place / "hooks").mkdir()
        (place / "hooks/sitecustomize.py").write_text(HOOK)
        path = os.pathsep.join(filter(None, [f"{place}/hooks", os.environ.get("PYTHONPATH")]))
        self._env |= {
            "PYTHONPATH": path,
            "CHAOS_PLACE": str(place),
            "CHAOS_TAG": tag,
            "HOME": str(place),
            "LLM": "true",
            **env,
        }

    def start(self, *line: str) -> Call:
        self._calls = [call for call in self._calls if call.process.poll() is None]
        self._calls.append(Call(self, line, self._env))
        return self._calls[-1]

    def __call__(self, *line: str) -> Reply:
        """What cpf answers, if nothing happens to it."""
        return self.start(*line).finish()

    def strike(self, call: Call, when: str = "") -> None:
        """Strike *call* "at once", or at a moment by chance: after some time, or some changes on disk."""
        name = self.chance.choices(list(STRIKES), list(STRIKES.values()))[0]
        moments = ["any time", "a change in a store", "a note in the ledger", "a command begins"]
        when = when or self.chance.choices(moments, [2, 5, 3, 5])[0]
        if when == "any time":
            call.wait(self.chance.uniform(0, LATEST_SECONDS))
        elif when == "a command begins" and not name.startswith("SIG"):
            self._have_die(call, name)
            return
        elif when != "at once":
            in_stores = when == "a change in a store"
            self._await_changes(call, self.chance.randint(1, MAX_CHANGES if in_stores else 3), in_stores)
            time.sleep(self.chance.choice([0, 0, 0.0005, 0.003]))
        if call.process.poll() is None:
            call.struck = name
            call.process.send_signal(signal.Signals[name] if name.startswith("SIG") else signal.SIGKILL)
            if name == "crash":
                self._crash()
            self.kills += not name.startswith("SIG")

    def _have_die(self, call: Call, name: str) -> None:
        """Have *call* die as soon as it has started one of its first commands, before it does more."""
        word = self.place / f"die-{call.process.pid}"
        beside = word.with_suffix(".tmp")
        beside.write_text(str(self.chance.randint(1, MAX_STARTED)))
        beside.rename(word)
        call.wait(8 * LATEST_SECONDS)
        word.unlink()
        if call.process.poll() is None:  # it starts no more: then now, before its commands are ended
            call.process.kill()
        elif call.process.poll() != -signal.SIGKILL:
            return
        call.struck = name
        self.kills += 1
        if name == "crash":
            self._crash()

    def _crash(self) -> None:
        """Nobody outlives the machine: no cpf, and no command."""
        for call in self._calls:
            if call.process.poll() is None:
                call.process.kill()
                call.struck = "crash"
        self.end_all()

    def _await_changes(self, call: Call, number: int, in_stores: bool) -> None:
        seen = self._look(in_stores)
        deadline = time.monotonic() + 4 * LATEST_SECONDS
        while number and call.process.poll() is None and time.monotonic() < deadline:
            now = self._look(in_stores)
            number -= now != seen
            seen = now
            time.sleep(0.001)

    def _look(self, in_stores: bool) -> set[tuple[str, int, int]]:
        """The files of the stores, or those beside them, as they are."""
        found = set()
        stores = (*self.place.glob("*/runs"), *self.place.glob("*/runs/*"))
        for directory in stores if in_stores else [self.place]:
            with suppress(OSError), os.scandir(directory) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    found.add((entry.path, status.st_size, status.st_mtime_ns))
        return found

    def close(self) -> None:
        """End everybody who is still there."""
        for call in self._calls:
            call.process.kill()
            call.process.communicate()
        self.end_all()

    def list_commands(self) -> Iterator[int]:
        """The processes of steps that are still there."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):  # of one that has ended there is nothing to read
                variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                if self._tag in variables and any(v.startswith(b"CPF_STEP=") for v in variables):
                    yield int(pid)

    def outlive(self, seconds: float) -> list[int]:
        """The processes of steps that are still there after *seconds*."""
        deadline = time.monotonic() + seconds
        while left := list(self.list_commands()):
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        return left

    def end_all(self, after_seconds: float = 0) -> None:
        """End what is left of the steps, as an operator would who is told of it."""
        for pid in self.outlive(after_seconds):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Call:
    """A cpf under way. struck: by what."""

    def __init__(self, machine: Machine, line: tuple[str, ...], env: dict[str, str]) -> None:
        self.line = line
        self.struck: str | None = None
        self.process = subprocess.Popen(
            [sys.executable, "-m", "checkpointflow", *line, "--full"],
            cwd=machine.place,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
            preexec_fn=_default_signals,
        )

    def wait(self, seconds: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def finish(self) -> Reply:
        """What it says in the end: one envelope that agrees with how it ended, or nothing if struck."""
        try:
            out, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"{self.line} did not end") from None
        code, struck = self.process.returncode, self.struck
        shown = f"cpf {' '.join(self.line)} -> {code} {struck or ''}"
        if struck in ("kill", "crash") and code == -signal.SIGKILL:
            print(shown)
            return Reply(self.line, None, {}, struck)
        # Before our code runs Python itself answers SIGINT with a traceback, and code 1 or death.
        if struck is not None and not out and code in (-signal.Signals[struck], struck == "SIGINT"):
            print(shown, "(before it listened)")
            return Reply(self.line, None, {}, struck)
        assert b"Traceback" not in err, f"{shown}: {err.decode()[-2000:]}"
        envelope = json.loads(out)
        print(shown, envelope["status"], envelope.get("error", ""))
        assert envelope["exit_code"] == code, f"{shown}: {out.decode()}"
        return Reply(self.line, code, envelope, struck)


def _default_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
