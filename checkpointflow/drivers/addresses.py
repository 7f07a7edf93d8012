"""From the name of a host to a connection: its addresses, which may be called, and the one that answers.

This is the one place where a name becomes addresses and an address a connection, so that what was checked is
what is connected to. Which proxy is to be asked instead, the usual variables say, read as curl reads them.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import time
from contextlib import ExitStack, suppress
from typing import NamedTuple
from urllib.parse import unquote

from checkpointflow.drivers.urls import Refused, Url, parse_netloc

PROXY_PORT = 1080  # where its URL has none: curl's choice
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def connect(host: str, port: int, seconds: float, *, public_only: bool = False) -> socket.socket:
    """A connection to *host*.

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


class Proxy(NamedTuple):
    """Whom to ask for a connection, by which *variable*, and as whom (`user:password`, or nothing)."""

    host: str
    port: int
    login: str
    variable: str

    def __str__(self) -> str:
        """For messages: without the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"the proxy {host}:{self.port} ({self.variable})"


def find_proxy(url: Url) -> Proxy | None:
    """The proxy that our environment names for *url*, unless it exempts the host. Raises Refused.

    HTTP_PROXY in capitals does not count in a CGI script: there it is a header that anybody may send.
    """
    names = [f"{url.scheme}_proxy", f"{url.scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"]
    variable = next((name for name in names if os.environ.get(name) and _counts(name)), None)
    exempt = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if variable is None or any(_is_exempt(url, entry) for entry in re.split(r"[,\s]+", exempt.lower())):
        return None
    return _parse_proxy(os.environ[variable].strip(), variable)


def list_passwords() -> list[str]:
    """Those of all proxies that are named."""
    values = [value for name, value in os.environ.items() if name.lower().endswith("_proxy")]
    logins = [value.partition("://")[2].partition("/")[0] or value for value in values]
    return [unquote(login.rpartition("@")[0].partition(":")[2]) for login in logins]


def _counts(name: str) -> bool:
    return name != "HTTP_PROXY" or "REQUEST_METHOD" not in os.environ


def _parse_proxy(text: str, variable: str) -> Proxy:
    scheme, sign, rest = text.partition("://")
    if sign and scheme.lower() != "http":
        raise Refused(f"{variable} names a proxy of the kind {scheme}://, and only http:// ones can be asked")
    login, _, netloc = (rest if sign else text).partition("/")[0].rpartition("@")
    try:
        host, port = parse_netloc(netloc)
    except Refused as error:
        raise Refused(f"{variable} names no proxy: {error}") from None
    return Proxy(host, port or PROXY_PORT, unquote(login), variable)


def _is_exempt(url: Url, entry: str) -> bool:
    """Whether *entry* of NO_PROXY means *url*: `*`, a name with all below it, an address or a range."""
    if entry.startswith("["):
        name, _, port = entry[1:].partition("]")
        port = port.removeprefix(":")
    else:
        name, _, port = entry.partition(":") if entry.count(":") == 1 else (entry, "", "")
    if port and port != str(url.port):
        return False
    with suppress(ValueError):
        address = ipaddress.ip_address(url.host)
        with suppress(ValueError):
            return address in ipaddress.ip_network(name, strict=False)
        return entry == "*"
    name = name.removeprefix("*").strip(".")
    return entry == "*" or (name != "" and f".{url.host.rstrip('.')}".endswith(f".{name}"))
