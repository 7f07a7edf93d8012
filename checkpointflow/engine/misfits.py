"""What does not fit a schema, as a failure or a refusal tells it."""

from __future__ import annotations

from typing import Any

from msgspec.structs import asdict

from checkpointflow.engine.actions import Error
from checkpointflow.schemas.instance_errors import InstanceError
from checkpointflow.schemas.validation import Schema

AnswerSchema = Schema


def understand_schema(schema: Any) -> Schema:
    """What the schema of an answer means that no document has, but a run."""
    return Schema(schema)


def find_misfits(schema: Schema | None, value: Any) -> list[InstanceError]:
    """How *value* does not fit *schema*, if there is one."""
    return [] if schema is None else schema.errors(value)


def list_misfits(what: str, errors: list[InstanceError]) -> str:
    """*what* is wrong, by the first of *errors*."""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{what}: {errors[0].message}{more}"


def detail_misfits(errors: list[InstanceError]) -> list[dict[str, str]]:
    """*errors* as they stand in an envelope."""
    return [asdict(error) for error in errors]


def misfit_error(what: str, errors: list[InstanceError], **more: Any) -> Error:
    """The failure of a step, or a run, whose outputs do not fit."""
    message = list_misfits(what, errors)
    return Error(code="ERR_STEP_OUTPUT_INVALID", message=message, details=detail_misfits(errors), **more)
