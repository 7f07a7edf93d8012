"""What several commands take: options, and JSON from wherever it comes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from checkpointflow.cli.location import ALLOW_SHARED, BASE_DIR_VARIABLE
from checkpointflow.errors import CheckpointflowError, FileMissing

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


def run_options(command: F) -> F:
    """`--run-id`, `--run-dir`, `--base-dir`."""
    decorated = base_dir_option(command)
    decorated = click.option("--run-dir", metavar="DIR", help="The run in this directory, wherever it lies.")(
        decorated
    )
    return click.option(
        "--run-id",
        metavar="ID",
        help="The run's id, or at least its first 4 characters, if no other id begins with them.",
    )(decorated)


def lock_option(default: float = 0) -> Callable[[F], F]:
    """`--lock-timeout`."""
    return click.option(
        "--lock-timeout",
        metavar="SECONDS",
        type=click.FloatRange(0, 86_400 * 365),
        default=default,
        help=f"How long to wait while another process holds the run (default {default:g}).",
    )


def read_input(text: str, refusal: Callable[..., CheckpointflowError]) -> Any:
    """The JSON that an `--input` means: inline, `@file`, or `-` for standard input.

    Raises *refusal* for what is not JSON, FileMissing for a file that cannot be read.
    """
    from checkpointflow.drivers.json_text import read_json  # late: most commands read nothing
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


def is_watched() -> bool:
    """Whether a person looks on: hints and progress go to stderr only then."""
    return sys.stderr.isatty() and os.environ.get("LLM", "").lower() != "true"
