"""`cpf artifacts`: what the steps of a run left behind, listed or copied out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from msgspec import Struct

from checkpointflow.cli.completing import complete, complete_file
from checkpointflow.cli.envelope import Reply, wrap_run
from checkpointflow.cli.following import make_next
from checkpointflow.cli.options import run_options
from checkpointflow.engine.actions import StoredFile
from checkpointflow.engine.facts import StepSucceeded
from checkpointflow.engine.path import is_path
from checkpointflow.engine.run import Run
from checkpointflow.errors import FileAlreadyThere, StateCorrupt, UsageError
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import make_private, open_safely, reach, sync_file, translate_errors
from checkpointflow.store.layout import HISTORY, is_artifact

MAX_SHOWN = 5
BLOCK_BYTES = 1 << 20


class Kept(Struct, frozen=True):
    """An artifact of the step at the path *step*: its files by their names, "" for one that is a file."""

    step: str
    name: str
    files: dict[str, StoredFile]


def list_artifacts(directory: RunDirectory, run: Run) -> list[Kept]:
    """What steps of *run* declared, each visit by itself, in the order in which they ended."""
    found: dict[tuple[str, str], dict[str, StoredFile]] = {}
    for fact in directory.facts(run):
        if isinstance(fact, StepSucceeded):
            for key, file in fact.artifacts.items():
                name, _, inner = key.partition("/")
                if not (is_path(fact.path) and _is_plain(key, file.path) and is_artifact(file.path)):
                    raise StateCorrupt(file=directory.place / HISTORY, problem=f"{key!r} names no artifact")
                found.setdefault((fact.path, name), {})[inner] = file
    return [Kept(step, name, files) for (step, name), files in found.items()]


def _is_plain(*names: str) -> bool:
    """Whether *names* lead nowhere but below where they are looked for: anybody may have written them."""
    return not any("\0" in name or {"", ".", ".."}.intersection(name.split("/")) for name in names)


@click.command()
@run_options()
@click.argument("name", required=False, shell_complete=complete("list_artifact_names"))
@click.option("--step", metavar="PATH", help="Only of this step.", shell_complete=complete("list_step_paths"))
@click.option(
    "-o", "--output", metavar="DIR", help="Copy them into this directory.", shell_complete=complete_file
)
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
def command(
    directory: RunDirectory, name: str | None, step: str | None, output: str | None, force: bool
) -> Reply:
    """List what the steps of a run left behind, or one artifact with its files; -o DIR copies it out.

    DIR/NAME is then the file, or the directory of a set of files; without NAME all are copied, each into a
    directory of its step. What is copied has been checked against its digest.
    """
    run = directory.load()
    known = list_artifacts(directory, run)
    kept = [one for one in known if name in (None, one.name) and step in (None, one.step)]
    if not kept and (name or step):
        raise UsageError(problem=_describe_lack(known, name, step))
    if output is None:
        rows = [row for one in kept for row in _list_rows(one, directory, each=name is not None)]
        first = kept[0] if kept and not name else None
        lines = () if first is None else (_offer(directory, first, kept),)
        return wrap_run("artifacts", run, directory, exit_code=0, result={"artifacts": rows}, next=lines)
    if name and len(kept) > 1:
        steps = ", ".join(one.step for one in kept[:MAX_SHOWN])
        raise UsageError(problem=f"several steps have the artifact {name}, so say which by --step: {steps}")
    copied = _copy_all(kept, directory, Path(output), force=force, by_step=name is None)
    return wrap_run("artifacts", run, directory, exit_code=0, result={"artifacts": copied})


def _describe_lack(kept: list[Kept], name: str | None, step: str | None) -> str:
    what = f"no artifact {name}" if name else "no artifact"
    others = ", ".join(dict.fromkeys(one.name for one in kept[:MAX_SHOWN])) or "none"
    return f"the run has {what}{f' of the step {step}' if step else ''}; there are: {others}"


def _offer(directory: RunDirectory, first: Kept, kept: list[Kept]) -> Any:
    is_one_of_many = sum(one.name == first.name for one in kept) > 1
    which = ["--step", first.step] if is_one_of_many else []
    return make_next(directory, "copy it into this directory", "artifacts", first.name, *which, "-o", ".")


def _list_rows(kept: Kept, directory: RunDirectory, *, each: bool) -> Iterator[dict[str, Any]]:
    """What is told of it: of a set the whole, or *each* of its files."""
    if "" in kept.files or each:
        for inner, file in kept.files.items():
            yield _describe(kept.step, f"{kept.name}/{inner}".rstrip("/"), file, directory.place / file.path)
        return
    inner, file = next(iter(kept.files.items()))
    place = directory.place / file.path.removesuffix(f"/{inner}")
    size = sum(file.size for file in kept.files.values())
    yield {"step": kept.step, "name": kept.name, "files": len(kept.files), "size": size, "file": str(place)}


def _describe(step: str, name: str, file: StoredFile, place: Path) -> dict[str, Any]:
    media_type = {"media_type": file.media_type} if file.media_type else {}
    return {
        "step": step,
        "name": name,
        "size": file.size,
        **media_type,
        "sha256": file.sha256,
        "file": str(place),
    }


def _copy_all(
    kept: list[Kept], directory: RunDirectory, output: Path, *, force: bool, by_step: bool
) -> list[dict[str, Any]]:
    """Copy all of it into *output*; what is told of that. Raises FileAlreadyThere with nothing written."""
    wanted = {
        f"{f'{one.step}/' if by_step else ''}{one.name}/{inner}".rstrip("/"): (one, file)
        for one in kept
        for inner, file in one.files.items()
    }
    for name in () if force else wanted:
        if os.path.lexists(output / name):
            raise FileAlreadyThere(file=output / name)
    with translate_errors(output):
        make_private(output)
        for name, (_, file) in wanted.items():
            _copy(directory, file, output, name, force=force)
    return [_describe(one.step, name, file, output / name) for name, (one, file) in wanted.items()]


def _copy(directory: RunDirectory, file: StoredFile, output: Path, name: str, *, force: bool) -> None:
    """Make *name* below *output* a private copy of *file*, whole or not at all. Raises StateCorrupt."""

    def write(last: str, above: int | None) -> None:
        head, tail = os.path.split(last)
        beside = os.path.join(head, f".{tail[:200]}.{os.getpid()}.tmp")
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=above)
        try:
            with os.fdopen(fd, "wb") as copy, open_safely(directory.file(file.path)) as original:
                _copy_checked(original, copy, file, directory)
            if force:
                os.replace(beside, last, src_dir_fd=above, dst_dir_fd=above)
            else:
                os.link(beside, last, src_dir_fd=above, dst_dir_fd=above)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(beside, dir_fd=above)

    reach(output, name, write, make=True)


def _copy_checked(original: int, copy: Any, file: StoredFile, directory: RunDirectory) -> None:
    from hashlib import sha256  # late, as where they are kept

    digest = sha256()
    while block := os.read(original, BLOCK_BYTES):
        copy.write(block)
        digest.update(block)
    if digest.hexdigest() != file.sha256:
        raise StateCorrupt(
            file=directory.place / file.path, problem="its contents were changed: the digest differs"
        )
    copy.flush()
    sync_file(copy.fileno())
