"""What of a run can still be looked at. Two runs that agree in it go on alike, however they came to be.

From where a body stands, the graph tells which steps it can come to, and their texts what those look at. All
else is history: what nobody asks for, when things happened, how often a step was come to. A body that this
does not know how to look into is taken as it is, whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, Struct
from msgspec.structs import replace

from checkpointflow.digests import sha256
from checkpointflow.documents.fields import Use
from checkpointflow.documents.graph import StepList
from checkpointflow.documents.model import AnyStep
from checkpointflow.documents.program import Program
from checkpointflow.engine.actions import Error
from checkpointflow.engine.bodies import Body, Scene, enter, enter_finally, root
from checkpointflow.engine.path import ROOT, host_of, owner, split
from checkpointflow.engine.run import Failed, Opened, Run, Started, Succeeded, Waiting, current_path, waits
from checkpointflow.engine.scope import scope
from checkpointflow.explore.lazy import INPUTS, Decisions, Lazy, Unknown
from checkpointflow.expressions.syntax import Path, references

Way: TypeAlias = tuple[str, ...]
Names: TypeAlias = list[tuple[str, str, list[Way]]]
"""What is looked at: `steps` and a step, or `inputs` and an input; and the ways on from there."""

_VISIT = re.compile(r"@[0-9]+")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z")
_HISTORY = {"started_at", "ended_at", "attempts"}


class Sight:
    """What can be looked at, in *programs*: of each list of steps, from each of its places."""

    def __init__(self, programs: Iterable[Program]) -> None:
        self._reads: dict[StepList, dict[int, set[Path]]] = {}
        self._live: dict[tuple[StepList, int], Names] = {}
        self._ahead: dict[StepList, tuple[list[Path], dict[int, int]]] = {}
        self._read: set[str] = set()
        programs = list(programs)
        for program in programs:
            for use in program.uses():
                if isinstance(use, Use):
                    self._add_use(program, use)
        for program in programs:
            for body in program.lists:
                self._add_collected(body)

    def add(self, body: StepList, index: int, paths: Iterable[Path]) -> None:
        """More that is looked at, by the step at *index* of *body*, and so by those around it."""
        for around, at in body.walk_outwards():
            found = self._reads.setdefault(around, {}).setdefault(index if at is None else at, set())
            found.update(paths)
        if around.main is not None:
            self._reads.setdefault(around.main, {}).setdefault(EVERYWHERE, set()).update(paths)

    def _add_use(self, program: Program, use: Use) -> None:
        paths = references(use.expression)
        self._read |= {str(path[1]) for path in paths if path[0] == "steps" and len(path) > 1}
        if use.field == "defaults":
            for body in program.lists:
                for index in range(len(body.steps)):
                    self.add(body, index, paths)
        elif use.field == "invariants":
            asked = program.step(str(program.workflow.invariants[int(use.path[2])].never))
            self.add(asked.body, asked.index, paths)
        else:
            self.add(use.body, len(use.body.steps) if use.number is None else use.number, paths)

    def _add_collected(self, body: StepList) -> None:
        """What an iteration or a branch puts out that has no end of its own: the outputs of all its steps."""
        outputs: list[Path] = [("steps", step.id, "outputs") for step in body.steps]
        owner = body.outer.steps[body.at] if body.outer is not None else None
        if owner is not None and body.outer is not None and self.is_read(body.outer, owner):
            self.add(body, len(body.steps), outputs)
        for index, step in enumerate(body.steps):
            if index in body.graph.owned and body.graph.owned[index] and self.is_read(body, step):
                self.add(body, IN_BRANCHES, outputs)

    def is_read(self, body: StepList, step: AnyStep) -> bool:
        """Whether anybody looks at what the block *step* of *body* comes to, or at what that is part of."""
        owned = body.graph.owned.get(body.index[step.id], frozenset())
        names = {step.id, *(body.steps[i].id for i in owned)}
        names |= {around.steps[at].id for around, at in body.walk_outwards() if at is not None}
        return getattr(step, "outputs", None) is not None or bool(names & self._read)

    def find_live(self, body: Body, at: str | None) -> Names:
        """What can be looked at from *body*, which stands at the step *at*."""
        steps, graph = body.steps, body.steps.graph
        in_branch = body.start_at is not None
        first = steps.index[str(body.start_at)] if in_branch else graph.first
        place = first if at is None else steps.index[at]
        node = place + graph.end + 1 if in_branch else place
        if (steps, node) not in self._live:
            if steps not in self._ahead:
                self._ahead[steps] = self._solve(steps)
            paths, ahead = self._ahead[steps]
            found = [path for number, path in enumerate(paths) if ahead[node] >> number & 1]
            reads = self._reads.get(steps, {})
            more = [*reads.get(EVERYWHERE, ()), *(reads.get(IN_BRANCHES, ()) if in_branch else ())]
            self._live[steps, node] = _group([*found, *more])
        return self._live[steps, node]

    def _solve(self, steps: StepList) -> tuple[list[Path], dict[int, int]]:
        """All that is looked at in *steps*, and for each node, as bits, what of it can be from there on."""
        reads, graph = self._reads.get(steps, {}), steps.graph
        numbers = {
            path: n for n, path in enumerate(sorted({p for ps in reads.values() for p in ps}, key=str))
        }
        known = {
            node: sum(1 << numbers[path] for path in reads.get(graph.step_of(node), ())) for node in graph.out
        }
        nodes, is_new = sorted(graph.out, reverse=True), True
        while is_new:
            before = list(known.values())
            for node in nodes:
                for edge in graph.out[node]:
                    known[node] |= known[edge.end]
            is_new = before != list(known.values())
        return list(numbers), known


IN_BRANCHES = -1
"""Where what branches made of steps of a list put out counts as looked at."""
EVERYWHERE = -2
"""Where what `finally` looks at counts as looked at: it follows all steps."""


def _group(paths: Iterable[Path]) -> Names:
    found: dict[tuple[str, str], set[Way]] = {}
    for path in paths:
        first, second, *rest = (*map(str, path), "")[: max(len(path), 2)]
        found.setdefault((first, second), set()).add(tuple(rest))
    return [(first, second, sorted(ways)) for (first, second), ways in sorted(found.items())]


class Signature:
    """What a run is, for all that follows."""

    def __init__(self, sight: Sight, program: Program, run: Run, decided: Decisions) -> None:
        self.sight, self.run, self.decided = sight, run, decided
        self.scene = Scene(program, run, "")
        self._numbers: dict[tuple[str, ...], int] = {}

    def digest(self, *more: Any) -> bytes:
        """Equal for two runs only if they go on alike."""
        run = self.run
        parts: list[Any] = [self.freeze(run.outcome), list(more), self._rank_waits()]
        bodies = list(self._list_bodies(root(self.scene)))
        parts += [self._freeze_body(body) for body in bodies]
        known = {body.path for body in bodies}
        if not all(path in known or self._is_over(path) for path in run.cursors):  # a body of a new kind
            parts += [self.freeze(run.steps), self.freeze(run.cursors)]
        return sha256(msgspec.json.encode(parts)).digest()

    def _list_bodies(self, body: Body) -> Iterator[Body]:
        yield body
        if self.run.cursors[body.path].ending is not None:
            yield from self._list_bodies(enter_finally(self.scene, body))
            return
        path = current_path(self.run, body.path)
        record = None if path is None else self.run.steps.get(path)
        if path is not None and isinstance(record, Opened):
            step = body.steps.find(str(self.run.cursors[body.path].step))
            for key in record.open:
                yield from self._list_bodies(enter(self.scene, body, step, path, key))

    def _is_over(self, body: str) -> bool:
        """Whether the body, or one around it, has failed: it is kept to be taken up by hand."""
        while body != ROOT:
            if (host := host_of(body)) is not None:
                body = host
                continue
            block, key = owner(body)
            record = self.run.steps.get(block)
            if isinstance(record, Failed) or (isinstance(record, Opened) and key in record.failed):
                return True
            body = split(block)[0]
        return False

    def _rank_waits(self) -> list[Any]:
        """The open waits, in the order in which their time is up."""
        found = {path: record.wait.timeout_at for path, record in waits(self.run).items()}
        order = sorted({until for until in found.values() if until is not None})
        return [[forget_visits(p), None if u is None else order.index(u)] for p, u in found.items()]

    def _freeze_body(self, body: Body) -> list[Any]:
        cursor = self.run.cursors[body.path]
        if cursor.ending is not None:  # what comes after that, `finally` looks at
            return [forget_visits(body.path), self.freeze(cursor.ending)]
        path = current_path(self.run, body.path)
        live = self.sight.find_live(body, cursor.step)
        here = None if path is None else self._freeze_current(body, self.run.steps[path])
        at = [forget_visits(body.path), cursor.step, cursor.cancelled is not None]
        return [*at, here, *self._look_around(body, live)]

    def _look_around(self, body: Body, live: Names) -> Iterator[Any]:
        names = scope(self.scene, body)
        steps, visits = names["steps"], self.run.cursors[body.path].visits
        records = self.run.steps if body.outer is None and body.path == ROOT else None
        decided = {key[1] for key in self.decided if key[0] == INPUTS} if records is not None else None
        for first, second, ways in live:
            if first == "steps":
                is_recorded = records is None or second in records or second in visits
                if (is_recorded or _is_in_branch(body.steps, second)) and second in steps:
                    view = steps[second]
                    yield [first, second, *(self._follow(view, way) for way in ways)]
            elif (
                first in names
                and first != "run"
                and (first != INPUTS or decided is None or second in decided)
            ):
                yield [first, second, *(self._follow(names[first], (second, *way)) for way in ways)]

    def _follow(self, value: Any, way: Way) -> Any:
        """What is known of the part of *value* that *way* leads to."""
        tells_of_failure = way[:1] == ("error",)
        for part in filter(None, way):
            if isinstance(value, Lazy):
                value = value.peek(part)
            elif isinstance(value, dict):
                value = value.get(part, UNSET)
            elif isinstance(value, list):
                value = value[int(part)] if part.isdigit() and int(part) < len(value) else UNSET
        frozen = self.freeze(value)
        return forget_visits(msgspec.json.encode(frozen).decode()) if tells_of_failure else frozen

    def _freeze_current(self, body: Body, record: Any) -> Any:
        match record:
            case Started(action=action, on_hold=on_hold):
                return ["started", type(action).__name__, action.attempt, on_hold]
            case Waiting(wait=wait):
                return ["waiting", wait.in_doubt is not None, wait.timeout_at is not None]
            case Opened():
                step = body.steps.find(str(self.run.cursors[body.path].step))
                if self.sight.is_read(body.steps, step):
                    return self.freeze(record)
                limit = getattr(step, "max_failures", None)
                failures = 0 if limit is None else sum(map(len, record.survived))
                return [failures, self.freeze(replace(record, ended=(), survived=()))]
            case Failed():
                return self.freeze(replace(record, block=None))
            case Succeeded(next=target):
                return ["succeeded", target, self.freeze(record.outputs)]
            case _:
                return type(record).__name__

    def freeze(self, value: Any) -> Any:
        """*value* as JSON, without what is only history; what is not decided, by a number."""
        match value:
            case Unknown(key):
                return {"?": self._numbers.setdefault(key, len(self._numbers))}
            case Lazy():
                return {key: self.freeze(value.peek(key)) for key in sorted(value.fields.members)}
            case dict():
                return {str(key): self.freeze(inner) for key, inner in sorted(value.items())}
            case list() | tuple():
                return [self.freeze(inner) for inner in value]
            case Error(code=code, message=message, step_id=path):
                return [
                    code,
                    forget_visits(message),
                    forget_visits(path or ""),
                    value.exit_code,
                    value.status_code,
                    forget_visits(msgspec.json.encode(value.details).decode()),
                ]
            case Struct():
                fields = (name for name in value.__struct_fields__ if name not in _HISTORY)
                return [type(value).__name__, *(self.freeze(getattr(value, name)) for name in fields)]
            case _:
                return None if value is UNSET else value


def forget_visits(text: str) -> str:
    """*text* without visits, and without times."""
    return _TIME.sub("", _VISIT.sub("", text))


def _is_in_branch(steps: StepList, name: str) -> bool:
    """Whether the step belongs to a branch of the list: it is seen by way of that."""
    return steps.index.get(name) in steps.graph.in_branches
