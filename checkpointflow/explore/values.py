"""Values that fit a schema: as many as a document can tell apart, the plainest first.

Told apart are the literals that conditions compare with and their neighbours, both sides of limits, the
members of an enum, what may be absent or null, and lists without elements, with one and with two. A value by
which nothing is decided is made up once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice, pairwise, product
from typing import Any, TypeAlias

from msgspec import UNSET, Struct

from checkpointflow.errors import CheckpointflowError
from checkpointflow.explore.parts import ELEMENT, JSON_TEXT, Part
from checkpointflow.expressions.values import as_json, as_text
from checkpointflow.schemas.validation import Schema

SAYING = frozenset({"type", "enum", "const", "oneOf", "anyOf", "allOf", "$ref", "if", "not"})
"""Keywords that say what kind of value it is."""
MAX_VALUES = 64
MAX_DEPTH = 12
UNMADE = "for a schema no value was found that fits it"
LISTS = "lists are tried without elements, with one and with two"

SAMPLES = (
    *("2026-01-01T00:00:00Z", "2026-01-01", "12:00:00Z", "P1D", "a@example.com", "https://example.com/"),
    *("123e4567-e89b-12d3-a456-426614174000", "192.0.2.1", "2001:db8::1", "example.com", "/a", "1.0.0"),
    *("a", "A", "1", "a1", "aa-11", "#aabbcc", "main", "a/b", "a.b", "ABC-1", "abc123", "0" * 40, "0" * 64),
)
"""Texts to try where a pattern or a format asks for one."""

_PLAIN = {"type", "properties", "required", "additionalProperties", "title", "description", "examples"}
_PLAIN |= {"$schema", "$defs", "definitions", "$comment", "$id", "default", "deprecated", "readOnly"}
"""Keywords beside which the properties of an object are independent of each other."""


_SIMPLE = _PLAIN | {"enum", "const", "minimum", "maximum", "minLength", "maxLength", "items", "maxItems"}
"""Keywords for which a value is found if there is one."""


class Leaf(Struct, frozen=True):
    """A value that is decided as one: any of *values*, UNSET for its absence."""

    values: tuple[Any, ...]


class Fields(Struct, frozen=True):
    """An object whose members are decided one by one. optional: it need not be there itself."""

    members: dict[str, Shape]
    optional: bool = False


Shape: TypeAlias = Leaf | Fields


class Maker:
    """Makes values for schemas that stand in *root*.

    doubts: why they may not be all that matter; fills_defaults: what has a `default` is there.
    """

    def __init__(
        self, root: dict[str, Any], doubts: dict[str, None], *, fills_defaults: bool = False
    ) -> None:
        self.root, self.doubts, self.fills_defaults = root, doubts, fills_defaults

    def shape(self, part: Part) -> Shape:
        """The values of the whole."""
        return self._shape(self.root, part, is_required=True)

    def _shape(self, schema: Any, part: Part, *, is_required: bool) -> Shape:
        schema = self._resolve(schema)
        if not self._is_plain_object(schema, part):
            values = self.make(schema, part)
            return Leaf(tuple(values if is_required else [*values, UNSET]) or (UNSET,))
        members: dict[str, Shape] = {}
        for name, inner, required in self._list_members(schema, part):
            own = part.parts.get(name)
            if own is not None:
                members[name] = self._shape(inner, own, is_required=required)
            elif required:
                members[name] = Leaf(tuple(self.make(inner, Part())[:1]) or (UNSET,))
        return Fields(members, optional=not is_required)

    def _is_plain_object(self, schema: dict[str, Any], part: Part) -> bool:
        kinds = schema.get("type", "object" if "properties" in schema or part.parts else None)
        is_compared = any(isinstance(known, dict) for known in part.literals)
        return kinds == "object" and schema.keys() <= _PLAIN and ELEMENT not in part.parts and not is_compared

    def _list_members(self, schema: dict[str, Any], part: Part) -> Iterator[tuple[str, Any, bool]]:
        """Each property, or what somebody looks for: its name, its schema, whether it is surely there.

        What nobody declared and somebody reads is taken to be there, unless it is asked whether it is.
        """
        properties, required = schema.get("properties", {}), schema.get("required", ())
        others = schema.get("additionalProperties", True)
        known = [*properties, *(name for name in required if name not in properties)]
        for name in known:
            inner = properties.get(name, others)
            is_filled = self.fills_defaults and isinstance(inner, dict) and "default" in inner
            yield name, inner, name in required or is_filled
        for name in part.parts if others is not False else ():
            if name not in known:
                yield name, others, None not in part.parts[name].literals

    def _resolve(self, schema: Any, depth: int = 0) -> dict[str, Any]:
        """*schema* without a `$ref` at its top."""
        if not isinstance(schema, dict) or depth > MAX_DEPTH:
            return {"enum": []} if schema is False else {}
        if isinstance(ref := schema.get("$ref"), str):
            target: Any = self.root
            for name in ref.removeprefix("#").strip("/").split("/"):
                target = target.get(name, {}) if isinstance(target, dict) and name else target
            rest = {word: value for word, value in schema.items() if word != "$ref"}
            return self._resolve({**self._resolve(target, depth + 1), **rest}, depth + 1)
        return schema

    # Values of one thing

    def make(self, schema: Any, part: Part, depth: int = 0) -> list[Any]:
        """Values that fit *schema*, the plainest first."""
        resolved = self._resolve(schema)
        found = _drop_equal([*self._propose(resolved, part, depth), *(part.literals if part.decides else ())])
        if not resolved.keys() & SAYING:
            found = part.choices or [value for value in found if value is None or part.takes(value)]
        fitting = self._choose_fitting(schema, found)
        if len(fitting) > MAX_VALUES:
            self.doubts[f"of one thing, {MAX_VALUES} values are tried"] = None
        if not fitting and not resolved.keys() <= _SIMPLE:
            self.doubts[UNMADE] = None
        if part.matters or part.parts or part.sizes or part.patterns:
            return fitting[:MAX_VALUES]
        return list({type(value): value for value in reversed(fitting)}.values())[::-1]  # one of each kind

    def _choose_fitting(self, schema: Any, found: list[Any]) -> list[Any]:
        shared = {word: self.root[word] for word in ("$schema", "$defs", "definitions") if word in self.root}
        compiled = Schema({**shared, **schema} if isinstance(schema, dict) else schema)
        try:
            return [value for value in found if not compiled.errors(value)]
        except CheckpointflowError:  # it refers to elsewhere in the whole
            self.doubts["a schema refers to another part of itself"] = None
            return found

    def _propose(self, schema: dict[str, Any], part: Part, depth: int) -> Iterator[Any]:
        if depth > MAX_DEPTH:
            self.doubts[f"values are made up {MAX_DEPTH} levels deep"] = None
            return
        if self.fills_defaults and "default" in schema:
            yield schema["default"]
        if "const" in schema:
            yield schema["const"]
            return
        if isinstance(members := schema.get("enum"), list):
            yield from members
            return
        for word in ("oneOf", "anyOf", "allOf"):
            if isinstance(branches := schema.get(word), list):
                rest = {key: value for key, value in schema.items() if key != word}
                yield from self._propose_branches(word, branches, rest, part, depth + 1)
                return
        for kind in self._list_kinds(schema, part):
            yield from self._propose_kind(kind, schema, part, depth + 1)

    def _propose_branches(
        self, word: str, branches: list[Any], rest: dict[str, Any], part: Part, depth: int
    ) -> Iterator[Any]:
        resolved = [self._resolve(branch) for branch in branches]
        if word == "allOf":
            whole = rest
            for branch in resolved:
                properties = {**whole.get("properties", {}), **branch.get("properties", {})}
                required = [*whole.get("required", ()), *branch.get("required", ())]
                whole = {**whole, **branch, "properties": properties, "required": required}
            yield from self._propose(whole, part, depth)
            return
        for branch in resolved:
            yield from self._propose({**rest, **branch}, part, depth)

    def _list_kinds(self, schema: dict[str, Any], part: Part) -> list[str]:
        """The types that it may have; where it does not say, those that its readers expect."""
        kinds = schema.get("type")
        if kinds is not None:
            return [kinds] if isinstance(kinds, str) else list(kinds)
        if len(part.kinds) == 1:
            return [_KINDS_TAKEN[part.kinds[0]]]
        if "properties" in schema or (part.parts and ELEMENT not in part.parts):
            return ["object"]
        if "items" in schema or "prefixItems" in schema or ELEMENT in part.parts:
            return ["array"]
        compared = [_KINDS[type(known)] for known in part.literals if type(known) in _KINDS]
        if compared:
            return list(dict.fromkeys(compared))
        return ["boolean"] if part.decides else ["string"]

    def _propose_kind(self, kind: str, schema: dict[str, Any], part: Part, depth: int) -> Iterable[Any]:
        match kind:
            case "object":
                return self._propose_objects(schema, part, depth)
            case "array":
                return self._propose_lists(schema, part, depth)
            case "boolean":
                return (True, False)
            case "null":
                return (None,)
            case "string":
                return _propose_texts(schema, part)
            case _:
                return _propose_numbers(schema, part, is_whole=kind == "integer")

    def _propose_objects(self, schema: dict[str, Any], part: Part, depth: int) -> Iterator[dict[str, Any]]:
        spaces = []
        for name, inner, required in self._list_members(schema, part):
            own = part.parts.get(name)
            values = self.make(inner, own or Part(), depth)
            values = values if own is not None else values[:1]
            absent = [] if required else [UNSET]
            # What nobody looks at is left out; but a rule of the whole may want it, so that it is tried, too.
            spaces.append([(name, value) for value in ([*values, *absent] if own else [*absent, *values])])
        combinations = list(islice(product(*spaces), MAX_VALUES * MAX_VALUES + 1))
        if len(combinations) > MAX_VALUES * MAX_VALUES:
            self.doubts[f"of one thing, {MAX_VALUES} values are tried"] = None
        for combination in combinations:
            yield {name: value for name, value in combination if value is not UNSET}

    def _propose_lists(self, schema: dict[str, Any], part: Part, depth: int) -> Iterator[list[Any]]:
        first = [self.make(inner, Part(), depth) for inner in schema.get("prefixItems", ())]
        element = part.parts.get(ELEMENT)
        inner = schema.get("items", {})
        values = self.make(inner, element or Part(), depth) if inner is not False else []
        start = [known[0] for known in first if known]
        least = max(int(schema.get("minItems", 0)) - len(start), 0)
        if not (part.decides or element):
            yield [*start, *(values[:1] * (least or 1))]
            return
        self.doubts[LISTS] = None
        if len(values) == 1:
            values += self._choose_fitting(inner, _vary(values[0]))
        for size in dict.fromkeys((max(least, 1), least, *(max(least, n) for n in (2, *part.sizes)))):
            for shift in range(len(values) if size else 1):
                yield [*start, *(values[(shift + n) % len(values)] for n in range(size) if values)]
        if element is not None and element.has_key:
            yield [*start, *values[:1], *values[:1]]


_KINDS_TAKEN = {"text": "string", "a number": "number", "a list": "array", JSON_TEXT: "string"}
_KINDS = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}


def _vary(value: Any) -> list[Any]:
    """Another value like it, so that two elements need not be the same."""
    if isinstance(value, str):
        return [value + "2"]
    return [value + 1] if type(value) is int else []


def _drop_equal(values: Iterable[Any]) -> list[Any]:
    """*values*, each once; true is not 1."""
    found: dict[str, Any] = {}
    for value in values:
        found.setdefault(repr(value), value)
    return list(found.values())


def _propose_texts(schema: dict[str, Any], part: Part) -> Iterator[str]:
    """Texts; of one that nobody declared, as of what a command prints, only those that its readers expect."""
    known_literals = [known for known in part.literals if known is not None]
    literals = [known for known in known_literals if isinstance(known, str)]
    spelled = [known for known in known_literals if type(known) in (int, float)]
    numbers = _find_neighbours(spelled, is_whole=False)
    is_open = not schema and part.decides and not (part.sizes or part.patterns)
    if is_open and len(spelled) == len(known_literals):
        yield from map(as_text, numbers) if spelled else ("true", "false")
        return
    for pattern in [*part.patterns, *([schema["pattern"]] if "pattern" in schema else ())]:
        yield from _sample(pattern)
    if "pattern" in schema or "format" in schema:
        yield from SAMPLES
    yield "1" if JSON_TEXT in part.kinds else "x" * max(int(schema.get("minLength", 0)), 1)
    yield from ("x" * size for size in part.sizes)
    if not part.decides:
        return
    for known in literals:
        yield from (known + "~", known[:-1], as_json(known))
    if not part.literals:
        yield from ("true", "false")
    yield from (as_text(known) for known in (*part.literals, *numbers))
    yield ""


def _propose_numbers(schema: dict[str, Any], part: Part, *, is_whole: bool) -> Iterator[int | float]:
    limits = [schema[word] for word in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
              if isinstance(schema.get(word), int | float)]  # fmt: skip
    yield 1
    numbers = [known for known in part.literals if isinstance(known, int | float)]
    numbers += [
        float(known) for known in part.literals if isinstance(known, str) and _NUMBER.fullmatch(known)
    ]
    yield from _find_neighbours([*numbers, *limits], is_whole=is_whole)
    yield from part.sizes
    yield 0
    yield schema.get("multipleOf", 1)


_NUMBER = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,9})?")


def _find_neighbours(numbers: Iterable[Any], *, is_whole: bool) -> list[Any]:
    """*numbers*, and one beside each on both sides, and between any two."""
    known = sorted({float(number) for number in numbers})
    between = [(one + other) / 2 for one, other in pairwise(known)]
    found = [number + step for number in known for step in (0, 1, -1)]
    found += [] if is_whole else between
    return [int(number) if number == int(number) else number for number in found]


def _sample(pattern: str) -> Iterator[str]:
    """Texts that may fit *pattern*, by Python's own reading of it."""
    import re._parser as parser  # type: ignore[import-not-found]

    with suppress(re.error):  # it is one of ECMA-262
        yield _sample_items(parser.parse(pattern))


def _sample_items(items: Any) -> str:
    text = ""
    for name, given in ((str(op), given) for op, given in items):
        match name:
            case "LITERAL":
                text += chr(given)
            case "IN":
                text += _sample_class(given)
            case "MAX_REPEAT" | "MIN_REPEAT":
                text += _sample_items(given[2]) * max(given[0], min(given[1], 1))
            case "SUBPATTERN":
                text += _sample_items(given[3])
            case "BRANCH":
                text += _sample_items(given[1][0])
            case "ANY" | "NOT_LITERAL":
                text += "x"
    return text


def _sample_class(members: list[Any]) -> str:
    is_negated = str(members[0][0]) == "NEGATE"
    tried = [_sample_member(str(name), given) for name, given in members[is_negated:]]
    return next(text for text in "xX0-_ ~" if text not in "".join(tried)) if is_negated else tried[0][0]


def _sample_member(name: str, given: Any) -> str:
    """The characters of a part of a class; of a category, some."""
    match name:
        case "LITERAL":
            return chr(given)
        case "RANGE":
            return "".join(map(chr, range(given[0], min(given[1], given[0] + MAX_VALUES) + 1)))
        case _:
            return _CATEGORIES.get(str(given), "x")


_CATEGORIES = {"CATEGORY_DIGIT": "10", "CATEGORY_WORD": "wxX0_", "CATEGORY_SPACE": " "}
