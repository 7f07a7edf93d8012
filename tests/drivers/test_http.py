"""One deed: an HTTP call, really made, to servers on this machine."""

from __future__ import annotations

import gzip
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from email.message import Message
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkpointflow import __version__
from checkpointflow.drivers.addresses import is_public
from checkpointflow.drivers.http import Call, Request
from checkpointflow.drivers.urls import parse_url
from checkpointflow.engine.actions import CallHttp, Error, Failure, Outcome, Success
from checkpointflow.expressions.evaluation import Secret
from checkpointflow.json_text import MAX_BYTES
from checkpointflow.store.directory import RunDirectory
from tests.conftest import Cpf, until

Peer = Callable[[socket.socket], None]
Say = Callable[[Peer | bytes], str]
Serve = Callable[..., "Server"]


NOT_PUBLIC = "no public address"  # why a host that is data is not called


class Heard(NamedTuple):
    """A request, as a server heard it."""

    method: str
    target: str
    headers: Message
    body: bytes


class Server:
    """An HTTP server that answers what it was told to, and remembers what it was asked."""

    def __init__(self, host: str = "127.0.0.1", tls: Path | None = None) -> None:
        self.heard: list[Heard] = []
        self.answers: dict[str, tuple[int, str, dict[str, str]]] = {}
        kind = type(
            "V6" if ":" in host else "V4",
            (http.server.ThreadingHTTPServer,),
            {"address_family": socket.AF_INET6 if ":" in host else socket.AF_INET},
        )
        self._http = kind((host, 0), self._handler())
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        shown = f"[{host}]" if ":" in host else host
        self.port = self._http.server_address[1]
        self.url = f"{'https' if tls else 'http'}://{shown}:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    def answer(self, path: str, body: str = "", status: int = 200, **headers: str) -> str:
        """From now on answer *path* so; returns the URL."""
        self.answers[path] = (status, body, {n.replace("_", "-"): v for n, v in headers.items()})
        return self.url + path

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                server.heard.append(Heard(self.command, self.path, self.headers, body))
                default = (200, json.dumps({"at": self.path}), {})
                status, text, headers = server.answers.get(self.path.partition("?")[0], default)
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(text.encode()))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Server] = []

    def start(**more: Any) -> Server:
        servers.append(Server(**more))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def server(serve: Serve) -> Server:
    return serve()


@contextmanager
def listening(peer: Peer) -> Iterator[str]:
    """The URL of a server that hears the head of a request and leaves the rest to *peer*."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                try:
                    heard = b""
                    while b"\r\n\r\n" not in heard:
                        block = connection.recv(65536)
                        if not block:
                            break
                        heard += block
                    peer(connection)
                except OSError:
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


@pytest.fixture
def peer() -> Iterator[Say]:
    with ExitStack() as stack:

        def start(does: Peer | bytes) -> str:
            def say(connection: socket.socket) -> None:
                assert isinstance(does, bytes)
                connection.sendall(does)

            return stack.enter_context(listening(say if isinstance(does, bytes) else does))

        yield start


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and the certificate that it signed for 127.0.0.1, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    place = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=place, check=True, capture_output=True,
    )  # fmt: skip
    both = place / "both.pem"
    both.write_bytes((place / "key.pem").read_bytes() + (place / "cert.pem").read_bytes())
    return both


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return certificate


def made(place: Path, url: str, **more: Any) -> Call:
    given = {"path": "step", "attempt": 1, "method": "GET", "idempotency_key": "R:step", **more}
    action = CallHttp(url=url, **given)
    return Call(action, RunDirectory(place).log("stdout", action.path, action.attempt))


def outcome(place: Path, url: str, **more: Any) -> Outcome:
    return made(place, url, **more).perform()


def outputs(place: Path, url: str, **more: Any) -> Any:
    found = outcome(place, url, **more)
    assert isinstance(found, Success), found
    return found.outputs


def error(place: Path, url: str, **more: Any) -> Error:
    found = outcome(place, url, **more)
    assert isinstance(found, Failure), found
    return found.error


HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


# What comes back


def test_a_json_object_becomes_the_outputs(tmp_path: Path, server: Server) -> None:
    assert outputs(tmp_path, server.answer("/a", '{"n": [1, null]}')) == {"n": [1, None]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1]", [1]), ("3", 3), ('"x"', "x"), ("null", None), ("", ""), ("some text\n", "some text\n"),
        ("{", "{"), ('{"n": NaN}', '{"n": NaN}'), ("é", "é"), ("[" * 5000, "[" * 5000),
    ],
)  # fmt: skip
def test_anything_else_stands_under_body(tmp_path: Path, server: Server, text: str, value: object) -> None:
    assert outputs(tmp_path, server.answer("/a", text)) == {"body": value}


def said(body: bytes, *headers: str, status: int = 200) -> bytes:
    """An answer, byte by byte."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def test_what_is_no_text_stays_in_the_file_and_is_told(tmp_path: Path, peer: Say) -> None:
    url = peer(said(b"\x89PNG\xff", "Content-Type: image/png"))
    found = outcome(tmp_path, url, keeps_stdout=True, path="each[0]/a", attempt=2)
    assert isinstance(found, Success)
    name = "stdout/each[0]/a.2.txt"
    told = {"path": name, "size": 5, "media_type": "image/png"}
    assert (found.outputs, found.stdout) == ({"binary": told}, None)
    assert (tmp_path / name).read_bytes() == b"\x89PNG\xff"
    assert outputs(tmp_path, peer(said(b"\xff\xfea")))["binary"]["media_type"] is None


@pytest.mark.parametrize(
    ("media_type", "text", "value"),
    [
        ("text/plain", "1.10", "1.10"), ("text/plain", "null", "null"), ("text/html", '"x"', '"x"'),
        ("text/plain; charset=utf-8", '{"n": 1.10}', None), ("text/csv", "[1]", [1]),
        ("application/json", "1.10", 1.1), ("Application/Problem+JSON; v=1", "null", None), ("", "7", 7),
        ("application/json", "1.10 or so", "1.10 or so"), ("application/octet-stream", "true", "true"),
    ],
)  # fmt: skip
def test_only_what_says_that_it_is_json_is_a_number(
    tmp_path: Path, peer: Say, media_type: str, text: str, value: object
) -> None:
    url = peer(said(text.encode(), *([f"Content-Type: {media_type}"] if media_type else [])))
    assert outputs(tmp_path, url) == ({"n": 1.1} if text.startswith("{") else {"body": value})


pack = partial(gzip.compress, mtime=0)  # the same at each import, as names of tests must be
PACKED = pack(b'{"a": 1}')
RAW_DEFLATE = zlib.compressobj(wbits=-15)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", PACKED), ("x-gzip", PACKED), ("GZIP, identity", PACKED),
        ("deflate", zlib.compress(b'{"a": 1}')),
        ("deflate", RAW_DEFLATE.compress(b'{"a": 1}') + RAW_DEFLATE.flush()),
        ("deflate, gzip", pack(zlib.compress(b'{"a": 1}'))),
        ("gzip", pack(b'{"a":') + pack(b" 1}")), ("gzip", PACKED + b"\0" * 9),
        ("gzip", pack(b'{"a": ' + b" " * 300_000 + b"1}")),
    ],
)  # fmt: skip
def test_a_packed_answer_is_unpacked(tmp_path: Path, peer: Say, coding: str, body: bytes) -> None:
    assert outputs(tmp_path, peer(said(body, f"Content-Encoding: {coding}"))) == {"a": 1}
    assert json.loads((tmp_path / "stdout/step.txt").read_bytes()) == {"a": 1}


def test_a_packed_answer_may_come_byte_by_byte(tmp_path: Path, peer: Say) -> None:
    def slow(connection: socket.socket) -> None:
        for byte in said(PACKED, "Content-Encoding: gzip"):
            connection.sendall(bytes([byte]))

    assert outputs(tmp_path, peer(slow)) == {"a": 1}


@pytest.mark.parametrize(
    ("coding", "body", "why"),
    [
        ("br", b"\x0b\x02\x80", 'has the Content-Encoding "br"; only gzip and deflate can be read'),
        ("gzip", b"plain", "is not the gzip that its Content-Encoding says"),
        ("deflate", b"\xff\xff", "is not the deflate"), ("gzip", PACKED[:-9], "it hung up within its gzip"),
        ("gzip, gzip, gzip, gzip", PACKED, 'has the Content-Encoding "gzip, gzip, gzip, gzip"'),
    ],
)  # fmt: skip
def test_what_cannot_be_unpacked_is_a_failure(
    tmp_path: Path, peer: Say, coding: str, body: bytes, why: str
) -> None:
    assert why in error(tmp_path, peer(said(body, f"Content-Encoding: {coding}"))).message
    told = error(tmp_path, peer(said(body, f"Content-Encoding: {coding}", status=503)))
    assert why in told.message and "\ufffd" not in told.message


def test_an_answer_without_a_body_needs_no_unpacking(tmp_path: Path, peer: Say) -> None:
    url = peer(said(b"", "Content-Encoding: br"))
    assert outputs(tmp_path, url) == outputs(tmp_path, url, method="HEAD") == {"body": ""}


def test_a_bomb_is_stopped_at_the_limit(tmp_path: Path, peer: Say) -> None:
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(3 * MAX_BYTES >> 20)) + packer.flush()
    for coding, body in (("gzip", bomb), ("gzip, gzip", pack(bomb))):
        url = peer(said(body, f"Content-Encoding: {coding}"))
        assert f"is larger than {MAX_BYTES} bytes" in error(tmp_path, url).message
        assert (tmp_path / "stdout/step.txt").stat().st_size < MAX_BYTES + (1 << 17)


@pytest.mark.parametrize(
    ("media_type", "body", "value"),
    [
        ("text/plain; charset=ISO-8859-1", "Zoë".encode("latin-1"), "Zoë"),
        ('text/plain; charset="windows-1252"', "1 €".encode("cp1252"), "1 €"),
        ("text/html;charset=Shift_JIS", "東京".encode("shift_jis"), "東京"),
        ("text/plain; charset=utf-16", "Zoë".encode("utf-16"), "Zoë"),
        ("text/plain; charset=utf-16be", "Zoë".encode("utf-16-be"), "Zoë"),
        ("text/plain", "Zoë".encode("utf-16"), "Zoë"), ("text/plain", "\ufeffZoë".encode(), "Zoë"),
        ("text/plain; charset=us-ascii", "Zoë".encode(), "Zoë"), ("text/plain; charset=rot13", b"Zoe", "Zoe"),
        ("text/plain; charset=no-such", "Zoë".encode(), "Zoë"),
        ("text/plain; charset=unicode_escape", b"\\n", "\\n"),
        ("application/json; charset=iso-8859-1", '["Zoë"]'.encode("latin-1"), ["Zoë"]),
        ("application/json", '["Zoë"]'.encode("utf-16"), ["Zoë"]), ("text/plain; charset=utf-16", b"", ""),
    ],
)  # fmt: skip
def test_text_is_read_in_its_charset(
    tmp_path: Path, peer: Say, media_type: str, body: bytes, value: object
) -> None:
    url = peer(said(body, f"Content-Type: {media_type}"))
    assert outputs(tmp_path, url) == {"body": value}
    assert "Zo" not in str(value) or b"Zo" in (tmp_path / "stdout/step.txt").read_bytes()


def test_text_that_is_not_in_its_charset_is_a_failure(tmp_path: Path, peer: Say) -> None:
    url = peer(said(b"\xd8\x00\xd8", "Content-Type: text/plain; charset=utf-16"))
    assert "is not text in utf-16, as it says" in error(tmp_path, url).message


def test_a_secret_is_masked_however_the_answer_is_written(
    tmp_path: Path, peer: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "Zoë-secret")
    body = pack("it is Zoë-secret".encode("utf-16"))
    url = peer(said(body, "Content-Encoding: gzip", "Content-Type: text/plain; charset=utf-16"))
    assert outputs(tmp_path, url, secrets=("TOKEN",)) == {"body": "it is ***"}
    url = peer(said(b"\xff", "Content-Type: a/Zo-secret"))
    monkeypatch.setenv("TOKEN", "zo-secret")
    assert outputs(tmp_path, url, secrets=("TOKEN",))["binary"]["media_type"] == "a/***"


def test_the_answer_lies_in_a_private_file(tmp_path: Path, server: Server) -> None:
    outcome(tmp_path, server.answer("/a", "text"), path="each[0]/a", attempt=2)
    file = tmp_path / "stdout/each[0]/a.2.txt"
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("text", 0o600)
    assert (tmp_path / "stdout").stat().st_mode & 0o777 == 0o700


def test_the_answer_streams_into_the_file(tmp_path: Path, peer: Say) -> None:
    go_on = threading.Event()

    def slow(connection: socket.socket) -> None:
        connection.sendall(HELLO[:-3])
        go_on.wait(10)
        connection.sendall(HELLO[-3:])

    call = made(tmp_path, peer(slow))
    thread = threading.Thread(target=call.perform)
    thread.start()
    file = tmp_path / "stdout/step.txt"
    until(lambda: file.exists() and file.read_bytes() == b"he")
    go_on.set()
    thread.join(10)
    assert file.read_bytes() == b"hello"


def test_text_is_kept_when_asked_for(tmp_path: Path, server: Server) -> None:
    found = outcome(tmp_path, server.answer("/a", "text\n"), keeps_stdout=True)
    assert (found.stdout, found.status_code) == ("text", 200)  # type: ignore[union-attr]
    assert outcome(tmp_path, server.url + "/a").stdout is None  # type: ignore[union-attr]


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_these_status_codes_are_success(tmp_path: Path, server: Server, status: int) -> None:
    assert outcome(tmp_path, server.answer("/a", status=status)).status_code == status  # type: ignore[union-attr]


@pytest.mark.parametrize("status", [203, 299, 304, 400, 404, 500, 503, 599])
def test_any_other_status_code_is_a_failure_that_shows_the_answer(
    tmp_path: Path, server: Server, status: int
) -> None:
    found = error(tmp_path, server.answer("/a", "no such page" * (status != 304), status))
    assert (found.code, found.status_code) == ("ERR_STEP_FAILED", status)
    assert f"GET {server.url}/a was answered with {status}" in found.message
    assert ("no such page" in found.message) == (status != 304)


def test_the_author_says_what_is_success(tmp_path: Path, server: Server) -> None:
    url = server.answer("/a", "gone", 410)
    assert outputs(tmp_path, url, status_codes=(404, 410)) == {"body": "gone"}
    assert error(tmp_path, server.answer("/b"), status_codes=(201,)).status_code == 200


def test_a_long_answer_is_cut_in_the_message_with_a_mark(tmp_path: Path, server: Server) -> None:
    shown = error(tmp_path, server.answer("/a", "x" * 100_000, 500)).message
    assert len(shown) < 400 and shown.endswith("xxx… (cut; the whole is in the step's log)")
    assert error(tmp_path, server.answer("/a", "x" * 200, 500)).message.endswith(": " + "x" * 200)


def test_a_failure_shows_no_text_where_there_is_none(tmp_path: Path, peer: Say) -> None:
    found = error(tmp_path, peer(said(b"\x89PNG\xff", status=500)))
    assert found.message.endswith(": 5 bytes that are no text")


def test_204_and_head_have_no_body(tmp_path: Path, peer: Say) -> None:
    answer = b"HTTP/1.1 %s OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n"
    assert outputs(tmp_path, peer(answer % b"200"), method="HEAD") == {"body": ""}
    assert outputs(tmp_path, peer(answer % b"204")) == {"body": ""}


# What is sent


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_is_sent_as_it_is(tmp_path: Path, server: Server, method: str) -> None:
    outcome(tmp_path, server.url, method=method)
    assert [(h.method, h.target) for h in server.heard] == [(method, "/")]


@pytest.mark.parametrize("body", [{"n": 1, "t": [True, None, "é"]}, [1.5], 0, False, None, {}])
def test_a_body_is_sent_as_json_with_its_types(tmp_path: Path, server: Server, body: object) -> None:
    outcome(tmp_path, server.url, method="POST", body=body)
    (heard,) = server.heard
    assert (json.loads(heard.body), heard.headers["Content-Type"]) == (body, "application/json")


@pytest.mark.parametrize("body", ["", "é\n{", '{"n": 1}'])
def test_text_is_sent_as_it_is(tmp_path: Path, server: Server, body: str) -> None:
    outcome(tmp_path, server.url, method="POST", body=body)
    (heard,) = server.heard
    assert (heard.body.decode(), heard.headers["Content-Type"]) == (body, "text/plain; charset=utf-8")


def test_a_mapping_goes_out_as_the_form_that_its_type_declares(tmp_path: Path, server: Server) -> None:
    headers = {"content-type": "Application/X-WWW-Form-Urlencoded; charset=utf-8"}
    body = {"user": "a&admin=1", "n": 1.5, "ok": True, "to": ["é", 2], "none": []}
    outputs(tmp_path, server.url + "/a", method="POST", headers=headers, body=body)
    assert server.heard[-1].body == b"user=a%26admin%3D1&n=1.5&ok=true&to=%C3%A9&to=2"
    outputs(tmp_path, server.url + "/a", method="POST", headers=headers, body="a=b&c")
    assert server.heard[-1].body == b"a=b&c"


@pytest.mark.parametrize("body", [["a"], 7, None, {"a": {"b": 1}}, {"a": None}, {"a": [[1]]}])
def test_what_is_no_form_is_not_sent_as_one(tmp_path: Path, server: Server, body: object) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    found = error(tmp_path, server.url + "/a", method="POST", headers=headers, body=body)
    assert "form" in found.message and server.heard == []


@pytest.mark.parametrize("before", [0, 95])
def test_a_secret_in_the_reason_of_an_answer_is_masked_before_that_is_cut(
    tmp_path: Path, peer: Say, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    monkeypatch.setenv("TOKEN", "Zoë-secret")
    reason = "x" * before + "Zoë-secret"
    url = peer(f"HTTP/1.1 500 {reason}\r\nContent-Length: 0\r\n\r\n".encode())
    found = error(tmp_path, url, secrets=("TOKEN",))
    assert found.message.endswith("x" * before + "***")


def test_a_secret_that_decoding_makes_visible_is_masked(
    tmp_path: Path, peer: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "top-secret")
    url = peer(said(rb'{"a": "\u0074op-secret", "\u0074op-secret": [1]}', "Content-Type: application/json"))
    assert outputs(tmp_path, url, secrets=("TOKEN",)) == {"a": "***", "***": [1]}


def test_text_that_is_too_long_to_be_kept_is_lost_and_not_cut(tmp_path: Path, peer: Say) -> None:
    found = outcome(tmp_path, peer(said(b"x" * 65537, "Content-Type: text/plain")), keeps_stdout=True)
    assert isinstance(found, Success)
    assert (found.stdout, "stdout" in found.lost) == (None, True)


def test_a_secret_in_a_form_is_encoded(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "a&b=c")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    body = {"secret": str(Secret("TOKEN"))}
    outputs(tmp_path, server.url + "/a", method="POST", headers=headers, body=body, secrets=("TOKEN",))
    assert server.heard[-1].body == b"secret=a%26b%3Dc"


def test_without_a_body_nothing_is_sent_nor_said_of_it(tmp_path: Path, server: Server) -> None:
    outcome(tmp_path, server.url)
    (heard,) = server.heard
    assert (heard.headers["Content-Type"], heard.headers["Content-Length"]) == (None, None)


def test_a_long_body_arrives(tmp_path: Path, server: Server) -> None:
    outcome(tmp_path, server.url, method="PUT", body="x" * 5_000_000)
    assert len(server.heard[0].body) == 5_000_000


def test_headers_are_sent_and_go_before_ours(tmp_path: Path, server: Server) -> None:
    headers = {"X-One": "1 2", "content-type": "text/csv", "USER-AGENT": "me", "idempotency-key": "k"}
    outcome(tmp_path, server.url, method="POST", body="a,b", headers=headers)
    (heard,) = server.heard
    assert {n: heard.headers.get_all(n) for n in headers} == {n: [v] for n, v in headers.items()}


def test_a_header_may_hold_any_text(tmp_path: Path, server: Server) -> None:
    outcome(tmp_path, server.url, headers={"X-Name": "Zoë ☃\tx"})
    assert server.heard[0].headers["X-Name"].encode("latin-1").decode() == "Zoë ☃\tx"


def test_it_says_who_calls(tmp_path: Path, server: Server) -> None:
    outcome(tmp_path, server.url)
    assert server.heard[0].headers["User-Agent"] == f"checkpointflow/{__version__}"
    assert server.heard[0].headers["Host"] == f"127.0.0.1:{server.port}"


def test_it_says_that_one_answer_is_all_it_wants(tmp_path: Path, server: Server) -> None:
    outcome(tmp_path, server.url)
    assert server.heard[0].headers["Connection"] == "close"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_all_attempts_to_change_something_carry_one_key(tmp_path: Path, server: Server, method: str) -> None:
    for attempt in (1, 2):
        outcome(tmp_path, server.url, method=method, attempt=attempt, idempotency_key="R:pay")
    assert [h.headers["Idempotency-Key"] for h in server.heard] == ["R:pay", "R:pay"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_what_changes_nothing_carries_none(tmp_path: Path, server: Server, method: str) -> None:
    outcome(tmp_path, server.url, method=method)
    assert server.heard[0].headers["Idempotency-Key"] is None


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "a\r\nY: b"}, {"X": "a\nY: b"}, {"X": "a\r\n folded"}, {"X": "a\rb"}, {"X": "a\0b"},
        {"X: y\r\nZ": "a"}, {"X Y": "a"}, {"X:": "a"}, {"": "a"}, {"Ü": "a"}, {"X\n": "a"},
    ],
)  # fmt: skip
def test_a_header_cannot_smuggle_in_another(tmp_path: Path, server: Server, headers: dict[str, str]) -> None:
    assert error(tmp_path, server.url, headers=headers).code == "ERR_STEP_FAILED"
    assert server.heard == []


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Connection"])
def test_where_the_message_ends_is_not_for_a_header_to_say(tmp_path: Path, server: Server, name: str) -> None:
    assert name in error(tmp_path, server.url, method="POST", body="x", headers={name: "1"}).message
    assert server.heard == []


def test_a_key_cannot_smuggle_in_a_header(tmp_path: Path, server: Server) -> None:
    found = error(tmp_path, server.url, method="POST", idempotency_key="a\r\nX: b")
    assert ("Idempotency-Key" in found.message, server.heard) == (True, [])


# Where it goes


@pytest.mark.parametrize(
    ("written", "target"),
    [
        ("", "/"),
        ("/", "/"),
        ("?q=1", "/?q=1"),
        ("#part", "/"),
        ("/a?b=c#part?d", "/a?b=c"),
        ("/a b/c", "/a%20b/c"),
        ("/é/☃?q=ü x", "/%C3%A9/%E2%98%83?q=%C3%BC%20x"),
        ("/a%20b%2Fc?d=%26", "/a%20b%2Fc?d=%26"),
        ("/100%?at=5%&z=%zz", "/100%25?at=5%25&z=%25zz"),
        ('/"<>\\^`{|}', "/%22%3C%3E%5C%5E%60%7B%7C%7D"),
        ("/a:b@c;d=e,f+g(h)*'!$&~", "/a:b@c;d=e,f+g(h)*'!$&~"),
        ("/a?filter[x]=1&b=/?:@", "/a?filter[x]=1&b=/?:@"),
        ("/a/../b/./c//d", "/a/../b/./c//d"),
    ],
)
def test_path_and_query_are_percent_encoded(
    tmp_path: Path, server: Server, written: str, target: str
) -> None:
    outputs(tmp_path, server.url + written)
    assert server.heard[0].target == target


@pytest.mark.parametrize(
    ("written", "name", "header"),
    [
        ("BÜCHER.example", "xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("Example.ORG", "example.org", "example.org"),
        ("a_b.example.", "a_b.example.", "a_b.example."),
        ("[2001:DB8:0::abcd]", "2001:db8::abcd", "[2001:db8::abcd]"),
    ],
)
def test_a_host_is_looked_up_by_its_plain_name(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, written: str, name: str, header: str
) -> None:
    asked, look_up = [], socket.getaddrinfo

    def local(host: str, *more: Any, **others: Any) -> Any:
        asked.append(host)
        return look_up("127.0.0.1", *more, **others)

    monkeypatch.setattr(socket, "getaddrinfo", local)
    outputs(tmp_path, f"http://{written}:{server.port}/")
    assert asked == [name]
    assert server.heard[0].headers["Host"] == f"{header}:{server.port}"


def test_a_name_that_two_standards_read_differently_is_refused(tmp_path: Path) -> None:
    assert "xn--" in error(tmp_path, "http://straße.example/").message


def test_an_ipv6_address_is_called(tmp_path: Path, serve: Serve) -> None:
    try:
        server = serve(host="::1")
    except OSError:
        pytest.skip("there is no IPv6 here")
    assert outputs(tmp_path, f"http://[::1]:{server.port}/a") == {"at": "/a"}
    assert server.heard[0].headers["Host"] == f"[::1]:{server.port}"


@pytest.mark.parametrize("first", ["refuses", "lasts"])
def test_the_next_address_is_tried(
    tmp_path: Path, server: Server, deaf: int, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    look_up = socket.getaddrinfo
    bad = closed_port() if first == "refuses" else deaf

    def two(host: str, port: int, **more: Any) -> Any:
        return look_up("127.0.0.1", bad, **more) + look_up("127.0.0.1", port, **more)

    monkeypatch.setattr(socket, "getaddrinfo", two)
    assert outputs(tmp_path, f"http://two.example:{server.port}/a", timeout_seconds=1) == {"at": "/a"}


@pytest.mark.parametrize(
    "url",
    [
        "", "/a", "a", "ftp://127.0.0.1/", "file:///etc/passwd", "javascript:1", "http:", "http://", "http:///a",
        "http:127.0.0.1", "//127.0.0.1/", "http://a b/", "http://[::1/", "http://[::1]x/", "http://[x]/",
        "http://[fe80::1%25lo]/", "http://a:b/", "http://127.0.0.1:99999/", "http://127.0.0.1:0/",
        "http://127.0.0.1:-1/", "http://a..b/", f"http://{'a' * 64}.b/", f"http://{'a.' * 200}b/",
        "http://%31/", "http://a\\b/", "http://a|b/", "http://ﾊ／a/",
        "http://127.0.0.1/\ud800",
    ],
)  # fmt: skip
def test_what_is_no_url_of_http_is_refused(tmp_path: Path, url: str) -> None:
    found = error(tmp_path, url)
    assert (found.code, "failed" in found.message) == ("ERR_STEP_FAILED", False)


@pytest.mark.parametrize("odd", ["\r\nX: y", "\n", "\t", "\0", "\x7f"])
def test_a_line_break_in_the_url_smuggles_nothing_in(tmp_path: Path, server: Server, odd: str) -> None:
    for url in (f"{server.url}/a{odd}", f"{server.url}/?q={odd}", f"{odd}{server.url}/", server.url + odd):
        assert "control character" in error(tmp_path, url).message
    assert server.heard == []


def test_credentials_in_the_url_are_refused_without_repeating_them(tmp_path: Path, server: Server) -> None:
    for user in ("me:pass word", "me", ":pass", "me:p@ss", "pass:é["):
        found = error(tmp_path, server.url.replace("//", f"//{user}@"))
        assert "pass" not in found.message.replace("password", "")
    assert "Authorization" in error(tmp_path, server.url.replace("//", "//me:pass@")).message
    assert server.heard == []


def test_a_query_is_not_repeated_in_a_message(tmp_path: Path, server: Server) -> None:
    server.answer("/a", status=500)
    assert "s3cret" not in error(tmp_path, f"{server.url}/a?token=s3cret").message
    assert "s3cret" not in error(tmp_path, f"http://127.0.0.1:{closed_port()}/a?token=s3cret").message


def test_a_secret_that_is_not_set_fails_the_call_before_it_is_made(tmp_path: Path, server: Server) -> None:
    mark = Secret("NOT_SET_ANYWHERE")
    found = error(tmp_path, server.url, method="POST", body=f"a {mark}", secrets=("NOT_SET_ANYWHERE",))
    assert "NOT_SET_ANYWHERE is not set" in found.message
    assert server.heard == []


# Redirects


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        *((status, "GET", "GET") for status in (301, 302, 303, 307, 308)),
        (301, "POST", "GET"), (302, "POST", "GET"), (303, "POST", "GET"), (303, "PUT", "GET"),
        (303, "DELETE", "GET"), (301, "PUT", "PUT"), (302, "DELETE", "DELETE"), (307, "POST", "POST"),
        (308, "POST", "POST"), (307, "DELETE", "DELETE"), (303, "HEAD", "HEAD"), (301, "HEAD", "HEAD"),
    ],
)  # fmt: skip
def test_a_redirect_keeps_the_method_or_becomes_a_get(
    tmp_path: Path, server: Server, status: int, method: str, then: str
) -> None:
    url = server.answer("/a", status=status, Location="/b")
    body = {} if method in ("GET", "HEAD") else {"body": {"n": 1}}
    outputs(tmp_path, url, method=method, **body)
    assert [(h.method, h.target) for h in server.heard] == [(method, "/a"), (then, "/b")]
    heard = server.heard[1]
    kept = bool(body) and then == method
    assert (heard.body, heard.headers["Content-Type"]) == (
        (b'{"n":1}', "application/json") if kept else (b"", None)
    )
    assert heard.headers["Idempotency-Key"] == (None if then in ("GET", "HEAD") else "R:step")


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("b?c=d#e", "/x/b?c=d"), ("/b c/é", "/b%20c/%C3%A9"), ("?q", "/x/a?q"), ("../b", "/b"),
        ("  /b  ", "/b"), ("/%C3%A9", "/%C3%A9"),
    ],
)  # fmt: skip
def test_a_redirect_may_be_relative_and_sloppy(
    tmp_path: Path, server: Server, location: str, target: str
) -> None:
    url = server.answer("/x/a", status=302, Location=location.encode().decode("latin-1"))
    server.answers["/x/a?q"] = (200, "", {})
    outcome(tmp_path, url)
    assert server.heard[1].target == target


def test_five_redirects_are_followed_and_no_sixth(tmp_path: Path, server: Server) -> None:
    for n in range(6):
        server.answer(f"/{n}", status=302, Location=f"/{n + 1}")
    assert outputs(tmp_path, server.url + "/1") == {"at": "/6"}
    assert "after 5 redirects" in error(tmp_path, server.url + "/0").message
    assert len(server.heard) == 6 + 6


SECRETS = {"Authorization": "Bearer x", "cookie": "s=1", "Proxy-Authorization": "y", "X-Api-Key": "z"}


def credentials(heard: Heard) -> list[str]:
    return [name for name in SECRETS if heard.headers[name] is not None]


def test_credentials_go_along_to_the_same_origin(tmp_path: Path, server: Server) -> None:
    url = server.answer("/a", status=307, Location=f"{server.url.replace('http', 'HTTP')}/b")
    outputs(tmp_path, url, headers=SECRETS)
    assert credentials(server.heard[1]) == list(SECRETS)


def test_another_origin_hears_no_credentials(tmp_path: Path, serve: Serve) -> None:
    one, other = serve(), serve()
    headers = SECRETS | {"Host": "one.example", "Accept": "text/csv", "Content-Type": "text/plain"}
    url = one.answer("/a", status=307, Location=f"{other.url}/b")
    outputs(tmp_path, url, method="POST", body="x", headers=headers)
    (heard,) = other.heard
    assert (credentials(heard), heard.headers["Host"]) == ([], f"127.0.0.1:{other.port}")
    assert (heard.headers["Accept"], heard.headers["Content-Type"], heard.body) == (
        "text/csv",
        "text/plain",
        b"x",
    )
    assert heard.headers["Idempotency-Key"] == "R:step"
    assert credentials(one.heard[0]) == list(SECRETS)


def test_another_name_of_the_same_host_is_another_origin(tmp_path: Path, server: Server) -> None:
    url = server.answer("/a", status=302, Location=f"http://localhost:{server.port}/b")
    outputs(tmp_path, url, headers=SECRETS, allow_hosts=("localhost",))
    assert credentials(server.heard[1]) == []


@pytest.mark.parametrize(("one", "other"), [("https", "http"), ("http", "https")])
def test_another_scheme_at_the_same_port_is_another_origin(one: str, other: str) -> None:
    asked = Request("GET", parse_url(f"{one}://h:8443/"), SECRETS, None)
    assert asked.follow(302, f"{one}://h:8443/b").headers == SECRETS
    assert asked.follow(302, f"{other}://h:8443/b").headers == {}


def test_credentials_dropped_once_stay_dropped(tmp_path: Path, serve: Serve) -> None:
    one, other = serve(), serve()
    url = one.answer("/a", status=302, Location=f"{other.url}/b")
    other.answer("/b", status=302, Location=f"{one.url}/c")
    outputs(tmp_path, url, headers=SECRETS)
    assert [credentials(heard) for heard in one.heard] == [list(SECRETS), []]


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/", "data:,x", "gopher://127.0.0.1:6379/x"]
)
def test_a_redirect_to_another_scheme_is_refused(tmp_path: Path, server: Server, location: str) -> None:
    found = error(tmp_path, server.answer("/a", status=302, Location=location))
    assert f"{server.url}/a redirects to where no call is made" in found.message


def test_a_redirect_with_credentials_in_its_url_is_refused(tmp_path: Path, server: Server) -> None:
    url = server.answer("/a", status=302, Location=server.url.replace("//", "//me:pw@") + "/b")
    assert "redirects" in error(tmp_path, url).message
    assert len(server.heard) == 1


def test_a_redirect_to_nowhere_is_an_answer(tmp_path: Path, server: Server) -> None:
    assert error(tmp_path, server.answer("/a", status=302)).status_code == 302


def test_a_redirect_that_the_author_wants_is_an_answer(tmp_path: Path, server: Server) -> None:
    url = server.answer("/a", "moved", 302, Location="/b")
    assert outputs(tmp_path, url, status_codes=(302,)) == {"body": "moved"}
    assert len(server.heard) == 1


# TLS


def test_a_trusted_server_is_called(tmp_path: Path, serve: Serve, trusted: Path) -> None:
    assert outputs(tmp_path, serve(tls=trusted).url + "/a") == {"at": "/a"}


def test_who_cannot_prove_who_it_is_is_not_called(tmp_path: Path, serve: Serve, certificate: Path) -> None:
    server = serve(tls=certificate)
    found = error(tmp_path, server.url, headers=SECRETS)
    assert (found.code, "self-signed" in found.message.replace(" ", "-")) == ("ERR_STEP_FAILED", True)
    assert server.heard == []


def test_a_certificate_for_another_host_does_not_do(tmp_path: Path, serve: Serve, trusted: Path) -> None:
    server = serve(tls=trusted)
    assert "localhost" in error(tmp_path, f"https://localhost:{server.port}/").message
    assert server.heard == []


def test_who_speaks_no_tls_is_told(tmp_path: Path, server: Server) -> None:
    assert "no secure connection" in error(tmp_path, server.url.replace("http", "https")).message


def test_from_https_to_http_no_credentials_go(tmp_path: Path, serve: Serve, trusted: Path) -> None:
    one, other = serve(tls=trusted), serve()
    outputs(tmp_path, one.answer("/a", status=302, Location=f"{other.url}/b"), headers=SECRETS)
    assert credentials(other.heard[0]) == []


def test_from_https_to_http_no_body_goes(tmp_path: Path, serve: Serve, trusted: Path) -> None:
    one, other = serve(tls=trusted), serve()
    url = one.answer("/a", status=307, Location=f"{other.url}/b")
    assert "unencrypted" in error(tmp_path, url, method="POST", body={"password": "x"}).message
    assert other.heard == []


# What goes wrong


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_a_refused_connection_is_told(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{closed_port()}/a"
    found = error(tmp_path, url)
    assert (found.code, found.message) == ("ERR_STEP_FAILED", f"{url} refused the connection")


def test_an_unknown_host_is_told(tmp_path: Path) -> None:
    found = error(tmp_path, "http://no-such-host.invalid/", timeout_seconds=10)
    assert (found.code, found.status_code) == ("ERR_STEP_FAILED", None)
    assert "the host of http://no-such-host.invalid/ could not be found" in found.message


@pytest.mark.parametrize(
    "garbage",
    [
        b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"\0" * 100, b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 99 OK\r\n\r\n", b"HTTP/2.0 200 OK\r\n\r\n", b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 2000 + b"\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_no_http_is_told_in_a_few_words(tmp_path: Path, peer: Say, garbage: bytes) -> None:
    found = error(tmp_path, peer(garbage))
    assert (found.code, len(found.message) < 400) == ("ERR_STEP_FAILED", True)


@pytest.mark.parametrize(
    "part",
    [
        HELLO[:-2],
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ],
)
def test_an_answer_that_breaks_off_is_no_answer(tmp_path: Path, peer: Say, part: bytes) -> None:
    assert error(tmp_path, peer(part)).code == "ERR_STEP_FAILED"


@pytest.mark.parametrize(
    "whole",
    [
        HELLO,
        HELLO + b"more than was promised",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.1 200 \r\n\r\nhello",
        b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\n" + HELLO,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nX: y\r\n\r\n",
    ],
)
def test_an_answer_may_be_framed_in_many_ways(tmp_path: Path, peer: Say, whole: bytes) -> None:
    assert outputs(tmp_path, peer(whole)) == {"body": "hello"}


@pytest.mark.parametrize(
    ("said_so", "seconds"),
    [
        ("7", 7), (" 120 ", 120), ("soon", None), ("-1", None), ("9" * 5000, None), (None, None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00", 0), ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)  # fmt: skip
def test_when_a_server_wants_to_be_asked_again_is_told(
    tmp_path: Path, peer: Say, said_so: str | None, seconds: float | None
) -> None:
    headers = [] if said_so is None else [f"Retry-After: {said_so}"]
    found = outcome(tmp_path, peer(said(b"", *headers, status=503)))
    assert isinstance(found, Failure)
    assert found.retry_after == seconds


def test_a_server_may_name_the_date(tmp_path: Path, peer: Say) -> None:
    url = peer(said(b"", f"Retry-After: {formatdate(time.time() + 1000, usegmt=True)}", status=429))
    found = outcome(tmp_path, url)
    assert isinstance(found, Failure) and found.retry_after == pytest.approx(1000, abs=300)


def test_headers_are_kept_when_asked_for(tmp_path: Path, peer: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    url = peer(
        said(
            b"",
            "ETag: e",
            "Link: <a>",
            "X-Folded: a",
            " b",
            "link: <b>",
            "Set-Cookie: t=s3cret",
            "N: \xc3\xa9",
        )
    )
    found = outcome(tmp_path, url, keeps_headers=True, secrets=("TOKEN",))
    assert isinstance(found, Success)
    assert found.headers == {
        "content-length": "0", "etag": "e", "link": "<a>, <b>",
        "x-folded": "a b", "set-cookie": "t=***", "n": "é",
    }  # fmt: skip
    assert outcome(tmp_path, url).headers == {}  # type: ignore[union-attr]
    long = peer(said(b"", "A: " + "x" * 60_000, "B: " + "x" * 6000))
    assert "which are referred to, have over 65536" in error(tmp_path, long, keeps_headers=True).message
    assert outputs(tmp_path, long) == {"body": ""}


def test_what_a_server_says_before_its_answer_is_skipped(tmp_path: Path, peer: Say) -> None:
    before = (
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\nContent-Length: 9\r\n\r\n"
    )
    assert outputs(tmp_path, peer(before + b"HTTP/1.1 100 Continue\r\n\r\n" + HELLO)) == {"body": "hello"}
    assert error(tmp_path, peer(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + HELLO)).status_code == 101


def test_an_answer_may_have_hundreds_of_headers_but_no_more(tmp_path: Path, peer: Say) -> None:
    assert outputs(tmp_path, peer(said(b"x", *(f"A{n}: {n}" for n in range(990))))) == {"body": "x"}
    assert "more than 1000 headers" in error(tmp_path, peer(said(b"", *["A: b"] * 1001))).message
    endless = b"HTTP/1.1 103 Hints\r\nA: " + b"x" * 60_000 + b"\r\n\r\n"
    assert "a head of more than 1048576 bytes" in error(tmp_path, peer(endless * 20 + HELLO)).message


def test_an_answer_is_heard_though_the_body_was_not(tmp_path: Path, peer: Say) -> None:
    def full(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        connection.shutdown(socket.SHUT_WR)
        time.sleep(0.1)

    found = error(tmp_path, peer(full), method="POST", body="x" * 20_000_000)
    assert (found.status_code, "big" in found.message) == (413, True)


@pytest.mark.parametrize("head", [b"", b"Content-Length: 99999999999\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_an_answer_without_an_end_is_cut_at_the_limit(tmp_path: Path, peer: Say, head: bytes) -> None:
    block = b"x" * 0x10000
    block = b"10000\r\n" + block + b"\r\n" if b"chunked" in head else block

    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
        while True:
            connection.sendall(block)

    found = error(tmp_path, peer(endless), timeout_seconds=20)
    assert (found.code, found.status_code) == ("ERR_STEP_FAILED", 200)
    assert f"larger than {MAX_BYTES} bytes" in found.message
    assert (tmp_path / "stdout/step.txt").stat().st_size <= MAX_BYTES + 0x10000


def test_a_file_that_cannot_be_written_is_a_failure(tmp_path: Path, server: Server) -> None:
    (tmp_path / "stdout").write_text("a file where the directory should be")
    assert error(tmp_path, server.url).code == "ERR_STEP_FAILED"


# Time


@contextmanager
def lasting(least: float, most: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert least <= time.monotonic() - started < most


def drip(text: bytes, before: bytes = b"") -> Peer:
    def slowly(connection: socket.socket) -> None:
        connection.sendall(before)
        for n in range(200):
            connection.sendall(text % n if b"%" in text else text)
            time.sleep(0.02)

    return slowly


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "slow",
    [
        lambda connection: connection.recv(1),
        drip(b"H"),
        drip(b"X-%d: y\r\n", b"HTTP/1.1 200 OK\r\n"),
        drip(b"HTTP/1.1 100 Continue\r\n\r\n"),
        drip(b"x", b"HTTP/1.0 200 OK\r\n\r\n"),
        drip(b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"),
        drip(b"1\r\nx\r\n", CHUNKED),
        drip(b"0", CHUNKED),
    ],
    ids=["nothing", "status", "headers", "interim", "body", "sized body", "chunks", "chunk size"],
)
def test_however_slow_the_answer_the_whole_is_bounded(tmp_path: Path, peer: Say, slow: Peer) -> None:
    with lasting(0.3, 3):
        found = error(tmp_path, peer(slow), timeout_seconds=0.3)
    assert (found.code, "within 0.3 seconds" in found.message) == ("ERR_TIMEOUT", True)


def test_redirects_do_not_start_the_clock_anew(tmp_path: Path, peer: Say) -> None:
    def later(connection: socket.socket) -> None:
        time.sleep(0.15)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")

    with lasting(0.3, 3):
        assert error(tmp_path, peer(later), timeout_seconds=0.3).code == "ERR_TIMEOUT"


def test_a_body_that_nobody_takes_is_bounded(tmp_path: Path, peer: Say) -> None:
    url = peer(lambda connection: time.sleep(0.6))
    with lasting(0.3, 3):
        found = error(tmp_path, url, method="POST", body="x" * 10_000_000, timeout_seconds=0.3)
    assert found.code == "ERR_TIMEOUT"


@pytest.fixture
def deaf() -> Iterator[int]:
    """The port of one that takes no more connections, so that connecting lasts."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.fixture
def slow_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The look-up of a name lasts."""
    over = threading.Event()

    def never(*_: Any, **__: Any) -> Any:
        over.wait(10)
        raise socket.gaierror(socket.EAI_AGAIN, "at last")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    yield
    over.set()


def test_connecting_is_bounded(tmp_path: Path, deaf: int) -> None:
    with lasting(0.3, 3):
        assert error(tmp_path, f"http://127.0.0.1:{deaf}/", timeout_seconds=0.3).code == "ERR_TIMEOUT"


@pytest.mark.usefixtures("slow_names")
def test_the_look_up_of_a_name_is_bounded(tmp_path: Path) -> None:
    with lasting(0.3, 3):
        assert error(tmp_path, "http://slow.example/", timeout_seconds=0.3).code == "ERR_TIMEOUT"


def test_a_tls_handshake_is_bounded(tmp_path: Path, peer: Say) -> None:
    url = peer(lambda connection: connection.recv(1)).replace("http", "https")
    with lasting(0.3, 3):
        assert error(tmp_path, url, timeout_seconds=0.3).code == "ERR_TIMEOUT"


def test_a_time_of_years_is_taken(tmp_path: Path, server: Server) -> None:
    assert outputs(tmp_path, server.url, timeout_seconds=315_360_000.0) == {"at": "/"}


def stopped(call: Call, ready: Callable[[], bool]) -> None:
    """Stop *call*, once *ready*, from another thread; it must end at once."""
    thread = threading.Thread(target=call.perform)
    thread.start()
    until(ready)
    with lasting(0, 3):
        call.stop()
        thread.join(5)
    assert not thread.is_alive()


def test_stopping_ends_it_before_there_is_an_answer(tmp_path: Path, peer: Say) -> None:
    heard = threading.Event()

    def hear(connection: socket.socket) -> None:
        heard.set()
        connection.recv(1)

    stopped(made(tmp_path, peer(hear)), heard.is_set)


def test_stopping_ends_it_within_the_answer(tmp_path: Path, peer: Say) -> None:
    url = peer(drip(b"x", b"HTTP/1.0 200 OK\r\n\r\n"))
    stopped(made(tmp_path, url), lambda: (tmp_path / "stdout/step.txt").exists())


def test_stopping_ends_it_within_an_encrypted_answer(tmp_path: Path, trusted: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            plain = listener.accept()[0]
            with context.wrap_socket(plain, server_side=True) as connection:
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nx")
                try:
                    while connection.recv(65536):
                        pass
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        file = tmp_path / "stdout/step.txt"
        stopped(made(tmp_path, url), lambda: file.exists() and file.read_bytes() == b"x")
        thread.join(5)


def test_stopping_ends_it_while_it_connects(tmp_path: Path, deaf: int) -> None:
    started = time.monotonic()
    stopped(made(tmp_path, f"http://127.0.0.1:{deaf}/"), lambda: time.monotonic() > started + 0.1)


@pytest.mark.usefixtures("slow_names")
def test_stopping_ends_it_while_a_name_is_looked_up(tmp_path: Path) -> None:
    started = time.monotonic()
    stopped(made(tmp_path, "http://slow.example/"), lambda: time.monotonic() > started + 0.05)


def test_stopped_before_it_began_it_sends_nothing(tmp_path: Path, server: Server) -> None:
    call = made(tmp_path, server.url)
    call.stop()
    assert isinstance(call.perform(), Failure)
    assert server.heard == []


def test_stopping_what_has_ended_does_nothing(tmp_path: Path, server: Server) -> None:
    call = made(tmp_path, server.url)
    call.perform()
    call.stop()


def test_no_socket_and_no_thread_is_left_behind(tmp_path: Path, server: Server) -> None:
    def open_files() -> int:
        return len(os.listdir("/dev/fd"))

    outcome(tmp_path, server.answer("/a", status=302, Location="/b"))
    before = open_files(), threading.active_count()
    for url in (server.url, server.url + "/a", f"http://127.0.0.1:{closed_port()}/"):
        for _ in range(5):
            outcome(tmp_path, url)
    until(lambda: (open_files(), threading.active_count()) <= before)


# Nothing raises


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(url=st.text() | st.text().map("http://".__add__) | st.text().map("https://a.example/".__add__),
       headers=st.dictionaries(st.text(), st.text(), max_size=2))  # fmt: skip
def test_no_url_and_no_header_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, headers: dict[str, str]
) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert error(tmp_path, url, headers=headers).code == "ERR_STEP_FAILED"


PARTS = [
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 302 Found\r\n", b"\r\n\r\n", b"Content-Length: 5\r\n", b"Location: ",
    b"Transfer-Encoding: chunked\r\n", b"http://[", b"5\r\nhello\r\n", b"\xff", b"0\r\n\r\n",
]  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=20) | st.sampled_from(PARTS), max_size=8).map(b"".join))
def test_no_answer_raises(tmp_path: Path, answer: bytes) -> None:
    with listening(lambda connection: connection.sendall(answer)) as url:
        assert isinstance(outcome(tmp_path, url, timeout_seconds=5), Success | Failure)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1", True), ("::ffff:8.8.8.8", True),
        ("127.0.0.1", False), ("10.0.0.1", False), ("172.16.0.1", False), ("192.168.1.1", False),
        ("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.0", False), ("224.0.0.1", False),
        ("240.0.0.1", False), ("255.255.255.255", False), ("::1", False), ("::", False), ("fe80::1", False),
        ("fe80::1%eth0", False), ("fc00::1", False), ("ff02::1", False), ("::ffff:127.0.0.1", False),
        ("2002:7f00:1::", False), ("64:ff9b::7f00:1", False), ("64:ff9b::a00:1", False), ("nonsense", False),
        ("2002:808:808::", True), ("64:ff9b::808:808", True), ("2001:0:7f00:1::80ff:fffe", False),
        ("::7f00:1", False), ("4000::1", False), ("fec0::1", False),
    ],
)  # fmt: skip
def test_only_addresses_of_the_open_internet_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "017700000001", "[::1]"])
def test_a_host_that_data_chooses_must_be_public(cpf: Cpf, host: str) -> None:
    step = {"id": "a", "kind": "api", "url": "http://${inputs.h}:9/"}
    answer = cpf.run(step, inputs={"h": host})
    assert answer.code == 30
    message = answer["error"]["message"]
    assert NOT_PUBLIC in message or "refused" not in message
    allowed = cpf.run(step, inputs={"h": host}, defaults={"allow_hosts": [host.strip("[]")]})
    assert NOT_PUBLIC not in allowed["error"]["message"]


@pytest.mark.parametrize("addresses", [("127.0.0.1", "8.8.8.8"), ("8.8.8.8", "127.0.0.1")])
def test_a_name_with_one_inner_address_among_others_is_not_called(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, str]
) -> None:
    look_up = socket.getaddrinfo

    def both(_: str, port: int, **more: Any) -> Any:
        return [found for address in addresses for found in look_up(address, port, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    url = f"http://two.example:{server.port}/"
    assert "at 127.0.0.1, which" in error(tmp_path, url, host_is_data=True, timeout_seconds=1).message
    assert server.heard == []


def test_an_allowed_host_opens_no_other(tmp_path: Path, server: Server) -> None:
    for allowed in ("host", "a.localhost", "localhost.example"):
        url = server.url.replace("127.0.0.1", "localhost")
        found = error(tmp_path, url, host_is_data=True, allow_hosts=(allowed,))
        assert NOT_PUBLIC in found.message
    assert server.heard == []


def test_a_redirect_leads_to_no_inner_host(cpf: Cpf) -> None:
    class Redirect(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_port}/")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        step = {"id": "a", "kind": "api", "url": f"http://127.0.0.1:{server.server_port}/"}
        answer = cpf.run(step)
        allowed = cpf.run(step, defaults={"allow_hosts": ["localhost"]})
        server.shutdown()
    assert "localhost is at" in answer["error"]["message"]
    assert "redirects once more" in allowed["error"]["message"]


def test_a_call_that_failed_was_answered_all_the_same(tmp_path: Path, peer: Say) -> None:
    answer = said(b'{"why": "no"}', "Content-Type: application/json", "X-A: b", status=409)
    found = outcome(tmp_path, peer(answer), keeps_headers=True, keeps_stdout=True)
    assert isinstance(found, Failure)
    assert (found.error.status_code, found.outputs, found.stdout) == (409, {"why": "no"}, '{"why": "no"}')
    assert found.headers["x-a"] == "b"


def test_what_its_answer_did_not_say_is_told(tmp_path: Path, peer: Say) -> None:
    found = outcome(tmp_path, peer(said(b"x", "Content-Encoding: br", status=500)))
    assert 'has the Content-Encoding "br"' in found.lost["outputs"]  # type: ignore[union-attr]
