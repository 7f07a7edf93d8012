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

Semantics:

- A path's value keeps its type. `.2` and `["2"]` are element 2 of a list and the key "2" of an
  object; `[2]` is for lists alone. A path that leads nowhere is an error that names the nearest
  place that is there. Compared by `==` or `!=` with the literal `null` it counts as null instead.
- `==` is JSON's equality: true is not 1, 1 is 1.0, lists and objects are compared throughout. On
  top, and only there, null, a boolean or a number equals a text that spells it (3 and "3.0", true
  and "true"): commands print text. Two texts are equal when their characters are.
- `<` `<=` `>` `>=` order two numbers, a number and a text that spells one, or two texts by code
  point. Anything else is an error.
- False are false, null, 0, "", [] and {}, and the texts that spell one of the first three.
- `and`, `or` and `not` give a boolean, and look no further than they must:
  `steps.a.outputs.x != null and steps.a.outputs.x > 3` is safe.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Literal, NoReturn, TypeAlias, assert_never, get_args

from msgspec import Struct

from checkpointflow.errors import EvaluationError, ExpressionError

Path: TypeAlias = tuple[str | int, ...]
"""A path's parts: `.name`, `.0` and `["odd name"]` are text, `[0]` is a number."""

NAMES = frozenset({"inputs", "steps", "event", "item", "item_index", "run", "secrets"})
MAX_CHARACTERS = 4096
MAX_LEVELS = 50
MAX_DIGITS = 4300  # as many as Python converts; above that `int` raises

Operator = Literal["==", "!=", "<", "<=", ">", ">="]
_OPERATORS: dict[str, Operator] = {sign: sign for sign in get_args(Operator)}
_CONSTANTS = {"true": True, "false": False, "null": None}
_KEYWORDS = {"and", "or", "not"}


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
    scanner = _Scanner(text, 0, len(text))
    return Expression(text, _whole(scanner))


def parse_condition(value: str | bool) -> Expression:
    """A condition as a document has it: bare, wrapped once in `${ }`, or YAML's own true and false.

    The columns of an ExpressionError count in *value* as written, wrapping included.
    """
    if isinstance(value, bool):
        return Expression(as_text(value), Constant(value))
    bare = value.strip()
    start = value.find(bare)
    end = start + len(bare)
    if bare.startswith("${") and bare.endswith("}"):
        start, end = start + 2, end - 1
    scanner = _Scanner(value, start, end)
    return Expression(value[start:end].strip(), _whole(scanner))


def parse_path(text: str) -> Expression:
    """As `parse`, where nothing but a path is allowed, such as `from` of a workflow's outputs."""
    if text.lstrip().startswith("${"):
        column = text.index("$") + 1
        raise _complaint("a path stands bare here", text, column, "leave ${ and } out")
    scanner = _Scanner(text, 0, len(text))
    if scanner.token.kind != "name" or scanner.token.text in _KEYWORDS | _CONSTANTS.keys():
        scanner.fail("expected a path", hint="such as steps.plan.outputs.url")
    path = _path(scanner)
    if scanner.token.kind != "end":
        scanner.fail(f"a path ends before {_shown(scanner.token.text)}", hint="only a path may stand here")
    return Expression(text, Reference(path))


_TOKEN = re.compile(
    r"""(?P<space>   [ \t\r\n]+ )
      | (?P<name>    [^\W\d][\w-]* )
      | (?P<member>  \.[\w-]+ )
      | (?P<number>  -?[0-9](?:[eE][+-]|[\w.])* )
      | (?P<text>    "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' )
      | (?P<sign>    ==(?!=) | !=(?!=) | <= | >= | <(?!>) | > | [()\[\]{},:] )
      | (?P<foreign> === | !== | <> | =[<>~]? | &&? | \|\|? | ! | \$\{ | [-+*/%^?."'“”‘’] )
    """,
    re.VERBOSE | re.DOTALL,
)

_ARITHMETIC = ("there is no arithmetic", "compute in a cli step, and use its output")
_WRAP_ONCE = 'wrap the whole condition once: ${inputs.a == "b"}'
_OTHER_QUOTES = ("typographic quotes do not enclose text", "use \" or '")

# What other languages write. Where the hint says it all, the problem is the sign itself.
_FOREIGN = {
    "=": ('"=" does not compare', "use =="),
    "===": ('there is no "==="', "use =="),
    "!==": ('there is no "!=="', "use !="),
    "<>": ('there is no "<>"', "use !="),
    "=<": ('there is no "=<"', "use <="),
    "=>": ('there is no "=>"', "use >="),
    "=~": ("there are no patterns", "match in a cli step, and use its output"),
    "&": ('there is no "&"', "write and"),
    "&&": ('there is no "&&"', "write and"),
    "|": ("there are no filters", "write or, should that be meant"),
    "||": ('there is no "||"', "write or"),
    "!": ('there is no "!"', "write not"),
    "?": ('there is no "?"', "a switch step decides between values"),
    "${": ('"${" inside of an expression', _WRAP_ONCE),
    '"': ("the text that begins here does not end", 'close it with "'),
    "'": ("the text that begins here does not end", "close it with '"),
    **dict.fromkeys("+-*/%^", _ARITHMETIC),
    **dict.fromkeys("“”‘’", _OTHER_QUOTES),
}


class _Token(Struct, frozen=True):
    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


class _Scanner:
    """Tokens of *text* between *start* and *end*, one ahead, and the count of open levels."""

    def __init__(self, text: str, start: int, end: int) -> None:
        if len(text) > MAX_CHARACTERS:
            problem = f"{len(text)} characters are too many for an expression; {MAX_CHARACTERS} are allowed"
            raise _complaint(problem, _clipped(text), 1, "compute in a cli step, and use its output")
        self.text, self.end, self.levels = text, end, 0
        self.token = self._scan(start)

    def advance(self) -> _Token:
        """The token that is due; the next one becomes due."""
        token = self.token
        self.token = self._scan(token.end)
        return token

    def accept(self, *texts: str) -> _Token | None:
        """As `advance` if one of *texts* is due, else nothing."""
        return self.advance() if self.token.text in texts else None

    def enter(self, opening: _Token) -> None:
        """One level deeper; the limit keeps hostile text from exhausting the stack."""
        self.levels += 1
        if self.levels > MAX_LEVELS:
            self.fail(f"nested too deeply; {MAX_LEVELS} levels are allowed", opening.start)

    def leave(self) -> None:
        self.levels -= 1

    def fail(self, problem: str, at: int | None = None, hint: str | None = None) -> NoReturn:
        """Complain about what stands *at*, or else about the token that is due."""
        position = self.token.start if at is None else at
        raise _complaint(problem, self.text, position + 1, hint)

    def _scan(self, position: int) -> _Token:
        if position == self.end:
            return _Token("end", "", position)
        found = _TOKEN.match(self.text, position, self.end)
        if found is None:
            self.fail(f"unexpected character {_shown(self.text[position])}", position)
        if found.lastgroup == "space":
            return self._scan(found.end())
        if found.lastgroup == "foreign":
            self._refuse(found.group(), position)
        return _Token(str(found.lastgroup), found.group(), position)

    def _refuse(self, sign: str, position: int) -> NoReturn:
        if sign == ".":
            self.fail('expected a name after "."', position + 1)
        problem, hint = _FOREIGN[sign]
        self.fail(problem, position, hint)


def _whole(s: _Scanner) -> Node:
    node = _expression(s)
    if s.token.text == ")":
        s.fail('this ")" closes nothing')
    if s.token.kind != "end":
        _refuse_rest(s)
    return node


def _expression(s: _Scanner) -> Node:
    operands = [_conjunction(s)]
    while s.accept("or"):
        operands.append(_conjunction(s))
    return operands[0] if len(operands) == 1 else Or(tuple(operands))


def _conjunction(s: _Scanner) -> Node:
    operands = [_negation(s)]
    while s.accept("and"):
        operands.append(_negation(s))
    return operands[0] if len(operands) == 1 else And(tuple(operands))


def _negation(s: _Scanner) -> Node:
    negation = s.accept("not")
    if negation is None:
        return _comparison(s)
    s.enter(negation)
    operand = _negation(s)
    s.leave()
    return Not(operand)


def _comparison(s: _Scanner) -> Node:
    left = _operand(s)
    sign = s.accept(*_OPERATORS)
    if sign is None:
        return left
    right = _operand(s)
    if s.token.text in _OPERATORS:
        s.fail("comparisons do not chain", hint="write a < b and b < c")
    return Comparison(_OPERATORS[sign.text], left, right)


def _operand(s: _Scanner) -> Node:
    if s.token.text == "(":
        return _parenthesised(s)
    if s.token.kind == "name" and s.token.text not in _KEYWORDS | _CONSTANTS.keys():
        return Reference(_path(s))
    return Constant(_literal(s))


def _parenthesised(s: _Scanner) -> Node:
    opening = s.advance()
    s.enter(opening)
    node = _expression(s)
    s.leave()
    if s.token.kind == "end":
        s.fail('this "(" is never closed', opening.start)
    if not s.accept(")"):
        _refuse_rest(s)
    return node


def _refuse_rest(s: _Scanner) -> NoReturn:
    """Say why nothing like the token that is due may follow a whole expression."""
    text = s.token.text
    if text == "(":
        s.fail("there are no functions", hint="compute in a cli step, and use its output")
    if text == "}":
        s.fail('this "}" closes nothing', hint=_WRAP_ONCE)
    if s.token.kind == "number" and text.startswith("-"):
        s.fail(_ARITHMETIC[0], hint=_ARITHMETIC[1])
    if text.lower() in _KEYWORDS - {"not"}:
        s.fail(f"unexpected {_shown(text)}", hint=f"write {text.lower()}")
    s.fail(f"unexpected {_shown(text)}", hint="expected == != < <= > >= and or")


# Paths

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*|0|[1-9][0-9]*")
_INDEX = re.compile(r"0|[1-9][0-9]*")


def _path(s: _Scanner) -> Path:
    first = s.advance()
    if first.text not in NAMES:
        _refuse_name(s, first)
    parts: list[str | int] = [first.text]
    end = first.end
    while s.token.kind == "member" or s.token.text == "[":
        if s.token.start != end:
            s.fail("a path has no white space in it", end, f"write {_shown(s.token.text)} right behind")
        part, end = _bracket(s) if s.token.text == "[" else _member(s)
        parts.append(part)
    return tuple(parts)


def _refuse_name(s: _Scanner, first: _Token) -> NoReturn:
    if s.token.text == "(":
        s.fail("there are no functions", first.start, "compute in a cli step, and use its output")
    problem = f"there is no name {_shown(first.text)}"
    nearest = _nearest(first.text.lower(), NAMES | _CONSTANTS.keys() | _KEYWORDS)
    names = ", ".join(sorted(NAMES))
    is_bare_word = s.token.kind != "member" and s.token.text != "["
    text = f"put text in quotes: {_shown(first.text)}; " if is_bare_word else ""
    s.fail(problem + nearest, first.start, f"{text}the names are {names}")


def _member(s: _Scanner) -> tuple[str, int]:
    token = s.advance()
    name = token.text[1:]
    if not _PLAIN.fullmatch(name):
        s.fail(f"{_shown(name)} is not a plain name", token.start + 1, f"write [{_shown(name)}]")
    return name, token.end


def _bracket(s: _Scanner) -> tuple[str | int, int]:
    opening = s.advance()
    part = _key(s)
    closing = s.accept("]")
    if closing is None:
        s.fail('this "[" is never closed', opening.start)
    return part, closing.end


def _key(s: _Scanner) -> str | int:
    token = s.token
    if token.kind == "text":
        return _unquoted(s)
    if token.kind == "number" and token.text.startswith("-"):
        s.fail("elements count from 0", hint="there is no counting from the end")
    if not _INDEX.fullmatch(token.text):
        s.fail("expected a number or a quoted name in [ ]", hint='such as [0] or ["odd name"]')
    return int(s.advance().text)


# Literals

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)((?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)")
_SURROGATE = re.compile("[\ud800-\udfff]")
# Each runs as far as the text is right, so its end is the closing quote or the fault.
_SOUND = {
    '"': re.compile(r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*'),
    "'": re.compile(r"'(?:[^'\\]|\\['\\])*"),
}
_ESCAPES = {'"': r"\" \\ \/ \b \f \n \r \t \u0000", "'": r"\' \\"}


def _literal(s: _Scanner) -> Any:
    token = s.token
    if token.kind == "text":
        return _unquoted(s)
    if token.kind == "number":
        return _numeric(s)
    if token.text in _CONSTANTS:
        return _CONSTANTS[s.advance().text]
    if token.text == "[":
        return [_literal(s) for _ in _elements(s, "]")]
    if token.text != "{":
        _refuse_value(s)
    return _object(s)


def _refuse_value(s: _Scanner) -> NoReturn:
    token = s.token
    if token.kind == "end":
        s.fail("expected a value, but the text ends here")
    if token.text == "not":
        s.fail("not binds more loosely than a comparison", hint="put it in parentheses: (not inputs.x)")
    if token.kind == "name" and token.text not in _KEYWORDS:
        s.fail("only literals may stand in a list or an object", hint="put text in quotes")
    s.fail(f"expected a value, not {_shown(token.text)}")


def _elements(s: _Scanner, close: str) -> Iterator[None]:
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
        s.fail(f'expected "," or "{close}", not {_shown(s.token.text)}')
    s.leave()


def _object(s: _Scanner) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for _ in _elements(s, "}"):
        key = s.token
        if key.kind != "text":
            s.fail("expected a key in quotes", hint='as in {"key": 1}')
        name = _unquoted(s)
        if name in members:
            s.fail(f"the key {_shown(name)} stands twice", key.start)
        if not s.accept(":"):
            s.fail('expected ":" after the key')
        members[name] = _literal(s)
    return members


def _numeric(s: _Scanner) -> int | float:
    token = s.advance()
    if not _NUMBER.fullmatch(token.text):
        s.fail(
            f"{_shown(token.text)} is not a number as JSON spells it", token.start, "quote it to make it text"
        )
    value = _number(token.text)
    if value is None:
        s.fail(f"{_shown(token.text)} is too large a number", token.start)
    return value


def _unquoted(s: _Scanner) -> str:
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
    text = str(json.loads(token.text)) if quote == '"' else re.sub(r"\\(.)", r"\1", token.text[1:-1])
    if _SURROGATE.search(text):
        s.fail("half a character in text", token.start, r"\ud800 to \udfff stand in pairs")
    return text


def _number(text: str) -> int | float | None:
    """The number that *text* spells exactly as JSON would, or nothing if it cannot be held."""
    found = _NUMBER.fullmatch(text)
    if found is None or len(text.removeprefix("-")) > MAX_DIGITS:
        return None
    if not found.group(1):
        return int(text)
    value = float(text)
    return None if value in (float("inf"), float("-inf")) else value


# Expression -> value


class _NoValue(Exception):
    """Why an expression has no value; only `evaluate` knows the text that it is about."""


def evaluate(expression: Expression, scope: Mapping[str, Any]) -> Any:
    """The expression's value in *scope* (first name -> plain JSON), or EvaluationError.

    A message tells names and kinds, never values: one of them could be a secret.
    """
    try:
        return _value(expression.root, scope)
    except _NoValue as reason:
        raise EvaluationError(_printable(str(reason)), expression.text) from None


def holds(expression: Expression, scope: Mapping[str, Any]) -> bool:
    """Whether the expression's value counts as true; EvaluationError if it has none."""
    return truth(evaluate(expression, scope))


def truth(value: Any) -> bool:
    """Whether *value* counts as true; a text that spells false, null or zero does not."""
    return bool(_spelled(value))


def references(expression: Expression) -> list[Path]:
    """Every path in the expression, from left to right, as often as it stands there."""
    return list(_paths(expression.root))


class Secret(str):
    """The mark that stands for the secret *name*, whose value only a driver knows.

    It is text with a NUL at both ends, which no other value that goes where secrets go may hold.
    """

    __slots__ = ()

    def __new__(cls, name: str) -> Secret:
        return super().__new__(cls, f"\0{name}\0")


def as_text(value: Any) -> str:
    """*value* as it reads inside of text: strings as they are, all else as compact JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _value(node: Node, scope: Mapping[str, Any]) -> Any:
    match node:
        case Constant(value):
            return value
        case Reference(path):
            return _follow(path, scope)
        case Comparison():
            return _compare(node, scope)
        case Not(operand):
            return not truth(_value(operand, scope))
        case And(operands):
            return not _any(operands, scope, is_true=False)
        case Or(operands):
            return _any(operands, scope, is_true=True)
        case _:
            assert_never(node)


def _any(operands: Iterable[Node], scope: Mapping[str, Any], *, is_true: bool) -> bool:
    # A plain loop: a generator would double the depth of the stack.
    for operand in operands:  # noqa: SIM110
        if truth(_value(operand, scope)) is is_true:
            return True
    return False


def _paths(node: Node) -> Iterator[Path]:
    match node:
        case Constant():
            return
        case Reference(path):
            yield path
        case Comparison(_, left, right):
            yield from _paths(left)
            yield from _paths(right)
        case Not(operand):
            yield from _paths(operand)
        case And(operands) | Or(operands):
            for operand in operands:
                yield from _paths(operand)
        case _:
            assert_never(node)


# Comparing


def _compare(node: Comparison, scope: Mapping[str, Any]) -> bool:
    match node.operator:
        case "==":
            return _are_equal(node, scope)
        case "!=":
            return not _are_equal(node, scope)
        case "<":
            return _order(node, scope) < 0
        case "<=":
            return _order(node, scope) <= 0
        case ">":
            return _order(node, scope) > 0
        case ">=":
            return _order(node, scope) >= 0
        case _:
            assert_never(node.operator)


def _are_equal(node: Comparison, scope: Mapping[str, Any]) -> bool:
    left = _value_against(node.right, node.left, scope)
    right = _value_against(node.left, node.right, scope)
    if isinstance(left, str) and isinstance(right, str):
        return left == right
    return _are_same(_spelled(left), _spelled(right))


def _value_against(other: Node, node: Node, scope: Mapping[str, Any]) -> Any:
    """The value of *node*; null for a path that leads nowhere, where *other* is the literal null."""
    match node, other:
        case Reference(path), Constant(None):
            try:
                return _follow(path, scope)
            except _NoValue:
                return None
        case _:
            return _value(node, scope)


def _are_same(left: Any, right: Any) -> bool:
    """JSON's equality. With a list of what is left to compare, so that no depth is too deep."""
    pending = [(left, right)]
    while pending:
        one, other = pending.pop()
        match one, other:
            case dict(), dict():
                if one.keys() != other.keys():
                    return False
                pending.extend((one[key], other[key]) for key in one)
            case list(), list():
                if len(one) != len(other):
                    return False
                pending.extend(zip(one, other, strict=True))
            case _:
                # To Python true is 1, which to JSON it is not.
                if isinstance(one, bool) is not isinstance(other, bool) or one != other:
                    return False
    return True


def _order(node: Comparison, scope: Mapping[str, Any]) -> int:
    """Below zero, zero or above: how the left side stands to the right one."""
    left, right = _value(node.left, scope), _value(node.right, scope)
    if isinstance(left, str) and isinstance(right, str):
        return (left > right) - (left < right)
    one, other = _spelled(left), _spelled(right)
    if _kind(one) == _kind(other) == "a number":
        return int(one > other) - int(one < other)
    raise _NoValue(
        f"{node.operator} orders two numbers or two texts, but "
        f"{_described(node.left, left)} and {_described(node.right, right)}"
    )


def _spelled(value: Any) -> Any:
    """The null, boolean or number that *value* spells, if it is a text that does; else *value*."""
    if not isinstance(value, str):
        return value
    if value in _CONSTANTS:
        return _CONSTANTS[value]
    number = _number(value)
    return value if number is None else number


# Following a path


def _follow(path: Path, scope: Mapping[str, Any]) -> Any:
    if path[0] not in scope:
        raise _NoValue(f"there is no {path[0]} here; there is: {', '.join(sorted(scope)) or 'nothing'}")
    value = scope[str(path[0])]
    for length, part in enumerate(path[1:], start=1):
        match value:
            case dict() if part in value:
                value = value[part]
            case list() if (index := _index(part)) is not None and index < len(value):
                value = value[index]
            case _:
                raise _NoValue(_why_not(_route(path[:length]), value, part))
    return value


def _index(part: str | int) -> int | None:
    if isinstance(part, str):
        return int(part) if _INDEX.fullmatch(part) else None
    return part


def _why_not(place: str, value: Any, part: str | int) -> str:
    """The reason why *value*, which stands at *place*, has no *part*."""
    match value:
        case dict():
            return _why_no_key(place, value, part)
        case list() if _index(part) is not None:
            size = f"{len(value)} element{'' if len(value) == 1 else 's'}"
            return f"{place} has {size}, so [{_index(part)}] is beyond its end"
        case list():
            return f"{place} is a list, so it has no {_shown(part)}; its elements are [0], [1] and so on"
        case _:
            return f"{place} is {_kind(value)}, so it has no {_shown(part)}"


def _why_no_key(place: str, value: dict[str, Any], part: str | int) -> str:
    if isinstance(part, int):
        return f'{place} is an object, so it has no [{part}]; a key would be .{part} or ["{part}"]'
    if not value:
        return f"{place} has no {_shown(part)}; it is empty"
    names = [name if _PLAIN.fullmatch(name) else _shown(name) for name in sorted(value)[:10]]
    more = f" and {len(value) - 10} more" if len(value) > 10 else ""
    listed = ", ".join(map(_clipped, names))
    return f"{place} has no {_shown(part)}; it has: {listed}{more}{_nearest(part, value)}"


# Words for messages


def _complaint(problem: str, text: str, column: int, hint: str | None) -> ExpressionError:
    return ExpressionError(_printable(problem), _printable(text), column, hint and _printable(hint))


_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def _printable(text: str) -> str:
    """*text* on one line that can be encoded, as long as before: columns stay true."""
    return _UNPRINTABLE.sub(" ", text)


def _clipped(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"


def _shown(part: str | int) -> str:
    """A part of a path or a piece of source, as a message quotes it."""
    if isinstance(part, int):
        return f"[{part}]"
    return _clipped(part) if part[:1] in ('"', "'") else f'"{_clipped(part)}"'


def _route(path: Path) -> str:
    """*path* as one would write it."""
    text = "".join(
        f"[{part}]"
        if isinstance(part, int)
        else f".{part}"
        if _PLAIN.fullmatch(part)
        else f"[{as_text([part])[1:-1]}]"
        for part in path
    )
    return _clipped(text.removeprefix("."))


def _described(node: Node, value: Any) -> str:
    """*value* by its place in the source and its kind."""
    match node:
        case Reference(path):
            return f"{_route(path)} is {_kind(value)}"
        case Constant(value):
            return f"the literal is {_kind(value)}"
        case _:
            return f"the part in parentheses is {_kind(value)}"


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"


def _nearest(word: str, words: Iterable[str]) -> str:
    """` (did you mean …?)`, or nothing if no word is near."""
    from difflib import get_close_matches  # costs more to import than all of this file

    # Likeness takes quadratic time, so neither long words nor thousands of them are looked at.
    short = [candidate for candidate in islice(sorted(words), 1000) if len(candidate) <= 64]
    found = get_close_matches(word[:64], short, n=1)
    return f" (did you mean {found[0]}?)" if found else ""
