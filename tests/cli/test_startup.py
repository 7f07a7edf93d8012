"""Whatever state cpf is started in: closed descriptors, signals, umask, locale, directory, home."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Cpf, until
from tests.helpers import ask, cli, end

CPF = [sys.executable, "-m", "checkpointflow"]


def start(
    cpf: Cpf, *arguments: str, inherit: Callable[[], object], cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[bytes]:
    """Run cpf in a process where *inherit* was called."""
    return subprocess.run(
        [*CPF, *arguments], capture_output=True, cwd=cwd or cpf.cwd, env=cpf.env | env, timeout=60,
        preexec_fn=inherit, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def shell(cpf: Cpf, line: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """Run *line*, in which `cpf` is cpf."""
    script = f'cpf() {{ {sys.executable} -m checkpointflow "$@"; }}; {line}'
    return subprocess.run(
        ["sh", "-c", script], capture_output=True, cwd=cpf.cwd, env=cpf.env | env, timeout=60, check=False
    )


def test_a_failure_is_a_failure_where_sigchld_is_ignored(cpf: Cpf) -> None:
    file = cpf.flow(cli("good"), cli("check", "exit 7"), cli("deploy", "touch deployed"))
    done = start(cpf, "run", "-f", file, inherit=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert (done.returncode, (cpf.cwd / "deployed").exists()) == (30, False)
    assert json.loads(done.stdout)["error"]["message"].startswith("the command ended with exit code 7")


def test_neither_cpf_nor_a_command_has_a_signal_blocked(cpf: Cpf) -> None:
    file = cpf.flow(cli("a", "grep SigBlk /proc/self/status"), cli("b", "sleep 60; sleep 60"))
    process = subprocess.Popen(
        [*CPF, "run", "-f", file], stdout=subprocess.PIPE, cwd=cpf.cwd, env=cpf.env,
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT)),
    )  # fmt: skip
    until(lambda: list(cpf.base.glob("runs/*/stdout/b.txt")))
    process.send_signal(signal.SIGTERM)
    assert json.loads(process.communicate(timeout=20)[0])["error"]["code"] == "ERR_INTERRUPTED"
    (blocked,) = cpf.base.glob("runs/*/stdout/a.txt")
    assert int(blocked.read_text().split()[1], 16) == 0


@pytest.mark.long(but_one_in=3)
@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("cpf list 2>&-", 0),
        ("cpf --version 2>&-", 0),
        ("cpf --no-such-option 2>&- <&-", 2),
        ("cpf run -f w.yaml 2>&- <&-", 40),
        ("cpf run -f w.yaml >&- 2>&- <&-", 40),
        ("cpf run -f w.yaml --input - <&-", 10),
        ("cpf list >&-", 60),
        ("cpf guide >&-", 60),
        ("cpf --help > /dev/full", 60),
        ("cpf schema state > /dev/full", 60),
        ("cpf status nonesuch --text > /dev/null 2> /dev/full", 10),
        ("cpf status nonesuch --text > /dev/full 2>&-", 10),
    ],
)
def test_a_closed_or_full_descriptor_is_no_mistake_of_ours(cpf: Cpf, line: str, code: int) -> None:
    cpf.flow(ask("q"))
    done = shell(cpf, line)
    assert (done.returncode, done.stderr) == (code, b"")
    if not {">&-", ">"} & set(line.split()) and "--version" not in line:
        assert json.loads(done.stdout)["exit_code"] == code


def test_a_command_holds_the_lock_of_steps_though_cpf_had_closed_descriptors(cpf: Cpf) -> None:
    file = cpf.flow(cli("a", "echo $CPF_LOCK_FD > fd; sleep 60", idempotent=True))
    process = subprocess.Popen(
        ["sh", "-c", f"exec {sys.executable} -m checkpointflow run -f {file} <&- >&- 2>&-"],
        cwd=cpf.cwd,
        env=cpf.env,
    )
    until(lambda: (cpf.cwd / "fd").exists() and (cpf.cwd / "fd").read_text())
    process.kill()
    process.wait()
    (run,) = (cpf.base / "runs").iterdir()
    with (run / "step.lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert cpf("cancel", "--run-id", run.name, "--reason", "enough").code == 0


def test_descriptors_beyond_a_limit_that_was_lowered_are_not_handed_on(cpf: Cpf) -> None:
    """Failed with: no command that could be started, since none can be told to close them."""
    file = cpf.flow(cli("a", "ls /proc/self/fd | wc -l; test ! -e /proc/self/fd/200"))

    def inherit() -> None:
        os.dup2(0, 200, inheritable=True)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    done = subprocess.run(
        [*CPF, "run", "-f", file], cwd=cpf.cwd, env=cpf.env, capture_output=True, stdin=subprocess.DEVNULL,
        preexec_fn=inherit, close_fds=False, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_a_umask_that_takes_all_away_leaves_us_our_own_rights(cpf: Cpf) -> None:
    """To be seen where tests are not run as root, but for the modes."""
    file = cpf.flow(cli("a", "umask"), ask("q"))
    done = start(cpf, "run", "-f", file, inherit=lambda: os.umask(0o777))
    assert done.returncode == 40, done.stdout
    modes = {entry.stat().st_mode & 0o777 for entry in [cpf.base, *cpf.base.rglob("*")]}
    assert modes == {0o700, 0o600}
    (printed,) = cpf.base.glob("runs/*/stdout/a.txt")
    assert printed.read_text() == "0077\n"


@pytest.mark.long
def test_where_the_working_directory_is_gone_what_needs_none_is_done(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q", input_schema={}))["run_id"]
    lines = [f"status --run-id {run_id}", "list", "run -f ../w.yaml", "flows", "list --base-dir here"]
    script = "; ".join(f"cpf {line} | tr -d '\\n'; echo" for line in lines)
    done = shell(cpf, f"mkdir gone; cd gone; rmdir ../gone; {script}")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [envelope["exit_code"] for envelope in told] == [40, 0, 10, 10, 10]
    assert "working directory is gone" in told[-1]["error"]["message"]
    assert len(list((cpf.base / "runs").iterdir())) == 1


@pytest.mark.parametrize("home", ["", "rel", "./x"])
def test_a_home_that_is_none_is_not_made_one(cpf: Cpf, home: str) -> None:
    """Failed with: a store in /.checkpointflow, or below whichever directory one was in."""
    answer = cpf("list", HOME=home, CHECKPOINTFLOW_BASE_DIR="")
    assert (answer.code, f"HOME is {home!r}" in answer["error"]["message"]) == (2, True)


def test_without_a_home_it_is_the_one_that_the_system_knows(
    cpf: Cpf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOME")
    cpf.env.pop("HOME")
    assert cpf("list", CHECKPOINTFLOW_BASE_DIR="").code == 0


@pytest.fixture(scope="session")
def latin1(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What makes a locale of another encoding ours."""
    place = tmp_path_factory.mktemp("locales")
    if shutil.which("localedef") is None:
        pytest.skip("no locale can be made here")
    made = ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(place / "de_DE.ISO-8859-1")]
    subprocess.run(made, check=False, capture_output=True)
    env = {"LOCPATH": str(place), "LC_ALL": "de_DE.ISO-8859-1"}
    ask = [sys.executable, "-c", "import sys; print(sys.getfilesystemencoding())"]
    if subprocess.run(ask, env=os.environ | env, capture_output=True, check=True).stdout != b"iso8859-1\n":
        pytest.skip("no locale can be made here")
    return env


@pytest.mark.long
def test_what_is_read_and_handed_over_is_utf_8_in_any_locale(cpf: Cpf, latin1: dict[str, str]) -> None:
    """Failed with: mojibake in arguments, values that no command could be given."""
    inputs = {"type": "object", "properties": {"n": {"type": "string"}}}
    file = cpf.flow(cli("a", "printf %s ${inputs.n} > Größe"), ask("q"), inputs=inputs)
    done = start(
        cpf, "run", "-f", file, "--input", '{"n": "Zoë, 5 €"}', inherit=lambda: None,
        PYTHONCOERCECLOCALE="0", **latin1,
    )  # fmt: skip
    assert done.returncode == 40, done.stdout
    assert (cpf.cwd / "Größe").read_text() == "Zoë, 5 €"
    assert start(cpf, "guide", inherit=lambda: None, **latin1).returncode == 0


@pytest.mark.long(but_one_in=3)
@pytest.mark.parametrize(
    "line",
    [
        "cpf run -f $(printf 'w\\377.yaml')",
        "cpf validate -f $(printf 'no\\377.yaml')",
        "mkdir $(printf 'd\\377'); cd d*; cpf run -f ../w.yaml",
        "cpf run -f w.yaml --base-dir $(printf 's\\377')",
        "cpf list --base-dir $(printf 's\\377')",
        "cpf $(printf 'x\\377')",
        "cpf status --run-id $(printf 'x\\377')",
    ],
)
def test_a_name_that_is_not_utf_8_is_refused(cpf: Cpf, line: str) -> None:
    """Failed with: bugs, since no such name can be written into a run or an envelope."""
    cpf.flow(ask("q"))
    done = shell(cpf, f"cp w.yaml $(printf 'w\\377.yaml'); {line}")
    assert (json.loads(done.stdout)["exit_code"] in (2, 10), done.stderr) == (True, b"")


# Being told to stop


@pytest.mark.long(but_one_in=2)
@pytest.mark.parametrize(("command", "number"), [("resume", signal.SIGTERM), ("logs", signal.SIGHUP)])
def test_told_to_stop_while_it_waits_a_command_says_so(
    cpf: Cpf, command: str, number: signal.Signals
) -> None:
    """Failed with: nothing on stdout, and nobody who knew why."""
    file = cpf.flow(cli("slow", "echo > begun; sleep 60", idempotent=True))
    first = cpf.start("run", "-f", file)
    until(lambda: (cpf.cwd / "begun").exists())
    run_id = next((cpf.base / "runs").iterdir()).name
    more = {"resume": ["--lock-timeout", "60"], "logs": ["--follow"]}[command]
    waiting = cpf.start(command, "--run-id", run_id, *more)
    time.sleep(1)
    waiting.send_signal(number)
    out, err = waiting.communicate(timeout=20)
    first.terminate()
    first.communicate(timeout=20)
    assert (waiting.returncode, err.strip()) == (20, b"")
    told = json.loads(out)
    assert (told["command"], told["error"]["code"]) == (command, "ERR_INTERRUPTED")
    assert number.name in told["error"]["message"]


@pytest.mark.parametrize("module", ["checkpointflow.startup", "click"])
def test_told_to_stop_between_two_imports_it_says_so(cpf: Cpf, module: str) -> None:
    """Failed with: a traceback, or nothing."""
    script = (
        "import importlib.abc, os, sys; sys.argv = ['cpf', 'list']\n"
        "class Finder(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), {int(signal.SIGTERM)})\n"
        "sys.meta_path.insert(0, Finder())\n"
        "import checkpointflow.__main__ as begun\n"
        "begun.main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=cpf.env, check=False)
    assert (done.returncode, json.loads(done.stdout)["command"]) == (20, "list")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_before_it_does_anything_it_says_so(cpf: Cpf, number: signal.Signals) -> None:
    """The signal comes while modules are imported, whose import is not broken off."""
    script = (
        "import os, sys; sys.argv = ['cpf', 'list']\n"
        "import checkpointflow.__main__ as begun\n"
        f"os.kill(os.getpid(), {int(number)})\n"
        "begun.main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=cpf.env, check=False)
    told = json.loads(done.stdout)
    assert (done.returncode, told["command"], done.stderr.strip()) == (20, "list", b"")
    assert number.name in told["error"]["message"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_when_all_is_done_it_says_what_was_done(cpf: Cpf, number: signal.Signals) -> None:
    """Failed with: an envelope that said 0, and an exit status of 143."""
    file = cpf.flow(cli("a"))
    script = (
        f"import os, sys; sys.argv = ['cpf', 'run', '-f', {file!r}]\n"
        "import checkpointflow.__main__ as begun\n"
        "from checkpointflow.store.directory import RunDirectory\n"
        "commit = RunDirectory.commit\n"
        "def then_stop(self, run, *more):\n"
        "    commit(self, run, *more)\n"
        "    if run.outcome is not None:\n"
        f"        os.kill(os.getpid(), {int(number)})\n"
        "RunDirectory.commit = then_stop\n"
        "begun.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, cwd=cpf.cwd, env=cpf.env, check=False
    )
    assert (done.returncode, json.loads(done.stdout)["status"], done.stderr) == (0, "completed", b"")


def test_what_whoever_started_us_ignores_we_ignore(cpf: Cpf) -> None:
    file = cpf.flow(cli("a", "kill -HUP $PPID; sleep 0.3"))
    done = start(cpf, "run", "-f", file, inherit=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_long_answer_is_whole_whatever_signal_comes_meanwhile(cpf: Cpf, unbuffered: str) -> None:
    """Failed with: 64 KiB of it, and exit code 0, where Python was told not to buffer."""
    command = "printf '{\"x\":\"'; head -c 200000 /dev/zero | tr '\\0' x; printf '\"}'"
    run_id = cpf.run(cli("a", command), end("e", result="${steps.a.outputs}"))["run_id"]
    process = cpf.start("status", "--full", "--run-id", run_id, PYTHONUNBUFFERED=unbuffered)
    assert process.stdout is not None
    until(lambda: select.select([process.stdout], [], [], 0)[0])  # it has begun, and waits for a reader
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    out = process.communicate(timeout=20)[0]
    assert (process.returncode, json.loads(out)["result"]["x"]) == (0, "x" * 200_000)
