"""What a run hears, and has decided: handed over within a process, from its workflow to a local activity."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from checkpointflow.drivers.temporal.wire import Request, Start, Taken
from checkpointflow.engine.actions import Action, StoredFile
from checkpointflow.engine.facts import Fact
from checkpointflow.engine.messages import Message
from checkpointflow.engine.run import Run
from checkpointflow.store.locks import Wish


class Question(NamedTuple):
    """What a run hears as one, and whoever wants to know what follows.

    idle: with a request: the actions that nobody is at; adopted: facts that follow on the checkpoint *after*.
    """

    answer: asyncio.Future[Taken]
    now: str
    messages: tuple[Message, ...] = ()
    request: Request | None = None
    adopted: list[Fact] | None = None
    after: str = ""
    wish: Wish | None = None
    idle: tuple[Action, ...] = ()


class Case(NamedTuple):
    """What is to be decided, for the local activity in this same process: it is handed over as it is."""

    start: Start
    run: Run
    facts: list[Fact]
    questions: list[Question]
    left: dict[str, StoredFile]
    seals: dict[str, StoredFile]
    is_foreign: bool


CASES: dict[str, Case] = {}
