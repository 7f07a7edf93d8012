"""Whether a run on disk is what it says it is.

The history is a chain: each line names the digest of all that came before. Folded through `evolve` it must
give the very bytes of the snapshot. From there digests name everything else: the documents, what lies in
`outputs/`, what steps printed, and what they left in `artifacts/`. What is not sealed yet, since a step is
under way or its cpf has died, is listed, so that nobody takes it for checked.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct, to_builtins

from checkpointflow.engine.facts import Fact
from checkpointflow.engine.run import STATE_VERSION, Run, evolve
from checkpointflow.errors import CheckpointflowError, StateCorrupt
from checkpointflow.store.differences import differences
from checkpointflow.store.directory import CANCEL, HISTORY, LOCK, STATE, STEP_LOCK, RunDirectory
from checkpointflow.store.seals import (
    digest_in,
    documents,
    file_digest,
    files_in,
    is_artifact,
    is_log,
    kept,
    sealed,
    shown,
)

PASSING = {
    LOCK: "whoever held it last was killed",
    STEP_LOCK: "whoever held it last was killed",
    CANCEL: "whoever asked to cancel the run was killed before there was an answer",
}

_LINE = re.compile(rb'\{"checkpoint_id":"([0-9a-f]{64})","fact":(\{.*\})\}', re.DOTALL)


class Finding(Struct, frozen=True, omit_defaults=True):
    """What is wrong, and where: a file of the run, and the line in it."""

    file: str
    problem: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.file}{f':{self.line}' if self.line else ''}: {self.problem}"


class Link(NamedTuple):
    """A line of the history: a fact as it is written, and the checkpoint that it makes."""

    checkpoint_id: str
    fact: bytes


class Expected(NamedTuple):
    """The SHA-256 of a file, or of its first *size* bytes."""

    sha256: str
    size: int | None = None


class Verified(Struct, kw_only=True):
    """What was found. run: as its history makes it; unchecked: the files that no digest covers."""

    run: Run | None = None
    findings: list[Finding]
    warnings: list[str]
    facts: int = 0
    checked: int = 0
    unchecked: list[str]


def verify(directory: RunDirectory) -> Verified:
    """Check all that can be checked of the run in *directory*. Raises nothing for what is damaged."""
    found = Verified(findings=[], warnings=[], unchecked=[])
    snapshot = _snapshot(directory, found)
    history = _contents(directory, HISTORY, found)
    if history is None:
        return found
    chain, broken = links(history)
    end = None if snapshot is None else snapshot.checkpoint_id
    cut = _position(chain, end)
    if broken is not None and (cut is None or end is None):
        found.findings.append(broken)
    elif end is not None and cut is None:
        problem = f"it does not hold the checkpoint {end} of {STATE}"
        found.findings.append(Finding(HISTORY, problem))
    if cut is not None:
        if cut < len(chain) or broken is not None:
            found.warnings.append(f"{HISTORY} goes on beyond the checkpoint of {STATE}: a commit had died")
        chain = chain[:cut]
    facts = list(_decoded(chain, found))
    found.facts = len(facts)
    if facts or not found.findings:
        found.run = _folded(facts, found)
    if found.run is not None and cut is not None:
        _compare(directory, found.run, found)
    _files(directory, facts, found)
    return found


def sound(directory: RunDirectory) -> Verified:
    """What was verified of a run in which nothing is wrong. Raises StateCorrupt."""
    found = verify(directory)
    if found.findings or found.run is None:
        raise broken(directory, found.findings)
    return found


def broken(directory: RunDirectory, findings: list[Finding]) -> StateCorrupt:
    """What to say of a run in which that was found."""
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return StateCorrupt(
        file=directory.place,
        problem=f"{findings[0]}{more}; go back to a copy that `cpf verify` accepts",
        details=to_builtins(findings),
    )


def chain_of(directory: RunDirectory, run: Run) -> list[Link]:
    """The links that led to *run*, which was found whole."""
    chain, _ = links(directory.read(HISTORY))
    return chain[: _position(chain, run.checkpoint_id)]


def facts_of(directory: RunDirectory, run: Run) -> list[Fact]:
    """The facts that led to *run*, which was found whole."""
    decoder: msgspec.json.Decoder[Fact] = msgspec.json.Decoder(Fact)
    return [decoder.decode(link.fact) for link in chain_of(directory, run)]


def links(history: bytes) -> tuple[list[Link], Finding | None]:
    """The lines of *history* as far as each follows from the one before, and where that ends, if it does."""
    chain: list[Link] = []
    before = ""
    for number, line in enumerate(history.splitlines(keepends=True), 1):
        parts = _LINE.fullmatch(line.removesuffix(b"\n"))
        if parts is None or not line.endswith(b"\n"):
            return chain, Finding(HISTORY, "this is not a line that cpf wrote", number)
        checkpoint_id = parts[1].decode()
        if sha256(before.encode() + b"\n" + parts[2]).hexdigest() != checkpoint_id:
            problem = "the chain is broken: this fact, or what came before it, was changed"
            return chain, Finding(HISTORY, problem, number)
        chain.append(Link(checkpoint_id, parts[2]))
        before = checkpoint_id
    return chain, None


def broken_chain(directory: RunDirectory, run: Run) -> str | None:
    """What is wrong with the history that led to *run*, if anything is."""
    chain, broken = links(directory.read(HISTORY))
    if _position(chain, run.checkpoint_id) is not None:
        return None
    return str(broken or Finding(HISTORY, f"it does not hold the checkpoint {run.checkpoint_id}"))


def fold(facts: list[Fact]) -> Run:
    """The run that *facts* make. Raises ValueError when one cannot follow from those before it."""
    run = None
    for number, fact in enumerate(facts, 1):
        try:
            run = evolve(run, fact)
        except Exception as error:  # noqa: BLE001, a fact that was tampered with can break any assumption
            raise ValueError(f"line {number} cannot follow from the lines before it ({error!r})") from None
    if run is None:
        raise ValueError("it is empty")
    return run


def _position(chain: list[Link], checkpoint_id: str | None) -> int | None:
    """How many links lead to *checkpoint_id*."""
    return next((n for n, link in enumerate(chain, 1) if link.checkpoint_id == checkpoint_id), None)


def _contents(directory: RunDirectory, name: str, found: Verified) -> bytes | None:
    try:
        return directory.read(name)
    except CheckpointflowError as error:
        found.findings.append(Finding(name, str(error)))
        return None


def _snapshot(directory: RunDirectory, found: Verified) -> Run | None:
    data = _contents(directory, STATE, found)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=Run)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        problem = f"it is not of the schema {STATE_VERSION} ({error or type(error).__name__})"
        found.findings.append(Finding(STATE, problem))
        return None


def _decoded(chain: list[Link], found: Verified) -> Iterator[Fact]:
    decoder: msgspec.json.Decoder[Fact] = msgspec.json.Decoder(Fact)
    for number, link in enumerate(chain, 1):
        try:
            yield decoder.decode(link.fact)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            found.findings.append(Finding(HISTORY, f"it is no fact that this cpf knows ({error})", number))
            return


def _folded(facts: list[Fact], found: Verified) -> Run | None:
    try:
        return fold(facts)
    except ValueError as error:
        found.findings.append(Finding(HISTORY, str(error)))
        return None


class _Unwritten(RunDirectory):
    """A run's directory that is only looked at: what would have to be written is missing."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.missing: list[str] = []

    def keep(self, name: str, data: bytes) -> None:  # noqa: ARG002
        self.missing.append(name)


def _compare(directory: RunDirectory, run: Run, found: Verified) -> None:
    """The snapshot must be what the history makes, byte for byte."""
    unwritten = _Unwritten(directory.place)
    expected, data = unwritten.snapshot(run), directory.read(STATE)
    found.findings += [Finding(name, "it is missing") for name in unwritten.missing]
    if data == expected:
        found.checked += 1
        return
    places = [d.at for d in differences(msgspec.json.decode(data), msgspec.json.decode(expected))]
    where = f" at {', '.join(places[:5])}" if places else " in how it is written"
    found.findings.append(Finding(STATE, f"it differs{where} from what the history makes"))


def _files(directory: RunDirectory, facts: list[Fact], found: Verified) -> None:
    """Every file of the run against the digest that names it, or that a fact has of it."""
    expected = {name: Expected(digest) for name, digest in documents(facts).items()}
    expected |= {name: Expected(seal.sha256, seal.size) for name, seal in sealed(facts).items()}
    expected |= {name: Expected(artifact.sha256) for name, artifact in kept(facts).items()}
    # A later step may well clear away what an earlier one left behind without declaring it.
    may_go = {name for name in sealed(facts) if is_artifact(name)} - kept(facts).keys()
    there = dict(files_in(directory.place))
    expected |= {name: Expected(digest) for name in there if (digest := digest_in(name)) is not None}
    for name in sorted(expected.keys() - there.keys()):
        _blame(name, "it is missing", found, is_damage=name not in may_go)
    for name, status in there.items():
        if not stat.S_ISREG(status.st_mode):
            problem = "it is not a regular file, so it is not part of the run"
            is_damage = name in (STATE, HISTORY) or (name in expected and name not in may_go)
            _blame(name, problem, found, is_damage=is_damage)
        elif name in expected:
            _digested(directory.place / name, name, expected[name], found)
        elif is_log(name) or is_artifact(name):
            found.unchecked += [shown(name)] if status.st_size else []
        elif name in PASSING:
            if status.st_size and not directory.seems_held():
                found.warnings.append(f"{name}: {PASSING[name]}, or it was changed")
        elif name.endswith(".tmp"):
            found.warnings.append(f"{shown(name)} is left over from a write that had died")
        elif name not in (STATE, HISTORY):
            found.warnings.append(f"{shown(name)} is no file of a run")


def _blame(name: str, problem: str, found: Verified, *, is_damage: bool) -> None:
    if is_damage:
        found.findings.append(Finding(shown(name), problem))
    else:
        found.warnings.append(f"{shown(name)}: {problem}")


def _digested(file: Path, name: str, expected: Expected, found: Verified) -> None:
    """Compare the contents of *file*, called *name*, with what is *expected*."""
    try:
        found.checked += 1
        if file_digest(file, expected.size)[1] != expected.sha256:
            found.findings.append(Finding(name, "its contents were changed: the digest differs"))
        elif expected.size is not None and file.stat().st_size > expected.size:
            problem = "something was added to it after its step had ended, perhaps by what that left running"
            found.warnings.append(f"{name}: {problem}")
    except OSError as error:
        found.findings.append(Finding(name, error.strerror or str(error)))
