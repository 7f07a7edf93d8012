"""`cpf guide`: the whole user guide, as plain Markdown."""

from __future__ import annotations

from pathlib import Path

import click

GUIDE = Path(__file__).parent.parent / "guide.md"


@click.command()
def command() -> None:
    """Print the whole user guide."""
    click.echo(GUIDE.read_bytes(), nl=False)
