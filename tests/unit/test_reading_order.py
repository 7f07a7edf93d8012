"""The package reads from top to bottom: a module imports only from the lines above it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import checkpointflow

ROOT = Path(checkpointflow.__file__).parent
READING_ORDER = """
    diagnostics errors
    expressions.syntax expressions.templates
    shells.contexts shells.words shells.commands shells.powershell shells.scripts
    schemas.rewriting schemas.validation
    documents.model documents.yaml documents.decoding documents.graph documents.references
    documents.lint documents.checker
    engine.path engine.actions engine.messages engine.facts engine.run engine.bodies engine.kinds
    engine.settle engine.rules
    store.files store.clock drivers.processes store.directory store.listing store.git
    store.differences store.seals store.verify store.archive store.comparison
    drivers.json_text drivers.catalog drivers.documents drivers.signals drivers.secrets drivers.command
    drivers.http drivers.perform drivers.local
    cli.location cli.envelope cli.options cli.durations cli.progress cli.terminal cli.standing cli.schema
    cli.init cli.guide cli.validate cli.run cli.resume cli.status cli.inspect cli.logs cli.cancel
    cli.retry_step cli.flows cli.list_ cli.diff cli.export cli.import_ cli.verify cli.delete cli.gc cli
    __main__
""".split()  # noqa: SIM905
PURE = ("diagnostics", "errors", "expressions", "shells", "schemas", "documents", "engine")
ALLOWED_IN_PURE = {
    "__future__", "typing", "collections", "datetime", "functools", "hashlib", "itertools", "json", "math",
    "posixpath", "re",
    "msgspec", "fastjsonschema", "ruamel", "copy", "decimal", "difflib", "urllib",
}  # fmt: skip


def imports_of(module: str) -> Iterator[str]:
    """The absolute names of all that *module* imports, early or late."""
    place = ROOT.joinpath(*module.split("."))
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    package = ["checkpointflow", *module.split(".")]
    package = package if place.is_dir() else package[:-1]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *(node.module or "").split(".")]).strip(".")
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def uses(module: str, other: str) -> bool:
    return any(name == other or name.startswith(other + ".") for name in imports_of(module))


@pytest.mark.parametrize("module", READING_ORDER)
def test_a_module_imports_only_what_stands_above_it(module: str) -> None:
    below = READING_ORDER[READING_ORDER.index(module) + 1 :]
    assert [m for m in below if m != "cli" and uses(module, f"checkpointflow.{m}")] == []


@pytest.mark.parametrize("module", [m for m in READING_ORDER if m.split(".")[0] in PURE])
def test_the_pure_rooms_touch_nothing(module: str) -> None:
    outside = {name.split(".")[0] for name in imports_of(module)} - {"checkpointflow"}
    assert outside <= ALLOWED_IN_PURE


def test_no_module_is_missing_from_the_list() -> None:
    found = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in ROOT.rglob("*.py")}
    rooms = {"__init__", *(f"{name.split('.')[0]}.__init__" for name in READING_ORDER)} - {"cli.__init__"}
    assert {name.removesuffix(".__init__") for name in found - rooms} == set(READING_ORDER)
