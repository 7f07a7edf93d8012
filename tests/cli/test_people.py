"""What a person at a terminal sees, and whoever reads elsewhere: the same answer, in one of two forms."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from checkpointflow.cli.screen import Screen, disarm, make_visible
from tests.conftest import Cpf
from tests.helpers import ask, cli, end, foreach, switch
from tests.terminals import LOOK, at_a_terminal, obeys_nothing, plain, unfold

EVIL = "\x1b]0;owned\x07\x1b[2J\x1b[31m\r\x9b1m\u202e"
SCHEMA = {
    "type": "object",
    "required": ["decision"],
    "properties": {
        "decision": {"enum": ["approve", "reject"]},
        "note": {"type": "string", "description": "why"},
    },
}


def titled(cpf: Cpf, title: str, *steps: Any, inputs: Any = None, **more: Any) -> str:
    """A run of a workflow with a name."""
    document = json.loads((cpf.cwd / cpf.flow(*steps, **more)).read_text())
    document["workflow"]["name"] = title
    file = cpf.write("titled.yaml", json.dumps(document))
    return cpf("run", file, "--input", json.dumps(inputs or {}))["run_id"]


def waiting(cpf: Cpf, **more: Any) -> str:
    question = ask("q", prompt="Go on?", input_schema=SCHEMA, **more)
    return titled(cpf, "Deploy", cli("a"), question, cli("b"))


def failing(cpf: Cpf) -> str:
    return cpf.run(cli("a"), cli("bad", "echo one; echo what went wrong >&2; exit 3"))["run_id"]


# Who reads


@pytest.mark.parametrize("command", ["status", "inspect", "logs", "verify"])
def test_a_person_reads_text_with_the_same_exit_code(cpf: Cpf, command: str) -> None:
    run_id = waiting(cpf)
    code, shown = at_a_terminal(cpf, command, run_id)
    assert code == cpf(command, run_id).code
    assert "schema_version" not in shown
    assert cpf(command, run_id)["command"] == command


@pytest.mark.parametrize(
    ("arguments", "env"),
    [(("--json",), {}), ((), {"LLM": "true"}), ((), {"LLM": "TRUE"}), ((), {"CPF_FORMAT": "json"})],
)
def test_at_a_terminal_the_envelope_is_there_for_the_asking(
    cpf: Cpf, arguments: tuple[str, ...], env: dict[str, str]
) -> None:
    code, shown = at_a_terminal(cpf, "status", waiting(cpf), *arguments, **env)
    assert (code, json.loads(shown)["status"]) == (40, "waiting")
    assert shown.startswith('{\n  "schema_version"')


@pytest.mark.parametrize("place", [0, 1, 2])
def test_where_json_or_text_is_asked_for_makes_no_difference(cpf: Cpf, place: int) -> None:
    words = ["status", waiting(cpf)]
    asked = [*words[:place], "--text", *words[place:]]
    answer = cpf(*asked)
    assert (answer.code, answer.text.splitlines()[0].split()[:2]) == (40, ["Deploy", "waiting"])
    assert "\x1b" not in answer.text


def test_elsewhere_the_envelope_is_one_line(cpf: Cpf) -> None:
    answer = cpf("inspect", waiting(cpf))
    assert (answer.text.count("\n"), answer.text.endswith("}\n"), answer.err) == (1, True, "")


def test_what_is_asked_for_wins_over_the_environment(cpf: Cpf) -> None:
    run_id = waiting(cpf)
    assert at_a_terminal(cpf, "status", run_id, "--text", CPF_FORMAT="json", LLM="true")[1].count("{") == 0
    assert cpf("status", run_id, "--text", "--json")["status"] == "waiting"


def test_an_error_is_text_too_and_says_it_once(cpf: Cpf) -> None:
    code, shown = at_a_terminal(cpf, "status", "ZZZZ")
    assert (code, shown.count("there is no run ZZZZ"), "{" in shown) == (10, 1, False)
    answer = cpf("status", "ZZZZ", "--text")
    assert (answer.code, answer.text, "there is no run ZZZZ" in answer.err) == (10, "", True)


# The view


def test_a_waiting_run_shows_its_question_fields_and_the_next_line(cpf: Cpf) -> None:
    run_id = waiting(cpf, risk_level="high", timeout_seconds=3600, instructions="look\nthen answer")
    lines = [line.split() for line in cpf("status", run_id, "--text").text.splitlines()]
    assert lines[0][:3] == ["Deploy", "waiting", run_id[-4:]]
    assert lines[1][:2] == ["✓", "a"]
    assert lines[2][:2] == ["?", "q"]
    assert lines[3] == ["·", "1", "more", "at", "most:", "b"]
    text = cpf("status", run_id, "--text").text
    for part in (
        "? Go on?",
        "q, for user, since ",
        ", time is up in ",
        "risk: high",
        "  look\n  then answer\n",
        "    decision  approve | reject\n",
        "    note      text, optional  why\n",
        f"\n  cpf answer {run_id[-4:]}\n",
    ):
        assert part in text


def test_a_failed_run_shows_why_with_the_last_lines_it_printed(cpf: Cpf) -> None:
    run_id = failing(cpf)
    text = cpf("status", run_id, "--text").text
    assert "  ✗ bad" in text
    assert "\n✗ bad: " in text
    assert "    | what went wrong\n" in text
    assert f"  cpf logs {run_id[-4:]}\n  cpf retry {run_id[-4:]}\n" in text
    assert cpf("status", run_id)["error"]["tail"] == ["what went wrong"]


def test_an_overdue_wait_offers_what_is_accepted(cpf: Cpf) -> None:
    run_id = waiting(cpf, timeout_seconds=0.001)
    text = cpf("status", run_id, "--text").text
    assert "OVERDUE by" in text
    assert f"  cpf resume {run_id[-4:]}\n" in text
    assert cpf("resume", run_id[-4:]).code == 30


def test_a_run_that_has_ended_shows_its_result(cpf: Cpf) -> None:
    run_id = cpf.run(end("e", result={"url": "http://x", "n": [1, {"deep": None}]}))["run_id"]
    text = cpf("status", run_id, "--text").text
    assert "  url: http://x\n  n:\n    - 1\n    -\n      deep: null\n" in text
    assert ", took " in text.splitlines()[0]


def test_of_many_steps_those_that_went_well_are_folded(cpf: Cpf) -> None:
    run_id = cpf.run(*(cli(f"s{n}") for n in range(20)), ask("q"), *(end(f"e{n}") for n in range(9)))[
        "run_id"
    ]
    lines = cpf("status", run_id, "--text").text.splitlines()
    assert lines[1] == "  ✓ 9 steps done"
    assert len([line for line in lines if line.startswith("  ✓ s")]) == 11
    assert "  · 9 more at most: e0, e1, e2, e3, e4, …" in lines


def test_iterations_are_counted_and_those_that_failed_shown(cpf: Cpf) -> None:
    body = cli("x", 'test "$CPF_STEP" != "each[2]/x"')
    run_id = cpf.run(foreach("each", "${inputs.l}", body), inputs={"l": [1, 2, 3]})["run_id"]
    text = cpf("status", run_id, "--text").text
    assert "✗ each[2]/x" in text
    assert "each[1]/x" not in text


def test_a_line_that_is_offered_works_as_it_stands(cpf: Cpf) -> None:
    other = cpf.base.parent / "other"
    run_id = cpf("run", "-f", cpf.flow(cli("bad", "test -e fixed")), "--base-dir", str(other))["run_id"]
    (offer,) = [
        line for line in cpf("status", run_id, "--base-dir", str(other), "--text").text.splitlines()
        if line.startswith("  cpf retry")
    ]  # fmt: skip
    (cpf.cwd / "fixed").touch()
    assert cpf(*offer.split()[1:]).code == 0


def test_a_run_that_fails_says_why_once(cpf: Cpf) -> None:
    file = cpf.flow(cli("a"), cli("bad", "echo one >&2; echo what went wrong >&2; exit 3"))
    for words in (("run", file), ("retry", "@latest"), ("status", "@latest"), ("resume", "@latest")):
        shown = plain(at_a_terminal(cpf, *words)[1])
        assert (shown.count("exit code 3"), shown.count("what went wrong")) == (1, 1), shown
    told = cpf("run", file, "--progress", "plain")
    assert all("exit code 3: what went wrong" in text for text in (told.err, told["error"]["message"]))


@pytest.mark.long(but_one_in=2)
@pytest.mark.parametrize(
    ("words", "offers"),
    [
        (("resume", "--event", "none", "--input", "{}"), ["answer"]),
        (("resume", "--set", "decision=none"), ["answer"]),
        (("resume", "--event", "q_event", "--input", "@gone.json"), []),
        (("delete",), []),
        (("retry",), ["answer"]),
    ],
)
def test_an_error_offers_lines_that_a_person_can_type(
    cpf: Cpf, words: tuple[str, ...], offers: list[str]
) -> None:
    run_id = waiting(cpf)
    for base in ((), ("--base-dir", str(cpf.base))):
        env = {"CHECKPOINTFLOW_BASE_DIR": str(cpf.cwd / "none")} if base else {}
        _, shown = at_a_terminal(cpf, words[0], run_id, *words[1:], *base, **env)
        lines = [f"  {' '.join(('cpf', offer, run_id[-4:], *base))}" for offer in offers]
        assert [line for line in shown.splitlines() if line.startswith("  cpf ")] == lines
    answer = cpf(words[0], run_id, *words[1:])
    assert f"resume {run_id}" in answer["error"]["message"] or not offers


def test_an_error_that_is_not_the_runs_offers_nothing(cpf: Cpf) -> None:
    run_id = failing(cpf)
    cpf.write("there", "")
    for words in (("export", run_id, "-o", "there"), ("logs", run_id, "--step", "none")):
        assert "cpf retry" not in at_a_terminal(cpf, *words)[1]
        assert "cpf retry" not in cpf(*words)["error"]["message"]


def test_an_event_that_comes_too_late_is_told_what_is_accepted(cpf: Cpf) -> None:
    run_id = waiting(cpf, timeout_seconds=0.001)
    words = ("resume", run_id, "--set", "decision=approve")
    assert f"\n  cpf resume {run_id[-4:]}\n" in at_a_terminal(cpf, *words)[1]
    message = cpf(*words)["error"]["message"]
    assert message.endswith(f"; go on with: cpf resume {run_id} --base-dir {cpf.base}")


def test_a_warning_names_the_run_as_a_person_does(cpf: Cpf) -> None:
    run_id = waiting(cpf)
    state = cpf.directory(run_id) / "history.jsonl"
    state.write_text(state.read_text().replace("Go on?", "Go in?"))
    assert f"cpf verify {run_id[-4:]}\n" in at_a_terminal(cpf, "inspect", run_id)[1]
    assert f"cpf verify {run_id} --base-dir" in str(cpf("inspect", run_id)["warnings"])


def test_inspect_shows_inputs_outputs_and_who_did_what_when(cpf: Cpf) -> None:
    steps = (cli("a", 'echo \'{"url": "http://x"}\''), ask("q", input_schema=SCHEMA), cli("bad", "exit 3"))
    run_id = cpf.run(*steps, inputs={"cluster": "pg1"})["run_id"]
    cpf.resume(run_id, "q_event", {"decision": "approve"})
    cpf("retry", run_id, "--step", "q")
    who = cpf.history(run_id)[0]["fact"]["by"]
    _, shown = at_a_terminal(cpf, "inspect", run_id)
    assert cpf("inspect", run_id, "--text").text.count("\nHistory\n") == 1
    told = plain(shown)
    for part in (
        f"  id: {run_id}\n",
        "Inputs\n  cluster: pg1\n",
        "  a:\n    url: http://x\n",
        f"Z  the run began, by {who}\n",
        "Z  q asks: user, q_event\n",
        f"Z  q was answered, by {who}\n",
        "Z  bad failed: the command ended with exit code 3\n",
        "Z  the run failed\n",
        "Z  q is to be done anew\n",
        f"\n  cpf answer {run_id[-4:]}\n",
    ):
        assert part in told, part


def test_inspect_is_bounded_at_a_terminal(cpf: Cpf) -> None:
    steps = [cli(f"s{n}", f"echo '{{\"n\": {n}}}'") for n in range(60)]
    run_id = cpf.run(*steps, inputs={"l": list(range(500))})["run_id"]
    told = plain(at_a_terminal(cpf, "inspect", run_id)[1])
    assert len(told.splitlines()) < 180
    assert "Outputs  40 earlier ones are left out; all of it: --json" in told
    assert "History  82 earlier ones are left out" in told
    assert "lines more; all of it: --json" in told


def test_a_run_whose_document_cannot_be_read_is_shown_all_the_same(cpf: Cpf) -> None:
    run_id = waiting(cpf)
    (cpf.directory(run_id) / "workflow.yaml").unlink()
    answer = cpf("status", run_id, "--text")
    assert (answer.code, "Go on?" in answer.text) == (40, True)


# What a terminal can show


def hostile(cpf: Cpf) -> list[str]:
    """Runs in which all that data can write is full of what a terminal would obey."""
    fields = {EVIL: {"enum": [EVIL], "description": EVIL}, "b": {"const": EVIL}}
    question = ask("q", prompt=EVIL, summary=EVIL, instructions=EVIL, input_schema={"properties": fields})
    printed = r"printf 'a\033[2J\033]0;x\007b\n' >&2; printf '%s\n' ${inputs.evil} >&2; exit 1"
    choice = switch("s", (f'inputs.evil == "{EVIL[-4:]}"', "e"), (True, "bad"))
    return [
        titled(cpf, EVIL, end("e", result={EVIL: [EVIL, {EVIL: EVIL}]}), description=EVIL, version=EVIL),
        titled(cpf, EVIL, question),
        titled(cpf, EVIL, choice, cli("bad", printed), end("e"), inputs={"evil": EVIL}),
    ]


@pytest.mark.long(but_one_in=4)
@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}, {"PYTHONIOENCODING": "ascii"}])
def test_nothing_that_data_wrote_speaks_to_a_terminal(cpf: Cpf, env: dict[str, str]) -> None:
    graphs = [("graph", "@latest", "--format", form) for form in ("mermaid", "dot", "text")]
    for run_id in hostile(cpf):
        for command in ("status", "inspect", "logs"):
            _, shown = at_a_terminal(cpf, command, run_id, **env)
            assert obeys_nothing(shown), (command, shown)
    for command in (("list",), ("waits",), (), ("logs", "@latest", "--raw"), *graphs):
        _, shown = at_a_terminal(cpf, *command, **env)
        assert obeys_nothing(shown), (command, shown)


def test_raw_logs_speak_to_a_terminal_only_if_somebody_says_so(cpf: Cpf) -> None:
    printed = r"printf 'a\033[31mred\303\251\r\n'; head -c 70000 /dev/zero | tr '\0' '\351'"
    run_id = cpf.run(cli("a", printed))["run_id"]
    _, shown = at_a_terminal(cpf, "logs", run_id, "--raw", "--stream", "stdout")
    assert shown.startswith("a\\x1b[31mredé\n")
    _, shown = at_a_terminal(cpf, "logs", run_id, "--raw", "--ansi")
    assert shown.startswith("a\x1b[31mredé")
    assert cpf.real("logs", run_id, "--raw", "--tail", "0").code == 0


def test_what_a_step_prints_while_one_follows_is_shown_too(cpf: Cpf) -> None:
    run_id = cpf.run(cli("a", r"printf '\033[2Jx\n'"))["run_id"]
    _, shown = at_a_terminal(cpf, "logs", run_id, "--follow", "--json")
    assert shown.startswith("\\x1b[2Jx\n{")


@pytest.mark.long
def test_hostile_words_of_a_call_are_shown(cpf: Cpf) -> None:
    for words in (("status", EVIL), (EVIL,), ("run", EVIL), ("run", "-f", EVIL), ("list", f"--{EVIL}")):
        code, shown = at_a_terminal(cpf, *words)
        assert code in (2, 10)
        assert obeys_nothing(shown), shown


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_are_left_out_where_they_are_not_wanted(cpf: Cpf, env: dict[str, str]) -> None:
    run_id = waiting(cpf)
    coloured, bare = at_a_terminal(cpf, "status", run_id)[1], at_a_terminal(cpf, "status", run_id, **env)[1]
    assert "\x1b[33m" in coloured
    assert "\x1b" not in bare
    assert without_times(LOOK.sub("", coloured)) == without_times(bare)


def without_times(text: str) -> str:
    return re.sub(r"\b[0-9.]+[smh]\b", "T", text)


def test_where_signs_cannot_be_shown_words_stand_for_them(cpf: Cpf) -> None:
    run_id = failing(cpf)
    _, shown = at_a_terminal(cpf, "status", run_id, PYTHONIOENCODING="ascii", NO_COLOR="1")
    assert shown.isascii()
    assert "  done    a " in shown
    assert "  FAILED  bad" in shown
    _, shown = at_a_terminal(cpf, "logs", run_id, PYTHONIOENCODING="ascii", NO_COLOR="1")
    assert "-- bad - attempt 1 - stderr" in shown


@pytest.mark.long(but_one_in=2)
@pytest.mark.parametrize("command", ["guide", "list", "--help", "graph @latest", "logs @latest --raw"])
def test_no_text_is_too_much_for_a_terminal_of_few_characters(cpf: Cpf, command: str) -> None:
    choice = switch("s", ('inputs.x == "é"', "a"), (True, "b"))
    titled(cpf, "é漢", choice, cli("a", "echo é"), cli("b"), inputs={"x": "é"})
    code, shown = at_a_terminal(cpf, *command.split(), PYTHONIOENCODING="ascii")
    assert (code, "this is a bug" in shown) == (0, False)


def test_at_40_columns_all_is_still_told(cpf: Cpf) -> None:
    run_id = waiting(cpf, audience="agent")
    for command in ("list", "waits"):
        _, shown = at_a_terminal(cpf, command, columns=40)
        told = plain(shown)
        assert all(word in told for word in (run_id[-4:], "w", "q", "Go on?"))
        assert all(len(line) < 200 for line in told.splitlines())


def test_what_is_visible_is_left_as_it_is() -> None:
    assert make_visible("é漢 ✓") == "é漢 ✓"
    assert make_visible("\x1b[2J\n\t\x00\udcff\u202e") == r"\x1b[2J\n    \x00\udcff\u202e"


@pytest.mark.parametrize(
    ("line", "harmless"),
    [
        ("::error::x", ": :error::x"),
        ("  ::set-output name=a::b", "  : :set-output name=a::b"),
        ("a ##[error]b", "a # #[error]b"),
        ("a::b", "a::b"),
        ("", ""),
    ],
)
def test_a_runner_is_given_no_commands_by_data(line: str, harmless: str) -> None:
    assert disarm(line) == harmless
    assert Screen(is_runner=True).render([(line,)]) == harmless + "\n"
    assert Screen().render([(line,)]) == line + "\n"


# Bare


def test_cpf_alone_shows_what_waits_what_failed_and_what_to_type(cpf: Cpf) -> None:
    run_id, failed = waiting(cpf), failing(cpf)
    code, shown = at_a_terminal(cpf)
    assert code == 0
    told = plain(shown)
    for part in (
        "Waiting for you",
        run_id[-4:],
        "Go on?",
        "Failed",
        failed[-4:],
        "cpf run FILE",
        "cpf --help",
    ):
        assert part in told
    assert "Waiting for you" not in plain(
        at_a_terminal(cpf, CHECKPOINTFLOW_BASE_DIR=str(cpf.cwd / "none"))[1]
    )


def test_cpf_alone_tells_how_many_more_wait(cpf: Cpf) -> None:
    for _ in range(10):
        waiting(cpf)
    assert "Waiting for you  and 2 more: cpf waits --for user\n" in plain(at_a_terminal(cpf)[1])


def test_where_there_are_no_workflows_that_is_said(cpf: Cpf) -> None:
    assert "There are no workflows in" in at_a_terminal(cpf, "flows")[1]
    assert cpf("flows")["result"] == {"flows": []}


@pytest.mark.parametrize("env", [{"LLM": "true"}, {"CPF_FORMAT": "json"}])
def test_cpf_alone_is_wrong_use_for_whoever_reads_json(cpf: Cpf, env: dict[str, str]) -> None:
    code, shown = at_a_terminal(cpf, **env)
    assert (code, json.loads(shown[shown.index("{") :])["error"]["code"]) == (2, "ERR_USAGE")
    assert cpf().code == 2


LONG = "The standby has replayed all of it. Promote it and let the primary go? There is no way back."


def test_what_is_asked_and_what_went_wrong_is_broken_at_blanks_alone(cpf: Cpf) -> None:
    asked = cpf.run(ask("q", prompt=f"{LONG}\n  - and a point of it that is long enough, too"))["run_id"]
    shown = plain(at_a_terminal(cpf, "status", asked, columns=40)[1]).splitlines()
    at = shown.index("? The standby has replayed all of it.")
    assert shown[at + 1 : at + 3] == ["  Promote it and let the primary go?", "  There is no way back."]
    assert shown[at + 3 : at + 5] == ["    - and a point of it that is long", "    enough, too"]
    failed = cpf.run(cli("step", f"echo '{LONG}' >&2; exit 3"))["run_id"]
    shown = plain(at_a_terminal(cpf, "status", failed, columns=30)[1]).splitlines()
    at = shown.index("✗ step: the command ended with")
    assert shown[at + 1 : at + 3] == ["  exit code 3", f"    | {LONG}"]  # to be copied as it was printed


@pytest.mark.long(but_one_in=2)
@pytest.mark.parametrize("columns", [60, 70])
def test_a_row_of_a_table_is_one_line(cpf: Cpf, columns: int) -> None:
    question = ask("a_step", prompt=LONG, timeout_seconds=0.001)
    titled(cpf, "T", question, inputs={"cluster": "a-long-name", "table": "orders"}, id="a_long_name")
    for command in ("list", "waits", "tick"):
        _, shown = at_a_terminal(cpf, command, columns=columns)
        assert max(map(len, plain(shown).splitlines())) <= columns


@pytest.mark.long(but_one_in=2)
@pytest.mark.parametrize("columns", [40, 60])
def test_all_prose_is_broken_at_blanks(cpf: Cpf, columns: int) -> None:
    about = "what shall happen to the cluster before the weekend begins and everybody goes home"
    fields = {"what": {"enum": ["stay", "leave"], "description": about}}
    question = ask("q", prompt="Go on?", input_schema={"type": "object", "properties": fields})
    run_id = titled(cpf, "Promote the standby of a cluster", cli("a"), question)
    cpf("export", run_id, "-o", "run.tgz", "--note", LONG)
    cpf("import", "run.tgz", "--base-dir", "other")
    shown = plain(at_a_terminal(cpf, "status", run_id, "--base-dir", "other", columns=columns)[1])
    lines = [line for line in shown.splitlines() if not line.startswith("  cpf ")]
    assert max(len(line) for line in lines if str(cpf.cwd) not in line) <= columns
    whole = unfold(shown)
    for prose in (f"waiting {run_id[-4:]} started ", about, LONG, "the run was imported; whoever first goes"):
        assert prose in whole


def test_an_error_is_broken_at_blanks_but_for_the_line_to_paste(cpf: Cpf) -> None:
    run_id = waiting(cpf)
    _, shown = at_a_terminal(cpf, "resume", run_id, "--event", "x", "--input", "{}", columns=40)
    assert plain(shown).splitlines()[:3] == [
        f"cpf: run {run_id} does",
        "     not wait for the event x; it waits",
        "     for q_event at q",
    ]
    (cpf.cwd / "titled.yaml").write_text((cpf.cwd / "titled.yaml").read_text() + " ")
    shown = plain(at_a_terminal(cpf, "status", run_id, columns=40)[1])
    assert f":\n  cpf run -f {cpf.cwd}/titled.yaml" in shown
