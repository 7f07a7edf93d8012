"""`cpf guide cluster`: short, who may run what comes first, and what it shows is so."""

from __future__ import annotations

import re
from pathlib import Path

from checkpointflow.cli import guide
from checkpointflow.drivers.temporal.address import parse_address
from checkpointflow.drivers.temporal.shelf import OBJECT_STORES
from tests.conftest import Cpf

TEXT = Path(guide.__file__).parent.with_name("cluster.md").read_text()


def test_it_is_a_topic_of_the_guide_and_short(cpf: Cpf) -> None:
    assert cpf("guide", "cluster").text == TEXT
    assert 900 < len(TEXT.split()) < 1700
    assert re.findall(r"(?m)^## (.*)$", TEXT)[0] == "Who may run what"


def test_its_document_is_valid_where_a_cluster_is_named(cpf: Cpf) -> None:
    (document,) = re.findall(r"(?ms)^```yaml\n(.*?)^```$", TEXT)
    cpf.write("w.yaml", document)
    answer = cpf("validate", "w.yaml", "--strict", CPF_ON="temporal://h")
    assert (answer.code, answer["result"]["warnings"]) == (0, [])


def test_the_places_that_it_names_can_be_named_so() -> None:
    (url,) = re.findall(r"CPF_ON=(\S+)", TEXT)
    assert str(parse_address(url)) == "temporal://127.0.0.1:7233"
    assert all(f"`{scheme}://" in TEXT for scheme in OBJECT_STORES)
