"""`cpf mcp`: workflows as tools for models."""

from __future__ import annotations

import os
import sys

import click

from checkpointflow.cli.location import find_store
from checkpointflow.cli.options import base_dir_option
from checkpointflow.cli.output import choose_form

PATIENCE_SECONDS = 45.0  # many clients give up after 60


class _Silent(click.Command):
    """Mistakes in its options are told on stderr: stdout is for the protocol."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        choose_form(ctx, "text")
        return super().parse_args(ctx, args)


@click.command(cls=_Silent)
@base_dir_option
@click.option(
    "--patience",
    metavar="SPAN",
    help="How long a call waits for a run to rest, and for a person to answer (default 45s).",
)
@click.option(
    "--answers",
    type=click.Choice(("user", "system")),
    multiple=True,
    help="Let the model answer also what asks a user, or a system; without it only what asks an agent.",
)
def command(base_dir: str | None, patience: str | None, answers: tuple[str, ...]) -> int:
    """Serve the workflows that `cpf flows` lists as tools, by the Model Context Protocol on stdin and stdout.

    For the configuration of Claude Code, Codex, Cursor, VS Code and others; see: cpf guide mcp
    """
    from checkpointflow.mcp.host import Host
    from checkpointflow.mcp.server import Server

    store, seconds = find_store(base_dir), PATIENCE_SECONDS
    if patience is not None:
        from checkpointflow.cli.durations import parse_span  # late: few say so, and it brings the calendar

        seconds = parse_span(patience)
    if sys.stdin.isatty():
        click.echo("cpf mcp waits for messages of the protocol; see: cpf guide mcp", err=True)
    target = os.dup(1)
    os.dup2(2, 1)  # whatever else anybody prints here, or in a child, is for people
    host = Host(store, seconds, frozenset(("agent", *answers)))
    try:
        Server(host, 0, target).serve()
    except (KeyboardInterrupt, BrokenPipeError):
        return 0
    return 0
