"""Text with `${…}` in it: where its holes are, and what it reads once they are filled in.

    where                what stands in `${…}`    becomes
    text that is a hole  an expression            its value, type and all
    text around holes    expressions              text; what is not text, as JSON

`$${` is a literal `${` everywhere. What has been rendered is never looked at again: a value that
holds `${…}` stays as it is. Keys are not rendered. Commands, which share the `${…}` with their shell, are
cut by the same `split_at_holes`, and rendered by `shells.scripts`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from checkpointflow.diagnostics import suggest
from checkpointflow.errors import ExpressionError
from checkpointflow.expressions.evaluation import evaluate
from checkpointflow.expressions.scanner import MAX_CHARACTERS
from checkpointflow.expressions.syntax import NAMES, Expression, Path, parse
from checkpointflow.expressions.values import as_text
from checkpointflow.expressions.wording import make_printable
from checkpointflow.patterns import compile_late


class Template(Struct, frozen=True):
    """Text and expressions by turns."""

    pieces: tuple[str | Expression, ...]


Form = Literal["value", "raw", "file"]
"""What is put in for a hole of a command: its value, its text as code, or the name of a file with it."""


class Hole(Struct, frozen=True):
    """A `${…}`, *start* characters into its text."""

    expression: Expression
    form: Form
    start: int


# Text


def parse_template(text: str) -> Template:
    """*text* with its holes; ExpressionError, quoting the line and its column, if one is wrong."""
    pieces = split_at_holes(text)
    return Template(tuple(piece if isinstance(piece, str) else piece.expression for piece in pieces))


def render(template: Template, scope: Mapping[str, Any]) -> Any:
    """The value of a template that is one hole, its type kept; otherwise text."""
    match template.pieces:
        case (Expression() as expression,):
            return evaluate(expression, scope)
        case _:
            return render_text(template, scope)


def render_text(template: Template, scope: Mapping[str, Any]) -> str:
    """The text, with strings as they are in the holes and everything else as JSON."""
    return "".join(
        piece if isinstance(piece, str) else as_text(evaluate(piece, scope)) for piece in template.pieces
    )


Compiled: TypeAlias = Any
"""A JSON value in which each text with holes is its Template, and each faulty text its ExpressionError."""


def compile_value(value: Any) -> Compiled:
    """The JSON *value*, its texts read once for all; what is wrong with one is told when it is filled in."""
    match value:
        case str():
            return _compile_text(value)
        case dict():
            return {key: compile_value(member) for key, member in value.items()}
        case list():
            return [compile_value(element) for element in value]
        case _:
            return value


def _compile_text(text: str) -> str | Template | ExpressionError:
    try:
        template = parse_template(text)
    except ExpressionError as error:
        return error
    return template if holes(template) else render_text(template, {})


def fill_value(compiled: Compiled, scope: Mapping[str, Any]) -> Any:
    """The value of *compiled*, its holes filled in; raises the ExpressionError that it comes to first."""
    match compiled:
        case Template():
            return render(compiled, scope)
        case dict():
            return {key: fill_value(member, scope) for key, member in compiled.items()}
        case list():
            return [fill_value(element, scope) for element in compiled]
        case ExpressionError():
            raise compiled.with_traceback(None)  # which would grow each time that it is raised
        case _:
            return compiled


def holes(template: Template) -> list[Expression]:
    """The expressions in the template, in their order."""
    return [piece for piece in template.pieces if not isinstance(piece, str)]


def list_texts(value: Any) -> Iterator[tuple[Path, str]]:
    """Every text inside the JSON *value*, keys aside, each with its path."""
    return (found for found in list_leaves(value) if isinstance(found[1], str))


def list_leaves(value: Any) -> Iterator[tuple[Path, Any]]:
    """All in *value*, compiled or not, that is neither an object nor a list, each with its path."""
    if not isinstance(value, dict | list):
        yield (), value
        return
    for key, member in value.items() if isinstance(value, dict) else enumerate(value):
        for path, leaf in list_leaves(member):
            yield (key, *path), leaf


# Text -> pieces

_FORM = compile_late(r"\s*(raw|file):")
_UNKNOWN_FORM = compile_late(rf"\$\{{\s*(\w+):\s*(?=(?:{'|'.join(sorted(NAMES))})(?:\.[A-Za-z_]|\[[\"']))")
_DOUBLED = compile_late(
    rf"\$\{{\{{\s*((?:{'|'.join(sorted(NAMES))})\b[^{{}}]{{0,200}})\}}\}}"
)  # as other tools have it
_DEFAULT_OF_SHELLS = compile_late(r":[-=]")
_EXPANSION_OF_SHELLS = compile_late(r"[%/](?![\s\d])|[#^,]|@[A-Za-z]|:[?+\d\s]")
_SUBSTITUTION_OF_SHELLS = compile_late(rf"[\w\]]/(?![\s\d(]|(?:{'|'.join(sorted(NAMES))})\b)")
_BEFORE_EXPANSION = compile_late(rf"\$\{{[#!](?:{'|'.join(sorted(NAMES))})\.")
_ASSIGN_FIRST = 'assign it first, for what the shell makes of it: x=${…}; echo "${x%.*}"'
_BRACES_AND_TEXTS = compile_late(r"""[{}]|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'""", re.DOTALL)


def split_at_holes(text: str, is_ours: Callable[[int, Form], bool] | None = None) -> list[str | Hole]:
    """*text* cut at its holes; `$${` has become `${`.

    is_ours: of a command, whether the `${` whose inside begins at that character is a hole, of that form, and
    not the shell's own.
    """
    pieces: list[str | Hole] = []
    literal, at = "", 0
    while (dollar := text.find("$", at)) >= 0:
        literal += text[at:dollar]
        start, form = _read_form(text, dollar)
        if text.startswith("${{", dollar) and (doubled := _DOUBLED.match(text, dollar)):
            said = doubled[1].strip()
            hint = f"write ${{{said}}}; for the text itself, $${{{{ {said} }}}}"
            raise complain_at("a hole has one pair of braces", text, dollar, hint)
        if text.startswith("$${", dollar):
            literal, at = literal + "${", dollar + 3
        elif text.startswith("${", dollar) and (is_ours is None or is_ours(start, form)):
            if form != "value" and is_ours is None:
                hint = "leave it out: nothing is quoted here, and no text is too long"
                raise complain_at(f"{form}: is for commands", text, dollar + 2, hint)
            pieces += [literal] if literal else []
            expression, at = _read_hole(text, dollar, start, in_command=is_ours is not None)
            pieces.append(Hole(expression, form, dollar))
            literal = ""
        else:
            literal, at = literal + "$", dollar + 1
    literal += text[at:]
    return pieces + ([literal] if literal else [])


def _read_form(text: str, dollar: int) -> tuple[int, Form]:
    """Where the expression begins in what may be a hole at *dollar*, and the form that is said before it."""
    if found := _FORM.match(text, dollar + 2):
        return found.end(), "raw" if found[1] == "raw" else "file"
    if text[dollar - 1 : dollar] != "$" and (unknown := _UNKNOWN_FORM.match(text, dollar)):
        hint = suggest(unknown[1].lower(), ("raw", "file")) or "before a value there can be raw: or file:"
        raise complain_at(f'"{unknown[1]}:" means nothing before a value', text, dollar + 2, hint)
    if text[dollar - 1 : dollar] != "$" and _BEFORE_EXPANSION.match(text, dollar):
        raise complain_at("no value stands behind a # or a !", text, dollar + 2, _ASSIGN_FIRST)
    return dollar + 2, "value"


def _read_hole(text: str, dollar: int, start: int, *, in_command: bool) -> tuple[Expression, int]:
    """The expression from *start* on in the hole at *dollar*, and where the hole has ended."""
    end = _find_end(text, dollar + 2)
    if end is None:
        problem = f'this "${{" is not closed within {MAX_CHARACTERS} characters'
        raise complain_at(problem, text, dollar, "write $${ for a literal ${")
    try:
        return parse(text[start:end]), end + 1
    except ExpressionError as error:
        if _DEFAULT_OF_SHELLS.match(text, start + error.column - 1):
            advice = (
                f"write ${{default({text[start : start + error.column - 1]}, …)}}, "
                "or give it a `default:` in its schema"
            )
            raise complain_at(error.problem, text, start + error.column - 1, advice) from None
        at = start + error.column - 1
        if in_command and (
            _EXPANSION_OF_SHELLS.match(text, at) or _SUBSTITUTION_OF_SHELLS.search(text, start, at + 1)
        ):
            raise complain_at(error.problem, text, at, _ASSIGN_FIRST) from None
        own = "the shell's own ${…} is written $${…}" if in_command else None
        hint = "; ".join(filter(None, (error.hint, own))) or None
        raise complain_at(error.problem, text, start + error.column - 1, hint) from None


def _find_end(text: str, start: int) -> int | None:
    """Where the `}` is that closes what is open at *start*; those in quotes and of objects do not count."""
    levels = 1
    for sign in _BRACES_AND_TEXTS.finditer(text, start, start + MAX_CHARACTERS + 1):
        levels += {"{": 1, "}": -1}.get(sign.group(), 0)
        if not levels:
            return sign.start()
    return None


def complain_at(problem: str, text: str, at: int, hint: str | None = None) -> ExpressionError:
    """About what stands *at* a place of *text*: it quotes that line, and counts its columns."""
    begin = text.rfind("\n", 0, at) + 1
    line = text[begin:].partition("\n")[0]
    return ExpressionError(problem, make_printable(line), at - begin + 1, hint)
