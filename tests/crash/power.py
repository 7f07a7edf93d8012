"""A model of a disk with a page cache: what a power cut may leave of what was done.

What POSIX promises, and no more: the data of a file is safe once it is synced, a name in a directory once
the directory is. Until then a file may hold what it held before, all of what was written, a part of it, or
zeros of the right length; and of the changes to a directory (a rename is one of them) any may have come
through without the others (*in_order*: none without those before it in the same directory, as the
journals of ext4, xfs and btrfs have it).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import combinations, product
from pathlib import Path
from traceback import extract_stack
from typing import Any, NamedTuple

from checkpointflow.store.layout import LOCK, STEP_LOCK
from tests.crash.disks import CHANGING, FOR_WRITING, Disk

DIRECTORY = -1
MOST = 5_000

Tree = dict[str, bytes | None]  # by path below the root; a directory is None


class Change(NamedTuple):
    """kind: file (a new one), make, size, write, sync, sync_names, move, drop, told; site: of a sync."""

    kind: str
    path: str = ""
    to: str = ""
    inode: int = 0
    at: int = 0
    data: bytes = b""
    site: str = ""
    told: Any = None


class RecordingDisk(Disk):
    """Notes every change below *root*, in order; `tell` puts something else among them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.changes: list[Change] = []
        self._inodes: dict[str, int] = {}
        self._open: dict[int, tuple[str, int]] = {}

    def tell(self, what: Any) -> None:
        self.changes.append(Change("told", told=what))

    def open(self, file: Any, flags: int, *more: Any, **named: Any) -> int:
        if os.path.basename(file) in (LOCK, STEP_LOCK):  # never synced: what stands in one is a hint
            return super().open(file, flags, *more, **named)
        path = self._path(file)
        new = not os.path.exists(file)
        fd = super().open(file, flags, *more, **named)
        if os.path.isdir(file):
            self._open[fd] = (path, DIRECTORY)
            return fd
        if not flags & FOR_WRITING and path in self._inodes:
            self._open[fd] = (path, self._inodes[path])
        if flags & FOR_WRITING:
            if new:
                self._inodes[path] = len(self.changes) + 1
                self.changes.append(Change("file", path, inode=self._inodes[path]))
            elif flags & os.O_TRUNC:
                self.changes.append(Change("size", inode=self._inodes[path]))
            if path in self._inodes:
                self._open[fd] = (path, self._inodes[path])
        return fd

    def close(self, fd: int) -> None:
        self._open.pop(fd, None)
        os.close(fd)

    def change(self, name: str, real: Any, *given: Any, **named: Any) -> Any:
        done = None if name in ("fsync", "fdatasync") else real(*given, **named)
        if name == "open" or name in ("chmod", "fchmod", "utime"):
            return done
        if name in ("pwrite", "ftruncate", "fsync", "fdatasync"):
            if given[0] in self._open:
                self.changes.append(self._to_file(name, *self._open[given[0]], *given[1:]))
            return done
        path = self._path(given[0])
        match name:
            case "mkdir":
                self.changes.append(Change("make", path))
            case "replace" | "rename":
                to = self._path(given[1])
                self._inodes[to] = self._inodes.pop(path)
                self.changes.append(Change("move", path, to, self._inodes[to]))
            case "unlink" | "remove":
                self._inodes.pop(path, None)
                self.changes.append(Change("drop", path))
            case _:
                raise AssertionError(f"the model knows no {name}; it knows some of {CHANGING}")
        return done

    def _to_file(self, name: str, path: str, inode: int, *given: Any) -> Change:
        if name == "pwrite":
            return Change("write", inode=inode, data=bytes(given[0]), at=given[1])
        if name == "ftruncate":
            return Change("size", inode=inode, at=given[0])
        if inode == DIRECTORY:
            return Change("sync_names", path, site=_site())
        return Change("sync", inode=inode, site=_site())

    def _path(self, file: Any) -> str:
        return os.path.relpath(file, self.root)


def _site() -> str:
    """Which line of the store asks for a sync: the functions that lead to it."""
    frames = [frame.name for frame in extract_stack() if "checkpointflow/store/" in frame.filename]
    names = [name for name in frames if not name.startswith("<")]
    return "/".join(names[-3:])


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
            found[_written(self.safe, [*self.since[:n], half])] = None
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
        self.files: dict[int, _File] = {}
        self.directories: dict[str, _Names] = {".": _Names()}

    def hear(self, change: Change) -> None:
        match change.kind:
            case "file":
                self.files[change.inode] = _File()
                self._entry(change.path, change.inode)
            case "make":
                self.directories[change.path] = _Names()
                self._entry(change.path, DIRECTORY)
            case "size" | "write":
                self.files[change.inode].since.append(change)
            case "sync":
                self.files[change.inode].sync()
            case "sync_names":
                if change.path in self.directories:
                    self.directories[change.path].sync()
            case "move":
                assert os.path.dirname(change.path) == os.path.dirname(change.to)
                self._entry(change.to, change.inode, os.path.basename(change.path))
            case "drop":
                self._entry("", 0, change.path)

    def _entry(self, path: str, inode: int, gone: str = "") -> None:
        place = os.path.dirname(path or gone) or "."
        self.directories[place].since.append((os.path.basename(path), inode, os.path.basename(gone)))

    def after_a_cut(self, in_order: bool) -> Iterator[Tree]:
        """The trees that the machine may find when it is switched on again."""
        count = 0
        for tree in self._below(".", in_order):
            inodes = sorted({inode for inode in tree.values() if inode != DIRECTORY})
            for contents in product(*(self.files[inode].after_a_cut() for inode in inodes)):
                by_inode = dict(zip(inodes, contents, strict=True))
                yield {path: by_inode.get(inode) for path, inode in tree.items()}
                count += 1
                if count > MOST:
                    return

    def _below(self, place: str, in_order: bool) -> Iterator[dict[str, int]]:
        for names in self.directories[place].after_a_cut(in_order):
            inner = [os.path.normpath(f"{place}/{n}") for n, inode in names.items() if inode == DIRECTORY]
            here = {os.path.normpath(f"{place}/{name}"): inode for name, inode in names.items()}
            for below in product(*(list(self._below(path, in_order)) for path in inner)):
                yield {p: i for part in (here, *below) for p, i in part.items()}


def materialised(tree: Tree, root: Path) -> None:
    """Make *root*, which is empty, hold *tree*."""
    for path in sorted(tree):
        content = tree[path]
        if content is None:
            (root / path).mkdir(parents=True, exist_ok=True)
        else:
            (root / path).write_bytes(content)
