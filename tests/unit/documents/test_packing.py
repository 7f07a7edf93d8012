"""A document comes back from the cache as it was read."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given

from checkpointflow.diagnostics import Diagnostic
from checkpointflow.documents.model import Document
from checkpointflow.documents.packing import Understood, pack, unpack
from tests.unit.documents.test_published_schema import FITTING


@given(FITTING)
def test_every_document_comes_back_as_it_was(document: Any) -> None:
    warning = Diagnostic("odd", ("workflow", "steps", 0), quotes=("a", "b"), line=3)
    read = Understood(msgspec.convert(document, Document).workflow, is_checked=True, warnings=(warning,))
    back = unpack(pack(read))
    assert back == read
    assert repr(back) == repr(read)  # 1 and 1.0 and True are equal


def test_a_mapping_of_the_author_is_not_taken_for_anything_else() -> None:
    values = [{"": 1}, {"Cli": {"command": "true"}}, [{"Goto": {"next": "a"}}], {}, [[]]]
    step = {"id": "a", "kind": "foreach", "items": values, "workflow_ref": "w.yaml", "inputs": {"": values}}
    document = {"schema_version": "checkpointflow/v1", "workflow": {"id": "w", "steps": [step]}}
    read = Understood(msgspec.convert(document, Document).workflow, is_checked=False, warnings=())
    assert unpack(pack(read)) == read
