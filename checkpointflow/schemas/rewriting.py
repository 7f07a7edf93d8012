"""A JSON Schema (2020-12) rewritten into the part of draft-07 that fastjsonschema gets right.

fastjsonschema ignores what it does not know, fetches references, and breaks on nested schemas, so
nothing reaches it as the user wrote it.

**Survey.** Every place where a schema stands is listed, with the URI that its references start from;
a reference must lead to a listed place of this document. (`jsonschema` then checks each keyword, and that
no schema comes back to itself without going down into the instance. What follows relies on that.)

**Rewriting.** A schema becomes a list of small draft-07 schemas under one `allOf`. Each of them carries
`at`, the number of the `Rule` that it stands for: an error of the generated code leads back to the
user's own keyword through it. A schema that holds other schemas becomes a definition `d0, d1, …` of its
own, since code nested some 20 deep does not compile. A pattern becomes a `format` that we check ourselves.

`unevaluatedProperties` and `unevaluatedItems` need to know what else was evaluated. That follows from
which branches of `anyOf`, `oneOf`, `if` and `dependentSchemas` hold, so each possible set of branches becomes
one alternative: those branches hold, and nothing else is there. What is evaluated can only grow, so an
alternative that assumes too little is stricter than the truth, never laxer. More than 64 are refused.

**Patterns** are ECMA-262: `\\d` and `\\w` are ASCII, `.` stops at every line end, `$` is the very end.
Refused are: what only Python knows, back references, `\\p{…}`, look-behind of no fixed length, and whatever
could keep Python's `re` busy. A choice (once more or go on, this branch or that) is *open* if the next
character does not settle it. Let a pattern take k·n**d steps for n characters: every open unbounded repeat
adds one to d, so does not beginning with `^`; every open bounded choice multiplies k. Then refused are:

- an open choice within a group that is repeated more than ten times, or such a group that can be empty:
  `(a+)+`, `(a*)*`, `(a|aa)*`, `(\\w+\\s?)*` (but `-` settles `[a-z]+(-[a-z]+)*`, and `b` `(a|ab)*`);
- a pattern that for 100 characters could take more than 10**8 steps: `a?a?a?…aaa…`, `.*a.*b.*c.*d.*e`.

With any other pattern, a text so long that it could take more than 10**8 steps is refused as an instance.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

MAX_NODES = 20_000
MAX_DEPTH = 64
MAX_PATTERN_CHARACTERS = 1_000
MAX_STEPS = 10**8
MAX_ALTERNATIVES = 64
DIALECT = "https://json-schema.org/draft/2020-12/schema"

Path = tuple[str | int, ...]


class SchemaProblem(NamedTuple):
    """What is wrong with a schema, and where.

    path: leads to the value at fault, the keyword included; supported: False for a schema that is (or may
    be) good 2020-12 but that we cannot honour, True for one that is wrong.
    """

    path: Path
    keyword: str
    message: str
    supported: bool


class Rule(NamedTuple):
    """What an error of the generated code stands for.

    keyword: None if it is the one that the error names; schema: the user's, that the keyword stands in;
    branches: the inner schemas, rewritten, where an explanation needs them.
    """

    keyword: str | None
    schema: Any
    branches: tuple[dict[str, Any], ...] = ()


class Pattern(NamedTuple):
    """A pattern as Python reads it; `longest` is the longest text that it may be applied to."""

    regex: str
    longest: float


class Translation(NamedTuple):
    """definitions: draft-07, `d0` is the whole; formats: the patterns by the name of their format."""

    definitions: dict[str, Any]
    rules: list[Rule]
    formats: dict[str, Pattern]
    longest_key: float
    has_fractions: bool


class Refused(Exception):
    """A problem on its way up to whoever knows the place."""

    def __init__(self, message: str, supported: bool = False) -> None:
        super().__init__(message)
        self.message, self.supported = message, supported


def shown(value: Any, most: int = 60) -> str:
    """*value* as JSON on one line of bounded length that every terminal can print."""
    if isinstance(value, list | dict | str) and len(value) > most:
        value = _head(value, most)
    from json import dumps

    text = dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= most else text[: most - 1] + "…"


def _head(value: Any, most: int) -> Any:
    if isinstance(value, dict):
        return dict(list(value.items())[:most])
    return value[:most]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ONE = _words(
    "additionalProperties contains else if items not propertyNames then unevaluatedItems"
    " unevaluatedProperties"
)
SEVERAL = _words("allOf anyOf oneOf prefixItems")
NAMED = _words("$defs definitions dependentSchemas patternProperties properties")
BESIDE = _words("allOf anyOf oneOf not if then else dependentSchemas")
SCALAR = _words(
    "enum exclusiveMaximum exclusiveMinimum maxItems maxLength maxProperties maximum minItems minLength"
    " minProperties minimum multipleOf required type uniqueItems"
)
_APPLIES_OTHERS = ONE | SEVERAL | NAMED - {"$defs", "definitions"} | {"$ref", "$dynamicRef"}


def keyword_of(path: Path) -> str:
    """The keyword that the value at *path* belongs to."""
    keyword, place = "", 0
    while place < len(path):
        keyword = str(path[place])
        place += 2 if keyword in SEVERAL | NAMED else 1 if keyword in ONE else len(path)
    return keyword


# survey: where schemas stand, and where references lead


class Survey:
    """Every place of a copied schema where a schema stands, in order, and what is named there."""

    def __init__(self, schema: Any) -> None:
        self.schemas: dict[Path, Any] = {}
        self.problems: list[SchemaProblem] = []
        self._bases: dict[Path, str] = {}
        self._resources: dict[str, Path] = {"": ()}
        self._anchors: dict[str, Path] = {}
        self._dynamic: dict[str, int] = {}
        self._list(schema, (), "")

    def _list(self, schema: Any, path: Path, base: str) -> None:
        if isinstance(schema, dict):
            base = self._register(schema, path, base)
        self.schemas[path] = schema
        self._bases[path] = base
        for suffix, inner in inner_schemas(schema):
            self._list(inner, path + suffix, base)

    def _register(self, schema: dict[str, Any], path: Path, base: str) -> str:
        """Note what *schema* is called; returns the URI that its references start from."""
        if isinstance(schema.get("$id"), str):
            base = _joined(base, schema["$id"]).partition("#")[0]
            self._name(self._resources, base, (*path, "$id"), path)
        for keyword in ("$anchor", "$dynamicAnchor"):
            if isinstance(name := schema.get(keyword), str):
                self._name(self._anchors, f"{base}#{name}", (*path, keyword), path)
        if isinstance(name := schema.get("$dynamicAnchor"), str):
            self._dynamic[name] = self._dynamic.get(name, 0) + 1
        return base

    def _name(self, names: dict[str, Path], name: str, where: Path, path: Path) -> None:
        if names.setdefault(name, path) != path:
            message = f"{shown(name)} names another schema already"
            self.problems.append(SchemaProblem(where, str(where[-1]), message, True))

    def target(self, path: Path, keyword: str, reference: str) -> Path:
        """The place that *reference*, read at *path*, leads to."""
        uri, _, fragment = _joined(self._bases[path], reference).partition("#")
        if uri not in self._resources:
            raise Refused(f"{shown(reference)} leads out of this document, and nothing is fetched")
        from urllib.parse import unquote

        target = self._within(uri, unquote(fragment), reference)
        if keyword == "$dynamicRef" and self._dynamic.get(fragment, 0) > 1:
            raise Refused(f"{shown(reference)} has several `$dynamicAnchor`s to choose from")
        if target not in self.schemas:
            raise Refused(f"{shown(reference)} leads to something that is not read as a schema")
        return target

    def _within(self, uri: str, fragment: str, reference: str) -> Path:
        if not fragment:
            return self._resources[uri]
        target = self._anchors.get(f"{uri}#{fragment}")
        if fragment.startswith("/"):
            target = _pointed(self.schemas[()], self._resources[uri], fragment)
        if target is None:
            raise Refused(f"{shown(reference)} leads nowhere in this schema", True)
        return target

    def targets(self, path: Path) -> list[Path]:
        """Where the references of the schema at *path* lead, once all are known to lead somewhere."""
        schema = self.schemas[path]
        return [self.target(path, key, schema[key]) for key in ("$ref", "$dynamicRef") if key in schema]


def inner_schemas(schema: Any) -> Iterator[tuple[Path, Any]]:
    """The schemas right within *schema*, each with the way to it."""
    for keyword, value in schema.items() if isinstance(schema, dict) else ():
        if keyword in ONE:
            yield (keyword,), value
        elif keyword in SEVERAL and isinstance(value, list):
            yield from (((keyword, index), inner) for index, inner in enumerate(value))
        elif keyword in NAMED and isinstance(value, dict):
            yield from (((keyword, name), inner) for name, inner in value.items())


def beside(survey: Survey, path: Path) -> Iterator[Path]:
    """The places whose schemas apply to the same value as the one at *path*."""
    schema = survey.schemas[path]
    for suffix, _ in inner_schemas(schema):
        if suffix[0] in BESIDE:
            yield path + suffix
    if isinstance(schema, dict):
        yield from survey.targets(path)


def _joined(base: str, reference: str) -> str:
    if reference.startswith("#"):  # urljoin would lose a base such as urn:…
        return base + reference
    from urllib.parse import urljoin

    try:
        return urljoin(base, reference)
    except ValueError:
        return reference


def _pointed(document: Any, path: Path, pointer: str) -> Path | None:
    """Where a JSON pointer leads that starts at *path*; None if it leads nowhere."""
    for part in path:
        document = document[part]
    for token in pointer.split("/")[1:]:
        part = token.replace("~1", "/").replace("~0", "~")
        if (
            isinstance(document, list)
            and re.fullmatch(r"0|[1-9][0-9]{0,5}", part)
            and int(part) < len(document)
        ):
            path, document = (*path, int(part)), document[int(part)]
        elif isinstance(document, dict) and part in document:
            path, document = (*path, part), document[part]
        else:
            return None
    return path


# rewriting


class Evaluated(NamedTuple):
    """What a schema that holds has looked at: of an object, or of a list.

    everything: nothing is left; upto: the first items; kinds: places of `contains`, whose items count.
    """

    names: frozenset[str] = frozenset()
    patterns: frozenset[str] = frozenset()
    upto: int = 0
    kinds: frozenset[Path] = frozenset()
    everything: bool = False

    def with_(self, other: Evaluated) -> Evaluated:
        return Evaluated(
            self.names | other.names,
            self.patterns | other.patterns,
            max(self.upto, other.upto),
            self.kinds | other.kinds,
            self.everything or other.everything,
        )


class Guard(NamedTuple):
    """The schema at *path* holds, or does not."""

    path: Path
    holds: bool = True


class Alternative(NamedTuple):
    """If all of *guards* hold (a text: that property is there), *seen* is evaluated."""

    guards: tuple[Guard | str, ...]
    seen: Evaluated


class Rewriter:
    """Rewrites surveyed schemas; `problems` is what only shows now."""

    def __init__(self, survey: Survey) -> None:
        self.problems: list[SchemaProblem] = []
        self._survey = survey
        self._names: dict[Path, str] = {}
        self._waiting: list[Path] = []
        self._result = Translation({}, [], {}, math.inf, False)

    def translation(self) -> Translation:
        self.definition(())
        while self._waiting:
            path = self._waiting.pop()
            self._result.definitions[self._names[path]] = self._rewritten(path)
        return self._result

    def definition(self, path: Path) -> dict[str, Any]:
        """A reference to the definition that the schema at *path* becomes."""
        if path not in self._names:
            self._names[path] = f"d{len(self._names)}"
            self._waiting.append(path)
        return {"$ref": f"#/definitions/{self._names[path]}"}

    def inner(self, path: Path) -> dict[str, Any]:
        """The schema at *path*, in place if it holds no other."""
        schema = self._survey.schemas[path]
        if isinstance(schema, bool) or schema.keys().isdisjoint(_APPLIES_OTHERS):
            return self._rewritten(path)
        return self.definition(path)

    def _rewritten(self, path: Path) -> dict[str, Any]:
        schema = self._survey.schemas[path]
        if isinstance(schema, bool):
            return {} if schema else {"not": {}, **self._at(Rule("false", keyword_of(path) or "false"))}
        rules: list[dict[str, Any]] = []
        rules += self._scalars(schema)
        rules += map(self.definition, self._survey.targets(path))
        for rewrite in (self._logic, self._objects, self._lists, self._unevaluated):
            rules += rewrite(path, schema)
        if len(rules) > 1:
            return {"allOf": rules}
        return rules[0] if rules else {}

    def _at(self, rule: Rule) -> dict[str, Any]:
        self._result.rules.append(rule)
        return {"at": len(self._result.rules) - 1}

    # one function for each family of keywords

    def _scalars(self, schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
        plain = {keyword: schema[keyword] for keyword in schema if keyword in SCALAR}
        if isinstance(plain.get("multipleOf"), float):
            yield self._fraction(schema, plain.pop("multipleOf"))
        if "enum" in plain:  # as a tuple it is not searched for `$ref`
            plain["enum"] = tuple(plain["enum"])
        if plain:
            yield plain | self._at(Rule(None, schema))
        if "const" in schema:
            yield {"enum": (schema["const"],), **self._at(Rule("const", schema))}
        if "pattern" in schema:
            yield self._format(schema)

    def _fraction(self, schema: dict[str, Any], divisor: float) -> dict[str, Any]:
        """Whole numbers are divided as such, exactly; the others as decimals."""
        self._result = self._result._replace(has_fractions=True)
        at = self._at(Rule("multipleOf", schema))
        return {
            "if": {"type": "integer"},
            "then": {"multipleOf": whole_divisor(divisor), **at},
            "else": {"multipleOf": divisor, **at},
        }

    def _format(self, schema: dict[str, Any]) -> dict[str, Any]:
        name = f"p{len(self._result.formats)}"
        self._result.formats[name] = read_pattern(schema["pattern"])
        return {"format": name, **self._at(Rule("pattern", schema))}

    def _logic(self, path: Path, schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for index, _ in enumerate(schema.get("allOf", ())):
            yield self.inner((*path, "allOf", index))
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                branches = [self.inner((*path, keyword, index)) for index, _ in enumerate(schema[keyword])]
                yield {keyword: branches, **self._at(Rule(keyword, schema, tuple(branches)))}
        if "not" in schema:
            yield {"not": self.inner((*path, "not")), **self._at(Rule("not", schema))}
        if "if" in schema and ("then" in schema or "else" in schema):
            yield {
                keyword: self.inner((*path, keyword))
                for keyword in ("if", "then", "else")
                if keyword in schema
            }

    def _objects(self, path: Path, schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for name, needed in schema.get("dependentRequired", {}).items():
            asked = {"required": needed}
            yield {
                "if": {"required": [name]},
                "then": asked | self._at(Rule("dependentRequired", {name: needed})),
            }
        for name in schema.get("dependentSchemas", {}):
            yield {"if": _there(name), "then": self.inner((*path, "dependentSchemas", name))}
        if "propertyNames" in schema:
            inner = self.inner((*path, "propertyNames"))
            yield {"propertyNames": inner, **self._at(Rule("propertyNames", schema, (inner,)))}
        if schema.keys() & {"properties", "patternProperties", "additionalProperties"}:
            yield self._fields(path, schema)

    def _fields(self, path: Path, schema: dict[str, Any]) -> dict[str, Any]:
        named = {name: self.inner((*path, "properties", name)) for name in schema.get("properties", {})}
        patterned = {
            self._key_pattern(pattern): self.inner((*path, "patternProperties", pattern))
            for pattern in schema.get("patternProperties", {})
        }
        others = schema.get("additionalProperties", True)
        rest = self.inner((*path, "additionalProperties")) if isinstance(others, dict) else others
        rule = self._at(Rule("additionalProperties", schema))
        return {"properties": named, "patternProperties": patterned, "additionalProperties": rest, **rule}

    def _key_pattern(self, pattern: str) -> str:
        """*pattern* as Python reads it, and unlike that of any other key."""
        read = read_pattern(pattern)
        self._result = self._result._replace(longest_key=min(self._result.longest_key, read.longest))
        mark = pattern.encode("utf-8", "surrogatepass").hex()
        return f"(?:{read.regex})(?#{mark})"

    def _lists(self, path: Path, schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
        prefix = [
            self.inner((*path, "prefixItems", index)) for index, _ in enumerate(schema.get("prefixItems", ()))
        ]
        rest = {"additionalItems": self.inner((*path, "items"))} if "items" in schema else {}
        if prefix:
            yield {"items": prefix, **rest}
        elif rest:
            yield {"items": rest["additionalItems"]}
        if "contains" in schema and schema.get("minContains", 1):
            yield {"contains": self.inner((*path, "contains")), **self._at(Rule("contains", schema))}
        if "contains" in schema and schema.get("maxContains") == 0:
            rule = self._at(Rule("maxContains", schema))
            yield {"items": {"not": self.inner((*path, "contains")), **rule}}

    # what is not evaluated yet

    def _unevaluated(self, path: Path, schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for keyword, close in (
            ("unevaluatedProperties", self._close_object),
            ("unevaluatedItems", self._close_list),
        ):
            if keyword in schema:
                try:
                    alternatives = self._alternatives(path, keyword, own=True)
                except Refused as refused:
                    where = (*path, keyword)
                    self.problems.append(SchemaProblem(where, keyword, refused.message, refused.supported))
                    continue
                yield self._closed(path, keyword, alternatives, close)

    def _closed(
        self,
        path: Path,
        keyword: str,
        alternatives: list[Alternative],
        close: Callable[[Path, Evaluated], dict[str, Any]],
    ) -> dict[str, Any]:
        branches = [
            {"allOf": [*map(self._guard, guards), {} if seen.everything else close((*path, keyword), seen)]}
            for guards, seen in alternatives
        ]
        if len(branches) == 1:
            return branches[0]
        return {"anyOf": branches, **self._at(Rule("unevaluated", keyword))}

    def _guard(self, guard: Guard | str) -> dict[str, Any]:
        if isinstance(guard, str):
            return _there(guard)
        inner = self.definition(guard.path)
        return inner if guard.holds else {"not": inner, **self._at(Rule("not", {}))}

    def _close_object(self, where: Path, seen: Evaluated) -> dict[str, Any]:
        known = {"properties": sorted(seen.names), "patternProperties": sorted(seen.patterns)}
        rule = self._at(Rule("unevaluatedProperties", known))
        rest = self._survey.schemas[where]
        return {
            "properties": {name: {} for name in sorted(seen.names)},
            "patternProperties": {self._key_pattern(pattern): {} for pattern in sorted(seen.patterns)},
            "additionalProperties": self.inner(where) if isinstance(rest, dict) else rest,
            **rule,
        }

    def _close_list(self, where: Path, seen: Evaluated) -> dict[str, Any]:
        rest = self.inner(where)
        if seen.kinds:
            kinds = [self.inner(kind) for kind in sorted(seen.kinds, key=str)]
            rest = {"anyOf": [*kinds, rest], **self._at(Rule("false", "unevaluatedItems"))}
        return {"items": [{}] * seen.upto, "additionalItems": rest} if seen.upto else {"items": rest}

    def _alternatives(self, path: Path, keyword: str, own: bool = False) -> list[Alternative]:
        """What the schema at *path* evaluates, by what else holds; *own*: leaving *keyword* itself aside."""
        schema = self._survey.schemas[path]
        if isinstance(schema, bool):
            return [Alternative((), Evaluated())]
        seen = _seen(path, schema, keyword)
        if keyword in schema and not own:
            seen = seen._replace(everything=True)
        found = [Alternative((), seen)]
        for choices in self._choices(path, schema, keyword):
            found = _pruned(_both(one, two) for one in found for two in choices)
            if len(found) > MAX_ALTERNATIVES:
                raise Refused(f"more than {MAX_ALTERNATIVES} combinations of branches decide `{keyword}`")
        return found

    def _choices(self, path: Path, schema: dict[str, Any], keyword: str) -> Iterator[list[Alternative]]:
        """For each keyword beside that applies other schemas: what these may evaluate."""
        for target in self._survey.targets(path):
            yield self._alternatives(target, keyword)
        for index, _ in enumerate(schema.get("allOf", ())):
            yield self._alternatives((*path, "allOf", index), keyword)
        for index, _ in enumerate(schema.get("anyOf", ())):
            yield self._if_held((*path, "anyOf", index), keyword)
        if "oneOf" in schema:
            branches = [
                self._if_held((*path, "oneOf", index), keyword) for index, _ in enumerate(schema["oneOf"])
            ]
            yield _pruned(one for branch in branches for one in branch)
        for name in schema.get("dependentSchemas", {}):
            inner = self._alternatives((*path, "dependentSchemas", name), keyword)
            yield _pruned([NOTHING, *_guarded(name, inner)])
        if "if" in schema:
            yield self._conditional(path, schema, keyword)

    def _if_held(self, path: Path, keyword: str) -> list[Alternative]:
        """What the schema at *path* evaluates if it holds; and nothing if it does not."""
        inner = self._alternatives(path, keyword)
        return _pruned([NOTHING, *_guarded(Guard(path), inner)])

    def _conditional(self, path: Path, schema: dict[str, Any], keyword: str) -> list[Alternative]:
        condition, then, otherwise = ((*path, part) for part in ("if", "then", "else"))
        held = self._alternatives(condition, keyword)
        if "then" in schema:
            held = [_both(one, two) for one in held for two in self._alternatives(then, keyword)]
        missed = self._alternatives(otherwise, keyword) if "else" in schema else [NOTHING]
        return _pruned([*_guarded(Guard(condition), held), *_guarded(Guard(condition, False), missed)])


NOTHING = Alternative((), Evaluated())


def _there(name: str) -> dict[str, Any]:
    """Holds for an object with that property; `required` alone holds for all that is no object."""
    return {"type": "object", "required": [name]}


def _guarded(guard: Guard | str, alternatives: list[Alternative]) -> list[Alternative]:
    return [Alternative((guard, *one.guards), one.seen) for one in alternatives]


def _both(one: Alternative, two: Alternative) -> Alternative:
    return Alternative(tuple(dict.fromkeys(one.guards + two.guards)), one.seen.with_(two.seen))


def _pruned(alternatives: Iterable[Alternative]) -> list[Alternative]:
    """*alternatives* without those that another makes needless: it asks no more and sees no less."""
    kept: list[Alternative] = []
    for one in alternatives:
        if not any(_makes_needless(other, one) for other in kept):
            kept = [other for other in kept if not _makes_needless(one, other)] + [one]
    return kept


def _makes_needless(one: Alternative, other: Alternative) -> bool:
    return set(one.guards) <= set(other.guards) and one.seen.with_(other.seen) == one.seen


def _seen(path: Path, schema: dict[str, Any], keyword: str) -> Evaluated:
    """What the keywords of one schema evaluate by themselves."""
    if keyword == "unevaluatedProperties":
        return Evaluated(
            names=frozenset(schema.get("properties", ())),
            patterns=frozenset(schema.get("patternProperties", ())),
            everything="additionalProperties" in schema,
        )
    return Evaluated(
        upto=len(schema.get("prefixItems", ())),
        kinds=frozenset({(*path, "contains")} if "contains" in schema else ()),
        everything="items" in schema,
    )


def whole_divisor(divisor: float) -> int:
    """The whole number that divides a whole number if and only if *divisor* (not whole itself) does."""
    mantissa, _, exponent = repr(divisor).partition("e")
    whole, _, fraction = mantissa.partition(".")
    scale: int = 10 ** (len(fraction) - int(exponent or 0))
    digits = int(whole + fraction)
    return digits // math.gcd(digits, scale)


# patterns: from ECMA-262 to Python

_SPACES = r"\t-\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_OTHERS = (
    r"\x00-\x08\x0e-\x1f!-\x9f\xa1-\u167f\u1681-\u1fff\u200b-\u2027\u202a-\u202e\u2030-\u205e"
    r"\u2060-\u2fff\u3001-\ufefe\uff00-\U0010ffff"
)
_CLASSES = {
    "d": "0-9",
    "D": r"\x00-/:-\U0010ffff",
    "w": "0-9A-Z_a-z",
    "W": r"\x00-/:-@\[-\^`{-\U0010ffff",
    "s": _SPACES,
    "S": _OTHERS,
}
_CONTROLS = {"0": 0, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13}
_PLAIN = {
    "^": "^",
    "$": r"\Z",
    "|": "|",
    ")": ")",
    ".": r"[^\n\r\u2028\u2029]",
    r"\b": r"(?a:\b)",
    r"\B": r"(?!(?a:\b))",
}
_ATOM = (
    r"\\u\{[0-9A-Fa-f]{1,6}\}|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|\\c[A-Za-z]|\\0(?![0-9])|\\[^ux0c]|[^\\]"
)
_TOKENS = (
    r"(?P<set>\[(?P<negated>\^?)(?P<members>(?:\\.|[^\]\\])*)\])"
    r"|(?P<group>\((?!\?)|\(\?(?:[:=!]|<[=!]|<[A-Za-z_$][\w$]*>))"
    r"|(?P<repeat>(?:[*+?]|\{\d+(?:,\d*)?\})\??)"
    r"|(?P<plain>\\[bB]|[|)^$.])"
    rf"|(?P<atom>(?![\[(])(?:{_ATOM}))"
)


def read_pattern(text: str) -> Pattern:
    """*text*, a regular expression of ECMA-262, for Python; refused if it is none, or could run for long."""
    if len(text) > MAX_PATTERN_CHARACTERS:
        raise Refused(f"the pattern has more than {MAX_PATTERN_CHARACTERS:,} characters")
    regex = _translated(text)
    try:
        re.compile(regex)
    except (re.error, OverflowError, RecursionError) as error:
        why = getattr(error, "msg", str(error))
        raise Refused(f"the pattern {shown(text)} cannot be read: {why}", "look-behind" not in why) from None
    longest = longest_text(regex)
    if longest < 100:
        raise Refused(
            f"the pattern {shown(text)} could run for very long: its repeats can share a text in many ways"
        )
    return Pattern(regex, longest)


def _translated(text: str) -> str:
    parts: list[str] = []
    place, repeated = 0, True
    for match in re.finditer(_TOKENS, text, re.DOTALL):
        if match.start() != place or (match["repeat"] and repeated):
            break
        place, repeated = match.end(), bool(match["repeat"])
        parts.append(_token(match))
    if place != len(text):
        where = f"at character {place + 1}: {shown(text[place:], 20)}"
        raise Refused(f"the pattern {shown(text)} cannot be read {where}", not text.startswith("(?", place))
    return "".join(parts)


def _token(match: re.Match[str]) -> str:
    token = match[0]
    if match["set"]:
        return _set(match["negated"], re.findall(_ATOM, match["members"], re.DOTALL), match["members"])
    if match["group"]:  # groups capture nothing, since nothing refers to them
        return token if token[2:3] and (token[2] in ":=!" or token[3] in "=!") else "(?:"
    if match["plain"]:
        return _PLAIN[token]
    if match["atom"]:
        char = _char(token)
        return f"[{_CLASSES[char]}]" if isinstance(char, str) else _literal(char)
    return token


def _set(negated: str, atoms: list[str], members: str) -> str:
    """A class in brackets, each member spelt so that Python cannot take it for anything else."""
    if "".join(atoms) != members:
        raise Refused(f"the pattern has [{members:.60}], with an escape that is not known")
    chars = [8 if atom == r"\b" else _char(atom) for atom in atoms]
    parts, place = [], 0
    while place < len(chars):
        char, last = (
            chars[place],
            chars[place + 2] if place + 2 < len(chars) and atoms[place + 1] == "-" else None,
        )
        if isinstance(char, int) and isinstance(last, int):
            if char > last:
                raise Refused(
                    f"the pattern has the range {''.join(atoms[place : place + 3])}, which is empty", True
                )
            parts.append(f"{_literal(char)}-{_literal(last)}")
            place += 3
        else:
            parts.append(_CLASSES[char] if isinstance(char, str) else _literal(char))
            place += 1
    if not parts:
        return r"[\x00-\U0010ffff]" if negated else "(?!)"
    return f"[{negated}{''.join(parts)}]"


def _literal(char: int) -> str:
    return f"\\U{char:08x}"


def _char(atom: str) -> int | str:
    """The code of the character that *atom* spells, or the letter of the class."""
    letter = atom[1:2]
    if not letter:
        return ord(atom)
    if letter in _CLASSES:
        return letter
    if letter in _CONTROLS:
        return _CONTROLS[letter]
    if letter == "c":
        return ord(atom[2]) & 31
    if letter in "ux":
        code = int(atom[2:].strip("{}"), 16)
        if 0xD800 <= code <= 0xDFFF or code > 0x10FFFF:
            raise Refused(f"the pattern has {atom}, which is no character")
        return code
    if letter.isascii() and letter.isalnum():
        raise Refused(f"the pattern has {atom}, which is not supported")
    return ord(letter)


# patterns: what they may cost


_Ranges = tuple[tuple[int, int], ...]
_NO_CHARACTER = (-1, -1)


class _Cost(NamedTuple):
    """Of a part of a pattern and all that follows it.

    first: ranges of the characters that it can begin with; degree, factor: it takes up to
    factor · n**degree steps for n characters; opens: how many choices the next character does not settle.
    """

    first: _Ranges = ()
    degree: int = 0
    factor: float = 1
    opens: int = 0


def longest_text(regex: str) -> float:
    """How long a text may be so that searching it for *regex* takes no more than MAX_STEPS."""
    from re import _parser  # type: ignore[attr-defined]

    tree = list(_parser.parse(regex))
    cost = _Costs().of(tree, _Cost())
    anchored = bool(tree) and tree[0][0].name == "AT" and tree[0][1].name == "AT_BEGINNING"
    degree = cost.degree + (not anchored)
    if not degree:
        return math.inf if cost.factor <= MAX_STEPS else 0
    return float((MAX_STEPS / cost.factor) ** (1 / degree))


class _Costs:
    """Reads the tree that Python's `re` makes of a pattern, from its end to its beginning."""

    def __init__(self) -> None:
        self._visits = 0

    def of(self, sequence: Any, after: _Cost) -> _Cost:
        for op, argument in reversed(list(sequence)):
            self._visits += 1
            if self._visits > 10 * MAX_PATTERN_CHARACTERS:
                raise Refused(
                    "the pattern has groups repeated within groups too often to judge what it costs"
                )
            after = self._one(op.name, argument, after)
        return after

    def _one(self, op: str, argument: Any, after: _Cost) -> _Cost:
        match op:
            case "LITERAL" | "NOT_LITERAL" | "IN" | "FAILURE":
                return after._replace(first=_characters(op, argument))
            case "AT":
                return after._replace(first=()) if argument.name == "AT_END_STRING" else after
            case "SUBPATTERN":
                return self.of(argument[3], after)
            case "BRANCH":
                return _either([self.of(branch, after) for branch in argument[1]])
            case "ASSERT" | "ASSERT_NOT":  # once decided it is never tried another way
                inside = self.of(argument[1], _Cost())
                degree, factor = max(after.degree, inside.degree), max(after.factor, inside.factor)
                return after._replace(degree=degree, factor=factor, opens=max(after.opens, inside.opens))
        least, most, body = argument
        return self._repeat(least, most, body, after)

    def _repeat(self, least: int, most: int, body: Any, after: _Cost) -> _Cost:
        first = self.of(body, _Cost((_NO_CHARACTER,))).first
        if len(body) == 1 and body[0][0].name in ("LITERAL", "NOT_LITERAL", "IN"):
            return _repeated(first, least, most, after)
        if most <= 10:
            for count in range(most, 0, -1):
                once = self.of(body, after)
                after = _either([once, after]) if count > least else once
            return after
        inside = self.of(body, _Cost(first + after.first))
        if inside.opens or _NO_CHARACTER in first:
            raise Refused(
                "the pattern repeats a group that can share a text in many ways, and could run for very long"
            )
        return _repeated(first, least, most, after)


def _repeated(first: _Ranges, least: int, most: int, after: _Cost) -> _Cost:
    """Of a repeat that settles all choices but the one to go on."""
    opens = least != most and _meet(first, after.first)
    begin = first if least else (*first, *after.first)
    if most - least > MAX_PATTERN_CHARACTERS:
        return _Cost(begin, max(1, after.degree + opens), after.factor, after.opens + opens)
    return _Cost(begin, after.degree, after.factor * (1 + opens * (most - least)), after.opens + opens)


def _either(costs: list[_Cost]) -> _Cost:
    opens = any(_meet(one.first, two.first) for n, one in enumerate(costs) for two in costs[:n])
    factors = [cost.factor for cost in costs]
    return _Cost(
        tuple(dict.fromkeys(span for cost in costs for span in cost.first)),
        max(cost.degree for cost in costs),
        sum(factors) if opens else max(factors),
        max(cost.opens for cost in costs) + opens,
    )


def _characters(op: str, argument: Any) -> _Ranges:
    if op == "LITERAL":
        return ((argument, argument),)
    if op == "NOT_LITERAL":
        return _without([(argument, argument)])
    ranges = sorted((value, value) if op.name == "LITERAL" else value for op, value in argument if value)
    return _without(ranges) if argument and argument[0][0].name == "NEGATE" else tuple(ranges)


def _without(ranges: list[tuple[int, int]]) -> _Ranges:
    """All characters but those in *ranges*, which are sorted."""
    found, place = [], 0
    for low, high in ranges:
        found.append((place, low - 1))
        place = max(place, high + 1)
    return tuple((low, high) for low, high in [*found, (place, 0x10FFFF)] if low <= high)


def _meet(one: _Ranges, two: _Ranges) -> bool:
    return any(low <= most and least <= high for low, high in one for least, most in two)
