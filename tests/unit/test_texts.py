"""Each text that tests ask for by name (`cases/texts.json`) stands once, and somebody asks for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

FILES = sorted(Path(__file__).parent.glob("*/cases/texts.json"))


@pytest.mark.parametrize("file", FILES, ids=[file.parts[-3] for file in FILES])
def test_a_text_stands_once_and_is_asked_for(file: Path) -> None:
    texts = json.loads(file.read_text(encoding="utf-8"))
    assert len(set(texts.values())) == len(texts)
    room = [*file.parents[1].glob("*.py"), *(other for other in file.parent.iterdir() if other != file)]
    rows = "\n".join(asking.read_text(encoding="utf-8") for asking in room)
    assert [name for name in texts if json.dumps(name, ensure_ascii=False) not in rows] == []
