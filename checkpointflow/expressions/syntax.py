r"""The expression language: what may stand in `${…}`, in `if`, `when`, `items` and `from`.

Grammar, loosest binding first:

    expression  = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation    = "not" negation | comparison
    comparison  = sum [ ( "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" ) sum ]
    sum         = product { ( "+" | "-" ) product }
    product     = operand { ( "*" | "/" ) operand }
    operand     = "(" expression ")" | call | path | literal
    call        = function "(" expression { "," expression } ")"
    function    = one of the list in `functions`
    path        = first { "." ( name | digits ) | "[" ( digits | text ) "]" }
    first       = "inputs" | "steps" | "event" | "item" | "item_index" | "run" | "secrets"
    name        = [A-Za-z_][A-Za-z0-9_-]*           the hyphen belongs to the name
    digits      = "0" | [1-9][0-9]*
    literal     = "true" | "false" | "null" | number | text | list | object        as in JSON
    text        = "…" with JSON's escapes | '…' with \\ and \' only
    list        = "[" [ literal { "," literal } ] "]"
    object      = "{" [ text ":" literal { "," text ":" literal } ] "}"

White space separates and means nothing; outside of brackets a path has none, so that `a-b` is a name and
`a - b` a difference. Where the kind of an argument is known from the text alone, one that does not fit is
refused here; so is a pattern of `matches`, always a literal, that `schemas` would refuse. That is all there
is: no clock, no environment, no randomness, so equal scopes give equal values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NoReturn, TypeAlias, assert_never, get_args

from msgspec import Struct

from checkpointflow.diagnostics import join_words
from checkpointflow.errors import CheckpointflowError
from checkpointflow.expressions.functions import FUNCTIONS, PATTERN, Kinds, read_safe_pattern
from checkpointflow.expressions.literals import KEYWORDS, RESERVED, enter_elements, parse_literal, parse_text
from checkpointflow.expressions.scanner import WRAP_ONCE, Scanner, Token
from checkpointflow.expressions.values import describe_kind
from checkpointflow.expressions.wording import complain, explain_hyphen, quote, suggest_nearest
from checkpointflow.patterns import compile_late

Path: TypeAlias = tuple[str | int, ...]
"""A path's parts: `.name`, `.0` and `["odd name"]` are text, `[0]` is a number."""

NAMES = frozenset({"inputs", "steps", "event", "item", "item_index", "run", "secrets", "env"})
VALUES = NAMES - {"env"}
"""Those that are values by themselves: nobody wants all of the environment, and many a script has `$env`."""

Operator = Literal["==", "!=", "<", "<=", ">", ">=", "in"]
_OPERATORS: dict[str, Operator] = {sign: sign for sign in get_args(Operator)}


# The tree


class Constant(Struct, frozen=True, tag=True):
    value: Any


class Reference(Struct, frozen=True, tag=True):
    path: Path


class Comparison(Struct, frozen=True, tag=True):
    operator: Operator
    left: Node
    right: Node


class Arithmetic(Struct, frozen=True, tag=True):
    """Operands and, between them, operators, of which `*` and `/` bind first; flat, as `And` is."""

    operands: tuple[Node, ...]
    operators: tuple[str, ...]


class Call(Struct, frozen=True, tag=True):
    name: str
    arguments: tuple[Node, ...]


class Not(Struct, frozen=True, tag=True):
    operand: Node


class And(Struct, frozen=True, tag=True):
    operands: tuple[Node, ...]  # flat, so that a long chain is not a deep tree


class Or(Struct, frozen=True, tag=True):
    operands: tuple[Node, ...]


Node: TypeAlias = Constant | Reference | Comparison | Arithmetic | Call | Not | And | Or


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
    if scanner.token.kind != "name" or scanner.token.text in RESERVED:
        scanner.fail("expected a path", hint="such as steps.plan.outputs.url")
    path = _parse_path(scanner, scanner.advance())
    if scanner.token.kind != "end":
        scanner.fail(f"a path ends before {quote(scanner.token.text)}", hint="only a path may stand here")
    return Expression(text, Reference(path))


def references(expression: Expression) -> list[Path]:
    """Every path in the expression, from left to right, as often as it stands there."""
    return list(_find_paths(expression.root))


def _find_paths(node: Node) -> Iterator[Path]:
    if isinstance(node, Reference):
        yield node.path
    for operand in operands_of(node):
        yield from _find_paths(operand)


def operands_of(node: Node) -> tuple[Node, ...]:
    """The parts that *node* is made of, from left to right."""
    match node:
        case Constant() | Reference():
            return ()
        case Comparison(_, left, right):
            return left, right
        case Not(operand):
            return (operand,)
        case Arithmetic(operands) | Call(_, operands) | And(operands) | Or(operands):
            return operands
        case _:
            assert_never(node)


def find_kind(node: Node) -> str | None:
    """The kind of value that *node* has whatever its paths lead to, if that is known."""
    match node:
        case Constant(value):
            return describe_kind(value)
        case Call(name):
            return FUNCTIONS[name].gives
        case Arithmetic():
            return "a number"
        case Reference():
            return None
    return "a boolean"


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
    left = _parse_sum(s)
    if s.token.text not in _OPERATORS:
        return left
    sign = s.advance()
    right = _parse_sum(s)
    if s.token.text in _OPERATORS:
        s.fail("comparisons do not chain", hint="write a < b and b < c")
    return Comparison(_OPERATORS[sign.text], left, right)


_ARITHMETIC = frozenset("+-*/")


def _parse_sum(s: Scanner) -> Node:
    start, first = s.token.start, _parse_operand(s)
    if s.token.text[:1] not in _ARITHMETIC:  # as most, and this is quicker than to ask the scanner
        return first
    starts, operands, operators = [start], [first], list[str]()
    while operator := s.accept_operator():
        operators.append(operator.text)
        starts.append(s.token.start)
        operands.append(_parse_operand(s))
    for start, operand in zip(starts, operands, strict=True):
        if find_kind(operand) not in (None, "a number"):
            hint = "texts are joined by standing side by side, as in ${inputs.a}-${inputs.b}"
            s.fail(f"+ - * / take numbers, and this is {find_kind(operand)}", start, hint)
    return Arithmetic(tuple(operands), tuple(operators))


def _parse_operand(s: Scanner) -> Node:
    if s.token.text == "(":
        return _parse_parentheses(s)
    if s.token.kind == "name" and s.token.text not in RESERVED:
        first = s.advance()
        return _parse_call(s, first) if s.token.text == "(" else Reference(_parse_path(s, first))
    return Constant(parse_literal(s))


def _parse_call(s: Scanner, name: Token) -> Node:
    function = FUNCTIONS.get(name.text)
    if function is None:
        nearest = suggest_nearest(name.text.lower(), FUNCTIONS)
        s.fail(f"there is no function {quote(name.text)}{nearest}", name.start, _THE_FUNCTIONS)
    arguments: list[Node] = []
    for _ in enter_elements(s, ")"):
        start = s.token.start
        arguments.append(_parse_disjunction(s))
        kinds = function.takes[len(arguments) - 1] if len(arguments) <= len(function.takes) else ()
        _check_argument(s, name.text, arguments[-1], kinds, start)
    if len(arguments) != len(function.takes):
        takes = "; ".join(" or ".join(kinds) or "anything" for kinds in function.takes)
        s.fail(f"{name.text} takes {len(function.takes)}, and is given {len(arguments)}", name.start, takes)
    return Call(name.text, tuple(arguments))


_THE_FUNCTIONS = f"the functions are {', '.join(sorted(FUNCTIONS))}"


def _check_argument(s: Scanner, name: str, argument: Node, kinds: Kinds, start: int) -> None:
    kind = find_kind(argument)
    if kinds == PATTERN:
        if not isinstance(argument, Constant) or not isinstance(argument.value, str):
            s.fail("a pattern is a literal text", start, "such as '^v[0-9]+$'")
        try:
            read_safe_pattern(argument.value)
        except CheckpointflowError as error:
            s.fail(str(error), start)
    elif kinds and kind is not None and kind not in kinds:
        s.fail(f"{name} takes {join_words(kinds)}, and this is {kind}", start)


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
        s.fail("only a function can be called", hint=f"as in upper(item); {_THE_FUNCTIONS}")
    if text == "}":
        s.fail('this "}" closes nothing', hint=WRAP_ONCE)
    if text.lower() in KEYWORDS - {"not"}:
        s.fail(f"unexpected {quote(text)}", hint=f"write {text.lower()}")
    hint = "write not (a in b)" if text == "not" else "expected == != < <= > >= in + - * / and or"
    s.fail(f"unexpected {quote(text)}", hint=hint)


# Paths

PLAIN_NAME = compile_late(r"[A-Za-z_][A-Za-z0-9_-]*|0|[1-9][0-9]*")
INDEX = compile_late(r"0|[1-9][0-9]*")


def _parse_path(s: Scanner, first: Token) -> Path:
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
    if first.text in FUNCTIONS:
        s.fail(f"{first.text} is a function", first.start, f"write {first.text}(…)")
    problem = f"there is no name {quote(first.text)}"
    nearest = suggest_nearest(first.text.lower(), NAMES | RESERVED)
    names = ", ".join(sorted(NAMES))
    is_bare_word = s.token.kind != "member" and s.token.text != "["
    text = f"put text in quotes: {quote(first.text)}; " if is_bare_word else ""
    hint = explain_hyphen(first.text, NAMES) or f"{text}the names are {names}"
    s.fail(problem + nearest, first.start, hint)


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
        return parse_text(s)
    if token.kind == "number" and token.text.startswith("-"):
        s.fail("elements count from 0", hint="there is no counting from the end")
    if not INDEX.fullmatch(token.text):
        s.fail("expected a number or a quoted name in [ ]", hint='such as [0] or ["odd name"]')
    return int(s.advance().text)
