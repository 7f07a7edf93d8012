"""Ways that were found by exploring, as tests that come to the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import UNSET, convert

from checkpointflow.diagnostics import shorten
from checkpointflow.documents.program import Program
from checkpointflow.engine.path import split
from checkpointflow.engine.run import waits
from checkpointflow.explore.findings import Ending, Exploration, Finding, Way
from checkpointflow.explore.moves import MADE_UP
from checkpointflow.rehearse.fixtures import Case
from checkpointflow.rehearse.recording import tell_end
from checkpointflow.rehearse.rehearsal import rehearse
from checkpointflow.rehearse.writing import write_flow, write_tests

_SAID = ("outputs", "stdout", "stderr", "exit_code", "status_code")
_KNOWN = ("succeeds", "fails", "answered", "times_out")


def make_test(program: Program, name: str, way: Way, expect: dict[str, Any]) -> dict[str, Any] | None:
    """The test *name* in which what happens on *way* is said; None if no test can say it: cpf is killed."""
    test: dict[str, Any] = {"name": name, "inputs": way.inputs, "env": way.env, "cancel": None}
    test |= {"steps": {}, "answers": {}}
    for event in way.events:
        if event["what"] == "cancelled":
            test["cancel"] = _find_next(program, test)
        elif event["what"] in _KNOWN:
            part, said = _tell(event)
            test[part][event["step"]] = said
        else:
            return None
    return {**{key: value for key, value in test.items() if value not in ({}, None)}, "expect": expect}


def _find_next(program: Program, test: dict[str, Any]) -> str:
    """The first step that the run of *test* comes to and that does, or asks, what the test does not say."""
    came = rehearse(program, convert(test, Case))
    assert came.run is not None, "a way begins"
    open_ = {one.path for one in came.issued} | waits(came.run).keys()
    return next(
        path for path in came.entered if path in open_ - test["steps"].keys() - test["answers"].keys()
    )


def _tell(event: dict[str, Any]) -> tuple[str, Any]:
    """What a step comes to, or what is answered, and under which of the two that stands."""
    if event["what"] == "answered":
        answer = event["answer"]
        return "answers", [answer] if isinstance(answer, list) else answer
    if event["what"] == "times_out":
        return "answers", {"times_out": True}
    play = {key: event[key] for key in _SAID if key in event}
    if event["what"] == "fails":
        play["fails"] = {"code": event["code"], "message": MADE_UP}
    return "steps", play


def write_ways(program: Program, found: Any, workflow: str | None) -> str:
    """A file of tests of the *workflow*: of each end that was *found*, and each mistake and doubt.

    found: an Exploration, as data. They pass as things are now. What no test can say is named in comments:
    ways on which cpf is killed, and those that lead only so far that the run needs more to be said.
    """
    tests, untold = list[dict[str, Any]](), list[str]()
    names: dict[str, int] = {}
    for name, way, expect in _list_found(convert(found, Exploration)):
        names[name] = names.get(name, 0) + 1
        name += f" ({names[name]})" if names[name] > 1 else ""
        test = None if way is None else make_test(program, name, way, expect)
        if test is not None and not expect:
            test["expect"] = _find_end(program, test)
        if test is not None and test["expect"]:
            tests.append(test)
        elif way is not None:
            untold.append(f"# no test can say: {name}\n")
    return write_tests(tests, workflow) + "".join(untold)


def _list_found(found: Exploration) -> Iterator[tuple[str, Way | None, dict[str, Any]]]:
    """Each end, mistake and doubt: its name, the way there, what comes of it as far as that is told."""
    for ending in found.endings:
        yield _name_ending(ending), ending.way, _tell_ending(ending)
    for one in found.findings:
        if one.severity != "note":
            yield _name_finding(one), one.way, {}


def _name_ending(ending: Ending) -> str:
    if ending.status == "completed":
        return (
            "completed" if ending.result is UNSET else f"completed, {shorten(write_flow(ending.result), 80)}"
        )
    return "cancelled" if ending.code is None else f"failed at {ending.step or 'its end'}, {ending.code}"


def _name_finding(finding: Finding) -> str:
    step = f"{finding.step}, " if finding.step else ""
    return shorten(f"{finding.severity}: {step}{finding.message}", 100)


def _tell_ending(ending: Ending) -> dict[str, Any]:
    """What a test expects, by what was found."""
    if ending.status == "completed":
        return {"status": "completed"} if ending.result is UNSET else {"result": ending.result}
    if ending.code is None:
        return {"status": ending.status}
    if ending.step is None:
        return {"error": {"code": ending.code}}
    return {"error": {"code": ending.code, "step": split(ending.step)[1]}}


def _find_end(program: Program, test: dict[str, Any]) -> dict[str, Any]:
    """The same by what comes of it now."""
    came = rehearse(program, convert(test, Case))
    if came.refused is not None:
        return {"refused": came.refused}
    return {} if came.run is None or came.gaps else tell_end(came.run)
