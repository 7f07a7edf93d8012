"""Warnings of single texts: holes in the braces of other tools, words that are comments, bashisms, names that
look alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from checkpointflow.diagnostics import Diagnostic, Path, join_words, shorten, tell_odd
from checkpointflow.documents.fields import list_fields
from checkpointflow.documents.graph import entries
from checkpointflow.documents.model import Cli, properties_of
from checkpointflow.documents.program import CompiledStep, Program
from checkpointflow.documents.yaml import Source
from checkpointflow.expressions.templates import list_texts
from checkpointflow.patterns import compile_late
from checkpointflow.shells.portability import find_bashisms, find_word_as_comment

MAX_TOLD = 3

# `{{ item }}` alone is everyday in a template of Ansible's; in a foreach it is most likely meant for us.
_OTHER_BRACES = compile_late(
    r"(?<![{$])\{\{-?\s*((?:inputs|steps|event|secrets|item)\.[\w.-]+|inputs\[[^]{}]*\]|run\.id)\s*-?\}\}(?!\})"
)
_ITEM_IN_OTHER_BRACES = compile_late(r"(?<![{$])\{\{\s*(item|item_index)\s*\}\}(?!\})")
# Letters of other scripts that look like Latin ones; of small Greek ones only those that nobody means.
_FOREIGN = dict(
    zip(
        "АВЕКМНОРСТУХІЈЅаеорсухіјѕԁһӏԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧονρ",
        "ABEKMHOPCTYXIJSaeopcyxijsdhlqwABEZHIKMNOPTYXovp",
        strict=True,
    )
)
_SAME_IN_PRINT = str.maketrans("0I1|", "Olll")
_COMMENT_OF_YAML = compile_late(r"[ \t]+(#[^\s#!].*)")


def warn_of_texts(program: Program, source: Source) -> Iterator[Diagnostic]:
    """What is doubtful in the texts of *program*, which was read from *source*."""
    for compiled in program.steps:
        for path, text in _list_texts(compiled):
            yield from _warn_of_braces(path, text, in_foreach=compiled.body.in_foreach)
            yield from _warn_of_comment(path, text, source)
        for path, command in _list_commands(compiled):
            if comment := find_word_as_comment(command):
                yield _describe_comment(path, comment)
            yield from _warn_of_bashisms(path, command, compiled)
    for names in _list_names(program):
        yield from _warn_of_look_alikes(names, source)


def _list_texts(compiled: CompiledStep) -> Iterator[tuple[Path, str]]:
    """The texts of a step that may have holes."""
    for names in list_fields(type(compiled.step)):
        for path, value in entries(compiled.step, names):
            for inner, text in list_texts(list(value) if isinstance(value, tuple) else value):
                yield (*compiled.path, *path, *inner), text


def _list_commands(compiled: CompiledStep) -> Iterator[tuple[Path, str]]:
    if isinstance(compiled.step, Cli) and compiled.shell != "pwsh":
        for path, command in entries(compiled.step, ("command",)):
            yield (*compiled.path, *path), command


def _warn_of_braces(path: Path, text: str, *, in_foreach: bool) -> Iterator[Diagnostic]:
    found = _OTHER_BRACES.search(text) or (_ITEM_IN_OTHER_BRACES.search(text) if in_foreach else None)
    if found:
        message = f'"{shorten(found.group())}" is filled in by nobody here'
        yield Diagnostic(message, path, f"write ${{{found[1]}}}", id="W130", quotes=(found.group(),))


def _warn_of_comment(path: Path, text: str, source: Source) -> Iterator[Diagnostic]:
    """Of a text without quotes that ends where YAML takes a word for a comment."""
    line, column = source.find_mark(path)
    rest = source.lines[line - 1][column - 1 :]
    comment = _COMMENT_OF_YAML.match(rest, len(text)) if text and rest.startswith(text) else None
    if comment:
        yield _describe_comment(path, comment[1])


def _describe_comment(path: Path, comment: str) -> Diagnostic:
    message = f'"{shorten(comment)}" is a comment, and no part of the text before it'
    hint = "put it in quotes; if it is meant as a comment, write a blank behind the #"
    return Diagnostic(message, path, hint, id="W131", quotes=(comment,))


def _warn_of_bashisms(path: Path, command: str, compiled: CompiledStep) -> Iterator[Diagnostic]:
    if found := find_bashisms(command, compiled.shell):
        names = ", ".join(f"`{name}`" for name in found[:MAX_TOLD])
        message = f"{'not every sh knows' if compiled.shell == 'sh' else 'dash does not know'} {names}"
        yield Diagnostic(message, path, "write `shell: bash` if that is meant", id="W132")


# Names

_Names = list[tuple[str, Path, bool]]
"""Names that are told apart, each with where it stands, and whether it is a key there."""


def _list_names(program: Program) -> Iterator[_Names]:
    for field in ("id", "event_name"):
        steps = [compiled for compiled in program.steps if hasattr(compiled.step, field)]
        yield [(getattr(compiled.step, field), (*compiled.path, field), False) for compiled in steps]
    for path, schema in program.schemas():
        yield from _list_properties(schema.schema, path)


def _list_properties(schema: Any, path: Path) -> Iterator[_Names]:
    properties = properties_of(schema)
    yield [(name, (*path, "properties", name), True) for name in properties]
    for name, entry in properties.items():
        yield from _list_properties(entry, (*path, "properties", name))


def _warn_of_look_alikes(names: _Names, source: Source) -> Iterator[Diagnostic]:
    first: dict[str, tuple[str, Path]] = {}
    for name, path, is_key in names:
        keys = _list_keys(name)
        known, where = next((first[key] for key in keys if key in first), (name, path))
        if known != name:
            place = "{}:{}".format(*(source.find_key_mark if is_key else source.find_mark)(where))
            message = f'"{shorten(name)}" looks like "{shorten(known)}", at {place}, and is another name'
            hint = f"make them one name, or tell them apart by more.{tell_odd(name, known)}"
            yield Diagnostic(message, path, hint, id="W135", at_name=is_key)
        elif odd := _find_foreign(name):
            codes = join_words(odd, "and")
            message = f'"{shorten(name)}" has {codes} in it, which looks like another letter'
            yield Diagnostic(message, path, "type the name anew", id="W135", at_name=is_key)
        for key in keys:
            first.setdefault(key, (name, path))


def _list_keys(name: str) -> Iterable[str]:
    """What names that look like *name* share with it: all but capitals, or but the letters of one shape."""
    if not name.isascii():
        from unicodedata import category, normalize  # late: few names need it

        name = "".join(_FOREIGN.get(c, c) for c in normalize("NFKC", name) if category(c) != "Cf")
    return name.casefold(), name.translate(_SAME_IN_PRINT)


def _find_foreign(name: str) -> list[str]:
    """The letters among Latin ones that look like them and are none."""
    is_latin = any(c.isascii() and c.isalpha() for c in name)
    return [f"U+{ord(c):04X}" for c in dict.fromkeys(name) if is_latin and c in _FOREIGN][:MAX_TOLD]
