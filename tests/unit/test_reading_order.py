"""The package reads from top to bottom, in the order of ARCHITECTURE.md: a module imports only from above."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import checkpointflow

ROOT = Path(checkpointflow.__file__).parent
HOUSE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
READING_ORDER = re.findall(r"(?m)^- `([a-z_.]+)`: ", HOUSE)
PURE = (
    "patterns",
    "digests",
    "diagnostics",
    "errors",
    "expressions",
    "shells",
    "schemas",
    "documents",
    "engine",
    "explore",
    "rehearse",
)
PURE_MODULES = ("store.layout", "store.snapshot")
ALLOWED_IN_PURE = {
    "__future__", "typing", "collections", "contextlib", "datetime", "functools", "itertools",
    "hashlib", "_sha2", "_sha256", "json", "math", "posixpath", "re",
    "msgspec", "fastjsonschema", "ruamel", "copy", "decimal", "difflib", "unicodedata", "urllib",
}  # fmt: skip
UNDERSTANDING = {
    "parse", "parse_condition", "parse_path", "parse_template", "parse_url", "parse_command", "compile_value",
    "compile_schema",
}  # fmt: skip
WHO_ASKS = ("engine.", "store.", "drivers.")
# But for verbs that look like one, and queries of the engine's public face.
NO_PARTICIPLES = "bring|embed|spawn|pending|unanswered"
PARTICIPLE = re.compile(
    rf"_*(?!({NO_PARTICIPLES})(_|$))([a-z]+(ed|ing|wn)|told|gone|made|kept|held|written|chosen|begun)(_|$)"
)
MAX_LINES = 450
MAX_MODULES = 16


@cache
def nodes_of(file: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(file.read_text())))


@cache
def imports_of(module: str) -> frozenset[str]:
    """The absolute names of all that *module* imports, early or late."""
    return frozenset(_imports_of(module))


def _imports_of(module: str) -> Iterator[str]:
    place = ROOT.joinpath(*module.split("."))
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    package = ["checkpointflow", *module.split(".")]
    package = package if place.is_dir() else package[:-1]
    for node in nodes_of(file):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *(node.module or "").split(".")]).strip(".")
            yield from (f"{origin}.{alias.name}" for alias in node.names)


@cache
def uses_of(module: str) -> frozenset[str]:
    """The names of what *module* imports, and of all that it stands in."""
    parts = [name.split(".") for name in imports_of(module)]
    return frozenset(".".join(part[:length]) for part in parts for length in range(1, len(part) + 1))


@pytest.mark.parametrize("module", READING_ORDER)
def test_a_module_imports_only_what_stands_above_it(module: str) -> None:
    below = READING_ORDER[READING_ORDER.index(module) + 1 :]
    assert [m for m in below if m != "cli" and f"checkpointflow.{m}" in uses_of(module)] == []


@pytest.mark.parametrize("module", [m for m in READING_ORDER if m.split(".")[0] in PURE or m in PURE_MODULES])
def test_the_pure_rooms_touch_nothing(module: str) -> None:
    outside = {name.split(".")[0] for name in imports_of(module)} - {"checkpointflow"}
    assert outside <= ALLOWED_IN_PURE


@pytest.mark.parametrize("module", [m for m in READING_ORDER if m.startswith(WHO_ASKS)])
def test_only_documents_understand_the_texts_of_a_document(module: str) -> None:
    asked = {name.rpartition(".") for name in imports_of(module) if name.startswith("checkpointflow.")}
    origins = ("checkpointflow.expressions", "checkpointflow.shells", "checkpointflow.schemas")
    understanding = {name for origin, _, name in asked if origin.startswith(origins)} & UNDERSTANDING
    assert understanding == set()
    made = {name for origin, _, name in asked if name == "Schema" and module != "engine.misfits"}
    assert made == set(), "a Program has the schemas"


@pytest.mark.parametrize("module", [m for m in READING_ORDER if m.startswith("engine.")])
def test_the_engine_matches_no_patterns(module: str) -> None:
    assert "re" not in imports_of(module)


def test_no_module_is_long_and_no_room_is_crowded() -> None:
    long = [file.name for file in ROOT.rglob("*.py") if len(file.read_text().splitlines()) > MAX_LINES]
    rooms = Counter(file.parent.name for file in ROOT.rglob("*/*.py") if file.name != "__init__.py")
    assert (long, [room for room, n in rooms.items() if n > MAX_MODULES and room != "cli"]) == ([], [])


@pytest.mark.parametrize("file", sorted(ROOT.rglob("*.py")), ids=lambda file: str(file.relative_to(ROOT)))
def test_functions_are_no_participles_and_limits_are_max(file: Path) -> None:
    functions = (node for node in nodes_of(file) if isinstance(node, ast.FunctionDef))
    named = [f.name for f in functions if not any("property" in ast.unparse(d) for d in f.decorator_list)]
    assert [name for name in named if PARTICIPLE.match(name)] == []
    constants = (node.id for node in nodes_of(file) if isinstance(node, ast.Name) and node.id.isupper())
    assert [
        name for name in constants if re.match("_?(MOST|LEAST|LONGEST|LARGEST|DEEPEST|SHORTEST)_", name)
    ] == []


def test_no_module_is_missing_from_the_list() -> None:
    found = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in ROOT.rglob("*.py")}
    rooms = {"__init__", *(f"{name.rpartition('.')[0]}.__init__" for name in READING_ORDER)} - {
        "cli.__init__"
    }
    assert {name.removesuffix(".__init__") for name in found - rooms} == set(READING_ORDER)


def test_no_two_files_of_tests_have_one_name() -> None:
    """pytest would collect only one of them, and `make test` collects all."""
    names = Counter(file.name for file in Path(__file__).parents[1].rglob("test_*.py"))
    assert [name for name, number in names.items() if number > 1] == []
