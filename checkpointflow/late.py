"""Modules that every start imports and hardly any needs, loaded when they are first used.

click imports `inspect`, and with it `ast`, `dis` and `tokenize`, to take the indents from texts for help, and
`gettext` to translate its messages; msgspec imports `textwrap` for schemas, and `uuid`, which asks `platform`
for the name of the system; `pathlib` imports `ntpath` and, by way of URLs, `ipaddress`. To load all of them
takes longer than to start a bare interpreter.

So something else stands in for each. It gives what a start asks for, and what the module gives once anything
else is asked for. Messages are not translated: the rest of what cpf says is English.
"""

from __future__ import annotations

import os
import sys
import threading
from types import ModuleType
from typing import Any

_LOADING = threading.RLock()


class Late(ModuleType):
    """Stands in for a module of which only what is *given* has been needed so far."""

    def __init__(self, name: str, **given: object) -> None:
        super().__init__(name)
        vars(self).update(given)

    def __getattr__(self, name: str) -> Any:
        if name == "__path__":  # which every `from … import` asks for, and only packages have
            raise AttributeError(name)
        return getattr(_load(self), name)


def _load(late: Late) -> ModuleType:
    """The module itself, which whoever imports it finds from now on."""
    name = late.__name__
    with _LOADING:
        if sys.modules.get(name) is late:
            del sys.modules[name]
        __import__(name)
    vars(late).update(vars(sys.modules[name]))
    return sys.modules[name]


def _strip(text: str) -> str:
    return _load(_INSPECT).cleandoc(text) if "\n" in text else text.expandtabs().lstrip()


_INSPECT = Late("inspect", cleandoc=_strip)
_ALL = (
    _INSPECT,
    Late("gettext", gettext=str, ngettext=lambda one, several, count: one if count == 1 else several),
    Late("platform", system=lambda: os.uname().sysname),
    *map(Late, ("ipaddress", "ntpath", "textwrap", "msgspec.inspect")),
)


def defer() -> None:
    """Have them loaded late, those that are not there yet."""
    for late in _ALL:
        sys.modules.setdefault(late.__name__, late)
