"""What a run will come to, as far as that can be known before it does: nothing is started, nothing decided.

`turns` says where each step can lead, and what is known there. Here the steps are laid out as a tree, in the
order in which they come, each once: where arms meet again, the tree goes on below them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from contextlib import suppress
from typing import Any, Literal, NamedTuple

from msgspec import UNSET

from checkpointflow.diagnostics import join_words
from checkpointflow.documents.model import AnyStep, Call, End, Foreach, Parallel
from checkpointflow.documents.program import CompiledStep, Program
from checkpointflow.engine.bodies import Body, Scene, enter, enter_finally, name_of, root
from checkpointflow.engine.kinds import check_env, check_inputs, list_items
from checkpointflow.engine.path import ROOT, body_path, finally_path, step_path
from checkpointflow.engine.run import Active, Cancelled, Opened, Run, Started, Waiting, current_path
from checkpointflow.engine.scope import StepsSeen
from checkpointflow.errors import CheckpointflowError, EvaluationError
from checkpointflow.explore.outline import (
    Arm,
    Command,
    Ending,
    HttpCall,
    Inner,
    Item,
    Jump,
    Limits,
    Loop,
    Of,
    Plan,
    Question,
    Step,
)
from checkpointflow.explore.partial import Known, Later, fill, find_value, is_later, name_later, show
from checkpointflow.explore.turns import Lane, Outlook, Turn, look_around
from checkpointflow.explore.typed import describe, find_parameter, list_limits
from checkpointflow.expressions.syntax import Constant, Expression
from checkpointflow.expressions.values import as_text

MAX_STEPS = 1000
MAX_ITEMS = 3
"""Of so many known items each is told, of more what is done for each."""

_FAULTS = ("skipped", "fails")
_CHOSEN = {"answer", "case", "else"}
_MISHAPS = ("fails", "times_out")


def plan(program: Program, inputs: Any, env: Mapping[str, str]) -> Plan:
    """What a run with these *inputs*, begun with the variables *env*, comes to. Raises InvalidInput."""
    given, found = check_inputs(program, inputs), check_env(program, env)
    names = _make_names(program, given, found)
    body = Body(path=ROOT, program=program, steps=program.root, names=names)
    layout = Layout(found)
    return layout.make(given, layout.lay_out(Lane(body, body.first, {}, "run")), program)


def plan_on(program: Program, run: Run) -> Plan:
    """What *run*, which has not ended, comes to from where it stands."""
    scene = Scene(program, run, run.updated_at)
    layout = Layout(run.env, scene)
    return layout.make(run.inputs, layout.take_up(root(scene), "run"), program)


def _make_names(program: Program, inputs: Any, env: Mapping[str, str]) -> dict[str, Any]:
    own = {name: env[name] for name in program.workflow.env}
    return {"inputs": inputs, **({"env": own} if own else {})}


Ways = tuple[tuple[Item, ...], tuple[Item, ...]]
"""That of the steps of a body, and that of its `finally`."""


class Doing(NamedTuple):
    """What a step does, how often and how long; its bodies; fault: why it surely fails, if it does."""

    does: Command | HttpCall | Question | Loop | Ending | None = None
    limits: Limits = Limits()
    bodies: tuple[Inner, ...] = ()
    fault: str | None = None


class Layout:
    """The tree, as it grows. env: the variables that documents declare; scene: of a run that has begun."""

    def __init__(self, env: Mapping[str, str], scene: Scene | None = None) -> None:
        self.env, self.scene = env, scene
        self.left = MAX_STEPS
        self.is_cut = False

    def make(self, inputs: dict[str, Any], ways: Ways, program: Program) -> Plan:
        """The whole of it."""
        way, cleanup = ways
        return Plan(workflow=program.workflow.id, inputs=inputs, way=way, cleanup=cleanup, cut=self.is_cut)

    # Bodies

    def lay_out(self, lane: Lane) -> Ways:
        """What is done in a body, and then in its `finally`."""
        way = self._list_way(lane, lane.first, frozenset())
        body, steps = lane.body, lane.body.program.cleanup
        if not body.has_finally or steps is None:
            return way, ()
        names = {**body.names, "run": {"outcome": Later("‹run.outcome›")}}
        inner = Body(path=finally_path(body.path), program=body.program, steps=steps, names=names, outer=body)
        known: Known = {one.id: name_later(one.id) for one in body.steps.steps}
        known |= {name: view for name, view in lane.known.items() if name not in lane.before}
        return way, self._list_way(Lane(inner, inner.first, known, "finally"), inner.first, frozenset())

    def take_up(self, body: Body, ends: Of) -> Ways:
        """The same of a body that has begun, from where it stands."""
        assert self.scene is not None
        run, cursor = self.scene.run, self.scene.run.cursors[body.path]
        if cursor.ending is not None:
            return (), self.take_up(enter_finally(self.scene, body), "finally")[0]
        seen, path = StepsSeen(run, body), current_path(run, body.path)
        known: Known = {name: seen[name] for name in seen}
        if path is None:
            return self.lay_out(Lane(body, body.first, known, ends))
        step, record = body.steps.find(str(cursor.step)), run.steps[path]
        if isinstance(record, Active):
            return self.lay_out(Lane(body, step, known, ends, record))
        assert not isinstance(record, Cancelled), "of a run that goes on"
        following = None if isinstance(step, End) else body.find_successor(step, record)
        return self.lay_out(Lane(body, following, known, ends))

    def _list_way(self, lane: Lane, step: AnyStep | None, below: Set[str]) -> tuple[Item, ...]:
        """What comes from *step* on. below: the steps that are told once this is."""
        items: list[Item] = []
        while step is not None:
            if step.id in below or step.id in lane.shown:
                return (*items, Jump(goto=step.id, shown="below" if step.id in below else "above"))
            if self.left == 0:
                self.is_cut = True
                return tuple(items)
            self.left -= 1
            lane.shown.add(step.id)
            told, turn = self._tell(lane, step, below)
            items += told
            if turn is None:
                return tuple(items)
            step = turn.to
        return (*items, _end(lane))

    # Steps

    def _tell(self, lane: Lane, step: AnyStep, below: Set[str]) -> tuple[list[Item], Turn | None]:
        """*step*, and the way on that is told below it, if one is."""
        outlook = lane.look_ahead(step)
        at = lane.at if step is lane.first else None
        does, limits, bodies, fault = self._describe(lane, step, at, outlook)
        late = [
            t.to for t in outlook.turns if t.why == "times_out" and t.caught
        ]  # a wait fails of that alone
        turns = [
            t
            for t in outlook.turns
            if (t.why in _FAULTS if fault is not None else t.why != "fails" or t.to not in late)
        ]
        usual = [t for t in turns if t.caught and (fault is not None or t.why not in _MISHAPS)]
        main = _choose(lane, usual)
        onward = None if main is None or main.to is None else main.to.id
        alike = {t.why for t in turns if _leads_to(t, main)}
        unsaid = {None, "skipped", *(["fails"] if None in alike or len(usual) == 1 else [])}
        told = [t for t in turns if t.why not in unsaid or not _leads_to(t, main)]
        ahead = lane.find_ahead(onward, lane.shown) if told and onward is not None else []
        arms = tuple(self._make_arm(lane, t, {*below, *ahead}) for t in told)
        if isinstance(does, Ending) and outlook.runs is True and fault is None:
            return [does], None
        condition = lane.body.program.step(step.id).condition
        item = Step(
            step=step.id,
            kind=str(step.__struct_config__.tag),
            name=step.name,
            runs=True if at is not None else outlook.runs,
            condition=None if condition is None or condition.root == Constant(True) else condition.text,
            now=None if at is None else _name_state(at),
            fails=fault,
            does=does,
            limits=None if limits == Limits() else limits,
            goes_on=fault is None and "fails" in alike & unsaid,
            bodies=bodies,
            arms=arms,
        )
        if main is None or (onward in below and alike & _CHOSEN):
            return [item, *([_fail(lane)] if fault is not None and not arms else [])], None
        return [item], main

    def _make_arm(self, lane: Lane, turn: Turn, below: Set[str]) -> Arm:
        way = self._list_way(lane, turn.to, below) if turn.caught else (_fail(lane),)
        return Arm(why=turn.why or "done", when=turn.when, sure=turn.sure, way=way)

    def _describe(self, lane: Lane, step: AnyStep, at: Active | None, outlook: Outlook) -> Doing:
        """What *step* does, and why it surely fails, if it does."""
        if outlook.runs is False or outlook.fault is not None:
            return Doing(fault=outlook.fault)
        compiled, scope = lane.body.program.step(step.id), lane.scope(step)
        try:
            if isinstance(step, End):
                result = UNSET if step.result is UNSET else show(fill(compiled.read("result"), scope))
                return Doing(Ending(ends=lane.ends, status="completed", step=step.id, result=result))
            if isinstance(step, Foreach | Parallel | Call):
                return self._open(lane, step, compiled, at, scope)
            return Doing(describe(compiled, scope), list_limits(compiled, scope))
        except CheckpointflowError as error:
            return Doing(fault=None if at is not None else str(error))

    # Blocks

    def _open(
        self,
        lane: Lane,
        step: Foreach | Parallel | Call,
        compiled: CompiledStep,
        at: Active | None,
        scope: dict[str, Any],
    ) -> Doing:
        """What the block *step* does, its bodies first those that have begun."""
        begun = tuple(self._list_begun(lane, step, at)) if isinstance(at, Opened) else ()
        if isinstance(step, Parallel):
            return Doing(bodies=begun or tuple(self._list_branches(lane, step)))
        if isinstance(step, Call):
            return Doing(bodies=begun or tuple(self._call(lane, step, compiled, scope, Shown(""))))
        if isinstance(at, Opened):
            items, first = at.items[at.begun :], at.begun
        else:
            items, first = _find_items(compiled, step, scope), 0
        loop = Loop(
            over=items.shown if isinstance(items, Later) else _name_items(step.items),
            count=None if isinstance(items, Later) else len(begun) + len(items),
            at_once=find_parameter(compiled, scope, "max_concurrency"),
            may_fail=step.max_failures if step.on_item_error == "continue" else 0,
        )
        bodies = (self._enter_item(lane, step, compiled, scope, n) for n in _list_shown(step, items, first))
        return Doing(loop, bodies=(*begun, *(inner for found in bodies for inner in found)))

    def _list_begun(self, lane: Lane, step: AnyStep, opened: Opened) -> Iterator[Inner]:
        assert self.scene is not None
        path = str(current_path(self.scene.run, lane.body.path))
        ends: Of = "branch" if isinstance(step, Parallel) else "item"
        for key in opened.open:
            body = enter(self.scene, lane.body, step, path, key)
            way, cleanup = self.take_up(body, "workflow" if body.outer is None else ends)
            name = key or str(self.scene.run.cursors[body.path].called or getattr(step, "workflow_ref", ""))
            yield Inner(name=name, item=body.names.get("item", UNSET), way=way, cleanup=cleanup)

    def _list_branches(self, lane: Lane, step: Parallel) -> Iterator[Inner]:
        for branch in step.branches:
            name = name_of(branch)
            own = branch.start_at is None
            body = Body(
                path=body_path(step.id, name),
                program=lane.body.program,
                steps=lane.body.program.inner_list(step.id, name) if own else lane.body.steps,
                names=lane.body.names,
                outer=lane.body,
                start_at=branch.start_at,
            )
            inner = Lane(body, body.first, lane.before[step.id], "branch")
            yield Inner(name=name, way=self.lay_out(inner)[0])

    def _enter_item(
        self, lane: Lane, step: Foreach, compiled: CompiledStep, scope: dict[str, Any], shown: Shown
    ) -> Iterator[Inner]:
        names = {"item": shown.item, "item_index": shown.index}
        if step.workflow_ref is not None:
            yield from self._call(lane, step, compiled, {**scope, **names}, shown)
            return
        body = Body(
            path=body_path(step_path(lane.body.path, step.id), shown.name),
            program=lane.body.program,
            steps=lane.body.program.inner_list(step.id),
            names={**lane.body.names, **names},
            outer=lane.body,
        )
        inner = Lane(body, body.first, lane.before[step.id], "item")
        yield Inner(name=shown.name, item=shown.told, way=self.lay_out(inner)[0])

    def _call(
        self, lane: Lane, step: Foreach | Call, compiled: CompiledStep, scope: dict[str, Any], shown: Shown
    ) -> Iterator[Inner]:
        """What a called workflow does: the one, or each of those that a value may choose."""
        chosen = fill(compiled.read("workflow_ref"), scope) if step.one_of else step.workflow_ref
        refs = step.one_of if is_later(chosen) else (str(chosen),)
        if step.one_of and refs[0] not in step.one_of:
            problem = f"workflow_ref: expected {join_words(step.one_of)}, and the value here is none of them"
            raise EvaluationError(problem, str(step.workflow_ref))
        given = fill(compiled.read("inputs"), scope)
        for ref in refs:
            program, name = lane.body.program.called[ref], ref if len(refs) > 1 else shown.name or ref
            try:
                inputs = program.inputs.complete(given) if is_later(given) else check_inputs(program, given)
            except CheckpointflowError as error:
                yield Inner(name=name, item=shown.told, fails=str(error))
                continue
            names = _make_names(program, inputs, self.env)
            path = body_path(step_path(lane.body.path, step.id), shown.name)
            body = Body(path=path, program=program, steps=program.root, names=names)
            way, cleanup = self.lay_out(Lane(body, body.first, {}, "workflow"))
            yield Inner(name=name, item=shown.told, way=way, cleanup=cleanup)


class Shown(NamedTuple):
    """A body of a foreach, or of a call: what it is called, and its item."""

    name: str
    item: Any = UNSET
    index: Any = UNSET
    told: Any = UNSET


def _list_shown(step: Foreach, items: list[Any] | Later, first: int) -> Iterator[Shown]:
    """Few known items each by itself; of others, what is done for each."""
    if isinstance(items, Later) or len(items) > MAX_ITEMS:
        yield Shown("each", name_later("item"), name_later("item_index"))
        return
    for index, item in enumerate(items, first):
        key, value = (str(index), item) if step.key is None else item
        yield Shown(key, value, index, show(value))


def _name_items(items: Any) -> str:
    return items.removeprefix("${").removesuffix("}").strip() if isinstance(items, str) else "a list"


def _find_items(compiled: CompiledStep, step: Foreach, scope: Mapping[str, Any]) -> list[Any] | Later:
    """The items as `engine.kinds` has them, as far as they are known. Raises EvaluationError."""
    read = compiled.read("items")
    value = find_value(read, scope) if isinstance(read, Expression) else fill(read, scope)
    if not is_later(value):
        return list_items(compiled, step, dict(scope))
    if isinstance(value, list) and step.key is None:
        return value
    return value if isinstance(value, Later) else Later(as_text(show(value)))


def _choose(lane: Lane, usual: list[Turn]) -> Turn | None:
    """The way on that is told below a step, not as one of its arms.

    That is the only one, or the step where arms meet, or the longest.
    """
    targets = {None if turn.to is None else turn.to.id: turn for turn in usual}
    if len(targets) < 2:
        return next(iter(targets.values()), None)
    ahead = {name: lane.find_ahead(name, lane.shown) for name in targets if name is not None}
    counts = Counter(name for names in ahead.values() for name in names)
    most = max(counts.values(), default=0)
    meeting = [name for name, count in counts.items() if count == most] if most > 1 else []
    found = meeting or [name for name, names in ahead.items() if len(names) > 1]
    longest = max(found, key=lambda name: len(lane.find_ahead(name, lane.shown)), default=None)
    return None if longest is None else Turn(lane.body.steps.find(longest), {})


def _leads_to(turn: Turn, main: Turn | None) -> bool:
    return turn.caught and main is not None and turn.to is main.to


def _fail(lane: Lane) -> Ending:
    return Ending(ends=lane.ends, status="failed")


def _end(lane: Lane) -> Ending:
    """The end of a list of steps, with what it yields."""
    body, result = lane.body, dict[str, Any]()
    scope = look_around(body, lane.at_end)
    for name, source in body.program.mapping if body.outer is None else ():
        with suppress(EvaluationError):  # the step did not run; `required` decides
            result[name] = show(find_value(source, scope)) if isinstance(source, Expression) else None
    return Ending(ends=lane.ends, status="completed", result=result or UNSET)


def _name_state(record: Active) -> Literal["waiting", "in_doubt", "under_way", "interrupted"]:
    match record:
        case Waiting(wait=wait):
            return "waiting" if wait.in_doubt is None else "in_doubt"
        case Started(on_hold=str()):
            return "interrupted"
        case _:
            return "under_way"
