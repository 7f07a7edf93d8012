"""A `*.test.yaml` -> a Fixture, with every complaint at its line, also of steps that are not there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from checkpointflow.diagnostics import Diagnostic, Path, suggest
from checkpointflow.documents.decoding import list_misfits
from checkpointflow.documents.model import AnyStep, Api, AwaitEvent, Cli
from checkpointflow.documents.program import Program
from checkpointflow.documents.yaml import Source, parse
from checkpointflow.errors import InvalidWorkflow
from checkpointflow.rehearse.fixtures import Case, Fixture, Play
from checkpointflow.rehearse.names import find_unknown, list_steps

_HINT = "what it comes to follows from its own steps: name those, by their ids or as {}"


def decode_fixture(data: bytes, file: str | None = None) -> tuple[Fixture, Source]:
    """The tests that *data* holds. Raises InvalidWorkflow with all that its structure has wrong."""
    source = parse(data, file)
    problems = source.problems
    if not problems:
        try:
            return msgspec.convert(source.value, Fixture), source
        except msgspec.ValidationError as error:
            problems = [source.locate(one) for one in list_misfits(source.value, Fixture, error)]
    raise InvalidWorkflow(problems)


def check_fixture(fixture: Fixture, source: Source, program: Program) -> list[Diagnostic]:
    """What is wrong with *fixture* as tests of *program*, in the order of the file."""
    checker, names, found = _Checker(list_steps(program)), set[str](), list[Diagnostic]()
    for number, case in enumerate(fixture.tests):
        wrong = [*checker.check(case)]
        if case.name in names:
            wrong.append(Diagnostic("another test has this name", ("name",)))
        names.add(case.name)
        found += [replace(one, path=("tests", number, *one.path)) for one in wrong]
    return source.locate_all(found)


class _Checker:
    """What is wrong with tests of a workflow with *steps*."""

    def __init__(self, steps: dict[str, list[AnyStep]]) -> None:
        self.steps = steps
        waits = [step for same in steps.values() for step in same if isinstance(step, AwaitEvent)]
        self.waits = {step.id for step in waits}
        self.events = {step.event_name for step in waits}

    def check(self, case: Case) -> Iterator[Diagnostic]:
        """All that is wrong with *case*."""
        for name, plays in case.steps.items():
            yield from self._check_plays(name, plays if isinstance(plays, tuple) else (plays,))
        for name in case.answers:
            yield from self._check_wait(name, ("answers", name))
        if case.cancel is not None:
            yield from self._check_name(case.cancel, ("cancel",), at_name=False)
        wanted = case.expect
        for field in ("path", "never"):
            for number, name in enumerate(getattr(wanted, field) or ()):
                yield from self._check_name(name, ("expect", field, number), at_name=False)
        for name in wanted.commands:
            yield from self._check_name(name, ("expect", "commands", name))
        if wanted.error is not None and wanted.error.step is not None:
            yield from self._check_name(wanted.error.step, ("expect", "error", "step"), at_name=False)
        if wanted.waiting_for is not None:
            yield from self._check_wait(wanted.waiting_for, ("expect", "waiting_for"), at_name=False)
        yield from _check_patterns(msgspec.to_builtins(wanted), ("expect",))

    def _check_name(self, name: str, path: Path, *, at_name: bool = True) -> Iterator[Diagnostic]:
        unknown = find_unknown(name, self.steps)
        if unknown is not None:
            yield _refuse("step", unknown, self.steps, path, at_name=at_name)

    def _check_wait(self, name: str, path: Path, *, at_name: bool = True) -> Iterator[Diagnostic]:
        """*name* is that of an event, or means a step that waits for one."""
        step = name.rpartition("/")[2].partition("@")[0]
        if name not in self.events and (find_unknown(name, self.steps) or step not in self.waits):
            yield _refuse(
                "event, and no step that waits,", name, self.events | self.waits, path, at_name=at_name
            )

    def _check_plays(self, name: str, plays: tuple[Play, ...]) -> Iterator[Diagnostic]:
        path: Path = ("steps", name)
        unknown = list(self._check_name(name, path))
        yield from unknown
        if unknown:
            return
        if not plays:
            yield Diagnostic("a list of what a step comes to must not be empty", path)
        of_name = self.steps[name.rpartition("/")[2].partition("@")[0]]
        acting = [step for step in of_name if isinstance(step, Cli | Api)]
        if not acting:
            yield _refuse_block(of_name[0], path)
        for play in plays if acting else ():
            yield from _check_play(play, acting, path)


def _refuse(what: str, name: str, known: Iterable[str], path: Path, *, at_name: bool) -> Diagnostic:
    return Diagnostic(f'there is no {what} "{name}"', path, suggest(name, known), at_name=at_name)


def _refuse_block(step: AnyStep, path: Path) -> Diagnostic:
    kind = str(step.__struct_config__.tag)
    inner = {"foreach": f"{step.id}[0]/…", "parallel": f"{step.id}[…]/…", "workflow": f"{step.id}/…"}
    hint = _HINT.format(inner[kind]) if kind in inner else None
    hint = "what is answered stands under `answers`" if isinstance(step, AwaitEvent) else hint
    message = f"{step.id} is {'an' if kind[0] in 'ae' else 'a'} {kind} step, and does nothing itself"
    return Diagnostic(message, path, hint, at_name=True)


def _check_play(play: Play, steps: Sequence[AnyStep], path: Path) -> Iterator[Diagnostic]:
    ways = [name for name in ("fails", "times_out", "real") if getattr(play, name)]
    if len(ways) > 1:
        yield Diagnostic(f"a step cannot be said to be both `{ways[0]}` and `{ways[1]}`", path)
    elif play.real and play != Play(real=True):
        yield Diagnostic("what a `real` step comes to cannot be said besides", path)
    for field, kind in (("exit_code", Cli), ("stderr", Cli), ("status_code", Api)):
        if getattr(play, field) is not None and not any(isinstance(step, kind) for step in steps):
            tag = "a cli" if kind is Cli else "an api"
            yield Diagnostic(f"`{field}` is for {tag} step", path)
    if play.outputs is not UNSET and not isinstance(play.outputs, dict) and not _may_be_any(steps):
        yield Diagnostic("outputs are a mapping, unless the step's `outputs` say otherwise", path)


def _may_be_any(steps: Sequence[AnyStep]) -> bool:
    return any(getattr(step, "outputs", None) is not None for step in steps)


def _check_patterns(value: Any, path: Path) -> Iterator[Diagnostic]:
    """What stands under `matches` in *value*, and is no regular expression."""
    if isinstance(value, dict) and value.keys() == {"matches"} and isinstance(value["matches"], str):
        try:
            re.compile(value["matches"])
        except re.error as error:
            yield Diagnostic(f"this is no regular expression: {error}", (*path, "matches"))
    elif isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _check_patterns(inner, (*path, name))
