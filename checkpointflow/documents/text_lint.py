"""Warnings of single texts: holes in the braces of other tools, words that are comments, bashisms."""

from __future__ import annotations

from collections.abc import Iterator

from checkpointflow.diagnostics import Diagnostic, Path, shorten
from checkpointflow.documents.fields import list_fields
from checkpointflow.documents.graph import entries
from checkpointflow.documents.model import Cli
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
# The part of a command in which printf or echo writes JSON around a value, or takes one for its format.
_JSON_AROUND_VALUE = compile_late(r"\b(?:printf|echo)[ \t][^|;&\n]*?\{\s*\\?\"[^|;&\n]*?(?<!\$)\$\{(?!raw:)")
_VALUE_IN_FORMAT = compile_late(r"\bprintf[ \t]+(?:--[ \t]+)?(?:\"(?:[^\"\\\n]|\\.)*?)?(?<!\$)\$\{(?!raw:)")
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
            yield from _warn_of_changes(path, command)


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


def _warn_of_changes(path: Path, command: str) -> Iterator[Diagnostic]:
    """Of values that change what stands beside them: a quote ends a text of JSON, % and \\ a format."""
    around = _JSON_AROUND_VALUE.search(command)
    if around and ("%s" in around[0] or "%" not in around[0]):  # %d takes nothing but numbers
        message = "a quote or a backslash in the value changes the JSON that is written around it"
        hint = "let jq write it: jq -n --arg name ${…} '{name: $name}'"
        yield Diagnostic(message, path, hint, id="W133", quotes=(around[0],))
    elif in_format := _VALUE_IN_FORMAT.search(command):
        message = (
            "printf takes the value for a part of its format, in which % and \\ are more than themselves"
        )
        yield Diagnostic(message, path, "write printf '… %s\\n' ${…}", id="W133", quotes=(in_format[0],))


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
