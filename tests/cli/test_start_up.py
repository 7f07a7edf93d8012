"""A start pays only for what it uses: no module is imported before a command needs it."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from checkpointflow.late import Late
from tests.conftest import Cpf
from tests.helpers import ask, cli, end

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
    "what reads code": "inspect",
    "the name of the system": "platform",
    "translations": "gettext",
    "addresses": "ipaddress",
    "paths of Windows": "ntpath",
    "wrapped texts": "textwrap",
    "types as data": "msgspec.inspect",
}
UNUSED = {
    "ruamel", "fastjsonschema", "filelock", "json", "logging", "random", "http", "importlib.metadata",
    "checkpointflow.documents.yaml", "checkpointflow.documents.checker", "checkpointflow.schemas.rewriting",
    "checkpointflow.shells.commands", "checkpointflow.shells.programs",
    "checkpointflow.cli.progress", "checkpointflow.cli.view", "checkpointflow.cli.screen",
    "checkpointflow.cli.hooks", "locale",
    "inspect", "ast", "tokenize", "platform", "gettext", "ipaddress", "ntpath", "textwrap", "msgspec.inspect",
}  # fmt: skip


SCRIPT = """
import sys
sys.modules["typing_extensions"] = None  # which msgspec imports, and cpf brings none
from checkpointflow import late
late.defer()
from checkpointflow.cli import answer
answer(sys.argv[1:])
names = [name for name, module in sys.modules.items() if not isinstance(module, late.Late)]
print("\\n".join(names), file=sys.stderr)
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


EVERY_COMMAND = """
import json, sys
from checkpointflow import late
late.defer()
from checkpointflow.cli import COMMANDS, answer
lines = [line.split() for line in sys.stdin.read().strip().splitlines()]
lines += [[name, "--help"] for name in sorted(set(COMMANDS) - {name for name, *_ in lines})]
sys.stdin = open("/dev/null")
codes = {line[0]: answer(line) for line in lines}
rooms = ("checkpointflow.drivers.temporal", "temporalio", "obstore")
print(json.dumps([codes, [name for name in sys.modules if name.startswith(rooms)]]), file=sys.stderr)
"""
LINES = """
init -f new.yaml
guide
schema state
completion bash
validate w.yaml
flows
run w.yaml
waits
answer @latest
work --once --audience user --exec false
resume @latest --event q_event --input {}
status @latest
watch @latest
wait @latest
inspect @latest
logs @latest
graph @latest
report @latest
artifacts @latest
verify @latest
diff @latest @latest
list
retry @latest
tick
cancel @latest --reason done
export @latest -o run.tar.gz
import run.tar.gz
delete @latest
gc
mcp
"""


@pytest.mark.long
def test_no_command_imports_anything_of_a_cluster_where_none_is_named(cpf: Cpf) -> None:
    call = {"id": "c", "kind": "api", "url": "http://127.0.0.1:1", "on_error": "continue"}
    cpf.flow(cli("a", runs_on="gpu"), ask("q"), call, end("e"))
    process = subprocess.run(
        [sys.executable, "-c", EVERY_COMMAND], input=LINES,
        capture_output=True, text=True, cwd=cpf.cwd, env=cpf.env, check=True,
    )  # fmt: skip
    codes, found = json.loads(process.stderr.splitlines()[-1])
    assert found == []
    rest = {"run": 40, "work": 30, "answer": 2, "retry": 20, "cancel": 20}
    assert {name: code for name, code in codes.items() if code} == rest


LATE = """
import sys
sys.modules["typing_extensions"] = None
from checkpointflow import late
late.defer()
import click, gettext, inspect, msgspec, platform
from gettext import ngettext
given = [inspect.cleandoc("\\t one\\tline "), platform.system()]
assert type(inspect) is type(platform) is type(gettext) is late.Late
texts = inspect.cleandoc(" a\\n   b"), gettext.gettext("a"), ngettext("b", "c", 1), ngettext("b", "c", 2)
assert inspect.signature(late.defer).parameters == {}
assert platform.python_version() == sys.version.split()[0]
assert type(sys.modules["inspect"]) is type(sys.modules["platform"]) is type(sys)
assert given == [inspect.cleandoc("\\t one\\tline "), platform.system()]
assert texts == ("a\\nb", "a", "b", "c")
from ipaddress import ip_address
assert ip_address("::1").is_loopback
assert type(msgspec.inspect.type_info(int)).__name__ == "IntType"
assert type(msgspec.inspect) is type(sys.modules["msgspec.inspect"]) is type(sys)
import ntpath, textwrap
assert (ntpath.splitext("a.b"), textwrap.dedent("  a"), gettext.gettext("a")) == (("a", ".b"), "a", "a")
assert gettext.NullTranslations().ngettext("b", "c", 2) == "c"
assert not [name for name, module in sys.modules.items() if isinstance(module, late.Late)]
"""


def test_what_is_loaded_late_is_what_it_stands_in_for() -> None:
    ended = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


STATUS = """
import sys
sys.modules["typing_extensions"] = None  # which msgspec takes where it is, and which imports inspect
from checkpointflow import late
late.defer()
from checkpointflow.cli import answer
answer(sys.argv[1:])
print(*[name for name, module in sys.modules.items() if isinstance(module, late.Late)], file=sys.stderr)
"""


def test_a_start_loads_none_of_them(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q", input_schema={"type": "object"}))["run_id"]
    ended = subprocess.run(
        [sys.executable, "-c", STATUS, "status", run_id],
        capture_output=True, text=True, cwd=cpf.cwd, env=cpf.env, check=False,
    )  # fmt: skip
    late = ["gettext", "inspect", "ipaddress", "msgspec.inspect", "ntpath", "platform", "textwrap"]
    assert sorted(ended.stderr.split()) == late


def test_many_threads_may_be_the_first_to_use_one() -> None:
    barrier = Barrier(8)

    def use(late: Late) -> object:
        barrier.wait()
        return late.Parameter

    for _ in range(20):
        kept = sys.modules.pop("inspect")
        late = sys.modules["inspect"] = Late("inspect")
        try:
            with ThreadPoolExecutor(8) as threads:
                found = set(threads.map(use, [late] * 8))
                assert found == {sys.modules["inspect"].Parameter}
        finally:
            sys.modules["inspect"] = kept


def test_this_test_would_see_an_import(cpf: Cpf) -> None:
    assert "ruamel" in imported(cpf, "validate", "-f", cpf.flow(ask("q")))
