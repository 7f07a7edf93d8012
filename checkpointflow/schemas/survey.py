"""Survey of a schema: where schemas stand in it, where its references lead, and what is wrong with it.

A schema is copied first, into plain types and within bounds, and put into 2020-12 (`dialects`). Then every
place where a schema stands is listed, with the URI that its references start from. A reference must lead to a
listed place: one to anything else, such as into a `const`, would make a schema of what nobody meant as one;
one out of the document is refused, since nothing is ever fetched.

Rewriting relies on what is checked here: each keyword is what it must be, each reference leads somewhere, and
no schema comes back to itself without going down into the instance.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from checkpointflow.diagnostics import Diagnostic, Path
from checkpointflow.errors import InvalidSchema, UnsupportedSchema
from checkpointflow.schemas.dialects import Translation
from checkpointflow.schemas.keywords import (
    IN_PLACE,
    REFERENCES,
    REFUSALS,
    check_keyword,
    diagnose,
    find_keyword,
    find_subschemas,
)
from checkpointflow.schemas.patterns import read_pattern
from checkpointflow.schemas.wording import abbreviate

MAX_NODES = 20_000
MAX_DEPTH = 64
MAX_DIGITS = 1_000


# a copy, in plain types


def copy_schema(schema: Any) -> tuple[Any, list[Diagnostic]]:
    """*schema* as plain JSON of its own, and what in it is no JSON or beyond a limit.

    A float that is whole becomes an int, so that all arithmetic on whole numbers is exact.
    """
    problems: list[Diagnostic] = []
    left = MAX_NODES

    def copy(value: Any, path: Path) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise UnsupportedSchema(problem=f"the schema has more than {MAX_NODES:,} nodes")
        if type(value) in (dict, list) and len(path) >= MAX_DEPTH:
            raise UnsupportedSchema(problem=f"the schema is nested more than {MAX_DEPTH} deep")
        if type(value) is dict:
            return {_copy_key(key): copy(inner, (*path, key)) for key, inner in value.items()}
        if type(value) is list:
            return [copy(inner, (*path, index)) for index, inner in enumerate(value)]
        try:
            return _copy_scalar(value)
        except REFUSALS as refusal:
            problems.append(diagnose(path, refusal))

    try:
        return copy(schema, ()), problems
    except REFUSALS as refusal:
        return None, [diagnose((), refusal)]


def _copy_key(key: Any) -> str:
    if type(key) is not str:
        raise InvalidSchema(problem=f"a key must be text, and a {type(key).__name__} is not")
    return key


def _copy_scalar(value: Any) -> Any:
    if type(value) is float:
        if not math.isfinite(value):
            raise InvalidSchema(problem=f"{value} is no JSON value")
        return int(value) if value.is_integer() else value
    if type(value) is int and abs(value) >= 10**MAX_DIGITS:
        raise UnsupportedSchema(problem=f"the number has more than {MAX_DIGITS:,} digits")
    if value is not None and type(value) not in (str, bool, int):
        raise InvalidSchema(problem=f"a {type(value).__name__} is no JSON value")
    return value


# where schemas stand, and where references lead


class Survey:
    """Every place of a translated schema where a schema stands, in order, and what is named there.

    `duplicates`: names that two schemas have.
    """

    def __init__(self, translation: Translation) -> None:
        self.translation = translation
        self.schemas: dict[Path, Any] = {}
        self.duplicates: list[Diagnostic] = []
        self._bases: dict[Path, str] = {}
        self._resources: dict[str, Path] = {"": ()}
        self._anchors: dict[str, Path] = {}
        self._dynamic: dict[str, int] = {}
        self._visit(translation.schema, (), "")

    def _visit(self, schema: Any, path: Path, base: str) -> None:
        if isinstance(schema, dict):
            base = self._register(schema, path, base)
        self.schemas[path] = schema
        self._bases[path] = base
        for suffix, inner in find_subschemas(schema):
            self._visit(inner, path + suffix, base)

    def _register(self, schema: dict[str, Any], path: Path, base: str) -> str:
        """Note what *schema* is called; returns the URI that its references start from."""
        if isinstance(schema.get("$id"), str):
            base = _join(base, schema["$id"]).partition("#")[0]
            self._name(self._resources, base, (*path, "$id"))
        for keyword in ("$anchor", "$dynamicAnchor"):
            if isinstance(name := schema.get(keyword), str):
                self._name(self._anchors, f"{base}#{name}", (*path, keyword))
        if isinstance(name := schema.get("$dynamicAnchor"), str):
            self._dynamic[name] = self._dynamic.get(name, 0) + 1
        return base

    def _name(self, names: dict[str, Path], name: str, path: Path) -> None:
        """Give the schema that the keyword at *path* stands in the name *name*, if it is free."""
        if names.setdefault(name, path[:-1]) != path[:-1]:
            refusal = InvalidSchema(problem=f"{abbreviate(name)} names another schema already")
            self.duplicates.append(diagnose(path, refusal))

    def resolve(self, path: Path, keyword: str) -> Path:
        """The place that the reference *keyword* of the schema at *path* leads to.

        Raises InvalidSchema if it leads nowhere, UnsupportedSchema if we cannot follow it.
        """
        reference = self.schemas[path][keyword]
        uri, _, fragment = _join(self._bases[path], reference).partition("#")
        if uri not in self._resources:
            problem = f"{abbreviate(reference)} leads out of this document, and nothing is fetched"
            raise UnsupportedSchema(problem=problem)
        target = self._resolve_fragment(uri, fragment)
        if target is None:
            raise InvalidSchema(problem=f"{abbreviate(reference)} leads nowhere in this schema")
        if keyword == "$dynamicRef" and self._dynamic.get(fragment, 0) > 1:
            problem = f"{abbreviate(reference)} has several `$dynamicAnchor`s to choose from"
            raise UnsupportedSchema(problem=problem)
        if target not in self.schemas:
            problem = f"{abbreviate(reference)} leads to something that is not read as a schema"
            raise UnsupportedSchema(problem=problem)
        return target

    def _resolve_fragment(self, uri: str, fragment: str) -> Path | None:
        from urllib.parse import unquote

        fragment = unquote(fragment)
        if not fragment:
            return self._resources[uri]
        if fragment.startswith("/"):
            start = self.translation.find_origin(self._resources[uri])
            found = _follow_pointer(self.translation.original, start, fragment)
            return found and self.translation.find_target(found)
        return self._anchors.get(f"{uri}#{fragment}")

    def resolve_all(self, path: Path) -> list[Path]:
        """Where the references of the schema at *path* lead, once all are known to lead somewhere."""
        schema = self.schemas[path]
        return [self.resolve(path, keyword) for keyword in REFERENCES if keyword in schema]

    def list_in_place(self, path: Path) -> Iterator[Path]:
        """The places whose schemas apply to the same value as the one at *path*."""
        schema = self.schemas[path]
        for suffix, _ in find_subschemas(schema):
            if suffix[0] in IN_PLACE:
                yield path + suffix
        if isinstance(schema, dict):
            yield from self.resolve_all(path)


def _join(base: str, reference: str) -> str:
    if reference.startswith("#"):  # urljoin would lose a base such as urn:…
        return base + reference
    from urllib.parse import urljoin

    try:
        return urljoin(base, reference)
    except ValueError:
        return reference


def _follow_pointer(document: Any, path: Path, pointer: str) -> Path | None:
    """Where a JSON pointer leads that starts at *path*; None if it leads nowhere."""
    for part in path:
        document = document[part]
    for token in pointer.split("/")[1:]:
        key: str | int | None = token.replace("~1", "/").replace("~0", "~")
        if isinstance(document, list):
            key = _read_index(token, len(document))
        elif not isinstance(document, dict) or key not in document:
            key = None
        if key is None:
            return None
        path, document = (*path, key), document[key]
    return path


def _read_index(token: str, length: int) -> int | None:
    if re.fullmatch(r"0|[1-9][0-9]{0,5}", token) and int(token) < length:
        return int(token)
    return None


# what is wrong


def find_problems(survey: Survey) -> list[Diagnostic]:
    """Everything that is wrong or not to be honoured, in the order of the document."""
    problems = list(survey.duplicates)
    for path, schema in survey.schemas.items():
        if isinstance(schema, dict):
            for keyword in schema:
                problems += _check_keyword(survey, path, keyword)
        elif not isinstance(schema, bool):
            problems.append(diagnose(path, _refuse_as_schema(path, schema)))
    if not problems and not survey.translation.problems:  # only then do all references lead somewhere
        problems += _find_endless(survey)
    told = [*survey.translation.problems, *map(survey.translation.bring_home, problems)]
    return sorted(told, key=lambda problem: _rank(survey.translation.original, problem.path))


def _check_keyword(survey: Survey, path: Path, keyword: str) -> Iterator[Diagnostic]:
    schema = survey.schemas[path]
    try:
        check_keyword(schema, keyword)
        if keyword in REFERENCES:
            survey.resolve(path, keyword)
    except REFUSALS as refusal:
        yield diagnose((*path, keyword), refusal)
        return
    for pattern in schema[keyword] if keyword == "patternProperties" else ():
        try:
            read_pattern(pattern)
        except REFUSALS as refusal:
            yield diagnose((*path, keyword, pattern), refusal)


def _refuse_as_schema(path: Path, value: Any) -> InvalidSchema:
    if isinstance(value, list) and find_keyword(path) == "items":
        problem = (
            "a list of schemas is written `prefixItems`; `items` is one schema, for the items after those"
        )
        return InvalidSchema(problem=problem)
    return InvalidSchema(problem=f"a schema is an object, true or false, and this is {abbreviate(value)}")


def _rank(document: Any, path: Path) -> tuple[int, ...]:
    """Where in the order of *document* the value at *path* stands."""
    rank = []
    for part in path:
        rank.append(part if isinstance(part, int) else list(document).index(part))
        document = document[part]
    return tuple(rank)


def _find_endless(survey: Survey) -> Iterator[Diagnostic]:
    """The first place where schemas apply to one value without end, or too deep, or too often."""
    known: dict[Path, tuple[int, int]] = {}

    def measure(path: Path, above: tuple[Path, ...]) -> tuple[int, int]:
        """How deep, and how often, schemas apply to one value from *path* on."""
        if path in above:
            loop = "the schema contains itself without going down into the value, so it would never end"
            raise UnsupportedSchema(problem=loop)
        if path not in known and len(above) < MAX_DEPTH:
            inner = [measure(target, (*above, path)) for target in survey.list_in_place(path)]
            known[path] = (
                1 + max((high for high, _ in inner), default=0),
                1 + sum(times for _, times in inner),
            )
        high, times = known.get(path, (MAX_DEPTH, 1))
        if high + len(above) > MAX_DEPTH or times > MAX_NODES:
            much = f"more than {MAX_DEPTH} schemas within each other, or {MAX_NODES:,} in all, for one value"
            raise UnsupportedSchema(problem=much)
        return high, times

    for path in survey.schemas:
        try:
            measure(path, ())
        except REFUSALS as refusal:
            yield diagnose(path, refusal)
            return
