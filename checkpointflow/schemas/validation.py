"""User-written JSON Schemas: what is wrong with one, and what does not fit it.

A `Schema` is understood once, as far as it is asked: copied, put into 2020-12 (`dialects`), surveyed
(`survey`), rewritten into draft-07 (`rewriting`), compiled by fastjsonschema. No keyword is ever ignored
(`keywords` says which are known, and `patterns` what a pattern may cost); whatever is not done as its draft
says is refused. So are references that leave the document (nothing is ever fetched) or choose among several
`$dynamicAnchor`s, `unevaluated…` beside more than 64 combinations of branches, schemas of more than 20,000
nodes or 64 levels.

An instance may be nested 100 levels deep. Its errors come in its own order, worded here (`wording`): the
generated code says which rule was broken, and where, and everything else is worked out from the user's own
schema. `jsonschema`, which needs no rewriting, was measured: it takes some five times as long to import, and
to validate with.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from checkpointflow.diagnostics import Diagnostic
from checkpointflow.errors import InvalidSchema, UnsupportedSchema
from checkpointflow.schemas.instance_errors import InstanceError

if TYPE_CHECKING:
    from checkpointflow.schemas.rewriting import Draft07
    from checkpointflow.schemas.survey import Survey
    from checkpointflow.schemas.validator import Validator


class Understanding(Struct, frozen=True):
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

    @property
    def warnings(self) -> list[Diagnostic]:
        """Keywords that its draft does not read where they stand, though they were to refuse something.

        Of a schema without problems; `path` and `id` are as in `problems`.
        """
        survey = self._understanding.survey
        return survey.translation.warnings if survey else []

    def errors(self, instance: Any) -> list[InstanceError]:
        """All that does not fit, in the order of *instance*; none means that it fits.

        Raises InvalidSchema if anything is wrong with the schema, and UnsupportedSchema for one that cannot
        be honoured; `details` lists all problems.
        """
        return [] if self._is_nothing_to(instance) else self._validator.errors(instance)

    def complete(self, instance: Any) -> Any:
        """A copy of *instance* with the `default` of each property that is absent (`defaults`).

        A schema with problems fills in nothing.
        """
        if self._is_nothing_to(instance):
            return instance
        known = self._understanding
        if known.survey is None or known.rewritten is None:
            return instance
        from checkpointflow.schemas.defaults import fill_in

        return fill_in(self.schema, known.survey, instance)

    def _is_nothing_to(self, instance: Any) -> bool:
        """Whether there is nothing to find out, as where no inputs are asked for and none are given."""
        return instance == {} and self.schema in ({}, {"type": "object"})

    @cached_property
    def _understanding(self) -> Understanding:
        from checkpointflow.schemas.dialects import translate
        from checkpointflow.schemas.rewriting import rewrite
        from checkpointflow.schemas.survey import Survey, copy_schema, find_problems

        copy, problems = copy_schema(self.schema)
        if problems:
            return Understanding(problems)
        translation = translate(copy)
        survey = Survey(translation)
        problems = find_problems(survey)
        if problems:
            return Understanding(problems)
        rewritten, problems = rewrite(survey)
        if problems:
            return Understanding([translation.bring_home(problem) for problem in problems])
        return Understanding([], survey, rewritten)

    @cached_property
    def _validator(self) -> Validator:
        known = self._understanding
        if known.rewritten is None:
            raise _refuse(known.problems)
        from checkpointflow.schemas.validator import Validator

        return Validator(known.rewritten)


def _refuse(problems: list[Diagnostic]) -> InvalidSchema | UnsupportedSchema:
    """The error for *problems*: a mistake comes before what is not supported."""
    from checkpointflow.schemas.wording import write_path

    first = next((problem for problem in problems if problem.code == InvalidSchema.code), problems[0])
    details = [{"path": write_path(p.path), "keyword": p.id, "message": p.message} for p in problems]
    kind = InvalidSchema if first.code == InvalidSchema.code else UnsupportedSchema
    return kind(problem=f"{write_path(first.path)}: {first.message}", details=details)
