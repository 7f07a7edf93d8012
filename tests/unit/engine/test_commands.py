"""What a cli step asks for, and what becomes of its outcome."""

from __future__ import annotations

import pytest
from msgspec import UNSET, convert

from checkpointflow.engine.actions import (
    ArtifactSpec,
    CallHttp,
    Error,
    Failure,
    LockRequest,
    RunCommand,
    StoredFile,
    Success,
)
from checkpointflow.engine.messages import Defer
from tests.helpers import Story, ask, cli, end

SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


def action(*steps: dict[str, object], **more: object) -> RunCommand:
    (asked,) = [r.action for r in Story(*steps, **more).run.steps.values()]
    assert isinstance(asked, RunCommand)
    return asked


def test_a_value_is_handed_over_beside_the_script() -> None:
    asked = action(cli("a", "echo ${inputs.x}"), inputs={"x": "$(rm -rf /)"})
    assert "rm" not in asked.script
    assert list(asked.variables.values()) == ["$(rm -rf /)"]


def test_a_list_of_commands_runs_while_they_succeed() -> None:
    asked = action(cli("a", ["cd x # here", "ls"]))
    assert asked.script == "{\ncd x # here\n}\ncase $? in 0) ;; *) exit;; esac\n{\nls\n}"
    assert action(cli("a", ["ls"])).script == "ls"


def test_a_command_fails_fast_unless_its_step_or_the_defaults_say_otherwise() -> None:
    lax = {"fail_fast": False}
    assert action(cli("a")).fail_fast
    assert not action(cli("a", **lax)).fail_fast
    assert not action(cli("a"), defaults=lax).fail_fast
    assert action(cli("a", fail_fast=True), defaults=lax).fail_fast


def test_a_command_that_was_recorded_before_it_could_fail_fast_is_read_as_it_was() -> None:
    old = {
        "do": "run_command",
        "path": "a",
        "attempt": 1,
        "shell": "sh",
        "script": "x",
        "idempotency_key": "",
    }
    assert not convert(old, RunCommand).fail_fast


def test_env_cwd_and_key_are_interpolated() -> None:
    step = cli(
        "a",
        env={"A": "${inputs.x}!", "B": 3, "C": True},
        cwd="d/${inputs.x}",
        idempotency_key="${inputs.x}-1",
    )
    asked = action(step, inputs={"x": "v"})
    assert asked.env == {"A": "v!", "B": "3", "C": "true"}
    assert (asked.cwd, asked.idempotency_key) == ("d/v", "v-1")


def test_the_idempotency_key_is_the_same_for_all_attempts_of_a_visit() -> None:
    story = Story(cli("a", retry={"max_attempts": 2, "backoff_seconds": 0}, next="a"))
    first = story.run.steps["a"].action.idempotency_key
    assert story.fail("a").run.steps["a"].action.idempotency_key == first
    assert story.succeed("a", attempt=2).run.steps["a@2"].action.idempotency_key != first


def test_the_step_s_own_policy_goes_before_the_document_s() -> None:
    defaults = {"shell": "bash", "timeout_seconds": 9, "cwd": "d"}
    asked = action(cli("a"), defaults=defaults)
    assert (asked.shell, asked.timeout_seconds, asked.cwd) == ("bash", 9, "d")
    asked = action(cli("a", shell="dash", timeout_seconds=1, cwd="e"), defaults=defaults)
    assert (asked.shell, asked.timeout_seconds, asked.cwd) == ("dash", 1, "e")
    assert (action(cli("a")).shell, action(cli("a")).timeout_seconds, action(cli("a")).cwd) == (
        "sh",
        None,
        None,
    )


def test_stdout_is_kept_only_where_the_document_refers_to_it() -> None:
    assert action(cli("a"), cli("b", "echo ${steps.a.stdout}")).keeps_stdout
    assert action(cli("a"), cli("b", '${steps["a"].stdout}')).keeps_stdout
    assert not action(cli("a"), cli("b", "echo ${steps.a.outputs.stdout}")).keeps_stdout


def test_json_is_needed_where_outputs_are_declared() -> None:
    assert action(cli("a", outputs=SCHEMA)).needs_json
    assert not action(cli("a")).needs_json


def test_outputs_that_fit_are_the_step_s() -> None:
    story = Story(cli("a", outputs=SCHEMA)).succeed("a", {"n": 1}, stdout="x")
    record = story.run.steps["a"]
    assert (record.outputs, record.exit_code, record.stdout, record.attempts) == ({"n": 1}, 0, "x", 1)


def test_outputs_that_do_not_fit_fail_the_step() -> None:
    story = Story(cli("a", outputs=SCHEMA)).succeed("a", {"n": "x"})
    assert (story.run.status, story.error.code) == ("failed", "ERR_STEP_OUTPUT_INVALID")


def test_later_steps_see_outputs_exit_code_and_stdout() -> None:
    step = cli("b", "${steps.a.outputs.n} ${steps.a.exit_code} ${steps.a.stdout}")
    story = Story(cli("a"), step).succeed("a", {"n": [1]}, stdout="text")
    assert sorted(story.run.steps["b"].action.variables.values()) == ["0", "1", "text"]


LOST = {"outputs": "it is not JSON", "stdout": "has 65,537 bytes"}


@pytest.mark.parametrize(
    ("text", "lost", "said"),
    [
        ("${steps.a.outputs.n}", {}, 'has no "n"; it is empty: it printed no JSON object'),
        ("${steps.a.outputs.n}", LOST, 'has no "n"; it is empty: it is not JSON'),
        ("${steps.a.stdout}", LOST, "steps.a.stdout has 65,537 bytes, in"),
        ("${steps.a.stdout != null}", LOST, "steps.a.stdout has 65,537 bytes, in"),
    ],
)
def test_who_reads_what_was_lost_is_told_why(text: str, lost: dict[str, str], said: str) -> None:
    story = Story(cli("a"), cli("b", text)).succeed("a", {}, lost=lost)
    assert said in story.error.message
    assert story.replayed() == story.run


def test_outputs_that_are_empty_are_still_an_object() -> None:
    story = Story(cli("a"), end("b", result="${steps.a.outputs}")).succeed("a", {})
    assert story.result == {}
    assert type(story.result) is dict


def test_a_lost_value_is_no_absent_output_of_the_workflow() -> None:
    outputs = {"type": "object", "properties": {"x": {"from": "steps.a.stdout"}}}
    story = Story(cli("a"), outputs=outputs).succeed("a", {}, lost=LOST)
    assert (story.run.status, "has 65,537 bytes" in story.error.message) == ("failed", True)


def test_a_value_that_is_not_there_fails_the_step_before_it_starts() -> None:
    story = Story(cli("a", "echo ${inputs.none}"))
    assert (story.run.status, story.error.code, story.error.step_id) == ("failed", "ERR_STEP_FAILED", "a")


def test_the_run_has_an_id_to_refer_to() -> None:
    assert list(action(cli("a", "echo ${run.id}")).variables.values()) == ["R1"]


@pytest.mark.parametrize(
    ("path", "within"), [("a/b", None), ("${inputs.x}", ""), ("a/b/c-${inputs.x}/${inputs.x}", "a/b")]
)
def test_an_artifact_whose_path_is_data_has_a_directory_to_stay_in(path: str, within: str | None) -> None:
    story = Story(cli("a", artifacts=[{"name": "n", "path": path}]), inputs={"x": "v"})
    assert story.run.steps["a"].action.artifacts[0].within == within


def test_what_a_command_leaves_behind_can_be_referred_to() -> None:
    step = cli("a", artifacts=[{"name": "log", "path": "${inputs.x}.txt", "media_type": "text/plain"}])
    story = Story(step, cli("b", "cat ${steps.a.artifacts.log.path}"), inputs={"x": "v"})
    assert story.run.steps["a"].action.artifacts == (ArtifactSpec("log", "v.txt", "text/plain", ""),)
    story.succeed("a", artifacts={"log": StoredFile(path="artifacts/a/log", size=3, sha256="d")})
    assert list(story.run.steps["b"].action.variables.values()) == ["artifacts/a/log"]


def test_a_lock_is_asked_for_by_a_name_with_values() -> None:
    asked = action(cli("a", lock={"key": "deploy-${inputs.x}", "timeout_seconds": 3}), inputs={"x": "prod"})
    assert asked.lock == LockRequest("deploy-prod", 3)


def test_a_command_that_was_not_begun_is_begun_later_as_the_same_attempt() -> None:
    story = Story(cli("a"), cli("b"))
    story.hear(Defer(now=story.tick(), path="a", attempt=1))
    assert (story.pending, story.run.status) == ([], "running")
    story.recover()
    assert (story.pending, story.run.steps["a"].action.attempt) == (["a"], 1)
    assert story.replayed() == story.run


def call(**more: object) -> CallHttp:
    asked = Story({"id": "a", "kind": "api", "url": "http://h/${inputs.x}", **more}, inputs={"x": "1&2"})
    found = asked.run.steps["a"].action
    assert isinstance(found, CallHttp)
    return found


def test_a_call_is_asked_for_with_its_values_in_place() -> None:
    asked = call(method="POST", headers={"A": "${inputs.x}", "N": 3}, body={"x": "${inputs.x}", "n": [1]})
    assert (asked.method, asked.url, asked.timeout_seconds) == ("POST", "http://h/1%262", 30)
    assert (asked.headers, asked.body) == ({"A": "1&2", "N": "3"}, {"x": "1&2", "n": [1]})
    assert call().body is UNSET
    assert call(timeout_seconds=2, success={"status_codes": [404]}).status_codes == (404,)


@pytest.mark.parametrize(
    ("url", "given", "asked"),
    [
        ("http://h/a/${inputs.x}?q=${inputs.x}", "../b?c=#d e", "http://h/a/..%2Fb%3Fc%3D%23d%20e?q=..%2Fb%3Fc%3D%23d%20e"),
        ("${inputs.x}/more", "http://h/a?b", "http://h/a?b/more"),
        ("http://${inputs.x}/a", "h:80", "http://h:80/a"),
        ("http://h?n=${inputs.x}", [1, "é"], "http://h?n=%5B1%2C%22%C3%A9%22%5D"),
    ],
)  # fmt: skip
def test_behind_the_host_a_value_is_data(url: str, given: object, asked: str) -> None:
    story = Story({"id": "a", "kind": "api", "url": url}, inputs={"x": given})
    assert story.run.steps["a"].action.url == asked


@pytest.mark.parametrize(
    ("url", "given"),
    [
        ("u/${inputs.x}/del", ".."), ("u/${inputs.x}/del", "."), ("u/${inputs.x}", ""),
        ("u/${inputs.x}?a=1", ""), ("u/${inputs.x}#f", ".."), (".${inputs.x}", "."),
        ("%2E${inputs.x}/u", "."), ("${inputs.x}${inputs.x}", "."),
    ],
)  # fmt: skip
def test_a_value_that_would_name_another_resource_is_refused(url: str, given: str) -> None:
    story = Story({"id": "a", "kind": "api", "url": f"http://h/{url}"}, inputs={"x": given})
    assert "name another resource, in ${inputs.x}" in story.error.message


@pytest.mark.parametrize("given", ["...", "..a", "%2e%2e", "a/..", "../b", " "])
def test_any_other_value_is_a_part_of_the_path(given: str) -> None:
    for url in ("http://h/${inputs.x}", "http://h/a${inputs.x}/b", "http://h/a?q=/${inputs.x}"):
        story = Story({"id": "a", "kind": "api", "url": url}, inputs={"x": given})
        assert story.run.steps["a"].action.url.startswith("http://h/")


@pytest.mark.parametrize(("url", "given"), [("http://u:p@h/", ""), ("http://${inputs.x}", "u:p@h/")])
def test_a_url_with_a_password_is_refused_before_it_stands_anywhere(url: str, given: str) -> None:
    story = Story({"id": "a", "kind": "api", "url": url}, inputs={"x": given})
    assert (story.run.status, "in a header" in story.error.message) == ("failed", True)
    assert "u:p@h" not in str(story.facts[1:])


SECRET = {"id": "a", "kind": "api", "url": "http://h", "headers": {"A": "Bearer ${secrets.T}"}}


def test_a_secret_is_known_by_its_name_only() -> None:
    story = Story(SECRET)
    asked = story.run.steps["a"].action
    assert (asked.secrets, asked.headers) == (("T",), {"A": "Bearer \0T\0"})
    story = Story(cli("a", "x ${secrets.T}", env={"E": '${secrets["U"]}'}))
    asked = story.run.steps["a"].action
    assert (asked.secrets, asked.env) == (("T", "U"), {"E": "\0U\0"})
    assert list(asked.variables.values()) == ["\0T\0"]


@pytest.mark.parametrize(
    "step",
    [
        {**SECRET, "body": "${inputs.x}"},
        {**SECRET, "url": "http://h/${inputs.text}"},
        {**SECRET, "headers": {"A": "${secrets.T}", "B": "${inputs.text}"}},
        cli("a", "x ${secrets.T}", env={"E": "${inputs.text}"}),
        cli("a", "x ${secrets.T} ${inputs.text}"),
        cli("a", "${raw:secrets.T}"),
    ],
)
def test_nothing_else_may_look_like_a_secret(step: dict[str, object]) -> None:
    story = Story(step, inputs={"x": {"deep": ["\0T\0"]}, "text": "\0T\0"})
    assert story.run.status == "failed"


@pytest.mark.parametrize(
    "step",
    [
        cli("a", "x ${secrets.T}", cwd="${secrets.T}"),
        cli("a", "x ${secrets.T}", idempotency_key="${secrets.T}"),
        cli("a", "x ${secrets.T}", lock={"key": "${secrets.T}"}),
        cli("a", "x ${secrets.T}", artifacts=[{"name": "n", "path": "${secrets.T}"}]),
        cli("a", "x ${secrets.T}", **{"if": "secrets.T != 1"}),
        ask("a", prompt="${secrets.T}"),
        end("a", result="${secrets.T}"),
    ],
)
def test_of_a_workflow_that_nobody_checked_a_secret_goes_nowhere_else(step: dict[str, object]) -> None:
    story = Story(step)
    assert story.run.status == "failed"
    assert "secrets" in story.error.message


API = {"id": "a", "kind": "api", "url": "http://h"}


@pytest.mark.parametrize(
    ("step", "field"),
    [
        (cli("a", "echo ${inputs.x} '${inputs.x}'"), "variables"), (cli("a", "${raw:inputs.x}"), "script"),
        (cli("a", env={"E": "a ${inputs.x}"}), "env"), (cli("a", cwd="${inputs.x}"), "cwd"),
        (cli("a", env={"E": "${inputs.x}", "T": "${secrets.T}"}), "env"),
        (cli("a", idempotency_key="${inputs.x}"), "idempotency_key"),
        (cli("a", lock={"key": "${inputs.x}"}), "lock"),
        (cli("a", artifacts=[{"name": "n", "path": "${inputs.x}"}]), "artifacts"),
        ({**API, "url": "http://${inputs.x}"}, "url"), ({**API, "url": "${inputs.x}"}, "url"),
        ({**API, "url": "http://h/${inputs.x}"}, "url"),
        ({**API, "headers": {"A": "a ${inputs.x}"}}, "headers"),
        ({**SECRET, "body": {"b": ["${inputs.x}"]}}, "body"), ({**API, "body": "${inputs.x}"}, "body"),
    ],
)  # fmt: skip
def test_a_value_is_expanded_once_wherever_it_stands(step: dict[str, object], field: str) -> None:
    asked = Story(step, inputs={"x": "${run.id}"}).run.steps["a"].action
    found = str(getattr(asked, field))
    assert ("run.id" in found, "R1" in found) == (True, False)


def test_what_a_step_puts_out_is_never_expanded() -> None:
    odd = {"v": ["${run.id}"]}
    story = Story(cli("a"), cli("b", "${steps.a.outputs} ${steps.a.stdout}"))
    story.succeed("a", odd, stdout="${run.id}")
    assert story.run.steps["a"].outputs == odd
    values = story.run.steps["b"].action.variables.values()
    assert sorted(values) == ["${run.id}", '{"v":["${run.id}"]}']


def test_the_status_of_an_answer_can_be_referred_to() -> None:
    step = {"id": "a", "kind": "api", "url": "http://h", "on_error": "continue"}
    story = Story(step, cli("b", "${steps.a.status_code}"))
    story.report("a", Success(outputs={}, status_code=201))
    assert list(story.run.steps["b"].action.variables.values()) == ["201"]
    story = Story(step, cli("b", "${steps.a.status_code} ${steps.a.error.status_code}"))
    story.report("a", Failure(Error(code="ERR_STEP_FAILED", message="no", status_code=503)))
    assert set(story.run.steps["b"].action.variables.values()) == {"503"}


def test_the_headers_of_an_answer_are_kept_where_they_are_referred_to() -> None:
    step = {"id": "a", "kind": "api", "url": "http://h"}
    story = Story(step, cli("b", """echo ${steps.a.headers.etag} ${steps.a.headers["x-n"]}"""))
    assert story.run.steps["a"].action.keeps_headers
    story.report("a", Success(outputs={}, headers={"etag": "e", "x-n": "1"}))
    assert sorted(story.run.steps["b"].action.variables.values()) == ["1", "e"]
    assert story.replayed() == story.run
    assert (
        not Story(step, cli("b", "echo ${steps.a.status_code} headers")).run.steps["a"].action.keeps_headers
    )


def test_a_late_answer_of_an_abandoned_attempt_falls_away() -> None:
    story = Story(cli("a", retry={"max_attempts": 2, "backoff_seconds": 0})).fail("a")
    assert story.succeed("a", attempt=1).new == []
    assert story.succeed("nowhere").new == []
    assert story.succeed("a", attempt=2).run.status == "completed"


def test_a_value_that_a_command_is_given_in_a_file_stands_in_the_action_as_it_is() -> None:
    asked = Story(cli("a", "cat ${file:inputs}"), inputs={"x": [1.5]}).run.steps["a"].action
    assert (asked.files, asked.variables) == ({"CPF_VALUE_1": {"x": [1.5]}}, {})


def test_what_a_command_computes_with_is_an_integer_in_its_environment_too() -> None:
    step = cli("a", "(( N > 3 ))", shell="bash", env={"N": "${inputs.x}", "M": "a ${inputs.x}"})
    assert Story(step, inputs={"x": 7}).run.steps["a"].action.env == {"N": "7", "M": "a 7"}
    story = Story(step, inputs={"x": "a[$(touch pwned)]"})
    assert (story.run.status, "only an integer" in story.error.message) == ("failed", True)


def test_so_is_stderr() -> None:
    assert action(cli("a"), cli("b", "echo ${steps.a.stderr}")).keeps_stderr
    assert not action(cli("a"), cli("b", "echo ${steps.a.stdout}")).keeps_stderr
    story = Story(cli("a"), cli("b", "${steps.a.stderr}")).succeed("a", stderr="warned")
    assert list(story.run.steps["b"].action.variables.values()) == ["warned"]


def test_what_a_command_reads_on_standard_input_stands_in_the_action_as_it_is() -> None:
    step = cli("a", "n=$(cat); echo $((n))", shell="bash", stdin="${inputs.x}")
    assert Story(step, inputs={"x": 7}).run.steps["a"].action.stdin == 7
    story = Story(step, inputs={"x": "a[$(touch pwned)]"})
    assert (story.run.status, "only an integer" in story.error.message) == ("failed", True)
    step = cli("a", "cat", stdin={"t": ["${secrets.TOKEN}", "${inputs.x}"]})
    action = Story(step, inputs={"x": [1]}).run.steps["a"].action
    assert (action.secrets, action.stdin["t"][1]) == (("TOKEN",), [1])
    assert Story(cli("a")).run.steps["a"].action.stdin is UNSET


def test_a_command_has_the_variables_of_the_defaults_and_of_their_file_under_its_own() -> None:
    env = {"B": "${inputs.x}", "C": "${secrets.S}"}
    story = Story(cli("a", env={"C": "own"}), cli("b"), inputs={"x": 1}, defaults={"env": env}, begun=False)
    story.workflow.env_file = {"A": "${file}", "B": "file"}
    story.begin({"x": 1})
    assert (story.run.steps["a"].action.env, story.run.steps["a"].action.secrets) == (
        {"A": "${file}", "B": "1", "C": "own"},
        (),
    )
    story.succeed("a")
    assert story.run.steps["b"].action.secrets == ("S",)
    call = {"id": "a", "kind": "api", "url": "http://h"}
    assert Story(call, inputs={"x": 1}, defaults={"env": env}).run.steps["a"].action.secrets == ()


def test_a_set_of_files_is_asked_for_by_a_pattern_and_seen_as_one() -> None:
    wanted = [
        {"name": "set", "path": "out/${inputs.v}/*.txt", "if_missing": "skip"},
        {"name": "one", "path": "out/${inputs.v}*"[:-1], "media_type": "text/plain"},
    ]
    see = end("z", result="${steps.a.artifacts}")
    story = Story(cli("a", artifacts=wanted), see, inputs={"v": "x*"})
    assert story.run.steps["a"].action.artifacts == (
        ArtifactSpec("set", "out/x*", pattern=r"(?!\.)[^/]*\.txt", may_lack=True),
        ArtifactSpec("one", "out/x*", "text/plain", within="out"),
    )
    kept = {
        name: StoredFile(path=f"artifacts/a/{name}", size=1, sha256="s")
        for name in ("set/b/c", "set/d", "one")
    }
    story.succeed("a", artifacts=kept)
    file = {"size": 1, "sha256": "s"}
    assert story.run.outcome.result == {
        "set": {
            "path": "artifacts/a/set",
            "files": [
                {"name": "b/c", "path": "artifacts/a/set/b/c", **file},
                {"name": "d", "path": "artifacts/a/set/d", **file},
            ],
        },
        "one": {"path": "artifacts/a/one", **file},
    }
    story = Story(cli("a", artifacts=wanted), inputs={"v": ".."})
    assert (story.run.status, "below the working directory" in story.error.message) == ("failed", True)
