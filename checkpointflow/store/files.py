"""Files and directories, handled with care: anything may lie under a name, and the power may go any moment.

What is opened is no pipe that would have us wait, and inside a store no symbolic link that could lead
anywhere. What is written survives a power cut once its data are synced (`sync_file`), and once the directory
that names it is (`sync_directory`); a rename is a change to the directory, too.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePath
from typing import TypeVar

from checkpointflow.digests import sha256
from checkpointflow.errors import DirectoryGone, FileMissing, PersistenceError

MAX_BYTES = 16 * 1024 * 1024
MAX_WHOLE_BYTES = 1 << 30  # of what is read as a whole; a file of a store has more only if it is none of ours
BLOCK_BYTES = 1 << 20

_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)  # macOS, which has no fdatasync

LINK_PROBLEM = "it is a symbolic link, which cpf never makes or follows"


# Digests


def digest(document: bytes) -> str:
    """The name of a document's contents: its SHA-256."""
    return sha256(document).hexdigest()


def read_digest(fd: int, limit: int | None = None) -> tuple[int, str]:
    """The size and the SHA-256 of the file *fd*, or of its first *limit* bytes."""
    size, running = 0, sha256()
    if os.fstat(fd).st_size > BLOCK_BYTES:
        from hashlib import sha256 as quicker

        running = quicker()
    while block := os.pread(fd, BLOCK_BYTES if limit is None else min(BLOCK_BYTES, limit - size), size):
        running.update(block)
        size += len(block)
    return size, running.hexdigest()


def file_digest(file: Path, limit: int | None = None) -> tuple[int, str]:
    """The size and the SHA-256 of *file*, or of its first *limit* bytes; it is not read as a whole."""
    with open_safely(file) as fd:
        return read_digest(fd, limit)


# Files that people name


def locate(name: str | os.PathLike[str] = "") -> Path:
    """Where the file or directory *name* (of none: the working directory) lies, from the root on.

    Raises FileMissing: the working directory is gone; or the name is not UTF-8, so that it could be written
    neither into a run nor into an answer.
    """
    try:
        place = Path(os.path.join(name if os.path.isabs(name) else os.getcwd(), name))
    except OSError:
        problem = "the working directory is gone; go to one that is there, or name files from the root on"
        raise FileMissing(file=name or ".", problem=problem) from None
    try:
        str(place).encode()
    except UnicodeEncodeError:
        problem = "this name is not UTF-8; rename it, or work from another place"
        raise FileMissing(file=place, problem=problem) from None
    return place


def read_file(file: Path) -> bytes:
    """The contents of a regular file of at most 16 MiB. Raises FileMissing saying what is there instead."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # opening a FIFO must not wait for its writer
    except FileNotFoundError:
        raise FileMissing(file=file, problem="there is no such file") from None
    except (OSError, ValueError) as error:
        raise FileMissing(file=file, problem=f"it cannot be opened ({explain(error)})") from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            hint = " (to read JSON from a pipe, use `--input -`)" if stat.S_ISFIFO(status.st_mode) else ""
            problem = f"it is {_name_kind(status.st_mode)}, not a regular file{hint}"
            raise FileMissing(file=file, problem=problem)
        if status.st_size > MAX_BYTES:
            raise FileMissing(file=file, problem=f"it is larger than {MAX_BYTES} bytes")
        return read_all(fd, MAX_BYTES)
    except OSError as error:
        raise FileMissing(file=file, problem=f"it cannot be read ({explain(error)})") from None
    finally:
        os.close(fd)


def read_stdin() -> bytes:
    """Standard input, up to just over the limit."""
    return sys.stdin.buffer.read(MAX_BYTES + 1)


def explain(error: Exception) -> str:
    """Why the operating system refused, in its words."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _name_kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


# Files of a store


class translate_errors:  # noqa: N801, it is used like a function
    """Turn a failing disk into a PersistenceError that names *file*, or the one that the error names."""

    def __init__(self, file: Path | str) -> None:
        self._file = file

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError):
            raise PersistenceError(file=error.filename or self._file, problem=explain(error)) from error


class open_safely:  # noqa: N801, it is used like a function
    """*file* to read from: a FIFO in its place must not hang us, nor a symbolic link lead us elsewhere."""

    def __init__(self, file: Path | str) -> None:
        self._fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        mode = os.fstat(self._fd).st_mode
        if not stat.S_ISREG(mode):
            os.close(self._fd)
            raise OSError(errno.EINVAL, f"it is {_name_kind(mode)}, not a regular file", os.fspath(file))

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


T = TypeVar("T")


def reach(place: Path | str, name: str, do: Callable[[str, int | None], T], *, make: bool = False) -> T:
    """What *do* makes of the file *name* below *place*: of its last part, and of the directory that holds it.

    That is a descriptor, which no symbolic link below *place* has led to, whoever puts one there meanwhile.
    *make*: the directories that are missing. Raises OSError.
    """
    first, *more = name.split("/")
    *above, last = f"{place}/{first}", *more
    fd: int | None = None
    try:
        for part in above:
            outer, fd = fd, _enter(part, fd, make)
            if outer is not None:
                os.close(outer)
        return do(last, fd)
    except OSError as error:
        error.filename = f"{place}/{name}"
        raise
    finally:
        if fd is not None:
            os.close(fd)


def _enter(name: str, above: int | None, make: bool) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        return os.open(name, flags, dir_fd=above)
    except FileNotFoundError:
        if not make:
            raise
        with suppress(FileExistsError):  # another was quicker
            os.mkdir(name, 0o700, dir_fd=above)
        return os.open(name, flags, dir_fd=above)


def read_all(fd: int, limit: int = MAX_WHOLE_BYTES) -> bytes:
    """All that *fd*, a regular file, still gives. Raises OSError if it has more than *limit* bytes."""
    size = os.fstat(fd).st_size
    if size > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit} bytes")
    data = os.read(fd, size + 1)
    while size < len(data) <= limit and (more := os.read(fd, 1 << 20)):  # it has grown meanwhile
        data += more
    return data


def write_at(fd: int, data: bytes, offset: int) -> None:
    """Write all of *data* to *fd* from *offset* on."""
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def create_anew(file: Path) -> int:
    """A descriptor of *file*, new, empty and private: no pipe, and no second name of another file."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        return os.open(file, flags, 0o600)
    except FileExistsError:  # a write that died left it
        os.unlink(file)
        return os.open(file, flags, 0o600)


def replace_file(file: Path, data: bytes) -> None:
    """Make *data* the contents of *file*, whole or not at all; returns once it would survive a power cut."""
    beside = file.with_name(f"{file.name}.tmp")
    fd = create_anew(beside)
    try:
        write_at(fd, data, 0)
        sync_file(fd)
    finally:
        os.close(fd)
    os.replace(beside, file)
    sync_directory(file.parent)


def sync_file(fd: int) -> None:
    """Have the disk itself take the data; fsync alone leaves it in the drive's cache on macOS."""
    if _FULL_SYNC is None:
        os.fsync(fd)
    else:  # pragma: no cover, macOS
        fcntl.fcntl(fd, _FULL_SYNC)


def sync_data(fd: int) -> None:
    """As `sync_file`, but for what nobody needs to read the data back, such as the time of the write."""
    if _FULL_SYNC is None:
        os.fdatasync(fd)
    else:  # pragma: no cover, macOS
        sync_file(fd)


# Directories


def make_private(directory: Path) -> list[Path]:
    """Make *directory* and what is missing above it, for its owner only; returns what was missing."""
    missing = [above for above in (directory, *directory.parents) if not above.is_dir()]
    for place in reversed(missing):
        with suppress(FileExistsError):  # another process was quicker
            os.mkdir(place, 0o700)
    return missing


def make_lasting(directory: Path) -> None:
    """Make *directory*, and what is missing above it, such that their names survive a power cut."""
    for made in make_private(directory):
        sync_directory(made.parent)


def sync_directory(directory: Path) -> None:
    """Have the names in *directory* survive a power cut."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_names(place: Path, names: Iterable[str]) -> None:
    """Have *names*, paths from *place*, survive a power cut, with those of the directories on the way."""
    for above in dict.fromkeys(above for name in names for above in PurePath(name).parents):
        sync_directory(place / above)


def sync_tree(directory: Path) -> None:
    """Have all names below *directory* survive a power cut."""
    with translate_errors(directory):
        for inner, _, _ in os.walk(directory, topdown=False):
            sync_directory(Path(inner))


def describe_sharing(directory: Path) -> str | None:
    """Who besides us may put files into *directory*, if anybody: they could change what a run does next."""
    status = os.stat(directory)
    if status.st_uid not in (os.geteuid(), 0):
        return f"it belongs to another user (uid {status.st_uid})"
    if status.st_mode & stat.S_IWOTH:
        return "everybody may write into it"
    if status.st_mode & stat.S_IWGRP:
        if _has_access_list(directory):
            return "others may write into it by its access control list"
        if not _is_of_one(status.st_gid):
            return f"the group {status.st_gid} may write into it"
    return None


def _has_access_list(directory: Path) -> bool:
    """Whether the bits of the group stand for an access control list: for the most that anybody in it may."""
    with suppress(AttributeError, OSError):  # only Linux can be asked
        return bool(os.getxattr(directory, "system.posix_acl_access"))
    return False


def _is_of_one(group: int) -> bool:
    """Whether *group* is one that the system made for this user alone: of his name, and with no others."""
    import grp  # late: most directories are their owner's alone
    import pwd

    try:
        name, found = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(group)
    except KeyError:
        return False
    return found.gr_name == name and not set(found.gr_mem) - {name}


def refuse_shared(allow: bool, top: Path, *below: Path) -> None:
    """Raise PersistenceError if others may write into one of these directories, unless that is meant.

    And if one *below* the top is a symbolic link: it could lead anywhere.
    """
    for directory in below:
        if directory.is_symlink():
            raise PersistenceError(file=directory, problem=LINK_PROBLEM)
    for directory in () if allow else (top, *below):
        with translate_errors(directory):
            who = describe_sharing(directory)
        if who is not None:
            problem = f"{who}, and could change what runs do; make it private, or say --allow-shared"
            raise PersistenceError(file=directory, problem=problem)


def refuse_writable(*files: Path) -> None:
    """Raise PersistenceError if everybody may write or replace one of the *files*, and so choose what is run.

    In a directory that is sticky, as /tmp is, nobody can replace the file of another.
    """
    for file in files:
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(os.stat(file).st_mode):
                continue
            if os.stat(file).st_mode & stat.S_IWOTH:
                raise _refuse_file(file, "write into it", file)
            for place in {file.parent, file.resolve().parent}:
                if os.stat(place).st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
                    raise _refuse_file(file, "replace it", place)


def _refuse_file(file: Path, deed: str, place: Path) -> PersistenceError:
    problem = f"everybody may {deed}, and could change what it runs"
    return PersistenceError(file=file, problem=f"{problem}; see `chmod o-w {place}`, or say --allow-shared")


def list_files(directory: Path, *, all_of_it: bool = False) -> Iterator[tuple[str, os.stat_result]]:
    """All that lies below *directory* but for directories, sorted by name (relative to it).

    *all_of_it*: a directory in it that cannot be read raises OSError; otherwise it is passed over.
    """
    found = {}

    def refuse(error: OSError) -> None:
        raise error

    for inner, below, names in os.walk(directory, onerror=refuse if all_of_it else None):
        links_to = [name for name in below if os.path.islink(os.path.join(inner, name))]
        for name in [*names, *links_to]:
            whole = os.path.join(inner, name)
            with suppress(OSError):  # what a command left running may take away again
                found[os.path.relpath(whole, directory)] = os.lstat(whole)
    yield from sorted(found.items())


def size_of(directory: Path) -> int:
    """The bytes of all files below *directory*; links are not followed."""
    return sum(status.st_size for _, status in list_files(directory))


def is_text(name: str) -> bool:
    """Whether *name*, as the operating system has it, can stand in JSON: it may be any bytes."""
    return escape_name(name) == name


def name_directory(directory: str | os.PathLike[str]) -> str:
    """The whole name of *directory* ("": the current one). Raises DirectoryGone for none that is a text."""
    try:
        name = os.path.abspath(directory)
    except OSError:
        raise DirectoryGone(directory="the current directory") from None
    if not os.path.isdir(name) or not is_text(name):
        raise DirectoryGone(directory=escape_name(name))
    return name


def escape_name(name: str) -> str:
    """*name*, as the operating system has it, for people."""
    return os.fsencode(name).decode(errors="backslashreplace")
