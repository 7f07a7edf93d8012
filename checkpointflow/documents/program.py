"""The document, understood once.

A Program is a workflow with those that it calls, and all that their texts mean: every expression, template,
command and schema, the secrets of a step, whose output is read, and the lists of steps with their graphs.
Each is worked out when it is first asked for and remembered, so that a start pays only for what it comes to.
The checker asks for all of it and tells what is wrong; the engine asks for what it needs, and nobody reads a
text of the document a second time.

`fields.py` says where texts stand and which names each may use. A text that cannot be read is kept
as its ExpressionError, which the checker tells and which fails a step that comes to it all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, assert_never

import msgspec
from msgspec import structs

from checkpointflow.diagnostics import Diagnostic, Path
from checkpointflow.documents.fields import (
    ALWAYS,
    DEFAULTS,
    ITEM,
    PARTS_KEPT,
    SECRETS,
    Names,
    Reader,
    Use,
    find_parts_read,
    list_fields,
    list_holes,
    list_uses,
    may_name,
)
from checkpointflow.documents.graph import StepList, entries, list_steps
from checkpointflow.documents.model import AwaitEvent, Cli, Workflow, drop_mapping
from checkpointflow.documents.parts import Shell
from checkpointflow.errors import EvaluationError, ExpressionError
from checkpointflow.expressions.syntax import Expression, parse_condition, parse_path, references
from checkpointflow.expressions.templates import Template, compile_value, fill_value, holes, list_leaves
from checkpointflow.expressions.urls import UrlTemplate, parse_url
from checkpointflow.expressions.values import as_text
from checkpointflow.schemas.validation import Schema
from checkpointflow.shells.scripts import (
    CommandHole,
    CommandTemplate,
    find_demands,
    find_input_demands,
    find_part,
    join_commands,
    parse_command,
)

DEFAULT_SHELL: Shell = "sh"


class Program:
    """A workflow and, by the `workflow_ref` that names it, every workflow that it calls.

    env_file: the variables that its file of that name has.
    """

    def __init__(
        self,
        workflow: Workflow,
        called: dict[str, Program] | None = None,
        env_file: dict[str, str] | None = None,
    ) -> None:
        self.workflow = workflow
        self.called: dict[str, Program] = {} if called is None else called
        self.env_file = env_file or {}

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
    def cleanup(self) -> StepList | None:
        """The steps of its `finally`, if it has any."""
        return next((body for body in self.lists if body.main is not None), None)

    @cached_property
    def steps(self) -> list[CompiledStep]:
        """All its steps, list by list."""
        return [CompiledStep(self, body, index) for body in self.lists for index in range(len(body.steps))]

    @cached_property
    def _by_id(self) -> dict[str, CompiledStep]:
        return {compiled.step.id: compiled for compiled in reversed(self.steps)}

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
        said = self.workflow.invariants
        return [None if rule.unless is None else _read(parse_condition, rule.unless) for rule in said]

    @cached_property
    def default_cwd(self) -> Any:
        """The compiled `cwd` of the defaults, or None."""
        return compile_value(self.workflow.defaults.cwd)

    @cached_property
    def default_parameters(self) -> dict[Names, list[tuple[Path, Any]]]:
        """The compiled parameters of the defaults, each with its path there."""
        return {
            field.names: [(at, compile_value(v)) for at, v in entries(self.workflow.defaults, field.names)]
            for field in DEFAULTS
        }

    def parameters(self) -> Iterator[tuple[Path, Any]]:
        """What stands, compiled, where a number or a list of numbers is wanted, and where."""
        for found in self.default_parameters.values():
            yield from ((("workflow", "defaults", *path), read) for path, read in found)
        for compiled in self.steps:
            yield from compiled.parameters()

    @cached_property
    def default_env(self) -> dict[str, Any]:
        """The compiled `env` of the defaults."""
        env = self.workflow.defaults.env
        return compile_value({n: as_text(text) for n, text in env.items()})  # type: ignore[no-any-return]

    @cached_property
    def declared(self) -> tuple[str, ...]:
        """The environment variables that it declares, or something that it calls, sorted."""
        called = (program.declared for program in self.called.values())
        return tuple(sorted({*self.workflow.env}.union(*called)))

    @cached_property
    def parts_read(self) -> frozenset[tuple[str, str]]:
        """The steps of which some expression asks for one of PARTS_KEPT, each with that word."""
        found = self._uses(lambda part: may_name(part, *PARTS_KEPT))
        return frozenset(part for use in found for part in find_parts_read(use))

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
        if wanted(self.workflow.defaults):
            at: Path = ("workflow", "defaults")
            yield from list_uses((*at, "cwd"), self.default_cwd, ALWAYS, self.root, None)
            for found in self.default_parameters.values():
                for path, read in found:
                    yield from list_uses((*at, *path), read, ALWAYS, self.root, None)
            yield from list_uses((*at, "env"), self.default_env, ALWAYS | SECRETS, self.root, None)
        for compiled in self.steps:
            if wanted(compiled.step):
                yield from compiled.uses()
        for number, invariant in enumerate(self.workflow.invariants):
            if invariant.unless is not None and wanted(invariant):
                body = self.find_list(invariant.never or "") or self.root
                names = ALWAYS | (ITEM if body.in_foreach else frozenset())
                at = ("workflow", "invariants", number, "unless")
                yield from list_uses(at, self.invariants[number], names, body, None)
        for name, read in self.mapping:
            at = ("workflow", "outputs", "properties", name, "from")
            yield from list_uses(at, read, ALWAYS, self.root, None)


class CompiledStep:
    """A step, which stands in *body*, and what its texts mean."""

    def __init__(self, program: Program, body: StepList, index: int) -> None:
        self.program = program
        self.body = body
        self.index = index
        self.step = body.steps[index]
        self._fields: dict[Names, list[tuple[Path, Any]]] = {}
        self.demands: dict[str, CommandHole] = {}  # of variables in `env`, once that is read
        self.input_demands: list[CommandHole] = []  # of what is in `stdin`, as well

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

    def resolve(self, *names: str, scope: Mapping[str, Any]) -> Any:
        """The parameter that is called so, its own or of the defaults; None if neither is there.

        A hole is filled in from *scope*, in which nothing changes during a visit, so that each attempt comes
        to the same. Raises EvaluationError, also for what no literal might be there.
        """
        is_own = getattr(self.step, names[0], None) is not None
        value: Any = self.step if is_own else self.program.workflow.defaults
        for name in names:
            value = getattr(value, name, None)
        if not isinstance(value, str) and not (
            isinstance(value, tuple) and any(isinstance(v, str) for v in value)
        ):
            return value
        found = self._compile(names) if is_own else self.program.default_parameters[names]
        reads = [_require_sound(read) for _, read in found]
        filled = fill_value(reads if isinstance(value, tuple) else reads[0], scope)
        kind = list_fields(type(self.step))[names].fits
        try:
            return msgspec.convert(filled, kind)
        except msgspec.ValidationError:
            from checkpointflow.documents.decoding import find_misfit  # late: it brings YAML

            first = next(hole for read in reads for hole, _ in list_holes(read))
            why = f"{'.'.join(names)}: {find_misfit(filled, kind, names[-1])}"
            raise EvaluationError(why, first.text) from None

    def parameters(self) -> Iterator[tuple[Path, Any]]:
        """As those of a Program."""
        for field in list_fields(type(self.step)).values():
            if field.fits is not None:
                yield from (((*self.path, *path), read) for path, read in self._compile(field.names))

    def try_read_all(self, *names: str) -> list[Any]:
        """As `read_all`, and None for a text that cannot be read."""
        found = (read for _, read in self._compile(names))
        return [None if isinstance(read, ExpressionError) else read for read in found]

    @cached_property
    def condition(self) -> Expression | None:
        """Its `if`."""
        return self.read("if")  # type: ignore[no-any-return]

    @cached_property
    def arms(self) -> list[tuple[Expression, str]]:
        """The conditions of its transitions or cases, each with the step that it leads to."""
        name = "transitions" if isinstance(self.step, AwaitEvent) else "cases"
        targets = (arm.next for arm in getattr(self.step, name))
        return list(zip(self.read_all(name, "when"), targets, strict=True))

    @cached_property
    def command(self) -> CommandTemplate:
        """Its command, as one for its shell."""
        return self.read("command")  # type: ignore[no-any-return]

    @cached_property
    def url(self) -> UrlTemplate:
        """Where it calls."""
        return self.read("url")  # type: ignore[no-any-return]

    @property
    def shell(self) -> Shell:
        """The shell that runs its command."""
        own = self.step.shell if isinstance(self.step, Cli) else None
        return own or self.program.workflow.defaults.shell or DEFAULT_SHELL

    @property
    def inherited_env(self) -> dict[str, Any]:
        """The compiled variables that its command has of the defaults, with those of their file."""
        own = self.step.env if isinstance(self.step, Cli) else None
        found = {} if own is None else {**self.program.env_file, **self.program.default_env}
        return {name: read for name, read in found.items() if name not in (own or ())}

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
        own = self.uses() if may_name(self.step, "secrets") else ()
        found = [use.expression for use in own if isinstance(use, Use)]
        inherited = list_leaves(self.inherited_env) if self.program.default_env else ()
        found += [expression for _, read in inherited for expression, _ in list_holes(read)]
        paths = (path for expression in found for path in references(expression))
        return tuple(sorted({str(path[1]) for path in paths if path[0] == "secrets" and len(path) > 1}))

    def keeps(self, part: str) -> bool:
        """Whether the document refers to its *part*, one of PARTS_KEPT."""
        return (self.step.id, part) in self.program.parts_read

    def uses(self) -> Iterator[Use | Diagnostic]:
        """Every expression of it, and every faulty text."""
        command = getattr(self.step, "command", "")
        for field in list_fields(type(self.step)).values():
            names = ALWAYS | field.also | (ITEM if self.body.in_foreach else frozenset())
            for inner, read in self._compile(field.names):
                path = (*self.path, *inner)
                for use in list_uses(path, read, names, self.body, self.index):
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
        known = {**self.inherited_env, **compiled}
        with_values = {name: holes(read)[0] for name, read in known.items() if isinstance(read, Template)}
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

    def _compile_stdin(self, stdin: Any) -> Any:
        """As any value; but what the command reads there may be code to it, or it makes code of it."""
        compiled = compile_value(stdin)
        values = [holes(leaf)[0] for _, leaf in list_leaves(compiled) if isinstance(leaf, Template)]
        command = self.try_read("command") or CommandTemplate(self.shell, ())
        for hole in find_input_demands(command, values[0]) if values else ():
            if hole.context.problem:
                return ExpressionError(hole.context.problem, hole.expression.text, 1, hole.context.hint)
            if hole.context.only != "anything":
                self.input_demands.append(hole)
        return compiled

    def _read_value(self, reader: Reader, value: Any) -> Any:
        match reader:
            case "condition":
                return _read(parse_condition, value)
            case "items":
                if isinstance(value, str):
                    return _read(parse_condition, value)
                return compile_value(value if isinstance(value, list) else msgspec.to_builtins(value))
            case "command":
                return _read(parse_command, value, self.shell)
            case "url":
                return _read(parse_url, value)
            case "env":
                return self._compile_env({name: as_text(text) for name, text in value.items()})
            case "stdin":
                return self._compile_stdin(value)
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
