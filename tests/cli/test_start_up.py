"""A start pays only for what it uses: no module is imported before a command needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import Cpf
from tests.helpers import ask

HEAVY = {
    "YAML": "ruamel",
    "schema compiler": "fastjsonschema",
    "lock": "filelock",
    "HTTP": "http",
    "URLs": "urllib.request",
    "processes": "subprocess",
    "package metadata": "importlib.metadata",
    "the rules": "checkpointflow.engine.rules",
    "expressions": "checkpointflow.expressions.syntax",
}


SCRIPT = """
import sys
from checkpointflow.cli import answer
answer(sys.argv[1:])
print("\\n".join(sys.modules), file=sys.stderr)
"""


def imported(cpf: Cpf, *arguments: str) -> set[str]:
    """The modules that a start of cpf imports."""
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        capture_output=True, text=True, cwd=cpf.cwd, env=cpf.env, check=False,
    )  # fmt: skip
    return set(process.stderr.split())


def test_status_of_a_waiting_run_imports_nothing_heavy(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q", input_schema={"type": "object"}))["run_id"]
    modules = imported(cpf, "status", "--run-id", run_id)
    assert "checkpointflow.cli.status" in modules
    assert {what for what, module in HEAVY.items() if module in modules} == set()


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_imports_no_command(cpf: Cpf, option: str) -> None:
    assert not {name for name in imported(cpf, option) if name.startswith("checkpointflow.cli.")}


def test_this_test_would_see_an_import(cpf: Cpf) -> None:
    assert "ruamel" in imported(cpf, "validate", "-f", cpf.flow(ask("q")))
