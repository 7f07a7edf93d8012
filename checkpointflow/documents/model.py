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


def say(description: str, *examples: Any, **limits: Any) -> Meta:
    """What the published schema says of a field, for editors and for people."""
    return Meta(description=description, examples=list(examples) or None, **limits)


Name = Annotated[str, Meta(pattern=NAME, max_length=128)]
Target = Annotated[Name, say("The id of a step in the same list.")]
Text = Annotated[str, Meta(max_length=1_000_000)]
Seconds = Annotated[float, say("Seconds; at most ten years.", gt=0, le=315_360_000)]
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


class Retry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How often a failed step is tried again, and how long to wait before."""

    max_attempts: Annotated[int, say("Attempts in all, the first included.", ge=1, le=1000)]
    backoff_seconds: Annotated[float, say("The pause before the second attempt.", ge=0, le=86_400)] = 1
    max_backoff_seconds: Annotated[float, say("No pause is longer than this.", ge=0, le=86_400)] = 300
    strategy: Annotated[
        Literal["fixed", "exponential"],
        say("`fixed`: the same pause each time; `exponential`: twice as long each time."),
    ] = "exponential"
    on: Annotated[
        tuple[StatusCode, ...],
        say("Of `api` steps: status codes to try again after, besides 408, 425, 429 and 5xx.", [404, 409]),
    ] = ()


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
    timeout_seconds: Annotated[float, say("How long to wait for it.", ge=0, le=315_360_000)] = 0


class Artifact(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A file that the step leaves behind, copied into the run."""

    name: Annotated[Name, say("What the run calls it.")]
    path: Annotated[Text, say("Where the step leaves it, relative to the step's working directory.")]
    media_type: Annotated[str | None, say("What kind of file it is, for whoever reads it.", "text/html")] = (
        None
    )


class ExitCodes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """When a command has succeeded."""

    exit_codes: Annotated[
        tuple[Annotated[int, Meta(ge=0, le=255)], ...],
        say("The exit codes that count as success.", min_length=1),
    ] = (0,)


class StatusCodes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """When a call has succeeded."""

    status_codes: Annotated[
        tuple[StatusCode, ...], say("The HTTP status codes that count as success.", min_length=1)
    ] = (200, 201, 202, 204)


class Step(
    Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True, omit_defaults=True
):
    """What every kind of step has."""

    id: Annotated[Name, say("The step's name, unique in the document.")]
    name: Annotated[str | None, say("A title for people.")] = None
    description: Annotated[str | None, say("What the step does, for people and agents.")] = None
    when: Annotated[
        Condition | None,
        say(
            "The step is skipped unless this condition holds.",
            "steps.review.outputs.ok",
            '${inputs.environment == "production"}',
        ),
    ] = field(default=None, name="if")
    risk_level: Annotated[
        str | None, say("How much care the step asks for, such as low, medium or high.")
    ] = None
    tags: Annotated[tuple[str, ...], say("Words to find the step by.")] = ()


class Recoverable(Step, frozen=True, kw_only=True):
    """A step after which the body goes on: all kinds but `end`."""

    on_error: Annotated[
        Literal["continue"] | Goto | None,
        say(
            "What a failure leads to instead of ending the run: going on, or a step.",
            "continue",
            {"next": "rollback"},
        ),
    ] = None


class Sequenced(Recoverable, frozen=True, kw_only=True):
    """A step that may name the one after it."""

    next: Annotated[Target | None, say("The step to go to instead of the following one.")] = None


class ActionStep(Sequenced, frozen=True, kw_only=True):
    """A step that does something in the world: it may fail, be tried again, or be cut short."""

    timeout_seconds: Annotated[Seconds | None, say("After this the step is stopped and has failed.")] = None
    retry: Annotated[Retry | None, say(Retry.__doc__ or "", {"max_attempts": 3})] = None
    outputs: Outputs = None
    lock: Annotated[Lock | None, say(Lock.__doc__ or "")] = None
    idempotency_key: Annotated[
        Text | None, say("Given to the step as CPF_IDEMPOTENCY_KEY, the same for all its attempts.")
    ] = None
    idempotent: Annotated[bool, say("Safe to run twice: after a crash it is run again unasked.")] = False


class Cli(ActionStep, frozen=True, kw_only=True, tag="cli"):
    """Runs a shell command. JSON on stdout or in the file $CPF_OUTPUT becomes its outputs."""

    command: Annotated[
        Command | Annotated[tuple[Command, ...], Meta(min_length=1)],
        say(
            "The command, or a list of commands, which ends with the first that fails; may hold "
            "`${…}`: values reach the shell as data; `${file:…}` is the name of a file that holds the value.",
            "echo ${inputs.name}",
            ["make", "make install"],
        ),
    ]
    shell: Annotated[Shell | None, say("The shell that runs it (default sh).")] = None
    fail_fast: Annotated[
        bool | None, say("Whether it ends with its first line that fails, as by `set -e` (default true).")
    ] = None
    cwd: Annotated[
        Text | None, say("Its working directory, relative to the one where the run was started.")
    ] = None
    env: Annotated[
        dict[
            Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$(?!\n)", max_length=256)],
            str | bool | int | float,
        ],
        say("Environment variables to add; values may hold `${…}`.", {"LC_ALL": "C"}),
    ] = {}
    success: Annotated[ExitCodes, say("When it has succeeded.", {"exit_codes": [0, 1]})] = ExitCodes()
    artifacts: Annotated[
        tuple[Artifact, ...], say("Files that the step leaves behind, copied into the run.")
    ] = ()


class Api(ActionStep, frozen=True, kw_only=True, tag="api"):
    """Makes an HTTP call. A JSON object in the answer becomes its outputs, anything else `{"body": …}`."""

    url: Annotated[
        Text,
        say("http or https; may hold `${…}`.", "https://api.example.com/items/${inputs.id}", min_length=1),
    ]
    method: Annotated[
        Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"], say("The HTTP method.")
    ] = "GET"
    headers: Annotated[
        dict[str, str | bool | int | float],
        say("Headers to send; values may hold `${…}`.", {"Accept": "application/json"}),
    ] = {}
    body: Annotated[
        Any,
        say(
            "Sent as JSON, as a form where the header Content-Type says so, or as it is "
            "when it is text; may hold `${…}`."
        ),
    ] = UNSET
    success: Annotated[StatusCodes, say("When it has succeeded.", {"status_codes": [200, 404]})] = (
        StatusCodes()
    )


class AwaitEvent(Sequenced, frozen=True, kw_only=True, tag="await_event"):
    """Stops the run until an event comes from outside; the event's payload becomes the step's outputs."""

    audience: Annotated[Literal["user", "agent", "system"], say("Who is to answer.")]
    event_name: Annotated[
        str,
        say(
            "The event's name, for `cpf resume --event`.",
            "change_approval",
            pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$(?!\n)",
            max_length=128,
        ),
    ]
    input_schema: Annotated[JsonSchema, say("What the event's payload must fit.")] = {}
    prompt: Annotated[Text | None, say("What is asked; may hold `${…}`.")] = None
    summary: Annotated[Text | None, say("What the answer is about; may hold `${…}`.")] = None
    instructions: Annotated[Text | None, say("How to answer, for an agent; may hold `${…}`.")] = None
    transitions: Annotated[
        tuple[Transition, ...], say("Where an event leads; the first that holds is taken.")
    ] = ()
    timeout_seconds: Annotated[Seconds | None, say("After this the wait is over.")] = None
    on_timeout: Annotated[
        Goto | None, say("Where to go when the wait is over; without it the step fails.")
    ] = None


class Switch(Recoverable, frozen=True, kw_only=True, tag="switch"):
    """Goes to the first case that holds, else to `default`; with neither the step fails."""

    cases: Annotated[tuple[Transition, ...], say("The first that holds is taken.", min_length=1)]
    default: Annotated[Target | None, say("The step to go to when no case holds.")] = None


class Foreach(Sequenced, frozen=True, kw_only=True, tag="foreach"):
    """Runs a body, or another workflow, once for each item of a list."""

    items: Annotated[
        Text | list[Any], say("A list, or an expression that gives one.", "inputs.files", ["eu", "us"])
    ]
    body: Annotated[
        Steps | None, say("The steps to run for each item; they see `item` and `item_index`.")
    ] = None
    workflow_ref: Annotated[str | None, say("A document, relative to this one, to run for each item.")] = None
    inputs: Annotated[dict[str, Any], say("The called workflow's inputs; may hold `${item}`.")] = {}
    max_concurrency: Annotated[int, say("How many items at once.", ge=1, le=1000)] = 1
    outputs: Outputs = None


class Branch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A branch of a parallel step: `start_at` a step of the same list, or steps of its own."""

    start_at: Annotated[Target | None, say("The step of this list that the branch begins with.")] = None
    id: Annotated[Name | None, say("The branch's name.")] = None
    steps: Annotated[Steps | None, say("The branch's own steps.")] = None


class Parallel(Sequenced, frozen=True, kw_only=True, tag="parallel"):
    """Runs all branches at once, and goes on when all have ended."""

    branches: Annotated[tuple[Branch, ...], say("What is run at once.", min_length=1)]
    outputs: Outputs = None


class Call(Sequenced, frozen=True, kw_only=True, tag="workflow"):
    """Runs another workflow inside this run; its result becomes the step's outputs."""

    workflow_ref: Annotated[str, say("A document, relative to this one.", min_length=1)]
    inputs: Annotated[dict[str, Any], say("Its inputs; may hold `${…}`.")] = {}
    outputs: Outputs = None


class End(Step, frozen=True, kw_only=True, tag="end"):
    """Ends the scope it stands in: the run, the called workflow, the iteration or the branch."""

    result: Annotated[Any, say("What it ends with; may hold `${…}`.", {"status": "done"})] = UNSET


AnyStep = Cli | Api | AwaitEvent | Switch | Foreach | Parallel | Call | End
Steps = Annotated[tuple[AnyStep, ...], Meta(min_length=1)]


class Defaults(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What steps have that do not say otherwise."""

    shell: Annotated[Shell | None, say("The shell of `cli` steps.")] = None
    fail_fast: Annotated[
        bool, say("Whether the commands of `cli` steps end with their first line that fails.")
    ] = True
    timeout_seconds: Annotated[Seconds | None, say("For `cli` and `api` steps.")] = None
    retry: Annotated[Retry | None, say("For `cli` and `api` steps.")] = None
    cwd: Annotated[
        Text | None, say("The working directory of `cli` steps, relative to where the run was started.")
    ] = None
    allow_hosts: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[a-z0-9._:-]+$(?!\n)", max_length=253)], ...],
        say("Hosts that data and redirects may lead `api` steps to, though not public."),
    ] = ()


class Invariant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What holds on every way that a run can go: one of `never`, `always` and `at_most_once`."""

    never: Annotated[Name | None, say("The id of a step that never begins, unless `unless` holds then.")] = (
        None
    )
    unless: Annotated[
        Condition | None,
        say("The condition under which it may.", 'steps.approve.outputs.decision == "approve"'),
    ] = None
    always: Annotated[Name | None, say("The id of a step that has succeeded before `before`.")] = None
    before: Annotated[Name, say("The id of a step, or `end`: the end of a run that completes.")] = "end"
    at_most_once: Annotated[Name | None, say("The id of a step that is tried at most once.")] = None


class Workflow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is done, with what, and what comes of it."""

    id: Annotated[Name, say("The workflow's name for machines.")]
    steps: Annotated[Steps, say("What is done, in order.")]
    name: Annotated[str | None, say("The workflow's name for people.")] = None
    description: Annotated[str | None, say("What it is for.")] = None
    version: Annotated[str | int | float | None, say("The author's version of this document.", "1.0.0")] = (
        None
    )
    defaults: Annotated[Defaults, say("What steps have that do not say otherwise.")] = Defaults()
    inputs: Annotated[JsonSchema, say("What the run's inputs must fit; `default`s are filled in.")] = {}
    outputs: Annotated[
        JsonSchema | None,
        say(
            "The run's result: each property takes the value of the path in its `from`.",
            {"type": "object", "properties": {"url": {"from": "steps.publish.outputs.url"}}},
        ),
    ] = None
    invariants: Annotated[
        tuple[Invariant, ...],
        say("What holds on every way, as `cpf explore` proves or refutes; a run does not look at it."),
    ] = ()


def properties_of(schema: Any) -> dict[Any, Any]:
    """The properties that *schema*, right or wrong, names."""
    found = schema.get("properties") if isinstance(schema, dict) else None
    return found if isinstance(found, dict) else {}


def drop_mapping(outputs: dict[str, Any]) -> dict[str, Any]:
    """A workflow's `outputs` as the JSON Schema that its result must fit: without each property's `from`."""
    properties = properties_of(outputs)
    if not properties:
        return outputs
    own = {
        name: {key: entry[key] for key in entry if key != "from"} if isinstance(entry, dict) else entry
        for name, entry in properties.items()
    }
    return {**outputs, "properties": own}


class Document(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole document."""

    schema_version: Annotated[Literal["checkpointflow/v1"], say("The version of this format.")]
    workflow: Annotated[Workflow, say("The workflow itself.")]
