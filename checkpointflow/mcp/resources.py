"""What can be read: the guide, runs, and what their steps printed."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

from checkpointflow.cli.encoding import encode
from checkpointflow.cli.guide import GUIDE, read_topics
from checkpointflow.errors import CheckpointflowError
from checkpointflow.mcp.host import Host
from checkpointflow.mcp.protocol import INVALID_PARAMS, ProtocolError
from checkpointflow.mcp.runs import ask

PREFIX = "cpf://"
MAX_LISTED = 50
MARKDOWN, JSON = "text/markdown", "application/json"

TEMPLATES = [
    {"uriTemplate": "cpf://guide/{topic}", "name": "A part of the guide", "mimeType": MARKDOWN},
    {"uriTemplate": "cpf://runs/{run_id}", "name": "All about a run", "mimeType": JSON},
    {"uriTemplate": "cpf://runs/{run_id}/logs", "name": "What the steps of a run printed", "mimeType": JSON},
    {"uriTemplate": "cpf://runs/{run_id}/logs/{step}", "name": "What a step printed", "mimeType": JSON},
]


def list_resources(host: Host) -> list[dict[str, Any]]:
    """The guide, and the latest runs."""
    rows = ask(host, "list", f"--limit={MAX_LISTED}").result["runs"]
    runs = [
        {
            "uri": f"{PREFIX}runs/{quote(row['run_id'])}",
            "name": f"{row.get('workflow_id', 'run')} {row['run_id']}",
            "description": row["status"],
            "mimeType": JSON,
        }
        for row in rows
    ]
    return [{"uri": f"{PREFIX}guide", "name": "The guide to cpf", "mimeType": MARKDOWN}, *runs]


def read_resource(host: Host, uri: str) -> dict[str, Any]:
    """What lies at *uri*. Raises ProtocolError if that is nothing."""
    try:
        found = _read(host, [unquote(part) for part in uri.removeprefix(PREFIX).split("/")])
    except CheckpointflowError as error:
        raise ProtocolError(INVALID_PARAMS, str(error), {"uri": uri}) from None
    if found is None or not uri.startswith(PREFIX):
        raise ProtocolError(INVALID_PARAMS, "Resource not found", {"uri": uri})
    return {"contents": [{"uri": uri, "mimeType": found[0], "text": found[1]}]}


def _read(host: Host, parts: list[str]) -> tuple[str, str] | None:
    match parts:
        case ["guide"]:
            return MARKDOWN, GUIDE.read_text(encoding="utf-8")
        case ["guide", topic]:
            part = read_topics().get(topic)
            return None if part is None else (MARKDOWN, part)
        case ["runs", run_id]:
            return _ask(host, "inspect", f"--run-id={run_id}")
        case ["runs", run_id, "logs"]:
            return _ask(host, "logs", f"--run-id={run_id}")
        case ["runs", run_id, "logs", *path] if any(path):
            return _ask(host, "logs", f"--run-id={run_id}", f"--step={'/'.join(path)}")
        case _:
            return None


def _ask(host: Host, *words: str) -> tuple[str, str]:
    return JSON, encode(ask(host, *words)).decode()
