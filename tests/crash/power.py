"""A model of a disk with a page cache: what a power cut may leave of what was done.

What POSIX promises, and no more: the data of a file is safe once it is synced, a name in a directory once
the directory is. Until then a file may hold what it held before, all of what was written, a part of it, or
zeros of the right length; and of the changes to a directory any may have come through without the others
(*in_order*: none without those before it in the same directory, as the journals of ext4, xfs and btrfs have
it). A rename is a change to a directory; one that leads to another directory is a change to each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BufferedWriter, FileIO
from itertools import combinations, product
from pathlib import Path
from traceback import extract_stack
from typing import Any, NamedTuple

from checkpointflow.store.layout import LOCK, STEP_LOCK
from tests.crash.disks import CHANGING, Disk

ROOT = 0
MOST = 5_000

Tree = dict[str, bytes | None]  # by path below the root; a directory is None


class Change(NamedTuple):
    """kind: file, directory (a new *inode*), name, size, write, sync, told.

    name: that *place*, a directory, has for *inode* from now on, if any, instead of *gone*; site: of a sync.
    """

    kind: str
    inode: int = ROOT
    place: int = ROOT
    name: str = ""
    gone: str = ""
    at: int = 0
    data: bytes = b""
    site: str = ""
    told: Any = None


class RecordingDisk(Disk):
    """Notes every change below *root*, which is empty, in order; `tell` puts something else among them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.changes: list[Change] = []
        self._names: dict[int, dict[str, int]] = {ROOT: {}}
        self._open: dict[int, int] = {}
        self._inodes = ROOT

    def tell(self, what: Any) -> None:
        self.changes.append(Change("told", told=what))

    def settle(self) -> None:
        """Have all be safe that was done so far."""
        self.changes += [Change("sync", inode) for inode in range(self._inodes + 1)]

    def open(self, file: Any, flags: int, *more: Any, **named: Any) -> int:
        fd = super().open(file, flags, *more, **named)
        place, name = self._find(file, named.get("dir_fd"))
        if place is None or name in (LOCK, STEP_LOCK):  # never synced: what stands in one is a hint
            return fd
        inode = ROOT if name == "." else self._names[place].get(name)
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            inode = self._make("file")
        elif inode is None and flags & os.O_CREAT:
            inode = self._make("file")
            self._enter(place, name, inode)
        elif inode is not None and flags & os.O_TRUNC:
            self.changes.append(Change("size", inode))
        if inode is not None:
            self._open[fd] = inode
        return fd

    def fdopen(self, fd: int, mode: str = "r", **named: Any) -> Any:
        return BufferedWriter(_Writer(self, fd)) if mode == "wb" else os.fdopen(fd, mode, **named)

    def close(self, fd: int) -> None:
        self._open.pop(fd, None)
        os.close(fd)

    def change(self, name: str, real: Any, *given: Any, **named: Any) -> Any:
        done = None if name in ("fsync", "fdatasync") else real(*given, **named)
        match name:
            case "open" | "chmod" | "fchmod" | "utime":
                pass
            case "pwrite" | "ftruncate" | "fsync" | "fdatasync":
                if given[0] in self._open:
                    self.changes.append(_describe(name, self._open[given[0]], *given[1:]))
            case "mkdir":
                place, new = self._find(given[0], named.get("dir_fd"))
                if place is not None:
                    inode = self._make("directory")
                    self._names[inode] = {}
                    self._enter(place, new, inode)
            case "replace" | "rename":
                (source, old), (place, new) = self._find(given[0]), self._find(given[1])
                assert source is not None and place is not None, given
                inode = self._names[source].pop(old)
                self._enter(place, new, inode, old if source == place else "")
                if source != place:
                    self._enter(source, "", ROOT, old)
            case "link":  # of a file without a name, by its descriptor
                place, new = self._find(given[1])
                assert place is not None, given
                self._enter(place, new, self._open[int(os.path.basename(given[0]))])
            case "unlink" | "remove" | "rmdir":
                place, old = self._find(given[0], named.get("dir_fd"))
                if place is not None and self._names[place].pop(old, None) is not None:
                    self._enter(place, "", ROOT, old)
            case _:
                raise AssertionError(f"the model knows no {name}; it knows some of {CHANGING}")
        return done

    def _make(self, kind: str) -> int:
        self._inodes += 1
        self.changes.append(Change(kind, self._inodes))
        return self._inodes

    def _enter(self, place: int, name: str, inode: int, gone: str = "") -> None:
        if name:
            self._names[place][name] = inode
        self.changes.append(Change("name", inode, place, name, gone))

    def _find(self, file: Any, dir_fd: int | None = None) -> tuple[int | None, str]:
        """The directory that holds *file*, if it is one of ours, and its name there."""
        place: int | None = ROOT if dir_fd is None else self._open.get(dir_fd)
        *above, name = (os.path.relpath(file, self.root) if dir_fd is None else os.fspath(file)).split("/")
        for part in above:
            place = self._names.get(-1 if place is None else place, {}).get(part)
        return place if place in self._names else None, name


class _Writer(FileIO):
    """A file that is written through a buffer."""

    def __init__(self, disk: RecordingDisk, fd: int) -> None:
        super().__init__(fd, "w", closefd=False)
        self._disk = disk

    def write(self, data: Any) -> int:
        at = self.seek(0, os.SEEK_CUR)
        return self.seek(self._disk.pwrite(self.fileno(), data, at), os.SEEK_CUR) - at

    def close(self) -> None:
        if not self.closed:
            fd = self.fileno()
            super().close()
            self._disk.close(fd)


def _describe(name: str, inode: int, *given: Any) -> Change:
    """What is done to a file, or that a directory is synced."""
    if name == "pwrite":
        return Change("write", inode, data=bytes(given[0]), at=given[1])
    if name == "ftruncate":
        return Change("size", inode, at=given[0])
    return Change("sync", inode, site=_site())


def _site() -> str:
    """Which line of the package asks for a sync: those that lead to it."""
    frames = [frame for frame in extract_stack() if "/checkpointflow/" in frame.filename]
    return "/".join(f"{frame.name}:{frame.lineno}" for frame in frames[-3:])


class _File:
    """What of a file is safe, and what was done to it since."""

    def __init__(self) -> None:
        self.safe = b""
        self.since: list[Change] = []

    def sync(self) -> None:
        self.safe, self.since = _written(self.safe, self.since), []

    def after_a_cut(self) -> list[bytes]:
        if not self.since:
            return [self.safe]
        whole = _written(self.safe, self.since)
        zeros = [change._replace(data=bytes(len(change.data))) for change in self.since]
        found = {self.safe: None, whole: None, _written(self.safe, zeros): None}
        for n, change in enumerate(self.since):
            half = change._replace(data=change.data[: len(change.data) // 2])
            found[_written(self.safe, self.since[:n])] = found[
                _written(self.safe, [*self.since[:n], half])
            ] = None
        if len(found) > 12:  # a sync is missing: the latest are the likeliest to tell
            return [*list(found)[:4], *list(found)[-6:]]
        return list(found)


class _Names:
    """What of a directory is safe, and what was done to it since: names that come (and one that goes)."""

    def __init__(self) -> None:
        self.safe: dict[str, int] = {}
        self.since: list[tuple[str, int, str]] = []

    def sync(self) -> None:
        self.safe, self.since = self._with(self.since), []

    def _with(self, changes: Any) -> dict[str, int]:
        names = dict(self.safe)
        for name, inode, gone in changes:
            names.pop(gone, None)
            if name:
                names[name] = inode
        return names

    def after_a_cut(self, in_order: bool) -> list[dict[str, int]]:
        since = self.since
        chosen: list[Any] = [since[:n] for n in range(len(since) + 1)]
        if not in_order and len(since) <= 5:
            chosen = [c for n in range(len(since) + 1) for c in combinations(since, n)]
        elif not in_order:
            chosen += [[*since[:n], *since[n + 1 :]] for n in range(len(since))]
        found: list[dict[str, int]] = []
        for changes in chosen:
            names = self._with(changes)
            if names not in found:
                found.append(names)
        return found


def _written(data: bytes, changes: list[Change]) -> bytes:
    content = bytearray(data)
    for change in changes:
        if change.kind == "size":
            content = content[: change.at].ljust(change.at, b"\0")
        else:
            content = (
                content[: change.at].ljust(change.at, b"\0")
                + change.data
                + content[change.at + len(change.data) :]
            )
    return bytes(content)


class Model:
    """The disk, as far as a list of changes has come."""

    def __init__(self) -> None:
        self.inodes: dict[int, _File | _Names] = {ROOT: _Names()}

    def hear(self, change: Change) -> None:
        inode = self.inodes.get(change.place if change.kind == "name" else change.inode)
        match change.kind, inode:
            case "file", _:
                self.inodes[change.inode] = _File()
            case "directory", _:
                self.inodes[change.inode] = _Names()
            case "name", _Names():
                inode.since.append((change.name, change.inode, change.gone))
            case "size" | "write", _File():
                inode.since.append(change)
            case "sync", _File() | _Names():
                inode.sync()

    def after_a_cut(self, in_order: bool) -> Iterator[Tree]:
        """The trees that the machine may find when it is switched on again."""
        count = 0
        for tree in self._below(ROOT, "", in_order):
            files = {inode: file for inode in tree.values() if isinstance(file := self.inodes[inode], _File)}
            for contents in product(*(file.after_a_cut() for file in files.values())):
                by_inode = dict(zip(files, contents, strict=True))
                yield {path: by_inode.get(inode) for path, inode in tree.items()}
                count += 1
                if count > MOST:
                    return

    def _below(self, inode: int, path: str, in_order: bool) -> Iterator[dict[str, int]]:
        """What may be found in the directory *inode*: inodes by paths, which begin with *path*."""
        directory = self.inodes[inode]
        assert isinstance(directory, _Names)
        for names in directory.after_a_cut(in_order):
            here = {path + name: inner for name, inner in names.items()}
            inside = [(f"{p}/", i) for p, i in here.items() if isinstance(self.inodes[i], _Names)]
            for below in product(*(list(self._below(i, p, in_order)) for p, i in inside)):
                yield {p: i for part in (here, *below) for p, i in part.items()}


def materialised(tree: Tree, root: Path) -> None:
    """Make *root*, which is empty, hold *tree*."""
    for path in sorted(tree):
        content = tree[path]
        if content is None:
            (root / path).mkdir(parents=True, exist_ok=True)
        else:
            (root / path).write_bytes(content)
