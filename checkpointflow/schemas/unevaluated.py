"""What `unevaluatedProperties` and `unevaluatedItems` leave alone: what else has looked at it.

That follows from which branches of `anyOf`, `oneOf`, `if` and `dependentSchemas` hold, which only an instance
decides, so each possible set of branches becomes one alternative: those branches hold, and nothing else is
there. What is evaluated can only grow, so an alternative that assumes too little is stricter than the truth,
never laxer: a branch that holds need not be a guard. More than 64 alternatives are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from checkpointflow.diagnostics import Path
from checkpointflow.errors import UnsupportedSchema
from checkpointflow.schemas.survey import Survey

MAX_ALTERNATIVES = 64


class Evaluated(NamedTuple):
    """What a schema that holds has looked at: of an object, or of a list.

    everything: nothing is left; upto: the first items; kinds: places of `contains`, whose items count.
    """

    names: frozenset[str] = frozenset()
    patterns: frozenset[str] = frozenset()
    upto: int = 0
    kinds: frozenset[Path] = frozenset()
    everything: bool = False

    def merge(self, other: Evaluated) -> Evaluated:
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
    """If all of *guards* hold (a text: that property is there), *evaluated* is."""

    guards: tuple[Guard | str, ...]
    evaluated: Evaluated


NOTHING = Alternative((), Evaluated())


def list_alternatives(survey: Survey, path: Path, keyword: str) -> list[Alternative]:
    """What is evaluated where *keyword* stands, in the schema at *path*, by what holds there.

    Raises UnsupportedSchema for too many.
    """
    return _multiply(survey, path, keyword, _evaluate(path, survey.schemas[path], keyword))


def _list_inner(survey: Survey, path: Path, keyword: str) -> list[Alternative]:
    """The same for a schema beside, in which *keyword* itself evaluates all that is left."""
    schema = survey.schemas[path]
    if isinstance(schema, bool):
        return [NOTHING]
    evaluated = _evaluate(path, schema, keyword)
    if keyword in schema:
        evaluated = evaluated._replace(everything=True)
    return _multiply(survey, path, keyword, evaluated)


def _evaluate(path: Path, schema: dict[str, Any], keyword: str) -> Evaluated:
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


def _multiply(survey: Survey, path: Path, keyword: str, evaluated: Evaluated) -> list[Alternative]:
    """*evaluated*, with each choice of what the schemas beside evaluate."""
    found = [Alternative((), evaluated)]
    for choices in _list_choices(survey, path, keyword):
        found = _prune(_combine(one, two) for one in found for two in choices)
        if len(found) > MAX_ALTERNATIVES:
            problem = f"more than {MAX_ALTERNATIVES} combinations of branches decide `{keyword}`"
            raise UnsupportedSchema(problem=problem)
    return found


def _list_choices(survey: Survey, path: Path, keyword: str) -> Iterator[list[Alternative]]:
    """For each keyword in the schema at *path* that applies others in place: what these may evaluate."""
    schema = survey.schemas[path]
    for target in survey.resolve_all(path):
        yield _list_inner(survey, target, keyword)
    for index, _ in enumerate(schema.get("allOf", ())):
        yield _list_inner(survey, (*path, "allOf", index), keyword)
    for index, _ in enumerate(schema.get("anyOf", ())):
        yield _list_branch(survey, (*path, "anyOf", index), keyword)
    if "oneOf" in schema:
        count = len(schema["oneOf"])
        branches = [_list_branch(survey, (*path, "oneOf", index), keyword) for index in range(count)]
        yield _prune(one for branch in branches for one in branch)
    for name in schema.get("dependentSchemas", {}):
        inner = _list_inner(survey, (*path, "dependentSchemas", name), keyword)
        yield _prune([NOTHING, *_guard(name, inner)])
    if "if" in schema:
        yield _list_conditional(survey, path, keyword)


def _list_branch(survey: Survey, path: Path, keyword: str) -> list[Alternative]:
    """What the schema at *path* evaluates if it holds; and nothing if it does not."""
    return _prune([NOTHING, *_guard(Guard(path), _list_inner(survey, path, keyword))])


def _list_conditional(survey: Survey, path: Path, keyword: str) -> list[Alternative]:
    schema = survey.schemas[path]
    condition, then, otherwise = ((*path, part) for part in ("if", "then", "else"))
    held = _list_inner(survey, condition, keyword)
    if "then" in schema:
        held = [_combine(one, two) for one in held for two in _list_inner(survey, then, keyword)]
    missed = _list_inner(survey, otherwise, keyword) if "else" in schema else [NOTHING]
    return _prune([*_guard(Guard(condition), held), *_guard(Guard(condition, False), missed)])


def _guard(guard: Guard | str, alternatives: list[Alternative]) -> list[Alternative]:
    return [Alternative((guard, *one.guards), one.evaluated) for one in alternatives]


def _combine(one: Alternative, two: Alternative) -> Alternative:
    guards = tuple(dict.fromkeys(one.guards + two.guards))
    return Alternative(guards, one.evaluated.merge(two.evaluated))


def _prune(alternatives: Iterable[Alternative]) -> list[Alternative]:
    """*alternatives* without those that another makes needless: it asks no more and evaluates no less."""
    needed: list[Alternative] = []
    for one in alternatives:
        if not any(_makes_needless(other, one) for other in needed):
            needed = [other for other in needed if not _makes_needless(one, other)] + [one]
    return needed


def _makes_needless(one: Alternative, other: Alternative) -> bool:
    return set(one.guards) <= set(other.guards) and one.evaluated.merge(other.evaluated) == one.evaluated
