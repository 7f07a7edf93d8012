"""Workflows from Python: what an embedder is promised."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import checkpointflow
from checkpointflow import (
    CheckpointflowError,
    InvalidWorkflow,
    LockConflict,
    Run,
    RunCommand,
    RunHandle,
    Store,
    Success,
    fail,
    load,
)
from checkpointflow.engine.actions import Slept
from checkpointflow.errors import (
    AnsweredOtherwise,
    FileMissing,
    InvalidEvent,
    InvalidInput,
    RunNotFound,
    StateCorrupt,
)
from tests.conftest import Cpf
from tests.helpers import ask, branch, call, cli, end, foreach, parallel

README = (Path(__file__).parents[2] / "README.md").read_text()


def document(*steps: dict[str, Any], **more: Any) -> bytes:
    described = {"schema_version": "checkpointflow/v1", "workflow": {"id": "w", "steps": steps, **more}}
    return json.dumps(described).encode()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "base")


def echo(action: Any) -> Success:
    """Performs every step by saying its path."""
    return Success(outputs={"at": action.path})


# Importing


def test_importing_the_package_imports_nothing_else() -> None:
    script = "import sys; old = set(sys.modules); import checkpointflow; print(*set(sys.modules) - old)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["checkpointflow"]


@pytest.mark.parametrize("name", checkpointflow.__all__)
def test_every_name_of_the_package_is_there(name: str) -> None:
    assert getattr(checkpointflow, name) is not None
    assert name in dir(checkpointflow)


def test_another_name_is_not() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        checkpointflow.nothing  # noqa: B018


# Loading


def test_a_workflow_is_loaded_from_a_file_or_from_bytes(tmp_path: Path) -> None:
    data = document(cli("a"))
    (tmp_path / "w.yaml").write_bytes(data)
    for source in (tmp_path / "w.yaml", str(tmp_path / "w.yaml"), data):
        workflow = load(source)
        assert (workflow.data, workflow.program.workflow.id) == (data, "w")


def test_all_that_is_wrong_with_it_is_told(tmp_path: Path) -> None:
    data = document(cli("a", next="b"), cli("a"))
    (tmp_path / "w.yaml").write_bytes(data)
    for source, file in ((tmp_path / "w.yaml", str(tmp_path / "w.yaml")), (data, "<bytes>")):
        with pytest.raises(InvalidWorkflow) as raised:
            load(source)
        assert [(p.file, p.line) for p in raised.value.problems] == [(file, 1), (file, 1)]
        assert raised.value.exit_code == 10


def test_what_bytes_call_is_looked_for_in_the_current_directory(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub.yaml").write_bytes(document(cli("inner")))
    monkeypatch.chdir(tmp_path)
    handle = store.start(document(call("sub", "sub.yaml")), perform=echo)
    assert handle.run.status == "completed"
    with pytest.raises(InvalidWorkflow, match="no such file"):
        load(document(call("sub", "other.yaml")))


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(FileMissing, match="nowhere"):
        load("nowhere.yaml")


# Starting and going on


def test_steps_are_performed_in_python(store: Store) -> None:
    did = []

    def perform(action: Any) -> Success:
        assert isinstance(action, RunCommand)
        did.append((action.path, action.env))
        return Success(outputs={"n": int(action.env["N"]) * 2})

    steps = [cli("a", env={"N": "${inputs.n}"}), cli("b", env={"N": "${steps.a.outputs.n}"})]
    handle = store.start(
        document(*steps, end("fin", result="${steps.b.outputs.n}")), {"n": 3}, perform=perform
    )
    assert handle.run.outcome.result == 12  # type: ignore[union-attr]
    assert did == [("a", {"N": "3"}), ("b", {"N": "6"})]


def test_without_a_function_commands_are_really_run(store: Store) -> None:
    handle = store.start(document(cli("a", "echo '{\"n\": 1}'")))
    assert handle.run.steps["a"].outputs == {"n": 1}  # type: ignore[union-attr]
    assert (handle.directory / "stdout" / "a.txt").exists()


def test_a_run_waits_and_goes_on_when_it_is_answered(store: Store) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    handle = store.start(document(ask("q", input_schema=schema), cli("a")), perform=echo)
    assert (handle.run.status, list(handle.waits)) == ("waiting", ["q"])
    assert handle.waits["q"].event_name == "q_event"
    with pytest.raises(InvalidEvent):
        handle.deliver("q_event", {"ok": "yes"})
    run = handle.deliver("q_event", {"ok": True})
    assert (run, run.status, handle.waits) == (handle.run, "completed", {})
    assert handle.deliver("q_event", {"ok": True}) == run  # the same again counts once
    with pytest.raises(AnsweredOtherwise):
        handle.deliver("q_event", {"ok": False})


def test_a_run_is_opened_again_by_its_id_or_the_beginning_of_it(store: Store) -> None:
    run_id = store.start(document(ask("q"))).run_id
    assert store.open(run_id).run_id == store.open(run_id[:24]).run_id == run_id
    assert store.list_runs() == [run_id]
    with pytest.raises(RunNotFound):
        store.open("01JQ0000000000000000000000")


def test_a_handle_holds_nothing_so_that_others_may_go_on_with_the_run(cpf: Cpf) -> None:
    """Failed with: a handle that keeps where the history ends, and cuts off there what another wrote."""
    handle = Store(cpf.base).start(document(ask("p"), ask("q"), ask("r")))
    handle.deliver("p_event", {})
    assert cpf.resume(handle.run_id, "q_event", {}).code == 40
    assert list(handle.waits) == ["r"]
    assert handle.deliver("r_event", {}).status == "completed"
    assert handle.verify().facts == len(cpf.history(handle.run_id))


def test_the_caller_cannot_change_what_a_run_was_given(store: Store) -> None:
    inputs: dict[str, Any] = {"list": [1]}
    outputs: dict[str, Any] = {"list": [1]}

    def perform(action: Any) -> Success:
        inputs["list"].append(2)
        return Success(outputs=outputs)

    handle = store.start(document(cli("a"), ask("q")), inputs, perform=perform)
    outputs["list"].append(2)
    handle.deliver("q_event", {})
    assert (handle.run.inputs, handle.run.steps["a"].outputs) == ({"list": [1]}, {"list": [1]})  # type: ignore[union-attr]
    handle.verify()


def test_an_observer_is_told_of_each_new_run_once(store: Store) -> None:
    seen: list[Run] = []
    handle = store.start(document(cli("a", "sleep 0.5"), ask("q")), observe=seen.append)
    assert [run.status for run in seen] == ["running", "waiting"]
    store.open(handle.run_id, observe=seen.append).deliver("q_event", {})
    assert [run.revision for run in seen] == sorted({run.revision for run in seen})
    assert seen[-1] == handle.run


def test_a_failed_step_is_done_again(store: Store) -> None:
    answers = iter([fail("not now", code="ERR_BUSY", details={"after": 3}), Success(outputs={})])
    handle = store.start(document(cli("a")), perform=lambda _: next(answers))
    error = handle.run.outcome.error  # type: ignore[union-attr]
    assert (error.code, error.message, error.details, error.step_id) == (
        "ERR_BUSY",
        "not now",
        {"after": 3},
        "a",
    )
    assert handle.retry().status == "completed"


def test_a_run_is_cancelled(store: Store) -> None:
    handle = store.start(document(ask("q")))
    assert handle.cancel("enough").status == "cancelled"


def test_a_run_is_verified(store: Store) -> None:
    handle = store.start(document(cli("a", "echo x")))
    assert handle.verify().facts == handle.run.revision
    (handle.directory / "stdout" / "a.txt").write_text("y\n")
    with pytest.raises(StateCorrupt, match=re.escape("stdout/a.txt")):
        handle.verify()


# What is no JSON, and no outcome


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, "\ud800", object(), b"x"])
def test_what_is_no_json_value_is_refused(store: Store, value: Any) -> None:
    with pytest.raises(InvalidInput):
        store.start(document(cli("a")), {"x": value})
    assert store.list_runs() == []
    handle = store.start(document(ask("q")))
    with pytest.raises(InvalidEvent):
        handle.deliver("q_event", {"x": value})
    assert handle.run.status == "waiting"


@pytest.mark.parametrize("value", [float("nan"), "\ud800", object()])
def test_outputs_that_are_no_json_value_fail_the_step(store: Store, value: Any) -> None:
    handle = store.start(document(cli("a")), perform=lambda _: Success(outputs={"x": value}))
    assert handle.run.outcome.error.code == "ERR_STEP_OUTPUT_INVALID"  # type: ignore[union-attr]


@pytest.mark.parametrize("returned", [None, {"n": 1}, Slept()])
def test_what_is_no_outcome_leaves_the_step_in_doubt(store: Store, returned: Any) -> None:
    """Failed (running for ever) with: an outcome that answers no question handed to the engine."""
    seen: list[Run] = []
    with pytest.raises(TypeError, match="Success or a Failure"):
        store.start(document(cli("a")), perform=lambda _: returned, observe=seen.append)
    assert store.open(seen[0].run_id).resume().status == "waiting"


# Crashes


class Crash(BaseException):
    """What nobody catches."""


@pytest.mark.parametrize("crash", [ZeroDivisionError, Crash, KeyboardInterrupt])
def test_what_crashed_in_a_step_is_in_doubt_or_tried_again_where_that_is_safe(
    store: Store, crash: type[BaseException]
) -> None:
    def perform(action: Any) -> Success:
        if (action.path, action.attempt) in (("b", 1), ("c", 1)):
            raise crash
        did.append(action.path)
        return Success(outputs={})

    did: list[str] = []
    workflow = document(cli("a"), cli("b"), cli("c", idempotent=True))
    with pytest.raises((crash, RuntimeError)):
        store.start(workflow, perform=perform)
    handle = store.open(store.list_runs()[0], perform=perform)
    assert handle.resume().status == "waiting"
    assert handle.waits["b"].event_name == "step_outcome"
    with pytest.raises((crash, RuntimeError)):
        handle.deliver("step_outcome", {"outcome": "succeeded"})
    assert handle.resume().status == "completed"
    assert did == ["a", "c"]


def test_an_error_of_ours_that_a_function_raises_is_not_taken_for_a_step_that_never_began(
    store: Store,
) -> None:
    """Failed (the step ran twice) with: LockConflict from wherever it comes taken for one of its own lock."""

    def perform(_: Any) -> Success:
        did.append(1)
        raise LockConflict(what="another run", holder="somebody")

    did: list[int] = []
    with pytest.raises(LockConflict):
        store.start(document(cli("a")), perform=perform)
    assert store.open(store.list_runs()[0], perform=perform).resume().status == "waiting"
    assert did == [1]


def test_an_observer_that_raises_ends_the_driving_and_not_the_run(store: Store) -> None:
    def observe(run: Run) -> None:
        if list(run.steps) == ["a", "q"]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.start(document(cli("a"), ask("q")), perform=echo, observe=observe)
    handle = store.open(store.list_runs()[0], perform=echo)
    assert handle.resume().status == "waiting"


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    script = (
        "import os, sys; from checkpointflow import Store, Success\n"
        "def perform(action):\n"
        "    if action.path == 'b': os.kill(os.getpid(), 9)\n"
        "    return Success(outputs={'n': 1})\n"
        "Store(sys.argv[1]).start(sys.argv[2].encode(), perform=perform)\n"
    )
    workflow = document(cli("a"), cli("b", idempotent=True), end("fin", result="${steps.a.outputs.n}"))
    died = subprocess.run([sys.executable, "-c", script, tmp_path / "base", workflow.decode()], check=False)
    assert died.returncode == -signal.SIGKILL
    store, did = Store(tmp_path / "base"), list[str]()

    def perform(action: Any) -> Success:
        did.append(f"{action.path} {action.attempt}")
        return Success(outputs={})

    handle = store.open(store.list_runs()[0], perform=perform)
    assert handle.resume().outcome.result == 1  # type: ignore[union-attr]
    assert did == ["b 2"]


# Threads


def in_thread(deed: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(deed).result(30)


def test_a_run_is_driven_in_any_thread(store: Store) -> None:
    """Failed with: signals taken over in every thread."""
    handle = in_thread(lambda: store.start(document(ask("q"), cli("a", "echo x"))))
    assert in_thread(lambda: handle.deliver("q_event", {})).status == "completed"


def test_several_runs_are_driven_at_once(store: Store) -> None:
    together = threading.Barrier(3)

    def perform(action: Any) -> Success:
        together.wait(20)
        return Success(outputs={"at": action.path})

    workflow = load(document(cli("a"), foreach("each", [1, 2], cli("inner"), max_concurrency=1)))
    with ThreadPoolExecutor(3) as pool:
        handles = list(pool.map(lambda _: store.start(workflow, perform=perform), range(3)))
    assert [handle.run.status for handle in handles] == ["completed"] * 3
    for handle in handles:
        handle.verify()


def test_steps_at_once_are_performed_at_once(store: Store) -> None:
    together = threading.Barrier(2)

    def perform(_: Any) -> Success:
        together.wait(20)
        return Success(outputs={})

    both = parallel("par", branch("x", cli("a")), branch("y", cli("b")))
    assert store.start(document(both), perform=perform).run.status == "completed"


def busy(store: Store) -> tuple[threading.Thread, RunHandle, threading.Event]:
    """A run that is under way in a thread, and what ends its step."""
    seen: list[Run] = []
    begun, enough = threading.Event(), threading.Event()

    def perform(_: Any) -> Success:
        begun.set()
        assert enough.wait(20)
        return Success(outputs={})

    def drive() -> None:
        store.start(document(cli("a"), cli("b")), perform=perform, observe=seen.append)

    thread = threading.Thread(target=drive)
    thread.start()
    assert begun.wait(20)
    return thread, store.open(seen[0].run_id), enough


def test_of_two_threads_one_drives_a_run(store: Store) -> None:
    thread, handle, enough = busy(store)
    for request in (handle.resume, handle.retry):
        with pytest.raises(LockConflict) as raised:
            request()
        assert isinstance(raised.value, CheckpointflowError)
    threading.Timer(0.2, enough.set).start()
    assert handle.resume(lock_timeout=20).status == "completed"
    thread.join()


def test_a_run_is_cancelled_from_another_thread(store: Store) -> None:
    thread, handle, enough = busy(store)
    threading.Timer(0.5, enough.set).start()
    assert handle.cancel("enough").status == "cancelled"
    thread.join()
    assert "b" not in handle.run.steps


def test_a_signal_interrupts_a_run_in_the_main_thread_and_keeps_what_its_function_came_to(
    tmp_path: Path,
) -> None:
    """A function cannot be cut short. Failed with: its outcome thrown away, so that the step was in doubt."""
    script = (
        "import sys, time; from checkpointflow import Store, Success\n"
        "from checkpointflow.errors import Interrupted\n"
        "def perform(action):\n"
        "    print('begun', flush=True); time.sleep(1); return Success(outputs={})\n"
        "try: Store(sys.argv[1]).start(sys.argv[2].encode(), perform=perform)\n"
        "except Interrupted as error: print(error.run.run_id)\n"
    )
    workflow = document(cli("a"), cli("b"))
    arguments = [sys.executable, "-c", script, str(tmp_path / "base"), workflow.decode()]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        run_id = process.stdout.readline().strip()
    did: list[str] = []
    handle = Store(tmp_path / "base").open(run_id, perform=lambda a: did.append(a.path) or echo(a))
    assert handle.resume().status == "completed"
    assert did == ["b"]


THREADS = """
import sys, threading
from pathlib import Path
import checkpointflow
data, base = Path(sys.argv[1]).read_bytes(), sys.argv[2]
barrier = threading.Barrier(8)
def drive():
    barrier.wait()
    handle = checkpointflow.Store(base).start(data, perform=lambda a: checkpointflow.Success(outputs={}))
    done.append(handle.deliver("q_event", {}).status)
done = []
threads = [threading.Thread(target=drive) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(*done)
"""


@pytest.mark.long(but_one_in=4)
@pytest.mark.parametrize("attempt", range(4))
def test_eight_threads_may_be_the_first_to_use_anything(tmp_path: Path, attempt: int) -> None:
    """Failed (a crash of the interpreter) with: types that msgspec learns of in several threads at once."""
    (tmp_path / "w.yaml").write_bytes(document(foreach("each", [1, 2], cli("a")), ask("q"), cli("b")))
    arguments = [sys.executable, "-c", THREADS, tmp_path / "w.yaml", tmp_path / "base"]
    found = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout.split()) == (0, ["completed"] * 8), found.stderr


# The documentation


def test_the_example_of_the_readme_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (section,) = re.findall(r"(?ms)^## From Python$(.*?)^## ", README)
    (program,) = re.findall(r"(?ms)^```python\n(.*?)^```$", section)
    said = re.findall(r"`([^`]*)`", section.partition("It prints ")[2].partition(".\n")[0])[:2]
    monkeypatch.chdir(tmp_path)
    exec(program, {})
    assert capsys.readouterr().out.splitlines() == said
