"""Addresses of steps and bodies in a run.

A path reads like a file name: `deploy/plan` is the step `plan` of the workflow that the step `deploy`
calls, `each[3]/convert` a step of the fourth iteration, `checks[lint]/run` a step of a branch, and
`review@2` the second visit of `review`. The root body is `.`. `@finally/clean` is a step of the workflow's
`finally`, `deploy/@finally/clean` one of that of the workflow that `deploy` calls.

    path    = *( segment "/" ) step-id [ "@" visit ]
    segment = step-id [ "@" visit ] [ "[" (index / key / branch) "]" ] / "@finally"

Step ids hold no `/`, `@`, `[` or `.`, and keys no `/`, `[` or `]`, so a path is never ambiguous, and
is safe as a file name.
"""

from __future__ import annotations

from typing import Any

ROOT = "."
FINALLY = "@finally"

MAX_PATH = 4096
MAX_KEY = 100  # so that a name with it is one that every file system takes

_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
_DIGITS = frozenset("0123456789")
_OF_NAMES = _LETTERS | _DIGITS | {"-"}
_OF_KEYS = _OF_NAMES | {"."}


def is_path(text: str) -> bool:
    """Whether *text* could be the path of a step; nothing else may become part of a file name."""
    *blocks, step = text.split("/")
    return len(text) <= MAX_PATH and _is_step(step) and all(map(_is_body, blocks))


def _is_body(text: str) -> bool:
    step, bracket, key = text.partition("[")
    has_key = key[-1:] == "]" and key != "]" and set(key[:-1]) <= _OF_KEYS
    return (_is_step(step) and (not bracket or has_key)) or text == FINALLY


def _is_step(text: str) -> bool:
    name, at_sign, visit = text.partition("@")
    is_name = name[:1] in _LETTERS and set(name) <= _OF_NAMES
    is_visit = 0 < len(visit) < 10 and set(visit) <= _DIGITS and visit[0] != "0"
    return is_name and (not at_sign or is_visit)


def find_key_fault(key: Any) -> str | None:
    """Why *key* cannot be what an item is called in paths, in words that go after it; None if it can."""
    if not isinstance(key, str) or not key:
        return "is empty" if key == "" else "is neither text nor a whole number"
    if not _OF_KEYS.issuperset(key):
        odd = next(character for character in key if character not in _OF_KEYS)
        return f"holds {odd!a}, and may hold letters, digits, -, _ and . only"
    return None if len(key) <= MAX_KEY else f"has {len(key)} characters, and may have at most {MAX_KEY}"


def step_path(body: str, step: str, visit: int = 1) -> str:
    """The path of *step* on its *visit*-th visit (from 1) in *body*."""
    name = step if visit == 1 else f"{step}@{visit}"
    return name if body == ROOT else f"{body}/{name}"


def body_path(block: str, key: str) -> str:
    """The path of the body called *key* of the block at *block*; a called workflow's has no key."""
    return f"{block}[{key}]" if key else block


def owner(body: str) -> tuple[str, str]:
    """The block that *body* belongs to, and its key there; the inverse of `body_path`."""
    block, bracket, key = body.removesuffix("]").rpartition("[")
    return (block, key) if bracket and body.endswith("]") else (body, "")


def finally_path(body: str) -> str:
    """The path of the body of the `finally` that follows *body*."""
    return FINALLY if body == ROOT else f"{body}/{FINALLY}"


def host_of(body: str) -> str | None:
    """The body that *body* follows if it is that of a `finally`; the inverse of `finally_path`."""
    host, _, name = body.rpartition("/")
    return (host or ROOT) if name == FINALLY else None


def is_in_finally(path: str) -> bool:
    """Whether the step or body at *path* is, or lies in, a `finally`."""
    return FINALLY in path.split("/")


def split(path: str) -> tuple[str, str, int]:
    """The body, the step id and the visit that *path* names; the inverse of `step_path`."""
    body, _, name = path.rpartition("/")
    step, _, visit = name.partition("@")
    return body or ROOT, step, int(visit or 1)
