"""What a URL names: the scheme, the host in ASCII, the port, and what is asked for there.

A URL may be made of values, and a redirect comes from a server; so what is not plainly one URL of one host is
refused rather than put right, lest two readers take it for two hosts.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

PORTS = {"http": 80, "https": 443}

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NETLOC = re.compile(
    r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:\\%\s]{1,253}))(?::(?P<port>[0-9]{0,5}))?"
)
_NAME = re.compile(r"[a-z0-9._-]+")
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PATH_SAFE = "%/:@!$&'()*+,;="
_QUERY_SAFE = _PATH_SAFE + "?[]"


class Refused(Exception):
    """A call that is not made, or not gone on with; its text says why."""


class Url(NamedTuple):
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
    def text(self) -> str:
        """The whole of it."""
        return f"{self.scheme}://{self.authority}{self.target}"

    def __str__(self) -> str:
        """For messages: without the query, which may hold what nobody else should read."""
        return f"{self.scheme}://{self.authority}{self.path}"


def parse_url(url: str, base: Url | None = None) -> Url:
    """What *url* names, seen from *base*. Raises Refused, whose text keeps its secrets."""
    if _CONTROL.search(url):  # urlsplit would drop some without a word
        raise Refused("the URL holds a line break or another control character")
    try:
        parts = urlsplit(url if base is None else urljoin(base.text, url))
        path = _encode(parts.path, _PATH_SAFE) or "/"
        query = _encode(parts.query, _QUERY_SAFE)
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
    host, port = parse_netloc(parts.netloc)
    return Url(parts.scheme, host, port or PORTS[parts.scheme], path, query)


def parse_netloc(netloc: str) -> tuple[str, int]:
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
    return _to_ascii(fits["name"]), port


def _to_ascii(host: str) -> str:
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


def _encode(text: str, safe: str) -> str:
    """*text* with what cannot stand in a URL percent-encoded; what is so already stays as it is."""
    return quote(_LONE_PERCENT.sub("%25", text), safe=safe)
