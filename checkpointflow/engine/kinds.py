"""What each kind of step is: how it starts, how often it is tried, what it chooses.

Everything that is particular to a kind stands here, so that `settle.py` walks all steps alike. A function
here returns the facts or the action that follow, and changes nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final, assert_never
from urllib.parse import quote

from msgspec import UNSET, to_builtins
from msgspec.structs import replace

from checkpointflow.documents.model import (
    ActionStep,
    AnyStep,
    Api,
    AwaitEvent,
    Call,
    Cli,
    End,
    Foreach,
    Parallel,
    Recoverable,
    Retry,
    Switch,
    Transition,
    Workflow,
)
from checkpointflow.engine.actions import ArtifactSpec, CallHttp, LockRequest, RunCommand
from checkpointflow.engine.bodies import Body, Scene, scope
from checkpointflow.engine.facts import BlockOpened, Fact, StepStarted, StepSucceeded, Wait, WaitOpened
from checkpointflow.engine.messages import later
from checkpointflow.engine.run import Failed
from checkpointflow.errors import EvaluationError, NoTransition
from checkpointflow.expressions.syntax import Secret, as_text, evaluate, holds, parse_condition
from checkpointflow.expressions.templates import parse_template, render_text, render_value, texts_in
from checkpointflow.shells.scripts import parse_command, render_command

DEFAULT_SHELL: Final = "sh"


HTTP_SECONDS = 30.0


MAX_ITEMS = 100_000


def guarded_out(scene: Scene, body: Body, step: AnyStep) -> bool:
    """Whether its condition keeps *step* from running. Raises EvaluationError."""
    return step.when is not None and not holds(parse_condition(step.when), scope(scene, body))


def start(scene: Scene, body: Body, step: AnyStep, path: str) -> Fact:
    """The first fact of *step* when the body comes to it. Raises EvaluationError, NoTransition."""
    match step:
        case Cli() | Api():
            return StepStarted(at=scene.now, path=path, action=deed(scene, body, step, path, attempt=1))
        case AwaitEvent():
            return WaitOpened(at=scene.now, path=path, wait=_wait(scene, body, step))
        case Switch(cases=cases, default=default):
            target = chosen(cases, scope(scene, body)) or default
            if target is None:
                raise NoTransition(problem=f"no case of the switch {step.id} holds, and it has no default")
            return StepSucceeded(at=scene.now, path=path, outputs={}, next=target)
        case End(result=result):
            outputs = UNSET if result is UNSET else render_value(result, scope(scene, body))
            return StepSucceeded(at=scene.now, path=path, outputs=outputs)
        case Foreach(items=items):
            return BlockOpened(at=scene.now, path=path, items=_items(items, scope(scene, body)))
        case Parallel() | Call():
            return BlockOpened(at=scene.now, path=path)
        case _:
            assert_never(step)


def _items(items: str | list[Any], names: dict[str, Any]) -> list[Any]:
    value = evaluate(parse_condition(items), names) if isinstance(items, str) else render_value(items, names)
    shown = items if isinstance(items, str) else "items"
    if not isinstance(value, list):
        raise EvaluationError("the items of a foreach must be a list", shown)
    if len(value) > MAX_ITEMS:
        raise EvaluationError(f"a foreach takes at most {MAX_ITEMS} items, and got {len(value)}", shown)
    return value


def deed(scene: Scene, body: Body, step: AnyStep, path: str, attempt: int) -> RunCommand | CallHttp:
    """The *attempt*-th try of a step that does something, all values in place. Raises EvaluationError."""
    assert isinstance(step, Cli | Api)
    names = scope(scene, body)
    key = step.idempotency_key
    filled_key = f"{scene.run.run_id}:{path}" if key is None else _filled(key, names)
    lock = step.lock and LockRequest(_filled(step.lock.key, names), step.lock.timeout_seconds)
    secrets = secrets_named(step)
    if isinstance(step, Cli):
        action: RunCommand | CallHttp = _command(body, step, path, names, secrets)
    else:
        action = _call(body, step, path, names, secrets)
    return replace(
        action,
        attempt=attempt,
        idempotency_key=filled_key,
        lock=lock,
        keeps_stdout=step.id in _stdout_readers(body.program.workflow),
        secrets=secrets,
    )


def _command(body: Body, step: Cli, path: str, names: dict[str, Any], secrets: tuple[str, ...]) -> RunCommand:
    defaults = body.program.workflow.defaults
    shell = step.shell or defaults.shell or DEFAULT_SHELL
    marks = {**names, "secrets": {name: Secret(name) for name in secrets}}
    script = render_command(parse_command(_joined(step.command), shell), marks if secrets else names)
    cwd = step.cwd or defaults.cwd
    return RunCommand(
        path=path,
        attempt=1,
        shell=shell,
        script=script.text,
        variables=script.variables,
        env=_texts(step.env, names, secrets),
        cwd=None if cwd is None else _filled(cwd, names),
        timeout_seconds=step.timeout_seconds or defaults.timeout_seconds,
        exit_codes=step.success.exit_codes,
        needs_json=step.outputs is not None,
        idempotency_key="",
        artifacts=tuple(ArtifactSpec(a.name, _filled(a.path, names), a.media_type) for a in step.artifacts),
    )


def _call(body: Body, step: Api, path: str, names: dict[str, Any], secrets: tuple[str, ...]) -> CallHttp:
    url, host_is_data = _url(step.url, names, secrets)
    return CallHttp(
        path=path,
        attempt=1,
        method=step.method,
        url=url,
        host_is_data=host_is_data,
        allow_hosts=body.program.workflow.defaults.allow_hosts,
        headers=_texts(step.headers, names, secrets),
        body=UNSET if step.body is UNSET else _marked(step.body, names, secrets),
        timeout_seconds=step.timeout_seconds
        or body.program.workflow.defaults.timeout_seconds
        or HTTP_SECONDS,
        status_codes=step.success.status_codes,
        idempotency_key="",
    )


_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#\\]*)")


def _url(url: str, names: dict[str, Any], secrets: tuple[str, ...]) -> tuple[str, bool]:
    """*url* filled in, and whether a value had a part in its host.

    Behind the host a value is data, which cannot end the path or begin a query.
    """
    _marked(url, names, secrets)  # refuses what could be taken for the mark of a secret
    names = {**names, "secrets": {name: str(Secret(name)) for name in secrets}}
    text, host_is_data = "", False
    for piece in parse_template(url).pieces:
        if isinstance(piece, str):
            text += piece
            continue
        value = as_text(evaluate(piece, names))
        host = _AUTHORITY.match(text)
        behind_host = host is not None and host.end() < len(text)
        host_is_data = host_is_data or not behind_host
        text += quote(value, safe="\0") if behind_host else value
    host = _AUTHORITY.match(text)
    if host is not None and "@" in host[1]:
        raise EvaluationError("a URL may hold no name and password; give them in a header", "url")
    return text, host_is_data


def _texts(
    given: dict[str, str | bool | int | float], names: dict[str, Any], secrets: tuple[str, ...]
) -> dict[str, str]:
    texts = {name: as_text(value) for name, value in given.items()}
    return {name: as_text(value) for name, value in _marked(texts, names, secrets).items()}


_SECRET = re.compile(r"""secrets\s*(?:\.\s*|\[\s*["'])([A-Za-z_][A-Za-z0-9_]*)""")


def secrets_named(step: AnyStep) -> tuple[str, ...]:
    """The secrets that *step* may refer to: a coarse look, which errs by naming too many."""
    return tuple(sorted(set(_SECRET.findall(repr(to_builtins(step))))))


def _marked(value: Any, names: dict[str, Any], secrets: tuple[str, ...]) -> Any:
    """*value* filled in, with the marks of *secrets*; no other value may hold what a mark is known by."""
    if not secrets:
        return render_value(value, names)
    data = render_value(value, {**names, "secrets": dict.fromkeys(secrets, "")})
    if any("\0" in text for _, text in texts_in(data)):
        raise EvaluationError("beside a secret no value may hold the character NUL", "secrets")
    return render_value(value, {**names, "secrets": {name: str(Secret(name)) for name in secrets}})


def _joined(command: str | tuple[str, ...]) -> str:
    """A list as one command: each part grouped, so that its comments and here-documents end with it."""
    if isinstance(command, str):
        return command
    return command[0] if len(command) == 1 else " && ".join(f"{{ {part}\n}}" for part in command)


def _wait(scene: Scene, body: Body, step: AwaitEvent) -> Wait:
    names = scope(scene, body)

    def filled(text: str | None) -> str | None:
        return None if text is None else _filled(text, names)

    return Wait(
        audience=step.audience,
        event_name=step.event_name,
        input_schema=step.input_schema,
        prompt=filled(step.prompt),
        summary=filled(step.summary),
        instructions=filled(step.instructions),
        risk_level=step.risk_level,
        timeout_at=None if step.timeout_seconds is None else later(scene.now, step.timeout_seconds),
    )


def _filled(text: str, names: dict[str, Any]) -> str:
    return render_text(parse_template(text), names)


_STDOUT = re.compile(r"""steps\s*(?:\.\s*|\[\s*["'])([A-Za-z0-9_-]+)(?:["']\s*\])?\s*[.\[]\s*["']?stdout""")


@lru_cache(maxsize=16)
def _stdout_readers(workflow: Workflow) -> frozenset[str]:
    """The steps whose stdout the document may refer to: a coarse look, which errs by keeping too much."""
    return frozenset(_STDOUT.findall(repr(to_builtins(workflow))))


# How often it is tried


def retry_of(body: Body, step: ActionStep) -> Retry:
    """The policy of *step*: its own, the document's, or a single attempt."""
    return step.retry or body.program.workflow.defaults.retry or Retry(max_attempts=1)


def pause(retry: Retry, attempt: int) -> float:
    """Seconds between the *attempt*-th attempt, which failed, and the next."""
    doublings = min(attempt - 1, 64) if retry.strategy == "exponential" else 0
    return min(retry.backoff_seconds * 2.0**doublings, retry.max_backoff_seconds)


# What it chooses


def chosen(transitions: tuple[Transition, ...], names: dict[str, Any]) -> str | None:
    """The target of the first transition that holds. Raises EvaluationError."""
    for transition in transitions:
        if holds(parse_condition(transition.when), names):
            return transition.next
    return None


def survives(step: AnyStep, record: Failed) -> bool:
    """Whether the body goes on after this failure."""
    return record.next is not None or (isinstance(step, Recoverable) and step.on_error is not None)
