"""A value that comes to code or arithmetic by way of the script's names is judged as if it stood there."""

from __future__ import annotations

from typing import Any

import pytest

from checkpointflow.errors import EvaluationError, ExpressionError
from checkpointflow.shells.scripts import parse_command, render_command


def render(command: str, value: Any, shell: Any = "bash") -> list[str]:
    template = parse_command(command.replace("§", "${inputs.v}"), shell)
    return list(render_command(template, {"inputs": {"v": value}}).variables.values())


@pytest.mark.parametrize(
    "command",
    [
        "n=§; (( n > 3 ))", "n=§; echo $((n + 1))", "(( n > 3 )); n=§", "n=§; [[ $n -gt 3 ]]",
        "n=§; [[ n -gt 3 ]]",
        "for n in 1 §; do (( n )); done", "f() { echo $(( $1 * 2 )); }; f §",
        "function f { (( $2 )); }; f 1 §",
        'f() { n="$1"; (( n )); }; m=§; f "$m"', "set -- §; echo $(( $1 ))", "read -r n <<< §; (( n ))",
        "while read -r n; do (( n )); done <<E\n§\nE", "echo § | while read n; do (( n )); done",
        "n=§; y=abc; echo ${y:$n}", "n=§; echo ${a[$n]}", "n=§; a[n]=1", "n=§; m=$n; k=x; (( m ))",
        "n=§; let m=n",
        "n=§; exit $n", "local n=§; (( n ))", "printf -v n %s §; (( n ))", "echo \"${n:=§}\"; (( n ))",
    ],
)  # fmt: skip
def test_what_the_shell_computes_with_later_is_an_integer(command: str) -> None:
    assert render(command, "7") == ["7"]
    with pytest.raises(EvaluationError, match="only an integer"):
        render(command, "a[$(touch x)]")


def test_a_list_of_integers_is_a_list() -> None:
    assert render("for n in §; do (( n )); done", [1, 2]) == ["1", "2"]


@pytest.mark.parametrize(
    "command",
    [
        "f=§; trap \"rm -f '$f'\" EXIT", 'f=§; eval "$f"', 'f=§; sh -c "echo $f"', "f=§; g=$f; eval $g",
        'f() { eval "$1"; }; f §', "n=§; [[ -v $n ]]", 'n=§; unset "$n"',
        "f=§; bash $f", "f=§; bash $f x.sh", "n=§; printf -v $n x",
    ],
)  # fmt: skip
def test_what_is_run_later_is_refused(command: str) -> None:
    with pytest.raises(ExpressionError, match="no value can stand here"):
        render(command, "x")


@pytest.mark.parametrize(
    "command",
    [
        "f=§; trap 'rm -f \"$f\"' EXIT", 'f=§; sh -c \'echo "$1"\' _ "$f"', 'n=§; echo "$n" $((m + 1))',
        "f() { echo $1; }; f §; g § $(( 1 ))", 'n=§; [ -n "$n" ] && eval "x=\\$n"', "read x <<< §; (( y ))",
        'x=$(printf %s § | sed "s/x/y/"); sqlite3 :memory: "$x"',
    ],
)  # fmt: skip
def test_what_stays_data_is_let_through(command: str) -> None:
    assert render(command, "a b") == ["a b"] * command.count("§")
