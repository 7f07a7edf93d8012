"""An option of a command, whose help is text as it stands.

Click has `inspect` clean it, which takes as long to import as half an interpreter takes to start.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import click


class Option(click.Option):
    def __init__(self, *given: Any, help: str | None = None, **more: Any) -> None:  # noqa: A002, Click's name
        super().__init__(*given, **more)
        self.help = help


option = partial(click.option, cls=Option)
