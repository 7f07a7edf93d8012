"""Secrets: values of the environment that a step is given, and that nothing of ours ever shows.

An action names a secret where it stands, by a mark that no value can hold; the value takes its place only in
what the child is given. On the way back, whatever the child says is masked as it streams: the secret itself,
and its JSON, URL and base64 forms, also where a form lies across two blocks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from checkpointflow.expressions.evaluation import Secret

MASK = b"***"


class Secrets:
    """The secrets that an action names, with their values of now. Raises KeyError for one that is not set."""

    def __init__(self, names: Iterable[str]) -> None:
        self._values = {str(Secret(name)): os.environ[name] for name in names}
        forms = {form for value in self._values.values() for form in _list_forms(value)}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self._pattern = re.compile(b"|".join(map(re.escape, longest_first))) if forms else None
        self._longest = max(map(len, forms), default=0)

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
        return data if self._pattern is None else self._pattern.sub(MASK, data)

    def mask_text(self, text: str) -> str:
        """*text* without any secret, and without the mark of one."""
        for mark in self._values:
            text = text.replace(mark, MASK.decode())
        return self.mask(text.encode(errors="surrogateescape")).decode(errors="replace")

    def mask_blocks(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """*blocks* without any form of a secret, whichever blocks it lies across."""
        if self._pattern is None:
            yield from blocks
            return
        kept = b""
        for block in blocks:
            kept += block
            # What may be the beginning of a form stays until it is known how it goes on.
            safe = self._find_safe_end(kept)
            yield self.mask(kept[:safe])
            kept = kept[safe:]
        yield self.mask(kept)

    def _find_safe_end(self, data: bytes) -> int:
        """How much of *data* can be masked now: not beyond where a form might lie across the end."""
        end = max(0, len(data) - self._longest + 1)
        assert self._pattern is not None
        for found in self._pattern.finditer(data):
            if found.start() < end < found.end():
                return found.start()
        return end


NO_SECRETS = Secrets(())


def _list_forms(secret: str) -> Iterator[bytes]:
    """The ways in which *secret* is likely to be printed; empty and one-letter ones would mask everything."""
    from urllib.parse import quote, quote_plus  # late: few steps have secrets

    data = secret.encode(errors="surrogateescape")
    if len(data) < 2:
        return
    yield data
    yield from (line for line in data.splitlines() if len(line) >= 8)
    text = data.decode(errors="replace")
    yield msgspec.json.encode(text)[1:-1]
    yield _write_ascii_json(text)
    for spelled in (quote(data, safe=""), quote(data), quote_plus(data)):
        yield spelled.encode()
        yield re.sub("%..", lambda m: m[0].lower(), spelled).encode()
    yield from _list_base64_forms(data)


def _write_ascii_json(text: str) -> bytes:
    import json  # escapes all that is not ASCII, which msgspec does not

    return json.dumps(text)[1:-1].encode()


def _list_base64_forms(data: bytes) -> Iterator[bytes]:
    """The part of its base64 that does not depend on what stands around it, for each of three alignments."""
    from base64 import b64encode, urlsafe_b64encode

    for before in range(3):
        padded = b"\0" * before + data
        whole = len(padded) // 3 * 3
        skipped = (before * 8 + 5) // 6
        for encode in (b64encode, urlsafe_b64encode):
            form = encode(padded[:whole])[skipped:]
            if len(form) >= 4:
                yield form
        if before == 0:
            yield b64encode(data)
            yield urlsafe_b64encode(data)
