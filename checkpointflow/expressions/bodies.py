"""Bodies of HTTP calls: what the type that their headers declare makes of them.

A value is data there, too: in a text that is a form or JSON it could bring fields of its own, so such a body
is written as a mapping, and encoded whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UnsetType

from checkpointflow.diagnostics import Diagnostic, describe, shorten
from checkpointflow.errors import ExpressionError
from checkpointflow.expressions.templates import Template
from checkpointflow.expressions.values import as_text

FORM = "application/x-www-form-urlencoded"

_JSON = re.compile(r"(application|text)/(x-)?json|[^/]+/[^/]+\+json")


def find_media_type(headers: Mapping[str, Any]) -> str:
    """The media type that *headers* declare, in lower case and without its parameters; "" if none."""
    given = (str(value) for name, value in headers.items() if name.lower() == "content-type")
    return next(given, "").partition(";")[0].strip().lower()


def is_json(media_type: str) -> bool:
    """Whether it is one of those of JSON."""
    return _JSON.fullmatch(media_type) is not None


def find_fault(body: Any, media_type: str) -> Diagnostic | None:
    """What is wrong with the compiled *body*, whatever its holes hold, and what to write instead."""
    if isinstance(body, Template):
        return _find_fault_of_text(body, media_type)
    if media_type == FORM and not isinstance(body, str | ExpressionError | UnsetType):
        try:
            _list_fields(body)
        except ValueError as error:
            hint = "as in {grant_type: client_credentials, scope: [read, write]}"
            return Diagnostic(str(error), hint=hint)
    return None


def _find_fault_of_text(template: Template, media_type: str) -> Diagnostic | None:
    if len(template.pieces) == 1:
        return None
    if media_type == FORM:
        problem = "a value in the text of a form could add fields to it"
        return Diagnostic(problem, hint="write a mapping, as in {user: …}")
    if is_json(media_type) or _looks_like_json(template):
        problem = "a value in the text of JSON could add fields to it"
        return Diagnostic(problem, hint="write a mapping or a list in place of text")
    return None


def _looks_like_json(template: Template) -> bool:
    text = "".join(piece if isinstance(piece, str) else "0" for piece in template.pieces)
    try:
        return isinstance(msgspec.json.decode(text), dict | list)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False


def encode_form(body: Any) -> str:
    """The mapping *body* as a form; a list gives its name once for each item. Raises ValueError."""
    from urllib.parse import urlencode  # late: few runs make calls

    return urlencode([(name, as_text(value)) for name, value in _list_fields(body)])


def _list_fields(body: Any) -> list[tuple[str, Any]]:
    if not isinstance(body, dict):
        raise ValueError(f"the body of a form is a mapping, and this is {describe(body)}")
    fields = [
        (name, item)
        for name, value in body.items()
        for item in (value if isinstance(value, list) else [value])
    ]
    for name, value in fields:
        if value is None or isinstance(value, dict | list):
            what = f'the field "{shorten(name)}" holds {describe(value)}'
            raise ValueError(f"a form holds texts, numbers and lists of them, and {what}")
    return fields
