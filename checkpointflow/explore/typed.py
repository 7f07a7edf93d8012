"""What a step will do, with values in their places as far as they are known, as one would type it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import UNSET

from checkpointflow.documents.model import ActionStep, Api, AwaitEvent, Cli, properties_of
from checkpointflow.documents.program import CompiledStep
from checkpointflow.errors import EvaluationError
from checkpointflow.explore.outline import Command, HttpCall, Limits, Question
from checkpointflow.explore.partial import Later, decide, fill, find_value, is_later, name_later, show
from checkpointflow.expressions.syntax import Constant, Expression
from checkpointflow.expressions.urls import UrlTemplate, fill_url
from checkpointflow.expressions.values import as_text
from checkpointflow.shells.contexts import DOCUMENT
from checkpointflow.shells.scripts import (
    CommandHole,
    CommandTemplate,
    command_holes,
    parse_command,
    render_command,
)

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-")


def describe(compiled: CompiledStep, scope: Mapping[str, Any]) -> Command | HttpCall | Question | None:
    """What the step does, if it does anything by itself. Raises EvaluationError if it never can."""
    match compiled.step:
        case Cli() as step:
            cwd = compiled.read("cwd") or compiled.program.default_cwd
            return Command(
                command=write_command(compiled, scope),
                shell=compiled.shell,
                cwd=None if cwd is None else _write(cwd, scope),
                env=_write_all({**compiled.inherited_env, **compiled.read("env")}, scope),
                stdin=UNSET if step.stdin is UNSET else show(fill(compiled.read("stdin"), scope)),
            )
        case Api() as step:
            return HttpCall(
                method=step.method,
                url=write_url(compiled.url, scope),
                headers=_write_all(compiled.read("headers"), scope),
                body=UNSET if step.body is UNSET else show(fill(compiled.read("body"), scope)),
            )
        case AwaitEvent() as step:
            return Question(
                audience=step.audience,
                event_name=step.event_name,
                prompt=None if step.prompt is None else _write(compiled.read("prompt"), scope),
                summary=None if step.summary is None else _write(compiled.read("summary"), scope),
                answer=step.input_schema,
                refuses=bool(step.transitions) and not _takes_all(compiled, step, scope),
            )
        case _:
            return None


def _write(read: Any, scope: Mapping[str, Any]) -> str:
    return as_text(show(fill(read, scope)))


def _write_all(read: Mapping[str, Any], scope: Mapping[str, Any]) -> dict[str, str]:
    return {name: _write(value, scope) for name, value in read.items()}


def _takes_all(compiled: CompiledStep, step: AwaitEvent, scope: Mapping[str, Any]) -> bool:
    """Whether some transition takes each answer that fits the schema, as far as one field of it tells."""
    for name, schema in properties_of(step.input_schema).items():
        known = schema if isinstance(schema, dict) else {}
        values = known.get("enum", (True, False) if known.get("type") == "boolean" else ())
        events = [
            Later("", {name: value}) for value in values if name in step.input_schema.get("required", ())
        ]
        if events and all(_is_taken(compiled, {**scope, "event": event}) for event in events):
            return True
    return any(condition.root == Constant(True) for condition, _ in compiled.arms)


def _is_taken(compiled: CompiledStep, scope: Mapping[str, Any]) -> bool:
    try:
        return any(decide(condition, scope) for condition, _ in compiled.arms)
    except EvaluationError:
        return False


def list_limits(compiled: CompiledStep, scope: Mapping[str, Any]) -> Limits:
    """How often it is tried, and how long. Raises EvaluationError if that makes no sense."""
    step = compiled.step
    if not isinstance(step, ActionStep | AwaitEvent):
        return Limits()
    seconds = find_parameter(compiled, scope, "timeout_seconds")
    if not isinstance(step, ActionStep):
        return Limits(timeout_seconds=seconds)
    return Limits(
        attempts=find_parameter(compiled, scope, "retry", "max_attempts") or 1,
        timeout_seconds=seconds,
        lock=None if step.lock is None else _write(compiled.read("lock", "key"), scope),
    )


def find_parameter(compiled: CompiledStep, scope: Mapping[str, Any], *names: str) -> Any:
    """The parameter, or how it reads until it is known. Raises EvaluationError."""
    is_own = getattr(compiled.step, names[0], None) is not None
    if not is_own and isinstance(compiled.step, AwaitEvent):
        return None  # the defaults are not for waits
    defaults = [] if is_own else [read for _, read in compiled.program.default_parameters[names]]
    value = fill(compiled.read_all(*names) if is_own else defaults, scope)
    return show(value[0]) if is_later(value) else compiled.resolve(*names, scope=scope)


# Commands and URLs


def write_command(compiled: CompiledStep, scope: Mapping[str, Any]) -> str:
    """The command, each part of a list on lines of its own. Raises EvaluationError if it can never be run."""
    assert isinstance(compiled.step, Cli)
    if not any(is_later(_find_held(hole, scope)) for hole in command_holes(compiled.command)):
        render_command(compiled.command, scope)
    said = compiled.step.command
    parts = [compiled.command] if isinstance(said, str) else [parse_command(p, compiled.shell) for p in said]
    return "\n".join("".join(_write_pieces(part, scope)) for part in parts)


def _write_pieces(part: CommandTemplate, scope: Mapping[str, Any]) -> Iterator[str]:
    for piece in part.pieces:
        yield piece if isinstance(piece, str) else _write_hole(piece, _find_held(piece, scope), part.shell)


def _find_held(hole: CommandHole, scope: Mapping[str, Any]) -> Any:
    return find_value(hole.expression, scope)


def _write_hole(hole: CommandHole, value: Any, shell: str) -> str:
    if hole.form == "file":
        return name_later(f"file: {hole.expression.text}").shown
    is_list = hole.context.spreads and isinstance(value, list)
    words = value if is_list else [value]
    return (", " if shell == "pwsh" else " ").join(_write_word(hole, word, shell) for word in words)


def _write_word(hole: CommandHole, value: Any, shell: str) -> str:
    text = as_text(show(value))
    if isinstance(value, Later) or hole.form == "raw":
        return text
    match hole.context.written:
        case '"{}"':
            return quote(text, shell)
        case "{}":
            by = "`" if shell == "pwsh" else "\\"
            alive = (by, "$", "`") if hole.context == DOCUMENT else (by, "$", "`", '"')
            return "".join(by + sign if sign in alive else sign for sign in text)
        case _:
            return text.replace("'", "'\"'\"'")


def quote(text: str, shell: str) -> str:
    """*text* as one word for *shell*, in quotes if it needs them."""
    if text and _PLAIN.issuperset(text):
        return text
    return "'" + text.replace("'", "''" if shell == "pwsh" else "'\"'\"'") + "'"


def write_url(url: UrlTemplate, scope: Mapping[str, Any]) -> str:
    """Where a call goes. Raises EvaluationError if it can never be made."""
    values = [find_value(piece, scope) for piece in url.template.pieces if isinstance(piece, Expression)]
    if not is_later(values):
        return fill_url(url, scope)[0]
    from urllib.parse import quote as escape  # late: few plans have calls

    text = ""
    for piece in url.template.pieces:
        value = find_value(piece, scope) if isinstance(piece, Expression) else piece
        is_data = isinstance(piece, Expression) and not is_later(value) and "/" in text.partition("://")[2]
        text += escape(as_text(value)) if is_data else as_text(show(value))
    return text
