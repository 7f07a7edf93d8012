"""`error.where`: the place in a document that an error is about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Answer, Cpf
from tests.helpers import cli, foreach

HEAD = "schema_version: checkpointflow/v1\nworkflow:\n  id: {}\n  steps:\n"
FAIL = "{id: a, kind: cli, command: 'false'}"


def place(answer: Answer) -> tuple[str, int, int]:
    where = answer["error"]["where"]
    return where["file"], where["line"], where["column"]


def test_the_first_mistake_of_a_document_has_its_place(cpf: Cpf) -> None:
    file = cpf.cwd / "w.yaml"
    file.write_text(HEAD.format("w") + "    - id: a\n      kind: cli\n      command: x\n      nmae: y\n")
    for answer in (cpf("validate", "w.yaml"), cpf("run", "w.yaml")):
        assert place(answer) == ("w.yaml", 8, 7)
        assert answer["error"]["details"][0]["line"] == 8


def test_a_warning_that_is_refused_has_its_place(cpf: Cpf) -> None:
    name = cpf.flow(cli("a", next="c"), cli("b"), cli("c"))
    answer = cpf("validate", name, "--strict")
    first = answer["error"]["details"][0]
    assert place(answer) == (name, first["line"], first["column"])


@pytest.mark.parametrize(
    ("steps", "line", "column"),
    [
        (f"    - {FAIL.replace('a,', 'b,').replace('false', ':')}\n    - {FAIL}\n", 6, 8),
        ("    - kind: cli\n      command: exit 1\n      'id': \"a\" # why\n", 7, 7),
        (f"    - {FAIL}\n", 5, 8),
        (
            "    - ? id\n      : a\n      kind: cli\n      command: |\n        : 'id: a'\n        false\n",
            5,
            9,
        ),
    ],
)
@pytest.mark.parametrize("id_", ["w", "a"])  # the search finds two; then the document is read
def test_a_failed_step_has_the_place_of_its_id(
    cpf: Cpf, steps: str, line: int, column: int, id_: str
) -> None:
    file = cpf.cwd / "w.yaml"
    file.write_text(HEAD.format(id_) + steps)
    failed = cpf("run", "w.yaml")
    assert (failed.code, failed["error"]["step_id"]) == (30, "a")
    assert place(failed) == (str(file), line, column)
    assert place(cpf("status", failed["run_id"])) == (str(file), line, column)


def test_of_a_document_that_has_changed_the_place_is_in_the_runs_copy(cpf: Cpf) -> None:
    file = cpf.cwd / "w.yaml"
    file.write_text(HEAD.format("w") + f"    - {FAIL}\n")
    run_id = cpf("run", "w.yaml")["run_id"]
    copy = str(cpf.directory(run_id) / "workflow.yaml")
    file.write_text("# new\n" + file.read_text())
    assert place(cpf("status", run_id)) == (copy, 5, 8)
    file.unlink()
    assert place(cpf("status", run_id)) == (copy, 5, 8)
    (cpf.directory(run_id) / "workflow.yaml").unlink()
    assert "where" not in cpf("status", run_id)["error"]


@pytest.mark.parametrize("block", ["call", "each", "chosen"])
def test_a_step_of_a_called_workflow_has_its_place_there(cpf: Cpf, block: str) -> None:
    (cpf.cwd / "sub").mkdir()
    (cpf.cwd / "sub" / "c.yaml").write_text(HEAD.format("c") + f"    - {FAIL}\n")
    step: dict[str, Any] = {"id": "a", "kind": "workflow", "workflow_ref": "sub/c.yaml"}
    if block == "each":
        step = {"id": "a", "kind": "foreach", "items": [1], "workflow_ref": "sub/c.yaml"}
    if block == "chosen":
        (cpf.cwd / "sub" / "b.yaml").write_text(HEAD.format("b") + f"\n\n    - {FAIL}\n")
        step |= {"workflow_ref": "sub/${lower('C')}.yaml", "one_of": ["sub/b.yaml", "sub/c.yaml"]}
    failed = cpf.run(step)
    assert failed["error"]["step_id"] in ("a/a", "a[0]/a")
    assert place(failed) == (str(cpf.cwd / "sub" / "c.yaml"), 5, 8)


def test_a_step_of_a_body_has_its_place(cpf: Cpf) -> None:
    failed = cpf.run(foreach("each", [1], cli("inner", "false")))
    file, line, _ = place(failed)
    assert "inner" in Path(file).read_text().splitlines()[line - 1]
