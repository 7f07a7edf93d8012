"""What a run begins with: inputs that fit, defaults filled in, only what can be run."""

from __future__ import annotations

import msgspec
import pytest

from checkpointflow.documents.program import Program
from checkpointflow.errors import InvalidInput
from tests.helpers import Story, cli

SCHEMA = {
    "type": "object",
    "required": ["page"],
    "properties": {"page": {"type": "string"}, "n": {"type": "integer", "default": 3}},
}


def story(given: object) -> Story:
    made = Story(cli("a", "echo ${inputs.n}"), begun=False)
    made.workflow = Program(msgspec.structs.replace(made.workflow.workflow, inputs=SCHEMA))
    return made.begin(given)


def test_an_absent_input_takes_its_default() -> None:
    assert story({"page": "x"}).run.inputs == {"page": "x", "n": 3}


def test_inputs_that_do_not_fit_are_refused_with_all_that_is_wrong() -> None:
    with pytest.raises(InvalidInput) as refusal:
        story({"n": "many"})
    assert len(refusal.value.details) == 2


@pytest.mark.parametrize("given", [None, [], "text", 3])
def test_inputs_are_an_object(given: object) -> None:
    with pytest.raises(InvalidInput):
        Story(cli("a"), begun=False).begin(given)


def test_a_run_knows_its_document() -> None:
    identity = Story(cli("a"), version=2).run.workflow
    assert (identity.id, identity.version, identity.digest, identity.source) == ("w", "2", "d", "w.yaml")
