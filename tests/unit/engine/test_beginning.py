"""What a run begins with: inputs that fit, defaults filled in, only what can be run."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from checkpointflow.documents.program import Program
from checkpointflow.engine.actions import Success
from checkpointflow.engine.messages import Begin, Report
from checkpointflow.engine.rules import advance
from checkpointflow.errors import InvalidInput
from checkpointflow.store.history import fold
from tests.helpers import START, Story, cli, end, workflow

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


def test_a_run_has_the_environment_variables_that_its_documents_declare() -> None:
    inner = Program(workflow(end("z", result="${env.B}"), env=["B"]))
    call = {"id": "call", "kind": "workflow", "workflow_ref": "w"}
    program = Program(workflow(cli("a", "${env.A}"), call, env=["A"]), {"w": inner})
    begin = Begin(now=START, run_id="R1", inputs={}, digest="d", env={"A": "1", "B": "2", "C": "3"})
    run, facts = advance(program, None, begin)
    assert (run.env, list(run.steps["a"].action.variables.values())) == ({"A": "1", "B": "2"}, ["1"])
    run, more = advance(program, run, Report(now=START, path="a", attempt=1, outcome=Success(outputs={})))
    assert run.steps["call"].outputs == "2"
    assert fold([*facts, *more]) == run
    for env, problem in (({"A": "1"}, "names it: B"), ({"A": "1", "B": "\udcff"}, "B is not UTF-8")):
        with pytest.raises(InvalidInput, match=problem):
            advance(program, None, replace(begin, env=env))
