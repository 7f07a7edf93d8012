"""`cpf init`: a workflow to start from, and the schema by which an editor completes and checks it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from checkpointflow.cli.envelope import Reply, wrap_result
from checkpointflow.cli.location import find_store
from checkpointflow.cli.options import base_dir_option
from checkpointflow.errors import FileAlreadyThere, PersistenceError, UsageError
from checkpointflow.store.files import translate_errors

TEMPLATES = Path(__file__).parent.parent / "templates"
NAMES = {
    "minimal": "a command and a question",
    "approval": "plan, approve, apply: the Quick Start",
    "agent-review": "an agent writes, another reviews, a person decides where they disagree",
    "deploy": "checks in parallel, an approval, a rollback on failure",
    "batch": "the same for each item of a list, with retries, and a question per odd item",
    "runbook": "an alarm: time-outs and escalation",
}

SKILL = "skills/cpf/SKILL.md"
SCHEMA_FILE = ".checkpointflow.schema.json"
# Relative to the workflow, so that it holds in every clone, and without a network.
MODELINE = f"# yaml-language-server: $schema={SCHEMA_FILE}\n".encode()


@click.command(epilog="Templates: " + "; ".join(f"{name} ({about})" for name, about in NAMES.items()) + ".")
@click.option(
    "--file",
    "-f",
    default="checkpointflow.yaml",
    show_default=True,
    metavar="PATH",
    help="The file to write.",
)
@click.option("--template", type=click.Choice(tuple(NAMES)), default="minimal", show_default=True)
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@click.option(
    "--schema/--no-schema",
    default=True,
    show_default=True,
    help=f"Write {SCHEMA_FILE} beside it, and the line by which editors find it.",
)
@click.option("--git", is_flag=True, help="Instead, prepare the store for a git repository.")
@click.option("--skill", is_flag=True, help="Instead, write what agents that work here have to know.")
@base_dir_option
def command(
    file: str, template: str, force: bool, schema: bool, git: bool, skill: bool, base_dir: str | None
) -> Reply:
    """Write a workflow to start from.

    With --git: write the .gitignore and .gitattributes of a store that is kept in a git repository. With
    --skill: write .agents/skills/cpf/SKILL.md, and the same below .claude/ where that is.
    """
    if git and skill:
        raise UsageError(problem="--git and --skill write different things; say one of them")
    if skill:
        return wrap_result("init", {"files": _write_skill(over=force)})
    if git:
        from checkpointflow.cli.git import prepare

        return wrap_result(
            "init", {"files": [str(written) for written in prepare(find_store(base_dir).base)]}
        )
    text = (TEMPLATES / f"{template}.yaml").read_bytes()
    _write(file, MODELINE + text if schema else text, over=force)
    result = {"file": file, "template": template, "next": f"cpf validate -f {file}"}
    if schema:
        from checkpointflow.cli.schema import write_schema as schema_text

        result["schema"] = str(Path(file).parent / SCHEMA_FILE)
        # It holds nothing of the user's: one that an older cpf wrote is brought up to date.
        _write(result["schema"], schema_text("workflow"), over=True)
    return wrap_result("init", result)


def _write_skill(*, over: bool) -> list[str]:
    """Write the skill wherever agents look for one here; returns the files."""
    text = (TEMPLATES.parent / "skill.md").read_bytes()
    homes = [home for home in (".agents", ".claude") if home == ".agents" or os.path.isdir(home)]
    files = [f"{home}/{SKILL}" for home in homes]
    for file in files:
        with translate_errors(file):
            os.makedirs(os.path.dirname(file), exist_ok=True)
        _write(file, text, over=over)
    return files


def _write(file: str, data: bytes, *, over: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if over else os.O_EXCL)
    try:
        with open(os.open(file, flags, 0o666), "wb") as opened:
            opened.write(data)
    except FileExistsError:
        raise FileAlreadyThere(file=file) from None
    except OSError as error:
        raise PersistenceError(file=file, problem=error.strerror or str(error)) from None
