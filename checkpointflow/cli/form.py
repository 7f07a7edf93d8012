"""A form from a JSON Schema: a question for each field, each answer checked as it is given.

What no line can hold (lists, fields within fields, a schema that is no plain list of fields) is written in an
editor, as JSON, from a skeleton with comments. What is given in the end fits the schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from checkpointflow.cli.screen import Line, Span, make_visible
from checkpointflow.cli.view import describe_kind
from checkpointflow.json_text import read_json
from checkpointflow.schemas.instance_errors import InstanceError
from checkpointflow.schemas.validation import Schema
from checkpointflow.schemas.wording import write_path

EDITOR = "!"
"""What is typed to write a text in the editor instead of on a line."""

COMMENT = "//"
ANSWER = "answer"
"""What an answer without fields is called."""

_ABSENT: Any = object()


class Dialogue(Protocol):
    """Somebody who can be asked. Raises KeyboardInterrupt or EOFError when they want no more of it."""

    def ask(self, question: Line) -> str:
        """A line, without blanks around it."""

    def tell(self, *lines: Line) -> None:
        """Show them."""

    def edit(self, text: str) -> str | None:
        """*text* as it was left in an editor; None if it was not saved."""


def fill_in(schema: dict[str, Any], dialogue: Dialogue) -> Any:
    """A value that fits *schema*, from whoever answers."""
    fields = schema.get("properties")
    if schema.get("type") == "string" or _fits_a_line(schema):
        return _ask_field({**schema, "required": [ANSWER]}, ANSWER, schema, dialogue)
    if not isinstance(fields, dict) or not fields or schema.get("type", "object") != "object":
        return {} if not Schema(schema).errors({}) else _edit(schema, make_skeleton(schema), dialogue)
    given: dict[str, Any] = {}
    asked: set[str] = set()
    while True:
        for name, field in fields.items():
            if name not in asked:
                value = _ask_field(schema, name, field if isinstance(field, dict) else {}, dialogue)
                if value is not _ABSENT:
                    given[name] = value
                asked.add(name)
        errors = Schema(schema).errors(given)
        if not errors:
            return given
        dialogue.tell(*_list_errors(errors))
        wrong = {name for name in asked if any(_is_about(error, name) for error in errors)}
        if not wrong:  # the fields are right, and something beyond them is not
            return _edit(schema, json.dumps(given, indent=2, ensure_ascii=False), dialogue)
        asked -= wrong
        given = {name: value for name, value in given.items() if name not in wrong}


def make_skeleton(schema: Any) -> str:
    """JSON to start from: a value of the type, with the fields and defaults of *schema*, each with a comment.

    Where those say nothing, the schema itself stands above it.
    """
    about = ["The answer, as JSON. Lines that begin with // do not count; without others nothing is sent."]
    if not (isinstance(schema, dict) and isinstance(schema.get("properties"), dict)):
        about += [
            "It must fit this JSON Schema:",
            *json.dumps(schema, indent=2, ensure_ascii=False).split("\n"),
        ]
    comments = (f"{COMMENT} {make_visible(line)}" for line in about)
    return "\n".join([*comments, *_write_lines(schema, _stand_in(schema, 0))]) + "\n"


def _write_lines(schema: Any, value: Any) -> Iterator[str]:
    """The lines of *value*, which stands in for one that fits *schema*."""
    fields = schema.get("properties") if isinstance(schema, dict) else None
    if not (isinstance(fields, dict) and isinstance(value, dict) and value):
        yield from json.dumps(value, indent=2, ensure_ascii=False).split("\n")
        return
    yield "{"
    for name, of_it in value.items():
        field = fields[name] if isinstance(fields.get(name), dict) else {}
        yield f"  {COMMENT} {make_visible(_describe(name, field, schema))}"
        first, *more = _write_lines(field, of_it)
        lines = [f"{json.dumps(name, ensure_ascii=False)}: {first}", *more]
        lines[-1] += "," if name != list(value)[-1] else ""
        yield from (f"  {line}" for line in lines)
    yield "}"


def _describe(name: str, field: dict[str, Any], schema: dict[str, Any]) -> str:
    kind = describe_kind(field)
    if isinstance(field.get("items"), dict):
        kind += f", each such as {json.dumps(_stand_in(field['items'], 0), ensure_ascii=False)}"
    kind += "" if name in schema.get("required", ()) else ", optional"
    about = field.get("description")
    return f"{kind}: {' '.join(about.split())}" if isinstance(about, str) else kind


def _leave_comments_out(text: str) -> str:
    """*text*, and blank lines where comments stand, so that others keep their numbers."""
    return "\n".join("" if line.lstrip().startswith(COMMENT) else line for line in text.split("\n"))


def _ask_field(schema: dict[str, Any], name: str, field: dict[str, Any], dialogue: Dialogue) -> Any:
    """The value of one field, or nothing for one that is left out."""
    if "const" in field:
        return field["const"]
    is_needed = name in schema.get("required", ())
    # References lead to the definitions of the whole.
    check = Schema(
        {**{key: schema[key] for key in ("$schema", "$defs", "definitions") if key in schema}, **field}
    )
    question = tuple(_put_question(name, field, is_needed=is_needed))
    while True:
        text = dialogue.ask(question)
        if not text:
            if "default" in field:
                return field["default"]
            if not is_needed:
                return _ABSENT
            dialogue.tell((Span(f"  {name} is needed", "bad"),))
            continue
        try:
            value = _read(text, field, dialogue)
        except ValueError as error:
            dialogue.tell((Span(f"  {error}", "bad"),))
            continue
        errors = check.errors(value)
        if not errors:
            return value
        dialogue.tell(*_list_errors(errors, name))


def _put_question(name: str, field: dict[str, Any], *, is_needed: bool) -> Iterator[Span | str]:
    yield Span(name, "strong")
    choices = field.get("enum")
    if isinstance(choices, list):
        yield " (" + ", ".join(f"{n} {_write(choice)}" for n, choice in enumerate(choices, 1)) + ")"
    else:
        kind = "y/n" if field.get("type") == "boolean" else describe_kind(field)
        yield f" ({kind}{'' if _fits_a_line(field) else ', ! for the editor'})"
    if isinstance(field.get("description"), str):
        yield Span(f" {field['description']}", "faint")
    if "default" in field:
        yield f" [{_write(field['default'])}]"
    elif not is_needed:
        yield Span(" (Enter: none)", "faint")
    yield ": "


def _fits_a_line(field: dict[str, Any]) -> bool:
    return field.get("type") in ("integer", "number", "boolean") or "enum" in field


def _read(text: str, field: dict[str, Any], dialogue: Dialogue) -> Any:
    """What *text* means as a value of *field*. Raises ValueError with what was expected."""
    choices = field.get("enum")
    if isinstance(choices, list):
        return _choose(text, choices)
    kind = field.get("type")
    if kind == "boolean":
        return _read_boolean(text)
    if text == EDITOR:
        start = "" if kind == "string" else make_skeleton(field)
        written = dialogue.edit(start)
        if written is None or not written.strip():
            raise ValueError("nothing was written")
        text = written.rstrip("\n") if kind == "string" else _leave_comments_out(written)
    if kind == "string" or (kind is None and not _is_json(text)):
        return text
    try:
        return read_json(text.encode())
    except ValueError:
        expected = {"integer": "a whole number", "number": "a number"}.get(
            str(kind), "JSON, or ! for the editor"
        )
        raise ValueError(f"expected {expected}") from None


def _choose(text: str, choices: list[Any]) -> Any:
    """One of *choices*: by its number, or by how it begins."""
    same = [choice for choice in choices if _write(choice) == text]
    alike = [choice for choice in choices if _write(choice).lower().startswith(text.lower())]
    if same or len(alike) == 1:
        return (same or alike)[0]
    if text.isdecimal() and 0 < int(text) <= len(choices):
        return choices[int(text) - 1]
    raise ValueError(f"choose one of {', '.join(map(_write, choices))}, or its number")


def _read_boolean(text: str) -> bool:
    if text.lower() in ("y", "yes", "true"):
        return True
    if text.lower() in ("n", "no", "false"):
        return False
    raise ValueError("answer y or n")


def _edit(schema: Any, text: str, dialogue: Dialogue) -> Any:
    """The JSON that was written in the editor, again and again until it fits."""
    check = Schema(schema)
    while True:
        written = dialogue.edit(text)
        if written is None:
            raise KeyboardInterrupt
        text, json_text = written, _leave_comments_out(written)
        if not json_text.strip():
            raise KeyboardInterrupt
        try:
            value = read_json(json_text.encode())
        except ValueError as error:
            dialogue.tell((Span(f"  this is not JSON: {error}", "bad"),))
        else:
            errors = check.errors(value)
            if not errors:
                return value
            dialogue.tell(*_list_errors(errors))
        if dialogue.ask(("Edit it again? (Y/n) ",)).lower() in ("n", "no"):
            raise KeyboardInterrupt


def _is_about(error: InstanceError, name: str) -> bool:
    return (error.path + ".").startswith((write_path((name,)) + ".", write_path((name,)) + "["))


def _list_errors(errors: Iterable[InstanceError], name: str | None = None) -> Iterator[Line]:
    """A line each; *name*: the field that they are about, which they call `$`."""
    for error in errors:
        text = error.message if name is None else error.message.replace("$", name, 1)
        yield (Span(f"  {text}", "bad"),)


def _stand_in(schema: Any, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > 8:
        return None
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    fields = schema.get("properties")
    if kind == "object" or (kind is None and isinstance(fields, dict)):
        return {name: _stand_in(field, depth + 1) for name, field in (fields or {}).items()}
    return {"array": [], "string": "", "integer": 0, "number": 0, "boolean": False}.get(str(kind))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _write(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
