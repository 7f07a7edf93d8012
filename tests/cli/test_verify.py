"""`cpf verify`: a byte that was changed anywhere is found, and said where."""

from __future__ import annotations

import json
import os
import random
import re
import signal
from hashlib import sha256
from pathlib import Path

import pytest

from tests.conftest import Cpf, until
from tests.helpers import ask, call, cli, end, foreach

BROKEN = "chain is broken"
LONG = {"text": "x" * 70_000}


@pytest.fixture
def run_id(cpf: Cpf) -> str:
    """A run with something of everything in its directory."""
    cpf.flow(cli("inner", "echo inner"), name="sub.yaml")
    cpf.write("long.json", json.dumps(LONG))
    answer = cpf.run(
        cli("plan", "echo text > app.txt; cat long.json", artifacts=[{"name": "app", "path": "app.txt"}]),
        cli("fails", "echo no >&2; exit 3", on_error="continue"),
        cli("leaves", 'echo x > "$CPF_ARTIFACTS_DIR"/note'),
        foreach("each", [1, 2, 3], cli("one", "echo '{\"n\": ${item}}'")),
        call("sub", "sub.yaml"),
        ask("q"),
        end("e", result="${steps.each.outputs.iterations}"),
    )
    assert answer.code == 40
    return answer["run_id"]


def verified(cpf: Cpf, run_id: str) -> list[str]:
    """The files in which something is wrong."""
    answer = cpf("verify", "--run-id", run_id)
    assert (answer.code, answer.json.get("error", {}).get("code")) in [(0, None), (60, "ERR_STATE_CORRUPT")]
    return [finding["file"] for finding in answer["error"]["details"]] if answer.code else []


def flip(file: Path) -> None:
    """Change a byte of *file*, or change it back."""
    data = file.read_bytes()
    file.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def sealed(cpf: Cpf, run_id: str) -> list[str]:
    """The files that the history of the run seals, each as often as it does."""
    facts = [entry["fact"] for entry in cpf.history(run_id)]
    return [file["path"] for fact in facts if fact["fact"] == "files_sealed" for file in fact["files"]]


def files(cpf: Cpf, run_id: str) -> list[Path]:
    return sorted(f for f in cpf.directory(run_id).rglob("*") if f.is_file())


def test_a_whole_run_is_accepted_at_every_checkpoint(cpf: Cpf, run_id: str) -> None:
    answer = cpf("verify", "--run-id", run_id)
    assert (answer.code, answer["status"], "warnings" in answer.json) == (0, "waiting", False)
    assert answer["result"]["facts"] == len(cpf.history(run_id))
    assert answer["result"]["files_unchecked"] == []
    assert cpf.resume(run_id, "q_event", {"a": [1.5, None, "é\u2028"]}).code == 0
    assert verified(cpf, run_id) == []


@pytest.mark.long
def test_a_flipped_byte_is_found_wherever_it_is(cpf: Cpf, run_id: str) -> None:
    chance = random.Random(7)
    for file in files(cpf, run_id):
        name = str(file.relative_to(cpf.directory(run_id)))
        data = file.read_bytes()
        if not data:
            continue
        places = {0, len(data) - 1, *(chance.randrange(len(data)) for _ in range(10))}
        for place in places:
            changed = bytearray(data)
            changed[place] ^= 1 << chance.randrange(8)
            file.write_bytes(changed)
            assert name in verified(cpf, run_id), place
        file.write_bytes(data)
    assert verified(cpf, run_id) == []


def test_a_byte_that_means_the_same_is_found_too(cpf: Cpf, run_id: str) -> None:
    for name, old, new in (("state.json", b"  ", b"\t "), ("history.jsonl", b'"fact":{', b'"fact": {')):
        file = cpf.directory(run_id) / name
        data = file.read_bytes()
        file.write_bytes(data.replace(old, new, 1))
        assert verified(cpf, run_id) == [name]
        file.write_bytes(data)


def test_a_missing_file_is_found(cpf: Cpf, run_id: str) -> None:
    for file in files(cpf, run_id):
        name = str(file.relative_to(cpf.directory(run_id)))
        if name in ("state.json", "artifacts/note") or not file.stat().st_size:
            continue
        file.rename(cpf.cwd / "aside")
        assert name in verified(cpf, run_id)
        (cpf.cwd / "aside").rename(file)


def test_what_a_step_was_printing_when_its_cpf_was_killed_is_listed_and_sealed_by_the_next(cpf: Cpf) -> None:
    """Failed with: `_salvaged` giving nothing."""
    note = 'echo x > "$CPF_ARTIFACTS_DIR"/note'
    script = f"echo some; {note}; touch up; until test -e go; do sleep 0.05; done"
    killed = cpf.start("run", "-f", cpf.flow(cli("slow", script), ask("q")))
    until((cpf.cwd / "up").exists)
    run_id = cpf("list")["result"]["runs"][0]["run_id"]
    killed.kill()
    killed.communicate()
    answer = cpf("verify", "--run-id", run_id)
    assert (answer.code, answer["result"]["files_unchecked"]) == (0, ["artifacts/note", "stdout/slow.txt"])
    (cpf.cwd / "go").touch()
    asked = cpf("resume", "--run-id", run_id, "--lock-timeout", "10")
    assert asked["wait"]["event_name"] == "step_outcome"
    assert cpf("verify", "--run-id", run_id)["result"]["files_unchecked"] == []
    for name in ("artifacts/note", "stdout/slow.txt"):
        flip(cpf.directory(run_id) / name)
        assert name in verified(cpf, run_id)


@pytest.mark.parametrize("word", ["interrupt", "cancel"])
def test_what_a_step_had_printed_is_sealed_when_it_is_stopped(cpf: Cpf, word: str) -> None:
    """Failed with: no Seal beside Interrupt; none beside Cancel."""
    running = cpf.start("run", "-f", cpf.flow(cli("slow", "echo some; echo x > up; exec sleep 60")))
    until((cpf.cwd / "up").exists)
    run_id = cpf("list")["result"]["runs"][0]["run_id"]
    if word == "interrupt":
        running.send_signal(signal.SIGINT)
    else:
        assert cpf("cancel", "--run-id", run_id, "--reason", "enough").code == 0
    running.communicate(timeout=30)
    assert cpf("verify", "--run-id", run_id)["result"]["files_unchecked"] == []
    flip(cpf.directory(run_id) / "stdout/slow.txt")
    assert verified(cpf, run_id) == ["stdout/slow.txt"]


def test_the_logs_of_every_attempt_are_sealed(cpf: Cpf) -> None:
    retry = {"max_attempts": 3, "backoff_seconds": 0}
    run_id = cpf.run(cli("fails", "echo no; exit 1", retry=retry, idempotent=True))["run_id"]
    for name in ("stdout/fails.txt", "stdout/fails.2.txt", "stdout/fails.3.txt"):
        flip(cpf.directory(run_id) / name)
        assert verified(cpf, run_id) == [name]
        flip(cpf.directory(run_id) / name)


def test_what_goes_on_printing_when_its_step_has_ended_is_mentioned(cpf: Cpf) -> None:
    script = "echo before; { until test -e go; do sleep 0.02; done; echo after; touch gone; } &"
    run_id = cpf.run(cli("leaves", script), ask("q"))["run_id"]
    (cpf.cwd / "go").touch()
    until((cpf.cwd / "gone").exists)
    answer = cpf("verify", "--run-id", run_id)
    assert answer.code == 0
    assert answer["warnings"][0].startswith("stdout/leaves.txt: something was added to it")
    flip(cpf.directory(run_id) / "stdout/leaves.txt")
    assert verified(cpf, run_id) == ["stdout/leaves.txt"]


def test_what_a_step_leaves_undeclared_a_later_one_may_change_and_clear_away(cpf: Cpf) -> None:
    note = '"$CPF_ARTIFACTS_DIR"/note'
    steps = [
        cli("makes", f"echo 1 > {note}"),
        ask("p"),
        cli("changes", f"echo 2 > {note}"),
        ask("q"),
        cli("clears", f"rm {note}"),
    ]
    run_id = cpf.run(*steps)["run_id"]
    assert cpf.resume(run_id, "p_event", {}).code == 40
    assert verified(cpf, run_id) == []
    flip(cpf.directory(run_id) / "artifacts/note")
    assert verified(cpf, run_id) == ["artifacts/note"]
    assert cpf.resume(run_id, "q_event", {}).code == 0
    answer = cpf("verify", "--run-id", run_id)
    assert (answer.code, answer["warnings"]) == (0, ["artifacts/note: it is missing"])


def test_what_somebody_changes_while_a_run_waits_stands_in_its_history(cpf: Cpf, run_id: str) -> None:
    flip(cpf.directory(run_id) / "artifacts/note")
    assert verified(cpf, run_id) == ["artifacts/note"]
    assert sealed(cpf, run_id).count("artifacts/note") == 1
    assert cpf.resume(run_id, "q_event", {}).code == 0
    assert sealed(cpf, run_id).count("artifacts/note") == 2


A = '"$CPF_ARTIFACTS_DIR"'
R = '"$CPF_RUN_DIR"'


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (f"echo one > {A}/x", f": > {A}/x"),
        (f"mkdir {A}/live {A}/next; echo one > {A}/live/x; echo two > {A}/next/x",
         f"cd {A}; rm -r live; mv next live"),
        (f"printf x > {A}/\"$(printf 'caf\\351')\"; mkfifo {A}/\"$(printf '\\351')\"", "true"),
        (f"rm {R}/run.lock", "true"), (f"echo hi; ln -sf /dev/null {R}/stdout/a.txt", "true"),
        (f"echo hi; rm {R}/stdout/a.txt; mkfifo {R}/stdout/a.txt", "true"),
        (f"mkfifo {R}/pipe; echo hi; rm {R}/std*/a.txt", "true"),
        (f"rmdir {A}; ln -s /etc {A}", "true"), ("touch -d 2099-01-01 " + R + "/run.lock", f"echo x > {A}/x"),
    ],
)  # fmt: skip
def test_whatever_commands_do_to_files_of_their_run_is_no_damage(cpf: Cpf, first: str, then: str) -> None:
    """Failed with: changes known by their times; names taken for text; pipes opened; the lock's own time."""
    steps = [cli("a", first.replace("\\\\", "\\")), ask("q"), cli("b", then)]
    answer = cpf.real("run", "-f", cpf.flow(*steps))
    assert answer.code == 40, answer.text
    run_id = answer["run_id"]
    assert verified(cpf, run_id) == []
    assert cpf.resume(run_id, "q_event", {}).code == 0
    assert verified(cpf, run_id) == []
    assert cpf("export", "--run-id", run_id).code == 0


def test_a_failure_whose_log_became_a_pipe_is_one(cpf: Cpf) -> None:
    answer = cpf.real(
        "run", "-f", cpf.flow(cli("a", f"rm {R}/stderr/a.txt; mkfifo {R}/stderr/a.txt; exit 1"))
    )
    assert (answer.code, answer.error_code) == (30, "ERR_STEP_FAILED")


def test_what_a_failed_command_wrote_as_its_output_does_not_stay(cpf: Cpf) -> None:
    run_id = cpf.run(cli("a", 'echo "{}" > $CPF_OUTPUT; exit 1', on_error="continue"))["run_id"]
    assert list(cpf.directory(run_id).glob("stdout/*.json")) == []


def test_nothing_is_sealed_twice(cpf: Cpf) -> None:
    """Failed with: what is declared not left out; what is sealed already not left out."""
    app = {"name": "app", "path": "app.txt"}
    slow = cli("slow", "touch up; until test -e go; do sleep 0.02; done", idempotent=True)
    leaves = cli("leaves", 'echo x > "$CPF_ARTIFACTS_DIR"/note; echo y > app.txt', artifacts=[app])
    each = foreach("each", [1], cli("one", "echo z > app.txt", artifacts=[app]))
    run_id = cpf.run(leaves, each, ask("p"), slow, ask("q"))["run_id"]
    assert sealed(cpf, run_id) == ["artifacts/note"]
    killed = cpf.start("resume", "--run-id", run_id, "--event", "p_event", "--input", "{}")
    until((cpf.cwd / "up").exists)
    killed.kill()
    killed.communicate()
    (cpf.cwd / "go").touch()
    assert cpf("resume", "--run-id", run_id, "--lock-timeout", "10").code == 40
    assert sealed(cpf, run_id) == ["artifacts/note"]


@pytest.mark.parametrize("name", ["workflow.yaml", "stdout", "artifacts/plan/app"])
def test_a_link_in_place_of_a_file_or_directory_is_found(cpf: Cpf, run_id: str, name: str) -> None:
    place = cpf.directory(run_id) / name
    place.rename(cpf.cwd / "aside")
    place.symlink_to(cpf.cwd / "aside")
    assert any(found.startswith(name) for found in verified(cpf, run_id))


def test_a_change_of_the_history_is_told_with_its_line(cpf: Cpf, run_id: str) -> None:
    file = cpf.directory(run_id) / "history.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines[:2], *lines[3:]]))
    details = cpf("verify", "--run-id", run_id)["error"]["details"]
    assert (details[0]["file"], details[0]["line"]) == ("history.jsonl", 3)
    assert BROKEN in details[0]["problem"]


def test_a_last_line_of_the_history_that_does_not_end_is_told(cpf: Cpf, run_id: str) -> None:
    file = cpf.directory(run_id) / "history.jsonl"
    file.write_bytes(file.read_bytes().removesuffix(b"\n"))
    assert verified(cpf, run_id) == ["history.jsonl"]


def test_a_change_of_the_snapshot_is_told_with_its_place(cpf: Cpf, run_id: str) -> None:
    file = cpf.directory(run_id) / "state.json"
    file.write_text(file.read_text().replace('"exit_code": 3', '"exit_code": 4'))
    answer = cpf("verify", "--run-id", run_id)
    assert "steps.fails.error.exit_code" in answer["error"]["message"]


def test_a_history_that_is_rechained_does_not_pass_for_the_snapshot(cpf: Cpf, run_id: str) -> None:
    file = cpf.directory(run_id) / "history.jsonl"
    rechain(file, file.read_bytes().replace(b'"exit_code":3', b'"exit_code":4').splitlines())
    assert verified(cpf, run_id) == ["history.jsonl"]


def rechain(file: Path, lines: list[bytes]) -> str:
    """Make *lines* a history of one commit whose chain is right; returns its last checkpoint."""
    link, written = "", []
    for line in lines:
        fact = re.sub(rb'(,"commit":\d+)?\}$', b"", line.split(b'"fact":', 1)[1])
        link = sha256(link.encode() + b"\n" + fact).hexdigest()
        written.append(b'{"checkpoint_id":"%s","fact":%s' % (link.encode(), fact))
    file.write_bytes(b"}\n".join(written) + b',"commit":%d}\n' % len(written))
    return link


@pytest.mark.parametrize(
    ("first", "instead", "file", "problem"),
    [
        (0, [], "history.jsonl", "line 1 cannot follow"),
        (1, [], "state.json", "it differs at revision"),
        (2, [b'{"fact":{"type":"Nothing"}}'], "history.jsonl", "it is no fact that this cpf knows"),
    ],
)
def test_a_history_that_is_rechained_with_its_snapshot_must_still_make_it(
    cpf: Cpf, run_id: str, first: int, instead: list[bytes], file: str, problem: str
) -> None:
    history, state = (cpf.directory(run_id) / name for name in ("history.jsonl", "state.json"))
    before, lines = cpf.history(run_id)[-1]["checkpoint_id"], history.read_bytes().splitlines()
    after = rechain(history, [*lines[:first], *instead, *lines[first + 1 :]])
    state.write_text(state.read_text().replace(before, after))
    found = cpf("verify", "--run-id", run_id)["error"]["details"][0]
    assert (found["file"], found["problem"][: len(problem)]) == (file, problem)


def test_what_a_commit_that_died_left_is_no_damage(cpf: Cpf, run_id: str) -> None:
    with (cpf.directory(run_id) / "history.jsonl").open("ab") as file:
        file.write(b'{"checkpoint_id":"ab')
    answer = cpf("verify", "--run-id", run_id)
    assert (answer.code, len(answer["warnings"])) == (0, 1)


def test_there_is_nothing_in_the_lock_of_a_run_that_nobody_holds(cpf: Cpf, run_id: str) -> None:
    killed = {"cancel.json": "whoever asked to cancel the run was killed before there was an answer"}
    for name in ("run.lock", "step.lock", "cancel.json"):
        problem = killed.get(name, "whoever held it last was killed") + ", or it was changed"
        file = cpf.directory(run_id) / name
        assert not file.exists() or file.read_bytes() == b""
        file.write_text("x")
        assert cpf("verify", "--run-id", run_id)["warnings"] == [f"{name}: {problem}"]
        file.write_text("")
    (cpf.directory(run_id) / "state.json.tmp").touch()
    problem = "state.json.tmp is left over from a write that had died"
    assert cpf("verify", "--run-id", run_id)["warnings"] == [problem]


def test_a_strange_file_is_mentioned(cpf: Cpf, run_id: str) -> None:
    (cpf.directory(run_id) / "notes.txt").write_text("mine")
    assert cpf("verify", "--run-id", run_id)["warnings"] == ["notes.txt is no file of a run"]


@pytest.mark.parametrize("text", ["", "\0\0", "[" * 100_000, "{}"])
def test_a_snapshot_that_is_none_is_told(cpf: Cpf, run_id: str, text: str) -> None:
    (cpf.directory(run_id) / "state.json").write_text(text)
    assert verified(cpf, run_id) == ["state.json"]


def test_a_pipe_in_place_of_a_file_does_not_hang(cpf: Cpf, run_id: str) -> None:
    file = cpf.directory(run_id) / "workflow.yaml"
    file.unlink()
    os.mkfifo(file)
    assert verified(cpf, run_id) == ["workflow.yaml"]


def test_inspect_and_resume_warn_of_a_broken_chain(cpf: Cpf, run_id: str) -> None:
    file = cpf.directory(run_id) / "history.jsonl"
    file.write_text(file.read_text().replace('"exit_code":3', '"exit_code":4', 1))
    warned = [w for w in cpf("inspect", "--run-id", run_id)["warnings"] if BROKEN in w]
    assert len(warned) == 1
    assert "cpf verify" in warned[0]
    answer = cpf.resume(run_id, "q_event", {})
    assert answer.code == 0
    assert any(BROKEN in w for w in answer["warnings"])


@pytest.mark.parametrize("path", ["../../../../../../../etc/hostname", "/etc/hostname", "artifacts/../../x"])
def test_an_artifact_that_is_said_to_lie_elsewhere_is_found(cpf: Cpf, run_id: str, path: str) -> None:
    history, state = (cpf.directory(run_id) / name for name in ("history.jsonl", "state.json"))
    before = cpf.history(run_id)[-1]["checkpoint_id"]
    data = history.read_bytes().replace(b"artifacts/plan/app", path.encode())
    after = rechain(history, data.splitlines())
    state.write_text(state.read_text().replace(before, after).replace("artifacts/plan/app", path))
    assert path in verified(cpf, run_id)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_is_added_to_an_empty_log_is_noticed(cpf: Cpf, stream: str) -> None:
    run_id = cpf.run(cli("a", "true"), ask("q"))["run_id"]
    assert cpf("verify", "--run-id", run_id).json.get("warnings") is None
    (cpf.directory(run_id) / stream / "a.txt").write_text("forged")
    answer = cpf("verify", "--run-id", run_id)
    assert answer["result"]["files_unchecked"] == []
    (warning,) = answer["warnings"]
    assert warning.startswith(f"{stream}/a.txt: something was added to it after its step had ended")
