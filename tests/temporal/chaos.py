"""Chaos on a cluster: random workflows whose workers and whose server are killed, again and again.

    python -m tests.temporal.chaos SEED [KILLS]

leads one run through its storm. The workflow and what is done follow from the seed, but not to the
millisecond when: a failure may take several tries to come again.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.conftest import until
from tests.crash.calls import Reply
from tests.crash.chaos import MAX_ROUNDS, WENT_ON, Storm, serve
from tests.crash.random_workflows import SECRET, Workflow
from tests.crash.reckoning import Reckoning, check_secrecy
from tests.temporal.faults import SHORT_HISTORIES
from tests.temporal.world import Server, Site, finish

KILLS = 8
LATEST_SECONDS = 2.0
AFTER_A_KILL = (*WENT_ON, 20, 60, 70)


class ClusterStorm(Storm):
    """One run, in *place*, by *seed*, until *kills* were survived; answered as the other storm does it."""

    def __init__(self, seed: str, place: Path, kills: int, port: int) -> None:
        self.chance = random.Random(f"{seed}, on a cluster")
        self.max_kills, self.kills = kills, 0
        self.workflow = Workflow(seed, port, size=max(kills, 3), is_slow=kills > 1)
        self.books = Reckoning(self.workflow, place / "ledger")
        self.secret = f"hush-{self.chance.getrandbits(64):x}"
        self.place, self.trust = place, ()
        self.server = Server(place, SHORT_HISTORIES, lasting=True)
        env = {"LEDGER": str(self.books.ledger), SECRET: self.secret}
        self.site = Site(self.server.url, place / "site", "storm", **env)
        for name, document in self.workflow.documents.items():
            (self.site.cwd / name).write_text(json.dumps(document, indent=1))

    @property
    def where(self) -> tuple[str, ...]:
        return ("--run-id", self.books.run_id)

    def rage(self) -> None:
        """From the first `run` to the end of the run. Raises AssertionError."""
        try:
            for _ in range(min(self.max_kills, 2)):
                self._add_worker()
            at = self._ask("run", "main.yaml", "--run-key", "one").envelope
            for _ in range(MAX_ROUNDS):
                if "run_id" not in at:  # nobody heard whether it was started
                    at = self._ask("run", "main.yaml", "--run-key", "one").envelope
                    continue
                self.books.run_id = at["run_id"]
                if at["status"] == "completed":
                    return self._close(at)
                at = self._go_on(at)
            raise AssertionError("the run does not come to its end")
        except Exception as error:
            error.add_note(f"the workers said: {self.site.said()[-3000:]}")
            raise
        finally:
            self.site.close()
            self.server.close()

    def _go_on(self, at: dict[str, Any]) -> dict[str, Any]:
        """Where the run stands once what it waits for was said, or nothing was."""
        wait = self._pick_wait(at)
        line = self._compose(at, wait)
        reply = self._ask(*line)
        self._note_answer(wait, line, reply)
        if reply.code in WENT_ON:
            return reply.envelope
        found = self._ask("status", *self.where, calm=1)
        assert found.code in WENT_ON, found
        return found.envelope

    def _ask(self, *line: str, calm: float = 0.3) -> Reply:
        """What cpf says; meanwhile somebody may be killed, unless it is *calm*."""
        before, call = self.kills, self.site.cpf.start(*line, "--full")
        while self.kills < self.max_kills and self.chance.random() > calm:
            self._await(call, self.chance.uniform(0, LATEST_SECONDS))
            if call.poll() is not None:
                break
            self._strike()
        answer = finish(call)
        assert "Traceback" not in answer.err, answer.err
        struck = "kill" if self.kills > before else None
        print(f"cpf {' '.join(line)} -> {answer.code} {answer['status']} {answer.json.get('error', '')}")
        assert answer.code in (AFTER_A_KILL if struck else (*WENT_ON, 20)), answer
        return Reply(line, answer.code, answer.json, struck)

    def _await(self, call: subprocess.Popen[bytes], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while call.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)

    def _strike(self) -> None:
        """Kill a worker, or the server, and have another take its place, at once or after a while."""
        self.kills += 1
        self.books.faults += 1
        pause = self.chance.choice([0, 0, 0.5, 2])
        if self.chance.random() < 0.2:
            print("the server is killed")
            self.server.kill()
            time.sleep(pause)
            self.server.start()
            return
        victim = self.chance.choice([worker for worker in self.site.workers if worker.poll() is None])
        print("a worker is killed")
        victim.kill()
        victim.wait()
        time.sleep(pause)
        self._add_worker()

    def _add_worker(self) -> None:
        self.site.work("--jobs", "6")

    def _close(self, at: dict[str, Any]) -> None:
        run = self.site.await_archive(self.books.run_id)
        until(lambda: json.loads((run / "state.json").read_text())["status"] == "completed")
        self.books.look(run)
        verified = self._ask("verify", *self.where, calm=1)
        assert verified.code == 0, verified
        self.books.close(at)
        check_secrecy(self.site.shelf, self.secret)
        assert self.secret.encode() not in self.server.file.read_bytes(), "Temporal knows the secret"
        assert "Traceback" not in self.site.said(), self.site.said()


def survive(seed: str, kills: int, below: Path | None = None) -> int:
    """Lead the run of *seed* through its storm; how many kills it has survived. Raises AssertionError."""
    place = Path(tempfile.mkdtemp(prefix="cpf-cluster-", dir=below))
    ledger = place / "ledger"
    ledger.touch()
    ledger.with_suffix(".lock").write_text("0")
    try:
        with serve(ledger) as port:
            storm = ClusterStorm(seed, place, kills, port)
            storm.rage()
    except Exception as error:
        error.add_note(f"in {place}; again with: python -m tests.temporal.chaos {seed} {kills}")
        raise
    shutil.rmtree(place)
    return storm.kills


if __name__ == "__main__":
    print(survive(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else KILLS), "kills survived")
