"""Running the code that fastjsonschema generates, and wording what it finds."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from checkpointflow.schemas.defaults import MAX_INSTANCE_DEPTH
from checkpointflow.schemas.instance_errors import InstanceError
from checkpointflow.schemas.rewriting import Draft07, Rule
from checkpointflow.schemas.wording import WORDS, abbreviate, write_part

MAX_EXPLAINED = 20


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
            paths = _locate(plain, {error.name for error in found})
            order = {name: number for number, name in enumerate(paths)}
            found.sort(key=lambda error: (order[error.name], error.definition["at"]))
            worded = (error for one in found for error in self._word(one, paths[one.name]))
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


def _locate(value: Any, names: set[str]) -> dict[str, str]:
    """Where in *value* each of *names* is, in its order: the generated code's word, such as `data.items[3]`.

    Two positions have one name if a field's name holds a dot or a bracket; then the first is told.
    """
    paths: dict[str, str] = {}

    def look(value: Any, name: str, path: str) -> None:
        if name in names:
            paths.setdefault(name, path)
        if len(paths) == len(names):
            return
        for key, inner in value.items() if isinstance(value, dict) else ():
            look(inner, f"{name}.{key}", path + write_part(key))
        for index, inner in enumerate(value) if isinstance(value, list) else ():
            look(inner, f"{name}[{index}]", f"{path}[{index}]")

    look(value, "data", "$")
    return paths
