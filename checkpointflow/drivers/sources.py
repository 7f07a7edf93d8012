"""A workflow with all that it calls: from where its author keeps it, or from a run's own copies.

A run goes on from its copies only: `workflow.yaml`, and the workflows that it calls under `workflows/`,
named by their digests. What was read once is found in the store's cache by its bytes, so that neither it nor
its own copy is read as YAML or checked again.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from checkpointflow.diagnostics import Diagnostic
from checkpointflow.diagnostics import Path as Address
from checkpointflow.documents.graph import list_called, list_steps
from checkpointflow.documents.model import AwaitEvent, Workflow
from checkpointflow.documents.packing import Understood, pack, unpack
from checkpointflow.errors import FileMissing, InvalidWorkflow, StateCorrupt
from checkpointflow.store.cache import Cache
from checkpointflow.store.files import digest, locate, read_file
from checkpointflow.store.layout import DOCUMENT, STATE, document_name

if TYPE_CHECKING:
    from checkpointflow.documents.program import Program
    from checkpointflow.documents.yaml import Source
    from checkpointflow.engine.facts import Identity
    from checkpointflow.store.directory import RunDirectory

MAX_DOCUMENTS = 200
MAX_REMEMBERED = 64

UNNAMED = "<bytes>"
"""What a document is called, in what is wrong with it, that did not come from a file."""


NO_CACHE = Cache(None)


class ReadDocument:
    """A document that was read, and by the `workflow_ref` that names it, every one that it calls."""

    def __init__(self, workflow: Workflow, checked: Program | None = None) -> None:
        self.workflow = workflow
        self.called: dict[str, ReadDocument] = {}
        self.env_file: dict[str, str] = {}
        self._checked = checked

    @cached_property
    def program(self) -> Program:
        """What it means; who only checks what was checked before does not ask."""
        from checkpointflow.documents.program import Program

        program = self._checked or Program(self.workflow)
        program.called = {ref: document.program for ref, document in self.called.items()}
        program.env_file = self.env_file
        return program


class CheckedWorkflow(Struct, frozen=True):
    """A workflow that may run: the bytes of its document and of all that it calls, and their meaning.

    called: the bytes by name, those of files with environment variables as well; source: the file of the
    document, absolute, if it came from one; file: the same, as it was said.
    """

    data: bytes
    called: dict[str, bytes]
    document: ReadDocument
    warnings: list[Diagnostic]
    source: Path | None
    file: Path

    @property
    def program(self) -> Program:
        """What it means, with all that it calls."""
        return self.document.program

    def locate(self, told: Diagnostic, refs: tuple[str, ...]) -> Diagnostic:
        """*told*, with its line, of the document, or of the one that *refs*, one by one, lead to."""
        name = ""
        for ref in refs:
            name = _resolve(name, ref)
        data, file = (self.called[name], self.file.parent / name) if refs else (self.data, self.file)
        return _parse(data, str(file)).locate(told)

    def find_variables(self) -> tuple[str, ...]:
        """The variables set here whose names stand in the documents: all that they read, and more.

        But for `_`, which every shell sets, and which stands everywhere.
        """
        texts, names = (self.data, *self.called.values()), os.environ.keys() - {"_"}
        return tuple(sorted(name for name in names if any(os.fsencode(name) in text for text in texts)))

    def read_environment(self) -> dict[str, str]:
        """The environment variables that it declares, as far as they are set here."""
        return {name: os.environ[name] for name in self.program.declared if name in os.environ}


def read_workflow(file: Path, *, to_run: bool = False, cache: Cache = NO_CACHE) -> CheckedWorkflow:
    """The workflow in *file*, with every workflow that it calls, directly or not.

    What *cache* has is not checked again.

    Raises FileMissing, and InvalidWorkflow with all that is wrong with any of them.
    """
    return _check(_Reading(file.parent, cache=cache), file.name, locate(file), to_run)


def read_bytes(data: bytes, *, to_run: bool = False) -> CheckedWorkflow:
    """The workflow that *data* describes; what it calls is looked for in the current directory.

    Raises InvalidWorkflow.
    """
    return _check(_Reading(Path(), {UNNAMED: data}), UNNAMED, None, to_run)


def _check(reading: _Reading, name: str, source: Path | None, to_run: bool) -> CheckedWorkflow:
    document = reading.read(name, ())
    if reading.errors or document is None:
        raise InvalidWorkflow(reading.errors_in_order(), to_run=to_run)
    data = reading.data.pop(name)
    return CheckedWorkflow(data, reading.data, document, reading.warnings, source, reading.directory / name)


def read_own_copies(directory: RunDirectory, identity: Identity) -> Program:
    """The workflow that the run in *directory* executes, from its own copies, which must be as they were.

    Raises StateCorrupt.
    """
    from checkpointflow.documents.program import Program

    cache = Cache.beside(directory.place)

    def find(name: str) -> tuple[str, str]:
        """The copy of what is called *name*, and its digest."""
        expected = identity.documents.get(name)
        if expected is None:
            raise StateCorrupt(file=directory.place / STATE, problem=f"it names no copy of {name}")
        return document_name(expected), expected

    def fetch(copy: str, expected: str) -> bytes:
        data = directory.read(copy)
        if digest(data) != expected:
            problem = (
                "it was changed since the run started; a run goes on only from the document it began with"
            )
            raise StateCorrupt(file=directory.place / copy, problem=problem)
        return data

    def link(name: str, copy: str, expected: str) -> Program:
        workflow = _read(fetch(copy, expected), copy, cache)
        children = {}
        for ref in {ref for _, ref in _find_references(workflow)}:
            child = _resolve(name, ref)
            children[ref] = link(child, *find(child))
        program = Program(workflow, children)
        if workflow.defaults.env_file is not None:
            from checkpointflow.documents.environment import read_env_file  # late: few have one

            copy, expected = find(_resolve(name, workflow.defaults.env_file))
            program.env_file, _ = read_env_file(fetch(copy, expected), copy)
        return program

    return link("", DOCUMENT, identity.digest)


@lru_cache(MAX_REMEMBERED)
def _read(data: bytes, name: str, cache: Cache) -> Workflow:
    """Reading YAML takes longest of all, and whoever drives many runs reads the same again and again."""
    found = _find(cache, data)
    if found is not None:
        return found.workflow
    from checkpointflow.documents.decoding import decode  # late: it brings YAML

    workflow, _ = decode(data, name)
    cache.keep(data, pack(Understood(workflow, is_checked=False, warnings=())))
    return workflow


def _find(cache: Cache, data: bytes) -> Understood | None:
    entry = cache.find(data)
    return None if entry is None else unpack(entry)


Locate = Callable[[Diagnostic], Diagnostic]


@lru_cache(1)
def _parse(data: bytes, file: str) -> Source:
    from checkpointflow.documents.yaml import parse  # late: only mistakes are looked for

    return parse(data, file)


class _Reading:
    """Documents by their names: paths relative to the directory of the first, resolved as text."""

    def __init__(
        self, directory: Path, given: dict[str, bytes] | None = None, cache: Cache = NO_CACHE
    ) -> None:
        self.directory = directory
        self.cache = cache
        self.given = given or {}
        self.data: dict[str, bytes] = {}
        self.errors: list[Diagnostic] = []
        self.warnings: list[Diagnostic] = []
        self._documents: dict[str, ReadDocument | None] = {}

    def read(self, name: str, callers: tuple[str, ...]) -> ReadDocument | None:
        """The document called *name* and all that it calls; None if there is something wrong with it."""
        if name in self._documents:
            return self._documents[name]
        file = self.directory / name
        self.data[name] = data = self.given[name] if name in self.given else read_file(file)
        document, errors, warnings, locate = self._understand(data, str(file))
        self.errors += errors
        self.warnings += warnings
        if document is not None and document.workflow.defaults.env_file is not None:
            document.env_file = self._read_env_file(name, document.workflow.defaults.env_file, locate)
        # What is wrong here hides nothing of what is wrong in the documents called from here.
        for address, ref in _find_references(document.workflow) if document is not None else ():
            child = self._read_child(name, ref, address, locate, (*callers, name))
            if child is not None and document is not None:
                document.called[ref] = child
                if address[1] == "finally" and _waits(child):
                    problem = f"{ref} waits for events, and `finally` waits for nobody"
                    self.errors.append(locate(Diagnostic(problem, address)))
        whole = None if errors else document
        self._documents[name] = whole
        return whole

    def _understand(
        self, data: bytes, file: str
    ) -> tuple[ReadDocument | None, list[Diagnostic], list[Diagnostic], Locate]:
        """The document *data*, its errors and warnings, and what finds the line of another mistake."""
        found = _find(self.cache, data)
        if found is not None and found.is_checked:
            warnings = [replace(warning, file=file) for warning in found.warnings]
            return ReadDocument(found.workflow), [], warnings, lambda told: _parse(data, file).locate(told)
        from checkpointflow.documents.checker import check_document  # late: it brings YAML

        program, errors, warnings, source = check_document(data, file)
        document = None if program is None else ReadDocument(program.workflow, program)
        if document is not None and not errors:
            understood = Understood(document.workflow, is_checked=True, warnings=tuple(warnings))
            self.cache.keep(data, pack(understood))
        return document, errors, warnings, source.locate

    def _read_env_file(self, name: str, ref: str, locate: Locate) -> dict[str, str]:
        from checkpointflow.documents.environment import read_env_file, warn_of_secrets  # late: few have one

        child, address = _resolve(name, ref), ("workflow", "defaults", "env_file")
        file = self.directory / child
        try:
            self.data[child] = data = read_file(file)
        except FileMissing as error:
            hint = "env_file is relative to the document that names it"
            self.errors.append(locate(Diagnostic(str(error), address, hint, error.code)))
            return {}
        found, problems = read_env_file(data, str(file))
        self.errors += problems
        self.warnings += [locate(warning) for warning in warn_of_secrets((name, address) for name in found)]
        return found

    def errors_in_order(self) -> list[Diagnostic]:
        """The errors: document by document, as they are come to, each in the order of its file."""
        order = {str(self.directory / name): number for number, name in enumerate(self.data)}
        return sorted(self.errors, key=lambda error: (order[error.file or ""], error.line, error.column))

    def _read_child(
        self, name: str, ref: str, address: Address, locate: Locate, callers: tuple[str, ...]
    ) -> ReadDocument | None:
        child = _resolve(name, ref)
        if child in callers:
            circle = " -> ".join([*callers[callers.index(child) :], child])
            problem = f"the workflows call each other in a circle: {circle}"
            self.errors.append(locate(Diagnostic(problem, address)))
            return None
        if child not in self._documents and len(self._documents) + len(callers) >= MAX_DOCUMENTS:
            problem = f"more than {MAX_DOCUMENTS} workflows are called from one"
            self.errors.append(locate(Diagnostic(problem, address)))
            return None
        try:
            return self.read(child, callers)
        except FileMissing as error:
            hint = "workflow_ref is relative to the document that names it"
            self.errors.append(locate(Diagnostic(str(error), address, hint, error.code)))
            return None


def _waits(document: ReadDocument) -> bool:
    """Whether the document, or one that it calls, may wait for an event."""
    lists = list_steps(document.workflow)
    own = any(isinstance(step, AwaitEvent) for body in lists for step in body.steps)
    return own or any(map(_waits, document.called.values()))


def _find_references(workflow: Workflow) -> Iterator[tuple[Address, str]]:
    """Every `workflow_ref` of the document, and where it stands."""
    for body in list_steps(workflow):
        for index, step in enumerate(body.steps):
            for path, ref in list_called(step):
                yield (*body.path_of(index), *path), ref


def _resolve(name: str, ref: str) -> str:
    """What the document called *name* means by *ref*."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), ref))
