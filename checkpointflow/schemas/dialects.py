"""Dialects: a schema of draft-04, -06, -07 or 2019-09, in the words of 2020-12.

`$schema` says what a schema is written in; without it, that is 2020-12. What follows in this room sees
2020-12 alone, and each part of the translation knows where it stands in what the author wrote.

| written                                     | until    | in 2020-12                                   |
| ------------------------------------------- | -------- | -------------------------------------------- |
| `id`                                        | draft-04 | `$id`                                        |
| `exclusiveMinimum: true` beside a `minimum` | draft-04 | `exclusiveMinimum`, with its number          |
| a name in `$id`: `#x`                       | draft-07 | `$anchor: x` (a JSON pointer names nothing)  |
| `dependencies`                              | draft-07 | `dependentRequired` and `dependentSchemas`   |
| a list in `items`, `additionalItems`        | 2019-09  | `prefixItems`, `items`                       |
| `$recursiveRef: "#"`                        | 2019-09  | `$dynamicRef`, where there is no choice      |
| `nullable: true` (OpenAPI)                  | always   | `null`, too, in the `type` beside it         |

Up to draft-07, what stands beside `$ref` is not read, and `additionalItems` is not without a list in `items`:
that is dropped, and told as a warning if it would refuse something. A keyword that came later is refused,
since its draft would ignore it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from checkpointflow.diagnostics import Diagnostic, Path
from checkpointflow.errors import InvalidSchema, UnsupportedSchema
from checkpointflow.schemas.keywords import (
    ANNOTATIONS,
    DIALECT,
    DRAFTS,
    HOLD_LIST,
    HOLD_NAMED,
    HOLD_ONE,
    diagnose,
    is_type,
    read_draft,
)

_SINCE = {
    keyword: draft
    for draft, keywords in {
        "draft-06": "$id const contains propertyNames",
        "draft-07": "else if then",
        "2019-09": "$anchor dependentRequired dependentSchemas maxContains minContains unevaluatedItems "
        "unevaluatedProperties",
        "2020-12": "$dynamicAnchor $dynamicRef prefixItems",
    }.items()
    for keyword in keywords.split()
}
_BEFORE = {
    "$anchor": '`$id: "#…"`',
    "$id": "`id`",
    "const": "`enum`",
    "dependentRequired": "`dependencies`",
    "dependentSchemas": "`dependencies`",
    "prefixItems": "a list in `items`",
}
"""What a draft without the keyword has instead."""

_READ_BESIDE_REF = {"$defs", "$ref", "$schema", "definitions"}
_SILENT = _READ_BESIDE_REF | set(ANNOTATIONS) | {"$id", "id"}
"""What nobody misses where it is dropped."""


class Translation(NamedTuple):
    """A schema in 2020-12, where each part of it comes from, and what is wrong or doubtful in the original.

    origins: from a path here to that in the original, for each that has another name there; targets: back.
    """

    schema: Any
    original: Any
    origins: dict[Path, Path]
    targets: dict[Path, Path]
    problems: list[Diagnostic]
    warnings: list[Diagnostic]

    def find_origin(self, path: Path) -> Path:
        """Where in the original the value at *path* of the translation stands."""
        return _move(path, self.origins)

    def find_target(self, path: Path) -> Path:
        """Where in the translation the schema at *path* of the original stands."""
        return _move(path, self.targets)

    def bring_home(self, problem: Diagnostic) -> Diagnostic:
        """*problem* of the translation as one of the original, in the author's words."""
        from msgspec.structs import replace

        name = self._name(problem.path, problem.id)
        message = problem.message.replace(f"`{problem.id}`", f"`{name}`", 1)
        return replace(problem, path=self.find_origin(problem.path), message=message, id=name)

    def _name(self, path: Path, keyword: str | None) -> str | None:
        """The author's name of *keyword*, which the value at *path* belongs to."""
        lengths = (n for n in range(len(path), 0, -1) if path[n - 1] == keyword)
        return next((str(self.find_origin(path[:n])[-1]) for n in lengths), keyword)


def _move(path: Path, moved: dict[Path, Path]) -> Path:
    for length in range(len(path), 0, -1):
        if path[:length] in moved:
            return moved[path[:length]] + path[length:]
    return path


def translate(schema: Any) -> Translation:
    """*schema*, plain JSON, in 2020-12; parts that need no other words are shared with it."""
    said = schema.get("$schema") if isinstance(schema, dict) else None
    translator = _Translator(read_draft(said) if isinstance(said, str) else None)
    translated = translator.translate(schema, (), ())
    translator.refuse_what_depends()
    targets = {old: new for new, old in translator.origins.items()}
    return Translation(
        translated, schema, translator.origins, targets, translator.problems, translator.warnings
    )


class _Translator:
    def __init__(self, draft: str | None) -> None:
        self._draft = draft or DRAFTS[-1]
        self.origins: dict[Path, Path] = {}
        self.problems: list[Diagnostic] = []
        self.warnings: list[Diagnostic] = []
        self._found: dict[str, list[Path]] = {}
        self._has_choice = False  # of resources that a `$recursiveRef` can lead to

    def _is_before(self, draft: str) -> bool:
        return DRAFTS.index(self._draft) < DRAFTS.index(draft)

    def translate(self, schema: Any, new: Path, old: Path) -> Any:
        """The schema at *old*, which comes to stand at *new*."""
        if not isinstance(schema, dict):
            return schema
        if self._draft == DRAFTS[-1] and "nullable" not in schema and "$schema" not in schema:
            return {
                keyword: self._translate_inner(keyword, value, (*new, keyword), (*old, keyword))
                for keyword, value in schema.items()
            }  # quicker, as nothing has another name
        result: dict[str, Any] = {}
        for keyword, value in self._leave_out(schema, old).items():
            for name, said in self._rename(schema, keyword, value, old):
                if name != keyword:
                    self.origins[(*new, name)] = (*old, keyword)
                result[name] = self._translate_inner(name, said, (*new, name), (*old, keyword))
        return result

    def _translate_inner(self, keyword: str, value: Any, new: Path, old: Path) -> Any:
        if keyword in HOLD_ONE:
            return self.translate(value, new, old)
        if keyword in HOLD_LIST and isinstance(value, list):
            return [self.translate(inner, (*new, n), (*old, n)) for n, inner in enumerate(value)]
        if keyword in HOLD_NAMED and isinstance(value, dict):
            return {name: self.translate(inner, (*new, name), (*old, name)) for name, inner in value.items()}
        return value

    # what is not read

    def _leave_out(self, schema: dict[str, Any], path: Path) -> dict[str, Any]:
        """What of *schema* its draft reads."""
        if "$ref" in schema and self._is_before("2019-09"):
            why = f"{self._draft} reads nothing beside `$ref`"
            hint = "move the `$ref` into an `allOf`, or leave this out"
            return self._drop(schema, path, schema.keys() - _READ_BESIDE_REF - ANNOTATIONS.keys(), why, hint)
        if self._is_before("2020-12") and not isinstance(schema.get("items"), list):
            why = "`additionalItems` is for what comes after a list of schemas in `items`"
            return self._drop(schema, path, {"additionalItems"}, why, "leave it out")
        return schema

    def _drop(
        self, schema: dict[str, Any], path: Path, unread: Collection[str], why: str, hint: str
    ) -> dict[str, Any]:
        for keyword in schema:
            if keyword in unread and keyword not in _SILENT and not keyword.startswith("x-"):
                self._warn((*path, keyword), f"`{keyword:.60}` does nothing here: {why}", hint)
        return {keyword: value for keyword, value in schema.items() if keyword not in unread}

    def _warn(self, path: Path, message: str, hint: str) -> None:
        self.warnings.append(Diagnostic(message, path, hint, id=str(path[-1]), at_name=True))

    def _refuse(self, path: Path, problem: str, kind: Any = UnsupportedSchema) -> None:
        from msgspec.structs import replace

        self.problems.append(replace(diagnose(path[-1:], kind(problem=problem)), path=path))

    # what has another name

    def _rename(
        self, schema: dict[str, Any], keyword: str, value: Any, path: Path
    ) -> Iterator[tuple[str, Any]]:
        """*keyword* of *schema*, in 2020-12: as one keyword, as several, or as none."""
        self._found.setdefault(keyword, []).append((*path, keyword))
        if self._is_before(_SINCE.get(keyword, DRAFTS[0])):
            has = f"it has {_BEFORE[keyword]}" if keyword in _BEFORE else f"{_SINCE[keyword]} has it"
            self._refuse((*path, keyword), f"{self._draft} has no `{keyword}`; {has}")
            return
        match keyword:
            case "$schema":
                yield from self._rename_schema(value, path)
            case "type":
                yield keyword, self._add_null(schema, value)
            case "nullable" if value is True:
                self._look_at_nullable(schema, path)
                yield keyword, value
            case "$id" | "id" if self._is_before("2019-09") and isinstance(value, str):
                yield from self._rename_id(keyword, value)
            case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" if self._draft == "draft-04":
                yield from self._rename_bound(schema, keyword, value, path)
            case "dependencies" if self._is_before("2019-09"):
                yield from self._split_dependencies(value)
            case "items" if isinstance(value, list) and self._is_before("2020-12"):
                yield from [("prefixItems", value)] if value else []
            case "additionalItems" if self._is_before("2020-12"):
                yield "items", value
            case "$recursiveRef" if self._draft == "2019-09":
                if value != "#":
                    self._refuse((*path, keyword), f"`{keyword}` must be #", InvalidSchema)
                yield "$dynamicRef", "#"
            case "$recursiveAnchor" if self._draft == "2019-09":
                if not isinstance(value, bool):
                    self._refuse((*path, keyword), f"`{keyword}` must be true or false", InvalidSchema)
                self._has_choice |= value is True
            case _:
                yield keyword, value

    def _rename_schema(self, uri: Any, path: Path) -> Iterator[tuple[str, Any]]:
        draft = read_draft(uri) if isinstance(uri, str) else None
        if path and draft and draft != self._draft:
            self._refuse(
                (*path, "$schema"), f"a part in {draft} of a schema in {self._draft} is not supported"
            )
        else:
            yield "$schema", DIALECT if draft else uri

    def _add_null(self, schema: dict[str, Any], value: Any) -> Any:
        if schema.get("nullable") is not True or not is_type(value):
            return value
        several = value if isinstance(value, list) else [value]
        return several if "null" in several else [*several, "null"]

    def _look_at_nullable(self, schema: dict[str, Any], path: Path) -> None:
        """`nullable` widens a `type`, and nothing else."""
        if "type" not in schema:
            problem = "`nullable` does nothing here: it adds null to a `type` beside it"
            self._warn((*path, "nullable"), problem, "have `type: null` among the branches of an `anyOf`")
        elif isinstance(schema.get("enum"), list) and None not in schema["enum"]:
            problem = "`nullable` does nothing here: the `enum` beside it has no null"
            self._warn((*path, "nullable"), problem, "add null to the `enum`")

    def _rename_id(self, keyword: str, value: str) -> Iterator[tuple[str, Any]]:
        if keyword == "id" and self._draft != "draft-04":
            yield keyword, value
            return
        base, _, fragment = value.partition("#")
        if base:
            yield "$id", base
        if fragment and not fragment.startswith("/"):
            yield "$anchor", fragment

    def _rename_bound(
        self, schema: dict[str, Any], keyword: str, value: Any, path: Path
    ) -> Iterator[tuple[str, Any]]:
        exclusive = f"exclusive{keyword.capitalize()}"
        bound = keyword[len("exclusive") :].lower()
        if keyword in ("minimum", "maximum"):
            yield (exclusive if schema.get(exclusive) is True else keyword), value
        elif not isinstance(value, bool) or bound not in schema:
            problem = f"in draft-04 `{keyword}` must be true or false, beside a `{bound}`"
            self._refuse((*path, keyword), problem, InvalidSchema)

    def _split_dependencies(self, value: Any) -> Iterator[tuple[str, Any]]:
        if not isinstance(value, dict):
            yield "dependentSchemas", value
            return
        required = {name: names for name, names in value.items() if isinstance(names, list)}
        schemas = {name: inner for name, inner in value.items() if name not in required}
        yield from [("dependentRequired", required)] if required else []
        yield from [("dependentSchemas", schemas)] if schemas or not required else []

    # what depends on the whole

    def refuse_what_depends(self) -> None:
        """Refuse what 2019-09 means in another way where several keywords meet."""
        if self._draft != "2019-09":
            return
        for path in self._found.get("unevaluatedItems", ()) if "contains" in self._found else ():
            self._refuse(path, "`unevaluatedItems` of 2019-09 is not supported where there is a `contains`")
        if self._has_choice and [p for p in self._found.get("$id", ()) if len(p) > 1]:
            for path in self._found.get("$recursiveRef", ()):
                self._refuse(path, "`$recursiveRef` has several `$id`s to choose from")
