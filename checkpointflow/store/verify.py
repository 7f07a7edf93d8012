"""Whether a run on disk is what it says it is.

The history is a chain: each line names the digest of all that came before. Folded through `evolve` it must
give the very bytes of the snapshot, at the checkpoint that the snapshot is of. What it tells beyond that has
happened, too: a snapshot may be behind, and readers go on from it. Everything else has its digest in the
history or in its name: the documents, what lies in `outputs/`, what steps printed, and what they left in
`artifacts/`. What is not sealed yet, since a step is under way or its cpf has died, is listed, so that nobody
takes it for checked.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec
from msgspec import Struct, to_builtins

from checkpointflow.engine.facts import Fact, FilesSealed, RunBegan, StepSucceeded
from checkpointflow.engine.run import Run, unanswered
from checkpointflow.errors import CheckpointflowError, StateCorrupt
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import MAX_WHOLE_BYTES, digest, escape_name, file_digest, list_files
from checkpointflow.store.history import (
    MAX_COMMIT_BYTES,
    Finding,
    Link,
    decode_fact,
    describe_missing,
    find_artifacts,
    find_document_digests,
    find_sealed_files,
    fold,
    follow,
    is_of_one,
)
from checkpointflow.store.layout import (
    CANCEL,
    DRIVER_LOG,
    HISTORY,
    IMPORTED,
    LOCK,
    NOTE,
    STATE,
    STEP_LOCK,
    digest_in,
    is_artifact,
    is_log,
    is_value,
    log_names,
    output_name,
)
from checkpointflow.store.snapshot import Damaged, encode, parse

PASSING = {
    LOCK: "whoever held it last was killed",
    STEP_LOCK: "whoever held it last was killed",
    CANCEL: "whoever asked to cancel the run was killed before there was an answer",
}


class Expected(NamedTuple):
    """The SHA-256 of a file, or of its first *size* bytes."""

    sha256: str
    size: int | None = None


NAMING = {RunBegan, StepSucceeded, FilesSealed}
EMPTY = Expected(digest(b""), 0)


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
    directory.gather()
    walk = _Walk(directory, found)
    try:
        with directory.open(HISTORY) as file:
            walk.go(file)
    except CheckpointflowError as error:
        found.findings.append(Finding(HISTORY, str(error)))
    else:
        _check_files(directory, walk.naming, found)
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
    with directory.open(HISTORY) as file:
        for link in follow(file):
            if isinstance(link, Finding):
                return str(link)
            if link.checkpoint_id == run.checkpoint_id:
                return None
    return str(Finding(HISTORY, f"it does not hold the checkpoint {run.checkpoint_id}"))


class _Walk:
    """Through the history, a commit at a time, so that it takes no more memory than the run does.

    naming: the facts that tell of files.
    """

    def __init__(self, directory: RunDirectory, found: Verified) -> None:
        self._directory, self._found = directory, found
        self._state, self._goal = b"", ""
        try:
            self._state = directory.read(STATE)
            self._goal = parse(self._state).checkpoint_id
        except (CheckpointflowError, Damaged) as error:
            found.findings.append(Finding(STATE, str(error)))
        self._end = 0
        self._beyond: int | None = None  # how many facts follow that checkpoint, once we have come to it
        self.naming: list[Fact] = []

    def go(self, file: BinaryIO) -> None:
        """Follow it as far as it makes sense, and fold it into the run."""
        commit: list[Link] = []
        broken: Finding | None = None
        for link in follow(file):
            if isinstance(link, Finding):
                broken = link
                break
            commit.append(link)
            if link.checkpoint_id == self._goal and not link.commit:
                line = self._found.facts + len(commit)
                problem = f"no commit ends at the checkpoint of {STATE}"
                self._found.findings.append(Finding(HISTORY, problem, line))
                return
            if link.commit:
                if not self._add(commit):
                    return
                self._end, commit = link.end, []
        if self._beyond is None:
            self._blame_chain(broken)
        else:
            file.seek(self._end)
            self._judge_rest(file.read(MAX_COMMIT_BYTES), broken, self._beyond)

    def _add(self, commit: list[Link]) -> bool:
        """Fold what was committed, and compare the snapshot that follows; whether it makes sense."""
        found = self._found
        facts = []
        for link in commit:
            try:
                facts.append(decode_fact(link))
            except ValueError as error:
                found.findings.append(Finding(HISTORY, str(error), found.facts + len(facts) + 1))
                return False
        self.naming += [fact for fact in facts if type(fact) in NAMING]
        try:
            found.run = fold(facts, found.run, commit[-1].checkpoint_id)
        except ValueError as error:
            found.findings.append(Finding(HISTORY, str(error)))
            return False
        found.facts += len(facts)
        if self._beyond is not None:
            self._beyond += len(facts)
        elif commit[-1].checkpoint_id == self._goal:
            self._beyond = 0
            _check_snapshot(self._directory, self._state, found.run, found)
        return True

    def _blame_chain(self, broken: Finding | None) -> None:
        """It does not come to the snapshot."""
        if broken is not None:
            self._found.findings.append(broken)
        elif self._goal:
            self._found.findings.append(Finding(HISTORY, describe_missing(self._goal)))
        elif self._found.run is None:
            self._found.findings.append(Finding(HISTORY, "it is empty"))

    def _judge_rest(self, rest: bytes, broken: Finding | None, beyond: int) -> None:
        """What follows the last whole commit, and the snapshot's."""
        if broken is not None and not is_of_one(rest):
            self._found.findings.append(broken)
        elif rest:
            self._found.warnings.append(
                f"{HISTORY} goes on beyond its last whole commit: one had died, and never was"
            )
        if beyond and not self._directory.seems_held():
            self._found.warnings.append(
                f"{STATE} lacks {beyond} of the facts in {HISTORY}, since its cpf was killed or it is "
                "an older copy; every reader adds them, and whoever goes on with the run writes it anew"
            )


def _check_snapshot(directory: RunDirectory, data: bytes, run: Run, found: Verified) -> None:
    """The snapshot must be what the history makes, byte for byte, and what it names must be there."""
    expected = encode(run)
    names = [output_name(digest) for digest in expected.beside]
    missing = [name for name in names if not os.path.exists(directory.place / name)]
    found.findings += [Finding(name, "it is missing") for name in missing]
    if data == expected.state:
        found.checked += 1
        return
    from checkpointflow.store.comparison import find_differences  # late: there are seldom any

    differing = [
        d.at for d in find_differences(msgspec.json.decode(data), msgspec.json.decode(expected.state))
    ]
    where = f" at {', '.join(differing[:5])}" if differing else " in how it is written"
    found.findings.append(Finding(STATE, f"it differs{where} from what the history makes"))


def _check_files(directory: RunDirectory, facts: list[Fact], found: Verified) -> None:
    """Every file of the run against the digest that names it, or that a fact has of it."""
    expected = {name: Expected(digest) for name, digest in find_document_digests(facts).items()}
    expected |= {name: Expected(seal.sha256, seal.size) for name, seal in find_sealed_files(facts).items()}
    expected |= {name: Expected(artifact.sha256) for name, artifact in find_artifacts(facts).items()}
    # A later step may well clear away what an earlier one left behind without declaring it.
    may_go = {name for name in find_sealed_files(facts) if is_artifact(name)} - find_artifacts(facts).keys()
    there = dict(list_files(directory.place))
    expected |= {name: Expected(digest) for name in there if (digest := digest_in(name)) is not None}
    if found.run is not None:  # what was not sealed when its step ended was empty
        doing = {name for action in unanswered(found.run) for name in log_names(action.path, action.attempt)}
        done = {name for name in there if is_log(name) and stat.S_ISREG(there[name].st_mode)} - doing
        expected = dict.fromkeys(done, EMPTY) | expected
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
            found.unchecked += [escape_name(name)] if status.st_size else []
        elif name in PASSING:
            if status.st_size and not directory.seems_held():
                found.warnings.append(f"{name}: {PASSING[name]}, or it was changed")
        elif name.endswith(".tmp"):
            found.warnings.append(f"{escape_name(name)} is left over from a write that had died")
        elif name not in (STATE, HISTORY, NOTE, IMPORTED, DRIVER_LOG) and not is_value(name):
            found.warnings.append(f"{escape_name(name)} is no file of a run")


def _blame(name: str, problem: str, found: Verified, *, is_damage: bool) -> None:
    if is_damage:
        found.findings.append(Finding(escape_name(name), problem))
    else:
        found.warnings.append(f"{escape_name(name)}: {problem}")


def _check_digest(file: Path, name: str, expected: Expected, found: Verified) -> None:
    """Compare the contents of *file*, called *name*, with what is *expected*."""
    try:
        found.checked += 1
        if file.stat().st_size > MAX_WHOLE_BYTES and not (is_log(name) or is_artifact(name)):
            found.findings.append(Finding(name, f"it is larger than {MAX_WHOLE_BYTES} bytes"))
        elif file_digest(file, expected.size)[1] != expected.sha256:
            found.findings.append(Finding(name, "its contents were changed: the digest differs"))
        elif expected.size is not None and file.stat().st_size > expected.size:
            problem = "something was added to it after its step had ended, perhaps by what that left running"
            found.warnings.append(f"{name}: {problem}")
    except OSError as error:
        found.findings.append(Finding(name, error.strerror or str(error)))
