"""A document full of mistakes is told of all of them in one call, each with its line and its file."""

from __future__ import annotations

import pytest

from tests.conftest import Answer, Cpf

# Each mistake stands on a line with a comment that says what is to be told of it.
MAIN = """\
schema_version: checkpointflow/v1
workflow:
  id: ten
  inputs:
    type: object
    additionalProperties: false
    properties:
      page: { type: strin } #: "strin"
      limit: { type: integer, minimun: 3 } #: minimun
  steps:
    - id: plan
      kind: cli
      comand: plan ${inputs.page} #: unknown field "comand" in a cli step
      command: plan ${inputs.pag} #: inputs has no "pag"
    - id: ask
      kind: await_event
      audience: users #: expected "agent", "system" or "user", and found "users"
      event_name: answer
      transitions:
        - { when: event.ok ==, next: apply } #: expected a value
        - { when: not event.ok, next: rejectd } #: there is no step "rejectd"
    - id: apply
      kind: cli
      command: apply ${steps.pln.outputs.file} #: there is no step "pln"
      timeout_seconds: -1 #: expected a number above 0
    - id: plan #: a second step with the id "plan", first at 11:11
      kind: workflow
      workflow_ref: parts/sub.yaml
    - id: gone
      kind: workflow
      workflow_ref: parts/gone.yaml #: gone.yaml
    - { id: rejected, kind: ende } #: unknown kind "ende"
"""
SUB = """\
schema_version: checkpointflow/v1
workflow:
  id: sub
  steps:
    - { id: a, kind: cli, command: make, next: b } #: there is no step "b"
"""


def marked(text: str) -> list[tuple[int, str]]:
    """The lines of *text* at which something is to be told, and what."""
    lines = enumerate(text.splitlines(), 1)
    return [(number, line.split("#: ")[1]) for number, line in lines if "#: " in line]


@pytest.fixture(params=["validate", "run"])
def answer(cpf: Cpf, request: pytest.FixtureRequest) -> Answer:
    (cpf.cwd / "parts").mkdir()
    cpf.write("parts/sub.yaml", SUB)
    return cpf(request.param, "-f", cpf.write("main.yaml", MAIN))


def test_all_are_told_at_once_with_their_files_and_lines(answer: Answer) -> None:
    found = [(detail["file"], detail["line"], detail["message"]) for detail in answer["error"]["details"]]
    expected = [
        (file, line, words)
        for file, text in (("main.yaml", MAIN), ("parts/sub.yaml", SUB))
        for line, words in marked(text)
    ]
    assert len(expected) == 13
    assert [entry[:2] for entry in found] == [entry[:2] for entry in expected]
    assert [words for (*_, words), (*_, told) in zip(expected, found, strict=True) if words not in told] == []


def test_the_message_tells_the_first_and_how_many_more(answer: Answer) -> None:
    assert answer["error"]["message"].startswith("main.yaml:8:")
    assert "(and 12 more)" in answer["error"]["message"]


def test_each_has_a_column_and_an_address(answer: Answer) -> None:
    for detail in answer["error"]["details"]:
        assert detail["column"] >= 1
        assert detail["path"].startswith("workflow.")


def test_likely_words_are_offered(answer: Answer) -> None:
    hints = [detail.get("hint", "") for detail in answer["error"]["details"]]
    for word in ("command", "page", "user", "rejected", "plan", "end"):
        assert any(f'did you mean "{word}"?' in hint for hint in hints), word


def test_nothing_is_run_and_nothing_stored(cpf: Cpf, answer: Answer) -> None:
    assert answer.code in (10, 80)
    assert not cpf.base.exists()
