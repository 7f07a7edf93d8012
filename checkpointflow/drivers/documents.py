"""A workflow with all that it calls, read from where its author keeps it, or from a run's own copies.

A run goes on from its copies only: `workflow.yaml`, and the workflows that it calls under `workflows/`,
named by their digests.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from checkpointflow.diagnostics import Diagnostic
from checkpointflow.diagnostics import Path as Place
from checkpointflow.documents.decoding import decode_leniently, read
from checkpointflow.documents.graph import bodies
from checkpointflow.documents.model import Call, Foreach, Workflow
from checkpointflow.documents.yaml import Source
from checkpointflow.engine.bodies import Program
from checkpointflow.engine.facts import Identity
from checkpointflow.errors import FileMissing, InvalidWorkflow, StateCorrupt
from checkpointflow.store.directory import DOCUMENT, STATE, WORKFLOWS, RunDirectory
from checkpointflow.store.files import digest, read_file

MAX_DOCUMENTS = 200


class Checked(NamedTuple):
    """A workflow that may run: the bytes of its document and of all that it calls, and their meaning."""

    data: bytes
    called: dict[str, bytes]
    program: Program
    warnings: list[Diagnostic]


def load_checked(file: Path, *, to_run: bool = False) -> Checked:
    """The workflow in *file*, with every workflow that it calls, directly or not.

    Raises FileMissing, and InvalidWorkflow with all that is wrong with any of them.
    """
    reading = _Reading(file)
    program = reading.program(file.name, ())
    if reading.errors or program is None:
        raise InvalidWorkflow(reading.errors_in_order(), to_run=to_run)
    data = reading.data.pop(file.name)
    return Checked(data, reading.data, program, reading.warnings)


def own_program(directory: RunDirectory, identity: Identity) -> Program:
    """The workflow that the run in *directory* executes, from its own copies, which must be as they were."""

    def linked(name: str, copy: str, expected: str) -> Program:
        data = directory.read(copy)
        if digest(data) != expected:
            problem = (
                "it was changed since the run started; a run goes on only from the document it began with"
            )
            raise StateCorrupt(file=directory.place / copy, problem=problem)
        workflow = read(data, copy)[0]
        children = {}
        for ref in {ref for _, ref in _references(workflow)}:
            child = _resolved(name, ref)
            child_digest = identity.documents.get(child)
            if child_digest is None:
                raise StateCorrupt(file=directory.place / STATE, problem=f"it names no copy of {child}")
            children[ref] = linked(child, copy_of(child_digest), child_digest)
        return Program(workflow, children)

    return linked("", DOCUMENT, identity.digest)


def copy_of(document_digest: str) -> str:
    """Where a run keeps its copy of a called workflow."""
    return f"{WORKFLOWS}/{document_digest}.yaml"


class _Reading:
    """Documents by their names: paths relative to the directory of the first, resolved as text."""

    def __init__(self, file: Path) -> None:
        self.directory = file.parent
        self.data: dict[str, bytes] = {}
        self.errors: list[Diagnostic] = []
        self.warnings: list[Diagnostic] = []
        self._programs: dict[str, Program | None] = {}

    def program(self, name: str, callers: tuple[str, ...]) -> Program | None:
        """The document called *name* and all that it calls; None if there is something wrong with it."""
        from checkpointflow.documents.checker import check_document  # late: a run in progress needs no check

        if name in self._programs:
            return self._programs[name]
        file = self.directory / name
        self.data[name] = data = read_file(file)
        workflow, errors, warnings, source = check_document(data, str(file))
        self.errors += errors
        self.warnings += warnings
        children: dict[str, Program] = {}
        # What is wrong here hides nothing of what is wrong in the documents called from here.
        readable = decode_leniently(data)[0] if workflow is None else workflow
        for place, ref in _references(readable) if readable is not None else ():
            child = self._child(name, ref, place, source, (*callers, name))
            if child is not None:
                children[ref] = child
        whole = None if workflow is None else Program(workflow, children)
        self._programs[name] = whole
        return whole

    def errors_in_order(self) -> list[Diagnostic]:
        """The errors: document by document, as they are come to, each in the order of its file."""
        order = {str(self.directory / name): number for number, name in enumerate(self.data)}
        return sorted(self.errors, key=lambda error: (order[error.file or ""], error.line, error.column))

    def _child(
        self, name: str, ref: str, place: Place, source: Source, callers: tuple[str, ...]
    ) -> Program | None:
        child = _resolved(name, ref)
        if child in callers:
            circle = " -> ".join([*callers[callers.index(child) :], child])
            self.errors.append(source.problem(f"the workflows call each other in a circle: {circle}", place))
            return None
        if child not in self._programs and len(self._programs) + len(callers) >= MAX_DOCUMENTS:
            problem = f"more than {MAX_DOCUMENTS} workflows are called from one"
            self.errors.append(source.problem(problem, place))
            return None
        try:
            return self.program(child, callers)
        except FileMissing as error:
            hint = "workflow_ref is relative to the document that names it"
            self.errors.append(source.problem(str(error), place, hint=hint, code=error.code))
            return None


def _references(workflow: Workflow) -> Iterator[tuple[Place, str]]:
    """Every `workflow_ref` of the document, and where it stands."""
    for body in bodies(workflow):
        for index, step in enumerate(body.steps):
            if isinstance(step, Call | Foreach) and step.workflow_ref is not None:
                yield (*body.path_of(index), "workflow_ref"), step.workflow_ref


def _resolved(name: str, ref: str) -> str:
    """What the document called *name* means by *ref*."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), ref))
