"""User-written JSON Schemas (2020-12): what is wrong with one, and what does not fit it.

fastjsonschema does the validating, on a draft-07 rewriting of the schema (`jsonschema_translation`, which
also says what is honoured, and what patterns are refused). Here stand the checks that come before: a schema
is refused unless each keyword in it is known and does what 2020-12 says. A keyword is never ignored; what
only annotates (`title`, `description`, `default`, `examples`, `deprecated`, `readOnly`, `writeOnly`,
`$comment`, `format`, `content…`, `x-…`) is checked for its type and passes.

Refused as unsupported are: unknown keywords, `$vocabulary`, another `$schema`, references that leave the
document (nothing is ever fetched) or choose among several `$dynamicAnchor`s, counts of `contains` beyond
0 and 1, patterns that could run for long, `unevaluated…` beside more than 64 combinations of branches,
schemas of more than 20,000 nodes or 64 levels, patterns of more than 1,000 characters.

An instance may be nested 100 levels deep. Its errors come in its own order, worded here: the generated
code says which rule was broken, and where, and everything else is worked out from the user's own schema.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from typing import Any, NamedTuple

from checkpointflow.errors import InvalidSchema, UnsupportedSchema
from checkpointflow.schemas.rewriting import (
    DIALECT,
    MAX_DEPTH,
    MAX_NODES,
    NAMED,
    ONE,
    SEVERAL,
    Path,
    Refused,
    Rewriter,
    Rule,
    SchemaProblem,
    Survey,
    Translation,
    beside,
    keyword_of,
    read_pattern,
    shown,
)

__all__ = [
    "InstanceError",
    "SchemaProblem",
    "Validator",
    "compile_schema",
    "schema_problems",
    "with_defaults",
]

MAX_DIGITS = 1_000
MAX_INSTANCE_DEPTH = 100
MAX_EXPLAINED = 20


class InstanceError(NamedTuple):
    """One thing in an instance that does not fit; `message` begins with `path`, such as `$.items[3].name`."""

    path: str
    message: str
    keyword: str


def schema_problems(schema: Any) -> list[SchemaProblem]:
    """All that keeps *schema* from being compiled, in its order; none means that it compiles.

    What is no JSON or beyond a limit comes alone, and so do references that never end.
    """
    return _translated(schema)[1]


def compile_schema(schema: Any) -> Validator:
    """A validator for *schema*, which it neither changes nor keeps.

    Raises InvalidSchema if anything is wrong with it, and UnsupportedSchema for one that cannot be
    honoured; `details` lists all problems.
    """
    translation, problems = _translated(schema)
    if translation is None:
        raise _error(problems)
    return Validator(translation)


def _error(problems: list[SchemaProblem]) -> InvalidSchema | UnsupportedSchema:
    first = next((problem for problem in problems if problem.supported), problems[0])
    details = [
        {"path": _pointed(problem.path), "keyword": problem.keyword, "message": problem.message}
        for problem in problems
    ]
    kind = InvalidSchema if first.supported else UnsupportedSchema
    return kind(problem=f"{_pointed(first.path)}: {first.message}", details=details)


def _translated(schema: Any) -> tuple[Translation | None, list[SchemaProblem]]:
    plain, problems = _copied(schema)
    if problems:
        return None, problems
    survey = Survey(plain)
    problems = _survey_problems(survey)
    if problems:
        return None, problems
    rewriter = Rewriter(survey)
    translation = rewriter.translation()
    return (None, rewriter.problems) if rewriter.problems else (translation, [])


# a copy, in plain types


def _copied(schema: Any) -> tuple[Any, list[SchemaProblem]]:
    """*schema* as plain JSON of its own, and what in it is no JSON or beyond a limit.

    A float that is whole becomes an int, so that all arithmetic on whole numbers is exact.
    """
    problems: list[SchemaProblem] = []
    left = MAX_NODES

    def copy(value: Any, path: Path) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Refused(f"the schema has more than {MAX_NODES:,} nodes")
        if type(value) in (dict, list) and len(path) >= MAX_DEPTH:
            raise Refused(f"the schema is nested more than {MAX_DEPTH} deep")
        if type(value) is dict:
            return {_key(key): copy(inner, (*path, key)) for key, inner in value.items()}
        if type(value) is list:
            return [copy(inner, (*path, index)) for index, inner in enumerate(value)]
        try:
            return _scalar(value)
        except Refused as refused:
            problems.append(_problem(path, refused))

    try:
        return copy(schema, ()), problems
    except Refused as refused:
        return None, [_problem((), refused)]


def _key(key: Any) -> str:
    if type(key) is not str:
        raise Refused(f"a key must be text, and a {type(key).__name__} is not", True)
    return key


def _scalar(value: Any) -> Any:
    if type(value) is float:
        if not math.isfinite(value):
            raise Refused(f"{value} is no JSON value", True)
        return int(value) if value.is_integer() else value
    if type(value) is int and abs(value) >= 10**MAX_DIGITS:
        raise Refused(f"the number has more than {MAX_DIGITS:,} digits")
    if value is not None and type(value) not in (str, bool, int):
        raise Refused(f"a {type(value).__name__} is no JSON value", True)
    return value


def _problem(path: Path, refused: Refused) -> SchemaProblem:
    return SchemaProblem(path, keyword_of(path), refused.message, refused.supported)


# keywords: what each may be

TYPES = ["array", "boolean", "integer", "null", "number", "object", "string"]


def _names(value: Any) -> bool:
    return (
        isinstance(value, list) and all(isinstance(n, str) for n in value) and len(set(value)) == len(value)
    )


def _type(value: Any) -> bool:
    several = value if isinstance(value, list) else [value]
    return bool(several) and _names(several) and all(name in TYPES for name in several)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


_Shape = tuple[str, Callable[[Any], bool]]
_ANY: _Shape = ("anything", _is(object))
_TEXT: _Shape = ("text", _is(str))
_FLAG: _Shape = ("true or false", _is(bool))
_LIST: _Shape = ("a list", _is(list))
_NUMBER: _Shape = ("a number", _number)
_COUNT: _Shape = ("a whole number, 0 or more", lambda n: isinstance(n, int) and _number(n) and n >= 0)
_NAMES: _Shape = ("a list of different names", _names)
_ANCHOR: _Shape = (
    "a letter or _, then letters, digits, - _ .",
    lambda name: isinstance(name, str) and bool(re.fullmatch(r"[A-Za-z_][-A-Za-z0-9._]*", name)),
)
_SHAPES: dict[str, _Shape] = {
    "$anchor $dynamicAnchor": _ANCHOR,
    "$comment $dynamicRef $ref $schema description format pattern title": _TEXT,
    "contentEncoding contentMediaType": _TEXT,
    "$id": ("a URI without a fragment", lambda uri: isinstance(uri, str) and not uri.partition("#")[2]),
    "const default": _ANY,
    "contentSchema": ("a schema: an object, true or false", lambda value: isinstance(value, dict | bool)),
    "dependentRequired": (
        "an object with a list of different names for each name",
        lambda value: isinstance(value, dict) and all(map(_names, value.values())),
    ),
    "deprecated readOnly uniqueItems writeOnly": _FLAG,
    "enum examples": _LIST,
    "exclusiveMaximum exclusiveMinimum maximum minimum": _NUMBER,
    "maxContains maxItems maxLength maxProperties minContains minItems minLength minProperties": _COUNT,
    "multipleOf": ("a number above 0", lambda value: _number(value) and value > 0),
    "required": _NAMES,
    "type": (f"one of {', '.join(TYPES)}, or a list of different ones", _type),
    " ".join(ONE): _ANY,  # the schema there is looked at as a place of its own
    " ".join(SEVERAL): (
        "a list of schemas, not empty",
        lambda value: isinstance(value, list) and bool(value),
    ),
    " ".join(NAMED): ("an object with a schema for each name", _is(dict)),
}
KEYWORDS = {keyword: shape for keywords, shape in _SHAPES.items() for keyword in keywords.split()}

_INSTEAD = {
    "$recursiveRef": "`$dynamicRef`",
    "$vocabulary": "it, but only the standard vocabularies are known here",
    "additionalItems": "`items` beside `prefixItems`",
    "dependencies": "`dependentRequired` and `dependentSchemas`",
    "id": "`$id`",
    "nullable": '`type: ["…", "null"]`',
    "optional": "`required`, on the object",
}


def _survey_problems(survey: Survey) -> list[SchemaProblem]:
    """Everything that is wrong or not to be had, in the order of the document."""
    problems = list(survey.problems)
    for path, schema in survey.schemas.items():
        if isinstance(schema, dict):
            for keyword in schema:
                problems += _keyword_problems(survey, path, keyword)
        elif not isinstance(schema, bool):
            problems.append(_problem(path, Refused(_no_schema(path, schema), True)))
    if not problems:
        problems = list(_endless(survey))
    return sorted(problems, key=lambda problem: _position(survey.schemas[()], problem.path))


def _no_schema(path: Path, value: Any) -> str:
    if isinstance(value, list) and keyword_of(path) == "items":
        return "a list of schemas is written `prefixItems`; `items` is one schema, for the items after those"
    return f"a schema is an object, true or false, and this is {shown(value)}"


def _position(document: Any, path: Path) -> tuple[int, ...]:
    position = []
    for part in path:
        position.append(part if isinstance(part, int) else list(document).index(part))
        document = document[part]
    return tuple(position)


def _keyword_problems(survey: Survey, path: Path, keyword: str) -> Iterator[SchemaProblem]:
    value = survey.schemas[path][keyword]
    try:
        _check_shape(keyword, value)
        _check_meaning(survey, path, keyword, value)
    except Refused as refused:
        yield SchemaProblem((*path, keyword), keyword, refused.message, refused.supported)
        return
    for pattern in value if keyword == "patternProperties" else ():
        try:
            read_pattern(pattern)
        except Refused as refused:
            yield _problem((*path, keyword, pattern), refused)


def _check_shape(keyword: str, value: Any) -> None:
    if keyword.startswith("x-"):
        return
    if keyword not in KEYWORDS:
        raise Refused(f"unknown keyword `{keyword:.60}`{_instead(keyword)}")
    words, fits = KEYWORDS[keyword]
    if not fits(value):
        hint = _did_you_mean(value, TYPES) if keyword == "type" and isinstance(value, str) else ""
        raise Refused(f"`{keyword}` must be {words}, and is {shown(value)}{hint}", True)


def _instead(keyword: str) -> str:
    if keyword in _INSTEAD:
        return f" (2020-12 has {_INSTEAD[keyword]})"
    return _did_you_mean(keyword, KEYWORDS, "`")


def _did_you_mean(word: str, words: Iterable[str], quote: str = '"') -> str:
    known = sorted({other for other in words if len(other) <= 100})
    if len(word) > 100 or len(known) > 1_000:  # comparing all would take minutes
        return ""
    from difflib import get_close_matches

    near = get_close_matches(word, known, 1)
    return f" (did you mean {quote}{near[0]}{quote}?)" if near else ""


def _check_meaning(survey: Survey, path: Path, keyword: str, value: Any) -> None:
    """What its shape does not say about a keyword."""
    match keyword:
        case "$schema" if value.rstrip("#") != DIALECT:
            raise Refused(f"only {DIALECT} is known, not {shown(value)}")
        case "$ref" | "$dynamicRef":
            survey.target(path, keyword, value)
        case "pattern":
            read_pattern(value)
        case "multipleOf" if value < 1e-100:
            raise Refused("a `multipleOf` below 1e-100 is not supported")
        case "minContains" | "maxContains":
            _check_counts(survey.schemas[path], keyword)


def _check_counts(schema: dict[str, Any], keyword: str) -> None:
    least, most = schema.get("minContains", 1), schema.get("maxContains")
    if "contains" not in schema or (most is None and least in (0, 1)) or (least == 0 and most == 0):
        return
    if keyword == "maxContains" or most is None:
        raise Refused("only `minContains` 0 or 1, or `maxContains` 0 beside `minContains` 0, are supported")


def _endless(survey: Survey) -> Iterator[SchemaProblem]:
    """The first place where schemas apply to one value without end, or too deep, or too often."""
    known: dict[Path, tuple[int, int]] = {}

    def measure(path: Path, above: tuple[Path, ...]) -> tuple[int, int]:
        """How deep, and how often, schemas apply to one value from *path* on."""
        if path in above:
            raise Refused(
                "the schema contains itself without going down into the value, so it would never end"
            )
        if path not in known and len(above) < MAX_DEPTH:
            inner = [measure(place, (*above, path)) for place in beside(survey, path)]
            known[path] = (
                1 + max((high for high, _ in inner), default=0),
                1 + sum(times for _, times in inner),
            )
        high, times = known.get(path, (MAX_DEPTH, 1))
        if high + len(above) > MAX_DEPTH or times > MAX_NODES:
            raise Refused(
                f"more than {MAX_DEPTH} schemas within each other, or {MAX_NODES:,} in all, for one value"
            )
        return high, times

    for path in survey.schemas:
        try:
            measure(path, ())
        except Refused as refused:
            yield _problem(path, refused)
            return


# errors of instances


class _Unfit(Exception):
    """The instance cannot be looked at as a whole."""


class Validator:
    """Says what in an instance does not fit a schema; made by `compile_schema`."""

    def __init__(self, translation: Translation) -> None:
        self._translation = translation
        self._formats = {
            name: _matcher(re.compile(pattern.regex), pattern.longest)
            for name, pattern in translation.formats.items()
        }
        self._check = self._compiled(translation.definitions["d0"])

    def errors(self, instance: Any) -> list[InstanceError]:
        """All that does not fit, in the order of *instance*; none means that it fits."""
        try:
            plain = _plain(instance, 0, self._translation.longest_key)
            broken = self._broken(self._check, plain)
            places = _places(plain, {error.name for error in broken})
            broken.sort(key=lambda error: (places[error.name].order, error.definition["at"]))
            worded = (error for one in broken for error in self._worded(one, places[one.name].path))
            return list(dict.fromkeys(worded))
        except _Unfit as unfit:
            return [InstanceError("$", f"$ {unfit}", "")]

    def _compiled(self, schema: dict[str, Any]) -> Callable[[Any], Any]:
        import fastjsonschema

        check: Callable[[Any], Any] = fastjsonschema.compile(
            {"$ref": "#/definitions/it", "definitions": {**self._translation.definitions, "it": schema}},
            handlers=_NoFetching(),
            formats=self._formats,
            use_default=False,
            fast_fail=False,
        )
        return check

    def _broken(self, check: Callable[[Any], Any], value: Any) -> list[Any]:
        """The errors of the generated code."""
        from fastjsonschema import JsonSchemaValuesException

        try:
            self._run(check, value)
        except JsonSchemaValuesException as error:
            return list(error.errors)
        except RecursionError:
            raise _Unfit("is nested too deep for this schema") from None
        return []

    def _run(self, check: Callable[[Any], Any], value: Any) -> None:
        if not self._translation.has_fractions:
            check(value)
            return
        import decimal

        with decimal.localcontext(decimal.Context(prec=200)):  # so that no division is rounded to a whole
            check(value)

    def _worded(self, error: Any, path: str) -> Iterator[InstanceError]:
        rule = self._translation.rules[error.definition["at"]]
        keyword = rule.keyword or error.rule
        words = _WORDS.get(keyword)
        texts = words(rule.schema, error.value) if words else self._explained(keyword, rule, error.value)
        told = rule.schema if isinstance(rule.schema, str) else keyword
        for text in texts:
            yield InstanceError(path, f"{path} {text}", told)

    def _explained(self, keyword: str, rule: Rule, value: Any) -> list[str]:
        """The texts for a rule whose branches say why."""
        if keyword == "propertyNames":
            reasons = ((name, self._reasons(rule.branches[0], name)) for name in value)
            return [f"has the field {shown(name)}, whose name {why[0][3:]}" for name, why in reasons if why]
        count = f"{len(rule.branches)} alternatives of its `{keyword}`"
        if len(rule.branches) > MAX_EXPLAINED:
            return [f"must fit {'one' if keyword == 'anyOf' else 'exactly one'} of the {count}"]
        found = [self._reasons(branch, value) for branch in rule.branches]
        fitting = [str(number) for number, why in enumerate(found, 1) if not why]
        if fitting:
            return [f"must fit exactly one of the {count}, and fits {' and '.join(fitting)}"]
        told = "; ".join(f"{number}: {why[0]}" for number, why in enumerate(found[:3], 1))
        return [f"fits none of the {count} ({told})"]

    def _reasons(self, branch: dict[str, Any], value: Any) -> list[str]:
        """Why *value* does not fit *branch*; what has branches of its own is only named."""
        reasons = []
        for error in self._broken(self._compiled(branch), value):
            rule = self._translation.rules[error.definition["at"]]
            keyword = rule.keyword or error.rule
            where = f"at {shown(error.name[4:].lstrip('.'))} " if error.name != "data" else ""
            words = _WORDS.get(keyword)
            texts = words(rule.schema, error.value) if words else [f"does not fit its `{keyword}`"]
            reasons += [f"{where}it {text}" for text in texts]
        return reasons


class _NoFetching(dict[str, Any]):
    """Handlers for every scheme there is: should a reference get this far, nothing is fetched."""

    def __contains__(self, scheme: object) -> bool:
        return True

    def __getitem__(self, scheme: str) -> Any:
        raise LookupError(f"a reference by {scheme} reached the compiler")


def _matcher(pattern: re.Pattern[str], longest: float) -> Callable[[str], bool]:
    def matches(text: str) -> bool:
        if len(text) > longest:
            raise _Unfit(
                f"has a text of {len(text):,} characters where a pattern is tried on {int(longest):,} at most"
            )
        return pattern.search(text) is not None

    return matches


def _plain(value: Any, depth: int, longest_key: float) -> Any:
    """A copy of *value* in which every whole number is an int."""
    if isinstance(value, dict | list):
        if depth >= MAX_INSTANCE_DEPTH:
            raise _Unfit(f"is nested more than {MAX_INSTANCE_DEPTH} levels deep")
        if isinstance(value, list):
            return [_plain(inner, depth + 1, longest_key) for inner in value]
        if any(len(key) > longest_key for key in value):
            raise _Unfit(f"has a field with a name of more than {int(longest_key):,} characters")
        return {key: _plain(inner, depth + 1, longest_key) for key, inner in value.items()}
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _Unfit(f"holds {value}, which is no JSON value")
        return int(value) if value.is_integer() else value
    return value


class _Place(NamedTuple):
    order: int
    path: str


def _places(value: Any, names: set[str]) -> dict[str, _Place]:
    """Where in *value* each of *names* is: the generated code's word for it, such as `data.items[3]`.

    Two places have one name if a field's name holds a dot or a bracket; then the first is told.
    """
    places: dict[str, _Place] = {}

    def look(value: Any, name: str, path: str) -> None:
        if name in names:
            places.setdefault(name, _Place(len(places), path))
        if len(places) == len(names):
            return
        for key, inner in value.items() if isinstance(value, dict) else ():
            look(inner, f"{name}.{key}", path + _step(key))
        for index, inner in enumerate(value) if isinstance(value, list) else ():
            look(inner, f"{name}[{index}]", f"{path}[{index}]")

    look(value, "data", "$")
    return places


def _step(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if re.fullmatch(r"[A-Za-z_$][\w$-]*", part, re.ASCII) else f"[{shown(part)}]"


def _pointed(path: Path) -> str:
    return "$" + "".join(map(_step, path))


def _kind(value: Any) -> str:
    """The name of a type, with its article."""
    return {"array": "a list", "object": "an object", "integer": "a whole number", "null": "null"}.get(
        value, "true or false" if value == "boolean" else f"a {value}"
    )


def _wrong_type(schema: Any, value: Any) -> list[str]:
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return [f"must be {_listed([_kind(name) for name in types])}, and is {shown(value)}"]


def _listed(words: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _not_among(schema: Any, value: Any) -> list[str]:
    known = schema["enum"]
    if not known:
        return ["is not allowed: its `enum` is empty"]
    words = ", ".join(map(shown, known[:20])) + (", …" if len(known) > 20 else "")
    texts = [text for text in known if isinstance(text, str)]
    hint = _did_you_mean(value, texts) if isinstance(value, str) else ""
    one_of = "one of " if len(known) > 1 else ""
    return [f"must be {one_of}{words}, and is {shown(value)}{hint}"]


def _twice(_: Any, value: Any) -> list[str]:
    from json import dumps

    spelt = [dumps(item, sort_keys=True) for item in value]
    last = {text: index for index, text in enumerate(spelt)}
    item = next(item for index, item in enumerate(value) if last[spelt[index]] != index)
    return [f"must have no item twice, and has {shown(item)} more than once"]


def _lacking(schema: Any, value: Any) -> list[str]:
    return [f"lacks {shown(name)}" for name in schema["required"] if name not in value]


def _lacking_beside(schema: Any, value: Any) -> list[str]:
    return [
        f"lacks {shown(name)}, which {shown(other)} asks for"
        for other, names in schema.items()
        for name in names
        if name not in value
    ]


def _unknown(schema: Any, value: Any) -> list[str]:
    known = schema.get("properties", {})
    patterns = [re.compile(read_pattern(text).regex) for text in schema.get("patternProperties", {})]
    return [
        f"has the unknown field {shown(name)}{_did_you_mean(name, known)}"
        for name in value
        if name not in known and not any(pattern.search(name) for pattern in patterns)
    ]


def _spelt(pattern: str) -> str:
    """*pattern* as its author wrote it, if that can be printed."""
    if not pattern.isprintable() or not pattern:
        return shown(pattern)
    return pattern if len(pattern) <= 60 else pattern[:59] + "…"


def _bound(keyword: str, words: str) -> Callable[[Any, Any], list[str]]:
    return lambda schema, value: [f"must be {words} {shown(schema[keyword])}, and is {shown(value)}"]


def _size(keyword: str, words: str, unit: str) -> Callable[[Any, Any], list[str]]:
    def text(schema: Any, value: Any) -> list[str]:
        limit = schema[keyword]
        return [f"must have at {words} {limit} {unit if limit != 1 else _ONE[unit]}, and has {len(value)}"]

    return text


_ONE = {"characters": "character", "items": "item", "fields": "field"}

_WORDS: dict[str, Callable[[Any, Any], list[str]]] = {
    "additionalProperties": _unknown,
    "const": lambda schema, value: [f"must be {shown(schema['const'])}, and is {shown(value)}"],
    "contains": lambda *_: ["must have an item that fits its `contains`"],
    "dependentRequired": _lacking_beside,
    "enum": _not_among,
    "exclusiveMaximum": _bound("exclusiveMaximum", "below"),
    "exclusiveMinimum": _bound("exclusiveMinimum", "above"),
    "false": lambda schema, _: [
        "is one item too many" if schema in ("items", "unevaluatedItems") else "is not allowed"
    ],
    "maxContains": lambda _, value: [f"must not fit `contains`, and is {shown(value)}"],
    "maxItems": _size("maxItems", "most", "items"),
    "maxLength": _size("maxLength", "most", "characters"),
    "maxProperties": _size("maxProperties", "most", "fields"),
    "maximum": _bound("maximum", "at most"),
    "minItems": _size("minItems", "least", "items"),
    "minLength": _size("minLength", "least", "characters"),
    "minProperties": _size("minProperties", "least", "fields"),
    "minimum": _bound("minimum", "at least"),
    "multipleOf": _bound("multipleOf", "a multiple of"),
    "not": lambda _, value: [f"must not fit its `not`, and is {shown(value)}"],
    "pattern": lambda schema, value: [
        f"must match the pattern {_spelt(schema['pattern'])}, and is {shown(value)}"
    ],
    "required": _lacking,
    "type": _wrong_type,
    "unevaluated": lambda schema, _: [
        f"has {'a field' if schema == 'unevaluatedProperties' else 'an item'}"
        f" that no branch that holds knows, and `{schema}` refuses it"
    ],
    "unevaluatedProperties": _unknown,
    "uniqueItems": _twice,
}


# defaults


def with_defaults(schema: Any, instance: Any) -> Any:
    """A copy of *instance* with the `default` of each property that is absent.

    Down through `properties` and `$ref`, also within a default just filled in, but in that case not into a
    schema that is being filled in already. Parts that nothing was filled into are shared with *instance*; a
    schema that `schema_problems` refuses fills in nothing.
    """
    plain, problems = _copied(schema)
    survey = Survey(plain)
    if problems or _survey_problems(survey):
        return instance
    return _Defaults(schema, survey).filled((), instance, frozenset(), 0)


class _Defaults:
    """Fills in what *schema* has as defaults."""

    def __init__(self, schema: Any, survey: Survey) -> None:
        self._schema = schema
        self._survey = survey

    def filled(self, path: Path, value: Any, filling: frozenset[Path], depth: int) -> Any:
        """*value* as the schema at *path* completes it; *filling*: the defaults that it is within."""
        schema = self._survey.schemas[path]
        if not isinstance(schema, dict) or not isinstance(value, dict) or depth > MAX_INSTANCE_DEPTH:
            return value
        found = dict(value)
        for name in schema.get("properties", {}):
            inner = (*path, "properties", name)
            if name in value:
                found[name] = self.filled(inner, value[name], filling, depth + 1)
            elif inner not in filling:
                for default in self._defaults(inner):
                    found[name] = self.filled(inner, deepcopy(default), filling | {inner}, depth + 1)
        for target in self._survey.targets(path):
            found = self.filled(target, found, filling, depth)
        return found

    def _defaults(self, path: Path) -> list[Any]:
        """The default of the schema at *path*, or of one that it refers to: a list of one, or of none."""
        schema = self._survey.schemas[path]
        if not isinstance(schema, dict):
            return []
        if "default" in schema:
            original = self._schema  # not the copy, in which 1.0 is 1
            for part in (*path, "default"):
                original = original[part]
            return [original]
        targets = self._survey.targets(path)
        return next(filter(None, map(self._defaults, targets)), [])
