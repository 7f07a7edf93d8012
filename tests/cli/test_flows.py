"""`cpf flows` and `cpf run ID`: workflows found by their ids."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from checkpointflow.drivers import catalog
from tests.conftest import Cpf
from tests.helpers import ask, cli, end

INPUTS = {
    "type": "object",
    "required": ["page", "how"],
    "properties": {
        "page": {"type": "integer", "description": "Which."},
        "how": {"enum": ["fast", "slow"]},
        "name": {"type": "string", "default": "Ada"},
    },
}


def put(place: Path, file: str, id: str, /, *steps: dict[str, Any], **more: Any) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    workflow = {"id": id, "steps": list(steps or (end("e", result=f"{place.parent.name}/{file}"),)), **more}
    (place / file).write_text(json.dumps({"schema_version": "checkpointflow/v1", "workflow": workflow}))
    return place / file


def listed(cpf: Cpf, cwd: Path | None = None) -> list[dict[str, Any]]:
    return cpf("flows", cwd=cwd)["result"]["flows"]


def test_workflows_here_above_and_in_the_store_are_listed(cpf: Cpf) -> None:
    below = cpf.cwd / "x" / "y"
    files = [
        put(below / ".checkpointflow", "a.yaml", "a", description="First."),
        put(cpf.cwd / ".checkpointflow", "b.yml", "b", version=2),
        put(cpf.base, "c.yaml", "c", name="C"),
    ]
    put(cpf.cwd / ".checkpointflow", "notes.txt", "no")
    put(cpf.cwd / ".checkpointflow", "b.test.yaml", "tests")
    assert listed(cpf, below) == [
        {"id": "a", "description": "First.", "file": str(files[0])},
        {"id": "b", "version": "2", "file": str(files[1])},
        {"id": "c", "name": "C", "file": str(files[2])},
    ]
    assert [row["id"] for row in listed(cpf)] == ["b", "c"]


def test_the_nearest_of_an_id_is_meant(cpf: Cpf) -> None:
    put(cpf.cwd / "x" / ".checkpointflow", "a.yaml", "a")
    put(cpf.cwd / ".checkpointflow", "a.yaml", "a")
    assert [row.get("shadowed", False) for row in listed(cpf, cpf.cwd / "x")] == [False, True]
    assert cpf("run", "a", cwd=cpf.cwd / "x")["result"] == "x/a.yaml"
    assert cpf("run", "a")["result"] == "work/a.yaml"


def test_a_broken_document_is_listed_as_such_and_stops_nothing(cpf: Cpf) -> None:
    place = cpf.cwd / ".checkpointflow"
    put(place, "b.yaml", "b")
    (place / "a.yaml").write_text("steps: [")
    os.mkfifo(place / "c.yaml")
    rows = listed(cpf)
    assert ["problem" in row for row in rows] == [True, False, True]
    assert "a.yaml:1" in rows[0]["problem"]


def test_detail_says_what_it_takes_and_how_to_run_it(cpf: Cpf) -> None:
    put(cpf.cwd / ".checkpointflow", "a.yaml", "a", cli("say", "echo hi"), ask("q"), inputs=INPUTS)
    result = cpf("flows", "--detail", "a")["result"]
    assert result["inputs"] == [
        {"name": "page", "type": "integer", "description": "Which.", "required": True},
        {"name": "how", "required": True, "enum": ["fast", "slow"]},
        {"name": "name", "type": "string", "default": "Ada"},
    ]
    assert result["steps"] == [{"id": "say", "kind": "cli"}, {"id": "q", "kind": "await_event"}]
    line = shlex.split(result["run"])
    assert (line[:3], json.loads(line[4])) == (["cpf", "run", "a"], {"page": 0, "how": "fast"})
    assert cpf(*line[1:]).code == 40


def test_a_run_by_id_goes_on_from_its_own_copy(cpf: Cpf) -> None:
    file = put(cpf.cwd / ".checkpointflow", "a.yaml", "a", ask("q"))
    answer = cpf("run", "a")
    assert cpf.state(answer["run_id"])["workflow"]["source"] == str(file)
    file.unlink()
    assert cpf.resume(answer["run_id"], "q_event", {}).code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("run", "nothing"), 10, "ERR_FILE_NOT_FOUND"),
        (("run",), 2, "ERR_USAGE"),
        (("run", "a", "-f", "a.yaml"), 2, "ERR_USAGE"),
        (("flows", "--detail", "nothing"), 10, "ERR_FILE_NOT_FOUND"),
        (("run", "twice"), 2, "ERR_USAGE"),
    ],
)
def test_what_cannot_be_meant_is_told(cpf: Cpf, arguments: tuple[str, ...], code: int, error: str) -> None:
    for name in ("a.yaml", "b.yaml"):
        put(cpf.cwd / ".checkpointflow", name, "twice")
    answer = cpf(*arguments)
    assert (answer.code, answer.error_code) == (code, error)


def test_what_others_may_write_into_is_passed_over(cpf: Cpf) -> None:
    place = cpf.cwd / ".checkpointflow"
    put(place, "a.yaml", "a")
    assert place in catalog.list_directories(cpf.cwd, None)
    place.chmod(0o777)
    assert place not in catalog.list_directories(cpf.cwd, None)
    assert cpf("run", "a").error_code == "ERR_FILE_NOT_FOUND"


def test_no_workflow_anywhere_is_an_empty_list(cpf: Cpf) -> None:
    assert listed(cpf) == []
