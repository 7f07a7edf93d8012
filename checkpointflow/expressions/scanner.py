"""Text -> tokens: the words and signs of an expression, one ahead of who reads them."""

from __future__ import annotations

import re
from typing import NoReturn

from msgspec import Struct

from checkpointflow.diagnostics import shorten
from checkpointflow.expressions.wording import complain, quote
from checkpointflow.patterns import compile_late

MAX_CHARACTERS = 4096
MAX_LEVELS = 50

_TOKEN = compile_late(
    r"""(?P<space>   [ \t\r\n]+ )
      | (?P<name>    [^\W\d][\w-]* )
      | (?P<member>  \.[\w-]+ )
      | (?P<number>  -?[0-9](?:[eE][+-]|[\w.])* )
      | (?P<text>    "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' )
      | (?P<sign>    ==(?!=) | !=(?!=) | <= | >= | <(?!>) | > | [()\[\]{},:*/+-] )
      | (?P<foreign> === | !== | <> | =[<>~]? | &&? | \|\|? | ! | \$\{ | [%^?."'“”‘’] )
    """,
    re.VERBOSE | re.DOTALL,
)

_NO_OPERATOR = ("the arithmetic is + - * /", "compute in a cli step, and use its output")
WRAP_ONCE = 'wrap the whole condition once: ${inputs.a == "b"}'
_OTHER_QUOTES = ("typographic quotes do not enclose text", "use \" or '")

# What other languages write. Where the hint says it all, the problem is the sign itself.
_FOREIGN = {
    "=": ('"=" does not compare', "use =="),
    "===": ('there is no "==="', "use =="),
    "!==": ('there is no "!=="', "use !="),
    "<>": ('there is no "<>"', "use !="),
    "=<": ('there is no "=<"', "use <="),
    "=>": ('there is no "=>"', "use >="),
    "=~": ('there is no "=~"', "use matches(…, '^v[0-9]+$')"),
    "&": ('there is no "&"', "write and"),
    "&&": ('there is no "&&"', "write and"),
    "|": ("there are no filters", "write or, should that be meant, or a function, as in upper(item)"),
    "||": ('there is no "||"', "write or"),
    "!": ('there is no "!"', "write not"),
    "?": ('there is no "?"', "a switch step decides between values"),
    "${": ('"${" inside of an expression', WRAP_ONCE),
    '"': ("the text that begins here does not end", 'close it with "'),
    "'": ("the text that begins here does not end", "close it with '"),
    **dict.fromkeys("%^", _NO_OPERATOR),
    **dict.fromkeys("“”‘’", _OTHER_QUOTES),
}


class Token(Struct, frozen=True):
    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


class Scanner:
    """Tokens of *text* between *start* and *end*, one ahead, and the count of open levels."""

    def __init__(self, text: str, start: int, end: int) -> None:
        if len(text) > MAX_CHARACTERS:
            problem = f"{len(text)} characters are too many for an expression; {MAX_CHARACTERS} are allowed"
            raise complain(problem, shorten(text), 1, "compute in a cli step, and use its output")
        self.text, self.end, self.levels = text, end, 0
        self.token = self._scan(start)

    def advance(self) -> Token:
        """The token that is due; the next one becomes due."""
        token = self.token
        self.token = self._scan(token.end)
        return token

    def accept(self, *texts: str) -> Token | None:
        """As `advance` if one of *texts* is due, else nothing."""
        return self.advance() if self.token.text in texts else None

    def accept_operator(self) -> Token | None:
        """As `accept` of `+ - * /`: behind an operand, the sign of a number is the operator."""
        if self.token.kind == "number" and self.token.text.startswith("-"):
            self.token = Token("sign", "-", self.token.start)
        return self.accept("+", "-", "*", "/")

    def enter(self, opening: Token) -> None:
        """One level deeper; the limit keeps hostile text from exhausting the stack."""
        self.levels += 1
        if self.levels > MAX_LEVELS:
            self.fail(f"nested too deeply; {MAX_LEVELS} levels are allowed", opening.start)

    def leave(self) -> None:
        self.levels -= 1

    def fail(self, problem: str, at: int | None = None, hint: str | None = None) -> NoReturn:
        """Complain about what stands *at*, or else about the token that is due."""
        position = self.token.start if at is None else at
        raise complain(problem, self.text, position + 1, hint)

    def _scan(self, position: int) -> Token:
        if position == self.end:
            return Token("end", "", position)
        found = _TOKEN.match(self.text, position, self.end)
        if found is None:
            self.fail(f"unexpected character {quote(self.text[position])}", position)
        if found.lastgroup == "space":
            return self._scan(found.end())
        if found.lastgroup == "foreign":
            self._refuse(found.group(), position)
        return Token(str(found.lastgroup), found.group(), position)

    def _refuse(self, sign: str, position: int) -> NoReturn:
        if sign == ".":
            self.fail('expected a name after "."', position + 1)
        problem, hint = _FOREIGN[sign]
        self.fail(problem, position, hint)
