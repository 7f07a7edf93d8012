"""A JSON Schema (2020-12) rewritten into the part of draft-07 that fastjsonschema gets right.

fastjsonschema ignores what it does not know, fetches references, and breaks on nested schemas, so nothing
reaches it as the user wrote it.

A schema becomes a list of small draft-07 schemas under one `allOf`. Each of them carries `at`, the number of
the `Rule` that it stands for: an error of the generated code leads back to the user's own keyword through it.
A schema that holds other schemas becomes a definition `d0, d1, …` of its own, since code nested some 20 deep
does not compile. A pattern becomes a `format` that we check ourselves. What `unevaluated…` means is worked
out beforehand (`unevaluated`), and becomes an `anyOf` of all that can be the case.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from checkpointflow.diagnostics import Diagnostic, Path
from checkpointflow.errors import UnsupportedSchema
from checkpointflow.schemas.keywords import APPLICATORS, SCALARS, diagnose, find_keyword
from checkpointflow.schemas.patterns import Pattern, read_pattern
from checkpointflow.schemas.survey import Survey
from checkpointflow.schemas.unevaluated import Alternative, Evaluated, Guard, list_alternatives


class Rule(NamedTuple):
    """What an error of the generated code stands for.

    keyword: None if it is the one that the error names; schema: what the words for it go by (`wording`),
    mostly the user's own schema, that the keyword stands in; branches: the inner schemas, rewritten, where
    an explanation needs them.
    """

    keyword: str | None
    schema: Any
    branches: tuple[dict[str, Any], ...] = ()


class Draft07(NamedTuple):
    """A schema for fastjsonschema.

    definitions: `d0` is the whole; formats: the patterns by the name of their format; longest_key: of a name
    that patterns are tried on; has_fractions: decimals are divided, which takes a context.
    """

    definitions: dict[str, Any]
    rules: list[Rule]
    formats: dict[str, Pattern]
    longest_key: float
    has_fractions: bool


def rewrite(survey: Survey) -> tuple[Draft07, list[Diagnostic]]:
    """The surveyed schema in draft-07, and what only shows now; it is good for nothing if anything does."""
    rewriter = Rewriter(survey)
    return rewriter.rewrite(), rewriter.problems


class Rewriter:
    """Rewrites the schemas of one survey, each once."""

    def __init__(self, survey: Survey) -> None:
        self.problems: list[Diagnostic] = []
        self._survey = survey
        self._names: dict[Path, str] = {}
        self._waiting: list[Path] = []
        self._rules: list[Rule] = []
        self._formats: dict[str, Pattern] = {}
        self._longest_key = math.inf
        self._has_fractions = False

    def rewrite(self) -> Draft07:
        definitions = {}
        self._define(())
        while self._waiting:
            path = self._waiting.pop()
            definitions[self._names[path]] = self._rewrite(path)
        return Draft07(definitions, self._rules, self._formats, self._longest_key, self._has_fractions)

    def _define(self, path: Path) -> dict[str, Any]:
        """A reference to the definition that the schema at *path* becomes."""
        if path not in self._names:
            self._names[path] = f"d{len(self._names)}"
            self._waiting.append(path)
        return {"$ref": f"#/definitions/{self._names[path]}"}

    def _embed(self, path: Path) -> dict[str, Any]:
        """The schema at *path*, in place if it holds no other."""
        schema = self._survey.schemas[path]
        if isinstance(schema, bool) or schema.keys().isdisjoint(APPLICATORS):
            return self._rewrite(path)
        return self._define(path)

    def _embed_each(self, path: Path, keyword: str) -> list[dict[str, Any]]:
        """The same of each schema in the list *keyword* of the schema at *path*, if it has one."""
        schemas = self._survey.schemas[path].get(keyword, ())
        return [self._embed((*path, keyword, index)) for index, _ in enumerate(schemas)]

    def _rewrite(self, path: Path) -> dict[str, Any]:
        schema = self._survey.schemas[path]
        if isinstance(schema, bool):
            return {} if schema else {"not": {}, **self._mark(Rule("false", find_keyword(path) or "false"))}
        rules = [*self._rewrite_scalars(schema), *map(self._define, self._survey.resolve_all(path))]
        for family in (self._rewrite_logic, self._rewrite_objects, self._rewrite_lists, self._close):
            rules += family(path, schema)
        if len(rules) > 1:
            return {"allOf": rules}
        return rules[0] if rules else {}

    def _mark(self, rule: Rule) -> dict[str, Any]:
        """What an error of the generated code finds *rule* by."""
        self._rules.append(rule)
        return {"at": len(self._rules) - 1}

    # one function for each family of keywords

    def _rewrite_scalars(self, schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
        plain = {keyword: schema[keyword] for keyword in schema if keyword in SCALARS}
        if isinstance(plain.get("multipleOf"), float):
            yield self._divide(schema, plain.pop("multipleOf"))
        if "enum" in plain:  # as a tuple it is not searched for `$ref`
            plain["enum"] = tuple(plain["enum"])
        if plain:
            yield plain | self._mark(Rule(None, schema))
        if "const" in schema:
            yield {"enum": (schema["const"],), **self._mark(Rule("const", schema))}
        if "pattern" in schema:
            yield self._rewrite_pattern(schema)

    def _divide(self, schema: dict[str, Any], divisor: float) -> dict[str, Any]:
        """Whole numbers are divided as such, exactly; the others as decimals."""
        self._has_fractions = True
        at = self._mark(Rule("multipleOf", schema))
        return {
            "if": {"type": "integer"},
            "then": {"multipleOf": _make_whole(divisor), **at},
            "else": {"multipleOf": divisor, **at},
        }

    def _rewrite_pattern(self, schema: dict[str, Any]) -> dict[str, Any]:
        name = f"p{len(self._formats)}"
        self._formats[name] = read_pattern(schema["pattern"])
        return {"format": name, **self._mark(Rule("pattern", schema))}

    def _rewrite_logic(self, path: Path, schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield from self._embed_each(path, "allOf")
        for keyword in ("anyOf", "oneOf"):
            if branches := self._embed_each(path, keyword):
                yield {keyword: branches, **self._mark(Rule(keyword, schema, tuple(branches)))}
        if "not" in schema:
            yield {"not": self._embed((*path, "not")), **self._mark(Rule("not", schema))}
        if "if" in schema and ("then" in schema or "else" in schema):
            parts = [keyword for keyword in ("if", "then", "else") if keyword in schema]
            yield {keyword: self._embed((*path, keyword)) for keyword in parts}

    def _rewrite_objects(self, path: Path, schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for name, needed in schema.get("dependentRequired", {}).items():
            rule = self._mark(Rule("dependentRequired", {name: needed}))
            yield {"if": {"required": [name]}, "then": {"required": needed, **rule}}
        for name in schema.get("dependentSchemas", {}):
            yield {"if": _require(name), "then": self._embed((*path, "dependentSchemas", name))}
        if "propertyNames" in schema:
            inner = self._embed((*path, "propertyNames"))
            yield {"propertyNames": inner, **self._mark(Rule("propertyNames", schema, (inner,)))}
        if schema.keys() & {"properties", "patternProperties", "additionalProperties"}:
            yield self._rewrite_fields(path, schema)

    def _rewrite_fields(self, path: Path, schema: dict[str, Any]) -> dict[str, Any]:
        named = {name: self._embed((*path, "properties", name)) for name in schema.get("properties", {})}
        patterned = {
            self._rewrite_key_pattern(pattern): self._embed((*path, "patternProperties", pattern))
            for pattern in schema.get("patternProperties", {})
        }
        others = schema.get("additionalProperties", True)
        rest = self._embed((*path, "additionalProperties")) if isinstance(others, dict) else others
        rule = self._mark(Rule("additionalProperties", {"properties": named, "patternProperties": patterned}))
        return {"properties": named, "patternProperties": patterned, "additionalProperties": rest, **rule}

    def _rewrite_key_pattern(self, pattern: str) -> str:
        """*pattern* as Python reads it, and unlike that of any other key."""
        read = read_pattern(pattern)
        self._longest_key = min(self._longest_key, read.longest)
        mark = pattern.encode("utf-8", "surrogatepass").hex()
        return f"(?:{read.regex})(?#{mark})"

    def _rewrite_lists(self, path: Path, schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
        prefix = self._embed_each(path, "prefixItems")
        rest = {"additionalItems": self._embed((*path, "items"))} if "items" in schema else {}
        if prefix:
            yield {"items": prefix, **rest}
        elif rest:
            yield {"items": rest["additionalItems"]}
        if "contains" in schema and schema.get("minContains", 1):
            yield {"contains": self._embed((*path, "contains")), **self._mark(Rule("contains", schema))}
        if "contains" in schema and schema.get("maxContains") == 0:
            rule = self._mark(Rule("maxContains", schema))
            yield {"items": {"not": self._embed((*path, "contains")), **rule}}

    # what is not evaluated yet

    def _close(self, path: Path, schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """What `unevaluated…` refuses."""
        for keyword in ("unevaluatedProperties", "unevaluatedItems"):
            if keyword in schema:
                try:
                    alternatives = list_alternatives(self._survey, path, keyword)
                except UnsupportedSchema as refusal:
                    self.problems.append(diagnose((*path, keyword), refusal))
                    continue
                yield self._close_each((*path, keyword), keyword, alternatives)

    def _close_each(self, path: Path, keyword: str, alternatives: list[Alternative]) -> dict[str, Any]:
        close = self._close_object if keyword == "unevaluatedProperties" else self._close_list
        branches = [
            {"allOf": [*map(self._rewrite_guard, guards), {} if seen.everything else close(path, seen)]}
            for guards, seen in alternatives
        ]
        if len(branches) == 1:
            return branches[0]
        return {"anyOf": branches, **self._mark(Rule("unevaluated", keyword))}

    def _rewrite_guard(self, guard: Guard | str) -> dict[str, Any]:
        if isinstance(guard, str):
            return _require(guard)
        inner = self._define(guard.path)
        return inner if guard.holds else {"not": inner, **self._mark(Rule("not", {}))}

    def _close_object(self, path: Path, seen: Evaluated) -> dict[str, Any]:
        named: dict[str, Any] = {name: {} for name in sorted(seen.names)}
        patterned: dict[str, Any] = {
            self._rewrite_key_pattern(pattern): {} for pattern in sorted(seen.patterns)
        }
        known = {"properties": named, "patternProperties": patterned}
        rule = self._mark(Rule("unevaluatedProperties", known))
        rest = self._survey.schemas[path]
        return known | {"additionalProperties": self._embed(path) if isinstance(rest, dict) else rest} | rule

    def _close_list(self, path: Path, seen: Evaluated) -> dict[str, Any]:
        rest = self._embed(path)
        if seen.kinds:
            kinds = [self._embed(kind) for kind in sorted(seen.kinds, key=str)]
            rest = {"anyOf": [*kinds, rest], **self._mark(Rule("false", "unevaluatedItems"))}
        return {"items": [{}] * seen.upto, "additionalItems": rest} if seen.upto else {"items": rest}


def _require(name: str) -> dict[str, Any]:
    """Holds for an object with that property; `required` alone holds for all that is no object."""
    return {"type": "object", "required": [name]}


def _make_whole(divisor: float) -> int:
    """The whole number that divides a whole number if and only if *divisor* (not whole itself) does."""
    mantissa, _, exponent = repr(divisor).partition("e")
    whole, _, fraction = mantissa.partition(".")
    scale: int = 10 ** (len(fraction) - int(exponent or 0))
    digits = int(whole + fraction)
    return digits // math.gcd(digits, scale)
