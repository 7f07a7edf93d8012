"""`cpf init --template`: each template validates without warnings, and each of its ways leads to its end."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from checkpointflow.cli import schema
from checkpointflow.cli.init import NAMES, SCHEMA_FILE, TEMPLATES, TEST_SCHEMA_FILE
from checkpointflow.cli.schema import write_schema
from checkpointflow.documents.yaml import parse
from tests.conftest import QUICK_START, Answer, Cpf


@pytest.fixture(autouse=True, scope="module")
def _schemas_once() -> Iterator[None]:
    """`cpf init` writes two schemas beside a template: what they say follows from nothing but their names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "write_schema", cache(schema.write_schema))
        yield


def begun(cpf: Cpf, template: str, inputs: Any, **env: str) -> Answer:
    """A run of *template*, as `cpf init` writes it."""
    assert cpf("init", "--file", "w.yaml", "--template", template, "--force").code == 0
    return cpf("run", "-f", "w.yaml", "--input", json.dumps(inputs), **env)


def answered(cpf: Cpf, at: Answer, payload: Any, **env: str) -> Answer:
    """What comes of answering the first wait of *at*."""
    assert at.code == 40, at.text
    wait = at["wait"]
    given = ("--event", wait["event_name"], "--step", wait["step"], "--input", json.dumps(payload))
    return cpf("resume", "--run-id", at["run_id"], *given, **env)


# What init writes


def test_every_template_can_be_asked_for() -> None:
    known = {f"{name}{end}" for name in NAMES for end in (".yaml", ".test.yaml")}
    assert {file.name for file in TEMPLATES.iterdir()} == known


@pytest.mark.parametrize("template", NAMES)
def test_a_template_validates_without_warnings(cpf: Cpf, template: str) -> None:
    cpf("init", "--template", template)
    answer = cpf("validate", "-f", "checkpointflow.yaml")
    assert (answer.code, answer["result"]["warnings"]) == (0, [])


@pytest.mark.parametrize("template", NAMES)
def test_a_template_fits_the_published_schema(template: str) -> None:
    document = parse((TEMPLATES / f"{template}.yaml").read_bytes()).value
    jsonschema.Draft202012Validator(json.loads(write_schema("workflow"))).validate(document)


@pytest.mark.parametrize("template", NAMES)
def test_a_template_says_what_it_is_and_how_to_start_it(template: str) -> None:
    first, rest = (TEMPLATES / f"{template}.yaml").read_text().split("schema_version", 1)
    assert "cpf run -f" in first
    assert rest.count("# ") >= 2


def test_the_template_approval_is_the_quick_start_but_for_comments_and_invariants() -> None:
    without = re.sub(r"(?m)^ *#.*\n| #.*$", "", (TEMPLATES / "approval.yaml").read_text())
    without = re.sub(r"  invariants:\n(    - .*\n)+\n", "", without)
    assert without == (QUICK_START / "workflow.yaml").read_text()


def test_the_first_line_names_the_schema_that_init_writes_beside_the_workflow(cpf: Cpf) -> None:
    (cpf.cwd / "flows").mkdir()
    answer = cpf("init", "--file", "flows/w.yaml")
    for name, beside, kind in (
        ("w.yaml", SCHEMA_FILE, "workflow"), ("w.test.yaml", TEST_SCHEMA_FILE, "test"),
    ):  # fmt: skip
        first = (cpf.cwd / "flows" / name).read_text().splitlines()[0]
        assert first == f"# yaml-language-server: $schema={beside}"
        assert (cpf.cwd / "flows" / beside).read_bytes() == write_schema(kind)
    assert answer["result"]["schema"] == f"flows/{SCHEMA_FILE}"


def test_a_schema_that_an_older_cpf_wrote_is_brought_up_to_date(cpf: Cpf) -> None:
    cpf.write(SCHEMA_FILE, "{}")
    assert cpf("init").code == 0
    assert (cpf.cwd / SCHEMA_FILE).read_bytes() == write_schema("workflow")


def test_without_a_schema_the_template_is_written_as_it_is(cpf: Cpf) -> None:
    answer = cpf("init", "--no-schema")
    assert sorted(os.listdir(cpf.cwd)) == ["checkpointflow.test.yaml", "checkpointflow.yaml"]
    assert (cpf.cwd / "checkpointflow.yaml").read_bytes() == (TEMPLATES / "minimal.yaml").read_bytes()
    assert "schema" not in answer["result"]


def test_a_refused_init_writes_no_schema_either(cpf: Cpf) -> None:
    cpf.write("checkpointflow.yaml", "mine")
    assert cpf("init").code == 10
    assert os.listdir(cpf.cwd) == ["checkpointflow.yaml"]


def test_tests_that_are_there_are_kept(cpf: Cpf) -> None:
    cpf.write("checkpointflow.test.yaml", "mine")
    assert cpf("init").error_code == "ERR_FILE_EXISTS"
    assert os.listdir(cpf.cwd) == ["checkpointflow.test.yaml"]


@pytest.mark.parametrize("file", ["flow.yaml", "flow.yml"])
@pytest.mark.parametrize("template", NAMES)
def test_the_tests_of_a_template_pass_and_cover_all_of_it(cpf: Cpf, template: str, file: str) -> None:
    assert cpf("init", "--template", template, "--file", file)["result"]["tests"] == "flow.test.yaml"
    answer = cpf("test", "--min-coverage", "100")
    assert (answer.code, answer["result"]["failed"]) == (0, 0), answer.text


@pytest.mark.long(but_one_in=3)
@pytest.mark.parametrize("template", NAMES)
def test_a_template_says_what_must_hold_and_it_does(cpf: Cpf, template: str) -> None:
    cpf("init", "--template", template)
    rules = cpf("explore", "checkpointflow.yaml", "--full")["result"]["rules"]
    assert rules
    assert "refuted" not in rules.values()


@pytest.mark.parametrize("template", NAMES)
def test_the_tests_of_a_template_fit_the_published_schema(template: str) -> None:
    document = parse((TEMPLATES / f"{template}.test.yaml").read_bytes()).value
    jsonschema.Draft202012Validator(json.loads(write_schema("test"))).validate(document)


# approval


@pytest.mark.parametrize(
    ("decision", "result"),
    [("approve", {"page_url": "https://wiki.example/pages/123456"}), ("reject", {"status": "rejected"})],
)
def test_approval_ends_with_what_was_decided(cpf: Cpf, decision: str, result: Any) -> None:
    cpf.env["PATH"] = f"{QUICK_START / 'bin'}{os.pathsep}{cpf.env['PATH']}"
    at = begun(cpf, "approval", {"page_id": "1", "source_file": "a b.md"})
    assert answered(cpf, at, {"decision": decision})["result"] == result


# agent-review


@pytest.fixture
def review(cpf: Cpf) -> Answer:
    """The run of agent-review at its first review."""
    at = begun(cpf, "agent-review", {"task": "Explain.", "file": "my text.md"})
    assert at["current_step_id"] == "draft"
    cpf.write("my text.md", "words")
    return answered(cpf, at, {})


def test_agent_review_sends_an_empty_draft_back(cpf: Cpf) -> None:
    at = begun(cpf, "agent-review", {"task": "Explain.", "file": "t.md"})
    assert answered(cpf, at, {})["wait"]["step"] == "draft@2"


def test_agent_review_publishes_what_is_accepted(cpf: Cpf, review: Answer) -> None:
    answer = answered(cpf, review, {"verdict": "accept", "comment": ""})
    assert answer["result"] == {"status": "published", "file": "my text.md"}


def test_agent_review_loops_until_the_reviewer_accepts(cpf: Cpf, review: Answer) -> None:
    at = answered(cpf, review, {"verdict": "revise", "comment": "too short"})
    assert (at["wait"]["step"], at["wait"]["summary"]) == ("revise", "too short")
    at = answered(cpf, at, {})
    assert at["wait"]["step"] == "review@2"
    assert answered(cpf, at, {"verdict": "accept", "comment": ""})["result"]["status"] == "published"


@pytest.mark.parametrize(
    ("publish", "result"),
    [
        (True, {"status": "published", "file": "my text.md"}),
        (False, {"status": "dropped", "file": "my text.md", "reason": "circles"}),
    ],
)
def test_agent_review_lets_a_person_decide(cpf: Cpf, review: Answer, publish: bool, result: Any) -> None:
    at = answered(cpf, review, {"verdict": "escalate", "comment": "circles"})
    assert (at["wait"]["audience"], at["wait"]["summary"]) == ("user", "circles")
    assert answered(cpf, at, {"publish": publish})["result"] == result


# deploy


def test_deploy_asks_and_deploys(cpf: Cpf) -> None:
    at = begun(cpf, "deploy", {"version": "1.2.3"})
    assert at["wait"]["prompt"] == "Deploy 1.2.3 to staging?"
    assert at["wait"]["summary"] == "12 tests passed."
    assert answered(cpf, at, {"ok": True})["result"]["status"] == "deployed"


def test_deploy_does_nothing_when_rejected(cpf: Cpf) -> None:
    at = begun(cpf, "deploy", {"version": "1.2.3"})
    assert answered(cpf, at, {"ok": False})["result"] == {"status": "rejected", "version": "1.2.3"}


@pytest.mark.parametrize("check", ["lint", "test"])
def test_deploy_does_not_even_ask_when_a_check_fails(cpf: Cpf, check: str) -> None:
    answer = begun(cpf, "deploy", {"version": "1.2.3"}, FAIL_AT=check)
    assert (answer.code, answer["result"]["status"]) == (0, "not_fit")
    assert f"{check} is not well" in answer["result"]["reason"]


@pytest.mark.parametrize("step", ["apply", "verify"])
def test_deploy_rolls_back_what_fails(cpf: Cpf, step: str) -> None:
    at = begun(cpf, "deploy", {"version": "1.2.3", "environment": "production"})
    answer = answered(cpf, at, {"ok": True}, FAIL_AT=step)
    assert answer["result"] == {"status": "rolled_back", "version": "1.2.3", "environment": "production"}
    logs = cpf("logs", "--run-id", at["run_id"], "--step", "rollback", "--raw")
    assert logs.text == "rolling back production\n"


@pytest.mark.parametrize("ok", [True, False])
def test_deploy_gives_back_what_it_took_whatever_happens(cpf: Cpf, ok: bool) -> None:
    at = begun(cpf, "deploy", {"version": "1.2.3"})
    if ok:
        assert answered(cpf, at, {"ok": True}, FAIL_AT="rollback").code == 0
    else:
        assert cpf("cancel", at["run_id"], "--reason", "not today").code == 0
    last = cpf("logs", at["run_id"], "--step", "@finally/unmute_alarms", "--raw").text
    assert last == f"alarms are on again, the deployment has {'completed' if ok else 'cancelled'}\n"


# batch


def test_batch_asks_of_the_odd_item_only(cpf: Cpf) -> None:
    orders = [{"name": "pens", "amount": 20}, {"name": "desks", "amount": 9000}, {"name": "ink", "amount": 5}]
    at = begun(cpf, "batch", {"orders": orders})
    assert (at.code, at["wait"]["step"], "waits" in at.json) == (40, "each[1]/ask", False)
    assert at["wait"]["prompt"] == "Book desks for 9000?"
    report = answered(cpf, at, {"book": True})["result"]["iterations"]
    assert [(item["name"], item["status"]) for item in report] == [
        ("pens", "booked"), ("desks", "booked"), ("ink", "booked"),
    ]  # fmt: skip
    assert report[2]["receipt"] == f"book-{at['run_id']}-2"


def test_batch_skips_what_is_not_wanted(cpf: Cpf) -> None:
    at = begun(cpf, "batch", {"orders": [{"name": "desks", "amount": 2}], "limit": 1})
    report = answered(cpf, at, {"book": False})["result"]
    assert report == {"iterations": [{"name": "desks", "status": "skipped"}], "failures": []}


def test_batch_tries_again(cpf: Cpf) -> None:
    answer = begun(cpf, "batch", {"orders": [{"name": "pens", "amount": 2}]}, GOOD_FROM="3")
    assert [item["status"] for item in answer["result"]["iterations"]] == ["booked"]
    facts = [entry["fact"]["fact"] for entry in cpf.history(answer["run_id"])]
    assert facts.count("attempt_failed") == 2


def test_batch_goes_on_past_an_item_that_fails(cpf: Cpf) -> None:
    orders = [{"name": "pens", "amount": 2}, {"name": "ink", "amount": 2}]
    answer = begun(cpf, "batch", {"orders": orders}, GOOD_FROM="9")
    assert answer["result"]["iterations"] == [None, None]
    assert [failure["item"]["name"] for failure in answer["result"]["failures"]] == ["pens", "ink"]


# runbook


@pytest.fixture
def hasty(cpf: Cpf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Answer]:
    """Starts a runbook in which the time-outs given are over at once."""

    def start(*time_outs: int, **env: str) -> Answer:
        text = (TEMPLATES / "runbook.yaml").read_text()
        for seconds in time_outs:
            assert text.count(f"timeout_seconds: {seconds}\n") == 1
            text = text.replace(f"timeout_seconds: {seconds}\n", "timeout_seconds: 0.05\n")
        (tmp_path / "runbook.yaml").write_text(text)
        (tmp_path / "runbook.test.yaml").write_text((TEMPLATES / "runbook.test.yaml").read_text())
        monkeypatch.setattr("checkpointflow.cli.init.TEMPLATES", tmp_path)
        return begun(cpf, "runbook", {"service": "shop"}, **env)

    return start


def once_overdue(cpf: Cpf, at: Answer) -> Answer:
    """What comes of resuming when the wait's time is up."""
    time.sleep(0.1)
    return cpf.resume(at["run_id"])


def test_runbook_wakes_nobody_for_a_false_alarm(cpf: Cpf) -> None:
    answer = begun(cpf, "runbook", {"service": "shop"}, HEALTHY="yes")
    assert answer["result"] == {"status": "healthy", "service": "shop"}


def test_runbook_takes_a_service_that_hangs_for_a_bad_one(hasty: Callable[..., Answer]) -> None:
    at = hasty(5, HANGS="yes", HEALTHY="yes")
    assert at["wait"]["step"] == "on_call"


@pytest.mark.parametrize(("action", "status"), [("restart", "restarted"), ("leave", "left_alone")])
def test_runbook_does_what_is_answered_on_call(cpf: Cpf, action: str, status: str) -> None:
    at = begun(cpf, "runbook", {"service": "shop"})
    assert answered(cpf, at, {"action": action})["result"] == {"status": status, "service": "shop"}


@pytest.mark.parametrize(("action", "status"), [("restart", "restarted"), ("leave", "left_alone")])
def test_runbook_asks_the_lead_when_nobody_on_call_answers(
    cpf: Cpf, hasty: Callable[..., Answer], action: str, status: str
) -> None:
    at = once_overdue(cpf, hasty(900))
    assert at["wait"]["step"] == "lead"
    assert answered(cpf, at, {"action": action})["result"] == {"status": status, "service": "shop"}


def test_runbook_acts_when_nobody_answers_at_all(cpf: Cpf, hasty: Callable[..., Answer]) -> None:
    at = once_overdue(cpf, hasty(900, 1800))
    assert once_overdue(cpf, at)["result"] == {"status": "restarted", "service": "shop"}


def test_runbook_hands_over_what_cannot_be_restarted(cpf: Cpf) -> None:
    at = begun(cpf, "runbook", {"service": "shop"})
    at = answered(cpf, at, {"action": "restart"}, RESTARTS="no")
    assert at["wait"]["step"] == "hand_over"
    answer = answered(cpf, at, {"done": "new disk"})
    assert answer["result"] == {"status": "repaired", "service": "shop", "done": "new disk"}
