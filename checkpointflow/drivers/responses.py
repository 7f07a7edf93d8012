"""What the bytes of an HTTP answer mean: its head, and its body as text, JSON or else.

An answer is read as its headers say (RFC 9110, 8.3 and 8.4) and never guessed at: what cannot be read so is
told. It goes block by block, so that a small answer which unpacks to a large one is stopped at the limit of
whoever reads the blocks.
"""

from __future__ import annotations

import codecs
import http.client
import io
import re
import socket
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC
from email.message import Message
from itertools import chain
from typing import Any, NamedTuple

from checkpointflow.expressions.bodies import is_json
from checkpointflow.json_text import read_json

MAX_CODINGS = 3
BLOCK_BYTES = 1 << 16
MAX_HEADERS, MAX_HEAD_BYTES = 1000, 1 << 20

http.client._MAXHEADERS = MAX_HEADERS  # type: ignore[attr-defined]  # there is no other way to say it

_TEXT = re.compile(
    r"text/.*|application/((x-)?json|xml|(x-)?javascript|x-www-form-urlencoded)|.*\+(json|xml)"
)
# Python has codecs of other kinds, too, some of which change what is plain ASCII.
_CHARSET = re.compile(r"(ascii|utf-(8|16|32)|iso|cp|ptcp|kz|mac|koi8|tis|shift|sjis|euc|gb|big5|johab|hz).*")


class Unreadable(Exception):
    """What an answer says in a way that is not understood; its text goes after "the answer …"."""


class Format(NamedTuple):
    """How an answer is written. media_type: in lower case, "" where none is given; charset: Python's name."""

    codings: tuple[str, ...] = ()
    media_type: str = ""
    charset: str | None = None


def read_format(headers: Message) -> Format:
    """How an answer with these *headers* is written."""
    listed = ",".join(headers.get_all("Content-Encoding", [])).lower().split(",")
    codings = tuple(name for each in listed if (name := each.strip()) not in ("", "identity"))
    if len(codings) > MAX_CODINGS:  # nobody means that: as one that is not known
        codings = (", ".join(codings),)
    media_type = headers.get_content_type() if headers.get("Content-Type", "").strip() else ""
    return Format(codings, media_type, _find_codec(headers.get_param("charset")))


def _find_codec(charset: Any) -> str | None:
    """Python's name of *charset*, if it is the name of one."""
    try:
        name = codecs.lookup(str(charset).strip()).name if charset else ""
    except (LookupError, ValueError):
        return None
    return name if _CHARSET.fullmatch(name) else None


def read_retry_after(headers: Message, now: float) -> float | None:
    """The seconds from *now* (Unix time) until a server wants to be asked again, if it says so."""
    from email.utils import parsedate_to_datetime  # late: few answers have it

    given = headers.get("Retry-After", "").strip()
    if re.fullmatch("[0-9]{1,9}", given):
        return float(given)
    with suppress(ValueError, OverflowError):
        until = parsedate_to_datetime(given)
        return max(0.0, until.replace(tzinfo=until.tzinfo or UTC).timestamp() - now)
    return None


def read_blocks(blocks: Iterable[bytes], form: Format) -> Iterator[bytes]:
    """*blocks* unpacked, and text of another charset as UTF-8. Raises Unreadable, and ConnectionError."""
    for coding in reversed(form.codings):
        blocks = _unpack(blocks, coding)
    return _to_utf8(blocks, form)


def read_value(data: bytes, form: Format) -> Any:
    """The outputs that *data*, an answer in UTF-8, stands for; None if it is no text.

    A JSON object as it is; any other JSON, or text, under `body`. What says that it is something else than
    JSON may be an object or a list all the same, but a text such as `1.10` is no number then.
    """
    with suppress(ValueError):
        value = read_json(data)
        if isinstance(value, dict):
            return value
        if isinstance(value, list) or is_json(form.media_type) or not form.media_type:
            return {"body": value}
    try:
        return {"body": data.decode()}
    except UnicodeDecodeError:
        return None


# Block by block


def _unpack(blocks: Iterable[bytes], coding: str) -> Iterator[bytes]:
    """gzip may come in several members; what stands behind the last is padding."""
    unpacker = None
    for block in blocks:
        while block:
            if unpacker is None or (unpacker.eof and block.startswith(b"\x1f\x8b")):
                unpacker = zlib.decompressobj(_find_window(block, coding))
            elif unpacker.eof:
                break
            try:
                yield unpacker.decompress(block, BLOCK_BYTES)
            except zlib.error:
                raise Unreadable(f"is not the {coding} that its Content-Encoding says") from None
            block = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    if unpacker is not None and not unpacker.eof:
        yield unpacker.flush()  # at most what one block left over
        if not unpacker.eof:
            raise ConnectionError(f"it hung up within its {coding}")


def _find_window(block: bytes, coding: str) -> int:
    """What zlib takes for the kind of stream that *block* begins. Raises Unreadable."""
    match coding:
        case "gzip" | "x-gzip":
            return 31
        case "deflate":  # should have the head of zlib, and from some servers has none
            return 15 if block[0] & 15 == 8 else -15
        case _:
            raise Unreadable(f'has the Content-Encoding "{coding[:40]}"; only gzip and deflate can be read')


def _to_utf8(blocks: Iterable[bytes], form: Format) -> Iterator[bytes]:
    rest = iter(blocks)
    if form.charset is None and not _TEXT.fullmatch(form.media_type):
        yield from rest
        return
    head = b""
    while len(head) < 3 and (block := next(rest, None)) is not None:
        head += block
    codec = form.charset or "utf-8"
    if head.startswith(codecs.BOM_UTF8):
        head, codec = head[3:], "utf-8"
    elif head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and not codec.startswith("utf-32"):
        codec = "utf-16"
    yield from chain([head], rest) if codec in ("utf-8", "ascii") else _decode(chain([head], rest), codec)


def _decode(blocks: Iterable[bytes], codec: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        for block in blocks:
            yield decoder.decode(block).encode()
        yield decoder.decode(b"", True).encode()
    except UnicodeError:
        raise Unreadable(f"is not text in {codec}, as it says") from None


class Response(http.client.HTTPResponse):
    """An answer whose head and chunks must be whole: http.client takes where they break off for their end.

    Of what a server says before its answer (RFC 9110, 15.2) http.client skips only 100; 101 is not asked for.
    """

    def __init__(self, sock: socket.socket, method: str) -> None:
        super().__init__(sock, method=method)
        self.fp: _Lines = _Lines(self.fp.detach())

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status // 100 != 1 or status == 101:
                return version, status, reason
            while self.fp.readline().strip():
                pass

    def begin(self) -> None:
        """Read the head, within its limit."""
        lines = self.fp  # None afterwards, if there is no body
        super().begin()
        lines.left = None


class _Lines(io.BufferedReader):
    """Lines that must be there. left: how many bytes they may have; None: any, since the head is over."""

    left: int | None = MAX_HEAD_BYTES

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if not line:
            raise ConnectionError("it hung up before it had answered")
        if self.left is not None:
            self.left -= len(line)
            if self.left < 0:
                raise http.client.HTTPException(f"a head of more than {MAX_HEAD_BYTES} bytes")
        return line
