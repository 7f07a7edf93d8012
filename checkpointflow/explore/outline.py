"""What a plan is: the steps ahead as a tree, in the order in which they come."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from msgspec import UNSET, Struct

Of = Literal["run", "workflow", "item", "branch", "finally"]
Why = Literal["done", "answer", "case", "else", "skipped", "fails", "times_out"]


class Ending(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Here ends what is said. step: the `end` step that ends it; result: what it ends with."""

    ends: Of
    status: Literal["completed", "failed"]
    step: str | None = None
    result: Any = UNSET


class Jump(Struct, frozen=True, kw_only=True):
    """It goes on with a step that is told elsewhere."""

    goto: str
    shown: Literal["above", "below"]


class Command(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A command, as one would type it. env, stdin: what it is given besides."""

    command: str
    shell: str
    cwd: str | None = None
    env: dict[str, str] = {}
    stdin: Any = UNSET


class HttpCall(Struct, frozen=True, kw_only=True, omit_defaults=True):
    method: str
    url: str
    headers: dict[str, str] = {}
    body: Any = UNSET


class Question(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """answer: a JSON Schema; refuses: whether an answer may fit it, and be refused all the same."""

    audience: str
    event_name: str
    prompt: str | None = None
    summary: str | None = None
    answer: dict[str, Any] = {}
    refuses: bool = False


class Loop(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """over: what it goes over; count: how many are left, if that is known; at_once: how many may be.

    may_fail: how many items may without failing the step; None: all.
    """

    over: str
    count: int | None = None
    at_once: int | str = 1
    may_fail: int | None = 0


class Limits(Struct, frozen=True, kw_only=True, omit_defaults=True):
    attempts: int | str = 1
    timeout_seconds: float | str | None = None
    lock: str | None = None


class Arm(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One way on. when: the condition, or the seconds; sure: whether it is the one."""

    why: Why
    when: str | None = None
    sure: bool = False
    way: tuple[Item, ...] = ()


class Inner(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A body of a block. name: a branch, a key or an index, `each`, a document; fails: why it will not."""

    name: str
    item: Any = UNSET
    way: tuple[Item, ...] = ()
    cleanup: tuple[Item, ...] = ()
    fails: str | None = None


class Step(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step. runs: whether it does, None if that is known later; condition: its `if`; now: how it stands;
    fails: what it surely fails of; goes_on: a failure changes nothing of where it leads.
    """

    step: str
    kind: str
    name: str | None = None
    runs: bool | None = True
    condition: str | None = None
    now: str | None = None
    fails: str | None = None
    does: Command | HttpCall | Question | Loop | Ending | None = None
    limits: Limits | None = None
    goes_on: bool = False
    bodies: tuple[Inner, ...] = ()
    arms: tuple[Arm, ...] = ()


Item: TypeAlias = Step | Jump | Ending


class Plan(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is ahead. cleanup: the `finally`, whatever the steps come to; cut: there is more to tell."""

    workflow: str
    inputs: dict[str, Any]
    way: tuple[Item, ...]
    cleanup: tuple[Item, ...] = ()
    cut: bool = False
