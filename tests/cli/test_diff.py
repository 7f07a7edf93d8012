"""`cpf diff`: two runs, or two checkpoints of one, side by side."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Cpf
from tests.helpers import ask, branch, cli, end, foreach, parallel, switch

STEPS = (
    cli("plan", 'echo "{\\"n\\": ${inputs.n}}"'),
    switch("size", ("inputs.n > 10", "large"), default="small"),
    cli("large", "true", next="done"),
    cli("small", "true"),
    end("done", result={"n": "${steps.plan.outputs.n}"}),
)


def ran(cpf: Cpf, n: int, *steps: dict[str, Any]) -> str:
    return cpf.run(*(steps or STEPS), inputs={"n": n})["run_id"]


def diff(cpf: Cpf, a: str, b: str) -> dict[str, Any]:
    answer = cpf("diff", a, b)
    assert answer.code == 0, answer.text
    return answer["result"]


def test_equal_runs_differ_in_ids_and_times_only(cpf: Cpf) -> None:
    a, b = ran(cpf, 1), ran(cpf, 1)
    found = diff(cpf, a, b)
    assert found["equal"] is True
    assert [found[part] for part in ("workflow", "inputs", "path", "steps", "outcome")] == [[]] * 5
    assert (found["a"]["run_id"], found["b"]["run_id"]) == (a, b)


def test_inputs_path_outputs_and_result_are_compared(cpf: Cpf) -> None:
    found = diff(cpf, ran(cpf, 1), ran(cpf, 11))
    assert found["equal"] is False
    assert found["workflow"] == []
    assert found["inputs"] == [{"at": "n", "a": 1, "b": 11}]
    assert found["path"] == [
        {"body": ".", "a": ["plan", "size", "small", "done"], "b": ["plan", "size", "large", "done"]}
    ]
    steps = {step["step"]: step["differences"] for step in found["steps"]}
    assert steps["plan"] == [{"at": "outputs.n", "a": 1, "b": 11}]
    assert steps["size"] == [{"at": "next", "a": "small", "b": "large"}]
    assert found["outcome"] == [{"at": "result.n", "a": 1, "b": 11}]


def test_so_is_what_failed_steps_put_out(cpf: Cpf) -> None:
    loud = cli("loud", 'echo "{\\"n\\": ${inputs.n}}"; exit 1', on_error="continue")
    found = diff(cpf, ran(cpf, 1, loud), ran(cpf, 2, loud))
    assert found["steps"] == [{"step": "loud", "differences": [{"at": "outputs.n", "a": 1, "b": 2}]}]


def test_timing_tells_how_long_each_step_took(cpf: Cpf) -> None:
    found = diff(cpf, ran(cpf, 1, cli("a", "sleep 0.3")), ran(cpf, 1, cli("a", "sleep 0.01")))
    (timing,) = found["timing"]
    assert timing["step"] == "a"
    assert timing["a"] > timing["b"] > 0
    assert [difference["at"] for difference in found["workflow"]] == ["digest"]


def test_two_checkpoints_of_one_run_are_compared(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q"), cli("go"), end("e", result="${steps.q.outputs}"))["run_id"]
    before = cpf.state(run_id)["checkpoint_id"]
    cpf.resume(run_id, "q_event", {"y": 1})
    found = diff(cpf, f"{run_id}@{before[:12]}", run_id[:20])
    assert (found["a"]["status"], found["b"]["status"]) == ("waiting", "completed")
    assert found["path"] == [{"body": ".", "a": ["q"], "b": ["q", "go", "e"]}]
    (step,) = found["steps"]
    assert step["step"] == "q"
    assert {"at": "outputs", "b": {"y": 1}} in step["differences"]
    assert diff(cpf, f"{run_id}@{before}", f"{run_id}@{before}")["equal"] is True


@pytest.mark.parametrize("checkpoint", ["ffff" * 16, "zzzz", "12", "-"])
def test_a_checkpoint_that_is_none_is_told(cpf: Cpf, checkpoint: str) -> None:
    run_id = cpf.run(ask("q"))["run_id"]
    answer = cpf("diff", run_id, f"{run_id}@{checkpoint}")
    assert (answer.code, answer.error_code) == (10, "ERR_RUN_NOT_FOUND")
    assert "cpf inspect" in answer["error"]["message"]


def test_the_order_in_which_branches_came_to_be_is_no_difference(cpf: Cpf) -> None:
    def two(slow: str) -> str:
        wait = f'if [ "$CPF_STEP" = "checks[{slow}]/{slow}" ]; then sleep 0.2; fi'
        cpf.write("wait.sh", wait)
        return cpf.run(
            parallel("checks", branch("a", cli("a", ". ./wait.sh")), branch("b", cli("b", ". ./wait.sh")))
        )["run_id"]

    assert diff(cpf, two("a"), two("b"))["equal"] is True


def test_every_iteration_is_compared(cpf: Cpf) -> None:
    body = cli("one", "echo '{\"n\": ${item}}'")
    found = diff(cpf, ran(cpf, 1, foreach("each", [1, 2], body)), ran(cpf, 1, foreach("each", [1, 3], body)))
    assert [step["step"] for step in found["steps"]] == ["each", "each[1]/one"]


def test_a_run_directory_that_lies_anywhere_can_be_compared(cpf: Cpf) -> None:
    run_id = ran(cpf, 1)
    cpf.directory(run_id).rename(cpf.cwd / "mine")
    assert (
        diff(cpf, "./mine", f"./mine@{diff(cpf, './mine', './mine')['a']['checkpoint_id'][:8]}")["equal"]
        is True
    )


def test_the_newest_run_may_be_named_as_such(cpf: Cpf) -> None:
    run_id = ran(cpf, 1)
    checkpoint = cpf("status", run_id)["checkpoint_id"]
    for a, b in (("@latest", run_id), (run_id[-4:], f"@latest@{checkpoint[:6]}")):
        assert diff(cpf, a, b)["equal"] is True
