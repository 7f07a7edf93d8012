"""The document, understood once.

A Program is a workflow with those that it calls, and all that their texts mean: every expression, template,
command and schema, the secrets of a step, whose stdout is read, and the lists of steps with their graphs.
Each is worked out when it is first asked for and remembered, so that a start pays only for what it comes to.
The checker asks for all of it and tells what is wrong; the engine asks for what it needs, and nobody reads a
text of the document a second time.

`fields.py` says where texts stand and which names each may use. A text that cannot be read is kept
as its ExpressionError, which the checker tells and which fails a step that comes to it all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, assert_never

import msgspec
from msgspec import Struct, structs

from checkpointflow.diagnostics import Diagnostic, Path
from checkpointflow.documents.fields import ALWAYS, ITEM, Names, Reader, list_fields
from checkpointflow.documents.graph import StepList, entries, list_steps
from checkpointflow.documents.model import AnyStep, AwaitEvent, Cli, Shell, Workflow, drop_mapping
from checkpointflow.errors import ExpressionError
from checkpointflow.expressions.evaluation import as_text
from checkpointflow.expressions.syntax import Expression, parse_condition, parse_path, references
from checkpointflow.expressions.templates import Template, compile_value, holes, list_leaves
from checkpointflow.expressions.urls import UrlTemplate, parse_url
from checkpointflow.schemas.validation import Schema
from checkpointflow.shells.scripts import (
    CommandHole,
    CommandTemplate,
    command_holes,
    find_demands,
    find_part,
    join_commands,
    parse_command,
)

DEFAULT_SHELL: Shell = "sh"


class Use(Struct, frozen=True):
    """An expression in a document. number: its step's in *body*, None for what is no step's.

    field: the first part of where it stands in its step; hole: of a command.
    """

    path: Path
    expression: Expression
    names: frozenset[str]
    body: StepList
    number: int | None
    field: str
    hole: CommandHole | None = None

    @property
    def step(self) -> AnyStep | None:
        """The step that it is of."""
        return None if self.number is None else self.body.steps[self.number]


class Program:
    """A workflow and, by the `workflow_ref` that names it, every workflow that it calls."""

    def __init__(self, workflow: Workflow, called: dict[str, Program] | None = None) -> None:
        self.workflow = workflow
        self.called: dict[str, Program] = {} if called is None else called

    # Its steps

    @cached_property
    def lists(self) -> list[StepList]:
        """All lists of steps, each before those inside of it."""
        return list(list_steps(self.workflow))

    @property
    def root(self) -> StepList:
        """The steps of the workflow itself."""
        return self.lists[0]

    @cached_property
    def steps(self) -> list[CompiledStep]:
        """All its steps, list by list."""
        return [CompiledStep(self, body, index) for body in self.lists for index in range(len(body.steps))]

    @cached_property
    def _by_id(self) -> dict[str, CompiledStep]:
        found: dict[str, CompiledStep] = {}
        for compiled in self.steps:
            found.setdefault(compiled.step.id, compiled)
        return found

    def step(self, step_id: str) -> CompiledStep:
        """What is understood of the step called *step_id*; of equal ones the first. Raises KeyError."""
        return self._by_id[step_id]

    def find_list(self, step_id: str) -> StepList | None:
        """The list that the step called *step_id* stands in, if there is such a step."""
        compiled = self._by_id.get(step_id)
        return None if compiled is None else compiled.body

    @cached_property
    def _inner_lists(self) -> dict[tuple[str, str], StepList]:
        found = ((steps.outer, steps) for steps in self.lists)
        return {(outer.steps[steps.at].id, steps.branch): steps for outer, steps in found if outer}

    def inner_list(self, step_id: str, branch: str = "") -> StepList:
        """The steps of the body of the foreach *step_id*, or of its *branch* if it is a parallel."""
        return self._inner_lists[step_id, branch]

    # What stands outside of its steps

    @cached_property
    def inputs(self) -> Schema:
        """What the run's inputs must fit."""
        return Schema(self.workflow.inputs)

    @cached_property
    def result(self) -> Schema | None:
        """What the mapped outputs must fit, if there are any."""
        return None if self.workflow.outputs is None else Schema(drop_mapping(self.workflow.outputs))

    @cached_property
    def mapping(self) -> list[tuple[str, Expression | ExpressionError]]:
        """Each property of the mapped outputs, and the path that its value comes from."""
        properties = (self.workflow.outputs or {}).get("properties")
        return [
            (name, _read(parse_path, entry["from"]))
            for name, entry in (properties.items() if isinstance(properties, dict) else ())
            if isinstance(entry, dict) and isinstance(entry.get("from"), str)
        ]

    @cached_property
    def invariants(self) -> list[Expression | ExpressionError | None]:
        """Of each invariant, its compiled `unless`."""
        conditions = (invariant.unless for invariant in self.workflow.invariants)
        return [None if unless is None else _read(parse_condition, unless) for unless in conditions]

    @cached_property
    def default_cwd(self) -> Any:
        """The compiled `cwd` of the defaults, or None."""
        return compile_value(self.workflow.defaults.cwd)

    @cached_property
    def parts_read(self) -> frozenset[tuple[str, str]]:
        """The steps of which some expression asks for `stdout` or `headers`, each with that word."""
        found = self._uses(lambda part: may_name(part, "stdout", "headers"))
        return frozenset(part for use in found for part in _find_parts_read(use))

    def uses(self) -> Iterator[Use | Diagnostic]:
        """Every expression of the document, and what is wrong with each text that is a faulty one."""
        return self._uses(lambda _: True)

    def schemas(self) -> Iterator[tuple[Path, Schema]]:
        """Every schema that its author wrote, and where."""
        yield ("workflow", "inputs"), self.inputs
        if self.result is not None:
            yield ("workflow", "outputs"), self.result
        for compiled in self.steps:
            awaits = isinstance(compiled.step, AwaitEvent)
            schema = compiled.input_schema if awaits else compiled.outputs
            if schema is not None:
                yield (*compiled.path, "input_schema" if awaits else "outputs"), schema

    def _uses(self, wanted: Callable[[msgspec.Struct], bool]) -> Iterator[Use | Diagnostic]:
        """The same of the steps, and of the defaults, that are *wanted*, unread until then."""
        at: Path = ("workflow", "defaults", "cwd")
        if wanted(self.workflow.defaults):
            yield from _list_uses(at, self.default_cwd, ALWAYS, self.root, None)
        for compiled in self.steps:
            if wanted(compiled.step):
                yield from compiled.uses()
        for number, (invariant, read) in enumerate(
            zip(self.workflow.invariants, self.invariants, strict=True)
        ):
            at = ("workflow", "invariants", number, "unless")
            body = self.find_list(invariant.never or "") or self.root
            names = ALWAYS | (ITEM if body.in_foreach else frozenset())
            if read is not None and wanted(invariant):
                yield from _list_uses(at, read, names, body, None)
        properties = ("workflow", "outputs", "properties")
        for name, read in self.mapping:
            yield from _list_uses((*properties, name, "from"), read, ALWAYS, self.root, None)


class CompiledStep:
    """A step, which stands in *body*, and what its texts mean."""

    def __init__(self, program: Program, body: StepList, index: int) -> None:
        self.program = program
        self.body = body
        self.index = index
        self.step = body.steps[index]
        self._fields: dict[Names, list[tuple[Path, Any]]] = {}
        self.demands: dict[str, CommandHole] = {}  # of variables in `env`, once that is read

    @property
    def path(self) -> Path:
        """Where it stands in the document."""
        return self.body.path_of(self.index)

    def read(self, *names: str) -> Any:
        """The compiled field; None if the step has none. Raises ExpressionError."""
        found = self._compile(names)
        return _require_sound(found[0][1]) if found else None

    def try_read(self, *names: str) -> Any:
        """As `read`, and None for a text that cannot be read."""
        found = self._compile(names)
        return None if not found or isinstance(found[0][1], ExpressionError) else found[0][1]

    def read_all(self, *names: str) -> list[Any]:
        """The compiled field of each item of a list, such as artifacts' paths. Raises ExpressionError."""
        return [_require_sound(read) for _, read in self._compile(names)]

    @cached_property
    def condition(self) -> Expression | None:
        """Its `if`."""
        return self.read("if")  # type: ignore[no-any-return]

    @cached_property
    def arms(self) -> list[tuple[Expression, str]]:
        """The conditions of its transitions or cases, each with the step that it leads to."""
        name = "transitions" if isinstance(self.step, AwaitEvent) else "cases"
        conditions = self.read_all(name, "when")
        return list(zip(conditions, (arm.next for arm in getattr(self.step, name)), strict=True))

    @cached_property
    def command(self) -> CommandTemplate:
        """Its command, as one for its shell."""
        return self.read("command")  # type: ignore[no-any-return]

    @cached_property
    def url(self) -> UrlTemplate:
        """Where it calls."""
        url: UrlTemplate = self.read("url")
        return url

    @property
    def shell(self) -> Shell:
        """The shell that runs its command."""
        own = self.step.shell if isinstance(self.step, Cli) else None
        return own or self.program.workflow.defaults.shell or DEFAULT_SHELL

    @cached_property
    def outputs(self) -> Schema | None:
        """What its outputs must fit, if it says so."""
        schema = getattr(self.step, "outputs", None)
        return None if schema is None else Schema(schema)

    @cached_property
    def input_schema(self) -> Schema:
        """What the event that it waits for must fit."""
        assert isinstance(self.step, AwaitEvent)
        return Schema(self.step.input_schema)

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """The names of the secrets that it refers to, sorted."""
        if not may_name(self.step, "secrets"):
            return ()
        found = (use for use in self.uses() if isinstance(use, Use))
        paths = (path for use in found for path in references(use.expression))
        return tuple(sorted({str(path[1]) for path in paths if path[0] == "secrets" and len(path) > 1}))

    @property
    def keeps_stdout(self) -> bool:
        """Whether the document refers to what it printed."""
        return (self.step.id, "stdout") in self.program.parts_read

    @property
    def keeps_headers(self) -> bool:
        """Whether the document refers to the headers of its answer."""
        return (self.step.id, "headers") in self.program.parts_read

    def uses(self) -> Iterator[Use | Diagnostic]:
        """Every expression of it, and every faulty text."""
        command = getattr(self.step, "command", "")
        for field in list_fields(type(self.step)).values():
            names = ALWAYS | field.also | (ITEM if self.body.in_foreach else frozenset())
            for inner, read in self._compile(field.names):
                path = (*self.path, *inner)
                for use in _list_uses(path, read, names, self.body, self.index):
                    if isinstance(use, Use) and use.hole and isinstance(command, tuple) and len(inner) == 1:
                        use = structs.replace(
                            use, path=(*path, find_part(command, self.shell, use.hole.start))
                        )
                    yield use

    def _compile(self, names: Names) -> list[tuple[Path, Any]]:
        """What stands under *names*, for each item where a list is on the way, compiled, with its path."""
        field = list_fields(type(self.step)).get(names)
        if field is not None and names not in self._fields:
            if field.reader == "command" and isinstance(self.step, Cli):
                found = self._compile_command(self.step.command)
            else:
                found = [(path, self._read_value(field.reader, v)) for path, v in entries(self.step, names)]
            self._fields[names] = found
        return self._fields.get(names, [])

    def _compile_command(self, command: str | tuple[str, ...]) -> list[tuple[Path, Any]]:
        """A list is one command; but if parts of it cannot be read alone, they are told, each by its path."""
        if isinstance(command, str):
            return [(("command",), self._read_value("command", command))]
        parts = [(("command", i), self._read_value("command", part)) for i, part in enumerate(command)]
        parts.sort(key=lambda part: not isinstance(part[1], ExpressionError))
        if isinstance(parts[0][1], ExpressionError):
            return list(parts)
        return [(("command",), self._read_value("command", join_commands(command, self.shell)))]

    def _compile_env(self, env: dict[str, str]) -> dict[str, Any]:
        """As any text; but what some variables hold is code, or the command makes code of it."""
        compiled: dict[str, Any] = compile_value(env)
        with_values = {name: holes(read)[0] for name, read in compiled.items() if isinstance(read, Template)}
        if not with_values:  # as most: to judge them the whole command is read
            return compiled
        command = self.try_read("command") or CommandTemplate(self.shell, ())
        for name, hole in zip(with_values, find_demands(command, with_values), strict=True):
            problem, hint = hole.context.problem, hole.context.hint
            if problem:
                compiled[name] = ExpressionError(problem, hole.expression.text, 1, hint)
            elif hole.context.only != "anything":
                self.demands[name] = hole
        return compiled

    def _read_value(self, reader: Reader, value: Any) -> Any:
        match reader:
            case "condition":
                return _read(parse_condition, value)
            case "items":
                return _read(parse_condition, value) if isinstance(value, str) else compile_value(value)
            case "command":
                return _read(parse_command, value, self.shell)
            case "url":
                return _read(parse_url, value)
            case "env":
                return self._compile_env({name: as_text(text) for name, text in value.items()})
            case "value":
                return compile_value(value)
            case _:
                assert_never(reader)


def _read(parse: Any, *given: Any) -> Any:
    """What *parse* makes of it, or the ExpressionError that it raises."""
    try:
        return parse(*given)
    except ExpressionError as error:
        return error


def _require_sound(read: Any) -> Any:
    if isinstance(read, ExpressionError):
        raise read
    return read


def _list_uses(
    path: Path, read: Any, names: frozenset[str], steps: StepList, index: int | None
) -> Iterator[Use | Diagnostic]:
    """The expressions in what was *read* at *path*, and its faults."""
    field = str(path[len(steps.path) + 1] if index is not None else path[1])
    for inner, found in list_leaves(read):
        at = (*path, *inner)
        if isinstance(found, ExpressionError):
            offset = found.column - 1
            yield Diagnostic(found.problem, at, found.hint, quotes=(found.text,), offset=offset)
        else:
            for expression, hole in _list_holes(found):
                yield Use(at, expression, names, steps, index, field, hole)


def _list_holes(read: Any) -> list[tuple[Expression, CommandHole | None]]:
    """The expressions of a text that was *read*; none for what has no holes."""
    match read:
        case Expression():
            return [(read, None)]
        case CommandTemplate():
            return [(hole.expression, hole) for hole in command_holes(read)]
        case UrlTemplate(template=template) | (Template() as template):
            return [(expression, None) for expression in holes(template)]
    return []


def _find_parts_read(use: Use | Diagnostic) -> Iterator[tuple[str, str]]:
    for path in references(use.expression) if isinstance(use, Use) else ():
        if path[0] == "steps" and len(path) > 2 and path[2] in ("stdout", "headers"):
            yield str(path[1]), str(path[2])


def may_name(part: msgspec.Struct, *words: str) -> bool:
    """Whether an expression in *part* may name any of *words*: only such parts are read to find out."""
    text = msgspec.json.encode(part).decode()
    return any(word in text for word in (*words, "\\u"))  # an escape may hide it
