"""`cpf init`: a workflow to start from."""

from __future__ import annotations

import os
from pathlib import Path

import click

from checkpointflow.cli.envelope import Envelope, of_result
from checkpointflow.errors import FileAlreadyThere, PersistenceError

TEMPLATES = Path(__file__).parent.parent / "templates"
NAMES = ("minimal", "approval")


@click.command()
@click.option(
    "--file", "-f", default="checkpointflow.yaml", show_default=True, metavar="PATH", help="Where to."
)
@click.option("--template", type=click.Choice(NAMES), default="minimal", show_default=True, help="Which one.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def command(file: str, template: str, force: bool) -> Envelope:
    """Write a workflow to start from."""
    text = (TEMPLATES / f"{template}.yaml").read_bytes()
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with open(os.open(file, flags, 0o666), "wb") as opened:
            opened.write(text)
    except FileExistsError:
        raise FileAlreadyThere(file=file) from None
    except OSError as error:
        raise PersistenceError(file=file, problem=error.strerror or str(error)) from None
    return of_result("init", {"file": file, "template": template, "next": f"cpf validate -f {file}"})
