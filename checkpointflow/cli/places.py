"""Where a step of a run is written: the file, the line and the column of its id."""

from __future__ import annotations

import posixpath
from pathlib import Path

from checkpointflow.engine.facts import Identity
from checkpointflow.engine.path import ROOT, host_of, owner, split
from checkpointflow.engine.run import Run
from checkpointflow.errors import CheckpointflowError, FileMissing
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import digest, read_file
from checkpointflow.store.layout import DOCUMENT, document_name


def find_place(directory: RunDirectory, run: Run, path: str) -> tuple[str, int, int] | None:
    """Where the step at *path* of *run* is written; None if its document cannot be read.

    That is the file which the run was started from, or, if that says something else by now, its own copy.
    """
    try:
        outer, step, _ = split(path)
        file, data = _read(directory, run.workflow, _find_document(directory, run, outer))
        line, column = _search(data, step) or _parse(data, step)
    except (CheckpointflowError, LookupError):  # whoever goes on with the run will hear why
        return None
    return file, line, column


def _find_document(directory: RunDirectory, run: Run, body: str) -> str:
    """The name of the document that the steps of *body* stand in: "", or that of one which is called."""
    if not run.workflow.documents or body == ROOT:
        return ""
    from checkpointflow.documents.graph import list_steps  # late, as all that only failures need
    from checkpointflow.drivers.sources import read_own_copies

    blocks = []
    while (body := host_of(body) or body) != ROOT:
        called = run.cursors[body].called
        body, block, _ = split(owner(body)[0])
        blocks.append((block, called))
    name, program = "", read_own_copies(directory, run.workflow)
    for block, called in reversed(blocks):
        step = next(body.find(block) for body in list_steps(program.workflow) if block in body.index)
        ref = called or getattr(step, "workflow_ref", None)
        if ref is not None:
            name = posixpath.normpath(posixpath.join(posixpath.dirname(name), ref))
            program = program.called[ref]
    return name


def _read(directory: RunDirectory, identity: Identity, name: str) -> tuple[str, bytes]:
    """The document called *name*, and the file that it is read from."""
    expected = identity.documents[name] if name else identity.digest
    if identity.source is not None:
        file = Path(identity.source)
        file = file.parent / name if name else file
        try:
            data = read_file(file)
        except FileMissing:
            data = b""
        if digest(data) == expected:
            return str(file), data
    copy = document_name(expected) if name else DOCUMENT
    return str(directory.place / copy), directory.read(copy)


def _search(data: bytes, step: str) -> tuple[int, int] | None:
    """Where the one text stands that gives a step the id *step*; None if there is none, or several.

    Reading a long document as YAML, only to find a line, would take seconds.
    """
    import re

    text = data.decode("utf-8-sig")
    entry = rf"""(?m)(?:^|[ \t,{{])((["']?)id\2[ \t]*:[ \t]*(["']?){step}\3[ \t\r]*(?:[,}}#].*)?$)"""
    found = [m.start(1) for m in re.compile(entry).finditer(text, max(0, text.find("steps")))]
    if len(found) != 1:
        return None
    before = text[: found[0]]
    return before.count("\n") + 1, found[0] - before.rfind("\n")


def _parse(data: bytes, step: str) -> tuple[int, int]:
    from checkpointflow.documents.decoding import decode
    from checkpointflow.documents.graph import list_steps

    workflow, source = decode(data)
    body = next(body for body in list_steps(workflow) if step in body.index)
    path = (*body.path_of(body.index[step]), "id")
    return source.find_key_mark(path)
