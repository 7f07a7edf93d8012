"""`cpf init`: a workflow to start from with its tests, and the schemas by which an editor checks both."""

from __future__ import annotations

import os
from pathlib import Path

import click

from checkpointflow.cli.envelope import Reply, wrap_result
from checkpointflow.cli.location import find_own_store
from checkpointflow.cli.options import base_dir_option
from checkpointflow.errors import FileAlreadyThere, PersistenceError, UsageError
from checkpointflow.expressions.values import as_json
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
SCHEMA_FILE, TEST_SCHEMA_FILE = ".checkpointflow.schema.json", ".checkpointflow-test.schema.json"
MODELINE = "# yaml-language-server: $schema={}\n"
# Relative to the workflow, so that it holds in every clone, and without a network.


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
    help="Write the schemas of both beside them, and the lines by which editors find these.",
)
@click.option("--git", is_flag=True, help="Instead, prepare the store for a git repository.")
@click.option("--skill", is_flag=True, help="Instead, write what agents that work here have to know.")
@base_dir_option
def command(
    file: str, template: str, force: bool, schema: bool, git: bool, skill: bool, base_dir: str | None
) -> Reply:
    """Write a workflow to start from, and its tests beside it.

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
            "init", {"files": [str(written) for written in prepare(find_own_store(base_dir).base)]}
        )
    return wrap_result("init", _write_template(file, template, schema=schema, over=force))


def _write_template(file: str, template: str, *, schema: bool, over: bool) -> dict[str, str]:
    """Write the *template* to *file*, and its tests beside that; what was written."""
    tests = f"{os.path.splitext(file)[0]}.test.yaml"
    if os.path.lexists(tests) and not over:
        raise FileAlreadyThere(file=tests)
    _write(file, _read(f"{template}.yaml", SCHEMA_FILE if schema else None), over=over)
    text = _read(f"{template}.test.yaml", TEST_SCHEMA_FILE if schema else None)
    if not file.endswith(".yaml"):
        text = text.replace(b"\ntests:", f"\nworkflow: {as_json(os.path.basename(file))}\ntests:".encode(), 1)
    _write(tests, text, over=over)
    result = {"file": file, "tests": tests, "template": template, "next": f"cpf validate -f {file}"}
    if schema:
        from checkpointflow.cli.schema import write_schema

        result["schema"] = str(Path(file).parent / SCHEMA_FILE)
        # They hold nothing of the user's: what an older cpf wrote is brought up to date.
        _write(result["schema"], write_schema("workflow"), over=True)
        _write(str(Path(file).parent / TEST_SCHEMA_FILE), write_schema("test"), over=True)
    return result


def _read(name: str, schema: str | None) -> bytes:
    """The template's file called *name*, with the line by which editors find its *schema*."""
    line = b"" if schema is None else MODELINE.format(schema).encode()
    return line + (TEMPLATES / name).read_bytes()


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
