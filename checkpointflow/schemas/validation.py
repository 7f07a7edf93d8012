"""User-written JSON Schemas (2020-12): what is wrong with one, and what does not fit it.

A `Schema` is understood once, as far as it is asked: copied and surveyed (`survey`), rewritten into draft-07
(`rewriting`), compiled by fastjsonschema. No keyword is ever ignored (`keywords` says which are known, and
`patterns` what a pattern may cost); whatever is not done as 2020-12 says is refused. So are references that
leave the document (nothing is ever fetched) or choose among several `$dynamicAnchor`s, `unevaluated…` beside
more than 64 combinations of branches, schemas of more than 20,000 nodes or 64 levels.

An instance may be nested 100 levels deep. Its errors come in its own order, worded here (`wording`): the
generated code says which rule was broken, and where, and everything else is worked out from the user's own
schema. `jsonschema`, which needs no rewriting, was measured: it takes some five times as long to import, and
to validate with.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

from checkpointflow.diagnostics import Diagnostic
from checkpointflow.errors import InvalidSchema, UnsupportedSchema
from checkpointflow.schemas.defaults import MAX_INSTANCE_DEPTH, fill_in
from checkpointflow.schemas.rewriting import Draft07, Rule, rewrite
from checkpointflow.schemas.survey import Survey, copy_schema, find_problems
from checkpointflow.schemas.wording import WORDS, abbreviate, write_part, write_path

MAX_EXPLAINED = 20


class InstanceError(NamedTuple):
    """One thing in an instance that does not fit; `message` begins with `path`, such as `$.items[3].name`.

    No Diagnostic: it stands in no file, and its fields, as they are, are kept in runs and told in envelopes.
    """

    path: str
    message: str
    keyword: str


class Understanding(NamedTuple):
    """What is known of a schema; without problems there is a survey and a rewriting."""

    problems: list[Diagnostic]
    survey: Survey | None = None
    rewritten: Draft07 | None = None


class Schema:
    """A JSON Schema, understood on first use and then remembered; making one costs nothing.

    It never changes *schema*, and relies on nobody else doing so.
    """

    def __init__(self, schema: Any) -> None:
        self.schema = schema

    @property
    def problems(self) -> list[Diagnostic]:
        """All that keeps the schema from being compiled, in its order; none means that it compiles.

        `path` leads to the value at fault, the keyword included, which is also the `id`. The code is
        ERR_VALIDATION_WORKFLOW for a schema that is wrong, ERR_UNSUPPORTED_SCHEMA for one that is (or may
        be) good 2020-12 but that we cannot honour. What is no JSON or beyond a limit comes alone, and so do
        references that never end.
        """
        return self._understanding.problems

    def errors(self, instance: Any) -> list[InstanceError]:
        """All that does not fit, in the order of *instance*; none means that it fits.

        Raises InvalidSchema if anything is wrong with the schema, and UnsupportedSchema for one that cannot
        be honoured; `details` lists all problems.
        """
        return self._validator.errors(instance)

    def complete(self, instance: Any) -> Any:
        """A copy of *instance* with the `default` of each property that is absent (`defaults`).

        A schema with problems fills in nothing.
        """
        _, survey, rewritten = self._understanding
        if survey is None or rewritten is None:
            return instance
        return fill_in(self.schema, survey, instance)

    @cached_property
    def _understanding(self) -> Understanding:
        copy, problems = copy_schema(self.schema)
        if problems:
            return Understanding(problems)
        survey = Survey(copy)
        problems = find_problems(survey)
        if problems:
            return Understanding(problems)
        rewritten, problems = rewrite(survey)
        return Understanding(problems) if problems else Understanding([], survey, rewritten)

    @cached_property
    def _validator(self) -> Validator:
        problems, _, rewritten = self._understanding
        if rewritten is None:
            raise _refuse(problems)
        return Validator(rewritten)


def _refuse(problems: list[Diagnostic]) -> InvalidSchema | UnsupportedSchema:
    """The error for *problems*: a mistake comes before what is not supported."""
    first = next((problem for problem in problems if problem.code == InvalidSchema.code), problems[0])
    details = [{"path": write_path(p.path), "keyword": p.id, "message": p.message} for p in problems]
    kind = InvalidSchema if first.code == InvalidSchema.code else UnsupportedSchema
    return kind(problem=f"{write_path(first.path)}: {first.message}", details=details)


# running the generated code


class _Unreadable(Exception):
    """The instance cannot be looked at as a whole."""


class Validator:
    """A compiled schema: says what in an instance does not fit it."""

    def __init__(self, rewritten: Draft07) -> None:
        self._rewritten = rewritten
        self._formats = {
            name: _make_format(re.compile(pattern.regex), pattern.longest)
            for name, pattern in rewritten.formats.items()
        }
        self._check = self._compile(rewritten.definitions["d0"])
        self._branches: dict[int, Callable[[Any], Any]] = {}

    def errors(self, instance: Any) -> list[InstanceError]:
        """All that does not fit, in the order of *instance*; none means that it fits."""
        try:
            plain = _normalize(instance, 0, self._rewritten.longest_key)
            found = self._run(self._check, plain)
            positions = _locate(plain, {error.name for error in found})
            found.sort(key=lambda error: (positions[error.name].order, error.definition["at"]))
            worded = (error for one in found for error in self._word(one, positions[one.name].path))
            return list(dict.fromkeys(worded))
        except _Unreadable as unreadable:
            return [InstanceError("$", f"$ {unreadable}", "")]

    def _compile(self, schema: dict[str, Any]) -> Callable[[Any], Any]:
        """The generated code for a definition, or for a branch of a rule."""
        import fastjsonschema

        definitions = {**self._rewritten.definitions, "it": schema}
        check: Callable[[Any], Any] = fastjsonschema.compile(
            {"$ref": "#/definitions/it", "definitions": definitions},
            handlers=_NoFetching(),
            formats=self._formats,
            use_default=False,
            fast_fail=False,
        )
        return check

    def _run(self, check: Callable[[Any], Any], value: Any) -> list[Any]:
        """The errors of the generated code."""
        from fastjsonschema import JsonSchemaValuesException

        try:
            self._run_exactly(check, value)
        except JsonSchemaValuesException as error:
            return list(error.errors)
        except RecursionError:
            raise _Unreadable("is nested too deep for this schema") from None
        return []

    def _run_exactly(self, check: Callable[[Any], Any], value: Any) -> None:
        if not self._rewritten.has_fractions:
            check(value)
            return
        import decimal

        with decimal.localcontext(decimal.Context(prec=200)):  # so that no division is rounded to a whole
            check(value)

    def _find_rule(self, error: Any) -> tuple[str, Rule]:
        """What an error of the generated code stands for: the keyword and the rule."""
        rule = self._rewritten.rules[error.definition["at"]]
        return rule.keyword or error.rule, rule

    def _word(self, error: Any, path: str) -> Iterator[InstanceError]:
        keyword, rule = self._find_rule(error)
        words = WORDS.get(keyword)
        texts = words(rule.schema, error.value) if words else self._explain(keyword, rule, error.value)
        told = rule.schema if isinstance(rule.schema, str) else keyword
        for text in texts:
            yield InstanceError(path, f"{path} {text}", told)

    def _explain(self, keyword: str, rule: Rule, value: Any) -> list[str]:
        """The texts for a rule whose branches say why."""
        if keyword == "propertyNames":
            reasons = ((name, self._find_reasons(rule.branches[0], name)) for name in value)
            return [
                f"has the field {abbreviate(name)}, whose name {why[0][3:]}" for name, why in reasons if why
            ]
        count = f"{len(rule.branches)} alternatives of its `{keyword}`"
        if len(rule.branches) > MAX_EXPLAINED:
            return [f"must fit {'one' if keyword == 'anyOf' else 'exactly one'} of the {count}"]
        found = [self._find_reasons(branch, value) for branch in rule.branches]
        fitting = [str(number) for number, why in enumerate(found, 1) if not why]
        if fitting:
            return [f"must fit exactly one of the {count}, and fits {' and '.join(fitting)}"]
        told = "; ".join(f"{number}: {why[0]}" for number, why in enumerate(found[:3], 1))
        return [f"fits none of the {count} ({told})"]

    def _find_reasons(self, branch: dict[str, Any], value: Any) -> list[str]:
        """Why *value* does not fit *branch*; what has branches of its own is only named."""
        if id(branch) not in self._branches:  # it lives as long as we do, so no other comes to have that id
            self._branches[id(branch)] = self._compile(branch)
        reasons = []
        for error in self._run(self._branches[id(branch)], value):
            keyword, rule = self._find_rule(error)
            where = f"at {abbreviate(error.name[4:].lstrip('.'))} " if error.name != "data" else ""
            words = WORDS.get(keyword)
            texts = words(rule.schema, error.value) if words else [f"does not fit its `{keyword}`"]
            reasons += [f"{where}it {text}" for text in texts]
        return reasons


class _NoFetching(dict[str, Any]):
    """Handlers for every scheme there is: should a reference get this far, nothing is fetched."""

    def __contains__(self, scheme: object) -> bool:
        return True

    def __getitem__(self, scheme: str) -> Any:
        raise LookupError(f"a reference by {scheme} reached the compiler")


def _make_format(pattern: re.Pattern[str], longest: float) -> Callable[[str], bool]:
    def matches(text: str) -> bool:
        if len(text) > longest:
            raise _Unreadable(
                f"has a text of {len(text):,} characters where a pattern is tried on {int(longest):,} at most"
            )
        return pattern.search(text) is not None

    return matches


def _normalize(value: Any, depth: int, longest_key: float) -> Any:
    """A copy of *value* in which every whole number is an int."""
    if isinstance(value, dict | list):
        if depth >= MAX_INSTANCE_DEPTH:
            raise _Unreadable(f"is nested more than {MAX_INSTANCE_DEPTH} levels deep")
        if isinstance(value, list):
            return [_normalize(inner, depth + 1, longest_key) for inner in value]
        if any(len(key) > longest_key for key in value):
            raise _Unreadable(f"has a field with a name of more than {int(longest_key):,} characters")
        return {key: _normalize(inner, depth + 1, longest_key) for key, inner in value.items()}
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _Unreadable(f"holds {value}, which is no JSON value")
        return int(value) if value.is_integer() else value
    return value


class _Position(NamedTuple):
    order: int
    path: str


def _locate(value: Any, names: set[str]) -> dict[str, _Position]:
    """Where in *value* each of *names* is: the generated code's word for it, such as `data.items[3]`.

    Two positions have one name if a field's name holds a dot or a bracket; then the first is told.
    """
    positions: dict[str, _Position] = {}

    def look(value: Any, name: str, path: str) -> None:
        if name in names:
            positions.setdefault(name, _Position(len(positions), path))
        if len(positions) == len(names):
            return
        for key, inner in value.items() if isinstance(value, dict) else ():
            look(inner, f"{name}.{key}", path + write_part(key))
        for index, inner in enumerate(value) if isinstance(value, list) else ():
            look(inner, f"{name}[{index}]", f"{path}[{index}]")

    look(value, "data", "$")
    return positions
