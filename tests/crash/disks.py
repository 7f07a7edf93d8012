"""Disks that fail as real ones do, between the driver and the operating system.

A disk stands in for the module `os` of the modules that touch the disk: what it does not name goes straight
through.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import checkpointflow.cli.export
import checkpointflow.drivers.command
import checkpointflow.drivers.local
import checkpointflow.drivers.sources  # noqa: F401, all modules that touch the disk

LONG = os.environ.get("CPF_LONG") == "1"
CHUNK = 12  # how many outputs of a foreach are sealed at once here

CHANGING = (
    "write", "writev", "pwrite", "ftruncate", "truncate", "fsync", "fdatasync", "replace", "rename", "link",
    "symlink", "mkdir", "rmdir", "unlink", "remove", "chmod", "fchmod", "utime",
)  # fmt: skip
MOUNTING = ("checkpointflow.store.", "checkpointflow.drivers.", "checkpointflow.cli.export", "shutil")
FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Died(BaseException):
    """The machine stopped here; nothing in it can catch that."""


class Disk:
    """The module `os`, with every operation that changes something going through `change`."""

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in CHANGING:
            return real
        return lambda *given, **named: self.change(name, real, *given, **named)

    def open(self, file: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & FOR_WRITING:
            return self.change("open", os.open, file, flags, *more, **named)
        self.look()
        return os.open(file, flags, *more, **named)

    def makedirs(self, name: Any, mode: int = 0o777, exist_ok: bool = False) -> None:
        parent = os.path.dirname(name)
        if parent and not os.path.exists(parent):
            self.makedirs(parent, exist_ok=True)
        if not (exist_ok and os.path.isdir(name)):
            self.mkdir(name, mode)

    def change(self, name: str, real: Any, *given: Any, **named: Any) -> Any:
        return real(*given, **named)

    def look(self) -> None:
        """Something is read."""

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """Within it the driver works on this disk."""
        with pytest.MonkeyPatch.context() as patch:
            for name, module in list(sys.modules.items()):
                if name.startswith(MOUNTING) and hasattr(module, "os"):
                    patch.setattr(module, "os", self)
            yield


class DyingDisk(Disk):
    """Stops the machine after its *after*-th change (None: never); *torn*: half-way through that change."""

    def __init__(self, after: int | None = None, torn: bool = False) -> None:
        self.after, self.torn = after, torn
        self.done: list[str] = []
        self.dead = after == 0

    def change(self, name: str, real: Any, *given: Any, **named: Any) -> Any:
        self.look()
        self.done.append(name)
        last = len(self.done) == self.after
        if last and self.torn and "write" in name:
            fd, data, *offset = given
            given = (fd, bytes(data)[: len(data) // 2], *offset)
        if name in ("fsync", "fdatasync"):
            self.dead = last  # no power cut: what was written stays, synced or not
            result = None
        else:
            result = real(*given, **named)
            self.dead = last
        if last:
            raise Died(f"after {name}, change {self.after}")
        return result

    def look(self) -> None:
        if self.dead:
            raise Died
