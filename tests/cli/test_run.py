"""`cpf run`: from inputs to an end, a wait, or a failure."""

from __future__ import annotations

import json
import os

import pytest

from checkpointflow.json_text import MAX_BYTES
from tests.conftest import Cpf
from tests.helpers import ask, cli, end


def test_values_go_from_step_to_step(cpf: Cpf) -> None:
    answer = cpf.run(
        cli("a", """printf '{"text": "it'"'"'s $HOME; \\\\u00e9"}'"""),
        cli("b", """printf '%s' ${steps.a.outputs.text} > out; printf plain"""),
        end("e", result={"n": "${inputs.n}", "out": "${steps.b.stdout}", "code": "${steps.b.exit_code}"}),
        inputs={"n": [1, {"x": None}]},
    )
    assert answer["result"] == {"n": [1, {"x": None}], "out": "plain", "code": 0}
    assert (cpf.cwd / "out").read_text() == "it's $HOME; é"


def test_a_failed_step_ends_with_30_and_says_which(cpf: Cpf) -> None:
    answer = cpf.run(cli("a"), cli("b", "echo 'no such page' >&2; exit 4"), cli("c", "touch never"))
    assert (answer.code, answer["ok"], answer["status"]) == (30, False, "failed")
    assert (answer["error"]["code"], answer["error"]["step_id"]) == ("ERR_STEP_FAILED", "b")
    assert "no such page" in answer["error"]["message"]
    assert not (cpf.cwd / "never").exists()
    status = cpf("status", "--run-id", answer["run_id"])
    assert (status.code, status["error"]) == (30, answer["error"])


def test_it_is_tried_again(cpf: Cpf) -> None:
    step = cli(
        "a", "echo $CPF_ATTEMPT; test $CPF_ATTEMPT = 3", retry={"max_attempts": 3, "backoff_seconds": 0.01}
    )
    answer = cpf.run(step)
    assert answer.code == 0
    logs = cpf("logs", "--run-id", answer["run_id"], "--stream", "stdout")["logs"]
    assert [(entry["attempt"], entry["text"]) for entry in logs] == [(1, "1\n"), (2, "2\n"), (3, "3\n")]


@pytest.mark.parametrize("where", [{}, {"CPF_ON": "temporal://h"}])
def test_who_names_workers_is_warned_unless_there_are_some(cpf: Cpf, where: dict[str, str]) -> None:
    file = cpf.flow(cli("a", runs_on="gpu"), cli("b", runs_on="gpu"))
    told = [] if where else ["W137"]
    answer = cpf("validate", "-f", file, **where)
    assert [warning["id"] for warning in answer["result"]["warnings"]] == told
    assert cpf("validate", "-f", file, "--strict", **where).code == (0 if where else 10)
    if not where:
        (warning,) = cpf("run", "-f", file)["warnings"]
        assert "`runs_on` of a counts on a cluster; here every step runs on this machine" in warning
        assert "warnings" not in cpf.run(cli("a")).json


def test_a_time_out_is_told_as_one(cpf: Cpf) -> None:
    answer = cpf.run(cli("a", "exec sleep 30", timeout_seconds=0.2))
    assert (answer.code, answer.error_code) == (30, "ERR_TIMEOUT")


def test_defaults_of_the_input_schema_are_applied(cpf: Cpf) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "default": 7}}}
    answer = cpf("run", "-f", cpf.flow(end("e", result="${inputs.n}"), inputs=schema))
    assert answer["result"] == 7


@pytest.mark.parametrize("text", ["@in.json", "-", '{"n": 1}'])
def test_inputs_come_inline_from_a_file_or_from_standard_input(cpf: Cpf, text: str) -> None:
    cpf.write("in.json", '{"n": 1}')
    file = cpf.flow(end("e", result="${inputs.n}"))
    assert cpf("run", "-f", file, "--input", text, stdin='{"n": 1}')["result"] == 1


@pytest.mark.parametrize(
    "text",
    ["", "{", "nope", '{"n": NaN}', '{"n": 1e999}', "[1]", "3", '{"n": "\\ud800"}', "[" * 5000, '{"n": 1} x',
     '{"a":' * 101 + "1" + "}" * 101],
)  # fmt: skip
def test_inputs_that_are_not_a_json_object_are_refused(cpf: Cpf, text: str) -> None:
    answer = cpf("run", "-f", cpf.flow(cli("a")), "--input", text)
    assert (answer.code, answer.error_code) == (10, "ERR_VALIDATION_INPUT")
    assert not (cpf.base / "runs").exists()


def test_inputs_that_do_not_fit_are_refused(cpf: Cpf) -> None:
    schema = {"type": "object", "required": ["page"], "properties": {"page": {"type": "string"}}}
    answer = cpf("run", "-f", cpf.flow(cli("a"), inputs=schema), "--input", '{"page": 3}')
    assert (answer.code, answer.error_code) == (10, "ERR_VALIDATION_INPUT")
    assert answer["error"]["details"][0]["path"] == "$.page"


def test_a_missing_file_is_told(cpf: Cpf) -> None:
    answer = cpf("run", "-f", "nowhere.yaml")
    assert (answer.code, answer.error_code) == (10, "ERR_FILE_NOT_FOUND")


def test_what_is_no_regular_file_is_told(cpf: Cpf) -> None:
    os.mkfifo(cpf.cwd / "pipe")
    for name in (".", "pipe", "/dev/zero"):
        answer = cpf("run", "-f", name)
        assert (answer.code, answer.error_code) == (10, "ERR_FILE_NOT_FOUND"), name
        answer = cpf("run", "-f", cpf.flow(cli("a")), "--input", f"@{name}")
        assert (answer.code, answer.error_code) == (10, "ERR_FILE_NOT_FOUND"), name


def test_of_an_input_without_an_end_no_more_than_the_limit_is_read(cpf: Cpf) -> None:
    given = b" " * (MAX_BYTES + 1000)
    (cpf.cwd / "long.json").write_bytes(given)
    flow = cpf.flow(cli("a", "touch ran"))
    answer = cpf("run", "-f", flow, "--input", "-", stdin=given)
    assert (answer.error_code, f"has {MAX_BYTES + 1} bytes" in answer["error"]["message"]) == (
        "ERR_VALIDATION_INPUT",
        True,
    )
    answer = cpf("run", "-f", flow, "--input", "@long.json")
    assert (answer.code, f"larger than {MAX_BYTES} bytes" in answer["error"]["message"]) == (10, True)
    assert not (cpf.cwd / "ran").exists()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "ERR_VALIDATION_WORKFLOW"),
        ("a: [", "ERR_YAML_PARSE"),
        ("a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n" , "ERR_VALIDATION_WORKFLOW"),
        ("[" * 300, None),
        ("x: " + "\n  - &a" + "y" * 10, None),
    ],
)  # fmt: skip
def test_a_document_that_is_none_is_told(cpf: Cpf, text: str, code: str | None) -> None:
    cpf.write("bad.yaml", text)
    for command in ("run", "validate"):
        answer = cpf(command, "-f", "bad.yaml")
        assert answer.code == 10
        assert code in (None, answer.error_code)


def test_a_billion_laughs_are_refused_at_once(cpf: Cpf) -> None:
    rows = ["a0: &a0 [lol]"] + [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    answer = cpf("validate", "-f", cpf.write("bomb.yaml", "\n".join(rows)))
    assert answer.code == 10


def test_an_unknown_kind_of_step_is_unsupported_at_run_and_an_error_in_validate(cpf: Cpf) -> None:
    answer = cpf.run({"id": "a", "kind": "magic"}, {"id": "b"})
    assert (answer.code, answer.error_code) == (80, "ERR_UNSUPPORTED_STEP")
    answer = cpf("validate", "-f", "w.yaml")
    assert (answer.code, answer.error_code) == (10, "ERR_VALIDATION_WORKFLOW")


def test_a_schema_that_cannot_be_honoured_is_unsupported(cpf: Cpf) -> None:
    answer = cpf("run", "-f", cpf.flow(cli("a"), inputs={"type": "object", "requird": ["x"]}))
    assert (answer.code, answer.error_code) == (80, "ERR_UNSUPPORTED_SCHEMA")


def test_two_steps_of_one_name_are_told(cpf: Cpf) -> None:
    assert cpf.run(cli("a"), cli("a")).error_code == "ERR_DUPLICATE_STEP_ID"


def test_a_wait_that_is_over_is_taken_by_the_next_resume(cpf: Cpf) -> None:
    step = ask("q", timeout_seconds=0.3, on_timeout={"next": "late"})
    answer = cpf.run(step, cli("a"), end("late", result="late"))
    assert answer["wait"]["timeout_at"] > answer["updated_at"]
    import time

    time.sleep(0.4)
    late = cpf.resume(answer["run_id"], "q_event", {})
    assert (late.code, late.error_code) == (20, "ERR_WAIT_EXPIRED")
    assert cpf.resume(answer["run_id"])["result"] == "late"


def test_a_store_that_cannot_be_written_is_told(cpf: Cpf) -> None:
    cpf.base.write_text("a file where the store should be")
    answer = cpf.run(cli("a"))
    assert (answer.code, answer.error_code) == (60, "ERR_PERSISTENCE")


def test_two_equal_runs_differ_only_in_ids_and_times(cpf: Cpf) -> None:
    def told() -> str:
        run_id = cpf.run(cli("a", "echo '{\"n\": 1}'"), ask("q"))["run_id"]
        state = cpf.state(run_id)
        for name in ("run_id", "checkpoint_id", "started_at", "updated_at"):
            del state[name]
        for step in state["steps"].values():
            step.pop("started_at"), step.pop("ended_at", None)
        return json.dumps(state)

    assert told() == told()
