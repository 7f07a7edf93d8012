"""Whether what a workflow's texts refer to can be there, and what is known of its value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from checkpointflow.diagnostics import Diagnostic, Path, join_words, shorten, suggest
from checkpointflow.documents.fields import Use
from checkpointflow.documents.graph import StepList
from checkpointflow.documents.model import AnyStep, AwaitEvent, Foreach, properties_of
from checkpointflow.documents.program import Program
from checkpointflow.errors import ExpressionError
from checkpointflow.expressions.syntax import (
    Call,
    Constant,
    Expression,
    Node,
    Reference,
    find_kind,
    references,
)
from checkpointflow.expressions.templates import Template, list_leaves
from checkpointflow.expressions.wording import explain_hyphen


def check_references(program: Program, uses: Iterable[Use]) -> Iterator[Diagnostic]:
    """What *uses* refer to that can never be there."""
    for use in uses:
        for reference in references(use.expression):
            wrong = _check_reference(reference, use, program)
            if wrong:
                yield wrong


def quote_reference(use: Use, reference: Path) -> tuple[str, ...]:
    """How *reference* is spelled, and the expression that it is part of, should it be spelled otherwise."""
    return ".".join(map(str, reference)), use.expression.text


def _refuse(use: Use, reference: Path, message: str, hint: str | None) -> Diagnostic:
    """That *use* has no right to *reference*, whose last part is at fault."""
    return Diagnostic(message, use.path, hint, quotes=quote_reference(use, reference))


def _check_reference(reference: Path, use: Use, program: Program) -> Diagnostic | None:
    first, *rest = reference
    if first not in use.names:
        return _refuse(use, (first,), f"there is no `{first}` here", _ONLY[str(first)])
    match first:
        case "steps":
            return _check_step(tuple(rest), use, program)
        case "inputs":
            lack = find_lacking(program.workflow.inputs, tuple(rest), unsaid_is_closed=True)
            return _refuse_lack(use, reference, lack, 1, "declare it under `inputs`")
        case "event":
            schema = getattr(use.step, "input_schema", None)
            lack = find_lacking(schema, tuple(rest), unsaid_is_closed=False)
            return _refuse_lack(use, reference, lack, 1, "declare it in `input_schema`")
        case "run" if rest != ["id"]:
            return _check_run(tuple(rest), use)
        case "secrets":
            return _check_secret(reference[:2], use)
        case "env":
            return _check_env(reference[:2], use, program.workflow.env)
    return None


def _check_run(rest: Path, use: Use) -> Diagnostic | None:
    if rest[:1] != ("outcome",):
        message = "of `run` there is only `run.id`" + (" and `run.outcome`" if use.body.in_finally else "")
        return _refuse(use, ("run", *rest[:1]), message, None)
    if not use.body.in_finally:
        hint = "`run.outcome` is there in the steps of `finally`"
        return _refuse(use, ("run", "outcome"), "there is no `run.outcome` here", hint)
    if rest[1:] and rest[1] not in OUTCOME_PARTS:
        message = f"of `run.outcome` one can have its {join_words(OUTCOME_PARTS)}"
        return _refuse(use, ("run", *rest[:2]), message, suggest(str(rest[1]), OUTCOME_PARTS))
    return None


def _check_secret(reference: Path, use: Use) -> Diagnostic | None:
    if len(reference) == 1:
        return _refuse(use, reference, "`secrets` needs a name, as in secrets.TOKEN", None)
    form = use.hole and use.hole.form
    if form == "raw":
        return _refuse(use, reference, "a secret cannot be spliced in by raw:", "leave raw: out")
    if form == "file":
        hint = "leave file: out; bash can make a pipe of it: <(printf %s ${secrets.TOKEN})"
        return _refuse(use, reference, "a secret is never written into a file", hint)
    if not isinstance(use.expression.root, Reference):
        return _refuse(use, reference, "a secret can only be handed over: nothing can be asked of it", _ALONE)
    return None


def _check_env(reference: Path, use: Use, declared: tuple[str, ...]) -> Diagnostic | None:
    if len(reference) == 1:
        return _refuse(use, reference, "`env` needs a name, as in env.REGION", None)
    name = str(reference[1])
    if name in declared:
        return None
    hint = suggest(name, declared) or f"declare it beside the steps: env: [{shorten(name)}]"
    return _refuse(use, reference, f'the workflow declares no environment variable "{shorten(name)}"', hint)


_ONLY = {
    "event": "`event` is there in the transitions of an await_event; later it is its step's outputs",
    "item": "`item` is there inside of a foreach",
    "item_index": "`item_index` is there inside of a foreach",
    "secrets": "`secrets` may stand in command, env, stdin, url, headers and body",
}
OUTCOME_PARTS = ("status", "error", "reason")
_ALONE = "let it stand alone, as in ${secrets.TOKEN}"
_PARTS = ("outputs", "exit_code", "error", "stdout", "stderr", "status_code", "headers", "artifacts")


def _check_step(rest: Path, use: Use, program: Program) -> Diagnostic | None:
    name = rest[0] if rest else None
    if not isinstance(name, str):
        return _refuse(use, ("steps",), "`steps` needs the id of a step, as in steps.plan.outputs.url", None)
    parts = rest[1:]
    step = use.body.find_around(name)
    if step is None:
        return _refuse_unseen(name, use, program)
    if not parts or parts[0] not in _PARTS:
        hint = suggest(str(parts[0]), _PARTS) if parts else None
        message = f'of the step "{name}" one can have its {join_words(_PARTS)}'
        return _refuse(use, ("steps", name, *parts[:1]), message, hint or f"as in steps.{name}.outputs")
    if parts[0] != "outputs":
        return None
    lack = find_lacking(schema_of_outputs(step), parts[1:], unsaid_is_closed=False)
    return _refuse_lack(use, ("steps", *rest), lack, 3, "the schema of its outputs allows no others")


def _refuse_unseen(name: str, use: Use, program: Program) -> Diagnostic:
    home: StepList | None = program.find_list(name)
    if home is None:
        hint = suggest(name, [known for body in use.body.seen for known in body.index])
        return _refuse(use, ("steps", name), f'there is no step "{shorten(name)}"', hint)
    if home.in_finally and not use.body.in_finally:
        message = f'the step "{name}" of `finally` cannot be seen from here'
        return _refuse(use, ("steps", name), message, "it comes once all else has ended")
    around = use.body.seen
    owner = next(body.steps[at].id for body, at in home.walk_outwards() if at is not None and body in around)
    message = f'the step "{name}" cannot be seen from here: it stands inside of "{owner}"'
    return _refuse(use, ("steps", name), message, f"what it puts out becomes part of steps.{owner}.outputs")


def _refuse_lack(
    use: Use, reference: Path, lack: tuple[int, Mapping[str, Any]] | None, start: int, otherwise: str
) -> Diagnostic | None:
    if lack is None:
        return None
    depth, properties = lack
    *above, part = map(str, reference[: start + depth + 1])
    message = f'{shorten(".".join(above))} has no "{shorten(part)}"'
    hint = explain_hyphen(part, properties) or suggest(part, properties) or otherwise
    return _refuse(use, (*above, part), message, hint)


# What a schema says of the values that may be there

_OPEN = {"patternProperties", "unevaluatedProperties", "dependentSchemas", "$ref", "$dynamicRef"}
_OPEN |= {"allOf", "anyOf", "oneOf", "if", "then", "else"}


def find_lacking(schema: Any, parts: Path, *, unsaid_is_closed: bool) -> tuple[int, Mapping[str, Any]] | None:
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


def schema_of_outputs(step: AnyStep | None) -> Any:
    """The schema that the outputs of *step* fit, if there is one; for an event, its payload's."""
    if isinstance(step, AwaitEvent):
        return step.input_schema
    return getattr(step, "outputs", None)


def list_schemas(node: Node, use: Use, program: Program) -> list[Any]:
    """Schemas of which the value of *node* fits one; none for what the author wrote into it himself."""
    match node:
        case Constant():
            return []
        case Reference(path):
            return [schema_of(path, use, program)]
        case Call("default" | "lower" | "upper", arguments):
            return [schema for argument in arguments for schema in list_schemas(argument, use, program)]
    return [_SCHEMAS.get(find_kind(node), {"not": {"type": "string"}})]


_SCHEMAS: dict[str | None, Any] = {
    None: True,
    "text": {"type": "string"},
    "a list": {"type": "array", "items": {"type": "string"}},
}


def schema_of(reference: Path, use: Use, program: Program) -> Any:
    """The schema that the value of *reference* fits; True where nothing is known of it."""
    match reference:
        case ("inputs", *parts):
            schema: Any = program.workflow.inputs
        case ("steps", str() as name, "outputs", *parts):
            schema = schema_of_outputs(use.body.find_around(name))
        case ("item", *parts):
            schema = _schema_of_item(use, program)
        case ("run", "outcome", *_):
            return {"enum": ["completed", "failed", "cancelled"]} if reference[2:] == ("status",) else True
        case ("run" | "item_index", *_) | ("steps", _, "exit_code" | "status_code" | "artifacts", *_):
            return {"not": {"type": "string"}}
        case _:
            return True
    for part in parts:
        schema = properties_of(schema).get(part)
    return True if schema is None else schema


def _schema_of_item(use: Use, program: Program) -> Any:
    """What is known of the item that *use*, inside of a foreach, refers to."""
    for inner, _ in use.body.walk_outwards():
        body, step = inner.outer, inner.outer and inner.outer.steps[inner.at]
        if body is not None and isinstance(step, Foreach):
            items = program.step(step.id).try_read("items")
            return _schema_of_elements(items, replace(use, body=body), program)
    return None


def _schema_of_elements(items: Any, use: Use, program: Program) -> Any:
    if isinstance(items, Expression):
        schemas = list_schemas(items.root, use, program)
        return schemas[0].get("items") if len(schemas) == 1 and isinstance(schemas[0], dict) else None
    if isinstance(items, dict):
        return {"type": "integer"}
    is_open = any(isinstance(leaf, Template | ExpressionError) for _, leaf in list_leaves(items))
    return None if is_open else {"enum": items}
