"""What may have happened to a run of a random workflow, kept apart from all that cpf itself thinks of it.

Read are state.json, history.jsonl and the ledger, by what the guide says of them.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.crash.calls import Reply
from tests.crash.random_workflows import CALLED, Recipe, Workflow

_LINE = re.compile(rb'\{"checkpoint_id":"([0-9a-f]{64})","fact":(\{.*\})(,"commit":[0-9]+)?\}\n')

Attempt = tuple[str, int]
"""A step's path, and the number of the attempt; 0 where nobody can tell it."""


class Reckoning:
    """The books of one run. Each contradiction is an AssertionError.

    asked: how often `retry` was, or may have been, asked for, by paths ("": for all that failed or is in
    doubt); sent: the payloads that may have been taken, by paths; taken: those of which it was told;
    faults: how many calls were struck;
    may_be_cancelled, is_cancelled: whether that was asked for, and told.
    """

    def __init__(self, workflow: Workflow, ledger: Path) -> None:
        self.workflow, self.ledger = workflow, ledger
        self.run_id = ""
        self.asked: Counter[str] = Counter()
        self.sent: dict[str, list[Any]] = {}
        self.taken: dict[str, Any] = {}
        self.faults = 0
        self.may_be_cancelled = self.is_cancelled = False
        self._lines: list[bytes] = []
        self._ids: list[str] = []
        self._happened: set[tuple[str, str]] = set()
        self._started: set[Attempt] = set()
        self._answers: dict[str, Any] = {}

    def recipe(self, path: str) -> Recipe:
        """How what is performed at *path* was made."""
        return self.workflow.recipes[self._name(path)]

    def read_ledger(self, word: str) -> Counter[Attempt]:
        """Which attempts of this run have noted *word*, and how often."""
        lines = self.ledger.read_text().splitlines() if self.ledger.exists() else []
        notes = [line.split() for line in lines if line.startswith(f"{word} {self.run_id} ")]
        return Counter((path, int(attempt)) for _, _, path, attempt in notes)

    # What is on disk, whenever somebody looks

    def look(self, run: Path) -> None:
        """The history goes on from where it stood when it was last seen, each line from the one before."""
        state = json.loads((run / "state.json").read_bytes())
        data = (run / "history.jsonl").read_bytes().splitlines(keepends=True)
        while data and b',"commit":' not in data[-1][-30:]:  # what died within a commit has not happened
            del data[-1]
        known = len(self._lines)
        assert data[:known] == self._lines, "the history has lost or changed what had happened"
        for line in data[known:]:
            self._follow(line)
        assert state["checkpoint_id"] in self._ids, "state.json is of no checkpoint of the history"

    def _follow(self, line: bytes) -> None:
        parts = _LINE.fullmatch(line)
        assert parts, f"this is no line of a history: {line!r}"
        before = self._ids[-1] if self._ids else ""
        digest = sha256(f"{before}\n".encode() + parts[2]).hexdigest()
        assert digest.encode() == parts[1], f"the chain is broken at {line!r}"
        self._lines.append(line)
        self._ids.append(digest)
        fact = json.loads(parts[2])
        self._judge(fact)
        if fact["fact"] == "step_succeeded" and fact["path"] in self.sent:
            self._answers[fact["path"]] = fact["outputs"]

    def _judge(self, fact: dict[str, Any]) -> None:
        """Whether *fact* may follow what has happened."""
        kind, path = fact["fact"], fact.get("path") or fact.get("body", "")
        is_over = self._happened & {("run_completed", ""), ("run_cancelled", "")}
        # Both come last in the commit of an answer, also of the one that ends the run.
        assert not is_over or kind in ("files_sealed", "directory_chosen"), f"{fact} after its end"
        if kind in ("step_started", "step_succeeded"):
            assert ("step_succeeded", path) not in self._happened, f"{path} had succeeded, and is at it again"
        if kind == "step_started" and fact["action"]["do"] != "sleep":
            attempt = (path, fact["action"]["attempt"])
            assert attempt not in self._started, f"{attempt} is started twice"
            self._started.add(attempt)
        if kind == "step_deferred":  # somebody else had the lock that it needs: it has not begun
            self._started.discard((path, fact["attempt"]))
        assert kind != "run_cancelled" or self.may_be_cancelled, "nobody asked to cancel it"
        if kind == "run_failed":
            assert any(recipe.needs_retry for recipe in self.workflow.recipes.values()), fact
        self._happened.add((kind, path))

    def note_cancel(self, reply: Reply, asked_at: int | None) -> None:
        """A call to cancel ended with *reply*.

        Whoever worked on the run has ended, too. asked_at: how long the history was when he was asked.
        """
        is_cancelled = ("run_cancelled", "") in self._happened
        is_ending = bool(self._happened & {("cancel_began", ""), ("finally_began", ".")})
        status = (reply.envelope or {}).get("status")
        if reply.code == 0 and status == "cancelled":
            assert is_cancelled, f"it is not cancelled: {reply}"
        elif status in ("completed", "failed", "waiting", "running"):
            assert is_ending, f"it was not at its end: {reply}"
        elif reply.struck is None and reply.error != "ERR_NOT_TRUSTED":
            assert reply.error == "ERR_RUN_NOT_WAITING" and self._is_over(), f"it was not heard: {reply}"
        if reply.struck is None and asked_at is not None:
            self._check_hearing(asked_at)
        self.is_cancelled |= is_cancelled
        # The wish of one who is dead does not come back.
        self.may_be_cancelled = is_cancelled or ("cancel_began", "") in self._happened

    def _is_over(self) -> bool:
        facts = [json.loads(line)["fact"]["fact"] for line in self._lines]
        last = next(fact for fact in reversed(facts) if fact != "files_sealed")
        return last in ("run_completed", "run_failed")

    def _check_hearing(self, asked_at: int) -> None:
        """No command that began after its cpf was asked to stop has ended well.

        Whoever works on a run looks twice in each time that such a command takes, so that this holds on the
        slowest machine.
        """
        facts = [json.loads(line)["fact"] for line in self._lines[asked_at:]]
        begun = {fact["path"] for fact in facts if fact["fact"] == "step_started"}
        slow = {path for path in begun if self.recipe(path) is not CALLED and "@finally/" not in path}
        for fact in facts:
            went_on = fact["fact"] == "step_succeeded" and fact["path"] in slow
            assert not went_on, f"{fact['path']} began and ended after its cpf was asked to stop"

    # The end

    def close(self, outcome: dict[str, Any]) -> None:
        """The run has ended as the envelope *outcome* says: that, and all that was done for it, may be."""
        for path, payload in self._answers.items():
            assert payload in self.sent[path], f"nobody sent {payload} to {path}"
        for path, payload in self.taken.items():
            assert self._answers.get(path) == payload, f"{path} had taken {payload}"
        if outcome["status"] != "cancelled":
            assert outcome["status"] == "completed" and not self.is_cancelled, outcome["status"]
            expected = self.workflow.result("", self._answers)
            assert outcome["result"] == expected, f"{outcome['result']}, and not {expected}"
        self._check_deeds()
        self._check_cleanups()

    def _check_cleanups(self) -> None:
        """Whatever a body came to that began, its `finally` has been done."""
        ended = {path.partition("@finally/")[0] + self._name(path) for path, _ in self.read_ledger("ended")}
        for body, name in {(path.rpartition("/")[0], self._name(path)) for path, _ in self._started}:
            for step in self.workflow.cleanups.get(name, ()):
                place = f"{body}/" if body else ""
                assert ("finally_began", body or ".") in self._happened, f"{body} has not cleaned up"
                assert f"{place}{step}" in ended, f"{step} never ended in {body}"

    def _name(self, path: str) -> str:
        return path.rpartition("/")[2].partition("@")[0]

    def _check_deeds(self) -> None:
        """What ran was asked for, no more often than it may, and what succeeded did run."""
        began, ended, started = self.read_ledger("began"), self.read_ledger("ended"), self._started
        assert not self.read_ledger("crowd"), "two had the same named lock at once"
        for (path, attempt), times in began.items():
            is_known = (path, attempt) in started or (not attempt and path in {p for p, _ in started})
            assert is_known, f"attempt {attempt} of {path} ran, and the history does not know of it"
            assert times == 1 or not attempt, f"attempt {attempt} of {path} ran {times} times"
        for path in {path for path, _ in began}:
            times, recipe = sum(n for (p, _), n in began.items() if p == path), self.recipe(path)
            most = recipe.tries + self.asked[path] + self.asked[""] + recipe.again * self.faults
            assert times <= most, f"{path} ran {times} times, and may have {most} times"
        for path in {path for path, _ in started}:
            if ("step_succeeded", path) in self._happened:
                assert any(p == path for p, _ in ended), f"{path} succeeded, and never ended"


def check_secrecy(store: Path, secret: str) -> None:
    """No file of the store holds *secret*, as it is or in Base64."""
    for file in store.rglob("*"):
        data = file.read_bytes() if file.is_file() else b""
        for form in (secret.encode(), base64.b64encode(secret.encode())):
            assert form not in data, f"the secret lies in {file}"
