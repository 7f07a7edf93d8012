"""What no schema can say: ids, targets, references, expressions, inner schemas."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpointflow.diagnostics import Diagnostic, written
from checkpointflow.documents.checker import check, check_document
from checkpointflow.documents.decoding import read
from checkpointflow.documents.yaml import parse

HEAD = """\
schema_version: checkpointflow/v1
workflow:
  id: w
  version: 1
"""
QUICK_START = Path(__file__).parents[2] / "quick_start" / "workflow.yaml"
MARK = "‸"  # in a document: where the problem is expected


def of(steps: str, top: str = "") -> str:
    """A document with *steps*, and with *top* beside them under `workflow`."""
    return HEAD + indent(top, "  ") + "  steps:\n" + indent(steps, "    ")


def errors(document: str) -> list[Diagnostic]:
    _, found, _, _ = check_document(document.replace(MARK, "").encode(), "wf.yaml")
    return found


def only(document: str) -> Diagnostic:
    """The one error in *document*, which must stand at its MARK."""
    before = document.partition(MARK)[0].split("\n")
    [found] = errors(document)
    assert (found.line, found.column) == (len(before), len(before[-1]) + 1), found
    return found


def fine(document: str) -> bool:
    assert errors(document) == []
    return True


# Ids


def test_an_id_given_twice_is_told_with_the_first_place() -> None:
    found = only(of("- {id: a, kind: end}\n- {id: ‸a, kind: end}\n"))
    assert found.message == 'a second step with the id "a", first at 6:12'
    assert found.code == "ERR_DUPLICATE_STEP_ID"


def test_ids_are_unique_in_bodies_and_branches_as_well() -> None:
    document = of("""\
- id: each
  kind: foreach
  items: inputs.list
  body:
    - id: a
      kind: parallel
      branches:
        - id: left
          steps:
            - {id: b, kind: end}
- {id: ‸b, kind: end}
""")
    assert only(document).message == 'a second step with the id "b", first at 15:24'


def test_the_first_of_two_is_the_first_in_the_file() -> None:
    document = of("""\
- id: each
  kind: foreach
  items: inputs.list
  body: [{id: a, kind: end}]
- {id: ‸a, kind: end}
""")
    assert only(document).message == 'a second step with the id "a", first at 9:19'


def test_an_id_may_be_any_word() -> None:
    names = ["end", "continue", "next", "steps", "null-", "_"]
    assert fine(of("".join(f"- {{id: {name}, kind: cli, command: x}}\n" for name in names)))


# Targets


@pytest.mark.parametrize(
    "fields",
    [
        "kind: cli, command: x, next: ‸aply",
        "kind: cli, command: x, on_error: {next: ‸aply}",
        "kind: await_event, audience: user, event_name: e, transitions: [{when: true, next: ‸aply}]",
        "kind: await_event, audience: user, event_name: e, timeout_seconds: 1, on_timeout: {next: ‸aply}",
        "kind: switch, cases: [{when: true, next: apply}, {when: true, next: ‸aply}]",
        "kind: switch, cases: [{when: true, next: apply}], default: ‸aply",
        "kind: parallel, branches: [{start_at: ‸aply}]",
    ],
)
def test_a_target_must_be_there(fields: str) -> None:
    found = only(of(f"- {{id: a, {fields}}}\n- {{id: apply, kind: end}}\n"))
    assert (found.message, found.hint) == ('there is no step "aply"', 'did you mean "apply"?')


def test_of_a_target_like_no_step_the_steps_are_listed() -> None:
    steps = "".join(f"- {{id: a{i}, kind: end}}\n" for i in range(10))
    found = only(of("- {id: x, kind: cli, command: x, next: ‸zzz}\n" + steps))
    assert found.hint == "the steps here: x, a0, a1, a2, a3, a4, a5, a6, a7, a8 …"


def test_a_target_stands_in_the_same_list() -> None:
    document = of("""\
- id: each
  kind: foreach
  items: inputs.list
  body: [{id: a, kind: cli, command: x, next: ‸z}]
- {id: z, kind: end}
""")
    found = only(document)
    assert found.message == 'the step "z" stands in another list, and a jump stays in its own'
    assert found.hint == "the steps here: a"


def test_a_target_may_be_above_or_the_step_itself() -> None:
    assert fine(of("- {id: a, kind: end}\n- {id: b, kind: cli, command: x, next: a, on_error: {next: b}}\n"))


# Fields that do not go together


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            "{id: a, kind: await_event, audience: user, event_name: e, "
            "transitions: [{when: true, next: a}], ‸next: a}",
            "`next` beside `transitions`: an event cannot lead to both",
        ),
        (
            "{id: a, kind: await_event, audience: user, event_name: e, ‸on_timeout: {next: a}}",
            "`on_timeout` without `timeout_seconds`: this wait never ends by itself",
        ),
        (
            "‸{id: a, kind: foreach, items: inputs}",
            "a foreach step needs `body` or `workflow_ref`, and this has neither",
        ),
        (
            "‸{id: a, kind: foreach, items: inputs, body: [{id: b, kind: end}], workflow_ref: x.yaml}",
            "a foreach step needs `body` or `workflow_ref`, and this has both",
        ),
        (
            "{id: a, kind: foreach, items: inputs, body: [{id: b, kind: end}], ‸inputs: {a: 1}}",
            "`inputs` belongs to `workflow_ref`",
        ),
        (
            "{id: a, kind: parallel, branches: [‸{}]}",
            "a branch either starts at a step or has an id and steps",
        ),
        (
            "{id: a, kind: parallel, branches: [‸{id: b}]}",
            "a branch either starts at a step or has an id and steps",
        ),
        (
            "{id: a, kind: parallel, branches: [‸{id: b, start_at: a}]}",
            "a branch either starts at a step or has an id and steps",
        ),
        (
            "{id: a, kind: parallel, branches: [{start_at: a}, ‸{start_at: a}]}",
            'a second branch "a", first at 6:42',
        ),
        (
            "{id: a, kind: parallel, branches: [{start_at: a}, ‸{id: a, steps: [{id: b, kind: end}]}]}",
            'a second branch "a", first at 6:42',
        ),
        (
            "{id: a, kind: cli, command: x, artifacts: [{name: f, path: x}, {name: ‸f, path: y}]}",
            'a second artifact "f", first at 6:57',
        ),
        (
            "{id: a, kind: cli, command: x, env: {MY: 1, ‸CPF_OUTPUT: x}}",
            '"CPF_OUTPUT" cannot be set: names that start with CPF_ are cpf\'s own',
        ),
    ],
)
def test_fields_that_do_not_go_together_are_refused(step: str, message: str) -> None:
    assert only(of(f"- {step}\n")).message == message


@pytest.mark.parametrize(
    "step",
    [
        "{id: a, kind: await_event, audience: user, event_name: e, timeout_seconds: 1,"
        " on_timeout: {next: a}}",
        "{id: a, kind: await_event, audience: user, event_name: e, transitions: [{when: true, next: a}]}",
        "{id: a, kind: await_event, audience: user, event_name: e, next: a}",
        "{id: a, kind: foreach, items: inputs, body: [{id: b, kind: end}]}",
        "{id: a, kind: foreach, items: inputs, workflow_ref: x.yaml, inputs: {a: '${item}'}}",
        "{id: a, kind: foreach, items: [1, 'a ${inputs.b}'], workflow_ref: x.yaml}",
        "{id: a, kind: parallel, branches: [{start_at: a}, {id: b, steps: [{id: c, kind: end}]}]}",
        "{id: a, kind: cli, command: x, artifacts: [{name: f, path: x}, {name: g, path: x}]}",
        "{id: a, kind: api, url: 'https://x/${inputs.y}', body: [{a: '${secrets.T}'}]}",
        "{id: a, kind: workflow, workflow_ref: x.yaml, inputs: {a: '${inputs.b}'}}",
    ],
)
def test_fields_that_go_together_are_fine(step: str) -> None:
    assert fine(of(f"- {step}\n"))


def nested(levels: int) -> str:
    """Bodies in bodies, the root's list counted; the innermost list is marked."""
    inner = f"{MARK}[{{id: last, kind: end}}]"
    for level in range(levels - 1):
        inner = f"[{{id: a{level}, kind: foreach, items: inputs, body: {inner}}}]"
    return HEAD + f"  steps: {inner}\n"


def test_twenty_levels_of_bodies_are_fine_and_one_more_is_not() -> None:
    assert fine(nested(20))
    assert only(nested(21)).message == "bodies and branches nested more than 20 levels deep"


# Schemas


IN_SCHEMAS = [
    ("inputs: {properties: {a: {%s}}}\n", ""),
    ("outputs: {properties: {a: {from: inputs.a, %s}}}\n", ""),
    ("", "- {id: b, kind: cli, command: x, outputs: {%s}}\n"),
    ("", "- {id: b, kind: await_event, audience: user, event_name: e, input_schema: {%s}}\n"),
]


@pytest.mark.parametrize(("top", "step"), IN_SCHEMAS)
def test_a_wrong_schema_is_told_where_it_is_wrong(top: str, step: str) -> None:
    document = of("- {id: a, kind: end}\n" + step, top).replace("%s", "type: ‸nonsense")
    assert only(document).code == "ERR_VALIDATION_WORKFLOW"


@pytest.mark.parametrize(("top", "step"), IN_SCHEMAS)
def test_a_schema_that_cannot_be_honoured_has_a_code_of_its_own(top: str, step: str) -> None:
    document = of("- {id: a, kind: end}\n" + step, top).replace("%s", "‸typo: 1")
    assert only(document).code == "ERR_UNSUPPORTED_SCHEMA"


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ("{type: ‸array, properties: {a: {from: inputs}}}", 'the result is an object: expected "object"'),
        ("‸{}", '`outputs` needs "properties", each with `from`'),
        ("‸{properties: {}}", '`outputs` needs "properties", each with `from`'),
        ("{properties: {‸a: {type: string}}}", '"a" needs `from`'),
        ("{properties: {‸a: true}}", '"a" needs `from`'),
        ("{properties: {a: {from: ‸3}}}", "`from` must be a path"),
        ("{properties: {a: {from: '‸${inputs.a}'}}}", "a path stands bare here"),
        ("{properties: {a: {from: '‸\"x\"'}}}", "expected a path"),
        ("{properties: {a: {from: ‸steps.b.outputs}}}", 'there is no step "b"'),
        ("{properties: {a: {from: ‸event.a}}}", "there is no `event` here"),
    ],
)
def test_outputs_map_each_property_from_a_path(outputs: str, message: str) -> None:
    assert only(of("- {id: a, kind: end}\n", f"outputs: {outputs}\n")).message == message


def test_outputs_may_refer_to_any_step_of_the_root() -> None:
    top = "outputs: {type: object, required: [x], properties: {x: {from: steps.a.outputs.x, type: string}}}\n"
    assert fine(of("- {id: a, kind: cli, command: x}\n", top))


def test_properties_that_are_no_mapping_are_told_once() -> None:
    assert (
        written(only(of("- {id: a, kind: end}\n", "outputs: {properties: ‸3}\n")).path)
        == "workflow.outputs.properties"
    )


# Expressions


@pytest.mark.parametrize(
    "step",
    [
        "{id: a, kind: cli, command: 'echo ${inputs.‸.x}'}",
        "{id: a, kind: cli, command: [ok, 'echo ${inputs.‸.x}']}",
        "{id: a, kind: cli, command: x, env: {A: '${inputs.‸.x}'}}",
        "{id: a, kind: cli, command: x, cwd: 'a/${inputs.‸.x}'}",
        "{id: a, kind: cli, command: x, idempotency_key: 'a/${inputs.‸.x}'}",
        "{id: a, kind: cli, command: x, lock: {key: 'a/${inputs.‸.x}'}}",
        "{id: a, kind: cli, command: x, artifacts: [{name: x, path: 'a/${inputs.‸.x}'}]}",
        "{id: a, kind: cli, command: x, if: 'inputs.‸.x'}",
        "{id: a, kind: cli, command: x, if: '${inputs.‸.x}'}",
        "{id: a, kind: api, url: 'a/${inputs.‸.x}'}",
        "{id: a, kind: api, url: 'http://h', headers: {A: 'a/${inputs.‸.x}'}}",
        "{id: a, kind: api, url: 'http://h', body: {a: [1, 'a/${inputs.‸.x}']}}",
        "{id: a, kind: await_event, audience: user, event_name: e, prompt: 'a ${inputs.‸.x}'}",
        "{id: a, kind: await_event, audience: user, event_name: e, summary: 'a ${inputs.‸.x}'}",
        "{id: a, kind: await_event, audience: user, event_name: e, instructions: 'a ${inputs.‸.x}'}",
        "{id: a, transitions: [{when: 'inputs.‸.x', next: a}],"
        " kind: await_event, event_name: e, audience: user}",
        "{id: a, kind: switch, cases: [{when: 'inputs.‸.x', next: a}]}",
        "{id: a, kind: foreach, items: 'inputs.‸.x', workflow_ref: w}",
        "{id: a, kind: foreach, items: ['${inputs.‸.x}'], workflow_ref: w}",
        "{id: a, kind: foreach, items: inputs, workflow_ref: w, inputs: {a: '${inputs.‸.x}'}}",
        "{id: a, kind: workflow, workflow_ref: w, inputs: {a: '${inputs.‸.x}'}}",
        "{id: a, kind: end, result: {a: '${inputs.‸.x}'}}",
    ],
)
def test_a_malformed_expression_is_told_wherever_it_stands(step: str) -> None:
    assert only(of(f"- {step}\n")).message == 'expected a name after "."'


def test_a_malformed_expression_in_a_block_of_text_is_told_at_its_line() -> None:
    only(of("- id: a\n  kind: cli\n  command: |\n    echo one\n    echo ${inputs.‸.x}\n"))


def test_an_expression_that_cannot_be_found_again_is_told_where_its_text_begins() -> None:
    only(of('- {id: a, kind: cli, command: ‸"echo \\x24{inputs.\\x2e}"}\n'))


def test_the_working_directory_of_all_steps_is_checked() -> None:
    assert only(of("- {id: a, kind: end}\n", "defaults: {cwd: 'a/${‸nope.x}'}\n")).code


# References


BASE = """\
inputs: {type: object, properties: {page: {type: object, properties: {title: {}}}, list: {type: array}}}
"""


def using(expression: str, *, field: str = "command: 'echo ${%s}'", before: str = "") -> str:
    steps = f"""\
- id: plan
  kind: cli
  command: x
  outputs: {{type: object, additionalProperties: false, properties: {{url: {{type: string}}}}}}
{before}- {{id: apply, kind: cli, {field % expression}}}
"""
    return of(steps, BASE)


@pytest.mark.parametrize(
    ("expression", "message", "hint"),
    [
        ("‸steps.pln.outputs.url", 'there is no step "pln"', 'did you mean "plan"?'),
        ("‸steps.zzz.outputs.url", 'there is no step "zzz"', None),
        ("‸steps.plan.output.url", 'of the step "plan" one can have its outputs, exit_code, error, stdout, '
         "status_code or artifacts", 'did you mean "outputs"?'),
        ("‸steps.plan.zzz", 'of the step "plan" one can have its outputs, exit_code, error, stdout, '
         "status_code or artifacts", "as in steps.plan.outputs"),
        ("‸steps.plan == null", 'of the step "plan" one can have its outputs, exit_code, error, stdout, '
         "status_code or artifacts", "as in steps.plan.outputs"),
        ("‸steps == null", "`steps` needs the id of a step, as in steps.plan.outputs.url", None),
        ("‸steps[0].outputs", "`steps` needs the id of a step, as in steps.plan.outputs.url", None),
        ("‸steps.plan.outputs.ulr", 'steps.plan.outputs has no "ulr"', 'did you mean "url"?'),
        ("‸inputs.pag", 'inputs has no "pag"', 'did you mean "page"?'),
        ("‸inputs.zzz", 'inputs has no "zzz"', "declare it under `inputs`"),
        ("‸inputs.page.titel", 'inputs.page has no "titel"', 'did you mean "title"?'),
        ("run.id == ‸run.di", "of `run` there is only `run.id`", None),
        ("‸run == null", "of `run` there is only `run.id`", None),
        ("‸run.id.x", "of `run` there is only `run.id`", None),
        ("‸event.x", "there is no `event` here",
         "`event` is there in the transitions of an await_event; later it is its step's outputs"),
        ("‸item.x", "there is no `item` here", "`item` is there inside of a foreach"),
        ("‸item_index", "there is no `item_index` here", "`item_index` is there inside of a foreach"),
    ],
)  # fmt: skip
def test_a_reference_to_what_can_never_be_there_is_refused(
    expression: str, message: str, hint: str | None
) -> None:
    found = only(using(expression, field="command: x, if: '%s'"))
    assert (found.message, found.hint) == (message, hint)


@pytest.mark.parametrize(
    "expression",
    [
        "steps.plan.outputs.url",
        "steps.plan.outputs",
        "steps.plan.exit_code",
        "steps.plan.error.code",
        "steps.plan.stdout",
        "steps.plan.artifacts.x",
        "steps.apply.outputs.anything",
        "inputs.page.title",
        "inputs.list.0",
        "inputs.list[0].x",
        "inputs.page.title.x",
        "inputs",
        "run.id",
        "secrets.TOKEN",
    ],
)
def test_a_reference_to_what_may_be_there_is_fine(expression: str) -> None:
    assert fine(using(expression))


@pytest.mark.parametrize(
    "schema",
    [
        "{}",
        "{type: object}",
        "{properties: {b: {}}, additionalProperties: true}",
        "{properties: {b: {}}, additionalProperties: {type: string}}",
        "{properties: {b: {}}, patternProperties: {x: {}}}",
        "{properties: {b: {}}, allOf: [{properties: {a: {}}}]}",
    ],
)
def test_an_input_that_the_schema_leaves_open_may_be_there(schema: str) -> None:
    assert fine(of("- {id: a, kind: cli, command: 'x ${inputs.a}'}\n", f"inputs: {schema}\n"))


def test_outputs_that_a_schema_does_not_close_may_hold_more() -> None:
    steps = "- {id: a, kind: cli, command: x, outputs: {properties: {b: {}}}}\n"
    assert fine(of(steps + "- {id: z, kind: end, result: '${steps.a.outputs.c}'}\n"))


EVENT = """\
- id: a
  kind: await_event
  audience: user
  event_name: e
  input_schema: {properties: {yes: {}}%s}
  transitions: [{when: '%s', next: a}]
"""


def test_a_transition_sees_the_event() -> None:
    assert fine(of(EVENT % ("", "event.no")))


def test_a_transition_cannot_ask_an_event_for_what_its_schema_closes_out() -> None:
    found = only(of(EVENT % (", additionalProperties: false", "‸event.no")))
    assert (found.message, found.hint) == ('event has no "no"', "declare it in `input_schema`")


@pytest.mark.parametrize(
    "field",
    [
        "kind: cli, command: x, cwd: '${%s}'",
        "kind: cli, command: x, if: '%s'",
        "kind: cli, command: x, lock: {key: '${%s}'}",
        "kind: cli, command: x, idempotency_key: '${%s}'",
        "kind: cli, command: x, artifacts: [{name: n, path: '${%s}'}]",
        "kind: await_event, audience: user, event_name: e, prompt: '${%s}'",
        "kind: await_event, audience: user, event_name: e, summary: '${%s}'",
        "kind: await_event, audience: user, event_name: e, instructions: '${%s}'",
        "kind: await_event, audience: user, event_name: e, transitions: [{when: '%s', next: a}]",
        "kind: switch, cases: [{when: '%s', next: a}]",
        "kind: foreach, items: '%s', body: [{id: b, kind: end}]",
        "kind: foreach, items: [1], workflow_ref: x.yaml, inputs: {x: '${%s}'}",
        "kind: workflow, workflow_ref: x.yaml, inputs: {x: '${%s}'}",
        "kind: end, result: '${%s}'",
    ],
)
def test_secrets_stand_where_they_are_used_and_nowhere_else(field: str) -> None:
    found = only(of(f"- {{id: a, {field % '‸secrets.T'}}}\n"))
    assert found.message == "there is no `secrets` here"
    assert found.hint == "`secrets` may stand in command, env, url, headers and body"


@pytest.mark.parametrize(
    "field",
    [
        "kind: cli, command: 'x ${secrets.T}'",
        "kind: cli, command: x, env: {T: '${secrets.T}'}",
        "kind: api, url: 'x/${secrets.T}'",
        "kind: api, url: 'http://h', headers: {T: '${secrets.T}'}",
        "kind: api, url: 'http://h', body: '${secrets.T}'",
    ],
)
def test_secrets_may_stand_where_they_are_used(field: str) -> None:
    assert fine(of(f"- {{id: a, {field}}}\n"))


@pytest.mark.parametrize(
    "more", ["outputs: {properties: {x: {from: ‸secrets.T}}}\n", "defaults: {cwd: '${‸secrets.T}'}\n"]
)
def test_no_secret_is_an_output_nor_a_directory(more: str) -> None:
    assert only(of("- {id: a, kind: end}\n", more)).message == "there is no `secrets` here"


@pytest.mark.parametrize(
    ("hole", "message"),
    [
        ("${raw:‸secrets.T}", "a secret cannot be spliced in by raw:"),
        ("${‸secrets.T == 1}", "a secret can only be handed over: nothing can be asked of it"),
        ("${not ‸secrets.T}", "a secret can only be handed over: nothing can be asked of it"),
    ],
)
def test_a_secret_is_handed_over_and_nothing_else(hole: str, message: str) -> None:
    assert only(of(f"- {{id: a, kind: cli, command: 'x {hole}'}}\n")).message == message


@pytest.mark.parametrize("name", ["BASH_ENV", "ZDOTDIR", "PS4", "PROMPT_COMMAND"])
def test_no_value_stands_in_a_variable_that_a_shell_runs(name: str) -> None:
    found = only(
        of(f"- {{id: a, kind: cli, command: x, env: {{A: '${{run.id}}', {name}: 'a ${{‸run.id}}'}}}}\n")
    )
    assert found.message == f"no value can stand here: the shell runs what {name} holds"
    assert fine(of(f"- {{id: a, kind: cli, command: x, env: {{{name}: ./rc}}}}\n"))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://h/x", "only http: and https: URLs can be called"),
        ("h/x", "only http: and https: URLs can be called"),
        ("file:///x", "only http: and https: URLs can be called"),
        ("/${run.id}", "only http: and https: URLs can be called"),
        ("https://u:p@h/x", "a URL may hold no name and password"),
        ("https://${run.id}@h/x", "a URL may hold no name and password"),
        ("https://h${run.id}:${run.id}@h", "a URL may hold no name and password"),
        ("https:///x", "the URL names no host"),
        ("https://h:65536/", "65536 is not a port"),
        ("http://h:0?x", "0 is not a port"),
    ],
)
def test_a_url_that_cannot_be_called_is_told(url: str, message: str) -> None:
    assert only(of(f"- {{id: a, kind: api, url: ‸'{url}'}}\n")).message == message


@pytest.mark.parametrize(
    "url",
    [
        "http://h", "HTTPS://h:65535/a@b?c@d#e@f", "http://[::1]:80/", "${run.id}", "${run.id}://x@y",
        "https://${run.id}.h:8080/${run.id}@x", "https://h:${run.id}/", "http://h\\\\@x",
    ],
)  # fmt: skip
def test_of_other_urls_more_is_known_when_they_are_called(url: str) -> None:
    assert fine(of(f"- {{id: a, kind: api, url: '{url}'}}\n"))


def test_secrets_are_asked_for_by_name() -> None:
    found = only(of("- {id: a, kind: api, url: 'http://h', body: '${‸secrets}'}\n"))
    assert found.message == "`secrets` needs a name, as in secrets.TOKEN"


# What can be seen from where


NEST = """\
- {id: top, kind: cli, command: x}
- id: each
  kind: foreach
  items: inputs.list
  body:
    - id: one
      kind: parallel
      branches:
        - id: left
          steps:
            - {id: deep, kind: cli, command: 'x ${item.a} %s'}
        - id: right
          steps:
            - {id: other, kind: cli, command: x}
    - {id: two, kind: cli, command: 'x ${item_index} %s'}
- {id: last, kind: cli, command: 'x %s'}
"""


def test_inner_steps_see_their_own_list_and_all_around_it() -> None:
    assert fine(
        of(NEST % ("${steps.top.stdout} ${steps.two.stdout} ${steps.one.outputs}", "${steps.top.stdout}", ""))
    )


@pytest.mark.parametrize(
    ("where", "name", "owner"),
    [(2, "two", "each"), (2, "deep", "each"), (1, "deep", "one"), (0, "other", "one")],
)
def test_nobody_sees_into_a_body_or_a_branch(where: int, name: str, owner: str) -> None:
    holes = ["", "", ""]
    holes[where] = f"${{‸steps.{name}.stdout}}"
    found = only(of(NEST % tuple(holes)))
    assert found.message == f'the step "{name}" cannot be seen from here: it stands inside of "{owner}"'
    assert found.hint == f"what it puts out becomes part of steps.{owner}.outputs"


def test_the_items_of_a_foreach_are_there_inside_of_it_and_not_for_itself() -> None:
    step = "- {id: a, kind: foreach, items: '%s', body: [{id: b, kind: cli, command: 'x ${item}'}]}\n"
    assert fine(of(step % "inputs"))
    assert only(of(step % "‸item")).message == "there is no `item` here"


def test_a_branch_that_starts_at_a_step_sees_its_list() -> None:
    document = of("""\
- {id: p, kind: parallel, branches: [{start_at: a}, {start_at: b}]}
- {id: a, kind: cli, command: x}
- {id: b, kind: cli, command: 'x ${steps.a.stdout}'}
- {id: c, kind: cli, command: 'x ${steps.a.stdout}'}
""")
    assert fine(document)


def test_a_reference_is_shown_at_its_own_line_of_a_long_command() -> None:
    only(
        of("""\
- id: plan
  kind: cli
  command: |
    echo ${steps.plan.stdout}
    echo ${steps.planet.stdout}
    echo ${‸steps.pla.stdout}
- {id: planet, kind: end}
""")
    )


# All of it together


def test_the_quick_start_has_no_errors() -> None:
    assert fine(QUICK_START.read_text())


TEN = """\
schema_version: checkpointflow/v1
workflow:
  id: ten
  inputs:
    type: object
    properties:
      page: {type: string, minimun: 3}
  steps:
    - id: plan
      kind: cli
      commnd: plan ${inputs.page}
      command: plan ${inputs.pag}
    - id: plan
      kind: clii
    - id: ask
      kind: await_event
      audience: user
      event_name: answer
      transitions:
        - {when: event.ok ==, next: apply}
        - {when: not event.ok, next: rejectd}
    - id: apply
      kind: cli
      command: apply ${steps.pln.outputs.file}
      retry: {max_attempts: none}
    - id: rejected
      kind: end
      result: ${item}
  outputs:
    properties:
      url: {type: string}
"""


def test_ten_mistakes_are_told_in_one_call_in_the_order_of_the_file() -> None:
    workflow, found, _, source = check_document(TEN.encode(), "ten.yaml")
    assert [(p.line, p.message) for p in found] == [
        (7, next(p.message for p in found if "minimun" in p.message)),
        (11, 'unknown field "commnd" in a cli step'),
        (12, 'inputs has no "pag"'),
        (13, 'a second step with the id "plan", first at 9:11'),
        (14, 'unknown kind "clii"'),
        (20, next(p.message for p in found if p.line == 20)),
        (21, 'there is no step "rejectd"'),
        (24, 'there is no step "pln"'),
        (25, "expected a whole number, and found text"),
        (28, "there is no `item` here"),
        (31, '"url" needs `from`'),
    ]
    assert workflow is None
    assert {p.file for p in found} == {"ten.yaml"}
    assert source.lines[found[2].line - 1][found[2].column - 1 :] == "inputs.pag}"


def test_what_is_no_yaml_is_examined_no_further() -> None:
    workflow, found, doubts, source = check_document(b"a: [")
    assert (workflow, len(found), doubts, source.root) == (None, 1, [], None)


def test_a_document_without_fault_is_given_back_as_a_workflow() -> None:
    workflow, found, doubts, _ = check_document(of("- {id: a, kind: end}\n").encode())
    assert workflow is not None
    assert (workflow.id, found, doubts) == ("w", [], [])


def test_errors_leave_no_workflow() -> None:
    workflow, found, _, _ = check_document(of("- {id: a, kind: cli, command: x, next: b}\n").encode())
    assert (workflow, len(found)) == (None, 1)


def test_check_tells_errors_and_warnings_apart() -> None:
    workflow, source = read(of("- {id: a, kind: switch, cases: [{when: true, next: b}]}\n").encode())
    found, doubts = check(workflow, source)
    assert [p.message for p in found] == ['there is no step "b"']
    assert [p.id for p in doubts] == ["W103"]


def test_errors_of_different_rules_stand_in_the_order_of_the_file() -> None:
    steps = "- {id: a, kind: cli, command: x, next: b}\n- {id: a, kind: end, result: '${item}'}\n"
    assert [p.message[:10] for p in errors(of(steps))] == ["there is n", "a second s", "there is n"]


WHOLE = parse(
    of(
        """\
- {id: ask, kind: await_event, audience: user, event_name: e, prompt: "${inputs.a}", timeout_seconds: 1,
   input_schema: {properties: {ok: {enum: [y, n]}}}, transitions: [{when: event.ok, next: each}],
   on_timeout: {next: z}}
- id: each
  kind: foreach
  items: inputs.list
  body:
    - {id: b, kind: parallel, branches: [{id: l, steps: [{id: c, kind: end}]}, {start_at: d}]}
    - {id: d, kind: api, url: "${steps.b.outputs}", body: ["${item_index}"], retry: {max_attempts: 3}}
- {id: s, kind: switch, cases: [{when: inputs.a == "x", next: ask}], default: z, on_error: continue}
- {id: z, kind: end, if: true, result: {r: "${steps.each.outputs}"}}
""",
        "inputs: {properties: {a: {}, list: {}}, required: [a]}\n"
        "outputs: {properties: {x: {from: steps.each.outputs}}}\n",
    ).encode()
).value
ODD = [
    None,
    True,
    0,
    1.5,
    "",
    "z",
    "a b",
    "${",
    "${inputs.a}",
    "item",
    "steps",
    "steps.z",
    "cli",
    "foreach",
    "continue",
]
ODD += [[], {}, [[]], [{}], {"next": "z"}, {"id": "z", "kind": "end"}, "steps.each.outputs == null"]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, entry in inner for found in places(entry, (*path, key)))]


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(places(WHOLE)[1:]), st.sampled_from(ODD)), min_size=1, max_size=3))
def test_whatever_stands_where_it_does_not_belong_is_told_and_nothing_raises(changes: list[Any]) -> None:
    document = json.loads(json.dumps(WHOLE))
    for (*way, last), odd in changes:
        inner = document
        with suppress(KeyError, IndexError, TypeError):  # an earlier change may have taken the place away
            for key in way:
                inner = inner[key]
            inner[last] = copy.deepcopy(odd)  # another change may reach into it
    workflow, found, doubts, source = check_document(json.dumps(document, indent=1).encode())
    assert (workflow is None) == bool(found)
    assert all(p.line <= len(source.lines) for p in found + doubts)


def test_no_more_than_500_errors_are_told() -> None:
    steps = "".join(f"- {{id: a{i}, kind: cli, command: x, next: z}}\n" for i in range(600))
    assert len(errors(of(steps))) == 500
