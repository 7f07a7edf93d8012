"""YAML text as plain JSON values, and where each part of it stands.

YAML 1.2's core schema, less what surprises: no tags, no merge keys, keys are text, no key twice, one
document. Dates, `yes` and `1_000` stay text; `010` is ten; infinity and NaN, which JSON lacks, are
refused. The parser's events are read directly: its composer prints warnings, its resolver reads
dates, and aliases must be counted before anything is expanded (a billion laughs are 400 bytes).

Whoever finds something wrong with a document says so by path, and `Source.locate` alone finds the line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from msgspec import structs

from checkpointflow.diagnostics import Diagnostic, Path, describe, shorten, suggest
from checkpointflow.patterns import compile_late

MAX_BYTES = 1_048_576
MAX_DEPTH = 64
MAX_NODES = 100_000
MAX_TEXT = 1_000_000
MAX_TEXT_IN_ALL = 10_000_000  # after aliases: a long text repeated by them must not fill the memory
MAX_DIGITS = 4_300
MAX_PROBLEMS = 500
_TOO_LARGE = 10**MAX_DIGITS

Mark = tuple[int, int]

# All but what YAML 1.2 calls printable; as a set of what it is not, this compiles ten times as fast.
_UNPRINTABLE = compile_late("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_TAG_LIKE_RUN = compile_late("!{1000}")
_DIRECTIVES = compile_late(r"\A(?:[ \t]*(?:#.*)?(?:\r\n|\r|\n)|%(?!YAML).*(?:\r\n|\r|\n))*%YAML[ \t]+(\S+)")
_INTEGER = compile_late(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = compile_late(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_A_NUMBER = compile_late(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_MERGE = "<<"
# A joiner within a name may be meant: some scripts, and pictures of several characters, need it.
_HIDDEN = compile_late("\u00ad|\u200b|\u2060|\ufeff|^[\u00a0\u200c-\u200f]|[\u00a0\u200c-\u200f]$")
_SILENCED = compile_late(r"(?:^|\s)#\s*cpf:\s*ignore\s+(W\d+(?:[\s,]+W\d+)*)")


class Node:
    """A value of the document, where it stands, and how it is `spelled` if it is a number.

    entries: those of a mapping or a list.
    """

    __slots__ = ("end", "entries", "height", "keys", "mark", "size", "spelled", "text", "value")

    def __init__(self, value: Any, mark: Mark, end: int, spelled: str | None = None) -> None:
        self.value = value
        self.mark = mark
        self.end = end
        self.entries: dict[str | int, Node] = {}
        self.keys: dict[str, Mark] = {}
        self.spelled = spelled
        self.size = 1
        self.height = 0
        self.text = len(value) if isinstance(value, str) else 0


class Source:
    """Where each part of a document stands, and its lines.

    `value` is the document as JSON (None if it could not be read), `problems` what is wrong with it as
    YAML, and `lines` its lines, for showing one with a caret.
    """

    def __init__(self, file: str | None, text: str) -> None:
        self.file = file
        self.lines = re.split("\r\n|\r|\n", text)
        self.root: Node | None = None
        self.value: Any = None
        self.problems: list[Diagnostic] = []

    def find_mark(self, path: Path) -> Mark:
        """Line and column, from 1, of the value at *path*, or of what is nearest above it."""
        return self._walk(path)[-1].mark if self.root else (1, 1)

    def find_key_mark(self, path: Path) -> Mark:
        """The same of the name that the value is given under; of a list's item, the item."""
        above = self._walk(path[:-1])[-1] if self.root and path else None
        return above.keys.get(path[-1], self.find_mark(path)) if above else self.find_mark(path)  # type: ignore[arg-type]

    def find(self, path: Path, quote: str, column: int = 1) -> Mark | None:
        """Where *quote* stands in the text at *path*, moved to its *column*; None if not found."""
        if self.root is None or not quote:
            return None
        line, start = self.find_mark(path)
        pattern = re.compile(re.escape(quote) + r"(?![\w-])")
        for number in range(line, self._walk(path)[-1].end + 1):
            found = pattern.search(self.lines[number - 1], start - 1 if number == line else 0)
            if found:
                return number, found.start() + column
        return None

    def locate(self, diagnostic: Diagnostic, mark: Mark | None = None) -> Diagnostic:
        """*diagnostic*, located in the file: at *mark*, or else where its path and its quotes lead."""
        line, column = mark or self._find_mark_at_fault(diagnostic)
        text = self.lines[line - 1]
        return structs.replace(diagnostic, file=self.file, line=line, column=column, text=text)

    def locate_all(self, diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
        """*diagnostics*, located, in the order of the file, less the warnings that a comment silences."""
        located = (one for one in map(self.locate, diagnostics) if not _is_silenced(one))
        return sort_by_mark(islice(located, MAX_PROBLEMS))

    def _find_mark_at_fault(self, diagnostic: Diagnostic) -> Mark:
        for quote in diagnostic.quotes:
            # Text in quotes or folded over lines may spell it otherwise, so that it is not found.
            if found := self.find(diagnostic.path, quote, diagnostic.offset + 1):
                return found
        return self.find_key_mark(diagnostic.path) if diagnostic.at_name else self.find_mark(diagnostic.path)

    def _walk(self, path: Path) -> list[Node]:
        """The values on the way to *path*, from the outside in, as far as there are any."""
        assert self.root is not None
        nodes = [self.root]
        for part in path:
            entry = nodes[-1].entries.get(part)
            if entry is None:
                break
            nodes.append(entry)
        return nodes


def _is_silenced(diagnostic: Diagnostic) -> bool:
    """Whether a comment `# cpf: ignore W103` on its line says not to tell of this warning."""
    found = _SILENCED.search(diagnostic.text or "")
    return found is not None and diagnostic.id in re.split(r"[\s,]+", found.group(1))


def sort_by_mark(problems: Iterable[Diagnostic]) -> list[Diagnostic]:
    """*problems* in the order of the file, each once: an alias shows the same mark by two paths."""
    once: dict[tuple[int, int, str], Diagnostic] = {}
    for problem in problems:
        once.setdefault((problem.line, problem.column, problem.message), problem)
    return sorted(once.values(), key=lambda problem: (problem.line, problem.column))


def parse(data: bytes, file: str | None = None) -> Source:
    """*data* as a Source; what is wrong with it as YAML is in its `problems`. Never raises."""
    source = Source(file, data.decode("utf-8-sig", errors="replace"))
    try:
        _fill(source, data)
    except _Unreadable as unreadable:
        source.problems.append(unreadable.args[0])
        source.root, source.value = None, None
    return source


class _Unreadable(Exception):
    """The Diagnostic that it is raised with keeps a document from being read any further."""


def _fill(source: Source, data: bytes) -> None:
    text = _decode(source, data)
    reader = _Builder(source)
    from ruamel.yaml.error import MarkedYAMLError

    from checkpointflow.documents.yaml_parser import explain, parse_events

    try:
        source.root = reader.read_document(parse_events(text))
    except _Unreadable:
        raise
    except MarkedYAMLError as error:
        message, hint, mark = explain(error)
        raise _refuse(source, message, (mark.line + 1, mark.column + 1), hint) from None
    except Exception:  # noqa: BLE001  the parser's own slips (ValueError, AssertionError …) are no YAML either
        raise _refuse(source, "this is not YAML", reader.last) from None
    source.value = source.root.value


def _decode(source: Source, data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise _refuse(source, f"the file is larger than {MAX_BYTES:,} bytes (1 MiB)", (1, 1))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        mark = _find_end(data[: error.start].decode("utf-8", errors="replace"))
        hint = "save the file as UTF-8"
        raise _refuse(source, "this is not UTF-8 text", mark, hint) from None
    if bad := _UNPRINTABLE.search(text):
        message = f"a control character (U+{ord(bad.group()):04X})"
        hint = 'remove it, or write it as an escape in double quotes ("\\x1b")'
        raise _refuse(source, message, _find_end(text[: bad.start()]), hint)
    if run := _TAG_LIKE_RUN.search(text):  # the parser takes a quarter of a minute for a megabyte of these
        raise _refuse(source, 'over 1,000 "!" in a row', _find_end(text[: run.start()]))
    directive = _DIRECTIVES.match(text)
    if directive and directive.group(1) != "1.2":
        message = f"this is YAML {shorten(directive.group(1))}, and workflows are YAML 1.2"
        mark = _find_end(text[: directive.start(1)])
        raise _refuse(source, message, mark, "leave the %YAML line out")
    return text


def _find_end(before: str) -> Mark:
    lines = re.split("\r\n|\r|\n", before.removeprefix("\ufeff"))
    return len(lines), len(lines[-1]) + 1


def _refuse(source: Source, message: str, mark: Mark, hint: str | None = None) -> _Unreadable:
    return _Unreadable(source.locate(Diagnostic(message, hint=hint, code="ERR_YAML_PARSE"), mark))


class _Builder:
    """Makes nodes of the parser's events, and notes what it would not have."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.anchors: dict[str, Node | None] = {}  # None while what it names is not complete
        self.count = 0
        self.last: Mark = (1, 1)

    def read_document(self, events: Iterator[Any]) -> Node:
        self.events = events
        for event in events:
            if _name_kind(event) == "DocumentStart":
                node = self.read_node(next(events), (), 1)
                next(events)  # the document's end
                self.refuse_more()
                return node
        raise self.stop("the file is empty", (), (1, 1), "cpf init writes a workflow to start from")

    def refuse_more(self) -> None:
        event = next(self.events)
        if _name_kind(event) == "DocumentStart" and not self.is_empty_to_the_end():
            self.note("a second document in the file", (), _mark_start(event), "keep one document a file")

    def is_empty_to_the_end(self) -> bool:
        """Whether nothing but comments stands behind the `---` that was read."""
        content, _, end = (next(self.events) for _ in range(3))
        is_nothing = _name_kind(content) == "Scalar" and not content.value and content.style is None
        return is_nothing and content.ctag is content.anchor is None and _name_kind(end) == "StreamEnd"

    def read_node(self, event: Any, path: Path, depth: int) -> Node:
        self.last = _mark_start(event)
        if depth > MAX_DEPTH:
            raise self.stop(f"nested more than {MAX_DEPTH} levels deep", path, self.last)
        kind = _name_kind(event)
        if kind == "Alias":
            return self.follow_alias(event, path, depth)
        if event.ctag is not None:
            self.note("tags (!…) are not read", path, self.last, "leave the tag out")
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        node = _MAKERS[kind](self, event, path, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def follow_alias(self, event: Any, path: Path, depth: int) -> Node:
        name = event.anchor
        if name not in self.anchors:
            hint = suggest(name, self.anchors) or "quote text that starts with *"
            raise self.stop(f'nothing is named "&{shorten(name)}" above this "*"', path, self.last, hint)
        node = self.anchors[name]
        if node is None:
            raise self.stop(f'"*{shorten(name)}" stands inside what it names', path, self.last)
        if depth + node.height > MAX_DEPTH:
            raise self.stop(f"nested more than {MAX_DEPTH} levels deep by this alias", path, self.last)
        return node

    def read_scalar(self, event: Any, path: Path, depth: int) -> Node:  # noqa: ARG002
        text = event.value
        if len(text) > MAX_TEXT:
            raise self.stop(f"a text longer than {MAX_TEXT:,} characters", path, self.last)
        value = self.resolve_plain(text, path) if event.style is None else self.read_text(text, path)
        spelled = text if type(value) in (int, float) else None
        return self.count_in(Node(value, self.last, event.end_mark.line + 1, spelled), path)

    def read_text(self, text: str, path: Path) -> str:
        """*text*, with the pairs of escapes that JSON writes for one character made one."""
        try:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self.note("half a character: an escape \\ud800 to \\udfff stands alone", path, self.last)
            return ""
        if "\0" in text:
            self.note("the character NUL (\\0) in a text", path, self.last, "no command or file can take it")
        return text

    def resolve_plain(self, text: str, path: Path) -> Any:
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if _INTEGER.fullmatch(text):
            return self.read_integer(text, path)
        if _NOT_A_NUMBER.fullmatch(text):
            self.note(f'"{text}" is no number in JSON', path, self.last, "put it in quotes to mean the text")
            return 0
        if _FLOAT.fullmatch(text):
            return self.read_number(text, path)
        return text

    def read_integer(self, text: str, path: Path) -> int:
        base = {"0x": 16, "0o": 8}.get(text[:2], 10)
        digits = text.lstrip("+-0xo") or "0"
        value = int(digits, base) if len(digits) <= MAX_DIGITS else _TOO_LARGE
        if value >= _TOO_LARGE:
            self.note(f"a number of more than {MAX_DIGITS:,} digits", path, self.last, "write it as text")
            return 0
        return -value if text.startswith("-") else value

    def read_number(self, text: str, path: Path) -> float:
        value = float(text)
        if value in (float("inf"), float("-inf")):
            self.note(f'"{shorten(text)}" is too large for a number', path, self.last, "write it as text")
            return 0.0
        return value

    def read_sequence(self, event: Any, path: Path, depth: int) -> Node:
        node = self.count_in(Node([], self.last, event.end_mark.line + 1), path)
        for event in self.take_until("SequenceEnd", node):
            index = len(node.value)
            entry = self.read_node(event, (*path, index), depth + 1)
            node.value.append(entry.value)
            self.add(node, index, entry, path)
        return node

    def read_mapping(self, event: Any, path: Path, depth: int) -> Node:
        node = self.count_in(Node({}, self.last, event.end_mark.line + 1), path)
        for event in self.take_until("MappingEnd", node):
            key, mark = self.read_key(event, path, depth)
            entry = self.read_node(next(self.events), (*path, key or _MERGE), depth + 1)
            if key is None:
                self.take_over(entry, node, path)
                continue
            if key in node.keys:
                first = "{}:{}".format(*node.keys[key])
                self.note(
                    f'"{shorten(key)}" is given twice, first at {first}', (*path, key), mark, "keep one"
                )
                continue
            node.keys[key] = mark
            node.value[key] = entry.value
            self.add(node, key, entry, path)
        return node

    def take_over(self, merged: Node, node: Node, path: Path) -> None:
        """Of what a merge key would bring, which is a problem by itself, nothing shall be missed besides."""
        for name, entry in merged.entries.items():
            if isinstance(name, str) and name not in node.value:
                node.value[name] = entry.value
                self.add(node, name, entry, path)

    def read_key(self, event: Any, path: Path, depth: int) -> tuple[str | None, Mark]:
        """The text of a key, None for a merge key; for what cannot be one, a problem and some text."""
        plain = _name_kind(event) == "Scalar" and event.style is None and event.ctag is None
        node = self.read_node(event, path, depth + 1)
        mark = _mark_start(event)
        if plain and node.value == _MERGE:
            self.note("merge keys (<<) are not read", path, mark, "write the fields out")
            return None, mark
        if isinstance(node.value, str):
            if plain and (hidden := _HIDDEN.search(node.value)):
                message = f"an invisible character (U+{ord(hidden.group()):04X}) in a field's name"
                self.note(message, path, mark, "remove it, or put the name in quotes")
            return node.value, mark
        spelled = event.value if plain else ""
        hint = f'write "{shorten(spelled)}" in quotes' if spelled else None
        self.note(f"a field's name must be text, and this is {describe(node.value)}", path, mark, hint)
        return spelled, mark

    def take_until(self, end: str, node: Node) -> Iterator[Any]:
        for event in self.events:
            if _name_kind(event) == end:
                node.end = event.end_mark.line + 1
                return
            yield event

    def add(self, node: Node, name: str | int, entry: Node, path: Path) -> None:
        node.entries[name] = entry
        node.size += entry.size
        node.text += entry.text + (len(name) if isinstance(name, str) else 0)
        node.height = max(node.height, entry.height + 1)
        self.check_limits(node, path)

    def count_in(self, node: Node, path: Path) -> Node:
        self.count += 1
        self.check_limits(node, path, self.count)
        return node

    def check_limits(self, node: Node, path: Path, count: int = 0) -> None:
        if max(node.size, count) > MAX_NODES:
            raise self.stop(f"more than {MAX_NODES:,} values, aliases counted", path, self.last)
        if node.text > MAX_TEXT_IN_ALL:
            message = f"more than {MAX_TEXT_IN_ALL:,} characters of text, aliases counted"
            raise self.stop(message, path, self.last)

    def note(self, message: str, path: Path, mark: Mark, hint: str | None = None) -> None:
        if len(self.source.problems) < MAX_PROBLEMS:
            self.source.problems.append(self.source.locate(Diagnostic(message, path, hint), mark))

    def stop(self, message: str, path: Path, mark: Mark, hint: str | None = None) -> _Unreadable:
        return _Unreadable(self.source.locate(Diagnostic(message, path, hint), mark))


_MAKERS: Mapping[str, Callable[[_Builder, Any, Path, int], Node]] = {
    "Scalar": _Builder.read_scalar,
    "SequenceStart": _Builder.read_sequence,
    "MappingStart": _Builder.read_mapping,
}


def _name_kind(event: Any) -> str:
    return type(event).__name__.removesuffix("Event")


def _mark_start(event: Any) -> Mark:
    return event.start_mark.line + 1, event.start_mark.column + 1
