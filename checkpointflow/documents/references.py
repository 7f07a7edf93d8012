"""Where a workflow's texts refer to its data, and which names each of them may use.

One table says it for all fields of all kinds of step; whoever checks references goes by `uses`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from checkpointflow.diagnostics import Diagnostic, Path, did_you_mean, listed, shorten
from checkpointflow.documents.graph import Body, entries
from checkpointflow.documents.model import (
    AnyStep,
    Api,
    AwaitEvent,
    Call,
    Cli,
    Foreach,
    Shell,
    Workflow,
    result_schema,
)
from checkpointflow.documents.yaml import Mark, Source
from checkpointflow.errors import ExpressionError
from checkpointflow.expressions import syntax as expressions
from checkpointflow.expressions import templates
from checkpointflow.expressions.syntax import Expression, Reference, references
from checkpointflow.shells import scripts
from checkpointflow.shells.contexts import CODE_VARIABLES, OTHER_NAME, RUNS_VARIABLE
from checkpointflow.shells.scripts import CommandHole

ALWAYS = frozenset({"inputs", "steps", "run"})
ITEM = frozenset({"item", "item_index"})
_EVENT = frozenset({"event"})
_SECRETS = frozenset({"secrets"})


class Use(NamedTuple):
    """An expression in a document. number: its step's in *body*, None for what is no step's.

    field: the first part of where it stands in its step; hole: of a command.
    """

    path: Path
    expression: Expression
    names: frozenset[str]
    body: Body
    number: int | None
    field: str
    hole: CommandHole | None = None

    @property
    def step(self) -> AnyStep | None:
        return None if self.number is None else self.body.steps[self.number]


class Fault(NamedTuple):
    """A text at *path* that is not what it should be."""

    path: Path
    error: ExpressionError


_Parsed = Iterator[tuple[Path, list[tuple[Expression, CommandHole | None]] | ExpressionError]]


def _texts(value: Any, shell: Shell) -> _Parsed:  # noqa: ARG001
    for path, text in templates.texts_in(value):
        try:
            yield path, [(hole, None) for hole in templates.holes(templates.parse_template(text))]
        except ExpressionError as error:
            yield path, error


def _env(value: Any, shell: Shell) -> _Parsed:
    """As `_texts`; but a shell runs what some variables hold."""
    for path, found in _texts(value, shell):
        if isinstance(found, list) and found and path[0] in CODE_VARIABLES:
            problem = f"no value can stand here: {RUNS_VARIABLE.format(path[0])}"
            yield path, ExpressionError(problem, found[0][0].text, 1, OTHER_NAME)
        else:
            yield path, found


def _command(value: Any, shell: Shell) -> _Parsed:
    try:
        parts = scripts.command_holes(scripts.parse_command(value, shell))
        yield (), [(hole.expression, hole) for hole in parts]
    except ExpressionError as error:
        yield (), error


def _condition(value: Any, shell: Shell) -> _Parsed:  # noqa: ARG001
    try:
        yield (), [(expressions.parse_condition(value), None)]
    except ExpressionError as error:
        yield (), error


def _items(value: Any, shell: Shell) -> _Parsed:
    return _condition(value, shell) if isinstance(value, str) else _texts(value, shell)


class _Field(NamedTuple):
    names: tuple[str, ...]
    parse: Callable[[Any, Shell], _Parsed]
    also: frozenset[str] = frozenset()
    of: type | None = None  # only for this kind of step, where others have the name for something else


_FIELDS = (
    _Field(("if",), _condition),
    _Field(("command",), _command, _SECRETS),
    _Field(("env",), _env, _SECRETS),
    _Field(("cwd",), _texts),
    _Field(("url",), _texts, _SECRETS),
    _Field(("headers",), _texts, _SECRETS),
    _Field(("body",), _texts, _SECRETS, of=Api),
    _Field(("prompt",), _texts),
    _Field(("summary",), _texts),
    _Field(("instructions",), _texts),
    _Field(("idempotency_key",), _texts),
    _Field(("lock", "key"), _texts),
    _Field(("artifacts", "path"), _texts),
    _Field(("items",), _items),
    _Field(("inputs",), _texts, ITEM, of=Foreach),
    _Field(("inputs",), _texts, of=Call),
    _Field(("result",), _texts),
    _Field(("transitions", "when"), _condition, _EVENT),
    _Field(("cases", "when"), _condition),
)


def uses(workflow: Workflow, lists: list[Body]) -> Iterator[Use | Fault]:
    """Every expression in *workflow*, whose steps are *lists*, and every text that is a faulty one."""
    root = lists[0]
    at = ("workflow", "defaults", "cwd")
    yield from _uses(_texts(workflow.defaults.cwd or "", "sh"), at, ALWAYS, root, None)
    for body in lists:
        for index, step in enumerate(body.steps):
            shell = step.shell if isinstance(step, Cli) else None
            shell = shell or workflow.defaults.shell or "sh"
            yield from _uses_in_step(body, index, step, shell)
    yield from _uses_in_outputs(workflow, root)


def _uses_in_step(body: Body, index: int, step: AnyStep, shell: Shell) -> Iterator[Use | Fault]:
    for field in _FIELDS:
        if not isinstance(step, field.of or object):
            continue
        names = ALWAYS | field.also | (ITEM if body.in_foreach else frozenset())
        for inner, value in entries(step, field.names):
            path = (*body.path_of(index), *inner)
            yield from _uses(field.parse(value, shell), path, names, body, index)


def _uses(
    parsed: _Parsed, path: Path, names: frozenset[str], body: Body, index: int | None
) -> Iterator[Use | Fault]:
    field = path[len(body.path) + 1] if index is not None else path[1]
    for inner, found in parsed:
        at = (*path, *inner)
        if isinstance(found, ExpressionError):
            yield Fault(at, found)
            continue
        for expression, hole in found:
            yield Use(at, expression, names, body, index, str(field), hole)


def _uses_in_outputs(workflow: Workflow, root: Body) -> Iterator[Use | Fault]:
    properties = (workflow.outputs or {}).get("properties")
    for name, schema in properties.items() if isinstance(properties, dict) else ():
        path = ("workflow", "outputs", "properties", name, "from")
        if isinstance(schema, dict) and isinstance(schema.get("from"), str):
            try:
                yield Use(path, expressions.parse_path(schema["from"]), ALWAYS, root, None, "outputs")
            except ExpressionError as error:
                yield Fault(path, error)


# Whether what is referred to can be there


class _Wrong(NamedTuple):
    """length: how many parts of the reference, the last one being at fault."""

    message: str
    hint: str | None
    length: int


def wrong_references(
    workflow: Workflow, lists: list[Body], source: Source, found: list[Use | Fault]
) -> Iterator[Diagnostic]:
    """What *found* has of malformed texts, and of references to what can never be there."""
    home = {step.id: body for body in lists for step in body.steps}
    for use in found:
        if isinstance(use, Fault):
            error = use.error
            mark = source.find(use.path, error.text, error.column)
            yield source.problem(error.problem, use.path, hint=error.hint, at=mark)
            continue
        for reference in references(use.expression):
            wrong = _wrong_reference(reference, use, workflow, home)
            if wrong:
                mark = place_of(use, reference[: wrong.length], source)
                yield source.problem(wrong.message, use.path, hint=wrong.hint, at=mark)


def place_of(use: Use, reference: Path, source: Source) -> Mark | None:
    """Where *reference*, or at least the expression that it is part of, stands in the file."""
    spelled = ".".join(map(str, reference))
    return source.find(use.path, spelled) or source.find(use.path, use.expression.text)


def _wrong_reference(
    reference: Path, use: Use, workflow: Workflow, home: Mapping[str, Body]
) -> _Wrong | None:
    first, *rest = reference
    if first not in use.names:
        return _Wrong(f"there is no `{first}` here", _ONLY[str(first)], 1)
    match first:
        case "steps":
            return _wrong_step(tuple(rest), use, home)
        case "inputs":
            lack = lacking(workflow.inputs, tuple(rest), unsaid_is_closed=True)
            return _lacks(reference, lack, 1, "declare it under `inputs`")
        case "event":
            lack = lacking(getattr(use.step, "input_schema", None), tuple(rest), unsaid_is_closed=False)
            return _lacks(reference, lack, 1, "declare it in `input_schema`")
        case "run" if rest != ["id"]:
            return _Wrong("of `run` there is only `run.id`", None, 2)
        case "secrets" if not rest:
            return _Wrong("`secrets` needs a name, as in secrets.TOKEN", None, 1)
        case "secrets" if use.hole is not None and use.hole.raw:
            return _Wrong("a secret cannot be spliced in by raw:", "leave raw: out", 2)
        case "secrets" if not isinstance(use.expression.root, Reference):
            return _Wrong("a secret can only be handed over: nothing can be asked of it", _ALONE, 2)
    return None


_ONLY = {
    "event": "`event` is there in the transitions of an await_event; later it is its step's outputs",
    "item": "`item` is there inside of a foreach",
    "item_index": "`item_index` is there inside of a foreach",
    "secrets": "`secrets` may stand in command, env, url, headers and body",
}
_ALONE = "let it stand alone, as in ${secrets.TOKEN}"
_PARTS = ("outputs", "exit_code", "error", "stdout", "status_code", "artifacts")


def _wrong_step(rest: Path, use: Use, home: Mapping[str, Body]) -> _Wrong | None:
    name = rest[0] if rest else None
    if not isinstance(name, str):
        return _Wrong("`steps` needs the id of a step, as in steps.plan.outputs.url", None, 1)
    parts = rest[1:]
    seen = next((body for body, _ in use.body.around() if name in body.index), None)
    if seen is None:
        return _unseen(name, use, home)
    if not parts or parts[0] not in _PARTS:
        hint = did_you_mean(str(parts[0]), _PARTS) if parts else None
        hint = hint or f"as in steps.{name}.outputs"
        known = listed(_PARTS)
        return _Wrong(f'of the step "{name}" one can have its {known}', hint, 2 + len(parts[:1]))
    if parts[0] != "outputs":
        return None
    schema = schema_of_outputs(seen.steps[seen.index[name]])
    lack = lacking(schema, parts[1:], unsaid_is_closed=False)
    return _lacks(("steps", *rest), lack, 3, "the schema of its outputs allows no others")


def _unseen(name: str, use: Use, home: Mapping[str, Body]) -> _Wrong:
    if name not in home:
        seen = [known for body, _ in use.body.around() for known in body.index]
        return _Wrong(f'there is no step "{shorten(name)}"', did_you_mean(name, seen), 2)
    seen_lists = [body for body, _ in use.body.around()]
    around = home[name].around()
    owner = next(body.steps[at].id for body, at in around if at is not None and body in seen_lists)
    hint = f"what it puts out becomes part of steps.{owner}.outputs"
    return _Wrong(f'the step "{name}" cannot be seen from here: it stands inside of "{owner}"', hint, 2)


def _lacks(
    reference: Path, lack: tuple[int, Mapping[str, Any]] | None, start: int, otherwise: str
) -> _Wrong | None:
    if lack is None:
        return None
    depth, properties = lack
    length = start + depth
    part = str(reference[length])
    hint = did_you_mean(part, properties) or otherwise
    above = shorten(".".join(map(str, reference[:length])))
    return _Wrong(f'{above} has no "{shorten(part)}"', hint, length + 1)


# What a schema says of the values that may be there

_OPEN = {"patternProperties", "unevaluatedProperties", "dependentSchemas", "$ref", "$dynamicRef"}
_OPEN |= {"allOf", "anyOf", "oneOf", "if", "then", "else"}


def lacking(schema: Any, parts: Path, *, unsaid_is_closed: bool) -> tuple[int, Mapping[str, Any]] | None:
    """Which of *parts*, followed from the top of *schema*, no value that fits can have; None if unsure.

    unsaid_is_closed: whether properties that are not listed are taken not to be there where
    `additionalProperties` says nothing of them. The second value is the properties that there are.
    """
    for depth, part in enumerate(parts):
        properties = schema.get("properties") if isinstance(schema, dict) else None
        if not isinstance(properties, dict) or not isinstance(part, str) or _OPEN & schema.keys():
            return None
        if part not in properties:
            closed = schema.get("additionalProperties", not unsaid_is_closed) is False
            return (depth, properties) if closed else None
        schema = properties[part]
    return None


def schema_of_outputs(step: AnyStep) -> Any:
    """The schema that the outputs of *step* fit; for an event, its payload's."""
    if isinstance(step, AwaitEvent):
        return step.input_schema
    return getattr(step, "outputs", None)


def schema_of(reference: Path, use: Use, workflow: Workflow) -> Any:
    """The schema that the value of *reference* fits; True where nothing is known of it."""
    match reference:
        case ("inputs", *parts):
            schema: Any = workflow.inputs
        case ("steps", str() as name, "outputs", *parts):
            seen = next((body for body, _ in use.body.around() if name in body.index), None)
            schema = None if seen is None else schema_of_outputs(seen.steps[seen.index[name]])
        case ("item", *parts):
            schema = _schema_of_item(use, workflow)
        case ("run" | "item_index", *_) | ("steps", _, "exit_code" | "status_code" | "artifacts", *_):
            return {"not": {"type": "string"}}
        case _:
            return True
    for part in parts:
        properties = schema.get("properties") if isinstance(schema, dict) else None
        schema = properties.get(part) if isinstance(properties, dict) else None
    return True if schema is None else schema


def _schema_of_item(use: Use, workflow: Workflow) -> Any:
    """What is known of the item that *use*, inside of a foreach, refers to."""
    for inner, _ in use.body.around():
        body, step = inner.outer, inner.outer and inner.outer.steps[inner.at]
        if body is not None and isinstance(step, Foreach):
            return _schema_of_elements(step.items, use._replace(body=body), workflow)
    return None


def _schema_of_elements(items: Any, use: Use, workflow: Workflow) -> Any:
    if not isinstance(items, str):
        return None if any("${" in text for _, text in templates.texts_in(items)) else {"enum": items}
    try:
        root = expressions.parse_condition(items).root
    except ExpressionError:
        return None
    schema = schema_of(root.path, use, workflow) if isinstance(root, Reference) else None
    return schema.get("items") if isinstance(schema, dict) else None


def schemas(workflow: Workflow, lists: list[Body]) -> Iterator[tuple[Any, Path]]:
    """Every schema that the author of *workflow* wrote, and where."""
    yield workflow.inputs, ("workflow", "inputs")
    if workflow.outputs is not None:
        yield result_schema(workflow.outputs), ("workflow", "outputs")
    for body in lists:
        for index, step in enumerate(body.steps):
            schema = schema_of_outputs(step)
            if schema is not None:
                name = "input_schema" if isinstance(step, AwaitEvent) else "outputs"
                yield schema, (*body.path_of(index), name)
