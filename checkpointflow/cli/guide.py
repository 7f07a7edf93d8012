"""`cpf guide`: the user guide, as plain Markdown, whole or one part of it."""

from __future__ import annotations

import re
from pathlib import Path

import click

from checkpointflow.cli.completing import complete
from checkpointflow.errors import UsageError

GUIDE = Path(__file__).parent.parent / "guide.md"


@click.command()
@click.argument("topic", required=False, shell_complete=complete("list_topics"))
@click.option("--topics", is_flag=True, help="List what TOPIC can be.")
def command(topic: str | None, topics: bool) -> None:
    """Print the whole user guide, or the part of it that TOPIC names."""
    text = GUIDE.read_bytes().decode()
    if topics:
        text = "".join(f"{name}\n" for name in find_parts(text))
    elif topic is not None:
        text = _find_part(topic, find_parts(text))
    click.echo(text.encode(), nl=False)


def find_parts(text: str) -> dict[str, str]:
    """The parts of the guide *text*: each heading of the levels 2 and 3 with all below it, by its name.

    A heading's name is its words in lower case, joined by hyphens; a command's goes without `cpf`.
    """
    # Every second of these stands between fences, where # begins a comment.
    blocks = re.split(r"(?ms)(^```.*?^```$)", text)
    starts, at = [], 0
    for number, block in enumerate(blocks):
        if number % 2 == 0:
            starts += [(at + m.start(), len(m[1]), m[2]) for m in re.finditer(r"(?m)^(##+) +(.+)$", block)]
        at += len(block)
    found = {}
    for number, (start, level, heading) in enumerate(starts):
        if level <= 3:
            ends = (later for later, its_level, _ in starts[number + 1 :] if its_level <= level)
            found[_name_heading(heading)] = text[start : next(ends, len(text))].rstrip() + "\n"
    return found


def _name_heading(heading: str) -> str:
    return "-".join(re.findall(r"[a-z0-9_]+", heading.lower())).removeprefix("cpf-")


def _find_part(topic: str, known: dict[str, str]) -> str:
    name = _name_heading(topic)
    if name in known:
        return known[name]
    from checkpointflow.diagnostics import shorten, suggest

    hint = suggest(name, known)
    raise UsageError(
        problem=f'the guide has no part "{shorten(topic)}"{f"; {hint}" if hint else ";"} '
        f"there are: {', '.join(known)}"
    )
