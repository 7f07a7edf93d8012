"""Reading a document: YAML to Workflow, each complaint at its line (`cases/yaml.json`, `structure.json`)."""

from __future__ import annotations

import json
import re
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import to_builtins

from checkpointflow.diagnostics import Diagnostic
from checkpointflow.documents import yaml as sources
from checkpointflow.documents.decoding import decode, decode_leniently
from checkpointflow.documents.model import Cli
from checkpointflow.documents.packing import Understood, pack, unpack
from checkpointflow.documents.parts import Retry
from checkpointflow.documents.yaml import Source, parse
from checkpointflow.errors import InvalidWorkflow
from tests.unit.documents.tables import Row, Told, errors, holds, of, rows, text, told_by, yaml_errors

HEAD = """\
schema_version: checkpointflow/v1
workflow:
  id: w
  steps:
"""


def value(document: str) -> Any:
    source = parse(document.encode())
    assert source.problems == []
    return source.value


def only(document: str | bytes) -> Told:
    [found] = errors(document)
    return found


# YAML


@pytest.mark.parametrize(
    ("spelled", "meant"),
    [
        ("1", 1),
        ("-1", -1),
        ("+3", 3),
        ("010", 10),
        ("-010", -10),
        ("0", 0),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("text", "text"),
        ("'1'", "1"),
        ("yes", "yes"),
        ("No", "No"),
        ("on", "on"),
        ("off", "off"),
        ("2026-01-01", "2026-01-01"),
        ("2026-13-45", "2026-13-45"),
        ("2026-01-01T10:00:00Z", "2026-01-01T10:00:00Z"),
        ("1_000", "1_000"),
        ("0b101", "0b101"),
        ("12:30:45", "12:30:45"),
        ("1.0.0", "1.0.0"),
        ("=", "="),
        ('"\\ud83d\\ude00"', "😀"),
        ("[]", []),
        ("{}", {}),
        ('["x", {y: 1}]', ["x", {"y": 1}]),
        ("|\n  one\n  two\n", "one\ntwo\n"),
        ("9" * 4300, int("9" * 4300)),
        ("1e-400", 0.0),
    ],
)
def test_a_spelling_means_what_json_and_yaml_1_2_say(spelled: str, meant: object) -> None:
    found = value(f"a: {spelled}")["a"]
    assert (type(found), found) == (type(meant), meant)


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert parse(b"\xef\xbb\xbfa: 1").value == {"a": 1}


@pytest.mark.parametrize("key", ["yes", "on", "2026-01-01", '"3"', "'true'", "'<<'"])
def test_text_may_be_a_key(key: str) -> None:
    assert list(value(f"{key}: 1")) == [key.strip("'\"")]


def test_an_alias_stands_for_what_it_names() -> None:
    assert value("a: &x {b: [1]}\nc: *x") == {"a": {"b": [1]}, "c": {"b": [1]}}


def test_an_anchor_may_be_given_again_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert value("a: &x 1\nb: &x 2\nc: *x") == {"a": 1, "b": 2, "c": 2}
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("row", rows("yaml"))
def test_yaml(row: Row) -> None:
    holds(row, yaml_errors)


@pytest.mark.parametrize("digits", ["9" * 4301, "0x" + "f" * 4000])
def test_a_number_has_no_more_than_4300_digits(digits: str) -> None:
    [found] = yaml_errors(f"a: {digits}")
    assert found[:2] == (1, 4)
    assert (found.message, found.hint) == (text("digits"), text("as text"))


LONG_NAMES = ", ".join(f"x{n:0999}: 1" for n in range(100))


@pytest.mark.parametrize(
    ("document", "place", "message"),
    [
        ("a: &x [" + "1," * 300 + "]\nb: [" + "*x," * 400 + "]", (2, 5), text("too many values")),
        pytest.param("a: '" + "x" * 1_000_001 + "'", (1, 4), text("long text"), marks=pytest.mark.untraced),
        ("a: &x " + "x" * 100_000 + "\nb: [" + "*x, " * 120 + "]", (2, 5), text("much text")),
        ("a: &x {" + LONG_NAMES + "}\nb: [" + "*x, " * 120 + "]", (2, 5), text("much text")),
    ],
    ids=["values", "one text", "texts", "names"],
)  # fmt: skip
def test_a_document_beyond_a_limit_is_refused_at_once(
    document: str, place: tuple[int, int], message: str
) -> None:
    found = only(document)
    assert (found.line, found.message) == (place[0], message)


def test_values_are_counted_while_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a smaller limit: a hundred thousand values take seconds. Of the true one the aliases above tell."""
    monkeypatch.setattr(sources, "MAX_NODES", 1000)
    [found] = yaml_errors("a: [" + "1," * 600 + "[" + "1," * 600)
    assert found.message == text("too many values").replace("100,000", "1,000")
    assert yaml_errors("a: [" + "1," * 900 + "]") == []


def test_a_text_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_TEXT", 20)
    assert yaml_errors("a: " + "x" * 20) == []
    assert only("a: " + "x" * 21).message == text("long text").replace("1,000,000", "20")


def test_a_billion_laughs_are_counted_before_they_are_told() -> None:
    lines = ["a0: &a0 [" + ",".join("x" * 10) + "]"]
    lines += [f"a{i}: &a{i} [" + ",".join([f"*a{i - 1}"] * 10) + "]" for i in range(1, 30)]
    assert only("\n".join(lines)).message == text("too many values")


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        (b"\xff\xfea\x00", (1, 1), text("no UTF-8")),
        (b"a: 1\nb: \xc3(", (2, 4), text("no UTF-8")),
        (b"x" * 1_048_577, (1, 1), text("file size")),
        (b"a: " + b"!" * 1000, (1, 4), text("exclamations")),
    ],
    ids=["no UTF-8 from the start", "no UTF-8 later", "more than a MiB", "a wall of exclamation marks"],
)
def test_bytes_that_are_no_text_are_refused(data: bytes, place: tuple[int, int], message: str) -> None:
    found = only(data)
    assert (found[:2], found.message, found.code) == (place, message, "ERR_YAML_PARSE")


def test_yaml_1_2_may_be_named() -> None:
    assert value("%YAML 1.2\n---\na: 010") == {"a": 10}


def test_whatever_the_parser_stumbles_over_is_no_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(text: str) -> int:
        raise ValueError(text)

    monkeypatch.setattr(sources, "float", stumble, raising=False)
    found = only("a:\n  - 1.5")
    assert (found[:2], found.code, found.message) == ((2, 5), "ERR_YAML_PARSE", text("no YAML"))


def test_no_more_than_500_problems_are_noted() -> None:
    assert len(parse(b"- !x\n" * 600).problems) == 500


BITS = st.sampled_from(
    [
        "a",
        "id",
        "steps",
        ": ",
        "- ",
        "\n",
        "  ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "&x ",
        "*x",
        "!x ",
        "|",
        ">",
        '"',
        "'",
        "#",
        "%YAML ",
        "---\n",
        "...\n",
        "? ",
        "<<",
        "1",
        "0x",
        ".inf",
        "1e999",
        "\\",
        "�",
        "\x00",
        "\t",
        "é",
        HEAD,
        "    - id: x\n",
        "      kind: cli\n",
        "      command: ${",
        "retry",
        "null",
        "\r",
        "@",
        "\u2028",
    ]
)


@given(st.one_of(st.binary(max_size=60), st.lists(BITS, max_size=30).map("".join)))
def test_nothing_but_invalid_workflow_ever_leaves(document: bytes | str) -> None:
    data = document if isinstance(document, bytes) else document.encode("utf-8", "surrogatepass")
    try:
        decode(data)
    except InvalidWorkflow as error:
        lines = len(re.split(b"\r\n|\r|\n", data))
        assert all(1 <= problem.line <= lines for problem in error.problems)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_json_is_read_as_itself(document: Any) -> None:
    text = json.dumps({"x": document})
    if "\\u0000" not in text and "\\ud" not in text:
        assert parse(text.encode()).value == {"x": document}


FIELDS = [
    "id",
    "kind",
    "name",
    "if",
    "next",
    "retry",
    "command",
    "env",
    "shell",
    "success",
    "lock",
    "artifacts",
]
FIELDS += ["on_error", "tags", "timeout_seconds", "url", "body", "items", "branches", "cases", "transitions"]
FIELDS += ["audience", "event_name", "default", "workflow_ref", "inputs", "outputs", "idempotent"]
KINDS = ["cli", "api", "await_event", "switch", "foreach", "parallel", "workflow", "end", "x"]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5), st.sampled_from(KINDS))
def test_every_refusal_is_in_our_words(fields: dict[str, Any], kind: str) -> None:
    """The types are walked when msgspec refuses; where the two disagreed, its own words would show."""
    workflow = {"id": "w", "steps": [{"kind": kind, **fields}]}
    text = json.dumps({"schema_version": "checkpointflow/v1", "workflow": workflow})
    if "\\u0000" in text or "\\ud" in text:
        return
    try:
        decode(text.encode())
    except InvalidWorkflow as error:
        said = " ".join(problem.message for problem in error.problems)
        assert not re.search(r"`(str|int|object|array)`|\$\.", said)


# Places


DOCUMENT = """\
workflow:
  steps:
    - id: a
      env: {X: 1}
      command: |
        echo ${inputs.one}
        echo ${inputs.two}
"""


@pytest.mark.parametrize(
    ("path", "place", "key_place"),
    [
        ((), (1, 1), (1, 1)),
        (("workflow",), (2, 3), (1, 1)),
        (("workflow", "steps", 0), (3, 7), (3, 7)),
        (("workflow", "steps", 0, "id"), (3, 11), (3, 7)),
        (("workflow", "steps", 0, "env", "X"), (4, 16), (4, 13)),
        (("workflow", "steps", 0, "nothing"), (3, 7), (3, 7)),
        (("workflow", "steps", 9, "id"), (3, 5), (3, 5)),
    ],
)
def test_a_path_has_a_place(path: tuple[str | int, ...], place: object, key_place: object) -> None:
    source = parse(DOCUMENT.encode())
    assert (source.find_mark(path), source.find_key_mark(path)) == (place, key_place)


def test_words_within_a_text_have_a_place() -> None:
    source, path = parse(DOCUMENT.encode()), ("workflow", "steps", 0, "command")
    assert source.find(path, "inputs.two") == (7, 16)
    assert source.find(path, "inputs.two", 8) == (7, 23)


def test_words_that_stand_further_left_on_the_line_are_not_meant() -> None:
    assert parse(b"a: {b: word, c: a word}").find(("a", "c"), "word") == (1, 19)


@pytest.mark.parametrize("words", ["inputs.tw", "", "inputs.three"])
def test_words_that_are_not_there_have_none(words: str) -> None:
    assert parse(DOCUMENT.encode()).find(("workflow", "steps", 0, "command"), words) is None


def test_what_could_not_be_read_has_no_places_but_the_start() -> None:
    source = parse(b"a: [")
    assert (source.find_mark(("a",)), source.find_key_mark(("a",)), source.find(("a",), "x")) == (
        (1, 1),
        (1, 1),
        None,
    )


def test_a_problem_tells_its_file_and_its_path() -> None:
    found = Source("wf.yaml", "").locate(Diagnostic("wrong", ("workflow", "steps", 2, "env", "A B")))
    assert (found.file, told_by([found])[0].path) == ("wf.yaml", 'workflow.steps[2].env["A B"]')


def test_lines_are_there_for_showing_one_with_a_caret() -> None:
    assert parse(b"a: 1\r\nb: 2\rc: 3\n").lines == ["a: 1", "b: 2", "c: 3", ""]


# Structure


def test_a_good_document_becomes_a_workflow() -> None:
    workflow, source = decode(of("- {id: a, kind: cli, command: echo hi}\n").encode(), "wf.yaml")
    assert workflow.steps == (Cli(id="a", command="echo hi"),)
    assert source.file == "wf.yaml"


@pytest.mark.parametrize("row", rows("structure"))
def test_structure(row: Row) -> None:
    holds(row, errors)


def test_a_fault_in_a_name_of_enormous_length_is_told_shortly() -> None:
    found = only(of(f"- {{id: a, kind: end, {'x' * 500}: 1}}\n"))
    assert len(f"{found.message} {found.hint}") < 300


def test_a_misfit_is_no_workflow() -> None:
    with pytest.raises(InvalidWorkflow) as refusal:
        decode(of("- {id: a, kind: end, more: 1}\n").encode())
    assert len(refusal.value.problems) == 1


def test_unknown_fields_by_the_thousand_are_told_in_a_moment() -> None:
    assert len(errors(of("- {id: a, kind: end" + "".join(f", x{i}: 1" for i in range(1000)) + "}\n"))) == 500


# What is left of a document with faults


def salvaged(text: str) -> list[tuple[str, str]]:
    workflow, _, found = decode_leniently(text.encode())
    assert found
    return [(type(s).__name__, s.id) for s in workflow.steps] if workflow else []


@pytest.mark.parametrize(
    ("steps", "left"),
    [
        ("{id: a, kind: cli, command: x, nxt: 1}", ("Cli", "a")),
        ("{id: a, kind: cli, command: x, retry: {}}", ("Cli", "a")),
        ("{id: a, kind: cli, command: x, env: {A: []}}", ("Cli", "a")),
        ("{id: a, kind: cli}", ("Cli", "a")),
        ("{id: a, kind: clii}", ("End", "a")),
        ("{kind: cli, command: x}", ("Cli", "_0")),
        ("{id: a b, kind: end}", ("End", "_0")),
        ("foo", ("End", "_0")),
        ("{id: a, kind: foreach, items: x, body: foo}", ("Foreach", "a")),
        ("{id: a, kind: foreach, items: x, body: [{id: b, kind: cli}]}", ("Foreach", "a")),
        ("{id: a, kind: parallel, branches: [{id: b, steps: [{id: c}]}, {start_at: a}]}", ("Parallel", "a")),
        ("{id: a, kind: parallel, branches: [{ids: b}]}", ("End", "a")),
        ("{id: a, kind: zzz, branches: }", ("End", "a")),
        ("{id: a, kind: zzz, branches: [x]}", ("End", "a")),
        ("{id: a, kind: api, url: 'http://h', body: [{kind: 3}], nxt: x}", ("Api", "a")),
    ],
)
def test_a_step_loses_what_does_not_fit_and_no_more(steps: str, left: tuple[str, str]) -> None:
    assert salvaged(f"{HEAD}    - {steps}\n    - {{id: z, kind: end}}\n") == [left, ("End", "z")]


def test_a_step_of_finally_does_so_too() -> None:
    cleanup = "  finally:\n    - {id: b, kind: cli, command: x, nxt: 1}\n    - foo\n"
    text = f"{HEAD}    - {{id: z, kind: end}}\n{cleanup}"
    workflow, _, _ = decode_leniently(text.encode())
    assert workflow is not None
    assert [step.id for step in workflow.cleanup or ()] == ["b", "_finally_1"]


@pytest.mark.parametrize("text", ["[]", "a: 1", "workflow: 3", "workflow: {id: a}", "workflow: {steps: 3}"])
def test_of_a_document_without_steps_nothing_is_left(text: str) -> None:
    assert salvaged(text) == []


def test_the_workflow_loses_what_does_not_fit() -> None:
    workflow, _, _ = decode_leniently(
        f"workflow:\n  inputs: 3\n  name: n\n{HEAD.split('id: w')[1]}    - {{}}".encode()
    )
    assert workflow is not None
    assert (workflow.id, workflow.name, workflow.inputs) == ("_", "n", {})


# Numbers where text is wanted

SPELLED = """\
schema_version: checkpointflow/v1
workflow:
  id: w
  version: 2.10
  steps:
    - id: a
      kind: cli
      command: x
      env: &env { A: 3.10, B: 1234e56, C: 010, D: 0x1F, E: +1, F: true, G: x }
    - id: b
      kind: api
      url: 'http://h'
      headers: { V: 1.0e3 }
      body: { env: { A: 3.10 }, steps: [{ env: { A: 1e3 } }] }
    - id: c
      kind: api
      url: 'http://h'
      headers: { content-type: application/x-www-form-urlencoded; charset=utf-8 }
      body: { v: 3.10, list: [1.0, 2.50] }
    - { id: d, kind: foreach, items: [3.10], body: [{ id: e, kind: cli, command: x, env: *env }] }
    - id: f
      kind: parallel
      branches: [{ id: g, steps: [{ id: h, kind: cli, command: x, env: { A: 1.50 } }] }]
    - { id: i, kind: end, result: *env }
"""
ENV = {"A": "3.10", "B": "1234e56", "C": "010", "D": "0x1F", "E": "+1", "F": True, "G": "x"}


def test_a_number_is_the_text_that_it_is_written_as_where_text_is_wanted() -> None:
    workflow, _ = decode(SPELLED.encode())
    shell, call, form, each, both, _ = (to_builtins(step) for step in workflow.steps)
    assert workflow.version == "2.10"
    assert shell["env"] == each["body"][0]["env"] == ENV
    assert call["headers"] == {"V": "1.0e3"}
    assert form["body"] == {"v": "3.10", "list": ["1.0", "2.50"]}
    assert both["branches"][0]["steps"][0]["env"] == {"A": "1.50"}


def test_anywhere_else_it_is_a_number() -> None:
    workflow, _ = decode(SPELLED.encode())
    _, call, _, each, _, end = (to_builtins(step) for step in workflow.steps)
    assert call["body"] == {"env": {"A": 3.1}, "steps": [{"env": {"A": 1000.0}}]}
    assert each["items"] == [3.1]
    assert end["result"] == {"A": 3.1, "B": 1234e56, "C": 10, "D": 31, "E": 1, "F": True, "G": "x"}


def test_what_is_understood_carries_the_spelling() -> None:
    workflow, _ = decode(SPELLED.encode())
    assert unpack(pack(Understood(workflow, True, ()))).workflow == workflow


@pytest.mark.parametrize("steps", ["3", "[3, {kind: [], env: 3.10}, {kind: api, headers: 3.10}]"])
def test_numbers_in_what_is_no_workflow_are_told_as_any(steps: str) -> None:
    with pytest.raises(InvalidWorkflow):
        decode(HEAD.replace("steps:", f"steps: {steps}").encode())


def test_a_line_may_end_in_crlf() -> None:
    document = HEAD + "    - id: a\n      kind: cli\n      command: |\n        echo a\n        echo b\n"
    workflow, _ = decode(document.replace("\n", "\r\n").encode())
    assert workflow == decode(document.encode())[0]


@pytest.mark.parametrize("line", ["\t", "  \t ", "\t# a comment", " \t\t# a\n\t"])
@pytest.mark.parametrize("before", range(6))
def test_a_line_of_blanks_may_have_tabs_in_it(line: str, before: int) -> None:
    lines = of("- id: a\n  kind: cli\n  command: x\n  success:\n- {id: b, kind: end}\n").splitlines()
    changed = "\n".join([*lines[: before + 3], line, *lines[before + 3 :], line])
    assert (before, [step.id for step in decode(changed.encode())[0].steps]) == (before, ["a", "b"])


def test_tabs_between_are_no_part_of_a_value() -> None:
    assert parse(b"a:\tb\t# c\nd: [1,\t2]\ne: |\n  x\ty\n").value == {"a": "b", "d": [1, 2], "e": "x\ty\n"}


def test_a_document_has_room_for_anchors() -> None:
    step = "{id: a, kind: cli, command: x, idempotent: true, retry: *r}"
    text = of(f"- {step}\n").replace("workflow:", "x-shared:\n  r: &r {max_attempts: 2}\nworkflow:", 1)
    workflow, _ = decode(text.encode())
    assert workflow.steps[0].retry == Retry(max_attempts=2)  # type: ignore[union-attr]


def test_what_is_empty_is_as_if_it_were_not_there() -> None:
    steps = (
        "- {id: a, kind: cli, command: x, env: , tags: }\n- {id: b, kind: foreach, items: [1], body: [*]}\n"
    )
    inner = "{id: c, kind: api, url: http://e/, headers: , body: [{env: null}]}"
    branches = (
        "- {id: p, kind: parallel, branches: [{id: d, steps: [{id: e, kind: cli, command: x, env: }]}]}"
    )
    workflow, _ = decode(of(steps.replace("*", inner) + branches, "inputs:\ndefaults:\n").encode())
    full = of(
        "- {id: a, kind: cli, command: x}\n"
        "- {id: b, kind: foreach, items: [1], body: "
        "[{id: c, kind: api, url: http://e/, body: [{env: null}]}]}\n"
        "- {id: p, kind: parallel, branches: [{id: d, steps: [{id: e, kind: cli, command: x}]}]}"
    )
    assert workflow == decode(full.encode())[0]


# Names that look alike


@pytest.mark.parametrize(("name", "code"), [("\u0441ommand", "U+0441"), ("\u200bcommand", "U+200B")])
def test_a_name_that_only_looks_like_a_known_one_is_told_by_its_characters(name: str, code: str) -> None:
    found = decode_leniently((HEAD + f"    - {{id: a, kind: cli, {name}: x}}").encode())[2]
    hint = f'did you mean "command"? One of the two has {code} in it.'
    assert hint in [one.hint for one in found]


def test_beside_a_mistake_what_fits_is_let_alone() -> None:
    fields = "id: a, kind: cli, command: x, idempotent: true, env: {A: true, B: 3.10}, timeout_seconds: 1.50"
    assert len(errors(HEAD + f"    - {{{fields}, commnd: y}}\n")) == 1
