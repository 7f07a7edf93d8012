"""Defaults: what a schema has for properties that are absent.

In JSON Schema `default` only annotates; to fill it in is our addition, so it goes only where no choice is to
be made: down through `properties` and `$ref`, never into `anyOf`, `if` or items.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from checkpointflow.diagnostics import Path
from checkpointflow.schemas.survey import Survey

MAX_INSTANCE_DEPTH = 100


def fill_in(schema: Any, survey: Survey, instance: Any) -> Any:
    """A copy of *instance* with the `default` of each property that is absent.

    Also within a default just filled in, but in that case not into a schema that is being filled in already.
    Parts that nothing was filled into are shared with *instance*. *survey* is that of *schema*, and found no
    problems.
    """

    def fill(path: Path, value: Any, filling: frozenset[Path], depth: int) -> Any:
        """*value* as the schema at *path* completes it; *filling*: the defaults that it is within."""
        inner_schema = survey.schemas[path]
        if not isinstance(inner_schema, dict) or not isinstance(value, dict) or depth > MAX_INSTANCE_DEPTH:
            return value
        filled = dict(value)
        for name in inner_schema.get("properties", {}):
            inner = (*path, "properties", name)
            if name in value:
                filled[name] = fill(inner, value[name], filling, depth + 1)
            elif inner not in filling:
                for default in _find_default(schema, survey, inner):
                    filled[name] = fill(inner, deepcopy(default), filling | {inner}, depth + 1)
        for target in survey.resolve_all(path):
            filled = fill(target, filled, filling, depth)
        return filled

    return fill((), instance, frozenset(), 0)


def _find_default(original: Any, survey: Survey, path: Path) -> list[Any]:
    """The default of the schema at *path*, or of one that it refers to: a list of one, or of none."""
    schema = survey.schemas[path]
    if not isinstance(schema, dict):
        return []
    if "default" in schema:  # from the original, not from the copy that was surveyed, in which 1.0 is 1
        for part in survey.translation.find_origin((*path, "default")):
            original = original[part]
        return [original]
    found = (_find_default(original, survey, target) for target in survey.resolve_all(path))
    return next(filter(None, found), [])
