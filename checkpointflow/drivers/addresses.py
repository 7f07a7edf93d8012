"""From the name of a host to a connection: its addresses, which may be called, and the one that answers.

This is the one place where a name becomes addresses and an address a connection, so that what was checked is
what is connected to.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from contextlib import ExitStack

from checkpointflow.drivers.urls import Refused

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
