"""Bad input of any shape gives an envelope and a code from the table, never a traceback or a hang.

A quick part of `make fuzz`, which raises the number of examples by CPF_FUZZ_EXAMPLES.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import tarfile
from collections.abc import Callable
from copy import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import QUICK_START, Answer, Cpf
from tests.helpers import ask, cli, foreach

CODES = {0, 2, 10, 20, 30, 40, 50, 60, 70, 80}
EXAMPLES = int(os.environ.get("CPF_FUZZ_EXAMPLES", "25"))
DOCUMENT = (QUICK_START / "workflow.yaml").read_bytes()

fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def is_answer(answer: Answer) -> None:
    assert answer.code in CODES, answer.text
    assert answer.json["exit_code"] == answer.code


def changed(data: bytes) -> st.SearchStrategy[bytes]:
    """*data* with a piece of it cut, repeated or replaced."""

    def change(at: int, length: int, piece: bytes) -> bytes:
        return data[:at] + piece + data[at + length :]

    pieces = st.binary(max_size=6) | st.sampled_from(
        [b"${", b"}", b"*a", b"&a ", b"[" * 50, b"\n", b": ", b"null"]
    )
    return st.builds(change, st.integers(0, len(data)), st.integers(0, 30), pieces)


@pytest.mark.parametrize("command", ["validate", "run"])
@fuzzed
@given(data=changed(DOCUMENT) | st.binary(max_size=200))
def test_any_document_is_answered(cpf: Cpf, command: str, data: bytes) -> None:
    (cpf.cwd / "w.yaml").write_bytes(data)
    is_answer(cpf(command, "-f", "w.yaml"))


@fuzzed
@given(document=anything)
def test_any_structure_is_answered(cpf: Cpf, document: Any) -> None:
    whole = {"schema_version": "checkpointflow/v1", "workflow": document}
    cpf.write("w.json", json.dumps(whole))
    is_answer(cpf("validate", "-f", "w.json"))


@fuzzed
@given(text=st.text(max_size=60) | anything.map(json.dumps))
def test_any_input_and_any_event_is_answered(cpf: Cpf, text: str) -> None:
    text = text.encode(errors="replace").decode().replace("\0", "")
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    file = cpf.flow(ask("q", input_schema=schema), inputs=schema)
    if not text.startswith(("@", "-")):
        is_answer(cpf("run", "-f", file, f"--input={text}"))
        run_id = cpf("run", "-f", file)["run_id"]
        is_answer(cpf("resume", "--run-id", run_id, "--event", "q_event", f"--input={text}"))


@fuzzed
@given(
    text=st.text(max_size=30) | st.from_regex(re.compile(r"[a-z0-9.\[\]'\"() =!<>]{0,30}"), fullmatch=True)
)
def test_any_expression_is_answered(cpf: Cpf, text: str) -> None:
    is_answer(cpf("validate", "-f", cpf.flow(cli("a", **{"if": text.encode(errors="replace").decode()}))))
    is_answer(
        cpf("validate", "-f", cpf.flow(cli("a", f"echo ${{{text.encode(errors='replace').decode()}}}")))
    )


@pytest.fixture
def stopped(cpf: Cpf) -> Callable[[str, bytes], list[Answer]]:
    """What every command says of a run one of whose files has been changed."""
    answer = cpf.run(cli("a", "echo '{}'"), foreach("each", [1, 2], ask("q"), max_concurrency=2))
    directory = cpf.directory(answer["run_id"])
    original = {
        name: (directory / name).read_bytes() for name in ("state.json", "history.jsonl", "workflow.yaml")
    }

    def ask_all(name: str, data: bytes) -> list[Answer]:
        for other, text in original.items():
            (directory / other).write_bytes(text)
        (directory / name).write_bytes(data)
        where = ("--run-dir", str(directory))
        return [
            cpf("status", *where),
            cpf("inspect", *where),
            cpf("logs", *where),
            cpf("resume", *where, "--event", "q_event", "--step", "each[0]/q", "--input", "{}"),
            cpf("retry-step", *where),
            cpf("cancel", *where, "--reason", "x"),
        ]

    ask_all.original = original  # type: ignore[attr-defined]
    return ask_all


@pytest.mark.long(but_one_in=3)
@pytest.mark.parametrize("name", ["state.json", "history.jsonl", "workflow.yaml"])
@fuzzed
@given(data=st.data())
def test_any_damage_to_a_run_is_answered(stopped: Any, name: str, data: st.DataObject) -> None:
    for answer in stopped(name, data.draw(changed(stopped.original[name]))):
        is_answer(answer)


# Archives

KINDS = [
    tarfile.REGTYPE,
    tarfile.DIRTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.FIFOTYPE,
    tarfile.CHRTYPE,
]
STRANGE = [
    "..",
    ".",
    "",
    "/etc",
    "~",
    "a\\b",
    "x\ny",
    "run.lock",
    "state.json",
    "artifacts",
    "stdout",
    "é" * 120,
]


@pytest.fixture
def packed(cpf: Cpf) -> tuple[str, bytes]:
    """The id of a run, which is gone from here, and its archive, not compressed."""
    run_id = cpf.run(cli("a", "echo x > f; echo '{}'", artifacts=[{"name": "f", "path": "f"}]), ask("q"))[
        "run_id"
    ]
    assert cpf("export", "--run-id", run_id, "-o", "run.tar.gz").code == 0
    assert cpf("delete", "--run-id", run_id, "--force").code == 0
    return run_id, gzip.decompress((cpf.cwd / "run.tar.gz").read_bytes())


def members(data: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return [(m, file.read() if (file := archive.extractfile(m)) else b"") for m in archive]


@st.composite
def archives(draw: st.DrawFn, run_id: str, data: bytes) -> bytes:
    """An archive of which a few members were changed or left out, or others added to them."""
    known = members(data)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(known) - 1))
        header, content = copy(known[place][0]), known[place][1]
        if draw(st.booleans()):
            parts = [*header.name.split("/"), ""]
            part = draw(st.integers(0, len(parts) - 1))
            parts[part] = draw(st.sampled_from(STRANGE) | st.text(max_size=10))
            header.name = "/".join(parts if parts[-1] else parts[:-1]).encode(errors="replace").decode()
        if draw(st.booleans()):
            header.type = draw(st.sampled_from(KINDS))
            header.linkname = draw(st.sampled_from([*STRANGE, run_id]))
        if draw(st.booleans()):
            content = draw(changed(content))
        replaced = draw(st.integers(0, 1))
        known[place : place + replaced] = [(header, content)]
    out = io.BytesIO()
    kind = draw(st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        for header, content in known:
            header.size = len(content) if header.isreg() else 0
            archive.addfile(header, io.BytesIO(content))
    return out.getvalue()


@fuzzed
@given(data=st.data())
def test_any_archive_is_answered_and_only_a_whole_run_comes_of_it(
    cpf: Cpf, packed: tuple[str, bytes], data: st.DataObject
) -> None:
    run_id, tar = packed
    whole = gzip.compress(tar, 1)
    strange = archives(run_id, tar) | changed(tar)
    archive = data.draw(changed(whole) | strange.map(lambda tar: gzip.compress(tar, 1)))
    (cpf.cwd / "strange.tar.gz").write_bytes(archive)
    outside = sorted(path for path in cpf.cwd.parent.rglob("*") if cpf.base not in (path, *path.parents))
    answer = cpf("import", "strange.tar.gz", *data.draw(st.sampled_from([(), ("--as-new",)])))
    is_answer(answer)
    assert (
        sorted(path for path in cpf.cwd.parent.rglob("*") if cpf.base not in (path, *path.parents)) == outside
    )
    assert sorted(path.name for path in cpf.base.iterdir()) == ["README", "cache", "runs"]
    found = [path.name for path in (cpf.base / "runs").iterdir()]
    assert found == ([answer["run_id"]] if answer.code == 0 else [])
    for name in found:
        verified = cpf("verify", "--run-id", name)
        assert verified.code == 0
        assert "no file of a run" not in verified.text
        assert cpf("delete", "--run-id", name, "--force").code == 0
