"""What is found on the ways through a workflow, each with a way that leads there."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct

from checkpointflow.diagnostics import Path

Severity = Literal["mistake", "doubt", "note"]
Then = Literal["asks", "runs_again", "may_run_twice"]

KINDS: dict[str, Severity] = {
    "no_value": "mistake",  # a reference that leads nowhere, a condition that does not say
    "refused_answer": "mistake",  # it fits the schema, and no transition takes it
    "no_case": "mistake",  # a switch without a default
    "bad_outputs": "mistake",  # of a block, or of the run
    "bad_inputs": "mistake",  # of a called workflow
    "stuck_wait": "mistake",  # nobody can leave it
    "endless_loop": "mistake",  # no way leads out
    "unreached_step": "mistake",  # on no way
    "broken_rule": "mistake",  # an invariant
    "undeclared_output": "doubt",  # somebody reads it
    "bad_key": "doubt",  # of an item: its schema can seldom say what a key must be
    "unbounded_loop": "doubt",  # it can go on for ever, and nobody is asked
    "uncaught_failure": "note",  # it ends the run
}


class Way(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What happens on a way, in its order: the inputs, then what steps come to and what is answered.

    env: the environment variables that the document declares.
    """

    inputs: Any
    env: dict[str, str] = {}
    events: tuple[dict[str, Any], ...] = ()


class Finding(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """kind: one of KINDS; step: its id; way: a shortest one, if one leads there.

    at: where it stands in its document; document: the `workflow_ref`s that lead to that, none to the first.
    """

    kind: str
    severity: Severity
    message: str
    step: str | None = None
    at: Path = ()
    document: tuple[str, ...] = ()
    way: Way | None = None


class Ending(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a run can come to, and a shortest way there. step: where it failed."""

    status: str
    result: Any = UNSET
    code: str | None = None
    step: str | None = None
    way: Way | None = None


class Crash(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What follows if cpf is killed while *step* is under way.

    then: somebody is asked (`asks`), it runs again since it may (`runs_again`), or though it may then have
    run twice (`may_run_twice`); other_ends: those that cannot be come to without the crash.
    """

    step: str
    then: Then
    other_ends: tuple[str, ...] = ()


class Exploration(Struct, frozen=True, kw_only=True):
    """What was found. complete: but for *limits*, nothing was left out; ways: None if they never end."""

    states: int
    complete: bool
    ways: int | None
    limits: tuple[str, ...]
    endings: tuple[Ending, ...]
    findings: tuple[Finding, ...]
    rules: dict[str, str]
    crashes: tuple[Crash, ...] = ()
