"""The package reads from top to bottom: a module imports only from the lines above it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import checkpointflow

ROOT = Path(checkpointflow.__file__).parent
READING_ORDER = """
    errors
    language.words language.expression language.places language.quoting language.shell language.powershell
    language.template language.jsonschema_translation language.jsonschema language.jsontext
    language.workflow language.source language.reader language.flow language.references
    language.advice language.checker
    engine.path engine.actions engine.messages engine.facts engine.run engine.bodies engine.kinds
    engine.settle engine.rules
    driver.files driver.fresh driver.processes driver.store driver.runs driver.repository
    driver.differences driver.contents driver.verify driver.archive driver.compare driver.flows
    driver.documents driver.interrupts driver.secrets driver.command driver.http driver.perform driver.local
    cli.location cli.envelope cli.options cli.spans cli.progress cli.shown cli.standing cli.schema
    cli.init cli.guide cli.validate cli.run cli.resume cli.status cli.inspect cli.logs cli.cancel
    cli.retry_step cli.flows cli.list_ cli.diff cli.export cli.import_ cli.verify cli.delete cli.gc cli
    __main__
""".split()  # noqa: SIM905
PURE = ("errors", "language", "engine")
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
    empty = {"__init__", "language.__init__", "engine.__init__", "driver.__init__"}
    assert {name.removesuffix(".__init__") for name in found - empty} == set(READING_ORDER)
