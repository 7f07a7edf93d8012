"""Addresses of steps and bodies in a run.

A path reads like a file name: `deploy/plan` is the step `plan` of the workflow that the step `deploy`
calls, `each[3]/convert` a step of the fourth iteration, `checks[lint]/run` a step of a branch, and
`review@2` the second visit of `review`. The root body is `.`.

    path    = segment *( "/" segment )
    segment = step-id [ "@" visit ] [ "[" (index / branch) "]" ]

Step ids hold no `/`, `@`, `[` or `.`, so a path is never ambiguous, and is safe as a file name.
"""

from __future__ import annotations

import re

ROOT = "."

_STEP = r"[A-Za-z_][A-Za-z0-9_-]*(?:@[1-9][0-9]{0,8})?"
_KEY = r"\[[A-Za-z0-9_-]+\]"
_PATH = re.compile(rf"(?:{_STEP}(?:{_KEY})?/)*{_STEP}")


def is_path(text: str) -> bool:
    """Whether *text* could be the path of a step; nothing else may become part of a file name."""
    return len(text) <= 4096 and _PATH.fullmatch(text) is not None


def at(body: str, step: str, visit: int = 1) -> str:
    """The path of *step* on its *visit*-th visit (from 1) in *body*."""
    name = step if visit == 1 else f"{step}@{visit}"
    return name if body == ROOT else f"{body}/{name}"


def inside(block: str, key: str) -> str:
    """The path of the body called *key* of the block at *block*; a called workflow's has no key."""
    return f"{block}[{key}]" if key else block


def owner(body: str) -> tuple[str, str]:
    """The block that *body* belongs to, and its key there; the inverse of `inside`."""
    block, bracket, key = body.removesuffix("]").rpartition("[")
    return (block, key) if bracket and body.endswith("]") else (body, "")


def within(path: str, body: str) -> bool:
    """Whether *path* lies in *body*, however deep."""
    return path.startswith(body + "/")


def split(path: str) -> tuple[str, str, int]:
    """The body, the step id and the visit that *path* names; the inverse of `at`."""
    body, _, name = path.rpartition("/")
    step, _, visit = name.partition("@")
    return body or ROOT, step, int(visit or 1)
