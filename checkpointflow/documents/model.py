"""A workflow as data: what the document says, and nothing that happens to it.

Frozen Structs, one for each kind of step. They are also the published schema
(`schemas/checkpointflow.schema.json` is generated from them), so every field carries the words and the
examples that an editor shows. What no schema can say (targets, references, cycles) is for `checker.py`.
"""

# The annotations stay texts until somebody asks for them, as nobody does of a document that the cache has:
# to make all these `Annotated` at each start would take a twentieth of it.
from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, field

SCHEMA_VERSION = "checkpointflow/v1"

# To Python `$` also fits before a final line break.
NAME = r"^[A-Za-z_][A-Za-z0-9_-]*$(?!\n)"

# Fields that are as if they were not there if nothing stands behind their colon.
MAY_BE_EMPTY = (
    *("defaults", "inputs", "env", "headers", "tags", "artifacts", "success", "transitions", "input_schema"),
)

Target = Annotated[str, Meta(pattern=NAME, max_length=128, description="The id of a step in the same list.")]
Text = Annotated[str, Meta(max_length=1_000_000)]
Seconds = Annotated[float, Meta(gt=0, le=315_360_000, description="Seconds; at most ten years.")]
Attempts = Annotated[int, Meta(ge=1, le=1000)]
Shell = Literal["sh", "bash", "dash", "zsh", "pwsh"]
JsonSchema = Annotated[
    dict[str, Any],
    Meta(
        description="A JSON Schema (2020-12).",
        examples=[{"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}}],
    ),
]
Outputs = Annotated[JsonSchema | None, Meta(description="What the step's outputs must fit.")]
Condition = bool | Text


class Retry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How often a failed step is tried again, and how long to wait before."""

    max_attempts: Annotated[Attempts, Meta(description="Attempts in all, the first included.")]
    backoff_seconds: Annotated[
        float, Meta(ge=0, le=86_400, description="The pause before the second attempt.")
    ] = 1
    max_backoff_seconds: Annotated[
        float, Meta(ge=0, le=86_400, description="No pause is longer than this.")
    ] = 300
    strategy: Annotated[
        Literal["fixed", "exponential"],
        Meta(description="`fixed`: the same pause each time; `exponential`: twice as long each time."),
    ] = "exponential"
    on: Annotated[
        tuple[Annotated[int, Meta(ge=100, le=599)], ...],
        Meta(
            description="Of `api` steps: status codes to try again after, besides 408, 425, 429 and 5xx.",
            examples=[[404, 409]],
        ),
    ] = ()


class Goto(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to go on."""

    next: Target


class Transition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Goes to `next` when the condition holds; the first that holds is taken."""

    when: Annotated[
        Condition,
        Meta(
            description="A condition; the `${…}` around it may be left out.",
            examples=['${event.decision == "approve"}', "inputs.size > 100", True],
        ),
    ]
    next: Target


class Lock(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A named lock that all runs of one store share, held while the step runs."""

    key: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=1000,
            description="The lock's name; may hold `${…}`.",
            examples=["deploy-${inputs.environment}"],
        ),
    ]
    timeout_seconds: Annotated[float, Meta(ge=0, le=315_360_000, description="How long to wait for it.")] = 0


class Artifact(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A file that the step leaves behind, copied into the run."""

    name: Annotated[str, Meta(pattern=NAME, max_length=128, description="What the run calls it.")]
    path: Annotated[
        Text, Meta(description="Where the step leaves it, relative to the step's working directory.")
    ]
    media_type: Annotated[
        str | None, Meta(description="What kind of file it is, for whoever reads it.", examples=["text/html"])
    ] = None


class ExitCodes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """When a command has succeeded."""

    exit_codes: Annotated[
        tuple[Annotated[int, Meta(ge=0, le=255)], ...],
        Meta(min_length=1, description="The exit codes that count as success."),
    ] = (0,)


class StatusCodes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """When a call has succeeded."""

    status_codes: Annotated[
        tuple[Annotated[int, Meta(ge=100, le=599)], ...],
        Meta(min_length=1, description="The HTTP status codes that count as success."),
    ] = (200, 201, 202, 204)


class Step(
    Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True, omit_defaults=True
):
    """What every kind of step has."""

    id: Annotated[
        str, Meta(pattern=NAME, max_length=128, description="The step's name, unique in the document.")
    ]
    name: Annotated[str | None, Meta(description="A title for people.")] = None
    description: Annotated[str | None, Meta(description="What the step does, for people and agents.")] = None
    when: Annotated[
        Condition | None,
        Meta(
            description="The step is skipped unless this condition holds.",
            examples=["steps.review.outputs.ok", '${inputs.environment == "production"}'],
        ),
    ] = field(default=None, name="if")
    risk_level: Annotated[
        str | None, Meta(description="How much care the step asks for, such as low, medium or high.")
    ] = None
    tags: Annotated[tuple[str, ...], Meta(description="Words to find the step by.")] = ()


class Recoverable(Step, frozen=True, kw_only=True):
    """A step after which the body goes on: all kinds but `end`."""

    on_error: Annotated[
        Literal["continue"] | Goto | None,
        Meta(
            description="What a failure leads to instead of ending the run: going on, or a step.",
            examples=["continue", {"next": "rollback"}],
        ),
    ] = None


class Sequenced(Recoverable, frozen=True, kw_only=True):
    """A step that may name the one after it."""

    next: Annotated[Target | None, Meta(description="The step to go to instead of the following one.")] = None


class ActionStep(Sequenced, frozen=True, kw_only=True):
    """A step that does something in the world: it may fail, be tried again, or be cut short."""

    timeout_seconds: Annotated[
        Seconds | None, Meta(description="After this the step is stopped and has failed.")
    ] = None
    retry: Annotated[Retry | None, Meta(description=Retry.__doc__ or "", examples=[{"max_attempts": 3}])] = (
        None
    )
    outputs: Outputs = None
    lock: Annotated[Lock | None, Meta(description=Lock.__doc__ or "")] = None
    idempotency_key: Annotated[
        Text | None,
        Meta(description="Given to the step as CPF_IDEMPOTENCY_KEY, the same for all its attempts."),
    ] = None
    idempotent: Annotated[
        bool, Meta(description="Safe to run twice: after a crash it is run again unasked.")
    ] = False


class Cli(ActionStep, frozen=True, kw_only=True, tag="cli"):
    """Runs a shell command. JSON on stdout or in the file $CPF_OUTPUT becomes its outputs."""

    command: Annotated[
        Annotated[str, Meta(min_length=1, max_length=1_000_000)]
        | Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=1_000_000)], ...], Meta(min_length=1)],
        Meta(
            description="The command, or a list of commands, which ends with the first that fails; may hold "
            "`${…}`: values reach the shell as data; `${file:…}` is the name of a file that holds the value.",
            examples=["echo ${inputs.name}", ["make", "make install"]],
        ),
    ]
    shell: Annotated[Shell | None, Meta(description="The shell that runs it (default sh).")] = None
    fail_fast: Annotated[
        bool | None,
        Meta(description="Whether it ends with its first line that fails, as by `set -e` (default true)."),
    ] = None
    cwd: Annotated[
        Text | None, Meta(description="Its working directory, relative to the one where the run was started.")
    ] = None
    env: Annotated[
        dict[
            Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$(?!\n)", max_length=256)],
            str | bool | int | float,
        ],
        Meta(description="Environment variables to add; values may hold `${…}`.", examples=[{"LC_ALL": "C"}]),
    ] = field(default_factory=dict)
    success: Annotated[
        ExitCodes, Meta(description="When it has succeeded.", examples=[{"exit_codes": [0, 1]}])
    ] = ExitCodes()
    artifacts: Annotated[
        tuple[Artifact, ...], Meta(description="Files that the step leaves behind, copied into the run.")
    ] = ()


class Api(ActionStep, frozen=True, kw_only=True, tag="api"):
    """Makes an HTTP call. A JSON object in the answer becomes its outputs, anything else `{"body": …}`."""

    url: Annotated[
        Text,
        Meta(
            min_length=1,
            description="http or https; may hold `${…}`.",
            examples=["https://api.example.com/items/${inputs.id}"],
        ),
    ]
    method: Annotated[
        Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
        Meta(description="The HTTP method."),
    ] = "GET"
    headers: Annotated[
        dict[str, str | bool | int | float],
        Meta(
            description="Headers to send; values may hold `${…}`.", examples=[{"Accept": "application/json"}]
        ),
    ] = field(default_factory=dict)
    body: Annotated[
        Any,
        Meta(
            description="Sent as JSON, as a form where the header Content-Type says so, or as it is "
            "when it is text; may hold `${…}`."
        ),
    ] = UNSET
    success: Annotated[
        StatusCodes, Meta(description="When it has succeeded.", examples=[{"status_codes": [200, 404]}])
    ] = StatusCodes()


class AwaitEvent(Sequenced, frozen=True, kw_only=True, tag="await_event"):
    """Stops the run until an event comes from outside; the event's payload becomes the step's outputs."""

    audience: Annotated[Literal["user", "agent", "system"], Meta(description="Who is to answer.")]
    event_name: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$(?!\n)",
            max_length=128,
            description="The event's name, for `cpf resume --event`.",
            examples=["change_approval"],
        ),
    ]
    input_schema: Annotated[JsonSchema, Meta(description="What the event's payload must fit.")] = field(
        default_factory=dict
    )
    prompt: Annotated[Text | None, Meta(description="What is asked; may hold `${…}`.")] = None
    summary: Annotated[Text | None, Meta(description="What the answer is about; may hold `${…}`.")] = None
    instructions: Annotated[
        Text | None, Meta(description="How to answer, for an agent; may hold `${…}`.")
    ] = None
    transitions: Annotated[
        tuple[Transition, ...], Meta(description="Where an event leads; the first that holds is taken.")
    ] = ()
    timeout_seconds: Annotated[Seconds | None, Meta(description="After this the wait is over.")] = None
    on_timeout: Annotated[
        Goto | None, Meta(description="Where to go when the wait is over; without it the step fails.")
    ] = None


class Switch(Recoverable, frozen=True, kw_only=True, tag="switch"):
    """Goes to the first case that holds, else to `default`; with neither the step fails."""

    cases: Annotated[tuple[Transition, ...], Meta(min_length=1, description="The first that holds is taken.")]
    default: Annotated[Target | None, Meta(description="The step to go to when no case holds.")] = None


class Foreach(Sequenced, frozen=True, kw_only=True, tag="foreach"):
    """Runs a body, or another workflow, once for each item of a list."""

    items: Annotated[
        Text | list[Any],
        Meta(description="A list, or an expression that gives one.", examples=["inputs.files", ["eu", "us"]]),
    ]
    body: Annotated[
        Annotated[tuple[AnyStep, ...], Meta(min_length=1)] | None,
        Meta(description="The steps to run for each item; they see `item` and `item_index`."),
    ] = None
    workflow_ref: Annotated[
        str | None, Meta(description="A document, relative to this one, to run for each item.")
    ] = None
    inputs: Annotated[
        dict[str, Any], Meta(description="The called workflow's inputs; may hold `${item}`.")
    ] = field(default_factory=dict)
    max_concurrency: Annotated[int, Meta(ge=1, le=1000, description="How many items at once.")] = 1
    outputs: Outputs = None


class Branch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A branch of a parallel step: `start_at` a step of the same list, or steps of its own."""

    start_at: Annotated[
        Target | None, Meta(description="The step of this list that the branch begins with.")
    ] = None
    id: Annotated[
        Annotated[str, Meta(pattern=NAME, max_length=128)] | None, Meta(description="The branch's name.")
    ] = None
    steps: Annotated[
        Annotated[tuple[AnyStep, ...], Meta(min_length=1)] | None,
        Meta(description="The branch's own steps."),
    ] = None


class Parallel(Sequenced, frozen=True, kw_only=True, tag="parallel"):
    """Runs all branches at once, and goes on when all have ended."""

    branches: Annotated[tuple[Branch, ...], Meta(min_length=1, description="What is run at once.")]
    outputs: Outputs = None


class Call(Sequenced, frozen=True, kw_only=True, tag="workflow"):
    """Runs another workflow inside this run; its result becomes the step's outputs."""

    workflow_ref: Annotated[str, Meta(min_length=1, description="A document, relative to this one.")]
    inputs: Annotated[dict[str, Any], Meta(description="Its inputs; may hold `${…}`.")] = field(
        default_factory=dict
    )
    outputs: Outputs = None


class End(Step, frozen=True, kw_only=True, tag="end"):
    """Ends the scope it stands in: the run, the called workflow, the iteration or the branch."""

    result: Annotated[
        Any, Meta(description="What it ends with; may hold `${…}`.", examples=[{"status": "done"}])
    ] = UNSET


AnyStep = Cli | Api | AwaitEvent | Switch | Foreach | Parallel | Call | End


class Defaults(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What steps have that do not say otherwise."""

    shell: Annotated[Shell | None, Meta(description="The shell of `cli` steps.")] = None
    fail_fast: Annotated[
        bool, Meta(description="Whether the commands of `cli` steps end with their first line that fails.")
    ] = True
    timeout_seconds: Annotated[Seconds | None, Meta(description="For `cli` and `api` steps.")] = None
    retry: Annotated[Retry | None, Meta(description="For `cli` and `api` steps.")] = None
    cwd: Annotated[
        Text | None,
        Meta(description="The working directory of `cli` steps, relative to where the run was started."),
    ] = None
    allow_hosts: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[a-z0-9._:-]+$(?!\n)", max_length=253)], ...],
        Meta(description="Hosts that data and redirects may lead `api` steps to, though not public."),
    ] = ()


class Workflow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is done, with what, and what comes of it."""

    id: Annotated[str, Meta(pattern=NAME, max_length=128, description="The workflow's name for machines.")]
    steps: Annotated[tuple[AnyStep, ...], Meta(min_length=1, description="What is done, in order.")]
    name: Annotated[str | None, Meta(description="The workflow's name for people.")] = None
    description: Annotated[str | None, Meta(description="What it is for.")] = None
    version: Annotated[
        str | int | float | None,
        Meta(description="The author's version of this document.", examples=["1.0.0"]),
    ] = None
    defaults: Annotated[Defaults, Meta(description="What steps have that do not say otherwise.")] = Defaults()
    inputs: Annotated[
        JsonSchema, Meta(description="What the run's inputs must fit; `default`s are filled in.")
    ] = field(default_factory=dict)
    outputs: Annotated[
        JsonSchema | None,
        Meta(
            description="The run's result: each property takes the value of the path in its `from`.",
            examples=[{"type": "object", "properties": {"url": {"from": "steps.publish.outputs.url"}}}],
        ),
    ] = None


def drop_mapping(outputs: dict[str, Any]) -> dict[str, Any]:
    """A workflow's `outputs` as the JSON Schema that its result must fit: without each property's `from`."""
    properties = outputs.get("properties")
    if not isinstance(properties, dict):
        return outputs
    own = {
        name: {key: entry[key] for key in entry if key != "from"} if isinstance(entry, dict) else entry
        for name, entry in properties.items()
    }
    return {**outputs, "properties": own}


class Document(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole document."""

    schema_version: Annotated[Literal["checkpointflow/v1"], Meta(description="The version of this format.")]
    workflow: Annotated[Workflow, Meta(description="The workflow itself.")]
