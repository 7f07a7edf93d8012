"""What the machines of a cluster share: files by name, in a directory that all see or in an object store.

A name is a relative path, `runs/ID/…`. What lies under it is put there whole or not at all, so that nobody
ever reads a part. The place itself is named by a URL: a path (or `file:`) is a directory, in which a run's
files lie as those of a local run do; `s3:`, `gs:` and `az:` are object stores, by `obstore`, which takes
credentials from the environment. From there files are fetched, and sent back.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import unquote

from checkpointflow.errors import PersistenceError, UsageError
from checkpointflow.store.files import (
    BLOCK_BYTES,
    create_anew,
    explain,
    locate,
    make_lasting,
    make_private,
    open_safely,
    reach,
    read_all,
    refuse_shared,
    sync_file,
    sync_names,
    translate_errors,
)
from checkpointflow.store.layout import RUNS, SENDING

if TYPE_CHECKING:
    from obstore.store import ObjectStore

OBJECT_STORES = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}
"""What the names of their environment variables begin with, by scheme."""
SCHEMES = ("file", *OBJECT_STORES)
CLIENT_OPTIONS = (
    *("allow_http", "allow_invalid_certificates", "root_certificate", "connect_timeout", "read_timeout"),
    *("timeout", "proxy_url", "proxy_ca_certificate", "proxy_excludes", "user_agent"),
)
_NO_STORE = "NoSuchBucket|ContainerNotFound"  # which says nothing of the name
MAX_NAME = 4096
MAX_SENDING_SECONDS = 86_400.0
MAX_RETRIES, MAX_RETRY_SECONDS, MAX_SILENT_SECONDS, MAX_REQUEST_SECONDS = 4, 20, 30, 3600
MAX_CLAIMS = 10
MAX_AT_ONCE = 1000


Fill = Callable[[IO[bytes]], object]
"""Writes what a file is to hold."""


class Listed(NamedTuple):
    """A file on a shelf. size: in bytes; version: what changes with its contents; "": that is not told."""

    name: str
    size: int
    version: str = ""


class Shelf(Protocol):
    """Files by name. All methods may be called by several threads, and raise PersistenceError."""

    url: str
    """As it can be given again: a directory by its path from the root on."""

    def read(self, name: str) -> bytes:
        """The contents of *name*. Raises FileNotFoundError."""

    def write(self, name: str, data: bytes) -> None:
        """Put *data* under *name*, whole or not at all; returns once it would survive a power cut."""

    def claim(self, name: str, data: bytes) -> bytes:
        """Put *data* under *name* unless something is there; returns what is there then."""

    def list(self, prefix: str) -> Iterator[Listed]:
        """All that lies below the folder *prefix*."""

    def fetch(self, name: str, to: Path) -> bool:
        """Make the file *to*, private and whole, a copy of *name*; False: it is not there."""

    def send(self, name: str, file: Path) -> None:
        """Put what *file* holds under *name*, as `write` does; it is not read as a whole."""

    def remove(self, prefix: str) -> None:
        """Take away all below the folder *prefix*."""

    def find_place(self, run_id: str) -> Path | None:
        """The directory where the files of a run lie themselves, made if need be; None: they are fetched."""


def open_shelf(url: str, *, allow_shared: bool = False) -> Shelf:
    """The shelf that *url* names; nothing is made of it yet.

    Raises UsageError for what names none, PersistenceError for a directory into which others may write.
    """
    scheme, colon, rest = url.partition("://")
    if not url:
        raise UsageError(problem="the shelf is named by nothing; give a directory or a URL")
    if not colon:
        return DirectoryShelf(locate(url), allow_shared=allow_shared)
    if scheme == "file":
        return DirectoryShelf(_find_path(rest), allow_shared=allow_shared)
    if scheme not in (*SCHEMES, "memory"):
        raise UsageError(problem=f"a shelf is a directory or {'://, '.join(SCHEMES)}://, not {scheme}://…")
    if set(rest) & set("@?#"):  # not shown: it may be a secret
        problem = f"after {scheme}:// of the shelf stand only names; credentials come from the environment"
        raise UsageError(problem=problem)
    return ObjectShelf(url.rstrip("/") if rest else url)


def _find_path(rest: str) -> Path:
    if not rest.startswith("/"):
        raise UsageError(problem=f"file://{rest}: a path from the root on is needed: file:///PATH")
    return locate(unquote(rest))


def _check_name(url: str, name: str) -> str:
    """*name*, which leads nowhere but below the shelf. Raises PersistenceError."""
    if len(name) > MAX_NAME or "\0" in name or {"", ".", ".."} & set(name.split("/")):
        raise PersistenceError(file=url, problem=f"{name[:200]!r} is no name of a file there")
    return name


def _settle_claim(shelf: Shelf, name: str, put: Callable[[], None]) -> bytes:
    """What is under *name* once *put* has tried to have something there."""
    for _ in range(MAX_CLAIMS):
        put()
        with suppress(FileNotFoundError):  # somebody has removed it, or is only about to put it there
            return shelf.read(name)
    raise PersistenceError(file=shelf.url, problem=f"{name}: it is taken away again and again")


class DirectoryShelf:
    """A directory that all machines see. Below it no symbolic link is followed."""

    def __init__(self, base: Path, *, allow_shared: bool = False) -> None:
        self.base, self.url = base, str(base)
        if base.exists():
            refuse_shared(allow_shared, base)

    def read(self, name: str) -> bytes:
        with self._tell(name), self._open(name) as fd:
            return read_all(fd)

    def write(self, name: str, data: bytes) -> None:
        self._put(name, lambda out: out.write(data), _replace)

    def claim(self, name: str, data: bytes) -> bytes:
        return _settle_claim(self, name, lambda: self._put(name, lambda out: out.write(data), _link))

    def list(self, prefix: str) -> Iterator[Listed]:
        _check_name(self.url, prefix)
        with suppress(FileNotFoundError), self._tell(prefix):
            for name, size in reach(self.base, prefix, _walk):
                yield Listed(f"{prefix}/{name}", size)

    def fetch(self, name: str, to: Path) -> bool:
        try:
            with self._tell(name), self._open(name) as source:
                _save(to, lambda out: _copy(source, out))
        except FileNotFoundError:
            return False
        return True

    def send(self, name: str, file: Path) -> None:
        with translate_errors(file), open_safely(file) as source:
            self._put(name, lambda out: _copy(source, out), _replace)

    def remove(self, prefix: str) -> None:
        _check_name(self.url, prefix)
        with suppress(FileNotFoundError), self._tell(prefix):
            reach(self.base, prefix, lambda last, above: shutil.rmtree(last, dir_fd=above))

    def find_place(self, run_id: str) -> Path | None:
        name = _check_name(self.url, f"{RUNS}/{run_id}")
        with translate_errors(self.base / name):
            make_lasting(self.base)
            reach(self.base, f"{name}/-", lambda *_: None, make=True)
            sync_names(self.base, [name])
        return self.base / name

    def _open(self, name: str) -> open_safely:
        return reach(self.base, _check_name(self.url, name), open_safely)

    def _put(self, name: str, fill: Fill, settle: Callable[[Path, str, int | None], None]) -> None:
        """Have *settle* give what *fill* writes its *name*, told as the last part and what holds it."""
        _check_name(self.url, name)
        with translate_errors(self.base / name):
            with self._make_beside() as beside:
                _write_private(beside, fill, is_lasting=True)
                reach(self.base, name, lambda last, above: settle(beside, last, above), make=True)
            sync_names(self.base, [name])

    @contextmanager
    def _make_beside(self) -> Iterator[Path]:
        """The name of a new file, which is gone in the end. What crashes have left goes after a day."""
        place = self.base / SENDING
        make_lasting(place)
        for left in os.scandir(place):
            with suppress(FileNotFoundError):
                if time.time() - left.stat(follow_symlinks=False).st_mtime > MAX_SENDING_SECONDS:
                    os.unlink(left)
        beside = place / os.urandom(16).hex()
        try:
            yield beside
        finally:
            with suppress(FileNotFoundError):
                os.unlink(beside)

    @contextmanager
    def _tell(self, name: str) -> Iterator[None]:
        """What goes wrong with *name* is told, but that it is not there is for the caller to say."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise PersistenceError(file=self.base / name, problem=explain(error)) from error


def _write_private(file: Path, fill: Fill, *, is_lasting: bool) -> None:
    with os.fdopen(create_anew(file), "wb") as out:
        fill(out)
        out.flush()
        if is_lasting:
            sync_file(out.fileno())


def _replace(beside: Path, last: str, above: int | None) -> None:
    os.replace(beside, last, dst_dir_fd=above)


def _link(beside: Path, last: str, above: int | None) -> None:
    with suppress(FileExistsError):  # also where only the answer of a file server was lost
        os.link(beside, last, dst_dir_fd=above)


def _walk(last: str, above: int | None) -> list[tuple[str, int]]:
    """The regular files below the directory *last*, by their paths from there, and their sizes."""
    found = []
    for inner, _, names, fd in os.fwalk(last, dir_fd=above, onerror=_refuse_unreadable):
        for name in names:
            with suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    found.append((os.path.relpath(os.path.join(inner, name), last), status.st_size))
    return found


def _refuse_unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _copy(source: int, target: IO[bytes]) -> None:
    while block := os.read(source, BLOCK_BYTES):
        target.write(block)


def _save(to: Path, fill: Fill) -> None:
    """Make *to* what *fill* writes, whole or not at all. It is a copy, and need not survive a power cut."""
    with translate_errors(to):
        make_private(to.parent)
        beside = to.with_name(f".{os.urandom(16).hex()}.tmp")
        try:
            _write_private(beside, fill, is_lasting=False)
            os.replace(beside, to)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(beside)


class ObjectShelf:
    """An object store: what a worker needs of it is fetched before a step, and sent after it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._store = _open_store(url)

    def read(self, name: str) -> bytes:
        import obstore

        with self._tell(name, may_lack=True):
            return bytes(obstore.get(self._store, name).bytes())

    def write(self, name: str, data: bytes) -> None:
        self._put(name, data)

    def claim(self, name: str, data: bytes) -> bytes:
        return _settle_claim(self, name, lambda: self._put_new(name, data))

    def list(self, prefix: str) -> Iterator[Listed]:
        import obstore

        with self._tell(prefix):
            for page in obstore.list(self._store, prefix, chunk_size=MAX_AT_ONCE):
                yield from (Listed(str(f["path"]), f["size"], f["e_tag"] or "") for f in page)

    def fetch(self, name: str, to: Path) -> bool:
        import obstore

        def fill(out: IO[bytes]) -> None:
            with self._tell(name):
                for block in found.stream(min_chunk_size=BLOCK_BYTES):
                    out.write(block)

        try:
            with self._tell(name, may_lack=True):
                found = obstore.get(self._store, name)
        except FileNotFoundError:
            return False
        _save(to, fill)
        return True

    def send(self, name: str, file: Path) -> None:
        with translate_errors(file), open_safely(file) as fd, os.fdopen(fd, "rb", closefd=False) as source:
            self._put(name, source)

    def remove(self, prefix: str) -> None:
        import obstore

        names = [found.name for found in self.list(prefix)]
        for start in range(0, len(names), MAX_AT_ONCE):
            with suppress(FileNotFoundError), self._tell(prefix, may_lack=True):  # another removes it, too
                obstore.delete(self._store, names[start : start + MAX_AT_ONCE])

    def find_place(self, run_id: str) -> Path | None:  # noqa: ARG002
        return None

    def _put(self, name: str, data: bytes | IO[bytes]) -> None:
        import obstore

        with self._tell(name):
            obstore.put(self._store, name, data)

    def _put_new(self, name: str, data: bytes) -> None:
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._tell(name), suppress(AlreadyExistsError):  # also where only the first answer was lost
            obstore.put(self._store, name, data, mode="create")

    @contextmanager
    def _tell(self, name: str, *, may_lack: bool = False) -> Iterator[None]:
        """What goes wrong with *name* is told; *may_lack*: that it is not there is for the caller to say."""
        from obstore.exceptions import BaseError

        _check_name(self.url, name)
        try:
            yield
        except (BaseError, ValueError, OSError, NotImplementedError) as error:
            if may_lack and isinstance(error, FileNotFoundError) and not re.search(_NO_STORE, str(error)):
                raise
            shown = name if name.isprintable() else repr(name)
            raise PersistenceError(file=self.url, problem=f"{shown}: {_describe(error)}") from None


def _open_store(url: str) -> ObjectStore:
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError:
        raise UsageError(problem=f"{url} needs: pip install 'checkpointflow[s3]'") from None
    from datetime import timedelta

    options: dict[str, Any] = {}
    if prefix := OBJECT_STORES.get(url.partition(":")[0]):
        retries = {"max_retries": MAX_RETRIES, "retry_timeout": timedelta(seconds=MAX_RETRY_SECONDS)}
        options = {"retry_config": retries, "client_options": _make_client_options(prefix)}
    try:
        store: ObjectStore = from_url(url, **options)
    except (BaseError, ValueError) as error:
        raise UsageError(problem=f"{url} is no shelf: {_describe(error)}") from None
    return store


def _make_client_options(prefix: str) -> dict[str, Any]:
    """How long a connection may take, and what the environment says of it, which obstore would forget."""
    asked = {name: os.environ.get(f"{prefix}_{name.upper()}") for name in CLIENT_OPTIONS}
    times = {"read_timeout": f"{MAX_SILENT_SECONDS}s", "timeout": f"{MAX_REQUEST_SECONDS}s"}
    return times | {name: value for name, value in asked.items() if value}


def _describe(error: Exception) -> str:
    """What *error* says of itself, and the server in XML, without what may be a secret in a URL."""
    text = str(error).partition("\n\nDebug source")[0]
    said = re.search(r"<Message>([^<]+)", text)
    first = re.split(r"[\n<]", text)[0].removeprefix("Generic ").rstrip(": ")
    return re.sub(r"\?[^\s\"']+", "?…", first) + (f": {said[1]}" if said else "")
