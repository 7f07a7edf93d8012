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
    "what changes a run": "checkpointflow.engine.evolution",
    "what cuts long answers": "checkpointflow.cli.bounds",
    "where steps are written": "checkpointflow.cli.places",
    "enumerations of signals": "signal",
    "quoting by a pattern": "shlex",
    "expressions": "checkpointflow.expressions.syntax",
}
UNUSED = {
    "ruamel", "fastjsonschema", "filelock", "json", "logging", "random", "http", "importlib.metadata",
    "checkpointflow.documents.yaml", "checkpointflow.documents.checker", "checkpointflow.schemas.rewriting",
    "checkpointflow.shells.commands", "checkpointflow.shells.programs",
    "checkpointflow.cli.progress", "checkpointflow.cli.view", "checkpointflow.cli.screen",
    "checkpointflow.cli.hooks", "locale",
}  # fmt: skip


SCRIPT = """
import sys
from checkpointflow.cli import answer
answer(sys.argv[1:])
print("\\n".join(sys.modules), file=sys.stderr)
"""


def imported(cpf: Cpf, *arguments: str, given: str = "") -> set[str]:
    """The modules that a start of cpf imports which finds *given* on its standard input."""
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        input=given, capture_output=True, text=True, cwd=cpf.cwd, env=cpf.env, check=False,
    )  # fmt: skip
    return set(process.stderr.split())


def test_status_of_a_waiting_run_imports_nothing_heavy(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q", input_schema={"type": "object"}))["run_id"]
    modules = imported(cpf, "status", "--run-id", run_id)
    assert "checkpointflow.cli.status" in modules
    assert {what for what, module in HEAVY.items() if module in modules} == set()


FOR_PEOPLE = (
    "view", "text", "screen", "form", "dialogue", "tables", "terminal", "ci", "progress", "hooks", "pictures",
    "page", "detach", "candidates", "completion", "tails", "answer_", "overview",
)  # fmt: skip


def test_status_in_a_pipe_imports_nothing_for_people(cpf: Cpf) -> None:
    run_id = cpf.run(cli("a"), ask("q", input_schema={"type": "object"}))["run_id"]
    modules = imported(cpf, "status", run_id)
    assert "checkpointflow.cli.status" in modules
    assert {name for name in FOR_PEOPLE if f"checkpointflow.cli.{name}" in modules} == set()
    assert not {"click.shell_completion", "click._termui_impl"} & modules
    asked = imported(cpf, "status", run_id, "--text")
    assert {"checkpointflow.cli.view", "checkpointflow.cli.text"} <= asked
    assert "checkpointflow.cli.form" not in asked


def test_a_run_in_a_pipe_imports_no_form(cpf: Cpf) -> None:
    modules = imported(cpf, "run", "-f", cpf.flow(ask("q")))
    unused = ("form", "dialogue", "answer_", "text", "view", "ci", "terminal", "pictures", "page", "detach")
    assert {name for name in unused if f"checkpointflow.cli.{name}" in modules} == set()


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


TOOLS = """
{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}}
{"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
"""


def test_who_lists_tools_imports_nothing_that_runs_need(cpf: Cpf) -> None:
    (cpf.cwd / ".checkpointflow").mkdir()
    cpf.flow(cli("a"), ask("q", input_schema={"type": "object"}), name=".checkpointflow/w.yaml")
    cpf("run", "w")
    modules = imported(cpf, "mcp", given=TOOLS)
    assert {"checkpointflow.mcp.tools", "checkpointflow.documents.model"} <= modules
    runs = {"checkpointflow.engine.run", "checkpointflow.store.directory", "checkpointflow.mcp.calls"}
    unused = UNUSED | set(HEAVY.values()) | runs
    assert modules & unused == set()


def test_this_test_would_see_an_import(cpf: Cpf) -> None:
    assert "ruamel" in imported(cpf, "validate", "-f", cpf.flow(ask("q")))
