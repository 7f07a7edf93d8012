"""What no schema can say of a workflow: ids, targets, references, expressions, inner schemas.

`check_document` is the whole of validation for one document: its structure (`reader`), what is checked here,
and the warnings (`advice`). Each rule is a generator of problems; a new one joins `_RULES`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from checkpointflow.diagnostics import Diagnostic, Path, did_you_mean, shorten
from checkpointflow.documents.decoding import decode_leniently
from checkpointflow.documents.graph import Body, bodies, targets
from checkpointflow.documents.lint import warnings
from checkpointflow.documents.model import (
    AnyStep,
    Api,
    AwaitEvent,
    Branch,
    Cli,
    Foreach,
    Parallel,
    Workflow,
)
from checkpointflow.documents.references import Fault, Use, schemas, uses, wrong_references
from checkpointflow.documents.yaml import MAX_PROBLEMS, Source, in_order
from checkpointflow.errors import ExpressionError
from checkpointflow.expressions.templates import parse_template
from checkpointflow.schemas.validation import schema_problems

MAX_LEVELS = 20


def check(workflow: Workflow, source: Source) -> tuple[list[Diagnostic], list[Diagnostic]]:
    """The errors and the warnings in *workflow*, which was read from *source*, in the order of the file."""
    lists = list(bodies(workflow))
    found = list(uses(workflow, lists))
    errors = _errors(workflow, source, lists, found)
    good = [use for use in found if isinstance(use, Use)]
    return errors, warnings(workflow, source, lists, good, flow_is_sound=not errors)


def check_document(
    data: bytes, file: str | None = None
) -> tuple[Workflow | None, list[Diagnostic], list[Diagnostic], Source]:
    """All that is wrong with the document *data* and all that is doubtful, in the order of the file.

    Where the structure is wrong, the rest is checked for errors all the same; of warnings there are
    none then, as they would guess. The workflow is None unless there are no errors.
    """
    workflow, source, problems = decode_leniently(data, file)
    if workflow is None:
        return None, problems, [], source
    errors, doubts = check(workflow, source)
    if problems:
        return None, in_order([*problems, *errors]), [], source
    return None if errors else workflow, errors, doubts, source


def _errors(
    workflow: Workflow, source: Source, lists: list[Body], found: list[Use | Fault]
) -> list[Diagnostic]:
    rules: Iterable[Iterator[Diagnostic]] = (
        _duplicate_ids(lists, source),
        _wrong_targets(lists, source),
        _wrong_steps(lists, source),
        _wrong_outputs(workflow, source),
        _wrong_schemas(workflow, lists, source),
        wrong_references(workflow, lists, source, found),
    )
    return in_order(islice(chain.from_iterable(rules), MAX_PROBLEMS))


# Ids and targets


def _duplicate_ids(lists: list[Body], source: Source) -> Iterator[Diagnostic]:
    places: dict[str, list[Path]] = {}
    for body in lists:
        for index, step in enumerate(body.steps):
            places.setdefault(step.id, []).append((*body.path_of(index), "id"))
    for name, paths in places.items():
        # The lists come from the outside in, and "first" is by the file.
        first, *rest = sorted(paths, key=source.place)
        where = "{}:{}".format(*source.place(first))
        for path in rest:
            message = f'a second step with the id "{name}", first at {where}'
            hint = "ids are unique in the whole document, bodies and branches included"
            yield source.problem(message, path, hint=hint, code="ERR_DUPLICATE_STEP_ID")


def _wrong_targets(lists: list[Body], source: Source) -> Iterator[Diagnostic]:
    everywhere = {step.id for body in lists for step in body.steps}
    for body in lists:
        for index, step in enumerate(body.steps):
            for path, target in targets(step):
                if target not in body.index:
                    yield _wrong_target(target, everywhere, body, (*body.path_of(index), *path), source)


def _wrong_target(target: str, everywhere: set[str], body: Body, path: Path, source: Source) -> Diagnostic:
    if target in everywhere:
        message = f'the step "{target}" stands in another list, and a jump stays in its own'
        return source.problem(message, path, hint=f"the steps here: {_some(body.index)}")
    hint = did_you_mean(target, body.index) or f"the steps here: {_some(body.index)}"
    return source.problem(f'there is no step "{target}"', path, hint=hint)


def _some(names: Iterable[str], most: int = 10) -> str:
    known = list(islice(names, most + 1))
    return ", ".join(map(shorten, known[:most])) + (" …" if len(known) > most else "")


# Fields that do not go together


def _wrong_steps(lists: list[Body], source: Source) -> Iterator[Diagnostic]:
    for body in lists:
        if body.level == MAX_LEVELS + 1:
            message = f"bodies and branches nested more than {MAX_LEVELS} levels deep"
            yield source.problem(message, body.path, hint="move the inner steps to a workflow of their own")
        for index, step in enumerate(body.steps):
            yield from _wrong_step(step, body.path_of(index), source)


def _wrong_step(step: AnyStep, path: Path, source: Source) -> Iterator[Diagnostic]:
    yield from _twice(
        [((*path, "artifacts", i, "name"), a.name) for i, a in enumerate(getattr(step, "artifacts", ()))],
        "artifact",
        source,
    )
    match step:
        case Cli():
            yield from _reserved_names(step, path, source)
        case Api():
            yield from _wrong_url(step.url, (*path, "url"), source)
        case AwaitEvent():
            yield from _wrong_wait(step, path, source)
        case Foreach():
            yield from _wrong_foreach(step, path, source)
        case Parallel():
            yield from _wrong_branches(step, path, source)


def _twice(names: list[tuple[Path, str]], what: str, source: Source) -> Iterator[Diagnostic]:
    first: dict[str, Path] = {}
    for path, name in names:
        if first.setdefault(name, path) != path:
            where = "{}:{}".format(*source.place(first[name]))
            yield source.problem(f'a second {what} "{name}", first at {where}', path)


def _reserved_names(step: Cli, path: Path, source: Source) -> Iterator[Diagnostic]:
    for name in step.env:
        if name.startswith("CPF_"):
            at = (*path, "env", name)
            message = f'"{shorten(name)}" cannot be set: names that start with CPF_ are cpf\'s own'
            yield source.problem(message, at, at=source.key_place(at))


_HOLE = "\0"
_PART_OF_SCHEME = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:?/?)?")


def _wrong_url(url: str, path: Path, source: Source) -> Iterator[Diagnostic]:
    """What can be told of *url* before its holes are filled in."""
    try:
        pieces = parse_template(url).pieces
    except ExpressionError:  # told with all others of its kind
        return
    text = "".join(piece if isinstance(piece, str) else _HOLE for piece in pieces)
    scheme, separator, rest = text.partition("://")
    if _HOLE in scheme and _PART_OF_SCHEME.fullmatch(scheme.partition(_HOLE)[0]):
        return  # a value may bring the rest of it
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    port = re.search(r":([0-9]+)\Z", authority)
    if not separator or scheme.lower() not in ("http", "https"):
        yield source.problem(
            "only http: and https: URLs can be called", path, hint="as in https://example.com/x"
        )
    elif "@" in authority:
        hint = "give them in a header, as in headers: {Authorization: 'Bearer ${secrets.TOKEN}'}"
        yield source.problem("a URL may hold no name and password", path, hint=hint)
    elif not authority:
        yield source.problem("the URL names no host", path)
    elif port and not 0 < int(port[1]) < 65536:
        yield source.problem(f"{port[1]} is not a port", path)


def _wrong_wait(step: AwaitEvent, path: Path, source: Source) -> Iterator[Diagnostic]:
    if step.transitions and step.next is not None:
        message = "`next` beside `transitions`: an event cannot lead to both"
        hint = "leave one out; a last transition with `when: true` takes every other event"
        yield source.problem(message, (*path, "next"), hint=hint, at=source.key_place((*path, "next")))
    if step.on_timeout is not None and step.timeout_seconds is None:
        at = (*path, "on_timeout")
        message = "`on_timeout` without `timeout_seconds`: this wait never ends by itself"
        yield source.problem(message, at, hint="say how long to wait", at=source.key_place(at))


def _wrong_foreach(step: Foreach, path: Path, source: Source) -> Iterator[Diagnostic]:
    if (step.body is None) == (step.workflow_ref is None):
        found = "has neither" if step.body is None else "has both"
        yield source.problem(f"a foreach step needs `body` or `workflow_ref`, and this {found}", path)
    elif step.inputs and step.workflow_ref is None:
        at = (*path, "inputs")
        hint = "steps of a `body` see ${item} and all that this step sees"
        yield source.problem("`inputs` belongs to `workflow_ref`", at, hint=hint, at=source.key_place(at))


def _wrong_branches(step: Parallel, path: Path, source: Source) -> Iterator[Diagnostic]:
    names = []
    for number, branch in enumerate(step.branches):
        at = (*path, "branches", number)
        if _is_one_kind(branch):
            names.append((at, branch.start_at or branch.id or ""))
        else:
            hint = 'write "start_at: <step id>", or "id" and "steps"'
            yield source.problem("a branch either starts at a step or has an id and steps", at, hint=hint)
    yield from _twice(names, "branch", source)


def _is_one_kind(branch: Branch) -> bool:
    if branch.start_at is not None:
        return branch.id is None and branch.steps is None
    return branch.id is not None and branch.steps is not None


# Schemas


def _wrong_outputs(workflow: Workflow, source: Source) -> Iterator[Diagnostic]:
    """What is wrong with how the workflow's `outputs` map values to the result."""
    schema, path = workflow.outputs, ("workflow", "outputs")
    if schema is None:
        return
    if schema.get("type", "object") != "object":
        yield source.problem('the result is an object: expected "object"', (*path, "type"))
    properties = schema.get("properties")
    if not properties:
        hint = "such as properties: {url: {from: steps.publish.outputs.url}}"
        yield source.problem('`outputs` needs "properties", each with `from`', path, hint=hint)
    # What is no mapping at all, the schema's own check tells.
    for name, entry in properties.items() if isinstance(properties, dict) else ():
        at = (*path, "properties", name)
        if not isinstance(entry, dict) or "from" not in entry:
            hint = "such as from: steps.publish.outputs.url"
            yield source.problem(f'"{shorten(name)}" needs `from`', at, hint=hint, at=source.key_place(at))
        elif not isinstance(entry["from"], str):
            yield source.problem("`from` must be a path", (*at, "from"), hint="it is text")


def _wrong_schemas(workflow: Workflow, lists: list[Body], source: Source) -> Iterator[Diagnostic]:
    for schema, path in schemas(workflow, lists):
        for wrong in schema_problems(schema):
            at = (*path, *wrong.path)
            if wrong.supported:
                yield source.problem(wrong.message, at)
            else:
                mark = source.key_place(at)
                yield source.problem(wrong.message, at, code="ERR_UNSUPPORTED_SCHEMA", at=mark)
