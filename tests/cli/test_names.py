"""Naming runs, events, steps and inputs with few characters, and being told what was meant."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from tests.conftest import Cpf
from tests.helpers import ask, cli, end
from tests.terminals import at_a_terminal

INPUTS = {
    "type": "object",
    "properties": {
        "cluster": {"type": "string"},
        "n": {"type": "integer"},
        "wet": {"type": "boolean"},
        "tags": {"type": "array"},
        "level": {"enum": ["low", 3, True]},
        "v": {"const": 7},
        "either": {"type": ["integer", "string"]},
    },
}


# Runs


def test_a_run_is_named_by_the_beginning_or_the_end_of_its_id(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q"))["run_id"]
    for name in (run_id, run_id[-4:], run_id[-4:].lower(), run_id[:10], "@latest", "@LATEST"):
        assert cpf("status", name)["run_id"] == run_id
        assert cpf("status", "--run-id", name)["run_id"] == run_id


def test_latest_is_the_newest(cpf: Cpf) -> None:
    runs = [cpf.run(cli("a"))["run_id"] for _ in range(3)]
    assert cpf("status", "@latest")["run_id"] == runs[-1]


def test_an_ambiguous_end_is_refused_with_the_runs(cpf: Cpf) -> None:
    runs = {cpf.run(cli("a"))["run_id"] for _ in range(2)}
    answer = cpf("status", "01")
    assert (answer.code, answer.error_code) == (10, "ERR_RUN_NOT_FOUND")
    assert set(answer["error"]["details"]["runs"]) == runs


@pytest.mark.parametrize("name", ["ZZZZ", "@latest", "@newest", "../x", "", "a b", "-x"])
def test_a_run_that_is_not_there_is_told(cpf: Cpf, name: str) -> None:
    answer = cpf("status", "--run-id", name)
    assert (answer.code, answer.error_code) == (10, "ERR_RUN_NOT_FOUND")


@pytest.mark.parametrize(
    "arguments", [(), ("X", "--run-id", "X"), ("X", "--run-dir", "x"), ("--run-dir", "x", "--base-dir", "y")]
)
def test_a_run_is_named_once(cpf: Cpf, arguments: tuple[str, ...]) -> None:
    answer = cpf("status", *arguments)
    assert (answer.code, answer.error_code) == (2, "ERR_USAGE")


def test_every_command_about_a_run_takes_it_as_a_word(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q"))["run_id"]
    for words in (
        ("status",), ("inspect",), ("logs",), ("verify",), ("resume",), ("wait",), ("watch",),
        ("export", "-o", "a.tar.gz"), ("report", "-o", "r.html"), ("cancel", "--reason", "x"), ("delete",),
    ):  # fmt: skip
        answer = cpf(words[0], run_id[-4:], *words[1:])
        assert (answer.code, answer["command"]) in [(0, words[0]), (40, words[0]), (50, words[0])]
    assert cpf("status", run_id).error_code == "ERR_RUN_NOT_FOUND"


def test_graph_takes_a_run_wherever_it_lies(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q"))["run_id"]
    ways = (("--run-id", run_id), (run_id[-4:],), ("--run-dir", str(cpf.directory(run_id))))
    assert len({cpf("graph", *way).text for way in ways}) == 1


# Documents


def test_a_document_may_come_as_a_word_or_from_standard_input(cpf: Cpf) -> None:
    text = (cpf.cwd / cpf.flow(end("e", result=1))).read_text()
    for words, stdin in ((("w.yaml",), ""), (("-f", "-"), text), (("-",), text), (("-f", "w.yaml"), "")):
        assert cpf("validate", *words, stdin=stdin)["status"] == "completed"
        assert cpf("run", *words, stdin=stdin)["result"] == 1


@pytest.mark.parametrize("command", ["run", "validate"])
@pytest.mark.parametrize("words", [(), ("w.yaml", "-f", "w.yaml")])
def test_a_document_is_named_once(cpf: Cpf, command: str, words: tuple[str, ...]) -> None:
    cpf.flow(end("e"))
    answer = cpf(command, *words)
    assert (answer.code, answer.error_code) == (2, "ERR_USAGE")


# Values


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["cluster=pg1"], {"cluster": "pg1"}),
        (["cluster=a=b"], {"cluster": "a=b"}),
        (["cluster="], {"cluster": ""}),
        (["cluster=3"], {"cluster": "3"}),
        (["n=3"], {"n": 3}),
        (["n:=3"], {"n": 3}),
        (["wet=true"], {"wet": True}),
        (['tags=["a"]'], {"tags": ["a"]}),
        (["tags:=[]"], {"tags": []}),
        (["level=low"], {"level": "low"}),
        (["level=3"], {"level": 3}),
        (["v=7"], {"v": 7}),
        (["either=3"], {"either": "3"}),
        (["either:=3"], {"either": 3}),
        (["more=3"], {"more": "3"}),
        (['more:={"a": 1}'], {"more": {"a": 1}}),
        (["cluster=a", "n=1", "cluster=b"], {"cluster": "b", "n": 1}),
    ],
)
def test_a_setting_is_typed_by_the_schema(cpf: Cpf, given: list[str], meant: dict[str, Any]) -> None:
    file = cpf.flow(end("e", result="${inputs}"), inputs=INPUTS)
    answer = cpf("run", file, *(word for text in given for word in ("--set", text)))
    assert (answer.code, answer["result"]) == (0, meant)


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (("--set", "cluster"), 2, "ERR_USAGE"),
        (("--set", "=x"), 2, "ERR_USAGE"),
        (("--set", ":=1"), 2, "ERR_USAGE"),
        (("--set", "a=1", "--input", "[]"), 2, "ERR_USAGE"),
        (("--set", "n=three"), 10, "ERR_VALIDATION_INPUT"),
        (("--set", "n:="), 10, "ERR_VALIDATION_INPUT"),
        (("--set", "n=NaN"), 10, "ERR_VALIDATION_INPUT"),
        (("--set", "level=high"), 10, "ERR_VALIDATION_INPUT"),
        (("--set", "v=8"), 10, "ERR_VALIDATION_INPUT"),
        (("--set", "cluster:=3"), 10, "ERR_VALIDATION_INPUT"),
    ],
)
def test_a_wrong_setting_starts_nothing(cpf: Cpf, words: tuple[str, ...], code: int, error: str) -> None:
    answer = cpf("run", cpf.flow(end("e"), inputs=INPUTS), *words)
    assert (answer.code, answer.error_code, "run_id" in answer.json) == (code, error, False)


def test_a_setting_goes_over_the_input(cpf: Cpf) -> None:
    file = cpf.flow(end("e", result="${inputs}"), inputs=INPUTS)
    given = json.dumps({"cluster": "a", "n": 1})
    assert cpf("run", file, "--input", given, "--set", "n=2")["result"] == {"cluster": "a", "n": 2}


# Events and steps


def test_where_one_wait_is_open_the_event_need_not_be_named(cpf: Cpf) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
    run_id = cpf.run(ask("q", input_schema=schema), end("e", result="${steps.q.outputs}"))["run_id"]
    assert cpf("resume", run_id, "--set", "ok=yes").error_code == "ERR_VALIDATION_EVENT_INPUT"
    assert cpf("resume", run_id, "--set", "ok=true")["result"] == {"ok": True}


def test_where_several_are_open_it_must_be_named(cpf: Cpf) -> None:
    branches = [{"id": name, "steps": [ask(f"q{name}")]} for name in "ab"]
    run_id = cpf.run({"id": "p", "kind": "parallel", "branches": branches})["run_id"]
    answer = cpf("resume", run_id, "--input", "{}")
    assert answer.error_code == "ERR_RESUME_EVENT_MISMATCH"
    assert "qa_event at p[a]/qa, qb_event at p[b]/qb" in answer["error"]["message"]
    assert cpf("resume", run_id, "--step", "p[a]/qa", "--input", "{}").code == 40
    assert cpf("resume", run_id, "--input", '{"b": 1}').code == 0


@pytest.mark.long
def test_what_was_meant_is_told(cpf: Cpf) -> None:
    failed = cpf.run(cli("build"), cli("smoke", "exit 1"))["run_id"]
    run_id = cpf.run(cli("build"), ask("quest"))["run_id"]
    near = f"{run_id[-6:-1]}{'0' if run_id[-1] != '0' else '1'}"
    for words, meant in (
        (("status", near), f"there is no run {near} in {cpf.base}; did you mean "),
        (("retry", failed, "--step", "smok"), "no step smok; did you mean smoke?"),
        (("retry", failed, "--step", "none"), "no step none; it came to build, smoke"),
        (
            ("resume", run_id, "--step", "qest", "--set", "x=1"),
            "at qest; it waits for quest_event at quest; did you mean quest?",
        ),
        (
            ("resume", run_id, "--step", "qest", "--event", "quest_event", "--input", "{}"),
            "did you mean quest?",
        ),
        (("resume", failed, "--set", "x=1"), "is failed, so it takes no event"),
        (("logs", failed, "--step", "none"), "these have: build, smoke"),
        (("stauts", run_id), "did you mean status?"),
        (("retry-setp", run_id), "did you mean retry-step?"),
        (("resume", run_id, "--event", "quest_evnt", "--input", "{}"), "quest_event"),
        (("logs", run_id, "--step", "biuld"), "build"),
    ):
        answer = cpf(*words)
        assert (answer.code in (2, 10, 20), meant in answer["error"]["message"]) == (True, True), answer.text
        assert meant in " ".join(at_a_terminal(cpf, *words)[1].split())


# Trying again


@pytest.mark.parametrize("command", ["retry", "retry-step"])
@pytest.mark.parametrize("option", ["--step", "--step-id"])
def test_a_failed_step_is_tried_again_by_either_name(cpf: Cpf, command: str, option: str) -> None:
    run_id = cpf.run(cli("a", "test -e fixed"))["run_id"]
    (cpf.cwd / "fixed").touch()
    answer = cpf(command, run_id, option, "a")
    assert (answer.code, answer["command"], answer["status"]) == (0, command, "completed")


# Warnings


def test_strict_refuses_what_is_only_doubtful(cpf: Cpf) -> None:
    file = cpf.flow(cli("a", "true"), description="W")
    assert cpf("validate", file).code == 0
    answer = cpf("validate", file, "--strict")
    assert (answer.code, answer.error_code) == (10, "ERR_VALIDATION_WARNINGS")
    assert answer["error"]["details"][0]["message"].startswith("the workflow has no `version`")
    document = (cpf.cwd / file).read_text().replace('"id": "w",', '"id": "w", "version": "1",')
    assert cpf("validate", cpf.write("v.yaml", document), "--strict").code == 0


def test_a_short_id_names_no_other_run_of_the_store(cpf: Cpf) -> None:
    """Failed with: four characters that told it from the other rows only."""
    run_id = cpf.run(cli("a"))["run_id"]
    shutil.copytree(cpf.directory(run_id), cpf.base / "runs" / ("0" * 22 + run_id[-4:]))
    short = cpf("list", "--limit", "1", "--text").text.splitlines()[1].split()[0]
    assert cpf("status", short)["run_id"] == run_id
    assert short in cpf("status", run_id, "--text").text


def test_of_few_runs_that_an_id_may_mean_all_are_named(cpf: Cpf) -> None:
    runs = sorted(cpf.run(cli("a"))["run_id"] for _ in range(2))
    refused = cpf("status", runs[0][0])
    assert f": {runs[0]}, {runs[1]}; give more" in refused["error"]["message"]
