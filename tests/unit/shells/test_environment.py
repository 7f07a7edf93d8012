"""Which variables a script reads is told to people before it runs where one is missing."""

from __future__ import annotations

import pytest

from checkpointflow.documents.environment import list_variables
from checkpointflow.shells.environment import find_variables
from tests.helpers import call, cli, end, program


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo $TARGET ${HOST}", "TARGET HOST"), ('cp "$A" "it\'s $B"', "A B"),
        ("${X:-y} ${#Y} ${!Z}", "X Y Z"), ("echo '$A' $B", "B"), ("echo '$A", ""), (r"echo \$A \\$B", "B"),
        ("x # $A\necho $B # it's\necho $C", "B C"), ('echo "# $A"', "A"), ("# $A", ""),
        ("echo ${inputs.x} ${item} ${run.id} ${secrets.T}", ""), ("${item:-x} ${upper}", "item upper"),
        ("${length(inputs.x)} ${default (item, 1)} ${item_index + 1} ${item == 1}", ""),
        ("n=1; echo $n; echo $m", "m"), ("T=${T:-x}; echo $T", "T"), ("echo $T; T=1", "T"),
        ("a=1 b=2; : $a $b", ""), ("for f in $A; do echo $f; done", "A"), ("read -r x y; echo $x $y $z", "z"),
        ("x --n=$N a=$M", "N M"), ("echo $PWD $RANDOM $CPF_OUTPUT $1 $? $$ $HOME", "HOME"),
    ],
)  # fmt: skip
def test_what_a_script_reads_is_found(script: str, expected: str) -> None:
    assert find_variables(script, "sh") == set(expected.split())


def test_powershell_names_its_environment() -> None:
    script = "$x = $env:A; ${Env:B}; $HOME"
    assert find_variables(script, "pwsh") == {"A", "B"}


def test_what_a_document_reads_is_listed_with_what_it_calls() -> None:
    inner = program(cli("x", "echo $INNER"))
    headers = {"h": "${secrets.TOKEN} ${secrets['OTHER']}"}
    steps = [
        cli("a", ["echo $A", "n=1"], env={"B": "x"}), cli("b", "echo $B", env={"B": "x"}),
        {"id": "c", "kind": "api", "url": "https://x", "headers": headers}, call("d", "d.yaml"), end("e"),
    ]  # fmt: skip
    assert list_variables(program(*steps, called={"d.yaml": inner})) == ["A", "INNER", "OTHER", "TOKEN"]
