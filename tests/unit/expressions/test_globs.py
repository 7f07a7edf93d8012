"""Which files a path with signs means; a value in it is never a sign."""

from __future__ import annotations

import re

import pytest

from checkpointflow.errors import EvaluationError
from checkpointflow.expressions.globs import Glob, fill_glob, is_glob, leads_out
from checkpointflow.expressions.templates import compile_value


def fill(path: str, value: str = "") -> Glob:
    return fill_glob(compile_value(path), {"inputs": {"v": value}})


@pytest.mark.parametrize(
    ("path", "base", "fitting", "others"),
    [
        ("r/", "r", ["a", "b/c.d", "x y/é"], [".a", "b/.c", ".git/c", "", "a/"]),
        ("./r//s/**", "r/s", ["a", "b/c"], [".a"]),
        ("*.xml", "", ["a.xml", "a b.xml"], ["a.xmlx", ".xml", "d/a.xml", "axxml"]),
        ("r/*/t?.xml", "r", ["a/t1.xml"], ["a/b/t1.xml", "t1.xml", "a/t/.xml", ".a/t1.xml"]),
        ("**/*.xml", "", ["a.xml", "b/c/a.xml"], ["b/.c/a.xml", ".a.xml"]),
        ("r/**/s/x", "r", ["s/x", "a/b/s/x"], ["x", "a/s/y"]),
        ("a**b", "", ["ab", "a..b"], ["a/b"]),
        ("?", "", ["a", "é"], [".", "ab", ""]),
        (".c/.*", ".c", [".a", "."], ["a", ".a/b"]),
        ("a[1](.)+$/*", "a[1](.)+$", ["x"], []),
    ],
)
def test_signs_stand_for_names(path: str, base: str, fitting: list[str], others: list[str]) -> None:
    glob = fill(path)
    assert glob.base == base
    assert [name for name in [*fitting, *others] if re.fullmatch(glob.pattern, name)] == fitting


def test_a_value_is_no_sign_and_may_be_directories() -> None:
    assert fill("${inputs.v}/*", "a/b*").base == "a/b*"
    glob = fill("x/*-${inputs.v}.txt", "*?")
    assert re.fullmatch(glob.pattern, "n-*?.txt") and not re.fullmatch(glob.pattern, "n-ab.txt")
    assert fill("a/${inputs.v}*", ".b").pattern == r"\.b[^/]*"


@pytest.mark.parametrize("value", ["..", "../x", "/etc", "a/../../b"])
def test_a_value_leads_nowhere_else(value: str) -> None:
    with pytest.raises(EvaluationError, match="below the working directory"):
        fill("${inputs.v}/*", value)


def test_what_has_no_signs_of_its_own_is_one_file() -> None:
    assert not is_glob("r/a.txt") and not is_glob(compile_value("r/${inputs.v}"))
    assert is_glob(compile_value("r/${inputs.v}/")) and is_glob(compile_value("${inputs.v}*"))
    assert leads_out("../*") and leads_out("/a/") and leads_out(compile_value("a/${inputs.v}/../*"))
    assert not leads_out("a/..b/*") and not leads_out(compile_value("${inputs.v}/*"))
