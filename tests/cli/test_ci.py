"""cpf in a job of GitHub Actions: what the runner is told, and that data tells it nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Answer, Cpf
from tests.helpers import ask, cli, end, parallel

BAD = (
    "schema_version: checkpointflow/v1\nworkflow:\n  id: w\n  steps:\n    - {id: a, kind: cli, commnd: ls}\n"
)
EVIL = "x\n::set-output name=run_id::evil\n##[error]no\r\n::error::no\n| a | b |\n<script>`@me`"


def job(cpf: Cpf, *arguments: str, **more: Any) -> tuple[Answer, str, str]:
    """What cpf answers in a job, and what it writes for the outputs and the summary of the step."""
    files = [cpf.base.parent / name for name in ("output", "summary")]
    for file in files:
        file.write_text("before\n")
    env = {"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(files[0]), "GITHUB_STEP_SUMMARY": str(files[1])}
    answer = cpf(*arguments, **(env | more))
    output, summary = (file.read_text().removeprefix("before\n") for file in files)
    return answer, output, summary


def outputs(text: str) -> dict[str, str]:
    """The outputs of a step, as the runner reads its file of them."""
    lines, found = iter(text.splitlines()), {}
    for line in lines:
        name, _, mark = line.partition("<<")
        found[name] = "\n".join(iter(lambda mark=mark: next(lines), mark))
    return found


def commands(text: str) -> list[str]:
    """The lines that the runner takes for commands."""
    return [line for line in text.splitlines() if line.lstrip().startswith("::") or "##[" in line]


def test_mistakes_are_annotations_with_their_lines(cpf: Cpf) -> None:
    answer, output, summary = job(cpf, "validate", cpf.write("a,b:%.yaml", BAD))
    first = answer["error"]["details"][0]
    assert answer.err.splitlines()[0] == (
        f"::error file=a%2Cb%3A%25.yaml,line=5,col={first['column']}::{first['message']}"
        + (f"%0A{first['hint']}" if "hint" in first else "")
    )
    assert (output, summary) == ("", "")


def test_a_run_is_an_output_and_a_summary(cpf: Cpf) -> None:
    answer, output, summary = job(cpf, "run", cpf.flow(ask("q", prompt="Go on?")))
    assert outputs(output) == {"run_id": answer["run_id"], "status": "waiting"}
    assert "| asks | Go on? |\n| of | user |\n" in summary
    assert answer["run_id"] in summary


def test_a_failure_is_an_error_with_what_was_printed(cpf: Cpf) -> None:
    answer, _, summary = job(cpf, "run", cpf.flow(cli("a", "echo why >&2; exit 3")))
    assert answer.err.startswith("::error::")
    assert "| printed | why |" in summary


@pytest.mark.parametrize("words", [("run", "w.yaml"), ("status", "@latest"), ("retry", "@latest", "-v")])
@pytest.mark.parametrize("form", ["--json", "--text"])
def test_nothing_that_data_wrote_is_a_command_an_output_or_a_row(
    cpf: Cpf, words: tuple[str, ...], form: str
) -> None:
    printed = 'printf "%s\\n" ${inputs.evil} >&2; printf "%s\\n" ${inputs.evil}; exit 1'
    file = cpf.flow(cli("bad", printed), inputs={"properties": {"evil": {"default": EVIL}}})
    if words[0] != "run":
        cpf("run", file)
    answer, output, summary = job(cpf, *words, form)
    ours = [line for line in commands(answer.err) if not line.startswith("::error::")]
    groups = ["::group::bad", "::endgroup::"] if "-v" in words else []
    assert (ours, commands(answer.text)) == (groups, [])
    assert set(outputs(output)) == {"run_id", "status"}
    assert all(line.startswith("| ") and line.count("|") == 3 for line in summary.splitlines()[2:] if line)
    assert "<script>" not in summary and "`" not in summary and "@" not in summary


def test_a_question_is_no_command_either(cpf: Cpf) -> None:
    question = ask("q", prompt=EVIL, summary=EVIL, instructions=EVIL, input_schema={"description": EVIL})
    for form in ("--json", "--text"):
        answer, output, _ = job(cpf, "run", cpf.flow(question, end("e")), form)
        assert (commands(answer.text), commands(answer.err)) == ([], [])
        assert outputs(output)["status"] == "waiting"
    run = cpf.run(end("e", result=EVIL))
    assert run["result"] == EVIL
    assert commands(cpf("status", run["run_id"], "--text", GITHUB_ACTIONS="true").text) == []


@pytest.mark.parametrize("field", ["::error::x", '"##[error]x"'])
def test_a_wrong_document_holds_no_command(cpf: Cpf, field: str) -> None:
    text = BAD.replace("{id: a, kind: cli, commnd: ls}", f"id: a\n      kind: cli\n      {field}: 1")
    answer, _, _ = job(cpf, "validate", cpf.write("w.yaml", text), "--text")
    assert len(answer.err.splitlines()) > 2
    assert [line for line in commands(answer.err) if not line.startswith("::error file=w.yaml,")] == []


def test_warnings_of_a_document_are_annotations_with_their_lines(cpf: Cpf) -> None:
    answer, _, _ = job(cpf, "validate", cpf.flow(cli("a"), description="W"))
    assert [line[:42] for line in commands(answer.err)] == ["::warning file=w.yaml,line=3,col=14::W104 "]


def test_what_steps_print_is_folded_and_opens_no_group_of_its_own(cpf: Cpf) -> None:
    evil = "echo ::endgroup::; echo '::group::x'; echo ' ::error::x'; echo '##[group]y' >&2"
    both = parallel("p", *({"id": n, "steps": [cli(n, f"echo {n}; sleep 0.2")]} for n in ("x", "y")))
    answer, _, _ = job(cpf, "run", cpf.flow(cli("a", evil), both, cli("c", "exit 1")), "-v", CI="true")
    told = commands(answer.err)
    assert told[0] == "::group::a"
    assert told[1::2] == ["::endgroup::"] * 3
    assert told[2] == "::group::p[x]/x, p[y]/y" and told[4] == "::group::c"
    assert told[6:] == ["::error::the command ended with exit code 1"]
    lines = [line.strip() for line in answer.err.splitlines()]
    assert lines.index("::endgroup::") < lines.index(next(line for line in lines if line.startswith("✓ a")))
    quiet, _, _ = job(cpf, "run", cpf.flow(cli("a", "true")), "--progress", "plain")
    assert "::" not in quiet.err
    assert "::group" not in cpf("run", cpf.flow(cli("a", "true")), "-v").err


def test_a_message_is_one_command(cpf: Cpf) -> None:
    answer, _, _ = job(cpf, "run", "-f", EVIL.replace("/", ""))
    assert "::set-output" in answer["error"]["message"]
    assert len(answer.err.splitlines()) == 1


def test_files_that_cannot_be_written_change_nothing(cpf: Cpf) -> None:
    answer, _, _ = job(cpf, "run", cpf.flow(end("e")), GITHUB_OUTPUT="/nowhere/x", GITHUB_STEP_SUMMARY="")
    assert (answer.code, answer["status"]) == (0, "completed")


def test_elsewhere_nothing_is_told(cpf: Cpf) -> None:
    answer, output, summary = job(cpf, "run", cpf.flow(ask("q")), GITHUB_ACTIONS="")
    assert (answer.code, answer.err, output, summary) == (40, "", "", "")


@pytest.mark.parametrize(
    ("words", "code"), [((), 40), (("--ok-when", "waiting"), 0), (("--ok-when", "failed"), 40)]
)
def test_waiting_is_success_for_whoever_says_so(cpf: Cpf, words: tuple[str, ...], code: int) -> None:
    answer = cpf("run", cpf.flow(ask("q")), *words)
    assert (answer.code, answer["exit_code"], answer["status"]) == (code, code, "waiting")


def test_a_json_envelope_is_the_same_but_for_how_it_is_spelt(cpf: Cpf) -> None:
    answer = cpf.run(end("e", result="##[x]"))
    assert json.loads(answer.text)["result"] == "##[x]"
    assert "##[" not in answer.text


def test_no_character_of_data_turns_round_what_is_read_or_speaks_to_a_terminal(cpf: Cpf) -> None:
    """Failed with: the characters themselves, in annotations and in the summary."""
    odd = {"\x9b", "\x7f", "\u202e"}
    answer, _, summary = job(cpf, "run", cpf.flow(cli("a", f"echo 'a{''.join(sorted(odd))}b' >&2; exit 3")))
    assert "a\\x7f\\x9b\\u202eb" in answer.err
    assert odd & set(answer.err + summary) == set()
