"""One action: an HTTP call, its answer into the step's stdout file.

Nothing raises: what goes wrong is a Failure. The whole call, redirects and all, has one time limit, and
`stop` ends it wherever it is: what waits for the network waits on a socket that another thread can shut,
or, while there is none, for a thread that can be left to itself.
"""

from __future__ import annotations

import http.client
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from checkpointflow import __version__
from checkpointflow.diagnostics import shorten
from checkpointflow.drivers.addresses import Proxy, connect, find_proxy, list_passwords
from checkpointflow.drivers.logs import Log, create
from checkpointflow.drivers.outcomes import fail
from checkpointflow.drivers.responses import (
    MAX_HEAD_BYTES,
    Format,
    Response,
    Unreadable,
    read_blocks,
    read_format,
    read_retry_after,
    read_value,
)
from checkpointflow.drivers.secrets import Secrets
from checkpointflow.drivers.urls import Refused, Url, parse_url
from checkpointflow.engine.actions import CallHttp, Failure, Outcome, Success
from checkpointflow.expressions.bodies import FORM, encode_form, find_media_type
from checkpointflow.expressions.headers import find_fault
from checkpointflow.json_text import MAX_BYTES
from checkpointflow.store.files import make_private
from checkpointflow.store.layout import log_name

MAX_REDIRECTS = 5
MAX_SHOWN = 200
REDIRECTS = (301, 302, 303, 307, 308)
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

# What goes along to another origin: what is sent and what is wanted, never who asks. A list of what to
# keep rather than of what to drop, since a credential may stand in a header of any name.
IMPERSONAL = re.compile(
    r"accept(-.*)?|content-(encoding|language|type)|idempotency-key|if-.*|prefer|range|user-agent", re.I
)

OF_A_BODY = re.compile(r"content-|idempotency-key$", re.I)

MAX_KEPT_CHARACTERS = 1 << 16

T = TypeVar("T")


class Request(NamedTuple):
    """What is asked at one hop."""

    method: str
    url: Url
    headers: dict[str, str]
    body: bytes | None

    def encode_headers(self) -> dict[str, bytes]:
        """The headers as they go over the wire."""
        headers = {"Connection": "close", **self.headers}
        if not any(name.lower() == "host" for name in headers):
            headers["Host"] = self.url.authority
        return {name: value.encode() for name, value in headers.items()}

    def follow(self, status: int, location: str) -> Request:
        """What is asked instead. Raises Refused.

        By RFC 9110, 15.4: a 303, and by custom a 301 or 302 to a POST, is followed with a GET; all else
        keeps its method and body. Who is asked next is none of the author's choice, so that another origin
        hears no credentials.
        """
        try:
            url = parse_url(location, self.url)
        except Refused as error:
            raise Refused(f"{self.url} redirects to where no call is made: {error}") from None
        method, headers, body = self.method, self.headers, self.body
        if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
            method, body = "GET", None
            headers = {n: v for n, v in headers.items() if not OF_A_BODY.match(n)}
        if url.origin != self.url.origin:
            headers = {n: v for n, v in headers.items() if IMPERSONAL.fullmatch(n)}
            if body is not None and self.url.scheme == "https" and url.scheme == "http":
                raise Refused(f"{self.url} redirects to {url}, where the body would go unencrypted")
        return Request(method, url, headers, body)


class Call:
    """An HTTP call of a run, its answer into the file *stdout*: `perform` it once; `stop` may come meanwhile
    from elsewhere."""

    def __init__(self, action: CallHttp, stdout: Path) -> None:
        self.action = action
        self.stdout = stdout
        self._url: Url | None = None
        self._proxy: Proxy | None = None
        self._socket: socket.socket | None = None
        self._reached: SimpleQueue[Exception | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._stopped = False

    def perform(self) -> Outcome:
        """Make the call, to its answer or to its time-out."""
        try:
            self._secrets = Secrets(self.action.secrets)
        except KeyError as error:
            return fail(f"the secret {error.args[0]} is not set in the environment of cpf, or empty")
        match self._call_within_time():
            case Failure(error=why) as failed:
                # A URL, and what a server says of it, may hold a secret; a proxy may say the password for it.
                message = self._secrets.mask_text(why.message)
                message = Secrets((), list_passwords() if self._proxy else ()).mask_text(message)
                return replace(failed, error=replace(why, message=message))
            case outcome:
                return outcome

    def _call_within_time(self) -> Outcome:
        late = threading.Timer(self.action.timeout_seconds, self.stop)
        late.daemon = True
        late.start()
        try:
            return self._judge()
        except Exception as error:  # noqa: BLE001, a network has many ways to fail
            if self._stopped or isinstance(error, TimeoutError):
                within = f"within {self.action.timeout_seconds:g} seconds"
                return fail(f"{self._url}{self._through} gave no whole answer {within}", code="ERR_TIMEOUT")
            return fail(_describe(error, f"{self._url}{self._through}", self._secrets))
        finally:
            late.cancel()
            self._hang_up()

    def stop(self) -> None:
        """Give up waiting for the answer."""
        with self._lock:
            self._stopped = True
            if self._socket is not None:
                with suppress(OSError):  # of the plain socket: that of a TLS one would go on in plain text
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        self._reached.put(InterruptedError())

    @property
    def _through(self) -> str:
        return f" through {self._proxy}" if self._proxy else ""

    def _judge(self) -> Outcome:
        action = self.action
        asked, answer = self._ask_to_the_end()
        form, status, problem = read_format(answer.headers), answer.status, None
        with answer:
            try:
                size = self._store(answer, form)
            except Unreadable as error:
                size, problem = 0, str(error)
        said = self._hear(answer, form, size, problem)
        if status not in action.status_codes:
            reason = shorten(self._secrets.mask_text(_decode_header(answer.reason)), 100)
            message = (
                f"{asked.method} {asked.url}{self._through} was answered with {status} {reason}".rstrip()
            )
            shown = f"the answer {problem}" if problem else self._show_answer()
            message = f"{message}: {shown}" if shown else message
            retry_after = read_retry_after(answer.headers, time.time())
            return fail(message, status_code=status, retry_after=retry_after, **said)
        if why := said["lost"].get("outputs"):
            return fail(f"the answer of {asked.url} {why}", status_code=status, **said)
        if why := said["lost"].get("headers"):
            message = f"the headers of {asked.url}, which are referred to, {why}"
            return fail(message, status_code=status, **said)
        return Success(status_code=status, **said)

    def _hear(
        self, answer: http.client.HTTPResponse, form: Format, size: int, problem: str | None
    ) -> dict[str, Any]:
        """What the answer says, as an outcome has it; *problem*: why its body is not known."""
        said, lost = dict[str, Any](), dict[str, str]()
        if self.action.keeps_headers:
            said["headers"] = self._keep_headers(answer)
            if sum(len(name) + len(value) for name, value in said["headers"].items()) > MAX_KEPT_CHARACTERS:
                del said["headers"]
                lost["headers"] = f"have over {MAX_KEPT_CHARACTERS} characters"
        if problem or size > MAX_BYTES:
            return {**said, "lost": {**lost, "outputs": problem or f"is larger than {MAX_BYTES} bytes"}}
        outputs = self._secrets.mask_value(read_value(self.stdout.read_bytes(), form))
        if outputs is None:
            outputs = {"binary": self._tell_of_file(size, form)}
        elif self.action.keeps_stdout:
            said |= self._read_log(Log.read_text)
        return {**said, "outputs": outputs, "lost": {**lost, **said.pop("lost", {})}}

    def _read_log(self, read: Callable[[Log], T]) -> T:
        log = Log(self.stdout.parent, self.stdout.name)
        try:
            return read(log)
        finally:
            log.close()

    def _keep_headers(self, answer: http.client.HTTPResponse) -> dict[str, str]:
        """The headers by lower-case names, those of one name joined, without line breaks and secrets."""
        kept: dict[str, str] = {}
        for name, value in answer.headers.items():
            name = self._secrets.mask_text(name.lower())
            masked = self._secrets.mask_text(" ".join(_decode_header(value).split()))
            kept[name] = f"{kept[name]}, {masked}" if name in kept else masked
        return kept

    def _show_answer(self) -> str:
        """The beginning of an answer that is a failure."""
        text = self._read_log(lambda log: log.read(MAX_HEAD_BYTES)).decode(errors="replace").strip()
        if "\ufffd" in text[:MAX_SHOWN]:
            return f"{self.stdout.stat().st_size} bytes that are no text"
        return (
            text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}… (cut; the whole is in the step's log)"
        )

    def _tell_of_file(self, size: int, form: Format) -> dict[str, Any]:
        """Where an answer lies that is no text, by the fields of an artifact."""
        name = log_name("stdout", self.action.path, self.action.attempt)
        return {"path": name, "size": size, "media_type": self._secrets.mask_text(form.media_type) or None}

    def _ask_to_the_end(self) -> tuple[Request, http.client.HTTPResponse]:
        """The first answer that is no redirect, and what it answers."""
        action = self.action
        given = {"url": action.url, "headers": action.headers, "body": action.body}
        action = replace(action, **self._secrets.fill(given))
        url, body = parse_url(action.url), _encode_body(action)
        asked = Request(action.method, url, _complete_headers(action, body), body)
        # A redirect is chosen by a server, which is data as well.
        self._trusted = {*action.allow_hosts, *([] if action.host_is_data else [asked.url.host])}
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._ask(asked)
            location = answer.getheader("Location")
            wanted = answer.status in self.action.status_codes
            if wanted or location is None or answer.status not in REDIRECTS:
                return asked, answer
            answer.close()
            asked = asked.follow(answer.status, _decode_header(location))
        raise Refused(f"{self._url} redirects once more, after {MAX_REDIRECTS} redirects")

    def _ask(self, request: Request) -> http.client.HTTPResponse:
        """The answer to *request*, up to where its body begins."""
        self._hang_up()
        self._url = request.url
        sock = self._connect(request.url)
        connection = http.client.HTTPConnection(request.url.authority)
        connection.sock = sock
        # A server may answer, and hang up, before it has heard all of a long body.
        with suppress(BrokenPipeError, ConnectionResetError):
            target, headers = request.url.target, request.encode_headers()
            if self._proxy and request.url.scheme == "http":
                target, headers = request.url.text, {**headers, **_log_in(self._proxy)}
            connection.request(request.method, target, request.body, headers)
        answer = Response(sock, method=request.method)
        answer.begin()
        return answer

    def _connect(self, url: Url) -> socket.socket:
        """A connection to *url*, which `stop` can shut from now on."""

        public_only = url.host not in self._trusted
        proxy = find_proxy(url)
        # To a proxy, a host that data chose would be a name like any other: it may lie within.
        self._proxy = None if public_only else proxy
        host, port = (url.host, url.port) if self._proxy is None else self._proxy[:2]

        def reach() -> None:
            try:
                self._hold(connect(host, port, self.action.timeout_seconds, public_only=public_only))
                self._reached.put(None)
            except Exception as error:  # noqa: BLE001, raised again below
                self._reached.put(error)

        threading.Thread(target=reach, daemon=True).start()  # nothing can cut short a look-up of names
        error = self._reached.get()
        if proxy and isinstance(error, OSError) and not isinstance(error, InterruptedError | TimeoutError):
            raise Refused(_explain(error, url, proxy, is_asked=not public_only))
        if error is not None:
            raise error
        assert self._socket is not None
        if url.scheme == "http":
            return self._socket
        if self._proxy:
            self._open_tunnel(self._socket, url, self._proxy)
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        tls = context.wrap_socket(self._socket, server_hostname=url.host, do_handshake_on_connect=False)
        self._hold(tls)
        tls.do_handshake()
        return tls

    def _open_tunnel(self, sock: socket.socket, url: Url, proxy: Proxy) -> None:
        """Have *proxy*, at the other end of *sock*, connect it with *url*. Raises Refused."""
        host = f"[{url.host}]" if ":" in url.host else url.host
        connection = http.client.HTTPConnection(url.host)
        connection.sock = sock
        headers = {"Host": f"{host}:{url.port}".encode(), **_log_in(proxy)}
        connection.request("CONNECT", f"{host}:{url.port}", None, headers)
        answer = Response(sock, method="CONNECT")
        answer.begin()
        if answer.status // 100 != 2:
            reason = shorten(_decode_header(answer.reason), 100)
            raise Refused(f"{proxy} does not connect to {url}: {answer.status} {reason}".rstrip())

    def _hold(self, sock: socket.socket) -> None:
        with self._lock:
            if self._stopped:
                sock.close()
                raise InterruptedError
            self._socket = sock

    def _hang_up(self) -> None:
        with self._lock:
            if self._socket is not None:
                self._socket.close()
            self._socket = None

    def _store(self, answer: http.client.HTTPResponse, form: Format) -> int:
        """Stream the answer into the file, up to just over the limit; returns its size. Raises Unreadable."""
        make_private(self.stdout.parent)
        size, heard, promised = 0, 0, answer.length

        def blocks() -> Iterator[bytes]:
            nonlocal heard
            while block := answer.read1(1 << 16):
                heard += len(block)
                yield block
            if self._stopped:  # to a reader that looks like the end of the answer
                raise InterruptedError

        def blocks_to_the_limit() -> Iterator[bytes]:
            nonlocal size
            for block in read_blocks(blocks(), form):
                size += len(block)
                yield block
                if size > MAX_BYTES:
                    return

        with os.fdopen(create(self.stdout.parent, self.stdout.name), "wb") as file:
            for block in self._secrets.mask_blocks(blocks_to_the_limit()):
                file.write(block)
                file.flush()
        if promised is not None and heard < promised and size <= MAX_BYTES:
            raise ConnectionError(f"it hung up after {heard} of {promised} bytes")
        return size


def _decode_header(header: str) -> str:
    """A header's value, which http.client took for Latin-1."""
    try:
        return header.strip().encode("latin-1").decode()
    except UnicodeError:
        return header.strip()


def _encode_body(action: CallHttp) -> bytes | None:
    """The body, by the type that its headers declare. Raises Refused."""
    if action.body is UNSET:
        return None
    if isinstance(action.body, str):
        return action.body.encode()
    if find_media_type(action.headers) != FORM:
        return msgspec.json.encode(action.body)
    try:
        return encode_form(action.body).encode()
    except ValueError as error:
        raise Refused(str(error)) from None


def _complete_headers(action: CallHttp, body: bytes | None) -> dict[str, str]:
    """The author's headers, and what is missing among them. Raises Refused."""
    usual = {"User-Agent": f"checkpointflow/{__version__}", "Accept": "*/*"}
    if body is not None:
        text = isinstance(action.body, str)
        usual["Content-Type"] = "text/plain; charset=utf-8" if text else "application/json"
    if action.method not in SAFE_METHODS:
        usual["Idempotency-Key"] = action.idempotency_key
    given = {name.lower() for name in action.headers}
    headers = {**{n: v for n, v in usual.items() if n.lower() not in given}, **action.headers}
    for name, value in headers.items():
        if fault := find_fault(name, value):
            raise Refused(fault)
    return headers


def _log_in(proxy: Proxy) -> dict[str, bytes]:
    from base64 import b64encode  # late: few proxies ask for it

    login = proxy.login if ":" in proxy.login else f"{proxy.login}:"
    return {"Proxy-Authorization": b"Basic " + b64encode(login.encode())} if proxy.login else {}


def _explain(error: OSError, url: Url, proxy: Proxy, *, is_asked: bool) -> str:
    """Why nobody was reached, where a *proxy* is named for *url*, which *is_asked* or not."""
    if is_asked:
        return f"{proxy} could not be reached for {url}: {error.strerror or error}"
    return (
        f"{url} could not be reached: {error.strerror or error}. No proxy is asked for a host that data "
        f"chose, so {proxy} was not; to mean it, name the host in defaults.allow_hosts"
    )


def _describe(error: Exception, url: str, secrets: Secrets) -> str:
    what = shorten(secrets.mask_text(str(error) or type(error).__name__), MAX_SHOWN)
    match error:
        case Refused():
            return str(error)
        case socket.gaierror():
            return f"the host of {url} could not be found: {error.strerror}"
        case ConnectionRefusedError():
            return f"{url} refused the connection"
        case ssl.SSLError():
            why = getattr(error, "verify_message", "") or error.reason or what
            return f"no secure connection to {url}: {why}"
        case http.client.HTTPException():
            return f"{url} did not answer in HTTP: {what}"
        case _:
            return f"the call of {url} failed: {what}"
