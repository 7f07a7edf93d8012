"""The texts that tests ask for by name, so that each stands once: whoever rewords one, rewords it there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Texts:
    """A file of texts with holes, by name."""

    def __init__(self, file: Path) -> None:
        self.by_name: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))

    def __call__(self, said: str | list[Any]) -> str:
        """*said* itself; or the text that `[name, fills …]` means, where a fill may be such a list again."""
        if isinstance(said, str):
            return said
        name, *fills = said
        return self.by_name[name].format(*map(self, fills))
