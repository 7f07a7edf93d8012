"""The kinds of values that stand in a document, with their limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

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
Seconds = Annotated[float, say("Seconds; at most ten years.", gt=0, le=315_360_000)]
Patience = Annotated[float, Meta(ge=0, le=315_360_000)]
Pause = Annotated[float, Meta(ge=0, le=86_400)]
Attempts = Annotated[int, Meta(ge=1, le=1000)]
Concurrency = Annotated[int, Meta(ge=1, le=1000)]
ExitCode = Annotated[int, Meta(ge=0, le=255)]
Command = Annotated[str, Meta(min_length=1, max_length=1_000_000)]
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
