"""`history.jsonl`: what happened to a run, a fact a line, each line chained to all before it.

A line is `{"checkpoint_id":"…","fact":…}`. The id is the digest of the id before it and of the fact as it is
written, so one id names all that led to it, and whoever changes a line breaks the chain there. The engine
computes the ids (they belong to a Run); here they are written, found and followed.

**A commit is one append.** Its last line ends in `,"commit":N}`: N facts were committed with it, itself
included. Lines that follow from those before them, up to such a mark, have happened, whatever snapshot lies
beside. What follows the last of them is what one commit left that died: nobody was told of it, so readers
stop before it, and the next writer cuts it off. Since that writer syncs a cut before he writes there, and
every commit before the next begins, a rest in which two commits end was not left by one that died. It is
damage, and never cut.

No digest covers the mark: the ids are the engine's, which knows of facts and not of writes. It need not. For
half a commit to be taken for a whole one, a mark with the right number must be put there; no flipped bit,
lost block or cut line does that. A mark that was changed or taken away makes its commit one that died if it
is the last, and otherwise the next mark wrong, which breaks the chain there; so every change but that one is
found. Even so nothing would be done twice unasked: whatever was performed had its start on disk in an earlier
commit, and what follows from half a commit is worked out anew from the state.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache, partial
from io import BytesIO
from operator import length_hint
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from checkpointflow.digests import sha256
from checkpointflow.engine.actions import StoredFile
from checkpointflow.engine.facts import Fact, FilesSealed, Identity, RunBegan, StepSucceeded, encode_fact
from checkpointflow.engine.run import Run
from checkpointflow.errors import PersistenceError, StateCorrupt
from checkpointflow.store.files import (
    BLOCK_BYTES,
    explain,
    open_safely,
    read_all,
    replace_file,
    sync_data,
    sync_directory,
    write_at,
)
from checkpointflow.store.layout import DOCUMENT, HISTORY, STATE, document_name

MAX_COMMIT_BYTES = 1 << 28

_HEAD = b'{"checkpoint_id":"%s","fact":'
_FACT = len(_HEAD % (b"0" * 64))  # where it begins in a line
_MARK = rb',"commit":[1-9][0-9]*\}\n'


class Entry(Struct, frozen=True):
    """A line of the history: a fact, and the checkpoint that it made."""

    checkpoint_id: str
    fact: Fact


class Link(Struct, frozen=True):
    """A line of the history as it is written. commit: the number in its mark, or 0; end: where it ends."""

    checkpoint_id: str
    fact: bytes
    commit: int
    end: int


class _Beginning(Struct, frozen=True):
    """The first line; to make out what all facts can be would take longer than to read it."""

    fact: RunBegan


class Finding(Struct, frozen=True, omit_defaults=True):
    """What is wrong, and where: a file of the run, and the line in it, from 1, if it is one line.

    No Diagnostic: it is of a whole file as often as of a line and never of a column, and envelopes tell its
    fields as they are.
    """

    file: str
    problem: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.file}{f':{self.line}' if self.line else ''}: {self.problem}"


# Lines


def encode_lines(facts: list[Fact], after: str) -> bytes:
    """The lines of one commit of *facts*, of which the first follows the checkpoint *after* ("": none)."""
    from checkpointflow.engine.evolution import chain  # late, as below: who only looks changes nothing

    lines = []
    for fact in facts:
        after = chain(after, fact)
        lines.append(_HEAD % after.encode() + encode_fact(fact))
    return b"}\n".join(lines) + b',"commit":%d}\n' % len(facts)


def decode_line(line: bytes) -> Entry:
    """The entry that *line* holds. Raises ValueError; whether it follows from another is not looked at."""
    try:
        return msgspec.json.decode(line, type=Entry)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"a line is damaged ({error})") from None


def decode_beginning(line: bytes) -> RunBegan:
    """How the run began, by the first *line* of its history. Raises ValueError."""
    try:
        return msgspec.json.decode(line, type=_Beginning).fact
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"a line is damaged ({error})") from None


def decode_fact(link: Link) -> Fact:
    """The fact of *link*. Raises ValueError."""
    try:
        return _find_decoder().decode(link.fact)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"it is no fact that this cpf knows ({error})") from None


@cache
def _find_decoder() -> msgspec.json.Decoder[Fact]:
    return msgspec.json.Decoder(Fact)


def find_end(data: bytes, checkpoint_id: str) -> int | None:
    """Where the line of *checkpoint_id* ends in *data*, which begins with a line; its newline included.

    What a step put out may look like the beginning of a line, so only where a line begins is looked.
    """
    line = b'{"checkpoint_id":"%s"' % checkpoint_id.encode()
    start = data.rfind(b"\n" + line) + 1
    newline = data.find(b"\n", start)
    return newline + 1 if newline >= 0 and data.startswith(line, start) else None


def describe_missing(checkpoint_id: str) -> str:
    """What is wrong with a history in which there is no such checkpoint."""
    return f"it does not hold the checkpoint {checkpoint_id} of {STATE}"


# The chain


def follow(file: BinaryIO, after: str = "") -> Iterator[Link | Finding]:
    """The lines of *file* as far as each follows from the one before, and then where that ends, if too early.

    *after*: the checkpoint that the first follows, after which a commit begins ("": none).
    """
    before, end, size, is_mark = after.encode(), 0, 0, re.compile(_MARK).fullmatch
    for number, line in enumerate(iter(partial(file.readline, BLOCK_BYTES), b""), 1):
        if not line.endswith(b"\n") and line.startswith(b'{"checkpoint_id":'):  # only one of ours is long
            line += file.readline(MAX_COMMIT_BYTES)
        start = -2 if line.endswith(b"}}\n") else line.rfind(b',"commit":')
        fact = line[_FACT:start]
        checkpoint_id = sha256(b"%s\n%s" % (before, fact)).hexdigest()
        before = checkpoint_id.encode()
        if line[:_FACT] != _HEAD % before or (start != -2 and not is_mark(line, start)):
            problem = "the chain is broken: this fact, or what came before it, was changed"
            is_ours = re.fullmatch(
                rb'\{"checkpoint_id":"[0-9a-f]{64}","fact":\{.*\}(' + _MARK + rb"|\}\n)", line, re.DOTALL
            )
            yield Finding(HISTORY, problem if is_ours else "this is not a line that cpf wrote", number)
            return
        commit, size = 0 if start < 0 else int(line[start + 10 : -2]), size + 1
        if commit not in (0, size):
            yield Finding(HISTORY, f"it ends a commit of {size} facts, and says {commit}", number)
            return
        end, size = end + len(line), 0 if commit else size
        yield Link(checkpoint_id, fact, commit, end)


def find_whole(data: bytes, after: str) -> list[Link]:
    """The links in *data*, which follow the checkpoint *after*, up to the end of the last whole commit."""
    chain = [link for link in follow(BytesIO(data), after) if isinstance(link, Link)]
    last = next((n for n in range(len(chain), 0, -1) if chain[n - 1].commit), 0)
    return chain[:last]


def is_of_one(rest: bytes) -> bool:
    """Whether *rest*, which follows the last whole commit, can be what one left that died."""
    return len(re.findall(rb'\},"commit":[1-9][0-9]*\}\n', rest)) < 2


def fold(facts: list[Fact], run: Run | None = None, checkpoint_id: str | None = None) -> Run:
    """The run that *facts* make, after those that made *run*, which nobody else looks at any more.

    *checkpoint_id*: that of the last, if it is known. Raises ValueError when one cannot follow from those
    before it.
    """
    from checkpointflow.engine.evolution import apply

    before, remaining = 0 if run is None else run.revision, iter(facts)
    try:
        return apply(run, remaining, checkpoint_id)
    except Exception as error:  # noqa: BLE001, a fact that was tampered with can break any assumption
        number = before + len(facts) - length_hint(remaining)
        raise ValueError(f"line {number} cannot follow from the lines before it ({error!r})") from None


# What the history says of files


def find_document_digests(facts: list[Fact]) -> dict[str, str]:
    """The digests of the run's own copies of its documents, by their names in its directory."""
    match facts:
        case [RunBegan(workflow=Identity(digest=first, documents=called)), *_]:
            return {DOCUMENT: first} | {document_name(digest): digest for digest in called.values()}
        case _:
            return {}


def find_artifacts(facts: list[Fact]) -> dict[str, StoredFile]:
    """The artifacts that steps declared, by their names in the run's directory."""
    return {
        artifact.path: artifact
        for fact in facts
        if isinstance(fact, StepSucceeded)
        for artifact in fact.artifacts.values()
    }


def find_sealed_files(facts: list[Fact]) -> dict[str, StoredFile]:
    """The files that were sealed, by their names in the run's directory, each as it was last."""
    return {file.path: file for fact in facts if isinstance(fact, FilesSealed) for file in fact.files}


# The file


def read_rest(place: Path, checkpoint_id: str) -> bytes:
    """What the history in *place* holds beyond the line of *checkpoint_id*; the cost is that of the rest.

    Raises OSError, and StateCorrupt if there is no such checkpoint.
    """
    with open_safely(f"{place}/{HISTORY}") as fd:
        return _find(fd, checkpoint_id, place)[1]


def _find(fd: int, checkpoint_id: str, place: Path) -> tuple[int, bytes]:
    """Where the line of *checkpoint_id* ends, and what follows; near the end, so it is read from there."""
    size, span = os.fstat(fd).st_size, 1 << 12
    while True:
        start = max(0, size - span)
        tail = os.pread(fd, size - start, start)
        skipped = tail.find(b"\n") + 1 if start else 0  # what is left of a line that began before it
        end = find_end(tail[skipped:], checkpoint_id)
        if end is not None:
            return start + skipped + end, tail[skipped + end :]
        if start == 0 or span >= MAX_COMMIT_BYTES:
            raise StateCorrupt(file=place / HISTORY, problem=describe_missing(checkpoint_id))
        span *= 4


class HistoryFile:
    """The history of one run, for its one writer, who closes it in the end."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._fd: int | None = None
        self._end = 0

    def append(self, facts: list[Fact], after: str | None) -> None:
        """Commit *facts*, which follow the checkpoint *after* (None: they are the first).

        Returns once they would survive a power cut. Raises OSError, having taken back what was written,
        PersistenceError if it could not be taken back, and StateCorrupt as `open` does.
        """
        fd = self.open(after) if self._fd is None or after is None else self._fd
        lines = encode_lines(facts, after or "")
        try:
            write_at(fd, lines, self._end)
            sync_data(fd)
        except OSError as error:
            self._take_back(fd, error)
            raise
        if after is None:
            sync_directory(self._place)
        self._end += len(lines)

    def open(self, after: str | None, *, is_ahead: bool = False) -> int:
        """Open it to go on after the checkpoint *after*, with what a commit that died had left cut off.

        *is_ahead*: of its snapshot, since a writer was killed, who may not have come to sync it. Raises
        OSError, and StateCorrupt if there is no such checkpoint, or if what follows it must not be cut off.
        """
        self.close()
        self._fd = fd = self._open()
        try:
            self._end, rest = (0, b"") if after is None else _find(fd, after, self._place)
            if rest and (find_whole(rest, after or "") or not is_of_one(rest)):
                problem = f"what follows the checkpoint {after} is not what a commit that died had left"
                raise StateCorrupt(file=self._place / HISTORY, problem=problem)
            os.ftruncate(fd, self._end)
            if rest or is_ahead:
                sync_data(fd)
        except BaseException:
            self.close()
            raise
        return fd

    def _open(self) -> int:
        """A descriptor of the file, which then has no other name, as it has in a copy made by `cp -al`."""
        file, flags = self._place / HISTORY, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW
        fd = os.open(file, flags, 0o600)
        if os.fstat(fd).st_nlink == 1:
            return fd
        try:
            replace_file(file, read_all(fd))
        finally:
            os.close(fd)
        return os.open(file, flags, 0o600)

    def close(self) -> None:
        """Let go of it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _take_back(self, fd: int, error: OSError) -> None:
        """Cut off what could not be written or synced: nobody is told of it, so nobody may find it.

        After a failed sync nothing that the system says of those bytes can be trusted. So they are never
        synced again: the file is made as long as it was, and that is.
        """
        try:
            os.ftruncate(fd, self._end)
            sync_data(fd)
        except OSError:
            problem = f"{explain(error)}; what was to be added may be found there nevertheless, or not"
            raise PersistenceError(file=self._place / HISTORY, problem=problem) from error
        finally:
            self.close()
