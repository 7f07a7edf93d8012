"""What was worked out once and can be worked out again, by the digest of what it was worked out from.

An entry is named by that digest together with one of our own code, so that a cpf of another version finds
nothing. It begins with a digest of the rest, so that a damaged one counts as none. Nothing here is synced,
and nothing goes wrong if all of it is missing or cannot be written. What others could have put there is not
looked at.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from msgspec import Struct

from checkpointflow import __version__
from checkpointflow.digests import sha256
from checkpointflow.store.files import describe_sharing, make_private, open_safely, read_all, write_at
from checkpointflow.store.layout import CACHE, RUNS

MAX_ENTRY_BYTES = 4 * 1024 * 1024
MAX_ENTRIES = 100
MAX_AGE_SECONDS = 30 * 86_400.0

_DIGEST_LENGTH = 64
_CODE = Path(__file__).parents[1]
_ROOMS = ("expressions", "shells", "schemas", "documents")


class Cache(Struct, frozen=True):
    """The entries of the store at *base*; None: nothing is found or kept.

    begins: the store is made to keep one, as it is for a run, not for whoever only checks a document.
    """

    base: Path | None
    begins: bool = False

    @classmethod
    def beside(cls, run_directory: Path) -> Cache:
        """That of the store in which the run lies; a run that was copied elsewhere has none."""
        return cls(run_directory.parents[1] if run_directory.parent.name == RUNS else None)

    def find(self, data: bytes) -> bytes | None:
        """What was kept for *data*, if it still is."""
        if self.base is None:
            return None
        name = _name(data)
        try:
            if _is_shared(self.base):
                return None
            with open_safely(self.base / CACHE / name) as fd:
                whole = read_all(fd) if os.fstat(fd).st_size <= MAX_ENTRY_BYTES else b""
        except OSError:
            return None
        digest, entry = whole[:_DIGEST_LENGTH], whole[_DIGEST_LENGTH:]
        return entry if _digest(name, entry) == digest else None

    def keep(self, data: bytes, entry: bytes) -> None:
        """Have *entry* found for *data*, if it can be."""
        if self.base is None or len(entry) + _DIGEST_LENGTH > MAX_ENTRY_BYTES:
            return
        if not (self.begins or self.base.is_dir()):
            return
        name, place = _name(data), self.base / CACHE
        with suppress(OSError):
            make_private(place)
            if not _is_shared(self.base):
                _make_room(place)
                _write(place / name, _digest(name, entry) + entry)

    def clear(self) -> bool:
        """Take away all of it; whether there was anything."""
        with suppress(OSError):
            if self.base is not None and not _is_shared(self.base):
                names = os.listdir(self.base / CACHE)
                for name in names:
                    os.unlink(self.base / CACHE / name)
                return bool(names)
        return False


def find_outdated(base: Path) -> list[Path]:
    """The entries that were made so long ago that few can be of use."""
    place, found = base / CACHE, []
    with suppress(OSError):
        if not _is_shared(base):
            for name in os.listdir(place):
                with suppress(OSError):
                    if time.time() - os.lstat(place / name).st_mtime > MAX_AGE_SECONDS:
                        found.append(place / name)
    return found


def _name(data: bytes) -> str:
    """The name of what this cpf makes of *data*."""
    return sha256(_describe_code() + data).hexdigest()


@cache
def _describe_code() -> bytes:
    """A digest of how the code looks on disk, which stands for what it does."""
    sources = (entry for room in _ROOMS for entry in os.scandir(_CODE / room) if entry.name.endswith(".py"))
    looks = sorted((entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in sources)
    code = repr((__version__, sys.implementation.cache_tag, looks)).encode()
    return sha256(code).digest()


def _digest(name: str, entry: bytes) -> bytes:
    return sha256(name.encode() + entry).hexdigest().encode()


def _is_shared(base: Path) -> bool:
    return (base / CACHE).is_symlink() or any(map(describe_sharing, (base, base / CACHE)))


def _make_room(place: Path) -> None:
    names = os.listdir(place)
    if len(names) >= MAX_ENTRIES:
        by_age = sorted(names, key=lambda name: os.lstat(place / name).st_mtime)
        for name in by_age[: MAX_ENTRIES // 2]:
            os.unlink(place / name)


def _write(file: Path, data: bytes) -> None:
    beside = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        write_at(fd, data, 0)
    finally:
        os.close(fd)
    os.replace(beside, file)
