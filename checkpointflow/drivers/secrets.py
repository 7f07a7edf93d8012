r"""Secrets: values of the environment that a step is given, and that nothing of ours ever shows.

An action names a secret where it stands, by a mark that no value can hold; the value takes its place only in
what the child is given. On the way back, whatever the child says is masked as it streams: the secret, and its
base64 forms, each of their characters in any way in which JSON, URLs, shells and markup spell it, also where
line breaks lie in between, and across two blocks. Letters and digits count only as themselves: what spells
even these by escapes is masked where it is decoded (`mask_value`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from checkpointflow.documents.fields import may_name
from checkpointflow.documents.program import Program
from checkpointflow.expressions.evaluation import Secret

MASK = b"***"
MIN_ENCODED = 4  # shorter forms stand in many a text by chance
MIN_LINE = 8
BREAKS = b"\r\n"

Form = tuple[tuple[bytes, ...], ...]
"""A text to be masked: for each of its characters the ways to spell it."""


# Forms


class _Known(Struct):
    """The forms of some secrets. pattern: matches one, the longest first; by_first: those that may begin with
    a byte, each with how long it may be; longest: of all."""

    pattern: re.Pattern[bytes] | None = None
    by_first: dict[int, list[tuple[int, Form]]] = {}
    longest: int = 0


@lru_cache(maxsize=16)
def _find_forms(secrets: frozenset[str]) -> _Known:
    texts = sorted({text for secret in secrets for text in _list_texts(secret)}, key=lambda t: (-len(t), t))
    forms = [tuple(map(_spell, text)) for text in texts]
    if not forms:
        return _Known()
    by_first: dict[int, list[tuple[int, Form]]] = {}
    lengths = [sum(len(ways[0]) for ways in form) for form in forms]
    for length, form in zip(lengths, forms, strict=True):
        for first in {way[0] for way in form[0]}:
            by_first.setdefault(first, []).append((length, form))
    return _Known(re.compile(b"|".join(map(_write_pattern, forms))), by_first, max(lengths))


def _write_pattern(form: Form) -> bytes:
    return b"".join(
        re.escape(ways[0]) if len(ways) == 1 else b"(?:" + b"|".join(map(re.escape, ways)) + b")"
        for ways in form
    )


def _list_texts(secret: str) -> Iterator[str]:
    """The texts in which *secret* is likely to be printed."""
    lines = [line.strip() for line in secret.splitlines()]
    yield from (line for line in lines if len(line) >= MIN_LINE)
    trimmed = secret.strip()
    if len(trimmed) < 2:  # it would mask everything
        return
    yield trimmed
    if re.search(r"\s\s", trimmed):
        yield " ".join(trimmed.split())  # as a shell prints it that splits it into words
    data = trimmed.encode(errors="surrogateescape")
    yield from (form for form in _list_base64_forms(data) if len(form) >= MIN_ENCODED)


def _list_base64_forms(data: bytes) -> Iterator[str]:
    """The part of its base64 that does not depend on what stands around it, for each of three alignments."""
    from base64 import b64encode, urlsafe_b64encode  # late: few steps have secrets

    for before in range(3):
        padded = b"\0" * before + data
        for encode in (b64encode, urlsafe_b64encode):
            form = encode(padded).decode()
            yield form[(before * 8 + 5) // 6 : len(padded) * 8 // 6]
            if before == 0:
                yield form


_NAMED = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}
_LETTERS = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f", "\x1b": "E"}


@lru_cache(maxsize=512)
def _spell(character: str) -> tuple[bytes, ...]:
    """The ways to spell *character*, the longest first, without line breaks; of letters and digits one."""
    if character.isascii() and character.isalnum():
        return (character.encode(),)
    data = character.encode(errors="surrogateescape")
    units = character.encode("utf-16-be", "surrogatepass").hex(" ", 2).split()
    ways = [data, *(slashes + data for slashes in (b"\\", b"\\\\", b"\\\\\\"))]
    escapes = ["".join(f"\\u{unit}" for unit in units), "".join(f"%{byte:02x}" for byte in data)]
    escapes += ["".join(f"\\x{byte:02x}" for byte in data), f"&#x{ord(character):x};"]
    for escape in escapes:
        upper = re.sub("[0-9a-f]+", lambda found: found[0].upper(), escape)
        ways += [escape.encode(), upper.encode()]
        if escape[0] == "\\":  # in a text within JSON
            ways += [f"\\{escape}".encode(), f"\\{upper}".encode()]
    ways += ["".join(f"\\{byte:03o}" for byte in data).encode(), f"&#{ord(character)};".encode()]
    if character in _NAMED:
        ways.append(f"&{_NAMED[character]};".encode())
    if character in _LETTERS:
        ways += [slashes + _LETTERS[character].encode() for slashes in (b"\\", b"\\\\")]
    ways += {" ": [b"+"], "'": [b"'\\''", b"'\"'\"'", b"''"], '"': [b'""'], "\n": [b" "]}.get(character, [])
    return tuple(sorted(dict.fromkeys(way.translate(None, BREAKS) for way in ways), key=len, reverse=True))


# Secrets


class Secrets:
    """The secrets that an action names, with their values of now (variables, by their names).

    more: values that are masked besides. Raises KeyError for one that is not set, or empty: nobody means
    that, and it could not be masked.
    """

    def __init__(self, names: Iterable[str], more: Iterable[str] = ()) -> None:
        self.variables = {name: os.environ[name] for name in names}
        for name, value in self.variables.items():
            if not value.strip():
                raise KeyError(name)
        self._values = {str(Secret(name)): value for name, value in self.variables.items()}
        values = frozenset((*self._values.values(), *more))
        self._forms = _find_forms(values) if values else _Known()

    def fill(self, value: Any) -> Any:
        """*value* with the secrets in place of their marks."""
        if not self._values:
            return value
        match value:
            case str():
                for mark, secret in self._values.items():
                    value = value.replace(mark, secret)
                return value
            case list():
                return [self.fill(item) for item in value]
            case dict():
                return {key: self.fill(item) for key, item in value.items()}
            case _:
                return value

    def mask(self, data: bytes) -> bytes:
        """*data* without any form of a secret."""
        masked, done = [], 0
        for start, end in self._find(data):
            masked += [data[done:start], MASK]
            done = end
        return b"".join((*masked, data[done:])) if masked else data

    def mask_text(self, text: str) -> str:
        """*text* without any secret, and without the mark of one."""
        for mark in self._values:
            text = text.replace(mark, MASK.decode())
        return self.mask(text.encode(errors="surrogateescape")).decode(errors="replace")

    def mask_value(self, value: Any) -> Any:
        """The JSON *value* without any secret in its texts, keys and numbers."""
        if self._forms.pattern is None:
            return value
        match value:
            case str():
                return self.mask_text(value)
            case list():
                return [self.mask_value(item) for item in value]
            case dict():
                return {self.mask_text(key): self.mask_value(item) for key, item in value.items()}
            case int() | float():
                spelled = msgspec.json.encode(value)
                return value if self.mask(spelled) == spelled else MASK.decode()
            case _:
                return value

    def mask_blocks(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """*blocks* without any form of a secret, whichever blocks it lies across."""
        kept = b""
        for block in blocks:
            shown, kept = self.mask_so_far(kept + block)
            yield shown
        yield self.mask(kept)

    def mask_so_far(self, data: bytes) -> tuple[bytes, bytes]:
        """*data* masked as far as that is certain, and the rest: what may be the beginning of a form."""
        if self._forms.pattern is None:
            return data, b""
        end = self._find_doubtful(data)
        for start, after in self._find(data) if end < len(data) else ():
            if start < end < after:
                end = start
        return self.mask(data[:end]), data[end:]

    def _find(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Where in *data* forms begin and end."""
        if self._forms.pattern is None:
            return
        joined = data.translate(None, BREAKS)
        places: list[int] | range | None = None
        for found in self._forms.pattern.finditer(joined):
            if places is None:
                places = _list_places(data) if len(joined) < len(data) else range(len(data))
            yield places[found.start()], places[found.end() - 1] + 1

    def _find_doubtful(self, data: bytes) -> int:
        """From where on *data* may be the beginning of a form; its end if nothing is."""
        joined = data.translate(None, BREAKS)
        size = len(joined)
        for place in range(max(0, size - self._forms.longest), size):
            forms = self._forms.by_first.get(joined[place], ())
            if any(size - place < length and _may_begin(form, joined[place:]) for length, form in forms):
                return place if size == len(data) else _list_places(data)[place]
        return len(data)


NO_SECRETS = Secrets(())


def find_secrets(program: Program) -> Secrets:
    """All that a document and those that it calls name, as far as they are set."""
    return Secrets(name for name in list_secrets(program) if os.environ.get(name, "").strip())


def list_secrets(program: Program) -> frozenset[str]:
    """The names of the secrets that some step of *program*, or of what it calls, refers to."""
    steps = program.steps if may_name(program.workflow, "secrets") else ()
    own = {name for step in steps for name in step.secrets}
    return frozenset(own).union(*map(list_secrets, program.called.values()))


def _list_places(data: bytes) -> list[int]:
    """Where in *data* the bytes are that are no line breaks."""
    return [place for place, byte in enumerate(data) if byte not in BREAKS]


def _may_begin(form: Form, rest: bytes) -> bool:
    """Whether *rest* is the beginning of *form*, and ends within it."""
    places = {0}
    for ways in form:
        found = set()
        for place in places:
            for way in ways:
                if rest.startswith(way, place):
                    found.add(place + len(way))
                elif way.startswith(rest[place:]):
                    return True
        if not found:
            return False
        places = found
    return False
