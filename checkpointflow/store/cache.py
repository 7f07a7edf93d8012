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
            _require_private(self.base)
            with open_safely(self.base / CACHE / name) as fd:
                whole = read_all(fd, MAX_ENTRY_BYTES)
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
            entries = _list_by_age(self.base)
            for _, outdated in entries[: MAX_ENTRIES // 2] if len(entries) >= MAX_ENTRIES else ():
                outdated.unlink()
            _write(place / name, _digest(name, entry) + entry)

    def clear(self) -> bool:
        """Take away all of it; whether there was anything."""
        with suppress(OSError):
            entries = [] if self.base is None else _list_by_age(self.base)
            for _, entry in entries:
                entry.unlink()
            return bool(entries)
        return False


def find_outdated(base: Path) -> list[Path]:
    """The entries that were made so long ago that few can be of use."""
    with suppress(OSError):
        return [entry for made, entry in _list_by_age(base) if time.time() - made > MAX_AGE_SECONDS]
    return []


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


def _require_private(base: Path) -> None:
    """Raise OSError if others could have put entries into the store at *base*."""
    if (base / CACHE).is_symlink() or any(map(describe_sharing, (base, base / CACHE))):
        raise PermissionError


def _list_by_age(base: Path) -> list[tuple[float, Path]]:
    """The entries of the store at *base*, the oldest first, and when each was made. Raises OSError."""
    _require_private(base)
    return sorted((os.lstat(entry).st_mtime, entry) for entry in (base / CACHE).iterdir())


def _write(file: Path, data: bytes) -> None:
    beside = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        write_at(fd, data, 0)
    finally:
        os.close(fd)
    os.replace(beside, file)
