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

from checkpointflow.documents.parts import (
    Artifact,
    Command,
    Concurrency,
    Condition,
    ExitCodes,
    Goto,
    Hole,
    ItemCount,
    JsonSchema,
    Lock,
    Name,
    OneOf,
    Outputs,
    Queue,
    Retry,
    Seconds,
    Shell,
    StatusCodes,
    Target,
    Text,
    Transition,
    Variable,
    Whole,
    say,
)

SCHEMA_VERSION = "checkpointflow/v1"

# Fields that are as if they were not there if nothing stands behind their colon.
MAY_BE_EMPTY = (
    *("defaults", "inputs", "env", "headers", "tags", "artifacts", "success", "transitions", "input_schema"),
)


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
            "default(inputs.size, 0) + 1 > 10",
            'inputs.region in ["eu", "us"] and not ends_with(inputs.file, ".bak")',
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

    timeout_seconds: Annotated[
        Seconds | Hole | None, say("After this the step is stopped and has failed.")
    ] = None
    retry: Annotated[Retry | None, say(Retry.__doc__ or "", {"max_attempts": 3})] = None
    outputs: Outputs = None
    lock: Annotated[Lock | None, say(Lock.__doc__ or "")] = None
    idempotency_key: Annotated[
        Text | None, say("Given to the step as CPF_IDEMPOTENCY_KEY, the same for all its attempts.")
    ] = None
    idempotent: Annotated[bool, say("Safe to run twice: after a crash it is run again unasked.")] = False
    runs_on: Annotated[
        Queue | None, say("On a cluster: the queue of the workers that may do it.", "gpu", "eu-west.build")
    ] = None


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
        dict[Variable, str | bool | int | float],
        say("Environment variables to add; values may hold `${…}`.", {"LC_ALL": "C"}),
    ] = {}
    stdin: Annotated[
        Any,
        say(
            "What the command reads on standard input: text as it is, all else as JSON; may hold `${…}`, and "
            "up to 64 MiB. Without it there is nothing to read.",
            "${steps.fetch.outputs}",
        ),
    ] = UNSET
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
    timeout_seconds: Annotated[Seconds | Hole | None, say("After this the wait is over.")] = None
    on_timeout: Annotated[
        Goto | None, say("Where to go when the wait is over; without it the step fails.")
    ] = None


class Switch(Recoverable, frozen=True, kw_only=True, tag="switch"):
    """Goes to the first case that holds, else to `default`; with neither the step fails."""

    cases: Annotated[tuple[Transition, ...], say("The first that holds is taken.", min_length=1)]
    default: Annotated[Target | None, say("The step to go to when no case holds.")] = None


class Range(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Numbers as items: so many from 0 on, or those from one to another."""

    count: Annotated[ItemCount | Text | None, say("How many numbers, from 0 on.", 10)] = None
    first: Annotated[Whole | Text | None, say("The first number.", 1)] = field(default=None, name="from")
    to: Annotated[Whole | Text | None, say("Where they end; itself one of them.", "${inputs.pages}")] = None
    by: Annotated[Whole | Text, say("From each to the next; below 0, they go down.", -1)] = 1


class Foreach(Sequenced, frozen=True, kw_only=True, tag="foreach"):
    """Runs a body, or another workflow, once for each item of a list."""

    items: Annotated[
        Text | list[Any] | Range,
        say(
            "A list, an expression that gives one, or numbers.",
            "inputs.files",
            ["eu", "us"],
            {"count": 10},
            {"from": 1, "to": "${inputs.pages}"},
        ),
    ]
    body: Annotated[
        Steps | None, say("The steps to run for each item; they see `item` and `item_index`.")
    ] = None
    workflow_ref: Annotated[
        str | None,
        say("A document, relative to this one, to run for each item; with `one_of` it may hold `${…}`."),
    ] = None
    one_of: OneOf = ()
    inputs: Annotated[dict[str, Any], say("The called workflow's inputs; may hold `${item}`.")] = {}
    max_concurrency: Annotated[Concurrency | Hole, say("How many items at once.")] = 1
    key: Annotated[
        Text | None,
        say(
            "What an item is called in the paths of its steps, in place of its number: letters, digits, "
            "`-`, `_` and `.`, and no two the same.",
            "order-${item.id}",
        ),
    ] = None
    on_item_error: Annotated[
        Literal["stop", "continue"],
        say("What an item that failed leads to: no other begins and the step fails, or all others go on."),
    ] = "stop"
    max_failures: Annotated[
        ItemCount | None,
        say("With `on_item_error: continue`: how many items may fail; one more fails the step."),
    ] = None
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

    workflow_ref: Annotated[
        str, say("A document, relative to this one; with `one_of` it may hold `${…}`.", min_length=1)
    ]
    one_of: OneOf = ()
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
    timeout_seconds: Annotated[Seconds | Hole | None, say("For `cli` and `api` steps.")] = None
    retry: Annotated[Retry | None, say("For `cli` and `api` steps.")] = None
    cwd: Annotated[
        Text | None, say("The working directory of `cli` steps, relative to where the run was started.")
    ] = None
    env: Annotated[
        dict[Variable, str | bool | int | float],
        say(
            "Environment variables of `cli` steps, under their own; values may hold `${…}`.",
            {"LC_ALL": "C", "REGION": "${inputs.region}"},
        ),
    ] = {}
    env_file: Annotated[
        Annotated[str, Meta(min_length=1, max_length=4096)] | None,
        say(
            "A file of lines NAME=value, relative to this document: more of them, under `env`. A run reads "
            "it when it starts and keeps it, so it is no place for secrets: `${secrets.NAME}` is for them.",
            "defaults.env",
        ),
    ] = None
    runs_on: Annotated[
        Queue | None,
        say("For `cli` and `api` steps, on a cluster: the queue of the workers that may do them."),
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
    env: Annotated[
        tuple[Variable, ...],
        say(
            "Environment variables that expressions may read as `${env.NAME}`. A run reads them when it "
            "starts, so that they must be set then, and keeps them; `${secrets.NAME}` is for secrets.",
            ["REGION", "BUILD_NUMBER"],
        ),
    ] = ()
    outputs: Annotated[
        JsonSchema | None,
        say(
            "The run's result: each property takes the value of the path in its `from`.",
            {"type": "object", "properties": {"url": {"from": "steps.publish.outputs.url"}}},
        ),
    ] = None
    cleanup: Annotated[
        Steps | None,
        say(
            "What is done once the steps have completed, failed or been cancelled, whichever it was "
            "(`run.outcome`).",
            [{"id": "tear_down", "kind": "cli", "command": "make down"}],
        ),
    ] = field(default=None, name="finally")
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
