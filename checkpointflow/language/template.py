r"""Text with `${…}` in it: rendered as text, as a value, or as a command for a shell.

    where                what stands in `${…}`                        becomes
    text that is a hole  an expression                                its value, type and all
    text around holes    expressions                                  text; what is not text, as JSON
    a command            expressions, and the shell's own expansions  a reference to a variable
    a command            raw: and an expression                       the text itself, as code

`$${` is a literal `${` everywhere. What has been rendered is never looked at again: a value that
holds `${…}` stays as it is. Keys are not rendered.

In a command, `${…}` is ours if it begins with one of our names as a whole word, with a quote, `(` or
`not`, or is a path with a dot in it (which may be a slip of the pen, and is then an error). All else,
`${HOME}`, `${x:-y}`, `${item:-x}`, is the shell's, and may have our holes within. Where in the command
each hole stands is found out by `shell.places` when it is parsed; values go into variables named
`CPF_VALUE_1` and so on. Text from `raw:` is part of the script, which is therefore read once more,
with that text in it, before it is let run: it may not move a value to a place where it would be code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, assert_never

from msgspec import Struct
from msgspec.structs import replace

from checkpointflow.errors import EvaluationError, ExpressionError
from checkpointflow.language.expression import (
    MOST_CHARACTERS,
    NAMES,
    Expression,
    Secret,
    as_text,
    evaluate,
    parse,
)
from checkpointflow.language.places import HOLE, Place, Shell, reads_code
from checkpointflow.language.shell import places

LONGEST_ARGUMENT = 128 * 1024 - 1  # bytes that Linux takes for `name=value`, and for the script
MOST_BYTES = 1024 * 1024  # for all of them; macOS has no more for these and the environment
MOST_HOLES = 1000
MOST_DIGITS = 18  # all shells compute with 64 bits

# In front of a script with values. Before 7.3 what is handed to a program was taken apart at its quotes.
POWERSHELL_GUARD = (
    "if ($PSVersionTable.PSVersion.Major * 100 + $PSVersionTable.PSVersion.Minor -lt 703) "
    "{ throw 'cpf needs PowerShell 7.3 or later to hand over values' }; "
)


class Template(Struct, frozen=True):
    """Text and expressions by turns."""

    pieces: tuple[str | Expression, ...]


class CommandHole(Struct, frozen=True):
    """A hole of a command, *start* characters into it; a raw one becomes text of the script."""

    expression: Expression
    raw: bool
    start: int
    place: Place = Place("the script")


class CommandTemplate(Struct, frozen=True):
    """Text of the shell and holes by turns."""

    shell: Shell
    pieces: tuple[str | CommandHole, ...]


class Script(Struct, frozen=True):
    """What is given to `shell -c`, and the environment variables that carry the values."""

    text: str
    variables: dict[str, str]


# Text


def parse_template(text: str) -> Template:
    """*text* with its holes; ExpressionError, quoting the line and its column, if one is wrong."""
    pieces = _pieces(text, None)
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


def render_value(value: Any, scope: Mapping[str, Any]) -> Any:
    """The JSON *value* with every text in it, keys aside, rendered once."""
    match value:
        case str():
            return render(parse_template(value), scope)
        case dict():
            return {key: render_value(member, scope) for key, member in value.items()}
        case list():
            return [render_value(element, scope) for element in value]
        case _:
            return value


def holes(template: Template) -> list[Expression]:
    """The expressions in the template, in their order."""
    return [piece for piece in template.pieces if not isinstance(piece, str)]


def texts_in(value: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every text inside the JSON *value*, keys aside, each with its path."""
    match value:
        case str():
            yield (), value
        case dict():
            for key, member in value.items():
                for path, text in texts_in(member):
                    yield (key, *path), text
        case list():
            for index, element in enumerate(value):
                for path, text in texts_in(element):
                    yield (index, *path), text


# Commands

_IN_A_FILE = "hand it over in a file"


def parse_command(text: str, shell: Shell) -> CommandTemplate:
    """*text* with its holes and where they stand; ExpressionError for a hole where no value may stand."""
    if HOLE in text:
        raise _complaint("a command cannot hold the character NUL", text, text.index(HOLE))
    if len(text.encode(errors="replace")) > LONGEST_ARGUMENT:
        problem = f"a shell can be given at most {LONGEST_ARGUMENT} bytes as a command"
        raise _complaint(problem, text[:60], 0, "put it into a script of its own")
    pieces = _pieces(text, shell)
    if len(_holes(pieces)) > MOST_HOLES:
        raise _complaint(f"more than {MOST_HOLES} holes in a command", text, _holes(pieces)[-1].start)
    placed = _placed(["_" if _is_raw(piece) else piece for piece in pieces], shell)
    whole = [
        piece if _is_raw(piece) else with_place for piece, with_place in zip(pieces, placed, strict=True)
    ]
    for hole in _holes(whole):
        if hole.place.problem:
            raise _complaint(hole.place.problem, text, hole.start, hole.place.hint)
    return CommandTemplate(shell, tuple(whole))


def command_holes(template: CommandTemplate) -> list[CommandHole]:
    """The holes of the command, in their order."""
    return _holes(template.pieces)


def render_command(template: CommandTemplate, scope: Mapping[str, Any]) -> Script:
    """The script and its variables; EvaluationError for a value that may not stand where it would."""
    values = {hole.start: _value(hole, scope) for hole in command_holes(template)}
    text: list[str] = []
    variables: dict[str, str] = {}
    left, number = MOST_BYTES, 0
    for piece in _with_raw_text(template, values):
        if isinstance(piece, str):
            text.append(piece)
            continue
        number += 1
        carriers = _carriers(piece, values[piece.start], f"CPF_VALUE_{number}")
        text.append(_written(piece, values[piece.start], carriers, template.shell))
        variables.update({name: str(word) for name, word in carriers.items()})
        known = {name: "" if isinstance(word, Secret) else word for name, word in carriers.items()}
        left -= sum(_size(f"{name}={word}", piece) for name, word in known.items())
        if left < 0:
            raise _refusal(f"the values are more than {MOST_BYTES} bytes altogether; {_IN_A_FILE}", piece)
    if template.shell == "pwsh" and number:
        text.insert(0, POWERSHELL_GUARD)
    return Script("".join(text), variables)


def _written(hole: CommandHole, value: Any, names: Iterable[str], shell: Shell) -> str:
    """What stands for the *value*, which is in the variables *names*, in the script."""
    if shell != "pwsh":
        return " ".join(hole.place.written.format(f"${{{name}}}") for name in names)
    words = ", ".join(hole.place.written.format(f"${{env:{name}}}") for name in names)
    return f"@({words})" if hole.place.spreads and isinstance(value, list) else words


def _holes(pieces: Iterable[str | CommandHole]) -> list[CommandHole]:
    return [piece for piece in pieces if not isinstance(piece, str)]


def _is_raw(piece: str | CommandHole) -> bool:
    return not isinstance(piece, str) and piece.raw


def _placed(pieces: Sequence[str | CommandHole], shell: Shell) -> list[str | CommandHole]:
    """*pieces*, each hole with its place in the command that they make."""
    command = "".join(piece if isinstance(piece, str) else HOLE for piece in pieces)
    found = iter(_places_in(command, shell) if HOLE in command else ())
    return [piece if isinstance(piece, str) else replace(piece, place=next(found)) for piece in pieces]


def _places_in(command: str, shell: Shell) -> list[Place]:
    if shell != "pwsh":
        return places(command, shell)
    from checkpointflow.language import powershell  # late: few need it

    return powershell.places(command)


def _value(hole: CommandHole, scope: Mapping[str, Any]) -> Any:
    name = hole.expression.text.strip()
    if name in NAMES and name not in scope:
        raise _refusal(f"there is no {name} here; the shell's own variable is ${name} or $${{{name}}}", hole)
    return evaluate(hole.expression, scope)


def _with_raw_text(template: CommandTemplate, values: Mapping[int, Any]) -> list[str | CommandHole]:
    """The pieces, those from raw holes as text, and where the other holes stand in that script."""
    raw = [hole for hole in command_holes(template) if hole.raw]
    if not raw:
        return list(template.pieces)
    texts = {hole.start: as_text(values[hole.start]) for hole in raw}
    for hole in raw:
        _size(texts[hole.start], hole)
    pieces = [piece if isinstance(piece, str) else texts.get(piece.start, piece) for piece in template.pieces]
    _size("".join(piece for piece in pieces if isinstance(piece, str)), raw[-1])
    placed = _placed(pieces, template.shell)
    for hole in _holes(placed):
        if hole.place.problem:
            # Nothing of it is quoted: the raw text may be a secret.
            raise _refusal("the raw text in this command leaves no place for this value", hole)
    return placed


def _carriers(hole: CommandHole, value: Any, name: str) -> dict[str, str]:
    """The variables for *value*: one, or one for each element of a list that may become words."""
    is_list = hole.place.spreads and isinstance(value, list)
    elements = value if is_list else [value]
    match hole.place.only:
        case "integer":
            elements = [_integer(element, hole) for element in elements]
        case "command":
            _check_command(elements, hole)
        case "anything":
            pass
        case _:
            assert_never(hole.place.only)
    names = [f"{name}_{place}" for place, _ in enumerate(elements, start=1)] if is_list else [name]
    return dict(zip(names, map(as_text, elements), strict=True))


_INTEGER = re.compile(rf"-?[0-9]{{1,{MOST_DIGITS}}}")


def _integer(value: Any, hole: CommandHole) -> int:
    """The integer that *value* is or spells. Normalised: to a shell, 010 is eight."""
    match value:
        case bool():
            pass
        case int() if abs(value) < 10**MOST_DIGITS:
            return value
        case str() if _INTEGER.fullmatch(value):
            return int(value)
    problem = f"only an integer of at most {MOST_DIGITS} digits can stand here ({hole.place.name})"
    raise _refusal(f"{problem}, because the shell computes with it", hole)


def _check_command(elements: Sequence[Any], hole: CommandHole) -> None:
    if not elements:
        raise _refusal("an empty list cannot be the command to run", hole)
    if reads_code(as_text(elements[0])):
        problem = "a value cannot name a command that takes code or names, or that runs another command"
        raise _refusal(f"{problem}; write the name itself, or ${{raw:…}} if code is meant", hole)


def _size(text: str, hole: CommandHole) -> int:
    """The bytes of *text*, which is refused if the kernel would."""
    if "\0" in text:
        raise _refusal("no command can be given the character NUL; hand the value over in a file", hole)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise _refusal("half a character (a lone surrogate) cannot be handed to a command", hole) from None
    if size > LONGEST_ARGUMENT:
        problem = f"the value has more than the {LONGEST_ARGUMENT} bytes that a command can be given"
        raise _refusal(f"{problem}; {_IN_A_FILE}", hole)
    return size


def _refusal(problem: str, hole: CommandHole) -> EvaluationError:
    return EvaluationError(problem, hole.expression.text)


# Text -> pieces

_OURS = rf"(?:(?:{'|'.join(sorted(NAMES))})(?=[\s.\[}}]|[=!]=|[<>]|\Z)|[\"']|not\s)"
_DOTTED = r"[A-Za-z_]\w*(?:\[[^]]{0,99}])*(?:\.[\w-]+(?:\[[^]]{0,99}])*)+\s*}"
_IS_OURS = re.compile(rf"\s*(?:\(|{_OURS}|{_DOTTED})")
_IS_OURS_FOR_SURE = re.compile(rf"\s*(?:\((?=[\s(]*{_OURS})|{_OURS}|{_DOTTED})")  # zsh has ${{(e)x}}
_RAW = re.compile(r"\s*raw:")
_BRACES_AND_TEXTS = re.compile(r"""[{}]|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'""", re.DOTALL)


def _pieces(text: str, shell: Shell | None) -> list[str | CommandHole]:
    """*text* cut at its holes, without a *shell* at each `${`; `$${` has become `${`."""
    pieces: list[str | CommandHole] = []
    literal, at = "", 0
    while (dollar := text.find("$", at)) >= 0:
        literal += text[at:dollar]
        if text.startswith("$${", dollar):
            literal, at = literal + "${", dollar + 3
        elif text.startswith("${", dollar) and (shell is None or _is_ours(text, dollar + 2, shell)):
            pieces += [literal] if literal else []
            hole, at = _hole(text, dollar, shell)
            pieces.append(hole)
            literal = ""
        else:
            literal, at = literal + "$", dollar + 1
    literal += text[at:]
    return pieces + ([literal] if literal else [])


def _is_ours(text: str, start: int, shell: Shell) -> bool:
    raw = _RAW.match(text, start)
    if raw:
        return _IS_OURS_FOR_SURE.match(text, raw.end()) is not None
    return (_IS_OURS_FOR_SURE if shell in ("zsh", "pwsh") else _IS_OURS).match(text, start) is not None


def _hole(text: str, dollar: int, shell: Shell | None) -> tuple[CommandHole, int]:
    """The hole at *dollar*, and where it has ended."""
    raw = _RAW.match(text, dollar + 2)
    if raw and shell is None:
        raise _complaint("raw: is for commands", text, dollar + 2, "leave it out: nothing is quoted here")
    start, end = raw.end() if raw else dollar + 2, _end(text, dollar + 2)
    if end is None:
        problem = f'this "${{" is not closed within {MOST_CHARACTERS} characters'
        raise _complaint(problem, text, dollar, "write $${ for a literal ${")
    try:
        return CommandHole(parse(text[start:end]), raw is not None, dollar), end + 1
    except ExpressionError as error:
        own = "the shell's own ${…} is written $${…}" if shell else None
        hint = "; ".join(filter(None, (error.hint, own))) or None
        raise _complaint(error.problem, text, start + error.column - 1, hint) from None


def _end(text: str, start: int) -> int | None:
    """Where the `}` is that closes what is open at *start*; those in quotes and of objects do not count."""
    levels = 1
    for sign in _BRACES_AND_TEXTS.finditer(text, start, start + MOST_CHARACTERS + 1):
        levels += {"{": 1, "}": -1}.get(sign.group(), 0)
        if not levels:
            return sign.start()
    return None


_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def _complaint(problem: str, text: str, at: int, hint: str | None = None) -> ExpressionError:
    """About what stands *at* a place of *text*: it quotes that line, and counts its columns."""
    begin = text.rfind("\n", 0, at) + 1
    line = text[begin:].partition("\n")[0]
    return ExpressionError(problem, _UNPRINTABLE.sub(" ", line), at - begin + 1, hint)
