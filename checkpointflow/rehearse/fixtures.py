"""Tests of a workflow as data: what a file `NAME.test.yaml` says, which is also its published schema."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct

from checkpointflow.documents.parts import say

SCHEMA_VERSION = "checkpointflow-test/v1"

Status = Literal["completed", "failed", "cancelled", "waiting"]


class Said(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What every part of a fixture has: no field that nobody knows."""


class Pattern(Said, frozen=True, kw_only=True):
    """A text by a regular expression, which must be found in it."""

    matches: Annotated[str, say("A regular expression; `^` and `$` hold it to the whole text.", "^v[0-9]+$")]


Wanted = str | Pattern


class Fails(Said, frozen=True, kw_only=True):
    """A failure, as `on_error` and `steps.ID.error` see it."""

    code: Annotated[str, say("What failures are told apart by.")] = "ERR_STEP_FAILED"
    message: Annotated[str, say("What it says.")] = "it failed, as the test has it"
    details: Annotated[Any, say("More of it, as data.")] = None


class Play(Said, frozen=True, kw_only=True):
    """What an attempt of a `cli` or `api` step comes to; nothing is started, unless it is `real`."""

    outputs: Annotated[Any, say("What becomes its outputs.", {"artifact": "app.tgz"})] = UNSET
    stdout: Annotated[
        str | None, say("What it prints; a JSON object becomes its outputs if none are given.")
    ] = None
    stderr: Annotated[str | None, say("What it prints there; its last line is told of a failure.")] = None
    exit_code: Annotated[
        Annotated[int, Meta(ge=0, le=255)] | None,
        say("How a command ends; one that is no success is a failure."),
    ] = None
    status_code: Annotated[
        Annotated[int, Meta(ge=100, le=599)] | None,
        say("How a call is answered; one that is no success is a failure."),
    ] = None
    headers: Annotated[dict[str, str], say("The headers of an answer.")] = {}
    artifacts: Annotated[
        tuple[str, ...] | None,
        say("The artifacts that it leaves behind, files of a set as `reports/a.xml` (else: all)."),
    ] = None
    fails: Annotated[Fails | bool, say("It fails, with this.", True, {"code": "ERR_NO_ROUTE"})] = False
    times_out: Annotated[bool, say("It takes longer than its `timeout_seconds`.")] = False
    real: Annotated[bool, say("It is really run, or called.")] = False


class ErrorWanted(Said, frozen=True, kw_only=True):
    """What a run is expected to fail of."""

    code: Annotated[str | None, say("The code of its error.", "ERR_TIMEOUT")] = None
    step: Annotated[str | None, say("The step that failed: its id, or its path.", "each[1]/convert")] = None
    message: Annotated[Wanted | None, say("What it says.")] = None


class Expectation(Said, frozen=True, kw_only=True):
    """What is to come of it. What is left out is not looked at, but for `status`."""

    status: Annotated[
        Status | None,
        say("How it ends (`completed`, unless `error`, `waiting_for` or `refused` say otherwise)."),
    ] = None
    waiting_for: Annotated[str | None, say("The event, or the step, that it waits for at last.")] = None
    result: Annotated[
        Any,
        say("The whole result; for a text in it, `{matches: …}` may stand.", {"url": {"matches": "^https:"}}),
    ] = UNSET
    error: Annotated[ErrorWanted | None, say("What it fails of.")] = None
    refused: Annotated[
        Wanted | None,
        say("What is said of its inputs, or of an answer, that are not taken; no more follows."),
    ] = None
    path: Annotated[
        tuple[str, ...] | None,
        say(
            "The steps that it comes to, in order, by their ids; those in bodies count, too, if one is named "
            "by its path.",
            ["build", "approve", "deploy"],
            ["each", "each[0]/book", "each[1]/book"],
        ),
    ] = None
    never: Annotated[tuple[str, ...], say("Steps that it does not come to, or skips.", ["rollback"])] = ()
    commands: Annotated[
        dict[str, Wanted | tuple[Wanted, ...]],
        say(
            "What is run, or called, with the values in their places, by steps; of several attempts a list.",
            {"deploy": "kubectl apply -f app.tgz", "notify": {"matches": "^POST https://hooks"}},
        ),
    ] = {}


class Case(Said, frozen=True, kw_only=True):
    """One test: what goes in, what steps and questions come to, and what is to come of it."""

    name: Annotated[str, say("What it shows, as a sentence.", "a release is announced", min_length=1)]
    inputs: Annotated[Any, say("The inputs of the run.", {"version": "1.2.3"})] = {}
    env: Annotated[
        dict[str, str | bool | int | float], say("What `${env.NAME}` gives.", {"REGION": "eu"})
    ] = {}
    steps: Annotated[
        dict[str, Play | tuple[Play, ...]],
        say(
            "What steps come to, by their ids (every visit, iteration and attempt) or by paths "
            "(`each[1]/convert`, `review@2`); of a list, an attempt after the other, and the last one stays.",
            {"build": {"outputs": {"artifact": "app.tgz"}}, "deploy": [{"exit_code": 1}, {"outputs": {}}]},
        ),
    ] = {}
    answers: Annotated[
        dict[str, Any],
        say(
            "What is answered, by events, or by steps as above; a list: one after the other, and no more. "
            "`{times_out: true}`: nobody answers in time.",
            {"approve": {"decision": "approve"}, "lead_answer": {"times_out": True}},
        ),
    ] = {}
    cancel: Annotated[
        str | None, say("The step at which somebody cancels the run: while it is under way, or asks.")
    ] = None
    expect: Annotated[Expectation, say("What is to come of it.")] = Expectation()


class Fixture(Said, frozen=True, kw_only=True):
    """The tests of a workflow."""

    schema_version: Annotated[Literal["checkpointflow-test/v1"], say("The version of this format.")]
    workflow: Annotated[
        str | None,
        say("The workflow, relative to this file (else: the file of this name without `.test`)."),
    ] = None
    tests: Annotated[tuple[Case, ...], say("The tests.", min_length=1)]
