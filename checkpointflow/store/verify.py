"""Whether a run on disk is what it says it is.

The history is a chain: each line names the digest of all that came before. Folded through `evolve` it must
give the very bytes of the snapshot, at the checkpoint that the snapshot is of. What it tells beyond that has
happened, too: a snapshot may be behind, and readers go on from it. From the history digests name everything
else: the documents, what lies in `outputs/`, what steps printed, and what they left in `artifacts/`. What is
not sealed yet, since a step is under way or its cpf has died, is listed, so that nobody takes it for checked.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct, to_builtins

from checkpointflow.engine.facts import Fact
from checkpointflow.engine.run import Run
from checkpointflow.errors import CheckpointflowError, StateCorrupt
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import file_digest, list_files, printable
from checkpointflow.store.history import (
    Break,
    Link,
    declared_artifacts,
    document_digests,
    drop_half,
    fold,
    follow,
    is_of_one,
    missing_problem,
    position,
    sealed_files,
)
from checkpointflow.store.layout import (
    CANCEL,
    HISTORY,
    LOCK,
    STATE,
    STEP_LOCK,
    digest_in,
    is_artifact,
    is_log,
    output_name,
)
from checkpointflow.store.snapshot import STATE_VERSION, Snapshot, encode

PASSING = {
    LOCK: "whoever held it last was killed",
    STEP_LOCK: "whoever held it last was killed",
    CANCEL: "whoever asked to cancel the run was killed before there was an answer",
}


class Finding(Struct, frozen=True, omit_defaults=True):
    """What is wrong, and where: a file of the run, and the line in it."""

    file: str
    problem: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.file}{f':{self.line}' if self.line else ''}: {self.problem}"


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
    state = _read(directory, STATE, found)
    snapshot = None if state is None else _decode_snapshot(state, found)
    history = _read(directory, HISTORY, found)
    if history is None:
        return found
    chain, broken = follow(history)
    end = None if snapshot is None else snapshot.checkpoint_id
    cut = position(chain, end)
    if broken is not None and (cut is None or end is None):
        found.findings.append(_finding(broken))
    elif end is not None and cut is None:
        found.findings.append(Finding(HISTORY, missing_problem(end)))
    if cut is not None:
        chain = _check_rest(directory, history, chain, cut, broken, found)
    facts = list(_decode(chain, found))
    found.facts = len(facts)
    if facts or not found.findings:
        found.run = _fold(facts[:cut], found)
    if found.run is not None and cut is not None:
        assert state is not None
        _check_snapshot(directory, state, found.run, found)
        found.run = _fold(facts[cut:], found, found.run)
    _check_files(directory, facts, found)
    return found


def require_sound(directory: RunDirectory) -> Verified:
    """What was verified of a run in which nothing is wrong. Raises StateCorrupt."""
    found = verify(directory)
    if found.findings or found.run is None:
        raise refuse(directory, found.findings)
    return found


def refuse(directory: RunDirectory, findings: list[Finding]) -> StateCorrupt:
    """What to raise of a run in which that was found."""
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return StateCorrupt(
        file=directory.place,
        problem=f"{findings[0]}{more}; go back to a copy that `cpf verify` accepts",
        details=to_builtins(findings),
    )


def find_break(directory: RunDirectory, run: Run) -> str | None:
    """What is wrong with the history that led to *run*, if anything is."""
    chain, broken = follow(directory.read(HISTORY))
    if position(chain, run.checkpoint_id) is not None:
        return None
    if broken is None:
        return str(Finding(HISTORY, f"it does not hold the checkpoint {run.checkpoint_id}"))
    return str(_finding(broken))


def _finding(broken: Break) -> Finding:
    return Finding(HISTORY, broken.problem, broken.line)


def _read(directory: RunDirectory, name: str, found: Verified) -> bytes | None:
    try:
        return directory.read(name)
    except CheckpointflowError as error:
        found.findings.append(Finding(name, str(error)))
        return None


def _decode_snapshot(data: bytes, found: Verified) -> Snapshot | None:
    try:
        return msgspec.json.decode(data, type=Snapshot)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        problem = f"it is not of the schema {STATE_VERSION} ({error or type(error).__name__})"
        found.findings.append(Finding(STATE, problem))
        return None


def _check_rest(
    directory: RunDirectory,
    history: bytes,
    chain: list[Link],
    cut: int,
    broken: Break | None,
    found: Verified,
) -> list[Link]:
    """Look at what follows the *cut*-th line, which is the snapshot's; the lines of whole commits."""
    whole = drop_half(chain)
    if len(whole) < cut or not chain[cut - 1].commit:
        found.findings.append(Finding(HISTORY, "no commit ends at the checkpoint of " + STATE, cut))
        return chain[:cut]
    rest = history[whole[-1].end :]
    if broken is not None and not is_of_one(rest):
        found.findings.append(_finding(broken))
    elif rest:
        found.warnings.append(f"{HISTORY} goes on beyond its last whole commit: one had died, and never was")
    if len(whole) > cut and not directory.seems_held():
        found.warnings.append(
            f"{STATE} lacks {len(whole) - cut} of the facts in {HISTORY}, since its cpf was killed or it is "
            "an older copy; every reader adds them, and whoever goes on with the run writes it anew"
        )
    return whole


def _decode(chain: list[Link], found: Verified) -> Iterator[Fact]:
    decoder: msgspec.json.Decoder[Fact] = msgspec.json.Decoder(Fact)
    for number, link in enumerate(chain, 1):
        try:
            yield decoder.decode(link.fact)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            found.findings.append(Finding(HISTORY, f"it is no fact that this cpf knows ({error})", number))
            return


def _fold(facts: list[Fact], found: Verified, run: Run | None = None) -> Run | None:
    try:
        return fold(facts, run)
    except ValueError as error:
        found.findings.append(Finding(HISTORY, str(error)))
        return None


def _check_snapshot(directory: RunDirectory, data: bytes, run: Run, found: Verified) -> None:
    """The snapshot must be what the history makes, byte for byte, and what it names must be there."""
    expected = encode(run)
    names = [output_name(digest) for digest in expected.beside]
    missing = [name for name in names if not (directory.place / name).exists()]
    found.findings += [Finding(name, "it is missing") for name in missing]
    if data == expected.state:
        found.checked += 1
        return
    from checkpointflow.store.comparison import differences  # late: there are seldom any

    places = [d.at for d in differences(msgspec.json.decode(data), msgspec.json.decode(expected.state))]
    where = f" at {', '.join(places[:5])}" if places else " in how it is written"
    found.findings.append(Finding(STATE, f"it differs{where} from what the history makes"))


def _check_files(directory: RunDirectory, facts: list[Fact], found: Verified) -> None:
    """Every file of the run against the digest that names it, or that a fact has of it."""
    expected = {name: Expected(digest) for name, digest in document_digests(facts).items()}
    expected |= {name: Expected(seal.sha256, seal.size) for name, seal in sealed_files(facts).items()}
    expected |= {name: Expected(artifact.sha256) for name, artifact in declared_artifacts(facts).items()}
    # A later step may well clear away what an earlier one left behind without declaring it.
    may_go = {name for name in sealed_files(facts) if is_artifact(name)} - declared_artifacts(facts).keys()
    there = dict(list_files(directory.place))
    expected |= {name: Expected(digest) for name in there if (digest := digest_in(name)) is not None}
    for name in sorted(expected.keys() - there.keys()):
        _blame(name, "it is missing", found, is_damage=name not in may_go)
    for name, status in there.items():
        if not stat.S_ISREG(status.st_mode):
            problem = "it is not a regular file, so it is not part of the run"
            is_damage = name in (STATE, HISTORY) or (name in expected and name not in may_go)
            _blame(name, problem, found, is_damage=is_damage)
        elif name in expected:
            _check_digest(directory.place / name, name, expected[name], found)
        elif is_log(name) or is_artifact(name):
            found.unchecked += [printable(name)] if status.st_size else []
        elif name in PASSING:
            if status.st_size and not directory.seems_held():
                found.warnings.append(f"{name}: {PASSING[name]}, or it was changed")
        elif name.endswith(".tmp"):
            found.warnings.append(f"{printable(name)} is left over from a write that had died")
        elif name not in (STATE, HISTORY):
            found.warnings.append(f"{printable(name)} is no file of a run")


def _blame(name: str, problem: str, found: Verified, *, is_damage: bool) -> None:
    if is_damage:
        found.findings.append(Finding(printable(name), problem))
    else:
        found.warnings.append(f"{printable(name)}: {problem}")


def _check_digest(file: Path, name: str, expected: Expected, found: Verified) -> None:
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
