"""`cpf init`, `cpf validate`, `cpf guide`: what an author meets first."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from checkpointflow.cli import COMMANDS, module_of
from checkpointflow.drivers.sources import read_workflow
from checkpointflow.errors import InvalidWorkflow
from checkpointflow.shells.contexts import SHELLS
from checkpointflow.shells.interpreters import INTERPRETERS
from checkpointflow.shells.variables import HINTS
from checkpointflow.shells.wrappers import CALLERS, WRAPPERS
from tests.conftest import QUICK_START, Cpf
from tests.helpers import cli

ROOT = Path(__file__).parent.parent.parent
GUIDE = (ROOT / "checkpointflow" / "guide.md").read_text()
README = (ROOT / "README.md").read_text()
VALUES = GUIDE.partition("### Values in programs")[2].partition("\n## ")[0]
PROGRAMS = (*INTERPRETERS, *CALLERS, *WRAPPERS)
EXAMPLES = re.findall(r"```yaml\n(schema_version:.*?)```", GUIDE + README, re.S)


def example(workflow: str) -> str:
    """The example that calls itself *workflow*."""
    (text,) = [text for text in EXAMPLES if re.search(rf"(?m)^  id: {workflow}( +#.*)?$", text)]
    return text


def test_the_guide_lists_the_programs_and_variables_that_are_known() -> None:
    listed = [set(text.split()) for text in re.findall(r"```text\n(.*?)```", VALUES, re.S)]
    names = {name.split()[0] for row in PROGRAMS for name in row.names.split(",")}
    assert listed == [names | set(SHELLS) - {"SHELL"} | {"find"}, set(HINTS)]


def test_init_writes_a_workflow_that_validates_without_warnings(cpf: Cpf) -> None:
    assert cpf("init")["result"]["file"] == "checkpointflow.yaml"
    answer = cpf("validate", "-f", "checkpointflow.yaml")
    assert (answer.code, "warnings" in answer.json) == (0, False)


def test_the_first_workflow_runs_to_its_end(cpf: Cpf) -> None:
    cpf("init")
    waiting = cpf("run", "-f", "checkpointflow.yaml", "--input", '{"name": "Ada"}')
    assert (waiting.code, waiting["wait"]["prompt"]) == (40, "Was Ada greeted properly?")
    answer = cpf.resume(waiting["run_id"], "confirmation", {"ok": True})
    assert answer["result"] == {"greeting": "hello", "confirmed": True}


def test_init_keeps_a_file_that_is_there(cpf: Cpf) -> None:
    cpf.write("w.yaml", "mine")
    answer = cpf("init", "--file", "w.yaml")
    assert (answer.code, answer.error_code) == (10, "ERR_FILE_EXISTS")
    assert (cpf.cwd / "w.yaml").read_text() == "mine"
    assert cpf("init", "--file", "w.yaml", "--force").code == 0
    assert "mine" not in (cpf.cwd / "w.yaml").read_text()


def test_init_says_where_it_cannot_write(cpf: Cpf) -> None:
    answer = cpf("init", "--file", "nowhere/w.yaml")
    assert (answer.code, answer.error_code) == (60, "ERR_PERSISTENCE")


def test_validate_tells_all_mistakes_with_their_lines(cpf: Cpf) -> None:
    text = (
        "schema_version: checkpointflow/v1\n"
        "workflow:\n"
        "  id: w\n"
        "  steps:\n"
        "    - { id: a, kind: cli, commnd: ls }\n"
        "    - { id: b, kind: cli, command: 'ls ${inputs.x', next: nowhere }\n"
    )
    answer = cpf("validate", "-f", cpf.write("w.yaml", text))
    assert (answer.code, answer.error_code) == (10, "ERR_VALIDATION_WORKFLOW")
    assert sorted({detail["line"] for detail in answer["error"]["details"]}) == [5, 6]
    assert len(answer["error"]["details"]) >= 4
    assert answer["error"]["message"].startswith("w.yaml:5:")


def test_validate_runs_nothing_and_stores_nothing(cpf: Cpf) -> None:
    assert cpf("validate", "-f", cpf.flow(cli("a", "touch ran"))).code == 0
    assert not (cpf.cwd / "ran").exists()
    assert not cpf.base.exists()


def test_validate_warns_without_being_in_the_way(cpf: Cpf) -> None:
    answer = cpf("validate", "-f", cpf.flow(cli("a", "echo ${raw:inputs.x}")))
    assert answer.code == 0
    assert "W105" in [warning["id"] for warning in answer["result"]["warnings"]]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_guide_and_in_the_readme(name: str) -> None:
    assert f"### cpf {name}\n" in GUIDE
    assert f"`cpf {name}" in README


def test_every_option_is_in_the_guide() -> None:
    import importlib

    for name in COMMANDS:
        command = importlib.import_module(module_of(name)).command
        for parameter in command.params:
            long = max(parameter.opts, key=len)
            assert long in GUIDE or not long.startswith("--file"), (name, long)


def test_every_error_code_is_in_the_guide() -> None:
    from checkpointflow import errors

    codes = {getattr(error, "code", "") for error in vars(errors).values() if isinstance(error, type)}
    assert {code for code in codes if isinstance(code, str) and code and f"`{code}`" not in GUIDE} == set()


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_validates(number: int, tmp_path: Path) -> None:
    file = tmp_path / "example.yaml"
    file.write_text(EXAMPLES[number])
    (tmp_path / "greet.yaml").write_text(example("greet"))
    try:
        read_workflow(file)
    except InvalidWorkflow as error:
        pytest.fail(f"{error}\n{json.dumps(error.details, indent=1)}")


@pytest.mark.parametrize(
    ("workflow", "inputs", "code", "result"),
    [
        ("release", {"tag": "v1; touch x"}, 40, None),
        ("my_workflow", {}, 0, {"text": "hello"}),
        ("schema_example", {"email": "a@b", "seats": [{"row": 1}]}, 0, "a@b as reader"),
        ("schema_example", {"email": "a b"}, 10, None),
        ("cli_example", {}, 0, None),
        ("await_example", {}, 40, None),
        ("switch_example", {"size": 11}, 0, "medium"),
        ("greet", {"name": "Bo"}, 0, {"text": "hello, Bo"}),
        (
            "foreach_example",
            {"files": ["a.txt", "b-2"]},
            0,
            [{"file": "a.txt", "part": "1 of 2"}, {"file": "b-2", "part": "2 of 2"}],
        ),
        ("foreach_workflow_example", {}, 0, [{"text": "hello, eu"}, {"text": "hello, us"}]),
        ("parallel_example", {}, 0, {"style": True, "slow": 3}),
        ("workflow_example", {}, 0, "hello, Ada"),
        ("policies_example", {}, 0, "publish ended with 7, no room"),
    ],
)
def test_the_guide_s_examples_run(
    cpf: Cpf, workflow: str, inputs: dict[str, object], code: int, result: object
) -> None:
    cpf.write("greet.yaml", example("greet"))
    (cpf.cwd / "scripts").mkdir()
    file = cpf.write("w.yaml", example(workflow))
    answer = cpf("run", "-f", file, "--input", json.dumps(inputs))
    assert answer.code == code
    assert answer.json.get("result") == result


def test_the_guide_s_call_is_made(cpf: Cpf) -> None:
    heard = []

    class Issues(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(201)
            self.end_headers()
            self.wfile.write(b'{"url": "/issues/1"}')

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Issues) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        text = example("api_example").replace("127.0.0.1:8080", f"127.0.0.1:{server.server_port}")
        answer = cpf("run", "-f", cpf.write("w.yaml", text), "--input", '{"title": "a \\"b\\""}')
        server.shutdown()
    assert answer["result"] == {"url": "/issues/1"}
    assert heard == [("/issues", {"title": 'a "b"', "labels": ["from-cpf"]})]


def test_the_guide_s_end_names_its_run(cpf: Cpf) -> None:
    answer = cpf("run", "-f", cpf.write("w.yaml", example("end_example")))
    assert answer["result"] == {"status": "done", "by": answer["run_id"]}


def test_the_quick_start_in_the_readme_is_the_one_that_is_tested() -> None:
    assert (QUICK_START / "workflow.yaml").read_text() in README
