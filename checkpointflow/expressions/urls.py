"""URLs with `${…}` in them: what can be told of one before its holes are filled in, and filling them in.

Behind the host a value is data, which cannot end the path or begin a query, nor lead to what stands above by
being `..` or nothing at all. A value that has a part in the host chooses where the call goes, which whoever
makes the call must know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from checkpointflow.diagnostics import Diagnostic
from checkpointflow.errors import EvaluationError
from checkpointflow.expressions.evaluation import evaluate
from checkpointflow.expressions.templates import Template, parse_template
from checkpointflow.expressions.values import as_text
from checkpointflow.patterns import compile_late

_HOLE = "\0"
_CONTROL = compile_late(r"[\x00-\x1f\x7f]")
_PART_OF_SCHEME = compile_late(r"(?:[A-Za-z][A-Za-z0-9+.-]*:?/?)?")
_AUTHORITY = compile_late(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#\\]*)")


class UrlTemplate(Struct, frozen=True):
    """A URL with holes. problem: what is wrong with it whatever they hold, if anything is."""

    template: Template
    problem: Diagnostic | None = None


def parse_url(text: str) -> UrlTemplate:
    """*text* with its holes. Raises ExpressionError."""
    template = parse_template(text)
    return UrlTemplate(template, _find_problem(template))


def fill_url(url: UrlTemplate, scope: Mapping[str, Any]) -> tuple[str, bool]:
    """*url* filled in, and whether a value had a part in its host. Raises EvaluationError."""
    from urllib.parse import quote  # late: few runs make calls

    text, host_is_data, data = "", False, list[tuple[int, str]]()
    for piece in url.template.pieces:
        if isinstance(piece, str):
            text += piece
            continue
        value = as_text(evaluate(piece, scope))
        host = _AUTHORITY.match(text)
        behind_host = host is not None and host.end() < len(text)
        host_is_data = host_is_data or not behind_host
        if behind_host:
            data.append((len(text), piece.text))
        text += quote(value, safe="\0") if behind_host else value
    _refuse_other_resources(text, data)
    host = _AUTHORITY.match(text)
    if host is not None and "@" in host[1]:
        raise EvaluationError("a URL may hold no name and password; give them in a header", "url")
    return text, host_is_data


def _refuse_other_resources(text: str, data: list[tuple[int, str]]) -> None:
    """Refuse a part of the path of *text* that has a value in it and is empty, `.` or `..`.

    data: where each value behind the host begins, and the expression that it is of. Raises EvaluationError.
    """
    from urllib.parse import unquote

    path = re.split(r"[?#]", text, maxsplit=1)[0]
    for at, expression in data:
        if at <= len(path):
            part = unquote(path[path.rfind("/", 0, at) + 1 :].partition("/")[0])
            if part in ("", ".", ".."):
                fault = f'would be "{part}"' if part else "would be empty"
                raise EvaluationError(
                    f"this part of the URL's path {fault}, and name another resource", expression
                )


def _find_problem(template: Template) -> Diagnostic | None:
    if any(isinstance(piece, str) and _CONTROL.search(piece) for piece in template.pieces):
        hint = "write it on one line; behind `url: |` the line break at its end is part of it"
        return Diagnostic("the URL holds a line break or another control character", hint=hint)
    text = "".join(piece if isinstance(piece, str) else _HOLE for piece in template.pieces)
    scheme, separator, rest = text.partition("://")
    if _HOLE in scheme and _PART_OF_SCHEME.fullmatch(scheme.partition(_HOLE)[0]):
        return None  # a value may bring the rest of it
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    port = re.search(r":([0-9]+)\Z", authority)
    if not separator or scheme.lower() not in ("http", "https"):
        return Diagnostic("only http: and https: URLs can be called", hint="as in https://example.com/x")
    if "@" in authority:
        hint = "give them in a header, as in headers: {Authorization: 'Bearer ${secrets.TOKEN}'}"
        return Diagnostic("a URL may hold no name and password", hint=hint)
    if not authority:
        return Diagnostic("the URL names no host")
    if port and not 0 < int(port[1]) < 65536:
        return Diagnostic(f"{port[1]} is not a port")
    return None
