"""Answering at a terminal: a form, field by field; nothing is sent before its time."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cpf
from tests.helpers import ask, cli, end
from tests.terminals import CTRL_C, CTRL_D, Terminal, at_a_terminal, obeys_nothing, plain, unfold

DECISION = {
    "type": "object",
    "required": ["decision", "count"],
    "additionalProperties": False,
    "properties": {
        "decision": {"enum": ["approve", "reject", "revise"], "description": "what to do"},
        "count": {"type": "integer", "minimum": 2},
        "sure": {"type": "boolean", "default": True},
        "note": {"type": "string", "maxLength": 5},
    },
}


def waiting(cpf: Cpf, schema: Any = None, *more: Any, **wait: Any) -> str:
    """A run that asks for *schema*, and ends with the answer."""
    fields = DECISION if schema is None else schema
    steps = more or (end("e", result="${steps.q.outputs}"),)
    return cpf.run(ask("q", prompt="Go on?", input_schema=fields, **wait), *steps)["run_id"]


def asked_for(*fields: str, **schemas: Any) -> dict[str, Any]:
    """The schema of an object of *schemas*, of which *fields* are required."""
    return {"type": "object", "required": list(fields), "properties": schemas}


def editor(cpf: Cpf, script: str) -> str:
    """An editor that is a shell script, which is given the file."""
    file = cpf.cwd / "editor"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


def untouched(cpf: Cpf, run_id: str) -> bool:
    """Whether nothing was delivered to the run."""
    return cpf.state(run_id)["status"] == "waiting" and len(cpf.history(run_id)) == 2


def test_a_form_asks_field_by_field_and_what_is_confirmed_goes_on(cpf: Cpf) -> None:
    run_id = waiting(cpf)
    with Terminal(cpf, "answer", run_id[-4:]) as person:
        person.expect("Go on?")
        person.expect("decision (1 approve, 2 reject, 3 revise) what to do: ")
        person.type("app").expect("count (whole number): ")
        person.type("3").expect("sure (y/n) [true]: ")
        person.type("").expect("note (text, ! for the editor) (Enter: none): ")
        person.type("fine").expect("leads to the end of the run")
        person.expect("Send it? (Y/n) ")
        assert person.type("").end() == 0
    sent = {"decision": "approve", "count": 3, "sure": True, "note": "fine"}
    assert cpf("status", run_id)["result"] == sent


@pytest.mark.parametrize(
    ("given", "meant"), [("2", "reject"), ("rej", "reject"), ("REV", "revise"), ("approve", "approve")]
)
def test_a_choice_is_its_number_or_its_beginning(cpf: Cpf, given: str, meant: str) -> None:
    run_id = waiting(cpf, asked_for("d", d=DECISION["properties"]["decision"]))
    with Terminal(cpf, "answer", run_id) as person:
        assert person.type(given, "y").end() == 0
    assert cpf("status", run_id)["result"] == {"d": meant}


@pytest.mark.long(but_one_in=3)
@pytest.mark.parametrize(
    ("field", "wrong", "told", "right"),
    [
        ({"enum": ["red", "rose"]}, "r", "choose one of red, rose, or its number", '"red"'),
        ({"enum": ["red", "rose"]}, "3", "choose one of red, rose, or its number", '"red"'),
        ({"type": "boolean"}, "perhaps", "answer y or n", "true"),
        ({"type": "integer"}, "three", "expected a whole number", "3"),
        ({"type": "integer"}, "3.5", "f", "3"),
        ({"type": "integer", "maximum": 3}, "4", "f", "3"),
        ({"type": "number"}, "1,5", "expected a number", "1.5"),
        ({"type": "string", "pattern": "^a"}, "b", "f", '"a"'),
        ({"type": "array", "items": {"maximum": 1}}, "[1, x]", "expected JSON, or ! for the editor", "[1]"),
        ({"type": "array", "items": {"type": "integer"}}, '["x"]', "f[0]", "[1]"),
        ({"type": "object", "required": ["x"]}, "{}", "f", '{"x": 1}'),
        ({"type": "string"}, "", "f is needed", '"a"'),
        ({"type": "string"}, "   ", "f is needed", '"a"'),
    ],
)  # fmt: skip
def test_a_wrong_answer_is_told_and_asked_for_again(
    cpf: Cpf, field: dict[str, Any], wrong: str, told: str, right: str
) -> None:
    run_id = waiting(cpf, asked_for("f", f=field))
    value = json.loads(right)
    with Terminal(cpf, "answer", run_id) as person:
        person.expect("): ")
        person.type(wrong).expect(f"  {told}")
        person.expect("): ")
        person.type(value if isinstance(value, str) else "y" if value is True else right)
        person.expect("Send it?")
        assert person.type("y").end() == 0
    assert cpf("status", run_id)["result"] == {"f": value}


def test_a_constant_is_not_asked_for(cpf: Cpf) -> None:
    run_id = waiting(cpf, asked_for("v", "y", v={"const": 1}, y={"type": "boolean"}))
    with Terminal(cpf, "answer", run_id) as person:
        assert person.type("n", "").end() == 0
    assert cpf("status", run_id)["result"] == {"v": 1, "y": False}


def test_a_field_may_refer_to_what_the_schema_defines(cpf: Cpf) -> None:
    schema = {**asked_for("n", n={"$ref": "#/$defs/small"}), "$defs": {"small": {"maximum": 3}}}
    run_id = waiting(cpf, schema)
    with Terminal(cpf, "answer", run_id) as person:
        person.expect(": ")
        person.type("4").expect("  n")
        assert person.type("3", "").end() == 0
    assert cpf("status", run_id)["result"] == {"n": 3}


@pytest.mark.long(but_one_in=5)
@pytest.mark.parametrize("key", [CTRL_C, CTRL_D])
@pytest.mark.parametrize("answers", [(), ("approve",), ("approve", "3", "", "")])
def test_whoever_stops_in_a_form_has_sent_nothing(cpf: Cpf, key: bytes, answers: tuple[str, ...]) -> None:
    run_id = waiting(cpf)
    with Terminal(cpf, "answer", run_id) as person:
        person.expect("decision (")
        for answer in answers:
            person.type(answer).expect(") ")
        assert person.press(key).end() == 20
        person.expect("the answer was not sent")
    assert untouched(cpf, run_id)


@pytest.mark.long(but_one_in=2)
@pytest.mark.parametrize("word", ["n", "no"])
def test_what_is_not_confirmed_is_not_sent(cpf: Cpf, word: str) -> None:
    run_id = waiting(cpf, asked_for("y", y={"type": "boolean"}))
    with Terminal(cpf, "answer", run_id) as person:
        assert person.type("y", word).end() == 20
        person.expect("the answer was not sent")
    assert untouched(cpf, run_id)


@pytest.mark.long(but_one_in=3)
@pytest.mark.parametrize(("words", "code"), [(("",), 20), (("y", ""), 20), (("y", "q_event"), 0)])
def test_a_high_risk_asks_for_the_word_and_a_slip_costs_no_form(
    cpf: Cpf, words: tuple[str, ...], code: int
) -> None:
    run_id = waiting(cpf, asked_for("y", y={"type": "boolean"}), risk_level="high")
    with Terminal(cpf, "answer", run_id) as person:
        person.expect("risk: high")
        person.type("y")
        for word in words:
            person.expect("to send it: ")
            person.type(word)
        assert person.end() == code
    assert untouched(cpf, run_id) == (code == 20)


def test_what_it_leads_to_is_told_before_it_is_sent(cpf: Cpf) -> None:
    transitions = [{"when": "event.y", "next": "go"}, {"when": True, "next": "stop"}]
    run_id = waiting(
        cpf, asked_for("y", y={"type": "boolean"}), end("stop"), cli("go"), transitions=transitions
    )
    with Terminal(cpf, "answer", run_id) as person:
        person.type("y").expect("leads to go, a command")
        person.type("n").end()


def test_an_answer_that_leads_nowhere_is_refused_before_it_is_confirmed(cpf: Cpf) -> None:
    run_id = waiting(
        cpf,
        asked_for("y", y={"type": "boolean"}),
        end("e"),
        transitions=[{"when": "event.y", "next": "e"}],
    )
    with Terminal(cpf, "answer", run_id) as person:
        assert person.type("n").end() == 30
        assert "Send it?" not in person.shown
    assert untouched(cpf, run_id)


def test_a_long_text_is_written_in_the_editor(cpf: Cpf) -> None:
    run_id = waiting(cpf, asked_for("t", t={"type": "string"}))
    written = editor(cpf, r'printf "one\ntwo\n" > "$1"')
    with Terminal(cpf, "answer", run_id, EDITOR=written, VISUAL="") as person:
        assert person.type("!", "").end() == 0
    assert cpf("status", run_id)["result"] == {"t": "one\ntwo"}


def test_what_no_form_can_ask_is_written_as_json_until_it_fits(cpf: Cpf) -> None:
    run_id = waiting(cpf, {"type": "array", "items": {"type": "integer"}, "minItems": 1})
    written = editor(
        cpf,
        'n=$(cat tries 2>/dev/null || echo 0); echo $((n+1)) > tries\n'
        'case $n in 0) echo "[1," > "$1";; 1) echo "[\\"x\\"]" > "$1";; *) echo "[7]" > "$1";; esac',
    )  # fmt: skip
    with Terminal(cpf, "answer", run_id, EDITOR=written, VISUAL="") as person:
        person.expect("this is not JSON")
        person.type("").expect("$[0]")
        person.type("").expect("Send it?")
        assert person.type("").end() == 0
    assert cpf("status", run_id)["result"] == [7]


def test_the_editor_opens_a_skeleton_that_says_what_is_asked(cpf: Cpf) -> None:
    host = {"type": "object", "properties": {"name": {"type": "string"}, "port": {"default": 22}}}
    schema = {
        **asked_for(
            "hosts",
            hosts={"type": "array", "items": host, "minItems": 1, "description": "where\nto go"},
            how={"type": "object", "properties": {"fast": {"type": "boolean", "description": "\x1b[2J"}}},
        ),
        "type": ["object", "null"],
    }
    run_id = waiting(cpf, schema)
    written = editor(cpf, """cp "$1" kept; sed -i 's/"hosts": .*/"hosts": [{"name": "a"}],/' "$1" """)
    with Terminal(cpf, "answer", run_id, EDITOR=written, VISUAL="") as person:
        assert person.type("").end() == 0
    assert (cpf.cwd / "kept").read_text().split("\n") == [
        "// The answer, as JSON. Lines that begin with // do not count; without others nothing is sent.",
        "{",
        '  // list, each such as {"name": "", "port": 22}: where to go',
        '  "hosts": [],',
        "  // fields, optional",
        '  "how": {',
        "    // yes or no, optional: \\x1b[2J",
        '    "fast": false',
        "  }",
        "}",
        "",
    ]
    assert cpf("status", run_id)["result"] == {"hosts": [{"name": "a"}], "how": {"fast": False}}


def test_a_skeleton_without_fields_shows_the_schema(cpf: Cpf) -> None:
    run_id = waiting(cpf, {"oneOf": [{"type": "array"}, {"type": "null"}]})
    written = editor(cpf, 'cp "$1" kept; echo "[1]" > "$1"')
    with Terminal(cpf, "answer", run_id, EDITOR=written, VISUAL="") as person:
        assert person.type("").end() == 0
    assert '//       "type": "array"' in (cpf.cwd / "kept").read_text()


def test_an_answer_without_fields_is_asked_on_a_line(cpf: Cpf) -> None:
    for schema, typed, result in (
        ({"enum": ["go", "stay"]}, "g", "go"),
        ({"type": "boolean"}, "y", True),
        ({"type": "string", "minLength": 1}, "fine", "fine"),
    ):
        run_id = waiting(cpf, schema)
        with Terminal(cpf, "answer", run_id) as person:
            person.expect("answer (")
            assert person.type(typed, "").end() == 0
        assert cpf("status", run_id)["result"] == result


def test_a_question_that_asks_for_nothing_is_only_confirmed(cpf: Cpf) -> None:
    run_id = waiting(cpf, {"type": "object"})
    with Terminal(cpf, "answer", run_id, EDITOR="false", VISUAL="") as person:
        assert person.type("").end() == 0
    assert cpf("status", run_id)["result"] == {}


@pytest.mark.long(but_one_in=4)
@pytest.mark.parametrize("script", ["sed -i 's-^-//-' \"$1\"", 'true > "$1"', "exit 1", "echo '[' > \"$1\""])
def test_an_editor_that_is_left_without_an_answer_sends_nothing(cpf: Cpf, script: str) -> None:
    run_id = waiting(cpf, {"type": "array", "minItems": 1})
    with Terminal(cpf, "answer", run_id, EDITOR=editor(cpf, script), VISUAL="") as person:
        assert person.type("n").end() == 20
    assert untouched(cpf, run_id)


def test_rules_beyond_single_fields_are_told_in_the_end(cpf: Cpf) -> None:
    schema = {
        **asked_for("a", a={"type": "integer"}, b={"type": "integer"}),
        "dependentRequired": {"a": ["b"]},
    }
    run_id = waiting(cpf, schema)
    written = editor(cpf, """echo '{"a": 1, "b": 2}' > "$1" """)
    with Terminal(cpf, "answer", run_id, EDITOR=written, VISUAL="") as person:
        assert person.type("1", "", "").end() == 0
    assert cpf("status", run_id)["result"] == {"a": 1, "b": 2}


def test_a_field_that_is_asked_again_and_left_out_is_left_out(cpf: Cpf) -> None:
    schema = {**asked_for(a={"type": "integer"}), "allOf": [{"properties": {"a": {"maximum": 3}}}]}
    run_id = waiting(cpf, schema)
    with Terminal(cpf, "answer", run_id) as person:
        person.expect("): ")
        person.type("5").expect("$.a")
        assert person.type("", "").end() == 0
    assert cpf("status", run_id)["result"] == {}


def test_without_a_run_one_chooses_among_all_that_waits(cpf: Cpf) -> None:
    schema = asked_for("y", y={"type": "boolean"})
    system = waiting(cpf, schema, audience="system")
    first, second = (waiting(cpf, schema) for _ in range(2))
    with Terminal(cpf, "answer", "--base-dir", str(cpf.base), CHECKPOINTFLOW_BASE_DIR="/nowhere") as person:
        offered = person.expect("Which one (1-3)? ")
        assert [offered.index(run[-4:]) for run in (second, first, system)] == sorted(
            offered.index(run[-4:]) for run in (first, second, system)
        )
        person.type("0").expect("Which one")
        person.type("x").expect("Which one")
        assert person.type("3", "y", "").end() == 0
    assert [cpf("status", run)["status"] for run in (first, second, system)] == [
        "waiting", "waiting", "completed",
    ]  # fmt: skip


def test_where_nothing_waits_nobody_is_asked(cpf: Cpf) -> None:
    cpf.run(cli("a"))
    code, shown = at_a_terminal(cpf, "answer")
    assert (code, shown) == (20, "cpf: no run waits for an answer\n")


@pytest.mark.long(but_one_in=2)
@pytest.mark.parametrize(
    ("step", "told"), [((), "so it takes no answer"), (("--step", "p"), "so it takes no answer")]
)
def test_of_a_run_that_asks_nothing_nothing_is_answered(cpf: Cpf, step: tuple[str, ...], told: str) -> None:
    run_id = cpf.run(cli("a"))["run_id"]
    code, shown = at_a_terminal(cpf, "answer", run_id, *step)
    assert (code, told in shown) == (20, True)


def test_a_step_that_asks_nothing_is_told_with_the_nearest(cpf: Cpf) -> None:
    code, shown = at_a_terminal(cpf, "answer", cpf.run(ask("quest"))["run_id"], "--step", "qest")
    assert (code, "qest takes no answer; did you mean quest?" in unfold(shown)) == (20, True)


def test_of_several_questions_of_a_run_one_is_chosen(cpf: Cpf) -> None:
    schema = asked_for("y", y={"type": "boolean"})
    branches = [
        {"id": name, "steps": [ask(f"q{name}", prompt=f"{name}?", input_schema=schema)]} for name in "ab"
    ]
    run_id = cpf.run({"id": "p", "kind": "parallel", "branches": branches})["run_id"]
    with Terminal(cpf, "answer", run_id) as person:
        person.expect("Which one (1-2)? ")
        person.type("2", "y", "").expect("Answer it now?")
        person.type("n").end()
    with Terminal(cpf, "answer", run_id, "--step", "p[a]/qa") as person:
        assert person.type("y", "").end() == 0


@pytest.mark.parametrize("given", [(), ("--text",), ("--json",)])
def test_a_form_needs_a_terminal(cpf: Cpf, given: tuple[str, ...]) -> None:
    answer = cpf("answer", waiting(cpf), *given)
    assert answer.code == 2
    assert "cpf resume RUN --event NAME --input JSON" in answer.text + answer.err


def test_a_model_is_never_asked(cpf: Cpf) -> None:
    run_id = waiting(cpf)
    assert at_a_terminal(cpf, "answer", run_id, LLM="true")[0] == 2
    for command in (("resume", run_id), ("run", "w.yaml")):
        code, shown = at_a_terminal(cpf, *command, LLM="true")
        assert (code, json.loads(shown)["status"]) == (40, "waiting")


@pytest.mark.parametrize("given", [("--json",), ()])
def test_whoever_reads_json_is_not_asked_unasked(cpf: Cpf, given: tuple[str, ...]) -> None:
    waiting(cpf)
    code, shown = at_a_terminal(cpf, "run", "w.yaml", *given, CPF_FORMAT="" if given else "json")
    assert code == 40
    assert "Answer it now?" not in shown


def test_a_run_that_comes_to_a_question_offers_to_answer_it(cpf: Cpf) -> None:
    schema = asked_for("y", y={"type": "boolean"})
    file = cpf.flow(*(ask(q, prompt=f"{q}?", input_schema=schema) for q in ("one", "two")), end("e"))
    with Terminal(cpf, "run", file) as person:
        person.expect("one?")
        person.expect("Answer it now? (Y/n) ")
        person.type("", "y", "y").expect("two?")
        person.expect("Answer it now? (Y/n) ")
        assert person.type("n").end() == 40
        person.expect("cpf answer ")
    with Terminal(cpf, "resume", "@latest") as person:
        person.expect("Answer it now? (Y/n) ")
        assert person.type("y", "n", "y").end() == 0


@pytest.mark.long(but_one_in=5)
@pytest.mark.parametrize("key", [CTRL_C, CTRL_D])
@pytest.mark.parametrize("before", [(), ("",), ("", "y")])
def test_whoever_stops_in_an_offer_leaves_the_run_waiting(
    cpf: Cpf, key: bytes, before: tuple[str, ...]
) -> None:
    file = cpf.flow(cli("a"), ask("q", input_schema=asked_for("y", y={"type": "boolean"})))
    with Terminal(cpf, "run", file) as person:
        person.expect("Answer it now? (Y/n) ")
        for line in before:
            person.type(line).expect(") ") if line else person.type(line).expect("): ")
        assert person.press(key).end() == 40
        person.expect("the answer was not sent")
    assert cpf("status", "@latest")["status"] == "waiting"


def test_a_question_whose_offer_is_declined_is_not_shown_again(cpf: Cpf) -> None:
    file = cpf.flow(ask("q", prompt="Go on?", input_schema=DECISION))
    with Terminal(cpf, "run", file) as person:
        assert person.type("n").end() == 40
    assert (person.shown.count("? Go on?"), person.shown.count("  cpf answer ")) == (1, 1)


def test_nothing_is_asked_where_the_directory_of_the_run_is_gone(cpf: Cpf) -> None:
    run_id = waiting(cpf)
    cpf.cwd.rename(cpf.cwd.parent / "moved")
    cpf.cwd = cpf.cwd.parent / "moved"
    code, shown = at_a_terminal(cpf, "answer", run_id)
    told = "is no directory here; say where with --cwd DIR" in unfold(shown)
    assert (code, told, "Go on?" in shown) == (20, True, False)
    assert plain(shown).splitlines()[-1] == f"  cpf answer {run_id[-4:]} --cwd ."
    assert plain(at_a_terminal(cpf, "status", run_id)[1]).splitlines()[-1].endswith(" --cwd .")
    with Terminal(cpf, "answer", run_id, "--cwd", ".") as person:
        person.expect("decision (1 approve")
        assert "--cwd DIR" not in person.shown  # it is said
        person.press(CTRL_C).end()


@pytest.mark.long(but_one_in=2)
@pytest.mark.parametrize("command", ["answer", "retry"])
def test_the_question_that_comes_next_is_offered_too(cpf: Cpf, command: str) -> None:
    fields = asked_for("y", y={"type": "boolean"})
    steps = [ask("q", input_schema=fields), ask("r", prompt="And now?", input_schema=fields), end("e")]
    if command == "retry":
        steps.insert(0, cli("bad", "test -e well"))
    run_id = cpf.run(*steps)["run_id"]
    (cpf.cwd / "well").touch()
    with Terminal(cpf, command, run_id) as person:
        if command == "retry":
            person.expect("Answer it now?")
            person.type("y")
        person.expect("y (y/n)")
        person.type("y", "y").expect("And now?")
        person.expect("Answer it now?")
        assert person.type("y", "y", "y").end() == 0


def test_a_choice_among_many_is_a_line_each(cpf: Cpf) -> None:
    for _ in range(2):
        cpf.run(ask("q", prompt="Are the rows as many as they were before the migration of yesterday began?"))
    with Terminal(cpf, "answer", columns=60) as person:
        person.expect("Which one (1-2)? ")
        assert [len(line) <= 60 for line in person.shown.splitlines()] == [True, True, True]
        person.press(CTRL_C).end()


def test_what_is_overdue_is_not_asked(cpf: Cpf) -> None:
    run_id = waiting(cpf, timeout_seconds=0.001)
    code, shown = at_a_terminal(cpf, "answer", run_id)
    assert (code, "comes too late" in unfold(shown), "Go on?" in shown) == (20, True, False)
    assert plain(shown).splitlines()[-1] == f"  cpf resume {run_id[-4:]}"
    assert "no run waits for an answer" in at_a_terminal(cpf, "answer")[1]


def test_an_offer_is_for_people_only(cpf: Cpf) -> None:
    file = cpf.flow(ask("q", audience="agent"))
    code, shown = at_a_terminal(cpf, "run", file)
    assert code == 40
    assert "Answer it now?" not in shown


def test_text_that_is_not_text_is_asked_for_again(cpf: Cpf) -> None:
    run_id = waiting(cpf, asked_for("t", t={"type": "string"}))
    with Terminal(cpf, "answer", run_id, PYTHONIOENCODING="utf-8:strict") as person:
        person.expect("): ")
        person.press(b"\xff\n").expect("no text in the encoding")
        assert person.type("é", "").end() == 0
    assert cpf("status", run_id)["result"] == {"t": "é"}


def test_nothing_in_a_question_speaks_to_the_terminal(cpf: Cpf) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\r\x9b31m"
    schema = asked_for(
        "d",
        d={"enum": [f"a{evil}", "b"], "description": evil},
        t={"type": "string", "default": evil, "pattern": "."},
    )
    run_id = waiting(cpf, schema, summary=evil, instructions=f"do{evil}\nthis")
    file = cpf.directory(run_id) / "state.json"
    assert file.is_file()
    with Terminal(cpf, "answer", run_id) as person:
        person.type("x", "2", "", "n").end()
        assert r"\x1b]0;owned\x07\x1b[2J\r\x9b31m" in person.shown
        assert obeys_nothing(person.raw)


def test_an_answer_belongs_to_one_run_at_a_time(cpf: Cpf, tmp_path: Path) -> None:
    """Somebody else answers while the form is open: the first answer stands."""
    run_id = waiting(cpf, asked_for("y", y={"type": "boolean"}))
    with Terminal(cpf, "answer", run_id) as person:
        person.expect("(y/n): ")
        cpf.resume(run_id, "q_event", {"y": True})
        assert person.type("n", "y").end() == 20
    assert cpf("status", run_id)["result"] == {"y": True}
