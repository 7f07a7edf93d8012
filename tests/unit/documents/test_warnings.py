"""Warnings: what a document may say, and its author may not have meant."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

import pytest

from checkpointflow.diagnostics import Diagnostic, written
from checkpointflow.documents.checker import check_document

HEAD = """\
schema_version: checkpointflow/v1
workflow:
  id: w
  version: 1
"""
QUICK_START = Path(__file__).parents[2] / "quick_start" / "workflow.yaml"
MARK = "‸"  # in a document: where the warning is expected
OUTPUTS = "outputs: {properties: {x: {from: inputs.x}}}\n"


def of(steps: str, top: str = "") -> str:
    """A document with *steps*, and with *top* beside them under `workflow`."""
    return HEAD + indent(top, "  ") + "  steps:\n" + indent(steps, "    ")


def doubts(document: str) -> list[Diagnostic]:
    _, errors, found, _ = check_document(document.replace(MARK, "").encode(), "wf.yaml")
    assert errors == []
    return found


def only(document: str) -> Diagnostic:
    """The one warning of *document*, which must stand at its MARK."""
    before = document.partition(MARK)[0].split("\n")
    [found] = doubts(document)
    assert (found.line, found.column) == (len(before), len(before[-1]) + 1), found
    return found


def ids(document: str) -> list[str | None]:
    return [found.id for found in doubts(document)]


def cli(name: str, more: str = "") -> str:
    return f"- {{id: {name}, kind: cli, command: x{more and ', '}{more}}}\n"


def switch(name: str, *arms: str, more: str = "") -> str:
    cases = ", ".join(f"{{when: inputs.x, next: {arm}}}" for arm in arms[:-1])
    return f"- {{id: {name}, kind: switch, cases: [{cases}], default: {arms[-1]}{more}}}\n"


def ask(name: str, more: str) -> str:
    return f"- {{id: {name}, kind: await_event, audience: user, event_name: e, {more}}}\n"


def each(name: str, hole: str, more: str = "") -> str:
    """A foreach whose one inner step uses *hole*."""
    body = f"[{{id: z, kind: cli, command: 'echo {hole}'}}]"
    return f"- {{id: {name}, kind: foreach, items: inputs, body: {body}{more and ', '}{more}}}\n"


def end(name: str, more: str = "") -> str:
    return f"- {{id: {name}, kind: end{more and ', '}{more}}}\n"


# W101


@pytest.mark.parametrize(
    "steps",
    [
        cli("a", "next: c") + "- ‸{id: b, kind: cli, command: x}\n" + cli("c"),
        end("a") + "- ‸{id: b, kind: end}\n",
        switch("a", "c", "d") + "- ‸{id: b, kind: end}\n" + end("c") + end("d"),
        ask("a", "transitions: [{when: true, next: c}]") + "- ‸{id: b, kind: end}\n" + end("c"),
        "- {id: a, kind: foreach, items: inputs, body: [{id: b, kind: end}, ‸{id: c, kind: end}]}\n",
        "- {id: p, kind: parallel, branches: [{start_at: a}]}\n"
        + cli("a", "next: b")
        + end("b")
        + end("d")
        + "- ‸{id: e, kind: end}\n",
        end("a", "if: true") + "- ‸{id: b, kind: end}\n",
    ],
)
def test_w101_a_step_that_nothing_leads_to(steps: str) -> None:
    assert only(of(steps)).id == "W101"


@pytest.mark.parametrize(
    "steps",
    [
        cli("a", "next: c") + cli("b") + cli("c", "on_error: {next: b}"),
        end("a", "if: inputs.x") + end("b"),
        cli("a", "next: c, if: inputs.x") + cli("b") + cli("c"),
        ask("a", "timeout_seconds: 1, on_timeout: {next: c}, next: d") + end("c") + end("d"),
        ask("a", "transitions: [{when: true, next: c}], on_error: continue") + end("b") + end("c"),
        "- {id: p, kind: parallel, branches: [{start_at: a}, {start_at: b}]}\n"
        + cli("a", "next: c")
        + cli("b")
        + cli("c")
        + end("d"),
        switch("a", "c", "c", more=", on_error: continue") + cli("b") + cli("c"),
        "- {id: p, kind: parallel, branches: [{start_at: a}]}\n" + cli("a", "next: p") + end("b"),
    ],
)
def test_a_step_that_something_leads_to_is_no_doubt(steps: str) -> None:
    assert "W101" not in ids(of(steps))


# W102


ARMS = switch("decide", "good", "bad") + "- ‸{id: good, kind: cli, command: x}\n" + end("bad")


def test_w102_falling_into_an_arm_completes_the_run_where_outputs_are_mapped() -> None:
    found = only(of(ARMS, OUTPUTS))
    assert found.id == "W102"
    assert found.message == (
        'after "good" the run completes with its `outputs`: '
        '"bad" below it is entered only by the decision "decide"'
    )


def test_w102_falling_into_an_arm_goes_on_there_without_mapped_outputs() -> None:
    found = only(of(ARMS))
    assert found.id == "W102"
    assert found.message == 'after "good" it goes on into "bad", an arm of the decision "decide"'


def test_w102_in_a_body_plain_order_rules_whatever_the_outputs() -> None:
    steps = "- id: each\n  kind: foreach\n  items: inputs\n  body:\n" + indent(ARMS, "    ")
    assert "goes on into" in only(of(steps, OUTPUTS)).message


def test_w102_a_step_that_is_skipped_falls_as_well() -> None:
    steps = (
        switch("decide", "good", "bad") + "- ‸{id: good, kind: cli, command: x, if: inputs.y, next: last}\n"
    )
    found = only(of(steps + end("bad") + cli("last"), OUTPUTS))
    assert found.message.startswith('where "good" is skipped the run completes with its `outputs`')


@pytest.mark.parametrize(
    "steps",
    [
        switch("decide", "good", "bad") + cli("good") + end("fine") + end("bad"),
        switch("decide", "good", "bad") + cli("good", "next: last") + end("bad") + end("last"),
        switch("decide", "good", "good") + cli("good") + end("last"),
        switch("decide", "bad", "good") + end("bad") + cli("good"),
        switch("decide", "good", "bad") + cli("good") + cli("bad"),
        switch("decide", "good", "bad") + end("good") + cli("never") + end("bad"),
    ],
)
def test_arms_that_are_kept_apart_are_no_doubt(steps: str) -> None:
    assert "W102" not in ids(of(steps))


def test_the_quick_start_is_warned_of_what_it_leaves_unsaid() -> None:
    assert [(p.line, p.id) for p in doubts(QUICK_START.read_text())] == [
        (10, "W108"),
        (12, "W108"),
        (46, "W102"),
    ]


# W103 to W105


def test_w103_a_switch_without_default() -> None:
    found = only(of("- ‸{id: a, kind: switch, cases: [{when: inputs.x, next: b}]}\n" + cli("b")))
    assert (found.id, found.message) == (
        "W103",
        'the switch "a" has no `default`: where no case holds, the run fails',
    )


def test_a_switch_with_a_default_is_no_doubt() -> None:
    assert ids(of(switch("a", "b", "b") + cli("b"))) == []


def test_w104_a_workflow_without_version() -> None:
    found = only(of(end("a")).replace("  id: w\n  version: 1\n", "  ‸id: w\n"))
    assert (found.id, found.message) == ("W104", "the workflow has no `version`")


def test_w105_raw_is_told_at_its_line() -> None:
    found = only(of("- id: a\n  kind: cli\n  command: |\n    echo one\n    echo ${‸raw:inputs.x}\n"))
    assert (found.id, found.message) == ("W105", "${raw:inputs.x} lets a value become shell code")


def test_a_value_that_stays_data_is_no_doubt() -> None:
    assert ids(of("- {id: a, kind: cli, command: 'echo ${inputs.x}'}\n")) == []


# W106


def wait(schema: str, *conditions: str) -> str:
    transitions = "".join(f"    - {{when: '{condition}', next: a}}\n" for condition in conditions)
    return of(
        "- id: a\n  kind: await_event\n  audience: user\n  event_name: e\n  timeout_seconds: 1\n"
        f"  on_timeout: {{next: z}}\n  input_schema: {{properties: {{{schema}}}}}\n"
        f"  ‸transitions:\n{transitions}- {{id: z, kind: end}}\n"
    )


@pytest.mark.parametrize(
    ("schema", "conditions", "left"),
    [
        ("x: {enum: [a, b, c]}", ['event.x == "a"', 'event.x == "b"'], 'x = "c"'),
        ("x: {enum: [a, b, c]}", ['event.x == "a"'], 'x = "b"; x = "c"'),
        ("x: {enum: [a, b, c, d, e]}", ['event.x == "a"'], 'x = "b"; x = "c"; x = "d" …'),
        ("x: {enum: [1, 2]}", ["event.x == 1"], "x = 2"),
        ("x: {type: boolean}", ["event.x"], "x = false"),
        ("x: {type: boolean}", ["event.x == true"], "x = false"),
        ("x: {type: boolean}", ["not event.x"], "x = true"),
        ("x: {enum: [a, b]}, y: {type: boolean}", ['event.x == "a"', "event.y"], 'x = "b", y = false'),
    ],
)
def test_w106_an_event_that_no_transition_takes(schema: str, conditions: list[str], left: str) -> None:
    found = only(wait(schema, *conditions))
    assert (found.id, found.message) == ("W106", f"no transition takes the event with {left}")


@pytest.mark.parametrize(
    ("schema", "conditions"),
    [
        ("x: {enum: [a, b]}", ['event.x == "a"', 'event.x == "b"']),
        ("x: {enum: [a, b]}", ['event.x == "a"', 'event.x != "a"']),
        ("x: {enum: [a, b]}", ['event.x == "a"', "true"]),
        ("x: {type: boolean}", ["event.x", "not event.x"]),
        ("x: {type: boolean}", ['event.x == "true"', 'event.x == "false"']),
        ("x: {type: string}", ['event.x == "a"']),
        ("x: true", ['event.x == "a"']),
        ("y: {type: boolean}", ['event.x == "a"']),
        ("x: {enum: [a, b]}", ['event.x == "a"', "inputs.y"]),
        ("x: {enum: [a, b]}", ['event.x == "a"', 'event.x.y == "b"']),
        ("x: {enum: [a, b]}", ["event.x > 3"]),
        ("x: {enum: [a, b]}", ["inputs.y"]),
        ("x: {enum: [a, b]}", ['event.x == "a"', "inputs.y != null"]),
        ("x: {enum: [a, b]}, y: {type: string}", ['event.x == "a"', "event.y"]),
        ("x: {enum: [a, b]}", ["false"]),
    ],
)
def test_events_that_are_taken_or_that_cannot_be_told_are_no_doubt(
    schema: str, conditions: list[str]
) -> None:
    assert ids(wait(schema, *conditions)) == []


def test_events_without_listed_properties_cannot_be_told() -> None:
    assert ids(wait("", "event.x").replace("{properties: {}}", "{}")) == []


# W107


@pytest.mark.parametrize(
    "fields",
    [
        "kind: cli, command: x, ‸retry: {max_attempts: 2}",
        "kind: api, url: 'http://h', method: POST, ‸retry: {max_attempts: 2}",
        "kind: api, url: 'http://h', method: PATCH, ‸retry: {max_attempts: 2}",
    ],
)
def test_w107_trying_again_what_may_not_be_safe_to_repeat(fields: str) -> None:
    found = only(of(f"- {{id: a, {fields}}}\n"))
    assert (found.id, found.message) == ("W107", '"a" is tried again, and nothing says that this is safe')


@pytest.mark.parametrize(
    "fields",
    [
        "kind: cli, command: x",
        "kind: cli, command: x, retry: {max_attempts: 1}",
        "kind: cli, command: x, retry: {max_attempts: 2}, idempotent: true",
        "kind: cli, command: x, retry: {max_attempts: 2}, idempotency_key: x",
        "kind: api, url: 'http://h', retry: {max_attempts: 2}",
        "kind: api, url: 'http://h', method: PUT, retry: {max_attempts: 2}",
    ],
)
def test_trying_again_what_is_safe_to_repeat_is_no_doubt(fields: str) -> None:
    assert ids(of(f"- {{id: a, {fields}}}\n")) == []


def test_w107_a_retry_for_all_steps_names_those_that_take_it() -> None:
    steps = cli("a") + cli("b", "idempotent: true") + cli("c", "retry: {max_attempts: 1}") + cli("d")
    found = only(of(steps, "defaults: {‸retry: {max_attempts: 2}}\n"))
    assert found.message == "these are tried again, and nothing says that this is safe: a, d"


@pytest.mark.parametrize("attempts", [1, 2])
def test_a_retry_that_no_step_takes_is_no_doubt(attempts: int) -> None:
    step = end("a") if attempts > 1 else cli("a")
    assert ids(of(step, f"defaults: {{retry: {{max_attempts: {attempts}}}}}\n")) == []


# W108


def test_w108_an_input_without_description() -> None:
    found = only(of(end("a"), "inputs: {properties: {‸x: {type: string}, y: {description: why}}}\n"))
    assert (found.id, found.message) == ("W108", 'the input "x" has no description')


@pytest.mark.parametrize(
    "schema", ["{}", "{properties: {x: true}}", "{properties: {x: {$ref: '#/$defs/x'}}, $defs: {x: {}}}"]
)
def test_an_input_that_says_nothing_or_says_it_elsewhere_is_no_doubt(schema: str) -> None:
    assert ids(of(end("a"), f"inputs: {schema}\n")) == []


# W109


@pytest.mark.parametrize(
    ("steps", "names"),
    [
        ("- ‸{id: a, kind: cli, command: x, next: a}\n", "a"),
        (cli("a") + "- ‸{id: b, kind: cli, command: x}\n" + cli("c", "next: b"), "b, c"),
        (cli("a") + "- ‸" + switch("b", "c", "d")[2:] + cli("c", "next: b") + cli("d", "next: b"), "b, c, d"),
    ],
)
def test_w109_a_loop_with_no_way_out(steps: str, names: str) -> None:
    found = only(of(steps))
    assert (found.id, found.message) == ("W109", f"a loop with no way out: {names}")


def test_w109_each_loop_is_told_once() -> None:
    steps = switch("s", "a", "c") + cli("a") + cli("b", "next: a") + cli("c") + cli("d", "next: c")
    assert [(p.id, written(p.path)) for p in doubts(of(steps))] == [
        ("W109", "workflow.steps[1]"),
        ("W109", "workflow.steps[3]"),
    ]


@pytest.mark.parametrize(
    "steps",
    [
        cli("a") + switch("b", "a", "c") + end("c"),
        cli("a", "if: inputs.x, next: a"),
        cli("a", "next: a, on_error: {next: b}") + end("b"),
        "- {id: a, kind: switch, cases: [{when: true, next: a}], default: a, on_error: continue}\n",
    ],
)
def test_a_loop_with_a_way_out_is_no_doubt(steps: str) -> None:
    assert "W109" not in ids(of(steps))


# W110


def reading(part: str = "outputs.x", more: str = "") -> str:
    return f"- {{id: z, kind: cli, command: 'echo ${{‸steps.p.{part}}}'{more}}}\n"


@pytest.mark.parametrize(
    "steps",
    [
        cli("p", "if: inputs.x") + reading(),
        switch("s", "p", "z") + cli("p") + reading(),
        reading() + cli("p"),
        cli("a", "on_error: {next: z}") + cli("p") + reading(),
        cli("p", "on_error: continue") + reading(),
        cli("p", "on_error: continue") + reading("artifacts.x"),
        cli("p", "on_error: {next: z}") + reading(),
        ask("p", "timeout_seconds: 1, on_timeout: {next: z}") + reading(),
        cli("p", "if: inputs.x") + each("e", "${‸steps.p.outputs.x}"),
        each("p", "${‸steps.p.outputs.x}"),
        "- {id: a, kind: parallel, branches: [{start_at: z}, {start_at: p}]}\n" + reading() + cli("p"),
        "- {id: p, kind: cli, command: 'echo ${‸steps.p.outputs.x}'}\n",
        cli("p", "if: inputs.x") + "- {id: z, kind: cli, command: x, if: ‸steps.p.outputs.x}\n",
        "- {id: p, kind: cli, command: x, if: ‸steps.p.outputs.x}\n",
    ],
)
def test_w110_a_reference_to_a_step_that_may_not_have_run(steps: str) -> None:
    found = only(of(steps))
    assert found.id == "W110"
    assert found.message.startswith('the step "p" may not have run when this asks for its ')


@pytest.mark.parametrize(
    "steps",
    [
        cli("p") + reading(),
        cli("p") + cli("a", "if: inputs.x") + reading(),
        cli("p") + switch("s", "a", "z") + cli("a") + reading(),
        cli("p", "if: true") + reading(),
        cli("p") + cli("a", "next: a, on_error: {next: z}") + reading(),
        cli("p", "on_error: continue") + reading("exit_code"),
        cli("p", "on_error: {next: z}") + reading("stdout"),
        cli("p", "if: inputs.x") + reading("error.message"),
        "- {id: p, kind: parallel, branches: [{start_at: a}]}\n" + cli("a") + reading(),
        cli("p", "if: inputs.x") + reading(more=", if: inputs.x"),
        cli("p", "if: inputs.x") + each("e", "${steps.p.outputs.x}", "if: inputs.x"),
        cli("p", "if: inputs.x") + "- {id: z, kind: cli, command: x, if: steps.p.outputs != null}\n",
        cli("p", "if: inputs.x")
        + switch("s", "z", "e").replace("inputs.x", "not (null == steps.p.outputs or inputs.x)")
        + reading()
        + cli("e"),
        cli("p") + each("e", "${steps.p.outputs.x}"),
        "- {id: a, kind: parallel, branches: [{start_at: p}]}\n" + cli("p") + reading(),
        "- {id: p, kind: cli, command: x, artifacts: [{name: a, path: '${steps.p.outputs.x}'}]}\n",
        ask("p", "transitions: [{when: steps.p.outputs.x, next: p}, {when: true, next: e}]") + end("e"),
        cli("p") + switch("s", "p", "z") + reading(),
        "- {id: s, kind: switch, cases: [{when: inputs.x != null, next: p}], default: z}\n"
        + cli("p")
        + "- {id: z, kind: cli, command: x}\n",
    ],
)
def test_a_reference_to_a_step_that_has_run_or_is_guarded_is_no_doubt(steps: str) -> None:
    assert ids(of(steps)) == []


def test_w110_a_step_is_told_once_for_each_that_asks() -> None:
    steps = (
        cli("p", "if: inputs.x")
        + "- {id: z, kind: cli, command: 'echo ${‸steps.p.stdout} ${steps.p.outputs}'}\n"
    )
    assert only(of(steps)).id == "W110"


def test_outputs_of_the_run_may_be_absent() -> None:
    top = "outputs: {properties: {x: {from: steps.p.outputs.x}}}\n"
    assert ids(of(cli("p", "if: inputs.x"), top)) == []


# W112


def step(command: str, *, items: str = "") -> str:
    inner = f"- {{id: a, kind: cli, command: '{command}'}}\n"
    return f"- id: f\n  kind: foreach\n  items: {items}\n  body:\n{indent(inner, '    ')}" if items else inner


@pytest.mark.parametrize(
    "command",
    [
        "git checkout ‸X",
        'rm -rf "‸X"',
        "ls ''‸X.txt",
        "ssh ‸X uptime",
        "cat a | sort ‸X",
        'echo "$(basename ‸X)"',
        "sudo rm ‸X",
        "git log --color=never ‸X",
    ],
)
def test_w112_a_value_that_a_command_may_take_for_an_option(command: str) -> None:
    hole = "${steps.p.stdout}" if "‸" not in command else "${‸steps.p.stdout}"
    found = only(of(cli("p") + step(command.replace("‸X", hole).replace("'", "''"))))
    assert found.id == "W112"
    assert "takes this value for an option if it begins with a -" in found.message
    assert "put -- before it" in (found.hint or "")


@pytest.mark.parametrize(
    "command",
    [
        "git checkout -- X",
        "git log --author X",
        "git log --author=X -nX v/X",
        "echo X",
        "printf %s X",
        "[ X = a ] && test -n X",
        "x=X; case X in X) exit;; esac",
        "set -- X",
        "cat <<E\n X\nE\n",
        "cat < X > X",
        "sh -c 'ls -- \"$1\"' _ X",
        "for x in X; do echo; done",
        'ls ${inputs == null} ${"-a"}',
    ],
)
def test_a_value_that_is_no_option_there_is_no_doubt(command: str) -> None:
    shown = command.replace("X", "${steps.p.stdout}").replace("'", "''").replace("\n", "\n\n      ")
    assert ids(of(cli("p") + step(shown))) == []


@pytest.mark.parametrize(
    ("schema", "is_doubtful"),
    [
        ("{}", True),
        ("{type: string}", True),
        ("{type: string, minLength: 5}", True),
        ("{pattern: '^[a-z-]+$'}", True),
        ("{enum: [--all, b]}", True),
        ("{$ref: '#/$defs/x'}", True),
        ("{type: array, items: {type: string}}", True),
        ("{type: array, minItems: 3, items: {type: string}}", True),
        ("{pattern: '^[a-z][a-z-]*$'}", False),
        ("{pattern: '^(v|a)-'}", False),
        ("{enum: [a-b, b]}", False),
        ("{const: a}", False),
        ("{type: integer}", False),
        ("{type: boolean}", False),
        ("{type: object}", False),
        ("{type: array, items: {enum: [a, b]}}", False),
    ],
)
def test_w112_looks_at_the_schema_of_the_value(schema: str, is_doubtful: bool) -> None:
    schema = schema.replace("{", "{description: d, ", 1)
    top = f"inputs: {{properties: {{x: {schema}}}, $defs: {{x: {{}}}}}}\n"
    expected = ["W112"] if is_doubtful else []
    assert ids(of(step("ls ${inputs.x}"), top)) == expected
    asked = f"{{properties: {{x: {schema}}}, $defs: {{x: {{}}}}}}"
    waits = f"- {{id: q, kind: await_event, audience: user, event_name: e, input_schema: {asked}}}\n"
    assert ids(of(waits + step("ls ${steps.q.outputs.x}"))) == expected


@pytest.mark.parametrize(
    ("items", "hole", "is_doubtful"),
    [
        ("[a, b]", "item", False),
        ("[a, --b]", "item", True),
        ("['${run.id}']", "item", True),
        ("'${inputs.safe}'", "item", False),
        ("'${inputs.open}'", "item", True),
        ("'${inputs.safe}'", "item_index", False),
        ("'${inputs.safe}'", "run.id", False),
        ("[{x: a}]", "item.x", True),
    ],
)
def test_w112_looks_at_what_an_item_can_be(items: str, hole: str, is_doubtful: bool) -> None:
    safe = "safe: {description: d, items: {pattern: '^[a-z]+$'}}"
    top = f"inputs: {{properties: {{{safe}, open: {{description: d, items: {{type: string}}}}}}}}\n"
    found = ids(of(step(f"ls ${{{hole}}}", items=items), top))
    assert found == (["W112"] if is_doubtful else [])


def test_items_that_are_no_expression_are_an_error_and_not_looked_into() -> None:
    _, errors, found, _ = check_document(of(step("ls ${item}", items="'${'")).encode(), "wf.yaml")
    assert len(errors) == 1
    assert [warning.id for warning in found] == ["W112"]


# W111


@pytest.mark.parametrize(
    "schema",
    [
        "{required: [‸b], properties: {a: {}}}",
        "{required: [a, ‸b], properties: {a: {}}}",
        "{properties: {a: {required: [‸b], properties: {}}}}",
        "{items: {required: [‸b], properties: {}}}",
        "{additionalProperties: {required: [‸b], properties: {}}}",
    ],
)
@pytest.mark.parametrize(
    "kind", ["cli, command: x, outputs", "await_event, audience: user, event_name: e, input_schema"]
)
def test_w111_requiring_what_the_properties_lack(schema: str, kind: str) -> None:
    found = only(of(f"- {{id: a, kind: {kind}: {schema}}}\n"))
    assert (found.id, found.message) == ("W111", '"b" is required, and `properties` lacks it')


def test_w111_is_told_of_the_outputs_of_the_workflow() -> None:
    top = "outputs: {required: [‸y], properties: {x: {from: inputs.x}}}\n"
    assert only(of(end("a"), top)).id == "W111"


@pytest.mark.parametrize(
    "schema",
    [
        "{required: [a], properties: {a: true}}",
        "{required: [a]}",
        "{properties: {a: {}}}",
        "{properties: {a: {}}, anyOf: [{required: [b]}, {required: [b], properties: {c: {}}}]}",
    ],
)
def test_requiring_what_is_listed_is_no_doubt(schema: str) -> None:
    assert ids(of(f"- {{id: a, kind: cli, command: x, outputs: {schema}}}\n")) == []


# Silencing


SILENCED = """\
- id: a  {}
  kind: switch
  cases:
    - {{when: inputs.x, next: b}}
- {{id: b, kind: end}}
"""


@pytest.mark.parametrize(
    "comment",
    [
        "# cpf: ignore W103",
        "#cpf:ignore W103",
        "# cpf: ignore W101 W103",
        "# cpf: ignore W101, W103",
        "# x # cpf: ignore W103",
    ],
)
def test_a_comment_on_its_line_silences_a_warning(comment: str) -> None:
    assert ids(of(SILENCED.format(comment))) == []


@pytest.mark.parametrize(
    "comment", ["", "# cpf: ignore W101", "# cpf: ignore", "# ignore W103", "# cpf: ignore W1031"]
)
def test_another_comment_silences_nothing(comment: str) -> None:
    assert ids(of(SILENCED.format(comment))) == ["W103"]


def test_a_comment_on_another_line_silences_nothing() -> None:
    assert ids(of(SILENCED.format("").replace("switch", "switch  # cpf: ignore W103"))) == ["W103"]


def test_a_comment_does_not_silence_an_error() -> None:
    _, errors, _, _ = check_document(
        of("- {id: a, kind: cli, command: x, next: b}  # cpf: ignore W101\n").encode()
    )
    assert len(errors) == 1


# Limits


def test_of_a_list_of_thousands_of_steps_the_flow_is_not_looked_at() -> None:
    steps = cli("p", "if: inputs.x") + cli("a", "next: b") + "".join(cli(f"c{i}") for i in range(1000))
    steps += cli("b") + reading()
    assert ids(of(steps)) == []


def test_warnings_stand_in_the_order_of_the_file() -> None:
    steps = (
        "- {id: a, kind: switch, cases: [{when: inputs.x, next: c}]}\n"
        + cli("b")
        + cli("c", "retry: {max_attempts: 2}")
    )
    assert ids(of(steps)) == ["W103", "W101", "W107"]


def test_where_there_are_errors_the_ways_are_not_followed() -> None:
    document = of(end("a") + end("b") + cli("c", "next: zzz")).encode()
    _, errors, found, _ = check_document(document)
    assert (len(errors), found) == (1, [])
