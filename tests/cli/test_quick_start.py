"""The Quick Start of the original description, word for word, from a shell."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import QUICK_START, Answer, Cpf
from tests.terminals import Terminal, plain

README = (Path(__file__).parents[2] / "README.md").read_text()
PAGE = {"page_url": "https://wiki.example/pages/123456"}


@pytest.fixture
def waiting(cpf: Cpf) -> tuple[Cpf, Answer]:
    """The run at its wait."""
    for name in ("workflow.yaml", "input.json"):
        shutil.copy(QUICK_START / name, cpf.cwd)
    cpf.env["PATH"] = f"{QUICK_START / 'bin'}{os.pathsep}{cpf.env['PATH']}"
    return cpf, cpf.real("run", "-f", "workflow.yaml", "--input", "@input.json")


def test_it_validates(waiting: tuple[Cpf, Answer]) -> None:
    cpf, _ = waiting
    assert cpf("validate", "-f", "workflow.yaml").code == 0


def test_it_stops_at_the_approval_with_exit_code_40(waiting: tuple[Cpf, Answer]) -> None:
    _, answer = waiting
    assert answer.code == 40
    assert (answer["ok"], answer["status"], answer["exit_code"]) == (True, "waiting", 40)
    assert answer["current_step_id"] == "approval"
    wait = answer["wait"]
    assert (wait["audience"], wait["event_name"], wait["step"]) == ("user", "change_approval", "approval")
    assert wait["prompt"] == "Review the proposed page update and approve or reject it."
    assert wait["input_schema"]["required"] == ["decision"]


def answered(cpf: Cpf, answer: Answer, decision: str) -> Answer:
    """Paste the line of the envelope into a shell, the answer lying in response.json."""
    cpf.write("response.json", f'{{"decision": "{decision}"}}')
    program, *arguments = shlex.split(answer["wait"]["resume"]["command"])
    assert program == "cpf"
    del cpf.env["CHECKPOINTFLOW_BASE_DIR"]  # the line must work in a shell that knows nothing
    return cpf.real(*arguments)


def test_approving_ends_with_the_page(waiting: tuple[Cpf, Answer]) -> None:
    answer = answered(*waiting, "approve")
    assert (answer.code, answer["status"], answer["result"]) == (0, "completed", PAGE)


def test_rejecting_ends_with_the_rejection(waiting: tuple[Cpf, Answer]) -> None:
    answer = answered(*waiting, "reject")
    assert (answer.code, answer["result"]) == (0, {"status": "rejected"})


def test_it_goes_on_with_the_workflow_file_gone(waiting: tuple[Cpf, Answer]) -> None:
    (waiting[0].cwd / "workflow.yaml").unlink()
    assert answered(*waiting, "approve")["result"] == PAGE


def test_it_goes_on_from_a_changed_workflow_file_as_it_began(waiting: tuple[Cpf, Answer]) -> None:
    cpf, answer = waiting
    cpf.write("workflow.yaml", "nonsense: [")
    status = cpf("status", "--run-id", answer["run_id"])
    assert "has changed since the run started" in status["warnings"][0]
    assert answered(cpf, answer, "approve")["result"] == PAGE


def test_it_goes_on_from_a_copy_of_its_directory_in_another_store(
    waiting: tuple[Cpf, Answer], tmp_path: Path
) -> None:
    cpf, answer = waiting
    other = tmp_path / "other"
    shutil.copytree(cpf.directory(answer["run_id"]), other / "runs" / answer["run_id"])
    shutil.rmtree(cpf.base)
    cpf.base = other
    cpf.env["CHECKPOINTFLOW_BASE_DIR"] = str(other)
    status = cpf("status", "--run-id", answer["run_id"][:12])
    assert str(other) in status["wait"]["resume"]["command"]
    assert answered(cpf, status, "approve")["result"] == PAGE


def test_it_goes_on_by_its_directory_wherever_that_lies(waiting: tuple[Cpf, Answer], tmp_path: Path) -> None:
    cpf, answer = waiting
    place = tmp_path / "handed over"
    shutil.move(cpf.directory(answer["run_id"]), place)
    status = cpf("status", "--run-dir", str(place))
    assert status.code == 40
    assert answered(cpf, status, "approve")["result"] == PAGE
    assert cpf("status", "--run-dir", str(place))["result"] == PAGE


def test_status_and_inspect_tell_what_happened(waiting: tuple[Cpf, Answer]) -> None:
    cpf, answer = waiting
    run_id = answer["run_id"]
    assert cpf("status", "--run-id", run_id).code == 40
    inspected = cpf("inspect", "--run-id", run_id, "--history")
    assert inspected.code == 40
    assert inspected["inputs"] == {"page_id": "123456", "source_file": "docs/architecture.md"}
    assert inspected["steps"]["plan"]["outputs"]["plan_file"] == "plan-123456.json"
    assert [e["fact"]["fact"] for e in inspected["history"]] == [
        "run_began", "step_started", "files_sealed", "step_succeeded", "wait_opened",
    ]  # fmt: skip


def test_the_picture_in_the_readme_is_what_a_terminal_shows(waiting: tuple[Cpf, Answer]) -> None:
    cpf, _ = waiting
    command, *picture = README.split("```console\n", 1)[1].split("```", 1)[0].splitlines()
    with Terminal(cpf, *shlex.split(command)[2:]) as person:
        for question, typed in (
            ("now?", ""),
            ("decision (", "app"),
            ("comment (", "Looks good."),
            ("Send it?", ""),
        ):
            person.expect(question)
            person.expect(") " if not typed or question == "now?" else ": ")
            person.type(typed)
        assert person.end() == 0
        assert list(_still(plain(person.raw).splitlines())) == list(_still(picture))


def _still(lines: list[str]) -> Iterator[str]:
    """*lines* without what differs each time, and without those that are drawn anew."""
    for line in lines:
        if line.strip() and not line.lstrip().startswith("●"):
            line = re.sub(r"\b[0-9.]+s\b", "TIME", line.rstrip())
            yield re.sub(r"   [0-9A-Z]{4}   ", "   RUN   ", line)
