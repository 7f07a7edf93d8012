"""Keywords: which there are, where they hold schemas, and what each may be.

A schema is refused unless each keyword in it is known and does what 2020-12 says; none is ever ignored. What
only annotates (`ANNOTATIONS`, and whatever begins with `x-`) is checked for its type and passes. Refused as
unsupported are: unknown keywords, `$vocabulary`, an unknown `$schema`, counts of `contains` beyond 0 and 1,
and patterns that could run for long (`patterns`). What a reference leads to is looked at in `survey`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from checkpointflow.diagnostics import Diagnostic, Path
from checkpointflow.errors import InvalidSchema, UnsupportedSchema
from checkpointflow.schemas.patterns import read_pattern
from checkpointflow.schemas.wording import abbreviate, add_hint

DRAFTS = ("draft-04", "draft-06", "draft-07", "2019-09", "2020-12")
"""Those that a schema may be written in. Here all is 2020-12; the others are put into it by `dialects`."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"

REFUSALS = (InvalidSchema, UnsupportedSchema)
"""What is raised about a schema that is wrong, or good (perhaps) and not to be honoured."""


def _split(text: str) -> frozenset[str]:
    return frozenset(text.split())


# where schemas stand within schemas

HOLD_ONE = _split(
    "additionalProperties contains else if items not propertyNames then unevaluatedItems"
    " unevaluatedProperties"
)
HOLD_LIST = _split("allOf anyOf oneOf prefixItems")
HOLD_NAMED = _split("$defs definitions dependentSchemas patternProperties properties")
IN_PLACE = _split("allOf anyOf oneOf not if then else dependentSchemas")
"""Those whose schemas apply to the very value that the schema around them applies to."""
REFERENCES = ("$ref", "$dynamicRef")
APPLICATORS = HOLD_ONE | HOLD_LIST | HOLD_NAMED - {"$defs", "definitions"} | set(REFERENCES)


def find_subschemas(schema: Any) -> Iterator[tuple[Path, Any]]:
    """The schemas right within *schema*, each with the way to it."""
    for keyword, value in schema.items() if isinstance(schema, dict) else ():
        if keyword in HOLD_ONE:
            yield (keyword,), value
        elif keyword in HOLD_LIST and isinstance(value, list):
            yield from (((keyword, index), inner) for index, inner in enumerate(value))
        elif keyword in HOLD_NAMED and isinstance(value, dict):
            yield from (((keyword, name), inner) for name, inner in value.items())


def find_keyword(path: Path) -> str:
    """The keyword that the value at *path* belongs to."""
    keyword, position = "", 0
    while position < len(path):
        keyword = str(path[position])
        position += 2 if keyword in HOLD_LIST | HOLD_NAMED else 1 if keyword in HOLD_ONE else len(path)
    return keyword


def diagnose(path: Path, refusal: InvalidSchema | UnsupportedSchema) -> Diagnostic:
    """*refusal* as what is wrong with the value at *path*, the keyword included; its `id` is the keyword."""
    unsupported = isinstance(refusal, UnsupportedSchema)
    return Diagnostic(str(refusal), path, code=refusal.code, id=find_keyword(path), at_name=unsupported)


# what each keyword may be

TYPES = ["array", "boolean", "integer", "null", "number", "object", "string"]


def _is_names(value: Any) -> bool:
    return (
        isinstance(value, list) and all(isinstance(n, str) for n in value) and len(set(value)) == len(value)
    )


def is_type(value: Any) -> bool:
    several = value if isinstance(value, list) else [value]
    return bool(several) and _is_names(several) and all(name in TYPES for name in several)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_anchor(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z_][-A-Za-z0-9._]*", value))


def _is_dependencies(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_names, value.values()))


def _is_uri(value: Any) -> bool:
    return isinstance(value, str) and not value.partition("#")[2]


def _is_a(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds)


Shape = tuple[str, Callable[[Any], bool]]
"""What a keyword must be, in words, and whether it is."""

_ANY: Shape = ("anything", _is_a(object))
_TEXT: Shape = ("text", _is_a(str))
_FLAG: Shape = ("true or false", _is_a(bool))
_LIST: Shape = ("a list", _is_a(list))
_ANCHOR: Shape = ("a letter or _, then letters, digits, - _ .", _is_anchor)
_COUNT: Shape = ("a whole number, 0 or more", lambda n: isinstance(n, int) and _is_number(n) and n >= 0)


def _spread(shapes: dict[str, Shape]) -> dict[str, Shape]:
    return {keyword: shape for keywords, shape in shapes.items() for keyword in keywords.split()}


ANNOTATIONS = _spread(
    {
        "$comment contentEncoding contentMediaType description format title": _TEXT,
        "contentSchema": ("a schema: an object, true or false", _is_a(dict, bool)),
        "default": _ANY,
        "deprecated readOnly writeOnly": _FLAG,
        "examples": _LIST,
        # OpenAPI and AsyncAPI; what `nullable` adds to a type is put there by `dialects`
        "discriminator example externalDocs xml": _ANY,
        "nullable": _FLAG,
        # editors, and forms made of schemas
        "allowComments allowTrailingCommas defaultSnippets doNotSuggest errorMessage order": _ANY,
        "deprecationMessage markdownDeprecationMessage markdownDescription patternErrorMessage": _TEXT,
        "enumDescriptions enumItemLabels enumNames enumTitles markdownEnumDescriptions": _ANY,
        "propertyOrder suggestSortText": _ANY,
        # makers of types, and vendors of models
        "javaInterfaces javaType tsEnumNames tsType": _ANY,
        "propertyOrdering": _LIST,
    }
)
"""What says something about a value, and never that it does not fit."""

SCALARS = _spread(
    {
        "enum": _LIST,
        "exclusiveMaximum exclusiveMinimum maximum minimum": ("a number", _is_number),
        "maxItems maxLength maxProperties minItems minLength minProperties": _COUNT,
        "multipleOf": ("a number above 0", lambda value: _is_number(value) and value > 0),
        "required": ("a list of different names", _is_names),
        "type": (f"one of {', '.join(TYPES)}, or a list of different ones", is_type),
        "uniqueItems": _FLAG,
    }
)
"""Assertions that draft-07 has in the same words."""

KEYWORDS = {
    **ANNOTATIONS,
    **SCALARS,
    **_spread(
        {
            "$anchor $dynamicAnchor": _ANCHOR,
            "$dynamicRef $ref $schema pattern": _TEXT,
            "$id": ("a URI without a fragment", _is_uri),
            "const": _ANY,
            "dependentRequired": ("an object with a list of different names for each name", _is_dependencies),
            "maxContains minContains": _COUNT,
        }
    ),
    **dict.fromkeys(HOLD_ONE, _ANY),  # the schema there is looked at as a place of its own
    **dict.fromkeys(HOLD_LIST, ("a list of schemas, not empty", lambda v: isinstance(v, list) and bool(v))),
    **dict.fromkeys(HOLD_NAMED, ("an object with a schema for each name", _is_a(dict))),
}

_INSTEAD = {
    "$recursiveRef": "`$dynamicRef`",
    "$vocabulary": "it, but only the standard vocabularies are known here",
    "additionalItems": "`items` beside `prefixItems`",
    "dependencies": "`dependentRequired` and `dependentSchemas`",
    "id": "`$id`",
    "optional": "`required`, on the object",
}


def check_keyword(schema: dict[str, Any], keyword: str) -> None:
    """Raises InvalidSchema or UnsupportedSchema if *keyword* cannot be what it is in *schema*."""
    if keyword.startswith("x-"):
        return
    if keyword not in KEYWORDS:
        raise UnsupportedSchema(problem=f"unknown keyword `{keyword:.60}`{_hint(keyword)}")
    _check_shape(keyword, schema[keyword])
    _check_meaning(schema, keyword, schema[keyword])


def _hint(keyword: str) -> str:
    if keyword in _INSTEAD:
        return f" (2020-12 has {_INSTEAD[keyword]})"
    return add_hint(keyword, KEYWORDS).replace('"', "`")


def _check_shape(keyword: str, value: Any) -> None:
    words, fits = KEYWORDS[keyword]
    if not fits(value):
        hint = add_hint(value, TYPES) if keyword == "type" and isinstance(value, str) else ""
        raise InvalidSchema(problem=f"`{keyword}` must be {words}, and is {abbreviate(value)}{hint}")


def _check_meaning(schema: dict[str, Any], keyword: str, value: Any) -> None:
    """What its shape does not say about a keyword."""
    match keyword:
        case "$schema":
            _check_dialect(value)
        case "pattern":
            read_pattern(value)
        case "multipleOf" if value < 1e-100:
            raise UnsupportedSchema(problem="a `multipleOf` below 1e-100 is not supported")
        case "minContains" | "maxContains":
            _check_counts(schema, keyword)


def _check_dialect(uri: str) -> None:
    if read_draft(uri) is None:
        known = f"{', '.join(DRAFTS[:-1])} and {DIALECT} are known"
        raise UnsupportedSchema(problem=f"only {known}, not {abbreviate(uri)}")


def read_draft(uri: str) -> str | None:
    """Which of `DRAFTS` a `$schema` names."""
    found = re.fullmatch(r"https?://json-schema\.org/(draft-0[467]|draft/(20(?:19-09|20-12)))/schema#?", uri)
    return found and (found[2] or found[1])


def _check_counts(schema: dict[str, Any], keyword: str) -> None:
    """Draft-07 has no counts, so what is let through is what can be said without."""
    least, most = schema.get("minContains", 1), schema.get("maxContains")
    if "contains" not in schema or (most is None and least in (0, 1)) or (least == 0 and most == 0):
        return
    if keyword == "maxContains" or most is None:
        problem = "only `minContains` 0 or 1, or `maxContains` 0 beside `minContains` 0, are supported"
        raise UnsupportedSchema(problem=problem)
