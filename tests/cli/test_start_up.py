"""A start pays only for what it uses: no module is imported before a command needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import Cpf
from tests.helpers import ask, cli

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
UNUSED = {
    "ruamel", "fastjsonschema", "filelock", "json", "logging", "random", "http", "importlib.metadata",
    "checkpointflow.documents.yaml", "checkpointflow.documents.checker", "checkpointflow.schemas.rewriting",
    "checkpointflow.shells.commands", "checkpointflow.shells.programs",
}  # fmt: skip


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


def test_a_run_of_a_known_document_imports_what_it_performs(cpf: Cpf) -> None:
    file = cpf.flow(cli("a"), ask("q", input_schema={"type": "object"}))
    run_id = [cpf("run", "-f", file) for _ in range(2)][-1]["run_id"]
    given = ["--event", "q_event", "--input", "{}"]
    starts = (["run", "-f", file], ["validate", "-f", file], ["resume", "--run-id", run_id, *given])
    for arguments in starts:
        assert imported(cpf, *arguments) & UNUSED == set()
    assert cpf("status", "--run-id", run_id)["status"] == "completed"


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_imports_no_command(cpf: Cpf, option: str) -> None:
    assert not {name for name in imported(cpf, option) if name.startswith("checkpointflow.cli.")}


def test_this_test_would_see_an_import(cpf: Cpf) -> None:
    assert "ruamel" in imported(cpf, "validate", "-f", cpf.flow(ask("q")))
