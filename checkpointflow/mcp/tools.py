"""The tools: one for each workflow, or two for all where there are many, and those that a run needs later."""

from __future__ import annotations

from typing import Any, NamedTuple

from checkpointflow.diagnostics import shorten
from checkpointflow.mcp.flows import Flow, describe_flow, find_flows, make_input_schema
from checkpointflow.mcp.host import Host

MAX_TOOLS = 20

Schema = dict[str, Any]

LOOKS = {"readOnlyHint": True, "openWorldHint": False}
STARTS = {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": False}
ENDS = {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": True}
GOES_ON = {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": True}

_OBJECTS: Schema = {"type": "array", "items": {"type": "object"}}
ONE_RUN: Schema = {
    "type": "object",
    "required": ["status"],
    "properties": {
        "status": {"enum": ["running", "waiting", "completed", "failed", "cancelled", "error"]},
        "run_id": {"type": "string"},
        "result": {"description": "What a completed run has come to."},
        "waits": {**_OBJECTS, "description": "What it waits for, and from whom."},
        "error": {"type": "object"},
        "note": {"type": "string"},
        "next": {**_OBJECTS, "description": "What can be done now."},
    },
}


class Tool(NamedTuple):
    """A tool of ours: what it does, takes and gives, and what a client may expect of it."""

    description: str
    takes: Schema
    gives: Schema
    hints: dict[str, bool]


def _text(description: str, longest: int = 1000) -> Schema:
    return {"type": "string", "description": description, "minLength": 1, "maxLength": longest}


def _take(*required: str, **properties: Schema) -> Schema:
    head = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**head, "required": list(required)} if required else head


def _give(name: str) -> Schema:
    return {"type": "object", "properties": {name: _OBJECTS}}


_RUN_ID = _text("The run: its id, or enough of its end.", 64)
_STEP = _text("The path of a step of the run.")

_FULL = {
    "type": "boolean",
    "default": False,
    "description": "All of it; else long values are cut to 16 KiB in all.",
}

OWN = {
    "cpf_wait": Tool(
        "Wait until a run rests: it waits for somebody, or has ended. Answers after a while in any case; "
        "call it again while it is running. Takes up a run whose driver was killed.",
        _take("run_id", run_id=_RUN_ID, full=_FULL),
        ONE_RUN,
        GOES_ON,
    ),
    "cpf_answer": Tool(
        "Answer what a run asks you, such as a wait of audience agent, and follow it until it rests. What "
        "asks a user is refused.",
        _take(
            "run_id",
            "step",
            "answer",
            run_id=_RUN_ID,
            step=_text("The path of the step that waits."),
            answer={"description": "Fits the wait's input_schema."},
        ),
        ONE_RUN,
        STARTS,
    ),
    "cpf_runs": Tool(
        "List the latest runs, or those that wait for somebody.",
        _take(
            waiting_for={"enum": ["user", "agent", "system"], "description": "Only runs that wait for one."},
            workflow=_text("Only runs of the workflow with this id."),
            limit={"type": "integer", "minimum": 1, "maximum": 100, "default": 10},
        ),
        _give("runs"),
        LOOKS,
    ),
    "cpf_logs": Tool(
        "Show what the steps of a run printed.",
        _take(
            "run_id",
            run_id=_RUN_ID,
            step=_STEP,
            tail={
                "type": "integer",
                "minimum": 1,
                "maximum": 1000,
                "default": 40,
                "description": "Lines of each.",
            },
        ),
        _give("logs"),
        LOOKS,
    ),
    "cpf_retry": Tool(
        "Go on with a run that failed (the failed step again, or the earlier one named) or was interrupted.",
        _take("run_id", run_id=_RUN_ID, step=_STEP),
        ONE_RUN,
        STARTS,
    ),
    "cpf_cancel": Tool(
        "Stop a run for good.",
        _take("run_id", "reason", run_id=_RUN_ID, reason=_text("Why; it is kept with the run.")),
        ONE_RUN,
        ENDS,
    ),
}
FOR_MANY = {
    "cpf_flows": Tool(
        "List the workflows, or show one with the schema of its inputs.",
        _take(workflow=_text("The id of the one to show.")),
        _give("flows"),
        LOOKS,
    ),
    "cpf_run": Tool(
        "Start a run of a workflow, and follow it until it rests.",
        _take(
            "workflow",
            workflow=_text("The id of a workflow that cpf_flows lists."),
            inputs={"type": "object", "description": "What it takes, as cpf_flows shows it."},
            run_key=_text("Of your own: the same call again with it finds the run that it started.", 256),
        ),
        ONE_RUN,
        STARTS,
    ),
}


def list_tools(host: Host) -> list[dict[str, Any]]:
    """All tools, as a client is told of them; in the same order each time."""
    flows = list_flows(host)
    own = FOR_MANY | OWN if len(flows) > MAX_TOOLS else OWN
    shown = {} if len(flows) > MAX_TOOLS else flows
    return [_show_flow(name, flow) for name, flow in shown.items()] + [
        {
            "name": name,
            "description": tool.description,
            "inputSchema": tool.takes,
            "outputSchema": tool.gives,
            "annotations": tool.hints,
        }
        for name, tool in own.items()
    ]


def list_flows(host: Host) -> dict[str, Flow]:
    """The workflows by the names of their tools."""
    return find_flows(host.store.base, {*OWN, *FOR_MANY})


def _show_flow(name: str, flow: Flow) -> dict[str, Any]:
    return {
        "name": name,
        "title": flow.workflow.name or flow.workflow.id,
        "description": describe_flow(flow),
        "inputSchema": make_input_schema(flow),
        "outputSchema": ONE_RUN,
        "annotations": STARTS,
    }


def make_rows(flows: list[Flow], *, with_inputs: bool) -> list[dict[str, Any]]:
    """What `cpf_flows` tells of them."""
    return [
        {
            "id": flow.workflow.id,
            "description": describe_flow(flow) if with_inputs else shorten(describe_flow(flow), 200),
            **({"inputs": flow.workflow.inputs} if with_inputs else {}),
        }
        for flow in flows
    ]
