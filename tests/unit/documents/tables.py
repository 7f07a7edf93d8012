"""How the tables of `cases/` are read: what is told of a document, where, and in which words.

A file is a list of groups. A group is a claim, its `rows`, and whatever its rows share; a row says what it
has of its own (a bare text is its `text`, a list the lines of it).

    text        stands for each § in what follows
    step        one step's fields besides its id "a"; or
    steps       the list of steps (where there is none: the text alone); or
    document    the whole document
    top         what stands beside `steps` under `workflow`
    says, hint  a text of `cases/texts.json` by its name, and what fills its holes; hint null: there is none
    code, id    as a program sees them
    but         ids of warnings that may be given as well

‸ marks each place where something must be told; where it marks none, nothing may be. Each text stands once,
in `texts.json`: whoever rewords a message, rewords it there. A text of another room (expressions, shells,
schemas) stands in the table of that room, and here only its place is asserted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import indent
from typing import Any, NamedTuple

import pytest

from checkpointflow.diagnostics import Diagnostic, format_path, shorten
from checkpointflow.documents.checker import check_document
from checkpointflow.documents.yaml import parse
from tests.texts import Texts

CASES = Path(__file__).parent / "cases"
TEXTS = Texts(CASES / "texts.json")
MARK, HOLE = "‸", "§"
HEAD = """\
schema_version: checkpointflow/v1
workflow:
  id: w
  version: 1
"""
Row = dict[str, Any]


# The adapter: the only lines here, and in the tests of tables, that know how a document is checked.


class Told(NamedTuple):
    """What a test may ask of something told."""

    line: int
    column: int
    path: str
    message: str
    hint: str | None
    code: str
    id: str | None


def told_by(found: list[Diagnostic]) -> list[Told]:
    return [Told(p.line, p.column, format_path(p.path), p.message, p.hint, p.code, p.id) for p in found]


def checked(document: str | bytes) -> tuple[list[Told], list[Told]]:
    """The errors and the warnings of *document*."""
    data = document if isinstance(document, bytes) else document.encode()
    _, errors, warnings, _ = check_document(data, "wf.yaml")
    return told_by(errors), told_by(warnings)


def errors(document: str | bytes) -> list[Told]:
    return checked(document)[0]


def warnings(document: str) -> list[Told]:
    """The warnings of *document*, which must have no errors."""
    found, doubts = checked(document)
    assert found == []
    return doubts


def yaml_errors(document: str | bytes) -> list[Told]:
    """What is wrong with *document* before anybody asks for a workflow."""
    data = document if isinstance(document, bytes) else document.encode()
    return told_by(parse(data, "wf.yaml").problems)


# Tables


def text(name: str, *fills: str) -> str:
    """The text of that name, with its holes filled."""
    return TEXTS([name, *fills])


def of(steps: str, top: str = "") -> str:
    """A document with *steps*, and with *top* beside them under `workflow`."""
    return HEAD + indent(top, "  ") + "  steps:\n" + indent(steps, "    ")


def rows(file: str) -> list[Any]:
    """The rows of `cases/<file>.json`, each named by its claim and its own text."""
    return [pytest.param(row, id=name_of(row)) for row in table(file)]


def name_of(row: Row) -> str:
    """The claim and, of one among several rows, its own text in so far as it fits on a line."""
    own = " ".join(lines(row.get("text", "")).replace(MARK, "").split()) if row["several"] else ""
    return shorten(f"{row['claim']}: {own}".removesuffix(": "), 140)


def table(file: str) -> Iterator[Row]:
    for shared in json.loads((CASES / f"{file}.json").read_text(encoding="utf-8")):
        own = shared.pop("rows", [{}])
        for row in own:
            yield {**shared, **(row if isinstance(row, dict) else {"text": row}), "several": len(own) > 1}


def lines(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(f"{line}\n" for line in text)


def document_of(row: Row) -> str:
    """The document that *row* is about, marks included."""
    if "step" in row:
        row = {**row, "steps": f"- {{id: a, {row['step']}}}\n"}
    own = lines(row.get("text", ""))
    filled = {n: lines(row[n]).replace(HOLE, own) for n in ("steps", "top", "document") if n in row}
    if "document" in filled:
        return filled["document"]
    return of(ended(filled.get("steps", own)), ended(filled.get("top", "")))


def ended(text: str) -> str:
    return text if text.endswith("\n") or not text else text + "\n"


def marks(document: str) -> list[tuple[int, int]]:
    """The lines and columns that are marked in *document*."""
    above = [
        document[:at].replace(MARK, "").lstrip("\ufeff") for at, sign in enumerate(document) if sign == MARK
    ]
    before = [re.split("\r\n|\r|\n", text) for text in above]
    return [(len(lines), len(lines[-1]) + 1) for lines in before]


def holds(row: Row, tell: Callable[[str], list[Told]]) -> None:
    """That *tell* finds in the document of *row* what the row says, and nothing else."""
    document = document_of(row)
    found = [told for told in tell(document.replace(MARK, "")) if told.id not in row.get("but", ())]
    assert [(told.line, told.column) for told in found] == marks(document), found
    for told in found:
        if "says" in row:
            assert told.message == text(*row["says"])
        if "hint" in row:
            assert told.hint == (row["hint"] and text(*row["hint"]))
        assert told.id == row.get("id", told.id)
    if len(found) == 1:
        assert found[0].code == row.get("code", "ERR_VALIDATION_WORKFLOW")
