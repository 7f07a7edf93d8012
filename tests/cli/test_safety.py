"""Data never becomes a path; a store is its owner's; secrets stay secret."""

from __future__ import annotations

import base64
import grp
import json
import os
import pwd
import re
import shutil
import stat
import struct
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from checkpointflow.drivers import command
from checkpointflow.drivers.secrets import Secrets
from checkpointflow.errors import PersistenceError
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.locks import Wish
from tests.conftest import Cpf
from tests.helpers import ask, call, cli, end


@pytest.mark.parametrize("mode", [0o777, 0o707, 0o1777])
def test_a_store_that_others_may_write_into_is_refused(cpf: Cpf, mode: int) -> None:
    run_id = cpf.run(ask("q"))["run_id"]
    cpf.base.chmod(mode)
    for answer in (cpf.run(cli("a", "touch ran")), cpf("status", "--run-id", run_id), cpf.resume(run_id)):
        assert (answer.code, answer.error_code) == (60, "ERR_PERSISTENCE")
        assert "--allow-shared" in answer["error"]["message"]
    assert not (cpf.cwd / "ran").exists()
    status = cpf("status", "--run-id", run_id, "--allow-shared")
    assert status.code == 40
    assert "--allow-shared" in status["wait"]["resume"]["command"]


def test_a_run_directory_that_others_may_write_into_is_refused(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q"))["run_id"]
    cpf.directory(run_id).chmod(0o777)
    for option in (("--run-id", run_id), ("--run-dir", str(cpf.directory(run_id)))):
        assert cpf("status", *option).error_code == "ERR_PERSISTENCE"


def test_a_store_is_shared_by_each_of_its_directories(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q"))["run_id"]
    archive = cpf("export", "--run-id", run_id)["result"]["file"]
    for place in (cpf.base, cpf.base / "runs"):
        place.chmod(0o777)
        for answer in (
            cpf.run(cli("a", "touch ran")),
            cpf("status", "--run-id", run_id),
            cpf("gc", "--keep", "0", "--force"),
            cpf("import", archive),
        ):
            assert answer.error_code == "ERR_PERSISTENCE", place
            assert "--allow-shared" in answer["error"]["message"]
        place.chmod(0o700)
    assert not (cpf.cwd / "ran").exists()
    assert cpf("status", "--run-id", run_id).code == 40


@pytest.mark.parametrize("name", ["w.yaml", "child.yaml"])
def test_a_workflow_that_everybody_may_write_is_not_run(cpf: Cpf, name: str) -> None:
    cpf.flow(cli("a", "touch ran"), name="child.yaml")
    file = cpf.flow({"id": "c", "kind": "workflow", "workflow_ref": "child.yaml"})
    (cpf.cwd / name).chmod(0o666)
    refused = cpf("run", "-f", file)
    assert (refused.code, "everybody may write" in refused["error"]["message"]) == (60, True)
    assert not (cpf.cwd / "ran").exists()
    assert cpf("run", "-f", file, "--allow-shared").code == 0


def test_a_workflow_that_everybody_may_replace_is_not_run(cpf: Cpf) -> None:
    """In a sticky directory, as /tmp is, nobody but its owner may."""
    place = cpf.cwd / "shared"
    place.mkdir()
    (place / "w.yaml").write_text((cpf.cwd / cpf.flow(cli("a", "touch ran"))).read_text())
    (cpf.cwd / "link.yaml").symlink_to("shared/w.yaml")
    place.chmod(0o777)
    for name in ("shared/w.yaml", "link.yaml"):
        refused = cpf("run", "-f", name)
        assert (refused.code, "everybody may replace it" in refused["error"]["message"]) == (60, True)
    assert not (cpf.cwd / "ran").exists()
    assert cpf("run", "-f", "link.yaml", "--allow-shared").code == 0
    place.chmod(0o1777)
    assert cpf("run", "-f", "shared/w.yaml").code == 0


def test_a_store_of_a_group_with_others_in_it_is_refused(cpf: Cpf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed with: one's own primary group taken for a group of one."""
    cpf.run(cli("a"))
    name = pwd.getpwuid(os.geteuid()).pw_name
    cpf.base.chmod(0o770)
    for group, members, code in ((name, [], 0), (name, [name], 0), (name, ["other"], 60), ("staff", [], 60)):
        found = SimpleNamespace(gr_name=group, gr_mem=members)
        monkeypatch.setattr(grp, "getgrgid", lambda _, found=found: found)
        assert cpf.run(cli("a")).code == code


def test_a_store_with_an_access_control_list_is_refused(cpf: Cpf) -> None:
    cpf.run(cli("a"))
    entries = [(1, 7, 2**32 - 1), (2, 7, 12345), (4, 0, 2**32 - 1), (16, 7, 2**32 - 1), (32, 0, 2**32 - 1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(cpf.base, "system.posix_acl_access", acl)
    except OSError:
        pytest.skip("no access control lists here")
    refused = cpf.run(cli("a"))
    assert (refused.code, "access control list" in refused["error"]["message"]) == (60, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_store_of_another_user_or_group_is_refused(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q"))["run_id"]
    for uid, gid, mode, refused in (
        (12345, -1, 0o700, "belongs to another user"),
        (0, 12345, 0o770, "the group 12345 may write"),
    ):
        os.chown(cpf.base, uid, gid)
        cpf.base.chmod(mode)
        answer = cpf("status", "--run-id", run_id)
        assert (answer.code, refused in answer["error"]["message"]) == (60, True)
    cpf.base.chmod(0o750)
    assert cpf("status", "--run-id", run_id).code == 40


@pytest.fixture
def generous() -> Iterator[None]:
    """What is created without a mode of its own is everybody's."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_all_that_a_store_holds_is_private(cpf: Cpf, tmp_path: Path, generous: None) -> None:
    cpf.flow(cli("inner", "echo inner"), name="sub.yaml")
    big = "(printf '\"'; head -c 70000 /dev/zero | tr '\\0' x; printf '\"') > $CPF_OUTPUT; echo x > file"
    steps = [
        cli("a", big, artifacts=[{"name": "n", "path": "file"}], lock={"key": "k"}),
        call("b", "sub.yaml"),
    ]
    for name in ("sub.yaml", cpf.flow(*steps)):
        (cpf.cwd / name).chmod(0o644)
    run_id = cpf("run", "-f", "w.yaml")["run_id"]
    archive = cpf("export", "--run-id", run_id)["result"]["file"]
    other = Cpf(cpf.cwd, tmp_path / "other")
    assert other("import", archive).code == 0
    for place in (cpf.base, *cpf.base.rglob("*"), other.base, *other.base.rglob("*"), cpf.cwd / archive):
        assert stat.S_IMODE(place.stat().st_mode) == (0o700 if place.is_dir() else 0o600), place


def test_a_symbolic_link_in_the_store_is_no_run(cpf: Cpf, tmp_path: Path) -> None:
    run_id = cpf.run(ask("q"))["run_id"]
    os.rename(cpf.directory(run_id), tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", cpf.directory(run_id))
    assert cpf("status", "--run-id", run_id).error_code == "ERR_RUN_NOT_FOUND"


@pytest.mark.parametrize("name", ["stdout", "stderr", "outputs"])
def test_a_symbolic_link_in_a_run_is_not_written_through(cpf: Cpf, tmp_path: Path, name: str) -> None:
    step = cli("a", "(printf '\"'; head -c 70000 /dev/zero | tr '\\0' x; printf '\"') > $CPF_OUTPUT")
    run_id = cpf.run(ask("q"), step)["run_id"]
    outside = tmp_path / "outside"
    outside.mkdir()
    os.symlink(outside, cpf.directory(run_id) / name)
    assert cpf.resume(run_id, "q_event", {}).code == 60
    assert os.listdir(outside) == []


@pytest.mark.parametrize("name", ["stdout/a.txt", "state.json.tmp", "history.jsonl", "run.lock", "step.lock"])
def test_a_file_that_a_symbolic_link_leads_to_is_not_written(cpf: Cpf, tmp_path: Path, name: str) -> None:
    run_id = cpf.run(ask("q"), cli("a", "echo x"))["run_id"]
    place, outside = cpf.directory(run_id) / name, tmp_path / "outside"
    place.parent.mkdir(exist_ok=True)
    if place.exists():
        os.rename(place, outside)
    else:
        outside.write_text("mine")
    before = outside.read_bytes()
    os.symlink(outside, place)
    # What lies where a snapshot is prepared is taken away, and anything else in place of a file is refused.
    assert cpf.resume(run_id, "q_event", {}).code == (0 if name == "state.json.tmp" else 60)
    assert outside.read_bytes() == before


@pytest.mark.parametrize("name", ["state.json", "history.jsonl", "workflow.yaml"])
def test_a_symbolic_link_in_place_of_a_file_is_not_read(cpf: Cpf, tmp_path: Path, name: str) -> None:
    run_id = cpf.run(ask("q"))["run_id"]
    file = cpf.directory(run_id) / name
    os.rename(file, tmp_path / name)
    os.symlink(tmp_path / name, file)
    assert cpf.resume(run_id, "q_event", {}).code == 60


def test_a_symbolic_link_in_place_of_a_log_is_not_shown(cpf: Cpf, tmp_path: Path) -> None:
    run_id = cpf.run(cli("a", "echo x"))["run_id"]
    (tmp_path / "private").write_text("not for others")
    log = cpf.directory(run_id) / "stdout" / "a.txt"
    log.unlink()
    log.symlink_to(tmp_path / "private")
    for option in ((), ("--raw",)):
        answer = cpf("logs", "--run-id", run_id, *option)
        assert (answer.code, "not for others" in answer.text) == (60, False)


@pytest.mark.parametrize("name", ["state.json", "history.jsonl", "workflow.yaml"])
def test_a_pipe_in_place_of_a_file_hangs_nobody(cpf: Cpf, name: str) -> None:
    run_id = cpf.run(ask("q"))["run_id"]
    file = cpf.directory(run_id) / name
    file.unlink()
    os.mkfifo(file)
    assert cpf.real("resume", "--run-id", run_id, "--event", "q_event", "--input", "{}").code == 60


SECRET = "p\"w/ü+ö'x&longer"


def forms(secret: str) -> list[bytes]:
    found = [secret.encode(), json.dumps(secret)[1:-1].encode(), urllib.parse.quote(secret).encode()]
    for before in (b"", b"u", b"us", b"usr"):
        text = base64.b64encode(before + secret.encode() + b"tail")
        found.append(text[4:-8])
    return found


def test_a_secret_reaches_the_command_and_nothing_else(cpf: Cpf) -> None:
    step = cli(
        "a",
        "printf '%s' ${secrets.TOKEN} > given; printf '%s' \"$E\" > given2; "
        "tr '\\0' ' ' < /proc/$$/cmdline > cmdline; "
        "printf '%s' \"$E\"; printf '%s' \"$E\" >&2; printf 'usr%stail' \"$E\" | base64 -w0; "
        "printf 'u%stail' \"$E\" | base64 -w0 >&2; "
        'python3 -c \'import json,os,urllib.parse as u; t=os.environ["E"]; '
        "print(json.dumps(t), u.quote(t))';"
        'printf \'{"x": "a"}\' > $CPF_OUTPUT',
        env={"E": "${secrets.TOKEN}"},
    )
    failing = cli("b", "echo bad ${secrets.TOKEN} >&2; exit 3", on_error="continue")
    output = cli("c", "printf '[\"%s\"]' ${secrets.PLAIN} > $CPF_OUTPUT", outputs={})
    cpf.env |= {"TOKEN": SECRET, "PLAIN": "plain-secret"}
    answer = cpf.run(step, failing, output, cli("d", "echo ${steps.b.error.message} ${steps.c.outputs}"))
    assert answer.code == 0, answer.text
    assert (cpf.cwd / "given").read_text() == (cpf.cwd / "given2").read_text() == SECRET
    assert SECRET not in (cpf.cwd / "cmdline").read_text()
    inspected = cpf("inspect", "--run-id", answer["run_id"])
    logs = cpf("logs", "--run-id", answer["run_id"])
    whole = [file.read_bytes() for file in cpf.directory(answer["run_id"]).rglob("*") if file.is_file()]
    whole += [a.text.encode() for a in (answer, inspected, logs)]
    for form in [*forms(SECRET), b"plain-secret"]:
        assert [data for data in whole if form in data] == [], form
    assert "***" in logs.text


def test_a_secret_that_is_empty_is_none(cpf: Cpf) -> None:
    cpf.env["TOKEN"] = ""
    answer = cpf.run(cli("a", "touch ran; echo ${secrets.TOKEN}"))
    assert (answer.code, answer.error_code) == (30, "ERR_STEP_FAILED")
    assert not (cpf.cwd / "ran").exists()


def test_a_secret_that_is_not_set_fails_the_step_before_it_starts(cpf: Cpf) -> None:
    answer = cpf.run(cli("a", "touch ran; echo ${secrets.NOT_SET_ANYWHERE}"))
    assert (answer.code, answer.error_code) == (30, "ERR_STEP_FAILED")
    assert "NOT_SET_ANYWHERE is not set" in answer["error"]["message"]
    assert not (cpf.cwd / "ran").exists()


def test_data_does_not_become_a_secret(cpf: Cpf) -> None:
    cpf.env["TOKEN"] = SECRET
    step = cli("a", "printf '%s' \"$E\" > given", env={"E": "${inputs.x}", "T": "${secrets.TOKEN}"})
    for odd in ("\0TOKEN\0", "${secrets.TOKEN}"):
        cpf.run(step, inputs={"x": odd})
        assert not (cpf.cwd / "given").exists() or SECRET not in (cpf.cwd / "given").read_text()


def test_secrets_stand_only_where_something_is_done(cpf: Cpf) -> None:
    answer = cpf("validate", "-f", cpf.flow(ask("q", prompt="${secrets.TOKEN}")))
    assert answer.code == 10


def test_a_secret_reaches_the_server_and_nothing_else(cpf: Cpf) -> None:
    heard = []

    class Echo(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append((self.path, self.headers["Authorization"], json.loads(body)))
            self.send_response(400 if "bad" in self.path else 200)
            self.end_headers()
            for byte in b'{"got": ' + body + b', "auth": "' + self.headers["Authorization"].encode() + b'"}':
                self.wfile.write(bytes([byte]))

        def log_message(self, *_: object) -> None:
            pass

    cpf.env["TOKEN"] = "s3cret-token"
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        step = {
            "kind": "api",
            "method": "POST",
            "headers": {"Authorization": "Bearer ${secrets.TOKEN}"},
            "body": {"t": "${secrets.TOKEN}", "x": ["${inputs.x}"]},
        }
        url = f"http://127.0.0.1:{server.server_port}"
        answer = cpf.run(
            {"id": "a", "url": url + "/ok?k=${secrets.TOKEN}", **step},
            {"id": "b", "url": url + "/bad/${secrets.TOKEN}", **step},
            inputs={"x": "y"},
        )
        server.shutdown()
    assert heard[0] == ("/ok?k=s3cret-token", "Bearer s3cret-token", {"t": "s3cret-token", "x": ["y"]})
    assert (answer.code, "***" in answer["error"]["message"]) == (30, True)
    state = cpf.state(answer["run_id"])
    assert state["steps"]["a"]["outputs"]["auth"] == "Bearer ***"
    whole = [file.read_bytes() for file in cpf.directory(answer["run_id"]).rglob("*") if file.is_file()]
    assert [data for data in [*whole, answer.text.encode()] if b"s3cret-token" in data] == []


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_a_secret_is_masked_across_the_borders_of_blocks(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setenv("TOKEN", "abcabcabd")
    monkeypatch.setenv("OTHER", "cabd-x")
    secrets = Secrets(("TOKEN", "OTHER"))
    text = b"xxabcabcabdxabcabcabcabdabcabccabd-x abcabcabd-x" * 5
    blocks = [text[i : i + size] for i in range(0, len(text), size)]
    assert b"".join(secrets.mask_blocks(blocks)) == secrets.mask(text)
    assert b"abcabcabd" not in secrets.mask(text)


ODD_SECRET = 'a b/ü?~"x\\>é'


@pytest.mark.parametrize(
    "form",
    [
        ODD_SECRET.encode(),
        json.dumps(ODD_SECRET)[1:-1].encode(),
        json.dumps(ODD_SECRET, ensure_ascii=False)[1:-1].encode(),
        urllib.parse.quote(ODD_SECRET).encode(),
        urllib.parse.quote(ODD_SECRET, safe="").encode(),
        urllib.parse.quote_plus(ODD_SECRET).encode(),
        b"a%20b/%c3%bc%3f~%22x%5c%3e%c3%a9",
        base64.b64encode(ODD_SECRET.encode()),
        base64.urlsafe_b64encode(ODD_SECRET.encode()),
    ],
)
def test_a_secret_is_masked_in_each_of_its_forms(monkeypatch: pytest.MonkeyPatch, form: bytes) -> None:
    monkeypatch.setenv("TOKEN", ODD_SECRET)
    assert Secrets(("TOKEN",)).mask(b"<" + form + b">") == b"<***>"


def test_a_line_of_a_long_secret_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "-----BEGIN\nMIIEvQIBADANBg\nend\n")
    assert Secrets(("KEY",)).mask(b"got MIIEvQIBADANBg, end") == b"got ***, end"


def test_a_secret_is_masked_whole_though_another_begins_like_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT", "abc")
    monkeypatch.setenv("LONG", "abc-rest-of-it")
    secrets = Secrets(("SHORT", "LONG"))
    assert secrets.mask(b"abc-rest-of-it abc") == b"*** ***"
    assert b"".join(secrets.mask_blocks([b"abc", b"-rest-of-it", b" abc"])) == b"*** ***"


@pytest.mark.parametrize(("secret", "masked"), [("xy", b"a *** b"), ("x", b"a x b")])
def test_all_but_a_single_letter_is_masked(
    monkeypatch: pytest.MonkeyPatch, secret: str, masked: bytes
) -> None:
    monkeypatch.setenv("TOKEN", secret)
    assert Secrets(("TOKEN",)).mask(b"a xy b" if secret == "xy" else b"a x b") == masked


@pytest.mark.parametrize("blank", ["", " \n"])
def test_an_empty_secret_fails_the_step(cpf: Cpf, blank: str) -> None:
    cpf.env["TOKEN"] = blank
    answer = cpf.run(cli("a", "echo ${secrets.TOKEN}"))
    assert answer["error"]["message"] == "the secret TOKEN is not set in the environment of cpf, or empty"


SHELL_SECRET = """it's "b" \\ $HOME;* (é)\n\tand `more`"""


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh"])
@pytest.mark.parametrize("script", ["set -x; : $1", "printf %q $1", "export -p", "set", "echo $1", "echo $@"])
def test_a_secret_is_masked_as_shells_quote_it(
    monkeypatch: pytest.MonkeyPatch, shell: str, script: str
) -> None:
    if shutil.which(shell) is None or (shell, script[:6]) == ("sh", "printf"):
        pytest.skip("it cannot do that")
    monkeypatch.setenv("TOKEN", SHELL_SECRET)
    done = subprocess.run(
        [shell, "-c", script.replace("$1", '"$TOKEN"').replace("$@", "$TOKEN"), "_"],
        capture_output=True,
        check=True,
    )
    masked = Secrets(("TOKEN",)).mask(done.stdout + done.stderr)
    assert b"***" in masked
    assert not re.search(rb"HOME;|more`", masked)


@pytest.mark.parametrize("width", [1, 64, 76])
@pytest.mark.parametrize("before", ["", "u:", "us:", "usr:", "user:" * 30])
def test_a_secret_is_masked_in_base64_of_more_and_in_lines(
    monkeypatch: pytest.MonkeyPatch, width: int, before: str
) -> None:
    monkeypatch.setenv("TOKEN", " tok-0123456789?>\n")
    text = base64.b64encode(f"{before}tok-0123456789?>".encode()).decode()
    lines = "\r\n".join(text[n : n + width] for n in range(0, len(text), width)).encode()
    secrets = Secrets(("TOKEN",))
    _, masked, after = secrets.mask(lines).partition(b"***")
    assert masked
    left = re.sub(rb"[\r\n=]", b"", after)
    assert len(left) <= 1, "at most what holds less than a byte of it"
    assert b"".join(secrets.mask_blocks(bytes([byte]) for byte in lines)) == secrets.mask(lines)


@pytest.mark.parametrize(
    "spelled",
    [
        r"a\/b\u0026c '\u00E9\u00e9",  # PHP, Go, .NET
        r"a\\/b&c '\xc3\xa9\303\251",
        r"a\\/b\\u0026c '\\u00E9\\u00e9",  # JSON in JSON
        "a%2Fb%26c%20'%C3%A9%c3%a9",  # encodeURIComponent
        "a/b&amp;c &#39;&#xe9;é",
        "a/b&c+%27éé",
        "a/b&c ''éé",  # SQL, PowerShell
        "a/b\n&c 'é\r\né",
    ],
)
def test_a_secret_is_masked_however_its_characters_are_spelled(
    monkeypatch: pytest.MonkeyPatch, spelled: str
) -> None:
    monkeypatch.setenv("TOKEN", "\na/b&c 'éé  ")
    secrets = Secrets(("TOKEN",))
    assert secrets.mask(f"<{spelled}>".encode()) == b"<***>"
    blocks = [bytes([byte]) for byte in f"<{spelled}>".encode()]
    assert b"".join(secrets.mask_blocks(blocks)) == b"<***>"


def test_nothing_is_held_back_that_cannot_become_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "top-secret" * 9)
    secrets = Secrets(("TOKEN",))
    assert secrets.mask_so_far(b"a line\n") == (b"a line\n", b"")
    assert secrets.mask_so_far(b"a line\nto") == (b"a line\n", b"to")
    assert secrets.mask_so_far(b"so top-sec\nret") == (b"so ", b"top-sec\nret")


def test_no_step_finds_a_secret_in_its_environment_that_it_does_not_name(cpf: Cpf) -> None:
    cpf.env |= {"TOKEN": "top-secret", "INNER": "inner-secret", "OTHER": "plain"}
    tell = 'echo "$CPF_STEP: ${TOKEN-no} ${INNER-no} ${OTHER-no}" >> said'
    cpf.flow(cli("i", f": ${{secrets.INNER}}; {tell}"), cli("j", tell), name="inner.yaml")
    cpf.run(cli("a", tell), cli("b", tell, env={"X": "${secrets.TOKEN}"}), call("c", "inner.yaml"))
    assert (cpf.cwd / "said").read_text().splitlines() == [
        "a: no no plain",
        "b: top-secret no plain",
        "c/i: no inner-secret plain",
        "c/j: no no plain",
    ]


@pytest.mark.parametrize(
    ("script", "more", "code"),
    [
        ("true", {"artifacts": [{"name": "n", "path": "${inputs.x}"}]}, 30),
        ('ln -s /tmp "$CPF_ARTIFACTS_DIR"/a; touch f', {"artifacts": [{"name": "n", "path": "f"}]}, 30),
        ('rm -rf "$CPF_RUN_DIR"/std*; exit 1', {}, 30),
        (
            'rm -rf "$CPF_RUN_DIR"/std*; ln -s /tmp "$CPF_RUN_DIR"/stdout; ln -s /tmp "$CPF_RUN_DIR"/stderr',
            {},
            30,
        ),
    ],
)
def test_whatever_a_command_does_to_its_run_it_comes_to_an_end(
    cpf: Cpf, script: str, more: dict[str, object], code: int
) -> None:
    """Failed (hanging) with: only LockConflict and PersistenceError caught where a deed is done."""
    inputs = {"type": "object", "properties": {"x": {"type": "string"}}}
    file = cpf.flow(cli("a", script, **more), cli("b", "echo ${steps.a.stdout}"), inputs=inputs)
    answer = cpf.real("run", "-f", file, "--input", json.dumps({"x": "a\0b"}))
    assert (answer.code, answer.error_code) == (code, "ERR_STEP_FAILED"), answer.text
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("name", ["start", "open_watch"])
def test_a_mistake_of_ours_where_a_deed_is_done_is_a_failure_of_the_step(
    cpf: Cpf, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Failed with: a run that nobody drove, and `on_error` and `retry` passed over."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(command, name, broken)
    policy = {"max_attempts": 2, "backoff_seconds": 0}
    answer = cpf.run(
        cli("a", "sleep 60", retry=policy, on_error="continue"), end("e", result="${steps.a.error.message}")
    )
    assert (answer.code, "ZeroDivisionError: a mistake" in answer["result"]) == (0, True)
    facts = [entry["fact"]["fact"] for entry in cpf.history(answer["run_id"])]
    assert facts.count("step_started") == 2, facts


def test_asking_to_cancel_writes_through_no_link_and_privately(cpf: Cpf, tmp_path: Path) -> None:
    directory = RunDirectory(cpf.directory(cpf.run(ask("q"))["run_id"]))
    os.umask(os.umask(0o022))
    word, victim = directory.place / "cancel.json", tmp_path / "victim"
    with directory.ask_to_cancel(Wish("enough"), "now", 0):
        assert stat.S_IMODE(word.stat().st_mode) == 0o600
    victim.write_text("mine")
    word.unlink()
    word.hardlink_to(victim)
    with directory.ask_to_cancel(Wish("enough"), "now", 0):
        assert "no reason" in str(directory.find_wish())
    word.unlink()
    word.symlink_to(victim)
    with pytest.raises(PersistenceError), directory.ask_to_cancel(Wish("enough"), "now", 0):
        pass
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("name", ["runs", "locks"])
def test_a_symbolic_link_in_place_of_a_directory_of_the_store_is_not_followed(
    cpf: Cpf, tmp_path: Path, name: str
) -> None:
    run_id = cpf.run(ask("q"))["run_id"]
    outside = tmp_path / "outside"
    if name == "runs":
        (cpf.base / "runs").rename(outside)
    else:
        outside.mkdir()
    (cpf.base / name).symlink_to(outside)
    before = sorted(path.name for path in outside.rglob("*"))
    locked = cpf.run(cli("a", "touch ran", lock={"key": "k"}))
    assert (locked.code, "symbolic link" in locked["error"]["message"]) == (60, True)
    if name == "runs":
        for arguments in (("delete", "--run-id", run_id, "--force"), ("gc", "--keep", "0", "--force")):
            assert cpf(*arguments).code == 60
    assert sorted(path.name for path in outside.rglob("*")) == before
    assert not (cpf.cwd / "ran").exists()


def test_the_locks_beside_a_run_that_is_named_by_its_directory_must_be_ours_too(cpf: Cpf) -> None:
    run_id = cpf.run(ask("q"), cli("a", "touch ran", lock={"key": "k"}))["run_id"]
    (cpf.cwd / "locks").mkdir(mode=0o777)
    (cpf.cwd / "locks").chmod(0o777)
    cpf.directory(run_id).rename(cpf.cwd / "mine")
    given = ("resume", "--run-dir", "mine", "--event", "q_event", "--input", "{}")
    answer = cpf(*given)
    assert (answer.code, "--allow-shared" in answer["error"]["message"]) == (60, True)
    assert not (cpf.cwd / "ran").exists()
    assert cpf("resume", "--run-dir", "mine", "--allow-shared").code == 0
