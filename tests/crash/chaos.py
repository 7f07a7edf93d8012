"""Chaos: random workflows whose cpf is killed, signalled, raced, cancelled, exported and imported.

    python -m tests.crash.chaos SEED [KILLS]

leads one run through its storm. The workflow and what is done with it follow from the seed, but not to the
millisecond when: a failure may take several tries to come again.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.crash.calls import Call, Machine, Reply
from tests.crash.random_workflows import LOCK, SECRET, Workflow, note
from tests.crash.reckoning import Reckoning, check_secrecy
from tests.helpers import cli

KILLS = 8
MAX_ROUNDS = 300
ORPHAN_SECONDS = 0.4  # for commands that outlived their cpf, before somebody ends them
SPAWNING_SECONDS = 0.5  # from the fork to the command, on a busy machine
WENT_ON = (0, 30, 40)
RIVAL = {
    "schema_version": "checkpointflow/v1",
    "workflow": {"id": "rival", "steps": [cli("rival", note("rival"), lock={"key": LOCK})]},
}


class Storm:
    """One run, in *place*, by *seed*; quiet once *kills* have been survived, and of a size to match."""

    def __init__(self, seed: str, place: Path, kills: int, port: int) -> None:
        self.chance = random.Random(f"{seed}, in a storm")
        self.kills = kills
        self.cancels = self.chance.random() < 0.3
        self.workflow = Workflow(seed, port, size=kills, is_slow=self.cancels)
        self.books = Reckoning(self.workflow, place / "ledger")
        self.secret = f"hush-{self.chance.getrandbits(64):x}"
        env = {"LEDGER": str(self.books.ledger), SECRET: self.secret}
        self.machine = Machine(place, f"{os.getpid()}-{seed}", self.chance, **env)
        self.place, self.store, self.other = place, "A", "B"
        self.trust: tuple[str, ...] = ()
        self.has_travelled = False
        for name, document in {**self.workflow.documents, "rival.yaml": RIVAL}.items():
            (place / name).write_text(json.dumps(document, indent=1))

    def rage(self) -> None:
        """From the first `run` to the end of the run. Raises AssertionError."""
        try:
            at = self._begin()
            for _ in range(MAX_ROUNDS):
                if at["status"] in ("completed", "cancelled"):
                    return self._close(at)
                at = self._look(self._choose()(at))
            raise AssertionError("the run does not come to its end")
        finally:
            self.machine.close()

    # Calls

    @property
    def run(self) -> Path:
        return self.place / self.store / "runs" / self.books.run_id

    @property
    def where(self) -> tuple[str, ...]:
        return ("--run-id", self.books.run_id, "--base-dir", self.store)

    def _call(self, *line: str, calm: float = 0.15) -> Reply:
        """What cpf answers, which is struck unless it is *calm*, or all is quiet by now."""
        alone = not list(self.machine.list_commands())
        call = self.machine.start(*line)
        self._perhaps_strike(call, calm)
        return self._finish(call, alone=alone)

    def _perhaps_strike(self, call: Call, calm: float, when: str = "") -> None:
        if self.machine.kills < self.kills and self.chance.random() > calm:
            self.machine.strike(call, when)

    def _finish(self, call: Call, *, alone: bool) -> Reply:
        """What came of *call*; *alone*: all commands that there are were started by it."""
        reply = call.finish()
        self.books.faults += reply.struck is not None
        if reply.struck is None:
            assert reply.error != "ERR_INTERRUPTED", reply
            assert reply.code in (*WENT_ON, 20, 50, 70), reply
        elif reply.code == 20 and reply.error == "ERR_INTERRUPTED" and alone:
            assert not self.machine.outlive(0.3), "commands go on after their cpf was told to stop"
        return reply

    def _look(self, reply: Reply | None) -> dict[str, Any]:
        """Where the run stands, which must agree with what is on disk."""
        self.books.look(self.run)
        if reply is not None and reply.code in (*WENT_ON, 50):
            return reply.envelope
        self._heed(reply)
        if reply is not None and reply.code == 70:
            self.machine.end_all(ORPHAN_SECONDS)
        if self.chance.random() < 0.5:
            return {"status": "running"}  # for all that anybody knows
        found = self.machine("status", *self.where)
        assert found.code in (*WENT_ON, 50), found
        return found.envelope

    def _heed(self, reply: Reply | None) -> None:
        """Say that the run is trusted, from now on, if it was asked for."""
        if reply is not None and reply.error == "ERR_NOT_TRUSTED":
            assert self.has_travelled and not self.trust, reply
            self.trust = ("--trust",)

    def _begin(self) -> dict[str, Any]:
        """Start the run; one that was killed before it had begun has left nothing."""
        while True:
            reply = self._call("run", "-f", "main.yaml", "--base-dir", self.store)
            found = [state.parent.name for state in (self.place / self.store).glob("runs/[!.]*/state.json")]
            assert found or reply.struck, reply
            if found:
                (self.books.run_id,) = found
                return self._look(reply)

    # What is done

    def _choose(self) -> Any:
        deeds = {
            self._go_on: 10, self._race: 3, self._travel: 1.5, self._look_around: 1, self._mislead: 1,
            self._rival: 1, self._cancel: 14 * self.cancels,
        }  # fmt: skip
        if self.machine.kills >= self.kills:
            return self._go_on
        return self.chance.choices(list(deeds), list(deeds.values()))[0]

    def _go_on(self, at: dict[str, Any]) -> Reply:
        """What the run waits for, or that it goes on."""
        wait = self._pick_wait(at)
        line = self._compose(at, wait)
        alone = not list(self.machine.list_commands())
        reply = self._call(*line)
        if reply.code == 70 and alone:
            # Whoever is killed as it starts a command leaves a child that has all of its locks until it has
            # become that command, and is not known as one before.
            time.sleep(SPAWNING_SECONDS)
            alone = not list(self.machine.list_commands())
            reply = self._call(*line)
        assert reply.code != 70 or not alone, f"nobody is at work: {reply}"
        self._note_answer(wait, line, reply)
        return reply

    def _pick_wait(self, at: dict[str, Any]) -> dict[str, Any] | None:
        """The wait to be answered now; None: the run is to go on without an answer."""
        waits = at.get("waits") or ([at["wait"]] if "wait" in at else [])
        lasting = [wait for wait in waits if "timeout_at" not in wait]
        if lasting and self.chance.random() < 0.9:
            return self.chance.choice(lasting)
        if waits and self.chance.random() < 0.3:
            return self.chance.choice(waits)
        time.sleep(0.1 if waits else 0)
        return None

    def _compose(self, at: dict[str, Any], wait: dict[str, Any] | None) -> tuple[str, ...]:
        """The call that answers *wait*, each time with another payload, or that has the run go on."""
        if wait is None:
            self.books.asked[""] += at["status"] == "failed"
            return ("retry-step" if at["status"] == "failed" else "resume", *self.where, *self.trust)
        path, event, payload = wait["step"], wait["event_name"], self._answer(wait)
        if payload == {"outcome": "retry"}:
            self.books.asked[path] += 1
            if self.chance.random() < 0.3:
                return ("retry-step", *self.where, *self.trust, "--step-id", path)
        if event != "step_outcome":
            self.books.sent.setdefault(path, []).append(payload)
        said = ("--event", event, "--step", path, "--input", json.dumps(payload))
        return ("resume", *self.where, *self.trust, *said)

    def _answer(self, wait: dict[str, Any]) -> dict[str, Any]:
        """A payload that fits; of an attempt in doubt what the ledger knows of it."""
        if wait["event_name"] != "step_outcome":
            return {"n": self.chance.randrange(10**9)}
        path, ended = wait["step"], self.books.read_ledger("ended")
        recipe, attempt = self.books.recipe(path), wait["in_doubt"]["attempt"]
        if (not ended[path, attempt] and not ended[path, 0]) or recipe.truth == "retry":
            return {"outcome": "retry"}
        outputs = {"outputs": recipe.value(path)} if recipe.truth == "succeeded" else {}
        return {"outcome": recipe.truth, **outputs}

    def _note_answer(self, wait: dict[str, Any] | None, line: tuple[str, ...], reply: Reply) -> bool:
        """Whether the answer that was sent with *line* was taken by that call, as far as *reply* tells.

        The same answer counts once: the other calls are told that it was given before.
        """
        if wait is None or "--input" not in line or reply.code not in WENT_ON:
            return False
        is_first = not reply.replayed
        if wait["event_name"] != "step_outcome":
            payload = json.loads(line[-1])
            assert not (is_first and wait["step"] in self.books.taken), (
                f"{wait['step']} has taken two answers"
            )
            assert self.books.taken.setdefault(wait["step"], payload) == payload, "another one was taken"
        return is_first

    def _race(self, at: dict[str, Any]) -> None:
        """Several do the same at once, of whom one may be struck: of several answers one is taken."""
        alone = not list(self.machine.list_commands())
        wait = self._pick_wait(at)
        lines = [self._compose(at, wait) for _ in range(self.chance.randint(2, 3))]
        calls = [self.machine.start(*line) for line in lines]
        self._perhaps_strike(self.chance.choice(calls), 0.5)
        replies = [self._finish(call, alone=False) for call in calls]
        in_turn = sorted(zip(lines, replies, strict=True), key=lambda pair: pair[1].replayed)
        taken = [self._note_answer(wait, line, reply) for line, reply in in_turn]
        assert sum(taken) <= 1, f"{sum(taken)} of {len(taken)} answers were taken"
        is_sure = alone and wait is not None and "timeout_at" not in wait and not self.books.may_be_cancelled
        if is_sure and not any(r.struck or "--input" not in r.line for r in replies):
            is_refused = any(reply.error == "ERR_NOT_TRUSTED" for reply in replies)
            assert any(taken) or is_refused, f"no answer was taken: {replies}"

    def _rival(self, _: dict[str, Any]) -> None:
        """Another run wants the lock that steps of this one hold."""
        reply = self.machine("run", "-f", "rival.yaml", "--base-dir", self.store)
        assert reply.code in (0, 70), reply
        shutil.rmtree(self.place / self.store / "runs" / reply.envelope["run_id"])

    def _look_around(self, _: dict[str, Any]) -> None:
        here = ("--base-dir", self.store)
        lines = [("list", *here), ("gc", *here, "--older-than", "1h"), ("flows", *here)]
        lines += [("diff", self.books.run_id, self.books.run_id, *here)]
        lines += [(name, *self.where) for name in ("logs", "inspect", "verify")]
        reply = self._call(*self.chance.choice(lines), calm=0.8)
        assert reply.struck or reply.code in (0, 30, 40) or reply.line[0] == "inspect", reply

    def _mislead(self, at: dict[str, Any]) -> None:
        """An answer that does not fit changes nothing."""
        wait = at.get("wait", {"event_name": "none", "step": "none"})
        before = (self.run / "history.jsonl").read_bytes()
        said = self.chance.choice(
            [
                ("--event", "nonesuch", "--input", '{"n": 1}'),
                ("--event", wait["event_name"], "--step", "nowhere", "--input", '{"n": 1}'),
                ("--event", wait["event_name"], "--step", wait["step"], "--input", '{"n": "x"}'),
                ("--event", wait["event_name"], "--step", wait["step"], "--input", '{"n": '),
            ]
        )
        reply = self.machine("resume", *self.where, *said)
        assert reply.code in (10, 20, 70), reply
        assert (self.run / "history.jsonl").read_bytes() == before, "what was refused has changed the run"

    def _cancel(self, at: dict[str, Any]) -> None:
        """Somebody cancels, perhaps while somebody else is at work; either or both may be struck."""
        wait = self._pick_wait(at)
        line = self._compose(at, wait)
        alone = not list(self.machine.list_commands())
        worker = self.machine.start(*line) if self.chance.random() < 0.7 else None
        if worker is not None:
            worker.wait(self.chance.uniform(0, 1))
        self.books.may_be_cancelled = True
        call = self.machine.start("cancel", *self.where, *self.trust, "--reason", "chaos")
        asked_at = self._await_wish(call) if worker is not None else None
        now = asked_at is not None and self.chance.random() < 0.7
        for victim in self.chance.choice([[worker], [call], [worker, call]] if worker else [[call]]):
            self._perhaps_strike(victim, 0.3, "at once" if now else "")
        reply = self._finish(call, alone=alone and worker is None)
        if worker is not None:
            self._note_answer(wait, line, self._finish(worker, alone=False))
        self.books.look(self.run)
        self.books.note_cancel(reply, asked_at)
        self._heed(reply)  # it runs the commands of a `finally`
        if reply.code == 0 and reply.envelope["status"] == "cancelled":
            self._check_rest()

    def _await_wish(self, call: Call) -> int | None:
        """How long the history was when *call* was seen to ask the worker to stop, if it was."""
        word, pid = self.run / "cancel.json", f'"pid":{call.process.pid},'.encode()
        while call.process.poll() is None:
            if word.exists() and pid in word.read_bytes():
                return len((self.run / "history.jsonl").read_bytes().splitlines())
            time.sleep(0.005)
        return None

    def _check_rest(self) -> None:
        """Nothing happens to a run that was cancelled."""
        assert not self.machine.outlive(0.3), "commands go on after the run was cancelled"
        before = (self.run / "history.jsonl").read_bytes()
        again = self.machine("cancel", *self.where, "--reason", "again")
        assert again.code == 0, again
        after = self.machine("resume", *self.where)
        assert after.code == 50, after
        assert (self.run / "history.jsonl").read_bytes() == before, "it was cancelled more than once"

    def _travel(self, at: dict[str, Any]) -> None:
        """The run goes on in another store, as it was."""
        self.machine.end_all(ORPHAN_SECONDS)
        export = ("export", *self.where, "-o", "run.tar.gz", "--force")
        while (reply := self._call(*export, calm=0.7)).code != 0:
            assert reply.struck, reply
        archive = (self.place / "run.tar.gz").read_bytes()
        assert self.machine(*export).code == 0
        assert archive == (self.place / "run.tar.gz").read_bytes(), "one state gave two archives"
        calm = 0.15
        while (reply := self._call("import", "run.tar.gz", "--base-dir", self.other, calm=calm)).code != 0:
            assert reply.struck, reply
            calm += 0.3
        self.store, self.other = self.other, self.store
        self.has_travelled, self.trust = True, ()
        self.books.look(self.run)

    # The end

    def _close(self, at: dict[str, Any]) -> None:
        assert not self.machine.outlive(0.5), "commands go on after the end of the run"
        assert self.machine("verify", *self.where).code == 0
        self.books.close(at)
        check_secrecy(self.place / self.store, self.secret)


class _Server(BaseHTTPRequestHandler):
    """Notes in the ledger of its storm what it was asked for."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        run_id, _, path = self.headers["Idempotency-Key"].partition(":")
        with self.server.ledger.open("a") as ledger:  # type: ignore[attr-defined]
            ledger.write(f"began {run_id} {path} 0\nended {run_id} {path} 0\n")
        body = json.dumps({"at": path}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serve(ledger: Path) -> Iterator[int]:
    """A server for calls of random workflows, which notes them in *ledger*; its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        server.ledger = ledger  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def survive(seed: str, kills: int, below: Path | None = None) -> int:
    """Lead the run of *seed* through its storm; how many kills it has survived. Raises AssertionError."""
    place = Path(tempfile.mkdtemp(prefix="cpf-chaos-", dir=below))
    try:
        with serve(place / "ledger") as port:
            storm = Storm(seed, place, kills, port)
            storm.rage()
    except Exception as error:
        error.add_note(f"in {place}; again with: python -m tests.crash.chaos {seed} {kills}")
        raise
    shutil.rmtree(place)
    return storm.machine.kills


if __name__ == "__main__":
    print(survive(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else KILLS), "kills survived")
