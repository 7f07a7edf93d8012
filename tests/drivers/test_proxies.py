"""Proxies by the usual variables: who is asked for which host, and what is told of it."""

# ruff: noqa: E501  (a row a line)

from __future__ import annotations

import base64
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from checkpointflow.drivers import addresses
from checkpointflow.drivers.addresses import Proxy, find_proxy
from checkpointflow.drivers.urls import Refused, parse_url
from tests.drivers import test_http
from tests.drivers.test_http import Serve, error, outputs

certificate, serve, trusted = test_http.certificate, test_http.serve, test_http.trusted
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Relay:
    """A proxy that remembers what it was asked; it answers for http, and connects for https."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nproxied") -> None:
        self.heard: list[str] = []
        self.answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client:
            head = b""
            while b"\r\n\r\n" not in head and (block := client.recv(1 << 16)):
                head += block
            self.heard.append(head.decode())
            target = re.match(rb"CONNECT ([^:]+):(\d+) ", head)
            if target is None or b" 200 " not in self.answer:
                client.sendall(self.answer)
                return
            with socket.create_connection((target[1].decode(), int(target[2]))) as server:
                client.sendall(b"HTTP/1.1 200 Connected\r\nVia: x\r\n\r\n")
                threading.Thread(target=self._copy, args=(server, client), daemon=True).start()
                self._copy(client, server)

    @staticmethod
    def _copy(one: socket.socket, other: socket.socket) -> None:
        try:
            while block := one.recv(1 << 16):
                other.sendall(block)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def relay() -> Iterator[Callable[..., Relay]]:
    relays: list[Relay] = []

    def start(*given: Any) -> Relay:
        relays.append(Relay(*given))
        return relays[-1]

    yield start
    for each in relays:
        each.close()


def found(url: str, **variables: str) -> Proxy | None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return find_proxy(parse_url(url))


P = Proxy("p", 8080, "", "")


@pytest.mark.parametrize(
    ("url", "variables", "variable"),
    [
        ("http://h/", {"http_proxy": "http://p:8080"}, "http_proxy"),
        ("http://h/", {"HTTP_PROXY": "http://p:8080"}, "HTTP_PROXY"),
        ("http://h/", {"HTTP_PROXY": "http://p:8080", "REQUEST_METHOD": "GET"}, None),
        ("http://h/", {"http_proxy": "p:8080", "HTTP_PROXY": "x:1"}, "http_proxy"),
        ("http://h/", {"http_proxy": "", "HTTP_PROXY": "p:8080"}, "HTTP_PROXY"),
        ("http://h/", {"https_proxy": "p:8080"}, None), ("https://h/", {"http_proxy": "p:8080"}, None),
        ("https://h/", {"HTTPS_PROXY": "p:8080"}, "HTTPS_PROXY"), ("https://h/", {"all_proxy": "p:8080"}, "all_proxy"),
        ("https://h/", {"HTTPS_PROXY": "p:8080", "REQUEST_METHOD": "GET"}, "HTTPS_PROXY"),
        ("http://h/", {"ALL_PROXY": " HTTP://p:8080/ "}, "ALL_PROXY"), ("http://h/", {}, None),
        ("https://h/", {"https_proxy": "p:8080", "ALL_PROXY": "x:1"}, "https_proxy"),
    ],
)  # fmt: skip
def test_the_usual_variables_name_the_proxy(
    url: str, variables: dict[str, str], variable: str | None
) -> None:
    assert found(url, **variables) == (variable and P._replace(variable=variable))


@pytest.mark.parametrize(
    ("value", "proxy"),
    [
        ("p", ("p", 1080, "")), ("http://u:s%40x@p:81/", ("p", 81, "u:s@x")), ("u@p:81", ("p", 81, "u")),
        ("http://[::1]:81", ("::1", 81, "")), ("http://u:a@b@p:81", ("p", 81, "u:a@b")), ("http://P", ("p", 1080, "")),
    ],
)  # fmt: skip
def test_a_proxy_is_written_as_a_url(value: str, proxy: tuple[str, int, str]) -> None:
    assert found("http://h/", http_proxy=value) == (*proxy, "http_proxy")


@pytest.mark.parametrize(
    "value", ["socks5://u:s3cret@p:1", "https://u:s3cret@p:1", "http://u:s3cret@:1", "u:s3cret@p:x"]
)
def test_what_is_none_is_refused_by_its_variable_without_the_password(value: str) -> None:
    with pytest.raises(Refused, match="ALL_PROXY names") as refused:
        found("http://h/", ALL_PROXY=value)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "entries", "is_exempt"),
    [
        ("h", "h", True), ("h", "x h,y", True), ("h", "H", True), ("h", "*", True), ("h", "x", False), ("h", "", False),
        ("a.b.c", "b.c", True), ("a.b.c", ".b.c", True), ("a.b.c", "*.b.c", True), ("b.c", ".b.c", True), ("ab.c", "b.c", False),
        ("b.c", "a.b.c", False), ("b.c.", "b.c", True), ("b.c", "b.c.", True), ("b.c", ".", False), ("b.c", "c", True),
        ("b.c:81", "b.c:81", True), ("b.c:81", "b.c:82", False), ("b.c", "b.c:80", True), ("b.c", "b.c:443", False),
        ("10.1.2.3", "10.0.0.0/8", True), ("11.1.2.3", "10.0.0.0/8", False), ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3:80", True), ("10.1.2.3", "2.3", False), ("10.1.2.3", "10.1.2.4/24", True),
        ("[::1]", "::1", True), ("[::1]", "[::1]", True), ("[::1]:81", "[::1]:81", True), ("[::1]:81", "[::1]:80", False),
        ("[fd00::5]", "fd00::/8", True), ("[::1]", "127.0.0.1", False), ("b.c", "10.0.0.0/8", False), ("[::1]", "*", True),
    ],
)  # fmt: skip
def test_no_proxy_exempts_hosts_names_below_them_addresses_and_ranges(
    host: str, entries: str, is_exempt: bool
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        assert (found(f"http://{host}/", http_proxy="p", **{name: entries}) is None) == is_exempt


def test_a_host_that_the_document_names_is_asked_for_at_the_proxy(
    tmp_path: Path, relay: Callable[..., Relay], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = relay()
    monkeypatch.setenv("http_proxy", f"http://u%20x:p%C3%A9@127.0.0.1:{proxy.port}")
    assert outputs(tmp_path, "http://nowhere.invalid:81/a?b=c") == {"body": "proxied"}
    (heard,) = proxy.heard
    login = base64.b64encode("u x:pé".encode()).decode()
    assert heard.startswith("GET http://nowhere.invalid:81/a?b=c HTTP/1.1\r\n")
    assert f"\r\nHost: nowhere.invalid:81\r\nProxy-Authorization: Basic {login}\r\n" in heard


def test_https_goes_through_a_tunnel_and_the_login_stays_at_the_proxy(
    tmp_path: Path, relay: Callable[..., Relay], serve: Serve, trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, server = relay(), serve(tls=trusted)
    monkeypatch.setenv("HTTPS_PROXY", f"http://u:p@127.0.0.1:{proxy.port}")
    assert outputs(tmp_path, server.url + "/a") == {"at": "/a"}
    (heard,) = proxy.heard
    assert heard.startswith(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n")
    assert f"\r\nHost: 127.0.0.1:{server.port}\r\n" in heard
    assert "Proxy-Authorization: Basic dTpw\r\n" in heard
    assert "Proxy-Authorization" not in server.heard[0].headers


def test_an_exempt_host_is_called_directly(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
    assert outputs(tmp_path, serve().url + "/a") == {"at": "/a"}


def test_no_proxy_is_asked_for_a_host_that_data_chose(
    tmp_path: Path, relay: Callable[..., Relay], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = relay()
    monkeypatch.setenv("http_proxy", f"http://u:s3cret@127.0.0.1:{proxy.port}")
    message = error(tmp_path, "http://nowhere.invalid/a", host_is_data=True).message
    assert "http://nowhere.invalid/a could not be reached" in message
    assert f"the proxy 127.0.0.1:{proxy.port} (http_proxy) was not" in message
    assert "defaults.allow_hosts" in message
    assert (
        "no public address" in error(tmp_path, f"http://127.0.0.1:{proxy.port}/", host_is_data=True).message
    )
    monkeypatch.setattr(addresses, "is_public", lambda _: True)
    outputs(tmp_path, f"http://127.0.0.1:{proxy.port}/direct", host_is_data=True)
    assert [head.partition("\r")[0] for head in proxy.heard] == ["GET /direct HTTP/1.1"]
    outputs(tmp_path, "http://nowhere.invalid/a", host_is_data=True, allow_hosts=("nowhere.invalid",))
    assert proxy.heard[-1].startswith("GET http://nowhere.invalid/a ")


def test_a_server_that_redirects_chooses_no_host_for_the_proxy(
    tmp_path: Path, relay: Callable[..., Relay], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = relay(b"HTTP/1.1 302 Found\r\nLocation: http://other.invalid/\r\nContent-Length: 0\r\n\r\n")
    monkeypatch.setenv("http_proxy", f"127.0.0.1:{proxy.port}")
    assert "http://other.invalid/ could not be reached" in error(tmp_path, "http://nowhere.invalid/").message
    assert len(proxy.heard) == 1


def test_what_goes_wrong_names_the_proxy_and_never_its_password(
    tmp_path: Path, relay: Callable[..., Relay], monkeypatch: pytest.MonkeyPatch
) -> None:
    login = base64.b64encode(b"user:s3cret-word").decode()
    said = f"HTTP/1.1 407 No s3cret-word\r\nContent-Length: {len(login)}\r\n\r\n{login}".encode()
    refusing = f"127.0.0.1:{relay(said).port}"
    cases = [
        ("http://h.invalid/", "127.0.0.1:1", "the proxy 127.0.0.1:1 (ALL_PROXY) could not be reached for http://h.invalid/"),
        ("https://h.invalid/", "no.invalid:1", "the proxy no.invalid:1 (ALL_PROXY) could not be reached for https://h.invalid/"),
        ("http://h.invalid/", refusing, f"http://h.invalid/ through the proxy {refusing} (ALL_PROXY) was answered with 407 No ***: "),
        ("https://h.invalid/", refusing, f"the proxy {refusing} (ALL_PROXY) does not connect to https://h.invalid/: 407 No ***"),
    ]  # fmt: skip
    for url, proxy, told in cases:
        monkeypatch.setenv("ALL_PROXY", f"http://user:s3cret-word@{proxy}")
        message = error(tmp_path, url, method="GET").message
        assert told in message
        assert "s3cret" not in message
        assert login not in message
    monkeypatch.setenv("ALL_PROXY", "socks5://p")
    assert "ALL_PROXY names a proxy of the kind socks5://" in error(tmp_path, "http://h.invalid/").message


def test_the_time_limit_counts_at_the_proxy_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{silent.getsockname()[1]}")
        failed = error(tmp_path, "https://h.invalid/", timeout_seconds=0.3)
    assert failed.code == "ERR_TIMEOUT"
    assert "through the proxy 127.0.0.1" in failed.message
