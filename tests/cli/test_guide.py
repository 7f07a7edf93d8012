"""`cpf guide`: whole or in parts, complete, and short enough for an agent to read."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest

from checkpointflow import json_text as jsontext
from checkpointflow.cli.guide import GUIDE, find_parts
from checkpointflow.cli.init import NAMES
from checkpointflow.documents import checker
from checkpointflow.documents import lint as advice
from checkpointflow.documents import yaml as source
from checkpointflow.documents.model import AnyStep, Defaults, Workflow
from checkpointflow.drivers import http, sources
from checkpointflow.engine import kinds
from checkpointflow.expressions import functions, literals, scanner
from checkpointflow.expressions import syntax as expression
from checkpointflow.schemas import defaults, patterns, survey, unevaluated
from checkpointflow.shells import scripts
from checkpointflow.shells import words as quoting
from tests.conftest import Cpf

TEXT = GUIDE.read_text()
PARTS = find_parts(TEXT)
TOPICS = [*PARTS, "agents", "authoring", "exploring"]
HEADINGS = [line for line in re.sub(r"(?ms)^```.*?^```$", "", TEXT).splitlines() if line.startswith("##")]


# One part


def test_without_a_topic_the_whole_guide_is_printed(cpf: Cpf) -> None:
    answer = cpf("guide")
    assert (answer.code, answer.text) == (0, TEXT)


def test_every_heading_is_a_topic_of_its_own() -> None:
    assert len(PARTS) == len(HEADINGS)
    assert [part.splitlines()[0] for part in PARTS.values()] == HEADINGS


@pytest.mark.parametrize("topic", PARTS)
def test_a_topic_prints_its_part(cpf: Cpf, topic: str) -> None:
    answer = cpf("guide", topic)
    assert (answer.code, answer.text) == (0, PARTS[topic])


def test_a_part_ends_where_the_next_of_its_level_begins() -> None:
    assert PARTS["switch"].startswith("### switch\n")
    assert re.findall(r"(?m)^##+ .*$", PARTS["switch"]) == ["### switch"]
    inner = re.findall(r"(?m)^##+ .*$", PARTS["documents"])
    assert inner == ["## Documents", "### Fields of every step"]


def test_what_looks_like_a_heading_in_an_example_is_none() -> None:
    text = "## a\n```\n## b\n```\nc\n## d\ne\n"
    assert find_parts(text) == {"a": "## a\n```\n## b\n```\nc\n", "d": "## d\ne\n"}


@pytest.mark.parametrize(
    ("said", "heading"),
    [("cpf init", "### cpf init"), ("cpf-init", "### cpf init"), ("Kinds of Steps", "## Kinds of steps")],
)
def test_a_topic_may_be_said_as_the_heading_is(cpf: Cpf, said: str, heading: str) -> None:
    assert cpf("guide", said).text.splitlines()[0] == heading


def test_topics_are_listed(cpf: Cpf) -> None:
    assert cpf("guide", "--topics").text.splitlines() == TOPICS


def test_of_an_unknown_topic_the_likely_one_and_all_others_are_told(cpf: Cpf) -> None:
    answer = cpf("guide", "swich")
    assert (answer.code, answer.error_code) == (2, "ERR_USAGE")
    message = answer["error"]["message"]
    assert 'no part "swich"; did you mean "switch"?' in message
    assert all(topic in message for topic in PARTS)


def test_an_unknown_topic_like_no_other_is_told_without_a_guess(cpf: Cpf) -> None:
    answer = cpf("guide", "zzzzzzzzzz\n" * 50)
    assert answer.error_code == "ERR_USAGE"
    assert "did you mean" not in answer["error"]["message"]


# The whole


def test_the_guide_has_less_than_14000_words() -> None:
    assert len(TEXT.split()) < 14_000


def test_every_yaml_example_is_a_whole_document_and_so_is_validated() -> None:
    assert TEXT.count("```yaml\n") == TEXT.count("```yaml\nschema_version:")


def test_the_contents_list_every_part_in_its_order() -> None:
    listed = re.findall(r"(?m)^\d+\. \[(.*)\]\(#", TEXT)
    assert listed == [heading[3:] for heading in HEADINGS if heading.startswith("## ")]


def test_every_link_leads_to_a_heading() -> None:
    anchors = {re.sub(r"[^\w -]", "", heading.lstrip("# ").lower()).replace(" ", "-") for heading in HEADINGS}
    assert set(re.findall(r"\]\(#([^)]*)\)", TEXT)) <= anchors


@pytest.mark.parametrize("template", NAMES)
def test_every_template_is_there(template: str) -> None:
    assert f"| `{template}` |" in PARTS["init"]


def test_every_warning_is_there_with_what_to_do() -> None:
    known = re.findall(r"(?m)^\| (W\d+) ", advice.__doc__ or "")
    rows = dict(re.findall(r"(?m)^\| `(W\d+)` \| (.+ \| .+) \|$", PARTS["warnings"]))
    assert list(rows) == known


@pytest.mark.parametrize("struct", get_args(AnyStep), ids=lambda struct: struct.__struct_config__.tag)
def test_every_kind_of_step_is_there_with_its_fields(struct: Any) -> None:
    fields = struct.__struct_encode_fields__
    told = PARTS[struct.__struct_config__.tag] + PARTS["fields-of-every-step"] + PARTS["policies"]
    assert [field for field in fields if not re.search(rf"\b{field}\b", told)] == []


@pytest.mark.parametrize("struct", [Workflow, Defaults])
def test_every_field_of_a_document_is_there(struct: type[Workflow]) -> None:
    assert [f for f in struct.__struct_encode_fields__ if f"{f}:" not in PARTS["documents"]] == []


@pytest.mark.parametrize("name", sorted(expression.NAMES))
def test_every_name_of_expressions_is_there(name: str) -> None:
    assert re.search(rf"`{name}\b", PARTS["expressions"])


@pytest.mark.parametrize("name", functions.FUNCTIONS)
def test_every_function_is_there(name: str) -> None:
    assert f"`{name}(" in PARTS["expressions"]


LIMITS = {
    source: [
        "MAX_BYTES",
        "MAX_DEPTH",
        "MAX_NODES",
        "MAX_TEXT",
        "MAX_TEXT_IN_ALL",
        "MAX_DIGITS",
        "MAX_PROBLEMS",
    ],
    checker: ["MAX_LEVELS"],
    advice: ["MAX_STEPS", "MAX_EVENTS"],
    sources: ["MAX_DOCUMENTS"],
    scanner: ["MAX_CHARACTERS", "MAX_LEVELS"],
    literals: ["MAX_DIGITS"],
    functions: ["MAX_DIGITS", "MAX_ELEMENTS"],
    scripts: ["MAX_ARGUMENT_BYTES", "MAX_HOLES", "MAX_DIGITS"],
    quoting: ["MAX_LEVELS"],
    jsontext: ["MAX_DEPTH"],
    defaults: ["MAX_INSTANCE_DEPTH"],
    patterns: ["MAX_PATTERN_CHARACTERS", "MAX_STEPS"],
    survey: ["MAX_NODES", "MAX_DEPTH", "MAX_DIGITS"],
    unevaluated: ["MAX_ALTERNATIVES"],
    kinds: ["MAX_ITEMS"],
    http: ["MAX_REDIRECTS"],
}


@pytest.mark.parametrize(
    ("module", "name"),
    [(module, name) for module, names in LIMITS.items() for name in names],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_every_limit_is_there_as_it_is(module: object, name: str) -> None:
    assert re.search(rf"\b{getattr(module, name):,}\b", PARTS["limits"])


@pytest.mark.parametrize("module", [jsontext, http])
def test_sixteen_mebibytes_are_what_is_said(module: object) -> None:
    assert getattr(module, "MAX_BYTES") == 16 << 20  # noqa: B009
    assert "16 MiB" in PARTS["limits"]
