"""One deed: an HTTP call, its answer into the step's stdout file.

Nothing raises: what goes wrong is a Failure. The whole call, redirects and all, has one time limit, and
`stop` ends it wherever it is: what waits for the network waits on a socket that another thread can shut,
or, while there is none, for a thread that can be left to itself.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from queue import SimpleQueue
from typing import Any, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from checkpointflow import __version__
from checkpointflow.drivers.command import created, failure, head
from checkpointflow.drivers.json_text import MAX_BYTES, read_json
from checkpointflow.drivers.secrets import Secrets
from checkpointflow.engine.actions import CallHttp, Failure, Outcome, Success
from checkpointflow.store.directory import RunDirectory
from checkpointflow.store.files import make_private

MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
PORTS = {"http": 80, "https": 443}

# They say where a message ends; a value of ours and another of the author's would make two messages of one.
FRAMING = ("content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer")

# What goes along to another origin: what is sent and what is wanted, never who asks. A list of what to
# keep rather than of what to drop, since a credential may stand in a header of any name.
IMPERSONAL = re.compile(
    r"accept(-.*)?|content-(encoding|language|type)|idempotency-key|if-.*|prefer|range|user-agent", re.I
)

OF_A_BODY = re.compile(r"content-|idempotency-key$", re.I)

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CONTROL_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NETLOC = re.compile(
    r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:\\%\s]{1,253}))(?::(?P<port>[0-9]{0,5}))?"
)
_NAME = re.compile(r"[a-z0-9._-]+")
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PATH_SAFE = "%/:@!$&'()*+,;="
_QUERY_SAFE = _PATH_SAFE + "?[]"


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Refused(Exception):
    """A call that is not made, or not gone on with; its text says why."""


class Place(NamedTuple):
    """What a URL names, as it goes over the wire: the host in ASCII, path and query percent-encoded."""

    scheme: str
    host: str
    port: int
    path: str
    query: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """Who answers there."""
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """The host, and the port where it is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def target(self) -> str:
        """What is asked for there."""
        return self.path + (f"?{self.query}" if self.query else "")

    @property
    def url(self) -> str:
        """The whole of it."""
        return f"{self.scheme}://{self.authority}{self.target}"

    def __str__(self) -> str:
        """For messages: without the query, which may hold what nobody else should read."""
        return f"{self.scheme}://{self.authority}{self.path}"


class Request(NamedTuple):
    """What is asked at one hop."""

    method: str
    place: Place
    headers: dict[str, str]
    body: bytes | None

    def sent(self) -> dict[str, bytes]:
        """The headers as they go over the wire."""
        headers = {"Connection": "close", **self.headers}
        if not any(name.lower() == "host" for name in headers):
            headers["Host"] = self.place.authority
        return {name: value.encode() for name, value in headers.items()}

    def redirected(self, status: int, location: str) -> Request:
        """What is asked instead. Raises Refused.

        By RFC 9110, 15.4: a 303, and by custom a 301 or 302 to a POST, is followed with a GET; all else
        keeps its method and body. Who is asked next is none of the author's choice, so that another origin
        hears no credentials.
        """
        try:
            place = place_of(location, self.place)
        except Refused as error:
            raise Refused(f"{self.place} redirects to where no call is made: {error}") from None
        method, headers, body = self.method, self.headers, self.body
        if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
            method, body = "GET", None
            headers = {n: v for n, v in headers.items() if not OF_A_BODY.match(n)}
        if place.origin != self.place.origin:
            headers = {n: v for n, v in headers.items() if IMPERSONAL.fullmatch(n)}
            if body is not None and self.place.scheme == "https" and place.scheme == "http":
                raise Refused(f"{self.place} redirects to {place}, where the body would go unencrypted")
        return Request(method, place, headers, body)


class Call:
    """An HTTP call of a run: `perform` it once; `stop` may be called meanwhile from elsewhere."""

    def __init__(self, action: CallHttp, directory: RunDirectory) -> None:
        self.action = action
        self.stdout = directory.log("stdout", action.path, action.attempt)
        self._place: Place | None = None
        self._socket: socket.socket | None = None
        self._reached: SimpleQueue[Exception | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._stopped = False

    def perform(self) -> Outcome:
        """Make the call, to its answer or to its time-out."""
        try:
            self._secrets = Secrets(self.action.secrets)
        except KeyError as error:
            return failure(f"the secret {error.args[0]} is not set in the environment of cpf")
        match self._ended():
            case Failure(error=why) as failed:
                # A URL, and what a server says of it, may hold a secret.
                return replace(failed, error=replace(why, message=self._secrets.masked_text(why.message)))
            case outcome:
                return outcome

    def _ended(self) -> Outcome:
        late = threading.Timer(self.action.timeout_seconds, self.stop)
        late.daemon = True
        late.start()
        try:
            return self._outcome()
        except Exception as error:  # noqa: BLE001, a network has many ways to fail
            if self._stopped or isinstance(error, TimeoutError):
                within = f"within {self.action.timeout_seconds:g} seconds"
                return failure(f"{self._place} gave no whole answer {within}", code="ERR_TIMEOUT")
            return failure(_what_happened(error, self._place))
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

    def _outcome(self) -> Outcome:
        action = self.action
        asked, answer = self._last_hop()
        with answer:
            size = self._store(answer)
        status = answer.status
        if status not in action.status_codes:
            shown = head(self.stdout).strip()[:200]
            how = f"{status} {answer.reason[:100]}".rstrip()
            message = f"{asked.method} {asked.place} was answered with {how}"
            return failure(f"{message}: {shown}" if shown else message, status_code=status)
        if size > MAX_BYTES:
            message = f"the answer of {asked.place} is larger than {MAX_BYTES} bytes"
            return failure(message, status_code=status)
        stdout = head(self.stdout) if action.keeps_stdout else None
        return Success(outputs=_outputs(self.stdout.read_bytes()), status_code=status, stdout=stdout)

    def _last_hop(self) -> tuple[Request, http.client.HTTPResponse]:
        """The first answer that is no redirect, and what it answers."""
        action = self.action
        given = {"url": action.url, "headers": action.headers, "body": action.body}
        asked = _first(replace(action, **self._secrets.filled(given)))
        # A redirect is chosen by a server, which is data as well.
        self._trusted = {*action.allow_hosts, *([] if action.host_is_data else [asked.place.host])}
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._asked(asked)
            location = answer.getheader("Location")
            wanted = answer.status in self.action.status_codes
            if wanted or location is None or answer.status not in REDIRECTS:
                return asked, answer
            answer.close()
            asked = asked.redirected(answer.status, _as_utf8(location))
        raise Refused(f"{self._place} redirects once more, after {MAX_REDIRECTS} redirects")

    def _asked(self, request: Request) -> http.client.HTTPResponse:
        """The answer to *request*, up to where its body begins."""
        self._hang_up()
        self._place = request.place
        sock = self._connected(request.place)
        connection = http.client.HTTPConnection(request.place.authority)
        connection.sock = sock
        # A server may answer, and hang up, before it has heard all of a long body.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(request.method, request.place.target, request.body, request.sent())
        answer = _Answer(sock, method=request.method)
        answer.begin()
        return answer

    def _connected(self, place: Place) -> socket.socket:
        """A connection to *place*, which `stop` can shut from now on."""

        def reach() -> None:
            try:
                public_only = place.host not in self._trusted
                seconds = self.action.timeout_seconds
                self._hold(connected(place.host, place.port, seconds, public_only=public_only))
                self._reached.put(None)
            except Exception as error:  # noqa: BLE001, raised again below
                self._reached.put(error)

        threading.Thread(target=reach, daemon=True).start()  # nothing can cut short a look-up of names
        error = self._reached.get()
        if error is not None:
            raise error
        assert self._socket is not None
        if place.scheme == "http":
            return self._socket
        tls = _tls().wrap_socket(self._socket, server_hostname=place.host, do_handshake_on_connect=False)
        self._hold(tls)
        tls.do_handshake()
        return tls

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

    def _store(self, answer: http.client.HTTPResponse) -> int:
        """Stream the answer into the file, up to just over the limit; returns its size."""
        make_private(self.stdout.parent)
        size, promised = 0, answer.length

        def blocks() -> Iterator[bytes]:
            nonlocal size
            while size <= MAX_BYTES and (block := answer.read1(1 << 16)):
                size += len(block)
                yield block

        with os.fdopen(created(self.stdout), "wb") as file:
            for block in self._secrets.masking(blocks()):
                file.write(block)
                file.flush()
        if self._stopped:  # to the reader that looks like the end of the answer
            raise InterruptedError
        if promised is not None and size < min(promised, MAX_BYTES):
            raise ConnectionError(f"it hung up after {size} of {promised} bytes")
        return size


class _Answer(http.client.HTTPResponse):
    """An answer whose head and chunks must be whole: http.client takes where they break off for their end."""

    def __init__(self, sock: socket.socket, method: str) -> None:
        super().__init__(sock, method=method)
        self.fp = _Lines(self.fp.detach())


class _Lines(io.BufferedReader):
    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if not line:
            raise ConnectionError("it hung up before it had answered")
        return line


def connected(host: str, port: int, seconds: float, *, public_only: bool = False) -> socket.socket:
    """A connection to *host*: the one place where a name becomes addresses, and an address a connection.

    With *public_only* every address must be a public one; the connection goes to an address that was
    checked. They are tried in turn, each for its share of *seconds*. Raises Refused, and OSError, that of
    the last.
    """
    deadline = time.monotonic() + seconds
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    inner = [str(address[0]) for *_, address in addresses if public_only and not is_public(str(address[0]))]
    if inner:
        raise Refused(
            f"{host} is at {inner[0]}, which is no public address, and the workflow's author did not write "
            "it; to mean it, name the host in defaults.allow_hosts"
        )
    problem = OSError(f"{host} has no address")
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        share = (deadline - time.monotonic()) / (len(addresses) - tried)
        try:
            with ExitStack() as unless_connected:
                sock = unless_connected.enter_context(socket.socket(family, kind, protocol))
                sock.settimeout(min(max(share, 0.001), 3600))
                sock.connect(address)
                sock.settimeout(None)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                unless_connected.pop_all()
            return sock
        except OSError as error:
            problem = error
    raise problem


def is_public(address: str) -> bool:
    """Whether *address* is one of the open Internet, whichever way it is spelled or wrapped."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        wrapped = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if wrapped is None and ip in _NAT64:
            wrapped = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if wrapped is not None:
            return is_public(str(wrapped))
        if ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def place_of(url: str, base: Place | None = None) -> Place:
    """What *url* names, seen from *base*. Raises Refused, whose text keeps its secrets."""
    if _CONTROL.search(url):  # urlsplit would drop some without a word
        raise Refused("the URL holds a line break or another control character")
    try:
        parts = urlsplit(url if base is None else urljoin(base.url, url))
        path = _encoded(parts.path, _PATH_SAFE) or "/"
        query = _encoded(parts.query, _QUERY_SAFE)
    except ValueError:
        raise Refused("the URL is not a valid one") from None
    if parts.scheme not in PORTS:
        given = f"{parts.scheme}:" if parts.scheme else "without either"
        raise Refused(f"only http: and https: URLs can be called, and this one is {given}")
    if "@" in parts.netloc:
        raise Refused(
            "a name or password in the URL would stand in the run's state and logs; send it in the header"
            " Authorization instead"
        )
    host, port = _host_and_port(parts.netloc)
    return Place(parts.scheme, host, port or PORTS[parts.scheme], path, query)


def _host_and_port(netloc: str) -> tuple[str, int]:
    """The host in the form that is looked up, and the port, 0 if there is none. Raises Refused."""
    fits = _NETLOC.fullmatch(netloc)
    if fits is None:
        raise Refused("the URL names no host" if not netloc else "the URL has no valid host and port")
    port = int(fits["port"] or 0)
    if port > 65535 or (fits["port"] and port == 0):
        raise Refused(f"{port} is not a port")
    if fits["address"]:
        try:
            return str(ipaddress.IPv6Address(fits["address"])), port
        except ValueError:
            raise Refused(f"[{fits['address']}] is not an IPv6 address") from None
    return _name(fits["name"]), port


def _name(host: str) -> str:
    """*host* in ASCII, by IDNA. Raises Refused."""
    if any(c in "ßς\u200c\u200d" for c in host):  # here the IDNA that Python has names another host
        raise Refused(f"write the host {host} in its ASCII form (xn--…)")
    try:
        name = host.encode("idna").decode().lower()
    except UnicodeError:
        name = ""
    if not _NAME.fullmatch(name):
        raise Refused(f"{host!r} is not the name of a host")
    return name


def _encoded(text: str, safe: str) -> str:
    """*text* with what cannot stand in a URL percent-encoded; what is so already stays as it is."""
    return quote(_LONE_PERCENT.sub("%25", text), safe=safe)


def _as_utf8(header: str) -> str:
    """A header's value, which http.client took for Latin-1."""
    try:
        return header.strip().encode("latin-1").decode()
    except UnicodeError:
        return header.strip()


def _first(action: CallHttp) -> Request:
    """What the author asks for. Raises Refused."""
    place, body = place_of(action.url), _body(action)
    return Request(action.method, place, _headers(action, body), body)


def _body(action: CallHttp) -> bytes | None:
    if action.body is UNSET:
        return None
    return action.body.encode() if isinstance(action.body, str) else msgspec.json.encode(action.body)


def _headers(action: CallHttp, body: bytes | None) -> dict[str, str]:
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
        if not _TOKEN.fullmatch(name):
            raise Refused(f"{name!r} is not the name of a header")
        if name.lower() in FRAMING:
            raise Refused(f"the header {name} is cpf's to set")
        if _CONTROL_IN_VALUE.search(value):
            raise Refused(f"the header {name} holds a line break or another control character")
    return headers


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _outputs(data: bytes) -> Any:
    """A JSON object as it is; any other JSON, or text, under `body`."""
    try:
        value = read_json(data)
    except ValueError:
        value = data.decode(errors="replace")
    return value if isinstance(value, dict) else {"body": value}


def _what_happened(error: Exception, place: Place | None) -> str:
    words = (str(error) or type(error).__name__)[:200]
    match error:
        case Refused():
            return str(error)
        case socket.gaierror():
            return f"the host of {place} could not be found: {error.strerror}"
        case ConnectionRefusedError():
            return f"{place} refused the connection"
        case ssl.SSLError():
            why = getattr(error, "verify_message", "") or error.reason or words
            return f"no secure connection to {place}: {why}"
        case http.client.HTTPException():
            return f"{place} did not answer in HTTP: {words}"
        case _:
            return f"the call of {place} failed: {words}"
