r"""The expression language: what may stand in `${…}`, in `if`, `when`, `items` and `from`.

Grammar, loosest binding first:

    expression  = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation    = "not" negation | comparison
    comparison  = operand [ ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) operand ]
    operand     = "(" expression ")" | path | literal
    path        = first { "." ( name | digits ) | "[" ( digits | text ) "]" }
    first       = "inputs" | "steps" | "event" | "item" | "item_index" | "run" | "secrets"
    name        = [A-Za-z_][A-Za-z0-9_-]*           the hyphen belongs to the name
    digits      = "0" | [1-9][0-9]*
    literal     = "true" | "false" | "null" | number | text | list | object        as in JSON
    text        = "…" with JSON's escapes | '…' with \\ and \' only
    list        = "[" [ literal { "," literal } ] "]"
    object      = "{" [ text ":" literal { "," text ":" literal } ] "}"

White space separates and means nothing; outside of brackets a path has none. That is all there is:
no calls, no arithmetic, no clock, no environment, so equal scopes give equal values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal, NoReturn, TypeAlias, assert_never, get_args

from msgspec import Struct

from checkpointflow.expressions.scanner import NO_ARITHMETIC, WRAP_ONCE, Scanner, Token
from checkpointflow.expressions.wording import complain, quote, suggest_nearest
from checkpointflow.patterns import compile_late

Path: TypeAlias = tuple[str | int, ...]
"""A path's parts: `.name`, `.0` and `["odd name"]` are text, `[0]` is a number."""

NAMES = frozenset({"inputs", "steps", "event", "item", "item_index", "run", "secrets", "env"})
VALUES = NAMES - {"env"}
"""Those that are values by themselves: nobody wants all of the environment, and many a script has `$env`."""

MAX_DIGITS = 4300  # as many as Python converts; above that `int` raises

Operator = Literal["==", "!=", "<", "<=", ">", ">="]
_OPERATORS: dict[str, Operator] = {sign: sign for sign in get_args(Operator)}
CONSTANTS = {"true": True, "false": False, "null": None}
KEYWORDS = {"and", "or", "not"}


# The tree


class Constant(Struct, frozen=True, tag=True):
    value: Any


class Reference(Struct, frozen=True, tag=True):
    path: Path


class Comparison(Struct, frozen=True, tag=True):
    operator: Operator
    left: Node
    right: Node


class Not(Struct, frozen=True, tag=True):
    operand: Node


class And(Struct, frozen=True, tag=True):
    operands: tuple[Node, ...]  # flat, so that a long chain is not a deep tree


class Or(Struct, frozen=True, tag=True):
    operands: tuple[Node, ...]


Node: TypeAlias = Constant | Reference | Comparison | Not | And | Or


class Expression(Struct, frozen=True):
    """Text that has been understood; for `parse_condition`, *text* is what stands inside of `${ }`."""

    text: str
    root: Node


# Text -> Expression


def parse(text: str) -> Expression:
    """The expression that *text* is, or ExpressionError with the column at fault."""
    scanner = Scanner(text, 0, len(text))
    return Expression(text, _parse_whole(scanner))


def parse_condition(value: str | bool) -> Expression:
    """A condition as a document has it: bare, wrapped once in `${ }`, or YAML's own true and false.

    The columns of an ExpressionError count in *value* as written, wrapping included.
    """
    if isinstance(value, bool):
        return Expression("true" if value else "false", Constant(value))
    bare = value.strip()
    start = value.find(bare)
    end = start + len(bare)
    if bare.startswith("${") and bare.endswith("}"):
        start, end = start + 2, end - 1
    scanner = Scanner(value, start, end)
    return Expression(value[start:end].strip(), _parse_whole(scanner))


def parse_path(text: str) -> Expression:
    """As `parse`, where nothing but a path is allowed, such as `from` of a workflow's outputs."""
    if text.lstrip().startswith("${"):
        column = text.index("$") + 1
        raise complain("a path stands bare here", text, column, "leave ${ and } out")
    scanner = Scanner(text, 0, len(text))
    if scanner.token.kind != "name" or scanner.token.text in KEYWORDS | CONSTANTS.keys():
        scanner.fail("expected a path", hint="such as steps.plan.outputs.url")
    path = _parse_path(scanner)
    if scanner.token.kind != "end":
        scanner.fail(f"a path ends before {quote(scanner.token.text)}", hint="only a path may stand here")
    return Expression(text, Reference(path))


def references(expression: Expression) -> list[Path]:
    """Every path in the expression, from left to right, as often as it stands there."""
    return list(_find_paths(expression.root))


def _find_paths(node: Node) -> Iterator[Path]:
    match node:
        case Constant():
            return
        case Reference(path):
            yield path
        case Comparison(_, left, right):
            yield from _find_paths(left)
            yield from _find_paths(right)
        case Not(operand):
            yield from _find_paths(operand)
        case And(operands) | Or(operands):
            for operand in operands:
                yield from _find_paths(operand)
        case _:
            assert_never(node)


def _parse_whole(s: Scanner) -> Node:
    node = _parse_disjunction(s)
    if s.token.text == ")":
        s.fail('this ")" closes nothing')
    if s.token.kind != "end":
        _refuse_rest(s)
    return node


def _parse_disjunction(s: Scanner) -> Node:
    operands = [_parse_conjunction(s)]
    while s.accept("or"):
        operands.append(_parse_conjunction(s))
    return operands[0] if len(operands) == 1 else Or(tuple(operands))


def _parse_conjunction(s: Scanner) -> Node:
    operands = [_parse_negation(s)]
    while s.accept("and"):
        operands.append(_parse_negation(s))
    return operands[0] if len(operands) == 1 else And(tuple(operands))


def _parse_negation(s: Scanner) -> Node:
    negation = s.accept("not")
    if negation is None:
        return _parse_comparison(s)
    s.enter(negation)
    operand = _parse_negation(s)
    s.leave()
    return Not(operand)


def _parse_comparison(s: Scanner) -> Node:
    left = _parse_operand(s)
    sign = s.accept(*_OPERATORS)
    if sign is None:
        return left
    right = _parse_operand(s)
    if s.token.text in _OPERATORS:
        s.fail("comparisons do not chain", hint="write a < b and b < c")
    return Comparison(_OPERATORS[sign.text], left, right)


def _parse_operand(s: Scanner) -> Node:
    if s.token.text == "(":
        return _parse_parentheses(s)
    if s.token.kind == "name" and s.token.text not in KEYWORDS | CONSTANTS.keys():
        return Reference(_parse_path(s))
    return Constant(_parse_literal(s))


def _parse_parentheses(s: Scanner) -> Node:
    opening = s.advance()
    s.enter(opening)
    node = _parse_disjunction(s)
    s.leave()
    if s.token.kind == "end":
        s.fail('this "(" is never closed', opening.start)
    if not s.accept(")"):
        _refuse_rest(s)
    return node


def _refuse_rest(s: Scanner) -> NoReturn:
    """Say why nothing like the token that is due may follow a whole expression."""
    text = s.token.text
    if text == "(":
        s.fail("there are no functions", hint="compute in a cli step, and use its output")
    if text == "}":
        s.fail('this "}" closes nothing', hint=WRAP_ONCE)
    if s.token.kind == "number" and text.startswith("-"):
        s.fail(NO_ARITHMETIC[0], hint=NO_ARITHMETIC[1])
    if text.lower() in KEYWORDS - {"not"}:
        s.fail(f"unexpected {quote(text)}", hint=f"write {text.lower()}")
    s.fail(f"unexpected {quote(text)}", hint="expected == != < <= > >= and or")


# Paths

PLAIN_NAME = compile_late(r"[A-Za-z_][A-Za-z0-9_-]*|0|[1-9][0-9]*")
INDEX = compile_late(r"0|[1-9][0-9]*")


def _parse_path(s: Scanner) -> Path:
    first = s.advance()
    if first.text not in NAMES:
        _refuse_name(s, first)
    parts: list[str | int] = [first.text]
    end = first.end
    while s.token.kind == "member" or s.token.text == "[":
        if s.token.start != end:
            s.fail("a path has no white space in it", end, f"write {quote(s.token.text)} right behind")
        part, end = _parse_bracket(s) if s.token.text == "[" else _parse_member(s)
        parts.append(part)
    return tuple(parts)


def _refuse_name(s: Scanner, first: Token) -> NoReturn:
    if s.token.text == "(":
        s.fail("there are no functions", first.start, "compute in a cli step, and use its output")
    problem = f"there is no name {quote(first.text)}"
    nearest = suggest_nearest(first.text.lower(), NAMES | CONSTANTS.keys() | KEYWORDS)
    names = ", ".join(sorted(NAMES))
    is_bare_word = s.token.kind != "member" and s.token.text != "["
    text = f"put text in quotes: {quote(first.text)}; " if is_bare_word else ""
    s.fail(problem + nearest, first.start, f"{text}the names are {names}")


def _parse_member(s: Scanner) -> tuple[str, int]:
    token = s.advance()
    name = token.text[1:]
    if not PLAIN_NAME.fullmatch(name):
        s.fail(f"{quote(name)} is not a plain name", token.start + 1, f"write [{quote(name)}]")
    return name, token.end


def _parse_bracket(s: Scanner) -> tuple[str | int, int]:
    opening = s.advance()
    part = _parse_key(s)
    closing = s.accept("]")
    if closing is None:
        s.fail('this "[" is never closed', opening.start)
    return part, closing.end


def _parse_key(s: Scanner) -> str | int:
    token = s.token
    if token.kind == "text":
        return _parse_text(s)
    if token.kind == "number" and token.text.startswith("-"):
        s.fail("elements count from 0", hint="there is no counting from the end")
    if not INDEX.fullmatch(token.text):
        s.fail("expected a number or a quoted name in [ ]", hint='such as [0] or ["odd name"]')
    return int(s.advance().text)


# Literals

_NUMBER = compile_late(r"-?(?:0|[1-9][0-9]*)((?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)")
_SURROGATE = compile_late("[\ud800-\udfff]")
# Each runs as far as the text is right, so its end is the closing quote or the fault.
_SOUND = {
    '"': compile_late(r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*'),
    "'": compile_late(r"'(?:[^'\\]|\\['\\])*"),
}
_ESCAPES = {'"': r"\" \\ \/ \b \f \n \r \t \u0000", "'": r"\' \\"}


def _parse_literal(s: Scanner) -> Any:
    token = s.token
    if token.kind == "text":
        return _parse_text(s)
    if token.kind == "number":
        return _parse_number(s)
    if token.text in CONSTANTS:
        return CONSTANTS[s.advance().text]
    if token.text == "[":
        return [_parse_literal(s) for _ in _enter_elements(s, "]")]
    if token.text != "{":
        _refuse_value(s)
    return _parse_object(s)


def _refuse_value(s: Scanner) -> NoReturn:
    token = s.token
    if token.kind == "end":
        s.fail("expected a value, but the text ends here")
    if token.text == "not":
        s.fail("not binds more loosely than a comparison", hint="put it in parentheses: (not inputs.x)")
    if token.kind == "name" and token.text not in KEYWORDS:
        s.fail("only literals may stand in a list or an object", hint="put text in quotes")
    s.fail(f"expected a value, not {quote(token.text)}")


def _enter_elements(s: Scanner, close: str) -> Iterator[None]:
    """Brackets and commas, up to *close*; whoever iterates reads one element each time."""
    opening = s.advance()
    s.enter(opening)
    more = s.token.text != close
    while more:
        yield
        more = s.accept(",") is not None
    if s.token.kind == "end":
        s.fail(f'this "{opening.text}" is never closed', opening.start)
    if not s.accept(close):
        s.fail(f'expected "," or "{close}", not {quote(s.token.text)}')
    s.leave()


def _parse_object(s: Scanner) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for _ in _enter_elements(s, "}"):
        key = s.token
        if key.kind != "text":
            s.fail("expected a key in quotes", hint='as in {"key": 1}')
        name = _parse_text(s)
        if name in members:
            s.fail(f"the key {quote(name)} stands twice", key.start)
        if not s.accept(":"):
            s.fail('expected ":" after the key')
        members[name] = _parse_literal(s)
    return members


def _parse_number(s: Scanner) -> int | float:
    token = s.advance()
    if not _NUMBER.fullmatch(token.text):
        s.fail(
            f"{quote(token.text)} is not a number as JSON spells it", token.start, "quote it to make it text"
        )
    value = read_number(token.text)
    if value is None:
        s.fail(f"{quote(token.text)} is too large a number", token.start)
    return value


def _parse_text(s: Scanner) -> str:
    token = s.advance()
    quote = token.text[0]
    sound = _SOUND[quote].match(token.text)
    fault = sound.end() if sound else 0
    if fault != len(token.text) - 1:
        character = token.text[fault]
        what = (
            f'"{token.text[fault : fault + 2]}" is not an escape'
            if character == "\\"
            else "raw control character"
        )
        s.fail(f"{what} in text", token.start + fault, f"the escapes are {_ESCAPES[quote]}")
    text = _read_escapes(token.text) if quote == '"' else re.sub(r"\\(.)", r"\1", token.text[1:-1])
    if _SURROGATE.search(text):
        s.fail("half a character in text", token.start, r"\ud800 to \udfff stand in pairs")
    return text


def _read_escapes(text: str) -> str:
    if "\\" not in text:
        return text[1:-1]
    import json  # late: few texts need it

    return str(json.loads(text))


def read_number(text: str) -> int | float | None:
    """The number that *text* spells exactly as JSON would, or nothing if it cannot be held."""
    found = _NUMBER.fullmatch(text)
    if found is None or len(text.removeprefix("-")) > MAX_DIGITS:
        return None
    if not found.group(1):
        return int(text)
    value = float(text)
    return None if value in (float("inf"), float("-inf")) else value
