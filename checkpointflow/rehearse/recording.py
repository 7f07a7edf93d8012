"""What has happened in a run, as a test in which the same happens.

What changes from run to run is not kept: in what goes in, the run's id and directory are those of a
rehearsal, and in what is expected they are patterns, as moments are. Long texts are cut, and said to be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, assert_never

from msgspec import UNSET

from checkpointflow.documents.program import Program
from checkpointflow.engine.actions import Error, Sleep
from checkpointflow.engine.bodies import Scene
from checkpointflow.engine.evolution import apply
from checkpointflow.engine.facts import (
    AttemptFailed,
    Breakdown,
    CancelBegan,
    Cancellation,
    Completion,
    EventTaken,
    Fact,
    RunBegan,
    RunCancelled,
    StepFailed,
    StepsReopened,
    StepStarted,
    StepSucceeded,
)
from checkpointflow.engine.run import Run, pending, waits
from checkpointflow.rehearse.rehearsal import ENTERED, RUN_ID, tell_action

MAX_TEXT = 500
MAX_HEAD = 200
MAX_COMMANDS = 50
PLACE = "/run"
"""Where a run lies of which a test tells."""

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?")
_MOMENTS = r"\d{4}-\d\d-\d\d[T ][0-9:.]+(Z|[+-]\d\d:?\d\d)?"
_ENDED_WITH = re.compile(r"the command ended with exit code \d+(?:: (.*))?")


class Recording:
    """What happened in a run so far."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.run: Run | None = None
        self.began: RunBegan | None = None
        self.steps: dict[str, list[dict[str, Any]]] = {}
        self.answers: dict[str, Any] = {}
        self.entered: dict[str, None] = {}
        self.commands: dict[str, str] = {}
        self.cancel: str | None = None

    def add(self, fact: Fact) -> None:
        """*fact* is what happened next."""
        if isinstance(fact, CancelBegan | RunCancelled) and self.run is not None and self.cancel is None:
            self.cancel = next(iter([*waits(self.run), *(action.path for action in pending(self.run))]), None)
        self.run = apply(self.run, [fact], "-")
        if isinstance(fact, ENTERED):
            self.entered[fact.path] = None
        match fact:
            case RunBegan():
                self.began = fact
            case StepStarted(path=path, action=action) if not isinstance(action, Sleep):
                if path not in self.commands:
                    self.commands[path] = tell_action(Scene(self.program, self.run, fact.at), action)
            case EventTaken(path=path, payload=payload, attempt=None):
                self.answers[path] = [payload] if isinstance(payload, list) else payload
            case StepFailed(path=path) if path not in self.commands:
                if fact.error.code == "ERR_TIMEOUT":
                    self.answers[path] = {"times_out": True}
            case AttemptFailed() | StepFailed():
                self.steps.setdefault(fact.path, []).append(_tell_failure(fact))
            case StepSucceeded(path=path) if path in self.commands:
                self.steps.setdefault(path, []).append(_tell_success(fact))
            case StepsReopened(path=path):
                self.steps.pop(path, None)
            case _:
                pass

    def make_test(self, name: str, place: str, *, cuts: bool) -> dict[str, Any]:
        """The test *name* of it; *place*: where the run lies; *cuts*: whether long texts are cut."""
        assert self.began is not None and self.run is not None, "a run begins with RunBegan"
        volatile = {place: PLACE, self.began.run_id: RUN_ID}
        put = lambda text: _cut(_replace(text, volatile), cuts=cuts)  # noqa: E731
        given = {
            "inputs": self.began.inputs,
            "env": self.began.env,
            "cancel": self.cancel,
            "steps": {path: plays if len(plays) > 1 else plays[0] for path, plays in self.steps.items()},
            "answers": self.answers,
        }
        said = {key: change(value, put) for key, value in given.items() if value not in ({}, None)}
        expect = {
            **tell_end(self.run),
            "path": [path for path in self.entered if "/" not in path],
            "commands": dict(list(self.commands.items())[:MAX_COMMANDS]),
        }
        wanted = {
            key: change(value, lambda text: _want(text, volatile, cuts=cuts)) for key, value in expect.items()
        }
        return {"name": name, **said, "expect": {key: value for key, value in wanted.items() if value != {}}}


def record(program: Program, facts: Iterable[Fact]) -> Recording:
    """What *facts* tell of a run of *program*."""
    recording = Recording(program)
    for fact in facts:
        recording.add(fact)
    return recording


def tell_end(run: Run) -> dict[str, Any]:
    """What *run* came to, as what a test expects."""
    match run.outcome:
        case Completion(result=result):
            return {"status": "completed"} if result is UNSET else {"result": result}
        case Breakdown(error=error):
            return {"error": {"code": error.code, **({"step": error.step_id} if error.step_id else {})}}
        case Cancellation():
            return {"status": "cancelled"}
        case None:
            events = [record.wait.event_name for record in waits(run).values()]
            return {"waiting_for": events[0]} if events else {"status": "waiting"}
        case _:
            assert_never(run.outcome)


# What a step came to


def _tell_success(fact: StepSucceeded) -> dict[str, Any]:
    play: dict[str, Any] = {} if fact.outputs is UNSET else {"outputs": fact.outputs}
    if fact.exit_code:
        play["exit_code"] = fact.exit_code
    if fact.status_code not in (None, 200):
        play["status_code"] = fact.status_code
    if fact.artifacts:
        play["artifacts"] = list(fact.artifacts)
    return play | _list_said(fact)


def _tell_failure(fact: AttemptFailed | StepFailed) -> dict[str, Any]:
    error, said = fact.error, {}
    if isinstance(fact, StepFailed):
        said = _list_said(fact) | ({} if fact.outputs is UNSET else {"outputs": fact.outputs})
    if error.code == "ERR_TIMEOUT" and error.message.startswith("it took longer than"):
        return {"times_out": True, **said}
    if error.code == "ERR_STEP_OUTPUT_INVALID" and "outputs" in said:
        return said
    codes = {name: getattr(error, name) for name in ("exit_code", "status_code") if getattr(error, name)}
    plain = _ENDED_WITH.fullmatch(error.message)
    if plain is not None and codes:
        return codes | ({"stderr": plain[1]} if plain[1] else {}) | said
    return {"fails": _tell_error(error), **codes, **said}


def _tell_error(error: Error) -> dict[str, Any]:
    details = {} if error.details is None else {"details": error.details}
    return {"code": error.code, "message": error.message, **details}


def _list_said(fact: StepSucceeded | StepFailed) -> dict[str, Any]:
    said = {name: getattr(fact, name) for name in ("stdout", "stderr", "headers")}
    return {name: value for name, value in said.items() if value not in (None, {})}


# What is not kept


def change(value: Any, put: Callable[[str], Any]) -> Any:
    """*value* with what is *put* for each text in it."""
    if isinstance(value, dict):
        return {name: change(inner, put) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [change(inner, put) for inner in value]
    return put(value) if isinstance(value, str) else value


def _replace(text: str, volatile: dict[str, str]) -> str:
    for old, new in volatile.items():
        text = text.replace(old, new)
    return text


def _cut(text: str, *, cuts: bool) -> str:
    if not cuts or len(text) <= MAX_TEXT:
        return text
    return f"{text[:MAX_HEAD]}… (the first {MAX_HEAD} of {len(text):,} characters)"


def _want(text: str, volatile: dict[str, str], *, cuts: bool) -> Any:
    """*text* as it is expected: itself, or a pattern if part of it is not kept."""
    is_long = cuts and len(text) > MAX_TEXT
    shown = text[:MAX_HEAD] if is_long else text
    if not is_long and not _MOMENT.search(text) and not any(old in text for old in volatile):
        return text
    parts = re.split(f"({'|'.join([*map(re.escape, volatile), _MOMENT.pattern])})", shown)
    pattern = "".join(_write_pattern(part, volatile) for part in parts if part)
    return {"matches": f"^{pattern}" if is_long else f"^{pattern}$"}


def _write_pattern(part: str, volatile: dict[str, str]) -> str:
    if part in volatile:
        return r"\S*" if volatile[part] == PLACE else "[0-9A-Z]{26}"
    return _MOMENTS if _MOMENT.fullmatch(part) else re.escape(part).replace(r"\ ", " ")
