"""The seam of the engine, as its docstring shows it to whoever writes a driver."""

from __future__ import annotations

import re
import subprocess
import sys
from textwrap import dedent
from typing import Any

import pytest

import checkpointflow.engine as engine
from checkpointflow.engine import Failure, Program, Run, Success, evolve
from checkpointflow.engine.actions import Action, Error, RunCommand
from checkpointflow.engine.evolution import apply
from tests.helpers import START, ask, branch, cli, end, parallel, workflow

(LOOP,) = re.findall(r"\n\n((?:    .*\n)+)\n", engine.__doc__ or "")


def drive(*steps: dict[str, Any], failing: str | None = None) -> tuple[str, list[Any], Run]:
    """What the loop of the docstring says in the end, what it did in order, and the run that it came to."""
    did: list[Any] = []

    def perform(action: Action) -> Success | Failure:
        assert isinstance(action, RunCommand)
        did.append(action.path)
        return (
            Failure(Error("ERR_STEP_FAILED", "no")) if action.path == failing else Success(outputs={"n": 1})
        )

    names = {name: getattr(engine, name) for name in engine.__all__}
    names |= {
        "now": lambda: START,
        "program": Program(workflow(*steps)),
        "run_id": "R",
        "inputs": {},
        "digest": "d",
        "perform": perform,
        "save": lambda run, facts: did.append(facts),
        "print": lambda last: did.append(last),
    }
    exec(dedent(LOOP), names)
    return str(did.pop()), did, names["run"]


def test_it_has_nine_lines() -> None:
    assert len(LOOP.splitlines()) == 9


def test_it_drives_a_run_to_its_end() -> None:
    said, did, run = drive(cli("a"), cli("b"), end("fin", result="${steps.a.outputs.n}"))
    assert said == "Completion(result=1)"
    assert [what for what in did if isinstance(what, str)] == ["a", "b"]
    saved = [fact for facts in did if isinstance(facts, list) for fact in facts]
    folded = None
    for fact in saved:
        folded = evolve(folded, fact)
    assert folded == run
    assert apply(None, saved) == apply(None, saved, run.checkpoint_id) == run
    with pytest.raises(ValueError, match="begins once"):
        evolve(run, saved[0])


def test_it_saves_before_it_performs_and_performs_nothing_that_has_fallen_away() -> None:
    _, did, run = drive(parallel("par", branch("x", cli("a")), branch("y", cli("b"))), failing="par[x]/a")
    assert [isinstance(what, list) for what in did] == [True, False, True, False, True]
    assert run.status == "failed"
    _, did, _ = drive(cli("a"), cli("b"), failing="a")
    assert [what for what in did if isinstance(what, str)] == ["a"]


def test_it_stops_where_the_run_waits() -> None:
    said, _, run = drive(ask("q"))
    assert "q_event" in said
    assert list(engine.waits(run)) == ["q"]


@pytest.mark.parametrize("name", engine.__all__)
def test_every_name_of_the_seam_is_there(name: str) -> None:
    assert getattr(engine, name) is not None


def test_another_name_is_not() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        engine.nothing  # noqa: B018


def test_the_rules_are_imported_when_they_are_asked_for() -> None:
    script = (
        "import sys, checkpointflow.engine as e; print([m for m in sys.modules if m.startswith(e.__name__)])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['checkpointflow.engine']"
