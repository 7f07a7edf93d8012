"""What several commands take: options, and JSON from wherever it comes."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from checkpointflow.cli.completing import complete
from checkpointflow.cli.location import ALLOW_SHARED, BASE_DIR_VARIABLE, find_run
from checkpointflow.errors import CheckpointflowError, FileMissing, UsageError
from checkpointflow.store.layout import is_id_part

F = TypeVar("F", bound=Callable[..., Any])


def base_dir_option(command: F) -> F:
    """`--base-dir`, `--allow-shared`."""
    decorated = click.option(
        "--allow-shared",
        is_flag=True,
        expose_value=False,
        callback=lambda context, _, value: context.meta.__setitem__(ALLOW_SHARED, value),
        help="Use the store even if others may write into it.",
    )(command)
    return click.option(
        "--base-dir",
        metavar="DIR",
        help=f"Where runs are stored (default ${BASE_DIR_VARIABLE}, else ~/.checkpointflow).",
    )(decorated)


def run_options(*, optional: bool = False, or_file: bool = False) -> Callable[[F], F]:
    """RUN, or `--run-id` or `--run-dir`, and `--base-dir`: the command is given the `directory` of that run.

    *optional*: or None, where no run is named, and the `base_dir` of the store to look for one in.
    *or_file*: or None, and as `file` a word that can be no id.
    """

    def decorate(command: F) -> F:
        @wraps(command)
        def find(
            run: str | None, run_id: str | None, run_dir: str | None, base_dir: str | None, **given: Any
        ) -> Any:
            if optional and (run, run_id, run_dir) == (None, None, None):
                return command(directory=None, base_dir=base_dir, **given)
            if or_file and run and not given["file"] and not (is_id_part(run.upper()) or run.startswith("@")):
                return command(directory=None, base_dir=base_dir, **given | {"file": run})
            if run is not None and run_id is not None:
                raise UsageError(problem="name the run once: RUN and --run-id mean the same")
            more = {"base_dir": base_dir} if optional else {}
            return command(directory=find_run(run or run_id, run_dir, base_dir), **more, **given)

        decorated = base_dir_option(find)
        for option in (
            click.option("--run-dir", metavar="DIR", help="The run in this directory, wherever it lies."),
            click.option(
                "--run-id", metavar="ID", help="The same as RUN.", shell_complete=complete("list_run_ids")
            ),
            click.argument("run", required=False, metavar="[RUN]", shell_complete=complete("list_run_ids")),
        ):
            decorated = option(decorated)
        return cast(F, decorated)

    return decorate


class Seconds(click.FloatRange):
    """A number of seconds; `nan` is none, though it lies outside of no range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if seconds != seconds:
            self.fail(f"{value!r} is no number of seconds", param, ctx)
        return seconds


def lock_option(default: float = 0) -> Callable[[F], F]:
    """`--lock-timeout`."""
    return click.option(
        "--lock-timeout",
        metavar="SECONDS",
        type=Seconds(0, 86_400 * 365),
        default=default,
        help=f"How long to wait while another process holds the run (default {default:g}).",
    )


def place_options(command: F) -> F:
    """`--cwd`, `--trust`: the command is given the `place` that they mean."""

    @wraps(command)
    def choose(cwd: str | None, trust: bool, **given: Any) -> Any:
        from checkpointflow.drivers.local import Place

        return command(place=Place(cwd, trust), **given)

    decorated = click.option(
        "--trust",
        is_flag=True,
        help="Of a run that was imported: have its commands run in the directory that it names.",
    )(choose)
    decorated = click.option(
        "--cwd", metavar="DIR", help="Have its commands run in DIR from now on; it becomes part of the run."
    )(decorated)
    return cast(F, decorated)


def read_input(text: str, refusal: Callable[..., CheckpointflowError]) -> Any:
    """The JSON that an `--input` means: inline, `@file`, or `-` for standard input.

    Raises *refusal* for what is not JSON, FileMissing for a file that cannot be read.
    """
    from checkpointflow.json_text import read_json  # late: most commands read nothing
    from checkpointflow.store.files import read_file, read_stdin

    if text == "-":
        data, what = read_stdin(), "standard input"
    elif text.startswith("@"):
        data, what = _read_from_file(text[1:], read_file), text[1:]
    else:
        data, what = text.encode("utf-8", "surrogateescape"), "--input"
    try:
        return read_json(data)
    except ValueError as error:
        raise refusal(problem=f"{what}: {error}") from None


def _read_from_file(name: str, read_file: Callable[[Path], bytes]) -> bytes:
    if not os.path.lexists(name):  # the line that a waiting run prints, pasted before the answer is written
        problem = "there is no such file; write the JSON into it first, or give it inline"
        raise FileMissing(file=name, problem=problem)
    return read_file(Path(name))
