"""The words for what does not fit: one function for each keyword.

Each is given what the keyword stands in (the user's own schema, or what of it a rule goes by) and the value,
and answers with what to say of it, without the place, such as `must be a string, and is 3`. Most keywords say
one thing; `required` says one for each name that is absent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from checkpointflow.diagnostics import Path, find_nearest, join_words, suggest, tell_odd

Words = Callable[[Any, Any], list[str]]


def abbreviate(value: Any, most: int = 60) -> str:
    """*value* as JSON on one line of bounded length that every terminal can print."""
    if isinstance(value, list | dict | str) and len(value) > most:
        value = _cut(value, most)
    from json import dumps

    text = dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= most else text[: most - 1] + "…"


def _cut(value: Any, most: int) -> Any:
    if isinstance(value, dict):
        return dict(list(value.items())[:most])
    return value[:most]


def write_path(path: Path) -> str:
    """*path* from the root of a schema or an instance: `$.items[3]["a b"]`."""
    return "$" + "".join(map(write_part, path))


def write_part(part: str | int) -> str:
    """One key or index of a path: `.name`, `["a b"]`, `[3]`."""
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if re.fullmatch(r"[A-Za-z_$][\w$-]*", part, re.ASCII) else f"[{abbreviate(part)}]"


def add_hint(word: str, words: Iterable[str]) -> str:
    """In brackets, which of *words* was meant, if one is near; otherwise nothing."""
    hint = suggest(word, words)
    return f" ({hint})" if hint else ""


# one function for each keyword


def _word_type(schema: Any, value: Any) -> list[str]:
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return [f"must be {join_words([_name_type(name) for name in types])}, and is {abbreviate(value)}"]


def _name_type(name: str) -> str:
    """The name of a type, with its article."""
    return {
        "array": "a list",
        "boolean": "true or false",
        "integer": "a whole number",
        "null": "null",
        "object": "an object",
    }.get(name, f"a {name}")


def _word_enum(schema: Any, value: Any) -> list[str]:
    known = schema["enum"]
    if not known:
        return ["is not allowed: its `enum` is empty"]
    words = ", ".join(map(abbreviate, known[:20])) + (", …" if len(known) > 20 else "")
    texts = [text for text in known if isinstance(text, str)]
    hint = add_hint(value, texts) if isinstance(value, str) else ""
    one_of = "one of " if len(known) > 1 else ""
    return [f"must be {one_of}{words}, and is {abbreviate(value)}{hint}"]


def _word_const(schema: Any, value: Any) -> list[str]:
    return [f"must be {abbreviate(schema['const'])}, and is {abbreviate(value)}"]


def _word_unique_items(_: Any, value: Any) -> list[str]:
    from json import dumps

    spelt = [dumps(item, sort_keys=True) for item in value]
    last = {text: index for index, text in enumerate(spelt)}
    item = next(item for index, item in enumerate(value) if last[spelt[index]] != index)
    return [f"must have no item twice, and has {abbreviate(item)} more than once"]


def _word_required(schema: Any, value: Any) -> list[str]:
    missing = (name for name in schema["required"] if name not in value)
    return [f"lacks {abbreviate(name)}{_tell_alike(name, value)}" for name in missing]


def _tell_alike(name: str, there: Iterable[str]) -> str:
    """Which of those that are *there* only looks like *name*, if one does."""
    near = find_nearest(name, there)
    odd = tell_odd(near, name) if near else ""
    return f", and has {abbreviate(near)}.{odd}" if odd else ""


def _word_dependent_required(schema: Any, value: Any) -> list[str]:
    return [
        f"lacks {abbreviate(name)}, which {abbreviate(other)} asks for"
        for other, names in schema.items()
        for name in names
        if name not in value
    ]


def _word_unknown_fields(known: Any, value: Any) -> list[str]:
    names, patterns = known["properties"], [re.compile(regex) for regex in known["patternProperties"]]
    return [
        f"has the unknown field {abbreviate(name)}{add_hint(name, names)}"
        for name in value
        if name not in names and not any(pattern.search(name) for pattern in patterns)
    ]


def _word_pattern(schema: Any, value: Any) -> list[str]:
    return [f"must match the pattern {_spell_pattern(schema['pattern'])}, and is {abbreviate(value)}"]


def _spell_pattern(pattern: str) -> str:
    """*pattern* as its author wrote it, if that can be printed."""
    if not pattern.isprintable() or not pattern:
        return abbreviate(pattern)
    return pattern if len(pattern) <= 60 else pattern[:59] + "…"


def _word_false(keyword: Any, _: Any) -> list[str]:
    many = keyword in ("items", "unevaluatedItems")
    return ["is one item too many" if many else "is not allowed"]


def _word_unevaluated(keyword: Any, _: Any) -> list[str]:
    what = "a field" if keyword == "unevaluatedProperties" else "an item"
    return [f"has {what} that no branch that holds knows, and `{keyword}` refuses it"]


def _make_bound(keyword: str, words: str) -> Words:
    return lambda schema, value: [
        f"must be {words} {abbreviate(schema[keyword])}, and is {abbreviate(value)}"
    ]


def _make_size(keyword: str, words: str, unit: str) -> Words:
    def word(schema: Any, value: Any) -> list[str]:
        limit = schema[keyword]
        return [f"must have at {words} {limit} {unit}{'' if limit == 1 else 's'}, and has {len(value)}"]

    return word


_BOUNDS = {
    "exclusiveMaximum": "below",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "minimum": "at least",
    "multipleOf": "a multiple of",
}
_UNITS = {"Items": "item", "Length": "character", "Properties": "field"}


WORDS: dict[str, Words] = {
    "additionalProperties": _word_unknown_fields,
    "const": _word_const,
    "contains": lambda *_: ["must have an item that fits its `contains`"],
    "dependentRequired": _word_dependent_required,
    "enum": _word_enum,
    "false": _word_false,
    "maxContains": lambda _, value: [f"must not fit `contains`, and is {abbreviate(value)}"],
    "not": lambda _, value: [f"must not fit its `not`, and is {abbreviate(value)}"],
    "pattern": _word_pattern,
    "required": _word_required,
    "type": _word_type,
    "unevaluated": _word_unevaluated,
    "unevaluatedProperties": _word_unknown_fields,
    "uniqueItems": _word_unique_items,
    **{keyword: _make_bound(keyword, words) for keyword, words in _BOUNDS.items()},
    **{f"max{of}": _make_size(f"max{of}", "most", unit) for of, unit in _UNITS.items()},
    **{f"min{of}": _make_size(f"min{of}", "least", unit) for of, unit in _UNITS.items()},
}
"""What is not here (`anyOf`, `oneOf`, `propertyNames`) is explained by its branches (`validator`)."""
