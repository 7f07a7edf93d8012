"""Reading a document: YAML to Workflow, every complaint at its line."""

from __future__ import annotations

import json
import re
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpointflow.diagnostics import Diagnostic, written
from checkpointflow.documents import yaml as sources
from checkpointflow.documents.decoding import decode_leniently, read
from checkpointflow.documents.model import Cli
from checkpointflow.documents.yaml import Source, parse
from checkpointflow.errors import InvalidWorkflow

HEAD = """\
schema_version: checkpointflow/v1
workflow:
  id: w
  steps:
"""


def step(text: str) -> str:
    """A document of one step, on line 5, whose fields are *text* besides its id."""
    return f"{HEAD}    - {{id: a, {text}}}\n"


def problems(text: str | bytes) -> list[Diagnostic]:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(InvalidWorkflow) as caught:
        read(data, "wf.yaml")
    return caught.value.problems


def problem(text: str | bytes) -> Diagnostic:
    [only] = problems(text)
    return only


def value(text: str) -> Any:
    source = parse(text.encode())
    assert source.problems == []
    return source.value


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


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        ("a: !!int 3", "1:4", "tags (!…) are not read", "leave the tag out"),
        ("- !x {}\n", "1:3", "tags (!…) are not read", "leave the tag out"),
        ("<<: {a: 1}", "1:1", "merge keys (<<) are not read", "write the fields out"),
        ("x: 1\n3: y", "2:1", "a field's name must be text, and this is a number", 'write "3" in quotes'),
        ("true: y", "1:1", "a field's name must be text, and this is true", 'write "true" in quotes'),
        ("? [a]\n: y", "1:3", "a field's name must be text, and this is a list", None),
        (": y", "1:1", "a field's name must be text, and this is nothing", None),
        ("a: 1\nb: 2\na: 3", "3:1", '"a" is given twice, first at 1:1', "keep one"),
        ("a: .inf", "1:4", '".inf" is no number in JSON', "put it in quotes to mean the text"),
        ("a: -.Inf", "1:4", '"-.Inf" is no number in JSON', "put it in quotes to mean the text"),
        ("a: .NaN", "1:4", '".NaN" is no number in JSON', "put it in quotes to mean the text"),
        ("a: 1e400", "1:4", '"1e400" is too large for a number', "write it as text"),
        ("a: " + "9" * 4301, "1:4", "a number of more than 4,300 digits", "write it as text"),
        ("a: 0x" + "f" * 4000, "1:4", "a number of more than 4,300 digits", "write it as text"),
        ('a: "\\ud800"', "1:4", "half a character: an escape \\ud800 to \\udfff stands alone", None),
        ('a: "\\0"', "1:4", "the character NUL (\\0) in a text", "no command or file can take it"),
        ("a: 1\n---\nb: 2", "2:1", "a second document in the file", "keep one document a file"),
        ("a: 1\n...\nb: 2", "3:1", "a second document in the file", "keep one document a file"),
    ],
)
def test_what_json_lacks_or_yaml_makes_a_surprise_is_refused(
    text: str, place: str, message: str, hint: str | None
) -> None:
    [found] = parse(text.encode()).problems
    assert (f"{found.line}:{found.column}", found.message, found.hint) == (place, message, hint)
    unknown = message.startswith("unknown kind")
    assert found.code == ("ERR_UNSUPPORTED_STEP" if unknown else "ERR_VALIDATION_WORKFLOW")


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a: *y", "1:4", 'nothing is named "&y" above this "*"'),
        ("a: &x [*x]", "1:8", '"*x" stands inside what it names'),
        ("a: " + "[" * 70 + "]" * 70, "1:67", "nested more than 64 levels deep"),
        ("a: &x " + "[" * 40 + "]" * 40 + "\nb: " + "[" * 30 + "*x" + "]" * 30, "2:34", "by this alias"),
        (
            "a: &x [1,1,1]\n" + "b: [" + "*x," * 40_000 + "]",
            "2:",
            "more than 100,000 values, aliases counted",
        ),
        ("a: [" + "1," * 60_000 + "[" + "1," * 60_000, "1:", "more than 100,000 values, aliases counted"),
        ("a: " + "x" * 1_000_001, "1:4", "a text longer than 1,000,000 characters"),
        (
            "a: &x " + "x" * 900_000 + "\nb: [" + "*x, " * 20 + "]",
            "2:",
            "more than 10,000,000 characters of text, aliases counted",
        ),
        (
            "a: &x {" + "x" * 1000 + ": 1}\nb: [" + "*x, " * 11_000 + "]",
            "2:",
            "more than 10,000,000 characters of text, aliases counted",
        ),
    ],
)
def test_a_document_beyond_a_limit_is_refused_at_once(text: str, place: str, message: str) -> None:
    found = problem(text)
    assert f"{found.line}:{found.column}".startswith(place)
    assert message in found.message


def test_a_billion_laughs_are_counted_before_they_are_told() -> None:
    lines = ["a0: &a0 [" + ",".join("x" * 10) + "]"]
    lines += [f"a{i}: &a{i} [" + ",".join([f"*a{i - 1}"] * 10) + "]" for i in range(1, 30)]
    assert "more than 100,000 values" in problem("\n".join(lines)).message


def test_sixty_four_levels_are_not_too_deep() -> None:
    assert parse(("a: " + "[" * 62 + "1" + "]" * 62).encode()).problems == []
    assert parse(("a: " + "[" * 63 + "1" + "]" * 63).encode()).problems != []


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        (b"", "1:1", "the file is empty"),
        (b"\n# nothing but a comment\n", "1:1", "the file is empty"),
        (b"\xff\xfea\x00", "1:1", "this is not UTF-8 text"),
        (b"a: 1\nb: \xc3(", "2:4", "this is not UTF-8 text"),
        (b"a: 1\r\nb: \xef\xbf\xbe", "2:4", "a control character (U+FFFE)"),
        (b"a: 1\rb: x\x00", "2:5", "a control character (U+0000)"),
        (b"\xef\xbb\xbfa: \x1b[1m", "1:4", "a control character (U+001B)"),
        (b"x" * 1_048_577, "1:1", "the file is larger than 1,048,576 bytes (1 MiB)"),
        (b"%YAML 1.3\n---\na: 1", "1:7", "this is YAML 1.3, and workflows are YAML 1.2"),
        (b"# old\n%TAG !x! y\n%YAML 1.1\n---\na: 1", "3:7", "this is YAML 1.1, and workflows are YAML 1.2"),
        (b"\xef\xbb\xbf%YAML 1.1\n---\n", "1:7", "this is YAML 1.1, and workflows are YAML 1.2"),
        (b"a: " + b"!" * 1000, "1:4", 'over 1,000 "!" in a row'),
    ],
)
def test_bytes_that_are_no_text_or_no_yaml_1_2_are_refused(data: bytes, place: str, message: str) -> None:
    found = problem(data)
    assert (f"{found.line}:{found.column}", found.message) == (place, message)


def test_yaml_1_2_may_be_named() -> None:
    assert value("%YAML 1.2\n---\na: 010") == {"a": 10}


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a: b: c", "1:5", 'a ":" where no field can stand'),
        ("a: 1\n b: 2", "2:3", 'a ":" where no field can stand'),
        ("a:\n\tb: 1", "2:1", "a tab where only spaces may indent"),
        ("a: @x", "1:4", 'text cannot start with "@"'),
        ("a: `x`", "1:4", 'text cannot start with "`"'),
        ("a: - b", "1:4", 'a "- " where no list can start'),
        ('a: "x\nb: 1', "1:4", "a quote is opened and never closed"),
        ("a: 1\nb: [1, 2\n", "2:4", 'a bracket is opened and "]" never closes it'),
        ("a: {b: 1]}", "1:9", 'expected "," or "}" here'),
        ("a:\n  - x\n - y", "3:2", "this does not fit what stands around it"),
        ("a: 1\nb\nc: 2", "3:1", 'a field without its ":"'),
        ('a: "\\z"', "1:6", '"\\z" means nothing in double quotes'),
        ("a: |x\n", "1:5", 'only "|", "|-", "|+" or ">" may start a block of text'),
        ("a: }", "1:4", 'a value cannot start with "}"'),
        ("a: !e!x 1", "1:4", "tags (!…) are not read"),
        ("a: & x", "1:5", 'a name must follow "&" or "*"'),
        ("%FOO\n", "2:1", "this is not YAML"),
    ],
)
def test_a_slip_in_yaml_is_told_in_a_persons_words(text: str, place: str, message: str) -> None:
    found = problem(text)
    assert (f"{found.line}:{found.column}", found.message) == (place, message)
    assert found.code == "ERR_YAML_PARSE"


def test_a_hole_without_quotes_in_braces_is_told_what_to_do() -> None:
    found = problem("cases:\n  - {when: ${inputs.x}, next: a}\n")
    assert (found.line, found.hint) == (2, "quote text that holds any of {}[],: (as ${…} does)")


def test_whatever_the_parser_stumbles_over_is_no_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(text: str) -> int:
        raise ValueError(text)

    monkeypatch.setattr(sources, "float", stumble, raising=False)
    found = problem("a:\n  - 1.5")
    assert (found.code, found.message, found.line, found.column) == (
        "ERR_YAML_PARSE",
        "this is not YAML",
        2,
        5,
    )


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


@settings(deadline=None, max_examples=150)
@given(st.one_of(st.binary(max_size=60), st.lists(BITS, max_size=30).map("".join)))
def test_nothing_but_invalid_workflow_ever_leaves(document: bytes | str) -> None:
    data = document if isinstance(document, bytes) else document.encode("utf-8", "surrogatepass")
    try:
        read(data)
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


@settings(deadline=None, max_examples=150)
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


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5), st.sampled_from(KINDS))
def test_every_refusal_is_in_our_words(fields: dict[str, Any], kind: str) -> None:
    """The types are walked when msgspec refuses; where the two disagreed, its own words would show."""
    workflow = {"id": "w", "steps": [{"kind": kind, **fields}]}
    text = json.dumps({"schema_version": "checkpointflow/v1", "workflow": workflow})
    if "\\u0000" in text or "\\ud" in text:
        return
    try:
        read(text.encode())
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
    assert (source.place(path), source.key_place(path)) == (place, key_place)


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
    assert (source.place(("a",)), source.key_place(("a",)), source.find(("a",), "x")) == (
        (1, 1),
        (1, 1),
        None,
    )


def test_a_problem_tells_its_file_and_its_path() -> None:
    found = Source("wf.yaml", "").problem("wrong", ("workflow", "steps", 2, "env", "A B"))
    assert (found.file, written(found.path)) == ("wf.yaml", 'workflow.steps[2].env["A B"]')


def test_lines_are_there_for_showing_one_with_a_caret() -> None:
    assert parse(b"a: 1\r\nb: 2\rc: 3\n").lines == ["a: 1", "b: 2", "c: 3", ""]


# Structure


def test_a_good_document_becomes_a_workflow() -> None:
    workflow, source = read(step("kind: cli, command: echo hi").encode(), "wf.yaml")
    assert workflow.steps == (Cli(id="a", command="echo hi"),)
    assert source.file == "wf.yaml"


@pytest.mark.parametrize(
    ("fields", "message", "hint"),
    [
        (
            "kind: cli, command: x, ‸commnd: x",
            'unknown field "commnd" in a cli step',
            'did you mean "command"?',
        ),
        (
            "kind: switch, cases: [{when: x, next: a}], ‸retry: {}",
            'unknown field "retry" in a switch step',
            "`retry` belongs to cli and api steps",
        ),
        (
            "kind: end, ‸cases: []",
            'unknown field "cases" in an end step',
            "`cases` belongs to a switch step",
        ),
        (
            "kind: end, ‸zzz: 1",
            'unknown field "zzz" in an end step',
            "known here: id, name, description, if, risk_level, tags, result",
        ),
        (
            "kind: cli",
            'a cli step needs "command"',
            None,
        ),
        (
            "kind: ‸clii",
            'unknown kind "clii"',
            'did you mean "cli"? ',
        ),
        (
            "kind: ‸zzz",
            'unknown kind "zzz"',
            "the kinds are cli, api, ",
        ),
        (
            "kind: ‸3",
            "expected the kind of step, and found a number",
            "the kinds are ",
        ),
        (
            "name: x",
            'a step needs "kind"',
            "the kinds are ",
        ),
        (
            "kind: cli, command: ‸3",
            "expected text or a list, and found a number",
            "put it in quotes",
        ),
        (
            "kind: cli, command: ‸{}",
            "expected text or a list, and found a mapping",
            None,
        ),
        (
            "kind: cli, command:‸ ",
            "expected text or a list, and found nothing",
            None,
        ),
        (
            "kind: cli, command: ‸[]",
            "`command` must not be empty",
            None,
        ),
        (
            'kind: cli, command: ‸""',
            "expected text, and found an empty one",
            None,
        ),
        (
            "kind: cli, command: [a, ‸3]",
            "expected text, and found a number",
            "put it in quotes",
        ),
        (
            "kind: end, name: ‸true",
            "expected text, and found true",
            "put it in quotes",
        ),
        (
            "kind: end, tags: ‸x",
            "expected a list, and found text",
            None,
        ),
        (
            "kind: end, if: ‸3",
            "expected true or false or text, and found a number",
            "put it in quotes",
        ),
        (
            "kind: cli, command: x, idempotent: ‸yes",
            "expected true or false, and found text",
            None,
        ),
        (
            "kind: cli, command: x, retry: ‸3",
            "expected a mapping, and found a number",
            None,
        ),
        (
            "kind: cli, command: x, retry: ‸{}",
            '`retry` needs "max_attempts"',
            None,
        ),
        (
            "kind: cli, command: x, retry: {max_attempts: ‸0}",
            "expected a number from 1 to 1,000, and found 0",
            None,
        ),
        (
            "kind: cli, command: x, retry: {max_attempts: ‸1.5}",
            "expected a whole number, and found a fraction",
            None,
        ),
        (
            "kind: cli, command: x, retry: {max_attempts: ‸x}",
            "expected a whole number, and found text",
            None,
        ),
        (
            "kind: cli, command: x, timeout_seconds: ‸0",
            "expected a number above 0 and at most 315,360,000, and found 0",
            None,
        ),
        (
            "kind: cli, command: x, timeout_seconds: ‸" + "9" * 400,
            "expected a number above 0 and at most 315,360,000, and found 9999999999999999999…",
            None,
        ),
        (
            "kind: cli, command: x, shell: ‸tcl",
            'expected "bash", "dash", "pwsh", "sh" or "zsh", and found "tcl"',
            None,
        ),
        (
            "kind: cli, command: x, shell: ‸bsh",
            'expected "bash", "dash", "pwsh", "sh" or "zsh", and found "bsh"',
            'did you mean "bash"?',
        ),
        (
            "kind: cli, command: x, shell: ‸cmd",
            'expected "bash", "dash", "pwsh", "sh" or "zsh", and found "cmd"',
            "to cmd a variable's value is code as soon as it is put in, so no place of it is safe for "
            "values: use pwsh, or start a program that reads its environment",
        ),
        (
            "kind: cli, command: x, env: {‸A B: x}",
            '"A B" cannot be the name of an environment variable',
            "the name of an environment variable is a letter or _, then letters, digits and _",
        ),
        (
            "kind: cli, command: x, env: {A: ‸{}}",
            "expected text, true or false or a number, and found a mapping",
            None,
        ),
        (
            "kind: cli, command: x, next: ‸a b",
            '"a b" cannot be an id',
            "an id is a letter or _, then letters, digits, _ and -",
        ),
        (
            "kind: cli, command: x, next: ‸" + "a" * 129,
            "longer than 128 characters",
            None,
        ),
        (
            'kind: cli, command: x, next: ‸"a\\n"',
            '"a " cannot be an id',
            "an id is ",
        ),
        (
            "kind: cli, command: x, artifacts: [{name: ‸a/b, path: x}]",
            '"a/b" cannot be a name',
            "a name is ",
        ),
        (
            "kind: cli, command: x, artifacts: [‸{name: a}]",
            'an item of `artifacts` needs "path"',
            None,
        ),
        (
            "kind: await_event, audience: user, event_name: ‸a b",
            '"a b" cannot be the name of an event',
            "the name of an event is a letter or _, then letters, digits, _, - and .",
        ),
        (
            "kind: cli, command: x, on_error: ‸foo",
            'expected "continue", and found "foo"',
            'write "on_error: continue", or "on_error: {next: <step id>}"',
        ),
        (
            "kind: cli, command: x, on_error: ‸3",
            "expected text or a mapping, and found a number",
            'write "on_error: continue", or "on_error: {next: <step id>}"',
        ),
        (
            "kind: cli, command: x, outputs: ‸[]",
            "expected a mapping, and found a list",
            None,
        ),
    ],
)
def test_a_fault_in_a_step_is_told_where_it_stands(fields: str, message: str, hint: str | None) -> None:
    """Where the mark ‸ stands, or else at the start of the step."""
    found = problem(step(fields.replace("‸", "")))
    column = step(fields).splitlines()[4].find("‸") + 1 or 7
    assert (found.line, found.column, found.message) == (5, column, message)
    assert (found.hint or "").startswith(hint or "") and (hint is None) == (found.hint is None)
    unknown = message.startswith("unknown kind")
    assert found.code == ("ERR_UNSUPPORTED_STEP" if unknown else "ERR_VALIDATION_WORKFLOW")


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        ("[]", "1:1", "expected a mapping, and found a list", None),
        ("---\n", "2:1", "expected a mapping, and found nothing", None),
        (HEAD.replace("checkpointflow/v1", "v2") + "    - {id: a, kind: end}", "1:17",
         'expected "checkpointflow/v1", and found "v2"', "write schema_version: checkpointflow/v1"),
        (HEAD.replace("checkpointflow/v1", "1") + "    - {id: a, kind: end}", "1:17",
         'expected "checkpointflow/v1", and found a number', "write schema_version: checkpointflow/v1"),
        (HEAD.split("\n", 1)[1] + "    - {id: a, kind: end}", "1:1",
         'the document needs "schema_version"', "write schema_version: checkpointflow/v1"),
        (HEAD + "    - {id: a, kind: end}\noutputs: {}", "6:1",
         'unknown field "outputs" in the document', "`outputs` belongs under `workflow`"),
        (HEAD + "    - {id: a, kind: end}\nfoo: {}", "6:1",
         'unknown field "foo" in the document', "known here: schema_version, workflow"),
        (HEAD + "    - {id: a, kind: end}\n  defaults: {shel: sh}", "6:14",
         'unknown field "shel" in `defaults`', 'did you mean "shell"?'),
        (HEAD + "    - foo", "5:7", "expected a step, and found text",
         "a step is a mapping with `id` and `kind`"),
        (HEAD + "    - {kind: end}", "5:7", 'an end step needs "id"', None),
        (HEAD + "    []", "5:5", "`steps` must not be empty", None),
        (HEAD.replace("id: w", "version: 1") + "    - {id: a, kind: end}", "3:3",
         '`workflow` needs "id"', None),
        (HEAD + "    - {id: a, kind: end}\n  version: false", "6:12",
         "expected text or a number, and found false", "put it in quotes"),
    ],
)  # fmt: skip
def test_a_fault_in_the_document_is_told_where_it_stands(
    text: str, place: str, message: str, hint: str | None
) -> None:
    found = problem(text)
    assert (f"{found.line}:{found.column}", found.message, found.hint) == (place, message, hint)


def test_of_a_step_of_unknown_kind_the_common_fields_are_checked() -> None:
    found = problems(step("kind: zzz, tags: 3, command: 7"))
    assert [written(p.path) for p in found] == ["workflow.steps[0].kind", "workflow.steps[0].tags"]


NESTED = """\
    - id: each
      kind: foreach
      items: inputs.list
      body:
        - id: a
          kind: cli
        - id: b
          kind: parallel
          branches:
            - id: left
              steps:
                - {id: c, kind: nd}
            - start_at: 3
              id: x
    - id: next
      kind: end
      reslt: 1
"""


def test_faults_in_bodies_and_branches_are_told_with_all_others() -> None:
    found = [(p.line, written(p.path)) for p in problems(HEAD + NESTED)]
    assert found == [
        (9, "workflow.steps[0].body[0]"),
        (16, "workflow.steps[0].body[1].branches[0].steps[0].kind"),
        (17, "workflow.steps[0].body[1].branches[1].start_at"),
        (21, "workflow.steps[1].reslt"),
    ]


def test_faults_of_yaml_and_of_structure_are_told_together_in_file_order() -> None:
    found = problems(HEAD + "    - id: a\n      kind: cli\n      kind: end\n      commnd: !x y\n")
    assert [(p.line, p.message) for p in found] == [
        (5, 'a cli step needs "command"'),
        (7, '"kind" is given twice, first at 6:7'),
        (8, 'unknown field "commnd" in a cli step'),
        (8, "tags (!…) are not read"),
    ]


def test_the_same_fault_seen_by_two_aliases_is_told_once() -> None:
    text = HEAD + "    - &x {id: a, kind: end, reslt: 1}\n    - *x\n"
    assert [written(p.path) for p in problems(text)] == ["workflow.steps[0].reslt"]


def test_a_fault_in_a_name_of_enormous_length_is_told_shortly() -> None:
    found = problem(step(f"kind: end, {'x' * 500}: 1"))
    assert len(str(found)) < 300


def test_unknown_fields_by_the_thousand_are_told_in_a_moment() -> None:
    assert len(problems(step("kind: end" + "".join(f", x{i}: 1" for i in range(5000))))) == 500


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


@pytest.mark.parametrize("text", ["[]", "a: 1", "workflow: 3", "workflow: {id: a}", "workflow: {steps: 3}"])
def test_of_a_document_without_steps_nothing_is_left(text: str) -> None:
    assert salvaged(text) == []


def test_the_workflow_loses_what_does_not_fit() -> None:
    workflow, _, _ = decode_leniently(
        f"workflow:\n  inputs: 3\n  name: n\n{HEAD.split('id: w')[1]}    - {{}}".encode()
    )
    assert workflow is not None
    assert (workflow.id, workflow.name, workflow.inputs) == ("_", "n", {})


def test_what_is_no_host_is_told_as_such() -> None:
    text = HEAD.replace("  id: w\n", "  id: w\n  defaults: { allow_hosts: ['http://h'] }\n")
    found = problem(f"{text}    - {{id: a, kind: cli, command: ls}}\n")
    assert (found.line, found.message) == (4, '"http://h" cannot be a host')
