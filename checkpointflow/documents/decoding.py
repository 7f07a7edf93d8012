"""A workflow document -> Workflow, with every complaint at its line.

msgspec makes the Structs and is quick, but it stops at the first fault and words it for programmers. So
when it refuses a document, the same types are walked here beside the document, and all that does not
fit is told at once, in a person's words. The types stay the only description of what fits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, get_args

import msgspec
from msgspec import structs

from checkpointflow.diagnostics import Diagnostic, Path, describe, find_nearest, join_words, shorten, suggest
from checkpointflow.documents.model import SCHEMA_VERSION, AnyStep, Document, Step, Workflow
from checkpointflow.documents.parts import HOLE, NAME
from checkpointflow.documents.spellings import respell
from checkpointflow.documents.yaml import MAX_PROBLEMS, Source, parse, sort_by_mark
from checkpointflow.errors import InvalidWorkflow
from checkpointflow.patterns import compile_late

_ID_RULE = "a letter or _, then letters, digits, _ and -"
_ENV_RULE = "a letter or _, then letters, digits and _"
_HOST_RULE = "a name or an address in lower case, without a port or brackets"
_QUEUE_RULE = "letters, digits, _, - and ., and no ${…}"
_EVENT_RULE = "a letter or _, then letters, digits, _, - and ."

# What to write, by the field's name: for fields where being told what is wrong is not enough.
_ADVICE = {
    "schema_version": f"write schema_version: {SCHEMA_VERSION}",
    "on_error": 'write "on_error: continue", or "on_error: {next: <step id>}"',
    "on_timeout": 'write "on_timeout: {next: <step id>}"',
    "success": 'write "success: {exit_codes: [0, 1]}", or for an api step "{status_codes: [200]}"',
}

_SPAN = compile_late(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(ms|s|m|h|d|)[a-z]*", re.IGNORECASE)
_SECONDS = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}

# What stands in for a field that a step cannot be without, so that its other fields can be checked.
_STAND_INS: Mapping[str, dict[str, Any]] = {
    "cli": {"command": ":"},
    "api": {"url": "http://localhost"},
    "await_event": {"audience": "user", "event_name": "_"},
    "foreach": {"items": []},
}


def decode(data: bytes, file: str | None = None) -> tuple[Workflow, Source]:
    """The workflow that *data* describes, or InvalidWorkflow with all that its structure has wrong."""
    workflow, source, problems = decode_leniently(data, file)
    if workflow is None or problems:
        raise InvalidWorkflow(problems)
    return workflow, source


def decode_leniently(
    data: bytes, file: str | None = None
) -> tuple[Workflow | None, Source, list[Diagnostic]]:
    """As `decode`, but with problems returned beside what can be made of the rest.

    A field that does not fit is left out or has a stand-in, and a step that is nothing without it becomes
    an `end`, so that what refers to it still finds it. None if not even that much is there.
    """
    source = parse(data, file)
    if source.root is None:
        return None, source, source.problems
    source.value = respell(source.root, "document")
    try:
        workflow: Workflow | None = msgspec.convert(source.value, Document).workflow
        problems = source.problems
    except msgspec.ValidationError as error:
        wrong = list_misfits(source.value, Document, error)
        problems = source.problems + [source.locate(one) for one in wrong]
        workflow = _salvage(source.value, [one.path for one in wrong])
    return workflow, source, sort_by_mark(problems)


# Walking the types


def list_misfits(value: Any, kind: type, error: Exception) -> list[Diagnostic]:
    """All in *value* that does not fit the Struct *kind*, of which msgspec has said *error*."""
    from msgspec import inspect  # late: most documents fit

    return list(islice(_fit(value, inspect.type_info(kind), ()), MAX_PROBLEMS)) or [Diagnostic(str(error))]


def _fit(value: Any, kind: Any, path: Path) -> Iterator[Diagnostic]:
    """All in *value* that does not fit the type *kind*, as `msgspec.inspect` describes it."""
    from msgspec import inspect

    match kind:
        case inspect.Metadata():
            yield from _fit(value, kind.type, path)
        case inspect.UnionType():
            others = [member for member in kind.types if not _is_hole(member)]
            if len(others) < len(kind.types):
                yield from _fit_parameter(value, others, path)
            else:
                yield from _fit_one_of(value, _list_members(others), path)
        case inspect.AnyType():
            return
        case _ if _name_shape(value) not in _list_shapes(kind):
            yield _refuse_shape(kind, value, path)
        case inspect.StructType():
            yield from _fit_fields(value, kind, path)
        case inspect.DictType():
            yield from _fit_mapping(value, kind, path)
        case inspect.ListType() | inspect.VarTupleType():
            yield from _fit_items(value, kind, path)
        case inspect.LiteralType():
            yield from _fit_choice(value, kind, path)
        case inspect.StrType():
            yield from _fit_text(value, kind, path)
        case inspect.IntType() | inspect.FloatType():
            yield from _fit_number(value, kind, path)


def _list_members(types: Iterable[Any]) -> list[Any]:
    from msgspec import inspect

    return [m.type if isinstance(m, inspect.Metadata) else m for m in types]


def _is_hole(kind: Any) -> bool:
    """Whether it is `Hole` or `ListHole`."""
    patterns = (getattr(kind, "extra_json_schema", None) or {}).get("pattern"), getattr(kind, "pattern", None)
    return HOLE in (*patterns, getattr(getattr(kind, "type", None), "pattern", None))


def _fit_one_of(value: Any, members: list[Any], path: Path) -> Iterator[Diagnostic]:
    if hasattr(members[0], "tag") and members[0].tag:
        yield from _fit_step(value, {member.tag: member for member in members}, path)
        return
    fitting = [member for member in members if _name_shape(value) in _list_shapes(member)]
    if fitting:
        yield from _fit(value, fitting[0], path)
    else:
        expected = [name for name in dict.fromkeys(map(_describe_type, members)) if name != "nothing"]
        if "a number" in expected:
            expected = [name for name in expected if name != "a whole number"]
        message = f"expected {join_words(expected)}, and found {describe(value)}"
        yield Diagnostic(message, path, _advise(path, value, expected))


def _fit_parameter(value: Any, others: list[Any], path: Path) -> Iterator[Diagnostic]:
    """Of what may be a hole instead, and then is judged when its step begins."""
    has_hole = isinstance(value, str) and "${" in value
    if has_hole and re.search(HOLE, value):
        return
    one = len(others) == 1
    fitting = _fit(value, others[0], path) if one else _fit_one_of(value, _list_members(others), path)
    for wrong in fitting:
        yield structs.replace(wrong, hint="a `${…}` stands alone here") if has_hole else wrong


def find_misfit(value: Any, kind: Any, field: str) -> str:
    """Why *value* is no *kind*, a type of `model`, in the words that a literal there would get."""
    from msgspec import inspect

    return next(_fit(value, inspect.type_info(kind), (field,))).message


def _name_shape(value: Any) -> str:
    """The name of the JSON type that *value* has; integers apart from other numbers."""
    return {"NoneType": "null", "int": "integer"}.get(type(value).__name__, type(value).__name__)


_SHAPES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "StructType": (("dict",), "a mapping"),
    "DictType": (("dict",), "a mapping"),
    "ListType": (("list",), "a list"),
    "VarTupleType": (("list",), "a list"),
    "StrType": (("str",), "text"),
    "LiteralType": (("str",), "text"),
    "BoolType": (("bool",), "true or false"),
    "IntType": (("integer",), "a whole number"),
    "FloatType": (("float", "integer"), "a number"),
    "NoneType": (("null",), "nothing"),
}


def _list_shapes(kind: Any) -> tuple[str, ...]:
    return _SHAPES[type(kind).__name__][0]


def _describe_type(kind: Any) -> str:
    return _SHAPES[type(kind).__name__][1]


def _refuse_shape(kind: Any, value: Any, path: Path) -> Diagnostic:
    from msgspec import inspect

    expected = _describe_type(kind)
    if isinstance(kind, inspect.LiteralType):
        expected = join_words([f'"{choice}"' for choice in kind.values])
    found = (
        "a fraction" if expected == "a whole number" and _name_shape(value) == "float" else describe(value)
    )
    return Diagnostic(
        f"expected {expected}, and found {found}", path, _advise(path, value, [_describe_type(kind)])
    )


def _advise(path: Path, value: Any, expected: list[str]) -> str | None:
    if path and path[-1] in _ADVICE:
        return _ADVICE[str(path[-1])]
    if "text" in expected and isinstance(value, bool | int | float):
        return "put it in quotes"
    if expected == ["a number"] and isinstance(value, str):
        span = _SPAN.fullmatch(value)
        return f"write {float(span[1]) * _SECONDS[span[2].lower()]:g}, in seconds" if span else "in seconds"
    return None


def _fit_mapping(value: dict[str, Any], kind: Any, path: Path) -> Iterator[Diagnostic]:
    for name, entry in value.items():
        for wrong in _fit(name, kind.key_type, (*path, name)):
            yield structs.replace(wrong, at_name=True)
        yield from _fit(entry, kind.value_type, (*path, name))


def _fit_items(value: list[Any], kind: Any, path: Path) -> Iterator[Diagnostic]:
    if len(value) < (kind.min_length or 0):
        yield Diagnostic(f"`{path[-1]}` must not be empty", path)
    for index, item in enumerate(value):
        yield from _fit(item, kind.item_type, (*path, index))


_WHY_NOT: dict[Path, str] = {
    ("shell", "cmd"): "to cmd a variable's value is code as soon as it is put in, so no place of it is safe "
    "for values: use pwsh, or start a program that reads its environment",
}


def _fit_choice(value: str, kind: Any, path: Path) -> Iterator[Diagnostic]:
    if value not in kind.values:
        choices = join_words([f'"{choice}"' for choice in kind.values])
        hint = _WHY_NOT.get((path[-1], value)) or _advise(path, value, []) or suggest(value, kind.values)
        yield Diagnostic(f'expected {choices}, and found "{shorten(value)}"', path, hint)


def _fit_text(value: str, kind: Any, path: Path) -> Iterator[Diagnostic]:
    if len(value) < (kind.min_length or 0):
        yield Diagnostic("expected text, and found an empty one", path)
    elif kind.max_length is not None and len(value) > kind.max_length:
        yield Diagnostic(f"longer than {kind.max_length:,} characters", path)
    elif kind.pattern is not None and not re.search(kind.pattern, value):
        rule, what = _explain_pattern(kind.pattern, path)
        yield Diagnostic(f'"{shorten(value)}" cannot be {what}', path, f"{what} is {rule}")


def _explain_pattern(pattern: str, path: Path) -> tuple[str, str]:
    """The rule that a regular expression stands for, and for what, in words."""
    if pattern == NAME:
        return _ID_RULE, "a name" if path[-1] == "name" else "an id"
    if "env" in path:
        return _ENV_RULE, "the name of an environment variable"
    if "allow_hosts" in path:
        return _HOST_RULE, "a host"
    if path[-1] == "runs_on":
        return _QUEUE_RULE, "the name of a queue"
    return _EVENT_RULE, "the name of an event"


def _fit_number(value: float, kind: Any, path: Path) -> Iterator[Diagnostic]:
    bounds = ((kind.gt, value.__gt__), (kind.ge, value.__ge__), (kind.le, value.__le__))
    if not all(bound is None or within(bound) for bound, within in bounds):
        bottom = f"above {kind.gt:,g} and at most" if kind.gt is not None else f"from {kind.ge:,g} to"
        found = shorten(str(value), 20)
        yield Diagnostic(f"expected a number {bottom} {kind.le:,.0f}, and found {found}", path)


# Fields and steps


def _fit_fields(value: dict[str, Any], kind: Any, path: Path) -> Iterator[Diagnostic]:
    owner = _describe_owner(kind, path)
    fields = {field.encode_name: field for field in kind.fields}
    for name, field in fields.items():
        if name in value:
            yield from _fit(value[name], field.type, (*path, name))
        elif field.required:
            yield Diagnostic(f'{owner} needs "{name}"', path, _ADVICE.get(name))
    for name in value:
        if name not in fields and name != kind.tag_field:
            yield _refuse_field(name, owner, fields, (*path, name))


def _describe_owner(kind: Any, path: Path) -> str:
    """Whose field it is, for people: `a cli step`, an item of `cases`, `retry`."""
    if kind.tag:
        return _describe_kinds([kind.tag])
    if not path:
        return "the document"
    return f"an item of `{path[-2]}`" if isinstance(path[-1], int) else f"`{path[-1]}`"


def _describe_kinds(kinds: list[str]) -> str:
    first = "an" if kinds[0][0] in "aeiou" else "a"
    return f"{first} {kinds[0]} step" if len(kinds) == 1 else f"{join_words(kinds, 'and')} steps"


def _refuse_field(name: str, owner: str, fields: Mapping[str, Any], path: Path) -> Diagnostic:
    elsewhere = _find_kinds_with(name) if owner.endswith(" step") else []
    if elsewhere:
        hint = f"`{name}` belongs to {_describe_kinds(elsewhere)}"
    elif owner == "the document" and name in Workflow.__struct_encode_fields__:
        hint = f"`{name}` belongs under `workflow`"
    else:
        hint = suggest(name, fields) or f"known here: {', '.join(fields)}"
    return Diagnostic(f'unknown field "{shorten(name)}" in {owner}', path, hint, at_name=True)


def _find_kinds_with(name: str) -> list[str]:
    """The kinds of step that have the field *name*."""
    return [s.__struct_config__.tag for s in get_args(AnyStep) if name in s.__struct_encode_fields__]


def _fit_step(value: Any, kinds: Mapping[str, Any], path: Path) -> Iterator[Diagnostic]:
    if not isinstance(value, dict):
        hint = "a step is a mapping with `id` and `kind`"
        yield Diagnostic(f"expected a step, and found {describe(value)}", path, hint)
        return
    kind = value.get("kind")
    if isinstance(kind, str) and kind in kinds:
        yield from _fit_fields(value, kinds[kind], path)
        return
    # Without a kind nothing is known of the fields but the ones that all kinds have.
    yield _refuse_kind(value, list(kinds), path)
    for field in kinds["end"].fields:
        if field.encode_name in _COMMON & value.keys():
            yield from _fit(value[field.encode_name], field.type, (*path, field.encode_name))


_COMMON = frozenset(Step.__struct_encode_fields__)


def _refuse_kind(value: dict[str, Any], kinds: list[str], path: Path) -> Diagnostic:
    all_kinds = f"the kinds are {join_words(kinds, 'and')}"
    if "kind" not in value:
        meant = [name for name, entry in value.items() if entry in kinds and name not in _COMMON]
        meant += filter(None, [find_nearest("kind", value.keys() - _COMMON)])
        hint = f'did you mean "kind" where "{shorten(meant[0])}" stands? ' if meant else ""
        return Diagnostic('a step needs "kind"', (*path, *meant[:1]), hint + all_kinds, at_name=bool(meant))
    kind, at = value["kind"], (*path, "kind")
    if not isinstance(kind, str):
        return Diagnostic(f"expected the kind of step, and found {describe(kind)}", at, all_kinds)
    near = suggest(kind, kinds)
    hint = f"{near} {all_kinds}" if near else all_kinds
    return Diagnostic(f'unknown kind "{shorten(kind)}"', at, hint, code="ERR_UNSUPPORTED_STEP")


# What can be made of a document with problems


def _salvage(value: Any, wrong: list[Path]) -> Workflow | None:
    """The workflow without what is *wrong*, so that the rest of it can be checked as well."""
    said = value.get("workflow") if isinstance(value, dict) else None
    if not isinstance(said, dict):
        return None
    cuts = frozenset(map(_choose_cut, wrong))
    rest = {name: entry for name, entry in said.items() if ("workflow", name) not in cuts}
    for name in {"steps", *(rest.keys() & {"finally"})}:
        rest[name] = _salvage_steps(rest.get(name), cuts, ("workflow", name))
    try:
        return msgspec.convert({"id": "_", **rest}, Workflow)
    except msgspec.ValidationError:
        return None


def _choose_cut(path: Path) -> Path:
    """The field of a step, or else of the workflow, that *path* lies in; a step is left whole."""
    lists = ("steps", "body", "finally")
    steps = [i for i in range(1, len(path)) if path[i - 1] in lists and isinstance(path[i], int)]
    return path[: steps[-1] + 2] if steps else path[:2]


def _salvage_steps(steps: Any, cuts: frozenset[Path], path: Path) -> Any:
    if not isinstance(steps, list):
        return steps
    return [_salvage_step(step, cuts, (*path, index)) for index, step in enumerate(steps)]


def _salvage_step(step: Any, cuts: frozenset[Path], path: Path) -> Any:
    fields = step if isinstance(step, dict) else {}
    rest = {name: entry for name, entry in fields.items() if (*path, name) not in cuts}
    # Only as far as it is what it should be: of an unknown kind, the fields have not been looked at.
    if rest.get("kind") == "foreach":
        rest["body"] = _salvage_steps(rest.get("body"), cuts, (*path, "body"))
    if isinstance(rest.get("branches"), list):
        branches = enumerate(rest["branches"])
        rest["branches"] = [_salvage_branch(b, cuts, (*path, "branches", i)) for i, b in branches]
    numbers = [str(part) for part in path if isinstance(part, int) or part == "finally"]
    rest = {"id": "_".join(["", *numbers]), **_STAND_INS.get(str(rest.get("kind")), {}), **rest}
    try:
        msgspec.convert(rest, AnyStep)
    except msgspec.ValidationError:
        return {"kind": "end", "id": rest["id"]}
    return rest


def _salvage_branch(branch: Any, cuts: frozenset[Path], path: Path) -> Any:
    if not isinstance(branch, dict) or "steps" not in branch:
        return branch
    return {**branch, "steps": _salvage_steps(branch["steps"], cuts, (*path, "steps"))}
