"""Which cluster is meant: `temporal://HOST:PORT/NAMESPACE?queue=QUEUE&tls=true`, and how one connects to it.

The URL says it all, so that a line which names the cluster leads there from any shell: what it leaves out is
127.0.0.1, 7233, `default`, and the queue `cpf`. Only how one is let in comes from elsewhere, the API key, the
certificates and headers: from the environment (`TEMPORAL_API_KEY`, `TEMPORAL_TLS_…`) and the configuration
file of Temporal's own tools (`TEMPORAL_CONFIG_FILE`, `TEMPORAL_PROFILE`). No text made here has one in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from msgspec import Struct

from checkpointflow.diagnostics import find_nearest
from checkpointflow.errors import UsageError

if TYPE_CHECKING:
    from temporalio.envconfig import ClientConfigProfile

SCHEME = "temporal"
HOST, PORT, NAMESPACE, QUEUE = "127.0.0.1", 7233, "default", "cpf"
FORM = f"{SCHEME}://HOST:PORT/NAMESPACE?queue=QUEUE&tls=true"
_OPTIONS = ("queue", "tls")
_TRUTHS = {"true": True, "false": False}


class Address(Struct, frozen=True, kw_only=True):
    """A namespace of a Temporal cluster, and the queue at which its workers take work.

    target: HOST:PORT; tls: None, as Temporal's configuration has it.
    """

    target: str = f"{HOST}:{PORT}"
    namespace: str = NAMESPACE
    queue: str = QUEUE
    tls: bool | None = None

    def __str__(self) -> str:
        """The shortest URL that means it and names the server."""
        place = "" if self.namespace == NAMESPACE else f"/{self.namespace}"
        said = [] if self.queue == QUEUE else [f"queue={self.queue}"]
        said += [] if self.tls is None else [f"tls={str(self.tls).lower()}"]
        return f"{SCHEME}://{self.target}{place}{'?' if said else ''}{'&'.join(said)}"


def parse_address(url: str) -> Address:
    """The cluster that *url* names. Raises UsageError, in which no value stands that may be a secret."""
    scheme, colon, rest = url.partition("://")
    if (scheme, colon) != (SCHEME, "://"):
        raise UsageError(problem=f"a cluster is named so: {FORM}")
    if "@" in rest:
        raise UsageError(problem="no user or key stands in the URL of a cluster; see: cpf guide cluster")
    try:
        parts = urlsplit(url)
        target = f"{_show_host(parts.hostname)}:{PORT if parts.port is None else parts.port}"
    except ValueError:
        raise UsageError(problem=f"the server is named by HOST:PORT: {FORM}") from None
    namespace = parts.path.strip("/") or NAMESPACE
    if parts.fragment or not is_name(namespace):
        raise UsageError(problem=f"behind HOST:PORT stands the name of one namespace: {FORM}")
    return Address(target=target, namespace=namespace, **_parse_options(parts.query))


def is_name(text: str) -> bool:
    """Whether *text* can be the name of a namespace or a queue."""
    return re.fullmatch(r"[A-Za-z0-9._-]{1,100}", text) is not None


def _show_host(host: str | None) -> str:
    if host is None:
        return HOST
    if ":" in host:
        return f"[{host}]"
    if not is_name(host):
        raise ValueError
    return host


def _parse_options(query: str) -> dict[str, Any]:
    said = parse_qsl(query, keep_blank_values=True)
    options: dict[str, Any] = dict(said)
    for name in options:
        if name not in _OPTIONS:
            near = find_nearest(name, _OPTIONS)
            hint = f"did you mean {near}?" if near else f"there are {' and '.join(_OPTIONS)}"
            raise UsageError(problem=f"the URL of a cluster has no option {name[:40]!r}; {hint}")
    if len(said) > len(options) or not is_name(options.get("queue", QUEUE)):
        raise UsageError(problem=f"an option of a cluster stands once, and a queue has a name: {FORM}")
    if "tls" in options and (tls := options["tls"]) not in _TRUTHS:
        raise UsageError(problem="tls of a cluster is true or false, not something else")
    return options | ({"tls": _TRUTHS[tls]} if "tls" in options else {})


def make_connect_options(address: Address, environ: Mapping[str, str]) -> dict[str, Any]:
    """What `temporalio.client.Client.connect` is to be called with, but for the data converter.

    Raises UsageError: Temporal's configuration cannot be read, or its SDK is not installed.
    """
    profile = _load_profile(environ)
    try:
        options: dict[str, Any] = {**profile.to_client_connect_config()}
    except OSError as error:
        problem = (
            f"{_name_file(profile, error)} in Temporal's configuration cannot be read ({error.strerror})"
        )
        raise UsageError(problem=problem) from None
    options |= {"target_host": address.target, "namespace": address.namespace}
    if address.tls is not None:
        options["tls"] = address.tls and (options.get("tls") or True)
    return options


def _load_profile(environ: Mapping[str, str]) -> ClientConfigProfile:
    try:
        from temporalio.envconfig import ClientConfigProfile
    except ImportError:
        raise UsageError(problem="a cluster needs: pip install 'checkpointflow[temporal]'") from None
    try:
        return ClientConfigProfile.load(override_env_vars=environ)
    except (RuntimeError, OSError) as error:  # its further lines show the file, which may hold a key
        problem = f"Temporal's configuration is wrong: {str(error).partition(chr(10))[0]}"
        raise UsageError(problem=problem) from None


def _name_file(profile: ClientConfigProfile, error: OSError) -> str:
    """Which file it is; where it lies is not told, as a key may stand in the place of its name."""
    tls = profile.tls
    place = Path(str(error.filename))
    if tls is not None and place == tls.client_private_key:
        return "the client's key"
    return (
        "the client's certificate" if tls is not None and place == tls.client_cert else "the CA certificate"
    )
