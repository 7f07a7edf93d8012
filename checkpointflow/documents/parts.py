"""What the steps of a document are made of: kinds of values, with their limits, and policies."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

# To Python `$` also fits before a final line break.
NAME = r"^[A-Za-z_][A-Za-z0-9_-]*$(?!\n)"

# A parameter that is no text takes a text that is one hole, whose value is judged when its step begins.
HOLE = r"^\$\{[\s\S]*\}$(?!\n)"


def say(description: str, *examples: Any, **limits: Any) -> Meta:
    """What the published schema says of a field, for editors and for people."""
    return Meta(description=description, examples=list(examples) or None, **limits)


Name = Annotated[str, Meta(pattern=NAME, max_length=128)]
Target = Annotated[Name, say("The id of a step in the same list.")]
Text = Annotated[str, Meta(max_length=1_000_000)]
Hole = Annotated[str, say("A `${…}` with such a value.", pattern=HOLE)]
# Without a pattern of its own: msgspec crashes where a text that has one may also be a list.
ListHole = Annotated[str, say("A `${…}` with such a list.", extra_json_schema={"pattern": HOLE})]
Seconds = Annotated[float, say("Seconds; at most ten years.", gt=0, le=315_360_000)]
Patience = Annotated[float, Meta(ge=0, le=315_360_000)]
Pause = Annotated[float, Meta(ge=0, le=86_400)]
Attempts = Annotated[int, Meta(ge=1, le=1000)]
Concurrency = Annotated[int, Meta(ge=1, le=1000)]
ExitCode = Annotated[int, Meta(ge=0, le=255)]
Command = Annotated[str, Meta(min_length=1, max_length=1_000_000)]
Whole = Annotated[int, Meta(ge=-(2**53), le=2**53)]
ItemCount = Annotated[int, Meta(ge=0, le=100_000)]
StatusCode = Annotated[int, Meta(ge=100, le=599)]
Shell = Literal["sh", "bash", "dash", "zsh", "pwsh"]
JsonSchema = Annotated[
    dict[str, Any],
    say(
        "A JSON Schema (2020-12).",
        {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}},
    ),
]
Outputs = Annotated[JsonSchema | None, say("What the step's outputs must fit.")]
Condition = bool | Text
OneOf = Annotated[
    tuple[str, ...],
    say(
        "The documents that a `workflow_ref` with `${…}` may name; all are checked, and kept with the run.",
        ["flows/dev.yaml", "flows/production.yaml"],
    ),
]
Variable = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$(?!\n)", max_length=256)]


class Retry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How often a failed step is tried again, and how long to wait before."""

    max_attempts: Annotated[Attempts | Hole, say("Attempts in all, the first included.")]
    backoff_seconds: Annotated[Pause | Hole, say("The pause before the second attempt.")] = 1
    max_backoff_seconds: Annotated[Pause | Hole, say("No pause is longer than this.")] = 300
    strategy: Annotated[
        Literal["fixed", "exponential"],
        say("`fixed`: the same pause each time; `exponential`: twice as long each time."),
    ] = "exponential"
    on: Annotated[
        tuple[StatusCode | Hole, ...] | ListHole,
        say("Of `api` steps: status codes to try again after, besides 408, 425, 429 and 5xx.", [404, 409]),
    ] = ()

    def __post_init__(self) -> None:
        _check_list(self.on)


class Goto(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to go on."""

    next: Target


class Transition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Goes to `next` when the condition holds; the first that holds is taken."""

    when: Annotated[
        Condition,
        say(
            "A condition; the `${…}` around it may be left out.",
            '${event.decision == "approve"}',
            "inputs.size > 100",
            True,
        ),
    ]
    next: Target


class Lock(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A named lock that all runs of one store share, held while the step runs."""

    key: Annotated[
        str,
        say(
            "The lock's name; may hold `${…}`.", "deploy-${inputs.environment}", min_length=1, max_length=1000
        ),
    ]
    timeout_seconds: Annotated[Patience | Hole, say("How many seconds to wait for it.")] = 0


class Artifact(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A file, or a set of files, that the step leaves behind, copied into the run."""

    name: Annotated[Name, say("What the run calls it.")]
    path: Annotated[
        Text,
        say(
            "Where the step leaves it, relative to the step's working directory; may hold `${…}`. `reports/` "
            "is all below a directory, and `*`, `?` and `**` mean all files whose names match.",
            "dist/app.tar.gz",
            "reports/",
            "**/*.xml",
        ),
    ]
    if_missing: Annotated[
        Literal["fail", "skip"],
        say("What comes of it where there is none: the step has failed, or it has no such artifact."),
    ] = "fail"
    media_type: Annotated[str | None, say("What kind of file it is, for whoever reads it.", "text/html")] = (
        None
    )


class ExitCodes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """When a command has succeeded."""

    exit_codes: Annotated[
        Annotated[tuple[ExitCode | Hole, ...], Meta(min_length=1)] | ListHole,
        say("The exit codes that count as success."),
    ] = (0,)

    def __post_init__(self) -> None:
        _check_list(self.exit_codes)


class StatusCodes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """When a call has succeeded."""

    status_codes: Annotated[
        Annotated[tuple[StatusCode | Hole, ...], Meta(min_length=1)] | ListHole,
        say("The HTTP status codes that count as success."),
    ] = (200, 201, 202, 204)

    def __post_init__(self) -> None:
        _check_list(self.status_codes)


def _check_list(said: Any) -> None:
    """What msgspec does itself of a `Hole`. Raises ValueError, which it makes its own error of."""
    if isinstance(said, str) and not re.search(HOLE, said):
        raise ValueError("expected a list")
