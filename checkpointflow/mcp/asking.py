"""Requests to a client of the older revisions: one for each question, however many calls wait for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from checkpointflow.mcp.forms import Question

Send = Callable[[dict[str, Any]], None]


class Asked:
    """A question that a person has in front of them.

    awaited: by how many calls; is_taken: whether one of them has the answer.
    """

    def __init__(self, number: str, run_id: str, question: Question) -> None:
        self.number, self.run_id, self.question = number, run_id, question
        self.result: dict[str, Any] | None = None
        self.awaited = 0
        self.is_taken = False


class Asking:
    """The questions that are out, by the ids of our requests."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._out: dict[str, Asked] = {}
        self._count = 0

    def put(self, run_id: str, question: Question) -> Asked:
        """Have a person asked, unless they are already."""
        for asked in self._out.values():
            if (asked.run_id, asked.question.key) == (run_id, question.key):
                return asked
        self._count += 1
        asked = self._out[f"ask-{self._count}"] = Asked(f"ask-{self._count}", run_id, question)
        self._send({"id": asked.number, **question.request})
        return asked

    def withdraw(self, asked: Asked) -> None:
        """Have nobody answer what was answered elsewhere."""
        if self._out.pop(asked.number, None) is not None:
            notice = {"requestId": asked.number, "reason": "it was answered elsewhere"}
            self._send({"method": "notifications/cancelled", "params": notice})

    def hear(self, message: dict[str, Any]) -> Asked | None:
        """The question that a client's response *message* answers; None for one that is not out."""
        number = message.get("id")
        asked = self._out.pop(number, None) if isinstance(number, str) else None
        if asked is not None:
            result = message.get("result")
            refused = {"action": "refused"} if "error" in message else {"action": "cancel"}
            asked.result = result if isinstance(result, dict) else refused
        return asked
