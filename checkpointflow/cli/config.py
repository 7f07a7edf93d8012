"""What the operator of a store has set: its `config.yaml`. No document and no archive can say any of it.

notify:                            # what is done when a run comes to rest (cli.hooks)
  waiting: mail-the-team
on: temporal://HOST:PORT/NAMESPACE # the cluster that is meant where no other is named
shelf: s3://bucket/prefix          # what its machines share
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
from msgspec import Struct

from checkpointflow.errors import UsageError
from checkpointflow.store.files import describe_sharing, open_safely, read_all
from checkpointflow.store.layout import CONFIG


class Notify(Struct, frozen=True, forbid_unknown_fields=True):
    """A shell command for each state that a run may come to rest in."""

    waiting: str | None = None
    failed: str | None = None
    completed: str | None = None
    cancelled: str | None = None


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """What the operator of a store has set."""

    notify: Notify | None = None
    on: str | None = None
    shelf: str | None = None


def read_config(base: Path) -> Config:
    """The settings of the store at *base*, which has a file of them.

    Raises UsageError for a file that is wrong, or that others may write into.
    """
    file = base / CONFIG
    data, is_ours = _read(base)
    if not is_ours:
        raise UsageError(problem=f"{file} is not read: others may write into it; see: chmod go-w")
    if all(not line.strip() or line.lstrip().startswith(b"#") for line in data.splitlines()):
        return Config()
    from checkpointflow.documents.yaml import parse  # late: most that look here find nothing

    source = parse(data, str(file))
    if source.problems:
        raise UsageError(problem=str(source.problems[0]))
    try:
        return msgspec.convert(source.value, Config)
    except msgspec.ValidationError as error:
        raise UsageError(problem=f"{file}: {error}") from None


def read_cluster_config(base: Path) -> tuple[str | None, str | None]:
    """The cluster and the shelf that are meant in the store at *base* where no others are named.

    A file in which neither stands is not read as YAML. Raises UsageError as `read_config` does, and for a
    shelf that is neither a URL nor a directory from the root on.
    """
    try:  # through a link, too: one that names a cluster is refused, not passed over
        data = (base / CONFIG).read_bytes() if os.path.isfile(base / CONFIG) else b""
    except OSError:
        data = b""  # whoever reads all of it tells
    if b"temporal:" not in data and b"shelf" not in data:
        return None, None
    config = read_config(base)
    if config.shelf and "://" not in config.shelf and not os.path.isabs(config.shelf):
        problem = f"{base / CONFIG}: shelf is a URL, or a directory from the root on, not {config.shelf!r}"
        raise UsageError(problem=problem)
    return config.on or None, config.shelf or None


def _read(base: Path) -> tuple[bytes, bool]:
    """The file, and whether only we can have written it."""
    file = base / CONFIG
    try:
        with open_safely(file) as fd:
            status = os.fstat(fd)
            is_ours = status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            return read_all(fd), is_ours and not describe_sharing(base)
    except OSError as error:
        raise UsageError(problem=f"{file} cannot be read ({error.strerror})") from None
