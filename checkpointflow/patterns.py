"""Regular expressions that are compiled when they are first used: most starts need few of them."""

from __future__ import annotations

import re
from typing import Any, cast


class _Late:
    """What a pattern can do, looked up on the pattern itself from the first use on."""

    def __init__(self, pattern: str, flags: int) -> None:
        self._given = pattern, flags

    def __getattr__(self, name: str) -> Any:
        found = getattr(re.compile(*self._given), name)
        setattr(self, name, found)
        return found


def compile_late(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """*pattern*, compiled when something is first asked of it."""
    return cast("re.Pattern[str]", _Late(pattern, flags))
