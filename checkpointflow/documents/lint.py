"""Warnings: what a document may say, and its author may not have meant. They are never in the way.

| id   | warns of                                                              | shown at            |
| ---- | --------------------------------------------------------------------- | ------------------- |
| W101 | a step that nothing leads to                                          | the step            |
| W102 | going on from one arm of a decision into another arm's `end`,         | the step above      |
|      | unless the workflow's outputs come from that arm's last step          |                     |
| W103 | a `switch` without `default`                                          | the step            |
| W104 | a workflow with a name or a description and without `version`         | `workflow`          |
| W105 | `${raw:…}`, which lets a value become shell code                      | the expression      |
| W106 | transitions that leave an event of the schema without a way           | `transitions`       |
| W107 | `retry` of a step that is neither `idempotent` nor has a key          | `retry`             |
| W108 | an input without description beside others that have one              | the input           |
| W109 | a loop with no way out                                                | its first step      |
| W110 | a reference to a step that may not have run on some way to here       | the reference       |
| W111 | a schema that requires a property which its `properties` lack         | the required name   |
| W112 | a value that a command may take for an option                         | the expression      |
| W121 | an input, or the error of `run.outcome`, that may be absent            | the reference       |
| W130 | a hole in the braces of other tools, `{{ inputs.x }}`                  | the braces          |
| W131 | a word that is a comment and may not be meant as one: `fixes #12`     | the word            |
| W132 | what not every `sh` knows                                             | the command         |
| W133 | a value that changes the JSON or the format written around it         | the expression      |
| W134 | a value that `echo -n`, `echo -e` or `awk -v` may change              | the expression      |
| W135 | names that look alike, and are not the same                           | the second name     |
| W136 | a variable that is kept in each run, and is called as secrets are     | its name            |
| W120 | a keyword of a schema that does nothing where it stands               | the keyword         |

W110 and W121 are in `absence.py`, W130 to W132 and W135 in `text_lint.py`. The ids are stable.
`# cpf: ignore W103`, or several ids, in a comment on the line silences them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice, product
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from checkpointflow.diagnostics import Diagnostic, Path, shorten, suggest
from checkpointflow.documents.absence import warn_of_absence
from checkpointflow.documents.environment import warn_of_secrets
from checkpointflow.documents.fields import Use
from checkpointflow.documents.graph import Edge, StepList, targets
from checkpointflow.documents.model import Api, AwaitEvent, Cli, End, Switch, Workflow, properties_of
from checkpointflow.documents.program import Program
from checkpointflow.documents.references import list_schemas
from checkpointflow.errors import EvaluationError
from checkpointflow.expressions.evaluation import holds
from checkpointflow.expressions.syntax import Expression, references
from checkpointflow.expressions.templates import list_texts
from checkpointflow.expressions.values import as_text
from checkpointflow.schemas.validation import Schema
from checkpointflow.shells.contexts import Change

MAX_STEPS = 1000  # of longer lists the flow is not looked at: that takes time by the square
MAX_EVENTS = 256


def find_warnings(program: Program, uses: list[Use], *, flow_is_sound: bool) -> Iterator[Diagnostic]:
    """What is doubtful in *program*, whose expressions are *uses*.

    flow_is_sound: there are no errors, so that ways from step to step can be followed.
    """
    workflow, lists = program.workflow, program.lists
    rules = [
        _warn_of_no_default(program),
        _warn_of_no_version(workflow),
        _warn_of_raw(uses),
        _warn_of_options(program, uses),
        _warn_of_changes(program, uses),
        _warn_of_untaken(program, uses),
        _warn_of_retries(program),
        _warn_of_undescribed(workflow),
        _warn_of_unlisted(program),
        _warn_of_unread(program),
        warn_of_secrets((name, ("workflow", "env", at)) for at, name in enumerate(workflow.env)),
    ]
    if flow_is_sound:
        known = [body for body in lists if len(body.steps) <= MAX_STEPS]
        rules += [
            _warn_of_unreachable(known),
            _warn_of_falls(known, uses),
            _warn_of_loops(known),
            warn_of_absence(program, uses),
        ]
    return chain.from_iterable(rules)


# Flow


def _warn_of_unreachable(lists: list[StepList]) -> Iterator[Diagnostic]:
    for body in lists:
        for index, step in enumerate(body.steps):
            if not body.graph.nodes_of(index):
                message = f'nothing leads to the step "{step.id}"'
                yield Diagnostic(message, body.path_of(index), id="W101")


def _warn_of_falls(lists: list[StepList], uses: list[Use]) -> Iterator[Diagnostic]:
    fed = _list_feeders(uses)
    for body in lists:
        graph = body.graph
        jumps = ((step.id, path[0], target) for step in body.steps for path, target in targets(step))
        deciders = {arm: name for name, field, arm in jumps if field in ("transitions", "cases", "default")}
        for edge in graph.edges:
            on_main_line = edge.start < graph.end and edge.start in graph.reachable
            if edge.why in ("follow", "skip") and on_main_line:
                below = graph.next_in_list(edge.start)
                end = body.steps[below] if below < graph.end else None
                is_meant = body.maps_outputs and edge.why == "follow" and body.steps[edge.start].id in fed
                if isinstance(end, End) and end.id in deciders and not is_meant:
                    yield _describe_fall(body, edge, end.id, deciders[end.id])


def _list_feeders(uses: list[Use]) -> set[Any]:
    """The steps that the outputs of the workflow come from; whoever completes after one means it."""
    ends = (use.expression for use in uses if use.path[:2] == ("workflow", "outputs"))
    return {rest[0] for read in ends for first, *rest in references(read) if first == "steps"}


def _describe_fall(body: StepList, edge: Edge, end: str, decider: str) -> Diagnostic:
    name = body.steps[edge.start].id
    after = f'where "{name}" is skipped' if edge.why == "skip" else f'after "{name}"'
    if body.maps_outputs:
        message = (
            f"{after} the run completes with its `outputs`: "
            f'"{end}" below it is entered only by the decision "{decider}"'
        )
        hint = "if that is meant, say so with # cpf: ignore W102; if not, give it a `next`"
    else:
        message = f'{after} it goes on into "{end}", an arm of the decision "{decider}"'
        hint = "if that is meant, say so with # cpf: ignore W102; if not, put an `end` of its own before"
    return Diagnostic(message, body.path_of(edge.start), hint, id="W102")


def _warn_of_loops(lists: list[StepList]) -> Iterator[Diagnostic]:
    for body in lists:
        graph = body.graph
        told: set[int] = set()
        for node in sorted(graph.reachable - graph.find_ancestors(graph.end), key=graph.step_of):
            loop = graph.find_descendants(node)
            # Whatever can be reached must lead back: else it only leads into the loop.
            if node not in told and loop <= graph.find_ancestors(node):
                told |= loop
                names = ", ".join(body.steps[i].id for i in sorted(set(map(graph.step_of, loop)))[:10])
                message = f"a loop with no way out: {names}"
                hint = "name a step outside of it, or an `end`"
                yield Diagnostic(message, body.path_of(graph.step_of(node)), hint, id="W109")


# Steps


def _warn_of_no_default(program: Program) -> Iterator[Diagnostic]:
    for compiled in program.steps:
        if isinstance(compiled.step, Switch) and compiled.step.default is None:
            message = f'the switch "{compiled.step.id}" has no `default`: where no case holds, the run fails'
            yield Diagnostic(message, compiled.path, "name the step for all other cases", id="W103")


def _warn_of_raw(uses: list[Use]) -> Iterator[Diagnostic]:
    for use in uses:
        if use.hole is not None and use.hole.form == "raw":
            message = f"${{raw:{shorten(use.expression.text)}}} lets a value become shell code"
            hint = "leave raw: out, unless whoever sets the value may run any command"
            yield Diagnostic(message, use.path, hint, id="W105", quotes=(f"raw:{use.expression.text}",))


# What begins like this is an option to most commands.
_OPTIONS = (
    *("-", "-a", "-A", "-1", "-rf", "-x1", "-o=b", "-a.b", "-a/b", "--", "--a", "--all=1"),
    "-" + 40 * "a",
)


def _warn_of_options(program: Program, uses: list[Use]) -> Iterator[Diagnostic]:
    for use in uses:
        command = use.hole and use.hole.context.option_of
        if command and use.hole and use.hole.form != "file" and _lets_through(use, program, _OPTIONS, "-"):
            message = f"{shorten(command)} takes this value for an option if it begins with a -"
            hint = (
                f"put -- before it if {shorten(command)} knows that, or rule such values out by an enum or a "
                "pattern in its schema"
            )
            yield Diagnostic(message, use.path, hint, id="W112", quotes=(use.expression.text,))


class _Hazard(Struct, frozen=True):
    """What some values do where they stand: those that match *pattern*, as the *samples* do."""

    id: str
    message: str
    hint: str
    pattern: str
    samples: tuple[str, ...]


_HAZARDS: dict[Change, _Hazard] = {
    "json": _Hazard(
        "W133",
        "a quote or a backslash in the value changes the JSON that is written around it",
        "let jq write it: jq -n --arg name ${…} '{name: $name}'",
        r'.*["\\]',
        ('a"', "a\\b"),
    ),
    "format": _Hazard(
        "W133",
        "printf takes the value for a part of its format, in which % and \\ are more than themselves",
        "write printf '… %s\\n' ${…}",
        r".*[%\\]",
        ("a%", "a\\b"),
    ),
    "echo": _Hazard(
        "W134",
        "echo may change the value: a backslash in it, or a - at its beginning, is more than itself",
        "write printf %s ${…}",
        r"-|.*\\",
        ("-n", "a\\b"),
    ),
    "awk": _Hazard(
        "W134",
        "awk undoes the backslashes in the value",
        "write x=${…} awk '… ENVIRON[\"x\"] …'",
        r".*\\",
        ("a\\b",),
    ),
}


def _warn_of_changes(program: Program, uses: list[Use]) -> Iterator[Diagnostic]:
    for use in uses:
        if use.hole and use.hole.context.change:
            hazard = _HAZARDS[use.hole.context.change]
            if _lets_through(use, program, hazard.samples, hazard.pattern):
                quotes = (use.expression.text,)
                yield Diagnostic(hazard.message, use.path, hazard.hint, id=hazard.id, quotes=quotes)


def _lets_through(use: Use, program: Program, samples: Iterable[str], pattern: str) -> bool:
    """Whether its schema lets a text through that matches *pattern*: one of *samples*, or its own."""
    schemas = list_schemas(use.expression.root, use, program)
    return any(_fits(schema, use, samples, pattern) for schema in schemas)


def _fits(schema: Any, use: Use, samples: Iterable[str], pattern: str) -> bool:
    known = Schema(schema)
    if known.problems:  # as when it is a piece of one, with references into the rest
        return True
    values: list[Any] = [
        *samples,
        *(text for _, text in list_texts(schema) if re.match(pattern, text, re.DOTALL)),
    ]
    if isinstance(schema, dict) and "items" in schema and use.hole and use.hole.context.spreads:
        count = schema.get("minItems", 1)
        values += [[value] * (count if count in range(1, 100) else 1) for value in values]
    return any(not known.errors(value) for value in values)


def _warn_of_retries(program: Program) -> Iterator[Diagnostic]:
    general = []
    for compiled in program.steps:
        step = compiled.step
        if isinstance(step, Cli | Api) and not _is_repeatable(step):
            if step.retry is not None and step.retry.max_attempts != 1:
                message = f'"{step.id}" is tried again, and nothing says that this is safe'
                yield Diagnostic(message, (*compiled.path, "retry"), _HOW_SAFE, id="W107", at_name=True)
            elif step.retry is None:
                general.append(step.id)
    default = program.workflow.defaults.retry
    if default is not None and default.max_attempts != 1 and general:
        at: Path = ("workflow", "defaults", "retry")
        message = f"these are tried again, and nothing says that this is safe: {', '.join(general[:10])}"
        yield Diagnostic(message, at, _HOW_SAFE, id="W107", at_name=True)


_HOW_SAFE = "give it `idempotent: true`, or an `idempotency_key` that what it calls understands"


def _is_repeatable(step: Cli | Api) -> bool:
    # HTTP itself promises it of all methods but these two.
    by_method = isinstance(step, Api) and step.method not in ("POST", "PATCH")
    return step.idempotent or step.idempotency_key is not None or by_method


# Events that no transition takes


def _warn_of_untaken(program: Program, uses: list[Use]) -> Iterator[Diagnostic]:
    conditions: dict[Path, list[Expression]] = {}
    for use in uses:
        if use.field == "transitions":
            conditions.setdefault(use.path[: len(use.body.path) + 1], []).append(use.expression)
    for compiled in program.steps:
        step, path = compiled.step, compiled.path
        if isinstance(step, AwaitEvent) and path in conditions:
            left = list(islice(_find_untaken(step.input_schema, conditions[path]), 4))
            if left:
                events = "; ".join(left[:3]) + (" …" if len(left) > 3 else "")
                message = f"no transition takes the event with {events}"
                hint = "add one, or a last one with `when: true`"
                yield Diagnostic(message, (*path, "transitions"), hint, id="W106", at_name=True)


def _find_untaken(schema: Mapping[str, Any], conditions: list[Expression]) -> Iterator[str]:
    """The events that none of *conditions* takes, where they turn on nothing but finite choices."""
    paths = {path for condition in conditions for path in references(condition)}
    names = sorted((path[1] for path in paths if path[0] == "event" and len(path) == 2), key=str)
    choices = {name: _list_choices(schema, name) for name in names}
    if not choices or len(choices) < len(paths):
        return
    for values in islice(product(*(choices[name] for name in names)), MAX_EVENTS):
        event = dict(zip(names, values, strict=True))
        try:
            taken = any(holds(condition, {"event": event}) for condition in conditions)
        except EvaluationError:
            return
        if not taken:
            yield ", ".join(f"{name} = {shorten(as_text([value])[1:-1])}" for name, value in event.items())


def _list_choices(schema: Mapping[str, Any], name: Any) -> list[Any]:
    """The values that the property *name* can have, if the schema lists them."""
    entry = properties_of(schema).get(name)
    if not isinstance(entry, dict):
        return []
    if isinstance(entry.get("enum"), list):
        return list(entry["enum"])
    return [True, False] if entry.get("type") == "boolean" else []


# The workflow and its schemas


def _warn_of_no_version(workflow: Workflow) -> Iterator[Diagnostic]:
    if workflow.version is None and (workflow.name or workflow.description):
        hint = "a run tells it, so that people know which document it follows"
        yield Diagnostic("the workflow has no `version`", ("workflow",), hint, id="W104")


def _warn_of_undescribed(workflow: Workflow) -> Iterator[Diagnostic]:
    entries = properties_of(workflow.inputs)
    if not any(isinstance(entry, dict) and "description" in entry for entry in entries.values()):
        return  # whoever describes none has not forgotten one
    for name, entry in entries.items():
        if isinstance(entry, dict) and not {"description", "$ref"} & entry.keys():
            path = ("workflow", "inputs", "properties", name)
            message = f'the input "{shorten(name)}" has no description'
            hint = "whoever starts the workflow, person or agent, reads it"
            yield Diagnostic(message, path, hint, id="W108", at_name=True)


def _warn_of_unlisted(program: Program) -> Iterator[Diagnostic]:
    for path, schema in program.schemas():
        yield from _find_unlisted(schema.schema, path)


def _find_unlisted(schema: Any, path: Path) -> Iterator[Diagnostic]:
    if not isinstance(schema, dict):
        return
    properties, required = schema.get("properties"), schema.get("required")
    if isinstance(properties, dict):
        for index, name in enumerate(required if isinstance(required, list) else ()):
            if isinstance(name, str) and name not in properties:
                message = f'"{shorten(name)}" is required, and `properties` lacks it'
                hint = suggest(name, properties)
                yield Diagnostic(message, (*path, "required", index), hint, id="W111")
        for name, entry in properties.items():
            yield from _find_unlisted(entry, (*path, "properties", name))
    # Not into allOf and the like: what they require is often listed beside them.
    for keyword in ("items", "additionalProperties"):
        yield from _find_unlisted(schema.get(keyword), (*path, keyword))


def _warn_of_unread(program: Program) -> Iterator[Diagnostic]:
    for path, schema in program.schemas():
        for unread in schema.warnings:
            yield replace(unread, path=(*path, *unread.path), id="W120")
