"""A shelf in an object store that speaks S3: a server of its own, on this machine, over HTTP."""

from __future__ import annotations

import os
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import ask, branch, cli, end, parallel
from tests.temporal.conftest import need
from tests.temporal.world import Site

URL = "s3://bucket/prefix"
LONG = 200_000


def _make_server(root: Path) -> ThreadingHTTPServer:
    """Localbucket, and that many are deleted in one request, which it does not know (1.2.1)."""
    from localbucket import S3_NAMESPACE, S3Handler

    class Handler(S3Handler):  # type: ignore[misc]
        data_root = root

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def _post_request(self, bucket: str, key: str) -> None:
            if "delete" not in self.query:
                super()._post_request(bucket, key)
                return
            told = ET.Element("DeleteResult", xmlns=S3_NAMESPACE)
            for name in ET.fromstring(self._read_body()).iter(f"{{{S3_NAMESPACE}}}Key"):
                self._object_path(bucket, name.text).unlink(missing_ok=True)
                ET.SubElement(ET.SubElement(told, "Deleted"), "Key").text = name.text
            self._send_xml(told)

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a bucket lies that the environment names."""
    need(module="localbucket")
    place = tmp_path / "s3" / "bucket"
    place.mkdir(parents=True)
    with _make_server(place.parent) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "hush")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        yield place
        server.shutdown()
        serving.join()


def test_files_lie_there_by_their_names(bucket: Path, tmp_path: Path) -> None:
    from checkpointflow.drivers.temporal.shelf import open_shelf

    shelf, file, copy = open_shelf(URL), tmp_path / "file", tmp_path / "copies" / "copy"
    with pytest.raises(FileNotFoundError):
        shelf.read("runs/R/a")
    assert not shelf.fetch("runs/R/a", copy)
    shelf.write("runs/R/a", b"one")
    shelf.write("runs/R/a", b"two")
    assert shelf.read("runs/R/a") == b"two"
    assert (bucket / "prefix" / "runs" / "R" / "a").read_bytes() == b"two"
    file.write_bytes(os.urandom(12_000_000))  # more than goes in one request
    shelf.send("runs/R/b/c", file)
    shelf.write("runs/RR/d", b"")
    assert shelf.fetch("runs/R/b/c", copy) and copy.read_bytes() == file.read_bytes()
    listed = {found.name: found for found in shelf.list("runs/R")}
    assert {name: found.size for name, found in listed.items()} == {"runs/R/a": 3, "runs/R/b/c": 12_000_000}
    shelf.write("runs/R/a", b"new")
    assert {found.name: found for found in shelf.list("runs/R")}["runs/R/a"].version != listed[
        "runs/R/a"
    ].version
    shelf.remove("runs/R")
    shelf.remove("runs/R")
    assert [found.name for found in shelf.list("runs")] == ["runs/RR/d"]


@pytest.mark.long
def test_of_those_who_claim_a_name_at_once_one_is_first(bucket: Path) -> None:
    from checkpointflow.drivers.temporal.shelf import open_shelf

    shelf, racers = open_shelf(URL), 8
    with ThreadPoolExecutor(racers) as pool:
        for n in range(20):
            start = threading.Barrier(racers)

            def claim(racer: int, name: str = f"keys/{n}", start: threading.Barrier = start) -> bytes:
                start.wait()
                return shelf.claim(name, str(racer).encode())

            got = list(pool.map(claim, range(racers)))
            assert set(got) == {shelf.read(f"keys/{n}")}
            assert shelf.claim(f"keys/{n}", b"late") == got[0]


def _have_site(make_site: Callable[..., Site]) -> Site:
    site = make_site()
    site.cpf.env |= {"CPF_SHELF": URL} | {name: os.environ[name] for name in os.environ if name[:4] == "AWS_"}
    site.work()
    return site


@pytest.mark.long
def test_a_step_sends_what_it_has_changed_and_no_more(bucket: Path, make_site: Callable[..., Site]) -> None:
    """Failed with: what a worker knew of a file put in place of what another had made of it."""
    site = _have_site(make_site)
    site.work("--queue", "one")
    site.work("--queue", "two")
    put = 'mkdir -p "$CPF_ARTIFACTS_DIR"; echo %s > "$CPF_ARTIFACTS_DIR/x"'
    slow = cli("slow", "until test -e go; do sleep 0.1; done", runs_on="one")
    fix = branch("b", cli("fix", put % 2, runs_on="two"), cli("go", "touch go", runs_on="two"))
    show = cli("show", 'cat "$CPF_ARTIFACTS_DIR/x"', runs_on="two")
    steps = cli("first", put % 1, runs_on="one"), parallel("all", branch("a", slow), fix), show
    done = site.cpf.run(*steps, end("e", result="${steps.show.stdout}"))
    assert done["result"] == "2"
    assert site.cpf("verify", done["run_id"]).code == 0
    assert (bucket / "prefix" / "runs" / done["run_id"] / "artifacts" / "x").read_text() == "2\n"


@pytest.mark.long
def test_a_run_has_its_files_and_long_values_there(bucket: Path, make_site: Callable[..., Site]) -> None:
    site = _have_site(make_site)
    make = cli("make", "echo made > app", artifacts=[{"name": "app", "path": "app"}])
    use = cli("use", 'rm app; cat "$CPF_RUN_DIR"/${steps.make.artifacts.app.path}')
    long = end("e", result=["${steps.use.stdout}", "${steps.q.outputs.long}"])
    run_id = site.cpf.run(make, ask("q"), use, long)["run_id"]
    done = site.cpf.resume(run_id, "q_event", {"long": "x" * LONG})
    assert done.code == 0, done["error"]
    used, made = site.cpf("status", run_id, "--full")["result"]
    assert (used, len(made)) == ("made", LONG)
    place = bucket / "prefix" / "runs" / run_id
    lying = {str(file.relative_to(place)) for file in place.rglob("*") if file.is_file()}
    assert any(name.startswith("payloads/") for name in lying), lying
    assert any(name.startswith("artifacts/") for name in lying), lying
    assert site.cpf("verify", run_id).code == 0
    assert not list(site.shelf.iterdir())
