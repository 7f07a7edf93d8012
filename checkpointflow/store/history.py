"""`history.jsonl`: what happened to a run, a fact a line, each line chained to all before it.

A line is `{"checkpoint_id":"…","fact":…}`. The id is the digest of the id before it and of the fact as it is
written, so one id names all that led to it, and whoever changes a line breaks the chain there. The engine
computes the ids (they belong to a Run); here they are written, found and followed.

A commit that died may leave a tail that no snapshot knows of. Readers end at the checkpoint of the snapshot
that they have read, and the next writer cuts the tail off.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from checkpointflow.engine.actions import StoredFile
from checkpointflow.engine.evolution import apply, chain
from checkpointflow.engine.facts import Fact, FilesSealed, Identity, RunBegan, StepSucceeded, encode_fact
from checkpointflow.engine.run import Run
from checkpointflow.errors import StateCorrupt
from checkpointflow.store.files import sync_directory, sync_file, write_at
from checkpointflow.store.layout import DOCUMENT, STATE, document_name


class Entry(Struct, frozen=True):
    """A line of the history: a fact, and the checkpoint that it made."""

    checkpoint_id: str
    fact: Fact


class Link(NamedTuple):
    """A line of the history as it is written."""

    checkpoint_id: str
    fact: bytes


class Break(NamedTuple):
    """Where the chain ends before the file does: the number of a line, from 1, and what is wrong with it."""

    line: int
    problem: str


# Lines


def encode_lines(facts: list[Fact], after: str) -> bytes:
    """The lines of *facts*, of which the first follows the checkpoint *after* ("": none)."""
    lines = []
    for fact in facts:
        after = chain(after, fact)
        lines.append(b'{"checkpoint_id":"%s","fact":%s}\n' % (after.encode(), encode_fact(fact)))
    return b"".join(lines)


def decode_lines(data: bytes) -> list[Entry]:
    """The entries that *data* holds. Raises ValueError; whether they are a chain is not looked at."""
    decoder = msgspec.json.Decoder(Entry)
    try:
        return [decoder.decode(line) for line in data.splitlines()]
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"a line is damaged ({error})") from None


def end_of(data: bytes, checkpoint_id: str) -> int | None:
    """Where the line of *checkpoint_id* ends in *data*, which begins with a line; its newline included.

    What a step put out may look like the beginning of a line, so only where a line begins is looked.
    """
    line = b'{"checkpoint_id":"%s"' % checkpoint_id.encode()
    start = data.rfind(b"\n" + line) + 1
    newline = data.find(b"\n", start)
    return newline + 1 if newline >= 0 and data.startswith(line, start) else None


def missing_problem(checkpoint_id: str) -> str:
    """What is wrong with a history in which there is no such checkpoint."""
    return f"it does not hold the checkpoint {checkpoint_id} of {STATE}"


# The chain


def follow(data: bytes) -> tuple[list[Link], Break | None]:
    """The lines of *data* as far as each follows from the one before, and where that ends, if it does."""
    from hashlib import sha256  # late: readers of a run need none

    shape = re.compile(rb'\{"checkpoint_id":"([0-9a-f]{64})","fact":(\{.*\})\}', re.DOTALL)
    chain: list[Link] = []
    before = b""
    for number, line in enumerate(data.splitlines(keepends=True), 1):
        parts = shape.fullmatch(line.removesuffix(b"\n"))
        if parts is None or not line.endswith(b"\n"):
            return chain, Break(number, "this is not a line that cpf wrote")
        if sha256(before + b"\n" + parts[2]).hexdigest().encode() != parts[1]:
            return chain, Break(number, "the chain is broken: this fact, or what came before it, was changed")
        before = parts[1]
        chain.append(Link(before.decode(), parts[2]))
    return chain, None


def position(chain: list[Link], checkpoint_id: str | None) -> int | None:
    """How many links lead to *checkpoint_id*."""
    return next((n for n, link in enumerate(chain, 1) if link.checkpoint_id == checkpoint_id), None)


def fold(facts: list[Fact]) -> Run:
    """The run that *facts* make. Raises ValueError when one cannot follow from those before it."""
    run: Run | None = None
    for number, fact in enumerate(facts, 1):
        try:
            run = apply(run, fact)
        except Exception as error:  # noqa: BLE001, a fact that was tampered with can break any assumption
            raise ValueError(f"line {number} cannot follow from the lines before it ({error!r})") from None
    if run is None:
        raise ValueError("it is empty")
    return run


# What the history says of files


def document_digests(facts: list[Fact]) -> dict[str, str]:
    """The digests of the run's own copies of its documents, by their names in its directory."""
    match facts:
        case [RunBegan(workflow=Identity(digest=first, documents=called)), *_]:
            return {DOCUMENT: first} | {document_name(digest): digest for digest in called.values()}
        case _:
            return {}


def declared_artifacts(facts: list[Fact]) -> dict[str, StoredFile]:
    """The artifacts that steps declared, by their names in the run's directory."""
    return {
        artifact.path: artifact
        for fact in facts
        if isinstance(fact, StepSucceeded)
        for artifact in fact.artifacts.values()
    }


def sealed_files(facts: list[Fact]) -> dict[str, StoredFile]:
    """The files that were sealed, by their names in the run's directory, each as it was last."""
    return {file.path: file for fact in facts if isinstance(fact, FilesSealed) for file in fact.files}


# The file


class HistoryFile:
    """The history of one run, for its one writer."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._end: int | None = None

    def append(self, lines: bytes, after: str | None) -> None:
        """Add *lines* after that of the checkpoint *after* (None: they are the first), and nothing else.

        Returns once they would survive a power cut. Raises OSError, and StateCorrupt if there is no such
        checkpoint.
        """
        fd = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            if self._end is None:
                self._end = 0 if after is None else self._find_end(fd, after)
            os.ftruncate(fd, self._end)  # a commit that died may have left more
            write_at(fd, lines, self._end)
            sync_file(fd)
        finally:
            os.close(fd)
        if after is None:
            sync_directory(self._file.parent)
        self._end += len(lines)

    def _find_end(self, fd: int, checkpoint_id: str) -> int:
        """Where the line of *checkpoint_id* ends; near the end of the file, so it is read from there."""
        size, span = os.fstat(fd).st_size, 1 << 16
        while True:
            start = max(0, size - span)
            tail = os.pread(fd, size - start, start)
            skipped = tail.find(b"\n") + 1 if start else 0  # what is left of a line that began before it
            end = end_of(tail[skipped:], checkpoint_id)
            if end is not None:
                return start + skipped + end
            if start == 0:
                raise StateCorrupt(file=self._file, problem=missing_problem(checkpoint_id))
            span *= 4
