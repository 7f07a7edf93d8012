"""What no schema can say of a workflow: ids, targets, references, expressions, inner schemas.

`check_document` is the whole of validation for one document: its structure (`decoding`), what is checked
here, and the warnings (`lint`). Each rule yields Diagnostics, and is a function of the workflow that knows
nothing of lines; the source is asked only where something stood first. A new rule joins those in `check`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, NamedTuple

from msgspec import UNSET
from msgspec.structs import replace

from checkpointflow.diagnostics import Diagnostic, Path, shorten, suggest
from checkpointflow.documents.decoding import decode_leniently
from checkpointflow.documents.fields import ITEM, Use
from checkpointflow.documents.graph import StepList, targets
from checkpointflow.documents.lint import find_warnings
from checkpointflow.documents.model import (
    Api,
    AwaitEvent,
    Call,
    Cli,
    End,
    Foreach,
    Parallel,
    Range,
    Workflow,
    properties_of,
)
from checkpointflow.documents.program import CompiledStep, Program
from checkpointflow.documents.references import check_references
from checkpointflow.documents.text_lint import warn_of_texts
from checkpointflow.documents.yaml import Source, sort_by_mark
from checkpointflow.expressions.bodies import find_fault, find_media_type
from checkpointflow.expressions.globs import FAULT, is_glob, leads_out
from checkpointflow.expressions.headers import find_fault as find_header_fault
from checkpointflow.expressions.syntax import Expression, find_kind, references
from checkpointflow.expressions.templates import Template, holes
from checkpointflow.expressions.urls import UrlTemplate
from checkpointflow.schemas.validation import Schema

MAX_LEVELS = 20
MAX_LISTED = 10


class CheckedDocument(NamedTuple):
    """What was found in a document, in the order of the file.

    program: what can be made of it, without what it calls; None if that is nothing. It may run only if there
    are no errors.
    """

    program: Program | None
    errors: list[Diagnostic]
    warnings: list[Diagnostic]
    source: Source


def check_document(data: bytes, file: str | None = None) -> CheckedDocument:
    """All that is wrong with the document *data* and all that is doubtful.

    Where the structure is wrong, the rest is checked for errors all the same; of warnings there are
    none then, as they would guess.
    """
    workflow, source, problems = decode_leniently(data, file)
    if workflow is None:
        return CheckedDocument(None, problems, [], source)
    program = Program(workflow)
    errors, warnings = check(program, source)
    if problems:
        errors, warnings = sort_by_mark([*problems, *errors]), []
    return CheckedDocument(program, errors, warnings, source)


def check(program: Program, source: Source) -> tuple[list[Diagnostic], list[Diagnostic]]:
    """The errors and the warnings in *program*, which was read from *source*, in the order of the file."""
    found = list(program.uses())
    uses = [use for use in found if isinstance(use, Use)]
    rules: Iterable[Iterable[Diagnostic]] = (
        _check_ids(program.lists, source),
        _check_targets(program.lists),
        _check_branches_end(program.lists),
        _check_finally(program),
        _check_steps(program, source),
        _check_env(program.workflow.defaults.env, ("workflow", "defaults")),
        _check_outputs(program.workflow),
        check_invariants(program),
        _check_schemas(program),
        _check_defaults(program),
        (fault for fault in found if isinstance(fault, Diagnostic)),
        _check_parameters(program),
        check_references(program, uses),
    )
    errors = source.locate_all(chain.from_iterable(rules))
    warnings = chain(find_warnings(program, uses, flow_is_sound=not errors), warn_of_texts(program, source))
    return errors, source.locate_all(warnings)


# Ids and targets


def _check_ids(lists: list[StepList], source: Source) -> Iterator[Diagnostic]:
    by_name: dict[str, list[tuple[str, Path]]] = {}  # without capitals: there are file systems without them
    for body in lists:
        for index, step in enumerate(body.steps):
            by_name.setdefault(step.id.lower(), []).append((step.id, (*body.path_of(index), "id")))
    for same in by_name.values():
        # The lists come from the outside in, and "first" is by the file.
        (known, first), *rest = sorted(same, key=lambda step: source.find_mark(step[1]))
        where = "{}:{}".format(*source.find_mark(first))
        for name, path in rest:
            message = f'a second step with the id "{name}", first at {where}'
            hint = "ids are unique in the whole document, bodies and branches included"
            if name != known:
                message = f'the id "{name}" differs from "{known}", at {where}, in capitals only'
                hint = "their logs would be one file where a file system does not tell capitals apart"
            yield Diagnostic(message, path, hint, code="ERR_DUPLICATE_STEP_ID")


def _check_targets(lists: list[StepList]) -> Iterator[Diagnostic]:
    everywhere = {step.id for body in lists for step in body.steps}
    for body in lists:
        for index, step in enumerate(body.steps):
            for path, target in targets(step):
                if target not in body.index:
                    yield _refuse_target(target, everywhere, body, (*body.path_of(index), *path))


def _refuse_target(target: str, everywhere: set[str], body: StepList, path: Path) -> Diagnostic:
    if target in everywhere:
        message = f'the step "{target}" stands in another list, and a jump stays in its own'
        return Diagnostic(message, path, f"the steps here: {_list_some(body.index)}")
    hint = suggest(target, body.index) or f"the steps here: {_list_some(body.index)}"
    return Diagnostic(f'there is no step "{target}"', path, hint)


def _list_some(names: Iterable[str]) -> str:
    known = list(islice(names, MAX_LISTED + 1))
    return ", ".join(map(shorten, known[:MAX_LISTED])) + (" …" if len(known) > MAX_LISTED else "")


# Fields that do not go together


def _check_steps(program: Program, source: Source) -> Iterator[Diagnostic]:
    for body in program.lists:
        if body.level == MAX_LEVELS + 1:
            message = f"bodies and branches nested more than {MAX_LEVELS} levels deep"
            yield Diagnostic(message, body.path, "move the inner steps to a workflow of their own")
    for compiled in program.steps:
        yield from _check_step(compiled, source)


def _check_step(compiled: CompiledStep, source: Source) -> Iterator[Diagnostic]:
    step, path = compiled.step, compiled.path
    yield from _check_names(
        [((*path, "artifacts", i, "name"), a.name) for i, a in enumerate(getattr(step, "artifacts", ()))],
        "artifact",
        source,
    )
    match step:
        case Cli():
            yield from _check_artifacts(compiled)
            yield from _check_env(step.env, path)
            yield from _check_retry(step, path)
        case Api():
            yield from _check_url(compiled.try_read("url"), (*path, "url"))
            yield from _check_headers(compiled.try_read("headers"), (*path, "headers"))
            yield from _check_body(step, compiled.try_read("body"), (*path, "body"))
        case AwaitEvent():
            yield from _check_wait(step, path)
        case Foreach():
            yield from _check_foreach(step, path)
            yield from _check_called(compiled, path)
            yield from _check_key(compiled.try_read("key"), (*path, "key"))
        case Call():
            yield from _check_called(compiled, path)
        case Parallel():
            yield from _check_branches(step, path, source)


def _check_parameters(program: Program) -> Iterator[Diagnostic]:
    """Each hole that cannot have what is wanted there, whatever its paths lead to."""
    for path, read in program.parameters():
        if isinstance(read, Template):
            kind = find_kind(read.pieces[0].root) if isinstance(read.pieces[0], Expression) else "text"
            kind = "text" if len(read.pieces) > 1 else kind
            wanted = "a list" if path[-1] in ("exit_codes", "status_codes", "on") else "a number"
            if kind not in (None, wanted):
                yield Diagnostic(f"expected {wanted}, and the value here is {kind}", path)


def _check_called(compiled: CompiledStep, path: Path) -> Iterator[Diagnostic]:
    has_hole = isinstance(compiled.try_read("workflow_ref"), Template)
    one_of = getattr(compiled.step, "one_of", ())
    if has_hole and not one_of:
        message = "a `workflow_ref` with `${…}` needs `one_of`, the list of what it may name"
        yield Diagnostic(message, (*path, "workflow_ref"), "such as one_of: [dev.yaml, production.yaml]")
    elif one_of and not has_hole:
        message = "`one_of` belongs to a `workflow_ref` with `${…}`"
        yield Diagnostic(message, (*path, "one_of"), "such as workflow_ref: ${inputs.flow}", at_name=True)


def _check_names(names: list[tuple[Path, str]], what: str, source: Source) -> Iterator[Diagnostic]:
    first: dict[str, Path] = {}
    for path, name in names:
        if first.setdefault(name, path) != path:
            where = "{}:{}".format(*source.find_mark(first[name]))
            yield Diagnostic(f'a second {what} "{name}", first at {where}', path)


def _check_artifacts(compiled: CompiledStep) -> Iterator[Diagnostic]:
    for index, path in enumerate(compiled.try_read_all("artifacts", "path")):
        if path is not None and is_glob(path) and leads_out(path):
            hint = "of a single file, the path may lead elsewhere"
            yield Diagnostic(FAULT, (*compiled.path, "artifacts", index, "path"), hint)


def _check_env(env: Iterable[str], path: Path) -> Iterator[Diagnostic]:
    for name in env:
        if name.startswith("CPF_"):
            message = f'"{shorten(name)}" cannot be set: names that start with CPF_ are cpf\'s own'
            yield Diagnostic(message, (*path, "env", name), at_name=True)


def _check_retry(step: Cli, path: Path) -> Iterator[Diagnostic]:
    if step.retry is not None and step.retry.on:
        message = "`on` names status codes, and a command has none"
        hint = "a command is tried again after any failure; `success.exit_codes` says what is none"
        yield Diagnostic(message, (*path, "retry", "on"), hint, at_name=True)


def _check_url(url: UrlTemplate | None, path: Path) -> Iterator[Diagnostic]:
    if url is not None and url.problem is not None:
        yield replace(url.problem, path=path)


def _check_headers(headers: dict[str, Any], path: Path) -> Iterator[Diagnostic]:
    for name, value in headers.items():
        pieces = value.pieces if isinstance(value, Template) else (value,)
        literal = "".join(piece for piece in pieces if isinstance(piece, str))
        if fault := find_header_fault(name, literal):
            yield Diagnostic(fault, (*path, name), at_name=True)


def _check_body(step: Api, body: Any, path: Path) -> Iterator[Diagnostic]:
    fault = None if step.body is UNSET else find_fault(body, find_media_type(step.headers))
    if fault is not None:
        yield replace(fault, path=path)


def _check_wait(step: AwaitEvent, path: Path) -> Iterator[Diagnostic]:
    if step.transitions and step.next is not None:
        message = "`next` beside `transitions`: an event cannot lead to both"
        hint = "leave one out; a last transition with `when: true` takes every other event"
        yield Diagnostic(message, (*path, "next"), hint, at_name=True)
    if step.on_timeout is not None and step.timeout_seconds is None:
        message = "`on_timeout` without `timeout_seconds`: this wait never ends by itself"
        yield Diagnostic(message, (*path, "on_timeout"), "say how long to wait", at_name=True)


def _check_foreach(step: Foreach, path: Path) -> Iterator[Diagnostic]:
    if (step.body is None) == (step.workflow_ref is None):
        found = "has neither" if step.body is None else "has both"
        yield Diagnostic(f"a foreach step needs `body` or `workflow_ref`, and this {found}", path)
    elif step.inputs and step.workflow_ref is None:
        hint = "steps of a `body` see ${item} and all that this step sees"
        yield Diagnostic("`inputs` belongs to `workflow_ref`", (*path, "inputs"), hint, at_name=True)
    if step.max_failures is not None and step.on_item_error == "stop":
        message = "`max_failures` without `on_item_error: continue`: the first item that fails ends the step"
        yield Diagnostic(message, (*path, "max_failures"), "say so, or leave it out", at_name=True)
    if isinstance(items := step.items, Range):
        bounds = [bound is not None for bound in (items.first, items.to)]
        if any(bounds) if items.count is not None else not all(bounds):
            hint = "such as {count: 10}, or {from: 1, to: 10}"
            yield Diagnostic("`items` needs either `count`, or `from` and `to`", (*path, "items"), hint)


def _check_key(key: Any, path: Path) -> Iterator[Diagnostic]:
    expressions = holes(key) if isinstance(key, Template) else []
    if key is not None and not ITEM & {name for read in expressions for name, *_ in references(read)}:
        yield Diagnostic("all items would have the same `key`", path, "name the item, as in ${item.id}")


def _check_branches(step: Parallel, path: Path, source: Source) -> Iterator[Diagnostic]:
    names = []
    for number, branch in enumerate(step.branches):
        at = (*path, "branches", number)
        if {branch.id is None, branch.steps is None} == {branch.start_at is not None}:
            names.append((at, branch.start_at or branch.id or ""))
        else:
            hint = 'write "start_at: <step id>", or "id" and "steps"'
            yield Diagnostic("a branch either starts at a step or has an id and steps", at, hint)
    yield from _check_names(names, "branch", source)


def _check_branches_end(lists: list[StepList]) -> Iterator[Diagnostic]:
    for body in lists:
        known = all(target in body.index for step in body.steps for _, target in targets(step))
        for index, step in enumerate(body.steps if known else ()):
            if isinstance(step, Parallel) and body.graph.leads_back(index):
                message = f'a branch of "{step.id}" leads back to it, so it would never end'
                hint = "a branch ends where nothing is jumped to; loop around the parallel from behind it"
                yield Diagnostic(message, (*body.path_of(index), "branches"), hint, at_name=True)


def _check_finally(program: Program) -> Iterator[Diagnostic]:
    for compiled in program.steps if program.cleanup is not None else ():
        step, path = compiled.step, compiled.path
        if isinstance(step, AwaitEvent) and compiled.body.in_finally:
            hint = "ask in `steps`, before what must be given back is taken"
            yield Diagnostic(f'"{step.id}" waits for an event, and `finally` waits for nobody', path, hint)
        elif isinstance(step, End) and step.result is not UNSET and compiled.body is program.cleanup:
            hint = "what the run comes to is decided by then; leave it out"
            yield Diagnostic("an `end` of `finally` has no `result`", (*path, "result"), hint, at_name=True)


# Schemas


def _check_outputs(workflow: Workflow) -> Iterator[Diagnostic]:
    """What is wrong with how the workflow's `outputs` map values to the result."""
    schema, path = workflow.outputs, ("workflow", "outputs")
    if schema is None:
        return
    if schema.get("type", "object") != "object":
        yield Diagnostic('the result is an object: expected "object"', (*path, "type"))
    if not schema.get("properties"):
        hint = "such as properties: {url: {from: steps.publish.outputs.url}}"
        yield Diagnostic('`outputs` needs "properties", each with `from`', path, hint)
    # What is no mapping at all, the schema's own check tells.
    for name, entry in properties_of(schema).items():
        at = (*path, "properties", name)
        if not isinstance(entry, dict) or "from" not in entry:
            hint = "such as from: steps.publish.outputs.url"
            yield Diagnostic(f'"{shorten(name)}" needs `from`', at, hint, at_name=True)
        elif not isinstance(entry["from"], str):
            yield Diagnostic("`from` must be a path", (*at, "from"), "it is text")


def check_invariants(program: Program) -> Iterator[Diagnostic]:
    """What makes no sense of the invariants; whether their conditions can be read is told elsewhere."""
    for number, invariant in enumerate(program.workflow.invariants):
        at: Path = ("workflow", "invariants", number)
        named = {word: getattr(invariant, word) for word in ("never", "always", "at_most_once")}
        said = {word: step for word, step in named.items() if step is not None}
        if len(said) != 1:
            hint = "write each as an item of its own"
            yield Diagnostic("an invariant says one of `never`, `always` and `at_most_once`", at, hint)
        if invariant.unless is not None and invariant.never is None:
            yield Diagnostic("`unless` belongs to `never`", (*at, "unless"), at_name=True)
        if invariant.before != "end":
            said["before"] = invariant.before
            if invariant.always is None:
                yield Diagnostic("`before` belongs to `always`", (*at, "before"), at_name=True)
        for word, step in said.items():
            if program.find_list(step) is None:
                known = [compiled.step.id for compiled in program.steps]
                yield Diagnostic(f'there is no step "{shorten(step)}"', (*at, word), suggest(step, known))


def _check_schemas(program: Program) -> Iterator[Diagnostic]:
    for path, schema in program.schemas():
        for wrong in schema.problems:
            # An id, of a keyword here, is that of a warning where a document is told of.
            yield replace(wrong, path=(*path, *wrong.path), id=None)


def _check_defaults(program: Program) -> Iterator[Diagnostic]:
    """Each default that would be filled in, and then refused."""
    if not program.inputs.problems:
        yield from _find_misfits(program.workflow.inputs, ("workflow", "inputs"), program.workflow.inputs)


def _find_misfits(schema: Any, path: Path, whole: dict[str, Any]) -> Iterator[Diagnostic]:
    for name, entry in properties_of(schema).items():
        at = (*path, "properties", name)
        if isinstance(entry, dict) and "default" in entry:
            shared = {word: whole[word] for word in ("$schema", "$defs", "definitions") if word in whole}
            own = Schema({**shared, **entry})
            # What refers to elsewhere in the whole cannot be judged alone.
            misfits = [] if own.problems else own.errors(own.complete(entry["default"]))
            for misfit in misfits[:1]:
                message = f"this default does not fit its own schema: {misfit.message.removeprefix('$ ')}"
                yield Diagnostic(message, (*at, "default"), "every run without this input would be refused")
        yield from _find_misfits(entry, at, whole)
