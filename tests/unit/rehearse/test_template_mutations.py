"""Any single jump or condition of a template that is changed is noticed by the tests that come with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import checkpointflow
from checkpointflow.documents.model import Document
from checkpointflow.documents.program import Program
from checkpointflow.documents.spellings import respell
from checkpointflow.documents.yaml import parse
from checkpointflow.rehearse.fixtures import Fixture
from checkpointflow.rehearse.reading import decode_fixture
from checkpointflow.rehearse.rehearsal import rehearse
from checkpointflow.rehearse.verdict import judge

TEMPLATES = Path(checkpointflow.__file__).parent / "templates"
FIXTURES = sorted(TEMPLATES.glob("*.test.yaml"), key=lambda file: (file.stat().st_size, file.name))
NAMES = [file.name.removesuffix(".test.yaml") for file in FIXTURES]
JUMPS = ("next", "default")
CONDITIONS = ("when", "if")


def mutate(value: Any, ids: list[str], where: str = "") -> Iterator[tuple[str, Any]]:
    """Each way to make one jump of *value* lead to another of *ids*, or one condition its opposite."""
    if isinstance(value, list):
        own = [step["id"] for step in value if isinstance(step, dict) and "kind" in step]
        for number, inner in enumerate(value):
            for what, changed in mutate(inner, own or ids, f"{where}[{number}]"):
                yield what, [*value[:number], changed, *value[number + 1 :]]
    for name, inner in value.items() if isinstance(value, dict) else ():
        at = f"{where}.{name}"
        if name in JUMPS and isinstance(inner, str):
            others = (other for other in ids if other != inner)
            changes = ((f"{at}: {inner} -> {other}", other) for other in others)
        elif name in CONDITIONS:
            plain = inner.removeprefix("${").removesuffix("}") if isinstance(inner, str) else inner
            changes = iter([(f"{at}: not", f"not ({plain})")])
        else:
            changes = mutate(inner, ids, at) if name not in ("inputs", "input_schema") else iter(())
        for what, changed in changes:
            yield what, {**value, name: changed}


def understand(document: Any) -> Program:
    return Program(msgspec.convert(document, Document).workflow)


def is_noticed(document: Any, fixture: Fixture) -> bool:
    program = understand(document)
    return any(judge(case, rehearse(program, case)).outcome != "passed" for case in fixture.tests)


def read(template: str) -> Any:
    root = parse((TEMPLATES / f"{template}.yaml").read_bytes()).root
    assert root is not None
    return respell(root, "document")


@pytest.mark.long(but_one_in=6)
@pytest.mark.untraced
@pytest.mark.parametrize("template", NAMES)
def test_every_changed_jump_and_condition_of_a_template_is_noticed(template: str) -> None:
    document = read(template)
    fixture, _ = decode_fixture((TEMPLATES / f"{template}.test.yaml").read_bytes())
    assert not is_noticed(document, fixture)
    missed = [what for what, changed in mutate(document, []) if not is_noticed(changed, fixture)]
    assert missed == []
