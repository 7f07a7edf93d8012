"""What GitHub Actions wants to hear of an answer: mistakes with their lines, outputs of the step, a summary.

Commands to the runner go to stderr, where it reads them as well, so that stdout stays what it is. What data
wrote is escaped in all of them: no value becomes a command, a row or an output of its own.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import suppress

from checkpointflow.cli.envelope import Envelope, Reply
from checkpointflow.cli.screen import make_visible
from checkpointflow.diagnostics import Diagnostic
from checkpointflow.errors import CheckpointflowError, InvalidWorkflow

MAX_VALUE = 2000


def tell_github(answer: Reply, error: CheckpointflowError | None) -> None:
    """Tell the runner; what it gives no place for is left out."""
    for line in _list_commands(answer, error):
        sys.stderr.write(line + "\n")
    with suppress(OSError):
        _append(os.environ.get("GITHUB_OUTPUT"), "".join(_write_outputs(answer.envelope)))
        _append(os.environ.get("GITHUB_STEP_SUMMARY"), "".join(_write_summary(answer.envelope)))


def _append(file: str | None, text: str) -> None:
    if file and text:
        with open(file, "a", encoding="utf-8") as opened:
            opened.write(text)


def _list_commands(answer: Reply, error: CheckpointflowError | None) -> Iterator[str]:
    envelope = answer.envelope
    if isinstance(error, InvalidWorkflow):
        yield from (_write_command("error", problem) for problem in error.problems)
    elif envelope.error is not None:
        yield f"::error::{_escape(envelope.error.message)}"
    yield from (f"::warning::{_escape(warning)}" for warning in envelope.warnings)
    yield from (_write_command("warning", doubt) for doubt in answer.doubts)


def _write_command(kind: str, problem: Diagnostic) -> str:
    place = f"file={_escape_property(problem.file or '')},line={problem.line},col={problem.column}"
    hint = f"\n{problem.hint}" if problem.hint else ""
    name = f"{problem.id} " if problem.id and kind == "warning" else ""
    return f"::{kind} {place}::{_escape(name + problem.message + hint)}"


def _escape(text: str) -> str:
    return make_visible(text, "\r\n").replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")


def _write_outputs(envelope: Envelope) -> Iterator[str]:
    """`run_id` and `status`, each between delimiters that no value can hold."""
    if envelope.run_id is not None:
        for name, value in (("run_id", envelope.run_id), ("status", envelope.status)):
            mark = f"cpf_{secrets.token_hex(16)}"
            yield f"{name}<<{mark}\n{value}\n{mark}\n"


def _write_summary(envelope: Envelope) -> Iterator[str]:
    """A table: what ran, how it stands, what it asks or came to."""
    if envelope.run_id is None:
        return
    rows = [
        ("run", envelope.run_id),
        (
            "workflow",
            f"{envelope.workflow_name or envelope.workflow_id} {envelope.workflow_version or ''}".strip(),
        ),
        ("state", envelope.status),
    ]
    if envelope.wait is not None:
        rows += [
            ("asks", str(envelope.wait.prompt or envelope.wait.event_name)),
            ("of", envelope.wait.audience),
        ]
        rows.append(("answer", envelope.wait.resume.command))
    if envelope.error is not None:
        rows += [("error", envelope.error.message), ("printed", "\n".join(envelope.error.tail))]
    if isinstance(envelope.result, dict):
        rows += [(f"result: {name}", str(value)) for name, value in envelope.result.items()]
    yield f"### cpf {envelope.command}\n\n| | |\n| --- | --- |\n"
    yield from (f"| {_escape_cell(name)} | {_escape_cell(value)} |\n" for name, value in rows if value)
    yield "\n"


def _escape_cell(text: str) -> str:
    """*text* as it stands, in a cell of Markdown."""
    short = text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"
    escaped = make_visible(short, "\r\n").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for character in "\\`*_{}[]|~!#@":
        escaped = escaped.replace(character, f"&#{ord(character)};")
    return "<br>".join(escaped.splitlines())
