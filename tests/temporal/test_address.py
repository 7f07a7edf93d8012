"""Which cluster a URL names, and how one is let in."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from temporalio.service import TLSConfig

from checkpointflow.drivers.temporal.address import Address, make_connect_options, parse_address
from checkpointflow.errors import UsageError

LOCAL = Address()
NOWHERE = {"TEMPORAL_CONFIG_FILE": "/nowhere/temporal.toml"}


@pytest.mark.parametrize(
    ("url", "address", "shortest"),
    [
        ("temporal://", LOCAL, "temporal://127.0.0.1:7233"),
        ("temporal:///", LOCAL, "temporal://127.0.0.1:7233"),
        ("temporal://127.0.0.1:7233/default?queue=cpf", LOCAL, "temporal://127.0.0.1:7233"),
        ("temporal:///orders", Address(namespace="orders"), "temporal://127.0.0.1:7233/orders"),
        ("temporal://Host.Example", Address(target="host.example:7233"), "temporal://host.example:7233"),
        ("temporal://[::1]:1", Address(target="[::1]:1"), "temporal://[::1]:1"),
        (
            "temporal://h:443/n.a-1_b?tls=true&queue=gpu.2",
            Address(target="h:443", namespace="n.a-1_b", queue="gpu.2", tls=True),
            "temporal://h:443/n.a-1_b?queue=gpu.2&tls=true",
        ),
        ("temporal://h?tls=false", Address(target="h:7233", tls=False), "temporal://h:7233?tls=false"),
    ],
)
def test_a_url_names_a_cluster(url: str, address: Address, shortest: str) -> None:
    assert parse_address(url) == address
    assert str(address) == shortest
    assert parse_address(shortest) == address


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "a cluster is named so: temporal://HOST:PORT/NAMESPACE"),
        ("127.0.0.1:7233", "a cluster is named so"),
        ("http://h", "a cluster is named so"),
        ("temporal:h", "a cluster is named so"),
        ("temporal://me:HUSH@h", "no user or key stands in the URL"),
        ("temporal://h:HUSH", "the server is named by HOST:PORT"),
        ("temporal://h:70000", "the server is named by HOST:PORT"),
        ("temporal://h h", "the server is named by HOST:PORT"),
        ("temporal://[::1", "the server is named by HOST:PORT"),
        ("temporal://h/a/b", "the name of one namespace"),
        ("temporal://h/a%20b", "the name of one namespace"),
        ("temporal://h/a#HUSH", "the name of one namespace"),
        ("temporal://h?qeue=HUSH", "has no option 'qeue'; did you mean queue?"),
        ("temporal://h?api_key=HUSH", "has no option 'api_key'; there are queue and tls"),
        ("temporal://h?queue=HUSH&queue=b", "stands once"),
        ("temporal://h?queue=", "a queue has a name"),
        ("temporal://h?queue=a/HUSH", "a queue has a name"),
        ("temporal://h?tls=HUSH", "tls of a cluster is true or false"),
    ],
)
def test_what_names_no_cluster_is_refused(url: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(url)
    assert problem in str(caught.value) and "HUSH" not in str(caught.value)


def test_a_server_is_connected_to_without_anything_else() -> None:
    options = {"target_host": "h:1", "namespace": "n"}
    assert make_connect_options(parse_address("temporal://h:1/n"), NOWHERE) == options
    assert make_connect_options(parse_address("temporal://h:1/n?tls=true"), NOWHERE) == {
        **options, "tls": True,
    }  # fmt: skip


def test_the_environment_says_how_one_is_let_in(tmp_path: Path) -> None:
    (tmp_path / "ca").write_bytes(b"CA")
    given = {
        **NOWHERE,
        "TEMPORAL_ADDRESS": "elsewhere:1",
        "TEMPORAL_NAMESPACE": "other",
        "TEMPORAL_API_KEY": "KEY",
        "TEMPORAL_TLS_SERVER_CA_CERT_PATH": str(tmp_path / "ca"),
        "TEMPORAL_TLS_CLIENT_CERT_DATA": "CERT",
        "TEMPORAL_TLS_CLIENT_KEY_DATA": "PRIVATE",
        "TEMPORAL_TLS_SERVER_NAME": "name",
        "TEMPORAL_GRPC_META_TEAM": "blue",
    }
    tls = TLSConfig(
        server_root_ca_cert=b"CA", domain="name", client_cert=b"CERT", client_private_key=b"PRIVATE"
    )
    options = {"target_host": "h:7233", "namespace": "default", "api_key": "KEY", "tls": tls}
    options["rpc_metadata"] = {"team": "blue"}
    assert make_connect_options(parse_address("temporal://h"), given) == options
    assert make_connect_options(parse_address("temporal://h?tls=true"), given) == options
    without = make_connect_options(parse_address("temporal://h?tls=false"), given)
    assert without == {**options, "tls": False}


def test_the_file_of_temporal_says_it_too(tmp_path: Path) -> None:
    file = tmp_path / "temporal.toml"
    file.write_text(
        '[profile.default]\naddress = "elsewhere:1"\nnamespace = "other"\napi_key = "KEY"\n'
        '[profile.plain.tls]\ndisabled = true\n'
    )  # fmt: skip
    given = {"TEMPORAL_CONFIG_FILE": str(file)}
    options = {"target_host": "h:7233", "namespace": "default"}
    address = parse_address("temporal://h")
    assert make_connect_options(address, given) == {**options, "api_key": "KEY", "tls": True}
    given["TEMPORAL_PROFILE"] = "plain"
    assert make_connect_options(address, given) == {**options, "tls": False}
    assert make_connect_options(parse_address("temporal://h?tls=true"), given)["tls"] is True
    given["TEMPORAL_PROFILE"] = "none"
    with pytest.raises(UsageError, match="Temporal's configuration is wrong: Profile 'none' not found"):
        make_connect_options(address, given)


@pytest.mark.parametrize("text", ['[profile.default]\napi_key = "HUSH', "[profile.default]\napi_key = 1HUSH"])
def test_a_file_that_is_wrong_is_not_shown(tmp_path: Path, text: str) -> None:
    (tmp_path / "temporal.toml").write_text(text)
    with pytest.raises(UsageError, match=r"TOML parse error at line 2, column \d+$"):
        make_connect_options(LOCAL, {"TEMPORAL_CONFIG_FILE": str(tmp_path / "temporal.toml")})


@pytest.mark.parametrize(
    ("name", "what"),
    [("SERVER_CA_CERT", "the CA certificate"), ("CLIENT_CERT", "the client's certificate"),
     ("CLIENT_KEY", "the client's key")],
)  # fmt: skip
def test_a_key_in_the_place_of_its_file_is_not_shown(name: str, what: str) -> None:
    given = {**NOWHERE, f"TEMPORAL_TLS_{name}_PATH": "HUSH"}
    with pytest.raises(UsageError) as caught:
        make_connect_options(LOCAL, given)
    problem = f"{what} in Temporal's configuration cannot be read (No such file or directory)"
    assert str(caught.value) == problem


def test_who_has_no_sdk_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "temporalio.envconfig", None)
    with pytest.raises(UsageError, match=r"pip install 'checkpointflow\[temporal\]'"):
        make_connect_options(LOCAL, {})
