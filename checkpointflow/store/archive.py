"""A run as one file, to be handed over: written the same for the same state, read as something strange.

An archive is a `.tar.gz` with one directory in it, named by the run's id: the snapshot, the history up to
it, the documents, logs, outputs and artifacts; no lock, no file in the making. Names are sorted; times,
owners and modes are fixed.

What is imported was written by anybody. Only regular files of known names are taken, up to limits, into a
directory beside the runs; they must pass `verify`; then one rename makes a run of it. A run that is here
already goes forward as by a commit: what is new is added, then the history, which decides, and at last the
snapshot. So whatever kills an import, the run that was here is here, as it was or as it came.
"""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from operator import eq
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Literal, NamedTuple, cast

from msgspec.structs import replace

from checkpointflow.engine.facts import RunBegan
from checkpointflow.engine.run import Run
from checkpointflow.errors import CheckpointflowError, PersistenceError, RunDiverged, StateCorrupt
from checkpointflow.store.claims import keep_key
from checkpointflow.store.clock import make_id, now
from checkpointflow.store.directory import Note, RunDirectory
from checkpointflow.store.files import (
    escape_name,
    list_files,
    make_private,
    sync_directory,
    sync_file,
    sync_tree,
    translate_errors,
)
from checkpointflow.store.history import find_end, fold
from checkpointflow.store.layout import HISTORY, STATE, is_artifact, is_local, is_log, is_member, is_run_id
from checkpointflow.store.store import Store
from checkpointflow.store.sweeping import name_aside, remove
from checkpointflow.store.verify import refuse, require_sound, verify

MAX_FILES = 200_000
MAX_BYTES = 256 << 20  # or, of a larger archive, MAX_EXPANSION times its own size
MAX_EXPANSION = 100
MAX_JSON_BYTES = 1 << 30
MAX_JSON_VALUES = 1_000_000  # or as many as the archive has bytes: one of two bytes may take fifty in memory
MAX_HEADER_BYTES = 64 << 10
MAX_NAME = 3000  # bytes, so that there is room for the directory that the file comes to lie in
BLOCK_BYTES = 1 << 20

Outcome = Literal["added", "fast_forwarded", "unchanged"]


class Imported(NamedTuple):
    """What became of an archive; facts: how many of its facts were new here."""

    directory: RunDirectory
    run: Run
    outcome: Outcome
    facts: int


def export_run(
    directory: RunDirectory, out: BinaryIO, lock_timeout: float = 0, note: Note | None = None
) -> list[str]:
    """Write the run to *out*, with *note* or else the one that it has; returns what was left out of it.

    Raises LockConflict, StateCorrupt (a run that does not pass `verify` is not handed on), PersistenceError
    for a file that no import would take, with nothing written.
    """
    with directory.hold("export", now(), lock_timeout):
        require_sound(directory)
        run = directory.load()  # now the snapshot is what the history makes
        history = directory.read(HISTORY)
        history = history[: find_end(history, run.checkpoint_id)]
        if note is not None:
            directory.keep_note(note)
        names, left_out = _choose_members(directory)
        with (
            gzip.GzipFile(filename="", fileobj=out, mode="wb", compresslevel=6, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
        ):
            for name in names:
                if name == HISTORY:
                    archive.addfile(_make_header(run.run_id, name, len(history)), BytesIO(history))
                    continue
                with directory.open(name) as opened:
                    header = _make_header(run.run_id, name, os.fstat(opened.fileno()).st_size)
                    archive.addfile(header, opened)
    return left_out


def _choose_members(directory: RunDirectory) -> tuple[list[str], list[str]]:
    """The names of what is handed over, and what to say of the rest. Raises PersistenceError."""
    names, left_out = list[str](), list[str]()
    with translate_errors(directory.place):
        files = dict(list_files(directory.place, all_of_it=True))
        for name, status in files.items():
            if not is_member(name):
                left_out += [] if is_local(name) else [f"{escape_name(name)} is no file of a run"]
            elif not stat.S_ISREG(status.st_mode):
                left_out.append(f"{escape_name(name)} is not a regular file")
            else:
                names.append(name)
                try:
                    _check_limits(name, status.st_size, len(names))
                except _Refused as error:
                    raise PersistenceError(
                        file=directory.place / name, problem=f"{error}; no import would take it"
                    ) from None
    return names, [f"{what}, and was left out" for what in left_out]


def import_run(
    store: Store,
    source: BinaryIO,
    name: str,
    *,
    as_new: bool = False,
    lock_timeout: float = 0,
    max_bytes: int | None = None,
) -> Imported:
    """Take in the archive that *source* gives; *name* is what messages call it.

    It may become *max_bytes* (None: MAX_BYTES), or MAX_EXPANSION times its own size, if that is more.
    With *as_new* it becomes a run of its own under a new id, whatever is here already. Raises StateCorrupt
    for what is no archive of ours, RunDiverged, LockConflict, PersistenceError; nothing has changed then.
    """
    store.make()
    staging = name_aside(store.runs / "run", "importing")
    with translate_errors(staging):
        os.mkdir(staging, 0o700)
    try:
        staged = RunDirectory(staging)
        with staged.hold("import", now()):
            run_id = _unpack(_Source(source, max_bytes), staging, name)
            _check(staged, run_id, name)
            run = staged.load()  # now the snapshot is what the history makes
            if as_new:
                run = _rename(staged, run)
            staged.mark_foreign()
            sync_tree(staging)
            with keep_key(store, staged.read_beginning()):
                return _settle(store, staged, run, lock_timeout)
    finally:
        if staging.exists():
            remove(staging)


def _make_header(run_id: str, name: str, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(f"{run_id}/{name}")
    header.size, header.mode, header.mtime = size, 0o600, 0
    return header


class _Header(tarfile.TarInfo):
    """A header of an archive that anybody may have written; what we do not write is refused unread."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        plain = self.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
        if not plain and self.type != tarfile.XHDTYPE:
            raise _Refused(f"{self.name!r} is neither a regular file nor a directory")
        if self.size < 0 or (not plain and self.size > MAX_HEADER_BYTES):
            raise _Refused(f"the header of {self.name!r} is too long")
        member: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        if member.size < 0:
            raise _Refused(f"the size of {member.name!r} is below nothing")
        return member


class _Refused(Exception):
    """Why an archive is not taken."""


def _check_limits(name: str, size: int, number: int) -> None:
    """Raise _Refused if the *number*-th file, called *name*, is beyond them, for writers as for readers."""
    if len(os.fsencode(name)) > MAX_NAME:
        raise _Refused(f"the name {name[:200]!r}… has more than {MAX_NAME} bytes")
    if number > MAX_FILES:
        raise _Refused(f"with {name[:200]!r} there are more than {MAX_FILES} files")
    if size > MAX_JSON_BYTES and _is_record(name):
        raise _Refused(f"{name[:200]!r} has more than {MAX_JSON_BYTES} bytes")


def _is_record(name: str) -> bool:
    return not (is_log(name) or is_artifact(name))


@contextmanager
def _translate_damage(name: str) -> Iterator[None]:
    """Turn all that can be wrong with an archive into a StateCorrupt that names it."""
    try:
        yield
    except _Refused as error:
        problem = str(error)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, OverflowError) as error:
        problem = f"it is no archive of a run, or not a whole one ({error})"
    except RecursionError:
        problem = "its headers go on without end"
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EILSEQ):
            raise PersistenceError(file=error.filename or name, problem=error.strerror or error) from None
        problem = f"two of its members do not go together, or a name is too long ({error.strerror})"
    else:
        return
    raise StateCorrupt(file=name, problem=f"{problem}; nothing was imported") from None


class _Source:
    """The bytes of an archive, and how much may be made of those that were read so far."""

    def __init__(self, source: BinaryIO, max_bytes: int | None) -> None:
        self._source = source
        self._max_bytes = MAX_BYTES if max_bytes is None else max_bytes
        self._max_values = max(MAX_JSON_VALUES, (max_bytes or 0) // 50)
        self._given = self._taken = self._values = 0

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._given += len(data)
        return data

    def take(self, size: int) -> None:
        """Count bytes that are made of it. Raises _Refused."""
        self._taken += size
        if self._taken > max(self._max_bytes, MAX_EXPANSION * self._given):
            raise _Refused(
                f"it would become more than {self._max_bytes} bytes, far more than its own size; "
                "if that is meant, say how many it may become with --max-bytes"
            )

    def take_values(self, number: int) -> None:
        """Count values of JSON that are made of it. Raises _Refused."""
        self._values += number
        if self._values > max(self._max_values, self._given):
            raise _Refused(f"its JSON has more than {self._max_values} values; see --max-bytes")


def _unpack(source: _Source, staging: Path, name: str) -> str:
    """Write the members of the archive into *staging*; returns the run's id."""
    run_id = None
    with (
        _translate_damage(name),
        gzip.GzipFile(fileobj=cast(BinaryIO, source), mode="rb") as packed,
        tarfile.open(fileobj=packed, mode="r|", tarinfo=_Header) as archive,
    ):
        for number, member in enumerate(archive, 1):
            top, rest = _split_name(member)
            if run_id not in (None, top):
                raise _Refused(f"it holds more than one run: {run_id} and {top}")
            run_id = top
            archive.members = []  # type: ignore[attr-defined]  # or all headers would be kept, with all they say
            source.take(tarfile.BLOCKSIZE + len(str(member.pax_headers)))
            _check_limits(rest, member.size, number)
            if member.isreg():
                content = archive.extractfile(member)
                assert content is not None
                _write(staging / rest, content, member.size, source.take)
                if _is_record(rest):
                    source.take_values(_count_values(staging / rest))
        while more := packed.read(BLOCK_BYTES):  # to the end, where the checksum is
            source.take(len(more))
    if run_id is None:
        raise StateCorrupt(file=name, problem="the archive is empty; nothing was imported")
    return run_id


def _split_name(member: tarfile.TarInfo) -> tuple[str, str]:
    """The run's id and the name in its directory that *member* says. Raises _Refused."""
    name = member.name
    parts = name.split("/")
    if {"", ".", ".."} & set(parts) or "\0" in name or PurePosixPath(name).is_absolute():
        raise _Refused(f"{name[:200]!r} is no name for a file of a run")
    rest = "/".join(parts[1:])
    if not is_run_id(parts[0]):
        raise _Refused(f"{name[:200]!r} does not lie in a directory named by a run id")
    if member.isdir():
        return parts[0], rest
    if not is_member(rest) or getattr(member, "sparse", None) is not None:
        raise _Refused(f"{name[:200]!r} is no file of a run")
    return parts[0], rest


def _write(file: Path, content: IO[bytes], size: int, take: Callable[[int], None]) -> None:
    make_private(file.parent)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(file, flags, 0o600), "wb") as copy:
        while block := content.read(BLOCK_BYTES):
            take(len(block))
            copy.write(block)
        copy.flush()
        if copy.tell() != size:
            raise _Refused(f"{file.name!r} is cut off")
        sync_file(copy.fileno())


def _count_values(file: Path) -> int:
    """How many values the JSON in *file* can have at most."""
    with file.open("rb") as opened:
        return sum(
            block.count(b",") + block.count(b"[") + block.count(b"{")
            for block in iter(lambda: opened.read(BLOCK_BYTES), b"")
        )


def _check(staged: RunDirectory, run_id: str, name: str) -> None:
    """See that the run that was unpacked is whole in itself."""
    try:
        run = require_sound(staged).run
    except CheckpointflowError as error:
        problem = f"the run in it is damaged: {error}; nothing was imported"
        raise StateCorrupt(file=name, problem=problem, details=error.details) from None
    assert run is not None
    if run.run_id != run_id:
        problem = f"it says that it is {run_id}, its history that it is {run.run_id}; nothing was imported"
        raise StateCorrupt(file=name, problem=problem)


def _rename(staged: RunDirectory, run: Run) -> Run:
    """The same run under a new id: its first fact names the new one, and the chain is made anew from it."""
    facts = list(staged.facts(run))
    began = facts[0]
    assert isinstance(began, RunBegan)
    facts[0] = replace(began, run_id=make_id(), key=None, copied_from=run.checkpoint_id)
    renamed = fold(facts)
    staged.commit(renamed, facts, None)
    return renamed


def _settle(store: Store, staged: RunDirectory, run: Run, lock_timeout: float) -> Imported:
    """Make what was unpacked, and found whole, a run of *store*, or the newer state of one."""
    target = RunDirectory(store.runs / run.run_id)
    if not os.path.lexists(target.place):
        try:
            with translate_errors(target.place):
                os.rename(staged.place, target.place)
                sync_directory(store.runs)
            return Imported(target, run, "added", run.revision)
        except PersistenceError:
            if not os.path.lexists(target.place):
                raise  # and otherwise another import of it was quicker
    if target.place.is_symlink() or not (target.place / STATE).exists():
        problem = "something that is no run is in the way; see `cpf gc`, or move it"
        raise PersistenceError(file=target.place, problem=problem)
    with target.hold("import", now(), lock_timeout):
        return _join(staged, target, _check_target(target, staged), run)


def _check_target(target: RunDirectory, staged: RunDirectory) -> Run:
    """The run in *target*; what *staged* brings along may be damaged there, as by an import that died."""
    brought = {name for name, _ in list_files(staged.place)} - {STATE, HISTORY}
    found = verify(target)
    damage = [finding for finding in found.findings if finding.file not in brought]
    if damage or found.run is None:
        raise refuse(target, damage or found.findings)
    return found.run


def _join(staged: RunDirectory, target: RunDirectory, here: Run, there: Run) -> Imported:
    ours, theirs = _list_checkpoints(target, here), _list_checkpoints(staged, there)
    common = sum(map(eq, ours, theirs))  # where one differs, so do all that follow: they are digests of it
    if common == len(theirs):
        if common == len(ours) and (note := staged.read_note()):  # the same state, and something new is said
            target.keep_note(note)
        return Imported(target, here, "unchanged", 0)
    if common < len(ours):
        raise _explain_divergence(here, ours, theirs, common)
    if there.cwd != here.cwd:  # which nobody here has said
        target.mark_foreign()
    with translate_errors(target.place):
        _move(staged.place, target.place)
    return Imported(target, there, "fast_forwarded", len(theirs) - common)


def _list_checkpoints(directory: RunDirectory, run: Run) -> list[str]:
    """The checkpoints that led to *run*; since they are digests, the same ids name the same facts."""
    return [entry.checkpoint_id for entry in directory.history(run)]


def _explain_divergence(here: Run, ours: list[str], theirs: list[str], common: int) -> RunDiverged:
    last = ours[common - 1] if common else None
    since = f"after checkpoint {last[:12]} (fact {common})" if last else "from its very beginning"
    return RunDiverged(
        problem=(
            f"run {here.run_id} went on both here ({len(ours) - common} facts) and in the archive "
            f"({len(theirs) - common} facts), {since}; "
            "keep both with --as-new, and compare them with `cpf diff`"
        ),
        details={
            "run_id": here.run_id,
            "common_facts": common,
            **({"last_common_checkpoint": last} if last else {}),
            "checkpoint_here": here.checkpoint_id,
            "checkpoint_there": theirs[-1],
        },
    )


def _move(source: Path, target: Path) -> None:
    """Put the files of *source* in place in *target*: what is beside the state first, the state last."""
    names = [name for name, _ in list_files(source) if is_member(name) and name not in (STATE, HISTORY)]
    places = {name: RunDirectory(target).file(name) for name in names}
    for name, place in places.items():
        _clear_the_way(target, name)
        make_private(place.parent)
        os.replace(source / name, place)
    sync_tree(target)
    for name in (HISTORY, STATE):
        os.replace(source / name, target / name)
        sync_directory(target)


def _clear_the_way(target: Path, name: str) -> None:
    """Take away a file where *name* needs a directory, and a directory where it is to go, among artifacts."""
    parts = name.split("/")
    if is_artifact(name):
        for depth in range(2, len(parts)):
            above = target.joinpath(*parts[:depth])
            if os.path.lexists(above) and not above.is_dir():
                above.unlink()
        if (target / name).is_dir():
            shutil.rmtree(target / name)
