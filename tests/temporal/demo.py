"""A cluster at work, told in plain words: run by `make cluster-demo`.

A dev server of Temporal, two workers, a workflow with every kind of step; a worker is killed in the middle of
a step, a person answers, and the run comes to its end.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.conftest import Answer
from tests.crash.chaos import serve
from tests.temporal.world import Server, Site, as_json, finish

DOCUMENTS = Path(__file__).parent / "documents"
BEGIN = time.monotonic()


def tell(text: str) -> None:
    """Say *text*, and how many seconds have gone by."""
    print(f"\n[{time.monotonic() - BEGIN:4.1f} s] {text}", flush=True)


class Demonstration:
    """The run, from its start to its end."""

    def __init__(self, site: Site, port: int) -> None:
        self.site = site
        self.inputs = {"port": port, "regions": ["north", "south"], "seconds": 3}

    def play(self) -> None:
        """Raises AssertionError where it does not come to what it should."""
        first = self._start()
        second = self._ask("resume", first, {"ok": True}, 40)
        follower = self.site.cpf.start(*self._write_line("resume", second, {"ok": True}))
        self._kill_whoever_scans()
        third = self._show(finish(follower), 40)
        tell(
            "The other worker has done the scan, in the second attempt. "
            f"Now a person is asked: {third['wait']['prompt']}"
        )
        fourth = self._ask("resume", third, {"by": "Ada"}, 40)
        tell("So is one by a workflow that this one calls.")
        last = self._ask("resume", fourth, {"is": "Ada"}, 0, 40)
        tell("A last wait has a time-out, and the cluster itself sees to that.")
        self._close(self._show(self.site.cpf("wait", last["run_id"], "--for", "ended", "--full"), 0))

    def _start(self) -> Answer:
        tell(
            "Whoever starts the run needs the server's address, and no more. "
            "It goes on until somebody must answer:"
        )
        return self._ask("run", None, self.inputs, 40)

    def _write_line(self, command: str, at: Answer | None, given: Any) -> tuple[str, ...]:
        """The line that has *command* done, which is shown as well."""
        line = ["everything.yaml"] if at is None else [at["run_id"], "--step", at["wait"]["step"]]
        print(f"  $ cpf {command} {' '.join(line)} --input '{json.dumps(given)}'", flush=True)
        return (command, *line, "--input", as_json(given), "--full")

    def _ask(self, command: str, at: Answer | None, given: Any, *expected: int) -> Answer:
        return self._show(self.site.cpf(*self._write_line(command, at, given)), *expected)

    def _show(self, answer: Answer, *expected: int) -> Answer:
        envelope = answer.json
        wait = envelope.get("wait")
        asked = f": {wait['audience']} is asked for {wait['event_name']} at {wait['step']}" if wait else ""
        print(f"  {envelope['status']} (exit code {answer.code}){asked}", flush=True)
        assert answer.code in expected, answer
        return answer

    def _kill_whoever_scans(self) -> None:
        (pid,) = self.site.await_lines("scan.pid")
        victim = self.site.find_worker(int(pid))
        tell(
            f"The step `scan` is under way, in worker {victim.pid}, which is killed now: kill -9 {victim.pid}"
        )
        victim.kill()
        victim.wait()

    def _close(self, done: Answer) -> None:
        tell("The run has come to its end:")
        print(json.dumps(done["result"], indent=2))
        assert self.site.read("scans") == ["attempt 1", "attempt 2"], self.site.read("scans")
        verified = self.site.cpf("verify", done["run_id"])
        assert verified.code == 0, verified
        facts = self.site.tell_facts(done["run_id"])
        tell(f"Its {len(facts)} facts are chained, and verified; on the shelf it lies as a run directory.")


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="cpf-demo-") as place, serve(Path(place) / "ledger") as port:
        tell("A dev server of Temporal starts; in production it is a cluster of them, with a database.")
        with (
            closing(Server(Path(place))) as server,
            closing(Site(server.url, Path(place) / "site", "demo")) as site,
        ):
            for file in DOCUMENTS.glob("*.yaml"):
                shutil.copy(file, site.cwd)
            tell(f"It is {server.url}. Two workers start, as they would on two machines:")
            for _ in range(2):
                print(f"  $ cpf --on {server.url} worker    # process {site.work().pid}", flush=True)
            Demonstration(site, port).play()
    tell("That is all.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
