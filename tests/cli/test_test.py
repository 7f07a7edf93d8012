"""`cpf test`: dots, what differs, coverage, and exit codes; `cpf guide testing`, whose example passes."""

from __future__ import annotations

import json
import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from checkpointflow.cli import guide
from tests.conftest import Cpf
from tests.helpers import ask, cli, end

TEXT = Path(guide.__file__).parent.with_name("testing.md").read_text()
WORKFLOW, TESTS = re.findall(r"(?ms)^```yaml\n(.*?)^```$", TEXT)
HEAD = "schema_version: checkpointflow-test/v1\ntests:\n"


def test_it_is_a_topic_of_the_guide_and_short(cpf: Cpf) -> None:
    assert cpf("guide", "testing").text == TEXT
    assert 800 <= len(TEXT.split()) <= 1200


def test_the_example_of_the_guide_passes_and_covers_all(cpf: Cpf) -> None:
    cpf.write("release.yaml", WORKFLOW)
    cpf.write("release.test.yaml", TESTS)
    answer = cpf("test", "--min-coverage", "100", "--junit", "results.xml")
    assert (answer.code, answer["result"]["passed"]) == (0, 5), answer.text
    assert answer["result"]["coverage"] == [{"workflow": "release.yaml", "percent": 100.0, "missing": []}]
    (suite,) = ElementTree.parse(cpf.cwd / "results.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("5", "0", "0")
    assert cpf("validate", "release.yaml", "--strict").code == 0


def test_nothing_is_started_and_no_store_is_made(cpf: Cpf) -> None:
    cpf.flow(cli("a", "touch ran"))
    cpf.write("w.test.yaml", f"{HEAD}  - name: a\n")
    assert cpf("test").code == 0
    assert sorted(os.listdir(cpf.cwd)) == ["w.test.yaml", "w.yaml"]
    assert not (cpf.base / "runs").exists()


def test_what_differs_is_told_and_fails(cpf: Cpf) -> None:
    cpf.flow(cli("a"), ask("q"), end("e", result={"x": 1}))
    one = "  - name: one\n    answers: {q: {}}\n    expect: {result: {x: 2}}\n"
    cpf.write("w.test.yaml", f"{HEAD}{one}"
              "  - name: two\n    answers: {q: {}}\n  - name: three\n")  # fmt: skip
    answer = cpf("test")
    assert answer.code == 30
    result = answer["result"]
    assert [result[name] for name in ("passed", "failed", "wrong")] == [1, 2, 0]
    one, two, three = result["tests"]
    assert (one["file"], one["line"], one["name"], one["outcome"]) == ("w.test.yaml", 3, "one", "failed")
    assert one["differences"] == [{"what": "result.x", "lines": ["- 2", "+ 1"]}]
    assert "differences" not in two
    assert three["differences"][0]["note"].startswith("an answer would be")
    shown = cpf("test", "--text")
    assert shown.code == 30
    assert "w.test.yaml F.F\n" in shown.text
    assert "w.test.yaml:3  one\n  result.x\n    - 2\n    + 1\n" in shown.text
    assert "2 failed, 1 passed in" in shown.text


def test_a_test_that_lacks_something_is_wrong_and_says_what_to_write(cpf: Cpf) -> None:
    cpf.flow(cli("a"), end("e", result="${steps.a.outputs.x}"))
    cpf.write("w.test.yaml", f"{HEAD}  - name: one\n    steps:\n      {{}}\n")
    answer = cpf("test")
    assert (answer.code, answer["result"]["wrong"]) == (10, 1)
    (gap,) = answer["result"]["tests"][0]["gaps"]
    assert (gap["line"], gap["hint"]) == (5, "write under `steps`: a: {outputs: {x: …}}")
    shown = cpf("test", "--text").text
    assert "w.test.yaml E\n" in shown
    assert "    write under `steps`: a: {outputs: {x: …}}\n" in shown


def test_all_that_is_wrong_with_all_files_is_told_before_any_runs(cpf: Cpf) -> None:
    cpf.flow(cli("build"))
    cpf.write("w.test.yaml", f"{HEAD}  - name: a\n    steps: {{biuld: {{}}}}\n")
    cpf.write("x.test.yaml", f"{HEAD}  - name: a\n")
    cpf.write("y.test.yaml", "tests: 3")
    answer = cpf("test")
    assert (answer.code, answer.error_code) == (10, "ERR_VALIDATION_WORKFLOW")
    told = [(one["file"], one["line"], one["message"]) for one in answer["error"]["details"]]
    assert told[0] == ("w.test.yaml", 4, 'there is no step "biuld"')
    assert told[1] == ("x.test.yaml", 1, "there is no workflow x.yaml")
    assert [file for file, _, _ in told[2:]] == ["y.test.yaml", "y.test.yaml"]


def test_tests_are_looked_for_below_and_named_by_files_workflows_and_words(cpf: Cpf) -> None:
    (cpf.cwd / "flows" / "node_modules").mkdir(parents=True)
    cpf.flow(cli("a"), name="flows/w.yaml")
    cpf.write("flows/w.test.yaml", f"{HEAD}  - name: one\n  - name: two\n")
    cpf.write("other.test.yaml", f"workflow: flows/w.yaml\n{HEAD}  - name: three\n")
    cpf.write("flows/node_modules/z.test.yaml", "no")

    def names(*line: str) -> list[str]:
        return [test["name"] for test in cpf("test", *line)["result"]["tests"]]

    assert names() == ["three", "one", "two"]
    assert names("flows") == names("flows/w.yaml") == names("flows/w.test.yaml") == ["one", "two"]
    assert names("-k", "t") == ["three", "two"]
    assert cpf("test", "gone.yaml").error_code == "ERR_FILE_NOT_FOUND"
    assert cpf("test", "flows/node_modules/..").code == 0
    (cpf.cwd / "empty" / ".checkpointflow" / "runs").mkdir(parents=True)
    cpf.write("empty/.checkpointflow/runs/x.test.yaml", "no")
    assert cpf("test", "empty").code == 2


def test_too_little_coverage_fails_and_says_what_is_missing(cpf: Cpf) -> None:
    cpf.flow(cli("a", on_error="continue"), cli("b", **{"if": "inputs.x"}))
    cpf.write("w.test.yaml", f"{HEAD}  - name: one\n    inputs: {{x: true}}\n")
    assert cpf("test", "--min-coverage", "60").code == 0
    answer = cpf("test", "--min-coverage", "90")
    assert answer.code == 30
    assert answer["result"]["coverage"] == [
        {"workflow": "w.yaml", "percent": 60.0, "missing": ["a: on_error", "b: if not"], "least": 90.0}
    ]
    text = cpf("test", "--min-coverage", "90", "--text").text
    assert "w.yaml: 60 % covered, and at least 90 % are asked for; never: a: on_error; b: if not" in text


def test_what_is_real_runs_here_and_leaves_nothing(cpf: Cpf) -> None:
    cpf.flow(
        cli(
            "a", 'printf \'{"x":"%s"}\' ${inputs.v}; touch "$CPF_ARTIFACTS_DIR/f" ran; sleep 0.1', outputs={}
        ),
        cli("b", "echo no >&2; exit 4", on_error="continue", timeout_seconds=9),
        end("e", result={"x": "${steps.a.outputs.x}", "code": "${steps.b.error.exit_code}"}),
    )
    cpf.write(
        "w.test.yaml",
        f"{HEAD}  - name: one\n    inputs: {{v: a b}}\n    steps: {{a: {{real: true}}, b: {{real: true}}}}\n"
        "    expect: {result: {x: a b, code: 4}}\n",
    )
    answer = cpf("test")
    assert answer.code == 0, answer.text
    assert sorted(os.listdir(cpf.cwd)) == ["ran", "w.test.yaml", "w.yaml"]


def test_what_cannot_begin_is_refused(cpf: Cpf, monkeypatch: pytest.MonkeyPatch) -> None:
    cpf.flow(cli("a", "true"))
    cpf.write("w.test.yaml", f"{HEAD}  - name: one\n    steps: {{a: {{real: true}}}}\n")
    assert cpf("test").code == 0
    from checkpointflow.drivers import command

    monkeypatch.setattr(command.os.path, "isdir", lambda _: False)
    assert cpf("test", "w.test.yaml").error_code == "ERR_DIRECTORY_GONE"


def test_a_long_answer_says_which_line_shows_all(cpf: Cpf) -> None:
    cpf.flow(end("e", result={"x": "y" * 30000}))
    cpf.write("w.test.yaml", f"{HEAD}  - name: one\n    expect: {{result: 1}}\n")
    answer = cpf("test")
    assert answer["next"][0]["argv"] == ["cpf", "test", "--full"]
    assert json.loads(cpf("test", "--full").text)["exit_code"] == 30
