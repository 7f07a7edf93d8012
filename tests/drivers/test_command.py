"""One deed: a shell command, really run."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from checkpointflow.drivers.command import Command
from checkpointflow.drivers.processes import find_attempt
from checkpointflow.engine.actions import ArtifactSpec, Error, Failure, Outcome, RunCommand, Success
from checkpointflow.errors import CheckpointflowError, PersistenceError
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.locks import list_processes
from tests.conftest import gone, until

NOT_STARTED = "could not be started"


@pytest.fixture(params=["in our own directory", "in another one"])
def place(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a command is run in one of the two ways in which a child is started."""
    (tmp_path / "run").mkdir()
    (tmp_path / "work").mkdir()
    if request.param == "in our own directory":
        monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def command(place: Path, script: str, **more: object) -> Command:
    given = {"path": "step", "attempt": 1, "shell": "sh", "idempotency_key": "R:step", **more}
    return Command(RunCommand(script=script, **given), RunDirectory(place / "run"), place / "work", "R")


def perform(running: Command) -> Outcome:
    """What comes of it, as whoever drives a run finds out."""
    begun = running.begin()
    return await_end(running) if begun is None else begun


def await_end(running: Command) -> Outcome:
    has_ended = select.select([running.watch], [], [], running.action.timeout_seconds)[0]
    return running.finish() if has_ended else running.expire()


def outcome(place: Path, script: str, **more: object) -> Outcome:
    return perform(command(place, script, **more))


def outputs(place: Path, script: str, **more: object) -> object:
    found = outcome(place, script, **more)
    assert isinstance(found, Success), found
    return found.outputs


def error(place: Path, script: str, **more: object) -> Error:
    found = outcome(place, script, **more)
    assert isinstance(found, Failure), found
    return found.error


def pid_in(file: Path) -> int:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if file.exists() and file.read_text().strip():
            return int(file.read_text())
        time.sleep(0.01)
    raise AssertionError(f"{file} was never written")


def test_a_json_object_on_stdout_becomes_the_outputs(place: Path) -> None:
    assert outputs(place, """echo '{"n": 1}'""") == {"n": 1}


def test_a_shell_that_is_not_there_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(place))
    message = error(place, "x", shell="zsh").message
    assert message == f"the command {NOT_STARTED}: there is no zsh on the PATH"


def test_powershell_is_asked_for_no_profile_and_no_questions(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = place / "bin" / "pwsh"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nprintf '%s,' \"$@\"\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    found = outcome(place, "git log", shell="pwsh", keeps_stdout=True)
    assert isinstance(found, Success)
    assert found.stdout == "-NoProfile,-NonInteractive,-Command,git log,"


@pytest.mark.parametrize("script", ["echo text", "true", "echo '[1]'", "echo '{1'", "echo '{\"a\": NaN}'"])
def test_anything_else_on_stdout_is_no_outputs(place: Path, script: str) -> None:
    assert outputs(place, script) == {}


def test_json_with_a_mark_of_its_byte_order_is_json(place: Path) -> None:
    assert outputs(place, "printf '\\357\\273\\277{\"n\": 1}'") == {"n": 1}


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("""echo '{"a": NaN}'""", "it is not JSON"),
        ("""printf '{"a": "\\351"}'""", "it is not JSON"),
        ("""echo loading; echo '{"a": 1}'""", "something else before its JSON"),
        ("""printf '{'; head -c 17000000 /dev/zero | tr '\\0' ' '; echo '}'""", "at most 16777216 are read"),
        ("echo text", None),
        ("true", None),
    ],
    ids=["NaN", "Latin-1", "lines before", "too long", "text", "nothing"],
)
def test_what_looks_like_outputs_and_is_none_is_lost_with_the_reason(
    place: Path, script: str, why: str | None
) -> None:
    found = outcome(place, script)
    assert isinstance(found, Success)
    assert (found.outputs, "outputs" in found.lost) == ({}, why is not None)
    assert (why or "") in found.lost.get("outputs", "")


@pytest.mark.parametrize(("script", "value"), [("echo '[1]'", [1]), ("echo 3", 3), ("echo '\"x\"'", "x")])
def test_where_json_is_needed_any_of_it_will_do(place: Path, script: str, value: object) -> None:
    assert outputs(place, script, needs_json=True) == value


@pytest.mark.parametrize("script", ["echo text", "true", "echo '{} {}'", "printf '\\377'"])
def test_where_json_is_needed_its_absence_is_a_failure(place: Path, script: str) -> None:
    assert error(place, script, needs_json=True).code == "ERR_STEP_OUTPUT_INVALID"


def test_the_file_output_goes_before_stdout(place: Path) -> None:
    assert outputs(place, """echo '{"a": 1}'; echo '[2]' > "$CPF_OUTPUT" """) == [2]


def test_what_is_in_the_file_must_be_json(place: Path) -> None:
    found = error(place, 'echo "{" > "$CPF_OUTPUT"')
    assert (found.code, found.exit_code) == ("ERR_STEP_OUTPUT_INVALID", 0)


def test_a_pipe_in_place_of_the_file_hangs_nobody(place: Path) -> None:
    assert "a pipe" in error(place, 'mkfifo "$CPF_OUTPUT"').message


def test_output_lies_in_files(place: Path) -> None:
    outcome(place, "echo out; echo err >&2")
    assert (place / "run/stdout/step.txt").read_text() == "out\n"
    assert (place / "run/stderr/step.txt").read_text() == "err\n"


def test_each_attempt_has_files_of_its_own(place: Path) -> None:
    outcome(place, "echo $CPF_ATTEMPT", path="each[0]/a@2", attempt=3)
    assert (place / "run/stdout/each[0]/a@2.3.txt").read_text() == "3\n"


def test_output_is_private(place: Path) -> None:
    outcome(place, "echo out")
    assert (place / "run/stdout/step.txt").stat().st_mode & 0o777 == 0o600
    assert (place / "run/stdout").stat().st_mode & 0o777 == 0o700


def test_opening_stderr_by_name_keeps_what_comes_after(place: Path) -> None:
    outcome(place, "echo one >&2; echo two > /dev/stderr; echo three >&2")
    assert (place / "run/stderr/step.txt").read_text() == "two\nthree\n"


def test_an_exit_code_fails_the_step_with_the_last_line_of_stderr(place: Path) -> None:
    found = error(place, "echo some >&2; echo 'no such page' >&2; echo >&2; exit 3")
    assert (found.code, found.exit_code) == ("ERR_STEP_FAILED", 3)
    assert found.message == "the command ended with exit code 3: no such page"


def test_the_last_line_is_what_a_terminal_would_show_last(place: Path) -> None:
    script = r"printf '\r1%%\r2%%\r\033[31mfatal: no space\033[0m\033]0;x\007\n\r\n' >&2; exit 3"
    assert error(place, script).message == "the command ended with exit code 3: fatal: no space"


def test_other_exit_codes_may_be_success(place: Path) -> None:
    assert outcome(place, "exit 3", exit_codes=(0, 3)).exit_code == 3  # type: ignore[union-attr]
    assert error(place, "exit 0", exit_codes=(3,)).exit_code == 0


@pytest.mark.parametrize(("number", "name"), [(15, "SIGTERM"), (9, "SIGKILL"), (37, "37"), (64, "SIGRTMAX")])
def test_every_signal_is_an_exit_code_as_shells_tell_it(place: Path, number: int, name: str) -> None:
    """Failed with: 143 told, but compared as -15; and a bug for a signal of real time, which has no name."""
    found = error(place, f"kill -{number} $$")
    assert (found.exit_code, found.message) == (128 + number, f"the command ended with the signal {name}")
    done = outcome(place, f"kill -{number} $$", exit_codes=(0, 128 + number))
    assert isinstance(done, Success)
    assert done.exit_code == 128 + number


def test_a_signal_is_named(place: Path) -> None:
    found = error(place, "kill -KILL $$")
    assert ("SIGKILL" in found.message, found.exit_code) == (True, 137)


def test_stdout_is_kept_when_asked_for(place: Path) -> None:
    assert outcome(place, "printf 'a\\nb\\n\\n'", keeps_stdout=True).stdout == "a\nb\n"  # type: ignore[union-attr]
    assert outcome(place, "echo x").stdout is None  # type: ignore[union-attr]


def test_stdout_is_kept_without_the_line_end_of_whichever_system(place: Path) -> None:
    assert outcome(place, "printf 'a\\r\\n'", keeps_stdout=True).stdout == "a"  # type: ignore[union-attr]


@pytest.mark.parametrize(("size", "kept"), [(65536, True), (65537, False)])
def test_stdout_is_kept_whole_or_not_at_all(place: Path, size: int, kept: bool) -> None:
    found = outcome(place, f"head -c {size} /dev/zero | tr '\\0' x", keeps_stdout=True)
    assert isinstance(found, Success)
    assert len(found.stdout or "") == (size if kept else 0)
    assert found.lost == ({} if kept else {"stdout": "has 65,537 bytes, and at most 65,536 are kept"})


def test_of_stderr_the_end_is_kept_below_a_line_that_says_so(place: Path) -> None:
    assert outcome(place, "printf 'a\\nb\\n' >&2", keeps_stderr=True).stderr == "a\nb"  # type: ignore[union-attr]
    assert outcome(place, "echo x >&2").stderr is None  # type: ignore[union-attr]
    assert outcome(place, "head -c 65536 /dev/zero >&2", keeps_stderr=True).stderr == "\0" * 65536  # type: ignore[union-attr]
    found = outcome(
        place, "{ echo lost; head -c 65532 /dev/zero | tr '\\0' x; echo end; } >&2", keeps_stderr=True
    )
    note, text = found.stderr.split("\n", 1)  # type: ignore[union-attr]
    assert note == "[the first 5 bytes are left out here; the step's log has them]"
    assert text == "x" * 65532 + "end"


@pytest.mark.parametrize(
    ("script", "more", "code"),
    [
        ("exit 3", {}, "ERR_STEP_FAILED"),
        ("kill -TERM $$", {}, "ERR_STEP_FAILED"),
        ("exit 0", {"artifacts": (ArtifactSpec("a", "none"),)}, "ERR_STEP_FAILED"),
        ("sleep 20", {"timeout_seconds": 0.3}, "ERR_TIMEOUT"),
    ],
)
def test_a_command_that_failed_has_said_something_all_the_same(
    place: Path, script: str, more: dict[str, Any], code: str
) -> None:
    found = outcome(
        place, f"""echo no >&2; echo '{{"n": 1}}'; {script}""", keeps_stdout=True, keeps_stderr=True, **more
    )
    assert isinstance(found, Failure)
    assert (found.error.code, found.outputs, found.stdout, found.stderr) == (code, {"n": 1}, '{"n": 1}', "no")


def test_the_file_for_outputs_counts_for_one_that_failed_too(place: Path) -> None:
    assert outcome(place, """echo '[1]' > "$CPF_OUTPUT"; exit 1""").outputs == [1]  # type: ignore[union-attr]


def test_what_a_failed_command_did_not_say_is_told(place: Path) -> None:
    found = outcome(place, "echo x; exit 1")
    assert (found.outputs, found.stdout, found.lost) == (UNSET, None, {})  # type: ignore[union-attr]
    found = outcome(place, "echo x", needs_json=True, keeps_stdout=True)
    assert (found.outputs, found.stdout) == (UNSET, "x")  # type: ignore[union-attr]
    assert "cannot be its outputs" in found.lost["outputs"]  # type: ignore[union-attr]
    found = outcome(place, """echo '{"n": '; exit 1""")
    assert "cannot be its outputs" in found.lost["outputs"]  # type: ignore[union-attr]
    found = outcome(place, 'rm "$CPF_RUN_DIR"/std*/step.txt; exit 1', keeps_stderr=True)
    assert "could not be read: " in found.lost["stderr"]  # type: ignore[union-attr]


def test_secrets_are_masked_in_what_a_failed_command_said(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "abcdefgh")
    script = """echo "{\\"t\\": \\"$TOKEN\\"}" | tee "$CPF_OUTPUT"; echo "$TOKEN" >&2; exit 1"""
    found = outcome(place, script, secrets=("TOKEN",), keeps_stdout=True, keeps_stderr=True)
    assert "***" in str(found)
    assert "abcdefgh" not in str(found)


def test_a_command_knows_its_run(place: Path) -> None:
    names = "RUN_ID STEP ATTEMPT RUN_DIR ARTIFACTS_DIR IDEMPOTENCY_KEY"
    script = "; ".join(f'echo "$CPF_{name}"' for name in names.split())
    outcome(place, script, path="a/b", attempt=1)
    run = place / "run"
    assert (run / "stdout/a/b.txt").read_text().split("\n") == [
        "R", "a/b", "1", str(run), str(run / "artifacts"), "R:step", "",
    ]  # fmt: skip


def test_values_and_env_are_in_its_environment(place: Path) -> None:
    found = outcome(
        place, 'printf "%s" "$V$E"', variables={"V": "a b;"}, env={"E": "$(x)"}, keeps_stdout=True
    )
    assert found.stdout == "a b;$(x)"  # type: ignore[union-attr]


def test_it_runs_in_its_directory(place: Path) -> None:
    (place / "work/deep").mkdir()
    assert outcome(place, "pwd", keeps_stdout=True).stdout == str(place / "work")  # type: ignore[union-attr]
    found = outcome(place, "pwd", cwd="deep", keeps_stdout=True)
    assert found.stdout == str(place / "work/deep")  # type: ignore[union-attr]
    assert "is not there" in error(place, "pwd", cwd="nowhere").message


def test_standard_input_is_empty(place: Path) -> None:
    assert outcome(place, "cat", keeps_stdout=True).stdout == ""  # type: ignore[union-attr]


def test_a_missing_shell_is_a_failure(place: Path) -> None:
    assert NOT_STARTED in error(place, "true", shell="no-such-shell").message


@pytest.mark.parametrize("more", [{"variables": {"A": "\0"}}, {"env": {"A": "x" * 200_000}}])
def test_what_the_system_cannot_take_is_a_failure(place: Path, more: dict[str, object]) -> None:
    assert NOT_STARTED in error(place, "true", **more).message


def test_no_command_is_run_whose_exit_code_could_not_be_known(place: Path) -> None:
    """Failed with: `exit 3` taken for a success, as the system forgets how children ended."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert "SIGCHLD is ignored" in error(place, "touch ran; exit 3").message
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert not (place / "work/ran").exists()


@pytest.mark.long(but_one_in=2)
def test_nor_is_one_believed_that_ended_unseen(place: Path) -> None:
    before = signal.getsignal(signal.SIGCHLD)
    late = threading.Timer(0.5, lambda: (place / "work/go").touch())
    running, found = command(place, "until test -e go; do sleep 0.05; done; exit 3"), list[Outcome]()
    thread = threading.Thread(target=lambda: found.append(perform(running)))
    thread.start()
    try:
        while running.child is None:
            time.sleep(0.01)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        late.start()
        thread.join(20)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert isinstance(found[0], Failure)
    assert "not known" in found[0].error.message


def test_nor_is_one_whose_end_somebody_else_heard_of(place: Path) -> None:
    running = command(place, "exit 0")
    assert running.begin() is None
    assert running.child is not None
    os.waitpid(running.child.pid, 0)
    found = running.finish()
    assert isinstance(found, Failure)
    assert "not known" in found.error.message


def test_a_shell_is_looked_for_on_the_path_that_the_command_is_given(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative to where it works, as the system would; what is no program is passed over."""
    for name in ("work/bin", "no"):
        (place / name).mkdir()
        (place / name / "zsh").write_text("#!/bin/sh\necho zsh\n")
    (place / "work/bin/zsh").chmod(0o700)
    (place / "work/zsh").mkdir()
    env = {"PATH": f"{place}/no::bin:/bin"}
    found = outcome(place, "x", shell="zsh", env=env, keeps_stdout=True)
    assert found.stdout == "zsh"  # type: ignore[union-attr]


def test_a_command_leads_a_session_and_dies_of_a_broken_pipe(place: Path) -> None:
    """Failed with: what Python ignores ignored by its children, too."""
    script = 'echo $$; cut -d " " -f 6 /proc/$$/stat; grep SigIgn /proc/$$/status | cut -f 2'
    found = outcome(place, script, keeps_stdout=True)
    pid, session, ignored = found.stdout.split()  # type: ignore[union-attr]
    assert pid == session
    assert int(ignored, 16) & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1) == 0


def test_a_command_gets_no_descriptor_that_cpf_was_given(place: Path) -> None:
    fd = os.open(place, os.O_RDONLY)
    os.set_inheritable(fd, True)
    try:
        found = outcome(place, "ls /proc/self/fd", keeps_stdout=True)
    finally:
        os.close(fd)
    assert found.stdout.split() == ["0", "1", "2", "3"]  # type: ignore[union-attr]


@pytest.mark.parametrize("number", [5, 8, 40])
def test_of_the_lock_of_steps_it_gets_a_descriptor_that_every_shell_can_close(
    place: Path, number: int
) -> None:
    """Failed (dash knows no descriptor over 9) with: the number that it has here."""
    script = 'echo $CPF_LOCK_FD; eval "exec $CPF_LOCK_FD>&-"; ls /proc/self/fd | wc -l'
    running = command(place, script, keeps_stdout=True)
    with (place / "lock").open("w") as file:
        running.files.step_lock = fcntl.fcntl(file.fileno(), fcntl.F_DUPFD_CLOEXEC, number)
        found = perform(running)
        os.close(running.files.step_lock)
    if Path.cwd() == place / "work":  # else it keeps its number
        assert isinstance(found, Success)
        told, descriptors = map(int, (found.stdout or "").split())
        assert (told < 10, descriptors) == (True, 4)


def test_a_pipe_in_place_of_a_log_hangs_nobody(place: Path) -> None:
    """Failed (for ever) with: opened for writing as it is."""
    (place / "run/stdout").mkdir(parents=True)
    os.mkfifo(place / "run/stdout/step.txt")
    with pytest.raises(PersistenceError, match="stdout/step.txt"):
        outcome(place, "true")


@pytest.mark.parametrize("link", ["stdout", "stdout/each[0]"])
def test_a_link_that_a_command_puts_in_place_of_a_directory_of_logs_is_not_followed(
    place: Path, link: str
) -> None:
    outside = place / "outside"
    (outside / "each[0]").mkdir(parents=True)
    target = outside if link == "stdout" else outside / "each[0]"
    swap = f"cd '{place}/run'; mv '{link}' moved; ln -s '{target}' '{link}'"
    plant = f"echo '{{}}' > '{outside}/each[0]/a.txt'"
    found = outcome(place, f"{swap}; {plant}", path="each[0]/a", needs_json=True)
    assert isinstance(found, Failure), "what lies outside was read"
    with pytest.raises(PersistenceError, match="stdout/each"):
        outcome(place, "true", path="each[0]/b")
    assert sorted(file.name for file in outside.rglob("*")) == ["a.txt", "each[0]"]


def test_what_a_step_with_a_secret_printed_is_all_there_though_a_child_of_it_goes_on(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "0123456789abcdef" * 4)
    started = time.monotonic()
    script = """sleep 5 & echo $! > child; printf '{"n": 1}'; printf '%s' 0123456789ab >&2"""
    running = command(place, script, secrets=("TOKEN",))
    found = perform(running)
    assert isinstance(found, Success)
    assert (found.outputs, time.monotonic() - started < 4) == ({"n": 1}, True)
    assert [file.size for file in running.seal()] == [8, 12]
    os.kill(pid_in(place / "work/child"), signal.SIGKILL)


@pytest.mark.long(but_one_in=2)
def test_what_comes_after_that_is_masked_too(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "top-secret")
    script = "(sleep 0.5; printf 'now top-se'; sleep 0.2; printf cret.) & echo first"
    assert isinstance(outcome(place, script, secrets=("TOKEN",)), Success)
    log = place / "run/stdout/step.txt"
    assert log.read_text() == "first\n"
    until(lambda: log.read_text() == "first\nnow ***.")


@pytest.mark.parametrize("script", ["echo x", "seq 100000", "echo x >&2; sleep 0.1; exit 3"])
def test_a_step_whose_output_could_not_be_masked_into_its_log_has_failed(
    place: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr("checkpointflow.drivers.command.create", lambda *_: os.open("/dev/full", os.O_WRONLY))
    found = error(place, script, secrets=("HOME",))
    assert found.message == "what it printed could not be written: No space left on device"


@pytest.mark.parametrize("where", ["cat", 'cat > "$CPF_OUTPUT"'])
def test_a_secret_that_decoding_makes_visible_is_masked(
    place: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setenv("TOKEN", "top-secret")
    script = (
        where
        + r""" <<'E'
    {"a": ["\u0074op\u002dsecret"], "is top-\u0073ecret": 1, "ok": true}
E"""
    )
    assert outputs(place, script, secrets=("TOKEN",)) == {"a": ["***"], "is ***": 1, "ok": True}


def test_a_number_that_is_a_secret_is_masked(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIN", "4711471147")
    script = """echo '{"n": 4711471147, "m": 1.5}' > "$CPF_OUTPUT" """
    assert outputs(place, script, secrets=("PIN",)) == {"n": "***", "m": 1.5}


@pytest.mark.long
def test_no_descriptor_is_left_open(place: Path) -> None:
    def count() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for n, script in enumerate(["true", "echo x; exit 1", "echo '{}'", 'mkfifo "$CPF_OUTPUT"', "exec sh"]):
        for more in ({}, {"cwd": "nowhere"}, {"shell": "no"}, {"secrets": ("HOME",)}):
            running = command(place, script, path=f"s{n}", **more)
            perform(running)
            running.seal()
    until(lambda: count() == before)  # those who mask may be at it yet


def test_a_time_out_stops_the_whole_group(place: Path) -> None:
    started = time.monotonic()
    found = error(place, "trap : TERM; sleep 60 & echo $! > child; wait; wait", timeout_seconds=0.3)
    assert (found.code, time.monotonic() - started < 5) == ("ERR_TIMEOUT", True)
    assert gone(pid_in(place / "work/child"))


@pytest.mark.long(but_one_in=3)
@pytest.mark.parametrize(
    "script",
    [
        "setsid sh -c 'echo $$ > child; exec sleep 60' & wait",
        "(setsid sh -c '(echo $$ > child; exec sleep 60) &' &) ; sleep 60",
        "setsid sh -c 'trap \"\" TERM; echo $$ > child; sleep 60' & wait",
        "sh -c 'trap \"\" TERM INT HUP; echo $$ > child; sleep 60; sleep 60' & exit 0 & wait; sleep 60",
        # what a cpf inside starts, and what is started without an environment
        "CPF_STEP=in CPF_WITHIN=\"$CPF_WITHIN\nin 1 in\" setsid sh -c 'echo $$ > child; sleep 60' & wait",
        "setsid sh -c 'env -i sh -c \"trap : TERM; echo \\$\\$ > child; while :; do sleep 9; done\"' & wait",
        # a supervisor that starts its worker anew
        "setsid sh -c 'trap : TERM; until env -i sh -c \"echo \\$\\$ > child; sleep 9\"; do :; done' & wait",
    ],
)
def test_nothing_lives_on_after_a_stop(place: Path, script: str) -> None:
    running = command(place, script)
    assert running.begin() is None
    thread = threading.Thread(target=await_end, args=(running,))
    thread.start()
    child = pid_in(place / "work/child")
    running.stop(grace_seconds=0.3)
    thread.join(20)
    assert gone(child)
    assert gone(pid_in(place / "work/child"))  # another one, if it was started anew


SUPERVISOR = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
open("child", "w").write(str(os.getpid()))
while True:
    if os.fork() == 0:
        os.setsid()
        time.sleep(0.02)
        while os.getppid() != int(open("child").read()):
            time.sleep(0.1)
        sys.exit()
"""


@pytest.mark.long(but_one_in=2)
def test_nobody_is_left_whom_a_supervisor_started_while_it_was_killed(place: Path) -> None:
    """Failed with: not all stopped before one is killed. A worker is known by its parent alone."""
    (place / "work/supervisor.py").write_text(SUPERVISOR)
    running = command(place, f"setsid env -i {sys.executable} -S supervisor.py & wait; wait")
    assert running.begin() is None
    thread = threading.Thread(target=await_end, args=(running,))
    thread.start()
    supervisor = pid_in(place / "work/child")
    running.stop(grace_seconds=0.1)
    thread.join(20)
    left = [pid for pid in list_processes() if is_in(pid, place / "work")]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert (left, gone(supervisor)) == ([], True)


def is_in(pid: int, directory: Path) -> bool:
    """Whether the process *pid* is alive and works in *directory*."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == directory and not gone(pid)
    except OSError:
        return False


@pytest.mark.long(but_one_in=2)
def test_those_are_killed_that_cannot_be_looked_for(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed with: nobody killed, where there was no descriptor left to read /proc with."""
    running = command(place, "trap '' TERM; echo $$ > child; while :; do sleep 9; done", timeout_seconds=0.3)
    assert running.begin() is None
    child = pid_in(place / "work/child")

    def fail(*_: object) -> list[str]:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", fail)
        running.stop(grace_seconds=0.2)
    assert isinstance(running.expire(), Failure)
    assert gone(child)


def test_a_command_of_a_cpf_inside_belongs_to_the_attempt_outside_too(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed with: known to the inner one alone, and nobody's once that was killed."""
    monkeypatch.setenv("CPF_WITHIN", "outer 1 /somewhere")
    running = command(place, "exec sleep 60")
    assert running.begin() is None
    assert running.child is not None
    until(lambda: find_attempt({"outer 1 /somewhere"}).find() == {running.child.pid})
    running.stop()
    assert isinstance(running.finish(), Failure)


def test_who_has_ended_is_not_waited_for(place: Path) -> None:
    """A zombie is nobody's, as in a container whose process 1 takes in none."""
    zombie = subprocess.Popen(["true"], start_new_session=True)
    until(lambda: gone(zombie.pid))
    assert find_attempt(set(), zombie.pid).find() == set()
    zombie.wait()


def test_within_its_time_nothing_is_stopped(place: Path) -> None:
    assert outputs(place, "echo '{}'", timeout_seconds=30) == {}


def test_who_ignores_term_is_killed(place: Path) -> None:
    running = command(
        place, "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > child; sleep 60' & wait; sleep 60"
    )
    assert running.begin() is None
    thread = threading.Thread(target=await_end, args=(running,))
    thread.start()
    child = pid_in(place / "work/child")
    running.stop(grace_seconds=0.2)
    thread.join(20)
    assert gone(child)


def test_a_stopped_process_is_ended_too(place: Path) -> None:
    running = command(place, "echo $$ > child; kill -STOP $$; sleep 60")
    assert running.begin() is None
    thread = threading.Thread(target=await_end, args=(running,))
    thread.start()
    child = pid_in(place / "work/child")
    running.stop(grace_seconds=1)
    thread.join(20)
    assert gone(child)


def test_a_child_that_is_left_behind_on_purpose_lives_on(place: Path) -> None:
    outcome(place, "sleep 60 > /dev/null 2>&1 & echo $! > child")
    child = pid_in(place / "work/child")
    assert not gone(child)
    os.kill(child, signal.SIGKILL)


@pytest.mark.long
def test_output_of_any_size_costs_no_memory(place: Path) -> None:
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from checkpointflow.drivers.perform import Executor\n"
        "from checkpointflow.store.directory import RunDirectory\n"
        "from checkpointflow.engine.actions import RunCommand\n"
        f"place = Path({str(place)!r})\n"
        "action = RunCommand(path='s', attempt=1, shell='sh', script=sys.argv[1], idempotency_key='')\n"
        "executor = Executor(RunDirectory(place / 'run'), place / 'work', 'R')\n"
        "executor.start(action)\n"
        "while not executor.collect(): executor.wait(9)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )

    def peak(megabytes: int) -> int:
        shell = f"printf '{{'; head -c {megabytes}000000 /dev/zero; head -c {megabytes}000000 /dev/zero >&2"
        answer = subprocess.run([sys.executable, "-c", script, shell], stdout=subprocess.PIPE, check=True)
        return int(answer.stdout)

    assert peak(100) < peak(0) + 4_000


@pytest.mark.parametrize("link", ["artifacts", "artifacts/step", "artifacts/step/n"])
def test_an_artifact_is_written_through_no_link(place: Path, link: str) -> None:
    outside = place / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    (place / "run" / link).parent.mkdir(parents=True, exist_ok=True)
    (place / "run" / link).symlink_to(outside / "file" if link.endswith("n") else outside)
    with suppress(CheckpointflowError):
        found = outcome(place, "echo x > x", artifacts=(ArtifactSpec("n", "x"),))
        assert isinstance(found, Failure)
    assert os.listdir(outside) == ["file"]
    assert (outside / "file").read_text() == "mine"
