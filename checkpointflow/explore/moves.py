"""What can happen to a run at rest: what a step comes to, what is answered, what time does.

Bodies do not see each other, so the order in which what is under way ends changes nothing: the first is
taken. Only where a block puts up with some failures and not with more, the last of them is the one that it
is blamed on, and all orders are taken. An attempt that fails is tried as often as its policy says, and fails
each time: one that succeeds then comes to the same as one that succeeds at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from msgspec import UNSET, Struct
from msgspec.structs import replace

from checkpointflow.documents.model import AnyStep, Cli
from checkpointflow.documents.program import Program
from checkpointflow.engine.actions import (
    Action,
    CallHttp,
    Effect,
    Error,
    Failure,
    RunCommand,
    Sleep,
    Slept,
    StoredFile,
    Success,
)
from checkpointflow.engine.bodies import Body, Scene, locate
from checkpointflow.engine.evolution import apply, fork
from checkpointflow.engine.facts import Fact, StepSucceeded
from checkpointflow.engine.messages import Cancel, Deliver, Message, Recover, Report
from checkpointflow.engine.rules import receive
from checkpointflow.engine.run import Opened, Run, Started, Waiting, is_ending, pending, unanswered, waits
from checkpointflow.explore.interest import Interest
from checkpointflow.explore.lazy import Decisions, Oracle, fill, make
from checkpointflow.explore.parts import JSON_TEXT, Part
from checkpointflow.explore.values import LISTS, SAYING, Maker, Shape

NOW = "2026-01-01T00:00:00.000Z"
MADE_UP = "made up"
"""The message of a failure that no document is to blame for."""
DIGEST = "0" * 64
UNCHAINED = "0" * 64
"""The checkpoint of a run that nobody keeps: to chain its facts would take most of the time."""


class Choice(Struct, frozen=True):
    """What happened: a run `starts`, a step `succeeds`, … said: with what, by the names for it in a way."""

    what: str
    path: str = ""
    said: dict[str, Any] = {}

    def tell(self, decisions: Decisions) -> dict[str, Any]:
        """It as an event of a way on which *decisions* were made."""
        step = {"step": self.path} if self.path else {}
        return {**step, "what": self.what, **fill(self.said, decisions)}


class Move(Struct, frozen=True):
    """A choice, the time then, and what makes it: the run and the facts; it raises what refuses it."""

    choice: Choice
    now: str
    make: Callable[[], tuple[Run, list[Fact]]]


class World:
    """All that can happen to runs of a program."""

    def __init__(self, program: Program, interest: Interest, oracle: Oracle) -> None:
        self.program, self.interest, self.oracle = program, interest, oracle
        self.doubts = interest.doubts
        self._shapes: dict[tuple[Program, str], Shape] = {}

    def list_environments(self) -> list[dict[str, str]]:
        """The environments that a run may begin in: what the documents declare of them."""
        texts = {name: {"type": "string"} for name in self.program.declared}
        schema = {"type": "object", "required": [*texts], "properties": texts}
        return Maker(schema, self.doubts).make(schema, self.interest.of(self.program, "", "env"))

    def list_moves(self, run: Run, now: str) -> Iterator[Move]:
        """What can happen to *run*, which is at rest; nothing if it is stuck."""
        todo, matters = pending(run), self._does_order_matter(run)
        for action in todo if matters else todo[:1]:
            yield from self._end_action(run, now, action)
        if todo and not matters:
            return
        open_waits = waits(run)
        deadlines = {path: record.wait.timeout_at or "~" for path, record in open_waits.items()}
        first = min(deadlines.values(), default="")
        for path, record in open_waits.items():
            if deadlines[path] == first:
                yield from self._end_wait(run, now, path, record)

    def _does_order_matter(self, run: Run) -> bool:
        """Whether a block under way puts up with so many failures, and several of its bodies are open."""
        opened = ((path, record) for path, record in run.active.items() if isinstance(record, Opened))
        scene = Scene(self.program, run, "")
        steps = (locate(scene, path)[1] for path, record in opened if len(record.open) > 1)
        return any(getattr(step, "max_failures", None) is not None for step in steps)

    def crash(self, run: Run, now: str) -> Move:
        """cpf is killed, and comes again: what was under way may or may not have happened."""
        lost = unanswered(run)
        return self._move(run, Recover(now=now, lost=lost), Choice("crashes", lost[0].path))

    def cancel(self, run: Run, now: str) -> Move | None:
        """Somebody cancels the run, if anything comes after that."""
        has_finally = any(program.cleanup is not None for program in self.interest.programs)
        if not has_finally or is_ending(run):
            return None
        return self._move(run, Cancel(now=now, reason=MADE_UP), Choice("cancelled"))

    def _move(self, run: Run, message: Message, choice: Choice) -> Move:
        return Move(choice, message.now, lambda: self._hear(run, message, choice))

    def _hear(self, run: Run, message: Message, choice: Choice | None = None) -> tuple[Run, list[Fact]]:
        """*run* after what *message* itself states; what a step came to is decided when somebody looks."""
        facts = receive(self.program, run, message)
        if choice is not None and choice.what == "succeeds":
            outputs = choice.said["outputs"]
            facts = [replace(f, outputs=outputs) if isinstance(f, StepSucceeded) else f for f in facts]
        return apply(fork(run), facts, UNCHAINED), facts

    # What a step comes to

    def _end_action(self, run: Run, now: str, action: Action) -> Iterator[Move]:
        body, step = locate(Scene(self.program, run, now), action.path)
        assert isinstance(action, RunCommand | CallHttp), "no pause is left open"
        for success in self._list_successes(body, step, action):
            plain = replace(success, outputs=fill(success.outputs, {}))
            report = Report(now=now, path=action.path, attempt=action.attempt, outcome=plain)
            yield self._move(run, report, Choice("succeeds", action.path, _tell(success)))
        for failure in self._list_failures(body, step, action):
            yield self._fail(run, now, action.path, failure)

    def _fail(self, run: Run, now: str, path: str, failure: Failure) -> Move:
        def make() -> tuple[Run, list[Fact]]:
            new, facts = run, list[Fact]()
            while isinstance(record := new.steps[path], Started):
                outcome = Slept() if isinstance(record.action, Sleep) else failure
                report = Report(now=now, path=path, attempt=record.action.attempt, outcome=outcome)
                new, more = self._hear(new, report)
                facts += more
            return new, facts

        return Move(Choice("fails", path, {"code": failure.error.code, **_tell(failure)}), now, make)

    def _list_successes(self, body: Body, step: AnyStep, action: Effect) -> Iterator[Success]:
        codes: tuple[int, ...] = action.exit_codes if isinstance(action, RunCommand) else action.status_codes
        kind = "exit_code" if isinstance(action, RunCommand) else "status_code"
        if not self._part(body, step, kind).literals:
            codes = codes[:1]
        name = f"{action.path}#{action.attempt}"
        for code, texts, files in product(
            codes, self._list_texts(body, step, action), self._list_files(body, step, action)
        ):
            for outputs in make(self.oracle, name, self._shape(body, step)):
                more: dict[str, Any] = {kind: code, **texts, **self._head(body, step)}
                yield Success(outputs=outputs, artifacts=files, **more)

    def _list_failures(self, body: Body, step: AnyStep, action: Effect) -> Iterator[Failure]:
        """A failure for each kind that the document tells apart; with outputs, too, if they can be read."""
        part = self._part(body, step, "outputs")
        is_seen = getattr(step, "on_error", None) is not None or body.program.cleanup is not None
        printed: list[dict[str, Any]] = [{}]
        if is_seen and (part.parts or part.decides):
            made = make(self.oracle, f"{action.path}#{action.attempt}!", self._shape(body, step))
            printed += [{"outputs": outputs} for outputs in made]
        texts = list(self._list_texts(body, step, action)) if is_seen else [{}]
        for error, said, outputs in product(self._list_errors(body, step), texts, printed):
            head = self._head(body, step) if error.status_code is not None else {}
            yield Failure(error, **said, **outputs, **head)

    def _list_texts(self, body: Body, step: AnyStep, action: Effect) -> Iterator[dict[str, Any]]:
        """What is kept of what it prints."""
        kept = [name for name in ("stdout", "stderr") if getattr(action, f"keeps_{name}", False)]
        for texts in product(*(self._make_texts(body, step, name) for name in kept)):
            yield dict(zip(kept, texts, strict=True))

    def _make_texts(self, body: Body, step: AnyStep, what: str) -> list[Any]:
        part = self._part(body, step, what)
        part.kinds = tuple(kind for kind in part.kinds if kind == JSON_TEXT) or ("text",)
        return Maker({}, self.doubts).make({}, part)

    def _shape(self, body: Body, step: AnyStep) -> Shape:
        key = (body.program, step.id)
        if key not in self._shapes:
            schema = expect_object(getattr(step, "outputs", None) or {})
            self._shapes[key] = Maker(schema, self.doubts).shape(self._part(body, step, "outputs"))
        return self._shapes[key]

    def _part(self, body: Body, step: AnyStep, what: str) -> Part:
        return self.interest.of(body.program, step.id, what)

    def _head(self, body: Body, step: AnyStep) -> dict[str, Any]:
        """The headers of an answer: those that somebody looks at."""
        part = self._part(body, step, "headers")
        if not part.parts:
            return {}
        self.doubts["headers that are looked at are taken to be there"] = None
        return {"headers": {name: str([*inner.literals, "x"][0]) for name, inner in part.parts.items()}}

    def _list_files(self, body: Body, step: AnyStep, action: Effect) -> list[dict[str, StoredFile]]:
        """Its artifacts, with those that may lack and without, and of a set one file and two."""
        found: list[dict[str, StoredFile]] = [{}]
        parts = self._part(body, step, "artifacts").parts
        for spec in action.artifacts if isinstance(action, RunCommand) else ():
            names = [spec.name] if spec.pattern is None else [f"{spec.name}/x", f"{spec.name}/y"]
            numbers = dict.fromkeys((1, 0 if spec.may_lack else 1, len(names)))
            ways = [{name: _make_file(name) for name in names[:n]} for n in numbers]
            found = [{**one, **way} for one in found for way in (ways if spec.name in parts else ways[:1])]
            if spec.pattern is not None and spec.name in parts:
                self.doubts[LISTS] = None
        return found

    def _list_errors(self, body: Body, step: AnyStep) -> Iterator[Error]:
        """An error for each kind that the document tells apart."""
        kind = "exit_code" if isinstance(step, Cli) else "status_code"
        parts = self._part(body, step, kind), self._part(body, step, "error").parts.get(kind, Part())
        good = step.success.exit_codes if isinstance(step, Cli) else step.success.status_codes  # type: ignore[union-attr]
        asked = [known for part in parts for known in part.literals]
        least, most = (0, 255) if isinstance(step, Cli) else (100, 599)
        near = [int(n) + more for n in asked if isinstance(n, int | float) for more in (0, 1, -1)]
        codes = [n for n in dict.fromkeys([*near, *((1, 2, 3) if isinstance(step, Cli) else (500, 404))])
                 if least <= n <= most and n not in good]  # fmt: skip
        for code in codes if asked else codes[:1]:
            yield Error(code="ERR_STEP_FAILED", message=MADE_UP, **{kind: code})
        for code in self._part(body, step, "error").parts.get("code", Part()).literals:
            if isinstance(code, str) and code != "ERR_STEP_FAILED":
                yield Error(code=code, message=MADE_UP)

    # What a wait comes to

    def _end_wait(self, run: Run, now: str, path: str, record: Waiting) -> Iterator[Move]:
        for answer in self._list_answers(run, path, record):
            choice = Choice("answered", path, {"answer": answer})
            yield self._move(run, Deliver(now=now, path=path, payload=answer), choice)
        if record.wait.timeout_at is not None:
            yield Move(Choice("times_out", path), record.wait.timeout_at, lambda: (run, []))

    def _list_answers(self, run: Run, path: str, record: Waiting) -> list[Any]:
        body, step = locate(Scene(self.program, run, NOW), path)
        if record.wait.in_doubt is not None:
            outputs = [fill(value, {}) for value in make(self.oracle, path, self._shape(body, step))]
            return [
                {"outcome": "retry"},
                {"outcome": "failed"},
                {"outcome": "succeeded", "outputs": outputs[0]},
            ]
        schema = expect_object(record.wait.input_schema)
        return Maker(schema, self.doubts).make(schema, self._part(body, step, "outputs"))


def expect_object(schema: dict[str, Any]) -> dict[str, Any]:
    """*schema*, of an object where it does not say of what."""
    return schema if schema.keys() & SAYING else {"type": "object", **schema}


def _tell(came: Success | Failure) -> dict[str, Any]:
    """What a step came to, by the names that a way has for it."""
    source = came if isinstance(came, Success) else came.error
    codes = {name: getattr(source, name) for name in ("exit_code", "status_code") if getattr(source, name)}
    said = {name: getattr(came, name) for name in ("outputs", "stdout", "stderr", "headers")}
    if isinstance(came, Success):
        said["artifacts"] = list(came.artifacts)
    known = {n: v for n, v in said.items() if v is not UNSET and v is not None}
    return {**{n: v for n, v in known.items() if n not in ("headers", "artifacts") or v}, **codes}


def _make_file(name: str) -> StoredFile:
    return StoredFile(path=f"artifacts/{name}", size=1, sha256=DIGEST)
