"""What each kind of step is: how it starts, how often it is tried, what it chooses.

Everything that is particular to a kind stands here, so that `settle.py` walks all steps alike. A function
here returns the facts or the action that follow, and changes nothing. What a step says was understood before
(`documents.program`); here its holes are filled in with what the body can see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, assert_never

from msgspec import UNSET
from msgspec.structs import replace

from checkpointflow.diagnostics import join_words
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
    Range,
    Recoverable,
    Switch,
)
from checkpointflow.documents.parts import Artifact
from checkpointflow.documents.program import CompiledStep, Program
from checkpointflow.engine.actions import ArtifactSpec, CallHttp, Effect, Error, LockRequest, RunCommand
from checkpointflow.engine.bodies import Body, Scene
from checkpointflow.engine.facts import BlockOpened, Fact, StepStarted, StepSucceeded, Wait, WaitOpened
from checkpointflow.engine.messages import add_seconds
from checkpointflow.engine.misfits import detail_misfits, list_misfits
from checkpointflow.engine.path import find_key_fault
from checkpointflow.engine.run import Failed
from checkpointflow.engine.scope import scope
from checkpointflow.errors import EvaluationError, InvalidInput, NoTransition
from checkpointflow.expressions.evaluation import Secret, evaluate, holds
from checkpointflow.expressions.literals import read_number
from checkpointflow.expressions.syntax import Expression
from checkpointflow.expressions.templates import Template, fill_value, list_texts
from checkpointflow.expressions.urls import fill_url
from checkpointflow.expressions.values import as_text
from checkpointflow.schemas.instance_errors import InstanceError
from checkpointflow.shells.scripts import check_input, check_variable, render_command

HTTP_SECONDS = 30.0
MAX_ITEMS = 100_000
ENDLESS_LOOP = "ERR_ENDLESS_LOOP"
MAX_WHOLE = 2**53

PASSING_STATUS_CODES = (408, 425, 429)  # and all from 500 on


def is_skipped(scene: Scene, body: Body, step: AnyStep) -> bool:
    """Whether its condition keeps *step* from running. Raises EvaluationError."""
    if step.when is None:
        return False
    condition = body.program.step(step.id).condition
    assert condition is not None
    return not holds(condition, scope(scene, body))


def start(scene: Scene, body: Body, step: AnyStep, path: str) -> Fact:
    """The first fact of *step* when the body comes to it. Raises EvaluationError, NoTransition."""
    compiled = body.program.step(step.id)
    match step:
        case Cli() | Api():
            retry_of(scene, body, step)  # what is wrong there must be known before anything is done
            return begin_attempt(scene, body, step, path, attempt=1)
        case AwaitEvent():
            return WaitOpened(at=scene.now, path=path, wait=_make_wait(scene, body, step))
        case Switch(default=default):
            target = choose(compiled, scope(scene, body)) or default
            if target is None:
                raise NoTransition(problem=f"no case of the switch {step.id} holds, and it has no default")
            return StepSucceeded(at=scene.now, path=path, outputs={}, next=target)
        case End(result=result):
            names = scope(scene, body)
            outputs = UNSET if result is UNSET else fill_value(compiled.read("result"), names)
            return StepSucceeded(at=scene.now, path=path, outputs=outputs)
        case Foreach():
            find_concurrency(scene, body, step)
            items = list_items(compiled, step, scope(scene, body))
            return BlockOpened(at=scene.now, path=path, items=items)
        case Parallel() | Call():
            return BlockOpened(at=scene.now, path=path)
        case _:
            assert_never(step)


def list_items(compiled: CompiledStep, step: Foreach, names: dict[str, Any]) -> list[Any]:
    """Its items, each with its key if they have keys."""
    items = compiled.read("items")
    is_expression = isinstance(items, Expression)
    value = evaluate(items, names) if is_expression else fill_value(items, names)
    source = items.text if is_expression else "items"
    if isinstance(step.items, Range):
        value = _count_up(value)
    if not isinstance(value, list | range):
        raise EvaluationError("the items of a foreach must be a list", source)
    if len(value) > MAX_ITEMS:
        raise EvaluationError(f"a foreach takes at most {MAX_ITEMS} items, and got {len(value)}", source)
    if step.key is not None:
        return _add_keys(compiled.read("key"), value, names)
    return value if isinstance(value, list) else list(value)


def _count_up(given: dict[str, Any]) -> range:
    """The numbers that a Range stands for, its values *given*."""
    numbers: dict[str, Any] = {
        name: read_number(value) if isinstance(value, str) else value for name, value in given.items()
    }
    for name, number in numbers.items():
        if type(number) is not int or abs(number) > MAX_WHOLE:
            raise EvaluationError("a whole number was expected", f"items.{name}")
    if numbers.get("count", 0) < 0 or numbers.get("by") == 0:
        raise EvaluationError("`count` cannot be below 0, nor `by` 0", "items")
    if "count" in numbers:
        return range(numbers["count"])
    by = numbers.get("by", 1)
    return range(numbers["from"], numbers["to"] + (1 if by > 0 else -1), by)


def _add_keys(key: Any, items: Sequence[Any], names: dict[str, Any]) -> list[Any]:
    """Each of *items* behind its key, which becomes part of paths, and so of the names of files."""
    pairs, known = list[Any](), dict[str, int]()
    for index, item in enumerate(items):
        found = fill_value(key, {**names, "item": item, "item_index": index})
        found = str(found) if type(found) is int else found
        if fault := find_key_fault(found):
            raise EvaluationError(f"the key of item {index} {fault}", "key")
        # There are file systems that do not tell capitals apart.
        if (first := known.setdefault(found.lower(), index)) != index:
            how = "the same key" if pairs[first][0] == found else "keys that differ in capitals only"
            raise EvaluationError(f"the items {first} and {index} have {how}", "key")
        pairs.append([found, item])
    return pairs


def find_concurrency(scene: Scene, body: Body, step: AnyStep) -> int:
    """How many iterations of a foreach there may be at once. Raises EvaluationError."""
    if not isinstance(step, Foreach):
        return 0
    compiled = body.program.step(step.id)
    return int(compiled.resolve("max_concurrency", scope=scope(scene, body)))


# What it does


def begin_attempt(scene: Scene, body: Body, step: AnyStep, path: str, attempt: int) -> StepStarted:
    """The *attempt*-th try of *step* begins. Raises EvaluationError."""
    return StepStarted(at=scene.now, path=path, action=_make_action(scene, body, step, path, attempt))


def _make_action(scene: Scene, body: Body, step: AnyStep, path: str, attempt: int) -> Effect:
    """What a step does that does something, all values in place."""
    assert isinstance(step, Cli | Api)
    compiled = body.program.step(step.id)
    names = scope(scene, body)
    key = compiled.read("idempotency_key")
    lock = step.lock and LockRequest(
        _fill_text(compiled.read("lock", "key"), names),
        compiled.resolve("lock", "timeout_seconds", scope=names),
    )
    common = {
        "path": path,
        "attempt": attempt,
        "idempotency_key": f"{scene.run.run_id}:{path}" if key is None else _fill_text(key, names),
        "lock": lock,
        "keeps_stdout": compiled.keeps("stdout"),
        "secrets": compiled.secrets,
        "runs_on": step.runs_on or compiled.program.workflow.defaults.runs_on,
    }
    if isinstance(step, Cli):
        return _make_command(step, compiled, names, common)
    return _make_call(step, compiled, names, common)


def _make_command(
    step: Cli, compiled: CompiledStep, names: dict[str, Any], common: dict[str, Any]
) -> RunCommand:
    defaults, secrets = compiled.program.workflow.defaults, compiled.secrets
    marks = {"secrets": {name: Secret(name) for name in secrets}} if secrets else {}
    script = render_command(compiled.command, {**names, **marks})
    cwd = compiled.read("cwd") or compiled.program.default_cwd
    paths = compiled.read_all("artifacts", "path")
    env = _fill_texts({**compiled.inherited_env, **compiled.read("env")}, names, secrets)
    for name, hole in compiled.demands.items():
        check_variable(env[name], hole)
    return RunCommand(
        **common,
        shell=compiled.shell,
        fail_fast=defaults.fail_fast if step.fail_fast is None else step.fail_fast,
        script=script.text,
        variables=script.variables,
        files=script.files,
        env=env,
        stdin=UNSET if step.stdin is UNSET else _fill_stdin(compiled, names),
        cwd=None if cwd is None else _fill_text(cwd, names),
        timeout_seconds=compiled.resolve("timeout_seconds", scope=names),
        exit_codes=compiled.resolve("success", "exit_codes", scope=names),
        needs_json=step.outputs is not None,
        keeps_stderr=compiled.keeps("stderr"),
        artifacts=tuple(
            _specify(artifact, where, names) for artifact, where in zip(step.artifacts, paths, strict=True)
        ),
    )


def _specify(artifact: Artifact, where: str | Template, names: dict[str, Any]) -> ArtifactSpec:
    from checkpointflow.expressions.globs import fill_glob, is_glob  # late: few steps have artifacts

    spec = ArtifactSpec(
        artifact.name,
        "",
        artifact.media_type,
        # What is written before the first value says where that may lead.
        None if isinstance(where, str) else artifact.path.partition("${")[0].rpartition("/")[0],
        may_lack=artifact.if_missing == "skip",
    )
    if not is_glob(where):
        return replace(spec, path=_fill_text(where, names))
    glob = fill_glob(where, names)
    return replace(spec, path=glob.base, within=None, pattern=glob.pattern)


def _fill_stdin(compiled: CompiledStep, names: dict[str, Any]) -> Any:
    value = _fill_marked(compiled.read("stdin"), names, compiled.secrets)
    check_input(value)
    for hole in compiled.input_demands:
        check_variable(as_text(value), hole)
    return value


def _make_call(step: Api, compiled: CompiledStep, names: dict[str, Any], common: dict[str, Any]) -> CallHttp:
    defaults, secrets = compiled.program.workflow.defaults, compiled.secrets
    _refuse_marks(compiled.url.template, names, secrets)
    url, host_is_data = fill_url(compiled.url, {**names, **_mark_secrets(secrets)})
    return CallHttp(
        **common,
        method=step.method,
        url=url,
        host_is_data=host_is_data,
        allow_hosts=defaults.allow_hosts,
        headers=_fill_texts(compiled.read("headers"), names, secrets),
        body=UNSET if step.body is UNSET else _fill_marked(compiled.read("body"), names, secrets),
        timeout_seconds=compiled.resolve("timeout_seconds", scope=names) or HTTP_SECONDS,
        status_codes=compiled.resolve("success", "status_codes", scope=names),
        keeps_headers=compiled.keeps("headers"),
    )


def _fill_text(compiled: Any, names: Mapping[str, Any]) -> str:
    return as_text(fill_value(compiled, names))


def _fill_texts(compiled: Any, names: dict[str, Any], secrets: tuple[str, ...]) -> dict[str, str]:
    filled = _fill_marked(compiled or {}, names, secrets)
    return {name: as_text(value) for name, value in filled.items()}


def _fill_marked(compiled: Any, names: dict[str, Any], secrets: tuple[str, ...]) -> Any:
    """*compiled* filled in, with the marks of *secrets*."""
    if not secrets:
        return fill_value(compiled, names)
    _refuse_marks(compiled, names, secrets)
    return fill_value(compiled, {**names, **_mark_secrets(secrets)})


def _mark_secrets(secrets: tuple[str, ...]) -> dict[str, Any]:
    """The names of the secrets with their marks, which only a driver replaces by their values."""
    return {"secrets": {name: str(Secret(name)) for name in secrets}}


def _refuse_marks(compiled: Any, names: dict[str, Any], secrets: tuple[str, ...]) -> None:
    """Beside a secret no value may hold what a mark is known by."""
    if secrets:
        data = fill_value(compiled, {**names, "secrets": dict.fromkeys(secrets, "")})
        if any("\0" in text for _, text in list_texts(data)):
            raise EvaluationError("beside a secret no value may hold the character NUL", "secrets")


def _make_wait(scene: Scene, body: Body, step: AwaitEvent) -> Wait:
    compiled, names = body.program.step(step.id), scope(scene, body)

    def fill(field: str) -> str | None:
        text = compiled.read(field)
        return None if text is None else _fill_text(text, names)

    has_end = step.timeout_seconds is not None
    seconds = compiled.resolve("timeout_seconds", scope=names) if has_end else None
    return Wait(
        audience=step.audience,
        event_name=step.event_name,
        input_schema=step.input_schema,
        prompt=fill("prompt"),
        summary=fill("summary"),
        instructions=fill("instructions"),
        risk_level=step.risk_level,
        timeout_at=None if seconds is None else add_seconds(scene.now, seconds),
    )


# What it calls


def make_call(
    scene: Scene, body: Body, step: AnyStep, item: dict[str, Any]
) -> tuple[str | None, dict[str, Any] | None]:
    """Of the workflow that a body runs, if it does: which, where a value chooses it, and its inputs.

    item: the names of its item, if it has one. Raises EvaluationError, InvalidInput.
    """
    if not isinstance(step, Foreach | Call) or step.workflow_ref is None:
        return None, None
    names = {**scope(scene, body), **item}
    compiled = body.program.step(step.id)
    chosen = _fill_text(compiled.read("workflow_ref"), names) if step.one_of else None
    if chosen is not None and chosen not in step.one_of:
        problem = f"workflow_ref: expected {join_words(step.one_of)}, and the value here is none of them"
        raise EvaluationError(problem, step.workflow_ref)
    program = body.program.called[chosen or step.workflow_ref]
    return chosen, check_inputs(program, fill_value(compiled.read("inputs"), names))


def check_inputs(program: Program, given: Any) -> dict[str, Any]:
    """*given* with the defaults of the input schema filled in. Raises InvalidInput."""
    inputs = program.inputs.complete(given)
    errors = program.inputs.errors(inputs)
    if not errors and not isinstance(inputs, dict):
        errors = [InstanceError("$", "the inputs must be a JSON object", "type")]
    if errors:
        problem = list_misfits(f"the inputs of {program.workflow.id} do not fit", errors)
        raise InvalidInput(problem=problem, details=detail_misfits(errors))
    return dict(inputs)


def check_env(program: Program, given: Mapping[str, str]) -> dict[str, str]:
    """What *given* has of the environment variables that *program* declares. Raises InvalidInput."""
    if lacking := [name for name in program.declared if name not in given]:
        problem = f"not set in the environment, though `env` of the workflow names it: {', '.join(lacking)}"
        raise InvalidInput(problem=problem)
    found = {name: given[name] for name in program.declared}
    for name, value in found.items():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidInput(problem=f"the environment variable {name} is not UTF-8") from None
    return found


# How often it is tried


class RetryPolicy(NamedTuple):
    """A `Retry` as a visit of a step has it, all values in place."""

    max_attempts: int = 1
    backoff_seconds: float = 0
    max_backoff_seconds: float = 0
    on: tuple[int, ...] = ()
    strategy: str = "fixed"


def retry_of(scene: Scene, body: Body, step: ActionStep) -> RetryPolicy:
    """The policy of *step*: its own, the document's, or a single attempt. Raises EvaluationError."""
    said = step.retry or body.program.workflow.defaults.retry
    if said is None:
        return RetryPolicy()
    compiled, names = body.program.step(step.id), scope(scene, body)
    fields = ("max_attempts", "backoff_seconds", "max_backoff_seconds", "on")
    values = {name: compiled.resolve("retry", name, scope=names) for name in fields}
    return RetryPolicy(**values, strategy=said.strategy)


def may_help(retry: RetryPolicy, error: Error) -> bool:
    """Whether another attempt may end otherwise: always, unless an answer says that it was understood."""
    status = error.status_code
    return status is None or status in PASSING_STATUS_CODES or status >= 500 or status in retry.on


def pause(retry: RetryPolicy, attempt: int, retry_after: float | None = None) -> float:
    """Seconds between the *attempt*-th attempt, which failed, and the next.

    retry_after: what the failure asks for, which counts where it is longer, and up to the longest pause.
    """
    doublings = min(attempt - 1, 64) if retry.strategy == "exponential" else 0
    own = retry.backoff_seconds * 2.0**doublings
    return min(max(own, retry_after or 0), retry.max_backoff_seconds)


# What it chooses


def choose(compiled: CompiledStep, names: Mapping[str, Any]) -> str | None:
    """The target of its first transition or case that holds. Raises EvaluationError."""
    return next((target for condition, target in compiled.arms if holds(condition, names)), None)


def survives(step: AnyStep, record: Failed) -> bool:
    """Whether the body goes on after this failure; an endless loop ends it, or it would turn for ever."""
    is_caught = record.next is not None or (isinstance(step, Recoverable) and step.on_error is not None)
    return is_caught and record.error.code != ENDLESS_LOOP
