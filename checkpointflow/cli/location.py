"""Where runs lie, which one is meant, and how another cpf finds it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from checkpointflow.errors import CheckpointflowError, UsageError
from checkpointflow.store.files import locate
from checkpointflow.store.layout import CONFIG, is_run_id
from checkpointflow.store.store import LATEST, Store

if TYPE_CHECKING:
    from checkpointflow.store.directory import RunDirectory

ALLOW_SHARED = "checkpointflow.allow_shared"
ON, SHELF = "checkpointflow.on", "checkpointflow.shelf"
RUN, STORE, PROGRESS = "directory", "store", "progress"
BASE_DIR_VARIABLE = "CHECKPOINTFLOW_BASE_DIR"

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-")


def find_store(base_dir: str | None) -> Store:
    """The store that is meant: a directory, or a cluster. Raises UsageError where there can be none."""
    here = find_own_store(base_dir)
    on, shelf = find_cluster(here.base)
    return here if on is None else _find_hosted(on, shelf, here)


def find_cluster(base: Path) -> tuple[str | None, str | None]:
    """The URLs of the cluster and of the shelf that are meant, as far as they are said."""
    context = click.get_current_context(silent=True)
    meta = {} if context is None else context.meta
    return _complete_cluster(meta.get(ON), meta.get(SHELF), base)


def _complete_cluster(on: str | None, shelf: str | None, base: Path) -> tuple[str | None, str | None]:
    if on is None and os.path.lexists(base / CONFIG):
        from checkpointflow.cli.config import read_cluster_config  # late: few stores have one

        on, named = read_cluster_config(base)
        shelf = shelf or named
    return on or None, shelf  # "" means this machine, whatever the store says


def _find_hosted(on: str, shelf: str | None, here: Store) -> Store:
    context = click.get_current_context()
    kept: dict[str, Any] = (
        {} if context.obj is None else context.obj
    )  # a shell that completes a word has none
    if STORE not in kept:
        from checkpointflow.drivers.temporal.address import parse_address
        from checkpointflow.drivers.temporal.shelf import open_shelf

        address, opened = parse_address(on), open_shelf(shelf or str(here.base))
        try:
            from checkpointflow.drivers.temporal.hosted import Cluster, HostedStore
        except ImportError:
            raise UsageError(problem="a cluster needs: pip install 'checkpointflow[temporal]'") from None
        kept[STORE] = HostedStore(Cluster(address, opened), here.base)
    store: Store = kept[STORE]
    return store


def find_own_store(base_dir: str | None) -> Store:
    """The store on this machine. Raises UsageError where there can be none."""
    named = base_dir or os.environ.get(BASE_DIR_VARIABLE)
    if named:
        return Store(locate(named), allow_shared=allows_shared())
    default = _find_default()
    if default is None:
        problem = "there is no home directory to store runs in"
        if "HOME" in os.environ:
            problem = f"HOME is {os.environ['HOME']!r}, no path from the root on, so {problem}"
        raise UsageError(problem=f"{problem}; set --base-dir or {BASE_DIR_VARIABLE}")
    return Store(locate(default), allow_shared=allows_shared())


def find_run(run_id: str | None, run_dir: str | None, base_dir: str | None) -> RunDirectory:
    """The run that is meant. Raises UsageError, RunNotFound."""
    if (run_id is None) == (run_dir is None):
        raise UsageError(problem=f"name the run: its id, or the end of it, or {LATEST}; or with --run-dir")
    if run_dir is None:
        return note_run(find_store(base_dir).find(str(run_id)))
    if base_dir is not None:
        raise UsageError(problem="--base-dir goes with --run-id; --run-dir names the run by itself")
    from checkpointflow.store.directory import RunDirectory

    return note_run(RunDirectory.at(Path(run_dir), allow_shared=allows_shared()))


def note_run(directory: RunDirectory) -> RunDirectory:
    """*directory*, of which an error of this command will tell, whatever it is."""
    context = click.get_current_context(silent=True)
    if context is not None:
        context.obj[RUN] = directory
    return directory


def allows_shared() -> bool:
    """Whether the command that runs was given `--allow-shared`."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(ALLOW_SHARED))


def is_hosted() -> bool:
    """Whether a cluster is named, so that steps run where its workers are."""
    return find_cluster(find_own_store(None).base)[0] is not None


def command_for(command: str, directory: RunDirectory, *more: str) -> str:
    """A shell line that has *command* done to the run in *directory*, from any directory and environment."""
    return join_line(name_command(command, directory, *more))


def name_worker(directory: RunDirectory) -> str:
    """A shell line that works for the cluster which *directory* is a run of."""
    return join_line(["cpf", *directory.reached_by, "worker"])


def join_line(words: Iterable[str]) -> str:
    """*words* as a line for a shell; `shlex`, which does the same, compiles a pattern first."""
    return " ".join(
        word if word and _PLAIN.issuperset(word) else "'" + word.replace("'", "'\"'\"'") + "'"
        for word in words
    )


def name_command(command: str, directory: RunDirectory, *more: str) -> list[str]:
    """The words of that line."""
    run, where = _name(directory, _find_default())
    return ["cpf", *directory.reached_by, command, *run, *where, *more]


def list_place(directory: RunDirectory) -> list[str]:
    """The options that name the store which *directory* is in, unless it is the usual one."""
    return _name(directory, _find_default())[1]


def shorten_lines(text: str, directory: RunDirectory) -> str:
    """*text*, and the run in *directory* in the lines of `command_for` as a person here would name it."""
    run, where = _name(directory, _find_default())
    if directory.reached_by:
        return _shorten_place(text, directory.reached_by)
    if "--run-dir" in run:
        return text
    import re  # late: only people are told so

    here = _find_usual()
    short = join_line([find_short_id(directory), *_name(directory, here)[1]])
    long = re.escape(join_line([*run, *where]))
    return re.sub(rf"(cpf [a-z-]+ ){long}(?![^\s\x1b])", lambda found: found[1] + short, text)


def _shorten_place(text: str, words: tuple[str, ...]) -> str:
    """*text* without *words*, which name a cluster, in its lines, where the same is meant without them."""
    from checkpointflow.drivers.temporal.address import parse_address
    from checkpointflow.drivers.temporal.shelf import open_shelf

    here = _find_usual()
    try:
        on, shelf = _complete_cluster(os.environ.get("CPF_ON"), os.environ.get("CPF_SHELF"), here or Path())
        usual = ("--on", str(parse_address(on or "")), "--shelf", open_shelf(shelf or str(here)).url)
    except CheckpointflowError:  # nothing is meant then
        return text
    return text.replace(f"cpf {join_line(words)} ", "cpf ") if words == usual else text


def _find_usual() -> Path | None:
    """The store that is meant where nothing is said."""
    named = os.environ.get(BASE_DIR_VARIABLE)
    return Path(named).absolute() if named else _find_default()


def _name(directory: RunDirectory, default: Path | None) -> tuple[list[str], list[str]]:
    """The words that name the run in *directory*, and its store unless that is *default*."""
    place, shared = directory.place, ["--allow-shared"] if directory.allow_shared else []
    if directory.reached_by:
        return [place.name], []
    if place.parent.name != "runs" or not is_run_id(place.name):
        return ["--run-dir", str(place)], shared
    base = place.parent.parent
    return [place.name], [*([] if base == default else ["--base-dir", str(base)]), *shared]


def find_short_id(directory: RunDirectory) -> str:
    """As much of the end of the run's id as names no other run of its store; at least 4 characters."""
    place = directory.place
    if place.parent.name != "runs" or directory.reached_by:
        return place.name
    return make_shortener(Store(place.parent.parent).names())(place.name)


def make_shortener(names: list[str]) -> Callable[[str], str]:
    """What shortens each of the ids *names*, such that no other begins or ends so; at least 4 characters."""

    @cache
    def count_ends(length: int) -> Counter[str]:
        return Counter(part for name in names for part in {name[:length], name[-length:]})

    def shorten(run_id: str) -> str:
        length = next((n for n in range(4, 26) if count_ends(n)[run_id[-n:]] <= 1), 26)
        return run_id[-length:]

    return shorten


def _find_default() -> Path | None:
    if not os.path.isabs(os.environ.get("HOME", "/")):
        return None
    try:
        return Path.home() / ".checkpointflow"
    except RuntimeError:
        return None
