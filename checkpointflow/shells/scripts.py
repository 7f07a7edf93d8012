r"""Commands with `${…}` in them: what is given to the shell, and the variables that carry the values.

    what stands in `${…}`                        becomes
    expressions, and the shell's own expansions  a reference to a variable
    raw: and an expression                       the text itself, as code
    file: and an expression                      a reference to a variable with the name of a file of it

In a command, `${…}` is ours if it begins with one of our names as a whole word, with a function, a number
and a blank, a quote, `(` or `not`, or is a path with a dot in it (which may be a slip of the pen, and is then
an error). All else, `${HOME}`, `${x:-y}`, `${item:-x}`, is the shell's, and may have our holes within. Where
in the command each hole stands is found out by `commands.find_contexts` when it is parsed; values go into
variables named `CPF_VALUE_1` and so on. Text from `raw:` is part of the script, which is therefore read once
more, with that text in it, before it is let run: it may not move a value to where it would be code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, assert_never

from msgspec import Struct
from msgspec.structs import replace

from checkpointflow.errors import EvaluationError
from checkpointflow.expressions.evaluation import Secret, evaluate
from checkpointflow.expressions.functions import FUNCTIONS
from checkpointflow.expressions.syntax import NAMES, VALUES, Expression
from checkpointflow.expressions.templates import Form, Hole, complain_at, split_at_holes
from checkpointflow.expressions.values import as_text
from checkpointflow.patterns import compile_late
from checkpointflow.shells.contexts import HOLE, Context, Shell

MAX_ARGUMENT_BYTES = 128 * 1024 - 1  # bytes that Linux takes for `name=value`, and for the script
MAX_VALUES_BYTES = 1024 * 1024  # for all of them; macOS has no more for these and the environment
MAX_FILES_BYTES = 64 * 1024 * 1024  # for all values in files: they stand in the history, too
MAX_HOLES = 1000
MAX_DIGITS = 18  # all shells compute with 64 bits

# In front of a script with values. Before 7.3 what is handed to a program was taken apart at its quotes.
POWERSHELL_GUARD = (
    "if ($PSVersionTable.PSVersion.Major * 100 + $PSVersionTable.PSVersion.Minor -lt 703) "
    "{ throw 'cpf needs PowerShell 7.3 or later to hand over values' }; "
)


class CommandHole(Hole, frozen=True):
    """A hole of a command, *start* characters into it."""

    context: Context = Context("the script")


class CommandTemplate(Struct, frozen=True):
    """Text of the shell and holes by turns."""

    shell: Shell
    pieces: tuple[str | CommandHole, ...]


class Script(Struct, frozen=True):
    """What is given to `shell -c`, and the environment variables that carry the values.

    files: values that are to be in files, by the variables for the files' names.
    """

    text: str
    variables: dict[str, str]
    files: dict[str, Any] = {}


# What stands before the parts of a list, between two and behind them. Behind `&&` no shell would heed its -e.
_JOINTS = ("{\n", "\n}\ncase $? in 0) ;; *) exit;; esac\n{\n", "\n}")
_POWERSHELL_JOINTS = ("", "\nif (-not $?) { exit 1 }\n", "")

_FAIL_FAST = {"sh": ("-e",), "dash": ("-e",), "bash": ("-eo", "pipefail"), "zsh": ("-eo", "pipefail")}
_POWERSHELL_FAIL_FAST = "$ErrorActionPreference = 'Stop'; $PSNativeCommandUseErrorActionPreference = $true;"
_IN_A_FILE = "hand it over in a file, ${file:…}, or by `stdin` of the step"
_HALF = "half a character (a lone surrogate) cannot be handed to a command"
_AS_WORD = (
    'write it as a word of its own, as in jq . ${file:…}; for a longer word, f=${file:…}; curl --data "@$f" …'
)


def parse_command(text: str, shell: Shell) -> CommandTemplate:
    """*text* with its holes and where they stand; ExpressionError for a hole where no value may stand."""
    if HOLE in text:
        raise complain_at("a command cannot hold the character NUL", text, text.index(HOLE))
    if len(text.encode(errors="replace")) > MAX_ARGUMENT_BYTES:
        problem = f"a shell can be given at most {MAX_ARGUMENT_BYTES} bytes as a command"
        raise complain_at(problem, text[:60], 0, "put it into a script of its own")
    if "${" not in text:
        return CommandTemplate(shell, (text,))
    pieces: list[str | CommandHole] = [
        piece if isinstance(piece, str) else CommandHole(piece.expression, piece.form, piece.start)
        for piece in split_at_holes(text, lambda start, form: _is_ours(text, start, shell, form))
    ]
    if len(_holes(pieces)) > MAX_HOLES:
        raise complain_at(f"more than {MAX_HOLES} holes in a command", text, _holes(pieces)[-1].start)
    located = _locate(["_" if _is_raw(piece) else piece for piece in pieces], shell)
    whole = [piece if _is_raw(piece) else other for piece, other in zip(pieces, located, strict=True)]
    for hole in _holes(whole):
        if wrong := _find_problem(hole):
            raise complain_at(wrong[0], text, hole.start, wrong[1])
    return CommandTemplate(shell, tuple(whole))


def join_commands(command: tuple[str, ...], shell: Shell) -> str:
    """A list as one command, which ends with the first part that fails.

    Each part is grouped, so that its comments and here-documents end with it.
    """
    if len(command) == 1:
        return command[0]
    before, between, behind = _list_joints(shell)
    return before + between.join(command) + behind


def part_commands(text: str, shell: Shell) -> str:
    """A list that `join_commands` made one command of, each part on a line of its own, for people."""
    before, between, behind = _list_joints(shell)
    return text.removeprefix(before).removesuffix(behind).replace(between, "\n")


def find_part(command: tuple[str, ...], shell: Shell, start: int) -> int:
    """Which part of the list *command* stands *start* characters into what `join_commands` makes of it."""
    before, between, _ = _list_joints(shell)
    ends = accumulate(len(part) + len(between) for part in command)
    return next(number for number, end in enumerate(ends) if start < len(before) + end)


def _list_joints(shell: Shell) -> tuple[str, str, str]:
    return _POWERSHELL_JOINTS if shell == "pwsh" else _JOINTS


def list_arguments(shell: str, script: str, *, fail_fast: bool) -> list[str]:
    """What *shell* is given to run *script*, and, to *fail_fast*, to end with the first command that fails.

    In PowerShell nothing can stand before `using` and `param`: such a script says itself what ends it.
    """
    if shell != "pwsh":
        return [*(_FAIL_FAST.get(shell, ()) if fail_fast else ()), "-c", script]
    from checkpointflow.shells.powershell import begins_with_declaration  # late, as below

    first = [_POWERSHELL_FAIL_FAST] if fail_fast and not begins_with_declaration(script) else []
    return ["-NoProfile", "-NonInteractive", "-Command", *first, script]


def command_holes(template: CommandTemplate) -> list[CommandHole]:
    """The holes of the command, in their order."""
    return _holes(template.pieces)


def render_command(template: CommandTemplate, scope: Mapping[str, Any]) -> Script:
    """The script and its variables; EvaluationError for a value that may not stand where it would."""
    values = {hole.start: _evaluate(hole, scope) for hole in command_holes(template)}
    text: list[str] = []
    variables: dict[str, str] = {}
    files: dict[str, Any] = {}
    left, left_in_files, number = MAX_VALUES_BYTES, MAX_FILES_BYTES, 0
    for piece in _splice_raw_text(template, values):
        if isinstance(piece, str):
            text.append(piece)
            continue
        number += 1
        if piece.form == "file":
            name = f"CPF_VALUE_{number}"
            files[name] = values[piece.start]
            text.append(_write(piece, None, (name,), template.shell))
            left_in_files -= _count_bytes(as_text(files[name]), piece)
            if left_in_files < 0:
                raise _refusal(f"the values in files are more than {MAX_FILES_BYTES} bytes altogether", piece)
            continue
        carriers = _carry(piece, values[piece.start], f"CPF_VALUE_{number}")
        text.append(_write(piece, values[piece.start], carriers, template.shell))
        variables.update({name: str(word) for name, word in carriers.items()})
        known = {name: "" if isinstance(word, Secret) else word for name, word in carriers.items()}
        left -= sum(_measure(f"{name}={word}", piece) for name, word in known.items())
        if left < 0:
            raise _refusal(
                f"the values are more than {MAX_VALUES_BYTES} bytes altogether; {_IN_A_FILE}", piece
            )
    if template.shell == "pwsh" and number:
        text.insert(0, POWERSHELL_GUARD)
    return Script("".join(text), variables, files)


def find_demands(template: CommandTemplate, variables: Mapping[str, Expression]) -> list[CommandHole]:
    """What may be in the *variables* that the command finds, each with a value in it, as a hole."""
    from checkpointflow.shells import commands  # late, as below

    pieces = (piece if isinstance(piece, str) else HOLE for piece in template.pieces if not _is_raw(piece))
    text = "".join(pieces)
    contexts = commands.find_demands(text, template.shell, list(variables))
    return [
        CommandHole(value, "value", 0, at) for value, at in zip(variables.values(), contexts, strict=True)
    ]


def find_input_demands(template: CommandTemplate, value: Expression) -> list[CommandHole]:
    """What *value* may be in what the command reads on standard input, as a hole for each place of it."""
    pieces = (piece if isinstance(piece, str) else "_" for piece in template.pieces)
    contexts = _find_inputs("".join(pieces), template.shell)
    return [CommandHole(value, "value", 0, context) for context in contexts]


def check_input(value: Any) -> None:
    """EvaluationError if *value* is not to be given to a command on its standard input."""
    try:
        size = len(as_text(value).encode())
    except UnicodeEncodeError:
        raise EvaluationError(_HALF, "stdin") from None
    if size > MAX_FILES_BYTES:
        raise EvaluationError(f"standard input takes at most {MAX_FILES_BYTES} bytes", "stdin")


def check_variable(text: str, hole: CommandHole) -> None:
    """EvaluationError if a variable that is judged as *hole* may not hold *text*."""
    _carry(hole, text, "")


def _write(hole: CommandHole, value: Any, names: Iterable[str], shell: Shell) -> str:
    """What stands for the *value*, which is in the variables *names*, in the script."""
    if shell != "pwsh":
        return " ".join(hole.context.written.format(f"${{{name}}}") for name in names)
    words = ", ".join(hole.context.written.format(f"${{env:{name}}}") for name in names)
    return f"@({words})" if hole.context.spreads and isinstance(value, list) else words


def _holes(pieces: Iterable[str | CommandHole]) -> list[CommandHole]:
    return [piece for piece in pieces if not isinstance(piece, str)]


def _is_raw(piece: str | CommandHole) -> bool:
    return not isinstance(piece, str) and piece.form == "raw"


def _find_problem(hole: CommandHole) -> tuple[str, str | None] | None:
    """Why the hole cannot stand where it does, and what to write instead."""
    context = hole.context
    if context.problem:
        return context.problem, context.hint
    if hole.form != "file":
        return None
    if context.runs:
        return f"no value's file can stand here: {context.runs[0]}", context.runs[1]
    if not context.is_word or context.only not in ("anything", "operand"):
        return f"no file can stand here ({context.name}), only where a whole word is data", _AS_WORD
    return None


def _locate(pieces: Sequence[str | CommandHole], shell: Shell) -> list[str | CommandHole]:
    """*pieces*, each hole with its context in the command that they make."""
    command = "".join(piece if isinstance(piece, str) else HOLE for piece in pieces)
    found = iter(_find_contexts(command, shell) if HOLE in command else ())
    return [piece if isinstance(piece, str) else replace(piece, context=next(found)) for piece in pieces]


def _find_contexts(command: str, shell: Shell) -> list[Context]:
    if shell == "pwsh":  # late, both: most commands have no holes, and few are PowerShell's
        from checkpointflow.shells import powershell

        return powershell.find_contexts(command)
    from checkpointflow.shells.commands import find_contexts

    return find_contexts(command, shell)


def _find_inputs(command: str, shell: Shell) -> list[Context]:
    if shell == "pwsh":  # late, both, as above
        from checkpointflow.shells import powershell

        return powershell.find_inputs(command)
    from checkpointflow.shells.commands import find_inputs

    return find_inputs(command, shell)


def _evaluate(hole: CommandHole, scope: Mapping[str, Any]) -> Any:
    name = hole.expression.text.strip()
    if name in NAMES and name not in scope:
        raise _refusal(f"there is no {name} here; the shell's own variable is ${name} or $${{{name}}}", hole)
    return evaluate(hole.expression, scope)


def _splice_raw_text(template: CommandTemplate, values: Mapping[int, Any]) -> list[str | CommandHole]:
    """The pieces, those from raw holes as text, and where the other holes stand in that script."""
    raw = [hole for hole in command_holes(template) if hole.form == "raw"]
    if not raw:
        return list(template.pieces)
    texts = {hole.start: as_text(values[hole.start]) for hole in raw}
    for hole in raw:
        _measure(texts[hole.start], hole)
    pieces = [piece if isinstance(piece, str) else texts.get(piece.start, piece) for piece in template.pieces]
    _measure("".join(piece for piece in pieces if isinstance(piece, str)), raw[-1])
    located = _locate(pieces, template.shell)
    for hole in _holes(located):
        if _find_problem(hole):
            # Nothing of it is quoted: the raw text may be a secret.
            raise _refusal("the raw text in this command leaves no place for this value", hole)
    return located


def _carry(hole: CommandHole, value: Any, name: str) -> dict[str, str]:
    """The variables for *value*: one, or one for each element of a list that may become words."""
    is_list = hole.context.spreads and isinstance(value, list)
    elements = value if is_list else [value]
    match hole.context.only:
        case "integer":
            elements = [_parse_integer(element, hole) for element in elements]
        case "command" | "sole command":
            _check_command(elements, hole)
        case "plain" | "operand":
            for element in elements:
                _check_text(as_text(element), hole)
        case "anything":
            pass
        case _:
            assert_never(hole.context.only)
    names = [f"{name}_{number}" for number, _ in enumerate(elements, start=1)] if is_list else [name]
    return dict(zip(names, map(as_text, elements), strict=True))


_INTEGER = compile_late(rf"-?[0-9]{{1,{MAX_DIGITS}}}")


def _parse_integer(value: Any, hole: CommandHole) -> int:
    """The integer that *value* is or spells. Normalised: to a shell, 010 is eight."""
    match value:
        case bool():
            pass
        case int() if abs(value) < 10**MAX_DIGITS:
            return value
        case str() if _INTEGER.fullmatch(value):
            return int(value)
    problem = f"only an integer of at most {MAX_DIGITS} digits can stand here ({hole.context.name})"
    reason = f"; {hole.context.hint}" if hole.context.hint else ", because the shell computes with it"
    raise _refusal(f"{problem}{reason}", hole)


def _check_command(elements: Sequence[Any], hole: CommandHole) -> None:
    from checkpointflow.shells.programs import reads_code  # late, as above

    if not elements:
        raise _refusal("an empty list cannot be the command to run", hole)
    name = as_text(elements[0])
    if hole.context.without and (name.startswith("-") or "=" in name):
        raise _refusal("the name of the command to run cannot begin with - or hold =", hole)
    if reads_code([as_text(element) for element in elements], is_sole=hole.context.only == "sole command"):
        problem = "a value cannot name a command that takes code or names, or that runs another command"
        raise _refusal(f"{problem}; write the name itself, or ${{raw:…}} if code is meant", hole)


_PLAIN = " \t._:@+,-/"


def _check_text(text: str, hole: CommandHole) -> None:
    """EvaluationError for text that would be an option, or could end or extend the program around it."""
    context = hole.context
    if context.only == "plain":
        signs = [sign for sign in _PLAIN if sign not in context.without]
        is_let_through = all(sign.isalnum() or sign in signs for sign in text)
        allowed = f"letters, digits, blanks and {' '.join(sign for sign in signs if sign.strip())}"
    else:
        is_option = text.startswith("-") and text != "-"
        is_let_through = not is_option and not any(sign in text for sign in context.without)
        allowed = "text that does not begin with -" + f" or hold {context.without}" * bool(context.without)
    if not is_let_through:
        raise _refusal(f"only {allowed} can be {context.name}; {context.hint}", hole)


def _measure(text: str, hole: CommandHole) -> int:
    """The bytes of *text*, which is refused if the kernel would."""
    if "\0" in text:
        raise _refusal(f"no command can be given the character NUL; {_IN_A_FILE}", hole)
    size = _count_bytes(text, hole)
    if size > MAX_ARGUMENT_BYTES:
        problem = f"the value has more than the {MAX_ARGUMENT_BYTES} bytes that a command can be given"
        raise _refusal(f"{problem}; {_IN_A_FILE}", hole)
    return size


def _count_bytes(text: str, hole: CommandHole) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise _refusal(_HALF, hole) from None


def _refusal(problem: str, hole: CommandHole) -> EvaluationError:
    return EvaluationError(problem, hole.expression.text)


# Whose `${` it is

_OURS = (
    rf"(?:env(?=\.)|(?:{'|'.join(sorted(VALUES))})(?=[\s.\[}}]|[=!]=|[<>]|\Z)|item_index[-+*/]|[\"']|not\s"
    rf"|(?:{'|'.join(FUNCTIONS)})\s*\(|-?[0-9][\w.]*\s)"
)
_DOTTED = r"[A-Za-z_]\w*(?:\[[^]]{0,99}])*(?:\.[\w-]+(?:\[[^]]{0,99}])*)+\s*}"
_IS_OURS = compile_late(rf"\s*(?:\(|{_OURS}|{_DOTTED})")
_IS_OURS_FOR_SURE = compile_late(rf"\s*(?:\((?=[\s(]*{_OURS})|{_OURS}|{_DOTTED})")  # zsh has ${{(e)x}}


def _is_ours(text: str, start: int, shell: Shell, form: Form) -> bool:
    is_strict = form != "value" or shell in ("zsh", "pwsh")
    return (_IS_OURS_FOR_SURE if is_strict else _IS_OURS).match(text, start) is not None
