"""`cpf guide`: the user guide, as plain Markdown, whole or one part of it."""

from __future__ import annotations

import re
from pathlib import Path

import click

from checkpointflow.cli.completing import complete
from checkpointflow.errors import UsageError

GUIDE = Path(__file__).parent.parent / "guide.md"
APART = [GUIDE.with_name(f"{name}.md") for name in ("agents", "authoring", "exploring")]


@click.command()
@click.argument("topic", required=False, shell_complete=complete("list_topics"))
@click.option("--topics", is_flag=True, help="List what TOPIC can be.")
def command(topic: str | None, topics: bool) -> None:
    """Print the whole user guide, or the part of it that TOPIC names.

    `agents` is all that an agent needs to drive runs, `authoring` all that it needs to write workflows.
    """
    if topics:
        text = "".join(f"{name}\n" for name in read_topics())
    elif topic is not None:
        text = _find_topic(topic, read_topics())
    else:
        text = GUIDE.read_bytes().decode()
    click.echo(text.encode(), nl=False)


def read_topics() -> dict[str, str]:
    """What can be asked for by name: the parts of the guide, and the texts apart from it."""
    return {**find_parts(GUIDE.read_bytes().decode()), **{f.stem: f.read_bytes().decode() for f in APART}}


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


def _find_topic(topic: str, known: dict[str, str]) -> str:
    name = _name_heading(topic)
    if name in known:
        return known[name]
    from checkpointflow.diagnostics import shorten, suggest

    hint = suggest(name, known)
    raise UsageError(
        problem=f'the guide has no part "{shorten(topic)}"{f"; {hint}" if hint else ";"} '
        f"there are: {', '.join(known)}"
    )
