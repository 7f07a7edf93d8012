"""Values as YAML: on one line where there is room, as our own reader reads them back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from checkpointflow.expressions.values import as_json
from checkpointflow.rehearse.fixtures import SCHEMA_VERSION

MAX_WIDTH = 100

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_/. @%+-]*(?<! )")
_CONSTANTS = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")  # some to older readers
_BLOCK = re.compile(
    r"(?! )[ -~]*[!-~]\n(?:(?:[ -~]*[!-~])?\n)*[ -~]*[!-~]\n?"
)  # of several lines, as it stands
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def write_flow(value: Any) -> str:
    """*value* on one line."""
    match value:
        case dict():
            members = (f"{write_flow(name)}: {write_flow(inner)}" for name, inner in value.items())
            return f"{{{', '.join(members)}}}"
        case list() | tuple():
            return f"[{', '.join(map(write_flow, value))}]"
        case str() if value == "…" or (_PLAIN.fullmatch(value) and value.lower() not in _CONSTANTS):
            return value
        case str() if value.isprintable():
            return "'" + value.replace("'", "''") + "'"
        case _:
            return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", as_json(value))


def write_block(value: Any, indent: str = "") -> Iterator[str]:
    """The lines of *value*, behind *indent*: a mapping, or a list, that is not empty."""
    items = value.items() if isinstance(value, dict) else ((None, inner) for inner in value)
    for name, inner in items:
        head = f"{indent}- " if name is None else f"{indent}{write_flow(name)}: "
        line = head + write_flow(inner)
        if isinstance(inner, str) and _BLOCK.fullmatch(inner):
            yield f"{head}|{'' if inner.endswith(chr(10)) else '-'}"
            yield from (f"{indent}  {part}".rstrip() for part in inner.removesuffix("\n").split("\n"))
        elif len(line) <= MAX_WIDTH or not inner or not isinstance(inner, dict | list):
            yield line
        elif name is None:
            first, *rest = write_block(inner, f"{indent}  ")
            yield head + first.lstrip()
            yield from rest
        else:
            yield head.rstrip()
            yield from write_block(inner, f"{indent}  ")


def write_tests(tests: list[dict[str, Any]], workflow: str | None) -> str:
    """A file with *tests* of the *workflow* (None: that of the file's own name)."""
    head = {"schema_version": SCHEMA_VERSION} | ({} if workflow is None else {"workflow": workflow})
    lines = [*write_block(head), "tests:"]
    for test in tests:
        first, *rest = write_block(test, "    ")
        lines += ["", f"  - {first.lstrip()}", *rest]
    return "\n".join([*lines, ""]).replace("tests:\n\n", "tests:\n", 1)
