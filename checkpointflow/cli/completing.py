"""What completes a word at the shell, for options and arguments; looked for by `candidates` when it is asked.

Nothing is said of what goes wrong: a shell that completes has no place for it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING

import click

from checkpointflow.errors import CheckpointflowError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

MAX_ITEMS = 100

Complete = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]


def complete(name: str) -> Complete:
    """What completes a word by the function *name* of `candidates`, which yields words with what they are."""

    def find(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from checkpointflow.cli.screen import make_visible

        try:
            # By its name, as commands are: it stands below those whose words it knows.
            found = getattr(import_module("checkpointflow.cli.candidates"), name)(context)
            fitting = ((word, about) for word, about in found if word.lower().startswith(incomplete.lower()))
            shown = islice(fitting, MAX_ITEMS)
            return [CompletionItem(word, help=make_visible(about)) for word, about in shown]
        except CheckpointflowError:
            return []

    return find


def complete_file(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files, as the shell itself finds them."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def complete_flow(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Ids of workflows, and files."""
    ids = complete("list_flow_ids")(context, parameter, incomplete)
    return ids or complete_file(context, parameter, incomplete)
